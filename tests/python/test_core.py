"""Errors, warnings, threads and the report on the build."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hippo_support import assert_message

import resolvent as rv

ERRORS = {
    "InvalidArgument": ValueError,
    "ShapeMismatch": ValueError,
    "DtypeError": TypeError,
    "NotConverged": RuntimeError,
    "DeviceUnavailable": RuntimeError,
}


@pytest.mark.parametrize(("name", "base"), ERRORS.items())
def test_errors_have_a_python_base_and_a_common_one(name, base):
    error = getattr(rv, name)
    assert issubclass(error, base)
    assert issubclass(error, rv.ResolventError)
    assert issubclass(rv.ResolventError, Exception)
    twin = pickle.loads(pickle.dumps(error("what, value, expected")))
    assert type(twin) is error
    assert str(twin) == "what, value, expected"


def test_errors_name_their_public_place():
    for name in (*ERRORS, "ResolventError"):
        assert getattr(rv, name).__module__ == "resolvent"


@pytest.mark.parametrize("name", ["StabilityWarning", "IllConditionedWarning", "ResolutionWarning"])
def test_warnings_are_user_warnings(name):
    assert issubclass(getattr(rv, name), UserWarning)


def test_warnings_carry_their_number():
    with pytest.warns(rv.StabilityWarning) as record:
        rv.hippo.project(np.ones(50), rv.hippo.system("legs", 64), rule="forward")
    warning = record[0].message
    assert isinstance(warning.growth, float)
    assert np.isfinite(warning.growth)
    assert warning.growth > 1
    assert record[0].filename == __file__  # points at the caller
    text = str(warning)
    for part in ("forward", "legs", "64"):
        assert part in text


def test_threads_are_set_and_read(restore_threads):
    for count in (1, 2, 3):
        rv.set_threads(count)
        assert rv.get_threads() == count


@pytest.mark.parametrize("count", [0, -2])
def test_thread_counts_below_one(count, restore_threads):
    before = rv.get_threads()
    with pytest.raises(rv.InvalidArgument) as info:
        rv.set_threads(count)
    assert_message(info, count, "1")
    assert rv.get_threads() == before


def python(code, **environment):
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_threads_from_the_environment():
    done = python("import resolvent as rv; print(rv.get_threads())", RESOLVENT_NUM_THREADS="3")
    assert done.stdout.strip() == "3", done.stderr


@pytest.mark.parametrize("value", ["zero", "0", "-1", "2.5"])
def test_a_bad_thread_count_in_the_environment_is_named(value):
    done = python("import resolvent as rv; print(rv.get_threads())", RESOLVENT_NUM_THREADS=value)
    assert done.returncode != 0
    assert "RESOLVENT_NUM_THREADS" in done.stderr
    assert value in done.stderr


def test_an_unknown_instruction_set_lists_the_valid_ones():
    done = python("import resolvent", RESOLVENT_ISA="mmx")
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert "RESOLVENT_ISA" in done.stderr
    assert "mmx" in done.stderr
    assert rv.doctor().isa in done.stderr


def test_import_is_quick_and_leaves_plotting_alone():
    """matplotlib is loaded by the first plot, not by `import resolvent`."""
    done = python("import sys, resolvent; print('matplotlib' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_doctor_reports_this_build():
    report = rv.doctor()
    assert report.version == rv.__version__
    assert report.isa in report.isa_available
    assert report.threads == rv.get_threads()
    assert report.python.startswith(".".join(map(str, sys.version_info[:2])))
    assert report.numpy == np.__version__
    assert report.cuda == "not in this build"
    assert rv.__version__ in report._repr_html_()
    assert report.isa in str(report)


def test_the_version_has_one_source():
    from importlib.metadata import version

    assert rv.__version__ == version("resolvent")


# ---------------------------------------------------------------------------------------------
# The dtype policy, on the simplest function.


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.int32, np.float64),
        (np.uint8, np.float64),
        (np.bool_, np.float64),
        (np.complex64, np.complex64),
        (np.complex128, np.complex128),
    ],
)
def test_types_in_and_out(given, kept):
    x = np.array([1, 0, 1]).astype(given)
    assert rv.hippo.system("legs", 3).apply(x).dtype == kept


@pytest.mark.parametrize("given", [np.longdouble, np.clongdouble, object, "U3", "datetime64[s]"])
def test_types_that_would_lose_information_are_refused_by_name(given):
    x = np.array([1, 0, 1]).astype(given)
    with pytest.raises(rv.DtypeError) as info:
        rv.hippo.system("legs", 3).apply(x)
    assert_message(info, "x", x.dtype.name)


def test_integers_beyond_53_bits_are_rounded():
    """Integers are converted to float64; 2^53 + 1 becomes its even neighbour."""
    x = np.array([2**53 + 1, 0, 0])
    assert rv.hippo.system("legs", 3).apply(x)[0] == -float(2**53)
