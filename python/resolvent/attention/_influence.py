"""How much of an earlier input is still in the output: norms of Jacobians, by lag."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    count_parameter,
    integer_parameter,
    read_only,
)
from resolvent._html import grid
from resolvent._text import columns
from resolvent.attention._layers import LAYERS, Layer, layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Influences", "as_layer", "as_layers", "influence", "influence_curves"]

#: The sizes of a layer that is given by its name.
_WIDTH, _HEADS = 32, 4

#: Entries of the largest array of gradients that is made at a time.
_GRADIENTS = 1 << 18

#: A curve has gone when it stays below this share, averaged over lags within this factor.
_HALF, _WINDOW = 0.5, math.sqrt(2.0)


def as_layer(model: object, name: str = "model") -> Layer:
    """A layer, or that of a name with 32 channels, 4 heads where it has them, and state 16."""
    if isinstance(model, Layer):
        return model
    if isinstance(model, str) and model in LAYERS:
        return layer(model, _WIDTH, heads=_HEADS)  # type: ignore[arg-type]
    listed = ", ".join(repr(known) for known in LAYERS)
    raise _core.InvalidArgument(f"{name} must be a Layer or one of {listed}; got {model!r}")


def as_layers(models: object) -> dict[str, Layer]:
    """Label → layer, of a dict, or of layers and names, whose labels are the names."""
    if isinstance(models, Mapping):
        return {str(label): as_layer(model, "models") for label, model in models.items()}
    if isinstance(models, str) or not isinstance(models, Iterable):
        raise _core.InvalidArgument(f"models must be several layers or names, got {models!r}")
    made = [as_layer(model, "models") for model in models]
    names = [one.name for one in made]
    if len(set(names)) < len(names):
        raise _core.InvalidArgument(
            f"models must have different names, got {', '.join(names)}; "
            "give a dict of label → layer"
        )
    return dict(zip(names, made, strict=True))


@dataclass(frozen=True, eq=False)
class Influences(ReadOnlyFields):
    """The influence of earlier inputs, for several models; from :func:`influence_curves`.

    Attributes
    ----------
    lags : ndarray of int, shape (L,)
        0 … L − 1.
    curves : dict of str to ndarray, shape (L,)
        Label → influence at every lag, 1 at `reference`.
    layers : dict of str to Layer
        Label → what was measured.
    reference : int
        The lag that all are relative to.
    """

    lags: Array
    curves: dict[str, Array]
    layers: dict[str, Layer] = field(repr=False)
    reference: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        kept = {label: read_only(np.array(curve)) for label, curve in self.curves.items()}
        object.__setattr__(self, "curves", kept)

    @property
    def half_lives(self) -> dict[str, float]:
        """Label → steps after `reference` until the influence is below ½ for good.

        So that the scatter of single lags does not decide, every lag k is averaged with those
        between k/√2 and √2 k. Infinite where the last lags still have half of it or more: nothing
        in this range says when it goes.
        """
        return {label: self._half_life(curve) for label, curve in self.curves.items()}

    def _half_life(self, curve: Array) -> float:
        above = np.flatnonzero(_smoothed(curve) >= _HALF)
        last = max(int(above[-1]) if above.size else 0, self.reference)
        return math.inf if last + 1 == curve.size else float(last + 1 - self.reference)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The curves against the lag."""
        from resolvent.plot.attention import plot_influences

        return plot_influences(self, ax)

    def __repr__(self) -> str:
        lives = ", ".join(f"{label} {life:g}" for label, life in self.half_lives.items())
        lags = f"lags 0 … {self.lags[-1]}"
        return f"Influences({len(self.curves)} models, {lags}; half-lives {lives})"

    def __str__(self) -> str:
        return columns(*self._table())

    def _repr_html_(self) -> str:
        return grid(f"Influence relative to lag {self.reference}", *self._table())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        last = int(self.lags[-1])
        shown = sorted({0, self.reference, *(2**i for i in range(3, last.bit_length(), 2)), last})
        rows = [
            [label, f"{self.half_lives[label]:g}", *(f"{curve[k]:.3g}" for k in shown)]
            for label, curve in self.curves.items()
        ]
        return ["model", "half-life", *(f"lag {k}" for k in shown)], rows


