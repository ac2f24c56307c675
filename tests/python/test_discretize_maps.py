"""Discrete maps, exponentials and phi functions, against exact integers, 50 digits and SciPy."""

from __future__ import annotations

import functools
import itertools

import hypothesis
import mpmath as mp
import numpy as np
import pytest
import scipy.linalg
import scipy.signal
from hippo_support import CASES, EPS, SOLVE, assert_bits, assert_within
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import resolvent as rv
from oracles import discretize as oracle
from oracles import exact
from oracles import hippo as hippo_oracle

RULES = oracle.RULES
RATIONAL = oracle.RATIONAL
EXPONENTIAL = oracle.EXPONENTIAL
ALPHAS = (0.0, 0.3, 0.5, 1.0)
STEPS = (2.0**-12, 0.05, 0.7)

# Multiples of eps. EXP is for a matrix exponential: per unknown, relative to the condition number
# of the exponential (at least 1) times the size of the result. SCALAR is for a scalar function,
# relative to the value plus the effect of a rounding error in its argument.
EXP = 16
SCALAR = 16


def with_alphas(rules=RULES):
    """(rule, alpha) pairs: gbt with each of ALPHAS, the others with a weight they must ignore."""
    return [
        pytest.param(rule, alpha, id=f"{rule}-{alpha}" if rule == "gbt" else rule)
        for rule in rules
        for alpha in (ALPHAS if rule == "gbt" else (0.3,))
    ]


def _dense_models():
    rng = np.random.default_rng(7)
    for measure, order in (("legs", 1), ("legs", 8), ("legt", 5), ("lagt", 6)):
        yield f"{measure}-{order}", hippo_oracle.matrices(measure, order)
    yield "general", (rng.standard_normal((5, 5)), rng.standard_normal(5))
    yield "columns", (rng.standard_normal((4, 4)), rng.standard_normal((4, 3)))
    yield (
        "complex",
        (
            rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)),
            rng.standard_normal(3) + 1j * rng.standard_normal(3),
        ),
    )
    yield "complex input", (rng.standard_normal((3, 3)), 1j * rng.standard_normal(3))
    yield "integrators", (np.diag(np.ones(3), -1), np.array([1.0, 0.0, 0.0, 0.0]))
    yield "zero", (np.zeros((2, 2)), np.array([1.0, -2.0]))
    yield "singular", (np.array([[-1.0, 1.0], [2.0, -2.0]]), np.array([1.0, 3.0]))
    yield "rotation", (np.array([[0.0, 5.0], [-5.0, 0.0]]), np.array([0.0, 1.0]))
    yield "jordan", (-0.5 * np.eye(4) + np.diag(np.ones(3), 1), np.ones(4))


DENSE = dict(_dense_models())


@functools.cache
def _expected(name, step, rule, alpha):
    return oracle.discretize(*DENSE[name], step, rule, alpha)


@functools.cache
def _exponential_bound(name, step):
    """EXP N eps cond |e^M| of the augmented matrix M = [[A, B], [0, 0]] that holds both results."""
    a, b = DENSE[name]
    columns = b.reshape(len(a), -1)
    n, m = columns.shape
    big = np.zeros((n + m, n + m), dtype=np.result_type(a, b))
    big[:n, :n], big[:n, n:] = a, columns
    size = np.abs(scipy.linalg.expm(step * big)).max()
    return EXP * (n + m) * EPS * max(1.0, oracle.conditioning(big, step)) * size


def map_bound(name, step, rule, alpha, size):
    """What rounding may do to a discrete map of a dense model, per unit of `size`."""
    if rule in EXPONENTIAL:
        return _exponential_bound(name, step)
    a = DENSE[name][0]
    return SOLVE * len(a) * EPS * oracle.rational_conditioning(a, step, rule, alpha) * size


def assert_map(result, expected, bound_of):
    """A, B and B_next of a Discrete against the oracle's."""
    for field, actual, wanted in zip(
        ("A", "B", "B_next"), (result.A, result.B, result.B_next), expected, strict=True
    ):
        if wanted is None:
            assert actual is None
        else:
            assert_within(actual, wanted, bound_of(np.abs(wanted).max(initial=1e-300)), field)


# ---------------------------------------------------------------------------------------------
# The oracles among themselves.


