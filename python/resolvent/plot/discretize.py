"""Pictures of :mod:`resolvent.discretize`'s objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from resolvent.discretize import Convergence, StabilityRegion
from resolvent.plot.style import axes_or_new, muted

__all__ = ["plot_convergence", "plot_stability_region"]

_MARKS = {
    "forward": "v",
    "backward": "^",
    "bilinear": "o",
    "bilinear-split": "P",
    "gbt": "s",
    "zoh": "D",
    "foh": "*",
    "mamba": "X",
    "exact": "*",
}


def plot_stability_region(
    result: StabilityRegion,
    ax: Axes | None = None,
    eigenvalues: npt.ArrayLike | None = None,
    step: float | None = None,
) -> Axes:
    """Where a rule damps: the region abs(R(z)) ≤ 1, shaded, and lines of equal growth.

    Parameters
    ----------
    result : StabilityRegion
    ax : Axes, optional
        Where to draw; new axes unless given.
    eigenvalues : array_like, optional
        Drawn at step · λ: dots inside the region, crosses outside.
    step : float, optional
        1 unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent as rv
    >>> ax = rv.discretize.stability_region("forward").plot(eigenvalues=[-1.0, -3.0], step=1.0)
    >>> [line.get_xdata().tolist() for line in ax.lines[-2:]]
    [[-1.0], [-3.0]]
    """
    target = axes_or_new(ax, 4.4)
    # At a pole the growth is infinite, at a zero its logarithm is; both are off the scale.
    with np.errstate(divide="ignore"):
        powers = np.clip(np.log10(result.growth), -3.0, 3.0)
    grid = (result.real, result.imag)
    target.contourf(*grid, powers, levels=[-4.0, 0.0], colors=["C0"], alpha=0.22)
    target.contour(*grid, powers, levels=[-1.0, -0.5, -0.25, 0.25, 0.5, 1.0],
                   colors=[muted(0.45)], linewidths=0.6, linestyles="solid")  # fmt: skip
    target.contour(*grid, powers, levels=[0.0], colors=["C0"], linewidths=2.0)
    target.axhline(0.0, color=muted(0.6), linewidth=0.8)
    target.axvline(0.0, color=muted(0.6), linewidth=0.8)
    if eigenvalues is not None:
        _mark(target, result, np.asarray(eigenvalues) * (1.0 if step is None else step))
    target.set_xlim(result.real[0], result.real[-1])
    target.set_ylim(result.imag[0], result.imag[-1])
    target.set_aspect("equal")
    target.grid(False)
    target.set_title(_rule_title(result))
    target.set_xlabel("Re ελ")
    target.set_ylabel("Im ελ")
    return target


def _rule_title(result: StabilityRegion) -> str:
    return f"gbt, α = {result.alpha:g}" if result.rule == "gbt" else result.rule


def _mark(ax: Axes, result: StabilityRegion, places: npt.NDArray[Any]) -> None:
    """Dots where the nearest grid point is stable, crosses elsewhere; outside the box nothing."""
    places = np.atleast_1d(places).astype(complex).ravel()
    column = np.abs(result.real[:, np.newaxis] - places.real).argmin(axis=0)
    row = np.abs(result.imag[:, np.newaxis] - places.imag).argmin(axis=0)
    stable = result.growth[row, column] <= 1.0 + 1e-9
    ax.plot(places.real[stable], places.imag[stable], "o", color="C2", markersize=4)
    ax.plot(
        places.real[~stable], places.imag[~stable], "x", color="C1", markersize=6, markeredgewidth=2
    )


def plot_convergence(result: Convergence, ax: Axes | None = None) -> Axes:
    """Error against step, with the fitted order; several results go on the same axes.

    Parameters
    ----------
    result : Convergence
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> system = rv.hippo.system("lagt", 4)
    >>> result = rv.discretize.convergence(system, "bilinear", np.sin, [0.1, 0.05, 0.025])
    >>> result.plot().lines[0].get_label()[:12]
    'bilinear, p '
    """
    target = axes_or_new(ax)
    order = "rounding" if np.isnan(result.order) else f"p = {result.order:.2f}"
    target.loglog(
        result.steps,
        result.errors,
        marker=_MARKS.get(result.rule, "o"),
        linewidth=1.3,
        label=f"{result.rule}, {order}",
    )
    target.set_xlabel("step")
    target.set_ylabel("relative error")
    target.legend(loc="best")
    return target
