"""Kernels of linear models by every route."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, name_parameter
from resolvent._warnings import IllConditionedWarning, warn_caller
from resolvent.discretize import Rule
from resolvent.hippo import System
from resolvent.ssm._batch import all_rows
from resolvent.ssm._realisation import (
    Model,
    Realisation,
    as_dplr,
    has_normal_form,
    has_product_form,
    realise,
)
from resolvent.ssm._sums import overflow_message, positive_length

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "READOUTS", "ROUTES", "Kernel", "KernelInfo", "Readout", "Route", "advance_read_out",
    "applicable", "compute", "kernel", "routes",
]  # fmt: skip

Route = Literal["auto", "power", "recurrence", "dplr", "allpass", "diagonal", "rational", "scan"]
ROUTES: tuple[str, ...] = get_args(Route)[1:]
Readout = Literal["plain", "truncated"]
READOUTS: tuple[str, ...] = get_args(Readout)
_DTYPES = ("float32", "float64")

#: From this condition number of the eigenvectors on, a route that uses them warns.
_DIGITS_WARNED = 1e4


@dataclass(frozen=True)
class KernelInfo:
    """How a kernel was computed.

    Attributes
    ----------
    route : str
    reason : str
        Why this one.
    rule : str or None
        None for models in discrete time.
    readout : str
    condition : float or None
        The condition number that limits the route's accuracy, where it has one: of the
        eigenvectors, or of the polynomial coefficients.
    """

    route: str
    reason: str
    rule: str | None
    readout: str
    condition: float | None = None


class Kernel(np.ndarray):
    """An array of samples K_0 … K_{L−1} along the last axis that knows how it was computed.

    Attributes
    ----------
    info : KernelInfo or None
        Views and slices keep it; the results of arithmetic are plain arrays.
    """

    info: KernelInfo | None

    def __new__(cls, values: ArrayLike, info: KernelInfo | None = None) -> Kernel:
        made = np.asarray(values).view(cls)
        made.info = info
        return made

    def __array_finalize__(self, source: Any) -> None:
        self.info = getattr(source, "info", None)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar or plain.ndim == 0 else plain

    def __reduce__(self) -> tuple[Any, ...]:
        return Kernel, (np.asarray(self), self.info)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the kernel, one line per channel; returns the axes."""
        from resolvent.plot.ssm import plot_kernel

        return plot_kernel(self, ax)


# ---- routes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    rows: Array
    condition: float | None = None


def _power(r: Realisation, length: int) -> _Result:
    A, B, C = r.dense
    rows = all_rows(C, (r.channels,))
    if A.shape[0] == B.shape[0] == 1:  # one model, read out in many ways
        return _Result(_core.ssm.power_kernel(A, B, rows[np.newaxis], length)[0])
    A, B = all_rows(A, (r.channels,), 2), all_rows(B, (r.channels,))
    return _Result(_core.ssm.power_kernel(A, B, rows[:, np.newaxis], length)[:, 0])


def _recurrence(r: Realisation, length: int) -> _Result:
    impulse = np.zeros((r.channels, length))
    impulse[:, 0] = 1.0
    if r.kind == "rational":
        return _Result(_rational_rows(r, r.model.kernel(length)))
    return _Result(run(r, impulse, None)[0])


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


def _modal_circle(r: Realisation, length: int) -> _Result:
    """The L-periodic kernel by Cauchy sums."""
    part = r.continuous
    assert r.steps is not None
    rows = _core.ssm.dplr_kernel(
        part.A, part.P, part.Q, part.B, all_rows(r.read_out, (r.channels,)), r.weight_rows,
        r.is_half, np.array(np.broadcast_to(r.steps, (r.channels,))), r.alpha, length,
    )  # fmt: skip
    return _Result(rows)


def _dplr_circle(r: Realisation, length: int) -> _Result:
    return _modal_circle(as_dplr(r) if r.kind == "system" else r, length)


def _allpass_circle(r: Realisation, length: int) -> _Result:
    assert r.steps is not None
    rows = _core.ssm.cascade_kernel(
        r.model._native, all_rows(r.read_out, (r.channels,)).astype(np.float64),
        np.array(np.broadcast_to(r.steps, (r.channels,))), r.alpha, length,
    )  # fmt: skip
    return _Result(rows)


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
        size = poles.shape[-1]
        weights = residues.reshape(-1, size)
        largest = np.abs(r.model.kernel(2 * size).reshape(-1, 2 * size)).max(axis=-1)
        sizes = np.abs(weights).sum(axis=-1)
        condition = float(np.max(sizes / np.where(largest > 0.0, largest, 1.0), initial=1.0))
        return Modes(weights, poles.reshape(-1, size), False, condition)
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
        f"{what} have condition number {condition:.3g}: about {lost:.1f} of 16 digits of this "
        "kernel are lost"
    )
    warn_caller(IllConditionedWarning(text, condition))


