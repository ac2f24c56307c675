"""Rational transfer functions from the definitions: fractions, 50 digits, dense matrices.

G(z) = (b_1 + b_2 z + ... + b_d z^{d-1})/(1 + a_1 z + ... + a_d z^d) + direct in powers of the delay
z, so that K_k is the coefficient of z^k and poles are the roots of zeta^d + a_1 zeta^{d-1} + ... .
The plain loops take numbers of any kind. A float64 is a fraction, and so fractions know the exact
answer to what the library was given.

Functions named `..._rounding` bound what rounding may do, per unit of eps and to first order, by
running the errors through the recurrence beside the numbers.

Sources: Jury, *Theory and Application of the z-Transform Method* (reflection coefficients);
Gantmacher, *The Theory of Matrices* (Routh's table, Faddeev's matrices); Antoulas, *Approximation
of Large-Scale Dynamical Systems* (Gramians, Hankel singular values).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import mpmath as mp
import numpy as np

from . import exact

DIGITS = exact.DIGITS


# ---------------------------------------------------------------------------------------------
# Numbers and models.


def fractions(values):
    """The exact values of real floats, as (nested lists of) fractions."""
    values = np.asarray(values)
    return [fractions(v) for v in values] if values.ndim else Fraction(float(values))


def floats(values):
    """The nearest float64 or complex128 array of a list of numbers of any kind."""
    kind = complex if any(isinstance(v, mp.mpc | complex) for v in values) else float
    return np.array([kind(v) for v in values])


def number(value):
    """A 50-digit number with exactly the same value."""
    return exact.to_mp(np.asarray(value)).item()


def numbers(values):
    """A list of 50-digit numbers with exactly the same values."""
    return list(exact.to_mp(np.asarray(values)))


def spread_poles(order, radius=0.9, seed=0, complex_valued=False):
    """Distinct poles all around the circle, between 0.7 radius and radius.

    Conjugate pairs, and for odd orders one negative real pole, unless `complex_valued`.
    """
    rng = np.random.default_rng(seed)
    moduli = radius * (0.7 + 0.3 * rng.random(order))
    if complex_valued:
        return moduli * np.exp(2j * np.pi * (np.arange(order) + 0.3 * rng.random(order)) / order)
    pairs = order // 2
    turns = np.pi * (np.arange(pairs) + 0.2 + 0.6 * rng.random(pairs)) / (pairs + 0.5)
    upper = moduli[:pairs] * np.exp(1j * turns)
    return np.concatenate([upper, upper.conj(), -moduli[2 * pairs :]])


def model(order, radius=0.9, seed=0, dtype=np.float64):
    """(b, a) with poles as above and a random numerator."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed + 1000)
    complex_valued = dtype.kind == "c"
    a = np.poly(spread_poles(order, radius, seed, complex_valued))[1:]
    b = rng.standard_normal(order)
    if complex_valued:
        return (b + 1j * rng.standard_normal(order)).astype(dtype), a.astype(dtype)
    return b.astype(dtype), a.real.astype(dtype)


# ---------------------------------------------------------------------------------------------
# Kernels, recurrences, responses.


def series(b, a, length, direct=0):
    """K_0 ... K_{length-1}: K_k = b_{k+1} - sum_i a_i K_{k-i}, and direct in K_0."""
    out = []
    for k in range(length):
        value = b[k] if k < len(b) else 0 * b[0]
        for i in range(min(len(a), k)):
            value = value - a[i] * out[k - 1 - i]
        out.append(value)
    out[0] = out[0] + direct
    return out


def kernel(b, a, length, direct=0.0):
    """The same in 50 digits, rounded."""
    with mp.workdps(DIGITS):
        return floats(series(numbers(b), numbers(a), length, number(direct)))


def _inner(a, length):
    """|coefficients| of 1/(1 + a_1 z + ...): how an error spreads over later steps."""
    return np.abs(kernel([1.0], a, length))


def _absolute_sum(a, values):
    """sum_i |a_i| |v_{k-i}|."""
    return np.convolve(np.abs(np.append(0, a)), np.abs(values))[: len(values)]


def _padded(values, length):
    out = np.zeros(length)
    out[: min(len(values), length)] = np.abs(values[:length])
    return out


def kernel_rounding(b, a, length):
    """A step commits (d + 2) eps times its absolute terms, in whatever order they are summed."""
    values = np.abs(kernel(b, a, length))
    local = values + _padded(b, length) + _absolute_sum(a, values)
    return (len(a) + 2) * np.convolve(_inner(a, length), local)[:length]


