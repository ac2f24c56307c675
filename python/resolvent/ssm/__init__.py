"""State-space kernels: one model, several routes to the same numbers.

:func:`kernel` computes K_k = C Āᵏ B̄ by whichever of seven routes suits the model, and says which;
:func:`audit` runs all of them and says what their differences are due to.
:func:`generating_function` is the kernel in the frequency domain, :func:`recur` and
:func:`convolve` run a model over a signal, step by step or at once, and :func:`scan` is the
recurrence of a diagonal model with factors that change. :func:`cauchy` and :func:`vandermonde` are
the sums that the routes are made of; all have adjoints.

z is the delay: G(z) = Σ_k K_k z^k. Outputs are read after the update, y_k = C x_{k+1} + D u_k.

Gu, Goel, Ré, "Efficiently Modeling Long Sequences with Structured State Spaces", 2021,
arXiv:2111.00396. Gu, Gupta, Goel, Ré, "On the Parameterization and Initialization of Diagonal State
Space Models", 2022, arXiv:2206.11893.
"""

from __future__ import annotations

from resolvent.ssm._audit import PARTS, Audit, Finding, audit
from resolvent.ssm._kernel import READOUTS, Kernel, KernelInfo, Readout, Route, kernel, routes
from resolvent.ssm._models import StateSpace
from resolvent.ssm._recur import Recurrence, recur
from resolvent.ssm._response import generating_function
from resolvent.ssm._routes import ROUTES
from resolvent.ssm._sums import cauchy, cauchy_vjp, vandermonde, vandermonde_vjp
from resolvent.ssm._time import METHODS, Method, convolve, convolve_adjoint, scan, scan_vjp

__all__ = [
    "METHODS",
    "PARTS",
    "READOUTS",
    "ROUTES",
    "Audit",
    "Finding",
    "Kernel",
    "KernelInfo",
    "Method",
    "Readout",
    "Recurrence",
    "Route",
    "StateSpace",
    "audit",
    "cauchy",
    "cauchy_vjp",
    "convolve",
    "convolve_adjoint",
    "generating_function",
    "kernel",
    "recur",
    "routes",
    "scan",
    "scan_vjp",
    "vandermonde",
    "vandermonde_vjp",
]
