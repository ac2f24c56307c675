"""Cauchy and Vandermonde sums and their gradients, against sums in 50 digits."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import mpmath as mp
import numpy as np
import pytest
from ssm_support import EPS, EPS32, POWER, SINGLE, SUM, assert_bits, assert_within

import resolvent as rv
from oracles import ssm as oracle

SIZES = ((1, 1), (2, 3), (3, 8), (7, 5), (16, 16), (33, 9), (5, 65))
CONJUGATE = (False, True)
LENGTHS = (1, 2, 3, 7, 16, 33, 130)


def numbers(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def cauchy_data(n, k, seed=0):
    """v, z on the unit circle, eigenvalues on both sides of it."""
    rng = np.random.default_rng([seed, n, k])
    z = np.exp(2j * np.pi * rng.random(k))
    return numbers(rng, n), z, 0.7 * numbers(rng, n), numbers(rng, k)


def vandermonde_data(n, length, seed=0):
    """v, eigenvalues of modulus up to 1, g."""
    rng = np.random.default_rng([seed, n, length])
    lam = rng.random(n) ** 0.1 * np.exp(2j * np.pi * rng.random(n))
    return numbers(rng, n), lam, numbers(rng, length)


def sum_bound(size, terms, eps=EPS):
    return (SUM + terms) * eps * size


def power_bound(size, terms, powers, eps=EPS):
    """A relative error of eps in lambda, which no method undercuts by far, is k eps in lambda^k."""
    return (SUM + terms + POWER * np.asarray(powers)) * eps * size


# ---------------------------------------------------------------------------------------------
# The oracles among themselves.


@pytest.mark.parametrize("conjugate", CONJUGATE)
def test_the_gradients_of_the_oracle_are_difference_quotients(conjugate):
    """d Re sum conj(g) f by each variable in 50 digits, without the library."""
    v, z, lam, g = cauchy_data(3, 4)
    with oracle.fifty_digits:
        big_v, big_z, big_lam, big_g = (oracle.exact.to_mp(x) for x in (v, z, lam, g))

        def cauchy_loss(v, z, lam):
            total = mp.mpf(0)
            for weight, point in zip(big_g, z, strict=True):
                for residue, pole in zip(v, lam, strict=True):
                    value = residue / (point - pole)
                    if conjugate:
                        value += mp.conj(residue) / (point - mp.conj(pole))
                    total += mp.re(mp.conj(weight) * value)
            return total

        def vandermonde_loss(v, lam):
            total = mp.mpf(0)
            for k, weight in enumerate(big_g):
                for residue, pole in zip(v, lam, strict=True):
                    value = residue * pole**k
                    weighed = 2 * mp.re(weight) * mp.re(value)
                    total += weighed if conjugate else mp.re(mp.conj(weight) * value)
            return total

    of_v, _, of_z, _, of_lam, _ = oracle.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    for actual, loss, at in (
        (of_v, lambda x: cauchy_loss(x, big_z, big_lam), v),
        (of_z, lambda x: cauchy_loss(big_v, x, big_lam), z),
        (of_lam, lambda x: cauchy_loss(big_v, big_z, x), lam),
    ):
        expected = oracle.gradient(loss, at)
        assert_within(actual, expected, 4 * EPS * np.abs(expected).max())

    weights = g.real if conjugate else g
    of_v, _, of_lam, _ = oracle.vandermonde_vjp(v, lam, weights, conjugate=conjugate)
    for actual, loss, at in (
        (of_v, lambda x: vandermonde_loss(x, big_lam), v),
        (of_lam, lambda x: vandermonde_loss(big_v, x), lam),
    ):
        expected = oracle.gradient(loss, at)
        assert_within(actual, expected, 4 * EPS * np.abs(expected).max())


def test_a_cauchy_sum_is_the_generating_function_of_a_vandermonde_sum():
    """sum_k z^k sum_n v_n lambda_n^k = sum_n (v_n/z)/(1/z - lambda_n) where |z lambda_n| < 1."""
    v, lam, _ = vandermonde_data(4, 1)
    lam = 0.3 * lam
    kernel, size = oracle.vandermonde(v, lam, 40)
    z = 0.9 * np.exp(1j * np.array([0.0, 1.0, 2.5]))
    total = (kernel * z[:, None] ** np.arange(40)).sum(axis=1)
    value, _ = oracle.cauchy(v, 1 / z, lam)
    assert_within(value / z, total, 64 * EPS * size.sum() + 0.27**40 * size[0])


# ---------------------------------------------------------------------------------------------
# Cauchy sums.


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_cauchy(n, k, conjugate):
    v, z, lam, _ = cauchy_data(n, k)
    expected, size = oracle.cauchy(v, z, lam, conjugate=conjugate)
    actual = rv.ssm.cauchy(v, z, lam, conjugate=conjugate)
    assert actual.dtype == np.complex128
    assert_within(actual, expected, sum_bound(size, n))


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize("distance", [1e-3, 1e-8, 1e-13])
def test_cauchy_near_a_pole(distance, conjugate):
    """z - lambda is exact in the one that is near; the pair's real form would square the loss."""
    v, _, lam, _ = cauchy_data(4, 1)
    z = lam[1] * (1 + distance * np.exp(1j * np.arange(6)))
    expected, size = oracle.cauchy(v, z, lam, conjugate=conjugate)
    assert_within(rv.ssm.cauchy(v, z, lam, conjugate=conjugate), expected, sum_bound(size, 4))


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize("exponent", [-140, -60, 60, 140])
def test_cauchy_of_huge_and_tiny_arguments(exponent, conjugate):
    """As long as the terms are in range; nothing on the way may be squared without care."""
    v, z, lam, _ = cauchy_data(3, 4)
    z, lam = z * 10.0**exponent, lam * 10.0**exponent
    expected, size = oracle.cauchy(v, z, lam, conjugate=conjugate)
    assert_within(rv.ssm.cauchy(v, z, lam, conjugate=conjugate), expected, sum_bound(size, 3))


