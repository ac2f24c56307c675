"""Pictures of low-rank adapters: spectra, report cards, training, and the noise of gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from resolvent._arrays import name_parameter
from resolvent.plot.style import axes_or_new, muted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from resolvent.lora import (
        Alignment,
        BatchNoise,
        Comparison,
        FilesComparison,
        FilesReport,
        LayerCard,
        Run,
        Trajectory,
    )

__all__ = [
    "METHOD_COLORS",
    "METHOD_STYLES",
    "plot_alignment",
    "plot_batch_noise",
    "plot_comparison",
    "plot_layers",
    "plot_methods_by_layer",
    "plot_trajectory",
]

#: The colour and the line that a method has in every picture; full fine-tuning has the text colour.
METHOD_COLORS = {
    "lora": "C0",
    "lora+": "C0",
    "rslora": "C5",
    "lora-ga": "C1",
    "lora-ga-adam": "C1",
    "pissa": "C2",
    "olora": "C2",
    "adalora": "C3",
    "dora": "C4",
    "orthogonal": "C5",
}
METHOD_STYLES = {
    "lora+": (0, (5.0, 1.5)),
    "rslora": (0, (1.0, 1.2)),
    "lora-ga-adam": (0, (5.0, 1.5)),
    "olora": (0, (5.0, 1.5)),
    "orthogonal": (0, (5.0, 1.5, 1.0, 1.5)),
}

#: What an axis shows: its label, and whether it is logarithmic.
_QUANTITIES = {
    "loss": ("training loss", True),
    "accuracy": ("test accuracy", False),
    "test_loss": ("test loss", True),
    "alignment": ("cosine with full fine-tuning's step", False),
    "drift_left": ("drift of col A (radians)", False),
    "drift_right": ("drift of row B (radians)", False),
    "ranks": ("rank, all weights together", False),
}


#: With more lines the legend is beside the axes.
_MOST_INSIDE = 6


# ---- at the start -------------------------------------------------------------------------------


def plot_alignment(result: Alignment, ax: Axes | None = None) -> Axes:
    """The singular values of full fine-tuning's step, with the 2r that an adapter can follow.

    Parameters
    ----------
    result : Alignment
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        Relative to the largest, logarithmic. The title has the cosine, and the best one of that
        rank.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> G = np.random.default_rng(0).standard_normal((24, 20))
    >>> card = rv.lora.alignment(G, rv.lora.initialize("lora-ga", gradient=G, rank=4))
    >>> len(card.plot(ax=Figure().subplots()).lines)
    3
    """
    target = axes_or_new(ax)
    values = np.asarray(result.spectrum, dtype=np.float64)
    shares = values / (values.max(initial=0.0) or 1.0)
    visible = np.where(shares > 0.0, shares, np.nan)  # zeros have no place on a logarithmic axis
    place, cut = np.arange(1, values.size + 1), 2 * result.rank
    target.semilogy(place[:cut], visible[:cut], "o-", color="C0", label="2r largest")
    target.semilogy(place[cut:], visible[cut:], "o-", color=muted(0.45), label="others")
    target.axvline(cut + 0.5, color=muted(0.6), linewidth=0.9, linestyle=(0, (4.0, 2.0)))
    target.xaxis.set_major_locator(MaxNLocator(integer=True))
    target.set_xlabel("singular value")
    target.set_ylabel("relative to the largest")
    target.set_title(
        f"{_named(result.method)}, {result.optimizer}: cosine {result.cosine:.3f}, "
        f"at best {_best_cosine(result):.3f}"
    )
    target.legend(frameon=False)
    return target


def plot_comparison(result: Comparison, ax: Axes | None = None) -> Axes:
    """What each method's first step has of full fine-tuning's, as bars.

    Parameters
    ----------
    result : Comparison
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        Cosines: a bar for the first step, a line for the best step within the spaces of its factors
        (√captured), and a dashed one for the best step of rank 2r.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> rng = np.random.default_rng(0)
    >>> W, G = rng.standard_normal((2, 24, 20))
    >>> table = rv.lora.compare(["lora", "lora-ga"], W, G, rank=4)
    >>> len(table.plot(ax=Figure().subplots()).patches)
    2
    """
    cards = result.cards
    target = axes_or_new(ax, 1.2 + 0.36 * len(cards))
    place = np.arange(len(cards))
    target.barh(
        place, [card.cosine for card in cards.values()], height=0.62, label="first step",
        color=[METHOD_COLORS.get(card.method, "C0") for card in cards.values()],
    )  # fmt: skip
    target.plot(
        [math.sqrt(max(0.0, card.captured)) for card in cards.values()], place, "|",
        color=muted(1.0), markersize=13, markeredgewidth=2.0, label="best within its spaces",
    )  # fmt: skip
    best = max((_best_cosine(card) for card in cards.values()), default=1.0)
    target.axvline(
        best, color=muted(0.6), linewidth=0.9, linestyle=(0, (4.0, 2.0)), label="best of its rank"
    )
    target.set_yticks(place, list(cards))
    target.invert_yaxis()
    target.set_xlim(min(0.0, *(card.cosine for card in cards.values())), 1.02)
    target.grid(False, axis="y")
    target.set_xlabel("cosine with full fine-tuning's first step")
    target.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return target


def _named(method: str) -> str:
    return method or "adapter"


def _best_cosine(card: Alignment | LayerCard) -> float:
    """√(1 − optimum²): the cosine of the best step of rank 2r."""
    return math.sqrt(max(0.0, 1.0 - (card.optimum or 0.0) ** 2))


# ---- along the training -------------------------------------------------------------------------


def plot_trajectory(
    result: Trajectory,
    ax: Axes | None = None,
    *,
    quantity: str = "loss",
    learning_rate: float | None = None,
) -> Axes:
    """A quantity along the training, one line per method, shaded from the least to the most.

    Parameters
    ----------
    result : Trajectory
    ax : Axes, optional
        Where to draw; new axes unless given.
    quantity : str
        One of :data:`resolvent.lora.QUANTITIES`.
    learning_rate : float, optional
        The same for all methods; the best of each unless given.

    Returns
    -------
    Axes
        Lines are means over seeds, and end where a run diverges. The legend has the learning rates,
        unless they are all the same. Full fine-tuning has no factors that drift, and no rank.

    Raises
    ------
    InvalidArgument
        For an unknown quantity, or a learning rate that was not tried.

    Examples
    --------
    >>> import resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> problem = rv.lora.digits("softmax", "rotation")
    >>> found = rv.lora.trajectory(problem, ["full", "lora"], steps=5, learning_rates=0.1)
    >>> len(found.plot(ax=Figure().subplots(), quantity="alignment").lines)
    2
    """
    label, logarithmic = _QUANTITIES[name_parameter(quantity, tuple(_QUANTITIES), "quantity")]
    target = axes_or_new(ax, 4.2)
    runs = [
        result.best(method) if learning_rate is None else result.run(method, learning_rate)
        for method in result.labels
    ]
    alike = len({run.learning_rate for run in runs}) == 1
    for i, run in enumerate(runs):
        _draw_run(target, run, quantity, i, "" if alike else f", η = {run.learning_rate:g}")
    if logarithmic:
        target.set_yscale("log")
    if quantity == "accuracy":
        target.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if quantity == "ranks":
        target.yaxis.set_major_locator(MaxNLocator(integer=True))
    target.set_xlim(result.steps[0], result.steps[-1])
    target.set_xlabel("step")
    target.set_ylabel(label)
    rates = f", η = {runs[0].learning_rate:g}" if alike else ""
    target.set_title(f"{result.problem}, {result.optimizer}{rates}")
    if len(runs) > _MOST_INSIDE:
        target.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        target.legend(frameon=False)
    return target


def _draw_run(ax: Axes, run: Run, quantity: str, i: int, note: str) -> None:
    if run.label == "full" and quantity in ("drift_left", "drift_right", "ranks"):
        return
    values = np.asarray(getattr(run, quantity), dtype=np.float64)
    if quantity == "ranks":
        values = values.sum(axis=-1)
    values = np.where(np.isfinite(values), values, np.nan)
    if np.isnan(values).all():
        return
    color = muted(1.0) if run.label == "full" else METHOD_COLORS.get(run.label, f"C{i % 6}")
    style = METHOD_STYLES.get(run.label, "-")
    ax.plot(run.steps, values.mean(axis=0), color=color, linestyle=style, label=run.label + note)
    if len(values) > 1:
        ax.fill_between(
            run.steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.18, linewidth=0
        )


# ---- batches ------------------------------------------------------------------------------------


def plot_batch_noise(result: BatchNoise, ax: Axes | None = None) -> Axes:
    """How near the directions from some batches are to those from all others.

    Parameters
    ----------
    result : BatchNoise
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        The cosine of LoRA-GA's first update relative to its optimum, the overlaps of the leading 2r
        singular spaces, and where the noise scale is.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> noise = np.random.default_rng(0).standard_normal((16, 20, 12))
    >>> found = rv.lora.batch_noise(1.0 + noise, rank=1)
    >>> len(found.plot(ax=Figure().subplots()).lines)
    4
    """
    target = axes_or_new(ax)
    counts = result.counts
    scale = np.where(result.optimum > 0.0, result.optimum, 1.0)
    middle, spread = result.cosine / scale, np.nan_to_num(result.spread) / scale
    target.fill_between(
        counts, middle - spread, middle + spread, color="C1", alpha=0.18, linewidth=0
    )
    target.plot(counts, middle, "o-", color="C1", label="cosine of LoRA-GA's update, of the best")
    target.plot(counts, result.overlap_left, "o--", color="C0", label="overlap, left")
    target.plot(counts, result.overlap_right, "o:", color="C2", label="overlap, right")
    if math.isfinite(result.noise_scale) and result.noise_scale > 0.0:
        target.axvline(
            result.noise_scale, color=muted(0.6), linewidth=0.9, linestyle=(0, (4.0, 2.0)),
            label="noise scale",
        )  # fmt: skip
    target.set_xscale("log", base=2)
    target.xaxis.set_major_formatter("{x:g}")
    target.set_ylim(0.0, 1.03)
    target.set_xlabel("batches")
    target.set_ylabel("with all other batches")
    target.legend(frameon=False)
    return target


# ---- layers of a file ---------------------------------------------------------------------------

#: So many layers are named on the axis, if their names are short.
_NAMED, _LONGEST_NAME = 6, 24


def plot_layers(result: FilesReport, ax: Axes | None = None) -> Axes:
    """Cosine and captured energy over the layers; without gradients the offset's size.

    Parameters
    ----------
    result : FilesReport
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
    """
    from resolvent.lora._report import DRAWN, METRICS

    cards = result.cards
    axes = _layer_axes(ax, cards)
    aligned = all(card.cosine is not None for card in cards)
    for metric in DRAWN if aligned else ("offset_ratio",):
        axes.plot(_drawn(cards, metric), marker="o", markersize=3, label=METRICS[metric][0])
    if aligned:
        axes.set_ylim(-0.02, 1.02)
        # Wide and behind, as LoRA-GA's cosine lies on it.
        best = [_best_cosine(card) for card in cards]
        axes.plot(best, color=muted(0.3), linewidth=5, zorder=1, label="best cosine of this rank")
    axes.set_ylabel("" if aligned else METRICS["offset_ratio"][0])
    axes.legend()
    return axes


def plot_methods_by_layer(result: FilesComparison, ax: Axes | None = None) -> Axes:
    """The cosine over the layers, a line for every method.

    Parameters
    ----------
    result : FilesComparison
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
    """
    axes = _layer_axes(ax, next(iter(result.cards.values())))
    for i, (label, cards) in enumerate(result.cards.items()):
        axes.plot(
            _drawn(cards, "cosine"),
            color=METHOD_COLORS.get(label, f"C{i % 6}"),
            linestyle=METHOD_STYLES.get(label, "-"),
            marker="o",
            markersize=3,
            label=label,
        )
    axes.set(ylabel="cosine with full fine-tuning", ylim=(-0.02, 1.02))
    axes.legend()
    return axes


def _layer_axes(ax: Axes | None, cards: Sequence[LayerCard]) -> Axes:
    """Axes over the layers, with their names if there is room."""
    from resolvent.lora._report import line

    axes = axes_or_new(ax)
    names = [line(card.layer).replace("$", r"\$") for card in cards]
    if len(names) <= _NAMED and max(map(len, names)) <= _LONGEST_NAME:
        axes.set_xticks(range(len(names)), names, fontsize="small")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer")
    return axes


def _drawn(cards: Sequence[LayerCard], metric: str) -> list[float]:
    """A gap where there is no value."""
    values = (getattr(card, metric) for card in cards)
    return [math.nan if value is None else value for value in values]
