"""Observed orders of the rules, against outputs that one matrix exponential gives exactly."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.signal
from hippo_support import EPS, assert_within

import resolvent as rv
from oracles import discretize as oracle
from oracles import hippo as hippo_oracle

RULES = oracle.RULES
OUTPUTS = ("state-after", "state-before")
HOLDS = ("left", "right", "midpoint", "average")

STEPS = (1 / 100, 1 / 200, 1 / 400)
ORDER = 6
# u(0) = 0 and no higher frequency than a step of 1/100 follows: a smooth input
SMOOTH = oracle.sine(7.0) + oracle.sine(19.0, 0.3)
JUMP = oracle.cosine(7.0)  # u(0) = 1: a jump at the start
POLYNOMIAL = oracle.polynomial([0.0, 0.0, 3.0, -2.0])

# A fitted order over three halvings is within this of its limit: the next term of the error is
# a few percent of the first at a step of 1/100, and halves with the step.
ORDER_MARGIN = 0.1
# Errors of the library and of the oracle's recurrence: the same numbers but for rounding, of which
# 400 steps leave less than 1e-12 of max |y|, and but for the library's reference.
ROUNDING = 1e-11


def matrices(measure="legs", order=ORDER):
    return hippo_oracle.matrices(measure, order)


def ones(order=ORDER):
    return np.ones(order) / np.sqrt(order)


@functools.cache
def _errors(rule, output, hold, signal_name="smooth", alpha=0.3):
    signal = {"smooth": SMOOTH, "jump": JUMP, "polynomial": POLYNOMIAL}[signal_name]
    a, b = matrices()
    return oracle.convergence_errors(
        a, b, ones(), signal, STEPS, 1.0, rule, output=output, hold=hold, alpha=alpha
    )


def converge(rule, signal=SMOOTH, *, system=None, steps=STEPS, **options):
    system = rv.hippo.system("legs", ORDER) if system is None else system
    return rv.discretize.convergence(system, rule, signal, steps, **options)


# ---------------------------------------------------------------------------------------------
# The oracle itself.


@pytest.mark.parametrize("signal", [SMOOTH, JUMP, POLYNOMIAL], ids=["smooth", "jump", "polynomial"])
def test_the_signals_are_what_their_generators_make(signal):
    """The exact output against variation of constants, by quadrature of the function itself."""
    a, b = matrices()
    by_quadrature = oracle.variation_of_constants(a, b, 0.75, lambda s: signal(s), nodes=40)
    exact = oracle.exact_output(a, b, ones(), signal, [0.75])[0]
    assert abs(ones() @ by_quadrature - exact) <= 64 * EPS * np.abs(by_quadrature).sum()
    grid = oracle.exact_grid(a, b, ones(), signal, 0.125, 6)
    assert abs(grid[-1] - exact) <= 16 * EPS
    assert grid[0] == 0.0


@pytest.mark.parametrize("rule", ["forward", "backward", "bilinear", "gbt", "zoh", "foh"])
def test_the_oracle_is_scipys_simulation_of_its_discrete_system(rule):
    """dlsim of cont2discrete is the state-before convention, with its C and D, and its foh."""
    a, b = matrices()
    count, step = 100, 0.01
    method = {"forward": "euler", "backward": "backward_diff"}.get(rule, rule)
    system = scipy.signal.cont2discrete(
        (a, b[:, None], ones()[None, :], np.zeros((1, 1))), step, method=method, alpha=0.3
    )
    u = oracle.samples(SMOOTH, step, count, "left")
    _, y, _ = scipy.signal.dlsim(system, u)
    mine = oracle.simulate(
        a, b, ones(), SMOOTH, step, count, rule, alpha=0.3, output="state-before"
    )
    # SciPy's foh starts its state x_0 - B_next u_0 at zero, which is the same for u(0) = 0
    assert_within(mine, y[:, 0], 1e-12)


# ---------------------------------------------------------------------------------------------
# Errors, value by value.


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("rule", RULES)
def test_errors_are_those_of_the_recurrence(rule, output, hold):
    result = converge(rule, output=output, hold=hold, alpha=0.3)
    expected = _errors(rule, output, hold)
    assert_within(result.errors, expected, 2 * result.reference_error + ROUNDING)
    assert abs(result.order - oracle.fitted_order(STEPS, expected)) <= 1e-6
    np.testing.assert_array_equal(result.steps, STEPS)
    assert result.rule == rule
    assert result.output == output
    assert result.hold == hold
    assert result.clock == "invariant"


@pytest.mark.parametrize("signal", ["jump", "polynomial"])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("rule", RULES)
def test_errors_for_other_signals(rule, output, signal):
    function = {"jump": JUMP, "polynomial": POLYNOMIAL}[signal]
    result = converge(rule, function, output=output, alpha=0.3)
    expected = _errors(rule, output, "left", signal)
    assert_within(result.errors, expected, 2 * result.reference_error + ROUNDING)


def test_foh_does_not_look_at_hold():
    wanted = converge("foh").errors
    for hold in HOLDS[1:]:
        assert_within(converge("foh", hold=hold).errors, wanted, ROUNDING)


@pytest.mark.parametrize("measure", ["legt", "lagt", "malmquist"])
def test_other_systems_windows_and_readouts(measure):
    options = {"poles": [0.5, 2.0, 1.0, 3.0, 4.0]} if measure == "malmquist" else {}
    system = rv.hippo.system(measure, 5, window=0.5, **options)
    a, b = hippo_oracle.matrices(measure, 5, window=0.5, **options)
    c = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    steps = (1 / 64, 1 / 128)
    for output in OUTPUTS:
        result = converge("bilinear", system=system, steps=steps, C=c, duration=0.5, output=output)
        expected = oracle.convergence_errors(a, b, c, SMOOTH, steps, 0.5, "bilinear", output=output)
        assert_within(result.errors, expected, 2 * result.reference_error + 10 * ROUNDING)


def test_the_readout_that_is_taken_unless_told():
    given = converge("bilinear", C=ones())
    assert_within(converge("bilinear").errors, given.errors, ROUNDING)
    scaled = converge("bilinear", C=1e6 * ones())
    assert_within(scaled.errors, given.errors, ROUNDING)  # relative to max |y|


# ---------------------------------------------------------------------------------------------
# Orders.


EXPECTED_ORDERS = [
    # Held over [t_k, t_{k+1}) the left sample is half a step late: first order whatever the rule.
    *[(rule, "state-after", "left", 1) for rule in ("forward", "backward", "bilinear", "zoh")],
    *[(rule, "state-after", "right", 1) for rule in ("bilinear", "zoh")],
    *[("bilinear", "state-after", hold, 2) for hold in ("midpoint", "average")],
    *[("zoh", "state-after", hold, 2) for hold in ("midpoint", "average")],
    ("foh", "state-after", "left", 2),
    ("mamba", "state-after", "left", 1),
    ("mamba", "state-after", "midpoint", 1),
    ("gbt", "state-after", "midpoint", 1),
    # Control's convention: C and D carry the half step.
    ("bilinear", "state-before", "left", 2),
    ("bilinear", "state-before", "midpoint", 1),
    ("forward", "state-before", "left", 1),
    ("backward", "state-before", "left", 1),
    ("zoh", "state-before", "left", 1),
    ("zoh", "state-before", "midpoint", 2),
    ("foh", "state-before", "left", 2),
]


@pytest.mark.parametrize(("rule", "output", "hold", "order"), EXPECTED_ORDERS)
def test_orders_on_a_smooth_input(rule, output, hold, order):
    result = converge(rule, output=output, hold=hold, alpha=0.3)
    assert abs(result.order - order) <= ORDER_MARGIN


def test_bilinear_is_of_second_order_only_in_controls_convention():
    """The errors differ by a factor of tens at 400 steps, the rule being the same."""
    after, before = (converge("bilinear", output=output) for output in OUTPUTS)
    assert abs(after.order - 1) <= 0.02
    assert abs(before.order - 2) <= 0.02
    assert after.errors[-1] > 50 * before.errors[-1]


def test_a_jump_at_the_start_costs_an_order():
    """u(0) = 1 is not smooth on the line: bilinear in control's convention answers at once."""
    assert abs(converge("bilinear", JUMP, output="state-before").order - 1) <= ORDER_MARGIN
    assert abs(converge("foh", JUMP).order - 2) <= ORDER_MARGIN


