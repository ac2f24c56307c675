"""Training a one-step generator by score distillation, with everything measured along the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ReadOnlyFields,
    count_parameter,
    integer_parameter,
    name_parameter,
    positive_parameter,
)
from resolvent._html import table
from resolvent.distill._distances import SLICES, directions, fisher, kind_of, wasserstein2_as
from resolvent.distill._expectation import Method, Rule, rule_parameters
from resolvent.distill._generator import Generator
from resolvent.distill._losses import (
    Problem,
    Weight,
    lam_parameter,
    measure,
    weight_parameter,
)
from resolvent.distill._mixture import GaussianMixture
from resolvent.distill._schedule import Schedule
from resolvent.distill._schedule import schedule as schedule_by_name
from resolvent.distill._students import (
    LEARNING_RATE,
    FittedPredictor,
    OptimalPredictor,
    generator_parameter,
    schedule_parameter,
)
from resolvent.lora._optimizers import descent_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLLAPSED",
    "CONVERGED",
    "DIVERGED",
    "OBJECTIVES",
    "OPTIMIZERS",
    "OUTCOMES",
    "Distillation",
    "Objective",
    "Optimizer",
    "Outcome",
    "distill",
]

Objective = Literal["sid", "naive"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)

Optimizer = Literal["sgd", "adam"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)

Outcome = Literal["converged", "collapsed", "diverged", "unfinished"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)

#: Diverged: E‖x_0 − E_φ x‖² exceeds so many times that of the data and of the start, as a root.
DIVERGED = 10.0

#: Collapsed: along some line the student's standard deviation is below this share of the data's.
COLLAPSED = 0.05

#: Converged: the gradient has at most this norm, in units of the data's spread.
CONVERGED = 0.005

#: In units of the data's variance ("sgd") and of its standard deviation ("adam"). The naive loss
#: has a curvature of up to E 2α²/σ², which is 41 for the default schedule.
_LEARNING_RATES = {
    ("sid", "sgd"): 0.5,
    ("sid", "adam"): 0.02,
    ("naive", "sgd"): 0.02,
    ("naive", "adam"): 0.02,
}

#: Change by doubling the nodes, relative to the largest entry of losses and gradients, at which a
#: step needs no more; by dimension.
_TOLERANCES = {1: 1e-4, 2: 3e-2}

Progress = Callable[[int, int, str], object]


@dataclass(frozen=True, eq=False, repr=False)
class Distillation(ReadOnlyFields):
    """A run; from :func:`distill`. Index 0 of the arrays is the start; S the steps that were done.

    Attributes
    ----------
    start : Generator
    teacher : GaussianMixture
    parameters : ndarray, shape (S + 1, P)
        Of the generator, as :attr:`Generator.parameters`.
    loss : ndarray, shape (S + 1,)
        L2 − λL1, or L1 for the naive objective, with the ψ of the step.
    fisher : ndarray, shape (S + 1,)
        :func:`fisher_divergence`.
    w2 : ndarray, shape (S + 1,)
        :func:`wasserstein2` to the data.
    w2_kind : {"closed form", "quantiles", "sliced"}
        Which distance that is.
    outcome : {"converged", "collapsed", "diverged", "unfinished"}
        "collapsed": along some line the student's standard deviation is below 5% of the data's.
        "diverged": another student whose next step would take E‖x_0 − E_φ x‖² above 10² times that
        of the data or of the start, whichever is larger, or beyond all numbers; after such a step
        the run ends, whether collapsed or diverged. "converged": the gradient that it follows has a
        norm of at most 0.005, in units of the data's spread √(tr C/d); never for psi_steps=0, where
        ψ = φ leaves no gradient.
    objective : {"sid", "naive"}
    lam : float
    learning_rate : float
    optimizer : {"sgd", "adam"}
    psi_steps : int or None
    """

    start: Generator
    teacher: GaussianMixture
    parameters: Array
    loss: Array
    fisher: Array
    w2: Array
    w2_kind: str
    outcome: str
    objective: str
    lam: float
    learning_rate: float
    optimizer: str
    psi_steps: int | None

    @property
    def steps(self) -> int:
        """S."""
        return len(self.parameters) - 1

    @property
    def final(self) -> Generator:
        """The generator after the last step."""
        return self.generator(self.steps)

    def generator(self, step: int) -> Generator:
        """The generator after a step.

        Parameters
        ----------
        step : int
            In [0, S]; negative ones count from the end.

        Raises
        ------
        InvalidArgument
            If it is out of range.
        """
        place = integer_parameter(step, "step")
        if not -len(self.parameters) <= place < len(self.parameters):
            raise _core.InvalidArgument(f"step must be in [0, {self.steps}], got {place}")
        return self.start.replace(self.parameters[place])

    def __repr__(self) -> str:
        return (
            f"Distillation({self._objective}, {self.outcome} after {self.steps} steps: "
            f"w2 {self.w2[0]:.3g} → {self.w2[-1]:.3g})"
        )

    def _repr_html_(self) -> str:
        named = {"Fisher divergence": self.fisher, f"W₂, {self.w2_kind}": self.w2}
        rows = [("outcome", f"{self.outcome} after {self.steps} steps")]
        rows += [
            (name, f"{values[0]:.4g} → {values[-1]:.4g}")
            for name, values in (named | {"loss": self.loss}).items()
        ]
        return table(f"{self._objective}, {self.optimizer}, η = {self.learning_rate:g}", rows)

    @property
    def _objective(self) -> str:
        return "naive" if self.objective == "naive" else f"sid, lam={self.lam:g}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws W₂ and the Fisher divergence along the steps.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; new axes unless given.
        """
        from resolvent.plot.distill import plot_distillation

        return plot_distillation(self, ax)


