"""The spectrum of the normal part of a triangular system, by its phase equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, as_real64, name_parameter, read_only
from resolvent._html import table
from resolvent.hippo import System
from resolvent.hippo._system import require_system

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The measures whose A is triangular: cascades of all-pass sections.
CASCADES = ("legs", "lagt", "glagt", "malmquist")


@dataclass(frozen=True, eq=False)
class NormalSpectrum(ReadOnlyFields):
    """Eigenvalues and weights of the normal part of A; from :func:`normal_spectrum`.

    Attributes
    ----------
    mu : ndarray, shape (N,)
        Imaginary parts, descending, in radians per unit of time; mu[j] = −mu[N−1−j] exactly.
    weights : ndarray, shape (N,)
        ``|q_j* B|²`` for the unit eigenvectors q_j.
    shift : float
        The real part that all eigenvalues share.
    system : System
    """

    mu: Array
    weights: Array
    shift: float
    system: System

    @property
    def eigenvalues(self) -> Array:
        """shift + i·mu, shape (N,)."""
        values: Array = self.shift + 1j * self.mu
        return values

    def __repr__(self) -> str:
        return (
            f"NormalSpectrum({self.system.measure!r}, order={self.system.order}, "
            f"shift={self.shift:g}, largest mu={self.mu[0]:.6g})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("measure", self.system.measure),
            ("order", str(self.system.order)),
            ("real part", f"{self.shift:g}"),
            ("largest imaginary part", f"{self.mu[0]:.6g}"),
            ("sum of the weights", f"{self.weights.sum():.6g}"),
        ]
        return table("Normal spectrum", rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the weights over the imaginary parts; returns the axes."""
        from resolvent.plot.spectral import plot_normal_spectrum

        return plot_normal_spectrum(self, ax)


def normal_spectrum(system: System) -> NormalSpectrum:
    """Eigenvalues and weights of the normal part of A, without an eigensolver.

    In orthonormal coordinates A = shift·I + K − ½ b bᵀ with K skew-symmetric. The eigenvalues iμ of
    K are where the all-pass function Π_k (s − p_k)/(s + p_k) is −1::

        Φ(μ_j) = Σ_k 2 arctan(μ_j/p_k) = (N − 1 − 2j) π,   |q_j* b|² = 4/Φ'(μ_j).

    Parameters
    ----------
    system : System
        Of measure legs (p_k = k + ½, shift −½), lagt (p_k = ½), glagt (p_k = ½, shift −β/2) or
        malmquist (its poles). A window divides the time scale, as it does A and B.

    Returns
    -------
    NormalSpectrum
        Relative error of every μ_j and every weight below 1e-13. O(N) time for legs, lagt and equal
        poles, O(N²) for malmquist and for glagt with alpha ≠ 0; O(N) memory. A fraction of a second
        for legs with N = 10⁶.

    Raises
    ------
    InvalidArgument
        For another measure, and for poles outside 1e-152 … 1e152.

    Notes
    -----
    The weights belong to orthonormal coordinates: Σ weights = BᵀB in the normalisations
    "probability" and "lebesgue"; in "legendre" they are those of "probability", in glagt's
    "probability" those of "laguerre". The phase of LegS is 2 Im[ln Γ(N+½+iμ) − ln Γ(½+iμ)], summed
    by the Euler–Maclaurin formula; where μ is large the complement Nπ − Φ is solved for instead,
    which does not cancel.

    Examples
    --------
    >>> import resolvent as rv
    >>> s = rv.spectral.normal_spectrum(rv.hippo.system("legs", 4))
    >>> s.mu.round(4)
    array([ 4.6033,  0.5565, -0.5565, -4.6033])
    >>> s.weights.sum().round(12)  # Bᵀ B = 1 + 3 + 5 + 7
    np.float64(16.0)
    """
    name_parameter(require_system(system).measure, CASCADES, "measure")
    mu, weights, shift = _core.spectral.normal_spectrum(system._native)
    return NormalSpectrum(read_only(mu), read_only(weights), shift, system)


def phase(system: System, mu: ArrayLike, *, derivative: bool = False) -> Array:
    """The phase Φ(μ) = Σ_k 2 arctan(μ w/p_k) whose odd (even) multiples of π are eigenvalues.

    Parameters
    ----------
    system : System
        As in :func:`normal_spectrum`; w is its window where A is divided by it, else 1.
    mu : array_like
        Any shape, in radians per unit of time.
    derivative : bool
        Return dΦ/dμ instead.

    Returns
    -------
    ndarray
        Of the shape of `mu`; Φ in (−Nπ, Nπ), relative error a few eps. O(1) per value for legs,
        lagt and equal poles, O(N) for others.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> s = rv.hippo.system("legs", 4)
    >>> mu = rv.spectral.normal_spectrum(s).mu
    >>> (rv.spectral.phase(s, mu) / np.pi).round(12)
    array([ 3.,  1., -1., -3.])
    """
    name_parameter(require_system(system).measure, CASCADES, "measure")
    at = as_real64(mu, "mu")
    unit = time_unit(system)
    value, slope = _core.spectral.phase(system._native, at * unit)
    result: Array = slope * unit if derivative else value
    return result


def time_unit(system: System) -> float:
    """What A and B are divided by."""
    return 1.0 if system.clock == "scaled" else system.window
