"""Pictures of :mod:`resolvent.hippo`'s objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from resolvent import InvalidArgument, ShapeMismatch
from resolvent.hippo import ReconstructionError, System
from resolvent.plot.style import axes_or_new, diverging, measure_color, measure_label, muted

__all__ = ["plot_basis", "plot_coefficients", "plot_matrix", "plot_reconstruction_error"]

#: Longer lines are drawn as the least and greatest value of as many stretches.
_MOST_POINTS = 6000


def thinned(
    times: npt.NDArray[Any], values: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A line with at most some thousand points that looks the same.

    Parameters
    ----------
    times, values : ndarray, shape (K,)

    Returns
    -------
    times, values : ndarray
        As they are where K is small; else two points per stretch, its extremes in time order.
    """
    count = values.shape[-1]
    if count <= _MOST_POINTS:
        return times, values
    starts = np.linspace(0, count, _MOST_POINTS // 2, endpoint=False, dtype=np.intp)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    rising = values[np.append(starts[1:], count) - 1] >= values[starts]
    pairs = np.where(rising, [low, high], [high, low])
    ends = np.append(starts[1:], count) - 1
    return np.stack([times[starts], times[ends]], axis=1).ravel(), pairs.T.ravel()


def plot_reconstruction_error(result: ReconstructionError, ax: Axes | None = None) -> Axes:
    """A signal, what a memory makes of it, and underneath the difference.

    Parameters
    ----------
    result : ReconstructionError
        Of several signals the first is drawn, and the title says so.
    ax : Axes, optional
        Where to draw; new axes unless given. The error goes into a child of it, at the bottom.

    Returns
    -------
    Axes
        The upper ones; ``ax.child_axes[-1]`` are the lower.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> u = np.sin(np.linspace(0, 6, 500))
    >>> ax = rv.hippo.reconstruction_error(u, rv.hippo.system("legs", 8)).plot()
    >>> len(ax.child_axes)
    1
    """
    upper = axes_or_new(ax)
    signal, reconstruction, error = (
        values.reshape(-1, values.shape[-1])[:1]
        for values in (result.signal, result.reconstruction, result.error)
    )
    if signal.shape[0] == 0:
        raise InvalidArgument("result must hold at least one signal to be drawn, it holds none")
    color = measure_color(result.system.measure)
    name = measure_label(result.system.measure)
    upper.plot(*thinned(result.times, signal[0]), color=muted(), linewidth=1.2, label="signal")
    upper.plot(
        *thinned(result.times, reconstruction[0]),
        color=color,
        linewidth=1.2,
        label=f"{name}, {result.system.order} coefficients",
    )
    count = int(np.prod(result.signal.shape[:-1]))
    of_many = f" · signal 1 of {count}" if count > 1 else ""
    upper.set_title(f"RMSE {result.rmse:.3g}, SNR {result.snr_db:.1f} dB{of_many}", loc="left")
    upper.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
    upper.margins(x=0.0)
    upper.set_xlabel("time")

    # The error has the lowest quarter of the axes, which the signal leaves free.
    low, high = upper.get_ylim()
    ticks = [t for t in upper.get_yticks() if low <= t <= high]
    upper.set_yticks(ticks)
    upper.set_ylim(low - 0.45 * (high - low), high)
    lower = upper.inset_axes((0.0, 0.0, 1.0, 0.27), sharex=upper)
    lower.plot(*thinned(result.times, error[0]), color=color, linewidth=0.9)
    lower.axhline(0.0, color=muted(), linewidth=0.8)
    lower.set_ylabel("error")
    lower.margins(x=0.0)
    lower.tick_params(labelbottom=False)
    lower.locator_params(axis="y", nbins=4)
    return upper


def plot_matrix(system: System, ax: Axes | None = None) -> Axes:
    """A beside B, as coloured squares.

    Each is scaled to its own largest magnitude, and the colour is the signed square root of that,
    so that small entries are seen beside large ones.

    Parameters
    ----------
    system : System
        In complex normalisation the magnitudes are drawn.
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        With one image of N × (N + 2) squares, ``ax.images[0]``.

    Examples
    --------
    >>> import resolvent as rv
    >>> from resolvent.plot.hippo import plot_matrix
    >>> plot_matrix(rv.hippo.system("legs", 8)).images[0].get_array().shape
    (8, 10)
    """
    target = axes_or_new(ax, 4.0)
    gap = np.full((system.order, 1), np.nan)
    squares = np.hstack([_root(system.A), gap, _root(system.B)[:, np.newaxis]])
    target.imshow(
        squares, cmap=diverging(), vmin=-1.0, vmax=1.0, interpolation="nearest", aspect="equal"
    )
    target.set_title(measure_label(system.measure))
    target.grid(False)
    for spine in target.spines.values():
        spine.set_visible(False)
    target.set_yticks([])
    target.set_xticks([(system.order - 1) / 2, system.order + 1], ["A", "B"])
    target.tick_params(length=0)
    return target


def _root(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    real = np.abs(values) if np.iscomplexobj(values) else values
    size = np.max(np.abs(real))
    scaled: npt.NDArray[Any] = real / size if size > 0.0 else real
    return np.asarray(np.sign(scaled) * np.sqrt(np.abs(scaled)))


def plot_basis(
    system: System, ax: Axes | None = None, *, functions: int = 5, lags: float = 20.0
) -> Axes:
    """The first functions that the coefficients multiply, on the time axis; now is at the right.

    Parameters
    ----------
    system : System
    ax : Axes, optional
        Where to draw; new axes unless given.
    functions : int
        How many, at most.
    lags : float
        How far back a fading memory is drawn, in units of its window.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import resolvent as rv
    >>> from resolvent.plot.hippo import plot_basis
    >>> len(plot_basis(rv.hippo.system("legt", 8), functions=3).lines)
    3
    """
    if functions < 1:
        raise InvalidArgument(f"functions must be at least 1, got {functions}")
    target = axes_or_new(ax)
    low, high = system._domain()
    if np.isinf(high):
        places = np.linspace(0.0, lags, 600)
        times = -places * system.window
        target.set_xlabel("time before now")
        target.set_xlim(-lags * system.window, 0.0)
    elif system.time_invariant:
        start = np.exp(-lags)
        places = np.geomspace(start, 1.0, 600)
        times = np.log(places) * system.window
        target.set_xlabel("time before now")
        target.set_xlim(-lags * system.window, 0.0)
    else:
        places = np.linspace(low, high, 600)
        share = (places - low) / (high - low)
        whole = system.clock == "scaled"
        times = share if whole else (share - 1.0) * system.window
        target.set_xlabel("time / now" if whole else "time before now")
        target.set_xlim(times[0], times[-1])
    values = system.basis(places)
    for n, row in enumerate(values[:functions]):
        target.plot(times, row.real, color=f"C{n % 6}", linewidth=1.3, label=f"n = {n}")
    target.set_title(measure_label(system.measure))
    return target


def plot_coefficients(
    coefficients: npt.ArrayLike, ax: Axes | None = None, *, times: npt.ArrayLike | None = None
) -> Axes:
    """The way of the coefficients through time, as a picture: time across, order up.

    Parameters
    ----------
    coefficients : array_like, shape (K, N)
        As ``project(u, system, every=...)`` gives them for one signal.
    ax : Axes, optional
        Where to draw; new axes unless given.
    times : array_like, shape (K,), optional
        Their instants, evenly spaced; 1 … K unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> from resolvent.plot.hippo import plot_coefficients
    >>> c = rv.hippo.project(np.sin(np.arange(99.0)), rv.hippo.system("legs", 8), every=3)
    >>> plot_coefficients(c).images[0].get_array().shape
    (8, 33)
    """
    rows = np.asarray(coefficients)
    if rows.ndim != 2 or rows.size == 0:
        raise ShapeMismatch(
            f"coefficients must have shape (K, N), none of them 0; got {rows.shape}"
        )
    instants = np.arange(1.0, rows.shape[0] + 1.0) if times is None else np.asarray(times)
    if instants.shape != rows.shape[:1]:
        raise ShapeMismatch(f"times must have shape {rows.shape[:1]}, got {instants.shape}")
    target = axes_or_new(ax)
    image = target.imshow(
        _root(rows).T,
        cmap=diverging(),
        vmin=-1.0,
        vmax=1.0,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(float(instants[0]), float(instants[-1]), -0.5, rows.shape[1] - 0.5),
    )
    target.grid(False)
    target.set_xlabel("time")
    target.set_ylabel("coefficient")
    bar = target.figure.colorbar(image, ax=target, ticks=[-1.0, -0.5, 0.0, 0.5, 1.0])
    bar.ax.set_yticklabels(["−1", "−¼", "0", "¼", "1"])
    bar.set_label("share of the largest")
    return target
