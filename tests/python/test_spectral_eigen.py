"""Eigenvalues and eigenvectors of A itself, and what they are worth: conditioning."""

from __future__ import annotations

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hippo_support import CASES, ENTRY, EPS, SUM, assert_within, case_orders, poles
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import hippo as hippo_oracle
from oracles import spectral as oracle

# Rounding per factor of a product formula: entries are products of up to 2N factors.
FACTOR = 8
# log10 of a condition number: relative rounding of the norms, per order.
LOG = 16
# Backward error of a dense eigensolver in units of N eps ||A||.
DENSE = 16
# -log10(eps/2): the digits of a double.
DIGITS = 15.95

NORMALIZATIONS = ("probability", "lebesgue", "legendre")


def norm(matrix):
    return np.linalg.norm(matrix, 2)


def legs_poles(order):
    return oracle.cascade_poles("legs", order)


def random_matrix(order, seed=0, dtype=complex):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((order, order))
    return a + 1j * rng.standard_normal((order, order)) if dtype is complex else a


def exact_vectors(p, normalization="probability"):
    """Unit columns in 50 digits for -p_j, in the order of p."""
    scale, _ = oracle.coordinates(p, normalization)
    columns = [
        oracle.unit_vector(oracle.cascade_eigenvector(p, j)[0], scale) for j in range(len(p))
    ]
    return np.array(columns, dtype=object).T


def descending(values):
    """Real part descending, then imaginary part descending."""
    return values[np.lexsort([-values.imag, -values.real])]


# ---------------------------------------------------------------------------------------------
# The references agree with each other.


@pytest.mark.parametrize("order", [1, 2, 5, 12, 40])
def test_closed_form_and_recurrence_give_the_same_fractions(order):
    right, left = oracle.cascade_eigenvectors(legs_poles(order))
    for j in range(order):
        assert right[j] == oracle.legs_eigenvector(order, j + 1)
    p = legs_poles(order)
    for i in range(min(order, 6)):
        for j in range(min(order, 6)):  # y_i* x_j = 0 for i != j
            products = [u * v / (2 * q) for u, v, q in zip(left[i], right[j], p, strict=True)]
            assert (sum(products) == 0) == (i != j)


@pytest.mark.parametrize(("order", "published"), [(8, 7.7e4), (16, 8.3e10), (24, 9.9e16)])
def test_condition_numbers_of_legs_by_two_exact_routes(order, published):
    """The published 1.2e17 at N = 24 comes from double precision, which cannot resolve it."""
    p = legs_poles(order)
    by_norms = oracle.log10_condition(p)
    by_iteration = float(mp.log10(oracle.condition_by_iteration(p)))
    assert abs(by_norms - by_iteration) <= LOG * order * EPS * by_norms
    assert abs(10**by_norms / published - 1) < 0.01  # two printed digits


# ---------------------------------------------------------------------------------------------
# Eigenvalues.


@pytest.mark.parametrize("order", [1, 2, 7, 300])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_eigenvalues_of_legs_are_the_negative_integers(order, normalization):
    system = rv.hippo.system("legs", order, normalization=normalization, window=4.0)
    values = rv.spectral.eigenvalues(system)
    assert values.dtype == np.float64
    assert (values == -np.arange(1.0, order + 1)).all()
    assert (rv.spectral.eigenvalues(system.invariant()) == values / 4).all()


@pytest.mark.parametrize("order", [1, 2, 9])
def test_eigenvalues_of_the_other_cascades_are_minus_the_poles(order):
    lagt = rv.spectral.eigenvalues(rv.hippo.system("lagt", order, window=0.25))
    assert lagt.dtype == np.float64
    assert (lagt == -2.0).all()
    glagt = rv.spectral.eigenvalues(rv.hippo.system("glagt", order, alpha=0.4, beta=0.2))
    assert_within(glagt, np.full(order, -0.6), ENTRY * EPS)
    p = poles(order)
    free = rv.spectral.eigenvalues(rv.hippo.system("malmquist", order, poles=p, window=0.5))
    assert free.dtype == np.float64
    assert_within(free, -np.sort(p) / 0.5, ENTRY * EPS * np.abs(free))


