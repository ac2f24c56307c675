"""What the captions of the spectral figures claim; the plots of their results."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from matplotlib.figure import Figure
from test_figures import drawn_share

import resolvent as rv
from resolvent.figures import spectral as figures
from resolvent.plot import spectral as plot

EPS = float(np.finfo(np.float64).eps)

#: A frequency is right to its rounding and that of one evaluation of the phase.
ROOT = 8
#: What a dense eigensolver adds per unknown, relative to the norm of the matrix.
SOLVER = 8


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


# ---- what the captions claim --------------------------------------------------------------------


@pytest.mark.parametrize(("order", "checks"), [(2, 4), (6, 4), (64, 12), (1024, 12), (10**6, 4)])
def test_phase_equation_has_every_digit(order, checks):
    found = figures.eigenvalue_errors(order, dense=False, checks=checks)
    assert found.dense is None
    assert found.exact.max() < ROOT * EPS
    assert np.all(np.diff(found.mu) > 0.0)


def test_dense_solver_loses_the_slow_eigenvalues():
    found = figures.eigenvalue_errors(1024)
    assert found.dense[:5].max() > 1e4 * EPS
    # Its absolute error is that of a backward stable method: eps times the norm, the largest μ.
    assert np.max(found.dense * found.mu) < SOLVER * 1024 * EPS * found.mu[-1]


def test_diagonal_initialisations_meet_the_fast_end_at_most():
    found = figures.eigenvalue_errors(1024, dense=False).approximations
    assert set(found) == {"lin", "inv", "quad"}
    assert min(error[0] for error in found.values()) > 0.1
    assert max(found["inv"][-1], found["quad"][-1]) < 0.01
    assert found["lin"][-1] > 0.9


@pytest.mark.parametrize("measure", ["legs", "lagt"])
def test_phase_rises_through_every_level(measure):
    found = figures.phase_roots(measure=measure, order=8)
    assert np.all(np.diff(found.phase) > 0.0)
    poles = np.arange(8) + 0.5 if measure == "legs" else np.full(8, 0.5)
    own = 2.0 * np.arctan(found.roots[:, np.newaxis] / poles).sum(axis=1)
    assert np.allclose(own, found.levels, rtol=0.0, atol=ROOT * EPS * 8 * np.pi)
    slope = (2.0 * poles / (poles**2 + found.roots[:, np.newaxis] ** 2)).sum(axis=1)
    assert np.allclose(found.weights * slope, 4.0, rtol=ROOT * 8 * EPS)


def test_conditions_grow_and_the_dense_solver_saturates():
    found = figures.eigenvector_conditions(orders=(8, 16, 24, 64, 128))
    assert np.diff(found.exact)[-1] / 64 == pytest.approx(0.77, abs=0.01)
    assert found.exact[:3] == pytest.approx(np.log10([7.7e4, 8.3e10, 9.9e16]), abs=0.01)
    assert found.exact[2] > -np.log10(EPS) > found.exact[1]
    assert found.dense[:2] == pytest.approx(found.exact[:2], abs=0.01)
    assert found.dense[-2:].max() < 30 < found.exact[-2]
    assert np.abs(found.normal).max() < np.log10(1.0 + SOLVER * 128 * EPS)


def test_one_rounding_moves_eigenvalues_of_a_but_not_of_the_normal_part():
    found = figures.perturbed_eigenvalues(order=64, draws=3)
    assert np.array_equal(found.exact, -np.arange(1.0, 65.0))
    assert np.all(np.abs(found.perturbed.imag).max(axis=1) > 30.0)
    largest = rv.spectral.normal_spectrum(rv.hippo.system("legs", 64)).mu[0]
    # Bauer and Fike: no further than the perturbation, and the solver's own rounding.
    assert found.normal.max() < (1.0 + SOLVER * 64) * EPS * largest


def test_pseudospectra_of_fout_hug_the_eigenvalues_and_those_of_the_others_do_not():
    found = figures.relative_pseudospectra(order=25, points=60)
    fout = found["fout"]
    places = fout.real + 1j * fout.imag[:, np.newaxis]
    apart = np.abs(places[..., np.newaxis] - fout.eigenvalues).min(axis=-1)
    # For a normal matrix σ is the distance to the spectrum.
    assert np.all(fout.sigma > 0.1 * apart)
    for measure in ("legs", "legt", "lagt"):
        result = found[measure]
        assert result.sigma.min() < 1e-12 * result.norm
    legs = found["legs"]
    reached = np.abs(legs.imag)[(legs.sigma < 1e-10 * legs.norm).any(axis=1)]
    assert reached.max() > 3.0


def test_clipping_changes_b_by_a_phase_that_nothing_fixes():
    found = figures.clipped_input(order=64)
    assert found.relative_change == pytest.approx(0.91, abs=0.01)
    assert found.change[0] == 0.0
    assert found.change[-1] > 0.91
    assert np.all(np.diff(found.change) >= 0.0)
    assert np.allclose(
        np.sort(np.abs(found.given)),
        np.sort(np.sqrt(rv.spectral.normal_spectrum(rv.hippo.system("legs", 64)).weights)),
        rtol=SOLVER * 64 * 64 * EPS,
    )
    fast = np.abs(found.mu) > 100.0
    assert np.all(np.abs(found.clipped[fast]) < 0.7 * np.abs(found.given[fast]))
    assert np.all(found.loss[:3] < 0.05)
    assert np.all(found.loss[24:] > 0.5)


def test_impulse_response_is_the_exponential():
    system = rv.hippo.system("legs", 20)
    start = np.random.default_rng(0).standard_normal(20)
    got = figures._impulse_response(start, np.array([0.05, 0.7]))
    for t, row in zip((0.05, 0.7), got, strict=True):
        want = scipy.linalg.expm(t * system.A) @ start
        assert np.linalg.norm(row - want) < 20 * 20 * EPS * np.linalg.norm(start) * np.exp(t * 20)


def test_legt_poles_and_what_a_dense_solver_makes_of_them():
    found = figures.pade_poles()
    assert found.dense_error == pytest.approx(0.16, abs=0.05)
    assert figures.pade_poles(orders=(4, 8)).dense_error < 1e-11
    size = [np.abs(poles).max() for poles in found.exact.values()]
    assert np.all(np.diff(size) > 0.0)


def test_steps_come_out_ever_more_sharply():
    times = np.linspace(0.0, 2.0, 2001)
    rises = []
    for order in (4, 8, 16, 32):
        response = rv.spectral.pade_delay(order).step_response(times)
        low, high = np.flatnonzero(response > 0.25)[0], np.flatnonzero(response > 0.75)[0]
        rises.append(times[high] - times[low])
        assert times[low] < 1.05
        assert times[high] > 0.99
    assert np.all(np.diff(rises) < 0.0)
    assert rises[-1] < 0.05


# ---- plots --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 7, 20_000])
@pytest.mark.parametrize("measure", ["legs", "lagt"])
def test_plot_normal_spectrum(axes, measure, order):
    result = rv.spectral.normal_spectrum(rv.hippo.system(measure, order))
    assert result.plot(axes) is axes
    shown = len(axes.lines[0].get_xdata())
    assert shown == order if order < 3000 else 1000 < shown <= 3000
    assert drawn_share(axes.figure) > 0.01


@pytest.mark.parametrize("measure", ["legs", "legt", "fout", "lagt"])
@pytest.mark.parametrize("half", [False, True])
def test_plot_dplr(axes, measure, half):
    result = rv.spectral.dplr(rv.hippo.system(measure, 9), half=half)
    assert result.plot(axes) is axes
    assert len(axes.collections[0].get_offsets()) == (5 if half else 9)
    assert ("one of each pair" in axes.get_title()) == half
    assert drawn_share(axes.figure) > 0.01


def test_plot_dplr_made_by_hand(axes):
    result = rv.spectral.DPLR(
        np.array([-1.0, -1.0 + 2j]), np.ones((2, 1)), np.ones((2, 1)), np.zeros(2)
    )
    plot.plot_dplr(result, axes)
    assert axes.get_title() == "diagonal + rank 1"


def test_plot_pseudospectrum(axes):
    result = rv.spectral.pseudospectrum(rv.hippo.system("legs", 12), points=(20, 24))
    assert result.plot(axes, levels=[-8.0, -4.0, 0.0]) is axes
    assert axes.collections[0].levels.tolist() == [-8.0, -4.0, 0.0]
    assert len(axes.lines[0].get_xdata()) == 12
    # An eigenvalue on the grid has σ = 0, which has no logarithm.
    flat = rv.spectral.pseudospectrum([[0.0, 1.0], [0.0, 0.0]], (-1.0, 1.0, -1.0, 1.0), 3)
    plot.plot_pseudospectrum(flat, Figure().subplots())


def test_plot_numerical_range(axes):
    result = rv.spectral.numerical_range(rv.hippo.system("legs", 6), 32)
    assert result.plot(axes) is axes
    assert drawn_share(axes.figure) > 0.05


@pytest.mark.parametrize("order", [1, 2, 9])
def test_plot_pade_delay(axes, order):
    result = rv.spectral.pade_delay(order, window=0.5)
    plot.plot_pade_delay(result, axes)
    assert [len(line.get_xdata()) for line in axes.lines[-2:]] == [order, order - 1]
    other = Figure().subplots()
    for label in (None, "again"):
        plot.plot_step_response(result, other, label=label)
    assert [line.get_label() for line in other.lines] == [
        "delayed step",
        f"N = {order}",
        "again",
    ]
