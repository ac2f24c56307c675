"""What a model's state can hold: associative recall and copying, with closed-form readouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, overload

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ReadOnlyFields,
    count_parameter,
    integer_parameter,
    name_parameter,
    positive_parameter,
    real_parameter,
)
from resolvent._html import grid, table
from resolvent._text import columns
from resolvent.attention import linear
from resolvent.attention._causal import causal
from resolvent.attention._influence import as_layer, as_layers
from resolvent.attention._layers import Layer, softplus, split_heads

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TASKS", "MemoryComparison", "MemoryTest", "Task", "memory_test"]

Task = Literal["recall", "copy"]
TASKS: tuple[str, ...] = get_args(Task)

#: Values of a pair, and symbols of a sequence to copy.
_VALUES, _BITS = 16, 2

#: Fewest channels whose halves have so many different words of ±1.
_LEAST_CHANNELS = 2 * int(math.log2(_VALUES))

#: Logits of a key with itself, for attention that looks at one place: another key of cosine c has a
#: weight of exp(−1024 (1 − c)) beside it.
_SHARP = 1024.0

#: A readout of F numbers is fitted to at least so many times F sequences.
_EXAMPLES = 4

#: Entries of the largest array of tokens that is made at a time.
_TOKENS = 1 << 21


# ---- results ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class MemoryTest(ReadOnlyFields):
    """How much a model remembers against how much it was given; from :func:`memory_test`.

    Attributes
    ----------
    layer : Layer
    task : str
        "recall" or "copy".
    readout : str
        "nearest value": the model's own output, by the nearest of all values. "least squares": a
        linear function of the state, fitted to other sequences.
    loads : ndarray of int, shape (n,)
        Pairs or symbols.
    accuracy : ndarray, shape (n,)
        Share of right answers.
    chance : float
        That of guessing among all values.
    state_sizes : ndarray of int, shape (n,)
        Real numbers that the model keeps after so many steps.
    linear_capacity : ndarray, shape (n,), or None
        For "copy" Σ R² over all symbols: how many numbers the state holds (Jaeger). At most
        `state_sizes`.
    trials : int
    threshold : float
    """

    layer: Layer
    task: str
    readout: str
    loads: Array
    accuracy: Array
    chance: float
    state_sizes: Array
    linear_capacity: Array | None
    trials: int
    threshold: float

    @property
    def capacity(self) -> int:
        """The largest load up to which the accuracy is at least the threshold; 0 if there is none.

        The largest one tested is a lower bound.
        """
        failed = np.flatnonzero(self.accuracy < self.threshold)
        first = int(failed[0]) if failed.size else self.loads.size
        return int(self.loads[first - 1]) if first else 0

    @property
    def errors(self) -> Array:
        """Standard errors √(p(1 − p)/trials) of the accuracy; for "copy" they are smaller."""
        return np.sqrt(self.accuracy * (1.0 - self.accuracy) / self.trials)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Accuracy against load, with chance."""
        from resolvent.plot.attention import plot_memory

        return plot_memory(self, ax)

    def __repr__(self) -> str:
        return (
            f"MemoryTest({self.layer!r}, {self.task}: capacity {_capacity(self)}, accuracy "
            f"{self.accuracy[-1]:.2f} at {self.loads[-1]}, chance {self.chance:.2g})"
        )

    def __str__(self) -> str:
        return columns(*self._table())

    def _repr_html_(self) -> str:
        about = [
            ("readout", self.readout),
            ("capacity", _capacity(self)),
            ("threshold, chance", f"{self.threshold:g}, {self.chance:.3g}"),
            ("trials", str(self.trials)),
        ]
        caption = f"{self.task.capitalize()}: {self.layer!r}"
        return table(caption, about) + grid("Accuracy", *self._table())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["load", "accuracy", "state size"]
        rows = [
            [str(load), f"{share:.3f}", str(size)]
            for load, share, size in zip(self.loads, self.accuracy, self.state_sizes, strict=True)
        ]
        if self.linear_capacity is not None:
            head.append("linear capacity")
            rows = [
                [*row, f"{held:.2f}"] for row, held in zip(rows, self.linear_capacity, strict=True)
            ]
        return head, rows


