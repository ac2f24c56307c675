"""Discrete-time models from continuous ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, as_number64, as_square
from resolvent._html import table
from resolvent.discretize._functions import phi_scalar
from resolvent.discretize._rules import (
    EXPONENTIAL,
    RULES,
    Rule,
    positive_steps,
    rule_weight,
)
from resolvent.hippo import System
from resolvent.spectral import DPLR, Diagonal, eigenvalues

__all__ = ["RULES", "Discrete", "Model", "Rule", "discretize"]

#: What can be discretised; a pair is (A, B) or (eigenvalues, B).
Model: TypeAlias = "System | Diagonal | DPLR | Sequence[ArrayLike]"

Structure = Literal["dense", "diagonal", "dplr"]


@dataclass(frozen=True, eq=False)
class Discrete(ReadOnlyFields):
    """x⁺ = A x + B u_k (+ B_next u_{k+1}); from :func:`discretize`.

    Leading axes ``...`` are those of `step`, broadcast with those of the model.

    Attributes
    ----------
    A : ndarray
        (..., N, N) if `structure` is "dense"; the diagonal (..., M) if it is "diagonal" or "dplr".
    B : ndarray, shape (..., N) or (..., N, M)
        The weight of the input u_k.
    rule : str
    step : float or ndarray
    alpha : float
        The weight α of the new state in a rational rule; ½ where it has no meaning.
    structure : {"dense", "diagonal", "dplr"}
    B_next : ndarray, optional
        foh: the weight of u_{k+1}.
    P, Q : ndarray, shape (..., M, r), optional
        "dplr": x⁺ = (diag(A) − P Q*) x + B u.
    half : bool
        One of each conjugate pair is kept: the others follow the conjugate equations, and
        Q* x stands for the real sum over both.
    """

    A: Array
    B: Array
    rule: str
    step: float | Array
    alpha: float
    structure: Structure
    B_next: Array | None = None
    P: Array | None = None
    Q: Array | None = None
    half: bool = False
    _pairs: Array | None = field(default=None, repr=False)  # half: which entries stand for two
    _reversed: bool = field(default=True, repr=False)  # half: order of the conjugates
    _system: System | None = field(default=None, repr=False)

    # ---- as matrices ---------------------------------------------------------------------------

    def to_dense(self) -> tuple[Array, Array]:
        """The matrices (A, B).

        Returns
        -------
        A : ndarray, shape (..., N, N)
        B : ndarray, shape (..., N) or (..., N, M)
            In the coordinates of the model, with both of each conjugate pair: those of `half`
            models follow the kept ones as they do in the model with ``half=False``.

        Examples
        --------
        >>> import resolvent as rv
        >>> d = rv.discretize.discretize(([-1.0, -2.0], [1.0, 1.0]), 0.5, "backward")
        >>> d.to_dense()[0].round(4)
        array([[0.6667, 0.    ],
               [0.    , 0.5   ]])
        """
        if self.structure == "dense":
            return self.A, self.B
        A, B = self._both(self.A, -1), self._both(self.B, -1)
        dense = A[..., np.newaxis] * np.eye(A.shape[-1])
        if self.P is not None and self.Q is not None:
            P, Q = self._both(self.P, -2), self._both(self.Q, -2)
            dense = dense - P @ Q.conj().swapaxes(-1, -2)
        return dense, B

    def _both(self, values: Array, axis: int) -> Array:
        """With the conjugates of pairs after the kept entries."""
        if self._pairs is None:
            return values
        places = np.flatnonzero(self._pairs)
        if self._reversed:
            places = places[::-1]
        return np.concatenate([values, values.take(places, axis).conj()], axis=axis)

    def spectral_radius(self) -> float | Array:
        """max abs(eigenvalue) of A: below 1 the state forgets, above 1 it grows.

        Returns
        -------
        float, or ndarray of the shape of `step`
            From the eigenvalues of the continuous system where that is known, since those of the
            matrix may be too ill-conditioned to compute; exact for triangular matrices.

        Examples
        --------
        >>> import resolvent as rv
        >>> d = rv.discretize.discretize(rv.hippo.system("legs", 64), 0.1, "backward")
        >>> round(d.spectral_radius(), 6)
        0.909091
        """
        radius = np.max(np.abs(self._multipliers()), axis=-1)
        return float(radius) if np.ndim(self.step) == 0 else radius

    def _multipliers(self) -> Array:
        """Eigenvalues of A."""
        if self.structure == "diagonal":
            return self.A
        if self._system is not None:
            z = np.multiply.outer(np.asarray(self.step), eigenvalues(self._system))
            return _stability_function(z, self.rule, self.alpha)
        dense = self.to_dense()[0]
        if not np.triu(dense, 1).any() or not np.tril(dense, -1).any():
            diagonal: Array = np.diagonal(dense, axis1=-2, axis2=-1)
            return diagonal
        return np.linalg.eigvals(dense)

    # ---- how it shows --------------------------------------------------------------------------

    @property
    def _order(self) -> int:
        return int(self.A.shape[-1])

    def __repr__(self) -> str:
        step = f"{self.step:g}" if isinstance(self.step, float) else f"{self.step.size} steps"
        return (
            f"Discrete({self.rule!r}, step={step}, structure={self.structure!r}, "
            f"size={self._order})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("rule", self.rule + (f", α = {self.alpha:g}" if self.rule == "gbt" else "")),
            ("step", f"{self.step:g}" if isinstance(self.step, float) else str(self.step.shape)),
            ("structure", self.structure),
            ("size of A", str(self._order)),
            ("dtype", str(self.A.dtype)),
        ]
        return table("Discrete model", rows)


def discretize(model: Model, step: ArrayLike, rule: Rule, *, alpha: float = 0.5) -> Discrete:
    """A discrete-time model x⁺ = Ā x + B̄ u of x' = A x + B u.

    Parameters
    ----------
    model : System, (A, B), Diagonal, (eigenvalues, B) or DPLR
        A (N, N), B (N,) or (N, M), or eigenvalues (N,) and B (N,). Real or complex; single
        precision is converted to double; where one of the two is complex, so are both results. A
        may be singular. Diagonal and DPLR may have leading axes: channels.
    step : float or array_like, shape (...)
        ε > 0; an array gives one model per step, along leading axes; those of a Diagonal or DPLR
        broadcast with it.
    rule : str
        With the weight α of the new state: "forward" (α = 0), "bilinear" (½), "backward" (1) and
        "gbt" (`alpha`) have Ā = (I − αεA)⁻¹(I + (1 − α)εA) and B̄ = (I − αεA)⁻¹εB. "zoh" is exact
        for an input constant over a step: Ā = e^{εA}, B̄ = εφ_1(εA)B. "foh" is exact for one that
        is linear over a step: x⁺ = Ā x + B̄ u_k + B_next u_{k+1} with
        B̄ = ε(φ_1 − φ_2)(εA)B, B_next = εφ_2(εA)B. "mamba" takes Ā = e^{εA} with B̄ = εB, as the
        public code of Mamba does (its paper prints zoh).
    alpha : float
        For "gbt": in [0, 1].

    Returns
    -------
    Discrete
        "dense", or "diagonal" for diagonal models. A DPLR stays one ("dplr", by Woodbury's formula,
        O(N)) under the rational rules; under zoh, foh and mamba it becomes dense, in normal
        coordinates and with both of each pair. Relative error of Ā and B̄ about N eps, times the
        condition of I − αεA or of the exponential.

    Raises
    ------
    InvalidArgument
        For an unknown rule (the message lists the valid ones), step ≤ 0, and where I − αεA is
        singular.

    Notes
    -----
    Systems are discretised by their structure: the rational rules in O(N²), zoh of legs, lagt and
    glagt in O(N²) by closed forms. Systems of clock "scaled" are read as x' = A x + B u.

    Examples
    --------
    >>> import resolvent as rv
    >>> d = rv.discretize.discretize(([[0.0, 1.0], [0.0, 0.0]], [0.0, 1.0]), 0.5, "zoh")
    >>> d.A
    array([[1. , 0.5],
           [0. , 1. ]])
    >>> d.B
    array([0.125, 0.5  ])
    """
    name, weight = rule_weight(rule, alpha)
    steps = positive_steps(step)
    result = _made(model, steps, name, weight)
    for part in (result.A, result.B, result.B_next):
        if part is not None and not np.isfinite(part).all():
            raise _core.InvalidArgument(
                f"step must give entries within the range of double, got step up to {steps.max():g}"
            )
    return result


def _made(model: Model, steps: Array, name: str, weight: float) -> Discrete:
    if isinstance(model, DPLR):
        return _from_dplr(model, steps, name, weight)
    if isinstance(model, Diagonal):
        pairs = model.multiplicity == 2.0 if model.half else None
        return _from_diagonal(
            model.eigenvalues, model.B, steps, name, weight,
            half=model.half, _pairs=pairs, _reversed=model.kind == "legs",
        )  # fmt: skip
    if isinstance(model, System):
        return _from_system(model, steps, name, weight)
    first, second = _pair(model)
    if first.ndim == 1:
        return _from_diagonal(first, second, steps, name, weight)
    return _from_matrices(first, second, steps, name, weight)


def _step_field(steps: Array) -> float | Array:
    return float(steps) if steps.ndim == 0 else steps.copy()


def _pair(model: Any) -> tuple[Array, Array]:
    """(A, B) or (eigenvalues, B), checked."""
    if not isinstance(model, tuple | list) or len(model) != 2:
        raise _core.DtypeError(
            "model must be a System, Diagonal, DPLR, (A, B) or (eigenvalues, B); "
            f"got {type(model).__name__}"
        )
    if np.ndim(model[0]) != 1:
        A = as_square(model[0], "A")
        B = as_number64(model[1], "B")
        if B.ndim not in (1, 2) or B.shape[0] != A.shape[0]:
            size = A.shape[0]
            raise _core.ShapeMismatch(f"B must have shape ({size},) or ({size}, M), got {B.shape}")
        return A, B
    values, weights = as_number64(model[0], "eigenvalues"), as_number64(model[1], "B")
    if values.size == 0:
        raise _core.InvalidArgument("eigenvalues must not be empty")
    if weights.shape != values.shape:
        raise _core.ShapeMismatch(f"B must have shape {values.shape}, got {weights.shape}")
    return values, weights


# ---- dense -------------------------------------------------------------------------------------


def _dense(
    parts: tuple[Array, Array, Array | None], steps: Array, rule: str, weight: float, **kept: Any
) -> Discrete:
    """From the core's stacks over all steps."""

    def shaped(part: Array, *trailing: int) -> Array:
        return part[: steps.size].reshape(*steps.shape, *trailing)

    A, B, B_next = parts
    size = A.shape[-1]
    columns = kept.pop("columns", ())
    return Discrete(
        shaped(A, size, size),
        shaped(B, size, *columns),
        rule,
        _step_field(steps),
        weight,
        "dense",
        B_next=None if B_next is None else shaped(B_next, size, *columns),
        **kept,
    )


