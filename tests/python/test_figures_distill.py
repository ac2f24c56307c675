"""What the captions of distillation's figures claim, and its plots."""

from __future__ import annotations

import numpy as np
import pytest

import resolvent as rv

pytest.importorskip("sklearn")

from matplotlib.figure import Figure

from resolvent.figures import distill as figures
from resolvent.plot import distill as plot

EPS = float(np.finfo(np.float64).eps)

#: Quadrature of a Gaussian's losses: errors are this times eps times the size.
QUADRATURE = 64

LAMS = figures._LAMS
SID = [lam for lam in LAMS if lam is not None]


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


# ---- landscapes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def landscape():
    return figures.landscape(widths=np.arange(0.025, 4.0, 0.05))


def test_l1_and_l2_have_the_same_values(landscape):
    """(a − b)²/(1 − b) with a = 1/2."""
    b = landscape.widths**2 / (landscape.widths**2 + 1.0)
    bound = QUADRATURE * EPS * (1.0 + landscape.widths**2)
    for values in (landscape.l1, landscape.l2):
        assert np.all(np.abs(values - (0.5 - b) ** 2 / (1.0 - b)) <= bound)


def test_descent_of_l1_only_shrinks(landscape):
    away = np.abs(landscape.widths - 1.0) > 0.1
    assert np.all(landscape.descent(None)[away] < 0.0)
    for at in figures._FROZEN_AT:
        l1, _ = figures.frozen_losses(at, np.linspace(0.0, 3.0, 7))
        assert np.all(np.diff(l1) > 0.0)


def test_frozen_losses_touch_the_true_ones_with_the_frozen_slope():
    step = 2.0**-12
    for at in figures._FROZEN_AT:
        found = figures.landscape(widths=[at])
        for frozen, value, slope in zip(
            figures.frozen_losses(at, [at - step, at, at + step]),
            (found.l1, found.l2),
            (found.frozen1, found.frozen2),
            strict=True,
        ):
            bound = QUADRATURE * EPS * (1.0 + at**2)
            assert frozen[1] == pytest.approx(value[0], abs=bound)
            # They are parabolas: central differences have no error but rounding.
            quotient = (frozen[2] - frozen[0]) / (2.0 * step)
            assert quotient == pytest.approx(slope[0], abs=bound / step)


def test_where_phase_lines_turn(landscape):
    """λ = 1 + (1 − b)/(b − a) with a = 1/2 is b = (λ + 1)/(2λ)."""
    for lam in (0.0, 0.5, 1.0):
        ends, starts = landscape.turns(lam)
        assert ends == pytest.approx([1.0], abs=0.01)
        assert starts.size == 0
    for lam in (1.2, 2.0):
        ends, starts = landscape.turns(lam)
        b = (lam + 1.0) / (2.0 * lam)
        assert ends == pytest.approx([1.0], abs=0.01)
        assert starts == pytest.approx([np.sqrt(b / (1.0 - b))], abs=0.01)
    # L1 comes to the data's width from above and leaves it below.
    assert landscape.descent(None)[0] < 0.0 < landscape.descent(0.0)[0]


# ---- collapse and convergence -------------------------------------------------------------------


def steps_until(values, limit):
    return int(np.flatnonzero(values <= limit)[0])


def test_widths_in_training():
    runs = figures.gaussian_runs()
    narrow = {lam: runs[lam, 0.3] for lam in LAMS}
    wide = {lam: runs[lam, 3.6] for lam in LAMS}
    assert narrow[None].outcome == "collapsed"
    assert wide[1.2].outcome == "diverged"
    creeping = wide[None].parameters[:, 1]
    assert np.all(np.diff(creeping) < 0.0)
    assert 1.02 < creeping[-1] < 1.05
    for lam in SID:
        assert narrow[lam].outcome == "converged"
        if lam <= 1.0:
            assert wide[lam].outcome == "converged"
    from_below = [steps_until(narrow[lam].w2, 1e-4) for lam in SID]
    from_above = [steps_until(wide[lam].w2, 1e-4) for lam in SID if lam <= 1.0]
    assert from_below == sorted(from_below, reverse=True)
    assert from_above == sorted(from_above)
    assert len(set(from_above)) == 3


def test_two_humps():
    runs = figures.hump_runs()
    arrival = {lam: steps_until(runs[lam].w2, 1e-3) for lam in SID}
    assert min(arrival, key=arrival.__getitem__) == 1.0
    for lam in SID:
        assert runs[lam].outcome == "converged"
        assert runs[lam].w2[-1] < 1e-9
    naive = runs[None]
    assert naive.w2[-1] > naive.w2[0]
    widths = np.abs(naive.final.factors.ravel())
    assert widths.min() < 1e-3
    assert widths.max() > 0.5


# ---- λ and the width at the start ---------------------------------------------------------------


def test_students_diverge_above_the_threshold():
    found = figures.phase()
    names = np.array(found.names)[found.outcome]
    assert set(names.ravel()) == {"converged", "diverged"}
    wide = found.widths > 1.0
    limit = found.threshold(found.widths[wide])
    above = found.lams[:, np.newaxis] > limit
    assert np.array_equal(names[:, wide] == "diverged", above)
    assert above.any()
    assert np.all(names[:, ~wide] == "converged")
    assert np.all(names[found.lams <= 1.0] == "converged")


