"""The stack of attention layers: values, generation, and what it costs, counted elsewhere."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from attention_support import ROUTES, assert_bits, assert_within, eps_of
from interruption import printed_by_a_stopped_call
from ssm_support import refused

import resolvent as rv
from oracles import attention as oracle

Stack, cost = rv.attention.Stack, rv.attention.cost

#: In eps, times depth and width, relative to the largest number: a layer's products are sums of d
#: terms, and its softmax has logits of size 1, which it multiplies an error by.
STACK = 2.0

TEXT = np.frombuffer(b"a recurrence over keys, run once for every query", np.uint8)
OPERATIONS = ("multiplications", "additions", "divisions", "exponentials", "roots")

routes = pytest.mark.parametrize("route", ROUTES)


def length_for(route, depth):
    """Recomputation is quick for short texts only."""
    return {1: 48, 2: 24, 3: 12, 4: 8}[depth] if route == "recompute" else 48


def by_name(figures):
    return {name: getattr(figures, name) for name in OPERATIONS}


# ---------------------------------------------------------------------------------------------
# Values.


@pytest.mark.parametrize(("layers", "heads", "d"), [(1, 1, 1), (1, 2, 6), (2, 1, 8), (3, 4, 16)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@routes
def test_routes_are_the_definition(route, dtype, layers, heads, d):
    stack = Stack(layers, heads, d, seed=3, dtype=dtype)
    tokens = TEXT[: length_for(route, layers)]
    expected = oracle.stack_output(tokens, stack.weights, heads, stack.epsilon)
    found = stack.forward(tokens, route=route)
    assert found.dtype == dtype
    bound = STACK * eps_of(dtype) * layers * (d + len(tokens)) * np.abs(expected).max()
    assert_within(found, expected, bound)


def test_the_oracles_agree():
    """Lists of counted numbers, stored or recomputed, and arrays."""
    stack = Stack(2, 2, 4, vocabulary=5)
    tokens = [3, 0, 4, 1, 1, 2]
    expected = oracle.stack_output(tokens, stack.weights, 2, stack.epsilon)
    for run in ("cached", "recomputed"):
        numbers = oracle.Transformer(stack.weights, 2, stack.epsilon)
        found = [[x.value for x in row] for row in getattr(numbers, run)(tokens)]
        assert_within(found, expected, STACK * eps_of(float) * 8 * np.abs(expected).max())


@routes
def test_what_comes_later_changes_nothing(route):
    stack = Stack(2, 2, 8)
    tokens = TEXT[:20]
    other = np.concatenate([tokens[:9], tokens[:11]])
    one, two = (stack.forward(t, route=route)[:9] for t in (tokens, other))
    assert_within(one, two, STACK * eps_of(float) * 16 * np.abs(one).max())


def test_logits_are_the_read_out():
    stack = Stack(2, 1, 8, vocabulary=30)
    tokens = np.arange(12) * 7 % 30
    x = oracle.stack_output(tokens, stack.weights, 1, stack.epsilon)
    expected = x @ stack.weights["readout"]
    for route in ROUTES:
        found = stack.logits(tokens, route=route)
        assert found.shape == (12, 30)
        assert_within(found, expected, STACK * eps_of(float) * 16 * 8 * np.abs(expected).max())


def greedy(stack, prompt, steps):
    """The continuation by whole passes of the oracle, and the smallest lead of a winner."""
    tokens, lead = list(map(int, prompt)), np.inf
    for _ in range(steps):
        x = oracle.stack_output(tokens, stack.weights, stack.heads, stack.epsilon)[-1]
        logits = x @ stack.weights["readout"]
        second, first = np.sort(logits)[-2:]
        lead = min(lead, (first - second) / np.abs(logits).max())
        tokens.append(int(np.argmax(logits)))
    return tokens[len(prompt) :], lead


@pytest.mark.parametrize("route", ["cached", "recompute"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_generation_is_greedy(route, dtype):
    stack = Stack(2, 2, 8, vocabulary=50, seed=1, dtype=dtype)
    prompt = np.array([3, 1, 4, 1, 5])
    expected, lead = greedy(stack, prompt, 10)
    assert lead > STACK * eps_of(dtype) * 16 * 8, "the winners are too close to tell"
    found = stack.generate(prompt, 10, route=route)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize("route", ["cached", "recompute"])
def test_generation_goes_on(route):
    """In two pieces it is what it is in one; of no step nothing comes."""
    stack = Stack(2, 1, 8)
    whole = stack.generate(TEXT[:6], 8, route=route)
    first = stack.generate(TEXT[:6], 3, route=route)
    rest = stack.generate(np.concatenate([TEXT[:6], first]), 5, route=route)
    assert np.concatenate([first, rest]).tolist() == whole.tolist()
    nothing = stack.generate(TEXT[:6], 0, route=route)
    assert (nothing.shape, nothing.dtype) == ((0,), np.int64)


def test_cached_is_what_generates_unless_asked_otherwise():
    stack = Stack(1, 1, 8)
    assert_bits(stack.generate(TEXT[:4], 6), stack.generate(TEXT[:4], 6, route="cached"))
    assert_bits(stack.forward(TEXT), stack.forward(TEXT, route="streaming"))


@routes
def test_one_token_and_none(route):
    stack = Stack(2, 2, 8)
    one = stack.forward([7], route=route)
    expected = oracle.stack_output([7], stack.weights, 2, stack.epsilon)
    assert_within(one, expected, STACK * eps_of(float) * 16 * np.abs(expected).max())
    assert stack.forward(np.zeros(0, int), route=route).shape == (0, 8)
    assert stack.logits(np.zeros(0, int), route=route).shape == (0, 256)


@routes
def test_equal_tokens_give_equal_rows(route):
    """There is no position: attention over equal keys is their value."""
    x = Stack(2, 2, 8).forward([5] * 10, route=route)
    assert_within(x, np.broadcast_to(x[0], x.shape), STACK * eps_of(float) * 36 * np.abs(x).max())


@routes
def test_the_past_is_a_set(route):
    """The last row of a single layer does not know the order of what came before."""
    stack = Stack(1, 2, 8)
    tokens = TEXT[:30]
    shuffled = np.concatenate([np.random.default_rng(0).permutation(tokens[:-1]), tokens[-1:]])
    one, two = (stack.forward(t, route=route)[-1] for t in (tokens, shuffled))
    assert_within(one, two, STACK * eps_of(float) * 38 * np.abs(one).max())


# ---------------------------------------------------------------------------------------------
# Weights.


def test_seeds_make_the_weights():
    one, two, other = (Stack(2, 2, 8, seed=seed) for seed in (5, 5, 6))
    assert set(one.weights) == {"embedding", "query", "key", "value", "output", "readout"}
    for name, w in one.weights.items():
        assert_bits(w, two.weights[name])
        assert not np.array_equal(w, other.weights[name])
        assert not w.flags.writeable
    assert_bits(one.forward(TEXT), two.forward(TEXT))


def test_the_weights_are_normal():
    """Means within 5 standard errors, variances too; those of matrices are 1/d."""
    d = 32
    for name, w in Stack(4, 2, d).weights.items():
        variance = 1.0 if name == "embedding" else 1.0 / d
        assert abs(w.mean()) < 5 * math.sqrt(variance / w.size), name
        assert abs(w.var() / variance - 1) < 5 * math.sqrt(2 / w.size), name


def test_shapes_and_types_of_weights():
    stack = Stack(3, 2, 8, vocabulary=11, dtype=np.float32)
    assert stack.weights["embedding"].shape == (11, 8)
    assert stack.weights["readout"].shape == (8, 11)
    for name in ("query", "key", "value", "output"):
        assert stack.weights[name].shape == (3, 8, 8)
    assert {w.dtype for w in stack.weights.values()} == {np.dtype(np.float32)}
    wide = Stack(3, 2, 8, vocabulary=11)
    for name, w in stack.weights.items():
        assert_within(w, wide.weights[name], eps_of(np.float32) * np.abs(wide.weights[name]))


# ---------------------------------------------------------------------------------------------
# Costs.

SHAPES = [(0, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 4), (5, 2, 2, 4), (7, 2, 1, 6), (6, 3, 3, 6),
          (17, 1, 2, 8), (9, 3, 1, 2), (33, 1, 4, 4)]  # fmt: skip


@pytest.mark.parametrize(("length", "depth", "heads", "d"), SHAPES)
@routes
def test_the_closed_form_is_what_is_counted(route, length, depth, heads, d):
    stack = Stack(depth, heads, d)
    counted = stack.count(length, route)
    assert counted == cost(route, length, depth, heads=heads, d=d)
    assert counted.operations == sum(by_name(counted).values())


@pytest.mark.parametrize(("route", "run"), [("cached", "cached"), ("recompute", "recomputed")])
@pytest.mark.parametrize(("length", "depth", "heads", "d"), [s for s in SHAPES if s[0] < 9])
def test_somebody_else_counts_the_same(route, run, length, depth, heads, d):
    """The oracle's numbers, whose code is another."""
    stack = Stack(depth, heads, d)
    numbers = oracle.Transformer(stack.weights, heads, stack.epsilon)
    getattr(numbers, run)([0] * length)
    assert numbers.tally == by_name(cost(route, length, depth, heads=heads, d=d))


