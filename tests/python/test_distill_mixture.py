"""Gaussian mixtures against 50 digits, their noised forms against integrals, EM against scikit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_within
from sklearn.mixture import GaussianMixture as ScikitMixture

import resolvent as rv
from oracles import distill as oracle

Mixture = rv.distill.GaussianMixture

# Multiples of eps.
VALUE = 8  # times what one rounding does to a result, see `oracle.rounding`
SUM = 8  # per term of a sum, relative to the sum of absolute values
UNDERFLOW = 1024  # times the smallest number: slopes of components with no share
GRID = 64  # a posterior mean by integration, relative to the spread of the grid
STEP = 64  # an EM step, per point, relative to the size of the data over the condition

#: A mean over independent draws is within so many standard errors.
ERRORS = 6.0

SIZES = [(1, 1), (2, 1), (50, 1), (1, 2), (3, 2), (50, 2), (2, 3), (4, 5), (3, 8), (10, 8), (2, 17)]


def ours(mixture, dtype=np.float64):
    return Mixture(*(v.astype(dtype) for v in parts(mixture)))


def parts(mixture):
    return mixture.weights, mixture.means, mixture.covariances


def rounded(mixture):
    """The mixture whose parameters single precision holds; the weights still sum to one."""
    means, covariances = (v.astype(np.float32).astype(float) for v in parts(mixture)[1:])
    return oracle.Mixture(mixture.weights, means, covariances)


def points(mixture, n, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    near = mixture.sample(n, rng)
    return near + spread * rng.standard_normal(near.shape)


def assert_point_values(mixture, at, model, x, eps=EPS):
    """Log density, score, hessian and responsibilities of `model` at points (n, d)."""
    exact = [oracle.precise(at, point) for point in np.asarray(x, float)]
    log_p, slope, hessian, r = (np.array(v) for v in zip(*exact, strict=True))
    # A responsibility that underflows takes its slope with it.
    tiny = np.finfo(np.float32 if eps == EPS32 else np.float64).tiny
    lost = tiny * (1 + np.abs(hessian).max() + np.square(slope).max()) * UNDERFLOW
    bounds = [VALUE * eps * bound + lost for bound in oracle.rounding(mixture, x)]
    assert_within(model.log_density(x), log_p, bounds[0], "log density")
    assert_within(model.score(x), slope, bounds[1][:, None], "score")
    assert_within(model.hessian(x), hessian, bounds[2][:, None, None], "hessian")
    assert_within(model.responsibilities(x), r, bounds[3], "responsibility")


# ---------------------------------------------------------------------------------------------
# Values.


@pytest.mark.parametrize(("components", "dim"), SIZES)
def test_against_fifty_digits(components, dim):
    mixture = oracle.random_mixture(components, dim, seed=components + dim)
    n = 3 if components * dim > 20 else 8
    assert_point_values(mixture, mixture, ours(mixture), points(mixture, n))


@pytest.mark.parametrize("condition", [1e4, 1e9, 1e12])
@pytest.mark.parametrize("dim", [2, 5])
def test_ill_conditioned_covariances(dim, condition):
    """The error grows no faster than the condition number; half of the digits are warned about."""
    mixture = oracle.random_mixture(3, dim, seed=7, condition=condition)
    if condition < EPS**-0.5:
        model = ours(mixture)
    else:
        with pytest.warns(rv.IllConditionedWarning, match="covariances") as caught:
            model = ours(mixture)
        assert EPS**-0.5 < caught[0].message.value <= 4 * condition
    assert_point_values(mixture, mixture, model, points(mixture, 4))


def test_units_do_not_condition():
    """Axes in different units are no worse than in the same: nothing is warned about."""
    mixture = oracle.random_mixture(2, 2, seed=1)
    units = np.array([1e-8, 1e8])
    scaled = oracle.Mixture(
        mixture.weights, mixture.means * units, mixture.covariances * np.outer(units, units)
    )
    x = points(mixture, 20)
    bound = VALUE * EPS * oracle.rounding(mixture, x)[1][:, None]
    assert_within(ours(scaled).score(x * units) * units, ours(mixture).score(x), 2 * bound)


@pytest.mark.parametrize("distance", [1e2, 1e3, 1e6])
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_far_tails(dim, distance):
    """Every density underflows; the score points back with the right length."""
    mixture = oracle.random_mixture(4, dim, seed=3)
    direction = np.random.default_rng(dim).standard_normal((3, dim))
    x = distance * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    model = ours(mixture)
    assert_point_values(mixture, mixture, model, x)
    assert not model.density(x).any()
    assert (np.sum(model.score(x) * x, axis=1) < -distance).all()


def test_between_far_components():
    """Midway between two components whose densities underflow there, both count."""
    model = Mixture([0.5, 0.5], [-1e3, 1e3], [1.0, 1.0])
    assert_within(model.responsibilities([[0.0]]), [[0.5, 0.5]], 0)
    assert_within(model.score([[0.0]]), [[0.0]], 0)
    assert_within(model.hessian([[0.0]]), [[[1e6 - 1]]], VALUE * EPS * 1e6)
    assert_within(model.responsibilities([[0.001]]), [special(2.0)], VALUE * EPS * 1e6)


def special(u):
    """1/(1 + e^u) and its complement."""
    return [1 / (1 + np.exp(u)), 1 / (1 + np.exp(-u))]


def test_weights_of_many_magnitudes():
    tiny = np.array([1e-300, 1e-30, 1.0])
    mixture = oracle.Mixture(
        tiny / tiny.sum(), np.array([[0.0], [40.0], [80.0]]), np.ones((3, 1, 1))
    )
    x = np.array([[0.0], [20.0], [40.0], [60.0], [80.0]])
    assert_point_values(mixture, mixture, ours(mixture), x)


@pytest.mark.parametrize(("components", "dim"), [(1, 1), (5, 1), (3, 2), (50, 2), (4, 3), (3, 8)])
def test_single_precision(components, dim):
    mixture = rounded(oracle.random_mixture(components, dim, seed=11))
    x = points(mixture, 5).astype(np.float32)
    model = ours(mixture)
    assert_point_values(mixture, mixture, model, x, EPS32)
    for values in (model.log_density, model.density, model.score, model.responsibilities):
        assert values(x).dtype == np.float32
    assert model.hessian(x).dtype == np.float32
    assert model.noise(x, 0.8, 0.6).dtype == np.float32
    assert model.denoise(x, 0.8, 0.6).dtype == np.float32


def test_single_precision_in_far_tails():
    mixture = rounded(oracle.random_mixture(4, 2, seed=3))
    x = np.array([[1e3, -2e3], [3e3, 3e3]], np.float32)
    assert_point_values(mixture, mixture, ours(mixture), x, EPS32)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_density_integrates_log_density(dim):
    mixture = oracle.random_mixture(3, dim, seed=5)
    x, model = points(mixture, 50), ours(mixture)
    log_p = model.log_density(x)
    assert_within(model.density(x), np.exp(log_p), SUM * EPS * (1 + np.abs(log_p)) * np.exp(log_p))
    assert_within(model.responsibilities(x).sum(axis=-1), np.ones(50), SUM * 3 * EPS)


def test_density_has_mass_one():
    """By the trapezoidal rule, which is exact to rounding for sums of Gaussians."""
    mixture = oracle.random_mixture(5, 1, seed=2)
    step = np.sqrt(mixture.covariances.min()) / 4
    x = np.arange(-40, 40, step)[:, None]
    assert_within(step * ours(mixture).density(x).sum(), 1.0, SUM * len(x) * EPS)


@pytest.mark.parametrize("dim", [1, 2, 3, 6])
def test_score_and_hessian_are_derivatives(dim):
    mixture = oracle.random_mixture(4, dim, seed=dim)
    x, model = points(mixture, 1)[0], ours(mixture)
    slope = oracle.difference_gradient(model.log_density, x)
    curvature = oracle.difference_gradient(model.score, x)
    scale = 1 + np.abs(model.hessian(x)).max()
    # A difference of order eight keeps all but eps/step, and what is cut off is of this size.
    bound = 64 * EPS / oracle.DIFFERENCE_STEP * scale**2
    assert_within(slope, model.score(x), bound)
    assert_within(curvature, model.hessian(x), bound)
    assert_bits(model.hessian(x), model.hessian(x).T.copy())


@pytest.mark.parametrize(("dim", "outputs"), [(1, 1), (2, 2), (2, 3), (5, 1)])
def test_blends_of_affine_maps(dim, outputs):
    """Σ_j r_j(A_j(x − μ_j) + b_j) from its definition, and its derivative by differences."""
    mixture = oracle.random_mixture(3, dim, seed=3, spread=1.0)
    model, rng = ours(mixture), np.random.default_rng(1)
    A, b = rng.standard_normal((3, outputs, dim)), rng.standard_normal((3, outputs))
    x = points(mixture, 4)
    maps = np.einsum("koi,nki->nko", A, x[:, None] - mixture.means) + b
    expected = np.einsum("nk,nko->no", model.responsibilities(x), maps)
    size = np.abs(maps).max()
    bound = VALUE * EPS * size * (1 + oracle.rounding(mixture, x)[0].max())
    assert_within(model.blend(x, A, b), expected, bound)
    slope = oracle.difference_gradient(lambda p: model.blend(p, A, b), x[0])
    assert_within(model.blend_jacobian(x[0], A, b), slope, bound / oracle.DIFFERENCE_STEP)


def test_the_score_is_a_blend():
    mixture = oracle.random_mixture(4, 3, seed=3)
    model, x = ours(mixture), points(mixture, 6)
    A, b = -np.linalg.inv(mixture.covariances), np.zeros((4, 3))
    bounds = [2 * VALUE * EPS * v for v in oracle.rounding(mixture, x)]
    assert_within(model.blend(x, A, b), model.score(x), bounds[1][:, None])
    assert_within(model.blend_jacobian(x, A, b), model.hessian(x), bounds[2][:, None, None])


# ---------------------------------------------------------------------------------------------
# Shapes, types, threads.


def test_what_it_is():
    mixture = oracle.random_mixture(3, 2)
    model = ours(mixture)
    assert (model.dim, model.components) == (2, 3)
    for name, value in zip(("weights", "means", "covariances"), parts(mixture), strict=True):
        kept = getattr(model, name)
        assert_within(kept, value, EPS * np.abs(value))
        assert not kept.flags.writeable
    with pytest.raises(AttributeError):
        model.weights = mixture.weights
    assert len(repr(model)) < 200
    assert "3" in repr(model)


def test_caller_keeps_the_parameters():
    weights, means, covariances = np.array([1.0]), np.zeros((1, 2)), np.eye(2)[None].copy()
    model = Mixture(weights, means, covariances)
    before = model.score([1.0, 2.0])
    means += 1
    covariances *= 2
    assert_bits(model.score([1.0, 2.0]), before)
    assert means.flags.writeable


def test_survives_pickling():
    model = ours(oracle.random_mixture(3, 2))
    copy = pickle.loads(pickle.dumps(model))
    x = np.random.default_rng(0).standard_normal((5, 2))
    assert_bits(copy.score(x), model.score(x))
    assert not copy.means.flags.writeable


def test_one_dimension_from_plain_numbers():
    """Means and variances (K,) are the mixture with means (K, 1) and covariances (K, 1, 1)."""
    short = Mixture([0.3, 0.7], [-1.0, 2.0], [0.5, 1.5])
    long = Mixture([0.3, 0.7], [[-1.0], [2.0]], [[[0.5]], [[1.5]]])
    x = np.linspace(-5, 5, 11)[:, None]
    assert short.dim == 1
    assert short.means.shape == (2, 1)
    assert short.covariances.shape == (2, 1, 1)
    assert_bits(short.score(x), long.score(x))
    assert_bits(short.log_density(x), long.log_density(x))


@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 3), (2, 1, 5)])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_leading_axes_are_batch(dim, batch):
    model = ours(oracle.random_mixture(3, dim))
    flat = np.random.default_rng(0).standard_normal((int(np.prod(batch)), dim))
    x = flat.reshape(*batch, dim)
    for name, tail in [
        ("log_density", ()),
        ("density", ()),
        ("score", (dim,)),
        ("hessian", (dim, dim)),
        ("responsibilities", (3,)),
    ]:
        values = getattr(model, name)
        assert_bits(values(x), values(flat).reshape(batch + tail))
    assert model.noise(x, 0.6, 0.8).shape == x.shape
    assert model.denoise(x, 0.6, 0.8).shape == x.shape


@pytest.mark.parametrize("shape", [(0, 2), (3, 0, 2), (0, 0, 2)])
def test_empty_batches(shape):
    model = ours(oracle.random_mixture(3, 2))
    x = np.empty(shape)
    assert model.log_density(x).shape == shape[:-1]
    assert model.score(x).shape == shape
    assert model.hessian(x).shape == (*shape, 2)
    assert model.responsibilities(x).shape == (*shape[:-1], 3)
    assert model.noise(x, 1.0, 1.0).shape == shape
    assert model.denoise(x, 1.0, 1.0).shape == shape
    assert model.sample(0).shape == (0, 2)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65])
def test_a_point_does_not_depend_on_its_neighbours(n):
    """Whatever lane of a vector it falls into."""
    model = ours(oracle.random_mixture(5, 2))
    x = np.random.default_rng(1).standard_normal((65, 2))
    assert_bits(model.score(x[:n]), model.score(x)[:n])
    assert_bits(model.log_density(x[-n:]), model.log_density(x)[-n:])
    assert_bits(model.hessian(x[:n]), model.hessian(x)[:n])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 2, 6])
def test_bits_do_not_depend_on_threads(dim, dtype, restore_threads):
    model = ours(oracle.random_mixture(7, dim))
    x = np.random.default_rng(0).standard_normal((20_011, dim)).astype(dtype)
    results = []
    for threads in (1, 2, 5):
        rv.set_threads(threads)
        results.append(
            (model.log_density(x), model.score(x), model.hessian(x), model.responsibilities(x))
        )
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert_bits(second, first)


def test_layouts_of_the_input():
    model = ours(oracle.random_mixture(3, 2))
    x = np.random.default_rng(0).standard_normal((6, 2))
    expected = model.score(x)
    read_only = x.copy()
    read_only.flags.writeable = False
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], read_only, x.tolist()):
        assert_bits(model.score(other), expected)
    assert model.score([1, 2]).dtype == np.float64


# ---------------------------------------------------------------------------------------------
# Noise.


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.3), (0.6, 0.8), (0.05, 2.0), (0.0, 1.0)])
def test_diffusion(alpha, sigma):
    mixture = oracle.random_mixture(3, 2)
    noised, expected = ours(mixture).diffuse(alpha, sigma), mixture.diffuse(alpha, sigma)
    assert_within(noised.weights, expected.weights, SUM * EPS)
    assert_within(noised.means, expected.means, SUM * EPS * np.abs(expected.means))
    size = np.linalg.norm(expected.covariances, axis=(1, 2))[:, None, None]
    assert_within(noised.covariances, expected.covariances, SUM * EPS * size)


def test_diffusion_composes():
    """α₂(α₁x + σ₁ε) + σ₂ε' has signal α₁α₂ and noise √(α₂²σ₁² + σ₂²)."""
    model = ours(oracle.random_mixture(3, 2))
    twice = model.diffuse(0.8, 0.5).diffuse(0.7, 0.4)
    once = model.diffuse(0.56, np.hypot(0.35, 0.4))
    assert_within(twice.means, once.means, SUM * EPS * np.abs(once.means).max())
    assert_within(twice.covariances, once.covariances, SUM * EPS * np.abs(once.covariances).max())


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.3), (0.6, 0.8), (0.05, 2.0), (1.0, 5.0)])
@pytest.mark.parametrize(("components", "dim"), [(2, 1), (4, 1), (2, 2)])
def test_denoiser_is_the_posterior_mean(components, dim, alpha, sigma):
    mixture = oracle.random_mixture(components, dim, seed=9, spread=1.5)
    model = ours(mixture)
    x = points(mixture.diffuse(alpha, sigma), 3)
    expected = np.array([oracle.posterior_mean(mixture, p, alpha, sigma) for p in x])
    spread = GRID * EPS * (np.abs(mixture.means).max() + oracle.REACH * 2 + np.abs(x).max() / alpha)
    assert_within(model.denoise(x, alpha, sigma), expected, spread)


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.3), (0.6, 0.8), (0.05, 2.0)])
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_noise_score_and_denoiser_agree(dim, alpha, sigma):
    """ε = −σ∇log p_t and x_t = α·E[x_0 | x_t] + σε."""
    mixture = oracle.random_mixture(3, dim, seed=4)
    model, noised = ours(mixture), mixture.diffuse(alpha, sigma)
    x = points(noised, 6)
    bound = VALUE * EPS * sigma * oracle.rounding(noised, x)[1][:, None]
    noise = model.noise(x, alpha, sigma)
    exact = np.array([oracle.precise(noised, p)[1] for p in x])
    assert_within(noise, -sigma * exact, bound)
    assert_within(noise, -sigma * model.diffuse(alpha, sigma).score(x), 2 * bound)
    back = alpha * model.denoise(x, alpha, sigma) + sigma * noise
    size = np.abs(x).max() + alpha * np.abs(mixture.means).max()
    assert_within(back, x, 2 * sigma * bound + SUM * dim * 10 * EPS * size)


