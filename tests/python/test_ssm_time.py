"""Convolution, recurrence and scan, with their adjoints, against sums and loops in 50 digits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from ssm_support import (
    ALPHA,
    BY_NAME,
    CASES,
    EPS,
    EPS32,
    FFT,
    KINDS,
    POWER,
    PROMISE,
    STEP,
    SUM,
    assert_bits,
    assert_within,
    discrete_matrices,
    exact_kernel,
    refused,
    rule_condition,
)

import resolvent as rv
from oracles import ssm as oracle

METHODS = ("auto", "fft", "direct")
LENGTHS = (1, 2, 3, 16, 17, 31, 48)


def numbers(rng, shape, *, complex_valued=False):
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if complex_valued else real


def convolution_bound(u, kernel, size, method, eps=EPS):
    """Direct sums err relative to their terms, transforms to the norms of the whole rows."""
    if method == "direct":
        return (SUM + kernel.shape[-1]) * eps * size
    norms = np.linalg.norm(u, axis=-1) * np.linalg.norm(kernel, axis=-1)
    return FFT * (1 + np.log2(u.shape[-1] + kernel.shape[-1])) * eps * norms[..., None]


# ---------------------------------------------------------------------------------------------
# Convolution.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("complex_kernel", [False, True])
@pytest.mark.parametrize("complex_u", [False, True])
def test_convolve(complex_u, complex_kernel, length, method):
    rng = np.random.default_rng(length)
    u = numbers(rng, length, complex_valued=complex_u)
    kernel = numbers(rng, length, complex_valued=complex_kernel)
    for function, reference in (
        (rv.ssm.convolve, oracle.convolve),
        (rv.ssm.convolve_adjoint, oracle.convolve_adjoint),
    ):
        expected, size = reference(u, kernel)
        actual = function(u, kernel, method=method)
        assert actual.dtype == np.result_type(u, kernel)
        assert_within(actual, expected, convolution_bound(u, kernel, size, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("length", "taps"), [(20, 1), (20, 7), (7, 20), (1, 5), (33, 32), (16, 17)]
)
def test_kernels_that_are_shorter_or_longer_than_the_input(length, taps, method):
    """Longer ones have entries that no output sees; shorter ones are followed by zeros."""
    rng = np.random.default_rng(6)
    u, kernel = numbers(rng, length), numbers(rng, taps)
    for function, reference in (
        (rv.ssm.convolve, oracle.convolve),
        (rv.ssm.convolve_adjoint, oracle.convolve_adjoint),
    ):
        expected, size = reference(u, kernel)
        actual = function(u, kernel, method=method)
        assert_within(actual, expected, convolution_bound(u, kernel, size, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "shapes",
    [((2, 9), (9,)), ((9,), (2, 9)), ((3, 1, 9), (2, 9)), ((2, 9), (1, 5)), ((0, 9), (9,))],
    ids=str,
)
def test_convolve_broadcasts_its_leading_axes(shapes, method):
    rng = np.random.default_rng(7)
    u, kernel = (numbers(rng, shape) for shape in shapes)
    batch = np.broadcast_shapes(shapes[0][:-1], shapes[1][:-1])
    for function, reference in (
        (rv.ssm.convolve, oracle.convolve),
        (rv.ssm.convolve_adjoint, oracle.convolve_adjoint),
    ):
        actual = function(u, kernel, method=method)
        assert actual.shape == (*batch, 9)
        if 0 not in batch:
            expected, size = reference(u, kernel)
            assert_within(actual, expected, convolution_bound(u, kernel, size, method))


@pytest.mark.parametrize("length", [1000, 1021, 1024, 4097])
def test_transforms_and_sums_agree_at_length(length):
    """A prime length, a power of two and one more: the padding is at least 2L - 1."""
    rng = np.random.default_rng(8)
    u, kernel = numbers(rng, (3, length)), numbers(rng, length) * 0.99 ** np.arange(length)
    size = np.array([np.convolve(np.abs(row), np.abs(kernel))[:length] for row in u])
    direct = rv.ssm.convolve(u, kernel, method="direct")
    for row, found, terms in zip(u, direct, size, strict=True):
        expected = np.convolve(row, kernel)[:length]
        assert_within(found, expected, 2 * (SUM + length) * EPS * terms)
    fast = rv.ssm.convolve(u, kernel, method="fft")
    bound = convolution_bound(u, kernel, size, "fft") + convolution_bound(u, kernel, size, "direct")
    assert_within(fast, direct, bound)
    assert_within(rv.ssm.convolve(u, kernel), direct, bound)
    adjoint = rv.ssm.convolve_adjoint(u, kernel, method="fft")
    assert_within(adjoint, rv.ssm.convolve_adjoint(u, kernel, method="direct"), bound)


def test_short_convolutions_of_integers_are_exact():
    """What the direct path multiplies and adds is exact here."""
    u, kernel = np.array([1, 2, 3, 4]), np.array([1, -1, 2])
    actual = rv.ssm.convolve(u, kernel, method="direct")
    assert_bits(actual, np.array([1.0, 1.0, 3.0, 5.0]))
    assert_bits(
        rv.ssm.convolve_adjoint(u, kernel, method="direct"), np.array([5.0, 7.0, -1.0, 4.0])
    )


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_convolution(method):
    rng = np.random.default_rng(9)
    u, kernel = (numbers(rng, (2, 200)).astype(np.float32) for _ in range(2))
    for function, reference in (
        (rv.ssm.convolve, oracle.convolve),
        (rv.ssm.convolve_adjoint, oracle.convolve_adjoint),
    ):
        expected, size = reference(u, kernel)
        actual = function(u, kernel, method=method)
        assert actual.dtype == np.float32
        assert_within(actual, expected, convolution_bound(u, kernel, size, method, EPS32))
    assert rv.ssm.convolve(u, kernel.astype(float), method=method).dtype == np.float64
    assert rv.ssm.convolve(u, kernel * np.complex64(1j), method=method).dtype == np.complex64


@pytest.mark.parametrize("method", METHODS)
def test_convolve_takes_any_layout(method):
    rng = np.random.default_rng(10)
    u, kernel = numbers(rng, (3, 40)), numbers(rng, (3, 40))
    expected = rv.ssm.convolve(u, kernel, method=method)
    spread = np.zeros((3, 80))
    spread[:, ::2] = u
    locked = kernel.copy()
    locked.flags.writeable = False
    assert_bits(rv.ssm.convolve(spread[:, ::2], locked, method=method), expected)
    assert_bits(rv.ssm.convolve(np.asfortranarray(u), kernel, method=method), expected)
    assert_bits(spread[:, ::2], u)
    assert_bits(locked, kernel)


@pytest.mark.parametrize("method", ["fft", "direct"])
def test_convolve_has_the_same_bits_for_any_number_of_threads(method, restore_threads):
    rng = np.random.default_rng(11)
    u, kernel = numbers(rng, (9, 700)), numbers(rng, (9, 700))
    rv.set_threads(1)
    expected = rv.ssm.convolve(u, kernel, method=method)
    adjoint = rv.ssm.convolve_adjoint(u, kernel, method=method)
    for threads in (2, 3):
        rv.set_threads(threads)
        assert_bits(rv.ssm.convolve(u, kernel, method=method), expected)
        assert_bits(rv.ssm.convolve_adjoint(u, kernel, method=method), adjoint)


@pytest.mark.parametrize("method", ["fft", "direct"])
def test_a_row_of_a_convolution_does_not_depend_on_the_others(method):
    rng = np.random.default_rng(12)
    u, kernel = numbers(rng, (5, 333)), numbers(rng, (5, 333))
    whole = rv.ssm.convolve(u, kernel, method=method)
    for row in range(5):
        assert_bits(rv.ssm.convolve(u[row], kernel[row], method=method), whole[row])


# ---------------------------------------------------------------------------------------------
# Recurrence.


def recurrence_bound(case, rule, u, scale):
    """As a kernel's, once per input that is summed."""
    _, condition = exact_kernel(case, rule, len(u))
    return PROMISE * EPS * condition * np.abs(u).sum() * scale


