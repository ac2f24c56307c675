"""Probability maps: softmax and what could replace it.

A map takes logits (..., n) to probabilities along an axis: :func:`softmax`, :func:`taylor_softmax`,
:func:`sparse_softmax`, :func:`sparsemax`, :func:`entmax`, :func:`normmax`, :func:`budget`,
:func:`perturb_max`, :func:`normalize` and :func:`margin_softmax`. All have a temperature and a
mask. Called without logits, they bind their parameters: ``entmax(alpha=1.25)`` is a :class:`Map`.

:func:`jacobian`, :func:`jvp` and :func:`vjp` differentiate them in closed form, :func:`loss` and
:func:`loss_gradient` train with them, :func:`threshold` certifies them, :func:`sample` draws what
:func:`perturb_max` computes, and :func:`properties` finds out by search what holds for a map and
what does not.

Martins, Astudillo, "From Softmax to Sparsemax", 2016, arXiv:1602.02068. Peters, Niculae, Martins,
"Sparse Sequence-to-Sequence Models", 2019, arXiv:1905.05702. Blondel, Martins, Niculae, "Learning
with Fenchel-Young Losses", 2020, arXiv:1901.02324.
"""

from __future__ import annotations

from resolvent.probmap._derivatives import jacobian, jvp, vjp
from resolvent.probmap._families import FUNCTIONS
from resolvent.probmap._loss import loss, loss_gradient
from resolvent.probmap._map import MAPS, Map, MapFunction
from resolvent.probmap._maps import (
    budget,
    entmax,
    log_softmax,
    logsumexp,
    margin_softmax,
    normalize,
    normmax,
    perturb_max,
    softmax,
    sparse_softmax,
    sparsemax,
    taylor_softmax,
)
from resolvent.probmap._noise import NOISES
from resolvent.probmap._properties import (
    PROPERTIES,
    Example,
    Property,
    PropertyCard,
    PropertyTable,
    properties,
)
from resolvent.probmap._threshold import Threshold, sample, threshold

__all__ = [
    "FUNCTIONS",
    "MAPS",
    "NOISES",
    "PROPERTIES",
    "Example",
    "Map",
    "MapFunction",
    "Property",
    "PropertyCard",
    "PropertyTable",
    "Threshold",
    "budget",
    "entmax",
    "jacobian",
    "jvp",
    "log_softmax",
    "logsumexp",
    "loss",
    "loss_gradient",
    "margin_softmax",
    "normalize",
    "normmax",
    "perturb_max",
    "properties",
    "sample",
    "softmax",
    "sparse_softmax",
    "sparsemax",
    "taylor_softmax",
    "threshold",
    "vjp",
]
