"""Gramians, Hankel singular values, balanced realisations, reduced models and their bounds."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import scipy.linalg
from hippo_support import EPS, SOLVE, assert_within
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import exact, hippo
from oracles import rational as oracle

# Lyapunov solvers are stable to a few N eps; what that costs is the condition of the equation.
LYAPUNOV = 20
# One way of changing the coefficients stands for all of them, up to this.
DIRECTIONS = 10
# The supremum over a grid misses a little of the true one: second order in the spacing.
GRID = 0.01
TIMES = ("discrete", "continuous")
METHODS = ("truncate", "match-dc")


def random_model(order, time, seed=0):
    """Stable, real, with well-spread poles."""
    rng = np.random.default_rng(seed + order)
    poles = oracle.spread_poles(order, 0.9, seed)
    a = np.zeros((order, order))
    for i, p in enumerate(poles[: order // 2]):
        a[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[p.real, p.imag], [-p.imag, p.real]]
    if order % 2:
        a[-1, -1] = poles[-1].real
    if time == "continuous":  # the right half of zeta - 1 is where these are not
        a = 3 * a - 3 * np.eye(order)
    t = np.eye(order) + 0.3 * rng.standard_normal((order, order))
    a = t @ a @ np.linalg.inv(t)
    b, c = rng.standard_normal((2, order))
    return rv.ssm.StateSpace(a, b, c, 0.3, time=time)


def malmquist(order, c=None):
    poles = 0.3 + 0.37 * np.arange(order)
    a, b = hippo.matrices("malmquist", order, poles=poles)
    return rv.ssm.StateSpace(a, b, b if c is None else c, time="continuous")


def legs_bilinear(order, step, seed=0):
    a, b = oracle.legs_bilinear(order, step)
    c = np.random.default_rng(seed).standard_normal(order)
    return rv.ssm.StateSpace(a, b, c)


def scipy_gramians(model):
    """(P, Q) by SciPy's Lyapunov solvers."""
    a, b, c = (np.asarray(v) for v in (model.A, model.B, model.C))
    inputs, outputs = np.outer(b, b.conj()), np.outer(c.conj(), c)
    if model.time == "discrete":
        return (
            scipy.linalg.solve_discrete_lyapunov(a, inputs, method="bilinear"),
            scipy.linalg.solve_discrete_lyapunov(a.conj().T, outputs, method="bilinear"),
        )
    return (
        scipy.linalg.solve_continuous_lyapunov(a, -inputs),
        scipy.linalg.solve_continuous_lyapunov(a.conj().T, -outputs),
    )


@functools.cache  # by identity
def exact_singular_values(model):
    return oracle.hankel_singular_values(model.A, model.B, model.C, model.time)


def rounding(model):
    """What an N eps perturbation of A does to singular values, over the largest of them."""
    condition = oracle.lyapunov_condition(model.A, model.time)
    return LYAPUNOV * model.order * EPS * condition


@functools.cache
def shifted(model):
    """The usual form of a discrete model: y_k = C A x_k + (C B + direct) u_k."""
    a, b, c = model.A, model.B, model.C
    return rv.ssm.StateSpace(a, b, c @ a, c @ b + model.direct)


def points_of(model):
    if model.time == "discrete":
        return oracle.circle(1500)
    size = np.abs(np.linalg.eigvals(model.A))
    return oracle.axis(3000, 1e-3 * size.min(), 1e3 * size.max())


def response(model, points):
    direct = np.asarray(model.direct).item()
    return oracle.state_response(model.A, model.B, model.C, points, direct, model.time)


def dc_gain(model):
    """G(1), or G(0): C (I - A)^-1 B + direct, or -C A^-1 B + direct."""
    return response(model, [1.0 if model.time == "discrete" else 0.0])[0]


MODELS = {
    **{f"random-{n}-{t}": random_model(n, t) for n in (1, 2, 5, 8) for t in TIMES},
    "malmquist": malmquist(6, np.random.default_rng(1).standard_normal(6)),
    "legs": rv.ssm.StateSpace(
        *hippo.matrices("legs", 6), np.random.default_rng(2).standard_normal(6), time="continuous"
    ),
    "legs-bilinear": legs_bilinear(6, 0.2),
}


