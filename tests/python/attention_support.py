"""The linear recurrences that the tests run over, and comparisons with stated tolerances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hippo_support import EPS, EPS32, assert_bits, assert_within

import resolvent as rv
from oracles import attention as oracle

__all__ = ["EPS", "EPS32", "FORMS", "MODELS", "Model", "assert_bits", "assert_within", "eps_of"]

FORMS = ("recurrent", "parallel", "chunked")
ROUTES = ("full", "cached", "streaming", "recompute")

#: In eps, times what `causal_error` says that rounding to one eps can do.
ATTENTION = 1.0
#: In eps, per step and state, times the sum of the absolute terms of an output. Steps shrink by
#: at most e^-2 here, so that the exponents of their products are off by less than that too.
RECURRENCE = 1.0
#: The same for gradients, relative to the largest entry: two passes, and products of two outputs.
GRADIENT = 4.0

SIZES = {"N": 4, "D": 3, "P": 3, "c": 3, "h": 3, "g": 2, "3": 3}


def eps_of(dtype):
    return float(np.finfo(dtype).eps)


# ---------------------------------------------------------------------------------------------
# What inputs are drawn from.


def normal(rng, shape):
    return rng.standard_normal(shape)


def positive(rng, shape):
    return rng.uniform(0.1, 1.0, shape)


def away_from_zero(rng, shape):
    """Where elu has no second derivative, differences would not have their order."""
    x = rng.standard_normal(shape)
    return x + np.copysign(0.1, x)


def decays(rng, shape):
    return rng.uniform(0.3, 0.99, shape)


def negative(rng, shape):
    return -rng.uniform(0.1, 2.0, shape)


def complex_normal(rng, shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def in_the_disc(rng, shape):
    return rng.uniform(0.2, 0.95, shape) * np.exp(1j * rng.uniform(-np.pi, np.pi, shape))


def in_the_left_half_plane(rng, shape):
    return -rng.uniform(0.1, 1.0, shape) + 1j * rng.uniform(-3, 3, shape)


def weighed(rng, shape):
    """A numerator of any sign, a denominator, an exponent."""
    return np.stack([normal(rng, shape[:-2] + shape[-1:]), positive(rng, shape[:-2] + shape[-1:]),
                     normal(rng, shape[:-2] + shape[-1:])], axis=-2)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Model:
    """A recurrence with options; L is time in the letters of the axes, the rest are SIZES."""

    name: str
    function: str
    axes: dict[str, str]
    draws: dict[str, Callable]
    initial: tuple[tuple[str, Callable], ...]  # axes and draw of every part of the state
    options: dict = field(default_factory=dict)

    def __str__(self):
        return self.name

    def inputs(self, length, batch=(), *, seed=0, dtype=np.float64, sizes=SIZES):
        """Random inputs by name; what has a time axis has the batch axes too."""
        rng = np.random.default_rng([seed, length])
        found = {}
        for name, axes in self.axes.items():
            lead = batch if "L" in axes else ()
            shape = (*lead, *(length if a == "L" else sizes[a] for a in axes))
            found[name] = cast(self.draws.get(name, normal)(rng, shape), dtype)
        return found

    def start(self, batch=(), *, seed=0, dtype=np.float64, sizes=SIZES):
        """A random state."""
        rng = np.random.default_rng([seed, 77])
        parts = tuple(
            cast(draw(rng, (*batch, *(sizes[a] for a in axes))), dtype)
            for axes, draw in self.initial
        )
        return parts if len(parts) > 1 else parts[0]

    def __call__(self, inputs, **options):
        return getattr(rv.attention.linear, self.function)(**inputs, **self.options, **options)

    def vjp(self, inputs, g, **options):
        call = getattr(rv.attention.linear, self.function + "_vjp")
        return call(**inputs, g=g, **self.options, **options)

    def exact(self, inputs, initial=None):
        """The oracle's outputs and last state."""
        return getattr(oracle, self.function)(**inputs, **self.options, initial=initial)

    def size(self, inputs, initial=None):
        """The sums of the absolute terms of both."""
        return getattr(oracle, self.function + "_size")(**inputs, **self.options, initial=initial)

    def bound(self, inputs, initial=None, dtype=np.float64):
        """Of errors of the outputs, and of the last state."""
        y, state = self.size(inputs, initial)
        length = y.shape[-2]
        factor = RECURRENCE * eps_of(dtype) * (length + max(SIZES.values()))
        floor = length * float(np.finfo(dtype).tiny)
        return factor * y + floor, tuple(factor * s + floor for s in self.parts(state))

    def parts(self, state):
        """The numbers of a state that have one meaning only, as a tuple of arrays."""
        if isinstance(state, tuple):
            return state
        if self.function != "rwkv":
            return (state,)
        return tuple(state[..., i, :] * np.exp(oracle.wide(state[..., 2, :])) for i in range(2))

    def output_width(self, inputs):
        return self.exact(inputs)[0].shape[-1]


