"""Noise levels: x_t = α_t x_0 + σ_t ε at finitely many t."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real64,
    count_parameter,
    name_parameter,
    positive_parameter,
)
from resolvent._html import grid

__all__ = ["SCHEDULES", "Schedule", "schedule"]

SCHEDULES = ("ve", "vp", "edm")

ScheduleName = Literal["ve", "vp", "edm"]

#: Smallest and largest σ/α unless given; for "edm" those of Karras et al. 2022, table 1.
_RANGES = {"ve": (0.1, 3.0), "vp": (0.1, 3.0), "edm": (0.002, 80.0)}

#: ρ of Karras et al. 2022, (5).
_RHO = 7.0


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Schedule(ReadOnlyFields):
    """Levels (α_t, σ_t) of x_t = α_t x_0 + σ_t ε, and how much each counts.

    Iterating gives ``(alpha, sigma, weight)`` of each level.

    Parameters
    ----------
    alpha : array_like, shape (T,)
        Factors of the signal, at least 0.
    sigma : array_like, shape (T,)
        Standard deviations of the noise, positive.
    weight : array_like, shape (T,), optional
        How much each level counts, at least 0; kept divided by their sum. All alike unless given.

    Raises
    ------
    ShapeMismatch
        Unless all have shape (T,) with the same T ≥ 1.
    InvalidArgument
        For values out of range.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.distill.Schedule([1.0, 1.0], [0.5, 2.0], [3.0, 1.0]).weight
    array([0.75, 0.25])
    """

    alpha: Array
    sigma: Array
    weight: Array

    def __init__(self, alpha: ArrayLike, sigma: ArrayLike, weight: ArrayLike | None = None) -> None:
        levels = _level_values(alpha, "alpha")
        count = levels.size
        shares = np.ones(count) if weight is None else _level_values(weight, "weight", count)
        for name, value in (
            ("alpha", levels),
            ("sigma", _level_values(sigma, "sigma", count, positive=True)),
            ("weight", _shares(shares)),
        ):
            object.__setattr__(self, name, value)
        self.__post_init__()

    @property
    def levels(self) -> int:
        """T."""
        return int(self.alpha.size)

    def __len__(self) -> int:
        return self.levels

    def __iter__(self) -> Iterator[tuple[float, float, float]]:
        return zip(self.alpha.tolist(), self.sigma.tolist(), self.weight.tolist(), strict=True)

    def __repr__(self) -> str:
        return (
            f"Schedule({self.levels} levels: alpha {_span(self.alpha)}, sigma {_span(self.sigma)})"
        )

    def _repr_html_(self) -> str:
        rows = (
            (str(t), f"{alpha:.6g}", f"{sigma:.6g}", f"{weight:.6g}")
            for t, (alpha, sigma, weight) in enumerate(self)
        )
        return grid("Noise levels", ("level", "α", "σ", "weight"), rows)


def schedule(
    name: ScheduleName = "ve",
    levels: int = 8,
    *,
    smallest: float | None = None,
    largest: float | None = None,
) -> Schedule:
    """A schedule by name, from little noise to much, all levels with the same weight.

    Parameters
    ----------
    name : {"ve", "vp", "edm"}
        "ve": α = 1, σ in geometric progression. "vp": α² + σ² = 1, α = cos θ with θ equally spaced
        (the cosine schedule). "edm": α = 1, σ^(1/7) equally spaced.
    levels : int
        T ≥ 1. A single level is the middle of the range in what is equally spaced.
    smallest, largest : float, optional
        Ends of the range of σ/α, positive; (0.1, 3) unless given, (0.002, 80) for "edm".

    Returns
    -------
    Schedule

    Raises
    ------
    InvalidArgument
        For an unknown name, levels < 1, ends that are not positive or not in order.

    References
    ----------
    Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations", 2020,
    arXiv:2011.13456 (variance exploding and preserving). Nichol, Dhariwal, "Improved Denoising
    Diffusion Probabilistic Models", 2021, arXiv:2102.09672 (cosine). Karras et al., "Elucidating
    the Design Space of Diffusion-Based Generative Models", 2022, arXiv:2206.00364, (5).

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.distill.schedule("ve", 3, smallest=0.1, largest=10.0).sigma
    array([ 0.1,  1. , 10. ])
    >>> rv.distill.schedule("vp")
    Schedule(8 levels: alpha 0.995 … 0.316, sigma 0.0995 … 0.949)
    """
    kind = name_parameter(name, SCHEDULES, "name")
    count = count_parameter(levels, "levels")
    low, high = _range(kind, smallest, largest)
    place = np.linspace(0.0, 1.0, count) if count > 1 else np.array([0.5])
    if kind == "vp":
        angle = _between(math.atan(low), math.atan(high), place)
        return Schedule(np.cos(angle), np.sin(angle))
    if kind == "edm":
        sigma = _between(low ** (1.0 / _RHO), high ** (1.0 / _RHO), place) ** _RHO
    else:
        sigma = np.exp(_between(math.log(low), math.log(high), place))
    return Schedule(np.ones(count), sigma)


def _between(low: float, high: float, place: Array) -> Array:
    return (1.0 - place) * low + place * high


def _range(kind: str, smallest: Any, largest: Any) -> tuple[float, float]:
    low, high = _RANGES[kind]
    low = low if smallest is None else positive_parameter(smallest, "smallest")
    high = high if largest is None else positive_parameter(largest, "largest")
    if low > high:
        raise _core.InvalidArgument(
            f"smallest must not exceed largest, got smallest={low:g} and largest={high:g}"
        )
    return low, high


def _level_values(
    value: ArrayLike, name: str, count: int | None = None, *, positive: bool = False
) -> Array:
    """One finite number for each level."""
    array = as_real64(value, name)
    if array.ndim != 1 or array.size == 0:
        raise _core.ShapeMismatch(f"{name} must have shape (T,) with T >= 1, got {array.shape}")
    if count is not None and array.size != count:
        raise _core.ShapeMismatch(
            f"{name} must have one entry for each of the {count} levels of alpha, got {array.size}"
        )
    allowed = array > 0.0 if positive else array >= 0.0
    if not allowed.all():
        place = int(np.flatnonzero(~allowed)[0])
        range_text = "positive" if positive else "at least 0"
        raise _core.InvalidArgument(
            f"{name} must be {range_text}, got {name}[{place}] = {array[place]:g}"
        )
    return array


def _shares(weight: Array) -> Array:
    with np.errstate(over="ignore"):
        total = weight.sum()
    if not 0.0 < total < math.inf:
        raise _core.InvalidArgument(
            f"weight must have a positive and finite sum, got {total:g} in all"
        )
    return np.asarray(weight / total)


def _span(values: Array) -> str:
    first, last = f"{values[0]:.3g}", f"{values[-1]:.3g}"
    return first if first == last else f"{first} … {last}"
