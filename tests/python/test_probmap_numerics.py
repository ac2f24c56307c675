"""Sums to rounding, hard rows, bits that depend on nothing but the row, and Ctrl-C."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hippo_support import assert_bits, assert_within
from interruption import printed_by_a_stopped_call

import resolvent as rv
from oracles import probmap as oracle

DTYPES = (np.float32, np.float64)
SUM = 4  # promised of |sum p - 1|, in units of eps sqrt(n)
ULPS = 4  # of z = x/temperature and of the result, see `oracle.allowed`
LONG = float(np.finfo(np.longdouble).eps)

# A map, its parameters.
MAPS = {
    "softmax": ("softmax", {}),
    "taylor": ("taylor_softmax", {"order": 4}),
    "top-k": ("sparse_softmax", {"k": 3}),
    "top-p": ("sparse_softmax", {"p": 0.9}),
    "sparsemax": ("sparsemax", {}),
    "entmax-1.05": ("entmax", {"alpha": 1.05}),
    "entmax-1.25": ("entmax", {"alpha": 1.25}),
    "entmax-1.5": ("entmax", {"alpha": 1.5}),
    "entmax-1.75": ("entmax", {"alpha": 1.75}),
    "entmax-3": ("entmax", {"alpha": 3.0}),
    "entmax-20": ("entmax", {"alpha": 20.0}),
    "entmax-inf": ("entmax", {"alpha": np.inf}),
    "normmax-1": ("normmax", {"alpha": 1.0}),
    "normmax-1.5": ("normmax", {"alpha": 1.5}),
    "normmax-2": ("normmax", {"alpha": 2.0}),
    "normmax-inf": ("normmax", {"alpha": np.inf}),
    "budget": ("budget", {"total": 1.5}),
    "square": ("normalize", {"f": "square"}),
    "relu": ("normalize", {"f": "relu"}),
    "sigmoid": ("normalize", {"f": "sigmoid"}),
    "softplus": ("normalize", {"f": "softplus"}),
    "margin": ("margin_softmax", {"target": 0}),
    "gumbel": ("perturb_max", {"noise": "gumbel"}),
    "normal": ("perturb_max", {"noise": "normal"}),
    "uniform": ("perturb_max", {"noise": "uniform"}),
    "cauchy": ("perturb_max", {"noise": "cauchy"}),
}
PERTURBED = ("gumbel", "normal", "uniform", "cauchy")
QUICK = [key for key in MAPS if key not in PERTURBED]
# Those that depend on gaps between the entries only.
SHIFTED = [key for key in QUICK if key not in ("taylor", "square", "relu", "sigmoid", "softplus")]


def call(key, x, **common):
    name, parameters = MAPS[key]
    return getattr(rv.probmap, name)(x, **parameters, **common)


def least(key):
    """The fewest entries that the parameters allow."""
    return {"top-k": 3, "budget": 2}.get(key, 1)


def total_of(key):
    """What the map's probabilities add up to."""
    return MAPS[key][1].get("total", 1.0)


def assert_sums(what, p, total=1.0):
    """In [0, 1], and of the promised sum: by fsum, which does not round."""
    assert (p >= 0).all()
    assert (p <= 1).all()
    error = abs(math.fsum(p.astype(float).tolist()) - total)
    assert error <= SUM * np.finfo(p.dtype).eps * total * math.sqrt(len(p)), f"{what}: {error:.2e}"


def assert_right(key, x, temperature=1.0):
    """The row against 50 digits, and its sum."""
    name, parameters = MAPS[key][0], MAPS[key][1] | {"temperature": temperature}
    found = call(key, x, temperature=temperature)
    assert_sums(key, found, total_of(key))
    expected = oracle.MAPS[name](x, **parameters)
    allowed = oracle.allowed(name, x, expected, x.dtype, ULPS, **parameters)
    assert_within(found.astype(float), oracle.rounded(expected), allowed, f"{key} {x}")


# ---------------------------------------------------------------------------------------------
# Sums.


def random(n):
    return np.random.default_rng(n).standard_normal(n)


