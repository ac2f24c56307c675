"""Transfer functions: kernels, recurrences, responses, poles, and forms of the same function."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hippo_support import ENTRY, EPS, EPS32, SOLVE, SUM, assert_bits, assert_within, signal
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import rational as oracle

# A complex operation rounds its parts more than once.
COMPLEX = 3
# A QR algorithm is stable to a few d eps ||A||, and a companion matrix has the size of (1, a).
QR = 8

ORDERS = (1, 2, 3, 8, 17)
LENGTHS = (1, 2, 5, 64, 100)
DTYPES = (np.float64, np.float32, np.complex128, np.complex64)
DOUBLE = (np.float64, np.complex128)


def eps_of(dtype):
    """eps of the precision, and room for complex operations."""
    dtype = np.dtype(dtype)
    single = dtype in (np.float32, np.complex64)
    return (EPS32 if single else EPS) * (COMPLEX if dtype.kind == "c" else 1)


def double(array):
    """The same numbers in double precision."""
    return np.asarray(array, dtype=np.complex128 if np.iscomplexobj(array) else np.float64)


def made(order, dtype=np.float64, direct=0.0, **options):
    """The library's model and the oracle's coefficients."""
    b, a = oracle.model(order, dtype=dtype, **options)
    return rv.rational.TransferFunction(b, a, direct), double(b), double(a)


def stack(order, shape=(2, 3)):
    """Different models along leading axes."""
    count = int(np.prod(shape))
    parts = [oracle.model(order, seed=seed) for seed in range(count)]
    b, a = (np.reshape([part[i] for part in parts], (*shape, order)) for i in (0, 1))
    return b, a


# ---------------------------------------------------------------------------------------------
# Kernels.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS)
def test_the_kernel_is_the_power_series(order, dtype):
    tf, b, a = made(order, dtype)
    for length in LENGTHS:
        found = tf.kernel(length)
        assert found.dtype == dtype
        bound = eps_of(dtype) * oracle.kernel_rounding(b, a, length)
        assert_within(found, oracle.kernel(b, a, length), bound)


def test_the_kernel_against_fractions():
    """Not stable, not small, and exact: integers stay integers."""
    b, a = [3.0, -2.0, 1.0], [-2.0, 1.0, 4.0]
    wanted = oracle.series([int(v) for v in b], [int(v) for v in a], 20, 5)
    found = rv.rational.TransferFunction(b, a, 5.0).kernel(20)
    assert_bits(found, np.array([float(v) for v in wanted]))


def test_a_long_kernel_of_a_large_model():
    tf, b, a = made(64, radius=0.999)
    found, wanted = tf.kernel(2500), oracle.kernel(b, a, 2500)
    assert_within(found, wanted, EPS * oracle.kernel_rounding(b, a, 2500))


@pytest.mark.parametrize("order", [1, 5])
def test_without_feedback_the_kernel_is_b(order):
    b = signal((order,), 1)
    tf = rv.rational.TransferFunction(b, np.zeros(order))
    assert_bits(tf.kernel(order + 3), np.append(b, np.zeros(3)))
    assert_bits(tf.kernel(1), b[:1])


@pytest.mark.parametrize("name", ["kernel", "aliased", "recur"])
def test_direct_goes_into_the_first_entry(name):
    tf, b, a = made(3, direct=0.75)
    plain = rv.rational.TransferFunction(b, a)
    call = {
        "kernel": lambda model: model.kernel(9),
        "aliased": lambda model: model.kernel(9, aliased=True),
        "recur": lambda model: model.recur(np.eye(9)[0])[0],
    }[name]
    found, without = call(tf), call(plain)
    assert_within(found[0], without[0] + 0.75, ENTRY * EPS * (abs(without[0]) + 0.75))
    assert_within(found[1:], without[1:], ENTRY * EPS * np.abs(without).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS)
def test_the_aliased_kernel_is_the_inverse_dft_of_the_response(order, dtype):
    tf, b, a = made(order, dtype)
    for length in (n for n in (2, 5, 36, 64) if n > order):
        found = tf.kernel(length, aliased=True)
        assert found.dtype == dtype
        bound = ENTRY * eps_of(dtype) * oracle.aliased_rounding(b, a, length)
        assert_within(found, oracle.aliased(b, a, length), bound)


@pytest.mark.parametrize("length", [*range(1, 18), 23, 25, 31, 48, 49])
def test_aliased_kernels_of_every_length(length):
    """Of order 1, length 1 too: G(1). And of the largest order that the length has room for."""
    for order in {1, min(length, 9)}:
        tf, b, a = made(order, direct=0.5)
        bound = ENTRY * EPS * (oracle.aliased_rounding(b, a, length) + 0.5)
        found = tf.kernel(length, aliased=True)
        assert_within(found, oracle.aliased(b, a, length, 0.5), bound)


@pytest.mark.parametrize("order", ORDERS)
def test_the_aliased_kernel_is_the_plain_one_folded(order):
    """sum_m K_{k+mL}: after 40 L steps at radius 0.9 what is left is below 0.9^720."""
    tf, b, a = made(order)
    length = 18
    folded = tf.kernel(40 * length).reshape(40, length).sum(axis=0)
    rounding = oracle.kernel_rounding(b, a, 40 * length).reshape(40, length).sum(axis=0)
    bound = EPS * (rounding + 40 * np.abs(folded))
    found = tf.kernel(length, aliased=True)
    assert_within(found, folded, bound + ENTRY * EPS * oracle.aliased_rounding(b, a, length))
    # the two kernels are different things: the tail is not rounding
    assert np.abs(found - tf.kernel(length)).max() > 1e6 * bound.max()


def test_the_aliased_kernel_of_an_unstable_model_is_no_sum():
    """One pole, zeta = 2: G = 1/(1 - 2z) has the periodic kernel 2^k/(1 - 2^L)."""
    tf = rv.rational.TransferFunction([1.0], [-2.0])
    wanted = 2.0 ** np.arange(8) / (1 - 2.0**8)
    assert_within(tf.kernel(8, aliased=True), wanted, ENTRY * 5 * EPS)


@pytest.mark.parametrize("length", [4, 33])
@pytest.mark.parametrize("aliased", [False, True])
def test_batches_are_their_models_one_by_one(length, aliased):
    b, a = stack(3)
    direct = signal((2, 3), 7)
    found = rv.rational.TransferFunction(b, a, direct).kernel(length, aliased=aliased)
    assert found.shape == (2, 3, length)
    for i in np.ndindex(2, 3):
        one = rv.rational.TransferFunction(b[i], a[i], direct[i])
        bound = ENTRY * EPS * oracle.aliased_rounding(b[i], a[i], length)
        bound += EPS * oracle.kernel_rounding(b[i], a[i], length)
        assert_within(found[i], one.kernel(length, aliased=aliased), bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [1, 5, 33])
@pytest.mark.parametrize("channels", [1, 3, 16, 17, 40])
def test_many_channels(channels, order, dtype):
    """Whatever is done for several channels at a time is done for each of them."""
    parts = [oracle.model(order, seed=seed, dtype=dtype) for seed in range(channels)]
    b, a = (np.array([part[i] for part in parts]) for i in (0, 1))
    u = signal((channels, 41), 2).astype(dtype)
    tf = rv.rational.TransferFunction(b, a)
    found = tf.kernel(41), tf.kernel(41, aliased=True), *tf.recur(u)
    for i in (0, channels // 2, channels - 1):
        wide_b, wide_a, wide_u = double(b[i]), double(a[i]), double(u[i])
        eps = eps_of(dtype)
        bounds = oracle.recur_rounding(wide_u, wide_b, wide_a)
        wanted = oracle.recur(wide_u, wide_b, wide_a)
        rounding = ENTRY * eps * oracle.aliased_rounding(wide_b, wide_a, 41)
        assert_within(
            found[0][i],
            oracle.kernel(wide_b, wide_a, 41),
            eps * oracle.kernel_rounding(wide_b, wide_a, 41),
        )
        assert_within(found[1][i], oracle.aliased(wide_b, wide_a, 41), rounding)
        assert_within(found[2][i], wanted[0], eps * bounds[0])
        assert_within(found[3][i], wanted[1], eps * bounds[1])


@pytest.mark.parametrize(
    ("b_shape", "a_shape", "direct_shape", "shape"),
    [
        ((4,), (), (), (4,)),
        ((), (4,), (), (4,)),
        ((2, 1), (3,), (), (2, 3)),
        ((), (), (5,), (5,)),
        ((1,), (2, 1), (3,), (2, 3)),
        ((0,), (), (), (0,)),
    ],
)
def test_leading_axes_broadcast(b_shape, a_shape, direct_shape, shape):
    rng = np.random.default_rng(3)
    b = rng.standard_normal((*b_shape, 2))
    a = np.array([0.3, -0.2]) * rng.random((*a_shape, 1))
    direct = rng.standard_normal(direct_shape)
    tf = rv.rational.TransferFunction(b, a, direct)
    full_b, full_a = (np.broadcast_to(v, (*shape, 2)) for v in (b, a))
    full = np.broadcast_to(direct, shape)
    found = {
        "kernel": tf.kernel(6),
        "aliased": tf.kernel(6, aliased=True),
        "response": tf.frequency_response(np.linspace(0, 3, 6)),
        "recur": tf.recur(np.ones(6))[0],
        "state": tf.recur(np.ones(6))[1],
        "poles": tf.poles(),
        "margin": np.asarray(tf.stability_margin()),
    }
    trailing = {"state": (2,), "poles": (2,), "margin": ()}
    for name, value in found.items():
        assert value.shape == (*shape, *trailing.get(name, (6,))), name
    for i in np.ndindex(shape):
        one = rv.rational.TransferFunction(full_b[i], full_a[i], full[i])
        size = np.abs(full_b[i]).sum() + abs(full[i])
        assert_within(found["kernel"][i], one.kernel(6), ENTRY * EPS * size)
        assert_within(found["recur"][i], one.recur(np.ones(6))[0], 6 * ENTRY * EPS * size)
        assert_within(
            found["response"][i],
            one.frequency_response(np.linspace(0, 3, 6)),
            ENTRY * EPS * size,
        )


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1e20, 1e200])
@pytest.mark.parametrize("aliased", [False, True])
def test_kernels_are_homogeneous_in_b(scale, aliased):
    """Transforms of b and a must not see each other's rounding."""
    tf, b, a = made(4)
    scaled = rv.rational.TransferFunction(scale * b, a).kernel(12, aliased=aliased) / scale
    bound = oracle.aliased_rounding(b, a, 12) + oracle.kernel_rounding(b, a, 12)
    assert_within(scaled, tf.kernel(12, aliased=aliased), 2 * ENTRY * EPS * bound)