# ---------------------------------------------------------------------------------------------
# Gramians and singular values.


@pytest.mark.parametrize("order", [1, 2, 5, 9])
def test_malmquist_systems_have_the_gramian_one(order):
    """A + A^T = -b b^T: P = I; so with C = b is Q, and every singular value is 1."""
    model = malmquist(order)
    p = exact.to_float(oracle.gramian(model.A, model.B, "continuous"))
    assert_within(
        p, np.eye(order), SOLVE * order * EPS * oracle.lyapunov_condition(model.A, "continuous")
    )
    assert_within(rv.rational.hankel_singular_values(model), np.ones(order), rounding(model))
    c = np.random.default_rng(order).standard_normal(order)
    other = malmquist(order, c)
    q = exact.to_float(oracle.gramian(other.A.T, other.C, "continuous"))
    wanted = np.sqrt(np.abs(np.linalg.eigvalsh(q))[::-1])
    # squared singular values are those of Q: the root of what is lost
    found = rv.rational.hankel_singular_values(other)
    assert_within(found**2, wanted**2, rounding(other) * wanted[0] ** 2)


@pytest.mark.parametrize("order", [2, 6])
@pytest.mark.parametrize("step", [0.05, 1.0])
def test_bilinear_malmquist_systems_have_the_gramian_step(order, step):
    """The bilinear rule is a Cayley transform with sqrt(step) put into B: P = step I."""
    model = malmquist(order)
    discrete = rv.discretize.discretize((model.A, model.B), step, "bilinear")
    p = exact.to_float(oracle.gramian(discrete.A, discrete.B))
    assert_within(
        p, step * np.eye(order), SOLVE * order * EPS * step * oracle.lyapunov_condition(discrete.A)
    )
    # C = b (I - step A/2)^-1 is the read-out whose Gramian is I/step
    c = np.linalg.solve((np.eye(order) - step * model.A / 2).T, model.B)
    found = rv.rational.hankel_singular_values(rv.ssm.StateSpace(discrete.A, discrete.B, c))
    assert_within(
        found, np.ones(order), LYAPUNOV * order * EPS * oracle.lyapunov_condition(discrete.A)
    )


@pytest.mark.parametrize("name", MODELS)
def test_singular_values_against_fifty_digits(name):
    model = MODELS[name]
    found = rv.rational.hankel_singular_values(model)
    wanted = exact_singular_values(model)
    assert found.shape == (model.order,)
    assert (np.diff(found) <= 0).all()
    assert (found >= 0).all()
    assert_within(found, wanted, rounding(model) * wanted[0])


@pytest.mark.parametrize("name", MODELS)
def test_singular_values_against_scipy(name):
    """sqrt of the eigenvalues of PQ: half the digits for the small ones."""
    model = MODELS[name]
    p, q = scipy_gramians(model)
    found = rv.rational.hankel_singular_values(model)
    squares = np.sort(np.linalg.eigvals(p @ q).real)[::-1]
    lost = rounding(model) * np.linalg.norm(p, 2) * np.linalg.norm(q, 2)
    condition = np.linalg.cond(np.linalg.eig(p @ q)[1])
    assert_within(found**2, squares, lost * min(condition, 1e6))


def test_small_singular_values_keep_absolute_accuracy():
    """The square-root method: factors, not products, so that eps sigma_1 is the floor."""
    model = legs_bilinear(14, 0.2)
    found = rv.rational.hankel_singular_values(model)
    wanted = exact_singular_values(model)
    assert wanted[-1] < np.sqrt(EPS) * wanted[0]  # eigenvalues of PQ would know nothing of it
    assert_within(found, wanted, rounding(model) * wanted[0])


def test_singular_values_of_a_transfer_function_are_those_of_its_hankel_matrix():
    """K_{i+j}: 400 entries at radius 0.9 leave out less than rounding."""
    b, a = oracle.model(5)
    values = oracle.kernel(b, a, 799)
    index = np.add.outer(np.arange(400), np.arange(400))
    wanted = np.linalg.svd(values[index], compute_uv=False)[:5]
    tf = rv.rational.TransferFunction(b, a, 2.0)
    condition = oracle.lyapunov_condition(oracle.companion(a))
    bound = LYAPUNOV * 5 * EPS * condition * wanted[0]
    assert_within(rv.rational.hankel_singular_values(tf), wanted, bound)
    assert_within(rv.rational.hankel_singular_values(tf.to_companion()), wanted, bound)


