"""How an adapter starts."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    integer_parameter,
    name_parameter,
    positive_parameter,
)
from resolvent._warnings import IllConditionedWarning, warn_caller
from resolvent.lora._adapter import Adapter
from resolvent.lora._factored import Factored
from resolvent.lora._lowrank import LowRank, as_matrix, leading, negligible, seed_parameter
from resolvent.lora._norms import column_lengths
from resolvent.lora._sign import minimised

__all__ = [
    "ADAM_OPTIONS",
    "DIRECTIONS",
    "DIRECTION_ALIASES",
    "DISTRIBUTIONS",
    "METHODS",
    "SCALES",
    "SCALE_ALIASES",
    "SCALINGS",
    "START_OPTIONS",
    "check_rank",
    "initialize",
    "methods_of_rank",
    "needs",
    "scaling_factor",
]

METHODS = (
    "lora",
    "lora-ga",
    "lora-ga-adam",
    "pissa",
    "olora",
    "adalora",
    "dora",
    "orthogonal",
)
SCALINGS = ("lora", "rslora")
SCALES = ("stable", "unit", "gd", "weight")
DIRECTIONS = ("a-first", "b-first", "interleaved", "random")
#: The names of the paper's code, in PyTorch's letters, for our choices.
DIRECTION_ALIASES = {"ArB2r": "a-first", "A2rBr": "b-first", "ArBr": "interleaved"}
#: The same for the scale.
SCALE_ALIASES = {"weightS": "weight"}
ADAM_OPTIONS = ("sign-svd", "sgd-solution", "minimise")
DISTRIBUTIONS = ("kaiming", "gaussian")

Method = Literal[
    "lora", "lora-ga", "lora-ga-adam", "pissa", "olora", "adalora", "dora", "orthogonal"
]

#: Which arrays the values of a method come from.
_NEEDS: dict[str, tuple[str, ...]] = {
    "lora-ga": ("gradient",),
    "lora-ga-adam": ("gradient",),
    "pissa": ("weight",),
    "olora": ("weight",),
    "dora": ("weight",),
}

#: AdaLoRA's factors start this small (its reference code).
_ADALORA_SPREAD = 0.02
#: The orthogonal start is a tenth of Gaussian factors.
_ORTHOGONAL_SHARE = 0.1


def methods_of_rank(rank: int) -> list[str]:
    """All that there are for a rank."""
    return [method for method in METHODS if method != "orthogonal" or rank % 2 == 0]


def needs(method: str, scale: str = "stable") -> tuple[str, ...]:
    """Which of "weight" and "gradient" a method's start is computed from."""
    wanted = _NEEDS.get(name_parameter(method, METHODS, "method"), ())
    if wanted == ("gradient",) and SCALE_ALIASES.get(scale, scale) == "weight":
        return ("weight", "gradient")
    return wanted


def scaling_factor(scaling: str, alpha: float, rank: int) -> float:
    """The factor s: α/r for LoRA, α/√r for rsLoRA (Kalajdzievski 2023, arXiv 2312.03732)."""
    name_parameter(scaling, SCALINGS, "scaling")
    return alpha / rank if scaling == "lora" else alpha / math.sqrt(rank)


@dataclass(frozen=True)
class _Start:
    """What the methods work with, checked."""

    method: str
    weight: Array | None
    gradient: Array | None
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    rank: int
    s: float
    scale: str
    directions: str
    gamma: float
    adam: str
    distribution: str
    random: np.random.Generator
    seed: int

    def adapter(self, A: Array, B: Array, *, absorbed: bool = False, **more: Array) -> Adapter:
        """With A and B in the dtype of the start; `absorbed`: what they stand for leaves W₀."""
        A, B = A.astype(self.dtype, copy=False), B.astype(self.dtype, copy=False)
        offset = Factored(A, B, -self.s) if absorbed else None
        return Adapter(A, B, self.s, offset, method=self.method, **more)

    def zeros(self, *shape: int) -> Array:
        return np.zeros(shape, self.dtype)


