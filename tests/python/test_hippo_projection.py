"""optimal, reconstruct, reconstruction_error, orders of convergence, real recordings."""

from __future__ import annotations

import numpy as np
import pytest
import pywt.data
from hippo_support import (
    CASES,
    DEFAULT_CASES,
    ENTRY,
    EPS,
    EPS32,
    REAL_CASES,
    RULES,
    SUM,
    Case,
    assert_bits,
    assert_within,
    case_orders,
    dense,
    poles,
    signal,
    stability_warnings_allowed,
    step_for,
)

import resolvent as rv
from oracles import exact
from oracles import hippo as oracle

LENGTH = 24
# Systems whose coefficients obey their equation exactly: lower triangular, nothing is closed off.
EXACT = [c for c in REAL_CASES if c.measure in ("legs", "lagt", "glagt", "malmquist")]


def oracle_optimal(case, order, u, ends, at, window):
    """The projection by quadrature in every cell."""
    return oracle.optimal(
        case.measure, order, u, ends, at, window=window, **case.function_keywords(order)
    )


def function_size(case, order, window, horizon):
    """max |analysis function|, times the length over which it is integrated."""
    s = np.linspace(0, 1 if case.clock != "invariant" else horizon / window, 101)[1:]
    analysis, _ = oracle.functions(case.measure, order, s, **case.function_keywords(order))
    return np.abs(analysis).max() * (s[-1] if case.clock == "invariant" else 1.0)


@pytest.mark.parametrize(("case", "order"), case_orders(CASES, (1, 2, 5, 8)))
def test_optimal_is_the_quadrature_in_every_cell(case, order):
    step, window = (1.0, 1.0) if case.clock == "scaled" else (0.05, 0.4)
    u = signal((3, LENGTH))
    ends = step * np.arange(1, LENGTH + 1)
    instants = np.array([0.3, 1.0, 7.5, 8.0, 13.37, LENGTH]) * step
    found = rv.hippo.optimal(u, case.system(order, window), at=instants, step=step)
    assert found.shape == (3, len(instants), order)
    bound = SUM * (order + LENGTH) * ENTRY * EPS * np.abs(u).max()
    bound *= function_size(case, order, window, ends[-1])
    for i, at in enumerate(instants):
        expected = oracle_optimal(case, order, u, ends, at, window)
        assert_within(found[:, i], expected, bound, f"at {at}")
        alone = rv.hippo.optimal(u, case.system(order, window), at=float(at), step=step)
        assert_bits(alone, np.ascontiguousarray(found[:, i]))
    assert_bits(rv.hippo.optimal(u, case.system(order, window), step=step), alone)


@pytest.mark.parametrize("case", REAL_CASES, ids=str)
def test_optimal_with_irregular_times(case):
    rng = np.random.default_rng(8)
    ends = np.cumsum(rng.uniform(0.2, 2, LENGTH)) * step_for(case)
    u = signal((LENGTH,))
    at = ends[-1] * 0.9
    expected = oracle_optimal(case, 6, u, ends, at, 0.7)
    found = rv.hippo.optimal(u, case.system(6, 0.7), at=at, times=ends)
    bound = SUM * (6 + LENGTH) * ENTRY * EPS * np.abs(u).max()
    assert_within(found, expected, bound * function_size(case, 6, 0.7, ends[-1]))


@pytest.mark.parametrize("measure", ["legs", "legt", "lagt", "fout"])
def test_optimal_of_high_order_matches_the_quadrature(measure):
    case, order = Case(measure, "probability"), 64
    step, window = (1.0, 1.0) if case.clock == "scaled" else (0.05, 0.7)
    u = signal((LENGTH,))
    ends = step * np.arange(1, LENGTH + 1)
    expected = oracle.optimal(measure, order, u, ends, ends[-1], window=window, nodes=160)
    found = rv.hippo.optimal(u, case.system(order, window), step=step)
    bound = SUM * (order + LENGTH) * ENTRY * EPS * np.abs(u).max()
    assert_within(found, expected, bound * function_size(case, order, window, ends[-1]))


