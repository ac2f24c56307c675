"""HiPPO in float64: matrices entry by entry, dense time stepping, projection by quadrature.

Conventions. A signal u is constant on the cells [0, t_1), [t_1, t_2), ...; it is zero before 0.
A system x' = A x + B u (clocks "window", "invariant") or x' = (A x + B u)/t (clock "scaled") holds
coefficients c_n = integral of u against an *analysis* function, and the signal is rebuilt as
sum_n c_n times a *synthesis* function. The two families are biorthogonal; they are equal exactly
when the basis is orthonormal.

Sources: Gu et al. 2020 (HiPPO, arXiv 2008.07669); Voelker et al. 2019 (LMU); the public S4 code
(conventions of legt, lagt, glagt); kexue.fm archives 10114 and 10137 (general construction, FouS).
"""

from __future__ import annotations

import functools
import math

import numpy as np
import scipy.special as sp

EPS = float(np.finfo(np.float64).eps)

NORMALIZATIONS = {
    "legs": ("probability", "lebesgue", "legendre"),
    "legt": ("probability", "lebesgue", "legendre", "lmu"),
    "lmu": ("lmu",),
    "lagt": ("probability", "lebesgue"),
    "glagt": ("probability", "laguerre"),
    "fout": ("probability", "lebesgue", "complex"),
    "fous": ("probability", "lebesgue", "complex"),
    "malmquist": ("probability", "lebesgue"),
}
CLOCK = {
    "legs": "scaled",
    "fous": "scaled",
    "legt": "window",
    "lmu": "window",
    "fout": "window",
    "lagt": "invariant",
    "glagt": "invariant",
    "malmquist": "invariant",
}
RULES = ("forward", "backward", "bilinear", "bilinear-split", "gbt", "zoh", "exact")
KAPPA = {"left": 1.0, "average": 2.0}


# ---------------------------------------------------------------------------------------------
# Matrices, entry by entry.


def legs(order, normalization="probability"):
    """LegS: A_nk = -r_n r_k (k<n), -(n+1) (k=n), 0 (k>n), B_n = r_n, r_n = sqrt(2n+1).

    That is `probability` (basis r_n P_n). `lebesgue` has the same A and sqrt(2) B; `legendre`
    (plain P_n) has -(2n+1), -(n+1), 0 and B_n = 2n+1. Source: HiPPO, theorem 2.
    """
    a = np.zeros((order, order))
    b = np.zeros(order)
    for n in range(order):
        for k in range(order):
            if k == n:
                a[n, k] = -(n + 1)
            elif k < n:
                if normalization == "legendre":
                    a[n, k] = -(2 * n + 1)
                else:
                    a[n, k] = -math.sqrt((2 * n + 1) * (2 * k + 1))
        b[n] = {
            "probability": math.sqrt(2 * n + 1),
            "lebesgue": math.sqrt(2 * (2 * n + 1)),
            "legendre": 2 * n + 1,
        }[normalization]
    return a, b


def legt(order, normalization="probability", window=1.0):
    """LegT, window w: A_nk = -r_n r_k/w (k<=n), -r_n r_k (-1)^(n-k)/w (k>n), B_n = r_n/w.

    `lebesgue`: same A, sqrt(2) B. `legendre`: -(2n+1)(...)/w, B = (2n+1)/w. `lmu` (P_n of the
    reversed window): (2n+1)/w (-1 if n<k else (-1)^(n-k+1)), B = (-1)^n (2n+1)/w.
    Sources: HiPPO, theorem 1; Voelker et al. 2019, equation 2.
    """
    a = np.zeros((order, order))
    b = np.zeros(order)
    for n in range(order):
        for k in range(order):
            if normalization == "lmu":
                a[n, k] = (2 * n + 1) * (-1.0 if n < k else (-1.0) ** (n - k + 1))
            else:
                sign = 1.0 if k < n else (-1.0) ** (k - n)
                if normalization == "legendre":
                    a[n, k] = -(2 * n + 1) * sign
                else:
                    a[n, k] = -math.sqrt((2 * n + 1) * (2 * k + 1)) * sign
        b[n] = {
            "probability": math.sqrt(2 * n + 1),
            "lebesgue": math.sqrt(2 * (2 * n + 1)),
            "legendre": 2 * n + 1,
            "lmu": (-1.0) ** n * (2 * n + 1),
        }[normalization]
    return a / window, b / window


