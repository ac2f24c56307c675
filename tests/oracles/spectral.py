"""Spectra of HiPPO systems: phase equation in 50 digits, exact eigenvectors, dense routes.

Three kinds of reference. In mpmath, to 50 digits: the roots of the phase equation and their
weights. In exact fractions: eigenvectors of the cascades from their recurrence and in closed form,
Padé approximants from the Taylor series, characteristic polynomials by elimination. In float64
with LAPACK through NumPy: dense Hermitian problems, singular values, supporting lines.

Notation. A cascade with poles p_k > 0 has A_nn = -p_n, A_nk = -b_n b_k (k < n), b_n^2 = 2 p_n; LegS
is the cascade p_n = n + 1/2 less I/2, LagT has p_n = 1/2, GLagT is LagT less beta/2 I (in its
`laguerre` coordinates).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import mpmath as mp
import numpy as np

from . import hippo

DIGITS = 50
CASCADES = ("legs", "lagt", "glagt", "malmquist")


# ---------------------------------------------------------------------------------------------
# The phase equation, in high precision.


@dataclass(frozen=True)
class PhaseSum:
    """Phi(mu) = sum of 2 arctan(mu/p_k) term by term, for poles given as exact numbers."""

    poles: tuple[Fraction, ...]

    @property
    def order(self):
        return len(self.poles)

    @property
    def pole_sum(self):
        return _mpf(sum(self.poles))

    def value(self, mu):
        return mp.fsum(2 * mp.atan(mu / _mpf(p)) for p in self.poles)

    def slope(self, mu):
        """Phi' = sum of 2 p/(p^2 + mu^2)."""
        return mp.fsum(2 * _mpf(p) / (_mpf(p) ** 2 + mu**2) for p in self.poles)


@dataclass(frozen=True)
class PhaseLegS:
    """The same sum for p_k = k + 1/2 by the Gamma function, for any order.

    Phi = 2 Im[lnGamma(N + 1/2 + i mu) - lnGamma(1/2 + i mu)], Phi' = 2 Re of digammas.
    """

    order: int

    @property
    def pole_sum(self):
        return mp.mpf(self.order) ** 2 / 2

    def value(self, mu):
        half = mp.mpf(1) / 2
        ends = mp.loggamma(mp.mpc(self.order + half, mu)) - mp.loggamma(mp.mpc(half, mu))
        return 2 * ends.imag

    def slope(self, mu):
        half = mp.mpf(1) / 2
        ends = mp.digamma(mp.mpc(self.order + half, mu)) - mp.digamma(mp.mpc(half, mu))
        return 2 * mp.re(ends)


def _mpf(fraction):
    fraction = Fraction(fraction)
    return mp.mpf(fraction.numerator) / fraction.denominator


def digits_for(order):
    """Digits that leave DIGITS after the differences of log-gammas as large as N^2 log N."""
    return DIGITS + 3 * math.ceil(math.log10(order + 1)) + 5


def phase_root(phase, j):
    """mu_j with Phi(mu_j) = (N - 1 - 2j) pi: Newton, kept inside a proven bracket.

    arctan x <= x gives Phi(mu) <= mu Phi'(0) and N pi - Phi(mu) <= 2 sum(p)/mu.
    """
    order = phase.order
    if 2 * j == order - 1:
        return mp.mpf(0)
    if 2 * j > order - 1:
        with mp.workdps(digits_for(order)):
            return -phase_root(phase, order - 1 - j)
    with mp.workdps(digits_for(order)):
        target = (order - 1 - 2 * j) * mp.pi
        low = target / phase.slope(mp.mpf(0)) / 2
        high = 2 * phase.pole_sum / (order * mp.pi - target) * 2
        mu = mp.sqrt(low * high)
        for _ in range(2000):
            error = phase.value(mu) - target
            low, high = (low, mu) if error > 0 else (mu, high)
            move = -error / phase.slope(mu)
            following = mu + move
            if abs(move) <= abs(mu) * mp.mpf(10) ** (-DIGITS):
                return +following
            if not low < following < high:
                following = mp.sqrt(low * high)
            mu = following
    raise ArithmeticError("the iteration did not settle")