# ---------------------------------------------------------------------------------------------
# The recurrence.


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("order", ORDERS)
def test_the_recurrence(order, dtype):
    """y and the register, from zero and from a given register, against 50 digits."""
    tf, b, a = made(order, dtype, direct=-0.5)
    register = signal((order,), 2).astype(dtype)
    for length in LENGTHS:
        u = signal((length,), 3).astype(dtype)
        for x0 in (None, register):
            y, x = tf.recur(u, x0=x0)
            assert y.dtype == x.dtype == dtype
            wanted_y, wanted_x = oracle.recur(u, b, a, -0.5, x0)
            bound_y, bound_x = oracle.recur_rounding(u, b, a, -0.5, x0)
            assert_within(y, wanted_y, eps_of(dtype) * bound_y)
            assert_within(x, wanted_x, eps_of(dtype) * bound_x)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_the_recurrence_in_single_precision(dtype):
    tf, b, a = made(5, dtype, direct=0.5)
    u = signal((50,), 3).astype(dtype)
    y, x = tf.recur(u)
    assert y.dtype == x.dtype == dtype
    wanted_y, wanted_x = oracle.recur(double(u), b, a, 0.5)
    bound_y, bound_x = oracle.recur_rounding(double(u), b, a, 0.5)
    assert_within(y, wanted_y, eps_of(dtype) * bound_y)
    assert_within(x, wanted_x, eps_of(dtype) * bound_x)


