"""low_rank against the dense SVD, 50 digits and the theorem of Eckart and Young."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hippo_support import EPS, EPS32, SUM, assert_bits, assert_within

import resolvent as rv
from oracles import lora as oracle

low_rank = rv.lora.low_rank

METHODS = ("block-krylov", "subspace", "dense")
#: Unit roundoffs of the two types.
ROUNDING = {np.float32: EPS32, np.float64: EPS}
DTYPES = tuple(ROUNDING)

#: In eps of σ_1, times √(nm): what products with M, reorthogonalisation and a small SVD may lose.
BACKWARD = 8.0
#: In eps, times √(entries): how far columns are from orthonormal.
ORTHOGONAL = 8.0
#: The sum of squares that ‖M‖² − Σσ² is a difference of, in eps, times √(nm).
SQUARES = 8.0

#: The default.
OVERSAMPLE = 16

#: Tall, wide, square; with one row, column, entry; smaller than any block; two of some size.
SHAPES = (
    (1, 1), (1, 7), (7, 1), (2, 2), (2, 9), (9, 2), (3, 3), (5, 4), (12, 30), (30, 12), (24, 24),
    (70, 41), (41, 70), (120, 90),
)  # fmt: skip


def eps_of(array):
    return ROUNDING[array.dtype.type]


def rounding(matrix, sigma_1=None):
    """Backward error of a computed SVD, absolute."""
    sigma_1 = oracle.svd(matrix)[1][0] if sigma_1 is None else sigma_1
    return BACKWARD * np.sqrt(matrix.size) * eps_of(matrix) * sigma_1


def gaussian(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def check(matrix, result, rank):
    """Everything that holds of a result, however good an approximation it is."""
    n, m = matrix.shape
    U, sigma, Vh = result
    eps = eps_of(matrix)
    for part, shape in ((U, (n, rank)), (sigma, (rank,)), (Vh, (rank, m))):
        assert part.shape == shape
        assert part.dtype == matrix.dtype
        assert np.isfinite(part).all()
    assert (sigma >= 0).all()
    assert (np.diff(sigma) <= 0).all()
    for columns in (U, Vh.T):
        loss = np.abs(columns.astype(np.longdouble).T @ columns - np.eye(rank)).max()
        assert loss <= ORTHOGONAL * np.sqrt(columns.size) * eps
    assert (np.take_along_axis(U, np.abs(U).argmax(axis=0)[None], axis=0) > 0).all()
    check_errors(matrix, result, rank)
    assert_within(result.dense(), (U * sigma) @ Vh, SUM * rank * eps * sigma[0])
    assert result.dense().dtype == matrix.dtype


def check_errors(matrix, result, rank):
    """Its own numbers about itself, and singular values in order with the true ones."""
    true = oracle.svd(matrix)[1]
    bound = rounding(matrix, true[0])
    left, right = oracle.triplet_errors(matrix, *result)
    assert_within(result.measured(matrix), left, bound)
    if result.errors is not None:
        assert_within(result.errors, left, bound)
    assert (right <= left + bound).all()
    norm = float(oracle.frobenius(matrix))
    eps = eps_of(matrix)
    assert_within(result.norm, norm, SQUARES * np.sqrt(matrix.size) * eps * norm)
    residual = oracle.truncation_residual(matrix, *result)
    if norm:
        squares = SQUARES * np.sqrt(matrix.size) * eps
        assert_within((result.residual / norm) ** 2, (residual / norm) ** 2, squares)
    else:
        assert result.residual == 0
    # Projections shrink singular values; and one is within the residual of a triplet (Weyl).
    assert (result.sigma <= true[:rank] + bound).all()
    nearest = np.abs(result.sigma[:, None].astype(float) - true).min(axis=1)
    assert (nearest <= np.maximum(left, right) + bound).all()
    assert residual >= oracle.tail(true, rank) - bound
    assert isinstance(result.norm, float)
    assert isinstance(result.residual, float)


def whole_space(method, matrix, rank):
    """Whether the method's basis is everything, so that nothing is approximated."""
    least = min(matrix.shape)
    return method == "dense" or least <= rank + OVERSAMPLE