def test_the_oracles_agree():
    """Series, squaring, another series, quadrature and Jordan blocks, without the library."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((4, 4)), rng.standard_normal(4)
    with mp.workdps(exact.DIGITS):
        f, g = exact.Mp.exponential_and_integral(exact.to_mp(a), exact.to_mp(b), mp.mpf(2))
        first = 2 * (oracle.phi_series(a, 1, 2.0) @ exact.to_mp(b))
        for pair in (
            (f, oracle.expm(a, 2.0)),
            (f, oracle.phi_series(a, 0, 2.0)),
            (g, first),
            (g, oracle.integrals(a, b, 2.0)[1]),
            (oracle.phi(a, 2, 2.0), oracle.phi_series(a, 2, 2.0)),
        ):
            assert max(abs(v) for v in (pair[0] - pair[1]).ravel()) < 1e-40
    ramp = oracle.variation_of_constants(a, b, 2.0, lambda s: s / 2.0)
    assert_within(ramp, exact.to_float(oracle.integrals(a, b, 2.0)[2]), 1e-13 * np.abs(ramp).max())
    block = -0.5 * np.eye(4) + np.diag(np.ones(3), 1)
    assert_within(exact.to_float(oracle.expm(block, 3.0)), oracle.expm_jordan(-0.5, 4, 3.0), 1e-14)
    assert abs(oracle.conditioning(a) / scipy.linalg.expm_cond(a) - 1) < 1e-10
    for z, order in itertools.product((1e-9, -0.3 + 2j, 40j, -30.0), (1, 2, 5)):
        value = oracle.phi_scalar(z, order)
        assert abs(value - oracle.phi_scalar_series(z, order)) < 1e-45 * abs(value)
        assert abs(value - oracle.phi_scalar_integral(z, order)) < 1e-14


# ---------------------------------------------------------------------------------------------
# Dense models.


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("rule", "alpha"), with_alphas())
@pytest.mark.parametrize("name", DENSE)
def test_dense_models(name, rule, alpha, step):
    result = rv.discretize.discretize(DENSE[name], step, rule, alpha=alpha)
    assert_map(
        result,
        _expected(name, step, rule, alpha),
        lambda size: map_bound(name, step, rule, alpha, size),
    )
    assert result.structure == "dense"
    assert result.rule == rule
    assert result.step == step
    assert result.P is None
    assert result.Q is None
    kinds = [np.iscomplexobj(part) for part in DENSE[name]]
    assert np.iscomplexobj(result.B) == any(kinds)
    assert np.iscomplexobj(result.A) == any(kinds)
    dense = result.to_dense()
    assert_bits(dense[0], result.A)
    assert_bits(dense[1], result.B)


@pytest.mark.parametrize(("rule", "alpha"), with_alphas())
@pytest.mark.parametrize(
    ("measure", "order"), [("legs", 1), ("legs", 8), ("legt", 5), ("lagt", 6), ("malmquist", 4)]
)
def test_systems_are_their_matrices(measure, order, rule, alpha):
    """A System on its own, with a window; LegS is read as x' = A x + B u."""
    options = {"poles": [0.5, 2.0, 1.0, 3.0]} if measure == "malmquist" else {}
    window = 1.0 if measure == "legs" else 2.5
    system = rv.hippo.system(measure, order, window=window, **options)
    a, b = hippo_oracle.matrices(measure, order, window=window, **options)
    expected = oracle.discretize(a, b, 0.05, rule, alpha)
    # |A| step is about 1 and the systems are dissipative: conditions of 1 to 10
    bound = EXP * (order + 1) * EPS * max(1.0, oracle.conditioning(a, 0.05))
    assert_map(
        rv.discretize.discretize(system, 0.05, rule, alpha=alpha),
        expected,
        lambda size: 4 * bound * max(size, 1.0),
    )


@pytest.mark.parametrize(("rule", "alpha"), with_alphas())
@pytest.mark.parametrize("name", ["legs-8", "columns", "complex", "singular"])
def test_batched_steps(name, rule, alpha):
    """Leading axes of the steps lead the results, and every step is as on its own."""
    steps = np.array([[0.01, 0.2, 0.03], [0.5, 0.001, 0.07]])
    batch = rv.discretize.discretize(DENSE[name], steps, rule, alpha=alpha)
    a, b = DENSE[name]
    assert batch.A.shape == (2, 3, *a.shape)
    assert batch.B.shape == (2, 3, *b.shape)
    np.testing.assert_array_equal(batch.step, steps)
    for index in np.ndindex(steps.shape):
        one = rv.discretize.discretize(DENSE[name], steps[index], rule, alpha=alpha)
        for actual, wanted in ((batch.A, one.A), (batch.B, one.B), (batch.B_next, one.B_next)):
            if wanted is None:
                assert actual is None
            else:
                size = np.abs(wanted).max(initial=1e-300)
                assert_within(
                    actual[index], wanted, map_bound(name, steps[index], rule, alpha, size)
                )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_measure_and_normalisation(case, rule):
    """The structured routes of the systems, at a small and a large step."""
    window = 1.0 if case.clock == "scaled" else 2.5
    system = case.system(5, window)
    a, b = case.matrices(5, window)
    for step in (2.0**-8, 1.25):
        expected = oracle.discretize(a, b, step, rule, 0.3)
        size = max(np.abs(v).max() for v in expected if v is not None)
        cond = oracle.conditioning(a, step) + oracle.rational_conditioning(a, step, rule, 0.3)
        assert_map(
            rv.discretize.discretize(system, step, rule, alpha=0.3),
            expected,
            lambda _, size=size, cond=cond: EXP * 6 * EPS * cond * size,
        )


SCIPY_METHODS = {
    "forward": "euler",
    "backward": "backward_diff",
    "bilinear": "bilinear",
    "gbt": "gbt",
    "zoh": "zoh",
    "foh": "foh",
}


@pytest.mark.parametrize("rule", SCIPY_METHODS)
@pytest.mark.parametrize("name", ["legs-8", "legt-5", "columns", "singular"])
def test_scipys_cont2discrete(name, rule):
    """Same A and B; SciPy's foh has the state x_k - B_next u_k, so its B is B + A B_next."""
    a, b = DENSE[name]
    columns = b.reshape(len(a), -1)
    c = np.random.default_rng(0).standard_normal((2, len(a)))
    d = np.zeros((2, columns.shape[1]))
    f, g, _, direct, _ = scipy.signal.cont2discrete(
        (a, columns, c, d), 0.05, method=SCIPY_METHODS[rule], alpha=0.3
    )
    result = rv.discretize.discretize((a, columns), 0.05, rule, alpha=0.3)
    bound = 4 * _exponential_bound(name, 0.05) + 4 * map_bound(name, 0.05, "bilinear", 0.5, 1.0)
    assert_within(result.A, f, bound)
    if rule == "foh":
        assert_within(result.B + result.A @ result.B_next, g, bound)
        assert_within(c @ result.B_next, direct, bound * np.abs(c).sum())
    else:
        assert_within(result.B, g, bound)