@pytest.mark.parametrize("order", [1, 2, 8, 24])
def test_optimal_legs_in_exact_fractions(order):
    """Cells are intervals with rational ends, the basis is a polynomial: exact integrals."""
    u = signal((5,))
    plain = [exact.compose_shift(exact.legendre_coefficients(n)) for n in range(order)]
    expected = np.zeros(order)
    for n, p in enumerate(plain):
        cells = [
            exact.integral(p, exact.Fraction(k, 5), exact.Fraction(k + 1, 5)) for k in range(5)
        ]
        total = sum(exact.Fraction(float(v)) * cell for v, cell in zip(u, cells, strict=True))
        expected[n] = float(total) * np.sqrt(2 * n + 1)
    found = rv.hippo.optimal(u, rv.hippo.system("legs", order))
    bound = SUM * (order + 5) * EPS * np.abs(u).max() * np.sqrt(2 * order - 1)
    assert_within(found, expected, bound)


@pytest.mark.parametrize("order", [1, 5, 8])
def test_optimal_of_invariant_legs(order):
    u, step, window = signal((2, LENGTH)), 0.1, 0.7
    ends = step * np.arange(1, LENGTH + 1)
    expected = oracle.optimal(
        "legs", order, u, ends, ends[-1], window=window, invariant=True, nodes=60
    )
    system = rv.hippo.system("legs", order, window=window).invariant()
    found = rv.hippo.optimal(u, system, step=step)
    bound = SUM * (order + LENGTH) * ENTRY * EPS * np.abs(u).max() * np.sqrt(2 * order - 1)
    assert_within(found, expected, bound)


@pytest.mark.parametrize(
    ("basis", "name"),
    [
        (basis, name)
        for basis in ("legendre", "chebyshev", "fourier")
        for name in ("window", "scaled", "sqrt")
        if (basis, name) != ("chebyshev", "sqrt")  # that map needs an interval from 0
    ],
)
def test_optimal_of_derived_systems(basis, name):
    """c_n = int u(t_T(s)) g_n(s) ds for the maps and bases that `derive` knows by name."""
    order = 5
    interval = (0, 1) if basis == "fourier" or name == "sqrt" else (-1, 1)
    g = {
        "legendre": (
            oracle.legendre_orthonormal
            if name != "sqrt"
            else lambda n, s: np.sqrt(2) * oracle.legendre_orthonormal(n, 2 * s - 1)
        ),
        "chebyshev": oracle.chebyshev_orthonormal,
        "fourier": oracle.fourier_real,
    }[basis]
    inverse = (lambda r: r**2) if name == "sqrt" else (lambda r: r)
    low, high = interval
    u = signal((2, LENGTH))
    system = rv.hippo.derive(basis, name, order, window=float(LENGTH))
    # a window as long as the signal sees what the whole-history map sees
    expected = oracle.derived_optimal(
        g,
        interval,
        order,
        u,
        np.arange(1, LENGTH + 1),
        float(LENGTH),
        lambda r: low + (high - low) * inverse(r),
        nodes=40,
    )
    found = rv.hippo.optimal(u, system)
    bound = SUM * (order + LENGTH) * ENTRY * EPS * np.abs(u).max() * 4
    assert_within(found, expected, bound)


# ---------------------------------------------------------------------------------------------
# The exact rule is the projection where nothing is closed off.


@pytest.mark.parametrize(("case", "order"), case_orders(EXACT, (1, 2, 3, 5, 8)))
@pytest.mark.parametrize("irregular", [False, True])
def test_the_exact_rule_is_the_projection(case, order, irregular):
    """The coefficients' equation is exact, so is its solution: at every sample, to rounding."""
    step = 1.0 if case.clock == "scaled" else 0.1
    u = signal((2, LENGTH))
    ends = step * np.arange(1, LENGTH + 1.0)
    options = {"step": step}
    if irregular:
        ends = np.cumsum(np.random.default_rng(1).uniform(0.2, 2, LENGTH)) * step
        options = {"times": ends}
    system = case.system(order, 0.7)
    stepped = rv.hippo.project(u, system, rule="exact", every=1, **options)
    projected = rv.hippo.optimal(u, system, at=ends, **options)
    _, bound = dense(case, order, u, rule="exact", times=ends, window=0.7)
    bound = bound + SUM * (order + LENGTH) * ENTRY * EPS * np.abs(u).max() * function_size(
        case, order, 0.7, ends[-1]
    )
    assert_within(stepped, projected, bound)


