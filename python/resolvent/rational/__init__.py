"""Rational transfer functions: polynomials, poles, sections, fits and models of lower order.

A state-space layer is a rational function of the delay z, and RTF (Parnichkun et al. 2024) trains
its coefficients directly: :class:`TransferFunction`, with the plain and the aliased kernel and the
way between them. :func:`reflection` gives all stable denominators without constraints.

Coefficients cannot hold clustered poles. :func:`from_state_space` says how many digits they lose;
:func:`cascade`, :class:`PoleResidue` and :func:`balance` are the forms that do without them.
:func:`fit` finds small models of long kernels, :func:`reduce` of large models.

Parnichkun et al., "State-Free Inference of State-Space Models: The Transfer Function Approach",
2024, arXiv:2405.06147.
"""

from __future__ import annotations

from resolvent.rational._cascade import cascade
from resolvent.rational._convert import Conversion, from_state_space, to_rational
from resolvent.rational._fit import METHODS, Fit, Method, fit
from resolvent.rational._partial import PoleResidue
from resolvent.rational._reduce import (
    REDUCTIONS,
    Balanced,
    Reduced,
    Reduction,
    balance,
    hankel_singular_values,
    reduce,
)
from resolvent.rational._schur import INITIALS, Initial, from_reflection, initial, reflection
from resolvent.rational._transfer import TransferFunction, Truncation
from resolvent.rational._views import FrequencyResponse, PoleZeroMap, TimeResponse
from resolvent.ssm import _routes

__all__ = [
    "INITIALS",
    "METHODS",
    "REDUCTIONS",
    "Balanced",
    "Conversion",
    "Fit",
    "FrequencyResponse",
    "Initial",
    "Method",
    "PoleResidue",
    "PoleZeroMap",
    "Reduced",
    "Reduction",
    "TimeResponse",
    "TransferFunction",
    "Truncation",
    "balance",
    "cascade",
    "fit",
    "from_reflection",
    "from_state_space",
    "hankel_singular_values",
    "initial",
    "reduce",
    "reflection",
]

# ssm does not depend on this module, but its route "rational" needs the conversion.
_routes.to_rational = to_rational
