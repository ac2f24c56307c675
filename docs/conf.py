"""Sphinx configuration."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from sphinx.domains.python import PyObject
from sphinx.domains.python._object import PyTypedField

import resolvent.figures
import resolvent.lora
import resolvent.probmap

HERE = Path(__file__).resolve().parent

project = "Resolvent"
author = "The Resolvent authors"
copyright = "2026, The Resolvent authors"
version = release = importlib.metadata.version("resolvent")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_design",
]
exclude_patterns = ["_build", "_generated", "figures"]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# "array_like, shape (order,)" is text: its words are no references to what else is called so.
for _field in PyObject.doc_field_types:
    if isinstance(_field, PyTypedField):
        _field.typerolename = ""

html_theme = "pydata_sphinx_theme"
html_title = f"Resolvent {release}"
html_static_path = ["_static"]
html_css_files = ["resolvent.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def _card(name: str, title: str, caption: str) -> str:
    """One figure of the gallery, light or dark as the reader's theme is."""
    return "\n".join(
        [
            f"::::{{grid-item-card}} {title}",
            *(
                line
                for mode in ("light", "dark")
                for line in (
                    f":::{{image}} figures/{name}-{mode}.svg",
                    f":alt: {title}",
                    f":class: only-{mode}",
                    ":::",
                )
            ),
            "",
            caption,
            "::::",
        ]
    )


def _generate(name: str, text: str) -> None:
    """Writes _generated/<name>, unless it says that already."""
    target = HERE / "_generated" / name
    target.parent.mkdir(exist_ok=True)
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def _write_gallery() -> None:
    """Makes _generated/gallery.md, which the landing page includes."""
    cards = [
        _card(figure.name, figure.title, figure.caption)
        for figure in resolvent.figures.FIGURES.values()
    ]
    text = "\n".join([":::::{grid} 1 1 2 2", ":gutter: 3", "", *cards, ":::::", ""])
    _generate("gallery.md", text)


def _adapters(module: str, rank: int) -> str:
    """A table of every start of an adapter on a real gradient."""
    layer = resolvent.figures.lora.minilm()[module]
    sgd, adam = (
        resolvent.lora.compare(weight=layer.weight, gradient=layer.gradient, rank=rank, optimizer=o)
        for o in resolvent.lora.OPTIMIZERS
    )
    head = "start|cosine|captured|residual/optimum|effective scale|‖offset‖/‖W₀‖|cosine for Adam"
    rows = [head.split("|"), ["---", *["---:"] * 6]]
    for method, card in sgd.cards.items():
        numbers = (
            f"{card.cosine:.3f}",
            f"{card.captured:.1%}",
            f"{card.excess:.3f}",
            f"{card.effective_scale:.2g}",
            f"{card.offset_ratio:.3f}",
            f"{adam[method].cosine:.3f}",
        )
        rows.append([method, *numbers])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


_write_gallery()
# What holds for which probability map, found out anew at every build.
_generate("probmap_properties.md", resolvent.probmap.properties.table().markdown())
# How each start of an adapter follows a real gradient, likewise.
_generate("lora_methods.md", _adapters("encoder.layer.3.attention.self.query", 8))
