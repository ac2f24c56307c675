"""Polynomials by their coefficients, in batches: products, values, roots and back."""

from __future__ import annotations

import numpy as np

from resolvent._arrays import Array

EPS = float(np.finfo(np.float64).eps)

#: Coefficients below this share of the largest are 0: their roots are beyond the range of double.
_NEGLIGIBLE = float(np.sqrt(np.finfo(np.float64).tiny))


def multiply(p: Array, q: Array) -> Array:
    """The product, (..., m) and (..., n) to (..., m + n − 1). O(mn)."""
    if p.shape[-1] < q.shape[-1]:
        p, q = q, p
    width = p.shape[-1]
    batch = np.broadcast_shapes(p.shape[:-1], q.shape[:-1])
    product = np.zeros((*batch, width + q.shape[-1] - 1), np.result_type(p, q))
    for i in range(q.shape[-1]):
        product[..., i : i + width] += p * q[..., i, np.newaxis]
    return product


def evaluate(coefficients: Array, z: Array) -> Array:
    """Σ_i c_i zⁱ by Horner's rule: (..., n) at z of any shape to (..., *z.shape)."""
    columns = coefficients.reshape(coefficients.shape + (1,) * z.ndim)
    shape = (*coefficients.shape[:-1], *z.shape)
    value = np.zeros(shape, np.result_type(coefficients, z))
    axis = coefficients.ndim - 1
    for i in range(coefficients.shape[-1] - 1, -1, -1):
        value = value * z + columns.take(i, axis)
    return value


def evaluate_at(coefficients: Array, points: Array) -> Array:
    """Σ_i c_i xⁱ with each channel's own points: (..., n) at (..., m) to (..., m)."""
    value = np.zeros_like(points)
    for i in range(coefficients.shape[-1] - 1, -1, -1):
        value = value * points + coefficients[..., i, np.newaxis]
    return value


def with_leading_one(a: Array) -> Array:
    """[1, a_1, …, a_d], (..., d + 1)."""
    return np.concatenate([np.ones_like(a[..., :1]), a], axis=-1)


def companion(a: Array) -> Array:
    """First row −a, ones below the diagonal: (..., d) to (..., d, d)."""
    order = a.shape[-1]
    matrix = np.zeros((*a.shape, order), a.dtype)
    matrix[..., 0, :] = -a
    matrix[..., np.arange(1, order), np.arange(order - 1)] = 1.0
    return matrix


def roots(coefficients: Array) -> Array:
    """Roots of c_0 ζⁿ + … + c_n, (..., n + 1) to (..., n), by modulus descending; complex.

    Where leading coefficients are 0, as many roots are at infinity and come first. By the QR
    algorithm on the balanced companion matrix, O(n³): the roots of coefficients that differ from
    the given ones by some eps of the largest. Conjugate pairs of real polynomials are exact.
    """
    count = coefficients.shape[-1] - 1
    flat = coefficients.reshape(-1, count + 1)
    found = np.full((flat.shape[0], count), np.inf, np.complex128)
    leading = leading_index(flat)
    for lead in np.unique(leading[leading < count]):
        rows = flat[leading == lead]
        monic = rows[:, lead + 1 :] / rows[:, lead, np.newaxis]
        found[leading == lead, lead:] = np.linalg.eigvals(companion(monic))
    ordered = np.take_along_axis(found, by_modulus(found), axis=-1)
    return ordered.reshape(*coefficients.shape[:-1], count)


def by_modulus(values: Array) -> Array:
    """The order by modulus descending in which conjugates are neighbours, Im > 0 first."""
    order: Array = np.lexsort((-values.imag, -values.real, -np.abs(values)))
    return order


def with_conjugate_pairs(weights: Array, points: Array) -> Array:
    """Weights of points in that order, made real on the axis and conjugate below it."""
    mirrored = np.roll(weights, 1, axis=-1).conj()
    result: Array = np.where(points.imag < 0.0, mirrored, weights)
    return np.where(points.imag == 0.0, result.real, result)


def leading_index(coefficients: Array) -> Array:
    """The place of the first coefficient that is not 0; n + 1 where all are."""
    size = np.abs(coefficients)
    significant = size > _NEGLIGIBLE * size.max(axis=-1, keepdims=True, initial=0.0)
    index: Array = np.where(
        significant.any(axis=-1), significant.argmax(axis=-1), coefficients.shape[-1]
    )
    return index


def from_roots(values: Array) -> Array:
    """Π (ζ − ζ_i) by descending powers, (..., n) to (..., n + 1), complex.

    The factors are multiplied in Leja's order, each root as far as can be from those before it, in
    which intermediate coefficients stay as small as the last ones (Calvetti, Reichel 2003). O(n²).
    """
    ordered = _leja(values)
    product = np.ones((*values.shape[:-1], 1), np.complex128)
    for i in range(values.shape[-1]):
        longer = np.concatenate([product, np.zeros_like(product[..., :1])], axis=-1)
        longer[..., 1:] -= ordered[..., i, np.newaxis] * product
        product = longer
    return product


def _leja(values: Array) -> Array:
    """The largest first, then each time the one with the largest product of distances."""
    score = _logarithm(np.abs(values))
    left = np.ones(values.shape, bool)
    ordered = np.empty(values.shape, np.complex128)
    for i in range(values.shape[-1]):
        index = np.where(left, score, -np.inf).argmax(axis=-1)[..., np.newaxis]
        chosen = np.take_along_axis(values, index, axis=-1)
        np.put_along_axis(left, index, False, axis=-1)
        ordered[..., i] = chosen[..., 0]
        distances = _logarithm(np.abs(values - chosen))
        score = distances if i == 0 else score + distances
    return ordered


def _logarithm(distances: Array) -> Array:
    """Finite at 0, so that repeated roots come last and are still told from those already taken."""
    result: Array = np.log(np.maximum(distances, np.finfo(np.float64).tiny))
    return result
