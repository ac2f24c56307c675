"""Pictures of :mod:`resolvent.rational`'s objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from resolvent.plot.style import axes_or_new, muted
from resolvent.rational import (
    Balanced,
    Fit,
    FrequencyResponse,
    PoleZeroMap,
    Reduced,
    TimeResponse,
)

__all__ = [
    "plot_bode",
    "plot_fit",
    "plot_nyquist",
    "plot_pole_zero",
    "plot_singular_values",
    "plot_time_response",
]

_Array = npt.NDArray[Any]


def plot_bode(result: FrequencyResponse, ax: Axes | None = None) -> Axes:
    """Magnitude and phase against frequency, one line per channel.

    Parameters
    ----------
    result : FrequencyResponse
    ax : Axes, optional
        Where to draw the magnitude; the phase then has the axis on the right, and its lines are
        dashed. Without it a new figure with the magnitude above and the phase below.

    Returns
    -------
    Axes
        Those of the magnitude. The phase is in the last axes of the figure.

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> ax = rational.TransferFunction([1.0], [-0.5]).bode()
    >>> ax.get_ylabel(), ax.figure.axes[-1].get_ylabel()
    ('magnitude', 'phase in degrees')
    """
    magnitude, phase, dashes = _bode_axes(ax)
    shown = result.omega > 0.0
    omega = result.omega[shown]
    for values in _rows(result.values[..., shown]):
        finite = np.where(np.isfinite(values), values, np.nan)
        (line,) = magnitude.loglog(omega, np.abs(finite))
        degrees = np.degrees(np.unwrap(np.angle(np.nan_to_num(finite))))
        phase.semilogx(omega, degrees, dashes, color=line.get_color(), linewidth=1.2)
    for axes in (magnitude, phase):
        axes.axvline(np.pi, color=muted(0.5), linewidth=0.8)
    magnitude.set_ylabel("magnitude")
    phase.set_ylabel("phase in degrees")
    (magnitude if dashes == "--" else phase).set_xlabel("ω, radians per sample")
    return magnitude


def _bode_axes(ax: Axes | None) -> tuple[Axes, Axes, str]:
    """Two panels, or the axes given and a second scale; and how the phase is drawn."""
    if ax is not None:
        second = ax.twinx()
        second.grid(False)
        second.spines["right"].set_visible(True)
        return ax, second, "--"
    import matplotlib.pyplot as plt

    _, (upper, lower) = plt.subplots(2, 1, sharex=True, figsize=(8.0, 5.0), layout="constrained")
    return upper, lower, "-"


def plot_nyquist(result: FrequencyResponse, ax: Axes | None = None) -> Axes:
    """The response in the complex plane, and the critical point −1.

    Parameters
    ----------
    result : FrequencyResponse
        Of a real model over positive frequencies: those below 0 are drawn dashed.
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> ax = rational.TransferFunction([1.0], [-0.5]).nyquist()
    >>> len(ax.lines)  # positive frequencies, negative ones, two axes, the point -1
    5
    """
    target = axes_or_new(ax, 4.4)
    one_sided = result.omega.size > 0 and result.omega.min() > 0.0
    for values in _rows(result.values):
        finite = values[np.isfinite(values)]
        (line,) = target.plot(finite.real, finite.imag)
        if one_sided:
            target.plot(
                finite.real, -finite.imag, "--", color=line.get_color(), linewidth=1.0, alpha=0.7
            )
    target.axhline(0.0, color=muted(0.6), linewidth=0.8)
    target.axvline(0.0, color=muted(0.6), linewidth=0.8)
    target.plot([-1.0], [0.0], "+", color="C1", markersize=9, markeredgewidth=2)
    target.set_aspect("equal", adjustable="datalim")
    target.set_xlabel("Re G")
    target.set_ylabel("Im G")
    return target


def plot_pole_zero(result: PoleZeroMap, ax: Axes | None = None) -> Axes:
    """Poles as crosses and zeros as circles in the plane of ζ = 1/z, with the unit circle.

    Parameters
    ----------
    result : PoleZeroMap
        Zeros at infinity are not drawn.
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        Poles outside the circle have the second colour.

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> ax = rational.TransferFunction([1.0, 0.5], [-0.5, 0.06]).pole_zero()
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['poles', 'zeros']
    """
    target = axes_or_new(ax, 4.4)
    turn = np.linspace(0.0, 2.0 * np.pi, 361)
    target.plot(np.cos(turn), np.sin(turn), color=muted(0.5), linewidth=1.0)
    target.axhline(0.0, color=muted(0.3), linewidth=0.8)
    target.axvline(0.0, color=muted(0.3), linewidth=0.8)
    poles, zeros = result.poles.ravel(), result.zeros.ravel()
    inside = np.abs(poles) < 1.0
    cross: dict[str, Any] = {
        "marker": "x",
        "linestyle": "none",
        "markersize": 6,
        "markeredgewidth": 1.8,
    }
    target.plot(poles[inside].real, poles[inside].imag, color="C0", label="poles", **cross)
    if not inside.all():
        target.plot(
            poles[~inside].real, poles[~inside].imag, color="C1", label="poles outside", **cross
        )
    finite = zeros[np.isfinite(zeros)]
    target.plot(
        finite.real,
        finite.imag,
        "o",
        color="C2",
        markerfacecolor="none",
        markersize=6,
        label="zeros",
    )
    target.set_aspect("equal", adjustable="datalim")
    target.set_xlabel("Re ζ")
    target.set_ylabel("Im ζ")
    target.legend(loc="best")
    return target


def plot_time_response(result: TimeResponse, ax: Axes | None = None) -> Axes:
    """The outputs sample by sample; of complex models the imaginary parts dashed.

    Parameters
    ----------
    result : TimeResponse
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> ax = rational.TransferFunction([1.0], [-0.5]).impulse(4)
    >>> ax.lines[0].get_ydata()
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    target = axes_or_new(ax)
    length = result.values.shape[-1]
    marker = "o" if length <= 64 else ""
    for values in _rows(result.values):
        (line,) = target.plot(
            np.arange(length), values.real, drawstyle="steps-post", marker=marker, markersize=3
        )
        if np.iscomplexobj(values):
            target.plot(
                np.arange(length), values.imag, "--", color=line.get_color(),
                drawstyle="steps-post", linewidth=1.0,
            )  # fmt: skip
    target.axhline(0.0, color=muted(0.5), linewidth=0.8)
    target.set_xlabel("sample k")
    target.set_ylabel(f"{result.kind} response")
    return target


