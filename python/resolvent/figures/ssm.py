"""The figures of state-space kernels, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from resolvent import IllConditionedWarning, hippo, spectral, ssm
from resolvent._arrays import Array
from resolvent.figures._registry import figure, new_figure
from resolvent.figures.hippo import ecg
from resolvent.hippo import System
from resolvent.plot.ssm import ROUTE_COLORS, ROUTE_STYLES
from resolvent.plot.style import measure_color, muted

__all__ = [
    "OPERATIONS",
    "Circle",
    "Filtered",
    "FirstKernels",
    "RouteErrors",
    "circle",
    "circle_values",
    "cost",
    "ecg_filter",
    "filtered_ecg",
    "first_kernels",
    "frequencies",
    "kernels",
    "operations",
    "route_errors",
    "routes",
]

_EPS = float(np.finfo(np.float64).eps)


# ---- one kernel by seven routes -----------------------------------------------------------------


@dataclass(frozen=True)
class RouteErrors:
    """One kernel by every route; from :func:`route_errors`.

    Attributes
    ----------
    exact : ndarray, shape (L,)
        By the recurrence in extended precision.
    errors : dict of ndarray
        Per route: distances from it, relative to its largest sample.
    conditions : dict of float or None
        The condition number that a route announces.
    """

    exact: Array
    errors: dict[str, Array]
    conditions: dict[str, float | None]


def route_errors(
    *, order: int = 16, step: float = 0.1, length: int = 64, seed: int = 0
) -> RouteErrors:
    """LegS with a random read-out, under the bilinear rule, by every route that it has."""
    system = hippo.system("legs", order)
    C = np.random.default_rng(seed).standard_normal(order)
    exact = _extended_kernel(system, C, step, length)
    size = np.abs(exact).max()
    errors, conditions = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllConditionedWarning)  # what the figure is about
        for name in ssm.routes(system):
            found = ssm.kernel(system, length, step=step, C=C, route=name)  # type: ignore[arg-type]
            errors[name] = (np.abs(np.asarray(found) - exact) / size).astype(np.float64)
            conditions[name] = None if found.info is None else found.info.condition
    return RouteErrors(exact.astype(np.float64), errors, conditions)


def _extended_kernel(system: System, C: Array, step: float, length: int) -> Array:
    """C Āᵏ B̄ of a lower triangular A in ``longdouble``: Ā, B̄ by substitution, then steps."""
    half = np.longdouble(step) / 2 * system.A.astype(np.longdouble)
    one = np.eye(system.order, dtype=np.longdouble)
    left = one - half
    solved = np.column_stack([one + half, np.longdouble(step) * system.B])
    for n in range(system.order):
        solved[n] = (solved[n] - left[n, :n] @ solved[:n]) / left[n, n]
    state = solved[:, -1].copy()
    samples = np.empty(length, np.longdouble)
    for k in range(length):
        samples[k] = C @ state
        state = solved[:, :-1] @ state
    return samples


#: The routes by what they go through, and where along the kernel to say so.
_GROUPS = (
    ("through eigenvectors of A", ("diagonal", "scan"), 0.06),
    ("through coefficients of polynomials", ("rational",), 0.35),
    ("through neither", ("power", "recurrence", "dplr", "allpass"), 0.7),
)


@figure(
    "ssm-routes",
    "One kernel by seven routes",
    "LegS with 16 states and a random read-out. Below: how far each route is from the kernel in "
    "extended precision. Going through the eigenvectors of A costs nine digits, through the "
    "coefficients of polynomials six; four routes use neither and keep them all.",
)
def routes(*, order: int = 16, step: float = 0.1, length: int = 64) -> Figure:
    """The kernel, and the errors of all routes."""
    found = route_errors(order=order, step=step, length=length)
    made = new_figure(8.4, 5.6)
    top, bottom = made.subplots(2, 1, sharex=True, height_ratios=(1.0, 2.1))
    top.plot(found.exact, "o-", color=muted(0.9), linewidth=1.4, markersize=3)
    top.axhline(0.0, color=muted(0.3), linewidth=0.8, zorder=0)
    top.set_ylabel("kernel")
    top.set_title(f"LegS, N = {order}")
    top.set_xlim(0, length - 1)
    for group, names, share in _GROUPS:
        for name in names:
            bottom.semilogy(
                np.maximum(found.errors[name], 1e-19),
                color=ROUTE_COLORS[name],
                linestyle=ROUTE_STYLES.get(name, "-"),
                linewidth=1.6,
                label=name,
            )
        first = int(share * length)
        place = 3.0 * max(found.errors[name][first:].max() for name in names)
        bottom.text(first, place, group, va="bottom", fontsize=10, fontweight="bold")
    bottom.axhline(_EPS, color=muted(0.5), linewidth=0.8, linestyle="--", zorder=0)
    bottom.set_ylim(1e-18, 1e-3)
    bottom.set_ylabel("error / largest sample")
    bottom.set_xlabel("k")
    made.legend(
        *bottom.get_legend_handles_labels(), loc="outside lower center", ncols=7, frameon=False,
        columnspacing=1.3, handlelength=1.9,
    )  # fmt: skip
    return made


# ---- kernels of the initialisations -------------------------------------------------------------


@dataclass(frozen=True)
class FirstKernels:
    """The first components of one model's kernel, per unit of time; from :func:`first_kernels`."""

    times: Array
    components: Array


