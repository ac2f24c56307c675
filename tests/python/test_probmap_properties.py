"""Property cards: known truths are found, every property can be refuted, rounding refutes none."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import pickle
import re

import numpy as np
import pytest
from scipy import optimize, special, stats

import resolvent as rv
from resolvent import DtypeError, InvalidArgument, ShapeMismatch

# The module: its collaborators are replaced by broken ones below.
module = importlib.import_module("resolvent.probmap._properties")
properties = rv.probmap.properties

EPS = np.finfo(float).eps
# Rounding of a map and of its derivatives, in eps.
ROUNDING = 64
# What the search for a Lipschitz constant may miss: it ends with steps of 2^-20 or less, but a
# limit is approached along flat ridges.
SEARCH = 2.0**-12
# Absolute accuracy of perturb_max.
QUADRATURE = 1e-10

JACOBIAN = {"jacobian_symmetric", "jacobian_psd", "jacobian_rows", "jacobian_columns"}
LIPSCHITZ = {"lipschitz_2", "lipschitz_inf"}
SPARSE = {"strictly_monotone", "full_support"}  # what a sparse map does not have
NOT_A_SHIFT = {"shift_invariant", "jacobian_symmetric", "jacobian_psd", "jacobian_rows"}


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is known of a map."""

    map: str
    parameters: tuple
    refuted: frozenset
    scale: str = "sharpens"

    def __str__(self):
        return f"{self.map}-{'-'.join(str(v) for _, v in self.parameters)}"


def truth(name, refuted, scale="sharpens", **parameters):
    return Truth(name, tuple(parameters.items()), frozenset(refuted), scale)


#: From the theory (MATH): everything holds but what is listed.
TRUTHS = [
    truth("softmax", {"sparse"}),
    truth("softmax", {"sparse"}, temperature=0.25),
    truth(
        "taylor_softmax",
        {"monotone", "strictly_monotone", "scale", "cold_limit", "sparse", "loss_convex"}
        | NOT_A_SHIFT,
        scale="neither",
        order=2,
    ),
    # The loss jumps where the target joins the entries that are kept.
    truth("sparse_softmax", SPARSE | LIPSCHITZ | {"hot_limit", "loss_convex"}, k=2),
    truth("sparse_softmax", SPARSE | LIPSCHITZ | {"loss_convex"}, p=0.9),
    truth("sparsemax", SPARSE),
    truth("entmax", {"sparse"}, alpha=1.0),
    truth("entmax", SPARSE, alpha=1.5),
    truth("entmax", SPARSE | LIPSCHITZ, alpha=4.0),
    truth("entmax", SPARSE | LIPSCHITZ | {"hot_limit"}, scale="invariant", alpha=np.inf),
    truth("normmax", SPARSE, alpha=2.0),
    truth("normmax", SPARSE | LIPSCHITZ | {"hot_limit"}, scale="invariant", alpha=1.0),
    truth("normmax", SPARSE | LIPSCHITZ, alpha=np.inf),
    truth("budget", SPARSE, total=1.0),
    truth("budget", SPARSE | {"simplex", "cold_limit"}, total=2.0),
    truth("perturb_max", {"sparse"}, noise="gumbel"),
    truth("perturb_max", {"sparse"}, noise="normal"),
    truth("perturb_max", SPARSE, noise="uniform"),
    # The distribution function of Cauchy's noise is not log-concave.
    truth("perturb_max", {"sparse", "loss_convex"}, noise="cauchy"),
    truth(
        "normalize",
        {"monotone", "cold_limit", "hot_limit", "sparse", "loss_convex"}
        | SPARSE
        | LIPSCHITZ
        | NOT_A_SHIFT,
        scale="invariant",
        f="square",
    ),
    truth(
        "normalize",
        {"cold_limit", "hot_limit", "loss_convex"} | SPARSE | LIPSCHITZ | NOT_A_SHIFT,
        scale="invariant",
        f="relu",
    ),
    truth(
        "normalize",
        {"scale", "cold_limit", "sparse", "loss_convex"} | NOT_A_SHIFT,
        scale="neither",
        f="sigmoid",
    ),
    truth("normalize", {"cold_limit", "sparse", "loss_convex"} | NOT_A_SHIFT, f="softplus"),
    truth(
        "margin_softmax",
        {
            *("monotone", "strictly_monotone", "scale", "cold_limit", "sparse"),
            "permutation_equivariant",
        },
        scale="neither",
        target=0,
    ),
]


@functools.cache
def cached_card(name, parameters, size, seed):
    return properties(name, size=size, seed=seed, **dict(parameters))


def card_of(name, size=4, seed=0, **parameters):
    return cached_card(name, tuple(parameters.items()), size, seed)


def card_for(case):
    return cached_card(case.map, case.parameters, 4, 0)


