"""Leading axes as rows, and back: the core takes arrays of two axes, one channel a row."""

from __future__ import annotations

import math

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_number

__all__ = [
    "all_rows",
    "as_finite",
    "as_sequence",
    "broadcast_shapes",
    "few_rows",
    "same_kind",
]


def broadcast_shapes(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common batch shape; the error names and prints each of them."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise _core.ShapeMismatch(f"leading axes must broadcast together, got {listed}") from None


def as_finite(value: ArrayLike, name: str) -> Array:
    """A finite array of one of the four floating types."""
    array = as_number(value, name)
    _core.require_finite(array, name)
    return array


def as_sequence(value: ArrayLike, name: str, axis: str) -> Array:
    """A finite array of at least one axis, whose last one is called `axis`."""
    array = as_finite(value, name)
    if array.ndim == 0:
        raise _core.ShapeMismatch(f"{name} must have shape (..., {axis}), got ()")
    return array


def all_rows(array: Array, batch: tuple[int, ...], trailing: int = 1) -> Array:
    """(H, ...): one row for every channel of the batch."""
    tail = array.shape[array.ndim - trailing :]
    full = np.broadcast_to(array, batch + tail).reshape(math.prod(batch), *tail)
    return np.ascontiguousarray(full)


def few_rows(array: Array, batch: tuple[int, ...], trailing: int = 1) -> Array:
    """(H, ...), or (1, ...) where all channels have the same."""
    tail = array.shape[array.ndim - trailing :]
    if math.prod(array.shape[: array.ndim - trailing]) == 1:
        return np.ascontiguousarray(array.reshape(1, *tail))
    return all_rows(array, batch, trailing)


def same_kind(*arrays: Array) -> tuple[Array, ...]:
    """The arrays in the smallest of the four floating types that holds them all."""
    kind = np.result_type(*arrays, np.float32)
    return tuple(np.asarray(array, dtype=kind, order="C") for array in arrays)
