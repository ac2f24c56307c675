"""Bad input by its message, for causal attention and the linear recurrences; and Ctrl-C."""

from __future__ import annotations

import numpy as np
import pytest
from attention_support import (
    ATTENTION,
    EPS,
    FORMS,
    MODELS,
    PLAIN,
    ROUTES,
    SIZES,
    assert_bits,
    assert_within,
    cast,
)
from interruption import printed_by_a_stopped_call
from ssm_support import refused

import resolvent as rv

X = np.random.default_rng(0).standard_normal((2, 6, 3))

BY_NAME = {str(model): model for model in MODELS}
PLAIN_BY_NAME = {model.function: model for model in PLAIN}
#: Of all functions every argument that is an array, `initial` apart.
ARGUMENTS = [(name, argument) for name, model in PLAIN_BY_NAME.items() for argument in model.axes]
#: Those that must be real.
REAL = [(name, argument) for name, argument in ARGUMENTS
        if not (name in ("lru", "s5") and argument in ("eigenvalues", "B", "C"))]  # fmt: skip

routes = pytest.mark.parametrize("route", ROUTES)
forms = pytest.mark.parametrize("form", FORMS)
functions = pytest.mark.parametrize("name", PLAIN_BY_NAME)
arguments = pytest.mark.parametrize(("name", "argument"), ARGUMENTS)


def attend(**changes):
    return rv.attention.causal(**({"q": X, "k": X, "v": X} | changes))


def recur(name, **changes):
    """A model's function on good inputs but for the changes."""
    model = PLAIN_BY_NAME[name]
    return model(model.inputs(6, (2,)) | changes)


def both(name, **changes):
    """Calls of a function and of its gradient."""
    model = PLAIN_BY_NAME[name]
    inputs = model.inputs(6, (2,)) | changes
    g = np.ones((2, 6, model.output_width(model.inputs(6))))
    options = {n: inputs.pop(n) for n in ("form", "chunk", "initial", *model.options)
               if n in inputs}  # fmt: skip
    return (lambda: model(inputs, **options)), (lambda: model.vjp(inputs, g, **options))


def refused_by_both(name, *parts, error, **changes):
    for call in both(name, **changes):
        refused(call, *parts, error=error)


# ---------------------------------------------------------------------------------------------
# Causal attention.


@pytest.mark.parametrize("argument", ["q", "k", "v"])
@pytest.mark.parametrize(
    "bad",
    ["text", [[1.0], [1.0, 2.0]], np.full((6, 3), None), [["a", "b"]]],
    ids=["text", "ragged", "objects", "words"],
)
def test_what_is_no_array_of_numbers(argument, bad):
    refused(lambda: attend(**{argument: bad}), argument, error=rv.DtypeError)


@pytest.mark.parametrize("argument", ["q", "k", "v"])
def test_types_that_are_not_taken(argument):
    refused(lambda: attend(**{argument: X + 1j}), argument, "complex", error=rv.DtypeError)
    refused(lambda: attend(**{argument: X.astype(np.float16)}), argument, "float16", "float32",
            error=rv.DtypeError)  # fmt: skip
    if np.finfo(np.longdouble).eps < np.finfo(np.float64).eps:
        refused(lambda: attend(**{argument: X.astype(np.longdouble)}), argument,
                error=rv.DtypeError)  # fmt: skip


