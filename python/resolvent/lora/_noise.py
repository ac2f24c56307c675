"""How many batches the gradient needs that LoRA-GA aligns with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real,
    count_parameter,
    integer_parameter,
    real_parameter,
)
from resolvent._html import table
from resolvent.lora._adapter import Adapter
from resolvent.lora._initialize import check_rank
from resolvent.lora._lowrank import leading, seed_parameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BatchNoise", "batch_noise"]


@dataclass(frozen=True, eq=False, repr=False)
class BatchNoise(ReadOnlyFields):
    """What the mean gradient of some batches tells about that of others; from :func:`batch_noise`.

    Attributes
    ----------
    counts : ndarray of int, shape (C,)
        Batches b that are averaged.
    overlap_left, overlap_right : ndarray, shape (C,)
        Mean cos² of the principal angles between the leading 2r singular spaces of the mean of b
        batches and those of the mean of all others; means over subsets. Chance is 2r/n and 2r/m.
    cosine : ndarray, shape (C,)
        Between the gradient of the others and the first update that LoRA-GA (scale "unit") makes
        with it when the b batches gave the adapter; mean over subsets.
    spread : ndarray, shape (C,)
        Standard deviation of that cosine over subsets; NaN for a single subset.
    optimum : ndarray, shape (C,)
        What the cosine would be if the others had given the adapter themselves.
    noise : float
        tr Σ, Σ the covariance of one batch's gradient; without bias.
    signal : float
        ‖G‖² of the expected gradient; without bias, so it can come out below 0.
    batches : int
        k.
    rank : int
        r.
    shape : tuple of int
        (n, m).
    """

    counts: Array
    overlap_left: Array
    overlap_right: Array
    cosine: Array
    spread: Array
    optimum: Array
    noise: float
    signal: float
    batches: int
    rank: int
    shape: tuple[int, int]

    @property
    def noise_scale(self) -> float:
        """tr Σ/‖G‖²: with so many batches noise and signal are equally large.

        Times the size of a batch it is the simple noise scale of McCandlish, Kaplan, Amodei, "An
        Empirical Model of Large-Batch Training", 2018, arXiv:1812.06162, (2.9), estimated as in its
        appendix A.1. Infinite where the signal does not come out of the noise.
        """
        return self.noise / self.signal if self.signal > 0.0 else math.inf

    def enough(self, share: float = 0.9) -> int | None:
        """The smallest count whose cosine is at least `share` of the optimum.

        Parameters
        ----------
        share : float
            In (0, 1].

        Returns
        -------
        int or None
            None where all counts are too small. The others that are compared with are finitely many
            too, and the optimum fits their noise: what this returns is rather too large.

        Raises
        ------
        InvalidArgument
            If `share` is not in (0, 1].
        """
        wanted = real_parameter(share, "share")
        if not 0.0 < wanted <= 1.0:
            raise _core.InvalidArgument(f"share must be in (0, 1], got {wanted:g}")
        reached = np.flatnonzero(self.cosine >= wanted * self.optimum)
        return int(self.counts[reached[0]]) if reached.size else None

    def __repr__(self) -> str:
        return (
            f"BatchNoise({self.batches} batches, rank {self.rank}, shape {self.shape}: "
            f"noise_scale={self.noise_scale:.3g}, enough={self.enough()})"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("gradients", f"{self.batches} of shape {self.shape}"),
            ("noise scale, in batches", f"{self.noise_scale:.3g}"),
            ("batches for 0.9 of the optimal cosine", str(self.enough() or "more than there are")),
            *(
                (
                    f"{self.counts[i]} batches",
                    f"cosine {self.cosine[i]:.3f} of {self.optimum[i]:.3f}, overlap "
                    f"{self.overlap_left[i]:.3f} left, {self.overlap_right[i]:.3f} right",
                )
                for i in range(self.counts.size)
            ),
        ]
        return table(f"Batch noise, rank {self.rank}", rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws overlaps and cosine against the number of batches; returns the axes."""
        from resolvent.plot.lora import plot_batch_noise

        return plot_batch_noise(self, ax)