def _flat(steps: Array) -> Array:
    """All steps in a row; where there is none a tiny one, for the shapes."""
    return np.ascontiguousarray(steps.ravel()) if steps.size else np.array([1e-100])


def _from_system(system: System, steps: Array, rule: str, weight: float) -> Discrete:
    if system._is_complex:
        return _from_matrices(system.A, system.B, steps, rule, weight, _system=system)
    parts = _core.discretize.discretize_system(system._native, _flat(steps), rule, weight)
    return _dense(parts, steps, rule, weight, _system=system)


def _from_matrices(
    A: Array, B: Array, steps: Array, rule: str, weight: float, **kept: Any
) -> Discrete:
    kind = np.result_type(A, B, np.float64)
    core = _core.discretize
    route = core.discretize_complex if kind == np.complex128 else core.discretize_real
    matrix = np.ascontiguousarray(A, dtype=kind)
    inputs = np.ascontiguousarray(B, dtype=kind).reshape(A.shape[0], -1)
    parts = route(matrix, inputs, _flat(steps), rule, weight)
    return _dense(parts, steps, rule, weight, columns=B.shape[1:], **kept)


# ---- diagonal ----------------------------------------------------------------------------------


def per_entry(steps: Array, values: Array) -> Array:
    """step·value for every value, the leading axes of both broadcast together."""
    try:
        return steps[..., np.newaxis] * values
    except ValueError:
        raise _core.ShapeMismatch(
            "step must broadcast with the leading axes of the model, "
            f"got step {steps.shape} and parameters {values.shape}"
        ) from None


