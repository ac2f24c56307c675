"""Systems: which functions the coefficients multiply, and the matrices that follow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    as_number,
    as_real64,
    integer_parameter,
    name_parameter,
    narrowed,
    number_parameter,
    read_only,
    real_parameter,
)
from resolvent._html import table

if TYPE_CHECKING:
    from resolvent.hippo._derive import Derivation

Measure = Literal["legs", "legt", "lmu", "lagt", "glagt", "fout", "fous", "malmquist"]
Normalization = Literal["probability", "lebesgue", "legendre", "lmu", "laguerre", "complex"]
Closure = Literal["left", "average"]

#: Orders beyond this have coefficients that no machine holds.
_LARGEST_ORDER = 2**40

MEASURES: tuple[str, ...] = get_args(Measure)
_NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)
_CLOSURES: tuple[str, ...] = get_args(Closure)


def require_system(value: object) -> System:
    """The argument `system`, if it is one."""
    if isinstance(value, System):
        return value
    raise _core.DtypeError(
        f"system must be a System, from rv.hippo.system(...) or derive(...); got {value!r}"
    )


def _core_measure(measure: str) -> str:
    """LMU is LegT in another normalisation."""
    return "legt" if measure == "lmu" else measure


@dataclass(frozen=True)
class System:
    """A HiPPO system, as :func:`system` or :func:`derive` makes it.

    Nothing of size N is computed before it is asked for, so a system of order 10⁶ costs nothing.

    Attributes
    ----------
    measure : str
        Which past is remembered, and how it is weighted.
    order : int
        Number N of coefficients.
    window : float
        Length of the window (legt, lmu, fout), or the unit of time of a fading memory.
    normalization : str
        Which basis the coefficients multiply.
    closure : str
        What fout takes for the value that leaves the window.
    poles : tuple of float, optional
        The poles of malmquist.
    alpha, beta : float
        The parameters of glagt.
    time_invariant : bool
        True for what :meth:`invariant` returns.
    """

    measure: str
    order: int
    window: float = 1.0
    normalization: str = "probability"
    closure: str = "average"
    poles: tuple[float, ...] | None = field(default=None, repr=False)
    alpha: float = 0.0
    beta: float = 0.01
    time_invariant: bool = False
    _derivation: Derivation | None = field(default=None, repr=False)

    # ---- what it is ----------------------------------------------------------------------------

    @cached_property
    def _native(self) -> _core.hippo.System:
        if self._derivation is not None:
            d = self._derivation
            return _core.hippo.System.dense(d.A / d.unit, d.B / d.unit, self.clock, self.window)
        return _core.hippo.System(
            _core_measure(self.measure),
            self.order,
            self.window,
            self.normalization,
            self.closure,
            None if self.poles is None else np.array(self.poles, dtype=np.float64),
            self.alpha,
            self.beta,
            self.time_invariant,
        )

    @property
    def _is_complex(self) -> bool:
        return self.normalization == "complex"

    @cached_property
    def _real(self) -> System:
        """The system in real coefficients that the computation uses."""
        return replace(self, normalization="probability") if self._is_complex else self

    @property
    def clock(self) -> str:
        """How time enters.

        ``"window"`` (x' = A x + B u, a window of fixed length), ``"scaled"``
        (x' = (A x + B u)/t, the whole past) or ``"invariant"`` (x' = A x + B u, a fading past).
        """
        if self._derivation is not None:
            return self._derivation.clock
        return str(self._native.clock)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the coefficients: float64, or complex128 for the complex normalisation."""
        return np.dtype(np.complex128 if self._is_complex else np.float64)

    @cached_property
    def A(self) -> Array:
        """The matrix A, shape (N, N), read-only; made on first access, O(N²) memory."""
        return read_only(self._native.A())

    @cached_property
    def B(self) -> Array:
        """The vector B, shape (N,), read-only."""
        return read_only(self._native.B())

    # ---- what it does --------------------------------------------------------------------------

    def apply(self, x: ArrayLike) -> Array:
        """A x, without the matrix.

        Parameters
        ----------
        x : array_like, shape (..., N)
            Real or complex.

        Returns
        -------
        ndarray, shape (..., N)
            Relative error about N eps. O(N) per vector; O(N²) for fous and derived systems.

        Examples
        --------
        >>> import numpy as np, resolvent as rv
        >>> s = rv.hippo.system("legs", 6)
        >>> bool(np.allclose(s.apply(np.ones(6)), s.A @ np.ones(6)))
        True
        """
        vector = as_number(x, "x")
        if self._is_complex:
            result = to_complex(self._real.apply(from_complex(self._checked(vector, "x"))))
        elif np.iscomplexobj(vector):
            result = self._native.apply_complex(vector.astype(np.complex128, copy=False))
        else:
            result = self._native.apply(vector.astype(np.float64, copy=False))
        return narrowed(result, vector)

    def solve(self, lam: complex, v: ArrayLike) -> Array:
        """(I − λA)⁻¹ v, without the matrix: one implicit step, or the resolvent at 1/λ.

        Parameters
        ----------
        lam : float or complex
            λ, finite.
        v : array_like, shape (..., N)
            Real or complex.

        Returns
        -------
        ndarray, shape (..., N)
            Complex where `lam` or `v` is. O(N) per vector; one O(N³) factorisation for fous and
            derived systems, and for fout within 1e-8 of a resonance.

        Raises
        ------
        InvalidArgument
            Where I − λA is singular.

        Examples
        --------
        >>> import numpy as np, resolvent as rv
        >>> s = rv.hippo.system("legt", 5)
        >>> v = np.arange(5.0)
        >>> z = s.solve(0.1, v)
        >>> bool(np.allclose(z - 0.1 * s.apply(z), v))
        True
        """
        vector = as_number(v, "v")
        weight = number_parameter(lam, "lam")
        if not np.isfinite(weight):
            raise _core.InvalidArgument(f"lam must be finite, got {lam!r}")
        if self._is_complex:
            real = self._real.solve(weight, from_complex(self._checked(vector, "v")))
            result = to_complex(real)
        elif isinstance(weight, complex) or np.iscomplexobj(vector):
            result = self._native.solve_complex(weight, vector.astype(np.complex128, copy=False))
        else:
            result = self._native.solve(weight, vector.astype(np.float64, copy=False))
        return narrowed(result, vector)

    def _checked(self, vector: Array, name: str) -> Array:
        if vector.ndim == 0 or vector.shape[-1] != self.order:
            raise _core.ShapeMismatch(
                f"{name} must have shape (..., {self.order}), got {vector.shape}"
            )
        return vector

    def basis(self, s: ArrayLike) -> Array:
        """The functions that the coefficients multiply.

        Parameters
        ----------
        s : array_like, shape (K,)
            Places: in [0, 1] from the oldest instant (0) to now (1) for legs, legt, lmu, fout and
            fous; the lag (now − t)/window ≥ 0 for lagt, glagt and malmquist; e^{−lag} in (0, 1] for
            legs read as invariant; the basis's own interval for derived systems.

        Returns
        -------
        ndarray, shape (N, K)
            Row n is function n. Error about N eps relative to the function's maximum. For glagt
            with alpha < 0 the functions are infinite at lag 0.

        Examples
        --------
        >>> import resolvent as rv
        >>> rv.hippo.system("legs", 3, normalization="legendre").basis([0.0, 0.5, 1.0])
        array([[ 1. ,  1. ,  1. ],
               [-1. ,  0. ,  1. ],
               [ 1. , -0.5,  1. ]])
        """
        at = as_real64(s, "s")
        if at.ndim != 1:
            raise _core.ShapeMismatch(f"s must have shape (K,), got {at.shape}")
        low, high = self._domain()
        if at.size and not (low <= at.min() and at.max() <= high):
            bad = at[(at < low) | (at > high)][0]
            raise _core.InvalidArgument(f"s must lie in [{low:g}, {high:g}], got {bad}")
        if self._derivation is not None:
            return self._derivation.basis(at)
        if self._is_complex:
            turns = np.multiply.outer(self.frequencies, at)
            waves: Array = np.exp(2j * np.pi * (turns - np.round(turns)))
            return waves
        return self._native.basis(at)

    def _domain(self) -> tuple[float, float]:
        if self._derivation is not None:
            return self._derivation.interval
        fades = self.clock == "invariant" and not self.time_invariant
        return (0.0, np.inf) if fades else (0.0, 1.0)

    @property
    def frequencies(self) -> Array:
        """Oscillations per window of each coefficient (fout, fous); −M…M if complex."""
        if self.measure not in ("fout", "fous"):
            raise _core.InvalidArgument(
                f"only measures 'fout' and 'fous' have frequencies, not {self.measure!r}"
            )
        n: Array = np.arange(self.order)
        return n - self.order // 2 if self._is_complex else (n + 1) // 2

    def to(self, normalization: str) -> System:
        """The same system in another normalisation.

        Parameters
        ----------
        normalization : str
            One of ``normalizations(measure)``.

        Examples
        --------
        >>> import resolvent as rv
        >>> rv.hippo.system("legt", 2).to("legendre").B
        array([1., 3.])
        """
        valid = normalizations(_core_measure(self.measure))
        name_parameter(normalization, valid, "normalization")
        measure = "legt" if self.measure == "lmu" and normalization != "lmu" else self.measure
        result = replace(self, measure=measure, normalization=normalization)
        _ = result._native  # checks the combination
        return result

    def invariant(self) -> System:
        """The matrices of the scaled clock read as x' = A x + B u, as S4 does with LegS.

        The 1/t that slows the memory down is dropped, so what was polynomial forgetting becomes
        exponential: coefficient n sees the past through e^{tA}B, and legs' functions of t/now
        become the same functions of e^{−(now − t)/window}.
        """
        if self.clock != "scaled":
            raise _core.InvalidArgument(
                f"invariant() is for systems of clock 'scaled'; this one's is {self.clock!r}"
            )
        if self._derivation is not None:
            derivation = replace(self._derivation, clock="invariant", unit=self.window)
            return replace(self, time_invariant=True, _derivation=derivation)
        return replace(self, time_invariant=True)

    # ---- housekeeping --------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("measure", self.measure),
            ("order", str(self.order)),
            ("clock", self.clock),
            ("normalization", self.normalization),
        ]
        if self.clock != "scaled":
            rows.append(("window", f"{self.window:g}"))
        if self.measure == "fout":
            rows.append(("closure", self.closure))
        if self.measure == "glagt":
            rows += [("alpha", f"{self.alpha:g}"), ("beta", f"{self.beta:g}")]
        return rows

    def _repr_html_(self) -> str:
        return table("HiPPO system", self._rows())


