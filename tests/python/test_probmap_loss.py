"""Losses of the probability maps against their definitions in 50 digits, and the laws they obey."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_message, assert_within
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import probmap as oracle

loss, loss_gradient = rv.probmap.loss, rv.probmap.loss_gradient

INF = np.inf

# Multiples of eps, each times a condition number.
VALUE = 16  # a loss
SLOPE = 32  # an entry of a gradient
BY_PARAMETER = 64  # a derivative with respect to alpha or to the temperature
QUADRATURE = 1e-10  # of a perturbed maximum, absolute: what it promises

#: Rows with everything from one to all entries in the supports. Multiples of 1/16.
X = np.array(
    [
        [0.5, 0.0, -0.25, -1.0, 0.3125],
        [1.75, -0.5, 1.25, 0.0, 1.5],
        [-2.0, 3.0, 0.75, 2.875, -0.0625],
    ]
)
TARGETS = np.array([1, 0, 1])
SOFT = np.array(
    [[0.25, 0.5, 0.0, 0.125, 0.125], [0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.625, 0.25, 0.125, 0.0]]
)
MULTI_HOT = np.array([[1.0, 0, 1, 0, 0], [0, 0, 1, 0, 1], [0.25, 0.75, 0.5, 0.25, 0.25]])

ALPHAS = (1.0, 1.0 + 1e-9, 1.2, 1.5, 2.0, 3.0, 10.0)
NORMS = (1.0, 1.1, 1.5, 2.0, 5.0)

FENCHEL_YOUNG = (
    ("sparsemax", {}),
    *(("entmax", {"alpha": alpha}) for alpha in (*ALPHAS, INF)),
    *(("normmax", {"alpha": alpha}) for alpha in (*NORMS, INF)),
    ("budget", {}),
)
CROSS_ENTROPY = (
    ("softmax", {}),
    ("margin_softmax", {}),
    ("margin_softmax", {"margin": 1.5}),
    ("sparse_softmax", {"k": 2}),
    ("sparse_softmax", {"p": 0.7}),
)
LOG_LOSS = (
    ("taylor_softmax", {}),
    ("taylor_softmax", {"order": 4}),
    *(("normalize", {"f": f}) for f in ("square", "relu", "sigmoid", "softplus")),
    ("perturb_max", {}),
)
CASES = FENCHEL_YOUNG + CROSS_ENTROPY + LOG_LOSS
CONVEX = (*FENCHEL_YOUNG, *CROSS_ENTROPY[:3], ("perturb_max", {}))


def rows_for(parameters):
    """Rows whose f do not vanish."""
    return {"relu": np.abs(X) + 0.25, "square": X + 1 / 32}.get(parameters.get("f"), X)


def named(cases):
    return [pytest.param(m, kw, id="-".join([m, *map(str, kw.values())])) for m, kw in cases]


# ---------------------------------------------------------------------------------------------
# The definitions.


def objective(name, z, p, parameters):
    """<z, p> - Omega(p), with Omega = 0 at the corners of the simplex."""
    if name == "budget":
        return oracle.budget_objective(z, p)
    if name == "normmax":
        return oracle.normmax_objective(z, p, parameters.get("alpha", 2.0)) + 1
    alpha = 2 if name == "sparsemax" else parameters.get("alpha", 1.5)
    return oracle.entmax_objective(z, p, alpha)


def logits(x, temperature):
    return [mp.mpf(v) / mp.mpf(temperature) if v != -mp.inf else v for v in x]


def one_hot(target, n):
    return [mp.mpf(i == target) for i in range(n)]


def probabilities(name, x, target, parameters):
    """The oracle's map; sparse_softmax with the target among the kept, margin with its target."""
    if name == "sparse_softmax":
        kept = {*oracle.sparse_softmax_kept(x, **parameters), *support(target)}
        x = [v if i in kept else -mp.inf for i, v in enumerate(x)]
        return oracle.softmax(x, parameters.get("temperature", 1))
    if (name, parameters.get("noise", "gumbel")) == ("perturb_max", "gumbel"):
        return oracle.softmax(x, **parameters)  # the theorem; its integral takes seconds
    extra = {"target": target} if name == "margin_softmax" else {}
    return oracle.MAPS[name](x, **parameters, **extra)


def support(target):
    return [target] if isinstance(target, int) else [i for i, v in enumerate(target) if v > 0]


def exact_loss(name, x, target, **parameters):
    """The loss of one row, in the current precision or 50 digits."""
    with mp.workdps(max(mp.mp.dps, oracle.DIGITS) + 15):
        hard = isinstance(target, int)
        y = one_hot(target, len(x)) if hard else [mp.mpf(float(v)) for v in target]
        p = probabilities(name, x, target, parameters)
        if name in dict(FENCHEL_YOUNG):
            z = logits(x, parameters.get("temperature", 1))
            return objective(name, z, p, parameters) - objective(name, z, y, parameters)
        return -mp.fsum(v * mp.log(q) if q > 0 else -mp.inf for v, q in zip(y, p, strict=True) if v)


def exact_slopes(name, x, target, **parameters):
    """Its derivatives with respect to the logits."""
    return [
        float(
            oracle.derivative(
                lambda t, j=j: exact_loss(name, [*x[:j], t, *x[j + 1 :]], target, **parameters), v
            )
        )
        for j, v in enumerate(x)
    ]


def exact_slope(parameter, name, x, target, **parameters):
    """The derivative with respect to a parameter."""

    def moved(t):
        return exact_loss(name, x, target, **{**parameters, parameter: t})

    return float(oracle.derivative(moved, parameters.get(parameter, 1.0)))


def rows_of(target):
    return [t.tolist() for t in np.asarray(target)]


def size(x, temperature=1.0):
    """1 + max |x|/temperature of every row: what rounding is multiplied by."""
    return 1 + np.abs(np.where(np.isfinite(x), x, 0)).max(axis=-1) / temperature


