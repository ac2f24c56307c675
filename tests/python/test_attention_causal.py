"""Causal attention: four routes against the definition, maps, masks, axes, memory, threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from attention_support import ATTENTION, EPS, ROUTES, assert_bits, assert_within, eps_of
from interruption import printed_by_a_stopped_call
from ssm_support import refused

import resolvent as rv
from oracles import attention as oracle
from oracles import exact
from oracles import probmap as rows

causal = rv.attention.causal

#: Around what a tile may hold.
LENGTHS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 257)
STREAMING = ("streaming", "recompute")

routes = pytest.mark.parametrize("route", ROUTES)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def sequences(length, d=8, e=None, batch=(), *, seed=0, dtype=np.float64, size=1.0):
    rng = np.random.default_rng([seed, length, d])
    q, k = size * rng.standard_normal((2, *batch, length, d))
    v = rng.standard_normal((*batch, length, d if e is None else e))
    return q.astype(dtype), k.astype(dtype), v.astype(dtype)


def bound(q, k, v, dtype=np.float64, **options):
    """ATTENTION times what rounding does to first order, and what underflows."""
    info = np.finfo(dtype)
    floor = q.shape[-2] * float(info.tiny) * np.abs(v).max(initial=0)
    return ATTENTION * float(info.eps) * oracle.causal_error(q, k, v, **options) + floor


def assert_attention(q, k, v, dtype=np.float64, routes=ROUTES, options=(), **shared):
    """Every route within the bound, from one run of the oracle; `options` are the library's."""
    expected, allowed = oracle.causal(q, k, v, **shared), bound(q, k, v, dtype, **shared)
    for route in routes:
        found = causal(q, k, v, route=route, **shared, **dict(options))
        assert found.dtype == dtype
        assert_within(found, expected, allowed, route)


# ---------------------------------------------------------------------------------------------
# Softmax.


@dtypes
@pytest.mark.parametrize("length", LENGTHS)
def test_routes_are_the_definition(length, dtype):
    assert_attention(*sequences(length, dtype=dtype), dtype)


@pytest.mark.parametrize(("d", "e"), [(1, 1), (1, 7), (7, 1), (3, 5), (8, 17), (33, 16), (64, 65)])
@dtypes
def test_widths(dtype, d, e):
    assert_attention(*sequences(70, d, e, dtype=dtype), dtype)


@pytest.mark.parametrize("scale", [0.25, 0.0, -2.0, 3])
def test_scales(scale):
    """Of 0 the running mean."""
    q, k, v = sequences(40)
    assert_attention(q, k, v, scale=scale)
    if scale == 0.0:
        mean = v.cumsum(axis=0) / np.arange(1, 41)[:, None]
        assert_within(causal(q, k, v, scale=0.0), mean, bound(q, k, v, scale=0.0))


def test_streaming_is_the_default():
    q, k, v = sequences(100)
    assert_bits(causal(q, k, v), causal(q, k, v, route="streaming"))


@pytest.mark.parametrize("top", [700.0, -700.0, 1e4, -1e4])
@dtypes
def test_huge_logits(dtype, top):
    """Whose exponentials no type holds; q·k of powers of two are exact, the weights are not."""
    rng = np.random.default_rng(0)
    k = np.stack([np.full(40, 8.0), rng.integers(-64, 65, 40) / 8.0], axis=1).astype(dtype)
    q = np.stack([np.full(40, top / 8), np.ones(40)], axis=1).astype(dtype)
    v = rng.standard_normal((40, 3)).astype(dtype)
    with mp.workdps(exact.DIGITS):
        expected = exact.to_float(oracle.causal(*(exact.to_mp(x) for x in (q, k, v))))
    # x - max is off by as much as the logit itself, not by d times that: dot products are exact.
    allowed = ATTENTION * eps_of(dtype) * (40 + abs(top) + 8) * np.abs(v).max()
    for route in ROUTES:
        assert_within(causal(q, k, v, route=route), expected, allowed, route)


@pytest.mark.parametrize("order", ["rising", "falling", "peak"])
@dtypes
def test_logits_that_rise_and_fall_by_thousands(dtype, order):
    """The running maximum is replaced at every key, or never."""
    logits = np.linspace(-3000.0, 3000.0, 150).round()
    logits = {"rising": logits, "falling": logits[::-1], "peak": -np.abs(logits)}[order]
    k, q = logits[:, None].astype(dtype), np.ones((150, 1), dtype)
    v = np.random.default_rng(0).standard_normal((150, 4)).astype(dtype)
    assert_attention(q, k, v, dtype)