def test_the_register_is_the_newest_first():
    """Without feedback the register holds the inputs themselves."""
    tf = rv.rational.TransferFunction(np.ones(3), np.zeros(3))
    y, x = tf.recur([1.0, 2.0, 4.0, 8.0])
    assert_bits(x, np.array([8.0, 4.0, 2.0]))
    assert_bits(y, np.array([1.0, 3.0, 7.0, 14.0]))
    y, x = tf.recur([16.0], x0=x)
    assert_bits(x, np.array([16.0, 8.0, 4.0]))
    assert_bits(y, np.array([28.0]))


@pytest.mark.parametrize("cuts", [(1,), (2, 9), (30,)])
def test_pieces_are_the_whole(cuts):
    tf, b, a = made(4, direct=0.25)
    u = signal((31,), 4)
    whole_y, whole_x = tf.recur(u)
    state, outputs = None, []
    for piece in np.split(u, cuts):
        y, state = tf.recur(piece, x0=state)
        outputs.append(y)
    bound_y, bound_x = oracle.recur_rounding(u, b, a, 0.25)
    assert_within(np.concatenate(outputs), whole_y, EPS * bound_y)
    assert_within(state, whole_x, EPS * bound_x)


def test_channels_of_inputs_and_of_models():
    b, a = stack(3, (3,))
    u = signal((3, 20), 5)
    many = rv.rational.TransferFunction(b, a)
    y, x = many.recur(u)
    shared_y, shared_x = many.recur(u[0])
    assert y.shape == shared_y.shape == (3, 20)
    assert x.shape == shared_x.shape == (3, 3)
    alone = rv.rational.TransferFunction(b[0], a[0])
    several_y, several_x = alone.recur(np.stack([u, 2 * u]))
    assert several_y.shape == (2, 3, 20)
    assert several_x.shape == (2, 3, 3)
    for i in range(3):
        one = rv.rational.TransferFunction(b[i], a[i])
        for found, source in (((y[i], x[i]), u[i]), ((shared_y[i], shared_x[i]), u[0])):
            bound_y, bound_x = oracle.recur_rounding(source, b[i], a[i])
            assert_within(found[0], one.recur(source)[0], EPS * bound_y)
            assert_within(found[1], one.recur(source)[1], EPS * bound_x)
        bound = EPS * oracle.recur_rounding(u[i], b[0], a[0])[0]
        assert_within(several_y[1, i], 2 * alone.recur(u[i])[0], 2 * bound)


def test_the_recurrence_is_causal_and_linear():
    tf, b, a = made(4)
    u = signal((40,), 6)
    later = u.copy()
    later[25:] = 7.0
    assert_bits(tf.recur(later)[0][:25], tf.recur(u)[0][:25])
    delayed = np.concatenate([np.zeros(5), u])
    bound = EPS * oracle.recur_rounding(u, b, a)[0]
    assert_within(tf.recur(delayed)[0][5:], tf.recur(u)[0], bound)


