"""Losses that train the maps, and their gradients.

With z = x/τ and a target y on the simplex, all but three of the maps have a loss of the form

    L = (Ω*(z) − max z) + ⟨max z − z, y⟩ + Ω(y),    ∂L/∂z = p − y,

where p maximises ⟨z, p⟩ − Ω(p) (Blondel, Martins, Niculae 2020, the Fenchel–Young loss). The first
term is the loss of the row's largest logit as target; it and the second are ≥ 0 and free of
cancellation, and Ω(e_t) = 0. So the loss of a hard target is a sum of two terms that are ≥ 0, each
to a few eps. Cross-entropy is the case Ω = Σp ln p without Ω(y).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    as_real,
    integer_parameter,
    name_parameter,
    narrowed,
    real_parameter,
    summed_to,
)
from resolvent.probmap._derivatives import vjp
from resolvent.probmap._map import (
    Map,
    MapLike,
    naming_places,
    parameter_shape,
    resolve,
    temperature_of,
)
from resolvent.probmap._maps import log_softmax, softmax
from resolvent.probmap._rows import Rows, as_rows
from resolvent.probmap._threshold import threshold

__all__ = ["REDUCTIONS", "Reduction", "loss", "loss_gradient"]

Reduction = Literal["none", "mean", "sum"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)

#: Rows of soft targets may miss their sum by this many eps of float32, times √n: what the maps
#: themselves may miss it by, so that a map's result in single precision is a target.
SUM_SLACK = 4

_EPS32 = float(np.finfo(np.float32).eps)


def loss(
    map: MapLike,
    x: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    **parameters: Any,
) -> Array:
    """The loss that trains a map.

    softmax, margin_softmax: cross-entropy −Σy ln p. sparse_softmax: the same after the target has
    joined the entries that are kept. sparsemax, entmax, normmax, budget: the Fenchel–Young loss
    Ω*(z) + Ω(y) − ⟨z, y⟩ with z = x/τ, which is 0 exactly where p = y. taylor_softmax, normalize,
    perturb_max: −Σy ln p.

    Parameters
    ----------
    map : map
        The function of a map, its name, or a map with bound parameters.
    x : array_like of float32 or float64, shape (..., n, ...)
        Logits; −∞ is a masked entry.
    target : array_like
        Hard: integers in [0, n), broadcast to the shape of x without `axis`. Soft: floats of x's
        shape, ≥ 0, of sum 1 along `axis`; for budget at most 1 and of sum `total`.
    axis, mask
        As in :func:`softmax`.
    ignore_index : int, optional
        Rows with this hard target do not count.
    reduction : {"mean", "sum", "none"}
        Over the rows that count; or one loss for every row, 0 where it does not count.
    **parameters
        Of the map, such as `alpha` or `temperature`. margin_softmax takes its target from here.

    Returns
    -------
    ndarray
        Of x's type; a number unless `reduction` is "none". Computed in float64 whatever that is.
        Hard targets keep the digits of p: the error is some eps of the loss, however small or large
        it is, times α for entmax, α/(α−1) for normmax. Soft ones: some eps of the largest of the
        terms. taylor_softmax, perturb_max: the relative error of p_t. O(n) per row beyond the map.

        A target whose entry is masked, or of probability 0 under one of the last three maps, has
        the loss +∞. A row that is masked altogether counts as one of equal logits.

    Raises
    ------
    InvalidArgument
        For a target out of range, soft targets that are negative or do not add up, a mean over no
        rows, an unknown reduction, and as the map does.
    ShapeMismatch, DtypeError
        For a target that does not fit x; a hard target for a budget other than 1 is a ShapeMismatch
        too.

    Notes
    -----
    Entmax: Ω(p) = Σ(p^α − p)/(α(α−1)), at α = 1 Σp ln p; sparsemax is α = 2. The loss of a hard
    target vanishes once its logit leads by 1/(α−1). Normmax: Ω(p) = ‖p‖_α − 1, margin 1. Budget:
    Ω(p) = Σp²/2. Blondel, Martins, Niculae, "Learning with Fenchel-Young Losses", 2020,
    arXiv:1901.02324; Peters, Niculae, Martins 2019, arXiv:1905.05702 (entmax); Martins, Astudillo
    2016, arXiv:1602.02068 (sparsemax).

    Examples
    --------
    >>> import resolvent as rv
    >>> x = [[2.0, 0.0, -1.0], [0.5, 0.0, -1.0]]
    >>> rv.probmap.loss("softmax", x, [0, 0], reduction="none").round(4)
    array([0.1698, 0.6041])
    >>> rv.probmap.loss("sparsemax", x, [0, 0], reduction="none").round(4)
    array([0.    , 0.0625])
    >>> float(rv.probmap.loss("entmax", x, [0, -100], alpha=1.5, ignore_index=-100))
    0.0
    """
    problem = _problem(map, x, target, axis, mask, ignore_index, parameters)
    weights = _row_weights(problem.target.counts, reduction)
    with np.errstate(over="ignore"):
        losses = _weighted(weights, problem.losses())
        if reduction != "none":
            losses = losses.sum()
        return narrowed(np.asarray(losses), problem.rows.x)[()]


def loss_gradient(
    map: MapLike,
    x: ArrayLike,
    target: ArrayLike,
    *,
    wrt: str = "x",
    axis: int = -1,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    **parameters: Any,
) -> Array:
    """The gradient of :func:`loss` in closed form.

    Parameters
    ----------
    map, x, target, axis, mask, ignore_index, **parameters
        As in :func:`loss`.
    wrt : {"x", "temperature", "alpha"}
        With respect to what; "alpha" for entmax and normmax.
    reduction : {"mean", "sum", "none"}
        Which loss; with "none" the gradient of each row's own.

    Returns
    -------
    ndarray
        Of x's type. With respect to x of its shape: (p − y)/τ, for sparse_softmax with p over the
        kept entries and the target; normalize, taylor_softmax and perturb_max: −Jᵀ(y/p). To a
        parameter: of the parameter's shape, or with "none" one number for every row. 0 in rows that
        do not count; to x also in rows that are masked altogether.

        Where the loss is +∞, p − y is still that, the limit as the target's logit falls; the last
        three maps leave out the entries of probability 0.

    Raises
    ------
    InvalidArgument, ShapeMismatch, DtypeError
        As :func:`loss` does.

    Notes
    -----
    ∂L/∂α = ∂Ω/∂α(y) − ∂Ω/∂α(p), since p is a maximum (the envelope theorem). Entmax:
    ∂Ω/∂α = Σp(ℓ² φ₁'((α−1)ℓ)/α − ℓ φ₁((α−1)ℓ)/α²), ℓ = ln p, φ₁(u) = (e^u − 1)/u, which has its
    limit at α = 1. Normmax: −‖p‖_α H(v)/α² with the entropy H of v = p^α/Σp^α.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.loss_gradient("sparsemax", [0.5, 0.0, -1.0], 0)
    array([-0.25,  0.25,  0.  ])
    >>> rv.probmap.loss_gradient("entmax", [0.5, 0.0, -1.0], 0, alpha=2.0, wrt="alpha").round(4)
    np.float64(-0.157)
    """
    problem = _problem(map, x, target, axis, mask, ignore_index, parameters)
    rows = problem.rows
    name_parameter(wrt, problem.wrt, "wrt")
    weights = _row_weights(problem.target.counts, reduction)
    with np.errstate(over="ignore"):
        if wrt == "x":
            weights = np.where(rows.empty().reshape(rows.batch), 0.0, weights)
            slopes = _weighted(weights[..., None], problem.slopes())
            return narrowed(rows.to_array(slopes.reshape(rows.x.shape)), rows.x)
        by_row = problem.alpha_slopes() if wrt == "alpha" else problem.temperature_slopes()
        slopes = _weighted(weights, by_row)
        if reduction != "none":
            slopes = summed_to(slopes.reshape(-1), slopes.shape, parameter_shape(problem.map, wrt))
        return narrowed(slopes, rows.x)[()]


# ---------------------------------------------------------------------------------------------
# Targets.


class _Hard:
    """y = e_t in every row."""

    def __init__(self, index: Array, counts: Array) -> None:
        self.index = index  # (..., 1)
        self.counts = counts  # (...): rows that are not ignored

    def inner(self, values: Array) -> Array:
        """⟨values, y⟩."""
        chosen: Array = np.take_along_axis(values, self.index, -1)[..., 0]
        return chosen

    def of(self, _: Callable[[Array], Array]) -> Array:
        """f(y) for an f that vanishes at the corners of the simplex."""
        return np.zeros(())

    def subtracted_from(self, p: Array) -> Array:
        """p − y; −Σ_{j ≠ t} p_j at the target, where p_t − 1 would cancel."""
        slopes: Array = p.copy()
        np.put_along_axis(slopes, self.index, 0.0, -1)
        np.put_along_axis(slopes, self.index, -slopes.sum(axis=-1, keepdims=True), -1)
        return slopes

    def array(self, n: int) -> Array:
        """y."""
        return np.asarray(np.arange(n) == self.index, dtype=np.float64)


class _Soft:
    """y as it is."""

    def __init__(self, y: Array) -> None:
        self.y = y
        self.counts = np.ones(y.shape[:-1], dtype=bool)

    def inner(self, values: Array) -> Array:
        return _inner(self.y, values)

    def of(self, function: Callable[[Array], Array]) -> Array:
        return function(self.y)

    def subtracted_from(self, p: Array) -> Array:
        return p - self.y

    def array(self, _: int) -> Array:
        return self.y


_Target: TypeAlias = _Hard | _Soft


def _as_target(value: ArrayLike, rows: Rows, total: Array, ignore_index: int | None) -> _Target:
    given = np.asarray(value)
    if given.dtype.kind in "iu":
        return _as_hard(given, rows, total, ignore_index)
    if given.dtype.kind != "f":
        raise _core.DtypeError(
            f"target must be integers (the classes) or floats (soft targets), got {given.dtype}"
        )
    if ignore_index is not None:
        raise _core.InvalidArgument("ignore_index must not be given with soft targets")
    return _as_soft(as_real(given, "target"), rows, total)


def _as_hard(given: Array, rows: Rows, total: Array, ignore_index: int | None) -> _Hard:
    try:
        index = np.broadcast_to(given, rows.batch)
    except ValueError:
        raise _core.ShapeMismatch(
            f"hard targets must broadcast to the rows {rows.batch}, got shape {given.shape}; "
            f"soft ones are floats of x's shape {rows.given.shape}"
        ) from None
    if (total != 1.0).any():
        raise _core.ShapeMismatch(
            f"target must be floats of x's shape {rows.given.shape} where total is not 1, "
            f"got integers and total {total[total != 1.0][0]:g}"
        )
    counts = np.ones(rows.batch, dtype=bool)
    if ignore_index is not None:
        counts = index != integer_parameter(ignore_index, "ignore_index")
    _require(counts <= ((index >= 0) & (index < rows.n)), index, f"in [0, {rows.n - 1}]")
    return _Hard(np.where(counts, index, 0).astype(np.intp)[..., None], counts)


def _as_soft(given: Array, rows: Rows, total: Array) -> _Soft:
    if given.shape != rows.given.shape:
        raise _core.ShapeMismatch(
            f"soft targets must have x's shape {rows.given.shape}, got {given.shape}; "
            f"hard ones are integers, one for each of the rows {rows.batch}"
        )
    _require(given >= 0.0, given, "at least 0")
    slack = SUM_SLACK * _EPS32 * rows.n**0.5
    _require(given <= 1.0 + slack, given, "at most 1")
    y = np.moveaxis(given, rows.axis, -1).astype(np.float64)
    sums = y.sum(axis=-1)
    bad = ~(abs(sums - total) <= slack * total)
    if bad.any():
        at = _first(bad)
        wanted = np.broadcast_to(total, sums.shape)[at]
        where = f"row {_place(at)} of target" if at else "target"
        raise _core.InvalidArgument(f"{where} must add up to {wanted:g}, got {sums[at]:.9g}")
    return _Soft(y)


def _require(good: Array, values: Array, what: str) -> None:
    if not good.all():
        at = _first(~good)
        place = f"target[{_place(at)}]" if at else "target"
        raise _core.InvalidArgument(f"target must be {what}, got {place} = {values[at]}")


def _first(where: Array) -> tuple[int, ...]:
    """The first true place in C order."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(where)), where.shape))


def _place(at: tuple[int, ...]) -> str:
    return ", ".join(str(i) for i in at)


# ---------------------------------------------------------------------------------------------
# The losses. Arrays have the shape (..., n), and (..., 1) or () for parameters.


class _Loss:
    """The loss of every row: L = (Ω*(z) − max z) + ⟨max z − z, y⟩ + Ω(y) with z = x/τ."""

    wrt: tuple[str, ...] = ("x", "temperature")

    def __init__(self, map: Map, x: Array, target: _Target, rows: Rows) -> None:
        self.map = map
        self.x = x
        self.target = target
        self.rows = rows
        self.temperature = _column(temperature_of(map.setting("temperature"), rows), rows)

    @cached_property
    def p(self) -> Array:
        """The probabilities, in double precision."""
        return self.map(self.x)

    @cached_property
    def gaps(self) -> Array:
        """max z − z ≥ 0: the logits without what all of them share."""
        return _below_largest(self.x) / self.temperature

    def conjugate(self) -> Array:
        """Ω*(z) − max z, which is the loss where the largest logit is the target."""
        raise NotImplementedError

    def regularizer(self, y: Array) -> Array:
        """Ω(y), 0 at the corners of the simplex."""
        raise NotImplementedError

    def regularizer_slope(self, y: Array) -> Array:
        """∂Ω/∂α(y)."""
        raise NotImplementedError

    def losses(self) -> Array:
        """L. Ω(y) ≤ 0 takes away what is too much, and rounding must not take more."""
        total = self.conjugate() + self.target.inner(self.gaps) + self.target.of(self.regularizer)
        return np.asarray(np.maximum(total, 0.0))

    def slopes(self) -> Array:
        """∂L/∂x."""
        return self.target.subtracted_from(self.p) / self.temperature

    def temperature_slopes(self) -> Array:
        """∂L/∂τ = −⟨∂L/∂x, x⟩/τ, in which Σ∂L/∂x = 0: only differences of logits matter."""
        return _inner(self.slopes(), self.gaps)

    def alpha_slopes(self) -> Array:
        """∂L/∂α = ∂Ω/∂α(y) − ∂Ω/∂α(p)."""
        return self.target.of(self.regularizer_slope) - self.regularizer_slope(self.p)


class _CrossEntropy(_Loss):
    """−Σy ln p = Σy(ln p_m − ln p) − ln p_m, p_m the largest: without Ω(y)."""

    def conjugate(self) -> Array:
        return np.asarray(-log_softmax(-self.gaps).max(axis=-1))

    def regularizer(self, y: Array) -> Array:
        return np.zeros(())


class _MarginCrossEntropy(_CrossEntropy):
    """The target's logit is lowered: x − m y, which a soft target may do in part."""

    def __init__(self, map: Map, x: Array, target: _Target, rows: Rows) -> None:
        if map.setting("target") is not None:
            raise _core.InvalidArgument(
                "target must not be bound in margin_softmax, which takes the loss's"
            )
        super().__init__(map, x, target, rows)

    @cached_property
    def p(self) -> Array:
        return softmax(-self.gaps)

    @cached_property
    def gaps(self) -> Array:
        """Of the lowered logits. The margin is lost in large logits, but not in their gaps."""
        margin = real_parameter(self.map.setting("margin"), "margin")
        lowered = _below_largest(self.x) + margin * self.target.array(self.x.shape[-1])
        gaps: Array = (lowered - lowered.min(axis=-1, keepdims=True)) / self.temperature
        return gaps


class _SparseCrossEntropy(_CrossEntropy):
    """The target joins the entries that are kept."""

    def conjugate(self) -> Array:
        largest, others = _largest_and_others(self.p)
        return np.asarray(np.log1p(others.sum(axis=-1) / largest[..., 0]))

    @cached_property
    def p(self) -> Array:
        kept = (self.map(self.x) > 0.0) | (self.target.array(self.x.shape[-1]) > 0.0)
        return softmax(self.x, temperature=self.map.setting("temperature"), mask=kept)


class _Entmax(_Loss):
    """Ω(p) = Σ(p^α − p)/(α(α−1)) = Σpℓ φ₁((α−1)ℓ)/α, ℓ = ln p; 0 at α = ∞."""

    def __init__(self, map: Map, x: Array, target: _Target, rows: Rows) -> None:
        super().__init__(map, x, target, rows)
        self.alpha, self.infinite = _finite(_column(rows.numbers(self.order(), "alpha"), rows))

    def order(self) -> ArrayLike:
        """α."""
        return 2.0

    def conjugate(self) -> Array:
        """Σ_{j ≠ m} p_j^α/α + ∫_{p_m}^1 (1−u)u^{α−2} du, p_m the largest.

        The Bregman divergence of Ω between e_m and p, term by term. With r = 1 − p_m the integral
        is (1 − (1−r)^{α−1}(1 + (α−1)r))/(α(α−1)), and O(r²).
        """
        largest, others = _largest_and_others(self.p)
        sums = (others**self.alpha).sum(axis=-1, keepdims=True)
        r = others.sum(axis=-1, keepdims=True)
        a = self.alpha - 1.0
        # ln((1−r)^a (1+ar))/a, of whose two logarithms the terms in r cancel
        log_rest = np.where(r <= 0.5, _log1p_rest(-np.minimum(r, 0.5)), np.log(largest) + r)
        exponent = log_rest + r * _ratio(_log1p_rest(a * r), a * r, at_zero=0.0)
        total = (sums - exponent * _phi_1(a * exponent)) / self.alpha
        return np.where(self.infinite, 0.0, total)[..., 0]

    def regularizer(self, y: Array) -> Array:
        log_y = _log_probability(y)
        return self._total(y * log_y * _phi_1((self.alpha - 1.0) * log_y) / self.alpha)

    def regularizer_slope(self, y: Array) -> Array:
        log_y = _log_probability(y)
        u = (self.alpha - 1.0) * log_y
        slopes = log_y * _phi_1_slope(u) - _phi_1(u) / self.alpha
        return self._total(y * log_y * slopes / self.alpha)

    def _total(self, terms: Array) -> Array:
        return np.asarray(np.where(self.infinite, 0.0, terms).sum(axis=-1))


class _GeneralEntmax(_Entmax):
    """Any α, which may be learnt."""

    wrt = ("x", "temperature", "alpha")

    def order(self) -> ArrayLike:
        alpha: ArrayLike = self.map.setting("alpha")
        return alpha


class _Normmax(_Loss):
    """Ω(p) = ‖p‖_α − 1."""

    wrt = ("x", "temperature", "alpha")

    def __init__(self, map: Map, x: Array, target: _Target, rows: Rows) -> None:
        super().__init__(map, x, target, rows)
        self.alpha = _column(rows.numbers(map.setting("alpha"), "alpha"), rows)

    def conjugate(self) -> Array:
        """1 + λ − max z = 1 − u_m, where u = (z − λ)_+, Σu^q = 1, 1/q = 1 − 1/α.

        u_m is (Σ(u_j/u_m)^q)^{−1/q}: all the digits of u_m near 1 are in the small u_j.
        """
        z = -self.gaps
        level = threshold(self.map.bind(temperature=1.0), z).value[..., None]
        alpha, infinite = _finite(self.alpha)
        with np.errstate(divide="ignore"):
            q = np.where(infinite, 1.0, alpha / (alpha - 1.0))
        return -np.expm1(-_log_power_sum(np.maximum(z - level, 0.0), q) / q)[..., 0]

    def regularizer(self, y: Array) -> Array:
        return self._norm(y)[..., 0] - 1.0

    def regularizer_slope(self, y: Array) -> Array:
        alpha, infinite = _finite(self.alpha)
        ratios = y / y.max(axis=-1, keepdims=True)
        log_v = alpha * _log(ratios, at_zero=0.0) - _log_power_sum(y, alpha)
        entropy = -np.where(y > 0.0, np.exp(log_v) * log_v, 0.0).sum(axis=-1, keepdims=True)
        return np.where(infinite, 0.0, -self._norm(y) * entropy / alpha**2)[..., 0]

    def _norm(self, y: Array) -> Array:
        """‖y‖_α."""
        factor = np.exp(_log_power_sum(y, self.alpha) / self.alpha)
        return np.asarray(y.max(axis=-1, keepdims=True) * factor)


class _Budget(_Loss):
    """Ω(p) = Σp²/2 over 0 ≤ p ≤ 1, Σp = total."""

    @cached_property
    def level(self) -> Array:
        """τλ, read from p: z_i − p_i is λ where 0 < p_i < 1, and at most λ where p_i = 0.

        Where all p are 1, the largest λ for which they are.
        """
        takes_part = self.x > -np.inf
        inside = takes_part & (self.p < 1.0)
        level = np.where(inside, self.x - self.temperature * self.p, -np.inf)
        full = np.where(takes_part, self.x, np.inf).min(axis=-1, keepdims=True) - self.temperature
        highest = level.max(axis=-1, keepdims=True)
        return np.asarray(np.where(inside.any(axis=-1, keepdims=True), highest, full))

    def losses(self) -> Array:
        """‖y − p‖²/2 + Σy(λ − z)_+ + Σ(1 − y)(z − λ − 1)_+: what the constraints hold back."""
        y = self.target.array(self.x.shape[-1])
        above = (self.x - self.level) / self.temperature
        short, excess = np.maximum(-above, 0.0), np.maximum(above - 1.0, 0.0)
        distance = _inner(self.p - y, self.p - y) / 2.0
        return distance + _inner(y, short) + _inner(np.maximum(1.0 - y, 0.0), excess)

    def temperature_slopes(self) -> Array:
        # an entry far above the others is no reference here: its p is 1, and they have the rest
        return _inner(self.slopes(), (self.level - self.x) / self.temperature)


class _LogLoss(_Loss):
    """−Σy ln p of a map that maximises nothing; ∂L/∂x = −Jᵀ(y/p)."""

    def losses(self) -> Array:
        return self.target.inner(-_log_probability(self.p, at_zero=-np.inf))

    def slopes(self) -> Array:
        y = self.target.array(self.x.shape[-1])
        return vjp(self.map, self.x, -_ratio(y, self.p, at_zero=0.0), p=self.p)


class _TaylorLogLoss(_LogLoss):
    """A shift of the logits changes p."""

    def temperature_slopes(self) -> Array:
        return -_inner(self.slopes(), self.x / self.temperature)


class _WeightLogLoss(_CrossEntropy):
    """normalize: the cross-entropy of the logits ln f(z), since p = f(z)/Σf(z)."""

    @cached_property
    def log_weights(self) -> tuple[Array, Array]:
        """ln f(z) and its slope: 0 and 0 in rows whose f all vanish."""
        z = self.x / self.temperature
        logs, slopes = _LOG_WEIGHTS[self.map.setting("f")](z)
        takes_part = z > -np.inf
        logs = np.where(takes_part, logs, -np.inf)
        vanish = np.isneginf(logs).all(axis=-1, keepdims=True)
        return np.where(vanish & takes_part, 0.0, logs), np.where(vanish, 0.0, slopes)

    @cached_property
    def gaps(self) -> Array:
        return _below_largest(self.log_weights[0])

    def slopes(self) -> Array:
        return super().slopes() * self.log_weights[1]

    def temperature_slopes(self) -> Array:
        return -_inner(self.slopes(), self.x / self.temperature)


def _log_square(z: Array) -> tuple[Array, Array]:
    return 2.0 * _log(np.abs(z), at_zero=-np.inf), _ratio(2.0, z, at_zero=0.0)


def _log_relu(z: Array) -> tuple[Array, Array]:
    positive = np.maximum(z, 0.0)
    return _log(positive, at_zero=-np.inf), _ratio(1.0, positive, at_zero=0.0)


def _log_sigmoid(z: Array) -> tuple[Array, Array]:
    return -np.logaddexp(0.0, -z), _sigmoid(-z)


def _log_softplus(z: Array) -> tuple[Array, Array]:
    """softplus(z) = e^z(1 − e^z/2 + …), so that its logarithm is z − e^z/2 far to the left."""
    far = z < np.log(np.finfo(np.float64).eps)
    near = np.logaddexp(0.0, np.where(far, 0.0, z))
    return np.where(far, z, np.log(near)), np.where(far, 1.0, _sigmoid(z) / near)


_LOG_WEIGHTS: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "square": _log_square,
    "relu": _log_relu,
    "sigmoid": _log_sigmoid,
    "softplus": _log_softplus,
}

