"""Laws: causality, time invariance, adjoints, similarity; recurrence = convolution, scan = loop."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ssm_support import (
    CASES,
    EPS,
    FFT,
    POWER,
    PROMISE,
    SUM,
    assert_bits,
    assert_within,
    exact_kernel,
    kernel_by,
    random_state_space,
    rule_condition,
)

import resolvent as rv
from oracles import ssm as oracle

CASE = st.sampled_from(CASES)
CONTINUOUS = st.sampled_from([case for case in CASES if not case.discrete])
METHOD = st.sampled_from(["auto", "fft", "direct"])
VALUE = st.integers(-(10**6), 10**6).map(lambda n: n / 1024)
SEED = st.integers(0, 2**20)
LENGTH = st.integers(1, 40)


def rows(length, *, count=1):
    """Arrays (count, length) of moderate numbers."""
    return st.lists(VALUE, min_size=count * length, max_size=count * length).map(
        lambda v: np.array(v).reshape(count, length)
    )


def rounding(u, kernel):
    """What any convolution of these may lose."""
    size = np.linalg.norm(u, axis=-1) * np.linalg.norm(kernel, axis=-1)
    return (FFT * 8 + SUM + u.shape[-1]) * EPS * np.max(size, initial=0.0)


def inner(x, y):
    return np.vdot(np.asarray(x), np.asarray(y)).real


# ---------------------------------------------------------------------------------------------
# The convolution.


@given(LENGTH.flatmap(lambda n: st.tuples(rows(n), rows(n), rows(n), st.integers(0, n))), METHOD)
def test_convolution_is_causal(data, method):
    """Outputs before k do not know the inputs from k on: for sums to the bit."""
    u, other, kernel, split = data
    changed = np.concatenate([u[:, :split], other[:, split:]], axis=1)
    one, two = (rv.ssm.convolve(v, kernel, method=method)[:, :split] for v in (u, changed))
    if method == "direct":
        assert_bits(np.ascontiguousarray(one), np.ascontiguousarray(two))
    assert_within(one, two, rounding(np.abs(u) + np.abs(changed), kernel))


@given(LENGTH.flatmap(lambda n: st.tuples(rows(n), rows(n), st.integers(0, n))), METHOD)
def test_convolution_does_not_know_what_time_it_is(data, method):
    """A later input gives the same output later."""
    u, kernel, delay = data
    length = u.shape[-1]
    late = np.concatenate([np.zeros((1, delay)), u], axis=1)[:, :length]
    y = rv.ssm.convolve(u, kernel, method=method)
    found = rv.ssm.convolve(late, kernel, method=method)
    assert_within(found[:, delay:], y[:, : length - delay], 2 * rounding(u, kernel))
    assert_within(found[:, :delay], np.zeros((1, delay)), rounding(u, kernel))


@given(LENGTH.flatmap(lambda n: st.tuples(rows(n, count=2), rows(n), VALUE, VALUE)), METHOD)
def test_convolution_is_linear_and_commutes(data, method):
    u, kernel, p, q = data
    left = rv.ssm.convolve(p * u[:1] + q * u[1:], kernel, method=method)
    right = p * rv.ssm.convolve(u[:1], kernel, method=method)
    right = right + q * rv.ssm.convolve(u[1:], kernel, method=method)
    size = abs(p) * np.abs(u[:1]) + abs(q) * np.abs(u[1:])
    assert_within(left, right, 4 * rounding(size, kernel))
    swapped = rv.ssm.convolve(kernel, u[:1], method=method)
    assert_within(swapped, rv.ssm.convolve(u[:1], kernel, method=method), 2 * rounding(u, kernel))


@given(LENGTH.flatmap(lambda n: st.tuples(rows(n, count=2), rows(n, count=2), rows(n, count=2))),
       st.booleans(), st.integers(1, 40), METHOD)  # fmt: skip
def test_the_adjoint_of_convolution(data, complex_valued, taps, method):
    """Re <g, K u> = Re <K* g, u>, with kernels shorter than the input too."""
    g, u, kernel = (v[0] + 1j * v[1] if complex_valued else v[0] for v in data)
    kernel = kernel[:taps]
    left = inner(g, rv.ssm.convolve(u, kernel, method=method))
    right = inner(rv.ssm.convolve_adjoint(g, kernel, method=method), u)
    bound = rounding(u, kernel) * np.linalg.norm(g) + rounding(g, kernel) * np.linalg.norm(u)
    assert_within(left, right, 2 * len(u) ** 0.5 * bound)


@given(LENGTH.flatmap(lambda n: st.tuples(rows(n), rows(n))), METHOD)
def test_the_adjoint_is_convolution_backwards_in_time(data, method):
    g, kernel = data
    found = rv.ssm.convolve_adjoint(g, kernel, method=method)
    backwards = rv.ssm.convolve(g[:, ::-1], kernel, method=method)[:, ::-1]
    assert_within(found, backwards, 2 * rounding(g, kernel))


# ---------------------------------------------------------------------------------------------
# Models.


@given(CASE, st.sampled_from([5, 16]), SEED)
def test_recurrence_is_convolution(case, length, seed):
    u = np.random.default_rng(seed).standard_normal((2, length))
    kernel, condition = exact_kernel(case, "bilinear", length)
    model, keywords = case.call()
    y, _ = rv.ssm.recur(u, model, **keywords)
    found = rv.ssm.kernel(model, length, **keywords)
    bound = 2 * PROMISE * EPS * condition * np.abs(kernel).max() * np.abs(u).sum(axis=1).max()
    assert_within(y, rv.ssm.convolve(u, found), bound)


@given(CASE, SEED, st.integers(1, 15))
def test_recurrence_is_causal_and_goes_on(case, seed, split):
    """The outputs before an input know nothing of it, and those after only through the state."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(16)
    changed = u.copy()
    changed[split:] = rng.standard_normal(16 - split)
    model, keywords = case.call()
    y, x = rv.ssm.recur(u, model, **keywords)
    other, _ = rv.ssm.recur(changed, model, **keywords)
    assert_bits(y[:split], other[:split])
    _, middle = rv.ssm.recur(u[:split], model, **keywords)
    rest, last = rv.ssm.recur(u[split:], model, middle, **keywords)
    bound = PROMISE * EPS * rule_condition(case, "bilinear")
    assert_within(rest, y[split:], bound * np.abs(y).max())
    assert_within(last, x, bound * max(np.abs(x).max(), np.abs(middle).max()))