@routes
def test_weights_from_one_to_the_smallest(route):
    """Values that make up for e^-600: the sum is that of terms of one size."""
    k = np.array([0.0, -200.0, -400.0, -600.0])[:, None]
    v = np.exp(-k)
    found = causal(np.ones_like(k), k, v, route=route)
    assert_within(found[:, 0], [1.0, 2.0, 3.0, 4.0], ATTENTION * EPS * 600 * 4)


@routes
def test_a_shift_of_all_keys_changes_nothing(route):
    """q_t·c is the same for all keys: softmax does not see it."""
    q, k, v = sequences(50)
    c = np.random.default_rng(1).standard_normal(8)
    found = causal(q, k + c, v, route=route)
    assert_within(found, causal(q, k, v, route=route), 2 * bound(q, np.abs(k) + np.abs(c), v))


@routes
def test_equal_keys_give_the_running_mean(route):
    q, _, v = sequences(130)
    found = causal(q, np.ones_like(q), v, route=route)
    mean = v.cumsum(axis=0) / np.arange(1, 131)[:, None]
    assert_within(found, mean, bound(q, np.ones_like(q), v))


@routes
def test_causality_to_the_bit(route):
    q, k, v = sequences(100)
    y = causal(q, k, v, route=route)
    for split in (1, 16, 50, 64, 99):
        other = [x.copy() for x in (q, k, v)]
        for x in other:
            x[split:] = 1e3 * x[split:][::-1]
        found = causal(*other, route=route)[:split]
        if route == "full":  # a matrix product may add the zeros of what is masked
            assert_within(found, y[:split], bound(q, k, v)[:split])
        else:
            assert_bits(np.ascontiguousarray(found), np.ascontiguousarray(y[:split]))


# ---------------------------------------------------------------------------------------------
# Other maps.

#: Exact logits: everything is a multiple of 1/4, and so is no rounding in q·k.
SMALL = tuple(np.random.default_rng(3).integers(-6, 7, (9, width)) / 4.0 for width in (2, 2, 3))
#: By the name of a map: its parameters, and what its weights may be off by besides eps.
MAPS = {
    "softmax": [{}, {"temperature": 0.5}],
    "taylor_softmax": [{}, {"order": 4}, {"temperature": 2.0}],
    "normalize": [{"f": "square"}, {"f": "sigmoid"}, {"f": "softplus", "temperature": 0.5}],
    "sparse_softmax": [{"k": 2}, {"p": 0.7}],
    "sparsemax": [{}, {"temperature": 2.0}],
    "entmax": [{}, {"alpha": 1.25}],
    "normmax": [{}, {"alpha": 3.0}],
    "budget": [{}],
    "margin_softmax": [{"target": 0}],
}
CASES = [(name, parameters) for name, choices in MAPS.items() for parameters in choices]
FOLDS = ("softmax", "taylor_softmax", "normalize")

#: In eps, times the number of terms and the largest logit: thresholds are found from their sum.
MAP = 4.0


def row_map(name, parameters):
    return lambda x: getattr(rows, name)(x, **parameters)


@pytest.mark.parametrize(("name", "parameters"), CASES, ids=str)
def test_maps(name, parameters):
    q, k, v = SMALL
    bound_map = getattr(rv.probmap, name)(**parameters)
    expected = oracle.causal_map(q, k, v, row_map(name, parameters), scale=0.5)
    largest = 0.5 * np.abs(q @ k.T).max() / parameters.get("temperature", 1.0)
    allowed = MAP * EPS * len(q) * (1 + largest) * np.abs(v).max()
    for route in ROUTES if name in FOLDS else ("full", "cached"):
        found = causal(q, k, v, route=route, map=bound_map, scale=0.5)
        assert_within(found, expected, allowed, route)


@pytest.mark.parametrize("route", ["full", "cached"])
def test_the_expected_maximum_of_noise(route):
    q, k, v = SMALL
    found = causal(q[:4], k[:4], v[:4], route=route, map=rv.probmap.perturb_max(noise="normal"))
    for t in range(4):
        p = rv.probmap.perturb_max(k[: t + 1] @ q[t], noise="normal")
        # The quadrature of a row stops at the same error whatever stands beside it.
        assert_within(found[t], p @ v[: t + 1], np.sqrt(EPS) * np.abs(v).max())


@pytest.mark.parametrize("name", FOLDS)
def test_maps_without_parameters(name):
    """The function itself, its name, and the map bound to nothing."""
    q, k, v = SMALL
    one, *others = (
        causal(q, k, v, route=route, map=m)
        for route in ("streaming",)
        for m in (getattr(rv.probmap, name)(), getattr(rv.probmap, name), name)
    )
    for other in others:
        assert_bits(other, one)


