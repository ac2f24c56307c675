"""The figures of low-rank adapters, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim. Those that take long are computed
once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from resolvent import lora
from resolvent._arrays import Array, read_only
from resolvent.figures._registry import figure, new_figure
from resolvent.lora import Adapter, BatchNoise, Comparison, Factored, Run, Trajectory
from resolvent.plot.lora import METHOD_COLORS, METHOD_STYLES
from resolvent.plot.probmap import sequential
from resolvent.plot.style import muted

__all__ = [
    "Layer",
    "Peft",
    "Scales",
    "Spectra",
    "adam",
    "adam_cosines",
    "aligned",
    "alignments",
    "batches",
    "digit_noise",
    "effective_scales",
    "gamma_runs",
    "losses",
    "minilm",
    "model_noise",
    "peft",
    "peft_gains",
    "peft_sweep",
    "peft_variant",
    "scales",
    "spectra",
    "spectrum_values",
    "trained",
    "trajectories",
]


# ---- real weights and gradients -----------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A linear layer of a pretrained sentence encoder, y = x W; from :func:`minilm`.

    Attributes
    ----------
    module : str
        Its name in the model.
    weight : ndarray of float32, shape (n, m)
    gradient : ndarray of float32, shape (n, m)
        Of the loss by the weight, mean over batches.
    gradients : ndarray of float32, shape (12, n, m), or None
        Of every batch, where they are stored.
    """

    module: str
    weight: Array
    gradient: Array
    gradients: Array | None

    @property
    def label(self) -> str:
        """For titles; layers counted from 1."""
        parts = self.module.split(".")
        return f"layer {int(parts[2]) + 1}, {parts[-1]}"


@cache
def minilm() -> dict[str, Layer]:
    """Layers of MiniLM by module, with gradients of its own loss on neighbouring sentences.

    The weights are those of all-MiniLM-L6-v2 (Apache-2.0). The gradients were computed for this
    package by tools/minilm_gradients.py: 12 batches of 40 pairs of sentences of the Python language
    reference, each sentence to be matched with the one that follows it. The file's entry
    "provenance" says all of it.
    """
    file = resources.files("resolvent.figures") / "data" / "minilm.npz"
    with file.open("rb") as opened, np.load(opened) as stored:
        names = [key.removesuffix(".weight") for key in stored if key.endswith(".weight")]
        return {name: _layer(name, stored) for name in sorted(names)}


def _layer(module: str, stored: Mapping[str, Array]) -> Layer:
    scaled = _joined(stored[f"{module}.gradient"], "<f2").astype(np.float32)
    found = scaled * np.float32(stored[f"{module}.scale"])
    per_batch = found.ndim == 3
    return Layer(
        module,
        read_only(_joined(stored[f"{module}.weight"], "<f4")),
        read_only(found.mean(axis=0, dtype=np.float64).astype(np.float32) if per_batch else found),
        read_only(found) if per_batch else None,
    )


def _joined(planes: Array, dtype: str) -> Array:
    """Numbers from their bytes, which are stored first bytes first."""
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(dtype)[..., 0]


#: The layer that the figures with a single one show; gradients of every batch are known of it.
_SHOWN = "encoder.layer.3.attention.self.query"

#: The colour of each layer of :func:`minilm`.
_LAYER_COLORS = ("C0", "C1", "C2")


# ---- at the start -------------------------------------------------------------------------------


@cache
def alignments(*, rank: int = 8) -> dict[Literal["sgd", "adam"], dict[str, Comparison]]:
    """Report cards of all methods, by optimizer and module."""
    return {
        optimizer: {
            module: lora.compare(
                lora.METHODS, layer.weight, layer.gradient, rank, optimizer=optimizer
            )
            for module, layer in minilm().items()
        }
        for optimizer in _OPTIMIZERS
    }


_OPTIMIZERS: dict[Literal["sgd", "adam"], str] = {"sgd": "SGD", "adam": "Adam"}