@given(st.integers(1, 6), SEED, st.booleans())
def test_kernels_do_not_depend_on_the_coordinates(order, seed, complex_valued):
    """(T A T^-1, T B, C T^-1) for unitary T scaled by powers of two."""
    a, b = random_state_space(order, complex_valued=complex_valued, radius=0.9, seed=seed)
    rng = np.random.default_rng(seed)
    c = rng.standard_normal(order)
    unitary, _ = np.linalg.qr(rng.standard_normal((order, order)) + 0j * rng.random())
    unitary = unitary if complex_valued else unitary.real
    scale = 2.0 ** rng.integers(-2, 3, order)
    forward, back = unitary * scale, unitary.conj().T / scale[:, None]
    one = rv.ssm.StateSpace(a, b, c)
    two = rv.ssm.StateSpace(forward @ a @ back, forward @ b, c @ back)
    condition = oracle.kernel_condition(a, b, c, 16) * order * (scale.max() / scale.min()) ** 2
    for route in ("power", "recurrence"):
        left, right = (np.asarray(rv.ssm.kernel(m, 16, route=route)) for m in (one, two))
        assert_within(left, right, PROMISE * EPS * condition * np.abs(left).max(), route)


@given(CASE, SEED, VALUE, VALUE)
def test_kernels_are_linear_in_the_read_out(case, seed, p, q):
    c, d = case.read_out(seed), case.read_out(seed + 1)
    _, condition = exact_kernel(case, "bilinear", 12)
    for route in case.routes:
        rows = (p * c + q * d, c, d)
        parts = [np.asarray(kernel_by(route, case, 12, c=row)[0]) for row in rows]
        size = abs(p) * np.abs(parts[1]).max() + abs(q) * np.abs(parts[2]).max()
        size = max(size, (abs(p) + abs(q)) * np.abs(parts[1]).max())
        assert_within(parts[0], p * parts[1] + q * parts[2], PROMISE * EPS * condition * size)


