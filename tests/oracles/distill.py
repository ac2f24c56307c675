"""Mixtures and score identity distillation from their definitions: slow, dense, independent.

A point of a mixture is evaluated in 50 digits with explicit inverses, where nothing underflows.
Posterior means are integrals over the prior. Expectations over a student are sums over
equidistant nodes of a standard normal, which converge faster than any power for functions that are
analytic in a strip: first over its signal and noise together, and, given the component, over the
noised sample alone, with E[ε | x_t, c] by conditioning in a Gaussian. Gradients are central
differences of these: of the loss with the student's predictor held for the frozen ones, with the
predictor recomputed at every shifted parameter for the true ones.

One Gaussian in one dimension, in the scale of the data: x_t = αx_0 + σε, teacher N(0, s²), student
N(0, θ²), a = α²s²/(α²s² + σ²), b = α²θ²/(α²θ² + σ²). The predictors are ε_φ = (1 − a)x_t/σ and
ε_ψ* = (1 − b)x_t/σ, and E x_t² = σ²/(1 − b), so that

    L1 = L2 = (b − a)²/(1 − b),
    frozen ∇L1 = (2α²θ/σ²)(b − a)²,    frozen ∇L2 = (2α²θ/σ²)(b − a)(1 − a),
    frozen ∇(L2 − λL1) = (2α²θ/σ²)(b − a)[(1 − b) + (1 − λ)(b − a)],
    true ∇L1 = true ∇L2 = 2·frozen ∇(L2 − ½L1).

With α = σ = 1 the factor is the 2θ in which these are usually written: θ in units of σ/α.

Sources: Robbins 1956 and Efron 2011 (Tweedie's formula); Zhou et al. 2024 (score identity
distillation); Dempster, Laird & Rubin 1977 (EM); Dowson & Landau 1982 (W₂ of Gaussians); Trefethen
& Weideman 2014 (the trapezoidal rule).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import mpmath as mp
import numpy as np
from scipy import linalg, special

__all__ = [
    "Gaussian1d",
    "Levels",
    "Mixture",
    "Student",
    "conditional_losses",
    "difference_gradient",
    "em_step",
    "euler",
    "fisher",
    "gaussian_w2",
    "joint_losses",
    "joint_nodes",
    "kinked_nodes",
    "log_densities",
    "log_likelihood",
    "monte_carlo_losses",
    "normal_nodes",
    "posterior_mean",
    "precise",
    "predictor",
    "quantile_w2",
    "random_covariance",
    "random_mixture",
    "reconstruction_weight",
    "rounding",
    "score",
    "threshold",
]

DIGITS = 50
#: Standard normals beyond this have no mass in double precision.
REACH = 9.0
#: Coefficients of the central difference of order eight, for the shifts 1, 2, 3, 4.
CENTRAL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
#: Its step: the truncation, a multiple of step⁸, is below what rounding leaves, eps/step.
DIFFERENCE_STEP = 1e-2


@dataclass(frozen=True)
class Mixture:
    """Weights (K,), means (K, d), covariances (K, d, d)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def dim(self):
        return self.means.shape[1]

    def diffuse(self, alpha, sigma):
        """The law of αx + σε."""
        noise = sigma**2 * np.eye(self.dim)
        return Mixture(self.weights, alpha * self.means, alpha**2 * self.covariances + noise)

    def moments(self):
        """Mean and covariance."""
        mean = self.weights @ self.means
        spread = self.means - mean
        between = np.einsum("k,ki,kj->ij", self.weights, spread, spread)
        return mean, np.einsum("k,kij->ij", self.weights, self.covariances) + between

    def sample(self, n, rng):
        label = rng.choice(len(self.weights), n, p=self.weights)
        roots = np.linalg.cholesky(self.covariances)
        return self.means[label] + np.einsum(
            "nij,nj->ni", roots[label], rng.standard_normal((n, self.dim))
        )


