"""State spaces as rational functions: exact characteristic polynomials, and honest errors."""

from __future__ import annotations

import contextlib
import math
import warnings

import mpmath as mp
import numpy as np
import pytest
from hippo_support import EPS, SOLVE, assert_bits, assert_within

import resolvent as rv
from oracles import exact, hippo
from oracles import rational as oracle

# A backward-stable route has the coefficients of A + E, ||E|| <= BACKWARD N eps ||A||.
BACKWARD = 20
# An estimate may be below the error by this, and above what rounding alone does by the other.
BELOW = 3
ABOVE = 1e4
# From here on a loss is warned about.
DIGITS = 4
POINTS = np.linspace(0, np.pi, 17)


@contextlib.contextmanager
def losses_allowed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.IllConditionedWarning)
        yield


def convert(*model):
    """A conversion whose loss is looked at by the test itself."""
    with losses_allowed():
        return rv.rational.from_state_space(*model)


def random_model(order, seed=0, radius=0.9):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((order, order))
    a *= radius / np.abs(np.linalg.eigvals(a)).max()
    return a, rng.standard_normal(order), rng.standard_normal(order)


def legs(order, step):
    """LegS by the bilinear rule, and a read-out."""
    a, b = oracle.legs_bilinear(order, step)
    return a, b, np.random.default_rng(order).standard_normal(order)


def coefficient_bound(a, b, c, slopes=None):
    """Bounds for both polynomials of A + E, B and C changed by N eps of their sizes.

    The coefficients of det(zeta - A) by their derivatives, and as products of rounded eigenvalues;
    b = [1, a] * K with the kernel K of such a change.
    """
    order = len(a)
    size = np.linalg.norm
    slopes = oracle.characteristic(a)[1] if slopes is None else slopes
    change = size(a) * slopes + np.poly(-np.abs(np.linalg.eigvals(a)))[1:]
    rows, columns = [np.asarray(c)], [np.asarray(b)]
    for _ in range(order - 1):
        rows.append(rows[-1] @ a)
        columns.append(a @ columns[-1])
    rows, columns = ([size(v) for v in part] for part in (rows, columns))
    kernel = np.multiply(rows, size(b))
    moved = size(a) * np.convolve(rows, columns)[:order]
    moved = np.append(0, moved[:-1]) + kernel + np.multiply(columns, size(c))
    heavy = np.append(1, np.abs(np.poly(a)[1:]))
    top = np.convolve(heavy, moved) + np.convolve(np.append(0, change), np.append(kernel, 0))[:-1]
    return BACKWARD * order * EPS * change, BACKWARD * order * EPS * top[:order]


def exact_response(coefficients, points=POINTS):
    """G on the circle from exact coefficients, in twice the digits."""
    with mp.workdps(2 * oracle.DIGITS):
        b, a = (list(exact.fractions_to_mp(v)) for v in (coefficients.b, coefficients.a))
        return [oracle.evaluate(b, a, mp.expj(-mp.mpf(float(w)))) for w in points]


def response_error(tf, wanted, points=POINTS):
    """max |G - G_exact|/max |G_exact|, the model's coefficients taken as exact."""
    with mp.workdps(2 * oracle.DIGITS):
        b, a = oracle.numbers(tf.b), oracle.numbers(tf.a)
        found = [oracle.evaluate(b, a, mp.expj(-mp.mpf(float(w)))) for w in points]
        difference = max(abs(p - q) for p, q in zip(found, wanted, strict=True))
        return float(difference / max(abs(v) for v in wanted))


