"""Kernels by every route and generating functions, against C A^k B and resolvents in 50 digits."""

from __future__ import annotations

import copy
import functools
import itertools
import pickle
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.polynomial.polynomial import polyval
from ssm_support import (
    AGREEMENT,
    ALPHA,
    BY_NAME,
    CASES,
    DETOURS,
    EPS,
    KINDS,
    PROMISE,
    ROUTES,
    RULES,
    SINGLE,
    STEP,
    STEPWISE,
    assert_bits,
    assert_kernel,
    assert_within,
    discrete_matrices,
    dplr_case,
    exact_kernel,
    kernel_and_loss,
    kernel_by,
    random_dplr,
    refused,
    rounded,
    rule_condition,
    system_case,
)

import resolvent as rv
from oracles import discretize as discretization
from oracles import ssm as oracle

matplotlib.use("Agg")

# One, two, odd, prime, a power of two: with z = -1 a sample and without.
LENGTHS = (1, 2, 3, 7, 16, 17)
LENGTH = 20


def routes_of(case, rule, model=None):
    return rv.ssm.routes(case.call()[0] if model is None else model, rule)


# ---------------------------------------------------------------------------------------------
# Which routes there are.


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_routes_of_a_model(case):
    for rule in case.rules():
        found = routes_of(case, rule)
        assert isinstance(found, tuple)
        assert set(found) <= set(ROUTES)
        assert len(set(found)) == len(found)
        expected = set(case.routes)
        if rule not in discretization.RATIONAL:
            expected -= {"dplr", "allpass"}  # e^A is not diagonal plus low rank
        assert expected <= set(found), rule
        assert len(found) >= 2, "nothing to compare with"


def test_the_routes_of_transfer_functions_and_of_lists():
    transfer = rv.rational.TransferFunction([1.0, 2.0], [0.5, -0.1])
    assert {"power", "recurrence", "rational"} <= set(rv.ssm.routes(transfer))
    models = [rv.hippo.system(measure, 4) for measure in ("legs", "legt", "fout")]
    common = set.intersection(*(set(rv.ssm.routes(model)) for model in models))
    assert {"power", "recurrence"} <= set(rv.ssm.routes(models)) <= common


# ---------------------------------------------------------------------------------------------
# Every model by every route.


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_route(case, rule):
    if rule not in case.rules():
        return
    expected, condition = exact_kernel(case, rule, LENGTH)
    for route in routes_of(case, rule):
        found = kernel_by(route, case, LENGTH, rule=rule)
        if found[0] is not None:
            assert found[0].dtype == (np.float64 if case.real else np.complex128), route
        assert_kernel(found, expected, condition, route)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("case", KINDS, ids=str)
def test_every_length(case, length):
    expected, condition = exact_kernel(case, "bilinear", length)
    order = len(case.matrices()[1])
    for route in routes_of(case, "bilinear"):
        if route == "rational" and length < order:
            continue  # see test_a_transform_must_hold_the_coefficients
        found = kernel_by(route, case, length)
        assert found[0] is None or found[0].shape == (length,)
        assert_kernel(found, expected, condition, route)


@pytest.mark.parametrize("name", ["legs-5", "dplr-legs-6-half", "lin-6-half", "discrete-real"])
def test_a_transform_must_hold_the_coefficients(name):
    """d <= L, or the polynomials themselves are aliased."""
    case = BY_NAME[name]
    order = len(case.matrices()[1])
    model, keywords = case.call()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.IllConditionedWarning)
        refused(
            lambda: rv.ssm.kernel(model, order - 1, route="rational", **keywords),
            "length", str(order), str(order - 1),
        )  # fmt: skip
        assert rv.ssm.kernel(model, order, route="rational", **keywords).shape == (order,)


