"""Thresholds with their residuals, and samples of the perturbed maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, integer_parameter
from resolvent._html import table
from resolvent.probmap._families import PerturbMax
from resolvent.probmap._map import MapLike, naming_places, resolve
from resolvent.probmap._rows import as_rows

__all__ = ["Threshold", "sample", "threshold"]


@dataclass(frozen=True, eq=False)
class Threshold(ReadOnlyFields):
    """λ of every row, with what certifies it.

    Attributes
    ----------
    value : ndarray, shape (...)
        λ.
    residual : ndarray, shape (...)
        What the equation that defines λ leaves, before λ is rounded to float64.
    support : ndarray of int, shape (...)
        How many probabilities are positive, those that underflow included.
    """

    value: Array
    residual: Array
    support: Array

    def __repr__(self) -> str:
        if self.value.ndim == 0:
            return (
                f"Threshold(value={float(self.value):.6g}, residual={float(self.residual):.1e}, "
                f"support={int(self.support)})"
            )
        worst = np.abs(self.residual).max(initial=0.0)
        return f"Threshold({self.value.shape} rows, largest residual {worst:.1e})"

    def _repr_html_(self) -> str:
        if self.value.ndim == 0:
            entries = [
                ("λ", f"{float(self.value):.10g}"),
                ("residual", f"{float(self.residual):.1e}"),
                ("support", str(int(self.support))),
            ]
        else:
            entries = [
                ("rows", str(self.value.shape)),
                ("largest residual", f"{np.abs(self.residual).max(initial=0.0):.1e}"),
                ("support", f"{self.support.min(initial=0)} … {self.support.max(initial=0)}"),
            ]
        return table("Threshold", entries)


def threshold(
    map: MapLike,
    x: ArrayLike,
    *,
    axis: int = -1,
    mask: ArrayLike | None = None,
    **parameters: Any,
) -> Threshold:
    """λ(x) of the maps that have a threshold, in extended precision.

    With z = x/τ: softmax e^{z − λ}; sparsemax (z − λ)_+; entmax ((α−1)z − λ)_+^{1/(α−1)}, at α = 1
    as softmax; normmax ‖(z − λ)_+‖_q = 1 with q = α/(α−1); budget clip(z − λ, 0, 1);
    sparse_softmax: the smallest z that is kept.

    Parameters
    ----------
    map : map
        One of these, or margin_softmax.
    x, axis, mask, **parameters
        As the map takes them.

    Returns
    -------
    Threshold
        float64 and int arrays of the shape of x without the axis. Computed by another route than
        the probabilities are, in `long double`; the residual is Σp − 1 there (‖·‖_q − 1 for
        normmax, Σp − total for budget). λ within 4 ulp where long double has 64 bits, relative to
        the larger of λ and 2⁻¹⁰ of the largest (α−1)z. Rows without entries have λ = −∞.

    Raises
    ------
    InvalidArgument
        For a map without a threshold, and as the map does.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.threshold("sparsemax", [1.0, 0.5, -3.0])
    Threshold(value=0.25, residual=0.0e+00, support=2)
    """
    rows = as_rows(x, axis, mask)
    chosen = resolve(map, parameters)
    family, temperature = chosen.family(), chosen.temperature(rows)
    found = naming_places(rows, lambda: family.threshold(rows, temperature))
    return Threshold(*(part.reshape(rows.batch) for part in found))


def sample(
    map: MapLike,
    x: ArrayLike,
    size: int | tuple[int, ...] | None = None,
    seed: int | np.random.Generator | None = None,
    *,
    axis: int = -1,
    mask: ArrayLike | None = None,
    **parameters: Any,
) -> Array:
    """Draws argmax(x/τ + ε): the experiment that perturb_max gives the probabilities of.

    Parameters
    ----------
    map : map
        perturb_max.
    x, axis, mask, **parameters
        As the map takes them.
    size : int or tuple of int, optional
        How many draws for every row; one unless given.
    seed : int or Generator, optional
        For :func:`numpy.random.default_rng`.

    Returns
    -------
    ndarray of int, shape (*size, ...)
        The leading axes are the draws, the others those of x without `axis`. Rows without entries
        draw any place alike. O(size·n), in blocks of about 2²² numbers.

    Raises
    ------
    InvalidArgument
        For another map, and as perturb_max does.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> draws = rv.probmap.sample("perturb_max", [1.0, 0.0], size=100_000, seed=0, noise="normal")
    >>> p = rv.probmap.perturb_max([1.0, 0.0], "normal")
    >>> bool(abs((draws == 0).mean() - p[0]) < 4 * np.sqrt(p[0] * p[1] / 100_000))
    True
    """
    chosen = resolve(map, parameters)
    family = chosen.family()
    if not isinstance(family, PerturbMax):
        raise _core.InvalidArgument(f"map must be perturb_max, got {chosen.name!r}")
    draw = family.perturbation().draw
    rows = as_rows(x, axis, mask)
    _core.require_logits(rows.to_array(rows.x), "x")
    shape = _draws_shape(size)
    rng = np.random.default_rng(seed)
    logits = rows.x.astype(np.float64) / chosen.temperature(rows)[:, None]
    logits[rows.empty()] = 0.0
    count = int(np.prod(shape, dtype=np.int64))
    found = np.empty((count, len(logits)), np.intp)
    block = max(1, (1 << 22) // max(1, logits.size))
    for first in range(0, count, block):
        part = found[first : first + block]
        part[...] = np.argmax(logits + draw(rng, (len(part), *logits.shape)), axis=-1)
    return found.reshape(*shape, *rows.batch)


def _draws_shape(size: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if size is None:
        return ()
    shape = size if isinstance(size, tuple) else (size,)
    counts = tuple(integer_parameter(n, "size") for n in shape)
    if any(n < 0 for n in counts):
        raise _core.InvalidArgument(f"size must not be negative, got {size!r}")
    return counts
