"""Bad input by its message; types, shapes, results as objects, threads, interruption."""

from __future__ import annotations

import pickle
import signal as signals
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hippo_support import assert_bits, assert_message, poles, signal

import resolvent as rv

S = rv.spectral
CASCADES = ("legs", "lagt", "glagt", "malmquist")
KINDS = ("lin", "inv", "quad", "real", "legs")


def legs(order=4, **options):
    return rv.hippo.system("legs", order, **options)


def system(measure, order):
    options = {"poles": poles(order)} if measure == "malmquist" else {}
    return rv.hippo.system(measure, order, **options)


def invalid(call, *parts, error=None):
    """The call is refused with an error whose message holds every part."""
    with pytest.raises(error or rv.InvalidArgument) as info:
        call()
    assert isinstance(info.value, rv.ResolventError)
    assert_message(info, *parts)


def results():
    """One of each kind of result."""
    return {
        "normal_spectrum": S.normal_spectrum(legs()),
        "dplr": S.dplr(legs()),
        "dplr-half": S.dplr(rv.hippo.system("legt", 5), half=True),
        "dplr-by-hand": S.DPLR(np.array([1j]), np.ones((1, 1)), np.ones((1, 1)), np.ones(1)),
        "eigensystem": S.eigensystem(legs()),
        "conditioning": S.conditioning(legs()),
        "conditioning-defective": S.conditioning(rv.hippo.system("lagt", 3)),
        "pade_delay": S.pade_delay(3, "0.5"),
        "diagonal": S.diagonal(4, "lin"),
        "pseudospectrum": S.pseudospectrum(legs(), points=5),
        "numerical_range": S.numerical_range(legs(), 8),
    }


# ---------------------------------------------------------------------------------------------
# Systems where they do not belong.


@pytest.mark.parametrize("measure", ["legt", "lmu", "fout", "fous"])
def test_the_phase_equation_is_for_cascades(measure):
    one = rv.hippo.system(measure, 3)
    for call in (lambda: S.normal_spectrum(one), lambda: S.phase(one, [0.0])):
        invalid(call, "measure", measure, *CASCADES)


def test_dplr_of_a_system_without_one_lists_those_that_have():
    invalid(lambda: S.dplr(rv.hippo.system("fous", 3)), "fous", *CASCADES, "legt", "fout")
    derived = rv.hippo.derive("chebyshev", "window", 4)
    invalid(lambda: S.dplr(derived), "legs", "fout")
    invalid(lambda: S.normal_spectrum(derived), "legs")


def test_half_of_a_complex_system():
    one = rv.hippo.system("fout", 3, normalization="complex")
    invalid(lambda: S.dplr(one, half=True), "half", "complex")


@pytest.mark.parametrize("value", [np.eye(2), "legs", None, 4])
def test_a_system_is_needed(value):
    for call in (S.normal_spectrum, S.dplr, lambda v: S.phase(v, [0.0])):
        invalid(lambda call=call: call(value), "system", error=rv.DtypeError)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_poles_must_be_positive(bad):
    """The system refuses them before any spectrum is asked for."""
    expected = "positive" if np.isfinite(bad) else "finite"
    invalid(lambda: rv.hippo.system("malmquist", 2, poles=[1.0, bad]), "poles", expected)


def test_order_zero():
    invalid(lambda: legs(0), "order", "0")
    invalid(lambda: S.pade_delay(0), "order", "0", "1")
    invalid(lambda: S.pade_delay(-2), "order", "-2", "1")
    for kind in KINDS:
        invalid(lambda kind=kind: S.diagonal(0, kind), "order", "0")


@pytest.mark.parametrize("order", [2.5, "4", None])
def test_order_of_a_wrong_type(order):
    for call in (S.pade_delay, lambda n: S.diagonal(n, "lin")):
        invalid(lambda call=call: call(order), "order", "integer", error=rv.DtypeError)


# ---------------------------------------------------------------------------------------------
# Matrices.

OF_A_MATRIX = {
    "eigenvalues": S.eigenvalues,
    "eigenvectors": S.eigenvectors,
    "eigensystem": S.eigensystem,
    "conditioning": S.conditioning,
    "pseudospectrum": lambda a: S.pseudospectrum(a, points=4),
    "numerical_range": lambda a: S.numerical_range(a, 8),
}


@pytest.mark.parametrize("call", OF_A_MATRIX.values(), ids=OF_A_MATRIX)
def test_matrices_that_are_none(call):
    for shape in ((2, 3), (3,), (), (2, 2, 2), (0, 0)):
        invalid(
            lambda shape=shape: call(np.ones(shape)),
            "A",
            "square",
            shape,
            error=rv.ShapeMismatch,
        )
    for bad in (np.nan, np.inf, -np.inf, complex(0, np.nan)):
        a = np.eye(3, dtype=complex if isinstance(bad, complex) else float)
        a[1, 2] = bad
        invalid(lambda a=a: call(a), "A", "finite", "[1, 2]")
    for value in (np.array([["a"]]), np.array([[None]]), None, "legs"):
        invalid(lambda value=value: call(value), "A", error=rv.DtypeError)