@figure(
    "lora-alignment",
    "Does the first step follow the full gradient?",
    "Cosine of the first step of rank-8 adapters with full fine-tuning's, on gradients of a "
    "pretrained encoder (dots); circles: the most that steps in the adapter's spaces can have; "
    "dashed: the most of any step of rank 16. With SGD LoRA-GA attains it, random starts have "
    "about √(r/n). Adam's full step is sign(G), and none attains the best; the SVD of sign(G) "
    "comes nearest.",
)
def aligned(*, rank: int = 8) -> Figure:
    """Cosines of all methods on three layers, for SGD and Adam."""
    made = new_figure(10.6, 6.4)
    found = alignments(rank=rank)
    panels = made.subplots(len(found), len(minilm()), sharex=True, sharey=True)
    for row, (optimizer, cards) in zip(panels, found.items(), strict=True):
        for ax, (module, table) in zip(row, cards.items(), strict=True):
            _draw_cards(ax, table)
            ax.set_title(f"{minilm()[module].label}, {_OPTIMIZERS[optimizer]}", fontsize=10)
    for ax in panels[-1]:
        ax.set_xlabel("cosine with the full step")
    color = muted(0.9)
    handles = [
        Line2D([], [], color=color, marker="o", linestyle="none", label="cosine"),
        Line2D(
            [], [], color=color, marker="o", markerfacecolor="none", markersize=8,
            linestyle="none", label="within reach of its spaces: √(captured energy)",
        ),
        Line2D(
            [], [], color=color, linestyle="--", linewidth=0.9, label=f"best of rank {2 * rank}"
        ),
    ]  # fmt: skip
    made.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return made


def _draw_cards(ax: Axes, table: Comparison) -> None:
    labels = list(table.cards)
    for place, (label, card) in enumerate(table.cards.items()):
        color = METHOD_COLORS[label]
        reach = math.sqrt(max(card.captured, 0.0))
        ax.plot([card.cosine, reach], [place, place], color=color, linewidth=1.2, alpha=0.6)
        ax.plot(reach, place, "o", color=color, markerfacecolor="none", markersize=8)
        ax.plot(card.cosine, place, "o", color=color, markersize=6)
    ax.axvline(
        math.sqrt(1.0 - card.optimum**2), color=muted(0.6), linewidth=0.9, linestyle="--", zorder=0
    )
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)


# ---- along the training -------------------------------------------------------------------------

#: Methods that differ by their start, and by how they are trained or scaled.
_BY_START = ("lora", "pissa", "lora-ga")
_BY_TRAINING = ("lora+", "rslora", "adalora", "dora")

#: A quarter of a decade from one to the next.
_RATES = tuple(float(rate) for rate in np.round(10.0 ** np.arange(-1.25, 0.3, 0.25), 3))


@cache
def trained(
    *,
    steps: int = 80,
    rates: Sequence[float] = _RATES,
    seeds: Sequence[int] = (0, 1),
    record_every: int = 4,
) -> Trajectory:
    """Eight ways to train a perceptron, pre-trained on upright digits, for digits turned by 20°."""
    return lora.trajectory(
        lora.digits("mlp", "rotation"),
        ("full", *_BY_START, *_BY_TRAINING),
        steps=steps,
        learning_rates=rates,
        seeds=seeds,
        record_every=record_every,
    )


def _look(label: str) -> dict[str, Any]:
    """The line of a method; full fine-tuning's is grey and wide, to compare with."""
    if label == "full":
        return {"color": muted(0.5), "linewidth": 2.6}
    return {"color": METHOD_COLORS[label], "linestyle": METHOD_STYLES.get(label, "-")}


def _draw_loss(ax: Axes, run: Run) -> None:
    """Mean over seeds, shaded from the least to the most."""
    look = _look(run.label)
    ax.plot(run.steps, run.loss.mean(axis=0), label=run.label, **look)
    low, high = run.loss.min(axis=0), run.loss.max(axis=0)
    ax.fill_between(run.steps, low, high, color=look["color"], alpha=0.18, linewidth=0.0)


def _legend_of(made: Figure, *panels: Axes, columns: int) -> None:
    """One legend for several panels, under all, each label once."""
    known: dict[str, Any] = {}
    for ax in panels:
        handles, labels = ax.get_legend_handles_labels()
        known |= dict(zip(labels, handles, strict=True))
    made.legend(
        known.values(), known.keys(), loc="outside lower center", ncols=columns, frameon=False
    )


