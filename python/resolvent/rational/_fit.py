"""Transfer functions of low order from long kernels, or from samples of G."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_number64,
    integer_parameter,
    name_parameter,
)
from resolvent._html import table
from resolvent._warnings import IllConditionedWarning, StabilityWarning, warn_caller
from resolvent.rational._aaa import pair_columns, poles_by_order
from resolvent.rational._data import Data, Kernel, Samples
from resolvent.rational._hankel import realisation
from resolvent.rational._loss import TOLERATED_DIGITS, digits_of
from resolvent.rational._partial import PoleResidue
from resolvent.rational._polynomial import EPS, by_modulus, from_roots, with_conjugate_pairs
from resolvent.rational._transfer import TransferFunction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Method = Literal["aaa", "era", "prony"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True, eq=False)
class Fit(ReadOnlyFields):
    """A transfer function fitted to a kernel or to samples; from :func:`fit`.

    Attributes
    ----------
    transfer_function : TransferFunction
    method : str
    order : int
    errors : ndarray, shape (order,)
        Of the transfer functions of order 1, …, `order` by the same method: the 2-norm of the
        difference of the kernels (or samples), over that of the data. Infinite where the kernel
        overflows.
    parallel : PoleResidue, optional
        The fit as a sum over the same poles, which is still good where clustered poles are too much
        for coefficients. None where two poles are equal.
    parallel_errors : ndarray, shape (order,)
        The same errors of these sums; NaN where there is none.
    """

    transfer_function: TransferFunction
    method: str
    order: int
    errors: Array
    parallel: PoleResidue | None
    parallel_errors: Array

    def __repr__(self) -> str:
        return f"Fit({self.method!r}, order={self.order}, error={self.errors[-1]:.3g})"

    def _repr_html_(self) -> str:
        rows = [
            ("method", self.method),
            ("order", str(self.order)),
            ("relative error", f"{self.errors[-1]:.4g}"),
            ("stable", str(self.transfer_function.is_stable())),
        ]
        return table("Fit", rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the error against the order; returns the axes."""
        from resolvent.plot.rational import plot_fit

        return plot_fit(self, ax)


def fit(data: ArrayLike, order: int, method: Method = "aaa", *, z: ArrayLike | None = None) -> Fit:
    """A transfer function of low order with nearly the same kernel.

    The method finds the poles; the numerator is the one that is best for them in least squares on
    the data.

    Parameters
    ----------
    data : array_like, shape (L,)
        A kernel, L ≥ 2·order; or with `z` the samples G(z).
    order : int
        d ≥ 1.
    method : {"aaa", "era", "prony"}
        "aaa": the rational function that AAA puts through the samples on the circle, for a kernel
        its DFT, which is the truncated G_L with the same poles; direct is fitted too. "era": the
        balanced realisation of the Hankel matrix K_{i+j} (Ho–Kalman, eigensystem realisation), of
        which lower orders are truncations; direct = 0. "prony": the linear prediction
        K_k ≈ −Σ a_i K_{k−i} in the least-squares sense; direct = 0.
    z : array_like, shape (L,), optional
        Where G was sampled, not 0; for "aaa". Samples that are not at odds with
        G(z̄) = conj(G(z)) are taken as those of a real model, also if they lie on one half of the
        circle.

    Returns
    -------
    Fit
        Real for real kernels. Where the data are those of a smaller model to rounding, the others
        of its poles are 0.

    Raises
    ------
    InvalidArgument
        For too few data, and for `z` with another method, with a 0, or with one point twice and
        different data.

    Warns
    -----
    StabilityWarning
        Where poles come out on or outside the circle. Those that "aaa" finds for a kernel are left
        out of the fit, as no decaying kernel has them; the others are kept.
    IllConditionedWarning
        Where the coefficients are more than ten times as far from the data as the sum over poles.

    Notes
    -----
    Which is best depends on the data: "era" is near the optimum in the Hankel norm and the most
    robust to noise, "aaa" follows the response uniformly over frequency, "prony" is exact for exact
    data and quick to be misled by noise. The error curve tells. A long slow kernel has poles that
    cluster at 1, for which polynomials run out of digits at orders around 8: there the error curve
    of the coefficients turns up, and `parallel` goes on.

    Hankel matrices beyond 512 × 512 are not formed: a subspace of order + 16 vectors is iterated
    with products by FFT, O(order·L log L) each.

    References
    ----------
    Nakatsukasa, Sète, Trefethen 2018 (AAA). Ho, Kalman 1966; Juang, Pappa 1985 (ERA). Prony 1795;
    Shanks, "Recursion Filters for Digital Processing", Geophysics 32, 1967. Halko, Martinsson,
    Tropp, SIAM Review 53, 2011 (subspace iteration).

    Examples
    --------
    >>> import numpy as np, resolvent.rational as rational
    >>> k = np.arange(64)
    >>> f = rational.fit(0.9**k + 0.5**k * np.cos(k), 3, "era")
    >>> bool(f.errors[2] < 1e-12 < f.errors[1])
    True
    """
    values = _vector(data, "data")
    count = integer_parameter(order, "order")
    if count < 1:
        raise _core.InvalidArgument(f"order must be at least 1, got {count}")
    name = name_parameter(method, METHODS, "method")
    if z is not None and name != "aaa":
        raise _core.InvalidArgument(f"z must be given for method 'aaa' only, not for {name!r}")
    source: Data = Kernel(values) if z is None else Samples(values, _vector(z, "z"))
    source.require_enough(count)
    found = list(_METHODS[name](source, count))
    sums = [_best_sum(source, one.poles, name == "aaa") for one in found]
    quotients = [
        _best_quotient(source, one.a, total, name == "aaa")
        for one, (total, _) in zip(found, sums, strict=True)
    ]
    made = Fit(
        quotients[-1],
        name,
        count,
        np.array([_relative_error(source, quotient) for quotient in quotients]),
        sums[-1][0],
        np.array([error for _, error in sums]),
    )
    _warn(made, found[-1].largest, left_out=name == "aaa" and z is None)
    return made


