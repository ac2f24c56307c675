"""Bad input by message, for every map and for what takes a map."""

from __future__ import annotations

import numpy as np
import pytest
from hippo_support import assert_bits
from ssm_support import refused

import resolvent as rv

P = rv.probmap
X = np.array([[0.5, -1.0, 2.0], [0.0, 0.25, 1.0]])

# What every map needs beside x.
MAPS = {
    "softmax": {},
    "taylor_softmax": {},
    "sparse_softmax": {"k": 2},
    "sparsemax": {},
    "entmax": {},
    "normmax": {},
    "budget": {},
    "perturb_max": {},
    "normalize": {},
    "margin_softmax": {"target": [0, 2]},
}
# All functions of x with the common arguments.
FUNCTIONS = MAPS | {"log_softmax": {}, "logsumexp": {}}
#: Without a result as large as x.
REDUCED = ("logsumexp",)


def call(name, x=X, **changes):
    return getattr(P, name)(x, **(FUNCTIONS[name] | changes))


def for_one_row(name):
    """Parameters for a single row."""
    return {"target": 0} if name == "margin_softmax" else {}


# ---------------------------------------------------------------------------------------------
# x.


@pytest.mark.parametrize(
    "bad",
    ["text", [[1.0], [1.0, 2.0]], np.array([None, 1.0]), [None, 1.0], ["a", "b"]],
    ids=["text", "ragged", "objects", "none", "words"],
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_array_of_numbers(name, bad):
    refused(lambda: call(name, bad, **for_one_row(name)), "x", error=rv.DtypeError)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_complex_numbers(name):
    refused(lambda: call(name, X + 1j), "x", "complex", error=rv.DtypeError)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_half_precision_is_refused_with_advice(name):
    """The sums would overflow at 65504, and what they should be is the caller's choice."""
    refused(
        lambda: call(name, X.astype(np.float16)), "x", "float16", "float32", error=rv.DtypeError
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_extended_precision_is_not_narrowed_in_silence(name):
    if np.finfo(np.longdouble).eps < np.finfo(np.float64).eps:
        refused(lambda: call(name, X.astype(np.longdouble)), "x", error=rv.DtypeError)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_without_an_axis(name):
    for x in (1.0, np.float32(2.0), np.array(3)):
        refused(lambda x=x: call(name, x, **for_one_row(name)), "x", error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_neither_finite_nor_minus_infinity(name, dtype, bad):
    """The first place in C order is named, wherever the axis is and however long the row."""
    x = X.astype(dtype)
    x[1, 2] = bad
    message = f"x must be finite or -inf, got x[1, 2] = {bad}"
    refused(lambda: call(name, x), message, error=rv.InvalidArgument)
    x[0, 1] = bad
    refused(lambda: call(name, x), f"x[0, 1] = {bad}", error=rv.InvalidArgument)
    target = {"target": [0, 1, 1]} if name == "margin_softmax" else {}
    refused(lambda: call(name, x, axis=0, **target), f"x[0, 1] = {bad}", error=rv.InvalidArgument)
    long = np.zeros((2, 1000), dtype)
    long[1, 777] = bad
    target = {"target": [0, 1]} if name == "margin_softmax" else {}
    refused(lambda: call(name, long, **target), f"x[1, 777] = {bad}", error=rv.InvalidArgument)
    row = long[1]
    refused(lambda: call(name, row, **for_one_row(name)), f"x[777] = {bad}")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked_entries_may_be_anything(name, bad):
    """What takes no part is not looked at; what does, is."""
    x, mask = X.copy(), [True, False, True]
    x[:, 1] = -np.inf
    expected = call(name, x)
    x[:, 1] = bad
    assert_bits(call(name, x, mask=mask), expected)
    x[1, 2] = bad
    refused(lambda: call(name, x, mask=mask), f"x[1, 2] = {bad}", error=rv.InvalidArgument)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_of_many_threads_name_the_first_place(name, restore_threads):
    x = np.zeros((300, 40))
    x[17, 3] = x[200, 0] = np.nan
    target = {"target": np.zeros(300, int)} if name == "margin_softmax" else {}
    for threads in (1, 2):
        rv.set_threads(threads)
        refused(lambda: call(name, x, **target), "x[17, 3] = nan")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_empty_axes(name):
    target = {"target": []} if name == "margin_softmax" else {}
    for shape in ((3, 0), (0,), (0, 0)):
        refused(
            lambda shape=shape: call(name, np.zeros(shape), **target), "x", str(shape),
            error=(rv.ShapeMismatch, rv.InvalidArgument),
        )  # fmt: skip
    refused(
        lambda: call(name, np.zeros((0, 3)), axis=0, **target), "(0, 3)",
        error=(rv.ShapeMismatch, rv.InvalidArgument),
    )  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked_arrays_are_not_taken_for_plain_ones(name):
    """NumPy's masked arrays would lose their mask: they are refused with a word about `mask`."""
    x = np.ma.masked_array(X, mask=[[False, True, False]] * 2)
    refused(lambda: call(name, x), "x", "mask")


@pytest.mark.parametrize("axis", [2, -3, 10**6])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_axes_out_of_range(name, axis):
    refused(lambda: call(name, axis=axis), "axis", str(axis), "2")


@pytest.mark.parametrize("axis", [0.5, "last", None, (0, 1)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_axes_that_are_no_integers(name, axis):
    refused(lambda: call(name, axis=axis), "axis", error=rv.DtypeError)


# ---------------------------------------------------------------------------------------------
# mask, out, empty, temperature.


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masks_of_the_wrong_shape_or_type(name):
    for shape in ((2,), (3, 3), (1, 2, 3), (2, 3, 1), (0,)):
        refused(
            lambda shape=shape: call(name, mask=np.ones(shape, bool)), "mask", str(shape), "(2, 3)",
            error=rv.ShapeMismatch,
        )  # fmt: skip
    for mask in (np.ones((2, 3)), np.ones(3, int), "text", [1, 0, 1], [None, True, True]):
        refused(lambda mask=mask: call(name, mask=mask), "mask", "bool", error=rv.DtypeError)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in REDUCED])
def test_outputs_that_do_not_fit(name):
    for shape in ((3,), (3, 2), (2, 3, 1), (1, 3)):
        refused(
            lambda shape=shape: call(name, out=np.empty(shape)), "out", str(shape), "(2, 3)",
            error=rv.ShapeMismatch,
        )  # fmt: skip
    refused(lambda: call(name, out=np.empty((2, 3), np.float32)), "out", "float32", "float64",
            error=rv.DtypeError)  # fmt: skip
    refused(lambda: call(name, X.astype(np.float32), out=np.empty((2, 3))), "out", "float32",
            "float64", error=rv.DtypeError)  # fmt: skip
    refused(lambda: call(name, X.astype(int), out=np.empty((2, 3), int)), "out", "float64",
            error=rv.DtypeError)  # fmt: skip
    refused(lambda: call(name, out=[[0.0] * 3] * 2), "out", error=rv.DtypeError)
    locked = np.empty((2, 3))
    locked.flags.writeable = False
    refused(lambda: call(name, out=locked), "out", "read-only")
    for out in (np.empty((3, 2)).T, np.empty((2, 6))[:, ::2], np.empty((2, 3))[:, ::-1]):
        refused(lambda out=out: call(name, out=out), "out", "contiguous")


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in REDUCED])
def test_outputs_that_overlap_x(name):
    """Either refused by name, or right as if they did not."""
    memory = np.zeros(9)
    x, out = memory[:6].reshape(2, 3), memory[3:].reshape(2, 3)
    x[:] = X
    expected = call(name, X)
    try:
        call(name, x, out=out)
    except rv.ResolventError as error:
        assert "out" in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("empty", ["zero", "", None, 0, "Uniform"])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in REDUCED])
