"""The general construction against every closed form, exact fractions and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from hippo_support import ENTRY, EPS, ORDERS, SUM, Case, assert_within, case_orders

import resolvent as rv
from oracles import exact
from oracles import hippo as oracle

MAPS = {
    # name: (phi, phi') on [-1, 1]
    "window": (lambda s: 2.0 + 0 * s, lambda s: 0.0 * s),
    "scaled": (lambda s: 1.0 + s, lambda s: 1.0 + 0 * s),
}
LEGENDRE = (oracle.legendre_orthonormal, oracle.legendre_orthonormal_slope)
CHEBYSHEV = (oracle.chebyshev_orthonormal, oracle.chebyshev_orthonormal_slope)
FOURIER = (oracle.fourier_real, oracle.fourier_real_slope)


def entry_bound(order, a):
    """Rounding of an integral of a polynomial of degree 2 order, in units of the largest entry."""
    return SUM * (order + ENTRY) * EPS * np.abs(a).max()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", MAPS)
def test_legendre_gives_the_closed_forms(order, name):
    system = rv.hippo.derive("legendre", name, order)
    a, b = (oracle.legt if name == "window" else oracle.legs)(order, "lebesgue")
    assert_within(system.A, a, entry_bound(order, a))
    assert_within(system.B, b, ENTRY * EPS * b.max())
    assert system.clock == name
    assert (system.measure, system.normalization, system.order) == ("derived", "lebesgue", order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("closure", ["left", "average"])
def test_fourier_on_a_window_gives_fout_in_both_closures(order, closure):
    system = rv.hippo.derive("fourier", "window", order, closure=closure, window=0.7)
    a, b = oracle.fout(order, closure=closure, window=0.7)
    assert_within(system.A, a, entry_bound(order, a))
    assert_within(system.B, b, ENTRY * order * EPS * np.abs(b).max())


def test_the_default_closure_is_left():
    a, _ = oracle.fout(5, closure="left")
    assert_within(rv.hippo.derive("fourier", "window", 5).A, a, entry_bound(5, a))


@pytest.mark.parametrize("order", ORDERS)
def test_fourier_on_the_whole_history_gives_fous(order):
    system = rv.hippo.derive("fourier", "scaled", order)
    a, b = oracle.fous(order)
    assert_within(system.A, a, entry_bound(order, a))
    assert_within(system.B, b, ENTRY * order * EPS * b.max())


@pytest.mark.parametrize("order", ORDERS)
def test_square_root_map_has_even_negative_eigenvalues(order):
    """A_nk = -2 int g_k (s g_n)': triangular, eigenvalues -2(n+1); entries from fractions."""
    system = rv.hippo.derive("legendre", "sqrt", order)
    plain_a, plain_b = exact.legendre_construction(order, [0, 2], (0, 1))
    scale = 1 / np.sqrt(2 * np.arange(order) + 1.0)  # plain P_n -> orthonormal on [0, 1]
    a = exact.to_float(exact.fractions_to_mp(plain_a)) * scale[:, None] / scale
    b = exact.to_float(exact.fractions_to_mp(plain_b)) * scale
    bound = entry_bound(order, a)
    assert_within(system.A, a, bound)
    assert_within(system.B, b, ENTRY * EPS * b.max())
    assert_within(np.triu(system.A, 1), np.zeros((order, order)), bound)
    assert_within(np.diag(system.A), -2.0 * np.arange(1, order + 1), bound)
    assert system.clock == "scaled"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", MAPS)
def test_chebyshev_is_similar_to_legendre(order, name):
    """Both span the polynomials, and the closure uses the Lebesgue dual: A_C = M A_L M^-1.

    M_nk = int T^_n P^_k ds. The entries are compared through M, the eigenvalues are those of
    Legendre: -1, ..., -N on the whole history.
    """
    system = rv.hippo.derive("chebyshev", name, order)
    legendre = (oracle.legt if name == "window" else oracle.legs)(order, "lebesgue")
    s, w = oracle.gauss_legendre(order + 1, -1, 1)
    change = np.array(
        [
            [np.sum(w * CHEBYSHEV[0](n, s) * LEGENDRE[0](k, s)) for k in range(order)]
            for n in range(order)
        ]
    )
    condition = np.linalg.cond(change)
    a = change @ legendre[0] @ np.linalg.inv(change)
    b = change @ legendre[1]
    bound = SUM * (order + ENTRY) * EPS * condition * np.linalg.norm(legendre[0], 2)
    assert_within(system.A, a, bound)
    assert_within(system.B, b, SUM * (order + ENTRY) * EPS * np.abs(change).sum(1).max() * order)
    if order <= 8:  # beyond, the eigenvectors are too ill-conditioned to compare spectra
        expected, vectors = np.linalg.eig(legendre[0])
        sensitivity = np.linalg.cond(vectors) * condition * np.linalg.norm(legendre[0], 2)
        found = np.linalg.eigvals(system.A)
        distance = np.abs(found[:, None] - expected).min(axis=1)
        assert_within(distance, np.zeros(order), SUM * order * EPS * sensitivity)
        if name == "scaled":
            bound = SUM * order * EPS * sensitivity
            assert_within(np.sort(found.real), -np.arange(order, 0, -1.0), bound)


