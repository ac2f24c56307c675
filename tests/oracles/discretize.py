"""Discretisation from the definitions: power series of exact integers, and 50 digits.

Nothing here knows an eigenvalue of a matrix. phi_k(A) = sum_j A^j/(j+k)! is summed in fixed point
with so many bits that the cancellation of the series, of size e^|A|, is far below the result;
rational rules are Gaussian elimination in 50 digits. Scalars are evaluated with as many digits more
as the formula loses.

Sources: Higham, *Functions of Matrices* (phi functions); SciPy's documentation of cont2discrete
(the generalised bilinear transform and its C and D).
"""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath as mp
import numpy as np

from . import exact, hippo

RULES = ("forward", "backward", "bilinear", "gbt", "zoh", "foh", "mamba")
RATIONAL = ("forward", "backward", "bilinear", "gbt")
EXPONENTIAL = ("zoh", "foh", "mamba")
WEIGHT = {"forward": Fraction(0), "backward": Fraction(1), "bilinear": Fraction(1, 2)}


def weight(rule, alpha=0.5):
    """The weight of the implicit side, exactly."""
    return WEIGHT.get(rule, Fraction(alpha))


# ---------------------------------------------------------------------------------------------
# phi functions of matrices in fixed point.


def _embed(a):
    """Complex matrices as real ones of twice the size, [[Re, -Im], [Im, Re]]."""
    a = np.asarray(a)
    if not np.iscomplexobj(a):
        return a.astype(float)
    return np.block([[a.real, -a.imag], [a.imag, a.real]])


def _unembed(m, complex_valued):
    if not complex_valued:
        return m
    n = len(m) // 2
    return np.array(
        [[mp.mpc(m[i, j], m[n + i, j]) for j in range(n)] for i in range(n)], dtype=object
    )


def _rows(a, t):
    """The entries of t A as fractions, and an upper bound of its norm."""
    rows = [[Fraction(float(v)) * Fraction(t) for v in row] for row in a]
    norm = max((sum(abs(v) for v in row) for row in rows), default=Fraction(0))
    return rows, math.ceil(norm) + 1


def _smallest(rows):
    """Bits before the first of the smallest entry."""
    values = [abs(v) for row in rows for v in row if v]
    if not values:
        return 0
    least = min(values)
    return max(0, least.denominator.bit_length() - least.numerator.bit_length())