def assert_is_svd(matrix, result, rank):
    """Singular values, and the spaces of those that are apart, as the dense SVD's."""
    U, sigma, Vh = oracle.svd(matrix)
    bound = rounding(matrix, sigma[0])
    assert_within(result.sigma, sigma[:rank], bound)
    assert oracle.truncation_residual(matrix, *result) <= oracle.tail(sigma, rank) + bound
    gap = np.sqrt(bound * sigma[0])
    for group in oracle.clusters(sigma, rank, gap):
        others = np.delete(sigma, group)
        apart = np.abs(others[:, None] - sigma[group]).min(initial=np.inf)
        if sigma[group[-1]] <= gap or apart == 0:
            continue  # rounding alone decides the vectors
        for exact, found in ((U[:, group], result.U[:, group]), (Vh[group].T, result.Vh[group].T)):
            outside = found - exact @ (exact.T @ found)
            assert np.linalg.norm(outside, 2) <= 2 * bound / min(apart, sigma[group[-1]])


# ---------------------------------------------------------------------------------------------
# Shapes, types, spectra.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(method, dtype, shape):
    matrix = gaussian(shape, seed=sum(shape), dtype=dtype)
    for rank in {1, max(1, min(shape) // 3), min(30, *shape)}:
        result = low_rank(matrix, rank, method=method)
        check(matrix, result, rank)
        assert result.method == method
        if whole_space(method, matrix, rank):
            assert_is_svd(matrix, result, rank)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", oracle.spectra(1))
def test_spectra(method, dtype, name):
    """Over a matrix larger than the basis, where methods approximate, and one that is smaller."""
    for n, m in ((75, 60), (15, 21)):
        matrix = oracle.with_spectrum(oracle.spectra(min(n, m))[name], n, m, seed=3, dtype=dtype)
        for rank in (1, 6):
            result = low_rank(matrix, rank, method=method)
            check(matrix, result, rank)
            if whole_space(method, matrix, rank):
                assert_is_svd(matrix, result, rank)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["geometric", "cubic", "cliff", "low rank", "steps"])
def test_spectra_that_fall_are_found_to_rounding(method, name):
    """Where what is beyond the block is small, or is cut away, nothing is left to approximate."""
    sigma = oracle.spectra(60)[name]
    rank = {"cliff": 20, "low rank": 15, "steps": 4}.get(name, 6)
    matrix = oracle.with_spectrum(sigma, 75, 60, seed=11)
    result = low_rank(matrix, rank, method=method, tolerance=64 * EPS)
    assert (result.errors <= 64 * EPS * result.sigma[0]).all()
    assert_is_svd(matrix, result, rank)
    assert_within(result.sigma, sigma[:rank], 2 * rounding(matrix, sigma[0]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 2), (2, 5), (4, 4)], ids=str)
def test_a_few_entries_in_fifty_digits(method, shape):
    for seed in range(4):
        matrix = gaussian(shape, seed)
        exact = oracle.precise_singular_values(matrix)
        for rank in range(1, min(shape) + 1):
            result = low_rank(matrix, rank, method=method)
            assert_within(result.sigma, exact[:rank], rounding(matrix, exact[0]))


@pytest.mark.parametrize("method", METHODS)
def test_matrices_that_are_known(method):
    """Integers go in as doubles; a diagonal's triplets are unit vectors with a positive sign."""
    result = low_rank(np.diag([0, -7, 3]), 2, method=method)
    assert result.U.dtype == np.float64
    bound = rounding(np.eye(3), 7.0)
    assert_within(result.sigma, [7.0, 3.0], bound)
    assert_within(result.U, np.eye(3)[:, [1, 2]], bound)
    assert_within(result.Vh, [[0, -1, 0], [0, 0, 1]], bound)
    assert_within(result.residual, 0.0, np.sqrt(SQUARES * 9 * EPS * result.norm**2))


@pytest.mark.parametrize("method", METHODS)
def test_the_first_of_equal_entries_is_positive(method):
    matrix = np.outer([0.0, -1.0, 1.0, -1.0, 1.0], [3.0, -4.0])
    U, sigma, Vh = low_rank(matrix, 1, method=method)
    bound = rounding(matrix, 10.0)
    assert_within(np.abs(U[:, 0]), [0, 0.5, 0.5, 0.5, 0.5], bound)
    assert_within(sigma, [10.0], bound)
    assert U[np.abs(U[:, 0]).argmax(), 0] > 0
    assert_within(U @ np.diag(sigma) @ Vh, matrix, bound)