@pytest.mark.parametrize("name", ["legs-8", "general", "singular", "integrators"])
def test_exponential_rules_solve_the_equation(name):
    """Variation of constants: zoh for a constant input, foh for a linear one."""
    a, b = DENSE[name]
    step, left, right = 0.7, 1.5, -0.4
    state = np.linspace(-1.0, 2.0, len(b))
    bound = 64 * _exponential_bound(name, step)  # and the quadrature's own rounding
    free = exact.to_float(oracle.expm(a, step)) @ state
    zoh = rv.discretize.discretize((a, b), step, "zoh")
    held = oracle.variation_of_constants(a, b, step, lambda s: left)
    assert_within(zoh.A @ state + zoh.B * left, free + held, bound)
    foh = rv.discretize.discretize((a, b), step, "foh")
    linear = oracle.variation_of_constants(a, b, step, lambda s: left + s / step * (right - left))
    assert_within(foh.A @ state + foh.B * left + foh.B_next * right, free + linear, bound)


@pytest.mark.parametrize("rule", EXPONENTIAL)
def test_exponential_rules_share_a(rule):
    zoh = rv.discretize.discretize(DENSE["legs-8"], 0.05, "zoh")
    other = rv.discretize.discretize(DENSE["legs-8"], 0.05, rule)
    assert_within(other.A, zoh.A, _exponential_bound("legs-8", 0.05))
    if rule == "mamba":
        assert_bits(other.B, 0.05 * DENSE["legs-8"][1])
    if rule == "foh":
        assert_within(other.B + other.B_next, zoh.B, _exponential_bound("legs-8", 0.05))


@pytest.mark.parametrize("rule", RATIONAL)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_rational_rules_solve_their_equation(rule, alpha):
    """(I - w e A) [A', B'] = [I + (1-w) e A, e B], whatever the conditioning."""
    a, b = DENSE["general"]
    result = rv.discretize.discretize((a, b), 0.3, rule, alpha=alpha)
    w = float(oracle.weight(rule, alpha))
    left = np.eye(5) - w * 0.3 * a
    size = np.abs(left).sum() * max(np.abs(result.A).max(), np.abs(result.B).max())
    bound = SOLVE * 5 * EPS * size
    assert_within(left @ result.A, np.eye(5) + (1 - w) * 0.3 * a, bound)
    assert_within(left @ result.B, 0.3 * b, bound)


@pytest.mark.parametrize(
    ("alpha", "rule"), [(0.0, "forward"), (0.5, "bilinear"), (1.0, "backward")]
)
def test_gbt_contains_the_other_rational_rules(alpha, rule):
    for model in (DENSE["legs-8"], DENSE["complex"], (np.array([-1.0, 2j]), np.ones(2))):
        one = rv.discretize.discretize(model, 0.1, "gbt", alpha=alpha)
        other = rv.discretize.discretize(model, 0.1, rule, alpha=0.123)
        bound = 8 * EPS * np.abs(other.A).max()
        assert_within(one.A, other.A, bound)
        assert_within(one.B, other.B, 8 * EPS * np.abs(other.B).max())


def test_gbt_is_bilinear_unless_told():
    one = rv.discretize.discretize(DENSE["legs-8"], 0.1, "gbt")
    other = rv.discretize.discretize(DENSE["legs-8"], 0.1, "bilinear")
    assert_within(one.A, other.A, 8 * EPS)
    assert one.alpha == 0.5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist"])
def test_triangular_systems_stay_triangular(measure, rule):
    """Above the diagonal there are zeros, not small numbers; on it there is R(e lambda)."""
    options = {"poles": [0.5, 2.0, 1.0, 3.0, 0.25, 7.0, 0.1]} if measure == "malmquist" else {}
    system = rv.hippo.system(measure, 7, **options)
    result = rv.discretize.discretize(system, np.array([0.01, 0.9]), rule, alpha=0.3)
    assert (np.triu(result.A, 1) == 0.0).all()
    for k, step in enumerate((0.01, 0.9)):
        wanted = [complex(oracle.growth(step * v, rule, 0.3)).real for v in np.diag(system.A)]
        assert_within(np.diag(result.A[k]), wanted, 64 * EPS)  # a solve or 10 squarings
        pair = rv.discretize.discretize((system.A, system.B), step, rule, alpha=0.3)
        assert (np.triu(pair.A, 1) == 0.0).all()


@pytest.mark.parametrize("rule", RULES)
def test_upper_triangular_stays_upper(rule):
    a = np.triu(np.random.default_rng(5).standard_normal((6, 6)))
    result = rv.discretize.discretize((a, np.ones(6)), 0.3, rule, alpha=0.3)
    assert (np.tril(result.A, -1) == 0.0).all()


@pytest.mark.parametrize("rule", RULES)
def test_tiny_steps(rule):
    """e = 2^-60: A' is the identity but for e A, and B' is e B to rounding; nothing cancels."""
    a, b = DENSE["legs-8"]
    step = 2.0**-60
    result = rv.discretize.discretize((a, b), step, rule, alpha=0.3)
    total = result.B if result.B_next is None else result.B + result.B_next
    assert_within(total, step * b, 16 * EPS * np.abs(step * b))
    lower = np.tril_indices(8, -1)
    assert_within(result.A[lower], step * a[lower], 16 * EPS * np.abs(step * a[lower]))
    assert_within(np.diag(result.A), np.ones(8), 2 * EPS)


@pytest.mark.parametrize("rule", ["zoh", "mamba", "foh", "backward"])
def test_huge_steps_forget_everything(rule):
    """e = 2^20: A' is 0 or, backward, of order 1/e; zoh's B' is the fixed point -A^-1 B."""
    a, b = DENSE["legs-8"]
    step = 2.0**20
    result = rv.discretize.discretize((a, b), step, rule)
    assert np.isfinite(result.A).all()
    # ||(I - eA)^-1|| <= 1/(1 + e/2) since the numerical range of A lies left of -1/2
    assert np.abs(result.A).max() <= (4.0 / step if rule == "backward" else 1e-300)
    if rule in ("zoh", "backward"):
        rest = -np.linalg.solve(a, b)
        # squaring 2^20 loses digits in proportion to the squarings, backward differs by 1/e
        assert_within(result.B, rest, 1e-5 * np.abs(rest).max())


