"""Stable transfer functions in orthonormal coordinates: the normalised lattice."""

from __future__ import annotations

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent.rational._transfer import TransferFunction
from resolvent.ssm import StateSpace


def lattice(model: TransferFunction) -> tuple[StateSpace, Array]:
    """A realisation whose controllability Gramian is I, and R with x_lattice = R x_companion.

    With the reflection coefficients k_m, c_m = √(1 − \\|k_m\\|²) and the states s_0, …, s_{d−1}, an
    input u passes m = d, …, 1 as the rotation (Gray, Markel 1975)

        f ← c_m f − k_m s_{m−1},   s_m' = c_m s_{m−1} + k̄_m f   (the old f),   s_0' = f at the end,

    so that [A, B] has orthonormal rows: A A* + B B* = I, and powers of A never grow, however close
    the poles are. Row m of R is the reversed polynomial of degree m, z^m ā^{(m)}(1/z), over σ_m,
    σ_m² = Π_{j>m} 1/c_j². O(d²) for A and R, O(d³) for C = b R⁻¹. Stable models only.
    """
    a = model._double(model.a)
    rows = a.reshape(-1, model.order)
    k = _core.rational.step_down(rows)
    rotated = _rotations(k)
    R = _reversed_polynomials(k)
    shape = (*a.shape[:-1], model.order, model.order)
    A, B, R = rotated[..., :-1].reshape(shape), rotated[..., -1].reshape(a.shape), R.reshape(shape)
    b = np.broadcast_to(model._double(model.b), (*model.channels, model.order))
    C = np.linalg.solve(R.swapaxes(-1, -2), b[..., np.newaxis])[..., 0]
    return StateSpace(A, B, C, model.direct), R


def _rotations(k: Array) -> Array:
    """[A, B], (H, d, d + 1): what the new states are of the old ones and of u."""
    count, order = k.shape
    c = _cosines(k)
    rows = np.zeros((count, order, order + 1), k.dtype)
    f = np.zeros((count, order + 1), k.dtype)
    f[:, order] = 1.0
    for m in range(order, 0, -1):
        reflected, passed = k[:, m - 1, np.newaxis], c[:, m - 1]
        if m < order:
            rows[:, m] = reflected.conj() * f
            rows[:, m, m - 1] += passed
        f = passed[:, np.newaxis] * f
        f[:, m - 1] -= reflected[:, 0]
    rows[:, 0] = f
    return rows


def _reversed_polynomials(k: Array) -> Array:
    """R, (H, d, d), lower triangular."""
    count, order = k.shape
    c = _cosines(k)
    R = np.zeros((count, order, order), k.dtype)
    scale = np.ones(count)
    for m in range(order - 1, -1, -1):
        scale = scale * c[:, m]  # 1/σ_m
        degree = np.zeros((count, 0), k.dtype)
        if m:
            degree = _core.rational.step_up(np.ascontiguousarray(k[:, :m]))
        polynomial = np.concatenate([np.ones((count, 1)), degree], axis=-1)
        R[:, m, : m + 1] = scale[:, np.newaxis] * polynomial[:, ::-1].conj()
    return R


def _cosines(k: Array) -> Array:
    """√(1 − |k|²), with its digits near |k| = 1."""
    size = np.abs(k)
    result: Array = np.sqrt((1.0 - size) * (1.0 + size))
    return result
