"""Noise predictors: the teacher's, the student's own optimum, and what regression makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from resolvent import _core
from resolvent._arrays import (
    Array,
    ArrayLike,
    ReadOnlyFields,
    as_real,
    count_parameter,
    narrowed,
    positive_parameter,
)
from resolvent.distill._expectation import Integrand, Method, Points, Rule, rule_parameters
from resolvent.distill._generator import Generator
from resolvent.distill._mixture import GaussianMixture, level_parameters
from resolvent.distill._schedule import Schedule

__all__ = [
    "FittedPredictor",
    "LevelPredictor",
    "OptimalPredictor",
    "Predictor",
    "generator_parameter",
    "predictor_parameter",
    "schedule_parameter",
    "student_fitted",
    "student_optimal",
    "teacher",
]

#: Share of the largest stable step over two (1/λ_max) that regression takes unless told.
LEARNING_RATE = 0.2

_SAMPLES = 65536


class LevelPredictor(Protocol):
    """ε̂ at one noise level."""

    def noise(self, x: Array) -> Array:
        """ε̂(x), shape (..., d)."""

    def jacobian(self, x: Array) -> Array:
        """∂ε̂_i/∂x_j, shape (..., d, d)."""


class Predictor(ABC):
    """A noise predictor ε̂(x_t, α, σ).

    Made by :func:`teacher`, :func:`student_optimal` and :func:`student_fitted`.

    Attributes
    ----------
    dim : int
        d.
    """

    @property
    @abstractmethod
    def dim(self) -> int: ...

    @abstractmethod
    def at(self, alpha: float, sigma: float) -> LevelPredictor:
        """The predictor of one level, with `noise(x)` and `jacobian(x)`.

        Parameters
        ----------
        alpha : float
            At least 0.
        sigma : float
            Positive.
        """

    def __call__(self, x: ArrayLike, alpha: float, sigma: float) -> Array:
        """ε̂(x).

        Parameters
        ----------
        x : array_like, shape (..., d)
        alpha : float
            At least 0.
        sigma : float
            Positive.

        Returns
        -------
        ndarray, shape (..., d)
        """
        array = as_real(x, "x")
        return narrowed(self.at(alpha, sigma).noise(array), array)

    def jacobian(self, x: ArrayLike, alpha: float, sigma: float) -> Array:
        """∂ε̂_i/∂x_j.

        Parameters
        ----------
        x : array_like, shape (..., d)
        alpha : float
            At least 0.
        sigma : float
            Positive.

        Returns
        -------
        ndarray, shape (..., d, d)
        """
        array = as_real(x, "x")
        return narrowed(self.at(alpha, sigma).jacobian(array), array)


@dataclass(frozen=True)
class _OptimalLevel:
    """−σ∇log p_t and its derivative."""

    mixture: GaussianMixture
    sigma: float

    def noise(self, x: Array) -> Array:
        return np.asarray(-self.sigma * self.mixture.score(x))

    def jacobian(self, x: Array) -> Array:
        return np.asarray(-self.sigma * self.mixture.hessian(x))


@dataclass(frozen=True, eq=False, repr=False)
class OptimalPredictor(Predictor):
    """E[ε | x_t] = −σ∇log p_t(x_t) in closed form.

    Attributes
    ----------
    source : GaussianMixture or Generator
        The distribution of x_0.
    """

    source: GaussianMixture | Generator

    @property
    def dim(self) -> int:
        return self.source.dim

    def at(self, alpha: float, sigma: float) -> LevelPredictor:
        a, s = _level(alpha, sigma)
        return _OptimalLevel(self.source.diffuse(a, s), s)

    def __repr__(self) -> str:
        return f"OptimalPredictor({self.source!r})"


def teacher(mixture: GaussianMixture) -> OptimalPredictor:
    """ε_φ = −σ∇log p_t: what a perfectly trained diffusion model of the data predicts.

    Parameters
    ----------
    mixture : GaussianMixture
        The distribution of the data.

    Returns
    -------
    OptimalPredictor

    Raises
    ------
    DtypeError
        For something else than a mixture.

    Examples
    --------
    A Gaussian of variance 3 with noise of variance 1: σx/(s² + σ²).

    >>> import resolvent as rv
    >>> phi = rv.distill.teacher(rv.distill.GaussianMixture([1.0], [0.0], [3.0]))
    >>> phi([[2.0]], alpha=1.0, sigma=1.0)
    array([[0.5]])
    """
    if not isinstance(mixture, GaussianMixture):
        raise _core.DtypeError(f"mixture must be a GaussianMixture, got {type(mixture).__name__}")
    return OptimalPredictor(mixture)


def student_optimal(generator: Generator) -> OptimalPredictor:
    """ε_ψ* = −σ∇log q_t of the student's own samples, in closed form.

    Parameters
    ----------
    generator : Generator
        May have collapsed.

    Returns
    -------
    OptimalPredictor

    Raises
    ------
    DtypeError
        For something else than a generator.

    Examples
    --------
    >>> import resolvent as rv
    >>> psi = rv.distill.student_optimal(rv.distill.Generator.affine(0.0, 0.0))
    >>> psi([[2.0]], alpha=1.0, sigma=0.5)
    array([[4.]])
    """
    return OptimalPredictor(generator_parameter(generator))


# ---- regression ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _FittedLevel:
    """Σ_j r_j(x)(A_j(x − μ_j) + b_j)."""

    mixture: GaussianMixture
    slopes: Array
    offsets: Array

    def noise(self, x: Array) -> Array:
        return self.mixture.blend(x, self.slopes, self.offsets)

    def jacobian(self, x: Array) -> Array:
        return self.mixture.blend_jacobian(x, self.slopes, self.offsets)


@dataclass(frozen=True, eq=False, repr=False)
class FittedPredictor(ReadOnlyFields, Predictor):
    """ε_ψ(x_t) = Σ_j r_j(x_t)(W_jt R_jt⁻¹(x_t − μ_jt) + c_jt), from :func:`student_fitted`.

    r, μ_jt and R_jt R_jtᵀ are the responsibilities, means and covariances of the teacher's mixture
    at the level t; W and c are trained. For one component and an affine student, ψ* is among these
    functions.

    Attributes
    ----------
    start : GaussianMixture
        The teacher's.
    schedule : Schedule
        The T levels that it is for.
    coefficients : ndarray, shape (T, K, d + 1, d)
        Wᵀ, and c in the last row.
    steps : int
        How many steps of regression were done.
    """

    start: GaussianMixture
    schedule: Schedule
    coefficients: Array
    steps: int

    @classmethod
    def untrained(cls, start: GaussianMixture, schedule: Schedule) -> FittedPredictor:
        """ψ = φ: W = σR⁻ᵀ and c = 0.

        Parameters
        ----------
        start : GaussianMixture
        schedule : Schedule

        Returns
        -------
        FittedPredictor
        """
        K, d = start.means.shape
        found = np.zeros((len(schedule), K, d + 1, d))
        for t, (alpha, sigma, _) in enumerate(schedule):
            found[t, :, :d] = sigma * _unwhitening(start.diffuse(alpha, sigma)).swapaxes(1, 2)
        return cls(start, schedule, found, 0)

    @property
    def dim(self) -> int:
        return self.start.dim

    def at(self, alpha: float, sigma: float) -> LevelPredictor:
        """The predictor at one of the levels of its schedule.

        Parameters
        ----------
        alpha, sigma : float

        Raises
        ------
        InvalidArgument
            For another level.
        """
        a, s = _level(alpha, sigma)
        found = np.flatnonzero((self.schedule.alpha == a) & (self.schedule.sigma == s))
        if found.size == 0:
            raise _core.InvalidArgument(
                f"alpha={a:g}, sigma={s:g} must be a level that the student was fitted at: "
                f"{self.schedule!r}"
            )
        mixture = self.start.diffuse(a, s)
        trained = self.coefficients[found[0]]
        slopes = (_unwhitening(mixture) @ trained[:, :-1]).swapaxes(1, 2)
        return _FittedLevel(mixture, slopes, trained[:, -1])

    def continued(
        self,
        generator: Generator,
        steps: int,
        *,
        learning_rate: float = LEARNING_RATE,
        method: Method = "auto",
        samples: int = _SAMPLES,
        seed: int = 0,
    ) -> FittedPredictor:
        """More steps of regression, at the samples of a generator.

        Parameters
        ----------
        generator : Generator
        steps : int
            At least 0.
        learning_rate, method, samples, seed
            As for :func:`student_fitted`.

        Returns
        -------
        FittedPredictor
        """
        student = generator_parameter(generator, self.dim)
        count = count_parameter(steps, "steps", 0)
        rule = rule_parameters(method, None, samples, seed, self.dim)
        return self.moved(student, count, _rate_parameter(learning_rate), rule)

    def gap(
        self,
        generator: Generator,
        *,
        method: Method = "auto",
        samples: int = _SAMPLES,
        seed: int = 0,
    ) -> float:
        """Σ_t ω_t E‖ε_ψ(x_t) − ε_ψ*(x_t)‖² at the samples of a generator: how far ψ is from ψ*.

        Parameters
        ----------
        generator : Generator
        method, samples, seed
            As for :func:`student_fitted`.

        Returns
        -------
        float
        """
        student = generator_parameter(generator, self.dim)
        rule = rule_parameters(method, None, samples, seed, self.dim)
        optimum = student_optimal(student)

        def at(alpha: float, sigma: float) -> Integrand:
            mine, best = self.at(alpha, sigma), optimum.at(alpha, sigma)

            def squared(points: Points) -> Array:
                apart = mine.noise(points.x) - best.noise(points.x)
                return points.mean(np.square(apart).sum(axis=1, keepdims=True))

            return squared

        return float(rule.value(rule.rows(student, self.schedule, at))[0])

    def moved(self, generator: Generator, steps: int, rate: float, rule: Rule) -> FittedPredictor:
        """:meth:`continued` for arguments that were checked."""
        found = np.empty_like(self.coefficients)
        shape = found.shape[1:]
        for t, (alpha, sigma, _) in enumerate(self.schedule):
            level = Schedule([alpha], [sigma])
            second, mixed = _moments(self.start, generator, level, rule)
            before = self.coefficients[t].reshape(-1, self.dim)
            found[t] = _descended(second, mixed, before, rate, steps).reshape(shape)
        return FittedPredictor(self.start, self.schedule, found, self.steps + steps)

    def __repr__(self) -> str:
        return f"FittedPredictor({self.start!r}, {len(self.schedule)} levels, {self.steps} steps)"


def student_fitted(
    generator: Generator,
    schedule: Schedule,
    steps: int,
    *,
    start: GaussianMixture | OptimalPredictor,
    learning_rate: float = LEARNING_RATE,
    method: Method = "auto",
    samples: int = _SAMPLES,
    seed: int = 0,
) -> FittedPredictor:
    """ε_ψ after some steps of regression of E‖ε_ψ(x_t) − ε‖² from the teacher, as in practice.

    Parameters
    ----------
    generator : Generator
        Whose samples it learns from.
    schedule : Schedule
        The levels; every one has coefficients of its own.
    steps : int
        At least 0, where ψ = φ.
    start : GaussianMixture or OptimalPredictor
        The teacher φ.
    learning_rate : float
        In (0, 2), in units of 1/λ_max: below.
    method : {"auto", "quadrature", "monte-carlo"}
        How the expectation is taken; "auto" by quadrature for d ≤ 2.
    samples : int
        For "monte-carlo", at every level; the same in all steps.
    seed : int

    Returns
    -------
    FittedPredictor

    Raises
    ------
    ShapeMismatch
        If generator and start differ in dimension.
    InvalidArgument
        For numbers out of range.

    Notes
    -----
    With the features f = r_j(x)(R_j⁻¹(x − μ_j), 1) the loss at a level is a quadratic with matrix
    H = E f fᵀ. A step is θ ← θ − (η/λ_max)(Hθ − E f εᵀ): stable for η < 2. An eigenvector of H with
    eigenvalue λ has (1 − ηλ/λ_max)^k of its error left after k steps, which is evaluated as such:
    the cost does not depend on the number of steps. It is T times the expectation of (K(d + 1))²
    numbers and an eigenvalue problem of that size.

    With samples the coefficients have an error of the order 1/√samples that no steps remove.

    Examples
    --------
    >>> import resolvent as rv
    >>> data = rv.distill.GaussianMixture([1.0], [0.0], [1.0])
    >>> student, levels = rv.distill.Generator.affine(0.5, 2.0), rv.distill.schedule("ve", 4)
    >>> for steps in 0, 5, 50:
    ...     psi = rv.distill.student_fitted(student, levels, steps, start=data)
    ...     print(f"{psi.gap(student):.1e}")
    2.1e-01
    2.2e-02
    6.1e-08
    """
    source = start.source if isinstance(start, OptimalPredictor) else start
    if not isinstance(source, GaussianMixture):
        raise _core.DtypeError(
            f"start must be a GaussianMixture or its teacher, got {type(source).__name__}"
        )
    untrained = FittedPredictor.untrained(source, schedule_parameter(schedule))
    return untrained.continued(
        generator, steps, learning_rate=learning_rate, method=method, samples=samples, seed=seed
    )


def _unwhitening(mixture: GaussianMixture) -> Array:
    """R⁻ᵀ of the covariances R Rᵀ."""
    factors = np.linalg.cholesky(mixture.covariances)
    return np.asarray(np.linalg.inv(factors).swapaxes(1, 2))


def _moments(
    start: GaussianMixture, generator: Generator, level: Schedule, rule: Rule
) -> tuple[Array, Array]:
    """E f fᵀ and E f εᵀ at the only level of a schedule."""
    size, dim = start.components * (start.dim + 1), start.dim

    def at(alpha: float, sigma: float) -> Integrand:
        mixture = start.diffuse(alpha, sigma)
        whitening = _unwhitening(mixture)

        def products(points: Points) -> Array:
            apart = points.x[:, np.newaxis] - mixture.means
            white = np.einsum("nkd,kde->nke", apart, whitening)
            ones = np.ones((*white.shape[:2], 1))
            shares = mixture.responsibilities(points.x)[:, :, np.newaxis]
            features = (shares * np.concatenate([white, ones], axis=2)).reshape(-1, size)
            noise = np.einsum("nmd,m->nd", points.noise, points.share)
            right = np.concatenate([features, noise], axis=1)
            return points.outer_mean(features, right).reshape(len(points.probability), -1)

        return products

    both = rule.value(rule.rows(generator, level, at)).reshape(size, size + dim)
    return both[:, :size], both[:, size:]


def _descended(second: Array, mixed: Array, theta: Array, rate: float, steps: int) -> Array:
    """θ after steps of θ ← θ − (η/λ_max)(Hθ − B), in the eigenvectors of H."""
    values, vectors = np.linalg.eigh(second)
    values = np.maximum(values, 0.0)
    pace = rate * values / values[-1]
    kept = (1.0 - pace) ** steps
    slow = np.minimum(pace, 0.5)  # where 1 − kept would cancel
    gone = np.where(pace > slow, 1.0 - kept, -np.expm1(steps * np.log1p(-slow)))
    sums = np.divide(gone, pace, out=np.full_like(pace, steps), where=pace > 0.0)
    target = vectors.T @ mixed * (rate / values[-1])
    moved = kept[:, np.newaxis] * (vectors.T @ theta) + sums[:, np.newaxis] * target
    return np.asarray(vectors @ moved)


# ---- arguments ----------------------------------------------------------------------------------


def _level(alpha: Any, sigma: Any) -> tuple[float, float]:
    a, s = level_parameters(alpha, sigma)
    return a, positive_parameter(s, "sigma")


def _rate_parameter(value: Any) -> float:
    rate = positive_parameter(value, "learning_rate")
    if rate >= 2.0:
        raise _core.InvalidArgument(f"learning_rate must be in (0, 2) for stability, got {rate:g}")
    return rate


def generator_parameter(value: object, dim: int | None = None) -> Generator:
    """A generator, of the teacher's dimension."""
    if not isinstance(value, Generator):
        raise _core.DtypeError(f"generator must be a Generator, got {type(value).__name__}")
    if dim is not None and value.dim != dim:
        raise _core.ShapeMismatch(
            f"generator must have the teacher's dimension {dim}, got {value.dim}"
        )
    return value


def predictor_parameter(value: object, name: str, dim: int | None = None) -> Predictor:
    """A predictor, also of a mixture given as such."""
    found = OptimalPredictor(value) if isinstance(value, GaussianMixture) else value
    if not isinstance(found, Predictor):
        raise _core.DtypeError(
            f"{name} must be a GaussianMixture or a Predictor, got {type(value).__name__}"
        )
    if dim is not None and found.dim != dim:
        raise _core.ShapeMismatch(f"{name} must have the dimension {dim}, got {found.dim}")
    return found


def schedule_parameter(value: object) -> Schedule:
    """A schedule."""
    if not isinstance(value, Schedule):
        raise _core.DtypeError(f"schedule must be a Schedule, got {type(value).__name__}")
    return value
