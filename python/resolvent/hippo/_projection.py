"""From coefficients back to signals, and the exact projection that rules are measured against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_number, as_real64, narrowed, real_parameter
from resolvent._html import table
from resolvent.hippo._memory import Rule, checked_signal, project, sampling
from resolvent.hippo._system import System, real_signal_coefficients, require_system, to_complex

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def reconstruct(coefficients: ArrayLike, system: System, times: ArrayLike, now: float) -> Array:
    """The signal that coefficients stand for.

    Parameters
    ----------
    coefficients : array_like, shape (..., N)
        As :func:`project` gives them.
    system : System
        Their system.
    times : array_like, shape (K,)
        Instants: in [0, now] for the whole past (legs, fous), in [now − window, now] for a window,
        up to now for a fading memory.
    now : float
        The time of the coefficients: samples × step.

    Returns
    -------
    ndarray, shape (..., K)
        Σ_n c_n g_n. Error about N eps ‖c‖; O(N) per value, without a table of all of them.

    Examples
    --------
    >>> import resolvent as rv
    >>> s = rv.hippo.system("legs", 2, normalization="legendre")
    >>> rv.hippo.reconstruct([1.0, 0.5], s, [0.0, 5.0, 10.0], now=10.0)
    array([0.5, 1. , 1.5])
    """
    require_system(system)
    given = system._checked(as_number(coefficients, "coefficients"), "coefficients")
    at = as_real64(times, "times")
    if at.ndim != 1:
        raise _core.ShapeMismatch(f"times must have shape (K,), got {at.shape}")
    instant = real_parameter(now, "now")
    if not np.isfinite(instant) or (system.clock == "scaled" and instant <= 0.0):
        raise _core.InvalidArgument(
            f"now must be finite, and positive on the scaled clock; got {instant}"
        )
    values = given
    if system._is_complex:
        values = real_signal_coefficients(given.astype(np.complex128, copy=False))
    elif np.iscomplexobj(given):
        raise _core.DtypeError(
            f"coefficients must be real for normalization {system.normalization!r}, "
            f"got {given.dtype}"
        )
    values = values.astype(np.float64, copy=False)
    if system._derivation is not None:
        places = system._derivation.positions(at, instant, system.window)
        result = values @ system._derivation.basis(places)
    else:
        native = system._real._native
        result = native.reconstruct(values, native.positions(at, instant))
    return narrowed(result, given.real)


def optimal(
    u: ArrayLike,
    system: System,
    *,
    at: ArrayLike | None = None,
    step: float | None = None,
    times: ArrayLike | None = None,
    check_finite: bool = True,
) -> Array:
    """Exact coefficients of the piecewise-constant signal, without time stepping.

    Parameters
    ----------
    u : array_like, shape (..., L)
        Sample k holds on [k·step, (k+1)·step); the signal is 0 before and after.
    system : System
        What to project on.
    at : float or array_like, shape (K,), optional
        The instant(s) at which the past is looked at; the end of the signal unless told.
    step : float, optional
        Sampling interval, 1.0 unless told.
    times : array_like, shape (L,), optional
        The instants at which the samples' intervals end, instead of `step`.
    check_finite : bool
        Refuse NaN and infinity.

    Returns
    -------
    ndarray, shape (..., N), or (..., K, N) for an array `at`
        The L² projection of the remembered past, from the antiderivatives of the basis functions
        at the jumps of u. Error about eps × total variation of u. O(N L) per instant;
        malmquist O(N² L), with an error that grows with L; derived systems integrate cell by
        cell in Python.

    Notes
    -----
    For legs, and for fading memories (lagt, glagt, malmquist, legs read as invariant), rule
    "exact" gives the same numbers. For windows (legt, fout) it does not: their equation closes the
    unknown value at the far end by an approximation, and that error is the window's own.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.hippo.optimal([0.0, 1.0], rv.hippo.system("legs", 2))
    array([0.5      , 0.4330127])
    """
    require_system(system)
    signal = checked_signal(u, check_finite=check_finite)
    edges = _edges(signal.shape[-1], step, times)
    instants = np.array(edges[-1]) if at is None else as_real64(at, "at")
    if instants.ndim > 1:
        raise _core.ShapeMismatch(f"at must have shape () or (K,), got {instants.shape}")
    if instants.size and instants.min() <= 0.0:
        raise _core.InvalidArgument(f"at must be positive, got {instants.min()}")
    looked = np.atleast_1d(instants)
    values = np.ascontiguousarray(signal, dtype=np.float64)
    if system._derivation is not None:
        result = system._derivation.optimal(values, edges, looked, system.window)
    else:
        result = system._real._native.optimal(values, edges, looked)
    if instants.ndim == 0:
        result = result[..., 0, :]
    if system._is_complex:
        result = to_complex(result)
    return narrowed(result, signal)


def _edges(length: int, step: float | None, times: ArrayLike | None) -> Array:
    """The instants that bound the samples' intervals, from 0."""
    interval, ends = sampling(length, step, times)
    if ends is not None:
        return np.concatenate([[0.0], ends])
    return interval * np.arange(length + 1, dtype=np.float64)


