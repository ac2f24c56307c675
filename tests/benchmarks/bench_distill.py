"""Mixtures and one-step distillation against torch, scikit-learn, SciPy and NumPy.

The score of a mixture has two vectorised forms. One takes differences to the means, component by
component, as the formula says. The other has the exponents as a product of the points' monomials
with a matrix, and the result as a second product: faster, but its exponents cancel digits, with an
error of eps·‖x‖²/σ². Both go over the points in blocks that stay in the cache.

torch and scikit-learn are optional, and named in the report where they are missing; bench_ssm.py
and bench_lora.py say how to provide them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
import threadpoolctl
from harness import Case, Missing, Run

import resolvent as rv

try:
    import torch
except ImportError:
    torch = None
try:
    import sklearn.exceptions
    import sklearn.mixture
except ImportError:
    sklearn = None

#: What a call may take beyond its result, in MiB.
_MEMORY = 8.0
#: How much more than in proportion to the size the time may grow.
_LINEAR = 1.5
#: Roundings of a term of an exponent, in units of eps, relative to the largest one.
_ROUNDINGS = 8.0
#: Entries of the arrays (points, components) that a block has: the best of powers of 2, for
#: differences in float64 and float32, and for products.
_DIFFERENCES, _PRODUCTS = {"float64": 2**14, "float32": 2**16}, 2**17
#: Entries that torch, whose functions start threads, likes better.
_TORCH = 2**18


def cases(quick: bool) -> Iterator[Case | Missing]:
    """The score with its goal, other values of mixtures, expectation–maximisation, distillation."""
    yield from _missing()
    goals = not quick
    points = 10_000 if quick else 1_000_000
    for dtype in ("float64", "float32"):
        yield _score(Task(points, 100, 2, dtype), goals)
    yield _score(Task(points // 50, 32, 16, "float64"), goals=False)
    small = Task(points // 20, 100, 2, "float64")
    yield _log_density(small)
    yield _hessian(small)
    yield _fit(Task(points // 50, 8, 2, "float64"))
    yield _distillation(5 if quick else 20)
    yield _phase_diagram((10, 20) if quick else (25, 50, 100), goals)


def _missing() -> Iterator[Missing]:
    if torch is None:
        yield Missing("torch", "not installed")
    if sklearn is None:
        yield Missing("scikit-learn", "not installed")


def _torch_run(name: str, call: Callable[[], Any], **options: Any) -> list[Run]:
    """A run on two threads, which the harness sets in torch's OpenMP pool; none without torch."""
    return [] if torch is None else [Run(f"torch, {name}", call, threads=2, **options)]


