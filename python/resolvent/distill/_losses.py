"""The losses of score identity distillation, and what their gradients are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ReadOnlyFields,
    as_real64,
    name_parameter,
    read_only,
    real_parameter,
)
from resolvent._html import table
from resolvent.distill._expectation import Integrand, Method, Points, Rule, rule_parameters
from resolvent.distill._generator import Generator
from resolvent.distill._mixture import GaussianMixture
from resolvent.distill._schedule import Schedule
from resolvent.distill._students import (
    LevelPredictor,
    OptimalPredictor,
    Predictor,
    generator_parameter,
    predictor_parameter,
    schedule_parameter,
    student_optimal,
)

__all__ = [
    "WEIGHTS",
    "Losses",
    "Measured",
    "Problem",
    "Weight",
    "WeightName",
    "lam_parameter",
    "losses",
    "measure",
    "weight_parameter",
]

WeightName = Literal["uniform", "noised", "sample"]
WEIGHTS: tuple[str, ...] = get_args(WeightName)

#: w(x_0, x_t, α, σ) → (...,) for points (..., d).
WeightFunction: TypeAlias = Callable[[Array, Array, float, float], Array]
Weight: TypeAlias = "WeightName | WeightFunction"

#: Added to the mean error of "sample" weights. The public code clips it at 1e-5; for few
#: dimensions its inverse would have hardly an expectation then (none for d = 1 without a bound).
SAMPLE_FLOOR = 0.1

Gradients = dict[str, Array]


# ---- results ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Losses(ReadOnlyFields):
    """Values and gradients; from :func:`losses`.

    Attributes
    ----------
    l1, l2, loss : float
        L1, L2 and L2 − λL1.
    lam : float
        λ.
    frozen : dict of ndarray, shape (P,)
        Under "l1", "l2" and "loss" the gradients by the generator's parameters with ψ held fixed:
        what backpropagation through x_t alone gives.
    true : dict of ndarray, shape (P,), or None
        The same with ψ* following the parameters; None for a ψ that is not this generator's
        optimum.
    error : dict
        Under "l1", "l2", "loss" error estimates of the values, under "frozen" and "true" those of
        the gradients: standard errors for "monte-carlo"; for "quadrature" the difference to half
        as many nodes, which is far above the error where the integrands are smooth. For weights
        that need not be smooth ("sample" and callables) the difference is the largest one of all
        values, and of all entries of the gradients of a kind, also to fewer nodes for what x_t
        leaves free. At kinks rules can still agree by accident: the error of a few 1e-4 of a value
        may then be up to some 30 times what is stated.
    method : {"quadrature", "monte-carlo"}
    """

    l1: float
    l2: float
    loss: float
    lam: float
    frozen: Gradients
    true: Gradients | None
    error: dict[str, Any]
    method: str

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("frozen", "true", "error"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))

    def __repr__(self) -> str:
        return (
            f"Losses(l1={self.l1:.6g}, l2={self.l2:.6g}, loss={self.loss:.6g}, "
            f"lam={self.lam:g}, {self.method!r})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{getattr(self, name):.6g} ± {self.error[name]:.1g}")
            for name in ("l1", "l2", "loss")
        ]
        kinds = {"frozen": self.frozen} | ({} if self.true is None else {"true": self.true})
        rows += [
            (f"{kind} gradient of {name}, norm", f"{np.linalg.norm(gradient):.6g}")
            for kind, gradients in kinds.items()
            for name, gradient in gradients.items()
        ]
        return table(f"L2 − {self.lam:g}·L1, {self.method}", rows)


def _read_only(value: Any) -> Any:
    """The arrays of nested dictionaries."""
    if isinstance(value, dict):
        return {name: _read_only(entry) for name, entry in value.items()}
    return read_only(np.array(value)) if isinstance(value, np.ndarray) else value


def losses(
    teacher: GaussianMixture | Predictor,
    generator: Generator,
    student: Predictor | None = None,
    lam: float = 1.0,
    weight: Weight = "uniform",
    *,
    schedule: Schedule,
    method: Method = "auto",
    nodes: int | None = None,
    samples: int = 65536,
    seed: int = 0,
) -> Losses:
    """L1, L2 and L2 − λL1 at the samples of a generator, with gradients.

    L1 = Σ_t ω_t E w‖ε_φ − ε_ψ‖² and L2 = Σ_t ω_t E w⟨ε_φ − ε_ψ, ε_φ − ε⟩, both predictors at
    x_t = α_t x_0 + σ_t ε.

    Parameters
    ----------
    teacher : GaussianMixture or Predictor
        φ.
    generator : Generator
        What x_0 comes from.
    student : Predictor, optional
        ψ; the generator's own optimum ψ* unless given.
    lam : float
        λ.
    weight : {"uniform", "noised", "sample"} or callable
        w: 1; 1/(1 + ‖x_t‖²/d), a function of x_t alone; 1/(0.1 + ‖x_0 − f_φ(x_t)‖₁/d) with the
        teacher's denoised f_φ, as the public code weights; or ``w(x0, xt, alpha, sigma)``, which
        takes two arrays (..., d) and gives (...,), at least 0. Gradients go through "noised", and
        hold "sample" and what is callable fixed.
    schedule : Schedule
        The levels t and their weights ω.
    method : {"auto", "quadrature", "monte-carlo"}
        "auto" is quadrature for d ≤ 2. Monte Carlo uses the same random numbers for all generators
        of the same weights: its gradients are those of its values.
    nodes : int, optional
        Of the quadrature on each axis, at least 33; doubled until that changes nothing unless
        given.
    samples : int
        Of Monte Carlo for each level, at least 128; antithetic in z and in ε.
    seed : int
        Of Monte Carlo.

    Returns
    -------
    Losses

    Raises
    ------
    ShapeMismatch
        If teacher, generator and student differ in dimension.
    InvalidArgument
        For numbers and names out of range, quadrature in more than two dimensions, weights that
        are negative or not finite, and where squares of scores overflow.
    DtypeError
        For arguments of another type.

    Notes
    -----
    With ψ fixed the parameters move x_t only, by α∂x_0/∂θ along ::

        ∇_x‖ε_φ − ε_ψ‖²              = 2(J_φ − J_ψ)ᵀ(ε_φ − ε_ψ)
        ∇_x⟨ε_φ − ε_ψ, ε_φ − ε⟩      = (J_φ − J_ψ)ᵀ(ε_φ − ε) + J_φᵀ(ε_φ − ε_ψ)

    where J are the Jacobians. The true gradient has −2⟨ε_φ − ε_ψ, ∂ε_ψ*/∂θ⟩ more for L1 and
    −⟨ε_φ − ε, ∂ε_ψ*/∂θ⟩ more for L2.

    E⟨f(x_t), ε⟩ = E⟨f(x_t), ε_ψ*(x_t)⟩ for every f. So L1 = L2 at ψ* where w is a function of x_t;
    and by the derivative of that identity with f = w(ε_φ − ε_ψ) held fixed,
    ∇true L1 = ∇true L2 = 2∇frozen(L2 − L1/2). A weight that depends on x_0 breaks both.

    For a teacher N(0, s²) and a student N(0, θ²), a = α²s²/(α²s² + σ²) and
    b = α²θ²/(α²θ² + σ²)::

        ∇frozen L1         = 2(α²/σ²)θ(a − b)²
        ∇frozen(L2 − λL1)  = 2(α²/σ²)θ(a − b)[(1 − λ)(a − b) − (1 − b)]

    Quadrature takes the trapezoidal rule on each axis of x_t, whitened for every component of the
    generator. What x_t leaves free of (z, ε) enters by its first two moments, or by nodes of its
    own for a weight that may depend on x_0. Levels have their nodes doubled until the sum changes
    by less than 1e-8 of its largest entry (1e-3 for d = 2), or up to 16385 (257) on an axis; for
    weights of x_0 by less than 1e-4 (1e-3), or up to 1025 (65), with 257 (17) for what x_t
    leaves free. Cost: T·K_student·nodesᵈ scores and
    Hessians of all components. Narrow noise between modes that are far apart (σ²/distance ≪ σ)
    needs many nodes; `error` tells.

    References
    ----------
    Zhou, Zheng, Wang, Yin, Huang, "Score identity Distillation: Exponentially Fast Distillation of
    Pretrained Diffusion Models for One-Step Generation", ICML 2024, arXiv:2404.04057.

    Examples
    --------
    >>> import resolvent as rv
    >>> data = rv.distill.GaussianMixture([1.0], [0.0], [1.0])
    >>> student = rv.distill.Generator.affine(0.0, 2.0)
    >>> found = rv.distill.losses(data, student, lam=0.5, schedule=rv.distill.Schedule([1], [1]))
    >>> found  # a = 1/2, b = 4/5: L1 = (a − b)²/(1 − b)
    Losses(l1=0.45, l2=0.45, loss=0.225, lam=0.5, 'quadrature')
    >>> for gradient in found.frozen["l1"], found.frozen["loss"], found.true["l1"]:
    ...     print(f"{gradient[1]:.6f}")  # by the factor
    0.360000
    0.420000
    0.840000
    """
    phi = predictor_parameter(teacher, "teacher")
    made = generator_parameter(generator, phi.dim)
    psi = None if student is None else predictor_parameter(student, "student", phi.dim)
    levels = schedule_parameter(schedule)
    problem = Problem(phi, levels, weight_parameter(weight, levels))
    rule = rule_parameters(method, nodes, samples, seed, phi.dim)
    return measure(problem, made, psi, lam_parameter(lam), rule).losses


def _is_own(student: Predictor, generator: Generator) -> bool:
    """Whether it is the optimum of this generator."""
    if not isinstance(student, OptimalPredictor) or not isinstance(student.source, Generator):
        return False
    other = student.source
    return np.array_equal(other.weights, generator.weights) and np.array_equal(
        other.parameters, generator.parameters
    )


# ---- evaluation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """What stays the same while a generator is trained."""

    teacher: Predictor
    schedule: Schedule
    weight: _Weighting


class Measured(NamedTuple):
    """Losses, and the Fisher divergence Σ_t ω_t E‖ε_φ − ε_ψ‖²/σ_t², which is one where ψ = ψ*."""

    losses: Losses
    fisher: float


class _Values(NamedTuple):
    """What the columns of the averaged rows are, each (R, ...)."""

    l1: Array
    l2: Array
    frozen1: Array
    frozen2: Array
    extra1: Array
    extra2: Array
    fisher: Array


def measure(
    problem: Problem,
    generator: Generator,
    student: Predictor | None,
    lam: float,
    rule: Rule,
    *,
    true: bool = True,
) -> Measured:
    """The losses for arguments that were checked; ψ = ψ* for None."""
    psi = student_optimal(generator) if student is None else student
    follows = true and (student is None or _is_own(psi, generator))

    def at(alpha: float, sigma: float) -> Integrand:
        return _Terms(
            generator,
            alpha,
            sigma,
            problem.teacher.at(alpha, sigma),
            psi.at(alpha, sigma),
            problem.weight,
            follows,
        )

    size = generator.parameters.size
    # Two values, gradients in units of the noisy student's width, and not the Fisher divergence.
    units = [1.0, 1.0, *[_width(generator, problem.schedule)] * ((4 if follows else 2) * size), 0.0]
    rows = rule.rows(
        generator, problem.schedule, at, joint=problem.weight.joint, units=np.array(units)
    )
    parts = _split(rows, size)
    # (ε_φ − ε)² is of the order d: what is left of it after cancellation has its roundings.
    scale = float(generator.dim)

    def combined(first: Array, second: Array) -> tuple[Gradients, Gradients]:
        named = {"l1": first, "l2": second, "loss": second - lam * first}
        errors = {name: rule.error(row, scale) for name, row in named.items()}
        if rule.method == "quadrature" and problem.weight.joint:
            # Two rules may agree in an entry by accident where the integrand has kinks.
            largest = max(found.max() for found in errors.values())
            errors = {name: np.full_like(found, largest) for name, found in errors.items()}
        return {name: rule.value(row) for name, row in named.items()}, errors

    values, errors = combined(parts.l1, parts.l2)
    numbers = {name: float(value) for name, value in values.items()}
    error: dict[str, Any] = {name: float(value) for name, value in errors.items()}
    frozen, error["frozen"] = combined(parts.frozen1, parts.frozen2)
    moving = None
    if follows:
        moving, error["true"] = combined(parts.frozen1 + parts.extra1, parts.frozen2 + parts.extra2)
    found = Losses(**numbers, lam=lam, frozen=frozen, true=moving, error=error, method=rule.method)
    return Measured(found, float(rule.value(parts.fisher)))


def _width(generator: Generator, schedule: Schedule) -> float:
    """√(Σ_c π_c tr C_c/d + Σ_t ω_t σ_t²)."""
    variances = np.trace(generator.covariances, axis1=1, axis2=2) / generator.dim
    noise = schedule.weight @ np.square(schedule.sigma)
    return float(np.sqrt(generator.weights @ variances + noise))


def _split(rows: Array, size: int) -> _Values:
    """Two values, then two or four gradients, then the Fisher divergence."""
    gradients = np.split(rows[:, 2:-1], range(size, rows.shape[1] - 3, size), axis=1)
    none = [np.zeros_like(gradients[0])] * (4 - len(gradients))
    first, second, third, fourth = gradients + none
    return _Values(rows[:, 0], rows[:, 1], first, second, third, fourth, rows[:, -1])


class _Sums(NamedTuple):
    """Expectations over what x_t leaves free, at each of n points, of w times the entries.

    b = ε_φ − ε.
    """

    one: Array  # (n,)
    z: Array  # (n, d)
    b: Array  # (n, d)
    bz: Array  # (n, d, d)


@dataclass(frozen=True)
class _Terms:
    """The integrand of all losses and gradients of a level."""

    generator: Generator
    alpha: float
    sigma: float
    teacher: LevelPredictor
    student: LevelPredictor
    weight: _Weighting
    follows: bool

    def __call__(self, points: Points) -> Array:
        phi, psi = self.teacher.noise(points.x), self.student.noise(points.x)
        a, b = phi - psi, phi[:, np.newaxis] - points.noise
        w, slope = self.weight(points, phi, self.alpha, self.sigma)
        sums = _summed(points, w * points.share, b)
        squared = np.square(a).sum(axis=1)
        values = np.stack([sums.one * squared, np.einsum("ni,ni->n", a, sums.b)], axis=1)
        fisher = points.mean(squared[:, np.newaxis] / self.sigma**2)
        columns = [points.mean(values), *self._frozen(points, a, sums)]
        if slope is not None:
            plain = _summed(points, np.broadcast_to(points.share, b.shape[:2]), b)
            for i, more in enumerate(self._through_weight(points, a, slope, plain)):
                columns[1 + i] = columns[1 + i] + more
        if self.follows:
            columns += [
                self._followed(points, -2.0 * sums.one[:, np.newaxis] * a),
                self._followed(points, -sums.b),
            ]
        return np.concatenate([*columns, fisher], axis=1)

    def _frozen(self, points: Points, a: Array, sums: _Sums) -> Iterator[Array]:
        """Of L1 and L2, each (R, P)."""
        J = self.teacher.jacobian(points.x)
        apart = J - self.student.jacobian(points.x)
        along = 2.0 * _transposed(apart, a)
        yield self._placed(
            points, sums.one[:, np.newaxis] * along, along[:, :, np.newaxis] * sums.z[:, np.newaxis]
        )
        moved = _transposed(J, a)
        yield self._placed(
            points,
            _transposed(apart, sums.b) + sums.one[:, np.newaxis] * moved,
            np.einsum("nij,nik->njk", apart, sums.bz)
            + moved[:, :, np.newaxis] * sums.z[:, np.newaxis],
        )

    def _through_weight(
        self, points: Points, a: Array, slope: Array, plain: _Sums
    ) -> Iterator[Array]:
        """What ∇w adds to both; `plain` has w = 1."""
        first = slope * np.square(a).sum(axis=1, keepdims=True)
        yield self._placed(points, first, first[:, :, np.newaxis] * plain.z[:, np.newaxis])
        second = slope * np.einsum("ni,ni->n", a, plain.b)[:, np.newaxis]
        along = np.einsum("ni,nij->nj", a, plain.bz)
        yield self._placed(points, second, slope[:, :, np.newaxis] * along[:, np.newaxis])

    def _placed(self, points: Points, mean: Array, factor: Array) -> Array:
        """(n, d) and (n, d, d) for a component's μ and F, averaged into (R, P)."""
        R, K, d = len(points.components), self.generator.components, self.generator.dim
        groups = np.arange(R)
        means, factors = np.zeros((R, K, d)), np.zeros((R, K, d, d))
        means[groups, points.components] = self.alpha * points.mean(mean)
        factors[groups, points.components] = self.alpha * points.mean(factor)
        return np.concatenate([means.reshape(R, -1), factors.reshape(R, -1)], axis=1)

    def _followed(self, points: Points, u: Array) -> Array:
        """E⟨u, ∂ε_ψ*/∂θ⟩ for u (n, d); (R, P).

        With Σ = α²FFᵀ + σ²I, y = Σ⁻¹(x − αμ) and v = Σ⁻¹u of every component, responsibilities r
        and g = ⟨Σ_j r_j y_j − y, u⟩, the derivatives of ⟨u, ∇log q⟩ are ::

            by μ:  αr(g y + v)        by F:  α²r(g(yyᵀ − Σ⁻¹) + vyᵀ + yvᵀ)F
        """
        level = self.generator.diffuse(self.alpha, self.sigma)
        precision = np.linalg.inv(level.covariances)
        y = np.einsum("kij,nkj->nki", precision, points.x[:, np.newaxis] - level.means)
        v = np.einsum("kij,nj->nki", precision, u)
        r = level.responsibilities(points.x)
        along = np.einsum("nki,ni->nk", y, u)
        g = r * (np.einsum("nk,nk->n", r, along)[:, np.newaxis] - along)
        by_mean = points.mean(g[:, :, np.newaxis] * y + r[:, :, np.newaxis] * v)
        cross = points.outer_mean(r[:, :, np.newaxis] * v, y)
        by_cov = points.outer_mean(g[:, :, np.newaxis] * y, y) + cross + cross.swapaxes(2, 3)
        by_cov -= points.mean(g)[:, :, np.newaxis, np.newaxis] * precision
        by_factor = by_cov @ self.generator.factors
        rows = len(by_mean)
        scale = -self.sigma * self.alpha
        return scale * np.concatenate(
            [by_mean.reshape(rows, -1), self.alpha * by_factor.reshape(rows, -1)], axis=1
        )