@pytest.mark.parametrize("case", CASES, ids=str)
def test_recur(case):
    """Outputs and last state from nothing, and outputs that go on from a state."""
    u = np.random.default_rng(13).standard_normal(19)
    for rule in case.rules() if case in KINDS else ("bilinear", "zoh"):
        a, b = discrete_matrices(case, rule)
        model, keywords = case.call(rule)
        y, x = rv.ssm.recur(u, model, **keywords)
        c = case.expand(case.read_out())
        expected, state = oracle.recur(a, b, c, u)
        kernel, _ = exact_kernel(case, rule, len(u))
        bound = recurrence_bound(case, rule, u, np.abs(kernel).max())
        assert np.iscomplexobj(y) == (not case.real)
        assert_within(y, expected.real if case.real else expected, bound, rule)
        assert x.shape == (case.reads,)
        reach = np.linalg.norm(case.expand(np.ones(case.reads)))
        assert_within(x, state[: case.reads], bound + PROMISE * EPS * reach * np.abs(state).max())


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_recur_goes_on_from_its_last_state(case):
    """In two pieces as in one: the second knows nothing but the state."""
    u = np.random.default_rng(14).standard_normal(40)
    model, keywords = case.call()
    whole, end = rv.ssm.recur(u, model, **keywords)
    first, middle = rv.ssm.recur(u[:17], model, **keywords)
    second, last = rv.ssm.recur(u[17:], model, middle, **keywords)
    bound = PROMISE * EPS * rule_condition(case, "bilinear")
    assert_within(np.concatenate([first, second]), whole, bound * np.abs(whole).max())
    assert_within(last, end, bound * np.abs(end).max())


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_the_free_response(case):
    """u = 0: y_k = C A^(k+1) x_0."""
    rng = np.random.default_rng(15)
    x0 = numbers(rng, case.reads, complex_valued=not case.real_c)
    a, b = discrete_matrices(case, "bilinear")
    model, keywords = case.call()
    if case.real and not case.real_c:  # in half models a real eigenvalue's state is real
        x0 = np.where(model.eigenvalues.imag == 0, x0.real, x0)
    y, x = rv.ssm.recur(np.zeros(12), model, x0, **keywords)
    full = case.expand_state(x0)
    expected, state = oracle.recur(a, b, case.expand(case.read_out()), np.zeros(12), full)
    scale = np.abs(full).max() * np.linalg.norm(case.expand(case.read_out()))
    growth = max(1.0, np.abs(state).max() / np.abs(full).max())
    bound = PROMISE * EPS * scale * growth * rule_condition(case, "bilinear")
    assert_within(y, expected.real if case.real else expected, bound)
    assert_within(x, state[: case.reads], bound)


