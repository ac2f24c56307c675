"""Causal attention and linear recurrences against torch and NumPy.

A recurrence is compared with loops over its steps in vector operations: in NumPy with everything at
its step, and in both with what does not depend on the state computed for some steps at once, which
is these libraries' fastest loop. Where the state is a matrix there is also the form in chunks, done
by matrix products. All are written here, as neither library has any of them.

torch is optional, and named in the report where it is missing; bench_ssm.py says how to provide it.
Before version 2 it has no fused attention; the composition of its operations takes that place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from harness import Case, Missing, Run

import resolvent as rv

try:
    import torch
except ImportError:
    torch = None

#: What a recurrence may take beyond its result, in MiB.
_MEMORY = 16.0
#: What our attention may take beyond q, k, v and the result: copies of k and v, and in MiB for the
#: threads that the first call starts, and their tiles.
_COPIES = 2
_BESIDE = 4.0
#: How much more than in proportion to L² the time may grow.
_QUADRATIC = 1.25
#: Roundings, in random order, of a sum of n terms: this many times eps √n.
_ROUNDINGS = 8.0
#: Queries of a part of the composition cut by hand: the best of 64, 128, 256, 512. (torch gains
#: nothing from it.)
_TILE = 128
#: Entries of the states that the loops compute the coefficients of at once: the best of 2¹⁴ … 2¹⁷.
_NUMPY_ENTRIES, _TORCH_ENTRIES = 2**15, 2**16
#: Steps of a chunk, in the form by matrix products.
_CHUNK = 64


def cases(quick: bool) -> Iterator[Case | Missing]:
    """Attention by its routes; then the recurrences: with goals, by their forms, and gradients."""
    yield from _missing()
    goals = not quick
    yield _streaming(*((2, 512) if quick else (8, 8192)), goals)
    yield _growth((512, 1024) if quick else (4096, 8192, 16384), goals)
    yield _routes(2 if quick else 8, 256 if quick else 1024)
    for model in _MODELS:
        yield _recurrence(model(2048 if quick else 65536), goals)
    for model in _MODELS:
        yield _forms(model(256 if quick else 1024))
    for model in _MODELS:
        if torch is not None:
            yield _gradient(model(256 if quick else 2048))


def _missing() -> Iterator[Missing]:
    if torch is None:
        yield Missing("torch", "not installed")
    elif not _has_fused():
        reason = f"torch {torch.__version__} has none"
        yield Missing("torch's scaled_dot_product_attention", reason)


def _has_fused() -> bool:
    return hasattr(torch.nn.functional, "scaled_dot_product_attention")


def _torch_run(name: str, call: Callable[[], Any], threads: int = 2, **options: Any) -> list[Run]:
    """A run on threads that the harness sets in torch's OpenMP pool; none without torch."""
    return [] if torch is None else [Run(f"torch, {name}", call, threads, **options)]


def _rounding(dtype: str, terms: float) -> float:
    return _ROUNDINGS * float(np.finfo(dtype).eps) * terms**0.5


# ---- softmax attention ---------------------------------------------------------------------------


def _normal(seed: int, *shape: int, dtype: str = "float64") -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=dtype)


def _streaming(heads: int, length: int, goals: bool) -> Case:
    dim = 64
    q, k, v = _normal(0, 3, heads, length, dim, dtype="float32")
    ours = lambda: rv.attention.causal(q, k, v, scale=dim**-0.5)  # noqa: E731
    goal = 1.0 if goals else None
    runs = [Run("resolvent", ours, threads=2), Run("resolvent", ours, threads=1)]
    if torch is not None and _has_fused():
        call = lambda: fused_torch(q, k, v)  # noqa: E731
        runs += _torch_run("scaled_dot_product_attention", call, at_least=goal)
    runs += [
        *_torch_run(
            "composed, a head at a time, its L × L arrays kept",
            lambda: composed_torch(q, k, v),
            at_least=goal,
        ),
        Run(
            f"NumPy, {_TILE} queries at a time",
            lambda: composed_numpy(q, k, v, _TILE),
            threads=2,
        ),
    ]
    # The first rows are averages of a few values, the largest entries of the result; an error in a
    # logit of d terms is one in its weight.
    return Case(
        'Causal attention, route "streaming"',
        size=f"{heads} heads, L = {length:,}, d = {dim}, float32, two threads",
        runs=runs,
        count=heads * _pairs(length),
        unit="pairs",
        multiply_adds=2 * dim * heads * _pairs(length),
        dtype="float32",
        tolerance=_rounding("float32", dim),
        memory=_linear_memory(q.nbytes),
    )


