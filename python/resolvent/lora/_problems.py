"""Tasks to fine-tune on: a classifier that was trained on one half, and the data of the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    as_real,
    count_parameter,
    integer_parameter,
    name_parameter,
    read_only,
    real_parameter,
)
from resolvent._html import table
from resolvent.lora._lowrank import seed_parameter
from resolvent.lora._optimizers import Adam

__all__ = ["ACTIVATIONS", "KINDS", "SHIFTS", "Evaluation", "Problem", "digits"]

Activation = Literal["relu", "tanh"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)

Kind = Literal["softmax", "mlp"]
KINDS: tuple[str, ...] = get_args(Kind)

Shift = Literal["classes", "rotation"]
SHIFTS: tuple[str, ...] = get_args(Shift)

#: Digits of the first half that the model is pre-trained on where new classes are the shift.
_OLD_CLASSES = 5

#: Of the second half, this share is kept for the test.
_TEST_SHARE = 1 / 3

#: The largest grey value of a digit.
_WHITE = 16.0

#: Pre-training: full batches with Adam.
_PRETRAINING_STEPS, _PRETRAINING_RATE = 300, 0.01


class Evaluation(NamedTuple):
    """The loss of some rows and its gradients; from :meth:`Problem.gradients`.

    Attributes
    ----------
    loss : float
        Mean cross-entropy.
    accuracy : float
        The share of rows whose largest logit is the label's.
    weights, biases : tuple of ndarray
        ∂loss/∂W and ∂loss/∂b, in the shapes of the weights and biases.
    """

    loss: float
    accuracy: float
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Problem:
    """A pre-trained classifier and the data that it is to be fine-tuned on.

    One weight is softmax regression, logits x W + b; two are a perceptron with one hidden layer,
    logits f(x W₁ + b₁) W₂ + b₂. The loss is the mean cross-entropy.

    Parameters
    ----------
    x : array_like, shape (k, n)
        Inputs, one row each.
    y : array_like of int, shape (k,)
        Labels from 0 to m − 1.
    weights : sequence of one or two array_like
        What fine-tuning starts from: (n, m), or (n, h) and (h, m).
    biases : sequence of array_like, optional
        (m,), or (h,) and (m,); zeros unless given.
    activation : {"relu", "tanh"}, optional
        f; for two weights "relu" unless given, for one there is none.
    x_test, y_test : array_like, optional
        Rows that accuracies are measured on; `x` and `y` unless given.
    name : str
        For reports.

    Attributes
    ----------
    x, y, x_test, y_test : ndarray
        Read-only, as are all. Labels are int64; all others have one type, float32 if all were.
    weights, biases : tuple of ndarray
    activation : str or None
    name : str

    Raises
    ------
    InvalidArgument
        For other numbers of weights, an activation with one weight, labels out of range, no rows,
        or entries that are not finite.
    ShapeMismatch
        If shapes do not fit together.
    DtypeError
        For labels that are no integers, or arrays that are not of real numbers.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> problem = rv.lora.Problem(x, [0, 1], [np.zeros((2, 3))])
    >>> problem
    Problem('problem', 2 rows, 2→3)
    >>> bool(np.isclose(problem.gradients().loss, np.log(3.0)))
    True
    """

    x: Array
    y: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: str | None
    x_test: Array
    y_test: Array
    name: str

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        weights: Sequence[ArrayLike],
        biases: Sequence[ArrayLike] | None = None,
        activation: Activation | None = None,
        x_test: ArrayLike | None = None,
        y_test: ArrayLike | None = None,
        *,
        name: str = "problem",
    ) -> None:
        if (x_test is None) != (y_test is None):
            missing = "x_test" if x_test is None else "y_test"
            raise _core.InvalidArgument(f"x_test and y_test go together, but {missing} is missing")
        inputs = _matrix(x, "x")
        tests = inputs if x_test is None else _matrix(x_test, "x_test")
        matrices = _weights(weights, inputs.shape[1])
        vectors = _biases(biases, matrices)
        dtype = np.result_type(inputs, tests, *matrices, *vectors)
        outputs = matrices[-1].shape[1]
        labels = _labels(y, "y", inputs, outputs)
        if tests.shape[1] != inputs.shape[1]:
            raise _core.ShapeMismatch(
                f"x_test must have as many columns as x, {inputs.shape[1]}, got {tests.shape}"
            )
        values: dict[str, Any] = {
            "x": _kept(inputs, dtype),
            "y": _kept(labels, np.int64),
            "weights": tuple(_kept(W, dtype) for W in matrices),
            "biases": tuple(_kept(b, dtype) for b in vectors),
            "activation": _activation(activation, len(matrices)),
            "x_test": _kept(tests, dtype),
            "y_test": _kept(
                labels if y_test is None else _labels(y_test, "y_test", tests, outputs), np.int64
            ),
            "name": name,
        }
        for entry, value in values.items():
            object.__setattr__(self, entry, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for entry, value in state.items():
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray):
                    read_only(array)
            object.__setattr__(self, entry, value)

    @property
    def rows(self) -> int:
        """How many rows there are to train on."""
        return len(self.x)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden units if there are any, and classes."""
        return (self.x.shape[1], *(W.shape[1] for W in self.weights))

    def gradients(
        self,
        weights: Sequence[ArrayLike] | None = None,
        biases: Sequence[ArrayLike] | None = None,
        *,
        rows: Any = None,
    ) -> Evaluation:
        """The loss of the training rows, and its derivatives.

        Parameters
        ----------
        weights, biases : sequence of array_like, optional
            Where; the pre-trained ones unless given.
        rows : slice or array of int, optional
            Of which rows of `x`; of all unless given.

        Returns
        -------
        Evaluation

        Raises
        ------
        ShapeMismatch
            If weights or biases have other shapes than the pre-trained ones.

        Notes
        -----
        Three products with the size of x W; in the compiled core.
        """
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])
        return self._evaluate(x, y, weights, biases)

    def test(
        self,
        weights: Sequence[ArrayLike] | None = None,
        biases: Sequence[ArrayLike] | None = None,
    ) -> Evaluation:
        """As :meth:`gradients`, of the rows kept for the test."""
        return self._evaluate(self.x_test, self.y_test, weights, biases)

    def batch_gradients(
        self, batch_size: int, count: int | None = None, *, seed: int = 0
    ) -> tuple[Array, ...]:
        """Gradients of several batches at the pre-trained weights, for :func:`batch_noise`.

        Parameters
        ----------
        batch_size : int
            Rows per batch, drawn without replacement.
        count : int, optional
            How many batches; one pass over the rows unless given.
        seed : int
            Of the order of rows.

        Returns
        -------
        tuple of ndarray, shape (count, n, m)
            One array per weight.

        Raises
        ------
        InvalidArgument
            If there are not so many rows, or no batch is asked for.

        Examples
        --------
        >>> import numpy as np, resolvent as rv
        >>> problem = rv.lora.Problem(np.eye(4), [0, 1, 2, 2], [np.zeros((4, 3))])
        >>> [G.shape for G in problem.batch_gradients(2)]
        [(2, 4, 3)]
        """
        size = batch_parameter(batch_size, self.rows)
        number = self.rows // size if count is None else integer_parameter(count, "count")
        if number < 1:
            raise _core.InvalidArgument(f"count must be at least 1, got {number}")
        order = batches(self.rows, size, seed_parameter(seed))
        found = [self.gradients(rows=next(order)).weights for _ in range(number)]
        return tuple(np.stack(layer) for layer in zip(*found, strict=True))

    def _evaluate(
        self,
        x: Array,
        y: Array,
        weights: Sequence[ArrayLike] | None,
        biases: Sequence[ArrayLike] | None,
    ) -> Evaluation:
        where = self._at(weights, self.weights, "weights"), self._at(biases, self.biases, "biases")
        return evaluate(x, y, *where, self.activation)

    def _at(
        self, given: Sequence[ArrayLike] | None, own: tuple[Array, ...], name: str
    ) -> tuple[Array, ...]:
        if given is None:
            return own
        made = tuple(
            as_real(value, f"{name}[{i}]").astype(self.x.dtype, copy=False)
            for i, value in enumerate(given)
        )
        expected, shapes = [array.shape for array in own], [array.shape for array in made]
        if shapes != expected:
            raise _core.ShapeMismatch(f"{name} must have shapes {expected}, got {shapes}")
        return made

    def __repr__(self) -> str:
        sizes = "→".join(str(size) for size in self.sizes)
        return f"Problem({self.name!r}, {self.rows} rows, {sizes})"

    def _repr_html_(self) -> str:
        start, test = self.gradients(), self.test()
        rows = [
            ("rows to train on, to test on", f"{self.rows}, {len(self.x_test)}"),
            ("sizes", " → ".join(str(size) for size in self.sizes)),
            ("activation", self.activation or "none"),
            ("loss at the start", f"{start.loss:.4g}"),
            ("test accuracy at the start", f"{test.accuracy:.1%}"),
        ]
        return table(f"Problem: {self.name}", rows)