def phase_bisection(phase, j, digits=30):
    """The same root by nothing but the sign of Phi - target, to `digits` of max(|mu|, 1); slow."""
    order = phase.order
    with mp.workdps(digits_for(order)):
        target = (order - 1 - 2 * j) * mp.pi
        low, high = mp.mpf(-1), mp.mpf(1)
        while phase.value(low) > target:
            low *= 2
        while phase.value(high) < target:
            high *= 2
        while high - low > max(abs(high), 1) * mp.mpf(10) ** (-digits):
            middle = (low + high) / 2
            low, high = (low, middle) if phase.value(middle) > target else (middle, high)
        return (low + high) / 2


def lagt_root(order, j):
    """mu_j = tan(pi (N - 1 - 2j)/(2N))/2 and its weight 4/Phi' = (1 + 4 mu^2)/N."""
    with mp.workdps(digits_for(order)):
        mu = mp.tan(mp.pi * (order - 1 - 2 * j) / (2 * order)) / 2
        return +mu, (1 + 4 * mu**2) / order


def phase_of(measure, order, poles=None):
    """The phase function of a cascade."""
    if measure == "legs":
        return PhaseLegS(order)
    return PhaseSum(cascade_poles(measure, order, poles))


def cascade_poles(measure, order, poles=None):
    """The poles as exact fractions."""
    if measure == "legs":
        return tuple(Fraction(2 * n + 1, 2) for n in range(order))
    if measure in ("lagt", "glagt"):
        return (Fraction(1, 2),) * order
    return tuple(Fraction(float(p)) for p in poles)


def normal_pair(measure, order, j, poles=None):
    """(mu_j, weight_j) to 50 digits, for window 1 and the cascade's own b."""
    with mp.workdps(digits_for(order)):
        if measure in ("lagt", "glagt"):
            return lagt_root(order, j)
        phase = phase_of(measure, order, poles)
        mu = phase_root(phase, j)
        return mu, 4 / phase.slope(mu)


def relative_error(value, exact):
    """|value/exact - 1| of a float64 against a 50-digit number, as float."""
    with mp.workdps(DIGITS):
        return float(abs(mp.mpf(float(value)) / exact - 1))