def _linear_memory(bytes: int) -> float:
    """O(L d), in MiB, given the bytes of q."""
    return _COPIES * bytes / 2**20 + _BESIDE


def _pairs(length: int) -> float:
    """Of a query and a key that it sees."""
    return length * (length + 1) / 2


def fused_torch(q: Any, k: Any, v: Any) -> Any:
    attention = torch.nn.functional.scaled_dot_product_attention
    with torch.no_grad():
        return attention(*map(torch.from_numpy, (q, k, v)), is_causal=True).numpy()


def composed_torch(q: Any, k: Any, v: Any) -> Any:
    """Product, mask, softmax, product; all arrays but the result are there for every head."""
    q, k, v = map(torch.from_numpy, (q, k, v))
    length, dim = q.shape[1:]
    mask = torch.full((length, length), -torch.inf).triu_(1)
    logits, weights, out = torch.empty_like(mask), torch.empty_like(mask), torch.empty_like(v)
    with torch.no_grad():
        for head in range(len(q)):
            torch.addmm(mask, q[head], k[head].T, alpha=dim**-0.5, out=logits)
            torch.softmax(logits, -1, out=weights)
            torch.mm(weights, v[head], out=out[head])
    return out.numpy()


def composed_numpy(q: Any, k: Any, v: Any, size: int) -> Any:
    """The same for one head and `size` queries."""
    mask = np.triu(np.full((size, size), -np.inf, q.dtype), 1)
    scaled = q * q.dtype.type(q.shape[2] ** -0.5)
    out = np.empty_like(v)
    for head, rows in enumerate(scaled):
        for first in range(0, len(rows), size):
            end = first + size
            weights = rows[first:end] @ k[head, :end].T
            weights[:, first:] += mask
            weights -= weights.max(axis=1, keepdims=True)
            np.exp(weights, out=weights)
            total = weights.sum(axis=1, keepdims=True)
            np.divide(weights @ v[head, :end], total, out=out[head, first:end])
    return out


def _growth(lengths: tuple[int, ...], goals: bool) -> Case:
    heads, dim = 2, 64
    first = lengths[0]

    def task(length: int) -> Callable[[], Any]:
        q, k, v = _normal(0, 3, heads, length, dim, dtype="float32")
        return lambda: rv.attention.causal(q, k, v, scale=dim**-0.5)

    return Case(
        'Causal attention against L, route "streaming"',
        size=f"{heads} heads, d = {dim}, float32, two threads",
        runs=[
            Run(
                f"L = {length:,}",
                task(length),
                threads=2,
                comparable=False,
                count=heads * _pairs(length),
                at_most=_QUADRATIC * (length / first) ** 2 if goals and length > first else None,
            )
            for length in lengths
        ],
        unit="pairs",
        memory=_linear_memory(4 * heads * first * dim),
        versus="the first",
    )


def _routes(heads: int, length: int) -> Case:
    dim = 64
    q, k, v = _normal(0, 3, heads, length, dim)
    return Case(
        "Causal attention by its routes",
        size=f"{heads} heads, L = {length:,}, d = {dim}, float64, two threads",
        runs=[
            Run(
                route,
                lambda route=route: rv.attention.causal(q, k, v, scale=dim**-0.5, route=route),
                threads=2,
            )
            for route in ("streaming", "full", "cached", "recompute")
        ],
        count=heads * _pairs(length),
        unit="pairs",
        multiply_adds=2 * dim * heads * _pairs(length),
        tolerance=_rounding("float64", dim),
        # A logit and a weight for all pairs of a head are the measure.
        memory=2 * 8 * length**2 / 2**20,
    )


