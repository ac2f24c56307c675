"""AdaLoRA's training: P and Q kept near orthonormal, ranks given to where they matter.

Zhang, Chen, Bukharin, Karampatziakis, He, Cheng, Chen, Zhao, "AdaLoRA: Adaptive Budget Allocation
for Parameter-Efficient Fine-Tuning", 2023, arXiv:2303.10512. In the names of an adapter P is A, Q
is B, and the diagonal of Λ is its importance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, count_parameter, integer_parameter, real_parameter
from resolvent.lora._adapter import Adapter

__all__ = ["BudgetOptions", "RankBudget"]

#: Ranks at the start per rank at the end, as in the paper's experiments.
_SURPLUS = 1.5

_Gradients = dict[str, Array]


@dataclass(frozen=True)
class BudgetOptions:
    """How AdaLoRA spends its ranks.

    Attributes
    ----------
    initial_rank : int, optional
        Of every adapter at the start; 3/2 of the final average unless given.
    warmup, final : float
        Shares of all steps before the budget falls, and after it has reached its end.
    interval : int
        Steps from one allocation to the next; in between pruned terms may come back.
    beta1, beta2 : float
        Decay of the averages of sensitivity and of uncertainty.
    orthogonality : float
        γ, the weight of ‖PᵀP − I‖² + ‖QQᵀ − I‖² in the loss.
    """

    initial_rank: int | None = None
    warmup: float = 0.1
    final: float = 0.3
    interval: int = 1
    beta1: float = 0.85
    beta2: float = 0.85
    orthogonality: float = 0.1

    @classmethod
    def of(cls, given: dict[str, Any]) -> BudgetOptions:
        """Checks what the caller gave."""
        options = cls(**given)
        for name in ("warmup", "final", "beta1", "beta2"):
            share = real_parameter(getattr(options, name), name)
            if not 0.0 <= share < 1.0:
                raise _core.InvalidArgument(f"{name} must be in [0, 1), got {share:g}")
        if options.warmup + options.final > 1.0:
            raise _core.InvalidArgument(
                f"warmup + final must be at most 1, got {options.warmup:g} + {options.final:g}"
            )
        count_parameter(options.interval, "interval")
        weight = real_parameter(options.orthogonality, "orthogonality")
        if not 0.0 <= weight < math.inf:
            raise _core.InvalidArgument(
                f"orthogonality must be at least 0 and finite, got {weight:g}"
            )
        return options

    def starting_rank(self, rank: int, shape: tuple[int, int]) -> int:
        """Of an adapter of this shape that ends with `rank` on average."""
        if self.initial_rank is None:
            return max(rank, min(math.ceil(_SURPLUS * rank), *shape))  # too large is refused later
        start = integer_parameter(self.initial_rank, "initial_rank")
        if not rank <= start <= min(shape):
            raise _core.InvalidArgument(
                f"initial_rank must be from the final rank {rank} to min(n, m) = {min(shape)}, "
                f"got {start}"
            )
        return start

    def budget(self, done: int, steps: int, first: int, last: int) -> int:
        """Ranks of all adapters together after so many of all steps: falls as a cube.

        b_T + (b_0 − b_T)(1 − (t − t_i)/(T − t_i − t_f))³ between warm-up and final phase. The paper
        (appendix A) prints t − t_i − t_f in the numerator, which would jump above b_0 at t_i; this
        is what its authors' code computes.
        """
        start, stop = self.warmup * steps, (1.0 - self.final) * steps
        if done >= stop:
            return last
        if done <= start:
            return first
        return last + int((first - last) * (1.0 - (done - start) / (stop - start)) ** 3)


@dataclass
class _Score:
    """Smoothed sensitivity of the entries of one parameter, and how uncertain it is."""

    sensitivity: Array
    uncertainty: Array

    def follow(self, found: Array, options: BudgetOptions) -> None:
        """Ī ← β₁Ī + (1−β₁)I, Ū ← β₂Ū + (1−β₂)|I − Ī|."""
        self.sensitivity = options.beta1 * self.sensitivity + (1.0 - options.beta1) * found
        off = np.abs(found - self.sensitivity)
        self.uncertainty = options.beta2 * self.uncertainty + (1.0 - options.beta2) * off

    @property
    def value(self) -> Array:
        """Ī Ū, entry by entry."""
        return self.sensitivity * self.uncertainty


class RankBudget:
    """Which of the terms λ_k p_k q_kᵀ of all adapters are kept, step by step.

    Attributes
    ----------
    kept : list of ndarray of bool, shape (r,)
        Per adapter, by the last allocation.
    """

    def __init__(
        self, options: BudgetOptions, adapters: Sequence[Adapter], target: int, steps: int
    ) -> None:
        self.kept = [np.ones(adapter.rank, bool) for adapter in adapters]
        self._options = options
        self._target = target
        self._steps = steps
        self._scores = [
            {name: _Score(0.0 * value, 0.0 * value) for name, value in adapter.parameters.items()}
            for adapter in adapters
        ]
        self._fixed = False

    def regularised(self, adapter: Adapter, gradients: _Gradients) -> _Gradients:
        """Gradients of the loss with γ(‖PᵀP − I‖² + ‖QQᵀ − I‖²) added."""
        P, Q, weight = adapter.A, adapter.B, 4.0 * self._options.orthogonality
        identity = np.eye(adapter.rank, dtype=P.dtype)
        return gradients | {
            "A": gradients["A"] + weight * (P @ (P.T @ P - identity)),
            "B": gradients["B"] + weight * ((Q @ Q.T - identity) @ Q),
        }

    def observe(self, adapters: Sequence[Adapter], gradients: Sequence[_Gradients]) -> None:
        """Takes in the sensitivities |θ ∂L/∂θ| before a step."""
        if self._fixed:
            return
        for scores, adapter, slopes in zip(self._scores, adapters, gradients, strict=True):
            for name, value in adapter.parameters.items():
                scores[name].follow(np.abs(value * slopes[name]), self._options)

    def pruned(self, adapters: Sequence[Adapter], done: int) -> list[Adapter]:
        """The adapters after a step, the `done`-th, without what the budget has no room for."""
        final = done >= (1.0 - self._options.final) * self._steps
        if not self._fixed and (final or done % self._options.interval == 0):
            self._allocate(done)
        elif not final:
            return list(adapters)
        self._fixed = final
        return [
            adapter.replace(importance=np.where(kept, _importance(adapter), 0.0))
            for adapter, kept in zip(adapters, self.kept, strict=True)
        ]

    def _allocate(self, done: int) -> None:
        """Keeps the terms of the largest S_k = s(λ_k) + mean_i s(P_ik) + mean_j s(Q_kj)."""
        scores = [
            one["importance"].value + one["A"].value.mean(axis=0) + one["B"].value.mean(axis=1)
            for one in self._scores
        ]
        sizes = [score.size for score in scores]
        room = self._options.budget(done, self._steps, sum(sizes), self._target)
        order = np.argsort(-np.concatenate(scores), kind="stable")
        kept = np.zeros(sum(sizes), bool)
        kept[order[:room]] = True
        self.kept = np.split(kept, np.cumsum(sizes)[:-1])


def _importance(adapter: Adapter) -> Array:
    if adapter.importance is None:
        raise _core.InvalidArgument("a rank budget is for adapters with importance, as adalora's")
    return adapter.importance