def initialize(
    method: Method,
    *,
    weight: ArrayLike | None = None,
    gradient: ArrayLike | None = None,
    shape: tuple[int, int] | None = None,
    rank: int,
    alpha: float | None = None,
    scaling: Literal["lora", "rslora"] = "lora",
    scale: Literal["stable", "unit", "gd", "weight"] = "stable",
    directions: Literal["a-first", "b-first", "interleaved", "random"] = "a-first",
    gamma: float = 16.0,
    adam: Literal["sign-svd", "sgd-solution", "minimise"] = "sign-svd",
    distribution: Literal["kaiming", "gaussian"] = "kaiming",
    seed: int = 0,
) -> Adapter:
    """The start of an adapter for W = W₀ + s·A B, W n × m, in the orientation y = x W.

    Parameters
    ----------
    method : str
        - ``"lora"``: A random, B = 0 (Hu et al. 2021, arXiv 2106.09685).
        - ``"lora-ga"``: A and B from disjoint leading singular vectors of the gradient, so that the
          first SGD step is the best one of its rank (Wang et al. 2024, arXiv 2407.05000).
        - ``"lora-ga-adam"``: the same for Adam, whose first step is sign(G); see `adam`.
        - ``"pissa"``: the leading singular triplets of W₀ (Meng et al. 2024, arXiv 2404.02948).
        - ``"olora"``: its leading QR columns (Büyükakyüz 2024, arXiv 2406.01775).
        - ``"adalora"``: A diag(Λ) B with Λ = 0 (Zhang et al. 2023, arXiv 2303.10512).
        - ``"dora"``: as LoRA, with the lengths of W's columns trained beside their directions
          (Liu et al. 2024, arXiv 2402.09353).
        - ``"orthogonal"``: A B = 0 with neither zero, from a random rotation's rows; even rank.
    weight : array_like, shape (n, m), optional
        W₀. Needed by pissa, olora, dora and ``scale="weight"``.
    gradient : array_like, shape (n, m), optional
        ∂L/∂W at W₀. Needed by lora-ga and lora-ga-adam.
    shape : (int, int), optional
        (n, m) where neither is needed.
    rank : int
        r, 1 … min(n, m); half of that for lora-ga and lora-ga-adam.
    alpha : float, optional
        The rank if not given, so that s = 1 for LoRA.
    scaling : {"lora", "rslora"}
        s = α/r or α/√r.
    scale : {"stable", "unit", "gd", "weight"}
        The factor of both of lora-ga's factors: m^¼/√γ, 1, 1/s, or the mean of √(σ_i(W₀)/s) over
        i < r (``"weightS"`` in the paper's code).
    directions : {"a-first", "b-first", "interleaved", "random"}
        Which of the first 2r singular vectors A and B take: A the first r and B the rest (the
        default of the paper's code, ``"ArB2r"`` there), the reverse (``"A2rBr"``), A those at odd
        places counted from 0 and B those at even ones (``"ArBr"``), or a random half each. Those
        names are accepted too. The first step is the same for all.
    gamma : float
        γ of ``scale="stable"``.
    adam : {"sign-svd", "sgd-solution", "minimise"}
        For lora-ga-adam: singular vectors of sign(G), those of G, or the better of both made better
        by direct minimisation of ‖A sign(AᵀG) + sign(GBᵀ)B − sign(G)‖_F.
    distribution : {"kaiming", "gaussian"}
        Of LoRA's and DoRA's A: uniform on ±1/√n, or normal with variance 1/r².
    seed : int
        Of what is random.

    Returns
    -------
    Adapter
        In the dtype of the arrays it is made of. ``adapter.merged(weight)`` is `weight`.

    Raises
    ------
    InvalidArgument
        Where an array is missing, not finite, or a zero gradient; where 2r > min(n, m) for lora-ga.

    Warns
    -----
    IllConditionedWarning
        Where the gradient, or its sign for Adam, has fewer than 2r directions; the others are an
        orthonormal completion, and what Adam makes of them depends on rounding.

    Notes
    -----
    The first SGD step changes W by −ηs²(AAᵀG + GBᵀB). With A = U_I and B = V_Jᵀ for disjoint I, J
    that make up the first 2r, the bracket is G's best approximation of rank 2r (Eckart and Young);
    a factor c of both makes it c² times as large, √m/γ for ``"stable"``. Singular triplets come
    from :func:`low_rank`; memory O((n + m) r) beside the inputs, which are only read.
    ``adam="minimise"`` takes up to 60 descents of some products of n·m·r operations each.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> G = np.diag([4.0, 3.0, 2.0, 1.0])
    >>> adapter = rv.lora.initialize("lora-ga", gradient=G, rank=1, scale="unit")
    >>> np.diagonal(adapter.first_update(G)).round(12) + 0.0  # the two largest parts of -G
    array([-4., -3.,  0.,  0.])
    """
    name_parameter(method, METHODS, "method")
    rank = integer_parameter(rank, "rank")
    arrays = {
        name: as_matrix(value, name)
        for name, value in (("weight", weight), ("gradient", gradient))
        if value is not None
    }
    split = name_parameter(DIRECTION_ALIASES.get(directions, directions), DIRECTIONS, "directions")
    factor = name_parameter(SCALE_ALIASES.get(scale, scale), SCALES, "scale")
    used = _used(method, arrays, factor)
    size = _common_shape(arrays, shape)
    check_rank(method, rank, size)
    start = _Start(
        method=method,
        weight=arrays.get("weight"),
        gradient=arrays.get("gradient"),
        shape=size,
        dtype=np.result_type(*(used or arrays.values() or [np.empty(0)])),
        rank=rank,
        s=scaling_factor(
            scaling, rank if alpha is None else positive_parameter(alpha, "alpha"), rank
        ),
        scale=factor,
        directions=split,
        gamma=positive_parameter(gamma, "gamma"),
        adam=name_parameter(adam, ADAM_OPTIONS, "adam"),
        distribution=name_parameter(distribution, DISTRIBUTIONS, "distribution"),
        seed=seed_parameter(seed),
        random=np.random.default_rng(seed),
    )
    return _STARTS[method](start)


