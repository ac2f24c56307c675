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
from resolvent.lora._adapter import OPTIMIZERS, Adapter, Optimizer, weight_like
from resolvent.lora._factored import Factored
from resolvent.lora._initialize import METHODS, initialize, methods_of_rank, needs
from resolvent.lora._lowrank import LowRank, as_matrix, leading, negligible
from resolvent.lora._norms import exponent_of, frobenius, inner, principal_angles, row_blocks

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
        The share of ‖F‖² that a small change of the adapter's parameters can have at best, which a
        preconditioner would have to find: for A and B, 1 − ‖(I − P_A) F (I − P_B)‖²/‖F‖², with the
        projectors on A's columns and B's rows. At least cosine².
    residual : float
        min_c ‖cD − F‖/‖F‖ = √(1 − cosine²).
    optimum : float
        The least that a step of rank 2r leaves, √(Σ_{i>2r} σ_i²)/‖F‖ (Eckart and Young).
    excess : float
        residual/optimum, ≥ 1 where D has rank 2r; 1 where both vanish. DoRA's D has any rank.
    angles_left, angles_right : ndarray
        Principal angles in radians, ascending, of A's columns to F's first 2r left singular
        vectors, and of B's rows to the right ones; empty for a factor that is zero. They mean
        little where singular values near σ_2r nearly agree.
    effective_scale : float
        ⟨D, F⟩/‖F‖²: for SGD, the first-order decrease of the loss relative to full fine-tuning with
        the same learning rate.
    offset_ratio : float
        ‖offset‖_F/‖W₀‖_F; NaN if W₀ was not given.
    spectrum : ndarray
        The leading singular values of F: 4r of them, or all.
    lost : int
        How many of the first 2r of them are below rounding.
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
    lost: int = 0

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
    Singular vectors are taken to √eps of their singular values, energies to eps.
    Memory: blocks of rows beside the inputs; for Adam the signs of G, for DoRA a few matrices of
    its size.

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
    G = weight_like(G, adapter.shape, "G")
    name_parameter(optimizer, OPTIMIZERS, "optimizer")
    if not G.any():
        raise _core.InvalidArgument("G is zero: there is no step to follow")
    # Squares of the entries must stay in range; a power of two changes nothing else.
    exponent = exponent_of(G)
    if abs(exponent) > _REACH:
        G = np.ldexp(G, -exponent)
    else:
        exponent = 0
    # F is −target: no more than this and one block of rows is held.
    target = G if optimizer == "sgd" else np.sign(G)
    r, size = adapter.rank, frobenius(target)
    head = min(2 * r, min(adapter.shape))
    if spectrum is None:
        found, shift = leading(target, min(4 * r, min(G.shape))), 0
    else:
        found, shift = spectrum, -exponent if optimizer == "sgd" else 0
        _check_spectrum(found, head, adapter.shape)
    D = adapter.first_direction(G, optimizer, weight)
    length, overlap = _against(D, target)
    cosine = min(max(overlap / (length * size), -1.0), 1.0) if length else 0.0
    residual = _residual(D, target, overlap / length / length) / size if length else 1.0
    optimum = float(np.ldexp(_tail(found, head), shift)) / size
    return Alignment(
        method=adapter.method,
        optimizer=optimizer,
        rank=r,
        shape=adapter.shape,
        cosine=cosine,
        captured=_captured(target, adapter, size, weight),
        residual=residual,
        optimum=optimum,
        excess=_excess(residual, optimum, target),
        angles_left=_angles(adapter.A, found.U[:, :head]),
        angles_right=_angles(adapter.B.T, found.Vh[:head].T),
        effective_scale=overlap / size**2,
        offset_ratio=_offset_ratio(adapter, weight),
        spectrum=np.ldexp(found.sigma, (exponent if optimizer == "sgd" else 0) + shift),
        lost=int(np.count_nonzero(found.sigma[:head] <= negligible(found))),
    )


def _check_spectrum(found: LowRank, head: int, shape: tuple[int, int]) -> None:
    if not isinstance(found, LowRank):
        raise _core.DtypeError(f"spectrum must be a LowRank, got {found!r}")
    size = len(found.U), found.Vh.shape[1]
    if size != shape or found.rank < head:
        raise _core.ShapeMismatch(
            f"spectrum must have at least {head} triplets of a matrix of shape {shape}, got "
            f"{found.rank} of one of shape {size}"
        )


def _rows_of(D: Factored | Array, rows: slice) -> Array:
    """Rows of a matrix that may be known by its factors only."""
    if isinstance(D, Factored):
        return np.asarray((D.left[rows] * D.left.dtype.type(D.scale)) @ D.right)
    return D[rows]