coefficients = st.lists(st.floats(-2, 2, allow_subnormal=False), min_size=1, max_size=6)


@given(coefficients, st.lists(st.floats(-3, 3, allow_subnormal=False), min_size=1, max_size=30),
       st.floats(-1, 1, allow_subnormal=False), st.integers(0, 999))  # fmt: skip
def test_the_recurrence_is_the_convolution_with_the_kernel(a, u, direct, seed):
    """For any a, stable or not: 30 steps of sum |a| <= 12 stay far below overflow."""
    b = np.random.default_rng(seed).standard_normal(len(a))
    tf = rv.rational.TransferFunction(b, a, direct)
    y, kernel = tf.recur(u)[0], tf.kernel(len(u))
    bound = oracle.recur_rounding(u, b, a, direct)[0]
    rounding = oracle.kernel_rounding(b, a, len(u)) + len(u) * np.abs(kernel)
    bound = bound + np.convolve(rounding, np.abs(u))[: len(u)]
    assert_within(y, np.convolve(u, kernel)[: len(u)], EPS * bound)


# ---------------------------------------------------------------------------------------------
# On the circle.


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("order", ORDERS)
def test_the_frequency_response(order, dtype):
    tf, b, a = made(order, dtype, direct=0.3)
    omega = np.concatenate([np.linspace(-7, 7, 11), [0.0, np.pi, np.pi / 2]])
    found = tf.frequency_response(omega)
    assert found.dtype == np.complex128
    bound = SUM * eps_of(dtype) * (oracle.response_rounding(b, a, omega) + 0.3)
    assert_within(found, oracle.response(b, a, omega, 0.3), bound)


@pytest.mark.parametrize("order", [2, 7])
def test_the_frequency_response_is_the_dft_of_the_kernel(order):
    """0.9^900 is below eps squared."""
    tf, b, a = made(order)
    omega = 2 * np.pi * np.arange(900) / 900
    kernel = tf.kernel(900)
    bound = EPS * (oracle.kernel_rounding(b, a, 900).sum() + 900 * np.abs(kernel).sum())
    bound = bound + SUM * EPS * oracle.response_rounding(b, a, omega)
    assert_within(tf.frequency_response(omega), np.fft.fft(kernel), bound)


def test_shapes_of_the_frequency_response():
    b, a = stack(2, (3,))
    tf = rv.rational.TransferFunction(b, a)
    omega = np.linspace(0, 3, 10)
    assert tf.frequency_response(omega).shape == (3, 10)
    assert tf.frequency_response(omega[:0]).shape == (3, 0)
    assert np.shape(tf.frequency_response(0.5)) == (3,)
    assert np.shape(made(2)[0].frequency_response(0.5)) == ()


@pytest.mark.parametrize("order", ORDERS)
def test_control_polynomials_are_those_of_scipy(order):
    """lfilter, freqz and dlti take them as they are."""
    tf, b, a = made(order, direct=0.4)
    num, den = tf.control_polynomials()
    assert num.shape == den.shape == (order + 1,)
    u = signal((60,), 8)
    bound = EPS * (oracle.recur_rounding(u, b, a, 0.4)[0] + ENTRY * 0.4 * np.abs(u))
    # its transposed form rounds the numerator's part too: that of 1/den spreads over it
    spread = np.convolve(oracle.kernel_rounding(num, a, 60), np.abs(u))[:60]
    assert_within(scipy.signal.lfilter(num, den, u), tf.recur(u)[0], bound + EPS * spread)

    omega = np.linspace(0.1, 3.1, 12)
    rounding = SUM * EPS * (oracle.response_rounding(num, a, omega) + 0.4)
    assert_within(
        scipy.signal.freqz(num, den, worN=omega)[1], tf.frequency_response(omega), 2 * rounding
    )
    discrete = scipy.signal.dlti(num, den)
    assert_within(discrete.freqresp(omega)[1], tf.frequency_response(omega), 2 * rounding)


def test_control_polynomials_of_batches():
    b, a = stack(3)
    direct = signal((2, 3), 1)
    num, den = rv.rational.TransferFunction(b, a, direct).control_polynomials()
    assert num.shape == den.shape == (2, 3, 4)
    for i in np.ndindex(2, 3):
        one = rv.rational.TransferFunction(b[i], a[i], direct[i]).control_polynomials()
        assert_bits(num[i], one[0])
        assert_bits(den[i], one[1])


# ---------------------------------------------------------------------------------------------
# Poles, zeros, residues.


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("order", ORDERS)
def test_poles(order, dtype):
    tf, _, a = made(order, dtype)
    found, wanted = tf.poles(), oracle.roots(a)
    assert found.shape == (order,)
    assert found.dtype == np.complex128
    bound = QR * order * eps_of(dtype) * oracle.roots_rounding(wanted)
    assert_within(found[oracle.matched(found, wanted)], wanted, bound)


