"""State-space models as products of sections, without polynomials of high degree."""

from __future__ import annotations

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent.rational._convert import (
    circle_points,
    one_by_one,
    require_discrete,
    strict_response,
)
from resolvent.rational._loss import warn_of_loss
from resolvent.rational._polynomial import EPS, by_modulus
from resolvent.rational._sections import sections
from resolvent.rational._transfer import TransferFunction
from resolvent.ssm import StateSpace

#: Real points ζ off the circle or on it, of which the zeros are computed from the best conditioned.
_SHIFTS = (1.0, -1.0, 1.5, -1.5)


def cascade(model: StateSpace) -> list[TransferFunction]:
    """Sections of order 2 or less whose product is a state-space model.

    The form that loses nothing: poles are eigenvalues of Ā and zeros those of the pencil of the
    system, each the exact ones of matrices within rounding, and no coefficients of high degree are
    formed. For the bilinear LegS of order 24 it keeps 14 digits of a G of which polynomials keep 8
    and a sum over poles none.

    Parameters
    ----------
    model : StateSpace
        Discrete, (..., N, N).

    Returns
    -------
    list of TransferFunction
        As :meth:`TransferFunction.cascade`: ⌈N/2⌉ sections of a real model, N of a complex one. To
        run them, the output of one is the input of the next. O(N³).

    Raises
    ------
    InvalidArgument
        For continuous models, and for G = 0.

    Warns
    -----
    IllConditionedWarning
        Where the product differs from C(ζI − Ā)⁻¹B̄ on the circle by more than 4 digits.

    Examples
    --------
    >>> import numpy as np, resolvent as rv, resolvent.rational as rational
    >>> d = rv.discretize.discretize(rv.hippo.system("legs", 24), 0.1, "bilinear")
    >>> parts = rational.cascade(rv.ssm.StateSpace(d.A, d.B, np.ones(24)))
    >>> len(parts), bool(parts[0].is_stable())
    (12, True)
    """
    require_discrete(model)
    batch, order = model.channels, model.order
    poles = np.broadcast_to(model.poles(), (*batch, order))
    poles = np.take_along_axis(poles, by_modulus(poles), axis=-1)
    zeros, gain = np.empty_like(poles), np.empty(batch, model.A.dtype)
    for channel, (A, B, C, direct) in one_by_one(model):
        zeros[channel], gain[channel] = _zeros_and_gain(A, B, C, direct, poles[channel])
    parts = sections(zeros, poles, gain, real=not np.iscomplexobj(model.A))
    made = [TransferFunction(*part) for part in parts]
    warn_of_loss(_distance(model, poles, made), "cascade")
    return made


def _zeros_and_gain(
    A: Array, B: Array, C: Array, direct: Array, poles: Array
) -> tuple[Array, Array]:
    """The zeros of one channel, infinite ones first, and the gain beside Π(1 − q z)/Π(1 − p z).

    Read before the update, the output is y = row·x + first·u. Its zeros solve the generalised
    eigenproblem [[A, B], [row, first]] v = ζ diag(I, 0) v, here about a shift μ as an ordinary one
    for θ = 1/(ζ − μ), which stays accurate where `first` is small and zeros are large. Of a kernel
    that starts with m zeros the rest is taken, zᵐ apart, which adds m zeros at 0 to those known.
    """
    order = A.shape[0]
    delay, row, first = _after_delay(A, B, C, direct)
    pencil = np.block([[A, B[:, np.newaxis]], [row, first]])
    finite = np.diag(np.append(np.ones(order), 0.0))
    shift = min(_SHIFTS, key=lambda mu: np.linalg.cond(pencil - mu * finite))
    theta = np.linalg.eigvals(np.linalg.solve(pencil - shift * finite, finite))
    theta = theta[np.argsort(-np.abs(theta))][:order]
    beyond = np.abs(theta) <= order * EPS * np.abs(theta).max()
    zeros = np.where(beyond, np.inf, shift + 1.0 / np.where(beyond, 1.0, theta)).astype(complex)
    zeros = zeros[by_modulus(zeros)]
    at_zero = delay + int(direct == 0.0)
    zeros[order - at_zero :] = 0.0
    zeros = np.concatenate([np.full(delay, np.inf), zeros[: order - delay]])
    return zeros, _gain(A, B, C, direct, zeros, poles, 1.0 / shift)


def _after_delay(A: Array, B: Array, C: Array, direct: Array) -> tuple[int, Array, Array]:
    """How many samples of the kernel are 0 to rounding, and the rest as y = row·x + first·u."""
    scale = np.linalg.norm(B)
    negligible = A.shape[0] * EPS * (np.linalg.norm(C) * scale + abs(direct))
    first, row = C @ B + direct, C @ A
    for delay in range(A.shape[0]):
        if abs(first) > negligible:
            return delay, row, first
        negligible = A.shape[0] * EPS * np.linalg.norm(row) * scale
        first, row = row @ B, row @ A
    raise _core.InvalidArgument("model must not be 0: no sample of its kernel is above rounding")


def _gain(
    A: Array, B: Array, C: Array, direct: Array, zeros: Array, poles: Array, z: float
) -> Array:
    """From the value at the point z."""
    value = C @ np.linalg.solve(np.eye(A.shape[0]) - z * A, B) + direct
    factors = np.where(np.isfinite(zeros), 1.0 - z * np.where(np.isfinite(zeros), zeros, 0.0), z)
    gain = value * np.prod(1.0 - z * poles) / np.prod(factors)
    return np.asarray(gain if np.iscomplexobj(A) else gain.real)


def _distance(model: StateSpace, poles: Array, parts: list[TransferFunction]) -> Array:
    """Largest difference on the circle, over the largest value."""
    error = np.zeros(model.channels)
    for channel, (A, B, C, direct) in one_by_one(model):
        zeta = circle_points(poles[channel])
        exact = strict_response(A, B, C, zeta) + direct
        values = [part._evaluated(1.0 / zeta)[0][channel] for part in parts]
        largest = np.abs(exact).max()
        error[channel] = np.abs(np.prod(values, axis=0) - exact).max() / largest
    return error
