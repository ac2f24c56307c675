"""State-space kernels, Cauchy and Vandermonde sums, convolutions and recurrences, term by term.

Conventions: x_{k+1} = A x_k + B u_k and y_k = C x_{k+1} + D u_k, so the kernel is K_k = C A^k B,
with D added to K_0, and z is the delay: G(z) = sum_k K_k z^k. For a real loss the gradient of a
complex variable w is dloss/dRe w + i dloss/dIm w; g is that of the result y, so that
dloss = Re sum conj(g) dy.

Everything is summed in 50 digits from the definitions: no FFT, no eigenvalue, no Woodbury formula.
Sources: Gu, Goel, Re 2021, arXiv:2111.00396 (kernels and generating functions); PyTorch's notes on
autograd for the convention of complex gradients.
"""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np

from . import discretize as discretization
from . import exact

RATIONAL = discretization.RATIONAL
RULES = discretization.RULES

fifty_digits = mp.workdps(exact.DIGITS)


def _mp(array):
    array = np.asarray(array)
    return array if array.dtype == object else exact.to_mp(array)


# ---------------------------------------------------------------------------------------------
# Models as matrices.


@fifty_digits
def discretize(a, b, step, rule, alpha=0.5):
    """(A, B) of the discrete model in 50 digits, not rounded. foh, which looks ahead, has none."""
    e = mp.mpf(float(step))
    if rule in RATIONAL:
        w = discretization.weight(rule, alpha)
        w = mp.mpf(w.numerator) / w.denominator
        one, scaled = exact.Mp.eye(len(b)), e * _mp(a)
        right = np.column_stack([one + (1 - w) * scaled, e * _mp(b)])
        both = exact.Mp.solve(one - w * scaled, right)
        return both[:, :-1], both[:, -1]
    if rule not in ("zoh", "mamba"):
        raise ValueError(rule)
    f, g = exact.Mp.exponential_and_integral(_mp(a), _mp(b), e)
    return f, g if rule == "zoh" else e * _mp(b)


def companion(denominator):
    """(A, B) of 1/(1 + a_1 z + ... + a_d z^d): first row -a, ones below the diagonal, B = e_1."""
    d = len(denominator)
    a = np.diag(np.ones(d - 1), -1).astype(np.result_type(denominator, float))
    a[0] = -np.asarray(denominator)
    return a, np.eye(d)[0]


def with_conjugates(values, doubled):
    """The kept equations, then the conjugates of those that `doubled` marks."""
    return np.concatenate([values, np.conj(values[doubled])])


def pair_weights(values, multiplicity, doubled):
    """The weights of Re sum_j m_j C_j x_j: m_j C_j/2 for x_j, and the conjugate for conj(x_j).

    The states that are not doubled are real, so their weight is Re m_j C_j.
    """
    columns = (-1,) + (1,) * (np.ndim(values) - 1)
    weighted = values * np.reshape(multiplicity, columns)
    first = np.where(np.reshape(doubled, columns), weighted / 2, weighted.real)
    return np.concatenate([first, np.conj(first[doubled])])


def dplr_matrices(eigenvalues, p, q, b, multiplicity=None):
    """(A, B) of x' = (diag(lambda) - P Q*) x + B u.

    With `multiplicity` each entry that stands for two is doubled, and Q* x is
    Re sum_j m_j conj(Q_j) x_j, as y is.
    """
    if multiplicity is not None:
        doubled = multiplicity == 2
        eigenvalues, p, b = (with_conjugates(v, doubled) for v in (eigenvalues, p, b))
        q = pair_weights(q, multiplicity, doubled)
    return np.diag(eigenvalues) - p @ np.conj(q).T, np.asarray(b)


# ---------------------------------------------------------------------------------------------
# Kernels and generating functions.


@fifty_digits
def kernel(a, b, c, length, direct=0.0):
    """K_k = C A^k B, k < length, (length,), by one product per step. D is added to K_0."""
    a, x, c = _mp(a), _mp(b), _mp(c)
    out = np.empty(length, dtype=object)
    for k in range(length):
        out[k] = c @ x
        x = a @ x
    if length:
        out[0] = out[0] + mp.mpmathify(direct)
    return exact.to_float(out)


