"""Warnings that carry the number they warn about."""

from __future__ import annotations

__all__ = ["IllConditionedWarning", "ResolutionWarning", "StabilityWarning"]


class IllConditionedWarning(UserWarning):
    """A result has lost digits to conditioning; `value` is the condition number or its like."""

    def __init__(self, message: str, value: float) -> None:
        super().__init__(message, value)
        self.value = value

    def __str__(self) -> str:
        return str(self.args[0])


class StabilityWarning(UserWarning):
    """A rule amplifies rounding noise; `growth` is the factor."""

    def __init__(self, message: str, growth: float) -> None:
        super().__init__(message, growth)
        self.growth = growth

    def __str__(self) -> str:
        return str(self.args[0])


class ResolutionWarning(UserWarning):
    """A window holds too few samples to mean anything; `samples` is how many."""

    def __init__(self, message: str, samples: float) -> None:
        super().__init__(message, samples)
        self.samples = samples

    def __str__(self) -> str:
        return str(self.args[0])
