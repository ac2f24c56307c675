"""Colours, fonts and themes: the only place where they are chosen.

The colours are those of Okabe and Ito, which stay apart for colour-blind readers. Nothing here is
changed at import; a theme holds inside its context only::

    with resolvent.plot.style.theme("dark"):
        result.plot()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb

from resolvent import InvalidArgument

__all__ = [
    "THEMES",
    "Theme",
    "axes_or_new",
    "diverging",
    "measure_color",
    "measure_label",
    "muted",
    "theme",
]

Theme = Literal["light", "dark"]
THEMES: tuple[str, ...] = get_args(Theme)

# Okabe–Ito, in an order whose first ones differ most on the theme's background.
_CYCLES = {
    "light": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    "dark": ("#56B4E9", "#E69F00", "#2BC79B", "#E08FBC", "#F0E442", "#FF7F50"),
}
_INK = {"light": "#1b1f24", "dark": "#e4e7eb"}
_PAPER = {"light": "#ffffff", "dark": "#14181e"}
_GRID = {"light": "#d8dde3", "dark": "#333b45"}

_MEASURE_COLORS = {
    "legs": "C0",
    "legt": "C1",
    "lmu": "C1",
    "lagt": "C2",
    "glagt": "C5",
    "fout": "C3",
    "fous": "C4",
    "malmquist": "C2",
}
_MEASURE_LABELS = {
    "legs": "LegS",
    "legt": "LegT",
    "lmu": "LMU",
    "lagt": "LagT",
    "glagt": "GLagT",
    "fout": "FouT",
    "fous": "FouS",
    "malmquist": "Malmquist",
    "derived": "derived",
}


def _settings(name: str) -> Any:
    ink, paper, grid = _INK[name], _PAPER[name], _GRID[name]
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": ink,
        "axes.facecolor": paper,
        "axes.grid": True,
        "axes.labelcolor": ink,
        "axes.labelsize": 10,
        "axes.linewidth": 0.8,
        "axes.prop_cycle": cycler(color=_CYCLES[name]),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "figure.facecolor": paper,
        "figure.titlesize": 13,
        "figure.titleweight": "bold",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "grid.color": grid,
        "grid.linewidth": 0.6,
        "legend.edgecolor": grid,
        "legend.facecolor": paper,
        "legend.fontsize": 9,
        "legend.framealpha": 0.9,
        "legend.labelcolor": ink,
        "lines.linewidth": 1.6,
        "lines.markersize": 5,
        "savefig.facecolor": "auto",
        "text.color": ink,
        "xtick.color": ink,
        "xtick.labelsize": 9,
        "ytick.color": ink,
        "ytick.labelsize": 9,
    }


@contextmanager
def theme(name: Theme) -> Iterator[None]:
    """What is drawn inside the context has the colours and fonts of a theme.

    Parameters
    ----------
    name : {"light", "dark"}

    Raises
    ------
    InvalidArgument
        For another name.

    Examples
    --------
    >>> import matplotlib as mpl, resolvent.plot.style
    >>> with resolvent.plot.style.theme("dark"):
    ...     mpl.rcParams["figure.facecolor"]
    '#14181e'
    """
    if name not in THEMES:
        listed = ", ".join(repr(t) for t in THEMES)
        raise InvalidArgument(f"theme must be one of {listed}; got {name!r}")
    with mpl.rc_context(_settings(name)):
        yield


def axes_or_new(ax: Axes | None, height: float = 3.6) -> Axes:
    """The axes given, or those of a new figure 8 inches wide."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, made = plt.subplots(figsize=(8.0, height), layout="constrained")
    return made


def muted(share: float = 0.5) -> tuple[float, float, float]:
    """Text colour mixed with the background: for what is only there to compare with."""
    ink, paper = to_rgb(mpl.rcParams["text.color"]), to_rgb(mpl.rcParams["axes.facecolor"])
    red, green, blue = (share * i + (1.0 - share) * p for i, p in zip(ink, paper, strict=True))
    return red, green, blue


def diverging() -> Colormap:
    """From the second colour of the cycle over the background to the first: for signed values."""
    colors = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    return LinearSegmentedColormap.from_list(
        "resolvent-diverging", [colors[1], mpl.rcParams["axes.facecolor"], colors[0]]
    )


def measure_color(measure: str) -> str:
    """The colour that a measure has in every picture."""
    return _MEASURE_COLORS.get(measure, "C0")


def measure_label(measure: str) -> str:
    """A measure's name as the literature writes it."""
    return _MEASURE_LABELS.get(measure, measure)
