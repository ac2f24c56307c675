"""What the captions of the probability maps' figures claim; the plots of logits and maps."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import resolvent as rv
from resolvent import probmap
from resolvent.figures import probmap as figures
from resolvent.plot import probmap as plot

EPS = float(np.finfo(np.float64).eps)

#: Entries of a map agree with a closed form to this times eps times the number of entries.
AGREE = 16

#: Frequencies lie within so many standard deviations of their probability.
DEVIATIONS = 5


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


# ---- three entries ------------------------------------------------------------------------------


def broken(map_: probmap.Map, x: np.ndarray) -> float:
    """The share of rows whose largest logit has not the largest probability."""
    p = map_(x)
    of_largest = np.take_along_axis(p, np.argmax(x, axis=-1)[..., np.newaxis], axis=-1)[..., 0]
    return float(np.mean(of_largest < p.max(axis=-1) - AGREE * EPS))


def test_plane_of_logits():
    places, x = figures.plane_logits(points=80)
    assert np.abs(x.sum(axis=-1)).max() < AGREE * EPS * np.abs(x).max()
    assert np.abs(x @ plot.CORNERS - places).max() < AGREE * EPS * np.abs(places).max()
    for map_ in figures.DENSE.values():
        assert np.all(map_(x) > 0.0)
    for map_ in figures.SPARSE.values():
        assert np.any(map_(x) == 0.0)
    orderless = {k for k, m in {**figures.DENSE, **figures.SPARSE}.items() if broken(m, x) > 0.0}
    assert orderless == {"margin softmax", "squares"}


def test_margin_has_to_be_won_by():
    _, x = figures.plane_logits(points=80)
    p = figures.DENSE["margin softmax"](x)
    lead = x[..., 0] - x[..., 1:].max(axis=-1)
    assert np.array_equal(p[..., 0] > p[..., 1:].max(axis=-1), lead > 1.0)


def test_circles_and_rays_in_the_triangle():
    circles, rays = figures.simplex_web()
    x = np.concatenate([circles.reshape(-1, 3), rays.reshape(-1, 3)])
    for label, map_ in figures.DENSE.items():
        if label != "squares":
            assert np.all(map_(x) > 0.0)
    for label in ("1.5-entmax", "sparsemax", "normmax"):
        assert set(np.sum(figures.SPARSE[label](x) > 0.0, axis=-1)) == {1, 2, 3}
    top = np.sort(x, axis=-1)
    tied = top[:, 0] == top[:, 1]
    assert np.array_equal(np.sum(figures.SPARSE["top-2 softmax"](x) > 0.0, axis=-1) == 3, tied)
    assert figures.SPARSE["budget of 1.5"](x).max() == 1.0  # 2/3 of the total


def test_squares_forget_sign_and_radius():
    circles, _ = figures.simplex_web()
    p = figures.DENSE["squares"](circles)
    assert np.abs(p - p[0]).max() < 1e-5  # the logits are rounded to 6 decimals
    assert np.array_equal(p, figures.DENSE["squares"](-circles))
    # Σx = 0 and Σx² = r² put p on the inscribed circle, of half the circumradius.
    assert np.linalg.norm(p @ plot.CORNERS, axis=-1) == pytest.approx(0.5, abs=1e-5)


# ---- two classes --------------------------------------------------------------------------------


def test_gaps_that_sparse_maps_reach_0_at():
    ends = {"1.5-entmax": 2.0, "sparsemax": 1.0, "normmax": 1.0, "uniform noise": 1.0}
    for label, end in ends.items():
        map_ = figures._SPARSE_OF_TWO[label]
        before, at = figures.gap_values({label: map_}, np.array([-0.99, -1.0]) * end)[label]
        assert before > 0.0
        assert at < AGREE * EPS


def test_budget_leaves_half_to_both():
    gaps = np.linspace(-4.0, 4.0, 81)
    p = figures.SPARSE["budget of 1.5"](figures.gap_logits(gaps))
    assert p.min() == 0.5
    assert p.sum(axis=-1) == pytest.approx(1.5, abs=AGREE * EPS)


def test_taylor_turns_back_and_squares_do_not_care():
    gaps = np.linspace(0.0, 4.0, 41)
    found = figures.gap_values(figures.DENSE, gaps)
    assert found["Taylor softmax"][-1] < found["Taylor softmax"].max() - 0.01
    assert found["squares"][1:] == pytest.approx(0.5, abs=AGREE * EPS)
    for label in ("softmax", "normal noise", "margin softmax"):
        assert np.all(np.diff(found[label]) > 0.0)


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0, 4.0])
def test_alpha_sets_the_gap_that_decides(alpha):
    end = 1.0 / (alpha - 1.0)
    maps = {"": probmap.entmax(alpha=alpha)}
    before, after = figures.gap_values(maps, np.array([0.98, 1.0 + AGREE * EPS]) * end)[""]
    assert before < 1.0
    assert after == 1.0


def test_ends_of_alpha():
    gaps = np.linspace(-3.0, 3.0, 60)
    x = figures.gap_logits(gaps)
    assert np.abs(probmap.entmax(x, alpha=1.0) - probmap.softmax(x)).max() < AGREE * EPS
    assert np.array_equal(probmap.entmax(x, alpha=np.inf)[:, 0], gaps > 0.0)


def test_entries_drop_out_one_after_another():
    axis = np.linspace(0.0, 1.0, 401)
    above = figures.alpha_sweep("entmax", figures.ROW, axis) > 0.0
    assert np.all(np.diff(above.astype(int), axis=0) <= 0)
    last = above.sum(axis=0)
    assert last[0] == axis.size
    assert np.all(np.diff(last) < 0)


def test_normmax_goes_from_argmax_to_the_support_of_sparsemax():
    ends = figures.alpha_sweep("normmax", figures.ROW, np.array([0.0, 1.0]))
    assert np.array_equal(ends[0], [1.0, 0.0, 0.0, 0.0, 0.0])
    support = probmap.sparsemax(figures.ROW) > 0.0
    assert 1 < support.sum() < support.size
    assert ends[1] == pytest.approx(support / support.sum(), abs=AGREE * EPS)


# ---- temperature --------------------------------------------------------------------------------


def swept(label: str, *temperatures: float) -> np.ndarray:
    map_ = figures._SWEPT[label]
    return figures.temperature_sweep(map_, figures.HEATED_ROW, np.array(temperatures))


def test_cold():
    one_hot = np.eye(5)[0]
    soft = swept("softmax", 0.05)[0]
    assert 0.0 < np.abs(soft - one_hot).max() < 1e-6
    assert np.all(soft[1:] > 0.0)
    gap = figures.HEATED_ROW[0] - figures.HEATED_ROW[1]
    for label, end in (("1.5-entmax", gap / 2.0), ("sparsemax", gap)):
        below, above = swept(label, 0.999 * end, 1.01 * end)
        assert np.array_equal(below, one_hot)
        assert above[1] > 0.0
    squared = np.square(figures.HEATED_ROW) / np.sum(np.square(figures.HEATED_ROW))
    assert swept("Taylor softmax", 1e-9)[0] == pytest.approx(squared, abs=1e-8)
    assert np.argmax(swept("Taylor softmax", 0.05)) == np.argmin(figures.HEATED_ROW)


def test_hot():
    for label in ("softmax", "1.5-entmax", "sparsemax", "normal noise", "Taylor softmax"):
        assert swept(label, 1e6)[0] == pytest.approx(0.2, abs=1e-5)
    cold, hot = swept("squares", 0.05, 50.0)
    assert cold == pytest.approx(hot, abs=AGREE * EPS)


# ---- vanishing gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("others", [1, 29])
def test_size_of_the_jacobian_of_softmax(others):
    gaps = np.linspace(0.0, 12.0, 25)
    size = figures.jacobian_sizes({"": probmap.softmax()}, gaps, others=others)[""]
    p = probmap.softmax(figures.gap_logits(gaps, others=others))
    # 1 − Σp² cancels: absolute, not relative.
    assert np.abs(size - (1.0 - np.sum(p**2, axis=-1))).max() < AGREE * EPS * (others + 1)
    # It stays until the lead makes up for the number of the others; then it falls like e^(−gap).
    assert np.all(size[gaps <= np.log(others)] > 0.7 * size[0])
    assert np.log(size[-5] / size[-1]) == pytest.approx(2.0, abs=0.02)


def test_sizes_of_the_other_jacobians():
    far = np.array([6.0, 7.0])
    size = figures.jacobian_sizes(figures._DERIVED, far)
    rate = {label: -np.log(s[1] / s[0]) for label, s in size.items() if s[0] > 0.0}
    assert rate["normal noise"] > 3.0 * rate["softmax"]
    assert not size["1.5-entmax"].any()
    assert not size["sparsemax"].any()
    for others in (1, 29):
        for label, end in (("1.5-entmax", 2.0), ("sparsemax", 1.0)):
            before, after = figures.jacobian_sizes(
                {label: figures._DERIVED[label]}, np.array([0.95, 1.01]) * end, others=others
            )[label]
            assert before > 0.05
            assert after == 0.0
    taylor = {"": figures._DERIVED["Taylor softmax"]}
    near, away = figures.jacobian_sizes(taylor, np.array([1e3, 1e4]))[""]
    assert np.log10(near / away) == pytest.approx(1.0, abs=0.05)


# ---- Taylor's order, noise, losses --------------------------------------------------------------


def test_taylor_softmax_rewards_the_worst():
    found = figures.taylor_order()
    step = found.logits[1] - found.logits[0]
    assert found.minima[2] == pytest.approx(-1.0, abs=step)
    assert found.minima[2] > found.minima[4] > found.minima[6]
    assert np.all(np.diff(found.of_two[0]) > 0.0)
    assert all(p[0] > 0.9 for order, p in found.of_two.items() if order)
    worst = int(np.argmin(figures.TAYLOR_ROW))
    assert np.argmin(probmap.softmax(figures.TAYLOR_ROW)) == worst
    assert np.argmax(probmap.taylor_softmax(figures.TAYLOR_ROW)) == worst


def test_noises():
    found = figures.noise_values(points=21)
    assert set(found.p) == set(probmap.NOISES)
    assert np.abs(found.p["gumbel"] - found.softmax).max() < 1e-12  # what perturb_max promises
    sooner = found.gaps > 3.5
    for noise in ("uniform", "normal"):
        assert np.all(found.p[noise][sooner] > found.softmax[sooner])
    assert 1.0 - found.p["cauchy"][-1] == pytest.approx(1 / 3, abs=0.02)
    x = figures.gap_logits(found.sampled_gaps, others=9)
    for noise, share in found.sampled.items():
        p = figures._perturbed(noise)(x)[:, 0]
        deviation = np.sqrt(p * (1.0 - p) / found.draws)
        assert np.all(np.abs(share - p) <= DEVIATIONS * deviation + 1.0 / found.draws)


def test_losses_and_margins():
    found = figures.loss_values()
    m = found.margins
    assert np.all(found.values["softmax"] > 0.0)
    assert np.all(found.slopes["softmax"] < 0.0)
    assert np.all(found.values["margin softmax"] > found.values["softmax"])
    for label, end in (("1.5-entmax", 2.0), ("sparsemax", 1.0), ("normmax", 1.0)):
        assert np.all(found.values[label][m < 0.95 * end] > 0.0)
        assert np.abs(found.values[label][m > end]).max() < AGREE * EPS
        assert np.abs(found.slopes[label][m > end]).max() < AGREE * EPS
    top = found.values["top-1 softmax"]
    assert not top[m > 0.0].any()
    assert top[m < 0.0].min() > np.log(2.0)
    assert found.slopes["Taylor softmax"][0] > 0.5
    assert np.all(found.slopes["Taylor softmax"][np.abs(m) < 1.0] < 0.0)


# ---- real logits --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("sklearn")
    return figures.trained_digits()


def test_replaced_map_keeps_the_accuracy(trained):
    axis = np.linspace(0.0, 1.0, 26)
    found = figures.digits_sparsity(trained, axis)
    assert found.accuracy[0] > 0.9
    assert np.array_equal(found.accuracy, np.full(axis.size, found.accuracy[0]))
    assert np.all(np.diff(found.support) <= 0.0)
    assert np.all(np.diff(found.covered) <= 0.0)
    assert (found.support[0], found.support[-1]) == (10.0, 1.0)
    assert (found.covered[0], found.covered[-1]) == (1.0, found.accuracy[0])


def test_few_classes_hold_the_true_one(trained):
    found = figures.digits_sparsity(trained, np.array([figures._on_axis(1.25)]))
    assert 2.0 < found.support[0] < 3.0
    assert found.covered[0] == pytest.approx(0.99, abs=0.005)


def test_telling_digits(trained):
    clear, between, mistaken = figures._telling(trained)
    p = probmap.entmax(trained.logits, alpha=1.5)
    assert [np.sum(p[i] > 0.0) for i in (clear, between)] == [1, 2]
    assert np.argmax(p[mistaken]) != trained.labels[mistaken]
    assert p[mistaken, trained.labels[mistaken]] > 0.0


def test_attention_pairs_words():
    found = figures.attention_logits()
    n = len(found.tokens)
    assert found.logits.shape == (n, n)
    assert np.all(probmap.softmax(found.logits) > 0.0)
    p = probmap.sparsemax(found.logits)
    pairs = {
        "happy": "unhappy", "unhappy": "happy", "families": "family", "family": "families",
        "are": "is", "is": "are",
    }  # fmt: skip
    seen = set()
    for i, row in enumerate(p):
        kept = {found.tokens[j] for j in np.flatnonzero(row)} - {"[CLS]"}
        if kept:
            assert kept == {pairs[found.tokens[i]]}
            seen.add(found.tokens[i])
    assert seen == set(pairs)


# ---- plots --------------------------------------------------------------------------------------


def test_plot_simplex_colours_by_support(axes):
    x = np.linspace([0.0, 0.0, 0.0], [3.0, 0.6, 0.0], 200)
    p = probmap.sparsemax(x)
    assert plot.plot_simplex(p, axes) is axes
    drawn = {
        size: sum(len(path.vertices) for path in lines.get_paths())
        for size, lines in zip(plot.SUPPORT_COLORS, axes.collections, strict=True)
    }
    support = np.sum(p > 0.0, axis=-1)
    # The point at which a face begins or ends belongs to the curve in the larger face as well.
    assert drawn[3] == np.sum(support == 3) + 1
    assert drawn[2] == np.sum(support == 2) + 1
    assert drawn[1] == np.sum(support == 1)
    assert np.array_equal(axes.lines[-1].get_xydata(), [plot.CORNERS[0]])


def test_plot_simplex_breaks_at_jumps(axes):
    jump = np.array([[0.5, 0.5, 0.0], [0.4, 0.6, 0.0], [0.0, 0.6, 0.4], [0.0, 0.5, 0.5]])
    plot.plot_simplex(jump, axes)
    paths = {
        size: len(lines.get_paths())
        for size, lines in zip(plot.SUPPORT_COLORS, axes.collections, strict=True)
    }
    assert paths == {1: 0, 2: 2, 3: 0}


def test_plot_plane(axes):
    places, x = figures.plane_logits(points=30)
    assert plot.plot_plane(places, probmap.sparsemax(x), axes) is axes
    support = axes.collections[0].get_array()
    assert set(np.unique(support)) == {1, 2, 3}


def test_plot_gap(axes):
    gaps = np.linspace(-1.0, 1.0, 5)
    assert plot.plot_gap(gaps, gaps**2, axes, label="square") is axes
    assert np.array_equal(axes.lines[0].get_ydata(), gaps**2)
    assert axes.get_xlim() == (-1.0, 1.0)


def test_plot_bars_marks_zeros(axes):
    assert plot.plot_bars([0.7, 0.0, 0.3], axes, labels=["a", "b", "c"]) is axes
    assert [bar.get_height() for bar in axes.patches] == [0.7, 0.0, 0.3]
    assert np.array_equal(axes.lines[0].get_xydata(), [[1.0, 0.0]])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b", "c"]


def test_plot_attention_leaves_zeros_blank(axes):
    assert plot.plot_attention([[0.5, 0.5], [0.0, 1e-9]], ["a", "b"], axes) is axes
    shown = axes.images[0].get_array()
    assert np.array_equal(np.ma.getmaskarray(shown), [[False, False], [True, False]])
    assert shown[1, 1] == 1e-3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plot.plot_simplex(np.ones((4, 2))), rv.ShapeMismatch, "p must have 3 entries"),
        (lambda: plot.plot_simplex([1.0, 0.0, 0.0]), rv.ShapeMismatch, r"shape \(\.\.\., P, 3\)"),
        (
            lambda: plot.plot_plane(np.ones((4, 5, 2)), np.ones((5, 4, 3))),
            rv.ShapeMismatch,
            r"\(P, Q, 2\) and \(P, Q, 3\), got \(4, 5, 2\) and \(5, 4, 3\)",
        ),
        (lambda: plot.plot_gap([0.0, 1.0], [0.5]), rv.ShapeMismatch, r"got \(2,\) and \(1,\)"),
        (lambda: plot.plot_bars(np.eye(2)), rv.ShapeMismatch, r"p must have shape \(n,\)"),
        (
            lambda: plot.plot_bars([0.5, 0.5], labels=["a"]),
            rv.ShapeMismatch,
            "labels must be 2, as many as entries; got 1",
        ),
        (
            lambda: plot.plot_attention(np.eye(3), ["a", "b"]),
            rv.ShapeMismatch,
            r"p must have shape \(2, 2\)",
        ),
        (
            lambda: plot.plot_attention(np.eye(2), ["a", "b"], faintest=1.0),
            rv.InvalidArgument,
            r"faintest must be in \(0, 1\), got 1.0",
        ),
    ],
)
def test_plots_refuse_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()
