"""RWKV's weighted mean of values, whose weights decay with time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike
from resolvent.attention.linear._common import (
    Arguments,
    Form,
    Outputs,
    chunk_parameter,
    form_parameter,
    gather,
    outputs,
    refuses_overflow,
    require_no_batch,
    require_range,
    schedule,
    start,
)

__all__ = ["RwkvGradient", "rwkv", "rwkv_vjp"]

#: Entries of the weights that the parallel form holds at a time.
_ENTRIES = 2**20


class _Rwkv:
    """Checked arguments, as rows of the batch."""

    def __init__(
        self,
        w: ArrayLike,
        u: ArrayLike,
        k: ArrayLike,
        v: ArrayLike,
        form: object,
        chunk: object,
        initial: ArrayLike | None,
    ) -> None:
        self.form, self.chunk = form_parameter(form), chunk_parameter(chunk)
        self.a: Arguments = gather({
            "w": (w, "c"), "u": (u, "c"), "k": (k, "Lc"), "v": (v, "Lc"),
            "initial": (initial, "3c"),
        })  # fmt: skip
        require_no_batch(self.a, "w", "u")
        require_range(self.a.arrays["w"], "w", self.a.arrays["w"] >= 0, "at least 0")
        self.w, self.u = self.a.working("w"), self.a.working("u")
        self.k, self.v = self.a.all_rows("k"), self.a.all_rows("v")
        self._require_sums()
        if "initial" in self.a.arrays:
            _require_state(self.a.arrays["initial"])
        self.start = start(self.a, "3c")

    def _require_sums(self) -> None:
        """u + k, and differences of two of them, must be numbers."""
        largest = max(float(np.max(np.abs(x), initial=0.0)) for x in (self.u, self.k))
        limit = float(np.finfo(self.a.dtype).max) / 4.0
        if largest > limit:
            raise _core.InvalidArgument(
                f"k and u must be at most {limit:.3g} in magnitude, got {largest:.3g}"
            )

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array, Array]:
        """As the compiled recurrences take them."""
        return self.w, self.u, self.k, self.v, self.start

    def run(self) -> tuple[Array, Array]:
        if self.form == "parallel":
            return _Parallel(self).run()
        options = schedule(self.form, self.chunk, self.a.sizes["L"])
        return _core.attention.wkv(*self.arrays, *options)

    def adjoint(self, g: Array) -> tuple[Array, ...]:
        """By w, u, k, v and the first state."""
        if self.form == "parallel":
            return _Parallel(self).adjoint(g)
        options = schedule(self.form, self.chunk, self.a.sizes["L"])
        return _core.attention.wkv_adjoint(*self.arrays, g, *options)


def _require_state(state: Array) -> None:
    """A denominator is positive, or it and the numerator are 0."""
    numerator, denominator = state[..., 0, :], state[..., 1, :]
    sound = np.ones(state.shape, bool)
    sound[..., 1, :] = (denominator > 0) | ((denominator == 0) & (numerator == 0))
    require_range(
        state, "initial", sound, "a state whose denominator is positive, or 0 with its numerator"
    )


class _Weights(NamedTuple):
    """Normalised weights of some outputs, from `first` on: (H, T, L, c) and (H, T, c)."""

    first: int
    keys: Array
    past: Array  # of the numerator and denominator before the first step
    y: Array
    lags: Array  # (T, L): what multiplies −w in the exponent of a key

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + self.y.shape[1])

    @property
    def past_lags(self) -> Array:
        """(T, 1): the same for the past."""
        return np.arange(self.rows.start, self.rows.stop)[:, np.newaxis]


class _Parallel:
    """All pairs of steps, some rows of them at a time."""

    def __init__(self, model: _Rwkv) -> None:
        self.model = model
        self.numerator, self.denominator, self.log = model.start.swapaxes(0, 1)

    def run(self) -> tuple[Array, Array]:
        y = np.empty_like(self.model.v)
        for block in self.blocks():
            y[:, block.rows] = block.y
        return y, self._last()

    def blocks(self) -> Iterator[_Weights]:
        heads, length, channels = self.model.k.shape
        size = max(1, _ENTRIES // max(1, heads * length * channels))
        for first in range(0, length, size):
            yield self._weights(first, min(length, first + size))

    def _weights(self, first: int, end: int) -> _Weights:
        m = self.model
        t, i = np.arange(first, end)[:, np.newaxis], np.arange(m.k.shape[1])
        lags = np.maximum(t - 1 - i, 0).astype(m.k.dtype)
        with np.errstate(over="ignore"):
            logits = m.k[:, np.newaxis] - lags[..., np.newaxis] * m.w
            past_logits = self.log[:, np.newaxis] - t.astype(m.k.dtype) * m.w
        logits[:, i == t] += np.broadcast_to(m.u, m.k[:, first:end].shape)
        logits[:, i > t] = -np.inf
        largest = logits.max(axis=2)
        held = np.broadcast_to(self.denominator[:, np.newaxis] > 0, past_logits.shape)
        np.maximum(largest, past_logits, out=largest, where=held)
        keys = np.exp(logits - largest[:, :, np.newaxis])
        # An empty past has derivatives all the same, which may be large.
        with np.errstate(over="ignore"):
            past = np.exp(past_logits - largest)
        counted = np.where(held, past, 0)
        total = keys.sum(axis=2) + counted * self.denominator[:, np.newaxis]
        numerator = np.einsum("htic,hic->htc", keys, m.v)
        y = (numerator + counted * self.numerator[:, np.newaxis]) / total
        return _Weights(first, keys / total[:, :, np.newaxis], past / total, y, lags)

    def _last(self) -> Array:
        m = self.model
        length = m.k.shape[1]
        held = self.denominator > 0
        lags = np.arange(length - 1, -1, -1, dtype=m.k.dtype)[:, np.newaxis]
        with np.errstate(over="ignore"):
            past = np.where(held, self.log - length * m.w, -np.inf)
            logits = m.k - lags * m.w
        largest = np.maximum(logits.max(axis=1, initial=-np.inf), past)
        if length == 0:  # where nothing is held either
            largest = np.where(held, largest, 0)
        keys, before = np.exp(logits - largest[:, np.newaxis]), np.exp(past - largest)
        numerator = (keys * m.v).sum(axis=1) + before * self.numerator
        denominator = keys.sum(axis=1) + before * self.denominator
        return np.stack([numerator, denominator, largest], axis=1)

    def adjoint(self, g: Array) -> tuple[Array, ...]:
        """The gradient by the logit of value i in output t is g_t times weight times v_i − y_t."""
        m = self.model
        by_w, by_u = np.zeros_like(m.w), np.zeros_like(m.u)
        by_k, by_v, by_start = np.zeros_like(m.k), np.zeros_like(m.v), np.zeros_like(m.start)
        for block in self.blocks():
            upstream = g[:, block.rows]
            shares = upstream[:, :, np.newaxis] * block.keys
            by_v += shares.sum(axis=1)
            shares *= m.v[:, np.newaxis] - block.y[:, :, np.newaxis]
            by_k += shares.sum(axis=1)
            own = np.arange(block.rows.start, block.rows.stop)
            by_u += shares[:, own - block.first, own].sum(axis=(0, 1))
            by_w -= np.einsum("htic,ti->c", shares, block.lags)
            past = np.where(upstream == 0, 0, upstream * block.past)
            numerator, denominator = past.sum(axis=1), -(past * block.y).sum(axis=1)
            by_start[:, 0] += numerator
            by_start[:, 1] += denominator
            held = np.where(self.denominator[:, np.newaxis] > 0, past, 0)
            by_past = held * (
                self.numerator[:, np.newaxis] - block.y * self.denominator[:, np.newaxis]
            )
            by_start[:, 2] += by_past.sum(axis=1)
            by_w -= (by_past * block.past_lags).sum(axis=(0, 1))
        return by_w, by_u, by_k, by_v, by_start


@refuses_overflow
def rwkv(
    w: ArrayLike,
    u: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
    return_state: bool = False,
) -> Outputs:
    """RWKV-4's wkv, a mean of values: y_t = (Σ_{i<t} e^{−(t−1−i)w + k_i}v_i + e^{u+k_t}v_t)/d_t.

    d_t is the same sum with v = 1; every channel by itself.

    Parameters
    ----------
    w : array_like, shape (c,)
        Decays, at least 0.
    u : array_like, shape (c,)
        What the log-weight of the newest value has besides its key.
    k, v : array_like, shape (..., L, c)
        Keys and values. Leading axes broadcast, with those of `initial` too.
    form : {"chunked", "recurrent", "parallel"}
        "recurrent": step by step. "chunked": the same where there are at least 4 groups of 64
        bytes of channels; with fewer of them, chunks run side by side, twice: for their sums and,
        from the states at their borders, for the outputs. "parallel": all pairs of steps, quadratic
        in L.
    chunk : int
        Steps of a chunk, at least 1.
    initial : array_like, shape (..., 3, c), optional
        The state before the first step: numerator and denominator over e^m, and m. A state whose
        numerator and denominator are 0 is empty, whatever its m; so it is unless given.
    return_state : bool
        Also return the state after the last step, in which m is the largest log-weight so far.

    Returns
    -------
    ndarray, shape (..., L, c)
        The outputs, float32 where `k` and `v` are; with `return_state` a tuple of them and the
        state (..., 3, c). All weights are relative to the largest one so far, so that no key is too
        large or too small. Error about eps times the largest abs(v), times the number of terms and
        the largest of abs(k) + abs(u) + w·lag among weights that matter. Two exponentials for each
        step and channel and O(c) memory, O(c L/chunk) where chunks run side by side; "parallel": L²
        exponentials for each channel, some 2²⁰ weights (or those of one step) at a time.

    Raises
    ------
    InvalidArgument
        For a negative `w`, an `initial` with a denominator that is no sum of weights, and for NaN
        and infinity, with the place.

    References
    ----------
    Peng et al., "RWKV: Reinventing RNNs for the Transformer Era", 2023, arXiv:2305.13048.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> k = np.full((3, 1), 1e4)
    >>> rv.attention.linear.rwkv([np.log(2.0)], [0.0], k, [[0.0], [0.0], [1.0]])
    array([[0. ],
           [0. ],
           [0.4]])
    """
    model = _Rwkv(w, u, k, v, form, chunk, initial)
    return outputs(model.a, *model.run(), return_state)


class RwkvGradient(NamedTuple):
    """Gradients of Σ g∘y by the arguments of :func:`rwkv`, in their shapes."""

    w: Array
    u: Array
    k: Array
    v: Array
    initial: Array


@refuses_overflow
def rwkv_vjp(
    w: ArrayLike,
    u: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    g: ArrayLike,
    *,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
) -> RwkvGradient:
    """The adjoint of :func:`rwkv`: gradients of Σ g∘y.

    Parameters
    ----------
    w, u, k, v
        As there.
    g : array_like, shape (..., L, c)
        The gradient by the outputs.
    form, chunk, initial
        As there.

    Returns
    -------
    RwkvGradient
        Added up over broadcast axes; `initial` is that by the zeros if it was not given, which is
        the larger, the smaller the keys are. The adjoint has a largest log-weight of its own, so
        that it is as stable as the outputs. "recurrent" and "chunked" keep the states at the
        borders of chunks, O(c L/chunk), recompute those between and take nine exponentials a step;
        "parallel" is quadratic.

    Examples
    --------
    >>> import resolvent as rv
    >>> k, v, g = [[0.0], [0.0]], [[0.0], [1.0]], [[0.0], [1.0]]
    >>> rv.attention.linear.rwkv_vjp([0.0], [0.0], k, v, g).v
    array([[0.5],
           [0.5]])
    """
    model = _Rwkv(w, u, k, v, form, chunk, initial)
    a = model.a
    by_w, by_u, by_k, by_v, by_start = model.adjoint(a.upstream(g, "Lc"))
    return RwkvGradient(
        by_w,
        by_u,
        a.gradient("k", by_k),
        a.gradient("v", by_v),
        a.gradient("initial", by_start),
    )
