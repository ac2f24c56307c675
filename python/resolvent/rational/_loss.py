"""How much a change of form costs, and the warning that says so."""

from __future__ import annotations

import math

import numpy as np

from resolvent._arrays import Array
from resolvent._warnings import IllConditionedWarning, warn_caller
from resolvent.rational._polynomial import EPS

#: A conversion that loses more decimal digits than this warns.
TOLERATED_DIGITS = 4.0

#: All that double precision has.
_ALL_DIGITS = -math.log10(EPS)


def digits_of(error: Array | float) -> Array:
    """log10(error/eps), from 0 (nothing lost) to 15.65 (nothing left)."""
    with np.errstate(divide="ignore"):
        digits = np.log10(np.asarray(error) / EPS)
    clipped: Array = np.clip(np.nan_to_num(digits, nan=_ALL_DIGITS), 0.0, _ALL_DIGITS)
    return clipped


def warn_of_loss(error: Array | float, what: str) -> None:
    """An IllConditionedWarning with the digits lost, if there are too many."""
    lost = float(digits_of(error).max(initial=0.0))
    if lost > TOLERATED_DIGITS:
        message = f"{what}: about {lost:.1f} of {_ALL_DIGITS:.1f} digits are lost"
        warn_caller(IllConditionedWarning(message, lost))


def scalar_or_array(values: Array) -> float | Array:
    """A float for one model, an array for a batch."""
    return float(values) if np.ndim(values) == 0 else np.asarray(values)