def test_cauchy_of_points_far_from_the_poles():
    """Where bilinear's sigma goes to infinity as z goes to -1."""
    v, z, lam, _ = cauchy_data(3, 4)
    for far in (1e16, 1e80, 1e150):
        expected, size = oracle.cauchy(v, far * z, lam, conjugate=True)
        actual = rv.ssm.cauchy(v, far * z, lam, conjugate=True)
        assert_within(actual, expected, sum_bound(size, 3))


def test_cauchy_of_real_arrays_and_of_integers():
    v, z, lam = np.array([1, 2, -3]), np.array([5, 7]), np.array([-1, -2, 0])
    expected = [1 / 6 + 2 / 7 - 3 / 5, 1 / 8 + 2 / 9 - 3 / 7]
    for kind in (np.int64, np.float64, list):
        args = (v.tolist(), z.tolist(), lam.tolist()) if kind is list else (
            x.astype(kind) for x in (v, z, lam)
        )  # fmt: skip
        actual = rv.ssm.cauchy(*args)
        assert actual.dtype == np.complex128
        assert_within(actual, expected, 16 * EPS)


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3), (4,), (3,)),
        ((3,), (2, 4), (3,)),
        ((3,), (4,), (2, 3)),
        ((2, 1, 3), (4,), (5, 3)),
        ((2, 5, 3), (5, 4), (1, 3)),
        ((1, 3), (2, 4), (2, 3)),
        ((0, 3), (4,), (3,)),
    ],
    ids=str,
)
def test_cauchy_broadcasts_its_leading_axes(shapes, conjugate):
    rng = np.random.default_rng(1)
    v, z, lam = (numbers(rng, *shape) for shape in shapes)
    batch = np.broadcast_shapes(*(shape[:-1] for shape in shapes))
    g = numbers(rng, *batch, 4)
    actual = rv.ssm.cauchy(v, z, lam, conjugate=conjugate)
    gradients = rv.ssm.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    assert actual.shape == (*batch, 4)
    assert tuple(x.shape for x in gradients) == shapes
    if 0 in batch:
        return
    expected, size = oracle.cauchy(v, z, lam, conjugate=conjugate)
    assert_within(actual, expected, sum_bound(size, 3))
    wanted = oracle.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    for actual, value, size, shape in zip(
        gradients, wanted[::2], wanted[1::2], shapes, strict=True
    ):
        bound = sum_bound(oracle.summed_to(size, shape), 8 + np.prod(batch, dtype=int))
        assert_within(actual, oracle.summed_to(value, shape), bound)


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_cauchy_gradients(n, k, conjugate):
    v, z, lam, g = cauchy_data(n, k)
    expected = oracle.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    actual = rv.ssm.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    for name, found, value, size in zip(
        ("v", "z", "lambda"), actual, expected[::2], expected[1::2], strict=True
    ):
        assert found.dtype == np.complex128
        assert_within(found, value, sum_bound(size, 2 * max(n, k)), name)


