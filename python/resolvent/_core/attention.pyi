from typing import Any

import numpy.typing as npt

_Array = npt.NDArray[Any]

epsilon: float

def streaming(
    q: _Array,
    k: _Array,
    v: _Array,
    mask: _Array,
    places: _Array,
    scale: float,
    refuse_empty: bool,
    batch: tuple[int, ...],
    out: _Array,
) -> None: ...
def recompute(
    q: _Array,
    k: _Array,
    v: _Array,
    mask: _Array,
    places: _Array,
    scale: float,
    refuse_empty: bool,
    batch: tuple[int, ...],
    out: _Array,
) -> None: ...
def count(length: int, layers: int, heads: int, width: int, route: str) -> dict[str, float]: ...
def outer(
    q: _Array,
    k: _Array,
    v: _Array,
    decay: _Array,
    q_place: _Array,
    k_place: _Array,
    v_place: _Array,
    decay_place: _Array,
    start: _Array,
    chunk: int,
) -> tuple[_Array, _Array]: ...
def outer_adjoint(
    q: _Array,
    k: _Array,
    v: _Array,
    decay: _Array,
    q_place: _Array,
    k_place: _Array,
    v_place: _Array,
    decay_place: _Array,
    start: _Array,
    g: _Array,
    chunk: int,
) -> tuple[_Array, _Array, _Array, _Array, _Array]: ...
def selective_scan(
    u: _Array,
    dt: _Array,
    A: _Array,
    B: _Array,
    C: _Array,
    D: _Array,
    initial: _Array,
    zoh: bool,
    chunk: int,
    split: bool,
) -> tuple[_Array, _Array]: ...
def selective_scan_adjoint(
    u: _Array,
    dt: _Array,
    A: _Array,
    B: _Array,
    C: _Array,
    D: _Array,
    initial: _Array,
    g: _Array,
    zoh: bool,
    chunk: int,
    split: bool,
) -> tuple[_Array, _Array, _Array, _Array, _Array, _Array, _Array]: ...
def wkv(
    w: _Array, u: _Array, k: _Array, v: _Array, initial: _Array, chunk: int, split: bool
) -> tuple[_Array, _Array]: ...
def wkv_adjoint(
    w: _Array,
    u: _Array,
    k: _Array,
    v: _Array,
    initial: _Array,
    g: _Array,
    chunk: int,
    split: bool,
) -> tuple[_Array, _Array, _Array, _Array, _Array]: ...
def diagonal_scan(
    u: _Array,
    eigenvalues: _Array,
    B: _Array,
    C: _Array,
    initial: _Array,
    chunk: int,
    split: bool,
) -> tuple[_Array, _Array]: ...
def diagonal_scan_adjoint(
    u: _Array,
    eigenvalues: _Array,
    B: _Array,
    C: _Array,
    initial: _Array,
    g: _Array,
    chunk: int,
    split: bool,
) -> tuple[_Array, _Array, _Array, _Array, _Array]: ...

class StackCache64:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def step(self, token: int) -> _Array: ...
    @property
    def length(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class StackCache32:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def step(self, token: int) -> _Array: ...
    @property
    def length(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class StackWeights64:
    def __init__(
        self,
        embedding: _Array,
        query: _Array,
        key: _Array,
        value: _Array,
        output: _Array,
        heads: int,
    ) -> None: ...
    def forward(self, tokens: _Array, route: str) -> _Array: ...
    def last(self, tokens: _Array) -> _Array: ...
    def cache(self) -> StackCache64: ...

class StackWeights32:
    def __init__(
        self,
        embedding: _Array,
        query: _Array,
        key: _Array,
        value: _Array,
        output: _Array,
        heads: int,
    ) -> None: ...
    def forward(self, tokens: _Array, route: str) -> _Array: ...
    def last(self, tokens: _Array) -> _Array: ...
    def cache(self) -> StackCache32: ...
