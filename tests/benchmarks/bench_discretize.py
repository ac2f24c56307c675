"""Discretisation against SciPy's matrix exponential."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg
from harness import Case, Run

import resolvent as rv


def cases(quick: bool) -> Iterator[Case]:
    """Zero-order hold of a triangular, a structured full and an arbitrary system."""
    order = 64 if quick else 256
    goal = None if quick else 3.0  # for the full size
    yield _hold("LegS", *_matrices("legs", order), step=1e-2, goal=goal, products=0)
    yield _hold("LegT", *_matrices("legt", order), step=1e-2, goal=goal)
    yield _hold("a dense normal deviate", *_dense(order), step=1e-2, goal=goal)


def _matrices(measure: str, order: int) -> tuple[Any, Any, Any]:
    system = rv.hippo.system(measure, order)  # type: ignore[arg-type]
    return system, system.A, system.B


def _dense(order: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((order, order)) - 2 * np.sqrt(order) * np.eye(order)
    B = rng.standard_normal(order)
    return (A, B), A, B


def _hold(
    name: str,
    model: Any,
    A: Any,
    B: Any,
    *,
    step: float,
    goal: float | None,
    products: int = 1,
) -> Case:
    # LegS has a closed form in O(N²); the others need one product of matrices at the very least.
    # Scaling by 2^−s, s ≈ log2(step·‖A‖₁/5), is undone by s squarings, each of which doubles the
    # relative error of a non-normal product at worst. 2^s·N·eps is 1.5e-11 for the largest
    # norm here (LegT, step·‖A‖₁ = 873 at N = 256, s = 8).
    return Case(
        f"Zero-order hold of {name}",
        size=f"N = {B.size}, step {step:g}, one thread",
        runs=[
            Run("resolvent", lambda: _joined(rv.discretize.discretize(model, step, "zoh"))),
            Run("SciPy expm, augmented", lambda: augmented(A, B, step), at_least=goal),
        ],
        count=B.size**2,
        unit="entries",
        multiply_adds=products * B.size**3,
        tolerance=1e-10,
    )


def _joined(discrete: Any) -> Any:
    return np.concatenate([discrete.A, discrete.B[:, None]], axis=1)


def augmented(A: Any, B: Any, step: float) -> Any:
    """[Ā B̄] from the exponential of ε[[A, B], [0, 0]]."""
    order = B.size
    M = np.zeros((order + 1, order + 1))
    M[:order, :order], M[:order, order] = step * A, step * B
    return scipy.linalg.expm(M)[:order]