@figure(
    "lora-losses",
    "Full fine-tuning against seven adapters",
    "A perceptron pre-trained on upright digits learns digits turned by 20°: SGD, rank 4, each "
    "method at its best learning rate. Left: other starts; LoRA-GA ends first of all adapters. "
    "Middle: other ways to train; AdaLoRA starts from factors near 0 and stays behind. Right: "
    "rates; a curve ends where the method diverges. None reaches full fine-tuning.",
)
def losses(**sizes: Any) -> Figure:
    """Losses along the training at the best rate, and the final loss against the rate."""
    found = trained(**sizes)
    made = new_figure(11.0, 4.6)
    left, middle, right = made.subplots(1, 3, sharey=True)
    for ax, labels in ((left, ("full", *_BY_START)), (middle, ("full", *_BY_TRAINING))):
        for label in labels:
            _draw_loss(ax, found.best(label))
        ax.set_xlim(found.steps[0], found.steps[-1])
        ax.set_xlabel("step")
    for i, label in enumerate(found.labels):
        final = found.loss[i, ..., -1].mean(axis=-1)
        right.plot(found.learning_rates, final, marker="o", markersize=3.5, **_look(label))
    right.set_xscale("log")
    right.set_xticks([0.1, 0.3, 1.0], ["0.1", "0.3", "1"])
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlabel("learning rate")
    left.set_yscale("log")
    left.set_yticks([0.05, 0.1, 0.2, 0.5, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"])
    left.yaxis.set_minor_formatter(NullFormatter())
    left.set_ylim(0.04, 3.0)
    left.set_ylabel("training loss")
    left.set_title("Starts")
    middle.set_title("Ways to train")
    right.set_title(f"Loss after {found.steps[-1]} steps")
    _legend_of(made, left, middle, columns=8)
    return made


@figure(
    "lora-trajectory",
    "Alignment along the training",
    "The runs of the loss curves. Left: the cosine between each step of an adapter and the one "
    "that full fine-tuning would take from there. LoRA-GA starts highest and ends among the "
    "others: the gradient has turned. LoRA's B = 0 holds A still at first; ten steps later it has "
    "caught up. PiSSA falls behind: its large factors hardly turn. Right: how far the columns of A "
    "have turned from their start.",
)
def trajectories(**sizes: Any) -> Figure:
    """Cosines of the steps with full fine-tuning's, and the drift of A, along the training."""
    found = trained(**sizes)
    made = new_figure(10.0, 4.7)
    left, right = made.subplots(1, 2)
    for label in (*_BY_START, *_BY_TRAINING):
        run = found.best(label)
        left.plot(run.steps, run.alignment.mean(axis=0), label=label, **_look(label))
        right.plot(run.steps, np.degrees(run.drift_left.mean(axis=0)), **_look(label))
    left.set_ylim(0.0, 1.0)
    left.set_title("Cosine with the full step")
    right.set_ylim(0.0, None)
    right.set_title("Drift of A in degrees")
    for ax in (left, right):
        ax.set_xlim(found.steps[0], found.steps[-1])
        ax.set_xlabel("step")
    _legend_of(made, left, columns=7)
    return made


# ---- scale --------------------------------------------------------------------------------------

#: Starts whose first step is compared in size, by label.
_SCALED: dict[str, dict[str, Any]] = {
    "LoRA-GA, α/r": {"method": "lora-ga"},
    "LoRA-GA, α/√r": {"method": "lora-ga", "scaling": "rslora"},
    "LoRA-GA, scale gd": {"method": "lora-ga", "scale": "gd"},
    "LoRA, α/r": {"method": "lora"},
    "LoRA, α/√r": {"method": "lora", "scaling": "rslora"},
}
_SCALED_LOOKS: dict[str, dict[str, Any]] = {
    "LoRA-GA, α/r": {"color": "C1"},
    "LoRA-GA, α/√r": {"color": "C1", "linestyle": (0, (5.0, 1.5))},
    "LoRA-GA, scale gd": {"color": "C1", "linestyle": (0, (1.0, 1.2))},
    "LoRA, α/r": {"color": "C0"},
    "LoRA, α/√r": {"color": "C0", "linestyle": (0, (5.0, 1.5))},
}


@dataclass(frozen=True)
class Scales:
    """How large the first step is; from :func:`effective_scales`.

    Attributes
    ----------
    ranks : ndarray of int, shape (R,)
    scale : dict of ndarray, shape (R,)
        By label: first-order decrease of the loss relative to full fine-tuning at the same rate.
    captured : ndarray, shape (R,)
        The share of the gradient's energy in its 2r leading directions.
    """

    ranks: Array
    scale: dict[str, Array]
    captured: Array


@cache
def effective_scales(*, ranks: Sequence[int] = (1, 2, 4, 8, 16, 32), alpha: float = 16.0) -> Scales:
    """The first SGD step against the rank, with α fixed, on one layer's gradient."""
    layer = minilm()[_SHOWN]
    tables = [
        lora.compare(_SCALED, layer.weight, layer.gradient, rank, alpha=alpha) for rank in ranks
    ]
    scale = {
        label: read_only(np.array([table[label].effective_scale for table in tables]))
        for label in _SCALED
    }
    captured = np.array([1.0 - table["LoRA-GA, α/r"].optimum ** 2 for table in tables])
    return Scales(read_only(np.array(ranks)), scale, read_only(captured))


_GAMMAS = (1.0, 4.0, 16.0, 64.0, 256.0)


@cache
def gamma_runs(
    *,
    gammas: Sequence[float] = _GAMMAS,
    steps: int = 80,
    rates: Sequence[float] = tuple(0.6 * rate for rate in _RATES),
) -> Trajectory:
    """LoRA-GA with several γ on the digits of :func:`trained`."""
    return lora.trajectory(
        lora.digits("mlp", "rotation"),
        {f"{gamma:g}": {"method": "lora-ga", "gamma": gamma} for gamma in gammas},
        steps=steps,
        learning_rates=rates,
        record_every=4,
    )


@figure(
    "lora-scale",
    "What scale and γ do",
    "Left: what the first SGD step lowers a real loss by, relative to full fine-tuning, with "
    "α = 16. For LoRA α/√r makes it independent of the rank; LoRA-GA's factors are orthonormal and "
    "need scale gd. Middle, right: LoRA-GA on digits. Small γ, large factors: they want small "
    "rates, and at γ = 1 hardly turn. Curves end where they diverge.",
)
def scales(
    *,
    ranks: Sequence[int] = (1, 2, 4, 8, 16, 32),
    gammas: Sequence[float] = _GAMMAS,
    steps: int = 80,
) -> Figure:
    """Size of the first step against the rank; final loss and drift for several γ."""
    made = new_figure(11.0, 4.6)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.1, 1.0, 1.0))
    sizes = effective_scales(ranks=tuple(ranks))
    for label, values in sizes.scale.items():
        left.loglog(
            sizes.ranks, values, marker="o", markersize=3.5, label=label, **_SCALED_LOOKS[label]
        )
    left.set_xticks(sizes.ranks, [str(rank) for rank in sizes.ranks])
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set_xlabel("rank r")
    left.set_title("Size of the first step")
    left.set_ylim(top=2e4)
    left.legend(frameon=False, loc="upper right", ncols=2, columnspacing=1.0)
    runs = gamma_runs(gammas=tuple(gammas), steps=steps)
    shades = [sequential()(0.25 + 0.75 * i / (len(gammas) - 1)) for i in range(len(gammas))]
    for i, (label, shade) in enumerate(zip(runs.labels, shades, strict=True)):
        look = {"color": shade, "label": label}
        middle.loglog(runs.learning_rates, runs.loss[i, :, 0, -1], "o-", markersize=3.5, **look)
        best = runs.best(label)
        right.plot(best.steps, np.degrees(best.drift_left[0]), **look)
    middle.set_xlabel("learning rate")
    middle.set_title(f"Loss after {steps} steps")
    middle.set_xticks([0.03, 0.1, 0.3, 1.0], ["0.03", "0.1", "0.3", "1"])
    middle.set_yticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"])
    for axis in (middle.xaxis, middle.yaxis):
        axis.set_minor_formatter(NullFormatter())
    right.set_xlabel("step")
    right.set_xlim(best.steps[0], best.steps[-1])
    right.set_title("Drift of A in degrees, best rate")
    right.legend(frameon=False, title="γ", loc="center right")
    return made