def by_hand(route, length, depth, heads, d):
    """Per position: a norm, four projections, the residual; per key: a product, a weighted sum.

    The recurrence scales the query instead of every logit, and pays per key a second exponential,
    its difference, and the rescaling of denominators and numerators.
    """
    keys = length * (length + 1) // 2
    products = length**2 if route == "full" else keys
    step = route == "streaming"
    return {
        "multiplications": depth * (length * (4 * d * d + 3 * d + step * d)
                                    + products * 2 * d + keys * (heads + step * d)),
        "additions": depth * (length * (4 * d * d + 2 * d + 1) + products * 2 * d
                              + keys * (2 + step) * heads),
        "divisions": depth * length * (2 + heads),
        "exponentials": depth * keys * heads * (1 + step),
        "roots": depth * length,
    }  # fmt: skip


@pytest.mark.parametrize(("length", "depth", "heads", "d"), [*SHAPES, (1000, 5, 8, 64)])
@pytest.mark.parametrize("route", ["full", "cached", "streaming"])
def test_costs_by_hand(route, length, depth, heads, d):
    expected = by_hand(route, length, depth, heads, d)
    assert by_name(cost(route, length, depth, heads=heads, d=d)) == expected


def recomputed_by_hand(length, depth, heads, d):
    """T_l(t) = Σ_{i≤t} (T_{l−1}(i) + key) + query, summed up over all t by the recurrence itself.

    A key has a norm, two projections and a step of the inner recurrence; a query a norm, two
    projections, its scale, the division and the residual.
    """
    key = {"multiplications": 2 * d * d + 5 * d + heads, "additions": 2 * d * d + 3 * d + 1
           + 3 * heads, "divisions": 2, "exponentials": 2 * heads, "roots": 1}  # fmt: skip
    query = {"multiplications": 2 * d * d + 4 * d, "additions": 2 * d * d + 2 * d + 1,
             "divisions": 2 + heads, "exponentials": 0, "roots": 1}  # fmt: skip
    totals = {}
    for name in OPERATIONS:
        work = [0] * length
        for _ in range(depth):
            below, work = work, []
            for t in range(length):
                work.append(sum(below[: t + 1]) + (t + 1) * key[name] + query[name])
        totals[name] = sum(work)
    return totals


