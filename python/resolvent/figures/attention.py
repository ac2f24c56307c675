"""The figures of attention and linear recurrences, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim, except times: those are of the machine
that draws, and what is claimed about growth is counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from resolvent import attention, probmap
from resolvent._arrays import Array, read_only
from resolvent.attention import Influences, Layer, MemoryComparison, Stack
from resolvent.figures._registry import figure, new_figure
from resolvent.plot.attention import (
    MODEL_COLORS,
    MODEL_LABELS,
    MODEL_MARKERS,
    MODEL_STYLES,
    ROUTE_COLORS,
    ROUTE_MARKERS,
)
from resolvent.plot.probmap import plot_attention
from resolvent.plot.style import muted
from resolvent.probmap import Map

__all__ = [
    "Contexts",
    "Guesses",
    "RecurrenceStates",
    "Run",
    "by_state",
    "contexts",
    "copying",
    "excerpt_weights",
    "guesses",
    "influence",
    "influences",
    "ledgers",
    "licence",
    "memory",
    "reading",
    "recall_by_load",
    "recall_by_state",
    "recurrence_states",
    "route_runs",
    "routes",
    "speed",
    "state",
    "text",
]


# ---- what the routes cost -----------------------------------------------------------------------

#: Numbers of a position of the stacks that are timed; few, so that attention outweighs projections.
_WIDTH = 16

#: The depth of the stacks whose routes are compared, and those of recomputation.
_DEPTH, _DEPTHS = 2, (1, 2, 3)

#: Operations of the longest run that is timed.
_MOST = 1e8


@dataclass(frozen=True)
class Run:
    """One timed run of a stack.

    Attributes
    ----------
    route : str
    length, depth : int
    operations : int
        Counted.
    seconds : float
        The shortest of a few.
    """

    route: str
    length: int
    depth: int
    operations: int
    seconds: float


@cache
def route_runs(
    *, points: Sequence[tuple[str, int, int]], most: float = _MOST, repeats: int = 2
) -> tuple[Run, ...]:
    """Times of (route, length, depth), those of more than `most` operations left out."""
    found = []
    for route, length, depth in points:
        operations = _operations(route, length, depth)
        if operations <= most:
            seconds = _seconds(route, length, depth, repeats)
            found.append(Run(route, length, depth, operations, seconds))
    return tuple(found)


def _operations(route: Any, length: int, depth: int) -> int:
    return attention.cost(route, length, depth, d=_WIDTH).operations


def _seconds(route: Any, length: int, depth: int, repeats: int) -> float:
    stack = Stack(depth, 1, _WIDTH)
    tokens = np.random.default_rng(0).integers(0, stack.vocabulary, length)
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        start = time.perf_counter()
        stack.forward(tokens, route)
        times.append(time.perf_counter() - start)
    return min(times)


def speed(runs: Iterable[Run]) -> float:
    """Operations a second, the geometric mean of all runs."""
    return math.exp(float(np.mean([math.log(run.operations / run.seconds) for run in runs])))


def ledgers(*, lengths: Sequence[int], depth: int = _DEPTH) -> dict[str, list[int]]:
    """By route, the most bytes in use in counted runs of these lengths."""
    stack = Stack(depth, 1, _WIDTH)
    return {
        route: [stack.count(length, cast(Any, route)).peak_bytes for length in lengths]
        for route in attention.ROUTES
    }


@figure(
    "attention-routes",
    "Four routes to the same output",
    "Stacks of softmax attention. Lines: exact counts of operations, at one speed for all; marks: "
    "measured times. Full, cached and streaming take about L² operations, recomputation L to the "
    "power D + 1, so that every layer multiplies its time. In exchange its memory does not depend "
    "on the length (right; marks: bytes of counted runs).",
)
def routes(
    *, longest: int = 1024, length: int = 16, deepest: int = 8, most: float = _MOST
) -> Figure:
    """Time against length and depth, and memory against length."""
    lengths = [2**i for i in range(3, longest.bit_length())]
    along = [
        *((route, L, _DEPTH) for route in attention.ROUTES[:-1] for L in lengths),
        *(("recompute", L, D) for D in _DEPTHS for L in lengths),
    ]
    down = [(r, length, D) for r in attention.ROUTES for D in range(1, deepest + 1)]
    runs = route_runs(points=tuple(along), most=most), route_runs(points=tuple(down), most=most)
    rate = speed([*runs[0], *runs[1]])
    made = new_figure(11.4, 4.6)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.35, 1.0, 1.0))
    _draw_lengths(left, lengths, runs[0], rate)
    _draw_depths(middle, length, deepest, runs[1], rate)
    _draw_memory(right, lengths)
    made.legend(
        handles=[
            Line2D([], [], color=_route_color(r), marker=ROUTE_MARKERS[r], label=r)
            for r in attention.ROUTES
        ],
        loc="outside lower center", ncols=4, frameon=False,
    )  # fmt: skip
    return made


def _route_color(route: str) -> Any:
    return ROUTE_COLORS.get(route) or muted(1.0)


def _marks(ax: Axes, x: Sequence[float], y: Sequence[float], route: str) -> None:
    ax.plot(
        x, y, ROUTE_MARKERS[route], color=_route_color(route), markerfacecolor="none", markersize=6
    )


def _draw_lengths(ax: Axes, lengths: Sequence[int], runs: Iterable[Run], rate: float) -> None:
    fine = np.unique(np.geomspace(lengths[0], 4 * lengths[-1], 60).astype(int))
    series = [(r, _DEPTH) for r in attention.ROUTES[:-1]] + [("recompute", D) for D in _DEPTHS]
    for route, depth in series:
        predicted = np.array([_operations(route, int(L), depth) / rate for L in fine])
        ax.loglog(fine, predicted, color=_route_color(route))
        if route == "recompute":
            at = min(int(np.searchsorted(predicted, _NAMED_AT[depth])), fine.size - 1)
            side = -1 if depth == 1 else 1
            place = (float(fine[at]), float(predicted[at]))
            _name(ax, f"$L^{depth + 1}$, D = {depth}", place, route, side)
    _name(ax, f"the others: $L^2$, D = {_DEPTH}", (float(fine[-1]), 6e-5), "full", -1)
    for run in runs:
        _marks(ax, [run.length], [run.seconds], run.route)
    ax.set_ylim(1e-5, 1e3)
    ax.set_xlim(lengths[0] / 1.2, fine[-1])
    ax.set_xlabel("length L")
    ax.set_ylabel("seconds")
    ax.set_title("Time, by length")


#: Seconds at which the lines of recomputation have their names.
_NAMED_AT = {1: math.inf, 2: 50.0, 3: 300.0}


def _name(ax: Axes, label: str, place: tuple[float, float], route: str, side: int) -> None:
    """In the colour of a route, above to the left of a place (−1) or below to the right (1)."""
    ax.annotate(
        label, place, (5 * side, -4 * side), textcoords="offset points",
        ha="left" if side > 0 else "right", va="top" if side > 0 else "bottom",
        color=_route_color(route), fontsize=9,
    )  # fmt: skip


def _draw_depths(ax: Axes, length: int, deepest: int, runs: Iterable[Run], rate: float) -> None:
    depths = np.arange(1, deepest + 1)
    for route in attention.ROUTES:
        predicted = [_operations(route, length, int(D)) / rate for D in depths]
        ax.semilogy(depths, predicted, color=_route_color(route))
    for run in runs:
        _marks(ax, [run.depth], [run.seconds], run.route)
    ax.set_xticks(depths)
    ax.set_xlabel("layers D")
    ax.set_title(f"Time, by depth, L = {length}")


def _draw_memory(ax: Axes, lengths: Sequence[int]) -> None:
    fine = np.unique(np.geomspace(lengths[0], 4 * lengths[-1], 60).astype(int))
    for route in attention.ROUTES:
        predicted = [
            attention.cost(cast(Any, route), int(L), _DEPTH, d=_WIDTH).peak_bytes for L in fine
        ]
        ax.loglog(fine, predicted, color=_route_color(route))
    counted = [L for L in lengths if L <= 64]
    for route, found in ledgers(lengths=counted).items():
        _marks(ax, counted, found, route)
    for route, growth in (("full", "$L^2$"), ("streaming", "$L$"), ("recompute", "constant")):
        most = attention.cost(cast(Any, route), int(fine[-1]), _DEPTH, d=_WIDTH).peak_bytes
        _name(ax, growth, (float(fine[-1]), most), route, -1)
    ax.set_xlabel("length L")
    ax.set_ylabel("bytes")
    ax.set_title(f"Memory, D = {_DEPTH}")


# ---- one query as a recurrence ------------------------------------------------------------------


@dataclass(frozen=True)
class RecurrenceStates:
    """The inner recurrence of one query, after every key; from :func:`recurrence_states`.

    Attributes
    ----------
    logits, maximum, denominator : ndarray, shape (L,)
        x_i; m_i = max of x_0 … x_i; Σ_{j ≤ i} exp(x_j − m_i).
    output : ndarray, shape (L, 2)
        Numerator over denominator.
    full : ndarray, shape (2,)
        Attention of the query over all keys, with the whole row of weights.
    """

    logits: Array
    maximum: Array
    denominator: Array
    output: Array
    full: Array


def recurrence_states(*, length: int = 160, d: int = 8, seed: int = 4) -> RecurrenceStates:
    """Gaussian keys and values; asking the same at every step shows the state on its way."""
    rng = np.random.default_rng(seed)
    k, v = 1.2 * rng.standard_normal((length, d)), rng.standard_normal((length, 2))
    q = np.tile(rng.standard_normal(d), (length, 1))
    logits = k @ q[0]
    maximum = np.maximum.accumulate(logits)
    denominator = np.exp(np.logaddexp.accumulate(logits) - maximum)
    output = attention.causal(q, k, v, route="recompute")
    full = probmap.softmax(logits) @ v
    return RecurrenceStates(logits, maximum, denominator, output, np.asarray(full))


@figure(
    "attention-state",
    "Softmax attention is an RNN over keys",
    "One query meets one key after another and keeps a running maximum, a denominator and a "
    "numerator, whatever the length. Top: the logits and their maximum, which seldom moves. "
    "Middle: the denominator shrinks when it does. Bottom: their quotient is attention over the "
    "keys so far, and ends at what the whole row of weights gives (dots).",
)
def state(*, length: int = 160) -> Figure:
    """Maximum, denominator and output of the online softmax along the keys."""
    found = recurrence_states(length=length)
    steps = np.arange(1, length + 1)
    made = new_figure(8.6, 6.0)
    top, middle, bottom = made.subplots(3, 1, sharex=True, height_ratios=(1.3, 0.8, 1.3))
    top.vlines(steps, 0.0, found.logits, color=muted(0.45), linewidth=1.0)
    top.step(steps, found.maximum, where="post", color="C1", linewidth=2.2)
    top.set_title("Logits and their running maximum")
    middle.plot(steps, found.denominator, color="C2")
    middle.set_title("Denominator, relative to the maximum")
    middle.set_ylim(bottom=0.0)
    for i in range(2):
        bottom.plot(steps, found.output[:, i], color=("C0", "C3")[i])
        bottom.plot(length, found.full[i], "o", color=("C0", "C3")[i], markersize=8, clip_on=False)
    bottom.set_title("Output: two values")
    bottom.set_xlabel("keys so far")
    bottom.set_xlim(0, length)
    return made


# ---- influence ----------------------------------------------------------------------------------


@cache
def influences(*, length: int = 256, samples: int = 48, probes: int = 2) -> Influences:
    """Of all models, as they are before training."""
    return attention.influence_curves(attention.LAYERS, length, samples=samples, probes=probes)


@figure(
    "attention-influence",
    "How much of an earlier input is left",
    "Norms of Jacobians of the last output by inputs k steps earlier, relative to k = 1, before "
    "any training. Attention and linear attention do not fade: "
    "nothing is further away than anything else. RetNet, S5 and LRU fade at rates that were "
    "chosen. Of RWKV and Mamba half is gone after a step or two; RWKV's channels have rates of "
    "all sizes, so that what is left falls like a power of k.",
)
def influence(*, length: int = 256, samples: int = 48) -> Figure:
    """Influence curves of all models with their half-lives."""
    made = new_figure(9.6, 4.6)
    influences(length=length, samples=samples).plot(made.subplots())
    return made


# ---- memory -------------------------------------------------------------------------------------

_LOADS = (1, 2, 4, 8, 16, 32, 64)

#: Models whose state grows with N, with keys that recall can be asked by.
_SIZED = ("linear_attention", "retnet", "mamba")


def _layers(states: Mapping[str, Sequence[int]], d: int) -> dict[str, Layer]:
    """By model's name the N that its layers have; with two heads."""
    return {
        name if len(sizes) == 1 else f"{name}, N = {n}": attention.layer(
            cast(Any, name), d, heads=2, state=n
        )
        for name, sizes in states.items()
        for n in sizes
    }