@fifty_digits
def power(a, exponent):
    """A^exponent, one product per step."""
    a = _mp(a)
    out = exact.Mp.eye(len(a))
    for _ in range(exponent):
        out = out @ a
    return out


@fifty_digits
def untruncate(a, c, length):
    """C = C~ (I - A^L)^-1: the read-out whose truncated one is C~."""
    left = exact.Mp.eye(len(a)) - power(a, length)
    return exact.Mp.solve(left.T, _mp(c))


@fifty_digits
def aliased_kernel(a, b, c, length, direct=0.0):
    """sum_m C~ A^(k + m L) B = C~ (I - A^L)^-1 A^k B: the L-periodic sum of C~'s kernel."""
    return kernel(a, b, untruncate(a, c, length), length, direct)


@fifty_digits
def generating_function(a, b, c, z, length=None, direct=0.0):
    """C (I - z^L A^L) (I - z A)^-1 B + D at each of z, (K,); without the bracket if no length."""
    a, b, c = _mp(a), _mp(b), _mp(c)
    last = None if length is None else c @ power(a, length)
    out = []
    for point in exact.to_mp(np.asarray(z, dtype=complex)):
        x = exact.Mp.solve(exact.Mp.eye(len(a)) - point * a, b)
        row = c if last is None else c - point**length * last
        out.append(row @ x + mp.mpmathify(direct))
    return np.array([complex(v) for v in out])


def kernel_condition(a, b, c, length):
    """Condition of (K_0 ... K_{L-1}), relative to the largest entry, to changes of A, B and C.

    dK_k = dC A^k B + C A^k dB + sum_{j<k} C A^j dA A^{k-1-j} B, so relative changes of eps in each
    move it by at most eps (|C| |A^k B| + |C A^k| |B| + |A| sum_j |C A^j| |A^{k-1-j} B|).
    Routes through L samples of C (I - A^L) (I - zA)^-1 B err in each of the two factors on its own.
    That adds C A^j dA A^{L-1-j} (I - A^L)^-1 A^k B: the sum over j becomes a circular one, with
    (I - A^L)^-1 A^k B in the place of A^k B. The larger of the two is taken for every term.
    float64, from the discrete A and B; `c` is one row.
    """
    a, b, c = np.asarray(a), np.asarray(b), np.asarray(c)
    rows, columns = [c], [b]
    for _ in range(length - 1):
        rows.append(rows[-1] @ a)
        columns.append(a @ columns[-1])
    rows, columns = np.array(rows), np.array(columns)
    size = np.abs(rows @ b).max()
    p, q = np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=1)
    wrap = np.eye(len(b)) - np.linalg.matrix_power(a, length)
    try:
        r = np.maximum(q, np.linalg.norm(np.linalg.solve(wrap, columns.T), axis=0))
    except np.linalg.LinAlgError:
        r = q
    circular = max(p @ r[(k - 1 - np.arange(length)) % length] for k in range(length))
    ends = p[0] * q.max() + q[0] * p.max()
    return float((np.linalg.norm(a, 2) * circular + ends) / size)


# ---------------------------------------------------------------------------------------------
# Cauchy sums. All functions return what they say and, for the bounds, the sum of absolute terms.


def _batched(signature):
    """Loops a function of vectors over leading axes that broadcast."""

    def decorate(function):
        @functools.wraps(function)
        def looped(*arrays, **options):
            arrays = [np.asarray(array) for array in arrays]
            call = functools.partial(function, **options)
            return np.vectorize(call, signature=signature)(*arrays)

        return looped

    return decorate


def _total(terms):
    """Sums over the last axis, and those of the absolute values."""
    values = np.array([complex(mp.fsum(row)) for row in terms])
    return values, np.array([float(mp.fsum(row, absolute=True)) for row in terms])


