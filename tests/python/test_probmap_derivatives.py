"""Derivatives of the probability maps against differences in 90 digits, and the laws they obey."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field

import mpmath as mp
import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_message, assert_within
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

import resolvent as rv
from oracles import probmap as oracle

jacobian, jvp, vjp = rv.probmap.jacobian, rv.probmap.jvp, rv.probmap.vjp

INF = np.inf

# Multiples of eps, each times a condition number.
ENTRY = 32  # an entry of a Jacobian, relative to its largest
PRODUCT = 8  # per term of a product with it
BY_PARAMETER = 64  # a derivative with respect to alpha or to the temperature
# Promises, absolute.
QUADRATURE = 1e-10  # of a perturbed maximum
GUMBEL = 1e-12  # of the one that is softmax

#: Rows away from the kinks, with all, some and few entries in the supports.
X = np.array(
    [
        [0.41, 0.03, -0.22, -0.35, 0.27],
        [1.72, -0.53, 1.31, 0.12, 1.55],
        [-2.1, 2.4, 0.61, 1.97, -0.13],
    ]
)


@dataclass(frozen=True, eq=False)
class Case:
    """A map with its parameters."""

    name: str
    parameters: dict = field(default_factory=dict)

    def __str__(self):
        values = ("user" if isinstance(v, tuple) else str(v) for v in self.parameters.values())
        return "-".join([self.name, *values])

    def given(self, **more):
        """The same with more parameters."""
        return Case(self.name, {**self.parameters, **more})

    @property
    def map(self):
        return getattr(rv.probmap, self.name)(**self.parameters)

    @property
    def rows(self):
        """X; relu and square have a kink or a zero at 0."""
        return np.abs(X) + 0.2 if self.parameters.get("f") in ("relu", "square") else X

    @property
    def by_parameter(self):
        """Names of what it can be differentiated by, besides the logits."""
        return ("temperature", "alpha") if self.name in HAS_ALPHA else ("temperature",)

    @property
    def slack(self):
        """What quadrature may add to any error."""
        return 4 * QUADRATURE if self.name == "perturb_max" else 0.0

    @property
    def exact(self):
        """The oracle's map. The perturbed maximum with Gumbel noise is softmax."""
        function = oracle.softmax if self.name == "perturb_max" else oracle.MAPS[self.name]
        return functools.partial(function, **self.parameters)

    def exact_jacobian(self, x):
        return oracle.rounded(oracle.jacobian(self.exact, list(x)))

    def exact_slope(self, parameter, x):
        """dp/d(parameter); at alpha = 1 from the right."""
        at = self.parameters.get(parameter, 1.0)

        def moved(t):
            return self.given(**{parameter: t}).exact(list(x))

        if parameter == "alpha" and at == 1:
            with mp.workdps(2 * oracle.DIGITS):
                step = mp.mpf(10) ** -30
                pairs = zip(moved(1 + step), moved(mp.mpf(1)), strict=True)
                return oracle.rounded([(a - b) / step for a, b in pairs])
        return oracle.rounded(oracle.derivative(moved, at))

    def condition(self, x):
        """By how much a rounding of a row and its p is multiplied, relative to the largest entry.

        Logits count with their size over the temperature. entmax and normmax have
        p = u^{1/(alpha - 1)} with an absolute rounding of u, so that a small p is multiplied by
        p^{1 - alpha}, and s = p^{2 - alpha} with it. The terms of Taylor's polynomial cancel left
        of 0.
        """
        z = np.where(np.isfinite(x), x, 0.0) / self.parameters.get("temperature", 1.0)
        size = 1 + np.abs(z).max()
        alpha = self.parameters.get("alpha", INF)
        if np.isfinite(alpha):
            p = self.map(x)
            return size * (1 + abs(2 - alpha)) * p[p > 0].min() ** (1 - alpha)
        if self.name == "taylor_softmax":
            terms = 1 / np.cumprod([1.0, *range(1, self.parameters.get("order", 2) + 1)])
            f = np.polynomial.Polynomial(terms)
            return size * np.max(f(np.abs(z)) / f(z))
        return size


def cases(name, **lists):
    """One for every value of the only parameter."""
    ((key, values),) = lists.items()
    return tuple(Case(name, {key: value}) for value in values)


#: A noise as users give it, which is none of the named ones: the hyperbolic secant.
SECANT = (
    lambda e: 1 / (np.pi * np.cosh(e)),
    lambda e: 2 / np.pi * np.arctan(np.exp(e)),
    lambda u: np.log(np.tan(np.pi / 2 * u)),
)

