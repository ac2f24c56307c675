"""Reflection coefficients, Schur-Cohn and starting values, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hippo_support import ENTRY, EPS, assert_bits, assert_within
from hypothesis import assume, given
from hypothesis import strategies as st

import resolvent as rv
from oracles import rational as oracle

COMPLEX = 3
KINDS = ("zeros", "xavier", "montel", "reflection")

inside = st.floats(-0.95, 0.95, allow_subnormal=False)
reflections = st.lists(inside, min_size=1, max_size=12)


def model(a):
    a = np.asarray(a)
    return rv.rational.TransferFunction(np.ones_like(a), a)


def gap(k):
    """1 - max |k|, exactly."""
    return 1 - max(abs(v) for v in k)


# ---------------------------------------------------------------------------------------------
# Up and down.


@given(reflections)
def test_step_up_against_fractions(k):
    wanted = oracle.floats(oracle.step_up(oracle.fractions(k)))
    assert_within(
        rv.rational.from_reflection(k), wanted, EPS * (oracle.step_up_rounding(k) + abs(wanted))
    )


@given(reflections)
def test_step_down_against_fractions(k):
    a = oracle.floats(oracle.step_up(oracle.fractions(k)))  # rounded: its k are not quite these
    wanted = oracle.step_down(oracle.fractions(a))
    bound = EPS * oracle.step_down_rounding(a)
    assume(bound.max() < 1e-3 * gap(k))  # beyond that the bound, of first order, says nothing
    assert_within(rv.rational.reflection(a), oracle.floats(wanted), 2 * bound + EPS)


@given(reflections)
def test_up_and_down_again(k):
    a = rv.rational.from_reflection(k)
    bound = oracle.step_down_rounding(a)
    # an error of a is one that the way down may have made; it is as large as a few of its own
    up = oracle.step_up_rounding(k).max() + np.abs(a).max()
    bound = EPS * bound * (1 + up)
    assume(bound.max() < 1e-3 * gap(k))
    assert_within(rv.rational.reflection(a), k, 4 * bound + EPS)


@given(reflections)
def test_every_point_of_the_cube_is_a_stable_polynomial(k):
    a = rv.rational.from_reflection(k)
    assume(EPS * oracle.step_down_rounding(a).max() < 1e-3 * gap(k))
    assert oracle.is_stable(oracle.fractions(a))  # by Routh's table
    assert model(a).is_stable()
    assert np.abs(np.roots(np.append(1, a))).max() < 1


def test_by_hand():
    """(1 + 0.5 z)(1 - 0.25 z): k_2 = -1/8, k_1 = (1/4)(1 + 1/8)/(1 - 1/64) = 2/7."""
    assert_within(rv.rational.reflection([0.25, -0.125]), [2 / 7, -0.125], ENTRY * EPS)
    assert_bits(rv.rational.from_reflection([0.5]), np.array([0.5]))
    assert_bits(rv.rational.from_reflection([0.5, 0.25]), np.array([0.625, 0.25]))
    assert_bits(rv.rational.from_reflection([0.5, 0.25, -0.5]), np.array([0.5, -0.0625, -0.5]))


def test_the_one_and_only_order():
    """k_d comes last in both: the product of all poles, up to sign."""
    k = np.array([0.1, -0.2, 0.3, -0.4])
    a = rv.rational.from_reflection(k)
    assert a[-1] == k[-1]
    assert abs(np.prod(model(a).poles()) - a[-1]) <= ENTRY * 4 * EPS
    first = rv.rational.from_reflection(k[:1])
    assert first[0] == k[0]


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_complex_coefficients(order):
    rng = np.random.default_rng(order)
    k = 0.8 * rng.random(order) * np.exp(2j * np.pi * rng.random(order))
    a = rv.rational.from_reflection(k)
    wanted = np.array([complex(v) for v in oracle.step_up(list(k))])
    assert a.dtype == np.complex128
    assert_within(a, wanted, COMPLEX * EPS * (oracle.step_up_rounding(k) + abs(wanted)))
    assert np.abs(np.roots(np.append(1, a))).max() < 1
    assert model(a).is_stable()
    bound = oracle.step_down_rounding(a) * (1 + oracle.step_up_rounding(k).max() + abs(a).max())
    assert_within(rv.rational.reflection(a), k, COMPLEX * EPS * (4 * bound + 1))


def test_batches_and_single_precision():
    rng = np.random.default_rng(0)
    k = rng.uniform(-0.7, 0.7, (2, 3, 4))
    a = rv.rational.from_reflection(k)
    down = rv.rational.reflection(a)
    margin = np.asarray(model(a).stability_margin())
    assert a.shape == down.shape == (2, 3, 4)
    assert margin.shape == (2, 3)
    for i in np.ndindex(2, 3):
        assert_bits(a[i], rv.rational.from_reflection(k[i]))
        assert_bits(down[i], rv.rational.reflection(a[i]))
        assert float(margin[i]) == float(model(a[i]).stability_margin())
    # single precision has too few digits for these recursions: they run in double
    single = k.astype(np.float32)
    assert_bits(
        rv.rational.from_reflection(single), rv.rational.from_reflection(single.astype(float))
    )
    assert_bits(rv.rational.reflection(single), rv.rational.reflection(single.astype(float)))


def test_large_orders_stay_stable():
    """d = 200 with |k| < 0.5: no bound of the polynomial's roots would find it."""
    k = np.random.default_rng(1).uniform(-0.5, 0.5, 200)
    a = rv.rational.from_reflection(k)
    wanted = oracle.floats(oracle.step_up([oracle.mp.mpf(float(v)) for v in k]))
    assert_within(a, wanted, EPS * (oracle.step_up_rounding(k) + abs(wanted)))
    assert np.abs(a).sum() > 1
    assert model(a).is_stable()
    assert np.abs(model(a).poles()).max() < 1


