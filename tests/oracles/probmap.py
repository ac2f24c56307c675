"""Probability maps of one row from their definitions, in 50 digits.

A row x is a sequence of numbers; -inf marks an entry that takes no part and gets exactly 0. A row
in which nothing is left is uniform. All functions divide by the temperature first and return lists
of mpmath numbers. They keep the precision of mpmath numbers and compute in the current precision
where that is higher than 50 digits, so that `mpmath.diff` or `derivative` can differentiate them.

Thresholds come from sorting and bracketing: entry k of the sorted row belongs to the support where
the threshold equation is still short of 1 at lambda = x_k, and then one bracketed root remains. The
unknown is the smallest positive entry, which no subtraction touches.

Beside them are brute force (the quadratic programs of sparsemax and budget, over all faces of their
polytopes), the optimality conditions of entmax and normmax, and experiments for the perturbed
maxima.

Sources: Martins & Astudillo 2016 (sparsemax); Peters, Niculae & Martins 2019 (entmax); Blondel,
Martins & Niculae 2020 (normmax, budget, Fenchel-Young losses); de Brébisson & Vincent 2016 (Taylor
softmax); Wang et al. 2018 (additive margin).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import mpmath as mp
import numpy as np
from scipy import stats

from . import exact

__all__ = [
    "DIGITS",
    "FUNCTIONS",
    "MAPS",
    "NOISES",
    "Noise",
    "allowed",
    "budget",
    "budget_by_enumeration",
    "budget_objective",
    "budget_threshold",
    "budget_threshold_interval",
    "derivative",
    "entmax",
    "entmax_kkt",
    "entmax_objective",
    "entmax_threshold",
    "jacobian",
    "log_softmax",
    "logsumexp",
    "margin_softmax",
    "noise_of",
    "normalize",
    "normmax",
    "normmax_kkt",
    "normmax_objective",
    "normmax_threshold",
    "perturb_max",
    "perturb_max_frequencies",
    "perturb_max_panels",
    "rounded",
    "softmax",
    "sparse_softmax",
    "sparse_softmax_kept",
    "sparse_softmax_threshold",
    "sparsemax",
    "sparsemax_by_enumeration",
    "sparsemax_threshold",
    "taylor_softmax",
]

DIGITS = exact.DIGITS
GUARD = 15  # digits more than are asked for
QUADRATURE_DIGITS = 15  # of the perturbed maxima, for which 1e-10 is promised


def _digits(function):
    """Run a function with 50 digits, or the current precision where higher, and guard digits."""

    @functools.wraps(function)
    def precise(*args, **kwargs):
        with mp.workdps(max(DIGITS, mp.mp.dps) + GUARD):
            return function(*args, **kwargs)

    return precise


def _number(value):
    return value if isinstance(value, mp.mpf) else mp.mpf(float(value))


def _row(x, temperature):
    """x/temperature; -inf stays."""
    return [_number(v) / _number(temperature) for v in x]


def _takes_part(z):
    return z != -mp.inf


def _spread(z, values):
    """One of the values for every entry that takes part, and 0 for the others."""
    values = iter(values)
    return [next(values) if _takes_part(v) else mp.mpf(0) for v in z]


def _normalized(z, weights):
    """Weights of the entries that take part over their sum; uniform where nothing is left."""
    if not weights:
        return [mp.mpf(1) / len(z) for _ in z]
    total = mp.fsum(weights)
    if total == 0:
        return _spread(z, [mp.mpf(1) / len(weights) for _ in weights])
    return _spread(z, [w / total for w in weights])


def _present(z):
    return [v for v in z if _takes_part(v)]


def rounded(values, dtype=np.float64):
    """The nearest array of floats; nested lists of mpmath numbers give more axes."""
    return exact.to_float(np.array(values, dtype=object)).astype(dtype)


# ---------------------------------------------------------------------------------------------
# Softmax and its relatives.


@_digits
def logsumexp(x, temperature=1):
    """log sum_i e^{x_i/temperature}; -inf where nothing is left."""
    z = _present(_row(x, temperature))
    if not z:
        return -mp.inf
    return max(z) + mp.log(mp.fsum(mp.exp(v - max(z)) for v in z))


@_digits
def log_softmax(x, temperature=1):
    """x_i/temperature - logsumexp; -inf at masked entries, -log n where nothing is left."""
    z = _row(x, temperature)
    if not _present(z):
        return [-mp.log(len(z)) for _ in z]
    total = logsumexp(x, temperature)
    return [v - total for v in z]


@_digits
def softmax(x, temperature=1):
    """p_i = e^{z_i}/sum_j e^{z_j}, z = x/temperature."""
    z = _row(x, temperature)
    present = _present(z)
    return _normalized(z, [mp.exp(v - max(present)) for v in present])


@_digits
def margin_softmax(x, target, margin=0.35, temperature=1):
    """softmax((x - margin e_target)/temperature)."""
    shifted = [_number(v) for v in x]
    shifted[target] -= _number(margin)
    return softmax(shifted, temperature)


@_digits
def taylor_softmax(x, order=2, temperature=1):
    """f(z_i)/sum_j f(z_j) with f(z) = sum_{m <= order} z^m/m!."""
    z = _row(x, temperature)
    return _normalized(
        z, [mp.fsum(v**m / mp.factorial(m) for m in range(order + 1)) for v in _present(z)]
    )


FUNCTIONS = {
    "square": lambda z: z**2,
    "relu": lambda z: max(z, mp.mpf(0)),
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "softplus": lambda z: mp.log1p(mp.exp(z)),
}


@_digits
def normalize(x, f="square", temperature=1):
    """f(z_i)/sum_j f(z_j); uniform over the entries that take part where all f vanish."""
    z = _row(x, temperature)
    return _normalized(z, [FUNCTIONS[f](v) for v in _present(z)])


@_digits
def sparse_softmax_kept(x, k=None, p=None, temperature=1):
    """The indices that stay: the k largest, or the fewest largest that hold the mass p.

    Entries equal to the last of them stay too. That m entries hold p is asked of the others,
    sum_{rest} e^z <= (1 - p) sum e^z, so that p = 1 keeps everything however small.
    """
    z = _row(x, temperature)
    order = sorted((i for i, v in enumerate(z) if _takes_part(v)), key=lambda i: -z[i])
    if not order:
        return []
    if k is None:
        weights = [mp.exp(z[i] - z[order[0]]) for i in order]
        allowed = (1 - _number(p)) * mp.fsum(weights)
        k = next(m for m in range(1, len(order) + 1) if mp.fsum(weights[m:]) <= allowed)
    last = z[order[min(k, len(order)) - 1]]
    return [i for i, v in enumerate(z) if v >= last]


@_digits
def sparse_softmax_threshold(x, k=None, p=None, temperature=1):
    """The smallest kept entry of x/temperature."""
    z = _row(x, temperature)
    return min(z[i] for i in sparse_softmax_kept(x, k, p, temperature))


@_digits
def sparse_softmax(x, k=None, p=None, temperature=1):
    """Softmax over the kept entries."""
    kept = set(sparse_softmax_kept(x, k, p, temperature))
    if not kept:
        return softmax(x)
    return softmax([v if i in kept else -mp.inf for i, v in enumerate(x)], temperature)


# ---------------------------------------------------------------------------------------------
# Thresholds.


def _root(f, low, high):
    """The root of an increasing f with f(low) <= 0 <= f(high), to the working precision.

    False position that halves the value of an end that stays (Dowell & Jarratt 1971, the Illinois
    method), and a bisection at every eighth step: it ends for every monotone f.
    """
    below, above, moved, steps = f(low), f(high), 0, 0
    if above <= 0:  # the root is the end, up to rounding
        return high
    tolerance = mp.mpf(10) ** (5 - mp.mp.dps)
    while high - low > tolerance * high:
        steps += 1
        guess = low - below * (high - low) / (above - below) if above != below else low
        if steps % 8 == 0 or not low < guess < high:
            guess = (low + high) / 2
        value = f(guess)
        if value == 0:
            return guess
        if value < 0:
            low, below, above = guess, value, above / 2 if moved < 0 else above
            moved = -1
        else:
            high, above, below = guess, value, below / 2 if moved > 0 else below
            moved = 1
    return high


def _positive_root(f, high):
    """The same on (0, high] where f(0) < 0, relative to a root that may be tiny."""
    low = min(high, mp.mpf(1)) / 2
    while f(low) > 0:
        high, low = low, low**2
    return _root(f, low, high)


def _support(s, short):
    """The descending row's largest beginning whose sum short(gaps to its last entry) is below 1.

    At the threshold s_k the sum over (s - s_k)_+ grows with k, so the beginnings are nested.
    """
    size = 1
    while size < len(s) and short([v - s[size] for v in s[: size + 1]]) < 1:
        size += 1
    return s[:size]


def _entmax_parts(z, alpha):
    """(support of (alpha - 1) z descending, its smallest p): the rest is closed.

    The equation sum_i p_i = 1 reads sum_i (v^{alpha - 1} + s_i - s_k)^{1/(alpha - 1)} = 1 in the
    smallest positive entry v = p_k, and v <= 1/k.
    """
    power = 1 / (alpha - 1)
    s = sorted(((alpha - 1) * v for v in _present(z)), reverse=True)
    support = _support(s, lambda gaps: mp.fsum(g**power for g in gaps))
    gaps = [v - support[-1] for v in support]

    def excess(v):
        w = v ** (alpha - 1)
        return mp.fsum((w + g) ** power for g in gaps) - 1

    return support, _positive_root(excess, mp.mpf(1) / len(support))


def _entmax_digits(alpha):
    """Digits that alpha costs: rounding is multiplied by 1/(alpha - 1) and by alpha."""
    return int(abs(mp.log10(alpha - 1))) + 1


@_digits
def entmax_threshold(x, alpha=1.5, temperature=1):
    """lambda with sum_i ((alpha - 1) z_i - lambda)_+^{1/(alpha - 1)} = 1, 1 < alpha < inf.

    logsumexp at alpha = 1.
    """
    alpha = _number(alpha)
    if alpha == 1:
        return logsumexp(x, temperature)
    with mp.workdps(mp.mp.dps + _entmax_digits(alpha)):
        support, smallest = _entmax_parts(_row(x, temperature), alpha)
        return support[-1] - smallest ** (alpha - 1)


@_digits
def entmax(x, alpha=1.5, temperature=1):
    """((alpha - 1) z - lambda)_+^{1/(alpha - 1)}; uniform over the largest entries at inf."""
    alpha = _number(alpha)
    z = _row(x, temperature)
    present = _present(z)
    if alpha == 1 or not present:
        return softmax(x, temperature)
    if alpha == mp.inf:
        return _normalized(z, [mp.mpf(v == max(present)) for v in present])
    with mp.workdps(mp.mp.dps + _entmax_digits(alpha)):
        support, smallest = _entmax_parts(z, alpha)
        w = smallest ** (alpha - 1)
        gaps = [(alpha - 1) * v - support[-1] for v in present]
        return _spread(z, [(w + g) ** (1 / (alpha - 1)) if w + g > 0 else mp.mpf(0) for g in gaps])


@_digits
def sparsemax_threshold(x, temperature=1):
    """lambda with sum_i (z_i - lambda)_+ = 1: (sum of the support - 1)/its size."""
    z = _row(x, temperature)
    return max(z) + _sparsemax_level(z)


def _sparsemax_level(z):
    """lambda - max z, which keeps the 1 beside entries of any size."""
    support = _support(sorted(_present(z), reverse=True), mp.fsum)
    return (mp.fsum(v - support[0] for v in support) - 1) / len(support)


@_digits
def sparsemax(x, temperature=1):
    """(z - lambda)_+: the point of the simplex that is nearest to z."""
    z = _row(x, temperature)
    if not _present(z):
        return softmax(x)
    level = _sparsemax_level(z)
    return _spread(z, [max(v - max(z) - level, mp.mpf(0)) for v in _present(z)])


def _normmax_parts(z, alpha):
    """(support descending, u = z - lambda at its end): sum_i (u + z_i - z_k)^q = 1."""
    q = alpha / (alpha - 1) if alpha != mp.inf else mp.mpf(1)
    support = _support(sorted(_present(z), reverse=True), lambda gaps: mp.fsum(g**q for g in gaps))
    gaps = [v - support[-1] for v in support]
    return support, _positive_root(lambda u: mp.fsum((u + g) ** q for g in gaps) - 1, mp.mpf(1))


@_digits
def normmax_threshold(x, alpha=2.0, temperature=1):
    """lambda with sum_i (z_i - lambda)_+^{alpha/(alpha - 1)} = 1: max - 1 at alpha = 1."""
    alpha = _number(alpha)
    z = _row(x, temperature)
    if alpha == 1:
        return max(_present(z)) - 1
    with mp.workdps(mp.mp.dps + (_entmax_digits(alpha) if alpha != mp.inf else 0)):
        support, smallest = _normmax_parts(z, alpha)
        return support[-1] - smallest


@_digits
def normmax(x, alpha=2.0, temperature=1):
    """p proportional to (z - lambda)_+^{1/(alpha - 1)}, the argmax of <z, p> - |p|_alpha.

    The limits: uniform over the largest entries at 1, over the support of sparsemax at inf.
    """
    alpha = _number(alpha)
    z = _row(x, temperature)
    present = _present(z)
    if not present:
        return softmax(x)
    if alpha == 1:
        return _normalized(z, [mp.mpf(v == max(present)) for v in present])
    if alpha == mp.inf:
        return _normalized(z, [mp.mpf(p > 0) for p in sparsemax(present)])
    with mp.workdps(mp.mp.dps + _entmax_digits(alpha)):
        support, smallest = _normmax_parts(z, alpha)
        u = [v - support[-1] + smallest for v in present]
        largest = max(u)
        power = 1 / (alpha - 1)
        return _normalized(z, [(v / largest) ** power if v > 0 else mp.mpf(0) for v in u])


def _clip(value):
    return min(max(value, mp.mpf(0)), mp.mpf(1))


def _budget_levels(z, total):
    """(lowest, highest) lambda - max z, which keeps the 1 beside entries of any size."""
    gaps, total = [v - max(z) for v in _present(z)], _number(total)
    bends = sorted({v - one for v in gaps for one in (0, 1)})
    sums = [mp.fsum(_clip(v - bend) for v in gaps) for bend in bends]
    slack = mp.mpf(10) ** (-DIGITS)  # between sums that are equal
    flat = [bend for bend, at in zip(bends, sums, strict=True) if abs(at - total) < slack]
    if flat:
        return (-mp.inf if total == len(gaps) else flat[0]), flat[-1]
    left = max(i for i, at in enumerate(sums) if at > total)
    part = (sums[left] - total) / (sums[left] - sums[left + 1])
    level = bends[left] + part * (bends[left + 1] - bends[left])
    return level, level


@_digits
def budget_threshold_interval(x, total=1.0, temperature=1):
    """(lowest, highest) lambda with sum_i clip(z_i - lambda, 0, 1) = total.

    The sum is piecewise linear and falls; the bends are at z_i and z_i - 1. The two differ where an
    integer total meets a gap, and the lowest is -inf where every entry is 1.
    """
    z = _row(x, temperature)
    return tuple(max(z) + level for level in _budget_levels(z, total))


def budget_threshold(x, total=1.0, temperature=1):
    """The highest such lambda, which is sparsemax's at total = 1."""
    return budget_threshold_interval(x, total, temperature)[1]


