"""Bad input by its message, for the core of rv.lora; and Ctrl-C."""

from __future__ import annotations

import numpy as np
import pytest
from hippo_support import assert_bits
from interruption import printed_by_a_stopped_call
from ssm_support import refused

import resolvent as rv

L = rv.lora

N, M, RANK = 6, 5, 2
W = np.random.default_rng(0).standard_normal((N, M))
G = np.random.default_rng(1).standard_normal((N, M))

NEEDS_GRADIENT = ("lora-ga", "lora-ga-adam")
NEEDS_WEIGHT = ("pissa", "olora", "dora")
NEEDS_SHAPE = ("lora", "adalora", "orthogonal")
HALF_THE_RANK = NEEDS_GRADIENT  # two directions for each


def start(method="lora-ga", rank=RANK, **options):
    return L.initialize(method, rank=rank, **({"weight": W, "gradient": G} | options))


def adapter(**options):
    return start("lora-ga", **options)


#: What takes a matrix: the argument's name, and a call with another value for it.
TAKERS = {
    "low_rank": ("M", lambda x: L.low_rank(x, 1)),
    "initialize gradient": ("gradient", lambda x: start("lora-ga", 1, gradient=x, weight=None)),
    "initialize weight": ("weight", lambda x: start("pissa", 1, weight=x, gradient=None)),
    "alignment G": ("G", lambda x: L.alignment(x, adapter())),
    "alignment weight": ("weight", lambda x: L.alignment(G, adapter(), weight=x)),
    "compare weight": ("weight", lambda x: L.compare(["pissa"], x, G, 1)),
    "compare gradient": ("gradient", lambda x: L.compare(["lora-ga"], W, x, 1)),
    "gradients": ("G", lambda x: adapter().gradients(x)),
    "first_update": ("G", lambda x: adapter().first_update(x)),
    "frozen": ("weight", lambda x: adapter().frozen(x)),
    "merged": ("weight", lambda x: adapter().merged(x)),
    "Adapter A": ("A", lambda x: L.Adapter(x, np.ones((M, 4)))),
    "Adapter B": ("B", lambda x: L.Adapter(np.ones((4, N)), x)),
    "Factored left": ("left", lambda x: L.Factored(x, np.ones((M, 4)))),
    "Factored right": ("right", lambda x: L.Factored(np.ones((4, N)), x)),
}

takers = pytest.mark.parametrize("taker", TAKERS)
#: What an adapter is made of may be empty, and has no bounds in a training run that diverges.
NOT_PARTS = [taker for taker in TAKERS if not taker.startswith(("Adapter", "Factored"))]


# ---------------------------------------------------------------------------------------------
# Matrices.


@pytest.mark.parametrize(
    "bad",
    ["text", [[1.0], [1.0, 2.0]], np.full((N, M), None), [["a", "b"]]],
    ids=["text", "ragged", "objects", "words"],
)
@takers
def test_what_is_no_array_of_numbers(taker, bad):
    name, call = TAKERS[taker]
    refused(lambda: call(bad), name, error=rv.DtypeError)


@takers
def test_complex_numbers_would_lose_their_imaginary_part(taker):
    name, call = TAKERS[taker]
    refused(lambda: call(W + 1j), name, "complex", error=rv.DtypeError)


@takers
def test_half_precision_is_refused_with_advice(taker):
    name, call = TAKERS[taker]
    refused(lambda: call(W.astype(np.float16)), name, "float16", "float32", error=rv.DtypeError)