def _stability_function(z: Array, rule: str, weight: float) -> Array:
    """R(z)."""
    if rule in EXPONENTIAL:
        return np.exp(z)
    return (1.0 + (1.0 - weight) * z) / (1.0 - weight * z)


def _require_regular(pivot: Array, steps: Array) -> None:
    if (pivot == 0.0).any():
        shown = f"{float(steps):g}" if steps.ndim == 0 else "one of those given"
        raise _core.InvalidArgument(f"step = {shown} makes I - alpha step A singular")


def _from_diagonal(
    values: Array, B: Array, steps: Array, rule: str, weight: float, **kept: Any
) -> Discrete:
    scaled = per_entry(steps, B)
    z = per_entry(steps, values)
    B_next = None
    if rule in EXPONENTIAL:
        A = np.exp(z)
        if rule == "zoh":
            scaled = phi_scalar(z, 1) * scaled
        elif rule == "foh":
            second = phi_scalar(z, 2)
            scaled, B_next = (phi_scalar(z, 1) - second) * scaled, second * scaled
    else:
        pivot = 1.0 - weight * z
        _require_regular(pivot, steps)
        A = _stability_function(z, rule, weight)
        scaled = scaled / pivot
    return Discrete(A, scaled, rule, _step_field(steps), weight, "diagonal", B_next=B_next, **kept)


