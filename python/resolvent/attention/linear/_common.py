"""What the linear recurrences share: their forms, and the checks of their arguments."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    as_number,
    as_real,
    count_parameter,
    name_parameter,
    summed_to,
)

__all__ = [
    "FORMS",
    "Arguments",
    "Form",
    "Outputs",
    "all_rows",
    "chunk_parameter",
    "form_parameter",
    "gather",
    "outputs",
    "own_rows",
    "refuses_overflow",
    "require_no_batch",
    "require_range",
    "schedule",
    "start",
]

#: How a recurrence over time is evaluated.
FORMS = ("recurrent", "parallel", "chunked")

Form = Literal["recurrent", "parallel", "chunked"]

#: The outputs, or with `return_state` the outputs and the state after the last step.
Outputs: TypeAlias = Array | tuple[Array, Any]


P = ParamSpec("P")
R = TypeVar("R")


def form_parameter(form: object) -> str:
    """One of :data:`FORMS`."""
    return name_parameter(form, FORMS, "form")


def chunk_parameter(chunk: object) -> int:
    """The steps of one chunk, at least 1."""
    return count_parameter(chunk, "chunk")


def own_rows(array: Array, trailing: int, batch: tuple[int, ...]) -> tuple[Array, Array]:
    """Rows (h, ...) as many as there are, and for each row of the batch which of them it is."""
    lead = array.shape[: array.ndim - trailing]
    rows = np.ascontiguousarray(array).reshape(math.prod(lead), *array.shape[len(lead) :])
    places = np.arange(math.prod(lead), dtype=np.int64).reshape(lead)
    return rows, np.ascontiguousarray(np.broadcast_to(places, batch)).reshape(-1)


def all_rows(array: Array, trailing: int, batch: tuple[int, ...]) -> Array:
    """Rows (H, ...), one for every row of the batch."""
    tail = array.shape[array.ndim - trailing :]
    full = np.broadcast_to(array, batch + tail).reshape(math.prod(batch), *tail)
    return np.ascontiguousarray(full)


def refuses_overflow(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with InvalidArgument where sums of its result or its gradients overflow."""

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(over="ignore", invalid="ignore"):
            result = function(*args, **kwargs)
        gradients = getattr(result, "_fields", None)
        if gradients is None:
            outputs = result[0] if isinstance(result, tuple) else result
            _require_in_range(outputs, "the result overflows at {}; scale the inputs down")
        for name in gradients or ():
            # That by an empty start may truly be infinite (rwkv).
            if name != "initial" and getattr(result, name) is not None:
                message = f"the gradient by {name} overflows at {{}}; scale g down"
                _require_in_range(getattr(result, name), message)
        return result

    return checked


