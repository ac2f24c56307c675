"""What a rule does to eigenvalues."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_number,
    as_number64,
    as_square,
    name_parameter,
    positive_parameter,
)
from resolvent._html import table
from resolvent.discretize._rules import (
    EXPONENTIAL,
    Rule,
    positive_steps,
    rule_weight,
)
from resolvent.hippo import System
from resolvent.spectral import DPLR, Diagonal, eigenvalues
from resolvent.spectral._regions import grid_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What has eigenvalues: a model, a square matrix, or the eigenvalues themselves.
Spectrum: TypeAlias = "System | DPLR | Diagonal | ArrayLike"

_EPS = float(np.finfo(np.float64).eps)


def local_error(
    eigenvalues: ArrayLike,
    steps: ArrayLike,
    rule: Rule,
    *,
    alpha: float = 0.5,
    of: Literal["state", "input"] = "state",
) -> Array:
    """The error of one step: R(ελ) − e^{ελ}.

    Parameters
    ----------
    eigenvalues : array_like, any shape
        λ.
    steps : array_like, any shape
        ε > 0.
    rule : str
        See :func:`discretize`.
    alpha : float
        For "gbt".
    of : {"state", "input"}
        "input": B̄/ε − φ_1(ελ) for B = 1, the error of the weight of an input that is constant over
        the step (foh: of its two weights together).

    Returns
    -------
    ndarray, shape steps.shape + eigenvalues.shape
        Complex, real for real eigenvalues. Exactly 0 for zoh and foh. Relative error some 10 eps
        for small ελ too, where the difference itself would cancel: with the weight α of the new
        state it is z²(α − ½) + z³(α²/(1 − αz) − φ_3(z)), z = ελ. Infinite at a pole of R.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> steps = np.array([1e-2, 1e-4, 1e-6])
    >>> (12 * rv.discretize.local_error(-1.0, steps, "bilinear") / steps**3).round(4)
    array([-0.9901, -0.9999, -1.    ])
    """
    name, weight = rule_weight(rule, alpha)
    name_parameter(of, ("state", "input"), "of")
    values = as_number64(eigenvalues, "eigenvalues")
    sizes = positive_steps(steps, "steps")
    result = _core.discretize.local_error(
        np.ascontiguousarray(values, np.complex128).ravel(),
        np.ascontiguousarray(sizes).ravel(),
        name,
        weight,
        of,
    ).reshape(sizes.shape + values.shape)
    return result if np.iscomplexobj(values) else result.real.copy()


# ---- regions -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class StabilityRegion(ReadOnlyFields):
    """Where a rule damps; from :func:`stability_region`.

    Attributes
    ----------
    real : ndarray, shape (nx,)
    imag : ndarray, shape (ny,)
        The grid of z = ελ.
    growth : ndarray, shape (ny, nx)
        abs(R(z)), infinite at a pole; the state shrinks where it is below 1.
    rule : str
    alpha : float
    """

    real: Array
    imag: Array
    growth: Array
    rule: str
    alpha: float

    def __repr__(self) -> str:
        return (
            f"StabilityRegion({self.rule!r}, {self.real.size} x {self.imag.size} points, "
            f"stable share {self._share:.3f})"
        )

    @property
    def _share(self) -> float:
        return float(np.mean(self.growth <= 1.0))

    def _repr_html_(self) -> str:
        rows = [
            ("rule", self.rule + (f", α = {self.alpha:g}" if self.rule == "gbt" else "")),
            ("real part", f"{self.real[0]:g} … {self.real[-1]:g}"),
            ("imaginary part", f"{self.imag[0]:g} … {self.imag[-1]:g}"),
            ("stable share of the box", f"{100.0 * self._share:.1f} %"),
        ]
        return table("Stability region", rows)

    def plot(
        self,
        ax: Axes | None = None,
        eigenvalues: ArrayLike | None = None,
        step: float | None = None,
    ) -> Axes:
        """Draws the region, with eigenvalues at step · λ if they are given; returns the axes."""
        from resolvent.plot.discretize import plot_stability_region

        return plot_stability_region(self, ax, eigenvalues, step)


def stability_region(
    rule: Rule,
    box: tuple[float, float, float, float] = (-4.0, 4.0, -4.0, 4.0),
    points: int | tuple[int, int] = 200,
    *,
    alpha: float = 0.5,
) -> StabilityRegion:
    """abs(R(z)) of a rule on a grid of z = ελ.

    Parameters
    ----------
    rule : str
        See :func:`discretize`.
    box : (left, right, bottom, top)
    points : int or (nx, ny)
        At least 2.
    alpha : float
        For "gbt".

    Returns
    -------
    StabilityRegion
        Relative error some eps. With `.plot(eigenvalues=..., step=...)`.

    Examples
    --------
    >>> import resolvent as rv
    >>> region = rv.discretize.stability_region("forward", (-2.0, 0.0, -1.0, 1.0), 3)
    >>> region.growth[1]
    array([1., 0., 1.])
    """
    name, weight = rule_weight(rule, alpha)
    real, imag = grid_axes(box, points)
    growth = _core.discretize.growth(real, imag, name, weight)
    return StabilityRegion(real, imag, growth, name, weight)


# ---- limits ------------------------------------------------------------------------------------


def _matrix_spectrum(A: ArrayLike) -> Array:
    """Eigenvalues of a matrix; what rounding cannot tell from the imaginary axis lies on it."""
    matrix = as_square(A, "A")
    if not np.triu(matrix, 1).any() or not np.tril(matrix, -1).any():
        return np.diagonal(matrix).astype(np.complex128)
    values: Array = np.asarray(eigenvalues(matrix), np.complex128)
    return _settled(values, matrix)


def _settled(values: Array, matrix: Array) -> Array:
    floor = matrix.shape[0] * _EPS * float(np.linalg.norm(matrix))
    real = np.where(np.abs(values.real) <= floor, 0.0, values.real)
    imag = np.where(np.abs(values) <= floor, 0.0, values.imag)
    settled: Array = real + 1j * imag
    return settled


def _system_spectrum(system: System) -> Array:
    values = eigenvalues(system)
    return (
        values.astype(np.complex128) if values.dtype == np.float64 else _settled(values, system.A)
    )


def _spectrum(model: Spectrum) -> Array:
    """The eigenvalues of A of a model, complex."""
    if isinstance(model, System):
        return _system_spectrum(model)
    if isinstance(model, Diagonal):
        return model.eigenvalues
    if isinstance(model, DPLR):
        if model.system is not None:
            return _system_spectrum(model.system)
        return _matrix_spectrum(model.to_dense("normal"))
    return _array_spectrum(model)


def _array_spectrum(values: ArrayLike) -> Array:
    array = as_number(values, "model")
    if array.ndim != 1:
        return _matrix_spectrum(array)
    if array.size == 0:
        raise _core.InvalidArgument("model must have at least one eigenvalue, got none")
    return as_number64(array, "eigenvalues").astype(np.complex128)


def stability_limit(model: Spectrum, rule: Rule, *, alpha: float = 0.5) -> float | None:
    """The largest step up to which a rule does not let the state grow.

    Parameters
    ----------
    model : System, DPLR, Diagonal, array_like of shape (N, N) or (N,)
        A model (of a DPLR the full matrix), a matrix, or eigenvalues.
    rule : str
        See :func:`discretize`.
    alpha : float
        For "gbt".

    Returns
    -------
    float or None
        The supremum of the steps ε for which abs(R(ε'λ)) ≤ 1 for all ε' ≤ ε and all eigenvalues λ;
        infinite if there is no limit. None if no step is stable: an eigenvalue lies in the right
        half plane, or on the imaginary axis (0 excepted) under a rule with α < ½. Of matrices,
        eigenvalues within rounding (N eps ‖A‖) of the axis count as on it.

    Notes
    -----
    abs(R(ελ)) ≤ 1 is 2 Re λ + ε abs(λ)²(1 − 2α) ≤ 0. For non-normal A the powers of Ā may
    still grow before they shrink.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.discretize.stability_limit(rv.hippo.system("legs", 64), "forward")
    0.03125
    >>> rv.discretize.stability_limit(rv.hippo.system("legs", 64), "bilinear")
    inf
    """
    name, weight = rule_weight(rule, alpha)
    values = _spectrum(model)
    if (values.real > 0.0).any():
        return None
    curvature = 1.0 - 2.0 * weight
    if name in EXPONENTIAL or curvature <= 0.0:
        return math.inf
    moving = values[values != 0.0]
    if moving.size == 0:
        return math.inf
    if (moving.real == 0.0).any():
        return None
    size = np.abs(moving)
    return float(np.min(-2.0 * (moving.real / size) / (size * curvature)))


def largest_step(model: Spectrum, rule: Rule, tolerance: float, *, alpha: float = 0.5) -> float:
    """The largest step up to which one step of a rule is accurate.

    Parameters
    ----------
    model : System, DPLR, Diagonal, array_like of shape (N, N) or (N,)
        As for :func:`stability_limit`.
    rule : str
        See :func:`discretize`.
    tolerance : float
        Positive.
    alpha : float
        For "gbt".

    Returns
    -------
    float
        The supremum of the steps ε with abs(R(ε'λ) − e^{ε'λ}) ≤ tolerance for all ε' ≤ ε and all
        eigenvalues λ, with a relative error below 1e-9; infinite for zoh, foh and mamba, and where
        the error never reaches the tolerance.

    Examples
    --------
    >>> import resolvent as rv
    >>> s = rv.hippo.system("legs", 64)
    >>> [round(rv.discretize.largest_step(s, r, 1e-3), 6) for r in ("forward", "bilinear")]
    [0.000704, 0.003874]
    """
    name, weight = rule_weight(rule, alpha)
    bound = positive_parameter(tolerance, "tolerance")
    values = np.ascontiguousarray(_spectrum(model))
    return _core.discretize.largest_step(values, name, weight, bound)


# ---- aliasing ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Aliasing(ReadOnlyFields):
    """Which eigenvalues turn too fast for a step; from :func:`aliasing`.

    Attributes
    ----------
    eigenvalues : ndarray, shape (N,)
    aliased : ndarray of bool, shape (N,)
        abs(Im λ) step ≥ π: samples cannot tell the oscillation from a slower one.
    step : float
    nyquist : float
        π/step, the angular frequency at which aliasing starts.
    count : int
        How many are aliased.
    largest_step : float
        π/max abs(Im λ): at smaller steps none is; infinite for real eigenvalues.
    """

    eigenvalues: Array
    aliased: Array
    step: float
    nyquist: float
    count: int
    largest_step: float

    def __repr__(self) -> str:
        return (
            f"Aliasing(step={self.step:g}, count={self.count} of {self.eigenvalues.size}, "
            f"largest_step={self.largest_step:.6g})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("step", f"{self.step:g}"),
            ("Nyquist frequency π/step", f"{self.nyquist:.6g}"),
            ("aliased eigenvalues", f"{self.count} of {self.eigenvalues.size}"),
            ("largest step without", f"{self.largest_step:.6g}"),
        ]
        return table("Aliasing", rows)


def aliasing(model: Spectrum, step: float) -> Aliasing:
    """Which eigenvalues oscillate faster than a step resolves.

    Parameters
    ----------
    model : System, DPLR, Diagonal, array_like of shape (N, N) or (N,)
        Of a DPLR and a Diagonal the diagonal; else the eigenvalues of A.
    step : float
        Positive.

    Returns
    -------
    Aliasing

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.discretize.aliasing(rv.spectral.diagonal(64, "lin"), 0.1).count
    44
    """
    interval = positive_parameter(step, "step")
    if isinstance(model, DPLR):
        values = model.eigenvalues
    elif isinstance(model, System):
        values = eigenvalues(model)
    else:
        values = _spectrum(model)
    rates = np.abs(np.imag(values))
    fastest = float(rates.max())
    aliased = rates * interval >= math.pi
    return Aliasing(
        eigenvalues=values.copy(),
        aliased=aliased,
        step=interval,
        nyquist=math.pi / interval,
        count=int(np.count_nonzero(aliased)),
        largest_step=math.pi / fastest if fastest > 0.0 else math.inf,
    )