#: Name, title, colour.
_MODELS = (
    ("legs", "LegS", measure_color("legs")),
    ("legt", "LegT, window 1", measure_color("legt")),
    ("s4d-lin", "S4D-Lin", "C2"),
    ("s4d-inv", "S4D-Inv", "C3"),
    ("s4d-legs", "S4D-LegS", "C5"),
)


def first_kernels(
    name: str, *, order: int = 8, count: int = 4, step: float = 0.005, until: float = 2.0
) -> FirstKernels:
    """Components 0 … count − 1 of e^{tA}B; of S4D's, 2 Re e^{λt} from the slowest mode on."""
    length = round(until / step)
    times = step * (np.arange(length) + 0.5)
    rows = np.eye(count, order)
    if name.startswith("s4d-"):
        model = spectral.diagonal(order, name[4:], half=True)  # type: ignore[arg-type]
        slowest = np.argsort(np.abs(model.eigenvalues.imag))[:count]
        rows = np.eye(order // 2)[slowest]
        found = ssm.kernel(
            spectral.Diagonal(model.eigenvalues, np.ones(order // 2)),
            length, step=step, rule="zoh", C=2.0 * rows,
        ).real  # fmt: skip
    else:
        system = hippo.system(name, order)  # type: ignore[arg-type]
        found = ssm.kernel(system, length, step=step, rule="zoh", C=rows)
    return FirstKernels(times, np.asarray(found) / step)


def frequencies(order: int = 8) -> dict[str, Array]:
    """Im λ ≥ 0 of the S4D models, ascending."""
    return {
        kind: np.sort(spectral.diagonal(order, kind, half=True).eigenvalues.imag)
        for kind in ("lin", "inv", "legs")
    }


@figure(
    "ssm-kernels",
    "What a state-space layer starts from",
    "The first four components of the kernel, order 8. LegS and LegT are polynomials, under a "
    "decay and in a window. The S4D models are damped cosines and differ in their frequencies "
    "alone (last): evenly spaced for Lin; close together below and far apart above for Inv and "
    "LegS.",
)
def kernels(*, order: int = 8) -> Figure:
    """Small multiples of five models, and the frequencies of three of them."""
    made = new_figure(9.4, 5.4)
    panels = made.subplots(2, 3)
    for ax, (name, title, color) in zip(panels.flat, _MODELS, strict=False):
        found = first_kernels(name, order=order)
        for row, alpha in zip(found.components, (1.0, 0.75, 0.5, 0.35), strict=False):
            ax.plot(found.times, row, color=color, alpha=alpha, linewidth=1.7)
        ax.axhline(0.0, color=muted(0.3), linewidth=0.8, zorder=0)
        ax.set_title(title)
        ax.set_xlim(0.0, 2.0)
        ax.set_xlabel("time t")
    last = panels.flat[-1]
    shown = frequencies(order)
    colors = {name: color for name, _, color in _MODELS}
    for row, (kind, values) in enumerate(shown.items()):
        color = colors[f"s4d-{kind}"]
        last.hlines(row, 0.0, values.max(), color=color, linewidth=1.2, alpha=0.6)
        last.plot(values, np.full(values.size, row), "o", color=color, clip_on=False)
    last.set_yticks(range(len(shown)), ["Lin", "Inv", "LegS"])
    last.set_ylim(len(shown) - 0.5, -0.5)
    last.set_xlim(left=0.0)
    last.grid(False, axis="y")
    last.set_xlabel("Im λ")
    last.set_title("Frequencies of S4D")
    return made


# ---- cost ---------------------------------------------------------------------------------------


def _transform(length: float) -> float:
    """Operations of a real transform of this length."""
    return 2.5 * length * math.log2(length)


def _dense_steps(n: float, length: float) -> float:
    return (2.0 * n * n + 4.0 * n) * length


def _modal_steps(n: float, length: float) -> float:
    return 38.0 * (n / 2.0) * length  # Q*x, λx + Bu, P(Q*x) and Cx over N/2 pairs


def _squarings(n: float, length: float) -> float:
    block = math.sqrt(length)
    return 2.0 * n**3 * math.log2(block) + 4.0 * n * n * block + 2.0 * n * length


def _cauchy_sums(n: float, length: float) -> float:
    # N/2 pairs, L/2 points: one reciprocal (14) and four sums of two real coefficients (32).
    return 52.0 * (n / 2.0) * (length / 2.0) + _transform(length)


def _all_pass(n: float, length: float) -> float:
    return 26.0 * n * (length / 2.0) + _transform(length)


def _vandermonde(n: float, length: float) -> float:
    return 4.0 * (n / 2.0) * length + 18.0 * (n / 2.0) * math.sqrt(length)


def _quotient(n: float, length: float) -> float:
    # b + ia as L/d transforms of length d, the quotient over half the circle, and back.
    return 5.0 * length * math.log2(n) + 18.5 * length + _transform(length)


#: Floating-point operations of a kernel of length L with N states, real, per channel; the table of
#: docs/theory/ssm.md. The routes over the circle read C̃.
OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "recurrence": _dense_steps,
    "recurrence, normal form": _modal_steps,
    "power": _squarings,
    "dplr": _cauchy_sums,
    "allpass": _all_pass,
    "diagonal": _vandermonde,
    "rational": _quotient,
}


def operations(sizes: Array, lengths: Array) -> dict[str, Array]:
    """Counts of every route at pairs of N and L, which broadcast."""
    pairs = np.broadcast_arrays(np.asarray(sizes, float), np.asarray(lengths, float))
    return {
        name: np.array([count(n, length) for n, length in zip(*pairs, strict=True)])
        for name, count in OPERATIONS.items()
    }


@figure(
    "ssm-cost",
    "What a kernel costs",
    "Floating-point operations per channel, counted from the formulas, not timed. The rational "
    "form (thick) hardly knows N. Sums over modes grow like N L, steps with a dense matrix like N²"
    " L; squaring that matrix beats Cauchy sums up to about 100 states.",
)
def cost(*, order: int = 64, length: int = 16384) -> Figure:
    """Operations against N and against L."""
    made = new_figure(9.2, 4.6)
    left, right = made.subplots(1, 2, sharey=True)
    sizes = 2.0 ** np.arange(2.0, 10.5, 0.5)
    lengths = 2.0 ** np.arange(8.0, 20.5, 0.5)
    for ax, x, counts in (
        (left, sizes, operations(sizes, np.array(float(length)))),
        (right, lengths, operations(np.array(float(order)), lengths)),
    ):
        for name, values in counts.items():
            route = name.split(",")[0]
            modal = name != route
            ax.loglog(
                x, values, label=name, color=ROUTE_COLORS[route],
                linestyle="--" if modal else ROUTE_STYLES.get(route, "-"),
                linewidth=3.0 if route == "rational" else 1.6,
            )  # fmt: skip
        ax.grid(True, which="major")
    left.set_xlabel("states N")
    left.set_ylabel("operations per channel")
    left.set_title(f"L = {length}")
    left.set_xticks([4, 16, 64, 256, 1024], ["4", "16", "64", "256", "1024"])
    right.set_xlabel("length L")
    right.set_title(f"N = {order}")
    right.set_xticks([2.0**k for k in (8, 12, 16, 20)], ["256", "4096", "65536", "1048576"])
    for ax in (left, right):
        ax.minorticks_off()
        ax.set_ylim(1e4, 3e11)
    made.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    return made


# ---- an electrocardiogram, two ways -------------------------------------------------------------


@dataclass(frozen=True)
class Filtered:
    """A recording run through one model; from :func:`filtered_ecg`.

    Attributes
    ----------
    signal, outputs : ndarray
        The recording, and the outputs of the recurrence.
    differences : dict of ndarray
        By kind of convolution: its output minus that of the recurrence, over the largest output.
    delay : int
        Samples by which the model is late.
    """

    signal: Array
    outputs: Array
    differences: dict[str, Array]
    delay: int


def filtered_ecg(*, order: int = 16, window: int = 64) -> Filtered:
    """LegT's memory of a window, asked for the value half a window ago: a smooth delay."""
    signal = ecg()
    system = hippo.system("legt", order, window=float(window))
    C = system.basis(np.array([0.5]))[:, 0]
    outputs = ssm.recur(signal, system, step=1.0, C=C).outputs
    kernel = np.asarray(ssm.kernel(system, len(signal), step=1.0, C=C))
    narrow = ssm.convolve(signal.astype(np.float32), kernel.astype(np.float32), method="fft")
    convolved = {
        "sums": ssm.convolve(signal, kernel, method="direct"),
        "transforms": ssm.convolve(signal, kernel, method="fft"),
        "transforms in float32": narrow.astype(np.float64),
    }
    size = np.abs(outputs).max()
    return Filtered(
        signal,
        outputs,
        {kind: (values - outputs) / size for kind, values in convolved.items()},
        window // 2,
    )


@figure(
    "ssm-ecg",
    "A recurrence and a convolution are the same filter",
    "An electrocardiogram through LegT, 16 states on a window of 64 samples, read out half a "
    "window ago: smooth, and 32 samples late. Step by step or convolved with the kernel, the "
    "output differs by rounding: 15 digits in double, 7 in single precision.",
)
def ecg_filter(*, order: int = 16, window: int = 64) -> Figure:
    """The recording, the output, and the differences of three convolutions from the recurrence."""
    found = filtered_ecg(order=order, window=window)
    made = new_figure(8.6, 5.4)
    top, bottom = made.subplots(2, 1, sharex=True, height_ratios=(1.25, 1.0))
    top.plot(found.signal, color=muted(0.45), linewidth=1.1, label="recording")
    top.plot(found.outputs, color="C0", linewidth=1.8, label="output")
    top.set_ylabel("signal")
    top.set_title("ECG through a state-space model")
    top.legend(frameon=False, loc="upper right", ncols=2)
    top.set_xlim(0, len(found.signal) - 1)
    top.margins(y=0.18)
    looks = {"transforms in float32": "C1", "transforms": "C3", "sums": "C0"}
    for kind, color in looks.items():
        values = np.maximum(np.abs(found.differences[kind]), 1e-19)
        bottom.semilogy(values, ".", color=color, markersize=2.5, label=kind)
    bottom.set_ylim(1e-18, 1e-4)
    bottom.set_ylabel("difference / largest output")
    bottom.set_xlabel("sample")
    bottom.set_title("Recurrence against convolution by …")
    bottom.legend(frameon=False, ncols=3, loc="upper right", markerscale=4.0, handletextpad=0.2)
    return made


# ---- generating functions on the circle ---------------------------------------------------------


@dataclass(frozen=True)
class Circle:
    """A kernel and its generating functions; from :func:`circle_values`.

    Attributes
    ----------
    kernel : ndarray, shape (3L,)
    periodic : ndarray, shape (L,)
        Σ_j K_{k+jL}.
    omega : ndarray
        Frequencies of `whole` and `truncated`.
    whole, truncated : ndarray
        Moduli of G and G_L.
    bins : ndarray
        The L-th roots of unity, as frequencies from 0 to π.
    of_periodic, of_first : ndarray
        Moduli of the DFT of the periodic kernel and of the first L samples, there.
    """

    kernel: Array
    periodic: Array
    omega: Array
    whole: Array
    truncated: Array
    bins: Array
    of_periodic: Array
    of_first: Array


def circle_values(*, order: int = 16, step: float = 0.02, length: int = 48) -> Circle:
    """LegS cut off long before it has faded, reading its fifth component."""
    system = hippo.system("legs", order)
    C = np.eye(1, order, 4)[0]
    options = {"step": step, "C": C}
    omega = np.linspace(0.0, np.pi, 24 * length + 1)
    z = np.exp(-1j * omega)
    kernel = np.asarray(ssm.kernel(system, 3 * length, **options))
    periodic = np.asarray(
        ssm.kernel(system, length, route="allpass", readout="truncated", **options)
    )
    return Circle(
        kernel,
        periodic,
        omega,
        np.abs(ssm.generating_function(system, z, **options)),
        np.abs(ssm.generating_function(system, z, length=length, **options)),
        2.0 * np.pi * np.arange(length // 2 + 1) / length,
        np.abs(np.fft.rfft(periodic)),
        np.abs(np.fft.rfft(kernel[:length])),
    )


@figure(
    "ssm-circle",
    "What a transform of length L sees",
    "Left: a kernel that outlasts L, and its L-periodic sum. Right: on the circle the generating "
    "function G is smooth and the truncated one G_L ripples; at the L-th roots of unity (dots) the"
    " transform of the periodic sum is G, that of the first L samples G_L.",
)
def circle(*, order: int = 16, step: float = 0.02, length: int = 48) -> Figure:
    """The kernel and its periodic sum; both generating functions and their samples."""
    found = circle_values(order=order, step=step, length=length)
    made = new_figure(9.4, 4.0)
    left, right = made.subplots(1, 2)
    left.axvspan(0, length, color=muted(0.08), linewidth=0.0, zorder=0)
    left.plot(found.kernel, color="C0", linewidth=2.0, label="kernel K")
    left.plot(found.periodic, color="C1", linewidth=2.0, label="periodic sum")
    left.axhline(0.0, color=muted(0.3), linewidth=0.8, zorder=0)
    left.set_xlim(0, len(found.kernel) - 1)
    left.set_xticks([0, length, 2 * length, 3 * length], ["0", "L", "2L", "3L"])
    left.set_xlabel("k")
    left.set_title("In time")
    left.legend(frameon=False, loc="upper right")
    shown = found.omega <= 1.3
    at = found.bins <= 1.3
    right.plot(
        found.omega[shown], found.truncated[shown], color="C0", linewidth=1.6, label="$|G_L|$"
    )
    right.plot(found.omega[shown], found.whole[shown], color="C1", linewidth=1.6, label="$|G|$")
    right.plot(found.bins[at], found.of_first[at], "o", color="C0", clip_on=False)
    right.plot(found.bins[at], found.of_periodic[at], "D", color="C1", clip_on=False)
    right.set_xlim(0.0, 1.3)
    right.set_ylim(bottom=0.0)
    right.set_xlabel(r"frequency ω of $z=e^{-i\omega}$")
    right.set_title("On the circle")
    right.legend(frameon=False, loc="upper right")
    return made
