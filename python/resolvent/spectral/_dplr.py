"""Diagonal plus low rank, and diagonal: state-space models in normal coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_number,
    integer_parameter,
    name_parameter,
    read_only,
)
from resolvent._html import table
from resolvent.hippo import System
from resolvent.hippo import system as hippo_system
from resolvent.hippo._system import require_system
from resolvent.spectral._normal import normal_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["lin", "inv", "quad", "real", "legs"]
KINDS: tuple[str, ...] = get_args(Kind)

#: The measures whose A is a normal matrix minus one of low rank.
_NORMAL_PLUS_LOW_RANK = ("legs", "legt", "lmu", "lagt", "glagt", "malmquist", "fout")


def _complex_field(value: ArrayLike, name: str, ndim: int) -> Array:
    array = as_number(value, name).astype(np.complex128)
    if array.ndim < ndim:
        expected = "(..., M)" if ndim == 1 else "(..., M, r)"
        raise _core.ShapeMismatch(f"{name} must have shape {expected}, got {array.shape}")
    _core.require_finite(array, name)
    return read_only(array)


def _require_shapes(parts: Mapping[str, tuple[Array, tuple[int, ...]]], count: int) -> None:
    """That every part ends in the shape beside it, and that what is before broadcasts."""
    for name, (part, trailing) in parts.items():
        if part.shape[part.ndim - len(trailing) :] != trailing:
            shown = trailing if part.ndim == len(trailing) else ("...", *trailing)
            raise _core.ShapeMismatch(
                f"{name} must have shape {shown} for {count} eigenvalues, got {part.shape}"
            )
    leading = {name: part.shape[: part.ndim - len(t)] for name, (part, t) in parts.items()}
    try:
        np.broadcast_shapes(*leading.values())
    except ValueError:
        shapes = ", ".join(f"{name} {part.shape}" for name, (part, _) in parts.items())
        raise _core.ShapeMismatch(f"leading axes must broadcast together, got {shapes}") from None


def _with_conjugates(half: Array, pairs: int, axis: int) -> Array:
    """The kept entries, then the conjugates of the pairs', so that imaginary parts descend."""
    mirrored = half.take(np.arange(pairs)[::-1], axis).conj()
    return np.concatenate([half, mirrored], axis=axis)