@pytest.mark.parametrize("shape", [(), (N,), (1, N, M)])
@takers
def test_matrices_have_two_axes(taker, shape):
    name, call = TAKERS[taker]
    refused(lambda: call(np.ones(shape)), name, str(shape), error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("taker", NOT_PARTS)
def test_what_is_not_finite_is_named_by_its_place(taker, dtype, bad):
    """The first place in C order."""
    name, call = TAKERS[taker]
    x = W.astype(dtype)
    x[4, 1] = bad
    x[2, 3] = bad
    refused(lambda: call(x), "finite", f"{name}[2, 3] = {bad}", error=rv.InvalidArgument)
    refused(lambda: call(np.asfortranarray(x)), f"{name}[2, 3] = {bad}", error=rv.InvalidArgument)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (4, 0)])
@pytest.mark.parametrize("taker", NOT_PARTS)
def test_matrices_without_entries(taker, shape):
    name, call = TAKERS[taker]
    refused(lambda: call(np.ones(shape)), name, error=(rv.ShapeMismatch, rv.InvalidArgument))


def test_integers_are_doubles():
    counts = np.arange(30).reshape(N, M) ** 2
    assert L.low_rank(counts, 1).U.dtype == np.float64
    adapter_ = L.initialize("lora-ga", gradient=counts % 7, rank=1)
    assert adapter_.A.dtype == np.float64
    assert_bits(adapter_.A, L.initialize("lora-ga", gradient=(counts % 7) * 1.0, rank=1).A)


# ---------------------------------------------------------------------------------------------
# Ranks.


@pytest.mark.parametrize("rank", [0, -1, -(2**40)])
def test_ranks_below_one(rank):
    refused(lambda: L.low_rank(W, rank), "rank", rank, "1", error=rv.InvalidArgument)
    for method in L.METHODS:
        refused(lambda m=method: start(m, rank), "rank", rank, error=rv.InvalidArgument)
    refused(lambda: L.compare(["lora"], W, G, rank), "rank", rank, error=rv.InvalidArgument)


@pytest.mark.parametrize("rank", [2.0, 1.5, "2", None, [2]])
def test_ranks_that_are_no_integers(rank):
    refused(lambda: L.low_rank(W, rank), "rank", "integer", repr(rank), error=rv.DtypeError)
    for method in L.METHODS:
        refused(lambda m=method: start(m, rank), "rank", "integer", error=rv.DtypeError)


@pytest.mark.parametrize("method", L.LOW_RANK_METHODS)
def test_ranks_above_the_matrix(method):
    for shape in ((3, 8), (8, 3)):
        refused(
            lambda shape=shape: L.low_rank(np.ones(shape), 4, method=method),
            "rank must be between 1 and min(n, m) = 3, got 4",
            error=rv.InvalidArgument,
        )


@pytest.mark.parametrize("method", HALF_THE_RANK)
def test_twice_the_rank_is_what_the_gradient_must_have(method):
    refused(
        lambda: start(method, 3),
        f"rank must be between 1 and min(n, m)/2 = 2 for {method}, which takes 2·rank singular "
        "directions of the gradient; got 3",
        error=rv.InvalidArgument,
    )
    assert start(method, 2).rank == 2


@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_ranks_above_the_weight(method):
    refused(lambda: start(method, M + 1), "rank", "5", "6", error=rv.InvalidArgument)
    assert start(method, M).rank == M


def test_orthogonal_takes_even_ranks():
    refused(lambda: start("orthogonal", 3), "rank", "even", "3", error=rv.InvalidArgument)


def test_integers_of_numpy():
    assert L.low_rank(W, np.int32(2)).sigma.shape == (2,)
    assert start(rank=np.int64(2)).rank == 2


# ---------------------------------------------------------------------------------------------
# low_rank's own.


def test_low_rank_method():
    refused(lambda: L.low_rank(W, 1, method="lanczos"), "method", "'lanczos'",
            *map(repr, L.LOW_RANK_METHODS), error=rv.InvalidArgument)  # fmt: skip
    refused(lambda: L.low_rank(W, 1, method=None), "method", error=rv.InvalidArgument)


@pytest.mark.parametrize(("name", "bad"), [("oversample", -1), ("iterations", 0), ("seed", -1)])
def test_numbers_too_small(name, bad):
    refused(lambda: L.low_rank(W, 1, **{name: bad}), name, bad, error=rv.InvalidArgument)


