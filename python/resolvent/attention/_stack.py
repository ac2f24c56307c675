"""Stacks of attention layers, run with and without a cache."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, count_parameter, name_parameter, read_only
from resolvent.attention._causal import Route, route_parameter
from resolvent.attention._cost import Cost, heads_parameter

__all__ = ["GENERATION", "Generation", "Stack"]

Generation = Literal["cached", "recompute"]
GENERATION: tuple[str, ...] = get_args(Generation)


class Stack:
    """A causal transformer of attention layers alone, with random weights.

    x_i^0 = E[token_i] and, layer by layer, x_t^l = x_t^{l−1} + softmax-attention(n W_q, n W_k,
    n W_v) W_o with n = x^{l−1}/√(mean + 1e-6), the mean of the squares. There is no position code
    (the causal mask alone orders the tokens) and no feed-forward part, which acts on one position
    and changes no cost below by more than a factor.

    Parameters
    ----------
    layers : int
        D.
    heads : int
        Divides d; logits are scaled by 1/√(d/heads).
    d : int
        Numbers of a position.
    vocabulary : int
        Number of tokens; 256 for bytes.
    seed : int
        Of the weights: E is N(0, 1), all else N(0, 1/d).
    dtype : dtype
        float64 or float32.

    Attributes
    ----------
    weights : dict
        "embedding" (vocabulary, d); "query", "key", "value", "output" (layers, d, d), which act on
        rows from the right; "readout" (d, vocabulary) for the logits. Read-only.
    epsilon : float
        1e-6.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> stack = rv.attention.Stack(layers=2, heads=2, d=16)
    >>> text = np.frombuffer(b"attention is an RNN", np.uint8)
    >>> with_cache = stack.generate(text, 5)
    >>> constant_memory = stack.generate(text, 5, route="recompute")
    >>> bool((with_cache == constant_memory).all())
    True
    """

    epsilon: float = _core.attention.epsilon

    def __init__(
        self,
        layers: int,
        heads: int,
        d: int,
        *,
        vocabulary: int = 256,
        seed: int = 0,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        self.layers = count_parameter(layers, "layers")
        self.heads = heads_parameter(heads, d)
        self.d = count_parameter(d, "d")
        self.vocabulary = count_parameter(vocabulary, "vocabulary")
        self.dtype = _real_dtype(dtype)
        random = np.random.default_rng(count_parameter(seed, "seed", 0))
        shape = (self.layers, self.d, self.d)
        drawn = {"embedding": random.normal(size=(self.vocabulary, self.d))} | {
            name: random.normal(scale=self.d**-0.5, size=shape)
            for name in ("query", "key", "value", "output")
        }
        drawn["readout"] = random.normal(scale=self.d**-0.5, size=(self.d, self.vocabulary))
        self._take({name: w.astype(self.dtype) for name, w in drawn.items()})

    def _take(self, weights: dict[str, Array]) -> None:
        self.weights = MappingProxyType({name: read_only(w) for name, w in weights.items()})
        single = self.dtype == np.float32
        made = _core.attention.StackWeights32 if single else _core.attention.StackWeights64
        matrices = {name: w for name, w in self.weights.items() if name != "readout"}
        self._core = made(**matrices, heads=self.heads)

    def __repr__(self) -> str:
        return (
            f"Stack(layers={self.layers}, heads={self.heads}, d={self.d}, "
            f"vocabulary={self.vocabulary}, dtype={self.dtype})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.layers, self.heads, self.d, dict(self.weights))

    def forward(self, tokens: ArrayLike, route: Route = "streaming") -> Array:
        """The last layer at every position.

        Parameters
        ----------
        tokens : array_like of int, shape (L,)
            In [0, vocabulary).
        route : {"streaming", "full", "cached", "recompute"}
            "streaming" and "full" go layer by layer, with the recurrence over keys and with L × L
            weights; "cached" and "recompute" token by token, with the keys and values of all
            layers in memory and with nothing: recomputation makes them again from the tokens, for
            every query of every layer. All on one thread; :func:`cost` says what each costs.

        Returns
        -------
        ndarray, shape (L, d)
            The routes agree to rounding.

        Raises
        ------
        InvalidArgument, DtypeError, ShapeMismatch
            For tokens that are none, and an unknown route.
        """
        route_parameter(route)
        result: Array = self._core.forward(self._tokens(tokens, "tokens"), route)
        return result

    def logits(self, tokens: ArrayLike, route: Route = "streaming") -> Array:
        """x_t^D times the readout, shape (L, vocabulary); arguments as for :meth:`forward`."""
        result: Array = self.forward(tokens, route) @ self.weights["readout"]
        return result

    def generate(self, prompt: ArrayLike, steps: int, *, route: Generation = "cached") -> Array:
        """The most probable continuation, token by token.

        Parameters
        ----------
        prompt : array_like of int, shape (L,)
            At least one token.
        steps : int
            Tokens to add.
        route : {"cached", "recompute"}
            "cached" costs O(t d D) a token and 2tdD numbers; "recompute" t^D/D! steps of the
            recurrence and a number of numbers that does not depend on t.

        Returns
        -------
        ndarray of int64, shape (steps,)
            The new tokens. Of equal logits the first wins.

        Raises
        ------
        InvalidArgument
            For an empty prompt, and as :meth:`forward` does.
        """
        name_parameter(route, GENERATION, "route")
        count = count_parameter(steps, "steps", 0)
        given = self._tokens(prompt, "prompt")
        start = len(given)
        if not start:
            raise _core.InvalidArgument("prompt must have at least one token, got none")
        tokens = np.concatenate([given, np.empty(count, np.int64)])
        step = self._stepper(given[:-1], route)
        for end in range(start, start + count):
            tokens[end] = (step(tokens[:end]) @ self.weights["readout"]).argmax()
        new: Array = tokens[start:].copy()
        return new

    def _stepper(self, past: Array, route: str) -> Callable[[Array], Array]:
        """From all tokens so far to the last layer at the last of them."""
        if route == "recompute":
            return self._core.last
        cache = self._core.cache()
        for token in past:
            cache.step(int(token))
        return lambda tokens: cache.step(int(tokens[-1]))

    def count(self, length: int, route: Route) -> Cost:
        """What :meth:`forward` does for this many tokens, counted while it is done.

        The compiled code is run with numbers that count their operations and buffers that enter
        their size in a ledger; :func:`cost` has the same numbers in closed form.

        Parameters
        ----------
        length : int
        route : {"full", "cached", "streaming", "recompute"}

        Returns
        -------
        Cost
            For float64. Takes as long as the run, some ten times over.

        Examples
        --------
        >>> import resolvent as rv
        >>> stack = rv.attention.Stack(layers=2, heads=1, d=4)
        >>> stack.count(10, "recompute") == rv.attention.cost("recompute", 10, 2, d=4)
        True
        """
        route_parameter(route)
        L = count_parameter(length, "length", 0)
        counted = _core.attention.count(L, self.layers, self.heads, self.d, route)
        return Cost(**{name: int(number) for name, number in counted.items()})

    def _tokens(self, tokens: ArrayLike, name: str) -> Array:
        array = np.asarray(tokens)
        if array.size == 0 and array.ndim == 1:
            return np.zeros(0, np.int64)
        if array.dtype.kind not in "iu":
            raise _core.DtypeError(f"{name} must be integers, got {array.dtype}")
        if array.ndim != 1:
            raise _core.ShapeMismatch(f"{name} must have shape (L,), got {array.shape}")
        bad = (array < 0) | (array >= self.vocabulary)
        if bad.any():
            at = int(bad.argmax())
            raise _core.InvalidArgument(
                f"{name} must be in [0, {self.vocabulary - 1}], got {name}[{at}] = {array[at]}"
            )
        return array.astype(np.int64)


def _real_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """float32 or float64, in the machine's order of bytes."""
    message = f"dtype must be float32 or float64, got {dtype!r}"
    try:
        kind: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise _core.DtypeError(message) from None
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise _core.DtypeError(message)
    return kind


def _restored(layers: int, heads: int, d: int, weights: dict[str, Array]) -> Stack:
    """A stack with these weights, for pickle."""
    embedding = weights["embedding"]
    stack = Stack(layers, heads, d, vocabulary=len(embedding), dtype=embedding.dtype)
    stack._take(weights)
    return stack