DENSE_CASES = [c for c in CASES if c.measure in ("legt", "lmu", "fout", "fous")]


@pytest.mark.parametrize(("case", "order"), case_orders(DENSE_CASES, (1, 2, 3, 7, 12)))
def test_eigenvalues_of_the_dense_systems(case, order):
    """Each within its own condition number; order and conjugate pairs as documented."""
    a, _ = case.matrices(order, 0.7)
    values = rv.spectral.eigenvalues(case.system(order, 0.7))
    assert values.shape == (order,)
    assert np.allclose(values, descending(values), rtol=0, atol=DENSE * order * EPS * norm(a))
    expected, conditions, _ = oracle.eigenvalue_conditions(a)
    for value, condition in zip(expected, conditions, strict=True):
        distance = np.abs(values - value).min()
        assert distance <= DENSE * order * EPS * norm(a) * condition


@pytest.mark.parametrize("order", [1, 2, 5, 10])
def test_eigenvalues_of_legt_are_the_poles_of_the_pade_approximant(order):
    """From the exact integers in 80 digits; a dense solver loses what the condition number says."""
    _, denominator = oracle.pade_from_taylor(order, Fraction(7, 10))
    exact = np.array([complex(p) for p in oracle.pade_poles(denominator)])
    system = rv.hippo.system("legt", order, window=0.7)
    values = rv.spectral.eigenvalues(system)
    _, conditions, _ = oracle.eigenvalue_conditions(system.A)
    bound = DENSE * order * EPS * norm(system.A) * conditions.max()
    for value in exact:
        assert np.abs(values - value).min() <= bound
    assert bound < 1e-6  # the comparison says something


@pytest.mark.parametrize("kind", ["real", "complex", "symmetric", "hermitian", "triangular"])
@pytest.mark.parametrize("order", [1, 2, 6, 40])
def test_eigenvalues_of_a_matrix(kind, order):
    a = random_matrix(order, 3, float if kind in ("real", "symmetric", "triangular") else complex)
    if kind in ("symmetric", "hermitian"):
        a = (a + a.conj().T) / 2
    if kind == "triangular":
        a = np.tril(a, -1) / order + np.diag(np.arange(order) - order / 2)
    values = rv.spectral.eigenvalues(a)
    expected, conditions, _ = oracle.eigenvalue_conditions(a)
    bound = DENSE * order * EPS * norm(a) * conditions.max()
    assert_within(np.sort_complex(values), np.sort_complex(expected), bound)
    ordered = descending(values)
    assert_within(ordered, values, 4 * bound)
    if kind == "real":
        pairs = values[values.imag > 0]
        assert set(pairs.conj()) == set(values[values.imag < 0])
    if kind in ("symmetric", "hermitian"):
        assert np.abs(values.imag).max() <= bound


# ---------------------------------------------------------------------------------------------
# Eigenvectors.


def assert_columns(vectors, exact, order):
    """Each entry to its own relative accuracy; zeros are zeros."""
    assert vectors.dtype == np.float64
    for found, expected in zip(vectors.ravel(), exact.ravel(), strict=True):
        if expected == 0:
            assert found == 0.0
        else:
            assert oracle.relative_error(found, expected) <= FACTOR * (order + 4) * EPS


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("order", [1, 2, 3, 8, 24, 40])
def test_eigenvectors_of_legs_against_exact_fractions(order, normalization):
    system = rv.hippo.system("legs", order, normalization=normalization)
    vectors = rv.spectral.eigenvectors(system)
    exact = exact_vectors(legs_poles(order), normalization)
    assert_columns(vectors, exact, order)
    first = vectors[np.argmax(vectors != 0, axis=0), np.arange(order)]
    assert (first > 0).all()
    assert_within(np.linalg.norm(vectors, axis=0), np.ones(order), FACTOR * order * EPS)


