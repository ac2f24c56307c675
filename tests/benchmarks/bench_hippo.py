"""HiPPO projections against dense NumPy/SciPy recurrences, and against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.linalg
import scipy.signal
from harness import Case, Run

import resolvent as rv

#: Multiplications and additions of one coefficient in one step of a cascade (math::Section).
_OPERATIONS = 6


def cases(quick: bool) -> Iterator[Case]:
    """Speed against dense loops, then throughput over channels, threads, orders and types."""
    yield from _against_dense_loops(200 if quick else 1000)
    yield from _channels(300 if quick else 8000)
    yield from _structures(300 if quick else 2000)
    yield from _orders(quick)
    yield _single_precision(300 if quick else 2000)
    yield _exact_projection(500 if quick else 4000)


def _signal(channels: int, length: int, dtype: str = "float64") -> Any:
    return np.random.default_rng(0).standard_normal((channels, length)).astype(dtype)


def _project(measure: str, order: int, u: Any, rule: Any = "bilinear") -> Callable[[], Any]:
    system = rv.hippo.system(measure, order, window=float(u.shape[-1]))  # type: ignore[arg-type]
    return lambda: rv.hippo.project(u, system, rule=rule)


def legs_loop(u: Any, A: Any, B: Any) -> Any:
    """The bilinear LegS recurrence with A as a dense triangular matrix, as public code has it."""
    identity = np.eye(B.size)
    x = np.zeros(B.size)
    x[0] = u[0]
    for k in range(1, u.size):
        forward = x + (A @ x) / (2 * k) + B * (u[k] / k)
        x = scipy.linalg.solve_triangular(
            identity - A / (2 * (k + 1)), forward, lower=True, check_finite=False
        )
    return x


def legs_cumulative(u: Any, order: int) -> Any:
    """The same recurrence in O(N): sums by cumsum, the implicit half as a first-order filter."""
    n = np.arange(order)
    odd = 2.0 * n + 1.0
    x = np.zeros(order)
    x[0] = u[0]
    for k in range(1, u.size):
        explicit, implicit = 1.0 / (2 * k), 1.0 / (2 * (k + 1))
        v = x + explicit * (n * x - odd * np.cumsum(x)) + odd * (u[k] / k)
        decay = (1.0 - implicit * n) / (1.0 + implicit * (n + 1.0))
        drive = v / (1.0 + implicit * (n + 1.0))
        total = 0.0
        sums = np.empty(order)
        for i in range(order):
            total = decay[i] * total + drive[i]
            sums[i] = total
        x = np.diff(sums, prepend=0.0)
    return x / np.sqrt(odd)


def discrete_loop(u: Any, A: Any, B: Any) -> Any:
    """x ← Ā x + B̄ u with dense matrices made once."""
    identity = np.eye(B.size)
    factor = scipy.linalg.lu_factor(identity - A / 2)
    A_bar = scipy.linalg.lu_solve(factor, identity + A / 2)
    B_bar = scipy.linalg.lu_solve(factor, B)
    x = np.zeros(B.size)
    for value in u:
        x = A_bar @ x + B_bar * value
    return x


def discrete_dlsim(u: Any, A: Any, B: Any) -> Any:
    """The same by SciPy's dlsim, which keeps every state."""
    identity = np.eye(B.size)
    A_bar = np.linalg.solve(identity - A / 2, identity + A / 2)
    B_bar = np.linalg.solve(identity - A / 2, B)[:, None]
    system = (A_bar, B_bar, identity, np.zeros((B.size, 1)), 1.0)
    _, _, states = scipy.signal.dlsim(system, np.append(u, 0.0))
    return states[-1]


