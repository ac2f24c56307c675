"""normal_spectrum and phase: against 50 digits, against a dense solver, and by their laws."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hippo_support import ENTRY, EPS, SUM, assert_bits, assert_within, poles
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import spectral as oracle

# The promise of normal_spectrum for mu and for the weights, at every order and index.
RELATIVE = 1e-13
# A dense Hermitian solver moves eigenvalues by a few N eps times the norm.
DENSE = 16

ORDERS = (1, 2, 3, 7, 64, 1000)
LARGE = 10**6


def cascade(measure, order, **options):
    if measure == "malmquist":
        options.setdefault("poles", poles(order))
    return rv.hippo.system(measure, order, **options)


def assert_promised(spectrum, measure, indices, *, scale=1, factor=1, **keywords):
    """mu[j] = mu_j/scale and weights[j] = factor w_j/scale^2 to the promised relative error."""
    order = len(spectrum.mu)
    for j in indices:
        mu, weight = oracle.normal_pair(measure, order, j, **keywords)
        if 2 * j == order - 1:
            assert spectrum.mu[j] == 0.0
        else:
            error = oracle.relative_error(spectrum.mu[j] * scale, mu)
            assert error <= RELATIVE, f"mu[{j}] of {order}: {error:.1e}"
        error = oracle.relative_error(spectrum.weights[j] * scale**2, weight * factor)
        assert error <= RELATIVE, f"weights[{j}] of {order}: {error:.1e}"


# ---------------------------------------------------------------------------------------------
# The references agree with each other.


@pytest.mark.parametrize("order", [1, 2, 3, 7, 12])
def test_the_two_forms_of_the_phase_of_legs_have_the_same_roots(order):
    by_sums = oracle.PhaseSum(oracle.cascade_poles("legs", order))
    for j in range(order):
        one = oracle.phase_root(oracle.PhaseLegS(order), j)
        two = oracle.phase_root(by_sums, j)
        with mp.workdps(oracle.DIGITS):
            assert mp.almosteq(one, two, 1e-40)
            bisected = oracle.phase_bisection(by_sums, j, 20)
            assert abs(bisected - one) <= mp.mpf(10) ** -19 * max(abs(one), 1)


@pytest.mark.parametrize("order", [1, 2, 7, 30])
def test_the_tangent_form_of_lagt_solves_the_phase_equation(order):
    phase = oracle.PhaseSum(oracle.cascade_poles("lagt", order))
    for j in range(order):
        mu, weight = oracle.lagt_root(order, j)
        with mp.workdps(oracle.DIGITS):
            assert mp.almosteq(oracle.phase_root(phase, j), mu, 1e-40)
            assert mp.almosteq(4 / phase.slope(mu), weight, 1e-40)


@pytest.mark.parametrize("order", [1, 2, 3, 8, 21])
def test_the_phase_equation_is_the_spectrum_of_the_skew_part(order):
    """The reference itself, against LAPACK: |q_j* b|^2 = 4/Phi'(mu_j)."""
    for measure, options in (("legs", {}), ("lagt", {}), ("malmquist", {"poles": poles(order)})):
        form = oracle.normal_form(measure, order, **options)
        mu, q = form.spectrum()
        size = np.linalg.norm(form.K, 2) + np.linalg.norm(form.B) ** 2
        pairs = [oracle.normal_pair(measure, order, j, **options) for j in range(order)]
        expected = np.array(pairs, dtype=float).T
        assert_within(mu, expected[0], DENSE * order * EPS * size)
        weights = np.abs(q.conj().T @ form.B_o) ** 2
        gap = np.diff(mu).max(initial=-np.inf) if order > 1 else -1.0  # -smallest distance
        assert_within(weights, expected[1], DENSE * order * EPS * size**2 / -gap)


