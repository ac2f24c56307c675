"""Pictures of probability maps: their values in the triangle, along a gap, as bars, as attention.

All take arrays of logits and probabilities, as :mod:`resolvent.probmap` returns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, LogNorm, to_rgb

from resolvent import InvalidArgument, ShapeMismatch
from resolvent.plot.style import axes_or_new, muted

__all__ = [
    "CORNERS",
    "SHADE",
    "SUPPORT_COLORS",
    "ink",
    "plot_attention",
    "plot_bars",
    "plot_gap",
    "plot_plane",
    "plot_simplex",
    "sequential",
]

_Array = npt.NDArray[Any]

#: Where the corners e_1, e_2, e_3 of the simplex are drawn: p is at p @ CORNERS.
CORNERS = np.array([[0.0, 1.0], [-np.sqrt(0.75), -0.5], [np.sqrt(0.75), -0.5]])

#: The colour of points with so many entries above 0.
SUPPORT_COLORS = {1: "C1", 2: "C2", 3: "C0"}

#: How much of that colour an area has, the rest being background.
SHADE = 0.45

#: The smallest probability that an attention picture tells from smaller ones.
_FAINTEST = 1e-3


def sequential() -> Colormap:
    """From a tint of the first colour of the cycle to the text colour: for shares above 0."""
    blue = to_rgb("C0")
    return LinearSegmentedColormap.from_list(
        "resolvent-sequential", [_tint(blue, 0.12), blue, mpl.rcParams["text.color"]]
    )


def ink() -> Colormap:
    """From the background to the text colour: for images in grey."""
    return LinearSegmentedColormap.from_list("resolvent-ink", [muted(0.0), muted(1.0)])


def _tint(color: tuple[float, float, float], share: float) -> tuple[float, float, float]:
    """A colour mixed with the background."""
    paper = to_rgb(mpl.rcParams["axes.facecolor"])
    red, green, blue = (share * c + (1.0 - share) * p for c, p in zip(color, paper, strict=True))
    return red, green, blue


def _triples(p: npt.ArrayLike, name: str) -> _Array:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] != 3:
        raise ShapeMismatch(f"{name} must have 3 entries along its last axis, got {values.shape}")
    return values


def _bare(ax: Axes) -> None:
    ax.set_aspect("equal")
    ax.set_axis_off()


# ---- three entries ------------------------------------------------------------------------------


def plot_simplex(p: npt.ArrayLike, ax: Axes | None = None, *, total: float = 1.0) -> Axes:
    """Curves in the triangle of three probabilities, coloured by how many entries are above 0.

    Parameters
    ----------
    p : array_like, shape (..., P, 3)
        Curves of P points each.
    ax : Axes, optional
        Where to draw; new axes unless given.
    total : float
        What the entries sum to.

    Returns
    -------
    Axes
        Without ticks; entry 1 is up, entry 2 left, entry 3 right.

    Raises
    ------
    ShapeMismatch
        If the last axis is not 3, or there is no axis of points.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> from resolvent.plot.probmap import plot_simplex
    >>> x = np.linspace([0.0, 0.0, 0.0], [3.0, 1.0, 0.0], 50)
    >>> len(plot_simplex(rv.probmap.sparsemax(x), ax=Figure().subplots()).collections)
    3
    """
    values = _triples(p, "p")
    if values.ndim < 2:
        raise ShapeMismatch(f"p must have shape (..., P, 3), got {values.shape}")
    target = axes_or_new(ax, 4.0)
    target.fill(*CORNERS.T, facecolor="none", edgecolor=muted(0.45), linewidth=0.9, zorder=1)
    curves = values.reshape(-1, *values.shape[-2:])
    for size, color in SUPPORT_COLORS.items():
        runs = [run / total @ CORNERS for curve in curves for run in _runs(curve, size)]
        width = 1.0 if size == 3 else 2.2
        target.add_collection(LineCollection(runs, colors=color, linewidths=width))
    corners = curves.reshape(-1, 3)
    at_corner = np.unique(corners[(corners > 0.0).sum(axis=-1) == 1], axis=0) / total @ CORNERS
    if at_corner.size:  # an empty line that is not clipped has no extent to lay out
        target.plot(*at_corner.T, "o", color=SUPPORT_COLORS[1], markersize=6, clip_on=False)
    target.set_xlim(-1.0, 1.0)
    target.set_ylim(-0.62, 1.12)
    _bare(target)
    return target


def _runs(curve: _Array, size: int) -> list[_Array]:
    """The pieces of a curve that lie in a face with so many entries above 0."""
    above = curve > 0.0
    count = above.sum(axis=-1)
    # A segment lies in the face of the end with more entries; else the map jumps on it.
    face = (above[:-1] | above[1:]).sum(axis=-1)
    inside = (face == size) & (face == np.maximum(count[:-1], count[1:]))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [curve[start : stop + 1] for start, stop in edges.reshape(-1, 2)]


def plot_plane(
    points: npt.ArrayLike,
    p: npt.ArrayLike,
    ax: Axes | None = None,
    *,
    levels: Sequence[float] = (0.4, 0.6, 0.8, 0.95),
) -> Axes:
    """The plane of three logits that sum to 0, coloured by how many entries are above 0.

    Lines join logits with the same largest probability. Hatched: the largest logit has not the
    largest probability.

    Parameters
    ----------
    points : array_like, shape (P, Q, 2)
        A grid in the plane: the logits are ⅔ points @ CORNERSᵀ, so that x @ CORNERS = points.
    p : array_like, shape (P, Q, 3)
        Their probabilities.
    ax : Axes, optional
        Where to draw; new axes unless given.
    levels : sequence of float
        Of the largest probability.

    Returns
    -------
    Axes
        Without ticks; the first logit grows upwards.

    Raises
    ------
    ShapeMismatch
        If the shapes are others.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> from resolvent.plot.probmap import CORNERS, plot_plane
    >>> points = np.stack(np.meshgrid(*2 * [np.linspace(-3.0, 3.0, 61)]), axis=-1)
    >>> x = points @ CORNERS.T / 1.5
    >>> ax = plot_plane(points, rv.probmap.sparsemax(x), ax=Figure().subplots())
    """
    values, places = _triples(p, "p"), np.asarray(points, dtype=np.float64)
    if values.ndim != 3 or places.shape != (*values.shape[:2], 2):
        raise ShapeMismatch(
            "points and p must have shapes (P, Q, 2) and (P, Q, 3), "
            f"got {places.shape} and {values.shape}"
        )
    target = axes_or_new(ax, 4.0)
    across, up = places[..., 0], places[..., 1]
    shades = ListedColormap([_tint(to_rgb(SUPPORT_COLORS[size]), SHADE) for size in (1, 2, 3)])
    target.pcolormesh(
        across, up, (values > 0.0).sum(axis=-1), cmap=shades, vmin=0.5, vmax=3.5, rasterized=True
    )
    largest = values.max(axis=-1)
    target.contour(across, up, largest, levels, colors=[muted(0.85)], linewidths=0.9)
    first = np.argmax(places @ CORNERS.T, axis=-1)[..., np.newaxis]
    of_first = np.take_along_axis(values, first, axis=-1)[..., 0]
    with mpl.rc_context({"hatch.color": muted(0.9), "hatch.linewidth": 0.7}):
        target.contourf(
            across, up, (of_first < largest).astype(float), [0.5, 1.5], colors="none",
            hatches=["////"],
        )  # fmt: skip
    _bare(target)
    return target


# ---- along a gap --------------------------------------------------------------------------------


def plot_gap(
    gaps: npt.ArrayLike,
    p: npt.ArrayLike,
    ax: Axes | None = None,
    *,
    label: str | None = None,
    **style: Any,
) -> Axes:
    """A probability against the gap between its logit and another, as a line.

    Parameters
    ----------
    gaps, p : array_like, shape (G,)
    ax : Axes, optional
        Where to draw; new axes unless given.
    label : str, optional
        For the legend.
    **style
        For matplotlib's ``plot``.

    Returns
    -------
    Axes

    Raises
    ------
    ShapeMismatch
        If the two are not of one axis and of the same length.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> from resolvent.plot.probmap import plot_gap
    >>> gaps = np.linspace(-4.0, 4.0, 81)
    >>> x = np.stack([gaps, np.zeros(81)], axis=-1)
    >>> p = rv.probmap.entmax(x)[:, 0]
    >>> ax = plot_gap(gaps, p, label="1.5-entmax", ax=Figure().subplots())
    """
    across, values = np.asarray(gaps, dtype=np.float64), np.asarray(p, dtype=np.float64)
    if across.ndim != 1 or across.shape != values.shape:
        raise ShapeMismatch(
            f"gaps and p must have the same shape (G,), got {across.shape} and {values.shape}"
        )
    target = axes_or_new(ax)
    target.plot(across, values, label=label, **style)
    target.set_xlim(across[0], across[-1])
    target.set_xlabel("gap between the logits")
    target.set_ylabel("probability")
    return target


# ---- one row ------------------------------------------------------------------------------------


def plot_bars(
    p: npt.ArrayLike,
    ax: Axes | None = None,
    *,
    labels: Sequence[str] | None = None,
    color: str = "C0",
) -> Axes:
    """Probabilities as bars; where an entry is exactly 0, a cross on the axis.

    Parameters
    ----------
    p : array_like, shape (n,)
    ax : Axes, optional
        Where to draw; new axes unless given.
    labels : sequence of str, optional
        Of the entries; their indices unless given.
    color : str

    Returns
    -------
    Axes

    Raises
    ------
    ShapeMismatch
        If p has not one axis, or there are not as many labels.

    Examples
    --------
    >>> import resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> from resolvent.plot.probmap import plot_bars
    >>> len(plot_bars(rv.probmap.sparsemax([1.0, 0.7, -1.0]), ax=Figure().subplots()).patches)
    3
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1:
        raise ShapeMismatch(f"p must have shape (n,), got {values.shape}")
    names = [str(i) for i in range(values.size)] if labels is None else list(labels)
    if len(names) != values.size:
        raise ShapeMismatch(f"labels must be {values.size}, as many as entries; got {len(names)}")
    target = axes_or_new(ax)
    places = np.arange(values.size)
    target.bar(places, values, color=color, width=0.8)
    zeros = places[values == 0.0]
    if zeros.size:
        target.plot(zeros, np.zeros(zeros.size), "x", color=muted(0.6), markersize=4, clip_on=False)
    target.set_xticks(places, names)
    target.set_ylim(bottom=0.0)
    target.grid(False, axis="x")
    return target