def test_rules_that_are_exact_for_their_inputs():
    """zoh for a constant, foh for a straight line: only rounding is left."""
    constant = oracle.polynomial([1.0])
    line = oracle.polynomial([0.5, -2.0])
    assert converge("zoh", constant).errors.max() <= ROUNDING
    assert converge("foh", constant).errors.max() <= ROUNDING
    assert converge("foh", line).errors.max() <= ROUNDING
    assert converge("zoh", line, hold="average").errors.max() > 1e-6


def test_constant_signals_may_be_python_functions():
    """What the callable returns is broadcast; a constant is a signal too."""
    result = converge("zoh", lambda t: np.ones_like(t))
    assert result.errors.max() <= ROUNDING


def test_the_order_is_fitted_only_above_the_noise():
    """The fit leaves out errors that are rounding; with none left there is no order."""
    result = converge("foh", oracle.polynomial([0.5, -2.0]))
    assert np.isnan(result.order)


def test_the_reference_says_how_good_it_is():
    """A kink at an instant that no grid hits: the deviation of the errors is within the claim."""
    a, b = matrices()
    kink = 1 / np.sqrt(3.0)
    ramp = oracle.polynomial([0.0, 1.0])
    steps = np.array([1 / 16, 1 / 32])
    result = converge("zoh", oracle.ramp_from(kink), steps=steps)
    expected = []
    for step in steps:
        count = round(1 / step)
        times = step * np.arange(1, count + 1)
        truth = oracle.exact_output(a, b, ones(), ramp, times - kink)
        y = oracle.simulate(a, b, ones(), oracle.ramp_from(kink), step, count, "zoh")
        expected.append(np.abs(y - truth).max() / np.abs(truth).max())
    assert_within(result.errors, expected, 4 * result.reference_error + ROUNDING)
    assert result.reference_error < 1e-3 * min(expected)