@pytest.mark.parametrize("conjugate", CONJUGATE)
def test_cauchy_gradients_near_a_pole(conjugate):
    v, _, lam, _ = cauchy_data(4, 1)
    z = lam[1] * (1 + 1e-7 * np.exp(1j * np.arange(6)))
    g = numbers(np.random.default_rng(2), 6)
    expected = oracle.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    actual = rv.ssm.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    for found, value, size in zip(actual, expected[::2], expected[1::2], strict=True):
        assert_within(found, value, sum_bound(size, 8))


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize(("n", "k"), [(64, 1031), (257, 40), (1, 4097)])
def test_cauchy_beyond_one_tile(n, k, conjugate):
    """Sizes that no tile divides, in plain NumPy with all terms at once."""
    v, z, lam, g = cauchy_data(n, k)
    inverse = 1 / (z[:, None] - lam)
    mirrored = 1 / (z[:, None] - lam.conj())
    value, size = inverse @ v, np.abs(inverse) @ np.abs(v)
    of_v, of_lam = g @ inverse.conj(), v.conj() * (g @ inverse.conj() ** 2)
    of_z = -((inverse**2 @ v).conj() * g)
    if conjugate:
        value, size = value + mirrored @ v.conj(), size + np.abs(mirrored) @ np.abs(v)
        of_v = of_v + g.conj() @ mirrored
        of_lam = of_lam + v.conj() * (g.conj() @ mirrored**2)
        of_z = of_z - (mirrored**2 @ v.conj()).conj() * g
    assert_within(rv.ssm.cauchy(v, z, lam, conjugate=conjugate), value, sum_bound(size, 2 * n))
    squares = np.abs(inverse) ** 2 + np.abs(mirrored) ** 2
    sizes = (
        np.abs(g) @ (np.abs(inverse) + np.abs(mirrored)),
        (squares @ np.abs(v)) * np.abs(g),
        np.abs(v) * (np.abs(g) @ squares),
    )
    found = rv.ssm.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    for one, other, size in zip(found, (of_v, of_z, of_lam), sizes, strict=True):
        assert_within(one, other, sum_bound(size, 2 * max(n, k)))


@pytest.mark.parametrize("conjugate", CONJUGATE)
def test_single_precision_cauchy(conjugate):
    v, z, lam, g = (x.astype(np.complex64) for x in cauchy_data(32, 64))
    value, size = oracle.cauchy(v, z, lam, conjugate=conjugate)
    actual = rv.ssm.cauchy(v, z, lam, conjugate=conjugate)
    assert actual.dtype == np.complex64
    assert_within(actual, value, sum_bound(size, 32, EPS32))
    expected = oracle.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    found = rv.ssm.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    for one, value, size in zip(found, expected[::2], expected[1::2], strict=True):
        assert one.dtype == np.complex64
        assert_within(one, value, sum_bound(size, 128, EPS32))


def test_one_double_argument_makes_the_cauchy_sum_double():
    single = [x.astype(np.complex64) for x in cauchy_data(3, 4)[:3]]
    for position in range(3):
        args = list(single)
        args[position] = args[position].astype(np.complex128)
        assert rv.ssm.cauchy(*args).dtype == np.complex128
    real = (np.ones(3, np.float32), np.full(4, 5.0, np.float32), np.zeros(3, np.float32))
    assert rv.ssm.cauchy(*real).dtype == np.complex64


