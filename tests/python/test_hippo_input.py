"""Bad input: the message names the argument, the value and what was expected."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hippo_support import RULES, assert_bits, assert_message, signal

import resolvent as rv
from oracles import hippo as oracle

MEASURES = ("legs", "legt", "lmu", "lagt", "glagt", "fout", "fous", "malmquist")


def legs(order=4, **options):
    return rv.hippo.system("legs", order, **options)


def invalid(call, *parts, error=None):
    """The call is refused with an error whose message holds every part (numbers as %g)."""
    parts = [f"{part:g}" if isinstance(part, float) else part for part in parts]
    with pytest.raises(error or rv.InvalidArgument) as info:
        call()
    assert isinstance(info.value, rv.ResolventError)
    assert_message(info, *parts)


# ---------------------------------------------------------------------------------------------
# Systems.


@pytest.mark.parametrize("order", [0, -3])
@pytest.mark.parametrize("measure", ["legs", "legt", "fout"])
def test_order_below_one(measure, order):
    invalid(lambda: rv.hippo.system(measure, order), "order", order, "1")


def test_order_of_a_wrong_type():
    for order in (2.5, "4", None):
        with pytest.raises((TypeError, ValueError), match="order"):
            rv.hippo.system("legs", order)


def test_an_integral_numpy_order_is_an_order():
    assert rv.hippo.system("legs", np.int64(3)).order == 3


@pytest.mark.parametrize("window", [0.0, -1.5, np.nan, np.inf])
@pytest.mark.parametrize("measure", ["legs", "legt", "lagt"])
def test_window_not_positive(measure, window):
    invalid(lambda: rv.hippo.system(measure, 4, window=window), "window", window, "positive")


def test_unknown_measure_lists_the_valid_ones():
    invalid(lambda: rv.hippo.system("legz", 4), "measure", "legz", *MEASURES)


@pytest.mark.parametrize("measure", MEASURES)
def test_unknown_normalization_lists_those_of_the_measure(measure):
    options = {"poles": [1.0, 2.0, 3.0]} if measure == "malmquist" else {}
    invalid(
        lambda: rv.hippo.system(measure, 3, normalization="unit", **options),
        "normalization",
        "unit",
        *oracle.NORMALIZATIONS[measure],
    )


@pytest.mark.parametrize(
    ("measure", "other"),
    [("legs", "lmu"), ("legs", "complex"), ("legt", "laguerre"), ("fout", "legendre")],
)
def test_normalization_of_another_measure(measure, other):
    invalid(
        lambda: rv.hippo.system(measure, 3, normalization=other),
        "normalization",
        other,
        *oracle.NORMALIZATIONS[measure],
    )
    invalid(lambda: rv.hippo.system(measure, 3).to(other), other, "probability")


def test_unknown_closure_lists_the_valid_ones():
    invalid(
        lambda: rv.hippo.system("fout", 3, closure="right"), "closure", "right", "left", "average"
    )


@pytest.mark.parametrize("measure", ["fout", "fous"])
def test_complex_fourier_of_even_order(measure):
    invalid(
        lambda: rv.hippo.system(measure, 4, normalization="complex"), "order", "4", "odd", "complex"
    )


def test_poles_of_malmquist():
    invalid(lambda: rv.hippo.system("malmquist", 2, poles=[1.0, -2.0]), "poles", "-2", "positive")
    invalid(lambda: rv.hippo.system("malmquist", 2, poles=[1.0, 0.0]), "poles", "positive")
    invalid(lambda: rv.hippo.system("malmquist", 2, poles=[1.0, np.nan]), "poles", "nan")
    invalid(
        lambda: rv.hippo.system("malmquist", 3, poles=[1.0, 2.0]),
        "poles",
        "3",
        "2",
        error=(rv.ShapeMismatch, rv.InvalidArgument),
    )


@pytest.mark.parametrize("alpha", [-1.0, 1.0, 2.5, np.nan])
def test_alpha_of_glagt_out_of_range(alpha):
    invalid(lambda: rv.hippo.system("glagt", 3, alpha=alpha), "alpha", alpha)


@pytest.mark.parametrize("beta", [-0.1, np.nan])
def test_beta_of_glagt_out_of_range(beta):
    invalid(lambda: rv.hippo.system("glagt", 3, beta=beta), "beta", beta)


@pytest.mark.parametrize("measure", ["legt", "lagt", "fout", "malmquist"])
def test_invariant_is_for_the_scaled_clock(measure):
    options = {"poles": [1.0, 2.0, 3.0]} if measure == "malmquist" else {}
    system = rv.hippo.system(measure, 3, **options)
    invalid(system.invariant, system.clock, "scaled")


def test_apply_and_solve_of_a_wrong_length():
    for call in (lambda v: legs(4).apply(v), lambda v: legs(4).solve(0.1, v)):
        invalid(lambda call=call: call(np.zeros((2, 5))), "4", "5", error=rv.ShapeMismatch)
        invalid(lambda call=call: call(1.0), error=rv.ShapeMismatch)


def test_solve_of_a_singular_matrix_is_refused():
    """lambda = -1/2 hits the eigenvalue -2: 1 + lambda (n+1) = 0 at n = 1."""
    with pytest.raises(rv.ResolventError) as info:
        legs(4).solve(-0.5, np.ones(4))
    assert_message(info, "singular", "-0.5")


def test_solve_with_a_lambda_that_is_not_finite():
    invalid(lambda: legs(4).solve(np.nan, np.ones(4)), "lam", "nan", "finite")


def test_objects_and_text_are_refused():
    for value in (np.array([None, 1.0, 2.0, 3.0]), np.array(["a", "b", "c", "d"])):
        with pytest.raises(rv.DtypeError):
            legs(4).apply(value)
        with pytest.raises(rv.DtypeError):
            rv.hippo.project(value, legs(4))


def test_basis_outside_of_its_interval():
    invalid(lambda: legs(4).basis([0.5, 1.5]), "s", "1.5", "[0, 1]")
    invalid(lambda: rv.hippo.system("lagt", 4).basis([-0.5]), "s", "-0.5")


# ---------------------------------------------------------------------------------------------
# derive, identify, convert.


def test_derive_with_unknown_names():
    invalid(
        lambda: rv.hippo.derive("hermite", "window", 3),
        "basis",
        "hermite",
        "legendre",
        "chebyshev",
        "fourier",
    )
    invalid(
        lambda: rv.hippo.derive("legendre", "cube", 3),
        "time_map",
        "cube",
        "window",
        "scaled",
        "sqrt",
    )
    invalid(lambda: rv.hippo.derive("legendre", "window", 0), "order", "0")
    invalid(lambda: rv.hippo.derive("legendre", "window", 3, closure="up"), "closure", "up", "left")
    invalid(lambda: rv.hippo.derive("legendre", "window", 3, window=-1), "window", "-1")


def test_derive_with_a_map_that_does_not_fit_the_interval():
    """sqrt needs [0, 1]; named Chebyshev functions live on [-1, 1]."""
    invalid(lambda: rv.hippo.derive("chebyshev", "sqrt", 3), "sqrt", "[0, 1]", "-1")


def test_derive_with_callables_needs_an_interval():
    pair = (lambda n, s: s**n, lambda n, s: n * s ** max(n - 1, 0))
    invalid(lambda: rv.hippo.derive(pair, "window", 2), "interval")
    invalid(lambda: rv.hippo.derive(pair, "window", 2, interval=(1.0, 0.0)), "interval")


def test_derive_with_an_unknown_clock():
    phi = (lambda s: s, lambda s: 1.0 + 0 * s, "cuckoo")
    invalid(lambda: rv.hippo.derive("legendre", phi, 2), "clock", "cuckoo", "window", "scaled")


def test_identify_with_wrong_shapes():
    invalid(lambda: rv.hippo.identify(np.eye(3), np.ones(4)), "3", "4", error=rv.ShapeMismatch)
    invalid(
        lambda: rv.hippo.identify(np.ones((3, 4)), np.ones(3)), "(3, 4)", error=rv.ShapeMismatch
    )
    invalid(lambda: rv.hippo.identify(np.full((2, 2), np.nan), np.ones(2)), "A", "nan")


def test_convert_between_different_systems():
    invalid(lambda: rv.hippo.convert(np.ones(4), legs(4), "lmu"), "lmu", "probability")
    invalid(
        lambda: rv.hippo.convert(np.ones(4), legs(4), rv.hippo.system("legt", 4)), "legs", "legt"
    )
    invalid(
        lambda: rv.hippo.convert(np.ones(5), legs(4), "lebesgue"), "5", "4", error=rv.ShapeMismatch
    )


def test_converting_a_complex_signal_to_the_real_basis_would_lose_information():
    """c_-n = conj(c_n) fails: the signal is not real."""
    source = rv.hippo.system("fout", 3, normalization="complex")
    with pytest.raises(rv.ResolventError):
        rv.hippo.convert(np.array([1.0, 0.0, 2.0j]), source, "probability")


# ---------------------------------------------------------------------------------------------
# Memory and project.


def test_unknown_rule_lists_the_valid_ones():
    invalid(lambda: rv.hippo.Memory(legs(), rule="euler"), "rule", "euler", *RULES)
    invalid(lambda: rv.hippo.project([1.0], legs(), rule="euler"), "rule", "euler", *RULES)


@pytest.mark.parametrize("step", [0.0, -0.5, np.nan, np.inf])
def test_step_not_positive(step):
    invalid(lambda: rv.hippo.Memory(legs(), step=step), "step", step, "positive")
    invalid(lambda: rv.hippo.project([1.0], legs(), step=step), "step", step, "positive")
    invalid(lambda: rv.hippo.optimal([1.0], legs(), step=step), "step", step, "positive")


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_alpha_of_the_generalised_rule(alpha):
    invalid(lambda: rv.hippo.project([1.0], legs(), rule="gbt", alpha=alpha), "alpha", alpha)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_an_empty_signal(shape):
    for function in (rv.hippo.project, rv.hippo.optimal, rv.hippo.reconstruction_error):
        invalid(
            lambda f=function: f(np.zeros(shape), legs()),
            "u",
            "L >= 1",
            shape,
            error=rv.ShapeMismatch,
        )


def test_a_scalar_signal():
    invalid(lambda: rv.hippo.project(1.0, legs()), "u", error=rv.ShapeMismatch)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(value):
    u = signal((3, 20))
    u[1, 7] = value
    for call in (
        lambda: rv.hippo.project(u, legs()),
        lambda: rv.hippo.optimal(u, legs()),
        lambda: rv.hippo.Memory(legs(), channels=(3,)).update(u),
        lambda: rv.hippo.reconstruction_error(u[1], legs()),
    ):
        invalid(call, "u", str(value).replace("-", ""), "check_finite")


def test_a_refused_block_leaves_the_memory_as_it_was():
    memory = rv.hippo.Memory(legs(), channels=(2,))
    memory.update(signal((2, 5)))
    before, time = memory.coefficients.copy(), memory.time
    u = signal((2, 6))
    u[1, 5] = np.nan
    invalid(lambda: memory.update(u), "nan")
    assert_bits(memory.coefficients, before)
    assert memory.time == time


def test_check_finite_false_lets_them_through():
    """NaN goes where it must and nowhere else: the other channel has the same bits."""
    u = signal((2, 20))
    clean = rv.hippo.project(u, legs(), every=1)
    u[0, 7] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rv.hippo.project(u, legs(), every=1, check_finite=False)
        memory = rv.hippo.Memory(legs(), channels=(2,), check_finite=False)
        memory.update(u)
    assert_bits(np.ascontiguousarray(found[1]), np.ascontiguousarray(clean[1]))
    assert_bits(np.ascontiguousarray(found[0, :7]), np.ascontiguousarray(clean[0, :7]))
    assert np.isnan(found[0, 7:]).all()
    assert np.isnan(memory.coefficients[0]).all()


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_signals_are_refused(dtype):
    u = signal((2, 10)).astype(dtype)
    for call in (
        lambda: rv.hippo.project(u, legs()),
        lambda: rv.hippo.optimal(u, legs()),
        lambda: rv.hippo.Memory(legs(), channels=(2,)).update(u),
    ):
        invalid(call, "u", "complex", "real", error=rv.DtypeError)


def test_a_block_of_wrong_shape_names_both_shapes():
    memory = rv.hippo.Memory(legs(), channels=(3, 2))
    for shape in ((4,), (3,), (2, 3), (2, 3, 5), (3, 2, 5, 1)):
        invalid(
            lambda shape=shape: memory.update(np.zeros(shape)),
            shape,
            "(3, 2)",
            error=rv.ShapeMismatch,
        )


@pytest.mark.parametrize(
    ("times", "parts"),
    [
        ([1.0, 3.0, 2.0], ["increas", "2"]),
        ([1.0, 2.0, 2.0], ["increas", "2"]),
        ([0.0, 1.0, 2.0], ["0"]),
        ([-1.0, 1.0, 2.0], ["-1"]),
        ([1.0, np.nan, 3.0], ["nan"]),
        ([1.0, 2.0, np.inf], ["inf"]),
    ],
    ids=str,
)
def test_time_stamps_that_do_not_increase(times, parts):
    u = np.ones(3)
    system = rv.hippo.system("legt", 3, window=10.0)
    invalid(lambda: rv.hippo.project(u, system, times=times), "times", *parts)
    invalid(lambda: rv.hippo.optimal(u, system, times=times), "times", *parts)
    invalid(lambda: rv.hippo.Memory(system).update(u, times=times), "times", *parts)


def test_time_stamps_before_the_memory():
    memory = rv.hippo.Memory(legs())
    memory.update(np.ones(3), times=[1.0, 2.0, 4.0])
    invalid(lambda: memory.update(np.ones(2), times=[4.0, 5.0]), "times", "4")


def test_time_stamps_of_another_length_name_both():
    invalid(
        lambda: rv.hippo.project(np.ones((2, 3)), legs(), times=[1.0, 2.0]),
        "times",
        "2",
        "3",
        error=rv.ShapeMismatch,
    )


@pytest.mark.parametrize("every", [0, -1])
def test_every_below_one(every):
    invalid(lambda: rv.hippo.project(np.ones(5), legs(), every=every), "every", every)


def test_out_of_the_wrong_kind():
    u = signal((2, 6))
    good = np.zeros((2, 4))
    read_only = good.copy()
    read_only.flags.writeable = False
    invalid(lambda: rv.hippo.project(u, legs(), out=read_only), "out", "read-only")
    invalid(
        lambda: rv.hippo.project(u, legs(), out=np.zeros((2, 3))),
        "out",
        "(2, 3)",
        "(2, 4)",
        error=rv.ShapeMismatch,
    )
    invalid(
        lambda: rv.hippo.project(u, legs(), every=2, out=good),
        "out",
        "(2, 4)",
        "(2, 3, 4)",
        error=rv.ShapeMismatch,
    )
    invalid(
        lambda: rv.hippo.project(u, legs(), out=good.astype(np.float32)),
        "out",
        "float32",
        "float64",
        error=rv.DtypeError,
    )
    invalid(lambda: rv.hippo.project(u, legs(), out=good.tolist()), "out", error=rv.DtypeError)


def test_an_out_that_is_not_contiguous():
    u = signal((2, 6))
    out = np.zeros((2, 8))[:, ::2]
    invalid(lambda: rv.hippo.project(u, legs(), out=out), "out", "contiguous")


def test_dtype_of_the_memory():
    for dtype in (np.int64, np.complex128, np.float16):
        invalid(
            lambda dtype=dtype: rv.hippo.Memory(legs(), dtype=dtype),
            "dtype",
            np.dtype(dtype).name,
            "float32",
            "float64",
            error=rv.DtypeError,
        )


def test_reconstruct_with_wrong_shapes_and_times():
    invalid(
        lambda: rv.hippo.reconstruct(np.ones(5), legs(), [1.0], 1.0),
        "5",
        "4",
        error=rv.ShapeMismatch,
    )
    invalid(lambda: rv.hippo.reconstruct(np.ones(4), legs(), [2.0], 1.0), "times", "2")
    invalid(lambda: rv.hippo.reconstruct(np.ones(4), legs(), [-1.0], 1.0), "times", "-1")
    invalid(lambda: rv.hippo.reconstruct(np.ones(4), legs(), [0.5], 0.0), "now", "0")


def test_optimal_at_an_instant_without_history():
    invalid(lambda: rv.hippo.optimal(np.ones(3), legs(), at=0.0), "at", "0")
    invalid(lambda: rv.hippo.optimal(np.ones(3), legs(), at=-1.0), "at", "-1")
    invalid(lambda: rv.hippo.optimal(np.ones(3), legs(), at=np.nan), "at", "nan")


def test_a_system_is_asked_for_by_name():
    with pytest.raises(TypeError, match="system"):
        rv.hippo.project(np.ones(3), "legs")


# ---------------------------------------------------------------------------------------------
# Edges that are no errors.


def test_a_signal_of_one_sample():
    for measure in ("legs", "legt", "lagt", "fout"):
        system = rv.hippo.system(measure, 5)
        x = rv.hippo.project([2.0], system, step=0.1)
        assert x.shape == (5,)
        assert np.isfinite(x).all()
        assert np.isfinite(rv.hippo.optimal([2.0], system, step=0.1)).all()


def test_a_batch_of_no_channels():
    for every, shape in ((None, (0, 4)), (2, (0, 3, 4))):
        assert rv.hippo.project(np.zeros((0, 7)), legs(), every=every).shape == shape
    assert rv.hippo.optimal(np.zeros((0, 7)), legs()).shape == (0, 4)
    assert rv.hippo.reconstruct(np.zeros((0, 4)), legs(), [0.5, 1.0], 1.0).shape == (0, 2)
    assert rv.hippo.convert(np.zeros((0, 4)), legs(), "lebesgue").shape == (0, 4)
