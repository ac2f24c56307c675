"""Pseudospectra and numerical ranges: grids against NumPy point by point, regions by their laws."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hippo_support import ENTRY, EPS, assert_bits, assert_within, poles
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import spectral as oracle

# The singular values of NumPy's own decomposition are right to a few N eps times the norm.
SVD = 16
# Where sigma is above this many floors, `tolerance` is promised.
RESOLVED = 1e3


def norm(matrix):
    return np.linalg.norm(matrix, 2)


def random_matrix(order, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((order, order)) + 1j * rng.standard_normal((order, order))


def normal_matrix(order, seed=0):
    q, _ = np.linalg.qr(random_matrix(order, seed))
    values = random_matrix(order, seed + 1)[0]
    return q @ np.diag(values) @ q.conj().T, values


def system(measure, order, **options):
    if measure == "malmquist":
        options["poles"] = poles(order)
    return rv.hippo.system(measure, order, **options)


MATRICES = {
    "legs": system("legs", 8).A,
    "legs-32": system("legs", 32).A,
    "legt": system("legt", 9).A,
    "lagt": system("lagt", 16).A,
    "fout": system("fout", 7).A,
    "fout-complex": system("fout", 7, normalization="complex").A,
    "fous": system("fous", 5).A,
    "malmquist": system("malmquist", 6).A,
    "random-real": random_matrix(10, 1).real,
    "random-complex": random_matrix(12, 2),
    "jordan": np.eye(6, k=1),
    "jordan-shifted": 0.5 * np.eye(4, k=-1) + (2 - 1j) * np.eye(4),
    "normal": normal_matrix(7)[0],
    "hermitian": random_matrix(6, 3) + random_matrix(6, 3).conj().T,
    "symmetric": random_matrix(6, 4).real + random_matrix(6, 4).real.T,
    "skew": random_matrix(5, 5).real - random_matrix(5, 5).real.T,
    "upper": np.triu(random_matrix(6, 6)),
    "lower": np.tril(random_matrix(6, 7)),
    "one": np.array([[2.0 - 1.0j]]),
    "one-real": np.array([[-3.0]]),
    "two": np.array([[0.0, 100.0], [0.0, 0.0]]),
    "zero": np.zeros((3, 3)),
    "identity": np.eye(4),
    "rank-one": np.ones((5, 5)),
    "large": 1e8 * random_matrix(5, 8),
    "small": 1e-8 * random_matrix(5, 8),
    "graded": np.diag(10.0 ** np.arange(-3, 4)) @ random_matrix(7, 9),
}


def around(a, stretch=1.5):
    """A box that holds the spectrum with a margin."""
    values = np.linalg.eigvals(a)
    centre = values.mean()
    reach = stretch * max(np.abs(values - centre).max(), 0.3 * norm(a), 1e-3)
    return (
        centre.real - reach,
        centre.real + reach,
        centre.imag - 0.9 * reach,
        centre.imag + 1.1 * reach,
    )


def assert_sigma(found, a, tolerance=1e-8):
    """Every point against an SVD: `tolerance` relative where resolved, absolutely below."""
    a = np.asarray(a)
    expected = oracle.sigma_min(a, found.real, found.imag)
    corners = np.abs(found.real).max() + np.abs(found.imag).max()
    rounding = SVD * len(a) * EPS * (norm(a) + corners)
    unresolved = np.where(expected > RESOLVED * found.floor, 0.0, RESOLVED * found.floor)
    assert_within(found.sigma, expected, tolerance * expected + rounding + unresolved)


# ---------------------------------------------------------------------------------------------
# Pseudospectra.


@pytest.mark.parametrize("name", MATRICES)
def test_every_point_against_a_singular_value_decomposition(name):
    a = MATRICES[name]
    left, right, bottom, top = box = around(a)
    found = rv.spectral.pseudospectrum(a, box, (15, 11))
    assert found.sigma.shape == (11, 15)
    assert_within(found.real, np.linspace(left, right, 15), ENTRY * EPS * np.abs(box).max())
    assert_within(found.imag, np.linspace(bottom, top, 11), ENTRY * EPS * np.abs(box).max())
    assert (found.sigma >= 0).all()
    assert_sigma(found, a)
    rounding = 1 + SVD * len(a) * EPS
    assert norm(a) / rounding <= found.norm <= np.linalg.norm(a) * rounding  # 2-norm to Frobenius
    assert abs(found.floor - EPS * found.norm) <= ENTRY * EPS * found.floor
    values = np.linalg.eigvals(a)
    loss = (SVD * len(a) * EPS) ** (1 / len(a))  # what a Jordan block makes of rounding
    for value in values:
        assert np.abs(found.eigenvalues - value).min() <= 2 * loss * max(norm(a), EPS)


@pytest.mark.parametrize("measure", ["legs", "legt", "lagt", "fout", "malmquist"])
@pytest.mark.parametrize("order", [1, 2, 9])
def test_a_system_stands_for_its_matrix(measure, order):
    one = system(measure, order, window=0.5)
    box = around(one.A)
    by_system = rv.spectral.pseudospectrum(one, box, (9, 7))
    by_matrix = rv.spectral.pseudospectrum(one.A, box, (9, 7))
    assert_sigma(by_system, one.A)
    tolerance = 2e-8 * by_matrix.sigma + 2 * RESOLVED * by_matrix.floor
    assert_within(by_system.sigma, by_matrix.sigma, tolerance)


@pytest.mark.parametrize("order", [6, 8])
@pytest.mark.parametrize("name", ["legs", "lagt", "jordan"])
def test_small_values_against_forty_digits(name, order):
    """Close to the spectrum, where NumPy's own singular values have lost the promised digits."""
    a = np.eye(order, k=1) if name == "jordan" else system(name, order).A
    centre = np.linalg.eigvals(a).mean().real
    box = (centre - 0.3, centre + 0.3, 0.05, 0.3)
    found = rv.spectral.pseudospectrum(a, box, (4, 3))
    counted = 0
    for i, y in enumerate(found.imag):
        for k, x in enumerate(found.real):
            expected = oracle.sigma_min_exact(a, x + 1j * y, 40)
            if expected > RESOLVED * found.floor:
                counted += 1
                assert abs(found.sigma[i, k] / expected - 1) <= 1e-8
    assert counted >= 6


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8, 1e-10, 1e-13])
@pytest.mark.parametrize("order", [5, 40])
def test_tolerance_is_kept(tolerance, order):
    """Also one below rounding, which cannot be reached: what is possible is given then."""
    a = random_matrix(order, 12)
    found = rv.spectral.pseudospectrum(a, around(a, 1.1), (20, 20), tolerance=tolerance)
    assert_sigma(found, a, tolerance)