# ---------------------------------------------------------------------------------------------
# What is missing, repeated, or of an unusual size.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (4, 3), (40, 65)], ids=str)
def test_zero(method, dtype, shape):
    """Zeros are exact, and the vectors orthonormal all the same."""
    matrix = np.zeros(shape, dtype)
    rank = min(3, *shape)
    result = low_rank(matrix, rank, method=method)
    check(matrix, result, rank)
    assert not result.sigma.any()
    assert not result.measured(matrix).any()
    assert result.norm == result.residual == 0.0
    assert not low_rank(matrix, rank, method=method, tolerance=EPS).errors.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("true_rank", [1, 2, 5])
def test_rank_deficient(method, dtype, true_rank):
    """More triplets than the matrix has: the others are zero to rounding, and orthonormal."""
    for n, m in ((50, 37), (37, 50), (7, 9)):
        matrix = (gaussian((n, true_rank), 1) @ gaussian((true_rank, m), 2)).astype(dtype)
        result = low_rank(matrix, 7, method=method)
        check(matrix, result, 7)
        bound = rounding(matrix)
        assert_within(result.sigma, oracle.svd(matrix)[1][:7], bound)
        assert (result.sigma[true_rank:] <= bound).all()
        assert (result.sigma[:true_rank] > bound).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("zeros", ["rows", "columns", "both", "all but one entry"])
def test_blocks_of_zeros(method, zeros):
    matrix = gaussian((30, 26), 5)
    if zeros == "all but one entry":
        matrix[:] = 0
        matrix[17, 3] = -2.5
    if zeros in ("rows", "both"):
        matrix[4:] = 0
    if zeros in ("columns", "both"):
        matrix[:, :23] = 0
    result = low_rank(matrix, 6, method=method)
    check(matrix, result, 6)
    if zeros != "rows" and zeros != "columns":
        assert_within(result.sigma, oracle.svd(matrix)[1][:6], rounding(matrix))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_singular_value_many_times(method, dtype):
    """An orthogonal matrix: any subspace is right, and every triplet exact."""
    matrix = oracle.orthonormal(64, 64, 4).astype(dtype)
    result = low_rank(matrix, 5, method=method)
    check(matrix, result, 5)
    assert_within(result.sigma, np.ones(5), rounding(matrix, 1.0))
    assert (result.measured(matrix) <= rounding(matrix, 1.0)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.float64, 1e150), (np.float64, 1e-150), (np.float32, 1e18), (np.float32, 1e-18)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("shape", [(60, 45), (6, 5), (1, 3)], ids=str)
def test_scale(method, dtype, scale, shape):
    """Squares of the entries overflow or vanish; the answer does not."""
    rank = min(4, *shape)
    exponent = int(np.round(np.log2(scale)))
    matrix = gaussian(shape, 8, dtype)
    scaled = np.ldexp(matrix, exponent)
    plain, result = (low_rank(M, rank, method=method) for M in (matrix, scaled))
    check(scaled, result, rank)
    bound = rounding(matrix)
    assert_within(np.ldexp(result.sigma, -exponent), plain.sigma, bound)
    assert_within(np.ldexp(result.norm, -exponent), plain.norm, bound)
    assert_within(np.ldexp(result.dense(), -exponent), plain.dense(), 4 * bound)


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_very_different_size(method):
    """A graded matrix: what counts is σ_1."""
    matrix = gaussian((40, 40), 6) * 10.0 ** -np.arange(0, 120, 3.0)[:, None]
    result = low_rank(matrix, 6, method=method, tolerance=64 * EPS)
    check(matrix, result, 6)
    assert_within(result.sigma, oracle.svd(matrix)[1][:6], rounding(matrix))


# ---------------------------------------------------------------------------------------------
# How good an approximation is.


