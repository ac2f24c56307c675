"""Gaussian mixtures: density, score, denoiser in closed form at every noise level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real,
    as_real64,
    count_parameter,
    integer_parameter,
    real_parameter,
)
from resolvent._html import table
from resolvent._warnings import IllConditionedWarning, warn_caller

if TYPE_CHECKING:
    from resolvent.distill._em import Fit

__all__ = [
    "GaussianMixture",
    "as_means",
    "as_squares",
    "as_weights",
    "diffused",
    "draw_latents",
    "level_parameters",
    "moved",
    "singular_component",
]

#: Roundings that a sum of weights, each rounded, may be from 1, per component.
_SUM = 4.0

#: Roundings that two entries which should be the same may differ by.
_SYMMETRY = 16.0

#: From this condition number of the correlations on half of the digits may be lost.
_ILL_CONDITIONED = float(np.finfo(np.float64).eps ** -0.5)


@dataclass(frozen=True, eq=False, repr=False, init=False)
class GaussianMixture(ReadOnlyFields):
    """p(x) = Σ_j w_j N(x; μ_j, C_j).

    The arrays are float64 and read-only. Methods take x of shape (..., d), also where d = 1, and
    give float32 for float32.

    Parameters
    ----------
    weights : array_like, shape (K,)
        w, positive, with sum 1 to rounding.
    means : array_like, shape (K, d), or (K,) for d = 1
        μ.
    covariances : array_like, shape (K, d, d), or (K,) for d = 1: variances
        C, symmetric and positive definite.

    Raises
    ------
    ShapeMismatch
        If the shapes do not fit together.
    InvalidArgument
        For weights that are not positive or do not add up to 1, for what is not finite, and for a
        covariance that is not symmetric or not positive definite to rounding; the message names the
        component and its smallest eigenvalue.

    Warns
    -----
    IllConditionedWarning
        Where the condition number of a covariance, its axes scaled to variance 1, takes half of the
        digits.

    Notes
    -----
    With the Cholesky factor C_j = R_j R_jᵀ and z_j = R_j⁻¹(x − μ_j) a point costs K(d² + 2d)
    operations and K exponentials for the score. The weights of the components are taken relative to
    the largest, so that nothing underflows however far x is from all means; but x − μ_j and z_j
    must be in the range of x's type, beyond which results may be NaN. An entry of z_j has an
    error of eps times the condition number of R_j, and the logarithm of a component one of
    eps·‖z_j‖²: at k standard deviations from two components that compete there, their shares have
    an error of eps·k².

    Examples
    --------
    >>> import resolvent as rv
    >>> mixture = rv.distill.GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.25, 0.25])
    >>> mixture.score([[0.0], [1.0], [1000.0]])
    array([[ 0.00000000e+00],
           [-2.682801...e-03],
           [-3.99600000e+03]])
    >>> mixture.denoise([[3.0]], alpha=1.0, sigma=2.0)
    array([[0.748...]])
    """

    weights: Array
    means: Array
    covariances: Array

    def __init__(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> None:
        shares = as_weights(weights)
        centers = as_means(means, shares.size)
        matrices = _symmetric(as_squares(covariances, "covariances", centers), covariances)
        _check_definite(matrices)
        _set_fields(self, shares, centers, matrices)

    @property
    def dim(self) -> int:
        """d."""
        return int(self.means.shape[1])

    @property
    def components(self) -> int:
        """K."""
        return int(self.means.shape[0])

    def log_density(self, x: ArrayLike) -> Array:
        """log p(x).

        Parameters
        ----------
        x : array_like, shape (..., d)

        Returns
        -------
        ndarray, shape (...)
            −∞ where it is below the smallest number.
        """
        rows = self._rows(x)
        return _evaluate(_core.distill.log_density, self, rows).reshape(rows.shape[:-1])

    def density(self, x: ArrayLike) -> Array:
        """p(x), the exponential of :meth:`log_density`.

        Parameters
        ----------
        x : array_like, shape (..., d)

        Returns
        -------
        ndarray, shape (...)
            0 or ∞ where it is out of range.
        """
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(np.exp(self.log_density(x)))

    def score(self, x: ArrayLike) -> Array:
        """∇log p(x) = Σ_j r_j(x) C_j⁻¹(μ_j − x), r the responsibilities.

        Parameters
        ----------
        x : array_like, shape (..., d)

        Returns
        -------
        ndarray, shape (..., d)
        """
        rows = self._rows(x)
        return _evaluate(_core.distill.score, self, rows).reshape(rows.shape)

    def hessian(self, x: ArrayLike) -> Array:
        """∇∇ᵀlog p(x) = Σ_j r_j((s_j − s)(s_j − s)ᵀ − C_j⁻¹), s_j = C_j⁻¹(μ_j − x), s the score.

        Parameters
        ----------
        x : array_like, shape (..., d)

        Returns
        -------
        ndarray, shape (..., d, d)
            Symmetric to the last bit.
        """
        rows = self._rows(x)
        return _evaluate(_core.distill.hessian, self, rows).reshape(*rows.shape, self.dim)

    def responsibilities(self, x: ArrayLike) -> Array:
        """r_j(x) = w_j N(x; μ_j, C_j)/p(x): how probable it is that x came from component j.

        Parameters
        ----------
        x : array_like, shape (..., d)

        Returns
        -------
        ndarray, shape (..., K)
        """
        rows = self._rows(x)
        shares, _ = _core.distill.responsibilities(
            rows.reshape(-1, self.dim), self.weights, self.means, self.covariances
        )
        return shares.reshape(*rows.shape[:-1], self.components)

    def blend(self, x: ArrayLike, slopes: ArrayLike, offsets: ArrayLike) -> Array:
        """Σ_j r_j(x) y_j(x) of affine maps y_j(x) = A_j(x − μ_j) + b_j.

        Parameters
        ----------
        x : array_like, shape (..., d)
        slopes : array_like, shape (K, o, d)
            A.
        offsets : array_like, shape (K, o)
            b.

        Returns
        -------
        ndarray, shape (..., o)
        """
        rows = self._rows(x)
        maps = self._maps(slopes, offsets)
        return _evaluate(_core.distill.blend, self, rows, *maps).reshape(
            *rows.shape[:-1], maps[1].shape[1]
        )

    def blend_jacobian(self, x: ArrayLike, slopes: ArrayLike, offsets: ArrayLike) -> Array:
        """The derivative of :meth:`blend`: Σ_j r_j(A_j + (y_j − y)(s_j − s)ᵀ).

        Parameters
        ----------
        x : array_like, shape (..., d)
        slopes : array_like, shape (K, o, d)
        offsets : array_like, shape (K, o)

        Returns
        -------
        ndarray, shape (..., o, d)
        """
        rows = self._rows(x)
        maps = self._maps(slopes, offsets)
        found = _evaluate(_core.distill.blend_jacobian, self, rows, *maps)
        return found.reshape(*rows.shape[:-1], *maps[0].shape[1:])

    def sample(self, n: int, seed: int = 0) -> Array:
        """n independent samples.

        Parameters
        ----------
        n : int
            At least 0.
        seed : int
            At least 0; for NumPy's PCG64.

        Returns
        -------
        ndarray, shape (n, d)
        """
        chosen, z = draw_latents(self.weights, self.dim, n, seed)
        return moved(z, chosen, self.means, np.linalg.cholesky(self.covariances))

    def mean(self) -> Array:
        """E x = Σ_j w_j μ_j, shape (d,)."""
        return np.asarray(self.weights @ self.means)

    def covariance(self) -> Array:
        """E(x − Ex)(x − Ex)ᵀ = Σ_j w_j(C_j + (μ_j − Ex)(μ_j − Ex)ᵀ), shape (d, d)."""
        apart = self.means - self.mean()
        between = (self.weights[:, np.newaxis] * apart).T @ apart
        return np.asarray(np.tensordot(self.weights, self.covariances, 1) + between)

    def diffuse(self, alpha: float, sigma: float) -> GaussianMixture:
        """The distribution of x_t = αx + σε: means αμ_j, covariances α²C_j + σ²I.

        Parameters
        ----------
        alpha, sigma : float
            At least 0 and not both 0.

        Returns
        -------
        GaussianMixture

        Raises
        ------
        InvalidArgument
            For levels out of range.
        """
        a, s = level_parameters(alpha, sigma)
        return diffused(self.weights, self.means, self.covariances, a, s)

    def noise(self, x: ArrayLike, alpha: float, sigma: float) -> Array:
        """E[ε | x_t = x] = −σ∇log p_t(x) for x_t = αx_0 + σε: the optimal noise predictor.

        Parameters
        ----------
        x : array_like, shape (..., d)
        alpha, sigma : float
            At least 0 and not both 0.

        Returns
        -------
        ndarray, shape (..., d)

        References
        ----------
        Robbins, "An Empirical Bayes Approach to Statistics", 1956 (Tweedie's formula).
        """
        a, s = level_parameters(alpha, sigma)
        score = self.diffuse(a, s).score(x)
        return np.asarray(score * score.dtype.type(-s))

    def denoise(self, x: ArrayLike, alpha: float, sigma: float) -> Array:
        """E[x_0 | x_t = x] for x_t = αx_0 + σε.

        Parameters
        ----------
        x : array_like, shape (..., d)
        alpha, sigma : float
            At least 0 and not both 0.

        Returns
        -------
        ndarray, shape (..., d)

        Notes
        -----
        Σ_j r_j(μ_j + αC_j(α²C_j + σ²I)⁻¹(x − αμ_j)). It equals Tweedie's (x + σ²∇log p_t(x))/α, and
        does not cancel where α is small: α = 0 gives E x_0.
        """
        a, s = level_parameters(alpha, sigma)
        noisy = self.diffuse(a, s)
        gains = np.linalg.solve(noisy.covariances, a * self.covariances)
        return noisy.blend(x, gains.swapaxes(1, 2), self.means)

    def marginal(self, axes: int | Sequence[int]) -> GaussianMixture:
        """The distribution of some coordinates, in the given order.

        Parameters
        ----------
        axes : int or sequence of int
            In [−d, d), different.

        Returns
        -------
        GaussianMixture

        Raises
        ------
        InvalidArgument
            For axes out of range, none or repeated ones.
        """
        kept = _axes(axes, self.dim)
        covariances = self.covariances[:, kept[:, np.newaxis], kept]
        return _made(self.weights, self.means[:, kept], covariances)

    @classmethod
    def fit(
        cls,
        data: ArrayLike,
        components: int,
        *,
        tolerance: float = 1e-9,
        max_iterations: int = 2000,
        restarts: int = 8,
        seed: int = 0,
        regularization: float = 0.0,
        start: GaussianMixture | None = None,
    ) -> Fit:
        """The mixture of largest likelihood that expectation–maximisation finds.

        Parameters
        ----------
        data : array_like, shape (n, d)
            More points than components.
        components : int
            K.
        tolerance : float
            Iterations stop when the mean log-likelihood of a point changes by no more than this.
        max_iterations : int
        restarts : int
            How many starts by k-means++ are followed; the best end is kept.
        seed : int
        regularization : float
            Added to the diagonal of every covariance in every iteration, in units of data². The
            likelihood grows in every iteration where it is 0.
        start : GaussianMixture, optional
            Where to start instead, once.

        Returns
        -------
        Fit

        Raises
        ------
        ShapeMismatch, InvalidArgument
            For data of the wrong shape, with too few different points, and for numbers out of
            range; if all starts end with a component that has collapsed onto few points, whose
            likelihood has no bound: a positive regularization keeps them wide.

        Notes
        -----
        An iteration costs two evaluations of the n·K terms and 2n·K·d² operations. Memory is a
        copy of the data and a few numbers for each point. Work is done in units in which the data
        fill [−1, 1], so that neither far means nor extreme units cost digits.

        References
        ----------
        Dempster, Laird, Rubin, "Maximum Likelihood from Incomplete Data via the EM Algorithm",
        1977. Arthur, Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007.

        Examples
        --------
        >>> import numpy as np
        >>> import resolvent as rv
        >>> truth = rv.distill.GaussianMixture([0.3, 0.7], [-3.0, 1.0], [1.0, 0.25])
        >>> found = rv.distill.GaussianMixture.fit(truth.sample(5000), 2)
        >>> found.converged
        True
        >>> np.sort(found.mixture.means.round(), axis=0)
        array([[-3.],
               [ 1.]])
        """
        from resolvent.distill._em import fit

        return fit(
            data,
            components,
            tolerance=tolerance,
            max_iterations=max_iterations,
            restarts=restarts,
            seed=seed,
            regularization=regularization,
            start=start,
        )

    def _rows(self, x: ArrayLike) -> Array:
        """Finite points, one a row of the last axis."""
        array = as_real(x, "x")
        _core.require_finite(array, "x")
        if array.ndim == 0 or array.shape[-1] != self.dim:
            raise _core.ShapeMismatch(f"x must have shape (..., {self.dim}), got {array.shape}")
        outside = np.argwhere(np.abs(self.means) > np.finfo(array.dtype).max)
        if outside.size:
            j, axis = map(int, outside[0])
            raise _core.InvalidArgument(
                f"x must be float64 for means beyond float32, got {array.dtype} with "
                f"means[{j}, {axis}] = {self.means[j, axis]:g}"
            )
        return array

    def _maps(self, slopes: ArrayLike, offsets: ArrayLike) -> tuple[Array, Array]:
        A, b = as_real64(slopes, "slopes"), as_real64(offsets, "offsets")
        K, d = self.means.shape
        if b.ndim != 2 or b.shape[0] != K or A.shape != (*b.shape, d):
            raise _core.ShapeMismatch(
                f"slopes and offsets must have shapes ({K}, o, {d}) and ({K}, o), got {A.shape} "
                f"and {b.shape}"
            )
        return A, b

    def __repr__(self) -> str:
        K, d = self.means.shape
        return (
            f"GaussianMixture({K} component{'' if K == 1 else 's'} in {d} "
            f"dimension{'' if d == 1 else 's'})"
        )

    def _repr_html_(self) -> str:
        rows = (
            (
                f"weight {weight:.4g}",
                f"mean {np.array2string(mean, precision=4)}, standard deviations "
                f"{np.array2string(np.sqrt(matrix.diagonal()), precision=4)}",
            )
            for weight, mean, matrix in zip(self.weights, self.means, self.covariances, strict=True)
        )
        return table(repr(self), rows)


# ---- parts that generators share ----------------------------------------------------------------


def as_weights(value: ArrayLike) -> Array:
    """Positive numbers that add up to 1."""
    given = as_real(value, "weights")
    weights = as_real64(given, "weights")
    if weights.ndim != 1 or weights.size == 0:
        raise _core.ShapeMismatch(f"weights must have shape (K,) with K >= 1, got {weights.shape}")
    if (weights <= 0.0).any():
        j = int(np.flatnonzero(weights <= 0.0)[0])
        raise _core.InvalidArgument(f"weights must be positive, got weights[{j}] = {weights[j]:g}")
    total = float(weights.sum())
    if abs(total - 1.0) > _SUM * weights.size * np.finfo(given.dtype).eps:
        raise _core.InvalidArgument(f"weights must add up to 1, got a sum of {total:.17g}")
    return weights


def as_means(value: ArrayLike, components: int) -> Array:
    """(K, d), from (K, d) or (K,)."""
    means = as_real64(value, "means")
    if means.ndim not in (1, 2) or len(means) != components or means.size == 0:
        raise _core.ShapeMismatch(
            f"means must have shape ({components}, d), or ({components},) for d = 1: one for each "
            f"weight; got {means.shape}"
        )
    return means.reshape(components, -1)


def as_squares(value: ArrayLike, name: str, means: Array) -> Array:
    """(K, d, d), from that or (K,) where d = 1."""
    matrices = as_real64(value, name)
    K, d = means.shape
    if matrices.shape == (K,) and d == 1:
        return matrices.reshape(K, 1, 1)
    if matrices.shape != (K, d, d):
        short = f", or ({K},)" if d == 1 else ""
        raise _core.ShapeMismatch(
            f"{name} must have shape ({K}, {d}, {d}){short} to fit means, got {matrices.shape}"
        )
    return matrices


def level_parameters(alpha: Any, sigma: Any) -> tuple[float, float]:
    """α and σ of x_t = αx_0 + σε."""
    found = []
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        number = real_parameter(value, name)
        if not 0.0 <= number < float("inf"):
            raise _core.InvalidArgument(f"{name} must be at least 0 and finite, got {number:g}")
        found.append(number)
    if found == [0.0, 0.0]:
        raise _core.InvalidArgument("alpha and sigma must not both be 0")
    return found[0], found[1]


def diffused(
    weights: Array, means: Array, covariances: Array, alpha: float, sigma: float
) -> GaussianMixture:
    """The distribution of αx + σε, covariances of x positive semidefinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        spread = alpha * alpha * covariances + sigma * sigma * np.eye(means.shape[1])
        centers = alpha * means
    positive = (np.diagonal(spread, axis1=1, axis2=2) > 0.0).all()
    if not (positive and np.isfinite(spread).all() and np.isfinite(centers).all()):
        raise _core.InvalidArgument(
            f"alpha={alpha:g} and sigma={sigma:g} must leave αμ and α²C + σ²I in float64's range"
        )
    return _made(weights, centers, spread)


def draw_latents(weights: Array, dim: int, n: int, seed: int) -> tuple[Array, Array]:
    """Components (n,) by weight and standard normal numbers (n, d)."""
    count = count_parameter(n, "n", 0)
    random = np.random.default_rng(count_parameter(seed, "seed", 0))
    edges = np.cumsum(weights)
    chosen = np.searchsorted(edges[:-1], random.random(count), side="right")
    return chosen.astype(np.int64), random.standard_normal((count, dim))


def moved(z: Array, chosen: Array, means: Array, factors: Array) -> Array:
    """μ_c + F_c z for every row, component by component."""
    out = np.empty_like(z)
    order = np.argsort(chosen, kind="stable")
    edges = np.searchsorted(chosen[order], np.arange(len(means) + 1))
    for j, (first, last) in enumerate(pairwise(edges)):
        rows = order[first:last]
        out[rows] = z[rows] @ factors[j].T + means[j]
    return out


def singular_component(covariances: Array) -> tuple[int, float] | None:
    """The first component that is not positive definite to rounding, its smallest eigenvalue."""
    spread = _correlation_spread(covariances)
    dim = covariances.shape[-1]
    bad = np.flatnonzero(~(spread > dim * np.finfo(np.float64).eps))
    if bad.size == 0:
        return None
    j = int(bad[0])
    return j, float(np.linalg.eigvalsh(covariances[j])[0])


# ---- checks -------------------------------------------------------------------------------------


def _set_fields(mixture: GaussianMixture, weights: Array, means: Array, covs: Array) -> None:
    for name, value in (("weights", weights), ("means", means), ("covariances", covs)):
        object.__setattr__(mixture, name, value)
    mixture.__post_init__()


def _made(weights: Array, means: Array, covariances: Array) -> GaussianMixture:
    """A mixture of arrays that are known to be right."""
    mixture = object.__new__(GaussianMixture)
    _set_fields(mixture, weights, means, covariances)
    return mixture


def _symmetric(matrices: Array, given: ArrayLike) -> Array:
    """The mean of C and Cᵀ, which may differ by roundings of the type they were given in."""
    eps = float(np.finfo(as_real(given, "covariances").dtype).eps)
    variances = np.abs(np.diagonal(matrices, axis1=1, axis2=2))
    widths = np.sqrt(variances)
    size = widths[:, :, np.newaxis] * widths[:, np.newaxis, :]
    apart = np.abs(matrices - matrices.swapaxes(1, 2))
    bad = np.argwhere(apart > _SYMMETRY * eps * size)
    if bad.size:
        j, row, column = map(int, bad[0])
        raise _core.InvalidArgument(
            f"covariances must be symmetric, got covariances[{j}, {row}, {column}] = "
            f"{matrices[j, row, column]:g} and covariances[{j}, {column}, {row}] = "
            f"{matrices[j, column, row]:g}"
        )
    return np.asarray(0.5 * matrices + 0.5 * matrices.swapaxes(1, 2))


def _correlation_spread(covariances: Array) -> Array:
    """The smallest eigenvalue over the largest one, axes scaled to variance 1.

    The Cholesky factor is as accurate as the scaled matrix is well conditioned (Demmel 1989): what
    units the axes have does not matter. NaN where a variance is not positive.
    """
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    positive: Array = variances.min(axis=1) > 0.0
    widths = np.sqrt(np.where(positive[:, np.newaxis], variances, 1.0))
    with np.errstate(over="ignore"):
        scaled = covariances / widths[:, :, np.newaxis] / widths[:, np.newaxis, :]
    sound: Array = positive & np.isfinite(scaled).all(axis=(1, 2))
    sizes = np.linalg.eigvalsh(np.where(sound[:, np.newaxis, np.newaxis], scaled, 0.0))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(sound, sizes[:, 0] / sizes[:, -1], np.nan))