@pytest.mark.parametrize(("order", "step"), [(4, 0.01), (8, 0.1), (8, 0.01), (12, 1.0)])
def test_singular_values_of_a_transfer_function_with_clustered_poles(order, step):
    """As well as its coefficients determine them, or with a word of warning.

    Companion coordinates are the worst there are for a Lyapunov equation.
    """
    model = legs_bilinear(order, step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.IllConditionedWarning)
        tf = rv.rational.from_state_space(model).transfer_function
    assert tf.is_stable()
    start = np.eye(order)[0]
    wanted = oracle.hankel_singular_values(oracle.companion(tf.a), start, tf.b)
    # what one change of every coefficient by its last bit does
    signs = np.where(np.arange(order) % 2, 1 + EPS, 1 - EPS)
    moved = oracle.hankel_singular_values(oracle.companion(tf.a * signs), start, tf.b)
    bound = DIRECTIONS * LYAPUNOV * order * (np.abs(moved - wanted).max() + EPS * wanted[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = rv.rational.hankel_singular_values(tf)
    if not caught:
        assert_within(found, wanted, bound)
    assert all(w.category is rv.IllConditionedWarning for w in caught)


def test_batches_of_models():
    models = [random_model(4, "discrete", seed) for seed in range(3)]
    parts = [np.array([getattr(m, name) for m in models]) for name in "ABC"]
    many = rv.ssm.StateSpace(*parts, 0.3)
    sigma, balanced = rv.rational.hankel_singular_values(many), rv.rational.balance(many)
    assert sigma.shape == balanced.singular_values.shape == (3, 4)
    assert balanced.T.shape == balanced.T_inverse.shape == balanced.state_space.A.shape == (3, 4, 4)
    for method in METHODS:
        reduced = rv.rational.reduce(many, 2, method)
        assert reduced.state_space.A.shape == (3, 2, 2)
        assert np.shape(reduced.error_bound) == (3,)
        for i, model in enumerate(models):
            one = rv.rational.reduce(model, 2, method)
            slack = rounding(model) * sigma[i, 0]
            assert_within(sigma[i], exact_singular_values(model), slack)
            assert_within(reduced.error_bound[i], one.error_bound, 4 * slack)
            form = reduced.state_space
            wanted = oracle.state_kernel(
                one.state_space.A, one.state_space.B, one.state_space.C, 9, one.state_space.direct
            )
            direct = np.broadcast_to(form.direct, (3,))[i]
            found = oracle.state_kernel(form.A[i], form.B[i], form.C[i], 9, direct)
            assert_within(found, wanted, 9 * slack * sigma[i, 0] / sigma[i, 1])


def test_a_system_with_a_read_out():
    system = rv.hippo.system("legs", 5)
    c = np.arange(1.0, 6.0)
    model = rv.ssm.StateSpace(system.A, system.B, c, time="continuous")
    wanted = rv.rational.hankel_singular_values(model)
    found = rv.rational.hankel_singular_values(system, C=c)
    assert_within(found, wanted, rounding(model) * wanted[0])
    reduced = rv.rational.reduce(system, 2, C=c)
    assert reduced.state_space.time == "continuous"
    assert reduced.state_space.order == 2
    assert rv.rational.balance(system, C=c).state_space.order == 5


@given(st.integers(1, 5), st.integers(0, 10**6), st.sampled_from(TIMES))
def test_singular_values_do_not_depend_on_coordinates(order, seed, time):
    model = random_model(order, time, seed)
    t = np.linalg.qr(np.random.default_rng(seed).standard_normal((order, order)))[0]
    t = t * np.geomspace(1, 8, order)
    inverse = np.linalg.inv(t)
    other = rv.ssm.StateSpace(
        t @ model.A @ inverse, t @ model.B, model.C @ inverse, model.direct, time=time
    )
    one, two = (rv.rational.hankel_singular_values(m) for m in (model, other))
    assert_within(one, two, (rounding(model) + rounding(other)) * one[0])


def test_complex_models():
    rng = np.random.default_rng(0)
    poles = oracle.spread_poles(4, 0.9, 0, complex_valued=True)
    b, c = rng.standard_normal((2, 4)) + 1j * rng.standard_normal((2, 4))
    model = rv.ssm.StateSpace(np.diag(poles), b, c)
    wanted = exact_singular_values(model)
    found = rv.rational.hankel_singular_values(model)
    assert found.dtype == np.float64
    assert_within(found, wanted, rounding(model) * wanted[0])
    reduced = rv.rational.reduce(model, 2)
    points = np.exp(2j * np.pi * np.arange(2000) / 2000)
    error = np.abs(response(model, points) - response(reduced.state_space, points)).max()
    assert wanted[2] * (1 - GRID) <= error <= reduced.error_bound * (1 + rounding(model))


# ---------------------------------------------------------------------------------------------
# Balanced realisations.


@pytest.mark.parametrize("name", MODELS)
def test_balanced_gramians_are_equal_and_diagonal(name):
    model = MODELS[name]
    balanced = rv.rational.balance(model)
    form, sigma = balanced.state_space, balanced.singular_values
    assert form.time == model.time
    assert_within(sigma, exact_singular_values(model), rounding(model) * sigma[0])
    # balancing divides by sigma: the smallest one has the smallest relative accuracy
    bound = rounding(model) * sigma[0] ** 2 / sigma[-1]
    bound = bound + rounding(form) * sigma[0]
    for gramian in scipy_gramians(form):
        assert_within(gramian, np.diag(sigma), bound)


@pytest.mark.parametrize("name", MODELS)
def test_balancing_is_a_change_of_coordinates(name):
    model = MODELS[name]
    balanced = rv.rational.balance(model)
    form, t, inverse = balanced.state_space, balanced.T, balanced.T_inverse
    condition = np.linalg.cond(t)
    bound = SOLVE * model.order * EPS * condition
    size = np.linalg.norm
    assert_within(t @ inverse, np.eye(model.order), rounding(model) * condition)
    # x = T x_balanced
    sizes = size(t) * size(inverse)
    assert_within(form.A, inverse @ model.A @ t, bound * sizes * size(model.A))
    assert_within(form.B, inverse @ model.B, bound * size(inverse) * size(model.B))
    assert_within(form.C, model.C @ t, bound * size(t) * size(model.C))
    assert np.asarray(form.direct).item() == np.asarray(model.direct).item()


@pytest.mark.parametrize("name", MODELS)
def test_balancing_keeps_the_function(name):
    model = MODELS[name]
    form = rv.rational.balance(model).state_space
    points = points_of(model)[::10]
    wanted = response(model, points)
    sigma = exact_singular_values(model)
    bound = rounding(model) * sigma[0] / sigma[-1] * (np.abs(wanted).max() + sigma.sum())
    assert_within(response(form, points), wanted, bound)


# ---------------------------------------------------------------------------------------------
# Reduced models.


def orders_of(model):
    return [r for r in (1, 2, 3, 5, model.order - 1) if 0 < r < model.order]


CASES = [
    pytest.param(MODELS[name], order, method, id=f"{name}-{order}-{method}")
    for name in MODELS
    for order in sorted(set(orders_of(MODELS[name])))
    for method in METHODS
]


@pytest.mark.parametrize(("model", "order", "method"), CASES)
def test_the_error_is_between_the_bounds(model, order, method):
    """sigma_{r+1} <= sup |G - G_r| <= 2 (sigma_{r+1} + ... + sigma_N) = error_bound."""
    reduced = rv.rational.reduce(model, order, method)
    form = reduced.state_space
    assert form.order == order
    assert form.time == model.time
    assert form.is_stable()
    points = points_of(model)
    error = np.abs(response(model, points) - response(form, points)).max()
    sigma = reduced.singular_values
    assert sigma.shape == (model.order,)
    slack = rounding(model) * sigma[0] * model.order
    assert error <= reduced.error_bound + slack
    assert_within(reduced.error_bound, 2 * sigma[order:].sum(), slack)
    # nothing of order r is closer; with a direct part of its own, K_0 is free, K_1 ... are not
    floor = model
    if method == "match-dc" and model.time == "discrete":
        floor = shifted(model)
    least = exact_singular_values(floor)[order]
    assert error >= least * (1 - GRID) - slack


@pytest.mark.parametrize(("model", "order", "method"), CASES)
def test_singular_values_reported_with_a_reduced_model(model, order, method):
    """Those of the model; of K_1, K_2, ... where the direct part is the reduction's own."""
    found = rv.rational.reduce(model, order, method).singular_values
    candidates = [exact_singular_values(model)]
    if method == "match-dc" and model.time == "discrete":
        candidates.append(exact_singular_values(shifted(model)))
    slack = rounding(model) * found[0]
    assert any(np.abs(found - wanted).max() <= slack for wanted in candidates)


@pytest.mark.parametrize(("model", "order", "method"), CASES)
def test_the_dc_gain(model, order, method):
    """Matched by match-dc to rounding; by truncation within its bound only."""
    reduced = rv.rational.reduce(model, order, method)
    wanted, found = dc_gain(model), dc_gain(reduced.state_space)
    sigma = reduced.singular_values
    bound = rounding(model) * (abs(wanted) + sigma[0] * model.order)
    if method == "truncate":
        assert abs(found - wanted) <= reduced.error_bound + bound
        assert np.asarray(reduced.state_space.direct).item() == np.asarray(model.direct).item()
    else:
        condition = sigma[0] / sigma[order - 1]
        assert abs(found - wanted) <= bound * condition


def test_truncation_does_not_match_the_dc_gain():
    """So that the comparison above means something."""
    model = MODELS["random-8-continuous"]
    gap = abs(dc_gain(rv.rational.reduce(model, 3).state_space) - dc_gain(model))
    assert gap > 1e4 * rounding(model) * abs(dc_gain(model))


@pytest.mark.parametrize("time", TIMES)
def test_truncation_is_the_corner_of_the_balanced_form(time):
    model = random_model(6, time)
    form = rv.rational.balance(model).state_space
    reduced = rv.rational.reduce(model, 3, "truncate").state_space
    sigma = exact_singular_values(model)
    points = points_of(model)[::20]
    corner = rv.ssm.StateSpace(form.A[:3, :3], form.B[:3], form.C[:3], form.direct, time=time)
    bound = rounding(model) * sigma[0] / sigma[-1] * np.abs(response(model, points)).max()
    assert_within(response(reduced, points), response(corner, points), bound)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("time", TIMES)
def test_nothing_to_reduce(time, method):
    """At full order the model is the same function, and the bound is 0."""
    model = random_model(4, time)
    reduced = rv.rational.reduce(model, 4, method)
    points = points_of(model)[::20]
    wanted = response(model, points)
    sigma = exact_singular_values(model)
    bound = rounding(model) * sigma[0] / sigma[-1] * np.abs(wanted).max()
    assert_within(response(reduced.state_space, points), wanted, bound)
    assert reduced.error_bound == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("time", TIMES)
def test_states_that_do_nothing_are_dropped_exactly(time, method):
    """Two states that the input does not reach, and one that the output does not see."""
    core = random_model(3, time)
    dead = 0.5 if time == "discrete" else -0.5
    a = np.diag([0.0] * 3 + [dead, dead / 2, dead / 3])
    a[:3, :3] = core.A
    a[5, 0] = 0.7  # driven, not seen
    a[1, 3] = 0.4  # seen, not driven
    b = np.concatenate([core.B, [0.0, 0.0, 1.0]])
    c = np.concatenate([core.C, [1.0, -1.0, 0.0]])
    model = rv.ssm.StateSpace(a, b, c, core.direct, time=time)
    reduced = rv.rational.reduce(model, 3, method)
    points = points_of(core)[::20]
    sigma = exact_singular_values(core)
    loss = rounding(model) * sigma[0] / sigma[-1]
    assert_within(
        response(reduced.state_space, points),
        response(core, points),
        10 * loss * (np.abs(response(core, points)).max() + sigma[0]),
    )
    # the square root of what rounding leaves of three zero eigenvalues would be 1e-8
    assert np.abs(reduced.singular_values[3:]).max(initial=0) <= 10 * loss * sigma[0]
    assert reduced.error_bound <= 60 * loss * sigma[0]


@pytest.mark.parametrize("method", METHODS)
def test_reduced_transfer_functions(method):
    b, a = oracle.model(6)
    tf = rv.rational.TransferFunction(b, a, 0.4)
    model = tf.to_companion()
    reduced = rv.rational.reduce(tf, 3, method)
    points = points_of(model)
    error = np.abs(response(model, points) - response(reduced.state_space, points)).max()
    assert error <= reduced.error_bound * (1 + rounding(model))
    if method == "match-dc":
        gap = abs(dc_gain(reduced.state_space) - dc_gain(model))
        assert gap <= rounding(model) * (abs(dc_gain(model)) + reduced.singular_values[0]) * 10


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_reductions_of_an_all_pass_model(method, order):
    """All singular values are 1: nothing tells which states to keep, the bound counts each."""
    model = malmquist(5)
    reduced = rv.rational.reduce(model, order, method)
    points = points_of(model)
    error = np.abs(response(model, points) - response(reduced.state_space, points)).max()
    slack = rounding(model) * 5
    assert reduced.state_space.is_stable()
    assert_within(reduced.error_bound, 2.0 * (5 - order), slack)
    assert 1 - GRID - slack <= error <= reduced.error_bound + slack


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1e9, 1e200])
def test_the_scale_of_inputs_and_outputs_is_only_a_factor(scale):
    """Of C alone in the values, of B against C in the coordinates."""
    model = random_model(4, "discrete")
    wanted = rv.rational.hankel_singular_values(model)
    slack = 4 * rounding(model) * wanted[0]
    louder = rv.ssm.StateSpace(model.A, model.B, scale * model.C)
    assert_within(rv.rational.hankel_singular_values(louder) / scale, wanted, slack)
    shifted_gain = rv.ssm.StateSpace(model.A, model.B * scale, model.C / scale)
    balanced = rv.rational.balance(shifted_gain)
    assert_within(balanced.singular_values, wanted, slack)
    size = np.linalg.norm(balanced.state_space.B) / np.linalg.norm(balanced.state_space.C)
    assert abs(size - 1) <= slack / wanted[-1]  # one input, one output: |b_i| = |c_i|