@pytest.mark.parametrize("order", [1, 2, 3, 8, 15])
def test_eigenvectors_of_malmquist_against_exact_fractions(order):
    p = poles(order)
    rank = np.argsort(p)  # eigenvalues -p descending
    vectors = rv.spectral.eigenvectors(rv.hippo.system("malmquist", order, poles=p, window=0.5))
    exact = exact_vectors(oracle.cascade_poles("malmquist", order, p))
    assert_columns(vectors, exact[:, rank], order)


@given(st.lists(st.floats(-6, 6), min_size=1, max_size=8, unique=True))
def test_eigenvectors_of_malmquist_with_random_poles_over_many_decades(exponents):
    p = 10.0 ** np.array(exponents)
    if len(set(p)) != len(p):
        return
    vectors = rv.spectral.eigenvectors(rv.hippo.system("malmquist", len(p), poles=p))
    exact = exact_vectors(oracle.cascade_poles("malmquist", len(p), p))
    assert_columns(vectors, exact[:, np.argsort(p)], len(p))


def assert_logs(sign, size, exact):
    """log|v| to the rounding of a sum of 2N logarithms; sign 0 and -inf at a zero."""
    order = len(exact)
    for found_sign, found, expected in zip(
        sign.ravel(), size.ravel(), np.ravel(exact), strict=True
    ):
        if expected == 0:
            assert found_sign == 0
            assert found == -np.inf
        else:
            assert found_sign == mp.sign(expected)
            logarithm = float(mp.log(abs(expected)))
            assert abs(found - logarithm) <= FACTOR * (order + 4) * EPS * max(1, abs(logarithm))


@pytest.mark.parametrize("order", [1, 5, 40])
def test_logarithms_of_the_eigenvectors(order):
    sign, size = rv.spectral.eigenvectors(rv.hippo.system("legs", order), log=True)
    assert sign.shape == size.shape == (order, order)
    assert_logs(sign, size, exact_vectors(legs_poles(order)))
    p = poles(min(order, 12))
    free = rv.hippo.system("malmquist", len(p), poles=p)
    sign, size = rv.spectral.eigenvectors(free, log=True)
    exact = exact_vectors(oracle.cascade_poles("malmquist", len(p), p))
    assert_logs(sign, size, exact[:, np.argsort(p)])


