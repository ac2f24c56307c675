"""Memory and project: every rule against dense time stepping, bit-for-bit streaming."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hippo_support import (
    CASES,
    CHANNELS,
    DEFAULT_CASES,
    ENTRY,
    EPS,
    EPS32,
    ORDERS,
    REAL_CASES,
    RULES,
    STEP,
    Case,
    assert_bits,
    assert_within,
    case_orders,
    dense,
    poles,
    signal,
    stability_warnings_allowed,
    step_for,
)

import resolvent as rv
from oracles import exact
from oracles import hippo as oracle

LENGTH = 24


def project(u, system, rule, **options):
    with stability_warnings_allowed(rule):
        return rv.hippo.project(u, system, rule=rule, **options)


def memory_run(u, system, rule, **options):
    with stability_warnings_allowed(rule):
        memory = rv.hippo.Memory(system, rule=rule, channels=u.shape[:-1], **options)
        memory.update(u)
        return memory


# ---------------------------------------------------------------------------------------------
# Against dense stepping.


@pytest.mark.parametrize(("case", "order"), case_orders(DEFAULT_CASES))
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_the_dense_recurrence(case, order, rule):
    """Trajectories of 1, 3, 16, 17 and 40 channels; every step within the recurrence's rounding."""
    system, step = case.system(order), step_for(case)
    u = signal((max(CHANNELS), LENGTH))
    expected, bound = dense(case, order, u, rule=rule, step=step, alpha=0.3)
    for channels in CHANNELS:
        found = project(u[:channels], system, rule, step=step, every=1, alpha=0.3)
        assert_within(found, expected[:channels], bound, f"{channels} channels")
    assert_within(project(u[0], system, rule, step=step, every=1, alpha=0.3), expected[0], bound)


@pytest.mark.parametrize(
    ("case", "order"), case_orders([c for c in CASES if c not in DEFAULT_CASES], (1, 4, 7))
)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_in_every_other_normalization(case, order, rule):
    step = step_for(case)
    u = signal((3, LENGTH), seed=1)
    expected, bound = dense(case, order, u, rule=rule, step=step, window=0.7)
    found = project(u, case.system(order, 0.7), rule, step=step, every=1)
    assert_within(found, expected, bound)


@pytest.mark.parametrize("measure", ["legs", "fous"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [1, 2, 5, 33])
def test_every_rule_on_the_invariant_clock(measure, rule, order):
    case = Case(measure, "probability")
    a, b = case.matrices(order)
    window = 0.7
    u = signal((3, LENGTH))
    trajectory, condition = oracle.run_with_condition(
        a / window, b / window, u, rule=rule, clock="invariant", step=0.02
    )
    system = case.system(order, window).invariant()
    found = project(u, system, rule, step=0.02, every=1)
    assert_within(found, trajectory, STEP * (order + 4) * EPS * condition[:, None])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measure", "order", "rule"),
    [
        (measure, order, rule)
        for measure in ("legs", "legt", "lagt")
        for order, rules in ((8, RULES), (32, ("forward", "backward", "bilinear", "gbt")))
        for rule in rules
    ],
)
def test_every_rule_in_fifty_digits(measure, order, rule):
    """Matrices from exact fractions, recurrence in 50 digits: nothing shared with float64."""
    case = Case(measure, "probability")
    length = 9 if order == 8 else 4
    step = 1.0 if case.clock == "scaled" else 0.125
    u = signal((length,), seed=2)
    with exact.mp.workdps(exact.DIGITS):
        a, b = getattr(exact, measure)(order)
        expected = exact.run(
            a,
            b,
            u,
            rule=rule,
            clock=case.clock,
            step=step,
            alpha=0.25,
            first=oracle.constant(measure, order),
        )
    _, bound = dense(case, order, u, rule=rule, step=step, alpha=0.25)
    found = project(u, case.system(order), rule, step=step, every=1, alpha=0.25)
    assert_within(found, expected, bound)


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [1, 5, 33])
def test_irregular_times_are_the_dense_recurrence(case, rule, order):
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.uniform(0.3, 2.0, LENGTH)) * step_for(case)
    u = signal((3, LENGTH), seed=3)
    expected, bound = dense(case, order, u, rule=rule, times=times, alpha=0.6)
    found = project(u, case.system(order), rule, times=times, every=1, alpha=0.6)
    assert_within(found, expected, bound)
    with stability_warnings_allowed(rule):
        step = float(times[0])  # as project takes it: what exponentials are prepared for
        memory = rv.hippo.Memory(case.system(order), rule=rule, step=step, channels=(3,), alpha=0.6)
        memory.update(u[:, :10], times=times[:10])
        memory.update(u[:, 10], times=times[10])
        memory.update(u[:, 11:], times=times[11:])
    assert memory.time == times[-1]
    assert_bits(memory.coefficients, found[:, -1])


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_regular_times_are_the_regular_clock(case, rule):
    step = step_for(case)
    u = signal((3, LENGTH))
    _, bound = dense(case, 9, u, rule=rule, step=step)
    times = step * np.arange(1, LENGTH + 1)
    regular = project(u, case.system(9), rule, step=step, every=1)
    # k*step - (k-1)*step is step to within eps*k: the same relative change of every weight
    found = project(u, case.system(9), rule, times=times, every=1)
    assert_within(found, regular, LENGTH * bound)