@_digits
def budget(x, total=1.0, temperature=1):
    """clip(z - lambda, 0, 1): the point nearest to z with entries in [0, 1] that sum to total."""
    z = _row(x, temperature)
    if not _present(z):
        return softmax(x)
    level = _budget_levels(z, total)[1]
    return _spread(z, [_clip(v - max(z) - level) for v in _present(z)])


# ---------------------------------------------------------------------------------------------
# What the maps maximise, and brute force.


@_digits
def entmax_objective(z, p, alpha):
    """<z, p> - Omega(p), Omega = (sum p^alpha - 1)/(alpha (alpha - 1)); sum p log p at 1."""
    alpha, p = _number(alpha), [_number(v) for v in p]
    if alpha == 1:
        omega = mp.fsum(v * mp.log(v) for v in p if v > 0)
    elif alpha == mp.inf:
        omega = mp.mpf(0)
    else:
        omega = (mp.fsum(v**alpha for v in p) - 1) / (alpha * (alpha - 1))
    return _inner(z, p) - omega


@_digits
def normmax_objective(z, p, alpha):
    """<z, p> - |p|_alpha."""
    return _inner(z, p) - _norm([_number(v) for v in p], _number(alpha))


@_digits
def budget_objective(z, p):
    """<z, p> - |p|^2/2, sparsemax's too (to which Omega of entmax at 2 adds 1/2)."""
    return _inner(z, p) - mp.fsum(_number(v) ** 2 for v in p) / 2