# ---- PEFT's variant -----------------------------------------------------------------------------


def peft_variant(gradient: Array, rank: int, *, gamma: float = 16.0) -> Adapter:
    """What PEFT's ``lora_ga`` starts from, with its defaults "ArB2r" and "stable" (version 0.21).

    A = U[:, :r] and B = (m^¼/√γ) Σ V[:, r:2r]ᵀ: unlike the paper's, B carries the singular values,
    and the scale is B's alone.
    """
    U, sigma, Vh = lora.low_rank(gradient, 2 * rank)
    c = gradient.shape[1] ** 0.25 / math.sqrt(gamma)
    A, B = U[:, :rank], (c * sigma[rank:, np.newaxis]).astype(gradient.dtype) * Vh[rank:]
    return Adapter(A, B, 1.0, Factored(A, B, -1.0), method="lora_ga in PEFT")


@dataclass(frozen=True)
class Peft:
    """PEFT's variant on gradients times a factor; from :func:`peft_sweep`.

    Attributes
    ----------
    factors : ndarray, shape (F,)
    cosine : dict of ndarray, shape (F,)
        By module: of the variant's first SGD step with the full one.
    paper : dict of float
        By module: the paper's, whatever the factor; no step of rank 2r has more.
    half : dict of float
        By module: that of A's r directions alone.
    """

    factors: Array
    cosine: dict[str, Array]
    paper: dict[str, float]
    half: dict[str, float]