def test_unknown_treatments_of_empty_rows(name, empty):
    refused(lambda: call(name, empty=empty), "empty", "uniform", "error", repr(empty))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in REDUCED])
def test_empty_rows_are_named_on_request(name):
    x = np.ones((2, 2, 3))
    x[1, 0] = -np.inf
    target = {"target": np.zeros((2, 2), int)} if name == "margin_softmax" else {}
    refused(lambda: call(name, x, empty="error", **target), "x[1, 0]", error=rv.InvalidArgument)
    mask = np.ones((2, 2, 1), bool)
    mask[0, 1] = False
    refused(lambda: call(name, np.ones((2, 2, 3)), mask=mask, empty="error", **target), "x[0, 1]")


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_temperatures_that_are_not_positive(name, bad):
    refused(lambda: call(name, temperature=bad), "temperature", "positive", f"{bad:g}",
            error=rv.InvalidArgument)  # fmt: skip
    refused(lambda: call(name, temperature=[1.0, bad]), "temperature", f"{bad:g}",
            error=rv.InvalidArgument)  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_temperatures_of_the_wrong_shape_or_type(name):
    for value in (np.ones(3), np.ones((2, 1)), np.ones((2, 3)), []):
        refused(lambda value=value: call(name, temperature=value), "temperature", "(2,)",
                str(np.shape(value)), error=rv.ShapeMismatch)  # fmt: skip
    for value in ("warm", None, 1j, [1.0, 2j], [None, 1.0]):
        refused(lambda value=value: call(name, temperature=value), "temperature",
                error=rv.DtypeError)  # fmt: skip