@pytest.mark.parametrize(
    ("measure", "order"), [("legs", 32), ("legt", 32), ("lagt", 31), ("fout", 31)]
)
def test_order_thirty_two(measure, order):
    """Where eigenvectors of A itself have lost all digits."""
    case, length = system_case(measure, order), 48
    form = dplr_case(f"dplr-{measure}-{order}", rv.spectral.dplr(case.make(None), half=True))
    expected, condition = exact_kernel(case, "bilinear", length, step=0.01)
    for route in routes_of(case, "bilinear"):
        assert_kernel(kernel_by(route, case, length, step=0.01), expected, condition, route)
    c = form.make(None).transform(case.read_out())
    for route in routes_of(form, "bilinear"):
        assert_kernel(kernel_by(route, form, length, c=c, step=0.01), expected, condition, route)


@pytest.mark.parametrize("name", ["fout-5", "fout-5-complex", "dplr-fout-5-half"])
def test_a_sample_at_an_eigenvalue_of_the_normal_part_is_removable(name):
    """2 pi i = (2/e)(1 - z)/(1 + z) at z = -i for e = 1/pi: Woodbury's formula divides by zero."""
    case = BY_NAME[name]
    expected, condition = exact_kernel(case, "bilinear", 16, step=1 / np.pi)
    found = kernel_by("dplr", case, 16, step=1 / np.pi)
    assert_kernel(found, expected, condition)


@pytest.mark.parametrize("rule", ["bilinear", "backward"])
@pytest.mark.parametrize("step", [1e-7, 1e4])
@pytest.mark.parametrize("name", ["legs-5", "legt-6", "dplr-hand-5-rank-2-half"])
def test_tiny_and_huge_steps(name, step, rule):
    """C (I - A^L) cancels for the former, and routes over the circle say so; nothing overflows."""
    case = BY_NAME[name]
    expected, condition = exact_kernel(case, rule, LENGTH, step=step)
    for route in case.routes:
        found = kernel_by(route, case, LENGTH, rule=rule, step=step)
        assert_kernel(found, expected, condition, route)
        told = found[0].info.condition is not None
        assert told == (step < 1.0 and route in ("dplr", "allpass")), route


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("measure", ["legs", "legt", "lagt", "malmquist", "fout"])
def test_normal_coordinates_have_the_kernel_of_the_system(measure, half):
    """A DPLR read by C V is the system read by C."""
    case = system_case(measure, 5)
    expected, condition = exact_kernel(case, "bilinear", LENGTH)
    model = rv.spectral.dplr(case.make(None), half=half)
    form, c = dplr_case("form", model), model.transform(case.read_out())
    for route in rv.ssm.routes(model):
        found, loss = kernel_by(route, form, LENGTH, c=c)
        if found is None:
            continue
        assert_kernel((np.real(found), loss), expected, condition, route)
        assert_kernel((np.real(found) + np.imag(found), loss), expected, condition, route)


def test_gbt_lies_between_forward_and_backward():
    case = BY_NAME["legs-5"]
    model, keywords = case.call("gbt")
    for rule, alpha in (("forward", 0.0), ("bilinear", 0.5), ("backward", 1.0)):
        expected, condition = exact_kernel(case, rule, LENGTH)
        keywords["alpha"] = alpha
        for route in rv.ssm.routes(model, "gbt"):
            found = kernel_and_loss(route, case.routes, model, LENGTH, **keywords)
            assert_kernel(found, expected, condition, route)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_foh_has_no_kernel(case):
    """Its state reads the next input, so the output would not be causal."""
    if case.discrete:
        return
    model, keywords = case.call("foh")
    refused(lambda: rv.ssm.kernel(model, 8, **keywords), "foh")
    refused(lambda: rv.ssm.recur(np.ones(8), model, **keywords), "foh")
    refused(lambda: rv.ssm.generating_function(model, [0.5], **keywords), "foh")


@pytest.mark.parametrize("direct", [2.5, -1.0 + 0.5j])
def test_what_goes_straight_through_is_added_to_the_first_entry(direct):
    case = BY_NAME["discrete-complex" if isinstance(direct, complex) else "discrete-real"]
    a, b = case.matrices()
    c = case.read_out()
    expected, condition = oracle.kernel(a, b, c, LENGTH, direct), exact_kernel(case, "", LENGTH)[1]
    model = rv.ssm.StateSpace(a, b, c, direct)
    for route in rv.ssm.routes(model):
        found = kernel_and_loss(route, case.routes, model, LENGTH)
        assert_kernel(found, expected, condition, route)