def _inner(z, p):
    """<z, p>, where 0 times -inf is 0."""
    return mp.fsum(_number(a) * _number(b) for a, b in zip(z, p, strict=True) if b != 0)


def _norm(p, alpha):
    if alpha == mp.inf:
        return max(p)
    return mp.fsum(v**alpha for v in p) ** (1 / alpha)


def _stationarity(z, p, slopes):
    """By how much z - slopes fails to be one lambda where p > 0, and at most lambda where p = 0."""
    inside = [v - s for v, q, s in zip(z, p, slopes, strict=True) if q > 0]
    outside = [v for v, q in zip(z, p, strict=True) if q == 0]
    level = mp.fsum(inside) / len(inside)
    return max([abs(v - level) for v in inside] + [v - level for v in outside if v > level])


@_digits
def entmax_kkt(z, p, alpha):
    """The violation of optimality: z_i - p_i^{alpha - 1}/(alpha - 1) = lambda on the support.

    At alpha = 1 the slope is log p. Off the support it is 0, and z_i may not exceed lambda.
    """
    alpha, z, p = _number(alpha), _row(z, 1), [_number(v) for v in p]
    if alpha == 1:
        slopes = [mp.log(v) if v > 0 else mp.mpf(0) for v in p]
    else:
        slopes = [v ** (alpha - 1) / (alpha - 1) for v in p]
    return _stationarity(z, p, slopes)