def test_the_default_box_holds_all_eigenvalues_with_a_margin():
    for name, a in MATRICES.items():
        found = rv.spectral.pseudospectrum(a, points=(6, 5))
        values = np.linalg.eigvals(a)
        assert found.sigma.shape == (5, 6), name
        assert found.real[0] < values.real.min(), name
        assert found.real[-1] > values.real.max(), name
        assert found.imag[0] < values.imag.min(), name
        assert found.imag[-1] > values.imag.max(), name
        assert_sigma(found, a)


def test_points_as_one_number_is_a_square_grid():
    found = rv.spectral.pseudospectrum(np.eye(2), (0.0, 2.0, -1.0, 1.0), 5)
    assert found.sigma.shape == (5, 5)
    assert_within(found.sigma, np.abs(found.real + 1j * found.imag[:, None] - 1), SVD * EPS)


def test_normal_matrices_have_distances_to_the_spectrum():
    """sigma_min(zI - A) = min |z - lambda|."""
    a, values = normal_matrix(9, 20)
    found = rv.spectral.pseudospectrum(a, points=(12, 13))
    z = found.real + 1j * found.imag[:, None]
    distance = np.abs(z[..., None] - values).min(axis=-1)
    assert_within(found.sigma, distance, 1e-8 * distance + SVD * 9 * EPS * norm(a))


def test_below_the_floor_a_grid_point_on_an_eigenvalue():
    """z an eigenvalue exactly: sigma is rounding, never NaN, negative or large."""
    a = system("legs", 5).A
    found = rv.spectral.pseudospectrum(a, (-6.0, 0.0, -1.0, 1.0), (7, 3))
    on = found.sigma[1, 1:6]
    assert (on >= 0).all()
    assert (on <= RESOLVED * found.floor).all()
    zero = rv.spectral.pseudospectrum(np.zeros((2, 2)), (-1.0, 1.0, -1.0, 1.0), 3)
    assert_within(zero.sigma, np.abs(zero.real + 1j * zero.imag[:, None]), SVD * EPS)


@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(-3, 3), st.floats(-3, 3))
def test_laws_of_the_smallest_singular_value(order, seed, x, y):
    """Shifts move the picture, scalars stretch it, adjoints mirror it; 1-Lipschitz in z."""
    a = random_matrix(order, seed)
    box, grid = (-3.0, 3.0, -2.0, 2.0), (4, 3)
    plain = rv.spectral.pseudospectrum(a, box, grid)
    moved = rv.spectral.pseudospectrum(
        a + (x + 1j * y) * np.eye(order), (x - 3, x + 3, y - 2, y + 2), grid
    )
    rounding = 2e-8 * plain.sigma + RESOLVED * (plain.floor + moved.floor)
    assert_within(moved.sigma, plain.sigma, rounding)
    double = rv.spectral.pseudospectrum(2 * a, tuple(2 * v for v in box), grid)
    assert_within(double.sigma, 2 * plain.sigma, 2 * rounding)
    mirrored = rv.spectral.pseudospectrum(a.conj().T, box, grid)
    assert_within(mirrored.sigma[::-1], plain.sigma, rounding)
    steps = np.abs(np.diff(plain.sigma, axis=1))
    assert (steps <= 2.0 + 2 * rounding.max()).all()


