"""The figures of probability maps, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from resolvent import probmap
from resolvent._arrays import Array
from resolvent.figures._registry import figure, new_figure
from resolvent.plot.probmap import (
    CORNERS,
    SHADE,
    SUPPORT_COLORS,
    ink,
    plot_attention,
    plot_bars,
    plot_gap,
    plot_plane,
    plot_simplex,
    sequential,
)
from resolvent.plot.style import muted
from resolvent.probmap import Map

__all__ = [
    "Attention",
    "Digits",
    "Losses",
    "Noises",
    "Sparsity",
    "Taylor",
    "alpha_sweep",
    "alphas",
    "attention",
    "attention_logits",
    "digits",
    "digits_sparsity",
    "gap_logits",
    "gap_values",
    "gaps",
    "gradients",
    "jacobian_sizes",
    "loss_values",
    "losses",
    "noise_values",
    "noises",
    "plane",
    "plane_logits",
    "simplex",
    "simplex_web",
    "taylor",
    "taylor_order",
    "temperature_sweep",
    "temperatures",
    "trained_digits",
]

#: The maps of the overview figures: those above 0 but on a null set (squares), then the others.
DENSE: dict[str, Map] = {
    "softmax": probmap.softmax(),
    "normal noise": probmap.perturb_max(noise="normal"),
    "margin softmax": probmap.margin_softmax(target=0, margin=1.0),
    "Taylor softmax": probmap.taylor_softmax(),
    "squares": probmap.normalize(f="square"),
}
SPARSE: dict[str, Map] = {
    "1.5-entmax": probmap.entmax(alpha=1.5),
    "sparsemax": probmap.sparsemax(),
    "normmax": probmap.normmax(alpha=2.0),
    "top-2 softmax": probmap.sparse_softmax(k=2),
    "budget of 1.5": probmap.budget(total=1.5),
}

#: The colour and the line that a map has in every figure.
_LOOKS: dict[str, dict[str, Any]] = {
    "softmax": {"color": "C0"},
    "normal noise": {"color": "C4", "linestyle": (0, (5.0, 1.5))},
    "margin softmax": {"color": "C5", "linestyle": (0, (1.0, 1.0))},
    "Taylor softmax": {"color": "C3"},
    "squares": {"color": "C2", "linestyle": (0, (5.0, 1.5))},
    "1.5-entmax": {"color": "C2"},
    "sparsemax": {"color": "C1"},
    "normmax": {"color": "C4", "linestyle": (0, (5.0, 1.5))},
    "top-2 softmax": {"color": "C5"},
    "top-1 softmax": {"color": "C5"},
    "uniform noise": {"color": "C0", "linestyle": (0, (5.0, 1.5))},
    "budget of 1.5": {"color": "C3", "linestyle": (0, (1.0, 1.0))},
}


def _total(map_: Map) -> float:
    """What the entries of a map sum to."""
    return float(map_.parameters.get("total", 1.0))


# ---- three entries ------------------------------------------------------------------------------


def plane_logits(*, points: int = 160, radius: float = 2.9) -> tuple[Array, Array]:
    """A grid in the plane of three logits that sum to 0: places (P, P, 2) and logits (P, P, 3).

    With an even number of points no two logits are equal on a whole line of the grid.
    """
    line = np.linspace(-radius, radius, points)
    places = np.stack(np.meshgrid(line, line), axis=-1)
    return places, places @ CORNERS.T / 1.5


def simplex_web(
    *, points: int = 360, radii: Sequence[float] = (0.4, 0.8, 1.6, 3.2), rays: int = 12
) -> tuple[Array, Array]:
    """Logits on circles (R, points, 3) and on rays (rays, points, 3) around 0, summing to 0."""
    angle = np.linspace(0.0, 2.0 * np.pi, points)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    spoke = np.pi / 2 + np.arange(rays) * 2.0 * np.pi / rays
    outward = np.stack([np.cos(spoke), np.sin(spoke)], axis=-1)[:, np.newaxis]
    reach = np.linspace(1e-3, 1.0, points)[:, np.newaxis] * radii[-1]
    circles = np.asarray(radii)[:, np.newaxis, np.newaxis] * circle
    # Rounded, so that logits which are equal on a ray are equal to the last bit.
    return tuple(np.round(places @ CORNERS.T / 1.5, 6) for places in (circles, outward * reach))


def _support_legend(made: Figure, alpha: float, *extra: Patch) -> None:
    names = {3: "three entries above 0", 2: "two", 1: "one"}
    handles = [
        Patch(facecolor=SUPPORT_COLORS[size], alpha=alpha, label=name)
        for size, name in names.items()
    ]
    made.legend(handles=[*handles, *extra], loc="outside lower center", ncols=4, frameon=False)


@figure(
    "probmap-plane",
    "Where entries become zero",
    "Three logits that sum to 0, the first growing upwards, and what ten maps make of them. Above: "
    "no area of zeros. Below: outside the blue region entries are 0. Lines: the largest "
    "probability is 0.4, 0.6, 0.8, 0.95. Hatched: it is not the largest logit's; with a margin the "
    "first has to win by 1, and squares see no sign.",
)
def plane(*, points: int = 160, radius: float = 2.9) -> Figure:
    """The plane of three logits under ten maps, coloured by support."""
    places, x = plane_logits(points=points, radius=radius)
    made = new_figure(10.4, 5.0)
    panels = made.subplots(2, len(DENSE))
    for ax, (label, map_) in zip(panels.flat, {**DENSE, **SPARSE}.items(), strict=True):
        plot_plane(places, map_(x), ax)
        ax.set_title(label, loc="center", fontsize=10)
    _support_legend(
        made,
        SHADE,
        Patch(facecolor="none", edgecolor=muted(0.9), hatch="////", label="order broken"),
    )
    return made


@figure(
    "probmap-simplex",
    "Circles of logits in the triangle",
    "Four circles of logits and twelve rays, as ten maps put them in the triangle of three "
    "probabilities. Above, curves bend towards the edges and do not reach them; squares forget "
    "sign and radius: one circle is left. Below, they lie on edges (two entries above 0) and end "
    "in corners (one); top-2 softmax leaves the inside to ties, a budget cuts the corners off.",
)
def simplex(*, points: int = 360) -> Figure:
    """The image of a polar grid under ten maps."""
    circles, spokes = simplex_web(points=points)
    made = new_figure(10.4, 4.7)
    panels = made.subplots(2, len(DENSE))
    for ax, (label, map_) in zip(panels.flat, {**DENSE, **SPARSE}.items(), strict=True):
        total = _total(map_)
        for curves in (spokes, circles):
            plot_simplex(map_(curves), ax, total=total)
        ax.set_title(label, loc="center", fontsize=10)
    _support_legend(made, 1.0)
    return made


# ---- two classes --------------------------------------------------------------------------------

#: With two classes top-2 is softmax; noise of bounded support gives zeros as well.
_SPARSE_OF_TWO: dict[str, Map] = {
    **{label: map_ for label, map_ in SPARSE.items() if label != "top-2 softmax"},
    "top-1 softmax": probmap.sparse_softmax(k=1),
    "uniform noise": probmap.perturb_max(noise="uniform"),
}


def gap_logits(gaps: Array, *, others: int = 1) -> Array:
    """One entry `gap` above `others` that are equal, the mean of all being 0: (G, others + 1)."""
    x = np.repeat(-gaps[:, np.newaxis] / (others + 1), others + 1, axis=1)
    x[:, 0] += gaps
    return x


def gap_values(maps: dict[str, Map], gaps: Array, *, others: int = 1) -> dict[str, Array]:
    """What every map gives to the first entry of :func:`gap_logits`."""
    x = gap_logits(gaps, others=others)
    return {label: map_(x)[:, 0] for label, map_ in maps.items()}


@figure(
    "probmap-gap",
    "What a gap between two logits is worth",
    "The probability of one of two classes against its lead. Left: maps that never reach 0; "
    "squares see only sizes, so that a lag is as good as a lead, and Taylor's turns back. Right: "
    "maps that reach 0 and 1 at a finite gap, softmax in grey. A budget of 1.5 shares out "
    "1.5, so that both classes have at least ½.",
)
def gaps(*, largest: float = 4.0, points: int = 401) -> Figure:
    """The probability of one of two classes against the gap, for all maps."""
    across = np.linspace(-largest, largest, points)
    made = new_figure(9.6, 4.7)
    left, right = made.subplots(1, 2, sharey=True)
    dense = gap_values(DENSE, across)
    plot_gap(across, dense["softmax"], right, color=muted(0.45), label="softmax")
    for ax, values in ((left, dense), (right, gap_values(_SPARSE_OF_TWO, across))):
        for label, p in values.items():
            plot_gap(across, p, ax, label=label, **_LOOKS[label])
        ax.set_ylim(-0.03, 1.03)
        ax.legend(
            frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2,
        )  # fmt: skip
    left.set_title("Above 0 everywhere")
    right.set_title("Exactly 0 from some gap on")
    right.set_ylabel("")
    return made


# ---- from softmax to argmax ---------------------------------------------------------------------

#: The row whose entries drop out.
ROW = (1.4, 1.1, 0.8, 0.3, -0.4)

_ALPHA_TICKS = {1.0: "1", 1.25: "1.25", 1.5: "1.5", 2.0: "2", 4.0: "4", np.inf: "∞"}


def _alpha_axis(ax: Axes) -> None:
    """The axis 1 − 1/α, on which 1 to ∞ is finite."""
    ax.set_xticks([_on_axis(a) for a in _ALPHA_TICKS], list(_ALPHA_TICKS.values()))
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("α")


def _on_axis(alpha: float) -> float:
    return 1.0 - 1.0 / alpha


def alpha_sweep(name: str, row: Sequence[float], axis: Array) -> Array:
    """A row under α-entmax or normmax where 1 − 1/α is `axis`; shape (len(axis), len(row))."""
    with np.errstate(divide="ignore"):
        alpha = 1.0 / (1.0 - axis)
    x = np.broadcast_to(np.asarray(row), (axis.size, len(row)))
    return np.asarray(getattr(probmap, name)(x, alpha=alpha))


def _shades(count: int) -> list[Any]:
    """Colours in an order, from the first of the cycle to the text colour."""
    return [sequential()(0.3 + 0.7 * i / (count - 1)) for i in range(count)]


@figure(
    "probmap-alpha",
    "α from softmax to argmax",
    "Left: α-entmax of two classes. At α = 1 it is softmax; above, it reaches 0 and 1 at a gap "
    "of 1/(α − 1), and at ∞ it is a step. Middle: a row of five logits as α grows; entries drop "
    "out one after another. Right: normmax goes the other way, from argmax to equal shares of "
    "sparsemax's support.",
)
def alphas(*, points: int = 401, row: Sequence[float] = ROW) -> Figure:
    """Curves of α-entmax; one row under entmax and normmax against α."""
    across = np.linspace(-4.5, 4.5, points)
    made = new_figure(11.0, 4.2)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.15, 1.0, 1.0))
    curves = {label: probmap.entmax(alpha=a) for a, label in _ALPHA_TICKS.items()}
    for (label, p), shade in zip(
        gap_values(curves, across).items(), _shades(len(curves)), strict=True
    ):
        plot_gap(across, p, left, color=shade, label=label)
    left.legend(title="α", frameon=False, loc="upper left", handlelength=1.2)
    left.set_title("α-entmax, two classes")
    axis = np.linspace(0.0, 1.0, points)
    for ax, name, title in (
        (middle, "entmax", "α-entmax, a row of five"),
        (right, "normmax", "normmax, the same row"),
    ):
        _draw_row(ax, axis, alpha_sweep(name, row, axis), row)
        _alpha_axis(ax)
        ax.set_title(title)
    middle.legend(title="logits", frameon=False, loc="center right", handlelength=1.2)
    return made


def _draw_row(ax: Axes, axis: Array, p: Array, row: Sequence[float]) -> None:
    """One line per entry, as long as the entry is above 0."""
    for i, logit in enumerate(row):
        alive = np.where(p[:, i] > 0.0, p[:, i], np.nan)
        ax.plot(axis, alive, color=f"C{i}", label=f"{logit:g}".replace("-", "−"))
    ax.set_ylim(-0.03, 1.03)


# ---- temperature --------------------------------------------------------------------------------

#: The row that is heated; its last entry is far below 0, where Taylor's polynomial grows.
HEATED_ROW = (2.0, 1.2, 0.5, -0.5, -2.8)

_SWEPT: dict[str, Map] = {
    "softmax": probmap.softmax(),
    "1.5-entmax": probmap.entmax(alpha=1.5),
    "sparsemax": probmap.sparsemax(),
    "normal noise": probmap.perturb_max(noise="normal"),
    "Taylor softmax": probmap.taylor_softmax(),
    "squares": probmap.normalize(f="square"),
}


def temperature_sweep(map_: Map, row: Sequence[float], temperatures: Array) -> Array:
    """map(row/τ) for every τ; shape (len(temperatures), len(row))."""
    x = np.broadcast_to(np.asarray(row), (temperatures.size, len(row)))
    return map_.bind(temperature=temperatures)(x)


@figure(
    "probmap-temperature",
    "Hot and cold",
    "One row of logits under six maps, against the temperature. Softmax nears one-hot in the cold "
    "and equal shares in the heat; the sparse maps are one-hot below a temperature above 0. "
    "Taylor softmax never gets there: in the cold it only squares, and its largest share is that "
    "of the smallest logit. Squares do not feel temperature.",
)
def temperatures(*, points: int = 301, row: Sequence[float] = HEATED_ROW) -> Figure:
    """A row of logits under six maps against the temperature."""
    tau = np.geomspace(0.05, 50.0, points)
    made = new_figure(9.8, 5.6)
    panels = made.subplots(2, 3, sharex=True, sharey=True)
    for ax, (label, map_) in zip(panels.flat, _SWEPT.items(), strict=True):
        _draw_row(ax, tau, temperature_sweep(map_, row, tau), row)
        ax.axhline(1.0 / len(row), color=muted(0.4), linewidth=0.8, linestyle="--", zorder=0)
        ax.set_xscale("log")
        ax.set_xlim(tau[0], tau[-1])
        ax.set_xticks([0.1, 1.0, 10.0], ["0.1", "1", "10"])
        ax.set_title(label)
    for ax in panels[1]:
        ax.set_xlabel("temperature τ")
    for ax in panels[:, 0]:
        ax.set_ylabel("probability")
    made.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", frameon=False,
        ncols=len(row), title="logits",
    )  # fmt: skip
    return made


# ---- vanishing gradients ------------------------------------------------------------------------

_DERIVED: dict[str, Map] = {
    "softmax": probmap.softmax(),
    "normal noise": probmap.perturb_max(noise="normal"),
    "Taylor softmax": probmap.taylor_softmax(),
    "1.5-entmax": probmap.entmax(alpha=1.5),
    "sparsemax": probmap.sparsemax(),
}


def jacobian_sizes(maps: dict[str, Map], gaps: Array, *, others: int = 1) -> dict[str, Array]:
    """½Σ|∂p_i/∂x_j| at :func:`gap_logits`, one after another: a Jacobian of many has (n, n)."""
    x = gap_logits(gaps, others=others)
    return {
        label: np.array([0.5 * np.abs(probmap.jacobian(map_, row)).sum() for row in x])
        for label, map_ in maps.items()
    }


@figure(
    "probmap-gradients",
    "How gradients vanish",
    "Half the sum of the Jacobian's moduli; for softmax it is 1 − Σp² (dots). Once one entry "
    "leads, softmax's derivative dies out exponentially, that of normal noise faster, Taylor's "
    "like a power; a sparse map's is exactly 0 from a gap of 1/(α − 1) on. Among 30 entries "
    "softmax first has to lead by log 29.",
)
def gradients(*, points: int = 145, others: int = 29) -> Figure:
    """The size of Jacobians against the gap, of two entries and of many."""
    made = new_figure(9.6, 4.6)
    panels = made.subplots(1, 2, sharey=True)
    for ax, count, largest in zip(panels, (1, others), (12.0, 16.0), strict=True):
        across = np.linspace(0.0, largest, points)
        for label, size in jacobian_sizes(_DERIVED, across, others=count).items():
            ax.semilogy(across, np.maximum(size, 1e-9), label=label, **_LOOKS[label])
        p = probmap.softmax(gap_logits(across, others=count))[:: points // 16]
        ax.semilogy(
            across[:: points // 16], 1.0 - np.sum(p**2, axis=-1), "o", color="C0", markersize=4,
            label="1 − Σp² of softmax",
        )  # fmt: skip
        ax.set_xlim(0.0, largest)
        ax.set_ylim(1e-6, 200.0)
        ax.set_xlabel("gap to the others")
        ax.set_title("Two entries" if count == 1 else f"One entry against {count}")
    panels[0].set_ylabel("½ Σ |∂pᵢ/∂xⱼ|")
    made.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False
    )
    return made


# ---- Taylor's order -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Taylor:
    """Taylor polynomials of e^x and the maps they make; from :func:`taylor_order`.

    Attributes
    ----------
    logits : ndarray, shape (G,)
    of_two : dict of ndarray
        By order: what the row (x, 0) gives to x. Order 0 stands for softmax.
    minima : dict of float
        By order: where on the grid that is smallest.
    """

    logits: Array
    of_two: dict[int, Array]
    minima: dict[int, float]


def taylor_order(
    *, orders: Sequence[int] = (2, 4, 6), lowest: float = -6.0, points: int = 601
) -> Taylor:
    """The row (x, 0) under Taylor softmax of several orders."""
    x = np.linspace(lowest, 2.0, points)
    rows = np.stack([x, np.zeros_like(x)], axis=-1)
    of_two = {0: np.asarray(probmap.softmax(rows)[:, 0])}
    of_two |= {k: np.asarray(probmap.taylor_softmax(rows, order=k)[:, 0]) for k in orders}
    return Taylor(x, of_two, {k: float(x[np.argmin(p)]) for k, p in of_two.items() if k})


@figure(
    "probmap-taylor",
    "Taylor softmax rewards the worst",
    "Left: the probability of a logit x beside one of 0. Softmax falls as x does; with a "
    "polynomial in place of eˣ it turns at the dot and rises again. A higher order only moves the "
    "turn. Right: in one row, −4 is the least probable under softmax and the most under order 2.",
)
def taylor(*, points: int = 601) -> Figure:
    """Taylor softmax of two logits, and one row in which the order of entries breaks."""
    found = taylor_order(points=points)
    made = new_figure(9.6, 4.2)
    left, right = made.subplots(1, 2, width_ratios=(1.25, 1.0))
    for k, p in found.of_two.items():
        color = f"C{k // 2}"
        left.plot(found.logits, p, color=color, label=f"order {k}" if k else "softmax")
        if k:
            at = int(np.argmin(p))
            left.plot(found.logits[at], p[at], "o", color=color)
    left.axhline(0.5, color=muted(0.4), linewidth=0.8, linestyle="--", zorder=0)
    left.text(found.logits[0] + 0.1, 0.515, "as probable as 0", fontsize=9, color=muted(0.9))
    left.set_xlim(found.logits[0], found.logits[-1])
    left.set_ylim(0.0, 1.0)
    left.set_xlabel("logit x, beside a logit of 0")
    left.set_ylabel("probability of x")
    left.legend(frameon=False, loc="upper center")
    row = np.array(TAYLOR_ROW)
    names = [f"{v:g}".replace("-", "−") for v in row]
    width = 0.38
    for shift, (label, p, color) in enumerate(
        (
            ("softmax", probmap.softmax(row), "C0"),
            ("order 2", probmap.taylor_softmax(row), "C1"),
        )
    ):
        places = np.arange(row.size) + (shift - 0.5) * width
        right.bar(places, p, width, color=color, label=label)
    right.set_xticks(range(row.size), names)
    right.set_xlabel("logits of one row")
    right.grid(False, axis="x")
    right.legend(frameon=False)
    left.set_title("Two logits")
    right.set_title("One row")
    return made


#: A row of which Taylor softmax of order 2 breaks the order.
TAYLOR_ROW = (1.0, 0.5, 0.0, -1.0, -4.0)


# ---- noise --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noises:
    """Perturbed maxima of one entry among equal ones; from :func:`noise_values`.

    Attributes
    ----------
    gaps : ndarray, shape (G,)
    softmax : ndarray, shape (G,)
    p : dict of ndarray, shape (G,)
        By noise: of the first entry, by quadrature.
    sampled_gaps : ndarray, shape (S,)
    sampled : dict of ndarray, shape (S,)
        By noise: how often the first entry won.
    draws : int
    """

    gaps: Array
    softmax: Array
    p: dict[str, Array]
    sampled_gaps: Array
    sampled: dict[str, Array]
    draws: int


def noise_values(
    *, others: int = 9, points: int = 161, largest: float = 8.0, draws: int = 2000, seed: int = 0
) -> Noises:
    """One entry against `others` under every noise, by quadrature and by drawing."""
    across = np.linspace(-2.0, largest, points)
    few = np.linspace(-1.5, largest - 0.5, 10)
    x, x_few = gap_logits(across, others=others), gap_logits(few, others=others)
    p, sampled = {}, {}
    for noise in probmap.NOISES:
        map_ = _perturbed(noise)
        p[noise] = np.asarray(map_(x)[:, 0])
        winners = probmap.sample(map_, x_few, draws, seed)
        sampled[noise] = np.mean(winners == 0, axis=0)
    softmax = np.asarray(probmap.softmax(x)[:, 0])
    return Noises(across, softmax, p, few, sampled, draws)


def _perturbed(noise: str) -> Map:
    if noise == "student-t":
        return probmap.perturb_max(noise=noise, df=3.0)
    return probmap.perturb_max(noise=noise)


@figure(
    "probmap-noise",
    "Eight noises, and softmax",
    "How often one entry wins against nine equal ones when noise is added to all, against its "
    "lead: computed (lines) and drawn 2000 times (dots), beside softmax (grey). Gumbel noise is "
    "softmax. Bounded and thin tails decide sooner; with Cauchy's a lead of 8 still loses every "
    "third time.",
)
def noises(*, others: int = 9, points: int = 161, draws: int = 2000) -> Figure:
    """Perturbed maxima of eight noises against softmax."""
    found = noise_values(others=others, points=points, draws=draws)
    made = new_figure(10.0, 5.0)
    panels = made.subplots(2, 4, sharex=True, sharey=True)
    for ax, (noise, p) in zip(panels.flat, found.p.items(), strict=True):
        plot_gap(found.gaps, found.softmax, ax, color=muted(0.4), linewidth=2.6)
        plot_gap(found.gaps, p, ax, color="C0")
        ax.plot(found.sampled_gaps, found.sampled[noise], "o", color="C1", markersize=4)
        ax.set_title("student-t, 3 degrees" if noise == "student-t" else noise, fontsize=10)
        ax.set_xlabel("gap" if ax in panels[1] else "")
        ax.set_ylabel("probability" if ax in panels[:, 0] else "")
        ax.set_ylim(-0.03, 1.03)
    handles = [
        Line2D([], [], color="C0", label="by quadrature"),
        Line2D([], [], color="C1", marker="o", linestyle="none", label=f"of {draws} draws"),
        Line2D([], [], color=muted(0.4), linewidth=2.6, label="softmax"),
    ]
    made.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return made


# ---- losses -------------------------------------------------------------------------------------

_LEARNT: dict[str, Map] = {
    "softmax": probmap.softmax(),
    "margin softmax": probmap.margin_softmax(margin=1.0),
    "Taylor softmax": probmap.taylor_softmax(),
    "top-1 softmax": probmap.sparse_softmax(k=1),
    "1.5-entmax": probmap.entmax(alpha=1.5),
    "sparsemax": probmap.sparsemax(),
    "normmax": probmap.normmax(alpha=2.0),
}


@dataclass(frozen=True)
class Losses:
    """Losses of two classes against the target's lead; from :func:`loss_values`.

    Attributes
    ----------
    margins : ndarray, shape (G,)
    values, slopes : dict of ndarray
        By map: the loss, and its derivative by the target's logit.
    """

    margins: Array
    values: dict[str, Array]
    slopes: dict[str, Array]


def loss_values(*, lowest: float = -4.0, highest: float = 5.0, points: int = 400) -> Losses:
    """Every loss at the logits (m/2, −m/2), the first being the target."""
    margins = np.linspace(lowest, highest, points)
    x = gap_logits(margins)
    target = np.zeros(points, dtype=np.int64)
    values, slopes = {}, {}
    for label, map_ in _LEARNT.items():
        values[label] = np.asarray(probmap.loss(map_, x, target, reduction="none"))
        slopes[label] = probmap.loss_gradient(map_, x, target, reduction="none")[:, 0]
    return Losses(margins, values, slopes)


@figure(
    "probmap-losses",
    "When a loss is content",
    "Losses of two classes against the target's lead, and their derivatives by its logit. "
    "Cross-entropy always asks for more, with a margin for still more. The losses of sparse maps "
    "are 0 from a lead of 1/(α − 1) on: 2 for 1.5-entmax, 1 for sparsemax; top-1's jumps. Taylor's "
    "pushes a target that is far behind further back.",
)
def losses(*, points: int = 400) -> Figure:
    """Losses against the margin, and their slopes."""
    found = loss_values(points=points)
    made = new_figure(9.8, 4.7)
    left, right = made.subplots(1, 2)
    for ax, curves, title in (
        (left, found.values, "Loss"),
        (right, found.slopes, "Its derivative by the target's logit"),
    ):
        for label, values in curves.items():
            ax.plot(found.margins, values, label=label, **_LOOKS[label])
        ax.axvline(0.0, color=muted(0.3), linewidth=0.8, zorder=0)
        ax.axhline(0.0, color=muted(0.3), linewidth=0.8, zorder=0)
        ax.set_xlim(found.margins[0], found.margins[-1])
        ax.set_xlabel("lead of the target")
        ax.set_title(title)
    left.set_ylim(-0.1, 4.5)
    made.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    return made


# ---- real logits: digits ------------------------------------------------------------------------


@dataclass(frozen=True)
class Digits:
    """A softmax regression on handwritten digits; from :func:`trained_digits`.

    Attributes
    ----------
    images : ndarray, shape (B, 8, 8)
        Those held out.
    labels : ndarray, shape (B,)
    logits : ndarray, shape (B, 10)
        What the trained model says of them.
    """

    images: Array
    labels: Array
    logits: Array


#: Of the 1797 digits the first so many train the model, in the set's own order.
_TRAINING = 1200


def trained_digits(*, steps: int = 400, rate: float = 0.5, decay: float = 1e-3) -> Digits:
    """Logistic regression on 8×8 digits by Nesterov's method on softmax's loss."""
    data = _digit_data()
    pixels = np.column_stack([data.data / 16.0, np.ones(len(data.data))])
    labels = data.target.astype(np.int64)
    known, held_out = slice(None, _TRAINING), slice(_TRAINING, None)
    weights = np.zeros((pixels.shape[1], 10))
    ahead = weights
    for step in range(steps):
        error = probmap.loss_gradient("softmax", pixels[known] @ ahead, labels[known])
        moved = ahead - rate * (pixels[known].T @ error + decay * ahead)
        ahead = moved + step / (step + 3.0) * (moved - weights)
        weights = moved
    return Digits(data.images[held_out], labels[held_out], pixels[held_out] @ weights)


def _digit_data() -> Any:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "this figure shows a data set that comes with scikit-learn: "
            "pip install 'resolvent[figures]'"
        ) from error
    return load_digits()


@dataclass(frozen=True)
class Sparsity:
    """Entmax of many α on one set of logits; from :func:`digits_sparsity`.

    Attributes
    ----------
    axis : ndarray, shape (K,)
        1 − 1/α.
    support : ndarray, shape (K,)
        How many classes are above 0, on average.
    covered : ndarray, shape (K,)
        The share of rows whose true class is among them.
    accuracy : ndarray, shape (K,)
        The share of rows whose largest probability is the true class's.
    """

    axis: Array
    support: Array
    covered: Array
    accuracy: Array


def digits_sparsity(found: Digits, axis: Array) -> Sparsity:
    """Support, coverage and accuracy of α-entmax at prediction time."""
    rows = np.arange(found.labels.size)
    table = []
    for place in axis:
        p = probmap.entmax(found.logits, alpha=1.0 / (1.0 - place) if place < 1.0 else np.inf)
        kept = p > 0.0
        right = np.argmax(p, axis=-1) == found.labels
        table.append((kept.sum(axis=-1).mean(), kept[rows, found.labels].mean(), right.mean()))
    return Sparsity(axis, *np.array(table).T)


def _telling(found: Digits) -> list[int]:
    """A clear digit, one between two classes, and one that is mistaken yet still considered."""
    order = np.sort(found.logits, axis=-1)
    gap = order[:, -1] - order[:, -2]
    right = np.argmax(found.logits, axis=-1) == found.labels
    p = probmap.entmax(found.logits, alpha=1.5)
    considered = ~right & (p[np.arange(gap.size), found.labels] > 0.0)
    size = np.sum(p > 0.0, axis=-1)
    return [
        int(np.argmax(np.where(right, gap, -np.inf))),
        int(np.argmin(np.where(right & (size == 2), gap, np.inf))),
        int(np.argmax(np.where(considered, size + gap / gap.max(), -np.inf))),
    ]


_REPLACED: dict[str, Map] = {
    "softmax": probmap.softmax(),
    "1.5-entmax": probmap.entmax(alpha=1.5),
    "sparsemax": probmap.sparsemax(),
}


@figure(
    "probmap-digits",
    "Replace the map of a trained model",
    "A softmax regression on handwritten digits, its map replaced by α-entmax at prediction. Left: "
    "three digits; crosses are exact zeros. Right: at α = 1.25 two or three of the ten classes "
    "are left and hold the true one in 99% of the digits. The most probable class, and with it the "
    "accuracy, never changes.",
)
def digits(*, points: int = 61, steps: int = 400) -> Figure:
    """Three digits under three maps; support, coverage and accuracy against α."""
    found = trained_digits(steps=steps)
    made = new_figure(10.6, 5.6)
    parts: Any = made.subfigures(1, 2, width_ratios=(1.35, 1.0))
    left, right = parts
    chosen = _telling(found)
    grid = left.subplots(len(chosen), 1 + len(_REPLACED), width_ratios=(0.75, 1.0, 1.0, 1.0))
    for row, index in zip(grid, chosen, strict=True):
        row[0].imshow(found.images[index], cmap=ink())
        row[0].set_axis_off()
        row[0].set_title(f"a {found.labels[index]}", loc="center", fontsize=10)
        for ax, (label, map_) in zip(row[1:], _REPLACED.items(), strict=True):
            plot_bars(map_(found.logits[index]), ax, color=_LOOKS[label]["color"])
            ax.set_ylim(0.0, 1.05)
            ax.set_yticks([0.0, 0.5, 1.0])
            ax.tick_params(labelleft=ax is row[1], labelsize=8, length=0)
    for ax, label in zip(grid[0, 1:], _REPLACED, strict=True):
        ax.set_title(label, fontsize=10)
    _draw_sparsity(right, digits_sparsity(found, np.linspace(0.0, 1.0, points)))
    return made


def _draw_sparsity(part: Any, found: Sparsity) -> None:
    top, bottom = part.subplots(2, 1, sharex=True, height_ratios=(1.0, 1.15))
    top.semilogy(found.axis, found.support, color="C0", linewidth=2.2)
    top.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    top.minorticks_off()
    top.set_ylim(0.92, 11.0)
    top.set_title("Classes above 0, on average")
    for values, color, label in (
        (found.covered, "C0", "true class above 0"),
        (found.accuracy, "C1", "true class most probable"),
    ):
        bottom.plot(found.axis, 100.0 * values, color=color, label=label, linewidth=2.2)
    bottom.set_ylim(89.5, 100.5)
    bottom.set_title("Share of the digits in %")
    bottom.legend(frameon=False, loc="upper right")
    _alpha_axis(bottom)


# ---- real logits: attention ---------------------------------------------------------------------


@dataclass(frozen=True)
class Attention:
    """The logits of one attention head on one sentence; from :func:`attention_logits`.

    Attributes
    ----------
    tokens : tuple of str
        n of them.
    logits : ndarray, shape (n, n)
        q·k/√d; row i: how token i looks at the others.
    """

    tokens: tuple[str, ...]
    logits: Array


def attention_logits() -> Attention:
    """A head of a pretrained encoder; the file names model, package, licence, layer and text."""
    file = resources.files("resolvent.figures") / "data" / "attention.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    return Attention(tuple(stored["tokens"]), np.array(stored["logits"]))


@figure(
    "probmap-attention",
    "One attention head, three maps",
    "“Happy families are all alike; every unhappy family is unhappy in its own way.” Each row: "
    "where a word looks, in a head of a pretrained encoder that pairs happy with unhappy, families "
    "with family, are with is. Softmax gives every word something. Sparsemax leaves the pairs, and "
    "[CLS] to rest on; zeros are blank.",
)
def attention() -> Figure:
    """The attention matrix of one head under three maps."""
    found = attention_logits()
    made = new_figure(11.0, 4.3)
    panels = made.subplots(1, len(_REPLACED), sharey=True)
    for ax, (label, map_) in zip(panels, _REPLACED.items(), strict=True):
        p = map_(found.logits)
        plot_attention(p, found.tokens, ax)
        ax.set_title(f"{label}: {np.mean(p > 0.0):.0%} above 0")
        ax.tick_params(labelsize=8)
    bar = made.colorbar(panels[0].images[0], ax=panels, shrink=0.8, pad=0.015)
    bar.set_ticks([1e-3, 1e-2, 1e-1, 1.0], labels=["≤ 0.001", "0.01", "0.1", "1"])
    bar.set_label("probability")
    return made