def _vector(value: ArrayLike, name: str) -> Array:
    array = as_number64(np.asarray(value), name)
    if array.ndim != 1:
        raise _core.ShapeMismatch(f"{name} must have shape (L,), got {array.shape}")
    return array


def _warn(made: Fit, largest_pole: float, *, left_out: bool) -> None:
    if largest_pole >= 1.0:
        fate = "left out of the fit" if left_out else "kept"
        message = (
            f"method {made.method!r} found poles on or outside the circle, the largest of modulus "
            f"{largest_pole:.6g}; they are {fate}"
        )
        warn_caller(StabilityWarning(message, largest_pole))
    error, best = float(made.errors[-1]), float(made.parallel_errors[-1])
    lost = math.log10(error / max(best, EPS)) if error > 0.0 else 0.0
    if lost > 1.0 and digits_of(error) > TOLERATED_DIGITS:
        message = (
            f"the coefficients of order {made.order} have a relative error of {error:.2g}, the sum "
            f"over the same poles (parallel) has {best:.2g}"
        )
        warn_caller(IllConditionedWarning(message, lost))


# ---- denominators ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Denominator:
    """What a method finds for one order."""

    a: Array
    poles: Array
    largest: float  #: the largest modulus found, also if that pole is left out


def _from_poles(poles: Array, order: int, *, real: bool, largest: float) -> _Denominator:
    """The denominator with these poles and, up to the order, poles at 0: free taps."""
    a = np.zeros(order, np.complex128)
    a[: poles.size] = from_roots(poles)[1:]
    return _Denominator(a.real if real else a, poles[by_modulus(poles)], largest)


def _aaa(source: Data, order: int) -> Iterator[_Denominator]:
    z, values = source.circle()
    found = poles_by_order(z, values, order, real=source.is_real)
    for degree, poles in enumerate(found, 1):
        largest = float(np.abs(poles).max(initial=0.0))
        yield _from_poles(source.allowed(poles), degree, real=source.is_real, largest=largest)


def _era(source: Data, order: int) -> Iterator[_Denominator]:
    A, _, _ = realisation(source.values, order)
    for degree in range(1, order + 1):
        poles = np.linalg.eigvals(A[:degree, :degree]).astype(np.complex128)
        largest = float(np.abs(poles).max(initial=0.0))
        yield _from_poles(poles, degree, real=source.is_real, largest=largest)


def _prony(source: Data, order: int) -> Iterator[_Denominator]:
    """Least squares over all windows of d + 1 samples: K_k = −Σ_i a_i K_{k−i}."""
    for degree in range(1, order + 1):
        windows = np.lib.stride_tricks.sliding_window_view(source.values, degree + 1)[:, ::-1]
        a = np.linalg.lstsq(windows[:, 1:], -windows[:, 0], rcond=None)[0]
        poles = TransferFunction(a, a).poles()
        yield _Denominator(a, poles, float(np.abs(poles).max()))


