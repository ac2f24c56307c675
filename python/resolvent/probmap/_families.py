"""What each map computes on rows: its value, its derivatives, its threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, integer_parameter, name_parameter, real_parameter
from resolvent.probmap._noise import Perturbation
from resolvent.probmap._rows import Rows

__all__ = ["FAMILIES", "FUNCTIONS", "Family"]

FUNCTIONS: tuple[str, ...] = ("square", "relu", "sigmoid", "softplus")

#: λ, residual and support of every row.
Certificate = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Family:
    """A map without its temperature; the fields are its parameters.

    `temperature` is float64, (1,) or (H,), everywhere; arrays of shape (H, n) have the type of the
    logits.
    """

    name: ClassVar[str]
    #: What :func:`vjp` can differentiate by, besides the logits and the temperature.
    parameters: ClassVar[tuple[str, ...]] = ()
    #: Whether products need the value p.
    uses_value: ClassVar[bool] = True
    #: Whether p(x + c) = p(x), so that the derivatives may take logits relative to the largest.
    shift_invariant: ClassVar[bool] = True

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        """Writes p."""
        raise NotImplementedError

    def product(
        self, rows: Rows, temperature: Array, p: Array, g: Array, out: Array, transposed: bool
    ) -> None:
        """Writes Jg, or Jᵀg."""
        raise NotImplementedError

    def logits(self, x: Array, rows: Rows) -> Array:
        """What the temperature divides, in the type of x."""
        return x

    def matrix(self, rows: Rows, temperature: Array, p: Array) -> Array:
        """J itself, (H, n, n).

        Columns add up to 0, which gives the diagonal without cancellation.
        """
        full = np.empty((len(rows.x), rows.n, rows.n), rows.x.dtype)
        unit, column = np.zeros_like(rows.x), np.empty_like(rows.x)
        for j in range(rows.n):
            unit[:, j] = 1
            self.product(rows, temperature, p, unit, column, False)
            column[:, j] = 0
            column[:, j] = 0.0 - column.sum(axis=1)
            full[:, :, j] = column
            unit[:, j] = 0
        return full

    def slope(self, rows: Rows, temperature: Array, p: Array, name: str) -> Array:
        """∂p/∂(parameter of the row), float64."""
        raise NotImplementedError

    def threshold(self, rows: Rows, temperature: Array) -> Certificate:
        """λ of every row."""
        raise _core.InvalidArgument(
            f"map must have a threshold, as softmax, margin_softmax, sparse_softmax, sparsemax, "
            f"entmax, normmax and budget have; got {self.name!r}"
        )


@dataclass(frozen=True)
class Softmax(Family):
    """e^{x}/Σe^{x}."""

    name = "softmax"

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        _core.probmap.softmax(self.logits(rows.x, rows), temperature, refuse_empty, out)

    def product(
        self, rows: Rows, temperature: Array, p: Array, g: Array, out: Array, transposed: bool
    ) -> None:
        _core.probmap.softmax_product(p, g, temperature, out)

    def threshold(self, rows: Rows, temperature: Array) -> Certificate:
        return _core.probmap.softmax_threshold(self.logits(_double(rows.x), rows), temperature)


@dataclass(frozen=True)
class MarginSoftmax(Softmax):
    """Softmax whose target's logit is lowered."""

    name = "margin_softmax"
    target: Any = None
    margin: Any = 0.35

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        # Softmax may work in place: the lowered logits need no array of their own.
        self._lower(rows.x, rows, out)
        _core.probmap.softmax(out, temperature, refuse_empty, out)

    def logits(self, x: Array, rows: Rows) -> Array:
        return self._lower(x, rows, np.empty_like(x))

    def _lower(self, x: Array, rows: Rows, out: Array) -> Array:
        """Writes x − max x − margin·y, in which the margin is not lost beside large logits."""
        if self.target is None:
            raise _core.InvalidArgument("margin_softmax needs target=, the class of every row")
        margin = real_parameter(self.margin, "margin")
        if not np.isfinite(margin):
            raise _core.InvalidArgument(f"margin must be finite, got {margin:g}")
        classes = class_indices(self.target, rows)
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(x, _largest(x), out=out)
        out[np.arange(len(out)), classes] -= margin
        return out

    def threshold(self, rows: Rows, temperature: Array) -> Certificate:
        value, residual, support = super().threshold(rows, temperature)
        return value + _largest(_double(rows.x))[:, 0] / temperature, residual, support


