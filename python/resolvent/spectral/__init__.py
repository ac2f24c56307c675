"""Spectral structure: eigenvalues and eigenvectors of HiPPO systems, and how far to trust them.

A itself cannot be diagonalised in floating point: :func:`conditioning` says how soon. But in
orthonormal coordinates A is a normal matrix minus one of low rank (S4, Gu et al.
2021), and for the triangular
systems (LegS, LagT, Malmquist) the eigenvalues of the normal part solve one scalar equation each:
:func:`normal_spectrum`. :func:`dplr` is the whole form. :func:`pseudospectrum` and
:func:`numerical_range` show what eigenvalues do not; :func:`pade_delay` is what LegT approximates;
:func:`diagonal` are the initialisations that drop the low-rank part (S4D, Gu et al. 2022).

Gu, Goel, Ré, "Efficiently Modeling Long Sequences with Structured State Spaces", 2021,
arXiv:2111.00396. Gu, Gupta, Goel, Ré, "On the Parameterization and Initialization of Diagonal State
Space Models", 2022, arXiv:2206.11893.
"""

from __future__ import annotations

from resolvent.spectral._dplr import DPLR, KINDS, Diagonal, Kind, diagonal, dplr
from resolvent.spectral._eigen import (
    Conditioning,
    Eigensystem,
    conditioning,
    eigensystem,
    eigenvalues,
    eigenvectors,
)
from resolvent.spectral._normal import NormalSpectrum, normal_spectrum, phase
from resolvent.spectral._pade import PadeDelay, pade_delay
from resolvent.spectral._regions import (
    NumericalRange,
    Pseudospectrum,
    numerical_range,
    pseudospectrum,
)

__all__ = [
    "DPLR",
    "KINDS",
    "Conditioning",
    "Diagonal",
    "Eigensystem",
    "Kind",
    "NormalSpectrum",
    "NumericalRange",
    "PadeDelay",
    "Pseudospectrum",
    "conditioning",
    "diagonal",
    "dplr",
    "eigensystem",
    "eigenvalues",
    "eigenvectors",
    "normal_spectrum",
    "numerical_range",
    "pade_delay",
    "phase",
    "pseudospectrum",
]
