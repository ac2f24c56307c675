"""The figures of HiPPO, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resolvent import StabilityWarning, hippo
from resolvent._arrays import Array
from resolvent.figures._registry import figure, new_figure
from resolvent.hippo import System
from resolvent.plot.hippo import plot_basis, plot_matrix
from resolvent.plot.style import measure_color, measure_label, muted

__all__ = [
    "Decay",
    "Equivariance",
    "Kept",
    "Leak",
    "Orders",
    "WindowErrors",
    "bases",
    "ecg",
    "ecg_kept",
    "ecg_orders",
    "equivariance",
    "fourier_leak",
    "leak",
    "matrices",
    "memory_decay",
    "nino",
    "order_and_window",
    "past_impulse",
    "rule_errors",
    "rule_orders",
    "timescale",
    "window_errors",
]


# ---- recordings ---------------------------------------------------------------------------------


def ecg() -> Array:
    """An electrocardiogram: 1024 samples, mean removed, in the recording's unit."""
    recording = _recordings().ecg().astype(np.float64)
    return np.asarray(recording - recording.mean())


def nino() -> Array:
    """The El Niño 3 index, quarterly from 1950: 264 samples."""
    return np.asarray(_recordings().nino()[1], dtype=np.float64)


def _recordings() -> Any:
    try:
        import pywt.data
    except ImportError as error:
        raise ImportError(
            "this figure shows a recording that comes with PyWavelets: "
            "pip install 'resolvent[figures]'"
        ) from error
    return pywt.data


# ---- (a) matrices, (b) bases --------------------------------------------------------------------

_SHOWN = ("legs", "legt", "lmu", "fous", "lagt", "glagt", "malmquist", "fout")


def _shown(measure: str, order: int) -> System:
    """The system that stands for a measure in the overview figures."""
    if measure == "malmquist":
        return hippo.system("malmquist", order, poles=np.geomspace(0.1, 2.0, order))
    if measure == "glagt":
        return hippo.system("glagt", order, alpha=0.5, beta=0.1)
    return hippo.system(measure, order)  # type: ignore[arg-type]


