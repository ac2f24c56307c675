"""From state-space models to polynomials, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields
from resolvent._html import table
from resolvent.rational._loss import digits_of, scalar_or_array, warn_of_loss
from resolvent.rational._polynomial import EPS, evaluate, from_roots, multiply, with_leading_one
from resolvent.rational._transfer import TransferFunction
from resolvent.ssm import StateSpace

#: Points of the circle per order at which a conversion is checked.
_DENSITY = 8


@dataclass(frozen=True, eq=False)
class Conversion(ReadOnlyFields):
    """Polynomial coefficients of a state-space model; from :func:`from_state_space`.

    Attributes
    ----------
    transfer_function : TransferFunction
    error : float, or ndarray over channels
        Estimate of the largest error of G on the circle, relative to the largest \\|G\\| there.
    digits_lost : float, or ndarray over channels
        log10(error/eps), from 0 to 15.65: all that double precision has.
    """

    transfer_function: TransferFunction
    error: float | Array
    digits_lost: float | Array

    def __repr__(self) -> str:
        lost = float(np.max(self.digits_lost, initial=0.0))
        return f"Conversion({self.transfer_function!r}, digits_lost={lost:.1f})"

    def _repr_html_(self) -> str:
        rows = [
            ("order", str(self.transfer_function.order)),
            ("channels", str(self.transfer_function.channels)),
            ("relative error", f"{np.max(self.error, initial=0.0):.3g}"),
            ("digits lost", f"{np.max(self.digits_lost, initial=0.0):.1f}"),
        ]
        return table("Conversion to polynomials", rows)


def from_state_space(
    model_or_A: StateSpace | ArrayLike,
    B: ArrayLike | None = None,
    C: ArrayLike | None = None,
    direct: ArrayLike = 0.0,
) -> Conversion:
    """The polynomials b and a of G(z) = C(I − zĀ)⁻¹B̄ + direct.

    Parameters
    ----------
    model_or_A : StateSpace, or array_like of shape (..., N, N)
        A discrete model, or Ā with B, C and direct.
    B, C : array_like, shape (..., N)
    direct : array_like, shape (...)

    Returns
    -------
    Conversion
        Of order N. The error is the larger of two estimates on the circle \\|z\\| = 1 (for unstable
        models on one inside which there are no poles): the measured difference to C(ζI − Ā)⁻¹B̄, by
        Hessenberg reduction, and what a relative change eps of every coefficient makes of G,
        eps (Σ\\|b_i\\| + \\|G\\| Σ\\|a_i\\|)/Π\\|1 − ζ_i z\\|.

    Raises
    ------
    InvalidArgument
        For continuous models.

    Warns
    -----
    IllConditionedWarning
        Where more than 4 digits are lost; its `value` is how many.

    Notes
    -----
    a is the product of 1 − ζ_i z over the eigenvalues of Ā (QR algorithm) in Leja's order, and
    b_k = K_{k−1} + Σ_{i<k} a_i K_{k−1−i} from the first N samples of the kernel. The result is as
    good as the correctly rounded exact coefficients, in most cases to a few units: interpolation at
    roots of unity, det(ζI − Ā + B̄C̃) − det(ζI − Ā) (RTF) and Hessenberg determinants came out the
    same or worse. What is lost is lost to the coefficients themselves, by clustered poles;
    :meth:`PoleResidue.from_state_space` and :func:`balance` do not pass through them. O(N³).

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> c = rational.from_state_space([[0.5, 0.0], [0.0, 0.25]], [1.0, 1.0], [1.0, 2.0])
    >>> c.transfer_function.a, c.transfer_function.b
    (array([-0.75 ,  0.125]), array([ 3.  , -1.25]))
    >>> bool(c.digits_lost < 2)
    True
    """
    model = _as_discrete(model_or_A, B, C, direct)
    made = _converted(model)
    warn_of_loss(made.error, f"polynomial coefficients of order {model.order}")
    return made


def _converted(model: StateSpace) -> Conversion:
    poles = model.poles()
    made = from_poles(poles, markov(model, model.order), model.direct)
    error = _conversion_error(model, poles, made)
    return Conversion(made, scalar_or_array(error), scalar_or_array(digits_of(error)))


def to_rational(A: Array, B: Array, C: Array) -> tuple[TransferFunction, float]:
    """For the route "rational" of :func:`resolvent.ssm.kernel`, which warns of the digits lost."""
    made = _converted(StateSpace(A, B, C))
    return made.transfer_function, float(np.max(made.digits_lost, initial=0.0))


def _as_discrete(
    model: StateSpace | ArrayLike, B: ArrayLike | None, C: ArrayLike | None, direct: ArrayLike
) -> StateSpace:
    if isinstance(model, StateSpace):
        if B is not None or C is not None:
            raise _core.InvalidArgument("B and C must not be given beside a StateSpace")
        return require_discrete(model)
    if B is None or C is None:
        raise _core.InvalidArgument("B and C must be given beside a matrix A")
    return StateSpace(model, B, C, direct)  # type: ignore[arg-type]  # array-likes are converted


def require_discrete(model: StateSpace) -> StateSpace:
    """The model, unless it is continuous."""
    if model.time != "discrete":
        raise _core.InvalidArgument(
            f"model must be discrete, got a {model.time} one; rv.discretize.discretize makes it so"
        )
    return model


def markov(model: StateSpace, count: int) -> Array:
    """C Aᵏ B, k < count; (..., count). O(N²) each."""
    batch = model.channels
    state = np.broadcast_to(model.B, (*batch, model.order))[..., np.newaxis]
    samples = np.empty((*batch, count), model.A.dtype)
    for k in range(count):
        samples[..., k] = (model.C[..., np.newaxis, :] @ state)[..., 0, 0]
        state = model.A @ state
    return samples


def from_poles(poles: Array, samples: Array, direct: Array | float) -> TransferFunction:
    """The function with these poles and first d samples of the kernel; real if the samples are."""
    denominator = from_roots(poles)
    if not np.iscomplexobj(samples):
        denominator = denominator.real
    numerator = multiply(denominator, samples)[..., : poles.shape[-1]]
    return TransferFunction(numerator, denominator[..., 1:], direct)


# ---- the error ---------------------------------------------------------------------------------


def _conversion_error(model: StateSpace, poles: Array, made: TransferFunction) -> Array:
    """Per channel, the larger of the measured and the expected error."""
    shape = (*model.channels, model.order)
    poles, b, a = (np.broadcast_to(part, shape) for part in (poles, made.b, made.a))
    error = np.empty(model.channels)
    for channel, (A, B, C, _) in one_by_one(model):
        zeta = circle_points(poles[channel])
        exact = strict_response(A, B, C, zeta)
        error[channel] = coefficient_error(b[channel], a[channel], poles[channel], exact, zeta)
    return error


def one_by_one(
    model: StateSpace,
) -> Iterator[tuple[tuple[int, ...], tuple[Array, Array, Array, Array]]]:
    """The index of every channel and its (A, B, C, direct)."""
    batch, order = model.channels, model.order
    shapes = ((*batch, order, order), (*batch, order), (*batch, order), batch)
    parts = [
        np.broadcast_to(part, shape)
        for part, shape in zip((model.A, model.B, model.C, model.direct), shapes, strict=True)
    ]
    for channel in np.ndindex(batch):
        A, B, C = (np.ascontiguousarray(part[channel]) for part in parts[:3])
        yield channel, (A, B, C, np.asarray(parts[3][channel]))


def circle_points(poles: Array) -> Array:
    """Points ζ on the unit circle, or outside unstable poles, evenly and next to every pole."""
    count = _DENSITY * poles.size
    even = 2.0 * np.pi * (np.arange(count) + 0.5) / count
    radius = float(np.abs(poles).max())
    if radius >= 1.0:
        radius *= 1.0 + 1.0 / poles.size
    points: Array = max(radius, 1.0) * np.exp(1j * np.concatenate([even, np.angle(poles)]))
    return points


def strict_response(A: Array, B: Array, C: Array, zeta: Array) -> Array:
    """C(I − A/ζ)⁻¹B."""
    response: Array = zeta * _core.ssm.frequency_response(A, B, C[np.newaxis], zeta)[0]
    return response


def coefficient_error(b: Array, a: Array, poles: Array, exact: Array, zeta: Array) -> float:
    """Of one channel, relative to the largest of the exact values at ζ.

    The larger of what is measured and what a relative change eps of every coefficient may make.
    """
    z = 1.0 / zeta
    denominator = with_leading_one(a)
    size = np.abs(z)
    with np.errstate(divide="ignore", invalid="ignore"):
        measured = np.abs(evaluate(b, z) / evaluate(denominator, z) - exact)
    absolute = evaluate(np.abs(b), size) + np.abs(exact) * evaluate(np.abs(denominator), size)
    expected = EPS * absolute / np.abs(np.prod(1.0 - np.multiply.outer(z, poles), axis=-1))
    largest = float(np.abs(exact).max())
    if largest == 0.0:
        return 0.0
    error = np.maximum(measured, expected).max() / largest
    return float(error) if np.isfinite(error) else 1.0
