"""Kernels, convolutions, responses and scans against torch, SciPy and python-control.

The goals are for one call on whole arrays, as these libraries are used. Beside it is the same cut
by hand into parts that stay in the cache, where that is faster.

torch and python-control are optional: the report names the ones that are missing. Any torch for the
CPU will do, from the package index or, in a virtual environment that sees the system's packages,
from a distribution (which may ask for NumPy < 2). python-control comes with the extra ``bench``;
it evaluates a response quickly only where slycot is installed as well, which is built from source
with a Fortran compiler, BLAS and LAPACK.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.fft
import scipy.signal
import threadpoolctl
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
#: How much more than in proportion to the size a cost that is linear may grow: from the smallest to
#: the largest the arrays leave the caches, and log L nearly doubles.
_LINEAR = 1.5


def cases(quick: bool) -> Iterator[Case | Missing]:
    """The tasks with goals, at their full sizes; then how the cost grows, and throughput."""
    yield from _missing()
    length = 1024 if quick else 16384
    channels = 8 if quick else 64
    goals = not quick
    yield from _dplr(channels, length, goals)
    yield from _vandermonde(channels, length, goals)
    yield from _convolve(4 * channels, length, goals)
    yield _frequency_response(*((32, 500) if quick else (256, 10_000)), goals)
    yield from _orders((32, 64) if quick else (32, 64, 128, 256, 512, 1024), length, goals)
    yield from _lengths((10, 12) if quick else (10, 12, 14, 16, 18), goals)
    yield from _recurrences(channels, length)
    yield from _scans(channels, length)


def _missing() -> Iterator[Missing]:
    if torch is None:
        yield Missing("torch", "not installed")
    if control is None:
        yield Missing("python-control", "not installed")
    elif not _has_slycot():
        yield Missing("python-control with slycot", "slycot is not installed")


def _has_slycot() -> bool:
    return importlib.util.find_spec("slycot") is not None


def _torch_run(name: str, call: Callable[[], Any], **options: Any) -> list[Run]:
    """A run on two threads, which the harness sets in torch's OpenMP pool; none without torch."""
    return [] if torch is None else [Run(f"torch, {name}", call, threads=2, **options)]