@figure(
    "hippo-matrices",
    "The matrices of every measure",
    "A and, beside it, B. LegS, LagT, GLagT and Malmquist are triangular: a coefficient depends on "
    "lower ones only. The windows LegT and LMU are full, FouT is blocks minus rank one.",
)
def matrices(*, order: int = 17) -> Figure:
    """A and B of eight measures."""
    made = new_figure(8.6, 4.9)
    grid = made.subplots(2, len(_SHOWN) // 2)
    for ax, measure in zip(grid.flat, _SHOWN, strict=True):
        plot_matrix(_shown(measure, order), ax)
    made.get_layout_engine().set(wspace=0.06, hspace=0.04)  # type: ignore[union-attr, call-arg]
    bar = made.colorbar(grid.flat[0].images[0], ax=grid, shrink=0.75, pad=0.02)
    bar.set_ticks([-1.0, -0.5, 0.0, 0.5, 1.0], labels=["−1", "−¼", "0", "¼", "1"])
    bar.set_label("entry / largest entry")
    return made


@figure(
    "hippo-bases",
    "What the coefficients multiply",
    "The first five basis functions of each measure, now at the right edge. Windows end sharply; "
    "LagT, GLagT and Malmquist fade; LegS and FouS stretch over the whole past, however long.",
)
def bases(*, order: int = 5) -> Figure:
    """The basis functions of eight measures on the time axis."""
    made = new_figure(8.6, 4.9)
    grid = made.subplots(2, len(_SHOWN) // 2)
    for ax, measure in zip(grid.flat, _SHOWN, strict=True):
        plot_basis(_shown(measure, order), ax, functions=order)
        ax.axhline(0.0, color=muted(0.4), linewidth=0.7, zorder=0)
        ax.locator_params(axis="x", nbins=2)
        ax.locator_params(axis="y", nbins=4)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=order, frameon=False)
    return made


# ---- (c) a recording, kept in N numbers ---------------------------------------------------------

_KEPT = ("legs", "legt", "lagt", "fout")


def _whole(measure: str, order: int, length: int) -> System:
    """A system that holds a recording of `length` samples.

    The unit of a fading memory is length/(3 order), where N Laguerre functions just reach back to
    the start. FouT takes the next odd order: cosines and sines in pairs, and a constant.
    """
    if measure == "lagt":
        return hippo.system("lagt", order, window=length / (3.0 * order))
    if measure == "fout":
        return hippo.system("fout", order | 1, window=float(length))
    return hippo.system(measure, order, window=float(length))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Kept:
    """RMSE of each measure at each order; from :func:`ecg_orders`."""

    orders: tuple[int, ...]
    rmse: dict[str, Array]
    optimal: dict[str, Array]


def ecg_orders(
    *,
    orders: Sequence[int] = (8, 16, 32, 64, 128, 256),
    measures: Sequence[str] = _KEPT,
    length: int = 1024,
) -> Kept:
    """The error with which memories of many orders hold the first samples of the ECG."""
    signal = ecg()[:length]
    results = {
        measure: [
            hippo.reconstruction_error(signal, _whole(measure, order, length), rule="exact")
            for order in orders
        ]
        for measure in measures
    }
    return Kept(
        orders=tuple(orders),
        rmse={m: np.array([r.rmse for r in row]) for m, row in results.items()},
        optimal={m: np.array([r.optimal_rmse for r in row]) for m, row in results.items()},
    )


@figure(
    "hippo-ecg",
    "A heart's beat in N numbers",
    "Left: 1024 samples of an electrocardiogram (grey) as 128 coefficients hold them at its end. "
    "Right: the error against the order, and dashed the best that the basis could do. LegS reaches "
    "it; LegT's and FouT's own equations stay above theirs; LagT's functions reach too far back. "
    "(FouT has one coefficient more: cosines and sines in pairs, and the mean.)",
)
def ecg_kept(
    *,
    order: int = 128,
    orders: Sequence[int] = (8, 16, 32, 64, 128, 256),
    length: int = 1024,
) -> Figure:
    """The ECG kept by four measures, and error curves."""
    signal = ecg()[:length]
    made = new_figure(9.0, 5.2)
    grid = made.add_gridspec(len(_KEPT), 2, width_ratios=(1.35, 1.0))
    first: Axes | None = None
    for row, measure in enumerate(_KEPT):
        ax = made.add_subplot(grid[row, 0], sharex=first, sharey=first)
        first = first or ax
        result = hippo.reconstruction_error(signal, _whole(measure, order, length), rule="exact")
        ax.plot(result.times, result.signal, color=muted(0.45), linewidth=1.0)
        ax.plot(result.times, result.reconstruction, color=measure_color(measure), linewidth=1.1)
        ax.set_title(measure_label(measure), color=measure_color(measure), fontsize=10, pad=2)
        ax.set_title(f"RMSE {result.rmse:.1f}", loc="right", fontsize=9, fontweight="normal", pad=2)
        ax.set_xlim(0, length)
        ax.set_yticks([0, 200])
        ax.tick_params(labelbottom=row == len(_KEPT) - 1)
    assert first is not None
    made.axes[-1].set_xlabel("sample")
    kept = ecg_orders(orders=orders, length=length)
    right = made.add_subplot(grid[:, 1])
    for measure in _KEPT:
        color = measure_color(measure)
        right.loglog(
            kept.orders, kept.rmse[measure], "o-", color=color, label=measure_label(measure)
        )
        right.loglog(kept.orders, kept.optimal[measure], "--", color=color, linewidth=1.1)
    right.plot([], [], "--", color=muted(0.8), linewidth=1.1, label="best possible")
    right.set_title("Error against order")
    right.set_xticks(kept.orders, [str(n) for n in kept.orders])
    right.minorticks_off()
    right.set_yticks([3, 5, 10, 20, 40], ["3", "5", "10", "20", "40"])
    right.set_xlabel("coefficients N")
    right.set_ylabel("RMSE")
    right.legend(loc="lower left")
    return made


# ---- (d) order and window -----------------------------------------------------------------------


@dataclass(frozen=True)
class WindowErrors:
    """Relative error by order (rows) and window (columns); from :func:`window_errors`."""

    orders: Array
    windows: Array
    error: Array


def window_errors(
    *,
    measure: str = "legt",
    orders: Sequence[int] = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128),
    windows: Sequence[int] = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
    every: int = 8,
) -> WindowErrors:
    """RMS error over RMS signal of sliding windows on the ECG, averaged over where they end."""
    signal = ecg()
    table = np.empty((len(orders), len(windows)))
    ends = np.arange(every, len(signal) + 1, every)
    for j, window in enumerate(windows):
        places = (np.arange(window) + 0.5) / window
        full = ends >= 2 * window if 4 * window <= len(signal) else ends >= window
        truth = np.stack([signal[end - window : end] for end in ends[full]])
        for i, order in enumerate(orders):
            system = hippo.system(measure, order, window=float(window))  # type: ignore[arg-type]
            path = hippo.project(signal, system, rule="zoh", every=every)[full]
            table[i, j] = np.sqrt(np.mean((path @ system.basis(places) - truth) ** 2))
    return WindowErrors(np.array(orders), np.array(windows), table / np.sqrt(np.mean(signal**2)))


