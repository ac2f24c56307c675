"""Generating functions: models in the frequency domain, at any points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_number64
from resolvent.discretize import Rule
from resolvent.ssm._batch import all_rows
from resolvent.ssm._realisation import (
    Model,
    Realisation,
    as_dplr,
    has_normal_form,
    has_product_form,
    realise,
)
from resolvent.ssm._routes import advance_read_out, compute
from resolvent.ssm._sums import positive_length

__all__ = ["generating_function"]


def generating_function(
    model: Model | list[Any] | tuple[Any, ...],
    z: ArrayLike,
    *,
    length: int | None = None,
    step: ArrayLike | None = None,
    rule: Rule = "bilinear",
    alpha: float = 0.5,
    C: ArrayLike | None = None,
) -> Array:
    """G(z) = Σ_k K_k z^k = C (I − zĀ)⁻¹ B̄, or its first `length` terms.

    z is the delay: a frequency ω is z = e^{−iω}, and stable models are analytic inside the unit
    circle and on it.

    Parameters
    ----------
    model, step, rule, alpha, C
        As in :func:`kernel`.
    z : array_like, any shape
        Points in the plane.
    length : int, optional
        L: the polynomial G_L(z) = C (I − z^L Ā^L)(I − zĀ)⁻¹ B̄, whose values at the L-th roots of
        unity are the DFT of the kernel.

    Returns
    -------
    ndarray, shape (..., *z.shape), complex128
        Where the rule is rational the resolvent of the continuous model is evaluated, at
        σ = (1 − z)/(α + (1 − α)z): by the all-pass product for cascades (each state to N eps
        relative), by Woodbury's formula on Cauchy sums for other normal-plus-low-rank systems, DPLR
        and Diagonal: O(N) per point. Where α + (1 − α)z = 0, for the bilinear rule at z = −1, it
        takes the limit εCB/(1 − z). Other models: one Hessenberg reduction, then Hyman's method,
        O(N²) per point, backward stable.

    Raises
    ------
    InvalidArgument
        At a pole, which is named.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> m = rv.ssm.StateSpace([[0.5]], [1.0], [1.0])
    >>> rv.ssm.generating_function(m, [1.0, -1.0])
    array([2.        +0.j, 0.66666667+0.j])
    >>> rv.ssm.generating_function(m, 1.0, length=2).round(12)
    np.complex128(1.5+0j)
    """
    r = realise(model, step=step, rule=rule, alpha=alpha, C=C)
    points = as_number64(z, "z")
    flat = np.ascontiguousarray(points, dtype=np.complex128).ravel()
    count = None if length is None else positive_length(length)
    if r.channels == 0:
        return np.empty((*r.batch, *points.shape), np.complex128)
    with np.errstate(all="ignore"):
        rows = _plain(r, flat) if count is None else _polynomial(r, flat, count)
    if not np.isfinite(rows).all():
        place = flat[~np.isfinite(rows).all(axis=0)][0]
        if count is not None:
            raise _core.InvalidArgument(
                f"z must keep the first {count} terms within the range of double, got z = {place}"
            )
        raise _core.InvalidArgument(f"z must not be a pole of the model, got z = {place}")
    result: Array = rows.reshape((*r.batch, *points.shape))
    return result[()]


def _plain(r: Realisation, z: Array) -> Array:
    """G at every point, (H, K)."""
    whole = _rational(r, z) if r.kind == "rational" else _with_states(r, z)
    return whole + r.direct[:, np.newaxis]


def _rational(r: Realisation, z: Array) -> Array:
    values = np.broadcast_to(r.model._response(z), (*r.batch, z.size))
    return np.ascontiguousarray(values.reshape(-1, z.size))


def _with_states(r: Realisation, z: Array) -> Array:
    """C (I − zĀ)⁻¹ B̄, (H, K)."""
    if r.is_rational_rule:
        if has_product_form(r):
            return _at_nodes(r, z, _by_product)
        if has_normal_form(r):
            return _at_nodes(as_dplr(r), z, _by_sums)
        if r.kind in ("dplr", "diagonal"):
            return _at_nodes(r, z, _by_sums)
    return _by_hyman(r, z)


def _polynomial(r: Realisation, z: Array, length: int) -> Array:
    """G_L = G − z^L (G read out by CĀ^L); near poles of G, where that cancels, by its terms."""
    if r.kind == "rational":
        tail = r.model.b - r.model.truncate(length).transfer_function.b
        rest = _rational(replace(r, model=type(r.model)(tail, r.model.a)), z)
    else:
        rest = _with_states(r.with_read_out(advance_read_out(r, length)), z)
    shifted = z**length * rest
    result: Array = _plain(r, z) - shifted
    lost = ~np.isfinite(result) | (np.abs(result) < _CANCELLED * np.abs(shifted))
    columns = np.flatnonzero(lost.any(axis=0))
    if columns.size:
        terms = compute(r, length, "recurrence").rows
        result[:, columns] = _horner(terms, z[columns])
    return result


#: Of the two terms this share must be left of their difference.
_CANCELLED = 1e-2


def _horner(terms: Array, z: Array) -> Array:
    """Σ_k terms[:, k] z^k."""
    total = np.zeros((terms.shape[0], z.size), np.complex128)
    for column in terms.T[::-1]:
        total = total * z + column[:, np.newaxis]
    return total


def _at_nodes(r: Realisation, z: Array, response: Any) -> Array:
    """weight·C(σ/ε − A)⁻¹B, and its limit where the weight is infinite."""
    assert r.steps is not None
    denominator = r.alpha + (1.0 - r.alpha) * z
    infinite = denominator == 0.0
    weight = 1.0 / np.where(infinite, 1.0, denominator)
    sigma = (1.0 - z) * weight
    rows = weight * response(r, sigma)
    if infinite.any():
        rows[:, infinite] = r.gain[:, np.newaxis] / (1.0 - z[infinite])
    result: Array = rows
    return result


def _by_product(r: Realisation, sigma: Array) -> Array:
    assert r.steps is not None
    native = r.model._native
    C = all_rows(r.read_out, (r.channels,)).astype(np.float64)
    if r.steps.size == 1:
        return np.asarray(_core.ssm.cascade_response(native, C, sigma / r.steps[0]))
    return np.concatenate(
        [
            _core.ssm.cascade_response(native, C[h : h + 1], sigma / r.steps[h])
            for h in range(r.channels)
        ]
    )


def _by_sums(r: Realisation, sigma: Array) -> Array:
    assert r.steps is not None
    part = r.continuous
    return np.asarray(
        _core.ssm.dplr_response(
            part.A, part.P, part.Q, part.B, all_rows(r.read_out, (r.channels,)), r.weight_rows,
            r.is_half, sigma / r.steps[:, np.newaxis],
        )
    )  # fmt: skip


#: |z| below which no term of G but the first is within the range of double beside it.
_NOTHING = 1e-290


def _by_hyman(r: Realisation, z: Array) -> Array:
    """ζ C(ζI − Ā)⁻¹B̄ at ζ = 1/z; CB̄ where z is 0 to the last digit."""
    A, B, C = r.dense
    zero = np.abs(z) < _NOTHING
    zeta = 1.0 / np.where(zero, 1.0, z)
    if A.shape[0] == B.shape[0] == 1:
        rows = _core.ssm.frequency_response(A[0], B[0], all_rows(C, (r.channels,)), zeta)
        gains = C @ B[0]
    else:
        A, B, C = (all_rows(part, (r.channels,), k) for part, k in ((A, 2), (B, 1), (C, 1)))
        rows = np.concatenate(
            [
                _core.ssm.frequency_response(A[h], B[h], C[h : h + 1], zeta)
                for h in range(r.channels)
            ]
        )
        gains = (C * B).sum(axis=-1)
    rows = zeta * rows
    rows[:, zero] = np.broadcast_to(gains, (r.channels,))[:, np.newaxis]
    return rows
