"""What the pictures of transfer functions show: responses, and poles with zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from resolvent._arrays import Array, ReadOnlyFields

__all__ = ["FrequencyResponse", "PoleZeroMap", "TimeResponse", "frequencies"]

#: Points of a frequency grid, and points across each resonance.
_GRID, _ACROSS = 600, 16


@dataclass(frozen=True, eq=False)
class FrequencyResponse(ReadOnlyFields):
    """G(e^{−iω}) on a grid that resolves the resonances; what Bode and Nyquist plots show.

    Attributes
    ----------
    omega : ndarray, shape (K,)
        Radians per sample.
    values : ndarray, shape (..., K), complex
        Infinite where a pole lies on the circle.
    """

    omega: Array
    values: Array


@dataclass(frozen=True, eq=False)
class PoleZeroMap(ReadOnlyFields):
    """Poles and zeros in the plane of ζ = 1/z, where stable is inside the circle.

    Attributes
    ----------
    poles, zeros : ndarray, shape (..., d), complex
        Zeros may be infinite.
    """

    poles: Array
    zeros: Array


@dataclass(frozen=True, eq=False)
class TimeResponse(ReadOnlyFields):
    """The outputs for an impulse or a step at k = 0.

    Attributes
    ----------
    values : ndarray, shape (..., L)
    kind : {"impulse", "step"}
    """

    values: Array
    kind: Literal["impulse", "step"]


def frequencies(poles: Array, zeros: Array, *, two_sided: bool) -> Array:
    """From a tenth of the slowest rate to π, with points across each resonance."""
    places = np.concatenate([poles.ravel(), zeros.ravel()])
    places = places[np.isfinite(places) & (places != 0.0)]
    rates = np.abs(np.log(places))
    slowest = rates[rates > 0.0].min(initial=1.0)
    omega = np.geomspace(max(0.1 * slowest, 1e-8), np.pi, _GRID)
    width = np.abs(np.log(np.abs(places)))[:, np.newaxis]
    across = np.angle(places)[:, np.newaxis] + width * np.linspace(-3.0, 3.0, _ACROSS)
    near = across[(np.abs(across) >= omega[0]) & (np.abs(across) <= np.pi)]
    if two_sided:
        return np.unique(np.concatenate([-omega, omega, near]))
    return np.unique(np.concatenate([omega, near[near > 0.0]]))