# ---- the recurrences -----------------------------------------------------------------------------


class Model:
    """S_t = a_t∘S_{t−1} + b_t and outputs that are read from S_t, as a task for all.

    `xp` is numpy or torch, and `a` the arguments as that one's arrays, by name.
    """

    name: ClassVar[str]
    #: Channels of the inputs, and states of each.
    channels, states = 64, 16
    #: Of torch's loops: a step is too small for two.
    threads: ClassVar[tuple[int, ...]] = (1,)
    #: What makes the loops that compute coefficients at once another algorithm than ours.
    caveat: ClassVar[str] = ""

    def __init__(self, length: int) -> None:
        self.length = length

    @cached_property
    def arrays(self) -> dict[str, Any]:
        """Arguments of ours by name."""
        raise NotImplementedError

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.states, self.channels

    def prepared(self, xp: Any, a: dict[str, Any]) -> dict[str, Any]:
        """The arguments with what is computed for the whole sequence."""
        return a

    def coefficients(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any]:
        """Of these steps: a, which may have axes of size 1 or lack the first, and b."""
        raise NotImplementedError

    def outputs(self, xp: Any, a: dict[str, Any], steps: slice, states: Any) -> Any:
        """Of these steps."""
        raise NotImplementedError

    @property
    def multiply_adds(self) -> float:
        """Of the recurrence and of what is read from it; exponentials are not counted."""
        return float(2 * self.length * self.states * self.channels)

    # ---- ours

    @property
    def size(self) -> str:
        sizes = f"{self.channels} channels × {self.states} states"
        return f"L = {self.length:,}, {sizes}, float64, two threads"

    @property
    def tolerance(self) -> float:
        return _rounding("float64", self.length)

    def ours(self, form: str = "chunked") -> Any:
        return getattr(rv.attention.linear, self.name)(**self.arrays, form=form)

    @cached_property
    def upstream(self) -> Any:
        return _normal(9, self.length, self.channels)

    def gradient(self) -> list[Any]:
        """Ours by each of the arrays."""
        call = getattr(rv.attention.linear, f"{self.name}_vjp")
        found = call(**self.arrays, g=self.upstream)
        return [getattr(found, name) for name in self.arrays]

    @property
    def memory(self) -> float:
        """What ours may take beyond its result, in MiB."""
        return _MEMORY

    # ---- the loops

    def block(self, entries: int) -> int:
        """Steps whose states are so many numbers."""
        return max(1, entries // int(np.prod(self.state_shape)))

    def loop_numpy(self, block: int) -> Any:
        """The coefficients of `block` steps at once, then the steps, in place."""
        a = self.prepared(np, self.arrays)
        y = np.empty((self.length, self.channels))
        state: Any = 0.0
        for first in range(0, self.length, block):
            steps = slice(first, first + block)
            decay, drive = self.coefficients(np, a, steps)
            for factor, b in zip(np.broadcast_to(decay, drive.shape), drive, strict=True):
                b += factor * state
                state = b
            y[steps] = self.outputs(np, a, steps, drive)
        return y

    @cached_property
    def tensors(self) -> dict[str, Any]:
        return {name: torch.from_numpy(array) for name, array in self.arrays.items()}

    def loop_torch(self, block: int) -> Any:
        """The same, each step one operation in place, compiled."""
        with torch.no_grad():
            a = self.prepared(torch, self.tensors)
            y = torch.empty(self.length, self.channels, dtype=torch.float64)
            state: Any = None
            for first in range(0, self.length, block):
                steps = slice(first, first + block)
                decay, drive = self.coefficients(torch, a, steps)
                state = torch.zeros_like(drive[0]) if state is None else state
                state = _compiled(_advance)(decay.expand(drive.shape), drive, state)
                y[steps] = self.outputs(torch, a, steps, drive)
        return y.numpy()

    def differentiable(self, a: dict[str, Any]) -> Any:
        """Outputs by a loop that torch can differentiate."""
        a = self.prepared(torch, a)
        decay, drive = self.coefficients(torch, a, slice(None))
        states = [drive[0]]
        for factor, b in zip(decay.expand(drive.shape)[1:], drive[1:], strict=True):
            states.append(torch.addcmul(b, factor, states[-1]))
        return self.outputs(torch, a, slice(None), torch.stack(states))

    def autograd(self, outputs: Callable[[dict[str, Any]], Any]) -> list[Any]:
        """Gradients by each of the arrays, by reverse-mode differentiation."""
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in self.tensors.items()}
        loss = (outputs(leaves) * torch.from_numpy(self.upstream)).sum()
        return [gradient.numpy() for gradient in torch.autograd.grad(loss, [*leaves.values()])]

    def peers(self, goals: bool) -> list[Run]:
        """Loops in NumPy and torch."""
        note = self.caveat and f" ({self.caveat})"
        few, more = self.block(_NUMPY_ENTRIES), self.block(_TORCH_ENTRIES)
        name = f"coefficients of {more} steps at once, in place, TorchScript{note}"
        goal = 3 if goals else None
        return [
            Run(
                "NumPy, step by step",
                lambda: self.loop_numpy(1),
                threads=2,
                at_least=10 if goals else None,
            ),
            Run(
                f"NumPy, coefficients of {few} steps at once{note}",
                lambda: self.loop_numpy(few),
                threads=2,
            ),
            *itertools.chain.from_iterable(
                _torch_run(name, lambda: self.loop_torch(more), threads, at_least=goal)
                for threads in self.threads
            ),
        ]


