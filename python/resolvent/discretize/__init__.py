"""Discretisation: from x' = A x + B u to x⁺ = Ā x + B̄ u, and what each rule costs in accuracy.

:func:`discretize` applies a rule to a system, to matrices, or to a diagonal or
diagonal-plus-low-rank model; :func:`expm`, :func:`phi` and :func:`phi_scalar` are what the exact
rules are made of. :func:`local_error`, :func:`stability_region`, :func:`stability_limit`,
:func:`largest_step` and :func:`aliasing` say what a rule does to eigenvalues, and
:func:`convergence` measures its order on a signal.

Systems whose own clock is 1/t (legs, fous) are read as x' = A x + B u here, as S4 does; only
``convergence(..., clock="scaled")`` keeps their clock.
"""

from __future__ import annotations

from resolvent.discretize._convergence import Convergence, convergence
from resolvent.discretize._discrete import RULES, Discrete, Rule, discretize
from resolvent.discretize._functions import expm, phi, phi_scalar
from resolvent.discretize._stability import (
    Aliasing,
    StabilityRegion,
    aliasing,
    largest_step,
    local_error,
    stability_limit,
    stability_region,
)

__all__ = [
    "RULES",
    "Aliasing",
    "Convergence",
    "Discrete",
    "Rule",
    "StabilityRegion",
    "aliasing",
    "convergence",
    "discretize",
    "expm",
    "largest_step",
    "local_error",
    "phi",
    "phi_scalar",
    "stability_limit",
    "stability_region",
]