@dataclass(frozen=True)
class Student:
    """x_0 = means[c] + factors[c] z; the parameters are the means, then the factors."""

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    @property
    def parameters(self):
        return np.concatenate([self.means.ravel(), self.factors.ravel()])

    def at(self, parameters):
        """The same student with other parameters."""
        split = self.means.size
        means, factors = parameters[:split], parameters[split:]
        return Student(
            self.weights, means.reshape(self.means.shape), factors.reshape(self.factors.shape)
        )

    def mixture(self):
        covariances = self.factors @ self.factors.transpose(0, 2, 1)
        return Mixture(self.weights, self.means, covariances)


@dataclass(frozen=True)
class Levels:
    """Signal, noise and weight of every level."""

    alpha: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray

    def __iter__(self):
        return iter(zip(self.alpha, self.sigma, self.weight, strict=True))


def random_covariance(dim, rng, condition=10.0, size=1.0):
    """With eigenvalues from size/condition to size, in random directions."""
    Q = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    values = size * np.geomspace(1 / condition, 1, dim) if dim > 1 else np.array([size])
    C = (Q * values) @ Q.T
    return (C + C.T) / 2


def random_mixture(components, dim, seed=0, *, condition=10.0, spread=3.0):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 1.0, components)
    covariances = [
        random_covariance(dim, rng, condition, rng.uniform(0.3, 2.0)) for _ in range(components)
    ]
    return Mixture(
        weights / weights.sum(),
        spread * rng.standard_normal((components, dim)),
        np.array(covariances),
    )


# ---------------------------------------------------------------------------------------------
# Densities.


def precise(mixture, x):
    """log p, ∇log p, ∇∇log p and responsibilities at one point, in 50 digits."""
    with mp.workdps(DIGITS):
        point = mp.matrix([mp.mpf(float(v)) for v in x])
        dim = len(point)
        logs, slopes, inverses = [], [], []
        for weight, mean, covariance in zip(
            mixture.weights, mixture.means, mixture.covariances, strict=True
        ):
            C = mp.matrix(np.asarray(covariance, float).tolist())
            y = point - mp.matrix([mp.mpf(float(v)) for v in mean])
            P = mp.inverse(C)
            slope = -(P * y)
            exponent = -(y.T * P * y)[0] + dim * mp.log(2 * mp.pi) * -1 - mp.log(mp.det(C))
            logs.append(mp.log(mp.mpf(float(weight))) + exponent / 2)
            slopes.append(slope)
            inverses.append(P)
        top = max(logs)
        total = mp.fsum(mp.exp(value - top) for value in logs)
        r = [mp.exp(value - top) / total for value in logs]
        g = mp.matrix(dim, 1)
        H = mp.matrix(dim, dim)
        for rk, slope, P in zip(r, slopes, inverses, strict=True):
            g += rk * slope
            H += rk * (slope * slope.T - P)
        H -= g * g.T
        return (
            float(top + mp.log(total)),
            np.array([float(v) for v in g]),
            np.array(H.tolist(), dtype=float),
            np.array([float(v) for v in r]),
        )


def _parts(mixture, x):
    """log(π_k N_k) (…, K), slopes −P_k(x − m_k) (…, K, d), squared distances (…, K)."""
    y = np.asarray(x, float)[..., None, :] - mixture.means
    roots = np.linalg.cholesky(mixture.covariances)
    inverses = np.linalg.inv(mixture.covariances)
    slopes = -np.einsum("kij,...kj->...ki", inverses, y)
    distance = -np.einsum("...ki,...ki->...k", slopes, y)
    log_det = 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    logs = np.log(mixture.weights) - (distance + log_det + mixture.dim * np.log(2 * np.pi)) / 2
    return logs, slopes, distance


def log_densities(mixture, x):
    """log p in double precision, for points (…, d)."""
    return special.logsumexp(_parts(mixture, x)[0], axis=-1)


def score(mixture, x):
    """∇log p in double precision, for points (…, d)."""
    logs, slopes, _ = _parts(mixture, x)
    return np.einsum("...k,...ki->...i", special.softmax(logs, axis=-1), slopes)