HAS_ALPHA = ("entmax", "normmax")
ALPHAS = (1.0, 1.0 + 1e-9, 1.2, 1.5, 2.0, 3.0, 6.0)
NORMS = (1.2, 1.5, 2.0, 4.0)
NAMED = ("gumbel", "normal", "logistic", "laplace", "uniform", "exponential", "cauchy")

#: Maps that are the gradient of a convex function, and do not see a shift of the logits.
POTENTIAL = (
    Case("softmax"),
    Case("sparse_softmax", {"k": 3}),
    Case("sparse_softmax", {"p": 0.8}),
    Case("sparsemax"),
    *cases("entmax", alpha=(*ALPHAS, INF)),
    *cases("normmax", alpha=(1.0, *NORMS, INF)),
    *cases("budget", total=(1.0, 2.0, 2.6)),
    Case("margin_softmax", {"target": 1}),
    Case("perturb_max"),
)
WEIGHTS = (
    *cases("taylor_softmax", order=(2, 4)),
    *cases("normalize", f=("square", "relu", "sigmoid", "softplus")),
)
PERTURBED = (
    *cases("perturb_max", noise=NAMED[1:]),
    Case("perturb_max", {"noise": "student-t", "df": 3.0}),
    Case("perturb_max", {"noise": SECANT}),
)
CASES = POTENTIAL + WEIGHTS
ALL = CASES + PERTURBED


def every(cases):
    return pytest.mark.parametrize("case", cases, ids=str)


def largest(array):
    return np.abs(array).max(initial=0.0)


# ---------------------------------------------------------------------------------------------
# Against the oracle.


@every(CASES)
@pytest.mark.parametrize("temperature", [1.0, 0.75])
def test_jacobian(case, temperature):
    case = case.given(temperature=temperature)
    found = jacobian(case.map, case.rows)
    assert found.shape == (3, 5, 5)
    for x, one in zip(case.rows, found, strict=True):
        wanted = case.exact_jacobian(x)
        assert_within(one, wanted, ENTRY * EPS * case.condition(x) * largest(wanted))


@every(cases("entmax", alpha=ALPHAS) + cases("normmax", alpha=NORMS))
@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_alpha(case, temperature):
    case = case.given(temperature=temperature)
    found = jacobian(case.map, X, wrt="alpha")
    assert found.shape == X.shape
    for x, one in zip(X, found, strict=True):
        wanted = case.exact_slope("alpha", x)
        bound = BY_PARAMETER * EPS * case.condition(x) * (1 + largest(wanted))
        assert_within(one, wanted, bound)


def test_alpha_at_the_ends():
    """p does not move any more, or not yet."""
    for case in (*cases("entmax", alpha=[INF]), *cases("normmax", alpha=[1.0, INF])):
        assert_bits(jacobian(case.map, X, wrt="alpha") + 0.0, np.zeros_like(X))


@every(CASES)
@pytest.mark.parametrize("temperature", [0.8, 1.6])
def test_temperature(case, temperature):
    case = case.given(temperature=temperature)
    found = jacobian(case.map, case.rows, wrt="temperature")
    assert found.shape == X.shape
    for x, one in zip(case.rows, found, strict=True):
        wanted = case.exact_slope("temperature", x)
        size = largest(case.exact_jacobian(x)) * largest(x) / temperature
        assert_within(one, wanted, BY_PARAMETER * EPS * case.condition(x) * size)


# ---------------------------------------------------------------------------------------------
# Perturbed maxima.

DISTRIBUTIONS = {
    "gumbel": stats.gumbel_r,
    "normal": stats.norm,
    "logistic": stats.logistic,
    "laplace": stats.laplace,
    "uniform": stats.uniform,
    "exponential": stats.expon,
    "student-t": stats.t(3.0),
    "cauchy": stats.cauchy,
}

#: The density of the difference of two independent draws at d >= 0.
DIFFERENCE = {
    "gumbel": lambda d: np.exp(-d) / (1 + np.exp(-d)) ** 2,
    "normal": lambda d: np.exp(-(d**2) / 4) / np.sqrt(4 * np.pi),
    "logistic": lambda d: np.exp(d) * ((d - 2) * np.exp(d) + d + 2) / np.expm1(d) ** 3,
    "laplace": lambda d: (1 + d) * np.exp(-d) / 4,
    "uniform": lambda d: max(1 - d, 0.0),
    "exponential": lambda d: np.exp(-d) / 2,
    "cauchy": lambda d: 2 / (np.pi * (4 + d**2)),
}