@cache
def recall_by_load(*, loads: Sequence[int] = _LOADS, trials: int = 256) -> MemoryComparison:
    """Associative recall of all models with 16 channels and N = 16 numbers for each."""
    layers = _layers(dict.fromkeys(attention.LAYERS, (16,)), 16)
    return attention.memory_test(layers, loads=loads, trials=trials)


@cache
def recall_by_state(
    *,
    states: Sequence[int] = (4, 8, 16, 32),
    loads: Sequence[int] = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45),
    trials: int = 256,
) -> MemoryComparison:
    """Associative recall of models with 16 channels and N of `states` for each."""
    layers = _layers({"attention": (16,), **dict.fromkeys(_SIZED, states)}, 16)
    return attention.memory_test(layers, loads=loads, trials=trials)


@cache
def copying(*, loads: Sequence[int] = _LOADS, trials: int = 256) -> MemoryComparison:
    """Copying bits by a linear readout of the state, of all models with 8 channels, N = 4."""
    layers = _layers(dict.fromkeys(attention.LAYERS, (4,)), 8)
    return attention.memory_test(layers, task="copy", loads=loads, trials=trials)


@figure(
    "attention-memory",
    "What fits into a state",
    "Nothing is trained. Left: n keys with values are stored, and one is asked for. Attention "
    "finds it among any number; states of constant size fill up; RWKV, LRU and S5 can only guess "
    "among the values. Middle: number for number attention holds no more than linear attention, "
    "but its state grows. Right: bits read back from a state, about as many as it has numbers (8 "
    "to 40) at the most.",
)
def memory(*, states: Sequence[int] = (4, 8, 16, 32), trials: int = 256) -> Figure:
    """Recall against load and state, and copying against load."""
    made = new_figure(11.4, 4.6)
    left, middle, right = made.subplots(1, 3)
    recall_by_load(trials=trials).plot(left)
    recall_by_state(states=tuple(states), trials=trials).plot(middle, against="state")
    copying(trials=trials).plot(right)
    for ax, title in ((left, "Recall"), (middle, "Recall, by state"), (right, "Copy")):
        ax.get_legend().remove()
        ax.set_title(title)
    handles, labels = left.get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return made