def test_poles_of_real_models_are_conjugate_pairs():
    found = made(9)[0].poles()
    partners = found[oracle.matched(found.conj(), found)]
    assert (partners == found.conj()).all()


def test_poles_at_the_origin():
    """zeta^3 - 0.5 zeta^2: the delays are poles too."""
    found = rv.rational.TransferFunction(np.ones(3), [-0.5, 0.0, 0.0]).poles()
    assert_within(np.sort(np.abs(found)), [0.0, 0.0, 0.5], ENTRY * EPS)


@pytest.mark.parametrize("direct", [0.0, 0.7])
@pytest.mark.parametrize("order", ORDERS)
def test_zeros(order, direct):
    """Of the numerator in powers of zeta, found backwards: its value is its rounding."""
    tf, _, _ = made(order, direct=direct)
    num = tf.control_polynomials()[0]
    zeros = tf.zeros()
    assert zeros.shape == (order,)
    for zero in zeros:
        size = np.linalg.norm(num) ** 2 / abs(num[0])
        powers = np.linalg.norm(np.abs(zero) ** np.arange(order + 1))
        assert abs(np.polyval(num, zero)) <= QR * (order + 1) * EPS * size * powers
    # and all of them: their product with the first coefficient is the numerator
    again = num[0] * np.poly(zeros)
    size = np.abs(num[0]) * np.poly(-np.abs(zeros))
    bound = QR * (order + 1) * EPS * np.linalg.norm(num) / abs(num[0])
    assert_within(again, num, bound * size.max())


def test_zeros_at_the_origin_and_at_infinity():
    """K = 0, 0, 1: num = 0 zeta^3 + 0 zeta^2 + zeta, one zero at the origin, two nowhere."""
    zeros = rv.rational.TransferFunction([0.0, 0.0, 1.0], [-0.5, 0.0, 0.0]).zeros()
    assert zeros.shape == (3,)
    assert np.isinf(zeros).sum() == 2
    assert (zeros == 0).sum() == 1


def test_batches_of_poles_zeros_and_residues():
    b, a = stack(4)
    tf = rv.rational.TransferFunction(b, a, 0.5)
    poles, zeros, (r, of) = tf.poles(), tf.zeros(), tf.residues()
    assert poles.shape == zeros.shape == r.shape == of.shape == (2, 3, 4)
    for i in np.ndindex(2, 3):
        one = rv.rational.TransferFunction(b[i], a[i], 0.5)
        assert_bits(poles[i], one.poles())
        assert_bits(zeros[i], one.zeros())
        assert_bits(r[i], one.residues()[0])
        assert_bits(of[i], one.residues()[1])


@pytest.mark.parametrize("a", [[-1.0, 0.25], [0.0, 0.0], [-0.5, 0.0, 0.0]])
def test_equal_poles_have_no_residues(a):
    """1/2 twice, or 0 twice: refused, not infinite."""
    tf = rv.rational.TransferFunction(np.ones(len(a)), a)
    for call in (tf.residues, tf.parallel):
        with pytest.raises(rv.InvalidArgument, match="pole"):
            call()


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("order", ORDERS)
def test_residues(order, dtype):
    """K_k = sum r_i zeta_i^k, and each residue by itself."""
    tf, b, a = made(order, dtype, direct=0.6)
    r, poles = tf.residues()
    assert r.shape == poles.shape == (order,)
    wanted = oracle.roots(a)
    place = oracle.matched(poles, wanted)
    condition = oracle.roots_rounding(wanted)
    bound = QR * order * eps_of(dtype) * condition
    assert_within(poles[place], wanted, bound)
    exact_r = oracle.residues(b, wanted)
    # a residue moves with its pole: through the numerator, and through every distance
    gaps = [np.abs(p - np.delete(wanted, i)).min(initial=1) for i, p in enumerate(wanted)]
    sizes = np.abs(exact_r) + np.linalg.norm(b) * condition / np.linalg.norm(np.append(1, a))
    slope = (1 + 2 * order / np.array(gaps)) * bound.max()
    assert_within(r[place], exact_r, sizes * (slope + SUM * order * eps_of(dtype)))

    steps = np.arange(50)
    size = np.abs(r).sum() * (1 + slope.max())
    assert_within(
        (r * poles ** steps[:, None]).sum(axis=-1),
        oracle.kernel(b, a, 50),
        50 * size * bound.max() + eps_of(dtype) * oracle.kernel_rounding(b, a, 50),
    )


# ---------------------------------------------------------------------------------------------
# Companion form, truncation.


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("order", ORDERS)
def test_the_companion_form(order, dtype):
    tf, b, a = made(order, dtype, direct=0.2)
    form = tf.to_companion()
    assert isinstance(form, rv.ssm.StateSpace)
    assert form.time == "discrete"
    assert_bits(form.A, oracle.companion(a).astype(dtype))
    assert_bits(form.B, np.eye(order, dtype=dtype)[0])
    assert_bits(form.C, b)
    assert complex(form.direct) == 0.2


