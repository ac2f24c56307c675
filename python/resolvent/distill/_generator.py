"""One-step generators whose samples have a density in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, as_real64, count_parameter
from resolvent._html import table
from resolvent.distill._mixture import (
    GaussianMixture,
    as_means,
    as_squares,
    as_weights,
    diffused,
    draw_latents,
    level_parameters,
    moved,
    singular_component,
)

__all__ = ["Generator"]


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Generator(ReadOnlyFields):
    """x_0 = μ_c + F_c z with z ~ N(0, I) and c drawn by weight.

    A single component is an affine generator. Factors may be singular, negative or 0: a student
    that has collapsed is a result.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Positive, with sum 1.
    means : array_like, shape (K, d), or (K,) for d = 1
        μ.
    factors : array_like, shape (K, d, d), or (K,) for d = 1
        F.

    Raises
    ------
    ShapeMismatch
        If the shapes do not fit together.
    InvalidArgument
        For weights that are not positive or do not add up to 1, for what is not finite, and for
        factors whose covariances overflow.

    Examples
    --------
    >>> import resolvent as rv
    >>> student = rv.distill.Generator.affine([0.0, 1.0], [[2.0, 0.0], [0.0, 0.5]])
    >>> student
    Generator(1 component in 2 dimensions, 6 parameters)
    >>> student.parameters
    array([0. , 1. , 2. , 0. , 0. , 0.5])
    >>> student.diffuse(alpha=1.0, sigma=0.1).covariances[0].diagonal()
    array([4.01, 0.26])
    """

    weights: Array
    means: Array
    factors: Array

    def __init__(self, weights: ArrayLike, means: ArrayLike, factors: ArrayLike) -> None:
        shares = as_weights(weights)
        centers = as_means(means, shares.size)
        matrices = as_squares(factors, "factors", centers)
        _check_size(matrices)
        for name, value in (("weights", shares), ("means", centers), ("factors", matrices)):
            object.__setattr__(self, name, value)
        self.__post_init__()

    @classmethod
    def affine(cls, mean: ArrayLike, factor: ArrayLike) -> Generator:
        """x_0 = μ + F z.

        Parameters
        ----------
        mean : array_like, shape (d,), or a number for d = 1
        factor : array_like, shape (d, d), or a number for d = 1

        Returns
        -------
        Generator
            With one component of weight 1.

        Raises
        ------
        ShapeMismatch
            If the shapes do not fit together.
        """
        center, matrix = as_real64(mean, "mean"), as_real64(factor, "factor")
        if center.ndim > 1 or matrix.shape not in ((), 2 * center.shape):
            raise _core.ShapeMismatch(
                "mean and factor must have shapes (d,) and (d, d), or be numbers, got "
                f"{center.shape} and {matrix.shape}"
            )
        dim = center.size
        if matrix.ndim == 0 and dim != 1:
            raise _core.ShapeMismatch(f"factor must have shape {(dim, dim)}, got ()")
        return cls(np.ones(1), center.reshape(1, dim), matrix.reshape(1, dim, dim))

    @classmethod
    def mixture(cls, weights: ArrayLike, means: ArrayLike, factors: ArrayLike) -> Generator:
        """x_0 = μ_c + F_c z with c drawn by weight: the same as ``Generator(...)``."""
        return cls(weights, means, factors)

    @property
    def dim(self) -> int:
        """d."""
        return int(self.means.shape[1])

    @property
    def components(self) -> int:
        """K."""
        return int(self.means.shape[0])

    @property
    def covariances(self) -> Array:
        """F Fᵀ of every component, shape (K, d, d)."""
        return np.asarray(self.factors @ self.factors.swapaxes(1, 2))

    @property
    def parameters(self) -> Array:
        """What training moves: all means, then all factors, in C order; shape (K·d + K·d²,)."""
        return np.concatenate([self.means.ravel(), self.factors.ravel()])

    def replace(self, parameters: ArrayLike) -> Generator:
        """The generator with other parameters and the same weights.

        Parameters
        ----------
        parameters : array_like, shape (K·d + K·d²,)
            In the order of :attr:`parameters`.

        Returns
        -------
        Generator

        Raises
        ------
        ShapeMismatch
            For another number of parameters.
        """
        vector = as_real64(parameters, "parameters")
        size = self.means.size + self.factors.size
        if vector.shape != (size,):
            raise _core.ShapeMismatch(f"parameters must have shape ({size},), got {vector.shape}")
        means, factors = np.split(vector, [self.means.size])
        return Generator(
            self.weights, means.reshape(self.means.shape), factors.reshape(self.factors.shape)
        )

    def latents(self, n: int, seed: int = 0) -> tuple[Array, Array]:
        """What samples are made of: c, shape (n,), int64, and z, shape (n, d).

        They depend on the weights, d and the seed only, so that generators which differ by their
        parameters can be compared at the same random numbers.

        Parameters
        ----------
        n : int
            At least 0.
        seed : int
            At least 0.

        Returns
        -------
        tuple of ndarray
        """
        return draw_latents(self.weights, self.dim, n, seed)

    def transform(self, components: ArrayLike, z: ArrayLike) -> Array:
        """μ_c + F_c z for given c and z.

        Parameters
        ----------
        components : array_like of int, shape (n,)
            In [0, K).
        z : array_like, shape (n, d)

        Returns
        -------
        ndarray, shape (n, d)

        Raises
        ------
        ShapeMismatch
            If the shapes do not fit together.
        InvalidArgument
            For components out of range.
        """
        rows = as_real64(z, "z")
        chosen = np.asarray(components)
        if chosen.dtype.kind not in "iu":
            raise _core.DtypeError(f"components must be integers, got {chosen.dtype}")
        if rows.ndim != 2 or rows.shape[1] != self.dim or chosen.shape != rows.shape[:1]:
            raise _core.ShapeMismatch(
                f"components and z must have shapes (n,) and (n, {self.dim}), got "
                f"{chosen.shape} and {rows.shape}"
            )
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < self.components:
            raise _core.InvalidArgument(
                f"components must be in [0, {self.components}), got values from {chosen.min()} "
                f"to {chosen.max()}"
            )
        return moved(rows, chosen, self.means, self.factors)

    def sample(self, n: int, seed: int = 0) -> Array:
        """n samples x_0, shape (n, d): :meth:`transform` of :meth:`latents`.

        Parameters
        ----------
        n : int
            At least 0.
        seed : int
            At least 0.

        Returns
        -------
        ndarray, shape (n, d)
        """
        return self.transform(*self.latents(count_parameter(n, "n", 0), seed))

    def diffuse(self, alpha: float, sigma: float) -> GaussianMixture:
        """The distribution of αx_0 + σε.

        Parameters
        ----------
        alpha : float
            At least 0.
        sigma : float
            At least 0; positive where a factor is singular.

        Returns
        -------
        GaussianMixture

        Raises
        ------
        InvalidArgument
            For levels out of range, and for a distribution without a density.
        """
        a, s = level_parameters(alpha, sigma)
        if s == 0.0:
            return self.distribution().diffuse(a, s)
        return diffused(self.weights, self.means, self.covariances, a, s)

    def distribution(self) -> GaussianMixture:
        """The distribution of x_0.

        Returns
        -------
        GaussianMixture

        Raises
        ------
        InvalidArgument
            If a factor or its covariance is singular to rounding, so that x_0 has no density;
            :meth:`diffuse` with sigma > 0 has one.
        """
        sizes = np.linalg.svd(self.factors, compute_uv=False)
        flat = np.flatnonzero(sizes[:, -1] <= self.dim * np.finfo(np.float64).eps * sizes[:, 0])
        if flat.size:
            j = int(flat[0])
            raise _core.InvalidArgument(
                f"factors[{j}] is singular, with singular values from {sizes[j, 0]:.3g} down to "
                f"{sizes[j, -1]:.3g}: x_0 has no density; diffuse(alpha, sigma) with sigma > 0 does"
            )
        found = singular_component(self.covariances)
        if found is not None:
            j = found[0]
            raise _core.InvalidArgument(
                f"factors[{j}] has singular values from {sizes[j, 0]:.3g} down to "
                f"{sizes[j, -1]:.3g}: its covariance, which has their squares, is not positive "
                "definite to rounding; diffuse(alpha, sigma) with sigma > 0 has a density"
            )
        return GaussianMixture(self.weights, self.means, self.covariances)

    def __repr__(self) -> str:
        plural = "" if self.components == 1 else "s"
        return (
            f"Generator({self.components} component{plural} in {self.dim} "
            f"dimension{'' if self.dim == 1 else 's'}, {self.parameters.size} parameters)"
        )

    def _repr_html_(self) -> str:
        sizes = np.linalg.svd(self.factors, compute_uv=False)
        rows = (
            (
                f"weight {weight:.4g}",
                f"mean {np.array2string(mean, precision=4)}, widths "
                f"{np.array2string(widths, precision=4)}",
            )
            for weight, mean, widths in zip(self.weights, self.means, sizes, strict=True)
        )
        return table(repr(self), rows)


def _check_size(factors: Array) -> None:
    limit = math.sqrt(np.finfo(np.float64).max) / factors.shape[-1]
    bad = np.argwhere(np.abs(factors) > limit)
    if bad.size:
        j, row, column = map(int, bad[0])
        raise _core.InvalidArgument(
            f"factors must be at most {limit:.3g} for their squares not to overflow, got "
            f"factors[{j}, {row}, {column}] = {factors[j, row, column]:g}"
        )