@pytest.mark.parametrize("name", ["oversample", "iterations", "seed"])
@pytest.mark.parametrize("bad", [1.5, "8"])
def test_numbers_that_are_no_integers(name, bad):
    refused(lambda: L.low_rank(W, 1, **{name: bad}), name, "integer", error=rv.DtypeError)


@pytest.mark.parametrize("bad", [0.0, -1e-3, np.nan, np.inf])
def test_tolerances(bad):
    refused(lambda: L.low_rank(W, 1, tolerance=bad), "tolerance", error=rv.InvalidArgument)


def test_tolerances_that_are_no_numbers():
    refused(lambda: L.low_rank(W, 1, tolerance="1e-3"), "tolerance", error=rv.DtypeError)


# ---------------------------------------------------------------------------------------------
# initialize's own.


def test_methods():
    refused(lambda: start("loraga"), "method", "'loraga'", *map(repr, L.METHODS),
            error=rv.InvalidArgument)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "valid"),
    [("directions", L.DIRECTIONS), ("scale", L.SCALES), ("scaling", ("lora", "rslora")),
     ("distribution", ("kaiming", "gaussian"))],
)  # fmt: skip
def test_names_list_the_valid_ones(name, valid):
    method = "lora" if name == "distribution" else "lora-ga"
    for bad in ("best", None, 3):
        refused(lambda bad=bad: start(method, **{name: bad}), name, repr(bad), *map(repr, valid),
                error=rv.InvalidArgument)  # fmt: skip


def test_adams_names():
    refused(lambda: start("lora-ga-adam", adam="sign"), "adam", "'sign'",
            *map(repr, L.ADAM_OPTIONS), error=rv.InvalidArgument)  # fmt: skip


def test_pefts_scale_is_not_taken_for_the_papers():
    """weight_svd is another formula than weightS."""
    refused(lambda: start(scale="weight_svd"), "scale", "'weight_svd'", error=rv.InvalidArgument)


@pytest.mark.parametrize("method", NEEDS_GRADIENT)
def test_the_gradient_is_missing(method):
    refused(lambda: start(method, gradient=None), method, "gradient", error=rv.InvalidArgument)


@pytest.mark.parametrize("method", NEEDS_WEIGHT)
def test_the_weight_is_missing(method):
    refused(lambda: start(method, weight=None), method, "weight", error=rv.InvalidArgument)
    refused(
        lambda: L.initialize(method, shape=(N, M), rank=2), method, "weight",
        error=rv.InvalidArgument,
    )  # fmt: skip


def test_the_weight_that_the_scale_reads_is_missing():
    refused(lambda: start(weight=None, scale="weight"), "weight", "scale",
            error=rv.InvalidArgument)  # fmt: skip


@pytest.mark.parametrize("method", NEEDS_SHAPE)
def test_nothing_says_the_shape(method):
    refused(lambda: L.initialize(method, rank=2), "shape", error=rv.InvalidArgument)


@pytest.mark.parametrize("method", L.METHODS)
def test_shapes_that_differ_are_both_printed(method):
    refused(lambda: start(method, gradient=G.T), "weight", "(6, 5)", "gradient", "(5, 6)",
            error=rv.ShapeMismatch)  # fmt: skip
    refused(lambda: start(method, shape=(N, 7)), "shape", "(6, 7)", "(6, 5)",
            error=rv.ShapeMismatch)  # fmt: skip


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 4), (4, -1), "ab", 7, (2.5, 3)])
def test_shapes_that_are_none(shape):
    refused(lambda: L.initialize("lora", shape=shape, rank=1), "shape")