@pytest.mark.parametrize("name", ["flat", "root", "harmonic", "linear", "pairs", "lone"])
@pytest.mark.parametrize("rank", [4, 16])
def test_block_krylov_is_better_than_the_randomised_range_finder(name, rank):
    """As many products with M as one power iteration takes, and a smaller residual."""
    n, m = 260, 200
    matrix = oracle.with_spectrum(oracle.spectra(m)[name], n, m, seed=2)
    ours = low_rank(matrix, rank).residual
    others = [oracle.halko(matrix, rank, oversample=OVERSAMPLE, power=1, seed=s) for s in range(3)]
    assert ours <= min(others) + rounding(matrix, 1.0)


@pytest.mark.parametrize("rank", [4, 16])
@pytest.mark.parametrize("name", ["root", "linear", "pairs"])
def test_subspace_iteration_is_the_power_method(name, rank):
    """As good as Halko's scheme with as many powers, over the spread of random starts."""
    n, m = 150, 110
    matrix = oracle.with_spectrum(oracle.spectra(m)[name], n, m, seed=2)
    for iterations in (1, 2, 4):
        ours = low_rank(matrix, rank, method="subspace", iterations=iterations).residual
        fewer = [
            oracle.halko(matrix, rank, oversample=OVERSAMPLE, power=iterations - 1, seed=s)
            for s in range(9)
        ]
        assert ours <= max(fewer)


@pytest.mark.parametrize("method", METHODS[:2])
def test_more_iterations_never_cost_accuracy(method):
    """Krylov spaces are nested, and powers turn towards the leading space."""
    matrix = oracle.with_spectrum(oracle.spectra(150)["root"], 180, 150, seed=9)
    residuals = [low_rank(matrix, 6, method=method, iterations=k).residual for k in (1, 2, 4, 8)]
    assert (np.diff(residuals) <= rounding(matrix, 1.0)).all()
    assert residuals[-1] < residuals[0]