def lagt(order, window=1.0):
    """LagT: A = (I/2 - tril(1))/w, B = 1/w. Its impulse response is L_n(t/w) e^{-t/2w}/w."""
    a = np.zeros((order, order))
    for n in range(order):
        for k in range(n + 1):
            a[n, k] = -0.5 if k == n else -1.0
    return a / window, np.ones(order) / window


def glagt(order, normalization="probability", alpha=0.0, beta=0.01, window=1.0):
    """Generalised LagT: `laguerre` A = -(1+beta)/2 I - stril(1), B_n = C(n+alpha, n).

    `probability` (the public code's): A_nk L_k/L_n with L_n = sqrt(Gamma(n+alpha+1)/n!) and
    B_n beta^((1-alpha)/2) / (L_n sqrt(Gamma(1-alpha))).
    """
    a = np.zeros((order, order))
    b = np.zeros(order)
    for n in range(order):
        for k in range(n + 1):
            a[n, k] = -(1 + beta) / 2 if k == n else -1.0
        b[n] = 1.0
        for j in range(1, n + 1):
            b[n] *= (j + alpha) / j
    if normalization == "probability":
        scale = glagt_scale(order, alpha)
        factor = beta ** ((1 - alpha) / 2) / math.sqrt(math.gamma(1 - alpha))
        for n in range(order):
            for k in range(order):
                a[n, k] *= scale[k] / scale[n]
            b[n] *= factor / scale[n]
    return a / window, b / window


def glagt_scale(order, alpha):
    """sqrt(Gamma(n+alpha+1)/n!), by the recurrence of the Gamma function."""
    scale = np.zeros(order)
    ratio = math.gamma(alpha + 1)
    for n in range(order):
        if n > 0:
            ratio *= (n + alpha) / n
        scale[n] = math.sqrt(ratio)
    return scale


def fourier_index(n):
    """Function n of the real Fourier basis 1, cos 1, sin 1, cos 2, ...: (frequency, is_sine)."""
    return (n + 1) // 2, n > 0 and n % 2 == 0


def fout(order, normalization="probability", closure="average", window=1.0):
    """FouT, kappa = 1 ("left") or 2 ("average").

    Real basis 1, sqrt(2) cos, sqrt(2) sin: A = (Omega - kappa b b^T)/w, Omega = [[0, 2 pi m],
    [-2 pi m, 0]] on (cos m, sin m), b = (1; sqrt 2, 0; ...), B = kappa b/w. Complex, indices
    -M..M: A_nk = (2 pi i n delta_nk - kappa)/w, B_n = kappa/w. Sources: HiPPO appendix D.6 (2),
    kexue.fm 10114 (1).
    """
    kappa = KAPPA[closure]
    if normalization == "complex":
        half = (order - 1) // 2
        a = np.zeros((order, order), dtype=complex)
        for i in range(order):
            for j in range(order):
                a[i, j] = -kappa + (2j * math.pi * (i - half) if i == j else 0.0)
        return a / window, np.full(order, kappa, dtype=complex) / window
    a = np.zeros((order, order))
    b = np.zeros(order)
    for n in range(order):
        p, sine = fourier_index(n)
        b[n] = 0.0 if sine else (1.0 if p == 0 else math.sqrt(2))
    for n in range(order):
        p, n_sine = fourier_index(n)
        for k in range(order):
            q, k_sine = fourier_index(k)
            a[n, k] = -kappa * b[n] * b[k]
            if p == q and k_sine and not n_sine:
                a[n, k] += 2 * math.pi * p
            elif p == q and n_sine and not k_sine:
                a[n, k] -= 2 * math.pi * p
    return a / window, kappa * b / window