@given(CONTINUOUS, st.sampled_from(["bilinear", "backward", "zoh"]), st.integers(-3, 3))
def test_only_the_product_of_step_and_system_counts(case, rule, exponent):
    """The kernel of (A, B) at step e is that of (s A, s B) at step e/s."""
    factor = 2.0**exponent
    a, b = case.matrices()
    c = case.expand(case.read_out())
    one = rv.ssm.StateSpace(a, b, c, time="continuous")
    two = rv.ssm.StateSpace(factor * a, factor * b, c, time="continuous")
    _, condition = exact_kernel(case, rule, 12)
    for route in ("power", "recurrence"):
        left = rv.ssm.kernel(one, 12, step=0.05, rule=rule, route=route)
        right = rv.ssm.kernel(two, 12, step=0.05 / factor, rule=rule, route=route)
        bound = PROMISE * EPS * condition * np.abs(np.asarray(left)).max()
        assert_within(np.asarray(left), np.asarray(right), bound)


@given(CASE, st.sampled_from([3, 8, 13]), st.floats(0, 6.28), st.floats(0.0, 0.9))
def test_the_truncated_generating_function_is_the_polynomial_of_the_kernel(
    case, length, angle, radius
):
    """sum_{k<L} K_k z^k inside the disc, from the library's own kernel."""
    kernel, condition = exact_kernel(case, "bilinear", length)
    model, keywords = case.call()
    z = radius * np.exp(1j * angle)
    found = rv.ssm.generating_function(model, [z], length=length, **keywords)
    expected = np.polynomial.polynomial.polyval(z, kernel)
    size = np.abs(kernel).sum() * rule_condition(case, "bilinear")
    assert_within(found, [expected], PROMISE * EPS * condition * size)


# ---------------------------------------------------------------------------------------------
# Sums and scans.


@given(st.integers(1, 12), st.integers(1, 40), SEED, st.booleans())
def test_cauchy_and_its_gradients_are_adjoint(n, k, seed, conjugate):
    """f is linear in v: Re <g, f(v)> = Re <gradient of v, v>."""
    rng = np.random.default_rng(seed)
    v, lam = (rng.standard_normal((n, 2)) @ [1, 1j] for _ in range(2))
    g, z = (rng.standard_normal((k, 2)) @ [1, 1j] for _ in range(2))
    f = rv.ssm.cauchy(v, z, lam, conjugate=conjugate)
    of_v, of_z, of_lam = rv.ssm.cauchy_vjp(v, z, lam, g, conjugate=conjugate)
    inverse = np.abs(1 / (z[:, None] - lam)) + np.abs(1 / (z[:, None] - lam.conj()))
    bound = (SUM + 2 * (n + k)) * EPS * (np.abs(g) @ inverse @ np.abs(v))
    assert_within(inner(g, f), inner(of_v, v), bound)
    # f(v, t z, t lambda) = f/t, so z f_z + lambda f_lambda + f = 0 (Euler)
    slopes = (np.abs(g) * (np.abs(z) + np.abs(lam).max())) @ inverse**2 @ np.abs(v)
    assert_within(
        inner(of_z, z) + inner(of_lam, lam) + inner(g, f),
        0.0,
        bound + (SUM + 2 * (n + k)) * EPS * slopes,
    )


