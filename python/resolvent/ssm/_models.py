"""State-space models given by their matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ReadOnlyFields, as_number64, name_parameter
from resolvent._html import table
from resolvent.ssm._batch import broadcast_shapes

Time = Literal["discrete", "continuous"]
TIMES: tuple[str, ...] = get_args(Time)


@dataclass(frozen=True, eq=False)
class StateSpace(ReadOnlyFields):
    """x_{k+1} = A x_k + B u_k, y_k = C x_{k+1} + direct·u_k; or x' = A x + B u, y = C x + direct·u.

    One input and one output per channel; leading axes are channels and broadcast.

    Parameters
    ----------
    A : array_like, shape (..., N, N)
    B, C : array_like, shape (..., N)
    direct : array_like, shape (...)
        The feedthrough.
    time : {"discrete", "continuous"}

    Attributes
    ----------
    A, B, C, direct, time
        As given, read-only; float64, or complex128 where any of them is complex.

    Notes
    -----
    The output is read from the state *after* the update, as S4 does, so that the discrete kernel is
    K_k = C Aᵏ B. Control reads y_k = C' x_k + D' u_k: take C' = C A and D' = C B + direct.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> m = rv.ssm.StateSpace([[0.5, 0.0], [0.0, 0.25]], [1.0, 1.0], [1.0, 2.0])
    >>> m
    StateSpace(discrete, order=2)
    >>> np.asarray(rv.ssm.kernel(m, 3))
    array([3.   , 1.   , 0.375])
    """

    A: Array
    B: Array
    C: Array
    direct: Array | float = 0.0
    time: Time = "discrete"

    def __post_init__(self) -> None:
        name_parameter(self.time, TIMES, "time")
        parts = {name: as_number64(getattr(self, name), name) for name in ("A", "B", "C", "direct")}
        A = parts["A"]
        if A.ndim < 2 or A.shape[-1] != A.shape[-2] or A.shape[-1] == 0:
            raise _core.ShapeMismatch(f"A must have shape (..., N, N), got {A.shape}")
        order = A.shape[-1]
        for name in ("B", "C"):
            if parts[name].ndim == 0 or parts[name].shape[-1] != order:
                raise _core.ShapeMismatch(
                    f"{name} must have shape (..., {order}) for A of shape {A.shape}, "
                    f"got {parts[name].shape}"
                )
        broadcast_shapes(
            A=A.shape[:-2],
            B=parts["B"].shape[:-1],
            C=parts["C"].shape[:-1],
            direct=parts["direct"].shape,
        )
        kind = np.result_type(*parts.values())
        for name, part in parts.items():
            object.__setattr__(self, name, part.astype(kind))
        super().__post_init__()

    @property
    def order(self) -> int:
        """Number N of states."""
        return int(self.A.shape[-1])

    @property
    def channels(self) -> tuple[int, ...]:
        """The leading axes of all parts together."""
        return np.broadcast_shapes(
            self.A.shape[:-2], self.B.shape[:-1], self.C.shape[:-1], np.shape(self.direct)
        )

    def poles(self) -> Array:
        """The eigenvalues of A, shape (..., N), complex; exact for triangular matrices.

        Examples
        --------
        >>> import resolvent as rv
        >>> rv.ssm.StateSpace([[0.5, 1.0], [0.0, 0.25]], [1.0, 1.0], [1.0, 2.0]).poles()
        array([0.5 +0.j, 0.25+0.j])
        """
        if not np.triu(self.A, 1).any() or not np.tril(self.A, -1).any():
            diagonal: Array = np.diagonal(self.A, axis1=-2, axis2=-1).astype(np.complex128)
            return diagonal
        return np.linalg.eigvals(self.A).astype(np.complex128)

    def is_stable(self) -> bool:
        """Whether every pole lies inside the circle (discrete) or left of the axis (continuous)."""
        poles = self.poles()
        inside = np.abs(poles) < 1.0 if self.time == "discrete" else poles.real < 0.0
        return bool(inside.all())

    def __repr__(self) -> str:
        channels = f", channels={self.channels}" if self.channels else ""
        return f"StateSpace({self.time}, order={self.order}{channels})"

    def _repr_html_(self) -> str:
        rows = [
            ("time", self.time),
            ("order", str(self.order)),
            ("channels", str(self.channels)),
            ("dtype", str(self.A.dtype)),
        ]
        return table("State-space model", rows)