@_batched("(n),(k),(n)->(k),(k)")
@fifty_digits
def cauchy(v, z, eigenvalues, *, conjugate=False):
    """sum_n v_n/(z_k - lambda_n), and conj(v_n)/(z_k - conj(lambda_n)) too if `conjugate`."""
    v, z, lam = (exact.to_mp(x.astype(complex)) for x in (v, z, eigenvalues))
    terms = v / (z[:, None] - lam)
    if conjugate:
        terms = np.concatenate([terms, _conj(v) / (z[:, None] - _conj(lam))], axis=1)
    return _total(terms)


def _conj(array):
    return np.array([mp.conj(x) for x in array.ravel()], dtype=object).reshape(array.shape)


@_batched("(n),(k),(n),(k)->(n),(n),(k),(k),(n),(n)")
@fifty_digits
def cauchy_vjp(v, z, eigenvalues, g, *, conjugate=False):
    """Gradients of v, z and lambda, each followed by its sum of absolute terms.

    With f = sum_n v_n/(z_k - lambda_n): df = dv/(z - lambda) + v (dlambda - dz)/(z - lambda)^2. The
    conjugate terms depend on conj(v) and conj(lambda), which get the conjugate of what g weighs.
    """
    v, z, lam, g = (exact.to_mp(x.astype(complex)) for x in (v, z, eigenvalues, g))
    inverse = 1 / (z[:, None] - lam)
    of_v = _conj(inverse) * g[:, None]
    of_lam = _conj(v * inverse**2) * g[:, None]
    of_z = -of_lam
    if conjugate:
        inverse = 1 / (z[:, None] - _conj(lam))
        of_v = np.concatenate([of_v, inverse * _conj(g)[:, None]])
        of_lam = np.concatenate([of_lam, _conj(v * _conj(inverse**2)) * _conj(g)[:, None]])
        of_z = np.concatenate([of_z, -(_conj(_conj(v) * inverse**2) * g[:, None])], axis=1)
    return (*_total(of_v.T), *_total(of_z), *_total(of_lam.T))


# ---------------------------------------------------------------------------------------------
# Vandermonde sums.


@fifty_digits
def _powers(lam, length):
    out = np.empty((length, len(lam)), dtype=object)
    power = np.array([mp.mpc(1)] * len(lam), dtype=object)
    for k in range(length):
        out[k] = power
        power = power * lam
    return out


@fifty_digits
def vandermonde(v, eigenvalues, length, *, conjugate=False):
    """sum_n v_n lambda_n^k, k < length, over leading axes; 2 Re of it if `conjugate`."""

    @_batched("(n),(n)->(k),(k)")
    def rows(v, lam):
        v, lam = exact.to_mp(v.astype(complex)), exact.to_mp(lam.astype(complex))
        return _total(v * _powers(lam, length))

    value, size = rows(v, eigenvalues)
    return (2 * value.real, 2 * size) if conjugate else (value, size)


@_batched("(n),(n),(k)->(n),(n),(n),(n)")
@fifty_digits
def vandermonde_vjp(v, eigenvalues, g, *, conjugate=False):
    """Gradients of v and lambda, each followed by its sum of absolute terms."""
    v, lam, g = (exact.to_mp(x.astype(complex)) for x in (v, eigenvalues, g))
    powers = _powers(lam, len(g))
    factor = (2 if conjugate else 1) * g[:, None]
    slopes = np.full_like(powers, mp.mpc(0))
    for k in range(1, len(g)):
        slopes[k] = k * powers[k - 1]
    of_v, of_lam = _conj(powers) * factor, _conj(v * slopes) * factor
    return (*_total(of_v.T), *_total(of_lam.T))