def test_a_model_reads_through_its_own_c():
    c = np.array([1.0 - 1j, 2.0, 0.5j])
    parts = rv.spectral.diagonal(6, "lin", half=True)
    own = rv.spectral.Diagonal(parts.eigenvalues, parts.B, c, kind="lin", half=True)
    assert_bits(
        np.asarray(rv.ssm.kernel(own, LENGTH, step=STEP)),
        np.asarray(rv.ssm.kernel(parts, LENGTH, step=STEP, C=c)),
    )
    other = rv.ssm.kernel(own, LENGTH, step=STEP, C=2 * c)
    assert_within(other, 2 * np.asarray(rv.ssm.kernel(own, LENGTH, step=STEP)), 0.0)


# ---------------------------------------------------------------------------------------------
# Transfer functions.

TRANSFER = (
    (np.array([1.0, -0.5, 0.25]), np.array([-1.2, 0.5, -0.06])),
    (np.array([2.0]), np.array([0.9])),
    (np.array([1.0 + 1j, 0.5]), np.array([0.3j, -0.4])),
)


@pytest.mark.parametrize("length", [8, 16, 17])
@pytest.mark.parametrize("index", range(len(TRANSFER)))
def test_transfer_functions(index, length):
    """Plain: the power series. Truncated: b is read as C~, the aliased kernel."""
    b, a = TRANSFER[index]
    matrices = oracle.companion(a)
    model = rv.rational.TransferFunction(b, a, 0.75)
    for readout, reference in (("plain", oracle.kernel), ("truncated", oracle.aliased_kernel)):
        expected = reference(*matrices, b, length, 0.75)
        condition = oracle.kernel_condition(*matrices, b, length)
        for route in rv.ssm.routes(model):  # of distinct poles, so that residues lose nothing
            found = kernel_and_loss(route, ROUTES, model, length, readout=readout)
            assert_kernel(found, expected, condition, f"{route}, {readout}")


# ---------------------------------------------------------------------------------------------
# The truncated read-out.

TRUNCATED = [
    pytest.param(case, rule, id=f"{case}-{rule}")
    for case in CASES
    for rule in ("bilinear", "backward", "gbt", "forward")
    if not (case.discrete and rule != "bilinear") and (rule == "bilinear" or case in KINDS)
]


@pytest.mark.parametrize(("case", "rule"), TRUNCATED)
def test_the_truncated_readout_is_the_aliased_kernel(case, rule):
    """C~ (I - zA)^-1 B on the circle is the DFT of C~ (I - A^L)^-1 A^k B: no A^L is taken."""
    for length in (15, 16):
        expected, condition = exact_kernel(case, rule, length, aliased=True)
        for route in routes_of(case, rule):
            found = kernel_by(route, case, length, rule=rule, readout="truncated")
            assert_kernel(found, expected, condition, route)
            assert found[0] is None or found[0].info.readout == "truncated"


def test_both_readouts_agree_once_the_kernel_has_died():
    """A^L below eps: C and C~ are the same."""
    model = rv.spectral.dplr(rv.hippo.system("legs", 6), half=True)
    c = BY_NAME["dplr-legs-6-half"].read_out()
    keywords = {"step": 0.5, "C": c, "route": "dplr"}
    plain = np.asarray(rv.ssm.kernel(model, 256, **keywords))
    truncated = rv.ssm.kernel(model, 256, readout="truncated", **keywords)
    assert_within(truncated, plain, PROMISE * EPS * np.abs(plain).max())


# ---------------------------------------------------------------------------------------------
# Generating functions.

ON_CIRCLE = np.exp(2j * np.pi * np.arange(9) / 9)
POINTS = np.array([0.0, 1.0, -1.0, 1j, -1j, 0.5 - 0.3j, -0.99, 1.3j, -1.1 + 0.2j, *ON_CIRCLE[1:3]])