def _used(method: str, arrays: dict[str, Array], scale: str) -> list[Array]:
    """The arrays that the start is computed from, checked."""
    wanted = needs(method, scale)
    for name in wanted:
        if name not in arrays:
            why = " with scale='weight'" if name == "weight" and "gradient" in wanted else ""
            raise _core.InvalidArgument(f"{name} is needed for {method}{why}")
        _core.require_finite(arrays[name], name)
    if "gradient" in wanted and not arrays["gradient"].any():
        raise _core.InvalidArgument("gradient is zero: it has no directions to align with")
    return [arrays[name] for name in wanted]


def _common_shape(arrays: dict[str, Array], shape: tuple[int, int] | None) -> tuple[int, int]:
    known = {name: array.shape for name, array in arrays.items()}
    if shape is not None:
        sizes = tuple(np.atleast_1d(np.asarray(shape, dtype=object)))
        if len(sizes) != 2 or min(integer_parameter(size, "shape") for size in sizes) < 1:
            raise _core.ShapeMismatch(f"shape must be two positive integers, got {shape}")
        known["shape"] = (int(sizes[0]), int(sizes[1]))
    if not known:
        raise _core.InvalidArgument("one of weight, gradient and shape is needed")
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in known.items())
        raise _core.ShapeMismatch(f"shapes must agree, got {listed}")
    n, m = next(iter(known.values()))
    return n, m


def check_rank(method: str, rank: int, shape: tuple[int, int]) -> None:
    """Refuses a rank that a method cannot have for a matrix of this shape."""
    most = min(shape)
    if needs(method)[:1] == ("gradient",):
        if not 1 <= rank <= most // 2:
            raise _core.InvalidArgument(
                f"rank must be between 1 and min(n, m)/2 = {most // 2} for {method}, which takes "
                f"2·rank singular directions of the gradient; got {rank}"
            )
    elif not 1 <= rank <= most:
        raise _core.InvalidArgument(f"rank must be between 1 and min(n, m) = {most}, got {rank}")
    if method == "orthogonal" and rank % 2:
        raise _core.InvalidArgument(f"rank must be even for orthogonal, got {rank}")


#: What may differ between methods on the same arrays.
START_OPTIONS = tuple(
    name
    for name in inspect.signature(initialize).parameters
    if name not in ("method", "weight", "gradient", "shape", "seed")
)


# ---- methods ------------------------------------------------------------------------------------


def _random_factor(start: _Start) -> Array:
    """A: of the scale that keeps x A the size of x, or 1/r."""
    n, r = start.shape[0], start.rank
    if start.distribution == "gaussian":
        return start.random.standard_normal((n, r)) / r
    return start.random.uniform(-1.0, 1.0, (n, r)) / math.sqrt(n)


def _lora(start: _Start) -> Adapter:
    return start.adapter(_random_factor(start), start.zeros(start.rank, start.shape[1]))


