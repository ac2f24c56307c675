"""Bad input by its message; types, layouts, smallest sizes; results as objects; threads."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle

import numpy as np
import pytest
from hippo_support import ENTRY, EPS, assert_bits, assert_message, assert_within, signal

import resolvent as rv
from oracles import rational as oracle

B = np.array([1.0, 2.0])
A = np.array([-0.5, 0.25])
METHODS = ("aaa", "era", "prony")
KINDS = ("zeros", "xavier", "montel", "reflection")
REDUCTIONS = ("truncate", "match-dc")
KERNEL = oracle.kernel(B, A, 40)
MATRIX = np.array([[0.5, 0.25], [0.0, -0.25]])


def tf(b=B, a=A, direct=0.0):
    return rv.rational.TransferFunction(b, a, direct)


def space(matrix=MATRIX, **options):
    return rv.ssm.StateSpace(matrix, np.ones(2), np.ones(2), **options)


def invalid(call, *parts, error=rv.ResolventError):
    """The call is refused with an error whose message holds every part."""
    with pytest.raises(error) as info:
        call()
    assert isinstance(info.value, rv.ResolventError)
    assert_message(info, *parts)


WRONG_TYPE = (rv.InvalidArgument, rv.DtypeError)

# ---------------------------------------------------------------------------------------------
# Coefficients.


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["b", "a", "direct"])
def test_coefficients_that_are_not_finite(name, bad):
    value = {"b": B.copy(), "a": A.copy(), "direct": np.zeros(2)}
    value[name][1] = bad
    call = rv.rational.TransferFunction
    invalid(lambda: call(value["b"], value["a"], value["direct"]), name, "finite")


@pytest.mark.parametrize("name", ["b", "a", "direct"])
@pytest.mark.parametrize("bad", ["12", None, np.array(["x", "y"]), np.array([None, 1.0])])
def test_coefficients_that_are_not_numbers(name, bad):
    value = {"b": B, "a": A, "direct": 0.0, name: bad}
    call = rv.rational.TransferFunction
    invalid(lambda: call(**value), name, error=rv.DtypeError)


@pytest.mark.parametrize("shape", [(3,), (1,), (4, 3)])
def test_orders_that_differ_are_both_printed(shape):
    invalid(lambda: tf(np.ones(shape)), "b", shape, "a", "(2,)", error=rv.ShapeMismatch)


def test_channels_that_do_not_broadcast_are_both_printed():
    b, a = np.ones((3, 2)), np.zeros((4, 2))
    invalid(lambda: tf(b, a), "b", "(3", "a", "(4", error=rv.ShapeMismatch)
    invalid(lambda: tf(b, A, np.ones(4)), "direct", "(3", "(4,)", error=rv.ShapeMismatch)


@pytest.mark.parametrize("name", ["b", "a"])
def test_coefficients_without_an_axis(name):
    value = {"b": B, "a": A, name: 1.0}
    invalid(lambda: rv.rational.TransferFunction(**value), name, error=rv.ShapeMismatch)


# ---------------------------------------------------------------------------------------------
# Lengths.

WITH_LENGTH = {
    "kernel": lambda n: tf().kernel(n),
    "aliased": lambda n: tf().kernel(n, aliased=True),
    "to_companion": lambda n: tf().to_companion(n),
    "truncate": lambda n: tf().truncate(n),
    "untruncate": lambda n: tf().untruncate(n),
    "parallel": lambda n: tf().parallel().kernel(n),
}


@pytest.mark.parametrize("name", WITH_LENGTH)
@pytest.mark.parametrize("length", [0, -3])
def test_lengths_below_one(name, length):
    invalid(lambda: WITH_LENGTH[name](length), "length", length, error=rv.InvalidArgument)


@pytest.mark.parametrize("name", WITH_LENGTH)
@pytest.mark.parametrize("length", [2.5, "8", [4]])
def test_lengths_that_are_no_integers(name, length):
    invalid(lambda: WITH_LENGTH[name](length), "length", error=rv.DtypeError)


@pytest.mark.parametrize("name", ["kernel", "aliased", "truncate"])
def test_lengths_of_numpy_are_integers(name):
    WITH_LENGTH[name](np.int32(8))


@pytest.mark.parametrize("length", [1, 2])
def test_the_aliased_kernel_is_not_shorter_than_the_order(length):
    """d > L: b itself would be folded; the message has both numbers."""
    model = tf([1.0, 2.0, 3.0], [0.1, 0.2, 0.3])
    invalid(
        lambda: model.kernel(length, aliased=True), "length", length, "3", error=rv.InvalidArgument
    )
    assert model.kernel(length).shape == (length,)  # the plain kernel is short, that is all


def test_the_shortest_aliased_kernel():
    """L = d: a_d z^d is a_d at every L-th root of unity, and so part of the leading 1."""
    b, a = np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3])
    bound = ENTRY * EPS * oracle.aliased_rounding(b, a, 3)
    assert_within(tf(b, a).kernel(3, aliased=True), oracle.aliased(b, a, 3), bound)


# ---------------------------------------------------------------------------------------------
# Poles in the way.


@pytest.mark.parametrize(
    ("a", "length"),
    [
        ([-1.0], 5),  # zeta = 1: every length
        ([1.0], 6),  # zeta = -1: even lengths
        ([0.0, 1.0], 8),  # +-i: multiples of four
    ],
)
def test_a_pole_on_the_circle_at_a_sample_point(a, length):
    model = tf(np.ones(len(a)), a)
    invalid(lambda: model.kernel(length, aliased=True), "pole", error=rv.InvalidArgument)
    for call in (lambda: model.untruncate(length), lambda: model.to_companion(length)):
        invalid(call, "singular", length, error=rv.InvalidArgument)
    assert np.isfinite(model.kernel(length)).all()


@pytest.mark.parametrize(("a", "length"), [([1.0], 7), ([0.0, 1.0], 6)])
def test_a_pole_on_the_circle_between_the_sample_points(a, length):
    b = np.ones(len(a))
    wanted = oracle.aliased(b, np.array(a), length)
    bound = ENTRY * EPS * oracle.aliased_rounding(b, a, length)
    assert_within(tf(b, a).kernel(length, aliased=True), wanted, bound)


@pytest.mark.parametrize(
    ("a", "omega"), [([-1.0], [0.5, 0.0]), ([-2.0, 1.0], [0.0]), ([0.3, -0.8, -0.5], [0.0])]
)
def test_a_pole_at_a_frequency(a, omega):
    invalid(
        lambda: tf(np.ones(len(a)), a).frequency_response(omega), "pole", error=rv.InvalidArgument
    )


def test_a_channel_with_a_pole_at_a_sample_point():
    model = tf(np.ones((3, 1)), [[0.5], [-1.0], [0.25]])
    invalid(lambda: model.kernel(4, aliased=True), "pole", error=rv.InvalidArgument)


def test_kernels_that_overflow_say_from_which_length():
    """2^k: K_1023 is the last below 2^1024."""
    model = tf([1.0], [-2.0])
    assert model.kernel(1024)[-1] == 2.0**1023
    invalid(lambda: model.kernel(1025), "length", "1025", "overflow", error=rv.InvalidArgument)
    single = tf(np.float32([1.0]), np.float32([-2.0]))
    assert single.kernel(128)[-1] == 2.0**127
    invalid(lambda: single.kernel(129), "length", "129", "overflow", error=rv.InvalidArgument)


NEEDS_STABILITY = {
    "hankel_singular_values": rv.rational.hankel_singular_values,
    "balance": rv.rational.balance,
    "reduce": lambda model: rv.rational.reduce(model, 1),
}


@pytest.mark.parametrize("name", NEEDS_STABILITY)
def test_unstable_models_are_refused_by_their_largest_pole(name):
    call = NEEDS_STABILITY[name]
    unstable = tf(B, [-1.75, 0.625])  # 1.25 and 0.5
    invalid(lambda: call(unstable), "stable", "1.25", error=rv.InvalidArgument)
    matrix = np.array([[1.5, 1.0], [0.0, 0.5]])
    invalid(lambda: call(space(matrix)), "stable", "1.5", error=rv.InvalidArgument)
    invalid(
        lambda: call(space(np.diag([-1.0, 0.375]), time="continuous")),
        "stable",
        "0.375",
        error=rv.InvalidArgument,
    )
    for border in (space(np.diag([1.0, 0.5])), space(np.diag([0.0, -1.0]), time="continuous")):
        invalid(lambda border=border: call(border), "stable", error=rv.InvalidArgument)


# ---------------------------------------------------------------------------------------------
# Inputs of the recurrence and frequencies.


def test_inputs_of_the_recurrence():
    invalid(lambda: tf().recur(1.0), "u", error=rv.ShapeMismatch)
    invalid(lambda: tf().recur("abc"), "u", error=rv.DtypeError)
    several = tf(np.ones((3, 2)))
    invalid(lambda: several.recur(np.ones((4, 9))), "(4", "(3", error=rv.ShapeMismatch)
    for x0, printed in ((np.ones(3), "(3,)"), (np.ones((4, 2)), "(4"), (1.0, "()")):
        call = functools.partial(several.recur, np.ones(9), x0=x0)
        invalid(call, "x0", printed, error=rv.ShapeMismatch)


def test_an_empty_input_changes_nothing():
    y, x = tf().recur(np.zeros(0), x0=[3.0, 4.0])
    assert y.shape == (0,)
    assert_bits(x, np.array([3.0, 4.0]))


@pytest.mark.parametrize("omega", ["1", [np.nan], [1j], None])
def test_frequencies(omega):
    invalid(lambda: tf().frequency_response(omega), "omega")


# ---------------------------------------------------------------------------------------------
# Names and orders.


@pytest.mark.parametrize("name", ["AAA", "pade", "", None, 3])
def test_names_of_fits(name):
    invalid(lambda: rv.rational.fit(KERNEL, 2, name), "method", *METHODS, error=WRONG_TYPE)


@pytest.mark.parametrize("name", ["singular-perturbation", "", None])
def test_names_of_reductions(name):
    invalid(lambda: rv.rational.reduce(space(), 1, name), "method", *REDUCTIONS, error=WRONG_TYPE)


@pytest.mark.parametrize("name", ["normal", "", None])
def test_names_of_initial_models(name):
    invalid(lambda: rv.rational.initial(3, name), "kind", *KINDS, error=WRONG_TYPE)


@pytest.mark.parametrize("order", [0, -1, 3])
def test_orders_of_reductions(order):
    invalid(lambda: rv.rational.reduce(space(), order), "order", order, "2")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", [0, -1, 40])
def test_orders_of_fits(method, order):
    """Of 40 samples: 2d parameters need as many data."""
    invalid(lambda: rv.rational.fit(KERNEL, order, method), "order", order)


@pytest.mark.parametrize("order", [0, -2])
def test_orders_of_initial_models(order):
    invalid(lambda: rv.rational.initial(order, "montel"), "order", order)


@pytest.mark.parametrize("order", [1.5, "2", None])
def test_orders_that_are_no_integers(order):
    for call in (
        lambda: rv.rational.reduce(space(), order),
        lambda: rv.rational.fit(KERNEL, order),
        lambda: rv.rational.initial(order, "montel"),
    ):
        invalid(call, "order", error=rv.DtypeError)


@pytest.mark.parametrize("radius", [0.0, -0.5, 1.5, np.nan])
def test_radii_outside_the_circle(radius):
    invalid(
        lambda: rv.rational.initial(3, "reflection", radius=radius),
        "radius",
        error=rv.InvalidArgument,
    )


def test_channels_of_initial_models():
    for channels in ((-1,), (2, -3)):
        invalid(lambda channels=channels: rv.rational.initial(3, "zeros", channels=channels))
    assert rv.rational.initial(3, "reflection", channels=(0,), seed=0).a.shape == (0, 3)
    assert rv.rational.initial(3, "montel", channels=4, seed=0).a.shape == (4, 3)


# ---------------------------------------------------------------------------------------------
# Reflection coefficients.

BOTH_WAYS = {"k": rv.rational.from_reflection, "a": rv.rational.reflection}


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_vectors_that_are_none(name):
    call = BOTH_WAYS[name]
    invalid(lambda: call([0.1, np.nan]), name, "finite")
    invalid(lambda: call(0.5), name, error=rv.ShapeMismatch)
    invalid(lambda: call(["a"]), error=rv.DtypeError)
    assert call(np.zeros((0, 3))).shape == (0, 3)


def test_step_down_ends_at_the_circle():
    """After k_3 = 1 or -1 the others are not determined: never a number that looks like one."""
    for last in (1.0, -1.0):
        k = rv.rational.reflection([0.5, 0.25, last])
        assert k[-1] == last
        assert np.isnan(k[:-1]).all()


# ---------------------------------------------------------------------------------------------
# State spaces.


def test_matrices_that_do_not_fit():
    convert = rv.rational.from_state_space
    invalid(lambda: convert(np.ones((2, 3)), B, B), "A", "(2, 3)", error=rv.ShapeMismatch)
    invalid(lambda: convert(MATRIX, np.ones(3), B), "B", "(3,)", error=rv.ShapeMismatch)
    invalid(lambda: convert(MATRIX, B, np.ones(3)), "C", "(3,)", error=rv.ShapeMismatch)
    invalid(lambda: convert(MATRIX, [np.nan, 1.0], B), "B", "finite")
    invalid(lambda: convert(np.full((2, 2), np.inf), B, B), "A", "finite")
    invalid(lambda: convert(MATRIX), "B")
    invalid(lambda: convert(MATRIX, B), "C")


def test_continuous_models_have_no_delays():
    model = space(np.diag([-1.0, -2.0]), time="continuous")
    invalid(lambda: rv.rational.from_state_space(model), "discrete", error=rv.InvalidArgument)


MODELS_ONLY = {
    "from_state_space": rv.rational.from_state_space,
    **NEEDS_STABILITY,
}


@pytest.mark.parametrize("name", MODELS_ONLY)
@pytest.mark.parametrize("model", [None, 3.0, "legs", (MATRIX,)])
def test_models_that_are_none(name, model):
    invalid(lambda: MODELS_ONLY[name](model))


@pytest.mark.parametrize("name", NEEDS_STABILITY)
def test_systems_without_a_read_out(name):
    invalid(lambda: NEEDS_STABILITY[name](rv.hippo.system("legs", 3)), "C")


# ---------------------------------------------------------------------------------------------
# Data of fits.


@pytest.mark.parametrize("method", METHODS)
def test_data_that_cannot_be_fitted(method):
    fit = rv.rational.fit
    invalid(lambda: fit([1.0, np.nan, 0.5, 0.2], 1, method), "data", "finite")
    invalid(lambda: fit(np.ones((2, 9)), 1, method), "data", "(2, 9)", error=rv.ShapeMismatch)
    invalid(lambda: fit([], 1, method), "data")
    invalid(lambda: fit(["a", "b", "c", "d"], 1, method), "data", error=rv.DtypeError)


def test_sample_points():
    z = np.exp(-1j * np.linspace(0, 3, 12))
    data = 1 / (1 - 0.5 * z)
    fit = rv.rational.fit
    for method in ("era", "prony"):
        invalid(lambda method=method: fit(data, 1, method, z=z), "z", "aaa", method)
    invalid(lambda: fit(data, 1, z=z[:-1]), "z", "(11,)", "(12,)", error=rv.ShapeMismatch)
    invalid(lambda: fit(data, 1, z=np.full(12, np.nan)), "z", "finite")
    twice = z.copy()
    twice[3] = twice[4]
    invalid(lambda: fit(data, 1, z=twice), "z", error=rv.InvalidArgument)


# ---------------------------------------------------------------------------------------------
# Types and layouts of the input.


def test_integers_and_lists_are_numbers():
    wanted = tf([1.0, 2.0], [-1.0, 0.0]).kernel(9)
    for b, a in (([1, 2], [-1, 0]), ((1, 2), (-1.0, 0)), (np.int8([1, 2]), np.array([-1, 0]))):
        found = tf(b, a).kernel(9)
        assert found.dtype == np.float64
        assert_bits(found, wanted)


def test_the_wider_type_of_both_is_kept():
    assert tf(np.float32(B), np.float32(A)).kernel(5).dtype == np.float32
    assert tf(B, np.float32(A)).kernel(5).dtype == np.float64
    assert tf(B * 1j, A).kernel(5).dtype == np.complex128
    assert tf(np.complex64(B), np.float32(A)).kernel(5).dtype == np.complex64
    assert tf(B, A, 1j).kernel(5).dtype == np.complex128


def test_other_layouts_of_memory():
    big = np.zeros(6)
    big[::3] = A
    frozen = A.copy()
    frozen.flags.writeable = False
    for a in (big[::3], frozen, A.astype(">f8"), A[::-1].copy()[::-1]):
        assert_bits(tf(B, a).kernel(9), tf().kernel(9))
        assert_bits(rv.rational.reflection(a), rv.rational.reflection(A))
    u = signal((3, 40), 1)
    for layout in (np.asfortranarray(u), u[:, ::-1].copy()[:, ::-1], u.astype(">f8")):
        assert_bits(tf().recur(layout)[0], tf().recur(u)[0])


def test_the_input_is_not_changed():
    b, a, u, x0 = B.copy(), A.copy(), signal((9,), 1), np.ones(2)
    before = [v.copy() for v in (b, a, u, x0)]
    model = tf(b, a)
    model.kernel(9), model.kernel(9, aliased=True), model.recur(u, x0=x0), model.poles()
    model.truncate(5), model.cascade(), model.parallel(), rv.rational.reflection(a)
    rv.rational.from_reflection(a), rv.rational.fit(u, 2, "era")
    for value, old in zip((b, a, u, x0), before, strict=True):
        assert_bits(value, old)


def test_masked_entries_are_refused():
    masked = np.ma.array(A, mask=[False, True])
    invalid(lambda: tf(B, masked), "a", "masked", error=rv.DtypeError)


def test_no_channels():
    model = tf(np.zeros((0, 2)))
    assert model.kernel(5).shape == (0, 5)
    assert model.kernel(5, aliased=True).shape == (0, 5)
    y, x = model.recur(np.ones(5))
    assert (y.shape, x.shape) == ((0, 5), (0, 2))
    assert model.poles().shape == (0, 2)
    assert np.shape(model.stability_margin()) == (0,)


def test_models_of_order_one():
    model = tf([3.0], [-0.5])
    assert_bits(model.kernel(4), np.array([3.0, 1.5, 0.75, 0.375]))
    assert_bits(model.poles(), np.array([0.5 + 0j]))
    r, poles = model.residues()
    assert_bits(r, np.array([3.0 + 0j]))
    assert_bits(poles, np.array([0.5 + 0j]))
    assert [len(s.a) for s in model.cascade()] == [1]
    assert_within(rv.rational.hankel_singular_values(model), [4.0], ENTRY * 4 * EPS)


def test_the_zero_model():
    model = tf([0.0, 0.0])
    assert not model.kernel(9).any()
    assert not model.kernel(9, aliased=True).any()
    assert not model.frequency_response([0.0, 1.0]).any()
    assert not model.recur(np.ones(9))[0].any()
    total = model + tf()
    assert_within(total.kernel(9), tf().kernel(9), ENTRY * 9 * EPS)


# ---------------------------------------------------------------------------------------------
# Results as objects.


RESULTS = {
    "model": lambda: tf(direct=0.5),
    "batch": lambda: tf(np.ones((3, 2))),
    "parallel": lambda: tf().parallel(),
    "truncation": lambda: tf().truncate(9),
    "conversion": lambda: rv.rational.from_state_space(space()),
    "fit": lambda: rv.rational.fit(KERNEL, 2, "era"),
    "balanced": lambda: rv.rational.balance(space()),
    "reduced": lambda: rv.rational.reduce(space(), 1),
}


def _arrays(result):
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray):
            yield field.name, value
        elif dataclasses.is_dataclass(value):
            yield from _arrays(value)


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_frozen_and_read_only(name):
    result = RESULTS[name]()
    arrays = list(_arrays(result))
    assert arrays
    for field, value in arrays:
        assert not value.flags.writeable, field
    field = dataclasses.fields(result)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, field, None)


@pytest.mark.parametrize("name", RESULTS)
def test_results_have_a_short_and_a_tabular_form(name):
    result = RESULTS[name]()
    text, html = repr(result), result._repr_html_()
    assert type(result).__name__ in text
    assert len(text) < 200
    assert "\n" not in text
    assert html.startswith("<table>")
    assert html.count("<tr>") >= 2
    assert "array(" not in text + html


@pytest.mark.parametrize("name", RESULTS)
def test_results_survive_copying(name):
    result = RESULTS[name]()
    for twin in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert type(twin) is type(result)
        mine, others = list(_arrays(result)), list(_arrays(twin))
        assert [field for field, _ in mine] == [field for field, _ in others]
        for (field, value), (_, other) in zip(mine, others, strict=True):
            assert_bits(other, value)
            assert not other.flags.writeable, field


def test_fields_do_not_follow_the_input():
    b, a = B.copy(), A.copy()
    model = tf(b, a)
    before = model.kernel(9)
    b[:] = a[:] = 0.7
    assert_bits(model.kernel(9), before)


# ---------------------------------------------------------------------------------------------
# Threads.


def test_threads_change_nothing(restore_threads):
    """Bit for bit: the work is split by whole channels."""
    parts = [oracle.model(16, 0.95, seed) for seed in range(37)]
    b, a = (np.array([part[i] for part in parts]) for i in (0, 1))
    u = signal((37, 3000), 1)

    def everything():
        model = tf(b, a)
        yield model.kernel(3000)
        yield model.kernel(3000, aliased=True)
        yield from model.recur(u)
        yield model.frequency_response(np.linspace(0, 3, 500))
        yield model.truncate(3000).transfer_function.b
        yield rv.rational.reflection(a)
        yield rv.rational.from_reflection(a / 20)

    rv.set_threads(1)
    alone = list(everything())
    for count in (2, 3):
        rv.set_threads(count)
        for one, many in zip(alone, everything(), strict=True):
            assert_bits(many, one)
