"""The array policy, for Python code: the checks themselves are in the compiled core."""

from __future__ import annotations

import math
from dataclasses import fields
from operator import index
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from resolvent import _core

__all__ = [
    "Array",
    "ArrayLike",
    "ReadOnlyFields",
    "as_number",
    "as_number64",
    "as_real",
    "as_real64",
    "as_samples",
    "as_square",
    "count_parameter",
    "integer_parameter",
    "name_parameter",
    "narrowed",
    "number_parameter",
    "positive_parameter",
    "read_only",
    "real_parameter",
    "summed_to",
]

Array: TypeAlias = npt.NDArray[Any]
ArrayLike: TypeAlias = npt.ArrayLike


def as_real(value: ArrayLike, name: str) -> Array:
    """A C-contiguous float32 or float64 array; complex and non-numbers are refused."""
    return _core.as_real(value, name)


def as_samples(value: ArrayLike, name: str, *, check_finite: bool) -> Array:
    """As :func:`as_real`, for the arguments that `check_finite` is about."""
    array = as_real(value, name)
    if check_finite:
        _core.require_finite(array, name, " (check_finite=False skips this check)")
    return array


def as_number(value: ArrayLike, name: str) -> Array:
    """A C-contiguous array of one of the four floating types."""
    return _core.as_number(value, name)


def as_real64(value: ArrayLike, name: str) -> Array:
    """A finite real array in double precision."""
    array = as_real(value, name).astype(np.float64, copy=False)
    _core.require_finite(array, name)
    return array


def as_number64(value: ArrayLike, name: str) -> Array:
    """A finite array in double precision, real or complex."""
    array = as_number(value, name)
    array = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64, copy=False)
    _core.require_finite(array, name)
    return array


def as_square(value: ArrayLike, name: str) -> Array:
    """A finite square matrix in double precision, real or complex."""
    array = as_number64(value, name)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise _core.ShapeMismatch(f"{name} must be a square matrix, got shape {array.shape}")
    return array


def read_only(array: Array) -> Array:
    """The same array, which nobody may write to any more."""
    array.flags.writeable = False
    return array


def _can_change(array: Array | None) -> bool:
    """Whether somebody can write to an array, or to one that it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return False


class ReadOnlyFields:
    """For frozen dataclasses: arrays are read-only, in copies and after unpickling too."""

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray) and _can_change(value):
                object.__setattr__(self, entry.name, read_only(value.copy()))

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self.__post_init__()


def summed_to(rows: Array, batch: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Rows of a batch as an array of `shape`, added up over the axes that were broadcast."""
    full = rows.reshape(batch + rows.shape[1:])
    if math.prod(shape) == 1:
        return np.asarray(full.sum()).reshape(shape)
    extra = full.ndim - len(shape)
    full = full.sum(axis=tuple(range(extra)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and full.shape[i] != 1)
    return np.asarray(full.sum(axis=stretched, keepdims=True))


def narrowed(result: Array, like: Array) -> Array:
    """The result in single precision where the input was."""
    if like.dtype in (np.float32, np.complex64):
        single = np.complex64 if np.iscomplexobj(result) else np.float32
        return result.astype(single)
    return result


def name_parameter(value: object, valid: tuple[str, ...], name: str) -> str:
    """One of the valid names; the error lists them."""
    if isinstance(value, str) and value in valid:
        return value
    listed = ", ".join(repr(v) for v in valid)
    raise _core.InvalidArgument(f"{name} must be one of {listed}; got {value!r}")


def integer_parameter(value: Any, name: str) -> int:
    """An integer; anything else is a DtypeError that names it."""
    try:
        return index(value)
    except TypeError:
        raise _core.DtypeError(f"{name} must be an integer, got {value!r}") from None


def count_parameter(
    value: Any, name: str, least: int = 1, most: int | None = None, why: str = ""
) -> int:
    """An integer of at least `least`, and at most `most`; `why` says where that comes from."""
    count = integer_parameter(value, name)
    if most is None and count < least:
        raise _core.InvalidArgument(f"{name} must be at least {least}, got {count}")
    if most is not None and not least <= count <= most:
        raise _core.InvalidArgument(f"{name} must be between {least} and {why}{most}, got {count}")
    return count


def number_parameter(value: Any, name: str) -> float | complex:
    """A real or complex number; anything else is a DtypeError that names it."""
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "biufc":
        raise _core.DtypeError(f"{name} must be a number, got {value!r}")
    return complex(array) if array.dtype.kind == "c" else float(array)


def real_parameter(value: Any, name: str) -> float:
    """A real number as float; anything else is a DtypeError that names it."""
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "biuf":
        raise _core.DtypeError(f"{name} must be a real number, got {value!r}")
    return float(array)


def positive_parameter(value: Any, name: str) -> float:
    """A positive finite number as float."""
    number = real_parameter(value, name)
    if not 0.0 < number < float("inf"):
        raise _core.InvalidArgument(f"{name} must be positive and finite, got {number:g}")
    return number