def test_models_that_do_nothing():
    """C = 0: all singular values are 0, the reduced model too, and there is nothing to balance."""
    model = rv.ssm.StateSpace(np.diag([0.9, 0.5]), np.ones(2), np.zeros(2))
    assert not rv.rational.hankel_singular_values(model).any()
    reduced = rv.rational.reduce(model, 1)
    assert reduced.error_bound == 0
    assert not response(reduced.state_space, [1.0, 1j]).any()
    with pytest.raises(rv.InvalidArgument, match="balanced"):
        rv.rational.balance(model)


def test_a_pole_at_zero_cannot_be_read_after_the_update():
    """C_r A_r^-1 does not exist: the reduction that would need it is refused, not infinite."""
    tf = rv.rational.TransferFunction([1.0, 2.0], [0.0, 0.0])
    with pytest.raises(rv.InvalidArgument, match="truncate"):
        rv.rational.reduce(tf, 1, "match-dc")


def test_the_default_method_truncates():
    model = random_model(4, "discrete")
    one, two = rv.rational.reduce(model, 2), rv.rational.reduce(model, 2, "truncate")
    assert np.array_equal(one.state_space.A, two.state_space.A)


def test_hippo_models_reduce_with_their_bound():
    """LegS of order 12 at step 0.2, read by all ones: the bound holds where sigmas are tiny."""
    model = legs_bilinear(12, 0.2)
    points = points_of(model)
    wanted = response(model, points)
    for order in (2, 4, 6):
        reduced = rv.rational.reduce(model, order)
        error = np.abs(response(reduced.state_space, points) - wanted).max()
        slack = rounding(model) * reduced.singular_values[0]
        assert error <= reduced.error_bound + slack
        assert error >= exact_singular_values(model)[order] * (1 - GRID) - slack