def evaluate(b, a, z, direct=0):
    """G(z) by Horner's rule."""
    top, bottom = 0 * z, 0 * z
    for c in reversed(list(b)):
        top = top * z + c
    for c in reversed([1, *a]):
        bottom = bottom * z + c
    return top / bottom + direct


def roots_of_unity(length):
    """e^{-2 pi i l/L} in the current precision, and exactly real or imaginary where they are."""
    return [mp.mpc(mp.cospi(mp.mpf(-2 * k) / length), mp.sinpi(mp.mpf(-2 * k) / length))
            for k in range(length)]  # fmt: skip


def aliased(b, a, length, direct=0.0):
    """The inverse DFT of G at the roots of unity, in 50 digits, rounded."""
    with mp.workdps(DIGITS):
        turns = roots_of_unity(length)
        b, a = numbers(b), numbers(a)
        samples = [evaluate(b, a, z, number(direct)) for z in turns]
        out = [
            mp.fsum(g / turns[j * k % length] for j, g in enumerate(samples)) / length
            for k in range(length)
        ]
        real = all(isinstance(v, mp.mpf) for v in (*b, *a))
        return floats([v.real if real else v for v in out])


def aliased_rounding(b, a, length):
    """By transforms: log2 L eps times the absolute sums that go into each, per unit of eps."""
    turns = np.exp(-2j * np.pi * np.arange(length) / length)
    bottom = np.polyval(np.append(1, a)[::-1], turns)
    size = np.abs(np.polyval(np.asarray(b)[::-1], turns) / bottom)
    sums = np.sum(np.abs(b)) + size * (1 + np.sum(np.abs(a)))
    return (math.log2(length) + 2) * float(np.mean(sums / np.abs(bottom) + size))


def response(b, a, omega, direct=0.0):
    """G at z = e^{-i omega}, in 50 digits, rounded."""
    with mp.workdps(DIGITS):
        b, a = numbers(b), numbers(a)
        turns = [mp.expj(-mp.mpf(float(w))) for w in np.ravel(omega)]
        return floats([mp.mpc(evaluate(b, a, z, number(direct))) for z in turns])


def response_rounding(b, a, omega):
    """Both polynomials to (d + 1) eps of their absolute sums."""
    z = np.exp(-1j * np.ravel(omega))
    bottom = np.polyval(np.append(1, a)[::-1], z)
    size = np.abs(np.polyval(np.asarray(b)[::-1], z) / bottom)
    sums = np.sum(np.abs(b)) + size * (1 + np.sum(np.abs(a)))
    return (len(a) + 1) * (sums / np.abs(bottom) + size)


def recur(u, b, a, direct=0.0, x0=None):
    """(y, x): x_k = u_k - sum a_i x_{k-i}, y_k = sum b_j x_{k-j+1} + direct u_k; in 50 digits.

    x is the register (x_{L-1}, ..., x_{L-d}); x0 is (x_{-1}, ..., x_{-d}).
    """
    with mp.workdps(DIGITS):
        b, a, direct = numbers(b), numbers(a), number(direct)
        register = [mp.mpf(0)] * len(a) if x0 is None else numbers(x0)
        outputs = []
        for value in numbers(u):
            newest = value - mp.fsum(p * q for p, q in zip(a, register, strict=True))
            register = [newest, *register[:-1]]
            y = mp.fsum(p * q for p, q in zip(b, register, strict=True))
            outputs.append(y + direct * value)
        return floats(outputs), floats(register)


def recur_rounding(u, b, a, direct=0.0, x0=None):
    """Bounds for (y, x) per unit of eps; shapes (L,) and (d,)."""
    d, length = len(a), len(u)
    earlier = np.zeros(d) if x0 is None else np.abs(np.asarray(x0))[::-1]
    states = recur(u, np.append(1.0, np.zeros(d - 1)), a, 0.0, x0)[0]
    whole = np.concatenate([earlier, np.abs(states)])
    local = np.abs(u) + (whole + _absolute_sum(a, whole))[d:]
    states_error = np.concatenate(
        [np.zeros(d), (d + 2) * np.convolve(_inner(a, length), local)[:length]]
    )
    outputs = np.convolve(np.abs(b), states_error + (d + 2) * whole)[d : d + length]
    return outputs + 2 * np.abs(direct) * np.abs(u), states_error[-d:][::-1]


# ---------------------------------------------------------------------------------------------
# Companion matrices.