def resolvent_conditions(a, b, c, z, length=None):
    """Absolute condition of C (I - z^L A^L)(I - zA)^-1 B in each z to changes of A, B, C.

    dG = C R dB + z C R dA R B with R = (I - zA)^-1; z^L A^L adds z^L sum_j C A^j dA A^(L-1-j) R B.
    """
    a, b, c = (rounded(v) for v in (a, b, c))
    out = []
    size = np.linalg.norm(a, 2)
    powers = [c]
    for _ in range(length or 0):
        powers.append(powers[-1] @ a)
    for point in z:
        inverse = np.linalg.inv(np.eye(len(b)) - point * a)
        x, row = inverse @ b, (c if length is None else c - point**length * powers[-1])
        total = np.linalg.norm(row @ inverse) * (
            np.linalg.norm(b) + abs(point) * size * np.linalg.norm(x)
        ) + np.linalg.norm(c) * np.linalg.norm(x)
        for j in range(length or 0):
            y = x
            for _ in range(length - 1 - j):
                y = a @ y
            total += abs(point) ** length * size * np.linalg.norm(powers[j]) * np.linalg.norm(y)
        out.append(total)
    return np.array(out)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_generating_function(case, rule):
    """On the circle, inside and outside, at 0 and at the limit z = -1; plain and truncated."""
    if rule not in case.rules() or (rule not in ("bilinear", "gbt") and case not in KINDS):
        return
    a, b = discrete_matrices(case, rule)
    c = case.expand(case.read_out())
    model, keywords = case.call(rule)
    for length in (None, 6):
        expected = oracle.generating_function(a, b, c, POINTS, length)
        bound = PROMISE * EPS * rule_condition(case, rule)
        bound = bound * resolvent_conditions(a, b, c, POINTS, length)
        found = rv.ssm.generating_function(model, POINTS, length=length, **keywords)
        assert found.dtype == np.complex128
        assert_within(found, expected, bound)


@pytest.mark.parametrize("case", KINDS, ids=str)
@pytest.mark.parametrize("length", [7, 16])
def test_the_truncated_generating_function_is_the_dft_of_the_kernel(case, length):
    model, keywords = case.call()
    kernel, condition = exact_kernel(case, "bilinear", length)
    z = np.exp(-2j * np.pi * np.arange(length) / length)
    found = rv.ssm.generating_function(model, z, length=length, **keywords)
    expected = np.fft.fft(kernel)
    assert_within(found, expected, PROMISE * EPS * condition * np.abs(kernel).sum())


def test_the_generating_function_of_a_transfer_function_is_the_quotient():
    for b, a in TRANSFER:
        model = rv.rational.TransferFunction(b, a, 0.75)
        found = rv.ssm.generating_function(model, POINTS)
        monic = np.concatenate([[1.0], a])
        above, below = polyval(POINTS, b), polyval(POINTS, monic)
        loss = polyval(np.abs(POINTS), np.abs(b)) / np.abs(below)
        loss = loss + np.abs(above) * polyval(np.abs(POINTS), np.abs(monic)) / np.abs(below) ** 2
        assert_within(found, above / below + 0.75, PROMISE * EPS * (loss + 1))


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_at_zero_it_is_the_first_entry_and_near_it_continuous(case):
    model, keywords = case.call()
    kernel, condition = exact_kernel(case, "bilinear", 3)
    h = 2.0**-30
    found = rv.ssm.generating_function(model, [0.0, h], **keywords)
    bound = PROMISE * EPS * condition * np.abs(kernel).max()
    assert_within(found[0], kernel[0], bound)
    assert_within(found[1], kernel[0] + h * kernel[1], bound + 64 * h**2 * np.abs(kernel).max())


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_minus_one_is_the_limit(case):
    """(2/e)(1 - z)/(1 + z) is infinite there; G(-1) = C (I + A)^-1 B is not."""
    model, keywords = case.call()
    a, b = discrete_matrices(case, "bilinear")
    c = case.expand(case.read_out())
    near = -1.0 + np.array([0.0, 1e-16, 1e-12, -1e-12, 1e-8j, 1e-5])
    expected = oracle.generating_function(a, b, c, near)
    bound = PROMISE * EPS * rule_condition(case, "bilinear") * resolvent_conditions(a, b, c, near)
    found = rv.ssm.generating_function(model, near, **keywords)
    assert_within(found, expected, bound)


