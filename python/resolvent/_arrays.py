"""The array policy, for Python code: the checks themselves are in the compiled core."""

from __future__ import annotations

from operator import index
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from resolvent import _core

__all__ = [
    "Array",
    "ArrayLike",
    "as_number",
    "as_real",
    "as_real64",
    "as_samples",
    "integer_parameter",
    "narrowed",
    "number_parameter",
    "real_parameter",
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


def narrowed(result: Array, like: Array) -> Array:
    """The result in single precision where the input was."""
    if like.dtype in (np.float32, np.complex64):
        single = np.complex64 if np.iscomplexobj(result) else np.float32
        return result.astype(single)
    return result


def integer_parameter(value: Any, name: str) -> int:
    """An integer; anything else is a DtypeError that names it."""
    try:
        return index(value)
    except TypeError:
        raise _core.DtypeError(f"{name} must be an integer, got {value!r}") from None


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
