"""The figures of score distillation, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim. Those that take long are computed
once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resolvent import distill
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, read_only
from resolvent.distill import (
    WEIGHTS,
    Distillation,
    GaussianMixture,
    Generator,
    PhaseDiagram,
    Schedule,
)
from resolvent.distill._em import Fit
from resolvent.figures._registry import figure, new_figure
from resolvent.plot.distill import (
    plot_arrows,
    plot_density,
    plot_phase_diagram,
    plot_phase_steps,
)
from resolvent.plot.style import muted

__all__ = [
    "Flowers",
    "Landscape",
    "WeightedGradients",
    "flowers",
    "frozen_losses",
    "gaussian_runs",
    "hump_runs",
    "iris",
    "iris_run",
    "landscape",
    "landscapes",
    "loss_ratios",
    "phase",
    "phases",
    "plane",
    "plane_run",
    "trajectories",
    "weight_runs",
    "weighted_gradients",
    "weights",
]

#: A Gaussian in units of its width, and one level of noise as large: a = 1/2.
_NORMAL = GaussianMixture([1.0], [0.0], [1.0])
_LEVEL = Schedule([1.0], [1.0])

#: λ of the runs; None is the naive loss, L1 alone.
_LAMS = (None, 0.0, 0.5, 1.0, 1.2)

#: The line of every loss.
_LOOKS: dict[float | None, dict[str, Any]] = {
    None: {"color": "C3", "linestyle": (0, (4.0, 1.5))},
    0.0: {"color": "C2", "linestyle": (0, (1.0, 1.0))},
    0.5: {"color": "C0"},
    1.0: {"color": "C1"},
    1.2: {"color": "C4", "linestyle": (0, (6.0, 1.5, 1.0, 1.5))},
    2.0: {"color": "C5"},
}


def _label(lam: float | None) -> str:
    """How a loss is called."""
    if lam is None:
        return "L1 alone"
    if lam == 0.0:
        return "L2 alone"
    return "L2 − " + {0.5: "½·L1", 1.0: "L1"}.get(lam, f"{lam:g}·L1")


# ---- landscapes ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Landscape(ReadOnlyFields):
    """The losses of students N(0, θ²) of data N(0, 1), α = σ = 1; from :func:`landscape`.

    Attributes
    ----------
    widths : ndarray, shape (W,)
        θ.
    l1, l2 : ndarray, shape (W,)
        Values at ψ*, every student with its own.
    frozen1, frozen2 : ndarray, shape (W,)
        Derivatives by θ with ψ held fixed.
    """

    widths: Array
    l1: Array
    l2: Array
    frozen1: Array
    frozen2: Array

    def descent(self, lam: float | None) -> Array:
        """Where a step goes: −∇frozen(L2 − λL1), −∇frozen L1 for None."""
        return -self.frozen1 if lam is None else lam * self.frozen1 - self.frozen2

    def turns(self, lam: float | None) -> tuple[Array, Array]:
        """Widths that descent comes to, and widths that it leaves, to both sides."""
        field, theta = self.descent(lam), self.widths
        change = np.flatnonzero(field[:-1] * field[1:] < 0.0)
        share = field[change] / (field[change] - field[change + 1])
        places = theta[change] + share * (theta[change + 1] - theta[change])
        towards = field[change] > 0.0
        return places[towards], places[~towards]


def landscape(*, widths: ArrayLike) -> Landscape:
    """Values and frozen derivatives against the width of the student."""
    theta = np.asarray(widths, dtype=np.float64)
    found = [distill.losses(_NORMAL, Generator.affine(0.0, w), schedule=_LEVEL) for w in theta]
    return Landscape(
        theta,
        np.array([one.l1 for one in found]),
        np.array([one.l2 for one in found]),
        np.array([one.frozen["l1"][1] for one in found]),
        np.array([one.frozen["l2"][1] for one in found]),
    )


def frozen_losses(at: float, widths: ArrayLike) -> tuple[Array, Array]:
    """L1 and L2 against the width, ψ frozen at the optimum of the width `at`."""
    psi = distill.student_optimal(Generator.affine(0.0, at))
    found = [
        distill.losses(_NORMAL, Generator.affine(0.0, w), psi, schedule=_LEVEL)
        for w in np.asarray(widths)
    ]
    return np.array([one.l1 for one in found]), np.array([one.l2 for one in found])


#: Students whose frozen losses are drawn, and the losses of the upper panels.
_FROZEN_AT = (0.3, 0.65, 1.5, 2.2)
_SHOWN_LOSSES = (None, 0.0, 1.0)

#: The losses of the lower panel.
_LINES = (None, 0.0, 0.5, 1.0, 1.2, 2.0)


@figure(
    "distill-landscape",
    "What a student sees while ψ is frozen",
    "Data N(0, 1), student N(0, θ²). Grey: the loss with ψ at its optimum, the same for L1 and L2, "
    "so that L2 − L1 is 0 everywhere. Coloured: the loss that the dot's student sees, ψ frozen. "
    "L1 falls towards 0 from everywhere, L2 and L2 − L1 towards the data. Below: where each loss "
    "sends a width; too much L1 widens wide students for ever.",
)
def landscapes(*, points: int = 25) -> Figure:
    """Losses with ψ free and frozen, and the phase line of each λ."""
    made = new_figure(10.4, 6.6)
    panels = made.subplot_mosaic(
        [["0", "1", "2"], ["lines"] * 3],
        height_ratios=(1.25, 1.0),
    )
    theta = np.linspace(0.0, 2.7, points)
    found = landscape(widths=theta)
    for i, lam in enumerate(_SHOWN_LOSSES):
        ax = panels[str(i)]
        _draw_landscape(ax, found, lam, points)
        ax.sharey(panels["0"])
        ax.set_xlim(0.0, 2.7)
        ax.set_ylim(-0.4, 1.3)
        ax.set_xlabel("width θ of the student")
        ax.set_title(_label(lam))
        if i:
            ax.tick_params(labelleft=False)
    panels["0"].set_ylabel("loss")
    _draw_lines(panels["lines"], landscape(widths=np.arange(0.025, 4.0, 0.05)))
    return made


def _draw_landscape(ax: Axes, found: Landscape, lam: float | None, points: int) -> None:
    ax.axvline(1.0, color=muted(0.4), linewidth=0.9, linestyle=":", zorder=0)
    ax.plot(found.widths, _combined(found.l1, found.l2, lam), color=muted(0.3), linewidth=5.0)
    color = _LOOKS[lam]["color"]
    for at in _FROZEN_AT:
        near = np.linspace(max(0.0, at - 0.6), at + 0.6, points)
        ax.plot(near, _combined(*frozen_losses(at, near), lam), color=color, linewidth=1.3)
        ends = [at, at + 0.4 * np.sign(landscape(widths=[at]).descent(lam)[0])]
        before, after = _combined(*frozen_losses(at, ends), lam)
        ax.annotate(
            "", (ends[1], after), (at, before),
            arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2.4, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        ax.plot(at, before, "o", color=color, markersize=6)


def _combined(l1: Array, l2: Array, lam: float | None) -> Array:
    return l1 if lam is None else l2 - lam * l1


#: Arrows: at every which width, and how far from an open dot.
_EVERY, _CLEAR = 4, 0.06


def _draw_lines(ax: Axes, found: Landscape) -> None:
    """A row of arrows for every loss."""
    ax.axvline(1.0, color=muted(0.4), linewidth=0.9, linestyle=":", zorder=0)
    for row, lam in enumerate(_LINES):
        color = _LOOKS[lam]["color"]
        _, starts = found.turns(lam)
        ax.axhline(row, color=muted(0.2), linewidth=0.9, zorder=0)
        shown = np.abs(found.widths[:, np.newaxis] - starts).min(axis=1, initial=1.0) > _CLEAR
        shown &= np.arange(shown.size) % _EVERY == 1
        for marker, sign in ((">", 1.0), ("<", -1.0)):
            place = found.widths[shown & (np.sign(found.descent(lam)) == sign)]
            ax.plot(place, np.full(place.size, row), marker, color=color, markersize=7)
        _draw_rests(ax, row, lam, found)
    ax.set_yticks(range(len(_LINES)), [_label(lam) for lam in _LINES])
    ax.tick_params(axis="y", pad=9, length=0)
    ax.set_ylim(len(_LINES) - 0.5, -0.5)
    ax.set_xlim(0.0, 4.0)
    ax.grid(False)
    ax.set_xlabel("width θ of the student (the data's is 1)")
    ax.set_title("Where a step goes: full dots attract, open ones repel")


def _draw_rests(ax: Axes, row: int, lam: float | None, found: Landscape) -> None:
    """Dots where the descent is 0; at θ = 0 it always is."""
    ends, starts = found.turns(lam)
    if found.descent(lam)[0] < 0.0:
        ends = np.append(ends, 0.0)
    else:
        starts = np.append(starts, 0.0)
    paper = mpl.rcParams["axes.facecolor"]
    look: dict[str, Any] = {
        "color": _LOOKS[lam]["color"], "markersize": 11, "clip_on": False, "linestyle": "none",
        "marker": "o",
    }  # fmt: skip
    ax.plot(ends, np.full(ends.size, row), **look)
    if starts.size:  # an empty line that is not clipped has no extent to lay out
        ax.plot(starts, np.full(starts.size, row), markerfacecolor=paper, **look)
    if lam is None:  # it comes to the data's width from above, and leaves it below
        ax.plot(1.0, row, fillstyle="right", markerfacecoloralt=paper, **look)


# ---- collapse and convergence -------------------------------------------------------------------

#: Two humps, and a student that starts between them.
_HUMPS = GaussianMixture([0.6, 0.4], [-1.5, 1.5], [0.49, 0.16])
_BETWEEN = Generator.mixture([0.6, 0.4], [-0.5, 0.5], [0.8, 0.8])

#: The naive loss diverges at the rate of the others.
_NAIVE_RATE = 0.1


def _trained(
    data: GaussianMixture,
    start: Generator,
    lam: float | None,
    schedule: Schedule,
    steps: int,
    rate: float,
    **options: Any,
) -> Distillation:
    if lam is None:
        options["objective"] = "naive"
    share = 1.0 if lam is None else lam
    return distill.distill(data, start, share, schedule, steps, learning_rate=rate, **options)


@cache
def gaussian_runs(
    *, widths: Sequence[float] = (0.3, 3.6), steps: int = 60
) -> dict[tuple[float | None, float], Distillation]:
    """Students N(0, θ²) of data N(0, 1), by λ and first width."""
    return {
        (lam, width): _trained(_NORMAL, Generator.affine(0.0, width), lam, _LEVEL, steps, 1.0)
        for lam in _LAMS
        for width in widths
    }


@cache
def hump_runs(*, steps: int = 60) -> dict[float | None, Distillation]:
    """Students of two components of data with two humps, by λ."""
    levels = distill.schedule("ve", 3, smallest=0.3, largest=1.5)
    return {
        lam: _trained(_HUMPS, _BETWEEN, lam, levels, steps, _NAIVE_RATE if lam is None else 1.0)
        for lam in _LAMS
    }


@figure(
    "distill-trajectories",
    "Collapse and convergence",
    "Left: the width of a Gaussian student. Too narrow, L1 alone shrinks it to a point; too wide, "
    "it creeps towards the data. The others arrive, more L1 being faster from below and slower "
    "from above, where 1.2 is too much. Middle: two humps; all but L1 alone arrive, L2 − L1 first. "
    "Right: the end; L1 alone has made one of its components a spike.",
)
def trajectories(*, steps: int = 60) -> Figure:
    """Widths of Gaussian students, and students of two humps."""
    made = new_figure(11.2, 4.4)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.15, 1.0, 1.0))
    _draw_widths(left, steps)
    runs = hump_runs(steps=steps)
    for lam, run in runs.items():
        _draw_steps(run.w2, middle, **_LOOKS[lam])
    middle.set_ylim(1e-4, 9.0)
    middle.set_ylabel("W₂ to the data")
    middle.set_title("Two humps")
    _draw_humps(right, runs)
    handles = [Line2D([], [], label=_label(lam), **_LOOKS[lam]) for lam in _LAMS]
    made.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return made


def _draw_steps(values: Array, ax: Axes, **look: Any) -> None:
    ax.semilogy(np.where(values > 0.0, values, np.nan), **look)
    ax.set_xlabel("step")


def _draw_widths(ax: Axes, steps: int) -> None:
    ax.axhline(1.0, color=muted(0.4), linewidth=4.0, zorder=0)
    for (lam, _), run in gaussian_runs(steps=steps).items():
        _draw_steps(np.abs(run.parameters[:, 1]), ax, **_LOOKS[lam])
    ax.set_ylim(0.02, 40.0)
    ax.set_yticks([0.1, 1.0, 10.0], ["0.1", "1", "10"])
    ax.set_ylabel("width of the student")
    ax.set_title("One Gaussian")


def _draw_humps(ax: Axes, runs: dict[float | None, Distillation]) -> None:
    x = np.linspace(-4.2, 4.2, 801)
    data = _HUMPS.density(x[:, np.newaxis])
    ax.fill_between(x, data, color=muted(0.25), linewidth=0.0, label="data")
    for lam in (1.0, None):
        # Noise of 0.02 gives a point a density.
        seen = runs[lam].final.diffuse(1.0, 0.02)
        ax.plot(x, seen.density(x[:, np.newaxis]), **_LOOKS[lam])
    ax.set_xlim(-4.2, 4.2)
    ax.set_ylim(0.0, 0.8)
    ax.set_yticks([])
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("x")
    ax.set_title("Densities at the end")


# ---- λ and the width at the start ---------------------------------------------------------------


@cache
def phase(*, points: int = 64, steps: int = 2000) -> PhaseDiagram:
    """One level of noise, as wide as the data."""
    return distill.phase_diagram(
        np.linspace(0.0, 3.0, points), np.geomspace(0.1, 10.0, points), steps=steps
    )


@figure(
    "distill-phase",
    "How much L1 a student bears",
    "Gaussian students trained by L2 − λL1 with one level of noise. Left: those narrower than the "
    "data always arrive; wider ones do up to λ = 1 + (1 − b)/(b − a) (line), above which each step "
    "widens them. Right: how many steps it takes; λ = 1 never diverges, and a narrow student gains "
    "from more, a wide one from less.",
)
def phases(*, points: int = 64) -> Figure:
    """Outcomes over λ and the width at the start, and how long they take."""
    found = phase(points=points)
    made = new_figure(10.4, 4.5)
    left, right = made.subplots(1, 2, sharey=True)
    plot_phase_diagram(found, left)
    left.set_title("What becomes of it")
    left.get_legend().remove()
    _name_areas(left)
    plot_phase_steps(found, right)
    right.set_ylabel("")
    right.set_title("Steps until it is within 1%")
    return made


def _name_areas(ax: Axes) -> None:
    ink: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 11, "fontweight": "bold"}
    ax.text(0.33, 1.5, "arrives", **ink)
    ax.text(4.2, 2.4, "diverges", **ink)
    ax.annotate(
        "1 + (1 − b)/(b − a)", (1.95, 1.69), (0.15, 2.75), fontsize=10,
        arrowprops={"arrowstyle": "-", "color": mpl.rcParams["text.color"], "lw": 0.9},
    )  # fmt: skip
    ax.text(0.95, 0.08, "the data's width", rotation=90, ha="right", va="bottom", fontsize=9)


# ---- two dimensions -----------------------------------------------------------------------------


def _ellipse(long: float, short: float, angle: float) -> Array:
    """A covariance by its standard deviations, the longer one at an angle."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.asarray(turn @ np.diag([long**2, short**2]) @ turn.T)


