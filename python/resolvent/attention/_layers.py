"""Layers with fixed random parameters: the token mixers of the literature on one footing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real,
    count_parameter,
    name_parameter,
    read_only,
)
from resolvent._html import table
from resolvent.attention import linear
from resolvent.attention._causal import causal
from resolvent.attention.linear._common import Form, form_parameter

__all__ = ["LAYERS", "Layer", "LayerName", "inverse_softplus", "layer", "softplus", "split_heads"]

LayerName = Literal[
    "attention", "linear_attention", "retnet", "rwkv", "lru", "s5", "mamba", "mamba2"
]
LAYERS: tuple[str, ...] = get_args(LayerName)

#: Entries of the largest array of scores that the adjoint of attention makes at a time.
_SCORES = 1 << 22

#: Mamba, Mamba-2 and S5 start with steps that are log-uniform between these.
_STEPS = (1e-3, 1e-1)

#: The ring that LRU's eigenvalues start in.
_RING = (0.9, 0.999)


# ---- scalar functions ---------------------------------------------------------------------------


def softplus(x: Array) -> Array:
    """log(1 + eˣ), without overflow."""
    return np.asarray(np.logaddexp(np.zeros((), x.dtype), x))


def inverse_softplus(y: Array) -> Array:
    """x of y = log(1 + eˣ), y > 0."""
    return np.asarray(np.log(np.expm1(y)))


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


# ---- from channels to heads and back ------------------------------------------------------------


def split_heads(x: Array, heads: int) -> Array:
    """(..., L, heads·n) → (..., heads, L, n)."""
    return np.asarray(x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).swapaxes(-3, -2))


def _merge_heads(x: Array) -> Array:
    """(..., heads, L, n) → (..., L, heads·n)."""
    rows = x.swapaxes(-3, -2)
    return np.asarray(rows.reshape(*rows.shape[:-2], rows.shape[-2] * rows.shape[-1]))


class _Layout(NamedTuple):
    """How the channels of a projection stand in the core's argument."""

    forward: Callable[[Array, int], Array]
    back: Callable[[Array], Array]


_LAYOUTS = {
    "channels": _Layout(lambda x, _: x, lambda x: x),
    "heads": _Layout(split_heads, _merge_heads),
    "head steps": _Layout(lambda x, _: x.swapaxes(-1, -2), lambda x: x.swapaxes(-1, -2)),
    "shared": _Layout(lambda x, _: x[..., np.newaxis, :, :], lambda x: x[..., 0, :, :]),
}


# ---- what a model is made of --------------------------------------------------------------------


@dataclass(frozen=True)
class _Projection:
    """One argument of a core: softplus(u W + b) where `positive`, u W else, u where not `weighted`.

    `width` says how many channels it has, of "d", "keys" (heads·state), "heads", "state".
    """

    argument: str
    width: str = "d"
    layout: str = "heads"
    positive: bool = False
    weighted: bool = True

    def forward(self, u: Array, p: Mapping[str, Array], heads: int) -> Array:
        return _LAYOUTS[self.layout].forward(self._activated(u, p), heads)

    def back(self, g: Array, u: Array, p: Mapping[str, Array]) -> Array:
        """The gradient by u, from the one by the argument."""
        channels = _LAYOUTS[self.layout].back(g)
        if self.positive:
            channels = channels * _sigmoid(self._linear(u, p))
        return channels @ p[f"W_{self.argument}"].T if self.weighted else channels

    def _activated(self, u: Array, p: Mapping[str, Array]) -> Array:
        return softplus(self._linear(u, p)) if self.positive else self._linear(u, p)

    def _linear(self, u: Array, p: Mapping[str, Array]) -> Array:
        if not self.weighted:
            return u
        projected = u @ p[f"W_{self.argument}"]
        return projected + p[f"b_{self.argument}"] if self.positive else projected


