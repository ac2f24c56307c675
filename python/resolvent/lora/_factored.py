"""A matrix known by its factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ReadOnlyFields, as_real, real_parameter
from resolvent.lora._norms import exponent_of

__all__ = ["Factored"]


def _triangle(columns: Array) -> tuple[Array, int]:
    """R of columns = QR times a power of two, which brings its entries near 1."""
    exponent = exponent_of(columns)
    scaled = np.ldexp(columns.astype(np.float64), -exponent)
    return np.asarray(np.linalg.qr(scaled, mode="r")), exponent


@dataclass(frozen=True, eq=False)
class Factored(ReadOnlyFields):
    """``scale * left @ right``, without forming it. NumPy takes it for the matrix.

    Attributes
    ----------
    left : ndarray, shape (n, k)
        k may be 0: the zero matrix.
    right : ndarray, shape (k, m)
    scale : float

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> F = rv.lora.Factored(np.ones((3, 1)), np.array([[1.0, 2.0]]), scale=0.5)
    >>> np.zeros((3, 2)) + F
    array([[0.5, 1. ],
           [0.5, 1. ],
           [0.5, 1. ]])
    """

    left: Array
    right: Array
    scale: float = 1.0

    def __post_init__(self) -> None:
        left, right = as_real(self.left, "left"), as_real(self.right, "right")
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
            raise _core.ShapeMismatch(
                f"left must be n × k and right k × m, got shapes {left.shape} and {right.shape}"
            )
        object.__setattr__(self, "left", left)
        object.__setattr__(self, "right", right)
        object.__setattr__(self, "scale", real_parameter(self.scale, "scale"))
        super().__post_init__()

    @classmethod
    def zero(cls, shape: tuple[int, int], dtype: Any = np.float64) -> Factored:
        """The zero matrix."""
        n, m = shape
        return cls(np.zeros((n, 0), dtype), np.zeros((0, m), dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return len(self.left), self.right.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the matrix."""
        return np.result_type(self.left, self.right)

    @property
    def rank(self) -> int:
        """k: the rank is at most this."""
        return len(self.right)

    def dense(self) -> Array:
        """The matrix. Cost 2nmk."""
        left: Array = self.left * self.left.dtype.type(self.scale)
        return np.asarray(left @ self.right)

    def norm(self) -> float:
        """The Frobenius norm. Cost O((n + m) k²)."""
        left, down = _triangle(self.left)
        right, up = _triangle(self.right.T)
        return math.ldexp(abs(self.scale) * float(np.linalg.norm(left @ right.T)), down + up)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a Factored becomes an array only by computing it")
        return self.dense().astype(dtype or self.dtype, copy=False)

    def __neg__(self) -> Factored:
        return Factored(self.left, self.right, -self.scale)

    def __repr__(self) -> str:
        n, m = self.shape
        return f"Factored({n}×{m}, rank {self.rank})"
