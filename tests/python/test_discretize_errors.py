"""Local errors in 50 digits, stability regions, limits of the step, aliasing."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import pytest
from hippo_support import EPS, assert_bits, assert_within
from hypothesis import strategies as st

import resolvent as rv
from oracles import discretize as oracle
from oracles import hippo as hippo_oracle

RULES = oracle.RULES
RATIONAL = oracle.RATIONAL
EXPONENTIAL = oracle.EXPONENTIAL

# The accuracy that local_error promises, relative to the error itself and to the condition number
# of that error where a rounding of e*lambda, made before the function begins, changes it more.
LOCAL = 1e-13

# alpha of gbt: on both sides of 1/2, at the ends, and next to the value where the order changes.
GBT = [("gbt", alpha) for alpha in (0.0, 0.25, 0.5 - 2.0**-30, 0.5, 0.5 + 1e-3, 0.75, 1.0)]
CASES = [("forward", 0.9), ("backward", 0.1), ("bilinear", 0.9), *GBT]


def _radii():
    return np.concatenate([10.0 ** np.arange(-12.0, 4.0), [0.3, 0.7, 1.5, 5.0, 20.0]])


def _points(turns=7):
    """|z| from 1e-12 to 1e3 in all directions whose exponential float64 holds."""
    angles = np.exp(2j * np.pi * (np.arange(turns) + 0.25) / turns)
    z = np.concatenate([np.outer(_radii(), angles).ravel(), 1j * _radii(), -1j * _radii()])
    return z[z.real < 600]


# ---------------------------------------------------------------------------------------------
# local_error.


@pytest.mark.parametrize("of", ["state", "input"])
@pytest.mark.parametrize(("rule", "alpha"), [*CASES, ("mamba", 0.5)])
def test_local_error_in_all_directions(rule, alpha, of):
    points = _points()
    values = rv.discretize.local_error(points, 1.0, rule, alpha=alpha, of=of)
    assert values.shape == points.shape
    for z, value in zip(points, values, strict=True):
        expected, condition = oracle.local_error(z, rule, alpha, of)
        bound = LOCAL * max(1.0, condition) * float(abs(expected))
        assert abs(value - complex(expected)) <= bound, (z, value, complex(expected), condition)


@pytest.mark.parametrize("of", ["state", "input"])
@pytest.mark.parametrize(("rule", "alpha"), [*CASES, ("mamba", 0.5)])
def test_local_error_of_reals(rule, alpha, of):
    """Real eigenvalues give real errors; 1e-300 underflows to 0 and nothing else."""
    radii = _radii()
    points = np.concatenate([-radii, radii[radii < 600], [0.0, 1e-300]])
    values = rv.discretize.local_error(points, 1.0, rule, alpha=alpha, of=of)
    assert values.dtype == np.float64
    for z, value in zip(points, values, strict=True):
        expected, condition = oracle.local_error(z, rule, alpha, of)
        if not np.isfinite(float(abs(expected))):
            assert np.isinf(value)
            continue
        bound = LOCAL * max(1.0, condition) * float(abs(expected)) + 1e-320
        assert abs(value - float(expected)) <= bound, (z, value, float(expected), condition)


@pytest.mark.parametrize("rule", EXPONENTIAL)
def test_exponential_rules_have_no_error_in_the_state(rule):
    values = rv.discretize.local_error(_points(), 1.0, rule)
    assert (values == 0).all()
    if rule != "mamba":
        assert (rv.discretize.local_error(_points(), 1.0, rule, of="input") == 0).all()


@pytest.mark.parametrize(
    ("rule", "alpha", "of", "power", "coefficient"),
    [
        ("forward", 0.5, "state", 2, -1 / 2),
        ("backward", 0.5, "state", 2, 1 / 2),
        ("bilinear", 0.9, "state", 3, 1 / 12),
        ("gbt", 0.5, "state", 3, 1 / 12),
        ("gbt", 0.3, "state", 2, -0.2),
        ("gbt", 0.7, "state", 2, 0.2),
        ("forward", 0.5, "input", 1, -1 / 2),
        ("backward", 0.5, "input", 1, 1 / 2),
        ("bilinear", 0.9, "input", 2, 1 / 12),
        ("gbt", 0.3, "input", 1, -0.2),
        ("mamba", 0.5, "input", 1, -1 / 2),
    ],
)
def test_leading_coefficients(rule, alpha, of, power, coefficient):
    """R - e^z = (alpha - 1/2) z^2, bilinear z^3/12; beta - phi_1 one power less."""
    for direction in (1.0, -1.0, 1j, np.exp(0.7j)):
        for size in (1e-9, 1e-6):
            z = size * direction
            value = rv.discretize.local_error(np.array([z]), 1.0, rule, alpha=alpha, of=of)[0]
            # the next term of either series is below 3 z times the first
            assert abs(value / (coefficient * z**power) - 1) <= 3 * size + 64 * EPS


@pytest.mark.parametrize("rule", RATIONAL)
def test_local_error_is_the_difference_of_the_maps(rule):
    """At moderate z: the discretised diagonal minus the exponential."""
    eigenvalues = np.array([-1.0 + 2j, -0.3, 3j, -5.0 - 1j, 0.5])
    steps = np.array([0.5, 1.0])
    errors = rv.discretize.local_error(eigenvalues, steps, rule, alpha=0.3)
    model = (eigenvalues, np.ones(5))
    maps = rv.discretize.discretize(model, steps, rule, alpha=0.3)
    exact = rv.discretize.discretize(model, steps, "zoh")
    assert_within(errors, maps.A - exact.A, 32 * EPS * np.abs(maps.A).max())
    inputs = rv.discretize.local_error(eigenvalues, steps, rule, alpha=0.3, of="input")
    wanted = (maps.B - exact.B) / steps[:, None]
    assert_within(inputs, wanted, 32 * EPS * np.abs(wanted).max() + 32 * EPS)


def test_shapes_of_local_error():
    """steps.shape + eigenvalues.shape; scalars give a scalar."""
    for steps, eigenvalues in (
        ((2, 3), (4,)),
        ((), (4,)),
        ((3,), ()),
        ((0,), (4,)),
        ((2,), (1, 5)),
    ):
        value = rv.discretize.local_error(np.full(eigenvalues, -1j), np.ones(steps), "bilinear")
        assert np.shape(value) == steps + eigenvalues
    eigenvalues, steps = np.array([-1.0, -2.0 + 1j]), np.array([0.1, 0.4, 0.2])
    table = rv.discretize.local_error(eigenvalues, steps, "forward")
    for i, step in enumerate(steps):
        for j, value in enumerate(eigenvalues):
            one = rv.discretize.local_error(value, step, "forward")
            assert abs(table[i, j] - one) <= 4 * EPS * abs(one)


@pytest.mark.parametrize(("rule", "alpha"), [("backward", 0.5), ("bilinear", 0.5), ("gbt", 0.25)])
@pytest.mark.parametrize("of", ["state", "input"])
def test_poles_are_infinite(rule, alpha, of):
    """At z = 1/alpha the step divides by zero: infinity, not NaN and not a warning."""
    z = 1.0 / float(oracle.weight(rule, alpha))
    value = rv.discretize.local_error(np.array([z]), 1.0, rule, alpha=alpha, of=of)
    assert np.isinf(value[0])
    value = rv.discretize.local_error(np.array([z + 0j]), 1.0, rule, alpha=alpha, of=of)
    assert np.isinf(np.abs(value[0]))


def test_state_is_what_local_error_is_of():
    z = np.array([-0.5 + 1j])
    assert_bits(
        rv.discretize.local_error(z, 0.1, "forward"),
        rv.discretize.local_error(z, 0.1, "forward", of="state"),
    )


@hypothesis.given(
    st.sampled_from(RATIONAL),
    st.floats(0, 1),
    st.complex_numbers(min_magnitude=1e-6, max_magnitude=30, allow_nan=False),
)
def test_conjugate_eigenvalues_have_conjugate_errors(rule, alpha, z):
    values = rv.discretize.local_error(np.array([z, np.conj(z)]), 1.0, rule, alpha=alpha)
    hypothesis.assume(np.isfinite(values).all())
    assert values[1] == np.conj(values[0])


@hypothesis.given(
    st.sampled_from(RATIONAL),
    st.floats(0, 1),
    st.complex_numbers(min_magnitude=1e-9, max_magnitude=30, allow_nan=False),
)
def test_local_error_anywhere(rule, alpha, z):
    value = rv.discretize.local_error(np.array([z]), 1.0, rule, alpha=alpha)[0]
    expected, condition = oracle.local_error(z, rule, alpha)
    hypothesis.assume(np.isfinite(condition))
    assert abs(value - complex(expected)) <= LOCAL * max(1.0, condition) * float(abs(expected))


# ---------------------------------------------------------------------------------------------
# stability_region.


@pytest.mark.parametrize("rule", RULES)
def test_the_region_is_the_modulus_on_a_grid(rule):
    region = rv.discretize.stability_region(rule, (-3.0, 1.5, -2.0, 2.5), 40, alpha=0.3)
    assert region.growth.shape == (40, 40)
    assert_within(region.real, np.linspace(-3.0, 1.5, 40), 8 * EPS)
    assert_within(region.imag, np.linspace(-2.0, 2.5, 40), 8 * EPS)
    assert region.rule == rule
    for i, j in ((0, 0), (39, 0), (0, 39), (17, 5), (30, 39)):
        z = complex(region.real[j], region.imag[i])
        wanted = float(abs(oracle.growth(z, rule, 0.3)))
        assert abs(region.growth[i, j] - wanted) <= 32 * EPS * wanted * (1 + abs(z))
    z = region.real[None, :] + 1j * region.imag[:, None]
    wanted = np.abs(oracle.growth_array(z, rule, 0.3))
    assert_within(region.growth, wanted, 64 * EPS * wanted * (1 + np.abs(z) * wanted))


def test_the_region_that_is_taken_unless_told():
    region = rv.discretize.stability_region("bilinear")
    assert region.growth.shape == (200, 200)
    assert (region.real[0], region.real[-1]) == (-4.0, 4.0)
    assert (region.imag[0], region.imag[-1]) == (-4.0, 4.0)


def test_poles_in_the_region_are_infinite():
    for rule, alpha, pole in (("backward", 0.5, 1.0), ("bilinear", 0.5, 2.0), ("gbt", 0.25, 4.0)):
        region = rv.discretize.stability_region(rule, (0.0, 2 * pole, -1.0, 1.0), 3, alpha=alpha)
        assert np.isinf(region.growth[1, 1])
        assert np.isfinite(np.delete(region.growth.ravel(), 4)).all()


def test_known_regions():
    """forward: a disc around -1; bilinear: the left half-plane; backward: not a disc around 1."""
    box = (-3.05, 3.15, -3.0, 3.1)  # no point of the grid lies on a border
    z = {}
    for rule in ("forward", "bilinear", "backward", "zoh"):
        region = rv.discretize.stability_region(rule, box, 64)
        z[rule] = region.real[None, :] + 1j * region.imag[:, None], region.growth < 1
    assert (z["forward"][1] == (np.abs(z["forward"][0] + 1) < 1)).all()
    assert (z["backward"][1] == (np.abs(z["backward"][0] - 1) > 1)).all()
    for rule in ("bilinear", "zoh"):
        assert (z[rule][1] == (z[rule][0].real < 0)).all()


# ---------------------------------------------------------------------------------------------
# stability_limit.


SPECTRA = {
    "real": np.array([-1.0, -5.0, -0.2]),
    "pairs": np.array([-0.5 + 3j, -0.5 - 3j, -2.0]),
    "stiff": np.array([-1e-3 + 0.1j, -1e-3 - 0.1j, -1e6]),
    "with zero": np.array([0.0, -1.0]),
    "one": np.array([-0.25 + 0j]),
}


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("name", SPECTRA)
def test_stability_limit_of_gbt(name, alpha):
    expected = oracle.stability_limit(SPECTRA[name], "gbt", alpha)
    value = rv.discretize.stability_limit(SPECTRA[name], "gbt", alpha=alpha)
    assert value == expected or abs(value - expected) <= 16 * EPS * expected


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SPECTRA)
def test_stability_limit_by_scanning(name, rule):
    """No step up to the limit lets a mode grow, a slightly larger one does."""
    eigenvalues = SPECTRA[name]
    value = rv.discretize.stability_limit(eigenvalues, rule, alpha=0.3)
    assert isinstance(value, float)
    steps = np.geomspace(1e-9, 1e9, 4001)
    last = oracle.scan_stability(eigenvalues, rule, steps, 0.3)
    ratio = steps[1] / steps[0]
    if math.isinf(value):
        assert last == steps[-1]
    else:
        assert last <= value * (1 + 1e-9) <= last * ratio * (1 + 2e-9)
        for step, grows in ((value * (1 - 1e-6), False), (value * (1 + 1e-6), True)):
            result = rv.discretize.discretize(
                (eigenvalues, np.ones(len(eigenvalues))), step, rule, alpha=0.3
            )
            assert (np.abs(result.A).max() > 1 + 1e-12) == grows


@pytest.mark.parametrize("rule", RULES)
def test_unstable_systems_have_no_limit(rule):
    """None also where large steps of an implicit rule happen to damp."""
    for eigenvalues in (np.array([0.5]), np.array([-1.0, 1e-3 + 4j]), np.array([100.0])):
        assert rv.discretize.stability_limit(eigenvalues, rule) is None
    assert rv.discretize.stability_limit(np.diag([-1.0, 2.0]), rule) is None


@pytest.mark.parametrize("rule", RULES)
def test_the_imaginary_axis(rule):
    """Rotations: forward, and gbt below 1/2, grow at every step; the others never."""
    expected = None if rule in ("forward", "gbt") else math.inf
    for model in (np.array([3j, -3j]), np.array([[0.0, 3.0], [-3.0, 0.0]])):
        assert rv.discretize.stability_limit(model, rule, alpha=0.4) == expected


def test_limits_of_every_kind_of_model():
    """System, matrix, eigenvalues, Diagonal; a DPLR counts by its full matrix, not its diagonal."""
    limit = rv.discretize.stability_limit
    system = rv.hippo.system("legs", 16)
    for model in (system, system.A, -np.arange(1.0, 17.0), rv.spectral.diagonal(16, "real")):
        # LAPACK's eigenvalues of the dense matrix: those between have conditions of 1e10
        assert abs(limit(model, "forward") - 2 / 16) <= (1e-6 if model is system.A else 16 * EPS)
        assert limit(model, "bilinear") == math.inf
        assert limit(model, "zoh") == math.inf
    for half in (False, True):
        assert abs(limit(rv.spectral.dplr(system, half=half), "forward") - 2 / 16) <= 1e-9
    normal = rv.spectral.diagonal(8, "legs")
    expected = oracle.stability_limit(normal.eigenvalues, "forward")
    assert abs(limit(normal, "forward") - expected) <= 16 * EPS * expected
    half = rv.spectral.diagonal(8, "legs", half=True)
    assert abs(limit(half, "forward") - expected) <= 64 * EPS * expected


def test_a_low_rank_model_made_by_hand():
    """diag(-1, -2) - P Q* with P Q* = [[0, 3], [0, 1]]: eigenvalues -1 and -3."""
    model = rv.spectral.DPLR([-1.0, -2.0], [[3.0], [1.0]], [[0.0], [1.0]], [1.0, 1.0])
    assert abs(rv.discretize.stability_limit(model, "forward") - 2 / 3) <= 1e-12


@pytest.mark.parametrize("measure", ["legt", "lagt", "malmquist"])
def test_limits_of_systems_with_a_window(measure):
    options = {"poles": [0.5, 2.0, 1.0, 3.0, 0.1]} if measure == "malmquist" else {}
    system = rv.hippo.system(measure, 5, window=2.0, **options)
    a, _ = hippo_oracle.matrices(measure, 5, window=2.0, **options)
    expected = oracle.stability_limit(np.linalg.eigvals(a), "forward")
    # lagt's eigenvalue is defective: LAPACK moves it by eps^(1/5)
    loose = 0.02 if measure == "lagt" else 1e-9
    assert abs(rv.discretize.stability_limit(system, "forward") / expected - 1) <= loose
    if measure == "lagt":
        assert abs(rv.discretize.stability_limit(system, "forward") - 8.0) <= 16 * EPS * 8


@hypothesis.given(
    st.lists(st.complex_numbers(max_magnitude=100, allow_nan=False), min_size=1, max_size=4),
    st.floats(0.0, 0.49),
)
def test_limit_and_growth(values, alpha):
    """At the limit the fastest-growing mode has modulus 1, and half of it is stable."""
    eigenvalues = np.array([-abs(v.real) - 0.01 + 1j * v.imag for v in values])
    limit = rv.discretize.stability_limit(eigenvalues, "gbt", alpha=alpha)
    growth = np.abs(oracle.growth_array(limit * eigenvalues, "gbt", alpha)).max()
    assert abs(growth - 1) <= 1e-9
    assert np.abs(oracle.growth_array(limit / 2 * eigenvalues, "gbt", alpha)).max() <= 1


# ---------------------------------------------------------------------------------------------
# largest_step.


@pytest.mark.parametrize("tolerance", [1e-8, 1e-3, 0.05, 0.5])
@pytest.mark.parametrize(
    ("rule", "alpha"), [("forward", 0), ("backward", 0), ("bilinear", 0), ("gbt", 0.3)]
)
@pytest.mark.parametrize("name", [*SPECTRA, "unstable"])
def test_largest_step_by_scanning(name, rule, alpha, tolerance):
    eigenvalues = SPECTRA.get(name, np.array([0.3 + 1j, -2.0]))
    value = rv.discretize.largest_step(eigenvalues, rule, tolerance, alpha=alpha)
    steps = np.geomspace(1e-12, 1e4, 60001)
    # R - e^z of the scan is rounded to eps, the bracket is one step of the grid wide
    low, high = oracle.scan_accuracy(eigenvalues, rule, tolerance * (1 - 1e-6), steps, alpha)
    _, above = oracle.scan_accuracy(eigenvalues, rule, tolerance * (1 + 1e-6), steps, alpha)
    if math.isinf(value):
        assert math.isinf(above)
    else:
        assert low * (1 - 1e-6) <= value <= above * (1 + 1e-6), (low, value, high)


@pytest.mark.parametrize("rule", ["forward", "backward", "bilinear"])
def test_the_largest_step_has_that_error(rule):
    eigenvalues = np.array([-1.0 + 2j, -0.5, -3.0])
    for tolerance in (1e-12, 1e-6, 1e-2):
        step = rv.discretize.largest_step(eigenvalues, rule, tolerance)
        error = np.abs(rv.discretize.local_error(eigenvalues, step, rule)).max()
        assert abs(error / tolerance - 1) <= 1e-6
        below = np.linspace(0, step, 50)[1:-1]
        assert np.abs(rv.discretize.local_error(eigenvalues, below, rule)).max() <= tolerance


@pytest.mark.parametrize("rule", EXPONENTIAL)
def test_exponential_rules_have_no_largest_step(rule):
    for model in (np.array([-1.0]), np.array([2.0 + 1j]), rv.hippo.system("legs", 4)):
        assert rv.discretize.largest_step(model, rule, 1e-9) == math.inf


def test_tolerances_that_are_never_reached():
    """|1/(1+x) - e^-x| <= 0.2036, at x = 2.513 the root of (1+x)^2 = e^x; bilinear ends at 1."""
    assert rv.discretize.largest_step(np.array([-1.0]), "backward", 0.21) == math.inf
    assert rv.discretize.largest_step(np.array([-1.0]), "backward", 0.2) < 2.52
    assert rv.discretize.largest_step(np.array([-1.0]), "bilinear", 1.01) == math.inf
    assert math.isfinite(rv.discretize.largest_step(np.array([-1.0]), "bilinear", 0.99))


def test_zero_eigenvalues_never_err():
    assert rv.discretize.largest_step(np.array([0.0]), "forward", 1e-6) == math.inf


def test_largest_step_of_every_kind_of_model():
    step = rv.discretize.largest_step
    system = rv.hippo.system("legs", 6)
    wanted = step(-np.arange(1.0, 7.0), "bilinear", 1e-4)
    for model in (system, system.A, rv.spectral.diagonal(6, "real")):
        assert abs(step(model, "bilinear", 1e-4) / wanted - 1) <= 1e-9
    assert abs(step(rv.spectral.dplr(system), "bilinear", 1e-4) / wanted - 1) <= 1e-6


@hypothesis.given(
    st.complex_numbers(min_magnitude=1e-3, max_magnitude=1e3, allow_nan=False),
    st.sampled_from(["forward", "backward", "bilinear"]),
    st.floats(0.1, 10),
)
def test_largest_step_scales_with_the_spectrum(z, rule, factor):
    eigenvalues = np.array([-abs(z.real) + 1j * z.imag])
    one = rv.discretize.largest_step(eigenvalues, rule, 1e-4)
    other = rv.discretize.largest_step(factor * eigenvalues, rule, 1e-4)
    assert abs(other * factor / one - 1) <= 1e-6


def test_more_tolerance_is_a_larger_step():
    eigenvalues = np.array([-1.0 + 5j, -1.0 - 5j, -0.1])
    tolerances = np.geomspace(1e-12, 2.0, 60)
    for rule in ("forward", "backward", "bilinear"):
        steps = [rv.discretize.largest_step(eigenvalues, rule, float(t)) for t in tolerances]
        assert (np.diff([min(s, 1e300) for s in steps]) >= 0).all()


# ---------------------------------------------------------------------------------------------
# aliasing.


def test_aliasing_by_definition():
    eigenvalues = np.array([-1 + 1j, -1 - 1j, -1 + 10j, -1 - 10j, -3.0])
    for step in (0.1, np.pi / 10, 0.4, 5.0):
        result = rv.discretize.aliasing(eigenvalues, step)
        order = [int(np.argmin(np.abs(result.eigenvalues - v))) for v in eigenvalues]
        assert sorted(order) == list(range(5))
        expected = np.abs(eigenvalues.imag) * step >= np.pi
        np.testing.assert_array_equal(result.aliased[order], expected)
        assert result.aliased.dtype == bool
        assert result.count == expected.sum()
        assert abs(result.nyquist - np.pi / step) <= 4 * EPS * np.pi / step
        assert abs(result.largest_step - np.pi / 10) <= 4 * EPS
        assert result.step == step


def test_real_spectra_are_never_aliased():
    for model in (rv.hippo.system("legs", 8), np.diag([-1.0, -2.0]), np.array([-4.0])):
        result = rv.discretize.aliasing(model, 1e6)
        assert result.count == 0
        assert not result.aliased.any()
        assert result.largest_step == math.inf


def test_aliasing_of_normal_forms_is_that_of_their_diagonal():
    """The dense LegS has a real spectrum, its normal part frequencies up to N^2/pi."""
    system = rv.hippo.system("legs", 16)
    model = rv.spectral.dplr(system)
    result = rv.discretize.aliasing(model, 0.1)
    np.testing.assert_array_equal(result.eigenvalues, model.eigenvalues)
    np.testing.assert_array_equal(result.aliased, np.abs(model.eigenvalues.imag) >= np.pi / 0.1)
    assert result.count > 0
    wanted = np.pi / np.abs(model.eigenvalues.imag).max()
    assert abs(result.largest_step / wanted - 1) <= 4 * EPS
    diagonal = rv.spectral.diagonal(16, "lin")
    result = rv.discretize.aliasing(diagonal, 0.1)
    np.testing.assert_array_equal(result.aliased, np.abs(diagonal.eigenvalues.imag) >= 10 * np.pi)
    assert result.count == 0 or result.largest_step <= 0.1


def test_aliased_eigenvalues_cannot_be_told_from_others():
    """What the name means: an eigenvalue below the Nyquist frequency has the same exponential."""
    result = rv.discretize.aliasing(np.array([-0.2 + 50j]), 0.1)
    assert result.aliased.all()
    folded = -0.2 + 1j * (50 - 2 * result.nyquist)
    assert abs(folded.imag) < result.nyquist
    maps = rv.discretize.discretize((np.array([-0.2 + 50j, folded]), np.ones(2)), 0.1, "zoh").A
    assert abs(maps[0] - maps[1]) <= 32 * EPS