ROWS = {
    "random": random,
    "ten times as wide": lambda n: 10 * random(n),
    "a hundredth as wide": lambda n: 0.01 * random(n),
    "ties": lambda n: np.round(random(n)),
    "all equal": lambda n: np.full(n, 0.7),
    # Newton's iteration from max - 1 drops a part of them at every step
    "geometric gaps": lambda n: -(2.0 ** -np.linspace(0, 50, n)),
    "geometric gaps to the end": lambda n: 2.0 ** -np.linspace(0, 50, n) - 1,
    "geometric": lambda n: -(2.0 ** np.linspace(-50, 50, n)),
    "one and many below": lambda n: np.where(np.arange(n) == n // 2, 1.0, 0.0),
    "straight": lambda n: np.linspace(-3, 3, n),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", QUICK)
def test_sums(key, dtype):
    for kind, make in ROWS.items():
        for n in (1, 2, 3, 5, 8, 31, 32, 33, 100, 1000, 4096):
            if n >= least(key):
                assert_sums(f"{key}, {kind}", call(key, make(n).astype(dtype)), total_of(key))


@pytest.mark.parametrize(("kind", "dtype"), [("random", np.float32), ("geometric gaps", float)])
@pytest.mark.parametrize("key", QUICK)
def test_sums_of_a_million(key, kind, dtype):
    assert_sums(key, call(key, ROWS[kind](10**6).astype(dtype)), total_of(key))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", PERTURBED)
def test_sums_of_perturbed_maxima(key, dtype):
    for kind in ("random", "ten times as wide", "ties", "all equal", "geometric gaps"):
        for n in (1, 2, 3, 33, 300):
            assert_sums(key, call(key, ROWS[kind](n).astype(dtype)))
    assert_sums(key, call(key, random(10**4).astype(dtype)))


# ---------------------------------------------------------------------------------------------
# Long rows, certified in long double.


def optimal_slack(x, p, alpha):
    """(alpha - 1) x - p^{alpha - 1} is one lambda on the support, and nothing outside exceeds it.

    Returned relative to the rounding of both terms, eps each. What has underflown counts as
    outside, where p may be up to the smallest normal number.
    """
    info = np.finfo(p.dtype)
    x, p = (alpha - 1) * x.astype(np.longdouble), p.astype(np.longdouble)
    level = x - p ** np.longdouble(alpha - 1)
    inside = p >= info.tiny
    middle = np.median(level[inside])
    above = x[~inside] - middle - np.longdouble(info.tiny) ** (alpha - 1)
    slack = max(np.abs(level[inside] - middle).max(), above.max(initial=0))
    return float(slack / (info.eps * (1 + (x.max() - x[inside]).max())))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [1.05, 1.25, 1.5, 1.75, 2.0])
@pytest.mark.parametrize("kind", ROWS)
def test_long_rows_of_entmax_are_optimal(alpha, kind, dtype):
    x = ROWS[kind](20_000).astype(dtype)
    assert optimal_slack(x, rv.probmap.entmax(x, alpha), alpha) <= ULPS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kind", "n"), [*((kind, 20_000) for kind in ROWS), ("geometric gaps", 10**6)]
)
def test_long_rows_of_sparsemax_by_sorting(kind, n, dtype):
    x = ROWS[kind](n).astype(dtype)
    s = np.sort(x.astype(np.longdouble))[::-1]
    sums = np.cumsum(s - s[0])
    size = np.arange(1, n + 1)
    last = np.flatnonzero(1 + size * (s - s[0]) > sums)[-1]
    threshold = s[0] + (sums[last] - 1) / size[last]
    expected = np.maximum(x - threshold, 0)
    allowed = ULPS * np.finfo(dtype).eps + LONG * n
    assert_within(rv.probmap.sparsemax(x), expected, allowed)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("softmax", {}),
        ("sparsemax", {}),
        *(("entmax", {"alpha": alpha}) for alpha in (1.05, 1.25, 1.5, 1.75, 3)),
        *(("normmax", {"alpha": alpha}) for alpha in (1.5, 3)),
        ("budget", {"total": 1.5}),
    ],
    ids=str,
)
def test_thresholds_of_long_rows_leave_no_residual(name, parameters):
    for n in (2, 33, 5000):
        for kind, make in ROWS.items():
            found = rv.probmap.threshold(name, make(n), **parameters)
            assert abs(found.residual) <= ULPS * (n + np.abs(make(n)).max()) * LONG, kind


