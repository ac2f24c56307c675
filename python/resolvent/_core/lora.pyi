from typing import Any

import numpy.typing as npt

_Array = npt.NDArray[Any]

def low_rank(
    M: _Array,
    rank: int,
    method: str,
    oversample: int,
    iterations: int | None,
    tolerance: float | None,
    each: bool,
    seed: int,
) -> tuple[_Array, _Array, _Array, float, float, _Array, int, int]: ...
def softmax_regression(
    x: _Array, labels: _Array, W: _Array, b: _Array
) -> tuple[float, int, _Array, _Array]: ...
def perceptron(
    x: _Array, labels: _Array, W1: _Array, b1: _Array, W2: _Array, b2: _Array, activation: str
) -> tuple[float, int, _Array, _Array, _Array, _Array]: ...
