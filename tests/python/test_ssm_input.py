"""Bad input by message, shapes and types, the smallest and the largest input."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re

import numpy as np
import pytest
from interruption import output_after_ctrl_c
from ssm_support import (
    AGREEMENT,
    BY_NAME,
    CIRCLE,
    DETOURS,
    EPS,
    KINDS,
    PROMISE,
    ROUTES,
    assert_bits,
    assert_message,
    assert_within,
    kernel_by,
    refused,
)

import resolvent as rv

A = np.array([[0.5, 0.1], [-0.2, 0.3]])
B = np.array([1.0, 2.0])
C = np.array([0.5, -1.0])


def space(**changes):
    fields = {"A": A, "B": B, "C": C} | changes
    return rv.ssm.StateSpace(**fields)


def legs(length=8, **changes):
    keywords = {"step": 0.1, "C": np.ones(3)} | changes
    return rv.ssm.kernel(rv.hippo.system("legs", 3), length, **keywords)


V, Z, LAM, G = np.ones(2) * (1 + 1j), np.array([2.0, 3j, -4.0]), np.array([0.5, 0.1j]), np.ones(3)

# Every function of arrays, with all arguments valid, and their names.
ARRAYS = {
    "cauchy": (rv.ssm.cauchy, {"v": V, "z": Z, "eigenvalues": LAM}),
    "cauchy_vjp": (rv.ssm.cauchy_vjp, {"v": V, "z": Z, "eigenvalues": LAM, "g": G}),
    "vandermonde": (
        lambda v, eigenvalues: rv.ssm.vandermonde(v, eigenvalues, 4),
        {"v": V, "eigenvalues": LAM},
    ),
    "vandermonde_vjp": (rv.ssm.vandermonde_vjp, {"v": V, "eigenvalues": LAM, "g": G}),
    "convolve": (rv.ssm.convolve, {"u": G, "kernel": G}),
    "convolve_adjoint": (rv.ssm.convolve_adjoint, {"g": G, "kernel": G}),
    "scan": (rv.ssm.scan, {"a": G, "b": G}),
    "scan_vjp": (rv.ssm.scan_vjp, {"a": G, "x": G, "g": G}),
    "recur": (lambda u: rv.ssm.recur(u, space()), {"u": G}),
}
EACH = [(function, name) for function, (_, args) in ARRAYS.items() for name in args]


def call_with(function, **changes):
    call, args = ARRAYS[function]
    return call(**(args | changes))


# ---------------------------------------------------------------------------------------------
# Arrays that are none.


@pytest.mark.parametrize(
    "bad",
    ["text", None, [[1.0], [1.0, 2.0]], np.array([None, 1.0])],
    ids=["text", "none", "ragged", "objects"],
)
@pytest.mark.parametrize(("function", "name"), EACH)
def test_what_is_no_array_of_numbers_is_refused_by_name(function, name, bad):
    refused(lambda: call_with(function, **{name: bad}), name, error=rv.DtypeError)


@pytest.mark.parametrize(("function", "name"), EACH)
def test_numbers_without_an_axis_are_refused_by_name(function, name):
    refused(lambda: call_with(function, **{name: 1.0}), name, error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("function", "name"), EACH)
def test_what_is_not_finite_is_refused_with_its_place(function, name, bad):
    array = np.array(ARRAYS[function][1][name], copy=True)
    array[1] = bad
    refused(
        lambda: call_with(function, **{name: array}),
        f"{name} must be finite", f"{name}[1]",
        error=rv.InvalidArgument,
    )  # fmt: skip


# What an empty last axis gives where it is no contradiction to the other arguments.
EMPTY = {
    ("cauchy", "z"): [],
    ("vandermonde_vjp", "g"): [0, 0],
    ("convolve", "u"): [],
    ("convolve", "kernel"): [0, 0, 0],
    ("convolve_adjoint", "g"): [],
    ("convolve_adjoint", "kernel"): [0, 0, 0],
    ("recur", "u"): [],
}


@pytest.mark.parametrize(("function", "name"), EACH)
def test_empty_last_axes(function, name):
    """No points, no inputs, or sums of nothing."""
    empty = {name: ARRAYS[function][1][name][:0]}
    if (function, name) not in EMPTY:
        refused(lambda: call_with(function, **empty), "0", error=rv.ShapeMismatch)
        return
    found = call_with(function, **empty)
    first = found[0] if isinstance(found, tuple) else getattr(found, "outputs", found)
    assert_within(first, np.array(EMPTY[function, name], dtype=float), 0.0)


def test_sums_over_no_eigenvalues_vanish():
    nothing = np.zeros(0)
    assert_within(rv.ssm.cauchy(nothing, Z, nothing), np.zeros(3), 0.0)
    assert_within(rv.ssm.vandermonde(nothing, nothing, 3), np.zeros(3), 0.0)


@pytest.mark.parametrize(
    ("function", "changes", "parts"),
    [
        ("cauchy", {"v": np.ones((3, 2)), "eigenvalues": np.ones((2, 2))}, ("(3,)", "(2,)")),
        ("cauchy", {"v": np.ones((3, 2)), "z": 5 * np.ones((2, 3))}, ("(3,)", "(2,)")),
        ("cauchy_vjp", {"v": np.ones((3, 2)), "g": np.ones((2, 3))}, ("(3", "(2")),
        ("vandermonde", {"v": np.ones((3, 2)), "eigenvalues": np.ones((2, 2))}, ("(3,)", "(2,)")),
        ("vandermonde_vjp", {"v": np.ones((3, 2)), "g": np.ones((2, 3))}, ("(3", "(2")),
        ("convolve", {"u": np.ones((3, 4)), "kernel": np.ones((2, 4))}, ("(3,)", "(2,)")),
        ("convolve_adjoint", {"g": np.ones((3, 4)), "kernel": np.ones((2, 4))}, ("(3,)", "(2,)")),
        ("scan", {"a": np.ones((3, 4)), "b": np.ones((2, 4))}, ("(3,)", "(2,)")),
        ("scan_vjp", {"a": np.ones((3, 3)), "x": np.ones((2, 3))}, ("(3", "(2")),
    ],
)
def test_leading_axes_that_do_not_broadcast_are_both_printed(function, changes, parts):
    refused(lambda: call_with(function, **changes), *parts, error=rv.ShapeMismatch)


@pytest.mark.parametrize(
    ("function", "changes", "parts"),
    [
        ("cauchy", {"v": np.ones(3)}, ("v", "eigenvalues", "3", "2")),
        ("cauchy_vjp", {"g": np.ones(4)}, ("g", "4", "3")),
        ("vandermonde", {"v": np.ones(3)}, ("v", "eigenvalues", "3", "2")),
        ("scan", {"a": np.ones(4)}, ("a", "4", "3")),
        ("scan_vjp", {"x": np.ones(4)}, ("x", "4", "3")),
        ("scan_vjp", {"g": np.ones(4)}, ("g", "4", "3")),
    ],
)
def test_last_axes_that_do_not_fit(function, changes, parts):
    refused(lambda: call_with(function, **changes), *parts, error=rv.ShapeMismatch)


def test_scan_refuses_starts_that_do_not_fit():
    refused(
        lambda: rv.ssm.scan(np.ones((3, 4)), np.ones((3, 4)), np.ones(2)),
        "(3,)", "(2,)",
        error=rv.ShapeMismatch,
    )  # fmt: skip


@pytest.mark.parametrize("function", ["vandermonde_vjp"])
def test_a_real_result_has_a_real_gradient(function):
    """conjugate=True gives real numbers, so g must be real: complex to real would lose."""
    call, args = ARRAYS[function]
    refused(lambda: call(**(args | {"g": 1j * G}), conjugate=True), "g", "real")


@pytest.mark.parametrize("length", [0, -1])
def test_vandermonde_of_no_length(length):
    refused(lambda: rv.ssm.vandermonde(V, LAM, length), "length", str(length))


@pytest.mark.parametrize("length", [2.5, "8", None, 1j])
def test_lengths_that_are_no_integers(length):
    refused(lambda: rv.ssm.vandermonde(V, LAM, length), "length", error=rv.DtypeError)
    refused(lambda: legs(length), "length", error=rv.DtypeError)


@pytest.mark.parametrize("method", ["FFT", "", "overlap", None])
def test_unknown_methods_of_convolution(method):
    for call in (rv.ssm.convolve, rv.ssm.convolve_adjoint):
        refused(lambda call=call: call(G, G, method=method), "method", "auto", "fft", "direct")


@pytest.mark.parametrize("conjugate", [False, True])
def test_a_cauchy_sum_at_a_pole_is_refused(conjugate):
    call = lambda z: rv.ssm.cauchy([1.0, 1j], z, [0.5, 1j], conjugate=conjugate)  # noqa: E731
    refused(lambda: call([2.0, 0.5]), "z", "eigenvalue", "0.5", error=rv.InvalidArgument)
    refused(lambda: call([2.0, 1j]), "z", "eigenvalue", error=rv.InvalidArgument)
    if conjugate:  # the mirrored one
        refused(lambda: call([2.0, -1j]), "z", "eigenvalue", error=rv.InvalidArgument)
    else:
        assert np.isfinite(call([2.0, -1j])).all()


# ---------------------------------------------------------------------------------------------
# Models.


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"A": np.ones((2, 3))}, ("A", "(2, 3)")),
        ({"A": np.ones(2)}, ("A", "(2,)")),
        ({"A": np.zeros((0, 0)), "B": np.zeros(0), "C": np.zeros(0)}, ("A",)),
        ({"B": np.ones(3)}, ("B", "(3,)")),
        ({"C": np.ones(3)}, ("C", "(3,)")),
        ({"B": np.ones((3, 2)), "C": np.ones((2, 2))}, ("(3,)", "(2,)")),
        ({"direct": np.ones((3,)), "C": np.ones((2, 2))}, ("(3,)", "(2,)")),
    ],
)
def test_state_spaces_that_do_not_fit(changes, parts):
    refused(lambda: space(**changes), *parts, error=(rv.ShapeMismatch, rv.InvalidArgument))


@pytest.mark.parametrize("name", ["A", "B", "C", "direct"])
def test_state_spaces_of_what_is_not_finite_or_no_number(name):
    good = {"A": A, "B": B, "C": C, "direct": np.array(0.5)}[name]
    for value in (np.nan, np.inf):
        bad = np.array(good)
        bad.flat[0] = value
        refused(lambda bad=bad: space(**{name: bad}), name, "finite")
    refused(lambda: space(**{name: "text"}), name, error=rv.DtypeError)


@pytest.mark.parametrize("time", ["analog", "", None])
def test_unknown_times_list_the_valid_ones(time):
    refused(lambda: space(time=time), "time", "discrete", "continuous")


def test_state_spaces_are_frozen_and_keep_their_arrays():
    a = A.copy()
    model = space(A=a)
    a[0, 0] = 77.0
    assert model.A[0, 0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        model.A[0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.A = a
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_bits(other.A, model.A)
        assert other.time == "discrete"
        with pytest.raises(ValueError, match="read-only"):
            other.A[0, 0] = 1.0


def test_state_space_types_and_properties():
    model = space()
    assert model.order == 2
    assert_within(np.sort(model.poles()), np.sort(np.linalg.eigvals(A)), 64 * EPS)
    assert model.is_stable()
    assert not space(A=3 * A).is_stable()
    assert not space(time="continuous").is_stable()
    assert space(A=-np.eye(2), time="continuous").is_stable()
    assert space(A=A.astype(np.float32)).A.dtype == np.float64
    assert space(A=[[1, 0], [0, 1]]).A.dtype == np.float64
    assert space(A=A * 1j).A.dtype == np.complex128
    stack = space(A=np.stack([A, 3 * A]))
    assert stack.poles().shape == (2, 2)
    assert len(repr(model)) < 200


# ---------------------------------------------------------------------------------------------
# Kernels.


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_a_kernel_of_no_length_is_refused(case):
    model, keywords = case.call()
    for length in (0, -3):
        with pytest.raises(ValueError, match="length") as info:
            rv.ssm.kernel(model, length, **keywords)
        assert_message(info, str(length))


def test_unknown_names_list_the_valid_ones():
    refused(lambda: legs(route="s4"), "route", *ROUTES, "auto")
    refused(lambda: legs(readout="tilde"), "readout", "plain", "truncated")
    refused(lambda: legs(rule="tustin"), "rule", "bilinear", "zoh", "mamba")
    refused(lambda: legs(dtype="float16"), "dtype", "float32", "float64")
    refused(lambda: rv.ssm.routes(rv.hippo.system("legs", 3), "tustin"), "rule", "bilinear")


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_a_route_that_does_not_apply_lists_those_that_do(case):
    model, keywords = case.call()
    applicable = rv.ssm.routes(model)
    others = set(ROUTES) - set(applicable)
    for route in others:
        refused(
            lambda route=route: rv.ssm.kernel(model, 8, route=route, **keywords),
            route,
            *applicable,
            error=rv.InvalidArgument,
        )


def test_a_route_that_the_rule_forbids_lists_those_that_apply():
    applicable = rv.ssm.routes(rv.hippo.system("legs", 3), "zoh")
    for route in {"dplr", "allpass"} - set(applicable):
        refused(lambda route=route: legs(rule="zoh", route=route), route, *applicable)


@pytest.mark.parametrize("model", [None, "legs", np.eye(2), (A, B), object(), [], [1.0]], ids=repr)
def test_what_is_no_model_is_refused(model):
    with pytest.raises(rv.ResolventError) as info:
        rv.ssm.kernel(model, 8, step=0.1, C=C)
    assert_message(info, "model")


def test_models_of_different_kinds_or_sizes_are_no_batch():
    systems = [rv.hippo.system("legs", 3), rv.hippo.system("legs", 4)]
    refused(lambda: rv.ssm.kernel(systems, 8, step=0.1, C=np.ones(3)), "model", "3", "4")
    mixed = [rv.hippo.system("legs", 4), rv.spectral.diagonal(4, "lin")]
    refused(lambda: rv.ssm.kernel(mixed, 8, step=0.1, C=np.ones(4)), "model")


def test_continuous_models_need_a_step_and_discrete_ones_have_none():
    refused(lambda: legs(step=None), "step")
    refused(lambda: rv.ssm.kernel(space(time="continuous"), 8), "step")
    refused(lambda: rv.ssm.kernel(space(), 8, step=0.1), "step")
    refused(lambda: rv.ssm.recur(np.ones(4), space(), step=0.1), "step")
    refused(lambda: rv.ssm.generating_function(space(), [0.5], step=0.1), "step")


@pytest.mark.parametrize("step", [0.0, -0.1, np.nan, np.inf])
def test_steps_that_are_not_positive(step):
    refused(lambda: legs(step=step), "step")
    refused(lambda: legs(step=np.array([0.1, step])), "step")


@pytest.mark.parametrize("alpha", [-0.1, 1.5, np.nan])
def test_alpha_out_of_range(alpha):
    refused(lambda: legs(rule="gbt", alpha=alpha), "alpha", f"{alpha:g}")


def test_models_without_a_read_out_need_one():
    for model in (
        rv.hippo.system("legs", 3),
        rv.spectral.dplr(rv.hippo.system("legs", 3)),
        rv.spectral.diagonal(4, "lin"),
    ):
        refused(lambda model=model: rv.ssm.kernel(model, 8, step=0.1), "C")
        refused(lambda model=model: rv.ssm.recur(np.ones(3), model, step=0.1), "C")
        refused(lambda model=model: rv.ssm.generating_function(model, [0.5], step=0.1), "C")


def test_read_outs_that_do_not_fit():
    refused(lambda: legs(C=np.ones(4)), "C", "3", "4", error=rv.ShapeMismatch)
    refused(lambda: legs(C=1.0), "C", error=rv.ShapeMismatch)
    refused(lambda: legs(C=[1.0, np.nan, 0.0]), "C", "finite")
    refused(lambda: legs(C=["a", "b", "c"]), "C", error=rv.DtypeError)


def test_batches_that_do_not_broadcast_are_both_printed():
    refused(
        lambda: legs(C=np.ones((3, 3)), step=np.array([0.1, 0.2])),
        "(3,)", "(2,)", "C", "step",
        error=rv.ShapeMismatch,
    )  # fmt: skip
    models = [rv.hippo.system("legs", 3)] * 4
    refused(
        lambda: rv.ssm.kernel(models, 8, step=0.1, C=np.ones((3, 3))),
        "(3,)", "(4,)",
        error=rv.ShapeMismatch,
    )  # fmt: skip
    refused(
        lambda: rv.ssm.recur(np.ones((3, 8)), models, step=0.1, C=np.ones(3)),
        "(3,)", "(4,)",
        error=rv.ShapeMismatch,
    )  # fmt: skip


def test_points_of_a_generating_function():
    model = space()
    refused(lambda: rv.ssm.generating_function(model, [0.5, np.nan]), "z", "finite")
    refused(lambda: rv.ssm.generating_function(model, "text"), "z")
    refused(lambda: rv.ssm.generating_function(model, [0.5], length=0), "length", "0")
    refused(lambda: rv.ssm.generating_function(model, [0.5], length=-2), "length", "-2")


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_read_outs_may_have_any_layout(case):
    """Read-only and strided C; a model is not changed by its use."""
    if case.holds_c:
        return
    c = case.read_out(batch=(3,))
    model, keywords = case.call(c=c)
    expected = np.asarray(rv.ssm.kernel(model, 9, **keywords))
    spread = np.zeros((3, 2 * case.reads), c.dtype)
    spread[:, ::2] = c
    locked = np.asfortranarray(c)
    locked.flags.writeable = False
    for variant in (spread[:, ::2], locked, c.tolist()):
        found = rv.ssm.kernel(model, 9, **(keywords | {"C": variant}))
        assert_bits(np.asarray(found), expected)


# ---------------------------------------------------------------------------------------------
# Unstable models, and those on the border.


UNSTABLE = {
    "dense": (lambda: rv.ssm.StateSpace([[2.0]], [1.0], [1.0]), {}, 2.0),
    # forward Euler at an eigenvalue -8: 1 - 8 (0.45) = -2.6
    "system": (
        lambda: rv.hippo.system("legs", 8),
        {"step": 0.45, "rule": "forward", "C": np.ones(8)},
        2.6,
    ),
    "diagonal": (
        lambda: rv.spectral.Diagonal([1.0 + 2j], [1.0], half=True),
        {"step": 0.1, "rule": "zoh", "C": [1.0]},
        np.exp(0.1),
    ),
    "transfer": (lambda: rv.rational.TransferFunction([1.0], [-2.0]), {}, 2.0),
}


@pytest.mark.parametrize("name", UNSTABLE)
def test_unstable_kernels_say_from_which_length_they_overflow(name):
    """growth^k is finite for k < log(1.8e308)/log(growth), within the constant in front of it."""
    make, keywords, growth = UNSTABLE[name]
    model = make()
    limit = np.log(np.finfo(float).max) / np.log(growth)
    routes = rv.ssm.routes(model, keywords.get("rule", "bilinear"))
    for route in ("auto", *(r for r in routes if r not in DETOURS)):
        short = np.asarray(rv.ssm.kernel(model, int(0.1 * limit), route=route, **keywords))
        assert np.isfinite(short).all()
        with pytest.raises(rv.InvalidArgument) as info:
            rv.ssm.kernel(model, int(5 * limit), route=route, **keywords)
        assert_message(info, "length", "overflow")
        lengths = [int(n) for n in re.findall(r"\d+", str(info.value))]
        assert any(0.9 * limit <= n <= 1.1 * limit for n in lengths), str(info.value)


@pytest.mark.parametrize("route", ["dplr", "allpass"])
def test_a_pole_on_the_circle_is_no_overflow(route):
    """1 - 4/2 = -1: a pole at z = -1, which only an even length samples. Others are outside."""
    legs = rv.hippo.system("legs", 8)
    keywords = {"step": 0.5, "rule": "forward", "C": np.ones(8)}
    refused(
        lambda: rv.ssm.kernel(legs, 64, route=route, **keywords),
        "pole", "sample point", "64",
        error=rv.InvalidArgument,
    )  # fmt: skip
    found = rv.ssm.kernel(legs, 63, route=route, **keywords)
    expected = np.asarray(rv.ssm.kernel(legs, 63, route="recurrence", **keywords))
    assert_within(found, expected, AGREEMENT * np.abs(expected).max())


def test_a_growing_kernel_goes_up_to_the_last_finite_entry():
    model = rv.ssm.StateSpace([[2.0]], [1.0], [1.0])
    found = rv.ssm.kernel(model, 1024)
    assert_within(found / 2.0 ** np.arange(1024), np.ones(1024), PROMISE * EPS)
    refused(lambda: rv.ssm.kernel(model, 1025), "length", "1024", error=rv.InvalidArgument)


def test_models_that_grow_slowly_are_computed():
    """1.001^k over 2000 steps: nothing overflows, and two routes agree."""
    case = BY_NAME["dense-real"]
    a, b = case.matrices()
    a = a + (0.2 + 0.02) * np.eye(len(b))
    c = case.read_out()
    model = rv.ssm.StateSpace(a, b, c, time="continuous")
    one, two = (rv.ssm.kernel(model, 2000, step=0.05, route=route) for route in case.routes)
    assert_within(one, two, AGREEMENT * np.abs(np.asarray(one)).max())


# x' = u, or x_{k+1} = x_k + u_k, and its output's step.
INTEGRATORS = {
    "dplr": (lambda: rv.spectral.DPLR([-0.5], [[0.5]], [[-1.0]], [1.0]), [1.0]),
    "diagonal": (lambda: rv.spectral.Diagonal([0.0], [1.0]), [1.0]),
    "continuous": (lambda: rv.ssm.StateSpace([[0.0]], [1.0], [1.0], time="continuous"), None),
    "discrete": (lambda: rv.ssm.StateSpace([[1.0]], [0.25], [1.0]), None),
    "transfer": (lambda: rv.rational.TransferFunction([0.25], [-1.0]), None),
}


def integrator(name):
    make, c = INTEGRATORS[name]
    continuous = name not in ("discrete", "transfer")
    return make(), {"step": 0.25 if continuous else None, "C": c}


@pytest.mark.parametrize("name", INTEGRATORS)
def test_integrators_have_plain_kernels(name):
    """K_k = 1/4 for all k: only what samples the circle meets the pole at z = 1, and says so."""
    model, keywords = integrator(name)
    assert_within(rv.ssm.kernel(model, 16, **keywords), np.full(16, 0.25), PROMISE * EPS)
    for route in rv.ssm.routes(model):
        if route in CIRCLE:
            refused(
                lambda route=route: rv.ssm.kernel(model, 16, route=route, **keywords),
                "pole", "sample point", "16",
                error=rv.InvalidArgument,
            )  # fmt: skip
        else:
            found = rv.ssm.kernel(model, 16, route=route, **keywords)
            assert_within(found, np.full(16, 0.25), PROMISE * EPS, route)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_integrators_have_no_untruncated_read_out(name):
    """I - A^L is singular: C = C~ (I - A^L)^-1 does not exist."""
    model, keywords = integrator(name)
    for route in ("auto", *rv.ssm.routes(model)):
        with pytest.raises(rv.InvalidArgument) as info:
            rv.ssm.kernel(model, 16, readout="truncated", route=route, **keywords)
        message = str(info.value)
        assert "I - A^L" in message or "pole at a sample point" in message, route
        assert "16" in message, route


@pytest.mark.parametrize("name", ["one of two modes", "almost an integrator"])
def test_a_read_out_that_is_nearly_lost_warns(name):
    """I - A^L of condition 1e13 and more."""
    model, keywords = {
        "one of two modes": (
            rv.ssm.StateSpace([[1 - 1e-13, 0.0], [0.25, 0.5]], [1.0, 1.0], [1.0, 1.0]),
            {},
        ),
        "almost an integrator": (rv.ssm.StateSpace([[1 - 1e-14]], [1.0], [1.0]), {}),
    }[name]
    for route in ("power", "recurrence", "diagonal"):
        with pytest.warns(rv.IllConditionedWarning, match=r"I - A\^L") as caught:
            rv.ssm.kernel(model, 16, readout="truncated", route=route, **keywords)
        assert 1e11 < caught[0].message.value < 1e15


@pytest.mark.parametrize("route", ["power", "recurrence", "diagonal", "scan"])
def test_a_read_out_that_is_lost_to_rounding_is_refused_or_warned_of(route):
    """Even fout never forgets the cosine at its Nyquist rate: |eigenvalue| = 1 to rounding."""
    model = rv.hippo.system("fout", 2)
    with pytest.raises((rv.InvalidArgument, rv.IllConditionedWarning), match=r"I - A\^L"):
        rv.ssm.kernel(model, 16, step=0.25, C=[1.0, 0.5], readout="truncated", route=route)


def test_zero_read_outs_and_inputs():
    for case in KINDS:
        zero = np.zeros(case.reads) if case.real_c else np.zeros(case.reads, complex)
        model, keywords = case.call(c=zero)
        for route in rv.ssm.routes(model):
            assert (np.asarray(rv.ssm.kernel(model, 8, route=route, **keywords)) == 0).all(), route


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_read_outs_of_any_size(scale):
    """Linear in C over the whole range."""
    for case in KINDS:
        c = case.read_out()
        for route in rv.ssm.routes(case.make(c)):
            found, _ = kernel_by(route, case, 8, c=scale * c)
            one, loss = kernel_by(route, case, 8, c=c)
            expected = scale * np.asarray(one)
            bound = PROMISE * EPS * loss * np.abs(expected).max()
            assert_within(found, expected, bound, f"{case} {route}")


# ---------------------------------------------------------------------------------------------
# Interruption.

INTERRUPTIBLE = {
    "recurrence": 'rv.ssm.kernel(dense, 10**8, route="recurrence")',
    "dplr": 'rv.ssm.kernel(modal, 10**7, step=1e-3, C=C, route="dplr", readout="truncated")',
    "convolve": 'rv.ssm.convolve(u, u, method="direct")',
    "scan": "[rv.ssm.scan([0.5], u) for _ in range(10**6)]",
    "response": "rv.ssm.generating_function(dense, np.exp(-1j * u))",
    "adjoint": "rv.ssm.cauchy_vjp(np.ones(10**4), 1j * u, -1 - np.arange(1e4), u)",
    "register": "rv.rational.TransferFunction(a, a).kernel(10**7)",
    "remainder": "rv.rational.TransferFunction(a, a).truncate(10**18)",
}


@pytest.mark.parametrize("name", INTERRUPTIBLE)
def test_ctrl_c_stops_a_long_computation(name):
    printed = output_after_ctrl_c(
        f"""
        import numpy as np, resolvent as rv
        rng = np.random.default_rng(0)
        dense = rv.ssm.StateSpace(rng.standard_normal((200, 200)) / 30, np.ones(200), np.ones(200))
        modal = rv.spectral.dplr(rv.hippo.system("legs", 512), half=True)
        C, u = np.ones(256), rng.standard_normal(10**6)
        a = np.full(4000, 1e-5)
        print("started", flush=True)
        try:
            {INTERRUPTIBLE[name]}
            print("finished", flush=True)
        except KeyboardInterrupt:
            print("stopped", flush=True)
        """,
        delay=0.3,
    )
    assert printed == "stopped\n"
