"""Mixtures fitted to data by expectation–maximisation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real64,
    count_parameter,
    real_parameter,
)
from resolvent._html import table
from resolvent.distill._mixture import GaussianMixture, singular_component

__all__ = ["Fit", "fit"]

_EPS = float(np.finfo(np.float64).eps)

#: Numbers of a block of rows: of responsibilities, or of the points themselves.
_BLOCK = 1 << 18

#: Steps of Lloyd's iteration between k-means++ and the first mixture.
_LLOYD = 20


@dataclass(frozen=True, eq=False, repr=False)
class Fit(ReadOnlyFields):
    """A mixture fitted to data; from :meth:`GaussianMixture.fit`.

    Attributes
    ----------
    mixture : GaussianMixture
    log_likelihood : float
        Σ log p(x) over the data.
    history : ndarray, shape (iterations + 1,)
        The log-likelihood of the start and after every iteration.
    iterations : int
    converged : bool
        Whether the tolerance was reached, not the largest number of iterations.
    points : int
        n.
    """

    mixture: GaussianMixture
    log_likelihood: float
    history: Array = field(repr=False)
    iterations: int
    converged: bool
    points: int

    @property
    def parameters(self) -> int:
        """Numbers that were fitted: K − 1 weights, K·d means, K·d(d + 1)/2 covariances."""
        K, d = self.mixture.components, self.mixture.dim
        return K - 1 + K * d + K * d * (d + 1) // 2

    @property
    def bic(self) -> float:
        """p log n − 2 log L for p :attr:`parameters`: smaller is better (Schwarz 1978)."""
        return self.parameters * math.log(self.points) - 2.0 * self.log_likelihood

    def __repr__(self) -> str:
        end = "converged" if self.converged else "not converged"
        return (
            f"Fit({self.mixture!r} to {self.points} points: log_likelihood="
            f"{self.log_likelihood:.6g}, {end} after {self.iterations} iterations)"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("mixture", repr(self.mixture)),
            ("points", str(self.points)),
            ("log-likelihood", f"{self.log_likelihood:.8g}"),
            ("BIC", f"{self.bic:.8g}"),
            ("iterations", f"{self.iterations}, {'' if self.converged else 'not '}converged"),
        ]
        return table("Fit by expectation–maximisation", rows)


def fit(
    data: ArrayLike,
    components: int,
    *,
    tolerance: float,
    max_iterations: int,
    restarts: int,
    seed: int,
    regularization: float,
    start: GaussianMixture | None,
) -> Fit:
    """See :meth:`GaussianMixture.fit`."""
    count = count_parameter(components, "components")
    points = _points(data, count)
    least = _at_least_zero(tolerance, "tolerance")
    ridge = _at_least_zero(regularization, "regularization")
    most = count_parameter(max_iterations, "max_iterations")
    runs = count_parameter(restarts, "restarts")
    first = count_parameter(seed, "seed", 0)
    units = _Units.of(points)
    problem = _Problem(units.scaled(points), ridge / units.scale / units.scale, least, most)
    if start is None:
        found = _best(problem, count, [np.random.default_rng([first, i]) for i in range(runs)])
    else:
        found = problem.run(units.taken(_checked_start(start, count, points.shape[1])))
    if isinstance(found, _Collapse):
        raise _core.InvalidArgument(
            f"component {found.component} has collapsed onto {found.share * len(points):.3g} of "
            f"the {len(points)} points, where the likelihood has no bound; take fewer components "
            "or a positive regularization"
        )
    return found.fit(units)


def _best(
    problem: _Problem, components: int, sources: list[np.random.Generator]
) -> _Run | _Collapse:
    """The end of largest likelihood; a collapse if there is no other."""
    ends = [problem.run(_start(problem, components, random)) for random in sources]
    runs = [end for end in ends if isinstance(end, _Run)]
    return max(runs, key=lambda run: run.history[-1]) if runs else ends[0]


@dataclass(frozen=True)
class _Collapse:
    """A component that has shrunk onto points, with its weight."""

    component: int
    share: float


class _Parameters(NamedTuple):
    """Of a mixture: (K,), (K, d), (K, d, d)."""

    weights: Array
    means: Array
    covariances: Array


@dataclass(frozen=True)
class _Units:
    """Axes in which the data fill [−1, 1] at most: (x − center)/scale, scale a power of two.

    Far means and extreme units cost no digits, and nothing overflows. A fit does not depend on
    affine maps of the axes, and k-means compares them in units of their own.
    """

    center: Array
    scale: Array

    @classmethod
    def of(cls, points: Array) -> _Units:
        low, high = points.min(axis=0), points.max(axis=0)
        exponent = np.frexp(0.5 * high - 0.5 * low)[1]
        return cls(0.5 * low + 0.5 * high, np.where(high > low, np.ldexp(1.0, exponent), 1.0))

    def scaled(self, points: Array) -> Array:
        return (points - self.center) / self.scale

    def taken(self, mixture: GaussianMixture) -> _Parameters:
        covariances = mixture.covariances / self.scale / self.scale[:, np.newaxis]
        return _Parameters(mixture.weights, self.scaled(mixture.means), covariances)

    def given(self, found: _Parameters) -> GaussianMixture:
        means = found.means * self.scale + self.center
        with np.errstate(over="ignore"):
            covariances = found.covariances * self.scale * self.scale[:, np.newaxis]
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        if not (np.isfinite(covariances).all() and (variances > 0.0).all()):
            raise _core.InvalidArgument(
                "data must have variances in float64's range, got a width of "
                f"{self.scale.max():.3g}; scale the data"
            )
        return GaussianMixture(found.weights, means, covariances)


@dataclass(frozen=True)
class _Run:
    """Where a start has led, in the problem's units."""

    found: _Parameters
    history: list[float]
    converged: bool
    points: int

    def fit(self, units: _Units) -> Fit:
        history = np.array(self.history) - self.points * float(np.log(units.scale).sum())
        return Fit(
            mixture=units.given(self.found),
            log_likelihood=float(history[-1]),
            history=history,
            iterations=len(history) - 1,
            converged=self.converged,
            points=self.points,
        )


