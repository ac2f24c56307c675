"""Which system a given pair of matrices is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_number
from resolvent._html import table
from resolvent.hippo._system import System, normalizations, system

#: Residuals closer than this factor are one and the same; the plainer reading wins.
_TIE = 1.01
_ROUNDING = 1e-10

#: Systems with parameters read off the matrices: they follow noise, so they must fit this much
#: better than a system without.
_FITTED = ("glagt", "malmquist")
_FIT_GAIN = 10.0


@dataclass(frozen=True)
class Identification:
    """What :func:`identify` found.

    With S = diag(`sign`) and (P x)_i = x[permutation[i]], the given pair is
    A = `time_sign` · S P A₀ Pᵀ S and B = `gain` · S P B₀, up to `residual`, for the matrices
    A₀, B₀ of `system`.

    Attributes
    ----------
    measure, normalization : str
    window : float
        The window, or unit of time; 2 for matrices that are half of those for window 1.
    sign : ndarray, shape (N,)
        ±1 per entry; all −1 for a negated signal.
    time_sign : int
        −1 if A is stored with the opposite sign.
    permutation : ndarray of int, shape (N,)
        Which coefficient of `system` each entry is; −1 for a row of zeros (the sine of
        frequency 0 that public code keeps).
    arrangement : str
        The permutation in words: "identity", "reversed", "cosines first", "sine before cosine",
        "fft order", "with sin(0)" or "other".
    gain : float
        Scale of B relative to A's; 1 for consistent matrices.
    residual : float
        Relative Frobenius error of A and B together.
    system : System
        With these parameters.
    """

    measure: str
    normalization: str
    window: float
    sign: Array
    time_sign: int
    permutation: Array
    arrangement: str
    gain: float
    residual: float
    system: System

    def __repr__(self) -> str:
        parts = [
            f"{self.measure!r}, {self.normalization!r}, order={self.system.order}",
            f"window={self.window:.6g}",
        ]
        if self.measure == "fout":
            parts.append(f"closure={self.system.closure!r}")
        if self.arrangement != "identity":
            parts.append(f"arrangement={self.arrangement!r}")
        if np.any(self.sign < 0.0):
            parts.append("negated" if np.all(self.sign < 0.0) else "signs flipped")
        if self.time_sign < 0:
            parts.append("time_sign=-1")
        if abs(self.gain - 1.0) > 1e-8:
            parts.append(f"gain={self.gain:.6g}")
        return f"Identification({', '.join(parts)}, residual={self.residual:.2g})"

    def _repr_html_(self) -> str:
        rows = [
            ("measure", self.measure),
            ("normalization", self.normalization),
            ("window", f"{self.window:.6g}"),
            ("order of the basis", self.arrangement),
            ("gain of B", f"{self.gain:.6g}"),
            ("sign of A", f"{self.time_sign:+d}"),
            ("residual", f"{self.residual:.2g}"),
        ]
        return table("Identified system", rows)


@dataclass(frozen=True)
class _Reading:
    """One way to read the pair: a system at window 1, an order of its entries and signs."""

    system: System
    indices: Array
    sign: Array

    def matrices(self) -> tuple[Array, Array]:
        A, B = self.system.A, self.system.B
        i, s = self.indices, self.sign
        return s[:, None] * A[np.ix_(i, i)] * s[None, :], s * B[i]


def identify(A: ArrayLike, B: ArrayLike) -> Identification:
    """Which measure, normalisation, window, sign and order of basis a pair of matrices is.

    Parameters
    ----------
    A : array_like, shape (N, N)
        Real or complex.
    B : array_like, shape (N,) or (N, 1)

    Returns
    -------
    Identification
        The nearest system; its `residual` is at rounding level where the pair is exactly one, and
        says how far off it is otherwise.

    Notes
    -----
    Every named system is tried in every normalisation. The order of the basis is matched by the
    norms of A's rows, the signs by the leading eigenvector of the entrywise product with the
    candidate's A, the window and the gain of B by least squares. Up to order 2 some systems
    coincide; the first in the order of ``MEASURES`` is then reported. O(N³).

    Examples
    --------
    >>> import resolvent as rv
    >>> s = rv.hippo.system("legt", 8, window=2.0, normalization="legendre")
    >>> rv.hippo.identify(s.A, s.B)
    Identification('legt', 'legendre', order=8, window=2, residual=0)
    """
    matrix, vector = _checked_pair(A, B)
    zero_row = _sin_zero_row(matrix, vector)
    if zero_row is not None:
        kept = np.delete(np.arange(vector.size), zero_row)
        inner = identify(matrix[np.ix_(kept, kept)], vector[kept])
        if inner.measure == "fout":
            return _with_zero_row(inner)
    fits = [_fit(reading, matrix, vector) for reading in _readings(matrix, vector)]
    best = min(fit.residual for fit in fits)
    named = [fit for fit in fits if fit.measure not in _FITTED]
    best_named = min((fit.residual for fit in named), default=np.inf)
    if best_named <= max(_FIT_GAIN * best, _ROUNDING):
        fits, best = named, best_named
    tied = [fit for fit in fits if fit.residual <= max(_TIE * best, _ROUNDING)]
    return min(tied, key=_plainness)


def _checked_pair(A: ArrayLike, B: ArrayLike) -> tuple[Array, Array]:
    matrix, vector = as_number(A, "A"), as_number(B, "B")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise _core.ShapeMismatch(f"A must have shape (N, N), got {matrix.shape}")
    n = matrix.shape[0]
    if vector.shape not in ((n,), (n, 1)):
        raise _core.ShapeMismatch(
            f"B must have shape ({n},) or ({n}, 1) for A of shape {matrix.shape}, "
            f"got {vector.shape}"
        )
    for name, array in (("A", matrix), ("B", vector)):
        if not np.all(np.isfinite(array)):
            bad = array[~np.isfinite(array)][0]
            raise _core.InvalidArgument(f"{name} must be finite, got {bad}")
        if not np.any(array):
            raise _core.InvalidArgument(f"{name} must not be zero")
    return matrix.astype(np.result_type(matrix, np.float64)), vector.reshape(n).astype(
        np.result_type(vector, np.float64)
    )


def _sin_zero_row(A: Array, B: Array) -> int | None:
    """Index 1, if entry 1 is the sine of frequency 0: uncontrolled, and coupled to nothing."""
    dead = B.size > 2 and B[1] == 0 and not A[1].any() and not A[:, 1].any()
    return 1 if dead else None


def _with_zero_row(inner: Identification) -> Identification:
    return replace(
        inner,
        arrangement="with sin(0)",
        permutation=np.insert(inner.permutation, 1, -1),
        sign=np.insert(inner.sign, 1, 1.0),
    )


def _readings(A: Array, B: Array) -> Iterator[_Reading]:
    complex_pair = np.iscomplexobj(A) and bool(np.any(A.imag)) and B.size % 2 == 1
    for candidate in _systems(A, B, complex_pair):
        for indices in _orders(candidate, A):
            for sign in _signs(candidate, indices, A, B):
                yield _Reading(candidate, indices, sign)


def _systems(A: Array, B: Array, complex_pair: bool) -> Iterator[System]:
    order = B.size
    if complex_pair:
        yield system("fout", order, normalization="complex")
        yield system("fout", order, normalization="complex", closure="left")
        yield system("fous", order, normalization="complex")
        return
    for measure in ("legs", "legt"):
        for normalization in normalizations(measure):
            yield system(measure, order, normalization=normalization)  # type: ignore[arg-type]
    yield system("lagt", order)
    yield from _generalized_laguerre(A.real, B.real)
    yield system("fout", order)
    yield system("fout", order, closure="left")
    yield system("fous", order)
    poles = -np.diag(A.real)
    if np.all(poles > 0.0):
        yield system("malmquist", order, poles=poles)


def _generalized_laguerre(A: Array, B: Array) -> Iterator[System]:
    """glagt with α and β read off the first entries, in both normalisations."""
    if B.size < 3 or A[1, 0] == 0.0 or B[0] == 0.0:
        return
    # laguerre: A_10 = −c, B_1/B_0 = α + 1.
    yield from _glagt(B.size, -A[1, 0], B[1] / B[0] - 1.0, A[0, 0], "laguerre")
    # probability: (A_21/A_10)² = 2(α+1)/(α+2).
    q = (A[2, 1] / A[1, 0]) ** 2
    if q < 2.0:
        alpha = (2.0 * q - 2.0) / (2.0 - q)
        if alpha > -1.0:
            scale = -A[1, 0] * np.sqrt(alpha + 1.0)
            yield from _glagt(B.size, scale, alpha, A[0, 0], "probability")


def _glagt(
    order: int, scale: float, alpha: float, corner: float, normalization: str
) -> Iterator[System]:
    beta = -2.0 * corner / scale - 1.0
    if -1.0 < alpha < 1.0 and beta > 0.0:
        yield system(
            "glagt",
            order,
            alpha=float(alpha),
            beta=float(beta),
            normalization=normalization,  # type: ignore[arg-type]
        )


def _orders(candidate: System, A: Array) -> Iterator[Array]:
    """The natural order, and the one in which the rows have the given pair's norms."""
    natural = np.arange(candidate.order)
    yield natural
    if candidate.normalization == "complex":  # n and −n have equal norms
        yield natural[::-1]
        yield np.roll(natural, -(candidate.order // 2))
        return
    matched = np.empty_like(natural)
    own = np.linalg.norm(candidate.A, axis=1)
    matched[np.argsort(np.linalg.norm(A, axis=1))] = np.argsort(own)
    if not np.array_equal(matched, natural):
        yield matched


def _signs(candidate: System, indices: Array, A: Array, B: Array) -> Iterator[Array]:
    """All +1, and the signs that fit A's and B's best: max Σ σ_i σ_j A_ij A'_ij."""
    plain = np.ones(candidate.order)
    yield plain
    if candidate.order == 1:
        return
    A0 = candidate.A[np.ix_(indices, indices)]
    agreement = (A * A0.conj()).real
    np.fill_diagonal(agreement, 0.0)
    values, vectors = np.linalg.eigh(agreement + agreement.T)
    for vector in (vectors[:, -1], vectors[:, 0]):  # A as it is, or with the opposite sign
        sign = np.where(vector < 0.0, -1.0, 1.0)
        if np.vdot(sign * candidate.B[indices], B).real < 0.0:
            sign = -sign
        if not np.array_equal(sign, plain):
            yield sign
        if np.allclose(values, 0.0):
            return


def _arrangement(candidate: System, indices: Array) -> str:
    """The permutation in words."""
    natural = np.arange(candidate.order)
    named = {"identity": natural, "reversed": natural[::-1]}
    if candidate.normalization == "complex":
        named["fft order"] = np.roll(natural, -(candidate.order // 2))
    elif candidate.measure in ("fout", "fous"):
        cosines, sines = natural[1::2], natural[2::2]
        named["cosines first"] = np.concatenate([[0], cosines, sines])
        if cosines.size == sines.size:
            pairs = np.stack([sines, cosines], axis=1).reshape(-1)
            named["sine before cosine"] = np.concatenate([[0], pairs])
    for name, order in named.items():
        if np.array_equal(indices, order):
            return name
    return "other"


def _fit(reading: _Reading, A: Array, B: Array) -> Identification:
    A0, B0 = reading.matrices()
    rate = float(np.vdot(A0, A).real / np.vdot(A0, A0).real)
    scale = float(np.vdot(B0, B).real / np.vdot(B0, B0).real)
    error = np.hypot(np.linalg.norm(A - rate * A0), np.linalg.norm(B - scale * B0))
    sign = -reading.sign if scale < 0.0 else reading.sign
    found = reading.system
    gain = abs(scale / rate) if rate != 0.0 else np.inf
    if 0.0 < gain < np.inf:
        found = replace(found, window=1.0 / abs(rate))
    if found.poles is not None and 0.0 < gain < np.inf:
        # A holds only poles/window; B's scale, √(2 poles)/window, tells the two apart.
        window = found.window / gain**2
        poles = tuple(window / found.window * p for p in found.poles)
        found, gain = replace(found, window=window, poles=poles), 1.0
    return Identification(
        measure=found.measure,
        normalization=found.normalization,
        window=found.window if rate != 0.0 else np.inf,
        sign=sign,
        time_sign=-1 if rate < 0.0 else 1,
        permutation=reading.indices,
        arrangement=_arrangement(found, reading.indices),
        gain=gain,
        residual=float(error / np.hypot(np.linalg.norm(A), np.linalg.norm(B))),
        system=found,
    )


def _plainness(found: Identification) -> tuple[float, ...]:
    """Smaller is plainer: forward time, a gain of 1, the natural order, plain signs."""
    return (
        float(found.time_sign < 0),
        round(abs(np.log(found.gain)), 6) if 0.0 < found.gain < np.inf else np.inf,
        float(found.arrangement != "identity"),
        float(np.any(found.sign < 0.0)),
        float(found.measure in _FITTED),
    )