def exact_losses(name, x, target, **parameters):
    return np.array(
        [
            float(exact_loss(name, row, t, **parameters))
            for row, t in zip(x.tolist(), rows_of(target), strict=True)
        ]
    )


def tolerance(name, x, target, losses, **parameters):
    """VALUE eps (L + sum |dL/dz| (1 + max |z|)): a rounding of the logits, and of the loss."""
    slopes = loss_gradient(name, x, target, reduction="none", **parameters)
    spread = np.abs(slopes).sum(axis=-1) * size(x, parameters.get("temperature", 1.0))
    bound = VALUE * EPS * (np.abs(losses) + spread)
    if name == "perturb_max" and parameters.get("noise", "gumbel") != "gumbel":
        bound = bound + QUADRATURE * np.exp(losses)
    return bound


# ---------------------------------------------------------------------------------------------
# Values.


@pytest.mark.parametrize(("name", "parameters"), named(CASES))
def test_hard_targets_from_the_definition(name, parameters):
    x = rows_for(parameters)
    for targets in (TARGETS, (TARGETS + 2) % 5):
        wanted = exact_losses(name, x, targets, **parameters)
        found = loss(name, x, targets, reduction="none", **parameters)
        assert_within(found, wanted, tolerance(name, x, targets, wanted, **parameters))


@pytest.mark.parametrize(
    ("name", "parameters"), named(case for case in CASES if case[0] != "margin_softmax")
)
def test_soft_targets_from_the_definition(name, parameters):
    """Terms as large as the largest loss cancel here."""
    x = rows_for(parameters)
    wanted = exact_losses(name, x, SOFT, **parameters)
    found = loss(name, x, SOFT, reduction="none", **parameters)
    terms = wanted + size(x)
    assert_within(found, wanted, tolerance(name, x, SOFT, terms, **parameters))


@pytest.mark.parametrize("total", [2.0, 2.25, 3.0])
def test_multi_hot_targets_of_a_budget(total):
    target = MULTI_HOT * (total / 2)
    target = np.clip(target, 0, 1)
    target[target.sum(-1) < total, 3] += total - target.sum(-1)[target.sum(-1) < total]
    assert target.max() <= 1
    wanted = exact_losses("budget", X, target, total=total)
    found = loss("budget", X, target, total=total, reduction="none")
    bound = tolerance("budget", X, target, wanted, total=total)
    assert_within(found, wanted, bound)


def test_a_budget_for_all_and_an_entry_far_above():
    every = np.ones_like(X)
    assert_bits(loss("budget", X, every, total=5.0, reduction="none"), np.zeros(3))
    nearly = np.float32(every) - np.float32(2.0**-24)  # within the slack of the sum
    found = loss("budget", X, nearly, total=5.0, reduction="none")
    assert_within(found, np.zeros(3), 5 * EPS32 * size(X))
    # it has its 1 of the total, and the others the rest as if they were alone
    for wrt in ("temperature", "x"):
        both = loss_gradient("budget", [1e20, 0.5, 0.25], [1.0, 1.0, 0.0], wrt=wrt, total=2.0)
        alone = loss_gradient("budget", [0.5, 0.25], [1.0, 0.0], wrt=wrt)
        assert_within(both if wrt == "temperature" else both[1:], alone, VALUE * EPS)


@pytest.mark.parametrize(
    ("name", "parameters"),
    named(
        [
            ("softmax", {}),
            ("entmax", {"alpha": 1.5}),
            ("normmax", {"alpha": 3.0}),
            ("budget", {}),
            ("taylor_softmax", {}),
            ("normalize", {"f": "softplus"}),
            ("margin_softmax", {}),
            ("sparse_softmax", {"k": 3}),
        ]
    ),
)
def test_the_temperature_divides_the_logits(name, parameters):
    for temperature in (0.3, 1.7):
        given = {**parameters, "temperature": temperature}
        wanted = exact_losses(name, X, TARGETS, **given)
        found = loss(name, X, TARGETS, reduction="none", **given)
        bound = tolerance(name, X, TARGETS, wanted + 1, **given)
        assert_within(found, wanted, bound)


def test_sparsemax_in_closed_form():
    """1/2 - x_t + sum over the support of (x_i^2 - lambda^2)/2."""
    found = loss("sparsemax", X, TARGETS, reduction="none")
    level = rv.probmap.threshold("sparsemax", X).value
    inside = level[:, None] < X
    terms = np.where(inside, (X**2 - level[:, None] ** 2) / 2, 0)
    wanted = 0.5 - X[np.arange(3), TARGETS] + terms.sum(-1)
    assert_within(found, wanted, VALUE * EPS * (1 + np.abs(terms).sum(-1) + np.abs(X).max(-1)))
    by_hand = loss("sparsemax", [0.5, 0.0], 0)  # p = (3/4, 1/4): (1/4)^2
    assert by_hand == 0.0625


@pytest.mark.parametrize("noise", ["logistic", "uniform"])
def test_perturbed_maxima(noise):
    x, target = X[:1, :3], [1]
    wanted = exact_losses("perturb_max", x, target, noise=noise)
    found = loss("perturb_max", x, target, noise=noise, reduction="none")
    assert_within(found, wanted, tolerance("perturb_max", x, target, wanted, noise=noise))


def dual(name, z, level, alpha):
    """An upper bound of the maximum of <z, p> - Omega(p): its Lagrangian dual at a level."""
    if name == "normmax":  # level, if |(z - level)_+|_q <= 1
        q = alpha / (alpha - 1)
        assert mp.fsum(max(v - level, 0) ** q for v in z) <= 1 + mp.mpf(10) ** (-oracle.DIGITS)
        return level + 1
    if alpha == 1:  # max over p >= 0 of (v - level) p - p log p
        return level + mp.fsum(mp.exp(v - level - 1) for v in z)
    total = level + mp.mpf(1) / (alpha * (alpha - 1))
    for v in z:  # max over p >= 0 of (v - level) p - p^alpha/(alpha (alpha - 1))
        p = max((alpha - 1) * (v - level), 0) ** (1 / (alpha - 1))
        total += (v - level) * p - p**alpha / (alpha * (alpha - 1))
    return total


