"""HiPPO: the past of a signal in N numbers, kept up to date sample by sample.

A system x' = A x + B u (or its 1/t form) makes x the coefficients of the past of u in a basis of
N functions [1]_. :func:`system` gives the classical ones, :func:`derive` any other;
:func:`project`, or :class:`Memory` for streams, computes the coefficients; :func:`reconstruct`
turns them back into a signal; :func:`optimal` is the exact projection, with no time stepping, that
every rule is measured against; :func:`identify` says which system a pair of matrices is.

.. [1] A. Gu, T. Dao, S. Ermon, A. Rudra, C. Ré, "HiPPO: Recurrent Memory with Optimal Polynomial
   Projections", 2020, arXiv:2008.07669.
"""

from __future__ import annotations

from resolvent.hippo._derive import derive
from resolvent.hippo._identify import Identification, identify
from resolvent.hippo._memory import RULES, Memory, Rule, project
from resolvent.hippo._projection import (
    ReconstructionError,
    optimal,
    reconstruct,
    reconstruction_error,
)
from resolvent.hippo._system import (
    MEASURES,
    Closure,
    Measure,
    Normalization,
    System,
    convert,
    normalizations,
    system,
)

__all__ = [
    "MEASURES",
    "RULES",
    "Closure",
    "Identification",
    "Measure",
    "Memory",
    "Normalization",
    "ReconstructionError",
    "Rule",
    "System",
    "convert",
    "derive",
    "identify",
    "normalizations",
    "optimal",
    "project",
    "reconstruct",
    "reconstruction_error",
    "system",
]
