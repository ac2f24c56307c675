from typing import Any

import numpy.typing as npt

_Array = npt.NDArray[Any]

def log_density(x: _Array, weights: _Array, means: _Array, covariances: _Array) -> _Array: ...
def responsibilities(
    x: _Array, weights: _Array, means: _Array, covariances: _Array
) -> tuple[_Array, _Array]: ...
def score(x: _Array, weights: _Array, means: _Array, covariances: _Array) -> _Array: ...
def hessian(x: _Array, weights: _Array, means: _Array, covariances: _Array) -> _Array: ...
def blend(
    x: _Array,
    weights: _Array,
    means: _Array,
    covariances: _Array,
    slopes: _Array,
    offsets: _Array,
) -> _Array: ...
def blend_jacobian(
    x: _Array,
    weights: _Array,
    means: _Array,
    covariances: _Array,
    slopes: _Array,
    offsets: _Array,
) -> _Array: ...
