"""A map with its parameters, and the ways to name one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, cast, overload

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_real
from resolvent.probmap._families import FAMILIES, Family
from resolvent.probmap._rows import Empty, Rows, as_rows, refuses_empty

__all__ = ["MAPS", "Map", "MapFunction", "MapLike", "bindable", "evaluate", "resolve"]

#: Names of the maps.
MAPS: tuple[str, ...] = tuple(FAMILIES)

P = ParamSpec("P")


@dataclass(frozen=True, repr=False, eq=False)
class Map:
    """A map to the simplex whose parameters are bound.

    Made by calling one of the maps' functions without logits.

    Attributes
    ----------
    name : str
        One of :data:`MAPS`.

    Examples
    --------
    >>> import resolvent as rv
    >>> half = rv.probmap.entmax(alpha=1.5, temperature=0.5)
    >>> half
    entmax(alpha=1.5, temperature=0.5)
    >>> half([0.3, 0.2, -2.0]).round(3)
    array([0.571, 0.429, 0.   ])
    """

    name: str
    _bound: tuple[tuple[str, Any], ...] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """The bound parameters, the temperature included if it is one of them."""
        return dict(self._bound)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self._bound)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Map):
            return NotImplemented
        mine, others = self.parameters, other.parameters
        return (
            self.name == other.name
            and mine.keys() == others.keys()
            and all(np.array_equal(mine[name], others[name]) for name in mine)
        )

    def __hash__(self) -> int:
        return hash((self.name, self._bound))

    def setting(self, name: str) -> Any:
        """A parameter's value: the bound one, else the default."""
        return {**_defaults(self.name), **self.parameters}[name]

    def bind(self, **parameters: Any) -> Map:
        """The same map with more parameters, or others.

        Raises
        ------
        InvalidArgument
            For a parameter that the map does not have.
        """
        known = _defaults(self.name)
        for name in parameters:
            if name not in known:
                raise _core.InvalidArgument(
                    f"{self.name} has the parameters {', '.join(known)}; got {name!r}"
                )
        bound = {**self.parameters, **parameters}
        return Map(self.name, tuple((name, bound[name]) for name in known if name in bound))

    def __call__(
        self,
        x: ArrayLike,
        *,
        axis: int = -1,
        mask: ArrayLike | None = None,
        out: Array | None = None,
        empty: Empty = "uniform",
    ) -> Array:
        """The probabilities; see the function of the map's name."""
        return evaluate(self, x, axis=axis, mask=mask, out=out, empty=empty)

    def family(self) -> Family:
        """What the map computes, without its temperature."""
        own = {k: v for k, v in self._bound if k != "temperature"}
        return FAMILIES[self.name](**own)

    def temperature(self, rows: Rows) -> Array:
        """The temperature as the core takes it."""
        return temperature_of(self.setting("temperature"), rows)


class MapFunction(Generic[P]):
    """The function of a map: called without logits it binds its parameters."""

    __name__: str
    __wrapped__: Callable[..., Array]

    def __init__(self, function: Callable[Concatenate[ArrayLike, P], Array]) -> None:
        functools.update_wrapper(self, function)
        self.map = Map(function.__name__)

    @overload
    def __call__(self, x: ArrayLike, /, *args: P.args, **kwargs: P.kwargs) -> Array: ...
    @overload
    def __call__(self, /, **parameters: Any) -> Map: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Array | Map:
        if args or "x" in kwargs:
            return self.__wrapped__(*args, **kwargs)
        return self.map.bind(**kwargs)

    def __repr__(self) -> str:
        return f"<map {self.__name__}>"

    def __reduce__(self) -> str:
        return self.__name__


#: The function of a map, its name, or a map with bound parameters.
MapLike: TypeAlias = MapFunction[Any] | str | Map


def bindable(function: Callable[Concatenate[ArrayLike, P], Array]) -> MapFunction[P]:
    """Makes the function of a map bind its parameters where there are no logits."""
    return MapFunction(function)


def resolve(map: MapLike, parameters: dict[str, Any]) -> Map:
    """The map that the caller means, with these parameters bound too."""
    if isinstance(map, MapFunction):
        map = map.map
    elif isinstance(map, functools.partial):
        return resolve(cast(MapLike, map.func), {**map.keywords, **parameters})
    elif isinstance(map, str) and map in MAPS:
        map = Map(map)
    if not isinstance(map, Map):
        listed = ", ".join(repr(name) for name in MAPS)
        raise _core.InvalidArgument(
            f"map must be the function of a map, a map with bound parameters, or one of {listed}; "
            f"got {map!r}"
        )
    return map.bind(**parameters) if parameters else map


def evaluate(
    map: Map,
    x: ArrayLike,
    *,
    axis: int,
    mask: ArrayLike | None,
    out: Array | None,
    empty: Empty,
) -> Array:
    """Applies a map."""
    rows = as_rows(x, axis, mask)
    refuse = refuses_empty(empty)
    family, temperature = map.family(), map.temperature(rows)
    into, direct = rows.target(None if out is None else rows.checked_out(out))
    naming_places(rows, lambda: family.apply(rows, temperature, refuse, into), refuse)
    return rows.delivered(into, direct, out)


def naming_places(rows: Rows, compute: Callable[[], Any], refuse_empty: bool = False) -> Any:
    """Runs a computation on rows; what it refuses is named by its place in what the caller gave."""
    try:
        return compute()
    except _core.InvalidArgument:
        _core.require_logits(rows.to_array(rows.x), "x")
        if refuse_empty:
            rows.require_entries()
        raise


def temperature_of(value: ArrayLike, rows: Rows) -> Array:
    """A positive temperature for all rows, or one for each."""
    temperature = rows.numbers(value, "temperature")
    bad = ~((temperature > 0.0) & np.isfinite(temperature))
    if bad.any():
        raise _core.InvalidArgument(
            f"temperature must be positive and finite, got {temperature[bad][0]:g}"
        )
    return temperature


def parameter_shape(map: Map, name: str) -> tuple[int, ...]:
    """Shape of a parameter as it was given."""
    return as_real(map.setting(name), name).shape


@functools.cache
def _defaults(name: str) -> dict[str, Any]:
    own = {entry.name: entry.default for entry in fields(FAMILIES[name])}
    return {**own, "temperature": 1.0}