def _advance(decay, drive, state):  # type: ignore[no-untyped-def]
    """In place of b all S; returns the last. TorchScript takes what has no type for a tensor."""
    states = drive.unbind(0)
    for i, factor in enumerate(decay.unbind(0)):
        state = torch.addcmul(states[i], factor, state, out=states[i])
    return state


_scripts: dict[Callable[..., Any], Any] = {}


def _compiled(function: Callable[..., Any]) -> Any:
    """The function as TorchScript, compiled once."""
    if function not in _scripts:
        _scripts[function] = torch.jit.script(function)
    return _scripts[function]


# ---- states that are matrices --------------------------------------------------------------------


class Matrix(Model):
    """S_t = a_t S_{t−1} + k_t v_tᵀ and o_t = S_tᵀ q_t."""

    def heads(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any, Any, Any]:
        """q, k, v of these steps, and the logarithms of their decays."""
        raise NotImplementedError

    def coefficients(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any]:
        _, k, v, log_decay = self.heads(xp, a, steps)
        return xp.exp(log_decay)[:, None, None], k[:, :, None] * v[:, None, :]

    def outputs(self, xp: Any, a: dict[str, Any], steps: slice, states: Any) -> Any:
        q = self.heads(xp, a, steps)[0]
        return (q[:, None, :] @ states)[:, 0]

    def chunked(self, xp: Any, a: dict[str, Any]) -> Any:
        """Within chunks by their weights e^{l_t − l_i}(q_t·k_i), between them by the states."""
        q, k, v, log_decay = (
            x.reshape(-1, _CHUNK, *x.shape[1:]) for x in self.heads(xp, a, slice(None))
        )
        total = log_decay.cumsum(1)
        seen = xp.tril(xp.ones((_CHUNK, _CHUNK), dtype=total.dtype))
        weights = xp.exp((total[:, :, None] - total[:, None, :]) * seen) * seen
        inside = ((q @ k.swapaxes(1, 2)) * weights) @ v
        added = k.swapaxes(1, 2) @ (xp.exp(total[:, -1:] - total)[:, :, None] * v)
        before = [xp.zeros_like(added[0])]
        for factor, b in zip(xp.exp(total[:-1, -1]), added[:-1], strict=True):
            before.append(factor * before[-1] + b)
        y = inside + (xp.exp(total)[:, :, None] * q) @ xp.stack(before)
        return y.reshape(self.length, self.channels)

    def chunked_torch(self) -> Any:
        with torch.no_grad():
            return self.chunked(torch, self.tensors).numpy()

    def peers(self, goals: bool) -> list[Run]:
        return [
            *super().peers(goals),
            Run(f"NumPy, chunks of {_CHUNK}", lambda: self.chunked(np, self.arrays), threads=2),
            *_torch_run(f"chunks of {_CHUNK}", self.chunked_torch),
        ]