@pytest.mark.parametrize("alpha", [0.0, 1e-14, 1e-8])
def test_denoiser_where_nothing_of_the_signal_is_left(alpha):
    """The quotient (x − σε)/α has no digits there; the answer is the mean of the mixture."""
    mixture = oracle.random_mixture(3, 2, seed=1)
    x = np.random.default_rng(0).standard_normal((5, 2))
    mean, covariance = mixture.moments()
    found = ours(mixture).denoise(x, alpha, 1.0)
    # d E[x_0 | x]/dα at α = 0 is Cov(x_0) x/σ².
    bound = 2 * alpha * np.linalg.norm(covariance) * np.abs(x).max() * 2
    assert_within(
        found, np.tile(mean, (5, 1)), bound + SUM * 10 * EPS * np.abs(mixture.means).max()
    )


@pytest.mark.parametrize("sigma", [1e-12, 1e-6])
def test_denoiser_where_hardly_anything_is_noise(sigma):
    mixture = oracle.random_mixture(3, 2, seed=1)
    x = points(mixture, 5)
    found = ours(mixture).denoise(x, 0.5, sigma)
    # x/α + (σ²/α) ∇log p_t.
    slope = np.abs(oracle.score(mixture.diffuse(0.5, sigma), x)).max()
    assert_within(found, x / 0.5, 4 * sigma**2 * slope + SUM * 10 * EPS * np.abs(x).max() * 2)