# Where the loss is nothing, something, and everything.
MODELS = {
    **{f"random-{n}": random_model(n, n) for n in (1, 2, 5, 8, 16)},
    "far-from-normal": (
        np.triu(np.full((6, 6), 3.0), 1) + np.diag([0.9, 0.8, -0.7, 0.3, 0.1, -0.5]),
        np.ones(6),
        np.arange(6.0) - 2,
    ),
    "defective": (np.eye(5, k=1) + 0.5 * np.eye(5), np.eye(5)[4], np.ones(5)),
    "delays": (np.eye(4, k=-1), np.eye(4)[0], np.array([1.0, 2.0, 3.0, 4.0])),
    "small-output": (*random_model(6, 1)[:2], 1e-9 * random_model(6, 1)[2]),
    "large-output": (*random_model(6, 1)[:2], 1e9 * random_model(6, 1)[2]),
    **{f"legs-{n}-{e:g}": legs(n, e) for n, e in [(4, 0.01), (8, 0.01), (8, 0.1), (12, 0.1)]},
    **{f"legs-{n}-1": legs(n, 1.0) for n in (8, 12, 16, 24)},
    "legs-16-half": legs(16, 0.5),
}


@pytest.fixture(scope="module")
def truth():
    """Exact coefficients and responses, once for all tests."""
    found = {}
    for name, model in MODELS.items():
        coefficients = oracle.transfer(*model)
        found[name] = coefficients, exact_response(coefficients)
    return found


# ---------------------------------------------------------------------------------------------
# Coefficients.


@pytest.mark.parametrize("name", MODELS)
def test_the_coefficients_are_those_of_the_characteristic_polynomials(name, truth):
    a, b, c = MODELS[name]
    tf = convert(a, b, c).transfer_function
    assert tf.a.shape == tf.b.shape == (len(a),)
    coefficients = truth[name][0]
    bound_a, bound_b = coefficient_bound(a, b, c, coefficients.slopes)
    assert_within(tf.a, oracle.floats(coefficients.a), bound_a)
    assert_within(tf.b, oracle.floats(coefficients.b), bound_b)


def test_by_hand():
    """C (I - zA)^-1 B of a 2 by 2 system: (b_1 + b_2 z)/(1 - tr z + det z^2)."""
    a = np.array([[0.5, 0.25], [1.0, -0.5]])
    result = convert(a, [1.0, 2.0], [4.0, 8.0], 3.0)
    tf = result.transfer_function
    # K_0 = C B = 20, K_1 = C A B = (4, 8) (1, 0) = 4; b_2 = K_1 + a_1 K_0
    assert_within(tf.a, [0.0, -0.5], 8 * EPS)
    assert_within(tf.b, [20.0, 4.0], 8 * 20 * EPS)
    assert complex(tf.direct) == 3
    assert_within(tf.kernel(3), [23.0, 4.0, 10.0], 16 * 20 * EPS)


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_back_from_the_companion_form(order):
    b, a = oracle.model(order)
    tf = rv.rational.TransferFunction(b, a, 0.5)
    form = tf.to_companion()
    again = convert(form).transfer_function
    bound_a, bound_b = coefficient_bound(form.A, form.B, form.C)
    assert_within(again.a, a, bound_a)
    assert_within(again.b, b, bound_b)
    assert complex(again.direct) == 0.5


def test_models_and_matrices_are_the_same():
    a, b, c = random_model(4)
    one = convert(a, b, c, 0.5)
    two = convert(rv.ssm.StateSpace(a, b, c, 0.5))
    assert_bits(one.transfer_function.a, two.transfer_function.a)
    assert_bits(one.transfer_function.b, two.transfer_function.b)
    assert one.error == two.error
    assert one.digits_lost == two.digits_lost


def test_similar_models_are_one_function():
    a, b, c = random_model(5)
    t = np.linalg.qr(np.random.default_rng(7).standard_normal((5, 5)))[0]
    one = convert(a, b, c).transfer_function
    two = convert(t @ a @ t.T, t @ b, c @ t.T).transfer_function
    bound_a, bound_b = coefficient_bound(a, b, c)
    assert_within(two.a, one.a, 2 * bound_a)
    assert_within(two.b, one.b, 2 * bound_b)