def to_complex(coefficients: Array) -> Array:
    """Cosine and sine coefficients (1, cos 1, sin 1, …) → exponentials −M…M. Unitary."""
    half = math.sqrt(0.5)
    cosine, sine = coefficients[..., 1::2], coefficients[..., 2::2]
    positive = half * (cosine - 1j * sine)
    negative = half * (cosine + 1j * sine)
    return np.concatenate([negative[..., ::-1], coefficients[..., :1], positive], axis=-1)


def from_complex(coefficients: Array) -> Array:
    """The inverse of :func:`to_complex`; real where the coefficients are a real signal's."""
    half = math.sqrt(0.5)
    middle = coefficients.shape[-1] // 2
    positive = coefficients[..., middle + 1 :]
    negative = coefficients[..., middle - 1 :: -1] if middle else positive
    real = np.empty(coefficients.shape, np.result_type(coefficients, np.complex64))
    real[..., 0] = coefficients[..., middle]
    real[..., 1::2] = half * (positive + negative)
    real[..., 2::2] = 1j * half * (positive - negative)
    return real


def real_signal_coefficients(coefficients: Array) -> Array:
    """As :func:`from_complex`, for coefficients that must be a real signal's."""
    real = from_complex(coefficients)
    size = float(np.max(np.abs(real), initial=0.0))
    excess = float(np.max(np.abs(real.imag), initial=0.0))
    if excess > 64 * np.finfo(coefficients.real.dtype).eps * size:
        raise _core.InvalidArgument(
            "coefficients must satisfy c[-n] = conj(c[n]), as those of a real signal do; they "
            f"miss it by {excess:.3g}"
        )
    return np.ascontiguousarray(real.real)