def _check_definite(covariances: Array) -> None:
    found = singular_component(covariances)
    if found is not None:
        j, smallest = found
        raise _core.InvalidArgument(
            f"covariances must be positive definite, got covariances[{j}] with smallest eigenvalue "
            f"{smallest:.6g}"
        )
    condition = 1.0 / _correlation_spread(covariances)
    j = int(condition.argmax())
    if condition[j] > _ILL_CONDITIONED:
        message = (
            f"covariances[{j}] has condition number {condition[j]:.3g} with its axes scaled to "
            "variance 1: densities and scores lose as many digits"
        )
        warn_caller(IllConditionedWarning(message, float(condition[j])))


def _axes(axes: int | Sequence[int], dim: int) -> Array:
    listed = [axes] if np.ndim(axes) == 0 else list(axes)  # type: ignore[arg-type]
    kept = [integer_parameter(axis, "axes") for axis in listed]
    wrong = [axis for axis in kept if not -dim <= axis < dim]
    if wrong:
        raise _core.InvalidArgument(f"axes must be in [{-dim}, {dim}), got {wrong[0]}")
    found = np.array(kept, np.int64) % dim
    if found.size == 0 or np.unique(found).size < found.size:
        raise _core.InvalidArgument(f"axes must be one or more different ones, got {kept}")
    return found


# ---- evaluation ---------------------------------------------------------------------------------


def _evaluate(
    function: Callable[..., Array], mixture: GaussianMixture, x: Array, *maps: Array
) -> Array:
    """One of the core's functions at points of any leading axes: one row for each point."""
    rows = x.reshape(-1, mixture.dim)
    return function(rows, mixture.weights, mixture.means, mixture.covariances, *maps)
