"""Fits: exactly rational data are found again, errors are what they say, noise stays noise."""

from __future__ import annotations

import numpy as np
import pytest
from hippo_support import EPS, assert_within

import resolvent as rv
from oracles import rational as oracle

METHODS = ("aaa", "era", "prony")
# A fit loses the condition of its Hankel matrix, times the growth of its recurrence.
FIT = 100


def data(order, length=80, radius=0.85, seed=0):
    """A kernel of exactly this order, and the condition of finding it."""
    b, a = oracle.model(order, radius, seed)
    values = oracle.kernel(b, a, length)
    return b, a, values, oracle.hankel_condition(values, order)


def relative(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def kernel_of(result, length):
    """The kernel of what was found, by the oracle."""
    tf = result.transfer_function
    direct = np.asarray(tf.direct)
    assert direct.ndim == 0
    return oracle.kernel(tf.b, tf.a, length, direct.item())


# ---------------------------------------------------------------------------------------------
# Exactly rational data.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_rational_kernels_are_recovered(method, order):
    _, a, values, condition = data(order)
    result = rv.rational.fit(values, order, method)
    assert result.method == method
    assert result.order == order
    tf = result.transfer_function
    assert isinstance(tf, rv.rational.TransferFunction)
    assert tf.a.dtype == tf.b.dtype == np.float64
    tolerance = FIT * order * EPS * condition
    assert tolerance < 1e-6
    assert relative(kernel_of(result, 80), values) <= tolerance
    roots = oracle.roots(a)
    poles = tf.poles()
    found = poles[oracle.matched(poles, roots)]
    assert_within(found, roots, tolerance * oracle.roots_rounding(roots).max())


@pytest.mark.parametrize("method", METHODS)
def test_the_fit_predicts_beyond_its_data(method):
    b, a, values, condition = data(3, length=30)
    result = rv.rational.fit(values, 3, method)
    longer = oracle.kernel(b, a, 200)
    assert relative(kernel_of(result, 200), longer) <= 10 * FIT * EPS * condition


@pytest.mark.parametrize("method", METHODS)
def test_the_default_method_is_aaa(method):
    values = data(2)[2]
    result = rv.rational.fit(values, 2)
    assert result.method == "aaa"
    if method == "aaa":
        explicit = rv.rational.fit(values, 2, method)
        assert np.array_equal(result.transfer_function.a, explicit.transfer_function.a)


@pytest.mark.parametrize("method", METHODS)
def test_the_error_curve(method):
    """One relative 2-norm error per order; the last is that of the result; a cliff at the truth."""
    order = 4
    _, _, values, condition = data(order)
    result = rv.rational.fit(values, order, method)
    errors = np.asarray(result.errors)
    assert errors.shape == (order,)
    assert np.isfinite(errors).all()
    rounding = FIT * order * EPS * condition
    assert abs(errors[-1] - relative(kernel_of(result, 80), values)) <= rounding
    assert errors[-1] <= rounding
    assert errors[:-1].min() > 1e3 * rounding
    for smaller in (1, 2, 3):
        one = rv.rational.fit(values, smaller, method)
        wanted = relative(kernel_of(one, 80), values)
        assert abs(errors[smaller - 1] - wanted) <= 1e-6 * wanted
        assert abs(np.asarray(one.errors)[-1] - wanted) <= 1e-6 * wanted


@pytest.mark.parametrize("method", METHODS)
def test_an_order_larger_than_the_truth_does_no_harm(method):
    """The surplus poles come with no residue: nothing blows up."""
    _, _, values, condition = data(2)
    result = rv.rational.fit(values, 5, method)
    assert np.isfinite(result.errors).all()
    assert relative(kernel_of(result, 80), values) <= 1e4 * FIT * EPS * condition


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-150, 1e-9, 1e9, 1e150])
def test_the_scale_of_the_data_is_only_a_factor(method, scale):
    _, _, values, condition = data(3)
    one, other = (rv.rational.fit(v, 3, method) for v in (values, scale * values))
    tolerance = FIT * 3 * EPS * condition
    roots = one.transfer_function.poles()
    size = oracle.roots_rounding(roots).max()
    assert_within(other.transfer_function.a, one.transfer_function.a, tolerance * size)
    assert relative(kernel_of(other, 80) / scale, values) <= tolerance


@pytest.mark.parametrize("method", METHODS)
def test_complex_kernels(method):
    b, a = oracle.model(3, 0.85, 1, dtype=np.complex128)
    values = oracle.kernel(b, a, 60)
    condition = oracle.hankel_condition(values, 3)
    result = rv.rational.fit(values, 3, method)
    assert result.transfer_function.a.dtype == np.complex128
    assert relative(kernel_of(result, 60), values) <= FIT * 3 * EPS * condition


@pytest.mark.parametrize("length", [7, 30, 101])
@pytest.mark.parametrize("method", METHODS)
def test_short_and_odd_kernels(method, length):
    _, _, values, condition = data(2, length=length)
    result = rv.rational.fit(values, 2, method)
    assert relative(kernel_of(result, length), values) <= FIT * 10 * EPS * condition


# ---------------------------------------------------------------------------------------------
# Samples of G.


