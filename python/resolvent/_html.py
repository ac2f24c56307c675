"""The small tables that results show in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["Cell", "grid", "table"]

#: Text, or text with what the pointer shows on it.
Cell: TypeAlias = "str | tuple[str, str]"


def table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """(label, value) pairs under a caption."""
    body = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f"<table><caption>{escape(caption)}</caption>{body}</table>"


def grid(caption: str, head: Iterable[Cell], rows: Iterable[Iterable[Cell]]) -> str:
    """Columns under their heads; the first cell of each row is its label."""
    body = "".join(f"<tr>{_row(row)}</tr>" for row in rows)
    labels = "".join(_cell("th", cell) for cell in head)
    return f"<table><caption>{escape(caption)}</caption><tr>{labels}</tr>{body}</table>"


def _row(cells: Iterable[Cell]) -> str:
    label, *values = cells
    return _cell("th", label) + "".join(_cell("td", value) for value in values)


def _cell(tag: str, cell: Cell) -> str:
    text, note = (cell, "") if isinstance(cell, str) else cell
    title = f' title="{escape(note)}"' if note else ""
    return f"<{tag}{title}>{escape(text)}</{tag}>"
