"""Powers of companion matrices, for the way between C and C̃ = C(I − Āᴸ)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent.rational._polynomial import EPS


def companion_power(a: Array, length: int, poles: Callable[[], Array]) -> Array:
    """Āᴸ, (..., d) to (..., d, d), O(d² log L).

    The last row is ζᴸ modulo the denominator, the newest value, and so the highest power, first;
    a row times Ā is the one above it.
    """
    order = a.shape[-1]
    rows = np.ascontiguousarray(a.reshape(math.prod(a.shape[:-1]), order))
    with np.errstate(over="ignore", invalid="ignore"):
        row = _core.rational.power_remainder(rows, length)[:, ::-1]
        power = np.empty((*rows.shape, order), a.dtype)
        for n in range(order - 1, -1, -1):
            power[:, n] = row
            shifted = np.concatenate([row[:, 1:], np.zeros_like(row[:, :1])], axis=-1)
            row = shifted - row[:, :1] * rows
    if not np.isfinite(power).all():
        raise _core.InvalidArgument(
            f"length L = {length} is too long for an unstable model: its largest |pole| is "
            f"{np.abs(poles()).max():.6g}, and the power of the companion matrix overflows"
        )
    return power.reshape(*a.shape, order)


def require_invertible(matrix: Array, length: int, poles: Callable[[], Array]) -> Array:
    """Refuses an I − Āᴸ that is 0 in some direction to rounding, because a pole has ζᴸ = 1.

    Returns what is lost else, (...): the rounding of I and Āᴸ over the smallest singular value.
    """
    singular = np.linalg.svd(matrix, compute_uv=False)
    size = np.maximum(singular[..., 0], 1.0)
    # A pole known to eps has a power L known to L eps.
    smallest = singular[..., -1]
    if (smallest <= matrix.shape[-1] * length * EPS * size).any():
        _refuse_root_of_unity(poles().ravel(), length, certain=bool((smallest == 0.0).any()))
    loss: Array = size / smallest
    return loss


def _refuse_root_of_unity(poles: Array, length: int, *, certain: bool) -> None:
    """If one of the poles is one; conditioning alone may also make a matrix nearly singular."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        distance = np.abs(np.expm1(length * np.log(poles)))
    nearest = int(np.nan_to_num(distance, nan=np.inf).argmin())
    if certain or distance[nearest] <= np.sqrt(EPS):
        raise _core.InvalidArgument(
            f"I - A^L is singular for L = {length}: the pole {poles[nearest]:.6g} has modulus 1, "
            "and its power L is 1"
        )