def normalizations(measure: str) -> tuple[str, ...]:
    """The normalisations that a measure has, its default first.

    ``"probability"`` has functions orthonormal under the uniform probability on the window;
    ``"lebesgue"`` under dt on the reference interval (of length 2 for Legendre); ``"legendre"``
    has plain P_n; ``"lmu"`` plain P_n on the reversed window; ``"laguerre"`` plain generalised
    Laguerre polynomials (glagt); ``"complex"`` exponentials −M…M instead of cosines and sines.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.hippo.normalizations("legs")
    ('probability', 'lebesgue', 'legendre')
    """
    name_parameter(measure, (*MEASURES, "derived"), "measure")
    return ("lmu",) if measure == "lmu" else tuple(_core.hippo.normalizations(measure))


def system(
    measure: Measure,
    order: int,
    *,
    window: float = 1.0,
    normalization: Normalization = "probability",
    closure: Closure = "average",
    poles: ArrayLike | None = None,
    alpha: float = 0.0,
    beta: float = 0.01,
) -> System:
    """A HiPPO system by name.

    Parameters
    ----------
    measure : str
        - ``"legs"``: Legendre polynomials over the whole past (clock "scaled").
        - ``"legt"``: Legendre polynomials over the last `window`.
        - ``"lmu"``: the same in the Legendre memory unit's convention.
        - ``"lagt"``, ``"glagt"``: (generalised) Laguerre functions of the lag.
        - ``"fout"``: Fourier series over the last `window`. Take an odd order: the last cosine of
          an even one lacks its sine, so A is singular and that coefficient only repeats √2 times
          the constant's.
        - ``"fous"``: Fourier series over the whole past (clock "scaled").
        - ``"malmquist"``: the orthonormal functions of the cascade of all-pass sections with the
          given `poles`; poles ½, ½, … give lagt.
    order : int
        Number N ≥ 1 of coefficients.
    window : float
        Length of the window (legt, lmu, fout), in the unit of the signal's time; the unit of time
        of a fading memory (lagt, glagt, malmquist, and :meth:`System.invariant`). The matrices of
        the scaled clock do not depend on it: they remember everything.
    normalization : str
        One of ``normalizations(measure)``.
    closure : {"average", "left"}
        fout only: what stands for the value u(now − window) that leaves the window. "average" (the
        public code's, κ = 2) uses that a Fourier series has the mean of both ends at a jump,
        "left" (κ = 1) takes the series' own value, which lets a third of each window leak into
        the next.
    poles : array_like, shape (order,)
        malmquist only: positive.
    alpha, beta : float
        glagt only: −1 < alpha < 1 and beta > 0.

    Returns
    -------
    System

    Raises
    ------
    InvalidArgument
        For an unknown name (the message lists the valid ones) or a value out of range.

    Notes
    -----
    Formulas and sources: the theory page of the documentation. Matrix entries are accurate to a
    few units in the last place.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.hippo.system("legs", 3, normalization="legendre").A
    array([[-1.,  0.,  0.],
           [-3., -2.,  0.],
           [-5., -5., -3.]])
    """
    name_parameter(measure, MEASURES, "measure")
    name_parameter(normalization, _NORMALIZATIONS, "normalization")
    name_parameter(closure, _CLOSURES, "closure")
    count = integer_parameter(order, "order")
    if count > _LARGEST_ORDER:
        raise _core.InvalidArgument(f"order must be at most {_LARGEST_ORDER}, got {count}")
    if poles is None and measure == "malmquist":
        raise _core.InvalidArgument("poles must be given for measure 'malmquist'")
    if poles is not None and measure != "malmquist":
        raise _core.InvalidArgument(f"poles are for measure 'malmquist' only, not {measure!r}")
    if measure == "lmu":
        if normalization not in ("probability", "lmu"):
            raise _core.InvalidArgument(
                f"measure 'lmu' is legt in normalization 'lmu'; for {normalization!r} take 'legt'"
            )
        normalization = "lmu"
    made = System(
        measure=measure,
        order=count,
        window=real_parameter(window, "window"),
        normalization=normalization,
        closure=closure,
        poles=None if poles is None else _pole_tuple(poles),
        alpha=real_parameter(alpha, "alpha"),
        beta=real_parameter(beta, "beta"),
    )
    _ = made._native  # checks the values
    return made


