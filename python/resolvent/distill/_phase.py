"""Which λ trains which student: the 1-D Gaussian case in closed form, over a grid."""

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
    as_real64,
    count_parameter,
    positive_parameter,
)
from resolvent._html import table
from resolvent.distill._distill import COLLAPSED, DIVERGED, OUTCOMES
from resolvent.distill._schedule import Schedule
from resolvent.distill._students import schedule_parameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PhaseDiagram", "phase_diagram"]

#: Converged: within this share of the data's width, and no step is larger.
_CLOSE = 0.01

_CONVERGED, _COLLAPSED, _DIVERGED, _UNFINISHED = range(len(OUTCOMES))


@dataclass(frozen=True, eq=False, repr=False)
class PhaseDiagram(ReadOnlyFields):
    """What becomes of students; from :func:`phase_diagram`.

    Attributes
    ----------
    lams : ndarray, shape (L,)
    widths : ndarray, shape (W,)
        Of the students at the start.
    outcome : ndarray of int, shape (L, W)
        Places in `names`.
    names : tuple of str
        ("converged", "collapsed", "diverged", "unfinished").
    final : ndarray, shape (L, W)
        Widths at the end.
    steps : ndarray of int, shape (L, W)
        When it was decided; all steps of the run where it was not.
    teacher_width : float
    schedule : Schedule
    learning_rate : float
    """

    lams: Array
    widths: Array
    outcome: Array
    names: tuple[str, ...]
    final: Array
    steps: Array
    teacher_width: float
    schedule: Schedule
    learning_rate: float

    def threshold(self, width: ArrayLike) -> Array:
        """The λ above which L2 − λL1 widens a student of this width.

        Parameters
        ----------
        width : array_like
            Positive.

        Returns
        -------
        ndarray
            1 + (1 − b)/(b − a) for a single level, 1 + Σc(b − a)(1 − b)/Σc(b − a)² with
            c = ωα²/σ² for several; inf where the student is not wider than the data, or
            where no signal is left in the noise.

        Examples
        --------
        >>> import resolvent as rv
        >>> found = rv.distill.phase_diagram([1.0], [2.0], steps=1)
        >>> found.threshold([0.5, 2.0]).round(6)  # a = 1/2, b = 4/5
        array([     inf, 1.666667])
        """
        theta = as_real64(width, "width")
        if not (theta > 0.0).all():
            raise _core.InvalidArgument(f"width must be positive, got {theta.min():g}")
        c, a, b = _shares(self.schedule, self.teacher_width, theta)
        apart = b - a
        below = np.asarray((c * apart**2).sum(axis=0))
        wider = (theta > self.teacher_width) & (below > 0.0)
        above = (c * apart * (1.0 - b)).sum(axis=0)
        found = np.divide(above, below, out=np.full_like(theta, math.inf), where=wider)
        return np.asarray(1.0 + found)

    def __repr__(self) -> str:
        L, W = self.outcome.shape
        return f"PhaseDiagram({L} × {W}: {self._counts})"

    @property
    def _counts(self) -> str:
        counts = np.bincount(self.outcome.ravel(), minlength=len(self.names))
        return ", ".join(f"{n} {name}" for n, name in zip(counts, self.names, strict=True) if n)

    def _repr_html_(self) -> str:
        rows = [
            ("λ", f"{self.lams.min():.4g} … {self.lams.max():.4g}"),
            ("widths", f"{self.widths.min():.4g} … {self.widths.max():.4g}"),
            ("outcomes", self._counts),
        ]
        return table(repr(self), rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the outcomes over width and λ, with the threshold.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; new axes unless given.
        """
        from resolvent.plot.distill import plot_phase_diagram

        return plot_phase_diagram(self, ax)


def phase_diagram(
    lams: ArrayLike,
    widths: ArrayLike,
    *,
    teacher_width: float = 1.0,
    sigma: float = 1.0,
    schedule: Schedule | None = None,
    learning_rate: float = 0.1,
    steps: int = 2000,
) -> PhaseDiagram:
    """Gradient descent on L2 − λL1, ψ frozen, of students N(0, θ²) of data N(0, s²).

    Parameters
    ----------
    lams : array_like, shape (L,)
        λ.
    widths : array_like, shape (W,)
        θ at the start, positive.
    teacher_width : float
        s.
    sigma : float
        The noise, with α = 1.
    schedule : Schedule, optional
        Several levels instead.
    learning_rate : float
        In units of s², as that of :func:`distill`.
    steps : int
        At least 1.

    Returns
    -------
    PhaseDiagram
        "converged": within 1% of s, and the next step is no larger than that. "collapsed": below
        5% of s. "diverged": above 10 times s or its start, whichever is larger. Each student stops
        when it is decided.

    Raises
    ------
    ShapeMismatch
        Unless lams and widths are vectors with at least one entry.
    InvalidArgument
        For numbers out of range, and for a sigma besides a schedule.

    Notes
    -----
    θ ← θ − ηs²·Σ_t ω_t 2(α²/σ²)θ(a − b)[(1 − λ)(a − b) − (1 − b)] with a = α²s²/(α²s² + σ²) and
    b = α²θ²/(α²θ² + σ²): the gradients of :func:`losses`. Cost: steps·L·W·T.

    Examples
    --------
    >>> import resolvent as rv
    >>> found = rv.distill.phase_diagram([0.0, 1.0, 2.0], [0.5, 2.0])
    >>> found.outcome
    array([[0, 0],
           [0, 0],
           [0, 2]])
    >>> found
    PhaseDiagram(3 × 2: 5 converged, 1 diverged)
    """
    shares = _vector(lams, "lams")
    starts = _vector(widths, "widths")
    if not (starts > 0.0).all():
        raise _core.InvalidArgument(f"widths must be positive, got {starts.min():g}")
    s = positive_parameter(teacher_width, "teacher_width")
    noise = positive_parameter(sigma, "sigma")
    if schedule is not None and noise != 1.0:
        raise _core.InvalidArgument(f"sigma is for no schedule, got sigma={noise:g} with one")
    levels = Schedule([1.0], [noise]) if schedule is None else schedule_parameter(schedule)
    rate = positive_parameter(learning_rate, "learning_rate")
    count = count_parameter(steps, "steps")
    _check_units(levels, s, rate)
    lam = np.repeat(shares, starts.size)
    start = np.tile(starts, shares.size)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows has diverged
        outcome, final, taken = _followed(lam, start, s, levels, rate * s * s, count)
    shape = (shares.size, starts.size)
    return PhaseDiagram(
        shares, starts, outcome.reshape(shape), OUTCOMES, final.reshape(shape),
        taken.reshape(shape), s, levels, rate,
    )  # fmt: skip


def _followed(
    lam: Array, start: Array, s: float, schedule: Schedule, unit: float, steps: int
) -> tuple[Array, Array, Array]:
    """Outcome, last width and number of steps of every student; those decided are left out."""
    outcome = np.full(start.size, _UNFINISHED)
    final, taken = start.copy(), np.full(start.size, steps)
    limit = DIVERGED * np.maximum(start, s)
    going = np.arange(start.size)
    for step in range(steps + 1):
        theta = final[going]
        moved = theta - unit * _gradient(lam[going], theta, s, schedule)
        close = (np.abs(np.abs(theta) - s) <= _CLOSE * s) & (np.abs(moved - theta) <= _CLOSE * s)
        found = np.select(
            [close, np.abs(theta) < COLLAPSED * s, ~(np.abs(theta) <= limit[going])],
            [_CONVERGED, _COLLAPSED, _DIVERGED],
            _UNFINISHED,
        )
        outcome[going] = found
        decided = found != _UNFINISHED
        taken[going[decided]] = step
        going, moved = going[~decided], moved[~decided]
        if going.size == 0 or step == steps:
            break
        final[going] = moved
    return outcome, np.abs(final), taken


def _gradient(lam: Array, theta: Array, s: float, schedule: Schedule) -> Array:
    """∇frozen(L2 − λL1)."""
    c, a, b = _shares(schedule, s, theta)
    return np.asarray(2.0 * theta * (c * (a - b) * ((1.0 - lam) * (a - b) - (1.0 - b))).sum(axis=0))


def _shares(schedule: Schedule, s: float, theta: Array) -> tuple[Array, Array, Array]:
    """ωα²/σ² and a, each (T, 1, …), and b, (T, …): signal over all variance."""
    shape = (-1, *(1,) * theta.ndim)
    ratio = (schedule.alpha / schedule.sigma).reshape(shape)
    return (
        schedule.weight.reshape(shape) * np.square(ratio),
        _share(ratio * s),
        _share(ratio * theta),
    )


def _share(ratio: Array) -> Array:
    """r²/(1 + r²), also where r² overflows."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(1.0 / (1.0 + np.square(1.0 / ratio)))


def _check_units(schedule: Schedule, s: float, rate: float) -> None:
    """ηs² and α²/σ² are numbers."""
    with np.errstate(over="ignore"):
        strength = float(np.square(schedule.alpha / schedule.sigma).max())
    for name, value in (
        ("(alpha/sigma)²", strength),
        ("learning_rate·teacher_width²", rate * s * s),
    ):
        if not math.isfinite(value):
            raise _core.InvalidArgument(f"{name} must be finite, got {value:g}")


def _vector(value: Any, name: str) -> Array:
    array = as_real64(value, name)
    if array.ndim != 1 or array.size == 0:
        raise _core.ShapeMismatch(f"{name} must be a vector with entries, got shape {array.shape}")
    return array
