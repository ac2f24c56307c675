"""Jacobians and their products, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, overload

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, narrowed, summed_to
from resolvent.probmap._families import Family
from resolvent.probmap._map import Map, MapLike, naming_places, parameter_shape, resolve
from resolvent.probmap._rows import Empty, Rows, as_rows, refuses_empty

__all__ = ["jacobian", "jvp", "vjp"]

#: "x", "temperature", or a parameter such as "alpha".
Names: TypeAlias = str | tuple[str, ...]


@dataclass(frozen=True)
class _Point:
    """A map at logits: what its derivatives are made of."""

    map: Map
    rows: Rows
    refuse_empty: bool
    known: Array | None = None

    @classmethod
    def of(
        cls,
        map: MapLike,
        x: ArrayLike,
        axis: int,
        mask: ArrayLike | None,
        empty: Empty,
        parameters: dict[str, Any],
        p: ArrayLike | None = None,
    ) -> _Point:
        rows = as_rows(x, axis, mask)
        known = None if p is None else _known(p, rows)
        return cls(resolve(map, parameters), rows, refuses_empty(empty), known)

    @cached_property
    def family(self) -> Family:
        return self.map.family()

    @cached_property
    def temperature(self) -> Array:
        return self.map.temperature(self.rows)

    @cached_property
    def p(self) -> Array:
        """The map's value."""
        if self.known is not None:
            return self.known
        out = np.empty_like(self.rows.x)
        self._named(lambda: self.family.apply(self.rows, self.temperature, self.refuse_empty, out))
        return out

    @property
    def value(self) -> Array:
        """The map's value where products need it, else any array."""
        return self.p if self.family.uses_value else self.rows.x

    def product(self, vectors: Array, out: Array, *, transposed: bool) -> None:
        """Writes Jv or Jᵀv."""
        self._named(
            lambda: self.family.product(
                self.rows, self.temperature, self.value, vectors, out, transposed
            )
        )
        out[self.rows.empty()] = 0

    def matrix(self) -> Array:
        """J of every row, (H, n, n)."""
        found: Array = self._named(
            lambda: self.family.matrix(self.rows, self.temperature, self.value)
        )
        found[self.rows.empty()] = 0
        return found

    def slope(self, name: str) -> Array:
        """∂p/∂(parameter of the row), (H, n)."""
        self.checked(name)
        if name == "temperature":
            return self._temperature_slope()
        found = self.family.slope(self.rows, self.temperature, self.p, name)
        found[self.rows.empty()] = 0
        return found

    def _temperature_slope(self) -> Array:
        """∂p/∂τ = −J x/τ, with x relative to the largest where a shift does nothing."""
        x = self.family.logits(self.rows.x, self.rows)
        masked = np.isneginf(x)
        largest = np.zeros_like(x[:, :1])
        if self.family.shift_invariant:
            largest = x.max(axis=1, keepdims=True, where=~masked, initial=_least(x))
        x = np.where(masked, 0, x - largest)
        moved = np.empty_like(self.rows.x)
        self.product(x, moved, transposed=False)
        found: Array = -moved / self.temperature[:, None]
        # They add up to 0: the largest has its digits from the others, where J's product cancels.
        place = np.argmax(np.abs(found), axis=1)[:, None]
        np.put_along_axis(found, place, 0, axis=1)
        np.put_along_axis(found, place, -found.sum(axis=1, keepdims=True), axis=1)
        return found

    def checked(self, name: str) -> None:
        """Refuses what the map cannot be differentiated by."""
        valid = ("x", "temperature", *self.family.parameters)
        if name not in valid:
            listed = ", ".join(repr(v) for v in valid)
            raise _core.InvalidArgument(
                f"wrt must be of {listed} for {self.map.name}; got {name!r}"
            )

    def _named(self, compute: Callable[[], Any]) -> Any:
        """Computes something; refuses rows without entries where that was asked for."""
        if self.refuse_empty:
            self.rows.require_entries()
        return naming_places(self.rows, compute)


def _least(x: Array) -> Any:
    return np.finfo(x.dtype).min


def _known(p: ArrayLike, rows: Rows) -> Array:
    if np.shape(p) != rows.given.shape:
        raise _core.ShapeMismatch(f"p must have x's shape {rows.given.shape}, got {np.shape(p)}")
    return rows.from_array(p, "p")


def jacobian(
    map: MapLike,
    x: ArrayLike,
    *,
    wrt: str = "x",
    axis: int = -1,
    mask: ArrayLike | None = None,
    empty: Empty = "uniform",
    **parameters: Any,
) -> Array:
    """The derivatives of a map's probabilities.

    Parameters
    ----------
    map : map
        The function of a map, its name, or a map with bound parameters.
    x : array_like
        Logits, as the map takes them.
    wrt : str
        "x"; "temperature"; "alpha" of entmax and normmax.
    axis, mask, empty
        As the map takes them.
    **parameters
        Parameters of the map, the temperature included.

    Returns
    -------
    ndarray
        For "x" shape (..., n, n) with ∂p_i/∂x_j at [..., i, j], whatever the axis was; for a
        parameter (..., n), the derivative by the parameter of the same row. Where an entry is about
        to become 0 the map has a kink: the derivative is that with the support as it is. Masked
        entries and rows without entries have zeros. O(n²) per row; O(n²·nodes) for perturb_max.

    Raises
    ------
    InvalidArgument
        As the map does, and for a `wrt` that it does not have.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.jacobian("sparsemax", [0.5, 0.3, -2.0])
    array([[ 0.5, -0.5,  0. ],
           [-0.5,  0.5,  0. ],
           [ 0. ,  0. ,  0. ]])
    """
    point = _Point.of(map, x, axis, mask, empty, parameters)
    rows = point.rows
    if wrt != "x":
        slope = narrowed(point.slope(wrt), rows.x)
        return slope.reshape(*rows.batch, rows.n)
    point.checked(wrt)
    return point.matrix().reshape(*rows.batch, rows.n, rows.n)