def test_softmax_is_the_map_that_is_the_default():
    q, k, v = sequences(80)
    for route in ROUTES:
        found = causal(q, k, v, route=route, map=rv.probmap.softmax)
        assert_within(found, causal(q, k, v, route=route), 2 * bound(q, k, v))


@pytest.mark.parametrize("route", STREAMING)
@pytest.mark.parametrize("name", [name for name in MAPS if name not in FOLDS])
def test_maps_that_cannot_stream_say_why(route, name):
    bound_map = getattr(rv.probmap, name)(**MAPS[name][0])
    assert not rv.attention.streams(bound_map)
    refused(lambda: causal(*SMALL, route=route, map=bound_map), f"route={route!r}", name,
            "f(x_i)/Σf(x_j)", "'full'", "'cached'", error=rv.InvalidArgument)  # fmt: skip


def test_streams():
    for name in rv.probmap.MAPS:
        streams = rv.attention.streams(name)
        assert isinstance(streams, bool)
        assert streams == (name in FOLDS)
        assert rv.attention.streams(getattr(rv.probmap, name)) == streams
    assert rv.attention.streams(rv.probmap.taylor_softmax(order=4))
    refused(lambda: rv.attention.streams("argmax"), "map", "'argmax'", "'softmax'",
            error=rv.InvalidArgument)  # fmt: skip


@dtypes
@pytest.mark.parametrize("name", FOLDS)
def test_maps_stream_at_any_length(name, dtype):
    """Positive f: no weight cancels, and the sums are as exact as softmax's."""
    parameters = {"normalize": {"f": "softplus"}}.get(name, {})
    q, k, v = sequences(140, dtype=dtype)
    one, *others = (
        causal(q, k, v, route=route, map=getattr(rv.probmap, name)(**parameters), scale=0.3)
        for route in ROUTES
    )
    factor = {"softmax": 1, "taylor_softmax": 4, "normalize": 4}[name]
    x = 0.3 * np.abs(q) @ np.abs(k).T
    allowed = factor * ATTENTION * eps_of(dtype) * (140 + 10 * x.max()) * np.abs(v).max()
    for other in others:
        assert_within(other, one, allowed)


@pytest.mark.parametrize("name", ["taylor_softmax", "normalize"])
@routes
def test_functions_that_overflow_where_the_weights_do_not(route, name):
    """Squares of 1e200: the weights of a row are ratios, in running sums too."""
    k = np.array([1e200, 2e200, -1e200])[:, None]
    v = np.array([1.0, 2.0, 3.0])[:, None]
    inputs = np.ones((3, 1)), k, v
    found = causal(*inputs, route=route, map=name)
    expected = [1.0, 9 / 5, 12 / 6]
    assert_within(found[:, 0], expected, MAP * EPS * 3)


@routes
def test_maps_whose_weights_all_vanish(route):
    """relu of negative logits: uniform in probmap; here a query without weight."""
    q, k, v = np.ones((3, 1)), np.array([1.0, -1.0, 2.0])[:, None], np.eye(3)
    relu = rv.probmap.normalize(f="relu")
    found = causal(q, k, v, route=route, map=relu)
    assert_within(found, [[1, 0, 0], [1, 0, 0], [1 / 3, 0, 2 / 3]], MAP * EPS)
    refused(lambda: causal(q, -np.abs(k), v, route=route, map=relu), "[0]",
            error=rv.InvalidArgument)  # fmt: skip
    nothing = causal(q, np.array([-1.0, 1.0, -2.0])[:, None], v, route=route, map=relu,
                     empty="zero")  # fmt: skip
    assert_within(nothing, [[0, 0, 0], [0, 1, 0], [0, 1, 0]], MAP * EPS)


# ---------------------------------------------------------------------------------------------
# Masks.