def test_who_gains_from_more_l1():
    found = figures.phase()
    narrow = found.steps[:, np.abs(found.widths - 0.3).argmin()]
    assert np.all(np.diff(narrow) <= 0)
    assert narrow[-1] < 0.9 * narrow[0]
    wide = found.steps[:, np.abs(found.widths - 3.0).argmin()]
    wide = wide[found.lams <= 1.0]
    assert np.all(np.diff(wide) >= 0)
    assert wide[-1] > 1.1 * wide[0]


# ---- two dimensions -----------------------------------------------------------------------------


def test_plane():
    run = figures.plane_run()
    assert run.outcome == "converged"
    assert run.w2[0] > 0.5
    assert 0.1 < run.w2[figures._BETWEEN_STEPS] < 0.5
    assert run.w2[-1] < 1e-3
    points = run.teacher.sample(500)
    noisy = run.teacher.diffuse(1.0, figures._SHOWN_SIGMA)
    apart = [
        np.abs(noisy.score(points) - run.generator(step).diffuse(1.0, 0.5).score(points)).max()
        for step in (0, run.steps)
    ]
    assert apart[1] < 1e-2 * apart[0]


# ---- weights ------------------------------------------------------------------------------------


def test_identity_holds_but_for_weights_of_x0():
    ratio = figures.loss_ratios(sigmas=(0.2, 1.0, 4.0))
    for name in ("uniform", "noised"):
        assert ratio[name] == pytest.approx(1.0, abs=1e-9)
    assert np.all((ratio["sample"] > 0.3) & (ratio["sample"] < 0.7))


def test_frozen_gradient_is_half_the_true_one_but_for_weights_of_x0():
    found = figures.weighted_gradients()
    for name in ("uniform", "noised"):
        one = found[name]
        assert one.half == pytest.approx(one.true, abs=1e-9 * np.abs(one.true).max())
    broken = found["sample"]
    assert np.abs(broken.half - broken.true).max() > 0.5 * np.abs(broken.true).max()


def test_where_training_ends():
    gradients = figures.weighted_gradients()
    for (name, _), run in figures.weight_runs().items():
        assert run.outcome == "converged"
        apart = abs(abs(run.parameters[-1, 1]) - gradients[name].minimum)
        # The minimum is interpolated on a grid of 0.13.
        assert apart > 0.2 if name == "sample" else apart < 0.01


# ---- flowers ------------------------------------------------------------------------------------


def test_irises():
    found = figures.flowers()
    assert found.data.shape == (150, 2)
    assert found.names == ("setosa", "versicolor", "virginica")
    assert found.best == 3
    assert found.agreeing == 147
    assert all(fit.converged for fit in found.fits.values())
    run = figures.iris_run()
    assert run.teacher is found.fits[3].mixture
    assert run.w2[-1] < 0.05 * run.w2[0]


# ---- plots --------------------------------------------------------------------------------------


def blob(dim=2):
    return rv.distill.GaussianMixture([1.0], np.zeros((1, dim)), np.eye(dim)[np.newaxis])


def test_contours_hold_the_shares_that_they_should(axes):
    """Of N(0, I) a share 1 − exp(−r²/2) lies in the circle of radius r."""
    plot.plot_density(blob(), axes, shares=(0.9, 0.5), fill=False)
    lines = axes.collections[-1].get_paths()
    radii = [np.hypot(*path.vertices.T).mean() for path in lines]
    assert radii == pytest.approx(np.sqrt(-2.0 * np.log([0.1, 0.5])), rel=0.03)


@pytest.mark.parametrize("shares", [(), (0.5, 0.9), (0.5, 0.5), (1.0, 0.5), (0.5, 0.0)])
def test_contours_refuse_shares(axes, shares):
    with pytest.raises(rv.InvalidArgument, match="shares must fall inside"):
        plot.plot_density(blob(), axes, shares=shares)


def test_contours_are_for_the_plane(axes):
    with pytest.raises(rv.ShapeMismatch, match="mixture must have 2 dimensions, got 3"):
        plot.plot_density(blob(3), axes)


def test_arrows_are_the_field(axes):
    axes.set(xlim=(-2.0, 4.0), ylim=(0.0, 2.0))
    plot.plot_arrows(lambda x: 2.0 * x, axes, count=6, longest=4.0)
    quiver = axes.collections[-1]
    assert np.array_equal(quiver.XY, np.stack([quiver.U, quiver.V], axis=1) / 2.0)
    assert sorted(set(quiver.X)) == [-1.5, -0.5, 0.5, 1.5, 2.5, 3.5]
    assert sorted(set(quiver.Y)) == [0.5, 1.5]
    # A vector of length 4 is as long as the grid is wide, which is 1.
    assert quiver.scale == 4.0
    with pytest.raises(rv.InvalidArgument, match="count"):
        plot.plot_arrows(lambda x: x, axes, count=1)


def test_arrows_of_nothing(axes):
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    plot.plot_arrows(np.zeros_like, axes)
    assert np.isfinite(axes.collections[-1].scale)


def test_phase_steps(axes):
    found = rv.distill.phase_diagram([0.0, 1.0, 2.0], [0.5, 1.0, 2.0])
    plot.plot_phase_steps(found, axes)
    drawn = np.ma.filled(axes.collections[0].get_array().astype(float), np.nan).reshape(3, 3)
    assert np.array_equal(np.isnan(drawn), found.outcome == found.names.index("diverged"))
    assert drawn[:, 1] == pytest.approx(1.0)
    assert drawn[0, 0] == found.steps[0, 0]