def _dora(start: _Start) -> Adapter:
    assert start.weight is not None
    lengths = column_lengths(start.weight).astype(start.dtype)
    empty = np.flatnonzero(lengths == 0.0)
    if empty.size:
        raise _core.InvalidArgument(
            f"weight must have no zero column for dora, which scales columns to a length; "
            f"column {empty[0]} is zero"
        )
    B = start.zeros(start.rank, start.shape[1])
    return start.adapter(_random_factor(start), B, magnitude=lengths)


def _adalora(start: _Start) -> Adapter:
    (n, m), r = start.shape, start.rank
    A = _ADALORA_SPREAD * start.random.standard_normal((n, r))
    B = _ADALORA_SPREAD * start.random.standard_normal((r, m))
    return start.adapter(A, B, importance=start.zeros(r))


def _orthogonal(start: _Start) -> Adapter:
    (n, m), r = start.shape, start.rank
    Q = np.linalg.qr(start.random.standard_normal((r, r)))[0]
    A = _ORTHOGONAL_SHARE * start.random.standard_normal((n, r // 2)) @ Q[0::2]
    B = _ORTHOGONAL_SHARE * (start.random.standard_normal((m, r // 2)) @ Q[1::2]).T
    return start.adapter(A, B)


def _pissa(start: _Start) -> Adapter:
    assert start.weight is not None
    U, sigma, Vh = leading(start.weight, start.rank, start.seed)
    root = np.sqrt(sigma / sigma.dtype.type(start.s))
    return start.adapter(U * root, root[:, np.newaxis] * Vh, absorbed=True)


def _olora(start: _Start) -> Adapter:
    assert start.weight is not None
    # The first r columns of Q and rows of R need the first r columns of Wᵀ = QR alone.
    Q, R = np.linalg.qr(start.weight[: start.rank].T)
    Q *= np.where(np.diagonal(R) < 0.0, -1.0, 1.0).astype(Q.dtype)
    return start.adapter(start.weight @ Q, Q.T, absorbed=True)


def _lora_ga(start: _Start) -> Adapter:
    assert start.gradient is not None
    A, B = _split(_directions(start, start.gradient), start)
    c = _factor(start)
    return start.adapter(c * A, c * B, absorbed=True)


def _lora_ga_adam(start: _Start) -> Adapter:
    assert start.gradient is not None
    if start.adam == "sgd-solution":
        return _lora_ga(start)
    A, B = _split(_directions(start, np.sign(start.gradient), "the sign of the gradient"), start)
    if start.adam == "minimise":
        other = _split(_directions(start, start.gradient), start)
        A, B = minimised(start.gradient, [(A, B), other])
    c = _factor(start)
    return start.adapter(c * A, c * B, absorbed=True)


def _directions(start: _Start, gradient: Array, name: str = "the gradient") -> LowRank:
    found = leading(gradient, 2 * start.rank, start.seed)
    lost = int(np.count_nonzero(found.sigma <= negligible(found)))
    if lost:
        warn_caller(
            IllConditionedWarning(
                f"{lost} of the {2 * start.rank} singular directions of {name} that "
                f"{start.method} takes are below rounding: they are arbitrary",
                float(found.sigma[-1] / found.sigma[0]),
            )
        )
    return found


def _split(found: LowRank, start: _Start) -> tuple[Array, Array]:
    """A = U[:, I] and B = V[:, J]ᵀ."""
    r = start.rank
    order = np.arange(2 * r)
    if start.directions == "random":
        order = start.random.permutation(2 * r)
    elif start.directions == "b-first":
        order = np.roll(order, r)
    elif start.directions == "interleaved":
        order = np.concatenate([order[1::2], order[0::2]])
    return found.U[:, order[:r]], found.Vh[order[r:]]


def _factor(start: _Start) -> float:
    """What both factors are multiplied by."""
    if start.scale == "stable":
        return math.sqrt(math.sqrt(start.shape[1]) / start.gamma)
    if start.scale == "gd":
        return 1.0 / start.s
    if start.scale == "weight":
        assert start.weight is not None
        sigma = leading(start.weight, start.rank, start.seed).sigma.astype(np.float64)
        return float(np.sqrt(sigma / start.s).mean())
    return 1.0


_STARTS: dict[str, Callable[[_Start], Adapter]] = {
    "lora": _lora,
    "lora-ga": _lora_ga,
    "lora-ga-adam": _lora_ga_adam,
    "pissa": _pissa,
    "olora": _olora,
    "adalora": _adalora,
    "dora": _dora,
    "orthogonal": _orthogonal,
}