def test_noise_is_nearly_the_observation_far_away():
    """Far from all the mass, and for large σ, ε → (x − αm)/σ."""
    model = Mixture([1.0], [[0.5]], [[[2.0]]])
    x = np.array([[1e8]])
    expected = 3.0 * (1e8 - 0.7 * 0.5) / (0.49 * 2 + 9)
    assert_within(model.noise(x, 0.7, 3.0), [[expected]], VALUE * EPS * expected)


# ---------------------------------------------------------------------------------------------
# Moments, samples, marginals.


@pytest.mark.parametrize(("components", "dim"), [(1, 1), (3, 1), (4, 2), (2, 5)])
def test_moments(components, dim):
    mixture = oracle.random_mixture(components, dim, seed=6)
    mean, covariance = mixture.moments()
    size = np.abs(mixture.means).max()
    assert_within(ours(mixture).mean(), mean, SUM * components * EPS * size)
    bound = SUM * components * EPS * (size**2 + np.abs(mixture.covariances).max())
    assert_within(ours(mixture).covariance(), covariance, bound)


@pytest.mark.parametrize(("components", "dim"), [(1, 1), (3, 2), (4, 5)])
def test_samples_have_the_moments(components, dim):
    """First and second moments, and the share of each component, within standard errors."""
    mixture = oracle.random_mixture(components, dim, seed=6, spread=8.0)
    n, model = 40_000, ours(mixture)
    x = model.sample(n, seed=1)
    assert x.shape == (n, dim)
    mean, covariance = mixture.moments()
    y = x - mean
    error = y.std(axis=0) / np.sqrt(n)
    assert_within(x.mean(axis=0), mean, ERRORS * error)
    products = y[:, :, None] * y[:, None, :]
    assert_within(products.mean(axis=0), covariance, ERRORS * products.std(axis=0) / np.sqrt(n))
    shares = model.responsibilities(x)
    error = ERRORS * np.sqrt(mixture.weights / n)
    assert_within(shares.mean(axis=0), mixture.weights, error)


