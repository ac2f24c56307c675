"""The command ``resolvent``: figures, doctor, hippo compress, lora init, untouched and compare.

Exit status: 0; 1 when something fails on the way (a folder that cannot be written); 2 for input
that cannot be used; 130 after Ctrl-C, 143 after SIGTERM. Errors are one line on stderr.
"""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

import resolvent
from resolvent import ResolventError
from resolvent.cli import hippo, lora
from resolvent.cli._common import HELP, BadInput, Quiet, progress_bar, require_directory

__all__ = ["app", "main"]

app = typer.Typer(
    help="The mathematics behind modern sequence models.",
    context_settings=HELP,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(hippo.app, name="hippo")
app.add_typer(lora.app, name="lora")


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and exits with its status.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of the process's own.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        for category in (
            resolvent.IllConditionedWarning,
            resolvent.ResolutionWarning,
            resolvent.StabilityWarning,
        ):
            warnings.simplefilter("always", category)
        with _orderly_end():
            status = _run(arguments)
    sys.exit(status)


class _Terminated(BaseException):
    """SIGTERM has come."""


@contextmanager
def _orderly_end() -> Iterator[None]:
    """SIGTERM, which batch systems send, ends processes and files as Ctrl-C does."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_: object) -> None:
    raise _Terminated


def _run(arguments: list[str] | None) -> int:
    try:
        status: int | None = app(arguments, prog_name="resolvent", standalone_mode=False)
        sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except _Terminated:
        return _fail("terminated", 143)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (BadInput, ResolventError) as error:
        return _fail(str(error), 2)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        return 1
    except (OSError, MemoryError, ImportError) as error:
        return _fail(_reason(error), 1)
    except Exception as error:
        # A usage error of the command line's library, wherever that lives.
        if not hasattr(error, "format_message"):
            raise
        message = error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message, file=sys.stderr)
            return 2
        return _fail(message, 2) if message else 2
    # Newer versions of typer turn Ctrl-C into this status and say nothing.
    return _fail("interrupted", 130) if status == 130 else status or 0


def _fail(message: str, status: int) -> int:
    print(f"resolvent: {' '.join(message.split())}", file=sys.stderr)
    return status


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"resolvent: {category.__name__}: {' '.join(str(message).split())}", file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        print(resolvent.__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """The mathematics behind modern sequence models."""


@app.command()
def doctor() -> None:
    """Say what is installed and what it can use."""
    print(resolvent.doctor())


@app.command()
def figures(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME ...", help="Draw these alone."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="[NAME ...]", hidden=True)] = None,
    out: Annotated[Path, typer.Option(help="The folder to draw into.")] = Path("docs/figures"),
    listed: Annotated[bool, typer.Option("--list", help="Print the names and titles.")] = False,
    quiet: Quiet = False,
) -> None:
    """Draw the documentation's figures: SVG and PNG, light and dark."""
    from resolvent.figures import FIGURES, draw

    if listed:
        width = max(map(len, FIGURES))
        for entry in FIGURES.values():
            print(f"{entry.name:<{width}}  {entry.title}")
        return
    if more and not only:
        raise BadInput(f"figures takes names after --only; got {more[0]!r}")
    names = [*(only or []), *(more or [])] or None
    require_directory(out)
    with progress_bar(quiet) as bar:
        task = bar.add_task("figures", total=None)

        def advance(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name or "done")

        written = draw(names, out, progress=advance)
    if not quiet:
        print(f"{len(written)} pictures in {out}")