def _series(rows, bits, order, norm):
    """sum_j M^j/(j+order)!, all of it integers over 2^bits."""
    n = len(rows)
    m = np.array(
        [[(v.numerator << bits) // v.denominator for v in row] for row in rows], dtype=object
    )
    term = np.array(
        [[(1 << bits) // math.factorial(order) * (i == j) for j in range(n)] for i in range(n)],
        dtype=object,
    )
    total, j = term.copy(), 0
    while j <= norm or max(abs(v) for v in term.ravel()) > n + 1:  # flooring leaves -1
        j += 1
        term = (term.dot(m) >> bits) // (order + j)
        total = total + term
    return total


def _to_mp(integers, bits):
    with mp.workdps(exact.DIGITS):
        flat = [mp.ldexp(mp.mpf(int(v)), -bits) for v in integers.ravel()]
        return np.array(flat, dtype=object).reshape(integers.shape)


def phi_series(a, order=1, t=1.0):
    """phi_order(t A) as the plain series: object array of mpmath numbers, at least 50 digits.

    e^|tA| is lost to cancellation and once more to small results, and both have their bits: for
    norms up to about 100.
    """
    rows, norm = _rows(_embed(a), t)
    bits = 220 + 3 * norm + 2 * _smallest(rows)
    total = _to_mp(_series(rows, bits, order, norm), bits)
    return _unembed(total, np.iscomplexobj(a))


def expm(a, t=1.0):
    """e^{tA} as an object array of mpmath numbers, at least 30 digits of every entry.

    Halved until the norm is below 8, summed, and squared back; with more and more bits until two
    results agree.
    """
    rows, norm = _rows(_embed(a), t)
    halvings = max(0, norm.bit_length() - 3)
    rows = [[v / 2**halvings for v in row] for row in rows]
    bits, before = 256 + 2 * _smallest(rows), None
    while True:
        total = _series(rows, bits, 0, norm >> halvings)
        for _ in range(halvings):
            total = total.dot(total) >> bits
        total = _to_mp(total, bits)
        if before is not None and _agree(before, total, bits):
            return _unembed(total, np.iscomplexobj(a))
        bits, before = bits + bits // 2, total


def _agree(before, total, bits):
    """Every entry has 30 digits, or is zero: as small as its own last bits, below 1e-149."""
    zero = mp.ldexp(1, 80 - bits // 3 * 2)
    return all(
        abs(v - w) <= mp.mpf(10) ** -30 * abs(w) or (bits > 800 and max(abs(v), abs(w)) <= zero)
        for v, w in zip(before.ravel(), total.ravel(), strict=True)
    )


def phi(a, order=1, t=1.0):
    """phi_order(t A) from the exponential of [[tA, I, 0], [0, 0, I], [0, 0, 0]] and so on."""
    if order == 0:
        return expm(a, t)
    a = np.asarray(a)
    n = len(a)
    big = np.zeros((n * (order + 1),) * 2, dtype=np.result_type(a, float))
    big[:n, :n] = a * t
    for k in range(order):
        big[k * n : (k + 1) * n, (k + 1) * n : (k + 2) * n] = np.eye(n)
    return expm(big)[:n, order * n :]


def integrals(a, b, step):
    """e^{step A}, and int_0^step e^{(step-s)A} B s^j ds/step^j for j = 0 and 1, as mpmath numbers.

    The exponential of [[A, B, 0], [0, 0, I], [0, 0, 0]]; the added rows generate inputs 1 and t.
    """
    a, b = np.asarray(a), np.asarray(b)
    columns = b[:, None] if b.ndim == 1 else b
    n, m = columns.shape
    big = np.zeros((n + 2 * m, n + 2 * m), dtype=np.result_type(a, b, float))
    big[:n, :n], big[:n, n : n + m] = a, columns
    big[n : n + m, n + m :] = np.eye(m)
    with mp.workdps(exact.DIGITS):
        e = expm(big, step)
        first, second = e[:n, n : n + m], e[:n, n + m :] / mp.mpf(float(step))
    return e[:n, :n], first.reshape(b.shape), second.reshape(b.shape)


def expm_jordan(eigenvalue, n, t=1.0):
    """e^{tJ} of a Jordan block: t^{j-i}/(j-i)! e^{t lambda} on and above the diagonal."""
    out = np.zeros((n, n), dtype=np.result_type(eigenvalue, float))
    for i in range(n):
        for j in range(i, n):
            out[i, j] = np.exp(t * eigenvalue) * t ** (j - i) / math.factorial(j - i)
    return out


def conditioning(a, t=1.0):
    """Relative Frobenius condition number of e^{tA}: the norm of its derivative, |A|/|e^A| times.

    vec(dE) = (int_0^1 e^{(1-s)A^T} kron e^{sA} ds) vec(dA), by Gauss quadrature in float64.
    """
    import scipy.linalg

    m = t * np.asarray(a)
    n = len(m)
    size = np.linalg.norm(m)
    nodes, weights = hippo.gauss_legendre(24 + min(400, int(2 * size)), 0.0, 1.0)
    total = np.zeros((n * n, n * n), dtype=m.dtype)
    for s, w in zip(nodes, weights, strict=True):
        total += w * np.kron(scipy.linalg.expm((1 - s) * m).T, scipy.linalg.expm(s * m))
    return float(np.linalg.norm(total, 2) * size / np.linalg.norm(scipy.linalg.expm(m)))


# ---------------------------------------------------------------------------------------------
# The rules on matrices.


def discretize(a, b, step, rule, alpha=0.5):
    """(A, B, B_next) of a dense system, float64 or complex128; B_next is None but for foh.

    Exponential rules as integrals, with u constant (zoh) or linear (foh) over the step:
    int_0^e e^{sA} ds = e phi_1, int_0^e e^{(e-s)A} s/e ds = e phi_2.
    """
    a, b = np.asarray(a), np.asarray(b)
    with mp.workdps(exact.DIGITS):
        big_a, big_b, e = exact.to_mp(a), exact.to_mp(b), mp.mpf(float(step))
        if rule in RATIONAL:
            f, g = _rational(big_a, big_b, e, weight(rule, alpha))
            return exact.to_float(f), exact.to_float(g), None
        if rule == "mamba":
            return exact.to_float(expm(a, step)), exact.to_float(e * big_b), None
        f, first, second = integrals(a, b, step)
        if rule == "zoh":
            return exact.to_float(f), exact.to_float(first), None
        return exact.to_float(f), exact.to_float(first - second), exact.to_float(second)


def _rational(a, b, e, alpha):
    """(I - alpha e A)^-1 (I + (1-alpha) e A) and (I - alpha e A)^-1 e B."""
    implicit = mp.mpf(alpha.numerator) / alpha.denominator
    one = exact.Mp.eye(len(a))
    left = one - implicit * e * a
    return exact.Mp.solve(left, one + (1 - implicit) * e * a), exact.Mp.solve(left, e * b)


def rational_conditioning(a, step, rule, alpha=0.5):
    """kappa of the matrix that a rational rule solves with."""
    left = np.eye(len(a)) - float(weight(rule, alpha)) * step * np.asarray(a)
    return float(np.linalg.cond(left))


def variation_of_constants(a, b, step, inputs, *, nodes=24):
    """int_0^step e^{(step-s)A} B u(s) ds for a callable u, by Gauss quadrature."""
    s, w = hippo.gauss_legendre(nodes, 0.0, float(step))
    total = 0.0
    for point, factor in zip(s, w, strict=True):
        e = exact.to_float(expm(a, step - point))
        total = total + factor * inputs(point) * (e @ b)
    return total


# ---------------------------------------------------------------------------------------------
# Scalars.


def _more_digits(z, lost):
    """Digits so that `lost` powers of a small z, or the terms of a large one, cancel harmlessly."""
    size = abs(complex(z))
    small = lost * max(0.0, -math.log10(size)) if size > 0 else 0.0
    return exact.DIGITS + int(small + 0.9 * size) + 10


def phi_scalar(z, order=1):
    """phi_order(z) = (e^z - sum_{j<order} z^j/j!)/z^order as an mpmath number."""
    z = mp.mpmathify(z)
    if z == 0:
        return mp.mpf(1) / mp.factorial(order)
    with mp.workdps(_more_digits(z, order)):
        head = mp.fsum(z**j / mp.factorial(j) for j in range(order))
        return (mp.exp(z) - head) / z**order


def phi_scalar_series(z, order=1):
    """The same as sum_j z^j/(j+order)!."""
    z = mp.mpmathify(z)
    with mp.workdps(_more_digits(z, 0)):
        term = mp.mpf(1) / mp.factorial(order)
        total, j = term, 0
        while abs(term) > abs(total) * mp.mpf(10) ** (-mp.mp.dps) or j < abs(z):
            j += 1
            term = term * z / (order + j)
            total += term
        return total


def phi_scalar_integral(z, order=1):
    """The same as int_0^1 e^{(1-s)z} s^{order-1}/(order-1)! ds (order >= 1, moderate z)."""
    z = mp.mpmathify(z)
    with mp.workdps(30):
        return mp.quad(
            lambda s: mp.exp((1 - s) * z) * s ** (order - 1) / mp.factorial(order - 1), [0, 0.5, 1]
        )


def phi_slope(z, order=1):
    """|z phi'(z)| = |phi_{order-1} - order phi_order|: what a relative error in z costs."""
    if order == 0:
        return float(abs(z * mp.exp(z)))
    return float(abs(phi_scalar(z, order - 1) - order * phi_scalar(z, order)))


def growth(z, rule, alpha=0.5):
    """R(z) of a rule as an mpmath number; inf at a pole."""
    z = mp.mpmathify(z)
    if rule in EXPONENTIAL:
        return mp.exp(z)
    a = weight(rule, alpha)
    a = mp.mpf(a.numerator) / a.denominator
    denominator = 1 - a * z
    return mp.inf if denominator == 0 else (1 + (1 - a) * z) / denominator


def local_error(z, rule, alpha=0.5, of="state"):
    """R(z) - e^z, or beta(z) - phi_1(z) where the step's input is e beta(z) B u, as mpmath numbers.

    With the condition number |z f'/f| of that difference f, by a difference quotient.
    """
    z = mp.mpmathify(z)
    with mp.workdps(_more_digits(z, 4) + 40):

        def f(point):
            return (
                _state_error(point, rule, alpha)
                if of == "state"
                else _input_error(point, rule, alpha)
            )

        value = f(z)
        if value == 0 or z == 0:
            return value, 1.0
        if not mp.isfinite(value):
            return value, math.inf
        shift = mp.mpf(10) ** -30
        slope = (f(z * (1 + shift)) - f(z * (1 - shift))) / (2 * shift)
        return value, float(abs(slope / value))


def _state_error(z, rule, alpha):
    if rule in EXPONENTIAL:
        return mp.mpf(0)
    return growth(z, rule, alpha) - mp.exp(z)


def _input_error(z, rule, alpha):
    if rule in ("zoh", "foh") or z == 0:
        return mp.mpf(0)
    first = mp.expm1(z) / z
    if rule == "mamba":
        return 1 - first
    a = weight(rule, alpha)
    denominator = 1 - mp.mpf(a.numerator) / a.denominator * z
    return mp.inf if denominator == 0 else 1 / denominator - first


# ---------------------------------------------------------------------------------------------
# Limits of the step.


def stability_limit(eigenvalues, rule, alpha=0.5):
    """|R(z)| <= 1 multiplied out: 2 Re z + (1-2 alpha)|z|^2 <= 0, for each eigenvalue."""
    eigenvalues = np.atleast_1d(np.asarray(eigenvalues, dtype=complex))
    if (eigenvalues.real > 0).any():
        return None
    eigenvalues = eigenvalues[eigenvalues != 0]
    factor = 0.0 if rule in EXPONENTIAL else float(1 - 2 * weight(rule, alpha))
    if factor <= 0 or not len(eigenvalues):
        return math.inf
    if (eigenvalues.real == 0).any():
        return None
    return float(np.min(-2 * eigenvalues.real / (factor * np.abs(eigenvalues) ** 2)))


def growth_array(z, rule, alpha=0.5):
    """R(z) in float64, for scans; inf or NaN where it overflows or has a pole."""
    a = float(weight(rule, alpha)) if rule in RATIONAL else 0.0
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.exp(z) if rule in EXPONENTIAL else (1 + (1 - a) * z) / (1 - a * z)


def scan_stability(eigenvalues, rule, steps, alpha=0.5, slack=1e-12):
    """The last of the ascending `steps` up to which no |R| exceeds 1: brute force."""
    z = np.asarray(steps)[:, None] * np.atleast_1d(eigenvalues)[None, :]
    stable = (np.abs(growth_array(z, rule, alpha)) <= 1 + slack).all(axis=1)
    first = np.argmin(stable) if not stable.all() else len(stable)
    return None if first == 0 else float(steps[first - 1])


def scan_accuracy(eigenvalues, rule, tolerance, steps, alpha=0.5):
    """(low, high) around the first crossing of max_j |R - e^z| = tolerance on ascending steps."""
    z = np.asarray(steps)[:, None] * np.atleast_1d(eigenvalues)[None, :]
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(growth_array(z, rule, alpha) - np.exp(z)).max(axis=1)
    good = error <= tolerance  # NaN, a difference of infinities, is not
    if good.all():
        return float(steps[-1]), math.inf
    first = int(np.argmin(good))
    return (0.0 if first == 0 else float(steps[first - 1])), float(steps[first])


# ---------------------------------------------------------------------------------------------
# Convergence: signals that solve a linear equation, so that the exact output is an exponential.


class Signal:
    """u(t) = r e^{tG} w, and the same as a vectorised function."""

    def __init__(self, generator, row, start, function):
        self.generator = np.asarray(generator, dtype=float)
        self.row = np.asarray(row, dtype=float)
        self.start = np.asarray(start, dtype=float)
        self.function = function

    def __call__(self, t):
        return self.function(np.asarray(t, dtype=float))

    def __add__(self, other):
        size = len(self.row), len(other.row)
        generator = np.zeros((sum(size), sum(size)))
        generator[: size[0], : size[0]] = self.generator
        generator[size[0] :, size[0] :] = other.generator
        return Signal(
            generator,
            np.concatenate([self.row, other.row]),
            np.concatenate([self.start, other.start]),
            lambda t: self.function(t) + other.function(t),
        )


def sine(frequency, amplitude=1.0):
    """amplitude sin(frequency t)."""
    g = [[0.0, frequency], [-frequency, 0.0]]
    return Signal(g, [amplitude, 0.0], [0.0, 1.0], lambda t: amplitude * np.sin(frequency * t))


def cosine(frequency, amplitude=1.0):
    """amplitude cos(frequency t)."""
    g = [[0.0, frequency], [-frequency, 0.0]]
    return Signal(g, [0.0, amplitude], [0.0, 1.0], lambda t: amplitude * np.cos(frequency * t))


def polynomial(coefficients):
    """sum_j coefficients_j t^j; the generator is the derivative of the monomials t^j/j!."""
    n = len(coefficients)
    row = [c * math.factorial(j) for j, c in enumerate(coefficients)]
    start = np.zeros(n)
    start[0] = 1.0
    return Signal(
        np.diag(np.ones(n - 1), -1),
        row,
        start,
        lambda t: np.polynomial.polynomial.polyval(t, coefficients),
    )


def ramp_from(t0):
    """max(0, t - t0): a kink. Its exact output is that of the polynomial t, later by t0."""
    return lambda t: np.maximum(0.0, np.asarray(t, dtype=float) - t0)


def exact_output(a, b, c, signal, times):
    """C x(t) of x' = A x + B u, x(0) = 0, at each of `times`.

    x' = A x + B (r e^{tG} w) is homogeneous in (x, e^{tG} w): one exponential in exact integers per
    instant.
    """
    return np.array([_exact_state(a, b, signal, t) @ c for t in np.asarray(times, dtype=float)])


def _exact_state(a, b, signal, t):
    n, m = len(b), len(signal.row)
    if t <= 0:
        return np.zeros(n)
    big = np.zeros((n + m, n + m))
    big[:n, :n], big[:n, n:], big[n:, n:] = a, np.outer(b, signal.row), signal.generator
    return exact.to_float(expm(big, t))[:n, n:] @ signal.start


def exact_grid(a, b, c, signal, step, count):
    """C x(k step), k = 0 ... count: the exponential of one step, raised in extended precision."""
    n, m = len(b), len(signal.row)
    big = np.zeros((n + m, n + m))
    big[:n, :n], big[:n, n:], big[n:, n:] = a, np.outer(b, signal.row), signal.generator
    with mp.workdps(exact.DIGITS):
        e = expm(big, step)
        e = np.array([[np.longdouble(mp.nstr(v, 25)) for v in row] for row in e])
    state = np.concatenate([np.zeros(n), signal.start]).astype(np.longdouble)
    out = np.zeros(count + 1)
    for k in range(count + 1):
        out[k] = float(state[:n] @ c)
        state = e @ state
    return out


def samples(signal, step, count, hold):
    """u_k of the cells [k step, (k+1) step)."""
    t = step * np.arange(count + 1)
    if hold == "left":
        return signal(t[:-1])
    if hold == "right":
        return signal(t[1:])
    if hold == "midpoint":
        return signal(step * (np.arange(count) + 0.5))
    if hold == "average":
        return (signal(t[:-1]) + signal(t[1:])) / 2
    raise ValueError(hold)


def simulate(a, b, c, signal, step, count, rule, *, alpha=0.5, hold="left", output="state-after"):
    """(y_k, k = 0 ... count-1) by the recurrence, in float64 from 50-digit matrices.

    state-after: y_k = C x_{k+1}. state-before: y_k = C' x_k + D' u_k, under the rational rules with
    C' = C (I - alpha e A)^-1 and D' = alpha C B', under the others with C and 0.
    """
    f, g, g_next = discretize(a, b, step, rule, alpha)
    read, direct = np.asarray(c, dtype=float), 0.0
    if output == "state-before" and rule in RATIONAL:
        w = float(weight(rule, alpha))
        read = np.linalg.solve((np.eye(len(b)) - w * step * np.asarray(a)).T, read)
        direct = w * float(c @ g)
    u = samples(signal, step, count, "left" if rule == "foh" else hold)
    ahead = samples(signal, step, count, "right")
    state = np.zeros(len(b))
    out = np.zeros(count)
    for k in range(count):
        new = f @ state + g * u[k] + (g_next * ahead[k] if g_next is not None else 0.0)
        out[k] = c @ new if output == "state-after" else read @ state + direct * u[k]
        state = new
    return out


def convergence_errors(a, b, c, signal, steps, duration, rule, **options):
    """max_k |y_k - y|/max |y| for each step, and the exact outputs' own maximum on that grid."""
    errors = []
    for step in steps:
        count = round(duration / step)
        truth = exact_grid(a, b, c, signal, step, count)
        after = options.get("output", "state-after") == "state-after"
        y = simulate(a, b, c, signal, step, count, rule, **options)
        wanted = truth[1:] if after else truth[:-1]
        errors.append(np.abs(y - wanted).max() / np.abs(truth).max())
    return np.array(errors)


def scaled_errors(measure, order, u_of, steps, duration, rule, *, alpha=0.5, hold="left"):
    """Relative 2-norm of the recurrence's last coefficients against the exact projection."""
    a, b = hippo.matrices(measure, order)
    errors = []
    for step in steps:
        count = round(duration / step)
        u = samples(u_of, step, count, hold)
        ends = step * np.arange(1, count + 1)
        path = hippo.run(
            a,
            b,
            u,
            rule=rule,
            clock="scaled",
            step=step,
            alpha=alpha,
            first=hippo.constant(measure, order),
        )
        best = hippo.optimal(measure, order, u, ends, ends[-1], nodes=order // 2 + 2)
        errors.append(np.linalg.norm(path[-1] - best) / np.linalg.norm(best))
    return np.array(errors)


def fitted_order(steps, errors):
    """Slope of log error over log step."""
    x, y = np.log(steps), np.log(errors)
    return float(np.polyfit(x, y, 1)[0])
