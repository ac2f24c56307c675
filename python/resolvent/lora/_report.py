"""Report cards of the layers of a file: tables, Markdown, a page of HTML, pictures."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from resolvent._arrays import name_parameter
from resolvent._core import __version__
from resolvent._html import grid
from resolvent._text import columns
from resolvent.lora._initialize import scaling_factor
from resolvent.lora._layer import LayerCard, Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "DRAWN",
    "METRICS",
    "REPORTS",
    "FilesComparison",
    "FilesReport",
    "line",
    "write_reports",
]

#: The files of :func:`write_reports`.
REPORTS = ("report.md", "report.html", "report.png")

#: Metric → (head of its column, what it is).
METRICS = {
    "cosine": ("cosine", "between the first step and full fine-tuning's"),
    "captured": ("captured", "share of the gradient's energy that the adapter can follow"),
    "excess": ("excess", "distance from full fine-tuning's step over the least of twice the rank"),
    "effective_scale": ("effective scale", "first decrease of the loss over full fine-tuning's"),
    "offset_ratio": ("‖offset‖/‖W₀‖", "what the base has to be changed by"),
}

#: From METRICS, those that compare with 1 and are drawn.
DRAWN = ("cosine", "captured")


@dataclass(frozen=True, eq=False)
class FilesReport:
    """What :func:`initialize_files` has written.

    Attributes
    ----------
    out : Path
        The folder.
    settings : Settings
        Method, rank and all else that decides the numbers.
    cards : tuple of LayerCard
        One per layer, in the order of the file of weights.
    left_out : tuple of str
        Matrices that look like embeddings, which were not asked for by name.
    """

    out: Path
    settings: Settings
    cards: tuple[LayerCard, ...]
    left_out: tuple[str, ...] = ()

    @property
    def mean(self) -> dict[str, float]:
        """Metric → its mean over the layers; without those that need a gradient if there is
        none."""
        return _means(self.cards)

    def __repr__(self) -> str:
        found = ", ".join(f"{name} {value:.3f}" for name, value in self.mean.items())
        what = f"{self.settings.method!r}, rank {self.settings.rank}"
        return f"FilesReport({what}, {len(self.cards)} layers; mean {found})"

    def __str__(self) -> str:
        return columns(*_table(self.cards))

    def _repr_html_(self) -> str:
        caption = f"{self.settings.method}, rank {self.settings.rank}, in {self.out.name}"
        return grid(caption, *_table(self.cards))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Cosine and captured energy over the layers; without gradients the offset's size."""
        from resolvent.plot.lora import plot_layers

        return plot_layers(self, ax)


@dataclass(frozen=True, eq=False)
class FilesComparison:
    """Several methods on the layers of a file; from :func:`compare_files`.

    Attributes
    ----------
    cards : dict of str to tuple of LayerCard
        Label → one per layer.
    """

    cards: dict[str, tuple[LayerCard, ...]]

    @property
    def mean(self) -> dict[str, dict[str, float]]:
        """Label → metric → its mean over the layers."""
        return {label: _means(cards) for label, cards in self.cards.items()}

    def table(self, metric: str = "cosine") -> str:
        """One metric: a row for every layer and one for the mean, a column for every method."""
        name_parameter(metric, tuple(METRICS), "metric")
        return columns(*self._by_layer(metric))

    def __repr__(self) -> str:
        best = max(self.cards, key=lambda label: self.mean[label].get("cosine", -1.0))
        layers = len(self.cards[best])
        cosine = self.mean[best].get("cosine", math.nan)
        return (
            f"FilesComparison({len(self.cards)} methods, {layers} layers; best mean cosine "
            f"{cosine:.3f}, {best!r})"
        )

    def __str__(self) -> str:
        return f"{self.table()}\n\n{columns(*self._of_means())}"

    def _repr_html_(self) -> str:
        layers = grid("Cosine with full fine-tuning's first step", *self._by_layer("cosine"))
        return layers + grid("Means over the layers", *self._of_means())

    def plot(self, ax: Axes | None = None) -> Axes:
        """The cosine over the layers, a line for every method."""
        from resolvent.plot.lora import plot_methods_by_layer

        return plot_methods_by_layer(self, ax)

    def _by_layer(self, metric: str) -> tuple[list[str], list[list[str]]]:
        each = list(self.cards.values())
        rows = [
            [line(cards[0].layer), *(_number(getattr(card, metric)) for card in cards)]
            for cards in zip(*each, strict=True)
        ]
        rows.append(["mean", *(_number(self.mean[label].get(metric)) for label in self.cards)])
        return [METRICS[metric][0], *self.cards], rows

    def _of_means(self) -> tuple[list[str], list[list[str]]]:
        head = ["mean over layers", *(head for head, _ in METRICS.values())]
        rows = [
            [label, *(_number(mean.get(metric)) for metric in METRICS)]
            for label, mean in self.mean.items()
        ]
        return head, rows


