"""Property cards: what a map to the simplex does, found by looking for vectors that refute it.

Of what a map promises only its accuracy is used here. Every property is tried on the same vectors:
small integers, gaps from 2⁻⁴⁰ to 2¹⁰, ladders, random ones. Their entries are multiples of powers
of two, so that shifts, scalings and midpoints are exact, and no property is refuted by the rounding
of x. Rounding inside the map is measured: a deviation counts only where it exceeds what the map
does when its logits move by a few units in the last place, equal ones together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ReadOnlyFields, integer_parameter, name_parameter
from resolvent._html import Cell, grid, table
from resolvent.probmap._derivatives import jacobian
from resolvent.probmap._loss import loss, loss_gradient
from resolvent.probmap._map import Map, MapLike, resolve

__all__ = [
    "PROPERTIES",
    "Example",
    "Property",
    "PropertyCard",
    "PropertyName",
    "PropertyTable",
    "properties",
]

PropertyName = Literal[
    "simplex",
    "monotone",
    "strictly_monotone",
    "shift_invariant",
    "scale",
    "cold_limit",
    "hot_limit",
    "permutation_equivariant",
    "sparse",
    "full_support",
    "lipschitz_2",
    "lipschitz_inf",
    "jacobian_symmetric",
    "jacobian_psd",
    "jacobian_rows",
    "jacobian_columns",
    "loss_convex",
]
PROPERTIES: tuple[str, ...] = get_args(PropertyName)

_STATEMENTS: dict[PropertyName, str] = {
    "simplex": "p ≥ 0 and Σp = 1",
    "monotone": "x_i ≥ x_j gives p_i ≥ p_j",
    "strictly_monotone": "x_i > x_j gives p_i > p_j",
    "shift_invariant": "p(x + c) = p(x)",
    "scale": "p(cx) is at least as sharp as p(x) for c > 1: it majorises p(x)",
    "cold_limit": "τ → 0 gives equal shares to the largest entries, 0 to the others",
    "hot_limit": "τ → ∞ gives equal shares to all entries",
    "permutation_equivariant": "permuting x permutes p",
    "sparse": "some p_i is exactly 0, and stays 0 when x moves a little",
    "full_support": "p > 0 for all x",
    "lipschitz_2": "‖p(x) − p(y)‖₂ ≤ L‖x − y‖₂",
    "lipschitz_inf": "‖p(x) − p(y)‖_∞ ≤ L‖x − y‖_∞",
    "jacobian_symmetric": "J = Jᵀ",
    "jacobian_psd": "vᵀJv ≥ 0",
    "jacobian_rows": "rows of J sum to 0: a shift of x changes nothing",
    "jacobian_columns": "columns of J sum to 0: Σp stays",
    "loss_convex": "the loss is convex in x, for every target",
}

#: Column heads of tables.
_HEADS: dict[PropertyName, str] = {
    "simplex": "simplex",
    "monotone": "monotone",
    "strictly_monotone": "strictly",
    "shift_invariant": "shift-inv.",
    "scale": "scale",
    "cold_limit": "τ→0 argmax",
    "hot_limit": "τ→∞ uniform",
    "permutation_equivariant": "perm.-eq.",
    "sparse": "sparse (margin)",
    "full_support": "p > 0",
    "lipschitz_2": "Lip. 2",
    "lipschitz_inf": "Lip. ∞",
    "jacobian_symmetric": "J = Jᵀ",
    "jacobian_psd": "J ⪰ 0",
    "jacobian_rows": "J1 = 0",
    "jacobian_columns": "1ᵀJ = 0",
    "loss_convex": "convex loss",
}

_EPS = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)

#: Absolute accuracy of the maps that integrate; of the others it is eps.
_QUADRATURE = {"perturb_max": 1e-10}

#: A deviation counts beyond so many units of the map's accuracy: each map promises a few.
_ROUNDING = 64.0

#: How far logits are moved, in eps of the largest, to see what their rounding does to p.
_ULPS = 4.0

#: A counterexample deviates by this share of the worst deviation at least.
_CLEAR = 0.01

#: Entries, in units of the temperature, below which exponentials are far from underflow.
_MODERATE = 16.0

#: A loss is judged where rounding explains less than this of it, and a secant as steeper than all
#: Jacobians where it is so by this share.
_KNOWN = 2.0**-10

#: Temperatures that stand for the limits, as powers of two, and nearer ones that must agree.
_FAR, _NEAR = 90, 75

#: Between vectors 2^20 times closer p changes 2^20 times less if it has a slope, and no more than
#: so much less at a step or where it has none: Hölder exponents of 3/4 and less.
_STEP = 2.0**-15

#: A slope without bound next to a point grows by this power of 1/distance at least: Hölder
#: exponents nearer to 1 pass for Lipschitz.
_GROWTH = 1.0 / 64.0

#: How far along a ray zeros are looked for.
_TIMES = 4.0 ** np.arange(-20, 6)

#: How near to a limit a map has to be: heavy-tailed noise gets there algebraically.
_LIMIT = math.sqrt(_EPS)


# ---- results -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Example(ReadOnlyFields):
    """Vectors, and what a map gives there.

    Attributes
    ----------
    x : ndarray, shape (n,) or (m, n)
    gives : ndarray
        Their p, shape of x; for a property of the Jacobian J, shape (n, n); for one of the loss
        three losses or two gradients.
    statement : str
        What there is to see.
    """

    x: Array
    gives: Array
    statement: str


@dataclass(frozen=True, eq=False)
class Property:
    """One property of a map.

    Attributes
    ----------
    name : str
        One of :data:`PROPERTIES`.
    statement : str
        What holds or does not.
    holds : bool or None
        None where it does not apply or could not be decided.
    value : float, str or None
        A Lipschitz constant (∞: none), the margin at which an entry becomes 0, the sum of all p
        where it is not 1, the kind of scale behaviour, a limit.
    evidence : str
        How many vectors were tried, and how far the worst was from the statement.
    example : Example or None
        A counterexample, or the vectors that show what the limits are, or where a Lipschitz
        constant is found.
    """

    name: PropertyName
    statement: str
    holds: bool | None
    value: float | str | None
    evidence: str
    example: Example | None = None

    @property
    def counterexample(self) -> Example | None:
        """The simplest vectors found that refute the statement."""
        return self.example if self.holds is False else None

    @property
    def summary(self) -> str:
        """✓, ✗ or –, and the value."""
        mark = {True: "✓", False: "✗", None: "–"}[self.holds]
        if self.name == "scale":
            return str(self.value)
        if self.name in ("lipschitz_2", "lipschitz_inf") and isinstance(self.value, float):
            return "∞" if math.isinf(self.value) else f"{self.value:.3f}"
        if self.name == "simplex":
            return mark if self.value is None else f"{mark} Σ = {self.value:g}"
        return f"{mark} {self.value:.4g}" if isinstance(self.value, float) else mark

    def __repr__(self) -> str:
        value = "" if self.value is None else f", value={self.value!r}"
        return f"Property({self.name!r}, holds={self.holds}{value})"


@dataclass(frozen=True, eq=False)
class PropertyCard:
    """What a map does; from :func:`properties`. Indexed by the name of a property.

    Attributes
    ----------
    map : Map
    size : int
        Entries of the vectors that were tried.
    properties : tuple of Property
        In the order of :data:`PROPERTIES`.
    """

    map: Map
    size: int
    properties: tuple[Property, ...]

    def __getitem__(self, name: PropertyName) -> Property:
        return self.properties[PROPERTIES.index(name_parameter(name, PROPERTIES, "property"))]

    def __iter__(self) -> Iterator[Property]:
        return iter(self.properties)

    def __repr__(self) -> str:
        held = sum(p.holds is True for p in self)
        decided = sum(p.holds is not None for p in self)
        return f"PropertyCard({self.map!r}, size={self.size}: {held} of {decided} properties hold)"

    def _repr_html_(self) -> str:
        return table(
            f"{self.map!r} on {self.size} entries",
            [(p.statement, f"{p.summary}: {p.evidence}") for p in self],
        )


@dataclass(frozen=True, eq=False)
class PropertyTable:
    """Several maps beside each other; from :func:`properties.table`.

    Attributes
    ----------
    cards : tuple of PropertyCard
    """

    cards: tuple[PropertyCard, ...]

    def __iter__(self) -> Iterator[PropertyCard]:
        return iter(self.cards)

    def __repr__(self) -> str:
        return f"PropertyTable({len(self.cards)} maps, {len(PROPERTIES)} properties)"

    def _repr_html_(self) -> str:
        head: list[Cell] = ["", *((_HEADS[name], _STATEMENTS[name]) for name in _HEADS)]
        rows: list[list[Cell]] = [
            [repr(card.map), *((p.summary, p.evidence) for p in card)] for card in self
        ]
        return grid("Properties of maps, by search", head, rows)

    def markdown(self, *, counterexamples: bool = True) -> str:
        """The table for a document.

        Parameters
        ----------
        counterexamples : bool
            Whether they are listed under it, by property.

        Returns
        -------
        str
            A pipe table, and a nested list.
        """
        lines = [
            "| map | " + " | ".join(_HEADS.values()) + " |",
            "|---" * (len(_HEADS) + 1) + "|",
            *(f"| `{c.map!r}` | " + " | ".join(p.summary for p in c) + " |" for c in self),
        ]
        if counterexamples:
            lines += ["", *(line for name in _STATEMENTS for line in self._refuted(name))]
        return "\n".join(lines) + "\n"

    def _refuted(self, name: PropertyName) -> Iterator[str]:
        found = [(card.map, card[name].counterexample) for card in self]
        listed = [f"  - `{map!r}`: {example.statement}" for map, example in found if example]
        if listed:
            yield f"- {_STATEMENTS[name]}. Not for"
            yield from listed


# ---- vectors -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Effort:
    """How much is tried.

    Attributes
    ----------
    largest : int
        Of the integers.
    random : int
        Vectors of each size.
    stride : int
        Every so many vectors have their Jacobian computed.
    segments : int
        To be halved.
    middles : int
        Of chords for the loss: so many simple ones, half as many random ones.
    starts : int
        Of the search for a steep place.
    stages : tuple of (int, int, int)
        Of that search: the exponent of the smallest step, in units, how many rounds with it, and
        how many places go on after them.
    """

    largest: int
    random: int
    stride: int
    segments: int
    middles: int
    starts: int
    stages: tuple[tuple[int, int, int], ...]


_FULL = _Effort(
    largest=3,
    random=24,
    stride=1,
    segments=24,
    middles=48,
    starts=24,
    stages=((-16, 20, 12), (-24, 12, 6), (-32, 12, 4), (-48, 16, 1)),
)

#: Where a row costs integrals.
_REDUCED = _Effort(
    largest=1,
    random=6,
    stride=4,
    segments=8,
    middles=8,
    starts=6,
    stages=((-4, 4, 3), (-8, 5, 1), (-12, 6, 1), (-20, 8, 1)),
)


class _Probe:
    """A map, the vectors that it is tried on, and what it gives there."""

    def __init__(self, map: Map, size: int, seed: int) -> None:
        self.map = map
        self.size = size
        self.seed = seed
        #: Near the temperature, and a power of two: multiples of it scale and shift exactly.
        self.unit = 2.0 ** round(math.log2(map.setting("temperature")))
        #: Whether a row costs an integral.
        self.integrates = map.name in _QUADRATURE
        self.accuracy = _QUADRATURE.get(map.name, _EPS)
        self.effort = _REDUCED if self.integrates else _FULL

    def generator(self, use: int) -> np.random.Generator:
        """Its own stream of random numbers for every use."""
        return np.random.default_rng((self.seed, use))

    def random_rows(self, count: int, scale: float, use: int) -> Array:
        """Normal, on a grid of 2⁻³⁰ units."""
        rows = self.generator(use).standard_normal((count, self.size)) * scale
        return np.ldexp(np.round(np.ldexp(rows, 30)), -30) * self.unit

    @cached_property
    def rows(self) -> Array:
        """The vectors, shape (R, n), the simplest first."""
        parts = [_integer_rows(self.size, self.effort.largest), _structured(self.size)]
        random = [self.random_rows(self.effort.random, 2.0**k, 20 + k) for k in (-6, -3, 0, 2, 4)]
        return np.concatenate([np.concatenate(parts) * self.unit, *random])

    @cached_property
    def values(self) -> Array:
        """p of every vector."""
        return self.map(self.rows)

    @cached_property
    def slack(self) -> Array:
        """What rounding explains at every vector."""
        return self.tolerance(self.rows)

    @cached_property
    def moderate(self) -> Array:
        """Indices of the vectors without large entries."""
        return np.flatnonzero(np.abs(self.rows).max(axis=1) <= _MODERATE * self.unit)

    @cached_property
    def jacobians(self) -> Array:
        """At the sampled vectors."""
        return jacobian(self.map, self.rows[self.sampled])

    @cached_property
    def sampled(self) -> Array:
        """Indices of the moderate vectors that Jacobians are computed at."""
        return self.moderate[:: self.effort.stride]

    @cached_property
    def zeros(self) -> _Zeros:
        """Where entries are exactly 0."""
        return _find_zeros(self)

    @cached_property
    def shifts(self) -> Property:
        """Whether shifts of x change p."""
        return _try_shifts(self)

    @cached_property
    def secants(self) -> _Secants:
        """Pairs of vectors close to each other, where p changes fastest."""
        return _halved(self)

    def at_temperature(self, temperature: float) -> Map:
        """The map, colder or hotter."""
        return self.map.bind(temperature=temperature)

    def tolerance(self, x: Array) -> Array:
        """What rounding explains, for every row: the map's own, and that of the logits.

        The logits move by some eps of the largest one, equal ones together, so that ties stay.
        """
        base = np.full(len(x), _ROUNDING * self.accuracy)
        if self.integrates:  # some eps are nothing beside the accuracy
            return base
        ranks = _ranks(x)
        alternating = 1.0 - 2.0 * (ranks % 2)
        top = (ranks == ranks.max(axis=1, keepdims=True)).astype(np.float64)
        size = _ULPS * _EPS * np.abs(x).max(axis=1, keepdims=True)
        signs = (0.0 * top, alternating, -alternating, top, -top)
        moved = np.stack([x + size * sign for sign in signs])
        found = self.map(moved.reshape(-1, self.size)).reshape(moved.shape)
        change: Array = np.abs(found[1:] - found[0]).max(axis=(0, 2))
        return base + change


def _ranks(x: Array) -> Array:
    """0 for the smallest value of a row, 1 for the next …; equal entries have equal ranks."""
    order = np.argsort(x, axis=1)
    steps = np.diff(np.take_along_axis(x, order, axis=1), axis=1) > 0
    climbing = np.concatenate([np.zeros((len(x), 1), np.intp), np.cumsum(steps, axis=1)], axis=1)
    ranks = np.empty_like(climbing)
    np.put_along_axis(ranks, order, climbing, axis=1)
    return ranks


def _integer_rows(size: int, largest: int) -> Array:
    """All with entries up to `largest` in the first three places and 0 after, by size."""
    width = min(size, 3)
    short = np.array(list(product(range(-largest, largest + 1), repeat=width)), np.float64)
    rows = np.zeros((len(short), size))
    rows[:, :width] = short[np.lexsort((np.abs(short).sum(axis=1), np.abs(short).max(axis=1)))]
    return rows


def _structured(size: int) -> Array:
    """One-hot, one-cold, half and half, ladders, with gaps from 2⁻⁴⁰ to 2¹⁰."""
    first, last = np.eye(size)[0], np.eye(size)[-1]
    half = (np.arange(size) < (size + 1) // 2).astype(np.float64)
    ladder = np.arange(size, 0.0, -1.0)
    shapes = np.stack([first, -last, half, ladder, -ladder, ladder - 2.0])
    gaps = 2.0 ** np.array([-40, -20, -10, -3, -1, 1, 3, 6, 10])
    rows: Array = (gaps[:, None, None] * shapes).reshape(-1, size)
    return rows


# ---- verdicts ----------------------------------------------------------------------------------


def _verdict(
    name: PropertyName,
    deviation: Array,
    tolerance: Array,
    example: Callable[[int], Example],
    tried: str = "vectors",
    value: float | str | None = None,
) -> Property:
    """Refuted by the first case that deviates by more than rounding and not much less than any."""
    if not len(deviation):
        return Property(name, _STATEMENTS[name], None, value, f"no {tried} could be judged")
    deviation = np.where(np.isnan(deviation), np.inf, deviation)
    wrong = deviation > tolerance
    if not wrong.any():
        worst = max(float(deviation.max(initial=0.0)), 0.0)
        evidence = f"{len(deviation)} {tried}, largest deviation {_amount(worst)}"
        return Property(name, _STATEMENTS[name], True, value, evidence)
    clear = wrong & (deviation >= _CLEAR * deviation[wrong].max())
    found = example(int(np.argmax(clear)))
    share = f"fails for {np.count_nonzero(wrong)} of {len(deviation)} {tried}: "
    return Property(name, _STATEMENTS[name], False, value, share + found.statement, found)


def _amount(number: float) -> str:
    return f"{number:.1e} ({number / _EPS:.3g} eps)" if number else "0"


def _text(values: Array) -> str:
    """A number or a vector in a sentence."""
    if values.ndim == 0:
        return f"{float(values) + 0.0:.4g}"  # no −0
    shown = [_text(v) for v in values[:8]] + ["…"] * (len(values) > 8)
    return "[" + ", ".join(shown) + "]"


def _gives(x: Array, p: Array) -> str:
    return f"x = {_text(x)} gives p = {_text(p)}"


# ---- the values of the map ---------------------------------------------------------------------


def _simplex(probe: _Probe) -> Property:
    x, p = probe.rows, probe.values
    sums = p.sum(axis=1, dtype=np.longdouble).astype(np.float64)
    deviation = np.maximum(np.abs(sums - 1.0), -p.min(axis=1))
    tolerance = np.full(len(p), _ROUNDING * probe.accuracy * math.sqrt(probe.size))
    alike = np.abs(sums - sums[0]) <= tolerance * np.abs(sums[0])
    return _verdict(
        "simplex", deviation, tolerance,
        lambda i: Example(x[i], p[i], f"{_gives(x[i], p[i])} with sum {sums[i]:.4g}"),
        value=float(sums[0]) if alike.all() and deviation[0] > tolerance[0] else None,
    )  # fmt: skip


def _monotone(probe: _Probe) -> Property:
    x, p = probe.rows, probe.values
    excess = np.where(x[:, :, None] >= x[:, None, :], p[:, None, :] - p[:, :, None], 0.0)

    def example(row: int) -> Example:
        i, j = np.unravel_index(np.argmax(excess[row]), excess[row].shape)
        return _pair_of_entries(x[row], p[row], int(i), int(j))

    return _verdict("monotone", excess.max(axis=(1, 2)), probe.slack, example)


def _pair_of_entries(x: Array, p: Array, i: int, j: int) -> Example:
    compared = f"p_{i} = {p[i]:.4g}, p_{j} = {p[j]:.4g}"
    return Example(x, p, f"x = {_text(x)}: x_{i} = {x[i]:.4g}, x_{j} = {x[j]:.4g}, but {compared}")


def _strictly_monotone(probe: _Probe) -> Property:
    """Of moderate vectors and gaps of 1/8 at least, where strict growth survives rounding."""
    name: PropertyName = "strictly_monotone"
    x, p = probe.rows[probe.moderate], probe.values[probe.moderate]
    larger = x[:, :, None] - x[:, None, :] >= probe.unit / 8.0
    growth = p[:, :, None] - p[:, None, :]
    # Of an integral that is below its accuracy nothing is known, unless it is an exact zero.
    floor = _ROUNDING * probe.accuracy if probe.integrates else 0.0
    known = np.maximum(p[:, :, None], p[:, None, :]) > floor
    if probe.zeros.exact:
        known |= (p[:, :, None] <= 0.0) & (p[:, None, :] <= 0.0)
    wrong = larger & known & ~(growth > 0.0)
    if not wrong.any():
        smallest = growth[larger & known].min(initial=np.inf)
        evidence = f"{np.count_nonzero(larger & known)} pairs, smallest growth {smallest:.1e}"
        return Property(name, _STATEMENTS[name], True, None, evidence)
    row, i, j = (int(k) for k in np.argwhere(wrong)[0])
    found = _pair_of_entries(x[row], p[row], i, j)
    share = f"fails for {np.count_nonzero(wrong.any(axis=(1, 2)))} of {len(x)} vectors: "
    return Property(name, _STATEMENTS[name], False, None, share + found.statement, found)


def _shift_invariant(probe: _Probe) -> Property:
    return probe.shifts


def _try_shifts(probe: _Probe) -> Property:
    shifts = probe.unit * np.array([1.0, -1.0, 8.0, -64.0])
    moved = probe.rows[:, None, :] + shifts[:, None]
    exact = (moved - shifts[:, None] == probe.rows[:, None, :]).all(axis=2)
    row, which = np.nonzero(exact)
    y = moved[exact]
    q = probe.map(y)
    x, p = probe.rows[row], probe.values[row]

    def example(i: int) -> Example:
        moved = f"x {shifts[which[i]]:+g} gives {_text(q[i])}"
        text = f"x = {_text(x[i])} gives {_text(p[i])}, {moved}"
        return Example(np.stack([x[i], y[i]]), np.stack([p[i], q[i]]), text)

    tolerance = probe.slack[row] + probe.tolerance(y)
    return _verdict("shift_invariant", np.abs(q - p).max(axis=1), tolerance, example, "shifts")


def _scale(probe: _Probe) -> Property:
    factors = np.array([2.0, 16.0])
    y = (probe.rows[:, None, :] * factors[:, None]).reshape(-1, probe.size)
    q = probe.map(y)
    x, p, slack = (
        np.repeat(a, factors.size, axis=0) for a in (probe.rows, probe.values, probe.slack)
    )
    tolerance = probe.size * (slack + probe.tolerance(y))
    flattening = np.cumsum(_descending(p) - _descending(q), axis=1).max(axis=1)
    same = bool((np.abs(q - p).max(axis=1) <= tolerance).all())
    sharpens = bool((flattening <= tolerance).all())

    def example(i: int) -> Example:
        factor = factors[i % factors.size]
        text = f"x = {_text(x[i])} gives {_text(p[i])}, {factor:g}x gives the flatter {_text(q[i])}"
        return Example(np.stack([x[i], y[i]]), np.stack([p[i], q[i]]), text)

    value = "invariant" if same else "sharpens" if sharpens else "neither"
    return _verdict("scale", flattening, tolerance, example, "scalings", value)


def _descending(p: Array) -> Array:
    return -np.sort(-p, axis=1)


def _permutation_equivariant(probe: _Probe) -> Property:
    n = probe.size
    swap = np.r_[1, 0, 2:n]
    orders = [swap, np.arange(n)[::-1], np.roll(np.arange(n), 1), probe.generator(1).permutation(n)]
    y = np.concatenate([probe.rows[:, order] for order in orders])
    expected = np.concatenate([probe.values[:, order] for order in orders])
    q = probe.map(y)
    x, p, slack = (np.concatenate([a] * 4) for a in (probe.rows, probe.values, probe.slack))

    def example(i: int) -> Example:
        order = _text(orders[i // len(probe.rows)])
        text = f"x = {_text(x[i])} gives {_text(p[i])}, in the order {order} it gives {_text(q[i])}"
        return Example(np.stack([x[i], y[i]]), np.stack([p[i], q[i]]), text)

    deviation = np.abs(q - expected).max(axis=1)
    return _verdict("permutation_equivariant", deviation, 2.0 * slack, example, "permuted vectors")


def _cold_limit(probe: _Probe) -> Property:
    return _limit(probe, "cold_limit", -1, "argmax", lambda x: x == x.max(axis=1, keepdims=True))


def _hot_limit(probe: _Probe) -> Property:
    return _limit(probe, "hot_limit", 1, "uniform", np.ones_like)


def _limit(
    probe: _Probe, name: PropertyName, direction: int, kind: str, chosen: Callable[[Array], Array]
) -> Property:
    """Compares p at a temperature far out with equal shares of the chosen entries."""
    x = _telling(probe.size) * probe.unit
    p, nearer = (
        probe.at_temperature(probe.unit * 2.0 ** (direction * far))(x) for far in (_FAR, _NEAR)
    )
    shares = chosen(x).astype(np.float64)
    shares *= (p.sum(axis=1) / shares.sum(axis=1))[:, None]
    deviation = np.abs(p - shares).max(axis=1)
    limits = "; ".join(f"{_text(a)} → {_text(b)}" for a, b in zip(x, p, strict=True))
    statement = _STATEMENTS[name]
    if not np.abs(p - nearer).max() <= _LIMIT:
        far = f"2^{direction * _FAR}"
        return Property(name, statement, None, None, f"not settled at τ = {far}: {limits}")
    holds = bool(deviation.max() <= _LIMIT)
    first = int(np.argmax(deviation > _LIMIT))
    example = Example(x, p, limits)
    if not holds:
        example = Example(x[first], p[first], f"x = {_text(x[first])} tends to {_text(p[first])}")
    return Property(name, statement, holds, kind if holds else _text(p[first]), limits, example)


def _telling(size: int) -> Array:
    """Distinct entries, ties at the top, negative entries, a small gap."""
    ladder = np.arange(size, 0.0, -1.0)
    tie = (np.arange(size) < 2).astype(np.float64)
    return np.stack([ladder, tie, ladder - (size + 1.0), 0.25 * np.eye(size)[0]])


# ---- zeros -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Zeros:
    """Entries that are exactly 0, not for underflow.

    Attributes
    ----------
    exact : Example or None
        The first vector with one.
    stays : Example or None
        The first vector whose zero stays when the vector moves a little.
    margin : float or None
        The gap of two classes from which on the smaller one has 0.
    rays : int
        How many were followed.
    underflow : float
        The smallest range of entries at which a p underflows; ∞ if none does.
    """

    exact: Example | None
    stays: Example | None
    margin: float | None
    rays: int
    underflow: float


@dataclass(frozen=True)
class _Rays:
    """Where p(t·direction) first has an entry 0, ∞ if nowhere, and whether that is exact."""

    directions: Array
    first: Array
    exact: Array


def _find_zeros(probe: _Probe) -> _Zeros:
    rays = _follow(probe, _ray_directions(probe))
    # For short entries a power of two, one per cent after the first zero; or the zero itself.
    directions, first = rays.directions[rays.exact], rays.first[rays.exact]
    times = np.exp2(np.ceil(np.log2(1.01 * np.maximum(first, 0.5))))
    lost = _smallest(probe, times[:, None] * directions) > 0.0
    times[lost] = first[lost]
    x = times[:, None] * directions
    p = probe.map(x)
    zero = np.flatnonzero(p.min(axis=1) <= 0.0)
    stays = [i for i in zero if _stays(probe, x[i], p[i], 2.0**-10 * times[i] * probe.unit)]
    underflowing = np.isfinite(rays.first) & ~rays.exact
    ranges = np.ptp(rays.directions[underflowing], axis=1) * rays.first[underflowing]
    return _Zeros(
        exact=_example_of_zero(x, p, zero),
        stays=_example_of_zero(x, p, np.array(stays, np.intp)),
        margin=_margin(probe),
        rays=len(rays.directions),
        underflow=float(ranges.min(initial=np.inf)),
    )


def _example_of_zero(x: Array, p: Array, found: Array) -> Example | None:
    if not found.size:
        return None
    i = int(found[0])
    return Example(x[i], p[i], _gives(x[i], p[i]))


def _ray_directions(probe: _Probe) -> Array:
    """Structured ones, vectors of the suite that have a zero, random ones."""
    n = probe.size
    last, first = np.eye(n)[-1], np.eye(n)[0]
    shapes = np.stack([2.0 * first - 1.0, -last, first - 1.0, first, 1.0 - last, -np.arange(n)])
    candidates = probe.rows[probe.moderate][probe.values[probe.moderate].min(axis=1) <= 0.0]
    random = probe.random_rows(4, 1.0, 2)
    return np.concatenate([shapes * probe.unit, candidates[:4], random]) + 0.0  # no −0


def _follow(probe: _Probe, directions: Array) -> _Rays:
    """Brackets the first zero along each ray by powers of four, then bisects to the last bit.

    A zero is exact if p was well above the smallest numbers (or above the accuracy of an integral)
    one per cent before it.
    """
    smallest = _smallest(
        probe, (_TIMES[:, None, None] * directions).reshape(-1, directions.shape[1])
    )
    zero = (smallest <= 0.0).reshape(_TIMES.size, -1)
    reached = zero.any(axis=0)
    place = np.argmax(zero, axis=0)
    high = _TIMES[place]
    low = np.where(place > 0, high / 4.0, 0.0)
    later = reached & (place > 0)
    for _ in range(54 if later.any() else 0):
        middle = 0.5 * (low + high)
        vanished = _smallest(probe, middle[later, None] * directions[later]) <= 0.0
        high[later] = np.where(vanished, middle[later], high[later])
        low[later] = np.where(vanished, low[later], middle[later])
    before = _smallest(probe, 0.99 * high[:, None] * directions)
    floor = _ROUNDING * probe.accuracy if probe.integrates else _TINY / _EPS
    exact = reached & (~later | (before > floor))
    return _Rays(directions, np.where(reached, high, np.inf), exact)


def _smallest(probe: _Probe, x: Array) -> Array:
    smallest: Array = probe.map(x).min(axis=1)
    return smallest


def _stays(probe: _Probe, x: Array, p: Array, size: float) -> bool:
    """Whether the zeros of p are still there when all entries of x move."""
    signs = probe.generator(3).choice([-1.0, 1.0], (8, x.size))
    moved = probe.map(x + size * signs)
    return bool((moved[:, np.argmin(p)] <= 0.0).all())


def _margin(probe: _Probe) -> float | None:
    """The gap of two classes, if the map takes two."""
    try:
        rays = _follow(probe, probe.unit * np.array([[0.0, -1.0]]))
    except _core.ResolventError:
        return None
    gap = rays.first[0] if rays.first[0] > _TIMES[0] else 0.0
    return float(gap * probe.unit) if rays.exact[0] else None


def _sparse(probe: _Probe) -> Property:
    zeros = probe.zeros
    statement = _STATEMENTS["sparse"]
    if zeros.stays is None:
        where = "none" if zeros.exact is None else f"only at single points: {zeros.exact.statement}"
        text = f"zeros along {zeros.rays} rays: {where}{_underflow_text(zeros)}"
        return Property("sparse", statement, False, None, text)
    margin = zeros.margin if probe.shifts.holds else None
    text = f"{zeros.stays.statement}" + (
        "" if margin is None else f"; of two classes the smaller has 0 from a gap of {margin:.6g}"
    )
    return Property("sparse", statement, True, margin, text, zeros.stays)


def _full_support(probe: _Probe) -> Property:
    zeros = probe.zeros
    statement = _STATEMENTS["full_support"]
    if zeros.exact is not None:
        return Property("full_support", statement, False, None, zeros.exact.statement, zeros.exact)
    text = f"p > 0 along {zeros.rays} rays{_underflow_text(zeros)}"
    return Property("full_support", statement, True, None, text)


def _underflow_text(zeros: _Zeros) -> str:
    if math.isinf(zeros.underflow):
        return ""
    return f", down to underflow where entries are {zeros.underflow:.4g} apart"


# ---- slopes ------------------------------------------------------------------------------------


def _lipschitz_2(probe: _Probe) -> Property:
    return _lipschitz(probe, "lipschitz_2", 2, lambda J: np.linalg.norm(J, ord=2, axis=(1, 2)))


def _lipschitz_inf(probe: _Probe) -> Property:
    return _lipschitz(probe, "lipschitz_inf", np.inf, lambda J: np.abs(J).sum(axis=2).max(axis=1))


def _lipschitz(
    probe: _Probe, name: PropertyName, order: float, norm: Callable[[Array], Array]
) -> Property:
    """The largest operator norm of a Jacobian or slope of a secant; neither exists at a jump."""
    statement = _STATEMENTS[name]
    jump = probe.secants.jump()
    if jump is not None:
        return Property(name, statement, False, math.inf, f"unbounded: {jump.statement}", jump)
    places = _Places(probe, norm)
    grows = _climb(places)
    x, steepest = places.x[0], float(places.value[0])
    at = f"‖J‖ = {steepest:.6g} at x = {_text(x)}"
    example = Example(x, jacobian(probe.map, x), at)
    if grows:
        text = f"unbounded, still growing: {at}"
        return Property(name, statement, False, math.inf, text, example)
    secant = probe.secants.slope(order)
    if secant > (1.0 + _KNOWN) * steepest:
        text = f"a secant of slope {secant:.6g}; of {places.tried} Jacobians the largest {at}"
        return Property(name, statement, True, secant, text, example)
    far = np.abs(x).max() > _MODERATE * probe.unit
    text = f"{at}{', approached as entries run off' if far else ''}, of {places.tried} Jacobians"
    return Property(name, statement, True, steepest, text, example)


class _Places:
    """Vectors that climb to where the norm of the Jacobian is larger."""

    def __init__(self, probe: _Probe, norm: Callable[[Array], Array]) -> None:
        self.probe = probe
        self.norm = norm
        self.tried = 0
        self.x = np.empty((0, probe.size))
        self.value = np.empty(0)

    def add(self, x: Array) -> None:
        """More vectors."""
        self.x = np.concatenate([self.x, x])
        self.value = np.concatenate([self.value, self.steepness(x)])
        self.step = np.full(len(self.x), self.probe.unit)

    def keep(self, count: int) -> None:
        """Only the steepest, in order."""
        ahead = np.argsort(-self.value, kind="stable")[:count]
        self.x, self.value, self.step = self.x[ahead], self.value[ahead], self.step[ahead]

    def climb(self, moves: Callable[[], Array], rounds: int, floor: int) -> None:
        """Pattern search: steps double where they climb and halve where not, down to 2^floor.

        The moves of a round have the shape (m, n), or (places, m, n).
        """
        each = np.arange(len(self.x))
        for _ in range(rounds):
            candidates = self.x[:, None, :] + self.step[:, None, None] * moves()
            found = self.steepness(candidates.reshape(-1, self.probe.size)).reshape(len(each), -1)
            best = np.argmax(found, axis=1)
            climbs = found[each, best] > self.value
            self.x = np.where(climbs[:, None], candidates[each, best], self.x)
            self.value = np.where(climbs, found[each, best], self.value)
            shorter = np.maximum(0.5 * self.step, 2.0**floor * self.probe.unit)
            self.step = np.where(climbs, 2.0 * self.step, shorter)

    def steepness(self, x: Array) -> Array:
        """Norms of Jacobians; 0 where one is not finite."""
        J = jacobian(self.probe.map, x)
        self.tried += len(x)
        return np.where(np.isfinite(J).all(axis=(1, 2)), self.norm(np.nan_to_num(J)), 0.0)


def _climb(places: _Places) -> bool:
    """Brings the places to the steepest one; says whether it grows without bound next to a point.

    The best places go on with smaller steps. If there is no bound, the norm grows by a power of the
    smallest step, at two lowerings in a row or with luck at one of them; else the last rounds are
    for digits.
    """
    probe = places.probe
    generator = probe.generator(4)
    _add_layered(places)
    suite = probe.rows[probe.sampled]
    places.add(suite[np.ptp(suite, axis=1) >= 2.0**-6 * probe.unit])
    places.keep(probe.effort.starts)
    reached = []
    for floor, rounds, kept in probe.effort.stages:
        places.climb(lambda: _moves(probe.size, generator), rounds, floor)
        places.keep(kept)
        reached.append(math.log2(max(float(places.value[0]), _TINY)))
        if len(reached) == 3:
            gains = np.diff(reached)
            if gains.min() > _GROWTH * (probe.effort.stages[1][0] - floor) or gains.sum() > 1.0:
                return True
    return False


def _moves(size: int, generator: np.random.Generator) -> Array:
    """Single entries, eight at most, and all at random; up and down."""
    single = np.eye(size)[generator.permutation(size)[:8]]
    moves = np.concatenate([single, generator.standard_normal((2, size))])
    return np.concatenate([moves, -moves])


def _add_layered(places: _Places) -> None:
    """Vectors of three levels, the last far below, with the steepest gap between the others."""
    n, unit = places.probe.size, places.probe.unit
    shapes = np.unique(
        [_layers(n, k, m) for k in (1, 2, n - 1, n) for m in (0, 1, 2, n - k)], axis=0
    )
    ahead, below = shapes == 1.0, np.where(shapes < 0.0, -(2.0**30), 0.0)
    gaps = 2.0 ** np.array([-6, -4, -2, -1, 0, 1, 2, 4])
    offsets = np.array([0.0] if places.probe.shifts.holds else [0, 1, -1, 2, -2, 4, -4, 8, -8.0])
    x = gaps[:, None, None, None] * ahead + below + offsets[:, None, None]
    x = unit * x.reshape(-1, len(shapes), n)
    steep = places.steepness(x.reshape(-1, n)).reshape(len(x), -1)
    places.add(x[np.argmax(steep, axis=0), np.arange(len(shapes))])
    both = np.stack([ahead, -1.0 * ahead], axis=1)
    floor, rounds, _ = places.probe.effort.stages[0]
    places.climb(lambda: both, rounds, floor)


def _layers(size: int, first: int, second: int) -> Array:
    """So many 1, so many 0, and −1 for the rest."""
    place = np.arange(size)
    return np.where(place < first, 1.0, np.where(place < first + second, 0.0, -1.0))


@dataclass(frozen=True)
class _Secants:
    """Segments between random vectors, halved again and again towards the larger change of p.

    Attributes
    ----------
    coarse, fine : tuple of ndarray
        x, y, p(x), p(y) after 20 and after 40 halvings.
    accuracy : float
        Of p.
    """

    coarse: tuple[Array, Array, Array, Array]
    fine: tuple[Array, Array, Array, Array]
    accuracy: float

    def jump(self) -> Example | None:
        """Two vectors next to each other whose p differ: a step, or as good as one."""
        x, y, p, q = self.fine
        change = np.abs(p - q).max(axis=1)
        before = np.abs(self.coarse[2] - self.coarse[3]).max(axis=1)
        steps = change > np.maximum(_STEP * before, _ROUNDING * self.accuracy)
        if not steps.any():
            return None
        i = int(np.argmax(np.where(steps, change, 0.0)))
        text = (
            f"p moves by {change[i]:.2g} between vectors {np.abs(x - y)[i].max():.1e} apart, "
            f"at x = {_text(x[i])}"
        )
        return Example(np.stack([x[i], y[i]]), np.stack([p[i], q[i]]), text)

    def slope(self, order: float) -> float:
        """The largest |p(x) − p(y)|/|x − y|, from segments long enough for its digits."""
        x, y, p, q = self.coarse
        change = np.linalg.norm(p - q, order, axis=1) / np.linalg.norm(x - y, order, axis=1)
        return float(change.max())


def _halved(probe: _Probe) -> _Secants:
    x, y = (probe.random_rows(probe.effort.segments, 1.0, use) for use in (6, 7))
    p, q = probe.map(x), probe.map(y)
    stages = []
    for _ in range(2):
        for _ in range(20):
            middle = 0.5 * (x + y)
            r = probe.map(middle)
            lower = (np.abs(r - p).max(axis=1) > np.abs(q - r).max(axis=1))[:, None]
            x, y = np.where(lower, x, middle), np.where(lower, middle, y)
            p, q = np.where(lower, p, r), np.where(lower, r, q)
        stages.append((x, y, p, q))
    coarse, fine = stages
    return _Secants(coarse, fine, probe.accuracy)


# ---- Jacobians ---------------------------------------------------------------------------------


def _jacobian_symmetric(probe: _Probe) -> Property:
    J = probe.jacobians
    skew = J - J.swapaxes(1, 2)

    def told(i: int) -> str:
        row, column = np.unravel_index(np.argmax(skew[i]), skew[i].shape)
        entries = f"{J[i, row, column]:.4g} and {J[i, column, row]:.4g}"
        return f"has {entries} at {row}, {column} and {column}, {row}"

    return _of_jacobian(probe, "jacobian_symmetric", np.abs(skew).max(axis=(1, 2)), told)


def _jacobian_psd(probe: _Probe) -> Property:
    J = np.nan_to_num(probe.jacobians)
    smallest = np.linalg.eigvalsh(0.5 * (J + J.swapaxes(1, 2)))[:, 0]
    return _of_jacobian(
        probe, "jacobian_psd", -smallest,
        lambda i: f"has the smallest eigenvalue {smallest[i]:.4g} of (J + Jᵀ)/2",
    )  # fmt: skip


def _jacobian_rows(probe: _Probe) -> Property:
    sums = probe.jacobians.sum(axis=2)
    return _of_jacobian(
        probe, "jacobian_rows", np.abs(sums).max(axis=1),
        lambda i: f"has rows with sums {_text(sums[i])}",
    )  # fmt: skip


def _jacobian_columns(probe: _Probe) -> Property:
    sums = probe.jacobians.sum(axis=1)
    return _of_jacobian(
        probe, "jacobian_columns", np.abs(sums).max(axis=1),
        lambda i: f"has columns with sums {_text(sums[i])}",
    )  # fmt: skip


def _of_jacobian(
    probe: _Probe, name: PropertyName, deviation: Array, told: Callable[[int], str]
) -> Property:
    """Deviations are relative to the largest entry of J, or to 1/τ if all are smaller."""
    J, x = probe.jacobians, probe.rows[probe.sampled]
    relative = deviation / np.maximum(np.abs(J).max(axis=(1, 2)), 1.0 / probe.unit)
    tolerance = np.full(len(J), _ROUNDING * probe.accuracy * probe.size)

    def example(i: int) -> Example:
        return Example(x[i], J[i], f"J at x = {_text(x[i])} {told(i)}")

    return _verdict(name, relative, tolerance, example, "Jacobians")


# ---- losses ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chords:
    """Segments with their middle, of shape (K, n), and a target for each."""

    low: Array
    middle: Array
    high: Array
    target: Array


def _chords(probe: _Probe) -> _Chords:
    """Around simple vectors and random ones, along axes and others, of all lengths."""
    n, count = probe.size, probe.effort.middles
    simple = probe.rows[probe.moderate][:count]
    random = [probe.random_rows(count // 4, scale, 8) for scale in (1.0, 4.0)]
    skew = probe.generator(9).integers(-2, 3, (2, n)).astype(np.float64)
    reach = probe.unit * np.array([2.0**-10, 0.5, 4.0])
    offsets = reach[:, None, None] * np.concatenate([np.eye(n)[[0, -1]], skew])
    pairs = product(np.concatenate([simple, *random]), offsets.reshape(-1, n), _targets(probe))
    middle, offset, target = (np.array(column) for column in zip(*pairs, strict=True))
    return _Chords(middle - offset, middle, middle + offset, target)


def _targets(probe: _Probe) -> Array:
    """Classes; where p has another sum than 1 that sum, on as few entries as can hold it."""
    total = probe.map.setting("total") if probe.map.name == "budget" else 1.0
    if total == 1.0:
        return np.arange(min(probe.size, 8))
    held = np.clip(total - np.arange(probe.size), 0.0, 1.0)
    return np.stack([np.roll(held, t) for t in range(min(probe.size, 8))])


def _loss_convex(probe: _Probe) -> Property:
    """Along chords: the loss in the middle against that at the ends, and the slopes at the ends."""
    map = _without_target(probe.map)
    chords = _chords(probe)
    ends = (chords.low, chords.middle, chords.high)
    losses = np.stack([loss(map, x, chords.target, reduction="none") for x in ends])
    slopes = np.stack([loss_gradient(map, x, chords.target, reduction="none") for x in ends[::2]])
    noise = _noise_of_loss(probe, chords, losses)
    known = noise < _KNOWN
    chords = _Chords(*(a[known] for a in (chords.low, chords.middle, chords.high, chords.target)))
    losses, slopes, noise = losses[:, known], slopes[:, known], noise[known]
    bulging = _bulging(chords, losses, noise * (1.0 + _finite(losses).max(axis=0)))
    if bulging.holds is False:
        return bulging
    falling = _falling(probe, chords, losses, slopes, noise)
    if falling.holds is False:
        return falling
    evidence = f"of losses {bulging.evidence}; of their slopes {falling.evidence}"
    return Property("loss_convex", falling.statement, True, None, evidence)


def _without_target(map: Map) -> Map:
    """The loss has its own."""
    return map.bind(target=None) if "target" in map.parameters else map


def _noise_of_loss(probe: _Probe, chords: _Chords, losses: Array) -> Array:
    """What rounding explains of a loss of size 1: of −log p the accuracy of p, relatively."""
    size = np.maximum(np.abs(chords.low), np.abs(chords.high)).max(axis=1) / probe.unit
    noise: Array = _ROUNDING * _EPS * (1.0 + size)
    if probe.integrates:
        smallest = np.exp(-_finite(losses).max(axis=0))
        noise += _ROUNDING * probe.accuracy / np.maximum(smallest, _TINY)
    return noise


def _finite(values: Array) -> Array:
    """Sizes, 0 for what is infinite."""
    return np.abs(np.where(np.isfinite(values), values, 0.0))


def _bulging(chords: _Chords, losses: Array, tolerance: Array) -> Property:
    low, middle, high = losses
    with np.errstate(invalid="ignore"):
        bulge = np.where(np.isposinf(low) | np.isposinf(high), -np.inf, middle - 0.5 * (low + high))

    def example(i: int) -> Example:
        x = np.stack([chords.low[i], chords.middle[i], chords.high[i]])
        text = (
            f"target {_text(chords.target[i])}: loss {middle[i]:.6g} at {_text(x[1])}, midway from "
            f"{low[i]:.6g} at {_text(x[0])} to {high[i]:.6g} at {_text(x[2])}"
        )
        return Example(x, losses[:, i], text)

    return _verdict("loss_convex", bulge, tolerance, example, "chords")


def _falling(
    probe: _Probe, chords: _Chords, losses: Array, slopes: Array, noise: Array
) -> Property:
    """−⟨∇(high) − ∇(low), high − low⟩, where the losses are finite."""
    across = chords.high - chords.low
    finite = np.isfinite(losses[0]) & np.isfinite(losses[2])
    with np.errstate(invalid="ignore"):
        fall = np.where(finite, -((slopes[1] - slopes[0]) * across).sum(axis=1), -np.inf)
    wobble = probe.tolerance(chords.low) + probe.tolerance(chords.high)
    per_unit = noise * _finite(slopes).max(axis=(0, 2)) + wobble / probe.unit

    def example(i: int) -> Example:
        x = np.stack([chords.low[i], chords.high[i]])
        text = (
            f"target {_text(chords.target[i])}: the slope falls by {fall[i]:.3g} "
            f"from {_text(x[0])} to {_text(x[1])}"
        )
        return Example(x, slopes[:, i], text)

    tolerance = per_unit * np.abs(across).sum(axis=1)
    return _verdict("loss_convex", fall, tolerance, example, "chords")


# ---- cards -------------------------------------------------------------------------------------

_CHECKS: tuple[Callable[[_Probe], Property], ...] = (
    _simplex,
    _monotone,
    _strictly_monotone,
    _shift_invariant,
    _scale,
    _cold_limit,
    _hot_limit,
    _permutation_equivariant,
    _sparse,
    _full_support,
    _lipschitz_2,
    _lipschitz_inf,
    _jacobian_symmetric,
    _jacobian_psd,
    _jacobian_rows,
    _jacobian_columns,
    _loss_convex,
)

#: What a table compares unless told otherwise.
_TELLING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("softmax", {}),
    ("taylor_softmax", {"order": 2}),
    ("sparse_softmax", {"k": 2}),
    ("sparsemax", {}),
    ("entmax", {"alpha": 1.5}),
    ("entmax", {"alpha": 4.0}),
    ("normmax", {"alpha": 2.0}),
    ("budget", {"total": 2.0}),
    ("perturb_max", {"noise": "gumbel"}),
    ("perturb_max", {"noise": "normal"}),
    ("perturb_max", {"noise": "logistic"}),
    ("perturb_max", {"noise": "laplace"}),
    ("perturb_max", {"noise": "uniform"}),
    ("perturb_max", {"noise": "exponential"}),
    ("perturb_max", {"noise": "student-t", "df": 3.0}),
    ("perturb_max", {"noise": "cauchy"}),
    ("normalize", {"f": "square"}),
    ("normalize", {"f": "relu"}),
    ("normalize", {"f": "sigmoid"}),
    ("normalize", {"f": "softplus"}),
    ("margin_softmax", {"target": 0}),
)


class _Properties(Protocol):
    """:func:`properties`, and the table as its attribute."""

    def __call__(
        self, map: MapLike, *, size: int = 4, seed: int = 0, **parameters: Any
    ) -> PropertyCard:
        """Makes a card."""

    def table(
        self, maps: Iterable[MapLike] | None = None, *, size: int = 4, seed: int = 0
    ) -> PropertyTable:
        """Makes a table."""


def _with_table(function: Callable[..., PropertyCard]) -> _Properties:
    function.table = _table  # type: ignore[attr-defined]
    return cast(_Properties, function)


def _table(maps: Iterable[MapLike] | None = None, *, size: int = 4, seed: int = 0) -> PropertyTable:
    """Property cards of several maps, as one table.

    Parameters
    ----------
    maps : iterable of maps, optional
        All maps with telling parameters unless given.
    size, seed
        As in :func:`properties`.

    Returns
    -------
    PropertyTable
        An HTML table in notebooks, whose cells show their evidence; `.markdown()` elsewhere.

    Examples
    --------
    >>> import resolvent as rv
    >>> table = rv.probmap.properties.table([rv.probmap.softmax, rv.probmap.entmax(alpha=1.25)])
    >>> table
    PropertyTable(2 maps, 17 properties)
    >>> [card["sparse"].value for card in table]
    [None, 4.0]
    """
    chosen = [resolve(*entry) for entry in _TELLING] if maps is None else list(maps)
    return PropertyTable(tuple(properties(map, size=size, seed=seed) for map in chosen))


@_with_table
def properties(map: MapLike, *, size: int = 4, seed: int = 0, **parameters: Any) -> PropertyCard:
    """What a map does, computed: each property with its evidence or a counterexample.

    Parameters
    ----------
    map : map
        The function of a map, its name, or a map with bound parameters.
    size : int
        Entries of the vectors to try; at least 2. Constants and limits are those of this size.
    seed : int
        Of the random vectors; at least 0. The same seed gives the same card.
    **parameters
        Of the map, one number each: `temperature` too.

    Returns
    -------
    PropertyCard
        Indexed by the names in :data:`PROPERTIES`. ``card["monotone"].holds`` is True where no
        vector refutes the property beyond rounding, which is no proof; False with a
        `counterexample`, which is one. `value` is, for "sparse", the gap from which on the smaller
        of two classes has exactly 0; for "lipschitz_2" and "lipschitz_inf" the constant in that
        norm, ∞ where there is none; for "scale" how p(cx), c > 1, compares with p(x): "sharpens",
        "invariant" or "neither"; for the limits of the temperature what they are.

    Raises
    ------
    InvalidArgument
        If the size is below 2, the seed below 0, or the map refuses its parameters.
    ShapeMismatch
        If a parameter is not a single number.

    Notes
    -----
    Some 500 vectors in double precision, integers first, so that counterexamples are short; 100
    where a vector costs an integral. Every shift, scaling and midpoint is exact in the logits. It
    takes a tenth of a second, for perturb_max up to 5 s, and much longer with a noise of the
    caller's; time grows like size³.

    A Lipschitz constant is the largest operator norm of a Jacobian that a pattern search finds, a
    lower bound that may be a limit (of softmax for more than two entries: the others have to run
    off to −∞). It is ∞ where the map has a step, or the norm still grows next to a point; growth
    slower than distance^(−1/64), as of entmax with 2 < α < 2.016, passes for none.
    A zero by underflow is none: the last p before it is compared with the smallest numbers. So
    entmax with α below 1.004, whose margin p reaches by underflow, passes for positive.

    :func:`properties.table` compares several maps.

    Examples
    --------
    >>> import resolvent as rv
    >>> card = rv.probmap.properties("taylor_softmax", order=2)
    >>> card["monotone"].holds
    False
    >>> card["monotone"].counterexample.x
    array([-2., -1.,  0.,  0.])
    >>> rv.probmap.properties(rv.probmap.sparsemax)["sparse"].value
    1.0
    """
    bound = resolve(map, parameters)
    count, start = integer_parameter(size, "size"), integer_parameter(seed, "seed")
    if count < 2:
        raise _core.InvalidArgument(f"size must be at least 2, got {count}")
    if start < 0:
        raise _core.InvalidArgument(f"seed must be at least 0, got {start}")
    for name, value in bound.parameters.items():
        if name != "noise" and np.ndim(value) != 0:
            raise _core.ShapeMismatch(
                f"{name} must be a single number, got an array of shape {np.shape(value)}"
            )
    bound(np.zeros(count))  # refuses parameters out of range
    probe = _Probe(bound, count, start)
    return PropertyCard(bound, count, tuple(check(probe) for check in _CHECKS))
