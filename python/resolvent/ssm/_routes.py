"""The routes to a kernel: what each computes, and for which models.

A route takes a realisation to rows (H, L). Those of `PERIODIC` give the L-periodic kernel of the
read-out, Σ_j C Ā^{k+jL} B̄, and so the kernel itself from C(I − Āᴸ); those of `_PLAIN` the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent._warnings import IllConditionedWarning, warn_caller
from resolvent.ssm._batch import all_rows
from resolvent.ssm._realisation import Realisation, as_dplr, has_normal_form, has_product_form
from resolvent.ssm._sums import overflow_message

__all__ = ["PERIODIC", "ROUTES", "Result", "advance_read_out", "applicable", "compute", "run"]

#: All routes, those that lose no digits of any model first.
ROUTES = ("power", "recurrence", "dplr", "allpass", "diagonal", "rational", "scan")

#: From this condition number on, a route that has one warns.
_DIGITS_WARNED = 1e4


@dataclass(frozen=True)
class Result:
    """Rows (H, L), and the condition number of the detour that they took, if any."""

    rows: Array
    condition: float | None = None


def _power(r: Realisation, length: int) -> Result:
    A, B, C = r.dense
    rows = all_rows(C, (r.channels,))
    if A.shape[0] == B.shape[0] == 1:  # one model, read out in many ways
        return Result(_core.ssm.power_kernel(A, B, rows[np.newaxis], length)[0])
    A, B = all_rows(A, (r.channels,), 2), all_rows(B, (r.channels,))
    return Result(_core.ssm.power_kernel(A, B, rows[:, np.newaxis], length)[:, 0])


def _recurrence(r: Realisation, length: int) -> Result:
    impulse = np.zeros((r.channels, length))
    impulse[:, 0] = 1.0
    if r.kind == "rational":
        return Result(_rational_rows(r, r.model.kernel(length)))
    return Result(run(r, impulse, None)[0])


def run(r: Realisation, u: Array, x0: Array | None) -> tuple[Array, Array]:
    """Outputs (H, L) and final states (H, N) of a model with states, without the feedthrough."""
    if r.kind in ("dplr", "diagonal") and (r.kind == "diagonal" or r.is_rational_rule):
        return _run_modal(r, u, x0)
    A, B, C = r.dense
    kind = np.result_type(A, u, np.float64 if x0 is None else x0)
    states = np.zeros((r.channels, A.shape[-1]), kind)
    if x0 is not None:
        states[:] = r.expanded(x0)
    inputs = np.ascontiguousarray(u, dtype=kind)
    A, B, C = (part.astype(kind, copy=False) for part in (A, B, C))
    if A.shape[0] == B.shape[0] == C.shape[0] == 1:
        y, x = _core.ssm.run_dense(A[0], B[0], C[0], inputs, states)
        return y, x[:, : r.read_out.shape[-1]]
    A, B, C = (all_rows(part, (r.channels,), k) for part, k in ((A, 2), (B, 1), (C, 1)))
    outputs = np.empty(u.shape, kind)
    for h in range(r.channels):
        y, x = _core.ssm.run_dense(A[h], B[h], C[h], inputs[h : h + 1], states[h : h + 1])
        outputs[h], states[h] = y[0], x[0]
    return outputs, states[:, : r.read_out.shape[-1]]


def _run_modal(r: Realisation, u: Array, x0: Array | None) -> tuple[Array, Array]:
    part = r.modal
    states = np.zeros((r.channels, part.A.shape[-1]), np.complex128)
    if x0 is not None:
        states[:] = x0
    y, x = _core.ssm.run_diagonal(
        part.A, part.P, part.Q, part.B, np.asarray(r.read_out, np.complex128), r.weight_rows,
        r.is_half, np.ascontiguousarray(u, dtype=np.complex128), states,
    )  # fmt: skip
    return y, x


def _modal_circle(r: Realisation, length: int) -> Result:
    """The L-periodic kernel by Cauchy sums."""
    part = r.continuous
    assert r.steps is not None
    rows = _core.ssm.dplr_kernel(
        part.A, part.P, part.Q, part.B, all_rows(r.read_out, (r.channels,)), r.weight_rows,
        r.is_half, np.array(np.broadcast_to(r.steps, (r.channels,))), r.alpha, length,
    )  # fmt: skip
    return Result(rows)


def _dplr_circle(r: Realisation, length: int) -> Result:
    return _modal_circle(as_dplr(r) if r.kind == "system" else r, length)


def _allpass_circle(r: Realisation, length: int) -> Result:
    assert r.steps is not None
    rows = _core.ssm.cascade_kernel(
        r.model._native, all_rows(r.read_out, (r.channels,)).astype(np.float64),
        np.array(np.broadcast_to(r.steps, (r.channels,))), r.alpha, length,
    )  # fmt: skip
    return Result(rows)


@dataclass(frozen=True)
class Modes:
    """A kernel as Σ_n weights_n·eigenvalues_n^k: rows (H, M); one of each pair if `half`."""

    weights: Array
    eigenvalues: Array
    half: bool
    condition: float | None = None


def modes(r: Realisation) -> Modes:
    """The modes of a realisation: its own where it is diagonal, else by eigenvectors."""
    if r.kind == "diagonal":
        part = r.modal
        weights = r.read_out * part.B * r.weight_rows
        return Modes(0.5 * weights if r.is_half else weights, part.A, r.is_half)
    if r.kind == "rational":
        residues, poles = r.model.residues()
        weights = all_rows(residues, r.batch)
        largest = np.abs(_rational_rows(r, r.model.kernel(2 * r.order))).max(axis=-1)
        sizes = np.abs(weights).sum(axis=-1)
        condition = float(np.max(sizes / np.where(largest > 0.0, largest, 1.0), initial=1.0))
        return Modes(weights, all_rows(poles, r.batch), False, condition)
    A, B, C = r.dense
    values, V = np.linalg.eig(A)
    condition = float(np.max(np.linalg.cond(V)))
    if not condition < 1.0 / np.finfo(np.float64).tiny:
        raise _core.InvalidArgument(
            "route must not be 'diagonal' or 'scan' for this model: A is defective, its "
            "eigenvectors are linearly dependent to working precision"
        )
    inputs = np.linalg.solve(V, (B + 0j)[..., np.newaxis])[..., 0]
    outputs = ((C + 0j)[..., np.newaxis, :] @ V)[..., 0, :]
    return Modes(outputs * inputs, values, False, condition)


def _warn_of_condition(condition: float | None, what: str) -> None:
    if condition is None or condition < _DIGITS_WARNED:
        return
    lost = min(np.log10(condition), 16.0)
    text = (
        f"about {lost:.1f} of 16 digits of this kernel are lost to {what}, condition number "
        f"{condition:.3g}"
    )
    warn_caller(IllConditionedWarning(text, condition))


def _diagonal(r: Realisation, length: int) -> Result:
    m = modes(r)
    if r.kind != "rational":  # residues warn themselves
        _warn_of_condition(m.condition, "the eigenvectors of the model")
    poles = np.ascontiguousarray(m.eigenvalues, dtype=np.complex128)
    weights = np.broadcast_to(m.weights, (r.channels, m.weights.shape[-1]))
    rows = _core.ssm.vandermonde(
        np.ascontiguousarray(weights, dtype=np.complex128), poles, length, m.half
    )
    return Result(rows.real if r.is_real else rows, m.condition)


#: So many modes at a time: their powers are all that is kept.
_SCANNED = 8


def _scan(r: Realisation, length: int) -> Result:
    m = modes(r)
    if r.kind != "rational":  # residues warn themselves
        _warn_of_condition(m.condition, "the eigenvectors of the model")
    poles = np.broadcast_to(m.eigenvalues, (r.channels, m.eigenvalues.shape[-1]))
    weights = np.broadcast_to(m.weights, poles.shape)
    out = np.zeros((r.channels, length), np.complex128)
    impulse = np.zeros((_SCANNED, length), np.complex128)
    for h in range(r.channels):
        for n in range(0, poles.shape[-1], _SCANNED):
            some = np.ascontiguousarray(poles[h, n : n + _SCANNED, np.newaxis], np.complex128)
            impulse[: some.shape[0], 0] = weights[h, n : n + _SCANNED]
            start = np.zeros(some.shape[0], np.complex128)
            out[h] += _core.ssm.scan(some, impulse[: some.shape[0]], start, False).sum(axis=0)
    if m.half:
        return Result(2.0 * out.real, m.condition)
    return Result(out.real if r.is_real else out, m.condition)


def _rational_circle(r: Realisation, length: int) -> Result:
    model, condition = _as_rational(r)
    try:
        samples = model.kernel(length, aliased=True)
    except _core.InvalidArgument as error:
        if r.kind == "rational":
            raise
        raise _core.InvalidArgument(
            f"route 'rational' must not be taken for this model: {error} (of the coefficients, "
            f"which have lost {np.log10(max(condition or 1.0, 1.0)):.1f} digits)"
        ) from error
    return Result(_rational_rows(r, samples), condition)


def _rational_rows(r: Realisation, samples: Array) -> Array:
    """A transfer function's samples, whose channels may be fewer than the batch's."""
    return all_rows(np.asarray(samples), r.batch)


#: Set by `resolvent.rational` when it is imported: (A, B, C) with any leading axes to transfer
#: functions and the most digits lost. This module does not depend on that one.
to_rational: Callable[[Array, Array, Array], tuple[Any, float]] | None = None


def _as_rational(r: Realisation) -> tuple[Any, float | None]:
    if r.kind == "rational":
        return r.model, None
    assert to_rational is not None
    model, digits = to_rational(*(_with_batch(part, r) for part in r.dense))
    condition = 10.0**digits
    _warn_of_condition(condition, "the polynomial coefficients of the model")
    return model, condition


def _with_batch(rows: Array, r: Realisation) -> Array:
    """(H, ...) as (*batch, ...), and the one row that serves all channels alone."""
    return rows[0] if rows.shape[0] == 1 else rows.reshape(*r.batch, *rows.shape[1:])


# ---- between C and C(I − Āᴸ) ---------------------------------------------------------------------


def advance_read_out(r: Realisation, steps: int) -> Array:
    """C Āˢ, rows (H, N) in the coordinates of the realisation's C."""
    if r.kind == "diagonal":
        advanced: Array = r.read_out * r.modal.A**steps
        return advanced
    if r.kind == "dplr" and r.is_rational_rule and _stepping_pays(r, steps):
        # The row c moves as a state does: c ↦ λc − Q̄·(cP), so P and Q change places.
        part = r.modal
        start = all_rows(np.asarray(r.read_out, np.complex128), (r.channels,))
        return _core.ssm.coast_diagonal(
            part.A, np.ascontiguousarray(part.Q.conj()), np.ascontiguousarray(part.P.conj()),
            r.weight_rows, r.is_half, start, steps,
        )  # fmt: skip
    A, _, C = r.dense
    if A.shape[0] == 1:
        advanced = _core.ssm.power_action(C, A[0], steps)
    else:
        rows = all_rows(C, (r.channels,))
        advanced = np.concatenate(
            [_core.ssm.power_action(rows[h : h + 1], A[h], steps) for h in range(r.channels)]
        )
    return advanced[:, : r.read_out.shape[-1]]


