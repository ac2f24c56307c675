"""LegT as a delay: the Padé approximant of e^{−sw}, exactly."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_number64, as_real64, integer_parameter
from resolvent._html import table
from resolvent.hippo import system as hippo_system

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class PadeDelay:
    """The [N−1/N] Padé approximant of e^{−sw}; from :func:`pade_delay`.

    Attributes
    ----------
    numerator, denominator : tuple of Fraction
        Coefficients by ascending powers of s; both start with 1.
    order : int
        N, the degree of the denominator.
    window : Fraction
        The delay w.
    """

    numerator: tuple[Fraction, ...]
    denominator: tuple[Fraction, ...]
    order: int
    window: Fraction

    def __repr__(self) -> str:
        return f"PadeDelay(order={self.order}, window={self.window})"

    def _repr_html_(self) -> str:
        rows = [
            ("order", f"[{self.order - 1}/{self.order}]"),
            ("delay", str(self.window)),
            ("agrees with e^(−sw) up to", f"s^{2 * self.order - 1}"),
        ]
        return table("Padé delay", rows)

    def integers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Numerator and denominator times the least number that makes them all integers."""
        both = (*self.numerator, *self.denominator)
        multiple = math.lcm(*(c.denominator for c in both))
        common = math.gcd(*(int(c * multiple) for c in both))

        def scaled(coefficients: Sequence[Fraction]) -> tuple[int, ...]:
            return tuple(int(c * multiple) // common for c in coefficients)

        return scaled(self.numerator), scaled(self.denominator)

    def __call__(self, s: ArrayLike) -> Array:
        """The value at complex frequencies.

        Parameters
        ----------
        s : array_like
            Radians per unit of time; any shape.

        Returns
        -------
        ndarray, complex, of the shape of `s`
            C (sI − A)⁻¹ B of LegT by its tridiagonal inverse, O(N) per value: on the imaginary axis
            correct to about 12 digits at N = 200, where the polynomials' terms cancel beyond all.

        Raises
        ------
        InvalidArgument
            At a pole.
        """
        at = as_number64(s, "s").astype(np.complex128)
        system = hippo_system("legt", self.order, window=float(self.window))
        read_out = self.to_state_space()[2]
        values = [
            read_out @ system.solve(1.0 / z, system.B) / z if z != 0.0 else 1.0 for z in at.ravel()
        ]
        return np.array(values, np.complex128).reshape(at.shape)

    def poles(self) -> Array:
        """Roots of the denominator: the eigenvalues of LegT's A. Complex, shape (N,).

        By real part descending, then imaginary part descending; each correct to a few eps. In
        double precision they are lost beyond N ≈ 20, so the polynomial is evaluated in integers of
        6N + 128 bits: about 0.1 s for N = 64, 0.5 s for N = 100, 6 s for N = 256.
        """
        return self._roots(self.denominator)

    def zeros(self) -> Array:
        """Roots of the numerator, as :meth:`poles`; shape (N − 1,)."""
        return self._roots(self.numerator)

    def _roots(self, coefficients: Sequence[Fraction]) -> Array:
        normalized = [c / self.window**i for i, c in enumerate(coefficients)]
        return _exact_roots(normalized) / float(self.window)

    def to_state_space(self) -> tuple[Array, Array, Array]:
        """(A, B, C) of LegT in the probability normalisation: C (sI − A)⁻¹ B is this function.

        C_n = (−1)ⁿ √(2n+1) reads the polynomial at the far end of the window.
        """
        system = hippo_system("legt", self.order, window=float(self.window))
        n = np.arange(self.order)
        return system.A, system.B, (-1.0) ** n * np.sqrt(2.0 * n + 1.0)

    def step_response(self, t: ArrayLike) -> Array:
        """The output for an input that jumps from 0 to 1 at time 0; a delay would jump at w.

        Parameters
        ----------
        t : array_like
            Instants, not negative; any shape.

        Returns
        -------
        ndarray, of the shape of `t`
            By exact exponentials of LegT's A, from each instant to the next: one exponential for
            each distinct gap between the sorted instants, O(N³).
        """
        times = as_real64(t, "t")
        if times.size and times.min() < 0.0:
            raise _core.InvalidArgument(f"t must not be negative, got {times.min()}")
        instants, places = np.unique(times, return_inverse=True)
        native = hippo_system("legt", self.order, window=float(self.window))._native
        read_out = self.to_state_space()[2]
        state = np.zeros(self.order)
        outputs = np.empty(instants.size)
        prepared = -1.0
        for k, gap in enumerate(np.diff(instants, prepend=0.0).tolist()):
            if abs(gap - prepared) > 4.0 * np.finfo(np.float64).eps * instants[k]:
                (phi, gamma), prepared = native.propagator(gap), gap
            state = phi @ state + gamma
            outputs[k] = read_out @ state
        response: Array = outputs[places].reshape(times.shape)
        return response

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws poles and zeros; returns the axes."""
        from resolvent.plot.spectral import plot_pade_delay

        return plot_pade_delay(self, ax)


def pade_delay(order: int, window: int | str | float | Fraction = 1) -> PadeDelay:
    """The rational function that LegT is: the [N−1/N] Padé approximant of a delay, exactly.

    Parameters
    ----------
    order : int
        N ≥ 1.
    window : int, str, Fraction or float
        The delay w > 0, taken exactly: 0.1 is the float's binary value, "0.1" is a tenth.

    Returns
    -------
    PadeDelay
        Denominator Σ_i C(N,i) (2N−1−i)!/(2N−1)! (sw)^i, numerator
        Σ_i C(N−1,i) (2N−1−i)!/(2N−1)! (−sw)^i, in exact fractions.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.spectral.pade_delay(2).integers()
    ((6, -2), (6, 4, 1))
    """
    count = integer_parameter(order, "order")
    if count < 1:
        raise _core.InvalidArgument(f"order must be at least 1, got {count}")
    delay = _as_fraction(window)

    def coefficients(degree: int, sign: int) -> tuple[Fraction, ...]:
        terms = [Fraction(1)]
        for i in range(degree):
            # C(M,i+1)/C(M,i) = (M−i)/(i+1), and one factor 2N−1−i less of the factorial.
            ratio = Fraction(degree - i, (i + 1) * (2 * count - 1 - i))
            terms.append(terms[-1] * ratio * sign * delay)
        return tuple(terms)

    return PadeDelay(coefficients(count - 1, -1), coefficients(count, 1), count, delay)


def _as_fraction(window: Any) -> Fraction:
    try:
        delay = Fraction(window.item() if isinstance(window, np.generic) else window)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise _core.InvalidArgument(f"window must be a positive number, got {window!r}") from None
    if delay <= 0:
        raise _core.InvalidArgument(f"window must be positive, got {window!r}")
    if not Fraction(1, 10**300) <= delay <= 10**300:
        raise _core.InvalidArgument(f"window must lie in [1e-300, 1e300], got {window!r}")
    return delay


def _exact_roots(coefficients: Sequence[Fraction]) -> Array:
    """All roots of a Padé polynomial in sw, ascending coefficients, each to a few eps.

    Ehrlich–Aberth iteration, with p/p' in fixed-point integers: near a root the terms of p cancel
    to about e^{−N}, which double precision does not survive beyond N ≈ 20.
    """
    degree = len(coefficients) - 1
    if degree == 0:
        return np.empty(0, np.complex128)
    bits = 128 + 6 * degree
    # The roots have moduli near the degree: in units of it the coefficients grow like e^N at most.
    integers = [int(c * degree**i * (1 << bits)) for i, c in enumerate(coefficients)]
    upper = _asymptotic_roots(degree) * math.copysign(1.0, coefficients[1])
    for _ in range(50):
        largest_move = 0.0
        for i, root in enumerate(upper):
            newton = _newton_step(integers, bits, root)
            others = np.concatenate([np.delete(upper, i), upper[upper.imag != 0.0].conj()])
            step = newton / (1.0 - newton * np.sum(1.0 / (root - others)))
            upper[i] -= step.real if root.imag == 0.0 else step
            largest_move = max(largest_move, abs(step) / abs(root))
        if largest_move < 4.0 * np.finfo(np.float64).eps:
            break
    else:
        raise _core.NotConverged(f"the roots of a polynomial of degree {degree} were not found")
    found = np.concatenate([upper, upper[upper.imag != 0.0].conj()]) * degree
    ordered: Array = found[np.lexsort((-found.imag, -found.real))]
    return ordered


def _asymptotic_roots(degree: int) -> Array:
    """The poles with Im ≥ 0 for large degrees, over the degree; an odd one's real pole is real.

    The denominator of the [N/N] approximant is z^{N+½} e^z K_{N+½}(z) with z = sw/2, and the zeros
    of K_ν(νζ) lie where √(1+ζ²) + ln(ζ/(1+√(1+ζ²))) = iθ for θ = π(1 − m/N), m = N/2 − ½, … ≥ 0
    (Olver 1954). From the real one, or the one beside it, outwards.
    """
    roots = []
    zeta: complex = -0.6627434193491816 + 0.0j  # θ = π
    for k in range((degree + 1) // 2):
        m = k + (0.0 if degree % 2 else 0.5)
        theta = math.pi * (1.0 - m / degree)
        for _ in range(20 if m else 0):
            root = cmath.sqrt(1.0 + zeta * zeta)
            excess = root + cmath.log(complex(zeta.real, abs(zeta.imag)) / (1.0 + root))
            zeta -= (excess - 1j * theta) * zeta / root
        roots.append(zeta)
    return np.array(roots) * (2.0 + 1.0 / degree)


def _newton_step(integers: Sequence[int], bits: int, at: complex) -> complex:
    """p(z)/p'(z) by Horner's rule; integers stand for multiples of 2^−bits."""
    unit = 1 << bits
    a, b = (int(Fraction(part) * unit) for part in (at.real, at.imag))
    re = im = slope_re = slope_im = 0
    for c in reversed(integers):
        slope_re, slope_im = (
            ((slope_re * a - slope_im * b) >> bits) + re,
            ((slope_re * b + slope_im * a) >> bits) + im,
        )
        re, im = ((re * a - im * b) >> bits) + c, (re * b + im * a) >> bits
    size = slope_re**2 + slope_im**2
    if size == 0:
        return 0j
    # A quotient of Python integers is correctly rounded, however long they are.
    real = (re * slope_re + im * slope_im) / size
    imag = (im * slope_re - re * slope_im) / size
    return complex(real, imag)
