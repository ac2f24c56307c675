"""Convolutions and scans."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, name_parameter, summed_to
from resolvent.ssm._batch import (
    all_rows,
    as_finite,
    as_sequence,
    broadcast_shapes,
    few_rows,
    same_kind,
)

__all__ = ["METHODS", "Method", "convolve", "convolve_adjoint", "scan", "scan_vjp"]

Method = Literal["auto", "fft", "direct"]
METHODS: tuple[str, ...] = get_args(Method)


def convolve(u: ArrayLike, kernel: ArrayLike, *, method: Method = "auto") -> Array:
    """The causal convolution y_k = Σ_{j ≤ k} K_j u_{k−j}.

    Parameters
    ----------
    u : array_like, shape (..., L)
        The input.
    kernel : array_like, shape (..., M)
        Taps beyond L have no effect. Leading axes broadcast.
    method : {"auto", "fft", "direct"}
        "direct" sums, "fft" transforms, "auto" takes what needs fewer operations.

    Returns
    -------
    ndarray, shape (..., L)
        float32 where both are, complex where either is. "direct": O(LM), error of each entry
        M eps Σ|K||u|. "fft": zero-padded to a length ≥ L + M − 1 with small prime factors, or in
        blocks where M is much shorter than L; O(L log M), error about eps log₂(L + M) ‖K‖₂ ‖u‖₂,
        the same for all entries of a row, small ones too.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.ssm.convolve([1.0, 2.0, 3.0], [1.0, 0.5])
    array([1. , 2.5, 4. ])
    """
    name_parameter(method, METHODS, "method")
    signal, taps = same_kind(as_sequence(u, "u", "L"), as_sequence(kernel, "kernel", "M"))
    batch = broadcast_shapes(u=signal.shape[:-1], kernel=taps.shape[:-1])
    rows = _core.ssm.convolve(all_rows(signal, batch), few_rows(taps, batch), method)
    result: Array = rows.reshape(*batch, signal.shape[-1])
    return result


def convolve_adjoint(g: ArrayLike, kernel: ArrayLike, *, method: Method = "auto") -> Array:
    """The adjoint of u ↦ convolve(u, kernel): ū_j = Σ_{k ≥ j} conj(K_{k−j}) g_k.

    Parameters
    ----------
    g : array_like, shape (..., L)
    kernel, method
        As in :func:`convolve`, whose cost and accuracy it has.

    Returns
    -------
    ndarray, shape (..., L)

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.ssm.convolve_adjoint([0.0, 0.0, 1.0], [1.0, 0.5])
    array([0. , 0.5, 1. ])
    """
    upstream = as_sequence(g, "g", "L")
    taps = as_sequence(kernel, "kernel", "M").conj()
    backwards = convolve(upstream[..., ::-1], taps, method=method)
    return np.ascontiguousarray(backwards[..., ::-1])


def scan(a: ArrayLike, b: ArrayLike, x0: ArrayLike | None = None) -> Array:
    """x_k = a_k x_{k−1} + b_k along the last axis: a diagonal linear recurrence.

    Parameters
    ----------
    a : array_like, shape (..., L) or (..., 1)
        Factors; one for all k in the second form. Leading axes broadcast.
    b : array_like, shape (..., L)
    x0 : array_like, shape (...), optional
        The value before; 0 unless given.

    Returns
    -------
    ndarray, shape (..., L)
        Every x_k. Short rows run side by side; long ones are cut into chunks whose affine maps are
        composed first (Blelloch 1990), so that one row is spread over threads too. No bit depends
        on the number of threads. Error of x_k about k eps times the sum of the absolute terms. O(L)
        per row.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.ssm.scan([0.5], [1.0, 1.0, 1.0])
    array([1.  , 1.5 , 1.75])
    """
    factors, inputs, start, batch = _scan_arguments(a, b, x0)
    rows = _core.ssm.scan(
        all_rows(factors, batch), all_rows(inputs, batch), all_rows(start, batch, 0), False
    )
    result: Array = rows.reshape(*batch, inputs.shape[-1])
    return result


def scan_vjp(
    a: ArrayLike, x: ArrayLike, g: ArrayLike, x0: ArrayLike | None = None
) -> tuple[Array, Array, Array]:
    """The adjoint of :func:`scan`: gradients by `a`, `b` and `x0`.

    Parameters
    ----------
    a, x0
        As in :func:`scan`.
    x : array_like, shape (..., L)
        What it returned.
    g : array_like, shape (..., L)
        The gradient of a real function of x.

    Returns
    -------
    tuple of ndarray
        By `a`, in its shape; by `b`, in the shape of `x`; by `x0`, in its shape. With
        w_k = g_k + conj(a_{k+1}) w_{k+1}, a scan backwards: b̄ = w, ā_k = conj(x_{k−1}) w_k and
        x̄0 = conj(a_0) w_0. Conventions as in :func:`cauchy_vjp`.

    Examples
    --------
    >>> import resolvent as rv
    >>> x = rv.ssm.scan([0.5], [1.0, 1.0, 1.0])
    >>> rv.ssm.scan_vjp([0.5], x, [0.0, 0.0, 1.0])
    (array([2.]), array([0.25, 0.5 , 1.  ]), array(0.125))
    """
    upstream = as_sequence(g, "g", "L")
    values = as_sequence(x, "x", "L")
    if upstream.shape != values.shape:
        raise _core.ShapeMismatch(
            f"g must have the shape of x, {values.shape}, got {upstream.shape}"
        )
    factors, inputs, start, batch = _scan_arguments(a, upstream, x0)
    factors, inputs, start, values = same_kind(factors, inputs, start, values)
    count = inputs.shape[-1]
    # The factor that takes w_{k+1} to w_k is a_{k+1}.
    shifted = factors.conj()
    if factors.shape[-1] == count and count > 1:
        shifted = np.concatenate([shifted[..., 1:], np.zeros_like(shifted[..., :1])], axis=-1)
    rows = _core.ssm.scan(
        all_rows(shifted, batch),
        all_rows(inputs, batch),
        np.zeros(int(np.prod(batch)), inputs.dtype),
        True,
    )
    by_b: Array = rows.reshape(*batch, count)
    before = np.concatenate(
        [np.broadcast_to(start, batch)[..., np.newaxis], values[..., :-1]], axis=-1
    )
    by_factor = before.conj() * by_b
    if factors.shape[-1] == 1 and count != 1:
        by_factor = by_factor.sum(axis=-1, keepdims=True)
    by_start = factors[..., 0].conj() * by_b[..., 0] if count else np.zeros(batch, by_b.dtype)
    flat = by_factor.reshape(math.prod(batch), by_factor.shape[-1])
    by_a = summed_to(flat, batch, factors.shape)
    given = batch if x0 is None else start.shape
    return by_a, by_b, summed_to(np.reshape(by_start, (-1,)), batch, given)


def _scan_arguments(
    a: ArrayLike, b: ArrayLike, x0: ArrayLike | None
) -> tuple[Array, Array, Array, tuple[int, ...]]:
    factors = as_sequence(a, "a", "L")
    inputs = as_sequence(b, "b", "L")
    start = as_finite(0.0 if x0 is None else x0, "x0")
    if x0 is None:
        start = start.astype(np.float32)  # decides no precision
    if factors.shape[-1] not in (1, inputs.shape[-1]):
        raise _core.ShapeMismatch(
            f"a must have shape (..., {inputs.shape[-1]}) or (..., 1), got {factors.shape}"
        )
    factors, inputs, start = same_kind(factors, inputs, start)
    batch = broadcast_shapes(a=factors.shape[:-1], b=inputs.shape[:-1], x0=start.shape)
    return factors, inputs, start, batch