def test_complex_inputs():
    """Linear over the complex numbers, but for half models, whose states come in pairs."""
    u = np.exp(0.4j * np.arange(12))
    for name in ("discrete-real", "legs-5", "dense-complex", "quad-6-full"):
        model, keywords = BY_NAME[name].call()
        y, x = rv.ssm.recur(u, model, **keywords)
        parts = [rv.ssm.recur(part, model, **keywords) for part in (u.real, u.imag)]
        assert y.dtype == x.dtype == np.complex128
        bound = PROMISE * EPS * np.abs(y).max()
        assert_within(y, parts[0].outputs + 1j * parts[1].outputs, bound)
        assert_within(x, parts[0].state + 1j * parts[1].state, PROMISE * EPS * np.abs(x).max())
    for name in ("dplr-legs-5-half", "lin-6-half"):
        model, keywords = BY_NAME[name].call()
        refused(lambda m=model, k=keywords: rv.ssm.recur(u, m, **k), "u", "real", "half")


def test_transfer_functions_run_as_shift_registers():
    """The state is the last d values of the register, newest first; SciPy's lfilter agrees."""
    b, a = np.array([1.0, -0.5, 0.25]), np.array([-1.2, 0.5, -0.06])
    u = np.random.default_rng(28).standard_normal(20)
    model = rv.rational.TransferFunction(b, a, 0.75)
    y, x = rv.ssm.recur(u, model)
    monic = np.append(1.0, a)
    expected = scipy.signal.lfilter(np.append(b, 0.0) + 0.75 * monic, monic, u)
    register = scipy.signal.lfilter([1.0], monic, u)
    bound = PROMISE * EPS * np.abs(register).max() * np.abs(b).sum()
    assert_within(y, expected, bound)
    assert_within(x, register[:-4:-1], bound)
    first, middle = rv.ssm.recur(u[:7], model)
    second, last = rv.ssm.recur(u[7:], model, middle)
    assert_within(np.concatenate([first, second]), y, bound)
    assert_within(last, x, bound)