@pytest.mark.parametrize(("length", "depth", "heads", "d"), [*SHAPES, (100, 4, 2, 16)])
def test_costs_of_recomputation_by_its_recurrence(length, depth, heads, d):
    expected = recomputed_by_hand(length, depth, heads, d)
    assert by_name(cost("recompute", length, depth, heads=heads, d=d)) == expected


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_recomputation_grows_as_a_power_of_the_length(depth):
    """A polynomial in L with the leading term c L^{D+1}/(D+1)!, c the same at every depth: exactly.

    c is the work of a key that reads the tokens, once the queries between are forgotten.
    """
    operations = [cost("recompute", n, depth, heads=2, d=8).operations for n in range(depth + 8)]
    differences = np.array(operations, dtype=object)
    for _ in range(depth + 1):
        differences = differences[1:] - differences[:-1]
    first = [cost("recompute", n, 1, heads=2, d=8).operations for n in range(3)]
    c = first[2] - 2 * first[1] + first[0]
    assert set(differences) == {c}
    assert c == 4 * 8**2 + 8 * 8 + 6 * 2 + 4  # 2d² and 2d² products, 8d, 6 per head, 4
    ratios = [
        cost("recompute", n, depth, heads=2, d=8).operations * math.factorial(depth + 1)
        / (c * n ** (depth + 1))
        for n in (10, 100, 1000, 10000)
    ]  # fmt: skip
    assert all(abs(b - 1) < abs(a - 1) for a, b in pairwise(ratios))
    assert abs(ratios[-1] - 1) < 4 * (depth + 1) ** 2 / 10000