def companion(a):
    """First row -a, ones below the diagonal."""
    d = len(a)
    out = np.eye(d, k=-1, dtype=np.result_type(np.asarray(a), np.float64))
    out[0] = -np.asarray(a)
    return out


def shifted_row(c, a):
    """c A for that matrix: (-c_1 a_j + c_{j+1})_j."""
    return [following - c[0] * v for v, following in zip(a, [*c[1:], 0], strict=True)]


def row_power(c, a, exponent):
    """c A^exponent, one shift after the other."""
    for _ in range(exponent):
        c = shifted_row(c, a)
    return c


def truncated(b, a, length):
    """C~ = C (I - A^L), in 50 digits, rounded."""
    with mp.workdps(DIGITS):
        c, a = numbers(b), numbers(a)
        return floats([p - q for p, q in zip(c, row_power(c, a, length), strict=True)])


def correction(a, length):
    """I - A^L as an object array of 50-digit numbers."""
    with mp.workdps(DIGITS):
        a, one = numbers(a), exact.Mp.eye(len(a))
        return one - np.array([row_power(list(row), a, length) for row in one], dtype=object)


def untruncated(b, a, length):
    """C = C~ (I - A^L)^-1: the transposed system, in 50 digits, rounded."""
    with mp.workdps(DIGITS):
        return floats(exact.Mp.solve(correction(a, length).T, exact.to_mp(np.asarray(b))))


def power_growth(a, length):
    """max ||A^k||_2 for k <= L."""
    matrix, power, largest = companion(a), np.eye(len(a)), 1.0
    for _ in range(length):
        power = power @ matrix
        largest = max(largest, float(np.linalg.norm(power, 2)))
    return largest


# ---------------------------------------------------------------------------------------------
# Poles.


def roots(a):
    """Simple roots of zeta^d + a_1 zeta^{d-1} + ...: Newton in 50 digits from LAPACK's, rounded."""
    with mp.workdps(DIGITS):
        coefficients, found = [mp.mpf(1), *numbers(a)], []
        for start in np.roots(np.append(1, a)):
            zeta = mp.mpmathify(complex(start))
            for _ in range(8):
                value, slope = mp.mpf(0), mp.mpf(0)
                for c in coefficients:
                    value, slope = value * zeta + c, slope * zeta + value
                zeta = zeta - value / slope
            found.append(complex(zeta))
        return np.array(found)


def roots_rounding(poles):
    """|change of each root| for a change of the coefficients by their size: 2-norms."""
    poles = np.asarray(poles)
    size = np.linalg.norm(np.poly(poles))
    out = []
    for i, p in enumerate(poles):
        slope = np.abs(np.prod(p - np.delete(poles, i)))
        out.append(size * np.linalg.norm(p ** np.arange(len(poles))) / slope)
    return np.array(out)


def residues(b, poles):
    """r_i of K_k = sum r_i zeta_i^k: sum_j b_j zeta_i^{d-j}/prod_{j != i} (zeta_i - zeta_j)."""
    return np.array(
        [np.polyval(b, p) / np.prod(p - np.delete(poles, i)) for i, p in enumerate(poles)]
    )