@dataclass(frozen=True, eq=False, repr=False)
class MemoryComparison:
    """The same test of several models; from :func:`memory_test`.

    Attributes
    ----------
    tests : dict of str to MemoryTest
        By label.
    """

    tests: dict[str, MemoryTest]

    @property
    def capacities(self) -> dict[str, int]:
        """Label → :attr:`MemoryTest.capacity`."""
        return {label: test.capacity for label, test in self.tests.items()}

    def plot(self, ax: Axes | None = None, *, against: Literal["load", "state"] = "load") -> Axes:
        """Accuracy against load, or capacity against the size of the state."""
        from resolvent.plot.attention import plot_memory_comparison

        return plot_memory_comparison(self, ax, against=against)

    def __repr__(self) -> str:
        found = ", ".join(f"{label} {_capacity(test)}" for label, test in self.tests.items())
        return f"MemoryComparison({next(iter(self.tests.values())).task}; capacity {found})"

    def __str__(self) -> str:
        return columns(*self._table())

    def _repr_html_(self) -> str:
        return grid(next(iter(self.tests.values())).task.capitalize(), *self._table())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        loads = next(iter(self.tests.values())).loads
        rows = [
            [
                label,
                test.readout,
                str(test.state_sizes[-1]),
                _capacity(test),
                *(f"{share:.2f}" for share in test.accuracy),
            ]
            for label, test in self.tests.items()
        ]
        return ["model", "readout", f"state at {loads[-1]}", "capacity", *map(str, loads)], rows


def _capacity(test: MemoryTest) -> str:
    """As text; the largest load that was tried is only a lower bound."""
    return f"{'≥ ' if test.capacity == test.loads[-1] else ''}{test.capacity}"


# ---- the test -----------------------------------------------------------------------------------


# A str is a sequence of str too, and the first signature is meant for it.
@overload
def memory_test(  # type: ignore[overload-overlap]
    model: Layer | str,
    *,
    task: Task = ...,
    loads: Sequence[int] = ...,
    trials: int = ...,
    threshold: float = ...,
    noise: float = ...,
    seed: int = ...,
) -> MemoryTest: ...


@overload
def memory_test(
    model: Iterable[Layer | str] | Mapping[str, Layer | str],
    *,
    task: Task = ...,
    loads: Sequence[int] = ...,
    trials: int = ...,
    threshold: float = ...,
    noise: float = ...,
    seed: int = ...,
) -> MemoryComparison: ...


def memory_test(
    model: Layer | str | Iterable[Layer | str] | Mapping[str, Layer | str],
    *,
    task: Task = "recall",
    loads: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    trials: int = 256,
    threshold: float = 0.9,
    noise: float = 1e-3,
    seed: int = 0,
) -> MemoryTest | MemoryComparison:
    """How many key–value pairs, or symbols of a sequence, a model can hold in its state.

    Nothing is trained by descent: what a model is given is constructed or random, and readouts are
    nearest values or least squares.

    Parameters
    ----------
    model : Layer, str, or several of them
        Its sizes, decays, eigenvalues and steps count. A name stands for
        ``layer(name, 32, heads=4)``; several, in a list or a dict by label, are compared.
    task : {"recall", "copy"}
        See Notes.
    loads : sequence of int
        Pairs or symbols, ascending.
    trials : int
        Sequences that are tested.
    threshold : float
        The accuracy in (0, 1] that counts as remembering.
    noise : float
        Relative noise on every number of the state that a least-squares readout sees, when it is
        fitted (as a ridge of noise²) and when it is tested. What fades below it is lost.
    seed : int

    Returns
    -------
    MemoryTest or MemoryComparison
        The latter for several models.

    Raises
    ------
    InvalidArgument
        For loads that do not ascend, numbers out of range, and fewer than 8 channels for "recall".

    Notes
    -----
    **recall**. n pairs of a random unit key and one of 16 values (random words of ±1), then the key
    of one of them. Chance is 1/16. Constructed, readout by the nearest value: *attention* (key and
    query alike, logit 1024, so that it looks at one place), *linear_attention* (identity features,
    S = Σ k vᵀ: a Hopfield-like memory with crosstalk), *retnet* (the same with decay), *mamba* and
    *mamba2* (B = key, C = query, input = value, the step fixed at softplus(b), so that ages decay
    by exp(A·step)). All channels of the others pass random projections, and what was written
    under one key is not found by another one: *rwkv*, *lru* and *s5* get the best linear function
    of state and query by least squares. With n pairs that is at best a guess among the n values in
    the state.

    **copy**. n random bits b_t as tokens u_t = (b_t w + p_t)/√2 with a random direction w and
    random codes p_t of the positions, through the layer as it is; every bit is read from the state
    after the last one by least squares, fitted to other sequences (4 for every number of the state
    or more). Chance is ½. `linear_capacity` is Σ R², at most the numbers in the state: Jaeger,
    "Short term memory in echo state networks", 2001, and Dambre et al., "Information processing
    capacity of dynamical systems", 2012, who show it for every system whose state is a function of
    its inputs. *attention* is constructed: keys are codes of the positions, and it looks at one;
    it copies exactly, from a state that grows with n.

    Examples
    --------
    >>> import resolvent as rv
    >>> found = rv.attention.memory_test(["attention", "retnet"], loads=(2, 8, 32, 128))
    >>> found.capacities["attention"], found.capacities["retnet"] < 128
    (128, True)
    """
    name_parameter(task, TASKS, "task")
    settings = _Settings(
        _loads(loads),
        count_parameter(trials, "trials"),
        _share(threshold),
        positive_parameter(noise, "noise"),
        count_parameter(seed, "seed", 0),
    )
    if isinstance(model, (Layer, str)):
        return _tested(as_layer(model), task, settings)
    made = as_layers(model)
    if not made:
        raise _core.InvalidArgument("model must be at least one layer or name, got none")
    return MemoryComparison({name: _tested(one, task, settings) for name, one in made.items()})


