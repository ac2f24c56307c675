"""Eigenvalues and eigenvectors of A itself, and how many digits of them mean anything."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, overload

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, as_square, read_only
from resolvent._html import table
from resolvent._warnings import IllConditionedWarning
from resolvent.hippo import System
from resolvent.spectral._dplr import DPLR, Diagonal
from resolvent.spectral._normal import CASCADES, time_unit
from resolvent.spectral._pade import pade_delay

#: Decimal digits of double precision: its unit roundoff is half of eps.
DIGITS = -math.log10(0.5 * np.finfo(np.float64).eps)

#: What has a matrix A.
Model: TypeAlias = System | DPLR | Diagonal | ArrayLike

#: log10 of a condition number beyond which a dense computation only says "at least".
_RESOLVED = DIGITS - 2.0

#: Largest order for which LegT's eigenvalues are computed in long integers.
_EXACT_WINDOW = 256


def frobenius(matrix: Array) -> float:
    """‖A‖_F, also where the squares of the entries overflow."""
    largest = float(np.abs(matrix).max())
    return largest * float(np.linalg.norm(matrix / largest)) if largest > 0.0 else 0.0


def as_matrix(value: Model, name: str = "A") -> Array:
    """The matrix of a system or model, or a finite square matrix; complex128, C-contiguous."""
    if isinstance(value, DPLR):
        array = value.to_dense()
    elif isinstance(value, Diagonal):
        array = np.diag(value.eigenvalues)
    else:
        array = value.A if isinstance(value, System) else as_square(value, name)
    return np.ascontiguousarray(array, dtype=np.complex128)


def _is_cascade(value: Model) -> bool:
    return isinstance(value, System) and value.measure in CASCADES


def _cascade_eigenvalues(system: System) -> Array:
    """The diagonal of the triangular A, descending."""
    unit = time_unit(system)
    if system.measure == "malmquist":
        assert system.poles is not None
        return -np.sort(np.array(system.poles)) / unit
    n = np.arange(1.0, system.order + 1.0)
    rate = {"legs": n, "lagt": 0.5 + 0.0 * n, "glagt": 0.5 * (1.0 + system.beta) + 0.0 * n}
    values: Array = -rate[system.measure] / unit
    return values


@lru_cache(maxsize=32)
def _unit_window_eigenvalues(order: int) -> Array:
    return read_only(pade_delay(order).poles())


def _window_eigenvalues(system: System) -> Array:
    """LegT's: the poles of its Padé approximant, which double precision alone does not find."""
    if system.order <= _EXACT_WINDOW:
        exact: Array = _unit_window_eigenvalues(system.order) / system.window
        return exact
    warnings.warn(
        IllConditionedWarning(
            f"the eigenvalues of measure {system.measure!r} are computed to all digits up to order "
            f"{_EXACT_WINDOW}; for order {system.order} the QR algorithm gives those of a matrix "
            "within rounding of A, of which no digit need be right",
            1.0 / float(np.finfo(np.float64).eps),
        ),
        stacklevel=3,
    )
    values: Array = _core.spectral.eigenvalues(as_matrix(system))
    return values


def _is_defective(value: Model) -> bool:
    """Whether a triangular system has repeated eigenvalues: one eigenvector serves all of them."""
    if not isinstance(value, System) or not _is_cascade(value):
        return False
    return bool((np.diff(_cascade_eigenvalues(value)) == 0.0).any())


def _require_diagonalizable(value: Model) -> None:
    if not _is_defective(value):
        return
    values = _cascade_eigenvalues(value)  # type: ignore[arg-type]
    repeated = values[:-1][np.diff(values) == 0.0][0]
    raise _core.InvalidArgument(
        f"A is defective: its eigenvalue {repeated:g} is repeated and has one eigenvector only"
    )


def eigenvalues(A: Model) -> Array:
    """Eigenvalues of A itself.

    Parameters
    ----------
    A : System, DPLR, Diagonal, or array_like of shape (N, N)

    Returns
    -------
    ndarray, shape (N,)
        By real part descending, then imaginary part descending. Real and exact for legs, lagt,
        glagt and malmquist, O(N log N). Complex else: for legt and lmu up to order 256 to a few
        eps, by :meth:`PadeDelay.poles`; for everything else by the QR algorithm, O(N³), which is
        exact for a matrix within about N eps ‖A‖ of A, so see :func:`conditioning`.

    Warns
    -----
    IllConditionedWarning
        For legt and lmu beyond order 256.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.spectral.eigenvalues(rv.hippo.system("legs", 4))
    array([-1., -2., -3., -4.])
    """
    if isinstance(A, System) and _is_cascade(A):
        return _cascade_eigenvalues(A)
    if isinstance(A, System) and A.measure in ("legt", "lmu"):
        return _window_eigenvalues(A)
    values: Array = _core.spectral.eigenvalues(as_matrix(A))
    return values