def jvp(
    map: MapLike,
    x: ArrayLike,
    v: ArrayLike,
    *,
    wrt: str = "x",
    axis: int = -1,
    mask: ArrayLike | None = None,
    empty: Empty = "uniform",
    **parameters: Any,
) -> Array:
    """The Jacobian times a vector: how p changes when x, or a parameter, moves by v.

    Parameters
    ----------
    map, x, wrt, axis, mask, empty, **parameters
        As in :func:`jacobian`.
    v : array_like
        Broadcast to the shape of x; for a parameter a number or one for every row.

    Returns
    -------
    ndarray
        Of x's shape. O(n) per row; O(n·nodes) for perturb_max.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.jvp("softmax", [0.0, 0.0], [1.0, 0.0])
    array([ 0.25, -0.25])
    """
    point = _Point.of(map, x, axis, mask, empty, parameters)
    rows = point.rows
    if wrt != "x":
        moved = point.slope(wrt) * rows.numbers(v, "v")[:, None]
        return rows.to_array(narrowed(moved, rows.x))
    out = np.empty_like(rows.x)
    point.product(rows.from_array(v, "v"), out, transposed=False)
    return rows.to_array(out)


@overload
def vjp(
    map: MapLike,
    x: ArrayLike,
    g: ArrayLike,
    *,
    wrt: str = ...,
    axis: int = ...,
    mask: ArrayLike | None = ...,
    p: ArrayLike | None = ...,
    out: Array | None = ...,
    empty: Empty = ...,
    **parameters: Any,
) -> Array: ...
@overload
def vjp(
    map: MapLike,
    x: ArrayLike,
    g: ArrayLike,
    *,
    wrt: tuple[str, ...],
    axis: int = ...,
    mask: ArrayLike | None = ...,
    p: ArrayLike | None = ...,
    out: Array | None = ...,
    empty: Empty = ...,
    **parameters: Any,
) -> tuple[Array, ...]: ...
def vjp(
    map: MapLike,
    x: ArrayLike,
    g: ArrayLike,
    *,
    wrt: Names = "x",
    axis: int = -1,
    mask: ArrayLike | None = None,
    p: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
    **parameters: Any,
) -> Array | tuple[Array, ...]:
    """The gradient of a loss by the logits and parameters, from that by the probabilities.

    Parameters
    ----------
    map, x, axis, mask, empty, **parameters
        As in :func:`jacobian`.
    g : array_like
        ∂loss/∂p, broadcast to the shape of x.
    wrt : str or tuple of str
        What for, as in :func:`jacobian`.
    p : array_like, optional
        The probabilities, where they are known, of x's shape: the map is not evaluated again then.
        (The parameter p of sparse_softmax is bound: ``sparse_softmax(p=0.8)``.)
    out : ndarray, optional
        Where the gradient by x goes: C-contiguous, of x's shape and type.

    Returns
    -------
    ndarray, or tuple of them for a tuple
        Jᵀg of x's shape; for a parameter its shape, summed over the rows that share it. O(n) per
        row, and one pass over p, g and the result where p is given; O(n·nodes) for perturb_max.

    Examples
    --------
    >>> import resolvent as rv
    >>> by_x, by_alpha = rv.probmap.vjp("entmax", [1.0, 0.0], [1.0, 0.0], wrt=("x", "alpha"))
    >>> by_x.round(4), by_alpha.round(4)
    (array([ 0.2835, -0.2835]), np.float64(0.2485))
    """
    point = _Point.of(map, x, axis, mask, empty, parameters, p)
    names = wrt if isinstance(wrt, tuple) else (wrt,)
    for name in names:
        point.checked(name)
    upstream = point.rows.from_array(g, "g")
    # What is written into `out` comes last: it may be x, g or p.
    found = {name: _by_parameter(point, upstream, name) for name in names if name != "x"}
    if "x" in names:
        found["x"] = _by_logits(point, upstream, out)
    return tuple(found[name] for name in names) if isinstance(wrt, tuple) else found[wrt]


def _by_logits(point: _Point, g: Array, out: Array | None) -> Array:
    rows = point.rows
    into, direct = rows.target(None if out is None else rows.checked_out(out))
    if direct and (np.may_share_memory(into, g) or np.may_share_memory(into, point.value)):
        into, direct = np.empty_like(rows.x), False
    point.product(g, into, transposed=True)
    return rows.delivered(into, direct, out)


def _by_parameter(point: _Point, g: Array, name: str) -> Array:
    per_row = (point.slope(name) * g).sum(axis=1, dtype=np.float64)
    summed = summed_to(per_row, point.rows.batch, parameter_shape(point.map, name))
    return narrowed(summed, point.rows.x)
