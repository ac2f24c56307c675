"""Every probability map against 50 digits, brute force, experiments and the entmax package."""

from __future__ import annotations

from dataclasses import dataclass, field

import mpmath as mp
import numpy as np
import pytest
from hippo_support import EPS, assert_bits, assert_within
from scipy import stats

import resolvent as rv
from oracles import probmap as oracle

DTYPES = (np.float32, np.float64)
ULPS = 4  # of z = x/temperature and of the result, see `oracle.allowed`
ABSOLUTE = 1e-10  # promised of a quadrature
SIGMAS = 5  # of an experiment's frequencies
THRESHOLD_ULPS = 4  # promised of lambda
CANCELS = 2.0**-10  # relative to the largest logit: smaller lambdas lose digits
SLACK = mp.mpf(10) ** (10 - oracle.DIGITS)  # of identities in 50 digits
EXTENDED = 2.0**-63  # rounding of the residuals

ALPHAS = (1, 1 + 1e-12, 1 + 1e-6, 1.01, 1.25, 1.5, 1.75, 2, 2.5, 3, 10, 100, 1e6, np.inf)
NOISES = {name: 2.5 if name == "student-t" else None for name in oracle.NOISES}


@dataclass(frozen=True)
class Case:
    """A map with its parameters, the library's and the oracle's."""

    name: str
    parameters: dict = field(default_factory=dict)
    most: int = 50  # entries of a row that the oracle can take

    def __str__(self):
        return "-".join([self.name, *(f"{v:g}" if isinstance(v, float) else str(v)
                                      for v in self.parameters.values())])  # fmt: skip

    def __call__(self, x, **common):
        return getattr(rv.probmap, self.name)(x, **self.parameters, **common)

    def assert_right(self, found, x, **changes):
        """A row is right to the last digits, and of x's type."""
        x = np.asarray(x)
        assert found.dtype == x.dtype
        parameters = self.parameters | changes
        expected = oracle.MAPS[self.name](x, **parameters)
        allowed = oracle.allowed(self.name, x, expected, x.dtype, ULPS, **parameters)
        assert_within(found.astype(float), oracle.rounded(expected), allowed, f"{self} {x}")


CASES = [
    Case("softmax"),
    *(Case("taylor_softmax", {"order": order}) for order in (2, 4, 10)),
    *(Case("sparse_softmax", {"k": k}) for k in (1, 3)),
    *(Case("sparse_softmax", {"p": p}) for p in (0.5, 0.9, 1.0)),
    Case("sparsemax"),
    *(Case("entmax", {"alpha": alpha}) for alpha in (1, 1.25, 1.5, 2, 3, np.inf)),
    *(Case("normmax", {"alpha": alpha}) for alpha in (1, 1.1, 1.5, 2, 3, 100.0, np.inf)),
    *(Case("budget", {"total": total}) for total in (0.5, 1, 2.25)),
    *(Case("normalize", {"f": f}) for f in oracle.FUNCTIONS),
    Case("margin_softmax", {"target": 1, "margin": 0.35}),
    Case("perturb_max", {"noise": "uniform"}, most=4),
]
# One of each.
EACH = list({case.name: case for case in CASES}.values())


def least(case):
    """The fewest entries that the parameters allow."""
    fewest = {"sparse_softmax": case.parameters.get("k", 1), "margin_softmax": 2, "budget": 3}
    return fewest.get(case.name, 1)


def rows(n, dtype=np.float64, seed=0):
    """Logits at three scales, with ties."""
    x = np.random.default_rng([seed, n]).standard_normal((4, n)) * [[0.1], [1.0], [3.0], [1.0]]
    x[3] = np.round(x[3])
    return x.astype(dtype)


# ---------------------------------------------------------------------------------------------
# The oracles themselves.


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_projections_agree_with_enumerated_quadratic_programs(n):
    for x in rows(n):
        expected = np.array(oracle.sparsemax_by_enumeration(x), dtype=float)
        assert_within(oracle.rounded(oracle.sparsemax(x)), expected, ULPS * EPS)
        assert_within(rv.probmap.sparsemax(x), expected, ULPS * EPS * (1 + np.abs(x).max()))
        for total in (0.5, 1.0, n / 2, float(n)):
            if total <= n < 7:
                expected = np.array(oracle.budget_by_enumeration(x, total), dtype=float)
                assert_within(oracle.rounded(oracle.budget(x, total)), expected, ULPS * EPS)
                found = rv.probmap.budget(x, total)
                assert_within(found, expected, ULPS * EPS * (1 + np.abs(x).max()))


