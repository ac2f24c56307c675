"""The order of a rule, measured on a signal."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_number64,
    name_parameter,
    positive_parameter,
)
from resolvent._html import table
from resolvent._warnings import ResolutionWarning, StabilityWarning
from resolvent.discretize._discrete import Discrete, discretize
from resolvent.discretize._functions import expm
from resolvent.discretize._rules import (
    EXPONENTIAL,
    positive_steps,
)
from resolvent.hippo import RULES as SCALED_RULES
from resolvent.hippo import System, optimal, project
from resolvent.hippo._system import require_system

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Output = Literal["state-after", "state-before"]
Hold = Literal["left", "right", "midpoint", "average"]
Clock = Literal["invariant", "scaled"]
Signal = Callable[[Array], ArrayLike]

_EPS = float(np.finfo(np.float64).eps)

#: Errors below this multiple of the reference's own say nothing about the rule.
_CLEAR = 100.0

#: Gauss–Legendre nodes in a cell of the reference, and the most cells in a step.
_NODES = 12
_MOST_CELLS = 256


@dataclass(frozen=True, eq=False)
class Convergence(ReadOnlyFields):
    """Errors of a rule against its step; from :func:`convergence`.

    Attributes
    ----------
    steps : ndarray, shape (K,)
    errors : ndarray, shape (K,)
        max abs(y_k − y)/max abs(y) over the instants; clock "scaled": ‖c − c_exact‖₂/‖c_exact‖₂.
    order : float
        Slope of log error over log step, by least squares over the steps whose error is above 100
        times `reference_error`; NaN where fewer than two are.
    reference_error : float
        How well the reference agrees with its own refinement, relative.
    rule : str
    output, hold, clock : str
    """

    steps: Array
    errors: Array
    order: float
    reference_error: float
    rule: str
    output: str
    hold: str
    clock: str

    def __repr__(self) -> str:
        return (
            f"Convergence({self.rule!r}, output={self.output!r}, hold={self.hold!r}, "
            f"clock={self.clock!r}, order={self.order:.3g})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("rule", self.rule),
            ("clock", self.clock),
            ("output", self.output),
            ("hold", self.hold),
            ("fitted order", f"{self.order:.3f}"),
            ("error of the reference", f"{self.reference_error:.2g}"),
        ]
        rows += [
            (f"error at step {step:.4g}", f"{error:.4g}")
            for step, error in zip(self.steps, self.errors, strict=True)
        ]
        return table("Convergence", rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the errors against the step; returns the axes."""
        from resolvent.plot.discretize import plot_convergence

        return plot_convergence(self, ax)


def convergence(
    system: System,
    rule: str,
    signal: Signal,
    steps: ArrayLike,
    *,
    output: Output = "state-after",
    hold: Hold = "left",
    C: ArrayLike | None = None,
    duration: float = 1.0,
    alpha: float = 0.5,
    clock: Clock = "invariant",
) -> Convergence:
    """How fast the error of a rule falls with its step, on a signal, from a state of zero.

    Parameters
    ----------
    system : System
        The state equation. With ``clock="scaled"`` one whose own clock is 1/t (legs, fous).
    rule : str
        See :func:`discretize`; with ``clock="scaled"`` one of ``rv.hippo.RULES``.
    signal : callable
        u(t) for an array of instants; returns an array of the same shape.
    steps : array_like, shape (K,)
        Positive and at most `duration`. The last whole step before `duration` is the last one.
    output : {"state-after", "state-before"}
        What a discrete model is read as. "state-after" (S4): y_k = C x_{k+1} stands for y(t_{k+1}).
        "state-before" (control): y_k = C̄ x_k + D̄ u_k stands for y(t_k), with the read-out that
        belongs to a rational rule, C̄ = C(I − αεA)⁻¹ and D̄ = αC B̄; C̄ = C, D̄ = 0 for the others.
    hold : {"left", "right", "midpoint", "average"}
        What stands for u on [t_k, t_{k+1}]: u(t_k), u(t_{k+1}), u in the middle, or the mean of
        both ends. foh takes both ends and ignores it.
    C : array_like, shape (N,), optional
        The read-out, 1/√N everywhere unless given.
    duration : float
        The signal is 0 before t = 0 and looked at up to here.
    alpha : float
        For "gbt".
    clock : {"invariant", "scaled"}
        "invariant": x' = A x + B u, against the exact solution. "scaled": x' = (A x + B u)/t, the
        coefficients of ``rv.hippo.project`` at the end against ``rv.hippo.optimal``, the exact
        projection of the sampled signal.

    Returns
    -------
    Convergence
        With `.plot()`.

    Notes
    -----
    The exact solution propagates by e^{εA} and integrates the input by Gauss–Legendre quadrature in
    cells that are halved until the result no longer changes; what it still changes by is
    `reference_error`.

    With the convention "state-after" even the bilinear rule is of order 1 on a smooth signal, since
    u(t_k) enters as if it held until t_{k+1}; "state-before" with the transformed read-out is of
    order 2, as is "state-after" with the mean of both ends. A signal that jumps at t = 0 costs
    "state-before" its second order: the transformed state would have to start at −αεB u(0).

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> s = rv.hippo.system("lagt", 4)
    >>> steps = [0.1, 0.05, 0.025]
    >>> for output in ("state-after", "state-before"):
    ...     r = rv.discretize.convergence(s, "bilinear", np.sin, steps, output=output)
    ...     print(output, round(r.order))
    state-after 1
    state-before 2
    """
    require_system(system)
    name_parameter(clock, ("invariant", "scaled"), "clock")
    name_parameter(output, ("state-after", "state-before"), "output")
    name_parameter(hold, ("left", "right", "midpoint", "average"), "hold")
    length = positive_parameter(duration, "duration")
    sizes = _steps(steps, length)
    if clock == "scaled":
        if C is not None:
            raise _core.InvalidArgument(f"C must be None on clock 'scaled', got {C!r}")
        return _scaled(system, rule, signal, sizes, output, hold, length, alpha)
    readout = _readout(C, system.order)
    errors, floors = [], []
    for step in sizes:
        model = discretize(system, step, rule, alpha=alpha)  # type: ignore[arg-type]
        count = _count(length, step)
        exact, floor = _reference(system, signal, float(step), count, readout)
        found = _simulated(model, system, signal, count, output, hold, readout)
        places = slice(1, None) if output == "state-after" else slice(0, -1)
        errors.append(_relative(found - exact[places], exact))
        floors.append(floor)
    return _result(sizes, errors, max(floors), rule, output, hold, clock)