@_digits
def normmax_kkt(z, p, alpha):
    """The same for z_i - (p_i/|p|_alpha)^{alpha - 1} = lambda, 1 < alpha < inf."""
    alpha, z, p = _number(alpha), _row(z, 1), [_number(v) for v in p]
    norm = _norm(p, alpha)
    return _stationarity(z, p, [(v / norm) ** (alpha - 1) for v in p])


def budget_by_enumeration(x, total=1):
    """The quadratic program of `budget` over all faces of its polytope, in fractions, n <= 8.

    A face fixes some entries at 0 and some at 1. On it the best point is z - lambda with one
    lambda; where that is inside the box it competes, and the largest objective wins.
    """
    z, total = [Fraction(float(v)) for v in x], Fraction(float(total))
    candidates = []
    for face in itertools.product((0, None, 1), repeat=len(z)):
        free = [i for i, fixed in enumerate(face) if fixed is None]
        left = total - sum(fixed for fixed in face if fixed is not None)
        if not free and left != 0:
            continue
        level = (sum(z[i] for i in free) - left) / len(free) if free else Fraction(0)
        p = [z[i] - level if fixed is None else Fraction(fixed) for i, fixed in enumerate(face)]
        if all(0 <= v <= 1 for v in p):
            candidates.append(p)
    return max(candidates, key=lambda p: sum(a * b - b * b / 2 for a, b in zip(z, p, strict=True)))


