"""What the captions of the kernel figures claim; the plots of kernels and audits."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import resolvent as rv

pytest.importorskip("pywt")

from resolvent.figures import ssm as figures
from resolvent.plot import ssm as plot

EPS = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)

#: Kernels agree to this times eps times their length, relative to the largest sample.
AGREE = 8


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


def digits(error: float) -> float:
    return float(np.log10(error / EPS))


# ---- what the captions claim --------------------------------------------------------------------


@pytest.fixture(scope="module")
def errors():
    return figures.route_errors()


@pytest.mark.skipif(
    np.finfo(np.longdouble).eps >= EPS, reason="no extended precision on this machine"
)
@pytest.mark.parametrize("route", ["power", "recurrence", "dplr", "allpass"])
def test_four_routes_keep_their_digits(errors, route):
    assert errors.errors[route].max() < AGREE * len(errors.exact) * EPS
    assert errors.conditions[route] is None


def test_eigenvectors_lose_nine_digits_and_coefficients_six(errors):
    assert len(errors.errors) == 7
    for route in ("diagonal", "scan"):
        assert digits(errors.errors[route].max()) == pytest.approx(9.0, abs=1.0)
        assert errors.errors[route].max() < errors.conditions[route] * EPS
    assert digits(errors.errors["rational"].max()) == pytest.approx(6.0, abs=1.0)
    assert errors.errors["rational"].max() < errors.conditions["rational"] * EPS


def test_first_kernels_are_the_known_functions():
    step = 0.005
    found = figures.first_kernels("legs", order=8, step=step)
    t = found.times
    for n, row in enumerate(found.components):
        last = np.zeros(n + 1)
        last[n] = np.sqrt(2 * n + 1)
        exact = np.exp(-t) * np.polynomial.legendre.legval(2 * np.exp(-t) - 1, last)
        # The mean over a step against the middle: second order in the step.
        assert np.abs(row - exact).max() < step
    lin = figures.first_kernels("s4d-lin", order=8, step=step)
    for n, row in enumerate(lin.components):
        cosine = 2 * np.exp(-t / 2) * np.cos(np.pi * n * t)
        assert np.abs(row - cosine).max() < step
    legt = figures.first_kernels("legt", order=8).components
    assert np.abs(legt[:, t > 1.6]).max() < 0.02 * np.abs(legt).max()  # only a window


def test_frequencies_of_the_s4d_models():
    found = figures.frequencies(8)
    assert found["lin"] == pytest.approx(np.pi * np.arange(4))
    for kind in ("inv", "legs"):
        gaps = np.diff(found[kind])
        assert np.all(gaps[1:] > 2 * gaps[:-1])


def test_costs():
    sizes = 2.0 ** np.arange(4, 11)
    by_size = figures.operations(sizes, np.array(16384.0))
    growth = {name: values[-1] / values[0] for name, values in by_size.items()}
    assert growth["rational"] < 2
    for name in ("dplr", "allpass", "diagonal", "recurrence, normal form"):
        assert growth[name] == pytest.approx(64, rel=0.25)  # linear in N
    assert growth["recurrence"] == pytest.approx(64**2, rel=0.25)
    cheaper = by_size["power"] < by_size["dplr"]
    assert list(sizes[cheaper]) == [16, 32, 64]
    by_length = figures.operations(np.array(64.0), 2.0 ** np.array([10, 20]))
    for name in ("dplr", "allpass", "diagonal", "recurrence"):
        assert by_length[name][1] / by_length[name][0] == pytest.approx(1024, rel=0.2)


def test_recurrence_and_convolution_are_the_same_filter():
    found = figures.filtered_ecg()
    length = len(found.signal)
    for kind in ("sums", "transforms"):
        assert np.abs(found.differences[kind]).max() < AGREE * EPS * np.log2(length)
    single = np.abs(found.differences["transforms in float32"]).max()
    assert EPS32 / 8 < single < AGREE * EPS32 * np.log2(length)
    # As late as it says: the best match of output and recording.
    lags = np.arange(2 * found.delay)
    match = [found.outputs[lag:] @ found.signal[: length - lag] for lag in lags]
    assert abs(int(np.argmax(match)) - found.delay) <= 1


def test_transforms_see_the_periodic_sum():
    found = figures.circle_values()
    length = len(found.periodic)
    at_bins = np.round(found.bins / found.omega[1]).astype(int)
    tolerance = AGREE * length * EPS * np.abs(found.kernel).sum()
    assert np.abs(found.whole[at_bins] - found.of_periodic).max() < tolerance
    assert np.abs(found.truncated[at_bins] - found.of_first).max() < tolerance
    # The periodic sum is not the kernel here, and G_L ripples where G does not.
    assert np.abs(found.periodic - found.kernel[:length]).max() > 0.05 * found.kernel.max()

    def turns(values):
        return int(np.count_nonzero(np.diff(np.sign(np.diff(values)))))

    assert turns(found.whole) <= 2
    assert turns(found.truncated) > length // 2


# ---- plots --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [(), (3,), (2, 7)])
def test_plot_kernel(axes, rows):
    C = np.random.default_rng(0).standard_normal((*rows, 4))
    K = rv.ssm.kernel(rv.hippo.system("legs", 4), 50, step=0.1, C=C)
    assert K.plot(axes) is axes
    assert len(axes.lines) == 1 + min(int(np.prod(rows)), 8)  # and the axis
    assert axes.get_title() == f"Kernel, route {K.info.route}"


def test_plot_complex_kernel(axes):
    model = rv.spectral.Diagonal([-0.5 + 3j], [1.0], [1.0])
    plot.plot_kernel(rv.ssm.kernel(model, 20, step=0.1), axes)
    assert len(axes.lines) == 3  # real part, imaginary part, the axis


def test_plot_audit(axes):
    legs = rv.hippo.system("legs", 6)
    result = rv.ssm.audit(legs, np.ones(40), step=0.1, C=np.ones(6))
    assert result.plot(axes) is axes
    shown = {line.get_label() for line in axes.lines}
    assert shown == set(result.routes) - {result.reference}
