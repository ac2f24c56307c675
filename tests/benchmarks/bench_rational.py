"""Rational transfer functions against SciPy, torch and python-control.

torch and python-control are optional, and named in the report where they are missing; bench_ssm.py
says how to provide them, and which of the variants the goals are for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft
import scipy.signal
from harness import Case, Missing, Run

import resolvent as rv

try:
    import torch
except ImportError:
    torch = None
try:
    import control
except ImportError:
    control = None

#: What a call may take beyond its result, in MiB.
_MEMORY = 16.0


def cases(quick: bool) -> Iterator[Case | Missing]:
    """Kernels by FFT and that they do not depend on the order; recurrences; frequency responses."""
    if torch is None:
        yield Missing("torch", "not installed")
    if control is None:
        yield Missing("python-control", "not installed")
    channels, length = (8, 1024) if quick else (256, 16384)
    yield _kernel(channels, 64, length, goals=not quick)
    yield _orders(channels, length, goals=not quick)
    yield _lengths(channels // 4, (10, 12) if quick else (10, 12, 14, 16, 18), goals=not quick)
    yield from _recurrence(channels // 4, length)
    yield _response(16 if quick else 64, 500 if quick else 10_000)


def transfer_function(channels: int, order: int) -> rv.rational.TransferFunction:
    """Σ|a_i| = 0.9 in every channel, which is stable."""
    rng = np.random.default_rng(0)
    b, a = rng.standard_normal((2, channels, order))
    a *= 0.9 / np.sum(np.abs(a), axis=-1, keepdims=True)
    return rv.rational.TransferFunction(b, a)


def _denominator(a: Any) -> Any:
    """[1, a]."""
    return np.concatenate([np.ones((*a.shape[:-1], 1)), a], axis=-1)


# ---- kernels ------------------------------------------------------------------------------------


def _kernel(channels: int, order: int, length: int, goals: bool) -> Case:
    model = transfer_function(channels, order)
    b, a = model.b, model.a
    # |1 + Σ a_i z^i| ≥ 0.1 on the circle: the quotient loses a digit of the transforms' eps·log₂ L.
    return Case(
        "Kernel by FFT, aliased",
        size=f"H = {channels}, d = {order}, L = {length}, float64, two threads",
        runs=[
            Run("resolvent", lambda: model.kernel(length, aliased=True), threads=2),
            Run(
                "SciPy, two workers, all channels at once",
                lambda: kernel_scipy(b, a, length, rows=channels),
                threads=2,
                at_least=2 if goals else None,
            ),
            Run(
                "SciPy, two workers, 8 channels at a time",
                lambda: kernel_scipy(b, a, length, rows=8),
                threads=2,
            ),
            *_torch_run(b, a, length, at_least=5 if goals else None),
        ],
        count=channels * length,
        unit="values",
        bytes=8 * channels * length,
        tolerance=1e-12,
        memory=_MEMORY,
    )


def _torch_run(b: Any, a: Any, length: int, at_least: float | None) -> list[Run]:
    if torch is None:
        return []
    call = lambda: kernel_torch(b, a, length)  # noqa: E731
    return [Run("torch", call, threads=2, at_least=at_least)]


def kernel_scipy(b: Any, a: Any, length: int, rows: int) -> Any:
    """Inverse DFT of DFT(b)/DFT([1, a]), `rows` channels at a time."""
    denominator = _denominator(a)
    out = np.empty((len(b), length))
    for i in range(0, len(b), rows):
        spectrum = scipy.fft.rfft(b[i : i + rows], n=length, workers=2)
        spectrum /= scipy.fft.rfft(denominator[i : i + rows], n=length, workers=2)
        out[i : i + rows] = scipy.fft.irfft(spectrum, n=length, workers=2, overwrite_x=True)
    return out


def kernel_torch(b: Any, a: Any, length: int) -> Any:
    """The same for all channels at once."""
    spectrum = torch.fft.rfft(torch.from_numpy(np.array(b)), n=length)
    spectrum /= torch.fft.rfft(torch.from_numpy(_denominator(a)), n=length)
    return torch.fft.irfft(spectrum, n=length).numpy()


def _orders(channels: int, length: int, goals: bool) -> Case:
    """From d = 4 to L/4 the transforms of b and a grow from pruned to nearly full ones."""
    orders = [4**k for k in range(1, 7) if 4**k <= length // 4]
    models = [transfer_function(channels, order) for order in orders]
    return Case(
        "Kernel by FFT against the order",
        size=f"H = {channels}, L = {length}, float64, two threads",
        runs=[
            Run(
                f"d = {order}",
                lambda m=model: m.kernel(length, aliased=True),
                threads=2,
                comparable=False,
                count=channels * length,
                # Without pruning all three transforms were full, with it one: 2 is in between.
                at_most=2 if goals and order > orders[0] else None,
            )
            for order, model in zip(orders, models, strict=True)
        ],
        unit="values",
        versus="the first",
    )


def _lengths(channels: int, exponents: tuple[int, ...], goals: bool) -> Case:
    model = transfer_function(channels, 64)
    first = exponents[0]
    return Case(
        "Kernel by FFT against the length",
        size=f"H = {channels}, d = 64, float64, two threads",
        runs=[
            Run(
                f"L = {1 << exponent:,}",
                lambda length=1 << exponent: model.kernel(length, aliased=True),
                threads=2,
                comparable=False,
                count=channels << exponent,
                # O(L log L).
                at_most=2 ** (exponent - first) * exponent / first
                if goals and exponent > first
                else None,
            )
            for exponent in exponents
        ],
        unit="values",
        versus="the first",
    )


# ---- recurrence ---------------------------------------------------------------------------------


def _recurrence(channels: int, length: int) -> Iterator[Case]:
    u = np.random.default_rng(1).standard_normal((channels, length))
    for order in (4, 64):
        model = transfer_function(channels, order)
        yield Case(
            f"Recurrence, order {order}",
            size=f"H = {channels}, d = {order}, L = {length}, float64",
            runs=[
                Run("resolvent, two threads", lambda m=model: m.recur(u)[0], threads=2),
                Run("resolvent, one thread", lambda m=model: m.recur(u)[0]),
                Run(
                    "SciPy lfilter, a call for each channel",
                    lambda m=model: recur_scipy(m.b, m.a, u),
                ),
            ],
            count=channels * length,
            unit="samples",
            multiply_adds=2 * order * channels * length,
            tolerance=1e-12,
            memory=_MEMORY,
        )


def recur_scipy(b: Any, a: Any, u: Any) -> Any:
    """y = G(z) u, z the delay: b and [1, a] are what lfilter takes."""
    rows = zip(b, _denominator(a), u, strict=True)
    return np.array([scipy.signal.lfilter(top, bottom, row) for top, bottom, row in rows])


# ---- frequency response -------------------------------------------------------------------------


def _response(order: int, points: int) -> Case:
    model = transfer_function(1, order)
    b, a = model.b[0], model.a[0]
    single = rv.rational.TransferFunction(b, a)
    omega = np.linspace(0, np.pi, points)
    runs = [
        Run("resolvent", lambda: single.frequency_response(omega), threads=2),
        Run("SciPy freqz", lambda: scipy.signal.freqz(b, _denominator(a), omega)[1]),
    ]
    if control is not None:
        # In descending powers of ζ = 1/z the numerator is b_1 ζ^d + … + b_d ζ.
        system = control.tf(np.append(b, 0.0), _denominator(a), True)
        runs.append(Run("python-control", lambda: system(np.exp(1j * omega))))
    return Case(
        "Frequency response",
        size=f"d = {order}, {points:,} points, float64",
        runs=runs,
        count=points,
        unit="points",
        tolerance=1e-12,
    )