# ---- a text -------------------------------------------------------------------------------------


@cache
def licence() -> bytes:
    """The Apache licence that comes with this package, white space made single."""
    files = metadata.files("resolvent") or []
    file = next(file for file in files if file.name == "Apache-2.0.txt")
    return b" ".join(Path(str(file.locate())).read_bytes().split())


@dataclass(frozen=True)
class Contexts:
    """A text with a code of the last bytes at every place; from :func:`contexts`.

    Attributes
    ----------
    text : bytes
    symbols : ndarray of int, shape (L,)
        The bytes, numbered among those that occur.
    codes : ndarray, shape (L, N)
        Unit vectors.
    """

    text: bytes
    symbols: Array
    codes: Array

    @property
    def queries(self) -> Array:
        """What was before the next byte."""
        return self.codes

    @property
    def keys(self) -> Array:
        """What was before this byte."""
        return np.concatenate([np.zeros_like(self.codes[:1]), self.codes[:-1]])

    @property
    def values(self) -> Array:
        """One-hot: this byte."""
        one_hot = np.eye(int(self.symbols.max()) + 1, dtype=self.codes.dtype)
        return np.asarray(one_hot[self.symbols])


def contexts(
    text: bytes, *, size: int = 64, past: int = 8, fade: float = 0.7, seed: int = 0
) -> Contexts:
    """c_t = Σ_{j < past} fade^j e_j(byte_{t−j}) / ‖·‖, with Gaussian e: alike where texts are."""
    symbols = np.unique(np.frombuffer(text, np.uint8), return_inverse=True)[1]
    vectors = np.random.default_rng(seed).standard_normal((past, int(symbols.max()) + 1, size))
    codes = np.zeros((len(text), size))
    for j in range(past):
        codes[j:] += fade**j * vectors[j][symbols[: len(text) - j]]
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    return Contexts(text, symbols, codes.astype(np.float32))