@pytest.mark.parametrize("noise", DIFFERENCE)
@pytest.mark.parametrize("gap", [0.125, 0.75, 3.0, 11.0])
def test_perturbed_maximum_of_two(noise, gap):
    """p_0 = P[e_1 - e_0 < gap], whose slope is the density of the difference."""
    for temperature in (1.0, 2.0):
        x = np.array([0.5 + gap, 0.5]) * temperature
        found = jacobian("perturb_max", x, noise=noise, temperature=temperature)
        wanted = DIFFERENCE[noise](gap) / temperature * np.array([[1, -1], [-1, 1]])
        assert_within(found, wanted, QUADRATURE / temperature)
        slope = jacobian("perturb_max", x, wrt="temperature", noise=noise, temperature=temperature)
        wanted = -DIFFERENCE[noise](gap) * gap / temperature * np.array([1, -1])
        assert_within(slope, wanted, 2 * QUADRATURE * largest(x) / temperature**2)


def overlap(x, law, i, j):
    """integral f(s - x_i) f(s - x_j) prod of the other F(s - x_l) ds: -dp_i/dx_j."""

    def integrand(s):
        others = np.prod([law.cdf(s - v) for k, v in enumerate(x) if k not in (i, j)])
        return law.pdf(s - x[i]) * law.pdf(s - x[j]) * others

    bends = {float(v + end) for v in x for end in (0.0, *law.support()) if abs(end) < INF}
    edges = [-INF, *sorted(bends), INF]
    return sum(
        integrate.quad(integrand, low, high, epsabs=QUADRATURE / 100, epsrel=0, limit=200)[0]
        for low, high in itertools.pairwise(edges)
    )


def perturbed_jacobian(x, law):
    """By SciPy's quadrature; the rows sum to 0."""
    j = np.zeros((len(x), len(x)))
    for a, b in zip(*np.triu_indices(len(x), 1), strict=True):
        j[a, b] = j[b, a] = -overlap(x, law, a, b)
    return j - np.diag(j.sum(axis=1))


@pytest.mark.filterwarnings("ignore:overflow encountered")  # in SciPy's densities, far out
@pytest.mark.parametrize("noise", [*DISTRIBUTIONS, "user"])
def test_perturbed_maximum_of_three(noise):
    x = np.array([0.3, -0.4, 0.65])
    parameters = {"noise": SECANT if noise == "user" else noise}
    if noise == "student-t":
        parameters["df"] = 3.0
    wanted = perturbed_jacobian(x, DISTRIBUTIONS.get(noise, stats.hypsecant))
    assert_within(jacobian("perturb_max", x, **parameters), wanted, 4 * QUADRATURE)


def test_a_noise_by_its_functions_is_that_noise():
    law = stats.logistic
    for wrt in ("x", "temperature"):
        one, other = (
            jacobian("perturb_max", X, wrt=wrt, noise=noise)
            for noise in ("logistic", (law.pdf, law.cdf, law.ppf))
        )
        assert_within(one, other, 4 * QUADRATURE * X.shape[-1] * (1 + largest(X)))


def test_gumbel_noise_is_softmax():
    for wrt in ("x", "temperature"):
        one, other = (jacobian(name, X, wrt=wrt) for name in ("perturb_max", "softmax"))
        assert_within(one, other, GUMBEL * (1 + largest(X)))


# ---------------------------------------------------------------------------------------------
# Laws.


@every(ALL)
def test_probabilities_always_sum_to_the_same(case):
    """So the columns sum to 0, and all derivatives in a parameter do."""
    found = jacobian(case.map, case.rows)
    for x, one in zip(case.rows, found, strict=True):
        bound = 5 * ENTRY * EPS * largest(one) * case.condition(x) + case.slack
        assert_within(one.sum(axis=0), np.zeros(5), bound)
    for wrt in case.by_parameter:
        slopes = jacobian(case.map, case.rows, wrt=wrt)
        for x, one, j in zip(case.rows, slopes, found, strict=True):
            size = largest(one) + largest(j) * largest(x)
            bound = 5 * BY_PARAMETER * EPS * size * case.condition(x) + 5 * case.slack
            assert_within(one.sum(), 0.0, bound)


