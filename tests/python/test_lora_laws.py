"""Laws of low-rank approximation and of report cards, over matrices that Hypothesis draws."""

from __future__ import annotations

import numpy as np
from hippo_support import EPS, assert_within
from hypothesis import assume, given
from hypothesis import strategies as st

import resolvent as rv
from oracles import lora as oracle

alignment, initialize, low_rank = rv.lora.alignment, rv.lora.initialize, rv.lora.low_rank

#: In eps, times √(nm): what two routes to a ratio of norms may differ by.
ROUTES = 64.0
#: In eps, times √(nm) over the relative gap: principal angles by two routes.
ANGLES = 256.0
#: In eps over the rate, times a size: central differences at the best rate, ∛eps.
DIFFERENCES = 64.0
#: Relative gaps below which singular vectors are anybody's choice.
UNDETERMINED = 1e-8
SCALE_FREE = ("cosine", "captured", "optimum", "effective_scale")

seeds = st.integers(0, 2**32 - 1)
optimizers = st.sampled_from(["sgd", "adam"])
methods = st.sampled_from([m for m in rv.lora.METHODS if m != "dora"])
spectra = st.sampled_from(sorted(oracle.spectra(1)))


@st.composite
def matrices(draw, least=2, most=14):
    """With entries that are small integers and ties, or with a spectrum of some shape."""
    n, m = (draw(st.integers(least, most)) for _ in range(2))
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(seeds))
        return rng.integers(-3, 4, (n, m)).astype(float)
    sigma = oracle.spectra(min(n, m))[draw(spectra)]
    return oracle.with_spectrum(sigma, n, m, seed=draw(seeds) % 1000)