_LOSSES: dict[str, type[_Loss]] = {
    "softmax": _CrossEntropy,
    "taylor_softmax": _TaylorLogLoss,
    "sparse_softmax": _SparseCrossEntropy,
    "sparsemax": _Entmax,
    "entmax": _GeneralEntmax,
    "normmax": _Normmax,
    "budget": _Budget,
    "perturb_max": _LogLoss,
    "normalize": _WeightLogLoss,
    "margin_softmax": _MarginCrossEntropy,
}


def _problem(
    map: MapLike,
    x: ArrayLike,
    target: ArrayLike,
    axis: int,
    mask: ArrayLike | None,
    ignore_index: int | None,
    parameters: dict[str, Any],
) -> _Loss:
    """The loss of these rows. The map checks its own parameters when it is applied."""
    rows = as_rows(x, axis, mask)
    naming_places(rows, lambda: _core.require_logits(rows.x, "x"))
    chosen = resolve(map, parameters)
    total = np.ones(())
    if chosen.name == "budget":
        total = _column(rows.numbers(chosen.setting("total"), "total"), rows)[..., 0]
    wanted = _as_target(target, rows, total, ignore_index)
    logits = rows.x.astype(np.float64)
    logits[rows.empty()] = 0.0
    # the perturbed maximum with Gumbel noise is softmax, whose logarithm never underflows
    gumbel = chosen.name == "perturb_max" and chosen.setting("noise") == "gumbel"
    kind = _CrossEntropy if gumbel else _LOSSES[chosen.name]
    return kind(chosen, logits.reshape(*rows.batch, rows.n), wanted, rows)