@pytest.mark.parametrize("rule", RULES)
def test_spectral_radius(rule):
    """max |R(e lambda)|, for one step and for a batch; scalar for a scalar step."""
    a, b = DENSE["legs-8"]
    steps = np.array([0.01, 0.2])
    wanted = [max(abs(complex(oracle.growth(s * v, rule, 0.3))) for v in np.diag(a)) for s in steps]
    result = rv.discretize.discretize((a, b), steps, rule, alpha=0.3).spectral_radius()
    assert_within(result, wanted, 64 * EPS)
    one = rv.discretize.discretize((a, b), 0.2, rule, alpha=0.3).spectral_radius()
    assert np.ndim(one) == 0
    assert abs(one - wanted[1]) <= 64 * EPS
    turn = rv.discretize.discretize(DENSE["rotation"], 0.1, "bilinear").spectral_radius()
    assert abs(turn - 1.0) <= 16 * EPS
    shrink = rv.discretize.discretize((np.array([-1.0, -3.0]), np.ones(2)), 0.1, rule, alpha=0.3)
    assert abs(shrink.spectral_radius() - abs(complex(oracle.growth(-0.1, rule, 0.3)))) <= 8 * EPS


@pytest.mark.parametrize("rule", ["zoh", "foh", "bilinear"])
def test_two_half_steps_are_one(rule):
    """Only for the exact rules, constant input: A(2e) = A(e)^2, B(2e) = (A(e) + I) B(e)."""
    a, b = DENSE["legs-8"]
    half = rv.discretize.discretize((a, b), 0.05, rule)
    whole = rv.discretize.discretize((a, b), 0.1, rule)
    once, twice = (r.B if r.B_next is None else r.B + r.B_next for r in (half, whole))
    gap = np.abs(half.A @ half.A - whole.A).max(), np.abs(half.A @ once + once - twice).max()
    bound = 8 * _exponential_bound("legs-8", 0.1)
    if rule == "bilinear":
        assert min(gap) > 1e-5  # of order (e |A|)^3/12
    else:
        assert max(gap) <= bound


# ---------------------------------------------------------------------------------------------
# Diagonal models.


EIGENVALUES = np.array([-0.5 + 30j, -0.5 - 30j, -1e-9, 0.0, -40.0, 2.0, 1j, -0.3 + 1e-7j])
INPUTS = np.array([1.0, 2.0, -1.0, 3.0, 0.5, 1j, 1.0 - 2j, 1.0])


def _scalar_map(z, rule, alpha):
    """R(z), the weights of u_k and u_{k+1}, and how much a relative error in z changes R."""
    grown = oracle.growth(z, rule, alpha)
    if rule in RATIONAL:
        w = oracle.weight(rule, alpha)
        first, second = 1 / (1 - mp.mpf(w.numerator) / w.denominator * mp.mpmathify(z)), 0
    elif rule == "mamba":
        first, second = 1, 0
    else:
        second = oracle.phi_scalar(z, 2) if rule == "foh" else 0
        first = oracle.phi_scalar(z, 1) - second
    return complex(grown), complex(first), complex(second)


@pytest.mark.parametrize("step", [2.0**-12, 0.05, 0.7])
@pytest.mark.parametrize(("rule", "alpha"), with_alphas())
@pytest.mark.parametrize("kind", ["tuple", "Diagonal", "half"])
def test_diagonal_models(kind, rule, alpha, step):
    model = {
        "tuple": (EIGENVALUES, INPUTS),
        "Diagonal": rv.spectral.Diagonal(EIGENVALUES, INPUTS),
        "half": rv.spectral.Diagonal(EIGENVALUES, INPUTS, half=True),
    }[kind]
    result = rv.discretize.discretize(model, step, rule, alpha=alpha)
    assert result.structure == "diagonal"
    assert result.A.shape == result.B.shape == EIGENVALUES.shape
    assert (result.B_next is None) == (rule != "foh")
    # the argument z = e lambda is rounded: a relative error eps in z is |z| eps in e^z or R(z)
    scale = SCALAR * EPS * (1.0 + np.abs(step * EIGENVALUES))
    wanted = np.array([_scalar_map(step * v, rule, alpha) for v in EIGENVALUES])
    assert_within(result.A, wanted[:, 0], scale * np.maximum(np.abs(wanted[:, 0]), EPS))
    weights = np.abs(wanted[:, 1]) + np.abs(wanted[:, 2])
    bound = scale * step * np.abs(INPUTS) * weights
    assert_within(result.B, step * wanted[:, 1] * INPUTS, bound)
    if rule == "foh":
        assert_within(result.B_next, step * wanted[:, 2] * INPUTS, bound)


@pytest.mark.parametrize("rule", RULES)
def test_diagonal_is_the_dense_of_diag(rule):
    diagonal = rv.spectral.Diagonal(EIGENVALUES, INPUTS)
    result = rv.discretize.discretize(diagonal, np.array([0.01, 0.05]), rule, alpha=0.3)
    dense = rv.discretize.discretize(
        (np.diag(EIGENVALUES), INPUTS), np.array([0.01, 0.05]), rule, alpha=0.3
    )
    assert result.A.shape == (2, 8)
    a, b = result.to_dense()
    assert a.shape == (2, 8, 8)
    assert b.shape == (2, 8)
    bound = EXP * 8 * EPS * 4  # the results are below 1.2 and |e A| <= 2
    assert_within(a, dense.A, bound)
    assert_within(b, dense.B, bound)
    if rule == "foh":
        assert_within(result.B_next, dense.B_next, bound)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("half", [False, True])
def test_s4d_models(rule, half):
    model = rv.spectral.diagonal(8, "lin", half=half)
    result = rv.discretize.discretize(model, 0.02, rule, alpha=0.3)
    assert result.half == half
    wanted = np.array([_scalar_map(0.02 * v, rule, 0.3)[0] for v in model.eigenvalues])
    assert_within(result.A, wanted, SCALAR * EPS)


