"""Bad input by message, shapes and types, the smallest and the largest input."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from ssm_support import (
    AGREEMENT,
    BY_NAME,
    CIRCLE,
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
    with pytest.raises((rv.ResolventError, TypeError, ValueError)) as info:
        call_with(function, **{name: bad})
    assert_message(info, name)


@pytest.mark.parametrize(("function", "name"), EACH)
def test_numbers_without_an_axis_are_refused_by_name(function, name):
    refused(lambda: call_with(function, **{name: 1.0}), name, error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("function", "name"), EACH)
def test_what_is_not_finite_is_refused_or_seen_in_the_result(function, name, bad):
    """Never swallowed: an error that names the argument, or NaN and infinity where they belong."""
    call, args = ARRAYS[function]
    array = np.array(args[name], copy=True)
    array[1] = bad
    try:
        with np.errstate(all="ignore"):
            found = call(**(args | {name: array}))
    except rv.InvalidArgument as error:
        assert name in str(error)  # noqa: PT017 - either way is in the contract
        assert "finite" in str(error)  # noqa: PT017
        return
    results = found if isinstance(found, tuple) else (found,)
    seen = any(not np.isfinite(r).all() for r in results)
    # 1/(z - inf) = 0 is what it says
    assert seen or not np.isnan(bad)


@pytest.mark.parametrize(("function", "name"), EACH)
def test_empty_last_axes(function, name):
    """No terms or no points: nothing, a zero, or an error that names what is empty."""
    changes = {name: ARRAYS[function][1][name][:0]}
    try:
        found = call_with(function, **changes)
    except (rv.InvalidArgument, rv.ShapeMismatch) as error:
        assert any(n in str(error) for n in (*ARRAYS[function][1], "length"))  # noqa: PT017
        return
    results = found if isinstance(found, tuple) else (found,)
    assert all(np.isfinite(r).all() for r in results)


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


def test_a_cauchy_sum_at_a_pole_is_not_a_number_that_looks_right():
    """z = lambda: refused, or infinite there and right elsewhere."""
    try:
        with np.errstate(all="ignore"):
            found = rv.ssm.cauchy([1.0, 1.0], [2.0, 0.5], [0.5, 0.0])
    except rv.InvalidArgument as error:
        assert "z" in str(error)  # noqa: PT017 - either way is in the contract
        assert "0.5" in str(error)  # noqa: PT017
    else:
        assert not np.isfinite(found[1])
        assert_within(found[0], 1 / 1.5 + 0.5, 8 * EPS)


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


def test_an_unstable_kernel_says_from_which_length_it_overflows():
    """2^k is finite up to k = 1023."""
    model = rv.ssm.StateSpace([[2.0]], [1.0], [1.0])
    found = rv.ssm.kernel(model, 1024)
    assert_within(found / 2.0 ** np.arange(1024), np.ones(1024), PROMISE * EPS)
    with pytest.raises(rv.InvalidArgument) as info:
        rv.ssm.kernel(model, 5000)
    assert_message(info, "length")
    numbers = [int(w) for w in "".join(x if x.isdigit() else " " for x in str(info.value)).split()]
    assert any(abs(n - 1024) <= 2 for n in numbers), str(info.value)


@pytest.mark.parametrize("route", ["power", "recurrence", "dplr", "allpass"])
def test_every_route_of_an_unstable_model_says_so(route):
    """Forward Euler on LegS with a large step."""
    system = rv.hippo.system("legs", 8)
    growth = np.abs(1 - 0.5 * np.arange(1.0, 9.0)).max()
    limit = np.log(np.finfo(float).max) / np.log(growth)
    call = lambda length: rv.ssm.kernel(  # noqa: E731
        system, length, step=0.5, rule="forward", C=np.ones(8), route=route
    )
    with pytest.raises(rv.InvalidArgument) as info:
        call(4000)
    assert_message(info, "length")
    numbers = [int(w) for w in "".join(x if x.isdigit() else " " for x in str(info.value)).split()]
    assert any(0.8 * limit <= n <= 1.2 * limit for n in numbers), str(info.value)


def test_an_unstable_diagonal_model_says_so():
    model = rv.spectral.Diagonal([1.0 + 2j], [1.0], half=True)
    refused(lambda: rv.ssm.kernel(model, 20000, step=0.1, rule="zoh", C=[1.0]), "length", "7")
    found = rv.ssm.kernel(model, 100, step=0.1, rule="zoh", C=[1.0])
    assert np.isfinite(found).all()


def test_models_that_grow_slowly_are_computed():
    """1.001^k over 2000 steps: nothing overflows, every route is right."""
    case = BY_NAME["dense-real"]
    a, b = case.matrices()
    a = a + (0.2 + 0.02) * np.eye(len(b))
    c = case.read_out()
    model = rv.ssm.StateSpace(a, b, c, time="continuous")
    one, two = (rv.ssm.kernel(model, 2000, step=0.05, route=route) for route in case.routes)
    assert_within(one, two, AGREEMENT * np.abs(np.asarray(one)).max())


def test_an_integrator_has_no_untruncated_read_out():
    """I - A^L is singular: C = C~ (I - A^L)^-1 does not exist."""
    transfer = rv.rational.TransferFunction([1.0], [-1.0])
    integrators = {
        "dplr": (rv.spectral.DPLR([-0.5], [[0.5]], [[-1.0]], [1.0]), True),
        "rational": (transfer, False),
    }
    for route, (model, continuous) in integrators.items():
        keywords = {"step": 0.1, "C": [1.0], "rule": "backward"} if continuous else {}
        refused(
            lambda model=model, route=route, keywords=keywords: rv.ssm.kernel(
                model, 8, readout="truncated", route=route, **keywords
            ),
            error=rv.InvalidArgument,
        )


@pytest.mark.parametrize("name", ["dplr", "diagonal", "dense", "system"])
def test_integrators_have_plain_kernels_by_every_route_that_takes_them(name):
    """K_k = e for all k of x' = u: auto must not divide by 1 - z at z = 1."""
    even = rv.hippo.system("fout", 2)  # its cosine at the Nyquist rate is never forgotten
    model, c = {
        "dplr": (rv.spectral.DPLR([0.0], [[0.0]], [[0.0]], [1.0]), [1.0]),
        "diagonal": (rv.spectral.Diagonal([0.0], [1.0]), [1.0]),
        "dense": (rv.ssm.StateSpace([[0.0]], [1.0], [1.0], time="continuous"), None),
        "system": (even, [1.0, 0.5]),
    }[name]
    found = rv.ssm.kernel(model, 16, step=0.25, C=c)
    expected = np.asarray(rv.ssm.kernel(model, 16, step=0.25, C=c, route=rv.ssm.routes(model)[0]))
    assert np.isfinite(found).all()
    assert_within(found, expected, PROMISE * EPS * np.abs(expected).max())
    if name != "system":
        assert_within(found, np.full(16, 0.25), PROMISE * EPS)
    for route in set(rv.ssm.routes(model)) & set(CIRCLE):
        try:
            values = rv.ssm.kernel(model, 16, step=0.25, C=c, route=route)
        except rv.InvalidArgument as error:
            assert "pole" in str(error) or "singular" in str(error)  # noqa: PT017
        else:
            assert_within(values, expected, PROMISE * EPS * np.abs(expected).max())


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