@dataclass(frozen=True)
class _Problem:
    """Points in their units, what is added to variances, and when to stop."""

    points: Array
    ridge: Array
    tolerance: float
    max_iterations: int

    def run(self, start: _Parameters) -> _Run | _Collapse:
        n = len(self.points)
        found = start
        history: list[float] = []
        converged = False
        while not converged and len(history) <= self.max_iterations:
            collapse = self.collapse(found)
            if collapse is not None:
                return collapse
            total, following = self.step(found)
            converged = bool(history) and abs(total - history[-1]) <= self.tolerance * n
            history.append(total)
            ends, found = found, following
        return _Run(ends, history, converged, n)

    def step(self, here: _Parameters) -> tuple[float, _Parameters]:
        """The log-likelihood here, and the parameters that expectation–maximisation makes of it.

        Moments are taken about the old means, so that squares of distances, not of coordinates, are
        subtracted from each other.
        """
        K, d = here.means.shape
        shares, shift, square = np.zeros(K), np.zeros((K, d)), np.zeros((K, d, d))
        total = 0.0
        for rows in self.blocks(K):
            r, log_density = _core.distill.responsibilities(rows, *here)
            total += float(log_density.sum())
            shares += r.sum(axis=0)
            for j in range(K):
                apart = rows - here.means[j]
                weighted = r[:, j, np.newaxis] * apart
                shift[j] += weighted.sum(axis=0)
                square[j] += weighted.T @ apart
        with np.errstate(divide="ignore", invalid="ignore"):
            shift /= shares[:, np.newaxis]
            square /= shares[:, np.newaxis, np.newaxis]
        square -= shift[:, :, np.newaxis] * shift[:, np.newaxis, :]
        square += np.diag(self.ridge)
        symmetric = 0.5 * (square + square.swapaxes(1, 2))
        return total, _Parameters(shares / shares.sum(), here.means + shift, symmetric)

    def collapse(self, found: _Parameters) -> _Collapse | None:
        """Whether a component has no points left, or no width in some direction."""
        # Of points in [−1, 1], widths below eps are rounding.
        variances = np.diagonal(found.covariances, axis1=1, axis2=2).min(axis=1)
        flat = np.flatnonzero(~(variances > _EPS**2))
        if flat.size:
            return _Collapse(int(flat[0]), float(found.weights[flat[0]]))
        singular = singular_component(found.covariances)
        return None if singular is None else _Collapse(singular[0], found.weights[singular[0]])

    def blocks(self, columns: int) -> Iterator[Array]:
        size = max(1, _BLOCK // max(columns, self.points.shape[1]))
        for first in range(0, len(self.points), size):
            yield self.points[first : first + size]


# ---- starts -------------------------------------------------------------------------------------


def _start(problem: _Problem, components: int, random: np.random.Generator) -> _Parameters:
    """Clusters by k-means; all components get the covariance inside clusters."""
    points = problem.points
    centers = _seeds(points, components, random)
    labels, _ = _nearest(points, centers)
    for _ in range(_LLOYD):
        centers = _centers(points, labels, centers)
        before, (labels, _) = labels, _nearest(points, centers)
        if np.array_equal(before, labels):
            break
    counts = np.maximum(np.bincount(labels, minlength=components), 1)
    inside = points - centers[labels]
    covariance = inside.T @ inside / len(points) + np.diag(problem.ridge)
    covariances = np.repeat(covariance[np.newaxis], components, axis=0)
    return _Parameters(counts / counts.sum(), centers, covariances)


def _seeds(points: Array, count: int, random: np.random.Generator) -> Array:
    """k-means++: each next center is a point, drawn in proportion to its squared distance."""
    centers = points[random.integers(len(points), size=1)]
    while len(centers) < count:
        _, square = _nearest(points, centers)
        if not square.any():
            raise _core.InvalidArgument(
                f"data must have at least {count} different points, one for each component, got "
                f"{len(centers)}"
            )
        place = random.choice(len(points), p=square / square.sum())
        centers = np.concatenate([centers, points[place, np.newaxis]])
    return centers


def _nearest(points: Array, centers: Array) -> tuple[Array, Array]:
    """The nearest center of every point and the square of its distance."""
    labels = np.zeros(len(points), np.int64)
    least = np.full(len(points), np.inf)
    for j, center in enumerate(centers):
        square = np.square(points - center).sum(axis=1)
        nearer = square < least
        labels[nearer], least[nearer] = j, square[nearer]
    return labels, least


def _centers(points: Array, labels: Array, before: Array) -> Array:
    """The means of clusters; an empty one stays where it was."""
    counts = np.bincount(labels, minlength=len(before))
    sums = np.stack([np.bincount(labels, axis, minlength=len(before)) for axis in points.T], axis=1)
    filled = counts[:, np.newaxis] > 0
    return np.where(filled, sums / np.maximum(counts, 1)[:, np.newaxis], before)


# ---- checks -------------------------------------------------------------------------------------


def _points(data: ArrayLike, components: int) -> Array:
    points = as_real64(data, "data")
    if points.ndim != 2 or points.shape[1] == 0:
        raise _core.ShapeMismatch(f"data must have shape (n, d), got {points.shape}")
    if len(points) <= components:
        raise _core.InvalidArgument(
            f"data must have more points than components, got {len(points)} points for "
            f"{components} components"
        )
    return points


def _at_least_zero(value: Any, name: str) -> float:
    number = real_parameter(value, name)
    if not 0.0 <= number < math.inf:
        raise _core.InvalidArgument(f"{name} must be at least 0 and finite, got {number:g}")
    return number


def _checked_start(start: Any, components: int, dim: int) -> GaussianMixture:
    if not isinstance(start, GaussianMixture):
        raise _core.DtypeError(f"start must be a GaussianMixture, got {start!r}")
    if (start.components, start.dim) != (components, dim):
        raise _core.ShapeMismatch(
            f"start must have {components} components in {dim} dimensions, got {start!r}"
        )
    return start