@dataclass(frozen=True, eq=False)
class DPLR:
    """x' = (diag(λ) − P Q*) x + B u: diagonal plus low rank; :func:`dplr` makes it from a system.

    Parameters
    ----------
    eigenvalues : array_like, shape (..., M)
        λ of the normal part. Leading axes, of which a model made from a system has none, are
        channels, and broadcast.
    P, Q : array_like, shape (..., M, r)
        The low-rank part; P is Q for HiPPO systems.
    B : array_like, shape (..., M)
        The input in these coordinates.
    half : bool
        One of each conjugate pair is kept (the one with positive imaginary part), all entries of
        the others being conjugate, and after them those with real λ.
    order : int, optional
        The number N of coefficients, 2M less the number of real ones unless told.
    system : System, optional
        Where it comes from; a DPLR made by hand has none, and its own coordinates are the system's.

    Attributes
    ----------
    eigenvalues, P, Q, B, half, order, system
        As given; complex128, read-only.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> s = rv.hippo.system("legs", 6)
    >>> d = rv.spectral.dplr(s)
    >>> bool(np.allclose(d.to_dense(), s.A))
    True
    """

    eigenvalues: Array
    P: Array
    Q: Array
    B: Array
    half: bool = False
    order: int | None = None
    system: System | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, ndim in (("eigenvalues", 1), ("P", 2), ("Q", 2), ("B", 1)):
            object.__setattr__(self, name, _complex_field(getattr(self, name), name, ndim))
        count = self.eigenvalues.shape[-1]
        if self.eigenvalues.size == 0:
            raise _core.InvalidArgument("eigenvalues must not be empty")
        rank = self.P.shape[-1]
        _require_shapes(
            {
                "eigenvalues": (self.eigenvalues, (count,)),
                "P": (self.P, (count, rank)),
                "Q": (self.Q, (count, rank)),
                "B": (self.B, (count,)),
            },
            count,
        )
        if self.half and not (np.diff(self.multiplicity) <= 0).all():
            raise _core.InvalidArgument(
                "eigenvalues must have the real ones last where half=True, "
                f"got a real one at {int(np.argmin(self.multiplicity))}"
            )
        full = int(self.multiplicity.sum())
        if self.order not in (None, full):
            raise _core.InvalidArgument(
                f"order must be {full} for these eigenvalues, got {self.order}"
            )
        object.__setattr__(self, "order", full)
        self._check_real_entries()
        self._check_system()

    def _check_real_entries(self) -> None:
        """That a half's real eigenvalues, which have no conjugate, stand in real equations."""
        if not self.half:
            return
        alone = self.multiplicity == 1.0
        for name, part in (("P", self.P.swapaxes(-1, -2)), ("Q", self.Q.swapaxes(-1, -2)),
                           ("B", self.B)):  # fmt: skip
            if part[..., alone].imag.any():
                raise _core.InvalidArgument(
                    f"{name} must be real where the eigenvalue is real, with half=True"
                )

    def _check_system(self) -> None:
        """That the system's coordinates are this one's: N of them, and conjugate pairs if real."""
        if self.system is None:
            return
        if self.channels:
            raise _core.ShapeMismatch(
                f"a model with a system has no leading axes, got channels of shape {self.channels}"
            )
        if self.system.order != self.order:
            raise _core.ShapeMismatch(
                f"system must be of order {self.order}, as the eigenvalues are; "
                f"got order {self.system.order}"
            )
        if self.half or self.system._is_complex:
            return
        for name in ("eigenvalues", "P", "Q", "B"):
            values, pairs = getattr(self, name), self._pairs
            if not np.array_equal(values[values.shape[0] - pairs :], values[:pairs][::-1].conj()):
                raise _core.InvalidArgument(
                    f"{name} must end with the conjugates of its first {pairs} entries, the last "
                    "first, for a real system; take system=None for other coordinates"
                )

    @cached_property
    def multiplicity(self) -> Array:
        """How many eigenvalues each entry stands for: 2 for one of a pair, 1 else; shape (M,)."""
        return read_only(_multiplicity(self.eigenvalues, self.half))

    @property
    def channels(self) -> tuple[int, ...]:
        """The leading axes of all parts together; () but for models made by hand."""
        return np.broadcast_shapes(
            self.eigenvalues.shape[:-1], self.P.shape[:-2], self.Q.shape[:-2], self.B.shape[:-1]
        )

    @property
    def _pairs(self) -> int:
        """The number of conjugate pairs."""
        if self.half:
            return int(np.count_nonzero(self.multiplicity == 2.0))
        return int(np.count_nonzero(self.eigenvalues.imag > 0.0))

    # ---- coordinates ---------------------------------------------------------------------------

    @cached_property
    def _form(self) -> _core.spectral.NormalForm | None:
        """The map between the coordinates; None where they are the same up to order."""
        if self.system is None or self.system._is_complex:
            return None
        return _core.spectral.NormalForm(self.system._native)

    def eigenvectors(self) -> Array:
        """V, shape (N, M): A = V (diag(λ) − P Q*) V⁻¹ and B_system = V B.

        V is unitary in the normalisations "probability" and "lebesgue" (glagt: "laguerre"); in the
        others it is a unitary matrix under a diagonal one. With `half` the columns of the kept
        entries. For the triangular systems column j is b_n/(p_n + iμ_j) Π_{k<n} (iμ_j − p_k)/(iμ_j
        + p_k)/√Φ'(μ_j): O(N M), relative error about N eps.

        Examples
        --------
        >>> import numpy as np, resolvent as rv
        >>> V = rv.spectral.dplr(rv.hippo.system("legs", 5)).eigenvectors()
        >>> bool(np.allclose(V.conj().T @ V, np.eye(5)))
        True
        """
        if self._form is None:
            return self._reversal()
        kept = self._form.vectors()
        if self.half:
            return kept
        pairs = self._pairs
        return np.concatenate([kept, kept[:, :pairs][:, ::-1].conj()], axis=1)

    def _reversal(self) -> Array:
        """Made by hand: the same coordinates. Complex FouT: exponentials M … −M, not −M … M."""
        identity = np.eye(self.eigenvalues.shape[-1], dtype=np.complex128)
        return identity if self.system is None else np.ascontiguousarray(identity[::-1])

    def transform(self, C: ArrayLike) -> Array:
        """A read-out in these coordinates, C V, so that C x is the same number.

        Parameters
        ----------
        C : array_like, shape (..., N)
            y = C x. Real where `half`.

        Returns
        -------
        ndarray, shape (..., M), complex
            y = C̃ x̃; with `half`, y = Re Σ_j multiplicity_j C̃_j x̃_j. O(N M) time per row and O(N)
            memory for the triangular systems.

        Examples
        --------
        >>> import numpy as np, resolvent as rv
        >>> d = rv.spectral.dplr(rv.hippo.system("legs", 5), half=True)
        >>> C = np.arange(5.0)
        >>> bool(np.allclose(d.inverse_transform(d.transform(C)), C))
        True
        """
        rows = self._rows(C, "C", self._outer_size, real=self._is_real)
        form = self._form
        if form is None:
            return self._reordered(rows)
        kept: Array = form.transform(rows)
        if self.half:
            return kept
        pairs = self._pairs
        other = kept if not rows.imag.any() else form.transform(rows.conj())
        return np.concatenate([kept, other[..., :pairs][..., ::-1].conj()], axis=-1)

    def inverse_transform(self, C: ArrayLike) -> Array:
        """A read-out of these coordinates in the system's, C̃ V⁻¹.

        Parameters
        ----------
        C : array_like, shape (..., M)

        Returns
        -------
        ndarray, shape (..., N)
            Complex; real where `half`.
        """
        rows = self._rows(C, "C", self.eigenvalues.shape[-1])
        form = self._form
        if form is None:
            return self._reordered(rows)
        if self.half:
            return np.ascontiguousarray(form.inverse_transform(rows * self.multiplicity).real)
        pairs = self._pairs
        kept = rows.shape[-1] - pairs
        mirrored = np.zeros((*rows.shape[:-1], kept), np.complex128)
        mirrored[..., :pairs] = rows[..., kept:][..., ::-1].conj()
        first = form.inverse_transform(np.ascontiguousarray(rows[..., :kept]))
        both: Array = first + form.inverse_transform(mirrored).conj()
        return both

    def transform_state(self, x: ArrayLike) -> Array:
        """A state in these coordinates, V⁻¹ x.

        Parameters
        ----------
        x : array_like, shape (..., N)
            Real where `half`.

        Returns
        -------
        ndarray, shape (..., M), complex
        """
        rows = self._rows(x, "x", self._outer_size, real=self._is_real)
        if self._form is None:
            return self._reordered(rows)
        weighted = rows.conj() / np.square(self._form.scale)  # V⁻¹ = V* S⁻²
        result: Array = self.transform(weighted.real if self.half else weighted).conj()
        return result

    def inverse_transform_state(self, x: ArrayLike) -> Array:
        """A state of these coordinates in the system's, V x.

        Parameters
        ----------
        x : array_like, shape (..., M)

        Returns
        -------
        ndarray, shape (..., N)
            Complex; real where `half`.
        """
        rows = self._rows(x, "x", self.eigenvalues.shape[-1])
        if self._form is None:
            return self._reordered(rows)
        result: Array = self.inverse_transform(rows.conj()).conj() * np.square(self._form.scale)
        return result

    @property
    def _is_real(self) -> bool:
        """Whether the half stands for a real system, whose coordinates are real."""
        return self.half and self.system is not None

    @property
    def _outer_size(self) -> int:
        assert self.order is not None
        return self.eigenvalues.shape[-1] if self.system is None else self.order

    def _reordered(self, rows: Array) -> Array:
        return rows.copy() if self.system is None else np.ascontiguousarray(rows[..., ::-1])

    @staticmethod
    def _rows(value: ArrayLike, name: str, size: int, *, real: bool = False) -> Array:
        array = as_number(value, name)
        if array.ndim == 0 or array.shape[-1] != size:
            raise _core.ShapeMismatch(f"{name} must have shape (..., {size}), got {array.shape}")
        if real and np.iscomplexobj(array):
            raise _core.DtypeError(f"{name} must be real where half=True, got {array.dtype}")
        return array.astype(np.complex128, copy=False)

    # ---- as matrices ---------------------------------------------------------------------------

    def to_dense(self, basis: Literal["system", "normal"] = "system") -> Array:
        """The matrix A, shape (N, N).

        Parameters
        ----------
        basis : {"system", "normal"}
            In the coordinates of the system (real for a real system), or diag(λ) − P Q* with all N
            entries in the order of ``half=False``. A DPLR made by hand knows the second only, and
            gives it in both cases.

        Returns
        -------
        ndarray, shape (N, N)
            "system": error below 50 N eps ‖A‖ in orthonormal coordinates. O(N³).
        """
        name_parameter(basis, ("system", "normal"), "basis")
        if basis == "normal" or self._form is None:
            full = self.expand()
            dense = full.eigenvalues[..., np.newaxis] * np.eye(full.eigenvalues.shape[-1])
            dense = dense - full.P @ full.Q.conj().swapaxes(-1, -2)
            reversed_too = basis == "system" and self.system is not None
            return np.ascontiguousarray(dense[::-1, ::-1]) if reversed_too else dense
        half = _halved(self)
        scale = self._form.scale[:, np.newaxis]
        Q = self._form.vectors() / scale
        weight = half.multiplicity
        normal = ((Q * (weight * half.eigenvalues)) @ Q.conj().T).real
        left = (Q @ (weight[:, np.newaxis] * half.P)).real
        right = (Q @ (weight[:, np.newaxis] * half.Q)).real
        result: Array = (normal - left @ right.T) * (scale / scale.T)
        return result

    def expand(self) -> DPLR:
        """The same with both of each conjugate pair."""
        if not self.half:
            return self
        values, P, Q, B = (
            _with_conjugates(part, self._pairs, axis)
            for part, axis in ((self.eigenvalues, -1), (self.P, -2), (self.Q, -2), (self.B, -1))
        )
        return DPLR(values, P, Q, B, system=self.system)

    # ---- how it shows --------------------------------------------------------------------------

    def __repr__(self) -> str:
        name = "by hand" if self.system is None else repr(self.system.measure)
        return f"DPLR({name}, order={self.order}, rank={self.P.shape[1]}, half={self.half})"

    def _repr_html_(self) -> str:
        rows = [
            ("system", "made by hand" if self.system is None else self.system.measure),
            ("order", str(self.order)),
            ("rank", str(self.P.shape[-1])),
            ("kept eigenvalues", _kept(self.eigenvalues, self.half)),
            ("largest |Im λ|", f"{np.abs(self.eigenvalues.imag).max():.6g}"),
        ]
        return table("Diagonal plus low rank", rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the eigenvalues in the plane; returns the axes."""
        from resolvent.plot.spectral import plot_dplr

        return plot_dplr(self, ax)

    def __getstate__(self) -> dict[str, Any]:
        names = ("eigenvalues", "P", "Q", "B", "half", "order", "system")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self.__post_init__()


def _kept(eigenvalues: Array, half: bool) -> str:
    return f"{eigenvalues.shape[-1]}" + (" (half)" if half else "")


def _multiplicity(eigenvalues: Array, half: bool) -> Array:
    if not half:
        return np.ones(eigenvalues.shape[-1])
    stands_for = np.where(eigenvalues.imag != 0.0, 2.0, 1.0).reshape(-1, eigenvalues.shape[-1])
    if (stands_for != stands_for[0]).any():
        raise _core.InvalidArgument(
            "eigenvalues must be real at the same places in every channel where half=True, "
            f"got them differ at {int(np.argmax((stands_for != stands_for[0]).any(axis=0)))}"
        )
    kept: Array = stands_for[0]
    return kept


def _halved(full: DPLR) -> DPLR:
    """One of each pair, of what came from a real system."""
    if full.half:
        return full
    kept = full.eigenvalues.size - full._pairs
    return DPLR(
        full.eigenvalues[:kept],
        full.P[:kept],
        full.Q[:kept],
        full.B[:kept],
        half=True,
        system=full.system,
    )


def dplr(system: System, *, half: bool = False) -> DPLR:
    """The normal-plus-low-rank form of a HiPPO system, diagonalised.

    Parameters
    ----------
    system : System
        legs, lagt, glagt, malmquist (rank 1: by the phase equation, with no eigensolver), fout
        (rank 1), legt and lmu (rank 2: one symmetric eigenproblem).
    half : bool
        Keep one of each conjugate pair, the one with positive imaginary part, and after them the
        real eigenvalues (one for odd orders; two for even orders of fout). Real systems only.

    Returns
    -------
    DPLR
        Eigenvalues by imaginary part descending. Nothing is clipped, and the phases of the
        eigenvectors are fixed: q_j* b > 0 with b the vector of the rank-one part, so B is real and
        positive for legs, lagt, malmquist and fout; for legt and lmu q_j* B > 0. O(N) for legs and
        lagt, O(N²) for other poles, O(N³) for legt.

    Raises
    ------
    InvalidArgument
        For other measures, and for `half` of a complex normalisation.

    Notes
    -----
    legs: diag(−½ + iμ_j) − P P*, P_j = B_j/√2, B_j = 2/√Φ'(μ_j). S4's public code obtains it by an
    eigensolver with undetermined phases and clips Im B at ±2, which for N = 64 changes B by 91 %.

    Examples
    --------
    >>> import resolvent as rv
    >>> d = rv.spectral.dplr(rv.hippo.system("legs", 5), half=True)
    >>> d.eigenvalues.imag.round(4)
    array([7.4566, 1.3779, 0.    ])
    >>> d.multiplicity
    array([2., 2., 1.])
    """
    require_system(system)
    name_parameter(system.measure, _NORMAL_PLUS_LOW_RANK, "measure")
    if system._is_complex:
        if half:
            raise _core.InvalidArgument(
                "half=True is for real systems; normalization 'complex' has no conjugate pairs"
            )
        return _fourier_dplr(system)
    form = _core.spectral.NormalForm(system._native)
    values = form.shift + 1j * form.mu
    made = DPLR(values, form.P, form.P, form.B, half=True, system=system)
    return made if half else made.expand()


def _fourier_dplr(system: System) -> DPLR:
    """FouT in exponentials is diagonal minus rank one as it stands."""
    turns = system.frequencies[::-1] / system.window
    kappa = (2.0 if system.closure == "average" else 1.0) / system.window
    P = np.full((system.order, 1), np.sqrt(kappa))
    return DPLR(2j * np.pi * turns, P, P, np.full(system.order, kappa), system=system)


@dataclass(frozen=True, eq=False)
class Diagonal(ReadOnlyFields):
    """x' = diag(λ) x + B u, y = C x: a diagonal model; :func:`diagonal` makes the usual ones.

    Parameters
    ----------
    eigenvalues, B : array_like, shape (..., M)
        Leading axes are channels, and broadcast.
    C : array_like, shape (..., M), optional
        The read-out, if it has one.
    kind : str, optional
        Its name.
    half : bool
        One of each conjugate pair is kept: y = Re Σ_j multiplicity_j C_j x_j.
    order : int, optional
        Number N of eigenvalues with their conjugates.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.spectral.Diagonal([-1.0, -2.0], [1.0, 1.0])
    Diagonal(by hand, order=2, half=False)
    """

    eigenvalues: Array
    B: Array
    C: Array | None = None
    kind: str | None = None
    half: bool = False
    order: int | None = None

    def __post_init__(self) -> None:
        for name in ("eigenvalues", "B"):
            object.__setattr__(self, name, _complex_field(getattr(self, name), name, 1))
        count = self.eigenvalues.shape[-1]
        if self.eigenvalues.size == 0:
            raise _core.InvalidArgument("eigenvalues must not be empty")
        parts = {"eigenvalues": (self.eigenvalues, (count,)), "B": (self.B, (count,))}
        if self.C is not None:
            object.__setattr__(self, "C", _complex_field(self.C, "C", 1))
            parts["C"] = (self.C, (count,))
        _require_shapes(parts, count)
        full = int(self.multiplicity.sum())
        if self.order not in (None, full):
            raise _core.InvalidArgument(
                f"order must be {full} for these eigenvalues, got {self.order}"
            )
        object.__setattr__(self, "order", full)

    @property
    def multiplicity(self) -> Array:
        """How many eigenvalues each entry stands for, shape (M,).

        2 for one of a pair and 1 for a real one. S4D-Lin's λ = −½, which its definition pairs with
        itself, counts 2.
        """
        if self.half and self.kind == "lin":
            return np.full(self.eigenvalues.shape[-1], 2.0)
        return _multiplicity(self.eigenvalues, self.half)

    @property
    def channels(self) -> tuple[int, ...]:
        """The leading axes of all parts together."""
        C = () if self.C is None else self.C.shape[:-1]
        return np.broadcast_shapes(self.eigenvalues.shape[:-1], self.B.shape[:-1], C)

    def __repr__(self) -> str:
        name = "by hand" if self.kind is None else repr(self.kind)
        return f"Diagonal({name}, order={self.order}, half={self.half})"

    def _repr_html_(self) -> str:
        rows = [
            ("kind", self.kind or "made by hand"),
            ("order", str(self.order)),
            ("kept eigenvalues", _kept(self.eigenvalues, self.half)),
            ("largest |Im λ|", f"{np.abs(self.eigenvalues.imag).max():.6g}"),
        ]
        return table("Diagonal model", rows)


def diagonal(order: int, kind: Kind, *, half: bool = False, sign: int = 1) -> Diagonal:
    """The diagonal initialisations of S4D.

    Parameters
    ----------
    order : int
        Number N of eigenvalues, conjugates included; even for lin, inv and quad.
    kind : {"lin", "inv", "quad", "real", "legs"}
        With n = 0 … N/2 − 1: ``lin`` −½ + iπn; ``inv`` −½ + i(N/π)(N/(2n+1) − 1); ``quad``
        −½ + i(1+2n)²/π; ``real`` −(n+1), n < N, no pairs; ``legs`` the normal part of LegS, exactly
        (:func:`normal_spectrum`), by imaginary part descending.
    half : bool
        Keep one of each pair. Otherwise the pairs' conjugates follow, in the same order for lin,
        inv, quad; for legs the order of `normal_spectrum`.
    sign : {1, -1}
        Sign of the kept imaginary parts. Public code has both.

    Returns
    -------
    Diagonal
        B is all ones, as S4D starts it; for legs it is the exact 2/√Φ'(μ_j) of the DPLR form. (To
        follow LegS without its rank-one term take half of that: the kernel then tends to LegS's
        as N grows.)

    References
    ----------
    Gu, Gupta, Goel, Ré, "On the Parameterization and Initialization of Diagonal State Space
    Models", 2022, arXiv:2206.11893.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.spectral.diagonal(4, "lin", half=True).eigenvalues
    array([-0.5+0.j        , -0.5+3.14159265j])
    """
    name_parameter(kind, KINDS, "kind")
    count = integer_parameter(order, "order")
    if count < 1:
        raise _core.InvalidArgument(f"order must be at least 1, got {count}")
    if integer_parameter(sign, "sign") not in (1, -1):
        raise _core.InvalidArgument(f"sign must be 1 or -1, got {sign!r}")
    if kind == "real":
        if half:
            raise _core.InvalidArgument("half=True is for pairs; kind 'real' has none")
        return Diagonal(-np.arange(1.0, count + 1.0), np.ones(count), kind=kind)
    if kind == "legs":
        return _legs_diagonal(count, half, sign)
    if count % 2:
        raise _core.InvalidArgument(f"order must be even for kind {kind!r}, got {count}")
    n = np.arange(count // 2)
    mu = {
        "lin": np.pi * n,
        "inv": count / np.pi * (count / (2.0 * n + 1.0) - 1.0),
        "quad": (1.0 + 2.0 * n) ** 2 / np.pi,
    }[kind]
    kept = -0.5 + sign * 1j * mu
    values = kept if half else np.concatenate([kept, kept.conj()])
    return Diagonal(values, np.ones(values.size), kind=kind, half=half, order=count)


def _legs_diagonal(order: int, half: bool, sign: int) -> Diagonal:
    spectrum = normal_spectrum(hippo_system("legs", order))
    kept = (order + 1) // 2 if half else order
    values = spectrum.shift + sign * 1j * spectrum.mu[:kept]
    return Diagonal(values, np.sqrt(spectrum.weights[:kept]), kind="legs", half=half, order=order)