def test_pseudospectra_of_real_matrices_are_symmetric():
    for name in ("legs", "legt", "random-real", "lagt"):
        found = rv.spectral.pseudospectrum(MATRICES[name], (-9.0, 3.0, -4.0, 4.0), (9, 9))
        bound = 2e-8 * found.sigma + RESOLVED * found.floor
        assert_within(found.sigma[::-1], found.sigma, bound)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.int64])
def test_types_of_the_matrix(dtype):
    a = (4 * random_matrix(4, 13)).astype(dtype) if dtype == np.complex64 else None
    a = (4 * random_matrix(4, 13).real).astype(dtype) if a is None else a
    found = rv.spectral.pseudospectrum(a, (-5.0, 5.0, -5.0, 5.0), 6)
    wide = rv.spectral.pseudospectrum(a.astype(np.complex128), (-5.0, 5.0, -5.0, 5.0), 6)
    assert found.sigma.dtype == np.float64
    assert_within(found.sigma, wide.sigma, 2e-8 * wide.sigma)
    assert_bits(found.real, wide.real)


@pytest.mark.slow
def test_a_larger_matrix():
    a = system("legs", 64).A
    found = rv.spectral.pseudospectrum(a, (-80.0, 20.0, -60.0, 60.0), (15, 10))
    assert_sigma(found, a)
    b = random_matrix(100, 14)
    assert_sigma(rv.spectral.pseudospectrum(b, points=8), b)


# ---------------------------------------------------------------------------------------------
# Numerical ranges.


@pytest.mark.parametrize("name", MATRICES)
def test_boundary_points_lie_on_the_boundary(name):
    """No direction reaches beyond its support line, and each point touches one."""
    a = MATRICES[name]
    found = rv.spectral.numerical_range(a, 48)
    assert found.boundary.shape == found.angles.shape == (48,)
    assert found.boundary.dtype == np.complex128
    rounding = SVD * len(a) * EPS * norm(a)
    directions = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    supports = np.array([oracle.support(a, angle) for angle in directions])
    reach = (np.exp(-1j * directions)[:, None] * found.boundary).real
    assert (reach <= supports[:, None] + rounding).all()
    for angle, z in zip(found.angles, found.boundary, strict=True):
        assert abs((np.exp(-1j * angle) * z).real - oracle.support(a, angle)) <= rounding
    assert (np.diff(found.angles) > 0).all()
    assert found.angles[-1] - found.angles[0] < 2 * np.pi


@pytest.mark.parametrize("name", MATRICES)
def test_abscissa_and_radius_are_the_extremes(name):
    a = MATRICES[name]
    found = rv.spectral.numerical_range(a)
    rounding = SVD * len(a) * EPS * norm(a)
    assert abs(found.abscissa - oracle.support(a, 0.0)) <= rounding
    assert abs(found.radius - oracle.numerical_radius(a)) <= rounding
    spectral = np.abs(np.linalg.eigvals(a)).max()
    assert spectral - norm(a) * (SVD * len(a) * EPS) ** (1 / len(a)) <= found.radius
    assert found.radius <= norm(a) + rounding
    assert found.radius >= norm(a) / 2 - rounding


@pytest.mark.parametrize("name", MATRICES)
def test_the_boundary_turns_counter_clockwise(name):
    z = rv.spectral.numerical_range(MATRICES[name], 64).boundary
    sides = np.diff(np.concatenate([z, z[:1]]))
    turns = (sides.conj() * np.roll(sides, -1)).imag
    rounding = SVD * len(MATRICES[name]) * EPS * norm(MATRICES[name]) ** 2
    assert (turns >= -rounding).all()


def test_the_range_of_a_normal_matrix_is_the_hull_of_its_eigenvalues():
    a, values = normal_matrix(8, 30)
    found = rv.spectral.numerical_range(a, 256)
    hull = oracle.convex_hull(values)
    rounding = 1e3 * SVD * 8 * EPS * norm(a)  # eigenvectors, near ties of two corners
    for z in found.boundary:
        assert distance_to_polygon(z, hull) <= rounding
    for corner in hull:
        assert np.abs(found.boundary - corner).min() <= rounding