@dataclass(frozen=True)
class SparseSoftmax(Softmax):
    """Softmax over the largest entries."""

    name = "sparse_softmax"
    k: Any = None
    p: Any = None

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        count, mass = self._kept(rows.n)
        _core.probmap.sparse_softmax(rows.x, count, mass, temperature, refuse_empty, out)

    def threshold(self, rows: Rows, temperature: Array) -> Certificate:
        count, mass = self._kept(rows.n)
        last = _core.probmap.sparse_softmax_last(rows.x, count, mass, temperature)
        p = np.empty_like(rows.x)
        self.apply(rows, temperature, False, p)
        kept = (rows.x >= last[:, None]) & ~np.isneginf(rows.x)
        residual = p.sum(axis=1, dtype=np.float64) - 1.0
        return _double(last) / temperature, residual, np.count_nonzero(kept, axis=1)

    def _kept(self, n: int) -> tuple[int, float]:
        if (self.k is None) == (self.p is None):
            raise _core.InvalidArgument(
                f"sparse_softmax needs exactly one of k and p, got k={self.k!r} and p={self.p!r}"
            )
        if self.k is not None:
            count = integer_parameter(self.k, "k")
            if not 1 <= count <= n:
                raise _core.InvalidArgument(f"k must be in [1, {n}], got {count}")
            return count, 1.0
        mass = real_parameter(self.p, "p")
        if not 0.0 < mass <= 1.0:
            raise _core.InvalidArgument(f"p must be in (0, 1], got {mass:g}")
        return 0, mass


@dataclass(frozen=True)
class Entmax(Family):
    """((α−1)x − λ)_+^{1/(α−1)}."""

    name = "entmax"
    parameters = ("alpha",)
    alpha: Any = 1.5

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        _core.probmap.entmax(rows.x, self._alpha(rows), temperature, refuse_empty, out)

    def product(
        self, rows: Rows, temperature: Array, p: Array, g: Array, out: Array, transposed: bool
    ) -> None:
        _core.probmap.entmax_product(p, g, self._alpha(rows), temperature, out)

    def slope(self, rows: Rows, temperature: Array, p: Array, name: str) -> Array:
        alpha = self._alpha(rows)
        finite = np.isfinite(alpha)
        slope = _entmax_slope(p, np.where(finite, alpha, 2.0))
        slope[~np.broadcast_to(finite, len(slope))] = 0.0
        return slope

    def threshold(self, rows: Rows, temperature: Array) -> Certificate:
        return _core.probmap.entmax_threshold(_double(rows.x), self._alpha(rows), temperature)

    def _alpha(self, rows: Rows) -> Array:
        return _at_least_one(self.alpha, rows)


@dataclass(frozen=True)
class Sparsemax(Family):
    """(x − λ)_+: entmax with α = 2."""

    name = "sparsemax"

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        Entmax(2.0).apply(rows, temperature, refuse_empty, out)

    def product(
        self, rows: Rows, temperature: Array, p: Array, g: Array, out: Array, transposed: bool
    ) -> None:
        Entmax(2.0).product(rows, temperature, p, g, out, transposed)

    def threshold(self, rows: Rows, temperature: Array) -> Certificate:
        return Entmax(2.0).threshold(rows, temperature)


@dataclass(frozen=True)
class Normmax(Family):
    """argmax ⟨x, p⟩ − ‖p‖_α."""

    name = "normmax"
    parameters = ("alpha",)
    alpha: Any = 2.0

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        _core.probmap.normmax(rows.x, self._alpha(rows), temperature, refuse_empty, out)

    def product(
        self, rows: Rows, temperature: Array, p: Array, g: Array, out: Array, transposed: bool
    ) -> None:
        _core.probmap.normmax_product(p, g, self._alpha(rows), temperature, out)

    def slope(self, rows: Rows, temperature: Array, p: Array, name: str) -> Array:
        alpha = self._alpha(rows)[:, None]
        smooth = np.isfinite(alpha) & (alpha > 1.0)
        found: Array = np.where(smooth, _normmax_slope(p, np.where(smooth, alpha, 2.0)), 0.0)
        return found

    def threshold(self, rows: Rows, temperature: Array) -> Certificate:
        return _core.probmap.normmax_threshold(_double(rows.x), self._alpha(rows), temperature)

    def _alpha(self, rows: Rows) -> Array:
        return _at_least_one(self.alpha, rows)