def peft_sweep(
    *, rank: int = 8, factors: Sequence[float] = tuple(10.0 ** np.linspace(-3.0, 3.0, 25))
) -> Peft:
    """The variant's first step on multiples of a gradient.

    A multiple is followed as the gradient itself with B multiplied: one decomposition does.
    """
    cosine, paper, half = {}, {}, {}
    for module, layer in minilm().items():
        G = layer.gradient
        start = peft_variant(G, rank)
        found = lora.low_rank(G, 4 * rank)
        cosine[module] = np.array(
            [
                lora.alignment(G, start.replace(B=np.float32(f) * start.B), spectrum=found).cosine
                for f in factors
            ]
        )
        exact = lora.initialize("lora-ga", gradient=G, rank=rank)
        paper[module] = lora.alignment(G, exact, spectrum=found).cosine
        alone = Adapter(start.A, np.zeros_like(start.B))
        half[module] = lora.alignment(G, alone, spectrum=found).cosine
    return Peft(np.array(factors), cosine, paper, half)


def peft_gains(factor: float, *, rank: int = 8) -> Array:
    """What the variant's first step multiplies the 2r leading singular values by; shape (2r,)."""
    G = np.float32(factor) * minilm()[_SHOWN].gradient
    U, sigma, Vh = lora.low_rank(G, 2 * rank)
    update = peft_variant(G, rank).first_update(G)
    return np.asarray(-np.einsum("ik,ij,kj->k", U, update, Vh) / sigma)


@figure(
    "lora-peft",
    "PEFT's LoRA-GA depends on the gradient's scale",
    "PEFT's lora_ga lets B carry the singular values. Left: the cosine of its first step when the "
    "loss is multiplied by a factor, rank 8 (solid), beside the paper's (dashed), which no factor "
    "changes. As it is (×1) B is next to nothing and half of the 16 directions are left out; "
    "at ×1000 B's half is all there is. Right: what the step makes of each direction.",
)
def peft(*, rank: int = 8) -> Figure:
    """Cosines of PEFT's variant against the gradient's scale, and its gains per direction."""
    found = peft_sweep(rank=rank)
    made = new_figure(10.0, 4.5)
    left, right = made.subplots(1, 2, width_ratios=(1.2, 1.0))
    for (module, values), color in zip(found.cosine.items(), _LAYER_COLORS, strict=True):
        left.semilogx(found.factors, values, color=color, label=minilm()[module].label)
        left.axhline(found.paper[module], color=color, linewidth=0.9, linestyle="--")
    left.axvline(1.0, color=muted(0.4), linewidth=0.8, zorder=0)
    left.set_xlim(found.factors[0], found.factors[-1])
    left.set_ylim(0.0, 1.03)
    left.set_xlabel("factor of the gradient")
    left.set_title("Cosine with the full step")
    left.legend(frameon=False, loc="lower left")
    place = np.arange(1, 2 * rank + 1)
    for factor, marker, color in ((1.0, "o", "C3"), (30.0, "s", "C4"), (1000.0, "^", "C5")):
        right.semilogy(
            place, peft_gains(factor, rank=rank), marker, color=color, label=f"×{factor:g}"
        )
    right.axhline(1.0, color=muted(0.6), linewidth=0.9, linestyle="--", label="paper: all alike")
    right.axvline(rank + 0.5, color=muted(0.4), linewidth=0.8, zorder=0)
    right.set_xlabel("singular direction: A's, then B's")
    right.set_title(f"Gain, {minilm()[_SHOWN].label}")
    right.legend(frameon=False, loc="lower left")
    return made


