"""The small tables that results show in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["table"]


def table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """(label, value) pairs under a caption."""
    body = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f"<table><caption>{escape(caption)}</caption>{body}</table>"