def _diagonal(r: Realisation, length: int) -> _Result:
    m = modes(r)
    _warn_of_condition(m.condition, "the eigenvectors of the model")
    poles = np.ascontiguousarray(m.eigenvalues, dtype=np.complex128)
    weights = np.broadcast_to(m.weights, (r.channels, m.weights.shape[-1]))
    rows = _core.ssm.vandermonde(
        np.ascontiguousarray(weights, dtype=np.complex128), poles, length, m.half
    )
    return _Result(rows.real if r.is_real else rows, m.condition)


def _scan(r: Realisation, length: int) -> _Result:
    m = modes(r)
    _warn_of_condition(m.condition, "the eigenvectors of the model")
    poles = np.broadcast_to(m.eigenvalues, (r.channels, m.eigenvalues.shape[-1]))
    weights = np.broadcast_to(m.weights, poles.shape)
    out = np.empty((r.channels, length), np.complex128)
    impulse = np.zeros((poles.shape[-1], length), np.complex128)
    for h in range(r.channels):
        impulse[:, 0] = weights[h]
        powers = _core.ssm.scan(
            np.ascontiguousarray(poles[h, :, np.newaxis], dtype=np.complex128),
            impulse,
            np.zeros(poles.shape[-1], np.complex128),
            False,
        )
        out[h] = powers.sum(axis=0)
    if m.half:
        return _Result(2.0 * out.real, m.condition)
    return _Result(out.real if r.is_real else out, m.condition)


def _rational_circle(r: Realisation, length: int) -> _Result:
    model, condition = _as_rational(r)
    return _Result(_rational_rows(r, model.kernel(length, aliased=True)), condition)


def _rational_rows(r: Realisation, samples: Array) -> Array:
    """A transfer function's samples, whose channels may be fewer than the batch's."""
    return all_rows(np.asarray(samples), r.batch)


#: Set by `resolvent.rational` when it is imported: (A, B, C) of one channel to a transfer function
#: and the number of digits lost. This module does not depend on that one.
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


def _untruncated(r: Realisation, length: int) -> Realisation:
    """C̃ ↦ C, for the routes that compute the kernel of C itself."""
    if r.kind == "rational":
        return replace(r, model=r.model.untruncate(length).transfer_function)
    if r.kind == "diagonal":
        rest = 1.0 - r.modal.A**length
        if (rest == 0.0).any():
            _refuse_singular(length)
        return r.with_read_out(r.read_out / rest)
    A, _, C = r.dense
    powers = np.linalg.matrix_power(A, length)
    rest = np.eye(A.shape[-1]) - powers
    if not np.linalg.cond(rest).max() < 1.0 / np.finfo(float).eps:
        _refuse_singular(length)
    solved = np.linalg.solve(rest.swapaxes(-1, -2), C[..., np.newaxis])[..., 0]
    return r.with_read_out(solved[:, : r.read_out.shape[-1]])


def _refuse_singular(length: int) -> None:
    raise _core.InvalidArgument(
        f"I - A^L must be invertible, got a model with an eigenvalue whose power {length} is 1 to "
        "working precision: C cannot be had from its truncated form"
    )


# ---- which routes apply --------------------------------------------------------------------------