def test_generating_functions_take_any_shape_of_points():
    model, keywords = BY_NAME["legs-5"].call()
    keywords["C"] = BY_NAME["legs-5"].read_out(batch=(3,))
    flat = rv.ssm.generating_function(model, POINTS[:6], **keywords)
    square = rv.ssm.generating_function(model, POINTS[:6].reshape(2, 3), **keywords)
    assert_bits(square, np.ascontiguousarray(flat.reshape(3, 2, 3)))
    one = rv.ssm.generating_function(model, 0.5, **keywords)
    assert one.shape == (3,)
    assert rv.ssm.generating_function(model, np.zeros((0, 2)), **keywords).shape == (3, 0, 2)


# Models whose only pole is at z = 2: the eigenvalue 1/2, which the forward rule makes of -1.
WITH_A_POLE_AT_TWO = {
    "discrete": lambda: rv.ssm.StateSpace([[0.5]], [1.0], [1.0]),
    "dense": lambda: rv.ssm.StateSpace([[-1.0]], [1.0], [1.0], time="continuous"),
    "system": lambda: rv.hippo.system("legs", 1),
    "dplr": lambda: rv.spectral.DPLR([-0.75], [[0.5]], [[0.5]], [1.0]),
    "diagonal": lambda: rv.spectral.Diagonal([-1.0], [1.0]),
    "transfer": lambda: rv.rational.TransferFunction([1.0], [-0.5]),
}


@pytest.mark.parametrize("name", WITH_A_POLE_AT_TWO)
def test_a_pole_at_a_sample_point_is_refused(name):
    """1 - z lambda = 0 exactly."""
    model, keywords = WITH_A_POLE_AT_TWO[name](), {}
    if name in ("dense", "system", "dplr", "diagonal"):
        keywords = {"step": 0.5, "rule": "forward"}
    if name in ("system", "dplr", "diagonal"):
        keywords["C"] = [1.0]
    refused(
        lambda: rv.ssm.generating_function(model, [0.1, 2.0, 0.3], **keywords),
        "z", "2", "pole",
        error=rv.InvalidArgument,
    )  # fmt: skip
    assert np.isfinite(rv.ssm.generating_function(model, [0.1, 0.3], **keywords)).all()


# ---------------------------------------------------------------------------------------------
# Batches.


def each_kernel(route, case, c, steps, length, rule="bilinear"):
    """Kernels one at a time, over the broadcast of C's leading axes and the steps."""
    batch = np.broadcast_shapes(c.shape[:-1], np.shape(steps))
    c = np.broadcast_to(c, (*batch, case.reads))
    steps = np.broadcast_to(steps, batch)
    rows = [
        np.asarray(kernel_by(route, case, length, c=c[i], rule=rule, step=steps[i])[0])
        for i in np.ndindex(batch)
    ]
    return np.reshape(rows, (*batch, length))


@pytest.mark.parametrize(
    ("batch", "steps"), [((3,), ()), ((), (3,)), ((2, 1), (3,)), ((2, 3), (2, 1))]
)
@pytest.mark.parametrize("case", [c for c in KINDS if not c.holds_c], ids=str)
def test_batches_of_read_outs_and_steps(case, batch, steps):
    rng = np.random.default_rng(30)
    values = 0.02 + 0.1 * rng.random(steps)
    c = case.read_out(batch=batch)
    for rule in ("bilinear", "zoh"):
        for route in routes_of(case, rule):
            found, loss = kernel_by(route, case, 9, c=c, rule=rule, step=values)
            expected = each_kernel(route, case, c, values, 9, rule)
            assert found.shape == expected.shape
            bound = PROMISE * EPS * loss * np.abs(expected).max()
            assert_within(found, expected, bound, route)
        model, keywords = case.call(rule, c=c, step=values)
        points = rv.ssm.generating_function(model, POINTS[:4], **keywords)
        assert points.shape == (*expected.shape[:-1], 4)