# ---------------------------------------------------------------------------------------------
# The first step, stationary signals, special cases of one rule in another.


@pytest.mark.parametrize("case", [c for c in REAL_CASES if c.clock == "scaled"], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_first_scaled_step_is_the_projection_of_the_constant(case, rule):
    u = signal((5, 1))
    expected = u * oracle.constant(case.measure, 6, case.normalization)
    found = project(u, case.system(6), rule)
    assert_within(found, expected, ENTRY * EPS * np.abs(expected))


@pytest.mark.parametrize("case", [c for c in CASES if c.clock != "scaled"], ids=str)
def test_other_clocks_start_from_zero_history(case):
    """Backward Euler's first step alone: (I - hA)^-1 h B u."""
    order, h = 5, 0.1
    a, b = case.matrices(order)
    expected = np.linalg.solve(np.eye(order) - h * a, h * b) * 3.0
    found = project(np.array([3.0]), case.system(order), "backward", step=h)
    condition = np.linalg.cond(np.eye(order) - h * a)
    assert_within(found, expected, STEP * order * EPS * condition * np.abs(expected).max())


@pytest.mark.parametrize("case", [c for c in CASES if c.clock == "scaled"], ids=str)
@pytest.mark.parametrize("rule", [r for r in RULES if r != "bilinear"])
def test_a_constant_signal_is_stationary(case, rule):
    """A e_0 = -B: every rule but bilinear keeps the projection of a constant exactly."""
    order, length = 7, 60
    u = np.full((2, length), 1.7)
    expected = u[..., None] * oracle.constant(case.measure, order, case.normalization)
    _, bound = dense(case, order, u, rule=rule)
    assert_within(project(u, case.system(order), rule, every=1), expected, bound)


def test_bilinear_is_not_stationary_on_a_constant_signal():
    """Its input weight h/t0 exceeds the mean of both ends by h^2/(2 t0 t1): at k = 1 that is 1/4.

    For N = 1: (1 + 1/(2(k+1))) x = (1 - 1/(2k)) x + u/k, so the error after step 1 is
    u (1/1 - 1/2)/2 / (1 + 1/4) = u/5.
    """
    found = project(np.ones(2), rv.hippo.system("legs", 1), "bilinear")
    assert_within(found, [1.2], ENTRY * EPS)


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
@pytest.mark.parametrize(
    ("alpha", "rule"), [(0.0, "forward"), (0.5, "bilinear-split"), (1.0, "backward")]
)
def test_the_generalised_rule_holds_three_others(case, alpha, rule):
    step = step_for(case)
    u = signal((3, LENGTH))
    _, bound = dense(case, 6, u, rule=rule, step=step)
    one = project(u, case.system(6), rule, step=step, every=1)
    with stability_warnings_allowed("gbt"):
        other = rv.hippo.project(u, case.system(6), rule="gbt", alpha=alpha, step=step, every=1)
    assert_within(other, one, bound)


@pytest.mark.parametrize("case", [c for c in DEFAULT_CASES if c.clock != "scaled"], ids=str)
@pytest.mark.parametrize(("rule", "same"), [("bilinear-split", "bilinear"), ("exact", "zoh")])
def test_on_a_fixed_clock_some_rules_coincide(case, rule, same):
    u = signal((3, LENGTH))
    system, step = case.system(6), step_for(case)
    assert_bits(project(u, system, rule, step=step), project(u, system, same, step=step))


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in REAL_CASES
        if c.measure in ("legt", "lagt", "fout", "malmquist")
        and c.normalization in ("probability", "lebesgue")
    ],
    ids=str,
)
@pytest.mark.parametrize("rule", ["backward", "bilinear", "zoh", "exact"])
def test_without_input_the_norm_never_grows(case, rule):
    """Orthonormal bases: A + A^T <= 0, and these rules map the left half-plane into the disc."""
    system = case.system(9)
    u = np.concatenate([signal((2, 12)), np.zeros((2, 40))], axis=-1)
    norms = np.linalg.norm(project(u, system, rule, step=0.3, every=1)[:, 11:], axis=-1)
    assert np.all(np.diff(norms, axis=-1) <= STEP * 13 * EPS * norms[:, :1])