@every(POTENTIAL + PERTURBED)
def test_gradients_of_convex_functions_are_symmetric_and_positive(case):
    for x, one in zip(X, jacobian(case.map, X), strict=True):
        bound = 5 * ENTRY * EPS * largest(one) * case.condition(x) + case.slack
        assert_within(one, one.T, bound)
        assert_within(one.sum(axis=1), np.zeros(5), bound)
        assert np.linalg.eigvalsh((one + one.T) / 2)[0] >= -5 * bound


@every(WEIGHTS)
def test_normalized_weights_are_no_gradients(case):
    found = jacobian(case.map, case.rows[0])
    assert largest(found - found.T) > 1e6 * EPS * largest(found)


@every(ALL)
def test_the_temperature_moves_all_logits_at_once(case):
    """p(x/tau): dp/dtau = -J x/tau."""
    case = case.given(temperature=1.25)
    slopes, entries = (jacobian(case.map, case.rows, wrt=wrt) for wrt in ("temperature", "x"))
    for x, found, j in zip(case.rows, slopes, entries, strict=True):
        moved = x - 0.35 * (np.arange(5) == case.parameters.get("target"))
        terms = (np.abs(j) @ np.abs(moved)).max()
        bound = 5 * PRODUCT * EPS * terms * case.condition(x) + 5 * case.slack
        assert_within(found, -j @ moved / 1.25, bound)


def test_supports_of_budget():
    """1 - 1/m between the bounds, 0 at them; nothing moves where an integer total meets a gap."""
    x = [3.0, 0.5, 0.25, -2.0]
    assert_within(rv.probmap.budget(x, total=2.0), [1, 0.625, 0.375, 0], ENTRY * EPS)
    wanted = np.zeros((4, 4))
    wanted[1:3, 1:3] = [[0.5, -0.5], [-0.5, 0.5]]
    assert_bits(jacobian("budget", x, total=2.0) + 0.0, wanted)
    assert not jacobian("budget", [3.0, 2.5, 0.25, -2.0], total=2.0).any()
    assert not jacobian("budget", x, total=4.0).any()


def test_at_a_kink_the_branch_of_the_support_counts():
    assert_bits(rv.probmap.sparsemax([1.0, 0.0]), np.array([1.0, 0.0]))
    assert not jacobian("sparsemax", [1.0, 0.0]).any()
    assert not jacobian("entmax", [2.0, 0.0], alpha=1.5).any()
    assert not jacobian("normmax", [1.0, 0.0]).any()
    found = jacobian("normalize", [1.0, 0.0, -1.0, 3.0], f="relu")
    assert not found[:, 1:3].any()
    assert not found[1:3].any()
    # ties at the last place are all kept
    found = jacobian("sparse_softmax", [1.0, 0.0, 0.0, -1.0], k=2)
    wanted = jacobian("softmax", [1.0, 0.0, 0.0])
    assert_within(found[:3, :3], wanted, ENTRY * EPS)
    assert not found[3].any()


@every(
    [
        Case("softmax"),
        Case("sparse_softmax", {"k": 2}),
        Case("margin_softmax", {"target": 1}),
        *cases("entmax", alpha=[1.0, 1.0 + 1e-9]),
        *cases("normalize", f=["sigmoid", "softplus"]),
    ]
)
def test_confident_rows_keep_their_digits(case):
    """p_0 is 1, but the slopes are not 0: every entry is right relative to itself."""
    x = np.array([-3.0, -45.0, -48.0])
    wanted = case.exact_jacobian(x)
    assert 0 < largest(wanted) < EPS
    assert_within(jacobian(case.map, x), wanted, ENTRY * EPS * (1 + largest(x)) * np.abs(wanted))


@pytest.mark.parametrize("small", [1e-4, 1e-8, 1e-12])
def test_small_probabilities_do_not_swamp_the_others(small):
    """alpha = 3: s = 1/p, so that J = s_0 s_1/(s_0 + s_1) [[1, -1], [-1, 1]] is that over 1."""
    p, g = np.array([1 - small, small]), np.array([0.3, 1.0])
    wanted = (g[0] - g[1]) / p.sum() * np.array([1, -1])
    assert_within(vjp("entmax", p**2 / 2, g, p=p, alpha=3.0), wanted, PRODUCT * EPS)


# ---------------------------------------------------------------------------------------------
# Products.

SEED = st.integers(0, 2**20)