# ---------------------------------------------------------------------------------------------
# Stability and its margin.


@given(st.lists(st.integers(-24, 24), min_size=1, max_size=6))
def test_stability_is_exact_for_small_fractions(numerators):
    """Coefficients n/8, on the boundary too, where rounding decides nothing."""
    a = [Fraction(n, 8) for n in numerators]
    k = oracle.step_down(a)
    values = oracle.floats(a)
    if k is not None:
        bound = EPS * oracle.step_down_rounding(values).max()
        distance = min(abs(1 - abs(v)) for v in k)
        assume(bound < 1e-3 * distance or (len(a) <= 1))
        assert oracle.is_stable(a) == all(abs(v) < 1 for v in k)  # two criteria, one answer
    assert bool(model(values).is_stable()) == oracle.is_stable(a)


@pytest.mark.parametrize(
    "a",
    [
        [1.0],  # zeta = -1
        [-1.0],  # zeta = 1
        [0.0, 1.0],  # +-i
        [-1.0, 1.0],  # sixth roots of unity
        [-2.0, 1.0],  # 1 twice
        [0.0, 0.0, -1.0],  # cube roots of unity
        [-1.5, 0.5],  # 1 and 1/2
        [2.5, 1.0],  # -2 and -1/2: the last coefficient is 1
    ],
)
def test_roots_on_the_circle_are_not_stable(a):
    assert not model(a).is_stable()
    assert float(model(a).stability_margin()) <= 0


@given(reflections)
def test_the_margin_against_fractions(k):
    a = oracle.floats(oracle.step_up(oracle.fractions(k)))
    wanted = 1 - max(abs(v) for v in oracle.step_down(oracle.fractions(a)))
    bound = EPS * oracle.step_down_rounding(a).max()
    assume(bound < 1e-3 * gap(k))
    assert_within(model(a).stability_margin(), float(wanted), 2 * bound + EPS)


@given(st.lists(st.floats(-3, 3, allow_subnormal=False), min_size=1, max_size=6))
def test_the_margin_is_positive_for_stable_models_alone(a):
    exact = oracle.fractions(a)
    k = oracle.step_down(exact)
    assume(k is not None)
    bound = EPS * oracle.step_down_rounding(np.array(a)).max()
    assume(bound < 1e-3 * min(abs(1 - abs(v)) for v in k))
    margin = float(model(a).stability_margin())
    assert (margin > 0) == oracle.is_stable(exact) == bool(model(a).is_stable())


