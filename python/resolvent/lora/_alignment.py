"""How well the first step of an adapter follows that of full fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, integer_parameter, name_parameter
from resolvent._html import grid, table
from resolvent._text import columns
from resolvent.lora._adapter import (
    OPTIMIZERS,
    Adapter,
    Optimizer,
    frobenius,
    full_direction,
    weight_like,
)
from resolvent.lora._initialize import METHODS, initialize, needs
from resolvent.lora._lowrank import LowRank, as_matrix, exponent_of, leading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Alignment", "Comparison", "alignment", "compare"]

#: Squares of numbers between 2^±this, and sums of them, keep their digits in float64.
_REACH = 400


@dataclass(frozen=True, eq=False)
class Alignment(ReadOnlyFields):
    """The report card of an adapter: its first step D beside that of full fine-tuning, F.

    F is −G for SGD and −sign(G) for Adam; D is ``adapter.first_update(G, optimizer)``.

    Attributes
    ----------
    method, optimizer : str
    rank : int
    shape : (int, int)
    cosine : float
        ⟨D, F⟩/(‖D‖‖F‖); 0 where D is.
    captured : float
        The share of ‖F‖² that steps along A's columns and B's rows can have,
        1 − ‖(I − P_A) F (I − P_B)‖²/‖F‖²: what the best preconditioner would make of the adapter.
    residual : float
        min_c ‖cD − F‖/‖F‖ = √(1 − cosine²).
    optimum : float
        The least that a step of rank 2r leaves, √(Σ_{i>2r} σ_i²)/‖F‖ (Eckart and Young).
    excess : float
        residual/optimum, ≥ 1 where D has rank 2r; 1 where both vanish. DoRA's D has any rank.
    angles_left, angles_right : ndarray
        Principal angles in radians, ascending, of A's columns to F's first 2r left singular
        vectors, and of B's rows to the right ones; empty for a factor that is zero.
    effective_scale : float
        ⟨D, F⟩/‖F‖²: for SGD, the first-order decrease of the loss relative to full fine-tuning with
        the same learning rate.
    offset_ratio : float
        ‖offset‖_F/‖W₀‖_F; NaN if W₀ was not given.
    spectrum : ndarray
        The leading singular values of F: 4r of them, or all.
    """

    method: str
    optimizer: str
    rank: int
    shape: tuple[int, int]
    cosine: float
    captured: float
    residual: float
    optimum: float
    excess: float
    angles_left: Array
    angles_right: Array
    effective_scale: float
    offset_ratio: float
    spectrum: Array

    def plot(self, ax: Axes | None = None) -> Axes:
        """The spectrum of the full step, with what the adapter can have of it."""
        from resolvent.plot.lora import plot_alignment

        return plot_alignment(self, ax)

    def __repr__(self) -> str:
        return (
            f"Alignment({self.method or 'adapter'}, {self.optimizer}: cosine {self.cosine:.3f}, "
            f"captured {self.captured:.3f}, residual {_times(self.excess)} the optimum)"
        )

    def _repr_html_(self) -> str:
        n, m = self.shape
        return table(
            f"Does the adapter follow the full gradient? {self.method}".strip(),
            [
                ("W, rank", f"{n} × {m}, {self.rank}"),
                ("optimizer", self.optimizer),
                ("cosine with the full step", f"{self.cosine:.4f}"),
                ("energy within reach", f"{self.captured:.1%}"),
                ("residual, best scale", f"{self.residual:.4f}"),
                (f"least of rank {2 * self.rank}", f"{self.optimum:.4f}"),
                ("residual over the least", _times(self.excess)),
                ("angles of A", _degrees(self.angles_left)),
                ("angles of B", _degrees(self.angles_right)),
                ("effective scale", f"{self.effective_scale:.4g}"),
                ("‖offset‖/‖W₀‖", _number(self.offset_ratio)),
            ],
        )


def _times(excess: float) -> str:
    return f"{excess:.3f}×" if math.isfinite(excess) else "∞×"


def _degrees(angles: Array) -> str:
    if not angles.size:
        return "none, it is zero"
    low, high = np.degrees([angles[0], angles[-1]])
    return f"{low:.1f}° … {high:.1f}°"


def _number(value: float) -> str:
    return "not known" if math.isnan(value) else f"{value:.4g}"


def alignment(
    G: ArrayLike,
    adapter: Adapter,
    *,
    optimizer: Optimizer = "sgd",
    weight: ArrayLike | None = None,
    spectrum: LowRank | None = None,
) -> Alignment:
    """Measures how well an adapter's first step follows the full gradient.

    Parameters
    ----------
    G : array_like, shape (n, m)
        ∂L/∂W at the start; not zero.
    adapter : Adapter
    optimizer : {"sgd", "adam"}
    weight : array_like, shape (n, m), optional
        W₀, for `offset_ratio` and DoRA.
    spectrum : LowRank, optional
        At least 2r leading singular triplets of G (of sign(G) for Adam), if they are at hand; else
        they are computed, the greater part of the cost.

    Returns
    -------
    Alignment

    Notes
    -----
    Singular vectors are taken to √eps of the largest singular value, energies to its square.
    Memory: a few matrices of G's size.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> G = 1 / (1.0 + np.arange(40)[:, None] + np.arange(30))
    >>> lora = rv.lora.initialize("lora", shape=G.shape, rank=1)
    >>> rv.lora.alignment(G, lora)
    Alignment(lora, sgd: cosine 0.035, captured 0.001, residual 17.810× the optimum)
    >>> lora_ga = rv.lora.initialize("lora-ga", gradient=G, rank=1)
    >>> rv.lora.alignment(G, lora_ga)
    Alignment(lora-ga, sgd: cosine 0.998, captured 0.997, residual 1.000× the optimum)
    """
    if not isinstance(adapter, Adapter):
        raise _core.DtypeError(f"adapter must be an Adapter, got {adapter!r}")
    for name, factor in adapter.parameters.items():
        _core.require_finite(factor, f"adapter.{name}")
    G = weight_like(G, adapter.shape, "G", "")
    name_parameter(optimizer, OPTIMIZERS, "optimizer")
    if not G.any():
        raise _core.InvalidArgument("G is zero: there is no step to follow")
    # Squares of the entries must stay in range; a power of two changes nothing else.
    exponent = exponent_of(G) if abs(exponent_of(G)) > _REACH else 0
    G = np.ldexp(G, -exponent) if exponent else G
    F = full_direction(G, optimizer)
    size = frobenius(F)
    r = adapter.rank
    if spectrum is None:
        found, shift = _spectrum(G, optimizer, 4 * r), 0
    else:
        found, shift = spectrum, -exponent if optimizer == "sgd" else 0
    head = min(2 * r, min(adapter.shape))
    if found.rank < head:
        raise _core.InvalidArgument(
            f"spectrum must have at least {head} triplets for rank {r}, got {found.rank}"
        )
    D = adapter.first_update(G, optimizer, weight=weight)
    length, overlap = frobenius(D), float(np.einsum("ij,ij->", D, F, dtype=np.float64))
    cosine = min(max(overlap / (length * size), -1.0), 1.0) if length else 0.0
    residual = _residual(D, F, length, size, overlap)
    optimum = float(np.ldexp(_tail(found, head), shift)) / size
    return Alignment(
        method=adapter.method,
        optimizer=optimizer,
        rank=r,
        shape=adapter.shape,
        cosine=cosine,
        captured=_captured(F, adapter, size),
        residual=residual,
        optimum=optimum,
        excess=_excess(residual, optimum, F),
        angles_left=_angles(adapter.A, found.U[:, :head]),
        angles_right=_angles(adapter.B.T, found.Vh[:head].T),
        effective_scale=overlap / size**2,
        offset_ratio=_offset_ratio(adapter, weight),
        spectrum=np.ldexp(found.sigma, (exponent if optimizer == "sgd" else 0) + shift),
    )


def _spectrum(G: Array, optimizer: Optimizer, count: int) -> LowRank:
    return leading(G if optimizer == "sgd" else np.sign(G), min(count, min(G.shape)))


def _residual(D: Array, F: Array, length: float, size: float, overlap: float) -> float:
    """min_c ‖cD − F‖/‖F‖, from the difference itself: 1 − cosine² would cancel."""
    if length == 0.0:
        return 1.0
    c = D.dtype.type(overlap / length / length)
    return frobenius(c * D - F) / size


def _tail(found: LowRank, head: int) -> float:
    """√(Σ_{i>head} σ_i²): the triplets beyond `head` that are known, and the rest."""
    beyond = found.sigma[head:].astype(np.float64)
    return math.hypot(*beyond, found.residual)


def _excess(residual: float, optimum: float, F: Array) -> float:
    rounding = 4.0 * max(F.shape) * float(np.finfo(F.dtype).eps)
    if residual <= rounding and optimum <= rounding:
        return 1.0
    return residual / optimum if optimum > 0.0 else math.inf


def _captured(F: Array, adapter: Adapter, size: float) -> float:
    """1 − ‖(I − P_A) F (I − P_B)‖²/‖F‖²."""
    rest = F
    P, Q = _orthonormal(adapter.A), _orthonormal(adapter.B.T)
    if P.shape[1]:
        rest = rest - P @ (P.T @ rest)
    if Q.shape[1]:
        rest = rest - (rest @ Q) @ Q.T
    return 1.0 - (frobenius(rest) / size) ** 2


def _orthonormal(columns: Array) -> Array:
    """A basis of the span of a few columns."""
    U, sigma, _ = np.linalg.svd(columns, full_matrices=False)
    floor = max(columns.shape) * np.finfo(columns.dtype).eps * sigma[0]
    return U[:, sigma > floor]


def _angles(columns: Array, space: Array) -> Array:
    """Principal angles, ascending; the small ones from sines (Björck and Golub 1973)."""
    basis = _orthonormal(columns).astype(np.float64)
    space = space.astype(np.float64)
    if not basis.shape[1]:
        return np.empty(0)
    inner = space.T @ basis
    cosines = np.linalg.svd(inner, compute_uv=False)
    sines = np.linalg.svd(basis - space @ inner, compute_uv=False)[::-1]
    count = min(len(cosines), basis.shape[1])
    cosines, sines = np.clip(cosines[:count], 0.0, 1.0), np.clip(sines[:count], 0.0, 1.0)
    return np.asarray(np.where(cosines > sines, np.arcsin(sines), np.arccos(cosines)))


def _offset_ratio(adapter: Adapter, weight: ArrayLike | None) -> float:
    if weight is None:
        return math.nan
    size = frobenius(weight_like(weight, adapter.shape, "weight", ""))
    assert adapter.offset is not None
    offset = adapter.offset.norm()
    if size == 0.0:
        return math.inf if offset else 0.0
    return offset / size


# ---- comparison ---------------------------------------------------------------------------------

_COLUMNS = ("cosine", "captured", "residual", "excess", "effective scale", "‖offset‖/‖W₀‖")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Report cards side by side.

    Attributes
    ----------
    cards : dict of str to Alignment
        By label.
    optimizer : str
    """

    cards: dict[str, Alignment]
    optimizer: str

    def __getitem__(self, label: str) -> Alignment:
        return self.cards[label]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Cosine and captured energy of every adapter."""
        from resolvent.plot.lora import plot_comparison

        return plot_comparison(self, ax)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                label,
                f"{card.cosine:.4f}",
                f"{card.captured:.1%}",
                f"{card.residual:.4f}",
                _times(card.excess),
                f"{card.effective_scale:.4g}",
                _number(card.offset_ratio),
            )
            for label, card in self.cards.items()
        ]

    def __str__(self) -> str:
        return columns(("", *_COLUMNS), self._rows())

    def __repr__(self) -> str:
        return f"Comparison({self.optimizer}: {', '.join(self.cards)})"

    def _repr_html_(self) -> str:
        caption = f"First step beside full fine-tuning, {self.optimizer}"
        return grid(caption, ("", *_COLUMNS), self._rows())


def compare(
    methods: Sequence[str] | Mapping[str, Adapter | Mapping[str, Any]] = METHODS,
    weight: ArrayLike | None = None,
    gradient: ArrayLike | None = None,
    rank: int = 8,
    *,
    optimizer: Optimizer = "sgd",
    **options: Any,
) -> Comparison:
    """Report cards of several methods on one weight and gradient.

    Parameters
    ----------
    methods : sequence of str, or mapping
        Names; or labels with an :class:`Adapter`, or with options of :func:`initialize` among which
        is ``"method"``.
    weight, gradient : array_like, shape (n, m)
    rank : int
    optimizer : {"sgd", "adam"}
    **options
        Of :func:`initialize`, for all methods.

    Returns
    -------
    Comparison

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> rng = np.random.default_rng(0)
    >>> W = rng.standard_normal((40, 30))
    >>> G = 1 / (1.0 + np.arange(40)[:, None] + np.arange(30))
    >>> print(rv.lora.compare(["lora", "pissa", "lora-ga"], W, G, rank=1))
             cosine  captured  residual   excess  effective scale  ‖offset‖/‖W₀‖
    lora     0.0347      0.1%    0.9994  17.810×        0.0004421              0
    pissa    0.1559      2.4%    0.9878  17.603×           0.2902         0.3521
    lora-ga  0.9984     99.7%    0.0561   1.000×           0.3412         0.0101
    """
    G = as_matrix(gradient, "gradient")  # type: ignore[arg-type]
    _core.require_finite(G, "gradient")
    name_parameter(optimizer, OPTIMIZERS, "optimizer")
    rank = integer_parameter(rank, "rank")
    if isinstance(methods, str):
        raise _core.InvalidArgument(f"methods must be a sequence of names, got {methods!r}")
    named = (
        methods if isinstance(methods, Mapping) else {name: {"method": name} for name in methods}
    )
    if not named:
        raise _core.InvalidArgument("methods must name at least one, got none")
    adapters = {
        label: _adapter(label, entry, weight, G, rank, options) for label, entry in named.items()
    }
    count = max(4 * adapter.rank for adapter in adapters.values())
    found = _spectrum(G, optimizer, count) if G.any() else None
    cards = {
        label: alignment(G, adapter, optimizer=optimizer, weight=weight, spectrum=found)
        for label, adapter in adapters.items()
    }
    return Comparison(cards, optimizer)


def _adapter(
    label: str,
    entry: Adapter | Mapping[str, Any],
    weight: ArrayLike | None,
    G: Array,
    rank: int,
    options: Mapping[str, Any],
) -> Adapter:
    if isinstance(entry, Adapter):
        return entry
    if not isinstance(entry, Mapping):
        raise _core.DtypeError(
            f"methods[{label!r}] must be an Adapter or a dict of options, got {entry!r}"
        )
    chosen: dict[str, Any] = {"rank": rank, **options, **entry}
    method: Any = name_parameter(
        chosen.pop("method", None), METHODS, f"methods[{label!r}]['method']"
    )
    arrays: dict[str, Any] = {"gradient": G}
    if weight is not None:
        arrays["weight"] = weight
    wanted = needs(method, str(chosen.get("scale", "stable")))
    return initialize(
        method,
        shape=G.shape,
        **{name: array for name, array in arrays.items() if name in wanted},
        **chosen,
    )