# ---------------------------------------------------------------------------------------------
# The maps' own parameters.


@pytest.mark.parametrize("name", ["entmax", "normmax"])
@pytest.mark.parametrize("bad", [0.5, 1 - 1e-12, 0.0, -2.0, np.nan, -np.inf])
def test_alpha_below_one(name, bad):
    refused(lambda: call(name, alpha=bad), "alpha", "1", f"{bad:g}", error=rv.InvalidArgument)
    refused(lambda: call(name, alpha=[2.0, bad]), "alpha", f"{bad:g}", error=rv.InvalidArgument)


@pytest.mark.parametrize(("name", "parameter"), [("entmax", "alpha"), ("normmax", "alpha"),
                                                 ("budget", "total")])  # fmt: skip
def test_parameters_of_rows_of_the_wrong_shape_or_type(name, parameter):
    for value in (np.full(3, 1.5), np.full((2, 1), 1.5), []):
        refused(lambda value=value: call(name, **{parameter: value}), parameter, "(2,)",
                str(np.shape(value)), error=rv.ShapeMismatch)  # fmt: skip
    for value in ("two", None, 1j, [1.0, None]):
        refused(lambda value=value: call(name, **{parameter: value}), parameter,
                error=rv.DtypeError)  # fmt: skip


@pytest.mark.parametrize("order", [1, 3, 7])
def test_odd_orders_are_refused_with_the_reason(order):
    """An odd Taylor polynomial has a negative value somewhere."""
    refused(lambda: call("taylor_softmax", order=order), "order", "even", str(order),
            error=rv.InvalidArgument)  # fmt: skip


@pytest.mark.parametrize("order", [0, -2])
def test_orders_below_two(order):
    refused(lambda: call("taylor_softmax", order=order), "order", "2", str(order),
            error=rv.InvalidArgument)  # fmt: skip


@pytest.mark.parametrize("order", [2.0, "2", None, 1j])
def test_orders_that_are_no_integers(order):
    refused(lambda: call("taylor_softmax", order=order), "order", error=rv.DtypeError)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_out_of_range(k):
    refused(lambda: call("sparse_softmax", k=k), "k", "3", str(k), error=rv.InvalidArgument)


@pytest.mark.parametrize("k", [1.5, "2", 1j, [1, 2]])
def test_k_that_is_no_integer(k):
    refused(lambda: call("sparse_softmax", k=k), "k", error=rv.DtypeError)


@pytest.mark.parametrize("p", [0.0, -0.5, 1.0000001, 2.0, np.nan, np.inf])
def test_p_out_of_range(p):
    refused(lambda: call("sparse_softmax", k=None, p=p), "p", "(0, 1]", f"{p:g}",
            error=rv.InvalidArgument)  # fmt: skip