def masks(length):
    keep = np.ones(length, bool)
    first, last, holes = keep.copy(), keep.copy(), keep.copy()
    first[: length // 3] = False
    last[-length // 3 :] = False
    holes[1::2] = False
    return {"all": keep, "leading": first, "trailing": last, "holes": holes, "none": ~keep}


@pytest.mark.parametrize("length", [6, 33, 150])
@dtypes
def test_masks(dtype, length):
    inputs = sequences(length, dtype=dtype)
    for mask in masks(length).values():
        assert_attention(*inputs, dtype, options={"empty": "zero"}, mask=mask)


@routes
def test_queries_without_keys_are_exactly_zero(route):
    q, k, v = sequences(30)
    found = causal(q, k, v, route=route, mask=masks(30)["leading"], empty="zero")
    assert not found[:10].any()
    assert not causal(q, k, v, route=route, mask=masks(30)["none"], empty="zero").any()


@routes
def test_what_is_masked_does_not_matter(route):
    """However large; and a mask of True changes nothing."""
    q, k, v = sequences(90)
    mask = masks(90)["holes"]
    y = causal(q, k, v, route=route, mask=mask)
    k[~mask], v[~mask] = 1e150, -1e150
    assert_within(causal(q, k, v, route=route, mask=mask), y, 0 * y + np.finfo(float).tiny)
    q, k, v = sequences(90)
    assert_bits(causal(q, k, v, route=route, mask=np.ones(90, bool)), causal(q, k, v, route=route))


@routes
def test_a_query_without_keys_is_named(route):
    q, k, v = sequences(20, batch=(2, 3))
    mask = np.ones((2, 3, 20), bool)
    mask[1, 2, :5] = False
    refused(lambda: causal(q, k, v, route=route, mask=mask), "query [1, 2, 0]", "empty='zero'",
            error=rv.InvalidArgument)  # fmt: skip
    found = causal(q, k, v, route=route, mask=mask, empty="zero")
    assert not found[1, 2, :5].any()
    assert found[1, 2, 5:].all()
    refused(lambda: causal(q[0, 0], k[0, 0], v[0, 0], route=route, mask=mask[1, 2]), "[0]",
            error=rv.InvalidArgument)  # fmt: skip


@routes
def test_masks_broadcast(route):
    q, k, v = sequences(12, batch=(2, 3))
    mask = masks(12)["leading"]
    apart = np.stack([mask, ~masks(12)["holes"] | mask])[:, None]
    for given in (mask, apart):
        assert_attention(q, k, v, routes=[route], options={"empty": "zero"}, mask=given)
    more = causal(q[0, 0], k[0, 0], v[0, 0], route=route, mask=apart, empty="zero")
    assert more.shape == (2, 1, 12, 8)


@pytest.mark.parametrize("route", ["full", "cached"])
@pytest.mark.parametrize("name", ["sparsemax", "entmax", "taylor_softmax"])
def test_masks_of_other_maps(route, name):
    q, k, v = SMALL
    mask = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1], bool)
    expected = oracle.causal_map(q[1:], k[1:], v[1:], row_map(name, {}), mask=mask[1:])
    found = causal(q, k, v, route=route, map=name, mask=mask, empty="zero")
    allowed = MAP * EPS * 9 * (1 + np.abs(q @ k.T).max()) * np.abs(v).max()
    assert_within(found[1:], expected, allowed)
    assert not found[0].any()


# ---------------------------------------------------------------------------------------------
# Axes, layouts, types.


@routes
def test_leading_axes_are_a_batch(route):
    q, k, v = sequences(37, batch=(2, 3))
    y = causal(q, k, v, route=route)
    assert y.shape == (2, 3, 37, 8)
    assert_attention(q, k, v, routes=[route])
    for i in np.ndindex(2, 3):
        assert_bits(causal(q[i], k[i], v[i], route=route), y[i])


@routes
def test_leading_axes_broadcast(route):
    """Grouped queries: heads that share keys and values."""
    q, k, v = sequences(20, batch=(2, 1, 4))
    k, v = k[:, :, :1], v[0, :, :1]
    found = causal(q, k, v, route=route)
    assert found.shape == (2, 1, 4, 20, 8)
    assert_attention(q, k, v, routes=[route])
    whole = [np.broadcast_to(x, (2, 1, 4, 20, 8)) for x in (q, k, v)]
    assert_bits(causal(*whole, route=route), found)


@routes
def test_no_rows_and_no_time(route):
    q, k, v = sequences(5, 3, 2, batch=(0, 4))
    assert causal(q, k, v, route=route).shape == (0, 4, 5, 2)
    q, k, v = sequences(0, 3, 2, batch=(4,))
    assert causal(q, k, v, route=route).shape == (4, 0, 2)
    assert causal(q, k, v, route=route, mask=np.ones((4, 0), bool)).shape == (4, 0, 2)
    assert causal(*sequences(5, 3, 0), route=route).shape == (5, 0)


@routes
def test_one_position_is_its_value(route):
    q, k, v = sequences(1, batch=(3,))
    assert_bits(causal(q, k, v, route=route), v)


