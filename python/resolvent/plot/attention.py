"""Pictures of attention and of linear recurrences: influence of the past, and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from resolvent._arrays import name_parameter
from resolvent.plot.style import axes_or_new, muted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from resolvent.attention import Influences, MemoryComparison, MemoryTest

__all__ = [
    "MODEL_COLORS",
    "MODEL_LABELS",
    "MODEL_MARKERS",
    "MODEL_STYLES",
    "ROUTE_COLORS",
    "ROUTE_MARKERS",
    "plot_influences",
    "plot_memory",
    "plot_memory_comparison",
]

#: The colour and the line that a model has in every picture; attention has the text colour.
MODEL_COLORS = {
    "linear_attention": "C0",
    "retnet": "C1",
    "mamba": "C2",
    "mamba2": "C2",
    "rwkv": "C4",
    "lru": "C3",
    "s5": "C3",
}
MODEL_STYLES: dict[str, Any] = {"mamba2": (0, (5.0, 1.5)), "s5": (0, (5.0, 1.5))}
MODEL_MARKERS = {
    "attention": "s",
    "linear_attention": "o",
    "retnet": "^",
    "mamba": "D",
    "mamba2": "D",
    "rwkv": "v",
    "lru": "P",
    "s5": "P",
}

#: A model's name as the literature writes it.
MODEL_LABELS = {
    "linear_attention": "linear attention",
    "retnet": "RetNet",
    "rwkv": "RWKV",
    "lru": "LRU",
    "s5": "S5",
    "mamba": "Mamba",
    "mamba2": "Mamba-2",
}

#: The colour and the mark of a route in every picture; the full matrix has the text colour.
ROUTE_COLORS = {"cached": "C2", "streaming": "C0", "recompute": "C1"}
ROUTE_MARKERS = {"full": "s", "cached": "^", "streaming": "o", "recompute": "D"}

_GUIDE: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (4.0, 2.0))}

_AGAINST = ("load", "state")

#: The opacity that several layers of one model start above.
_FAINT = 0.25

#: With more lines the legend is beside the axes.
_MOST_INSIDE = 3


def plot_influences(result: Influences, ax: Axes | None = None) -> Axes:
    """How much of an input is left after so many steps, one line per model.

    Parameters
    ----------
    result : Influences
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        Both logarithmic, from the reference lag or lag 1 on. The legend has the half-lives, and a
        line is at one half. Curves leave the picture a factor 10⁻⁶ below 1.

    Examples
    --------
    >>> import resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> found = rv.attention.influence_curves(["retnet", "lru"], 16, samples=2)
    >>> len(found.plot(ax=Figure().subplots()).lines)
    3
    """
    target = axes_or_new(ax, 4.2)
    first = max(1, result.reference)
    looks = _looks([result.layers[label].name for label in result.curves])
    for look, (label, curve) in zip(looks, result.curves.items(), strict=True):
        visible = np.where(curve > 0.0, curve, np.nan)  # zeros have no place on the axis
        life = result.half_lives[label]
        note = f", ½ after {life:g}" if np.isfinite(life) else ", ½ never"
        target.plot(result.lags[first:], visible[first:], **look, label=_shown(label) + note)
    target.axhline(0.5, color=muted(0.6), **_GUIDE)
    target.set_xscale("log", base=2)
    target.set_yscale("log")
    target.xaxis.set_major_formatter("{x:g}")
    shown = [curve[first:] for curve in result.curves.values()]
    low, high = min(c.min() for c in shown), max(c.max() for c in shown)
    target.set_ylim(max(0.5 * low, 1e-6), 2.0 * high)
    target.set_xlabel("lag k")
    target.set_ylabel(f"influence of $u_{{t-k}}$, lag {result.reference} = 1")
    _legend(target, len(result.curves))
    return target


def plot_memory(result: MemoryTest, ax: Axes | None = None) -> Axes:
    """Accuracy against load, with its standard error, chance and threshold.

    Parameters
    ----------
    result : MemoryTest
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> found = rv.attention.memory_test("retnet", loads=(1, 8, 64), trials=32)
    >>> len(found.plot(ax=Figure().subplots()).lines)
    3
    """
    return _accuracies({result.layer.name: result}, axes_or_new(ax))


def plot_memory_comparison(
    result: MemoryComparison, ax: Axes | None = None, *, against: str = "load"
) -> Axes:
    """Accuracy against load, or capacity against the size of the state.

    Parameters
    ----------
    result : MemoryComparison
    ax : Axes, optional
        Where to draw; new axes unless given.
    against : {"load", "state"}
        "load": a line for every label, with chance and threshold. "state": the capacity of every
        label at the numbers in its state, joined where labels are layers of one model; for
        attention, whose state grows, all loads that it holds. Arrows up where the largest load was
        not too much. Capacity 0 is left out.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidArgument
        For another `against`.

    Examples
    --------
    >>> import resolvent as rv
    >>> from matplotlib.figure import Figure
    >>> sizes = {f"N = {n}": rv.attention.layer("retnet", 16, state=n) for n in (4, 8)}
    >>> found = rv.attention.memory_test(sizes, trials=32)
    >>> len(found.plot(ax=Figure().subplots(), against="state").lines)
    1
    """
    if name_parameter(against, _AGAINST, "against") == "load":
        return _accuracies(result.tests, axes_or_new(ax, 4.2))
    return _capacities(result, axes_or_new(ax, 4.2))


def _accuracies(tests: Mapping[str, MemoryTest], target: Axes) -> Axes:
    looks = _looks([test.layer.name for test in tests.values()])
    for look, (label, test) in zip(looks, tests.items(), strict=True):
        mark = _mark(test.layer.name)
        target.plot(test.loads, test.accuracy, **look, **mark, label=_shown(label))
        target.fill_between(
            test.loads, test.accuracy - test.errors, test.accuracy + test.errors,
            color=look["color"], alpha=0.18, linewidth=0,
        )  # fmt: skip
    one = next(iter(tests.values()))
    target.axhline(one.chance, color=muted(0.6), **_GUIDE, label="chance")
    target.axhline(one.threshold, color=muted(0.35), linewidth=0.9)
    target.set_xscale("log", base=2)
    target.xaxis.set_major_formatter("{x:g}")
    target.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    target.set_ylim(0.0, 1.03)
    target.set_xlabel("pairs stored" if one.task == "recall" else "symbols to copy")
    target.set_ylabel("right answers")
    _legend(target, len(tests))
    return target


def _capacities(result: MemoryComparison, target: Axes) -> Axes:
    by_model: dict[str, list[tuple[int, int, bool]]] = {}
    for test in result.tests.values():
        by_model.setdefault(test.layer.name, []).extend(_held(test))
    for name, points in by_model.items():
        if not points:
            continue
        sizes, loads, open_ended = np.array(sorted(points)).T
        look = _line(name)
        target.plot(sizes, loads, **look, **_mark(name), label=_shown(name))
        for size, load in zip(sizes[open_ended > 0], loads[open_ended > 0], strict=True):
            target.annotate(
                "", (size, load * 1.5), (size, load),
                arrowprops={"arrowstyle": "->", "color": look["color"]},
            )  # fmt: skip
    target.margins(y=0.15)
    target.set_xscale("log", base=2)
    target.set_yscale("log", base=2)
    target.xaxis.set_major_formatter("{x:g}")
    target.yaxis.set_major_formatter("{x:g}")
    target.set_xlabel("numbers in the state")
    one = next(iter(result.tests.values()))
    target.set_ylabel(f"{'pairs' if one.task == 'recall' else 'symbols'} at {one.threshold:.0%}")
    if target.lines:
        _legend(target, len(target.lines))
    return target


def _held(test: MemoryTest) -> list[tuple[int, int, bool]]:
    """For every size of the state its largest load up to the capacity, and whether more may do."""
    within = test.loads <= test.capacity
    best = dict(zip(test.state_sizes[within].tolist(), test.loads[within].tolist(), strict=True))
    return [(size, load, load == test.loads[-1]) for size, load in best.items()]


def _line(name: str) -> dict[str, Any]:
    color = MODEL_COLORS.get(name) or muted(1.0)
    return {"color": color, "linestyle": MODEL_STYLES.get(name, "-")}


def _looks(names: Sequence[str]) -> list[dict[str, Any]]:
    """The line of every label; several layers of one model go from faint to full."""
    seen: Counter[str] = Counter()
    counts, looks = Counter(names), []
    for name in names:
        seen[name] += 1
        looks.append({**_line(name), "alpha": _FAINT + (1.0 - _FAINT) * seen[name] / counts[name]})
    return looks


def _mark(name: str) -> dict[str, Any]:
    """The second model of a colour has hollow marks."""
    hollow = {"markerfacecolor": "none"} if name in MODEL_STYLES else {}
    return {"marker": MODEL_MARKERS.get(name, "o"), **hollow}


def _shown(label: str) -> str:
    return MODEL_LABELS.get(label, label)


def _legend(target: Axes, lines: int) -> None:
    if lines > _MOST_INSIDE:
        target.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        target.legend(frameon=False)