def test_samples_follow_the_distribution():
    """Kolmogorov's distance in one dimension: √n·D beyond 2.5 has probability below 1e-5."""
    mixture = oracle.random_mixture(3, 1, seed=8)
    n = 20_000
    x = np.sort(ours(mixture).sample(n, seed=3)[:, 0])
    z = (x[:, None] - mixture.means[:, 0]) / np.sqrt(mixture.covariances[:, 0, 0])
    cdf = oracle.special.ndtr(z) @ mixture.weights
    steps = np.arange(n + 1) / n
    distance = max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max())
    assert np.sqrt(n) * distance < 2.5


def test_samples_depend_on_the_seed_alone(restore_threads):
    model = ours(oracle.random_mixture(3, 2))
    first = model.sample(1000, seed=5)
    rv.set_threads(2)
    assert_bits(model.sample(1000, seed=5), first)
    assert_bits(model.sample(100), model.sample(100, seed=0))
    assert np.abs(model.sample(1000, seed=6) - first).max() > 0.1


@pytest.mark.parametrize("axes", [[0], [2], [0, 2], [2, 0], [0, 1, 2]])
def test_marginals(axes):
    mixture = oracle.random_mixture(3, 3, seed=2)
    found = ours(mixture).marginal(axes)
    assert_within(found.weights, mixture.weights, EPS)
    assert_within(found.means, mixture.means[:, axes], 0)
    assert_within(found.covariances, mixture.covariances[:, axes][:, :, axes], 0)