def evaluate(
    x: Array, y: Array, weights: Sequence[Array], biases: Sequence[Array], activation: str | None
) -> Evaluation:
    """The loss of rows and its derivatives, for arrays that fit together."""
    if len(weights) == 1:
        loss, hits, dW, db = _core.lora.softmax_regression(x, y, weights[0], biases[0])
        return Evaluation(loss, hits / len(x), (dW,), (db,))
    loss, hits, dW1, db1, dW2, db2 = _core.lora.perceptron(
        x, y, weights[0], biases[0], weights[1], biases[1], activation or "relu"
    )
    return Evaluation(loss, hits / len(x), (dW1, dW2), (db1, db2))


# ---- batches ------------------------------------------------------------------------------------


def batches(rows: int, size: int, seed: int | tuple[int, ...]) -> Iterator[Array]:
    """Without end: the rows of a batch, each row once per pass, in a new order every pass.

    The rows % size last ones of a pass are left out.
    """
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(rows)
        for start in range(0, rows - size + 1, size):
            yield order[start : start + size]


def batch_parameter(value: Any, rows: int) -> int:
    """The rows of a batch: from 1 to all."""
    size = integer_parameter(value, "batch_size")
    if not 1 <= size <= rows:
        raise _core.InvalidArgument(f"batch_size must be from 1 to the {rows} rows, got {size}")
    return size


