"""Pseudospectra and numerical ranges: what eigenvalues of non-normal matrices do not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real64,
    integer_parameter,
    positive_parameter,
    read_only,
)
from resolvent._html import table
from resolvent.hippo import System
from resolvent.spectral._eigen import as_matrix, eigenvalues, frobenius

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def grid_axes(box: ArrayLike, points: int | Sequence[int]) -> tuple[Array, Array]:
    """The real and imaginary parts of a grid on a box (left, right, bottom, top)."""
    edges = as_real64(box, "box")
    if edges.shape != (4,):
        raise _core.ShapeMismatch(f"box must be (left, right, bottom, top), got {box!r}")
    left, right, bottom, top = edges.tolist()
    if not (left < right and bottom < top):
        raise _core.InvalidArgument(
            f"box must have left < right and bottom < top, got {(left, right, bottom, top)}"
        )
    pair = points if isinstance(points, Sequence) else (points, points)
    if len(pair) != 2:
        raise _core.ShapeMismatch(f"points must be an integer or two of them, got {points!r}")
    across, up = (integer_parameter(count, "points") for count in pair)
    if min(across, up) < 2:
        raise _core.InvalidArgument(f"points must be at least 2, got {points!r}")
    return np.linspace(left, right, across), np.linspace(bottom, top, up)


@dataclass(frozen=True, eq=False)
class Pseudospectrum(ReadOnlyFields):
    """σ_min(zI − A) on a grid; from :func:`pseudospectrum`.

    Attributes
    ----------
    real, imag : ndarray, shape (nx,) and (ny,)
        The grid.
    sigma : ndarray, shape (ny, nx)
        The distance, in the 2-norm, from A to the nearest matrix that has z as an eigenvalue;
        1/sigma is the norm of the resolvent.
    eigenvalues : ndarray, shape (N,)
    floor : float
        eps ‖A‖_F: below it, z is an eigenvalue to working precision and sigma says no more.
    norm : float
        ‖A‖_F.
    """

    real: Array
    imag: Array
    sigma: Array
    eigenvalues: Array
    floor: float
    norm: float

    def __repr__(self) -> str:
        return (
            f"Pseudospectrum(order={self.eigenvalues.size}, points={self.real.size} x "
            f"{self.imag.size}, sigma from {self.sigma.min():.3g} to {self.sigma.max():.3g})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("order", str(self.eigenvalues.size)),
            ("real part", f"{self.real[0]:g} … {self.real[-1]:g}, {self.real.size} points"),
            ("imaginary part", f"{self.imag[0]:g} … {self.imag[-1]:g}, {self.imag.size} points"),
            ("σ_min(zI − A)", f"{self.sigma.min():.3g} … {self.sigma.max():.3g}"),
            ("share below eps ‖A‖", f"{np.mean(self.sigma < self.floor):.1%}"),
        ]
        return table("Pseudospectrum", rows)

    def plot(self, ax: Axes | None = None, levels: npt.ArrayLike | None = None) -> Axes:
        """Draws the levels of log10 sigma and the eigenvalues; returns the axes."""
        from resolvent.plot.spectral import plot_pseudospectrum

        return plot_pseudospectrum(self, ax, levels)


def pseudospectrum(
    A: System | ArrayLike,
    box: ArrayLike | None = None,
    points: int | Sequence[int] = 100,
    *,
    tolerance: float = 1e-8,
) -> Pseudospectrum:
    """The smallest singular value of zI − A on a grid of complex numbers z.

    Parameters
    ----------
    A : System, or array_like of shape (N, N)
    box : (left, right, bottom, top), optional
        A box around the eigenvalues, half as large again as they need, unless given.
    points : int or (int, int)
        Points across and up, at least 2.
    tolerance : float
        Relative error at which the iteration stops.

    Returns
    -------
    Pseudospectrum
        Relative error about `tolerance`, but for a Schur form's absolute error, some floor; a
        triangular A is used as it is, and its values are right far below the floor. Values under
        about 10⁻⁷⁷ ‖A‖ are 0. One Schur form, O(N³), then per point some twenty Lanczos steps of
        O(N²); more, where singular values crowd together.

    References
    ----------
    Trefethen, Embree, "Spectra and Pseudospectra", 2005, §39.

    Examples
    --------
    >>> import resolvent as rv
    >>> p = rv.spectral.pseudospectrum([[0.0, 1.0], [0.0, 0.0]], (-1, 1, -1, 1), 3)
    >>> p.sigma.round(3)
    array([[1.   , 0.618, 1.   ],
           [0.618, 0.   , 0.618],
           [1.   , 0.618, 1.   ]])
    """
    matrix = as_matrix(A)
    values = eigenvalues(A)
    across, up = grid_axes(_box_around(values) if box is None else box, points)
    limit = positive_parameter(tolerance, "tolerance")
    sigma = _core.spectral.pseudospectrum(matrix, across, up, limit)
    size = frobenius(matrix)
    return Pseudospectrum(
        real=read_only(across),
        imag=read_only(up),
        sigma=read_only(sigma),
        eigenvalues=read_only(values),
        floor=float(np.finfo(np.float64).eps) * size,
        norm=size,
    )


def _box_around(values: Array) -> tuple[float, float, float, float]:
    """A box with a margin of a quarter of the larger side, or half a lone value's modulus, or 1."""
    points = np.asarray(values, np.complex128)
    low, high = points.real.min(), points.real.max()
    top = np.abs(points.imag).max()
    margin = 0.25 * max(high - low, 2.0 * top) or 0.5 * abs(points[0]) or 1.0
    return (low - margin, high + margin, -top - margin, top + margin)