def cast(array, dtype):
    kind = np.result_type(dtype, np.complex64) if np.iscomplexobj(array) else dtype
    return np.asarray(array, dtype=kind, order="C")


def _linear(name, *, positive_rows=False, **options):
    rows = positive if positive_rows else away_from_zero
    parts = (("ND", normal), ("N", positive)) if options.get("normalize") else (("ND", normal),)
    return Model(name, "linear_attention", {"q": "LN", "k": "LN", "v": "LD"},
                 {"q": rows, "k": rows}, parts, options)  # fmt: skip


def _lru(name, *, outputs="h", through=True, **options):
    axes = {"u": "Lh", "eigenvalues": "N", "B": "Nh", "C": outputs + "N"}
    draws = {"eigenvalues": in_the_disc, "B": complex_normal, "C": complex_normal}
    return Model(name, "lru", axes | ({"D": "h"} if through else {}), draws,
                 (("N", complex_normal),), options)  # fmt: skip


def _s5(name, *, outputs="h", through=True, step="N", **options):
    axes = {"u": "Lh", "eigenvalues": "N", "B": "Nh", "C": outputs + "N", "step": step}
    draws = {"eigenvalues": in_the_left_half_plane, "B": complex_normal, "C": complex_normal,
             "step": positive}  # fmt: skip
    return Model(name, "s5", axes | ({"D": "h"} if through else {}), draws,
                 (("N", complex_normal),), options)  # fmt: skip


def _mamba(name, *, through=True, **options):
    axes = {"u": "Lc", "dt": "Lc", "A": "cN", "B": "LN", "C": "LN"}
    return Model(name, "mamba", axes | ({"D": "c"} if through else {}),
                 {"dt": positive, "A": negative}, (("cN", normal),), options)  # fmt: skip


def _mamba2(name, *, through=True):
    axes = {"x": "LP", "dt": "L", "A": "", "B": "LN", "C": "LN"}
    return Model(name, "mamba2", axes | ({"D": ""} if through else {}),
                 {"dt": positive, "A": negative}, (("NP", normal),))  # fmt: skip


MODELS = (
    _linear("linear_attention"),
    _linear("linear_attention elu", feature="elu"),
    _linear("linear_attention normalized", positive_rows=True, normalize=True),
    _linear("linear_attention elu normalized", feature="elu", normalize=True),
    Model("retnet", "retnet", {"q": "LN", "k": "LN", "v": "LD", "decay": ""}, {"decay": decays},
          (("ND", normal),)),
    _mamba2("mamba2"),
    _mamba2("mamba2 without D", through=False),
    _mamba("mamba"),
    _mamba("mamba without D", through=False),
    _mamba("mamba zoh", rule="zoh"),
    Model("rwkv", "rwkv", {"w": "c", "u": "c", "k": "Lc", "v": "Lc"}, {"w": positive},
          (("3c", weighed),)),
    _lru("lru"),
    _lru("lru unnormalized, fewer outputs", outputs="g", through=False, normalize=False),
    _s5("s5"),
    _s5("s5 of pairs, fewer outputs", outputs="g", through=False, conjugate=True),
    _s5("s5 bilinear, one step", step="", rule="bilinear"),
    _s5("s5 backward", rule="backward"),
    _s5("s5 mamba", rule="mamba"),
)  # fmt: skip
#: One of each function.
PLAIN = tuple({model.function: model for model in reversed(MODELS)}.values())[::-1]