def matched(found, wanted):
    """The permutation of `found` that comes closest to `wanted`."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(np.abs(np.subtract.outer(wanted, found)))[1]


# ---------------------------------------------------------------------------------------------
# Stability: Schur-Cohn with its way back, and Routh's table, which knows nothing of it.


def step_down(a):
    """k_1 ... k_d; None where a |k| is 1 before the last, and the recursion ends."""
    a, k = list(a), []
    while a:
        last = a.pop()
        k.append(last)
        gap = 1 - last * last.conjugate()
        if a and gap == 0:
            return None
        a = [(v - last * w.conjugate()) / gap for v, w in zip(a, a[::-1], strict=True)]
    return k[::-1]


def step_up(k):
    """[1, a] <- [1, a, 0] + k [0, conj(reverse([1, a]))]."""
    a = []
    for last in k:
        a = [v + last * w.conjugate() for v, w in zip(a, a[::-1], strict=True)] + [last]
    return a


def step_down_rounding(a):
    """What rounding may do to each k, per unit of eps; inf where a gap 1 - |k|^2 closes."""
    a, errors = np.asarray(a), np.zeros(len(a))
    out = []
    while len(a):
        last, error = abs(a[-1]), errors[-1]
        out.append(error)
        gap = 1 - last**2
        if gap == 0:
            return np.full(len(out) + len(a) - 1, np.inf)
        before, rest = a[:-1], errors[:-1]
        a = (before - a[-1] * before[::-1].conj()) / gap
        size = np.abs(before) + last * np.abs(before[::-1])
        spread = rest + last * rest[::-1] + error * (np.abs(before[::-1]) + 2 * last * np.abs(a))
        errors = (spread + 4 * size + 2 * np.abs(a)) / abs(gap)
    return np.array(out[::-1])


def step_up_rounding(k):
    """The same for a, from exact k."""
    a, errors = np.zeros(0), np.zeros(0)
    for last in np.asarray(k):
        size = np.abs(a) + abs(last) * np.abs(a[::-1])
        errors = np.append(errors + abs(last) * errors[::-1] + 2 * size, 0.0)
        a = np.append(a + last * a[::-1].conj(), last)
    return errors


def is_stable(a):
    """Exactly, for fractions: zeta = (1+s)/(1-s) and the first column of Routh's table."""
    d = len(a)
    if d == 0:
        return True
    total = [Fraction(0)] * (d + 1)
    for j, c in enumerate([Fraction(1), *a]):
        term = [Fraction(c)]
        for _ in range(d - j):
            term = exact.multiply(term, [Fraction(1), Fraction(1)])
        for _ in range(j):
            term = exact.multiply(term, [Fraction(1), Fraction(-1)])
        total = [p + q for p, q in zip(total, term, strict=True)]
    upper, lower = total[::-1][::2], total[::-1][1::2]
    if upper[0] == 0:  # a root at zeta = -1
        return False
    sign = 1 if upper[0] > 0 else -1
    for _ in range(d):
        if sign * lower[0] <= 0:
            return False
        padded = [*lower, Fraction(0)]
        following = [
            upper[i + 1] - upper[0] / lower[0] * padded[i + 1] for i in range(len(upper) - 1)
        ]
        upper, lower = lower, following
    return True


# ---------------------------------------------------------------------------------------------
# From matrices: characteristic polynomials without rounding.


@dataclass(frozen=True)
class Characteristic:
    """b and a of C (I - zA)^-1 B as fractions, with the norms of the derivatives of a by A."""

    b: list
    a: list
    slopes: np.ndarray


def _integers(matrix):
    """(M, s) with A = M/2^s, M of integers."""
    rows = fractions(matrix)
    bits = max(v.denominator.bit_length() - 1 for row in rows for v in row)
    return np.array([[int(v * 2**bits) for v in row] for row in rows], dtype=object), bits


def characteristic(matrix):
    """(a, slopes): Faddeev's recursion in integers; slopes are ||da_k/dA||_F = ||M_{k-1}||_F.

    M_0 = I, a_k = -tr(A M_{k-1})/k, M_k = A M_{k-1} + a_k I, where
    adj(zeta I - A) = sum_k zeta^{N-1-k} M_k.
    """
    m, bits = _integers(matrix)
    n = len(m)
    one = np.array([[int(i == j) for j in range(n)] for i in range(n)], dtype=object)
    step, a, slopes = one, [], []
    for k in range(1, n + 1):
        scale = Fraction(1, 2 ** (bits * (k - 1)))
        slopes.append(math.sqrt(sum(float(v * scale) ** 2 for v in step.ravel())))
        product = m.dot(step)
        value = -sum(product[i, i] for i in range(n)) // k  # exact
        a.append(value * scale / 2**bits)
        step = product + value * one
    return a, np.array(slopes)


def markov(matrix, b, c, length):
    """C A^k B, k < length, of numbers of any kind."""
    x, out = list(b), []
    for _ in range(length):
        out.append(sum(p * q for p, q in zip(c, x, strict=True)))
        x = [sum(p * q for p, q in zip(row, x, strict=True) if p) for row in matrix]
    return out


def transfer(matrix, b, c):
    """The exact coefficients: b_k = K_{k-1} + sum_{i<k} a_i K_{k-1-i}."""
    a, slopes = characteristic(matrix)
    values = markov(fractions(matrix), fractions(b), fractions(c), len(a))
    top = [
        values[k] + sum((a[i] * values[k - 1 - i] for i in range(k)), Fraction(0))
        for k in range(len(a))
    ]
    return Characteristic(top, a, slopes)


def state_kernel(matrix, b, c, length, direct=0.0):
    """K of a discrete state-space model in 50 digits, rounded."""
    with mp.workdps(DIGITS):
        rows = [numbers(row) for row in np.asarray(matrix)]
        out = markov(rows, numbers(b), numbers(c), length)
        out[0] = out[0] + number(direct)
        return floats(out)