@pytest.mark.parametrize("name", ["legs", "dplr", "diagonal"])
def test_lists_of_models_are_channels(name):
    """One model each, along the last of the leading axes."""
    order = 4
    models = {
        "legs": [rv.hippo.system(m, order) for m in ("legs", "legt", "lagt")],
        "dplr": [
            rv.spectral.dplr(rv.hippo.system(m, order), half=True) for m in ("legs", "lagt", "legs")
        ],
        "diagonal": [rv.spectral.diagonal(order, k, half=True) for k in ("lin", "inv", "quad")],
    }[name]
    size = order if name == "legs" else order // 2
    rng = np.random.default_rng(31)
    steps = np.array([0.02, 0.05, 0.1])
    for c in (rng.standard_normal((*batch, size)) for batch in ((), (3,), (2, 3))):
        for given in (models, tuple(models)):
            for route in set(rv.ssm.routes(models)) - set(
                ("rational",) if name == "diagonal" else DETOURS
            ):
                found = rv.ssm.kernel(given, 9, step=steps, C=c, route=route)
                assert found.shape == (*np.broadcast_shapes(c.shape[:-1], (3,)), 9)
                for index in np.ndindex(found.shape[:-1]):
                    h = index[-1]
                    row = np.broadcast_to(c, (*found.shape[:-1], size))[index]
                    one = rv.ssm.kernel(models[h], 9, step=steps[h], C=row, route=route)
                    assert_within(found[index], one, PROMISE * EPS * np.abs(one).max(), route)


def test_parameters_with_leading_axes():
    """DPLR and Diagonal with a row of parameters per channel."""
    parts = [random_dplr(4, 2, True, seed) for seed in range(3)]
    c = BY_NAME["dplr-hand-6-rank-1-half"].read_out()[:2]
    names = ("eigenvalues", "P", "Q", "B")
    fields = (np.stack([getattr(m, name) for m in parts]) for name in names)
    stacked = rv.spectral.DPLR(*fields, half=True)
    diagonals = rv.spectral.Diagonal(stacked.eigenvalues, stacked.B, half=True)
    singles = [rv.spectral.Diagonal(m.eigenvalues, m.B, half=True) for m in parts]
    for model, each in ((stacked, parts), (diagonals, singles)):
        for route in rv.ssm.routes(model):
            own = STEPWISE | ({"dplr"} if model is stacked else {"diagonal", "scan"})
            found, loss = kernel_and_loss(route, own, model, 9, step=STEP, C=c)
            assert found.shape == (3, 9)
            for row, one in zip(found, each, strict=True):
                expected = np.asarray(rv.ssm.kernel(one, 9, step=STEP, C=c))
                bound = PROMISE * EPS * loss * np.abs(expected).max()
                assert_within(row, expected, bound, route)


def test_state_spaces_with_leading_axes():
    rng = np.random.default_rng(32)
    a, b, c = (rng.standard_normal(shape) for shape in ((2, 3, 3), (2, 3), (3,)))
    a = 0.3 * a
    direct = np.array([0.5, -1.0])
    model = rv.ssm.StateSpace(a, b, c, direct)
    for route in rv.ssm.routes(model):
        found, loss = kernel_and_loss(route, STEPWISE, model, 9)
        for k in range(2):
            expected = oracle.kernel(a[k], b[k], c, 9, direct[k])
            condition = oracle.kernel_condition(a[k], b[k], c, 9)
            assert_kernel((found[k], loss), expected, condition, route)


def test_no_channels():
    model, keywords = BY_NAME["legs-5"].call(c=np.zeros((0, 5)))
    assert rv.ssm.kernel(model, 9, **keywords).shape == (0, 9)


# ---------------------------------------------------------------------------------------------
# The result.


