"""Checks a folder of figures: every one is there in every form, and none is blank.

python tests/check_figures.py FOLDER
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np

#: The forms of each figure.
SUFFIXES = ("-light.svg", "-light.png", "-dark.svg", "-dark.png")

#: A drawing has at least this many pixels that differ from its background, as a share.
DRAWN = 0.005


def names() -> list[str]:
    """What `resolvent figures --list` promises."""
    command = [sys.executable, "-c", "from resolvent.cli import main; main()", "figures", "--list"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in listing.splitlines() if line.strip()]


def fault(file: Path) -> str | None:
    """What is wrong with a file, if anything is."""
    if not file.is_file():
        return "is missing"
    if file.suffix == ".svg":
        marks = [
            element
            for element in ElementTree.parse(file).iter()
            if element.tag.rsplit("}", 1)[-1] in {"path", "use", "image", "polygon"}
        ]
        return None if len(marks) >= 10 else f"has only {len(marks)} drawn elements"
    pixels = matplotlib.image.imread(file)
    background = pixels[0, 0]
    drawn = float(np.mean(np.any(np.abs(pixels - background) > 0.02, axis=-1)))
    return None if drawn >= DRAWN else f"is blank: {drawn:.2%} of it is drawn"


def main() -> int:
    """Returns the exit status: 1 if a figure is missing or blank."""
    folder = Path(sys.argv[1])
    expected = [folder / f"{name}{suffix}" for name in names() for suffix in SUFFIXES]
    if not expected:
        print("check_figures: no figures are defined", file=sys.stderr)
        return 1
    faults = [(file, text) for file in expected if (text := fault(file))]
    for file, text in faults:
        print(f"check_figures: {file} {text}", file=sys.stderr)
    print(f"check_figures: {len(expected) - len(faults)} of {len(expected)} files are good")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
