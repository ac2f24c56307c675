"""Full fine-tuning and adapters, trained side by side from the same start on the same batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product, repeat
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real64,
    count_parameter,
    integer_parameter,
    name_parameter,
    positive_parameter,
)
from resolvent._html import grid
from resolvent._text import columns
from resolvent.lora._adapter import Adapter, Optimizer
from resolvent.lora._budget import BudgetOptions, RankBudget
from resolvent.lora._factored import Factored
from resolvent.lora._initialize import START_OPTIONS, initialize, needs
from resolvent.lora._lowrank import seed_parameter
from resolvent.lora._norms import principal_angles
from resolvent.lora._optimizers import Descent, descent_of, descent_parameters
from resolvent.lora._problems import Evaluation, Problem, batch_parameter, batches, evaluate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "QUANTITIES",
    "TRAINED",
    "Quantity",
    "Run",
    "Trained",
    "Trajectory",
    "Tuned",
    "trajectory",
]

Trained = Literal[
    "full",
    "lora",
    "lora+",
    "rslora",
    "lora-ga",
    "lora-ga-adam",
    "pissa",
    "olora",
    "adalora",
    "dora",
    "orthogonal",
]
TRAINED: tuple[str, ...] = get_args(Trained)

Quantity = Literal[
    "loss", "accuracy", "test_loss", "alignment", "drift_left", "drift_right", "ranks"
]
QUANTITIES: tuple[str, ...] = get_args(Quantity)

#: A name, or a name under "method" and options.
Recipe: TypeAlias = "str | Mapping[str, Any]"

#: What the methods that are trained in a way of their own start from; the others are named alike.
_STARTS: dict[str, dict[str, Any]] = {
    "lora+": {"method": "lora"},
    "rslora": {"method": "lora", "scaling": "rslora"},
}

#: Learning rate of B over that of A in LoRA+. Hayou, Ghosh, Yu, 2024, arXiv:2402.12354.
_PLUS_RATIO = 16.0

#: What a recipe may hold for AdaLoRA alone, beside START_OPTIONS.
_BUDGET_OPTIONS = tuple(field.name for field in fields(BudgetOptions))

#: Tried where none are given.
_LEARNING_RATES = {"sgd": (0.03, 0.1, 0.3, 1.0, 3.0), "adam": (0.003, 0.01, 0.03, 0.1)}

_Gradients = dict[str, Array]


# ---- results ------------------------------------------------------------------------------------


class Tuned(NamedTuple):
    """A model after training; in :attr:`Trajectory.tuned`.

    Attributes
    ----------
    adapters : tuple of Adapter or ndarray
        One for each weight of the problem; after full fine-tuning the weights.
    biases : tuple of ndarray
    """

    adapters: tuple[Adapter | Array, ...]
    biases: tuple[Array, ...]

    def weights(self, problem: Problem) -> tuple[Array, ...]:
        """What the model computes with, for :meth:`Problem.test` of the problem it was trained on.

        Returns
        -------
        tuple of ndarray
        """
        return tuple(
            trained.merged(W) if isinstance(trained, Adapter) else trained
            for trained, W in zip(self.adapters, problem.weights, strict=True)
        )


@dataclass(frozen=True, eq=False, repr=False)
class Run(ReadOnlyFields):
    """One method at one learning rate; from :meth:`Trajectory.run` and :meth:`Trajectory.best`.

    Attributes
    ----------
    label : str
    learning_rate : float
    steps : ndarray of int, shape (T,)
    loss, accuracy, test_loss, alignment, drift_left, drift_right : ndarray, shape (S, T)
        As those of :class:`Trajectory`.
    ranks : ndarray of int, shape (S, T, K)
    """

    label: str
    learning_rate: float
    steps: Array
    loss: Array
    accuracy: Array
    test_loss: Array
    alignment: Array
    drift_left: Array
    drift_right: Array
    ranks: Array

    @property
    def diverged(self) -> Array:
        """Per seed, as :attr:`Trajectory.diverged`; shape (S,)."""
        return _diverged(self.loss)

    @property
    def final_loss(self) -> float:
        """Mean over seeds; infinite where one is not finite."""
        last = self.loss[:, -1]
        return float(last.mean()) if np.isfinite(last).all() else math.inf

    def __repr__(self) -> str:
        return (
            f"Run({self.label!r}, learning_rate={self.learning_rate:g}, "
            f"final_loss={self.final_loss:.4g})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(ReadOnlyFields):
    """How methods train beside each other; from :func:`trajectory`.

    Arrays have an axis for the M labels, the L learning rates, the S seeds and the T recorded
    steps; `ranks` one more for the K weights of the problem.

    Attributes
    ----------
    labels : tuple of str
    learning_rates : ndarray, shape (L,)
    seeds : tuple of int
    steps : ndarray of int, shape (T,)
        How many steps were done when it was recorded; the first is 0.
    loss : ndarray, shape (M, L, S, T)
        Mean cross-entropy of all rows to train on. Of a run that diverges the first loss that is
        not finite; all that would come after it is NaN, here and in the others.
    accuracy, test_loss : ndarray, shape (M, L, S, T)
        Share of right answers and mean cross-entropy on the rows kept for the test.
    alignment : ndarray, shape (M, L, S, T)
        Cosine between the change ΔW of the merged weights in the next step and the step that full
        fine-tuning would take from these weights, all weights of the model as one vector; 0 where
        ΔW is 0. That step is the one of the same optimizer, had it seen the full gradients of this
        run: −G for plain gradient descent, −Σ μ^(t−i) G_i with momentum μ, −m̂/(√v̂ + ε) for Adam,
        so −sign(G) at the start. At the last of `steps` it is about the step that would be next.
    drift_left, drift_right : ndarray, shape (M, L, S, T)
        Mean principal angle in radians between col A (left) and row B (right) and where they were
        at the start, over all angles of all weights; where a factor starts at 0 it is compared with
        itself after the first step, and NaN before. NaN for full fine-tuning.
    ranks : ndarray of int, shape (M, L, S, T, K)
        Terms that an adapter may use: r, for AdaLoRA those its budget keeps; for full fine-tuning
        min(n, m). 0 after a run has diverged.
    tuned : dict of Tuned
        By (label, learning rate, seed) what came out.
    problem, optimizer : str
    rank : int
    batch_size : int or None
    """

    labels: tuple[str, ...]
    learning_rates: Array
    seeds: tuple[int, ...]
    steps: Array
    loss: Array
    accuracy: Array
    test_loss: Array
    alignment: Array
    drift_left: Array
    drift_right: Array
    ranks: Array
    tuned: dict[tuple[str, float, int], Tuned]
    problem: str
    optimizer: str
    rank: int
    batch_size: int | None

    @property
    def diverged(self) -> Array:
        """Whether the loss at the end is not finite, or above that at the start; (M, L, S)."""
        return _diverged(self.loss)

    def run(self, label: str, learning_rate: float) -> Run:
        """One method at one of the learning rates.

        Raises
        ------
        InvalidArgument
            If it was not trained, or not with this rate.
        """
        i = self.labels.index(name_parameter(label, self.labels, "label"))
        found = np.flatnonzero(self.learning_rates == learning_rate)
        if found.size == 0:
            listed = ", ".join(f"{rate:g}" for rate in self.learning_rates)
            raise _core.InvalidArgument(
                f"learning_rate must be one of {listed}; got {learning_rate!r}"
            )
        return self._run(i, int(found[0]))

    def best(self, label: str) -> Run:
        """A method at the learning rate with the smallest loss at the end, mean over seeds.

        A loss that is not finite counts as infinite.

        Raises
        ------
        InvalidArgument
            If it was not trained.
        """
        i = self.labels.index(name_parameter(label, self.labels, "label"))
        runs = [self._run(i, j) for j in range(self.learning_rates.size)]
        return min(runs, key=lambda run: run.final_loss)

    def _run(self, i: int, j: int) -> Run:
        measured = {name: getattr(self, name)[i, j] for name in QUANTITIES}
        return Run(self.labels[i], float(self.learning_rates[j]), self.steps, **measured)

    def __repr__(self) -> str:
        return (
            f"Trajectory({self.problem!r}, {self.optimizer!r}: {len(self.labels)} methods, "
            f"{self.learning_rates.size} learning rates, {len(self.seeds)} seeds, "
            f"{self.steps[-1]} steps)"
        )

    def __str__(self) -> str:
        return f"{self._caption}\n{columns(_HEADS, self._rows())}"

    def _repr_html_(self) -> str:
        return grid(self._caption, _HEADS, self._rows())

    @property
    def _caption(self) -> str:
        size = "full batches" if self.batch_size is None else f"batches of {self.batch_size}"
        return (
            f"{self.problem}: {self.steps[-1]} steps of {self.optimizer}, {size}, rank {self.rank}"
        )

    def _rows(self) -> list[list[str]]:
        """A row for each method at its best learning rate, means over seeds."""
        return [self._row(i, self.best(label)) for i, label in enumerate(self.labels)]

    def _row(self, i: int, best: Run) -> list[str]:
        lost = self.diverged[i]
        drift = (float(found[:, -1].mean()) for found in (best.drift_left, best.drift_right))
        return [
            best.label,
            f"{best.learning_rate:g}",
            f"{best.final_loss:.4g}",
            f"{best.accuracy[:, -1].mean():.1%}",
            f"{best.alignment[:, 0].mean():.3f}",
            f"{best.alignment.mean():.3f}",
            *("–" if math.isnan(angle) else f"{math.degrees(angle):.0f}°" for angle in drift),
            f"{lost.sum()} of {lost.size}",
        ]

    def plot(
        self, ax: Axes | None = None, *, quantity: Quantity = "loss", learning_rate: Any = None
    ) -> Axes:
        """Draws a quantity along the training, at every method's best learning rate or at one.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; new axes unless given.
        quantity : str
            One of :data:`QUANTITIES`.
        learning_rate : float, optional
            The same for all; the best of each unless given.
        """
        from resolvent.plot.lora import plot_trajectory

        return plot_trajectory(self, ax, quantity=quantity, learning_rate=learning_rate)


_HEADS = [
    "method", "learning rate", "final loss", "test accuracy", "cosine at start", "mean cosine",
    "drift of A", "drift of B", "diverged",
]  # fmt: skip


def _diverged(loss: Array) -> Array:
    return ~(loss[..., -1] <= loss[..., 0])


# ---- what is trained ----------------------------------------------------------------------------


class _Model(Protocol):
    """A weight as a function of what is trained: adapters, and the weight itself."""

    @property
    def parameters(self) -> dict[str, Array]: ...

    def merged(self, weight: Array) -> Array: ...

    def gradients(self, G: Array, weight: Array) -> _Gradients: ...

    def replace(self, **parameters: Array) -> _Model: ...


@dataclass(frozen=True)
class _Full:
    """The weight itself, for full fine-tuning."""

    W: Array

    @property
    def parameters(self) -> dict[str, Array]:
        return {"W": self.W}

    def merged(self, weight: Array) -> Array:
        return self.W

    def gradients(self, G: Array, weight: Array) -> _Gradients:
        return {"W": G}

    def replace(self, **parameters: Array) -> _Full:
        return _Full(**parameters)


@dataclass(frozen=True)
class _Method:
    """How a label is trained."""

    label: str
    name: str
    start: dict[str, Any]
    ratio: float
    budget: BudgetOptions | None

    @classmethod
    def of(cls, label: str, recipe: Recipe, defaults: dict[str, Any]) -> _Method:
        """Checks what the caller gave."""
        given = {"method": recipe} if isinstance(recipe, str) else dict(recipe)
        name = name_parameter(given.pop("method", label), TRAINED, "method")
        budgeted = name == "adalora"
        allowed = () if name == "full" else (*START_OPTIONS, "ratio")
        for option in given:
            name_parameter(option, allowed + _BUDGET_OPTIONS * budgeted, f"an option of {label!r}")
        ratio = positive_parameter(
            given.pop("ratio", _PLUS_RATIO if name == "lora+" else 1.0), "ratio"
        )
        budget = {key: given.pop(key) for key in _BUDGET_OPTIONS if key in given}
        start = {"method": name, **defaults, **_STARTS.get(name, {}), **given}
        return cls(label, name, start, ratio, BudgetOptions.of(budget) if budgeted else None)

    @property
    def rank(self) -> int:
        return integer_parameter(self.start["rank"], "rank")

    def models(self, plan: _Plan, seed: int) -> list[_Model]:
        """What is trained, one for each weight, at the start."""
        weights = plan.problem.weights
        if self.name == "full":
            return [_Full(W) for W in weights]
        aligned = "gradient" in needs(self.start["method"])
        slopes = plan.start_gradients(seed) if aligned else repeat(None, len(weights))
        return [
            self._adapter(i, W, G, _seed_of(seed, i))
            for i, (W, G) in enumerate(zip(weights, slopes, strict=True))
        ]

    def _adapter(self, i: int, weight: Array, gradient: Array | None, seed: int) -> Adapter:
        options = dict(self.start)
        if self.budget is not None:
            shape: Any = weight.shape
            options["rank"] = self.budget.starting_rank(self.rank, shape)
        try:
            return initialize(weight=weight, gradient=gradient, seed=seed, **options)
        except _core.InvalidArgument as error:
            raise _core.InvalidArgument(
                f"{self.label!r}, weight {i} of shape {weight.shape}: {error}"
            ) from None


def _seed_of(seed: int, layer: int) -> int:
    """Its own for every weight, the same for all methods."""
    return int(np.random.SeedSequence((seed, layer)).generate_state(1)[0])


def _methods(
    given: Iterable[str] | Mapping[str, Recipe], defaults: dict[str, Any]
) -> list[_Method]:
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Mapping):
        names = list(given)
        given = {name: name for name in names}
        if len(given) < len(names):
            raise _core.InvalidArgument(f"methods must differ, got {names}")
    recipes = dict(given)
    if not recipes:
        raise _core.InvalidArgument("methods must name at least one method, got none")
    return [_Method.of(label, recipe, defaults) for label, recipe in recipes.items()]


# ---- training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """What all runs have in common."""

    problem: Problem
    optimizer: str
    momentum: float
    steps: int
    batch_size: int | None
    gradient_batches: int | None
    train_biases: bool
    recorded: Array

    def descent(self) -> Descent:
        """A new one, without memory."""
        return descent_of(self.optimizer, self.momentum)

    def rows(self, seed: int, use: int = 0) -> Iterator[Any]:
        """The rows of one batch after the other; None for all."""
        if self.batch_size is None:
            return repeat(None)
        return batches(self.problem.rows, self.batch_size, (seed, use))

    def start_gradients(self, seed: int) -> tuple[Array, ...]:
        """The gradient that LoRA-GA aligns with: of all rows, or the mean of some batches."""
        if self.gradient_batches is None:
            return self.problem.gradients().weights
        order = self.rows(seed, use=1)
        found = [
            self.problem.gradients(rows=next(order)).weights for _ in range(self.gradient_batches)
        ]
        return tuple(np.mean(layer, axis=0) for layer in zip(*found, strict=True))


class _State(NamedTuple):
    """Where a run is."""

    models: list[_Model]
    weights: list[Array]
    biases: tuple[Array, ...]


class _Training:
    """One run: a method, a learning rate and a seed."""

    def __init__(
        self,
        plan: _Plan,
        method: _Method,
        start: Sequence[_Model],
        learning_rate: float,
        seed: int,
    ) -> None:
        self._plan = plan
        self._rate = learning_rate
        self._ratio = method.ratio
        problem = plan.problem
        # Offsets belong to the start: in the frozen weight they cost a step nothing.
        self._frozen = [
            model.frozen(W) if isinstance(model, Adapter) else W
            for model, W in zip(start, problem.weights, strict=True)
        ]
        self._offsets = [model.offset if isinstance(model, Adapter) else None for model in start]
        self._models = [_with_offset(model, None) for model in start]
        self._weights = self._merged(self._models)
        self._biases = problem.biases
        self._own, self._full = plan.descent(), plan.descent()
        self._rows = plan.rows(seed)
        self._budget = _budget_of(method, self._models, plan.steps)
        self._ranks = [_terms(model) for model in self._models]
        self._record = _Record(plan.recorded.size, self._models)

    def train(self) -> dict[str, Array]:
        """Takes all steps, and gives what was measured, by the names of :data:`QUANTITIES`."""
        places = {int(step): place for place, step in enumerate(self._plan.recorded)}
        for step in range(self._plan.steps + 1):
            loss, after = self._step(step, places.get(step))
            if after is None:
                self._record.diverge(int(np.searchsorted(self._plan.recorded, step)), loss)
                break
            if step < self._plan.steps:  # the one after the last is looked at, not taken
                self._take(after)
        return self._record.arrays()

    def tuned(self) -> Tuned:
        """What came out: adapters with their offsets, or weights; and biases."""
        models = [
            _with_offset(model, offset)
            for model, offset in zip(self._models, self._offsets, strict=True)
        ]
        return Tuned(
            tuple(m if isinstance(m, Adapter) else m.parameters["W"] for m in models),
            self._biases,
        )

    def _step(self, step: int, place: int | None) -> tuple[float, _State | None]:
        """The loss, which is recorded with all else if it has a place, and what a step leads to.

        Where something is not finite there is no step.
        """
        if not _all_finite(self._weights):
            return math.inf, None
        rows = next(self._rows)
        found = self._evaluated(rows)
        whole = found if rows is None or place is None else self._evaluated(None)
        loss = whole.loss if math.isfinite(found.loss) else found.loss
        if not math.isfinite(loss):
            return loss, None
        if not _all_finite(found.weights):
            return math.inf, None
        self._record.follow(self._models)
        full = [self._full.direction(i, G) for i, G in enumerate(found.weights)]
        models = self._moved(found.weights, step + 1)
        after = _State(models, self._merged(models), self._moved_biases(found.biases))
        if place is not None:
            changes = [new - W for new, W in zip(after.weights, self._weights, strict=True)]
            self._write(place, loss, -_cosine(changes, full))
        return loss, after

    def _take(self, after: _State) -> None:
        self._models, self._weights, self._biases = after
        if self._budget is not None:
            self._ranks = [int(kept.sum()) for kept in self._budget.kept]

    def _moved_biases(self, slopes: Sequence[Array]) -> tuple[Array, ...]:
        if not self._plan.train_biases:
            return self._biases
        return tuple(
            b - self._rate * self._own.direction(("b", i), slope)
            for i, (b, slope) in enumerate(zip(self._biases, slopes, strict=True))
        )

    def _moved(self, slopes: Sequence[Array], done: int) -> list[_Model]:
        """What is trained after a step, which is the `done`-th."""
        gradients = [
            model.gradients(G, W)
            for model, G, W in zip(self._models, slopes, self._frozen, strict=True)
        ]
        if self._budget is None:
            return self._descended(gradients)
        adapters: Any = self._models
        gradients = [
            self._budget.regularised(adapter, found)
            for adapter, found in zip(adapters, gradients, strict=True)
        ]
        self._budget.observe(adapters, gradients)
        moved: Any = self._descended(gradients)
        return list(self._budget.pruned(moved, done))

    def _descended(self, gradients: Sequence[_Gradients]) -> list[_Model]:
        return [
            model.replace(
                **{
                    name: value - self._rate_of(name) * self._own.direction((name, i), found[name])
                    for name, value in model.parameters.items()
                }
            )
            for i, (model, found) in enumerate(zip(self._models, gradients, strict=True))
        ]

    def _rate_of(self, name: str) -> float:
        return self._rate * self._ratio if name == "B" else self._rate

    def _merged(self, models: Sequence[_Model]) -> list[Array]:
        return [model.merged(W) for model, W in zip(models, self._frozen, strict=True)]

    def _evaluated(self, rows: Any) -> Evaluation:
        problem = self._plan.problem
        x, y = (problem.x, problem.y) if rows is None else (problem.x[rows], problem.y[rows])
        return evaluate(x, y, self._weights, self._biases, problem.activation)

    def _write(self, place: int, loss: float, alignment: float) -> None:
        problem = self._plan.problem
        test = evaluate(
            problem.x_test, problem.y_test, self._weights, self._biases, problem.activation
        )
        self._record.write(
            place,
            self._ranks,
            loss=loss,
            accuracy=test.accuracy,
            test_loss=test.loss,
            alignment=alignment,
        )


def _with_offset(model: _Model, offset: Factored | None) -> _Model:
    if not isinstance(model, Adapter):
        return model
    return replace(model, offset=offset)


def _terms(model: _Model) -> int:
    return model.rank if isinstance(model, Adapter) else min(model.parameters["W"].shape)


def _all_finite(arrays: Sequence[Array]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _cosine(one: Sequence[Array], other: Sequence[Array]) -> float:
    """Of two lists of matrices as vectors; 0 where one of them is 0."""
    inner = sum(float(np.vdot(a, b)) for a, b in zip(one, other, strict=True))
    size = math.prod(math.hypot(*map(np.linalg.norm, side)) for side in (one, other))
    return inner / size if size > 0.0 else 0.0


class _Record:
    """What is measured along a run."""

    def __init__(self, places: int, models: Sequence[_Model]) -> None:
        names = [name for name in QUANTITIES if name != "ranks"]
        self._values: dict[str, Array] = {name: np.full(places, np.nan) for name in names}
        self._values["ranks"] = np.zeros((places, len(models)), np.int64)
        self._factors: dict[int, Sequence[Adapter]] = {}
        self._starts: list[dict[str, Array]] = [{} for _ in models]
        self._models: Sequence[_Model] = models

    def follow(self, models: Sequence[_Model]) -> None:
        """Takes in what is trained, before a step."""
        self._models = models
        for start, model in zip(self._starts, models, strict=True):
            for name in ("A", "B"):
                factor = model.parameters.get(name)
                if factor is not None and name not in start and factor.any():
                    start[name] = factor

    def write(self, place: int, ranks: Sequence[int], **measured: float) -> None:
        for name, value in measured.items():
            self._values[name][place] = value
        self._values["ranks"][place] = ranks
        if all(isinstance(model, Adapter) for model in self._models):
            adapters: Any = self._models
            self._factors[place] = adapters

    def diverge(self, place: int, loss: float) -> None:
        self._values["loss"][place] = loss

    def arrays(self) -> dict[str, Array]:
        """All that was measured, by the names of :data:`QUANTITIES`."""
        if self._factors:
            places = list(self._factors)
            for name, side in (("A", "drift_left"), ("B", "drift_right")):
                self._values[side][places] = self._drift(name)
        return self._values

    def _drift(self, name: str) -> Array:
        """Mean angle of one factor at every place, over all angles of all weights."""
        angles = []
        for i, start in enumerate(self._starts):
            factors = np.stack(
                [adapters[i].parameters[name] for adapters in self._factors.values()]
            )
            first = start.get(name, np.zeros_like(factors[0]))
            if name == "B":
                first, factors = first.T, factors.transpose(0, 2, 1)
            found = principal_angles(np.linalg.qr(first)[0], np.linalg.qr(factors)[0])
            found[~factors.any(axis=(1, 2))] = np.nan
            angles.append(found)
        return np.asarray(np.concatenate(angles, axis=1).mean(axis=1))


def _budget_of(method: _Method, models: Sequence[_Model], steps: int) -> RankBudget | None:
    if method.budget is None:
        return None
    adapters: Any = models
    return RankBudget(method.budget, adapters, method.rank * len(adapters), steps)


def trajectory(
    problem: Problem,
    methods: Iterable[str] | Mapping[str, Recipe],
    optimizer: Optimizer = "sgd",
    steps: int = 200,
    learning_rates: ArrayLike | None = None,
    seeds: int | Iterable[int] = (0,),
    *,
    rank: int = 4,
    alpha: float | None = None,
    batch_size: int | None = None,
    gradient_batches: int | None = None,
    momentum: float = 0.0,
    train_biases: bool = False,
    record_every: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> Trajectory:
    """Trains full fine-tuning and adapters side by side: same start, same batches, same rates.

    All weight matrices of the problem have adapters. Every method is run at every learning rate
    with every seed.

    Parameters
    ----------
    problem : Problem
        From :func:`digits`, or made of arrays.
    methods : iterable of str, or mapping of labels
        Names out of :data:`TRAINED`; or for each label a name, or a mapping with the name under
        "method" and options: those of :func:`initialize` but its inputs, `ratio`, and for "adalora"
        `initial_rank`, `warmup`, `final`, `interval`, `beta1`, `beta2` and `orthogonality`.
    optimizer : {"sgd", "adam"}
        Gradient descent, or Adam with β = (0.9, 0.999) and ε = 1e-8. No weight decay.
    steps : int
    learning_rates : array_like, shape (L,), optional
        Unless given, (0.03, 0.1, 0.3, 1, 3) for "sgd", (0.003, 0.01, 0.03, 0.1) for "adam".
    seeds : int or sequence of int
        Each is for the order of batches, which all methods share, and for what adapters draw.
    rank, alpha
        As in :func:`initialize`, for all methods whose options have no others.
    batch_size : int, optional
        Rows of a step, each row once per pass in random order; all rows unless given.
    gradient_batches : int, optional
        From how many batches "lora-ga" and "lora-ga-adam" have their gradient; from all rows
        unless given.
    momentum : float
        In [0, 1), for "sgd".
    train_biases : bool
        Whether the biases are trained too, with the same learning rate and by all methods; else
        they stay as pre-trained for all, full fine-tuning too, so that methods differ by their
        weights only.
    record_every : int
        Steps from one record to the next; the last is always recorded.
    progress : callable, optional
        Called as ``progress(done, total, label)`` before each run and at the end.

    Returns
    -------
    Trajectory

    Raises
    ------
    InvalidArgument
        For names that are not known, numbers out of range, and a rank that is too large for a
        weight.
    DtypeError
        For numbers of the wrong kind.

    Notes
    -----
    "full" trains the weights themselves. "lora", "lora-ga", "lora-ga-adam", "pissa", "olora" and
    "orthogonal" differ by their start alone (:func:`initialize`); "rslora" is "lora" with
    s = α/√r. "lora+" is "lora" with a learning rate for B that is `ratio` = 16 times the given one.
    "dora" trains magnitudes as well. "adalora" adds γ(‖PᵀP − I‖² + ‖QQᵀ − I‖²) to its loss and
    starts with `initial_rank`, 3/2 of the rank unless given; after `warmup` of the steps all
    adapters together have to share a budget that falls as a cube to rank · (number of weights),
    and keeps for the last `final` of the steps; every `interval` steps the terms λ_k p_k q_kᵀ with
    the largest smoothed sensitivity times uncertainty are kept, and λ_k of the others is set to 0.

    A run whose loss or weights overflow ends there, without a warning: see `diverged`. Interrupting
    leaves nothing half done.

    The time of a step is that of one gradient, and of another one at recorded steps for the test
    (and for all rows, with batches); the factors of recorded steps are held until a run ends.

    References
    ----------
    Hu et al., "LoRA", 2021, arXiv:2106.09685. Hayou, Ghosh, Yu, "LoRA+", 2024, arXiv:2402.12354.
    Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023,
    arXiv:2312.03732. Wang, Yu, Li, "LoRA-GA", 2024, arXiv:2407.05000. Meng, Wang, Zhang, "PiSSA",
    2024, arXiv:2404.02948. Büyükakyüz, "OLoRA", 2024, arXiv:2406.01775. Zhang et al., "AdaLoRA",
    2023, arXiv:2303.10512. Liu et al., "DoRA", 2024, arXiv:2402.09353.

    Examples
    --------
    >>> import resolvent as rv
    >>> problem = rv.lora.digits("softmax", "rotation")
    >>> found = rv.lora.trajectory(problem, ["full", "lora", "lora-ga"], steps=50)
    >>> found
    Trajectory('digits, rotation by 20°', 'sgd': 3 methods, 5 learning rates, 1 seeds, 50 steps)
    >>> found.best("lora-ga").final_loss < found.best("lora").final_loss
    True
    """
    if not isinstance(problem, Problem):
        raise _core.DtypeError(f"problem must be a Problem, got {problem!r}")
    name, share = descent_parameters(optimizer, momentum)
    width = count_parameter(rank, "rank")
    chosen = _methods(methods, {"rank": width, "alpha": alpha})
    rates = _rates(learning_rates, name)
    starts = _seeds(seeds)
    count, every = count_parameter(steps, "steps"), count_parameter(record_every, "record_every")
    plan = _Plan(
        problem=problem,
        optimizer=name,
        momentum=share,
        steps=count,
        batch_size=None if batch_size is None else batch_parameter(batch_size, problem.rows),
        gradient_batches=_gradient_batches(gradient_batches, batch_size),
        train_biases=bool(train_biases),
        recorded=np.append(np.arange(0, count, every), count),
    )
    jobs = product(chosen, starts, rates)
    total = len(chosen) * len(starts) * len(rates)
    found: dict[str, list[Array]] = {quantity: [] for quantity in QUANTITIES}
    tuned: dict[tuple[str, float, int], Tuned] = {}
    models: list[_Model] = []
    for done, (method, seed, rate) in enumerate(jobs):
        if progress is not None:
            progress(done, total, method.label)
        if done % len(rates) == 0:
            models = method.models(plan, seed)
        training = _Training(plan, method, models, float(rate), seed)
        with np.errstate(all="ignore"):
            measured = training.train()
        for quantity, values in measured.items():
            found[quantity].append(values)
        tuned[method.label, float(rate), seed] = training.tuned()
    if progress is not None:
        progress(total, total, "")
    axes = (len(chosen), len(starts), len(rates))
    return Trajectory(
        labels=tuple(method.label for method in chosen),
        learning_rates=rates,
        seeds=starts,
        steps=plan.recorded,
        **{
            quantity: np.stack(values).reshape(*axes, *values[0].shape).swapaxes(1, 2)
            for quantity, values in found.items()
        },
        tuned=tuned,
        problem=problem.name,
        optimizer=name,
        rank=width,
        batch_size=plan.batch_size,
    )


def _gradient_batches(value: Any, batch_size: Any) -> int | None:
    if value is None:
        return None
    if batch_size is None:
        raise _core.InvalidArgument("gradient_batches needs batch_size=, the rows of a batch")
    return count_parameter(value, "gradient_batches")


def _rates(given: ArrayLike | None, optimizer: str) -> Array:
    rates = as_real64(
        np.atleast_1d(np.asarray(_LEARNING_RATES[optimizer] if given is None else given)),
        "learning_rates",
    )
    if rates.ndim != 1 or rates.size == 0:
        raise _core.ShapeMismatch(f"learning_rates must have shape (L,), got {rates.shape}")
    if np.unique(rates).size < rates.size:
        raise _core.InvalidArgument(f"learning_rates must differ, got {rates}")
    if (rates <= 0.0).any():
        raise _core.InvalidArgument(f"learning_rates must be positive, got {rates.min():g}")
    return rates


def _seeds(given: int | Iterable[int]) -> tuple[int, ...]:
    chosen = [given] if isinstance(given, int) else list(given)
    seeds = tuple(map(seed_parameter, chosen))
    if not seeds:
        raise _core.InvalidArgument("seeds must be one or more, got none")
    if len(set(seeds)) < len(seeds):
        raise _core.InvalidArgument(f"seeds must differ, got {seeds}")
    return seeds