def _stepping_pays(r: Realisation, steps: int) -> bool:
    """O(NL) steps against O(N³ log L) squarings of complex matrices."""
    order = r.order
    return bool(12.0 * order * steps < 8.0 * order**3 * max(np.log2(steps), 1.0))


def _truncated(r: Realisation, length: int) -> Realisation:
    """C ↦ C̃ = C(I − Āᴸ), whose L-periodic kernel is the kernel of C."""
    if r.kind == "rational":
        return replace(r, model=r.model.truncate(length).transfer_function)
    return r.with_read_out(r.read_out - advance_read_out(r, length))


def _cancelled(plain: Realisation, truncated: Realisation) -> float:
    """How much smaller C(I − Āᴸ) is than C: so many digits of C̃ are rounding errors."""
    if plain is truncated or plain.kind == "rational":
        return 1.0
    before = np.linalg.norm(plain.read_out, axis=-1)
    after = np.linalg.norm(truncated.read_out, axis=-1)
    return float(np.max(before / np.where(after > 0.0, after, 1.0), initial=1.0))


def _untruncated(r: Realisation, length: int) -> Realisation:
    """C̃ ↦ C, for the routes that compute the kernel of C itself."""
    if r.kind == "rational":
        return replace(r, model=r.model.untruncate(length).transfer_function)
    if r.kind == "diagonal":
        powers = r.modal.A**length
        _check_finite_power(powers, r.modal.A[..., np.newaxis, :], length)
        rest = 1.0 - powers
        _check_invertible(1.0 + np.abs(powers), np.abs(rest), length)
        return r.with_read_out(r.read_out / rest)
    A, _, C = r.dense
    powers = np.linalg.matrix_power(A, length)
    _check_finite_power(powers, A, length)
    rest = np.eye(A.shape[-1]) - powers
    _check_invertible(
        1.0 + np.linalg.norm(powers, 2, axis=(-2, -1)),
        np.linalg.svd(rest, compute_uv=False).min(axis=-1),
        length,
    )
    solved = np.linalg.solve(rest.swapaxes(-1, -2), C[..., np.newaxis])[..., 0]
    return r.with_read_out(solved[:, : r.read_out.shape[-1]])