def test_batches_of_state_spaces():
    """Matrices, inputs and read-outs broadcast; errors are per channel."""
    models = [random_model(3, seed) for seed in range(4)]
    a, b, c = (np.array([model[i] for model in models]) for i in range(3))
    many = convert(a, b, c, np.arange(4.0))
    shared = convert(a[0], b[0], c)
    assert many.transfer_function.b.shape == shared.transfer_function.b.shape == (4, 3)
    assert np.shape(many.error) == np.shape(many.digits_lost) == (4,)
    for i in range(4):
        for found, model in ((many, models[i]), (shared, (a[0], b[0], c[i]))):
            one = convert(*model)
            bound_a, bound_b = coefficient_bound(*model)
            where = np.broadcast_to(found.transfer_function.a, (4, 3))[i]
            assert_within(where, one.transfer_function.a, bound_a)
            assert_within(found.transfer_function.b[i], one.transfer_function.b, bound_b)
    assert_bits(np.asarray(many.transfer_function.direct), np.arange(4.0))


def test_complex_models():
    rng = np.random.default_rng(2)
    poles = 0.8 * np.exp(2j * np.pi * np.array([0.05, 0.3, 0.42, 0.8]))
    r = rng.standard_normal(4) + 1j * rng.standard_normal(4)
    result = convert(np.diag(poles), np.ones(4), r)
    tf = result.transfer_function
    assert tf.a.dtype == tf.b.dtype == np.complex128
    bound = BACKWARD * 4 * EPS * np.poly(-np.abs(poles)).sum()
    assert_within(tf.a, np.poly(poles)[1:], bound)
    wanted = (r * poles ** np.arange(30)[:, None]).sum(axis=-1)
    assert_within(tf.kernel(30), wanted, 1e2 * bound * np.linalg.norm(r))


# ---------------------------------------------------------------------------------------------
# The error it reports.


@pytest.mark.parametrize("name", MODELS)
def test_the_error_estimate_is_honest(name, truth):
    """Not below what happened, and not far above what double precision must do."""
    a, b, c = MODELS[name]
    result = convert(a, b, c)
    wanted = truth[name][1]
    actual = response_error(result.transfer_function, wanted)
    assert result.error >= min(actual, 1) / BELOW
    # the same with correctly rounded coefficients: no route does better but by luck
    coefficients = truth[name][0]
    rounded = rv.rational.TransferFunction(
        oracle.floats(coefficients.b), oracle.floats(coefficients.a)
    )
    unavoidable = max(actual, response_error(rounded, wanted), len(a) * EPS)
    assert result.error <= ABOVE * unavoidable


@pytest.mark.parametrize("name", MODELS)
def test_digits_lost_are_those_of_the_error(name):
    a, b, c = MODELS[name]
    result = convert(a, b, c)
    assert result.digits_lost >= 0
    assert abs(result.digits_lost - max(0, math.log10(result.error / EPS))) <= 1


@pytest.mark.parametrize("name", MODELS)
def test_losses_are_warned_about(name):
    a, b, c = MODELS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = rv.rational.from_state_space(a, b, c)
    if result.digits_lost <= DIGITS:
        assert not caught
        return
    assert [w.category for w in caught] == [rv.IllConditionedWarning]
    message = str(caught[0].message)
    assert "digits" in message
    assert f"{result.digits_lost:.1f}" in message
    assert np.isfinite(caught[0].message.value)
    assert caught[0].filename == __file__


def test_the_loss_of_legs_grows_with_its_order(truth):
    """At step 1: nothing at N = 8, some digits at 12, more than half at 16, all of them at 24."""
    actual, reported = {}, {}
    for order in (8, 12, 16, 24):
        name = f"legs-{order}-1"
        result = convert(*MODELS[name])
        actual[order] = response_error(result.transfer_function, truth[name][1])
        reported[order] = result.digits_lost
    assert reported[8] <= DIGITS < reported[16]
    assert reported[24] >= 12
    assert sorted(reported.values()) == list(reported.values())
    assert actual[8] < 1e4 * EPS
    assert actual[12] > actual[8]
    assert 1e5 * EPS < actual[16] < 1e-4
    assert actual[24] > 1e-2