# ---------------------------------------------------------------------------------------------
# Vandermonde sums.


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize("n", [1, 2, 5, 17])
@pytest.mark.parametrize("length", LENGTHS)
def test_vandermonde(n, length, conjugate):
    v, lam, _ = vandermonde_data(n, length)
    expected, size = oracle.vandermonde(v, lam, length, conjugate=conjugate)
    actual = rv.ssm.vandermonde(v, lam, length, conjugate=conjugate)
    assert actual.dtype == (np.float64 if conjugate else np.complex128)
    assert_within(actual, expected, power_bound(size, n, np.arange(length)))


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize("n", [1, 2, 5, 17])
@pytest.mark.parametrize("length", LENGTHS)
def test_vandermonde_gradients(n, length, conjugate):
    v, lam, g = vandermonde_data(n, length)
    g = g.real if conjugate else g
    expected = oracle.vandermonde_vjp(v, lam, g, conjugate=conjugate)
    actual = rv.ssm.vandermonde_vjp(v, lam, g, conjugate=conjugate)
    for name, found, value, size in zip(
        ("v", "lambda"), actual, expected[::2], expected[1::2], strict=True
    ):
        assert found.dtype == np.complex128
        assert_within(found, value, power_bound(size, length, length), name)


def test_powers_of_zero_and_one():
    """0^0 = 1; an eigenvalue 1 never decays, -1 alternates exactly."""
    v = np.array([3.0, 2.0, 5.0])
    lam = np.array([0.0, 1.0, -1.0])
    expected = 2.0 + 5.0 * (-1.0) ** np.arange(9) + 3.0 * (np.arange(9) == 0)
    assert_within(rv.ssm.vandermonde(v, lam, 9), expected, 0.0)
    assert_within(rv.ssm.vandermonde(v, lam, 9, conjugate=True), 2 * expected, 0.0)
    of_v, of_lam = rv.ssm.vandermonde_vjp(v, lam, np.ones(9))
    assert_within(of_v, [1.0, 9.0, 1.0], 0.0)
    assert_within(of_lam, [3.0, 2.0 * 36, 5.0 * -4], 0.0)  # 1, sum of k, sum of k (-1)^(k-1)


@pytest.mark.parametrize("modulus", [1e-200, 1e-3, 1.0, 1 + 2.0**-10])
def test_vandermonde_of_tiny_and_growing_eigenvalues(modulus):
    """Underflow to zero, and growth within range; no overflow on the way."""
    v, lam, _ = vandermonde_data(3, 400)
    lam = modulus * np.exp(1j * np.angle(lam))
    expected, size = oracle.vandermonde(v, lam, 400)
    smallest = 16 * np.finfo(np.float64).tiny
    bound = power_bound(size, 3, np.arange(400)) + smallest
    assert_within(rv.ssm.vandermonde(v, lam, 400), expected, bound)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-970, 2.0**1000])
def test_vandermonde_sums_of_any_size(scale):
    """Linear in v to the bit, down to where the results are no longer normal numbers."""
    v, lam, g = vandermonde_data(3, 10)
    assert_bits(rv.ssm.vandermonde(scale * v, lam, 10), scale * rv.ssm.vandermonde(v, lam, 10))
    of_v, of_lam = rv.ssm.vandermonde_vjp(scale * v, lam, g)
    expected = rv.ssm.vandermonde_vjp(v, lam, g)
    assert_bits(of_v, expected[0])
    assert_bits(of_lam, scale * expected[1])


def test_long_vandermonde_sums_in_closed_form():
    """Roots of unity: periodic for ever, and an error of eps in lambda grows with k."""
    length, period = 2**16, 12
    lam = np.exp(2j * np.pi * np.arange(period) / period)
    actual = rv.ssm.vandermonde(np.ones(period), lam, length)
    expected = period * (np.arange(length) % period == 0)
    assert_within(actual, expected, power_bound(period, period, np.arange(length)))