def cut(case, n):
    """The same map for rows of another length."""
    smaller = {
        key: min(case.parameters[key], n) for key in ("k", "total") if key in case.parameters
    }
    return case.given(**smaller, **({"target": 0} if "target" in case.parameters else {}))


@given(st.sampled_from(ALL), SEED, st.integers(2, 6), st.sampled_from([0.5, 1.0, 1.75]))
def test_products_are_products_and_each_other_s_adjoints(case, seed, n, temperature):
    """<g, J v> = <J^T g, v>, with J as its entries say.

    A column holds (1 - p_j) times a slope, but a product takes the slope times a difference that
    need not vanish exactly with 1 - p_j.
    """
    case = cut(case, n).given(temperature=temperature)
    x, v, g = np.random.default_rng(seed).standard_normal((3, 2, n))
    if case.parameters.get("f") == "relu":
        x = np.abs(x)
    entries = jacobian(case.map, x)
    forward, backward = jvp(case.map, x, v), vjp(case.map, x, g)
    assert forward.shape == backward.shape == x.shape
    for row, (j, p) in enumerate(zip(entries, case.map(x), strict=True)):
        slopes = np.abs(j)[:, p < 1] / (1 - p[p < 1])
        scale = PRODUCT * (n + 4) * EPS * case.condition(x[row]) * largest(slopes)
        along = scale * np.abs(v[row]).sum() + n * case.slack
        back = scale * np.abs(g[row]).sum() + n * case.slack
        assert_within(forward[row], j @ v[row], along)
        assert_within(backward[row], j.T @ g[row], back)
        left, right = g[row] @ forward[row], backward[row] @ v[row]
        assert abs(left - right) <= along * np.abs(g[row]).sum() + back * np.abs(v[row]).sum()


@pytest.mark.parametrize("name", HAS_ALPHA)
@pytest.mark.parametrize("wrt", ["alpha", "temperature"])
def test_products_with_parameters(name, wrt):
    """v is the parameter's tangent, for all rows or for each; the other product adds up."""
    rng = np.random.default_rng(0)
    g = rng.standard_normal(X.shape)
    for parameter in (1.3, np.array([1.3, 1.6, 2.5]), np.array([1.3])):
        map = Case(name, {"alpha": 1.4, "temperature": 0.9, wrt: parameter}).map
        slopes = jacobian(map, X, wrt=wrt)
        tangents = rng.standard_normal(3)
        bound = PRODUCT * 5 * EPS * largest(slopes)
        found = jvp(map, X, tangents, wrt=wrt)
        assert_within(found, slopes * tangents[:, None], bound * largest(tangents))
        assert_within(jvp(map, X, 2.0, wrt=wrt), 2 * slopes, 2 * bound)
        found = vjp(map, X, g, wrt=wrt)
        wanted = (g * slopes).sum(axis=-1)
        if np.size(parameter) == 1:
            wanted = wanted.sum().reshape(np.shape(parameter))
        assert_within(found, wanted, 3 * bound * np.abs(g).sum())


def test_a_parameter_s_broadcast_axes_are_summed():
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((2, 2, 3, 4))
    full = vjp("softmax", x, g, wrt="temperature", temperature=np.ones((2, 3)))
    assert full.shape == (2, 3)
    for shape, axes in (((), (0, 1)), ((3,), (0,)), ((1, 3), (0,)), ((2, 1), (1,))):
        found = vjp("softmax", x, g, wrt="temperature", temperature=np.ones(shape))
        wanted = full.sum(axis=axes).reshape(shape)
        assert_within(found, wanted, PRODUCT * 6 * EPS * largest(full))


def test_several_derivatives_at_once():
    g = np.random.default_rng(2).standard_normal(X.shape)
    map = rv.probmap.entmax(alpha=np.array([1.2, 1.5, 2.5]), temperature=0.8)
    wrt = ("x", "alpha", "temperature")
    found = vjp(map, X, g, wrt=wrt)
    assert isinstance(found, tuple)
    assert len(found) == 3
    for name, one in zip(wrt, found, strict=True):
        assert_bits(one, vjp(map, X, g, wrt=name))
    single = vjp("softmax", X, g, wrt=("temperature",))
    assert isinstance(single, tuple)
    assert single == (vjp("softmax", X, g, wrt="temperature"),)


