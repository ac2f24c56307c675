"""Cauchy and Vandermonde sums, and their adjoints."""

from __future__ import annotations

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, integer_parameter, summed_to
from resolvent.ssm._batch import all_rows, as_sequence, broadcast_shapes, few_rows

__all__ = ["cauchy", "cauchy_vjp", "positive_length", "vandermonde", "vandermonde_vjp"]

_SINGLE = (np.float32, np.complex64)


def positive_length(value: object, name: str = "length") -> int:
    """An integer of at least 1."""
    length = integer_parameter(value, name)
    if length < 1:
        raise _core.InvalidArgument(f"{name} must be at least 1, got {length}")
    return length


def _working(*arrays: Array) -> type[np.complexfloating]:
    """Single precision only where every argument has it."""
    return np.complex64 if all(a.dtype in _SINGLE for a in arrays) else np.complex128


def _same_poles(v: Array, eigenvalues: Array) -> None:
    if v.shape[-1] != eigenvalues.shape[-1]:
        raise _core.ShapeMismatch(
            "v and eigenvalues must have the same last axis, "
            f"got v {v.shape} and eigenvalues {eigenvalues.shape}"
        )


def _require_distinct(result: Array, z: Array) -> None:
    """Poles at a point show as infinities and NaNs."""
    bad = ~np.isfinite(result)
    if bad.any():
        place = np.broadcast_to(z, np.broadcast_shapes(z.shape, result.shape))[bad][0]
        raise _core.InvalidArgument(
            "z must not be an eigenvalue, nor nearer to one than 1e-75 of the largest of them; "
            f"got z = {place}"
        )


def cauchy(v: ArrayLike, z: ArrayLike, eigenvalues: ArrayLike, *, conjugate: bool = False) -> Array:
    """Σ_n v_n/(z_k − λ_n) at every point z_k: a partial-fraction expansion.

    Parameters
    ----------
    v, eigenvalues : array_like, shape (..., N)
        Residues and poles. Leading axes of all arguments broadcast.
    z : array_like, shape (..., K)
        Points, none of them an eigenvalue.
    conjugate : bool
        Add the conjugate terms v̄_n/(z − λ̄_n): `v` and `eigenvalues` are one of each pair.

    Returns
    -------
    ndarray, shape (..., K), complex
        complex64 where all arguments are single; computed in double precision. Relative error of
        each term a few eps, so that of the sum is a few eps times the sum of the absolute terms
        over that of the terms. O(NK) time per channel; nothing of size NK is made. A pair costs one
        reciprocal, which channels with the same `z` and `eigenvalues` share in fours. The same bits
        for any number of threads and any instruction set.

    Raises
    ------
    InvalidArgument
        For a point at an eigenvalue.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.ssm.cauchy([1.0, 2.0], [0.0, 1j], [-1.0, -2.0])
    array([2. +0.j , 1.3-0.9j])
    """
    weights = as_sequence(v, "v", "N")
    points = as_sequence(z, "z", "K")
    poles = as_sequence(eigenvalues, "eigenvalues", "N")
    _same_poles(weights, poles)
    batch = broadcast_shapes(
        v=weights.shape[:-1], z=points.shape[:-1], eigenvalues=poles.shape[:-1]
    )
    kind = _working(weights, points, poles)
    scale = _common_scale(points, poles)
    rows = _core.ssm.cauchy(
        all_rows(weights, batch).astype(kind, copy=False),
        few_rows(points, batch).astype(np.complex128, copy=False) * scale,
        few_rows(poles, batch).astype(np.complex128, copy=False) * scale,
        bool(conjugate),
    )
    result: Array = rows.reshape(*batch, points.shape[-1])
    if scale != 1.0:
        result = (result * scale).astype(kind)
    _require_distinct(result, points)
    return result


def _common_scale(*arrays: Array) -> float:
    """1, or the power of two that brings values near the ends of the range of double to size 1."""
    size = max((float(np.max(np.abs(a), initial=0.0)) for a in arrays), default=0.0)
    if size == 0.0 or 1e-30 <= size <= 1e30:
        return 1.0
    return float(np.ldexp(1.0, min(-int(np.frexp(size)[1]), 1000)))


def cauchy_vjp(
    v: ArrayLike, z: ArrayLike, eigenvalues: ArrayLike, g: ArrayLike, *, conjugate: bool = False
) -> tuple[Array, Array, Array]:
    """The adjoint of :func:`cauchy`: gradients by `v`, `z` and `eigenvalues`.

    Parameters
    ----------
    v, z, eigenvalues, conjugate
        As in :func:`cauchy`.
    g : array_like, shape (..., K)
        The gradient of a real function of the sums.

    Returns
    -------
    tuple of ndarray
        Gradients of the shapes of `v`, `z` and `eigenvalues`, added up over broadcast axes. A
        gradient is ∂/∂Re + i ∂/∂Im (PyTorch's convention; JAX's is its conjugate). O(NK).

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.ssm.cauchy_vjp([2.0], [1.0], [-1.0], [1.0])
    (array([0.5+0.j]), array([-0.5+0.j]), array([0.5+0.j]))
    """
    weights = as_sequence(v, "v", "N")
    points = as_sequence(z, "z", "K")
    poles = as_sequence(eigenvalues, "eigenvalues", "N")
    upstream = as_sequence(g, "g", "K")
    _same_poles(weights, poles)
    batch = broadcast_shapes(
        v=weights.shape[:-1], z=points.shape[:-1], eigenvalues=poles.shape[:-1]
    )
    if upstream.shape != (*batch, points.shape[-1]):
        raise _core.ShapeMismatch(
            f"g must have the shape of the sums, {(*batch, points.shape[-1])}, got {upstream.shape}"
        )
    kind = _working(weights, points, poles)
    scale = _common_scale(points, poles)
    parts = _core.ssm.cauchy_adjoint(
        all_rows(weights, batch).astype(kind, copy=False),
        few_rows(points, batch).astype(np.complex128, copy=False) * scale,
        few_rows(poles, batch).astype(np.complex128, copy=False) * scale,
        all_rows(upstream, batch).astype(kind, copy=False),
        bool(conjugate),
    )
    shapes = (weights.shape, points.shape, poles.shape)
    by_v, by_z, by_poles = (
        summed_to(part, batch, shape) for part, shape in zip(parts, shapes, strict=True)
    )
    if scale != 1.0:
        by_v, by_z, by_poles = by_v * scale, by_z * scale**2, by_poles * scale**2
    _require_distinct(by_z, points)
    return by_v, by_z, by_poles