@overload
def eigenvectors(A: Model, *, log: Literal[False] = False) -> Array: ...
@overload
def eigenvectors(A: Model, *, log: Literal[True]) -> tuple[Array, Array]: ...
def eigenvectors(A: Model, *, log: bool = False) -> Array | tuple[Array, Array]:
    """Eigenvectors of A itself, as columns of unit 2-norm.

    Parameters
    ----------
    A : System, DPLR, Diagonal, or array_like of shape (N, N)
    log : bool
        Return the signs and the logarithms of the magnitudes, which do not underflow; for the
        triangular systems only.

    Returns
    -------
    ndarray, shape (N, N)
        In the order of :func:`eigenvalues`. For legs and malmquist a product formula whose entries
        all have a relative error of about N eps, first nonzero entry positive, O(N²); else the QR
        algorithm's, the largest entry positive, O(N³).
    (sign, log_magnitude) : ndarrays, shape (N, N)
        With `log`; −∞ where an entry is 0.

    Raises
    ------
    InvalidArgument
        For lagt, glagt and repeated poles: A is defective. For `log` of other systems.

    Notes
    -----
    With poles p and b_n = √(2p_n) the eigenvector for −p_m has x_m = 1 and, for n > m,
    x_n = b_n b_m/(p_m − p_n) Π_{m<k<n} (p_m + p_k)/(p_m − p_k), in orthonormal coordinates.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> s = rv.hippo.system("legs", 4)
    >>> V = rv.spectral.eigenvectors(s)
    >>> bool(np.allclose(s.A @ V, V * rv.spectral.eigenvalues(s)))
    True
    """
    _require_diagonalizable(A)
    if isinstance(A, System) and _is_cascade(A):
        vectors, sign, magnitude, _, _ = _core.spectral.triangular_vectors(A._native, False)
        return (sign, magnitude) if log else vectors
    if log:
        raise _core.InvalidArgument(
            "log=True is for systems of measure 'legs' or 'malmquist', which have a product formula"
        )
    found: Array = _core.spectral.eigensystem(as_matrix(A))[1]
    return found


@dataclass(frozen=True, eq=False)
class Eigensystem(ReadOnlyFields):
    """Eigenvalues and eigenvectors; from :func:`eigensystem`.

    Attributes
    ----------
    values : ndarray, shape (N,)
        By real part descending, then imaginary part descending.
    vectors : ndarray, shape (N, N)
        Unit columns in that order.
    residuals : ndarray, shape (N,)
        ‖A v − λ v‖₂/‖A‖₂: the distance, over ‖A‖, to a matrix that has this pair exactly.
    method : str
        "closed form" or "dense".
    """

    values: Array
    vectors: Array
    residuals: Array
    method: str

    def __repr__(self) -> str:
        return (
            f"Eigensystem(order={self.values.size}, method={self.method!r}, "
            f"largest residual={self.residuals.max():.2g})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("order", str(self.values.size)),
            ("method", self.method),
            ("largest residual", f"{self.residuals.max():.2g}"),
        ]
        return table("Eigensystem", rows)


def eigensystem(A: Model) -> Eigensystem:
    """Eigenvalues, eigenvectors and what is left of A v − λ v.

    Parameters
    ----------
    A : System, DPLR, Diagonal, or array_like of shape (N, N)

    Returns
    -------
    Eigensystem
        In closed form for legs and malmquist; else values and vectors both by the QR algorithm (for
        legt too, whose values :func:`eigenvalues` has to more digits), so that they belong
        together. A small residual says that a nearby matrix has this pair, not that the pair is
        right: that is for :func:`conditioning`.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.spectral.eigensystem(rv.hippo.system("legs", 8)).method
    'closed form'
    """
    matrix = as_matrix(A)
    if _is_cascade(A):
        values, vectors = eigenvalues(A), eigenvectors(A)
        method = "closed form"
    else:
        values, vectors = _core.spectral.eigensystem(matrix)
        method = "dense"
    size = float(np.linalg.norm(matrix, 2))
    left = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    residuals = left / size if size > 0.0 else left
    return Eigensystem(read_only(values), read_only(vectors), read_only(residuals), method)