@dataclass(frozen=True)
class Budget(Family):
    """clip(x − λ, 0, 1)."""

    name = "budget"
    total: Any = 1.0

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        _core.probmap.budget(rows.x, self._total(rows), temperature, refuse_empty, out)

    def product(
        self, rows: Rows, temperature: Array, p: Array, g: Array, out: Array, transposed: bool
    ) -> None:
        _core.probmap.budget_product(p, g, temperature, out)

    def threshold(self, rows: Rows, temperature: Array) -> Certificate:
        return _core.probmap.budget_threshold(_double(rows.x), self._total(rows), temperature)

    def _total(self, rows: Rows) -> Array:
        total = rows.numbers(self.total, "total")
        bad = ~((total > 0.0) & (total <= rows.n))
        if bad.any():
            raise _core.InvalidArgument(
                f"total must be in (0, {rows.n}], the number of entries, got {total[bad][0]:g}"
            )
        return total


@dataclass(frozen=True)
class Elementwise(Family):
    """f(x_i)/Σf(x_j)."""

    shift_invariant = False
    uses_value = False

    def function(self) -> tuple[str, int]:
        """Name of f and order of its polynomial."""
        raise NotImplementedError

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        _core.probmap.normalize(rows.x, *self.function(), temperature, refuse_empty, out)

    def product(
        self, rows: Rows, temperature: Array, p: Array, g: Array, out: Array, transposed: bool
    ) -> None:
        _core.probmap.normalize_product(rows.x, g, *self.function(), transposed, temperature, out)


@dataclass(frozen=True)
class Normalize(Elementwise):
    """f by name."""

    name = "normalize"
    f: Any = "square"

    def function(self) -> tuple[str, int]:
        return name_parameter(self.f, FUNCTIONS, "f"), 2


@dataclass(frozen=True)
class TaylorSoftmax(Elementwise):
    """f the Taylor polynomial of e^x."""

    name = "taylor_softmax"
    order: Any = 2

    def function(self) -> tuple[str, int]:
        return "taylor", integer_parameter(self.order, "order")


@dataclass(frozen=True)
class PerturbMax(Family):
    """P[argmax(x + ε) = i]."""

    name = "perturb_max"
    uses_value = False
    noise: Any = "gumbel"
    df: Any = None

    def apply(self, rows: Rows, temperature: Array, refuse_empty: bool, out: Array) -> None:
        self.perturbation().maximum(rows.x, temperature, refuse_empty, out)

    def product(
        self, rows: Rows, temperature: Array, p: Array, g: Array, out: Array, transposed: bool
    ) -> None:
        self.perturbation().product(rows.x, temperature, g, out)

    def matrix(self, rows: Rows, temperature: Array, p: Array) -> Array:
        return self.perturbation().jacobian(rows.x, temperature)

    def perturbation(self) -> Perturbation:
        """The noise, checked."""
        return Perturbation.of(self.noise, self.df)


FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        Softmax,
        TaylorSoftmax,
        SparseSoftmax,
        Sparsemax,
        Entmax,
        Normmax,
        Budget,
        PerturbMax,
        Normalize,
        MarginSoftmax,
    )
}


def class_indices(target: Any, rows: Rows) -> Array:
    """A class for every row, shape (H,)."""
    array = np.asarray(target)
    if array.dtype.kind not in "iu":
        raise _core.DtypeError(f"target must be integers, got {array.dtype}")
    try:
        full = np.broadcast_to(array, rows.batch).reshape(-1)
    except ValueError:
        raise _core.ShapeMismatch(
            f"target must broadcast to the rows {rows.batch}, got shape {array.shape}"
        ) from None
    bad = (full < 0) | (full >= rows.n)
    if bad.any():
        raise _core.InvalidArgument(f"target must be in [0, {rows.n - 1}], got {full[bad][0]}")
    return full.astype(np.intp)


def _largest(x: Array) -> Array:
    """The largest entry of every row, (H, 1); 0 where all are masked."""
    largest: Array = x.max(axis=1, keepdims=True)
    return np.where(np.isneginf(largest), 0, largest).astype(x.dtype)


def _double(x: Array) -> Array:
    return x.astype(np.float64, copy=False)


