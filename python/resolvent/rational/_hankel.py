"""Balanced realisations of kernels from the Hankel matrix K_{i+j}."""

from __future__ import annotations

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent.rational._polynomial import EPS

#: Hankel matrices up to this size are decomposed whole.
_DENSE = 512

#: Beyond it: columns above those asked for, and iterations of the subspace.
_OVERSAMPLING, _SWEEPS = 16, 3


def realisation(values: Array, order: int) -> tuple[Array, Array, Array]:
    """(A, B, C), balanced, of the largest order up to `order` that is above rounding.

    A = Σ^{−½} U* H' V Σ^{−½} with H = U Σ V* and H' = K_{i+j+1}; C and B are the first row of U Σ^½
    and the first column of Σ^½ V*. Leading blocks are the realisations of lower order.
    """
    half = values.size // 2
    U, sigma, V = _leading_triples(values[: 2 * half - 1], order)
    rank = int(np.count_nonzero(sigma > half * EPS * sigma[0]))
    U, V, root = U[:, :rank], V[:, :rank], np.sqrt(sigma[:rank])
    shifted = U.conj().T @ _product(values[1 : 2 * half], V)
    return shifted / np.multiply.outer(root, root), root * V[0].conj(), U[0] * root


def _leading_triples(values: Array, count: int) -> tuple[Array, Array, Array]:
    """The first singular triples of K_{i+j}, i, j < half.

    Large matrices are not formed: iteration of a subspace, with products by FFT (Halko, Martinsson,
    Tropp 2011). It starts from the same random numbers each time.
    """
    half = (values.size + 1) // 2
    if half <= _DENSE:
        U, sigma, Vh = np.linalg.svd(_dense(values))
        return U[:, :count], sigma[:count], Vh[:count].conj().T
    width = min(half, count + _OVERSAMPLING)
    basis = np.random.default_rng(0).standard_normal((half, width)).astype(values.dtype)
    for _ in range(_SWEEPS):
        basis = np.linalg.qr(_product(values, basis))[0]
        basis = np.linalg.qr(_product(values.conj(), basis))[0]  # H* = conj(H): H is symmetric
    left, triangular = np.linalg.qr(_product(values, basis))
    U, sigma, Vh = np.linalg.svd(triangular)
    return left @ U[:, :count], sigma[:count], basis @ Vh[:count].conj().T


def _dense(values: Array) -> Array:
    half = (values.size + 1) // 2
    return np.lib.stride_tricks.sliding_window_view(values, half)


def _product(values: Array, columns: Array) -> Array:
    """Σ_j K_{i+j} x_j: the causal convolution of K with x in reverse."""
    half, length = columns.shape[0], values.size
    if half <= _DENSE:
        result: Array = _dense(values) @ columns
        return result
    inputs = np.zeros((columns.shape[1], length), columns.dtype)
    inputs[:, :half] = columns[::-1].T
    outputs = _core.ssm.convolve(inputs, np.ascontiguousarray(values)[np.newaxis], "fft")
    return np.ascontiguousarray(outputs[:, half - 1 :].T)