#: Of cosines: contexts that are alike are e^8 to e^32 times as likely as others.
_SHARPNESS = 32.0


# ---- where it looks -----------------------------------------------------------------------------

_MAPS: dict[str, Map] = {
    "softmax": probmap.softmax(),
    "1.5-entmax": probmap.entmax(alpha=1.5),
    "sparsemax": probmap.sparsemax(),
}

#: First and last words of the excerpt, and the phrase that it has twice.
_EXCERPT = (b"How to apply", b"boilerplate notice,")
_REPEATED = b"apply the Apache License to your work"


def excerpt_weights(*, length: int | None = None) -> tuple[bytes, dict[str, Array]]:
    """An excerpt with a phrase that comes twice, and by label the weights of guessing its bytes.

    Row r − 1 has the weights of bytes 0 … r − 1 in the guess at byte r.
    """
    whole = licence()
    start = whole.index(_EXCERPT[0])
    end = whole.index(_EXCERPT[1], start) + len(_EXCERPT[1])
    found = contexts(whole[start:end][:length])
    # Values that are the unit vectors make the output the weights.
    unit = np.eye(len(found.text), dtype=np.float32)
    weights = {
        label: attention.causal(
            found.queries, found.keys, unit, scale=_SHARPNESS, map=map_, route="full"
        )[:-1, :-1]
        for label, map_ in _MAPS.items()
    }
    return found.text, weights