# ---------------------------------------------------------------------------------------------
# Accuracy.


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("measure", ["legs", "lagt", "glagt"])
def test_every_sampled_eigenvalue_and_weight_is_right_to_13_digits(measure, order):
    spectrum = rv.spectral.normal_spectrum(cascade(measure, order, **_plain(measure)))
    indices = range(order) if order <= 7 else oracle.sampled(order)
    assert_promised(spectrum, measure, indices)


def _plain(measure):
    """GLagT with alpha = 0 in the coordinates where its b is one."""
    return {"normalization": "laguerre", "alpha": 0.0} if measure == "glagt" else {}


@pytest.mark.parametrize("measure", ["legs", "lagt"])
def test_thirteen_digits_at_order_one_million(measure):
    spectrum = rv.spectral.normal_spectrum(rv.hippo.system(measure, LARGE))
    assert_promised(spectrum, measure, [*oracle.sampled(LARGE), 10, 1000, LARGE // 2 - 1000])


@pytest.mark.parametrize("order", [100, 101, 4097, 30000])
def test_legs_keeps_its_digits_where_the_formulas_change_over(order):
    """mu runs from below 1 to N^2/pi: every branch of log-gamma, digamma and their differences."""
    spectrum = rv.spectral.normal_spectrum(rv.hippo.system("legs", order))
    indices = np.unique(np.geomspace(1, order // 2, 20).astype(int) - 1)
    from_the_middle = (order - 1) // 2 - indices
    assert_promised(spectrum, "legs", sorted({*indices.tolist(), *from_the_middle.tolist()}))


@pytest.mark.parametrize("order", [1, 2, 3, 7, 64])
def test_malmquist_is_right_to_13_digits(order):
    p = poles(order)
    spectrum = rv.spectral.normal_spectrum(rv.hippo.system("malmquist", order, poles=p))
    assert_promised(spectrum, "malmquist", oracle.sampled(order), poles=p)


def test_malmquist_of_a_thousand_poles_over_ten_decades():
    p = np.geomspace(1e-5, 1e5, 1000)
    spectrum = rv.spectral.normal_spectrum(rv.hippo.system("malmquist", 1000, poles=p))
    assert_promised(spectrum, "malmquist", [0, 499], poles=p)


@given(
    st.lists(st.floats(-12, 12), min_size=1, max_size=9).map(lambda v: 10.0 ** np.array(v)),
    st.integers(0, 3),
)
def test_malmquist_with_random_poles_over_many_decades(p, repeats):
    """Phi is increasing: the root lies between the two points where its sign changes."""
    p = np.concatenate([p, p[:repeats]])
    order = len(p)
    spectrum = rv.spectral.normal_spectrum(rv.hippo.system("malmquist", order, poles=p))
    assert (np.diff(spectrum.mu) < 0).all()
    phase = oracle.phase_of("malmquist", order, p)
    with mp.workdps(oracle.DIGITS):
        for j in range((order + 1) // 2):
            target = (order - 1 - 2 * j) * mp.pi
            mu = mp.mpf(float(spectrum.mu[j]))
            if target == 0:
                assert mu == 0
            else:
                assert phase.value(mu * (1 - mp.mpf(RELATIVE))) < target
                assert phase.value(mu * (1 + mp.mpf(RELATIVE))) > target
            # d ln Phi'/d ln mu lies in (-2, 0]: the error of mu enters at most twice
            error = oracle.relative_error(spectrum.weights[j], 4 / phase.slope(mu))
            assert error <= 3 * RELATIVE


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_malmquist_of_extreme_poles_only_scales(scale):
    p = poles(7)
    one = rv.spectral.normal_spectrum(rv.hippo.system("malmquist", 7, poles=p))
    other = rv.spectral.normal_spectrum(rv.hippo.system("malmquist", 7, poles=scale * p))
    assert_within(other.mu / scale, one.mu, 2 * RELATIVE * np.abs(one.mu))
    assert_within(other.weights / scale, one.weights, 2 * RELATIVE * one.weights)


@pytest.mark.parametrize("order", [2, 3, 8, 33])
def test_malmquist_holds_lagt_and_legs(order):
    for measure, p in (("lagt", np.full(order, 0.5)), ("legs", np.arange(order) + 0.5)):
        named = rv.spectral.normal_spectrum(rv.hippo.system(measure, order))
        free = rv.spectral.normal_spectrum(rv.hippo.system("malmquist", order, poles=p))
        assert_within(free.mu, named.mu, 2 * RELATIVE * np.abs(named.mu))
        assert_within(free.weights, named.weights, 2 * RELATIVE * named.weights)


# ---------------------------------------------------------------------------------------------
# Normalisations, windows, clocks: against the matrices of the system.

VARIANTS = [
    ("legs", {}),
    ("legs", {"normalization": "lebesgue"}),
    ("legs", {"normalization": "legendre"}),
    ("lagt", {}),
    ("lagt", {"normalization": "lebesgue"}),
    ("glagt", {"normalization": "laguerre"}),
    ("glagt", {"normalization": "laguerre", "alpha": 0.4, "beta": 0.2}),
    ("glagt", {"normalization": "probability", "alpha": 0.4, "beta": 0.2}),
    ("malmquist", {}),
    ("malmquist", {"normalization": "lebesgue"}),
]


@pytest.mark.parametrize("window", [1.0, 0.25, 3.7])
@pytest.mark.parametrize("order", [1, 2, 3, 7, 8, 33])
@pytest.mark.parametrize(("measure", "options"), VARIANTS, ids=str)
def test_spectrum_of_the_matrices_that_the_system_shows(measure, options, order, window):
    """K = A + b b^T/2 - shift I by LAPACK; weights from its eigenvectors and the system's B."""
    system = cascade(measure, order, window=window, **options)
    system = system.invariant() if measure == "legs" else system
    keywords = {"poles": poles(order)} if measure == "malmquist" else {}
    form = oracle.normal_form(measure, order, window=window, **options, **keywords)
    spectrum = rv.spectral.normal_spectrum(system)
    size = np.linalg.norm(form.K, 2) + np.linalg.norm(form.G) ** 2
    mu, q = form.spectrum()
    bound = DENSE * order * EPS * size
    assert_within(spectrum.mu, mu, bound)
    assert abs(spectrum.shift - form.shift) <= ENTRY * EPS * abs(form.shift)
    assert_within(spectrum.eigenvalues, form.shift + 1j * mu, bound)
    gap = -np.diff(mu).max() if order > 1 else size
    weights = np.abs(q.conj().T @ form.B_o) ** 2
    tolerance = 4 * bound / gap * np.linalg.norm(form.B_o) ** 2
    assert_within(spectrum.weights, weights, tolerance + SUM * order * EPS * weights.max())


@pytest.mark.parametrize("order", [1, 7, 64])
def test_the_scaled_clock_of_legs_has_no_window(order):
    plain = rv.spectral.normal_spectrum(rv.hippo.system("legs", order))
    windowed = rv.spectral.normal_spectrum(rv.hippo.system("legs", order, window=5.0))
    assert_bits(windowed.mu, plain.mu)
    assert_bits(windowed.weights, plain.weights)
    assert windowed.shift == plain.shift == -0.5
    invariant = rv.hippo.system("legs", order, window=4.0).invariant()
    divided = rv.spectral.normal_spectrum(invariant)
    assert_promised(divided, "legs", oracle.sampled(order), scale=4)
    assert divided.shift == -0.125


@pytest.mark.parametrize("normalization", ["probability", "lebesgue", "legendre"])
def test_thirteen_digits_in_every_normalization_of_legs(normalization):
    spectrum = rv.spectral.normal_spectrum(rv.hippo.system("legs", 64, normalization=normalization))
    factor = 2 if normalization == "lebesgue" else 1
    assert_promised(spectrum, "legs", [0, 17, 31, 32, 63], factor=factor)


# ---------------------------------------------------------------------------------------------
# Laws.


@pytest.mark.parametrize("order", [1, 2, 3, 8, 33, 1001])
@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist"])
def test_sums_of_weights_and_squares_are_those_of_the_matrices(measure, order):
    """sum w = B^T B; sum mu^2 = ||K||_F^2, with K_nk = -+b_n b_k/2 off the diagonal."""
    system = cascade(measure, order, window=0.5)
    system = system.invariant() if measure == "legs" else system
    spectrum = rv.spectral.normal_spectrum(system)
    square = float(system.B @ system.B)
    assert abs(spectrum.weights.sum() - square) <= (RELATIVE + SUM * order * EPS) * square
    # b b^T/2 = G G^T, b = sqrt(w) B: ||K||_F^2 = (|b|^4 - sum b^4)/4 in units of 1/w^2
    b2 = system.B**2 * 0.5
    norm = (b2.sum() ** 2 - (b2**2).sum()) / 4
    assert abs((spectrum.mu**2).sum() - norm) <= (2 * RELATIVE + SUM * order * EPS) * b2.sum() ** 2


@pytest.mark.parametrize("order", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist"])
def test_characteristic_polynomial_of_the_skew_part(measure, order):
    """prod (s - i mu_j) = det(sI - K) at a few points."""
    form = oracle.normal_form(
        measure, order, **({"poles": poles(order)} if measure == "malmquist" else {})
    )
    spectrum = rv.spectral.normal_spectrum(cascade(measure, order))
    for s in (0.7, -0.2 + 1.1j, 3j):
        expected = np.linalg.det(s * np.eye(order) - form.K)
        found = np.prod(s - 1j * spectrum.mu)
        size = np.prod(abs(s) + np.abs(spectrum.mu))
        assert abs(found - expected) <= DENSE * order**2 * EPS * max(size, abs(expected))


@pytest.mark.parametrize("order", [1, 2, 5, 64, 1001, 10**5])
@pytest.mark.parametrize("measure", ["legs", "lagt", "glagt", "malmquist"])
def test_descending_positive_and_exactly_symmetric(measure, order):
    if measure in ("malmquist", "glagt"):
        order = min(order, 1500)  # N^2 terms
    spectrum = rv.spectral.normal_spectrum(cascade(measure, order))
    assert spectrum.mu.shape == spectrum.weights.shape == (order,)
    assert spectrum.mu.dtype == spectrum.weights.dtype == np.float64
    assert (np.diff(spectrum.mu) < 0).all()
    assert (spectrum.mu == -spectrum.mu[::-1]).all()
    assert (spectrum.weights > 0).all()
    assert (spectrum.weights == spectrum.weights[::-1]).all()
    if order % 2:
        assert spectrum.mu[order // 2] == 0.0
        assert not np.signbit(spectrum.mu[order // 2])
    assert np.isfinite(spectrum.mu).all()
    assert np.isfinite(spectrum.weights).all()


@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist"])
def test_weights_are_four_over_the_slope_of_the_phase(measure):
    """weights = 4/(w Phi'(mu)) when Phi is differentiated in the system's own unit of time."""
    for window in (1.0, 0.3):
        system = cascade(measure, 40, window=window)
        system = system.invariant() if measure == "legs" else system
        spectrum = rv.spectral.normal_spectrum(system)
        slope = rv.spectral.phase(system, spectrum.mu, derivative=True)
        assert_within(4 / (window * slope), spectrum.weights, 3 * RELATIVE * spectrum.weights)
        value = rv.spectral.phase(system, spectrum.mu)
        target = (39 - 2 * np.arange(40)) * np.pi
        # an error of mu enters the phase times mu Phi'(mu) <= |Phi|
        assert_within(value, target, 2 * RELATIVE * np.abs(target))


# ---------------------------------------------------------------------------------------------
# The phase function.


def exact_phase(phase, mu):
    with mp.workdps(oracle.digits_for(phase.order)):
        value, slope = phase.value(mp.mpf(float(mu))), phase.slope(mp.mpf(float(mu)))
        return float(value), float(slope)


@pytest.mark.parametrize("order", [1, 2, 7, 64, 1000, LARGE])
def test_phase_of_legs_against_50_digits(order):
    """From mu far below the first pole to mu far above N^2, where Phi saturates at N pi."""
    mu = np.concatenate([[0.0], 10.0 ** np.linspace(-8, 16, 49)])
    mu = np.concatenate([-mu, mu])
    system = rv.hippo.system("legs", order)
    expected = np.array([exact_phase(oracle.PhaseLegS(order), v) for v in mu]).T
    value = rv.spectral.phase(system, mu)
    slope = rv.spectral.phase(system, mu, derivative=True)
    assert_within(value, expected[0], RELATIVE * np.abs(expected[0]), "phase")
    assert_within(slope, expected[1], RELATIVE * expected[1], "slope")


@pytest.mark.parametrize("measure", ["lagt", "glagt", "malmquist"])
@pytest.mark.parametrize("window", [1.0, 0.3])
def test_phase_of_the_other_cascades_against_50_digits(measure, window):
    order, mu = 12, np.array([0.0, -3e-9, 1e-3, 0.5, 2.0, -40.0, 1e9])
    system = cascade(measure, order, window=window)
    phase = oracle.phase_of(measure, order, poles(order))
    expected = np.array([exact_phase(phase, v * window) for v in mu]).T
    # v * window is rounded once
    assert_within(
        rv.spectral.phase(system, mu), expected[0], RELATIVE * np.abs(expected[0]), "phase"
    )
    slope = rv.spectral.phase(system, mu, derivative=True)
    assert_within(slope, window * expected[1], RELATIVE * window * expected[1], "slope")


def test_phase_follows_the_window_of_the_invariant_legs():
    system = rv.hippo.system("legs", 9, window=4.0)
    mu = np.linspace(-5, 5, 11)
    assert_bits(rv.spectral.phase(system, mu), rv.spectral.phase(rv.hippo.system("legs", 9), mu))
    assert_bits(rv.spectral.phase(system.invariant(), mu), rv.spectral.phase(system, 4 * mu))
    slopes = [
        rv.spectral.phase(one, at, derivative=True)
        for one, at in ((system.invariant(), mu), (system, 4 * mu))
    ]
    assert_within(slopes[0], 4 * slopes[1], ENTRY * EPS * np.abs(slopes[0]))


@given(
    st.sampled_from(["legs", "lagt", "malmquist"]),
    st.integers(1, 40),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_phase_is_odd_increasing_and_bounded(measure, order, x, y):
    system = cascade(measure, order)
    one, two = rv.spectral.phase(system, [x, y])
    assert rv.spectral.phase(system, [-x])[0] == -one
    assert abs(one) <= order * np.pi * (1 + RELATIVE)
    if x < y:
        assert one <= two + RELATIVE * max(abs(one), abs(two))
    assert rv.spectral.phase(system, [x], derivative=True)[0] > 0


def test_phase_takes_any_shape():
    system = rv.hippo.system("legs", 5)
    grid = np.linspace(-3, 3, 24).reshape(2, 3, 4)
    whole = rv.spectral.phase(system, grid)
    assert whole.shape == grid.shape
    assert_bits(whole.ravel(), rv.spectral.phase(system, grid.ravel()))
    assert_bits(np.ascontiguousarray(whole[:, ::2]), rv.spectral.phase(system, grid[:, ::2]))
    assert np.shape(rv.spectral.phase(system, 0.5)) == ()
    assert rv.spectral.phase(system, np.zeros((0, 3))).shape == (0, 3)
    assert_bits(rv.spectral.phase(system, [1, 2]), rv.spectral.phase(system, [1.0, 2.0]))