# ---- inputs ------------------------------------------------------------------------------------


def _steps(steps: ArrayLike, duration: float) -> Array:
    sizes = positive_steps(steps, "steps")
    if sizes.ndim != 1 or sizes.size == 0:
        raise _core.ShapeMismatch(
            f"steps must have shape (K,) with K of at least 1, got {sizes.shape}"
        )
    if sizes.max() > duration * (1.0 + 1e-9):
        raise _core.InvalidArgument(
            f"steps must be at most duration = {duration:g}, got {sizes.max():g}"
        )
    return sizes


def _count(duration: float, step: float) -> int:
    """Whole steps in the duration."""
    return max(1, math.floor(duration / step * (1.0 + 1e-9)))


def _readout(C: ArrayLike | None, order: int) -> Array:
    if C is None:
        return np.full(order, 1.0 / math.sqrt(order))
    readout = as_number64(C, "C")
    if readout.shape != (order,):
        raise _core.ShapeMismatch(f"C must have shape ({order},), got {readout.shape}")
    return readout


def _values(signal: Signal, times: Array) -> Array:
    if not callable(signal):
        raise _core.DtypeError(f"signal must be callable, got {type(signal).__name__}")
    values = as_number64(signal(times), "signal(t)")
    if values.shape != times.shape:
        raise _core.ShapeMismatch(
            f"signal(t) must have the shape of t, {times.shape}, got {values.shape}"
        )
    return values


def _held(signal: Signal, step: float, count: int, hold: str) -> Array:
    """What stands for the signal on each step."""
    times = step * np.arange(count + 1)
    if hold == "midpoint":
        return _values(signal, times[:-1] + 0.5 * step)
    values = _values(signal, times if hold == "average" else times[hold == "right" :][:count])
    return 0.5 * (values[:-1] + values[1:]) if hold == "average" else values


# ---- solutions ---------------------------------------------------------------------------------


def _states(A: Array, forcing: Array) -> Array:
    """x_0 = 0 and x_{k+1} = A x_k + forcing_k, shape (K + 1, N)."""
    states = np.zeros((forcing.shape[0] + 1, A.shape[0]), np.result_type(A, forcing))
    for k, push in enumerate(forcing):
        states[k + 1] = A @ states[k] + push
    return states


