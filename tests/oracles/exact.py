"""HiPPO in exact rational and 50-digit arithmetic, for orders up to about 32.

Rational: Legendre polynomials as lists of fractions, integrals of products exactly.
50 digits: NumPy object arrays of mpmath numbers, with a plain Gaussian elimination and a scaled
Taylor series for the exponential. Sources as in `oracles.hippo`.
"""

from __future__ import annotations

from fractions import Fraction

import mpmath as mp
import numpy as np

DIGITS = 50


def to_mp(array):
    """Object array of mpmath numbers with exactly the same values."""
    array = np.asarray(array)
    convert = mp.mpc if np.iscomplexobj(array) else mp.mpf
    return np.array([convert(v) for v in array.ravel().tolist()], dtype=object).reshape(array.shape)


def to_float(array):
    """Nearest float64 (complex128) array."""
    array = np.asarray(array, dtype=object)
    flat = array.ravel()
    complex_valued = any(isinstance(v, mp.mpc) for v in flat)
    return np.array([(complex if complex_valued else float)(v) for v in flat]).reshape(array.shape)


# ---------------------------------------------------------------------------------------------
# Rational route to the Legendre matrices.


def legendre_coefficients(n):
    """Coefficients of P_n(s), lowest degree first, by (n+1)P_{n+1} = (2n+1) s P_n - n P_{n-1}."""
    previous, current = [Fraction(1)], [Fraction(0), Fraction(1)]
    if n == 0:
        return previous
    for m in range(1, n):
        shifted = [Fraction(0), *current]
        padded = previous + [Fraction(0)] * (len(shifted) - len(previous))
        previous, current = (
            current,
            [((2 * m + 1) * a - m * b) / (m + 1) for a, b in zip(shifted, padded, strict=True)],
        )
    return current


def multiply(p, q):
    """Product of two polynomials."""
    out = [Fraction(0)] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            out[i + j] += a * b
    return out


def derivative(p):
    """Derivative of a polynomial."""
    return [i * a for i, a in enumerate(p)][1:] or [Fraction(0)]


def evaluate(p, s):
    """Value of a polynomial at a rational point."""
    total = Fraction(0)
    for a in reversed(p):
        total = total * s + a
    return total


def integral(p, low, high):
    """Exact integral of a polynomial over [low, high]."""
    anti = [Fraction(0)] + [a / (i + 1) for i, a in enumerate(p)]
    return evaluate(anti, high) - evaluate(anti, low)


def legendre_construction(order, phi, interval=(-1, 1)):
    """(A, B) of the general construction for plain Legendre P_n, as exact fractions.

    c_n is the integral of u P_n (2n+1)/(b-a): the coefficient of P_n. With phi a polynomial,
    A_nk = -(2n+1)/(b-a) [int P_k (phi P_n)' ds + phi(a) P_n(a) P_k(a)],
    B_n = (2n+1)/(b-a) phi(b) P_n(b). On [0, 1] P_n is shifted. Source: kexue.fm 10114.
    """
    low, high = (Fraction(v) for v in interval)
    basis = [legendre_coefficients(n) for n in range(order)]
    if (low, high) == (Fraction(0), Fraction(1)):
        basis = [compose_shift(p) for p in basis]
    phi = [Fraction(c) for c in phi]
    flows = [derivative(multiply(phi, p)) for p in basis]
    degree = max(len(p) for p in (*basis, *flows))
    moments = [  # of s^i over the interval
        (high ** (i + 1) - low ** (i + 1)) / (i + 1) for i in range(2 * degree)
    ]
    a = [[Fraction(0)] * order for _ in range(order)]
    b = [Fraction(0)] * order
    for n in range(order):
        scale = Fraction(2 * n + 1) / (high - low)
        weights = [  # int s^j (phi P_n)' ds
            sum((c * moments[i + j] for i, c in enumerate(flows[n]) if c), Fraction(0))
            for j in range(degree)
        ]
        for k in range(order):
            inner = sum((c * weights[j] for j, c in enumerate(basis[k]) if c), Fraction(0))
            ends = evaluate(phi, low) * evaluate(basis[n], low) * evaluate(basis[k], low)
            a[n][k] = -scale * (inner + ends)
        b[n] = scale * evaluate(phi, high) * evaluate(basis[n], high)
    return a, b


def compose_shift(p):
    """p(2s - 1)."""
    out = [Fraction(0)]
    for c in reversed(p):
        out = multiply(out, [Fraction(-1), Fraction(2)])
        out[0] += c
    while len(out) > 1 and out[-1] == 0:
        out.pop()
    return out


def fractions_to_mp(rows):
    """Object array of mpmath numbers from (nested) fractions."""
    return np.array(
        [
            fractions_to_mp(v)
            if isinstance(v, list)
            else mp.mpf(v.numerator) / mp.mpf(v.denominator)
            for v in rows
        ],
        dtype=object,
    )


# ---------------------------------------------------------------------------------------------
# Matrices in 50 digits.


def legs(order, normalization="probability"):
    """LegS; see `oracles.hippo.legs`. The roots are mpmath's."""
    a, b = legendre_construction(order, [1, 1])
    a, b = fractions_to_mp(a), fractions_to_mp(b)
    return _from_plain(a, b, normalization)


def legt(order, normalization="probability", window=1):
    """LegT; see `oracles.hippo.legt`."""
    a, b = legendre_construction(order, [2])
    a, b = fractions_to_mp(a) / mp.mpf(window), fractions_to_mp(b) / mp.mpf(window)
    return _from_plain(a, b, normalization)