def test_recur_adds_what_goes_straight_through():
    case = BY_NAME["discrete-real"]
    a, b = case.matrices()
    c = case.read_out()
    u = np.random.default_rng(16).standard_normal(15)
    y, _ = rv.ssm.recur(u, rv.ssm.StateSpace(a, b, c, 2.5))
    plain, _ = rv.ssm.recur(u, rv.ssm.StateSpace(a, b, c))
    assert_within(y, plain + 2.5 * u, 4 * EPS * (np.abs(plain) + np.abs(2.5 * u)))


def test_recur_is_scipys_dlsim_one_sample_later():
    """dlsim reads y_k = C x_k + D u_k before the update."""
    case = BY_NAME["discrete-real"]
    a, b = case.matrices()
    c = case.read_out()
    u = np.random.default_rng(17).standard_normal(30)
    y, x = rv.ssm.recur(u, rv.ssm.StateSpace(a, b, c))
    _, theirs, states = scipy.signal.dlsim(
        (a, b[:, None], c[None], [[0.0]], 1.0), np.append(u, 0.0)
    )
    bound = PROMISE * EPS * np.abs(theirs).max()
    assert_within(y, theirs[1:, 0], bound)
    assert_within(x, states[-1], bound)


@pytest.mark.parametrize("name", ["legs-5", "dplr-hand-5-rank-2-half", "lin-6-half", "dense-real"])
def test_recur_over_batches(name):
    """Inputs, read-outs, steps and states broadcast."""
    case = BY_NAME[name]
    rng = np.random.default_rng(18)
    u = rng.standard_normal((3, 1, 14))
    steps = np.array([0.02, 0.1])
    c = case.read_out() if case.holds_c else case.read_out(batch=(3, 2))
    model, keywords = case.call(c=c)
    keywords["step"] = steps
    y, x = rv.ssm.recur(u, model, **keywords)
    assert y.shape == (3, 2, 14)
    assert x.shape == (3, 2, case.reads)
    for i, j in np.ndindex(3, 2):
        row = c if case.holds_c else c[i, j]
        model, keywords = case.call(c=row, step=steps[j])
        one, state = rv.ssm.recur(u[i, 0], model, **keywords)
        size = np.abs(one).max()
        assert_within(y[i, j], one, PROMISE * EPS * size)
        assert_within(x[i, j], state, PROMISE * EPS * np.abs(state).max())


def test_the_result_of_recur_has_names():
    model, keywords = BY_NAME["legs-5"].call()
    result = rv.ssm.recur(np.ones(4), model, **keywords)
    y, x = result
    assert result.outputs is y
    assert result.state is x


def test_recur_of_nothing_and_of_one_sample():
    model, keywords = BY_NAME["legs-5"].call()
    y, x = rv.ssm.recur(np.ones(1), model, **keywords)
    assert y.shape == (1,)
    b = discrete_matrices(BY_NAME["legs-5"], "bilinear")[1].astype(float)
    assert_within(x, b, PROMISE * EPS * np.abs(b).max())
    y, _ = rv.ssm.recur(np.ones((0, 4)), model, **keywords)
    assert y.shape == (0, 4)


