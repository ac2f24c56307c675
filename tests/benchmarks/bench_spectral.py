"""Spectra against SciPy's special functions, LAPACK's eigensolver and one SVD per point."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.special
from harness import Case, Run

import resolvent as rv


def cases(quick: bool) -> Iterator[Case]:
    """The phase equation at a million poles, the normal form, and pseudospectra."""
    # The goals are for the full sizes.
    yield _spectrum(10_000 if quick else 1_000_000, goal=None if quick else 1.0)
    yield from _normal_form(128 if quick else 1024, goals=(None, None) if quick else (500, 20))
    yield from _pseudospectra(16 if quick else 64, 20 if quick else 200, goal=None if quick else 20)


# ---- LegS's frequencies -------------------------------------------------------------------------


def _spectrum(order: int, goal: float | None) -> Case:
    system = rv.hippo.system("legs", order)
    # Logarithms of the positive frequencies: the harness compares with the largest entry, and the
    # frequencies themselves span twelve decades. The log-gamma of the script is good to a few
    # eps·N·ln N in Φ, that is, to 1e-14 in ln μ at N = 10⁶; 1e-12 leaves a factor of 100.
    return Case(
        "All eigenvalues of the normal part of LegS",
        size=f"N = {order:,}, two threads; ours has the weights as well",
        runs=[
            Run("resolvent", lambda: _positive(rv.spectral.normal_spectrum(system)), threads=2),
            Run(
                "NumPy/SciPy, log-gamma where it holds",
                lambda: np.log(newton(order, far=True)),
                threads=2,
            ),
            # Without the far form the largest frequencies keep four digits only.
            Run(
                "SciPy, log-gamma throughout",
                lambda: np.log(newton(order, far=False)),
                threads=2,
                comparable=False,
            ),
            *([] if goal is None else [_time_limit(2.0, goal)]),
        ],
        count=order,
        unit="eigenvalues",
        tolerance=1e-12,
    )


def _time_limit(seconds: float, goal: float) -> Run:
    """Nothing but the time that ours may take."""
    name = f"the time that it may take, {seconds:g} s"
    return Run(name, lambda: time.sleep(seconds), at_least=goal, comparable=False)


def _positive(spectrum: Any) -> Any:
    return np.log(spectrum.mu[: spectrum.mu.size // 2])


def newton(order: int, *, far: bool) -> Any:
    """Positive roots of LegS's phase equation Φ(μ) = (N−1−2j)π, descending; order ≥ 1000.

    Φ comes from log-gamma. With `far`, the roots nearer to the limit Nπ than to 0 are solved for
    Nπ − Φ instead, by the midpoint rule: log-gamma cancels there.
    """
    j = np.arange(order // 2)
    target, missing = (order - 1 - 2 * j) * np.pi, (2 * j + 1) * np.pi
    distant = missing < target
    mu = np.where(distant, 0.5 * order**2 / missing, target / (2 * np.log(order) + 3.9))
    distant &= far
    for rows, phase, sign in ((~distant, _log_gamma_phase, 1), (distant, _missing_phase, -1)):
        active, goal = np.flatnonzero(rows), (target if sign > 0 else missing)
        for _ in range(30):
            if active.size == 0:
                break
            m = mu[active]
            value, slope = phase(order, m)
            share = sign * (value - goal[active]) / (m * slope)
            step = np.clip(1 - sign * share, 0.3, 3.0)
            mu[active] = m * step if sign > 0 else m / step
            active = active[np.abs(share) > 1e-9]
    return mu


def _log_gamma_phase(order: int, mu: Any) -> tuple[Any, Any]:
    """Σ 2·arctan(μ/p_k) and its derivative, p_k = k + ½."""
    top, bottom = order + 0.5 + 1j * mu, 0.5 + 1j * mu
    value = scipy.special.loggamma(top) - scipy.special.loggamma(bottom)
    slope = scipy.special.digamma(top) - scipy.special.digamma(bottom)
    return 2 * value.imag, 2 * slope.real


def _missing_phase(order: int, mu: Any) -> tuple[Any, Any]:
    """Σ 2·arctan(p_k/μ) and minus its derivative, by the midpoint rule with two corrections."""
    log = np.log1p((order / mu) ** 2)
    total = 2 * order * np.arctan(order / mu) - mu * log
    slope = log.copy()
    for power, coefficient in ((1, -1 / 24), (3, 7 / 2880)):
        high, low = (order + 1j * mu) ** -power, (1j * mu) ** -power
        total -= 2 * coefficient * (high - low).imag
        slope -= 2 * power * coefficient * (high / (order + 1j * mu) - low / (1j * mu)).real
    return total, slope


# ---- the normal form ----------------------------------------------------------------------------


def _normal_form(order: int, goals: tuple[float | None, float | None]) -> Iterator[Case]:
    system = rv.hippo.system("legs", order)
    # A backward stable eigensolver leaves eps·‖K‖ in the eigenvalues, and in its vectors that over
    # the gap: 2e-16·3e5/0.4 = 2e-10 at N = 1024. The constants of LAPACK are below 50.
    yield Case(
        "Normal form of LegS: eigenvalues and weights",
        size=f"N = {order}, one thread",
        runs=[
            Run("resolvent", lambda: _values(rv.spectral.dplr(system))),
            Run("NumPy eigh", lambda: _dense_values(system), at_least=goals[0]),
        ],
        count=order,
        unit="eigenvalues",
        tolerance=1e-11,
    )
    yield Case(
        "Normal form of LegS: with eigenvectors",
        size=f"N = {order}, one thread",
        runs=[
            Run("resolvent", lambda: rv.spectral.dplr(system).eigenvectors()),
            Run("NumPy eigh, phases fixed", lambda: _dense_vectors(system), at_least=goals[1]),
        ],
        count=order**2,
        unit="entries",
        bytes=16 * order**2,
        tolerance=1e-8,
    )


def _eigh(system: Any) -> tuple[Any, Any]:
    """Frequencies, descending, and orthonormal eigenvectors of K = A + ½(I + bbᵀ)."""
    b = system.B
    below = -0.5 * np.tril(np.outer(b, b), -1)
    mu, V = np.linalg.eigh(-1j * (below - below.T))
    return mu[::-1], V[:, ::-1]


def _values(form: Any) -> Any:
    """Frequencies and weights, each over its largest, so that both count."""
    weights = np.abs(form.B) ** 2
    return np.concatenate([form.eigenvalues.imag / form.order**2, weights / weights[0]])


def _dense_values(system: Any) -> Any:
    mu, V = _eigh(system)
    weights = np.abs(V.conj().T @ system.B) ** 2
    return np.concatenate([mu / system.order**2, weights / weights[0]])


def _dense_vectors(system: Any) -> Any:
    _, V = _eigh(system)
    image = system.B @ V
    return V * (np.abs(image) / image)


# ---- pseudospectra ------------------------------------------------------------------------------


def _pseudospectra(order: int, points: int, goal: float | None) -> Iterator[Case]:
    legs, legt = (rv.hippo.system(measure, order).A for measure in ("legs", "legt"))
    for name, A, box, loop in (
        ("LegS, triangular", legs, (-2.0, 0.6, -1.25, 1.25), True),
        ("LegT, full", legt, (-3.5, 1.5, -2.5, 2.5), False),
    ):
        box = tuple(order * edge for edge in box)
        runs = [
            Run("resolvent", lambda A=A, box=box: rv.spectral.pseudospectrum(A, box, points).sigma),
            Run(
                "NumPy, SVDs of a row of points at once",
                lambda A=A, box=box: svd_rows(A, box, points),
                at_least=goal,
            ),
        ]
        if loop:
            runs.append(
                Run("NumPy, one SVD per point", lambda A=A, box=box: svd_loop(A, box, points))
            )
        # Ours stops at 1e-8 of each value; an SVD is good to eps·‖zI − A‖, which is less.
        yield Case(
            f"Pseudospectrum of {name}",
            size=f"N = {order}, {points}×{points} points, one thread",
            runs=runs,
            count=points**2,
            unit="points",
            tolerance=1e-7,
        )


def _grid(box: tuple[float, float, float, float], points: int) -> Any:
    left, right, bottom, top = box
    return np.linspace(left, right, points) + 1j * np.linspace(bottom, top, points)[:, None]


def svd_rows(A: Any, box: tuple[float, float, float, float], points: int) -> Any:
    """σ_min(zI − A) by stacked SVDs without vectors, a row of the grid at a time."""
    identity = np.eye(len(A))
    return np.array(
        [
            np.linalg.svd(row[:, None, None] * identity - A, compute_uv=False)[:, -1]
            for row in _grid(box, points)
        ]
    )


def svd_loop(A: Any, box: tuple[float, float, float, float], points: int) -> Any:
    """The same by one call per point."""
    identity = np.eye(len(A))
    return np.array(
        [
            [np.linalg.svd(z * identity - A, compute_uv=False)[-1] for z in row]
            for row in _grid(box, points)
        ]
    )