@pytest.mark.parametrize("length", [3, 16, 50])
@pytest.mark.parametrize("order", [1, 2, 3, 8])
def test_the_companion_form_of_a_truncated_numerator(order, length):
    """C = C~ (I - A^L)^-1, from the transposed system: the untransposed one is something else."""
    tf, b, a = made(order, direct=0.2)
    form = tf.to_companion(length)
    assert_bits(form.A, oracle.companion(a))
    wanted = oracle.untruncated(b, a, length)
    inside = np.array(oracle.correction(a, length), dtype=float)
    condition = np.linalg.cond(inside) * oracle.power_growth(a, length) ** 2
    bound = SOLVE * order * EPS * condition * np.linalg.norm(wanted)
    assert_within(form.C, wanted, bound)
    if order > 1:
        untransposed = np.linalg.solve(inside, b)
        assert np.abs(untransposed - wanted).max() > 100 * bound


@pytest.mark.parametrize("length", [1, 2, 7, 40, 1000])
@pytest.mark.parametrize("order", [1, 2, 3, 8])
def test_truncate_and_untruncate(order, length):
    tf, b, a = made(order, direct=0.2)
    there = tf.truncate(length)
    wanted = oracle.truncated(b, a, length)
    growth = oracle.power_growth(a, min(length, 200)) ** 2
    bound = SOLVE * order * EPS * growth * np.linalg.norm(b)
    assert_within(there.transfer_function.b, wanted, bound)
    assert_bits(there.transfer_function.a, tf.a)
    assert complex(there.transfer_function.direct) == 0.2

    back = tf.untruncate(length)
    wanted = oracle.untruncated(b, a, length)
    inside = np.array(oracle.correction(a, length), dtype=float)
    condition = np.linalg.cond(inside)
    bound = SOLVE * order * EPS * condition * growth * np.linalg.norm(wanted)
    assert_within(back.transfer_function.b, wanted, bound)

    again = there.transfer_function.untruncate(length)
    reported = np.asarray(again.condition)
    assert reported.shape == ()
    bound = SOLVE * order * EPS * reported * growth * np.linalg.norm(b)
    assert_within(again.transfer_function.b, b, bound)


@pytest.mark.parametrize("order", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [5, 40])
def test_the_condition_of_truncation(order, length):
    """That of I - A^L: norms of d by d matrices differ by at most d, an estimate by little more."""
    tf, _, a = made(order)
    inside = np.array(oracle.correction(a, length), dtype=float)
    condition = np.linalg.cond(inside)
    for reported in (tf.truncate(length).condition, tf.untruncate(length).condition):
        assert condition / (4 * order) <= reported <= 4 * order * condition


@pytest.mark.parametrize("radius", [0.999, 0.999999])
def test_truncation_near_the_circle(radius):
    """1 - zeta^L is small: the loss is the condition, and it is said."""
    length = 20
    a = np.array([-(radius + 0.5), radius * 0.5])  # poles radius and 0.5
    b = np.array([1.0, -0.3])
    tf = rv.rational.TransferFunction(b, a)
    inside = np.array(oracle.correction(a, length), dtype=float)
    condition = np.linalg.cond(inside)
    there = tf.truncate(length)
    again = there.transfer_function.untruncate(length)
    assert condition / 8 <= again.condition <= 8 * condition
    growth = oracle.power_growth(a, length) ** 2
    bound = SOLVE * 2 * EPS * condition * growth * np.linalg.norm(b)
    assert_within(again.transfer_function.b, b, bound)


@pytest.mark.parametrize("order", [1, 2, 3, 8])
def test_the_periodic_kernel_of_the_truncated_model_is_the_plain_kernel(order):
    """What C~ is for: the first L entries, without the tail."""
    tf, b, a = made(order, direct=0.2)
    for length in (n for n in (2, 9, 32, 57) if n > order):
        inner = tf.truncate(length).transfer_function
        wanted = oracle.kernel(b, a, length, 0.2)
        growth = oracle.power_growth(a, length) ** 2
        rounding = oracle.aliased_rounding(inner.b, a, length) * (1 + growth)
        assert_within(inner.kernel(length, aliased=True), wanted, SOLVE * order * EPS * rounding)


def test_truncation_after_the_memory_is_gone():
    """After 10^9 steps, by squaring: A^L is 0, and C~ is C."""
    tf, b, _ = made(5)
    for found in (tf.truncate(10**9), tf.untruncate(10**9)):
        assert_within(found.transfer_function.b, b, ENTRY * EPS * np.abs(b))
        assert abs(found.condition - 1) <= ENTRY * 5 * EPS


def test_truncation_of_batches():
    b, a = stack(3)
    tf = rv.rational.TransferFunction(b, a)
    for method in ("truncate", "untruncate"):
        found = getattr(tf, method)(11)
        assert np.shape(found.condition) == (2, 3)
        for i in np.ndindex(2, 3):
            one = getattr(rv.rational.TransferFunction(b[i], a[i]), method)(11)
            size = ENTRY * EPS * one.condition * np.linalg.norm(one.transfer_function.b)
            assert_within(found.transfer_function.b[i], one.transfer_function.b, size)