@pytest.mark.parametrize("p", ["half", 1j, [0.5]])
def test_p_that_is_no_number(p):
    refused(lambda: call("sparse_softmax", k=None, p=p), "p", error=rv.DtypeError)


def test_both_or_neither_of_k_and_p():
    refused(lambda: P.sparse_softmax(X, k=2, p=0.5), "k", "p", "one")
    refused(lambda: P.sparse_softmax(X), "k", "p", "one")


@pytest.mark.parametrize("total", [0.0, -1.0, np.nan, np.inf, 3.5])
def test_totals_out_of_range(total):
    refused(lambda: call("budget", total=total), "total", f"{total:g}", error=rv.InvalidArgument)
    refused(lambda: call("budget", total=[1.0, total]), "total", f"{total:g}",
            error=rv.InvalidArgument)  # fmt: skip


def test_totals_beyond_the_entries_that_take_part():
    """Each holds at most 1."""
    refused(lambda: P.budget(X, 2.5, mask=[True, False, True]), "total", "2.5", "2",
            error=rv.InvalidArgument)  # fmt: skip
    np.testing.assert_array_equal(P.budget(X, 2, mask=[True, False, True]), [[1.0, 0.0, 1.0]] * 2)


@pytest.mark.parametrize("f", ["cube", "", None, np.square, 2])
def test_unknown_functions_list_the_valid_ones(f):
    refused(lambda: call("normalize", f=f), "f", "square", "relu", "sigmoid", "softplus")


@pytest.mark.parametrize("noise", ["gauss", "", None, 3, "Normal", "student"])
def test_unknown_noises_list_the_valid_ones(noise):
    refused(lambda: call("perturb_max", noise=noise), "noise", *P.NOISES)


def test_student_noise_needs_its_freedom_and_no_other_takes_it():
    refused(lambda: call("perturb_max", noise="student-t"), "df", "student-t")
    for noise in P.NOISES:
        if noise != "student-t":
            refused(lambda noise=noise: call("perturb_max", noise=noise, df=3.0), "df", "student-t")
    for df in (0.0, -1.0, np.nan, np.inf):
        refused(lambda df=df: call("perturb_max", noise="student-t", df=df), "df", f"{df:g}",
                error=rv.InvalidArgument)  # fmt: skip
    for df in ("three", 1j, [1.0, 2.0]):
        refused(lambda df=df: call("perturb_max", noise="student-t", df=df), "df",
                error=rv.DtypeError)  # fmt: skip


def logistic():
    return (
        lambda e: 0.25 / np.cosh(e / 2) ** 2,
        lambda e: 1 / (1 + np.exp(-e)),
        lambda u: np.log(u / (1 - u)),
    )


def test_noise_of_the_user_that_is_none():
    pdf, cdf, quantile = logistic()
    for noise in ((pdf, cdf), (pdf, cdf, quantile, pdf), (), (pdf, cdf, 1.0), ("a", "b", "c")):
        refused(lambda noise=noise: call("perturb_max", noise=noise), "noise", "quantile")
    refused(lambda: call("perturb_max", noise=(pdf, cdf, quantile), df=2.0), "df", "student-t")


def test_noise_of_the_user_that_gives_nonsense():
    """Of another shape, not finite, or of no type of number."""
    pdf, cdf, quantile = logistic()
    for wrong in (lambda e: np.ones(7), lambda e: np.nan * e, lambda e: ["a"] * np.size(e)):
        refused(lambda wrong=wrong: call("perturb_max", noise=(wrong, cdf, quantile)), "pdf")
        refused(lambda wrong=wrong: call("perturb_max", noise=(pdf, wrong, quantile)), "cdf")
        refused(lambda wrong=wrong: call("perturb_max", noise=(pdf, cdf, wrong)), "quantile")


def test_errors_of_the_users_noise_come_through():
    pdf, cdf, _ = logistic()

    def broken(u):
        raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside"):
        call("perturb_max", noise=(pdf, cdf, broken))


@pytest.mark.parametrize("bad", [3, -1, 100, -4])
def test_targets_out_of_range(bad):
    refused(lambda: call("margin_softmax", target=[0, bad]), "target", str(bad), "[0, 2]",
            error=rv.InvalidArgument)  # fmt: skip


