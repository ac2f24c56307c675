"""What the captions of the rational figures claim; the plots of their results."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

import resolvent as rv
from resolvent import rational

pytest.importorskip("pywt")

from resolvent.figures import rational as figures

EPS = float(np.finfo(np.float64).eps)

#: Responses on a grid agree to this times eps times the order, relative to the largest.
AGREE = 32


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


# ---- what the captions claim --------------------------------------------------------------------


@pytest.fixture(scope="module")
def perturbed():
    return figures.perturbed_poles(draws=30)


def test_coefficients_leave_the_circle(perturbed):
    assert np.abs(perturbed.poles).max() < 0.91
    assert np.all(np.abs(perturbed.of_coefficients).max(axis=-1) > 1.0)  # of every draw
    assert perturbed.unstable["coefficients"][perturbed.sizes >= perturbed.step].min() == 1.0
    assert perturbed.unstable["coefficients"][0] == 0.0


def test_reflection_coefficients_do_not(perturbed):
    assert perturbed.far == pytest.approx(100 * perturbed.step)
    assert np.abs(perturbed.of_reflection).max() < 1.0
    assert not perturbed.unstable["reflection"].any()


def test_coefficients_lose_everything_and_sections_four_digits():
    for model in ("legs", "s4d-lin"):
        found = figures.form_losses(model, 0.01, orders=(8, 12, 24))
        assert np.all(found.errors["coefficients"][1:] > 1.0)
        assert np.all(found.errors["sections"] < 10**4.7 * EPS)


def test_poles_hold_s4d_but_not_legs():
    orders = (8, 12, 16, 24)
    s4d = figures.form_losses("s4d-lin", 0.01, orders=orders).errors["poles"]
    assert s4d.max() < 10**3 * EPS
    legs = figures.form_losses("legs", 0.01, orders=orders).errors["poles"]
    assert np.all(np.diff(legs) > 0.0)
    assert legs[-1] > 1e-2
    for order, error in zip(orders, legs, strict=True):
        condition = 10 ** rv.spectral.conditioning(rv.hippo.system("legs", order)).log10_condition
        assert error < condition * EPS


def test_fits_of_a_long_memory():
    found = figures.fits()
    for name in ("aaa", "era"):
        sums, quotients = found[name].parallel_errors, found[name].errors
        assert np.log10(sums[0] / sums[-1]) > 0.5 * (len(sums) - 1)  # half a digit per pole
        assert np.nanargmin(quotients) + 1 in (8, 9)
        assert quotients[-1] > 1e3 * sums[-1]
    assert found["prony"].parallel_errors[-1] > 1e3 * found["era"].parallel_errors[-1]


def test_fits_with_noise():
    length, noise = 512, 1e-3
    level = noise * np.sqrt(length / np.sum(1.0 / np.arange(1, length + 1)))
    found = figures.fits(length=length, noise=noise)
    era, aaa = found["era"].parallel_errors, found["aaa"].parallel_errors
    assert era[5:] == pytest.approx(level, rel=0.15)
    assert np.all(aaa[5:] > 0.9 * level)
    assert aaa[5:].max() > 2 * era[5:].max()
    assert found["prony"].parallel_errors.min() > 10 * level


def test_recall_reads_the_value_half_a_window_ago():
    # Each memory, given a long constant, says 1; the windows do so of a step's right side only.
    for measure in ("legs", "legt", "fout"):
        system, C = figures.recall(measure, order=16)
        assert C @ np.linalg.solve(-system.A, system.B) == pytest.approx(1.0, abs=0.15)


def test_legt_needs_half_its_states_and_others_more():
    values = {}
    for measure in ("legs", "legt", "fout", "lagt"):
        system, C = figures.recall(measure)
        values[measure] = rational.hankel_singular_values(system, C=C)
    assert values["legt"][0] == pytest.approx(1.0, abs=0.01)
    assert values["legt"][15] > 5e-3
    assert values["legt"][16] < 1e-4
    assert values["lagt"][31] > 0.05
    assert values["fout"][31] > 0.01
    assert 1e-4 < values["legs"][28] < 1e-2


def test_errors_of_reduced_models_stay_below_the_bound():
    found = figures.reduction_errors(orders=(2, 8, 14, 18, 20))
    for errors in found.errors.values():
        assert np.all(errors < found.bounds * (1 + 1e-6) + AGREE * 32 * EPS)
        assert errors[-1] > 0.1 * found.bounds[-1]
    assert np.all(np.diff(found.bounds) < 0.0)


def test_delay():
    window = 32
    G = figures.delay(window=window)
    assert G.is_stable()
    zeros = G.zeros()
    assert np.count_nonzero(np.abs(zeros) > 1.0) == G.order - 1
    # Below the cut-off: modulus 1, and a delay of the window within one sample.
    omega = np.linspace(0.01, 0.2, 20)
    values = G.frequency_response(omega)
    assert np.abs(values) == pytest.approx(1.0, abs=0.01)
    lag = -np.gradient(np.unwrap(np.angle(values)), omega)
    assert lag == pytest.approx(window, abs=1.0)
    assert abs(int(np.argmax(G.kernel(3 * window))) - window) <= 1


# ---- plots --------------------------------------------------------------------------------------


@pytest.fixture
def model():
    return rational.TransferFunction([1.0, 0.5, 0.2], [-0.5, 0.06, 0.1])


@pytest.mark.parametrize("view", ["bode", "nyquist", "pole_zero"])
def test_views_of_a_model(axes, model, view):
    assert getattr(model, view)(axes) is axes
    assert axes.lines


def test_bode_shows_magnitude_and_phase(axes, model):
    model.bode(axes)
    omega, magnitude = axes.lines[0].get_data()
    assert magnitude == pytest.approx(np.abs(model.frequency_response(omega)))
    phase = axes.figure.axes[-1].lines[0].get_ydata()
    turned = phase - np.degrees(np.angle(model.frequency_response(omega)))
    assert np.round(turned / 360) * 360 == pytest.approx(turned, abs=1e-9)


def test_pole_zero_shows_all_of_them(axes):
    rational.TransferFunction([1.0, 0.5], [-2.5, 1.0]).pole_zero(axes)
    labels = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert labels == ["poles", "poles outside", "zeros"]


@pytest.mark.parametrize("length", [5, 200])
def test_time_responses(axes, model, length):
    model.impulse(length, axes)
    model.step_response(length, axes)
    drawn = [np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) == length]
    assert drawn[0] == pytest.approx(model.kernel(length))
    assert drawn[1] == pytest.approx(np.cumsum(model.kernel(length)))


def test_plot_fit_and_singular_values():
    left, right = Figure(layout="constrained").subplots(1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = rational.fit(0.9 ** np.arange(40) + 0.5 ** np.arange(40), 4, "era")
    assert result.plot(left) is left
    assert left.lines[0].get_label() == "era"
    legs = rv.hippo.system("legs", 8)
    assert rational.reduce(legs, 3, C=np.ones(8)).plot(right) is right
    assert [len(line.get_xdata()) for line in right.lines] == [3, 5]