# ---- what is known -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", TRUTHS, ids=str)
def test_known_truths_are_found(case):
    card = card_for(case)
    assert {p.name for p in card if p.holds is False} == case.refuted
    assert {p.name for p in card if p.holds is None} == set()
    assert card["scale"].value == case.scale


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize(
    ("name", "parameters", "refuted"),
    [
        ("softmax", {}, {"sparse"}),
        ("entmax", {"alpha": 1.5}, SPARSE),
        ("margin_softmax", {"target": 1}, TRUTHS[-1].refuted),
    ],
)
def test_the_size_does_not_matter(name, parameters, refuted, size):
    card = card_of(name, size, **parameters)
    # Two classes: where one of them is 0 nothing remains to be compared with it.
    refuted = refuted - ({"strictly_monotone"} if size == 2 and name == "entmax" else set())
    assert {p.name for p in card if p.holds is not True} == refuted


@pytest.mark.parametrize("temperature", [2.0**-10, 0.3, 1e6])
@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
def test_a_temperature_only_scales(name, temperature):
    card, plain = card_of(name, temperature=temperature), card_of(name)
    assert [p.holds for p in card] == [p.holds for p in plain]
    for norm in LIPSCHITZ:
        assert card[norm].value * temperature == pytest.approx(plain[norm].value, rel=SEARCH)
    if name == "sparsemax":
        assert card["sparse"].value == pytest.approx(temperature, rel=ROUNDING * EPS)


# ---- numbers -----------------------------------------------------------------------------------


def entmax_row_sum(alpha, n):
    """max 2 s(1 − s/Σs) over p, s = p^(2−α); for α ≤ 2 with all other entries equal."""

    def row_sum(p):
        s, rest = p ** (2 - alpha), (n - 1) * ((1 - p) / (n - 1)) ** (2 - alpha)
        return 2 * s * rest / (s + rest)

    found = optimize.minimize_scalar(
        lambda p: -row_sum(p), bounds=(0, 1), method="bounded", options={"xatol": EPS**0.5}
    )
    return -found.fun