class LinearAttention(Matrix):
    name = "linear_attention"

    @cached_property
    def arrays(self) -> dict[str, Any]:
        q, k = _normal(1, 2, self.length, self.states)
        return {"q": q, "k": k, "v": _normal(2, self.length, self.channels)}

    def heads(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any, Any, Any]:
        q, k, v = (a[name][steps] for name in "qkv")
        return q, k, v, xp.zeros_like(q[:, 0])


class RetNet(LinearAttention):
    name = "retnet"

    @cached_property
    def arrays(self) -> dict[str, Any]:
        return {**super().arrays, "decay": np.array(31 / 32)}

    def heads(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any, Any, Any]:
        q, k, v, none = super().heads(xp, a, steps)
        return q, k, v, none + xp.log(a["decay"])


class Mamba2(Matrix):
    name = "mamba2"

    @cached_property
    def arrays(self) -> dict[str, Any]:
        B, C = _normal(1, 2, self.length, self.states)
        return {
            "x": _normal(2, self.length, self.channels),
            "dt": np.random.default_rng(3).uniform(0.001, 0.1, self.length),
            "A": np.array(-1.0),
            "B": B,
            "C": C,
        }

    @property
    def memory(self) -> float:
        """Ours multiplies the inputs by their steps beforehand."""
        return super().memory + self.arrays["x"].nbytes / 2**20

    def heads(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any, Any, Any]:
        dt = a["dt"][steps]
        return a["C"][steps], dt[:, None] * a["B"][steps], a["x"][steps], dt * a["A"]


# ---- states that are vectors ---------------------------------------------------------------------


class Mamba(Model):
    """Where the coefficients cost as much as the steps, torch may compute them on two threads."""

    name = "mamba"
    threads = (2, 1)

    @cached_property
    def arrays(self) -> dict[str, Any]:
        B, C = _normal(1, 2, self.length, self.states)
        rates = -np.arange(1.0, self.states + 1)
        return {
            "u": _normal(2, self.length, self.channels),
            "dt": np.random.default_rng(3).uniform(0.001, 0.1, (self.length, self.channels)),
            "A": np.tile(rates, (self.channels, 1)),
            "B": B,
            "C": C,
        }

    def coefficients(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any]:
        u, dt, B = (a[name][steps] for name in ("u", "dt", "B"))
        return xp.exp(dt[:, :, None] * a["A"]), (dt * u)[:, :, None] * B[:, None, :]

    def outputs(self, xp: Any, a: dict[str, Any], steps: slice, states: Any) -> Any:
        return (states @ a["C"][steps][:, :, None])[:, :, 0]

    @property
    def multiply_adds(self) -> float:
        """h ← a h + b, the exponent of a and b's product with B are one each, y another."""
        return float(4 * self.length * self.states * self.channels)