@dataclass(frozen=True)
class _Settings:
    """What is the same for all models."""

    loads: list[int]
    trials: int
    threshold: float
    noise: float
    seed: int


def _loads(given: Sequence[int]) -> list[int]:
    loads = [integer_parameter(load, "loads") for load in given]
    if not loads or loads[0] < 1 or any(b <= a for a, b in pairwise(loads)):
        raise _core.InvalidArgument(f"loads must ascend from at least 1, got {loads}")
    return loads


def _share(threshold: object) -> float:
    share = real_parameter(threshold, "threshold")
    if not 0.0 < share <= 1.0:
        raise _core.InvalidArgument(f"threshold must be in (0, 1], got {share:g}")
    return share


def _tested(mixer: Layer, task: str, settings: _Settings) -> MemoryTest:
    recall = task == "recall"
    by_nearest = mixer.name in (_CONSTRUCTED if recall else ("attention",))
    run = (
        (_recall_constructed if by_nearest else _recall_fitted)
        if recall
        else (_copy_constructed if by_nearest else _copy_fitted)
    )
    if recall and mixer.d < _LEAST_CHANNELS:
        raise _core.InvalidArgument(
            f"model must have at least {_LEAST_CHANNELS} channels for 'recall', got {mixer!r}"
        )
    accuracy, capacity = run(mixer, settings, np.random.default_rng(settings.seed))
    return MemoryTest(
        layer=mixer,
        task=task,
        readout="nearest value" if by_nearest else "least squares",
        loads=np.array(settings.loads),
        accuracy=np.array(accuracy),
        chance=1.0 / (_VALUES if recall else _BITS),
        state_sizes=np.array([_kept(mixer, task, load) for load in settings.loads]),
        linear_capacity=None if recall else np.array(capacity),
        trials=settings.trials,
        threshold=settings.threshold,
    )


def _kept(mixer: Layer, task: str, load: int) -> int:
    """Numbers in the state; linear attention has no denominator where it recalls."""
    without = task == "recall" and mixer.name == "linear_attention"
    return mixer.state * mixer.d if without else mixer.state_size(load)


_Found = tuple[list[float], list[float]]


# ---- recall -------------------------------------------------------------------------------------


def _words(rng: np.random.Generator, width: int) -> Array:
    """16 different words of ±1, shape (16, width)."""
    bits = rng.integers(0, 2, (_VALUES, width))
    counted = min(width, 16)
    chosen = rng.choice(2**counted, _VALUES, replace=False)
    bits[:, :counted] = chosen[:, np.newaxis] >> np.arange(counted) & 1
    return 2.0 * bits - 1.0


def _unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Random unit vectors along the last axis."""
    x = rng.standard_normal(shape)
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def _recall_constructed(mixer: Layer, settings: _Settings, rng: np.random.Generator) -> _Found:
    """The core's own answer to a key, by the nearest word."""
    words = _words(rng, mixer.d)
    size = mixer.state or mixer.d // mixer.heads
    accuracy = []
    for load in settings.loads:
        rows = np.arange(settings.trials)
        keys = _unit(rng, (settings.trials, load, size))
        values = rng.integers(0, _VALUES, (settings.trials, load))
        asked = rng.integers(0, load, settings.trials)
        q, k, v = _asked_last(keys, words[values], keys[rows, asked])
        answers = _CONSTRUCTED[mixer.name](mixer, q, k, v)[:, -1]
        accuracy.append(float(np.mean(_nearest(answers, words) == values[rows, asked])))
    return accuracy, []


