"""What the captions of the discretisation figures claim; the plots of their results."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import resolvent as rv
from resolvent.figures import discretize as figures
from resolvent.plot import discretize as plot

EPS = float(np.finfo(np.float64).eps)

#: One step's error is a difference of numbers of size max(1, abs(e^z)), each to a few eps.
STEP = 8


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


# ---- what the captions claim --------------------------------------------------------------------


def test_only_forward_blows_the_systems_up():
    for values in figures.scaled_eigenvalues(order=16).values():
        assert np.abs(values).max() == pytest.approx(3.0)
        assert rv.discretize.stability_limit(values, "forward") < 1.0
        for rule in ("backward", "bilinear", "gbt", "zoh", "foh", "mamba"):
            assert rv.discretize.stability_limit(values, rule, alpha=0.75) == np.inf


@pytest.mark.parametrize(
    ("rule", "of", "exact"),
    [
        ("forward", "state", False),
        ("backward", "state", False),
        ("bilinear", "state", False),
        ("zoh", "state", True),
        ("foh", "state", True),
        ("foh", "input", True),
        ("zoh", "input", True),
        ("mamba", "state", True),
        ("mamba", "input", False),
    ],
)
def test_error_maps(rule, of, exact):
    found = figures.error_map(rule, of=of, points=(11, 12))
    if exact:
        assert np.all(found.error < STEP * EPS * np.exp(np.maximum(found.real, 0.0)))
    else:
        assert found.error.max() > 0.5
    assert found.growth.shape == found.error.shape == (12, 11)


def test_order_depends_on_when_the_output_is_read():
    lengths = (128, 256, 512, 1024)
    after = figures.orders("state-after", lengths=lengths)
    before = figures.orders("state-before", lengths=lengths)
    assert after["bilinear"].order == pytest.approx(1.0, abs=0.1)
    assert before["bilinear"].order == pytest.approx(2.0, abs=0.05)
    for found in (after, before):
        assert found["foh"].order == pytest.approx(2.0, abs=0.05)
        for rule in ("forward", "backward", "zoh"):
            assert found[rule].order == pytest.approx(1.0, abs=0.15)


def test_only_the_averaged_weight_is_second_order_on_the_scaled_clock():
    found = figures.own_clock(lengths=(256, 512, 1024))
    assert found["bilinear-split"].order == pytest.approx(2.0, abs=0.05)
    assert found["bilinear"].order < 1.0
    for rule in ("forward", "backward", "zoh"):
        assert found[rule].order == pytest.approx(1.0, abs=0.1)


# ---- plots --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["forward", "backward", "bilinear", "gbt", "zoh"])
def test_plot_stability_region(axes, rule):
    result = rv.discretize.stability_region(rule, points=40, alpha=0.75)
    assert result.plot(axes, eigenvalues=[-1.0, -1.5 + 0.1j, 3.0], step=0.5) is axes
    stable, unstable = axes.lines[-2:]
    assert len(stable.get_xdata()) + len(unstable.get_xdata()) == 3
    assert list(unstable.get_xdata()) == [1.5]
    assert ("¾" in axes.get_title() or "0.75" in axes.get_title()) == (rule == "gbt")


def test_plot_convergence(axes):
    system = rv.hippo.system("lagt", 4)
    for rule in ("forward", "bilinear"):
        result = rv.discretize.convergence(system, rule, np.sin, [0.1, 0.05, 0.025])
        assert plot.plot_convergence(result, axes) is axes
    assert len(axes.lines) == 2