def _from_plain(a, b, normalization):
    """Rescale from plain P_n: c_probability = c_plain/r_n, c_lebesgue = sqrt(2) c_plain/r_n."""
    order = len(b)
    scale = np.empty(order, dtype=object)
    for n in range(order):
        scale[n] = {
            "legendre": mp.mpf(1),
            "probability": 1 / mp.sqrt(2 * n + 1),
            "lebesgue": mp.sqrt(2) / mp.sqrt(2 * n + 1),
            "lmu": mp.mpf((-1) ** n),
        }[normalization]
    return scale[:, None] * a / scale[None, :], scale * b


def lagt(order, window=1):
    """LagT; see `oracles.hippo.lagt`."""
    a = np.array(
        [[mp.mpf(-1 if k < n else 0) for k in range(order)] for n in range(order)], dtype=object
    )
    for n in range(order):
        a[n, n] = -mp.mpf(1) / 2
    return a / mp.mpf(window), np.array([mp.mpf(1)] * order, dtype=object) / mp.mpf(window)


def malmquist_impulse(poles, t):
    """(e^{tA} B)_n of the Malmquist system with distinct poles, by residues in high precision.

    X_n(s) = b_n/(s+p_n) prod_{k<n} (s-p_k)/(s+p_k) has simple poles at -p_0 ... -p_n.
    """
    t = np.atleast_1d(np.asarray(t, dtype=float))
    order = len(poles)
    out = np.zeros((order, len(t)))
    with mp.workdps(DIGITS + 2 * order):
        p = [mp.mpf(float(v)) for v in poles]
        if len(set(p)) != order:
            raise ValueError("the residues need distinct poles")
        decays = [[mp.exp(-pole * mp.mpf(float(v))) for v in t] for pole in p]
        for n in range(order):
            residues = []
            for j in range(n + 1):
                # the factor (s + p_j) is divided out of the denominator, s = -p_j
                value = mp.sqrt(2 * p[n])
                for k in range(n):
                    value *= -p[j] - p[k]
                for k in range(n + 1):
                    if k != j:
                        value /= p[k] - p[j]
                residues.append(value)
            for i in range(len(t)):
                out[n, i] = float(mp.fsum(residues[j] * decays[j][i] for j in range(n + 1)))
    return out


# ---------------------------------------------------------------------------------------------
# Linear algebra for `oracles.hippo.run`.


class Mp:
    """The linear algebra that the rules need, on object arrays in the current precision."""

    @staticmethod
    def eye(n):
        out = np.full((n, n), mp.mpf(0), dtype=object)
        for i in range(n):
            out[i, i] = mp.mpf(1)
        return out

    @staticmethod
    def solve(matrix, right):
        """Gaussian elimination with partial pivoting."""
        m = np.array(matrix, dtype=object)
        r = np.array(right, dtype=object)
        vector = r.ndim == 1
        r = r[:, None] if vector else r
        n = len(m)
        for i in range(n):
            pivot = max(range(i, n), key=lambda j: abs(m[j, i]))
            if pivot != i:
                m[[i, pivot]] = m[[pivot, i]]
                r[[i, pivot]] = r[[pivot, i]]
            for j in range(i + 1, n):
                if m[j, i] != 0:
                    factor = m[j, i] / m[i, i]
                    m[j, i:] = m[j, i:] - factor * m[i, i:]
                    r[j] = r[j] - factor * r[i]
        for i in range(n - 1, -1, -1):
            if i + 1 < n:
                r[i] = r[i] - m[i, i + 1 :] @ r[i + 1 :]
            r[i] = r[i] / m[i, i]
        return r[:, 0] if vector else r

    @staticmethod
    def exponential_and_integral(a, b, tau):
        """e^{tau A} and int_0^tau e^{sA} ds B: Taylor series of the augmented matrix, squared."""
        n = len(b)
        m = np.full((n + 1, n + 1), mp.mpf(0), dtype=object)
        m[:n, :n] = tau * a
        m[:n, n] = tau * b
        norm = max(sum(abs(v) for v in row) for row in m)
        halvings = max(0, int(mp.ceil(mp.log(norm, 2))) + 4) if norm > 0 else 0
        m = m / mp.mpf(2) ** halvings
        total, term, j = Mp.eye(n + 1), Mp.eye(n + 1), 0
        while max(abs(v) for v in term.ravel()) > mp.mpf(10) ** (-mp.mp.dps - 5):
            j += 1
            term = term @ m / j
            total = total + term
        for _ in range(halvings):
            total = total @ total
        return total[:n, :n], total[:n, n]

    log = staticmethod(mp.log)


def run(a, b, u, **options):
    """`oracles.hippo.run` in 50 digits; a, b are float64 or mpmath arrays, u exact float64 values.

    The result is rounded to float64.
    """
    from . import hippo

    with mp.workdps(DIGITS):
        a = to_mp(a) if np.asarray(a).dtype != object else a
        b = to_mp(b) if np.asarray(b).dtype != object else b
        for name in ("times", "first"):
            if options.get(name) is not None and np.asarray(options[name]).dtype != object:
                options[name] = to_mp(options[name])
        for name in ("step", "alpha"):
            if name in options:
                options[name] = mp.mpf(options[name])
        out = hippo.run(a, b, to_mp(np.asarray(u)), linalg=Mp, **options)
        return to_float(out)