# ---------------------------------------------------------------------------------------------
# Streaming.


def partitions(length):
    """Ways to cut [0, length): single samples, two halves, blocks of mixed size, one block."""
    yield "singles", [1] * length
    yield "halves", [length // 2, length - length // 2]
    yield "mixed", [1, 2, 7, 1, length - 11 - 13, 13]
    yield "all", [length]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_blocks_equal_one_call_bit_for_bit(case, rule):
    order, length, step = 9, 61, step_for(case)
    u = signal((3, length), seed=6)
    system = case.system(order)
    trajectory = project(u, system, rule, step=step, every=1, alpha=0.7)
    assert_bits(project(u, system, rule, step=step, alpha=0.7), trajectory[:, -1])
    for name, sizes in partitions(length):
        with stability_warnings_allowed(rule):
            memory = rv.hippo.Memory(system, rule=rule, step=step, channels=(3,), alpha=0.7)
            start = 0
            for size in sizes:
                if name == "singles":
                    memory.update(u[:, start])  # one sample per channel, without a time axis
                else:
                    memory.update(u[:, start : start + size])
                start += size
                assert_bits(memory.coefficients, trajectory[:, start - 1])
        assert memory.time == pytest.approx(length * step, rel=length * EPS)


@pytest.mark.parametrize("measure", ["legs", "legt", "lagt", "fout"])
@pytest.mark.parametrize("order", [33, 256])
@pytest.mark.parametrize("channels", [1, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_blocks_equal_one_call_bit_for_bit(measure, order, channels, dtype):
    """Long enough for every blocking over time and every channel tile."""
    length = 700
    step = 1.0 if measure == "legs" else 0.004
    u = signal((channels, length), dtype=dtype)
    system = rv.hippo.system(measure, order)
    whole = rv.hippo.project(u, system, step=step)
    memory = rv.hippo.Memory(system, step=step, channels=(channels,), dtype=dtype)
    for start, end in ((0, 1), (1, 258), (258, 261), (261, 700)):
        memory.update(u[:, start:end])
    assert_bits(memory.coefficients, whole)


@pytest.mark.parametrize("case", [c for c in DEFAULT_CASES if c.measure != "fous"], ids=str)
@pytest.mark.parametrize("rule", [r for r in RULES if r not in ("zoh", "exact")])
def test_a_channel_does_not_depend_on_its_neighbours(case, rule):
    """Bit for bit, for every channel count up to past two tiles.

    For the O(N) recurrences; those with dense products take BLAS-like blocking, and differ by
    rounding between a channel alone and one in a tile.
    """
    u = signal((40, 19), seed=7)
    system, step = case.system(6), step_for(case)
    whole = project(u, system, rule, step=step)
    for channels in (1, 3, 16, 17):
        assert_bits(project(u[:channels], system, rule, step=step), whole[:channels])
    assert_bits(project(u[37], system, rule, step=step), whole[37])


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
@pytest.mark.parametrize("rule", ["bilinear", "exact"])
@pytest.mark.parametrize("channels", [1, 5, 130])
def test_the_thread_count_changes_nothing(case, rule, channels, restore_threads):
    order, length = 40, 300 if rule == "bilinear" else 30
    u = signal((channels, length))
    system, step = case.system(order), 1.0 if case.clock == "scaled" else 0.01
    results = []
    for threads in (1, 2, 5):
        rv.set_threads(threads)
        results.append(
            (
                rv.hippo.project(u, system, rule=rule, step=step, every=10),
                system.apply(results[0][0]) if results else None,
                rv.hippo.optimal(u[:, :30], system, step=step),
            )
        )
    for other in results[1:]:
        assert_bits(other[0], results[0][0])
        assert_bits(other[2], results[0][2])
    assert_bits(results[1][1], results[2][1])


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("duplicate", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_a_copy_made_in_mid_stream_goes_on_as_the_original(case, duplicate):
    u = signal((2, 30))
    system, step = case.system(5), step_for(case)
    memory = rv.hippo.Memory(system, rule="gbt", step=step, channels=(2,), alpha=0.8)
    memory.update(u[:, :13])
    twin = duplicate(memory)
    assert twin.time == memory.time
    assert_bits(twin.coefficients, memory.coefficients)
    memory.update(u[:, 13:])
    assert twin.time < memory.time  # nothing is shared
    twin.update(u[:, 13:])
    assert_bits(twin.coefficients, memory.coefficients)
    whole = rv.hippo.project(u, system, rule="gbt", step=step, alpha=0.8)
    assert_bits(memory.coefficients, whole)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_system_pickles(case):
    system = case.system(5, window=0.7)
    twin = pickle.loads(pickle.dumps(system))
    assert_bits(twin.A, system.A)
    assert_bits(twin.B, system.B)
    assert (twin.measure, twin.window, twin.clock) == (system.measure, system.window, system.clock)


def test_reset_forgets_everything():
    u = signal((2, 20))
    memory = rv.hippo.Memory(rv.hippo.system("legs", 5), channels=(2,))
    memory.update(u)
    first = memory.coefficients.copy()
    memory.reset()
    assert memory.time == 0.0
    assert not memory.coefficients.any()
    memory.update(u)
    assert_bits(memory.coefficients, first)


def test_coefficients_are_not_a_window_into_the_state():
    """What was read stays as it was when the memory goes on."""
    memory = rv.hippo.Memory(rv.hippo.system("legs", 4))
    memory.update(np.arange(5.0))
    before = memory.coefficients
    kept = before.copy()
    memory.update(np.arange(9.0))
    assert_bits(before, kept)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (2, 3), (0,), (2, 0)], ids=str)
def test_shapes_of_channels(channels):
    u = signal((*channels, 8)) if 0 not in channels else np.zeros((*channels, 8))
    system = rv.hippo.system("legt", 5, window=10.0)
    memory = rv.hippo.Memory(system, channels=channels)
    memory.update(u)
    assert memory.coefficients.shape == (*channels, 5)
    assert rv.hippo.project(u, system).shape == (*channels, 5)
    assert rv.hippo.project(u, system, every=3).shape == (*channels, 2, 5)
    assert memory.time == 8.0


def test_an_integer_is_one_axis_of_channels():
    memory = rv.hippo.Memory(rv.hippo.system("legs", 4), channels=3)
    memory.update(np.zeros((3, 2)))
    assert memory.coefficients.shape == (3, 4)


def test_the_default_step_is_one():
    u = signal((12,))
    system = rv.hippo.system("legt", 5, window=10.0)
    assert_bits(rv.hippo.project(u, system), rv.hippo.project(u, system, step=1.0))


# ---------------------------------------------------------------------------------------------
# every, out, memory use.


@pytest.mark.parametrize("every", [1, 2, 7, 24, 25])
@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
def test_every_keeps_every_so_manyth_state(case, every):
    u = signal((3, LENGTH))
    system, step = case.system(5), step_for(case)
    full = rv.hippo.project(u, system, step=step, every=1)
    kept = rv.hippo.project(u, system, step=step, every=every)
    assert kept.shape == (3, LENGTH // every, 5)
    assert_bits(kept, np.ascontiguousarray(full[:, every - 1 :: every]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("every", [None, 4])
def test_out_is_filled_and_returned(dtype, every):
    u = signal((3, LENGTH), dtype=dtype)
    system = rv.hippo.system("legs", 5)
    expected = rv.hippo.project(u, system, every=every)
    out = np.full_like(expected, np.nan)
    assert rv.hippo.project(u, system, every=every, out=out) is out
    assert_bits(out, expected)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_extra_memory_is_at_most_twice_the_output():
    """A fresh process; the peak over a trajectory of 41 MB stays within three times that."""
    code = """
import numpy as np, resolvent as rv
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
u = np.random.default_rng(0).standard_normal(20000)
system = rv.hippo.system("legs", 256)
rv.hippo.project(u[:300], system, every=1)
before = peak()
out = rv.hippo.project(u, system, every=1)
print((peak() - before) / out.nbytes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.5 < float(done.stdout) <= 3.0


# ---------------------------------------------------------------------------------------------
# Types and memory layouts.


@pytest.mark.parametrize("case", REAL_CASES, ids=str)
@pytest.mark.parametrize("rule", ["backward", "bilinear", "bilinear-split", "zoh", "exact"])
def test_single_precision_is_kept_and_accurate(case, rule):
    order, step = 9, step_for(case)
    u = signal((3, LENGTH), dtype=np.float32)
    expected, bound = dense(case, order, u.astype(float), rule=rule, step=step)
    found = project(u, case.system(order), rule, step=step, every=1)
    assert found.dtype == np.float32
    assert_within(found, expected, bound * (EPS32 / EPS))


@pytest.mark.parametrize("case", [c for c in CASES if c.normalization == "complex"], ids=str)
def test_complex_bases_have_complex_coefficients_of_the_same_precision(case):
    system, step = case.system(5), step_for(case)
    for real, cplx in ((np.float32, np.complex64), (np.float64, np.complex128)):
        u = signal((2, LENGTH), dtype=real)
        assert rv.hippo.project(u, system, step=step).dtype == cplx


def test_the_memory_has_the_type_it_was_made_with():
    system = rv.hippo.system("legs", 5)
    u = signal((20,))
    for dtype in (np.float32, np.float64):
        memory = rv.hippo.Memory(system, dtype=dtype)
        memory.update(u.astype(dtype))
        assert memory.coefficients.dtype == dtype
        assert_bits(memory.coefficients, rv.hippo.project(u.astype(dtype), system))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, bool])
def test_integers_become_float64(dtype):
    u = np.arange(30) % 2 if dtype is bool else np.arange(30)
    system = rv.hippo.system("legs", 5)
    assert_bits(rv.hippo.project(u.astype(dtype), system), rv.hippo.project(u * 1.0, system))


def test_lists_are_taken():
    system = rv.hippo.system("legs", 3)
    assert_bits(
        rv.hippo.project([1, 2, 3], system), rv.hippo.project(np.array([1.0, 2, 3]), system)
    )


def _layouts():
    base = signal((6, 40))
    yield "reversed time", base[:, ::-1]
    yield "strided time", base[:, ::3]
    yield "strided channels", base[::2]
    yield "Fortran order", np.asfortranarray(base)
    yield "transposed", signal((40, 6)).T
    read_only = base.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    yield "broadcast", np.broadcast_to(base[0], (6, 40))
    yield "big-endian", base.astype(">f8")
    buffer = np.zeros(6 * 40 * 8 + 1, dtype=np.uint8)[1:]
    unaligned = buffer.view(np.float64).reshape(6, 40)
    unaligned[...] = base
    yield "unaligned", unaligned


@pytest.mark.parametrize(("name", "u"), list(_layouts()), ids=[name for name, _ in _layouts()])
def test_memory_layout_changes_nothing_and_the_input_stays(name, u):
    plain = np.array(u, dtype=np.float64, order="C")
    system = rv.hippo.system("legt", 7, window=9.0)
    before = u.tobytes()
    assert_bits(rv.hippo.project(u, system, every=5), rv.hippo.project(plain, system, every=5))
    assert u.tobytes() == before, name


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
@pytest.mark.parametrize("scale", [1e-290, 1e-150, 1e150, 1e290])
def test_huge_and_tiny_signals_scale(case, scale):
    """A power of two near the scale: exactly the scaled result, far from overflow."""
    factor = 2.0 ** np.round(np.log2(scale))
    u = signal((2, LENGTH))
    system, step = case.system(6), step_for(case)
    bilinear = rv.hippo.project(u, system, step=step)
    found = rv.hippo.project(u * factor, system, step=step)
    if scale > 1e-200:
        assert_bits(found, bilinear * factor)
    else:  # the smallest terms are subnormal: an absolute loss
        smallest = np.finfo(float).smallest_subnormal
        assert_within(found, bilinear * factor, smallest * 10 * LENGTH * system.order**2)


# ---------------------------------------------------------------------------------------------
# Stability.


def test_forward_legs_of_high_order_warns_before_it_explodes():
    """Rounding noise of step 1 grows to 1e193 by step 180 (N = 256): the warning says so."""
    system = rv.hippo.system("legs", 256)
    with pytest.warns(rv.StabilityWarning) as record:
        rv.hippo.project(signal((1000,)), system, rule="forward")
    growth = record[0].message.growth
    assert np.isfinite(growth)
    assert growth > 1e9


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
@pytest.mark.parametrize("rule", ["backward", "bilinear", "bilinear-split", "zoh", "exact"])
@pytest.mark.parametrize("order", [4, 64])
def test_stable_rules_do_not_warn(case, rule, order):
    length = 5 if case.measure == "fous" else 40  # fous: dense algebra in every step
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "measure 'fout' of even order")
        rv.hippo.project(signal((length,)), case.system(order, window=5.0), rule=rule, step=2.0)


@pytest.mark.parametrize(
    ("measure", "rule", "step", "unstable"),
    [
        ("lagt", "forward", 5.0, True),  # |1 - 5/2| > 1
        ("lagt", "forward", 0.01, False),
        ("legt", "forward", 1.0, True),  # N = 16: |lambda| about 2N
        ("legt", "forward", 1e-4, False),
        ("fout", "forward", 0.5, True),
        ("legt", "gbt", 1.0, True),  # alpha = 0.1
        ("legs", "bilinear", 1.0, False),
    ],
)
def test_the_warning_depends_on_rule_and_step(measure, rule, step, unstable):
    system = rv.hippo.system(measure, 16)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        rv.hippo.project(signal((300,)), system, rule=rule, step=step, alpha=0.1)
        rv.hippo.Memory(system, rule=rule, step=step, alpha=0.1)
    growths = [w.message.growth for w in record if issubclass(w.category, rv.StabilityWarning)]
    assert len(growths) == (2 if unstable else 0)
    assert all(g > 1 for g in growths)


@pytest.mark.parametrize("order", [8, 16, 24, 64])
def test_the_growth_of_the_warning_is_that_of_the_recurrence(order):
    """Against the norm of the dense transition products, within a factor of 1000 in the peak."""
    length = 120
    a, b = oracle.legs(order)
    pieces = oracle.steps(
        a, b, length, rule="forward", clock="scaled", first=oracle.constant("legs", order)
    )
    product, peak = np.eye(order), 1.0
    for k, (f, _) in enumerate(pieces):
        if k > 0:
            product = f @ product
            peak = max(peak, np.linalg.norm(product, 2))
    with pytest.warns(rv.StabilityWarning) as record:
        rv.hippo.project(signal((length,)), rv.hippo.system("legs", order), rule="forward")
    assert abs(np.log10(record[0].message.growth / peak)) < 3


@pytest.mark.parametrize(("step", "samples"), [(0.6, 1 / 0.6), (1.0, 1.0), (50.0, 0.02)])
@pytest.mark.parametrize("measure", ["legt", "lmu", "fout"])
def test_a_window_of_less_than_two_samples_warns(measure, step, samples):
    """Nearly always a window given in samples and a step in seconds, or the reverse."""
    system = rv.hippo.system(measure, 5)
    for call in (
        lambda: rv.hippo.project(np.ones(5), system, step=step),
        lambda: rv.hippo.Memory(system, step=step),
    ):
        with pytest.warns(rv.ResolutionWarning) as record:
            call()
        assert record[0].message.samples == pytest.approx(samples)
        assert record[0].filename == __file__


def test_an_even_order_of_fout_warns_that_its_matrix_is_singular():
    system = rv.hippo.system("fout", 8, window=40.0)
    assert np.linalg.svd(system.A, compute_uv=False)[-1] <= ENTRY * 8 * EPS * np.abs(system.A).max()
    for call in (lambda: rv.hippo.project(np.ones(50), system), lambda: rv.hippo.Memory(system)):
        with pytest.warns(rv.IllConditionedWarning, match="even order 8") as record:
            call()
        assert record[0].message.value == np.inf
        assert record[0].filename == __file__


def test_no_resolution_is_asked_of_the_other_clocks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rv.hippo.project(np.ones(5), rv.hippo.system("legt", 4), step=0.5)
        rv.hippo.project(np.ones(5), rv.hippo.system("lagt", 4), step=3.0)
        rv.hippo.project(np.ones(5), rv.hippo.system("legs", 4), step=30.0)


# ---------------------------------------------------------------------------------------------
# Laws of the whole history.


@pytest.mark.parametrize("case", [c for c in REAL_CASES if c.clock == "scaled"], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_the_scaled_clock_has_no_step_size(case, rule):
    """Timescale equivariance: the recurrence depends on ratios of times only."""
    u = signal((2, LENGTH))
    system = case.system(8)
    one = project(u, system, rule, step=1.0, every=1)
    assert_bits(project(u, system, rule, step=0.25, every=1), one)
    _, bound = dense(case, 8, u, rule=rule)
    times = np.arange(1, LENGTH + 1) * 7.3
    assert_within(project(u, system, rule, times=times, every=1), one, LENGTH * bound)


@pytest.mark.parametrize("order", [1, 5, 33])
@pytest.mark.parametrize("repeat", [2, 5])
def test_the_exact_rule_does_not_see_the_sampling_rate(order, repeat):
    """Every sample held `repeat` times is the same signal on a stretched time axis."""
    case = Case("legs", "probability")
    u = signal((2, LENGTH))
    system = case.system(order)
    one = project(u, system, "exact", every=1)
    stretched = project(np.repeat(u, repeat, axis=-1), system, "exact", every=repeat)
    _, bound = dense(case, order, u, rule="exact")
    assert_within(stretched, one, repeat * bound)


@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist"])
@pytest.mark.parametrize("rule", ["backward", "bilinear", "zoh", "exact"])
def test_lower_triangular_systems_are_nested(measure, rule):
    """The first n coefficients do not know how many follow."""
    p = poles(24)
    step = step_for(Case(measure, "probability"))
    u = signal((3, LENGTH))
    extra = {"poles": p} if measure == "malmquist" else {}
    long = project(u, rv.hippo.system(measure, 24, **extra), rule, step=step, every=1)
    extra = {"poles": p[:7]} if measure == "malmquist" else {}
    short = project(u, rv.hippo.system(measure, 7, **extra), rule, step=step, every=1)
    bound = STEP * 28 * LENGTH * EPS * np.abs(long).max()
    assert_within(short, np.ascontiguousarray(long[..., :7]), bound)


@pytest.mark.parametrize("order", ORDERS)
def test_time_after_a_block(order):
    memory = memory_run(signal((2, 10)), rv.hippo.system("legs", order), "bilinear", step=0.5)
    assert memory.time == 5.0