def test_a_kernel_is_an_array_that_knows_its_route():
    model, keywords = BY_NAME["legs-5"].call()
    found = rv.ssm.kernel(model, 9, **keywords)
    info = found.info
    assert isinstance(found, np.ndarray)
    assert isinstance(found, rv.ssm.Kernel)
    assert info.route in rv.ssm.routes(model)
    assert info.reason
    assert (info.rule, info.readout) == ("bilinear", "plain")
    assert info.condition is None or info.condition >= 1.0
    for other in (found + 1, 2 * found, np.abs(found), found @ found, found.sum()):
        assert not isinstance(other, rv.ssm.Kernel)
    assert type(np.asarray(found)) is np.ndarray


def test_views_of_a_kernel_know_its_route():
    model, keywords = BY_NAME["legs-5"].call(c=BY_NAME["legs-5"].read_out(batch=(3,)))
    found = rv.ssm.kernel(model, 9, **keywords)
    for view in (found[0], found[:, 2:], found.reshape(3, 3, 3), found.T):
        assert view.info == found.info
    assert not isinstance(found[0, 0] * 1.0, rv.ssm.Kernel)


def test_a_kernel_draws_itself():
    model, keywords = BY_NAME["legs-5"].call(c=BY_NAME["legs-5"].read_out(batch=(2,)))
    found = rv.ssm.kernel(model, 9, **keywords)
    _, given = plt.subplots()
    axes = found.plot(given)
    assert axes is given
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 9]
    for row in np.asarray(found):
        assert any(np.array_equal(row, line) for line in drawn)
    assert found.plot() is not None
    plt.close("all")


def test_kernels_survive_copies_and_pickles():
    model, keywords = BY_NAME["legs-5"].call()
    found = rv.ssm.kernel(model, 9, **keywords)
    for other in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert_bits(np.asarray(other), np.asarray(found))
        assert other.info == found.info


def test_auto_takes_an_applicable_route_and_says_why():
    for case in KINDS:
        for rule in case.rules():
            model, keywords = case.call(rule)
            auto = rv.ssm.kernel(model, 64, **keywords)
            assert auto.info.route in rv.ssm.routes(model, rule)
            assert isinstance(auto.info.reason, str)
            assert len(auto.info.reason) > 8
            same = rv.ssm.kernel(model, 64, route=auto.info.route, **keywords)
            assert_bits(np.asarray(auto), np.asarray(same))


# ---------------------------------------------------------------------------------------------
# Precision.


@functools.cache
def _single_cases():
    return {
        "legs": (rv.hippo.system("legs", 64), 64, DETOURS),
        "legt": (rv.hippo.system("legt", 32), 32, DETOURS),
        "dplr": (rv.spectral.dplr(rv.hippo.system("legs", 64), half=True), 32, DETOURS),
        "lin": (rv.spectral.diagonal(64, "lin", half=True), 32, ("rational",)),
        "inv": (rv.spectral.diagonal(64, "inv", half=True), 32, ("rational",)),
    }


@pytest.mark.parametrize("name", ["legs", "legt", "dplr", "lin", "inv"])
def test_single_precision_is_near_double(name):
    """Within SINGLE of the largest entry, by every route, for thousands of steps."""
    model, size, detours = _single_cases()[name]
    rng = np.random.default_rng(33)
    c = rng.standard_normal((2, size)).astype(np.float32)
    length = 2000
    for rule in ("bilinear", "zoh"):
        for route in set(rv.ssm.routes(model, rule)) - set(detours):
            keywords = {"step": 0.005, "rule": rule, "route": route}
            double = rv.ssm.kernel(model, length, C=c.astype(float), **keywords)
            single = rv.ssm.kernel(model, length, C=c, **keywords)
            assert double.dtype == np.float64
            assert single.dtype == np.float32
            bound = SINGLE * np.abs(double).max()
            assert_within(single, double, bound, f"{rule}, {route}")


def test_the_type_follows_c_unless_told():
    case = BY_NAME["dplr-legs-5-half"]
    model, keywords = case.call()
    c = keywords.pop("C")
    for given, dtype, expected in (
        (c, None, np.float64),
        (c.astype(np.complex64), None, np.float32),
        (c.real.astype(np.float32), None, np.float32),
        (c, "float32", np.float32),
        (c.astype(np.complex64), "float64", np.float64),
    ):
        assert rv.ssm.kernel(model, 9, C=given, dtype=dtype, **keywords).dtype == expected
    full = rv.spectral.dplr(rv.hippo.system("legs", 5))
    c = np.arange(5) * (1 + 2j)
    assert rv.ssm.kernel(full, 9, C=c, **keywords).dtype == np.complex128
    assert rv.ssm.kernel(full, 9, C=c, dtype="float32", **keywords).dtype == np.complex64


