"""Adam's first step: factors whose sign updates come near sign(G)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from resolvent._arrays import Array
from resolvent.lora._norms import inner

__all__ = ["minimised"]

#: Descents from one start; each lowers the misfit, most starts end after 10 to 25.
_STEPS = 60
#: How far towards the solution for the present signs; the first that lowers the misfit is taken.
_SHARES = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
#: Less than this is no descent.
_LEAST = 1e-4


def minimised(gradient: Array, starts: Iterable[tuple[Array, Array]]) -> tuple[Array, Array]:
    """A, B that make ‖A sign(AᵀG) + sign(GBᵀ)B − sign(G)‖_F small, from the best of the starts.

    The misfit is piecewise quadratic: as long as no sign changes, its minimum is a linear least
    squares problem. Steps towards that minimum, in A and B together or in one of them, are
    shortened until the misfit falls, signs included; it is a local minimum that is found. The
    factors of a start count up to positive scale, which changes no sign.
    """
    target = np.sign(gradient)
    found = [_descended(gradient, target, A, B) for A, B in starts]
    A, B, _ = min(found, key=lambda entry: entry[2])
    return A, B


def _descended(G: Array, target: Array, A: Array, B: Array) -> tuple[Array, Array, float]:
    A, B, misfit = _scaled(G, target, A, B)
    for _ in range(_STEPS):
        for a, b in _candidates(G, target, A, B):
            a, b, lower = _scaled(G, target, a, b)
            if lower < misfit * (1.0 - _LEAST):
                A, B, misfit = a, b, lower
                break
        else:
            break
    return A, B, misfit


def _candidates(G: Array, target: Array, A: Array, B: Array) -> Iterator[tuple[Array, Array]]:
    """Points on the way to the minimum for the present signs."""
    X, Y = np.sign(A.T @ G), np.sign(G @ B.T)
    left = (target - Y @ B) @ _pseudoinverse(X)
    right = _pseudoinverse(Y) @ (target - A @ X)
    for along_A, along_B in ((1, 1), (1, 0), (0, 1)):
        for share in _SHARES:
            yield A + along_A * share * (left - A), B + along_B * share * (right - B)


def _pseudoinverse(M: Array) -> Array:
    """Of a matrix of signs with few rows or few columns."""
    tall = len(M) >= M.shape[1]
    columns = M if tall else M.T
    gram = np.linalg.pinv((columns.T @ columns).astype(np.float64), hermitian=True)
    inverse: Array = gram.astype(M.dtype) @ columns.T
    return inverse if tall else inverse.T


def _scaled(G: Array, target: Array, A: Array, B: Array) -> tuple[Array, Array, float]:
    """The best positive multiples of A and B, and the misfit that they leave."""
    P, Q = A @ np.sign(A.T @ G), np.sign(G @ B.T) @ B
    pp, pq, qq = inner(P, P), inner(P, Q), inner(Q, Q)
    pt, qt, tt = inner(P, target), inner(Q, target), inner(target, target)
    determinant = pp * qq - pq * pq
    a, b = 0.0, 0.0
    if determinant > 0.0:
        a, b = (pt * qq - qt * pq) / determinant, (qt * pp - pt * pq) / determinant
    if a <= 0.0 or b <= 0.0:  # one multiple for both
        a = b = max((pt + qt) / (pp + 2.0 * pq + qq), 0.0) if pp + qq > 0.0 else 0.0
    if a == 0.0:
        return A, B, np.inf
    squared = a * a * pp + 2.0 * a * b * pq + b * b * qq - 2.0 * (a * pt + b * qt) + tt
    return A * A.dtype.type(a), B * B.dtype.type(b), float(np.sqrt(max(squared, 0.0)))