@dtypes
@routes
def test_layouts(route, dtype):
    """Transposed, backwards, with gaps, Fortran's, read-only: the bits of the plain copy."""
    q, k, v = sequences(40, batch=(2,), dtype=dtype)
    y = causal(q, k, v, route=route)
    gaps = np.zeros((2, 80, 16), dtype)
    gaps[:, ::2, ::2] = q
    turned = np.ascontiguousarray(k.swapaxes(-1, -2)).swapaxes(-1, -2)
    backwards = np.ascontiguousarray(v[:, ::-1])[:, ::-1]
    assert_bits(causal(gaps[:, ::2, ::2], turned, backwards, route=route), y)
    whole = [np.asfortranarray(x) for x in (q, k, v)]
    for x in whole:
        x.flags.writeable = False
    assert_bits(causal(*whole, route=route), y)


@routes
def test_integers_and_lists_are_doubles(route):
    q, k, v = (np.random.default_rng(0).integers(-2, 3, (12, 3)) for _ in range(3))
    found = causal(q, k, v, route=route)
    assert found.dtype == np.float64
    assert_bits(found, causal(q.astype(float), k.tolist(), v * 1.0, route=route))


@routes
def test_single_precision_is_kept_only_where_all_have_it(route):
    q, k, v = sequences(20, dtype=np.float32)
    assert causal(q, k, v, route=route).dtype == np.float32
    assert causal(q, k.astype(float), v, route=route).dtype == np.float64


@dtypes
@routes
def test_out(route, dtype):
    q, k, v = sequences(50, e=5, batch=(2,), dtype=dtype)
    expected = causal(q, k, v, route=route)
    out = np.full_like(expected, np.nan)
    assert causal(q, k, v, route=route, out=out) is out
    assert_bits(out, expected)


@routes
def test_out_may_be_an_input(route):
    """A result over what it was made from is the result."""
    for i in range(3):
        inputs = list(sequences(70))
        expected = causal(*inputs, route=route)
        assert_bits(causal(*inputs, route=route, out=inputs[i]), expected)
    shared = np.zeros((140, 8))
    q, k, v = sequences(70)
    shared[:70] = q
    expected = causal(shared[:70], k, v, route=route)
    assert_bits(causal(shared[:70], k, v, route=route, out=shared[35:105]), expected)


@routes
def test_inputs_stay_as_they_were(route):
    inputs = sequences(40)
    before = [x.copy() for x in inputs]
    causal(*inputs, route=route, scale=0.3)
    for x, old in zip(inputs, before, strict=True):
        assert_bits(x, old)


@dtypes
@routes
def test_bits_do_not_depend_on_threads(route, dtype, restore_threads):
    q, k, v = sequences(200, 16, batch=(3,), dtype=dtype)
    found = []
    for threads in (1, 2, 3):
        rv.set_threads(threads)
        found.append(causal(q, k, v, route=route))
    for other in found[1:]:
        assert_bits(other, found[0])


# ---------------------------------------------------------------------------------------------
# Memory and interruption.

PEAK = """
import numpy as np, resolvent as rv
rv.set_threads(1)
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
q, k, v = np.random.default_rng(0).standard_normal((3, 2048, 4))
few = q[:200], k[:200], v[:200]
for route in rv.attention.ROUTES:
    rv.attention.causal(*few, route=route)
for route in ("recompute", "cached", "streaming", "full"):
    before = peak()
    rv.attention.causal(q, k, v, route=route)
    print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_only_the_full_route_has_a_square_of_weights():
    """2048² doubles are 34 MB; the others stay within 4 MB, the result included."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    *others, full = map(int, done.stdout.split())
    assert full >= 0.9 * 8 * 2048**2
    assert all(grown <= 2**22 for grown in others), others


@pytest.mark.parametrize("route", STREAMING)
def test_ctrl_c_ends_a_long_call(route):
    setup = "q = np.random.default_rng(0).standard_normal((100_000, 64), dtype=np.float32)"
    call = f"rv.attention.causal(q, q, q, route={route!r}, scale=0.1)"
    printed = printed_by_a_stopped_call(setup, call, delay=0.1, patience=2.0)
    assert printed == "stopped True\n"


@routes
@pytest.mark.parametrize("f", ["sigmoid", "softplus"])
@pytest.mark.parametrize("logit", [-700.0, -745.0, -1e5])
def test_functions_that_underflow_where_the_weights_do_not(route, f, logit):
    """f(x) is e^x to rounding there: the weights of x and x − 1 are in the ratio e : 1."""
    k, v = np.array([logit, logit - 1])[:, None], np.array([1.0, 2.0])[:, None]
    found = causal(np.ones((2, 1)), k, v, route=route, map=rv.probmap.normalize(f=f))
    assert_within(found[1], [1 + 1 / (1 + np.e)], MAP * EPS * 4)
