"""The figures of discretisation, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resolvent import discretize, hippo, spectral
from resolvent._arrays import Array
from resolvent.discretize import Convergence
from resolvent.figures._registry import figure, new_figure
from resolvent.plot.style import measure_color, measure_label, muted

__all__ = [
    "ErrorMap",
    "convergence",
    "error_map",
    "orders",
    "own_clock",
    "scaled_eigenvalues",
    "stability",
]


# ---- stability and local error ------------------------------------------------------------------


@dataclass(frozen=True)
class ErrorMap:
    """Of one rule, over the plane of z = ελ; from :func:`error_map`.

    Attributes
    ----------
    real, imag : ndarray
        The grid.
    error : ndarray, shape (len(imag), len(real))
        abs(R(z) − e^z), or that of the input weight.
    growth : ndarray
        abs(R(z)).
    """

    real: Array
    imag: Array
    error: Array
    growth: Array


_BOX = (-4.0, 1.0, -3.4, 3.4)


def error_map(
    rule: str, *, alpha: float = 0.75, of: str = "state", points: tuple[int, int] = (100, 136)
) -> ErrorMap:
    """What one step of a rule gets wrong, and whether it damps."""
    region = discretize.stability_region(rule, _BOX, points, alpha=alpha)  # type: ignore[arg-type]
    places = region.real + 1j * region.imag[:, np.newaxis]
    error = discretize.local_error(places, 1.0, rule, alpha=alpha, of=of)  # type: ignore[arg-type]
    return ErrorMap(region.real, region.imag, np.abs(error), region.growth)


def scaled_eigenvalues(
    *, order: int = 16, reach: float = 3.0, measures: Sequence[str] = ("legs", "legt", "fout")
) -> dict[str, Array]:
    """Eigenvalues of A times the step at which the largest has modulus `reach`."""
    found = {}
    for measure in measures:
        # FouT takes the odd order beside it: a constant, and pairs.
        size = order | 1 if measure == "fout" else order
        values = spectral.eigenvalues(hippo.system(measure, size))  # type: ignore[arg-type]
        found[measure] = values * (reach / np.abs(values).max())
    return found


_PANELS = (
    ("forward", "state", "forward"),
    ("backward", "state", "backward"),
    ("bilinear", "state", "bilinear"),
    ("gbt", "state", "gbt, α = ¾"),
    ("zoh", "state", "zoh, foh: exact"),
    ("mamba", "input", "mamba: input weight"),
)


@figure(
    "discretize-stability",
    "What each rule gets wrong, and where it blows up",
    "Colour: the error of one step at ελ. Hatched: what it makes grow. Dots: eigenvalues of three "
    "systems at a step where the largest has |ελ| = 3. Forward blows up each of them; the other "
    "rules do not, but only zoh and foh are exact. Mamba's state is, the weight of its input not.",
)
def stability(*, order: int = 16, points: tuple[int, int] = (100, 136)) -> Figure:
    """Error maps and stability regions of every rule, with eigenvalues on them."""
    made = new_figure(8.8, 7.2)
    panels = made.subplots(2, 3, sharex=True, sharey=True)
    levels = np.array([1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0])
    colors = mpl.colormaps["cividis"](np.linspace(0.0, 1.0, len(levels) + 1))
    shown = scaled_eigenvalues(order=order)
    for ax, (rule, of, title) in zip(panels.flat, _PANELS, strict=True):
        found = error_map(rule, of=of, points=points)
        image = ax.contourf(
            found.real,
            found.imag,
            np.maximum(found.error, 1e-18),
            levels=levels,
            colors=colors,
            extend="both",
        )
        _draw_growth(ax, found)
        for measure, values in shown.items():
            ax.plot(
                values.real, values.imag, "o", color=measure_color(measure), markersize=5,
                markeredgecolor="white", markeredgewidth=0.7, label=measure_label(measure),
                clip_on=False,
            )  # fmt: skip
        ax.set_aspect("equal")
        ax.set_xlim(_BOX[:2])
        ax.set_ylim(_BOX[2:])
        ax.grid(False)
        ax.set_title(title)
    for ax in panels[-1]:
        ax.set_xlabel("Re ελ")
    for ax in panels[:, 0]:
        ax.set_ylabel("Im ελ")
    bar = made.colorbar(image, ax=panels, shrink=0.7, pad=0.02)
    bar.set_ticks(levels.tolist(), labels=["10⁻⁴", "10⁻³", "10⁻²", "0.1", "0.3", "1", "3"])
    bar.set_label("error of one step")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return made


def _draw_growth(ax: Axes, found: ErrorMap) -> None:
    growth = np.minimum(found.growth, 1e3)
    with mpl.rc_context({"hatch.linewidth": 0.6}):
        ax.contourf(
            found.real, found.imag, growth, levels=[1.0, 2e3], colors="none", hatches=["////"]
        )
    ax.contour(found.real, found.imag, growth, levels=[1.0], colors="white", linewidths=2.2)
    ax.contour(found.real, found.imag, growth, levels=[1.0], colors="black", linewidths=1.0)


# ---- convergence --------------------------------------------------------------------------------

_RULES = ("forward", "backward", "zoh", "bilinear", "foh")


def _signal(t: Array) -> Array:
    """Smooth, also at its start: a jump from 0 there costs every rule its second order."""
    return np.asarray(np.sin(7.0 * t) + 0.5 * np.sin(19.0 * t) + t)


def _started(t: Array) -> Array:
    """Smooth where it is known: LegS's whole past begins with a value, not with a jump from 0."""
    return np.asarray(np.sin(7.0 * t) + 0.5 * np.cos(19.0 * t + 1.0) + t)


