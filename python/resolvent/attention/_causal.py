"""Causal attention of one layer by four routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_real, name_parameter, real_parameter
from resolvent.attention.linear._common import Arguments, gather, own_rows
from resolvent.probmap import Map, softmax
from resolvent.probmap._map import MapLike, resolve

__all__ = ["EMPTY", "ROUTES", "Empty", "Route", "causal", "route_parameter", "streams"]

Route = Literal["full", "cached", "streaming", "recompute"]
ROUTES: tuple[str, ...] = get_args(Route)

Empty = Literal["error", "zero"]
EMPTY: tuple[str, ...] = get_args(Empty)

#: Queries and keys of a tile where weights are computed in NumPy.
_TILE = 256


def route_parameter(route: object) -> str:
    """One of :data:`ROUTES`."""
    return name_parameter(route, ROUTES, "route")


def causal(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    route: Route = "streaming",
    scale: float = 1.0,
    map: MapLike | None = None,
    mask: ArrayLike | None = None,
    empty: Empty = "error",
    out: Array | None = None,
) -> Array:
    """Causal attention o_t = Σ_{i ≤ t} p_i v_i with p = map(s q_t·k_0, …, s q_t·k_t).

    For softmax the sums over i are a recurrence whose state is the largest logit so far, the
    numerator and the denominator: attention is an RNN over keys, run once for every query.

    Parameters
    ----------
    q, k : array_like, shape (..., L, d)
        Queries and keys; leading axes (batch, heads) broadcast over all arguments.
    v : array_like, shape (..., L, e)
        Values.
    route : {"streaming", "full", "cached", "recompute"}
        "full": the L × L weights, then a product. "cached": one query after the other against the
        keys and values so far, as a decoder does. "streaming": the recurrence over tiles of queries
        and keys. "recompute": the recurrence key by key.
    scale : float
        s. 1 is the plain formula; most code takes 1/√d.
    map : map of :mod:`resolvent.probmap`, optional
        With its parameters, as ``rv.probmap.entmax(alpha=1.5)``; softmax unless given. "full" and
        "cached" take every map whose parameters are the same for all rows. The recurrences take
        maps of the form f(x_i)/Σf(x_j): softmax, taylor_softmax and normalize (:func:`streams`);
        others need the whole row.
    mask : array_like of bool, shape (..., L), optional
        False for keys that nobody may attend to, such as padding.
    empty : {"error", "zero"}
        What happens to a query that no weight is left for.
    out : ndarray, shape (..., L, e), optional
        Where the result goes.

    Returns
    -------
    ndarray, shape (..., L, e)
        float32 where all inputs are. Operations for every row of the batch: L²(d + e) and L²/2
        exponentials for the recurrences and "cached", twice that for "full". Memory beside inputs
        and result: "full" some L² numbers, "cached" some L and a copy of q, "streaming" a copy of k
        and v and 96(d + e + 64) numbers a thread, "recompute" nothing. Softmax's relative error in
        the weights is about eps(d abs(s) ‖q‖‖k‖ + L/64) ("recompute": L). "streaming" and
        "recompute" with softmax give the same bits for any number of threads.

    Raises
    ------
    InvalidArgument
        For NaN, infinity and a logit that overflows; for a route that cannot do the map, with the
        reason; with empty="error" for a query without keys.
    ShapeMismatch
        For shapes that do not fit.

    References
    ----------
    Milakov, Gimelshein 2018, arXiv:1805.02867; Rabe, Staats 2021, arXiv:2112.05682; Dao et al.
    2022, arXiv:2205.14135.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 2, 100, 8))  # 2 heads
    >>> streamed = rv.attention.causal(q, k, v, scale=8**-0.5)
    >>> streamed.shape
    (2, 100, 8)
    >>> whole = rv.attention.causal(q, k, v, scale=8**-0.5, route="full")
    >>> bool(abs(streamed - whole).max() < 1e-14)
    True
    """
    route_parameter(route)
    name_parameter(empty, EMPTY, "empty")
    factor = real_parameter(scale, "scale")
    if not np.isfinite(factor):
        raise _core.InvalidArgument(f"scale must be finite, got {factor:g}")
    a = gather({"q": (q, "Ld"), "k": (k, "Ld"), "v": (v, "Le")})
    kept = None if mask is None else _mask(mask, a.sizes["L"])
    batch = a.batch if kept is None else _with_mask(a.batch, kept)
    shape = (*batch, a.sizes["L"], a.sizes["e"])
    weights = _Weights.of(softmax() if map is None else resolve(map, {}), factor, a.dtype)
    result = (
        np.empty(shape, a.dtype) if out is None else _core.checked_out(out, list(shape), a.dtype)
    )
    if result.size == 0:
        return result
    into = np.empty_like(result) if _shares(result, a, kept) else result
    if route in ("full", "cached"):
        _by_rows(a, kept, weights, route == "full", empty, into)
    else:
        weights.require_streaming(route)
        run = _compiled if weights.function is None else _elementwise
        run(a, kept, weights, route, empty, into)
    if into is not result:
        result[...] = into
    return result


def streams(map: MapLike) -> bool:
    """Whether attention with this map has a state of constant size: f(x_i)/Σf(x_j).

    Parameters
    ----------
    map : map of :mod:`resolvent.probmap`

    Returns
    -------
    bool

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.attention.streams(rv.probmap.softmax), rv.attention.streams("sparsemax")
    (True, False)
    """
    return _why_not(resolve(map, {})) is None


# ---- arguments -----------------------------------------------------------------------------------


def _mask(mask: ArrayLike, length: int) -> Array:
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise _core.DtypeError(f"mask must be boolean, got {array.dtype}")
    if array.ndim == 0 or array.shape[-1] != length:
        raise _core.ShapeMismatch(
            f"mask must have shape (..., L) with L = {length}, got {array.shape}"
        )
    return array


def _with_mask(batch: tuple[int, ...], mask: Array) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(batch, mask.shape[:-1])
    except ValueError:
        raise _core.ShapeMismatch(
            f"the leading axes of mask must broadcast with those of q, k and v, {batch}; "
            f"mask has shape {mask.shape}"
        ) from None


def _shares(out: Array, a: Arguments, mask: Array | None) -> bool:
    """Whether an input would be overwritten before it is read."""
    inputs = [*a.arrays.values(), *([] if mask is None else [mask])]
    return any(np.may_share_memory(out, array) for array in inputs)


# ---- weights -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weights:
    """A map with the scale of the logits.

    Attributes
    ----------
    map : Map
    scale : float
        Of q·k; with the temperature in it where the map streams.
    function : _Function or None
        f of f(x_i)/Σf(x_j); None for the exponential, and for maps of another form.
    why_not : str or None
        Why the map does not stream.
    """

    map: Map
    scale: float
    function: _Function | None
    why_not: str | None

    @classmethod
    def of(cls, map: Map, scale: float, dtype: np.dtype[Any]) -> _Weights:
        why_not = _why_not(map)
        if why_not is not None:
            return cls(map, scale, None, why_not)
        tau = float(_temperature(map).reshape(()))
        if not 0.0 < tau < np.inf:
            raise _core.InvalidArgument(f"temperature must be positive and finite, got {tau:g}")
        scale /= tau
        if not abs(scale) <= float(np.finfo(dtype).max):
            raise _core.InvalidArgument(
                f"scale/temperature must be finite in {dtype}, got {scale:g}"
            )
        return cls(map.bind(temperature=1.0), scale, _function(map), None)

    def require_streaming(self, route: str) -> None:
        if self.why_not is not None:
            raise _core.InvalidArgument(
                f"route={route!r} needs a map f(x_i)/Σf(x_j), whose sums grow key by key; "
                f"{self.map!r} is none: {self.why_not}. Use route='full' or 'cached'"
            )


_WHOLE_ROWS = {
    "sparse_softmax": "which entries are kept depends on the whole row",
    "sparsemax": "its threshold depends on the whole row",
    "entmax": "its threshold depends on the whole row",
    "normmax": "its threshold depends on the whole row",
    "budget": "its threshold depends on the whole row",
    "perturb_max": "its probabilities are integrals over the whole row",
    "margin_softmax": "its margin belongs to a class, not to a key",
}


def _temperature(map: Map) -> Array:
    return as_real(map.setting("temperature"), "temperature")


def _why_not(map: Map) -> str | None:
    if map.name not in _WHOLE_ROWS and _temperature(map).size != 1:
        return "it has a temperature for every row"
    return _WHOLE_ROWS.get(map.name)


@dataclass(frozen=True)
class _Function:
    """f of f(x_i)/Σf(x_j), relative to a scale r that keeps sums of it in range.

    Attributes
    ----------
    scaled : callable
        (x, r) ↦ f(x)/c(r).
    degree : int or None
        c(r) = r^n with r = max|x| where f grows like x^n; None for c(r) = e^r with
        r = min(max x, 0) where f falls like e^x.
    least : float
        The least r: 1 where f(0) is not 0, so that r^n is no less than f.
    """

    scaled: Callable[[Array, Array], Array]
    degree: int | None
    least: float

    def scale(self, logits: Array, seen: Array) -> Array:
        """The least r of every row."""
        size = logits if self.degree is None else np.abs(logits)
        r: Array = size.max(axis=1, keepdims=True, initial=self.least, where=seen)
        return np.minimum(r, 0) if self.degree is None else r

    def keep(self, before: Array, r: Array) -> Array:
        """c(before)/c(r)."""
        if self.degree is None:
            ratio: Array = np.exp(before - np.where(np.isneginf(r), 0, r))
        else:
            ratio = (before / np.where(r == 0, 1, r)) ** self.degree
        return ratio

    def __call__(self, logits: Array, seen: Array, r: Array) -> Array:
        """f(x)/c(r), 0 for what is not seen."""
        nothing = np.isneginf(r) if self.degree is None else r == 0
        with np.errstate(over="ignore", invalid="ignore"):
            value: Array = self.scaled(logits, np.where(nothing, 1, r).astype(logits.dtype))
        return np.where(seen, value, 0)


def _function(map: Map) -> _Function | None:
    """f of a map f(x_i)/Σf(x_j), None for softmax."""
    if map.name == "softmax":
        return None
    name, order = map.family().function()  # type: ignore[attr-defined]
    if name == "taylor":
        return _Function(lambda x, r: _taylor(x, r, order), order, least=1.0)
    return _FUNCTIONS[name]


def _taylor(x: Array, r: Array, order: int) -> Array:
    """r^{−n} Σ_{m ≤ n} x^m/m!."""
    value = np.ones_like(x)
    for m in range(order, 0, -1):
        value = r ** (m - order - 1) + x / r / m * value
    return value


def _sigmoid(x: Array, shift: Array) -> Array:
    """e^{−shift}/(1 + e^{−x}), shift ≤ 0 and x ≤ shift where it is not 0."""
    t = np.exp(-np.abs(x))
    value: Array = np.where(x < 0, np.exp(np.minimum(x - shift, 0)), 1) / (1 + t)
    return value


def _softplus(x: Array, shift: Array) -> Array:
    """e^{−shift} log(1 + e^x), likewise."""
    t = np.exp(-np.abs(x))
    ratio = np.where(t > 0, np.log1p(t) / np.where(t > 0, t, 1), 1)
    below: Array = np.exp(np.minimum(x - shift, 0)) * ratio
    return np.where(x < 0, below, x + np.log1p(t))


_FUNCTIONS: dict[str, _Function] = {
    "square": _Function(lambda x, r: np.square(x / r), 2, least=0.0),
    "relu": _Function(lambda x, r: np.maximum(x / r, 0), 1, least=0.0),
    "sigmoid": _Function(_sigmoid, None, least=-np.inf),
    "softplus": _Function(_softplus, None, least=-np.inf),
}


# ---- routes --------------------------------------------------------------------------------------


def _compiled(
    a: Arguments, mask: Array | None, weights: _Weights, route: str, empty: str, out: Array
) -> None:
    """Softmax by the recurrence."""
    batch = out.shape[:-2]
    q, k, v = (own_rows(a.working(name), 2, batch) for name in "qkv")
    kept = own_rows(np.zeros(0, np.bool_) if mask is None else mask, 1, batch)
    rows = [own for own, _ in (q, k, v, kept)]
    places = np.stack([place for _, place in (q, k, v, kept)])
    run = _core.attention.streaming if route == "streaming" else _core.attention.recompute
    flat = out.reshape(-1, *out.shape[-2:])
    run(rows[0], rows[1], rows[2], rows[3], places, weights.scale, empty == "error", batch, flat)


@dataclass(frozen=True)
class _Row:
    """One row of the batch."""

    place: tuple[int, ...]
    q: Array  # with the scale
    k: Array
    v: Array
    mask: Array | None
    out: Array

    def logits(self, queries: slice, keys: slice) -> tuple[Array, Array]:
        """q·k, and which of them the queries may see."""
        with np.errstate(over="ignore", invalid="ignore"):
            logits = self.q[queries] @ self.k[keys].T
        at = np.arange(len(self.q))
        seen = at[keys] <= at[queries, None]
        if self.mask is not None:
            seen &= self.mask[keys]
        self._refuse(
            (seen & ~np.isfinite(logits)).any(axis=1),
            queries,
            "scale*q*k overflows at query {}; scale q or k down",
        )
        return logits, seen

    def refuse_empty(self, none: Array, queries: slice, empty: str) -> None:
        """InvalidArgument where a query has no weight and the caller wants none to."""
        if empty == "error":
            message = "no weight is left for query {} (empty='zero' gives 0 there)"
            self._refuse(none, queries, message)

    def refuse_overflow(self, bad: Array, queries: slice) -> None:
        """InvalidArgument where an entry of a sum of values is infinite."""
        message = "the sum of v overflows at query {}; scale v down"
        self._refuse(np.asarray(bad.any(axis=1)), queries, message)

    def _refuse(self, bad: Array, queries: slice, message: str) -> None:
        if bad.any():
            place = [*self.place, queries.start + int(bad.argmax())]
            raise _core.InvalidArgument(message.format(place))


def _each(a: Arguments, mask: Array | None, weights: _Weights, out: Array) -> Iterator[_Row]:
    """All rows of the batch."""
    batch = out.shape[:-2]
    q, k, v = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in map(a.working, "qkv"))
    kept = None if mask is None else np.broadcast_to(mask, (*batch, mask.shape[-1]))
    for i in np.ndindex(*batch):
        with np.errstate(over="ignore"):  # refused with the logits
            scaled = q[i] * q.dtype.type(weights.scale)
        yield _Row(i, scaled, k[i], v[i], None if kept is None else kept[i], out[i])


def _by_rows(
    a: Arguments, mask: Array | None, weights: _Weights, whole: bool, empty: str, out: Array
) -> None:
    """The whole L × L weights, or one row of them after the other."""
    L = a.sizes["L"]
    step = L if whole else 1
    for row in _each(a, mask, weights, out):
        for first in range(0, L, step):
            queries, keys = slice(first, first + step), slice(0, first + step)
            logits, seen = row.logits(queries, keys)
            p = _probabilities(weights, logits, seen, L)
            none: Array = ~np.asarray(p.any(axis=1))
            row.refuse_empty(none, queries, empty)
            row.out[queries] = p @ row.v[keys]


def _probabilities(weights: _Weights, logits: Array, seen: Array, length: int) -> Array:
    """The map of every row among L entries, so that it does not matter where the rows were cut."""
    count, keys = logits.shape
    masked = np.full((count, length), -np.inf, logits.dtype)
    masked[:, :keys][seen] = logits[seen]
    p = weights.map(masked, empty="uniform")[:, :keys]
    none = ~seen.any(axis=1)
    if weights.function is not None:  # f may vanish where logits are finite
        f = weights.function
        none |= ~f(logits, seen, f.scale(logits, seen)).any(axis=1)
    p[none] = 0
    return p


def _elementwise(
    a: Arguments, mask: Array | None, weights: _Weights, route: str, empty: str, out: Array
) -> None:
    """f(x_i)/Σf(x_j) by the recurrence, over tiles of keys or key by key.

    Its state is a scale, which the largest logit so far sets, numerator and denominator.
    """
    f = cast(_Function, weights.function)
    step = _TILE if route == "streaming" else 1
    for row in _each(a, mask, weights, out):
        for first in range(0, len(row.q), _TILE):
            queries = slice(first, min(first + _TILE, len(row.q)))
            numerator = np.zeros_like(row.out[queries])
            denominator = np.zeros((len(numerator), 1), numerator.dtype)
            scale = np.full_like(denominator, f.least)
            for at in range(0, queries.stop, step):
                keys = slice(at, min(at + step, queries.stop))
                logits, seen = row.logits(queries, keys)
                before, scale = scale, np.maximum(scale, f.scale(logits, seen))
                keep, added = f.keep(before, scale), f(logits, seen, scale)
                with np.errstate(over="ignore", invalid="ignore"):
                    numerator = keep * numerator + added @ row.v[keys]
                denominator = keep * denominator + added.sum(axis=1, keepdims=True)
            none = denominator == 0
            row.refuse_empty(none[:, 0], queries, empty)
            row.refuse_overflow(~np.isfinite(numerator), queries)
            row.out[queries] = np.where(none, 0, numerator / np.where(none, 1, denominator))
