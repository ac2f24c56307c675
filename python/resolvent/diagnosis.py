"""What is installed, and what it can use: for bug reports and for a first look."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, fields

import numpy as np

from resolvent import _core, _loader
from resolvent._html import table

__all__ = ["Doctor", "doctor"]


@dataclass(frozen=True)
class Doctor:
    """The build and the machine, as :func:`doctor` found them."""

    version: str
    isa: str
    isa_available: tuple[str, ...]
    threads: int
    compiler: str
    eigen: str
    fft: str
    python: str
    numpy: str
    platform: str
    cuda: str

    def items(self) -> list[tuple[str, str]]:
        """(label, value) pairs in a fixed order."""
        pairs = []
        for field in fields(self):
            value = getattr(self, field.name)
            text = ", ".join(value) if isinstance(value, tuple) else str(value)
            pairs.append((field.name.replace("_", " "), text))
        return pairs

    def __str__(self) -> str:
        width = max(len(label) for label, _ in self.items())
        return "\n".join(f"{label:<{width}}  {value}" for label, value in self.items())

    def _repr_html_(self) -> str:
        return table("resolvent", self.items())


def doctor() -> Doctor:
    """The version, the instruction set in use, threads, compiler and libraries.

    Returns
    -------
    Doctor
        Prints as aligned text, shows as a table in a notebook.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.doctor().version == rv.__version__
    True
    """
    return Doctor(
        version=_core.__version__,
        isa=_loader.level,
        isa_available=_loader.available,
        threads=_core.get_threads(),
        compiler=_core.compiler,
        eigen=_core.eigen,
        fft=_core.fft,
        python=sys.version.split()[0],
        numpy=np.__version__,
        platform=platform.platform(),
        cuda="not in this build",
    )