def _asked_last(keys: Array, values: Array, queries: Array) -> tuple[Array, Array, Array]:
    """Sequences that write n pairs and then ask with one query, when nothing is written."""
    q = np.zeros((*keys.shape[:-2], keys.shape[-2] + 1, keys.shape[-1]))
    q[..., -1, :] = queries
    nothing = ((0, 0), (0, 1), (0, 0))
    return q, np.pad(keys, nothing), np.pad(values, nothing)


def _nearest(answers: Array, words: Array) -> Array:
    """Which word: all have the same norm, so the nearest has the largest inner product."""
    return np.asarray((answers @ words.T).argmax(axis=-1))


def _by_heads(core: Callable[..., Array], mixer: Layer, q: Array, k: Array, v: Array) -> Array:
    """A core with the same keys in every head, and each head its channels of the value."""
    y = core(q[:, np.newaxis], k[:, np.newaxis], split_heads(v, mixer.heads))
    return np.asarray(y.swapaxes(-3, -2).reshape(v.shape))


def _attend(mixer: Layer, q: Array, k: Array, v: Array) -> Array:
    return _by_heads(lambda q, k, v: causal(_SHARP * q, k, v), mixer, q, k, v)


def _linear_attention(mixer: Layer, q: Array, k: Array, v: Array) -> Array:
    return _by_heads(cast(Any, linear.linear_attention), mixer, q, k, v)


def _retnet(mixer: Layer, q: Array, k: Array, v: Array) -> Array:
    decay = mixer.parameters["decay"]
    return _by_heads(lambda q, k, v: cast(Array, linear.retnet(q, k, v, decay)), mixer, q, k, v)


def _mamba(mixer: Layer, q: Array, k: Array, v: Array) -> Array:
    """The value is divided by the step that the rule multiplies it with."""
    dt = np.broadcast_to(softplus(mixer.parameters["b_dt"]), v.shape[-2:])
    return cast(Array, linear.mamba(v / dt, dt, mixer.parameters["A"], k, q))


def _mamba2(mixer: Layer, q: Array, k: Array, v: Array) -> Array:
    """As mamba, with one step for each head."""
    dt = np.repeat(softplus(mixer.parameters["b_dt"])[:, np.newaxis], v.shape[-2], axis=1)
    A = mixer.parameters["A"]

    def core(q: Array, k: Array, v: Array) -> Array:
        return cast(Array, linear.mamba2(v / dt[..., np.newaxis], dt, A, k, q))

    return _by_heads(core, mixer, q, k, v)


_CONSTRUCTED: dict[str, Callable[[Layer, Array, Array, Array], Array]] = {
    "attention": _attend,
    "linear_attention": _linear_attention,
    "retnet": _retnet,
    "mamba": _mamba,
    "mamba2": _mamba2,
}


def _recall_fitted(mixer: Layer, settings: _Settings, rng: np.random.Generator) -> _Found:
    """The best linear function of state and query; tokens are key and word, half the channels each.

    One-hot values are fitted, and the largest is the answer.
    """
    half = mixer.d // 2
    words = _words(rng, mixer.d - half)
    examples = _EXAMPLES * (mixer.state_size(0) + half)
    count = settings.trials + max(settings.trials, examples)
    keys = _unit(rng, (count, settings.loads[-1], half))
    values = rng.integers(0, _VALUES, (count, settings.loads[-1]))

    def tokens(rows: slice, start: int, stop: int) -> Array:
        key, value = keys[rows, start:stop], words[values[rows, start:stop]]
        return np.concatenate([math.sqrt(half) * key, value], axis=-1)

    accuracy = []
    states = _states(mixer, tokens, settings.loads, count)
    for load, state in zip(settings.loads, states, strict=True):
        asked = rng.integers(0, load, count)
        rows = np.arange(count)
        right = values[rows, asked]
        features = np.concatenate([state, keys[rows, asked]], axis=1)
        read = _read_out(features, np.eye(_VALUES)[right], settings, rng)
        found = read.argmax(axis=-1) == right[: settings.trials]
        accuracy.append(float(np.mean(found)))
    return accuracy, []


# ---- copy ---------------------------------------------------------------------------------------