@pytest.mark.parametrize("route", ["full", "cached", "streaming"])
def test_the_other_routes_are_quadratic_and_linear_in_depth(route):
    for depth in (1, 3):
        operations = np.array([cost(route, n, depth, d=8).operations for n in range(8)])
        assert not np.diff(operations, 3).any()
        assert np.diff(operations, 2).all()
    deep, flat = (cost(route, 9, depth, d=8).operations for depth in (6, 1))
    assert deep == 6 * flat


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize(("depth", "heads", "d"), [(1, 1, 4), (2, 2, 8), (4, 1, 16)])
def test_bytes(depth, heads, d, itemsize):
    """Constant for recomputation; 2Dd numbers a token for the cache, and a row of weights."""

    def peak(route, length):
        figures = cost(route, length, depth, heads=heads, d=d, itemsize=itemsize)
        return figures.peak_bytes // itemsize

    assert len({peak("recompute", n) for n in (1, 10, 10**3, 10**6)}) == 1
    assert peak("recompute", 1) <= depth * (8 * d + 4 * heads)
    assert {peak("cached", n + 1) - peak("cached", n) for n in (1, 2, 500)} == {2 * depth * d + 1}
    assert {peak("streaming", n + 1) - peak("streaming", n) for n in (1, 50)} == {4 * d}
    assert {peak("full", n + 1) - peak("full", n) - 2 * n for n in (1, 2, 50)} == {4 * d + 1}
    half, whole = (cost("cached", 9, depth, heads=heads, d=d, itemsize=i) for i in (4, 8))
    assert 2 * half.peak_bytes == whole.peak_bytes
    assert half.operations == whole.operations


def test_huge_lengths_are_exact_integers():
    found = cost("recompute", 10**6, 6, d=64)
    assert isinstance(found.operations, int)
    assert found.operations > 2**100
    assert found.roots == sum(
        math.comb(10**6 + j, j + 1) + math.comb(10**6 + j + 1, j + 2) for j in range(6)
    )


def test_a_cost_is_frozen_and_shows_itself():
    found = cost("cached", 10, 2, d=8)
    assert len(repr(found)) < 100
    assert f"{found.operations:,}" in repr(found)
    with pytest.raises(AttributeError):
        found.roots = 3
    assert found == cost("cached", 10, 2, d=8)
    assert hash(found) == hash(cost("cached", 10, 2, d=8))


# ---------------------------------------------------------------------------------------------
# Bad input.


@pytest.mark.parametrize("name", ["layers", "heads", "d", "vocabulary"])
def test_counts_of_a_stack(name):
    good = {"layers": 2, "heads": 1, "d": 4, "vocabulary": 9}
    for bad in (0, -1):
        refused(lambda bad=bad: Stack(**good | {name: bad}), name, bad, error=rv.InvalidArgument)
    for bad in (1.5, "2", None):
        refused(lambda bad=bad: Stack(**good | {name: bad}), name, "integer", error=rv.DtypeError)


