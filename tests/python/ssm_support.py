"""The models that the state-space tests run over, and comparisons with stated tolerances."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_message, assert_within

import resolvent as rv
from oracles import discretize as discretization
from oracles import hippo as hippo_oracle
from oracles import ssm as oracle

__all__ = ["EPS", "EPS32", "assert_bits", "assert_within"]

# Multiples of eps.
PROMISE = 64  # kernels and generating functions, relative to the condition number; 1e3 are allowed
SUM = 16  # a Cauchy sum, per unit of the sum of absolute terms, plus one per term
POWER = 16  # a Vandermonde sum or a scan: also per power that is taken
FFT = 16  # a convolution, per bit of the length, relative to the product of the 2-norms

# Promises relative to the largest entry: of routes among themselves, and of single precision.
AGREEMENT = 1e-10
SINGLE = 1e-5

STEP = 0.05
ALPHA = 0.3  # of gbt; the other rules must ignore it
# The rules with which a kernel exists. foh reads the next input.
RULES = ("forward", "backward", "bilinear", "gbt", "zoh", "mamba")
ROUTES = ("power", "recurrence", "dplr", "allpass", "diagonal", "rational", "scan")
# Those that sample the generating function on the circle.
CIRCLE = ("dplr", "allpass", "rational")
# Those that go through eigenvectors or polynomial coefficients, where the model does not have them
# from the start: they say what they lose in `.info.condition`, and warn from here on.
DETOURS = ("diagonal", "scan", "rational")
WARNED = 1e8


@dataclass(frozen=True, eq=False)
class Case:
    """A model, the same as matrices, and how its read-out becomes theirs."""

    name: str
    make: Callable[[np.ndarray], object]  # the library's model, C in it where it holds one
    matrices: Callable[[], tuple]  # A and B with all conjugates, continuous unless `discrete`
    reads: int  # entries of C
    expand: Callable[[np.ndarray], np.ndarray] = np.asarray  # C as a row of the matrices
    expand_state: Callable[[np.ndarray], np.ndarray] = np.asarray
    routes: frozenset = frozenset()  # its own under rational rules: those that lose nothing
    real: bool = True  # the kernel is real for the C of `read_out`
    real_c: bool = True
    discrete: bool = False
    holds_c: bool = False

    def __str__(self):
        return self.name

    def read_out(self, seed=0, batch=()):
        """Random C."""
        rng = np.random.default_rng([seed, self.reads])
        c = rng.standard_normal((*batch, self.reads))
        return c if self.real_c else c + 1j * rng.standard_normal(c.shape)

    def call(self, rule="bilinear", *, c=None, step=STEP):
        """The model and the keywords that make it a discrete one with a read-out."""
        c = self.read_out() if c is None else c
        keywords = {} if self.holds_c else {"C": c}
        if not self.discrete:
            keywords |= {"step": step, "rule": rule, "alpha": ALPHA}
        return self.make(c), keywords

    def rules(self):
        """The rules that make a difference."""
        return ("bilinear",) if self.discrete else RULES


@functools.cache
def discrete_matrices(case, rule, step=STEP):
    """A and B of the discrete model, 50 digits."""
    a, b = case.matrices()
    return (a, b) if case.discrete else oracle.discretize(a, b, step, rule, ALPHA)


def rounded(array):
    """float64 or complex128 of 50 digits."""
    return oracle.exact.to_float(array) if np.asarray(array).dtype == object else np.asarray(array)


@functools.cache
def exact_kernel(case, rule, length, *, seed=0, step=STEP, aliased=False):
    """The kernel of `case.read_out(seed)`, and its relative condition number, at least 1."""
    a, b = discrete_matrices(case, rule, step)
    c = case.expand(case.read_out(seed))
    make = oracle.aliased_kernel if aliased else oracle.kernel
    values = make(a, b, c, length)
    if aliased:
        c = rounded(oracle.untruncate(a, c, length))
    condition = oracle.kernel_condition(rounded(a), rounded(b), c, length)
    return values.real if case.real else values, condition * rule_condition(case, rule, step)


@functools.cache
def rule_condition(case, rule, step=STEP):
    """What the discretisation multiplies a relative error of A by.

    |e^{sA}| <= e^{s mu} with mu the largest eigenvalue of (A + A*)/2, so the derivative of e^{eA}
    is at most e^{e mu} and its condition number |eA| e^{e mu}/|e^{eA}|.
    """
    if case.discrete or rule == "forward":
        return 1.0
    a, _ = case.matrices()
    if rule in discretization.RATIONAL:
        return discretization.rational_conditioning(a, step, rule, ALPHA)
    growth = np.exp(step * np.linalg.eigvalsh((a + a.conj().T) / 2)[-1])
    size = np.linalg.norm(rounded(discrete_matrices(case, rule, step)[0]), 2)
    return max(1.0, step * np.linalg.norm(a, 2) * growth / size)


def assert_kernel(found, expected, condition, what="kernel"):
    """Relative to the largest entry, within PROMISE eps condition, which must mean something.

    `found` may be a pair with the factor that a detour loses: what it promises is tested, if it
    promises anything.
    """
    found, loss = found if isinstance(found, tuple) else (found, 1.0)
    if found is None:
        return
    actual = np.asarray(found)
    assert np.iscomplexobj(actual) or not np.iscomplexobj(expected)
    bound = PROMISE * EPS * condition
    assert bound < 1e-5, f"{what}: the case is too ill-conditioned to tell anything ({bound:.1e})"
    if loss < WARNED:
        assert_within(actual, expected, loss * bound * np.abs(expected).max(), what)


def kernel_by(route, case, length, *, c=None, rule="bilinear", step=STEP, **options):
    """The kernel by one route, and the factor of the errors that the route says it has."""
    model, keywords = case.call(rule, c=c, step=step)
    return kernel_and_loss(route, case.routes, model, length, **keywords, **options)


def kernel_and_loss(route, own, model, length, **options):
    """The same for a model whose `own` routes lose nothing.

    Detours warn of large losses, and may give up, (None, inf), where nothing is left.
    """
    detour = route in DETOURS and route not in own
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", rv.IllConditionedWarning)
        try:
            found = rv.ssm.kernel(model, length, route=route, **options)
        except rv.InvalidArgument as error:
            given_up = "defective" in str(error) or (caught and "pole" in str(error))
            if detour and given_up:
                return None, np.inf
            raise
    assert found.info.route == route
    if not detour:
        # Only where C (I - A^L) nearly vanishes do the routes over the circle lose digits.
        told = [str(w.message) for w in caught]
        assert all("C(I - A^L)" in message for message in told), told
        if route in ("dplr", "allpass"):
            assert bool(told) == (found.info.condition is not None)
        else:
            assert not told
        return found, 1.0
    loss = found.info.condition
    assert loss >= 1.0
    assert caught or loss < WARNED, f"{route} loses a factor of {loss:.1e} in silence"
    return found, loss


def refused(call, *parts, error=rv.ResolventError):
    """The call is refused with an error whose message holds every part."""
    with pytest.raises(error) as info:
        call()
    assert isinstance(info.value, rv.ResolventError), repr(info.value)
    assert_message(info, *parts)


# ---------------------------------------------------------------------------------------------
# The models.

POLES = (0.7, 0.4, 2.5, 1.1, 0.9, 3.0, 1.7, 0.2)


def _options(measure, order):
    return {"poles": POLES[:order]} if measure == "malmquist" else {}


def _system(measure, order, **options):
    return rv.hippo.system(measure, order, **_options(measure, order), **options)


STEPWISE = frozenset({"power", "recurrence"})
CASCADES = ("legs", "lagt", "malmquist")


def system_case(measure, order, **options):
    complex_valued = options.get("normalization") == "complex"
    suffix = "".join(f"-{v}" for v in options.values())
    return Case(
        f"{measure}-{order}{suffix}",
        lambda c: _system(measure, order, **options),
        lambda: hippo_oracle.matrices(measure, order, **_options(measure, order), **options),
        order,
        routes=STEPWISE | {"dplr"} | ({"allpass"} if measure in CASCADES else set()),
        real=not complex_valued,
        real_c=not complex_valued,
    )


def dplr_case(name, model):
    """A DPLR read in its own coordinates."""
    half, m = model.half, model.multiplicity
    doubled = m == 2

    return Case(
        name,
        lambda c: model,
        lambda: oracle.dplr_matrices(
            model.eigenvalues, model.P, model.Q, model.B, m if half else None
        ),
        m.size,
        (lambda c: oracle.pair_weights(c, m, doubled)) if half else np.asarray,
        (lambda x: oracle.with_conjugates(x, doubled)) if half else np.asarray,
        routes=STEPWISE | {"dplr"},
        real=half,
        real_c=False,
    )


def diagonal_case(name, model, multiplicity, *, real=False):
    """A Diagonal; `multiplicity` is written out, since it is one of the things to test.

    All entries are doubled: a real eigenvalue's state is complex where B is.
    """
    half, doubled = model.half, np.full(model.eigenvalues.shape, True)

    def matrices():
        values, b = model.eigenvalues, model.B
        if half:
            values, b = (oracle.with_conjugates(v, doubled) for v in (values, b))
        return np.diag(values), b

    return Case(
        name,
        lambda c: model,
        matrices,
        model.eigenvalues.size,
        (lambda c: oracle.pair_weights(c, multiplicity, doubled)) if half else np.asarray,
        (lambda x: oracle.with_conjugates(x, doubled)) if half else np.asarray,
        routes=STEPWISE | {"diagonal", "scan"},
        real=half or real,
        real_c=real,
    )


def state_space_case(name, a, b, *, time):
    real = not np.iscomplexobj(a) and not np.iscomplexobj(b)
    return Case(
        name,
        lambda c: rv.ssm.StateSpace(a, b, c, time=time),
        lambda: (a, b),
        len(b),
        routes=STEPWISE,
        real=real,
        real_c=real,
        discrete=time == "discrete",
        holds_c=True,
    )


def random_dplr(order, rank, half, seed=0):
    """Stable, P is not Q; `half` of an odd order ends with a real eigenvalue."""
    rng = np.random.default_rng([seed, order, rank])
    count = (order + 1) // 2 if half else order

    def entries(*shape):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(count)

    values = -0.3 - rng.random(count) + 1j * np.linspace(9.0, 1.0 if half else -7.0, count)
    p, q, b = 0.7 * entries(count, rank), 0.7 * entries(count, rank), entries(count)
    if half and order % 2:
        values[-1] = values[-1].real
        for part in (p, q, b):
            part[-1] = part[-1].real
    return rv.spectral.DPLR(values, p, q, b, half=half)


def random_state_space(order, *, complex_valued=False, radius=None, seed=0):
    """A and B with every eigenvalue left of -0.2, or, with a radius, of that largest modulus."""
    rng = np.random.default_rng([seed, order])
    a, b = rng.standard_normal((order, order)), rng.standard_normal(order)
    if complex_valued:
        a = a + 1j * rng.standard_normal((order, order))
        b = b + 1j * rng.standard_normal(order)
    values = np.linalg.eigvals(a)
    if radius is not None:
        return a * (radius / np.abs(values).max()), b
    return a - (values.real.max() + 0.2) * np.eye(order), b


def _s4d(kind, order, half, sign=1):
    return rv.spectral.diagonal(order, kind, half=half, sign=sign)


def _cases():
    for measure, orders in (
        ("legs", (1, 5, 8)),
        ("legt", (5, 6)),
        ("lagt", (4,)),
        ("malmquist", (5,)),
        ("fout", (5,)),
    ):
        for order in orders:
            yield system_case(measure, order)
    yield system_case("legs", 4, normalization="legendre")
    yield system_case("legt", 4, normalization="lebesgue", window=2.0)
    yield system_case("fout", 5, normalization="complex")
    yield system_case("fout", 5, closure="left")
    for measure in ("legs", "legt", "fout"):
        for half in (False, True):
            model = rv.spectral.dplr(_system(measure, 5), half=half)
            yield dplr_case(f"dplr-{measure}-5-{'half' if half else 'full'}", model)
    yield dplr_case("dplr-legs-6-half", rv.spectral.dplr(_system("legs", 6), half=True))
    for order, rank, half in ((5, 1, False), (4, 2, False), (6, 1, True), (5, 2, True)):
        model = random_dplr(order, rank, half)
        yield dplr_case(f"dplr-hand-{order}-rank-{rank}-{'half' if half else 'full'}", model)
    for kind in ("lin", "inv", "quad"):
        yield diagonal_case(f"{kind}-6-full", _s4d(kind, 6, False), None)
        # lin's first eigenvalue, -1/2, is its own conjugate and still counts twice
        yield diagonal_case(f"{kind}-6-half", _s4d(kind, 6, True), np.array([2.0, 2.0, 2.0]))
    yield diagonal_case("quad-4-half-below", _s4d("quad", 4, True, -1), np.array([2.0, 2.0]))
    yield diagonal_case("real-4", _s4d("real", 4, False), None, real=True)
    yield diagonal_case("diagonal-legs-5-full", _s4d("legs", 5, False), None)
    yield diagonal_case("diagonal-legs-5-half", _s4d("legs", 5, True), np.array([2.0, 2.0, 1.0]))
    values = np.array([-0.2 + 3j, -1.0 + 0.5j, -0.7])
    hand = rv.spectral.Diagonal(values, [1.0 - 2j, 0.5, 1.5 + 1j], half=True)
    yield diagonal_case("diagonal-hand-half", hand, np.array([2.0, 2.0, 1.0]))
    yield state_space_case("dense-real", *random_state_space(5), time="continuous")
    yield state_space_case(
        "dense-complex", *random_state_space(4, complex_valued=True), time="continuous"
    )
    yield state_space_case("discrete-real", *random_state_space(5, radius=0.9), time="discrete")
    yield state_space_case(
        "discrete-complex",
        *random_state_space(4, complex_valued=True, radius=0.8),
        time="discrete",
    )


CASES = tuple(_cases())
BY_NAME = {case.name: case for case in CASES}
# One of each kind of model, for what depends on the kind only.
KINDS = tuple(
    BY_NAME[name]
    for name in (
        "legs-5",
        "legt-6",
        "fout-5-complex",
        "dplr-legs-5-half",
        "dplr-hand-4-rank-2-full",
        "dplr-hand-5-rank-2-half",
        "lin-6-half",
        "quad-6-full",
        "dense-real",
        "dense-complex",
        "discrete-real",
        "discrete-complex",
    )
)