def orders(
    output: str,
    *,
    measure: str = "lagt",
    order: int = 8,
    window: float = 1.0 / 16.0,
    lengths: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
    rules: Sequence[str] = _RULES,
) -> dict[str, Convergence]:
    """Every rule on a smooth signal, in one convention of what the output is."""
    system = hippo.system(measure, order, window=window)  # type: ignore[arg-type]
    return {
        rule: discretize.convergence(
            system,
            rule,
            _signal,
            [1.0 / n for n in lengths],
            output=output,  # type: ignore[arg-type]
        )
        for rule in rules
    }


def own_clock(
    *,
    order: int = 8,
    lengths: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
    rules: Sequence[str] = ("forward", "backward", "zoh", "bilinear", "bilinear-split"),
) -> dict[str, Convergence]:
    """LegS's rules on its own clock, against the exact projection."""
    system = hippo.system("legs", order)
    return {
        rule: discretize.convergence(
            system, rule, _started, [1.0 / n for n in lengths], clock="scaled"
        )
        for rule in rules
    }


_MARKS = {
    "forward": "v", "backward": "^", "zoh": "D", "bilinear": "o", "foh": "*", "bilinear-split": "P",
}  # fmt: skip
_COLORS = {
    "forward": "C1", "backward": "C2", "zoh": "C3", "bilinear": "C0", "foh": "C4",
    "bilinear-split": "C4",
}  # fmt: skip


@figure(
    "discretize-convergence",
    "The order depends on when the output is read",
    "A smooth signal, sampled. Left: read after the update, as S4 does, the bilinear rule is of "
    "order 1 like the crude ones. Middle: read in the control convention it is of order 2. Right: "
    "on LegS's own 1/t clock only the averaged weight (bilinear-split) reaches 2.",
)
def convergence(*, lengths: Sequence[int] = (64, 128, 256, 512, 1024, 2048)) -> Figure:
    """Errors against steps in two output conventions and on LegS's clock."""
    made = new_figure(9.8, 4.9)
    panels = made.subplots(1, 3, sharey=True)
    for ax, found, title in zip(
        panels,
        (
            orders("state-after", lengths=lengths),
            orders("state-before", lengths=lengths),
            own_clock(lengths=lengths),
        ),
        ("Output after the update (S4)", "Output before it (control)", "LegS's own clock"),
        strict=True,
    ):
        for rule, result in found.items():
            ax.loglog(
                result.steps,
                result.errors,
                marker=_MARKS[rule],
                color=_COLORS[rule],
                linewidth=2.6 if rule == "bilinear" else 1.3,
                label=f"{rule}: {result.order:.2f}",
            )
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("step")
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.15),
            ncols=2,
            frameon=False,
            title="measured order p",
            columnspacing=1.2,
            handlelength=1.8,
        )
        _draw_slopes(ax)
    panels[0].set_ylabel("relative error")
    return made


def _draw_slopes(ax: Axes) -> None:
    """Short guides of slope 1 and 2, at the lower right."""
    steps = np.array([2.0e-3, 8.0e-3])
    for power, start in ((1, 2e-5), (2, 1.5e-6)):
        ax.loglog(steps, start * (steps / steps[0]) ** power, color=muted(0.6), linewidth=1.0)
        ax.annotate(
            f"p = {power}", (steps[1], start * 4.0**power), xytext=(3, -2),
            textcoords="offset points", fontsize=8, color=muted(0.9),
        )  # fmt: skip