def vandermonde(
    v: ArrayLike, eigenvalues: ArrayLike, length: int, *, conjugate: bool = False
) -> Array:
    """Σ_n v_n λ_n^k for k < length: the kernel of a diagonal model.

    Parameters
    ----------
    v, eigenvalues : array_like, shape (..., N)
        Leading axes broadcast.
    length : int
    conjugate : bool
        Add the conjugate terms: 2 Re Σ_n v_n λ_n^k.

    Returns
    -------
    ndarray, shape (..., length)
        Complex; real with `conjugate`. complex64 or float32 where both arguments are single, the
        powers being made in double precision in any case. Relative error of a term about k eps,
        which is also what an error of eps in λ makes; powers below 2.2e-308 are 0. As a product of
        matrices of powers, with k = iB + j, B ≈ √length: N length multiply–adds, extra memory
        O(N √length).

    Raises
    ------
    InvalidArgument
        Where a power overflows, with the length up to which none does.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.ssm.vandermonde([1.0, 1.0], [0.5, 0.25], 3).real
    array([2.    , 0.75  , 0.3125])
    """
    weights = as_sequence(v, "v", "N")
    poles = as_sequence(eigenvalues, "eigenvalues", "N")
    count = positive_length(length)
    _same_poles(weights, poles)
    batch = broadcast_shapes(v=weights.shape[:-1], eigenvalues=poles.shape[:-1])
    kind = _working(weights, poles)
    rows = _core.ssm.vandermonde(
        all_rows(weights, batch).astype(kind, copy=False),
        few_rows(poles, batch).astype(np.complex128, copy=False),
        count,
        bool(conjugate),
    )
    result: Array = rows.reshape(*batch, count)
    if not np.isfinite(result).all():
        raise _core.InvalidArgument(overflow_message(float(np.abs(poles).max()), count))
    return result


def overflow_message(radius: float, length: int) -> str:
    """What to say of powers of an eigenvalue of this modulus that left the range of double."""
    if not radius > 1.0:
        return f"length must keep the kernel within the range of double, got {length}"
    limit = int(np.log(np.finfo(np.float64).max) / np.log(radius))
    return (
        f"length must be below about {limit} for an unstable model: its largest |eigenvalue| is "
        f"{radius:.6g}, and the kernel overflows from there; got {length}"
    )


def vandermonde_vjp(
    v: ArrayLike, eigenvalues: ArrayLike, g: ArrayLike, *, conjugate: bool = False
) -> tuple[Array, Array]:
    """The adjoint of :func:`vandermonde`: gradients by `v` and `eigenvalues`.

    Parameters
    ----------
    v, eigenvalues, conjugate
        As in :func:`vandermonde`.
    g : array_like, shape (..., L)
        The gradient of a real function of the sums; real with `conjugate`.

    Returns
    -------
    tuple of ndarray
        Gradients of the shapes of `v` and `eigenvalues`, added up over broadcast axes, in the
        convention of :func:`cauchy_vjp`. Horner's rule, O(NL).

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.ssm.vandermonde_vjp([2.0], [0.5], [1.0, 1.0, 1.0])
    (array([1.75+0.j]), array([4.+0.j]))
    """
    weights = as_sequence(v, "v", "N")
    poles = as_sequence(eigenvalues, "eigenvalues", "N")
    upstream = as_sequence(g, "g", "L")
    _same_poles(weights, poles)
    if conjugate and np.iscomplexobj(upstream):
        raise _core.DtypeError(f"g must be real where conjugate=True, got {upstream.dtype}")
    batch = broadcast_shapes(v=weights.shape[:-1], eigenvalues=poles.shape[:-1])
    if upstream.shape[:-1] != batch:
        raise _core.ShapeMismatch(f"g must have shape {(*batch, 'L')}, got {upstream.shape}")
    kind = _working(weights, poles)
    scale = 2.0 if conjugate else 1.0
    by_v, by_poles = _core.ssm.vandermonde_adjoint(
        all_rows(weights, batch).astype(kind, copy=False),
        few_rows(poles, batch).astype(np.complex128, copy=False),
        (scale * all_rows(upstream, batch)).astype(kind),
    )
    return summed_to(by_v, batch, weights.shape), summed_to(by_poles, batch, poles.shape)