@pytest.mark.parametrize("conjugate", CONJUGATE)
@pytest.mark.parametrize(
    "shapes", [((2, 3), (3,)), ((3,), (2, 3)), ((2, 1, 3), (4, 3)), ((0, 3), (3,))], ids=str
)
def test_vandermonde_broadcasts_its_leading_axes(shapes, conjugate):
    rng = np.random.default_rng(3)
    v, lam = numbers(rng, *shapes[0]), 0.6 * numbers(rng, *shapes[1])
    batch = np.broadcast_shapes(shapes[0][:-1], shapes[1][:-1])
    g = rng.standard_normal((*batch, 6))
    actual = rv.ssm.vandermonde(v, lam, 6, conjugate=conjugate)
    gradients = rv.ssm.vandermonde_vjp(v, lam, g, conjugate=conjugate)
    assert actual.shape == (*batch, 6)
    assert tuple(x.shape for x in gradients) == shapes
    if 0 in batch:
        return
    expected, size = oracle.vandermonde(v, lam, 6, conjugate=conjugate)
    assert_within(actual, expected, power_bound(size, 3, 6))
    wanted = oracle.vandermonde_vjp(v, lam, g, conjugate=conjugate)
    for found, value, size, shape in zip(gradients, wanted[::2], wanted[1::2], shapes, strict=True):
        bound = power_bound(oracle.summed_to(size, shape), 8 + np.prod(batch, dtype=int), 6)
        assert_within(found, oracle.summed_to(value, shape), bound)


@pytest.mark.parametrize("conjugate", CONJUGATE)
def test_single_precision_vandermonde(conjugate):
    """Within SINGLE of double, of the largest entry."""
    v, lam, g = (x.astype(np.complex64) for x in vandermonde_data(32, 1500))
    g = g.real if conjugate else g
    length = len(g)
    value, size = oracle.vandermonde(v[:8], lam[:8], 300, conjugate=conjugate)
    actual = rv.ssm.vandermonde(v[:8], lam[:8], 300, conjugate=conjugate)
    assert actual.dtype == (np.float32 if conjugate else np.complex64)
    assert_within(actual, value, sum_bound(size, 8, EPS32))
    double = rv.ssm.vandermonde(*(x.astype(complex) for x in (v, lam)), length, conjugate=conjugate)
    single = rv.ssm.vandermonde(v, lam, length, conjugate=conjugate)
    assert_within(single, double, SINGLE * np.abs(double).max())
    found = rv.ssm.vandermonde_vjp(v, lam, g, conjugate=conjugate)
    wide = (v.astype(complex), lam.astype(complex), g.astype(np.result_type(g, float)))
    for one, other in zip(found, rv.ssm.vandermonde_vjp(*wide, conjugate=conjugate), strict=True):
        assert one.dtype == np.complex64
        assert_within(one, other, SINGLE * np.abs(other).max())


def test_single_precision_powers_are_made_in_double():
    """|lambda| = 1 to rounding, so nothing decays: k products in single would lose k eps by now."""
    length = 2**15
    v = np.array([1.0, -0.5j], np.complex64)
    lam = np.exp(1j * np.array([0.7, 2.9])).astype(np.complex64)
    single = rv.ssm.vandermonde(v, lam, length)
    double = rv.ssm.vandermonde(v.astype(complex), lam.astype(complex), length)
    size = np.abs(v) @ np.abs(lam.astype(complex))[:, None] ** np.arange(length)
    assert_within(single, double, sum_bound(size, 2, EPS32))


# ---------------------------------------------------------------------------------------------
# Layout, threads, memory.


def _calls():
    v, z, lam, g = cauchy_data(6, 40, seed=4)
    stack = np.stack([v, 2 * v, -1j * v])
    series = np.stack([g.real, g.imag, 2 * g.real])
    return {
        "cauchy": (rv.ssm.cauchy, (stack, z, lam), {"conjugate": True}),
        "cauchy_vjp": (rv.ssm.cauchy_vjp, (stack, z, lam, series), {"conjugate": True}),
        "vandermonde": (lambda v, e: rv.ssm.vandermonde(v, e, 40), (stack, 0.9 * z[:6]), {}),
        "vandermonde_vjp": (rv.ssm.vandermonde_vjp, (stack, 0.9 * z[:6], series), {}),
    }


