"""Recognising matrices that were copied from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hippo_support import CASES, ENTRY, EPS, Case, assert_within, case_orders, poles

import resolvent as rv
from oracles import hippo as oracle

# Pairs (A, B) that two names describe: the answer may be either.
SAME = {
    ("malmquist", "lebesgue"): ("malmquist", "probability"),
    ("lagt", "lebesgue"): ("lagt", "probability"),
    ("fout", "lebesgue"): ("fout", "probability"),
    ("fous", "lebesgue"): ("fous", "probability"),
    ("lmu", "lmu"): ("legt", "lmu"),
}
RESIDUAL = 64 * EPS  # relative, for matrices given to the last digit


def name_of(measure, normalization):
    """The pair under one of its names."""
    return SAME.get((measure, normalization), (measure, normalization))


def rebuilt(found):
    """The pair that the identification describes: time_sign S P A P^T S and gain S P B."""
    p, s = found.permutation, found.sign
    a, b = found.system.A[np.ix_(p, p)], found.system.B[p]
    return found.time_sign * s[:, None] * a * s, found.gain * s * b


def check(found, a, b, case, window):
    assert name_of(found.measure, found.normalization) == name_of(case.measure, case.normalization)
    assert found.residual <= RESIDUAL
    if case.clock != "scaled" and case.measure != "malmquist":  # there only poles/window counts
        assert found.window == pytest.approx(window, rel=ENTRY * EPS * 8)
    got_a, got_b = rebuilt(found)
    scale = ENTRY * 8 * EPS * max(np.abs(a).max(), np.abs(b).max())
    assert_within(got_a, a, scale)
    assert_within(got_b, b, scale)


@pytest.mark.parametrize(("case", "order"), case_orders(orders=(3, 5, 8)))
@pytest.mark.parametrize("window", [1.0, 2.0, 0.37])
def test_every_closed_form_is_recognised(case, order, window):
    a, b = case.matrices(order, window)
    check(rv.hippo.identify(a, b), a, b, case, window)


@pytest.mark.parametrize(
    ("case", "order"),
    case_orders([c for c in CASES if c.clock == "window"], orders=(3, 5, 8)),
)
def test_halved_matrices_are_a_window_of_two(case, order):
    """Public code divides A and B of LegT by 2 in one place and not in another."""
    a, b = case.matrices(order, 1.0)
    found = rv.hippo.identify(a / 2, b / 2)
    check(found, a / 2, b / 2, case, 2.0)


@pytest.mark.parametrize(
    "case",
    [
        Case("legs", "probability"),
        Case("legs", "legendre"),
        Case("legt", "probability"),
        Case("lagt", "probability"),
        Case("fout", "probability"),
        Case("fous", "probability"),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sign_flips_are_recognised(case, seed):
    """x_n -> sigma_n x_n with any signs (the convention of the basis functions)."""
    order = 7
    a, b = case.matrices(order, 1.5)
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], order)
    a, b = sign[:, None] * a * sign, sign * b
    found = rv.hippo.identify(a, b)
    if case.measure == "legt":  # alternating signs are the reversed window: also a right answer
        assert found.measure in ("legt", "lmu")
    else:
        assert found.measure == case.measure
    assert found.residual <= RESIDUAL
    got_a, got_b = rebuilt(found)
    scale = ENTRY * 8 * EPS * np.abs(a).max()
    assert_within(got_a, a, scale)
    assert_within(got_b, b, scale)


@pytest.mark.parametrize("measure", ["fout", "fous"])
@pytest.mark.parametrize("layout", ["sine first", "all cosines, then all sines", "shuffled"])
def test_other_orders_of_sines_and_cosines_are_recognised(measure, layout):
    order = 9
    a, b = oracle.matrices(measure, order)
    pairs = [(2 * m - 1, 2 * m) for m in range(1, 5)]
    permutation = {
        "sine first": [0, *(i for c, s in pairs for i in (s, c))],
        "all cosines, then all sines": [0, *(c for c, _ in pairs), *(s for _, s in pairs)],
        "shuffled": list(np.random.default_rng(3).permutation(order)),
    }[layout]
    a, b = a[np.ix_(permutation, permutation)], b[permutation]
    found = rv.hippo.identify(a, b)
    assert found.measure == measure
    assert found.residual <= RESIDUAL
    got_a, got_b = rebuilt(found)
    assert_within(got_a, a, ENTRY * 8 * EPS * np.abs(a).max())
    assert_within(got_b, b, ENTRY * 8 * EPS * np.abs(b).max())


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.measure in ("legs", "legt", "lagt", "fout", "fous")],
    ids=str,
)
@pytest.mark.parametrize("level", [1e-9, 1e-4])
def test_noise_is_reported_as_the_residual(case, level):
    """The nearest system is named and the residual measures the noise.

    It cannot exceed the distance to the true pair, and with noise in N^2 entries but a handful of
    free parameters it cannot be much below it either.
    """
    order = 7
    a, b = case.matrices(order, 1.0)
    rng = np.random.default_rng(5)
    noise_a, noise_b = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
    size = np.sqrt(np.linalg.norm(a) ** 2 + np.linalg.norm(b) ** 2)
    length = np.sqrt(np.linalg.norm(noise_a) ** 2 + np.linalg.norm(noise_b) ** 2)
    noise_a, noise_b = (level * size / length * n for n in (noise_a, noise_b))
    found = rv.hippo.identify(a + noise_a, b + noise_b)
    assert name_of(found.measure, found.normalization) == name_of(case.measure, case.normalization)
    assert 0.5 * level < found.residual < 2 * level


def test_a_stranger_gets_a_large_residual():
    rng = np.random.default_rng(0)
    found = rv.hippo.identify(rng.standard_normal((6, 6)), rng.standard_normal(6))
    assert found.residual > 0.1
    assert found.measure in oracle.NORMALIZATIONS


def test_malmquist_poles_are_read_off():
    p = poles(6)
    a, b = oracle.malmquist(p, window=1.0)
    found = rv.hippo.identify(a, b)
    assert found.measure == "malmquist"
    product = np.asarray(found.system.poles) / found.system.window  # only the ratio is defined
    assert_within(product, p, ENTRY * 8 * EPS * p.max())