def test_real_diagonal_models_stay_real():
    result = rv.discretize.discretize((np.array([-1.0, -2.0]), np.ones(2)), 0.1, "zoh")
    assert result.A.dtype == np.float64
    assert result.B.dtype == np.float64


# ---------------------------------------------------------------------------------------------
# Diagonal plus low rank.


def _by_hand(seed=2, order=5, rank=2):
    """A DPLR with P and Q apart, nothing symmetric, and its dense matrix."""
    rng = np.random.default_rng(seed)

    def z(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    eigenvalues, p, q, b = z(order) - 1.0, z(order, rank), z(order, rank), z(order)
    return rv.spectral.DPLR(eigenvalues, p, q, b), np.diag(eigenvalues) - p @ q.conj().T, b


DPLR_SYSTEMS = [
    ("legs", 1, {}),
    ("legs", 7, {}),
    ("legs", 8, {"normalization": "legendre"}),
    ("lagt", 6, {"window": 0.5}),
    ("glagt", 5, {}),
    ("malmquist", 4, {"poles": [0.5, 2.0, 1.0, 3.0]}),
    ("legt", 5, {"window": 2.0}),
    ("lmu", 6, {}),
    ("fout", 7, {}),
]


def _low_rank_dense(result):
    """diag(A) - P Q* of a full DPLR result, by hand."""
    return np.diag(result.A) - result.P @ result.Q.conj().T


@pytest.mark.parametrize(("rule", "alpha"), with_alphas(RATIONAL))
def test_low_rank_by_hand_stays_low_rank(rule, alpha):
    model, a, b = _by_hand()
    result = rv.discretize.discretize(model, 0.3, rule, alpha=alpha)
    assert result.structure == "dplr"
    assert not result.half
    assert result.A.shape == (5,)
    assert result.P.shape == result.Q.shape == (5, 2)
    f, g, _ = oracle.discretize(a, b, 0.3, rule, alpha)
    # Woodbury: the diagonal, the dense and the small matrix are all solved with
    bound = 64 * EPS * oracle.rational_conditioning(a, 0.3, rule, alpha) ** 2 * np.abs(f).max()
    assert_within(_low_rank_dense(result), f, bound)
    assert_within(result.B, g, bound)
    dense = result.to_dense()
    assert_within(dense[0], f, bound)
    assert_within(dense[1], g, bound)


@pytest.mark.parametrize("rule", EXPONENTIAL)
def test_low_rank_under_exponential_rules_is_dense(rule):
    model, a, b = _by_hand()
    result = rv.discretize.discretize(model, 0.3, rule)
    assert result.structure == "dense"
    assert result.P is None
    bound = EXP * 5 * EPS * oracle.conditioning(a, 0.3)
    assert_map(result, oracle.discretize(a, b, 0.3, rule), lambda size: 4 * bound * max(size, 1.0))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("measure", "order", "options"), DPLR_SYSTEMS)
def test_low_rank_systems_after_the_change_of_basis(measure, order, options, rule, half):
    """V f V^-1 is the dense system's map, for all of the eigenvalues and for one of each pair."""
    system = rv.hippo.system(measure, order, **options)
    model = rv.spectral.dplr(system, half=half)
    result = rv.discretize.discretize(model, 0.05, rule, alpha=0.3)
    assert result.structure == ("dplr" if rule in RATIONAL else "dense")
    if result.structure == "dplr":
        assert result.half == half
        assert result.A.shape == result.B.shape == model.eigenvalues.shape
        assert result.P.shape == model.P.shape
    a, b = result.to_dense()
    assert a.shape == (order, order)
    assert b.shape == (order,)
    v = model.expand().eigenvectors()
    f, g, g_next = oracle.discretize(np.asarray(system.A), np.asarray(system.B), 0.05, rule, 0.3)
    # dplr reconstructs A to 50 N eps |A|; e |A| is below 10 and maps do not grow
    bound = 200 * order * EPS * np.linalg.cond(v) * max(1.0, 0.05 * np.linalg.norm(system.A))
    assert_within(v @ a @ np.linalg.inv(v), f, bound * np.abs(f).max(initial=1.0))
    assert_within(v @ b, g, bound * np.abs(g).max())
    if rule == "foh":
        assert_within(v @ result.B_next, g_next, bound * np.abs(g_next).max())