@every(ALL)
def test_a_given_p_saves_nothing_but_time(case):
    x, g = case.rows, np.random.default_rng(3).standard_normal(X.shape)
    p = case.map(x)
    for wrt in ("x", "temperature"):
        plain = vjp(case.map, x, g, wrt=wrt)
        assert_bits(vjp(case.map, x, g, wrt=wrt, p=p), plain)
        # and along another axis
        moved = vjp(case.map, x.T, g.T, wrt=wrt, p=p.T, axis=0)
        assert_bits(moved.T, plain)


@every([Case("softmax"), Case("sparsemax"), *cases("entmax", alpha=ALPHAS), Case("normmax")])
def test_a_given_p_is_what_counts(case):
    """Of maps whose derivative is a function of p: the logits are not looked at for it."""
    x, g = case.rows, np.random.default_rng(3).standard_normal(X.shape)
    other = x[::-1].copy()
    found = vjp(case.map, x, g, p=case.map(other))
    assert_bits(found, vjp(case.map, other, g))


@every(ALL)
def test_results_can_go_into_out(case):
    x, g = case.rows, np.random.default_rng(4).standard_normal(X.shape)
    plain = vjp(case.map, x, g)
    out = np.full_like(x, np.nan)
    assert vjp(case.map, x, g, out=out) is out
    assert_bits(out, plain)
    across = np.full((5, 3), np.nan)
    assert vjp(case.map, x.T, g.T, axis=0, out=across) is across
    assert_bits(np.ascontiguousarray(across.T), plain)
    assert_bits(vjp(case.map, x, g, out=g), plain)  # over the cotangents


# ---------------------------------------------------------------------------------------------
# Masks and empty rows.


@every(ALL)
def test_masked_entries_have_zero_rows_and_columns(case):
    full = case.rows
    x = np.insert(full, 2, -INF, axis=1)
    mask = np.isfinite(x)
    unmasked = np.where(mask, x, 7.0)
    found, wanted = jacobian(case.map, x), jacobian(case.map, full)
    assert not found[:, 2].any()
    assert not found[:, :, 2].any()
    scale = max(case.condition(row) for row in full)
    bound = ENTRY * EPS * largest(wanted) * scale + case.slack
    assert_within(np.delete(np.delete(found, 2, axis=1), 2, axis=2), wanted, bound)
    assert_bits(jacobian(case.map, unmasked, mask=mask), found)
    v = np.random.default_rng(6).standard_normal(x.shape)
    for product in (jvp, vjp):
        plain = product(case.map, x, v)
        assert_bits(product(case.map, unmasked, v, mask=mask), plain)
        assert not plain[:, 2].any()
        assert np.isfinite(plain).all()
    for wrt in case.by_parameter:
        found, wanted = (jacobian(case.map, rows, wrt=wrt) for rows in (x, full))
        assert not found[:, 2].any()
        bound = BY_PARAMETER * EPS * (1 + largest(wanted)) * scale + 5 * case.slack
        assert_within(np.delete(found, 2, axis=1), wanted, bound)
        assert np.isfinite(vjp(case.map, x, v, wrt=wrt)).all()


@every(ALL)
def test_rows_without_entries_do_not_move(case):
    x = np.array([[-INF] * 5, case.rows[0]])
    g = np.random.default_rng(7).standard_normal(x.shape)
    for wrt in ("x", *case.by_parameter):
        found = jacobian(case.map, x, wrt=wrt)
        assert not found[0].any()
        assert np.isfinite(found).all()
        assert_bits(found[1:], jacobian(case.map, x[1:], wrt=wrt))
        v = g if wrt == "x" else np.array([1.0, 2.0])
        assert not jvp(case.map, x, v, wrt=wrt)[0].any()
        found = vjp(case.map, x, g, wrt=wrt)
        if wrt == "x":
            assert not found[0].any()
        else:
            assert found == vjp(case.map, x[1:], g[1:], wrt=wrt)
        for function in (jacobian, functools.partial(jvp, v=v), functools.partial(vjp, g=g)):
            with pytest.raises(rv.InvalidArgument) as info:
                function(case.map, x, wrt=wrt, empty="error")
            assert_message(info, "0", "masked")


def test_weights_that_all_vanish_do_not_move():
    x = [[-1.0, -2.0, -3.0], [1.0, -1.0, 2.0]]
    for wrt in ("x", "temperature"):
        found = jacobian("normalize", x, f="relu", wrt=wrt)
        assert not found[0].any()
        assert np.isfinite(found).all()
    assert not jacobian("normalize", np.zeros(3), f="square").any()
    assert not vjp("normalize", np.zeros(3), np.ones(3), f="square").any()