@pytest.mark.parametrize("call", OF_A_MATRIX.values(), ids=OF_A_MATRIX)
def test_matrices_of_every_memory_layout(call):
    """Integers, lists, Fortran order, strides and read-only arrays are one matrix."""
    a = np.array([[3, 1, 0], [0, -2, 5], [1, 0, 1]])
    spread = np.zeros((6, 6))
    spread[::2, ::2] = a
    frozen = a.astype(float)
    frozen.flags.writeable = False
    expected = pickle.dumps(call(a.astype(float)))
    for other in (a, a.tolist(), np.asfortranarray(a.astype(float)), spread[::2, ::2], frozen):
        assert pickle.dumps(call(other)) == expected
    assert (spread[1::2] == 0).all()


@pytest.mark.parametrize("call", OF_A_MATRIX.values(), ids=OF_A_MATRIX)
def test_single_precision_is_worked_on_in_double(call):
    a = np.array([[0.5, 1.0], [0.25, -2.0]], dtype=np.float32)
    assert pickle.dumps(call(a)) == pickle.dumps(call(a.astype(float)))


@pytest.mark.parametrize("call", OF_A_MATRIX.values(), ids=OF_A_MATRIX)
@pytest.mark.parametrize(
    "a",
    [[[2.0]], [[1j]], [[0.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [3.0, 4.0]], [[1e200]]],
    ids=str,
)
def test_matrices_of_order_one_and_two(call, a):
    """No NaN anywhere, no warning."""
    result = call(a)
    for value in vars(result).values() if hasattr(result, "__dict__") else [result]:
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc":
            assert not np.isnan(value).any()


@pytest.mark.parametrize("measure", [*CASCADES, "legt", "fout"])
@pytest.mark.parametrize("order", [1, 2])
def test_systems_of_order_one_and_two(measure, order):
    one = system(measure, order)
    form = S.dplr(one)
    assert form.eigenvalues.shape == (order,)
    assert np.isfinite(form.to_dense()).all()
    half = S.dplr(one, half=True)
    assert half.multiplicity.sum() == order
    if measure in CASCADES:
        spectrum = S.normal_spectrum(one)
        assert spectrum.mu.tolist() == ([0.0] if order == 1 else [spectrum.mu[0], -spectrum.mu[0]])
    assert S.conditioning(one).eigenvalues.shape == (order,)


# ---------------------------------------------------------------------------------------------
# phase, transforms, forms by hand.


def test_phase_of_bad_arguments():
    invalid(lambda: S.phase(legs(), [0.0, np.nan]), "mu", "nan", "finite")
    invalid(lambda: S.phase(legs(), 1j), "mu", "complex", error=rv.DtypeError)
    invalid(lambda: S.phase(legs(), "0"), "mu", error=rv.DtypeError)


@pytest.mark.parametrize("half", [False, True])
def test_transforms_of_a_wrong_length(half):
    form = S.dplr(legs(4), half=half)
    kept = 2 if half else 4
    for call, length in (
        (form.transform, 4),
        (form.transform_state, 4),
        (form.inverse_transform, kept),
        (form.inverse_transform_state, kept),
    ):
        for shape in ((5,), (3, 7), ()):
            invalid(
                lambda call=call, shape=shape: call(np.zeros(shape)),
                length,
                shape,
                error=rv.ShapeMismatch,
            )
        bad = np.zeros((2, length))
        bad[0, -1] = np.nan  # as System.apply: NaN goes where it must and nowhere else
        assert np.isnan(call(bad)[0]).any()
        assert not np.isnan(call(bad)[1]).any()


def test_transforms_take_integers_lists_strides_and_single_precision():
    form = S.dplr(legs(4))
    rows = np.arange(8).reshape(2, 4)
    expected = form.transform(rows.astype(float))
    spread = np.zeros((2, 8))
    spread[:, ::2] = rows
    for other in (rows, rows.tolist(), spread[:, ::2], np.asfortranarray(rows.astype(float))):
        assert_bits(form.transform(other), expected)
    single = form.transform(rows.astype(np.float32))
    assert single.dtype in (np.complex64, np.complex128)
    assert np.abs(single - expected).max() <= 16 * np.finfo(np.float32).eps * np.abs(expected).max()


def test_basis_of_to_dense():
    invalid(lambda: S.dplr(legs()).to_dense("modal"), "basis", "modal", "system", "normal")


def test_a_form_made_by_hand_with_wrong_shapes():
    values, column, b = np.array([1j, -1j]), np.ones((2, 1)), np.ones(2)
    for bad in (
        (values, np.ones((3, 1)), column, b),
        (values, column, np.ones((2, 2)), b),
        (values, column, column, np.ones(3)),
        (np.stack([values] * 3), np.ones((2, 2, 1)), column, b),  # channels 3 and 2
    ):
        invalid(lambda bad=bad: S.DPLR(*bad), error=rv.ShapeMismatch)
    invalid(lambda: S.DPLR(np.array([np.nan, 1.0]), column, column, b), "eigenvalues", "nan")


# ---------------------------------------------------------------------------------------------
# Names, numbers, boxes, grids.


def test_unknown_kind_lists_the_valid_ones():
    invalid(lambda: S.diagonal(4, "hippo"), "kind", "hippo", *KINDS)


def test_diagonal_of_impossible_pairs():
    for kind in ("lin", "inv", "quad"):
        invalid(lambda kind=kind: S.diagonal(5, kind), "order", "even", kind, "5")
    invalid(lambda: S.diagonal(4, "real", half=True), "half", "real")
    for sign in (0, 2, -3):
        invalid(lambda sign=sign: S.diagonal(4, "lin", sign=sign), "sign", sign, "1", "-1")


@pytest.mark.parametrize("window", [0, -1, "-2", 0.0, np.nan, np.inf, -np.inf, "nan", "soon", ""])
def test_window_of_a_delay(window):
    invalid(lambda: S.pade_delay(3, window), "window", "positive")


@pytest.mark.parametrize("window", [None, [1], 1j])
def test_window_of_a_delay_of_a_wrong_type(window):
    invalid(lambda: S.pade_delay(3, window), "window", error=(rv.DtypeError, rv.InvalidArgument))


def test_points_of_a_delay():
    delay = S.pade_delay(3)
    invalid(lambda: delay([0.0, np.nan]), "s", "nan", "finite")
    invalid(lambda: delay.step_response([0.0, np.nan]), "t", "nan", "finite")
    invalid(lambda: delay.step_response([-1.0, 1.0]), "t", "negative", "-1")


@pytest.mark.parametrize(
    "box",
    [(1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0), (0.0, 1.0, 2.0, 2.0)],
    ids=str,
)
def test_a_box_without_area(box):
    invalid(lambda: S.pseudospectrum(np.eye(2), box, 4), "box", "left", "right", box)


@pytest.mark.parametrize("box", [(np.nan, 1.0, 0.0, 1.0), (0.0, np.inf, 0.0, 1.0)], ids=str)
def test_a_box_that_is_not_finite(box):
    invalid(
        lambda: S.pseudospectrum(np.eye(2), box, 4), "box", str(box[0])[:3] if box[0] else "inf"
    )


@pytest.mark.parametrize("box", [(0.0, 1.0), (0.0, 1.0, 2.0), 3.0, (0.0, 1.0, 0.0, 1.0, 5.0)])
def test_a_box_of_four_numbers(box):
    invalid(lambda: S.pseudospectrum(np.eye(2), box, 4), "box", error=rv.ResolventError)


@pytest.mark.parametrize("points", [0, 1, -5, (0, 5), (5, 1), (5, -1)], ids=str)
def test_a_grid_of_too_few_points(points):
    invalid(lambda: S.pseudospectrum(np.eye(2), points=points), "points", "2")


@pytest.mark.parametrize("points", [2.5, "4", None, (3, 2.5), (3, 3, 3)], ids=str)
def test_points_of_a_wrong_type(points):
    invalid(lambda: S.pseudospectrum(np.eye(2), points=points), "points", error=rv.ResolventError)


@pytest.mark.parametrize("tolerance", [0.0, -1e-3, np.nan, np.inf])
def test_tolerance_of_a_pseudospectrum(tolerance):
    invalid(lambda: S.pseudospectrum(np.eye(2), points=3, tolerance=tolerance), "tolerance")


@pytest.mark.parametrize("points", [0, 1, -1])
def test_a_range_of_too_few_points(points):
    invalid(lambda: S.numerical_range(np.eye(2), points), "points", points, "2")


def test_logarithms_are_for_cascades():
    invalid(lambda: S.eigenvectors(np.eye(2), log=True), "log")
    invalid(lambda: S.eigenvectors(rv.hippo.system("legt", 3), log=True), "log", "legs")


# ---------------------------------------------------------------------------------------------
# Results as objects.


@pytest.mark.parametrize("name", results())
def test_repr_is_short_and_html_a_table(name):
    result = results()[name]
    text = repr(result)
    assert text.startswith(type(result).__name__ + "(")
    assert len(text) < 200
    assert "array" not in text
    html = result._repr_html_()
    assert html.startswith("<table>")
    assert html.endswith("</table>")
    assert html.count("<tr>") == html.count("</tr>") >= 2
    assert "nan" not in html


@pytest.mark.parametrize("name", results())
def test_results_cannot_be_changed(name):
    result = results()[name]
    fields = {key: value for key, value in vars(result).items() if not key.startswith("_")}
    assert fields
    for key, value in fields.items():
        with pytest.raises(AttributeError):
            setattr(result, key, value)
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable, key
            with pytest.raises(ValueError, match="read-only"):
                value[...] = 0


@pytest.mark.parametrize("name", results())
def test_results_survive_a_pickle(name):
    result = results()[name]
    again = pickle.loads(pickle.dumps(result))
    assert type(again) is type(result)
    assert repr(again) == repr(result)
    for key, value in vars(result).items():
        if isinstance(value, np.ndarray):
            assert_bits(getattr(again, key), value)
        elif key != "system":
            assert getattr(again, key) == value


def test_arrays_given_by_hand_are_not_frozen_behind_their_owner():
    values, column, b = np.array([1j, -1j]), np.ones((2, 1), complex), np.ones(2, complex)
    form = S.DPLR(values, column, column.copy(), b)
    values[0], column[0, 0], b[0] = 5.0, 5.0, 5.0  # still the caller's
    assert form.eigenvalues[0] == 1j
    assert form.P[0, 0] == 1.0
    assert form.B[0] == 1.0


def test_derived_arrays_may_be_changed():
    form = S.dplr(legs())
    for array in (form.to_dense(), form.eigenvectors(), form.transform(np.ones(4))):
        array[...] = 0
    assert np.abs(form.to_dense()).max() > 0


# ---------------------------------------------------------------------------------------------
# Threads and interruption.

PARALLEL = {
    "normal_spectrum legs": lambda: S.normal_spectrum(legs(100_003)),
    "normal_spectrum malmquist": lambda: S.normal_spectrum(system("malmquist", 700)),
    "normal_spectrum lagt": lambda: S.normal_spectrum(rv.hippo.system("lagt", 50_000)),
    "phase": lambda: S.phase(legs(500), np.linspace(-1e5, 1e5, 20_001)),
    "dplr": lambda: S.dplr(system("legt", 60)),
    "eigenvectors of dplr": lambda: S.dplr(legs(300)).eigenvectors(),
    "transform": lambda: S.dplr(legs(700)).transform(signal((5, 700))),
    "inverse_transform": lambda: S.dplr(legs(700)).inverse_transform(signal((5, 700)) + 0j),
    "eigenvectors": lambda: S.eigenvectors(legs(30)),
    "conditioning": lambda: S.conditioning(legs(120)),
    "pseudospectrum": lambda: S.pseudospectrum(legs(24), points=(31, 17)),
    "pseudospectrum dense": lambda: S.pseudospectrum(signal((12, 12)), points=21),
    "numerical_range": lambda: S.numerical_range(legs(24), 64),
}


@pytest.mark.parametrize("call", PARALLEL.values(), ids=PARALLEL)
def test_results_do_not_depend_on_the_number_of_threads(call, restore_threads):
    outcomes = []
    for threads in (1, 2, 3, 7):
        rv.set_threads(threads)
        outcomes.append(pickle.dumps(call()))
    assert all(outcome == outcomes[0] for outcome in outcomes)


INTERRUPTIBLE = {
    "normal_spectrum": 's.normal_spectrum(rv.hippo.system("legs", 20_000_000))',
    "malmquist": 's.normal_spectrum(rv.hippo.system("malmquist", 60_000, poles=poles(60_000)))',
    "transform": "form.transform(np.ones((4, 100_000)))",
    "pseudospectrum": 's.pseudospectrum(rv.hippo.system("legs", 64), points=3000)',
    "pade_delay": "[s.pade_delay(600) for _ in range(10**6)]",
}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT as POSIX has it")
@pytest.mark.parametrize("name", INTERRUPTIBLE)
def test_ctrl_c_stops_a_long_computation(name):
    script = textwrap.dedent(
        f"""
        import signal, threading, time
        import numpy as np, resolvent as rv
        s = rv.spectral
        poles = lambda n: np.linspace(0.3, 3.0, n)
        form = s.dplr(rv.hippo.system("lagt", 100_000))
        print("started", flush=True)
        try:
            {INTERRUPTIBLE[name]}
            print("finished", flush=True)
        except KeyboardInterrupt:
            print("stopped", flush=True)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout.readline() == "started\n"
            with pytest.raises(subprocess.TimeoutExpired):
                run.wait(0.5)  # inside the computation by now
            run.send_signal(signals.SIGINT)
            assert run.communicate(timeout=20)[0] == "stopped\n"
        finally:
            run.kill()