# ---- what a problem is made of ------------------------------------------------------------------


def _kept(array: Array, dtype: Any) -> Array:
    return read_only(np.array(array, dtype))


def _finite(value: ArrayLike, name: str) -> Array:
    array = as_real(value, name)
    _core.require_finite(array, name)
    return array


def _matrix(value: ArrayLike, name: str) -> Array:
    array = _finite(value, name)
    if array.ndim != 2:
        raise _core.ShapeMismatch(f"{name} must have shape (k, n), got {array.shape}")
    if array.size == 0:
        raise _core.InvalidArgument(f"{name} must not be empty, got shape {array.shape}")
    return array


def _weights(given: Sequence[ArrayLike], inputs: int) -> list[Array]:
    made = [_matrix(value, f"weights[{i}]") for i, value in enumerate(given)]
    if len(made) not in (1, 2):
        raise _core.InvalidArgument(
            f"weights must be one matrix (softmax regression) or two (perceptron), got {len(made)}"
        )
    for i, W in enumerate(made):
        if W.shape[0] != inputs:
            before = "x" if i == 0 else "weights[0]"
            raise _core.ShapeMismatch(
                f"weights[{i}] must have {inputs} rows, the columns of {before}; got {W.shape}"
            )
        inputs = W.shape[1]
    return made