_BLADES = GaussianMixture(
    [0.4, 0.35, 0.25],
    [[-1.6, -0.6], [1.4, -0.9], [0.2, 1.5]],
    np.stack([_ellipse(0.75, 0.3, 0.9), _ellipse(0.8, 0.35, -0.5), _ellipse(0.9, 0.35, 0.15)]),
)
_BLOB = Generator.mixture(
    _BLADES.weights, [[-0.5, 0.0], [0.5, -0.3], [0.0, 0.6]], np.stack([0.5 * np.eye(2)] * 3)
)

#: The level of noise whose scores are drawn.
_SHOWN_SIGMA = 0.5

#: Steps that are shown between the start and the end.
_BETWEEN_STEPS = 4


@cache
def plane_run(*, steps: int = 60, samples: int = 512) -> Distillation:
    """Three components in the plane from one blob, by L2 − L1."""
    levels = distill.schedule("ve", 3, smallest=0.3, largest=1.5)
    return _trained(_BLADES, _BLOB, 1.0, levels, steps, 1.0, method="monte-carlo", samples=samples)


@figure(
    "distill-plane",
    "A mixture in the plane, distilled",
    "First: the data's density and its score at noise ½, which is all that the student is told of "
    "them. Then samples of a student (dots) before, during and after training by L2 − L1, with the "
    "data's score less its own: the arrows pull it apart into three blades and vanish as it "
    "arrives. A sample takes one step: a matrix times noise.",
)
def plane(*, steps: int = 60, samples: int = 512) -> Figure:
    """Samples and scores of a student along its training."""
    run = plane_run(steps=steps, samples=samples)
    made = new_figure(11.2, 2.75)
    first, *others = made.subplots(1, 4, sharex=True, sharey=True)
    scene = _Scene(run.teacher, _SHOWN_SIGMA)
    scene.draw(first)
    first.set_title("Data and score", fontsize=10)
    for ax, step in zip(others, (0, min(_BETWEEN_STEPS, steps), steps), strict=True):
        scene.draw(ax, run.generator(step))
        ax.set_title(f"Step {step}: W₂ = {_rounded(run.w2[step])}", fontsize=10)
    return made