@pytest.mark.parametrize("order", [1, 5, 33])
def test_the_exact_rule_is_the_projection_on_invariant_legs(order):
    u = signal((2, LENGTH))
    system = rv.hippo.system("legs", order, window=0.7).invariant()
    stepped = rv.hippo.project(u, system, rule="zoh", step=0.1, every=1)
    projected = rv.hippo.optimal(u, system, step=0.1, at=0.1 * np.arange(1, LENGTH + 1))
    a, b = oracle.legs(order)
    _, condition = oracle.run_with_condition(
        a / 0.7, b / 0.7, u, rule="zoh", clock="invariant", step=0.1
    )
    assert_within(stepped, projected, SUM * (order + LENGTH) * ENTRY * EPS * condition[:, None])


@pytest.mark.parametrize("order", [2, 5, 8])
def test_the_exact_rule_is_the_projection_for_the_square_root_map(order):
    """(phi g_n)' stays in the span: also triangular, also exact."""
    u = signal((2, LENGTH))
    system = rv.hippo.derive("legendre", "sqrt", order)
    stepped = rv.hippo.project(u, system, rule="exact")
    projected = rv.hippo.optimal(u, system)
    bound = SUM * (order + LENGTH) * ENTRY * EPS * np.abs(u).max() * order**2
    assert_within(stepped, projected, bound)


@pytest.mark.parametrize("order", [33, 256])
def test_the_exact_rule_is_the_projection_at_high_order(order):
    """300 samples, no dense matrix in sight: two O(N) algorithms must meet."""
    u = signal((300,))
    system = rv.hippo.system("legs", order)
    stepped = rv.hippo.project(u, system, rule="exact")
    projected = rv.hippo.optimal(u, system)
    bound = SUM * (order + 300) * EPS * np.abs(u).max() * np.sqrt(2 * order)
    assert_within(stepped, projected, bound)


@pytest.mark.parametrize("measure", ["legt", "fout", "fous"])
def test_the_exact_rule_is_not_the_projection_where_the_window_is_closed_off(measure):
    """Otherwise the comparisons above would prove nothing: closures have an error of their own."""
    case = Case(measure, "probability")
    step = 1.0 if case.clock == "scaled" else 0.1
    u = signal((LENGTH,))
    system = case.system(9, 0.7)
    stepped = rv.hippo.project(u, system, rule="exact", step=step)
    projected = rv.hippo.optimal(u, system, step=step)
    assert np.abs(stepped - projected).max() > 1e6 * EPS


# ---------------------------------------------------------------------------------------------
# Orders of convergence.

ORDER_OF = {
    "forward": 1,
    "backward": 1,
    "bilinear": 1,
    "bilinear-split": 2,
    "gbt": 1,
    "zoh": 1,
    "exact": 2,
}
# An observed order counts as p when it is nearer to p than to any other integer.
HALF = 0.5


def _smooth(t):
    """Constant until 1/2, then smooth (C^3): the first cell [0, 1/2] is projected exactly."""
    x = np.maximum(t - 0.5, 0)
    return 1 + 40 * x**4 * np.cos(5 * t)


def _averages(ends):
    """Mean of the signal over each cell, by Gauss quadrature."""
    edges = np.concatenate([[0.0], ends])
    y, w = np.polynomial.legendre.leggauss(12)
    low, high = edges[:-1, None], edges[1:, None]
    values = _smooth(low + (high - low) * (y + 1) / 2)
    values[0] = 1.0
    return values @ w / 2


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [2, 9])
def test_order_of_convergence_of_legs(rule, order):
    """Cell averages of a smooth signal on [1/2, 1] in n cells, against its exact projection.

    `bilinear` weighs the input with h/t0 alone and is of order 1; `bilinear-split` of order 2.
    """
    case = Case("legs", "probability")
    s, w = (
        np.concatenate(v)
        for v in zip(
            oracle.gauss_legendre(60, 0, 0.5), oracle.gauss_legendre(60, 0.5, 1), strict=True
        )
    )
    best = (oracle.functions("legs", order, s)[0] * w) @ _smooth(s)
    errors = []
    for cells in (256, 512, 1024):
        times = np.concatenate([[0.5], 0.5 + np.arange(1, cells + 1) * (0.5 / cells)])
        with stability_warnings_allowed(rule):
            x = rv.hippo.project(
                _averages(times), case.system(order), rule=rule, times=times, alpha=0.25
            )
        errors.append(np.linalg.norm(x - best))
    observed = np.diff(-np.log2(errors))
    assert np.all(np.abs(observed - ORDER_OF[rule]) < HALF), observed