@figure(
    "hippo-order-window",
    "Error against order and window",
    "A sliding LegT window over the ECG. Left: the error follows the diagonals, along which order "
    "and window grow together. Right: drawn against samples per coefficient, the orders fall on "
    "nearly one curve: what counts is how many samples each coefficient has to hold.",
)
def order_and_window(
    *,
    orders: Sequence[int] = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128),
    windows: Sequence[int] = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
    curves: Sequence[int] = (8, 16, 32, 64, 128),
) -> Figure:
    """A map of LegT's error, and its collapse on one curve."""
    errors = window_errors(orders=orders, windows=windows)
    made = new_figure(9.0, 4.2)
    left, right = made.subplots(1, 2)
    levels = [0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0]
    colors = mpl.colormaps["cividis"](np.linspace(0.0, 1.0, len(levels) - 1))
    image = left.contourf(
        errors.windows, errors.orders, errors.error, levels=levels, colors=colors, extend="max"
    )
    left.set_xscale("log", base=2)
    left.set_yscale("log", base=2)
    _plain_ticks(left, errors.windows, errors.orders)
    left.grid(False)
    left.set_title("RMS error / RMS signal")
    left.set_xlabel("window in samples")
    left.set_ylabel("order N")
    bar = made.colorbar(image, ax=left, location="right", pad=0.02, spacing="uniform")
    bar.set_ticks(levels, labels=[f"{level:.0%}" for level in levels])
    chosen = [n for n in curves if n in errors.orders]
    for k, order in enumerate(chosen):
        row = errors.error[list(errors.orders).index(order)]
        each = errors.windows / order
        right.loglog(each[each >= 1], row[each >= 1], "o-", color=f"C{k}", label=f"N = {order}")
    right.set_title("One curve for all orders")
    right.set_xlabel("samples per coefficient")
    right.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    right.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1.0], ["2%", "5%", "10%", "20%", "50%", "100%"])
    right.minorticks_off()
    right.legend(loc="lower right")
    return made


def _plain_ticks(ax: Axes, across: Array, up: Array) -> None:
    powers = 2 ** np.arange(20)
    for values, place in ((across, ax.set_xticks), (up, ax.set_yticks)):
        shown = [p for p in powers if values.min() <= p <= values.max()]
        place(shown, [str(p) for p in shown])
    ax.minorticks_off()


# ---- (e) how memory decays ----------------------------------------------------------------------


@dataclass(frozen=True)
class Decay:
    """What is left of an impulse, as a share of its start; from :func:`past_impulse`."""

    age: Array
    scaled: Array
    invariant: Array


def past_impulse(
    *, order: int = 32, oldest: float = 1e5, points: int = 120, width: float = 1e-3
) -> Decay:
    """The norm of the coefficients after a short impulse, against the impulse's age.

    The impulse comes at time 1 and has `width`. On the scaled clock the age counts in units of the
    time at which it came, on LegS's invariant one in units of its window.
    """
    system = hippo.system("legs", order)
    ages = np.geomspace(1e-3, oldest, points)

    def norms(memory: hippo.Memory, start: float, whole: Sequence[float]) -> Array:
        memory.update(whole, times=[start - width, start] if len(whole) == 2 else [start])
        path = [np.linalg.norm(memory.coefficients)]
        for age in ages:
            memory.update([0.0], times=[start + age])
            path.append(np.linalg.norm(memory.coefficients))
        return np.asarray(np.array(path[1:]) / path[0])

    return Decay(
        age=ages,
        scaled=norms(hippo.Memory(system, rule="exact"), 1.0, [0.0, 1.0]),
        invariant=norms(hippo.Memory(system.invariant(), rule="exact"), width, [1.0]),
    )