def fous(order, normalization="probability"):
    """FouS: complex A_nk = -n/(n-k) (k != n), i pi n - 1 (k = n), B = 1, indices -M..M.

    Real basis: A_nk = -int_0^1 g_k (s g_n)' ds from int s sin(2 pi m s) = -1/(2 pi m),
    int s cos(2 pi m s) = 0 or 1/2 (m = 0). Source: kexue.fm 10137.
    """
    if normalization == "complex":
        half = (order - 1) // 2
        a = np.zeros((order, order), dtype=complex)
        for i in range(order):
            for j in range(order):
                n, k = i - half, j - half
                a[i, j] = 1j * math.pi * n - 1 if n == k else -n / (n - k)
        return a, np.ones(order, dtype=complex)
    a = np.zeros((order, order))
    b = np.zeros(order)

    def s_sin(m):
        return 0.0 if m == 0 else -1 / (2 * math.pi * m)

    def s_cos(m):
        return 0.5 if m == 0 else 0.0

    for n in range(order):
        p, n_sine = fourier_index(n)
        norm_n = 1.0 if p == 0 else math.sqrt(2)
        b[n] = 0.0 if n_sine else norm_n
        for k in range(order):
            q, k_sine = fourier_index(k)
            norm_k = 1.0 if q == 0 else math.sqrt(2)
            # int s g_k g_n' by the product formulas
            if n_sine and k_sine:  # 2 pi p int s cos(p) sin(q)
                integral = math.pi * p * (s_sin(q + p) + s_sin(q - p))
            elif n_sine:  # 2 pi p int s cos(p) cos(q)
                integral = math.pi * p * (s_cos(q + p) + s_cos(q - p))
            elif k_sine:  # -2 pi p int s sin(p) sin(q)
                integral = -math.pi * p * (s_cos(q - p) - s_cos(q + p))
            else:  # -2 pi p int s sin(p) cos(q)
                integral = -math.pi * p * (s_sin(p + q) + s_sin(p - q))
            a[n, k] = -norm_n * norm_k * integral - (1.0 if n == k else 0.0)
    return a, b


def malmquist(poles, window=1.0):
    """Malmquist: A_nn = -p_n, A_nk = -b_n b_k (k<n), 0 above; B = b, b_n = sqrt(2 p_n)."""
    order = len(poles)
    a = np.zeros((order, order))
    b = np.zeros(order)
    for n in range(order):
        b[n] = math.sqrt(2 * poles[n])
        for k in range(n + 1):
            a[n, k] = -poles[n] if k == n else -math.sqrt(4 * poles[n] * poles[k])
    return a / window, b / window


def matrices(
    measure,
    order,
    *,
    window=1.0,
    normalization=None,
    closure="average",
    poles=None,
    alpha=0.0,
    beta=0.01,
):
    """(A, B) of any measure in any of its normalisations. The scaled clock has no window."""
    normalization = normalization or NORMALIZATIONS[measure][0]
    if measure == "legs":
        return legs(order, normalization)
    if measure in ("legt", "lmu"):
        return legt(order, normalization, window)
    if measure == "lagt":
        return lagt(order, window)
    if measure == "glagt":
        return glagt(order, normalization, alpha, beta, window)
    if measure == "fout":
        return fout(order, normalization, closure, window)
    if measure == "fous":
        return fous(order, normalization)
    if measure == "malmquist":
        return malmquist(poles, window)
    raise ValueError(measure)


def fourier_real_to_complex(order):
    """T with c = T x: c_{+-m} = (a_m -+ i b_m)/sqrt(2), c_0 = a_0; rows -M..M. T is unitary."""
    half = (order - 1) // 2
    t = np.zeros((order, order), dtype=complex)
    t[half, 0] = 1.0
    for m in range(1, half + 1):
        for sign in (+1, -1):
            t[half + sign * m, 2 * m - 1] = 1 / math.sqrt(2)
            t[half + sign * m, 2 * m] = -sign * 1j / math.sqrt(2)
    return t


# ---------------------------------------------------------------------------------------------
# Second route to the matrices: the general construction by quadrature.