@pytest.mark.parametrize("rule", ["bilinear", "zoh", "foh"])
def test_the_reference_of_smooth_signals_is_near_rounding(rule):
    assert 0 <= converge(rule).reference_error <= 1e-11


# ---------------------------------------------------------------------------------------------
# LegS's own clock.


SCALED_STEPS = (1 / 100, 1 / 200, 1 / 400)


@pytest.mark.parametrize("hold", ["left", "midpoint"])
@pytest.mark.parametrize("rule", hippo_oracle.RULES)
def test_errors_on_the_scaled_clock(rule, hold):
    """Dense stepping against the projection of the samples by quadrature, at the end."""
    result = converge(rule, clock="scaled", steps=SCALED_STEPS, alpha=0.3, hold=hold)
    expected = oracle.scaled_errors(
        "legs", ORDER, SMOOTH, SCALED_STEPS, 1.0, rule, alpha=0.3, hold=hold
    )
    assert_within(result.errors, expected, 1e-10 * (1 + expected))
    assert result.clock == "scaled"
    if rule == "exact":
        assert result.errors.max() <= 1e-12
    else:
        assert abs(result.order - oracle.fitted_order(SCALED_STEPS, expected)) <= 1e-6


def test_orders_on_the_scaled_clock():
    """bilinear weighs the input at one end and is of first order; bilinear-split, at both, is not.

    Its order is below 2 on coarse grids, since the first steps, of ratio 2, do not shrink.
    """
    steps = 1 / np.array([500, 1000, 2000])
    assert abs(converge("bilinear", clock="scaled", steps=steps).order - 1) <= ORDER_MARGIN
    assert abs(converge("forward", clock="scaled", steps=steps).order - 1) <= ORDER_MARGIN
    split = converge("bilinear-split", clock="scaled", steps=steps)
    assert 1.5 <= split.order <= 2.1


def test_the_duration_scales_the_scaled_clock():
    """LegS has no time scale: u(2t) up to 1/2 is u(t) up to 1."""
    one = converge("bilinear", SMOOTH, clock="scaled", steps=SCALED_STEPS)
    half = converge(
        "bilinear",
        lambda t: SMOOTH(2 * np.asarray(t)),
        clock="scaled",
        steps=np.array(SCALED_STEPS) / 2,
        duration=0.5,
    )
    assert_within(half.errors, one.errors, 1e-10)