def sparsemax_by_enumeration(x):
    """The same over the faces of the simplex, where no entry is fixed at 1."""
    z = [Fraction(float(v)) for v in x]
    candidates = []
    for face in itertools.product((False, True), repeat=len(z)):
        support = [v for v, inside in zip(z, face, strict=True) if inside]
        if support:
            level = (sum(support) - 1) / len(support)
            p = [v - level if inside else Fraction(0) for v, inside in zip(z, face, strict=True)]
            if min(p) >= 0:
                candidates.append(p)
    return max(candidates, key=lambda p: sum(a * b - b * b / 2 for a, b in zip(z, p, strict=True)))


# ---------------------------------------------------------------------------------------------
# Perturbed maxima.


@dataclass(frozen=True)
class Noise:
    """A density and its distribution function, where they bend, and how to draw from them.

    start: the largest lower bound of the noise. light: the tails vanish exponentially.
    """

    pdf: Callable
    cdf: Callable
    sample: Callable | None = None
    bends: tuple = ()
    start: float = -np.inf
    light: bool = True


def _logistic_density(e):
    return mp.sech(e / 2) ** 2 / 4


def _laplace(e):
    return mp.exp(-abs(e)) / 2


def _student_t(df):
    df = _number(df)
    factor = mp.gamma((df + 1) / 2) / (mp.sqrt(df * mp.pi) * mp.gamma(df / 2))

    def tail(e):
        return mp.betainc(df / 2, 0.5, 0, df / (df + e**2), regularized=True) / 2

    return Noise(
        lambda e: factor * (1 + e**2 / df) ** (-(df + 1) / 2),
        lambda e: tail(e) if e < 0 else 1 - tail(e),
        lambda rng, shape: rng.standard_t(float(df), shape),
        light=False,
    )