@figure(
    "hippo-memory-decay",
    "Two ways to forget",
    "How much of an impulse is left in the coefficients. LegS on its own clock forgets by a power "
    "of the age, in the end 1/age, at any scale; the same matrices with a fixed step, as S4 has "
    "them, like e^(−age): after some ten windows the impulse is gone.",
)
def memory_decay(*, orders: Sequence[int] = (8, 32), points: int = 120) -> Figure:
    """LegS's polynomial memory against the exponential one of its invariant form."""
    made = new_figure(8.0, 4.4)
    ax = made.subplots()
    for style, order in zip(("--", "-"), orders, strict=True):
        decay = past_impulse(order=order, points=points)
        ax.loglog(decay.age, decay.scaled, style, color="C0", label=f"LegS, 1/t clock, N = {order}")
        ax.loglog(
            decay.age,
            decay.invariant,
            style,
            color="C1",
            label=f"S4's LegS, fixed step, N = {order}",
        )
    ages = decay.age[decay.age > 1e3]
    ax.loglog(ages, 30.0 / ages, color=muted(0.6), linewidth=1.0)
    ax.annotate("∝ 1/age", (1e4, 3e-3), xytext=(4, 4), textcoords="offset points", fontsize=9)
    ax.annotate("∝ e^(−age)", (12.0, 1e-5), xytext=(10, 0), textcoords="offset points", fontsize=9)
    ax.set_ylim(1e-6, 3.0)
    ax.set_xlim(decay.age[0], decay.age[-1])
    ax.set_xlabel("age / τ    (LegS: the impulse came at time τ; S4: τ is the window)")
    ax.set_ylabel("share that is left")
    ax.legend(loc="lower left")
    return made


# ---- (f) rules and their orders -----------------------------------------------------------------


@dataclass(frozen=True)
class Orders:
    """Relative error of every rule against the exact projection; from :func:`rule_errors`."""

    steps: Array
    errors: dict[str, Array]

    def slope(self, rule: str) -> float:
        """The measured order of convergence: of the line through the last three errors."""
        error = self.errors[rule][-3:]
        return float(np.polyfit(np.log(self.steps[-3:]), np.log(error), 1)[0])


def rule_errors(
    *,
    measure: str = "legs",
    order: int = 8,
    lengths: Sequence[int] = (64, 128, 256, 512, 1024, 2048, 4096, 8192),
) -> Orders:
    """Every rule on sin 7t + ½cos(19t + 1) + t, t in [0, 1], ever more finely sampled."""
    errors: dict[str, list[float]] = {rule: [] for rule in hippo.RULES}
    for length in lengths:
        t = (np.arange(length) + 0.5) / length
        signal = np.sin(7.0 * t) + 0.5 * np.cos(19.0 * t + 1.0) + t
        system = hippo.system(measure, order, window=1.0 / 16.0)  # type: ignore[arg-type]
        best = hippo.optimal(signal, system, step=1.0 / length)
        for rule, row in errors.items():
            with warnings.catch_warnings():
                # Forward amplifies its first steps at any order above some; that is shown here.
                warnings.simplefilter("ignore", StabilityWarning)
                got = hippo.project(
                    signal,
                    system,
                    rule=rule,  # type: ignore[arg-type]
                    step=1.0 / length,
                    alpha=0.75,
                )
            row.append(float(np.linalg.norm(got - best) / np.linalg.norm(best)))
    return Orders(1.0 / np.array(lengths), {rule: np.array(row) for rule, row in errors.items()})


_MARKS = {
    "forward": "v", "backward": "^", "gbt": "s", "zoh": "D", "bilinear": "o",
    "bilinear-split": "P", "exact": "*",
}  # fmt: skip


@figure(
    "hippo-rules",
    "Rules and their orders",
    "The error of every rule against the exact projection as the step shrinks; p is the measured "
    "order. On LegS's 1/t clock the usual bilinear rule is barely of first order (step × its "
    'logarithm); averaging the input weight (bilinear-split) makes it second. "exact" only rounds.',
)
def rule_orders(*, lengths: Sequence[int] = (64, 128, 256, 512, 1024, 2048, 4096, 8192)) -> Figure:
    """Convergence of every rule for LegS and for LagT."""
    made = new_figure(9.2, 5.2)
    panels = made.subplots(1, 2, sharey=True)
    for ax, measure, title in zip(
        panels, ("legs", "lagt"), ("LegS (1/t clock)", "LagT (fixed clock)"), strict=True
    ):
        found = rule_errors(measure=measure, lengths=lengths)
        for k, rule in enumerate(
            ("forward", "backward", "gbt", "zoh", "bilinear", "bilinear-split", "exact")
        ):
            error = found.errors[rule]
            exact = float(error.max()) < 1e-10
            name = "gbt (α = ¾)" if rule == "gbt" else rule
            label = f"{name}: {'rounding' if exact else f'p = {found.slope(rule):.2f}'}"
            ax.loglog(
                found.steps,
                error,
                marker=_MARKS[rule],
                linewidth=1.3,
                color="C0" if k == 6 else f"C{1 + k % 5}" if k < 5 else muted(0.9),
                linestyle="--" if rule in ("gbt", "bilinear-split") else "-",
                label=label,
            )
        ax.set_title(title)
        ax.set_xlabel("step")
        ax.set_ylim(1e-16, 3.0)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    panels[0].set_ylabel("relative error of the coefficients")
    return made