@pytest.mark.parametrize("order", [1, 3, 5])
@pytest.mark.parametrize("where", ["circle", "half", "inside"])
def test_samples_of_a_rational_function(order, where):
    """On the whole circle, on half of it, and inside: elsewhere it is the same function."""
    b, a = oracle.model(order, 0.85, 2)
    turns = np.exp(-2j * np.pi * np.arange(64) / 64)
    z = {
        "circle": turns,
        "half": np.exp(-1j * np.linspace(0, np.pi, 50)),
        "inside": np.concatenate([0.5 * turns[::2], 0.9 * turns[1::2]]),
    }[where]
    samples = oracle.evaluate(b, a, z)
    result = rv.rational.fit(samples, order, "aaa", z=z)
    tf = result.transfer_function
    elsewhere = np.linspace(0.01, 3.1, 41)
    wanted = oracle.response(b, a, elsewhere)
    found = oracle.response(tf.b, tf.a, elsewhere, complex(tf.direct))
    condition = oracle.hankel_condition(oracle.kernel(b, a, 80), order)
    tolerance = 10 * FIT * order * EPS * condition * oracle.roots_rounding(oracle.roots(a)).max()
    assert relative(found, wanted) <= tolerance
    assert np.asarray(result.errors).shape == (order,)
    assert np.asarray(result.errors)[-1] <= tolerance


def test_samples_with_a_direct_part():
    """A numerator of full degree: AAA has it."""
    b, a = oracle.model(2, 0.85, 3)
    z = np.exp(-2j * np.pi * np.arange(48) / 48)
    samples = oracle.evaluate(b, a, z, 1.5)
    tf = rv.rational.fit(samples, 2, "aaa", z=z).transfer_function
    found = oracle.evaluate(tf.b, tf.a, z, complex(tf.direct))
    condition = oracle.hankel_condition(oracle.kernel(b, a, 80), 2)
    assert relative(found, samples) <= 10 * FIT * EPS * condition


# ---------------------------------------------------------------------------------------------
# Data that are not rational.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [1e-8, 1e-4])
def test_noise_stays_noise(method, level):
    """The fit of noisy data is as far from the truth as the noise, up to a modest factor."""
    _, _, values, condition = data(2, length=200)
    noise = np.random.default_rng(5).standard_normal(200)
    noise *= level * np.linalg.norm(values) / np.linalg.norm(noise)
    result = rv.rational.fit(values + noise, 2, method)
    assert relative(kernel_of(result, 200), values) <= FIT * level * condition
    assert np.asarray(result.errors)[-1] >= 0.5 * level  # and does not pretend to fit the noise


@pytest.mark.parametrize("method", METHODS)
def test_errors_fall_with_the_order_for_a_long_smooth_kernel(method):
    """1/(k+1)^2 is a moment sequence: rational approximations converge geometrically."""
    values = 1 / (1.0 + np.arange(400)) ** 2
    errors = np.asarray(rv.rational.fit(values, 8, method).errors)
    assert np.isfinite(errors).all()
    assert errors[7] < 1e-2 * errors[1]
    assert errors[3] < errors[0]


def test_era_of_a_long_kernel_is_near_the_best():
    """Its error is below the discarded singular values, above what any model of that order has."""
    b, a = oracle.model(12, 0.95, 4)
    values = oracle.kernel(b, a, 512)
    half = 256
    index = np.add.outer(np.arange(half), np.arange(half))
    sigma = np.linalg.svd(values[index], compute_uv=False)
    for order in (4, 8):
        found = kernel_of(rv.rational.fit(values, order, "era"), 512)
        difference = (values - found)[index]
        # an order-r Hankel matrix has rank r: no closer than sigma_{r+1}
        error = np.linalg.svd(difference, compute_uv=False)[0]
        assert error >= sigma[order] * (1 - FIT * EPS)
        assert error <= 10 * sigma[order:].sum()


@pytest.mark.parametrize("method", ["era", "prony"])
def test_growing_kernels_are_fitted_with_a_warning(method):
    """1.05^k: the pole is where it is, and is said to be unstable."""
    values = 1.05 ** np.arange(60)
    with pytest.warns(rv.StabilityWarning, match=r"1\.05") as caught:
        result = rv.rational.fit(values, 1, method)
    assert abs(caught[0].message.growth - 1.05) <= FIT * EPS
    assert relative(kernel_of(result, 60), values) <= 60 * FIT * EPS
    assert not result.transfer_function.is_stable()


def test_aaa_of_a_growing_kernel_leaves_the_pole_out():
    """The DFT of a piece of it has that pole, a decaying kernel has not: nothing is left."""
    values = 1.05 ** np.arange(60)
    with pytest.warns(rv.StabilityWarning):
        result = rv.rational.fit(values, 1, "aaa")
    assert result.transfer_function.is_stable()
    assert np.asarray(result.errors)[-1] > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_the_fit_of_nothing(method):
    """A kernel of zeros is the zero model."""
    result = rv.rational.fit(np.zeros(20), 2, method)
    assert np.isfinite(result.errors).all()
    assert np.abs(result.transfer_function.kernel(20)).max() == 0


@pytest.mark.parametrize("method", METHODS)
def test_one_delayed_pulse_is_a_fir_filter(method):
    """K = e_2: all poles at the origin, three of them."""
    values = np.eye(40)[2]
    result = rv.rational.fit(values, 3, method)
    assert relative(kernel_of(result, 40), values) <= FIT * 40 * EPS
    assert np.abs(result.transfer_function.a).max() <= FIT * 40 * EPS