@pytest.mark.parametrize("alpha", ALPHAS[:-1])
def test_the_exact_entmax_is_optimal(alpha):
    """The conditions of optimality hold to the digits, and no vertex or mixture is better."""
    for x in rows(6):
        p = oracle.entmax(x, alpha)
        with mp.workdps(oracle.DIGITS):
            assert abs(mp.fsum(p) - 1) < SLACK
            assert oracle.entmax_kkt(x, p, alpha) < SLACK
            best = oracle.entmax_objective(x, p, alpha)
            for i in range(6):
                other = [(v + (i == j)) / 2 for j, v in enumerate(p)]
                assert oracle.entmax_objective(x, other, alpha) <= best + SLACK


@pytest.mark.parametrize("alpha", [1.1, 1.5, 2, 3, 100])
def test_the_exact_normmax_is_optimal(alpha):
    for x in rows(6):
        p = oracle.normmax(x, alpha)
        with mp.workdps(oracle.DIGITS):
            assert abs(mp.fsum(p) - 1) < SLACK
            assert oracle.normmax_kkt(x, p, alpha) < SLACK
            best = oracle.normmax_objective(x, p, alpha)
            for i in range(6):
                other = [(v + (i == j)) / 2 for j, v in enumerate(p)]
                assert oracle.normmax_objective(x, other, alpha) <= best + SLACK


# ---------------------------------------------------------------------------------------------
# Values.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case, dtype):
    for n in (1, 2, 3, 5, 33):
        if least(case) <= n <= case.most:
            x = rows(n, dtype)[: 2 if case.name == "perturb_max" else 4]
            found = case(x)
            assert found.shape == x.shape
            for row, p in zip(x, found, strict=True):
                case.assert_right(p, row)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_entmax_of_every_alpha(alpha, dtype):
    case = Case("entmax", {"alpha": alpha})
    for n in (2, 7, 50):
        x = rows(n, dtype, seed=1)[-3 if n < 50 else -1 :]
        for row, p in zip(x, case(x), strict=True):
            case.assert_right(p, row)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [2.5, 3.0, 10.0, 100.0, 1e6])