def plot_fit(result: Fit, ax: Axes | None = None) -> Axes:
    """Relative error against the order: of the coefficients, and dashed of the sums over poles.

    Several results go on the same axes.

    Parameters
    ----------
    result : Fit
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, resolvent.rational as rational
    >>> ax = rational.fit(0.9 ** np.arange(32), 2, "era").plot()
    >>> ax.lines[0].get_label()
    'era'
    """
    target = axes_or_new(ax)
    orders = np.arange(1, result.errors.size + 1)
    (line,) = target.semilogy(orders, _drawable(result.errors), "o-", label=result.method)
    target.semilogy(
        orders, _drawable(result.parallel_errors), "--", color=line.get_color(), linewidth=1.2
    )
    _limit_errors(target)
    target.xaxis.set_major_locator(MaxNLocator(integer=True))
    target.set_xlabel("order")
    target.set_ylabel("relative error")
    target.legend(loc="best")
    return target


def _drawable(errors: _Array) -> _Array:
    """On a logarithmic scale: exact 0 at the rounding level, and what overflows left out."""
    shown = np.maximum(errors, np.finfo(np.float64).eps)
    result: _Array = np.where(np.isfinite(shown), shown, np.nan)
    return result


def _limit_errors(ax: Axes) -> None:
    """Around all curves; but errors beyond 100 are nothing that a curve could show."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in ax.lines])
    shown = drawn[np.isfinite(drawn)]
    if shown.size:
        ax.set_ylim(0.5 * shown.min(), 2.0 * min(shown.max(), 50.0))


def plot_singular_values(result: Balanced | Reduced, ax: Axes | None = None) -> Axes:
    """The Hankel singular values; of a reduced model those left out are hollow.

    Parameters
    ----------
    result : Balanced or Reduced
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, resolvent as rv, resolvent.rational as rational
    >>> legs = rv.hippo.system("legs", 8)
    >>> ax = rational.reduce(legs, 3, C=np.ones(8)).plot()
    >>> len(ax.lines[0].get_xdata()), len(ax.lines[1].get_xdata())
    (3, 5)
    """
    target = axes_or_new(ax)
    kept = result.state_space.order
    for values in _rows(result.singular_values):
        positive = np.maximum(values, np.finfo(np.float64).tiny)
        places = np.arange(1, values.size + 1)
        (line,) = target.semilogy(places[:kept], positive[:kept], "o")
        if kept < values.size:
            target.semilogy(
                places[kept:], positive[kept:], "o", color=line.get_color(), markerfacecolor="none"
            )
    target.xaxis.set_major_locator(MaxNLocator(integer=True))
    target.set_xlabel("state")
    target.set_ylabel("Hankel singular value")
    if isinstance(result, Reduced):
        bound = float(np.max(result.error_bound, initial=0.0))
        target.set_title(f"order {kept}, error ≤ {bound:.2g}")
    return target


def _rows(values: _Array) -> _Array:
    """One row per channel."""
    return values.reshape(-1, values.shape[-1])