def rounding(mixture, x):
    """What one eps of the arithmetic may do to log p, ∇log p (…,), ∇∇log p and responsibilities.

    A triangular solve and the factorisation before it lose d·κ_k eps of component k's distance and
    slope. What is lost of a distance changes the responsibility by as much, relative to itself.
    Each entry is a norm: to be multiplied by eps and a named constant.
    """
    logs, slopes, distance = _parts(mixture, x)
    r = special.softmax(logs, axis=-1)
    loss = mixture.dim * np.linalg.cond(mixture.covariances)
    of_log = loss * (distance + mixture.dim) + np.abs(np.log(mixture.weights)) + 1
    size = np.linalg.norm(slopes, axis=-1)
    mean = np.einsum("...k,...ki->...i", r, slopes)
    away = np.linalg.norm(slopes - mean[..., None, :], axis=-1)
    curvature = 1 / np.linalg.eigvalsh(mixture.covariances)[:, 0]
    total = np.sum(r * of_log, axis=-1)
    of_slope = np.sum(r * (size * loss + away * of_log), axis=-1)
    # Σ r (g − ḡ)(g − ḡ)ᵀ − Σ r P, however it is arranged: Σ r ggᵀ − ḡḡᵀ cancels up to Σ r‖g‖².
    square = np.sum(r * ((size**2 + curvature) * (loss + of_log)), axis=-1)
    of_r = r * (of_log + total[..., None])
    return total + np.abs(special.logsumexp(logs, axis=-1)), of_slope, square, of_r


def posterior_mean(mixture, x, alpha, sigma, *, per_scale=5.0):
    """E[x_0 | αx_0 + σε = x] at one point, as a ratio of sums over a grid of the prior; d ≤ 2.

    The point must be one that the mixture could have produced: the grid is where the prior is.
    """
    x = np.asarray(x, float)
    axes = []
    for i in range(mixture.dim):
        deviation = np.sqrt(mixture.covariances[:, i, i])
        narrowest = np.sqrt(np.linalg.eigvalsh(mixture.covariances)[:, 0].min())
        step = 1 / np.hypot(1 / narrowest, alpha / sigma) / per_scale
        low = (mixture.means[:, i] - REACH * deviation).min()
        high = (mixture.means[:, i] + REACH * deviation).max()
        if alpha:  # where both the prior and the observation leave something
            low = max(low, (x[i] - REACH * sigma) / alpha)
            high = min(high, (x[i] + REACH * sigma) / alpha)
        axes.append(np.arange(low, high + step, step))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, mixture.dim)
    likelihood = -(((x - alpha * grid) / sigma) ** 2).sum(axis=1) / 2
    return special.softmax(log_densities(mixture, grid) + likelihood) @ grid


# ---------------------------------------------------------------------------------------------
# EM.


def log_likelihood(mixture, data):
    return log_densities(mixture, data).sum()


def em_step(mixture, data, regularization=0.0):
    """One step of expectation and maximisation."""
    r = special.softmax(_parts(mixture, data)[0], axis=1)
    mass = r.sum(axis=0)
    means = r.T @ data / mass[:, None]
    y = data[:, None, :] - means
    covariances = np.einsum("nk,nki,nkj->kij", r, y, y) / mass[:, None, None]
    return Mixture(mass / len(data), means, covariances + regularization * np.eye(mixture.dim))


# ---------------------------------------------------------------------------------------------
# Losses.