def twice_collision(density, low, high):
    """2∫f²: twice the density at 0 of the difference of two noises."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    t = 0.5 * (high - low) * nodes + 0.5 * (high + low)
    return (high - low) * float(weights @ density(t) ** 2)


#: (map, parameters, n, constant in the 2-norm, in the ∞-norm), None where unknown.
CONSTANTS = [
    ("softmax", {}, 2, 1 / 2, 1 / 2),
    ("softmax", {}, 4, 1 / 2, 1 / 2),
    ("softmax", {"temperature": 0.125}, 4, 4, 4),
    ("margin_softmax", {"target": 0}, 4, 1 / 2, 1 / 2),
    ("sparsemax", {}, 2, 1, 1),
    ("sparsemax", {}, 4, 1, 2 * (1 - 1 / 4)),
    ("sparsemax", {}, 7, 1, 2 * (1 - 1 / 7)),
    ("budget", {"total": 2.0}, 4, 1, 2 * (1 - 1 / 4)),
    ("entmax", {"alpha": 1.25}, 4, 2**-0.75, entmax_row_sum(1.25, 4)),
    ("entmax", {"alpha": 1.5}, 4, 2**-0.5, entmax_row_sum(1.5, 4)),
    ("entmax", {"alpha": 4.0}, 2, 4, 4),  # two entries: s_1 s_2/(s_1 + s_2) stays bounded
    # One entry ahead of n − 1 equal ones, by a gap that rises to 1.
    ("normmax", {"alpha": 2.0}, 3, 3, 4),
    ("normmax", {"alpha": 2.0}, 4, 4, 6),
    ("perturb_max", {"noise": "gumbel"}, 4, 1 / 2, 1 / 2),
    ("perturb_max", {"noise": "normal"}, 4, np.pi**-0.5, None),
    ("perturb_max", {"noise": "uniform"}, 4, 2, 2),
    ("perturb_max", {"noise": "cauchy"}, 4, 1 / np.pi, None),
    ("perturb_max", {"noise": "logistic"}, 2, 1 / 3, 1 / 3),
    ("perturb_max", {"noise": "laplace"}, 2, 1 / 2, 1 / 2),
    ("perturb_max", {"noise": "exponential"}, 2, 1, 1),
    (
        *("perturb_max", {"noise": "student-t", "df": 30.0}, 2),
        *[twice_collision(functools.partial(stats.t.pdf, df=30.0), -25, 25)] * 2,
    ),
]


@pytest.mark.parametrize(
    ("name", "parameters", "size", "two", "infinity"),
    CONSTANTS,
    ids=lambda v: str(v) if isinstance(v, str | dict) else None,
)
def test_lipschitz_constants_are_those_of_the_theory(name, parameters, size, two, infinity):
    card = card_of(name, size, **parameters)
    slack = ROUNDING * (QUADRATURE if name == "perturb_max" else EPS)
    for norm, expected in (("lipschitz_2", two), ("lipschitz_inf", infinity)):
        assert card[norm].holds
        if expected is not None:
            # From below: no Jacobian is steeper.
            assert (1 - SEARCH) * expected < card[norm].value < (1 + slack) * expected, norm


@pytest.mark.parametrize("alpha", [2.1, 2.5, 3.0, 10.0])
def test_entmax_beyond_two_has_no_lipschitz_constant_for_three_entries(alpha):
    """J contains p^(2−α) of two equal entries that go to 0 together."""
    card = card_of("entmax", 3, alpha=alpha)
    for norm in LIPSCHITZ:
        assert card[norm].holds is False
        assert card[norm].value == np.inf


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("entmax", {"alpha": np.inf}),
        ("normmax", {"alpha": np.inf}),
        ("sparse_softmax", {"k": 2}),
        ("sparse_softmax", {"p": 0.9}),
        ("normalize", {"f": "relu"}),
    ],
)
def test_a_jump_is_shown_by_two_vectors_beside_it(name, parameters):
    for norm in LIPSCHITZ:
        x, y = card_of(name, **parameters)[norm].counterexample.x
        p, q = (getattr(rv.probmap, name)(v, **parameters) for v in (x, y))
        assert np.abs(x - y).max() < 2.0**-36
        assert np.abs(p - q).max() > 2.0**-6


def test_normalised_squares_are_steep_at_the_origin():
    found = card_of("normalize", f="square")["lipschitz_2"].counterexample
    assert np.linalg.norm(found.gives, 2) > 100.0
    assert np.abs(found.x).max() < 0.01


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0, 2.5, 4.0, 10.0, 100.0])
def test_the_margin_of_entmax(alpha):
    found = card_of("entmax", 2, alpha=alpha)["sparse"]
    assert found.holds
    assert found.value == pytest.approx(1 / (alpha - 1), rel=ROUNDING * EPS)


@pytest.mark.parametrize(
    ("name", "parameters", "margin"),
    [
        ("sparsemax", {}, 1.0),
        ("sparsemax", {"temperature": 3.0}, 3.0),
        ("entmax", {"alpha": 1.5, "temperature": 0.3}, 0.6),
        ("entmax", {"alpha": np.inf}, 0.0),
        ("normmax", {"alpha": 2.0}, 1.0),
        ("budget", {"total": 1.0}, 1.0),
        ("budget", {"total": 2.0}, None),
        ("sparse_softmax", {"k": 2}, None),
        ("sparse_softmax", {"p": 0.9}, np.log(9.0)),
        ("perturb_max", {"noise": "uniform"}, 1.0),
        ("normalize", {"f": "relu"}, None),
    ],
)
def test_margins(name, parameters, margin):
    found = card_of(name, **parameters)["sparse"]
    assert found.holds
    # uniform: p = (1 − gap)²/2 is 0 for the quadrature where it is below its accuracy.
    slack = (2 * QUADRATURE) ** 0.5 if name == "perturb_max" else ROUNDING * EPS
    assert found.value == (margin if margin is None else pytest.approx(margin, rel=slack, abs=0))


def test_a_margin_that_p_reaches_by_underflow():
    """p = (1 − (α−1)gap)^(1/(α−1)) of the smaller class, and 0 below the smallest number."""
    smallest = np.nextafter(0.0, 1.0)
    alpha = 1.01
    seen = (1 - smallest ** (alpha - 1)) / (alpha - 1)
    # Half the smallest number rounds to it; and p_1 < 1 shifts nothing.
    slack = 1 - 0.5 ** (alpha - 1)
    assert card_of("entmax", alpha=alpha)["sparse"].value == pytest.approx(seen, rel=slack)


def test_underflow_is_no_zero():
    for case in (card_of("softmax"), card_of("normalize", f="sigmoid")):
        assert case["full_support"].holds
        assert "underflow" in case["full_support"].evidence
    # e^(−gap) is below half the smallest number from a gap of 1075 ln 2 on.
    gap = re.search(r"entries are ([\d.]+) apart", card_of("softmax")["full_support"].evidence)
    assert float(gap[1]) == pytest.approx(1075 * np.log(2.0), rel=2.0**-8)


@pytest.mark.parametrize("case", TRUTHS, ids=str)
def test_limits_are_what_the_map_does_far_out(case):
    card = card_for(case)
    function, parameters = getattr(rv.probmap, case.map), dict(case.parameters)
    unit = 2.0 ** round(np.log2(parameters.pop("temperature", 1.0)))
    for name, far in (("cold_limit", 2.0**-80), ("hot_limit", 2.0**80)):
        found = card[name]
        p = function(found.example.x, temperature=unit * far, **parameters)
        np.testing.assert_allclose(p, found.example.gives, rtol=0, atol=EPS**0.5)
        assert found.value == ({"cold_limit": "argmax", "hot_limit": "uniform"}[name]) or (
            not found.holds
        )


def test_limits_that_are_none_of_the_usual():
    assert (
        card_of("taylor_softmax", order=2)["cold_limit"].value == "[0.5333, 0.3, 0.1333, 0.03333]"
    )
    assert card_of("normalize", f="softplus")["cold_limit"].value == "[0.4, 0.3, 0.2, 0.1]"
    assert card_of("sparse_softmax", k=2)["hot_limit"].value == "[0.5, 0.5, 0, 0]"
    assert card_of("budget", total=2.0)["cold_limit"].value == "[1, 1, 0, 0]"
    assert card_of("budget", total=2.0)["simplex"].value == 2.0


# ---- counterexamples ---------------------------------------------------------------------------


def refutes_monotone(x, p):
    return ((x[:, None] >= x) & (p[:, None] < p)).any()


def refutes_strictness(x, p):
    return ((x[:, None] > x) & (p[:, None] <= p)).any()


def refutes_shifts(x, p):
    return len(set(x[1] - x[0])) == 1 and np.abs(p[1] - p[0]).max() > ROUNDING * EPS


def refutes_sharpening(x, p):
    factor = (x[1][x[0] != 0] / x[0][x[0] != 0]).tolist()
    sums = np.cumsum(-np.sort(-p, axis=1), axis=1)
    flatter = (sums[0] - sums[1]).max() > ROUNDING * EPS
    return len(set(factor)) == 1 and factor[0] > 1 and flatter


def refutes_equivariance(x, p):
    """The same numbers, but not the same pairs of a number and its p."""
    pairs = [sorted(zip(a, b, strict=True)) for a, b in zip(x, p, strict=True)]
    return sorted(x[0]) == sorted(x[1]) and (
        np.abs(np.array(pairs[0]) - np.array(pairs[1])).max() > ROUNDING * EPS
        or (x[0] == x[1]).all()
    )


REFUTATIONS = {
    "simplex": lambda x, p: abs(p.sum() - 1) > ROUNDING * EPS or p.min() < 0,
    "monotone": refutes_monotone,
    "strictly_monotone": refutes_strictness,
    "shift_invariant": refutes_shifts,
    "scale": refutes_sharpening,
    "permutation_equivariant": refutes_equivariance,
    "full_support": lambda x, p: p.min() == 0,
    "jacobian_symmetric": lambda x, J: np.abs(J - J.T).max() > ROUNDING * EPS * np.abs(J).max(),
    "jacobian_psd": lambda x, J: np.linalg.eigvalsh(J + J.T)[0] < -ROUNDING * EPS * np.abs(J).max(),
    "jacobian_rows": lambda x, J: np.abs(J.sum(1)).max() > ROUNDING * EPS * np.abs(J).max(),
    "jacobian_columns": lambda x, J: np.abs(J.sum(0)).max() > ROUNDING * EPS * np.abs(J).max(),
}


@pytest.mark.parametrize("case", TRUTHS, ids=str)
def test_counterexamples_are_what_the_map_gives_and_refute(case):
    function, parameters = getattr(rv.probmap, case.map), dict(case.parameters)
    for found in card_for(case):
        example = found.counterexample
        if example is None or found.name in ("cold_limit", "hot_limit", "loss_convex"):
            continue
        if found.name.startswith("jacobian") or example.gives.ndim > example.x.ndim:
            gives = rv.probmap.jacobian(case.map, example.x, **parameters)
        else:
            gives = function(example.x, **parameters)
        # In other company a row may be computed in another order.
        np.testing.assert_allclose(gives, example.gives, rtol=ROUNDING * EPS, atol=ROUNDING * EPS)
        assert found.name in LIPSCHITZ or REFUTATIONS[found.name](example.x, gives), found.name
        assert example.statement in found.evidence


def loss_targets(case):
    return (
        [0, 1, 2, 3]
        if case.map != "budget"
        else [np.roll([1.0, 1.0, 0.0, 0.0], k) for k in range(4)]
    )


@pytest.mark.parametrize("case", [c for c in TRUTHS if "loss_convex" in c.refuted], ids=str)
def test_losses_that_are_not_convex_bulge(case):
    example = card_for(case)["loss_convex"].counterexample
    low, middle, high = example.x
    np.testing.assert_array_equal(middle, 0.5 * (low + high))
    targets = [
        t
        for t in loss_targets(case)
        if np.allclose(
            rv.probmap.loss(
                case.map, example.x, [t] * 3, reduction="none", **dict(case.parameters)
            ),
            example.gives,
            rtol=ROUNDING * EPS,
        )
    ]
    assert targets
    assert f"target {targets[0]}" in example.statement
    assert example.gives[1] > 0.5 * (example.gives[0] + example.gives[2])


def test_counterexamples_are_simple():
    """The smallest integers that show it."""
    taylor = card_of("taylor_softmax", order=2)
    np.testing.assert_array_equal(taylor["monotone"].counterexample.x, [-2, -1, 0, 0])
    square = card_of("normalize", f="square")
    np.testing.assert_array_equal(square["monotone"].counterexample.x, [-1, 0, 0, 0])
    for case in TRUTHS:
        for found in card_for(case):
            if found.counterexample and found.name in (
                "monotone",
                "shift_invariant",
                "full_support",
            ):
                unit = dict(case.parameters).get("temperature", 1.0)
                assert np.abs(found.counterexample.x).max() <= 3 * unit, (case, found)


# ---- broken maps -------------------------------------------------------------------------------


class StandIn:
    """A map in NumPy that does what it is told."""

    name = "softmax"
    parameters: dict = {}  # noqa: RUF012

    def __init__(self, formula, temperature=1.0):
        self.formula = formula
        self.temperature = temperature

    def setting(self, name):
        return {"temperature": self.temperature}[name]

    def bind(self, temperature):
        return StandIn(self.formula, temperature)

    def __call__(self, x):
        return self.formula(np.asarray(x) / self.temperature)


def softmax(x):
    return special.softmax(x, axis=-1)


def softmax_jacobian(x):
    p = softmax(x)
    return p[..., None] * (np.eye(x.shape[-1]) - p[..., None, :])


def cross_entropy(x, target):
    at = np.take_along_axis(x, target[:, None], 1)[:, 0]
    return special.logsumexp(x, axis=-1) - at


def cross_entropy_slope(x, target):
    return softmax(x) - np.eye(x.shape[-1])[target]


@pytest.fixture
def card_of_stand_in(monkeypatch):
    """The card of a map whose value, derivative and loss are given."""

    def made(
        formula=softmax,
        jacobian=softmax_jacobian,
        loss=cross_entropy,
        slope=cross_entropy_slope,
        **more,
    ):
        monkeypatch.setattr(module, "resolve", lambda map, _: map)
        monkeypatch.setattr(module, "jacobian", lambda map, x: jacobian(x))
        monkeypatch.setattr(module, "loss", lambda map, x, t, reduction: loss(x, t))
        monkeypatch.setattr(module, "loss_gradient", lambda map, x, t, reduction: slope(x, t))
        return properties(StandIn(formula), **more)

    return made


def refuted(card):
    return {p.name for p in card if p.holds is False}


def test_the_stand_in_is_softmax(card_of_stand_in):
    assert refuted(card_of_stand_in()) == {"sparse"}


def cold_clip(x):
    """Softmax that knows no gaps beyond 10."""
    return softmax(np.maximum(x - x.max(-1, keepdims=True), -10.0))


def pruned(x):
    """Without what is below 1e-3."""
    p = softmax(x)
    p = np.where(p < 1e-3, 0.0, p)
    return p / p.sum(-1, keepdims=True)


def terraced(x):
    """Softmax of logits that are level below the top two units."""
    return softmax(np.maximum(x - x.max(-1, keepdims=True), -2.0))


def upside_down(x):
    return (1 - softmax(x)) / (x.shape[-1] - 1)


def stepped(x):
    """A step of 1/50 where the first logit changes its sign."""
    p = softmax(x)
    p[..., 0] *= 1 + 0.04 * (x[..., 0] > 0)
    return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("simplex", lambda x: softmax(x) * (1 + 2.0**-40)),
        ("simplex", lambda x: softmax(x) + 2.0**-40 * (np.arange(x.shape[-1]) - 1.5)),
        ("simplex", lambda x: np.where(x.max(-1, keepdims=True) == 3, np.nan, softmax(x))),
        ("monotone", upside_down),
        ("monotone", lambda x: softmax(np.abs(x))),
        ("monotone", lambda x: softmax(x - 2.0**-30 * (x == x.max(-1, keepdims=True)))),
        ("strictly_monotone", terraced),
        ("shift_invariant", lambda x: softmax(x + 2.0**-40 * x**2)),
        ("shift_invariant", lambda x: softmax(x * (1 + 2.0**-40 * x.mean(-1, keepdims=True)))),
        ("scale", lambda x: softmax(np.tanh(x))),
        ("scale", lambda x: softmax(x / (1 + np.abs(x)))),
        ("cold_limit", cold_clip),
        ("cold_limit", lambda x: softmax(np.tanh(x))),
        ("hot_limit", lambda x: softmax(x + 2.0**-20 * np.arange(x.shape[-1]))),
        ("permutation_equivariant", lambda x: softmax(x + 2.0**-40 * np.arange(x.shape[-1]))),
        ("permutation_equivariant", lambda x: np.eye(x.shape[-1])[x.argmax(-1)]),
        ("full_support", pruned),
        ("full_support", lambda x: softmax(x) * (x[..., :1] != 2)),
        ("lipschitz_2", stepped),
        ("lipschitz_inf", stepped),
    ],
)
def test_a_broken_map_is_caught(card_of_stand_in, name, formula):
    found = card_of_stand_in(formula)[name]
    assert found.holds is False
    example = found.counterexample
    if name not in ("cold_limit", "hot_limit"):
        np.testing.assert_allclose(formula(example.x), example.gives, rtol=ROUNDING * EPS)


def test_a_map_that_is_not_monotone_is_not_strictly_so(card_of_stand_in):
    assert {"monotone", "strictly_monotone"} <= refuted(card_of_stand_in(upside_down))


def test_sparsity_is_caught_and_has_its_margin(card_of_stand_in):
    found = card_of_stand_in(pruned)["sparse"]
    assert found.holds
    assert found.value == pytest.approx(np.log(999.0), rel=ROUNDING * EPS)
    # A zero at single points is a zero, and no sparsity.
    card = card_of_stand_in(lambda x: softmax(x) * (x != 2.0))
    assert {"full_support", "sparse"} <= refuted(card)


def test_a_limit_that_does_not_exist_is_not_decided(card_of_stand_in):
    card = card_of_stand_in(lambda x: softmax(x * np.cos(np.log2(np.abs(x).max() + 1e-99) / 5)))
    assert card["cold_limit"].holds is None
    assert card["cold_limit"].counterexample is None


def with_jacobian(change):
    def changed(x):
        J = softmax_jacobian(x)
        return J + change(x.shape[-1])

    return changed


SMALL = 2.0**-40


@pytest.mark.parametrize(
    ("names", "jacobian"),
    [
        ({"jacobian_symmetric"}, with_jacobian(lambda n: SMALL * cyclic(n))),
        ({"jacobian_psd"}, with_jacobian(lambda n: -SMALL * (np.eye(n) - 1 / n))),
        ({"jacobian_psd"}, lambda x: -softmax_jacobian(x)),
        (
            {"jacobian_rows", "jacobian_symmetric", "jacobian_psd"},
            with_jacobian(lambda n: SMALL * np.outer(np.arange(n) - (n - 1) / 2, np.ones(n))),
        ),
        (
            {"jacobian_columns", "jacobian_symmetric", "jacobian_psd"},
            with_jacobian(lambda n: SMALL * np.outer(np.ones(n), np.arange(n) - (n - 1) / 2)),
        ),
        (JACOBIAN, lambda x: softmax_jacobian(x) * np.nan),
    ],
)
def test_a_broken_jacobian_is_caught(card_of_stand_in, names, jacobian):
    card = card_of_stand_in(jacobian=jacobian)
    assert refuted(card) == names | {"sparse"}
    for name in names:
        np.testing.assert_array_equal(
            card[name].counterexample.gives, jacobian(card[name].example.x)
        )


def cyclic(n):
    """Antisymmetric, with rows and columns of sum 0."""
    step = np.roll(np.eye(n), 1, axis=1)
    return step - step.T


def test_a_jacobian_that_is_too_small_does_not_hide_the_slope(card_of_stand_in):
    """Secants are measured too."""
    card = card_of_stand_in(
        lambda x: softmax(8.0 * x), jacobian=lambda x: 0.0 * softmax_jacobian(x)
    )
    # Of random segments, halved towards the steeper side.
    assert 2.0 < card["lipschitz_2"].value < 4.0 * (1 + SEARCH)
    assert "secant" in card["lipschitz_2"].evidence


def test_a_jacobian_without_bound_is_caught(card_of_stand_in):
    """Like 1/√distance next to a point."""

    def spiked(x):
        point = np.linspace(-0.7, 0.7, x.shape[-1])
        distance = np.linalg.norm(x - x.mean(-1, keepdims=True) - point, axis=-1)
        return softmax_jacobian(x) * (1 + distance**-0.5)[..., None, None]

    assert {"lipschitz_2", "lipschitz_inf"} <= refuted(card_of_stand_in(jacobian=spiked))


def kinked(x, target):
    """Convex but for a dent of 1e-3 around the first logit at 0."""
    return cross_entropy(x, target) + 1e-3 * np.exp(-((8 * x[:, 0]) ** 2))


def jumping(x, target):
    """What a loss that takes fewer entries into account beyond a tie does."""
    return cross_entropy(x, target) - 0.01 * (x[:, 0] > x[:, 1])


@pytest.mark.parametrize(
    "broken",
    [
        {"loss": lambda x, t: -cross_entropy(x, t)},
        {"loss": kinked},
        {"loss": jumping},
        {"loss": lambda x, t: np.where(x.max(-1) == 1, np.nan, cross_entropy(x, t))},
        {"slope": lambda x, t: -cross_entropy_slope(x, t)},
        {"slope": lambda x, t: cross_entropy_slope(x, t) - 1e-3 * np.sin(x)},
        {"slope": lambda x, t: np.where(x == 1, np.nan, cross_entropy_slope(x, t))},
    ],
)
def test_a_broken_loss_is_caught(card_of_stand_in, broken):
    assert refuted(card_of_stand_in(**broken)) == {"sparse", "loss_convex"}


def test_infinite_losses_at_the_ends_refute_nothing(card_of_stand_in):
    """+∞ outside of a half-space is convex."""

    def walled(x, t):
        return np.where(x[:, 0] > 1.0, np.inf, cross_entropy(x, t))

    assert refuted(card_of_stand_in(loss=walled)) == {"sparse"}


def test_rounding_refutes_nothing(card_of_stand_in):
    """Some eps in any direction, in the value, the Jacobian, the loss and its gradient."""

    def noisy(values):
        bits = np.ascontiguousarray(values).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return values * (1 + 8 * EPS * (bits.astype(np.float64) / 2.0**63 - 1.0))

    card = card_of_stand_in(
        lambda x: noisy(softmax(x)),
        lambda x: noisy(softmax_jacobian(x)),
        lambda x, t: noisy(cross_entropy(x, t)),
        lambda x, t: noisy(cross_entropy_slope(x, t)),
    )
    assert refuted(card) == {"sparse"}
    assert any("eps" in p.evidence for p in card)


def test_rounding_of_logits_at_a_kink_refutes_nothing(card_of_stand_in, monkeypatch):
    """At α = 3 p_2 + p_3 = 2^-19 here, and p_2 − p_3 changes by 2^20 times what x_2 − x_3 does."""
    small = 2.0**-20
    top = np.round(2.0**39 * ((1 - 2 * small) ** 2 - small**2)) / 2.0**40
    kink = np.array([[top, 2.0**-48, 0.0, -2.0]])
    monkeypatch.setattr(module, "_structured", lambda size: kink)

    def rounded(x):
        """Equal logits equally: by how many units in the last place depends on their last bit."""
        ulps = EPS * np.abs(x).max(-1, keepdims=True) * (np.ldexp(x, 48) % 2 == 1)
        return rv.probmap.entmax(x + ulps, 3.0)

    assert np.abs(rounded(kink + 8.0) - rounded(kink)).max() > 2.0**20 * EPS
    assert card_of_stand_in(rounded)["shift_invariant"].holds


def test_losses_below_the_accuracy_of_p_are_not_judged():
    """−log p, with p from an integral: where p is 1e-20 nothing is known of it."""
    loss = card_of("perturb_max", noise="normal")["loss_convex"]
    judged = int(re.search(r"of losses (\d+) chords", loss.evidence)[1])
    probe = module._Probe(loss_map := rv.probmap.perturb_max(noise="normal"), 4, 0)
    chords = module._chords(probe)
    ends = [
        rv.probmap.loss(loss_map, x, chords.target, reduction="none")
        for x in (chords.low, chords.middle, chords.high)
    ]
    smallest = np.exp(-np.max(ends, axis=0))
    assert judged == np.count_nonzero(ROUNDING * QUADRATURE / smallest < 2.0**-10)
    assert judged < len(chords.target)


# ---- the interface -----------------------------------------------------------------------------


def test_every_way_to_name_a_map_gives_the_same_card():
    expected = card_of("entmax", alpha=1.25)
    for card in (
        properties(rv.probmap.entmax, alpha=1.25),
        properties(rv.probmap.entmax(alpha=1.25)),
        properties(rv.probmap.entmax(alpha=2.0), alpha=1.25),
    ):
        assert card.map == expected.map
        assert [p.evidence for p in card] == [p.evidence for p in expected]


def test_a_seed_determines_a_card():
    one, same = (properties("sparse_softmax", k=2, seed=3) for _ in range(2))
    for a, b in zip(one, same, strict=True):
        assert (a.name, a.holds, a.value, a.evidence) == (b.name, b.holds, b.value, b.evidence)
        assert (a.example is None) == (b.example is None)
        if a.example is not None:
            np.testing.assert_array_equal(a.example.x, b.example.x)
            np.testing.assert_array_equal(a.example.gives, b.example.gives)
    other = properties("sparse_softmax", k=2, seed=4)
    assert [p.holds for p in other] == [p.holds for p in one]
    assert [p.evidence for p in other] != [p.evidence for p in one]


def test_cards_are_indexed_iterated_and_printed():
    card = card_of("sparsemax")
    assert tuple(p.name for p in card) == module.PROPERTIES
    assert all(card[p.name] is p for p in card.properties)
    assert repr(card) == "PropertyCard(sparsemax(), size=4: 15 of 17 properties hold)"
    assert repr(card["sparse"]) == "Property('sparse', holds=True, value=1.0)"
    assert repr(card["monotone"]) == "Property('monotone', holds=True)"
    with pytest.raises(
        InvalidArgument, match=r"^property must be one of 'simplex', .*; got 'mono'$"
    ):
        card["mono"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda card: pickle.loads(pickle.dumps(card))])
def test_cards_are_constant_and_copied_whole(copied):
    card = copied(card_of("sparsemax"))
    assert repr(card) == repr(card_of("sparsemax"))
    assert [p.evidence for p in card] == [p.evidence for p in card_of("sparsemax")]
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.size = 3
    with pytest.raises(ValueError, match="read-only"):
        card["full_support"].example.x[0] = 1.0


def test_a_card_in_a_notebook():
    html = card_of("normalize", f="square")._repr_html_()
    assert html.count("<tr>") == len(module.PROPERTIES)
    assert "normalize(f=&#x27;square&#x27;) on 4 entries" in html
    assert "p &gt; 0 for all x" in html
    assert "✗: fails for" in html


MAPS = [rv.probmap.softmax, "sparsemax", rv.probmap.taylor_softmax(order=2), "normalize"]


@functools.cache
def small_table():
    return properties.table(MAPS)


def test_a_table_holds_the_cards_of_its_maps():
    table = small_table()
    assert [repr(card.map) for card in table] == [
        *("softmax()", "sparsemax()", "taylor_softmax(order=2)", "normalize()")
    ]
    assert repr(table) == "PropertyTable(4 maps, 17 properties)"
    for card, single in zip(table, MAPS, strict=True):
        assert [p.evidence for p in card] == [p.evidence for p in properties(single)]
    assert properties.table([], size=3).cards == ()
    assert properties.table(["softmax"], size=3, seed=5).cards[0].size == 3


def test_a_table_as_markdown():
    lines = small_table().markdown().splitlines()
    rows = lines[: lines.index("")]
    assert {line.count("|") for line in rows} == {len(module.PROPERTIES) + 2}
    assert set(rows[1]) == {"|", "-"}
    assert rows[3] == (
        "| `sparsemax()` | ✓ | ✓ | ✗ | ✓ | sharpens | ✓ | ✓ | ✓ | ✓ 1 | ✗ "
        "| 1.000 | 1.500 | ✓ | ✓ | ✓ | ✓ | ✓ |"
    )
    assert "| ∞ | ∞ |" in rows[5]
    rest = lines[len(rows) + 1 :]
    assert "- x_i ≥ x_j gives p_i ≥ p_j. Not for" in rest
    assert sum(line.startswith("  - `sparsemax()`: ") for line in rest) == len(SPARSE)
    assert small_table().markdown(counterexamples=False).splitlines() == rows


def test_a_table_in_a_notebook():
    table = small_table()
    html = table._repr_html_()
    assert html.count("<tr>") == 1 + len(MAPS)
    assert html.count("<td title=") == len(MAPS) * len(module.PROPERTIES)
    assert ">sharpens</td>" in html
    evidence = table.cards[0]["simplex"].evidence
    assert f'<td title="{evidence}">✓</td>' in html
    assert '<th title="p &gt; 0 for all x">p &gt; 0</th>' in html


def test_the_usual_table_has_all_maps_noises_and_functions():
    maps = [rv.probmap.Map(name).bind(**parameters) for name, parameters in module._TELLING]
    assert {map.name for map in maps} == set(rv.probmap.MAPS)
    assert {m.parameters["noise"] for m in maps if m.name == "perturb_max"} == set(
        rv.probmap.NOISES
    )
    assert {m.parameters["f"] for m in maps if m.name == "normalize"} == set(rv.probmap.FUNCTIONS)


def test_the_usual_table_is_made_of_them(monkeypatch):
    monkeypatch.setattr(module, "_TELLING", (("softmax", {}), ("entmax", {"alpha": 4.0})))
    assert [repr(card.map) for card in properties.table()] == ["softmax()", "entmax(alpha=4.0)"]


def test_the_signature_is_that_of_a_function():
    assert list(inspect.signature(properties).parameters) == ["map", "size", "seed", "parameters"]
    assert list(inspect.signature(properties.table).parameters) == ["maps", "size", "seed"]


def test_noise_of_the_caller_has_a_card(monkeypatch):
    """Of the properties that cost few integrals: each calls back hundreds of times."""
    monkeypatch.setattr(module, "_CHECKS", (module._simplex, module._monotone, module._cold_limit))
    noise = (lambda t: special.expit(t) * special.expit(-t), special.expit, special.logit)
    card = properties("perturb_max", noise=noise, size=2)
    assert [p.holds for p in card] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 1}, InvalidArgument, "size must be at least 2, got 1"),
        ({"size": 2.0}, DtypeError, "size must be an integer, got 2.0"),
        ({"seed": -1}, InvalidArgument, "seed must be at least 0, got -1"),
        ({"seed": "0"}, DtypeError, "seed must be an integer, got '0'"),
        ({"alpha": 0.5}, InvalidArgument, "alpha must be at least 1, got 0.5"),
        ({"temperature": 0.0}, InvalidArgument, "temperature must be positive and finite, got 0"),
        (
            *({"alpha": [1.5, 2.0]}, ShapeMismatch),
            "alpha must be a single number, got an array of shape (2,)",
        ),
        ({"k": 3}, InvalidArgument, "entmax has the parameters alpha, temperature; got 'k'"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        properties("entmax", **arguments)
    if "size" in arguments:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            properties.table(["entmax"], **arguments)


def test_bad_maps():
    with pytest.raises(
        InvalidArgument, match=r"^map must be the function of a map, .*; got 'maxout'$"
    ):
        properties("maxout")
    with pytest.raises(InvalidArgument, match=r"^k must be in \[1, 4\], got 5$"):
        properties("sparse_softmax", k=5)
    with pytest.raises(InvalidArgument, match="margin_softmax needs target="):
        properties("margin_softmax")