def test_the_margin_by_hand():
    assert float(model(np.zeros(3)).stability_margin()) == 1
    assert float(model([0.75]).stability_margin()) == 0.25
    assert float(model([-0.75]).stability_margin()) == 0.25
    found = float(model([0.25, -0.125]).stability_margin())
    assert abs(found - 5 / 7) <= ENTRY * EPS


@pytest.mark.parametrize("distance", [1e-3, 1e-8, 1e-14])
def test_close_to_the_circle(distance):
    """One pole on either side: the margin keeps its absolute accuracy, and so does the sign."""
    for sign in (-1, 1):
        for a, stable in ((1 - distance, True), (1 + distance, False)):
            tf = model([sign * a])
            assert bool(tf.is_stable()) is stable
            assert abs(float(tf.stability_margin()) - (1 - a)) <= EPS


def test_sum_below_one_is_sufficient():
    rng = np.random.default_rng(4)
    for order in (1, 3, 10, 40):
        a = rng.standard_normal(order)
        assert model(0.999 * a / np.abs(a).sum()).is_stable()
        assert not model(-1.001 * np.abs(a) / np.abs(a).sum()).is_stable()  # a real root beyond 1


# ---------------------------------------------------------------------------------------------
# Starting values.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [(), (5,), (2, 3)])
def test_shapes_and_seeds_of_initial_models(kind, channels):
    tf = rv.rational.initial(6, kind, channels=channels, seed=1)
    assert isinstance(tf, rv.rational.TransferFunction)
    assert tf.a.shape == tf.b.shape == (*channels, 6)
    assert np.isfinite(tf.a).all()
    assert np.isfinite(tf.b).all()
    again = rv.rational.initial(6, kind, channels=channels, seed=1)
    assert_bits(tf.a, again.a)
    assert_bits(tf.b, again.b)
    if kind != "zeros":
        other = rv.rational.initial(6, kind, channels=channels, seed=2)
        assert (tf.a != other.a).all()
        free = rv.rational.initial(6, kind, channels=channels)
        assert (tf.a != free.a).all()


def test_zeros_are_a_window():
    """a = 0: a filter of d taps."""
    tf = rv.rational.initial(4, "zeros", channels=(3,), seed=0)
    assert not tf.a.any()
    wanted = np.concatenate([tf.b, np.zeros((3, 5))], axis=-1)
    wanted[:, 0] += tf.direct
    assert_bits(tf.kernel(9), wanted)


@pytest.mark.parametrize("order", [1, 2, 16, 64])
def test_montel_models_are_stable_by_their_sums(order):
    tf = rv.rational.initial(order, "montel", channels=(50,), seed=3)
    sums = np.abs(tf.a).sum(axis=-1)
    assert (sums < 1).all()
    assert (sums > 0).all()
    assert np.asarray(tf.is_stable()).all()


@pytest.mark.parametrize("order", [1, 2, 8, 16])
@pytest.mark.parametrize("radius", [0.1, 0.9])
def test_reflection_models_fill_the_cube_up_to_the_radius(order, radius):
    tf = rv.rational.initial(order, "reflection", channels=(50,), seed=3, radius=radius)
    assert np.asarray(tf.is_stable()).all()
    k = rv.rational.reflection(tf.a)
    bound = max(EPS * oracle.step_down_rounding(a).max() for a in tf.a)
    assert np.abs(k).max() <= radius + 4 * bound
    assert np.abs(k).max() > 0.8 * radius
    assert k.min() < 0 < k.max()


@pytest.mark.parametrize("order", [32, 64])
def test_reflection_models_of_large_orders_are_stable_as_rounded(order):
    """With |k| up to 0.9 rounding a makes some polynomials of order 64 unstable: not as they come.

    Their poles say so, without the step-down recursion.
    """
    tf = rv.rational.initial(order, "reflection", channels=(50,), seed=3)
    assert np.asarray(tf.is_stable()).all()
    for a in tf.a:
        assert np.abs(np.roots(np.append(1, a))).max() < 1


def test_xavier_models_have_the_variance_of_their_name():
    """Of order 1/d: the norm of a neither grows nor dies with d."""
    norms = [
        np.linalg.norm(rv.rational.initial(order, "xavier", channels=(200,), seed=5).a, axis=-1)
        for order in (4, 64)
    ]
    for values in norms:
        assert 0.3 < values.mean() < 3