CALLS = ("cauchy", "cauchy_vjp", "vandermonde", "vandermonde_vjp")


def results(call, args, keywords):
    found = call(*args, **keywords)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", CALLS)
def test_any_layout_gives_the_same_bits(name):
    """Read-only, strided, reversed and Fortran-ordered inputs, none of which is changed."""
    call, args, keywords = _calls()[name]
    expected = results(call, args, keywords)

    def variants(array):
        spread = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        spread[..., ::2] = array
        locked = array.copy()
        locked.flags.writeable = False
        yield spread[..., ::2]
        yield np.ascontiguousarray(array[..., ::-1])[..., ::-1]
        yield np.asfortranarray(array)
        yield locked

    for args_variant in zip(*(tuple(variants(a)) for a in args), strict=True):
        before = [a.copy() for a in args_variant]
        for actual, wanted in zip(results(call, args_variant, keywords), expected, strict=True):
            assert_bits(actual, wanted)
        for one, other in zip(args_variant, before, strict=True):
            assert_bits(one, other)


@pytest.mark.parametrize("name", CALLS)
def test_any_number_of_threads_gives_the_same_bits(name, restore_threads):
    rng = np.random.default_rng(5)
    v, lam, g = numbers(rng, 7, 33), 0.5 * numbers(rng, 7, 33), numbers(rng, 7, 3000)
    z = np.exp(2j * np.pi * np.arange(3000) / 3000) * 3
    call, args = {
        "cauchy": (rv.ssm.cauchy, (v, z, lam)),
        "cauchy_vjp": (rv.ssm.cauchy_vjp, (v, z, lam, g)),
        "vandermonde": (lambda v, e: rv.ssm.vandermonde(v, e, 3000), (v, lam / 3)),
        "vandermonde_vjp": (rv.ssm.vandermonde_vjp, (v, lam / 3, g)),
    }[name]
    rv.set_threads(1)
    expected = results(call, args, {})
    for threads in (2, 3):
        rv.set_threads(threads)
        for actual, wanted in zip(results(call, args, {}), expected, strict=True):
            assert_bits(actual, wanted)


@pytest.mark.parametrize("name", CALLS)
def test_a_batch_has_the_bits_of_its_rows(name):
    call, args, keywords = _calls()[name]
    batch = results(call, args, keywords)
    for row in range(3):
        single = [a[row] if a.ndim == 2 else a for a in args]
        for whole, one in zip(batch, results(call, single, keywords), strict=True):
            if whole.shape == (3, *one.shape):
                assert_bits(whole[row], one)


@pytest.mark.skipif(sys.platform == "win32", reason="needs getrusage")
@pytest.mark.parametrize("name", CALLS)
def test_no_temporary_grows_with_the_product_of_the_sizes(name):
    """16 MiB beside the results, where all terms at once would be half a gigabyte."""
    call = {
        "cauchy": "rv.ssm.cauchy(v, z, lam, conjugate=True)",
        "cauchy_vjp": "rv.ssm.cauchy_vjp(v, z, lam, g, conjugate=True)",
        "vandermonde": "rv.ssm.vandermonde(v, lam, 2**16, conjugate=True)",
        "vandermonde_vjp": "rv.ssm.vandermonde_vjp(v, lam, g.real, conjugate=True)",
    }[name]
    script = f"""
        import resource
        import numpy as np, resolvent as rv
        scale = 1 if __import__("sys").platform == "darwin" else 1024
        peak = lambda: scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rng = np.random.default_rng(0)
        def numbers(*shape):
            return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        v, lam, g = numbers(8, 64), 0.1 * numbers(8, 64), numbers(8, 2**16)
        z = np.exp(2j * np.pi * np.arange(2**16) / 2**16)
        rv.ssm.cauchy(v[:, :1], z[:64], lam[:, :1])  # loads what is loaded once
        real = np.ascontiguousarray(g.real)
        before = peak()
        found = {call.replace("g.real", "real")}
        size = sum(x.nbytes for x in (found if isinstance(found, tuple) else (found,)))
        print(peak() - before - size)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 16 * 2**20, run.stdout
