"""Bad input by message, shapes and types, empty and smallest input, results as objects."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys

import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_message, assert_within
from interruption import output_after_ctrl_c

import resolvent as rv
from oracles import discretize as oracle
from oracles import hippo as hippo_oracle

RULES = oracle.RULES
A = np.array([[-1.0, 0.5], [0.0, -2.0]])
B = np.array([1.0, 2.0])
LAMBDA = np.array([-1.0 + 2j, -0.5])


def invalid(call, *parts, error=rv.ResolventError):
    """The call is refused with an error whose message holds every part."""
    with pytest.raises(error) as info:
        call()
    assert isinstance(info.value, rv.ResolventError)
    assert_message(info, *parts)


def line(t):
    return np.asarray(t, dtype=float)


# Every function that takes a rule, a step or a model, with all else valid.
WITH_RULE = {
    "discretize": lambda rule: rv.discretize.discretize((A, B), 0.1, rule),
    "local_error": lambda rule: rv.discretize.local_error(LAMBDA, 0.1, rule),
    "stability_region": lambda rule: rv.discretize.stability_region(rule),
    "stability_limit": lambda rule: rv.discretize.stability_limit(LAMBDA, rule),
    "largest_step": lambda rule: rv.discretize.largest_step(LAMBDA, rule, 1e-3),
    "convergence": lambda rule: rv.discretize.convergence(
        rv.hippo.system("legs", 3), rule, line, [0.1, 0.05]
    ),
}
WITH_STEP = {
    "discretize": lambda step: rv.discretize.discretize((A, B), step, "zoh"),
    "diagonal": lambda step: rv.discretize.discretize((LAMBDA, np.ones(2)), step, "zoh"),
    "local_error": lambda step: rv.discretize.local_error(LAMBDA, step, "forward"),
    "aliasing": lambda step: rv.discretize.aliasing(LAMBDA, step),
    "convergence": lambda step: rv.discretize.convergence(
        rv.hippo.system("legs", 3), "zoh", line, [0.1, step]
    ),
}
WITH_ALPHA = {
    "discretize": lambda alpha: rv.discretize.discretize((A, B), 0.1, "gbt", alpha=alpha),
    "local_error": lambda alpha: rv.discretize.local_error(LAMBDA, 0.1, "gbt", alpha=alpha),
    "stability_region": lambda alpha: rv.discretize.stability_region("gbt", alpha=alpha),
    "stability_limit": lambda alpha: rv.discretize.stability_limit(LAMBDA, "gbt", alpha=alpha),
    "largest_step": lambda alpha: rv.discretize.largest_step(LAMBDA, "gbt", 1e-3, alpha=alpha),
}
WITH_MATRIX = {
    "discretize": lambda a: rv.discretize.discretize((a, B), 0.1, "zoh"),
    "expm": lambda a: rv.discretize.expm(a),
    "phi": lambda a: rv.discretize.phi(a, 1),
    "stability_limit": lambda a: rv.discretize.stability_limit(a, "forward"),
    "largest_step": lambda a: rv.discretize.largest_step(a, "forward", 1e-3),
    "aliasing": lambda a: rv.discretize.aliasing(a, 0.1),
}


# ---------------------------------------------------------------------------------------------
# Bad input.


def test_the_names_of_the_rules():
    assert rv.discretize.RULES == RULES


@pytest.mark.parametrize("rule", ["tustin", "", "bilinear-split", "exact"])
@pytest.mark.parametrize("name", WITH_RULE)
def test_unknown_rules_list_the_valid_ones(name, rule):
    invalid(lambda: WITH_RULE[name](rule), "rule", rule, *RULES, error=rv.InvalidArgument)


@pytest.mark.parametrize("rule", [None, 3, ["zoh"]])
@pytest.mark.parametrize("name", WITH_RULE)
def test_rules_that_are_no_text(name, rule):
    invalid(lambda: WITH_RULE[name](rule), "rule", error=(rv.InvalidArgument, rv.DtypeError))


@pytest.mark.parametrize("step", [0.0, -0.5, np.nan, np.inf])
@pytest.mark.parametrize("name", WITH_STEP)
def test_steps_that_are_not_positive(name, step):
    invalid(lambda: WITH_STEP[name](step), "step", f"{step:g}", error=rv.InvalidArgument)


@pytest.mark.parametrize("name", ["discretize", "diagonal", "local_error"])
def test_one_bad_step_of_many(name):
    invalid(lambda: WITH_STEP[name](np.array([0.1, -0.25, 0.3])), "step", "-0.25")


@pytest.mark.parametrize("step", ["0.1", None, 0.1j, np.array(["a"])])
@pytest.mark.parametrize("name", WITH_STEP)
def test_steps_that_are_no_numbers(name, step):
    invalid(lambda: WITH_STEP[name](step), "step")


@pytest.mark.parametrize("alpha", [-0.1, 1.5, np.nan, np.inf])
@pytest.mark.parametrize("name", WITH_ALPHA)
def test_alpha_out_of_range(name, alpha):
    invalid(lambda: WITH_ALPHA[name](alpha), "alpha", f"{alpha:g}", error=rv.InvalidArgument)


@pytest.mark.parametrize("name", WITH_MATRIX)
def test_matrices_that_are_not_square(name):
    invalid(lambda: WITH_MATRIX[name](np.zeros((2, 3))), "A", "square", "3")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", WITH_MATRIX)
def test_matrices_that_are_not_finite(name, bad):
    a = A.copy()
    a[1, 0] = bad
    invalid(lambda: WITH_MATRIX[name](a), "A", "finite", error=rv.InvalidArgument)


@pytest.mark.parametrize("name", WITH_MATRIX)
def test_matrices_of_text_and_objects(name):
    for a in (np.array([["a", "b"], ["c", "d"]]), np.array([[None, 1.0], [2.0, 3.0]])):
        invalid(lambda a=a: WITH_MATRIX[name](a), error=rv.DtypeError)


@pytest.mark.parametrize("name", WITH_MATRIX)
def test_empty_matrices(name):
    invalid(lambda: WITH_MATRIX[name](np.zeros((0, 0))), "A")


@pytest.mark.parametrize("name", ["stability_limit", "largest_step", "aliasing"])
def test_empty_spectra(name):
    invalid(lambda: WITH_MATRIX[name](np.zeros(0)))


def test_inputs_that_do_not_fit_the_matrix():
    for b in (np.ones(3), np.ones((3, 2)), np.float64(1.0), np.ones((2, 2, 2))):
        invalid(
            lambda b=b: rv.discretize.discretize((A, b), 0.1, "zoh"),
            "B",
            error=(rv.ShapeMismatch, rv.InvalidArgument),
        )
    invalid(lambda: rv.discretize.discretize((A, [1.0, np.nan]), 0.1, "zoh"), "B", "finite")
    invalid(
        lambda: rv.discretize.discretize((LAMBDA, np.ones(3)), 0.1, "zoh"),
        "B",
        error=(rv.ShapeMismatch, rv.InvalidArgument),
    )


@pytest.mark.parametrize("model", [None, 3.0, "legs", (A,), (A, B, B), A])
def test_models_that_are_none(model):
    invalid(lambda: rv.discretize.discretize(model, 0.1, "zoh"), "model")


@pytest.mark.parametrize(
    ("rule", "alpha", "step"), [("backward", 0.5, 0.5), ("bilinear", 0.5, 1.0), ("gbt", 0.25, 2.0)]
)
def test_a_step_that_hits_a_pole_is_refused(rule, alpha, step):
    """An eigenvalue 2: I - alpha e A is singular."""
    a = np.diag([-1.0, 2.0])
    invalid(lambda: rv.discretize.discretize((a, B), step, rule, alpha=alpha), "singular")


@pytest.mark.parametrize("box", [(1.0, -1.0, -1.0, 1.0), (-1.0, 1.0, 2.0, 2.0), (0, np.nan, 0, 1)])
def test_boxes_with_no_inside(box):
    invalid(lambda: rv.discretize.stability_region("zoh", box), "box", error=rv.InvalidArgument)


@pytest.mark.parametrize("box", [(1.0, 2.0, 3.0), "abcd", None, 4.0])
def test_boxes_that_are_none(box):
    invalid(lambda: rv.discretize.stability_region("zoh", box), "box")


@pytest.mark.parametrize("points", [1, 0, -5, (1, 3)])
def test_grids_of_fewer_than_two_points(points):
    invalid(
        lambda: rv.discretize.stability_region("zoh", points=points),
        "points",
        error=(rv.InvalidArgument, rv.DtypeError),
    )


@pytest.mark.parametrize("points", [2.5, "20", None])
def test_grids_of_no_number_of_points(points):
    invalid(lambda: rv.discretize.stability_region("zoh", points=points), "points")


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan])
def test_tolerances_that_are_not_positive(tolerance):
    invalid(
        lambda: rv.discretize.largest_step(LAMBDA, "forward", tolerance),
        "tolerance",
        f"{tolerance:g}",
        error=rv.InvalidArgument,
    )


@pytest.mark.parametrize("order", [-1, 1.5, "2", None])
def test_orders_of_phi(order):
    invalid(lambda: rv.discretize.phi(A, order), "order")
    invalid(lambda: rv.discretize.phi_scalar(1.0, order), "order")


@pytest.mark.parametrize("t", [np.nan, np.inf, "1", None])
def test_times_of_expm(t):
    invalid(lambda: rv.discretize.expm(A, t), "t")
    invalid(lambda: rv.discretize.phi(A, 1, t), "t")


def test_eigenvalues_that_are_not_finite_or_numbers():
    for name in ("local_error", "stability_limit", "largest_step", "aliasing"):
        call = {
            "local_error": lambda v: rv.discretize.local_error(v, 0.1, "forward"),
            **WITH_MATRIX,
        }[name]
        invalid(lambda call=call: call(np.array([1.0, np.nan])), "finite")
        invalid(lambda call=call: call(np.array(["a"])), error=rv.DtypeError)


def test_what_local_error_is_of():
    invalid(lambda: rv.discretize.local_error(LAMBDA, 0.1, "zoh", of="output"), "of", "output")


def _converge(**options):
    arguments = {"system": rv.hippo.system("legs", 3), "rule": "zoh", "signal": line}
    arguments |= {"steps": [0.1, 0.05], **options}
    return rv.discretize.convergence(**arguments)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"output": "after"}, ("output", "after", "state-after", "state-before")),
        ({"hold": "centre"}, ("hold", "centre", "left", "right", "midpoint", "average")),
        ({"clock": "cuckoo"}, ("clock", "cuckoo", "invariant", "scaled")),
        ({"steps": []}, ("steps",)),
        ({"duration": 0.0}, ("duration", "0")),
        ({"duration": np.nan}, ("duration", "nan")),
        ({"duration": 0.01}, ("duration",)),  # not even one step
        ({"C": np.ones(4)}, ("C", "3")),
        ({"C": [1.0, np.nan, 0.0]}, ("C", "finite")),
        ({"signal": 3.0}, ("signal",)),
        ({"signal": lambda t: t[:-1]}, ("signal",)),
        ({"signal": lambda t: np.full_like(t, np.nan)}, ("signal", "finite")),
        ({"system": 3}, ("system",)),
        ({"alpha": 2.0, "rule": "gbt"}, ("alpha", "2")),
        ({"rule": "tustin"}, ("rule", "tustin", *RULES)),
        ({"clock": "scaled", "rule": "foh"}, ("rule", "foh", *hippo_oracle.RULES)),
        ({"clock": "scaled", "output": "state-before"}, ("output",)),
        ({"clock": "scaled", "system": rv.hippo.system("legt", 3)}, ("clock", "scaled", "window")),
    ],
)
def test_bad_arguments_of_convergence(options, parts):
    invalid(lambda: _converge(**options), *parts)


def test_errors_inside_a_signal_are_passed_on():
    def broken(t):
        raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside"):
        _converge(signal=broken)


# ---------------------------------------------------------------------------------------------
# Types of the input.


@pytest.mark.parametrize("rule", RULES)
def test_integers_and_lists_are_numbers(rule):
    wanted = rv.discretize.discretize((np.array([[-1.0, 2.0], [0.0, -3.0]]), B), 1.0, rule)
    for a, b, step in (
        (np.array([[-1, 2], [0, -3]]), np.array([1, 2]), 1),
        ([[-1, 2], [0, -3]], [1, 2], np.int32(1)),
        (np.array([[-1, 2], [0, -3]], dtype=np.int8), (1.0, 2.0), np.float32(1.0)),
    ):
        result = rv.discretize.discretize((a, b), step, rule)
        assert_bits(result.A, wanted.A)
        assert_bits(result.B, wanted.B)
    assert_bits(rv.discretize.expm([[0, 1], [0, 0]]), np.array([[1.0, 1.0], [0.0, 1.0]]))


@pytest.mark.parametrize("rule", RULES)
def test_float32_is_computed_in_float64(rule):
    """The results are those of the same numbers in float64, not rounded to 24 bits on the way."""
    a, b = A.astype(np.float32), B.astype(np.float32)
    result = rv.discretize.discretize((a, b), 0.1, rule)
    wanted = rv.discretize.discretize((A, B), 0.1, rule)  # A and B are exact in float32
    assert_within(result.A, wanted.A, 2 * EPS32)
    assert result.A.dtype == np.float64
    assert_bits(result.A, wanted.A)
    assert_bits(result.B, wanted.B)
    assert_bits(rv.discretize.expm(a), rv.discretize.expm(A))


def test_other_layouts_of_memory():
    big = np.zeros((6, 6))
    big[::3, ::3] = A
    fortran = np.asfortranarray(A)
    for a in (big[::3, ::3], fortran, A.astype(">f8")):
        assert_bits(rv.discretize.expm(a), rv.discretize.expm(A))
        assert_bits(
            rv.discretize.discretize((a, B), 0.1, "bilinear").A,
            rv.discretize.discretize((A, B), 0.1, "bilinear").A,
        )


def test_the_input_is_not_changed():
    a, b, steps = A.copy(), B.copy(), np.array([0.1, 0.2])
    for rule in RULES:
        rv.discretize.discretize((a, b), steps, rule)
    rv.discretize.expm(a)
    rv.discretize.phi(a, 2)
    assert_bits(a, A)
    assert_bits(b, B)
    assert_bits(steps, np.array([0.1, 0.2]))


def test_masked_entries_are_refused():
    masked = np.ma.array(A, mask=[[0, 1], [0, 0]])
    invalid(lambda: rv.discretize.expm(masked), "masked", error=rv.DtypeError)
    invalid(lambda: rv.discretize.discretize((masked, B), 0.1, "zoh"), "masked")


@pytest.mark.parametrize("rule", RULES)
def test_models_of_one_coefficient(rule):
    """N = 1: dense, diagonal, System and low rank agree."""
    system = rv.hippo.system("legs", 1)
    z = -0.1
    grown = complex(oracle.growth(z, rule, 0.3)).real
    for model in (
        system,
        (np.array([[-1.0]]), np.array([1.0])),
        (np.array([-1.0]), np.array([1.0])),
        rv.spectral.dplr(system),
        rv.spectral.dplr(system, half=True),
    ):
        result = rv.discretize.discretize(model, 0.1, rule, alpha=0.3)
        a, b = result.to_dense()
        assert a.shape == (1, 1)
        assert b.shape == (1,)
        assert abs(a[0, 0] - grown) <= 16 * EPS
    wanted = oracle.discretize([[-1.0]], [1.0], 0.1, rule, 0.3)[1][0]
    assert abs(b[0] - wanted) <= 16 * EPS


@pytest.mark.parametrize("rule", RULES)
def test_no_steps(rule):
    """An empty batch is an empty result."""
    system = rv.hippo.system("legs", 3)
    result = rv.discretize.discretize((A, B), np.zeros((2, 0)), rule)
    assert result.A.shape == (2, 0, 2, 2)
    assert result.B.shape == (2, 0, 2)
    assert result.to_dense()[0].shape == (2, 0, 2, 2)
    assert np.shape(result.spectral_radius()) == (2, 0)
    assert rv.discretize.discretize((LAMBDA, np.ones(2)), np.zeros(0), rule).A.shape == (0, 2)
    low = rv.discretize.discretize(rv.spectral.dplr(system), np.zeros(0), rule)
    assert low.A.shape == ((0, 3) if rule in oracle.RATIONAL else (0, 3, 3))


def test_no_eigenvalues_to_have_errors():
    assert rv.discretize.local_error(np.zeros(0), np.ones(3), "forward").shape == (3, 0)


# ---------------------------------------------------------------------------------------------
# Results as objects.


def results():
    system = rv.hippo.system("legs", 4)
    return {
        "dense": rv.discretize.discretize(system, 0.1, "zoh"),
        "batch": rv.discretize.discretize(system, np.array([0.1, 0.2]), "foh"),
        "diagonal": rv.discretize.discretize((LAMBDA, np.ones(2)), 0.1, "bilinear"),
        "dplr": rv.discretize.discretize(rv.spectral.dplr(system, half=True), 0.1, "gbt"),
        "region": rv.discretize.stability_region("forward", points=8),
        "aliasing": rv.discretize.aliasing(LAMBDA, 0.1),
        "convergence": _converge(),
    }


RESULTS = ("dense", "batch", "diagonal", "dplr", "region", "aliasing", "convergence")


def _arrays(result):
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray) and not field.name.startswith("_"):
            yield field.name, value


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_frozen_and_read_only(name):
    result = results()[name]
    arrays = list(_arrays(result))
    assert arrays
    for field, value in arrays:
        assert not value.flags.writeable, field
    field = dataclasses.fields(result)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, field, None)


@pytest.mark.parametrize("name", RESULTS)
def test_results_have_a_short_and_a_tabular_form(name):
    result = results()[name]
    text, html = repr(result), result._repr_html_()
    assert type(result).__name__ in text
    assert len(text) < 200
    assert "\n" not in text
    assert html.startswith("<table>")
    assert html.count("<tr>") >= 3
    assert "array(" not in text + html
    rule = getattr(result, "rule", None)
    if rule:
        assert rule in text
        assert rule in html


@pytest.mark.parametrize("name", RESULTS)
def test_results_survive_copying(name):
    result = results()[name]
    for twin in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), copy.copy(result)):
        assert type(twin) is type(result)
        for field in dataclasses.fields(result):
            mine, other = getattr(result, field.name), getattr(twin, field.name)
            if isinstance(mine, np.ndarray):
                assert_bits(other, mine)
            else:
                assert mine == other or repr(mine) == repr(other)
        if hasattr(result, "to_dense"):
            assert_bits(twin.to_dense()[0], result.to_dense()[0])


def test_fields_do_not_follow_the_input():
    a, b, steps = A.copy(), B.copy(), np.array([0.1, 0.2])
    result = rv.discretize.discretize((a, b), steps, "forward")
    before = result.A.copy()
    a[:] = b[:] = steps[:] = 7.0
    assert_bits(result.A, before)
    np.testing.assert_array_equal(result.step, [0.1, 0.2])
    eigenvalues = LAMBDA.copy()
    spectrum = rv.discretize.aliasing(eigenvalues, 0.1)
    eigenvalues[:] = 7.0
    assert_bits(spectrum.eigenvalues, LAMBDA)


# ---------------------------------------------------------------------------------------------
# Threads and interruption.


def test_threads_change_nothing(restore_threads):
    """Bit for bit: the work is split by whole matrices and rows."""
    steps = np.geomspace(1e-3, 1.0, 13)
    system = rv.hippo.system("legt", 40)
    stack = np.random.default_rng(0).standard_normal((9, 30, 30))

    def everything():
        for rule in RULES:
            result = rv.discretize.discretize(system, steps, rule)
            yield result.A
            yield result.B
        yield rv.discretize.expm(stack)
        yield rv.discretize.expm(system)
        yield rv.discretize.phi(stack, 2)
        yield rv.discretize.stability_region("bilinear", points=700).growth
        yield rv.discretize.local_error(1j * np.arange(500.0), steps, "backward")
        yield rv.discretize.phi_scalar(1j * np.arange(5000.0), 2)

    rv.set_threads(1)
    alone = list(everything())
    for count in (2, 3):
        rv.set_threads(count)
        for one, many in zip(alone, everything(), strict=True):
            assert_bits(many, one)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT as POSIX has it")
@pytest.mark.parametrize(
    "call",
    [
        # but for the last, each takes more than 8 s when it is left alone
        "rv.discretize.expm(np.random.default_rng(0).standard_normal((16, 800, 800)))",
        "rv.discretize.discretize(rv.hippo.system('legt', 600), np.full(40, 0.1), 'zoh')",
        "rv.discretize.phi(np.random.default_rng(0).standard_normal((20, 600, 600)), 20)",
        "[rv.discretize.stability_region('bilinear', points=3000) for _ in range(100)]",
    ],
    ids=["expm", "discretize", "phi", "stability_region"],
)
def test_ctrl_c_stops_a_long_computation(call):
    """At once, not when the result is there and Python next looks."""
    script = f"""
        import time
        import numpy as np, resolvent as rv
        rv.set_threads(1)
        start = time.perf_counter()
        print("started", flush=True)
        try:
            {call}
        except KeyboardInterrupt:
            print("stopped" if time.perf_counter() - start < 5 else "stopped late", flush=True)
    """
    assert output_after_ctrl_c(script, delay=0.5) == "stopped\n"
