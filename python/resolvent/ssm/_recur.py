"""Models run step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_number64
from resolvent.discretize import Rule
from resolvent.ssm._batch import all_rows, as_sequence, broadcast_shapes
from resolvent.ssm._realisation import Model, Realisation, realise
from resolvent.ssm._routes import run

__all__ = ["Recurrence", "recur"]


class Recurrence(NamedTuple):
    """What :func:`recur` returns.

    Attributes
    ----------
    outputs : ndarray, shape (..., L)
    state : ndarray, shape (..., N)
        After the last sample: the `x0` of a continuation.
    """

    outputs: Array
    state: Array


def recur(
    u: ArrayLike,
    model: Model | list[Any] | tuple[Any, ...],
    x0: ArrayLike | None = None,
    *,
    step: ArrayLike | None = None,
    rule: Rule = "bilinear",
    alpha: float = 0.5,
    C: ArrayLike | None = None,
) -> Recurrence:
    """Runs x_{k+1} = Ā x_k + B̄ u_k, y_k = C x_{k+1} + D u_k over a signal.

    Parameters
    ----------
    u : array_like, shape (..., L)
        Real for half models. Leading axes broadcast with the model's, `step`'s and `C`'s.
    model, step, rule, alpha, C
        As in :func:`kernel`.
    x0 : array_like, shape (..., N), optional
        The state before; 0 unless given. In the model's own coordinates, of which half models have
        one entry per pair; for a TransferFunction the register, newest first.

    Returns
    -------
    Recurrence
        Unpacks as outputs, state. Real where model and input are. The outputs equal
        ``convolve(u, kernel(...))`` for x0 = 0, up to rounding: about L eps relative. O(N) per
        sample for Diagonal, DPLR (rational rules) and TransferFunction, O(N²) for others.

    Examples
    --------
    >>> import resolvent as rv
    >>> m = rv.ssm.StateSpace([[0.5]], [1.0], [1.0])
    >>> y, x = rv.ssm.recur([1.0, 0.0, 0.0], m)
    >>> y, x
    (array([1.  , 0.5 , 0.25]), array([0.25]))
    >>> rv.ssm.recur([0.0], m, x).outputs
    array([0.125])
    """
    signal = as_sequence(u, "u", "L")
    r = realise(model, step=step, rule=rule, alpha=alpha, C=C)
    if r.kind == "rational":
        return Recurrence(*model.recur(signal, x0))  # type: ignore[union-attr]
    if r.is_half and np.iscomplexobj(signal):
        raise _core.DtypeError(f"u must be real for a half model, got {signal.dtype}")
    signal = as_number64(signal, "u")
    start = None if x0 is None else _state(r, x0)
    shapes = {"u": signal.shape[:-1], "model": r.batch}
    if start is not None:
        shapes["x0"] = start.shape[:-1]
    batch = broadcast_shapes(**shapes)
    wide = _widened(r, batch)
    before = None if start is None else all_rows(start, batch)
    inputs = all_rows(signal, batch)
    outputs, states = run(wide, inputs, before)
    if wide.direct.any():
        outputs = outputs + wide.direct[:, np.newaxis] * inputs
    inputs_real = not np.iscomplexobj(signal) and (before is None or not np.iscomplexobj(before))
    if r.is_half or (r.is_real and inputs_real):
        outputs = outputs.real
        states = states if r.is_half else states.real
    return Recurrence(
        np.ascontiguousarray(outputs).reshape(*batch, signal.shape[-1]),
        np.ascontiguousarray(states).reshape(*batch, states.shape[-1]),
    )


def _state(r: Realisation, x0: ArrayLike) -> Array:
    start = as_number64(x0, "x0")
    size = r.read_out.shape[-1]
    if start.ndim == 0 or start.shape[-1] != size:
        raise _core.ShapeMismatch(f"x0 must have shape (..., {size}), got {start.shape}")
    return start


def _widened(r: Realisation, batch: tuple[int, ...]) -> Realisation:
    """The realisation over more channels: rows that served all of the old batch are repeated."""
    if batch == r.batch:
        return r

    def spread(rows: Array) -> Array:
        if rows.shape[0] == 1:
            return rows
        return all_rows(rows.reshape(*r.batch, *rows.shape[1:]), batch, rows.ndim - 1)

    return replace(
        r,
        batch=batch,
        steps=None if r.steps is None else spread(r.steps),
        C=None if r.C is None else spread(r.C),
        direct=all_rows(r.direct.reshape(r.batch), batch, 0),
    )
