"""Attention as a recurrence, and the linear recurrences beside it.

:func:`causal` is one layer by four routes, :class:`Stack` a stack of them that generates with a
cache or with constant memory, :func:`cost` what either costs. :mod:`resolvent.attention.linear` has
the recurrences that are linear in their state. :func:`layer` makes a sequence layer of each with
the parameters that it starts from; :func:`influence` and :func:`memory_test` ask what it remembers.
"""

from __future__ import annotations

from resolvent.attention import linear
from resolvent.attention._causal import ROUTES, causal, streams
from resolvent.attention._cost import Cost, cost
from resolvent.attention._influence import Influences, influence, influence_curves
from resolvent.attention._layers import LAYERS, Layer, layer
from resolvent.attention._memory import TASKS, MemoryComparison, MemoryTest, memory_test
from resolvent.attention._stack import Stack

__all__ = [
    "LAYERS",
    "ROUTES",
    "TASKS",
    "Cost",
    "Influences",
    "Layer",
    "MemoryComparison",
    "MemoryTest",
    "Stack",
    "causal",
    "cost",
    "influence",
    "influence_curves",
    "layer",
    "linear",
    "memory_test",
    "streams",
]