def _copy_fitted(mixer: Layer, settings: _Settings, rng: np.random.Generator) -> _Found:
    """Every bit of the sequence by least squares from the last state."""
    longest = settings.loads[-1]
    count = settings.trials + max(settings.trials, _EXAMPLES * mixer.state_size(0))
    direction, places = rng.standard_normal(mixer.d), rng.standard_normal((longest, mixer.d))
    bits = _signs(rng, (count, longest))

    def tokens(rows: slice, start: int, stop: int) -> Array:
        symbols = bits[rows, start:stop, np.newaxis] * direction
        return np.asarray((symbols + places[start:stop]) / math.sqrt(2.0))

    accuracy, capacity = [], []
    states = _states(mixer, tokens, settings.loads, count)
    for load, state in zip(settings.loads, states, strict=True):
        read = _read_out(state, bits[:, :load], settings, rng)
        share, held = _copied(read, bits[: settings.trials, :load])
        accuracy.append(share)
        capacity.append(held)
    return accuracy, capacity


def _copy_constructed(mixer: Layer, settings: _Settings, rng: np.random.Generator) -> _Found:
    """Attention whose keys are codes of the positions: asked for one place after the other."""
    size = mixer.d // mixer.heads
    accuracy, capacity = [], []
    for load in settings.loads:
        bits = _signs(rng, (settings.trials, load))
        places = np.broadcast_to(_unit(rng, (load, size)), (settings.trials, load, size))
        nothing = np.zeros_like(places)
        values = np.repeat(bits[..., np.newaxis], mixer.d, axis=-1)
        answers = _attend(
            mixer,
            np.concatenate([nothing, places], axis=1),
            np.concatenate([places, nothing], axis=1),
            np.concatenate([values, np.zeros_like(values)], axis=1),
        )
        share, held = _copied(answers[:, load:].mean(axis=-1), bits)
        accuracy.append(share)
        capacity.append(held)
    return accuracy, capacity


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 2.0 * rng.integers(0, 2, shape) - 1.0


def _copied(read: Array, bits: Array) -> tuple[float, float]:
    """The share of right signs, and Σ R² over the places, those below 0 left out."""
    residual = np.square(read - bits).mean(axis=0)
    return float(np.mean((read > 0.0) == (bits > 0.0))), float(np.maximum(0.0, 1 - residual).sum())


# ---- states and readouts ------------------------------------------------------------------------


def _states(
    mixer: Layer, tokens: Callable[[slice, int, int], Array], loads: Sequence[int], count: int
) -> Iterator[Array]:
    """The state of every sequence after so many tokens, shape (count, F), for one load at a time.

    Every sequence is run once: a load goes on from the state of the one before.
    """
    steps = max(b - a for a, b in pairwise((0, *loads)))
    size = max(1, _TOKENS // (steps * mixer.d))
    blocks = [slice(i, min(count, i + size)) for i in range(0, count, size)]
    states: list[Any] = [None] * len(blocks)
    for start, stop in pairwise((0, *loads)):
        for i, rows in enumerate(blocks):
            states[i] = mixer._advanced(tokens(rows, start, stop), states[i])
        yield np.concatenate([_numbers(mixer.name, state) for state in states])


def _numbers(name: str, state: Any) -> Array:
    """The real numbers of a state, shape (rows, F)."""
    parts = state if isinstance(state, tuple) else (state,)
    if name == "rwkv":  # numerator and denominator, both scaled by e^{−m}
        parts = (state[..., :2, :] * np.exp(state[..., 2:, :]),)
    rows = [np.ascontiguousarray(part).reshape(len(part), -1) for part in parts]
    # A complex number is two real ones side by side.
    return np.concatenate([row.view(row.real.dtype) for row in rows], axis=1)


def _read_out(
    features: Array, targets: Array, settings: _Settings, rng: np.random.Generator
) -> Array:
    """What a linear readout says on the first `trials` rows, fitted to the others.

    Features are centred and scaled to variance 1. White noise on them adds noise² to the diagonal
    of their covariance; it is also put on the rows that are tested.
    """
    test, train = features[: settings.trials], features[settings.trials :]
    center, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.where(spread > 0.0, spread, 1.0)
    X, wanted = (train - center) / scale, targets[settings.trials :]
    mean = wanted.mean(axis=0)
    ridge = settings.noise**2 * np.eye(X.shape[1])
    weights = np.linalg.solve(X.T @ X / len(X) + ridge, X.T @ (wanted - mean) / len(X))
    seen = (test - center) / scale + settings.noise * rng.standard_normal(test.shape)
    return np.asarray(seen @ weights + mean)