@dataclass(frozen=True)
class Task:
    """A mixture, and points from it."""

    points: int
    components: int
    dim: int
    dtype: str

    @property
    def size(self) -> str:
        sizes = f"{self.points:,} points, {self.components} components, d = {self.dim}"
        return f"{sizes}, {self.dtype}, two threads"

    @cached_property
    def mixture(self) -> rv.distill.GaussianMixture:
        rng = np.random.default_rng(0)
        K, d = self.components, self.dim
        weights = rng.uniform(0.5, 1.5, K)
        turns = np.linalg.qr(rng.standard_normal((K, d, d)))[0]
        covariances = (turns * rng.uniform(0.3, 1.0, (K, 1, d))) @ turns.swapaxes(1, 2)
        covariances = (covariances + covariances.swapaxes(1, 2)) / 2
        means = 3 * rng.standard_normal((K, d))
        return rv.distill.GaussianMixture(weights / weights.sum(), means, covariances)

    @cached_property
    def x(self) -> Any:
        return self.mixture.sample(self.points, seed=1).astype(self.dtype)

    @cached_property
    def precisions(self) -> Any:
        return np.linalg.inv(self.mixture.covariances)

    @cached_property
    def logs(self) -> Any:
        """Logarithms of the components' densities at their means, with the weights."""
        determinants = np.linalg.slogdet(self.mixture.covariances)[1]
        constant = self.dim * np.log(2 * np.pi)
        return np.log(self.mixture.weights) - 0.5 * (determinants + constant)

    @cached_property
    def forms(self) -> tuple[Any, Any]:
        """What monomials of x are multiplied by for the exponents; and the weights of the result.

        −½(x − μ)ᵀP(x − μ) is a polynomial, and Σ r_j P_j(μ_j − x) a vector less a matrix times x.
        """
        P, means = self.precisions, self.mixture.means
        pulled = np.einsum("kij,kj->ki", P, means)
        rows, columns = np.triu_indices(self.dim)
        squares = np.where(rows == columns, -0.5, -1.0)[:, None] * P[:, rows, columns].T
        constant = self.logs - 0.5 * (pulled * means).sum(axis=1)
        exponents = np.concatenate([constant[None], pulled.T, squares])
        results = np.column_stack([np.ones(len(P)), pulled, P.reshape(len(P), -1)])
        return exponents.astype(self.dtype), results.astype(self.dtype)

    @property
    def tolerance(self) -> float:
        """An exponent is good to eps times its largest term, and so is a responsibility."""
        largest = np.square(self.x.astype(np.float64)).sum(axis=1).max() * self.precisions.max()
        return _ROUNDINGS * float(np.finfo(self.dtype).eps) * float(largest)

    def blocks(self, entries: int, x: Any) -> Iterator[tuple[slice, Any]]:
        size = max(1, entries // self.components)
        for first in range(0, len(x), size):
            rows = slice(first, first + size)
            yield rows, x[rows]


# ---- the score -----------------------------------------------------------------------------------


def _score(task: Task, goals: bool) -> Case:
    mixture, x = task.mixture, task.x
    K, d = task.components, task.dim
    by_differences, by_products = lambda: differences(task, x), lambda: products(task, x)
    return Case(
        "Score of a mixture",
        size=task.size,
        runs=[
            Run("resolvent", lambda: mixture.score(x), threads=2),
            Run("resolvent", lambda: mixture.score(x), threads=1),
            Run("NumPy, differences", by_differences, threads=2, at_least=5 if goals else None),
            Run("NumPy, differences, half of the points a thread",
                lambda: halved(differences, task), threads=2),
            Run("NumPy, products", by_products, threads=2),
            Run("NumPy, products, half of the points a thread",
                lambda: halved(products, task), threads=2),
            *_torch_run("products", lambda: products_torch(task)),
        ],
        count=task.points * K,
        unit="points × components",
        # Cholesky whitening and its transpose, d(d + 1)/2 each, and the sum over the components.
        multiply_adds=task.points * K * (d * (d + 1) + d),
        dtype=task.dtype,
        tolerance=task.tolerance,
        memory=_MEMORY,
    )  # fmt: skip


def differences(task: Task, x: Any) -> Any:
    """Arrays (points, components) for each entry of x − μ and of P(x − μ)."""
    means, P, logs = (
        array.astype(x.dtype) for array in (task.mixture.means, task.precisions, task.logs)
    )
    axes, half, out = range(task.dim), x.dtype.type(0.5), np.empty_like(x)
    for rows, block in task.blocks(_DIFFERENCES[task.dtype], x):
        apart = [block[:, i, None] - means[:, i] for i in axes]
        pulled = [sum(P[:, i, j] * apart[j] for j in axes) for i in axes]
        shares = logs - half * sum(a * b for a, b in zip(apart, pulled, strict=True))
        shares -= shares.max(axis=1, keepdims=True)
        np.exp(shares, out=shares)
        shares /= -shares.sum(axis=1, keepdims=True)
        for i in axes:
            out[rows, i] = (shares * pulled[i]).sum(axis=1)
    return out


def products(task: Task, x: Any) -> Any:
    """Two matrix products for a block, and the exponential."""
    exponents, results = task.forms
    first, second = np.triu_indices(task.dim)
    out = np.empty_like(x)
    for rows, block in task.blocks(_PRODUCTS, x):
        squares = block[:, first] * block[:, second]
        shares = np.concatenate([np.ones_like(block[:, :1]), block, squares], axis=1) @ exponents
        shares -= shares.max(axis=1, keepdims=True)
        np.exp(shares, out=shares)
        sums = shares @ results
        sums /= sums[:, :1].copy()
        pulled, matrices = sums[:, 1 : 1 + task.dim], sums[:, 1 + task.dim :]
        matrices = matrices.reshape(-1, task.dim, task.dim)
        out[rows] = pulled - (matrices @ block[:, :, None])[:, :, 0]
    return out


def halved(form: Callable[[Task, Any], Any], task: Task) -> Any:
    """NumPy's functions run on one thread, so that two of them can work side by side."""
    with threadpoolctl.threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        return np.concatenate([*pool.map(lambda x: form(task, x), np.array_split(task.x, 2))])


def products_torch(task: Task) -> Any:
    exponents, results = map(torch.from_numpy, task.forms)
    first, second = np.triu_indices(task.dim)
    x = torch.from_numpy(task.x)
    out = torch.empty_like(x)
    with torch.no_grad():
        for rows, block in task.blocks(_TORCH, x):
            squares = block[:, first] * block[:, second]
            monomials = torch.cat([torch.ones_like(block[:, :1]), block, squares], 1)
            sums = torch.softmax(monomials @ exponents, 1) @ results
            pulled, matrices = sums[:, 1 : 1 + task.dim], sums[:, 1 + task.dim :]
            matrices = matrices.reshape(-1, task.dim, task.dim)
            out[rows] = pulled - torch.bmm(matrices, block[:, :, None])[:, :, 0]
    return out.numpy()


# ---- other values --------------------------------------------------------------------------------


def distribution_torch(task: Task) -> Any:
    mixture = task.mixture
    weights, means, covariances = (
        torch.from_numpy(np.array(field))
        for field in (mixture.weights, mixture.means, mixture.covariances)
    )
    parts = torch.distributions.MultivariateNormal(means, covariances)
    shares = torch.distributions.Categorical(weights)
    return torch.distributions.MixtureSameFamily(shares, parts)


def _log_density(task: Task) -> Case:
    """With what libraries have for it."""
    mixture, x = task.mixture, task.x
    runs = [
        Run("resolvent", lambda: mixture.log_density(x), threads=2),
        Run("SciPy multivariate_normal, logsumexp", lambda: density_scipy(task), threads=2),
    ]
    if torch is not None:
        distribution, tensor = distribution_torch(task), torch.from_numpy(x)
        runs += _torch_run("MixtureSameFamily", lambda: distribution.log_prob(tensor).numpy())
    if sklearn is not None:
        model = model_sklearn(mixture)
        runs.append(Run("scikit-learn score_samples", lambda: model.score_samples(x), threads=2))
    return Case(
        "Log-density of a mixture",
        size=task.size,
        runs=runs,
        count=task.points * task.components,
        unit="points × components",
        tolerance=task.tolerance,
        memory=_MEMORY,
    )


def density_scipy(task: Task) -> Any:
    mixture = task.mixture
    parts = zip(mixture.means, mixture.covariances, strict=True)
    logs = [scipy.stats.multivariate_normal(*part).logpdf(task.x) for part in parts]
    return scipy.special.logsumexp(logs, axis=0, b=mixture.weights[:, None])


def model_sklearn(mixture: rv.distill.GaussianMixture, **options: Any) -> Any:
    """With these parameters, which are also those that a fit starts from."""
    precisions = np.linalg.inv(mixture.covariances)
    model = sklearn.mixture.GaussianMixture(
        mixture.components,
        weights_init=mixture.weights,
        means_init=mixture.means,
        precisions_init=(precisions + precisions.swapaxes(1, 2)) / 2,
        **options,
    )
    model.weights_, model.means_ = mixture.weights, mixture.means
    model.precisions_cholesky_ = np.linalg.inv(np.linalg.cholesky(mixture.covariances)).swapaxes(
        1, 2
    )
    return model


def _hessian(task: Task) -> Case:
    mixture, x = task.mixture, task.x
    runs = [
        Run("resolvent", lambda: mixture.hessian(x), threads=2),
        Run("NumPy, products", lambda: hessian_numpy(task), threads=2),
    ]
    return Case(
        "Hessian of the log-density of a mixture",
        size=task.size,
        runs=runs,
        count=task.points * task.components,
        unit="points × components",
        tolerance=task.tolerance,
        memory=_MEMORY,
    )


def hessian_numpy(task: Task) -> Any:
    """Σ r_j(s_j s_jᵀ − P_j) − s sᵀ with the components' scores s_j = P_j(μ_j − x)."""
    exponents, _ = task.forms
    P, means, d = task.precisions, task.mixture.means, task.dim
    first, second = np.triu_indices(d)
    out = np.empty((task.points, d, d))
    for rows, x in task.blocks(_DIFFERENCES["float64"], task.x):
        monomials = np.concatenate([np.ones_like(x[:, :1]), x, x[:, first] * x[:, second]], axis=1)
        shares = scipy.special.softmax(monomials @ exponents, axis=1)
        apart = [means[:, i] - x[:, i, None] for i in range(d)]
        scores = [sum(P[:, i, j] * apart[j] for j in range(d)) for i in range(d)]
        weighted = [shares * s for s in scores]
        mean = np.stack([w.sum(axis=1) for w in weighted], axis=1)
        out[rows] = -(shares @ P.reshape(len(P), -1)).reshape(-1, d, d)
        out[rows] -= mean[:, :, None] * mean[:, None, :]
        for i in range(d):
            for j in range(d):
                out[rows, i, j] += (weighted[i] * scores[j]).sum(axis=1)
    return out


def _fit(task: Task) -> Case:
    """A fixed number of iterations from the same start, to a mixture's parameters."""
    iterations = 20
    data, truth = task.x, task.mixture
    start = rv.distill.GaussianMixture(
        np.full(task.components, 1 / task.components),
        truth.means + 0.5,
        np.tile(np.cov(data.T), (task.components, 1, 1)),
    )
    options = {"max_iterations": iterations, "tolerance": 0.0}
    runs = [
        Run(
            "resolvent",
            lambda: _parameters(
                rv.distill.GaussianMixture.fit(
                    data, task.components, start=start, **options
                ).mixture
            ),
            threads=2,
        )
    ]
    if sklearn is not None:
        runs.append(Run("scikit-learn", lambda: fit_sklearn(data, start, iterations), threads=2))
    # Sums over the points, and what an iteration makes of their errors in so many iterations.
    return Case(
        f"Expectation–maximisation, {iterations} iterations",
        size=task.size,
        runs=runs,
        count=iterations * task.points * task.components,
        unit="points × components",
        tolerance=iterations * task.tolerance,
        memory=_MEMORY,
    )


def _parameters(mixture: rv.distill.GaussianMixture) -> Any:
    return _flat(mixture.weights, mixture.means, mixture.covariances)


def _flat(*arrays: Any) -> Any:
    return np.concatenate([np.ravel(array) for array in arrays])


def fit_sklearn(data: Any, start: rv.distill.GaussianMixture, iterations: int) -> Any:
    model = model_sklearn(start, tol=0.0, reg_covar=0.0, max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        model.fit(data)
    return _flat(model.weights_, model.means_, model.covariances_)


# ---- distillation --------------------------------------------------------------------------------


def _distillation(steps: int) -> Case:
    """Of two modes to one Gaussian: the parameters after every step."""
    data = rv.distill.GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.25, 0.25])
    student = rv.distill.Generator.affine(0.5, 2.0)
    levels = rv.distill.schedule("ve")
    # Ours stops where half of the nodes changes the integrals by 1e-3, about the square of the
    # error then; the steps converge, so that the errors of each do not pile up.
    return Case(
        f"Distillation, {steps} steps of gradient descent by quadrature",
        size=f"d = 1, two components, {len(levels)} noise levels, float64, two threads",
        runs=[
            Run(
                "resolvent",
                lambda: rv.distill.distill(data, student, schedule=levels, steps=steps).parameters,
                threads=2,
            ),
            *_torch_run(
                "autograd, trapezoidal rule on (z, ε)",
                lambda: distill_torch(data, levels, (0.5, 2.0), steps),
            ),
        ],
        count=steps,
        unit="steps",
        tolerance=1e-5,
    )


