"""Laws that hold for every signal: linearity, causality, partitions, round trips."""

from __future__ import annotations

import numpy as np
from hippo_support import (
    CASES,
    ENTRY,
    EPS,
    REAL_CASES,
    RULES,
    STEP,
    assert_bits,
    assert_within,
    stability_warnings_allowed,
    step_for,
)
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import hippo as oracle

ORDERS = st.sampled_from([1, 3, 5, 9])
ANY_CASE = st.sampled_from(CASES)
REAL_CASE = st.sampled_from(REAL_CASES)
RULE = st.sampled_from(RULES)
STABLE = st.sampled_from([r for r in RULES if r not in ("forward", "gbt")])
VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


def signals(shortest=1):
    """Arrays (2, L) of moderate samples, L up to 20."""
    return st.integers(shortest, 20).flatmap(
        lambda n: st.lists(VALUES, min_size=2 * n, max_size=2 * n).map(
            lambda v: np.array(v).reshape(2, n)
        )
    )


def run(u, system, rule, case, **options):
    with stability_warnings_allowed(rule):
        return rv.hippo.project(u, system, rule=rule, step=step_for(case), **options)


def rounding(x, u, order):
    """What a stable recurrence of u.shape[-1] steps may lose."""
    scale = max(np.abs(x).max(initial=0.0), np.abs(u).max(initial=0.0) * np.sqrt(2 * order))
    return STEP * (order + 4) * (u.shape[-1] + 1) * order * EPS * scale


@given(ANY_CASE, ORDERS, STABLE, signals(), st.floats(-10, 10), st.floats(-10, 10))
def test_linear(case, order, rule, u, p, q):
    system = case.system(order)
    v = u[::-1]
    left = run(p * u + q * v, system, rule, case)
    right = p * run(u, system, rule, case) + q * run(v, system, rule, case)
    assert_within(left, right, rounding(right, (abs(p) + abs(q)) * np.abs(u), order))


@given(ANY_CASE, ORDERS, RULE, signals(), st.integers(-20, 20), st.booleans())
def test_powers_of_two_and_signs_are_exact(case, order, rule, u, exponent, negative):
    factor = (-1.0 if negative else 1.0) * 2.0**exponent
    system = case.system(order)
    assert np.array_equal(run(factor * u, system, rule, case), factor * run(u, system, rule, case))


@given(ANY_CASE, ORDERS, RULE, signals(), st.data())
def test_any_partition_gives_the_same_bits(case, order, rule, u, data):
    length = u.shape[-1]
    cuts = data.draw(st.lists(st.integers(0, length), max_size=5).map(sorted))
    system = case.system(order)
    whole = run(u, system, rule, case)
    with stability_warnings_allowed(rule):
        memory = rv.hippo.Memory(system, rule=rule, step=step_for(case), channels=(2,))
        for start, end in zip([0, *cuts], [*cuts, length], strict=True):
            if end > start:
                memory.update(u[:, start:end])
    assert_bits(memory.coefficients, whole)


@given(ANY_CASE, ORDERS, RULE, signals(2), st.data())
def test_the_past_does_not_know_the_future(case, order, rule, u, data):
    split = data.draw(st.integers(1, u.shape[-1] - 1))
    other = u.copy()
    other[:, split:] = data.draw(VALUES)
    system = case.system(order)
    one, two = (run(v, system, rule, case, every=1)[:, :split] for v in (u, other))
    assert np.array_equal(one, two, equal_nan=True)


@given(ANY_CASE, ORDERS, STABLE, signals(), st.floats(0.01, 100))
def test_only_the_ratio_of_step_and_window_counts(case, order, rule, u, stretch):
    step = step_for(case)
    one = rv.hippo.project(u, case.system(order), rule=rule, step=step)
    two = rv.hippo.project(u, case.system(order, stretch), rule=rule, step=stretch * step)
    assert_within(two, one, rounding(one, u, order))


@given(ANY_CASE, ORDERS, STABLE, signals(), st.data())
def test_normalizations_commute_with_time_stepping(case, order, rule, u, data):
    names = oracle.NORMALIZATIONS[case.measure]
    target = data.draw(st.sampled_from(names))
    source = case.system(order)
    end = source.to(target)
    found = run(u, end, rule, case)
    expected = rv.hippo.convert(run(u, source, rule, case), source, target)
    assert found.dtype == expected.dtype
    assert_within(found, expected, rounding(expected, u, order) * (2 * order))


@given(ANY_CASE, ORDERS, st.data())
def test_conversions_return(case, order, data):
    names = oracle.NORMALIZATIONS[case.measure]
    target = data.draw(st.sampled_from(names))
    values = data.draw(st.lists(VALUES, min_size=order, max_size=order).map(np.array))
    if case.normalization == "complex":
        values = oracle.fourier_real_to_complex(order) @ values
    source = case.system(order)
    there = rv.hippo.convert(values, source, target)
    back = rv.hippo.convert(there, source.to(target), case.normalization)
    assert_within(back, values, ENTRY * EPS * np.abs(values).max(initial=0.0) * 2)


@given(REAL_CASE, ORDERS, signals(), st.floats(0.05, 1.0))
def test_the_projection_of_a_later_zero_is_linear_and_causal(case, order, u, fraction):
    """Samples after `at` do not count."""
    step = step_for(case)
    at = fraction * u.shape[-1] * step
    other = u.copy()
    other[:, int(np.ceil(at / step)) + 1 :] += 1.0
    system = case.system(order)
    one, two = (rv.hippo.optimal(v, system, at=at, step=step) for v in (u, other))
    assert np.array_equal(one, two)


@given(REAL_CASE, ORDERS, st.data())
def test_solve_undoes_the_resolvent_equation(case, order, data):
    v = data.draw(st.lists(VALUES, min_size=order, max_size=order).map(np.array))
    lam = data.draw(st.floats(0, 10))
    system = case.system(order)
    a, _ = case.matrices(order)
    matrix = np.eye(order) - lam * a
    z = system.solve(lam, v)
    size = np.abs(matrix).sum(axis=1).max() * np.abs(z).max(initial=0.0)
    assert_within(z - lam * system.apply(z), v, STEP * (order + 4) * order * EPS * size)


@given(st.integers(2, 12), st.floats(0.02, 50))
def test_identify_recovers_the_window(order, window):
    found = rv.hippo.identify(*oracle.legt(order, "probability", window))
    assert (found.measure, found.normalization) == ("legt", "probability")
    assert abs(found.window / window - 1) < 64 * EPS