@pytest.mark.parametrize("rule", RATIONAL)
@pytest.mark.parametrize(("measure", "order"), [("legs", 7), ("legs", 8), ("legt", 5), ("fout", 7)])
def test_half_holds_the_rows_of_full(measure, order, rule):
    """The low-rank sum runs over all of the eigenvalues also where half are kept."""
    system = rv.hippo.system(measure, order)
    steps = np.array([[0.02], [0.3]])
    full = rv.discretize.discretize(rv.spectral.dplr(system), steps, rule, alpha=0.3)
    half_model = rv.spectral.dplr(system, half=True)
    half = rv.discretize.discretize(half_model, steps, rule, alpha=0.3)
    assert half.A.shape == (2, 1, (order + 1) // 2)
    eigenvalues = rv.spectral.dplr(system).eigenvalues
    rows = [int(np.argmin(np.abs(eigenvalues - v))) for v in half_model.eigenvalues]
    size = SOLVE * order * EPS
    assert_within(half.A, full.A[..., rows], size * np.abs(full.A).max())
    assert_within(half.B, full.B[..., rows], size * np.abs(full.B).max())
    a = half.to_dense()[0]
    assert_within(a, full.to_dense()[0], size * np.abs(full.A).max() * 8)
    rebuilt = np.zeros((2, 1, order, order), dtype=complex)
    rebuilt[..., range(order), range(order)] = full.A
    rebuilt -= full.P @ np.conj(np.swapaxes(full.Q, -1, -2))
    assert_within(full.to_dense()[0], rebuilt, size * np.abs(rebuilt).max())


# ---------------------------------------------------------------------------------------------
# expm.


def exponential_bound(a, t=1.0, value=None):
    value = scipy.linalg.expm(t * a) if value is None else value
    cond = max(1.0, oracle.conditioning(a, t))
    return EXP * len(a) * EPS * cond * np.abs(value).max()


@pytest.mark.parametrize("t", [2.0**-30, 0.01, 1.0, 3.0])
@pytest.mark.parametrize("name", DENSE)
def test_expm(name, t):
    a = DENSE[name][0]
    expected = exact.to_float(oracle.expm(a, t))
    result = rv.discretize.expm(a, t)
    assert np.iscomplexobj(result) == np.iscomplexobj(a)
    assert_within(result, expected, exponential_bound(a, t, expected))
    assert_within(result, scipy.linalg.expm(t * a), 4 * exponential_bound(a, t, expected))


@pytest.mark.parametrize("measure", ["legs", "legt", "lagt", "fout"])
def test_expm_of_a_system(measure):
    system = rv.hippo.system(measure, 7)
    a = np.asarray(system.A)
    bound = exponential_bound(a, 0.5)
    assert_within(rv.discretize.expm(system, 0.5), exact.to_float(oracle.expm(a, 0.5)), bound)
    assert_within(rv.discretize.expm(system), exact.to_float(oracle.expm(a)), 4 * bound)


@pytest.mark.parametrize("order", [8, 33])
@pytest.mark.parametrize("t", [0.01, 0.7, 5.0])
def test_expm_of_legs_on_its_input(order, t):
    """e^{tA} B = r_n e^{-t} P_n(2 e^{-t} - 1), a closed form."""
    system = rv.hippo.system("legs", order)
    expected = hippo_oracle.legs_impulse(order, [t])[:, 0]
    # B has entries up to sqrt(2N), and |e^{tA}| <= 1
    bound = EXP * order * EPS * np.linalg.norm(system.B) * (1 + t * order)
    assert_within(rv.discretize.expm(system, t) @ system.B, expected, bound)


def test_expm_of_large_orders_of_legs():
    """N = 33: the digits that Padé approximants lose by the size of A (scipy: 100 eps) are few."""
    a, _ = hippo_oracle.legs(33)
    expected = exact.to_float(oracle.expm(a, 1.0))
    assert_within(rv.discretize.expm(a), expected, EXP * 33 * EPS)


@pytest.mark.parametrize("eigenvalue", [0.0, -0.5, -3.0 + 2j, 1.0])
@pytest.mark.parametrize("t", [1e-8, 0.3, 4.0])
def test_expm_of_jordan_blocks(eigenvalue, t):
    block = eigenvalue * np.eye(6) + np.diag(np.ones(5), 1)
    expected = oracle.expm_jordan(eigenvalue, 6, t)
    assert_within(rv.discretize.expm(block, t), expected, exponential_bound(block, t))


def test_expm_of_nilpotent_matrices_is_a_polynomial():
    """The entries are as large or small as they like: no scaling may lose 1 + x."""
    for size in (1e-300, 1e-20, 1.0, 1e10, 1e150, 1e300):
        a = np.array([[0.0, size], [0.0, 0.0]])
        result = rv.discretize.expm(a)
        assert_within(result, np.array([[1.0, size], [0.0, 1.0]]), 8 * EPS * max(1.0, size))
        assert result[0, 0] == result[1, 1] == 1.0
        assert result[1, 0] == 0.0


def test_expm_of_zero_and_of_one_entry():
    assert_bits(rv.discretize.expm(np.zeros((3, 3))), np.eye(3))
    assert_bits(rv.discretize.expm(np.ones((3, 3)), 0.0), np.eye(3))
    for x in (-700.0, -1.0, 1e-20, 3.0, 700.0):
        # x is rounded relative to itself
        value = rv.discretize.expm(np.array([[x]]))
        assert value.shape == (1, 1)
        assert abs(value[0, 0] - np.exp(x)) <= 4 * EPS * (1 + abs(x)) * np.exp(x)


def test_expm_of_a_negative_time_is_the_inverse():
    a, _ = hippo_oracle.legt(5)
    product = rv.discretize.expm(a, -0.3) @ rv.discretize.expm(a, 0.3)
    assert_within(product, np.eye(5), 64 * exponential_bound(a, -0.3))


def test_expm_of_a_norm_that_underflows():
    """e^{-1e5 ...} is zero, not NaN, and its triangle stays."""
    result = rv.discretize.expm(hippo_oracle.legs(6)[0], 1e5)
    assert np.isfinite(result).all()
    assert np.abs(result).max() <= 1e-300
    spread = rv.discretize.expm(np.diag([-1e8, -1.0, 0.0]))
    assert_within(np.diag(spread), [0.0, np.exp(-1.0), 1.0], 1e-7)  # 27 squarings of eps |A|


def test_expm_of_small_blocks_beside_large_ones():
    """[[-1e6, 1e6], [0, -1]]: a large condition number of the eigenvectors is none of e^A."""
    a = np.array([[-1e6, 1e6], [0.0, -1.0]])
    expected = exact.to_float(oracle.expm(a))
    result = rv.discretize.expm(a)
    assert_within(result, expected, 1e-9)  # eps |A|
    assert result[1, 0] == 0.0
    assert abs(result[1, 1] - np.exp(-1.0)) <= 64 * EPS


def test_expm_of_stacks():
    """Leading axes are a batch, and every matrix is as on its own."""
    rng = np.random.default_rng(0)
    stack = rng.standard_normal((2, 3, 4, 4)) * 10.0 ** np.arange(-3, 3).reshape(2, 3, 1, 1)
    stack[..., 0, 0] -= 500.0 * (np.abs(stack[..., 0, 0]) > 100)
    stack = np.minimum(stack, 5.0)
    result = rv.discretize.expm(stack, 0.5)
    assert result.shape == stack.shape
    for index in np.ndindex(2, 3):
        assert_bits(result[index], rv.discretize.expm(stack[index], 0.5))
    assert rv.discretize.expm(np.zeros((0, 3, 3))).shape == (0, 3, 3)


@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist", "legt", "fout"])
@pytest.mark.parametrize("t", [0.003, 0.1, 1.0, 20.0])
def test_dissipative_systems_do_not_grow(measure, t):
    """A + A* <= 0 in orthonormal coordinates: the 2-norm of e^{tA} is at most 1."""
    options = {"poles": np.linspace(0.2, 4.0, 17)} if measure == "malmquist" else {}
    a = np.asarray(rv.hippo.system(measure, 17, **options).A)
    assert np.linalg.eigvalsh(a + a.T).max() <= 1e-10
    growth = np.linalg.norm(rv.discretize.expm(a, t), 2)
    # squaring 2^s times: one rounding of N eps each, on norms of at most 1
    assert growth <= 1.0 + EXP * 17 * EPS * (1 + t)


matrices = hnp.arrays(
    np.float64,
    st.integers(1, 5).map(lambda n: (n, n)),
    elements=st.floats(-2, 2, allow_subnormal=False),
)


@hypothesis.given(matrices, st.floats(0.01, 2), st.floats(0.01, 2))
def test_semigroup(a, s, t):
    whole = rv.discretize.expm(a, s + t)
    product = rv.discretize.expm(a, s) @ rv.discretize.expm(a, t)
    # norms of a up to 10, of e^{a} up to e^20: the product's own rounding and both conditions
    size = np.linalg.norm(scipy.linalg.expm(np.abs(a) * (s + t)))
    assert_within(product, whole, 64 * len(a) * EPS * (1 + np.linalg.norm(a) * (s + t)) * size)


@hypothesis.given(matrices)
def test_transpose_trace_and_permutation(a):
    value = rv.discretize.expm(a)
    size = np.linalg.norm(scipy.linalg.expm(np.abs(a)))
    bound = 64 * len(a) * EPS * (1 + np.linalg.norm(a)) * size
    assert_within(rv.discretize.expm(np.ascontiguousarray(a.T)), value.T, bound)
    assert_within(rv.discretize.expm(a.T), value.T, bound)  # not contiguous
    order = np.arange(len(a))[::-1]
    turned = a[np.ix_(order, order)]
    assert_within(rv.discretize.expm(turned), value[np.ix_(order, order)], bound)
    shifted = rv.discretize.expm(a - 3.0 * np.eye(len(a)))
    assert_within(shifted, np.exp(-3.0) * value, bound)
    sign, log = np.linalg.slogdet(value)
    inverse = np.linalg.norm(scipy.linalg.expm(np.abs(a)))
    hypothesis.assume(bound * inverse * len(a) < 1e-6)
    assert sign == 1.0
    assert abs(log - np.trace(a)) <= 2 * bound * inverse * len(a)


# ---------------------------------------------------------------------------------------------
# phi.


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("name", [n for n in DENSE if n != "columns"])
def test_phi_of_matrices(name, order):
    a = DENSE[name][0]
    for t in (2.0**-20, 0.25, 2.0):
        expected = exact.to_float(oracle.phi_series(a, order, t))
        size = np.abs(scipy.linalg.expm(t * a)).max() if order == 0 else np.abs(expected).max()
        bound = EXP * len(a) * EPS * max(1.0, oracle.conditioning(a, t)) * size
        assert_within(rv.discretize.phi(a, order, t), expected, (order + 1) * bound)


def test_phi_of_nothing_is_an_inverse_factorial():
    for order, wanted in enumerate((1.0, 1.0, 1 / 2, 1 / 6, 1 / 24)):
        assert_within(
            rv.discretize.phi(np.zeros((2, 2)), order), wanted * np.eye(2), 2 * EPS * wanted
        )


def test_phi_of_nilpotent_matrices_is_a_polynomial():
    """phi_k(N) = I/k! + N/(k+1)! for N^2 = 0."""
    for size in (1e-200, 1e-8, 1.0, 1e8):
        for order in (1, 2, 3):
            a = np.array([[0.0, size], [0.0, 0.0]])
            result = rv.discretize.phi(a, order)
            factorial = float(mp.factorial(order))
            wanted = np.array([[1.0, size / (order + 1)], [0.0, 1.0]]) / factorial
            assert_within(result, wanted, 16 * EPS * np.maximum(wanted, 0))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_phi_of_systems_keeps_the_triangle(order):
    system = rv.hippo.system("legs", 9)
    result = rv.discretize.phi(system, order, 0.5)
    assert (np.triu(result, 1) == 0.0).all()
    expected = exact.to_float(oracle.phi_series(np.asarray(system.A), order, 0.5))
    assert_within(result, expected, EXP * 9 * EPS * 8)  # condition of e^{A/2} about 8


def test_phi_of_stacks():
    rng = np.random.default_rng(1)
    stack = rng.standard_normal((3, 4, 4))
    result = rv.discretize.phi(stack, 2, 0.5)
    for k in range(3):
        assert_bits(result[k], rv.discretize.phi(stack[k], 2, 0.5))


@hypothesis.given(matrices, st.integers(0, 4))
def test_recurrence_of_phi(a, order):
    """A phi_{k+1} = phi_k - I/k!."""
    low, high = rv.discretize.phi(a, order), rv.discretize.phi(a, order + 1)
    size = np.linalg.norm(scipy.linalg.expm(np.abs(a)))
    bound = 64 * (order + 1) * len(a) * EPS * (1 + np.linalg.norm(a)) ** 2 * size
    assert_within(a @ high, low - np.eye(len(a)) / float(mp.factorial(order)), bound)


def _directions():
    for size in (0.0, 1e-300, 1e-12, 1e-7, 1e-3, 0.1, 0.7, 1.0, 2.0, 5.0, 9.0, 30.0, 200.0, 700.0):
        for turn in range(16 if size else 1):
            yield size * np.exp(1j * np.pi * turn / 8)
    yield from (2j * np.pi, -2j * np.pi, 20j * np.pi, 1e3j, -1e3, -1e3 + 1e3j, -1e8, 1e8j, -1e300)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 7])