def _rounded(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 else f"{value:.4f}"


@dataclass(frozen=True)
class _Scene:
    """Data in the plane with scores at one level of noise."""

    data: GaussianMixture
    sigma: float

    def draw(self, ax: Axes, student: Generator | None = None) -> None:
        """The data with its score; or with samples of a student and the difference of scores."""
        spread = 2.8 * np.sqrt(self.data.covariance().diagonal())
        low, high = self.data.mean() - spread, self.data.mean() + spread
        ax.set_xlim(low[0], high[0])
        ax.set_ylim(low[1], high[1])
        plot_density(self.data, ax, fill=student is None, shares=(0.9, 0.5))
        if student is not None:
            drawn = student.sample(300)
            ax.plot(*drawn.T, ".", color="C1", markersize=3.2, alpha=0.7)
        noisy = self.data.diffuse(1.0, self.sigma)
        own = None if student is None else student.diffuse(1.0, self.sigma)
        plot_arrows(
            lambda x: noisy.score(x) - (0.0 if own is None else own.score(x)),
            ax, count=13, longest=2.0 / self.sigma, color=muted(0.75),
        )  # fmt: skip
        ax.grid(False)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set(visible=True, color=muted(0.3))


# ---- weights ------------------------------------------------------------------------------------

#: A narrow and a wide Gaussian on one another: no Gaussian student can be that.
_HEAVY = GaussianMixture([0.5, 0.5], [0.0, 0.0], [0.09, 4.0])

_WEIGHT_LABELS = {
    "uniform": "w = 1",
    "noised": "w = 1/(1 + |xₜ|²)",
    "sample": "w = 1/(0.1 + |x₀ − f(xₜ)|)",
}
_WEIGHT_LOOKS: dict[str, dict[str, Any]] = {
    "uniform": {"color": "C0", "marker": "o"},
    "noised": {"color": "C2", "marker": "s"},
    "sample": {"color": "C1", "marker": "^"},
}


def loss_ratios(*, sigmas: ArrayLike, width: float = 1.0) -> dict[str, Array]:
    """L2/L1 at ψ* against the level of noise, by weight; (S,)."""

    def ratio(name: Any, sigma: float) -> float:
        found = distill.losses(
            _HEAVY, Generator.affine(0.0, width), weight=name, schedule=Schedule([1.0], [sigma])
        )
        return found.l2 / found.l1

    levels = np.asarray(sigmas)
    return {name: np.array([ratio(name, sigma) for sigma in levels]) for name in WEIGHTS}


@dataclass(frozen=True, eq=False)
class WeightedGradients(ReadOnlyFields):
    """Derivatives by the width of a Gaussian student; from :func:`weighted_gradients`.

    Attributes
    ----------
    widths : ndarray, shape (W,)
    half : ndarray, shape (W,)
        Of L2 − L1/2 with ψ frozen: what training at λ = 1/2 follows.
    true : ndarray, shape (W,)
        ½ dL1/dθ, ψ following θ.
    """

    widths: Array
    half: Array
    true: Array

    @property
    def minimum(self) -> float:
        """Where L1 is least: the true derivative's change of sign, interpolated."""
        change = int(np.flatnonzero((self.true[:-1] < 0.0) & (self.true[1:] >= 0.0))[0])
        share = self.true[change] / (self.true[change] - self.true[change + 1])
        return float(self.widths[change] + share * (self.widths[change + 1] - self.widths[change]))


@cache
def weighted_gradients(*, points: int = 22) -> dict[str, WeightedGradients]:
    """Frozen and true gradients by weight."""
    widths = np.linspace(0.3, 3.0, points)
    return {name: _gradients(name, widths) for name in WEIGHTS}


def _gradients(name: Any, widths: Array) -> WeightedGradients:
    found = [
        distill.losses(_HEAVY, Generator.affine(0.0, w), lam=0.5, weight=name, schedule=_LEVEL)
        for w in widths
    ]
    true = [0.5 * one.true["l1"][1] for one in found if one.true is not None]
    return WeightedGradients(
        widths, np.array([one.frozen["loss"][1] for one in found]), np.array(true)
    )


@cache
def weight_runs(
    *, widths: Sequence[float] = (0.5, 1.8), steps: int = 24
) -> dict[tuple[str, float], Distillation]:
    """Training at λ = 1/2 by weight and first width."""
    return {
        (name, width): _trained(
            _HEAVY, Generator.affine(0.0, width), 0.5, _LEVEL, steps, 2.0, weight=name
        )
        for name in WEIGHTS
        for width in widths
    }


@figure(
    "distill-weights",
    "A weight that sees x₀ breaks the identity",
    "A Gaussian student of data that are none. Left: L2/L1 with ψ at its optimum is 1 for weights "
    "of x_t, and not for one of x₀, as public code has it. Middle: the frozen gradient at λ = ½ "
    "(marks) is half the true one (lines), but for that weight. Right: training ends where its own "
    "loss is least (dashed), but for that weight.",
)
def weights(*, points: int = 22, sigmas: int = 7, steps: int = 24) -> Figure:
    """The identity, gradients and training with three weights."""
    made = new_figure(11.2, 4.3)
    left, middle, right = made.subplots(1, 3)
    levels = np.geomspace(0.1, 4.0, sigmas)
    gradients = weighted_gradients(points=points)
    runs = weight_runs(steps=steps)
    for name, ratio in loss_ratios(sigmas=levels).items():
        look = _WEIGHT_LOOKS[name]
        left.semilogx(levels, ratio, **look)
        _draw_gradients(middle, gradients[name], look)
        right.axhline(
            gradients[name].minimum, color=look["color"], linestyle=(0, (4.0, 2.0)), linewidth=1.2
        )
    for (name, _), run in runs.items():
        right.plot(np.abs(run.parameters[:, 1]), color=_WEIGHT_LOOKS[name]["color"])
    left.set_ylim(0.0, 1.1)
    left.set_xticks([0.1, 1.0], ["0.1", "1"])
    left.set_xlabel("noise σ")
    left.set_title("L2/L1 at ψ*")
    middle.axhline(0.0, color=muted(0.5), linewidth=0.9)
    middle.set_xlabel("width θ of the student")
    middle.set_ylabel("in units of the largest true one")
    middle.set_title("Gradients at λ = ½")
    right.set_xlabel("step")
    right.set_title("Training at λ = ½")
    right.set_ylabel("width θ")
    handles = [
        Line2D([], [], label=_WEIGHT_LABELS[name], **look) for name, look in _WEIGHT_LOOKS.items()
    ]
    made.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return made


def _draw_gradients(ax: Axes, found: WeightedGradients, look: dict[str, Any]) -> None:
    unit = np.abs(found.true).max()
    ax.plot(found.widths, found.true / unit, color=look["color"])
    ax.plot(
        found.widths[::2], found.half[::2] / unit, linestyle="none", color=look["color"],
        marker=look["marker"],
    )  # fmt: skip


# ---- flowers ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Flowers(ReadOnlyFields):
    """Petals of 150 irises, and mixtures fitted to them; from :func:`flowers`.

    Attributes
    ----------
    data : ndarray, shape (150, 2)
        Length and width in cm.
    species : ndarray of int, shape (150,)
        Not used for the fits.
    names : tuple of str
    fits : dict of Fit
        By number of components.
    """

    data: Array
    species: Array
    names: tuple[str, ...]
    fits: dict[int, Fit]

    @property
    def best(self) -> int:
        """The number of components of the smallest BIC."""
        return min(self.fits, key=lambda count: self.fits[count].bic)

    @property
    def agreeing(self) -> int:
        """How many flowers of the best fit's components are of the species most have there."""
        parts = self.fits[self.best].mixture.responsibilities(self.data).argmax(axis=1)
        return sum(int(np.bincount(self.species[parts == k]).max()) for k in set(parts.tolist()))


@cache
def flowers(*, most: int = 5) -> Flowers:
    """Mixtures of 1 to `most` components of the petals in scikit-learn's copy of Fisher's irises.

    References
    ----------
    Fisher, "The use of multiple measurements in taxonomic problems", 1936.
    """
    from sklearn.datasets import load_iris

    found = load_iris()
    petals = np.asarray(found.data[:, 2:], dtype=np.float64)
    fits = {count: GaussianMixture.fit(petals, count, restarts=4) for count in range(1, most + 1)}
    return Flowers(
        read_only(petals), read_only(found.target), tuple(map(str, found.target_names)), fits
    )


@cache
def iris_run(*, steps: int = 60, samples: int = 256) -> Distillation:
    """A student of the fitted mixture, from three heaps of one shape along its longest axis."""
    data = flowers().fits[3].mixture
    order = np.argsort(data.means[:, 0])
    shape = np.linalg.cholesky(data.covariance())
    heaps = np.array([[-0.6, 0.0], [0.0, 0.2], [0.6, 0.0]]) @ shape.T
    start = Generator.mixture(data.weights[order], data.mean() + heaps, np.stack([0.5 * shape] * 3))
    levels = distill.schedule("ve", 2, smallest=0.4, largest=1.2)
    return _trained(
        data, start, 1.0, levels, steps, 0.06, optimizer="adam", method="monte-carlo",
        samples=samples,
    )  # fmt: skip


@figure(
    "distill-iris",
    "Irises without their names",
    "Left: petals of 150 irises and a mixture of three Gaussians, found by "
    "expectation–maximisation without the names; 147 flowers lie with their species. Middle: three "
    "components have the smallest BIC. Right: flowers that never grew, drawn in one step each from "
    "a student distilled from that mixture, before and after.",
)
def iris(*, most: int = 5, steps: int = 60, samples: int = 256) -> Figure:
    """A mixture fitted to real measurements, the choice of its size, and its student."""
    found = flowers(most=most)
    run = iris_run(steps=steps, samples=samples)
    made = new_figure(11.2, 4.1)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.25, 0.8, 1.25))
    for kind, (name, marker) in enumerate(zip(found.names, "os^", strict=True)):
        _draw_petals(left, found.data[found.species == kind], marker, f"C{kind}", name)
    for step, marker, color in ((0, "x", "C4"), (run.steps, "o", "C3")):
        drawn = run.generator(step).sample(len(found.data))
        _draw_petals(right, drawn, marker, color, f"step {step}")
    for ax in (left, right):
        _draw_fit(ax, run.teacher)
    left.set_ylabel("petal width (cm)")
    left.set_title("150 irises")
    right.set_title("150 of the student")
    _draw_bic(middle, found)
    return made


def _draw_petals(ax: Axes, rows: Array, marker: str, color: str, label: str) -> None:
    ax.plot(*rows.T, marker, color=color, markersize=4, label=label)


def _draw_fit(ax: Axes, mixture: GaussianMixture) -> None:
    plot_density(mixture, ax, color=muted(0.6))
    ax.set_aspect("auto")
    ax.set_xlim(0.6, 7.4)
    ax.set_ylim(-0.1, 2.9)
    ax.set_xlabel("petal length (cm)")
    ax.legend(loc="upper left", frameon=False, handletextpad=0.2)


def _draw_bic(ax: Axes, found: Flowers) -> None:
    counts = list(found.fits)
    ax.plot(counts, [found.fits[count].bic for count in counts], "o-", color="C0")
    least = found.fits[found.best].bic
    ax.plot(found.best, least, "o", color="C0", markersize=12, fillstyle="none")
    ax.set_xticks(counts)
    ax.set_xlabel("components")
    ax.set_title("BIC")