# ---- tables -------------------------------------------------------------------------------------


def _means(cards: Sequence[LayerCard]) -> dict[str, float]:
    found = {}
    for metric in METRICS:
        values = [getattr(card, metric) for card in cards]
        if values and None not in values:
            found[metric] = math.fsum(values) / len(values)
    return found


def _table(cards: Sequence[LayerCard]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: a layer each, and the mean."""
    mean = _means(cards)
    head = ["layer", "in × out", *(METRICS[metric][0] for metric in mean)]
    rows = [
        [line(card.layer), "{} × {}".format(*card.shape)]
        + [_number(getattr(card, m)) for m in mean]
        for card in cards
    ]
    rows.append(["mean", "", *(_number(value) for value in mean.values())])
    return head, rows


def line(name: str) -> str:
    """A name without line breaks and what else a terminal would obey."""
    return name if name.isprintable() else repr(name)[1:-1]


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"


# ---- files --------------------------------------------------------------------------------------


def write_reports(folder: Path, report: FilesReport, inputs: Mapping[str, str]) -> None:
    """report.md, report.html and the picture in both, report.png."""
    from matplotlib.figure import Figure

    from resolvent.plot.style import theme

    with theme("light"):
        picture = Figure(figsize=(9.0, 3.6))
        report.plot(picture.add_axes((0.08, 0.15, 0.9, 0.8)))
        picture.savefig(folder / "report.png", dpi=110, metadata={"Software": None})
    (folder / "report.md").write_text(_markdown(report, inputs), encoding="utf-8")
    page = _page(report, inputs, (folder / "report.png").read_bytes())
    (folder / "report.html").write_text(page, encoding="utf-8")


def _facts(report: FilesReport, inputs: Mapping[str, str]) -> list[tuple[str, str]]:
    settings = report.settings
    s = scaling_factor(settings.scaling, settings.alpha, settings.rank)
    facts = [
        *inputs.items(),
        ("method", settings.method),
        ("rank, α, s", f"{settings.rank}, {settings.alpha:g}, {s:.6g} ({settings.scaling})"),
    ]
    if settings.of_gradient:
        scale = settings.scale + (f", γ = {settings.gamma:g}" if settings.scale == "stable" else "")
        facts.append(("directions, scale", f"{settings.directions}, {scale}"))
    if settings.method == "lora-ga-adam":
        facts.append(("Adam's start", settings.adam))
    facts += [("judged for", settings.optimizer), ("seed", str(settings.seed))]
    if report.left_out:
        facts.append(("left out as embeddings", _listed(report.left_out)))
    degenerate = [card.layer for card in report.cards if card.lost]
    if degenerate and settings.of_gradient:
        facts.append(("gradients of rank below 2·rank", _listed(degenerate)))
    return facts


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(line, names[:5]))
    return f"{shown}, … ({len(names)} in all)" if len(names) > 5 else shown


def _markdown(report: FilesReport, inputs: Mapping[str, str]) -> str:
    head, rows = _table(report.cards)
    facts = "\n".join(f"| {name} | {_literal(value)} |" for name, value in _facts(report, inputs))
    body = "\n".join(f"| {' | '.join(map(_literal, row))} |" for row in rows[:-1])
    mean = " | ".join(f"**{cell}**" if cell else "" for cell in rows[-1])
    meanings = "\n".join(f"- {METRICS[m][0]}: {METRICS[m][1]}" for m in report.mean)
    return (
        f"# {len(report.cards)} layers by {report.settings.method}\n\n"
        f"| | |\n|---|---|\n{facts}\n\n![Over the layers](report.png)\n\n"
        f"| {' | '.join(head)} |\n|---{'|---:' * (len(head) - 1)}|\n{body}\n| {mean} |\n\n"
        f"{meanings}\n\n## To use it\n\n{_usage(report.settings)}"
        f"Made by resolvent {__version__}.\n"
    )


def _literal(text: str) -> str:
    """Text that Markdown shows as it is: what could be markup as numeric references."""
    return re.sub(r"[\\`*\[\]<>&|~]|\b_+|_+\b", _references, text)


def _references(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(character)};" for character in found[0])


def _usage(settings: Settings) -> str:
    plain = (
        "```python\n"
        "from peft import PeftModel\n\n"
        'model = PeftModel.from_pretrained(base, "this/folder", is_trainable=True)\n'
        "```\n\n"
    )
    if not settings.moves_base:
        return f"The base stays as it is, and this folder is loaded onto it:\n\n{plain}"
    return (
        "The adapter does not start at zero, so the base has to be changed by the opposite. To "
        "train, add `offset.safetensors` to the base's weights of the same names, and load this "
        "folder:\n\n"
        "```python\n"
        "import torch\n"
        "from peft import PeftModel\n"
        "from safetensors import safe_open\n\n"
        'with torch.no_grad(), safe_open("this/folder/offset.safetensors", "pt") as offset:\n'
        "    weights = dict(base.named_parameters())\n"
        "    for name in offset.keys():\n"
        "        weights[name] += offset.get_tensor(name).to(weights[name])\n"
        'model = PeftModel.from_pretrained(base, "this/folder", is_trainable=True)\n'
        "```\n\n"
        "To use what was trained on an untouched base, make it an adapter of twice the rank:\n\n"
        "```sh\n"
        "resolvent lora untouched trained/ --initial this/folder --out for-any-base/\n"
        "```\n\n"
        "`untouched/` is that adapter before training: it changes nothing.\n\n"
    )


# ---- the page -----------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d8dde3;
  --first: #0072b2; --second: #d55e00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --paper: #14181e; --line: #333b45; --first: #56b4e9; --second: #e69f00; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: bold; padding: .5rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem; text-align: right; }
th:first-child, .facts td { text-align: left; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: .6rem; }
.card h3 { font-size: .8rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
svg text { font: 9px system-ui, sans-serif; fill: var(--ink); }
img { max-width: 100%; background: #fff; }
"""


def _page(report: FilesReport, inputs: Mapping[str, str], picture: bytes) -> str:
    """All in one file."""
    title = f"{len(report.cards)} layers by {report.settings.method}"
    facts = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
        for name, value in _facts(report, inputs)
    )
    meanings = "".join(
        f"<li><b>{escape(METRICS[m][0])}</b>: {escape(METRICS[m][1])}</li>" for m in report.mean
    )
    cards = "".join(map(_card, report.cards))
    data = b64encode(picture).decode()
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
        f'<table class="facts">{facts}</table>\n'
        f'<p><img alt="Over the layers" src="data:image/png;base64,{data}"></p>\n'
        f"{grid('Every layer', *_table(report.cards))}\n<ul>{meanings}</ul>\n"
        f'<h2>Cards</h2>\n<div class="cards">{cards}</div>\n'
        f"<p>report.md says how to use the adapter. Made by resolvent {escape(__version__)}.</p>\n"
        "</body></html>\n"
    )


