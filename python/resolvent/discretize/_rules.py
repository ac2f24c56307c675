"""Rules and their parameters."""

from __future__ import annotations

from typing import Any, Literal, get_args

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    as_real64,
    name_parameter,
    real_parameter,
)

Rule = Literal["forward", "backward", "bilinear", "gbt", "zoh", "foh", "mamba"]
RULES: tuple[str, ...] = get_args(Rule)

#: The rules whose stability function is the exponential.
EXPONENTIAL = ("zoh", "foh", "mamba")

_WEIGHTS = {"forward": 0.0, "bilinear": 0.5, "backward": 1.0}


def rule_weight(rule: Any, alpha: Any) -> tuple[str, float]:
    """The rule, and its weight α of the new state: `alpha` for gbt only."""
    name = name_parameter(rule, RULES, "rule")
    if name != "gbt":
        return name, _WEIGHTS.get(name, 0.5)
    weight = real_parameter(alpha, "alpha")
    if not 0.0 <= weight <= 1.0:
        raise _core.InvalidArgument(f"alpha must lie in [0, 1], got {weight}")
    return name, weight


def positive_steps(step: ArrayLike, name: str = "step") -> Array:
    """Steps of any shape, all positive."""
    steps = as_real64(step, name)
    if steps.size and steps.min() <= 0.0:
        raise _core.InvalidArgument(f"{name} must be positive, got {steps.min():g}")
    return steps