NOISES = {
    "gumbel": Noise(
        lambda e: mp.exp(-e - mp.exp(-e)),
        lambda e: mp.exp(-mp.exp(-e)),
        lambda rng, shape: rng.gumbel(size=shape),
    ),
    "normal": Noise(mp.npdf, mp.ncdf, lambda rng, shape: rng.standard_normal(shape)),
    "logistic": Noise(
        _logistic_density,
        lambda e: 1 / (1 + mp.exp(-e)),
        lambda rng, shape: rng.logistic(size=shape),
    ),
    "laplace": Noise(
        _laplace,
        lambda e: _laplace(e) if e < 0 else 1 - _laplace(e),
        lambda rng, shape: rng.laplace(size=shape),
    ),
    "uniform": Noise(
        lambda e: mp.mpf(0 <= e <= 1), _clip, lambda rng, shape: rng.random(shape), (1,), 0.0
    ),
    "exponential": Noise(
        lambda e: mp.exp(-e) if e >= 0 else mp.mpf(0),
        lambda e: -mp.expm1(-e) if e >= 0 else mp.mpf(0),
        lambda rng, shape: rng.standard_exponential(shape),
        start=0.0,
    ),
    "student-t": _student_t,
    "cauchy": Noise(
        lambda e: 1 / (mp.pi * (1 + e**2)),
        lambda e: 0.5 + mp.atan(e) / mp.pi,
        lambda rng, shape: rng.standard_cauchy(shape),
        light=False,
    ),
}


def noise_of(noise, df=None):
    """A noise by its name, or as it is."""
    if isinstance(noise, Noise):
        return noise
    return NOISES[noise](df) if noise == "student-t" else NOISES[noise]


def _breakpoints(z, noise):
    """Where the integrand bends, and points between which it is tame.

    Exponential tails are cut where they are below the working precision.
    """
    low = max(z) + noise.start if noise.start > -mp.inf else -mp.inf
    bends = {v + bend for v in z for bend in (0, *noise.bends)}
    if noise.light:
        cut = mp.mp.dps * mp.log(10)
        steps = [cut / 2**k for k in range(6)]
        bends |= {min(z) - step for step in steps} | {max(z) + step for step in steps}
        high = max(z) + cut
        low = max(low, min(z) - cut)
    else:
        high = mp.inf
    return [low, *sorted(bend for bend in bends if low < bend < high), high]


def perturb_max(x, noise="gumbel", df=None, temperature=1, digits=QUADRATURE_DIGITS):
    """P[argmax(z + e) = i] = integral f(s - z_i) prod_{j != i} F(s - z_j) ds, n <= 6.

    `digits` are those of the quadrature (tanh-sinh between bends), not less than the current ones;
    tails like those of Student's t below df = 1/2 leave fewer.
    """
    with mp.workdps(max(digits, mp.mp.dps) + 5):
        z = _row(x, temperature)
        present = _present(z)
        if not present:
            return softmax(x)
        noise = noise_of(noise, df)
        points = _breakpoints(present, noise)

        @functools.cache
        def below(s):
            return [noise.cdf(s - v) for v in present]

        def density(s, i):
            others = mp.fprod(v for j, v in enumerate(below(s)) if j != i)
            return others * noise.pdf(s - present[i])

        return _spread(
            z,
            [mp.quad(functools.partial(density, i=i), points) for i in range(len(present))],
        )


#: The noises as SciPy has them.
SCIPY = {
    "gumbel": stats.gumbel_r,
    "normal": stats.norm,
    "logistic": stats.logistic,
    "laplace": stats.laplace,
    "uniform": stats.uniform,
    "exponential": stats.expon,
    "cauchy": stats.cauchy,
}


def _panel_edges(z, law, noise, panels):
    """Where panels meet: all bends, and quantiles of the noise around nine places of the row."""
    tails = np.geomspace(1e-30, 0.5, panels)
    spread = np.append(law.ppf(tails), law.isf(tails))
    spread = spread[np.isfinite(spread)]
    tops = z[z >= z.max() - 2 * np.ptp(spread)]  # the others are never the largest
    edges = np.quantile(tops, np.linspace(0, 1, 9))[:, None] + spread
    edges = np.concatenate([edges.ravel(), *(z + bend for bend in (0, *noise.bends))])
    low = z.max() + noise.start
    if low > -np.inf:
        edges = np.append(edges[edges > low], low)
    elif not noise.light:
        edges = np.append(edges, [-np.inf, np.inf])
    return np.unique(edges)