class Lru(Model):
    """One complex state of N numbers, which all channels enter and are read from."""

    name = "lru"
    slowest = 0.001

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.states,)

    @cached_property
    def arrays(self) -> dict[str, Any]:
        return {
            "u": _normal(1, self.length, self.channels),
            "eigenvalues": np.exp(self._rates),
            "B": self._complex(2, self.states, self.channels),
            "C": self._complex(3, self.channels, self.states),
        }

    @property
    def tolerance(self) -> float:
        """B is multiplied by √(1 − abs(λ)²) or e^z − 1, where the slowest rate cancels digits."""
        return super().tolerance / self.slowest

    @property
    def _rates(self) -> Any:
        return -np.geomspace(self.slowest, 0.1, self.states) + 1j * np.linspace(0, 3, self.states)

    def _complex(self, seed: int, *shape: int) -> Any:
        re, im = _normal(seed, 2, *shape)
        return re + 1j * im

    def discrete(self, xp: Any, a: dict[str, Any]) -> tuple[Any, Any]:
        """λ, and B as it acts on an input."""
        weight = (1 - xp.abs(a["eigenvalues"]) ** 2) ** 0.5
        return a["eigenvalues"], weight[:, None] * a["B"]

    def prepared(self, xp: Any, a: dict[str, Any]) -> dict[str, Any]:
        factor, B = self.discrete(xp, a)
        return {**a, "factor": factor, "into": B.swapaxes(0, 1), "from": a["C"].swapaxes(0, 1)}

    def coefficients(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any]:
        """The real inputs are not made complex: two real products."""
        u, B = a["u"][steps], a["into"]
        drive = u @ B.real + 1j * (u @ B.imag)
        return a["factor"], drive

    def outputs(self, xp: Any, a: dict[str, Any], steps: slice, states: Any) -> Any:
        return states.real @ a["from"].real - states.imag @ a["from"].imag

    @property
    def multiply_adds(self) -> float:
        """Real ones: 2 for an entry of B, as for one of C's real part; 4 for a product with λ."""
        return float(self.length * self.states * (4 * self.channels + 4))


class S5(Lru):
    name = "s5"

    @cached_property
    def arrays(self) -> dict[str, Any]:
        step = np.geomspace(0.5, 2.0, self.states)
        return {**super().arrays, "eigenvalues": self._rates / step, "step": step}

    def discrete(self, xp: Any, a: dict[str, Any]) -> tuple[Any, Any]:
        factor = xp.exp(a["step"] * a["eigenvalues"])
        return factor, ((factor - 1) / a["eigenvalues"])[:, None] * a["B"]


class Rwkv(Model):
    """Numerator and denominator of the past, S_{t−1}, as what step t reads.

    e^k itself is out of range for k > 709, and a denominator soon after k < −709; ours and the
    loop step by step take all exponents relative to the largest.
    """

    name = "rwkv"
    states = 2
    caveat = "fails for large abs(k)"

    @cached_property
    def arrays(self) -> dict[str, Any]:
        k, v = _normal(1, 2, self.length, self.channels)
        return {
            "w": np.geomspace(0.001, 1.0, self.channels),
            "u": _normal(2, self.channels),
            "k": k,
            "v": v,
        }

    def prepared(self, xp: Any, a: dict[str, Any]) -> dict[str, Any]:
        weights = xp.exp(a["k"])
        added = xp.stack([weights * a["v"], weights], 1)
        return {
            **a,
            "decay": xp.exp(-a["w"]),
            "before": xp.vstack([xp.zeros_like(added[:1]), added[:-1]]),
            "now": added * xp.exp(a["u"]),
        }

    def coefficients(self, xp: Any, a: dict[str, Any], steps: slice) -> tuple[Any, Any]:
        # The loop writes to what it gets.
        return a["decay"], a["before"][steps] + 0.0

    def outputs(self, xp: Any, a: dict[str, Any], steps: slice, states: Any) -> Any:
        sums = states + a["now"][steps]
        return sums[:, 0] / sums[:, 1]

    @property
    def multiply_adds(self) -> float:
        """Most of the work is exponentials and a division."""
        return 0.0

    def peers(self, goals: bool) -> list[Run]:
        _, *others = super().peers(False)
        return [
            Run(
                "NumPy, step by step",
                lambda: wkv_numpy(**self.arrays),
                threads=2,
                at_least=10 if goals else None,
            ),
            *_torch_run(
                "step by step, TorchScript",
                lambda: wkv_torch(self.tensors),
                threads=1,
                at_least=3 if goals else None,
            ),
            *others,
        ]