def test_phi_scalar(order):
    """In all directions, near zero and far; at 2 pi i, a zero of phi_1, relative to its slope."""
    points = [z for z in _directions() if abs(z) <= 1e4]
    values = rv.discretize.phi_scalar(np.array(points), order)
    for z, value in zip(points, values, strict=True):
        expected = oracle.phi_scalar(z, order)
        slope = oracle.phi_slope(z, order)
        bound = SCALAR * EPS * (float(abs(expected)) + slope) + 1e-320
        assert abs(value - complex(expected)) <= bound, (z, value, complex(expected))


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_phi_scalar_of_reals(order):
    points = np.array([0.0, 1e-300, -1e-16, 1e-8, -0.01, 0.3, -1.0, 1.0, -5.0, 40.0, -300.0, 700.0])
    values = rv.discretize.phi_scalar(points, order)
    assert values.dtype == np.float64
    expected = np.array([float(oracle.phi_scalar(x, order)) for x in points])
    slope = np.array([oracle.phi_slope(x, order) for x in points])
    assert_within(values, expected, SCALAR * EPS * (np.abs(expected) + slope))


def test_phi_scalar_far_left():
    """phi_1(-x) = 1/x and phi_2(-x) = 1/x - 1/x^2 for large x, up to where 1/x is denormal."""
    x = np.array([1e3, 1e8, 1e150, 1e300])
    assert_within(rv.discretize.phi_scalar(-x, 1), 1 / x, SCALAR * EPS / x)
    assert_within(rv.discretize.phi_scalar(-x, 2), (1 - 1 / x) / x, SCALAR * EPS / x)