def test_targets_of_the_wrong_shape_or_type():
    for target in ([0, 1, 2], [[0], [1]], np.zeros((2, 3), int)):
        refused(lambda target=target: call("margin_softmax", target=target), "target", "(2,)",
                str(np.shape(target)), error=rv.ShapeMismatch)  # fmt: skip
    for target in ([0.0, 1.0], "ab", [True, False], [0, 1j]):
        refused(lambda target=target: call("margin_softmax", target=target), "target",
                error=rv.DtypeError)  # fmt: skip
    refused(lambda: call("margin_softmax", target=None), "target")


def test_margins():
    for margin in (np.nan, np.inf, -np.inf):
        refused(lambda margin=margin: call("margin_softmax", margin=margin), "margin",
                f"{margin:g}", error=rv.InvalidArgument)  # fmt: skip
    for margin in ("wide", None, 1j):
        refused(lambda margin=margin: call("margin_softmax", margin=margin), "margin",
                error=rv.DtypeError)  # fmt: skip


# ---------------------------------------------------------------------------------------------
# What takes a map.

TAKERS = {
    "jacobian": lambda m, x=X, **keywords: P.jacobian(m, x, **keywords),
    "jvp": lambda m, x=X, **keywords: P.jvp(m, x, np.ones(np.shape(x)), **keywords),
    "vjp": lambda m, x=X, **keywords: P.vjp(m, x, np.ones(np.shape(x)), **keywords),
    "threshold": lambda m, x=X, **keywords: P.threshold(m, x, **keywords),
    "sample": lambda m, x=X, **keywords: P.sample(m, x, 2, 0, **keywords),
}
DERIVATIVES = ("jacobian", "jvp", "vjp")
# A map that each can take.
SUITED = {name: "perturb_max" if name == "sample" else "entmax" for name in TAKERS}


@pytest.mark.parametrize("bad", ["soft", "", None, 3, np.exp, "log_softmax", rv.ssm.kernel])
@pytest.mark.parametrize("taker", TAKERS)
def test_unknown_maps_list_the_valid_ones(taker, bad):
    refused(lambda: TAKERS[taker](bad), "map", "softmax", "entmax", "sparsemax")


@pytest.mark.parametrize("taker", TAKERS)
def test_unknown_parameters_name_the_map(taker):
    name = SUITED[taker]
    for m in (name, getattr(P, name), getattr(P, name)()):
        with pytest.raises((TypeError, rv.ResolventError), match="beta") as info:
            TAKERS[taker](m, beta=1.0)
        assert name in str(info.value)


@pytest.mark.parametrize("taker", TAKERS)
def test_bad_parameters_are_refused_as_the_map_does(taker):
    name = SUITED[taker]
    refused(lambda: TAKERS[taker](name, temperature=-1.0), "temperature", "-1")
    refused(lambda: TAKERS[taker](getattr(P, name)(temperature=0.0)), "temperature", "0")
    if name == "entmax":
        refused(lambda: TAKERS[taker](name, alpha=0.5), "alpha", "0.5")


@pytest.mark.parametrize("taker", TAKERS)
def test_bad_x_is_refused_as_the_map_does(taker):
    name = SUITED[taker]
    bad = X.copy()
    bad[1, 2] = np.nan
    refused(lambda: TAKERS[taker](name, bad), "x[1, 2] = nan", error=rv.InvalidArgument)
    refused(lambda: TAKERS[taker](name, 1.0), "x", error=rv.ShapeMismatch)
    refused(lambda: TAKERS[taker](name, np.zeros((2, 0))), "x", "(2, 0)")
    refused(lambda: TAKERS[taker](name, X.astype(np.float16)), "float16", error=rv.DtypeError)
    refused(lambda: TAKERS[taker](name, axis=2), "axis", "2")
    refused(lambda: TAKERS[taker](name, mask=np.ones(2, bool)), "mask", "(2,)", "(2, 3)")


