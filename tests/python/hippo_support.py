"""The systems that the HiPPO tests run over, and comparisons with stated tolerances."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest

import resolvent as rv
from oracles import hippo as oracle

EPS = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)

# Multiples of eps that the comparisons allow; each is multiplied by a size or a condition number.
ENTRY = 8  # a matrix entry or function value: a handful of elementary operations
SUM = 4  # per term of a sum, relative to the sum of the absolute values
SOLVE = 8  # per unknown, relative to the condition number times the solution
STEP = 8  # per coefficient, relative to the grown rounding of the recurrence

ORDERS = (1, 2, 3, 5, 8, 33)
CHANNELS = (1, 3, 16, 17, 40)
RULES = oracle.RULES
# Rules that may be unstable for some system and step: they are allowed to warn.
EXPLICIT = ("forward", "gbt")


@dataclass(frozen=True)
class Case:
    """A measure in one normalisation."""

    measure: str
    normalization: str
    options: dict = field(default_factory=dict)

    def __str__(self):
        extra = "".join(f"-{value}" for value in self.options.values())
        return f"{self.measure}-{self.normalization}{extra}"

    def orders(self, orders=ORDERS):
        """The orders that this case has: a complex Fourier basis has odd ones only."""
        return [n for n in orders if self.normalization != "complex" or n % 2 == 1]

    def keywords(self, order):
        """What `system` and `oracle.matrices` take besides measure, order and window."""
        extra = {"poles": poles(order)} if self.measure == "malmquist" else {}
        return {"normalization": self.normalization, **self.options, **extra}

    def function_keywords(self, order):
        """What `oracle.functions` and `oracle.optimal` take."""
        keywords = self.keywords(order)
        keywords.pop("closure", None)
        return keywords

    def system(self, order, window=1.0):
        """The library's system."""
        return rv.hippo.system(self.measure, order, window=window, **self.keywords(order))

    def matrices(self, order, window=1.0):
        """The oracle's A and B."""
        return oracle.matrices(self.measure, order, window=window, **self.keywords(order))

    @property
    def clock(self):
        return oracle.CLOCK[self.measure]


def poles(order):
    """Distinct positive poles, the odd ones before the even ones: not sorted."""
    index = np.arange(order)
    return 0.3 + 0.37 * np.concatenate([index[1::2], index[::2]])


def _cases():
    for measure, normalizations in oracle.NORMALIZATIONS.items():
        for normalization in normalizations:
            if measure == "fout":
                for closure in ("left", "average"):
                    yield Case(measure, normalization, {"closure": closure})
            elif measure == "glagt":
                yield Case(measure, normalization)
                yield Case(measure, normalization, {"alpha": 0.4, "beta": 0.2})
            else:
                yield Case(measure, normalization)


CASES = tuple(_cases())
# One per measure, for what does not depend on the normalisation.
DEFAULT_CASES = tuple(next(c for c in CASES if c.measure == m) for m in oracle.NORMALIZATIONS)
REAL_CASES = tuple(case for case in CASES if case.normalization != "complex")


def case_orders(cases=CASES, orders=ORDERS):
    """All pairs, with readable test names."""
    return [pytest.param(case, n, id=f"{case}-{n}") for case in cases for n in case.orders(orders)]


def assert_within(actual, expected, bound, what="error"):
    """max |actual - expected| <= bound; bound is a number or an array that broadcasts."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shapes {actual.shape} and {expected.shape}"
    error = np.abs(actual - expected)
    bound = np.broadcast_to(bound, error.shape)
    bad = ~(error <= bound)  # also catches NaN
    if bad.any():
        where = np.unravel_index(np.argmax(np.where(bad, error / bound, 0)), error.shape)
        raise AssertionError(
            f"{what} {error[where]:.3e} > {bound[where]:.3e} at {tuple(map(int, where))}: "
            f"{actual[where]} instead of {expected[where]}"
        )


def assert_bits(actual, expected):
    """Equal bit for bit, with the same type and shape."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes(), (
        f"differs by up to {np.abs(actual - expected).max():.3e}"
    )


def assert_message(info, *parts):
    """The message of a pytest.raises result holds every part (regular text, not a pattern)."""
    message = str(info.value)
    missing = [part for part in map(str, parts) if part not in message]
    assert not missing, f"{missing} not in {message!r}"


@contextlib.contextmanager
def stability_warnings_allowed(rule):
    """No warning is let through except a StabilityWarning of a rule that may be unstable."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "measure 'fout' of even order")
        if rule in EXPLICIT:
            warnings.simplefilter("ignore", rv.StabilityWarning)
        yield


def signal(shape, seed=0, dtype=np.float64):
    """Random samples with an offset and a trend; the last axis is time."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 0.5 - np.linspace(0, 1, np.atleast_1d(shape)[-1])).astype(
        dtype
    )


def dense(case, order, u, *, rule, step=1.0, window=1.0, times=None, alpha=0.5, matrices=None):
    """Dense trajectory and the bound within which another order of operations may differ."""
    a, b = matrices or case.matrices(order, window)
    trajectory, condition = oracle.run_with_condition(
        a,
        b,
        u,
        rule=rule,
        clock=case.clock,
        step=step,
        times=times,
        alpha=alpha,
        first=oracle.constant(case.measure, order, case.normalization)
        if case.clock == "scaled"
        else None,
    )
    return trajectory, STEP * (order + 4) * EPS * condition[:, None]


def step_for(case):
    """A step that is small against the window (clock "window", "invariant")."""
    return 1.0 if case.clock == "scaled" else 0.05
