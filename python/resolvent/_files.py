"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["atomically", "permissions"]


def permissions(full: int) -> int:
    """The permissions that the process gives to new files (0o666) or directories (0o777)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return full & ~mask


def atomically(file: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file under another name, then gives it the right one."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(permissions(0o666))
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