@pytest.mark.parametrize(
    ("name", "alpha"),
    [*(("entmax", a) for a in ALPHAS), *(("normmax", a) for a in NORMS if a > 1)],
)
def test_the_maxima_in_the_definitions_are_maxima(name, alpha):
    """Another route to the conjugate: no p lies above the dual, and the oracle's p reaches it."""
    with mp.workdps(oracle.DIGITS + 30):
        for x in X.tolist():
            z, a = logits(x, 1), mp.mpf(alpha)
            p = oracle.MAPS[name](x, alpha=alpha)
            reached = objective(name, z, p, {"alpha": alpha})
            first = p.index(max(p))
            if name == "normmax":
                norm = mp.fsum(v**a for v in p) ** (1 / a)
                level = z[first] - (p[first] / norm) ** (a - 1)
            elif alpha == 1:
                level = z[first] - mp.log(p[first]) - 1
            else:
                level = z[first] - p[first] ** (a - 1) / (a - 1)
            # a step of half the digits from the best level: the dual of entmax rises by its
            # square, that of normmax, the level itself, by as much
            gap = dual(name, z, level + mp.mpf(10) ** (-oracle.DIGITS // 2), a) - reached
            assert 0 < gap < mp.mpf(10) ** (2 - oracle.DIGITS // (2 if name == "normmax" else 1))


@pytest.mark.parametrize(
    ("name", "parameters"), named((*FENCHEL_YOUNG, *CROSS_ENTROPY, ("perturb_max", {})))
)
def test_a_common_shift_of_the_logits_costs_no_digits(name, parameters):
    """X has multiples of 1/16, so that the shifted logits are exact."""
    far = X + 2.0**48
    here, there = (loss(name, x, TARGETS, reduction="none", **parameters) for x in (X, far))
    assert_within(there, here, VALUE * EPS * size(X))
    for wrt in ("x", "temperature"):
        here, there = (
            loss_gradient(name, x, TARGETS, wrt=wrt, reduction="none", **parameters)
            for x in (X, far)
        )
        assert_within(there, here, SLOPE * EPS * size(X).max())


@pytest.mark.parametrize(
    ("name", "parameters"), named((*FENCHEL_YOUNG, *CROSS_ENTROPY, ("perturb_max", {})))
)
def test_huge_logits(name, parameters):
    for huge, dtype, eps in ((1e30, np.float64, EPS), (1e15, np.float32, EPS32)):
        x = np.array([huge, -huge, 3.0], dtype)
        wrong = loss(name, x, 1, **parameters)
        assert abs(wrong - 2 * x[0]) <= 4 * eps * huge
        if name not in ("normmax",) or parameters["alpha"] > 1:
            assert loss(name, x, 0, **parameters) == 0
        assert_within(loss_gradient(name, x, 1, **parameters), [1, -1, 0], 0)


def test_small_losses_of_confident_rows_keep_their_digits():
    """Far below eps, relative to themselves."""
    x = [0.0, -50.0, -52.0]
    wanted = float(exact_loss("softmax", x, 0))
    assert wanted < EPS
    bound = 2 * VALUE * EPS * 50 * wanted
    assert_within(loss("softmax", x, 0), wanted, bound)
    assert_within(loss("entmax", x, 0, alpha=1.0), wanted, bound)
    assert_within(loss_gradient("softmax", x, 0)[0], -wanted, bound)
    slope = loss_gradient("entmax", x, 0, alpha=1.0, wrt="alpha")
    with mp.workdps(oracle.DIGITS):
        wanted = -float(mp.fsum(mp.exp(v) * (v**2 / 2 - v) for v in oracle.log_softmax(x)))
    assert_within(slope, wanted, -2 * VALUE * EPS * 50 * wanted)
    others = 1 / (1e9 + 5e17)  # 1/(1 + z + z^2/2), z = 1e9
    assert_within(loss("taylor_softmax", [1e9, 0.0], 0), others, VALUE * EPS * others)


@pytest.mark.parametrize("short", [2.0**-10, 2.0**-20, 2.0**-30])
def test_small_losses_just_inside_the_margin_keep_their_digits(short):
    """`short` is what the target's lead lacks."""
    wanted = short**2 / 4  # p = (1 - short/2, short/2)
    assert_within(loss("sparsemax", [1.0, short], 0), wanted, VALUE * EPS * wanted)
    # the smaller root of 2 d^2 - 2(1 + short) d + short^2 = 0; u = short - d has an error of eps
    half = (1 + short) / 2
    wanted = short**2 / 2 / (half + np.sqrt(half**2 - short**2 / 2))
    assert_within(loss("normmax", [1.0, short], 0), wanted, VALUE * EPS / short * wanted)
    for alpha in (1.25, 1.5):
        x = [1 / (alpha - 1), short]
        wanted = exact_loss("entmax", x, 0, alpha=alpha)
        # p is (short (alpha - 1)/2)^{1/(alpha - 1)}, nearly, and has as many digits as `short`
        bound = VALUE * EPS / short * alpha / (alpha - 1) * float(wanted)
        assert_within(loss("entmax", x, 0, alpha=alpha), float(wanted), bound)


def test_an_alpha_near_one_is_near_cross_entropy():
    """L is smooth in alpha: the difference is the slope times alpha - 1."""
    plain = loss("softmax", X, TARGETS, reduction="none")
    slope = loss_gradient("entmax", X, TARGETS, alpha=1.0, wrt="alpha", reduction="none")
    for step in (2.0**-52, 2.0**-40, 2.0**-30):
        found = loss("entmax", X, TARGETS, alpha=1 + step, reduction="none")
        # the next term is below step^2 times the largest of ln^3 p, and drowns in rounding
        assert_within(found, plain + step * slope, VALUE * EPS * size(X) ** 3)
    # far behind: no p_t underflows into a wrong loss, which is linear there
    x = [0.0, -1e5]
    assert_within(loss("entmax", x, 1, alpha=1 + 1e-9), 1e5, VALUE * EPS * 1e5)
    assert loss("softmax", x, 1) == 1e5


# ---------------------------------------------------------------------------------------------
# Gradients.


@pytest.mark.parametrize(("name", "parameters"), named(CASES))
def test_gradients_in_the_logits(name, parameters):
    x = rows_for(parameters)
    for target in (TARGETS,) if name == "margin_softmax" else (TARGETS, SOFT):
        found = loss_gradient(name, x, target, reduction="none", **parameters)
        wanted = [
            exact_slopes(name, row, t, **parameters)
            for row, t in zip(x.tolist(), rows_of(target), strict=True)
        ]
        bound = SLOPE * EPS * (1 + np.abs(wanted).max(-1)) * size(x)
        assert_within(found, wanted, bound[:, None])


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gradient_of_entmax_in_alpha(alpha):
    for target in (TARGETS, SOFT):
        found = loss_gradient("entmax", X, target, alpha=alpha, wrt="alpha", reduction="none")
        wanted = np.array(
            [
                exact_slope("alpha", "entmax", row, t, alpha=alpha)
                if alpha > 1
                else exact_slope_at_one(row, t)
                for row, t in zip(X.tolist(), rows_of(target), strict=True)
            ]
        )
        assert_within(found, wanted, BY_PARAMETER * EPS * (1 + size(X)))


def exact_slope_at_one(x, target):
    """From the right, by a step that leaves 25 digits."""
    with mp.workdps(2 * oracle.DIGITS):
        step = mp.mpf(10) ** -30
        above = exact_loss("entmax", x, target, alpha=1 + step)
        entropy = mp.fsum(v * mp.log(v) for v in target if v) if not isinstance(target, int) else 0
        here = mp.fsum(
            -mp.mpf(v) * p
            for v, p in zip(
                target if not isinstance(target, int) else one_hot(target, len(x)),
                oracle.log_softmax(x),
                strict=True,
            )
            if v
        )
        return float((above - here - entropy) / step)


@pytest.mark.parametrize("alpha", NORMS[1:])
def test_gradient_of_normmax_in_alpha(alpha):
    for target in (TARGETS, SOFT):
        found = loss_gradient("normmax", X, target, alpha=alpha, wrt="alpha", reduction="none")
        wanted = [
            exact_slope("alpha", "normmax", row, t, alpha=alpha)
            for row, t in zip(X.tolist(), rows_of(target), strict=True)
        ]
        assert_within(found, wanted, BY_PARAMETER * EPS * size(X) * alpha / (alpha - 1))


def test_gradients_in_alpha_at_the_ends():
    for name in ("entmax", "normmax"):
        assert_bits(
            loss_gradient(name, X, SOFT, alpha=INF, wrt="alpha", reduction="none"), np.zeros(3)
        )
    # the largest entry is alone: the loss of normmax near alpha = 1 is the gap, to all orders
    assert loss_gradient("normmax", X, TARGETS, alpha=1.0, wrt="alpha") == 0
    # m equal entries: 1 - m^{-(alpha - 1)/alpha}
    found = loss_gradient("normmax", np.zeros(4), 0, alpha=1.0, wrt="alpha")
    assert_within(found, np.log(4), VALUE * EPS)


@pytest.mark.parametrize(
    ("name", "parameters"),
    named(
        [
            ("softmax", {}),
            ("entmax", {"alpha": 1.3}),
            ("sparsemax", {}),
            ("normmax", {"alpha": 3.0}),
            ("budget", {}),
            ("taylor_softmax", {"order": 4}),
            ("normalize", {"f": "softplus"}),
            ("normalize", {"f": "square"}),
            ("margin_softmax", {}),
            ("sparse_softmax", {"k": 3}),
            ("perturb_max", {}),
        ]
    ),
)
def test_gradient_in_the_temperature(name, parameters):
    x = rows_for(parameters)
    for temperature in (0.75, 2.0):
        given = {**parameters, "temperature": temperature}
        found = loss_gradient(name, x, TARGETS, wrt="temperature", reduction="none", **given)
        wanted = [
            exact_slope("temperature", name, row, t, **given)
            for row, t in zip(x.tolist(), rows_of(TARGETS), strict=True)
        ]
        assert_within(found, wanted, BY_PARAMETER * EPS * size(x, temperature) ** 2 / temperature)


def test_gradients_of_a_perturbed_maximum():
    x, target = X[0, :3], 1
    wanted = exact_slopes("perturb_max", x.tolist(), target, noise="uniform")
    found = loss_gradient("perturb_max", x, target, noise="uniform")
    likelihood = np.exp(-loss("perturb_max", x, target, noise="uniform"))
    assert_within(found, wanted, QUADRATURE / likelihood * (1 + np.abs(wanted)))


def test_the_gradient_is_p_minus_y():
    """Bit for bit off the target; there it is the sum of the others, with its sign changed."""
    for name, parameters in (*FENCHEL_YOUNG, ("softmax", {}), ("perturb_max", {})):
        p = getattr(rv.probmap, name)(X, **parameters)
        found = loss_gradient(name, X, TARGETS, reduction="sum", **parameters)
        here = np.arange(3), TARGETS
        others = p.copy()
        others[here] = found[here] = 0
        assert_bits(found, others)
        soft = loss_gradient(name, X, SOFT, reduction="sum", **parameters)
        assert_bits(soft, p - SOFT)


# ---------------------------------------------------------------------------------------------
# Laws.

LOGIT = st.integers(-640, 640).map(lambda n: n / 64)
ROW = st.lists(LOGIT, min_size=2, max_size=6)
ALPHA = st.sampled_from([1.0, 1.1, 1.5, 2.0, 3.5, 20.0])


@given(st.sampled_from(CONVEX), st.integers(2, 6), st.data())
def test_losses_are_convex_and_not_negative(case, n, data):
    name, parameters = case
    rows = data.draw(st.lists(st.lists(LOGIT, min_size=n, max_size=n), min_size=2, max_size=2))
    target = data.draw(st.integers(0, n - 1))
    x = np.array([*rows, np.mean(rows, axis=0)])
    one, two, middle = loss(name, x, target, reduction="none", **parameters)
    assert min(one, two, middle) >= 0
    assert middle <= (one + two) / 2 + VALUE * EPS * size(x).max()


@given(st.sampled_from(CONVEX), st.integers(2, 6), st.data())
def test_the_tangent_lies_below(case, n, data):
    """Which ties the gradient to the loss at any distance: L(b) >= L(a) + <L'(a), b - a>."""
    name, parameters = case
    rows = data.draw(st.lists(st.lists(LOGIT, min_size=n, max_size=n), min_size=2, max_size=2))
    target = data.draw(st.integers(0, n - 1))
    a, b = np.array(rows)
    here, there = loss(name, np.array(rows), target, reduction="none", **parameters)
    slope = loss_gradient(name, a, target, **parameters) @ (b - a)
    assert there >= here + slope - VALUE * n * EPS * size(np.array(rows)).max()


@given(ALPHA.filter(lambda a: a > 1), ROW, st.integers(0, 5))
def test_beyond_the_margin_the_loss_is_exactly_zero(alpha, row, target):
    x, t = np.array(row), target % len(row)
    x[t] = np.delete(x, t).max() + 1 / (alpha - 1)
    if x[t] - np.delete(x, t).max() < 1 / (alpha - 1):  # by rounding
        x[t] = np.nextafter(x[t], INF)
    for name, parameters in (("entmax", {"alpha": alpha}), ("normmax", {"alpha": alpha})):
        if name == "normmax":
            x[t] = np.delete(x, t).max() + 1
        assert loss(name, x, t, **parameters) == 0
        assert_bits(loss_gradient(name, x, t, **parameters) + 0.0, np.zeros(len(x)))
        assert loss_gradient(name, x, t, wrt="alpha", **parameters) == 0
        x[t] -= 2.0**-8
        assert loss(name, x, t, **parameters) > 0 or alpha < 1.2  # p below the smallest number


@given(st.sampled_from(FENCHEL_YOUNG), ROW, st.data())
def test_the_loss_vanishes_at_p(case, row, data):
    """The loss of y = p(x) is 0, and no other y has less."""
    name, parameters = case
    x = np.array(row)
    p = getattr(rv.probmap, name)(x, **parameters)
    assert 0 <= loss(name, x, p, **parameters) <= VALUE * len(row) * EPS * size(x)
    other = data.draw(st.integers(0, len(row) - 1))
    assert loss(name, x, other, **parameters) >= 0


@given(ROW, st.integers(0, 5), st.sampled_from([case for case in CASES if case[0] != "budget"]))
def test_a_hard_target_is_a_soft_one_at_a_corner(row, target, case):
    name, parameters = case
    x, t = np.array(row), target % len(row)
    if name == "margin_softmax":
        return
    hard, soft = loss(name, x, t, **parameters), loss(name, x, np.eye(len(x))[t], **parameters)
    bound = VALUE * EPS * size(x) * (1 + (hard if np.isfinite(hard) else 0))
    assert hard == soft or abs(hard - soft) <= bound
    hard, soft = (
        loss_gradient(name, x, y, **parameters) for y in (t, np.eye(len(x))[t])
    )  # p_t - 1 against minus the others, times the slope of ln f
    assert_within(hard, soft, VALUE * len(row) * EPS * (1 + np.abs(hard).max()))


# ---------------------------------------------------------------------------------------------
# Masks.


@pytest.mark.parametrize(("name", "parameters"), named(CASES))
def test_a_masked_wrong_class_is_no_class(name, parameters):
    full = rows_for(parameters)
    x = np.insert(full, 2, -INF, axis=1)
    targets = TARGETS + (TARGETS >= 2)
    mask = np.isfinite(x)
    unmasked = np.where(mask, x, 17.0)
    for wrt in (None, "x", "temperature"):

        def call(x, target, wrt=wrt, **more):
            if wrt is None:
                return loss(name, x, target, reduction="none", **parameters, **more)
            return loss_gradient(name, x, target, wrt=wrt, reduction="none", **parameters, **more)

        found, plain = call(x, targets), call(full, TARGETS)
        assert_bits(found, call(unmasked, targets, mask=mask))
        if wrt == "x":
            assert not found[:, 2].any()
            found = np.delete(found, 2, axis=1)
        assert_within(found, plain, SLOPE * EPS * (1 + np.abs(plain)) * size(X).max())


@pytest.mark.parametrize(("name", "parameters"), named(CASES))
def test_a_masked_target_costs_infinity_and_no_nan(name, parameters):
    x = np.array([[-INF, 1.0, 0.5], [0.25, 1.0, 0.5]])
    found = loss(name, x, [0, 0], reduction="none", **parameters)
    assert found[0] == INF
    assert np.isfinite(found[1])
    assert loss(name, x, [0, 0], **parameters) == INF
    for wrt in ("x", "temperature"):
        slopes = loss_gradient(name, x, [0, 0], wrt=wrt, reduction="none", **parameters)
        assert not np.isnan(slopes).any()
    if name in ("entmax", "normmax"):
        assert np.isfinite(loss_gradient(name, x, [0, 0], wrt="alpha", **parameters))
    if name not in ("taylor_softmax", "normalize"):
        slopes = loss_gradient(name, x, [0, 0], reduction="none", **parameters)
        alone = loss_gradient(name, x[0, 1:], 0, reduction="none", **parameters)
        assert_within(slopes[0, 0], -1, 4 * EPS)
        if name not in ("sparse_softmax", "margin_softmax"):
            p = getattr(rv.probmap, name)(x, **parameters)
            assert_bits(slopes[0, 1:], p[0, 1:])
        assert alone.shape == (2,)
    if name not in ("margin_softmax",):
        soft = loss(name, x, [[0.25, 0.5, 0.25]] * 2, reduction="none", **parameters)
        assert soft[0] == INF
        assert np.isfinite(soft[1])


@pytest.mark.parametrize(("name", "parameters"), named(CASES))
def test_a_row_without_entries_counts_as_equal_logits(name, parameters):
    x = np.array([[-INF] * 3, [0.25, 1.0, 0.5]])
    found = loss(name, x, [1, 1], reduction="none", **parameters)
    with_zeros = loss(name, np.where(np.isinf(x), 0.0, x), [1, 1], reduction="none", **parameters)
    assert_bits(found, with_zeros)
    slopes = loss_gradient(name, x, [1, 1], reduction="sum", **parameters)
    assert not slopes[0].any()
    assert np.isfinite(slopes).all()
    if name == "softmax":
        assert_within(found[0], np.log(3), VALUE * EPS)


def test_weights_that_all_vanish():
    """relu of negative logits is uniform over what takes part, and no logit moves it."""
    x = np.array([-1.0, -2.0, -INF, -3.0])
    assert_within(loss("normalize", x, 0, f="relu"), np.log(3), VALUE * EPS)
    assert loss("normalize", x, 2, f="relu") == INF
    assert not loss_gradient("normalize", x, 0, f="relu").any()
    assert loss("normalize", [1.0, -2.0], 1, f="relu") == INF
    assert np.isfinite(loss_gradient("normalize", [1.0, -2.0, 0.0], 1, f="relu")).all()
    assert np.isfinite(loss_gradient("normalize", [1.0, -2.0, 0.0], 2, f="square")).all()


def test_a_probability_below_the_smallest_number_has_a_finite_loss():
    for f in ("sigmoid", "softplus"):
        wanted = float(exact_loss("normalize", [2.0, -1000.0], 1, f=f))
        assert_within(loss("normalize", [2.0, -1000.0], 1, f=f), wanted, VALUE * EPS * wanted)
        slopes = loss_gradient("normalize", [2.0, -1000.0], 1, f=f)
        assert slopes[1] == -1
    assert loss("perturb_max", [0.0, -1000.0], 1) == 1000
    # 1/p_t overflows: the gradient loses that term, and no other number
    x = [1e155, 0.0]
    assert_within(loss("taylor_softmax", x, 1), 310 * np.log(10) - np.log(2), VALUE * EPS * 1e3)
    assert np.isfinite(loss_gradient("taylor_softmax", x, 1)).all()


# ---------------------------------------------------------------------------------------------
# Shapes, types, reductions.


@pytest.mark.parametrize(("name", "parameters"), named(CASES))
def test_reductions(name, parameters):
    x = rows_for(parameters)
    rows = loss(name, x, TARGETS, reduction="none", **parameters)
    assert rows.shape == (3,)
    assert_within(loss(name, x, TARGETS, **parameters), rows.mean(), 4 * EPS * rows.sum())
    total = loss(name, x, TARGETS, reduction="sum", **parameters)
    assert_within(total, rows.sum(), 4 * EPS * rows.sum())
    slopes = loss_gradient(name, x, TARGETS, reduction="none", **parameters)
    assert_bits(loss_gradient(name, x, TARGETS, reduction="sum", **parameters), slopes)
    mean = loss_gradient(name, x, TARGETS, **parameters)
    assert_within(mean, slopes / 3, 4 * EPS * np.abs(slopes))
    wrt = loss_gradient(name, x, TARGETS, wrt="temperature", reduction="none", **parameters)
    mean = loss_gradient(name, x, TARGETS, wrt="temperature", **parameters)
    assert mean.shape == ()
    assert_within(mean, wrt.mean(), 4 * EPS * np.abs(wrt).sum())


@pytest.mark.parametrize("ignored", [-100, 0, 4])
def test_ignored_rows(ignored):
    targets = np.array([1, ignored, 2])
    counts = targets != ignored
    for name, parameters in CASES:
        keywords = {**parameters, "ignore_index": ignored}
        found = loss(name, X, targets, reduction="none", **keywords)
        plain = loss(name, X[counts], targets[counts], reduction="none", **parameters)
        assert found[1] == 0
        assert_bits(found[counts], plain)
        mean = loss(name, X, targets, **keywords)
        if np.isfinite(plain).all():
            assert_within(mean, plain.mean(), 4 * EPS * plain.sum())
        slopes = loss_gradient(name, X, targets, **keywords)
        alone = loss_gradient(name, X[counts], targets[counts], **parameters)
        assert not slopes[1].any()
        assert_within(slopes[counts], alone, 4 * EPS * np.abs(alone))
    with pytest.raises(rv.InvalidArgument) as info:
        loss("softmax", X, [7, 7, 7], ignore_index=7)
    assert_message(info, "none of the 3 rows counts")
    with pytest.raises(rv.InvalidArgument):
        loss_gradient("softmax", X, [7, 7, 7], ignore_index=7)
    assert loss("softmax", X, [7, 7, 7], ignore_index=7, reduction="sum") == 0
    assert not loss("softmax", X, [7, 7, 7], ignore_index=7, reduction="none").any()
    # even where such a row's loss would be infinite
    assert loss("softmax", [[-INF, 0.0], [0.0, 0.0]], [0, 1], ignore_index=0) == np.log1p(1)


@pytest.mark.parametrize(("name", "parameters"), named(CASES))
def test_single_precision(name, parameters):
    """Computed in double and rounded once."""
    x = X.astype(np.float32)
    for wrt in (None, "x", "temperature"):
        found, double = (
            loss(name, v, TARGETS, reduction="none", **parameters)
            if wrt is None
            else loss_gradient(name, v, TARGETS, wrt=wrt, reduction="none", **parameters)
            for v in (x, x.astype(np.float64))
        )
        assert found.dtype == np.float32
        assert_bits(found, double.astype(np.float32))
    assert loss(name, x, TARGETS, **parameters).dtype == np.float32
    assert loss(name, [1, 2, 3], 0, **parameters).dtype == np.float64


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_any_axis(axis):
    rng = np.random.default_rng(0)
    last = rng.standard_normal((2, 3, 4))
    targets = rng.integers(0, 4, (2, 3))
    soft = rv.probmap.softmax(rng.standard_normal((2, 3, 4)))
    alpha = 1 + rng.random((2, 3))
    x = np.moveaxis(last, -1, axis)
    for wanted, moved in ((targets, targets), (soft, np.moveaxis(soft, -1, axis))):
        keywords = {"reduction": "none", "alpha": alpha}
        plain = loss("entmax", last, wanted, **keywords)
        assert plain.shape == (2, 3)
        assert_bits(loss("entmax", x, moved, axis=axis, **keywords), plain)
        slopes = loss_gradient("entmax", x, moved, axis=axis, **keywords)
        assert slopes.shape == x.shape
        assert_bits(
            np.moveaxis(slopes, axis, -1) + 0.0,
            loss_gradient("entmax", last, wanted, **keywords) + 0.0,
        )


def test_parameters_of_every_row():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 3, 4))
    targets = rng.integers(0, 4, (2, 3))
    alpha = np.array([[1.0, 1.25, INF], [2.0, 4.0, 1.5]])
    temperature = 0.5 + rng.random((2, 3))
    for name in ("entmax", "normmax"):
        for wrt in (None, "x", "alpha", "temperature"):

            def call(x, t, wrt=wrt, name=name, **keywords):
                if wrt is None:
                    return loss(name, x, t, reduction="none", **keywords)
                return loss_gradient(name, x, t, wrt=wrt, reduction="none", **keywords)

            found = call(x, targets, alpha=alpha, temperature=temperature)
            for at in np.ndindex(2, 3):
                one = call(x[at], targets[at], alpha=alpha[at], temperature=temperature[at])
                bound = SLOPE * EPS * (1 + size(x[at], temperature[at]))
                assert_within(found[at], one, bound)


def test_the_gradient_of_a_parameter_has_its_shape():
    rng = np.random.default_rng(2)
    x, targets = rng.standard_normal((2, 3, 4)), rng.integers(0, 4, (2, 3))
    for wrt in ("alpha", "temperature"):
        by_row = loss_gradient("entmax", x, targets, wrt=wrt, reduction="none", alpha=1.5)
        assert by_row.shape == (2, 3)
        for shape, axes in (((), (0, 1)), ((2, 3), ()), ((3,), (0,)), ((2, 1), (1,)), ((1, 3), 0)):
            parameters = {"alpha": 1.5, "temperature": 1.0}
            parameters[wrt] = np.full(shape, parameters[wrt])
            found = loss_gradient("entmax", x, targets, wrt=wrt, reduction="sum", **parameters)
            wanted = by_row.sum(axis=axes).reshape(shape)
            assert found.shape == shape
            assert_within(found, wanted, 8 * EPS * np.abs(by_row).sum())
            mean = loss_gradient("entmax", x, targets, wrt=wrt, **parameters)
            assert_within(mean, wanted / 6, 8 * EPS * np.abs(by_row).sum())


def test_maps_with_bound_parameters():
    bound = rv.probmap.entmax(alpha=1.25, temperature=2.0)
    wanted = loss("entmax", X, TARGETS, alpha=1.25, temperature=2.0)
    assert loss(bound, X, TARGETS) == wanted
    assert loss(rv.probmap.entmax, X, TARGETS, alpha=1.25, temperature=2.0) == wanted
    assert loss(bound, X, TARGETS, temperature=1.0) != wanted
    assert loss_gradient(bound, X, TARGETS, wrt="alpha").shape == ()


def test_one_entry_and_no_rows():
    for name, parameters in CASES:
        if "k" in parameters:
            parameters = {"k": 1}
        found = loss(name, [[1.5], [0.5]], [0, 0], reduction="none", **parameters)
        assert_bits(found + 0.0, np.zeros(2))
        slopes = loss_gradient(name, [[1.5], [0.5]], [0, 0], **parameters)
        assert_bits(slopes + 0.0, np.zeros((2, 1)))
        none = np.zeros((0, 3))
        nobody = np.zeros(0, int)
        parameters = {"k": 2} if "k" in parameters else parameters
        assert loss(name, none, nobody, reduction="none", **parameters).shape == (0,)
        assert loss(name, none, nobody, reduction="sum", **parameters) == 0
        assert loss_gradient(name, none, nobody, reduction="sum", **parameters).shape == (0, 3)
        with pytest.raises(rv.InvalidArgument):
            loss(name, none, nobody, **parameters)


def test_inputs_stay_as_they_were():
    x, soft = X.copy(), SOFT.copy()
    for array in (x, soft):
        array.flags.writeable = False
    for name, parameters in CASES:
        loss(name, x, TARGETS, **parameters)
        loss_gradient(name, x, TARGETS, **parameters)
        if name != "margin_softmax":
            loss_gradient(name, x, soft, **parameters)
    assert_bits(x, X)
    assert_bits(soft, SOFT)


# ---------------------------------------------------------------------------------------------
# Bad input.


@pytest.mark.parametrize(
    ("target", "error", "parts"),
    [
        ([0, 5, 1], rv.InvalidArgument, ["[0, 4]", "target[1] = 5"]),
        ([0, 1, -1], rv.InvalidArgument, ["[0, 4]", "target[2] = -1"]),
        (7, rv.InvalidArgument, ["[0, 4]", "= 7"]),
        ([0, 1], rv.ShapeMismatch, ["(3,)", "(2,)", "(3, 5)"]),
        (np.zeros((3, 5), int), rv.ShapeMismatch, ["(3,)", "(3, 5)", "floats"]),
        ([0.0, 1.0, 2.0], rv.ShapeMismatch, ["(3, 5)", "(3,)", "integers"]),
        (np.zeros((3, 5)), rv.InvalidArgument, ["row 0 of target", "add up to 1", "0"]),
        (SOFT * [[1], [1], [1.5]], rv.InvalidArgument, ["row 2", "add up to 1", "1.5"]),
        (SOFT - [[0], [0.1], [0]], rv.InvalidArgument, ["at least 0", "target[1, 0] = -0.1"]),
        (np.full((3, 5), np.nan), rv.InvalidArgument, ["at least 0", "target[0, 0] = nan"]),
        ([True, False, True], rv.DtypeError, ["integers", "floats", "bool"]),
        (np.zeros((3, 5), np.float16), rv.DtypeError, ["float16", "cast"]),
        (["a", "b", "c"], rv.DtypeError, ["integers", "floats"]),
    ],
)
def test_bad_targets(target, error, parts):
    for function in (loss, loss_gradient):
        with pytest.raises(error) as info:
            function("softmax", X, target)
        assert_message(info, "target", *parts)


def test_soft_targets_of_single_precision_are_taken():
    """What a map returns in float32 adds up to 1 within its own promise."""
    rng = np.random.default_rng(3)
    y = rv.probmap.softmax(rng.standard_normal((50, 1000)).astype(np.float32))
    x = rng.standard_normal((50, 1000))
    both = [loss("entmax", x, target) for target in (y, y.astype(np.float64))]
    assert both[0] == both[1] > 0
    with pytest.raises(rv.InvalidArgument) as info:
        loss("entmax", x, y * np.float32(1.001))
    assert_message(info, "row 0 of target must add up to 1", "1.00")


@pytest.mark.parametrize(
    ("keywords", "error", "parts"),
    [
        ({"reduction": "max"}, rv.InvalidArgument, ["reduction", "'mean'", "'max'"]),
        ({"ignore_index": 1.5}, rv.DtypeError, ["ignore_index", "1.5"]),
        ({"alpha": 0.5}, rv.InvalidArgument, ["alpha", "0.5"]),
        ({"alpha": np.nan}, rv.InvalidArgument, ["alpha", "nan"]),
        ({"temperature": 0.0}, rv.InvalidArgument, ["temperature", "0"]),
        ({"alpha": [1.5, 2.0]}, rv.ShapeMismatch, ["alpha", "(3,)", "(2,)"]),
        ({"beta": 1.0}, rv.InvalidArgument, ["entmax", "alpha", "beta"]),
        ({"mask": np.ones((3, 4), bool)}, rv.ShapeMismatch, ["mask", "(3, 5)"]),
        ({"axis": 2}, rv.InvalidArgument, ["axis", "2"]),
    ],
)
def test_bad_arguments(keywords, error, parts):
    for function in (loss, loss_gradient):
        with pytest.raises(error) as info:
            function("entmax", X, TARGETS, **keywords)
        assert_message(info, *parts)


def test_more_bad_arguments():
    with pytest.raises(rv.InvalidArgument) as info:
        loss("softmax", X, SOFT, ignore_index=0)
    assert_message(info, "ignore_index", "soft")
    with pytest.raises(rv.InvalidArgument) as info:
        loss_gradient("sparsemax", X, TARGETS, wrt="alpha")
    assert_message(info, "wrt", "'x'", "'temperature'", "'alpha'")
    with pytest.raises(rv.ShapeMismatch) as info:
        loss("budget", X, TARGETS, total=2.0)
    assert_message(info, "floats", "(3, 5)", "total 2")
    with pytest.raises(rv.InvalidArgument) as info:
        loss("budget", X, SOFT, total=2.0)
    assert_message(info, "row 0 of target", "add up to 2", "1")
    with pytest.raises(rv.InvalidArgument) as info:
        loss("budget", X, [[1.5, 0.5, 0, 0, 0]] * 3, total=2.0)
    assert_message(info, "at most 1", "target[0, 0] = 1.5")
    with pytest.raises(rv.InvalidArgument) as info:
        loss(rv.probmap.margin_softmax(target=TARGETS), X, TARGETS)
    assert_message(info, "target", "margin_softmax")
    with pytest.raises(rv.InvalidArgument) as info:
        loss("sparse_softmax", X, TARGETS, k=9)
    assert_message(info, "k", "9")
    with pytest.raises(rv.InvalidArgument) as info:
        loss("sigmoid", X, TARGETS)
    assert_message(info, "map", "'softmax'", "'sigmoid'")
    bad = X.copy()
    bad[1, 2] = np.nan
    for call in (loss, loss_gradient):
        with pytest.raises(rv.InvalidArgument) as info:
            call("softmax", bad, TARGETS)
        assert_message(info, "x[1, 2] = nan")
        with pytest.raises(rv.InvalidArgument) as info:
            call("softmax", bad.T, TARGETS, axis=0)
        assert_message(info, "x[2, 1] = nan")


def test_a_soft_target_lowers_logits_by_its_share_of_the_margin():
    settings = {"temperature": 0.7, "reduction": "none"}
    lowered = X - 0.6 * SOFT
    found = loss("margin_softmax", X, SOFT, margin=0.6, **settings)
    expected = loss("softmax", lowered, SOFT, **settings)
    assert_within(found, expected, 16 * EPS * (1 + np.abs(expected)))
    for wrt in ("x", "temperature"):
        slope = loss_gradient("margin_softmax", X, SOFT, wrt=wrt, margin=0.6, **settings)
        known = loss_gradient("softmax", lowered, SOFT, wrt=wrt, **settings)
        assert_within(slope, known, 64 * EPS * (1 + np.abs(lowered).max()))
    hard = loss("margin_softmax", X, TARGETS, margin=0.6, **settings)
    one_hot = loss("margin_softmax", X, np.eye(X.shape[1])[TARGETS], margin=0.6, **settings)
    assert_within(one_hot, hard, 16 * EPS * (1 + np.abs(hard)))