def test_phi_scalar_shapes():
    assert rv.discretize.phi_scalar(np.zeros((2, 0, 3)), 1).shape == (2, 0, 3)
    assert np.ndim(rv.discretize.phi_scalar(1.0)) == 0
    assert abs(rv.discretize.phi_scalar(1.0) - np.expm1(1.0)) <= 4 * EPS
    assert rv.discretize.phi_scalar(np.ones((3, 1))).shape == (3, 1)
    for z in (1j, np.complex128(1j), np.array(1j)):
        assert np.ndim(rv.discretize.phi_scalar(z, 0)) == 0
        assert abs(rv.discretize.phi_scalar(z, 0) - np.exp(1j)) <= 4 * EPS


@hypothesis.given(
    st.complex_numbers(max_magnitude=50.0, allow_nan=False, allow_infinity=False), st.integers(0, 5)
)
def test_phi_scalar_is_phi_of_one_entry(z, order):
    scalar = rv.discretize.phi_scalar(np.array([z]), order)[0]
    matrix = rv.discretize.phi(np.array([[z]]), order)[0, 0]
    # a 1x1 matrix is squared up to 2^6: e^{|Re z|} may be lost in the intermediate values
    size = abs(scalar) + oracle.phi_slope(z, order) + abs(np.exp(z)) + 1.0
    assert abs(scalar - matrix) <= 64 * EPS * (1 + abs(z)) * size


@hypothesis.given(st.sampled_from(RULES), st.floats(0.001, 0.5), st.floats(0.1, 8))
def test_only_the_product_of_step_and_system_counts(rule, step, factor):
    """discretize((cA, cB), e/c) = discretize((A, B), e)."""
    a, b = DENSE["legt-5"]
    one = rv.discretize.discretize((a, b), step, rule, alpha=0.3)
    other = rv.discretize.discretize((factor * a, factor * b), step / factor, rule, alpha=0.3)
    # the products differ by roundings of e A, of size e |A| <= 15
    bound = EXP * 5 * EPS * 16 * max(np.abs(one.A).max(), np.abs(one.B).max())
    assert_within(other.A, one.A, bound)
    assert_within(other.B, one.B, bound)


@hypothesis.given(st.sampled_from(RULES), hnp.arrays(float, (4, 2), elements=st.floats(-3, 3)))
def test_columns_of_the_input_are_independent(rule, b):
    a = DENSE["columns"][0]
    both = rv.discretize.discretize((a, b), 0.2, rule, alpha=0.3)
    bound = EXP * 6 * EPS * 16 * 3
    for k in range(2):
        one = rv.discretize.discretize((a, b[:, k]), 0.2, rule, alpha=0.3)
        assert_within(both.B[:, k], one.B, bound)
        if rule == "foh":
            assert_within(both.B_next[:, k], one.B_next, bound)


@pytest.mark.parametrize("order", [0, 1, 5])
def test_phi_of_one_entry_of_every_size(order):
    """From subnormal numbers to 30, in parts of very different sizes."""
    sizes = np.array([5e-324, 1e-310, 2.3e-308, 1e-200, 1e-155, 1e-16, 1e-3, 1.0, 30.0])
    points = np.concatenate([(s * np.array([1, -1, 1j, -1j])) for s in sizes])
    points = np.concatenate([points, sizes[:-1] - 30j, 30.0 - 1j * sizes, -30.0 + 1j * sizes])
    for z in (points, points.real):
        result = rv.discretize.phi(z[:, None, None], order)[:, 0, 0]
        scalar = rv.discretize.phi_scalar(z, order)
        size = 1.0 + np.abs(np.exp(z)) + np.abs(scalar)
        assert_within(result, scalar, 64 * EPS * (1 + np.abs(z)) * size)