def test_near_the_origin_the_order_has_a_logarithm():
    """Equal steps from t = 0: h/t is not small in the first cells.

    On mode -1 the defect of step k decays as k/L: sum_k k^-2 k/L = O(log L/L) for `bilinear` and
    O(log L/L^2) for `bilinear-split`. So error L^p grows by equal amounts per doubling of L.
    """
    s, w = oracle.gauss_legendre(60, 0, 1)
    system = rv.hippo.system("legs", 2)
    function = lambda t: np.sin(3 * t + 0.4) + 0.5 * np.cos(7 * t)  # noqa: E731
    integral = lambda t: -np.cos(3 * t + 0.4) / 3 + np.sin(7 * t) / 14  # noqa: E731
    best = (oracle.functions("legs", 2, s)[0] * w) @ function(s)
    for rule, power in (("bilinear", 1), ("bilinear-split", 2)):
        scaled = []
        for length in (256, 512, 1024, 2048):
            u = np.diff(integral(np.arange(length + 1) / length)) * length
            error = np.linalg.norm(rv.hippo.project(u, system, rule=rule) - best)
            scaled.append(error * length**power)
        growth = np.diff(scaled)
        assert np.all(growth > 0), rule
        assert growth.max() < 1.25 * growth.min(), rule  # logarithmic; an order less: ratio 4


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("measure", ["lagt", "malmquist"])
def test_order_of_convergence_on_a_fixed_clock(rule, measure):
    """x(T) for u = sin^4, by quadrature against the impulse response; zoh and bilinear: order 2."""
    order, horizon, window = 6, 2.0, 0.7
    expected_order = 2 if rule in ("bilinear", "bilinear-split", "zoh", "exact") else 1
    case = Case(measure, "probability")
    t, w = oracle.gauss_legendre(100, 0, horizon)
    lag = (horizon - t) / window
    analysis = oracle.functions(measure, order, lag, **case.function_keywords(order))[0]
    best = (analysis * w / window) @ np.sin(t) ** 4
    integral = lambda t: 3 * t / 8 - np.sin(2 * t) / 4 + np.sin(4 * t) / 32  # noqa: E731
    errors = []
    for length in (128, 256, 512):
        edges = horizon * np.arange(length + 1) / length
        u = np.diff(integral(edges)) / np.diff(edges)
        with stability_warnings_allowed(rule):
            x = rv.hippo.project(
                u, case.system(order, window), rule=rule, step=horizon / length, alpha=0.25
            )
        errors.append(np.linalg.norm(x - best))
    observed = np.diff(-np.log2(errors))
    assert np.all(np.abs(observed - expected_order) < HALF), observed


# ---------------------------------------------------------------------------------------------
# Reconstruction.


@pytest.mark.parametrize(("case", "order"), case_orders(CASES, (1, 5, 8)))
def test_reconstruct_is_the_sum_of_the_basis(case, order):
    window, now = 0.7, 3.0
    system = case.system(order, window)
    c = signal((2, 3, order)).astype(system.A.dtype)
    if case.normalization == "complex":  # coefficients of a real signal
        c = signal((2, 3, order)) @ oracle.fourier_real_to_complex(order).T
    times = np.array([2.35, 2.5, 2.9, 3.0])
    s = {
        "scaled": times / now,
        "window": 1 - (now - times) / window,
        "invariant": (now - times) / window,
    }[case.clock]
    _, synthesis = oracle.functions(case.measure, order, s, **case.function_keywords(order))
    expected = c @ synthesis
    bound = SUM * (order + ENTRY) * ENTRY * EPS * (np.abs(c) @ np.abs(synthesis)).max()
    found = rv.hippo.reconstruct(c, system, times, now)
    assert found.shape == (2, 3, 4)
    assert not np.iscomplexobj(found)
    assert_within(found, expected.real, bound)


def test_reconstruct_on_invariant_legs():
    system = rv.hippo.system("legs", 5, window=2.0).invariant()
    c, times, now = signal((5,)), np.array([0.5, 2.0, 3.0]), 3.0
    _, synthesis = oracle.functions("legs", 5, np.exp(-(now - times) / 2.0))
    bound = SUM * ENTRY * 5 * EPS * (np.abs(c) @ np.abs(synthesis)).max()
    assert_within(rv.hippo.reconstruct(c, system, times, now), c @ synthesis, bound)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_memory_reconstructs_at_its_own_time(case):
    step = step_for(case)
    memory = rv.hippo.Memory(case.system(5, 0.7), step=step, channels=(2,))
    memory.update(signal((2, LENGTH)))
    times = np.array([0.6, 0.8, 1.0]) * memory.time
    expected = rv.hippo.reconstruct(memory.coefficients, case.system(5, 0.7), times, memory.time)
    assert_bits(memory.reconstruct(times), expected)