def test_entmax_of_gaps_where_the_threshold_meets_an_entry(alpha, dtype):
    """lambda agrees with an entry to many digits, and p = 1 - d^{1/(alpha - 1)} is far from 0."""
    case = Case("entmax", {"alpha": alpha})
    gap = 1 / (alpha - 1)
    for part in (0.01, 0.5, 0.9, 0.99):
        for row in ([0, -part * gap], [1, 1, 1 - part * gap], [0, -part * gap, -part * gap]):
            x = np.array(row, dtype)
            case.assert_right(case(x), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_entmax_is_continuous_at_one(dtype):
    """|dp/d alpha| at 1 is at most p (u^2 + sum p u^2)/2 with u = -log p, so p hardly moves."""
    x = rows(30, dtype)
    softmax = rv.probmap.softmax(x)
    u = -np.log(softmax.astype(float))
    slope = softmax * (u**2 + (softmax * u**2).sum(axis=-1, keepdims=True))
    for step in (EPS, 1e-12, 1e-9):
        found = rv.probmap.entmax(x, 1 + step)
        allowed = step * slope + 2 * ULPS * np.finfo(dtype).eps * softmax * (1 + u)
        assert_within(found, softmax, allowed)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_temperature_divides(case, dtype):
    for temperature in (0.3, 2.0):
        n = 3
        x = rows(n, dtype)[1:3]
        for row, p in zip(x, case(x, temperature=temperature), strict=True):
            case.assert_right(p, row, temperature=temperature)


@pytest.mark.parametrize("case", EACH, ids=str)
def test_a_temperature_of_every_row(case):
    x = rows(4)
    temperature = np.array([0.25, 1.0, 1.5, 8.0])
    for row, p, t in zip(x, case(x, temperature=temperature), temperature, strict=True):
        case.assert_right(p, row, temperature=t)
    column = case(x.reshape(2, 2, 4), temperature=temperature[:2, None])
    for row, p, t in zip(x, column.reshape(4, 4), temperature[[0, 0, 1, 1]], strict=True):
        case.assert_right(p, row, temperature=t)


@pytest.mark.parametrize(
    ("name", "parameter", "values"),
    [
        ("entmax", "alpha", [1.0, 1.5, 2.0, np.inf]),
        ("entmax", "alpha", [1.0 + 1e-12, 1.2, 3.0, 1e6]),
        ("normmax", "alpha", [1.0, 1.5, 2.0, np.inf]),
        ("budget", "total", [0.5, 1.0, 2.0, 4.0]),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_parameter_of_every_row(name, parameter, values, dtype):
    x, function = rows(4, dtype), getattr(rv.probmap, name)
    found = function(x, **{parameter: values})
    for row, p, value in zip(x, found, values, strict=True):
        Case(name, {parameter: value}).assert_right(p, row)
    spread = function(x.reshape(2, 2, 4), **{parameter: np.array(values[:2])[:, None]})
    for row, p, i in zip(x, spread.reshape(4, 4), [0, 0, 1, 1], strict=True):
        Case(name, {parameter: values[i]}).assert_right(p, row)


def test_targets_of_every_row():
    x, targets = rows(4), [3, 0, 1, 2]
    for margin in (0.0, 0.35, 2.0):
        found = rv.probmap.margin_softmax(x, targets, margin)
        for row, p, target in zip(x, found, targets, strict=True):
            Case("margin_softmax", {"target": target, "margin": margin}).assert_right(p, row)


# ---------------------------------------------------------------------------------------------
# Axes, masks, outputs: the same bits as the plain call.


@pytest.mark.parametrize("case", EACH, ids=str)
def test_any_axis(case):
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    for axis in (0, 1, 2, -1, -2, -3):
        moved = np.ascontiguousarray(np.moveaxis(x, axis, -1))
        expected = np.moveaxis(case(moved), -1, axis)
        assert_bits(case(x, axis=axis), np.ascontiguousarray(expected))


@pytest.mark.parametrize("case", EACH, ids=str)
def test_leading_axes_are_rows(case):
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    assert_bits(case(x).reshape(6, 4), case(x.reshape(6, 4)))
    assert_bits(case(x[0, 0]), case(x)[0, 0])


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_entries_are_zero_and_the_others_as_if_alone(case, dtype):
    x = rows(6, dtype)[:2]
    mask = np.array([True, True, False, True, False, True])
    found = case(x, mask=mask)
    assert (found[:, ~mask] == 0).all()
    assert not np.signbit(found[:, ~mask]).any()
    minus = np.where(mask, x, -np.inf).astype(dtype)
    assert_bits(case(minus), found)
    for row, p in zip(minus, found, strict=True):
        case.assert_right(p, row)
        alone = case(row[mask])
        allowed = oracle.allowed(case.name, row[mask], alone, dtype, ULPS, **case.parameters)
        assert_within(p[mask], alone, 2 * allowed)


@pytest.mark.parametrize("case", EACH, ids=str)
def test_masks_broadcast(case):
    x = np.random.default_rng(0).standard_normal((2, 3, 5))
    rng = np.random.default_rng(1)
    for shape in ((5,), (3, 5), (2, 1, 5), (2, 3, 5), (1, 1, 5)):
        mask = rng.random(shape) < 0.7
        mask[..., :3] = True
        whole = np.broadcast_to(mask, x.shape)
        assert_bits(case(x, mask=mask), case(np.where(whole, x, -np.inf)))
    mask = np.array([[True], [True], [False]])  # of shape (3, 1): a whole row
    assert_bits(case(x, mask=mask)[:, :2], case(x)[:, :2])
    turned = case(x, mask=np.array([True, True, True, False, True]), axis=2)
    assert (turned[..., 3] == 0).all()


@pytest.mark.parametrize("case", EACH, ids=str)
def test_masks_along_another_axis(case):
    x = np.random.default_rng(0).standard_normal((5, 3))
    mask = np.array([True, True, False, True, True])[:, None]
    expected = case(np.ascontiguousarray(x.T), mask=mask.T).T
    assert_bits(case(x, mask=mask, axis=0), np.ascontiguousarray(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", EACH, ids=str)
def test_rows_with_nothing_left(case, dtype):
    x = np.zeros((3, 4), dtype)
    x[1] = -np.inf
    expected = np.full(4, np.asarray(1 / 4, dtype))
    assert_bits(case(x)[1], expected)
    assert_bits(case(x, empty="uniform")[1], expected)
    mask = np.array([[True], [False], [True]])
    assert_bits(case(np.zeros((3, 4), dtype), mask=mask), case(x))
    for call in (lambda: case(x, empty="error"), lambda: case(0 * x.clip(0), mask=mask,
                                                             empty="error")):  # fmt: skip
        with pytest.raises(rv.InvalidArgument, match="1"):
            call()


@pytest.mark.parametrize(("f", "row"), [("square", [0, 0, -np.inf]), ("relu", [-1, 0, -np.inf])])
def test_rows_whose_weights_all_vanish(f, row):
    """Uniform over the entries that take part."""
    assert_bits(rv.probmap.normalize(row, f), np.array([0.5, 0.5, 0.0]))
    with pytest.raises(rv.InvalidArgument):
        rv.probmap.normalize(row, f, empty="error")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", EACH, ids=str)
def test_output_arrays(case, dtype):
    x = rows(4, dtype)
    expected, before = case(x), x.copy()
    out = np.full_like(x, np.nan)
    assert case(x, out=out) is out
    assert_bits(out, expected)
    assert_bits(x, before)
    assert case(x, out=x) is x
    assert_bits(x, expected)


@pytest.mark.parametrize("case", EACH, ids=str)
def test_output_arrays_along_another_axis(case):
    x = np.random.default_rng(0).standard_normal((4, 3))
    expected = case(x, axis=0)
    out = np.empty_like(x)
    assert case(x, axis=0, out=out) is out
    assert_bits(out, expected)
    assert case(x, axis=0, out=x) is x
    assert_bits(x, expected)


@pytest.mark.parametrize("case", EACH, ids=str)
def test_integers_are_doubles(case):
    x = np.array([[1, -2, 0, 3]])
    assert_bits(case(x), case(x.astype(float)))
    assert_bits(case(x.tolist()), case(x.astype(float)))
    assert_bits(case(x.astype(np.int8)), case(x.astype(float)))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal_entries_get_equal_bits(case):
    if case.name == "margin_softmax":
        return
    for dtype in DTYPES:
        x = np.array([0.3, -1.0, 0.3, 0.7, 0.7, 0.3, -1.0, 0.7], dtype)
        p = case(x)
        for value in np.unique(x):
            assert len(set(p[x == value].tolist())) == 1, f"{value}: {p[x == value]}"
        case.assert_right(case(np.full(4, -2.5, dtype)), np.full(4, -2.5, dtype))


# ---------------------------------------------------------------------------------------------
# Maps with their parameters bound.


def test_a_function_without_x_binds_parameters():
    x = rows(5)
    bound = rv.probmap.entmax(alpha=1.25)
    assert repr(bound) == "entmax(alpha=1.25)"
    assert bound.name == "entmax"
    assert bound.parameters["alpha"] == 1.25
    assert_bits(bound(x), rv.probmap.entmax(x, 1.25))
    assert_bits(bound(x, axis=0), rv.probmap.entmax(x, 1.25, axis=0))
    assert hash(bound) == hash(rv.probmap.entmax(alpha=1.25))
    assert bound == rv.probmap.entmax(alpha=1.25)
    assert bound != rv.probmap.entmax(alpha=1.5)
    warm = rv.probmap.softmax(temperature=2.0)
    assert_bits(warm(x), rv.probmap.softmax(x, temperature=2.0))


@pytest.mark.parametrize("case", EACH, ids=str)
def test_bound_maps_are_the_functions(case):
    x = rows(4)
    bound = getattr(rv.probmap, case.name)(**case.parameters)
    mask = [True, True, True, False]
    assert_bits(bound(x, mask=mask), case(x, mask=mask))
    assert case.name in repr(bound)


def test_the_maps_are_listed():
    assert set(rv.probmap.MAPS) == set(oracle.MAPS)
    assert set(rv.probmap.NOISES) == set(oracle.NOISES)


# ---------------------------------------------------------------------------------------------
# log_softmax and logsumexp.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_logarithms(dtype, temperature):
    """No digit is lost where p underflows."""
    eps = np.finfo(dtype).eps
    for n in (1, 2, 5, 40):
        x = np.concatenate([rows(n, dtype), 100 * rows(n, dtype, seed=2)])
        logs = rv.probmap.log_softmax(x, temperature=temperature)
        sums = rv.probmap.logsumexp(x, temperature=temperature)
        assert logs.dtype == sums.dtype == dtype
        assert sums.shape == (len(x),)
        for row, log, total in zip(x, logs, sums, strict=True):
            size = 1 + np.abs(row).max() / temperature
            exact = oracle.rounded(oracle.log_softmax(row, temperature))
            assert_within(log.astype(float), exact, ULPS * eps * (size + np.abs(exact)))
            exact = float(oracle.logsumexp(row, temperature))
            assert_within(float(total), exact, ULPS * eps * size)


def test_logarithms_of_masked_entries_and_rows():
    x = np.array([[0.0, 1.0, -np.inf], [-np.inf] * 3])
    mask = np.array([True, False, True])
    logs = rv.probmap.log_softmax(x)
    assert logs[0, 2] == -np.inf
    assert_within(logs[0, :2], oracle.rounded(oracle.log_softmax(x[0]))[:2], ULPS * EPS)
    assert_within(logs[1], np.full(3, -np.log(3)), ULPS * EPS)
    assert_bits(rv.probmap.log_softmax(x, mask=mask)[0], np.array([0.0, -np.inf, -np.inf]))
    with pytest.raises(rv.InvalidArgument, match="1"):
        rv.probmap.log_softmax(x, empty="error")
    sums = rv.probmap.logsumexp(x)
    assert_within(sums[0], np.logaddexp(0, 1), ULPS * EPS)
    assert sums[1] == -np.inf
    assert_bits(rv.probmap.logsumexp(x, mask=mask), np.array([0.0, -np.inf]))
    assert rv.probmap.logsumexp(x, axis=0).shape == (3,)
    assert_bits(rv.probmap.logsumexp(x, axis=0), np.array([0.0, 1.0, -np.inf]))
    out = np.empty_like(x)
    assert rv.probmap.log_softmax(x, out=out) is out
    assert_bits(out, logs)


# ---------------------------------------------------------------------------------------------
# Thresholds.


def margin_threshold(x, target, margin=0.35):
    """logsumexp(x - margin e_target)."""
    with mp.workdps(oracle.DIGITS):
        x = [mp.mpf(float(v)) for v in x]
        x[target] -= mp.mpf(margin)
        return oracle.logsumexp(x)


EXACT = {
    "softmax": oracle.logsumexp,
    "sparsemax": oracle.sparsemax_threshold,
    "entmax": oracle.entmax_threshold,
    "normmax": oracle.normmax_threshold,
    "budget": oracle.budget_threshold,
    "sparse_softmax": oracle.sparse_softmax_threshold,
    "margin_softmax": margin_threshold,
}
THRESHOLDS = [
    ("softmax", {}),
    ("sparsemax", {}),
    *(("entmax", {"alpha": a}) for a in (1, 1.01, 1.25, 1.5, 1.75, 2, 2.5, 3, 10)),
    *(("normmax", {"alpha": a}) for a in (1.1, 1.5, 2, 3, 100, np.inf)),
    *(("budget", {"total": total}) for total in (0.5, 0.75, 1.3)),
    *(("sparse_softmax", {"k": k}) for k in (1, 2)),
    ("sparse_softmax", {"p": 0.8}),
    ("margin_softmax", {"target": 1}),
]


def scaled(name, x, parameters):
    """The largest |(alpha - 1) z| of a row: lambda is of no more digits than it allows."""
    alpha = parameters.get("alpha", 2) if name == "entmax" else 2
    return (alpha - 1 if alpha != 1 else 1) * np.abs(x[x > -np.inf]).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "parameters"), THRESHOLDS, ids=str)
def test_thresholds(name, parameters, dtype):
    """In double precision whatever x is, to THRESHOLD_ULPS of lambda unless it cancels."""
    for n in (2, 5, 20):
        x = np.concatenate([rows(n, dtype)[:2], 1000 + rows(n, dtype)[1:3]])
        x = x.astype(dtype)  # no ties: at an integer total they leave budget's free
        found = rv.probmap.threshold(name, x, **parameters)
        assert found.value.shape == found.residual.shape == found.support.shape == (4,)
        assert found.value.dtype == np.float64
        for row, value, support in zip(x, found.value, found.support, strict=True):
            expected = float(EXACT[name](row, **parameters))
            size = max(abs(expected), CANCELS * scaled(name, row.astype(float), parameters))
            assert_within(value, expected, THRESHOLD_ULPS * EPS * size, f"{row}")
            p = oracle.MAPS[name](row, **parameters)
            assert support == sum(v > 0 for v in p)


@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds_do_not_underflow(dtype):
    """The smallest kept entry and logsumexp, where p is 0 in floats."""
    x = np.array([-4000, -2000, 0, 2000, 4000], dtype)
    assert rv.probmap.threshold("sparse_softmax", x, k=3).value == 0
    assert rv.probmap.threshold("sparse_softmax", x, k=5, temperature=0.5).value == -8000
    assert rv.probmap.threshold("softmax", x).value == 4000
    assert rv.probmap.threshold("entmax", x, alpha=1).value == 4000


def total_and_slope(name, row, value, alpha=2.0, total=1.0):
    """sum p(lambda) - 1 at lambda as it was returned, in 50 digits, and |its derivative|."""
    with mp.workdps(oracle.DIGITS):
        x, value = [mp.mpf(float(v)) for v in row], mp.mpf(float(value))

        def excess(at):
            if name == "softmax":
                return mp.fsum(mp.exp(v - at) for v in x) - 1
            if name == "budget":
                return mp.fsum(min(max(v - at, 0), 1) for v in x) - mp.mpf(total)
            if name == "normmax":
                q = mp.mpf(alpha) / (mp.mpf(alpha) - 1)
                return mp.fsum(max(v - at, 0) ** q for v in x) ** (1 / q) - 1
            scale = mp.mpf(alpha) - 1
            return mp.fsum(max(scale * v - at, 0) ** (1 / scale) for v in x) - 1

        return float(excess(value)), abs(float(oracle.derivative(excess, value)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("softmax", {}),
        ("sparsemax", {}),
        *(("entmax", {"alpha": alpha}) for alpha in (1.25, 1.5, 2, 3)),
        *(("normmax", {"alpha": alpha}) for alpha in (1.5, 2, 3)),
        ("budget", {"total": 0.75}),
    ],
    ids=str,
)
def test_residuals_certify_their_thresholds(name, parameters, dtype):
    """The residual is that of lambda before it is rounded to float64."""
    for n in (2, 5, 40):
        x = rows(n, dtype)
        found = rv.probmap.threshold(name, x, **parameters)
        for row, value, claimed in zip(x, found.value, found.residual, strict=True):
            left, slope = total_and_slope(name, row, value, **parameters)
            size = max(abs(value), CANCELS * scaled(name, row.astype(float), parameters))
            assert_within(claimed, left, slope * EPS / 2 * size + ULPS * n * EXTENDED, f"{row}")
            assert abs(claimed) <= ULPS * (n + slope * size) * EXTENDED, f"{row}"


@pytest.mark.parametrize("name", ["sparsemax", "softmax"])
def test_thresholds_follow_the_common_arguments(name):
    x = rows(5)
    plain = rv.probmap.threshold(name, x)
    turned = rv.probmap.threshold(name, np.ascontiguousarray(x.T), axis=0)
    assert_bits(turned.value, plain.value)
    assert_bits(turned.support, plain.support)
    bound = rv.probmap.threshold(getattr(rv.probmap, name)(temperature=0.5), x)
    assert_bits(bound.value, rv.probmap.threshold(name, 2 * x).value)
    mask = np.array([True, False, True, True, False])
    masked = rv.probmap.threshold(getattr(rv.probmap, name), x, mask=mask)
    assert_bits(masked.value, rv.probmap.threshold(name, np.where(mask, x, -np.inf)).value)
    assert rv.probmap.threshold(name, x[0]).value.shape == ()


@pytest.mark.parametrize("name", ["taylor_softmax", "normalize", "perturb_max"])
def test_maps_without_a_threshold_say_which_have_one(name):
    with pytest.raises(rv.InvalidArgument, match=f"(?s){name}.*sparsemax|sparsemax.*{name}"):
        rv.probmap.threshold(name, rows(3))


# ---------------------------------------------------------------------------------------------
# Perturbed maxima.


@pytest.mark.parametrize("noise", NOISES)
def test_perturbed_maxima(noise):
    df = NOISES[noise]
    case = Case("perturb_max", {"noise": noise} | ({} if df is None else {"df": df}))
    row = [0.3125, -0.5, 1.125]  # without rounding in float32
    expected = oracle.rounded(oracle.perturb_max(row, noise, df))
    assert_within(case(np.array(row)), expected, ABSOLUTE)
    single = np.array(row, np.float32)
    allowed = oracle.allowed("perturb_max", single, expected, np.float32, ULPS)
    assert_within(case(single), expected, allowed)
    masked = [4.0, 0.0, -np.inf, 3.75]
    expected = np.insert(oracle.perturb_max_panels([4.0, 0.0, 3.75], noise, df), 2, 0.0)
    assert_within(case(np.array(masked)), expected, ABSOLUTE)


@pytest.mark.parametrize("noise", NOISES)
def test_perturbed_maxima_of_long_rows(noise):
    """Spread as the noise is, much wider, much closer, and in clusters."""
    df, x = NOISES[noise], np.random.default_rng(8).standard_normal(40)
    clusters = np.concatenate([np.full(20, -30.0), np.linspace(0, 1, 10), np.full(3, 5.0)])
    for row in (x, 20 * x, 1e-3 * x, clusters):
        expected = oracle.perturb_max_panels(row, noise, df)
        assert_within(rv.probmap.perturb_max(row, noise, df=df), expected, ABSOLUTE)


@pytest.mark.parametrize("df", [0.5, 1.0, 30.0])
def test_student_noise_of_any_freedom(df):
    x = [0.0, 1.0, -2.0]
    found = rv.probmap.perturb_max(x, "student-t", df=df)
    if df < 1:
        expected = oracle.rounded(oracle.perturb_max(x, "student-t", df))
    else:
        expected = oracle.perturb_max_panels(x, "student-t", df)
    assert_within(found, expected, ABSOLUTE)
    if df == 1.0:
        assert_within(found, rv.probmap.perturb_max(x, "cauchy"), 2 * ABSOLUTE)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("gap", [0.0, 1e-8, 0.5, 10.0, 1e4])
def test_perturbed_maxima_of_two(noise, gap):
    """P[e' - e < gap]: closed for a pair in all families but one, far into the tails."""
    pair = {
        "gumbel": stats.logistic.cdf,
        "normal": lambda d: stats.norm.cdf(d / np.sqrt(2)),
        "logistic": lambda d: 0.5 if d == 0 else
            1 / -np.expm1(-d) - d * np.exp(-d) / np.expm1(-d) ** 2,
        "laplace": lambda d: 1 - (2 + d) / 4 * np.exp(-d),
        "uniform": lambda d: 1 - (1 - min(d, 1)) ** 2 / 2,
        "exponential": lambda d: 1 - np.exp(-d) / 2,
        "cauchy": lambda d: stats.cauchy.cdf(d / 2),
    }  # fmt: skip
    if noise not in pair or (noise == "logistic" and 0 < gap < 1e-2):  # cancels in the closed form
        expected = oracle.perturb_max_panels([gap, 0.0], noise, NOISES[noise])[0]
    else:
        expected = pair[noise](gap)
    found = rv.probmap.perturb_max([gap, 0.0], noise, df=NOISES[noise])
    assert_within(found, [expected, 1 - expected], ABSOLUTE)


@pytest.mark.parametrize("n", [1, 2, 33, 1000, 10_000])
def test_gumbel_noise_is_softmax(n):
    for scale in (0.1, 1.0, 10.0):
        x = scale * np.random.default_rng(n).standard_normal((2, n))
        assert_within(rv.probmap.perturb_max(x, "gumbel"), rv.probmap.softmax(x), 1e-12)


@pytest.mark.parametrize("noise", ["normal", "exponential", "cauchy"])
def test_noise_of_the_user(noise):
    """As (pdf, cdf, quantile) of SciPy, the library's own."""
    law = {"normal": stats.norm, "exponential": stats.expon, "cauchy": stats.cauchy}[noise]
    x = np.array([[0.3, -0.5, 1.1, 0.2], [2.0, 0.0, -np.inf, 1.5]])
    found = rv.probmap.perturb_max(x, (law.pdf, law.cdf, law.ppf))
    assert_within(found, rv.probmap.perturb_max(x, noise), 2 * ABSOLUTE)


def test_gumbel_noise_of_the_user_is_softmax():
    law = (
        lambda e: np.exp(-e - np.exp(-e)),
        lambda e: np.exp(-np.exp(-e)),
        lambda u: -np.log(-np.log(u)),
    )
    x = rows(20)
    assert_within(rv.probmap.perturb_max(x, law), rv.probmap.softmax(x), ABSOLUTE)


def assert_frequencies(found, expected, size):
    """Binomial: within SIGMAS standard deviations, and one draw for those that are never seen."""
    spread = np.sqrt(np.maximum(expected * (1 - expected), 0) / size)
    assert_within(found, expected, SIGMAS * spread + 1 / size)


@pytest.mark.parametrize("noise", NOISES)
def test_perturbed_maxima_against_an_experiment(noise):
    """n = 12, beyond the oracle's quadrature; and the library's own draws."""
    size, df = 10**5, NOISES[noise]
    x = np.random.default_rng(5).standard_normal(12)
    expected = rv.probmap.perturb_max(x, noise, df=df, temperature=0.8)
    frequencies = oracle.perturb_max_frequencies(x, noise, df, 0.8, size=size)
    assert_frequencies(frequencies, expected, size)
    parameters = {"noise": noise} | ({} if df is None else {"df": df})
    draws = rv.probmap.sample("perturb_max", x, size=size, seed=3, temperature=0.8, **parameters)
    assert draws.shape == (size,)
    assert draws.dtype.kind == "i"
    assert_frequencies(np.bincount(draws, minlength=12) / size, expected, size)


def test_samples_have_shapes_seeds_and_masks():
    x = rows(5)
    sample = rv.probmap.sample
    bound = rv.probmap.perturb_max(noise="normal")
    assert sample(bound, x, seed=0).shape == (4,)
    assert sample(bound, x, 7, seed=0).shape == (7, 4)
    assert sample(bound, x, (2, 3), seed=0).shape == (2, 3, 4)
    assert sample(bound, x, 3, seed=0, axis=0).shape == (3, 5)
    assert_bits(sample(bound, x, 50, seed=1), sample(bound, x, 50, seed=1))
    assert (sample(bound, x, 50, seed=1) != sample(bound, x, 50, seed=2)).any()
    drawn = sample(bound, x, 200, seed=0, mask=[False, True, True, False, True])
    assert set(np.unique(drawn)) <= {1, 2, 4}


def test_samples_are_of_the_perturbed_family_only():
    with pytest.raises(rv.InvalidArgument, match="perturb_max"):
        rv.probmap.sample("sparsemax", rows(3), 2)


# ---------------------------------------------------------------------------------------------
# The entmax package.


def test_the_entmax_package_agrees():
    """Its bisection leaves eps in lambda, and so sqrt(eps) in p at alpha = 3."""
    torch = pytest.importorskip("torch")
    entmax = pytest.importorskip("entmax")
    x = np.concatenate([rows(30, seed=s) for s in range(5)])
    t, size = torch.from_numpy(x), ULPS * EPS * (1 + np.abs(x).max())
    assert_within(rv.probmap.sparsemax(x), entmax.sparsemax(t, -1).numpy(), size)
    assert_within(rv.probmap.entmax(x, 1.5), entmax.entmax15(t, -1).numpy(), size)
    for alpha, allowed in ((1.2, size), (1.75, size), (3.0, np.sqrt(size))):
        theirs = entmax.entmax_bisect(t, alpha, n_iter=60).numpy()
        assert_within(rv.probmap.entmax(x, alpha), theirs, allowed)
    theirs = entmax.normmax_bisect(t, 2.0, n_iter=60).numpy()
    assert_within(rv.probmap.normmax(x, 2.0), theirs, size)
    theirs = entmax.budget_bisect(t, 2, n_iter=60).numpy()
    assert_within(rv.probmap.budget(x, 2.0), theirs, size)