def distill_torch(
    data: rv.distill.GaussianMixture,
    levels: rv.distill.Schedule,
    start: tuple[float, float],
    steps: int,
) -> Any:
    """θ ← θ − ½ s²∇(L2 − L1), with the losses as they are defined and ψ's parameters detached."""
    z = torch.linspace(-6, 6, 97, dtype=torch.float64)  # the fewest that are good to 1e-6
    density = torch.softmax(-(z**2) / 2, 0)
    alpha, sigma, share = (
        torch.tensor(np.array(column))[:, None, None]
        for column in (levels.alpha, levels.sigma, levels.weight)
    )
    weights = share * density[:, None] * density
    theta = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    scale = 0.5 * data.covariance()[0, 0]
    path = [theta.detach().clone()]
    for _ in range(steps):
        x = alpha * (theta[0] + theta[1] * z[:, None]) + sigma * z
        fixed = theta.detach()
        psi = sigma * (x - alpha * fixed[0]) / (alpha**2 * fixed[1] ** 2 + sigma**2)
        apart = noise_torch(data, x, alpha, sigma) - psi
        # L2 − L1 = E⟨ε_φ − ε_ψ, (ε_φ − ε) − (ε_φ − ε_ψ)⟩.
        loss = (weights * apart * (psi - z)).sum()
        (gradient,) = torch.autograd.grad(loss, theta)
        with torch.no_grad():
            theta -= scale * gradient
        path.append(theta.detach().clone())
    return torch.stack(path).numpy()


