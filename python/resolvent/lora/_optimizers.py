"""Gradient descent and Adam, as directions per unit of the learning rate."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, name_parameter, real_parameter
from resolvent.lora._adapter import OPTIMIZERS

__all__ = ["Adam", "Descent", "Sgd", "descent_of", "descent_parameters"]

#: Adam's decay of the first and of the second moment, and what keeps the quotient finite.
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8


class Descent(Protocol):
    """Remembers what it needs of the gradients of every parameter."""

    def direction(self, key: Hashable, gradient: Array) -> Array:
        """What the parameter `key` moves against, per unit of the learning rate, at its next step.

        The step is θ ← θ − η·direction.
        """


class Sgd:
    """The gradient, or with momentum μ the sum v ← μv + g (Polyak's heavy ball)."""

    def __init__(self, momentum: float = 0.0) -> None:
        self._momentum = momentum
        self._velocity: dict[Hashable, Array] = {}

    def direction(self, key: Hashable, gradient: Array) -> Array:
        if self._momentum == 0.0:
            return gradient
        before = self._velocity.get(key)
        found = gradient if before is None else self._momentum * before + gradient
        self._velocity[key] = found
        return found


class Adam:
    """m̂/(√v̂ + ε) of the bias-corrected moments m̂ and v̂; the first step is g/(|g| + ε).

    β₁ = 0.9, β₂ = 0.999, ε = 1e-8: Kingma, Ba, "Adam", 2014, arXiv:1412.6980, Algorithm 1.
    """

    def __init__(self) -> None:
        self._moments: dict[Hashable, tuple[Array, Array, int]] = {}

    def direction(self, key: Hashable, gradient: Array) -> Array:
        zero = np.zeros_like(gradient)
        first, second, steps = self._moments.get(key, (zero, zero, 0))
        first = _FIRST * first + (1.0 - _FIRST) * gradient
        second = _SECOND * second + (1.0 - _SECOND) * np.square(gradient)
        steps += 1
        self._moments[key] = first, second, steps
        spread = np.sqrt(second / (1.0 - _SECOND**steps)) + _EPSILON
        found: Array = first / (1.0 - _FIRST**steps) / spread
        return found


def descent_of(name: str, momentum: float) -> Descent:
    """A new one without memory, for arguments that were checked."""
    return Adam() if name == "adam" else Sgd(momentum)


def descent_parameters(name: object, momentum: object) -> tuple[str, float]:
    """Checks both."""
    chosen = name_parameter(name, OPTIMIZERS, "optimizer")
    share = real_parameter(momentum, "momentum")
    if not 0.0 <= share < 1.0:
        raise _core.InvalidArgument(f"momentum must be in [0, 1), got {share:g}")
    if chosen == "adam" and share != 0.0:
        raise _core.InvalidArgument(f"momentum is for optimizer 'sgd' alone, got {share:g}")
    return chosen, share
