"""Transfer functions as sums over their poles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, as_number64, as_real64
from resolvent._html import table
from resolvent.rational._convert import (
    circle_points,
    coefficient_error,
    from_poles,
    markov,
    require_discrete,
)
from resolvent.rational._kernels import checked_length, require_in_range
from resolvent.rational._loss import warn_of_loss
from resolvent.rational._polynomial import by_modulus, with_conjugate_pairs
from resolvent.rational._transfer import TransferFunction
from resolvent.ssm import StateSpace
from resolvent.ssm._batch import broadcast_shapes


@dataclass(frozen=True, eq=False)
class PoleResidue(ReadOnlyFields):
    """K_k = Σ_i r_i ζ_iᵏ, and direct in K_0: a transfer function as a sum over its poles.

    It holds clustered poles that coefficients of polynomials cannot: each pole and each residue is
    known to its own relative error.

    Parameters
    ----------
    poles, residues : array_like, shape (..., d)
        Leading axes are channels and broadcast. The model is real where every pole has its exact
        conjugate, with the conjugate residue, and direct is real.
    direct : array_like, shape (...)

    Attributes
    ----------
    poles, residues : ndarray, complex128, read-only
    direct : float, complex or ndarray

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> sum_of_two = rational.PoleResidue([0.5, -0.5], [1.0, 1.0])
    >>> sum_of_two.kernel(4)
    array([2. , 0. , 0.5, 0. ])
    """

    poles: Array
    residues: Array
    direct: Array | float = 0.0

    def __post_init__(self) -> None:
        poles, residues, direct = (
            as_number64(getattr(self, name), name) for name in ("poles", "residues", "direct")
        )
        if poles.ndim == 0 or residues.ndim == 0 or poles.shape[-1] != residues.shape[-1]:
            raise _core.ShapeMismatch(
                "poles and residues must have shape (..., d) with the same d, "
                f"got {poles.shape} and {residues.shape}"
            )
        if poles.shape[-1] == 0:
            raise _core.InvalidArgument("poles must not be empty")
        broadcast_shapes(poles=poles.shape[:-1], residues=residues.shape[:-1], direct=direct.shape)
        object.__setattr__(self, "poles", poles.astype(np.complex128))
        object.__setattr__(self, "residues", residues.astype(np.complex128))
        object.__setattr__(self, "direct", direct if direct.ndim else direct.item())
        super().__post_init__()

    @classmethod
    def from_state_space(cls, model: StateSpace) -> PoleResidue:
        """The spectral form of a discrete model: r_i = (C v_i)(w_i B), v and w the eigenvectors.

        Parameters
        ----------
        model : StateSpace

        Returns
        -------
        PoleResidue
            Poles by modulus descending. O(N³), without polynomials.

        Raises
        ------
        InvalidArgument
            For continuous models, and where A has no basis of eigenvectors.

        Warns
        -----
        IllConditionedWarning
            Where the sum differs from the kernel by more than 4 digits, as for matrices far from
            normal, whose residues are large and cancel.

        Examples
        --------
        >>> import resolvent as rv, resolvent.rational as rational
        >>> model = rv.ssm.StateSpace([[0.5, 1.0], [0.0, 0.25]], [1.0, 1.0], [1.0, 0.0])
        >>> rational.PoleResidue.from_state_space(model).residues.real
        array([ 5., -4.])
        """
        require_discrete(model)
        poles, vectors = np.linalg.eig(model.A)
        columns = np.broadcast_to(model.B, (*model.channels, model.order))[..., np.newaxis]
        try:
            inputs = np.linalg.solve(vectors, columns)[..., 0]
        except np.linalg.LinAlgError:
            raise _core.InvalidArgument("A must have a basis of eigenvectors") from None
        outputs = (model.C[..., np.newaxis, :] @ vectors)[..., 0, :]
        poles = np.broadcast_to(poles, inputs.shape).astype(np.complex128)
        order = by_modulus(poles)
        poles = np.take_along_axis(poles, order, axis=-1)
        residues = np.take_along_axis(outputs * inputs, order, axis=-1)
        if not np.iscomplexobj(model.A):
            residues = with_conjugate_pairs(residues, poles)
        made = cls(poles, residues, model.direct)
        warn_of_loss(made._distance_to(model), "poles and residues")
        return made

    def _distance_to(self, model: StateSpace) -> Array:
        """Largest difference of the first 2d samples, over the largest sample."""
        exact = markov(model, 2 * model.order)
        found = PoleResidue(self.poles, self.residues).kernel(exact.shape[-1])
        size = np.abs(exact).max(axis=-1)
        error: Array = np.abs(found - exact).max(axis=-1) / np.where(size > 0.0, size, 1.0)
        return error

    @property
    def order(self) -> int:
        """Number d of poles."""
        return int(self.poles.shape[-1])

    @property
    def channels(self) -> tuple[int, ...]:
        """The leading axes of all parts together."""
        return np.broadcast_shapes(
            self.poles.shape[:-1], self.residues.shape[:-1], np.shape(self.direct)
        )

    @property
    def is_real(self) -> bool:
        """Whether all poles and residues come in conjugate pairs, and direct is real."""
        if np.asarray(self.direct).imag.any():
            return False
        poles, residues = self._rows()
        return _closed_under_conjugation(poles, residues)

    def _rows(self) -> tuple[Array, Array]:
        """Contiguous rows over the channels."""
        shape = (*self.channels, self.order)
        rows = (
            np.broadcast_to(p, shape).reshape(-1, self.order) for p in (self.poles, self.residues)
        )
        poles, residues = (np.ascontiguousarray(part) for part in rows)
        return poles, residues

    def kernel(self, L: int) -> Array:
        """K_0 … K_{L−1}.

        Parameters
        ----------
        L : int
            Length ≥ 1.

        Returns
        -------
        ndarray, shape (..., L)
            Real for real models. O(dL); each term to about k eps.
        """
        length = checked_length(L)
        poles, residues = self._rows()
        if self.is_real:
            # Twice the real part of half the sum: a pole on the axis counts half, of pairs one.
            weights = np.where(poles.imag < 0.0, 0.0, residues)
            weights[poles.imag == 0.0] *= 0.5
            rows = _core.ssm.vandermonde(weights, poles, length, True)
        else:
            rows = _core.ssm.vandermonde(residues, poles, length, False)
        require_in_range(rows, lambda: self.poles)
        rows[:, 0] += np.broadcast_to(self.direct, self.channels).ravel()
        return rows.reshape(*self.channels, length)

    def frequency_response(self, omega: ArrayLike) -> Array:
        """G(e^{−iω}) = Σ_i r_i/(1 − ζ_i e^{−iω}) + direct.

        Parameters
        ----------
        omega : array_like
            Radians per sample, any shape.

        Returns
        -------
        ndarray, shape (..., *omega.shape), complex
            O(d) per point; each term to some eps.

        Raises
        ------
        InvalidArgument
            Where a pole lies at a sample point.
        """
        angles = as_real64(omega, "omega")
        zeta = np.exp(1j * angles.ravel())[np.newaxis]
        poles, residues = self._rows()
        values = zeta * _core.ssm.cauchy(residues, zeta, poles, False)
        if not np.isfinite(values).all():
            sample = int(np.argwhere(~np.isfinite(values))[0, 1])
            raise _core.InvalidArgument(
                f"G has a pole at the sample point omega = {angles.ravel()[sample]:.6g}"
            )
        direct = np.broadcast_to(self.direct, self.channels).reshape(-1, 1)
        total: Array = values + direct
        return total.reshape(*self.channels, *angles.shape)

    def to_transfer_function(self) -> TransferFunction:
        """The coefficients of the polynomials.

        Returns
        -------
        TransferFunction
            Of order d; real for real models.

        Warns
        -----
        IllConditionedWarning
            Where the coefficients lose more than 4 digits, as :func:`from_state_space` does.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> rational.PoleResidue([0.5, -0.5], [1.0, 1.0]).to_transfer_function().b
        array([2., 0.])
        """
        made = self._coefficients()
        warn_of_loss(self._coefficient_error(made), "polynomial coefficients")
        return made

    def _coefficients(self) -> TransferFunction:
        strict = PoleResidue(self.poles, self.residues).kernel(self.order)
        return from_poles(self.poles, strict, self.direct)

    def _coefficient_error(self, made: TransferFunction) -> float:
        """The largest over the channels."""
        error = 0.0
        shape = (*self.channels, self.order)
        every = (np.broadcast_to(part, shape).reshape(-1, self.order) for part in (made.b, made.a))
        for b, a, poles, residues in zip(*every, *self._rows(), strict=True):
            zeta = circle_points(poles)
            terms = residues / (1.0 - np.divide.outer(poles, zeta).T)
            error = max(error, coefficient_error(b, a, poles, terms.sum(axis=-1), zeta))
        return error

    def __repr__(self) -> str:
        channels = f", channels={self.channels}" if self.channels else ""
        return f"PoleResidue(order={self.order}, real={self.is_real}{channels})"

    def _repr_html_(self) -> str:
        rows = [
            ("order", str(self.order)),
            ("channels", str(self.channels)),
            ("real", str(self.is_real)),
            ("largest |pole|", f"{np.abs(self.poles).max(initial=0.0):.6g}"),
            ("largest |residue|", f"{np.abs(self.residues).max(initial=0.0):.6g}"),
        ]
        return table("Sum over poles", rows)


def _closed_under_conjugation(poles: Array, residues: Array) -> bool:
    """Whether the pairs (pole, residue) of each row are those of their conjugates."""

    def ordered(p: Array, r: Array) -> tuple[Array, Array]:
        order = np.lexsort((r.imag, r.real, p.imag, p.real))
        return np.take_along_axis(p, order, axis=-1), np.take_along_axis(r, order, axis=-1)

    here = ordered(poles, residues)
    there = ordered(poles.conj(), residues.conj())
    return all(np.array_equal(x, y) for x, y in zip(here, there, strict=True))