def test_recur_refuses_states_that_do_not_fit():
    model, keywords = BY_NAME["legs-5"].call()
    refused(lambda: rv.ssm.recur(np.ones(4), model, np.zeros(4), **keywords), "x0", "4")
    refused(
        lambda: rv.ssm.recur(np.ones((3, 4)), model, np.zeros((2, 5)), **keywords),
        "(3,)", "(2,)",
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Scan.


def scan_bound(size, length, eps=EPS):
    """Chunks multiply up to `length` coefficients before they meet a b: POWER eps each."""
    return POWER * (length + 2) * eps * size


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("length", [*LENGTHS, 257, 1030])
def test_scan(length, complex_valued):
    rng = np.random.default_rng([19, length])
    a, b = (numbers(rng, length, complex_valued=complex_valued) for _ in range(2))
    a = a / max(1.0, np.abs(a).max())
    x0 = numbers(rng, (), complex_valued=complex_valued)
    for start in (None, x0):
        expected, size = oracle.scan(a, b, 0.0 if start is None else start)
        actual = rv.ssm.scan(a, b, start)
        assert actual.dtype == np.result_type(a, b)
        assert_within(actual, expected, scan_bound(size, length))


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("length", [1, 2, 16, 257, 1030])
def test_scan_with_a_constant_coefficient(length, complex_valued):
    """a of shape (..., 1): x_k = a x_{k-1} + b_k, and one gradient of a for all steps."""
    rng = np.random.default_rng([20, length])
    a = 0.97 * np.exp(0.3j) if complex_valued else -0.97
    a = np.full((1,), a)
    b, g = (numbers(rng, length, complex_valued=complex_valued) for _ in range(2))
    x0 = numbers(rng, (), complex_valued=complex_valued)
    expected, size = oracle.scan(np.repeat(a, length), b, x0)
    actual = rv.ssm.scan(a, b, x0)
    assert_within(actual, expected, scan_bound(size, length))
    of_a, of_b, of_x0 = rv.ssm.scan_vjp(a, actual, g, x0)
    ga, sa, gb, sb, gx, sx = oracle.scan_vjp(np.repeat(a, length), actual, g, x0)
    assert of_a.shape == (1,)
    assert_within(of_a, [ga.sum()], scan_bound(sa.sum(), 2 * length))
    assert_within(of_b, gb, scan_bound(sb, length))
    assert_within(of_x0, gx, scan_bound(sx, length))


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 16, 257])
def test_scan_gradients(length, complex_valued):
    rng = np.random.default_rng([21, length])
    a, b, g = (numbers(rng, length, complex_valued=complex_valued) for _ in range(3))
    a = a / max(1.0, np.abs(a).max())
    x0 = numbers(rng, (), complex_valued=complex_valued)
    for start in (None, x0):
        x = rv.ssm.scan(a, b, start)
        found = rv.ssm.scan_vjp(a, x, g, start)
        expected = oracle.scan_vjp(a, x, g, 0.0 if start is None else start)
        for one, value, size in zip(found, expected[::2], expected[1::2], strict=True):
            assert one.dtype == np.result_type(a, b)
            assert one.shape == np.shape(value)
            assert_within(one, value, scan_bound(size, length))


def test_the_gradient_of_a_scan_is_a_difference_quotient():
    """The oracle's recurrence backwards in time, against 50-digit differences of the loss."""
    rng = np.random.default_rng(22)
    a, b, g = (numbers(rng, 5, complex_valued=True) for _ in range(3))
    x0 = 0.3 - 0.2j
    states, _ = oracle.scan(a, b, x0)
    ga, _, gb, _, gx, _ = oracle.scan_vjp(a, states, g, x0)
    mp = oracle.mp
    big_a, big_b, big_g = (oracle.exact.to_mp(v) for v in (a, b, g))

    def loss(a, b, x):
        total = mp.mpf(0)
        for p, q, w in zip(a, b, big_g, strict=True):
            x = p * x + q
            total += mp.re(mp.conj(w) * x)
        return total

    start = mp.mpc(x0)
    for found, function, at in (
        (ga, lambda v: loss(v, big_b, start), a),
        (gb, lambda v: loss(big_a, v, start), b),
        ([gx], lambda v: loss(big_a, big_b, v[0]), [x0]),
    ):
        expected = oracle.gradient(function, at)
        assert_within(found, expected, SUM * EPS * np.abs(expected).max())


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 6), (6,), ()),
        ((6,), (2, 6), (2,)),
        ((1,), (3, 2, 6), (2,)),
        ((3, 1, 1), (2, 6), ()),
        ((2, 6), (3, 1, 6), (3, 2)),
        ((0, 6), (6,), ()),
    ],
    ids=str,
)
def test_scan_broadcasts_its_leading_axes(shapes):
    rng = np.random.default_rng(23)
    a, b, x0 = (0.7 * numbers(rng, shape) for shape in shapes)
    batch = np.broadcast_shapes(shapes[0][:-1], shapes[1][:-1], shapes[2])
    x = rv.ssm.scan(a, b, x0)
    assert x.shape == (*batch, 6)
    g = numbers(rng, x.shape)
    of_a, of_b, of_x0 = rv.ssm.scan_vjp(a, x, g, x0)
    assert of_a.shape == a.shape
    assert of_x0.shape == x0.shape
    assert of_b.shape == x.shape
    if 0 in batch:
        return
    long_a = np.broadcast_to(a, (*a.shape[:-1], 6))
    expected, size = oracle.scan(long_a, b, x0)
    assert_within(x, expected, scan_bound(size, 6))
    ga, sa, gb, sb, gx, sx = oracle.scan_vjp(long_a, x, g, x0)
    total = int(np.prod(batch, dtype=int)) + 12
    assert_within(
        of_a, oracle.summed_to(ga, a.shape), scan_bound(oracle.summed_to(sa, a.shape), total)
    )
    assert_within(of_b, gb, scan_bound(sb, 6))
    assert_within(
        of_x0, oracle.summed_to(gx, x0.shape), scan_bound(oracle.summed_to(sx, x0.shape), total)
    )