def _transposed(matrices: Array, vectors: Array) -> Array:
    """Jᵀa at every point."""
    return np.asarray(np.einsum("nij,ni->nj", matrices, vectors))


def _summed(points: Points, w: Array, b: Array) -> _Sums:
    """w (n, m) includes the probabilities of the m values."""
    one, weighted = _added(w), w[:, :, np.newaxis] * b
    if b.shape[1] == 1:
        bz = weighted[:, 0, :, np.newaxis] * points.z
    else:
        bz = weighted.swapaxes(1, 2) @ points.z
    groups = bz.reshape(len(points.components), -1, *bz.shape[1:])
    groups -= one.reshape(*groups.shape[:2], 1, 1) * points.coupling[:, np.newaxis]
    return _Sums(one, _added(w[:, :, np.newaxis] * points.z), _added(weighted), bz)


def _added(values: Array) -> Array:
    """Over the m values at the same x_t."""
    return np.asarray(values[:, 0] if values.shape[1] == 1 else values.sum(axis=1))


# ---- weights ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Weighting:
    """w at points: (n, m), or (n, 1) for a function of x_t; and its gradient by x_t, or None."""

    name: str
    function: WeightFunction | None = None

    @property
    def joint(self) -> bool:
        """Whether it can depend on x_0."""
        return self.name in ("sample", "callable")

    def __call__(
        self, points: Points, noise: Array, alpha: float, sigma: float
    ) -> tuple[Array, Array | None]:
        """`noise` is ε_φ(x_t)."""
        n, dim = points.x.shape
        if self.name == "uniform":
            return np.ones((n, 1)), None
        if self.name == "noised":
            w = 1.0 / (1.0 + np.square(points.x).mean(axis=1, keepdims=True))
            return w, -2.0 / dim * np.square(w) * points.x
        if self.name == "sample":
            denoised = (points.x - sigma * noise) / alpha
            apart = np.abs(points.x0 - denoised[:, np.newaxis]).mean(axis=2)
            return 1.0 / (SAMPLE_FLOOR + apart), None
        return self._called(points, alpha, sigma), None

    def _called(self, points: Points, alpha: float, sigma: float) -> Array:
        assert self.function is not None
        noised = np.broadcast_to(points.x[:, np.newaxis], points.x0.shape)
        w = as_real64(self.function(points.x0, noised, alpha, sigma), "weight")
        if w.shape != points.x0.shape[:-1]:
            raise _core.ShapeMismatch(
                f"weight must give shape {points.x0.shape[:-1]} for points of shape "
                f"{points.x0.shape}, got {w.shape}"
            )
        if not (w >= 0.0).all():
            raise _core.InvalidArgument(f"weight must be at least 0, got {w.min():g}")
        return w


def weight_parameter(weight: object, schedule: Schedule) -> _Weighting:
    """A weight by name, or a function."""
    if callable(weight):
        return _Weighting("callable", weight)
    name = name_parameter(weight, WEIGHTS, "weight")
    if name == "sample" and (schedule.alpha == 0.0).any():
        t = int(np.flatnonzero(schedule.alpha == 0.0)[0])
        raise _core.InvalidArgument(
            f"weight='sample' denoises, which needs alpha > 0; got schedule.alpha[{t}] = 0"
        )
    return _Weighting(name)


def lam_parameter(value: Any) -> float:
    """λ, finite."""
    number = real_parameter(value, "lam")
    if not math.isfinite(number):
        raise _core.InvalidArgument(f"lam must be finite, got {number:g}")
    return number