def _complex(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _steps(channels: int) -> Any:
    """One step for each channel, as S4 starts them."""
    return np.geomspace(1e-3, 1e-1, channels)


# ---- kernels of a diagonal-plus-low-rank model --------------------------------------------------


def _dplr(channels: int, length: int, goals: bool) -> Iterator[Case]:
    order = 64
    model = rv.spectral.dplr(rv.hippo.system("legs", order), half=True)
    C = _complex(np.random.default_rng(0), channels, order // 2)
    step = _steps(channels)
    size = f"H = {channels}, N = {order} in conjugate pairs, L = {length}, float64, two threads"
    count = channels * (order // 2) * (length // 2 + 1)

    def ours(readout: str) -> Callable[[], Any]:
        return lambda: rv.ssm.kernel(
            model,
            length,
            step=step,
            C=C,
            readout=readout,  # type: ignore[arg-type]
            route="dplr",
        )

    def theirs(sums: Callable[..., Any], plain: bool = False) -> Callable[[], Any]:
        return lambda: dplr_torch(model, C, step, length, sums, plain=plain)

    # Both are good to eps times the number of pairs relative to the largest response: as P = Q and
    # Re λ < 0, |1 + Q*RP| ≥ 1 on the circle. 1e-11 leaves a factor of 1000.
    yield Case(
        'DPLR kernel, readout "truncated"',
        size=size,
        runs=[
            Run("resolvent", ours("truncated"), threads=2),
            *_torch_run(
                "real arithmetic, all channels at once",
                theirs(sums_real),
                at_least=12 if goals else None,
            ),
            *_torch_run("complex broadcasting, all channels at once", theirs(sums_complex)),
            *_torch_run("real arithmetic, a channel at a time", theirs(sums_by_channel)),
        ],
        count=count,
        unit="eigenvalues × frequencies",
        tolerance=1e-11,
        memory=_MEMORY,
    )
    yield Case(
        'DPLR kernel, readout "plain"',
        size=size,
        runs=[
            Run("resolvent", ours("plain"), threads=2),
            *_torch_run("matrix_power, then as above", theirs(sums_real, plain=True)),
        ],
        count=count,
        unit="eigenvalues × frequencies",
        tolerance=1e-10,
        memory=_MEMORY,
    )


def dplr_torch(
    model: rv.spectral.DPLR,
    C: Any,
    step: Any,
    length: int,
    sums: Callable[..., Any],
    *,
    plain: bool,
) -> Any:
    """Inverse DFT of 2/(1+z) · C̃(σI − Λ + PQ*)⁻¹B by Woodbury, for the bilinear rule.

    On the circle z = exp(−iθ), σ = (2/ε)(1−z)/(1+z) = iω with ω = (2/ε) tan(θ/2), and
    2/(1+z) = 1 + i tan(θ/2). The tangent at θ = π is 1.6e16 in double, near enough to the limit.
    """
    eigenvalues, P, Q, B = (
        torch.from_numpy(np.array(field))
        for field in (model.eigenvalues, model.P[:, 0], model.Q[:, 0], model.B)
    )
    C, step = torch.from_numpy(C), torch.from_numpy(step)
    if plain:
        C = _truncated_torch(eigenvalues, P, Q, C, step, length)
    angle = torch.arange(length // 2 + 1, dtype=torch.float64) * (torch.pi / length)
    tangent = torch.tan(angle)
    rows = [C * B, C * P, (Q.conj() * B).expand_as(C), (Q.conj() * P).expand_as(C)]
    four = sums(torch.stack(rows, 1), eigenvalues, 2 * tangent / step[:, None])
    cb, cp, qb, qp = four.unbind(1)
    response = torch.complex(torch.ones_like(tangent), tangent) * (cb - cp * qb / (1 + qp))
    return torch.fft.irfft(response, n=length).numpy()


def _truncated_torch(eigenvalues: Any, P: Any, Q: Any, C: Any, step: Any, length: int) -> Any:
    """C(I − Āᴸ), one of each conjugate pair, with Ā as a full matrix for each channel."""
    full = [torch.cat([part, part.conj()], -1) for part in (eigenvalues, P, Q, C)]
    A = torch.diag(full[0]) - full[1][:, None] * full[2].conj()
    half_step = 0.5 * step[:, None, None] * A
    identity = torch.eye(A.shape[0], dtype=A.dtype)
    A_bar = torch.linalg.solve(identity - half_step, identity + half_step)
    image = full[3][:, None, :] @ torch.linalg.matrix_power(A_bar, length)
    return C - image[:, 0, : C.shape[-1]]


def _pair_coefficients(weights: Any, eigenvalues: Any) -> Any:
    """c/(σ−λ) + its conjugate's term = (c₁σ + c₀)/(σ² − 2Re(λ)σ + |λ|²): (H, 4, M) → (H, 8, M)."""
    return torch.cat([2 * weights.real, -2 * (weights * eigenvalues.conj()).real], 1)


def sums_complex(weights: Any, eigenvalues: Any, omega: Any) -> Any:
    """The four sums over conjugate pairs at σ = iω, (H, 4, K); one complex reciprocal a pair."""
    c1, c0 = _pair_coefficients(weights, eigenvalues).to(weights.dtype).chunk(2, 1)
    sigma = 1j * omega[:, None, :]
    square = (eigenvalues.abs() ** 2)[:, None]
    reciprocal = 1 / (sigma * (sigma - 2 * eigenvalues.real[:, None]) + square)
    return sigma * torch.bmm(c1, reciprocal) + torch.bmm(c0, reciprocal)


def sums_real(weights: Any, eigenvalues: Any, omega: Any) -> Any:
    """The same with real and imaginary parts apart, in place where that is possible."""
    coefficients = _pair_coefficients(weights, eigenvalues)
    omega = omega[:, None, :]
    real = (eigenvalues.abs() ** 2)[:, None] - omega * omega
    imag = (-2 * eigenvalues.real)[:, None] * omega
    scale = torch.addcmul(real * real, imag, imag).reciprocal_()
    r1, r0 = torch.bmm(coefficients, real.mul_(scale)).chunk(2, 1)
    i1, i0 = torch.bmm(coefficients, imag.mul_(scale)).chunk(2, 1)
    return torch.complex(r0 + omega * i1, omega * r1 - i0)


def sums_by_channel(weights: Any, eigenvalues: Any, omega: Any) -> Any:
    """The same, so that what is between stays in the cache."""
    channels = range(len(weights))
    parts = [sums_real(weights[h : h + 1], eigenvalues, omega[h : h + 1]) for h in channels]
    return torch.cat(parts)


# ---- Vandermonde sums ---------------------------------------------------------------------------


def _vandermonde(channels: int, length: int, goals: bool) -> Iterator[Case]:
    pairs = 32
    frequency = np.pi * np.arange(pairs)
    for H in (1, channels):
        log = (-0.5 + 1j * frequency) * _steps(H)[:, None]
        v, eigenvalues = _complex(np.random.default_rng(1), H, pairs), np.exp(log)
        # The phase of λᵏ is good to k·eps, 4e-12 at the end, where |λᵏ| has decayed.
        yield Case(
            "Vandermonde sums over conjugate pairs",
            size=f"H = {H}, {pairs} pairs, L = {length}, float64, two threads",
            runs=[
                Run(
                    "resolvent",
                    lambda v=v, e=eigenvalues: rv.ssm.vandermonde(v, e, length, conjugate=True),
                    threads=2,
                ),
                *_torch_run(
                    "exp of an outer product",
                    lambda v=v, e=eigenvalues: vandermonde_torch(v, e, length),
                    at_least=20 if goals else None,
                ),
                *_torch_run(
                    "exp, cos and sin, a channel at a time",
                    lambda v=v, e=eigenvalues: vandermonde_torch_real(v, e, length),
                ),
            ],
            count=H * pairs * length,
            unit="terms",
            tolerance=1e-11,
            memory=_MEMORY,
        )


def vandermonde_torch(v: Any, eigenvalues: Any, length: int) -> Any:
    """2 Re Σ_n v_n λ_n^k by exp(k ln λ) for all n and k."""
    v, log = torch.from_numpy(v), torch.from_numpy(eigenvalues).log()
    powers = torch.exp(log[..., None] * torch.arange(length, dtype=torch.float64))
    return 2 * torch.einsum("hn,hnk->hk", v, powers).real.numpy()


def vandermonde_torch_real(v: Any, eigenvalues: Any, length: int) -> Any:
    """The same in real arithmetic, a channel after the other."""
    v, log = 2 * torch.from_numpy(v), torch.from_numpy(eigenvalues).log()
    k = torch.arange(length, dtype=torch.float64)
    out = torch.empty((len(v), length), dtype=torch.float64)
    for h in range(len(v)):
        modulus, angle = torch.exp(log[h].real[:, None] * k), log[h].imag[:, None] * k
        out[h] = v[h].real @ (modulus * torch.cos(angle)) - v[h].imag @ (modulus * torch.sin(angle))
    return out.numpy()


# ---- convolution --------------------------------------------------------------------------------


def _convolve(channels: int, length: int, goals: bool) -> Iterator[Case]:
    rng = np.random.default_rng(2)
    double = rng.standard_normal((2, channels, length))
    double[1] *= np.exp(-np.arange(length) / 1000)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        u, kernel = double.astype(dtype)
        goal = 1.5 if goals and dtype == "float64" else None
        # A transform is good to eps·log₂(2L) relative to the norm: 3e-15 and 2e-6.
        yield Case(
            f"Causal convolution, {dtype}",
            size=f"H = {channels}, L = {length}, two threads",
            runs=[
                Run("resolvent", lambda u=u, k=kernel: rv.ssm.convolve(u, k), threads=2),
                Run(
                    "SciPy fftconvolve, two workers",
                    lambda u=u, k=kernel: fftconvolve_scipy(u, k),
                    threads=2,
                    at_least=goal,
                ),
                Run(
                    "SciPy rfft, two workers, 8 channels at a time",
                    lambda u=u, k=kernel: convolve_scipy(u, k, rows=8),
                    threads=2,
                ),
                *_torch_run("rfft", lambda u=u, k=kernel: convolve_torch(u, k)),
            ],
            count=channels * length,
            unit="samples",
            bytes=3 * u.nbytes,
            dtype=dtype,
            tolerance=tolerance,
            memory=_MEMORY,
        )


def fftconvolve_scipy(u: Any, kernel: Any) -> Any:
    """The first L values of the full convolution."""
    with scipy.fft.set_workers(2):
        return scipy.signal.fftconvolve(u, kernel, axes=-1)[..., : u.shape[-1]]


def convolve_scipy(u: Any, kernel: Any, rows: int) -> Any:
    """The same by real transforms of `rows` channels, so that they stay in the cache."""
    length = u.shape[-1]
    size = scipy.fft.next_fast_len(2 * length - 1, real=True)
    out = np.empty_like(u)
    for i in range(0, len(u), rows):
        spectrum = scipy.fft.rfft(u[i : i + rows], n=size, workers=2)
        spectrum *= scipy.fft.rfft(kernel[i : i + rows], n=size, workers=2)
        full = scipy.fft.irfft(spectrum, n=size, workers=2, overwrite_x=True)
        out[i : i + rows] = full[:, :length]
    return out


def convolve_torch(u: Any, kernel: Any) -> Any:
    """The same by torch."""
    length = u.shape[-1]
    spectrum = torch.fft.rfft(torch.from_numpy(u), n=2 * length)
    spectrum *= torch.fft.rfft(torch.from_numpy(kernel), n=2 * length)
    return torch.fft.irfft(spectrum, n=2 * length)[..., :length].numpy()


# ---- frequency response -------------------------------------------------------------------------


def _frequency_response(order: int, points: int, goals: bool) -> Case:
    rng = np.random.default_rng(3)
    A = rng.standard_normal((order, order))
    A *= 0.95 / np.max(np.abs(np.linalg.eigvals(A)))
    B, C = rng.standard_normal((2, order))
    model = rv.ssm.StateSpace(A, B, C)
    z = np.exp(-1j * np.linspace(0, np.pi, points))
    runs = [
        Run("resolvent", lambda: rv.ssm.generating_function(model, z), threads=2),
        Run(
            "NumPy, stacked solves, half of the points a thread",
            lambda: response_numpy(A, B, C, z),
            threads=2,
            at_least=20 if goals else None,
        ),
    ]
    if control is not None:
        # Control reads the state before the update: y_k = C A x_k + C B u_k is our read-out.
        system = control.ss(A, B[:, None], (C @ A)[None], C @ B, True)
        name = "python-control with slycot" if _has_slycot() else "python-control without slycot"
        runs.append(Run(name, lambda: system(1 / z), threads=2))
    # Both are backward stable: eps·N over the distance of the poles from the circle, in norm.
    return Case(
        "Frequency response of a dense system",
        size=f"N = {order}, {points:,} points, float64, two threads",
        runs=runs,
        count=points,
        unit="points",
        tolerance=1e-10,
        memory=_MEMORY,
    )


def response_numpy(A: Any, B: Any, C: Any, z: Any, stack: int = 16) -> Any:
    """C(I − zA)⁻¹B by one LU factorisation for each point.

    BLAS on two threads is slower than two threads with a BLAS on one each.
    """
    identity = np.eye(len(B))

    def solve(part: Any) -> Any:
        matrices = identity - part[:, None, None] * A
        right = np.broadcast_to(B[:, None], (part.size, B.size, 1))
        return np.linalg.solve(matrices, right)[..., 0] @ C

    parts = [z[i : i + stack] for i in range(0, z.size, stack)]
    with threadpoolctl.threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(solve, parts)))


# ---- how the cost grows -------------------------------------------------------------------------

#: The routes whose cost is linear in the order too, and the others with the largest order to run.
_LINEAR_ROUTES = ("dplr", "allpass", "diagonal", "scan")
_OTHER_ROUTES = {"power": 1024, "recurrence": 256}
#: Channels of one model, so that also a short kernel takes longer than to wake a thread.
_CHANNELS = 16


def _orders(orders: tuple[int, ...], length: int, goals: bool) -> Iterator[Case]:
    for route in (*_LINEAR_ROUTES, *_OTHER_ROUTES):
        largest = _OTHER_ROUTES.get(route, max(orders))
        yield _growth(
            f'Cost against N, route "{route}"',
            f"H = {_CHANNELS}, L = {length}, float64, two threads",
            {
                f"N = {order:,}": (_route(route, order, length), order * length)
                for order in orders
                if order <= largest
            },
            linear=goals and route in _LINEAR_ROUTES,
        )


def _lengths(exponents: tuple[int, ...], goals: bool) -> Iterator[Case]:
    order = 64
    for route in (*_LINEAR_ROUTES, *_OTHER_ROUTES):
        yield _growth(
            f'Cost against L, route "{route}"',
            f"H = {_CHANNELS}, N = {order}, float64, two threads",
            {
                f"L = {length:,}": (_route(route, order, length), order * length)
                for length in (1 << exponent for exponent in exponents)
            },
            linear=goals,
        )


def _growth(
    title: str, size: str, tasks: dict[str, tuple[Callable[[], Any], int]], linear: bool
) -> Case:
    """One task at growing sizes: the call and order × length by name."""
    first = next(count for _, count in tasks.values())

    def limit(count: int) -> float | None:
        return _LINEAR * count / first if linear and count > first else None

    return Case(
        title,
        size=size,
        runs=[
            Run(
                name,
                call,
                threads=2,
                comparable=False,
                count=_CHANNELS * count,
                at_most=limit(count),
            )
            for name, (call, count) in tasks.items()
        ],
        unit="channels × order × length",
        versus="the first",
    )


def _route(route: str, order: int, length: int) -> Callable[[], Any]:
    """Kernels of a model of this order by the route; read-out "truncated" where it is cheaper."""
    rng = np.random.default_rng(4)
    if route in ("diagonal", "scan"):
        model: Any = rv.spectral.diagonal(order, "lin", half=True)
        C = _complex(rng, _CHANNELS, order // 2)
    elif route == "dplr":
        model = rv.spectral.dplr(rv.hippo.system("legs", order), half=True)
        C = _complex(rng, _CHANNELS, order // 2)
    else:
        model = rv.hippo.system("legs", order)
        C = rng.standard_normal((_CHANNELS, order))
    return lambda: rv.ssm.kernel(
        model,
        length,
        step=1e-3,
        C=C,
        route=route,  # type: ignore[arg-type]
        readout="truncated" if route in ("dplr", "allpass") else "plain",
    )


# ---- recurrences and scans ----------------------------------------------------------------------


def _recurrences(channels: int, length: int) -> Iterator[Case]:
    order = 64
    rng = np.random.default_rng(5)
    u = rng.standard_normal((channels, length))
    diagonal = rv.spectral.diagonal(order, "lin", half=True)
    legs = rv.hippo.system("legs", order)
    dplr = rv.spectral.dplr(legs, half=True)
    C, half_C = rng.standard_normal(order), _complex(rng, order // 2)
    step = 1e-2
    for name, model, read_out in (
        ("diagonal, 32 pairs", diagonal, half_C),
        ("DPLR, 32 pairs", dplr, half_C),
        ("dense LegS", legs, C),
    ):
        yield Case(
            f"Recurrence, {name}",
            size=f"N = {order}, H = {channels}, L = {length}, float64, two threads",
            runs=[
                Run(
                    "resolvent",
                    lambda m=model, c=read_out: rv.ssm.recur(u, m, C=c, step=step).outputs,
                    threads=2,
                ),
                Run(
                    "NumPy, a step for all channels",
                    lambda m=model, c=read_out: recur_numpy(u, m, c, step),
                    threads=2,
                ),
            ],
            count=channels * length,
            unit="samples",
            tolerance=1e-10,
        )


def recur_numpy(u: Any, model: Any, C: Any, step: float) -> Any:
    """x ← Ā x + B̄ u and y = Re(C x) by the bilinear rule, x of shape (H, M)."""
    if isinstance(model, rv.spectral.Diagonal):
        left = 1 - 0.5 * step * model.eigenvalues
        A_bar = (2 - left) / left
        return _loop(u, step * model.B / left, model.multiplicity * C, lambda x: x * A_bar)
    if isinstance(model, rv.spectral.DPLR):
        # The conjugates come after the kept ones, the last first.
        A, B, C = model.to_dense("normal"), model.expand().B, np.concatenate([C, C[::-1].conj()])
    else:
        A, B = model.A, model.B
    left = np.eye(B.size) - 0.5 * step * A
    A_bar = np.linalg.solve(left, 2 * np.eye(B.size) - left)
    return _loop(u, np.linalg.solve(left, step * B), C, lambda x: x @ A_bar.T)


def _loop(u: Any, B: Any, C: Any, advance: Callable[[Any], Any]) -> Any:
    x = np.zeros((len(u), B.size), dtype=B.dtype)
    y = np.empty_like(u)
    for k in range(u.shape[-1]):
        x = advance(x)
        x += u[:, k, None] * B
        y[:, k] = (x @ C).real
    return y


def _scans(channels: int, length: int) -> Iterator[Case]:
    rng = np.random.default_rng(6)
    b = rng.standard_normal((channels, length))
    decay = rng.uniform(0.9, 0.999, (channels, 1))
    yield Case(
        "Scan, a constant factor",
        size=f"H = {channels}, L = {length}, float64, two threads",
        runs=[
            Run("resolvent", lambda: rv.ssm.scan(decay, b), threads=2),
            Run("SciPy lfilter, a call for each channel", lambda: scan_lfilter(decay, b)),
        ],
        count=b.size,
        unit="steps",
        bytes=2 * b.nbytes,
        tolerance=1e-12,
        memory=_MEMORY,
    )
    for dtype in ("float64", "complex128"):
        turn = 1 if dtype == "float64" else np.exp(1j * rng.uniform(0, np.pi, b.shape))
        a, drive = rng.uniform(0.9, 0.999, b.shape) * turn, b.astype(dtype)
        yield Case(
            f"Scan, a factor for each step, {dtype}",
            size=f"H = {channels}, L = {length}, two threads",
            runs=[
                Run("resolvent", lambda a=a, d=drive: rv.ssm.scan(a, d), threads=2),
                Run("NumPy, a step for all channels", lambda a=a, d=drive: scan_numpy(a, d)),
                *_torch_run("doubling", lambda a=a, d=drive: scan_torch(a, d)),
            ],
            count=b.size,
            unit="steps",
            bytes=3 * drive.nbytes,
            tolerance=1e-12,
            memory=_MEMORY,
        )


def scan_lfilter(a: Any, b: Any) -> Any:
    """x_k = a x_{k−1} + b_k with one a for each channel."""
    rows = [scipy.signal.lfilter([1.0], [1.0, -a[h, 0]], b[h]) for h in range(len(b))]
    return np.array(rows)


def scan_numpy(a: Any, b: Any) -> Any:
    """x_k = a_k x_{k−1} + b_k, with the steps as rows."""
    factors, x = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    for k in range(1, len(x)):
        x[k] += factors[k] * x[k - 1]
    return x.T


def scan_torch(a: Any, b: Any) -> Any:
    """The same by log₂ L passes (Hillis and Steele), as parallel scans without a kernel are run."""
    a, x = torch.from_numpy(a).clone(), torch.from_numpy(b).clone()
    shift = 1
    while shift < x.shape[-1]:
        x[:, shift:] += a[:, shift:] * x[:, :-shift].clone()
        a[:, shift:] = a[:, shift:] * a[:, :-shift]
        shift *= 2
    return x.numpy()
