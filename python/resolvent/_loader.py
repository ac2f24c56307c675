"""Finds the builds of the compiled core and loads the one that suits this CPU best.

The same sources are compiled once per instruction set, every time as a module called ``_core``, in
``resolvent/_isa/<level>/``. Importing this module loads one of them as ``resolvent._core``. The
environment variable ``RESOLVENT_ISA`` names another level than the best one.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["available", "level"]

_BUILD_HELP = (
    "Build it with './dev' (any command sets everything up) or 'pip install .' "
    "in the top directory of the source tree."
)


def _builds(roots: list[str]) -> dict[str, Path]:
    """The extension file of every build that is installed, by level."""
    builds: dict[str, Path] = {}
    for root in roots:
        for directory in sorted(Path(root, "_isa").glob("*")):
            for suffix in importlib.machinery.EXTENSION_SUFFIXES:
                file = directory / f"_core{suffix}"
                if directory.name not in builds and file.is_file():
                    builds[directory.name] = file
    return builds


def _usable(builds: dict[str, Path]) -> tuple[str, ...]:
    """The installed levels that this CPU runs, best first."""
    try:
        from resolvent import _cpu
    except ImportError as error:
        raise ImportError(
            f"The compiled part of resolvent is missing for this Python: {error}. {_BUILD_HELP}"
        ) from error
    # A native build was made on this machine, or its maker answers for it.
    order = ["native", *_cpu.levels(), "baseline"]
    return tuple(name for name in order if name in builds)


def _choose(usable: tuple[str, ...], builds: dict[str, Path]) -> str:
    """The level to load: what RESOLVENT_ISA asks for, else the best one."""
    if not usable:
        installed = (
            f"it is installed for {', '.join(builds)} only" if builds else "none is installed"
        )
        raise ImportError(f"No build of resolvent's core runs here: {installed}. {_BUILD_HELP}")
    wanted = os.environ.get("RESOLVENT_ISA", "")
    if wanted and wanted not in usable:
        why = "this CPU does not run it" if wanted in builds else "no such build is installed"
        raise ImportError(
            f"RESOLVENT_ISA={wanted!r} cannot be used: {why}. Valid here: {', '.join(usable)}."
        )
    return wanted or usable[0]


def _load(file: Path) -> ModuleType:
    """Imports the extension in `file` under the name resolvent._core."""
    name = "resolvent._core"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not an extension module of this Python. {_BUILD_HELP}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


_files = _builds(list(sys.modules["resolvent"].__path__))

#: The instruction-set levels that can be chosen here, best first.
available: tuple[str, ...] = _usable(_files)

#: The level that is loaded.
level: str = _choose(available, _files)

# An editable install has two directories, and either may be the one Python looks into for a
# submodule, so the module is also set as the attribute that an import would set.
setattr(sys.modules["resolvent"], "_core", _load(_files[level]))  # noqa: B010