@pytest.mark.parametrize("order", [1, 2, 5, 8])
@pytest.mark.parametrize("basis", ["legendre", "chebyshev"])
@pytest.mark.parametrize("name", MAPS)
def test_every_polynomial_basis_agrees_with_dense_quadrature(order, basis, name):
    g, dg = LEGENDRE if basis == "legendre" else CHEBYSHEV
    a, b = oracle.general_construction(g, dg, *MAPS[name], (-1, 1), order)
    system = rv.hippo.derive(basis, name, order)
    bound = SUM * (3 * order + 30) * EPS * order * np.abs(a).max()
    assert_within(system.A, a, bound)
    assert_within(system.B, b, bound)


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_user_callables_for_the_basis(order):
    """P_n on [0, 3], orthonormal there, as a pair (value, derivative)."""
    scale = np.sqrt(2 / 3)
    value = lambda n, s: scale * oracle.legendre_orthonormal(n, 2 * s / 3 - 1)  # noqa: E731
    slope = lambda n, s: (  # noqa: E731
        scale * 2 / 3 * oracle.legendre_orthonormal_slope(n, 2 * s / 3 - 1)
    )
    system = rv.hippo.derive((value, slope), "scaled", order, interval=(0.0, 3.0))
    a, b = oracle.legs(order, "lebesgue")
    bound = entry_bound(order, a) * order
    assert_within(system.A, a, bound)
    # c_n = int u g_n ds over [0, 3] is sqrt(3/2) times the integral over [-1, 1].
    assert_within(system.B, b / scale, bound)


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_user_callables_for_the_map(order):
    """phi = s^2 + s on [0, 1] (polynomial, zero at the far end): exact fractions again."""
    system = rv.hippo.derive(
        (
            lambda n, s: np.sqrt(2) * oracle.legendre_orthonormal(n, 2 * s - 1),
            lambda n, s: 2 * np.sqrt(2) * oracle.legendre_orthonormal_slope(n, 2 * s - 1),
        ),
        (lambda s: s * s + s, lambda s: 2 * s + 1, "scaled"),
        order,
        interval=(0.0, 1.0),
    )
    plain_a, plain_b = exact.legendre_construction(order, [0, 1, 1], (0, 1))
    scale = 1 / np.sqrt(2 * np.arange(order) + 1.0)
    a = exact.to_float(exact.fractions_to_mp(plain_a)) * scale[:, None] / scale
    b = exact.to_float(exact.fractions_to_mp(plain_b)) * scale
    bound = entry_bound(order, a) * order
    assert_within(system.A, a, bound)
    assert_within(system.B, b, bound)


@pytest.mark.parametrize("order", [1, 4])
def test_a_map_with_clock_window_divides_by_the_window(order):
    for window in (1.0, 0.25):
        system = rv.hippo.derive("legendre", (*MAPS["window"], "window"), order, window=window)
        a, b = oracle.legt(order, "lebesgue", window)
        assert system.clock == "window"
        assert system.window == window
        assert_within(system.A, a, entry_bound(order, a))
        assert_within(system.B, b, ENTRY * EPS * b.max())


@pytest.mark.parametrize(
    ("case", "order"), case_orders([Case("legs", "lebesgue"), Case("legt", "lebesgue")], (1, 4, 9))
)
def test_a_derived_system_works_like_a_named_one(case, order):
    system = rv.hippo.derive("legendre", case.clock, order, window=0.7)
    named = case.system(order, window=0.7)
    x = np.linspace(-1, 2, order)
    bound = SUM * order * ENTRY * EPS * np.abs(named.A).max() * np.abs(x).sum()
    assert_within(system.apply(x), named.apply(x), bound)
    matrix = np.eye(order) - 0.3 * named.A
    z = named.solve(0.3, x)
    bound = SUM * order * ENTRY * EPS * np.linalg.cond(matrix) * np.abs(z).max()
    assert_within(system.solve(0.3, x), z, bound)
    u = np.sin(np.arange(30.0))
    step = 1.0 if case.clock == "scaled" else 0.05
    expected = rv.hippo.project(u, named, step=step, rule="bilinear-split")
    found = rv.hippo.project(u, system, step=step, rule="bilinear-split")
    bound = SUM * order * ENTRY * len(u) * EPS * np.abs(expected).max()
    assert_within(found, expected, bound)


def test_nearly_dependent_functions_warn_with_the_condition_number():
    """Monomials on [0, 1]: their Gram matrix is the Hilbert matrix."""
    monomials = (lambda n, s: s**n, lambda n, s: n * s ** max(n - 1, 0))
    with pytest.warns(rv.IllConditionedWarning, match="nearly dependent") as record:
        rv.hippo.derive(monomials, "scaled", 6, interval=(0.0, 1.0))
    hilbert = 1.0 / (np.arange(6)[:, None] + np.arange(6) + 1.0)
    condition = np.linalg.cond(hilbert)
    assert record[0].message.value == pytest.approx(condition, rel=SUM * 6 * EPS * condition)
    assert record[0].filename == __file__


def test_dependent_functions_are_refused():
    constant = (lambda n, s: 1.0 + 0.0 * s, lambda n, s: 0.0 * s)
    with pytest.raises(rv.InvalidArgument, match="linearly independent"):
        rv.hippo.derive(constant, "scaled", 3, interval=(0.0, 1.0))
