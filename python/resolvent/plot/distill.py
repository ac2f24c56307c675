"""Pictures of score distillation: runs, which λ trains which student, densities and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from resolvent import InvalidArgument, ShapeMismatch
from resolvent._arrays import Array, count_parameter
from resolvent.plot.probmap import sequential
from resolvent.plot.style import axes_or_new, muted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from resolvent.distill import Distillation, GaussianMixture, PhaseDiagram

__all__ = [
    "OUTCOME_COLORS",
    "plot_arrows",
    "plot_density",
    "plot_distillation",
    "plot_phase_diagram",
    "plot_phase_steps",
]

#: The colour of an outcome in every picture; "unfinished" is grey.
OUTCOME_COLORS = {"converged": "C0", "collapsed": "C3", "diverged": "C1"}

#: Ratios of neighbours that differ by less make an axis logarithmic.
_GEOMETRIC = 1e-6

#: Contours of densities are drawn on so many points along each axis, as far as so many standard
#: deviations; samples say how much of the mass is inside.
_GRID, _REACH, _SAMPLES = 141, 3.2, 4096


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
        Of λ and widths that ascend.
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
    _finish_phase(result, target)
    found = sorted(set(result.outcome.ravel().tolist()))
    target.legend(
        handles=[Patch(color=colors[i], alpha=0.75, label=result.names[i]) for i in found],
        frameon=False, ncols=len(found), loc="lower left", bbox_to_anchor=(0.0, 1.0),
    )  # fmt: skip
    return target


def plot_phase_steps(result: PhaseDiagram, ax: Axes | None = None) -> Axes:
    """How many steps students take that converge, over their width at the start and λ.

    Parameters
    ----------
    result : PhaseDiagram
        Of λ and widths that ascend.
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        Logarithmic colours, with a bar; empty where students do not converge. Lines as in
        :func:`plot_phase_diagram`.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> from resolvent.plot.distill import plot_phase_steps
    >>> found = rv.distill.phase_diagram(np.linspace(0, 3, 9), np.geomspace(0.2, 5, 9))
    >>> plot_phase_steps(found, ax=Figure().subplots()).get_ylabel()
    'λ'
    """
    target = axes_or_new(ax, 4.2)
    converged = result.outcome == result.names.index("converged")
    # A student that is there at the start takes 0 steps, which no logarithm shows.
    steps = np.where(converged, np.maximum(result.steps, 1), np.nan)
    mesh = target.pcolormesh(
        _edges(result.widths), _edges(result.lams), steps, cmap=sequential(), norm=LogNorm(),
        linewidth=0, rasterized=True,
    )  # fmt: skip
    _finish_phase(result, target)
    bar = target.figure.colorbar(mesh, ax=target, label="steps", pad=0.02)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    return target


def _finish_phase(result: PhaseDiagram, target: Axes) -> None:
    """Axes, threshold and the width of the data."""
    if _is_geometric(result.widths):
        target.set_xscale("log")
        target.xaxis.set_major_formatter("{x:g}")
    low, high = target.get_ylim()
    ink = mpl.rcParams["text.color"]
    wide = _between(result.widths, result.teacher_width)
    if wide.size:
        target.plot(wide, result.threshold(wide), color=ink, linewidth=1.8)
        target.set_ylim(low, high)
    target.axvline(result.teacher_width, color=ink, linewidth=1.0, linestyle=":")
    target.grid(False)
    target.set_xlabel("width of the student at the start")
    target.set_ylabel("λ")


# ---- two dimensions -----------------------------------------------------------------------------


def plot_density(
    mixture: GaussianMixture,
    ax: Axes | None = None,
    *,
    shares: Sequence[float] = (0.95, 0.75, 0.5, 0.25),
    color: Any = "C0",
    fill: bool = True,
) -> Axes:
    """Contours of a density in the plane.

    Parameters
    ----------
    mixture : GaussianMixture
        In two dimensions; :meth:`GaussianMixture.marginal` makes one of any.
    ax : Axes, optional
        Where to draw; new axes unless given.
    shares : sequence of float
        How much of the probability lies inside each contour, in (0, 1), falling.
    color : color
    fill : bool
        Whether the areas are shaded.

    Returns
    -------
    Axes
        With the same scale on both axes.

    Raises
    ------
    ShapeMismatch
        For another dimension.
    InvalidArgument
        For shares that are out of range or do not fall.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> from resolvent.plot.distill import plot_density
    >>> round_one = rv.distill.GaussianMixture([1.0], np.zeros((1, 2)), np.eye(2)[np.newaxis])
    >>> plot_density(round_one, ax=Figure().subplots()).get_aspect()
    1.0
    """
    if mixture.dim != 2:
        raise ShapeMismatch(f"mixture must have 2 dimensions, got {mixture.dim}")
    levels = _levels(mixture, shares)
    target = axes_or_new(ax, 4.2)
    spread = _REACH * np.sqrt(mixture.covariance().diagonal())
    x, y = np.linspace(mixture.mean() - spread, mixture.mean() + spread, _GRID).T
    heights = mixture.log_density(np.stack(np.meshgrid(x, y), axis=-1))
    if fill:
        for level in levels:
            target.contourf(x, y, heights, [level, np.inf], colors=[color], alpha=0.13)
    target.contour(
        x, y, heights, levels, colors=[color], linewidths=0.9, linestyles="solid", alpha=0.8
    )
    target.set_aspect("equal")
    return target


def _levels(mixture: GaussianMixture, shares: Sequence[float]) -> Array:
    """The log-densities of contours, rising."""
    inside = np.asarray(shares, dtype=np.float64)
    if not (inside.size and (np.diff(inside) < 0.0).all() and 0.0 < inside[-1] <= inside[0] < 1.0):
        raise InvalidArgument(f"shares must fall inside (0, 1), got {list(shares)}")
    found = mixture.log_density(mixture.sample(_SAMPLES))
    return np.asarray(np.quantile(found, 1.0 - inside))


def plot_arrows(
    field: Callable[[Array], Array],
    ax: Axes,
    *,
    count: int = 13,
    longest: float | None = None,
    color: Any = None,
) -> Axes:
    """A vector field in the plane, such as a score, on a square grid inside the limits of axes.

    Parameters
    ----------
    field : callable
        Takes points (n, 2) and gives vectors (n, 2).
    ax : Axes
        With its limits set.
    count : int
        Arrows along the longer side, at least 2.
    longest : float, optional
        The length of a vector whose arrow is as long as the grid is wide, where pictures are to be
        compared; that of the longest one here unless given.
    color : color, optional
        Grey unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> from resolvent.plot.distill import plot_arrows, plot_density
    >>> round_one = rv.distill.GaussianMixture([1.0], np.zeros((1, 2)), np.eye(2)[np.newaxis])
    >>> ax = plot_density(round_one, ax=Figure().subplots())
    >>> len(plot_arrows(round_one.score, ax, count=5).collections[-1].U)
    25
    """
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    step = max(right - left, high - low) / count_parameter(count, "count", 2)
    x, y = _centered(left, right, step), _centered(low, high, step)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    vectors = field(points)
    reach = float(np.hypot(*vectors.T).max()) if longest is None else longest
    ax.quiver(
        *points.T, *vectors.T, angles="xy", scale_units="xy", scale=(reach or 1.0) / step,
        color=muted(0.55) if color is None else color, width=0.005, minlength=0.0, pivot="middle",
    )  # fmt: skip
    return ax


def _centered(low: float, high: float, step: float) -> Array:
    """Places a step apart, with the same rest at both ends."""
    count = max(1, round((high - low) / step))
    return 0.5 * (low + high) + step * (np.arange(count) - 0.5 * (count - 1))


# ---- parts --------------------------------------------------------------------------------------


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
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
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