# ---------------------------------------------------------------------------------------------
# Large models.


@pytest.mark.parametrize(
    ("measure", "order", "step"),
    [
        ("legs", 256, 1e-5),  # most of the kernel lies beyond the last step
        ("legs", 256, 1e-2),  # it is over long before
        ("legt", 256, 1e-4),
        ("lagt", 256, 1e-2),
        ("fout", 255, 1e-4),
    ],
)
def test_routes_agree_at_order_256_over_16384_steps(measure, order, step):
    """Within AGREEMENT of the largest entry, pairwise, in double precision."""
    system = rv.hippo.system(measure, order)
    c = np.random.default_rng(34).standard_normal(order)
    form = rv.spectral.dplr(system, half=True)
    found = {}
    for route in set(rv.ssm.routes(system)) - set(DETOURS):
        found[route] = np.asarray(rv.ssm.kernel(system, 16384, step=step, C=c, route=route))
    inner = form.transform(c)
    for route in set(rv.ssm.routes(form)) - set(DETOURS):
        values = rv.ssm.kernel(form, 16384, step=step, C=inner, route=route)
        found[f"{route}, normal coordinates"] = np.asarray(values)
    for one, other in itertools.combinations(found, 2):
        size = np.abs(found[one]).max()
        assert_within(found[one], found[other], AGREEMENT * size, f"{one} against {other}")


@pytest.mark.parametrize("kind", ["lin", "inv", "quad"])
def test_diagonal_routes_agree_at_order_256_over_16384_steps(kind):
    model = rv.spectral.diagonal(256, kind, half=True)
    rng = np.random.default_rng(35)
    c = rng.standard_normal(128) + 1j * rng.standard_normal(128)
    found = [
        np.asarray(rv.ssm.kernel(model, 16384, step=1e-3, C=c, route=route))
        for route in ("recurrence", "diagonal", "scan")
    ]
    for one, other in itertools.combinations(found, 2):
        assert_within(one, other, AGREEMENT * np.abs(one).max())


def test_many_channels_have_the_bits_of_one(restore_threads):
    """Whatever the number of threads, and whatever else is in the batch."""
    model = rv.spectral.dplr(rv.hippo.system("legs", 16), half=True)
    rng = np.random.default_rng(36)
    c = rng.standard_normal((6, 8)) + 1j * rng.standard_normal((6, 8))
    steps = np.geomspace(1e-3, 1e-1, 6)
    for route in set(rv.ssm.routes(model)) - set(DETOURS):
        rv.set_threads(1)
        expected = np.asarray(rv.ssm.kernel(model, 200, C=c, step=steps, route=route))
        for threads in (2, 3):
            rv.set_threads(threads)
            found = rv.ssm.kernel(model, 200, C=c, step=steps, route=route)
            assert_bits(np.asarray(found), expected)


@pytest.mark.parametrize("route", ["dplr", "allpass"])
def test_orders_that_are_no_powers_of_two_and_lengths_that_are_prime(route):
    system = rv.hippo.system("legs", 37)
    c = np.random.default_rng(37).standard_normal(37)
    for length in (997, 1024):
        expected = np.asarray(rv.ssm.kernel(system, length, step=0.01, C=c, route="recurrence"))
        found = rv.ssm.kernel(system, length, step=0.01, C=c, route=route)
        assert_within(found, expected, AGREEMENT * np.abs(expected).max())


def test_alpha_is_for_gbt_only():
    model, keywords = BY_NAME["legs-5"].call("bilinear")
    one = rv.ssm.kernel(model, 9, **keywords)
    two = rv.ssm.kernel(model, 9, **(keywords | {"alpha": 1 - ALPHA}))
    assert_bits(np.asarray(one), np.asarray(two))