def _at_least_one(value: Any, rows: Rows) -> Array:
    alpha = rows.numbers(value, "alpha")
    bad = ~(alpha >= 1.0)
    if bad.any():
        raise _core.InvalidArgument(f"alpha must be at least 1, got {alpha[bad][0]:g}")
    return alpha


def _entmax_slope(p: Array, alpha: Array) -> Array:
    """∂p/∂α = d − s Σd/Σs, d = −p ℓ² φ_2(−(α−1)ℓ), ℓ = ln p, s = p^{2−α}; alpha (1,) or (H,).

    d is the derivative with λ = (α−1)θ − 1 moving so that θ stays. It has a limit at α = 1, where
    the usual form, (p − q)/(α−1)² − (h − qΣh)/(α−1), cancels. Only positive entries are looked at.
    """
    positive = np.flatnonzero(p)
    row = positive // p.shape[1]
    value = p.reshape(-1)[positive].astype(np.float64)
    own = np.broadcast_to(alpha, len(p))[row]
    log_p = np.log(value)
    # Relative to the largest d and s of the row: beyond α = 2 they may be as large as they like.
    log_d, log_s = _log_phi_2((1.0 - own) * log_p), (2.0 - own) * log_p
    with np.errstate(divide="ignore"):  # ℓ = 0 where p = 1
        log_d += log_p + 2.0 * np.log(np.abs(log_p))
    d, largest = _relative(log_d, row, len(p))
    share, _ = _relative(log_s, row, len(p))
    share /= np.bincount(row, share, len(p))[row]
    entries = share * np.bincount(row, d, len(p))[row] - d
    with np.errstate(over="ignore", invalid="ignore"):
        entries = np.where(entries == 0.0, 0.0, np.exp(largest[row]) * entries)
    slope = np.zeros(p.shape)
    slope.reshape(-1)[positive] = entries
    return slope


def _relative(log_values: Array, row: Array, rows: int) -> tuple[Array, Array]:
    """Values divided by the largest of their row, and the logarithms of these."""
    largest = np.full(rows, -np.inf)
    np.maximum.at(largest, row, log_values)
    finite = np.where(np.isneginf(largest), 0.0, largest)
    return np.exp(log_values - finite[row]), finite


def _log_phi_2(z: Array) -> Array:
    """log φ_2(z) for z ≥ 0; 1 + z is nothing beside e^z in the end."""
    moderate = np.minimum(z, 100.0)
    found: Array = np.log(_phi_2(moderate))
    far = z > 100.0
    found[far] = z[far] - 2.0 * np.log(z[far])
    return found


def _phi_2(z: Array) -> Array:
    """(e^z − 1 − z)/z² for z ≥ 0."""
    small = z < 1.0
    series = np.zeros_like(z)
    for k in range(18, 1, -1):  # Σ_k z^{k−2}/k!, by Horner's rule
        series = (series * np.where(small, z, 0.0) + 1.0) / k
    large = np.where(small, 1.0, z)
    found: Array = np.where(small, series, (np.expm1(large) - large) / large**2)
    return found


def _normmax_slope(p: Array, alpha: Array) -> Array:
    """∂p/∂α through q = α/(α−1): u = (p/‖p‖_α)^{α−1} solves Σu^q = 1, and p ∝ u^{q−1}.

    ∂p/∂q = p(e − ⟨p, e⟩) with e = ln u − (q−1)(∂λ/∂q)/u, ∂λ/∂q = Σu^q ln u/(q Σu^{q−1}).
    """
    inside = p > 0
    p64 = np.where(inside, _double(p), 1.0)
    largest = _double(p).max(axis=1, keepdims=True)
    powers = np.where(inside, (p64 / largest) ** alpha, 0.0).sum(axis=1, keepdims=True)
    log_r = np.log(p64 / largest) - np.log(powers) / alpha
    log_u = (alpha - 1.0) * log_r
    q = alpha / (alpha - 1.0)
    r = np.where(inside, np.exp(log_r), 0.0)
    weighted = np.where(inside, np.exp(q * log_u) * log_u, 0.0).sum(axis=1, keepdims=True)
    shift = weighted / (q * r.sum(axis=1, keepdims=True))
    e = log_u - (q - 1.0) * shift * np.exp(-log_u)
    weight = np.where(inside, p64, 0.0)
    centred = np.where(inside, e - (weight * np.where(inside, e, 0.0)).sum(1, keepdims=True), 0.0)
    slope: Array = -weight * centred / (alpha - 1.0) ** 2
    return slope