def wkv_numpy(w: Any, u: Any, k: Any, v: Any) -> Any:
    """With the largest exponent so far kept beside the sums, as the paper's code has it."""
    y, now = np.empty_like(v), k + u
    numerator, denominator = np.zeros_like(w), np.zeros_like(w)
    largest = np.full_like(w, -np.inf)
    for t in range(len(k)):
        top = np.maximum(largest, now[t])
        past, own = np.exp(largest - top), np.exp(now[t] - top)
        np.divide(past * numerator + own * v[t], past * denominator + own, out=y[t])
        faded = largest - w
        largest = np.maximum(faded, k[t])
        past, own = np.exp(faded - largest), np.exp(k[t] - largest)
        numerator = past * numerator + own * v[t]
        denominator = past * denominator + own
    return y


def wkv_torch(a: dict[str, Any]) -> Any:
    with torch.no_grad():
        out = torch.empty_like(a["v"])
        largest = torch.full_like(a["w"], -torch.inf)
        sums = torch.zeros_like(a["w"]), torch.zeros_like(a["w"])
        _compiled(_wkv)(a["w"], a["k"] + a["u"], a["k"], a["v"], largest, *sums, out)
    return out.numpy()


def _wkv(w, now, k, v, largest, numerator, denominator, out):  # type: ignore[no-untyped-def]
    """The loop of `wkv_numpy`."""
    nows, keys, values, outs = now.unbind(0), k.unbind(0), v.unbind(0), out.unbind(0)
    for t in range(len(keys)):
        top = torch.maximum(largest, nows[t])
        past, own = (largest - top).exp_(), (nows[t] - top).exp_()
        total = torch.addcmul(own, past, denominator)
        torch.div(past.mul_(numerator).addcmul_(own, values[t]), total, out=outs[t])
        faded = largest - w
        largest = torch.maximum(faded, keys[t])
        past, own = faded.sub_(largest).exp_(), (keys[t] - largest).exp_()
        numerator.mul_(past).addcmul_(own, values[t])
        denominator.mul_(past).add_(own)


_MODELS: tuple[type[Model], ...] = (Mamba, LinearAttention, RetNet, Mamba2, Rwkv, Lru, S5)


# ---- cases of the recurrences --------------------------------------------------------------------


def _recurrence(model: Model, goals: bool) -> Case:
    result = model.ours()
    return Case(
        f"Recurrence, {model.name}",
        size=model.size,
        runs=[
            Run("resolvent, chunked", model.ours, threads=2),
            Run("resolvent, chunked", model.ours, threads=1),
            Run("resolvent, recurrent", lambda: model.ours("recurrent"), threads=2),
            *model.peers(goals),
        ],
        count=model.length,
        unit="steps",
        multiply_adds=model.multiply_adds,
        bytes=sum(array.nbytes for array in model.arrays.values()) + result.nbytes,
        tolerance=model.tolerance,
        memory=model.memory,
    )


def _forms(model: Model) -> Case:
    """At a length where the weights of all pairs of steps can be had."""
    return Case(
        f"Forms of a recurrence, {model.name}",
        size=model.size,
        runs=[
            Run(form, lambda form=form: model.ours(form), threads=2)
            for form in ("chunked", "recurrent", "parallel")
        ],
        count=model.length,
        unit="steps",
        tolerance=model.tolerance,
        memory=model.memory,
    )


def _gradient(model: Model) -> Case:
    """Each gradient relative to its own largest entry, which decides the tolerance."""
    scales = [np.abs(gradient).max() for gradient in model.gradient()]

    def flat(gradients: list[Any]) -> Any:
        return np.concatenate([np.ravel(g / s) for g, s in zip(gradients, scales, strict=True)])

    peers = {"loop": model.differentiable}
    if isinstance(model, Matrix):
        peers[f"chunks of {_CHUNK}"] = lambda a: model.chunked(torch, a)
    return Case(
        f"Gradient of a recurrence, {model.name}",
        size=model.size,
        runs=[
            Run("resolvent, chunked", lambda: flat(model.gradient()), threads=2),
            *(
                Run(
                    f"torch autograd, {name}",
                    lambda outputs=outputs: flat(model.autograd(outputs)),
                    threads=2,
                )
                for name, outputs in peers.items()
            ),
        ],
        count=model.length,
        unit="steps",
        tolerance=model.tolerance,
    )