# ---------------------------------------------------------------------------------------------
# The same function in other forms.


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("direct", [0.0, 0.5])
def test_the_cascade(order, direct):
    """Sections of order two and less whose product is G, real where it is."""
    tf, b, a = made(order, direct=direct)
    sections = tf.cascade()
    assert all(isinstance(s, rv.rational.TransferFunction) for s in sections)
    assert all(s.a.shape[-1] <= 2 for s in sections)
    assert all(s.a.dtype == np.float64 for s in sections)
    assert all(s.is_stable() for s in sections)
    omega = np.linspace(0.05, 3.1, 40)
    product = np.prod([s.frequency_response(omega) for s in sections], axis=0)
    wanted = oracle.response(b, a, omega, direct)
    num = tf.control_polynomials()[0]
    rounding = oracle.response_rounding(num, a, omega) * oracle.roots_rounding(tf.poles()).max()
    assert_within(product, wanted, QR * order * EPS * rounding)

    found = np.eye(60)[0]
    for section in sections:
        found = section.recur(found)[0]
    kernel = oracle.kernel(b, a, 60, direct)
    assert_within(found, kernel, QR * order * EPS * rounding.max())


@pytest.mark.parametrize("order", [1, 2, 5])
def test_the_cascade_of_a_window(order):
    """No poles but 0, and as many taps: the product is the polynomial."""
    b = np.random.default_rng(order).standard_normal(order)
    signal_ = np.eye(order + 4)[0]
    for section in rv.rational.TransferFunction(b, np.zeros(order)).cascade():
        signal_ = section.recur(signal_)[0]
    wanted = np.append(b, np.zeros(4))
    size = np.abs(b[0]) * np.prod(1 + np.abs(np.roots(b))) if order > 1 else np.abs(b[0])
    zeros = 1 / np.roots(b[::-1]) if order > 1 else np.zeros(0)
    condition = oracle.roots_rounding(zeros).max(initial=1)
    assert_within(signal_, wanted, QR * order * EPS * size * condition)


@pytest.mark.parametrize("dtype", DOUBLE)
def test_cascades_of_batches_and_of_complex_models(dtype):
    parts = [oracle.model(4, seed=seed, dtype=dtype) for seed in range(3)]
    b, a = (np.array([part[i] for part in parts]) for i in (0, 1))
    signal_ = np.eye(30, dtype=dtype)[0]
    sections = rv.rational.TransferFunction(b, a, 0.5).cascade()
    assert len(sections) == (2 if dtype == np.float64 else 4)
    for section in sections:
        signal_ = section.recur(signal_)[0]
    assert signal_.shape == (3, 30)
    for i in range(3):
        wanted = oracle.kernel(b[i], a[i], 30, 0.5)
        condition = oracle.roots_rounding(oracle.roots(a[i])).max()
        rounding = oracle.aliased_rounding(b[i], a[i], 30) * condition
        assert_within(signal_[i], wanted, QR * 4 * eps_of(dtype) * rounding)


@pytest.mark.parametrize("order", [3, 8])
def test_poles_of_the_cascade_are_those_of_the_model(order):
    tf, _, a = made(order)
    found = np.concatenate([s.poles() for s in tf.cascade()])
    wanted = oracle.roots(a)
    assert len(found) == order
    bound = QR * order * EPS * oracle.roots_rounding(wanted)
    assert_within(found[oracle.matched(found, wanted)], wanted, 4 * bound)


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("order", ORDERS)
def test_the_parallel_form(order, dtype):
    tf, b, a = made(order, dtype, direct=0.5)
    form = tf.parallel()
    condition = oracle.roots_rounding(oracle.roots(a)).max()
    size = np.abs(form.residues).sum()
    rounding = QR * order * eps_of(dtype) * condition * size
    kernel = form.kernel(60)
    assert kernel.dtype == dtype
    assert_within(kernel, oracle.kernel(b, a, 60, 0.5), 60 * rounding)
    omega = np.linspace(-3, 3, 20)
    distance = np.abs(1 - np.exp(-1j * omega)[:, None] * form.poles).min()
    assert_within(
        form.frequency_response(omega),
        oracle.response(b, a, omega, 0.5),
        rounding / distance**2 + SUM * EPS,
    )
    again = form.to_transfer_function()
    assert_within(again.a, a, QR * order * eps_of(dtype) * condition * np.linalg.norm(a))
    assert_within(again.b, b, rounding * np.poly(-np.abs(form.poles)).max())
    assert complex(again.direct) == 0.5


def test_a_parallel_form_by_hand():
    """K_k = 2 (0.5)^k - (-0.25)^k, plus 3 in K_0."""
    form = rv.rational.PoleResidue(np.array([0.5, -0.25]), np.array([2.0, -1.0]), 3.0)
    steps = np.arange(12)
    wanted = 2 * 0.5**steps - (-0.25) ** steps + 3.0 * (steps == 0)
    assert_within(form.kernel(12), wanted, ENTRY * EPS)
    tf = form.to_transfer_function()
    assert_within(tf.a, [-0.25, -0.125], ENTRY * EPS)
    assert_within(tf.b, [1.0, 1.0], ENTRY * EPS)
    assert_within(tf.kernel(12), wanted, ENTRY * EPS)