def test_marginal_integrates_the_other_axis_out():
    mixture = oracle.random_mixture(3, 2, seed=2)
    step = np.sqrt(np.linalg.eigvalsh(mixture.covariances).min()) / 4
    line = np.arange(-25, 25, step)
    x = np.array([0.3, -1.7])
    for point in x:
        grid = np.stack([np.full_like(line, point), line], axis=-1)
        mass = step * ours(mixture).density(grid).sum()
        alone = ours(mixture).marginal([0]).density([point])
        assert_within(mass, alone, SUM * len(line) * EPS * alone)


# ---------------------------------------------------------------------------------------------
# EM.


def clusters(n=600, seed=0, *, dim=2, apart=6.0):
    """Data of three components, far from each other."""
    rng = np.random.default_rng(seed)
    means = apart * np.array([[0.0, 0.0, 0.0], [1.0, 0.3, -1.0], [-0.5, 1.0, 0.5]])[:, :dim]
    mixture = oracle.Mixture(
        np.array([0.2, 0.3, 0.5]),
        means,
        np.array([oracle.random_covariance(dim, rng, 4.0) for _ in range(3)]),
    )
    return mixture, mixture.sample(n, rng)


def fitted(data, components=3, **options):
    return Mixture.fit(data, components, **options)


def plain(model):
    return oracle.Mixture(model.weights, model.means, model.covariances)