def _biases(given: Sequence[ArrayLike] | None, weights: list[Array]) -> list[Array]:
    if given is None:
        return [np.zeros(W.shape[1], W.dtype) for W in weights]
    made = [_finite(value, f"biases[{i}]") for i, value in enumerate(given)]
    expected, shapes = [W.shape[1:] for W in weights], [b.shape for b in made]
    if shapes != expected:
        raise _core.ShapeMismatch(f"biases must have shapes {expected}, got {shapes}")
    return made


def _labels(value: ArrayLike, name: str, x: Array, classes: int) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise _core.DtypeError(f"{name} must be integers, got {array.dtype}")
    if array.shape != x.shape[:1]:
        raise _core.ShapeMismatch(
            f"{name} must have shape {x.shape[:1]}, a label for each row; got {array.shape}"
        )
    outside = np.flatnonzero((array < 0) | (array >= classes))
    if outside.size:
        raise _core.InvalidArgument(
            f"{name} must be from 0 to {classes - 1}, the columns of the last weight; "
            f"{name}[{outside[0]}] is {array[outside[0]]}"
        )
    return array.astype(np.int64)


def _activation(value: Any, weights: int) -> str | None:
    if weights == 2:
        return "relu" if value is None else name_parameter(value, ACTIVATIONS, "activation")
    if value is not None:
        raise _core.InvalidArgument(
            f"activation must be left out for one weight, which has no hidden layer; got {value!r}"
        )
    return None


# ---- digits -------------------------------------------------------------------------------------


def digits(
    kind: Kind = "softmax",
    shift: Shift = "classes",
    *,
    hidden: int = 64,
    activation: Activation = "relu",
    angle: float = 20.0,
    seed: int = 0,
    dtype: Any = np.float64,
) -> Problem:
    """Handwritten digits: a classifier pre-trained on one half, to be fine-tuned on the other.

    The 1797 images of 8 × 8 grey values in [0, 1] that come with scikit-learn are put in a random
    order. The model is trained on the first half; a third of the second half is kept for the test,
    the rest is what to fine-tune on.

    Parameters
    ----------
    kind : {"softmax", "mlp"}
        Softmax regression, W of shape (64, 10), or a perceptron with one hidden layer.
    shift : {"classes", "rotation"}
        How the task differs from what the model was trained on. "classes": it saw the digits 0 to
        4 alone, with all ten outputs, and the second half has all ten digits. "rotation": it saw
        all digits upright, and those of the second half are turned by `angle`.
    hidden : int
        Hidden units of "mlp".
    activation : {"relu", "tanh"}
        Of the hidden units.
    angle : float
        In degrees, counter-clockwise; what is turned in from outside is black.
    seed : int
        Of the order of images and of the weights that pre-training starts from.
    dtype : float32 or float64

    Returns
    -------
    Problem
        The same for the same arguments.

    Raises
    ------
    ImportError
        If scikit-learn is missing: ``pip install 'resolvent[figures]'``.
    InvalidArgument
        For unknown names, fewer than one hidden unit, or an angle that is not finite.

    Notes
    -----
    Pre-training is 300 steps of Adam on full batches: below a second. New classes need new columns
    of the last weight, and biases that are frozen as pre-training left them do not help: the full
    gradient has about as many directions as there are new classes. A rotation leaves the classes
    as they are and asks for another reading of the pixels.

    Examples
    --------
    >>> import resolvent as rv
    >>> problem = rv.lora.digits("softmax", "rotation")
    >>> problem
    Problem('digits, rotation by 20°', 599 rows, 64→10)
    >>> bool(problem.test().accuracy < 0.7)
    True
    """
    model = name_parameter(kind, KINDS, "kind")
    change = name_parameter(shift, SHIFTS, "shift")
    units = count_parameter(hidden, "hidden")
    turn = real_parameter(angle, "angle")
    if not math.isfinite(turn):
        raise _core.InvalidArgument(f"angle must be finite, got {turn}")
    nonlinearity: Any = name_parameter(activation, ACTIVATIONS, "activation")
    # Two streams, so that the images are the same for all models.
    order, start = (np.random.default_rng((seed_parameter(seed), use)) for use in range(2))
    x, y = _images(order, dtype)
    half = len(x) // 2
    before = np.flatnonzero((y[:half] < _OLD_CLASSES) | (change == "rotation"))
    classes = int(y.max()) + 1
    sizes = (x.shape[1], classes) if model == "softmax" else (x.shape[1], units, classes)
    weights, biases = _pretrained(
        x[before], y[before], _random_weights(sizes, nonlinearity, start, x.dtype), nonlinearity
    )
    after = x[half:]
    if change == "rotation":
        after = after @ rotation(math.isqrt(x.shape[1]), turn).astype(x.dtype)
    tests = round(len(after) * _TEST_SHARE)
    return Problem(
        after[tests:],
        y[half + tests :],
        weights,
        biases,
        nonlinearity if model == "mlp" else None,
        after[:tests],
        y[half : half + tests],
        name="digits, new classes" if change == "classes" else f"digits, rotation by {turn:g}°",
    )