def sampled(order):
    """Indices at both ends, around the quarter and around the middle."""
    middle = order // 2
    wanted = {0, 1, 2, order // 4, middle - 2, middle - 1, middle, middle + 1, order - 2, order - 1}
    return sorted(j for j in wanted if 0 <= j < order)


# ---------------------------------------------------------------------------------------------
# Normal plus low rank, densely.


@dataclass(frozen=True)
class NormalForm:
    """A = T (shift I + K - G G^T) T^-1 and B = T B_o with K skew; T the change to orthonormal."""

    A: np.ndarray
    B: np.ndarray
    T: np.ndarray
    K: np.ndarray
    G: np.ndarray
    B_o: np.ndarray
    shift: float

    def spectrum(self):
        """(mu, Q): K Q = Q i diag(mu), mu descending, Q unitary; by a dense Hermitian solver."""
        mu, q = np.linalg.eigh(-1j * self.K)
        return mu[::-1], q[:, ::-1]


def normal_form(measure, order, normalization="probability", *, window=1.0, divide=True, **options):
    """The splitting written out; `divide=False` for LegS on its own clock (no window in A)."""
    a, b = hippo.matrices(measure, order, window=window, normalization=normalization, **options)
    time = window
    if measure == "legs":
        time = window if divide else 1.0
        a, b = a / time, b / time
    r = np.sqrt(2 * np.arange(order) + 1.0)
    sign = (-1.0) ** np.arange(order)
    shift, t = 0.0, np.ones(order)
    if measure == "legs":
        shift, g = -0.5 / time, [r / np.sqrt(2 * time)]
        t = r if normalization == "legendre" else t
    elif measure == "lagt":
        g = [np.ones(order) / np.sqrt(2 * time)]
    elif measure == "glagt":
        alpha, beta = options.get("alpha", 0.0), options.get("beta", 0.01)
        shift, g = -beta / 2 / time, [np.ones(order) / np.sqrt(2 * time)]
        if normalization == "probability":
            factor = beta ** ((1 - alpha) / 2) / math.sqrt(math.gamma(1 - alpha))
            t = factor / hippo.glagt_scale(order, alpha)
    elif measure == "malmquist":
        g = [np.sqrt(np.asarray(options["poles"], dtype=float) / time)]
    elif measure in ("legt", "lmu"):
        g = [r / np.sqrt(2 * time), sign * r / np.sqrt(2 * time)]
        t = {"legendre": r, "lmu": sign * r}.get(normalization, t)
    elif measure == "fout":
        kappa = hippo.KAPPA[options.get("closure", "average")]
        g = [math.sqrt(kappa / time) * fourier_ends(order)]
    else:
        raise ValueError(measure)
    g = np.array(g).T
    change = np.diag(t)
    if measure == "fout" and normalization == "complex":
        change = hippo.fourier_real_to_complex(order)
    inside = np.linalg.solve(change, a @ change)
    skew = inside - shift * np.eye(order) + g @ g.T
    return NormalForm(a, b, change, skew, g, np.linalg.solve(change, b), shift)


def fourier_ends(order):
    """The basis 1, sqrt(2) cos, sqrt(2) sin, ... at the ends of the window."""
    index = [hippo.fourier_index(n) for n in range(order)]
    return np.array([0.0 if sine else (1.0 if m == 0 else math.sqrt(2)) for m, sine in index])


def transfer(a, b, c, s):
    """C (sI - A)^-1 B by a dense solve."""
    a = np.asarray(a)
    return np.asarray(c) @ np.linalg.solve(s * np.eye(len(a)) - a, np.asarray(b))


# ---------------------------------------------------------------------------------------------
# Eigenvectors of the cascades, exactly.


def cascade_eigenvectors(poles):
    """Right and left eigenvectors of every -p_j: lists of what `cascade_eigenvector` gives."""
    pairs = [cascade_eigenvector(poles, j) for j in range(len(poles))]
    return [z for z, _ in pairs], [y for _, y in pairs]


def cascade_eigenvector(poles, j):
    """(z, y) with z_n = b_n x_n of the right and y_n = b_n (left vector)_n, for -p_j.

    From (A - lambda) x = 0: (p_j - p_n) z_n = 2 p_n sum_{k<n} z_k, z_j = 1, zero before; from the
    left the sum is over k > n and the vector ends at j. Exact for fractions with distinct poles.
    """
    order, rows = len(poles), []
    for indices in (range(j + 1, order), range(j - 1, -1, -1)):
        row = [Fraction(0)] * order
        row[j] = total = Fraction(1)
        for n in indices:
            row[n] = 2 * poles[n] * total / (poles[j] - poles[n])
            total += row[n]
        rows.append(row)
    return rows[0], rows[1]


def legs_eigenvector(order, eigenvalue):
    """b_n x_n of LegS for -eigenvalue in closed form, scaled to 1 at its first entry.

    S_n = (-1)^(N-n-1) (N-l)! (n+l)!/((N+l-1)! (n-l+1)!) from n = l - 1 on, b_n x_n = S_n - S_{n-1}.
    """
    lam, f = eigenvalue, math.factorial
    sums = [Fraction(0)] * order
    for n in range(lam - 1, order):
        size = Fraction(f(order - lam) * f(n + lam), f(order + lam - 1) * f(n - lam + 1))
        sums[n] = (-1) ** (order - n - 1) * size
    steps = [a - b for a, b in zip(sums, [Fraction(0), *sums], strict=False)]
    return [v / steps[lam - 1] for v in steps]


def _square(row, scale):
    return sum((v * v * c for v, c in zip(row, scale, strict=True)), Fraction(0))


def unit_vector(row, scale, digits=DIGITS):
    """mpmath entries of sign(v) sqrt(scale) v over their 2-norm."""
    with mp.workdps(digits):
        norm = mp.sqrt(_mpf(_square(row, scale)))
        return [_mpf(v) * mp.sqrt(_mpf(c)) / norm for v, c in zip(row, scale, strict=True)]


def coordinates(poles, normalization="probability"):
    """Squares of the factors that turn (b_n x_n) and (b_n y_n) into the coordinates x_n and y_n.

    `legendre` has x_legendre = b x_probability and y_legendre = y_probability/b.
    """
    own = [1 / (2 * p) for p in poles]
    if normalization == "legendre":
        return [Fraction(1)] * len(poles), [v * v for v in own]
    return own, own


def inverse_row(poles, j, normalization="probability"):
    """Row j of V^-1 as mpmath numbers: the left vector times ||x||/(y* x); V has unit columns."""
    right, left = cascade_eigenvector(poles, j)
    scale_right, scale_left = coordinates(poles, normalization)
    # z and y hold factors b: y* x = sum of products over b^2, of which only the j-th is not zero
    factor = mp.sqrt(_mpf(_square(right, scale_right))) * _mpf(2 * poles[j])
    return [_mpf(v) * mp.sqrt(_mpf(c)) * factor for v, c in zip(left, scale_left, strict=True)]


def log10_eigenvalue_condition(poles, j, normalization="probability"):
    """log10 of 1/|y* x| with unit x and y: the length of the row of V^-1."""
    with mp.workdps(DIGITS):
        row = inverse_row(poles, j, normalization)
        return float(mp.log10(mp.sqrt(mp.fsum(v * v for v in row))))


def log10_condition(poles, normalization="probability"):
    """log10 kappa_2 of the unit-column eigenvector matrix.

    Each entry of V and V^-1 is exact; rounded to float64 after scaling, the two spectral norms keep
    13 digits, for a norm does not amplify rounding.
    """
    order = len(poles)
    scale, _ = coordinates(poles, normalization)
    with mp.workdps(DIGITS):
        inverse = [inverse_row(poles, j, normalization) for j in range(order)]
        largest = max(abs(v) for row in inverse for v in row)
        scaled = np.array([[float(v / largest) for v in row] for row in inverse])
        right, _ = cascade_eigenvectors(poles)
        forward = np.array([[float(v) for v in unit_vector(row, scale)] for row in right])
        norms = np.linalg.norm(scaled, 2) * np.linalg.norm(forward, 2)
        return float(mp.log10(largest) + mp.log10(norms))


def condition_by_iteration(poles, digits=120, tolerance=1e-13):
    """kappa_2 of the same matrix by power iterations in mpmath: on V and on a solve with V."""
    order = len(poles)
    right, _ = cascade_eigenvectors(poles)
    scale, _ = coordinates(poles)
    with mp.workdps(digits):
        v = np.array([unit_vector(row, scale, digits) for row in right], dtype=object).T
        inverse = np.full((order, order), mp.mpf(0), dtype=object)
        for i in range(order):  # forward substitution, V lower triangular
            unit = np.array([mp.mpf(int(i == k)) for k in range(order)], dtype=object)
            inverse[i] = (unit - v[i, :i] @ inverse[:i]) / v[i, i]
        return _norm_by_iteration(v, tolerance) * _norm_by_iteration(inverse, tolerance)


def _norm_by_iteration(matrix, tolerance):
    x = np.array([mp.mpf(1) / (n + 1) for n in range(matrix.shape[1])], dtype=object)
    before = mp.mpf(0)
    for _ in range(20000):
        x = x / mp.sqrt(x @ x)
        image = matrix @ x
        size = mp.sqrt(image @ image)
        if abs(size - before) <= tolerance * size * mp.mpf(10) ** -3:
            return size
        before, x = size, matrix.T @ image
    raise ArithmeticError("the power iteration did not settle")


def eigenvalue_conditions(a):
    """(eigenvalues, 1/|y* x|, kappa_2(V)) of a small, well-conditioned matrix by LAPACK."""
    values, vectors = np.linalg.eig(a)
    vectors = vectors / np.linalg.norm(vectors, axis=0)
    return values, np.linalg.norm(np.linalg.inv(vectors), axis=1), np.linalg.cond(vectors)


def henrici(a, eigenvalues):
    """sqrt(||A||_F^2 - sum |lambda|^2) with the difference taken in 50 digits."""
    with mp.workdps(DIGITS):
        square = mp.fsum(mp.mpf(v.real) ** 2 + mp.mpf(v.imag) ** 2 for v in np.ravel(a).tolist())
        square -= mp.fsum(
            mp.mpf(v.real) ** 2 + mp.mpf(v.imag) ** 2 for v in np.ravel(eigenvalues).tolist()
        )
        return float(mp.sqrt(max(square, mp.mpf(0))))


# ---------------------------------------------------------------------------------------------
# Padé approximants of a delay, in fractions.


def taylor_delay(count, window=1):
    """Coefficients of e^{-sw}: (-w)^i/i!."""
    return [Fraction((-1) ** i, math.factorial(i)) * Fraction(window) ** i for i in range(count)]


def pade_from_taylor(order, window=1):
    """[N-1/N] numerator and denominator of e^{-sw} with constant term 1, from the definition.

    The coefficients s^N ... s^(2N-1) of denominator times series vanish; solved by elimination.
    """
    series = taylor_delay(2 * order, window)
    rows = [[series[m - i] for i in range(1, order + 1)] for m in range(order, 2 * order)]
    unknown = solve_fractions(rows, [-series[m] for m in range(order, 2 * order)])
    denominator = [Fraction(1), *unknown]
    numerator = [
        sum((denominator[i] * series[m - i] for i in range(m + 1)), Fraction(0))
        for m in range(order)
    ]
    return numerator, denominator


def legt_fractions(order, window=1):
    """(A, B, C) of LegT in `legendre` coordinates, exact; C reads u(t - w): P_n(-1) = (-1)^n."""
    w = Fraction(window)
    a = [
        [Fraction(-(2 * n + 1) * (1 if k < n else (-1) ** (n - k))) / w for k in range(order)]
        for n in range(order)
    ]
    b = [Fraction(2 * n + 1) / w for n in range(order)]
    return a, b, [Fraction((-1) ** n) for n in range(order)]


def solve_fractions(rows, right):
    """Exact Gaussian elimination."""
    return _eliminate(rows, right)[0]


def determinant_fractions(rows):
    """Exact determinant by the same elimination."""
    return _eliminate(rows, [Fraction(0)] * len(rows))[1]


def _eliminate(rows, right):
    m = [[*row, r] for row, r in zip(rows, right, strict=True)]
    n, determinant = len(m), Fraction(1)
    for i in range(n):
        pivot = next((j for j in range(i, n) if m[j][i] != 0), None)
        if pivot is None:
            return None, Fraction(0)
        if pivot != i:
            m[i], m[pivot], determinant = m[pivot], m[i], -determinant
        determinant *= m[i][i]
        for j in range(i + 1, n):
            factor = m[j][i] / m[i][i]
            if factor:
                m[j] = [x - factor * y for x, y in zip(m[j], m[i], strict=True)]
    x = [Fraction(0)] * n
    for i in range(n - 1, -1, -1):
        tail = sum((m[i][k] * x[k] for k in range(i + 1, n)), Fraction(0))
        x[i] = (m[i][n] - tail) / m[i][i]
    return x, determinant


def resolvent_fractions(a, s):
    """sI - A with fractions."""
    return [[(s if i == k else 0) - a[i][k] for k in range(len(a))] for i in range(len(a))]


def pade_poles(coefficients, digits=80):
    """Roots of a polynomial (ascending fractions) by Durand and Kerner's simultaneous iteration."""
    degree = len(coefficients) - 1
    if degree == 0:
        return []
    with mp.workdps(digits + 20):
        monic = [_mpf(c / coefficients[-1]) for c in coefficients]
        radius = 1 + max(abs(c) ** (mp.mpf(1) / (degree - i)) for i, c in enumerate(monic[:-1]))
        roots = [radius * mp.expjpi(mp.mpf(2 * k) / degree + 0.3) for k in range(degree)]
        for _ in range(2000):
            largest = mp.mpf(0)
            for k in range(degree):
                others = mp.fprod(roots[k] - r for i, r in enumerate(roots) if i != k)
                move = horner(monic, roots[k]) / others
                roots[k] -= move
                largest = max(largest, abs(move))
            if largest <= radius * mp.mpf(10) ** -digits:
                return roots
    raise ArithmeticError("the roots did not settle")


def horner(coefficients, s):
    """Value of a polynomial, lowest degree first."""
    total = mp.mpf(0)
    for c in reversed(coefficients):
        total = total * s + c
    return total


def pade_step_response(numerator, denominator, t, digits=80):
    """Response to a unit step by residues: 1 + sum of num(p)/(p den'(p)) e^{pt} over the poles."""
    poles = pade_poles(denominator, digits)
    with mp.workdps(digits):
        num = [_mpf(c) for c in numerator]
        slope = [_mpf(i * c) for i, c in enumerate(denominator)][1:]
        residues = [horner(num, p) / (p * horner(slope, p)) for p in poles]
        response = [
            mp.fsum(r * mp.exp(p * mp.mpf(float(v))) for r, p in zip(residues, poles, strict=True))
            for v in np.ravel(t)
        ]
        final = num[0] / _mpf(denominator[0])
        return np.array([float(final + mp.re(v)) for v in response]).reshape(np.shape(t))


# ---------------------------------------------------------------------------------------------
# Diagonal initialisations.


def s4d(order, kind):
    """The eigenvalues with Im >= 0 as the S4D paper prints them; `real`: all of them."""
    if kind == "real":
        return np.array([-(n + 1.0) for n in range(order)])
    imaginary = {
        "lin": lambda n: math.pi * n,
        "inv": lambda n: order / math.pi * (order / (2 * n + 1) - 1),
        "quad": lambda n: (1 + 2 * n) ** 2 / math.pi,
    }[kind]
    return np.array([complex(-0.5, imaginary(n)) for n in range(order // 2)])


# ---------------------------------------------------------------------------------------------
# Regions of the plane, point by point.


def sigma_min(a, real, imag):
    """sigma_min(zI - A) over the grid, one singular value decomposition per point; (ny, nx)."""
    a = np.asarray(a)
    z = np.asarray(real)[None, :] + 1j * np.asarray(imag)[:, None]
    matrices = z[..., None, None] * np.eye(len(a)) - a
    return np.linalg.svd(matrices, compute_uv=False)[..., -1]


def sigma_min_exact(a, z, digits=DIGITS):
    """The same at one point with mpmath's singular values of the exact entries."""
    a = np.asarray(a, dtype=complex)
    with mp.workdps(digits):
        m = mp.matrix([[mp.mpc(complex(v)) for v in row] for row in -a])
        for i in range(len(a)):
            m[i, i] += mp.mpc(complex(z))
        return float(mp.svd_c(m, compute_uv=False)[len(a) - 1])


def support(a, angle):
    """max Re(e^{-i angle} z) over the numerical range: the largest eigenvalue of a Hermitian."""
    turned = np.exp(-1j * angle) * np.asarray(a)
    return float(np.linalg.eigvalsh((turned + turned.conj().T) / 2)[-1])


def numerical_radius(a, grid=720):
    """Maximum of the support function: a grid, then golden sections around its best points."""
    angles = np.linspace(0, 2 * np.pi, grid, endpoint=False)
    values = np.array([support(a, angle) for angle in angles])
    best, ratio = values.max(), (math.sqrt(5) - 1) / 2
    for i in np.argsort(values)[-4:]:
        low, high = angles[i] - 2 * np.pi / grid, angles[i] + 2 * np.pi / grid
        for _ in range(60):
            x, y = high - ratio * (high - low), low + ratio * (high - low)
            low, high = (low, y) if support(a, x) > support(a, y) else (x, high)
        best = max(best, support(a, (low + high) / 2))
    return best


def convex_hull(points):
    """Corners of the convex hull, counter-clockwise (Andrew's chain)."""
    ordered = sorted({(complex(z).real, complex(z).imag) for z in points})
    if len(ordered) < 3:
        return [complex(*p) for p in ordered]

    def chain(sequence):
        out = []
        for p in sequence:
            while len(out) > 1 and _turn(out[-2], out[-1], p) <= 0:
                out.pop()
            out.append(p)
        return out[:-1]

    return [complex(*p) for p in chain(ordered) + chain(ordered[::-1])]


def _turn(o, p, q):
    return (p[0] - o[0]) * (q[1] - o[1]) - (p[1] - o[1]) * (q[0] - o[0])
