"""How many threads the core may use."""

from __future__ import annotations

from resolvent import _core
from resolvent._arrays import integer_parameter

__all__ = ["set_threads"]


def set_threads(count: int) -> None:
    """Sets how many threads the core may use; results do not depend on it.

    Parameters
    ----------
    count : int
        At least 1. Until this is called it is the environment variable RESOLVENT_NUM_THREADS, or
        what OpenMP offers.

    Examples
    --------
    >>> import resolvent as rv
    >>> before = rv.get_threads()
    >>> rv.set_threads(1)
    >>> rv.get_threads()
    1
    >>> rv.set_threads(before)
    """
    threads = integer_parameter(count, "threads")
    if not 1 <= threads < 2**31:
        raise _core.InvalidArgument(f"threads must be at least 1 and below 2**31, got {threads}")
    _core.set_threads(threads)