def test_clustered_poles_lose_sooner():
    """The same systems at step 0.01: all poles within 0.07 of 0.96, and N = 8 has lost half."""
    assert convert(*MODELS["legs-8-0.01"]).digits_lost > 8
    assert convert(*MODELS["legs-4-0.01"]).digits_lost < convert(*MODELS["legs-8-0.01"]).digits_lost


def test_a_hundred_models_are_as_good_as_their_rounded_coefficients():
    """Random ones: no route is better than the nearest doubles, this one is nearly as good."""
    worse = []
    for seed in range(100):
        model = random_model(3 + seed % 5, seed, radius=0.97)
        coefficients = oracle.transfer(*model)
        wanted = exact_response(coefficients, POINTS[::4])
        tf = convert(*model).transfer_function
        rounded = rv.rational.TransferFunction(
            oracle.floats(coefficients.b), oracle.floats(coefficients.a)
        )
        best = response_error(rounded, wanted, POINTS[::4]) + len(model[0]) * EPS
        worse.append(response_error(tf, wanted, POINTS[::4]) / best)
    assert np.median(worse) < 10


# ---------------------------------------------------------------------------------------------
# Forms without coefficients.


def pencil_bound(a, b, c, points=POINTS):
    """What N eps in [[A, B], [C, 0]], scaled so that the parts are alike, does to G; over max |G|.

    d G = (C R, 1) dM (R B, 1) with R = (zeta - A)^-1: neither poles nor coefficients come in.
    """
    b, c = b / np.linalg.norm(b), c / np.linalg.norm(c)
    worst, largest = 0.0, 0.0
    for w in points:
        inside = np.exp(1j * w) * np.eye(len(a)) - a
        left, right = np.linalg.solve(inside.T, c), np.linalg.solve(inside, b)
        worst = max(worst, np.hypot(1, np.linalg.norm(left)) * np.hypot(1, np.linalg.norm(right)))
        largest = max(largest, abs(c @ right))
    return BACKWARD * len(a) * EPS * (1 + np.linalg.norm(a)) * worst / largest


@pytest.mark.parametrize("name", MODELS)
def test_the_cascade_of_a_state_space_loses_nothing(name, truth):
    """Sections from its eigenvalues and zeros, also where the coefficients are worth nothing."""
    a, b, c = MODELS[name]
    with losses_allowed():
        sections = rv.rational.cascade(rv.ssm.StateSpace(a, b, c))
    assert all(section.a.shape[-1] <= 3 for section in sections)
    wanted = truth[name][1]
    with mp.workdps(oracle.DIGITS):
        turns = [mp.expj(-mp.mpf(float(w))) for w in POINTS]
        found = [mp.mpf(1)] * len(turns)
        for section in sections:
            parts = oracle.numbers(section.b), oracle.numbers(section.a)
            direct = complex(section.direct)
            values = [oracle.evaluate(*parts, z, direct) for z in turns]
            found = [p * q for p, q in zip(found, values, strict=True)]
        error = max(abs(p - q) for p, q in zip(found, wanted, strict=True))
        error = float(error / max(abs(v) for v in wanted))
    assert error <= pencil_bound(a, b, c)


def test_the_cascade_keeps_what_the_coefficients_lose(truth):
    """LegS of order 24 at step 1: nothing is left of one, ten digits and more of the other."""
    a, b, c = MODELS["legs-24-1"]
    assert pencil_bound(a, b, c) < 1e-10
    assert response_error(convert(a, b, c).transfer_function, truth["legs-24-1"][1]) > 1e-2


def forms(name):
    """Kernels of other forms, and of what they are forms of."""
    a, b, c = MODELS[name]
    model = rv.ssm.StateSpace(a, b, c)
    tf = convert(a, b, c).transfer_function
    own = oracle.kernel(tf.b, tf.a, 40)

    def cascaded():
        signal = np.eye(40)[0]
        for section in tf.cascade():
            signal = section.recur(signal)[0]
        return signal

    return {
        "spectral": (
            lambda: rv.rational.PoleResidue.from_state_space(model).kernel(40),
            oracle.state_kernel(a, b, c, 40),
        ),
        "parallel": (lambda: tf.parallel().kernel(40), own),
        "cascade": (cascaded, own),
    }