def matched(model, mixture):
    """The components of `model` in the order of the nearest ones of `mixture`."""
    order = np.linalg.norm(model.means[None] - mixture.means[:, None], axis=-1).argmin(axis=1)
    assert sorted(order) == list(range(len(order)))
    return model.weights[order], model.means[order], model.covariances[order]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_em_recovers_separated_components(dim):
    """Within the errors of estimates from so many points."""
    mixture, data = clusters(3000, dim=dim)
    fit = fitted(data)
    assert fit.converged
    weights, means, covariances = matched(fit.mixture, mixture)
    count = mixture.weights * len(data)
    assert_within(weights, mixture.weights, ERRORS * np.sqrt(mixture.weights / len(data)))
    # Eigenvalues are at most one.
    assert_within(means, mixture.means, ERRORS / np.sqrt(count)[:, None])
    bound = ERRORS * np.sqrt(2 / count)[:, None, None]
    assert_within(covariances, mixture.covariances, bound)


@pytest.mark.parametrize("apart", [6.0, 1.0])
def test_em_never_lowers_the_likelihood(apart):
    _, data = clusters(300, apart=apart)
    fit = fitted(data, tolerance=1e-6)
    assert fit.iterations >= 1
    assert len(fit.history) >= 2
    slack = SUM * len(data) * EPS * np.abs(fit.history).max()
    assert (np.diff(fit.history) >= -slack).all()
    assert fit.history[-1] > fit.history[0]