# ---- (g) the leak of the κ = 1 Fourier closure --------------------------------------------------


@dataclass(frozen=True)
class Leak:
    """What FouT makes of a pulse and the silence after it; from :func:`leak`.

    Attributes
    ----------
    times, signal : ndarray
        Several windows of length 1; the pulse is in the first.
    held : dict of ndarray
        By closure: each window as the memory holds it at that window's end.
    share : dict of ndarray
        By closure: the root mean square of each window's `held` over that of the pulse.
    eigenvalues : dict of ndarray
        By closure, of A.
    """

    times: Array
    signal: Array
    held: dict[str, Array]
    share: dict[str, Array]
    eigenvalues: dict[str, Array]


def leak(*, order: int = 65, windows: int = 3, samples: int = 1000) -> Leak:
    """A smooth pulse in one window, then silence, in FouT with either closure."""
    times = (np.arange(windows * samples) + 0.5) / samples
    pulse = np.exp(-(((times - 0.4) / 0.07) ** 2)) - 0.6 * np.exp(-(((times - 0.62) / 0.05) ** 2))
    signal = np.where(times < 1.0, pulse, 0.0)
    held, share, eigenvalues = {}, {}, {}
    size = np.sqrt(np.mean(signal[:samples] ** 2))
    for closure in ("left", "average"):
        system = hippo.system("fout", order, closure=closure)
        path = hippo.project(signal, system, rule="zoh", step=1.0 / samples, every=samples)
        pictures = path @ system.basis(times[:samples])
        held[closure] = pictures.ravel()
        share[closure] = np.sqrt(np.mean(pictures**2, axis=1)) / size
        eigenvalues[closure] = np.linalg.eigvals(system.A)
    return Leak(times, signal, held, share, eigenvalues)