@st.composite
def cases(draw):
    """A gradient and an adapter that has moved, of rank at most min(n, m)/2."""
    gradient = draw(matrices(least=4))
    assume(gradient.any())
    n, m = gradient.shape
    rng = np.random.default_rng(draw(seeds))
    rank = draw(st.integers(1, min(n, m) // 2))
    A, B = rng.standard_normal((n, rank)), rng.standard_normal((rank, m))
    importance = rng.standard_normal(rank) if draw(st.booleans()) else None
    s = draw(st.sampled_from([0.25, 1.0, 2.0]))
    return gradient, rv.lora.Adapter(A, B, s, importance=importance)


def rounding(matrix):
    return ROUTES * np.sqrt(matrix.size) * EPS


def orthogonal(size, seed):
    return oracle.orthonormal(size, size, seed)


def assert_same(first, second, bound, names=SCALE_FREE):
    for name in names:
        value = getattr(second, name)
        assert_within(getattr(first, name), value, bound * (1 + abs(value)), name)


def gap_of(sigma, rank):
    """The relative distance from the leading values to the others; 0 for a zero matrix."""
    after = sigma[rank] if rank < sigma.size else 0.0
    return (sigma[rank - 1] - after) / sigma[0] if sigma[0] else 0.0


def angles_bound(gradient, rank):
    """Infinite where the leading space is not determined."""
    gap = gap_of(oracle.svd(gradient)[1], min(2 * rank, *gradient.shape))
    return ANGLES * np.sqrt(gradient.size) * EPS / gap if gap > UNDETERMINED else np.inf


# ---------------------------------------------------------------------------------------------
# Low rank.


@given(matrices(least=1), st.data(), st.sampled_from(rv.lora.LOW_RANK_METHODS))
def test_truncations_are_nested(matrix, data, method):
    """A smaller rank is the beginning of a larger one, where the basis is the whole space."""
    rank = data.draw(st.integers(1, min(matrix.shape)))
    few, most = (low_rank(matrix, k, method=method) for k in (rank, min(matrix.shape)))
    bound = rounding(matrix) * max(most.sigma[0], 1)
    assert_within(few.sigma, most.sigma[:rank], bound)
    assert few.residual >= most.residual - np.sqrt(rounding(matrix)) * few.norm


@given(matrices(least=1), st.data(), st.sampled_from(rv.lora.LOW_RANK_METHODS), seeds)
def test_singular_values_are_invariant(matrix, data, method, seed):
    """Under rotations and reflections on both sides, transposition and a sign."""
    rank = data.draw(st.integers(1, min(matrix.shape)))
    n, m = matrix.shape
    expected = low_rank(matrix, rank, method=method).sigma
    bound = rounding(matrix) * max(expected[0], 1)
    turned = orthogonal(n, seed % 997) @ matrix @ orthogonal(m, seed % 991)
    for other in (turned, matrix.T, -matrix, matrix[::-1], matrix[:, ::-1]):
        assert_within(low_rank(other, rank, method=method).sigma, expected, bound)


@given(matrices(least=1), st.data(), st.integers(-40, 40))
def test_singular_values_are_homogeneous(matrix, data, exponent):
    rank = data.draw(st.integers(1, min(matrix.shape)))
    plain, scaled = low_rank(matrix, rank), low_rank(np.ldexp(matrix, exponent), rank)
    bound = rounding(matrix) * max(plain.sigma[0], 1)
    assert_within(np.ldexp(scaled.sigma, -exponent), plain.sigma, bound)
    gap = gap_of(oracle.svd(matrix)[1], rank)
    if gap > UNDETERMINED:
        assert_within(np.ldexp(scaled.dense(), -exponent), plain.dense(), 4 * bound / gap)


@given(matrices(least=1), st.data(), seeds)
def test_nothing_of_that_rank_is_nearer(matrix, data, seed):
    """Eckart and Young, against another matrix of the rank that is made near to M."""
    rank = data.draw(st.integers(1, min(matrix.shape)))
    result = low_rank(matrix, rank)
    rng = np.random.default_rng(seed)
    U, sigma, Vh = result
    other = (U + 0.1 * rng.standard_normal(U.shape)) @ np.diag(sigma) @ Vh
    missed = np.linalg.norm(matrix - result.dense())
    assert missed <= np.linalg.norm(matrix - other) + rounding(matrix) * max(sigma[0], 1)


# ---------------------------------------------------------------------------------------------
# Report cards.


@given(cases(), optimizers)
def test_bounds_of_a_card(case, optimizer):
    """The step lies in the adapter's tangent space, so that captures at least its share."""
    gradient, adapter = case
    card = alignment(gradient, adapter, optimizer=optimizer)
    bound = rounding(gradient)
    assert -bound <= card.captured <= 1 + bound
    assert -1 - bound <= card.cosine <= 1 + bound
    assert card.captured >= card.cosine**2 - bound
    assert_within(card.residual**2, 1 - card.cosine**2, 2 * bound)
    assert 0 <= card.optimum <= 1
    assert card.excess >= 1 - bound / max(card.optimum, np.sqrt(bound)) ** 2
    assert (np.diff(card.spectrum) <= bound * card.spectrum[0]).all()
    for angles in (card.angles_left, card.angles_right):
        assert ((angles >= 0) & (angles <= np.pi / 2 + bound)).all()


@given(cases())
def test_the_step_of_sgd_goes_downhill(case):
    """<D, −G> = s²(‖AᵀG‖² + ‖GBᵀ‖²), or its like with the importances."""
    gradient, adapter = case
    assert alignment(gradient, adapter).cosine >= 0
    if adapter.importance is None:
        A, B = adapter.A, adapter.B
        down = np.linalg.norm(A.T @ gradient) ** 2 + np.linalg.norm(gradient @ B.T) ** 2
        expected = adapter.s**2 * down / np.linalg.norm(gradient) ** 2
        found = alignment(gradient, adapter).effective_scale
        assert_within(found, expected, rounding(gradient) * (1 + expected))


@given(cases(), optimizers, st.integers(-30, 30))
def test_the_scale_of_the_gradient_does_not_matter(case, optimizer, exponent):
    gradient, adapter = case
    first = alignment(gradient, adapter, optimizer=optimizer)
    second = alignment(np.ldexp(gradient, exponent), adapter, optimizer=optimizer)
    bound = rounding(gradient)
    assert_same(first, second, bound)
    if optimizer == "sgd":
        ratio = np.ldexp(second.spectrum, -exponent)
        assert_within(ratio, first.spectrum, bound * first.spectrum[0])
    else:
        assert_within(second.spectrum, first.spectrum, bound * first.spectrum[0])


@given(cases(), seeds)
def test_rotations_go_along(case, seed):
    """Q₁ G Q₂ᵀ with Q₁ A and B Q₂ᵀ: the same problem in other coordinates, for SGD."""
    gradient, adapter = case
    n, m = gradient.shape
    left, right = orthogonal(n, seed % 997), orthogonal(m, seed % 991)
    turned = rv.lora.Adapter(left @ adapter.A, adapter.B @ right.T, adapter.s,
                             importance=adapter.importance)  # fmt: skip
    first = alignment(gradient, adapter)
    second = alignment(left @ gradient @ right.T, turned)
    assert_same(first, second, rounding(gradient))
    bound = angles_bound(gradient, adapter.rank)
    if np.isfinite(bound):
        assert_within(second.angles_left, first.angles_left, bound)
        assert_within(second.angles_right, first.angles_right, bound)


@given(cases(), optimizers)
def test_transposition_swaps_the_sides(case, optimizer):
    """Gᵀ with A = Bᵀ and B = Aᵀ: left and right change places and nothing else."""
    gradient, adapter = case
    other = rv.lora.Adapter(adapter.B.T, adapter.A.T, adapter.s, importance=adapter.importance)
    first = alignment(gradient, adapter, optimizer=optimizer)
    second = alignment(gradient.T, other, optimizer=optimizer)
    assert_same(first, second, rounding(gradient))
    target = gradient if optimizer == "sgd" else np.sign(gradient)
    bound = angles_bound(target, adapter.rank)
    if np.isfinite(bound):
        assert_within(second.angles_left, first.angles_right, bound)
        assert_within(second.angles_right, first.angles_left, bound)


@given(cases(), seeds)
def test_the_basis_inside_does_not_matter(case, seed):
    """A R and Rᵀ B with an orthogonal R: the model, its step under SGD and its card."""
    gradient, adapter = case
    rotation = orthogonal(adapter.rank, seed % 997)
    first = alignment(gradient, rv.lora.Adapter(adapter.A, adapter.B, adapter.s))
    second = alignment(
        gradient, rv.lora.Adapter(adapter.A @ rotation, rotation.T @ adapter.B, adapter.s)
    )
    assert_same(first, second, rounding(gradient))


@given(cases(), st.sampled_from([0.125, 0.5, 3.0]))
def test_s_is_in_the_scale_alone(case, factor):
    """SGD's step has s² where Adam's has s; neither turns."""
    gradient, adapter = case
    plain = rv.lora.Adapter(adapter.A, adapter.B, adapter.s)
    other = rv.lora.Adapter(adapter.A, adapter.B, adapter.s * factor)
    for optimizer, power in (("sgd", 2), ("adam", 1)):
        first, second = (alignment(gradient, a, optimizer=optimizer) for a in (plain, other))
        bound = rounding(gradient)
        assert_same(first, second, bound, ("cosine", "captured", "optimum"))
        expected = factor**power * first.effective_scale
        assert_within(second.effective_scale, expected, bound * (1 + abs(expected)))


@given(matrices(least=4), st.sampled_from(rv.lora.DIRECTIONS), st.sampled_from(rv.lora.SCALES),
       st.data())  # fmt: skip
def test_lora_ga_has_excess_one(gradient, directions, scale, data):
    """Whatever the directions and the scale: a positive factor does not turn the step."""
    sigma = oracle.svd(gradient)[1]
    rank = data.draw(st.integers(1, min(gradient.shape) // 2))
    assume(sigma[2 * rank - 1] > UNDETERMINED * sigma[0])
    weight = np.random.default_rng(0).standard_normal(gradient.shape)
    adapter = initialize("lora-ga", gradient=gradient, weight=weight, rank=rank,
                         directions=directions, scale=scale)  # fmt: skip
    card = alignment(gradient, adapter)
    bound = rounding(gradient)
    assert_within(card.residual**2, card.optimum**2, 2 * bound)
    assert_within(card.captured, 1 - share_beyond(gradient, rank) ** 2, 2 * bound)


def share_beyond(gradient, rank):
    """The tail of the spectrum over the norm: what two disjoint factors leave outside."""
    sigma = oracle.svd(gradient)[1]
    return oracle.tail(sigma, 2 * rank) / np.linalg.norm(sigma)


@given(matrices(least=4), methods, st.data(), seeds)
def test_no_method_follows_better_than_lora_ga(gradient, method, data, seed):
    sigma = oracle.svd(gradient)[1]
    rank = data.draw(st.integers(1, min(gradient.shape) // 2))
    assume(sigma[2 * rank - 1] > UNDETERMINED * sigma[0])
    assume(method != "orthogonal" or rank % 2 == 0)
    weight = np.random.default_rng(seed).standard_normal(gradient.shape)
    best, other = (
        initialize(m, weight=weight, gradient=gradient, rank=rank, seed=seed)
        for m in ("lora-ga", method)
    )
    first, second = alignment(gradient, best), alignment(gradient, other)
    assert first.cosine >= second.cosine - rounding(gradient)


@given(cases())
def test_the_derivative_of_dora_is_the_limit_of_steps(case):
    """Central differences of exact steps: rounding over the rate, and the rate's square."""
    gradient, adapter = case
    weight = np.random.default_rng(0).standard_normal(gradient.shape) * 3
    magnitude = oracle.column_norms(weight).astype(float)
    dora = rv.lora.Adapter(adapter.A, adapter.B, adapter.s, magnitude=magnitude)
    derivative = dora.first_update(gradient, weight=weight)
    size = 1 + np.linalg.norm(gradient) + np.abs(derivative).max()
    rate = np.cbrt(EPS) / size
    forward, backward = (
        dora.first_update(gradient, weight=weight, learning_rate=r) for r in (rate, -rate)
    )
    bound = DIFFERENCES * EPS / rate * size
    assert_within((forward - backward) / (2 * rate), derivative, bound)


def test_captured_energy_is_a_projection():
    """Of a matrix in the tangent space everything, of one outside nothing."""
    rng = np.random.default_rng(0)
    A, B = oracle.orthonormal(12, 2, 1), oracle.orthonormal(10, 2, 2).T
    inside = A @ rng.standard_normal((2, 10)) + rng.standard_normal((12, 2)) @ B
    outside = rng.standard_normal((12, 10))
    outside -= A @ (A.T @ outside)
    outside -= (outside @ B.T) @ B
    for gradient, share in ((inside, 1.0), (outside, 0.0)):
        captured = alignment(gradient, rv.lora.Adapter(A, B)).captured
        assert_within(captured, share, rounding(gradient))


def test_adams_captured_energy_is_that_of_the_sign():
    """All rows of sign(G) are multiples of B = (1, …, 1), though those of G are not."""
    rng = np.random.default_rng(0)
    gradient = np.sign(rng.standard_normal((12, 1))) * rng.uniform(1, 9, (12, 10))
    adapter = rv.lora.Adapter(np.ones((12, 1)), np.ones((1, 10)))
    captured = alignment(gradient, adapter, optimizer="adam").captured
    assert_within(captured, 1.0, rounding(gradient))
    assert alignment(gradient, adapter).captured < 1 - rounding(gradient)