@pytest.mark.parametrize("order", [1, 4, 9])
def test_polynomials_below_the_order_come_back(order):
    """A polynomial of degree N-1 is its own projection: analysis, then reconstruct."""
    s, w = oracle.gauss_legendre(order + 2, 0, 1)
    p = np.polynomial.Polynomial(np.arange(1, order + 1) * (-1.0) ** np.arange(order))
    t = np.linspace(0, 3, 7)
    for name in oracle.NORMALIZATIONS["legs"]:
        c = (oracle.functions("legs", order, s, normalization=name)[0] * w) @ p(s)
        system = rv.hippo.system("legs", order, normalization=name)
        bound = SUM * ENTRY * order**2 * EPS * np.abs(p(t / 3)).max() * np.sqrt(2 * order)
        assert_within(rv.hippo.reconstruct(c, system, t, 3.0), p(t / 3), bound)


def test_reconstruct_keeps_single_precision():
    system = rv.hippo.system("legs", 6)
    c = signal((3, 6), dtype=np.float32)
    found = rv.hippo.reconstruct(c, system, [0.5, 1.0], 1.0)
    assert found.dtype == np.float32
    exact_values = rv.hippo.reconstruct(c.astype(float), system, [0.5, 1.0], 1.0)
    bound = SUM * ENTRY * 6 * EPS32 * np.abs(exact_values).max() * 6
    assert_within(found, exact_values, bound)


@pytest.mark.parametrize("normalization", ["probability", "lebesgue", "legendre"])
@pytest.mark.parametrize("order", [1, 8, 40])
def test_the_projection_is_the_best_polynomial(normalization, order):
    """Its residual is orthogonal to the basis, by quadrature cell by cell; Bessel holds."""
    u, length = signal((30,)), 30
    system = rv.hippo.system("legs", order, normalization=normalization)
    c = rv.hippo.optimal(u, system)
    energy = 0.0
    products = np.zeros(order)
    for k in range(length):
        s, w = oracle.gauss_legendre(order + 1, k / length, (k + 1) / length)
        residual = u[k] - rv.hippo.reconstruct(c, system, s * length, float(length))
        products += (oracle.functions("legs", order, s)[0] * w) @ residual
        energy += w @ residual**2
    bound = SUM * (order + length) * ENTRY * EPS * np.abs(u).max() * np.sqrt(2 * order)
    assert_within(products, np.zeros(order), bound)
    plain = rv.hippo.convert(c, system, "probability")
    mean_square = np.mean(u**2)
    assert energy == pytest.approx(mean_square - plain @ plain, abs=bound * np.abs(u).max() * 8)


# ---------------------------------------------------------------------------------------------
# reconstruction_error.


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
def test_reconstruction_error_is_consistent(case):
    u = np.sin(np.arange(60) / 7.0) + 0.1 * signal((60,))
    step = 1.0
    system = case.system(9, 1.0 if case.clock == "scaled" else 30.0)
    result = rv.hippo.reconstruction_error(u, system, step=step, rule="bilinear-split")
    assert result.times.shape == result.signal.shape
    assert result.reconstruction.shape == result.signal.shape
    bound = ENTRY * EPS * max(np.abs(result.signal).max(), np.abs(result.reconstruction).max())
    assert_within(np.abs(result.error), np.abs(result.reconstruction - result.signal), bound)
    assert result.rmse == pytest.approx(np.sqrt(np.mean(result.error**2)), rel=100 * EPS)
    power = np.mean(result.signal**2)
    assert result.snr_db == pytest.approx(10 * np.log10(power / result.rmse**2), rel=1000 * EPS)
    x = rv.hippo.project(u, system, step=step, rule="bilinear-split")
    rebuilt = rv.hippo.reconstruct(x, system, result.times, 60.0)
    assert_within(result.reconstruction, rebuilt, SUM * ENTRY * 9 * EPS * np.abs(x).sum() * 5)
    cell = np.clip(np.ceil(result.times / step).astype(int) - 1, 0, 59)
    assert_bits(result.signal, u[cell])


