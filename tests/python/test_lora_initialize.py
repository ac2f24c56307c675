"""initialize, Adapter and Factored against formulas written out, differences and brute force."""

from __future__ import annotations

import copy
import pickle
import warnings
from itertools import product

import numpy as np
import pytest
from hippo_support import EPS, EPS32, SUM, assert_bits, assert_within
from scipy import optimize

import resolvent as rv
from oracles import lora as oracle

initialize, Adapter, Factored = rv.lora.initialize, rv.lora.Adapter, rv.lora.Factored

METHODS = ("lora", "lora-ga", "lora-ga-adam", "pissa", "olora", "adalora", "dora", "orthogonal")
ALIGNED = ("lora-ga", "lora-ga-adam")  # with the gradient
RANDOM = ("lora", "adalora", "dora", "orthogonal")
DTYPES = (np.float32, np.float64)
#: What the issue promises of the Eckart-Young bound.
BOUND = 1e-10
#: In eps, times a size: products of factors and their sums.
PRODUCT = 16.0
#: In eps, times √(nm) σ_1 over the gap: singular vectors of a computed SVD.
VECTORS = 16.0
#: Standard deviations within which the moments of random factors lie (for seeds that are fixed).
DEVIATIONS = 5.0

#: What L-BFGS leaves of an objective, relative to where it starts from.
SEARCH = 1e-6

N, M, RANK = 14, 11, 4


def weight_and_gradient(n=N, m=M, dtype=np.float64, seed=0):
    """A weight, and a gradient whose singular values are apart."""
    W = np.random.default_rng(seed).standard_normal((n, m)).astype(dtype)
    sigma = 3 * 0.75 ** np.arange(min(n, m))
    return W, oracle.with_spectrum(sigma, n, m, seed=seed + 1, dtype=dtype)


W0, G0 = weight_and_gradient()


def start(method, rank=RANK, weight=W0, gradient=G0, **options):
    return initialize(method, weight=weight, gradient=gradient, rank=rank, **options)


def dense(value):
    return np.asarray(value, dtype=np.longdouble)


def parts_of(adapter):
    """What the oracle computes with."""
    return oracle.Parts(
        adapter.A,
        adapter.B,
        adapter.s,
        dense(adapter.offset.dense()),
        adapter.importance,
        adapter.magnitude,
    )


def size_of(adapter, weight):
    """The magnitude of the sums behind a merged weight."""
    parts = parts_of(adapter)
    inner = np.abs(dense(adapter.A)) @ np.abs(dense(adapter.B)) * abs(adapter.s)
    return float(
        np.abs(dense(weight)).max() + 2 * inner.max() + np.abs(parts.offset).max(initial=0)
    )


def vector_bound(matrix, gap):
    sigma_1 = oracle.svd(matrix)[1][0]
    eps = np.finfo(matrix.dtype).eps
    return VECTORS * np.sqrt(matrix.size) * eps * sigma_1 / gap


def smallest_gap(sigma, count):
    """Between each of the first values and its neighbours."""
    return float(np.abs(np.diff(sigma))[:count].min())


# ---------------------------------------------------------------------------------------------
# What every method promises.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(N, M), (M, N), (9, 9), (40, 8)], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_fresh_model_is_the_one_before(method, shape, dtype):
    weight, gradient = weight_and_gradient(*shape, dtype, seed=3)
    for scaling, alpha in product(("lora", "rslora"), (None, 16.0)):
        adapter = start(method, 4, weight, gradient, scaling=scaling, alpha=alpha)
        n, m = shape
        assert adapter.A.shape == (n, 4)
        assert adapter.B.shape == (4, m)
        assert adapter.shape == shape
        assert adapter.rank == 4
        assert adapter.method == method
        bound = PRODUCT * 4 * np.finfo(dtype).eps * size_of(adapter, weight)
        for result in (adapter.frozen(weight), adapter.merged(weight)):
            assert result.dtype == dtype
            assert result.shape == shape
        assert_within(adapter.merged(weight), weight, bound)
        assert_within(adapter.frozen(weight), dense(weight) + dense(adapter.offset.dense()), bound)


