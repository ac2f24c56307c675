"""An adapter: what is trained, what it stands for, and the gradient that reaches it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real,
    name_parameter,
    positive_parameter,
    real_parameter,
)
from resolvent._html import table
from resolvent.lora._factored import Factored
from resolvent.lora._lowrank import as_matrix
from resolvent.lora._norms import column_lengths, frobenius

__all__ = ["OPTIMIZERS", "Adapter", "Optimizer", "full_direction", "weight_like"]

OPTIMIZERS = ("sgd", "adam")

Optimizer = Literal["sgd", "adam"]


def full_direction(G: Array, optimizer: Optimizer) -> Array:
    """The first step of full fine-tuning per unit learning rate: −G, or Adam's −sign(G)."""
    return -G if optimizer == "sgd" else -np.sign(G)


def weight_like(value: ArrayLike | None, shape: tuple[int, int], name: str, why: str = "") -> Array:
    """A finite matrix of the adapter's shape."""
    if value is None:
        raise _core.InvalidArgument(f"{name} is needed{why}")
    matrix = as_matrix(value, name)
    if matrix.shape != shape:
        raise _core.ShapeMismatch(
            f"{name} must have the adapter's shape {shape}, got {matrix.shape}"
        )
    _core.require_finite(matrix, name)
    return matrix