def _card(card: LayerCard) -> str:
    lines = [f"{'{} × {}'.format(*card.shape)}, rank {card.rank}"]
    if card.angles_left and card.angles_right:
        left, right = (math.degrees(max(a)) for a in (card.angles_left, card.angles_right))
        lines.append(f"largest angle to the leading directions: {left:.1f}° and {right:.1f}°")
    if card.offset_ratio:
        lines.append(f"‖offset‖/‖W₀‖ = {card.offset_ratio:.3g}")
    text = "<br>".join(map(escape, lines))
    picture = _picture(card) if card.cosine is not None else ""
    return f'<div class="card"><h3>{escape(line(card.layer))}</h3>{picture}<div>{text}</div></div>'


_WIDTH, _HEIGHT, _BARS = 300, 120, 40


def _picture(card: LayerCard) -> str:
    """The spectrum on a logarithmic scale, and under it the metrics that compare with 1."""
    bars = "".join(
        f'<text x="0" y="{y + 9}">{METRICS[metric][0]} {value:.3f}</text>'
        f'<rect x="95" y="{y}" width="{_WIDTH - 95}" height="11" fill="var(--line)"/>'
        f'<rect x="95" y="{y}" width="{(_WIDTH - 95) * min(max(value, 0.0), 1.0):.1f}" '
        'height="11" fill="var(--first)"/>'
        for y, metric in zip((_HEIGHT + 6, _HEIGHT + 23), DRAWN, strict=True)
        if (value := getattr(card, metric)) is not None
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _BARS}" role="img" '
        f'aria-label="Spectrum and alignment">{_spectrum(card)}{bars}</svg>'
    )


def _spectrum(card: LayerCard) -> str:
    values = [v for v in card.spectrum if v > 0.0]
    if len(values) < 2:
        return ""
    decades = max(math.log10(values[0] / values[-1]), 0.05)
    count = len(values)

    def x(k: float) -> float:
        return 4.0 + (_WIDTH - 8.0) * k / (count - 1)

    points = " ".join(
        f"{x(k):.1f},{12.0 + (_HEIGHT - 24.0) * math.log10(values[0] / v) / decades:.1f}"
        for k, v in enumerate(values)
    )
    cut = ""
    if 2 * card.rank < count:
        at = x(2 * card.rank - 0.5)
        cut = (
            f'<line x1="{at:.1f}" y1="4" x2="{at:.1f}" y2="{_HEIGHT - 4}" stroke="var(--second)" '
            f'stroke-dasharray="3 3"/><text x="{at + 4:.1f}" y="12">2r = {2 * card.rank}</text>'
        )
    return (
        f'<polyline points="{points}" fill="none" stroke="var(--first)" stroke-width="1.6"/>{cut}'
        f'<text x="4" y="{_HEIGHT - 2}">σ {values[0]:.3g} … {values[-1]:.3g}, logarithmic</text>'
    )