@pytest.mark.parametrize("argument", ["q", "k", "v"])
@pytest.mark.parametrize("shape", [(), (6,)])
def test_sequences_have_two_axes(argument, shape):
    refused(lambda: attend(**{argument: np.ones(shape)}), argument, shape, error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("argument", ["q", "k", "v"])
@routes
def test_what_is_not_finite_is_named_by_its_place(route, argument, dtype, bad):
    """The first place in C order, whatever the memory's."""
    inputs = {name: X.astype(dtype) for name in "qkv"}
    inputs[argument][1, 4, 2] = bad
    inputs[argument][1, 3, 0] = bad
    message = f"{argument}[1, 3, 0] = {bad}"
    refused(lambda: attend(**inputs, route=route), "finite", message, error=rv.InvalidArgument)
    inputs[argument] = np.asfortranarray(inputs[argument])
    refused(lambda: attend(**inputs, route=route), message, error=rv.InvalidArgument)


def test_shapes_that_do_not_fit():
    refused(lambda: attend(k=X[..., :2]), "k", "d = 3", "(2, 6, 2)", error=rv.ShapeMismatch)
    refused(lambda: attend(k=X[:, :5]), "k", "L = 6", "(2, 5, 3)", error=rv.ShapeMismatch)
    refused(lambda: attend(v=X[:, :5]), "v", "L = 6", "(2, 5, 3)", error=rv.ShapeMismatch)
    refused(lambda: attend(q=np.ones((3, 6, 3))), "q", "k", "(3,)", "(2,)", error=rv.ShapeMismatch)


def test_routes():
    for bad in ("fast", None, 3, ["full"]):
        refused(lambda bad=bad: attend(route=bad), "route", repr(bad), *map(repr, ROUTES),
                error=rv.InvalidArgument)  # fmt: skip
    assert ROUTES == rv.attention.ROUTES


def test_scales():
    for bad in (np.nan, np.inf, -np.inf):
        refused(lambda bad=bad: attend(scale=bad), "scale", bad, error=rv.InvalidArgument)
    for bad in ("1", None, 2j, [1.0, 2.0]):
        refused(lambda bad=bad: attend(scale=bad), "scale", error=rv.DtypeError)


def test_maps():
    for bad in ("argmax", 3, np.exp, rv.attention.causal):
        refused(lambda bad=bad: attend(map=bad, route="full"), "map", "'softmax'", "'entmax'",
                error=rv.InvalidArgument)  # fmt: skip


def test_empty():
    for bad in ("uniform", None, 0):
        refused(lambda bad=bad: attend(empty=bad), "empty", repr(bad), "'error'", "'zero'",
                error=rv.InvalidArgument)  # fmt: skip


def test_masks():
    for bad in (np.ones(6), np.ones(6, int), "text", [1, 0, 1, 1, 1, 1]):
        refused(lambda bad=bad: attend(mask=bad), "mask", "bool", error=rv.DtypeError)
    for shape in ((5,), (7,), (1,), ()):
        refused(lambda shape=shape: attend(mask=np.ones(shape, bool)), "mask", shape,
                error=rv.ShapeMismatch)  # fmt: skip
    refused(lambda: attend(mask=np.ones((3, 6), bool)), "mask", "(3, 6)", "(2,)",
            error=rv.ShapeMismatch)  # fmt: skip


def test_out():
    good = np.empty_like(X)
    refused(lambda: attend(out=good[:, :5]), "out", error=rv.ShapeMismatch)
    refused(lambda: attend(out=good.astype(np.float32)), "out", "float32", error=rv.DtypeError)
    refused(lambda: attend(out=good.tolist()), "out", error=rv.DtypeError)
    good.flags.writeable = False
    refused(lambda: attend(out=good), "out", error=rv.InvalidArgument)
    gaps = np.empty((2, 6, 6))[..., ::2]
    refused(lambda: attend(out=gaps), "out", error=rv.InvalidArgument)


@routes
def test_logits_that_overflow_are_refused(route):
    """1e200 · 1e200, and 1e20 · 1e20 in single precision; the query is named."""
    q = np.full((4, 2), 1e200)
    single = np.full((4, 2), 1e20, np.float32)
    for x in (q, single):
        refused(lambda x=x: attend(q=x, k=x, v=x, route=route), "overflows at query [0]", "scale",
                error=rv.InvalidArgument)  # fmt: skip
    q[:3] = 0.0
    refused(lambda: attend(q=np.stack([0 * q, q]), k=np.full((4, 2), 1e200), v=q, route=route),
            "query [1, 3]", error=rv.InvalidArgument)  # fmt: skip


@routes
def test_values_at_the_end_of_the_range(route):
    """Means of numbers near the largest one are no infinities in silence."""
    v, q = np.full((9, 2), 1.7e308), np.zeros((9, 1))
    try:
        found = attend(q=q, k=q, v=v, route=route)
    except rv.InvalidArgument as error:
        assert "overflows" in str(error)  # noqa: PT017
    else:
        assert_within(found, v, ATTENTION * EPS * 9 * v)


# ---------------------------------------------------------------------------------------------
# Linear recurrences.


@pytest.mark.parametrize(
    "bad",
    ["text", [[1.0], [1.0, 2.0]], np.full((6, 3), None), [["a", "b"]]],
    ids=["text", "ragged", "objects", "words"],
)
@arguments
def test_what_is_no_array_of_numbers_for_recurrences(name, argument, bad):
    refused_by_both(name, argument, error=rv.DtypeError, **{argument: bad})


@pytest.mark.parametrize(("name", "argument"), REAL)
def test_complex_numbers_would_lose_their_imaginary_part(name, argument):
    value = PLAIN_BY_NAME[name].inputs(6, (2,))[argument]
    refused_by_both(name, argument, "complex", error=rv.DtypeError, **{argument: value + 0j})


@arguments
def test_half_precision_is_refused_with_advice(name, argument):
    value = PLAIN_BY_NAME[name].inputs(6, (2,))[argument].real.astype(np.float16)
    refused_by_both(name, argument, "float16", "float32", error=rv.DtypeError, **{argument: value})


@pytest.mark.parametrize(("dtype", "bad"), [(np.float32, np.inf), (np.float64, np.nan)])
@arguments
def test_what_is_not_finite_is_named_by_its_place_for_recurrences(name, argument, dtype, bad):
    """The last entry, and then one before it."""
    inputs = PLAIN_BY_NAME[name].inputs(6, (2,), dtype=dtype)
    value = inputs[argument]
    for place in (tuple(n - 1 for n in value.shape), tuple(0 for _ in value.shape)):
        value[place] = bad
        where = f"{argument}[{', '.join(map(str, place))}]" if place else argument
        refused_by_both(name, where, "finite", error=rv.InvalidArgument, **inputs)


@functions
def test_states_that_are_not_finite(name):
    model = PLAIN_BY_NAME[name]
    initial = model.start((2,))
    initial[1, 0] = np.nan
    refused_by_both(name, "initial", "finite", error=rv.InvalidArgument, initial=initial)


@arguments
def test_arguments_without_their_axes(name, argument):
    axes = len(PLAIN_BY_NAME[name].axes[argument])
    for count in range(argument == "step", axes):  # one step serves all states
        shape = (6,) * count
        refused_by_both(name, argument, shape, error=rv.ShapeMismatch, **{argument: np.ones(shape)})


@arguments
def test_arguments_of_another_size(name, argument):
    """Every axis one longer than the others say; both sizes are in the message."""
    model = PLAIN_BY_NAME[name]
    value = model.inputs(6, (2,))[argument]
    for place, letter in enumerate(model.axes[argument]):
        if list(model.axes.values()) == [letter]:
            continue
        others = [axes for n, axes in model.axes.items() if n != argument and letter in axes]
        if not others:
            continue  # nobody else says
        axis = value.ndim - len(model.axes[argument]) + place
        longer = np.repeat(value, 2, axis=axis)
        size = 6 if letter == "L" else SIZES[letter]
        refused_by_both(name, size, 2 * size, error=rv.ShapeMismatch, **{argument: longer})


@functions
def test_batches_that_do_not_broadcast(name):
    model = PLAIN_BY_NAME[name]
    sequences = [n for n, axes in model.axes.items() if "L" in axes]
    three = model.inputs(6, (3,))
    if len(sequences) > 1:
        changes = {sequences[0]: three[sequences[0]]}
    else:
        changes = {"initial": model.start((3,))}
    refused_by_both(name, "(3,", "(2,", error=rv.ShapeMismatch, **changes)


@functions
def test_states_of_another_shape(name):
    model = PLAIN_BY_NAME[name]
    initial = model.start((2,))
    refused_by_both(name, "initial", error=rv.ShapeMismatch, initial=initial[..., :-1])
    refused_by_both(name, "initial", error=rv.ShapeMismatch, initial=np.float64(0.0))


@functions
def test_gradients_of_another_shape(name):
    model = PLAIN_BY_NAME[name]
    inputs = model.inputs(6, (2,))
    for shape in ((6, 3), (2, 5, 3), (2, 6, 4), (1, 6, 3)):
        refused(lambda shape=shape: model.vjp(inputs, np.ones(shape)), "g", shape, "(2, 6, 3)",
                error=rv.ShapeMismatch)  # fmt: skip
    refused(lambda: model.vjp(inputs, np.ones((2, 6, 3)) + 1j), "g", "complex",
            error=rv.DtypeError)  # fmt: skip
    bad = np.ones((2, 6, 3))
    bad[1, 2, 0] = np.inf
    refused(lambda: model.vjp(inputs, bad), "g[1, 2, 0] = inf", error=rv.InvalidArgument)


@functions
def test_forms_list_the_valid_ones(name):
    for bad in ("scan", None, 2):
        refused_by_both(
            name, "form", repr(bad), *map(repr, FORMS), error=rv.InvalidArgument, form=bad
        )
    assert set(FORMS) == set(rv.attention.linear.FORMS)


@functions
def test_chunks(name):
    for bad in (0, -3):
        refused_by_both(name, "chunk", bad, error=rv.InvalidArgument, chunk=bad)
    for bad in (2.0, "64", None):
        refused_by_both(name, "chunk", "integer", error=rv.DtypeError, chunk=bad)


def test_states_of_normalized_attention_are_pairs():
    model = BY_NAME["linear_attention elu normalized"]
    inputs, (state, total) = model.inputs(6, (2,)), model.start((2,))
    for bad in (state, (state,), (state, total, total), 3.0):
        refused(lambda bad=bad: model(inputs, initial=bad), "initial")
    plain = BY_NAME["linear_attention"]
    refused(lambda: plain(inputs, initial=(state, total)), "initial")


def test_features():
    for bad in ("relu", None):
        refused(lambda bad=bad: recur("linear_attention", feature=bad), "feature", repr(bad),
                "'identity'", "'elu'", error=rv.InvalidArgument)  # fmt: skip


@forms
def test_denominators_that_vanish_are_named(form):
    """z_t·q_t = 0 at the third step of the second row."""
    k = np.ones((2, 5, 2))
    k[1, 1], k[1, 2] = [-0.5, 1.0], [-0.5, 0.0]
    q = np.ones((2, 5, 2))
    q[1, 2] = [1.0, 0.0]
    v = np.ones((2, 5, 1))
    linear = rv.attention.linear.linear_attention
    refused(lambda: linear(q, k, v, normalize=True, form=form), "[1, 2]",
            error=rv.InvalidArgument)  # fmt: skip
    assert np.isfinite(linear(q, k, v, form=form)).all()


@pytest.mark.parametrize("bad", [-1e-9, 1.0 + 1e-9, 2.0])
def test_decays_outside_their_range(bad):
    refused_by_both("retnet", "decay", "[0, 1]", error=rv.InvalidArgument, decay=bad)
    refused_by_both("retnet", "decay[1]", error=rv.InvalidArgument, decay=[0.5, bad])


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_rates_and_steps_outside_their_range(name):
    inputs = PLAIN_BY_NAME[name].inputs(6, (2,))
    rate, steps = inputs["A"].copy(), inputs["dt"].copy()
    rate[(0,) * rate.ndim] = 0.25
    steps[(1, 2, *(0 for _ in steps.shape[2:]))] = -0.5
    refused_by_both(name, "A", "0.25", error=rv.InvalidArgument, A=rate)
    place = "dt[1, 2, 0]" if name == "mamba" else "dt[1, 2]"
    refused_by_both(name, place, "-0.5", error=rv.InvalidArgument, dt=steps)
    assert np.isfinite(recur(name, A=0 * rate, dt=0 * steps)).all()


def test_rwkvs_decays_outside_their_range():
    refused_by_both("rwkv", "w[1]", "-0.1", error=rv.InvalidArgument, w=[0.0, -0.1, 1.0])


def test_eigenvalues_outside_their_range():
    lam = np.array([0.5, 0.1j, 0.8 + 0.7j, 0.0])
    refused_by_both("lru", "eigenvalues[2]", error=rv.InvalidArgument, eigenvalues=lam)
    right = np.array([-0.5, 0.1j, -1.0, 0.25 + 1j])
    refused_by_both("s5", "eigenvalues[3]", error=rv.InvalidArgument, eigenvalues=right)


def test_steps_of_s5():
    for bad in (0.0, -1.0):
        refused_by_both("s5", "step", "positive", error=rv.InvalidArgument, step=bad)
    refused_by_both("s5", "step", error=rv.InvalidArgument, step=[1.0, 1.0, 0.0, 1.0])
    refused_by_both("s5", "step", "(3,)", error=rv.ShapeMismatch, step=np.ones(3))


def test_rules():
    for bad in ("euler", "foh", None):
        refused_by_both("s5", "rule", repr(bad), "'zoh'", "'bilinear'", error=rv.InvalidArgument,
                        rule=bad)  # fmt: skip
        inputs = PLAIN_BY_NAME["mamba"].inputs(6)
        refused(lambda bad=bad, inputs=inputs: rv.attention.linear.mamba(**inputs, rule=bad),
                "rule", repr(bad), "'mamba'", "'zoh'", error=rv.InvalidArgument)  # fmt: skip


@pytest.mark.parametrize("name", ["lru", "s5"])
def test_what_passes_by_needs_as_many_outputs_as_inputs(name):
    C = np.ones((2, 4))
    refused_by_both(name, "D", "2", "3", error=rv.ShapeMismatch, C=C)


# ---------------------------------------------------------------------------------------------
# Types and layouts that are taken.


@functions
def test_integers_and_lists_are_doubles(name):
    model = PLAIN_BY_NAME[name]
    inputs = model.inputs(6, (2,))
    sequences = [n for n, axes in model.axes.items() if "L" in axes]
    whole = {n: np.abs(x * 4).astype(int) if n in sequences else x for n, x in inputs.items()}
    y = model(whole)
    assert y.dtype == np.float64
    assert_bits(y, model({n: x * 1.0 for n, x in whole.items()}))
    assert_bits(model({n: x.tolist() for n, x in inputs.items()}), model(inputs))


@functions
def test_layouts(name):
    """Fortran's, read-only, with gaps, backwards: the bits of the plain copy."""
    model = PLAIN_BY_NAME[name]
    inputs = model.inputs(6, (2,))
    y = model(inputs)
    g = np.random.default_rng(1).standard_normal(y.shape)
    plain = model.vjp(inputs, g)
    changes = [lambda x: x.copy(order="F"), with_gaps, backwards, read_only]
    for change in changes:
        changed = {n: change(x) for n, x in inputs.items()}
        assert_bits(model(changed), y)
        for n in inputs:
            assert_bits(getattr(model.vjp(changed, change(g)), n), getattr(plain, n))


def with_gaps(x):
    whole = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
    places = tuple(slice(None, None, 2) for _ in x.shape)
    whole[places] = x
    return whole[places]


def backwards(x):
    places = tuple(slice(None, None, -1) for _ in x.shape)
    return x[places].copy()[places]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@functions
def test_the_sequences_say_the_precision(name):
    """Parameters and states are rounded to it."""
    model = PLAIN_BY_NAME[name]
    inputs, initial = model.inputs(6, (2,)), model.start((2,))
    single = {n: cast(x, np.float32) for n, x in inputs.items()}
    mixed = {n: single[n] if "L" in axes else inputs[n] for n, axes in model.axes.items()}
    y, state = model(mixed, initial=initial, return_state=True)
    assert y.dtype == np.float32
    assert state.real.dtype == np.float32
    expected = model(single, initial=cast(initial, np.float32))
    if name in ("lru", "s5"):  # what they make of their eigenvalues is rounded after that
        assert_within(y, expected, model.bound(single, initial, np.float32)[0])
    else:
        assert_bits(y, expected)


@functions
def test_inputs_stay_as_they_were(name):
    model = PLAIN_BY_NAME[name]
    inputs, initial = model.inputs(6, (2,)), model.start((2,))
    before = {n: x.copy() for n, x in inputs.items()}
    start = initial.copy()
    for form in FORMS:
        _, state = model(inputs, form=form, initial=initial, return_state=True)
        model.vjp(inputs, np.ones((2, 6, 3)), form=form, initial=initial)
        assert not np.may_share_memory(state, initial)
    for n, x in inputs.items():
        assert_bits(x, before[n])
    assert_bits(initial, start)


# ---------------------------------------------------------------------------------------------
# Ctrl-C.


@pytest.mark.parametrize(
    "call",
    [
        "m.retnet(x, x, x, np.full(60, 0.9))",
        "m.mamba(x, np.abs(x), -np.ones((64, 64)), x, x)",
    ],
    ids=["chunks", "selective"],
)
def test_ctrl_c_ends_a_long_call(call):
    setup = """
        x = np.random.default_rng(0).standard_normal((100_000, 64), dtype=np.float32)
        m = rv.attention.linear
    """
    printed = printed_by_a_stopped_call(setup, call, delay=0.1, patience=2.0)
    assert printed == "stopped True\n"


def test_logits_that_overflow_downwards_are_no_masks():
    for route in rv.attention.ROUTES:
        refused(lambda route=route: attend(q=[[1.0], [1e200]], k=[[1.0], [-1e200]],
                                           v=[[1.0], [2.0]], route=route),
                "overflows at query [1]", error=rv.InvalidArgument)  # fmt: skip


def test_recurrences_whose_sums_overflow_are_refused():
    m, ones, huge = rv.attention.linear, np.ones((4, 2)), np.full((4, 2), 1e200)
    calls = (
        lambda form: m.linear_attention(huge, huge, ones, form=form),
        lambda form: m.linear_attention(huge, huge, ones, normalize=True, form=form),
        lambda form: m.mamba(huge, huge, -np.ones((2, 2)), ones, ones, form=form),
        lambda form: m.mamba2(huge, huge[:, 0], -1.0, ones, ones, form=form),
        lambda form: m.lru(huge, [0.5], [[1e200, 1e200]], [[1.0]], form=form),
        lambda form: m.retnet_vjp(huge, ones, ones, 0.5, huge, form=form),
    )
    for call in calls:
        for form in m.FORMS:
            refused(lambda call=call, form=form: call(form), error=rv.InvalidArgument)


def test_squares_of_small_logits_are_weights():
    found = attend(q=[[1.0], [1.0]], k=[[1e-200], [2e-200]], v=[[1.0], [2.0]],
                   map=rv.probmap.normalize, route="streaming")  # fmt: skip
    assert_within(found[1], [1.8], 4 * EPS)