@figure(
    "hippo-fourier-leak",
    "The leak of the κ = 1 Fourier closure",
    "Left: a pulse, then silence; each window as FouT holds it at that window's end, and its size "
    "over the pulse's. κ = 1 takes in two thirds of the pulse and carries a third of that into "
    "each next window; κ = 2 next to nothing. Right: the slow eigenvalues of κ = 1 tend to "
    "−ln 3 / w.",
)
def fourier_leak(*, order: int = 65, samples: int = 1000) -> Figure:
    """What one window leaves in the next, and the eigenvalues behind it."""
    found = leak(order=order, samples=samples)
    names = {"left": "κ = 1 (left)", "average": "κ = 2 (average)"}
    colors = {"left": "C1", "average": "C0"}
    made = new_figure(9.2, 4.2)
    left, right = made.subplots(1, 2, width_ratios=(1.7, 1.0))
    left.plot(found.times, found.signal, color=muted(0.5), linewidth=3.5, label="signal")
    for closure in ("left", "average"):
        left.plot(
            found.times,
            found.held[closure],
            color=colors[closure],
            linewidth=1.5,
            label=names[closure],
        )
    count = len(found.share["left"])
    for k in range(count):
        left.axvline(k, color=muted(0.4), linewidth=0.8)
        left.text(
            k + (0.76 if k == 0 else 0.5),
            0.62,
            "\n".join(
                f"κ = {kappa}: {_percent(found.share[closure][k])}"
                for kappa, closure in ((1, "left"), (2, "average"))
            ),
            ha="center",
            va="center",
            fontsize=9,
        )
    left.set_xlim(0, count)
    left.set_xticks(range(count + 1))
    left.set_xlabel("time / window")
    left.set_title("A pulse, then silence")
    left.legend(loc="lower right")
    for closure, mark in (("left", "o"), ("average", "s")):
        values = found.eigenvalues[closure]
        right.plot(
            values.real,
            values.imag / (2 * np.pi),
            mark,
            color=colors[closure],
            markersize=3.5,
            label=names[closure],
        )
    right.axvline(-np.log(3.0), color=muted(0.8), linewidth=1.0, linestyle="--")
    right.annotate(
        "−ln 3",
        (-np.log(3.0), 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=9,
    )
    right.set_title("Eigenvalues of A", loc="left")
    right.set_xlim(-6.0, 0.3)
    right.set_xlabel("Re λ · w")
    right.set_ylabel("Im λ · w / 2π")
    right.legend(loc="upper left")
    return made


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.05 else f"{share:.1%}"


# ---- (h) timescale equivariance -----------------------------------------------------------------


@dataclass(frozen=True)
class Equivariance:
    """Coefficients of one signal and of the same, stretched; from :func:`timescale`."""

    signals: dict[int, Array]
    scaled: dict[int, Array]
    invariant: dict[int, Array]

    def difference(self, kind: str) -> float:
        """Largest relative difference between the coefficients at any two speeds."""
        sets = list((self.scaled if kind == "scaled" else self.invariant).values())
        return max(float(np.linalg.norm(c - sets[0]) / np.linalg.norm(sets[0])) for c in sets[1:])


def timescale(
    *, order: int = 48, stretches: Sequence[int] = (1, 2, 4), rule: str = "exact"
) -> Equivariance:
    """The El Niño index, stretched in time, in LegS and in its invariant form.

    Each sample is held `stretch` times as long. LegS is told nothing about that. The invariant
    form has the window that suits stretch 1: a quarter of the index's length.
    """
    index = nino()
    system = hippo.system("legs", order, window=len(index) / 4.0)
    signals = {k: np.repeat(index, k) for k in stretches}

    def coefficients(memory: System) -> dict[int, Array]:
        return {k: hippo.project(u, memory, rule=rule) for k, u in signals.items()}  # type: ignore[arg-type]

    return Equivariance(signals, coefficients(system), coefficients(system.invariant()))


@figure(
    "hippo-timescale",
    "LegS has no time scale",
    "The El Niño index at three speeds (left) has the same LegS coefficients, to rounding (top "
    "right: the marks lie on each other). With a fixed time step, as in S4, the coefficients "
    "depend on the speed (bottom right).",
)
def equivariance(*, order: int = 48, shown: int = 24) -> Figure:
    """A signal at several speeds, and its coefficients."""
    found = timescale(order=order)
    made = new_figure(9.2, 4.8)
    grid = made.add_gridspec(2 * len(found.signals), 2, width_ratios=(1.0, 1.25))
    longest = max(len(u) for u in found.signals.values())
    marks = ("o", "s", "D")
    sizes = (8.0, 5.0, 2.5)
    first: Axes | None = None
    for k, (stretch, signal) in enumerate(found.signals.items()):
        ax = made.add_subplot(grid[2 * k : 2 * k + 2, 0], sharex=first, sharey=first)
        first = first or ax
        ax.plot(np.arange(len(signal)) + 0.5, signal, color=f"C{k}", linewidth=1.0)
        speed = "quarterly" if stretch == 1 else f"{stretch}× slower"
        ax.set_title(f"{speed}: {len(signal)} samples", fontsize=10, color=f"C{k}", pad=2)
        ax.set_xlim(0, longest)
        ax.set_ylim(-3.0, 3.4)
        ax.tick_params(labelbottom=k == len(found.signals) - 1)
    made.axes[-1].set_xlabel("sample")
    half = len(found.signals)
    below: Axes | None = None
    for row, (kind, sets, title) in enumerate(
        (
            ("scaled", found.scaled, "LegS, 1/t clock"),
            ("invariant", found.invariant, "S4's LegS, fixed step"),
        )
    ):
        ax = made.add_subplot(grid[row * half : (row + 1) * half, 1], sharex=below)
        below = below or ax
        for k, coefficients in enumerate(sets.values()):
            ax.plot(
                coefficients[:shown], marks[k], color=f"C{k}", markersize=sizes[k], linestyle="none"
            )
        ax.axhline(0.0, color=muted(0.4), linewidth=0.7)
        ax.set_title(title, fontsize=10, pad=3)
        ax.set_title(
            f"differ by {found.difference(kind):.0e}"
            if row == 0
            else f"differ by {found.difference(kind):.0%}",
            loc="right",
            fontsize=9,
            fontweight="normal",
            pad=3,
        )
        ax.set_ylabel("$c_n$")
        ax.tick_params(labelbottom=row == 1)
    made.axes[-1].set_xlabel("coefficient n")
    return made