def test_log_likelihood_is_that_of_the_mixture():
    """The total over the data, or its mean: `history` ends with the same."""
    _, data = clusters(300)
    fit = fitted(data)
    total = oracle.log_likelihood(plain(fit.mixture), data)
    assert_within(fit.log_likelihood, total, SUM * len(data) * EPS * abs(total))
    assert_within(fit.history[-1], fit.log_likelihood, SUM * len(data) * EPS * abs(total))


def test_em_ends_in_a_fixed_point():
    _, data = clusters(400)
    fit = fitted(data, tolerance=1e-13, max_iterations=2000)
    assert fit.converged
    here = plain(fit.mixture)
    after = oracle.em_step(here, data)
    gained = oracle.log_likelihood(after, data) - oracle.log_likelihood(here, data)
    assert abs(gained) <= STEP * len(data) * EPS * abs(fit.log_likelihood)
    # The likelihood is quadratic at its top: parameters are known to the root of that.
    assert_within(after.means, here.means, np.sqrt(STEP * len(data) * EPS) * np.abs(data).max())


@pytest.mark.parametrize("regularization", [0.0, 0.1])
def test_em_goes_the_steps_of_its_definition(regularization):
    """From a given start, the same mixtures and likelihoods as a plain loop."""
    _, data = clusters(200, apart=1.5)
    here = oracle.random_mixture(3, 2, seed=1, spread=1.5)
    totals = [oracle.log_likelihood(here, data)]
    for steps in (1, 2, 5):
        while len(totals) <= steps:
            here = oracle.em_step(here, data, regularization)
            totals.append(oracle.log_likelihood(here, data))
        fit = fitted(
            data,
            start=ours(oracle.random_mixture(3, 2, seed=1, spread=1.5)),
            max_iterations=steps,
            tolerance=0.0,
            regularization=regularization,
        )
        bound = STEP * len(data) * EPS
        assert fit.iterations == steps
        assert_within(fit.mixture.weights, here.weights, bound)
        assert_within(fit.mixture.means, here.means, bound * np.abs(data).max())
        assert_within(fit.mixture.covariances, here.covariances, bound * np.abs(data).max() ** 2)
        last = totals[steps]
        assert_within(fit.log_likelihood, last, bound * abs(last))