@dataclass(frozen=True, eq=False)
class Adapter(ReadOnlyFields):
    """W = W₀ + offset + s·A diag(importance) B, in columns of the length `magnitude` for DoRA.

    The model computes y = x W with W n × m. PyTorch has the transposes: see :func:`convert`.

    Parameters
    ----------
    A : array_like, shape (n, r)
    B : array_like, shape (r, m)
    s : float
        The factor that LoRA calls α/r and rsLoRA α/√r.
    offset : Factored, optional
        What is added to W₀ once, before training, so that the start is W₀; 0 if not given.
    method : str
        How it was made; a name for tables.
    importance : array_like, shape (r,), optional
        AdaLoRA's Λ.
    magnitude : array_like, shape (m,), optional
        DoRA's column lengths.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> W0 = np.diag([3.0, 2.0, 1.0])
    >>> adapter = rv.lora.initialize("pissa", weight=W0, rank=1)
    >>> adapter
    Adapter(3×3, rank 1, s=1, pissa)
    >>> np.diagonal(adapter.frozen(W0)).round(12)  # what stays, without the adapter's part
    array([0., 2., 1.])
    >>> np.allclose(adapter.merged(W0), W0)
    True
    """

    A: Array
    B: Array
    s: float = 1.0
    offset: Factored | None = None
    method: str = ""
    importance: Array | None = None
    magnitude: Array | None = None

    def __post_init__(self) -> None:
        A, B = as_real(self.A, "A"), as_real(self.B, "B")
        if A.ndim != 2 or B.ndim != 2 or A.shape[1] != B.shape[0] or 0 in A.shape + B.shape:
            raise _core.ShapeMismatch(
                f"A must be n × r and B r × m, got shapes {A.shape} and {B.shape}"
            )
        shape = len(A), B.shape[1]
        offset = Factored.zero(shape, A.dtype) if self.offset is None else self.offset
        if not isinstance(offset, Factored):
            raise _core.DtypeError(f"offset must be a Factored, got {type(offset).__name__}")
        if offset.shape != shape:
            raise _core.ShapeMismatch(f"offset must have shape {shape}, got {offset.shape}")
        checked: dict[str, Any] = {
            "A": A,
            "B": B,
            "s": positive_parameter(self.s, "s"),
            "offset": offset,
            "importance": _vector(self.importance, "importance", B.shape[0]),
            "magnitude": _vector(self.magnitude, "magnitude", B.shape[1]),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        super().__post_init__()

    @property
    def rank(self) -> int:
        """r."""
        return len(self.B)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return len(self.A), self.B.shape[1]

    @property
    def parameters(self) -> dict[str, Array]:
        """What is trained, by name."""
        names = ("A", "B", "importance", "magnitude")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def delta(self) -> Factored:
        """s·A diag(importance) B."""
        left = self.A if self.importance is None else self.A * self.importance
        return Factored(left, self.B, self.s)

    def replace(self, **parameters: Array) -> Adapter:
        """The adapter with other parameters; the offset belongs to the start and stays."""
        unknown = parameters.keys() - self.parameters.keys()
        if unknown:
            valid = ", ".join(self.parameters)
            raise _core.InvalidArgument(f"parameters are {valid}; got {min(unknown)!r}")
        changed: dict[str, Any] = dict(parameters)
        return replace(self, **changed)

    def frozen(self, weight: ArrayLike) -> Array:
        """What the base model holds while the adapter is trained: W₀ + offset."""
        W = weight_like(weight, self.shape, "weight")
        assert self.offset is not None
        return np.asarray(np.add(W, self.offset.dense().astype(W.dtype, copy=False)))

    def merged(self, weight: ArrayLike) -> Array:
        """What the model computes with."""
        W = weight_like(weight, self.shape, "weight")
        return self._scaled(self._sum(W))

    def _sum(self, W: Array) -> Array:
        """W₀ + offset + delta; the last two are added first, so that a fresh adapter gives W₀."""
        assert self.offset is not None
        change = self.delta.dense()
        if self.offset.rank:
            change = change + self.offset.dense()
        return np.asarray(np.add(W, change.astype(W.dtype, copy=False)))

    def _scaled(self, V: Array) -> Array:
        if self.magnitude is None:
            return V
        factors = self.magnitude / column_lengths(V)
        return np.asarray(V * factors.astype(V.dtype, copy=False))

    def gradients(self, G: ArrayLike, weight: ArrayLike | None = None) -> dict[str, Array]:
        """The loss's gradients by the parameters, from its gradient by W.

        Parameters
        ----------
        G : array_like, shape (n, m)
            ∂L/∂W where the model is.
        weight : array_like, shape (n, m), optional
            W₀; DoRA needs it.

        Returns
        -------
        dict
            As `parameters`. ∂A = s·G Bᵀ, ∂B = s·AᵀG. DoRA's column lengths count as constants in
            ∂A and ∂B, as in its paper (Liu et al. 2024, arXiv 2402.09353, section 4.3).
        """
        G = weight_like(G, self.shape, "G")
        return self._gradients(G, None if self.magnitude is None else self._columns(weight))

    def _columns(self, weight: ArrayLike | None) -> tuple[Array, Array]:
        """DoRA's columns of length 1, and the lengths they had."""
        W = weight_like(weight, self.shape, "weight", " for DoRA, whose columns it scales")
        V = self._sum(W)
        lengths = column_lengths(V)
        return (V / lengths).astype(V.dtype, copy=False), lengths

    def _gradients(self, G: Array, columns: tuple[Array, Array] | None) -> dict[str, Array]:
        found: dict[str, Array] = {}
        inner = G
        if columns is not None:
            assert self.magnitude is not None
            unit, lengths = columns
            found["magnitude"] = (G * unit).sum(axis=0)
            inner = G * (self.magnitude / lengths).astype(G.dtype, copy=False)
        s = inner.dtype.type(self.s)
        left, right = self.A, self.B
        if self.importance is not None:
            found["importance"] = s * np.einsum("ik,ik->k", self.A, inner @ self.B.T)
            left, right = left * self.importance, right * self.importance[:, np.newaxis]
        found["A"] = s * (inner @ right.T)
        found["B"] = s * (left.T @ inner)
        return {name: found[name] for name in self.parameters}

    def first_update(
        self,
        G: ArrayLike,
        optimizer: Optimizer = "sgd",
        *,
        weight: ArrayLike | None = None,
        learning_rate: float | None = None,
    ) -> Array:
        """How W changes in the first step of training.

        Parameters
        ----------
        G : array_like, shape (n, m)
            ∂L/∂W at the start.
        optimizer : {"sgd", "adam"}
            Adam's first step is the sign of the gradient (ε → 0).
        weight : array_like, shape (n, m), optional
            W₀; DoRA needs it.
        learning_rate : float, optional
            If given, the change of one step of that size; else its derivative at 0: for SGD
            −s²(AAᵀG + GBᵀB), for Adam −s[A sign(AᵀG) + sign(GBᵀ)B].

        Returns
        -------
        ndarray, shape (n, m)
        """
        G = weight_like(G, self.shape, "G")
        name_parameter(optimizer, OPTIMIZERS, "optimizer")
        if learning_rate is None:
            return np.asarray(self.first_direction(G, optimizer, weight))
        steps, columns = self._first_steps(G, optimizer, weight)
        eta = real_parameter(learning_rate, "learning_rate")
        if not math.isfinite(eta):
            raise _core.InvalidArgument(f"learning_rate must be finite, got {eta}")
        moved = self.replace(**{k: v + eta * steps[k] for k, v in self.parameters.items()})
        if columns is None:
            return np.asarray(np.subtract(moved.delta.dense(), self.delta.dense()))
        W = as_matrix(weight, "weight")  # type: ignore[arg-type]
        return moved.merged(W) - self.merged(W)

    def first_direction(
        self, G: Array, optimizer: Optimizer, weight: ArrayLike | None = None
    ) -> Factored | Array:
        """As :meth:`first_update` of a checked G, without forming a matrix of G's size if possible.

        DoRA's has no small rank.
        """
        steps, columns = self._first_steps(G, optimizer, weight)
        change = self._inner_derivative(steps)
        if columns is None:
            return change
        return self._turned(change.dense(), steps["magnitude"], *columns)

    def _first_steps(
        self, G: Array, optimizer: Optimizer, weight: ArrayLike | None
    ) -> tuple[dict[str, Array], tuple[Array, Array] | None]:
        """What the parameters move by, per unit learning rate; DoRA's columns."""
        columns = None if self.magnitude is None else self._columns(weight)
        slopes = self._gradients(G, columns)
        return {name: full_direction(slope, optimizer) for name, slope in slopes.items()}, columns

    def _inner_derivative(self, steps: dict[str, Array]) -> Factored:
        """The change of s·A diag(importance) B along a change of the parameters, of rank 2r."""
        left, step = self.A, steps["A"]
        if self.importance is not None:
            step = step * self.importance + left * steps["importance"]
            left = left * self.importance
        return Factored(np.hstack([step, left]), np.vstack([self.B, steps["B"]]), self.s)

    def _turned(self, change: Array, growth: Array, unit: Array, lengths: Array) -> Array:
        """d(m V/‖V‖) = dm V/‖V‖ + (m/‖V‖)(dV − u uᵀdV)."""
        assert self.magnitude is not None
        turned = change - unit * (unit * change).sum(axis=0)
        weights = (self.magnitude / lengths).astype(change.dtype, copy=False)
        return np.asarray(unit * growth + turned * weights)

    def tangent(
        self, weight: ArrayLike | None = None
    ) -> tuple[Array, Array, tuple[Array, Array | None] | None]:
        """What the merged W can change along, to first order.

        Parameters
        ----------
        weight : array_like, shape (n, m), optional
            W₀; DoRA needs it.

        Returns
        -------
        A, B : ndarray
            Changes A Y + X B for any X and Y; columns of A and rows of B may be missing.
        extra : (ndarray, ndarray or None) or None
            Columns x_k and y_k of further changes x_k y_kᵀ; None for the unit vectors e_k.
        """
        if self.importance is not None:
            active = self.importance != 0.0
            return self.A[:, active], self.B[active], (self.A[:, ~active], self.B[~active].T)
        if self.magnitude is not None:
            unit, lengths = self._columns(weight)
            return self.A, self.B * (self.magnitude / lengths), (unit, None)
        return self.A, self.B, None

    def __repr__(self) -> str:
        n, m = self.shape
        name = f", {self.method}" if self.method else ""
        return f"Adapter({n}×{m}, rank {self.rank}, s={self.s:g}{name})"

    def _repr_html_(self) -> str:
        assert self.offset is not None
        rows = [
            ("shape of W", f"{self.shape[0]} × {self.shape[1]}"),
            ("rank", str(self.rank)),
            ("s", f"{self.s:.6g}"),
            ("‖A‖, ‖B‖", f"{frobenius(self.A):.6g}, {frobenius(self.B):.6g}"),
            ("‖offset‖", f"{self.offset.norm():.6g}"),
            ("trained", ", ".join(self.parameters)),
        ]
        return table(f"Adapter {self.method}".strip(), rows)


def _vector(value: ArrayLike | None, name: str, size: int) -> Array | None:
    if value is None:
        return None
    array = as_real(value, name)
    if array.shape != (size,):
        raise _core.ShapeMismatch(f"{name} must have shape ({size},), got {array.shape}")
    return array