def influence(
    model: Layer | str,
    lag: ArrayLike,
    *,
    length: int | None = None,
    samples: int = 64,
    probes: int = 8,
    reference: int = 1,
    seed: int = 0,
) -> float | Array:
    """How much of u_{t−k} is still in y_t: E‖∂y_t/∂u_{t−k}‖_F relative to the same at lag 1.

    Means over Gaussian inputs with unit variance, at the last step t. Lag 1 is the first that is
    memory alone: ∂y_t/∂u_t also goes through the query, gate or step that u_t makes, which read all
    that the state holds.

    Parameters
    ----------
    model : Layer or str
        A name stands for ``layer(name, 32, heads=4)``.
    lag : int or array_like of int
        k ≥ 0.
    length : int, optional
        L, t = L − 1; at least the largest lag + 1, and twice that unless given, so that the state
        is filled. Attention spreads over the sequence, so its Jacobians depend on it.
    samples : int
        Random sequences.
    probes : int
        Random orthonormal output directions g for every sequence: ‖J‖_F² ≈ d/probes Σ‖gᵀJ‖²,
        without bias, and exact from d on.
    reference : int
        The lag where the influence is 1, at most L − 1.
    seed : int
        Of sequences and probes.

    Returns
    -------
    float or ndarray of the shape of `lag`
        ‖Re(C Λ^k B)‖ over that at lag 1 for lru and s5, whatever the inputs, and γ^{k−1} for a head
        of retnet in expectation. With S samples models that depend on their inputs scatter by about
        1/√S. Cost: one adjoint of length L for every sample and probe.

    Raises
    ------
    InvalidArgument
        For lags that are negative or beyond the length, and a model whose reference vanishes.
    DtypeError
        For lags that are not integers.

    Examples
    --------
    >>> import resolvent as rv
    >>> model = rv.attention.layer("lru", 8, state=4)
    >>> values = rv.attention.influence(model, [1, 8, 64])
    >>> float(values[0]), bool(values[2] < values[1])
    (1.0, True)
    """
    mixer = as_layer(model)
    lags = _lags(lag)
    start = count_parameter(reference, "reference", 0)
    farthest = max(start, int(lags.max(initial=0)))
    total = 2 * (farthest + 1) if length is None else integer_parameter(length, "length")
    if total <= farthest:
        raise _core.InvalidArgument(
            f"length must be more than the largest lag {farthest}, got {total}"
        )
    curve = _curve(mixer, total, samples, probes, start, seed)
    found = curve[lags]
    return float(found) if found.ndim == 0 else found


def influence_curves(
    models: Iterable[Layer | str] | Mapping[str, Layer | str] = LAYERS,
    length: int = 256,
    *,
    samples: int = 64,
    probes: int = 8,
    reference: int = 1,
    seed: int = 0,
) -> Influences:
    """The influence at all lags of several models, on the same random inputs where d is the same.

    Parameters
    ----------
    models : iterable of Layer or str, or dict of str to Layer or str
        With their labels, or with different names. A name stands for ``layer(name, 32, heads=4)``.
    length : int
        L: lags 0 … L − 1, seen from step L − 1.
    samples, probes, reference, seed
        As in :func:`influence`.

    Returns
    -------
    Influences

    Raises
    ------
    InvalidArgument
        For two models of the same name, and as :func:`influence`.

    Examples
    --------
    >>> import resolvent as rv
    >>> found = rv.attention.influence_curves(["retnet", "attention"], 64, samples=4)
    >>> found.half_lives["attention"]
    inf
    """
    made = as_layers(models)
    start = count_parameter(reference, "reference", 0)
    total = count_parameter(length, "length", start + 1)
    curves = {
        label: _curve(mixer, total, samples, probes, start, seed) for label, mixer in made.items()
    }
    return Influences(np.arange(total), curves, made, start)


def _lags(lag: ArrayLike) -> Array:
    lags = np.asarray(lag)
    if lags.dtype.kind not in "iu":
        raise _core.DtypeError(f"lag must be integers, got {lag!r}")
    if lags.size and lags.min() < 0:
        raise _core.InvalidArgument(f"lag must be at least 0, got {int(lags.min())}")
    return lags


def _curve(
    mixer: Layer, length: int, samples: int, probes: int, reference: int, seed: int
) -> Array:
    """The influence at lags 0 … length − 1."""
    count, width = count_parameter(samples, "samples"), count_parameter(probes, "probes")
    rng = np.random.default_rng(count_parameter(seed, "seed", 0))
    inputs = rng.standard_normal((count, length, mixer.d))
    directions = np.stack([_directions(mixer.d, width, rng) for _ in range(count)])
    curve = np.sqrt(_energies(mixer, inputs, directions)).sum(axis=0)
    if curve[reference] == 0.0:
        raise _core.InvalidArgument(
            f"reference must be a lag with some influence, got {reference} where {mixer!r} has none"
        )
    return np.asarray(curve / curve[reference])


def _smoothed(curve: Array) -> Array:
    """The mean over the lags between k/√2 and √2 k, as many of them as there are."""
    lags = np.arange(curve.size)
    first = np.ceil(lags / _WINDOW).astype(int)
    after = np.minimum(np.floor(lags * _WINDOW).astype(int) + 1, curve.size)
    sums = np.concatenate([[0.0], np.cumsum(curve)])
    return np.asarray((sums[after] - sums[first]) / (after - first))


def _directions(d: int, probes: int, rng: np.random.Generator) -> Array:
    """Rows g with E Σ(g·y)² = ‖y‖²: orthonormal ones times √(d/probes), or all outputs."""
    if probes >= d:
        return np.eye(d)
    basis = np.linalg.qr(rng.standard_normal((d, probes)))[0]
    return np.asarray(math.sqrt(d / probes) * basis.T)


def _energies(mixer: Layer, inputs: Array, directions: Array) -> Array:
    """‖∂y_t/∂u_{t−k}‖² for the last step t and all lags k, shape (S, L).

    Inputs (S, L, d) and directions (S, P, d): one adjoint for each of the S·P directions.
    """
    samples, length, d = inputs.shape
    probes = directions.shape[1]
    energies = np.zeros((samples, probes, length))
    flat, rows = energies.reshape(-1, length), directions.reshape(-1, d)
    size = max(1, _GRADIENTS // (length * d))
    for start in range(0, len(rows), size):
        block = slice(start, min(start + size, len(rows)))
        u = inputs[np.arange(block.start, block.stop) // probes]
        g = np.zeros_like(u)
        g[:, -1] = rows[block]
        flat[block] = np.square(mixer.vjp(u, g)).sum(axis=-1)
    return np.asarray(energies.sum(axis=1)[:, ::-1])