@fifty_digits
def gradient(loss, point):
    """dloss/dRe + i dloss/dIm of a real function of complex numbers, by central differences."""
    h = mp.mpf(10) ** -18
    point = exact.to_mp(np.asarray(point, dtype=complex))
    out = []
    for n in range(len(point)):
        slopes = []
        for direction in (mp.mpc(1), mp.mpc(0, 1)):
            ahead, behind = point.copy(), point.copy()
            ahead[n] += h * direction
            behind[n] -= h * direction
            slopes.append((loss(ahead) - loss(behind)) / (2 * h))
        out.append(complex(slopes[0], slopes[1]))
    return np.array(out)


def summed_to(gradient, shape):
    """Summed over the axes that a broadcast added or stretched."""
    gradient = np.asarray(gradient)
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=stretched, keepdims=True)


# ---------------------------------------------------------------------------------------------
# Convolutions.


@_batched("(l),(m)->(l),(l)")
@fifty_digits
def convolve(u, kernel):
    """y_k = sum_{j<=k} K_j u_{k-j}, as long as u."""
    big_u, big_k = exact.to_mp(u), exact.to_mp(kernel)
    n, m = len(u), len(kernel)
    return _total([[big_k[j] * big_u[k - j] for j in range(min(k + 1, m))] for k in range(n)])


@_batched("(l),(m)->(l),(l)")
@fifty_digits
def convolve_adjoint(g, kernel):
    """sum_{k>=j} conj(K_{k-j}) g_k: the transposed and conjugated triangular Toeplitz matrix."""
    big_g, big_k = exact.to_mp(g), _conj(exact.to_mp(kernel))
    n, m = len(g), len(kernel)
    return _total([[big_k[k - j] * big_g[k] for k in range(j, min(n, j + m))] for j in range(n)])


# ---------------------------------------------------------------------------------------------
# Recurrences.


@fifty_digits
def recur(a, b, c, u, x0=None, direct=0.0):
    """y_k = C x_{k+1} + D u_k of x_{k+1} = A x_k + B u_k, and the last x; one input row."""
    a, b, c, u = (_mp(v) for v in (a, b, c, u))
    x = np.array([mp.mpf(0)] * len(b), dtype=object) if x0 is None else _mp(x0)
    outputs = []
    for sample in u:
        x = a @ x + b * sample
        outputs.append(c @ x + mp.mpmathify(direct) * sample)
    return exact.to_float(np.array(outputs, dtype=object)), exact.to_float(x)


@_batched("(l),(l),()->(l),(l)")
@fifty_digits
def scan(a, b, x0):
    """x_k = a_k x_{k-1} + b_k, and the same of the absolute values: the sum of |a_k ... b_j|."""
    big_a, big_b, x = exact.to_mp(a), exact.to_mp(b), mp.mpmathify(x0.item())
    size, states, sizes = abs(x), [], []
    for p, q in zip(big_a, big_b, strict=True):
        x, size = p * x + q, abs(p) * size + abs(q)
        states.append(complex(x))
        sizes.append(float(size))
    return np.array(states), np.array(sizes)


@_batched("(l),(l),(l),()->(l),(l),(l),(l),(),()")
@fifty_digits
def scan_vjp(a, x, g, x0):
    """Gradients of a, b and x0, each followed by its size, from the states x themselves.

    mu_k = g_k + conj(a_{k+1}) mu_{k+1} is that of b_k; that of a_k is mu_k conj(x_{k-1}).
    """
    a, x, g = (exact.to_mp(v.astype(complex)) for v in (a, x, g))
    before = [mp.mpmathify(complex(x0.item())), *x[:-1]]
    mu, size = mp.mpc(0), mp.mpf(0)
    of_a, of_b = [], []
    for p, w, earlier in zip(a[::-1], g[::-1], before[::-1], strict=True):
        mu, size = w + mu, abs(w) + size
        of_b.append((complex(mu), float(size)))
        of_a.append((complex(mu * mp.conj(earlier)), float(size * abs(earlier))))
        mu, size = mp.conj(p) * mu, abs(p) * size
    (ga, sa), (gb, sb) = (zip(*rows[::-1], strict=True) for rows in (of_a, of_b))
    return np.array(ga), np.array(sa), np.array(gb), np.array(sb), complex(mu), float(size)