@given(st.integers(1, 12), LENGTH, SEED, st.booleans())
def test_vandermonde_and_its_gradients_are_adjoint(n, length, seed, conjugate):
    rng = np.random.default_rng(seed)
    v, lam = (rng.standard_normal((n, 2)) @ [1, 1j] for _ in range(2))
    lam = lam / np.maximum(1, np.abs(lam))
    g = rng.standard_normal(length)
    f = rv.ssm.vandermonde(v, lam, length, conjugate=conjugate)
    of_v, of_lam = rv.ssm.vandermonde_vjp(v, lam, g, conjugate=conjugate)
    size = 2 * np.abs(v).sum() * np.abs(g).sum() * EPS
    bound = (SUM + n + (POWER + 1) * length) * size
    assert_within(inner(g, f), inner(of_v, v), bound)
    # lambda f_lambda = sum_k k f_k (Euler)
    assert_within(inner(np.arange(length) * g, f), inner(of_lam, lam), length * bound)


@given(st.integers(1, 60), SEED)
def test_scan_is_a_loop(length, seed):
    rng = np.random.default_rng(seed)
    a, b, x0 = rng.standard_normal(length), rng.standard_normal(length), rng.standard_normal()
    x, size, expected, sizes = x0, abs(x0), [], []
    for p, q in zip(a, b, strict=True):
        x, size = p * x + q, abs(p) * size + abs(q)
        expected.append(x)
        sizes.append(size)
    assert_within(rv.ssm.scan(a, b, x0), expected, POWER * (length + 2) * EPS * np.array(sizes))


@given(st.integers(2, 60), SEED, st.integers(1, 59))
def test_scans_compose(length, seed, split):
    """The second half from the last state of the first."""
    split = min(split, length - 1)
    rng = np.random.default_rng(seed)
    a, b = 0.9 * np.sign(rng.standard_normal(length)), rng.standard_normal(length)
    whole = rv.ssm.scan(a, b)
    first = rv.ssm.scan(a[:split], b[:split])
    second = rv.ssm.scan(a[split:], b[split:], first[-1])
    bound = POWER * (length + 2) * EPS * 10 * np.abs(b).max()
    assert_within(np.concatenate([first, second]), whole, bound)


@given(st.integers(1, 40), SEED)
def test_the_adjoint_of_a_scan(length, seed):
    """x is linear in (b, x0): Re <g, x> = Re <gradient of b, b> + Re <gradient of x0, x0>."""
    rng = np.random.default_rng(seed)
    a, b, g = (rng.standard_normal((length, 2)) @ [0.5, 0.5j] for _ in range(3))
    x0 = complex(*rng.standard_normal(2))
    x = rv.ssm.scan(a, b, x0)
    of_a, of_b, of_x0 = rv.ssm.scan_vjp(a, x, g, x0)
    growth = np.maximum.accumulate(np.cumprod(np.maximum(1.0, np.abs(a))))[-1]
    bound = POWER * (length + 2) * EPS * growth * np.abs(g).sum() * (np.abs(b).sum() + abs(x0))
    assert_within(inner(g, x), inner(of_b, b) + inner(of_x0, x0), bound)
    # replacing a by (1 + t) a moves x by t y, y_k = a_k (y_{k-1} + x_{k-1}): another scan
    moved = rv.ssm.scan(a, a * np.concatenate([[x0], x[:-1]]))
    assert_within(inner(g, moved), inner(of_a, a), length * bound)


@given(st.integers(1, 5), st.integers(1, 64), SEED)
def test_threads_do_not_change_a_bit(channels, length, seed):
    rng = np.random.default_rng(seed)
    u, kernel = rng.standard_normal((2, channels, length))
    a, lam = rng.uniform(-1, 1, (2, channels, length))
    calls = (
        lambda: rv.ssm.convolve(u, kernel),
        lambda: rv.ssm.scan(a, u),
        lambda: rv.ssm.vandermonde(u, lam, 50),
        lambda: rv.ssm.cauchy(u, 3.0 + np.arange(50.0), lam),
    )
    before = rv.get_threads()
    try:
        rv.set_threads(1)
        expected = [call() for call in calls]
        rv.set_threads(4)
        for call, wanted in zip(calls, expected, strict=True):
            assert_bits(call(), wanted)
    finally:
        rv.set_threads(before)