@dataclass(frozen=True)
class _Mixer:
    """Projections of the input, a core, and its fixed arguments.

    `heads` is whether the model has heads, `state` whether its state has a size to choose, and
    `numbers` the real numbers of its state by (d, heads, state, length).
    """

    core: Callable[..., Any]
    vjp: Callable[..., Any]
    projections: tuple[_Projection, ...]
    numbers: Callable[[int, int, int, int], int]
    fixed: tuple[str, ...] = ()
    heads: bool = True
    state: bool = True
    gated: bool = False

    def widths(self, d: int, heads: int, state: int) -> dict[str, int]:
        """The channels of every projection with a weight, by argument."""
        sizes = {"d": d, "keys": heads * state, "heads": heads, "state": state}
        found = {p.argument: sizes[p.width] for p in self.projections if p.weighted}
        return {**found, "r": d} if self.gated else found


# ---- attention as a core ------------------------------------------------------------------------

_ROUTES = {"recurrent": "cached", "parallel": "full", "chunked": "streaming"}


def _attention(q: Array, k: Array, v: Array, *, form: str, **state: Any) -> Any:
    return causal(q, k, v, route=cast(Any, _ROUTES[form]), scale=1.0 / math.sqrt(q.shape[-1]))


class _AttentionGradients(NamedTuple):
    q: Array
    k: Array
    v: Array