def test_em_reaches_what_scikit_reaches():
    """From the same start the same top; from our top scikit has nowhere to go."""
    _, data = clusters(500)
    tolerance = 1e-12
    begin = oracle.random_mixture(3, 2, seed=1, spread=4.0)
    fit = fitted(data, start=ours(begin), tolerance=tolerance)
    assert fit.converged
    for start in (begin, plain(fit.mixture)):
        other = ScikitMixture(
            3,
            weights_init=start.weights / start.weights.sum(),
            means_init=start.means,
            precisions_init=np.linalg.inv(start.covariances),
            reg_covar=0.0,
            tol=tolerance,
            max_iter=2000,
        ).fit(data)
        total = other.score(data) * len(data)
        # Both stop within some tolerances, per point, of the top.
        assert_within(fit.log_likelihood, total, 64 * tolerance * len(data) * 10)
        order = np.linalg.norm(other.means_[None] - fit.mixture.means[:, None], axis=-1)
        # Where the likelihood is flat to τ, the parameters are known to √τ.
        near = 64 * np.sqrt(tolerance) * np.abs(data).max()
        assert_within(fit.mixture.means, other.means_[order.argmin(axis=1)], near)


def test_one_component_is_the_sample_mean_and_covariance():
    data = np.random.default_rng(0).standard_normal((200, 3)) @ np.diag([1.0, 2.0, 0.5]) + 7
    fit = fitted(data, 1)
    assert fit.converged
    bound = SUM * len(data) * EPS
    assert_within(fit.mixture.weights, [1.0], 0)
    assert_within(fit.mixture.means[0], data.mean(axis=0), bound * 10)
    assert_within(fit.mixture.covariances[0], np.cov(data.T, bias=True), bound * 100)


def test_information_criterion():
    """BIC = p log n − 2 log L, with K − 1 + K·d + K·d(d+1)/2 parameters."""
    _, data = clusters(300)
    fit = fitted(data)
    free = 2 + 3 * 2 + 3 * 3
    expected = free * np.log(300) - 2 * fit.log_likelihood
    assert_within(fit.bic, expected, SUM * EPS * abs(expected))
    assert fit.bic < fitted(data, 1).bic


def test_regularization_is_added_to_the_diagonal():
    """With one component and nothing else to fit, the covariance grows by exactly that."""
    data = np.random.default_rng(0).standard_normal((100, 2))
    plain_, more = (fitted(data, 1, regularization=r).mixture for r in (0.0, 0.25))
    added = more.covariances[0] - plain_.covariances[0]
    assert_within(added, 0.25 * np.eye(2), SUM * 100 * EPS)


def test_fit_depends_on_the_seed_alone(restore_threads):
    _, data = clusters(300, apart=1.5)
    options = {"seed": 3, "restarts": 2, "max_iterations": 50}
    first = fitted(data, **options)
    rv.set_threads(2)
    again = fitted(data, **options)
    assert_bits(again.mixture.means, first.mixture.means)
    assert_bits(again.history, first.history)


def test_restarts_never_do_worse():
    _, data = clusters(300, apart=1.0)
    few, many = (fitted(data, 4, restarts=n, seed=1, tolerance=1e-5).log_likelihood for n in (1, 5))
    assert many >= few


def test_too_few_iterations_are_said():
    _, data = clusters(300, apart=1.0)
    fit = fitted(data, max_iterations=2, tolerance=1e-12, restarts=1)
    assert not fit.converged
    assert fit.iterations == 2


def test_fit_shows_itself():
    _, data = clusters(100)
    fit = fitted(data)
    assert len(repr(fit)) < 200
    assert "converged" in repr(fit)
    with pytest.raises(AttributeError):
        fit.converged = False