def normal_nodes(dim, step):
    """Nodes (n, dim) and weights of the trapezoidal rule for a standard normal."""
    line = step * np.arange(-np.ceil(REACH / step), np.ceil(REACH / step) + 1)
    mass = np.exp(-(line**2) / 2)
    mass /= mass.sum()
    nodes = np.stack(np.meshgrid(*[line] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = mass
    for _ in range(dim - 1):
        weights = np.multiply.outer(weights, mass)
    return nodes, weights.ravel()


def predictor(mixture):
    """ε(x, α, σ) = −σ∇log p_t(x)."""
    return lambda x, alpha, sigma: -sigma * score(mixture.diffuse(alpha, sigma), x)


def uniform(x0, xt, alpha, sigma):
    return np.ones(len(xt))


def conditional_losses(teacher, student, held, levels, weight=None, step=None):
    """(L1, L2) with the noise predictor `held`, whatever the student; weight(x_t, α, σ)."""
    dim = teacher.dim
    nodes, mass = normal_nodes(dim, step or (1 / 12 if dim == 1 else 1 / 4))
    right = predictor(teacher)
    total = np.zeros(2)
    for alpha, sigma, share in levels:
        noised = student.mixture().diffuse(alpha, sigma)
        for part, mean, C in zip(noised.weights, noised.means, noised.covariances, strict=True):
            x = mean + nodes @ np.linalg.cholesky(C).T
            noise = sigma * np.linalg.solve(C, (x - mean).T).T  # E[ε | x_t, component]
            of_teacher = right(x, alpha, sigma)
            gap = of_teacher - held(x, alpha, sigma)
            w = mass if weight is None else mass * weight(x, alpha, sigma)
            values = (gap**2).sum(axis=1), (gap * (of_teacher - noise)).sum(axis=1)
            total += share * part * np.array([w @ value for value in values])
    return total


def joint_nodes(step=1 / 5):
    """Nodes for (z, ε) in one dimension, whatever the weight: a rule for `joint_losses`."""
    pairs, mass = normal_nodes(2, step)
    return lambda student, k, alpha, sigma: (pairs[:, :1], pairs[:, 1:], mass)


def kinked_nodes(teacher, offset, step=1 / 5, order=40):
    """Nodes for (z, ε) in one dimension that respect 1/(offset + |x_0 − E_φ[x_0 | x_t]|).

    x_t has equidistant nodes. Given x_t, u = x_0 − E_φ[x_0 | x_t] is taken on both sides of 0 by
    Gauss–Legendre in s, |u| = offset·(e^s − 1): the weight is e^(−s)/offset there.
    """
    line, mass = normal_nodes(1, step)
    nodes, gauss = np.polynomial.legendre.leggauss(order)
    right = predictor(teacher)

    def rule(student, k, alpha, sigma):
        mean, factor = student.means[k, 0], student.factors[k, 0, 0]
        variance = (alpha * factor) ** 2 + sigma**2
        x = alpha * mean + np.sqrt(variance) * line
        guess = ((x - sigma * right(x, alpha, sigma)) / alpha)[:, 0]
        centre = mean + alpha * factor**2 / variance * (x[:, 0] - alpha * mean)
        width = abs(factor) * sigma / np.sqrt(variance)
        x0, w = [], []
        for side in (-1.0, 1.0):
            reach = np.maximum(side * (centre - guess), 0) + REACH * width
            top = np.log1p(reach / offset)
            s = top[:, None] * (nodes + 1) / 2
            x0.append(guess[:, None] + side * offset * np.expm1(s))
            normal = np.exp(-(((x0[-1] - centre[:, None]) / width) ** 2) / 2)
            normal /= np.sqrt(2 * np.pi) * width
            w.append(normal * offset * np.exp(s) * top[:, None] / 2 * gauss * mass[:, None])
        x0, w = np.concatenate(x0, axis=1), np.concatenate(w, axis=1)
        noise = (x - alpha * x0) / sigma
        return ((x0 - mean) / factor).reshape(-1, 1), noise.reshape(-1, 1), w.ravel()

    return rule


def joint_losses(teacher, student, held, levels, weight=uniform, base=None, rule=None):
    """(L1, L2) in one dimension over (z, ε); weight(x_0, x_t, α, σ) at the samples of `base`.

    `base`, the student itself unless given, is where the weights are taken and the nodes are
    chosen for: so their dependence on the student's parameters is not followed.
    """
    right, rule, base = predictor(teacher), rule or joint_nodes(), base or student
    total = np.zeros(2)
    for alpha, sigma, share in levels:
        for k, part in enumerate(student.weights):
            z, noise, mass = rule(base, k, alpha, sigma)
            x0, at = (s.means[k] + z @ s.factors[k].T for s in (student, base))
            x = alpha * x0 + sigma * noise
            w = mass * weight(at, alpha * at + sigma * noise, alpha, sigma)
            of_teacher = right(x, alpha, sigma)
            gap = of_teacher - held(x, alpha, sigma)
            values = (gap**2).sum(axis=1), (gap * (of_teacher - noise)).sum(axis=1)
            total += share * part * np.array([w @ value for value in values])
    return total


def monte_carlo_losses(teacher, student, held, levels, weight=uniform, *, samples, seed):
    """((L1, L2), their standard errors), by sampling, in any dimension; and of L2 − L1."""
    rng = np.random.default_rng(seed)
    right = predictor(teacher)
    terms = np.zeros((3, samples))
    for alpha, sigma, share in levels:
        label = rng.choice(len(student.weights), samples, p=student.weights)
        z = rng.standard_normal((samples, teacher.dim))
        noise = rng.standard_normal((samples, teacher.dim))
        x0 = student.means[label] + np.einsum("nij,nj->ni", student.factors[label], z)
        x = alpha * x0 + sigma * noise
        w = share * weight(x0, x, alpha, sigma)
        of_teacher = right(x, alpha, sigma)
        gap = of_teacher - held(x, alpha, sigma)
        l1 = w * (gap**2).sum(axis=1)
        l2 = w * (gap * (of_teacher - noise)).sum(axis=1)
        terms += [l1, l2, l2 - l1]
    return terms.mean(axis=1), terms.std(axis=1, ddof=1) / np.sqrt(samples)


def difference_gradient(value: Callable[[np.ndarray], np.ndarray], at, step=DIFFERENCE_STEP):
    """Central differences of order eight; columns are parameters."""
    at = np.asarray(at, float)
    columns = []
    for i in range(at.size):
        e = np.zeros_like(at)
        e[i] = step
        terms = [c * (value(at + j * e) - value(at - j * e)) for j, c in enumerate(CENTRAL, 1)]
        columns.append(sum(terms) / step)
    return np.stack(columns, axis=-1)


def frozen_gradients(teacher, student, levels, weight=None):
    """Of L1 and L2, (2, P): the student's predictor does not move with its parameters."""
    held = predictor(student.mixture())
    losses = partial(conditional_losses, teacher, held=held, levels=levels, weight=weight)
    return difference_gradient(lambda p: losses(student.at(p)), student.parameters)


def true_gradients(teacher, student, levels, weight=None):
    """Of L1 and L2, (2, P): the optimal predictor is found anew for every parameter."""

    def losses(parameters):
        moved = student.at(parameters)
        return conditional_losses(teacher, moved, predictor(moved.mixture()), levels, weight)

    return difference_gradient(losses, student.parameters)


def reconstruction_weight(teacher, offset):
    """1/(offset + ‖x_0 − E_φ[x_0 | x_t]‖₁/d): a weight that looks at the sample behind x_t."""
    right = predictor(teacher)

    def weight(x0, xt, alpha, sigma):
        guess = (xt - sigma * right(xt, alpha, sigma)) / alpha
        return 1 / (offset + np.abs(x0 - guess).mean(axis=1))

    return weight


@dataclass(frozen=True)
class Gaussian1d:
    """The closed forms of the module's head, for one level."""

    s: float
    theta: float
    alpha: float = 1.0
    sigma: float = 1.0

    @staticmethod
    def _share(width, alpha, sigma):
        return (alpha * width) ** 2 / ((alpha * width) ** 2 + sigma**2)

    @property
    def a(self):
        return self._share(self.s, self.alpha, self.sigma)

    @property
    def b(self):
        return self._share(self.theta, self.alpha, self.sigma)

    @property
    def factor(self):
        return 2 * self.alpha**2 * self.theta / self.sigma**2

    @property
    def value(self):
        return (self.b - self.a) ** 2 / (1 - self.b)

    def frozen(self, lam):
        """∇(L2 − λL1) with ψ frozen."""
        a, b = self.a, self.b
        return self.factor * (b - a) * ((1 - b) + (1 - lam) * (b - a))

    @property
    def frozen_l1(self):
        return self.factor * (self.b - self.a) ** 2

    @property
    def frozen_l2(self):
        return self.factor * (self.b - self.a) * (1 - self.a)

    @property
    def true(self):
        """∇L1 = ∇L2, ψ* following θ."""
        a, b = self.a, self.b
        return self.factor * (b - a) * (2 * (1 - b) + (b - a))

    @property
    def fisher(self):
        """E(∇log p_θ,t − ∇log p_φ,t)² over the student's samples."""
        return self.value / self.sigma**2


def threshold(s, theta, sigma=1.0):
    """λ above which a student wider than the teacher grows: 1 + (1 − b)/(b − a)."""
    case = Gaussian1d(s, theta, sigma=sigma)
    return 1 + (1 - case.b) / (case.b - case.a)


def euler(s, theta, levels, lam, rate, steps, objective="sid"):
    """Widths (steps + 1,) of gradient descent on the frozen gradient, level by level."""
    path = [theta]
    for _ in range(steps):
        cases = [(w, Gaussian1d(s, path[-1], a, v)) for a, v, w in levels]
        slopes = [
            w * (case.frozen_l1 if objective == "naive" else case.frozen(lam)) for w, case in cases
        ]
        path.append(path[-1] - rate * sum(slopes))
    return np.array(path)


# ---------------------------------------------------------------------------------------------
# Distances.


def fisher(teacher, student, levels):
    """E‖∇log p_θ,t − ∇log p_φ,t‖² over the student's samples, averaged over the levels; d ≤ 2."""
    total = 0.0
    for alpha, sigma, share in levels:
        level = Levels(np.array([alpha]), np.array([sigma]), np.array([share]))
        held = predictor(student.mixture())
        total += conditional_losses(teacher, student, held, level)[0] / sigma**2
    return total


def gaussian_w2(mean1, C1, mean2, C2):
    """W₂ of two Gaussians: ‖m₁ − m₂‖² + tr(C₁ + C₂ − 2(C₁^½ C₂ C₁^½)^½) under the root."""
    root = linalg.sqrtm(C1)
    cross = linalg.sqrtm(root @ C2 @ root)
    square = ((mean1 - mean2) ** 2).sum() + np.trace(C1 + C2 - 2 * np.real(cross))
    return np.sqrt(max(square, 0.0))


def _quantiles(mixture, t):
    """F⁻¹(Φ(t)) by bisection; the upper half through the complement, where 1 − F is small."""
    means, deviations = mixture.means[:, 0], np.sqrt(mixture.covariances[:, 0, 0])
    reach = (REACH + 1) * deviations
    low = np.full(t.shape, (means - reach).min())
    high = np.full(t.shape, (means + reach).max())
    side = np.where(t < 0, 1.0, -1.0)
    target = special.ndtr(-np.abs(t))
    for _ in range(64):
        x = (low + high) / 2
        y = (x[:, None] - means) / deviations
        tail = special.ndtr(side[:, None] * y) @ mixture.weights
        right = side * (tail - target) > 0
        low, high = np.where(right, low, x), np.where(right, x, high)
    return (low + high) / 2


def quantile_w2(first, second, tolerance=1e-13, order=12):
    """W₂ in one dimension: the integral of (F⁻¹ − G⁻¹)² over probabilities Φ(t).

    By Gauss–Legendre in panels of t, which are halved until two halves say the same as the whole:
    a quantile function is steep where there is next to no mass.
    """
    nodes, weights = np.polynomial.legendre.leggauss(order)

    def panels(low, high):
        t = low[:, None] + (high - low)[:, None] * (nodes + 1) / 2
        gap = (_quantiles(first, t.ravel()) - _quantiles(second, t.ravel())).reshape(t.shape)
        density = np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)
        return (gap**2 * density) @ weights * (high - low) / 2

    edges = np.linspace(-REACH, REACH, 37)
    low, high = edges[:-1], edges[1:]
    whole, total = panels(low, high), 0.0
    while low.size:
        middle = (low + high) / 2
        left, right = panels(low, middle), panels(middle, high)
        done = (np.abs(left + right - whole) < tolerance) | (high - low < 1e-14)
        total += (left + right)[done].sum()
        left, right, low, middle, high = (v[~done] for v in (left, right, low, middle, high))
        whole = np.concatenate([left, right])
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    return np.sqrt(total)