@functools.cache
def _gauss_legendre(count):
    """Nodes and weights on [-1, 1]: Newton on P_n in extended precision, w = 2/((1-x^2) P_n'^2).

    NumPy's leggauss has the nodes right, but its weights near the ends only to 1e-12 (n = 100).
    """
    x = np.polynomial.legendre.leggauss(count)[0].astype(np.longdouble)
    for _ in range(3):
        before, value = np.ones_like(x), x
        for k in range(1, count):
            before, value = value, ((2 * k + 1) * x * value - k * before) / (k + 1)
        slope = count * (before - x * value) / ((1 - x) * (1 + x))
        x = x - value / slope
    w = 2 / ((1 - x) * (1 + x) * slope**2)
    return x.astype(float), w.astype(float)


def gauss_legendre(count, low, high):
    """Gauss-Legendre nodes and weights on [low, high]."""
    x, w = _gauss_legendre(count)
    return low + (high - low) * (x + 1) / 2, w * (high - low) / 2


def general_construction(g, dg, phi, dphi, interval, order, *, kappa=1.0, nodes=None):
    """A_nk = -int g~_k (phi g_n)' ds - kappa phi(a) g_n(a) g~_k(a), B_n = phi(b) g_n(b) + closure.

    g~ is the Lebesgue dual of g (g~ = G^-1 g, G the Gram matrix; g~ = g when g is orthonormal).
    The unknown u at the far end a is taken as sum_k c_k g~_k(a) (kappa = 1) or as
    2 sum_k c_k g~_k(a) - u(b) (kappa = 2). Source: kexue.fm 10114; HiPPO appendix C.
    """
    low, high = interval
    s, w = gauss_legendre(nodes or 3 * order + 30, low, high)
    rows = np.array([g(n, s) * np.ones_like(s) for n in range(order)])
    slopes = np.array([dg(n, s) * np.ones_like(s) for n in range(order)])
    gram = (rows * w) @ rows.T
    dual = np.linalg.solve(gram, rows)
    at_low = np.array([g(n, np.array([low]))[0] for n in range(order)], dtype=float)
    at_high = np.array([g(n, np.array([high]))[0] for n in range(order)], dtype=float)
    dual_low = np.linalg.solve(gram, at_low)
    p, dp = phi(s) * np.ones_like(s), dphi(s) * np.ones_like(s)
    phi_low, phi_high = float(phi(np.float64(low))), float(phi(np.float64(high)))
    a = np.zeros((order, order))
    b = np.zeros(order)
    for n in range(order):
        derivative = dp * rows[n] + p * slopes[n]
        for k in range(order):
            a[n, k] = -np.sum(w * dual[k] * derivative)
            a[n, k] -= kappa * phi_low * at_low[n] * dual_low[k]
        b[n] = phi_high * at_high[n] + (kappa - 1) * phi_low * at_low[n]
    return a, b


def legendre_orthonormal(n, s):
    """sqrt((2n+1)/2) P_n(s), orthonormal on [-1, 1]."""
    return math.sqrt((2 * n + 1) / 2) * sp.eval_legendre(n, s)


def legendre_orthonormal_slope(n, s):
    """Its derivative, by P_n' = sum of (2j+1) P_j over j = n-1, n-3, ..."""
    total = np.zeros_like(np.asarray(s, dtype=float))
    for j in range(n - 1, -1, -2):
        total = total + (2 * j + 1) * sp.eval_legendre(j, s)
    return math.sqrt((2 * n + 1) / 2) * total


def chebyshev_orthonormal(n, s):
    """T_n(s) with norm 1 under the weight 1/sqrt(1-s^2): T_0/sqrt(pi), T_n sqrt(2/pi)."""
    return math.sqrt((1 if n == 0 else 2) / math.pi) * sp.eval_chebyt(n, s)


def chebyshev_orthonormal_slope(n, s):
    """Its derivative, T_n' = n U_{n-1}."""
    if n == 0:
        return np.zeros_like(np.asarray(s, dtype=float))
    return math.sqrt(2 / math.pi) * n * sp.eval_chebyu(n - 1, s)


def fourier_real(n, s):
    """1, sqrt(2) cos(2 pi s), sqrt(2) sin(2 pi s), ... on [0, 1]."""
    p, sine = fourier_index(n)
    if p == 0:
        return np.ones_like(np.asarray(s, dtype=float))
    return math.sqrt(2) * (np.sin if sine else np.cos)(2 * math.pi * p * np.asarray(s))