def test_oversampling_helps_subspace_iteration():
    matrix = oracle.with_spectrum(oracle.spectra(150)["root"], 180, 150, seed=9)

    def mean_residual(oversample):
        return np.mean(
            [
                low_rank(
                    matrix, 6, method="subspace", iterations=1, oversample=oversample, seed=seed
                ).residual
                for seed in range(5)
            ]
        )

    assert mean_residual(16) < mean_residual(0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("oversample", [0, 1, 40, 10_000])
def test_any_oversampling(method, oversample):
    matrix = gaussian((33, 47), 1)
    check(matrix, low_rank(matrix, 5, method=method, oversample=oversample), 5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["root", "linear", "harmonic", "flat"])
def test_a_tolerance_is_kept(method, dtype, name):
    sigma = oracle.spectra(90)[name]
    matrix = oracle.with_spectrum(sigma, 100, 90, seed=4, dtype=dtype)
    for tolerance in (1e-1, 1e-3, 256 * ROUNDING[dtype]):
        options = {"iterations": 2000} if method == "subspace" else {}
        result = low_rank(matrix, 5, method=method, tolerance=tolerance, **options)
        check(matrix, result, 5)
        left, _ = oracle.triplet_errors(matrix, *result)
        assert (left <= tolerance * result.sigma[0] + rounding(matrix, 1.0)).all()
        assert (result.errors <= tolerance * result.sigma[0]).all()


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_smaller_tolerance_takes_more_iterations(method):
    """No more than are needed, where more are allowed."""
    matrix = oracle.with_spectrum(oracle.spectra(200)["root"], 220, 200, seed=4)
    taken = [
        low_rank(matrix, 4, method=method, tolerance=t, iterations=500).iterations
        for t in (1e-1, 1e-4, 1e-10)
    ]
    assert taken == sorted(taken)
    assert taken[0] < taken[-1] < 500


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_tolerance_that_is_not_reached(method):
    """The message has what was asked for and what was reached."""
    matrix = oracle.with_spectrum(oracle.spectra(300)["root"], 320, 300, seed=4)
    with pytest.raises(rv.NotConverged, match=r"tolerance.*1e-12"):
        low_rank(matrix, 8, method=method, iterations=2, tolerance=1e-12)


@pytest.mark.parametrize("method", METHODS[:2])
def test_without_a_tolerance_nothing_needs_to_converge(method):
    matrix = oracle.with_spectrum(oracle.spectra(300)["root"], 320, 300, seed=4)
    result = low_rank(matrix, 8, method=method, iterations=1)
    assert result.errors is None
    assert result.iterations == 1
    check(matrix, result, 8)


# ---------------------------------------------------------------------------------------------
# The same answer.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(700, 513), (40, 3000), (6, 5)], ids=str)
def test_threads_change_no_bit(method, dtype, shape, restore_threads):
    if method == "dense":
        shape = tuple(min(200, size) for size in shape)
    matrix = gaussian(shape, 3, dtype)
    results = []
    for threads in (1, 2, 1):
        rv.set_threads(threads)
        results.append(low_rank(matrix, 5, method=method, seed=7))
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            assert_bits(mine, theirs)
        assert_bits(results[0].measured(matrix), other.measured(matrix))
        assert results[0].residual == other.residual
        assert results[0].norm == other.norm


@pytest.mark.parametrize("method", METHODS[:2])
def test_seeds(method):
    matrix = gaussian((90, 80), 3)
    first, again, other = (low_rank(matrix, 5, method=method, seed=s) for s in (1, 1, 2))
    for mine, theirs in zip(first, again, strict=True):
        assert_bits(mine, theirs)
    assert (first.U != other.U).any()
    assert_bits(low_rank(matrix, 5, method=method).U, low_rank(matrix, 5, method=method, seed=0).U)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_change_no_bit(method, dtype):
    """Views, the other order of storage, lists, what may not be written; and nothing is written."""
    whole = gaussian((40, 66), 12, dtype)
    matrix = np.ascontiguousarray(whole[::2, ::-3])
    before = matrix.copy()
    frozen = matrix.copy()
    frozen.flags.writeable = False
    expected = low_rank(matrix, 4, method=method)
    views = [whole[::2, ::-3], np.asfortranarray(matrix), np.ascontiguousarray(matrix.T).T, frozen]
    if dtype is np.float64:
        views.append(matrix.tolist())
    for view in views:
        for mine, theirs in zip(low_rank(view, 4, method=method), expected, strict=True):
            assert_bits(mine, theirs)
    assert_bits(matrix, before)
    assert_bits(frozen, before)


@pytest.mark.parametrize("method", METHODS)
def test_the_other_byte_order(method):
    matrix = gaussian((20, 22), 12)
    for mine, theirs in zip(
        low_rank(matrix.astype(">f8"), 4, method=method),
        low_rank(matrix, 4, method=method),
        strict=True,
    ):
        assert_bits(mine, theirs)


def test_the_methods_agree():
    matrix = oracle.with_spectrum(oracle.spectra(70)["geometric"], 90, 70, seed=1)
    results = [low_rank(matrix, 5, method=method, tolerance=64 * EPS) for method in METHODS]
    for other in results[1:]:
        assert_within(other.sigma, results[0].sigma, rounding(matrix, 1.0))
        gap = 0.6**4 * (1 - 0.6)
        assert_within(other.U, results[0].U, 4 * rounding(matrix, 1.0) / gap)
        assert_within(other.Vh, results[0].Vh, 4 * rounding(matrix, 1.0) / gap)


def test_the_default_is_block_krylov():
    matrix = gaussian((90, 80), 3)
    assert low_rank(matrix, 5).method == "block-krylov"
    assert_bits(low_rank(matrix, 5).U, low_rank(matrix, 5, method="block-krylov").U)
    assert rv.lora.LOW_RANK_METHODS == METHODS


# ---------------------------------------------------------------------------------------------
# The result as an object.


def test_the_result_is_frozen_and_unpacks():
    result = low_rank(gaussian((6, 5)), 2, tolerance=1e-6)
    U, sigma, Vh = result
    assert U is result.U
    assert sigma is result.sigma
    assert Vh is result.Vh
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.U = U
    for part in (U, sigma, Vh, result.errors):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 0
    copy = pickle.loads(pickle.dumps(result))
    assert_bits(copy.U, U)
    assert copy.residual == result.residual


def test_the_result_in_words():
    text = repr(low_rank(gaussian((6, 5)), 2))
    assert len(text) < 200
    assert "LowRank" in text
    assert "2" in text