# ---------------------------------------------------------------------------------------------
# Hard rows against 50 digits.

LARGEST = {np.float64: 1e30, np.float32: 1e15}


def hard_rows(dtype):
    """Rows of n <= 6 from logits at the ends of what the type holds."""
    info, huge = np.finfo(dtype), LARGEST[dtype]
    least = float(info.smallest_subnormal)
    eps = float(info.eps)
    ones = 1 + eps * np.array([0, 1, -1, 0.5, 3])
    return {
        "huge": [huge, -huge, 0.0, huge, 1.0],
        "huge and negative": [-huge, -huge, -huge * (1 + 4 * eps)],
        "huge and close": huge * ones,
        "offset": 1000 + np.array([0.0, 0.25, -0.5, 1.0]),
        "large offset": float(dtype(1e6)) + np.array([0.0, 0.5, -0.5, 1.0]),
        "denormal": least * np.array([0, 1, -1, 3, 100]),
        "denormal and one": [least, 1.0, -least],
        "tiny gaps": ones,
        "next to 1": [0.0, -1.0, np.nextafter(dtype(-1), dtype(0)), np.nextafter(dtype(-1),
                      dtype(-2))],
        "wide": np.linspace(-90, 0, 6),
        "very wide": np.linspace(-800, 0, 6),
        "geometric": -(2.0 ** np.arange(-3, 3)),
        "one": [-3.25],
        "two equal": [0.1, 0.1],
        "signed zeros": [0.0, -0.0, 0.0],
        "almost masked": [0.0, 0.5, float(info.min)],
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", QUICK)
def test_hard_rows(key, dtype):
    for row in hard_rows(dtype).values():
        if len(row) >= least(key):
            assert_right(key, np.asarray(row, dtype))


@pytest.mark.parametrize("key", PERTURBED)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_rows_of_perturbed_maxima(key, dtype):
    """Finite, on the simplex, ordered as the logits are, and certain where the gap is huge."""
    for kind, row in hard_rows(dtype).items():
        x = np.asarray(row, dtype)
        p = call(key, x)
        assert_sums(key, p)
        order = np.argsort(x, kind="stable")
        assert (np.diff(p[order].astype(float)) >= -1e-10).all(), f"{kind}: {p}"
    huge = LARGEST[dtype]
    assert_within(call(key, np.array([huge, -huge, 0, huge], dtype)), [0.5, 0, 0, 0.5], 1e-10)


@pytest.mark.parametrize("temperature", [1e-300, 1e-6, 1e6, 1e300])
@pytest.mark.parametrize("key", SHIFTED)
def test_temperatures_to_the_limits(key, temperature):
    """No overflow of x/temperature; what the limits are, the exact maps know."""
    for dtype in DTYPES:
        assert_right(key, np.array([0.5, -1.0, 2.0, 2.0], dtype), temperature)


@pytest.mark.parametrize("key", MAPS)
def test_the_largest_floats(key):
    """No overflow of sums or gaps: the row is on the simplex."""
    for dtype in DTYPES:
        most = np.finfo(dtype).max
        x = np.array([most, -most, most, 0.0], dtype)
        p = call(key, x)
        assert np.isfinite(p).all()
        assert_sums(key, p, total_of(key))
        assert p[0] == p[2] or key == "margin"


# ---------------------------------------------------------------------------------------------
# The same bits.


@functools.cache
def batch(rows, n, dtype=np.float64):
    x = 2 * np.random.default_rng([rows, n]).standard_normal((rows, n))
    x[::3] = np.round(x[::3])
    return x.astype(dtype)


@pytest.mark.parametrize("key", MAPS)
def test_threads_do_not_change_the_bits(key, restore_threads):
    shapes = [(40, 50), (3, 700)] if key in PERTURBED else [(3000, 10), (300, 1000), (1, 300_000)]
    for rows, n in shapes:
        for dtype in DTYPES:
            x = batch(rows, n, dtype)
            rv.set_threads(1)
            one = call(key, x)
            rv.set_threads(2)
            assert_bits(call(key, x), one)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", MAPS)
def test_a_row_alone_is_the_row_of_a_batch(key, dtype):
    """Short rows are taken in groups, where the last group is not full."""
    sizes = (3, 17, 33) if key in PERTURBED else (3, 4, 5, 7, 8, 16, 31, 32, 33, 64, 100, 257)
    for n in sizes:
        for rows in (1, 2, 5, 17, 70):
            x = batch(rows, n, dtype)
            together = call(key, x)
            for i in {0, rows // 2, rows - 1}:
                assert_bits(call(key, x[i]), together[i])


@pytest.mark.parametrize("key", MAPS)
def test_masked_rows_do_not_change_their_neighbours(key):
    for n in (5, 40):
        x = batch(9, n).copy()
        expected = call(key, x)
        x[::2] = -np.inf
        assert_bits(call(key, x)[1::2], expected[1::2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", MAPS)
def test_layouts_do_not_change_the_bits(key, dtype):
    x = batch(6, 9, dtype)
    expected, before = call(key, x), x.copy()
    spread = np.zeros((12, 27), dtype)
    spread[::2, ::3] = x
    locked = x.copy()
    locked.flags.writeable = False
    swapped = x.astype(x.dtype.newbyteorder())
    variants = {
        "strided": spread[::2, ::3],
        "reversed": np.ascontiguousarray(x[:, ::-1])[:, ::-1],
        "fortran": np.asfortranarray(x),
        "read-only": locked,
        "other byte order": swapped,
        "unaligned": np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(dtype).reshape(x.shape),
    }
    for name, variant in variants.items():
        found = call(key, variant)
        assert found.dtype == dtype, name
        assert found.dtype.isnative, name
        assert found.flags.c_contiguous, name
        assert_bits(found, expected)
    assert_bits(x, before)
    assert_bits(call(key, np.asfortranarray(x.T), axis=0), np.ascontiguousarray(expected.T))
    assert_bits(call(key, np.broadcast_to(x[0], (3, 9)))[2], expected[0])


@pytest.mark.parametrize("key", MAPS)
def test_no_rows(key):
    for shape in ((0, 5), (2, 0, 5)):
        for dtype in DTYPES:
            found = call(key, np.zeros(shape, dtype))
            assert found.shape == shape
            assert found.dtype == dtype
    assert rv.probmap.logsumexp(np.zeros((0, 5))).shape == (0,)
    assert rv.probmap.log_softmax(np.zeros((0, 5))).shape == (0, 5)


def test_no_rows_of_other_results():
    assert rv.probmap.threshold("sparsemax", np.zeros((0, 5))).value.shape == (0,)
    assert rv.probmap.sample("perturb_max", np.zeros((0, 5)), 3, seed=0).shape == (3, 0)
    assert rv.probmap.sample("perturb_max", np.zeros((2, 5)), 0, seed=0).shape == (0, 2)


def test_inputs_are_left_as_they_were():
    for key in MAPS:
        x = batch(5, 7).copy()
        mask = np.arange(7) != 3
        before = x.copy(), mask.copy()
        call(key, x, mask=mask, temperature=np.full(5, 0.5))
        assert_bits(x, before[0])
        assert_bits(mask, before[1])


# ---------------------------------------------------------------------------------------------
# Interruption.

DELAY, PATIENCE = 0.3, 5.0  # seconds: after which Ctrl-C comes, and within which it must be heard

INTERRUPTIBLE = {
    "entmax": "rv.probmap.entmax(long, 1.0001, out=long)",
    "perturb_max": 'rv.probmap.perturb_max(x, "normal")',
    "sample": 'rv.probmap.sample("perturb_max", x, size=10**5, seed=0)',
}


@pytest.mark.parametrize("name", INTERRUPTIBLE)
def test_ctrl_c_stops_a_long_computation(name):
    """A single call of seconds, or minutes, is left soon."""
    printed = printed_by_a_stopped_call(
        f"""
        x = np.random.default_rng(0).standard_normal((1000, 10000))
        long = np.tile(x.astype(np.float32), ({12 if name == "entmax" else 1}, 1))
        """,
        INTERRUPTIBLE[name],
        delay=DELAY,
        patience=PATIENCE,
    )
    assert printed == "stopped True\n"