def _pole_tuple(poles: ArrayLike) -> tuple[float, ...]:
    array = as_real64(poles, "poles")
    if array.ndim != 1:
        raise _core.ShapeMismatch(f"poles must have shape (order,), got {array.shape}")
    return tuple(array.tolist())


def convert(coefficients: ArrayLike, source: System, target: System | str) -> Array:
    """Coefficients of one normalisation as those of another.

    Parameters
    ----------
    coefficients : array_like, shape (..., N)
        In the normalisation of `source`.
    source : System
        What they are.
    target : System or str
        What they shall be: a system of the same functions, or a normalisation's name.

    Returns
    -------
    ndarray, shape (..., N)
        Error 2 eps per coefficient. O(N).

    Examples
    --------
    >>> import resolvent as rv
    >>> s = rv.hippo.system("legs", 3)
    >>> rv.hippo.convert([1.0, 1.0, 1.0], s, "legendre").round(4)
    array([1.    , 1.7321, 2.2361])
    """
    require_system(source)
    goal = source.to(target) if isinstance(target, str) else target
    _require_same_functions(source, require_system(goal))
    given = source._checked(as_number(coefficients, "coefficients"), "coefficients")
    if goal.normalization == source.normalization:
        same: Array = given.copy()
        return same
    values = given
    if source._is_complex:
        values = real_signal_coefficients(given)
    ratio = goal._real._native.scale() / source._real._native.scale()
    result: Array = values * ratio
    return narrowed(to_complex(result) if goal._is_complex else result, given)


def _require_same_functions(source: System, target: System) -> None:
    def key(s: System) -> tuple[object, ...]:
        plain = replace(s, measure=_core_measure(s.measure), normalization="", closure="average")
        return tuple(getattr(plain, f.name) for f in fields(plain))

    if key(source) != key(target):
        raise _core.InvalidArgument(
            f"target must have the functions of source up to normalisation; got {target!r} "
            f"for {source!r}"
        )