def perturb_max_panels(x, noise="gumbel", df=None, *, panels=50, nodes=16):
    """The same integral in floats, for rows of any length: Gauss-Legendre in every panel.

    In t with s = max x + tan t, which takes tails that vanish like powers to the ends of the last
    panels, df >= 1; the product over the others is exp(sum of log F).
    """
    z = np.asarray(x, dtype=float)
    law = stats.t(df) if noise == "student-t" else SCIPY[noise]
    angles = np.arctan(_panel_edges(z, law, noise_of(noise, df), panels) - z.max())
    place, weight = np.polynomial.legendre.leggauss(nodes)
    half = np.diff(angles)[:, None] / 2
    t = (angles[:-1, None] + half * (1 + place)).ravel()
    weight = (half * weight).ravel() / np.cos(t) ** 2
    out = np.zeros_like(z)
    for block in np.array_split(np.arange(len(t)), 20):  # not all in memory at once
        e = (z.max() + np.tan(t[block]))[:, None] - z
        logs = law.logcdf(e)
        seen = np.isfinite(logs).all(axis=1)  # elsewhere the product is 0
        logs, e = logs[seen], e[seen]
        others = np.exp(logs.sum(axis=1, keepdims=True) - logs)
        out += weight[block][seen] @ (others * law.pdf(e))
    return out


def perturb_max_frequencies(x, noise="gumbel", df=None, temperature=1, *, size=10**5, seed=0):
    """How often each entry of x/temperature + noise was the largest, among `size` draws."""
    z = np.asarray(x, dtype=float) / float(temperature)
    draws = noise_of(noise, df).sample(np.random.default_rng(seed), (size, len(z)))
    return np.bincount(np.argmax(z + draws, axis=-1), minlength=len(z)) / size


# ---------------------------------------------------------------------------------------------
# What rounding may do.


def _interval(below, middle, above):
    """The larger distance of the middle to the ends."""
    return np.maximum(above - middle, middle - below)


def _weighted(p, moved):
    """|dp| where log weights move by `moved`: p_i (d_i + sum_j p_j d_j)."""
    return p * (moved + p @ moved)


def _allowed_softmax(z, p, change, /, **_):
    return _weighted(p, change * (z.max() - z))


def _allowed_margin(z, p, change, /, temperature, margin=0.35, **_):
    return _weighted(p, change * (z.max() - z + abs(margin) / temperature))


def _allowed_series(z, p, change, /, order=2, **_):
    """From the terms of the series without their signs."""
    z = z.astype(np.longdouble)  # whose exponents hold every power
    terms = np.array([z**m / float(mp.factorial(m)) for m in range(order + 1)])
    lost = np.abs(terms).sum(axis=0) / np.abs(terms.sum(axis=0))
    return _weighted(p, change * order * lost.astype(float))


def _allowed_weights(z, p, change, /, **_):
    """d log f/d log z is at most 2 + |z| for every f."""
    return _weighted(p, change * np.where(p > 0, 2 + np.abs(z), 0))


def _moved(z, p, change):
    """By how much z_i - lambda may move: lambda by no more than the z of the support."""
    moved = change * (1 + z.max() - z)
    return moved + moved[p > 0].max()


def _near(z, p, moved):
    """The others stay at 0: a support is at most 1 wide."""
    return z + moved > z[p > 0].min() - 1


def _allowed_projection(z, p, change, /, **_):
    moved = _moved(z, p, change)
    return np.where(_near(z, p, moved), moved, 0.0)


def _allowed_entmax(z, p, change, /, alpha=1.5, **_):
    """p_i rises with z_i and falls with every other: the ends are p_i at z_i -+ d.

    For alpha <= 2 a bound without further roots is as good, t_i = (alpha - 1) z_i - lambda moving
    by (alpha - 1) d. Beyond, p_i >= 0 of small entries is much steeper in lambda than in z.
    """
    if alpha == 1:
        return _allowed_softmax(z, p, change)
    if alpha == np.inf:
        return np.zeros_like(p)
    moved = _moved(z, p, change)
    if alpha <= 2:
        return _allowed_power(z, entmax_threshold(z, alpha), alpha, moved)
    out = np.zeros_like(p)
    for i in np.flatnonzero(_near(z, p, moved)):
        below, above = (
            float(entmax([*z[:i], _number(z[i]) + d, *z[i + 1 :]], alpha)[i])
            for d in (-moved[i], moved[i])
        )
        out[i] = _interval(below, p[i], above)
    return out