def _against_dense_loops(length: int) -> Iterator[Case]:
    order = 256
    u = _signal(1, length)[0]
    legs = rv.hippo.system("legs", order)
    A, B = legs.A, legs.B
    yield Case(
        "LegS, bilinear, one channel",
        size=f"N = {order}, L = {length}, float64, one thread",
        runs=[
            Run("resolvent", _project("legs", order, u)),
            Run("NumPy/SciPy, dense loop", lambda: legs_loop(u, A, B), at_least=250),
            Run("Python, O(N) loop", lambda: legs_cumulative(u, order)),
        ],
        count=order * length,
        unit="coefficient updates",
        multiply_adds=_OPERATIONS / 2 * order * length,
        tolerance=1e-10,
    )
    legt = rv.hippo.system("legt", order, window=float(length))
    At, Bt = legt.A, legt.B
    yield Case(
        "LegT, bilinear, one channel",
        size=f"N = {order}, L = {length}, float64, one thread",
        runs=[
            Run("resolvent", _project("legt", order, u)),
            Run("NumPy, discretised once", lambda: discrete_loop(u, At, Bt)),
            Run("SciPy dlsim", lambda: discrete_dlsim(u, At, Bt)),
        ],
        count=order * length,
        unit="coefficient updates",
        multiply_adds=_OPERATIONS / 2 * order * length,
        tolerance=1e-8,
    )


def _channels(length: int) -> Iterator[Case]:
    order = 256
    for channels in (16, 64, 256):
        u = _signal(channels, length)
        yield Case(
            f"LegS, bilinear, {channels} channels",
            size=f"N = {order}, L = {length}, float64, two threads against one",
            runs=[
                Run("resolvent, two threads", _project("legs", order, u), threads=2),
                Run(
                    "resolvent, one thread",
                    _project("legs", order, u),
                    at_least=1.8 if channels >= 64 else None,
                ),
            ],
            count=order * length * channels,
            unit="coefficient updates",
            multiply_adds=_OPERATIONS / 2 * order * length * channels,
            tolerance=0.0,
        )


def _structures(length: int) -> Iterator[Case]:
    order = 255  # odd, for FouT
    for channels in (1, 64):
        u = _signal(channels, length)
        for measure, name in (("legt", "LegT"), ("lagt", "LagT"), ("fout", "FouT")):
            yield Case(
                f"{name} per coefficient of LegS, {channels} channel{'s' * (channels > 1)}",
                size=f"N = {order}, L = {length}, float64, one thread",
                runs=[
                    Run(f"resolvent, {name}", _project(measure, order, u)),
                    Run(
                        "resolvent, LegS",
                        _project("legs", order, u),
                        at_least=1 / 3,
                        comparable=False,
                    ),
                ],
                count=order * length * channels,
                unit="coefficient updates",
            )


def _orders(quick: bool) -> Iterator[Case]:
    total = 2**20 if quick else 2**23
    for channels in (1, 16):
        for order in (16, 64, 256, 1024, 4096):
            u = _signal(channels, max(2, total // (order * channels)))
            yield Case(
                f"LegS over orders: N = {order}, {channels} channel{'s' * (channels > 1)}",
                size=f"L = {u.shape[-1]}, float64, one thread",
                runs=[Run("resolvent", _project("legs", order, u))],
                count=order * u.size,
                unit="coefficient updates",
            )


def _single_precision(length: int) -> Case:
    order, channels = 256, 64
    u = _signal(channels, length)
    single = u.astype("float32")
    return Case(
        "LegS, float32 against float64",
        size=f"N = {order}, L = {length}, {channels} channels, one thread",
        runs=[
            Run("resolvent, float32", _project("legs", order, single)),
            Run("resolvent, float64", _project("legs", order, u), at_least=1.7),
        ],
        count=order * length * channels,
        unit="coefficient updates",
        multiply_adds=_OPERATIONS / 2 * order * length * channels,
        dtype="float32",
        tolerance=1e-3,
    )


def _exact_projection(length: int) -> Case:
    order = 64
    u = _signal(1, length)[0]
    system = rv.hippo.system("legs", order)
    return Case(
        "LegS, the exact projection by two routes",
        size=f"N = {order}, L = {length}, one channel, one thread",
        runs=[
            Run("resolvent, optimal (no time stepping)", lambda: rv.hippo.optimal(u, system)),
            Run('resolvent, rule "exact"', _project("legs", order, u, "exact")),
        ],
        count=order * length,
        unit="coefficients × samples",
        tolerance=1e-10,
    )