# ---------------------------------------------------------------------------------------------
# Shapes and types.


@pytest.mark.parametrize("axis", [0, 1, -2, -1])
@every(
    [
        Case("entmax", {"alpha": np.array([[1.0, 1.3, 1.5], [2.0, 3.0, INF]])}),
        Case("normalize", {"f": "softplus"}),
        Case("budget", {"total": 1.5}),
    ]
)
def test_any_axis(axis, case):
    last, v = np.random.default_rng(8).standard_normal((2, 2, 3, 4))
    x, tangents = np.moveaxis(last, -1, axis), np.moveaxis(v, -1, axis)
    for wrt, shape in (("x", (2, 3, 4, 4)), ("temperature", (2, 3, 4))):
        plain = jacobian(case.map, last, wrt=wrt)
        assert plain.shape == shape
        assert_bits(jacobian(case.map, x, wrt=wrt, axis=axis), plain)
    for product in (jvp, vjp):
        found = product(case.map, x, tangents, axis=axis)
        wanted = product(case.map, last, v)
        assert_bits(np.ascontiguousarray(np.moveaxis(found, axis, -1)), wanted)
    found = jvp(case.map, x, v[..., 0], wrt="temperature", axis=axis)
    wanted = jvp(case.map, last, v[..., 0], wrt="temperature")
    assert_bits(np.ascontiguousarray(np.moveaxis(found, axis, -1)), wanted)


def test_parameters_of_every_row():
    rng = np.random.default_rng(9)
    x, g = rng.standard_normal((2, 2, 3, 4))
    alpha = np.array([[1.0, 1.25, INF], [2.0, 4.0, 1.5]])
    for case in (
        Case("entmax", {"alpha": alpha, "temperature": 0.5 + rng.random((2, 3))}),
        Case("normmax", {"alpha": alpha, "temperature": 0.5 + rng.random((2, 3))}),
        Case("budget", {"total": np.array([[1.0, 2.0, 0.5], [3.0, 1.5, 4.0]])}),
    ):
        for wrt in ("x", *case.by_parameter):
            found = jacobian(case.map, x, wrt=wrt)
            back = vjp(case.map.bind(temperature=np.ones((2, 3))), x, g, wrt=wrt)
            for at in np.ndindex(2, 3):
                own = Case(case.name, {key: value[at] for key, value in case.parameters.items()})
                bound = ENTRY * EPS * own.condition(x[at])
                wanted = jacobian(own.map, x[at], wrt=wrt)
                assert_within(found[at], wanted, bound * (1 + largest(wanted)))
                own = own.given(temperature=1.0)
                if np.ndim(back) > 1:
                    wanted = vjp(own.map, x[at], g[at], wrt=wrt)
                    bound = ENTRY * EPS * own.condition(x[at])
                    assert_within(back[at], wanted, bound * (1 + largest(wanted)))


@every(ALL)
def test_single_precision(case):
    double = case.rows.astype(np.float32).astype(np.float64)
    g = np.random.default_rng(10).standard_normal(X.shape).astype(np.float32).astype(np.float64)
    scale = ENTRY * EPS32 * max(case.condition(row) for row in double)
    for wrt in ("x", *case.by_parameter):
        for function in (jacobian, functools.partial(vjp, g=g), functools.partial(jvp, v=g)):
            if wrt != "x" and getattr(function, "func", None) is jvp:
                function = functools.partial(jvp, v=1.0)
            found = function(case.map, double.astype(np.float32), wrt=wrt)
            wanted = function(case.map, double, wrt=wrt)
            assert found.dtype == np.float32
            assert_within(found, wanted, scale * (1 + largest(wanted)) * 5)
    assert jacobian(case.given(temperature=2).map, [1, 2, 3]).dtype == np.float64


@every(ALL)
def test_one_entry_and_no_rows(case):
    case = cut(case, 1)
    assert_within(jacobian(case.map, [0.7]), np.zeros((1, 1)), QUADRATURE)
    none = np.zeros((0, 3))
    assert jacobian(case.map, none).shape == (0, 3, 3)
    assert jacobian(case.map, none, wrt="temperature").shape == (0, 3)
    assert jvp(case.map, none, none).shape == vjp(case.map, none, none).shape == (0, 3)
    assert vjp(case.map, none, none, wrt="temperature") == 0