def test_reconstruction_error_of_the_exact_rule_is_the_optimal_one():
    u = signal((50,))
    result = rv.hippo.reconstruction_error(u, rv.hippo.system("legs", 20), rule="exact")
    assert result.rmse == pytest.approx(result.optimal_rmse, rel=SUM * 70 * ENTRY * EPS * 40)
    assert "rmse" in repr(result).lower()


def test_reconstruction_error_falls_with_the_order():
    """L2 projections onto nested spaces."""
    u = np.sin(np.arange(80) / 5.0)
    optima = [
        rv.hippo.reconstruction_error(u, rv.hippo.system("legs", n)).optimal_rmse
        for n in (2, 8, 32)
    ]
    assert optima[0] > optima[1] > optima[2]


def test_reconstruction_error_plots():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    result = rv.hippo.reconstruction_error(signal((40,)), rv.hippo.system("legs", 8))
    figure, ax = plt.subplots()
    assert result.plot(ax=ax) is ax
    drawn = [line.get_ydata() for line in ax.lines]
    assert any(len(y) == 40 and np.array_equal(y, result.reconstruction) for y in drawn)
    lower = ax.child_axes[-1]
    assert any(np.array_equal(line.get_ydata(), result.error) for line in lower.lines)
    assert "RMSE" in ax.get_title("left")
    assert ax.get_xlabel() == "time"
    plt.close(figure)
    plt.close(result.plot().figure)


# ---------------------------------------------------------------------------------------------
# Real recordings (they come with PyWavelets; no network).


def _recording(name):
    return (pywt.data.ecg() if name == "ecg" else pywt.data.nino()[1]).copy()


@pytest.mark.parametrize("name", ["ecg", "nino"])
@pytest.mark.parametrize("order", [16, 64, 256])
def test_recordings_are_kept_exactly_as_well_as_they_can_be(name, order):
    """legs with the exact rule is the projection, at every quarter of the recording."""
    u = _recording(name)
    system = rv.hippo.system("legs", order)
    quarter = len(u) // 4
    stepped = rv.hippo.project(u, system, rule="exact", every=quarter)
    projected = rv.hippo.optimal(u, system, at=quarter * np.arange(1, 5))
    bound = SUM * (order + len(u)) * EPS * np.abs(u).max() * np.sqrt(2 * order)
    assert_within(stepped, projected, bound)


@pytest.mark.parametrize("name", ["ecg", "nino"])
def test_recordings_against_brute_force(name):
    u = _recording(name).astype(float)[:200]
    expected = oracle.optimal("legs", 32, u, np.arange(1, 201), 200.0, nodes=17)
    found = rv.hippo.optimal(u, rv.hippo.system("legs", 32))
    assert_within(found, expected, SUM * (32 + 200) * EPS * np.abs(u).max() * 8)


@pytest.mark.parametrize("name", ["ecg", "nino"])
@pytest.mark.parametrize("rule", [r for r in RULES if r not in ("exact", "forward")])
def test_rules_approach_the_projection_of_a_recording(name, rule):
    """The same held signal in 1, 4, 16 steps per sample.

    The input is exactly constant in a step, so what is left is the rule itself: order 2 for
    `bilinear-split`, 1 for the others (near t = 0 with a logarithm, hence the range).
    """
    u = _recording(name).astype(float)
    u = u[:128] / np.abs(u[:128]).max()
    system = rv.hippo.system("legs", 8)
    best = rv.hippo.optimal(u, system)
    errors = []
    for repeat in (4, 16, 64):
        with stability_warnings_allowed(rule):
            x = rv.hippo.project(np.repeat(u, repeat), system, rule=rule, alpha=0.75)
        errors.append(np.linalg.norm(x - best))
    observed = np.diff(-np.log(errors)) / np.log(4)
    expected = 2 if rule == "bilinear-split" else 1
    assert np.all(np.abs(observed - expected) < HALF), observed


def test_poles_of_malmquist_matter_for_recordings():
    """Other poles keep another part of the ECG, and never more than there is."""
    u = _recording("ecg")[:400].astype(float)
    u -= u.mean()
    kept = []
    for p in (np.full(12, 0.5), poles(12)):
        system = rv.hippo.system("malmquist", 12, poles=p, window=20.0)
        c = rv.hippo.optimal(u, system)
        kept.append(20.0 * (c @ c) / (u @ u))
    assert all(0 < k <= 1 + 400 * EPS for k in kept)  # Bessel
    assert kept[0] != kept[1]
