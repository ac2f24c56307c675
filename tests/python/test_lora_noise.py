"""Batch noise against its definition with dense decompositions, and models whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_within
from matplotlib.figure import Figure
from scipy.linalg import subspace_angles
from scipy.sparse.linalg import svds
from ssm_support import refused

import resolvent as rv

batch_noise = rv.lora.batch_noise

# Multiples of eps.
SUM = 16  # per term of a sum, relative to the sum of absolute values
SPACE = 64  # cos² of an angle between singular spaces, per row, over the relative gap

#: A mean over so many independent draws is within so many standard errors.
ERRORS = 5.0


def gradients(k=12, n=14, m=9, *, noise=1.0, seed=0, dtype=np.float64):
    """A matrix with singular values 8, 4, 2, 1, …, and normal noise."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((size, m)))[0] for size in (n, m))
    G = (U * 2.0 ** (3 - np.arange(m))) @ V.T
    return (G + noise * rng.standard_normal((k, n, m)) / np.sqrt(n * m)).astype(dtype)


def definition(stack, rank, count, subsets, seed):
    """Overlaps, cosines and optima of every subset."""
    k = len(stack)
    order = np.random.default_rng(seed).permutation(k)
    rows = []
    for i in range(min(k // count, subsets)):
        chosen = order[i * count : (i + 1) * count]
        ours = stack[chosen].mean(axis=0)
        others = stack[np.setdiff1d(np.arange(k), chosen)].mean(axis=0)
        (U, _, Vh), (X, sigma, Yh) = np.linalg.svd(ours), np.linalg.svd(others)
        wide = 2 * rank
        left = np.mean(np.cos(subspace_angles(U[:, :wide], X[:, :wide])) ** 2)
        right = np.mean(np.cos(subspace_angles(Vh[:wide].T, Yh[:wide].T)) ** 2)
        A, B = U[:, :rank], Vh[rank:wide]
        update = A @ A.T @ others + others @ B.T @ B
        size = np.sqrt((others**2).sum())
        cosine = (update * others).sum() / np.sqrt((update**2).sum()) / size
        rows.append((left, right, cosine, np.sqrt((sigma[:wide] ** 2).sum()) / size))
    return np.array(rows).T


def relative_gap(stack, rank):
    """The smallest among all means that are decomposed is not far below that of the whole."""
    sigma = np.linalg.svd(stack.mean(axis=0), compute_uv=False)
    return (sigma[2 * rank - 1] - sigma[2 * rank]) / sigma[0] / 8


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_definition(rank, dtype):
    stack = gradients(dtype=dtype)
    counts, subsets, seed = [1, 2, 3, 5, 11], 5, 7
    found = batch_noise(stack, rank, counts=counts, subsets=subsets, seed=seed)
    eps = EPS if dtype == np.float64 else EPS32
    bound = SPACE * eps * 14 / relative_gap(stack.astype(float), rank)
    assert found.counts.tolist() == counts
    for i, count in enumerate(counts):
        left, right, cosine, optimum = definition(stack.astype(float), rank, count, subsets, seed)
        assert_within(found.overlap_left[i], left.mean(), bound, "left")
        assert_within(found.overlap_right[i], right.mean(), bound, "right")
        assert_within(found.cosine[i], cosine.mean(), bound, "cosine")
        assert_within(found.optimum[i], optimum.mean(), bound, "optimum")
        if cosine.size > 1:
            assert_within(found.spread[i], cosine.std(ddof=1), bound, "spread")
        else:
            assert np.isnan(found.spread[i])
    assert (found.batches, found.rank, found.shape) == (12, rank, (14, 9))


def test_noise_and_signal_by_their_definition():
    stack = gradients(noise=3.0)
    found = batch_noise(stack, 1)
    mean = stack.mean(axis=0)
    noise = sum(np.sum((G - mean) ** 2) for G in stack) / 11
    size = SUM * EPS * stack.size * np.square(stack).mean()
    assert_within(found.noise, noise, size * 12)
    assert_within(found.signal, np.sum(mean**2) - noise / 12, size * 12)
    assert found.noise_scale == found.noise / found.signal


@pytest.mark.parametrize("noise", [0.5, 4.0, 20.0])
def test_both_are_unbiased(noise):
    """tr Σ = noise², ‖G‖² = Σσ²: means over 200 draws, within their standard errors."""
    truth = gradients(1, noise=0.0)[0]
    rng = np.random.default_rng(1)
    drawn = truth + noise * rng.standard_normal((200, 8, *truth.shape)) / np.sqrt(truth.size)
    found = [batch_noise(stack, 1, counts=[1], subsets=1) for stack in drawn]
    for got, expected in (("noise", noise**2), ("signal", np.sum(truth**2))):
        values = np.array([getattr(one, got) for one in found])
        error = values.std(ddof=1) / np.sqrt(values.size)
        assert abs(values.mean() - expected) < ERRORS * error, got


def test_the_noise_scale_of_a_known_model():
    truth = gradients(1, noise=0.0)[0]
    for scale in (0.25, 1.0, 4.0):
        noise = np.sqrt(scale * np.sum(truth**2))
        stack = gradients(512, noise=noise, seed=0)
        found = batch_noise(stack, 1, counts=[1], subsets=1)
        # tr Σ̂ and ‖G‖²̂ have relative errors of √(2/(k·nm)) and 2√(scale/(k·nm)) and less.
        error = np.sqrt(2 / (512 * 126)) + 2 * np.sqrt(scale / (512 * 126)) + scale / 512
        assert abs(found.noise_scale / scale - 1) < ERRORS * error


def test_more_batches_tell_more():
    found = batch_noise(gradients(64, noise=20.0), 2)
    assert found.counts.tolist() == [1, 2, 4, 8, 16, 32]
    for curve in (found.overlap_left, found.overlap_right, found.cosine):
        assert curve[0] < curve[2] < curve[4]
    assert (found.cosine <= found.optimum * (1 + SUM * EPS * 14)).all()


def test_pure_noise_overlaps_by_chance():
    """Random spaces of 2r dimensions: 2r/n and 2r/m, from (2r)² nearly normal squares each."""
    rng = np.random.default_rng(0)
    found = batch_noise(rng.standard_normal((32, 40, 30)), 2, counts=[1, 4], subsets=32)
    for values, size in ((found.overlap_left, 40), (found.overlap_right, 30)):
        error = np.sqrt(2 / 16 / np.array([32, 8]))
        assert_within(values / (4 / size), np.ones(2), ERRORS * error)


def test_a_gradient_without_noise():
    found = batch_noise(np.repeat(gradients(1, noise=0.0), 4, axis=0), 2)
    assert found.noise_scale == 0.0
    assert_within(found.overlap_left, np.ones(2), SPACE * EPS * 14)
    assert_within(found.cosine, found.optimum, SPACE * EPS * 14)
    assert_within(found.spread, np.zeros(2), SPACE * EPS * 14)
    assert found.enough(1.0 - 1e-9) == 1


def test_a_signal_below_the_noise():
    stack = np.array([1.0, -1.0])[:, np.newaxis, np.newaxis] * gradients(1)
    found = batch_noise(stack, 1)
    assert found.signal < 0.0
    assert found.noise_scale == np.inf
    assert "inf" in repr(found)


def test_others_that_cancel():
    """Three batches of which two cancel: there is nothing to compare the third with."""
    G = gradients(1)[0]
    found = batch_noise([np.eye(14, 9), G, -G], 1, counts=[1], subsets=3)
    assert np.isfinite([found.cosine, found.optimum]).all()


def test_how_many_are_enough():
    found = batch_noise(gradients(64, noise=8.0), 2)
    shares = found.cosine / found.optimum
    for share in (0.5, 0.8, 0.9):
        first = next((b for b, s in zip(found.counts, shares, strict=True) if s >= share), None)
        assert found.enough(share) == first
    assert found.enough(1.0) is None
    assert "more than there are" in batch_noise(gradients(2, noise=99.0), 4)._repr_html_()


def test_an_iterable_is_an_array():
    stack = gradients()
    one, other = batch_noise(stack, 2), batch_noise((G for G in stack), 2)
    for name in ("cosine", "overlap_left", "overlap_right", "optimum", "spread"):
        assert_bits(getattr(one, name), getattr(other, name))
    as_lists = batch_noise(stack.tolist(), 2)
    assert_bits(one.cosine, as_lists.cosine)
    strided = batch_noise(np.asfortranarray(stack), 2)
    assert_bits(one.cosine, strided.cosine)


def test_the_seed_chooses_the_subsets():
    stack = gradients(noise=5.0)
    one, same, other = (batch_noise(stack, 2, seed=seed) for seed in (1, 1, 2))
    assert_bits(one.cosine, same.cosine)
    assert (one.cosine != other.cosine).any()
    assert not one.cosine.flags.writeable


def test_gradients_of_a_problem():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 12)), rng.integers(0, 6, 64)
    problem = rv.lora.Problem(x, y, [np.zeros((12, 6))])
    (stack,) = problem.batch_gradients(4)
    found = batch_noise(stack, 2)
    assert found.batches == 16
    # One row's covariance is four times that of a batch of four.
    (single,) = problem.batch_gradients(1)
    rows = batch_noise(single, 2, counts=[1], subsets=1)
    assert 0.5 < rows.noise / (4 * found.noise) < 2.0