def test_maps_by_name_function_and_with_bound_parameters():
    v = np.random.default_rng(11).standard_normal(X.shape)
    bound = rv.probmap.entmax(alpha=1.25, temperature=2.0)
    for function in (jacobian, functools.partial(jvp, v=v), functools.partial(vjp, g=v)):
        wanted = function("entmax", X, alpha=1.25, temperature=2.0)
        assert_bits(function(bound, X), wanted)
        assert_bits(function(rv.probmap.entmax, X, alpha=1.25, temperature=2.0), wanted)
        assert_bits(function(bound, X, alpha=2.0), function("sparsemax", X, temperature=2.0))


@every(ALL)
def test_inputs_stay_as_they_were(case):
    x, v = case.rows.copy(), np.ones_like(X)
    p = case.map(x)
    before = [array.copy() for array in (x, v, p)]
    for array in (x, v, p):
        array.flags.writeable = False
    jacobian(case.map, x)
    jvp(case.map, x, v)
    vjp(case.map, x, v, p=p)
    for array, copy in zip((x, v, p), before, strict=True):
        assert_bits(array, copy)


def test_huge_and_tiny_logits():
    for name in ("softmax", "sparsemax", "entmax", "normmax", "budget"):
        for wrt in ("x", "temperature"):
            assert not jacobian(name, [1e30, -1e30, 0.0], wrt=wrt).any()
        flat = jacobian(name, [5e-324, -5e-324, 0.0])
        assert_within(flat, jacobian(name, np.zeros(3)), ENTRY * EPS)


# ---------------------------------------------------------------------------------------------
# Bad input.

NOT_A_NUMBER = np.where(X > 2, np.nan, X)
INFINITE = np.where(X > 2, INF, X)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: jacobian("softmax", X, wrt="alpha"), rv.InvalidArgument, ["wrt", "'x'"]),
        (lambda: vjp("sparsemax", X, X, wrt="alpha"), rv.InvalidArgument, ["wrt", "'alpha'"]),
        (lambda: vjp("entmax", X, X, wrt=("x", "y")), rv.InvalidArgument, ["wrt", "'y'"]),
        (lambda: jacobian("entmax", X, alpha=0.5), rv.InvalidArgument, ["alpha", "0.5"]),
        (lambda: jacobian("entmax", X, beta=0.5), rv.InvalidArgument, ["entmax", "beta"]),
        (lambda: jacobian("nothing", X), rv.InvalidArgument, ["'softmax'", "'nothing'"]),
        (lambda: vjp("softmax", X, X[:, :4]), rv.ShapeMismatch, ["g ", "(3, 5)", "(3, 4)"]),
        (lambda: jvp("softmax", X, X[:, :4]), rv.ShapeMismatch, ["v ", "(3, 5)", "(3, 4)"]),
        (lambda: vjp("softmax", X, X, p=X[:2]), rv.ShapeMismatch, ["p ", "(3, 5)", "(2, 5)"]),
        (lambda: vjp("softmax", X, X, p=0.5), rv.ShapeMismatch, ["p ", "(3, 5)", "()"]),
        (lambda: vjp("softmax", X, X + 1j), rv.DtypeError, ["g ", "complex"]),
        (lambda: vjp("softmax", X, X, out=np.zeros((5, 3)).T), rv.InvalidArgument, ["out"]),
        (lambda: vjp("softmax", X, X, out=np.zeros((3, 4))), rv.ShapeMismatch, ["out"]),
        (lambda: vjp("softmax", X, X, out=np.zeros((3, 5), "f")), rv.DtypeError, ["out"]),
        (lambda: jvp("entmax", X, np.ones(2), wrt="alpha"), rv.ShapeMismatch, ["v ", "(3,)"]),
        (lambda: jacobian("softmax", NOT_A_NUMBER), rv.InvalidArgument, ["x[2, 1] = nan"]),
        (lambda: vjp("softmax", NOT_A_NUMBER.T, X.T, axis=0), rv.InvalidArgument, ["x[1, 2]"]),
        (lambda: vjp("softmax", INFINITE, X), rv.InvalidArgument, ["x[2, 1] = inf"]),
        (lambda: jvp("perturb_max", INFINITE, X), rv.InvalidArgument, ["x[2, 1] = inf"]),
    ],
)  # fmt: skip
def test_bad_input(call, error, parts):
    with pytest.raises(error) as info:
        call()
    assert_message(info, *parts)
