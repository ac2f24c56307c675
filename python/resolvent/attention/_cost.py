"""What the routes of a stack cost, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

from resolvent import _core
from resolvent._arrays import count_parameter
from resolvent.attention._causal import Route, route_parameter

__all__ = ["Cost", "cost", "heads_parameter"]


@dataclass(frozen=True)
class Cost:
    """Operations and memory of one pass of a :class:`Stack` over a sequence.

    Attributes
    ----------
    multiplications, additions, divisions, exponentials, roots : int
        Scalar operations; subtractions are additions, comparisons are not counted.
    peak_bytes : int
        The most memory in use at a time, beside weights, tokens and the result.
    """

    multiplications: int
    additions: int
    divisions: int
    exponentials: int
    roots: int
    peak_bytes: int

    @property
    def operations(self) -> int:
        """All operations together."""
        return (
            self.multiplications + self.additions + self.divisions + self.exponentials + self.roots
        )

    def __repr__(self) -> str:
        return f"<Cost: {self.operations:,} operations, {self.peak_bytes:,} bytes at most>"


@dataclass(frozen=True)
class _Tally:
    """Operations of a part, to be added up."""

    multiplications: int = 0
    additions: int = 0
    divisions: int = 0
    exponentials: int = 0
    roots: int = 0

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(*(a + b for a, b in zip(self._all(), other._all(), strict=True)))

    def __rmul__(self, times: int) -> _Tally:
        return _Tally(*(times * a for a in self._all()))

    def _all(self) -> tuple[int, int, int, int, int]:
        return (
            self.multiplications,
            self.additions,
            self.divisions,
            self.exponentials,
            self.roots,
        )


def cost(
    route: Route, length: int, depth: int, *, heads: int = 1, d: int = 64, itemsize: int = 8
) -> Cost:
    """Operations and bytes of :meth:`Stack.forward`, exactly as it does and takes them.

    Parameters
    ----------
    route : {"full", "cached", "streaming", "recompute"}
    length : int
        L, the tokens of the sequence, at least 0.
    depth : int
        D, the layers.
    heads, d : int
        Of the stack; d a multiple of heads.
    itemsize : int
        Bytes of a number.

    Returns
    -------
    Cost
        To leading order in L: "full" 4L²dD operations and L² numbers; "cached" and "streaming"
        2L²dD, the latter with L²dD/2 for rescaling, and 2LdD and 4Ld numbers; "recompute"
        L^{D+1}/(D+1)! steps of about 4d² operations each, and D(6d + 2 heads) numbers whatever L
        is: constant memory, like any other recurrence.

    Notes
    -----
    Recomputation evaluates layer D − j at position i C(L−1−i+j, j) times, so that there are
    C(L+j, j+1) evaluations and C(L+j+1, j+2) keys at that depth.

    Examples
    --------
    >>> import resolvent as rv
    >>> for route in rv.attention.ROUTES:
    ...     print(f"{route:9} {rv.attention.cost(route, 256, 2)}")
    full      <Cost: 50,761,216 operations, 1,048,576 bytes at most>
    cached    <Cost: 34,049,536 operations, 527,872 bytes at most>
    streaming <Cost: 38,424,576 operations, 524,304 bytes at most>
    recompute <Cost: 48,940,219,008 operations, 6,176 bytes at most>
    """
    route_parameter(route)
    L = count_parameter(length, "length", 0)
    D = count_parameter(depth, "depth")
    h = heads_parameter(heads, d)
    size = count_parameter(itemsize, "itemsize")
    numbers = {
        "full": 4 * L * d + L * L,
        "cached": (2 * D * d + 1) * L + 3 * d if L else 0,
        "streaming": 4 * L * d + 2 * h,
        "recompute": D * (6 * d + 2 * h),
    }[route]
    tally = _recomputed(L, D, h, d) if route == "recompute" else D * _layer(route, L, h, d)
    return Cost(*tally._all(), peak_bytes=size * numbers)


def heads_parameter(heads: int, d: int) -> int:
    """Heads that divide d."""
    width = count_parameter(d, "d")
    count = count_parameter(heads, "heads")
    if width % count:
        raise _core.InvalidArgument(f"heads must divide d = {width}, got {count}")
    return count


def _normalized(d: int) -> _Tally:
    return _Tally(2 * d, d + 1, divisions=2, roots=1)


def _projected(d: int) -> _Tally:
    return _Tally(d * d, d * d)


def _query(d: int) -> _Tally:
    return _projected(d) + _Tally(d)


def _output(d: int) -> _Tally:
    return _projected(d) + _Tally(0, d)


def _absorbed(h: int, d: int) -> _Tally:
    """One key in the recurrence of every head."""
    return _Tally(3 * d + h, 2 * d + 3 * h, exponentials=2 * h)


def _finished(h: int, d: int) -> _Tally:
    return _Tally(d, divisions=h)


def _layer(route: str, L: int, h: int, d: int) -> _Tally:
    """One layer over the whole sequence."""
    pairs = L * (L + 1) // 2
    rows = L * (_normalized(d) + _query(d) + 2 * _projected(d) + _output(d))
    if route == "streaming":
        return rows + pairs * _absorbed(h, d) + L * _finished(h, d)
    compared = L * L if route == "full" else pairs
    softmax = pairs * _Tally(h, 2 * h, exponentials=h) + L * _Tally(divisions=h)
    return rows + compared * _Tally(2 * d, 2 * d) + softmax


def _recomputed(L: int, D: int, h: int, d: int) -> _Tally:
    evaluations = sum(comb(L + j, j + 1) for j in range(D))
    keys = sum(comb(L + j + 1, j + 2) for j in range(D))
    once = _normalized(d) + _query(d) + _finished(h, d) + _output(d)
    return evaluations * once + keys * (_normalized(d) + 2 * _projected(d) + _absorbed(h, d))