def distance_to_polygon(z, corners):
    best = np.inf
    for p, q in zip(corners, [*corners[1:], corners[0]], strict=True):
        side = q - p
        along = np.clip(((z - p) * side.conjugate()).real / abs(side) ** 2, 0, 1)
        best = min(best, abs(z - p - along * side))
    return best


@pytest.mark.parametrize(("scale", "centre"), [(1.0, 0.0), (3.0, 2 - 1j)])
def test_the_range_of_a_jordan_block_of_two_is_a_disc(scale, centre):
    a = scale * np.eye(2, k=1) + centre * np.eye(2)
    found = rv.spectral.numerical_range(a, 32)
    bound = SVD * 2 * EPS * norm(a)
    assert_within(np.abs(found.boundary - centre), np.full(32, scale / 2), bound)
    assert abs(found.abscissa - (np.real(centre) + scale / 2)) <= bound
    assert abs(found.radius - (abs(centre) + scale / 2)) <= bound


@pytest.mark.parametrize("order", [3, 6])
def test_the_range_of_a_larger_jordan_block_is_a_disc(order):
    """Radius cos(pi/(n+1))."""
    found = rv.spectral.numerical_range(np.eye(order, k=1), 24)
    radius = np.cos(np.pi / (order + 1))
    assert_within(np.abs(found.boundary), np.full(24, radius), SVD * order * EPS)


def test_the_range_of_two_by_two_is_an_ellipse():
    """Foci at the eigenvalues, minor axis |c| for [[x, c], [0, y]]."""
    x, y, c = 1.0 + 1j, -2.0, 1.5
    found = rv.spectral.numerical_range(np.array([[x, c], [0, y]]), 40)
    major = np.sqrt(abs(x - y) ** 2 + c**2)
    sums = np.abs(found.boundary - x) + np.abs(found.boundary - y)
    assert_within(sums, np.full(40, major), SVD * 4 * EPS * major)


@pytest.mark.parametrize("order", [1, 2, 9])
@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist", "legt"])
def test_abscissa_of_the_systems(measure, order):
    """A + A^T = 2 shift - b b^T - ...: dissipative; legs: -1/2 for N > 1."""
    one = system(measure, order)
    found = rv.spectral.numerical_range(one)
    shift = -0.5 if measure == "legs" else 0.0
    rank = 2 if measure == "legt" else 1
    exact = shift if order > rank else oracle.support(one.A, 0.0)
    assert abs(found.abscissa - exact) <= SVD * order * EPS * norm(one.A)
    if order > 1:
        assert_within(
            np.sort_complex(found.eigenvalues),
            np.sort_complex(np.linalg.eigvals(one.A)),
            norm(one.A) * (SVD * order * EPS) ** (1 / order),
        )


@given(st.integers(1, 7), st.integers(0, 10**6))
def test_the_range_holds_quotients_and_moves_with_the_matrix(order, seed):
    """x* A x for unit x is inside; W(cA + d) = c W(A) + d."""
    a = random_matrix(order, seed)
    found = rv.spectral.numerical_range(a, 40)
    x = random_matrix(order, seed + 1)
    x = x / np.linalg.norm(x, axis=0)
    quotients = np.einsum("ij,ik,kj->j", x.conj(), a, x)
    rounding = SVD * order * EPS * norm(a)
    supports = (np.exp(-1j * found.angles) * found.boundary).real
    inside = (np.exp(-1j * found.angles)[:, None] * quotients).real
    assert (inside <= supports[:, None] + rounding).all()
    other = rv.spectral.numerical_range(-2 * a + (3 - 1j) * np.eye(order), 40)
    for angle, z in zip(other.angles, other.boundary, strict=True):
        expected = 2 * oracle.support(a, angle + np.pi) + (np.exp(-1j * angle) * (3 - 1j)).real
        assert abs((np.exp(-1j * angle) * z).real - expected) <= 8 * rounding + ENTRY * EPS * 8


# ---------------------------------------------------------------------------------------------
# Pictures.


def test_plots_draw_on_the_axes_given():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrum = rv.spectral.pseudospectrum(system("legs", 6), points=12)
        for model in (
            spectrum,
            rv.spectral.numerical_range(system("legs", 6), 24),
            rv.spectral.normal_spectrum(system("legs", 6)),
            rv.spectral.dplr(system("legt", 6)),
            rv.spectral.pade_delay(4),
        ):
            drawn = model.plot(ax=axes)
            assert axes.has_data()
            assert drawn is not None
        spectrum.plot(ax=axes, levels=[-3.0, -2.0, -1.0])
        spectrum.plot()
        figure.canvas.draw()
    plt.close("all")
