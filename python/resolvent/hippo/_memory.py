"""Memories: coefficients kept up to date sample by sample."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from operator import index
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    as_real64,
    as_samples,
    integer_parameter,
    name_parameter,
    real_parameter,
)
from resolvent._warnings import IllConditionedWarning, ResolutionWarning, StabilityWarning
from resolvent.hippo._system import System, require_system, to_complex

Rule = Literal["forward", "backward", "bilinear", "bilinear-split", "gbt", "zoh", "exact"]
RULES: tuple[str, ...] = get_args(Rule)

#: Growth of rounding noise from which a rule is called unstable: three digits lost.
_WARN_GROWTH = 1e3

#: Ratio t₁/t₀ of an irregular step from which bilinear's input weight h/t₀ is far off.
_WARN_RATIO = 10.0


class Memory:
    """The coefficients of a stream, kept up to date.

    Sample k holds on [k·step, (k+1)·step); after L samples the time is L·step. Cutting a stream
    into calls in another way changes no bit of the result, nor does the number of threads.

    Parameters
    ----------
    system : System
        From :func:`system` or :func:`derive`.
    rule : str
        - ``"bilinear"`` (default), ``"backward"``, ``"forward"``, ``"gbt"`` with weight `alpha`:
          O(N) per sample.
        - ``"bilinear-split"``: on the scaled clock, with the input averaged over both ends of the
          step: second order and exact for constant signals, where bilinear, in its published
          form, is neither. Prefer it for legs.
        - ``"zoh"``: the exponential, with 1/t frozen at the end of the step on the scaled clock.
        - ``"exact"``: the exponential of the true clock; for legs, lagt, glagt and malmquist the
          coefficients are then exactly the projection of the piecewise-constant signal. Both
          take O(N²) per sample.
    step : float, optional
        Sampling interval in the unit of `system.window`, 1.0 unless told. On the scaled clock it
        changes nothing: LegS has no time scale.
    channels : tuple of int
        Shape of one sample; () for one scalar signal.
    alpha : float
        Weight of gbt in [0, 1]: 0 forward, ½ bilinear(-split), 1 backward.
    dtype : dtype
        float64 or float32, of the computation.
    check_finite : bool
        Refuse NaN and infinity in `update`.

    Warns
    -----
    StabilityWarning
        When the rule amplifies rounding noise by 10³ or more; the warning's `growth` says how much.
    ResolutionWarning
        When a window holds fewer than two samples.
    IllConditionedWarning
        For fout of even order, whose A is singular.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> memory = rv.hippo.Memory(rv.hippo.system("legs", 4), rule="bilinear-split")
    >>> memory.update(np.ones(100))
    >>> memory.coefficients.round(12) + 0.0
    array([1., 0., 0., 0.])
    >>> memory.time
    100.0
    """

    def __init__(
        self,
        system: System,
        *,
        rule: Rule = "bilinear",
        step: float | None = None,
        channels: int | tuple[int, ...] = (),
        alpha: float = 0.5,
        dtype: npt.DTypeLike = np.float64,
        check_finite: bool = True,
    ) -> None:
        self._setup(system, rule, step, _channel_shape(channels), alpha, dtype, check_finite)
        _warn_uncontrolled(system)
        _warn_unresolved(system, self._step)
        _warn_unstable(system, self._rule, self._step, self._alpha, None)

    def _setup(
        self,
        system: System,
        rule: str,
        step: float | None,
        channels: tuple[int, ...],
        alpha: float,
        dtype: npt.DTypeLike,
        check_finite: bool,
    ) -> None:
        self._system = require_system(system)
        self._rule = name_parameter(rule, RULES, "rule")
        self._step = 1.0 if step is None else real_parameter(step, "step")
        self._channels = channels
        self._alpha = real_parameter(alpha, "alpha")
        self._dtype = _real_dtype(dtype)
        self._check_finite = check_finite
        self._count = math.prod(channels)
        self._largest_gap = 0.0 if system.clock == "scaled" else self._step
        self._native = _native_memory(
            system, self._rule, self._alpha, self._step, self._count, self._dtype
        )

    @property
    def system(self) -> System:
        """What is remembered."""
        return self._system

    @property
    def rule(self) -> str:
        """How it is stepped."""
        return self._rule

    @property
    def time(self) -> float:
        """The instant at which the last sample's interval ends; 0.0 at first."""
        return float(self._native.time)

    @property
    def coefficients(self) -> Array:
        """The coefficients now, shape channels + (N,): a new array at each access."""
        out = np.empty((self._count, self._system.order), self._dtype)
        self._native.coefficients(out)
        result = out.reshape(*self._channels, self._system.order)
        return to_complex(result) if self._system._is_complex else result

    def update(self, u: ArrayLike, times: ArrayLike | None = None) -> None:
        """Takes one sample, or a block of them.

        Parameters
        ----------
        u : array_like, shape channels or channels + (L,)
            The sample(s), in time order along the last axis.
        times : array_like, shape () or (L,), optional
            For irregular sampling: the instants at which the samples' intervals end, increasing,
            the first after :attr:`time`.

        Raises
        ------
        ShapeMismatch, InvalidArgument, DtypeError
            The memory is then as it was; so it is after Ctrl-C.
        """
        block, ends = self._checked_block(u, times)
        if ends is not None and ends.size:
            self._warn_irregular(ends)
        self._native.update(block, ends)

    def _warn_irregular(self, ends: Array) -> None:
        """Judges the rule anew when the steps become larger than any before."""
        gap = largest_gap(self._system, self.time, ends)
        if gap <= self._largest_gap:
            return
        self._largest_gap = gap
        # The growth of a stream that is under way is that of regular steps.
        first = ends if self.time == 0.0 else None
        _warn_large_ratio(self._system, self._rule, gap, stacklevel=4)
        _warn_unstable(self._system, self._rule, gap, self._alpha, None, first, stacklevel=4)

    def _checked_block(self, u: ArrayLike, times: ArrayLike | None) -> tuple[Array, Array | None]:
        array = as_samples(u, "u", check_finite=self._check_finite)
        if array.shape == self._channels:
            array = array[..., np.newaxis]
        elif array.shape[:-1] != self._channels or array.ndim == 0:
            raise _core.ShapeMismatch(
                f"u must have shape {self._channels} or {(*self._channels, 'L')}, got {array.shape}"
            )
        length = array.shape[-1]
        with np.errstate(over="ignore"):
            block = np.ascontiguousarray(array.reshape(self._count, length), self._dtype)
        if self._check_finite and block.dtype != array.dtype:
            _core.require_finite(block, "u")
        return block, None if times is None else _checked_times(times, length, self.time)

    def reconstruct(self, times: ArrayLike) -> Array:
        """The remembered signal at some instants; see :func:`reconstruct`."""
        from resolvent.hippo._projection import reconstruct

        return reconstruct(self.coefficients, self._system, times, self.time)

    def reset(self) -> None:
        """Forgets everything and goes back to time 0."""
        self._native.reset()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "arguments": (
                self._system,
                self._rule,
                self._step,
                self._channels,
                self._alpha,
                self._dtype.str,
                self._check_finite,
            ),
            "saved": self._native.save(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._setup(*state["arguments"])
        self._native.restore(*state["saved"])

    def __repr__(self) -> str:
        return (
            f"Memory({self._system.measure!r}, order={self._system.order}, rule={self._rule!r}, "
            f"step={self._step:g}, channels={self._channels}, time={self.time:g})"
        )


def project(
    u: ArrayLike,
    system: System,
    *,
    rule: Rule = "bilinear",
    step: float | None = None,
    every: int | None = None,
    out: Array | None = None,
    alpha: float = 0.5,
    times: ArrayLike | None = None,
    check_finite: bool = True,
) -> Array:
    """The coefficients of a signal, at its end or along the way.

    Parameters
    ----------
    u : array_like, shape (..., L)
        Signals; float32 is computed in float32, everything else in float64. L ≥ 1.
    system : System
        What to remember.
    rule : str
        See :class:`Memory`.
    step : float, optional
        Sampling interval, 1.0 unless told.
    every : int, optional
        Also the way there: the coefficients after every so many samples.
    out : ndarray, optional
        Receives the result: C-contiguous, of the result's shape and dtype. Its contents are
        undefined if the call is interrupted.
    alpha : float
        Weight of gbt.
    times : array_like, shape (L,), optional
        The instants at which the samples' intervals end (irregular sampling); instead of `step`.
    check_finite : bool
        Refuse NaN and infinity.

    Returns
    -------
    ndarray, shape (..., N), or (..., L // every, N)

    Warns
    -----
    StabilityWarning, ResolutionWarning, IllConditionedWarning
        See :class:`Memory`.

    Notes
    -----
    Time O(N) per sample and channel (O(N²) for zoh and exact, and for fous and derived systems).
    Memory besides the result: twice the coefficients of one instant, and O(N) per thread (O(N²)
    where the time is). Channels are spread over threads.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> u = np.sin(np.linspace(0, 6, 400))
    >>> c = rv.hippo.project(u, rv.hippo.system("legs", 16))
    >>> s = rv.hippo.reconstruct(c, rv.hippo.system("legs", 16), [100.5], now=400)
    >>> bool(abs(s[0] - u[100]) < 0.01)
    True
    """
    require_system(system)
    signal = checked_signal(u, check_finite=check_finite)
    name_parameter(rule, RULES, "rule")
    batch, length = signal.shape[:-1], signal.shape[-1]
    interval, ends = sampling(length, step, times)
    weight = real_parameter(alpha, "alpha")
    rows = signal.reshape(math.prod(batch), length)
    native = _native_memory(system, rule, weight, interval, rows.shape[0], signal.dtype)
    shape, stride = _result_shape(batch, length, every, system.order)
    is_complex = system._is_complex
    dtype = np.result_type(signal.dtype, np.complex64) if is_complex else signal.dtype
    target = None if out is None else _core.checked_out(out, list(shape), np.dtype(dtype))
    if target is not None and np.may_share_memory(target, signal):
        raise _core.InvalidArgument("out must not share memory with u")
    result: Array = np.empty(shape, signal.dtype) if target is None or is_complex else target
    _warn_uncontrolled(system)
    _warn_unresolved(system, interval if ends is None else float(np.diff(ends, prepend=0.0).max()))
    gap = interval
    if ends is not None:
        gap = largest_gap(system, 0.0, ends)
        _warn_large_ratio(system, rule, gap)
    _warn_unstable(system, rule, gap, weight, length, ends)
    native.record(rows, ends, stride, result)
    if not is_complex:
        return result
    if target is None:
        return to_complex(result)
    target[...] = to_complex(result)
    return target


def _result_shape(
    batch: tuple[int, ...], length: int, every: int | None, order: int
) -> tuple[tuple[int, ...], int]:
    if every is None:
        return (*batch, order), length
    stride = integer_parameter(every, "every")
    if stride < 1:
        raise _core.InvalidArgument(f"every must be at least 1, got {stride}")
    return (*batch, length // stride, order), stride


def checked_signal(u: ArrayLike, *, check_finite: bool = True) -> Array:
    """A signal (…, L) with L ≥ 1."""
    signal = as_samples(u, "u", check_finite=check_finite)
    if signal.ndim == 0 or signal.shape[-1] == 0:
        raise _core.ShapeMismatch(f"u must have shape (..., L) with L >= 1, got {signal.shape}")
    return signal


def _checked_times(times: ArrayLike, length: int, start: float = 0.0) -> Array:
    """Instants that increase from `start`, one per sample."""
    ends = np.atleast_1d(as_real64(times, "times"))
    if ends.shape != (length,):
        raise _core.ShapeMismatch(f"times must have shape ({length},), got {ends.shape}")
    gaps = np.diff(ends, prepend=start)
    if np.any(gaps <= 0.0):
        i = int(np.argmax(gaps <= 0.0))
        before = start if i == 0 else ends[i - 1]
        raise _core.InvalidArgument(
            f"times must increase from {start:g}, got times[{i}] = {ends[i]} after {before}"
        )
    return ends


def sampling(
    length: int, step: float | None, times: ArrayLike | None
) -> tuple[float, Array | None]:
    """The checked (first) interval, and for irregular sampling the checked ends of all."""
    if times is not None and step is not None:
        raise _core.InvalidArgument(f"step = {step!r} and times cannot both be given")
    if times is not None:
        ends = _checked_times(times, length)
        return float(ends[0]), ends
    interval = 1.0 if step is None else real_parameter(step, "step")
    if not (np.isfinite(interval) and interval > 0.0):
        raise _core.InvalidArgument(f"step must be positive and finite, got {interval}")
    return interval, None


def _channel_shape(channels: int | tuple[int, ...]) -> tuple[int, ...]:
    several = channels if isinstance(channels, Iterable) else (channels,)
    try:
        shape = tuple(index(c) for c in several)
    except TypeError:
        raise _core.DtypeError(
            f"channels must be an integer or a tuple of integers, got {channels!r}"
        ) from None
    if any(c < 0 for c in shape):
        raise _core.InvalidArgument(f"channels must not be negative, got {channels!r}")
    return shape


def _real_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    result = np.dtype(dtype)
    if result not in (np.float32, np.float64):
        raise _core.DtypeError(f"dtype must be float32 or float64, got {result}")
    return result


def _native_memory(
    system: System, rule: str, alpha: float, step: float, channels: int, dtype: np.dtype[Any]
) -> _core.hippo.Memory32 | _core.hippo.Memory64:
    kind = _core.hippo.Memory32 if dtype == np.float32 else _core.hippo.Memory64
    return kind(system._real._native, rule, alpha, step, channels)


# ---- warnings -----------------------------------------------------------------------------------


def _warn_uncontrolled(system: System) -> None:
    if system.measure != "fout" or system.order % 2 == 1:
        return
    warnings.warn(
        IllConditionedWarning(
            f"measure 'fout' of even order {system.order}: the last cosine lacks its sine, so A is "
            "singular and that coefficient holds nothing; take an odd order",
            math.inf,
        ),
        stacklevel=3,
    )


def _warn_unresolved(system: System, step: float) -> None:
    if system.clock != "window" or 2.0 * step <= system.window:
        return
    samples = system.window / step
    warnings.warn(
        ResolutionWarning(
            f"the window {system.window:g} holds {samples:.3g} samples of step {step:g}: "
            "give window and step in the same unit of time",
            samples,
        ),
        stacklevel=3,
    )


def largest_gap(system: System, start: float, ends: Array) -> float:
    """The largest step from `start` on: its length, or on the scaled clock its ends' ratio."""
    before = np.concatenate([[start], ends[:-1]])
    if system.clock != "scaled":
        return float((ends - before).max())
    late = before > 0.0
    return float((ends[late] / before[late]).max(initial=1.0))


def _warn_large_ratio(system: System, rule: str, ratio: float, *, stacklevel: int = 3) -> None:
    """For irregular sampling: bilinear's input weight h/t₀ on a step from t₀ to ratio·t₀."""
    if system.clock != "scaled" or rule != "bilinear" or ratio <= _WARN_RATIO:
        return
    warnings.warn(
        StabilityWarning(
            "rule 'bilinear' weighs a sample by h/t at the start of its step, "
            f"{ratio:.3g} times h/t at the end: take 'bilinear-split', 'backward' or 'exact'",
            ratio,
        ),
        stacklevel=stacklevel,
    )


def _warn_unstable(
    system: System,
    rule: str,
    step: float,
    alpha: float,
    length: int | None,
    ends: Array | None = None,
    *,
    stacklevel: int = 3,
) -> None:
    """`step` is the largest one; `ends` are the instants of irregular sampling from time 0."""
    irregular = ends if system.clock == "scaled" else None
    growth = noise_growth(system, rule, step, alpha=alpha, ends=irregular, length=length)
    if growth < _WARN_GROWTH:
        return
    warnings.warn(
        StabilityWarning(
            f"rule {rule!r} amplifies rounding noise by {growth:.3g} for measure "
            f"{system.measure!r}, order {system.order}; 'backward' does not",
            growth,
        ),
        stacklevel=stacklevel,
    )


def noise_growth(
    system: System,
    rule: str,
    step: float,
    *,
    alpha: float = 0.5,
    ends: Array | None = None,
    length: int | None = None,
) -> float:
    """By how much the homogeneous recurrence amplifies a random start, at most.

    The rule itself is run on zero input, for up to 4N + 256 steps and some 10⁷ operations; where
    it still grows geometrically at the end, the rate is carried on to `length`. Not run where it
    cannot tell: for the exponentials, and for the rules that contract on every system with a
    dissipative A (all but forward and gbt below ½).
    """
    contracting = rule not in ("forward", "gbt") or (rule == "gbt" and alpha >= 0.5)
    dense = system.measure in ("derived", "fous")
    if rule in ("zoh", "exact") or (contracting and not dense):
        return 1.0
    affordable = 32 + int(1e7 / system.order ** (2 if dense else 1))
    horizon = min(4 * system.order + 256, affordable)
    total = horizon if length is None else length
    steps = min(horizon, total if ends is None else ends.size)
    native = _native_memory(system, rule, alpha, step, 1, np.dtype(np.float64))
    state, _, _ = native.save()
    start = np.random.default_rng(0).choice([-1.0, 1.0], size=state.shape)
    native.restore(start, 1 if ends is None else 0, 0.0 if ends is None else float(ends[0]))
    logs = _log_norms(native, system.order, steps - 1, ends)
    peak = float(logs.max())
    half = len(logs) // 2
    rate = float(logs[-1] - logs[half]) / max(1, len(logs) - 1 - half)
    if total > steps and rate > 1e-6 and system.clock != "scaled":
        peak = max(peak, float(logs[-1]) + rate * (total - steps))
    return math.exp(min(peak, 700.0))


def _log_norms(native: Any, order: int, steps: int, ends: Array | None) -> Array:
    """ln(norm/first norm) of the coefficients after each of some steps of zero input."""
    blocks: list[Array] = [np.zeros(1)]
    start = np.empty((1, order))
    native.coefficients(start)
    first = math.log(float(np.linalg.norm(start)))
    carried = 0.0
    for done in range(0, steps, 16):
        count = min(16, steps - done)
        path = np.empty((count, order))
        block = None if ends is None else ends[1 + done : 1 + done + count]
        native.record(np.zeros((1, count)), block, 1, path)
        norms = np.linalg.norm(path, axis=1)
        blocks.append(np.log(norms + np.finfo(np.float64).tiny) - first + carried)
        grown = float(blocks[-1][-1]) - carried
        if grown > 200.0:  # long before it overflows
            state, samples, base = native.save()
            native.restore(state * math.exp(-grown), samples, base)
            carried += grown
    return np.concatenate(blocks)