@pytest.mark.parametrize("form", ["spectral", "parallel", "cascade"])
@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("defective", "delays")])
def test_forms_that_lose_say_so(name, form):
    """Either more than eleven digits are right, or there was a warning."""
    call, wanted = forms(name)[form]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    assert all(w.category is rv.IllConditionedWarning for w in caught)
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert caught or error <= 10 * 10**DIGITS * EPS
    if name.startswith("random"):
        assert not caught


def test_pole_and_residue_of_a_state_space():
    """By hand: eigenvalues 1/2 and -1/4 of a triangular matrix."""
    model = rv.ssm.StateSpace([[0.5, 1.0], [0.0, -0.25]], [1.0, 3.0], [2.0, 1.0], 0.25)
    form = rv.rational.PoleResidue.from_state_space(model)
    # (A - 1/2)^-1 ...: C v_1 = 2, w_1 B = 1 + 3/(3/4) = 5; the rest of C B = 5 is -5
    assert_within(form.poles, [0.5, -0.25], 16 * EPS)
    assert_within(form.residues, [10.0, -5.0], 160 * EPS)
    assert complex(form.direct) == 0.25
    assert form.kernel(5).dtype == np.float64


# ---------------------------------------------------------------------------------------------
# There and back.


def kernel_error(form, wanted):
    """Relative error of a state space's kernel, in the 2-norm."""
    found = oracle.state_kernel(form.A, form.B, form.C, len(wanted), form.direct.item())
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def circle_error(form, model):
    """max |G - G_exact|/max |G_exact| of a state space, at the points of the other comparison."""
    z = np.exp(-1j * POINTS)
    found = oracle.state_response(form.A, form.B, form.C, z, form.direct)
    wanted = oracle.state_response(*model, z)
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("route", ["to_companion", "to_state_space"])
@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_within_the_reported_estimate(name, route):
    a, b, c = MODELS[name]
    result = convert(a, b, c)
    with losses_allowed():
        form = getattr(result.transfer_function, route)()
    # solving on the circle with either matrix loses what those have as condition
    z = np.exp(-1j * POINTS)[:, None, None]
    condition = max(
        np.linalg.cond(np.eye(len(m)) - z * m).max() for m in (np.asarray(a), np.asarray(form.A))
    )
    error = circle_error(form, (a, b, c))
    assert error <= BELOW * result.error + SOLVE * len(a) * EPS * condition


@pytest.mark.parametrize("order", [2, 5, 8])
def test_there_and_back_keeps_the_kernel(order):
    model = random_model(order, order)
    result = convert(*model)
    wanted = oracle.state_kernel(*model, 60)
    found = result.transfer_function.kernel(60)
    scale = np.linalg.norm(wanted)
    assert np.linalg.norm(found - wanted) <= 10 * BELOW * result.error * scale
    assert kernel_error(result.transfer_function.to_companion(), wanted) <= (
        10 * BELOW * result.error
    )


def test_hippo_matrices_by_themselves():
    """The continuous LegS matrices: integers, and exactly their characteristic polynomial."""
    a, b = hippo.matrices("legs", 6, normalization="legendre")
    c = np.array([1.0, -1.0, 2.0, 0.0, 1.0, 3.0])
    coefficients = oracle.transfer(a, b, c)
    tf = convert(a, b, c).transfer_function
    bound_a, bound_b = coefficient_bound(a, b, c)
    assert_within(tf.a, oracle.floats(coefficients.a), bound_a)
    assert_within(tf.b, oracle.floats(coefficients.b), bound_b)
    # det(zeta - A) = prod (zeta + n + 1)
    assert_within(tf.a, np.poly(-np.arange(1.0, 7.0))[1:], bound_a)