# ---- Adam ---------------------------------------------------------------------------------------

_ADAM_LABELS = {
    "sign-svd": "SVD of sign(G)",
    "sgd-solution": "SGD's solution",
    "minimise": "minimised",
}
_ADAM_LOOKS: dict[str, dict[str, Any]] = {
    "sign-svd": {"color": "C1"},
    "sgd-solution": {"color": "C0", "linestyle": (0, (5.0, 1.5))},
    "minimise": {"color": "C2"},
}


@cache
def adam_cosines(*, ranks: Sequence[int] = (1, 4, 16)) -> dict[str, dict[str, Array]]:
    """Cosine of Adam's first step with −sign(G), by module and option; shape (len(ranks),).

    "best" is what a step of rank 2r can have at most, "lora" what LoRA's start has.
    """
    return {module: _adam_cosines(layer.gradient, ranks) for module, layer in minilm().items()}


def _adam_cosines(G: Array, ranks: Sequence[int]) -> dict[str, Array]:
    recipes = {o: {"method": "lora-ga-adam", "adam": o} for o in lora.ADAM_OPTIONS}
    tables = [
        lora.compare({**recipes, "lora": {"method": "lora"}}, gradient=G, rank=r, optimizer="adam")
        for r in ranks
    ]
    found = {
        label: read_only(np.array([table[label].cosine for table in tables]))
        for label in tables[0].cards
    }
    best = np.array([math.sqrt(1.0 - table["lora"].optimum ** 2) for table in tables])
    return {**found, "best": read_only(best)}


@figure(
    "lora-adam",
    "Three ways to please Adam",
    "Adam's first full step is sign(G). Its cosine with that of adapters whose factors come from "
    "the SVD of G (SGD's solution), from that of sign(G), and from direct minimisation, against "
    "the rank; grey: the best of rank 2r, dotted: LoRA. Singular vectors know nothing of the signs "
    "in the adapter's own step: at r = 16 they give 51 to 70% of the best, minimised ones 85 to "
    "89%.",
)
def adam(*, ranks: Sequence[int] = (1, 4, 16)) -> Figure:
    """Cosines of Adam's first step for three options on three layers."""
    found = adam_cosines(ranks=tuple(ranks))
    made = new_figure(10.4, 4.2)
    panels = made.subplots(1, len(found), sharey=True)
    for ax, (module, cosines) in zip(panels, found.items(), strict=True):
        ax.plot(ranks, cosines["best"], color=muted(0.45), linewidth=2.6, label="best of rank 2r")
        for option in ("minimise", "sign-svd", "sgd-solution"):
            look = _ADAM_LOOKS[option]
            ax.plot(ranks, cosines[option], marker="o", label=_ADAM_LABELS[option], **look)
        ax.plot(ranks, cosines["lora"], ":", color=muted(0.7), label="LoRA")
        ax.set_xscale("log", base=2)
        ax.set_xticks(ranks, [str(rank) for rank in ranks])
        ax.set_ylim(-0.03, 1.0)
        ax.set_xlabel("rank r")
        ax.set_title(minilm()[module].label)
    panels[0].set_ylabel("cosine with sign(G)")
    _legend_of(made, panels[0], columns=5)
    return made


# ---- spectra ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectra:
    """Singular values of matrices of norm 1, by label; from :func:`spectrum_values`.

    Attributes
    ----------
    sigma : dict of ndarray, shape (min(n, m),)
    """

    sigma: dict[str, Array]

    def energy(self, label: str, rank: int) -> float:
        """The share of the leading 2r."""
        return float(np.sum(self.sigma[label][: 2 * rank] ** 2))