def distill(
    teacher: GaussianMixture | OptimalPredictor,
    generator: Generator,
    lam: float = 1.0,
    schedule: Schedule | None = None,
    steps: int = 200,
    psi_steps: int | None = None,
    seed: int = 0,
    *,
    objective: Objective = "sid",
    learning_rate: float | None = None,
    optimizer: Optimizer = "sgd",
    weight: Weight = "uniform",
    method: Method = "auto",
    samples: int = 8192,
    progress: Progress | None = None,
) -> Distillation:
    """Trains a generator by the gradient of L2 − λL1 with ψ frozen.

    Parameters
    ----------
    teacher : GaussianMixture or OptimalPredictor
        The data.
    generator : Generator
        The student to start from.
    lam : float
        λ; 0 is L2 alone. For the objective "naive" it has no meaning and stays 1.
    schedule : Schedule, optional
        Noise levels; ``schedule("ve")`` unless given.
    steps : int
        At least 0.
    psi_steps : int, optional
        ψ is ψ* in closed form unless given; then it starts as φ and does so many steps of
        regression (:func:`student_fitted`) before every step of the generator, going on from where
        it was.
    seed : int
        Of Monte Carlo, which draws new numbers in every step. The same seed gives the same run.
    objective : {"sid", "naive"}
        L2 − λL1, or L1.
    learning_rate : float, optional
        In units of the data's variance tr C/d for "sgd", which makes steps independent of the
        scale of the data if the schedule has that scale too; of the standard deviation for "adam".
        Unless given 0.5 for "sgd", 0.02 for the naive loss and for "adam".
    optimizer : {"sgd", "adam"}
        Gradient descent, or Adam with β = (0.9, 0.999).
    weight, method
        As for :func:`losses`. For d = 2 and many components "monte-carlo" is the faster one.
    samples : int
        Of Monte Carlo for each level and step.
    progress : callable, optional
        Called as ``progress(done, total, text)`` before each step and at the end.

    Returns
    -------
    Distillation

    Raises
    ------
    ShapeMismatch, InvalidArgument, DtypeError
        As :func:`losses`.

    Notes
    -----
    The frozen gradient is the true one, halved, for λ = 1/2: d(L)/dθ = 2∇frozen(L2 − L1/2). The
    naive loss shrinks the student. Above λ = 1 + (1 − b)/(b − a), for a student wider than the data
    (see :func:`phase_diagram`), L2 − λL1 widens it without end.

    A step costs what :func:`losses` does without true gradients. Quadrature takes
    fewer nodes than there: the gradients have relative errors of the order of 1e-8 (d = 1) and 1e-3
    (d = 2).

    Examples
    --------
    >>> import resolvent as rv
    >>> data = rv.distill.GaussianMixture([1.0], [0.0], [1.0])
    >>> wide = rv.distill.Generator.affine(1.0, 2.0)
    >>> run = rv.distill.distill(data, wide, steps=100)
    >>> run
    Distillation(sid, lam=1, converged after 100 steps: w2 1.41 → ...)
    >>> rv.distill.distill(data, wide, lam=2.0).outcome
    'diverged'
    """
    data = _data(teacher)
    made = generator_parameter(generator, data.dim)
    levels = schedule_by_name("ve") if schedule is None else schedule_parameter(schedule)
    chosen = name_parameter(objective, OBJECTIVES, "objective")
    moved_by = name_parameter(optimizer, OPTIMIZERS, "optimizer")
    share = lam_parameter(lam)
    if chosen == "naive" and share != 1.0:
        raise _core.InvalidArgument(f"lam is for objective='sid', got lam={share:g} with 'naive'")
    rate = (
        _LEARNING_RATES[chosen, moved_by]
        if learning_rate is None
        else positive_parameter(learning_rate, "learning_rate")
    )
    rule = rule_parameters(method, None, samples, seed, data.dim)
    rule = replace(rule, tolerance=_TOLERANCES.get(data.dim, rule.tolerance))
    count = count_parameter(steps, "steps", 0)
    fitted = None if psi_steps is None else count_parameter(psi_steps, "psi_steps", 0)
    run = _Run(
        Problem(OptimalPredictor(data), levels, weight_parameter(weight, levels)),
        data, made, share, chosen, moved_by, rate, rule, count, fitted,
    )  # fmt: skip
    return run.done(progress)