@dataclass(frozen=True, eq=False)
class NumericalRange(ReadOnlyFields):
    """The boundary of W(A) = {x*Ax : ‖x‖ = 1}; from :func:`numerical_range`.

    Attributes
    ----------
    boundary : ndarray, shape (K,), complex
        Points on it, counter-clockwise: point k is where Re(e^{−iθ_k} z) is greatest.
    angles : ndarray, shape (K,)
        The θ_k, in radians.
    support : ndarray, shape (K,)
        The greatest Re(e^{−iθ_k} z): W(A) lies in the intersection of these half-planes.
    abscissa : float
        The greatest real part: ‖e^{tA}‖₂ ≤ e^{t·abscissa}, with equality to first order at t = 0.
    radius : float
        Numerical radius: the greatest modulus in W(A), to about 1e-12 relative.
    eigenvalues : ndarray, shape (N,)
    """

    boundary: Array
    angles: Array
    support: Array
    abscissa: float
    radius: float
    eigenvalues: Array

    def __repr__(self) -> str:
        return (
            f"NumericalRange(order={self.eigenvalues.size}, points={self.boundary.size}, "
            f"abscissa={self.abscissa:.6g}, radius={self.radius:.6g})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("order", str(self.eigenvalues.size)),
            ("numerical abscissa", f"{self.abscissa:.6g}"),
            ("spectral abscissa", f"{self.eigenvalues.real.max():.6g}"),
            ("numerical radius", f"{self.radius:.6g}"),
        ]
        return table("Numerical range", rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the boundary and the eigenvalues; returns the axes."""
        from resolvent.plot.spectral import plot_numerical_range

        return plot_numerical_range(self, ax)


def numerical_range(A: System | ArrayLike, points: int = 128) -> NumericalRange:
    """Boundary points of the numerical range (field of values) of A.

    Parameters
    ----------
    A : System, or array_like of shape (N, N)
    points : int
        Number of directions, at least 2; they start at 0, so that the abscissa is among them.

    Returns
    -------
    NumericalRange
        Every point to about N eps ‖A‖. One Hermitian eigenproblem, O(N³), for each direction and
        some 200 more for the radius.

    References
    ----------
    Johnson, "Numerical determination of the field of values of a general complex matrix",
    SIAM J. Numer. Anal. 15, 1978.

    Examples
    --------
    >>> import resolvent as rv
    >>> round(rv.spectral.numerical_range([[0.0, 1.0], [0.0, 0.0]]).radius, 12)  # a disc
    0.5
    """
    matrix = as_matrix(A)
    count = integer_parameter(points, "points")
    if count < 2:
        raise _core.InvalidArgument(f"points must be at least 2, got {count}")
    angles = 2.0 * np.pi * np.arange(count) / count
    boundary, support = _core.spectral.numerical_range(matrix, angles)
    radius = _greatest_support(matrix, angles, support)
    return NumericalRange(
        boundary=read_only(boundary),
        angles=read_only(angles),
        support=read_only(support),
        abscissa=float(support[0]),
        radius=radius,
        eigenvalues=read_only(eigenvalues(A)),
    )


def _greatest_support(matrix: Array, angles: Array, support: Array) -> float:
    """max_θ h(θ) = max |W(A)|, refined around the directions of the grid where it is greatest."""
    best = float(support.max())
    width = 2.0 * np.pi / angles.size
    for start in angles[np.argsort(-support, kind="stable")[:2]]:
        middle, reach = float(start), width
        for _ in range(11):
            near = middle + np.linspace(-reach, reach, 9)
            _, values = _core.spectral.numerical_range(matrix, near)
            middle, reach = float(near[np.argmax(values)]), reach / 4.0
            best = max(best, float(values.max()))
    return best