def _require_in_range(array: Any, message: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        raise _core.InvalidArgument(message.format(np.argwhere(~finite)[0].tolist()))


def _label(axes: str) -> str:
    """The axes L, N as "(..., L, N)"."""
    return f"({', '.join(['...', *axes])})"


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call, checked: finite, of shapes that fit, with broadcast batch axes.

    Attributes
    ----------
    arrays : dict
        C-contiguous, by name; arguments that were not given are absent. Those with a time axis are
        in `dtype`; the others, parameters and states, keep their precision.
    axes : dict
        Their trailing axes, one letter each.
    sizes : dict
        The size of every axis, by letter.
    batch : tuple of int
        The leading axes of the result.
    dtype : dtype
        float32 where all arguments with a time axis are, else float64: that of the result.
    """

    arrays: dict[str, Array]
    axes: dict[str, str]
    sizes: dict[str, int]
    batch: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def heads(self) -> int:
        """Rows of the batch."""
        return math.prod(self.batch)

    def tail(self, axes: str) -> tuple[int, ...]:
        """The sizes of these axes."""
        return tuple(self.sizes[axis] for axis in axes)

    def working(self, name: str) -> Array:
        """The argument in the precision of the result."""
        array = self.arrays[name]
        if not np.iscomplexobj(array):
            return array.astype(self.dtype, copy=False)
        single = self.dtype == np.float32
        return array.astype(np.complex64 if single else np.complex128, copy=False)

    def own_rows(self, name: str) -> tuple[Array, Array]:
        """:func:`own_rows` of the argument in the precision of the result."""
        return own_rows(self.working(name), len(self.axes[name]), self.batch)

    def all_rows(self, name: str) -> Array:
        """Rows (H, ...) of the argument in the precision of the result."""
        return all_rows(self.working(name), len(self.axes[name]), self.batch)

    def upstream(self, g: ArrayLike, axes: str) -> Array:
        """The gradient by a result with these axes, as rows (H, ...)."""
        array = as_real(g, "g")
        _core.require_finite(array, "g")
        tail = self.tail(axes)
        if array.shape != self.batch + tail:
            raise _core.ShapeMismatch(
                f"g must have the shape of the result, {self.batch + tail}, got {array.shape}"
            )
        return np.asarray(array, dtype=self.dtype).reshape(self.heads, *tail)

    def shaped(self, rows: Array) -> Array:
        """Rows (H, ...) of a result as an array (*batch, ...)."""
        return rows.reshape(self.batch + rows.shape[1:])

    def gradient(self, name: str, rows: Array) -> Array:
        """A gradient by rows (H, ...) as that by the argument: added up over broadcast axes.

        For a state that was not given, the gradient by the zeros in its place, one for every row.
        """
        if name not in self.arrays:
            return self.shaped(rows)
        return summed_to(rows, self.batch, self.arrays[name].shape).astype(rows.dtype, copy=False)


def gather(
    arguments: dict[str, tuple[ArrayLike | None, str]], *, complex_names: tuple[str, ...] = ()
) -> Arguments:
    """Checks the arguments of a recurrence.

    Parameters
    ----------
    arguments : dict
        For every name the value, None if it was not given, and its trailing axes as letters: "L"
        is time, a digit an axis of that size. The first argument with a letter sets its size.
    complex_names : tuple of str
        Those that may be complex.

    Raises
    ------
    ShapeMismatch
        Naming the argument and the sizes that were expected.
    InvalidArgument
        For NaN and infinity, with the place.
    """
    arrays: dict[str, Array] = {}
    axes = {name: letters for name, (_, letters) in arguments.items()}
    sizes = {str(digit): digit for digit in range(10)}
    for name, (value, letters) in arguments.items():
        if value is None:
            continue
        array = as_number(value, name) if name in complex_names else as_real(value, name)
        _core.require_finite(array, name)
        _fit(name, array, letters, sizes)
        arrays[name] = array
    timed = [array for name, array in arrays.items() if "L" in axes[name]]
    dtype = np.dtype(np.result_type(*timed))
    for name, array in arrays.items():
        if "L" in axes[name]:
            arrays[name] = array.astype(dtype, copy=False)
    return Arguments(arrays, axes, sizes, _batch(arrays, axes), dtype)


def _fit(name: str, array: Array, letters: str, sizes: dict[str, int]) -> None:
    """Compares the trailing axes with the sizes known so far, and adds the new ones."""
    known = [f"{axis} = {sizes[axis]}" for axis in letters if axis in sizes and axis.isalpha()]
    expected = _label(letters) + (f" with {' and '.join(known)}" if known else "")
    tail = array.shape[array.ndim - len(letters) :]
    if array.ndim < len(letters) or any(
        sizes.setdefault(axis, size) != size for axis, size in zip(letters, tail, strict=True)
    ):
        raise _core.ShapeMismatch(f"{name} must have shape {expected}, got {array.shape}")


def _batch(arrays: dict[str, Array], axes: dict[str, str]) -> tuple[int, ...]:
    leads = {name: a.shape[: a.ndim - len(axes[name])] for name, a in arrays.items()}
    try:
        return np.broadcast_shapes(*leads.values())
    except ValueError:
        listed = ", ".join(f"{name} {lead}" for name, lead in leads.items())
        raise _core.ShapeMismatch(f"leading axes must broadcast together, got {listed}") from None


def require_range(array: Array, name: str, allowed: Array, expected: str) -> None:
    """InvalidArgument naming the first entry where `allowed` does not hold."""
    if allowed.all():
        return
    place = tuple(int(i) for i in np.argwhere(~allowed)[0])
    where = f"{name}[{', '.join(map(str, place))}]" if place else name
    raise _core.InvalidArgument(f"{name} must be {expected}, got {where} = {array[place]!s}")


def require_no_batch(a: Arguments, *names: str) -> None:
    """ShapeMismatch for parameters with leading axes."""
    for name in names:
        if name in a.arrays and a.arrays[name].ndim != len(a.axes[name]):
            shape = a.tail(a.axes[name])
            raise _core.ShapeMismatch(f"{name} must have shape {shape}, got {a.arrays[name].shape}")


def start(a: Arguments, axes: str, name: str = "initial", *, dtype: Any = None) -> Array:
    """The states before the first step as rows, zeros where they were not given; in a.dtype."""
    kind = a.dtype if dtype is None else dtype
    if name in a.arrays:
        return a.all_rows(name).astype(kind, copy=False)
    return np.zeros((a.heads, *a.tail(axes)), kind)


def schedule(form: str, chunk: int, length: int) -> tuple[int, bool]:
    """The steps of a chunk, and whether chunks may run side by side."""
    return min(chunk, max(length, 1)), form == "chunked"


def outputs(a: Arguments, y: Array, state: Array, return_state: bool) -> Outputs:
    """Rows as the caller's arrays."""
    return (a.shaped(y), a.shaped(state)) if return_state else a.shaped(y)
