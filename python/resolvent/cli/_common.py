"""What the commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["HELP", "BadInput", "Quiet", "group", "progress_bar", "require_directory"]

HELP = {"help_option_names": ["-h", "--help"]}

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no summary.")]


class BadInput(Exception):
    """What the user gave cannot be used: exit status 2."""


def group(help: str) -> typer.Typer:
    """The commands of one domain."""
    return typer.Typer(
        help=help, context_settings=HELP, no_args_is_help=True, rich_markup_mode=None
    )


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A bar on stderr, where that is a terminal and nobody asked for quiet."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),  # a layer's name may have brackets
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        yield bar


def require_directory(out: Path) -> None:
    """A folder, or nothing yet."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out: {out} is not a directory")