@pytest.mark.parametrize("order", ORDERS)
def test_the_state_space_of_a_stable_model(order):
    tf, b, a = made(order, direct=0.1)
    form = tf.to_state_space()
    assert isinstance(form, rv.ssm.StateSpace)
    assert form.order <= order
    wanted = oracle.kernel(b, a, 50, 0.1)
    found = oracle.state_kernel(form.A, form.B, form.C, 50, form.direct.item())
    growth = oracle.power_growth(a, 100) ** 2
    assert_within(found, wanted, SOLVE * order * EPS * growth * np.linalg.norm(wanted))


def test_parallel_forms_of_batches():
    b, a = stack(3)
    tf = rv.rational.TransferFunction(b, a, 0.5)
    form = tf.parallel()
    kernel, response = form.kernel(9), form.frequency_response([0.1, 2.0])
    assert kernel.shape == (2, 3, 9)
    assert response.shape == (2, 3, 2)
    again = form.to_transfer_function()
    for i in np.ndindex(2, 3):
        one = rv.rational.TransferFunction(b[i], a[i], 0.5)
        size = QR * 3 * EPS * oracle.roots_rounding(oracle.roots(a[i])).max()
        size = size * (1 + np.abs(form.residues[i]).sum())
        assert_within(kernel[i], one.kernel(9), 9 * size)
        distance = np.abs(1 - np.exp(-1j * np.array([[0.1], [2.0]])) * form.poles[i]).min()
        assert_within(response[i], one.frequency_response([0.1, 2.0]), size / distance**2)
        assert_within(again.b[i], b[i], 8 * size)


def test_a_model_with_a_pole_that_nobody_sees_has_the_companion_form():
    """(1 - 0.5 z)/((1 - 0.5 z)(1 + 0.25 z)): there is no balanced realisation of order two."""
    tf = rv.rational.TransferFunction([1.0, -0.5], [-0.25, -0.125])
    form = tf.to_state_space()
    assert_bits(form.A, tf.to_companion().A)
    wanted = (-0.25) ** np.arange(9)
    assert_within(oracle.state_kernel(form.A, form.B, form.C, 9), wanted, 9 * ENTRY * EPS)


def test_the_state_space_of_an_unstable_model_is_the_companion_form():
    tf = rv.rational.TransferFunction([1.0, 0.5], [-2.5, 1.0], 0.3)  # poles 2 and 0.5
    form, companion = tf.to_state_space(), tf.to_companion()
    for name in ("A", "B", "C", "direct"):
        assert_bits(getattr(form, name), getattr(companion, name))


# ---------------------------------------------------------------------------------------------
# Sums and products.

models = st.tuples(st.integers(1, 4), st.integers(0, 10**6), st.floats(-2, 2))


@given(models, models)
def test_sums_are_parallel_and_products_are_in_series(one, two):
    """The kernel of a sum is the sum, of a product the convolution; orders add up."""
    length = 25
    parts = [(*oracle.model(order, seed=seed), direct) for order, seed, direct in (one, two)]
    first, second = (rv.rational.TransferFunction(*part) for part in parts)
    k1, k2 = (oracle.kernel(b, a, length, direct) for b, a, direct in parts)
    total, product = first + second, first * second
    for found, wanted in ((total, k1 + k2), (product, np.convolve(k1, k2)[:length])):
        assert found.a.shape[-1] <= one[0] + two[0]
        # coefficients are sums of products: each error is one of the absolute ones
        rounding = oracle.kernel_rounding(found.b, found.a, length)
        inner = oracle.kernel_rounding([1.0], found.a, length)
        sizes = [np.abs(b).sum() + abs(d) for b, _, d in parts]
        heavy = [1 + np.abs(a).sum() for _, a, _ in parts]
        coefficient = (sizes[0] + heavy[0]) * (sizes[1] + heavy[1])
        bound = EPS * (rounding + ENTRY * inner.max() * length * coefficient)
        assert_within(found.kernel(length), wanted, bound)
    assert_within((second + first).kernel(length), total.kernel(length), bound)
    assert_within((second * first).kernel(length), product.kernel(length), bound)


def test_algebra_of_batches():
    b, a = stack(2, (3,))
    first = rv.rational.TransferFunction(b, a, 0.5)
    second = rv.rational.TransferFunction(b[::-1], a[::-1])
    total, product = (first + second).kernel(9), (first * second).kernel(9)
    assert total.shape == product.shape == (3, 9)
    k1, k2 = first.kernel(9), second.kernel(9)
    size = SOLVE * 9 * EPS * np.abs(k1).max() * np.abs(k2).max() * 9
    assert_within(total, k1 + k2, size)
    for i in range(3):
        assert_within(product[i], np.convolve(k1[i], k2[i])[:9], size)