def _row_weights(counts: Array, reduction: str) -> Array:
    """What each row counts in the reduced loss, or in its own."""
    name_parameter(reduction, REDUCTIONS, "reduction")
    if reduction != "mean":
        return counts.astype(np.float64)
    total = int(counts.sum())
    if total == 0:
        raise _core.InvalidArgument(
            f"reduction must not be 'mean' where none of the {counts.size} rows counts"
        )
    return counts / total


def _column(values: Array, rows: Rows) -> Array:
    """A parameter of shape (1,) or (H,) in a shape that broadcasts with (..., n)."""
    if values.size == 1:
        return values.reshape(())[..., None]
    return values.reshape(*rows.batch, 1)


# ---------------------------------------------------------------------------------------------
# Functions of arrays.


def _inner(weights: Array, values: Array) -> Array:
    """Σ weights·values along the last axis."""
    return np.asarray(_weighted(weights, values).sum(axis=-1))


def _weighted(weights: Array, values: Array) -> Array:
    """weights·values, where 0·∞ = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(weights != 0.0, weights * values, 0.0)


def _below_largest(x: Array) -> Array:
    """max x − x of every row."""
    gaps: Array = x.max(axis=-1, keepdims=True) - x
    return gaps


def _largest_and_others(p: Array) -> tuple[Array, Array]:
    """The largest entry of every row, shape (..., 1), and p with 0 in its place."""
    at = p.argmax(axis=-1)[..., None]
    others = p.copy()
    np.put_along_axis(others, at, 0.0, -1)
    return np.take_along_axis(p, at, -1), others


def _finite(alpha: Array) -> tuple[Array, Array]:
    """α with any number in the place of ∞, and where that is."""
    infinite = np.isinf(alpha)
    return np.where(infinite, 2.0, alpha), infinite


def _log(values: Array, *, at_zero: float) -> Array:
    """ln of numbers that are ≥ 0; `at_zero` at 0."""
    return np.log(values, out=np.full_like(values, at_zero), where=values > 0.0)


def _log_probability(p: Array, *, at_zero: float = 0.0) -> Array:
    """ln p; above ½ from the sum r of the others, since ln(1 − r) has the digits of a small r."""
    largest, others = _largest_and_others(p)
    rest = np.minimum(others.sum(axis=-1, keepdims=True), 0.5)
    return np.where((p == largest) & (p > 0.5), np.log1p(-rest), _log(p, at_zero=at_zero))


def _log_power_sum(u: Array, exponent: Array) -> Array:
    """ln Σ(u_j/max u)^exponent, shape (..., 1)."""
    largest, others = _largest_and_others(u)
    powers = (others / largest) ** exponent
    return np.asarray(np.log1p(powers.sum(axis=-1, keepdims=True)))


def _sigmoid(z: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


def _ratio(numerator: Array | float, denominator: Array, *, at_zero: float) -> Array:
    """The quotient; `at_zero` where the denominator is 0 or subnormal."""
    usable = np.abs(denominator) >= np.finfo(np.float64).tiny
    return np.divide(numerator, denominator, out=np.full_like(denominator, at_zero), where=usable)


def _phi_1(u: Array) -> Array:
    """(e^u − 1)/u."""
    return _ratio(np.expm1(u), u, at_zero=1.0)


#: Terms of the two series below: |u| ≤ 1, and s² ≤ 1/9.
_TERMS = 18


def _phi_1_slope(u: Array) -> Array:
    """φ₁'(u) = (1 + (u − 1)e^u)/u² = Σ u^k/(k!(k + 2)) for u ≤ 0."""
    far = u < -1.0
    v = np.where(far, u, -1.0)
    near = np.where(far, 0.0, u)
    series = np.zeros_like(near)
    for k in reversed(range(_TERMS)):
        series = series * near / (k + 1) + 1.0 / (k + 2)
    return np.where(far, (1.0 + (v - 1.0) * np.exp(v)) / v**2, series)


def _log1p_rest(u: Array) -> Array:
    """ln(1 + u) − u for u ≥ −½.

    ln(1 + u) = 2 artanh s with s = u/(2 + u), and 2s − u = −us.
    """
    near = np.where(u <= 0.5, u, 0.0)
    s = near / (2.0 + near)
    series = np.zeros_like(s)
    for k in reversed(range(_TERMS)):
        series = series * s**2 + 1.0 / (2 * k + 3)
    return np.where(u <= 0.5, 2.0 * s**3 * series - near * s, np.log1p(u) - u)
