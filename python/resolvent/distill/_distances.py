"""How far a student's distribution is from the data's: Fisher divergence and W₂."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, count_parameter, name_parameter, read_only
from resolvent.distill._expectation import Integrand, Method, Points, Rule, rule_parameters
from resolvent.distill._generator import Generator
from resolvent.distill._mixture import GaussianMixture
from resolvent.distill._schedule import Schedule
from resolvent.distill._students import (
    Predictor,
    generator_parameter,
    predictor_parameter,
    schedule_parameter,
    student_optimal,
)

__all__ = [
    "DISTANCES",
    "SLICES",
    "Distance",
    "Distribution",
    "directions",
    "fisher",
    "fisher_divergence",
    "kind_of",
    "wasserstein2",
    "wasserstein2_as",
]

Distance = Literal["auto", "closed form", "quantiles", "sliced"]
DISTANCES: tuple[str, ...] = get_args(Distance)

Distribution: TypeAlias = "GaussianMixture | Generator"

#: Points on which quantile functions are resolved, for a distribution and at least for each of its
#: components, and how many standard deviations they reach.
_GRID, _LEAST_GRID, _REACH = 257, 33, 9.0

#: Gauss–Legendre nodes in each cell between them, and Newton's steps from linear interpolation.
_CELL_NODES, _NEWTON_STEPS = 2, 2

#: A component of standard deviation 0 is widened to this share of the larger spread.
_NARROWEST = 1e-9

#: Change by doubling the nodes of the Fisher divergence, relative to it, at which it stops.
_TOLERANCE = 1e-8

#: Lines of the sliced W₂ unless told.
SLICES = 32

#: Entries of the table of Φ in a standard deviation.
_TABLE = 512


# ---- Fisher divergence --------------------------------------------------------------------------


def fisher_divergence(
    teacher: GaussianMixture | Predictor,
    generator: Generator,
    schedule: Schedule,
    *,
    method: Method = "auto",
    nodes: int | None = None,
    samples: int = 65536,
    seed: int = 0,
) -> float:
    """Σ_t ω_t E‖∇log q_t(x_t) − ∇log p_t(x_t)‖² at the samples x_t ~ q_t of a generator.

    Parameters
    ----------
    teacher : GaussianMixture or Predictor
        The data p; for a predictor ∇log p_t = −ε_φ/σ_t.
    generator : Generator
        Of q.
    schedule : Schedule
    method, nodes, samples, seed
        As for :func:`losses`.

    Returns
    -------
    float
        0 where the distributions are the same.

    Raises
    ------
    ShapeMismatch, InvalidArgument, DtypeError
        As :func:`losses`.

    Examples
    --------
    N(0, 4) against N(0, 1), both with noise of variance 1: (1/5 − 1/2)²·5.

    >>> import resolvent as rv
    >>> data = rv.distill.GaussianMixture([1.0], [0.0], [1.0])
    >>> student = rv.distill.Generator.affine(0.0, 2.0)
    >>> round(rv.distill.fisher_divergence(data, student, rv.distill.Schedule([1], [1])), 12)
    0.45
    """
    phi = predictor_parameter(teacher, "teacher")
    made = generator_parameter(generator, phi.dim)
    rule = rule_parameters(method, nodes, samples, seed, phi.dim)
    rule = replace(rule, tolerance=_TOLERANCE)
    return fisher(phi, made, schedule_parameter(schedule), rule)


def fisher(phi: Predictor, generator: Generator, schedule: Schedule, rule: Rule) -> float:
    """:func:`fisher_divergence` for arguments that were checked."""
    optimum = student_optimal(generator)

    def at(alpha: float, sigma: float) -> Integrand:
        teacher, student = phi.at(alpha, sigma), optimum.at(alpha, sigma)

        def squared(points: Points) -> Array:
            apart = (teacher.noise(points.x) - student.noise(points.x)) / sigma
            return points.mean(np.square(apart).sum(axis=1, keepdims=True))

        return squared

    return float(rule.value(rule.rows(generator, schedule, at))[0])


# ---- W₂ -----------------------------------------------------------------------------------------


def wasserstein2(
    p: Distribution,
    q: Distribution,
    *,
    kind: Distance = "auto",
    slices: int = SLICES,
    seed: int = 0,
) -> float:
    """W₂ of two distributions: the root of the least E‖x − y‖² over couplings.

    Parameters
    ----------
    p, q : GaussianMixture or Generator
        Generators may have collapsed.
    kind : {"auto", "closed form", "quantiles", "sliced"}
        "closed form" between two Gaussians; "quantiles" in one dimension; "sliced", the root of
        the mean of W₂² between the projections onto lines, which is at most W₂/√d, and another
        distance than W₂ for d > 1. "auto" takes the first one that applies.
    slices : int
        Lines of "sliced": equally spaced for d = 2, random above.
    seed : int
        Of the random lines.

    Returns
    -------
    float

    Raises
    ------
    ShapeMismatch
        If the dimensions differ.
    InvalidArgument
        If `kind` does not apply.
    DtypeError
        For arguments of another type.

    Notes
    -----
    Between N(m, A) and N(n, B) it is ‖m − n‖² + tr(A + B − 2(A½BA½)½) (Bures' distance of the
    covariances); evaluated as ‖m − n‖² + Σ over the trace norm of A½B½. In one dimension
    W₂² = ∫(P⁻¹(u) − Q⁻¹(u))² du, by two Gauss–Legendre nodes in each cell between the images
    under P and Q of fine grids on both axes; its error is a few 1e-7 of the spread at most. The
    projection of a mixture is a mixture, so that slices need no samples.

    References
    ----------
    Olkin, Pukelsheim, "The distance between two random vectors with given dispersion matrices",
    1982. Rabin, Peyré, Delon, Bernot, "Wasserstein Barycenter and Its Application to Texture
    Mixing", 2011 (sliced).

    Examples
    --------
    >>> import resolvent as rv
    >>> p = rv.distill.GaussianMixture([1.0], [0.0], [1.0])
    >>> rv.distill.wasserstein2(p, rv.distill.Generator.affine(3.0, 5.0))
    5.0
    """
    for name, value in (("p", p), ("q", q)):
        if not isinstance(value, (GaussianMixture, Generator)):
            raise _core.DtypeError(
                f"{name} must be a GaussianMixture or a Generator, got {type(value).__name__}"
            )
    if p.dim != q.dim:
        raise _core.ShapeMismatch(f"p and q must have the same dimension, got {p.dim} and {q.dim}")
    chosen = name_parameter(kind, DISTANCES, "kind")
    lines = directions(p.dim, count_parameter(slices, "slices"), count_parameter(seed, "seed", 0))
    if chosen == "closed form" and not p.components == q.components == 1:
        raise _core.InvalidArgument(
            "kind='closed form' is for single Gaussians, got "
            f"{p.components} and {q.components} components"
        )
    if chosen == "quantiles" and p.dim != 1:
        raise _core.InvalidArgument(f"kind='quantiles' is for one dimension, got {p.dim}")
    return wasserstein2_as(kind_of(p, q) if chosen == "auto" else chosen, p, q, lines)


def kind_of(p: Distribution, q: Distribution) -> str:
    """What "auto" is."""
    if p.components == q.components == 1:
        return "closed form"
    return "quantiles" if p.dim == 1 else "sliced"


def wasserstein2_as(kind: str, p: Distribution, q: Distribution, lines: Array) -> float:
    """W₂ for arguments that were checked; `lines` (S, d) are unit vectors."""
    unit = _unit(p, q)
    if unit == 0.0:
        return 0.0
    first, second = (_Moved.of(value, p.means[0], unit) for value in (p, q))
    if kind == "closed form":
        squared = np.square(first.means[0] - second.means[0]).sum()
        return unit * math.sqrt(squared + _bures(first.covariances[0], second.covariances[0]))
    each = [
        _by_quantiles(_projected(first, line), _projected(second, line))
        for line in (np.ones((1, 1)) if kind == "quantiles" else lines)
    ]
    return unit * math.sqrt(sum(each) / len(each))


class _Moved(NamedTuple):
    """A distribution in units in which squares neither overflow nor underflow."""

    weights: Array
    means: Array
    covariances: Array

    @classmethod
    def of(cls, value: Distribution, origin: Array, unit: float) -> _Moved:
        if isinstance(value, Generator):
            factors = value.factors / unit
            covariances = factors @ factors.swapaxes(1, 2)
        else:
            covariances = value.covariances / unit / unit
        return cls(value.weights, (value.means - origin) / unit, covariances)


def _unit(p: Distribution, q: Distribution) -> float:
    """A power of two near the largest distance from the first mean and the largest width; or 0."""
    widths = [
        value.factors if isinstance(value, Generator) else np.sqrt(np.abs(value.covariances))
        for value in (p, q)
    ]
    with np.errstate(over="ignore"):
        apart = [value.means - p.means[0] for value in (p, q)]
    largest = max(float(np.abs(values).max()) for values in widths + apart)
    if not math.isfinite(largest):
        raise _core.InvalidArgument("p and q must have means whose differences are finite")
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest > 0.0 else 0.0


def directions(dim: int, slices: int, seed: int) -> Array:
    """Unit vectors (slices, dim)."""
    if dim == 1:
        return np.ones((1, 1))
    if dim == 2:
        angles = np.pi * (np.arange(slices) + 0.5) / slices
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    drawn = np.random.default_rng(seed).standard_normal((slices, dim))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def _bures(A: Array, B: Array) -> float:
    """tr(A + B − 2(A½BA½)½), as the least ‖A½ − B½U‖² over orthogonal U: it does not cancel."""
    left, right = _root(A), _root(B)
    # Procrustes: the best U is the polar factor of B½A½.
    u, _, vt = np.linalg.svd(right @ left)
    return float(np.square(left - right @ (u @ vt)).sum())


def _root(A: Array) -> Array:
    values, vectors = np.linalg.eigh(A)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


class _Line(NamedTuple):
    """A mixture on the line."""

    weights: Array
    means: Array
    widths: Array

    def cdf(self, x: Array) -> Array:
        """P(x), and 0 or 1 where it rounds to that."""
        t = (x[..., np.newaxis] - self.means) / self.widths
        return np.asarray(np.minimum(_normal_cdf(t) @ self.weights, 1.0))

    def density(self, x: Array) -> Array:
        t = (x[..., np.newaxis] - self.means) / self.widths
        heights = self.weights / (self.widths * math.sqrt(2.0 * math.pi))
        return np.asarray(np.exp(-0.5 * np.square(t)) @ heights)

    def grid(self) -> tuple[Array, Array]:
        """Points that resolve P, and its values there, both ascending."""
        t = np.linspace(-_REACH, _REACH, max(_LEAST_GRID, _GRID // len(self.means)))
        x = np.sort((self.means[:, np.newaxis] + self.widths[:, np.newaxis] * t).ravel())
        return x, np.maximum.accumulate(self.cdf(x))

    def quantile(self, u: Array, x: Array, values: Array) -> Array:
        """P⁻¹(u), from a grid: Newton's method kept inside the grid's cell."""
        cell = np.clip(np.searchsorted(values, u), 1, len(x) - 1)
        low, high = x[cell - 1], x[cell]
        rise = values[cell] - values[cell - 1]
        share = np.divide(u - values[cell - 1], rise, out=np.full_like(u, 0.5), where=rise > 0.0)
        found = low + np.clip(share, 0.0, 1.0) * (high - low)
        for _ in range(_NEWTON_STEPS):
            slope = self.density(found)
            step = np.divide(self.cdf(found) - u, slope, out=np.zeros_like(u), where=slope > 0.0)
            found = np.clip(found - step, low, high)
        return np.asarray(found)


def _projected(p: _Moved, line: Array) -> _Line:
    """The mixture of ⟨line, x⟩."""
    variances = np.einsum("i,kij,j->k", line, p.covariances, line)
    return _Line(p.weights, p.means @ line, np.sqrt(np.maximum(variances, 0.0)))


def _by_quantiles(p: _Line, q: _Line) -> float:
    """W₂² on the line."""
    span = max(np.ptp(np.concatenate([p.means, q.means])), p.widths.max(), q.widths.max())
    if span == 0.0:
        return 0.0
    p, q = (line._replace(widths=np.maximum(line.widths, _NARROWEST * span)) for line in (p, q))
    grids = p.grid(), q.grid()
    edges = np.unique(np.concatenate([grids[0][1], grids[1][1]]))
    nodes, shares = _gauss_legendre(_CELL_NODES)
    steps = np.diff(edges)
    u = (edges[:-1, np.newaxis] + steps[:, np.newaxis] * nodes).ravel()
    apart = p.quantile(u, *grids[0]) - q.quantile(u, *grids[1])
    return float((steps[:, np.newaxis] * shares).ravel() @ np.square(apart))


def _normal_cdf(t: Array) -> Array:
    """Φ(t) to 1e-13, from the nearest t_i of a table and three terms of Taylor's series there."""
    nodes, values, slopes = _normal_table()
    near = np.clip(t, -_REACH, _REACH)
    i = np.rint((near + _REACH) * _TABLE).astype(np.intp)
    at, step = nodes[i], near - nodes[i]
    series = 1.0 - step * (0.5 * at - step * (np.square(at) - 1.0) / 6.0)
    return np.asarray(values[i] + slopes[i] * step * series)


@lru_cache(maxsize=1)
def _normal_table() -> tuple[Array, Array, Array]:
    """t_i, Φ(t_i) and Φ'(t_i)."""
    t = np.linspace(-_REACH, _REACH, round(2.0 * _REACH * _TABLE) + 1)
    values = np.array([0.5 * math.erfc(-x * math.sqrt(0.5)) for x in t])
    slopes = np.exp(-0.5 * np.square(t)) / math.sqrt(2.0 * math.pi)
    return read_only(t), read_only(values), read_only(slopes)


@lru_cache(maxsize=4)
def _gauss_legendre(count: int) -> tuple[Array, Array]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return read_only(0.5 * (nodes + 1.0)), read_only(0.5 * weights)