@pytest.mark.parametrize("method", NEEDS_GRADIENT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_zero_gradient(method, dtype):
    for adam in L.ADAM_OPTIONS if method == "lora-ga-adam" else (None,):
        options = {} if adam is None else {"adam": adam}
        refused(
            lambda options=options: start(method, gradient=np.zeros((N, M), dtype), **options),
            "gradient is zero: it has no directions to align with",
            error=rv.InvalidArgument,
        )


@pytest.mark.parametrize("name", ["alpha", "gamma"])
@pytest.mark.parametrize("bad", [0.0, -2.0, np.nan, np.inf])
def test_numbers_that_are_not_positive(name, bad):
    refused(lambda: start(**{name: bad}), name, "positive", error=rv.InvalidArgument)


@pytest.mark.parametrize("name", ["alpha", "gamma"])
def test_numbers_that_are_none(name):
    refused(lambda: start(**{name: "16"}), name, "'16'", error=rv.DtypeError)
    refused(lambda: start(**{name: 2j}), name, error=rv.DtypeError)


@pytest.mark.parametrize("bad", [-1, 1.5, "0"])
def test_seeds(bad):
    refused(lambda: start("lora", seed=bad), "seed", error=(rv.InvalidArgument, rv.DtypeError))


# ---------------------------------------------------------------------------------------------
# Adapters.


def test_factors_that_do_not_fit():
    refused(lambda: L.Adapter(np.ones((4, 2)), np.ones((3, 5))), "A", "(4, 2)", "B", "(3, 5)",
            error=rv.ShapeMismatch)  # fmt: skip
    refused(lambda: L.Factored(np.ones((4, 2)), np.ones((3, 5))), "left", "(4, 2)", "right",
            "(3, 5)", error=rv.ShapeMismatch)  # fmt: skip


def test_what_belongs_to_an_adapter_has_its_shape():
    A, B = np.ones((4, 2)), np.ones((2, 5))
    refused(lambda: L.Adapter(A, B, importance=np.ones(3)), "importance", "(3,)", "(2,)",
            error=rv.ShapeMismatch)  # fmt: skip
    refused(lambda: L.Adapter(A, B, magnitude=np.ones(4)), "magnitude", "(4,)", "(5,)",
            error=rv.ShapeMismatch)  # fmt: skip
    offset = L.Factored(np.ones((3, 1)), np.ones((1, 5)))
    refused(lambda: L.Adapter(A, B, offset=offset), "offset", "(3, 5)", "(4, 5)",
            error=rv.ShapeMismatch)  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_s_is_finite(bad):
    refused(lambda: L.Adapter(np.ones((4, 2)), np.ones((2, 5)), bad), "s", error=rv.InvalidArgument)


@pytest.mark.parametrize("name", ["frozen", "merged", "gradients", "first_update"])
def test_other_shapes_than_the_adapters(name):
    refused(lambda: getattr(adapter(), name)(W.T), "(5, 6)", "(6, 5)", error=rv.ShapeMismatch)


@pytest.mark.parametrize("name", ["gradients", "first_update"])
def test_dora_needs_the_weight(name):
    refused(lambda: getattr(start("dora"), name)(G), "weight", "DoRA", error=rv.InvalidArgument)
    refused(lambda: L.alignment(G, start("dora")), "weight", error=rv.InvalidArgument)


def test_dora_has_no_direction_for_a_column_of_zeros():
    weight = W.copy()
    weight[:, 3] = 0
    refused(lambda: start("dora", weight=weight), "weight", "column", "3", "zero",
            error=rv.InvalidArgument)  # fmt: skip


def test_parameters_that_are_not_there():
    refused(lambda: adapter().replace(C=np.ones(2)), "C", error=rv.InvalidArgument)
    refused(lambda: adapter().replace(importance=np.ones(2)), "importance",
            error=rv.InvalidArgument)  # fmt: skip
    refused(lambda: adapter().replace(A=np.ones((N, 3))), "A", "(6, 3)", error=rv.ShapeMismatch)


@pytest.mark.parametrize("call", [
    lambda optimizer: adapter().first_update(G, optimizer),
    lambda optimizer: L.alignment(G, adapter(), optimizer=optimizer),
    lambda optimizer: L.compare(["lora"], W, G, 2, optimizer=optimizer),
])  # fmt: skip
def test_optimizers(call):
    for bad in ("adamw", "SGD", None):
        refused(lambda bad=bad: call(bad), "optimizer", repr(bad), "'sgd'", "'adam'",
                error=rv.InvalidArgument)  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_learning_rates(bad):
    refused(lambda: adapter().first_update(G, learning_rate=bad), "learning_rate",
            error=rv.InvalidArgument)  # fmt: skip
    refused(lambda: adapter().first_update(G, learning_rate="1e-3"), "learning_rate",
            error=rv.DtypeError)  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Cards.


def test_a_zero_gradient_has_no_card():
    for optimizer in ("sgd", "adam"):
        refused(lambda o=optimizer: L.alignment(np.zeros((N, M)), adapter(), optimizer=o),
                "G is zero", error=rv.InvalidArgument)  # fmt: skip


def test_what_is_no_adapter():
    for bad in (None, "lora", (np.ones((N, 1)), np.ones((1, M)))):
        with pytest.raises((TypeError, rv.ResolventError), match="adapter"):
            L.alignment(G, bad)


@pytest.mark.parametrize("factor", ["A", "B"])
def test_an_adapter_that_diverged_has_no_card(factor):
    value = getattr(adapter(), factor).copy()
    value[1, 0] = np.nan
    refused(lambda: L.alignment(G, adapter().replace(**{factor: value})), factor, "finite",
            error=rv.InvalidArgument)  # fmt: skip


def test_shapes_of_cards():
    refused(lambda: L.alignment(G.T, adapter()), "G", "(5, 6)", "(6, 5)", error=rv.ShapeMismatch)
    refused(lambda: L.alignment(G, adapter(), weight=W.T), "weight", "(5, 6)", "(6, 5)",
            error=rv.ShapeMismatch)  # fmt: skip


def test_tables():
    refused(lambda: L.compare(["lora", "best"], W, G, 2), "'best'", *map(repr, L.METHODS),
            error=rv.InvalidArgument)  # fmt: skip
    refused(lambda: L.compare([], W, G, 2), "methods", error=rv.InvalidArgument)
    refused(lambda: L.compare({"mine": {"gamma": 4.0}}, W, G, 2), "mine", "method",
            error=rv.InvalidArgument)  # fmt: skip
    refused(lambda: L.compare({"mine": 3.0}, W, G, 2), "mine",
            error=(rv.InvalidArgument, rv.DtypeError))  # fmt: skip
    refused(lambda: L.compare(["lora"], W, G.T, 2), "(6, 5)", "(5, 6)", error=rv.ShapeMismatch)


# ---------------------------------------------------------------------------------------------
# Interruption.

DELAY, PATIENCE = 0.3, 5.0  # seconds: after which Ctrl-C comes, and within which it must be heard

INTERRUPTIBLE = {
    "block-krylov": "rv.lora.low_rank(M, 300, iterations=1000, tolerance=1e-13)",
    "subspace": 'rv.lora.low_rank(M, 300, method="subspace", iterations=10**6)',
    "minimise": 'rv.lora.initialize("lora-ga-adam", gradient=M, rank=32, adam="minimise")',
}


@pytest.mark.parametrize("name", INTERRUPTIBLE)
def test_ctrl_c_stops_a_long_computation(name):
    """A single call of many seconds is left soon."""
    printed = printed_by_a_stopped_call(
        """
        M = np.random.default_rng(0).standard_normal((2500, 2500))
        """,
        INTERRUPTIBLE[name],
        delay=DELAY,
        patience=PATIENCE,
    )
    assert printed == "stopped True\n"