# ---- diagonal plus low rank --------------------------------------------------------------------


def _from_dplr(model: DPLR, steps: Array, rule: str, weight: float) -> Discrete:
    if rule in EXPONENTIAL:
        if model.channels:
            raise _core.InvalidArgument(
                f"rule must be rational for a DPLR with leading axes, got {rule!r}"
            )
        full = model.expand()
        return _from_matrices(
            model.to_dense("normal"), full.B, steps, rule, weight, _system=model.system
        )
    return _woodbury(model, steps, rule, weight)


def _woodbury(model: DPLR, steps: Array, rule: str, weight: float) -> Discrete:
    """The rational rules in O(N).

    With G = (I − αεΛ)⁻¹ and S = I + αεQ*GP, (I − αεA)⁻¹ = G − αεGP S⁻¹Q*G, so that
    Ā = diag(R(ελ)) − εGP S⁻¹ Q*G: nothing is divided by α, which may be 0.
    """
    values, P, Q = model.eigenvalues, model.P, model.Q
    z = per_entry(steps, values)
    pivot = 1.0 - weight * z
    _require_regular(pivot, steps)
    G = 1.0 / pivot
    epsilon = steps[..., np.newaxis, np.newaxis]

    def paired(right: Array) -> Array:
        """Q*G times something, over both of each pair."""
        left = (model.multiplicity[:, np.newaxis] * Q).conj() * G[..., np.newaxis]
        total: Array = left.swapaxes(-1, -2) @ right
        return total.real if model.half else total

    core = np.eye(P.shape[-1]) + weight * epsilon * paired(P)
    GP = epsilon * G[..., np.newaxis] * P
    try:
        left = np.linalg.solve(core.swapaxes(-1, -2), GP.swapaxes(-1, -2)).swapaxes(-1, -2)
    except np.linalg.LinAlgError:
        _require_regular(np.zeros(1), steps)
        raise
    inner = paired(model.B[..., np.newaxis])
    B = epsilon[..., 0] * (G * model.B - weight * (left @ inner)[..., 0])
    return Discrete(
        _stability_function(z, rule, weight),
        B,
        rule,
        _step_field(steps),
        weight,
        "dplr",
        P=np.ascontiguousarray(left),
        Q=G.conj()[..., np.newaxis] * Q,
        half=model.half,
        _pairs=model.multiplicity == 2.0 if model.half else None,
        _system=model.system,
    )