@figure(
    "attention-text",
    "Attention that reads a licence",
    "Two sentences of the Apache licence, byte by byte. Each row guesses a byte; queries and keys "
    "are random codes of the eight bytes before, so that attention looks at what followed on the "
    "same bytes earlier. A phrase that comes again is a diagonal: it is copied. Softmax gives all "
    "other bytes a little; entmax and sparsemax give them 0 (blank).",
)
def text(*, length: int | None = None) -> Figure:
    """Weights of three maps over an excerpt."""
    sentence, weights = excerpt_weights(length=length)
    made = new_figure(11.4, 4.0)
    panels = made.subplots(1, len(weights), sharey=True)
    for ax, (label, p) in zip(panels, weights.items(), strict=True):
        plot_attention(p, [""] * len(p), ax)
        _name_phrase(ax, sentence)
        ax.set_title(f"{label}: {_share_above_zero(p):.0%} above 0")
    panels[0].set_ylabel("byte guessed")
    bar = made.colorbar(panels[0].images[0], ax=panels, shrink=0.8, pad=0.015)
    bar.set_ticks([1e-3, 1e-2, 1e-1, 1.0], labels=["≤ 0.001", "0.01", "0.1", "1"])
    bar.set_label("weight")
    return made


def _share_above_zero(p: Array) -> float:
    """Of the keys that a query has."""
    rows = len(p)
    return float(np.count_nonzero(p) / (rows * (rows + 1) / 2))


def _name_phrase(ax: Axes, sentence: bytes) -> None:
    """Marks the phrase on both axes, where it is first looked at and where it is guessed again."""
    size = len(_REPEATED)
    first, again = sentence.find(_REPEATED), sentence.rfind(_REPEATED) - 1
    ax.set_xticks([first], [f"“{_REPEATED.decode()}”"], rotation=0, ha="left")
    ax.set_yticks([])
    ax.axhspan(again - 0.5, again + size - 0.5, xmax=0.012, color="C1")
    ax.axvspan(first - 0.5, first + size - 0.5, ymax=0.012, color="C1")
    ax.set_xlabel("byte looked at")
    ax.tick_params(labelsize=8)


