"""Logits along any axis as rows, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_real, integer_parameter, name_parameter

__all__ = ["EMPTY", "Empty", "Rows", "as_rows", "refuses_empty"]

Empty = Literal["uniform", "error"]
EMPTY: tuple[str, ...] = get_args(Empty)


@dataclass(frozen=True)
class Rows:
    """Logits as the core takes them.

    Attributes
    ----------
    x : ndarray, shape (H, n)
        Contiguous, with −∞ where the mask says so.
    given : ndarray
        What the caller gave, for messages.
    axis : int
        The axis of `given` that became the last.
    """

    x: Array
    given: Array
    axis: int

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the other axes."""
        return self.given.shape[: self.axis] + self.given.shape[self.axis + 1 :]

    @property
    def n(self) -> int:
        """Entries of a row."""
        return int(self.x.shape[1])

    def numbers(self, value: ArrayLike, name: str) -> Array:
        """A parameter as float64, shape (1,) where all rows share it, else (H,)."""
        array: Array = as_real(value, name).astype(np.float64)  # a copy: `out` may share its memory
        if array.size == 1:
            return array.reshape(1)
        try:
            full = np.broadcast_to(array, self.batch)
        except ValueError:
            raise _core.ShapeMismatch(
                f"{name} must be one number or broadcast to the rows {self.batch}, "
                f"got shape {array.shape}"
            ) from None
        return np.ascontiguousarray(full.reshape(-1))

    def from_array(self, value: ArrayLike, name: str) -> Array:
        """Another array of the shape of the logits, as rows of their type."""
        array = as_real(value, name)
        try:
            full = np.broadcast_to(array, self.given.shape)
        except ValueError:
            raise _core.ShapeMismatch(
                f"{name} must broadcast to the shape of x, {self.given.shape}, "
                f"got shape {array.shape}"
            ) from None
        return _moved(full, self.axis).astype(self.x.dtype, copy=False)

    def to_array(self, rows: Array) -> Array:
        """Rows (H, n) in the shape of the logits."""
        full = rows.reshape(*self.batch, rows.shape[1])
        if self.axis == self.given.ndim - 1:
            return full
        return np.ascontiguousarray(np.moveaxis(full, -1, self.axis))

    def checked_out(self, out: object) -> Array:
        """`out`, if the result can go there."""
        return _core.checked_out(out, list(self.given.shape), self.x.dtype)

    def target(self, out: Array | None) -> tuple[Array, bool]:
        """Rows to write a result into, and whether they are `out` itself."""
        direct = (
            out is not None
            and self.axis == self.given.ndim - 1
            and not np.may_share_memory(out, self.given)
        )
        if direct:
            assert out is not None
            return out.reshape(self.x.shape), True
        return np.empty_like(self.x), False

    def delivered(self, rows: Array, direct: bool, out: Array | None) -> Array:
        """The result as an array, in `out` where that was given."""
        if out is None:
            return self.to_array(rows)
        if not direct:
            np.copyto(out, self.to_array(rows))
        return out

    def require_entries(self) -> None:
        """Refuses rows without entries, naming the first."""
        empty = self.empty()
        if empty.any():
            place = np.unravel_index(int(np.argmax(empty)), self.batch)
            row = f"x[{', '.join(str(i) for i in place)}]" if place else "x"
            raise _core.InvalidArgument(
                f"{row} has no entry left: all are masked (empty='uniform' gives 1/n there)"
            )

    def empty(self) -> Array:
        """Which rows are masked altogether: bool, shape (H,)."""
        found: Array = np.isneginf(self.x[:, 0])
        if found.any():
            found[found] = np.isneginf(self.x[found]).all(axis=1)
        return found


def as_rows(x: ArrayLike, axis: int, mask: ArrayLike | None) -> Rows:
    """Checks the logits' type, shape, axis and mask."""
    given = as_real(x, "x")
    place = _checked_axis(axis, given)
    rows = _moved(given, place)
    if mask is not None:
        keep = _moved(_checked_mask(mask, given.shape), place)
        rows = np.where(keep, rows, -np.inf).astype(given.dtype, copy=False)
    return Rows(rows, given, place)


def _checked_axis(axis: int, x: Array) -> int:
    if x.ndim == 0:
        raise _core.ShapeMismatch(
            "x must have at least one axis, got a number (parameters are bound by their names)"
        )
    place = integer_parameter(axis, "axis")
    if not -x.ndim <= place < x.ndim:
        raise _core.InvalidArgument(
            f"axis must be in [{-x.ndim}, {x.ndim - 1}] for x of shape {x.shape}, got {place}"
        )
    if x.shape[place] == 0:
        raise _core.InvalidArgument(
            f"x must have at least one entry along axis {place}, got shape {x.shape}"
        )
    return place % x.ndim


def _checked_mask(mask: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise _core.DtypeError(
            f"mask must be boolean, True where an entry takes part, got {array.dtype}"
        )
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise _core.ShapeMismatch(
            f"mask must broadcast to the shape of x, {shape}, got shape {array.shape}"
        ) from None


def _moved(array: Array, axis: int) -> Array:
    last: Array = np.moveaxis(array, axis, -1)
    height = math.prod(last.shape[:-1])
    return np.ascontiguousarray(last).reshape(height, last.shape[-1])


def refuses_empty(empty: Any) -> bool:
    """Whether a row without entries is an error."""
    return name_parameter(empty, EMPTY, "empty") == "error"