def fourier_real_slope(n, s):
    """Its derivative."""
    p, sine = fourier_index(n)
    if p == 0:
        return np.zeros_like(np.asarray(s, dtype=float))
    factor = 2 * math.pi * p * math.sqrt(2)
    arg = 2 * math.pi * p * np.asarray(s)
    return factor * np.cos(arg) if sine else -factor * np.sin(arg)


# ---------------------------------------------------------------------------------------------
# Analysis and synthesis functions, closed-form impulse responses.


def legs_impulse(order, t):
    """(e^{tA} B)_n = r_n e^{-t} P_n(2 e^{-t} - 1) for LegS in `probability`."""
    t = np.asarray(t, dtype=float)
    e = np.exp(-t)
    return np.array(
        [math.sqrt(2 * n + 1) * e * sp.eval_legendre(n, 2 * e - 1) for n in range(order)]
    )


def lagt_impulse(order, t):
    """(e^{tA} B)_n = L_n(t) e^{-t/2} for LagT with w = 1."""
    t = np.asarray(t, dtype=float)
    return np.array([sp.eval_laguerre(n, t) * np.exp(-t / 2) for n in range(order)])


def glagt_impulse(order, t, alpha, beta):
    """(e^{tA} B)_n = L_n^(alpha)(t) e^{-(1+beta)t/2} for GLagT in `laguerre` with w = 1."""
    t = np.asarray(t, dtype=float)
    return np.array(
        [sp.eval_genlaguerre(n, alpha, t) * np.exp(-(1 + beta) * t / 2) for n in range(order)]
    )


def malmquist_impulse(poles, t):
    """(e^{tA} B)_n, by residues for well separated poles; see `exact.malmquist_impulse`."""
    from . import exact

    return exact.malmquist_impulse(poles, t)


def _legendre_scale(normalization, n):
    """(analysis, synthesis) factors of P_n(2s-1) on [0, 1] in a Legendre normalisation."""
    root = math.sqrt(2 * n + 1)
    sign = (-1.0) ** n
    return {
        "probability": (root, root),
        "lebesgue": (math.sqrt(2) * root, root / math.sqrt(2)),
        "legendre": (root * root, 1.0),
        "lmu": (sign * root * root, sign),
    }[normalization]


def functions(measure, order, s, *, normalization=None, poles=None, alpha=0.0, beta=0.01):
    """(analysis, synthesis), each (order, len(s)).

    s in [0, 1] (0 = oldest, 1 = now) for legs, legt, lmu, fout, fous; s = lag/window for lagt,
    glagt, malmquist. c_n = int u(s) analysis_n(s) ds, u(s) ~ sum_n c_n synthesis_n(s), and
    int analysis_m synthesis_n ds = delta_mn.
    """
    normalization = normalization or NORMALIZATIONS[measure][0]
    s = np.atleast_1d(np.asarray(s, dtype=float))
    if measure in ("legs", "legt", "lmu"):
        p = np.array([sp.eval_legendre(n, 2 * s - 1) for n in range(order)])
        scale = np.array([_legendre_scale(normalization, n) for n in range(order)])
        return scale[:, :1] * p, scale[:, 1:] * p
    if measure in ("fout", "fous"):
        if normalization == "complex":
            half = (order - 1) // 2
            e = np.array([np.exp(2j * math.pi * n * s) for n in range(-half, half + 1)])
            return e.conj(), e
        f = np.array([fourier_real(n, s) for n in range(order)])
        return f, f
    if measure == "lagt":
        f = lagt_impulse(order, s)
        return f, f
    if measure == "malmquist":
        f = malmquist_impulse(poles, s)
        return f, f
    if measure == "glagt":
        h = glagt_impulse(order, s, alpha, beta)
        # biorthogonal under Lebesgue by the weight s^alpha e^{-s} of L_n^(alpha)
        square = glagt_scale(order, alpha)[:, None] ** 2
        dual = h * s**alpha * np.exp(beta * s) / square
        if normalization == "probability":
            factor = beta ** ((1 - alpha) / 2) / math.sqrt(math.gamma(1 - alpha))
            scale = factor / np.sqrt(square)
            h, dual = h * scale, dual / scale
        return h, dual
    raise ValueError(measure)