def test_large_layers():
    """1024 × 1024 in single precision: truncated decompositions find what dense ones do."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((2, 1024, 8)).astype(np.float32)
    G = factors[0] @ factors[1].T
    stack = G + 16 * rng.standard_normal((4, 1024, 1024), dtype=np.float32)
    found = batch_noise(stack, 4, counts=[2], subsets=1)
    overlap, cosine = definition_for_large_ones(stack, 4, 2)
    bound = 4 * np.sqrt(EPS32)  # to which leading triplets are found, relative to the largest
    assert_within(found.overlap_left[0], overlap, bound)
    assert_within(found.cosine[0], cosine, bound)


def definition_for_large_ones(stack, rank, count):
    """By ARPACK, for the first subset."""
    order = np.random.default_rng(0).permutation(len(stack))
    wide = stack.astype(float)
    ours, others = wide[order[:count]].mean(axis=0), wide[order[count:]].mean(axis=0)

    def leading(G):
        U, _, Vh = svds(G, 2 * rank)  # ascending
        return U[:, ::-1], Vh[::-1]

    (U, Vh), (X, _) = leading(ours), leading(others)
    A, B = U[:, :rank], Vh[rank:]
    update = A @ (A.T @ others) + (others @ B.T) @ B
    cosine = (update * others).sum() / np.linalg.norm(update) / np.linalg.norm(others)
    return np.square(U.T @ X).sum() / (2 * rank), cosine


def test_it_shows_itself():
    found = batch_noise(gradients(16), 2)
    assert repr(found).startswith("BatchNoise(16 batches, rank 2, shape (14, 9): noise_scale=")
    page = found._repr_html_()
    assert f"{found.cosine[0]:.3f} of {found.optimum[0]:.3f}" in page
    ax = found.plot(Figure().subplots())
    assert_bits(np.asarray(ax.lines[0].get_ydata()), found.cosine / found.optimum)
    assert_bits(np.asarray(ax.lines[1].get_ydata()), np.asarray(found.overlap_left))
    assert len(ax.lines) == 4
    silent = batch_noise(np.repeat(gradients(1), 4, axis=0), 2)
    assert len(silent.plot(Figure().subplots()).lines) == 3  # a noise scale of 0 has no place


G1 = gradients(4)


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: batch_noise(G1[0], 1), ["gradients", "(k, n, m)", "(14, 9)"]),
        (lambda: batch_noise(G1[:1], 1), ["gradients", "two or more", "1"]),
        (lambda: batch_noise([], 1), ["gradients", "two or more", "0"]),
        (lambda: batch_noise([G1[0], G1[0].T], 1), ["gradients", "(9, 14)", "(14, 9)"]),
        (lambda: batch_noise(0 * G1, 1), ["gradients", "all zero"]),
        (lambda: batch_noise(np.where(G1 > 1, np.nan, G1), 1), ["gradients", "finite"]),
        (lambda: batch_noise(G1 + 0j, 1), ["gradients", "complex"]),
        (lambda: batch_noise([G1[0], "text"], 1), ["gradients[1]"]),
        (lambda: batch_noise(G1, 5), ["rank", "min(n, m)/2", "5"]),
        (lambda: batch_noise(G1, 0), ["rank", "0"]),
        (lambda: batch_noise(G1, 1.5), ["rank", "1.5"]),
        (lambda: batch_noise(G1, 1, counts=[4]), ["counts", "1 to 3", "[4]"]),
        (lambda: batch_noise(G1, 1, counts=[0, 1]), ["counts", "[0, 1]"]),
        (lambda: batch_noise(G1, 1, counts=[]), ["counts", "[]"]),
        (lambda: batch_noise(G1, 1, counts=[1.0]), ["counts", "1.0"]),
        (lambda: batch_noise(G1, 1, subsets=0), ["subsets", "0"]),
        (lambda: batch_noise(G1, 1, seed=-1), ["seed", "-1"]),
        (lambda: batch_noise(G1, 1).enough(0.0), ["share", "(0, 1]", "0"]),
        (lambda: batch_noise(G1, 1).enough(1.5), ["share", "1.5"]),
    ],
)
def test_what_is_refused(call, parts):
    refused(call, *parts)
