"""The list of figures, filled by the decorator :func:`figure`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

__all__ = ["FIGURES", "Entry", "figure", "new_figure"]


@dataclass(frozen=True)
class Entry:
    """One figure of the documentation.

    Attributes
    ----------
    name : str
        What its files are called.
    title : str
        For the gallery.
    caption : str
        What to see in it.
    draw : callable
        Makes the figure in the current style; keyword arguments change its size.
    """

    name: str
    title: str
    caption: str
    draw: Callable[..., Figure]


#: Every figure by name, in the order of the gallery.
FIGURES: dict[str, Entry] = {}


def figure(
    name: str, title: str, caption: str
) -> Callable[[Callable[..., Figure]], Callable[..., Figure]]:
    """Puts a function on the list of figures, unchanged."""

    def register(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        FIGURES[name] = Entry(name, title, caption, draw)
        return draw

    return register


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches, whose parts keep out of each other's way."""
    made = Figure(figsize=(width, height))
    made.set_layout_engine("constrained", w_pad=0.09, h_pad=0.09)
    return made
