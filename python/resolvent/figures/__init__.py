"""The documentation's figures: a list of functions, and :func:`draw`, which writes their files.

A figure is a function that returns a matplotlib Figure, in the module of its domain, under the
decorator that gives its name, title and caption. ``resolvent figures`` draws them all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from resolvent import InvalidArgument
from resolvent._files import atomically
from resolvent.figures._registry import FIGURES, Entry
from resolvent.plot.style import THEMES, Theme, theme

# The gallery shows the domains in this order.
from resolvent.figures import hippo, spectral  # isort: skip
from resolvent.figures import discretize  # isort: skip
from resolvent.figures import ssm  # isort: skip
from resolvent.figures import rational  # isort: skip
from resolvent.figures import probmap  # isort: skip
from resolvent.figures import lora  # isort: skip
from resolvent.figures import attention  # isort: skip
from resolvent.figures import distill  # isort: skip

__all__ = [
    "FIGURES",
    "FORMATS",
    "Entry",
    "attention",
    "discretize",
    "distill",
    "draw",
    "hippo",
    "lora",
    "probmap",
    "rational",
    "spectral",
    "ssm",
]

FORMATS = ("svg", "png")

# Text as outlines, so that it looks the same everywhere, and the same bytes at every run.
_SVG = {"svg.hashsalt": "resolvent", "svg.fonttype": "path"}
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}}
_DPI = 100


def draw(
    names: Iterable[str] | None = None,
    out: str | os.PathLike[str] = "docs/figures",
    *,
    formats: Iterable[str] = FORMATS,
    themes: Iterable[Theme] = ("light", "dark"),
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Path]:
    """Draws figures into a folder, as ``<name>-<theme>.<format>``.

    Every file appears whole or not at all. ``gallery.json`` lists the name, title and caption of
    every figure that the folder then holds.

    Parameters
    ----------
    names : iterable of str, optional
        Which of :data:`FIGURES`; all unless given.
    out : path
        The folder; made where it is missing.
    formats : iterable of str
        Of "svg" and "png".
    themes : iterable of str
        Of "light" and "dark".
    progress : callable, optional
        Called as ``progress(done, total, name)`` before each picture and at the end.

    Returns
    -------
    list of Path
        The pictures written.

    Raises
    ------
    InvalidArgument
        For an unknown name, format or theme; nothing is written then.
    """
    entries = [FIGURES[n] for n in _known(names, tuple(FIGURES), "names")]
    kinds = _known(formats, FORMATS, "formats")
    looks = _known(themes, THEMES, "themes")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    jobs = [(entry, look) for entry in entries for look in looks]
    for done, (entry, look) in enumerate(jobs):
        if progress is not None:
            progress(done, len(jobs), entry.name)
        with theme(look), mpl.rc_context(_SVG):  # type: ignore[arg-type]
            picture = entry.draw()
            for kind in kinds:
                file = folder / f"{entry.name}-{look}.{kind}"
                _save(picture, file, kind)
                written.append(file)
    _write_gallery(folder)
    if progress is not None:
        progress(len(jobs), len(jobs), "")
    return written


def _known(given: Iterable[str] | None, valid: tuple[str, ...], what: str) -> list[str]:
    chosen = list(valid) if given is None else list(given)
    for name in chosen:
        if name not in valid:
            listed = ", ".join(repr(v) for v in valid)
            raise InvalidArgument(f"{what} must be of {listed}; got {name!r}")
    return list(dict.fromkeys(chosen))


def _save(picture: Figure, file: Path, kind: str) -> None:
    def write(target: Path) -> None:
        picture.savefig(target, format=kind, dpi=_DPI, metadata=_METADATA[kind])

    atomically(file, write)


def _write_gallery(folder: Path) -> None:
    entries = [
        {"name": entry.name, "title": entry.title, "caption": entry.caption}
        for entry in FIGURES.values()
        if any(folder.glob(f"{entry.name}-*.*"))
    ]
    text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    atomically(folder / "gallery.json", lambda target: target.write_text(text, encoding="utf-8"))