def _attention_vjp(q: Array, k: Array, v: Array, *, g: Array) -> _AttentionGradients:
    """The gradients of Σ g⊙o by q, k and v, by the matrix of scores.

    P = softmax(s q kᵀ): dv = Pᵀg, dP = g vᵀ, dS = P∘(dP − rowsum(P∘dP)), dq = s dS k,
    dk = s dSᵀ q. Queries whose g vanishes are left out, the others are taken in blocks, so that no
    more than `_SCORES` scores are held: O(R·L·d) time for R queries.
    """
    length, scale = q.shape[-2], 1.0 / math.sqrt(q.shape[-1])
    by_q, by_k, by_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    if g.size == 0:
        return _AttentionGradients(by_q, by_k, by_v)
    rows = np.flatnonzero(g.any(axis=-1).reshape(-1, length).any(axis=0))
    size = max(1, _SCORES // (math.prod(q.shape[:-2]) * length))
    for start in range(0, rows.size, size):
        block = rows[start : start + size]
        P = _weights(q[..., block, :], k, block, scale)
        upstream = g[..., block, :]
        by_v += P.swapaxes(-1, -2) @ upstream
        dP = upstream @ v.swapaxes(-1, -2)
        dS = scale * P * (dP - (P * dP).sum(axis=-1, keepdims=True))
        by_q[..., block, :] = dS @ k
        by_k += dS.swapaxes(-1, -2) @ q[..., block, :]
    return _AttentionGradients(by_q, by_k, by_v)


def _weights(q: Array, k: Array, places: Array, scale: float) -> Array:
    """The rows of softmax(s q kᵀ) at these places, keys after them left out."""
    scores = scale * (q @ k.swapaxes(-1, -2))
    later = np.arange(k.shape[-2]) > places[:, np.newaxis]
    scores = np.where(later, -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


# ---- the models ---------------------------------------------------------------------------------

_Q, _K = _Projection("q", "keys"), _Projection("k", "keys")
_V = _Projection("v")
_ELU: dict[str, Any] = {"feature": "elu", "normalize": True}
_ZOH: dict[str, Any] = {"rule": "zoh", "conjugate": True}
_U = _Projection("u", layout="channels", weighted=False)

_MIXERS = {
    "attention": _Mixer(
        _attention, _attention_vjp, (_Projection("q"), _Projection("k"), _V),
        lambda d, heads, state, length: 2 * d * length, state=False,
    ),
    "linear_attention": _Mixer(
        partial(linear.linear_attention, **_ELU), partial(linear.linear_attention_vjp, **_ELU),
        (_Q, _K, _V), lambda d, heads, state, length: state * d + heads * state,
    ),
    "retnet": _Mixer(
        linear.retnet, linear.retnet_vjp, (_Q, _K, _V),
        lambda d, heads, state, length: state * d, ("decay",),
    ),
    "rwkv": _Mixer(
        linear.rwkv, linear.rwkv_vjp,
        (_Projection("k", layout="channels"), _Projection("v", layout="channels")),
        lambda d, heads, state, length: 3 * d, ("w", "u"), heads=False, state=False, gated=True,
    ),
    "lru": _Mixer(
        linear.lru, partial(linear.lru_vjp, D=None), (_U,),
        lambda d, heads, state, length: 2 * state, ("eigenvalues", "B", "C"), heads=False,
    ),
    "s5": _Mixer(
        partial(linear.s5, **_ZOH), partial(linear.s5_vjp, D=None, **_ZOH),
        (_U,),
        lambda d, heads, state, length: 2 * state, ("eigenvalues", "B", "C", "step"), heads=False,
    ),
    "mamba": _Mixer(
        linear.mamba, partial(linear.mamba_vjp, D=None),
        (
            _Projection("u", layout="channels"),
            _Projection("dt", layout="channels", positive=True),
            _Projection("B", "state", "channels"),
            _Projection("C", "state", "channels"),
        ),
        lambda d, heads, state, length: state * d, ("A",), heads=False,
    ),
    "mamba2": _Mixer(
        linear.mamba2, partial(linear.mamba2_vjp, D=None),
        (
            _Projection("x"),
            _Projection("dt", "heads", "head steps", positive=True),
            _Projection("B", "state", "shared"),
            _Projection("C", "state", "shared"),
        ),
        lambda d, heads, state, length: state * d, ("A",),
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Layer(ReadOnlyFields):
    """A token mixer with its projections and fixed parameters; :func:`layer` makes it.

    Parameters
    ----------
    name : str
        One of :data:`LAYERS`.
    d : int
        Channels of input and output.
    heads : int
        1 for models that have none.
    state : int
        N, see :func:`layer`; 0 for "attention" and "rwkv", where there is nothing to choose.
    parameters : dict of str to ndarray
        By name; read-only. ``dataclasses.replace(layer, parameters=...)`` puts in others of the
        same shapes, trained ones for instance.

    Raises
    ------
    ShapeMismatch, InvalidArgument
        For parameters that are missing, unknown, not finite, or of another shape.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> mixer = rv.attention.layer("retnet", 8, heads=2)
    >>> mixer.parameters["decay"]
    array([0.96875 , 0.984375])
    >>> u = np.random.default_rng(0).standard_normal((5, 8))
    >>> bool(np.allclose(mixer(u), mixer(u, form="recurrent")))
    True
    """

    name: str
    d: int
    heads: int
    state: int
    parameters: Mapping[str, Array]

    def __post_init__(self) -> None:
        _check_sizes(self.name, self.d, self.heads)
        shapes = _shapes(self.name, self.d, self.heads, self.state)
        if set(self.parameters) != set(shapes):
            raise _core.InvalidArgument(
                f"parameters of {self.name!r} must be {', '.join(shapes)}; "
                f"got {', '.join(self.parameters)}"
            )
        kept = {}
        for name, shape in shapes.items():
            array = np.array(self.parameters[name])
            if array.shape != shape:
                raise _core.ShapeMismatch(
                    f"parameters[{name!r}] must have shape {shape}, got {array.shape}"
                )
            _core.require_finite(array, f"parameters[{name!r}]")
            kept[name] = read_only(array)
        object.__setattr__(self, "parameters", kept)

    def __call__(self, u: ArrayLike, form: Form = "chunked") -> Array:
        """The outputs of a sequence.

        Parameters
        ----------
        u : array_like, shape (..., L, d)
            float32 or float64; the result keeps the type.
        form : {"chunked", "recurrent", "parallel"}
            As in :mod:`resolvent.attention.linear`; for "attention" the routes "streaming",
            "cached" and "full" of :func:`causal`. They agree to rounding.

        Returns
        -------
        ndarray, shape (..., L, d)

        Raises
        ------
        ShapeMismatch, InvalidArgument
            For another last axis, entries that are not finite, an unknown form.
        """
        form_parameter(form)
        x = self._sequence(u, "u")
        p = self._working(x.dtype)
        y = self._mixed(x, p, form=form)
        return y * _sigmoid(x @ p["W_r"]) if self._mixer.gated else y

    def vjp(self, u: ArrayLike, g: ArrayLike) -> Array:
        """The gradient of Σ g⊙y by the input.

        Parameters
        ----------
        u : array_like, shape (..., L, d)
        g : array_like, shape (..., L, d)
            The gradient by the output; of the shape of u.

        Returns
        -------
        ndarray, shape (..., L, d)
            By the chain rule through the projections and the core's own adjoint (`…_vjp` of
            :mod:`resolvent.attention.linear`, whose memory it has). For "attention" by the matrix
            of scores, in blocks of queries; those where g vanishes cost nothing.

        Raises
        ------
        ShapeMismatch, InvalidArgument
            For shapes that do not fit and entries that are not finite.

        Examples
        --------
        >>> import numpy as np, resolvent as rv
        >>> mixer = rv.attention.layer("mamba", 4)
        >>> u, g, step = np.random.default_rng(0).standard_normal((3, 6, 4))
        >>> slope = (g * (mixer(u + 1e-6 * step) - mixer(u - 1e-6 * step))).sum() / 2e-6
        >>> bool(np.isclose((mixer.vjp(u, g) * step).sum(), slope))
        True
        """
        x, upstream = self._sequence(u, "u"), self._sequence(g, "g")
        if upstream.shape != x.shape:
            raise _core.ShapeMismatch(
                f"g must have the shape of u, {x.shape}, got {upstream.shape}"
            )
        upstream = upstream.astype(x.dtype, copy=False)
        p, mixer = self._working(x.dtype), self._mixer
        total = np.zeros_like(x)
        if mixer.gated:
            gate = _sigmoid(x @ p["W_r"])
            y = self._mixed(x, p, form="chunked")
            total += (upstream * y * gate * (1.0 - gate)) @ p["W_r"].T
            upstream = upstream * gate
        if mixer.heads:
            upstream = split_heads(upstream, self.heads)
        gradients = mixer.vjp(**self._arguments(x, p), g=upstream)
        for projection in mixer.projections:
            total += projection.back(getattr(gradients, projection.argument), x, p)
        return total

    def state_size(self, length: int) -> int:
        """Real numbers that are kept after `length` steps, to go on from there.

        Parameters
        ----------
        length : int
            At least 0.

        Returns
        -------
        int
            2·d·length for "attention", all keys and values. Else the same for every length: state·d
            for "retnet", "mamba" and "mamba2"; (d + heads)·state for "linear_attention", whose
            denominator is kept too; 3·d for "rwkv"; 2·state for "lru" and "s5".

        Examples
        --------
        >>> import resolvent as rv
        >>> [rv.attention.layer(name, 8).state_size(100) for name in ("attention", "mamba")]
        [1600, 128]
        """
        count = count_parameter(length, "length", 0)
        return self._mixer.numbers(self.d, self.heads, self.state, count)

    def __repr__(self) -> str:
        sizes = [f"d={self.d}"]
        sizes += [f"heads={self.heads}"] if self._mixer.heads else []
        sizes += [f"state={self.state}"] if self._mixer.state else []
        return f"Layer({self.name!r}, {', '.join(sizes)})"

    def _repr_html_(self) -> str:
        rows = [
            ("channels, heads", f"{self.d}, {self.heads}"),
            ("numbers kept after 1, 1000 steps", f"{self.state_size(1)}, {self.state_size(1000)}"),
            *((name, str(array.shape)) for name, array in self.parameters.items()),
        ]
        return table(f"Layer: {self.name}", rows)

    # ---- inside the package ----------------------------------------------------------------------

    @property
    def _mixer(self) -> _Mixer:
        return _MIXERS[self.name]

    def _sequence(self, value: ArrayLike, name: str) -> Array:
        array = as_real(value, name)
        if array.ndim < 2 or array.shape[-1] != self.d:
            raise _core.ShapeMismatch(
                f"{name} must have shape (..., L, {self.d}), got {array.shape}"
            )
        _core.require_finite(array, name)
        return array

    def _working(self, dtype: np.dtype[Any]) -> dict[str, Array]:
        """The parameters in the precision of the input."""
        kinds = {"f": dtype, "c": np.result_type(dtype, np.complex64)}
        return {n: a.astype(kinds[a.dtype.kind], copy=False) for n, a in self.parameters.items()}

    def _arguments(self, u: Array, p: Mapping[str, Array]) -> dict[str, Array]:
        """What the core is called with."""
        mixer = self._mixer
        made = {q.argument: q.forward(u, p, self.heads) for q in mixer.projections}
        return {**made, **{name: p[name] for name in mixer.fixed}}

    def _mixed(self, u: Array, p: Mapping[str, Array], *, form: str) -> Array:
        """The core's outputs, with all heads side by side; without the gate."""
        y = self._mixer.core(**self._arguments(u, p), form=form)
        return _merge_heads(y) if self._mixer.heads else y

    def _advanced(self, u: Array, initial: Any) -> Any:
        """The core's state after a sequence, from a state (None: from nothing)."""
        arguments = self._arguments(u, self._working(u.dtype))
        return self._mixer.core(**arguments, initial=initial, return_state=True)[1]


def layer(name: LayerName, d: int, *, heads: int = 1, state: int = 16, seed: int = 0) -> Layer:
    """A token mixer with random parameters as its paper starts training with.

    The mixers alone: the convolutions, norms, skip terms (D), rotations, token shifts and output
    projections around them, which have no memory or a short one, are left out. All projections of
    the input are N(0, 1/d).

    Parameters
    ----------
    name : str
        One of :data:`LAYERS`:

        - ``attention``: softmax(q kᵀ/√(d/heads)) v, causal.
        - ``linear_attention``: features elu + 1, normalised (arXiv:2006.16236).
        - ``retnet``: head h decays by γ = 1 − 2^{−5−h}; keys are divided by √state
          (arXiv:2307.08621).
        - ``rwkv``: RWKV-4's wkv under the gate σ(r): channel c of d has decay
          w = exp(−5 + 8 (c/(d−1))^0.7) and bonus u = log 0.3 + ((c+1) mod 3 − 1)/2
          (arXiv:2305.13048, first block).
        - ``lru``: eigenvalues uniform in the ring 0.9 ≤ abs(λ) ≤ 0.999, complex normal B and C
          (arXiv:2303.06349).
        - ``s5``: eigenvalues of LegS's normal part, ``rv.spectral.diagonal(2·state, "legs")``, one
          of each pair, zero-order hold, steps log-uniform in [1e-3, 1e-1] (arXiv:2208.04933).
        - ``mamba``: A = −(1 … state) in every channel, dt = softplus(u W_dt + b) with softplus(b)
          log-uniform in [1e-3, 1e-1], rule dt·B (arXiv:2312.00752).
        - ``mamba2``: −A uniform in [1, 16] and dt as before, one for each head; B and C shared by
          the heads (arXiv:2405.21060).
    d : int
        Channels of input and output, a multiple of the heads.
    heads : int
        For attention, linear_attention, retnet and mamba2; the others work by channels, and get
        heads = 1 whatever is asked for, so that one call makes all models.
    state : int
        N: features of a key (linear_attention, retnet), numbers per channel (mamba, mamba2), or
        complex eigenvalues (lru, s5). attention and rwkv have nothing to choose.
    seed : int

    Returns
    -------
    Layer

    Raises
    ------
    InvalidArgument
        For an unknown name, or sizes out of range.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.attention.layer("mamba2", 16, heads=4)
    Layer('mamba2', d=16, heads=4, state=16)
    """
    mixer = _MIXERS[name_parameter(name, LAYERS, "name")]
    width, asked = count_parameter(d, "d"), count_parameter(heads, "heads")
    count = asked if mixer.heads else 1
    _check_sizes(name, width, count)
    size = count_parameter(state, "state")
    rng = np.random.default_rng(count_parameter(seed, "seed", 0))
    sizes = width, count, size if mixer.state else 0
    weights = {
        f"W_{argument}": rng.standard_normal((width, n)) / math.sqrt(width)
        for argument, n in mixer.widths(*sizes).items()
    }
    return Layer(name, *sizes, {**weights, **_INITIAL[name](*sizes, rng, weights)})


def _check_sizes(name: str, d: int, heads: int) -> None:
    name_parameter(name, LAYERS, "name")
    if not _MIXERS[name].heads and heads != 1:
        raise _core.InvalidArgument(f"heads must be 1 for {name!r}, got {heads}")
    if d % heads:
        raise _core.InvalidArgument(f"heads must divide d = {d}, got {heads}")


# ---- how the papers start -----------------------------------------------------------------------

_Weights = dict[str, Array]


def _start_plain(
    d: int, heads: int, state: int, rng: np.random.Generator, weights: _Weights
) -> _Weights:
    return {}


def _start_retnet(
    d: int, heads: int, state: int, rng: np.random.Generator, weights: _Weights
) -> _Weights:
    """Keys divided by √state, which is the 1/√d of retention."""
    decay = 1.0 - 2.0 ** (-5.0 - np.arange(heads))
    return {"W_k": weights["W_k"] / math.sqrt(state), "decay": decay}


def _start_rwkv(
    d: int, heads: int, state: int, rng: np.random.Generator, weights: _Weights
) -> _Weights:
    channel = np.arange(d)
    w = np.exp(-5.0 + 8.0 * (channel / max(1, d - 1)) ** 0.7)
    return {"w": w, "u": math.log(0.3) + 0.5 * ((channel + 1) % 3 - 1)}


def _start_lru(
    d: int, heads: int, state: int, rng: np.random.Generator, weights: _Weights
) -> _Weights:
    """|λ|² uniform between the squares of the radii, phases uniform: uniform in the ring."""
    radius = np.sqrt(rng.uniform(_RING[0] ** 2, _RING[1] ** 2, state))
    eigenvalues = radius * np.exp(1j * rng.uniform(0.0, 2.0 * math.pi, state))
    B = _complex_normal(rng, (state, d)) / math.sqrt(d)
    return {"eigenvalues": eigenvalues, "B": B, "C": _complex_normal(rng, (d, state), state)}


def _start_s5(
    d: int, heads: int, state: int, rng: np.random.Generator, weights: _Weights
) -> _Weights:
    from resolvent.spectral import diagonal

    eigenvalues = diagonal(2 * state, "legs", half=True).eigenvalues
    B = _complex_normal(rng, (state, d)) / math.sqrt(d)
    C = _complex_normal(rng, (d, state), state)
    return {"eigenvalues": eigenvalues, "B": B, "C": C, "step": _log_uniform(rng, state)}


def _start_mamba(
    d: int, heads: int, state: int, rng: np.random.Generator, weights: _Weights
) -> _Weights:
    A = -np.tile(np.arange(1.0, state + 1.0), (d, 1))
    return {"b_dt": inverse_softplus(_log_uniform(rng, d)), "A": A}


def _start_mamba2(
    d: int, heads: int, state: int, rng: np.random.Generator, weights: _Weights
) -> _Weights:
    b_dt = inverse_softplus(_log_uniform(rng, heads))
    return {"b_dt": b_dt, "A": -rng.uniform(1.0, 16.0, heads)}


def _complex_normal(rng: np.random.Generator, shape: tuple[int, ...], over: int = 1) -> Array:
    """Complex normal entries with E|z|² = 1/over."""
    parts = rng.standard_normal((2, *shape)) / math.sqrt(2.0 * over)
    return np.asarray(parts[0] + 1j * parts[1])


def _log_uniform(rng: np.random.Generator, count: int) -> Array:
    low, high = np.log(_STEPS)
    return np.asarray(np.exp(rng.uniform(low, high, count)))


_INITIAL = {
    "attention": _start_plain,
    "linear_attention": _start_plain,
    "retnet": _start_retnet,
    "rwkv": _start_rwkv,
    "lru": _start_lru,
    "s5": _start_s5,
    "mamba": _start_mamba,
    "mamba2": _start_mamba2,
}


def _shapes(name: str, d: int, heads: int, state: int) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter."""
    mixer = _MIXERS[name]
    widths = mixer.widths(d, heads, state)
    found: dict[str, tuple[int, ...]] = {f"W_{a}": (d, width) for a, width in widths.items()}
    found |= {f"b_{p.argument}": (widths[p.argument],) for p in mixer.projections if p.positive}
    known: dict[str, tuple[int, ...]] = {
        "decay": (heads,), "w": (d,), "u": (d,), "eigenvalues": (state,), "B": (state, d),
        "C": (d, state), "step": (state,), "A": (d, state) if name == "mamba" else (heads,),
    }  # fmt: skip
    return found | {argument: known[argument] for argument in mixer.fixed}