@dataclass(frozen=True, eq=False)
class Conditioning(ReadOnlyFields):
    """How far eigenvalues and a change to eigenvectors can be trusted; from :func:`conditioning`.

    Attributes
    ----------
    log10_condition : float
        log10 of the 2-norm condition number of the matrix of unit eigenvectors; ∞ if A is
        defective.
    eigenvalues : ndarray, shape (N,)
    log10_eigenvalue_conditions : ndarray, shape (N,)
        log10 of ``‖x‖‖y‖/|y*x|``, x and y the right and left eigenvectors: what a perturbation of
        A is multiplied by.
    departure : float
        Henrici's departure from normality, ``(‖A‖_F² − Σ|λ|²)^½``.
    relative_departure : float
        The same over ‖A‖_F.
    digits : float
        Decimal digits that survive a change to eigenvector coordinates in double precision.
    method : str
        "closed form", "unitary", "scaled unitary" or "dense".
    lower_bound : bool
        True where a dense computation can only say that the condition is at least this.
    """

    log10_condition: float
    eigenvalues: Array
    log10_eigenvalue_conditions: Array
    departure: float
    relative_departure: float
    digits: float
    method: str
    lower_bound: bool

    @property
    def statement(self) -> str:
        """One sentence on the digits that survive."""
        if math.isinf(self.log10_condition):
            return "A is defective: it has no eigenvector coordinates at all."
        bound = "at least " if self.lower_bound else ""
        condition = f"condition number {bound}10^{self.log10_condition:.1f}"
        if self.digits <= 0.0:
            return f"No digit of double precision survives diagonalising A ({condition})."
        return f"About {self.digits:.1f} of {DIGITS:.1f} digits survive ({condition})."

    def __repr__(self) -> str:
        return (
            f"Conditioning(log10_condition={self.log10_condition:.4g}, digits={self.digits:.3g}, "
            f"departure={self.departure:.4g}, method={self.method!r})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("log10 condition of the eigenvectors", f"{self.log10_condition:.4g}"),
            (
                "log10 condition of the worst eigenvalue",
                f"{self.log10_eigenvalue_conditions.max():.4g}",
            ),
            ("departure from normality, relative", f"{self.relative_departure:.4g}"),
            ("method", self.method),
            ("verdict", self.statement),
        ]
        return table("Conditioning of the eigenvectors", rows)


def conditioning(A: Model) -> Conditioning:
    """Condition numbers of the eigenvectors and eigenvalues, and the digits that they cost.

    Parameters
    ----------
    A : System, DPLR, or array_like of shape (N, N)
        A DPLR is asked about its own change of coordinates and its normal part, not about
        diag(λ) − P Q*; the change is unitary in the orthonormal normalisations.

    Returns
    -------
    Conditioning
        For legs and malmquist from the product formulas of the right and left eigenvectors: correct
        at every order, with no overflow; log10 of the condition number to about N eps. Otherwise,
        `eigenvalues` too, from a dense eigensystem, which resolves condition numbers up to about
        10¹⁴. O(N³).

    Examples
    --------
    >>> import resolvent as rv
    >>> c = rv.spectral.conditioning(rv.hippo.system("legs", 64))
    >>> round(c.log10_condition, 1), c.digits
    (47.5, 0.0)
    >>> rv.spectral.conditioning(rv.hippo.system("legs", 8)).statement
    'About 11.1 of 16.0 digits survive (condition number 10^4.9).'
    """
    if isinstance(A, DPLR):
        return _coordinate_conditioning(A)
    if isinstance(A, System) and _is_cascade(A):
        return _cascade_conditioning(A)
    matrix = as_matrix(A)
    values, conditions, condition, departure = _core.spectral.dense_conditioning(matrix)
    unresolved = not condition < _RESOLVED
    return _made(
        condition if math.isfinite(condition) else DIGITS,
        values,
        np.where(np.isfinite(conditions), conditions, DIGITS),
        departure,
        frobenius(matrix),
        "dense",
        lower_bound=unresolved,
    )


def _made(
    condition: float,
    values: Array,
    conditions: Array,
    departure: float,
    size: float,
    method: str,
    *,
    lower_bound: bool = False,
) -> Conditioning:
    return Conditioning(
        log10_condition=condition,
        eigenvalues=read_only(values),
        log10_eigenvalue_conditions=read_only(conditions),
        departure=departure,
        relative_departure=departure / size if size > 0.0 else 0.0,
        digits=max(0.0, DIGITS - condition),
        method=method,
        lower_bound=lower_bound,
    )


def _coordinate_conditioning(form: DPLR) -> Conditioning:
    """Of V = S Q: 1 for all that counts where the diagonal S is a multiple of I."""
    values = form.expand().eigenvalues.copy()
    scale = np.ones(1) if form._form is None else form._form.scale
    if scale.min() == scale.max():
        return _made(0.0, values, np.zeros(values.size), 0.0, 1.0, "unitary")
    unitary = form.expand().eigenvectors() / scale[:, np.newaxis]
    lengths = np.linalg.norm(unitary * scale[:, np.newaxis], axis=0)
    inverse_lengths = np.linalg.norm(unitary / scale[:, np.newaxis], axis=0)
    singular = np.linalg.svd(unitary * scale[:, np.newaxis] / lengths, compute_uv=False)
    normal = (unitary * values) @ unitary.conj().T * (scale[:, np.newaxis] / scale)
    size = frobenius(normal)
    departure = math.sqrt(max(0.0, size**2 - float(np.sum(np.abs(values) ** 2))))
    return _made(
        math.log10(singular[0] / singular[-1]),
        values,
        np.log10(lengths * inverse_lengths),
        departure,
        size,
        "scaled unitary",
    )


def _cascade_conditioning(system: System) -> Conditioning:
    values = eigenvalues(system)
    strict = frobenius(np.tril(system.A, -1))
    size = frobenius(system.A)
    if _is_defective(system):
        conditions = _core.spectral.triangular_conditions(system._native)
        return _made(math.inf, values, conditions, strict, size, "closed form")
    *_, conditions, condition = _core.spectral.triangular_vectors(system._native, True)
    return _made(condition, values, conditions, strict, size, "closed form")