def test_logarithms_reach_below_the_smallest_double():
    """N = 800: entries down to 1e-330. One column against fractions."""
    order = 800
    sign, size = rv.spectral.eigenvectors(rv.hippo.system("legs", order), log=True)
    p = legs_poles(order)
    scale, _ = oracle.coordinates(p)
    for j in (0, 460, order - 1):
        column = oracle.unit_vector(oracle.cascade_eigenvector(p, j)[0], scale)
        for n in {0, j, (j + order) // 2, order - 1}:
            found = size[n, j]
            if column[n] == 0:
                assert found == -np.inf
                assert sign[n, j] == 0
            else:
                assert sign[n, j] == mp.sign(column[n])
                expected = float(mp.log(abs(column[n])))
                assert abs(found - expected) <= FACTOR * order * EPS * max(1, abs(expected))
    finite = size[np.isfinite(size)]
    assert finite.min() < np.log(np.finfo(float).tiny)


@pytest.mark.parametrize(
    "system",
    [
        rv.hippo.system("lagt", 4),
        rv.hippo.system("glagt", 3),
        rv.hippo.system("malmquist", 3, poles=[1.0, 2.0, 1.0]),
    ],
    ids=lambda s: s.measure,
)
def test_a_defective_system_has_no_eigenvector_basis(system):
    for call in (rv.spectral.eigenvectors, rv.spectral.eigensystem):
        with pytest.raises(rv.InvalidArgument, match="defective"):
            call(system)


def test_a_defective_system_of_order_one_has_one():
    assert rv.spectral.eigenvectors(rv.hippo.system("lagt", 1)).tolist() == [[1.0]]


DIAGONALISABLE = [c for c in CASES if c.measure not in ("lagt", "glagt")]


@pytest.mark.parametrize(("case", "order"), case_orders(DIAGONALISABLE, (1, 2, 7)))
def test_eigensystem_of_every_system(case, order):
    system = case.system(order, 0.7)
    a = system.A
    found = rv.spectral.eigensystem(system)
    closed = case.measure in oracle.CASCADES
    assert found.method == ("closed form" if closed else "dense")
    assert found.values.shape == found.residuals.shape == (order,)
    assert found.vectors.shape == (order, order)
    assert_within(np.linalg.norm(found.vectors, axis=0), np.ones(order), FACTOR * order * EPS)
    residuals = np.linalg.norm(a @ found.vectors - found.vectors * found.values, axis=0)
    residuals /= norm(a) if norm(a) > 0 else 1.0
    assert (residuals <= DENSE * order * EPS).all()
    assert_within(found.residuals, residuals, DENSE * order * EPS)
    assert (found.vectors == rv.spectral.eigenvectors(system)).all()
    if closed:
        assert (found.values == rv.spectral.eigenvalues(system)).all()


@pytest.mark.parametrize("order", [1, 2, 5, 40])
@pytest.mark.parametrize("dtype", [float, complex])
def test_eigensystem_of_a_matrix(order, dtype):
    a = random_matrix(order, 7, dtype)
    found = rv.spectral.eigensystem(a)
    assert found.method == "dense"
    residual = np.linalg.norm(a @ found.vectors - found.vectors * found.values, axis=0) / norm(a)
    assert (residual <= DENSE * order * EPS).all()
    assert_within(found.residuals, residual, DENSE * order * EPS)
    assert_within(np.linalg.norm(found.vectors, axis=0), np.ones(order), ENTRY * order * EPS)
    _, _, condition = oracle.eigenvalue_conditions(a)
    rebuilt = found.vectors @ np.diag(found.values) @ np.linalg.inv(found.vectors)
    assert norm(rebuilt - a) <= DENSE * order * EPS * norm(a) * condition


def test_residuals_of_a_matrix_of_zeros_are_zero():
    found = rv.spectral.eigensystem(np.zeros((3, 3)))
    assert (found.residuals == 0).all()
    assert (found.values == 0).all()


# ---------------------------------------------------------------------------------------------
# Conditioning.


def assert_conditioning(found, p, order, normalization="probability", indices=None):
    expected = oracle.log10_condition(p, normalization)
    rounding = LOG * (order + 4) * EPS
    assert abs(found.log10_condition - expected) <= rounding * max(1, expected)
    for j in range(order) if indices is None else indices:
        one = oracle.log10_eigenvalue_condition(p, j, normalization)
        assert abs(found.log10_eigenvalue_conditions[j] - one) <= rounding * max(1, one)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("order", [1, 2, 3, 8, 16, 24])
def test_conditioning_of_legs_is_exact_beyond_double_precision(order, normalization):
    found = rv.spectral.conditioning(rv.hippo.system("legs", order, normalization=normalization))
    assert_conditioning(found, legs_poles(order), order, normalization)
    assert found.method == "closed form"
    assert not found.lower_bound
    assert (found.eigenvalues == -np.arange(1.0, order + 1)).all()


@pytest.mark.parametrize(
    ("order", "indices"),
    [(64, [0, 31, 63]), pytest.param(200, [0, 99, 199], marks=pytest.mark.slow)],
)
def test_conditioning_of_legs_at_larger_orders(order, indices):
    found = rv.spectral.conditioning(rv.hippo.system("legs", order))
    assert_conditioning(found, legs_poles(order), order, indices=indices)


@pytest.mark.slow
def test_conditioning_never_overflows():
    """kappa ~ 10^763 at N = 1000: between its largest row and the Frobenius norms of V, V^-1."""
    order = 1000
    found = rv.spectral.conditioning(rv.hippo.system("legs", order))
    logs = found.log10_eigenvalue_conditions
    assert np.isfinite(logs).all()
    for j in (0, 700, 999):
        expected = oracle.log10_eigenvalue_condition(legs_poles(order), j)
        assert abs(logs[j] - expected) <= LOG * order * EPS * max(1, expected)
    top = logs.max()
    frobenius = top + np.log10(np.sum(10 ** (2 * (logs - top)))) / 2 + np.log10(order) / 2
    assert top <= found.log10_condition <= frobenius
    assert found.log10_condition > 700


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_conditioning_of_malmquist(order):
    p = poles(order)
    rank = np.argsort(p)
    found = rv.spectral.conditioning(rv.hippo.system("malmquist", order, poles=p, window=0.3))
    exact = oracle.cascade_poles("malmquist", order, p)
    rounding = LOG * (order + 4) * EPS
    expected = oracle.log10_condition(exact)
    assert abs(found.log10_condition - expected) <= rounding * max(1, expected)
    for at, j in enumerate(rank):
        one = oracle.log10_eigenvalue_condition(exact, int(j))
        assert abs(found.log10_eigenvalue_conditions[at] - one) <= rounding * max(1, one)


@pytest.mark.parametrize("measure", ["lagt", "glagt", "malmquist"])
def test_a_defective_system_has_an_infinite_condition_number(measure):
    options = {"poles": [0.5, 1.0, 0.5, 2.0]} if measure == "malmquist" else {}
    found = rv.spectral.conditioning(rv.hippo.system(measure, 4, **options))
    assert found.log10_condition == np.inf
    assert found.digits == 0.0
    assert "defective" in found.statement
    repeated = found.eigenvalues == found.eigenvalues[0]
    assert np.isinf(found.log10_eigenvalue_conditions[repeated]).all()
    if measure == "malmquist":  # poles 1 and 2 are simple
        assert np.isfinite(found.log10_eigenvalue_conditions[~repeated]).all()
    single = rv.spectral.conditioning(rv.hippo.system("lagt", 1))
    assert single.log10_condition == 0.0


@pytest.mark.parametrize("order", [1, 2, 5, 20])
@pytest.mark.parametrize("dtype", [float, complex])
def test_conditioning_of_a_matrix_against_lapack(order, dtype):
    a = random_matrix(order, 11, dtype)
    found = rv.spectral.conditioning(a)
    values, conditions, condition = oracle.eigenvalue_conditions(a)
    # conditions are themselves known to about kappa eps, relative
    bound = DENSE * order * EPS * condition
    assert abs(found.log10_condition - np.log10(condition)) <= bound
    at = [int(np.argmin(np.abs(values - v))) for v in found.eigenvalues]
    assert sorted(at) == list(range(order))
    assert_within(
        found.log10_eigenvalue_conditions, np.log10(conditions[at]), bound * conditions[at]
    )
    assert found.method == "dense"
    assert not found.lower_bound
    departure = oracle.henrici(a, values)
    assert abs(found.departure - departure) <= bound * np.linalg.norm(a) ** 2 / max(departure, EPS)


@pytest.mark.parametrize("case", DENSE_CASES, ids=str)
def test_conditioning_of_the_dense_systems(case):
    a, _ = case.matrices(7, 0.7)
    found = rv.spectral.conditioning(case.system(7, 0.7))
    _, conditions, condition = oracle.eigenvalue_conditions(a)
    bound = DENSE * 7 * EPS * condition
    assert abs(found.log10_condition - np.log10(condition)) <= bound
    assert_within(
        np.sort(found.log10_eigenvalue_conditions), np.sort(np.log10(conditions)), bound * condition
    )


def test_conditioning_says_when_double_precision_cannot_resolve_it():
    """The matrix of LegS instead of the system: 10^47.5 at N = 64 is out of reach."""
    a = rv.hippo.system("legs", 64).A
    found = rv.spectral.conditioning(a + 0.0)
    assert found.lower_bound
    assert found.log10_condition <= oracle.log10_condition(legs_poles(64))
    assert found.digits < 4
    jordan = rv.spectral.conditioning(np.eye(3, k=1))
    assert jordan.lower_bound or jordan.log10_condition == np.inf
    assert jordan.digits < 1


def test_a_normal_matrix_loses_nothing():
    rng = np.random.default_rng(5)
    q, _ = np.linalg.qr(random_matrix(6, 5))
    a = q @ np.diag(rng.standard_normal(6) + 1j * rng.standard_normal(6)) @ q.conj().T
    found = rv.spectral.conditioning(a)
    assert found.log10_condition <= DENSE * 6 * EPS
    # sqrt of a difference that cancels: sqrt(eps) of the norm remains
    assert found.departure <= np.sqrt(DENSE * 6 * EPS) * np.linalg.norm(a)
    diagonal = rv.spectral.conditioning(np.diag([1.0, 2.0, 3.0]))
    assert diagonal.log10_condition <= ENTRY * EPS
    assert diagonal.departure == 0.0


@pytest.mark.parametrize("measure", ["legs", "malmquist", "lagt", "glagt"])
@pytest.mark.parametrize("order", [1, 2, 24, 100])
def test_departure_from_normality(measure, order):
    """Triangular: the entries below the diagonal are all of it."""
    options = {"poles": poles(order)} if measure == "malmquist" else {}
    system = rv.hippo.system(measure, order, **options)
    found = rv.spectral.conditioning(system)
    a = system.A
    expected = np.linalg.norm(np.tril(a, -1))
    assert abs(found.departure - expected) <= SUM * order * EPS * np.linalg.norm(a)
    assert abs(found.departure - oracle.henrici(a, np.diag(a))) <= SUM * order * EPS * (
        np.linalg.norm(a) ** 2 / max(expected, EPS)
    )
    relative = expected / np.linalg.norm(a)
    assert abs(found.relative_departure - relative) <= SUM * order * EPS


def test_digits_that_survive():
    for model in (*(rv.hippo.system("legs", n) for n in (1, 8, 16, 24, 64)), np.eye(3)):
        found = rv.spectral.conditioning(model)
        expected = max(0.0, DIGITS - found.log10_condition)
        assert abs(found.digits - expected) <= 0.01  # two decimals are given
        assert isinstance(found.statement, str)
        assert found.statement.count(".") >= 1
        assert "\n" not in found.statement
    eight = rv.spectral.conditioning(rv.hippo.system("legs", 8))
    assert f"{int(eight.digits)}" in eight.statement


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_normal_form_is_well_conditioned(normalization):
    """Unitary in the orthonormal bases; elsewhere the change of basis remains."""
    system = rv.hippo.system("legs", 32, normalization=normalization)
    found = rv.spectral.conditioning(rv.spectral.dplr(system))
    expected = np.log10(np.linalg.cond(rv.spectral.dplr(system).eigenvectors()))
    if normalization == "legendre":
        columns = rv.spectral.dplr(system).eigenvectors()
        expected = np.log10(np.linalg.cond(columns / np.linalg.norm(columns, axis=0)))
    assert abs(found.log10_condition - expected) <= 1 if normalization == "legendre" else 1e-12
    assert found.digits > 13


def test_perturbed_eigenvalues_of_legs_show_what_the_number_means():
    """A relative perturbation of size eps moves eigenvalues of LegS, N = 64, far off the axis."""
    a = hippo_oracle.legs(64)[0]
    rng = np.random.default_rng(0)
    moved = np.linalg.eigvals(a + EPS * norm(a) * rng.standard_normal(a.shape) / 16)
    assert np.abs(moved.imag).max() > 20
    exact = rv.spectral.eigenvalues(rv.hippo.system("legs", 64))
    assert exact.dtype == np.float64