def _simulated(
    model: Discrete,
    system: System,
    signal: Signal,
    count: int,
    output: str,
    hold: str,
    readout: Array,
) -> Array:
    """y_k, shape (count,)."""
    step = float(model.step)
    if model.B_next is not None:
        ends = _held(signal, step, count + 1, "left")
        u = ends[:-1]
        forcing = np.multiply.outer(u, model.B) + np.multiply.outer(ends[1:], model.B_next)
    else:
        u = _held(signal, step, count, hold)
        forcing = np.multiply.outer(u, model.B)
    with np.errstate(over="ignore", invalid="ignore"):
        states = _states(model.A, forcing)
        if output == "state-after":
            return np.asarray(states[1:] @ readout)
        if model.rule in EXPONENTIAL:
            return np.asarray(states[:-1] @ readout)
        before = system.solve(model.alpha * step, states[:-1]) if model.alpha else states[:-1]
        through = model.alpha * (readout @ model.B)
        return np.asarray(before @ readout + through * u)


def _cells(system: System, step: float, cells: int) -> tuple[Array, Array]:
    """Nodes s (Q,) in a step, and w_i e^{(ε − s_i)A}B, shape (Q, N), of a composite Gauss rule."""
    nodes, weights = _core.hippo.gauss_legendre(_NODES)
    width = step / cells
    inside = 0.5 * width * (nodes + 1.0)
    last = [expm(system, width - s) @ system.B for s in inside]
    pushes = [0.5 * width * weights[:, np.newaxis] * np.array(last)]
    across = expm(system, width).T
    for _ in range(cells - 1):
        pushes.insert(0, pushes[0] @ across)
    places = np.add.outer(width * np.arange(cells), inside)
    return places.ravel(), np.concatenate(pushes)


def _reference(
    system: System, signal: Signal, step: float, count: int, readout: Array
) -> tuple[Array, float]:
    """y(t_0) … y(t_count) of the exact solution, and by how much the last refinement changed it."""
    propagator = expm(system, step)
    starts = step * np.arange(count)
    before: Array | None = None
    change = math.inf
    cells = 1
    while True:
        places, pushes = _cells(system, step, cells)
        values = _values(signal, np.add.outer(starts, places))
        exact = np.asarray(_states(propagator, values @ pushes) @ readout)
        if before is not None:
            last, change = change, _relative(exact - before, exact)
            settled = change <= 4.0 * _EPS or (change <= 1e-10 and change > 0.5 * last)
            if settled or cells >= _MOST_CELLS:
                return exact, max(change, _EPS)
        before, cells = exact, 2 * cells


def _relative(difference: Array, exact: Array) -> float:
    size = float(np.max(np.abs(exact)))
    error = float(np.max(np.abs(difference)))
    if size == 0.0:
        raise _core.InvalidArgument("signal must not give an output of zero everywhere")
    return error / size if math.isfinite(error) else math.inf


# ---- the scaled clock --------------------------------------------------------------------------


def _scaled(
    system: System,
    rule: Any,
    signal: Signal,
    steps: Array,
    output: str,
    hold: str,
    duration: float,
    alpha: float,
) -> Convergence:
    if system.clock != "scaled":
        raise _core.InvalidArgument(
            f"clock 'scaled' needs a system of that clock; that of measure {system.measure!r} "
            f"is {system.clock!r}"
        )
    if output != "state-after":
        raise _core.InvalidArgument(
            f"output must be 'state-after' on clock 'scaled', got {output!r}"
        )
    name_parameter(rule, SCALED_RULES, "rule")
    errors = []
    for step in steps:
        u = _held(signal, float(step), _count(duration, step), hold)
        with warnings.catch_warnings():
            # The errors found here are what these warn of.
            warnings.simplefilter("ignore", StabilityWarning)
            warnings.simplefilter("ignore", ResolutionWarning)
            found = project(u, system, rule=rule, step=float(step), alpha=alpha)
        exact = optimal(u, system, step=float(step))
        size = float(np.linalg.norm(exact))
        if size == 0.0:
            raise _core.InvalidArgument("signal must not be zero at every sample")
        errors.append(float(np.linalg.norm(found - exact)) / size)
    return _result(steps, errors, system.order * _EPS, rule, output, hold, "scaled")


# ---- result ------------------------------------------------------------------------------------


def _fitted_order(steps: Array, errors: Array, floor: float) -> float:
    """Slope of the errors that are above the reference's own."""
    clear = np.isfinite(errors) & (errors > _CLEAR * floor)
    if np.unique(steps[clear]).size < 2:
        return math.nan
    return float(np.polyfit(np.log(steps[clear]), np.log(errors[clear]), 1)[0])


def _result(
    steps: Array, errors: list[float], floor: float, rule: str, output: str, hold: str, clock: str
) -> Convergence:
    found = np.array(errors)
    order = _fitted_order(steps, found, floor)
    return Convergence(steps.copy(), found, order, floor, rule, output, hold, clock)
