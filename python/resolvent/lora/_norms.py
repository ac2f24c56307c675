"""Lengths of matrices, by blocks of rows, without overflow; angles between spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from resolvent._arrays import Array

__all__ = ["column_lengths", "exponent_of", "frobenius", "inner", "principal_angles", "row_blocks"]

#: Entries of a block: in double precision half a megabyte.
_BLOCK = 2**16


def exponent_of(values: Array) -> int:
    """e with the largest magnitude in [2^(e−1), 2^e); 0 for zeros."""
    return int(np.frexp(max(values.max(initial=0.0), -values.min(initial=0.0)))[1])


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows that cover a matrix."""
    rows = max(1, _BLOCK // max(1, math.prod(shape[1:])))
    return (slice(first, first + rows) for first in range(0, shape[0], rows))


def inner(M: Array, N: Array) -> float:
    """ΣM∘N in double precision, in one order whatever the number of threads."""
    return float(np.einsum("ij,ij->", M, N, dtype=np.float64))


def frobenius(matrix: Array) -> float:
    """‖M‖_F."""
    exponent = exponent_of(matrix)
    squares = 0.0
    for rows in row_blocks(matrix.shape):
        block = np.ldexp(matrix[rows].astype(np.float64), -exponent)
        squares += float(np.einsum("ij,ij->", block, block))
    return float(np.ldexp(math.sqrt(squares), exponent))


def column_lengths(matrix: Array) -> Array:
    """The length of every column, in double precision."""
    exponent = exponent_of(matrix)
    squares = np.zeros(matrix.shape[1])
    for rows in row_blocks(matrix.shape):
        block = np.ldexp(matrix[rows].astype(np.float64), -exponent)
        squares += np.einsum("ij,ij->j", block, block)
    return np.asarray(np.ldexp(np.sqrt(squares), exponent))


def principal_angles(space: Array, bases: Array) -> Array:
    """Principal angles, ascending, of the columns of every basis (…, n, k) to those of a space.

    All columns are orthonormal, and the space has at least k. From cosines and sines, so that small
    angles have all their digits (Björck and Golub 1973).
    """
    inside = space.T @ bases
    cosines = np.linalg.svd(inside, compute_uv=False)
    sines = np.linalg.svd(bases - space @ inside, compute_uv=False)[..., ::-1]
    return np.asarray(np.arctan2(sines, cosines))