def test_scan_with_coefficients_that_vanish_or_grow():
    """A zero resets the state whatever came before; growth stays within range."""
    b = np.arange(1.0, 9.0)
    a = np.array([2.0, 3.0, 0.0, 1.0, -1.0, 0.0, 4.0, 0.5])
    expected = [1, 5, 3, 7, -2, 6, 31, 23.5]
    assert_within(rv.ssm.scan(a, b), expected, 0.0)
    growing = np.full(600, 2.0)
    expected = 2.0 ** np.arange(1, 601) - 1
    assert_within(rv.ssm.scan(growing, np.ones(600)), expected, scan_bound(expected, 600))


def test_a_reset_hides_an_overflow():
    """x_k = 0 x_{k-1} + b_k ends what is finite before it; no product of coefficients overflows."""
    a = np.full(3000, 2.0)
    a[::500] = 0.0
    b = np.ones(3000)
    expected = np.tile(2.0 ** np.arange(1, 501) - 1, 6)
    assert_within(rv.ssm.scan(a, b), expected, scan_bound(expected, 500))


def test_scan_has_the_same_bits_for_any_number_of_threads(restore_threads):
    """Over channels and, for few of them, over time."""
    rng = np.random.default_rng(24)
    for channels, length in ((1, 40000), (7, 3000)):
        a, b = (numbers(rng, (channels, length), complex_valued=True) for _ in range(2))
        a = a / np.abs(a) * 0.999
        rv.set_threads(1)
        x = rv.ssm.scan(a, b)
        gradients = rv.ssm.scan_vjp(a, x, b)
        for threads in (2, 3):
            rv.set_threads(threads)
            assert_bits(rv.ssm.scan(a, b), x)
            for one, other in zip(rv.ssm.scan_vjp(a, x, b), gradients, strict=True):
                assert_bits(one, other)


def test_long_scans_are_loops():
    """Past any chunk, in plain Python."""
    rng = np.random.default_rng(25)
    length = 20011
    a, b = numbers(rng, (2, length)), numbers(rng, (2, length))
    a = np.sign(a) * (1 - 1e-3 * np.abs(a))
    x, size = np.zeros(2), np.zeros(2)
    expected, sizes = np.empty((2, length)), np.empty((2, length))
    for k in range(length):
        x, size = a[:, k] * x + b[:, k], np.abs(a[:, k]) * size + np.abs(b[:, k])
        expected[:, k], sizes[:, k] = x, size
    # no path multiplies more coefficients than those that still count: size/|b| of them
    assert_within(rv.ssm.scan(a, b), expected, scan_bound(sizes, 4000))


def test_single_precision_scan():
    rng = np.random.default_rng(26)
    a = (0.9 * np.exp(2j * np.pi * rng.random(300))).astype(np.complex64)
    b = numbers(rng, 300, complex_valued=True).astype(np.complex64)
    expected, size = oracle.scan(a, b, 0.0)
    actual = rv.ssm.scan(a, b)
    assert actual.dtype == np.complex64
    assert_within(actual, expected, scan_bound(size, 10, EPS32))
    assert rv.ssm.scan(a.real, b.real).dtype == np.float32
    assert rv.ssm.scan(a.real.astype(float), b.real).dtype == np.float64
    assert rv.ssm.scan(a, b.real).dtype == np.complex64


def test_scan_runs_a_diagonal_model():
    """States of x_k = R(step lambda) x_{k-1} + B u_k: what `recur` gives."""
    case = BY_NAME["quad-6-half"]
    model, keywords = case.call()
    u = np.random.default_rng(27).standard_normal(25)
    y, x = rv.ssm.recur(u, model, **keywords)
    d = rv.discretize.discretize(model, STEP, "bilinear", alpha=ALPHA)
    states = rv.ssm.scan(d.A[:, None], d.B[:, None] * u)
    bound = PROMISE * EPS * np.abs(states).max()
    assert_within(x, states[:, -1], bound)
    outputs = (2 * keywords["C"] @ states).real
    assert_within(y, outputs, bound * np.abs(keywords["C"]).sum())