def _images(rng: np.random.Generator, dtype: Any) -> tuple[Array, Array]:
    """Grey values in [0, 1], one row per image, and labels, in random order."""
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise _core.DtypeError(f"dtype must be float32 or float64, got {kind}")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "rv.lora.digits is made of a data set that comes with scikit-learn: "
            "pip install 'resolvent[figures]'"
        ) from error
    data = load_digits()
    order = rng.permutation(len(data.target))
    return (data.data[order] / _WHITE).astype(kind), data.target[order].astype(np.int64)


def _random_weights(
    sizes: tuple[int, ...], activation: str, rng: np.random.Generator, dtype: Any
) -> list[Array]:
    """Zero for softmax regression; else normal, of variance 2/n before relu and 1/n otherwise.

    He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852.
    """
    if len(sizes) == 2:
        return [np.zeros(sizes, dtype)]
    gains = (2.0 if activation == "relu" else 1.0, 1.0)
    return [
        (rng.standard_normal((n, m)) * math.sqrt(gain / n)).astype(dtype)
        for gain, n, m in zip(gains, sizes, sizes[1:], strict=False)
    ]


def _pretrained(
    x: Array, y: Array, weights: list[Array], activation: str
) -> tuple[list[Array], list[Array]]:
    """Weights and biases after training on full batches; the biases start at 0."""
    biases = [np.zeros(W.shape[1], W.dtype) for W in weights]
    optimizer = Adam()
    for _ in range(_PRETRAINING_STEPS):
        found = evaluate(x, y, weights, biases, activation)
        for what, values, slopes in (("W", weights, found.weights), ("b", biases, found.biases)):
            for i, slope in enumerate(slopes):
                direction = optimizer.direction((what, i), slope)
                values[i] = values[i] - _PRETRAINING_RATE * direction
    return weights, biases


def rotation(side: int, degrees: float) -> Array:
    """R with (x R) the image x of side² pixels, row by row, turned counter-clockwise.

    Bilinear between the pixels of x, and 0 outside.
    """
    turn = math.radians(degrees)
    cosine, sine = math.cos(turn), math.sin(turn)
    if degrees % 90.0 == 0.0:  # exactly: the cosine of π/2 in floating point is not 0
        cosine, sine = round(cosine), round(sine)
    middle = (side - 1) / 2.0
    down, across = (axis.ravel() - middle for axis in np.indices((side, side)))
    # Where the pixel was before: turned back, with rows that count downwards.
    row, column = cosine * down + sine * across + middle, cosine * across - sine * down + middle
    R = np.zeros((side * side, side * side))
    target = np.arange(side * side)
    for i in (np.floor(row), np.floor(row) + 1.0):
        for j in (np.floor(column), np.floor(column) + 1.0):
            share = (1.0 - np.abs(row - i)) * (1.0 - np.abs(column - j))
            inside = (i >= 0) & (i < side) & (j >= 0) & (j < side)
            source = (i * side + j).astype(np.int64)
            R[source[inside], target[inside]] += share[inside]
    return R
