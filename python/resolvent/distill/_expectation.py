"""Expectations over (c, z, ε) at the points x_t = α(μ_c + F_c z) + σε, by quadrature or by samples.

Both go component by component, so that what is known of E[ε | x_t] comes out and is not put in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, count_parameter, name_parameter, read_only
from resolvent.distill._generator import Generator
from resolvent.distill._schedule import Schedule

__all__ = ["METHODS", "Integrand", "Method", "Points", "Rule", "rule_parameters"]

Method = Literal["auto", "quadrature", "monte-carlo"]
METHODS: tuple[str, ...] = get_args(Method)

#: The highest dimension that tensor rules are for.
_MOST_DIMENSIONS = 2

#: Nodes reach so far; the normal law has less than eps beyond.
_RADIUS = 8.2

#: Nodes on each axis: the first rule, and the largest that doubling leads to, by dimension.
_FIRST_NODES = 33
_MOST_NODES = {1: 2**14 + 1, 2: 2**8 + 1}

#: Where x_t does not determine the weight: the first and the most nodes on each axis for x_t. Few
#: do not average over where the kinks are between the nodes.
_FIRST_JOINT_NODES = {1: 2**8 + 1, 2: 2**5 + 1}
_MOST_JOINT_NODES = {1: 2**10 + 1, 2: 2**6 + 1}

#: And those for what is left, of the rule and of the coarser one. A kink costs the rule O(h²),
#: which only another h shows; 13 are the fewest that are enough for the normal law itself.
_INNER_NODES = {1: (2**8 + 1, 2**7 + 1), 2: (2**4 + 1, 13)}

#: Doubling stops when it changes nothing by more than this, relative to the largest entry, by
#: dimension. It about squares the error, so that what is left is far smaller; not so for weights
#: with kinks.
_TOLERANCES = {1: 1e-8, 2: 1e-3}
_JOINT_TOLERANCE = 1e-4

#: Rounding of the sums over nodes, in eps.
_ROUNDING = 64.0

#: Samples are cut into so many independent replicates, whose spread gives the standard errors.
_REPLICATES = 32

#: (z, ε), (z, −ε), (−z, ε), (−z, −ε) are used together.
_SIGNS = np.array(list(product((1.0, -1.0), repeat=2)))

#: About so many numbers are in the largest array of a block.
_BLOCK = 2**20


@dataclass(frozen=True)
class Points:
    """Nodes or samples at one level: n in R groups of the same size, each of one component.

    Attributes
    ----------
    generator : Generator
    components : ndarray of int, shape (R,)
        c of each group.
    x : ndarray, shape (n, d)
        x_t.
    z, noise : ndarray, shape (n, m, d)
        m values of what leads to the same x_t; m = 1 for samples, and for the means given x_t.
    share : ndarray, shape (m,)
        Probabilities of these, given x_t.
    coupling : ndarray, shape (R, d, d)
        E εzᵀ given x_t beyond that of these values.
    probability : ndarray, shape (R, n / R)
        Probabilities of the points in their group.
    """

    generator: Generator
    components: Array
    x: Array
    z: Array
    noise: Array
    share: Array
    coupling: Array
    probability: Array

    @property
    def x0(self) -> Array:
        """Shape (n, m, d)."""
        means = self.generator.means[self.components][:, np.newaxis]
        factors = self.generator.factors[self.components].swapaxes(1, 2)
        moved = self.z.reshape(len(factors), -1, self.generator.dim) @ factors
        return np.asarray((moved + means).reshape(self.z.shape))

    def mean(self, values: Array) -> Array:
        """Σ p_n values_n in each group; (n, …) → (R, …)."""
        rows = values.reshape(*self.probability.shape, -1)
        found = (self.probability[:, None, :] @ rows)[:, 0]
        return np.asarray(found.reshape(-1, *values.shape[1:]))

    def outer_mean(self, left: Array, right: Array) -> Array:
        """Σ p_n left_n right_nᵀ in each group; (n, …, a) and (n, …, b) → (R, …, a, b)."""
        rows = (*self.probability.shape, *(1,) * (left.ndim - 1))
        weighted = self.probability.reshape(rows) * left.reshape(*rows[:2], *left.shape[1:])
        a = np.moveaxis(weighted, 1, -1)
        b = np.moveaxis(right.reshape(*rows[:2], *right.shape[1:]), 1, -2)
        return np.asarray(a @ b)


#: What is averaged: points → (R, V), for the level it was made for.
Integrand: TypeAlias = Callable[[Points], Array]


@dataclass(frozen=True)
class Rule:
    """How expectations are taken; from :func:`rule_parameters`.

    Attributes
    ----------
    method : {"quadrature", "monte-carlo"}
    nodes : int or None
        On each axis; None doubles them until that changes nothing.
    samples, seed : int
    tolerance : float
        Where doubling stops.
    draw : int
        Rules of the same seed with another number have independent samples.
    """

    method: str
    nodes: int | None
    samples: int
    seed: int
    tolerance: float = _TOLERANCES[1]
    draw: int = 0

    def rows(
        self,
        generator: Generator,
        schedule: Schedule,
        at: Callable[[float, float], Integrand],
        *,
        joint: bool = False,
        units: Array | float = 1.0,
    ) -> Array:
        """Σ_t ω_t Σ_c π_c E[integrand], several times over; shape (R, V).

        Quadrature has the result, then those of coarser rules: of x_t, and if `joint` of what it
        leaves free. Monte Carlo has one for
        each replicate.

        `at` makes the integrand of a level from α and σ. `joint` says that at the same x_t it is
        more than bilinear in z and ε. Doubling looks at the columns times
        their `units`, so that it does not depend on what x is measured in.
        """
        terms = [
            _Term(t, weight, _Level(generator, alpha, sigma), at(alpha, sigma))
            for t, (alpha, sigma, weight) in enumerate(schedule)
            if weight > 0.0
        ]
        with np.errstate(over="ignore", invalid="ignore"):
            if self.method == "quadrature":
                return self._refined(terms, joint, units)
            return _in_range(sum(term.weight * self._sampled(term) for term in terms))

    def value(self, rows: Array) -> Array:
        """The estimate from (R, …)."""
        return np.asarray(rows[0] if self.method == "quadrature" else rows.mean(axis=0))

    def error(self, rows: Array, scale: float) -> Array:
        """Difference to the coarser rule, or the standard error, from (R, …).

        `scale` is the size of what the sums are of, for their rounding.
        """
        if self.method == "quadrature":
            rounding = _ROUNDING * np.finfo(np.float64).eps
            apart = np.abs(rows[0] - rows[1:]).max(axis=0)
            return np.asarray(apart + rounding * (np.abs(rows[0]) + scale))
        return np.asarray(rows.std(axis=0, ddof=1) / math.sqrt(len(rows)))

    def _refined(self, terms: list[_Term], joint: bool, units: Array | float) -> Array:
        """Doubles the nodes of the levels whose changes are above their share of what is allowed.

        The allowance is a share of the largest entry of the sum over the levels.
        """
        dim = terms[0].level.generator.dim
        most = (_MOST_JOINT_NODES if joint else _MOST_NODES)[dim]
        inner, fewer = _INNER_NODES[dim] if joint else (None, None)
        tolerance = max(_JOINT_TOLERANCE, self.tolerance) if joint else self.tolerance
        floor = _ROUNDING * np.finfo(np.float64).eps * dim
        first = _FIRST_JOINT_NODES[dim] if joint else _FIRST_NODES
        first = first if self.nodes is None else self.nodes
        counts = [first] * len(terms)
        pairs = [np.stack([t.on(n, inner) for n in (first, _coarser(first))]) for t in terms]
        while True:
            total = np.asarray(sum(pairs))
            allowed = (tolerance * np.abs(units * total[0]).max() + floor) / len(terms)
            rough = [
                i
                for i, pair in enumerate(pairs)
                if counts[i] < most and not np.abs(units * (pair[0] - pair[1])).max() <= allowed
            ]
            if self.nodes is not None or not rough:
                break
            for i in rough:
                counts[i] = 2 * counts[i] - 1
                pairs[i] = np.stack([terms[i].on(counts[i], inner), pairs[i][0]])
        if joint:
            coarse = [t.on(n, fewer) for t, n in zip(terms, counts, strict=True)]
            total = np.stack([*total, np.asarray(sum(coarse))])
        return total

    def _sampled(self, term: _Term) -> Array:
        """One row for each replicate."""
        found: Any = 0.0
        for c, share in enumerate(term.level.generator.weights):
            groups = max(1, math.ceil(share * self.samples / (len(_SIGNS) * _REPLICATES)))
            stream = np.random.SeedSequence(self.seed, spawn_key=(self.draw, term.place, c))
            rows = [term.integrand(points) for points in term.level.samples(c, groups, stream)]
            found = found + share * np.concatenate(rows)
        return np.asarray(found)


def rule_parameters(method: object, nodes: object, samples: object, seed: object, dim: int) -> Rule:
    """Checks them; "auto" is quadrature in one and two dimensions."""
    chosen = name_parameter(method, METHODS, "method")
    if chosen == "auto":
        chosen = "quadrature" if dim <= _MOST_DIMENSIONS else "monte-carlo"
    if chosen == "quadrature" and dim > _MOST_DIMENSIONS:
        raise _core.InvalidArgument(
            f"method='quadrature' is for at most {_MOST_DIMENSIONS} dimensions, got {dim}; "
            "use 'monte-carlo'"
        )
    count = None
    if nodes is not None:
        if chosen != "quadrature":
            raise _core.InvalidArgument(f"nodes is for method='quadrature', got nodes={nodes!r}")
        count = count_parameter(nodes, "nodes", _FIRST_NODES) | 1
    number = count_parameter(seed, "seed", 0)
    least = len(_SIGNS) * _REPLICATES
    drawn = count_parameter(samples, "samples", least)
    return Rule(chosen, count, drawn, number, _TOLERANCES.get(dim, 0.0))


def _coarser(nodes: int) -> int:
    """Every second node of an odd number of them."""
    return (nodes + 1) // 2 | 1


@dataclass(frozen=True)
class _Level:
    """The joint law of (z, ε, x_t), component by component.

    With Σ = α²FFᵀ + σ²I = LLᵀ, N = α²FᵀF + σ²I and CCᵀ = N⁻¹, ::

        z = αFᵀL⁻ᵀ ξ + σC η,    ε = σL⁻ᵀ ξ − αFC η,    (ξ, η) ~ N(0, I)

    turns the 2d coordinates (z, ε) so that x_t = αμ + Lξ does not depend on η.
    """

    generator: Generator
    alpha: float
    sigma: float

    def nodes(self, outer: int, inner: int | None) -> Iterator[Points]:
        """Blocks of a tensor rule for (ξ, η); a group is a component.

        Trapezoidal in ξ: for the analytic functions here its error falls geometrically with the
        number of nodes. In η `inner` trapezoidal ones, or for None its first two moments, which are
        all that an integrand needs whose weight is a function of x_t.
        """
        made, d = self.generator, self.generator.dim
        xi, weight = _trapezoidal(d, outer)
        F, identity = made.factors, np.eye(d)
        L = np.linalg.cholesky(self.alpha**2 * made.covariances + self.sigma**2 * identity)
        whitening = np.linalg.inv(L)
        N = self.alpha**2 * F.swapaxes(1, 2) @ F + self.sigma**2 * identity
        Ct = np.linalg.inv(np.linalg.cholesky(N))
        eta, share, coupling = np.zeros((1, d)), np.ones(1), np.zeros_like(F)
        if inner is None:
            coupling = -self.alpha * self.sigma * F @ np.linalg.inv(N)
        else:
            eta, share = _trapezoidal(d, inner)
        left_z = (self.sigma * eta @ Ct)[:, np.newaxis]
        left_noise = (self.alpha * eta @ Ct @ F.swapaxes(1, 2))[:, np.newaxis]
        size = self._block(len(eta))
        for i in range(0, len(xi), size):
            block = xi[i : i + size]
            white = block @ whitening
            z = (self.alpha * white @ F)[:, :, np.newaxis] + left_z
            noise = (self.sigma * white)[:, :, np.newaxis] - left_noise
            x = self.alpha * made.means[:, np.newaxis] + block @ L.swapaxes(1, 2)
            yield Points(
                made,
                np.arange(made.components),
                x.reshape(-1, d),
                z.reshape(-1, len(eta), d),
                noise.reshape(-1, len(eta), d),
                share,
                coupling,
                np.broadcast_to(weight[i : i + size], x.shape[:2]),
            )

    def samples(self, c: int, groups: int, stream: np.random.SeedSequence) -> Iterator[Points]:
        """Blocks of replicates of a component, with `groups` times four antithetic samples each."""
        random, made = np.random.default_rng(stream), self.generator
        each = groups * len(_SIGNS)
        size = max(1, self._block(1) // each)
        for i in range(0, _REPLICATES, size):
            count = min(size, _REPLICATES - i)
            drawn = random.standard_normal((count * groups, 1, 2, made.dim))
            signed = (_SIGNS[:, :, np.newaxis] * drawn).reshape(-1, 1, 2, made.dim)
            z, noise = signed[:, :, 0], signed[:, :, 1]
            x = self.alpha * (made.means[c] + z @ made.factors[c].T) + self.sigma * noise
            probability = np.full((count, each), 1.0 / each)
            none = np.zeros((count, made.dim, made.dim))
            yield Points(made, np.full(count, c), x[:, 0], z, noise, np.ones(1), none, probability)

    def _block(self, inner: int) -> int:
        """Nodes at a time for every component, or samples of one."""
        dim, count = self.generator.dim, self.generator.components
        return max(16, _BLOCK // (count * dim * max(inner, count * (1 + dim))))


class _Term(NamedTuple):
    """A level of a sum over the schedule."""

    place: int
    weight: float
    level: _Level
    integrand: Integrand

    def on(self, nodes: int, inner: int | None) -> Array:
        """ω Σ_c π_c E[integrand] by quadrature, (V,)."""
        shares = self.weight * self.level.generator.weights
        found: Any = 0.0
        for points in self.level.nodes(nodes, inner):
            found = found + shares @ self.integrand(points)
        return _in_range(found)


def _in_range(found: Any) -> Array:
    rows = np.asarray(found)
    if not np.isfinite(rows).all():
        raise _core.InvalidArgument(
            "teacher, generator and schedule must be such that squares of scores are in float64's "
            "range; they overflow: the distributions are too far apart for so little noise"
        )
    return rows


@lru_cache(maxsize=64)
def _trapezoidal(dim: int, count: int) -> tuple[Array, Array]:
    """Nodes (n, dim) and weights for N(0, I), without those in the corners of the square."""
    axis = np.linspace(-_RADIUS, _RADIUS, count)
    mass = np.exp(-0.5 * axis**2) * ((axis[1] - axis[0]) / math.sqrt(2.0 * math.pi))
    nodes = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weight = np.prod(np.meshgrid(*[mass] * dim, indexing="ij"), axis=0).ravel()
    inside = np.square(nodes).sum(axis=1) <= _RADIUS**2 * (1.0 + np.finfo(np.float64).eps)
    return read_only(nodes[inside]), read_only(weight[inside])