def spectrum_values(*, seed: int = 0) -> Spectra:
    """Of the stored gradients, of the sign of one, and of Gaussian noise."""
    layers = minilm()
    shown = layers[_SHOWN]
    sigma = {layer.label: _spectrum(layer.gradient) for layer in layers.values()}
    sigma[f"sign of {shown.label}"] = _spectrum(np.sign(shown.gradient))
    noise = np.random.default_rng(seed).standard_normal(shown.gradient.shape)
    sigma["Gaussian noise"] = _spectrum(noise)
    return Spectra(sigma)


def _spectrum(M: Array) -> Array:
    found = np.linalg.svd(M.astype(np.float64), compute_uv=False)
    return np.asarray(found / np.linalg.norm(found))


@figure(
    "lora-spectra",
    "Are 2r directions enough?",
    "Left: singular values of three gradients of one model and one loss, relative to their norm. "
    "Right: the share of the energy in the 2r leading directions, all that the first step of an "
    "adapter can follow. Of a value matrix r = 1 has 94%, of a query matrix in layer 1 r = 8 has "
    "71%. The sign, which is Adam's step, spreads the energy out: 54% instead of 91%. Noise has "
    "no leading directions.",
)
def spectra() -> Figure:
    """Singular values of real gradients and their cumulated energy against Gaussian noise."""
    found = spectrum_values()
    made = new_figure(10.0, 4.5)
    left, right = made.subplots(1, 2)
    looks: list[dict[str, Any]] = [
        *({"color": color} for color in _LAYER_COLORS),
        {"color": _LAYER_COLORS[1], "linestyle": (0, (1.0, 1.2))},
        {"color": muted(0.6), "linestyle": "--"},
    ]
    ranks = np.arange(1, 97)
    for (label, sigma), look in zip(found.sigma.items(), looks, strict=True):
        left.loglog(np.arange(1, sigma.size + 1), sigma, **look)
        right.semilogx(ranks, [found.energy(label, int(r)) for r in ranks], label=label, **look)
    left.set_ylim(1e-4, 1.3)
    left.set_xlabel("singular value")
    left.set_title("Relative to the norm")
    right.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlim(ranks[0], ranks[-1])
    right.set_ylim(0.0, 1.02)
    right.set_xlabel("rank r")
    right.set_title("Energy in 2r directions")
    _legend_of(made, right, columns=5)
    return made


# ---- batches ------------------------------------------------------------------------------------


@cache
def model_noise(*, rank: int = 8, counts: Sequence[int] = (1, 2, 3, 4, 6)) -> BatchNoise:
    """How the 12 batches of one layer agree."""
    gradients = minilm()[_SHOWN].gradients
    assert gradients is not None
    return lora.batch_noise(gradients, rank, counts=counts)


@cache
def digit_noise(*, rank: int = 4, batch_size: int = 8, count: int = 64) -> BatchNoise:
    """How batches of turned digits agree on the first weight of the pre-trained perceptron."""
    gradients = lora.digits("mlp", "rotation").batch_gradients(batch_size, count)[0]
    return lora.batch_noise(gradients, rank)


@figure(
    "lora-batches",
    "How many batches?",
    "LoRA-GA started from the mean gradient of a few batches, judged by the mean of all others: "
    "the cosine of its update relative to the best, and the overlap of the leading 2r singular "
    "spaces. Of an encoder noise and signal are equal at 11 batches: one gives 72%, six hardly "
    "more, for the best fits the others' noise too. Of digits they are equal below two batches of "
    "8, and one gives 94%.",
)
def batches(*, count: int = 64) -> Figure:
    """Overlaps and cosines against the number of batches, for two models."""
    made = new_figure(10.0, 4.5)
    for ax, found, title in zip(
        made.subplots(1, 2, sharey=True),
        (model_noise(), digit_noise(count=count)),
        ("MiniLM, batches of 40 pairs", "Digits, batches of 8"),
        strict=True,
    ):
        found.plot(ax)
        ax.axhline(
            2 * found.rank / found.shape[0], color=muted(0.4), linewidth=0.9, linestyle=":",
            label="overlap by chance",
        )  # fmt: skip
        ax.get_legend().remove()
        ax.set_title(title)
    made.axes[1].set_ylabel("")
    _legend_of(made, made.axes[0], columns=5)
    return made