def constant(measure, order, normalization=None):
    """Coefficients of the signal u = 1 on the whole reference interval (the first scaled step).

    One of them is not zero: 1, sqrt(2) for `lebesgue` Legendre; index M for complex Fourier.
    """
    normalization = normalization or NORMALIZATIONS[measure][0]
    c = np.zeros(order, dtype=complex if normalization == "complex" else float)
    c[(order - 1) // 2 if normalization == "complex" else 0] = (
        math.sqrt(2) if measure in ("legs", "legt") and normalization == "lebesgue" else 1.0
    )
    return c


# ---------------------------------------------------------------------------------------------
# Dense time stepping. `linalg` holds the arithmetic, so that the same rules run in 50 digits.


class Float64:
    """The linear algebra that the rules need, in float64 or complex128."""

    @staticmethod
    def eye(n):
        return np.eye(n)

    @staticmethod
    def solve(matrix, right):
        return np.linalg.solve(matrix, right)

    @staticmethod
    def exponential_and_integral(a, b, tau):
        """e^{tau A} and int_0^tau e^{sA} ds B from one augmented exponential.

        A scaled Taylor series in extended precision: scipy.linalg.expm loses 100 eps on LegS.
        """
        n = len(b)
        extended = np.result_type(a, b, np.longdouble)
        m = np.zeros((n + 1, n + 1), dtype=extended)
        m[:n, :n] = a
        m[:n, n] = b
        m *= tau
        norm = float(np.abs(m).sum(axis=1).max())
        halvings = max(0, math.ceil(math.log2(norm)) + 1) if norm > 0 else 0
        m /= np.longdouble(2) ** halvings
        total = term = np.eye(n + 1, dtype=extended)
        for j in range(1, 20):  # norm <= 1/2: the last term is below 2^-80
            term = term @ m / j
            total = total + term
        for _ in range(halvings):
            total = total @ total
        total = total.astype(np.result_type(a, b))
        return total[:n, :n], total[:n, n]

    log = staticmethod(math.log)


def discretize(a, b, rule, before, after, tau, alpha, linalg=Float64):
    """One step x <- F x + g u, from the weights of the two ends of the cell.

    before = h/t0, after = h/t1, tau = ln(t1/t0) on the scaled clock; all three are h on the
    others. forward, backward, bilinear (input weight h/t0), bilinear-split (input weight the mean
    of both ends), gbt (alpha on the new end), zoh (1/t frozen at t1), exact.
    """
    one = linalg.eye(len(b))
    if rule == "forward":
        return one + before * a, before * b
    if rule == "backward":
        left, right, weight = one - after * a, one, after
    elif rule in ("bilinear", "bilinear-split"):
        left, right = one - after / 2 * a, one + before / 2 * a
        weight = before if rule == "bilinear" else (before + after) / 2
    elif rule == "gbt":
        left, right = one - alpha * after * a, one + (1 - alpha) * before * a
        weight = (1 - alpha) * before + alpha * after
    elif rule == "zoh":
        return linalg.exponential_and_integral(a, b, after)
    elif rule == "exact":
        return linalg.exponential_and_integral(a, b, tau)
    else:
        raise ValueError(rule)
    return linalg.solve(left, right), linalg.solve(left, weight * b)


def steps(
    a, b, length, *, rule, clock, times=None, step=1.0, alpha=0.5, first=None, linalg=Float64
):
    """The matrices (F, g) of every step x <- F x + g u; `times` are the ends of the cells.

    On the scaled clock the first step is x = first u_0, the projection of a constant.
    """
    ends = [step * (k + 1) for k in range(length)] if times is None else list(times)
    start, cache = 0 * ends[0], {}
    for k, end in enumerate(ends):
        h = step if times is None else end - start  # regular: h without the rounding of k*step
        if clock == "scaled" and k == 0:
            yield 0 * linalg.eye(len(b)), first
        elif clock == "scaled":
            tau = linalg.log(end / start)
            yield discretize(a, b, rule, h / start, h / end, tau, alpha, linalg)
        else:
            if h not in cache:
                cache[h] = discretize(a, b, rule, h, h, h, alpha, linalg)
            yield cache[h]
        start = end


