"""Padé delays in exact fractions, and the diagonal initialisations."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hippo_support import ENTRY, EPS, SUM, assert_bits, assert_within
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import spectral as oracle

PAIRED = ("lin", "inv", "quad")
# Roots of the denominator: their condition grows like 10^(N/2) times eps.
ROOTS = 64


def polynomial(coefficients, s):
    """Value of ascending coefficients, in whatever arithmetic s has."""
    total = 0 * s
    for c in reversed(coefficients):
        total = total * s + c
    return total


def delays():
    """Windows as ints, fractions, text and floats, and what they mean exactly."""
    return [
        (1, Fraction(1)),
        (Fraction(7, 10), Fraction(7, 10)),
        ("0.7", Fraction(7, 10)),
        ("3/2", Fraction(3, 2)),
        (0.25, Fraction(1, 4)),
        (0.1, Fraction(0.1)),  # the float, not the tenth
    ]


# ---------------------------------------------------------------------------------------------
# The reference agrees with LegT.


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("window", [1, Fraction(2, 7)])
def test_legt_is_the_approximant_that_the_taylor_series_defines(order, window):
    numerator, denominator = oracle.pade_from_taylor(order, window)
    a, b, c = oracle.legt_fractions(order, window)
    for s in (Fraction(1, 3), Fraction(-5, 2), Fraction(4)):
        matrix = oracle.resolvent_fractions(a, s)
        state = oracle.solve_fractions(matrix, b)
        response = sum(u * v for u, v in zip(c, state, strict=True))
        assert response == polynomial(numerator, s) / polynomial(denominator, s)
        characteristic = oracle.determinant_fractions(matrix)
        assert characteristic == polynomial(denominator, s) / denominator[-1]


# ---------------------------------------------------------------------------------------------
# pade_delay.


@pytest.mark.parametrize(("window", "exact"), delays(), ids=str)
@pytest.mark.parametrize("order", [1, 2, 3, 7, 16])
def test_coefficients_are_those_of_the_definition(order, window, exact):
    found = rv.spectral.pade_delay(order, window)
    numerator, denominator = oracle.pade_from_taylor(order, exact)
    assert found.numerator == tuple(numerator)
    assert found.denominator == tuple(denominator)
    assert all(isinstance(c, Fraction) for c in (*found.numerator, *found.denominator))
    assert found.numerator[0] == found.denominator[0] == 1
    assert (found.order, found.window) == (order, exact)


@pytest.mark.parametrize("order", [1, 2, 5, 30, 100])
def test_taylor_coefficients_agree_to_order_2n_minus_1_and_no_further(order):
    found = rv.spectral.pade_delay(order)
    series = oracle.taylor_delay(2 * order + 1)
    rest = [
        sum(found.denominator[i] * series[m - i] for i in range(min(m, order) + 1))
        - (found.numerator[m] if m < order else 0)
        for m in range(2 * order + 1)
    ]
    assert not any(rest[:-1])
    assert rest[-1] != 0


@pytest.mark.parametrize("order", [1, 2, 5, 40])
def test_denominator_has_its_closed_form(order):
    """C(N, i) (2N - 1 - i)!/(2N - 1)! (sw)^i."""
    found = rv.spectral.pade_delay(order, 3)
    top = math.factorial(2 * order - 1)
    for i, c in enumerate(found.denominator):
        ratio = Fraction(math.factorial(2 * order - 1 - i), top)
        assert c == math.comb(order, i) * ratio * 3**i


@pytest.mark.parametrize("window", [1, "2/7"])
@pytest.mark.parametrize("order", [1, 2, 4, 7])
def test_transfer_function_and_characteristic_polynomial_of_legt(order, window):
    found = rv.spectral.pade_delay(order, window)
    a, b, c = oracle.legt_fractions(order, Fraction(window))
    for s in (Fraction(1, 3), Fraction(-5, 2), Fraction(11)):
        matrix = oracle.resolvent_fractions(a, s)
        state = oracle.solve_fractions(matrix, b)
        response = sum(u * v for u, v in zip(c, state, strict=True))
        assert polynomial(found.numerator, s) / polynomial(found.denominator, s) == response
        characteristic = polynomial(found.denominator, s) / found.denominator[-1]
        assert oracle.determinant_fractions(matrix) == characteristic


@pytest.mark.parametrize(("window", "exact"), delays(), ids=str)
@pytest.mark.parametrize("order", [1, 2, 6])
def test_integers_are_coprime_multiples(order, window, exact):
    found = rv.spectral.pade_delay(order, window)
    numerator, denominator = found.integers()
    values = (*numerator, *denominator)
    assert all(type(v) is int for v in values)
    assert math.gcd(*values) == 1
    factor = denominator[0]
    assert factor > 0
    assert [Fraction(v, factor) for v in numerator] == list(found.numerator)
    assert [Fraction(v, factor) for v in denominator] == list(found.denominator)


def test_the_approximants_that_textbooks_print():
    assert rv.spectral.pade_delay(1).integers() == ((1,), (1, 1))
    assert rv.spectral.pade_delay(2).integers() == ((6, -2), (6, 4, 1))
    assert rv.spectral.pade_delay(3).integers() == ((60, -24, 3), (60, 36, 9, 1))


@pytest.mark.parametrize("order", [1, 2, 8, 20])
def test_values_at_real_and_complex_points(order):
    found = rv.spectral.pade_delay(order, "0.7")
    points = np.array([0.0, 0.5, -0.3, 1 + 2j, 10j, -4 + 1j, 100.0])
    values = found(points)
    assert values.shape == points.shape
    exact = []
    with mp.workdps(oracle.DIGITS):
        for s in points:
            z = mp.mpc(complex(s))
            numerator = [mp.mpf(c.numerator) / c.denominator for c in found.numerator]
            denominator = [mp.mpf(c.numerator) / c.denominator for c in found.denominator]
            top, bottom = polynomial(numerator, z), polynomial(denominator, z)
            size = polynomial([abs(c) for c in numerator], abs(z)) / abs(top)
            size += polynomial(denominator, abs(z)) / abs(bottom)
            exact.append((complex(top / bottom), float(size)))
    expected, cancellation = np.array(exact).T
    bound = SUM * (order + 2) * EPS * cancellation.real * np.abs(expected)
    assert_within(values, expected, bound)
    assert abs(complex(found(0.0)) - 1) <= ENTRY * EPS
    assert found(points.reshape(7, 1)).shape == (7, 1)
    assert np.shape(found(0.3)) == ()


@pytest.mark.parametrize("order", [4, 12])
def test_it_delays(order):
    """Near 0 it is e^{-sw} to (s w)^(2N); on the imaginary axis no gain above one, little below."""
    found = rv.spectral.pade_delay(order, 0.5)
    omega = np.linspace(0, 2, 9)
    error = np.abs(found(1j * omega) - np.exp(-0.5j * omega))
    with mp.workdps(oracle.DIGITS):
        # the first Taylor coefficient that differs, times two for the following ones
        size = mp.factorial(order) * mp.factorial(order - 1)
        size /= mp.factorial(2 * order) * mp.factorial(2 * order - 1)
        bound = np.array([float(2 * size * (mp.mpf(float(w)) / 2) ** (2 * order)) for w in omega])
    assert (error <= bound + ENTRY * (order + 2) * EPS).all()
    assert (np.abs(found(1j * np.linspace(0, 300, 50))) <= 1 + ENTRY * order * EPS).all()


@pytest.mark.parametrize("order", [1, 2, 3, 8, 12])
def test_poles_and_zeros(order):
    found = rv.spectral.pade_delay(order, Fraction(7, 10))
    for roots, coefficients in (
        (found.poles(), found.denominator),
        (found.zeros(), found.numerator),
    ):
        assert roots.dtype == np.complex128
        assert roots.shape == (len(coefficients) - 1,)
        exact = np.array([complex(v) for v in oracle.pade_poles(list(coefficients))])
        for value in exact:
            bound = ROOTS * 10 ** (order / 2) * EPS * np.abs(exact).max()
            assert np.abs(roots - value).min() <= bound
    assert (found.poles().real < 0).all()
    assert (found.zeros().real > 0).all()


@pytest.mark.parametrize("order", [40, 100])
def test_poles_of_high_order_stay_in_the_left_half_plane(order):
    """Through float coefficients all digits would be lost."""
    found = rv.spectral.pade_delay(order)
    poles = found.poles()
    assert (poles.real < 0).all()
    # -(sum of the roots) = c_{N-1}/c_N, by Vieta
    total = -float(found.denominator[-2] / found.denominator[-1])
    assert abs(poles.sum() - total) <= ROOTS * order * EPS * np.abs(poles).sum()


@pytest.mark.parametrize("window", [1, "0.3"])
@pytest.mark.parametrize("order", [1, 2, 5, 10])
def test_step_response_by_residues(order, window):
    found = rv.spectral.pade_delay(order, window)
    t = float(Fraction(window)) * np.array([0.0, 0.2, 0.7, 0.99, 1.0, 1.3, 2.0, 5.0])
    expected = oracle.pade_step_response(list(found.numerator), list(found.denominator), t)
    response = found.step_response(t)
    assert response.shape == t.shape
    assert response.dtype == np.float64
    size = np.linalg.norm(rv.hippo.system("legt", order).A, 2)
    assert_within(response, expected, ROOTS * (order + 1) * EPS * size)
    assert abs(response[0]) <= ROOTS * (order + 1) * EPS * size


def test_step_response_becomes_a_delay():
    response = rv.spectral.pade_delay(20, 2.0).step_response(np.array([1.0, 3.0, 10.0]))
    assert abs(response[0]) < 0.05
    assert abs(response[1] - 1) < 0.05
    assert abs(response[2] - 1) < 1e-6


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_state_space_is_that_of_legt(order):
    found = rv.spectral.pade_delay(order, "0.7")
    a, b, c = found.to_state_space()
    assert (a.shape, b.shape, c.shape) == ((order, order), (order,), (order,))
    for s in (0.5, 2j, 3 + 5j):
        matrix = s * np.eye(order) - a
        bound = ROOTS * (order + 1) * EPS * np.linalg.cond(matrix)
        state = np.linalg.solve(matrix, b)
        assert abs(c @ state - found(s)) <= bound * np.linalg.norm(c) * np.linalg.norm(state)
    legt = rv.hippo.system("legt", order, window=0.7)
    similar = np.poly(a)
    assert_within(similar, np.poly(legt.A), 1e3 * order**2 * EPS * np.abs(similar))


@given(st.integers(1, 12), st.fractions(Fraction(1, 50), 50, max_denominator=97))
def test_only_the_product_of_s_and_window_counts(order, window):
    one, other = rv.spectral.pade_delay(order), rv.spectral.pade_delay(order, window)
    assert other.window == window
    for a, b in ((one.numerator, other.numerator), (one.denominator, other.denominator)):
        assert [c * window**i for i, c in enumerate(a)] == list(b)


# ---------------------------------------------------------------------------------------------
# diagonal.


@pytest.mark.parametrize("kind", PAIRED)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("order", [2, 4, 10, 64])
def test_s4d_formulas(kind, sign, order):
    expected = oracle.s4d(order, kind)
    expected = expected if sign == 1 else expected.conj()
    half = rv.spectral.diagonal(order, kind, half=True, sign=sign)
    bound = ENTRY * EPS * np.abs(expected)
    assert_within(half.eigenvalues, expected, bound)
    assert (half.eigenvalues.real == -0.5).all()
    assert (half.multiplicity == 2).all()
    assert (half.kind, half.half, half.order) == (kind, True, order)
    full = rv.spectral.diagonal(order, kind, sign=sign)
    assert_bits(full.eigenvalues, np.concatenate([half.eigenvalues, half.eigenvalues.conj()]))
    assert (full.multiplicity == 1).all()
    for one in (half, full):
        assert (one.B == 1).all()
        assert one.B.shape == one.eigenvalues.shape
        assert one.C is None


@pytest.mark.parametrize("order", [1, 2, 7])
def test_s4d_real(order):
    found = rv.spectral.diagonal(order, "real")
    assert_within(found.eigenvalues, oracle.s4d(order, "real"), 0.0)
    assert (found.multiplicity == 1).all()
    assert (found.B == 1).all()


@pytest.mark.parametrize("order", [1, 2, 5, 64])
def test_s4d_legs_is_the_normal_part_of_legs(order):
    form = rv.spectral.dplr(rv.hippo.system("legs", order))
    full = rv.spectral.diagonal(order, "legs")
    assert_bits(full.eigenvalues, form.eigenvalues)
    assert_within(full.B, form.B, ENTRY * EPS * np.abs(form.B))
    count = (order + 1) // 2
    for sign in (1, -1):
        half = rv.spectral.diagonal(order, "legs", half=True, sign=sign)
        kept = form.eigenvalues[:count]
        assert_within(half.eigenvalues, kept if sign == 1 else kept.conj(), 0.0)
        assert half.multiplicity.tolist() == [2] * (order // 2) + [1] * (order % 2)
        assert_within(half.B, form.B[:count], ENTRY * EPS * np.abs(form.B[:count]))
        j = order // 2 - 1
        if j >= 0:
            mu, weight = oracle.normal_pair("legs", order, j)
            assert oracle.relative_error(sign * half.eigenvalues[j].imag, mu) <= 1e-13
            assert oracle.relative_error(half.B[j].real ** 2, weight) <= 2e-13


def test_the_approximations_approach_legs_where_they_claim_to():
    """Lin matches the spacing near zero badly, inv the largest: mu_0 ~ N^2/pi."""
    order = 256
    legs = rv.spectral.diagonal(order, "legs", half=True).eigenvalues.imag
    inv = np.sort(rv.spectral.diagonal(order, "inv", half=True).eigenvalues.imag)[::-1]
    assert abs(inv[0] / legs[0] - 1) < 0.02