def _against(D: Factored | Array, target: Array) -> tuple[float, float]:
    """‖D‖, and ⟨D, F⟩ for F = −target."""
    squares, overlap = 0.0, 0.0
    for rows in row_blocks(target.shape):
        block = _rows_of(D, rows)
        squares += inner(block, block)
        overlap -= inner(block, target[rows])
    return math.sqrt(squares), overlap


def _residual(D: Factored | Array, target: Array, c: float) -> float:
    """‖cD − F‖ for F = −target, from the difference itself: 1 − cosine² would cancel."""
    squares = 0.0
    for rows in row_blocks(target.shape):
        rest = target.dtype.type(c) * _rows_of(D, rows) + target[rows]
        squares += inner(rest, rest)
    return math.sqrt(squares)


def _tail(found: LowRank, head: int) -> float:
    """√(Σ_{i>head} σ_i²): the triplets beyond `head` that are known, and the rest."""
    beyond = found.sigma[head:].astype(np.float64)
    return math.hypot(*beyond, found.residual)


def _excess(residual: float, optimum: float, target: Array) -> float:
    rounding = 32.0 * float(np.finfo(target.dtype).eps)
    if residual <= rounding and optimum <= rounding:
        return 1.0
    return residual / optimum if optimum > 0.0 else math.inf


def _captured(target: Array, adapter: Adapter, size: float, weight: ArrayLike | None) -> float:
    """The share of ‖F‖² in the tangent space of what the adapter can be.

    For A and B alone that is 1 − ‖(I − P_A) F (I − P_B)‖²/‖F‖². AdaLoRA's importance adds the
    matrices a_k b_kᵀ where λ_k = 0, terms that have no tangents of their own; DoRA's magnitudes add
    u_j e_jᵀ, u_j the columns of W over their lengths, and weigh B's columns.
    """
    A, B, extra = adapter.tangent(weight)
    P, Q = _orthonormal(A), _orthonormal(B.T)
    inside = P.T @ target
    left = None if extra is None else _outside(extra[0], P)
    right = None if extra is None or extra[1] is None else _outside(extra[1], Q)
    squares, onto = 0.0, np.zeros(0 if left is None else left.shape[1])
    for rows in row_blocks(target.shape):
        rest = target[rows] - P[rows] @ inside
        rest = rest - (rest @ Q) @ Q.T
        squares += inner(rest, rest)
        if left is not None:
            seen = rest if right is None else rest @ right
            onto += np.einsum("ik,ik->k", left[rows], seen) / size
    captured = 1.0 - squares / size / size
    return captured if left is None else captured + _gain(left, right, Q, onto)


def _gain(left: Array, right: Array | None, Q: Array, onto: Array) -> float:
    """What rank-one matrices x_k y_kᵀ add, by least squares; `onto` are inner products with them.

    Their inner products among each other are products of inner products.
    """
    if right is None and not Q.shape[1]:  # orthogonal to each other
        squares = np.einsum("ik,ik->k", left, left).astype(np.float64)
        return float((onto[squares > 0.0] ** 2 / squares[squares > 0.0]).sum())
    outer = np.eye(len(Q)) - Q @ Q.T if right is None else right.T @ right
    gram = (left.T @ left).astype(np.float64) * outer
    return float(onto @ np.linalg.pinv(gram, hermitian=True) @ onto)


def _outside(matrix: Array, basis: Array) -> Array:
    """What columns have beside a space."""
    return matrix - basis @ (basis.T @ matrix) if basis.shape[1] else matrix


def _orthonormal(columns: Array) -> Array:
    """A basis of the span of a few columns."""
    U, sigma, _ = np.linalg.svd(columns, full_matrices=False)
    floor = max(columns.shape) * np.finfo(columns.dtype).eps * sigma.max(initial=0.0)
    return U[:, sigma > floor]


def _angles(columns: Array, space: Array) -> Array:
    """Principal angles of a span to a space with orthonormal columns, ascending."""
    basis = _orthonormal(columns).astype(np.float64)
    if not basis.shape[1]:
        return np.empty(0)
    return principal_angles(space.astype(np.float64), basis)


def _offset_ratio(adapter: Adapter, weight: ArrayLike | None) -> float:
    if weight is None:
        return math.nan
    size = frobenius(weight_like(weight, adapter.shape, "weight"))
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
    methods: Sequence[str] | Mapping[str, Adapter | Mapping[str, Any]] | None = None,
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
        is ``"method"``. All if not given, orthogonal for an even rank only.
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
    if gradient is None:
        raise _core.InvalidArgument("gradient is needed: it is what adapters are compared on")
    G = as_matrix(gradient, "gradient")
    _core.require_finite(G, "gradient")
    name_parameter(optimizer, OPTIMIZERS, "optimizer")
    rank = integer_parameter(rank, "rank")
    if methods is None:
        methods = methods_of_rank(rank)
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
    found = None
    if G.any():
        target = G if optimizer == "sgd" else np.sign(G)
        found = leading(target, min(count, min(G.shape)))
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