def legs_bilinear(order, step):
    """The discrete LegS (A, B) of the bilinear rule, rounded from 50 digits."""
    from . import discretize, hippo

    a, b = hippo.matrices("legs", order)
    return discretize.discretize(a, b, step, "bilinear")[:2]


# ---------------------------------------------------------------------------------------------
# Gramians and responses of state-space models.


def state_response(a, b, c, points, direct=0.0, time="discrete"):
    """C (I - zA)^-1 B + direct at the points z, or C (sI - A)^-1 B + direct at the points s."""
    points = np.asarray(points, dtype=complex)[:, None, None]
    one = np.eye(len(a))
    matrices = one - points * a if time == "discrete" else points * one - a
    columns = np.broadcast_to(np.asarray(b)[:, None], (len(points), len(a), 1))
    return np.linalg.solve(matrices, columns)[..., 0] @ np.asarray(c) + direct


def gramian(a, b, time="discrete"):
    """P = sum A^k B B* A*^k, or the integral of e^{tA} B B* e^{tA*}, as 50-digit numbers.

    Doubled, P <- P + A P A*, A <- A^2. Continuous systems have the Gramian of their Cayley
    transform (sI - A)^-1 (sI + A), sqrt(2s) (sI - A)^-1 B.
    """
    with mp.workdps(DIGITS + 20):
        a, b = (v if v.dtype == object else exact.to_mp(v) for v in (np.asarray(a), np.asarray(b)))
        if time == "continuous":
            s = max(sum(abs(v) for v in row) for row in a)
            one = exact.Mp.eye(len(a))
            left = s * one - a
            a, b = exact.Mp.solve(left, s * one + a), mp.sqrt(2 * s) * exact.Mp.solve(left, b)
        total = np.outer(b, _conjugate(b))
        for _ in range(60):
            total = total + a @ total @ _conjugate(a).T
            a = a @ a
            if max(abs(v) for v in a.ravel()) <= mp.mpf(10) ** (-DIGITS - 10):
                return total
        raise ArithmeticError("the system is not stable")


def _conjugate(values):
    return np.array([mp.conj(v) for v in values.ravel()], dtype=object).reshape(values.shape)


def gramians(a, b, c, time="discrete"):
    """(P, Q): of the inputs and of the outputs."""
    a, b, c = (v if v.dtype == object else exact.to_mp(v) for v in map(np.asarray, (a, b, c)))
    return gramian(a, b, time), gramian(_conjugate(a).T, _conjugate(c), time)


def hankel_singular_values(a, b, c, time="discrete"):
    """sqrt of the eigenvalues of L* Q L, P = L L*, descending; in 50 digits, rounded."""
    p, q = gramians(a, b, c, time)
    with mp.workdps(DIGITS):
        left = mp.cholesky(mp.matrix(p.tolist()))
        inside = left.H * mp.matrix(q.tolist()) * left
        squares = mp.eighe(inside, eigvals_only=True)
        return np.array(sorted((float(mp.sqrt(abs(v))) for v in squares), reverse=True))


def lyapunov_condition(a, time="discrete"):
    """How much a relative change of A may change P, relatively: 2 ||A||^p/sep, p = 2 or 1."""
    a = np.asarray(a)
    n, size = len(a), np.linalg.norm(a, 2)
    if time == "discrete":
        operator, scale = np.eye(n * n) - np.kron(a.conj(), a), max(size, size**2)
    else:
        operator, scale = np.kron(np.eye(n), a) + np.kron(a.conj(), np.eye(n)), size
    return 2 * scale / np.linalg.svd(operator, compute_uv=False)[-1]


def circle(points):
    """z on the upper half of the unit circle, denser towards z = 1 and z = -1, ends included."""
    near = np.geomspace(1e-4, np.pi / 2, points)
    return np.exp(-1j * np.concatenate([[0.0], near, np.pi - near[::-1], [np.pi]]))


def axis(points, low, high):
    """i omega from 0 to far beyond the system's frequencies."""
    return 1j * np.concatenate([[0.0], np.geomspace(low, high, points)])


# ---------------------------------------------------------------------------------------------
# Fits.


def hankel_condition(values, order):
    """sigma_1/sigma_order of the Hankel matrix of a kernel: what a fit of that order loses."""
    half = len(values) // 2
    index = np.add.outer(np.arange(half), np.arange(half))
    sigma = np.linalg.svd(np.asarray(values)[index], compute_uv=False)
    return float(sigma[0] / sigma[order - 1])