def plot_attention(
    p: npt.ArrayLike,
    tokens: Sequence[str],
    ax: Axes | None = None,
    *,
    faintest: float = _FAINTEST,
) -> Axes:
    """A matrix of attention, row by row over the words looked at; exact zeros are left blank.

    Parameters
    ----------
    p : array_like, shape (n, n)
        Row i: how word i looks at the others. The colours are logarithmic.
    tokens : sequence of n str
    ax : Axes, optional
        Where to draw; new axes unless given.
    faintest : float
        In (0, 1): smaller ones above 0 have its colour.

    Returns
    -------
    Axes
        The image is ``ax.images[0]``, for a colour bar.

    Raises
    ------
    ShapeMismatch
        If p is not square or there are not as many tokens.
    InvalidArgument
        If `faintest` is not in (0, 1).

    Examples
    --------
    >>> import resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> from resolvent.plot.probmap import plot_attention
    >>> p = rv.probmap.sparsemax([[2.0, 0.0], [0.5, 0.0]])
    >>> ax = plot_attention(p, ["a", "b"], ax=Figure().subplots())
    """
    values = np.asarray(p, dtype=np.float64)
    if values.shape != (len(tokens), len(tokens)):
        raise ShapeMismatch(
            f"p must have shape ({len(tokens)}, {len(tokens)}), a row and a column for each of the "
            f"tokens; got {values.shape}"
        )
    if not 0.0 < faintest < 1.0:
        raise InvalidArgument(f"faintest must be in (0, 1), got {faintest}")
    target = axes_or_new(ax, 6.0)
    target.imshow(
        np.ma.masked_equal(np.where(values > 0.0, np.maximum(values, faintest), 0.0), 0.0),
        cmap=sequential(), norm=LogNorm(faintest, 1.0), interpolation="nearest",
    )  # fmt: skip
    places = range(len(tokens))
    target.set_xticks(places, tokens, rotation=90)
    target.set_yticks(places, tokens)
    target.tick_params(length=0)
    target.grid(False)
    for side in target.spines.values():
        side.set_visible(True)
        side.set_color(muted(0.3))
    return target