# ---- what it guesses ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Guesses:
    """Guesses at the next byte of a text, byte by byte; from :func:`guesses`.

    Attributes
    ----------
    right : dict of ndarray of bool, shape (L − 1,)
        By model.
    numbers : dict of int
        Numbers in the state at the end.
    """

    right: dict[str, Array]
    numbers: dict[str, int]

    def share(self, model: str) -> float:
        """Of all bytes."""
        return float(np.mean(self.right[model]))

    def blocks(self, model: str, count: int) -> Array:
        """Of each of so many equal parts."""
        parts = np.array_split(self.right[model], count)
        return np.array([part.mean() for part in parts])


_Reader = Callable[[Array, Array, Array], Any]

#: γ of the RetNet that reads: a context fades to 1/e in so many bytes.
_REACH = 200

_READERS: dict[str, _Reader] = {
    "attention": lambda q, k, v: attention.causal(_SHARPNESS * q, k, v),
    "linear_attention": lambda q, k, v: attention.linear.linear_attention(q, k, v),
    "retnet": lambda q, k, v: attention.linear.retnet(q, k, v, math.exp(-1.0 / _REACH)),
}


@cache
def guesses(
    *, size: int = 64, length: int | None = None, models: Sequence[str] = tuple(_READERS)
) -> Guesses:
    """How models with the same queries, keys and values read the licence.

    A guess is the largest entry of the output.
    """
    found = contexts(licence()[:length], size=size)
    q, k, v = found.queries, found.keys, found.values
    right = {
        name: read_only(_READERS[name](q, k, v)[:-1].argmax(axis=1) == found.symbols[1:])
        for name in models
    }
    L, symbols = v.shape
    numbers = dict.fromkeys(models, size * symbols) | {"attention": (size + symbols) * L}
    return Guesses(right, numbers)


def by_state(
    sizes: Sequence[int], *, models: Sequence[str] = tuple(_READERS), length: int | None = None
) -> dict[str, tuple[list[int], list[float]]]:
    """By model: numbers in the state, and the share of right guesses, for keys of these sizes."""
    found = [guesses(size=size, length=length, models=models) for size in sizes]
    return {
        name: ([each.numbers[name] for each in found], [each.share(name) for each in found])
        for name in models
    }


#: The models whose state does not grow.
_CONSTANT = ("linear_attention", "retnet")


@figure(
    "attention-reading",
    "Guessing the next byte, untrained",
    "The whole Apache licence, with the same random codes of eight bytes as queries and keys for "
    "all. Left: attention has 40% right in the first thousand bytes and 60% later, as there is "
    "more to copy from; the others do not gain. Right: against the numbers in the state. Longer "
    "keys help up to a point: weights that are cosines blur what exponentials single out.",
)
def reading(
    *,
    sizes: Sequence[int] = (16, 64),
    constant: Sequence[int] = (16, 32, 64, 128, 256),
    length: int | None = None,
) -> Figure:
    """Right guesses along a text and against the size of the state."""
    made = new_figure(10.0, 4.6)
    left, right = made.subplots(1, 2, sharey=True)
    found, count = guesses(length=length), 10
    for name in _READERS:
        block = len(found.right[name]) / count / 1000.0
        left.plot(block * (np.arange(count) + 0.5), found.blocks(name, count), **_model_look(name))
    curves = by_state(sizes, length=length)
    curves |= by_state(constant, models=_CONSTANT, length=length)
    for name, (numbers, shares) in curves.items():
        right.semilogx(numbers, shares, **_model_look(name))
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    left.set_ylim(0.0, 0.75)
    left.set_ylabel("next byte guessed right")
    left.set_xlabel("thousand bytes read")
    left.set_title("Along the text, keys of 64 numbers")
    right.set_xlabel("numbers in the state at the end")
    right.set_title("By the size of the state")
    made.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    return made


def _model_look(name: str) -> Mapping[str, Any]:
    return {
        "color": MODEL_COLORS.get(name) or muted(1.0),
        "linestyle": MODEL_STYLES.get(name, "-"),
        "marker": MODEL_MARKERS[name],
        "label": MODEL_LABELS.get(name, name),
    }
