"""The code in the documents runs, and prints what the documents say."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: A block of code, and the block of output that may follow it.
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)

NOTEBOOKS = sorted(ROOT.glob("examples/*.ipynb"))


def blocks(page: str) -> list[tuple[int, str, str | None]]:
    """(line, code, output) of every block of Python in a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start("code")) + 1, match["code"], match["output"])
        for match in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/tour.md"])
def test_pages_print_what_they_say(page):
    namespace: dict[str, object] = {"__name__": "__main__"}
    found = blocks(page)
    assert found, f"{page} has no code"
    for line, code, expected in found:
        printed = io.StringIO()
        # Empty lines in front: a traceback then has the line numbers of the page.
        compiled = compile("\n" * (line - 1) + code, str(ROOT / page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(compiled, namespace)
        assert printed.getvalue() == (expected or ""), f"{page}, line {line}"


def percent_cells(script: str) -> list[tuple[str, str]]:
    """(kind, text) of the cells of a script in the percent format."""
    cells = []
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        kind = "markdown" if head.strip() == "[markdown]" else "code"
        text = body.strip("\n")
        if kind == "markdown":
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        cells.append((kind, text))
    return cells


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_and_their_scripts_agree(notebook):
    twin = notebook.with_suffix(".py")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    stored = [(cell["cell_type"], "".join(cell["source"]).strip("\n")) for cell in cells]
    assert stored == percent_cells(twin.read_text(encoding="utf-8")), (
        f"run: jupytext --sync {notebook.relative_to(ROOT)}"
    )


def test_there_are_notebooks():
    assert NOTEBOOKS
