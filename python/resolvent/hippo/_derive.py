"""The general construction: a basis and a time map give a system."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, integer_parameter, name_parameter, real_parameter
from resolvent._warnings import IllConditionedWarning
from resolvent.hippo._system import System

#: Condition number of the Gram matrix from which :func:`derive` warns.
_WARN_CONDITION = 1e6

BasisName = Literal["legendre", "chebyshev", "fourier"]
MapName = Literal["window", "scaled", "sqrt"]
BasisFunction: TypeAlias = Callable[[int, Array], Array]
MapFunction: TypeAlias = Callable[[Array], Array]
TimeMap: TypeAlias = tuple[MapFunction, MapFunction, str]


@dataclass(frozen=True, eq=False)
class _Basis:
    """Functions on an interval, with derivatives: rows of tables at given points."""

    name: str
    interval: tuple[float, float]
    value: BasisFunction
    derivative: BasisFunction

    def values(self, order: int, s: Array) -> Array:
        return np.array([self._row(self.value, n, s) for n in range(order)])

    def derivatives(self, order: int, s: Array) -> Array:
        return np.array([self._row(self.derivative, n, s) for n in range(order)])

    def _row(self, function: BasisFunction, n: int, s: Array) -> Array:
        row = np.broadcast_to(np.asarray(function(n, s), dtype=np.float64), s.shape)
        if not np.all(np.isfinite(row)):
            raise _core.InvalidArgument(f"basis must be finite inside its interval, n = {n} is not")
        return row


class _Legendre:
    """√((2n+1)/(b−a)) P_n and its derivative, on [a, b]."""

    def __init__(self, a: float, b: float, derivative: bool) -> None:
        self.a, self.b, self.derivative = a, b, derivative

    def __call__(self, n: int, s: Array) -> Array:
        z = (2.0 * s - self.a - self.b) / (self.b - self.a)
        p, dp = [np.ones_like(z), z], [np.zeros_like(z), np.ones_like(z)]
        for k in range(1, n):
            p.append(((2 * k + 1) * z * p[k] - k * p[k - 1]) / (k + 1))
            dp.append((2 * k + 1) * p[k] + dp[k - 1])
        factor = math.sqrt((2 * n + 1) / (self.b - self.a))
        row: Array = dp[n] * (2.0 / (self.b - self.a)) if self.derivative else p[n]
        return factor * row


class _Chebyshev:
    """T_n on [−1, 1], orthonormal under dt/√(1 − t²), and its derivative n U_{n−1}."""

    def __init__(self, derivative: bool) -> None:
        self.derivative = derivative

    def __call__(self, n: int, s: Array) -> Array:
        factor = math.sqrt((1.0 if n == 0 else 2.0) / math.pi)
        angle: Array = np.arccos(np.clip(s, -1.0, 1.0))
        row: Array = np.cos(n * angle)
        if not self.derivative:
            return factor * row
        sine = np.sin(angle)
        inner = np.abs(sine) > 1e-8
        ends = n * n * np.where(s > 0, 1.0, (-1.0) ** (n + 1))
        ratio = np.divide(np.sin(n * angle), sine, out=np.zeros_like(s), where=inner)
        row = np.where(inner, n * ratio, ends)
        return factor * row


class _Fourier:
    """1, √2cos 2πs, √2sin 2πs, … on [0, 1], and derivatives."""

    def __init__(self, derivative: bool) -> None:
        self.derivative = derivative

    def __call__(self, n: int, s: Array) -> Array:
        if n == 0:
            return np.zeros_like(s) if self.derivative else np.ones_like(s)
        turns = ((n + 1) // 2) * s
        angle = 2.0 * np.pi * (turns - np.round(turns))
        is_cosine = n % 2 == 1
        row: Array = np.cos(angle) if is_cosine != self.derivative else np.sin(angle)
        if not self.derivative:
            return math.sqrt(2.0) * row
        omega = 2.0 * math.pi * ((n + 1) // 2)
        return math.sqrt(2.0) * (-omega if is_cosine else omega) * row


class _LinearMap:
    """φ of the maps in which time is linear in s: constant (window) or (s − a) (scaled)."""

    def __init__(self, a: float, slope: float, constant: float, derivative: bool) -> None:
        self.a, self.slope, self.constant, self.derivative = a, slope, constant, derivative

    def __call__(self, s: Array) -> Array:
        if self.derivative:
            return np.full_like(s, self.slope)
        return self.constant + self.slope * (s - self.a)


@dataclass(frozen=True, eq=False)
class Derivation:
    """What a derived system keeps: its matrices for a unit window, and its functions."""

    A: Array
    B: Array
    clock: str
    unit: float
    order: int
    functions: _Basis
    gram: Array
    phi: MapFunction
    far_end: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.functions.interval

    def basis(self, s: Array) -> Array:
        """The functions that coefficients multiply: the dual basis."""
        return np.linalg.solve(self.gram, self.functions.values(self.order, s))

    def positions(self, times: Array, now: float, window: float) -> Array:
        """The s of each instant: ∫_s^b dσ/φ(σ) = (now − t)/window, or ln(now/t)."""
        if times.size and times.max() > now:
            raise _core.InvalidArgument(f"times must not lie after now = {now}, got {times.max()}")
        if self.clock == "scaled":
            if times.size and times.min() < 0.0:
                raise _core.InvalidArgument(f"times must lie in [0, {now}], got {times.min()}")
            with np.errstate(divide="ignore"):
                delay = np.log(now / times)
        else:
            delay = (now - times) / window
        if delay.size and np.nanmax(np.where(np.isinf(delay), -1.0, delay)) > self.far_end * (
            1.0 + 1e-12
        ):
            raise _core.InvalidArgument(
                f"times must lie in the window [{now - self.far_end * window}, {now}], "
                f"got {times.min()}"
            )
        return self._invert(delay)

    def _invert(self, delay: Array) -> Array:
        """Follows ds = −φ(s) d(delay) from b: Newton steps on Gauss-quadrature integrals."""
        a, b = self.interval
        nodes, weights = _core.hippo.gauss_legendre(24)
        result = np.empty_like(delay)
        place, reached = b, 0.0
        for i in np.argsort(delay, kind="stable"):
            if np.isinf(delay[i]):
                result[i] = a
                continue
            while delay[i] > reached:
                gap = min(delay[i] - reached, 0.25)
                place = self._advance(place, gap, nodes, weights)
                reached = delay[i] if gap < 0.25 else reached + gap
            result[i] = place
        return result

    def _advance(self, place: float, gap: float, nodes: Array, weights: Array) -> float:
        a = self.interval[0]
        s = place - gap * self._phi(place)
        for _ in range(50):
            s = max(s, a + 1e-3 * (place - a)) if s <= a else s
            half = 0.5 * (place - s)
            inside = 0.5 * (place + s) + half * nodes
            spent = half * float(weights @ (1.0 / self.phi(inside)))
            change = (spent - gap) * self._phi(s)
            s += change
            if abs(change) <= 4e-16 * max(1.0, abs(s)):
                return max(s, a)
        raise _core.NotConverged("the time map could not be inverted: phi must be smooth and > 0")

    def _phi(self, s: float) -> float:
        return float(np.asarray(self.phi(np.array([s])))[0])

    def optimal(self, u: Array, edges: Array, at: Array, window: float) -> Array:
        """∫ u h_n ds, cell by cell with as many Gauss nodes as the order's degree needs."""
        nodes, weights = _core.hippo.gauss_legendre(self.order // 2 + 16)
        out = np.empty((*u.shape[:-1], at.size, self.order))
        a, b = self.interval
        for i, now in enumerate(at):
            oldest = now - self.far_end * window if self.clock == "window" else -np.inf
            clipped = np.clip(edges, oldest, now)
            places = self.positions(clipped, float(now), window)
            total = np.zeros((*u.shape[:-1], self.order))
            for cell in range(u.shape[-1]):
                low, high = places[cell], places[cell + 1]
                if high <= low:
                    continue
                s = 0.5 * (low + high) + 0.5 * (high - low) * nodes
                integral = (
                    0.5
                    * (high - low)
                    * (self.functions.values(self.order, np.clip(s, a, b)) @ weights)
                )
                total += u[..., cell, np.newaxis] * integral
            out[..., i, :] = total
        return out


def derive(
    basis: BasisName | Sequence[BasisFunction],
    time_map: MapName | TimeMap,
    order: int,
    *,
    window: float = 1.0,
    closure: Literal["left", "average"] = "left",
    interval: tuple[float, float] | None = None,
) -> System:
    """The system that any basis and any time map give.

    With c_n(T) = ∫ u(t_T(s)) g_n(s) ds and φ = (∂t/∂T)/(∂t/∂s), integration by parts gives
    c' = A c + B u with A_nk = −∫ g_k (φ g_n)' ds − φ(a) g_n(a) g_k(a) and B_n = φ(b) g_n(b),
    where g_k stands for the dual functions if the basis is not orthonormal.

    Parameters
    ----------
    basis : str or (value, derivative)
        ``"legendre"`` (orthonormal on [−1, 1]; on [0, 1] for the map "sqrt"), ``"chebyshev"``
        (orthonormal under the Chebyshev weight on [−1, 1]; its coefficients are plain integrals,
        and the reconstruction uses the dual basis, so it holds the same past as Legendre's),
        ``"fourier"`` (1, √2cos 2πs, √2sin 2πs, … on [0, 1]), or two functions f(n, s) of an index
        and an array, on `interval`.
    time_map : str or (phi, dphi, clock)
        ``"window"``: the last `window`. ``"scaled"``: the whole past, uniformly. ``"sqrt"``: the
        whole past as t = T√s on [0, 1], with more resolution near now. Or φ for T = 1 or
        window = 1, its derivative, both functions of an array, and the clock, "window" or
        "scaled".
    order : int
        Number N ≥ 1 of coefficients.
    window : float
        Length of the window (clock "window").
    closure : {"left", "average"}
        What stands for the value that leaves a window; "average" for periodic bases only, see
        :func:`system`.
    interval : (float, float), optional
        Where user-given functions live; only for those.

    Returns
    -------
    System
        Measure "derived", normalization "lebesgue"; its steps take O(N²).

    Warns
    -----
    IllConditionedWarning
        When the condition number of the functions' Gram matrix, the warning's `value`, is 10⁶ or
        more.

    Notes
    -----
    The integrals are Gauss–Legendre sums with 4N + 64 nodes: exact for the named bases with the
    named maps (to rounding, about N² eps). A must be determined by functions that are smooth on
    the closed interval.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> s = rv.hippo.derive("legendre", "sqrt", 4)
    >>> np.sort(np.linalg.eigvals(s.A).real).round(10)
    array([-8., -6., -4., -2.])
    """
    count = integer_parameter(order, "order")
    if count < 1:
        raise _core.InvalidArgument(f"order must be at least 1, got {count}")
    length = real_parameter(window, "window")
    if not (np.isfinite(length) and length > 0.0):
        raise _core.InvalidArgument(f"window must be positive and finite, got {length}")
    functions = _basis(basis, time_map, interval)
    phi, dphi, clock, far_end = _time_map(time_map, functions.interval)
    name_parameter(closure, ("left", "average"), "closure")
    if closure == "average" and functions.name != "fourier":
        raise _core.InvalidArgument(
            "closure 'average' is for basis 'fourier', whose functions are periodic"
        )
    A, B, gram = _integrate(functions, phi, dphi, count, 2.0 if closure == "average" else 1.0)
    unit = length if clock == "window" else 1.0
    derivation = Derivation(A, B, clock, unit, count, functions, gram, phi, far_end)
    return System(
        measure="derived",
        order=count,
        window=length,
        normalization="lebesgue",
        closure=closure,
        _derivation=derivation,
    )


def _basis(basis: Any, time_map: Any, interval: tuple[float, float] | None) -> _Basis:
    if not isinstance(basis, str):
        return _user_basis(basis, interval)
    name_parameter(basis, ("legendre", "chebyshev", "fourier"), "basis")
    if interval is not None:
        raise _core.InvalidArgument(f"interval is for user-given functions, not for {basis!r}")
    if basis == "fourier":
        return _Basis(basis, (0.0, 1.0), _Fourier(False), _Fourier(True))
    if basis == "chebyshev":
        return _Basis(basis, (-1.0, 1.0), _Chebyshev(False), _Chebyshev(True))
    a, b = (0.0, 1.0) if time_map == "sqrt" else (-1.0, 1.0)
    return _Basis(basis, (a, b), _Legendre(a, b, False), _Legendre(a, b, True))


def _user_basis(basis: Any, interval: tuple[float, float] | None) -> _Basis:
    if not (isinstance(basis, Sequence) and len(basis) == 2 and all(map(callable, basis))):
        raise _core.InvalidArgument(
            "basis must be 'legendre', 'chebyshev', 'fourier' or two functions "
            f"(value, derivative); got {basis!r}"
        )
    if interval is None:
        raise _core.InvalidArgument("interval = (a, b) must be given with user-given functions")
    a, b = (real_parameter(end, "interval") for end in interval)
    if not (np.isfinite(a) and np.isfinite(b) and a < b):
        raise _core.InvalidArgument(f"interval must be finite and increasing, got ({a}, {b})")
    return _Basis("user", (a, b), basis[0], basis[1])


def _time_map(
    time_map: Any, interval: tuple[float, float]
) -> tuple[MapFunction, MapFunction, str, float]:
    """φ, φ', the clock, and the delay of the far end."""
    a, b = interval
    if isinstance(time_map, str):
        name_parameter(time_map, ("window", "scaled", "sqrt"), "time_map")
        if time_map == "window":
            slope, constant, far_end = 0.0, b - a, 1.0
        elif time_map == "scaled":
            slope, constant, far_end = 1.0, 0.0, np.inf
        elif (a, b) == (0.0, 1.0):
            slope, constant, far_end = 2.0, 0.0, np.inf
        else:
            raise _core.InvalidArgument(
                f"time_map 'sqrt' needs a basis on [0, 1], this one's interval is [{a}, {b}]"
            )
        clock = "window" if time_map == "window" else "scaled"
        return (
            _LinearMap(a, slope, constant, False),
            _LinearMap(a, slope, constant, True),
            clock,
            far_end,
        )
    if not (isinstance(time_map, Sequence) and len(time_map) == 3):
        raise _core.InvalidArgument(
            f"time_map must be 'window', 'scaled', 'sqrt' or (phi, dphi, clock); got {time_map!r}"
        )
    phi, dphi, clock = time_map
    name_parameter(clock, ("window", "scaled"), "clock of time_map")
    if clock == "scaled":
        return phi, dphi, clock, np.inf
    nodes, weights = _core.hippo.gauss_legendre(200)
    s = 0.5 * (a + b) + 0.5 * (b - a) * nodes
    return phi, dphi, clock, 0.5 * (b - a) * float(weights @ (1.0 / np.asarray(phi(s))))


def _check_independence(gram: Array) -> None:
    """The dual basis, and so A and B, lose as many digits as the Gram matrix's condition has."""
    condition = float(np.linalg.cond(gram))
    if condition > 1.0 / np.finfo(np.float64).eps:
        raise _core.InvalidArgument(
            "basis must hold linearly independent functions; the condition number of their Gram "
            f"matrix is {condition:.3g}"
        )
    if condition > _WARN_CONDITION:
        warnings.warn(
            IllConditionedWarning(
                f"the functions of the basis are nearly dependent: {math.log10(condition):.0f} "
                "of 16 digits are lost; orthogonalise them",
                condition,
            ),
            stacklevel=4,
        )


def _integrate(
    functions: _Basis, phi: MapFunction, dphi: MapFunction, order: int, kappa: float
) -> tuple[Array, Array, Array]:
    """A, B and the Gram matrix, for T = 1 or a unit window."""
    a, b = functions.interval
    nodes, weights = _core.hippo.gauss_legendre(4 * order + 64)
    s = 0.5 * (a + b) + 0.5 * (b - a) * nodes
    weights = 0.5 * (b - a) * weights
    ends = np.array([a, b])
    value, derivative = functions.values(order, s), functions.derivatives(order, s)
    at_a, at_b = functions.values(order, ends).T
    phi_a, phi_b = np.asarray(phi(ends), dtype=np.float64)
    moved = np.asarray(dphi(s)) * value + np.asarray(phi(s)) * derivative
    gram = (value * weights) @ value.T
    _check_independence(gram)
    if np.abs(gram - np.eye(order)).max() < 1e3 * np.finfo(np.float64).eps * order:
        gram = np.eye(order)
    inner = -(moved * weights) @ value.T - kappa * phi_a * np.outer(at_a, at_a)
    A = np.linalg.solve(gram.T, inner.T).T
    B = phi_b * at_b + (kappa - 1.0) * phi_a * at_a
    return A, B, gram