def _check_finite_power(powers: Array, A: Array, length: int) -> None:
    if not np.isfinite(powers).all():
        values = A if A.shape[-2] == 1 else np.linalg.eigvals(A)
        raise _core.InvalidArgument(overflow_message(float(np.abs(values).max()), length))


def _check_invertible(terms: Array, difference: Array, length: int) -> None:
    """Of I − Āᴸ, with which C is had from C̃: the size of its terms against what is left of them."""
    condition = float(np.max(terms / difference))
    if condition < 1.0 / np.finfo(np.float64).eps:
        _warn_of_condition(condition, "I - A^L of the model")
        return
    raise _core.InvalidArgument(
        f"I - A^L must be invertible, got a model with an eigenvalue whose power {length} is 1 to "
        "working precision: C cannot be had from its truncated form"
    )


# ---- which routes apply --------------------------------------------------------------------------

#: Routes that give the L-periodic kernel of the read-out.
PERIODIC: dict[str, Callable[[Realisation, int], Result]] = {
    "dplr": _dplr_circle,
    "allpass": _allpass_circle,
    "rational": _rational_circle,
}
#: Routes that give its kernel.
_PLAIN: dict[str, Callable[[Realisation, int], Result]] = {
    "power": _power,
    "recurrence": _recurrence,
    "diagonal": _diagonal,
    "scan": _scan,
}


def applicable(r: Realisation) -> tuple[str, ...]:
    """The routes that a realisation has."""
    resolvent = r.is_rational_rule
    modal = r.kind in ("dplr", "diagonal") or has_normal_form(r)
    takes = {
        "dplr": resolvent and modal,
        "allpass": resolvent and has_product_form(r),
        "rational": r.is_real,
    }
    return tuple(name for name in ROUTES if takes.get(name, True))


def compute(r: Realisation, length: int, route: str, readout: str = "plain") -> Result:
    """Rows (H, L) by a route that applies, feedthrough included."""
    if route in PERIODIC:
        source = _truncated(r, length) if readout == "plain" else r
        result = PERIODIC[route](source, length)
        lost = _cancelled(r, source)
        if lost > _DIGITS_WARNED:
            _warn_of_condition(lost, "C(I - A^L), which nearly vanishes")
            result = Result(result.rows, max(lost, result.condition or 1.0))
    else:
        result = _PLAIN[route](r if readout == "plain" else _untruncated(r, length), length)
    if not r.direct.any():
        return result
    rows = np.array(result.rows, dtype=np.result_type(result.rows, r.direct))
    rows[:, 0] += r.direct
    return Result(rows, result.condition)
