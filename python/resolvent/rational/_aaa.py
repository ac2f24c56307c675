"""Poles of samples of a rational function: the AAA algorithm, real where the function is.

A rational function in barycentric form, Σ w_j f_j/(z − z_j) over Σ w_j/(z − z_j), takes the value
f_j at each support point z_j whatever the weights w. AAA adds the sample with the largest error to
the support, one after the other, and takes the weights that minimise the linearised error: the last
right singular vector of the Loewner matrix (F_i − f_j)/(z_i − z_j).

For real functions a support point comes with its conjugate and the conjugate weight. In the
orthonormal combinations (e + ē)/√2 and i(e − ē)/√2 of the two, everything below is real: the
unknowns, the weights, and the eigenproblem of the poles, which therefore come in exact pairs.

Nakatsukasa, Sète, Trefethen, "The AAA Algorithm for Rational Approximation", SIAM J. Sci. Comput.
40, 2018.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from resolvent._arrays import Array
from resolvent.rational._polynomial import EPS

#: Largest error of samples, over the largest sample, that is rounding: no support point is added.
_CONVERGED = 512.0 * EPS

_HALF = float(np.sqrt(0.5))


def pair_columns(terms: Array, mirrored: Array) -> list[Array]:
    """What the coefficients of the two combinations multiply, of a point and of its conjugate."""
    return [_HALF * (terms + mirrored), 1j * _HALF * (terms - mirrored)]


def split(matrix: Array) -> Array:
    """Real parts over imaginary parts."""
    return np.concatenate([matrix.real, matrix.imag])


def poles_by_order(z: Array, values: Array, order: int, *, real: bool) -> Iterator[Array]:
    """The poles ζ = 1/z of approximants of degree 1, …, order.

    Where conjugate pairs or convergence skip a degree, those of the last one below are repeated.
    `z` are distinct; for real functions, of each conjugate pair one.
    """
    fit = _Barycentric(z, values, real)
    poles = np.empty(0, np.complex128)
    for degree in range(1, order + 1):
        while fit.size <= degree and not fit.converged and fit.grow(degree + 1 - fit.size):
            pass
        if fit.size == degree + 1:
            poles = fit.poles()
        yield poles


class _Barycentric:
    """The state of the algorithm: columns over the samples for every support point, and weights."""

    def __init__(self, z: Array, values: Array, real: bool) -> None:
        self._z, self._values = z, values
        self._is_pair = real & (z.imag != 0.0)
        self._real = real
        self._columns: dict[int, list[Array]] = {}  # the two halves of a pair, or one
        self._weights = np.empty(0)
        self._error = np.abs(values - np.mean(values.real if real else values))

    @property
    def size(self) -> int:
        """Number of weights: one more than the degree."""
        return sum(len(columns) for columns in self._columns.values())

    @property
    def converged(self) -> bool:
        return bool(self._error.max() <= _CONVERGED * np.abs(self._values).max())

    def grow(self, room: int) -> bool:
        """Takes the sample with the largest error into the support; False if none fits.

        Where there is room for one weight only, a pair takes the place of a point on the axis.
        """
        error = self._error
        if room == 1 and self._is_pair[error.argmax()]:
            on_axis = [index for index in self._columns if not self._is_pair[index]]
            if on_axis:
                del self._columns[on_axis[-1]]
            else:
                error = np.where(self._is_pair, 0.0, error)
        index = int(error.argmax())
        if error[index] == 0.0:
            return False
        node = self._z[index]
        terms = self._terms(node)
        self._columns[index] = (
            pair_columns(terms, self._terms(node.conj())) if self._is_pair[index] else [terms]
        )
        self._update()
        return True

    def _terms(self, node: complex) -> Array:
        """1/(z − node), and 0 at the node itself, where no equation is."""
        gap = self._z - node
        result: Array = np.where(gap == 0.0, 0.0, 1.0 / np.where(gap == 0.0, 1.0, gap))
        return result

    def _numerator(self, index: int) -> list[Array]:
        """The columns of a support point times its value."""
        value, columns = self._values[index], self._columns[index]
        if not self._is_pair[index]:
            return [value * columns[0]]
        # The value of the conjugate point is the conjugate: with f = p + iq and columns u, v of the
        # pair, p u + q v and p v − q u.
        u, v = columns
        return [value.real * u + value.imag * v, value.real * v - value.imag * u]

    def _update(self) -> None:
        """Weights from the Loewner matrix, and the errors that they leave."""
        support = list(self._columns)
        denominators = np.column_stack([c for columns in self._columns.values() for c in columns])
        numerators = np.column_stack([c for index in support for c in self._numerator(index)])
        loewner = self._values[:, np.newaxis] * denominators - numerators
        loewner[support] = 0.0
        if self._real:
            # A sample off the axis stands for two.
            loewner = split(loewner * np.where(self._is_pair, 1.0, _HALF)[:, np.newaxis])
        triangular = np.linalg.qr(loewner, mode="r")
        self._weights = np.linalg.svd(triangular)[2][-1].conj()
        with np.errstate(divide="ignore", invalid="ignore"):
            fitted = (numerators @ self._weights) / (denominators @ self._weights)
        self._error = np.nan_to_num(np.abs(fitted - self._values), nan=np.inf)
        self._error[support] = 0.0

    def poles(self) -> Array:
        """The zeros of Σ w_j/(z − z_j), as ζ = 1/z.

        With ζ_j = 1/z_j these are the zeros of Σ w_j ζ_j/(ζ − ζ_j). For x_j = 1/(ζ − ζ_j) that is
        ζ x = D x + 1 with ω·x = 0, an arrowhead pencil. On an orthonormal basis Q of the x with
        ω·x = 0, and with the rows P orthogonal to 1, it is (P D Q) y = ζ (P Q) y.
        """
        diagonal, ones, weights = self._arrowhead()
        Q = _orthogonal_complement(weights.conj())
        P = _orthogonal_complement(ones).conj().T
        found: Array = np.linalg.eigvals(np.linalg.solve(P @ Q, P @ diagonal @ Q))
        return found.astype(np.complex128)

    def _arrowhead(self) -> tuple[Array, Array, Array]:
        """D, the vector of ones and ω_j = w_j ζ_j, in the real coordinates of each pair.

        There D is [[Re, −Im], [Im, Re]] of ζ_j, the ones are (√2, 0), and a weight x + iy is
        √2(Re, −Im) of (x + iy)ζ_j/√2.
        """
        size = self.size
        diagonal = np.zeros((size, size), np.float64 if self._real else np.complex128)
        ones, weights = np.ones(size), np.zeros(size, diagonal.dtype)
        place = 0
        for index in self._columns:
            zeta = 1.0 / self._z[index]
            if not self._is_pair[index]:
                diagonal[place, place] = zeta.real if self._real else zeta
                weights[place] = self._weights[place] * diagonal[place, place]
                place += 1
                continue
            block = slice(place, place + 2)
            diagonal[block, block] = [[zeta.real, -zeta.imag], [zeta.imag, zeta.real]]
            ones[block] = [1.0 / _HALF, 0.0]
            turned = complex(*self._weights[block]) * zeta
            weights[block] = [turned.real, -turned.imag]
            place += 2
        return diagonal, ones, weights


def _orthogonal_complement(vector: Array) -> Array:
    """An orthonormal basis of what is orthogonal to a vector, (n, n − 1)."""
    full: Array = np.linalg.qr(vector[:, np.newaxis], mode="complete")[0]
    return full[:, 1:]
