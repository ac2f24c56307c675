"""Kernels of linear models by every route."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import ArrayLike, name_parameter
from resolvent.discretize import Rule
from resolvent.hippo import System
from resolvent.ssm._batch import all_rows
from resolvent.ssm._realisation import Model, Realisation, realise
from resolvent.ssm._routes import PERIODIC, ROUTES, applicable, compute
from resolvent.ssm._sums import overflow_message, positive_length

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["READOUTS", "Kernel", "KernelInfo", "Readout", "Route", "kernel", "routes"]

Route = Literal["auto", "power", "recurrence", "dplr", "allpass", "diagonal", "rational", "scan"]
Readout = Literal["plain", "truncated"]
READOUTS: tuple[str, ...] = get_args(Readout)
_DTYPES = ("float32", "float64")


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
        "rational" the coefficients of one that is not rational: all warn of the digits they lose,
        and so do the routes over the circle where C(I − Āᴸ) nearly vanishes. "auto" avoids
        eigenvectors and coefficients and takes the route with the fewest operations.
    readout : {"plain", "truncated"}
        "truncated": `C` is C̃ = C(I − Āᴸ), which S4 trains. The routes over the circle (dplr,
        allpass, rational) give the L-periodic kernel Σ_j C Ā^{k+jL} B̄ of what they read, and so
        the kernel itself from C̃; a plain C costs them the power Āᴸ. The other routes need C.
    dtype : {"float64", "float32"}, optional
        Of the result; single if C is (of a transfer function: b), double otherwise. Computed in
        double.

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
    single = dtype == "float32" or (dtype is None and _is_single(model, C))
    if route == "auto":
        name, reason = _chosen(r, count, readout, valid)
    else:
        name, reason = name_parameter(route, valid, "route of this model and rule"), "asked for"
    if r.channels == 0:
        empty = np.empty((*r.batch, count), _result_dtype(r.is_real, single))
        return Kernel(empty, KernelInfo(name, reason, _shown_rule(r, rule), readout))
    with np.errstate(all="ignore"):
        result = compute(r, count, name, readout)
    if not np.isfinite(result.rows).all():
        raise _core.InvalidArgument(_why_not_finite(r, name, count))
    rows = result.rows.real if r.is_real else result.rows
    rows = np.ascontiguousarray(rows, dtype=_result_dtype(r.is_real, single))
    info = KernelInfo(name, reason, _shown_rule(r, rule), readout, result.condition)
    return Kernel(rows.reshape(*r.batch, count), info)


def _shown_rule(r: Realisation, rule: str) -> str | None:
    return rule if r.steps is not None else None


def _result_dtype(is_real: bool, single: bool) -> type[np.inexact[Any]]:
    if single:
        return np.float32 if is_real else np.complex64
    return np.float64 if is_real else np.complex128


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
    if options["dtype"] is None and _is_single(None, C):
        options["dtype"] = "float32"
    parts: list[Kernel] = []
    for i, one in enumerate(models):
        parts.append(kernel(one, length, step=steps[:, i], C=rows[:, i], **options))
        if options["route"] == "auto" and parts[0].info is not None:
            options["route"] = parts[0].info.route  # one for all
    samples = np.stack([np.asarray(part) for part in parts], axis=1)
    conditions = [p.info.condition for p in parts if p.info and p.info.condition is not None]
    info = parts[0].info
    if info is not None and conditions:
        info = replace(info, condition=max(conditions))
    return Kernel(samples.reshape(*r.batch, length), info)


_SINGLE = (np.float32, np.complex64)


def _is_single(model: Any, C: ArrayLike | None) -> bool:
    """Whether the read-out, which of a transfer function is b, is in single precision."""
    read_out = getattr(model, "b", C)
    return getattr(read_out, "dtype", None) in _SINGLE


def _why_not_finite(r: Realisation, route: str, length: int) -> str:
    radius = _radius(r)
    overflows = length * np.log(max(radius, 1e-300)) > np.log(np.finfo(np.float64).max)
    if route in PERIODIC and not overflows:
        return (
            f"route {route!r} must not have a pole at a sample point of the circle, got an "
            f"eigenvalue of the discrete model at one of the {length} roots of unity; 'power' and "
            "'recurrence' do not sample"
        )
    return overflow_message(radius, length)


def _radius(r: Realisation) -> float:
    """The largest modulus of an eigenvalue of Ā."""
    if r.kind == "diagonal":
        return float(np.abs(r.modal.A).max())
    if r.kind == "rational":
        return float(np.abs(r.model.poles()).max(initial=0.0))
    return float(np.abs(np.linalg.eigvals(r.dense[0])).max())