def _data(value: object) -> GaussianMixture:
    """The teacher's mixture."""
    source = value.source if isinstance(value, OptimalPredictor) else value
    if not isinstance(source, GaussianMixture):
        raise _core.DtypeError(
            f"teacher must be a GaussianMixture or its teacher, got {type(source).__name__}"
        )
    return source


class _Step(NamedTuple):
    """What is recorded, and the gradient."""

    parameters: Array
    loss: float
    fisher: float
    w2: float
    gradient: Array


@dataclass(frozen=True)
class _Run:
    """Arguments of :func:`distill` that were checked."""

    problem: Problem
    data: GaussianMixture
    start: Generator
    lam: float
    objective: str
    optimizer: str
    rate: float
    rule: Rule
    steps: int
    psi_steps: int | None

    @property
    def spread(self) -> float:
        """√(tr C/d) of the data."""
        return math.sqrt(float(np.trace(self.data.covariance())) / self.data.dim)

    def done(self, progress: Progress | None) -> Distillation:
        generator, psi = self.start, self._untrained()
        unit = self.rate * (self.spread**2 if self.optimizer == "sgd" else self.spread)
        descent = descent_of(self.optimizer, 0.0)
        found: list[_Step] = []
        for step in range(self.steps + 1):
            rule = replace(self.rule, draw=step)
            if psi is not None:
                psi = psi.moved(generator, self.psi_steps or 0, LEARNING_RATE, rule)
            found.append(self._measured(generator, psi, rule))
            if progress is not None:
                progress(step, self.steps, f"W₂ {found[-1].w2:.3g}")
            if step == self.steps:
                break
            with np.errstate(over="ignore", invalid="ignore"):
                moved = generator.parameters - unit * descent.direction("", found[-1].gradient)
            if not self._within(moved):
                narrow = _narrowest(generator, self.data) < COLLAPSED
                return self._result(found, "collapsed" if narrow else "diverged")
            generator = generator.replace(moved)
        return self._result(found, self._outcome(generator, found[-1].gradient))

    def _untrained(self) -> FittedPredictor | None:
        if self.psi_steps is None:
            return None
        return FittedPredictor.untrained(self.data, self.problem.schedule)

    def _measured(self, generator: Generator, psi: FittedPredictor | None, rule: Rule) -> _Step:
        losses, divergence = measure(self.problem, generator, psi, self.lam, rule, true=False)
        if psi is not None:
            divergence = fisher(self.problem.teacher, generator, self.problem.schedule, rule)
        target = "l1" if self.objective == "naive" else "loss"
        apart = wasserstein2_as(kind_of(generator, self.data), generator, self.data, self._lines)
        return _Step(
            generator.parameters, getattr(losses, target), divergence, apart, losses.frozen[target]
        )

    @property
    def _lines(self) -> Array:
        return directions(self.data.dim, SLICES, self.rule.seed)

    def _within(self, parameters: Array) -> bool:
        """Whether a generator has not diverged."""
        if not np.isfinite(parameters).all():
            return False
        limit = DIVERGED * max(_size(self.start.parameters, self.start, self.data), self.spread)
        return _size(parameters, self.start, self.data) <= limit

    def _outcome(self, generator: Generator, gradient: Array) -> str:
        if _narrowest(generator, self.data) < COLLAPSED:
            return "collapsed"
        if self.psi_steps == 0:  # ψ = φ: there is no gradient, wherever the student is
            return "unfinished"
        done = float(np.linalg.norm(gradient)) * self.spread <= CONVERGED
        return "converged" if done else "unfinished"

    def _result(self, found: list[_Step], outcome: str) -> Distillation:
        return Distillation(
            start=self.start,
            teacher=self.data,
            parameters=np.stack([step.parameters for step in found]),
            loss=np.array([step.loss for step in found]),
            fisher=np.array([step.fisher for step in found]),
            w2=np.array([step.w2 for step in found]),
            w2_kind=kind_of(self.start, self.data),
            outcome=outcome,
            objective=self.objective,
            lam=self.lam,
            learning_rate=self.rate,
            optimizer=self.optimizer,
            psi_steps=self.psi_steps,
        )


def _size(parameters: Array, like: Generator, data: GaussianMixture) -> float:
    """√(E‖x_0 − E_φ x‖²/d) of the samples with these parameters; ∞ where it overflows."""
    means, factors = np.split(parameters, [like.means.size])
    with np.errstate(over="ignore"):
        second = np.square(means.reshape(like.means.shape) - data.mean()).sum(axis=1)
        second = second + np.square(factors.reshape(like.factors.shape)).sum(axis=(1, 2))
        return math.sqrt(float(like.weights @ second) / like.dim)


def _narrowest(generator: Generator, data: GaussianMixture) -> float:
    """The least ratio of the standard deviations of student and data along a line."""
    apart = generator.means - generator.weights @ generator.means
    between = (generator.weights[:, np.newaxis] * apart).T @ apart
    covariance = np.tensordot(generator.weights, generator.covariances, 1) + between
    whitening = np.linalg.inv(np.linalg.cholesky(data.covariance()))
    least = np.linalg.eigvalsh(whitening @ covariance @ whitening.T)[0]
    return math.sqrt(max(0.0, float(least)))
