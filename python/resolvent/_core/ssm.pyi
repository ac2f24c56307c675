from typing import Any

import numpy.typing as npt

from .hippo import System

_Array = npt.NDArray[Any]

def cauchy(v: _Array, z: _Array, eigenvalues: _Array, conjugate: bool) -> _Array: ...
def cauchy_adjoint(
    v: _Array, z: _Array, eigenvalues: _Array, g: _Array, conjugate: bool
) -> tuple[_Array, _Array, _Array]: ...
def vandermonde(v: _Array, eigenvalues: _Array, length: int, conjugate: bool) -> _Array: ...
def vandermonde_adjoint(v: _Array, eigenvalues: _Array, g: _Array) -> tuple[_Array, _Array]: ...
def convolve(u: _Array, kernel: _Array, method: str) -> _Array: ...
def scan(a: _Array, b: _Array, x0: _Array, reverse: bool) -> _Array: ...
def run_dense(A: _Array, B: _Array, C: _Array, u: _Array, x0: _Array) -> tuple[_Array, _Array]: ...
def run_diagonal(
    eigenvalues: _Array,
    P: _Array,
    Q: _Array,
    B: _Array,
    C: _Array,
    weight: _Array,
    real: bool,
    u: _Array,
    x0: _Array,
) -> tuple[_Array, _Array]: ...
def coast_diagonal(
    eigenvalues: _Array,
    P: _Array,
    Q: _Array,
    weight: _Array,
    real: bool,
    x0: _Array,
    steps: int,
) -> _Array: ...
def power_action(C: _Array, A: _Array, exponent: int) -> _Array: ...
def power_kernel(A: _Array, B: _Array, C: _Array, length: int) -> _Array: ...
def frequency_response(A: _Array, B: _Array, C: _Array, zeta: _Array) -> _Array: ...
def cascade_response(system: System, C: _Array, s: _Array) -> _Array: ...
def cascade_kernel(
    system: System, C: _Array, steps: _Array, alpha: float, length: int
) -> _Array: ...
def dplr_response(
    eigenvalues: _Array,
    P: _Array,
    Q: _Array,
    B: _Array,
    C: _Array,
    weight: _Array,
    real: bool,
    s: _Array,
) -> _Array: ...
def dplr_kernel(
    eigenvalues: _Array,
    P: _Array,
    Q: _Array,
    B: _Array,
    C: _Array,
    weight: _Array,
    real: bool,
    steps: _Array,
    alpha: float,
    length: int,
) -> _Array: ...