@pytest.mark.parametrize("method", METHODS)
def test_the_offset_takes_back_what_the_adapter_adds(method):
    adapter = start(method, alpha=7.0)
    parts = parts_of(adapter)
    added = oracle.direction(np.zeros((N, M)), oracle.Parts(parts.A, parts.B, parts.s, 0.0,
                                                            parts.importance))  # fmt: skip
    bound = PRODUCT * RANK * EPS * size_of(adapter, 0 * W0)
    assert_within(dense(adapter.delta.dense()), added, bound)
    assert_within(dense(adapter.offset.dense()), -added, bound)
    assert adapter.offset.shape == (N, M)
    assert adapter.offset.rank == (RANK if method in (*ALIGNED, "pissa", "olora") else 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_types_are_kept_and_inputs_not_changed(method, dtype):
    weight, gradient = weight_and_gradient(dtype=dtype)
    before = weight.copy(), gradient.copy()
    weight.flags.writeable = gradient.flags.writeable = False
    adapter = start(method, RANK, weight, gradient)
    assert {value.dtype for value in adapter.parameters.values()} == {np.dtype(dtype)}
    adapter.merged(weight)
    adapter.gradients(gradient, weight)
    adapter.first_update(gradient, weight=weight)
    assert_bits(weight, before[0])
    assert_bits(gradient, before[1])
    views = np.asfortranarray(weight), np.ascontiguousarray(gradient.T).T
    other = start(method, RANK, *views)
    for name, value in adapter.parameters.items():
        assert_bits(other.parameters[name], value)


@pytest.mark.parametrize("method", METHODS)
def test_merged_weights_have_the_type_of_the_weight(method):
    """Also where the gradient was of higher precision."""
    weight = W0.astype(np.float32)
    adapter = start(method, weight=weight)
    assert adapter.frozen(weight).dtype == adapter.merged(weight).dtype == np.float32
    bound = PRODUCT * RANK * EPS32 * size_of(adapter, weight)
    assert_within(adapter.merged(weight), weight, bound)


@pytest.mark.parametrize("method", METHODS)
def test_seeds_and_threads(method, restore_threads):
    results = []
    for threads, seed in ((1, 5), (2, 5), (2, 6)):
        rv.set_threads(threads)
        results.append(start(method, seed=seed, directions="random"))
    first, again, other = results
    for name in first.parameters:
        assert_bits(first.parameters[name], again.parameters[name])
    if method in RANDOM:
        assert (first.A != other.A).any()
    default = start(method)
    assert_bits(default.A, start(method, seed=0).A)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", [2, 4])
def test_scaling(method, rank):
    assert start(method, rank).s == 1.0  # alpha = rank
    assert start(method, rank, alpha=3.0).s == 3.0 / rank
    assert_within(start(method, rank, alpha=3.0, scaling="rslora").s, 3 / np.sqrt(rank), 4 * EPS)
    assert_within(start(method, rank, scaling="rslora").s, np.sqrt(rank), 4 * EPS)


def test_names():
    assert rv.lora.METHODS == METHODS
    assert rv.lora.DIRECTIONS == ("a-first", "b-first", "interleaved", "random")
    assert rv.lora.SCALES == ("stable", "unit", "gd", "weight")
    assert rv.lora.ADAM_OPTIONS == ("sign-svd", "sgd-solution", "minimise")


@pytest.mark.parametrize("method", ["lora", "adalora", "orthogonal"])
def test_a_shape_is_enough_where_nothing_is_read(method):
    adapter = initialize(method, shape=(N, M), rank=RANK, seed=3)
    assert adapter.shape == (N, M)
    assert adapter.A.dtype == np.float64
    for name, value in adapter.parameters.items():
        assert_bits(value, start(method, seed=3).parameters[name])


# ---------------------------------------------------------------------------------------------
# The random methods.


def standardised_moments(values, deviation):
    """Mean and mean square in standard errors, of numbers with this standard deviation."""
    z = np.asarray(values, float).ravel() / deviation
    kurtosis = (z**4).mean()
    return z.mean() * np.sqrt(z.size), (np.mean(z**2) - 1) / np.sqrt((kurtosis - 1) / z.size)


def assert_moments(values, deviation):
    assert np.abs(standardised_moments(values, deviation)).max() <= DEVIATIONS


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_kaiming(method):
    """Uniform on ±1/√n, as nn.Linear of n inputs starts; it comes near the ends and not over."""
    n, m, rank = 400, 60, 16
    adapter = initialize(method, weight=np.ones((n, m)), rank=rank, seed=1)
    assert not adapter.B.any()
    end = oracle.kaiming_bound(n)
    assert_within(end, 1 / np.sqrt(n), 4 * EPS)
    largest = np.abs(adapter.A).max()
    assert end * (1 - 20 / adapter.A.size) <= largest <= end * (1 + EPS)
    assert_moments(adapter.A, end / np.sqrt(3))
    rows = np.sort(adapter.A.ravel() / end / 2 + 0.5)
    uniform = (np.arange(rows.size) + 0.5) / rows.size
    assert np.abs(rows - uniform).max() <= DEVIATIONS / np.sqrt(rows.size)  # Kolmogorov's distance


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_gaussian(method):
    """PEFT's standard deviation is 1/r."""
    for rank in (1, 5, 16):
        adapter = initialize(
            method, weight=np.ones((300, 20)), rank=rank, distribution="gaussian", seed=2
        )
        assert not adapter.B.any()
        assert_moments(adapter.A, 1 / rank)
        assert np.abs(adapter.A).max() > 2 / rank  # not uniform


def test_adalora():
    adapter = initialize("adalora", shape=(2000, 1500), rank=12)
    assert_moments(adapter.A, 0.02)
    assert_moments(adapter.B, 0.02)
    assert adapter.importance.shape == (12,)
    assert not adapter.importance.any()
    assert set(adapter.parameters) == {"A", "B", "importance"}


def test_dora_starts_at_the_column_norms():
    weight, _ = weight_and_gradient()
    adapter = start("dora", weight=weight)
    assert_within(adapter.magnitude, oracle.dora_magnitude(weight), PRODUCT * N * EPS * 4)
    assert set(adapter.parameters) == {"A", "B", "magnitude"}


def test_orthogonal():
    """A B = 0 though neither is: their rows and columns lie in orthogonal halves of R^r."""
    n, m, rank = 300, 200, 6
    adapter = initialize("orthogonal", shape=(n, m), rank=rank, seed=1)
    largest = float((np.abs(dense(adapter.A)) @ np.abs(dense(adapter.B))).max())
    assert_within(dense(adapter.A) @ dense(adapter.B), np.zeros((n, m)), 4 * rank * EPS * largest)
    for factor in (adapter.A, adapter.B.T):
        assert np.linalg.matrix_rank(factor) == rank // 2
        # tr(FᵀF) = Σ of r/2 Gaussian columns /100
        squares = (factor.astype(float) ** 2).sum() * 100
        count = len(factor) * rank / 2
        assert abs(squares - count) <= DEVIATIONS * np.sqrt(2 * count)
    assert adapter.offset.rank == 0


# ---------------------------------------------------------------------------------------------
# The methods that a formula determines.


@pytest.mark.parametrize("shape", [(N, M), (M, N), (60, 45)], ids=str)
@pytest.mark.parametrize("alpha", [None, 2.0])
@pytest.mark.parametrize("name", ["a-first", "b-first", "interleaved"])
def test_lora_ga(shape, alpha, name):
    weight, gradient = weight_and_gradient(*shape, seed=5)
    s = 1.0 if alpha is None else alpha / RANK
    sigma = oracle.svd(gradient)[1]
    bound = vector_bound(gradient, smallest_gap(sigma, 2 * RANK))
    for scale, gamma in (("stable", 16.0), ("stable", 49.0), ("unit", 16.0), ("gd", 16.0),
                         ("weight", 16.0)):  # fmt: skip
        adapter = start("lora-ga", RANK, weight, gradient, directions=name, scale=scale,
                        gamma=gamma, alpha=alpha)  # fmt: skip
        c = oracle.scale_of(scale, m=shape[1], s=s, gamma=gamma,
                            weight_sigma=oracle.svd(weight)[1], rank=RANK)  # fmt: skip
        A, B = oracle.lora_ga(gradient, RANK, name, c)
        assert_within(adapter.A, A, c * bound)
        assert_within(adapter.B, B, c * bound)


@pytest.mark.parametrize(
    ("alias", "name"), [("ArB2r", "a-first"), ("A2rBr", "b-first"), ("ArBr", "interleaved")]
)
def test_the_names_of_the_paper(alias, name):
    for method in ALIGNED:
        mine, theirs = start(method, directions=name), start(method, directions=alias)
        assert_bits(mine.A, theirs.A)
        assert_bits(mine.B, theirs.B)
    mine, theirs = start("lora-ga", scale="weight"), start("lora-ga", scale="weightS")
    assert_bits(mine.A, theirs.A)


def test_the_defaults_are_the_papers():
    """ArB2r, stable, γ = 16, and s = 1."""
    adapter = start("lora-ga")
    named = start("lora-ga", directions="a-first", scale="stable", gamma=16.0, scaling="lora")
    assert_bits(adapter.A, named.A)
    assert_within(np.linalg.norm(adapter.A[:, 0]), M**0.25 / 4, PRODUCT * EPS * N)


def test_random_directions_split_the_first_2r():
    seen = set()
    U, sigma, Vh = oracle.svd(G0)
    bound = vector_bound(G0, smallest_gap(sigma, 2 * RANK))
    for seed in range(20):
        adapter = start("lora-ga", scale="unit", directions="random", seed=seed)
        overlaps = np.abs(U.T @ adapter.A), np.abs(Vh @ adapter.B.T)
        left, right = (tuple(o.argmax(axis=0).tolist()) for o in overlaps)
        assert sorted(left + right) == list(range(2 * RANK))
        for overlap in overlaps:
            assert_within(overlap.max(axis=0), np.ones(RANK), bound)
        seen.add(frozenset(left))
    assert len(seen) > 10


@pytest.mark.parametrize("alpha", [None, 2.0, 100.0])
@pytest.mark.parametrize("shape", [(N, M), (M, N)], ids=str)
def test_pissa(shape, alpha):
    weight = oracle.with_spectrum(4 * 0.7 ** np.arange(M), *shape, seed=8)
    adapter = initialize("pissa", weight=weight, rank=RANK, alpha=alpha)
    sigma = oracle.svd(weight)[1]
    bound = vector_bound(weight, smallest_gap(sigma, RANK))
    A, B = oracle.pissa(weight, RANK, adapter.s)
    c = np.sqrt(sigma[0] / adapter.s)
    assert_within(adapter.A, A, c * bound)
    assert_within(adapter.B, B, c * bound)
    assert_within(adapter.frozen(weight), weight - (adapter.s * A) @ B, sigma[0] * bound)
    # What is frozen is the rest: its largest singular value is the next one.
    assert_within(oracle.svd(adapter.frozen(weight))[1][0], sigma[RANK], sigma[0] * bound)


@pytest.mark.parametrize("shape", [(N, M), (M, N), (RANK, M), (N, RANK)], ids=str)
def test_olora(shape):
    weight = np.random.default_rng(2).standard_normal(shape)
    adapter = initialize("olora", weight=weight, rank=RANK, alpha=2.0)
    A, B = oracle.olora(weight, RANK)
    leading = weight.T[:, :RANK] if shape[0] >= RANK else weight.T
    bound = PRODUCT * np.sqrt(weight.size) * EPS * np.linalg.cond(leading)
    assert_within(adapter.A, A, bound * np.abs(A).max())
    assert_within(adapter.B, B, bound)
    assert_within(adapter.B @ adapter.B.T, np.eye(RANK), PRODUCT * RANK * EPS)
    assert (np.diagonal(adapter.A) >= 0).all()
    # The first r rows of W, which are the first r columns of PyTorch's, are A B.
    product_ = adapter.A[:RANK] @ adapter.B
    assert_within(product_, weight[:RANK], bound * np.abs(weight).max())


def test_sources_of_other_scale_change_what_they_should():
    """Directions do not see the gradient's scale; PiSSA's factors see the root of the weight's."""
    for method in ALIGNED:
        adapter, other = start(method), start(method, gradient=1024 * G0)
        bound = 2 * vector_bound(G0, smallest_gap(oracle.svd(G0)[1], 2 * RANK))
        assert_within(other.A, adapter.A, bound)
    adapter, other = start("pissa"), start("pissa", weight=16 * W0)
    bound = 8 * vector_bound(W0, smallest_gap(oracle.svd(W0)[1], RANK))
    assert_within(other.A, 4 * adapter.A, bound * np.abs(other.A).max())


# ---------------------------------------------------------------------------------------------
# The SGD problem: min ‖A Aᵀ G + G Bᵀ B − G‖.


def gradient_of(name, n, m):
    return oracle.with_spectrum(oracle.spectra(min(n, m))[name], n, m, seed=6)


@pytest.mark.parametrize("name", oracle.spectra(1))
@pytest.mark.parametrize(("n", "m", "rank"), [(12, 9, 2), (9, 12, 4), (90, 70, 3), (64, 96, 16)])
def test_lora_ga_attains_the_bound_of_eckart_and_young(name, n, m, rank):
    gradient = gradient_of(name, n, m)
    sigma = oracle.svd(gradient)[1]
    least = oracle.tail(sigma, 2 * rank)
    for directions in rv.lora.DIRECTIONS:
        with warnings.catch_warnings():
            if np.count_nonzero(sigma > EPS * 1000 * sigma[0]) < 2 * rank:
                warnings.simplefilter("ignore", rv.IllConditionedWarning)
            adapter = initialize("lora-ga", gradient=gradient, rank=rank, scale="unit",
                                 directions=directions)  # fmt: skip
        reached = oracle.sgd_miss(gradient, adapter.A, adapter.B)
        assert reached <= least * (1 + BOUND) + PRODUCT * np.sqrt(n * m) * EPS
        assert reached >= least * (1 - BOUND) - PRODUCT * np.sqrt(n * m) * EPS


@pytest.mark.parametrize("name", ["gaussian", "root", "linear"])
def test_the_bound_on_matrices_much_larger_than_the_rank(name):
    n, m, rank = 300, 260, 4
    if name == "gaussian":
        gradient = np.random.default_rng(0).standard_normal((n, m))
    else:
        gradient = gradient_of(name, n, m)
    adapter = initialize("lora-ga", gradient=gradient, rank=rank, scale="unit")
    least = oracle.tail(oracle.svd(gradient)[1], 2 * rank)
    assert oracle.sgd_miss(gradient, adapter.A, adapter.B) <= least * (1 + BOUND)


@pytest.mark.parametrize(("n", "m", "rank"), [(2, 2, 1), (4, 3, 1), (5, 4, 2), (6, 7, 2)])
def test_nothing_random_or_locally_optimal_is_better(n, m, rank):
    """Descent from random starts ends at the same value, or at a stationary point above it."""
    gradient = np.random.default_rng(n).standard_normal((n, m))
    adapter = initialize("lora-ga", gradient=gradient, rank=rank, scale="unit")
    least = oracle.sgd_miss(gradient, adapter.A, adapter.B)

    def squared(z):
        A, B = z[: n * rank].reshape(n, rank), z[n * rank :].reshape(rank, m)
        E = A @ (A.T @ gradient) + (gradient @ B.T) @ B - gradient
        dA = 2 * (E @ (gradient.T @ A) + gradient @ (E.T @ A))
        dB = 2 * ((B @ gradient.T) @ E + (B @ E.T) @ gradient)
        return (E**2).sum(), np.concatenate([dA.ravel(), dB.ravel()])

    rng = np.random.default_rng(1)
    reached = []
    for _ in range(12):
        z = rng.standard_normal((n + m) * rank)
        found = optimize.minimize(squared, z, jac=True, method="L-BFGS-B").fun
        reached.append(np.sqrt(found))
        assert squared(z)[0] >= least**2
    slack = PRODUCT * np.sqrt(n * m) * EPS * np.linalg.norm(gradient)
    assert min(reached) >= least * (1 - BOUND) - slack
    # The search can find it: to the accuracy of its stopping rule.
    assert min(reached) ** 2 <= least**2 + SEARCH * np.linalg.norm(gradient) ** 2


def test_gradients_with_fewer_directions_than_2r():
    """The missing ones are completed; the warning counts them and carries σ_{2r}/σ_1."""
    gradient = oracle.with_spectrum([2.0, 1.0, 0.5], 12, 10, seed=2)
    expected = (
        "5 of the 8 singular directions of the gradient that lora-ga takes are below rounding"
    )
    with pytest.warns(rv.IllConditionedWarning, match=expected) as caught:
        adapter = initialize("lora-ga", gradient=gradient, rank=4, scale="unit")
    warning = caught.pop(rv.IllConditionedWarning)
    assert warning.filename == __file__
    assert warning.message.value <= PRODUCT * 12 * EPS
    for columns in (adapter.A, adapter.B.T):
        assert_within(columns.T @ columns, np.eye(4), PRODUCT * 4 * EPS)
    missing = oracle.sgd_miss(gradient, adapter.A, adapter.B)
    assert missing <= PRODUCT * np.sqrt(gradient.size) * EPS * 2


def test_the_stable_scale_makes_the_step_of_the_paper():
    """The first update is −s²(√m/γ) G_{2r}."""
    adapter = start("lora-ga", alpha=2.0)
    U, sigma, Vh = oracle.svd(G0)
    truncated = (U[:, : 2 * RANK] * sigma[: 2 * RANK]) @ Vh[: 2 * RANK]
    expected = -(0.5**2) * np.sqrt(M) / 16 * truncated
    update = np.asarray(adapter.first_update(G0))
    assert_within(update, expected, sigma[0] * PRODUCT * np.sqrt(G0.size) * EPS)


def test_what_peft_makes_of_it():
    """Singular values in B alone: the step turns away from G, the more the larger G is.

    PyTorch's weight 24×20 with singular values i^{-1/2}, rank 4: cosine .772 where .869 is
    possible, and .645 for a gradient ten times as large.
    """
    n, m = 20, 24
    gradient = oracle.with_spectrum(np.arange(1, 21) ** -0.5, n, m, seed=1)
    ours = {}
    theirs = {}
    for factor in (1.0, 10.0):
        adapter = initialize("lora-ga", gradient=factor * gradient, rank=4)
        ours[factor] = oracle.cosine(np.asarray(adapter.first_update(factor * gradient)), -gradient)
        A, B = oracle.peft_lora_ga(factor * gradient, 4)
        theirs[factor] = oracle.cosine(oracle.sgd_direction(factor * gradient, A, B), gradient)
    assert {k: f"{v:.3f}" for k, v in ours.items()} == {1.0: "0.869", 10.0: "0.869"}
    assert {k: f"{v:.3f}" for k, v in theirs.items()} == {1.0: "0.772", 10.0: "0.645"}


# ---------------------------------------------------------------------------------------------
# Adam's problem: min ‖A sign(Aᵀ G) + sign(G Bᵀ) B − sign(G)‖.


@pytest.mark.parametrize("name", ["a-first", "b-first", "interleaved"])
def test_adams_options(name):
    sgd = start("lora-ga", directions=name)
    same = start("lora-ga-adam", directions=name, adam="sgd-solution")
    assert_bits(same.A, sgd.A)
    assert_bits(same.B, sgd.B)
    sign = np.sign(G0)
    values = oracle.svd(sign)[1]
    bound = vector_bound(sign, smallest_gap(values, 2 * RANK))
    c = M**0.25 / 4
    A, B = oracle.lora_ga(sign, RANK, name, c)
    for options in ({"adam": "sign-svd"}, {}):  # the default
        adapter = start("lora-ga-adam", directions=name, **options)
        assert_within(adapter.A, A, c * bound)
        assert_within(adapter.B, B, c * bound)


ADAM_CASES = [(3, 3, 1), (4, 4, 1), (4, 6, 2), (9, 7, 3), (30, 22, 4), (48, 64, 8)]


@pytest.mark.parametrize(("n", "m", "rank"), ADAM_CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_minimising_never_ends_worse_than_both_starts(n, m, rank, seed):
    gradient = np.random.default_rng(seed).standard_normal((n, m))
    reached = {}
    for option in rv.lora.ADAM_OPTIONS:
        adapter = initialize("lora-ga-adam", gradient=gradient, rank=rank, adam=option,
                             scale="unit", seed=seed)  # fmt: skip
        reached[option] = oracle.fitted_adam_miss(gradient, adapter.A, adapter.B)
    least = min(reached["sgd-solution"], reached["sign-svd"])
    assert reached["minimise"] <= least * (1 + PRODUCT * np.sqrt(n * m) * EPS)


def test_minimising_gains_something():
    """Over a few matrices it is clearly below both starts; it is not one of them renamed."""
    gains = []
    for seed in range(5):
        gradient = np.random.default_rng(seed).standard_normal((20, 16))
        reached = [
            oracle.fitted_adam_miss(gradient, a.A, a.B)
            for a in (
                initialize("lora-ga-adam", gradient=gradient, rank=3, adam=option, scale="unit")
                for option in ("minimise", "sgd-solution", "sign-svd")
            )
        ]
        gains.append(1 - reached[0] / min(reached[1:]))
    assert min(gains) > 0
    assert np.mean(gains) > 0.01


@pytest.mark.parametrize("n", [2, 3, 4])
def test_all_sign_patterns(n):
    """No option is below the infimum over all patterns, and random search does not reach it."""
    rng = np.random.default_rng(n)
    for seed in range(3):
        gradient = np.random.default_rng(seed).standard_normal((n, n))
        least = oracle.adam_infimum(gradient)
        slack = PRODUCT * n * n * EPS * np.linalg.cond(gradient)
        for option in rv.lora.ADAM_OPTIONS:
            with warnings.catch_warnings():
                if np.linalg.matrix_rank(np.sign(gradient)) < 2:
                    warnings.simplefilter("ignore", rv.IllConditionedWarning)
                adapter = initialize("lora-ga-adam", gradient=gradient, rank=1, adam=option,
                                     scale="unit")  # fmt: skip
            assert oracle.fitted_adam_miss(gradient, adapter.A, adapter.B) >= least - slack
        for _ in range(50):
            A, B = rng.standard_normal((n, 1)), rng.standard_normal((1, n))
            assert oracle.adam_miss(gradient, A, B) >= least - slack


def test_minimising_is_deterministic(restore_threads):
    adapters = []
    for threads in (1, 2):
        rv.set_threads(threads)
        adapters.append(start("lora-ga-adam", adam="minimise", seed=4))
    assert_bits(adapters[0].A, adapters[1].A)
    assert_bits(adapters[0].B, adapters[1].B)


# ---------------------------------------------------------------------------------------------
# Gradients of the factors, and steps.

LOSS = oracle.Quadratic.random(N, M, seed=4)


def trained(method, dtype=np.float64, seed=9):
    """An adapter that has moved: nothing in it is zero."""
    weight, gradient = W0.astype(dtype), G0.astype(dtype)
    adapter = start(method, RANK, weight, gradient, alpha=2.0)
    rng = np.random.default_rng(seed)
    moved = {
        k: (v + 0.3 * rng.standard_normal(v.shape)).astype(dtype)
        for k, v in adapter.parameters.items()
    }
    return adapter.replace(**moved)


def gradient_bounds(adapter, G):
    """Sums of absolute values behind each gradient."""
    A, B, G = (np.abs(dense(x)) for x in (adapter.A, adapter.B, G))
    inner = A.sum() * B.sum() * G.max()
    stretch = 1.0
    if adapter.magnitude is not None:
        V = oracle.direction(W0, parts_of(adapter))
        stretch = float(np.abs(adapter.magnitude / oracle.column_norms(V)).max())
        inner = inner + N * G.max() * (1 + np.abs(V).max())
    weights = 1.0 if adapter.importance is None else float(np.abs(adapter.importance).max())
    size = float(max(G.sum(axis=1).max(), G.sum(axis=0).max()))
    return {
        "A": adapter.s * size * float(B.max()) * stretch * weights,
        "B": adapter.s * size * float(A.max()) * stretch * weights,
        "importance": adapter.s * float(inner),
        "magnitude": float(inner),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_gradients_against_differences(method, fresh, dtype):
    """Of a quadratic loss of the merged weight; DoRA's norms are constants in them."""
    adapter = start(method, RANK, W0.astype(dtype), G0.astype(dtype)) if fresh else trained(
        method, dtype
    )  # fmt: skip
    weight = W0.astype(dtype)
    parts = parts_of(adapter)
    G = LOSS.gradient(oracle.merged(weight, parts)).astype(dtype)
    expected = oracle.gradients(LOSS, weight, parts)
    found = adapter.gradients(G, weight)
    assert set(found) == set(adapter.parameters) == set(expected)
    bounds = gradient_bounds(adapter, G)
    eps = np.finfo(dtype).eps
    for name, value in found.items():
        assert value.shape == adapter.parameters[name].shape
        assert value.dtype == dtype
        bound = PRODUCT * (N + M) * eps * (bounds[name] + np.abs(G).max())
        assert_within(value, expected[name], bound, name)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "dora"])
def test_gradients_do_not_need_the_weight(method):
    adapter = trained(method)
    for name, value in adapter.gradients(G0).items():
        assert_bits(value, adapter.gradients(G0, W0)[name])


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_linear(method):
    adapter = trained(method)
    other = np.random.default_rng(1).standard_normal((N, M))
    both = adapter.gradients(G0 + other, W0)
    first, second = adapter.gradients(G0, W0), adapter.gradients(other, W0)
    for name, value in both.items():
        bound = SUM * PRODUCT * (N + M) * EPS * gradient_bounds(adapter, np.abs(G0) + 3)[name]
        assert_within(value, first[name] + second[name], bound)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_the_first_update_per_learning_rate(method, fresh, optimizer):
    adapter = start(method) if fresh else trained(method)
    update = np.asarray(adapter.first_update(G0, optimizer, weight=W0))
    expected = oracle.derivative_of_step(G0, W0, parts_of(adapter), optimizer)
    assert update.shape == (N, M)
    scale = step_size(adapter, optimizer)
    assert_within(update, expected, PRODUCT * (N + M) * EPS * scale)


def step_size(adapter, optimizer):
    """An upper bound of what adds up in an entry of the merged weight's change."""
    A, B = float(np.abs(adapter.A).max()), float(np.abs(adapter.B).max())
    bounds = gradient_bounds(adapter, G0)
    steps = dict.fromkeys(bounds, 1.0) if optimizer == "adam" else bounds
    total = adapter.s * RANK * (A * steps["B"] + B * steps["A"])
    if adapter.importance is not None:
        total = total * (1 + np.abs(adapter.importance).max())
        total += adapter.s * RANK * A * B * steps["importance"]
    if adapter.magnitude is not None:
        V = oracle.direction(W0, parts_of(adapter))
        total *= 2 * float(np.abs(adapter.magnitude / oracle.column_norms(V)).max())
        total += steps["magnitude"]
    return total


@pytest.mark.parametrize("learning_rate", [1e-3, 0.5])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_the_exact_first_step(method, fresh, optimizer, learning_rate):
    """The step is taken, and the merged weights subtracted."""
    adapter = start(method) if fresh else trained(method)
    update = adapter.first_update(G0, optimizer, weight=W0, learning_rate=learning_rate)
    expected = oracle.changes(G0, W0, parts_of(adapter), optimizer, learning_rate)
    scale = size_of(adapter, W0) + step_size(adapter, optimizer) * (1 + learning_rate) ** 2
    assert_within(np.asarray(update), expected, PRODUCT * (N + M) * EPS * scale)
    taken = {
        k: v - learning_rate * oracle.OPTIMIZERS[optimizer](adapter.gradients(G0, W0)[k])
        for k, v in adapter.parameters.items()
    }
    after = adapter.replace(**taken).merged(W0)
    assert_within(after - adapter.merged(W0), np.asarray(update), PRODUCT * (N + M) * EPS * scale)


def test_the_sign_of_zero_is_zero():
    """B = 0: Aᵀ has no gradient, and Adam leaves it where it is."""
    adapter = start("lora")
    gradient = G0.copy()
    gradient[:, 2] = 0  # and B's third column has none either
    step = np.asarray(adapter.first_update(gradient, "adam"))
    assert not step[:, 2].any()
    expected = -dense(adapter.A) @ np.sign(dense(adapter.A).T @ gradient)
    assert_within(step, expected, PRODUCT * RANK * EPS * np.abs(adapter.A).max())


def test_the_formulas_of_the_first_update():
    """−s²(A Aᵀ G + G Bᵀ B), and −s(A sign(Aᵀ G) + sign(G Bᵀ) B)."""
    adapter = trained("lora-ga")
    scale = step_size(adapter, "sgd")
    sgd = -(adapter.s**2) * oracle.sgd_direction(G0, adapter.A, adapter.B)
    adam = -adapter.s * sum(oracle.adam_terms(G0, adapter.A, adapter.B))
    assert_within(np.asarray(adapter.first_update(G0)), sgd, PRODUCT * (N + M) * EPS * scale)
    assert_within(
        np.asarray(adapter.first_update(G0, "adam")), adam,
        PRODUCT * (N + M) * EPS * step_size(adapter, "adam"),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Merging, replacing, copying.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_merging_a_trained_adapter(method, dtype):
    adapter = trained(method, dtype)
    weight = W0.astype(dtype)
    expected = oracle.merged(weight, parts_of(adapter))
    assert adapter.merged(weight).dtype == dtype
    bound = PRODUCT * (RANK + N) * np.finfo(dtype).eps * size_of(adapter, weight)
    if adapter.magnitude is not None:
        bound *= 1 + np.abs(adapter.magnitude).max()
    assert_within(adapter.merged(weight), expected, bound)


def test_dora_has_the_column_norms_it_says():
    adapter = trained("dora")
    found = oracle.column_norms(adapter.merged(W0))
    assert_within(found, np.abs(adapter.magnitude), PRODUCT * N * EPS * np.abs(found).max())


@pytest.mark.parametrize("method", METHODS)
def test_replacing_keeps_the_offset(method):
    adapter = start(method)
    other = adapter.replace(B=2 * adapter.B)
    assert_bits(other.A, adapter.A)
    assert_bits(other.B, 2 * adapter.B)
    assert_bits(other.offset.dense(), adapter.offset.dense())
    assert (other.s, other.method) == (adapter.s, adapter.method)
    assert set(other.parameters) == set(adapter.parameters)
    assert_bits(adapter.B, start(method).B)


def test_adapters_by_hand():
    A, B = np.ones((3, 1)), np.arange(4.0)[None]
    adapter = Adapter(A, B, 0.5)
    assert adapter.shape == (3, 4)
    assert adapter.rank == 1
    assert adapter.offset.rank == 0
    assert adapter.importance is adapter.magnitude is None
    assert_bits(adapter.merged(np.zeros((3, 4))), 0.5 * A @ B)
    assert_bits(adapter.frozen(np.ones((3, 4))), np.ones((3, 4)))
    offset = Factored(np.ones((3, 2)), np.ones((2, 4)), 0.25)
    assert_bits(Adapter(A, B, offset=offset).frozen(np.zeros((3, 4))), np.full((3, 4), 0.5))
    weighted = Adapter(np.ones((3, 2)), np.ones((2, 4)), importance=[2.0, -0.5])
    assert_bits(weighted.delta.dense(), np.full((3, 4), 1.5))


def test_adapters_do_not_change_and_copy():
    adapter = start("dora")
    with pytest.raises(AttributeError):
        adapter.s = 2.0
    for value in adapter.parameters.values():
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 1
    for other in (copy.copy(adapter), copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):
        assert_bits(other.merged(W0), adapter.merged(W0))
    A, B = np.ones((3, 1)), np.ones((1, 4))
    mine = Adapter(A, B)
    A[0] = 7
    assert mine.A[0, 0] == 1
    assert len(repr(adapter)) < 200
    assert "dora" in repr(adapter)


# ---------------------------------------------------------------------------------------------
# Factored.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [0, 1, 3, 8])
@pytest.mark.parametrize("scale", [1.0, -0.5, 0.0])
def test_factored(k, scale, dtype):
    rng = np.random.default_rng(k)
    left = rng.standard_normal((5, k)).astype(dtype)
    right = rng.standard_normal((k, 6)).astype(dtype)
    matrix = Factored(left, right, scale)
    expected = scale * (dense(left) @ dense(right))
    eps = np.finfo(dtype).eps
    bound = PRODUCT * max(k, 1) * eps * float((np.abs(left) @ np.abs(right)).max(initial=0))
    assert matrix.shape == (5, 6)
    assert matrix.rank == k
    assert matrix.dense().dtype == dtype
    assert_within(matrix.dense(), expected, bound)
    assert_within((-matrix).dense(), -expected, bound)
    assert_bits(np.asarray(matrix), matrix.dense())
    other = np.ones((5, 6), dtype)
    assert_bits(other + matrix, other + matrix.dense())
    assert_bits(np.asarray(matrix, dtype=np.float64), matrix.dense().astype(np.float64))
    # ‖·‖² is a sum that may cancel: its error is that of the squares.
    squares = float(oracle.frobenius(np.abs(left) @ np.abs(right))) ** 2 * scale**2
    error = abs(matrix.norm() ** 2 - float(oracle.frobenius(expected)) ** 2)
    assert error <= PRODUCT * (k + 5) * eps * squares
    assert isinstance(matrix.norm(), float)


def test_factored_norms_of_extreme_sizes():
    """No square overflows on the way."""
    for size in (1e-160, 1e160):
        matrix = Factored(np.full((4, 1), size), np.full((1, 4), 2.0))
        assert_within(matrix.norm() / size, 8.0, PRODUCT * EPS * 8)
    single = Factored(np.full((4, 1), 1e25, np.float32), np.full((1, 4), 2.0, np.float32))
    assert_within(single.norm() / 1e25, 8.0, PRODUCT * EPS32 * 8)


def test_a_sign_with_fewer_directions_than_2r():
    """The sign of a positive gradient has one direction only, whatever the gradient has."""
    gradient = np.abs(np.random.default_rng(0).standard_normal((12, 10))) + 1.0
    expected = "5 of the 6 singular directions of the sign of the gradient"
    with pytest.warns(rv.IllConditionedWarning, match=expected):
        initialize("lora-ga-adam", gradient=gradient, rank=3)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_column_lengths_keep_their_range_in_single_precision(size):
    weight = (W0 * size).astype(np.float32)
    adapter = initialize("dora", weight=weight, rank=RANK)
    expected = np.linalg.norm(weight.astype(float), axis=0)
    assert np.abs(adapter.magnitude / expected - 1.0).max() <= 4 * EPS32
    assert np.abs(adapter.merged(weight) / weight - 1.0).max() <= 16 * EPS32
