"""The maps from logits to probabilities."""

from __future__ import annotations

from typing import Literal

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike
from resolvent.probmap._map import Map, bindable, evaluate, naming_places, temperature_of
from resolvent.probmap._noise import Noise
from resolvent.probmap._rows import Empty, as_rows, refuses_empty

__all__ = [
    "Function",
    "budget",
    "entmax",
    "log_softmax",
    "logsumexp",
    "margin_softmax",
    "normalize",
    "normmax",
    "perturb_max",
    "softmax",
    "sparse_softmax",
    "sparsemax",
    "taylor_softmax",
]

Function = Literal["square", "relu", "sigmoid", "softplus"]


@bindable
def softmax(
    x: ArrayLike,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """e^{x/τ}/Σe^{x/τ}.

    Like every map of this module, called without x it returns a :class:`Map` with the given
    parameters bound.

    Parameters
    ----------
    x : array_like of float32 or float64, shape (..., n, ...)
        Logits; integers become float64. −∞ is a masked entry; NaN and +∞ are refused.
    axis : int
        The axis that the probabilities run over. The last one needs no copy.
    temperature : float or array_like
        τ > 0; or one for every row, broadcast to the shape of x without the axis.
    mask : array_like of bool, optional
        True where an entry takes part; broadcast to x. The others get exactly 0, whatever x is
        there.
    out : ndarray, optional
        C-contiguous, of x's shape and type. It may be x itself, which then costs a copy; any other
        has unspecified content after an error.
    empty : {"uniform", "error"}
        What a row whose entries are all masked gives: 1/n everywhere, or InvalidArgument.

    Returns
    -------
    ndarray
        Of x's shape and type. Entries are ≥ 0 and add up to 1 within 4 eps·√n. Here each has a
        relative error of some eps(4 + (max − x_i)/τ). Three passes over a row; no memory beyond the
        result; no bit depends on the number of threads or on other rows.

    Raises
    ------
    InvalidArgument
        Naming the first NaN or +∞; for τ ≤ 0, an axis out of range or of no entries.
    ShapeMismatch, DtypeError
        For arguments that do not fit x; float16 is to be cast.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.softmax([1.0, 0.0, float("-inf")]).round(4)
    array([0.7311, 0.2689, 0.    ])
    """
    bound = Map("softmax").bind(temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def taylor_softmax(
    x: ArrayLike,
    order: int = 2,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """f_k(x_i/τ)/Σf_k(x_j/τ), f_k(z) = Σ_{m ≤ k} z^m/m! with an even k.

    f_k is positive everywhere, but not monotone left of a point near −1 (k = 2), and a shift of all
    logits changes the result.

    Parameters
    ----------
    order : int
        k: even, 2 to 170.
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        As :func:`softmax` does. Relative error some k eps times the sum of the
        absolute terms of f_k(z) over f_k(z). O(kn) per row.

    Raises
    ------
    InvalidArgument
        For an odd order or one out of range, and as :func:`softmax` does.

    Notes
    -----
    de Brébisson, Vincent, "An Exploration of Softmax Alternatives Belonging to the Spherical Loss
    Family", 2016, arXiv:1511.05042.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.taylor_softmax([-3.0, -1.0, 0.0]).round(3)
    array([0.625, 0.125, 0.25 ])
    """
    bound = Map("taylor_softmax").bind(order=order, temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def sparse_softmax(
    x: ArrayLike,
    *,
    k: int | None = None,
    p: float | None = None,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """Softmax over the largest entries of every row, 0 elsewhere.

    Parameters
    ----------
    k : int, optional
        How many are kept, 1 to n. Those that equal the last one are kept with it.
    p : float, optional
        In place of k: the fewest whose softmax adds up to at least p, 0 < p ≤ 1.
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        As :func:`softmax` does. Jumps where an entry enters the kept set. O(n) per row by
        selection; with p O(n + kept·log n) by a heap.

    Raises
    ------
    InvalidArgument
        For k or p out of range, both or neither, and as :func:`softmax` does.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.sparse_softmax([2.0, 1.0, 0.0], k=2).round(4)
    array([0.7311, 0.2689, 0.    ])
    """
    bound = Map("sparse_softmax").bind(k=k, p=p, temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def sparsemax(
    x: ArrayLike,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """(x/τ − λ)_+ with Σp = 1: the point of the simplex nearest to x/τ.

    Parameters
    ----------
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        As :func:`softmax` does; each entry with an absolute error of some eps. Newton's method on
        λ, which needs no sort: 3 to 6 passes over a row as a rule.

    Raises
    ------
    InvalidArgument, ShapeMismatch, DtypeError
        As :func:`softmax` does.

    Notes
    -----
    Martins, Astudillo, "From Softmax to Sparsemax", ICML 2016, arXiv:1602.02068.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.sparsemax([1.0, 0.5, -3.0])
    array([0.75, 0.25, 0.  ])
    """
    bound = Map("sparsemax").bind(temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def entmax(
    x: ArrayLike,
    alpha: ArrayLike = 1.5,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """((α−1)x/τ − λ)_+^{1/(α−1)} with Σp = 1: from softmax (α = 1) through sparsemax (2) to argmax.

    The entries of argmax_p ⟨x/τ, p⟩ + (1 − Σp^α)/(α(α−1)).

    Parameters
    ----------
    alpha : float or array_like
        α from 1 to ∞, or one for every row. ∞ spreads over the entries that equal the maximum.
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        As :func:`softmax` does, continuous in α, at 1 too. Newton's method on ‖u‖_{1/(α−1)} = 1,
        which needs no sort; only entries that can be positive are raised to powers. Absolute error
        of an entry some eps·max(1, p^{2−α}), the second for α > 2, where small entries vary fast.
        With one α for every row, rows of at most 32 entries are handled one by one.

    Raises
    ------
    InvalidArgument
        For α < 1 or NaN, and as :func:`softmax` does.

    Notes
    -----
    Peters, Niculae, Martins, "Sparse Sequence-to-Sequence Models", ACL 2019, arXiv:1905.05702.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.entmax([1.0, 0.5, -3.0]).round(4)
    array([0.674, 0.326, 0.   ])
    """
    bound = Map("entmax").bind(alpha=alpha, temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def normmax(
    x: ArrayLike,
    alpha: ArrayLike = 2.0,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """argmax_p ⟨x/τ, p⟩ − ‖p‖_α: zeros as sparsemax has, in fewer places.

    p ∝ (x/τ − λ)_+^{1/(α−1)} where λ makes the α/(α−1)-norm of (x/τ − λ)_+ equal to 1.

    Parameters
    ----------
    alpha : float or array_like
        α from 1 (the entries that equal the maximum) to ∞ (uniform over sparsemax's support), or
        one for every row.
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        As :func:`softmax` does. The method is that of :func:`entmax`.

    Raises
    ------
    InvalidArgument
        For α < 1 or NaN, and as :func:`softmax` does.

    Notes
    -----
    Blondel, Martins, Niculae, "Learning with Fenchel-Young Losses", JMLR 2020, arXiv:1901.02324.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.normmax([-2.0, 0.0, 0.5]).round(4)
    array([0.   , 0.311, 0.689])
    """
    bound = Map("normmax").bind(alpha=alpha, temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def budget(
    x: ArrayLike,
    total: ArrayLike = 1.0,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """clip(x/τ − λ, 0, 1) with Σp = total: the nearest point with 0 ≤ p ≤ 1.

    For total = k the limit τ → 0 chooses the k largest; total = 1 is :func:`sparsemax`.

    Parameters
    ----------
    total : float or array_like
        Above 0, at most the number of entries that take part; or one for every row.
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`; an empty row gives 1/n whatever the total.

    Returns
    -------
    ndarray
        As :func:`softmax` does, but Σp = total. A bracketed Newton's method from the ⌈total⌉-th
        largest entry.

    Raises
    ------
    InvalidArgument
        For a total out of range, and as :func:`softmax` does.

    Notes
    -----
    Blondel, Martins, Niculae, "Learning with Fenchel-Young Losses", JMLR 2020, arXiv:1901.02324.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.budget([0.6, 0.4, 0.0, -3.0], total=2)
    array([0.93333333, 0.73333333, 0.33333333, 0.        ])
    """
    bound = Map("budget").bind(total=total, temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def perturb_max(
    x: ArrayLike,
    noise: Noise = "gumbel",
    *,
    df: float | None = None,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """P[argmax_j(x_j/τ + ε_j) = i] for independent ε of one distribution.

    Parameters
    ----------
    noise : str or tuple of three functions
        "gumbel" (which gives :func:`softmax`), "normal", "logistic", "laplace", "uniform" (on
        [0, 1]), "exponential", "student-t" or "cauchy", in standard form; or (pdf, cdf, quantile),
        functions of float64 arrays.
    df : float, optional
        Degrees of freedom, for "student-t" alone.
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        As :func:`softmax` does. Absolute error 1e-10, most often some eps: all entries of a row
        share the nodes of Gauss–Kronrod rules on panels that are halved until two rules agree to
        1e-12. O(n·nodes) per row, some 300 to 2000 nodes, in double precision. The caller's
        functions are called once per panel of 21 nodes, on one thread.

    Raises
    ------
    InvalidArgument
        For an unknown noise, a missing or superfluous df, and as :func:`softmax` does.
    NotConverged
        Where the rules do not agree, or the probabilities do not add up to 1: the pdf is not that
        of the cdf.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.perturb_max([1.0, 0.0], "normal").round(4)
    array([0.7602, 0.2398])
    """
    bound = Map("perturb_max").bind(noise=noise, df=df, temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def normalize(
    x: ArrayLike,
    f: Function = "square",
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """f(x_i/τ)/Σf(x_j/τ).

    Parameters
    ----------
    f : {"square", "relu", "sigmoid", "softplus"}
        z², max(z, 0), 1/(1 + e^{−z}), log(1 + e^z).
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`. A row whose f are all 0 is empty too; "uniform" spreads it over the
        entries that are not masked.

    Returns
    -------
    ndarray
        As :func:`softmax` does; relative error of some eps, √n eps of the sum.

    Raises
    ------
    InvalidArgument
        For an unknown f, and as :func:`softmax` does.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.normalize([3.0, 1.0, -1.0], "relu")
    array([0.75, 0.25, 0.  ])
    """
    bound = Map("normalize").bind(f=f, temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


@bindable
def margin_softmax(
    x: ArrayLike,
    target: ArrayLike,
    margin: float = 0.35,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """Softmax with the target's logit lowered: e^{(x_t − m)/τ} in place of e^{x_t/τ}.

    Used in training, where it asks for a margin between the target and the rest; x are cosines as a
    rule, and τ some 1/30.

    Parameters
    ----------
    target : array_like of int
        The class of every row, broadcast to the shape of x without the axis.
    margin : float
        m, in the units of x.
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        As :func:`softmax` does.

    Raises
    ------
    InvalidArgument
        For a target out of range, and as :func:`softmax` does.

    Notes
    -----
    Wang, Cheng, Liu, Liu, "Additive Margin Softmax for Face Verification", 2018, arXiv:1801.05599.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.margin_softmax([0.5, 0.15], target=0)
    array([0.5, 0.5])
    """
    bound = Map("margin_softmax").bind(target=target, margin=margin, temperature=temperature)
    return evaluate(bound, x, axis=axis, mask=mask, out=out, empty=empty)


def log_softmax(
    x: ArrayLike,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
    out: Array | None = None,
    empty: Empty = "uniform",
) -> Array:
    """x/τ − log Σe^{x/τ}, the logarithm of :func:`softmax`.

    Parameters
    ----------
    x, axis, temperature, mask, out, empty
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        Of x's shape and type; −∞ where an entry is masked. Error eps(4 + (max − x_i)/τ).

    Raises
    ------
    InvalidArgument, ShapeMismatch, DtypeError
        As :func:`softmax` does.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.log_softmax([0.0, -1000.0])
    array([    0., -1000.])
    """
    rows = as_rows(x, axis, mask)
    refuse, factor = refuses_empty(empty), temperature_of(temperature, rows)
    into, direct = rows.target(None if out is None else rows.checked_out(out))
    naming_places(rows, lambda: _core.probmap.log_softmax(rows.x, factor, refuse, into), refuse)
    return rows.delivered(into, direct, out)


def logsumexp(
    x: ArrayLike,
    *,
    axis: int = -1,
    temperature: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
) -> Array:
    """log Σe^{x/τ}, the smooth maximum (τ times it tends to max x as τ → 0).

    Parameters
    ----------
    x, axis, temperature, mask
        As in :func:`softmax`.

    Returns
    -------
    ndarray
        Of x's shape without the axis; −∞ for a row without entries. Error some eps of the larger of
        max/τ in size and log n.

    Raises
    ------
    InvalidArgument, ShapeMismatch, DtypeError
        As :func:`softmax` does.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.probmap.logsumexp([1000.0, 1000.0]).round(4)
    np.float64(1000.6931)
    """
    rows = as_rows(x, axis, mask)
    factor = temperature_of(temperature, rows)
    sums = naming_places(rows, lambda: _core.probmap.logsumexp(rows.x, factor))
    return np.asarray(sums).reshape(rows.batch)[()]