def batch_noise(
    gradients: ArrayLike | Iterable[ArrayLike],
    rank: int,
    *,
    counts: Sequence[int] | None = None,
    subsets: int = 16,
    seed: int = 0,
) -> BatchNoise:
    """How stable the directions of a gradient are against the number of batches it is made of.

    For every count b the batches are put into disjoint subsets of b; the mean of a subset is
    compared with the mean of all batches that are not in it, which is independent of it.

    Parameters
    ----------
    gradients : array_like, shape (k, n, m), or iterable of array_like, shape (n, m)
        One gradient per batch, all of batches of the same size.
    rank : int
        r of the adapter, which takes 2r directions: 2r ≤ min(n, m).
    counts : sequence of int, optional
        Values of b from 1 to k − 1; powers of two up to k/2 unless given.
    subsets : int
        The most that are looked at for each b.
    seed : int
        Of which batches make a subset.

    Returns
    -------
    BatchNoise

    Raises
    ------
    InvalidArgument
        For fewer than two gradients, gradients that are all zero, entries that are not finite, and
        numbers out of range.
    ShapeMismatch
        If the gradients are not matrices of one shape.

    Notes
    -----
    Two truncated singular value decompositions (:func:`low_rank`) and a few products of cost n·m·r
    per subset. All gradients are held in memory; sums are in double precision.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> rng = np.random.default_rng(0)
    >>> G = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 12))
    >>> found = rv.lora.batch_noise(G + 3.0 * rng.standard_normal((32, 20, 12)), rank=1)
    >>> found.counts
    array([ 1,  2,  4,  8, 16])
    >>> found.enough(0.9)
    8
    """
    stack = _stacked(gradients)
    k, n, m = stack.shape
    width = integer_parameter(rank, "rank")
    check_rank("lora-ga", width, (n, m))
    sizes = _counts(counts, k)
    most = count_parameter(subsets, "subsets")
    order = np.random.default_rng(seed_parameter(seed)).permutation(k)
    total = _total(stack, order)
    found = np.array([_measured(stack, total, order, size, most, width) for size in sizes])
    left, right, cosine, spread, optimum = found.T
    noise, signal = _moments(stack, total / k)
    return BatchNoise(
        counts=np.array(sizes),
        overlap_left=left,
        overlap_right=right,
        cosine=cosine,
        spread=spread,
        optimum=optimum,
        noise=noise,
        signal=signal,
        batches=k,
        rank=width,
        shape=(n, m),
    )


def _stacked(gradients: ArrayLike | Iterable[ArrayLike]) -> Array:
    whole: Any = gradients
    if not hasattr(whole, "__array__"):
        if not isinstance(whole, Iterable):
            raise _core.DtypeError(f"gradients must be an array or matrices, got {whole!r}")
        made = [as_real(np.asarray(G), f"gradients[{i}]") for i, G in enumerate(whole)]
        shapes = sorted({G.shape for G in made})
        if len(shapes) > 1:
            raise _core.ShapeMismatch(f"gradients must all have one shape, got {shapes}")
        whole = np.stack(made) if made else np.empty((0, 1, 1))
    stack = as_real(whole, "gradients")
    if stack.ndim != 3:
        raise _core.ShapeMismatch(f"gradients must have shape (k, n, m), got {stack.shape}")
    if len(stack) < 2:
        raise _core.InvalidArgument(f"gradients must be two or more, got {len(stack)}")
    _core.require_finite(stack, "gradients")
    if not stack.any():
        raise _core.InvalidArgument("gradients are all zero: they have no directions")
    return stack


def _counts(given: Sequence[int] | None, k: int) -> list[int]:
    if given is None:
        return [2**i for i in range((k // 2).bit_length())]
    counts = [integer_parameter(value, "counts") for value in given]
    if not counts or min(counts) < 1 or max(counts) >= k:
        raise _core.InvalidArgument(
            f"counts must be from 1 to {k - 1}, so that other batches are left; got {counts}"
        )
    return sorted(set(counts))


def _total(stack: Array, chosen: Array) -> Array:
    """The sum of some gradients in double precision, one after the other."""
    total = np.zeros(stack.shape[1:])
    for i in chosen:
        total += stack[i]
    return total


def _moments(stack: Array, mean: Array) -> tuple[float, float]:
    """tr Σ of one batch and ‖G‖², both without bias: E‖mean‖² = ‖G‖² + tr Σ/k."""
    k = len(stack)
    noise = sum(float(np.square(G - mean).sum()) for G in stack) / (k - 1)
    return noise, float(np.square(mean).sum()) - noise / k


def _measured(
    stack: Array, total: Array, order: Array, size: int, most: int, rank: int
) -> tuple[float, ...]:
    """Means over subsets: overlaps, cosine, its spread, and its optimum."""
    k = len(stack)
    found = []
    for start in range(0, min(k // size, most) * size, size):
        part = _total(stack, order[start : start + size])
        ours, others = part / size, (total - part) / (k - size)
        found.append(_compared(ours.astype(stack.dtype), others.astype(stack.dtype), rank))
    left, right, cosine, optimum = np.array(found).T
    spread = cosine.std(ddof=1) if cosine.size > 1 else math.nan
    return left.mean(), right.mean(), cosine.mean(), spread, optimum.mean()


def _compared(ours: Array, others: Array, rank: int) -> tuple[float, float, float, float]:
    """Overlaps of the leading 2r spaces, and the cosine of LoRA-GA's update with its optimum."""
    one, other = leading(ours, 2 * rank), leading(others, 2 * rank)
    left = _overlap(one.U.T @ other.U)
    right = _overlap(one.Vh @ other.Vh.T)
    size = float(np.linalg.norm(others))
    if size == 0.0:
        return left, right, 0.0, 0.0
    update = Adapter(one.U[:, :rank], one.Vh[rank:]).first_update(others)
    length = float(np.linalg.norm(update))
    cosine = -float(np.vdot(update, others)) / (length * size) if length > 0.0 else 0.0
    return left, right, cosine, math.hypot(*other.sigma) / size


def _overlap(products: Array) -> float:
    """Mean cos² of the principal angles, from the products of orthonormal bases."""
    return float(np.square(products).sum()) / len(products)
