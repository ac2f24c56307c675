"""Rational transfer functions by the coefficients of their polynomials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_number,
    as_real64,
    narrowed,
)
from resolvent._html import table
from resolvent._warnings import IllConditionedWarning, warn_caller
from resolvent.rational._kernels import (
    aliased_kernels,
    at_pole,
    checked_length,
    plain_kernels,
)
from resolvent.rational._loss import scalar_or_array, warn_of_loss
from resolvent.rational._polynomial import (
    EPS,
    companion,
    evaluate,
    evaluate_at,
    leading_index,
    multiply,
    roots,
    with_conjugate_pairs,
    with_leading_one,
)
from resolvent.rational._sections import sections
from resolvent.rational._truncation import companion_power, require_invertible
from resolvent.rational._views import FrequencyResponse, PoleZeroMap, TimeResponse, frequencies
from resolvent.ssm import StateSpace
from resolvent.ssm._batch import broadcast_shapes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from resolvent.rational._partial import PoleResidue

#: What the inverse of I − Āᴸ may lose: half of the digits.
_TOLERATED_LOSS = EPS**-0.5


@dataclass(frozen=True, eq=False)
class TransferFunction(ReadOnlyFields):
    """G(z) = (b_1 + b_2 z + … + b_d z^{d−1})/(1 + a_1 z + … + a_d z^d) + direct.

    z is the delay, so that G(z) = Σ_k K_k zᵏ has the kernel K. Poles and zeros are values of
    ζ = 1/z: the model is stable where all poles lie inside the circle.

    Parameters
    ----------
    b, a : array_like, shape (..., d)
        Coefficients, d ≥ 1, the leading 1 of the denominator left out. Leading axes are channels
        and broadcast.
    direct : array_like, shape (...)
        The feedthrough, added to K_0.

    Attributes
    ----------
    b, a, direct
        As given, read-only, of one type: float32, float64, complex64 or complex128.

    Raises
    ------
    ShapeMismatch
        Where b and a differ in length or their leading axes do not broadcast.
    InvalidArgument
        For d = 0, NaN and infinity (the place is named).

    Notes
    -----
    The output is read from the state after the update, so K_0 = b_1 + direct. The public code of
    RTF delays the first term by one sample: its G is direct + (b_1 z + … + b_d z^d)/(1 + …).

    References
    ----------
    Parnichkun et al., "State-Free Inference of State-Space Models: The Transfer Function Approach",
    2024, arXiv:2405.06147.

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> G = rational.TransferFunction([1.0, 0.5], [-0.5, 0.06])
    >>> G.kernel(4)
    array([1.  , 1.  , 0.44, 0.16])
    >>> G.poles().real.round(3)
    array([0.3, 0.2])
    """

    b: Array
    a: Array
    direct: Array | float = 0.0

    def __post_init__(self) -> None:
        b, a, direct = (as_number(getattr(self, name), name) for name in ("b", "a", "direct"))
        for name, part in (("b", b), ("a", a), ("direct", direct)):
            _core.require_finite(part, name)
        if b.ndim == 0 or a.ndim == 0 or b.shape[-1] != a.shape[-1]:
            raise _core.ShapeMismatch(
                f"b and a must have shape (..., d) with the same d, got {b.shape} and {a.shape}"
            )
        if b.shape[-1] == 0:
            raise _core.InvalidArgument("b and a must have at least one coefficient")
        broadcast_shapes(b=b.shape[:-1], a=a.shape[:-1], direct=direct.shape)
        kind = np.result_type(b, a)
        if np.iscomplexobj(direct):
            kind = np.result_type(kind, np.complex64)
        object.__setattr__(self, "b", b.astype(kind))
        object.__setattr__(self, "a", a.astype(kind))
        direct = direct.astype(kind)
        object.__setattr__(self, "direct", direct if direct.ndim else direct.item())
        super().__post_init__()

    # ---- what it is ----------------------------------------------------------------------------

    @property
    def order(self) -> int:
        """Number d of coefficients."""
        return int(self.a.shape[-1])

    @property
    def channels(self) -> tuple[int, ...]:
        """The leading axes of all parts together."""
        return np.broadcast_shapes(self.b.shape[:-1], self.a.shape[:-1], np.shape(self.direct))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the coefficients."""
        return self.b.dtype

    @property
    def _is_complex(self) -> bool:
        return np.iscomplexobj(self.b)

    def _double(self, part: Array | float) -> Array:
        """In double precision, the channels as they are."""
        kind = np.complex128 if self._is_complex else np.float64
        return np.asarray(part).astype(kind, copy=False)

    def _flat(self, part: Array, kind: np.dtype[Any], batch: tuple[int, ...]) -> Array:
        """(..., n) as contiguous rows (H, n) of a larger batch."""
        shape = (*batch, part.shape[-1])
        rows = np.broadcast_to(part, shape).reshape(math.prod(batch), part.shape[-1])
        return np.ascontiguousarray(rows, dtype=kind)

    def control_polynomials(self) -> tuple[Array, Array]:
        """Numerator and denominator by descending powers of ζ = 1/z.

        Returns
        -------
        numerator, denominator : ndarray, shape (..., d + 1)
            [b, 0] + direct·[1, a] and [1, a]: what ``scipy.signal.dlti`` and ``control.tf`` take,
            and ``scipy.signal.lfilter`` as its b and a.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> rational.TransferFunction([1.0, 0.5], [-0.5, 0.06], direct=2.0).control_polynomials()
        (array([ 3.  , -0.5 ,  0.12]), array([ 1.  , -0.5 ,  0.06]))
        """
        return narrowed(self._numerator(), self.b), with_leading_one(self.a)

    def _numerator(self) -> Array:
        b, direct = self._double(self.b), self._double(self.direct)[..., np.newaxis]
        longer = np.concatenate([b, np.zeros_like(b[..., :1])], axis=-1)
        total: Array = longer + direct * with_leading_one(self._double(self.a))
        return total

    # ---- in time -------------------------------------------------------------------------------

    def kernel(self, L: int, aliased: bool = False) -> Array:
        """The kernel of G, or its L-periodic sum.

        Parameters
        ----------
        L : int
            Length ≥ 1.
        aliased : bool
            False: the power series, K_k = b_{k+1} − Σ_i a_i K_{k−i}, O(dL). True: the inverse DFT
            of G at the L-th roots of unity, which is Σ_m K_{k+mL} for stable G, O(L log L) whatever
            d. The two are the same kernel of two read-outs: the aliased one of b = C̃ is the plain
            one of C = C̃(I − Āᴸ)⁻¹ (:meth:`untruncate`), and S4 and RTF train C̃.

        Returns
        -------
        ndarray, shape (..., L)
            Of the type of the coefficients.

        Raises
        ------
        InvalidArgument
            L < 1; an unstable model whose kernel overflows, with the length from which it does;
            aliased: L < d, or a pole at a sample point, which is named.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> G = rational.TransferFunction([1.0], [-0.5])
        >>> G.kernel(2)
        array([1. , 0.5])
        >>> G.kernel(2, aliased=True).round(4)  # 1 + 1/4 + 1/16 + …, and half of it
        array([1.3333, 0.6667])
        """
        length = checked_length(L)
        kind = np.dtype(np.complex128) if self._is_complex else self.dtype
        b, a = (self._flat(part, kind, self.channels) for part in (self.b, self.a))
        rows = aliased_kernels(b, a, length) if aliased else plain_kernels(b, a, length, self.poles)
        if np.any(self.direct):
            rows[:, 0] += np.broadcast_to(self.direct, self.channels).ravel()
        return narrowed(rows.reshape(*self.channels, length), self.b)

    def recur(self, u: ArrayLike, x0: ArrayLike | None = None) -> tuple[Array, Array]:
        """Runs the companion recurrence over an input.

        w_k = u_k − Σ_i a_i w_{k−i}, y_k = Σ_j b_j w_{k−j+1} + direct·u_k: O(d) per sample.

        Parameters
        ----------
        u : array_like, shape (..., L)
        x0 : array_like, shape (..., d), optional
            The shift register w_{−1}, …, w_{−d}; zero unless given.

        Returns
        -------
        y : ndarray, shape (..., L)
        x : ndarray, shape (..., d)
            The last d values of w, the newest first: `x0` of what follows.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> G = rational.TransferFunction([1.0, 0.5], [-0.5, 0.06])
        >>> y, x = G.recur([1.0, 0.0])
        >>> G.recur([0.0, 0.0], x)[0]
        array([0.44, 0.16])
        """
        inputs = as_number(u, "u")
        if inputs.ndim == 0:
            raise _core.ShapeMismatch("u must have shape (..., L), got ()")
        start = np.zeros(self.order, self.dtype) if x0 is None else as_number(x0, "x0")
        if start.ndim == 0 or start.shape[-1] != self.order:
            raise _core.ShapeMismatch(f"x0 must have shape (..., {self.order}), got {start.shape}")
        batch = broadcast_shapes(u=inputs.shape[:-1], model=self.channels, x0=start.shape[:-1])
        result = np.result_type(inputs, self.b, start)
        kind = np.dtype(np.complex128) if result.kind == "c" else result
        flat = [self._flat(part, kind, batch) for part in (inputs, self.b, self.a, start)]
        y, x = _core.rational.recur(*flat)
        y, x = y.reshape(*batch, inputs.shape[-1]), x.reshape(*batch, self.order)
        if np.any(self.direct):
            y += np.asarray(self.direct)[..., np.newaxis] * inputs
        return y.astype(result, copy=False), x.astype(result, copy=False)

    # ---- in frequency --------------------------------------------------------------------------

    def frequency_response(self, omega: ArrayLike) -> Array:
        """G(e^{−iω}).

        Parameters
        ----------
        omega : array_like
            Radians per sample, any shape.

        Returns
        -------
        ndarray, shape (..., *omega.shape), complex
            By Horner's rule, in double precision: O(d) per point, backward stable (the response of
            coefficients that differ by about 2d eps).

        Raises
        ------
        InvalidArgument
            Where a pole lies at a sample point, which is named.

        Examples
        --------
        >>> import numpy as np, resolvent.rational as rational
        >>> rational.TransferFunction([1.0], [-0.5]).frequency_response([0.0, np.pi]).real
        array([2.        , 0.66666667])
        """
        values = self._response(np.exp(-1j * as_real64(omega, "omega")))
        return narrowed(values, self.b)

    def _response(self, z: Array) -> Array:
        """G at any z, (..., *z.shape); a pole at one of the points is refused."""
        z = np.asarray(z, np.complex128)
        values, denominator = self._evaluated(z)
        largest = evaluate(np.abs(with_leading_one(self._double(self.a))), np.abs(z))
        vanishes = np.abs(denominator) <= (self.order + 2) * EPS * largest
        for channel in np.ndindex(self.a.shape[:-1]):
            points = z[vanishes[channel]]
            at = points[at_pole(self._double(self.a)[channel], points)] if points.size else points
            if at.size:
                where = f" of channel {channel}" if channel else ""
                raise _core.InvalidArgument(
                    f"G has a pole{where} at the sample point z = {at[0]:.6g} "
                    f"(omega = {-np.angle(at[0]):.6g})"
                )
        return values

    def _evaluated(self, z: Array) -> tuple[Array, Array]:
        """G and its denominator at z; infinite or NaN at poles."""
        denominator = evaluate(with_leading_one(self._double(self.a)), z)
        numerator = evaluate(self._double(self.b), z)
        direct = np.asarray(self.direct).reshape(np.shape(self.direct) + (1,) * z.ndim)
        with np.errstate(divide="ignore", invalid="ignore"):
            return numerator / denominator + direct, denominator

    # ---- poles and zeros -----------------------------------------------------------------------

    def poles(self) -> Array:
        """The roots of ζ^d + a_1 ζ^{d−1} + … + a_d, by modulus descending.

        Returns
        -------
        ndarray, shape (..., d), complex
            By the QR algorithm on the companion matrix, O(d³): exact for coefficients that differ
            by some eps, which close poles may feel strongly.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> rational.TransferFunction([1.0, 0.0], [-0.8, 0.25]).poles()
        array([0.4+0.3j, 0.4-0.3j])
        """
        return self._per_channel(roots(with_leading_one(self._double(self.a))))

    def zeros(self) -> Array:
        """The ζ at which G is zero, by modulus descending.

        Returns
        -------
        ndarray, shape (..., d), complex
            As many as there are poles. One of them is 0 where direct = 0, as the state is read
            after the update; where the kernel starts with m zeros, m of them are infinite.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> rational.TransferFunction([1.0, 0.5], [-0.5, 0.06]).zeros().real
        array([-0.5,  0. ])
        """
        return self._per_channel(roots(self._numerator()))

    def _per_channel(self, values: Array) -> Array:
        every: Array = np.broadcast_to(values, (*self.channels, values.shape[-1])).copy()
        return every

    def residues(self) -> tuple[Array, Array]:
        """The terms of K_k = Σ_i r_i ζ_iᵏ (plus direct in K_0).

        Returns
        -------
        residues, poles : ndarray, shape (..., d), complex
            r_i = Σ_j b_j ζ_i^{d−j}/Π_{j≠i}(ζ_i − ζ_j).

        Raises
        ------
        InvalidArgument
            Where two poles are equal: there is no such expansion.

        Warns
        -----
        IllConditionedWarning
            Where the sum differs from the kernel by more than 4 digits, as for clustered poles,
            whose residues are large and cancel.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> r, poles = rational.TransferFunction([1.0, 0.5], [-0.5, 0.06]).residues()
        >>> r.real.round(3)
        array([ 8., -7.])
        """
        poles = self.poles()
        gaps = poles[..., :, np.newaxis] - poles[..., np.newaxis, :]
        diagonal = np.arange(self.order)
        gaps[..., diagonal, diagonal] = 1.0
        if (gaps == 0.0).any():
            repeated = poles[(gaps == 0.0).any(axis=-1)][0]
            raise _core.InvalidArgument(
                f"a must have distinct poles for an expansion in residues, but {repeated:.6g} is "
                "repeated"
            )
        residues = evaluate_at(self._double(self.b)[..., ::-1], poles) / gaps.prod(axis=-1)
        if not self._is_complex:
            residues = with_conjugate_pairs(residues, poles)
        warn_of_loss(self._residue_error(residues, poles), "residues")
        return residues, poles

    def _residue_error(self, residues: Array, poles: Array) -> Array:
        """Largest difference of the first 2d samples, over the largest sample."""
        count = 2 * self.order
        b, a = self._double(self.b), self._double(self.a)
        kernel = TransferFunction(b, a).kernel(count)
        powers = poles[..., np.newaxis, :] ** np.arange(count)[:, np.newaxis]
        difference = np.abs((powers * residues[..., np.newaxis, :]).sum(axis=-1) - kernel)
        size = np.abs(kernel).max(axis=-1)
        error: Array = difference.max(axis=-1) / np.where(size > 0.0, size, 1.0)
        return error

    def is_stable(self) -> bool | Array:
        """Whether all poles lie inside the circle, by Schur–Cohn: no pole is computed.

        Returns
        -------
        bool, or ndarray of bool over channels

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> rational.TransferFunction([1.0, 0.0], [[-0.5, 0.06], [-2.5, 1.0]]).is_stable()
        array([ True, False])
        """
        stable = np.asarray((np.abs(self._reflection()) < 1.0).all(axis=-1))
        return stable if self.channels else bool(stable)

    def stability_margin(self) -> float | Array:
        """1 − max_m abs(k_m), from the reflection coefficients of the denominator.

        Returns
        -------
        float, or ndarray over channels
            Positive if and only if stable; 1 for a = 0.
        """
        return scalar_or_array(1.0 - np.nanmax(np.abs(self._reflection()), axis=-1))

    def _reflection(self) -> Array:
        rows = self._flat(self.a, self._double(self.a).dtype, self.a.shape[:-1])
        return self._per_channel(_core.rational.step_down(rows).reshape(self.a.shape))

    # ---- other forms ---------------------------------------------------------------------------

    def to_companion(self, L: int | None = None) -> StateSpace:
        """The companion realisation: first row −a, ones below the diagonal, B = e_1.

        Parameters
        ----------
        L : int, optional
            C = b unless given. With L, b is taken as C̃ and C = C̃(I − Āᴸ)⁻¹, so that the plain
            kernel of the result is ``kernel(L, aliased=True)``.

        Returns
        -------
        StateSpace
            Discrete, of order d; its state is the shift register of :meth:`recur`.

        Notes
        -----
        C solves the *transposed* system (I − Āᴸ)ᵀ Cᵀ = C̃ᵀ; RTF's public code solves the one that
        is not transposed.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> rational.TransferFunction([1.0, 0.5], [-0.5, 0.06]).to_companion().A
        array([[ 0.5 , -0.06],
               [ 1.  ,  0.  ]])
        """
        source = self if L is None else self.untruncate(L).transfer_function
        first = np.zeros(self.order)
        first[0] = 1.0
        return StateSpace(companion(source.a), first, source.b, source.direct)

    def to_state_space(self) -> StateSpace:
        """A realisation: balanced where there is one, companion otherwise.

        Returns
        -------
        StateSpace
            Discrete, of order d. Balanced (:func:`balance`) for stable models that are minimal to
            rounding; the companion form for the others, and for a batch with one of them.
        """
        from resolvent.rational._lattice import lattice
        from resolvent.rational._reduce import balanced

        made = balanced(lattice(self)[0]) if np.all(self.is_stable()) else None
        return self.to_companion() if made is None else made.state_space

    def cascade(self) -> list[TransferFunction]:
        """Sections of order 2 or less whose product is G.

        Returns
        -------
        list of TransferFunction
            ⌈d/2⌉ of them for real coefficients, the last of order 1 if d is odd; d of order 1 for
            complex ones. Poles from the slowest to the fastest, each with the zeros closest to it;
            the gain is in the first section. A section whose poles are much smaller than its zeros
            (as those of a window, which are 0) has one more coefficient, a_3 = 0: a third tap.

        Warns
        -----
        IllConditionedWarning
            Where the product differs from G by more than 4 digits.

        Examples
        --------
        >>> import numpy as np, resolvent.rational as rational
        >>> G = rational.TransferFunction([1.0, 0.5, 0.2], [-0.5, 0.06, 0.1])
        >>> first, second = G.cascade()
        >>> bool(np.allclose((first * second).kernel(9), G.kernel(9)))
        True
        """
        numerator = self._numerator()
        first = np.minimum(leading_index(numerator), self.order)[..., np.newaxis]
        gain = self._per_channel(np.take_along_axis(numerator, first, axis=-1))[..., 0]
        parts = sections(self.zeros(), self.poles(), gain, real=not self._is_complex)
        made = [TransferFunction(*part) for part in parts]
        warn_of_loss(self._distance_to_product(made), "cascade")
        return made

    def _distance_to_product(self, parts: list[TransferFunction]) -> Array:
        """Largest difference on the circle, over the largest value, away from poles."""
        z = np.exp(-1j * np.pi * (np.arange(4 * self.order) + 0.5) / (4 * self.order))
        if self._is_complex:
            z = np.concatenate([z, z.conj()])
        values = self._evaluated(z)[0]
        product = np.prod([part._evaluated(z)[0] for part in parts], axis=0)
        size = np.abs(values).max(axis=-1)
        error: Array = np.abs(product - values).max(axis=-1) / np.where(size > 0.0, size, 1.0)
        return error

    def parallel(self) -> PoleResidue:
        """The sum over poles, K_k = Σ_i r_i ζ_iᵏ.

        Returns
        -------
        PoleResidue

        Raises
        ------
        InvalidArgument
            Where two poles are equal.

        Warns
        -----
        IllConditionedWarning
            As :meth:`residues`.
        """
        from resolvent.rational._partial import PoleResidue

        residues, poles = self.residues()
        return PoleResidue(poles, residues, self.direct)

    def truncate(self, L: int) -> Truncation:
        """From C to C̃ = C(I − Āᴸ): the numerator of the first L samples.

        b̃(z)/(1 + a(z)) = G_L(z) at the L-th roots of unity, G_L(z) = Σ_{k<L} K_k zᵏ, so that
        ``truncate(L).transfer_function.kernel(L, aliased=True)`` is ``kernel(L)``.

        Parameters
        ----------
        L : int
            Length ≥ 1; d ≥ L too.

        Returns
        -------
        Truncation
            b̃ = b − b Āᴸ. Āᴸ is made from ζᴸ modulo the denominator, O(d² log L).

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> G = rational.TransferFunction([1.0], [-0.5])
        >>> G.truncate(2).transfer_function.b
        array([0.75])
        """
        length = checked_length(L)
        power = self._companion_power(length)
        b = self._double(self.b)
        return self._truncation(b - (b[..., np.newaxis, :] @ power)[..., 0, :], power)

    def untruncate(self, L: int) -> Truncation:
        """From C̃ to C = C̃(I − Āᴸ)⁻¹: undoes :meth:`truncate`.

        The transposed system (I − Āᴸ)ᵀ Cᵀ = C̃ᵀ is solved.

        Parameters
        ----------
        L : int
            Length ≥ 1.

        Returns
        -------
        Truncation
            ``transfer_function.kernel(L)`` is ``kernel(L, aliased=True)`` of this one.

        Raises
        ------
        InvalidArgument
            Where I − Āᴸ is singular, that is, a pole has ζᴸ = 1; it is named.

        Warns
        -----
        IllConditionedWarning
            Where the condition number leaves less than half of the digits.

        Examples
        --------
        >>> import resolvent.rational as rational
        >>> G = rational.TransferFunction([0.75], [-0.5])
        >>> G.untruncate(2).transfer_function.b
        array([1.])
        """
        length = checked_length(L)
        power = self._companion_power(length)
        matrix = np.eye(self.order) - power
        lost = float(require_invertible(matrix, length, self.poles).max(initial=0.0))
        if lost > _TOLERATED_LOSS:
            message = f"I - A^L loses a factor {lost:.3g} of accuracy for L = {length}"
            warn_caller(IllConditionedWarning(message, lost))
        columns = np.broadcast_to(self._double(self.b), (*self.channels, self.order))
        solved = np.linalg.solve(matrix.swapaxes(-1, -2), columns[..., np.newaxis])[..., 0]
        return self._truncation(solved, power)

    def _companion_power(self, length: int) -> Array:
        return companion_power(self._double(self.a), length, self.poles)

    def _truncation(self, b: Array, power: Array) -> Truncation:
        condition = np.linalg.cond(np.eye(self.order) - power)
        made = TransferFunction(narrowed(b, self.b), self.a, self.direct)
        return Truncation(made, scalar_or_array(condition))

    # ---- arithmetic ----------------------------------------------------------------------------

    def __add__(self, other: TransferFunction) -> TransferFunction:
        """In parallel: the sum of the kernels, of order d_1 + d_2."""
        if not isinstance(other, TransferFunction):
            return NotImplemented
        broadcast_shapes(left=self.channels, right=other.channels)
        first, second = with_leading_one(self.a), with_leading_one(other.a)
        numerator = multiply(self.b, second) + multiply(other.b, first)
        direct = np.add(self.direct, other.direct)
        return TransferFunction(numerator, multiply(first, second)[..., 1:], direct)

    def __mul__(self, other: TransferFunction) -> TransferFunction:
        """In series: the convolution of the kernels, of order d_1 + d_2."""
        if not isinstance(other, TransferFunction):
            return NotImplemented
        broadcast_shapes(left=self.channels, right=other.channels)
        first, second = with_leading_one(self.a), with_leading_one(other.a)
        product = multiply(self.b, other.b)
        numerator = np.concatenate([product, np.zeros_like(product[..., :1])], axis=-1)
        for one, b, denominator in ((self, other.b, first), (other, self.b, second)):
            direct = np.asarray(one.direct, one.dtype)[..., np.newaxis]
            numerator = numerator + direct * multiply(b, denominator)
        both = np.multiply(self.direct, other.direct)
        return TransferFunction(numerator, multiply(first, second)[..., 1:], both)

    # ---- pictures ------------------------------------------------------------------------------

    def bode(self, ax: Axes | None = None) -> Axes:
        """Draws magnitude and phase against frequency; returns the axes of the magnitude."""
        from resolvent.plot.rational import plot_bode

        return plot_bode(self._sampled(), ax)

    def nyquist(self, ax: Axes | None = None) -> Axes:
        """Draws the frequency response in the complex plane; returns the axes."""
        from resolvent.plot.rational import plot_nyquist

        return plot_nyquist(self._sampled(), ax)

    def pole_zero(self, ax: Axes | None = None) -> Axes:
        """Draws poles, zeros and the unit circle; returns the axes."""
        from resolvent.plot.rational import plot_pole_zero

        return plot_pole_zero(PoleZeroMap(self.poles(), self.zeros()), ax)

    def impulse(self, length: int, ax: Axes | None = None) -> Axes:
        """Draws the kernel; returns the axes."""
        from resolvent.plot.rational import plot_time_response

        return plot_time_response(TimeResponse(self.kernel(length), "impulse"), ax)

    def step_response(self, length: int, ax: Axes | None = None) -> Axes:
        """Draws the running sum of the kernel; returns the axes."""
        from resolvent.plot.rational import plot_time_response

        values = np.cumsum(self.kernel(length), axis=-1)
        return plot_time_response(TimeResponse(values, "step"), ax)

    def _sampled(self) -> FrequencyResponse:
        omega = frequencies(self.poles(), self.zeros(), two_sided=self._is_complex)
        return FrequencyResponse(omega, self._evaluated(np.exp(-1j * omega))[0])

    # ---- how it shows --------------------------------------------------------------------------

    def __repr__(self) -> str:
        channels = f", channels={self.channels}" if self.channels else ""
        return f"TransferFunction(order={self.order}, dtype={self.dtype}{channels})"

    def _repr_html_(self) -> str:
        rows = [
            ("order", str(self.order)),
            ("channels", str(self.channels)),
            ("dtype", str(self.dtype)),
            ("stable", str(bool(np.all(self.is_stable())))),
            ("largest |pole|", f"{np.abs(self.poles()).max(initial=0.0):.6g}"),
        ]
        return table("Transfer function", rows)


@dataclass(frozen=True, eq=False)
class Truncation(ReadOnlyFields):
    """A numerator before or after C̃ = C(I − Āᴸ), and what the step costs.

    Attributes
    ----------
    transfer_function : TransferFunction
    condition : float, or ndarray over channels
        The condition number of I − Āᴸ in the 2-norm: relative errors of C̃ are errors of C times
        this much at most, and the other way round.
    """

    transfer_function: TransferFunction
    condition: float | Array

    def __repr__(self) -> str:
        worst = float(np.max(self.condition, initial=0.0))
        return f"Truncation({self.transfer_function!r}, condition={worst:.3g})"

    def _repr_html_(self) -> str:
        rows = [
            ("order", str(self.transfer_function.order)),
            ("channels", str(self.transfer_function.channels)),
            ("condition of I − Āᴸ", f"{np.max(self.condition, initial=0.0):.4g}"),
        ]
        return table("Truncation", rows)