@dataclass(frozen=True)
class ReconstructionError:
    """How well a memory holds a signal; from :func:`reconstruction_error`.

    Attributes
    ----------
    times : ndarray, shape (K,)
        The middles of the remembered samples.
    signal, reconstruction, error : ndarray, shape (..., K)
        The samples, what the memory makes of them, and the difference.
    coefficients : ndarray, shape (..., N)
        What was reconstructed from.
    rmse : float
        Root mean square of `error`.
    optimal_rmse : float
        The same for the exact projection: what no rule can improve.
    snr_db : float
        Signal power over error power in decibels.
    system : System
    rule : str
    """

    times: Array
    signal: Array
    reconstruction: Array
    error: Array
    coefficients: Array
    rmse: float
    optimal_rmse: float
    snr_db: float
    system: System
    rule: str

    def __repr__(self) -> str:
        return (
            f"ReconstructionError({self.system.measure!r}, order={self.system.order}, "
            f"rule={self.rule!r}, rmse={self.rmse:.3g}, optimal_rmse={self.optimal_rmse:.3g}, "
            f"snr_db={self.snr_db:.1f})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("measure", self.system.measure),
            ("order", str(self.system.order)),
            ("rule", self.rule),
            ("RMSE", f"{self.rmse:.4g}"),
            ("RMSE of the exact projection", f"{self.optimal_rmse:.4g}"),
            ("SNR", f"{self.snr_db:.1f} dB"),
        ]
        return table("Reconstruction error", rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws signal, reconstruction and error; returns the axes."""
        from resolvent.plot.hippo import plot_reconstruction_error

        return plot_reconstruction_error(self, ax)


def reconstruction_error(
    u: ArrayLike,
    system: System,
    *,
    rule: Rule = "bilinear",
    step: float | None = None,
    alpha: float = 0.5,
    times: ArrayLike | None = None,
    coefficients: ArrayLike | None = None,
    check_finite: bool = True,
) -> ReconstructionError:
    """Projects a signal, reconstructs it and compares, over what the system remembers.

    Parameters
    ----------
    u : array_like, shape (..., L)
        Signals.
    system : System
        The memory. For a window only the samples inside it are compared.
    rule, step, alpha, times, check_finite
        See :func:`project`.
    coefficients : array_like, shape (..., N), optional
        The coefficients at the end of the signal, if a memory has computed them already; `rule`
        then only says how.

    Returns
    -------
    ReconstructionError
        With `.plot()`.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> u = np.sin(np.linspace(0, 6, 500))
    >>> rv.hippo.reconstruction_error(u, rv.hippo.system("legs", 12)).rmse < 0.01
    True
    """
    require_system(system)
    signal = checked_signal(u, check_finite=check_finite)
    edges = _edges(signal.shape[-1], step, times)
    now = float(edges[-1])
    if coefficients is None:
        held = project(
            signal, system, rule=rule, step=step, alpha=alpha, times=times, check_finite=False
        )
    else:
        held = system._checked(as_number(coefficients, "coefficients"), "coefficients")
    exact = optimal(signal, system, step=step, times=times, check_finite=False)
    middles = 0.5 * (edges[1:] + edges[:-1])
    inside = middles >= now - system.window if system.clock == "window" else middles > 0.0
    if not inside.any():
        raise _core.InvalidArgument(
            f"window must hold the middle of at least one sample to compare, got {system.window:g}"
        )
    middles, kept = middles[inside], signal[..., inside]
    reconstruction = reconstruct(held, system, middles, now)
    error = reconstruction - kept
    best = reconstruct(exact, system, middles, now) - kept
    rmse = _rms(error)
    power = _rms(kept)
    return ReconstructionError(
        times=middles,
        signal=kept,
        reconstruction=reconstruction,
        error=error,
        coefficients=held,
        rmse=rmse,
        optimal_rmse=_rms(best),
        snr_db=_decibels(power, rmse),
        system=system,
        rule=rule,
    )


def _decibels(signal: float, error: float) -> float:
    """20 log₁₀(signal/error); +∞ without error, −∞ without signal."""
    if error == 0.0:
        return math.inf
    return 20.0 * math.log10(signal / error) if signal != 0.0 else -math.inf


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
