"""Pictures of :mod:`resolvent.spectral`'s objects."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from resolvent._arrays import Array
from resolvent.plot.style import axes_or_new, measure_color, measure_label, muted
from resolvent.spectral import DPLR, NormalSpectrum, NumericalRange, PadeDelay, Pseudospectrum

__all__ = [
    "plot_dplr",
    "plot_normal_spectrum",
    "plot_numerical_range",
    "plot_pade_delay",
    "plot_pseudospectrum",
    "plot_step_response",
]

#: Of longer spectra this many points are drawn, evenly over the places where they lie.
_MOST_POINTS = 3000


def plot_normal_spectrum(result: NormalSpectrum, ax: Axes | None = None) -> Axes:
    """How much of the input each frequency of the normal part takes: weights against μ.

    Frequencies are on an inverse hyperbolic sine scale: even near 0, logarithmic far from it.

    Parameters
    ----------
    result : NormalSpectrum
        Of more than some thousand eigenvalues a part is drawn.
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent as rv
    >>> ax = rv.spectral.normal_spectrum(rv.hippo.system("legs", 16)).plot()
    >>> len(ax.lines[0].get_xdata())
    16
    """
    target = axes_or_new(ax)
    measure = result.system.measure
    shown = _spread(result.mu)
    target.plot(result.mu[shown], result.weights[shown], "o", color=measure_color(measure))
    target.set_xscale("asinh", linear_width=_knee(result.mu))
    target.set_xticks(*_ticks(result.mu))
    target.set_xticks([], minor=True)
    target.set_yscale("log")
    target.set_title(f"{measure_label(measure)}, N = {result.system.order}")
    target.set_xlabel("frequency μ")
    target.set_ylabel("weight")
    return target


def _knee(frequencies: Array) -> float:
    """Where the scale turns from linear to logarithmic: at the slowest frequencies."""
    moving = np.abs(frequencies[frequencies != 0.0])
    return float(2.0 * moving.min()) if moving.size else 1.0


def _ticks(frequencies: Array) -> tuple[list[float], list[str]]:
    """Zero and, on each side that has any, at most five powers of ten, with their labels."""
    reach = float(np.abs(frequencies).max())
    low = math.ceil(math.log10(_knee(frequencies)))
    high = math.floor(math.log10(reach)) if reach > 0.0 else low
    powers = range(high, min(low, high) - 1, -max(1, math.ceil((high - low + 1) / 5)))
    ticks = [(0.0, "0")]
    for sign, mark in ((1.0, ""), (-1.0, "-")):
        if (sign * frequencies > 0.0).any():
            ticks += [(sign * 10.0**p, f"${mark}10^{{{p}}}$") for p in powers]
    return [place for place, _ in ticks], [label for _, label in ticks]


def _spread(frequencies: Array) -> Array:
    """Which of many frequencies to draw: neighbours on the drawn scale are one point."""
    if len(frequencies) <= _MOST_POINTS:
        return np.arange(len(frequencies))
    places = np.arcsinh(frequencies / _knee(frequencies))
    cells = np.linspace(places.min(), places.max(), _MOST_POINTS)
    return np.unique(np.searchsorted(-places, -cells).clip(0, len(places) - 1))


def plot_dplr(result: DPLR, ax: Axes | None = None) -> Axes:
    """The diagonal in the complex plane; the larger a dot, the more input its mode takes.

    Parameters
    ----------
    result : DPLR
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        The eigenvalues are ``ax.collections[0]``; the largest dot belongs to the largest abs(B).

    Examples
    --------
    >>> import resolvent as rv
    >>> ax = rv.spectral.dplr(rv.hippo.system("legs", 16)).plot()
    >>> len(ax.collections[0].get_offsets())
    16
    """
    target = axes_or_new(ax, 4.4)
    values, weights = (part.ravel() for part in np.broadcast_arrays(result.eigenvalues, result.B))
    size = np.abs(weights)
    share = size / size.max() if size.size and size.max() > 0.0 else size
    measure = "" if result.system is None else result.system.measure
    shown = _spread(values.imag) if np.all(np.diff(values.imag) <= 0.0) else np.arange(len(values))
    target.axvline(0.0, color=muted(0.5), linewidth=0.8)
    target.scatter(
        values.real[shown],
        values.imag[shown],
        s=12.0 + 90.0 * share[shown],
        color=measure_color(measure),
        alpha=0.75,
        linewidths=0.0,
        zorder=2,
    )
    target.set_yscale("asinh", linear_width=_knee(values.imag))
    target.set_yticks(*_ticks(values.imag))
    target.set_yticks([], minor=True)
    left, right = float(values.real.min()), float(max(values.real.max(), 0.0))
    room = 0.15 * (right - left) or 1.0
    target.set_xlim(left - room, right + room)
    target.set_title(_dplr_title(result))
    target.set_xlabel("Re λ")
    target.set_ylabel("Im λ")
    return target


def _dplr_title(result: DPLR) -> str:
    of = "" if result.system is None else f"{measure_label(result.system.measure)}: "
    rank = np.asarray(result.P).shape[-1]
    pairs = ", one of each pair" if result.half else ""
    return f"{of}diagonal + rank {rank}{pairs}"


def plot_pade_delay(result: PadeDelay, ax: Axes | None = None) -> Axes:
    """Poles (crosses) and zeros (rings) of the approximated delay.

    Parameters
    ----------
    result : PadeDelay
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent as rv
    >>> ax = rv.spectral.pade_delay(6).plot()
    >>> [len(line.get_xdata()) for line in ax.lines[-2:]]
    [6, 5]
    """
    target = axes_or_new(ax, 4.4)
    poles, zeros = result.poles(), result.zeros()
    target.axvline(0.0, color=muted(0.5), linewidth=0.8)
    target.axhline(0.0, color=muted(0.5), linewidth=0.8)
    target.plot(poles.real, poles.imag, "x", color="C1", markeredgewidth=1.6, label="poles")
    target.plot(zeros.real, zeros.imag, "o", color="C0", fillstyle="none", label="zeros")
    target.set_aspect("equal", adjustable="datalim")
    target.set_title(f"Padé [{result.order - 1}/{result.order}] of a delay by {_short(result)}")
    target.set_xlabel("Re s")
    target.set_ylabel("Im s")
    target.legend(loc="upper right")
    return target


def _short(result: PadeDelay) -> str:
    return f"{float(result.window):g}"


def plot_step_response(
    result: PadeDelay, ax: Axes | None = None, *, windows: float = 2.0, label: str | None = None
) -> Axes:
    """What the approximated delay makes of a unit step.

    Parameters
    ----------
    result : PadeDelay
    ax : Axes, optional
        Where to draw; new axes unless given. The delayed step itself is drawn once on it.
    windows : float
        How long, in units of the delay.
    label : str, optional
        For the legend; the order unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent as rv
    >>> from resolvent.plot.spectral import plot_step_response
    >>> ax = plot_step_response(rv.spectral.pade_delay(6))
    >>> [line.get_label() for line in ax.lines]
    ['delayed step', 'N = 6']
    """
    target = axes_or_new(ax)
    delay = float(result.window)
    end = windows * delay
    times = np.linspace(0.0, end, 601)
    if not any(line.get_label() == "delayed step" for line in target.lines):
        target.plot(
            [0.0, delay, delay, end],
            [0.0, 0.0, 1.0, 1.0],
            color=muted(),
            linewidth=3.5,
            label="delayed step",
        )
        target.set_xlim(0.0, end)
        target.set_xlabel("time")
    name = f"N = {result.order}" if label is None else label
    target.plot(times, result.step_response(times), linewidth=1.3, label=name)
    return target


def plot_pseudospectrum(
    result: Pseudospectrum,
    ax: Axes | None = None,
    levels: npt.ArrayLike | None = None,
    *,
    colorbar: bool = True,
) -> Axes:
    """How small a perturbation makes a point of the plane an eigenvalue, and the eigenvalues.

    Parameters
    ----------
    result : Pseudospectrum
    ax : Axes, optional
        Where to draw; new axes unless given.
    levels : array_like, optional
        Powers of ten of σ, increasing; chosen from what occurs unless given.
    colorbar : bool
        Whether to put a scale beside the axes.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent as rv
    >>> result = rv.spectral.pseudospectrum(rv.hippo.system("legs", 12), points=30)
    >>> result.plot().get_xlabel()
    'Re z'
    """
    target = axes_or_new(ax, 4.4)
    # At an eigenvalue of the grid σ may be 0; below the floor it is not known.
    powers = np.log10(np.maximum(result.sigma, result.floor))
    shown = _levels(powers) if levels is None else np.asarray(levels, dtype=float)
    filled = target.contourf(
        result.real, result.imag, powers, levels=shown, cmap="cividis", extend="both"
    )
    target.contour(
        result.real,
        result.imag,
        powers,
        levels=shown,
        colors="black",
        linewidths=0.4,
        linestyles="solid",
        alpha=0.5,
    )
    values = np.asarray(result.eigenvalues)
    target.plot(
        values.real,
        values.imag,
        "o",
        color="white",
        markersize=3.5,
        markeredgecolor="black",
        markeredgewidth=0.6,
        label="eigenvalues",
    )
    target.set_xlim(result.real[0], result.real[-1])
    target.set_ylim(result.imag[0], result.imag[-1])
    target.grid(False)
    target.set_xlabel("Re z")
    target.set_ylabel("Im z")
    if colorbar:
        bar = target.figure.colorbar(filled, ax=target)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        bar.set_label(r"$\log_{10}\ \sigma_{\min}(zI - A)$")
    return target


def _levels(powers: Array) -> Array:
    """Some ten levels, a whole number of decades (or half ones) apart."""
    low, high = math.floor(float(powers.min())), math.ceil(float(powers.max()))
    apart = max(0.5, math.ceil((high - low) / 10.0)) if high - low > 5 else 0.5
    return np.arange(low, high + 0.5 * apart, apart)


def plot_numerical_range(result: NumericalRange, ax: Axes | None = None) -> Axes:
    """The numerical range, the eigenvalues in it, and how far right it reaches.

    Parameters
    ----------
    result : NumericalRange
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent as rv
    >>> ax = rv.spectral.numerical_range(rv.hippo.system("legs", 8)).plot()
    >>> len(ax.patches)
    1
    """
    target = axes_or_new(ax, 4.4)
    boundary, values = np.asarray(result.boundary), np.asarray(result.eigenvalues)
    target.fill(boundary.real, boundary.imag, facecolor="C0", alpha=0.2, label="numerical range")
    closed = np.append(boundary, boundary[:1])
    target.plot(closed.real, closed.imag, color="C0", linewidth=1.2)
    target.plot(values.real, values.imag, "o", color="C1", markersize=4, label="eigenvalues")
    target.axvline(0.0, color=muted(0.5), linewidth=0.8)
    target.axvline(
        result.abscissa,
        color="C0",
        linestyle="--",
        linewidth=1.0,
        label=f"abscissa {result.abscissa:.3g}".replace("-", "−"),
    )
    target.set_aspect("equal", adjustable="datalim")
    target.set_xlabel("Re z")
    target.set_ylabel("Im z")
    target.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False)
    return target