#: Routes that give the L-periodic kernel of the read-out.
_PERIODIC: dict[str, Callable[[Realisation, int], _Result]] = {
    "dplr": _dplr_circle,
    "allpass": _allpass_circle,
    "rational": _rational_circle,
}
#: Routes that give its kernel.
_PLAIN: dict[str, Callable[[Realisation, int], _Result]] = {
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


def _costs(r: Realisation, length: int, readout: str) -> dict[str, float]:
    """Rough operations per channel of the routes that lose no digits."""
    n, long = float(r.order), float(length)
    root, turns = np.sqrt(long), np.log2(max(long, 2.0))
    squarings = 2.0 * n**3 * turns
    costs = {
        "power": n**3 * turns + 4.0 * n**2 * root + 2.0 * n * long + 2e4,
        "recurrence": 4.0 * n**2 * long,
        "dplr": 20.0 * n * long + 20.0 * long * turns,
        "allpass": 15.0 * n * long + 20.0 * long * turns,
    }
    if r.kind in ("dplr", "diagonal"):
        costs["recurrence"] = 24.0 * n * long
    if r.kind == "diagonal":
        costs["diagonal"] = 2.0 * n * long + 50.0 * n * root
    if r.kind == "rational":
        costs["recurrence"] = 4.0 * n * long
        costs["rational"] = 60.0 * long
    if readout == "plain":
        costs["dplr"] += min(12.0 * n * long, 4.0 * squarings)
        costs["allpass"] += squarings
        costs["rational"] = costs.get("rational", np.inf) + 4.0 * n**2 * turns
    else:
        for name in ("power", "recurrence"):
            costs[name] += 4.0 * squarings
    return costs


def _chosen(r: Realisation, length: int, readout: str, valid: tuple[str, ...]) -> tuple[str, str]:
    if r.kind == "diagonal":
        return "diagonal", "a diagonal model is a Vandermonde sum"
    if r.kind == "rational" and readout == "plain":
        return "recurrence", "the power series needs no truncation and loses no digits"
    costs = {k: v for k, v in _costs(r, length, readout).items() if k in valid}
    best = min(costs, key=costs.__getitem__)
    return best, (
        f"fewest operations of the routes without eigenvectors or coefficients for N = {r.order}, "
        f"L = {length}: about {costs[best]:.1g} per channel"
    )


def compute(r: Realisation, length: int, route: str, readout: str = "plain") -> _Result:
    """Rows (H, L) by a route that applies, feedthrough included."""
    if route in _PERIODIC:
        source = _truncated(r, length) if readout == "plain" else r
        result = _PERIODIC[route](source, length)
    else:
        result = _PLAIN[route](r if readout == "plain" else _untruncated(r, length), length)
    if not r.direct.any():
        return result
    rows = np.array(result.rows, dtype=np.result_type(result.rows, r.direct))
    rows[:, 0] += r.direct
    return _Result(rows, result.condition)


def routes(model: Any, rule: Rule = "bilinear") -> tuple[str, ...]:
    """The routes that :func:`kernel` has for a model and a rule.

    Parameters
    ----------
    model : System, DPLR, Diagonal, StateSpace or TransferFunction, or a list as in :func:`kernel`
    rule : str

    Returns
    -------
    tuple of str
        Of "power", "recurrence", "dplr", "allpass", "diagonal", "rational", "scan".

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.ssm.routes(rv.hippo.system("legt", 4))
    ('power', 'recurrence', 'dplr', 'diagonal', 'rational', 'scan')
    """
    if _is_list_of_systems(model):
        common = [set(routes(one, rule)) for one in model]
        return tuple(name for name in ROUTES if all(name in one for one in common))
    first = model[0] if isinstance(model, list | tuple) and model else model
    needs_step = not hasattr(first, "_response") and getattr(first, "time", "") != "discrete"
    C = None
    if not hasattr(first, "_response") and getattr(first, "C", None) is None:
        size = first.eigenvalues.shape[-1] if hasattr(first, "eigenvalues") else first.order
        C = np.ones(size)
    step = 1.0 if needs_step else None
    return applicable(realise(model, step=step, rule=rule, alpha=0.5, C=C))


def kernel(
    model: Model | list[Any] | tuple[Any, ...],
    length: int,
    *,
    step: ArrayLike | None = None,
    rule: Rule = "bilinear",
    alpha: float = 0.5,
    C: ArrayLike | None = None,
    route: Route = "auto",
    readout: Readout = "plain",
    dtype: Literal["float32", "float64"] | None = None,
) -> Kernel:
    """The first samples of the impulse response, K_k = C Āᵏ B̄.

    Parameters
    ----------
    model : System, DPLR, Diagonal, StateSpace or TransferFunction
        Leading axes of its parameters are channels. A list of System, DPLR or Diagonal of one size
        is one model with a leading axis. Systems are read as x' = A x + B u.
    length : int
        L ≥ 1.
    step : float or array_like, shape (...)
        ε, for models in continuous time.
    rule : str
        As in :func:`resolvent.discretize.discretize`; not "foh", whose output needs the next input.
    alpha : float
        For rule "gbt".
    C : array_like, shape (..., N)
        The read-out in the model's own coordinates, where the model has none (or another). A half
        model's output is Re Σ_j multiplicity_j C_j x_j.
    route : str
        "power" (products of C Ā^{iB} and Āʲ B̄), "recurrence" (step by step), "dplr" (Woodbury's
        formula on Cauchy sums, then an inverse transform), "allpass" (the product form of a
        cascade, then the same), "diagonal" (Vandermonde sums), "rational" (quotient of the
        transforms of two polynomials), "scan" (modes by :func:`scan`). Those that a model has:
        :func:`routes`. "diagonal" and "scan" take the eigenvectors of a model that is not diagonal,
        "rational" the coefficients of one that is not rational: all warn of the digits they lose.
        "auto" avoids these and takes the route with the fewest operations.
    readout : {"plain", "truncated"}
        "truncated": `C` is C̃ = C(I − Āᴸ), which S4 trains. The routes over the circle (dplr,
        allpass, rational) give the L-periodic kernel Σ_j C Ā^{k+jL} B̄ of what they read, and so
        the kernel itself from C̃; a plain C costs them the power Āᴸ. The other routes need C.
    dtype : {"float64", "float32"}, optional
        Of the result; single if C is, double otherwise. Computed in double.

    Returns
    -------
    Kernel
        An array (..., L), the leading axes of model, `step` and `C` broadcast; real for real
        models: half ones, and those without any imaginary part. `.info` says the route and why.
        Error about L eps ‖C‖‖B̄‖ for models whose powers do not grow, times `.info.condition` for
        the routes that have one.

    Raises
    ------
    InvalidArgument
        For a route that the model has not (the message lists those it has), for models whose kernel
        overflows (the message says at which length), and where C must be had from C̃ but I − Āᴸ is
        singular.

    Notes
    -----
    Sources: Gu, Goel, Ré 2021, arXiv:2111.00396 (Cauchy sums); Gu et al. 2022, arXiv:2206.11893
    (Vandermonde sums); Parnichkun et al. 2024, arXiv:2405.06147 (rational functions).

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> legs = rv.hippo.system("legs", 8)
    >>> K = rv.ssm.kernel(legs, 1000, step=0.1, C=np.ones(8))
    >>> K.info.route
    'power'
    >>> other = rv.ssm.kernel(legs, 1000, step=0.1, C=np.ones(8), route="allpass")
    >>> bool(np.allclose(K, other, rtol=1e-12))
    True
    """
    count = positive_length(length)
    name_parameter(route, ("auto", *ROUTES), "route")
    name_parameter(readout, READOUTS, "readout")
    if dtype is not None:
        name_parameter(dtype, _DTYPES, "dtype")
    if _is_list_of_systems(model):
        return _of_each_system(
            model, count, step, C, rule=rule, alpha=alpha, route=route, readout=readout, dtype=dtype
        )
    r = realise(model, step=step, rule=rule, alpha=alpha, C=C)
    valid = applicable(r)
    if route == "auto":
        name, reason = _chosen(r, count, readout, valid)
    else:
        name, reason = name_parameter(route, valid, "route of this model and rule"), "asked for"
    with np.errstate(all="ignore"):
        result = compute(r, count, name, readout)
    if not np.isfinite(result.rows).all():
        raise _core.InvalidArgument(_why_not_finite(r, name, count))
    rows = result.rows.real if r.is_real and np.iscomplexobj(result.rows) else result.rows
    single = dtype == "float32" or (dtype is None and _is_single(C))
    if single:
        rows = rows.astype(np.complex64 if np.iscomplexobj(rows) else np.float32)
    shown_rule = rule if r.steps is not None else None
    info = KernelInfo(name, reason, shown_rule, readout, result.condition)
    return Kernel(rows.reshape(*r.batch, count), info)


def _is_list_of_systems(model: Any) -> bool:
    return isinstance(model, list | tuple) and bool(model) and isinstance(model[0], System)


def _of_each_system(
    models: Any, length: int, step: ArrayLike | None, C: ArrayLike | None, **options: Any
) -> Kernel:
    """Systems one by one, so that each keeps its structure; they are the last leading axis."""
    r = realise(models, step=step, rule=options["rule"], alpha=options["alpha"], C=C)
    count = len(models)
    assert r.steps is not None
    steps = np.broadcast_to(r.steps, (r.channels,)).reshape(-1, count)
    rows = all_rows(r.read_out, (r.channels,)).reshape(-1, count, r.order)
    if isinstance(C, np.ndarray) and _is_single(C):
        rows = rows.astype(C.dtype)
    parts = [
        kernel(one, length, step=steps[:, i], C=rows[:, i], **options)
        for i, one in enumerate(models)
    ]
    samples = np.stack([np.asarray(part) for part in parts], axis=1)
    return Kernel(samples.reshape(*r.batch, length), parts[0].info)


def _is_single(C: ArrayLike | None) -> bool:
    return getattr(C, "dtype", None) in (np.float32, np.complex64)


def _why_not_finite(r: Realisation, route: str, length: int) -> str:
    radius = _radius(r)
    if route in _PERIODIC and radius < 1.0 + _ON_THE_CIRCLE:
        return (
            f"route {route!r} must not have a pole at a sample point of the circle, got an "
            f"eigenvalue of modulus {radius:.17g} at one of the {length} roots of unity; "
            "'power' and 'recurrence' do not sample"
        )
    return overflow_message(radius, length)


#: How near to the circle an eigenvalue on it is found.
_ON_THE_CIRCLE = 1e-12


def _radius(r: Realisation) -> float:
    """The largest modulus of an eigenvalue of Ā."""
    if r.kind == "diagonal":
        return float(np.abs(r.modal.A).max())
    if r.kind == "rational":
        return float(np.abs(r.model.poles()).max(initial=0.0))
    return float(np.abs(np.linalg.eigvals(r.dense[0])).max())