@pytest.mark.parametrize("taker", DERIVATIVES)
def test_unknown_variables_list_the_valid_ones(taker):
    for wrt in ("beta", "", None, 1):
        refused(lambda wrt=wrt: TAKERS[taker]("entmax", wrt=wrt), "wrt", "x", "temperature",
                "alpha")  # fmt: skip
    refused(lambda: TAKERS[taker]("softmax", wrt="alpha"), "wrt", "x", "temperature")


def test_several_variables_are_for_vjp():
    refused(lambda: P.vjp("entmax", X, X, wrt=("x", "beta")), "wrt", "alpha")


@pytest.mark.parametrize(("taker", "name"), [("jvp", "v"), ("vjp", "g")])
def test_directions_that_do_not_fit(taker, name):
    function = getattr(P, taker)
    for shape in ((2,), (3, 2), (2, 3, 1), (1, 2, 3)):
        refused(lambda shape=shape: function("softmax", X, np.ones(shape)), name, str(shape),
                "(2, 3)", error=rv.ShapeMismatch)  # fmt: skip
    for value in ("text", X + 1j, [[None] * 3] * 2):
        refused(lambda value=value: function("softmax", X, value), name, error=rv.DtypeError)


@pytest.mark.parametrize("taker", ["jvp", "vjp"])
@pytest.mark.parametrize("name", [name for name in MAPS if name != "perturb_max"])
def test_directions_that_are_not_finite_spoil_their_row_only(name, taker):
    """A gradient that overflowed is passed on, not hidden."""
    good = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]])
    bad = good.copy()
    bad[0, 2] = np.nan
    expected, found = (
        getattr(P, taker)(name, X, direction, **MAPS[name]) for direction in (good, bad)
    )
    assert np.isnan(found[0]).any()
    assert_bits(found[1], expected[1])


def test_known_values_and_outputs_of_vjp():
    g = np.ones((2, 3))
    refused(lambda: P.vjp("softmax", X, g, p=np.ones(2)), "p", "(2,)", "(2, 3)",
            error=rv.ShapeMismatch)  # fmt: skip
    refused(lambda: P.vjp("softmax", X, g, p=[["a"] * 3] * 2), "p", error=rv.DtypeError)
    refused(lambda: P.vjp("softmax", X, g, out=np.empty(3)), "out", "(3,)", "(2, 3)",
            error=rv.ShapeMismatch)  # fmt: skip
    refused(lambda: P.vjp("softmax", X, g, out=np.empty((2, 3), np.float32)), "out", "float32",
            error=rv.DtypeError)  # fmt: skip


def test_sizes_of_samples():
    for size in (-1, (2, -3)):
        refused(lambda size=size: P.sample("perturb_max", X, size), "size", "-")
    for size in (1.5, "many", (2, 1.5)):
        refused(lambda size=size: P.sample("perturb_max", X, size), "size", error=rv.DtypeError)
    for seed in (-1, 1.5, "seed"):
        with pytest.raises((TypeError, ValueError)):
            P.sample("perturb_max", X, 2, seed)


def test_rows_with_nothing_left_draw_any_place():
    x = X.copy()
    x[1] = -np.inf
    drawn = P.sample("perturb_max", x, 3000, 0)[:, 1]
    counts = np.bincount(drawn, minlength=3)
    assert (np.abs(counts - 1000) < 5 * np.sqrt(3000 * 2 / 9)).all()


# ---------------------------------------------------------------------------------------------
# Maps with their parameters bound.


@pytest.mark.parametrize("name", MAPS)
def test_bound_maps_refuse_what_is_not_theirs(name):
    with pytest.raises((TypeError, rv.ResolventError), match="beta"):
        getattr(P, name)(beta=2.0)
    bound = getattr(P, name)(**MAPS[name])
    with pytest.raises((TypeError, rv.ResolventError), match="beta"):
        bound(X, beta=2.0)


def test_bound_maps_are_frozen():
    bound = P.entmax(alpha=1.25)
    for change in (lambda: setattr(bound, "name", "softmax"), lambda: delattr(bound, "name")):
        with pytest.raises(AttributeError):
            change()
    bound.parameters["alpha"] = 7.0  # a copy
    assert bound.parameters["alpha"] == 1.25