_METHODS: dict[str, Callable[[Data, int], Iterator[_Denominator]]] = {
    "aaa": _aaa,
    "era": _era,
    "prony": _prony,
}


# ---- numerators --------------------------------------------------------------------------------


def _best_sum(source: Data, poles: Array, with_direct: bool) -> tuple[PoleResidue | None, float]:
    """The best sum over the poles, and its relative error.

    Nothing and NaN where two are equal or one is so far outside that its powers overflow. Of real
    models the unknowns are real: for a pair those of :func:`pair_columns`.
    """
    if poles.size == 0:
        poles = np.zeros(1, np.complex128)
    if np.unique(poles).size < poles.size:
        return None, math.nan
    upper, on_axis = poles.imag > 0.0, poles.imag == 0.0
    if source.is_real:
        terms, mirrored = (source.pole_columns(p) for p in (poles[upper], poles[upper].conj()))
        pairs = np.concatenate(pair_columns(terms, mirrored), axis=1)
        columns = np.concatenate([pairs, source.pole_columns(poles[on_axis])], axis=1)
    else:
        columns = source.pole_columns(poles)
    if not np.isfinite(columns).all():
        return None, math.nan
    solved, error = _solved(source, columns, with_direct)
    residues = solved[: poles.size].astype(np.complex128)
    if source.is_real:
        count = int(upper.sum())
        residues[on_axis] = solved[2 * count : poles.size]
        residues[upper] = math.sqrt(0.5) * (solved[:count] + 1j * solved[count : 2 * count])
        residues = with_conjugate_pairs(residues, poles)
    return PoleResidue(poles, residues, solved[-1] if with_direct else 0.0), error


def _best_quotient(
    source: Data, a: Array, over_poles: PoleResidue | None, with_direct: bool
) -> TransferFunction:
    """The better of two numerators: by least squares, and that of the sum over the same poles.

    Their difference is rounding, which for clustered poles is all there is. Where 1/(1 + a_1 z + …)
    grows there are no least squares; if there is no sum either, the first samples decide.
    """
    columns = source.numerator_columns(a)
    made = []
    if columns is not None:
        solved, _ = _solved(source, columns, with_direct)
        made.append(TransferFunction(solved[: a.size], a, solved[-1] if with_direct else 0.0))
    if over_poles is not None:
        strict = PoleResidue(over_poles.poles, over_poles.residues).kernel(a.size)
        made.append(TransferFunction(_numerator(a, strict), a, over_poles.direct))
    if not made:
        made.append(TransferFunction(_numerator(a, source.values[: a.size]), a))
    return min(made, key=lambda quotient: _relative_error(source, quotient))


def _numerator(a: Array, samples: Array) -> Array:
    """b_k = K_{k−1} + Σ_{i<k} a_i K_{k−1−i} of the first d samples."""
    return np.convolve(np.append(1.0, a), samples)[: a.size]


def _solved(source: Data, columns: Array, with_direct: bool) -> tuple[Array, float]:
    """Least squares, the columns scaled to norm 1, and the relative error that is left."""
    if with_direct:
        columns = np.column_stack([columns, source.direct_column()])
    values = source.values
    if source.is_real:
        columns, values = source.equations(columns), source.equations(values)
    size = np.abs(columns).max(axis=0)
    size[size == 0.0] = 1.0
    size *= np.linalg.norm(columns / size, axis=0)  # also where squares overflow
    size[size == 0.0] = 1.0
    scaled = columns / size
    solution = np.linalg.lstsq(scaled, values, rcond=None)[0]
    return solution / size, _relative(values, scaled @ solution)


def _relative_error(source: Data, made: TransferFunction) -> float:
    try:
        return _relative(source.values, source.predicted(made))
    except _core.InvalidArgument:  # the kernel overflows
        return math.inf


def _relative(values: Array, found: Array) -> float:
    """2-norm of the difference over that of the values, also where squares overflow."""
    scale = float(np.abs(values).max())
    difference = found - values
    largest = float(np.abs(difference).max())
    if largest == 0.0:
        return 0.0
    if scale == 0.0:
        return math.inf
    norms = np.linalg.norm(difference / largest) / np.linalg.norm(values / scale)
    return float(norms) * largest / scale