def noise_torch(data: rv.distill.GaussianMixture, x: Any, alpha: Any, sigma: Any) -> Any:
    """The optimal predictor of a mixture in one dimension."""
    variances = [alpha**2 * float(C[0, 0]) + sigma**2 for C in data.covariances]
    pulls = [
        (x - alpha * float(mean[0])) / variance
        for mean, variance in zip(data.means, variances, strict=True)
    ]
    exponents = [
        float(np.log(w)) - 0.5 * (variance.log() + pull**2 * variance)
        for w, pull, variance in zip(data.weights, pulls, variances, strict=True)
    ]
    shares = torch.softmax(torch.stack(exponents), 0)
    return sigma * (shares * torch.stack(pulls)).sum(0)


def _phase_diagram(sizes: tuple[int, ...], goals: bool) -> Case:
    first = sizes[0]

    def task(size: int) -> Callable[[], Any]:
        lams, widths = np.linspace(0, 3, size), np.linspace(0.2, 4, size)
        return lambda: rv.distill.phase_diagram(lams, widths).final

    return Case(
        "Phase diagram",
        size="2,000 steps of every student, or until it is decided; float64",
        runs=[
            Run(
                f"{size} × {size}",
                task(size),
                comparable=False,
                count=size**2,
                at_most=_LINEAR * (size / first) ** 2 if goals and size > first else None,
            )
            for size in sizes
        ],
        unit="students",
        versus="the first",
    )
