"""The exponential and the φ functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_number64, integer_parameter, real_parameter
from resolvent.hippo import System

_LARGEST_ORDER = 100


def expm(A: System | ArrayLike, t: float = 1.0) -> Array:
    """The exponential e^{tA} of matrices.

    Parameters
    ----------
    A : System, or array_like of shape (..., N, N)
        Real or complex. Single precision is converted to double.
    t : float
        Time; may be negative.

    Returns
    -------
    ndarray, shape (..., N, N)
        float64 or complex128. Error some N·eps times ‖e^{tA}‖ and the condition number of the
        exponential at tA, which is at least ‖tA‖ and which no method undercuts. Triangular A give
        exactly triangular results. Entries beyond the range of double are infinite or NaN.

    Notes
    -----
    Scaling and squaring of a Taylor polynomial of e^X − 1, degree and scaling from the norms
    of the powers of \\|A\\|. O(N³) products: 2N³ operations each, half as many for matrices
    that are symmetric up to signs (legt, fout), a third or less for triangular ones. The system
    legs with t ≥ 0 takes O(N²) by the recurrence of its polynomials, lagt and glagt O(N²) as
    Toeplitz matrices.

    References
    ----------
    Bader, Blanes, Casas, "Computing the Matrix Exponential with an Optimized Taylor Polynomial
    Approximation", Mathematics 7:1174, 2019. Al-Mohy, Higham, "A New Scaling and Squaring Algorithm
    for the Matrix Exponential", SIAM J. Matrix Anal. Appl. 31, 2009.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.discretize.expm([[0.0, 1.0], [0.0, 0.0]], t=3.0)
    array([[1., 3.],
           [0., 1.]])
    """
    time = _time(t)
    if isinstance(A, System) and not A._is_complex:
        return _core.discretize.system_exponential(A._native, time)
    return _matrix_phi(A.A if isinstance(A, System) else A, 0, time)


def phi(A: System | ArrayLike, order: int = 1, t: float = 1.0) -> Array:
    """φ_order(tA): φ_0 = exp, φ_{k+1}(z) = (φ_k(z) − 1/k!)/z.

    Entire functions, so A may be singular: φ_1(tA) = ∫₀¹ e^{stA} ds.

    Parameters
    ----------
    A : System, or array_like of shape (..., N, N)
        Real or complex.
    order : int
        From 0 to 100.
    t : float
        Time; may be negative.

    Returns
    -------
    ndarray, shape (..., N, N)
        Error and cost as those of :func:`expm`, with order + 1 products where that has one.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.discretize.phi([[0.0, 1.0], [0.0, 0.0]])
    array([[1. , 0.5],
           [0. , 1. ]])
    """
    if isinstance(A, System):
        return expm(A, t) if _order(order) == 0 else _matrix_phi(A.A, _order(order), _time(t))
    return _matrix_phi(A, _order(order), _time(t))


def phi_scalar(z: ArrayLike, order: int = 1) -> Array:
    """φ_order of numbers, element by element.

    Parameters
    ----------
    z : array_like
        Real or complex, any shape.
    order : int
        From 0 to 100.

    Returns
    -------
    ndarray, of the shape of z
        Relative error some (order + 1)·eps everywhere: a series for small \\|z\\|, expm1 and the
        recurrence for φ beyond.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.discretize.phi_scalar([0.0, 1e-9, -800.0])
    array([1.     , 1.     , 0.00125])
    """
    values = as_number64(z, "z")
    flat = np.ascontiguousarray(values, np.complex128).ravel()
    result = _core.discretize.phi_scalar(flat, _order(order)).reshape(values.shape)
    return result if np.iscomplexobj(values) else result.real.copy()


def _order(order: Any) -> int:
    k = integer_parameter(order, "order")
    if not 0 <= k <= _LARGEST_ORDER:
        raise _core.InvalidArgument(f"order must lie between 0 and {_LARGEST_ORDER}, got {k}")
    return k


def _time(t: Any) -> float:
    time = real_parameter(t, "t")
    if not np.isfinite(time):
        raise _core.InvalidArgument(f"t must be finite, got {time}")
    return time


def _matrix_phi(A: ArrayLike, order: int, t: float) -> Array:
    array = as_number64(A, "A")
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.shape[-1] == 0:
        raise _core.ShapeMismatch(
            f"A must be square, of shape (..., N, N) with N of at least 1; got {array.shape}"
        )
    stack = np.ascontiguousarray(t * array).reshape(-1, *array.shape[-2:])
    _core.require_finite(stack, "t A")
    core: Callable[[Array, int], Array] = (
        _core.discretize.phi_complex if np.iscomplexobj(array) else _core.discretize.phi_real
    )
    return core(stack, order).reshape(array.shape)