def test_heads_divide_d():
    refused(lambda: Stack(1, 3, 8), "heads", "3", "d", "8", error=rv.InvalidArgument)
    refused(lambda: cost("full", 5, 1, heads=3, d=8), "heads", "3", "8", error=rv.InvalidArgument)


def test_types_and_seeds_of_a_stack():
    for bad in (np.float16, np.int64, np.complex128, "text"):
        refused(lambda bad=bad: Stack(1, 1, 4, dtype=bad), "dtype", error=rv.DtypeError)
    refused(lambda: Stack(1, 1, 4, seed=-1), "seed", error=rv.InvalidArgument)
    refused(lambda: Stack(1, 1, 4, seed=1.5), "seed", error=rv.DtypeError)


#: What takes tokens, by a stack of a vocabulary of 9.
TAKERS = {
    "forward": lambda stack, x: stack.forward(x),
    "logits": lambda stack, x: stack.logits(x),
    "generate": lambda stack, x: stack.generate(x, 2),
}


@pytest.mark.parametrize("taker", TAKERS)
def test_tokens(taker):
    stack = Stack(1, 1, 4, vocabulary=9)
    name = "prompt" if taker == "generate" else "tokens"

    def call(x):
        return lambda: TAKERS[taker](stack, x)

    refused(call([0, 3, 9, 12]), f"{name}[2] = 9", "9", error=rv.InvalidArgument)
    refused(call([0, -1]), f"{name}[1] = -1", error=rv.InvalidArgument)
    refused(call([[0, 1]]), name, "(1, 2)", error=rv.ShapeMismatch)
    refused(call(3), name, "()", error=rv.ShapeMismatch)
    for bad in ([0.5, 1.0], np.array([1.0, 2.0]), "text", [None], np.array([True, False])):
        refused(call(bad), name, error=rv.DtypeError)
    refused(call(np.array([2**63], np.uint64)), name, error=rv.InvalidArgument)
    plain = TAKERS[taker](stack, [1, 2, 3])
    for kind in (np.uint8, np.int16, np.uint64):
        assert_bits(TAKERS[taker](stack, np.array([1, 2, 3], kind)), plain)


def test_generation_needs_a_token_and_steps():
    stack = Stack(1, 1, 4)
    refused(lambda: stack.generate(np.zeros(0, int), 3), "prompt", error=rv.InvalidArgument)
    refused(lambda: stack.generate([1], -1), "steps", "-1", error=rv.InvalidArgument)
    refused(lambda: stack.generate([1], 1.5), "steps", "integer", error=rv.DtypeError)
    refused(lambda: stack.generate([1], 2, route="full"), "route", "'full'", "'cached'",
            "'recompute'", error=rv.InvalidArgument)  # fmt: skip


def test_routes_list_the_valid_ones():
    stack = Stack(1, 1, 4)
    for call in (
        lambda: stack.forward([1], route="fast"),
        lambda: stack.logits([1], route="fast"),
        lambda: stack.count(3, "fast"),
        lambda: cost("fast", 3, 1),
    ):
        refused(call, "route", "'fast'", *map(repr, ROUTES), error=rv.InvalidArgument)


def test_numbers_of_a_cost():
    good = {"length": 3, "depth": 1, "heads": 1, "d": 4, "itemsize": 8}
    for name in good:
        least = 0 if name == "length" else 1
        for bad in (least - 1, -5):
            refused(lambda name=name, bad=bad: cost("full", **good | {name: bad}), name, bad,
                    error=rv.InvalidArgument)  # fmt: skip
        refused(lambda name=name: cost("full", **good | {name: 2.5}), name, "integer",
                error=rv.DtypeError)  # fmt: skip
    refused(lambda: Stack(1, 1, 4).count(-1, "full"), "length", "-1", error=rv.InvalidArgument)


def test_ctrl_c_ends_a_recomputation():
    setup = "stack = rv.attention.Stack(4, 1, 16)"
    call = "stack.generate(np.zeros(400, int), 1, route='recompute')"
    assert printed_by_a_stopped_call(setup, call, delay=0.1, patience=2.0) == "stopped True\n"
