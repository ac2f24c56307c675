"""Denominators by their reflection coefficients, and how models start."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    as_number64,
    integer_parameter,
    name_parameter,
    real_parameter,
)
from resolvent.rational._transfer import TransferFunction

Initial = Literal["zeros", "xavier", "montel", "reflection"]
INITIALS: tuple[str, ...] = get_args(Initial)


def reflection(a: ArrayLike) -> Array:
    """The reflection coefficients of denominators 1 + a_1 z + … + a_d z^d.

    The step-down recursion: k_m = a_m, a_i ← (a_i − k_m ā_{m−i})/(1 − \\|k_m\\|²), m = d, …, 1. All
    poles lie inside the circle if and only if all \\|k_m\\| < 1 (Schur–Cohn).

    Parameters
    ----------
    a : array_like, shape (..., d)
        Real or complex.

    Returns
    -------
    ndarray, shape (..., d)
        In double precision. O(d²). After a \\|k_m\\| of exactly 1 the lower ones are not determined
        and NaN. Near the boundary of stability digits are lost as 1 − \\|k_m\\|² is small.

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> rational.reflection([-0.75, 0.5])
    array([-0.5,  0.5])
    """
    rows = _denominators(a, "a")
    return _core.rational.step_down(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape)


def from_reflection(k: ArrayLike) -> Array:
    """The denominators with given reflection coefficients: undoes :func:`reflection`.

    The step-up recursion [1, a] ← [1, a, 0] + k·[0, reverse of [1, ā]] maps (−1, 1)^d one-to-one
    onto the stable denominators (for complex ones, the product of open disks): a parameterisation
    of all stable models without constraints, as by k = tanh(θ).

    Parameters
    ----------
    k : array_like, shape (..., d)
        Real or complex.

    Returns
    -------
    ndarray, shape (..., d)
        In double precision. O(d²).

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> rational.from_reflection([-0.5, 0.5])
    array([-0.75,  0.5 ])
    """
    rows = _denominators(k, "k")
    return _core.rational.step_up(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape)


def _denominators(value: ArrayLike, name: str) -> Array:
    array = as_number64(value, name)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise _core.ShapeMismatch(f"{name} must have shape (..., d), got {array.shape}")
    return array


def initial(
    order: int,
    kind: Initial,
    *,
    channels: int | tuple[int, ...] = (),
    seed: int | None = None,
    radius: float = 0.5,
) -> TransferFunction:
    """Transfer functions to start a training from.

    Parameters
    ----------
    order : int
        Number d of coefficients.
    kind : {"zeros", "xavier", "montel", "reflection"}
        The first three are those of RTF's public code: b and a are all 0; or uniform in ±1/√d,
        which may be unstable; or uniform in ±1/d, so that Σ\\|a_i\\| < 1 and all poles lie inside
        the circle (Montel). "reflection" draws the reflection coefficients uniformly in ±`radius`,
        stable by construction for any d, and b in ±1/√d.
    channels : int or tuple of int
        Leading axes.
    seed : int, optional
        For :func:`numpy.random.default_rng`.
    radius : float
        In (0, 1), for "reflection". Kernels gain in energy by up to Π 1/(1 − k²): keep it well
        below 1 for large d.

    Returns
    -------
    TransferFunction
        float64; direct is standard normal, as in RTF.

    References
    ----------
    Parnichkun et al., "State-Free Inference of State-Space Models: The Transfer Function Approach",
    2024, arXiv:2405.06147.

    Examples
    --------
    >>> import resolvent.rational as rational
    >>> G = rational.initial(64, "reflection", channels=(8,), seed=0)
    >>> bool(G.is_stable().all())
    True
    """
    count = integer_parameter(order, "order")
    if count < 1:
        raise _core.InvalidArgument(f"order must be at least 1, got {count}")
    name = name_parameter(kind, INITIALS, "kind")
    bound = real_parameter(radius, "radius")
    if not 0.0 < bound < 1.0:
        raise _core.InvalidArgument(f"radius must lie between 0 and 1, got {bound:g}")
    batch = _batch(channels)
    rng = np.random.default_rng(seed)
    shape = (*batch, count)
    direct = rng.standard_normal(batch)
    width = {"zeros": 0.0, "montel": 1.0 / count}.get(name, 1.0 / np.sqrt(count))
    b = rng.uniform(-width, width, shape)
    if name == "reflection":
        return TransferFunction(b, from_reflection(rng.uniform(-bound, bound, shape)), direct)
    return TransferFunction(b, rng.uniform(-width, width, shape), direct)


def _batch(channels: int | tuple[int, ...]) -> tuple[int, ...]:
    sizes = channels if isinstance(channels, tuple | list) else (channels,)
    batch = tuple(integer_parameter(size, "channels") for size in sizes)
    if any(size < 0 for size in batch):
        raise _core.InvalidArgument(f"channels must not be negative, got {channels}")
    return batch
