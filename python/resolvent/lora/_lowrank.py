"""The leading singular triplets of a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real,
    count_parameter,
    integer_parameter,
    name_parameter,
    positive_parameter,
)
from resolvent._html import table
from resolvent.lora._norms import exponent_of, frobenius

__all__ = [
    "LOW_RANK_METHODS",
    "LowRank",
    "as_matrix",
    "leading",
    "low_rank",
    "negligible",
    "seed_parameter",
]

LOW_RANK_METHODS = ("block-krylov", "subspace", "dense")

LowRankMethod = Literal["block-krylov", "subspace", "dense"]

#: Matrices with a smaller side of at most this get a Krylov basis of the whole space.
_SMALL = 128

#: Vectors of a block of the Krylov basis.
_BLOCK = 16

#: Residuals below this many roundings are measured from the difference.
_CANCELS = 64.0

#: Roundings of a matrix, relative to its norm, that count as nothing; the core has half of it.
_NOISE = 32.0

#: The largest count that the core is asked for.
_MOST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class LowRank(ReadOnlyFields):
    """M ≈ U diag(sigma) Vh, with what it leaves. Unpacks to ``(U, sigma, Vh)``.

    Attributes
    ----------
    U : ndarray, shape (n, k)
        Orthonormal columns; the entry of largest magnitude of each is positive.
    sigma : ndarray, shape (k,)
        Descending.
    Vh : ndarray, shape (k, m)
        Orthonormal rows.
    norm : float
        ‖M‖_F.
    residual : float
        ‖M − U diag(sigma) Vh‖_F.
    errors : ndarray, shape (k,), or None
        ‖Mᵀu − σv‖ of every triplet where a tolerance was asked for; see :meth:`measured`.
    method : str
    iterations : int
        Blocks of the Krylov basis, steps of the subspace iteration, 0 for LAPACK.
    products : int
        Products of M or Mᵀ with a vector.
    """

    U: Array
    sigma: Array
    Vh: Array
    norm: float
    residual: float
    errors: Array | None
    method: str
    iterations: int
    products: int

    def __iter__(self) -> Iterator[Array]:
        return iter((self.U, self.sigma, self.Vh))

    @property
    def rank(self) -> int:
        """How many triplets."""
        return len(self.sigma)

    def measured(self, M: ArrayLike) -> Array:
        """‖Mᵀu − σv‖ of every triplet, by a product with M; in float64, shape (k,)."""
        matrix = as_matrix(M, "M")
        exponent = exponent_of(self.sigma)
        # Small factors go to the vectors: M itself is not copied.
        left = np.ldexp(self.U, -exponent)
        rest = left.T @ matrix - np.ldexp(self.sigma, -exponent)[:, np.newaxis] * self.Vh
        return np.asarray(np.ldexp(np.linalg.norm(rest.astype(np.float64), axis=1), exponent))

    def dense(self) -> Array:
        """U diag(sigma) Vh."""
        return (self.U * self.sigma) @ self.Vh

    def __repr__(self) -> str:
        shape = f"{len(self.U)}×{self.Vh.shape[1]}"
        share = self.residual / self.norm if self.norm else 0.0
        return f"LowRank({shape}, rank {self.rank}, {self.method}, residual {share:.3g} of norm)"

    def _repr_html_(self) -> str:
        return table(
            "Leading singular triplets",
            [
                ("shape", f"{len(self.U)} × {self.Vh.shape[1]}"),
                ("rank", str(self.rank)),
                ("σ", f"{self.sigma[0]:.6g} … {self.sigma[-1]:.6g}"),
                ("residual", f"{self.residual:.6g} of {self.norm:.6g}"),
                *([] if self.errors is None else [("largest error", f"{self.errors.max():.2g}")]),
                ("method", f"{self.method}, {self.products} products with a vector"),
            ],
        )


def as_matrix(value: ArrayLike, name: str) -> Array:
    """A real matrix with at least one entry; what is in it is not looked at."""
    array = as_real(value, name)
    if array.ndim != 2 or array.size == 0:
        raise _core.ShapeMismatch(f"{name} must be a matrix with entries, got shape {array.shape}")
    return array


def seed_parameter(seed: object) -> int:
    """A seed as the core and NumPy take it."""
    number = integer_parameter(seed, "seed")
    if not 0 <= number < 2**64:
        raise _core.InvalidArgument(f"seed must lie in [0, 2^64), got {number}")
    return number


def low_rank(
    M: ArrayLike,
    rank: int,
    *,
    method: LowRankMethod = "block-krylov",
    oversample: int = 16,
    iterations: int | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> LowRank:
    """The leading singular triplets of a matrix.

    Parameters
    ----------
    M : array_like, shape (n, m)
        float32 or float64; only read.
    rank : int
        How many, 1 … min(n, m).
    method : {"block-krylov", "subspace", "dense"}
        Block Golub–Kahan–Lanczos with full reorthogonalisation (Golub, Luk and Overton 1981) in
        blocks of 16; orthogonal iteration on ``rank + oversample`` vectors (Halko, Martinsson and
        Tropp 2011); LAPACK, which cannot be interrupted.
    oversample : int
        Vectors beyond the rank: the Krylov basis has ``2 (rank + oversample)`` vectors.
    iterations : int, optional
        Instead: how many blocks of 16 the Krylov basis has. For the subspace iteration, how many
        times M and its transpose are applied (4 if not given).
    tolerance : float, optional
        Goes on until the errors ‖Mᵀu − σv‖ are at most ``tolerance * sigma[0]``; `iterations` is
        then the most that is allowed.
    seed : int
        Of the random start.

    Returns
    -------
    LowRank

    Raises
    ------
    InvalidArgument
        For a rank outside its range, or entries that are not finite.
    NotConverged
        If `tolerance` is not reached.

    Notes
    -----
    Cost: about ``4 n m`` operations per vector of the Krylov basis, a pass over M for every half
    block; for D vectors also ``4 (n + m) D²``, and O(D³) that an interrupt waits for. The result
    has the same bits for any number of threads, but for LAPACK's. A Krylov basis makes errors fall
    like a Chebyshev polynomial of its size, where subspace iteration has a power (Musco and Musco
    2015). U and Vh are orthonormal to a few eps in float32 and to min(n, m)·eps in float64, also
    where M is of smaller rank; singular values below eps·‖M‖_F are rounding. A singular value that
    is repeated more than 16 times can hide its other copies from a Krylov basis with blocks of 16.
    The residual is √(‖M‖_F² − Σσ²), computed from the difference itself where that cancels.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> M = 1 / (1.0 + np.arange(200)[:, None] + np.arange(300))
    >>> found = rv.lora.low_rank(M, 8)
    >>> found
    LowRank(200×300, rank 8, block-krylov, residual 2.33e-05 of norm)
    >>> U, sigma, Vh = found
    >>> bool(np.linalg.norm(M - (U * sigma) @ Vh) < 1e-4)
    True
    """
    matrix = as_matrix(M, "M")
    rank = count_parameter(rank, "rank", 1, min(matrix.shape), "min(n, m) = ")
    name_parameter(method, LOW_RANK_METHODS, "method")
    oversample = count_parameter(oversample, "oversample", 0, _MOST)
    if iterations is not None:
        iterations = count_parameter(iterations, "iterations", 1, _MOST)
    if tolerance is not None:
        tolerance = positive_parameter(tolerance, "tolerance")
    seed = seed_parameter(seed)
    if method == "dense":
        return _dense(matrix, rank, tolerance)
    return _found(matrix, rank, method, oversample, iterations, tolerance, seed)


def _found(
    matrix: Array,
    rank: int,
    method: str,
    oversample: int,
    iterations: int | None,
    tolerance: float | None,
    seed: int,
    each: bool = False,
) -> LowRank:
    """From the core; `each`: the tolerance is of every σ, not of the largest."""
    U, sigma, Vh, norm, residual, errors, products, taken = _core.lora.low_rank(
        matrix, rank, method, oversample, iterations, tolerance, each, seed
    )
    return LowRank(
        U=U,
        sigma=sigma.astype(matrix.dtype),
        Vh=Vh,
        norm=norm,
        residual=residual,
        errors=None if tolerance is None else errors,
        method=method,
        iterations=taken,
        products=products,
    )


def _dense(matrix: Array, rank: int, tolerance: float | None = None) -> LowRank:
    _core.require_finite(matrix, "M")
    U, sigma, Vh = np.linalg.svd(matrix, full_matrices=False)
    wide = sigma.astype(np.float64)
    U, sigma, Vh = U[:, :rank], sigma[:rank], Vh[:rank]
    sign = np.sign(U[np.abs(U).argmax(axis=0), np.arange(rank)])
    U, Vh = U * sign, Vh * sign[:, np.newaxis]
    residual = frobenius(wide[rank:, np.newaxis])
    norm = frobenius(wide[:, np.newaxis])
    if residual <= _CANCELS * np.finfo(matrix.dtype).eps * norm:  # U and Vh are rounded too
        exponent = exponent_of(sigma)
        rest = np.ldexp(matrix, -exponent) - (U * np.ldexp(sigma, -exponent)) @ Vh
        residual = float(np.ldexp(frobenius(rest), exponent))
    found = LowRank(
        U=U,
        sigma=sigma,
        Vh=Vh,
        norm=norm,
        residual=residual,
        errors=None,
        method="dense",
        iterations=0,
        products=0,
    )
    if tolerance is None:
        return found
    errors = found.measured(matrix)
    if not (worst := float(errors.max())) <= tolerance * float(sigma[0]):
        raise _core.NotConverged(
            f"singular triplets have errors up to {worst / float(sigma[0]):.3g} of the largest "
            f"singular value by LAPACK; asked for: tolerance = {tolerance:.3g}"
        )
    return replace(found, errors=errors)


def leading(matrix: Array, count: int, seed: int = 0) -> LowRank:
    """The leading triplets, each to √eps of its σ or to rounding; of small matrices, to rounding.

    What is built from them is stationary in the singular vectors, so it has twice the digits.
    """
    size = min(matrix.shape)
    blocks, tolerance = -(-size // _BLOCK) + 1, None
    if size > _SMALL:
        blocks, tolerance = _MOST, float(np.sqrt(np.finfo(matrix.dtype).eps))
    return _found(matrix, count, "block-krylov", 0, blocks, tolerance, seed, each=True)


def negligible(found: LowRank) -> float:
    """Singular values up to this are rounding of the products that they come from."""
    return _NOISE * float(np.finfo(found.sigma.dtype).eps) * found.norm