def _allowed_power(z, threshold, alpha, moved):
    with mp.workdps(DIGITS + _entmax_digits(_number(alpha))):
        scale, out = _number(alpha) - 1, []
        for v, d in zip(map(_number, z), moved, strict=True):
            t = scale * v - threshold
            ends = [max(t + scale * side * _number(d), 0) ** (1 / scale) for side in (-1, 0, 1)]
            out.append(float(_interval(*map(np.array, ends))))
        return np.array(out)


def _allowed_normmax(z, p, change, /, alpha=2.0, **_):
    """u_i = z_i - lambda moves by d, and the sum by what the powers of all do.

    At inf p jumps where an entry enters the support.
    """
    if alpha == 1:
        return np.zeros_like(p)
    moved, threshold = _moved(z, p, change), normmax_threshold(z, alpha)
    u = np.array([float(_number(v) - threshold) for v in z])
    if alpha == np.inf:
        return np.ones_like(p) if (np.abs(u) <= moved).any() else np.zeros_like(p)
    power = 1 / (alpha - 1)
    below, above = (np.maximum(u + side * moved, 0) ** power for side in (-1, 1))
    return _interval(below / above.sum(), p, above / below.sum())


def _allowed_density(z, p, change, /, **_):
    """|dp_i| <= sum_j |J_ij| d = 2 J_ii d, and J_ii is an average of the density, at most 1."""
    return 2 * change * (z.max() - z) + 1e-10


_ALLOWED = {
    "softmax": _allowed_softmax,
    "margin_softmax": _allowed_margin,
    "sparse_softmax": _allowed_softmax,
    "taylor_softmax": _allowed_series,
    "sparsemax": _allowed_projection,
    "budget": _allowed_projection,
    "entmax": _allowed_entmax,
    "normmax": _allowed_normmax,
    "perturb_max": _allowed_density,
    "normalize": _allowed_weights,
}


BIG = 1e300  # gaps that are as good as infinite


def allowed(name, x, p, dtype, ulps, /, temperature=1, **parameters):
    """How far a map computed in floats may be from p, the exact one, an array like it.

    That is what it does when the gaps max z - z_i of z = x/temperature (where it depends on nothing
    else; z itself in `taylor_softmax` and `normalize`) and 1 move by `ulps` units of rounding, and
    as many units of the result.
    """
    info = np.finfo(dtype)
    change = ulps * float(info.eps)
    z, p = np.asarray(x, dtype=np.longdouble) / temperature, rounded(p)
    there = z > -np.inf
    out = np.zeros_like(p)
    if there.any():
        z = z[there] - (0 if name in ("taylor_softmax", "normalize") else z.max())
        z = z.clip(-BIG, BIG).astype(float)
        out[there] = _ALLOWED[name](z, p[there], change, temperature=temperature, **parameters)
    return out + change * p + float(info.tiny)


# ---------------------------------------------------------------------------------------------
# Derivatives.


def derivative(function, at, digits=DIGITS):
    """d function/dt at `at`, for a function of a number into numbers or a list of them.

    A central difference with a step of half the digits, in one and a half times as many.
    """
    with mp.workdps(digits + digits // 2 + GUARD):
        at, step = _number(at), mp.mpf(10) ** (-(digits // 2))
        above, below = function(at + step), function(at - step)
        if not isinstance(above, list):
            return (above - below) / (2 * step)
        return [(a - b) / (2 * step) for a, b in zip(above, below, strict=True)]


def jacobian(function, x, digits=DIGITS):
    """J[i][j] = d function(x)_i/dx_j, a list of rows; 0 where x_j = -inf."""
    x = [_number(v) for v in x]
    columns = []
    for j, value in enumerate(x):
        if _takes_part(value):
            moved = lambda t, j=j: function([*x[:j], t, *x[j + 1 :]])  # noqa: E731
            columns.append(derivative(moved, value, digits))
        else:
            columns.append([mp.mpf(0) for _ in x])
    return [list(row) for row in zip(*columns, strict=True)]


#: The maps by their names in the library.
MAPS = {
    "softmax": softmax,
    "taylor_softmax": taylor_softmax,
    "sparse_softmax": sparse_softmax,
    "sparsemax": sparsemax,
    "entmax": entmax,
    "normmax": normmax,
    "budget": budget,
    "perturb_max": perturb_max,
    "normalize": normalize,
    "margin_softmax": margin_softmax,
}
