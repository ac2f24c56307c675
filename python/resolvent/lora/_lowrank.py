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
    integer_parameter,
    name_parameter,
    positive_parameter,
)
from resolvent._html import table

__all__ = [
    "LOW_RANK_METHODS",
    "LowRank",
    "as_matrix",
    "exponent_of",
    "leading",
    "low_rank",
    "seed_parameter",
]

LOW_RANK_METHODS = ("block-krylov", "subspace", "dense")

LowRankMethod = Literal["block-krylov", "subspace", "dense"]

#: Matrices with a smaller side of at most this get a Krylov basis of the whole space.
_SMALL = 128

#: Vectors of a block of the Krylov basis.
_BLOCK = 16


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


def exponent_of(values: Array) -> int:
    """e with the largest magnitude in [2^(e−1), 2^e); 0 for zeros."""
    return int(np.frexp(max(values.max(initial=0.0), -values.min(initial=0.0)))[1])


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
    block. The result has the same bits for any number of threads. A Krylov basis makes errors fall
    like a Chebyshev polynomial of its size, where subspace iteration has a power (Musco and Musco
    2015). U and Vh are orthonormal to a few eps, also where M is of smaller rank; singular values
    below eps·‖M‖_F are rounding. A singular value that is repeated more than 16 times can hide its
    other copies from a Krylov basis with blocks of 16. The residual is √(‖M‖_F² − Σσ²), computed
    from the difference itself where that cancels.

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
    rank = integer_parameter(rank, "rank")
    name_parameter(method, LOW_RANK_METHODS, "method")
    oversample = integer_parameter(oversample, "oversample")
    if iterations is not None:
        iterations = integer_parameter(iterations, "iterations")
    if tolerance is not None:
        tolerance = positive_parameter(tolerance, "tolerance")
    seed = seed_parameter(seed)
    if method == "dense":
        return _dense(matrix, rank, tolerance)
    U, sigma, Vh, norm, residual, errors, products, taken = _core.lora.low_rank(
        matrix, rank, method, oversample, iterations, tolerance, seed
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
    most = min(matrix.shape)
    if not 1 <= rank <= most:
        raise _core.InvalidArgument(f"rank must be between 1 and min(n, m) = {most}, got {rank}")
    U, sigma, Vh = np.linalg.svd(matrix, full_matrices=False)
    wide = sigma.astype(np.float64)
    U, sigma, Vh = U[:, :rank], sigma[:rank], Vh[:rank]
    sign = np.sign(U[np.abs(U).argmax(axis=0), np.arange(rank)])
    U, Vh = U * sign, Vh * sign[:, np.newaxis]
    found = LowRank(
        U=U,
        sigma=sigma,
        Vh=Vh,
        norm=_length(wide),
        residual=_length(wide[rank:]),
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


def _length(values: Array) -> float:
    """√Σx² without overflow."""
    exponent = exponent_of(values)
    return float(np.ldexp(np.linalg.norm(np.ldexp(values, -exponent)), exponent))


def leading(matrix: Array, count: int, seed: int = 0) -> LowRank:
    """The leading triplets to √eps of the largest σ; of small matrices, to rounding.

    What is built from them is stationary in the singular vectors, so it has twice the digits.
    """
    size = min(matrix.shape)
    if size <= _SMALL:
        return low_rank(matrix, count, iterations=-(-size // _BLOCK) + 1, seed=seed)
    tolerance = float(np.sqrt(np.finfo(matrix.dtype).eps))
    return low_rank(matrix, count, tolerance=tolerance, seed=seed)