def run(a, b, u, **options):
    """Trajectory (..., L, N) of the recurrence on the signals u (..., L). Options: see `steps`."""
    u = np.asarray(u)
    trajectory = np.zeros((*u.shape, len(b)), dtype=np.result_type(u, a))
    state = trajectory[..., 0, :]
    for k, (f, g) in enumerate(steps(a, b, u.shape[-1], **options)):
        state = state @ f.T + u[..., k, None] * g
        trajectory[..., k, :] = state
    return trajectory


def run_with_condition(a, b, u, *, seed=0, copies=6, **options):
    """The trajectory, and for each step how much a rounding error of relative size 1 grows to.

    The second result (L,) is in the units of x: after every step noise uniform in +-max|x_k| is
    added to `copies` undriven states, and the largest of their entries is taken. Times eps it is
    the accuracy that the recurrence permits. A stable rule gives a few times max|x|; forward
    Euler outside its stability region gives astronomical numbers.
    """
    u = np.asarray(u, dtype=float)
    rng = np.random.default_rng(seed)
    trajectory = np.zeros((*u.shape, len(b)), dtype=np.result_type(u, a))
    condition = np.zeros(u.shape[-1])
    state = trajectory[..., 0, :]
    noise = np.zeros((copies, len(b)), dtype=state.dtype)
    for k, (f, g) in enumerate(steps(a, b, u.shape[-1], **options)):
        state = state @ f.T + u[..., k, None] * g
        trajectory[..., k, :] = state
        size = np.abs(state).max(initial=0.0)
        noise = noise @ f.T + rng.uniform(-1, 1, noise.shape) * size
        condition[k] = max(size, np.abs(noise).max())
    return trajectory, condition


# ---------------------------------------------------------------------------------------------
# Exact projection of the piecewise-constant signal, cell by cell.


def optimal(
    measure,
    order,
    u,
    ends,
    at,
    *,
    window=1.0,
    normalization=None,
    poles=None,
    alpha=0.0,
    beta=0.01,
    invariant=False,
    nodes=None,
):
    """c_n = int u analysis_n at the instant `at`, by Gauss quadrature in every cell. No stepping.

    legs, fous (scaled): s = t/at. legt, lmu, fout: s = 1 - (at-t)/w, cells cut at at-w.
    lagt, glagt, malmquist: s = (at-t)/w. legs with `invariant`: s = exp(-(at-t)/w).
    """
    u = np.asarray(u, dtype=float)
    ends = np.asarray(ends, dtype=float)
    count = nodes or order + 24
    options = {"normalization": normalization, "poles": poles, "alpha": alpha, "beta": beta}
    clock = CLOCK[measure]
    total = 0.0
    start = 0.0
    for k, end in enumerate(ends):
        low, high = start, min(end, at)
        if clock == "window":
            low = max(low, at - window)
        if high > low:
            t, w = gauss_legendre(count, low, high)
            if invariant:
                s = np.exp(-(at - t) / window)
                w = w * s / window
            elif clock == "scaled":
                s, w = t / at, w / at
            elif clock == "window":
                s, w = 1 - (at - t) / window, w / window
            else:
                s, w = (at - t) / window, w / window
            cell = functions(measure, order, s, **options)[0] @ w
            total = total + u[..., k, None] * cell
        start = end
    return total


def derived_optimal(g, interval, order, u, ends, at, relative_time, *, nodes=None):
    """c_n = int_a^b u(t_T(s)) g_n(s) ds for a scaled map t = T rho(s), cell by cell in s.

    `relative_time` is the inverse of rho: it gives s for t/T in [0, 1].
    """
    u = np.asarray(u, dtype=float)
    count = nodes or order + 8
    total, start = 0.0, 0.0
    for k, end in enumerate(np.asarray(ends, dtype=float)):
        high = min(end, at)
        if high > start:
            s, w = gauss_legendre(count, relative_time(start / at), relative_time(high / at))
            total = total + u[..., k, None] * np.array(
                [np.sum(w * g(n, s) * np.ones_like(s)) for n in range(order)]
            )
        start = end
    return total
