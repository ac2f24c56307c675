"""Pictures of score distillation: runs, and which λ trains which student."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from resolvent._arrays import Array
from resolvent.plot.style import axes_or_new, muted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from resolvent.distill import Distillation, PhaseDiagram

__all__ = ["OUTCOME_COLORS", "plot_distillation", "plot_phase_diagram"]

#: The colour of an outcome in every picture; "unfinished" is grey.
OUTCOME_COLORS = {"converged": "C0", "collapsed": "C3", "diverged": "C1"}

#: Ratios of neighbours that differ by less make an axis logarithmic.
_GEOMETRIC = 1e-6


def plot_distillation(result: Distillation, ax: Axes | None = None) -> Axes:
    """W₂ to the data and the Fisher divergence along the steps.

    Parameters
    ----------
    result : Distillation
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        Logarithmic; the title has the objective and the outcome.

    Examples
    --------
    >>> import resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> data = rv.distill.GaussianMixture([1.0], [0.0], [1.0])
    >>> run = rv.distill.distill(data, rv.distill.Generator.affine(0.0, 2.0), steps=3)
    >>> len(run.plot(ax=Figure().subplots()).lines)
    2
    """
    target = axes_or_new(ax)
    steps = np.arange(len(result.w2))
    distance = "sliced W₂" if result.w2_kind == "sliced" else "W₂"
    target.plot(steps, _visible(result.w2), color="C0", label=distance)
    target.plot(
        steps, _visible(result.fisher), color="C1", linestyle=(0, (5.0, 1.5)),
        label="Fisher divergence",
    )  # fmt: skip
    target.set_yscale("log")
    target.xaxis.set_major_locator(MaxNLocator(integer=True))
    target.set_xlabel("step")
    target.set_ylabel("distance to the data")
    named = "L1 alone" if result.objective == "naive" else f"L2 − {result.lam:g}·L1"
    target.set_title(f"{named}: {result.outcome}")
    target.legend(frameon=False)
    return target


def plot_phase_diagram(result: PhaseDiagram, ax: Axes | None = None) -> Axes:
    """What becomes of a student over its width at the start and λ, with the threshold.

    Parameters
    ----------
    result : PhaseDiagram
        With at least two λ and two widths, both ascending.
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        Colours are outcomes; the line is the λ above which the student is widened; the dotted one
        is the width of the data.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> found = rv.distill.phase_diagram(np.linspace(0, 3, 9), np.geomspace(0.2, 5, 9))
    >>> found.plot(ax=Figure().subplots()).get_ylabel()
    'λ'
    """
    target = axes_or_new(ax, 4.2)
    colors = [OUTCOME_COLORS.get(name, muted(0.35)) for name in result.names]
    target.pcolormesh(
        _edges(result.widths), _edges(result.lams), result.outcome, cmap=ListedColormap(colors),
        vmin=-0.5, vmax=len(colors) - 0.5, alpha=0.75, linewidth=0, rasterized=True,
    )  # fmt: skip
    if _is_geometric(result.widths):
        target.set_xscale("log")
        target.xaxis.set_major_formatter("{x:g}")
    low, high = target.get_ylim()
    wide = _between(result.widths, result.teacher_width)
    if wide.size:
        target.plot(wide, result.threshold(wide), color=mpl.rcParams["text.color"], linewidth=1.8)
        target.set_ylim(low, high)
    target.axvline(
        result.teacher_width, color=mpl.rcParams["text.color"], linewidth=1.0, linestyle=":"
    )
    target.grid(False)
    target.set_xlabel("width of the student at the start")
    target.set_ylabel("λ")
    found = sorted(set(result.outcome.ravel().tolist()))
    target.legend(
        handles=[Patch(color=colors[i], alpha=0.75, label=result.names[i]) for i in found],
        frameon=False, ncols=len(found), loc="lower left", bbox_to_anchor=(0.0, 1.0),
    )  # fmt: skip
    return target


def _visible(values: Array) -> Array:
    """Zeros have no place on a logarithmic axis."""
    return np.where(values > 0.0, values, np.nan)


def _is_geometric(values: Array) -> bool:
    if len(values) < 3 or not (values > 0.0).all():
        return False
    ratios = values[1:] / values[:-1]
    return bool(np.ptp(ratios) <= _GEOMETRIC * ratios.max())


def _edges(values: Array) -> Array:
    """Of the cells around the values: half way to the neighbours."""
    if _is_geometric(values):
        return np.asarray(np.exp(_edges_between(np.log(values))))
    return _edges_between(values)


def _edges_between(values: Array) -> Array:
    middle = 0.5 * (values[1:] + values[:-1])
    first, last = 2.0 * values[0] - middle[0], 2.0 * values[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


def _between(widths: Array, least: float) -> Array:
    """A fine grid of the widths above the data's."""
    edges = _edges(widths)
    if edges[-1] <= least:
        return np.empty(0)
    first = max(edges[0], least * (1.0 + np.finfo(np.float64).eps))
    return np.geomspace(first, edges[-1], 401)[1:]
