"""Warnings that carry the number they warn about."""

from __future__ import annotations

import sys
import warnings

__all__ = ["IllConditionedWarning", "ResolutionWarning", "StabilityWarning", "warn_caller"]

_PACKAGE = __name__.partition(".")[0]


def warn_caller(warning: Warning) -> None:
    """Warns at the line outside the package that led here, however deep inside it this is."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE and frame.f_back:
        frame = frame.f_back
        level += 1
    warnings.warn(warning, stacklevel=level)


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
