"""Distillation losses and gradients: closed forms, sums over nodes, differences, Monte Carlo."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hippo_support import EPS, assert_bits, assert_within
from test_distill_mixture import ours

import resolvent as rv
from oracles import distill as oracle

D = rv.distill

# Multiples of eps.
SUM = 4  # per term of a sum, relative to the sum of absolute values
EXACT = 64  # an integral that the rule takes exactly, per level, relative to its parts
DIFFERENCE = 64  # over the step of a difference, relative to the values
CUT = 512  # squares of a standard normal beyond the last node of a rule

# Relative to the largest value.
TRUNCATED = 1e-9  # differences of order eight with steps of 1e-2, and oracle nodes, leave this
COARSER = 1e-4  # what the rule of half as many nodes leaves, which is what it states
GRID = 1e-7  # what the rule of nodes that the library finds by itself leaves

#: A mean over independent draws is within so many standard errors.
ERRORS = 6.0
NAMES = ("l1", "l2", "loss")


def schedule(alpha, sigma, weight=None):
    return D.Schedule(alpha, sigma) if weight is None else D.Schedule(alpha, sigma, weight)


LEVELS = oracle.Levels(np.array([1.0, 0.7]), np.array([0.6, 1.3]), np.array([0.25, 0.75]))
ONE = oracle.Levels(np.array([1.0]), np.array([1.0]), np.array([1.0]))


def plan(levels):
    return D.Schedule(levels.alpha, levels.sigma, levels.weight)


def generator(student):
    return D.Generator.mixture(student.weights, student.means, student.factors)


def gaussian(mean, root):
    mean, root = np.atleast_1d(np.asarray(mean, float)), np.atleast_2d(np.asarray(root, float))
    return oracle.Mixture(np.ones(1), mean[None], (root @ root.T)[None])


def affine(mean, factor):
    mean, factor = np.atleast_1d(np.asarray(mean, float)), np.atleast_2d(np.asarray(factor, float))
    return oracle.Student(np.ones(1), mean[None], factor[None])


# A teacher and a student for each kind: few and smooth enough for sums over nodes.
LINE = (
    oracle.Mixture(np.array([0.4, 0.6]), np.array([[-1.5], [1.0]]), np.array([[[0.5]], [[1.2]]])),
    oracle.Student(np.array([0.3, 0.7]), np.array([[-1.0], [2.0]]), np.array([[[0.5]], [[-0.8]]])),
)
PLANE = (
    oracle.Mixture(
        np.array([0.35, 0.65]),
        np.array([[-1.0, 0.5], [1.0, 0.0]]),
        np.array([[[0.8, 0.2], [0.2, 0.6]], [[1.0, -0.3], [-0.3, 0.7]]]),
    ),
    affine([0.4, -0.6], [[0.9, 0.3], [-0.2, 0.7]]),
)
PLANE_GAUSSIAN = (gaussian([0.5, -0.2], [[1.0, 0.0], [0.4, 0.8]]), PLANE[1])
CASES = {"line": LINE, "plane": PLANE, "plane, Gaussian": PLANE_GAUSSIAN}
cases = pytest.mark.parametrize("case", CASES)


@functools.cache
def reference(name):
    """(L1, L2), frozen (2, P) and true (2, P) gradients, by sums over nodes and differences."""
    teacher, student = CASES[name]
    held = oracle.predictor(student.mixture())
    return (
        oracle.conditional_losses(teacher, student, held, LEVELS),
        oracle.frozen_gradients(teacher, student, LEVELS),
        oracle.true_gradients(teacher, student, LEVELS),
    )


def losses(teacher, student, levels=LEVELS, /, **options):
    return D.losses(ours(teacher), generator(student), schedule=plan(levels), **options)


def combined(pair, lam):
    return pair[1] - lam * pair[0]


# ---------------------------------------------------------------------------------------------
# One Gaussian in one dimension: every number has a closed form.


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 1.7, -0.3])
@pytest.mark.parametrize(
    ("s", "theta", "alpha", "sigma"),
    [
        (1.0, 2.0, 1.0, 1.0),
        (1.0, 0.3, 1.0, 1.0),
        (2.0, 0.7, 0.8, 0.6),
        (0.5, -1.3, 0.3, 2.0),
        (1.0, 1.5, 1.0, 0.1),
    ],
)
def test_closed_forms(s, theta, alpha, sigma, lam):
    """The factor of the gradients is 2α²θ/σ²: θ in units of the noise."""
    closed = oracle.Gaussian1d(s, theta, alpha, sigma)
    found = D.losses(
        D.GaussianMixture([1.0], [0.0], [s * s]),
        D.Generator.affine(0.0, theta),
        lam=lam,
        schedule=schedule([alpha], [sigma]),
        method="quadrature",
    )
    # ε_φ and ε_ψ* are (1 − a)x_t/σ and (1 − b)x_t/σ: squares of these are subtracted.
    size = (2 - closed.a - closed.b) ** 2 / (1 - closed.b)
    slope = size * abs(closed.factor) * (1 + abs(lam))
    assert_within([found.l1, found.l2], [closed.value] * 2, EXACT * EPS * size)
    assert_within(found.loss, (1 - lam) * closed.value, EXACT * EPS * size * (1 + abs(lam)))
    for name, value in zip(
        NAMES, (closed.frozen_l1, closed.frozen_l2, closed.frozen(lam)), strict=True
    ):
        assert_within(found.frozen[name], [0.0, value], EXACT * EPS * slope, f"frozen {name}")
    for name, value in zip(NAMES, (closed.true, closed.true, (1 - lam) * closed.true), strict=True):
        assert_within(found.true[name], [0.0, value], EXACT * EPS * slope, f"true {name}")


def test_the_naive_gradient_never_widens():
    """2θ(a − b)²/σ² has the sign of θ: descent shrinks any student, right or wrong."""
    for theta in np.concatenate([np.geomspace(0.05, 20, 13), -np.geomspace(0.05, 20, 5)]):
        found = D.losses(
            D.GaussianMixture([1.0], [0.0], [1.0]),
            D.Generator.affine(0.0, theta),
            schedule=plan(ONE),
        )
        slope = found.frozen["l1"][1] * np.sign(theta)
        assert slope > 0 if abs(abs(theta) - 1) > 0.1 else slope >= 0


@pytest.mark.parametrize("theta", [1.2, 2.0, 5.0, 20.0])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_the_gradient_turns_at_the_threshold(theta, sigma):
    """λ = 1 + (1 − b)/(b − a): below it a student that is too wide shrinks, above it grows."""
    edge = oracle.threshold(1.0, theta, sigma)
    slopes = [
        D.losses(
            D.GaussianMixture([1.0], [0.0], [1.0]),
            D.Generator.affine(0.0, theta),
            lam=lam,
            schedule=schedule([1.0], [sigma]),
        ).frozen["loss"][1]
        for lam in (edge * (1 - 1e-6), edge * (1 + 1e-6))
    ]
    assert slopes[0] > 0 > slopes[1]


# ---------------------------------------------------------------------------------------------
# Mixtures and two dimensions.


@cases
def test_values(case):
    teacher, student = CASES[case]
    found = losses(teacher, student, lam=0.7)
    assert found.method == "quadrature"
    assert found.lam == 0.7
    expected = reference(case)[0]
    bound = TRUNCATED * expected.max()
    assert_within([found.l1, found.l2], expected, bound + max(found.error["l1"], found.error["l2"]))
    assert_within(found.loss, found.l2 - 0.7 * found.l1, EXACT * EPS * expected.max())
    assert found.error["l1"] <= COARSER * expected.max()  # the default rule is a fine one


@cases
def test_frozen_gradients(case):
    teacher, student = CASES[case]
    found = losses(teacher, student, lam=0.7)
    expected = reference(case)[1]
    bound = TRUNCATED * np.abs(expected).max() + GRID * np.abs(expected).max()
    for name, value in zip(NAMES, (*expected, combined(expected, 0.7)), strict=True):
        assert found.frozen[name].shape == student.parameters.shape
        assert_within(found.frozen[name], value, bound, name)


@cases
def test_true_gradients(case):
    teacher, student = CASES[case]
    found = losses(teacher, student, lam=0.7)
    expected = reference(case)[2]
    bound = TRUNCATED * np.abs(expected).max() + GRID * np.abs(expected).max()
    for name, value in zip(NAMES, (*expected, combined(expected, 0.7)), strict=True):
        assert_within(found.true[name], value, bound, name)


@pytest.mark.parametrize("weight", ["uniform", "noised"])
@cases
def test_one_half_is_unbiased(case, weight):
    """true ∇L1 = true ∇L2 = 2·frozen ∇(L2 − ½L1), and of no other λ."""
    teacher, student = CASES[case]
    found = losses(teacher, student, lam=0.5, weight=weight)
    size = np.abs(found.true["l1"]).max()
    slack = GRID * size
    assert_within(2 * found.frozen["loss"], found.true["l1"], slack)
    assert_within(2 * found.frozen["loss"], found.true["l2"], slack)
    for lam in (0.0, 1.0):
        other = losses(teacher, student, lam=lam, weight=weight)
        assert np.abs(2 * other.frozen["loss"] - found.true["l1"]).max() > 1e-2 * size


def test_a_held_student_of_its_own():
    """Any predictor may stand for the student: the losses are those with it held, true is None."""
    teacher, student = LINE
    other = oracle.Student(student.weights, student.means + 0.3, 1.2 * student.factors)
    found = losses(teacher, student, student=D.student_optimal(generator(other)))
    held = oracle.predictor(other.mixture())
    expected = oracle.conditional_losses(teacher, student, held, LEVELS)
    assert_within([found.l1, found.l2], expected, 1e-8)
    assert abs(found.l1 - found.l2) > 0.01  # not at ψ*


def test_the_teacher_as_student_loses_nothing():
    teacher, student = LINE
    found = losses(teacher, student, student=D.teacher(ours(teacher)))
    assert_within([found.l1, found.l2, found.loss], [0, 0, 0], EXACT * EPS)
    same = generator(oracle.Student(teacher.weights, teacher.means, np.sqrt(teacher.covariances)))
    found = D.losses(ours(teacher), same, schedule=plan(LEVELS))
    assert_within([found.l1, found.l2], [0, 0], EXACT * EPS)
    for name in NAMES:
        assert_within(found.true[name], np.zeros(4), EXACT * EPS, name)


def test_levels_are_averaged():
    teacher, student = LINE
    each = [
        losses(teacher, student, oracle.Levels(LEVELS.alpha[[i]], LEVELS.sigma[[i]], np.ones(1)))
        for i in range(2)
    ]
    both = losses(teacher, student)
    assert_within(both.l1, 0.25 * each[0].l1 + 0.75 * each[1].l1, EXACT * EPS * both.l1)
    expected = 0.25 * each[0].frozen["l2"] + 0.75 * each[1].frozen["l2"]
    assert_within(both.frozen["l2"], expected, EXACT * EPS * np.abs(expected).max())


@pytest.mark.parametrize("dim", [1, 2])
def test_singular_students_have_losses(dim):
    """A student that has collapsed onto a point."""
    teacher = gaussian(np.zeros(dim), np.eye(dim))
    student = affine(np.full(dim, 0.5), np.zeros((dim, dim)))
    found = losses(teacher, student, ONE)
    # ε_φ − ε_ψ* = σx/(1 + σ²) − (x − m)/σ, x = m + ε, σ = 1: −ε/2 + m/2.
    expected = dim * (0.25 + 0.25 * 0.25)
    assert_within([found.l1, found.l2], [expected] * 2, CUT * EPS * expected)
    # For the factor the gradient vanishes by symmetry.
    assert_within(found.true["l1"][dim:], np.zeros(dim * dim), CUT * EPS)


# ---------------------------------------------------------------------------------------------
# Weights.


def damped(x0, xt, alpha, sigma):
    """A weight that looks at x_t only: the one that is called "noised"."""
    return 1 / (1 + np.mean(np.asarray(xt) ** 2, axis=-1))


def of_sample(teacher):
    """The one that is called "sample"."""
    return oracle.reconstruction_weight(teacher, 0.1)


@cases
def test_weights_of_the_noised_sample(case):
    """Value and gradients, which go through the weight."""
    teacher, student = CASES[case]

    def weight(xt, alpha, sigma):
        return damped(None, xt, alpha, sigma)

    found = losses(teacher, student, weight="noised")
    held = oracle.predictor(student.mixture())
    expected = oracle.conditional_losses(teacher, student, held, LEVELS, weight)
    assert_within([found.l1, found.l2], expected, GRID * expected[0])
    frozen = oracle.frozen_gradients(teacher, student, LEVELS, weight)
    for name, value in zip(("l1", "l2"), frozen, strict=True):
        assert_within(found.frozen[name], value, GRID * np.abs(frozen).max(), name)
    if case == "line":
        true = oracle.true_gradients(teacher, student, LEVELS, weight)
        for name, value in zip(("l1", "l2"), true, strict=True):
            assert_within(found.true[name], value, GRID * np.abs(true).max(), name)


def test_a_callable_weight_is_held():
    """The same values as by name; the frozen gradient does not go through it."""
    teacher, student = LINE
    named, given = (losses(teacher, student, weight=w) for w in ("noised", damped))
    bound = given.error["l1"] + named.error["l1"] + GRID * named.l1
    assert_within([given.l1, given.l2], [named.l1, named.l2], bound)
    held = oracle.predictor(student.mixture())

    def value(parameters):
        moved = student.at(parameters)
        return oracle.joint_losses(teacher, moved, held, LEVELS, damped, base=student)

    gradients = oracle.difference_gradient(value, student.parameters)
    for name, expected in zip(("l1", "l2"), gradients, strict=True):
        assert_within(given.frozen[name], expected, GRID * np.abs(gradients).max(), name)


@pytest.mark.parametrize("weight", ["uniform", "noised"])
@cases
def test_identity_of_the_named_weights(case, weight):
    found = losses(*CASES[case], weight=weight)
    assert found.l1 > 0.01
    assert abs(found.l2 - found.l1) <= GRID * found.l1


@pytest.mark.parametrize("weight", ["uniform", "noised"])
def test_identity_by_sampling(weight):
    teacher = oracle.random_mixture(3, 3, seed=1, spread=1.0)
    student = affine([0.3, -0.2, 0.5], 0.8 * np.eye(3) + 0.2)
    found = losses(teacher, student, weight=weight, samples=20_000)
    assert found.method == "monte-carlo"
    assert abs(found.l2 - found.l1) <= ERRORS * np.hypot(found.error["l1"], found.error["l2"])


@functools.cache
def by_the_sample(name):
    return losses(*CASES[name], weight="sample")


@pytest.mark.parametrize("case", ["line", "plane"])
def test_the_sample_weight_breaks_the_identity(case):
    """By more than the errors of either."""
    found = by_the_sample(case)
    margin = abs(found.l2 - found.l1)
    assert margin > 0.05 * found.l1
    assert margin > 2 * np.hypot(found.error["l1"], found.error["l2"])


@functools.cache
def of_sample_weight():
    """L1 and L2 of LINE with the weight "sample", and gradients (2, P) with the weight held."""
    teacher, student = LINE
    held = oracle.predictor(student.mixture())
    rule = oracle.kinked_nodes(teacher, 0.1)

    def value(parameters):
        moved = student.at(parameters)
        return oracle.joint_losses(teacher, moved, held, LEVELS, of_sample(teacher), student, rule)

    return value(student.parameters), oracle.difference_gradient(value, student.parameters)


@pytest.mark.parametrize("method", ["quadrature", "monte-carlo"])
def test_the_sample_weight_against_sums_over_nodes(method):
    """Within the stated errors, which a kink of the weight makes larger than elsewhere."""
    found = by_the_sample("line")
    if method == "monte-carlo":
        found = losses(*LINE, weight="sample", method=method)
    assert found.method == method
    expected, gradients = of_sample_weight()
    many = ERRORS if method == "monte-carlo" else 1
    left = GRID * expected[0]
    assert_within(found.l1, expected[0], many * found.error["l1"] + left)
    assert_within(found.l2, expected[1], many * found.error["l2"] + left)
    left = GRID * np.abs(gradients).max()
    for name, slope in zip(("l1", "l2"), gradients, strict=True):
        # Of the whole gradient: where an entry meets the kink is a matter of luck.
        bound = many * found.error["frozen"][name].max() + left
        assert_within(found.frozen[name], slope, bound, name)
        assert bound < 0.1 * np.abs(gradients).max()


def test_the_sample_weight_in_the_plane():
    """Against sampling of our own: values only."""
    teacher, student = PLANE
    found = by_the_sample("plane")
    held, weight = oracle.predictor(student.mixture()), of_sample(teacher)
    means, errors = oracle.monte_carlo_losses(
        teacher, student, held, LEVELS, weight, samples=100_000, seed=1
    )
    assert_within(found.l1, means[0], ERRORS * errors[0] + found.error["l1"])
    assert_within(found.l2, means[1], ERRORS * errors[1] + found.error["l2"])
    assert_within(found.l2 - found.l1, means[2], ERRORS * errors[2] + found.error["l2"])


@pytest.mark.parametrize("weight", ["noised", "sample"])
def test_weights_by_sampling_in_three_dimensions(weight):
    """Against sampling of our own."""
    teacher = oracle.random_mixture(2, 3, seed=1, spread=1.0)
    student = affine([0.3, -0.2, 0.5], 0.8 * np.eye(3) + 0.2)
    found = losses(teacher, student, weight=weight, samples=20_000)
    given = damped if weight == "noised" else of_sample(teacher)
    held = oracle.predictor(student.mixture())
    means, errors = oracle.monte_carlo_losses(
        teacher, student, held, LEVELS, given, samples=100_000, seed=1
    )
    assert_within(found.l1, means[0], ERRORS * np.hypot(errors[0], found.error["l1"]))
    assert_within(found.l2, means[1], ERRORS * np.hypot(errors[1], found.error["l2"]))


# ---------------------------------------------------------------------------------------------
# Stated errors.


def flat(found):
    """All values and gradients as one vector, and their stated errors."""
    values = [np.atleast_1d(v) for v in (found.l1, found.l2, found.loss)]
    errors = [np.atleast_1d(found.error[n]) for n in NAMES]
    return np.concatenate(values), np.concatenate(errors)


@pytest.mark.parametrize("nodes", [33, 40, 48, 64, 96])
@pytest.mark.parametrize("case", ["line", "plane"])
def test_quadrature_states_an_honest_error(case, nodes):
    """Against a much finer rule of our own, from coarse rules to fine ones."""
    found = losses(*CASES[case], nodes=nodes, method="quadrature")
    expected = reference(case)[0]
    for name, value in zip(("l1", "l2"), expected, strict=True):
        miss = abs(getattr(found, name) - value)
        assert miss <= found.error[name] + TRUNCATED * value


def test_finer_rules_have_smaller_errors():
    coarse, fine = (losses(*LINE, nodes=n, method="quadrature").error["l1"] for n in (33, 96))
    assert fine < 1e-2 * coarse


@pytest.mark.parametrize("case", ["line", "plane"])
def test_sampling_agrees_with_quadrature(case):
    found = losses(*CASES[case], method="monte-carlo", samples=40_000)
    assert found.method == "monte-carlo"
    values, frozen, true = reference(case)
    assert_within(found.l1, values[0], ERRORS * found.error["l1"])
    assert_within(found.l2, values[1], ERRORS * found.error["l2"])
    exact = losses(*CASES[case], method="quadrature")
    for kind, expected in (("frozen", frozen), ("true", true)):
        for name, value in zip(("l1", "l2"), expected, strict=True):
            errors = ERRORS * found.error[kind][name]
            assert_within(getattr(found, kind)[name], value, errors, f"{kind} {name}")
            assert_within(getattr(exact, kind)[name], getattr(found, kind)[name], errors)


SPREAD_SAMPLES = 1000
RUNS = 30


@functools.cache
def runs(case):
    return [
        losses(*CASES[case], method="monte-carlo", samples=SPREAD_SAMPLES, seed=seed)
        for seed in range(RUNS)
    ]


@functools.cache
def sampled_spread(case):
    """Standard deviations over seeds of every gradient."""
    return {
        (kind, name): np.std([getattr(run, kind)[name] for run in runs(case)], axis=0, ddof=1)
        for kind in ("frozen", "true")
        for name in NAMES
    }


@pytest.mark.parametrize("case", ["line", "plane"])
def test_standard_errors_are_those_of_repeated_runs(case):
    """A spread of 30 runs is known to 1/√58; four times that is allowed."""
    values = np.array([flat(run)[0] for run in runs(case)])
    stated = np.sqrt(np.mean([flat(run)[1] ** 2 for run in runs(case)], axis=0))
    ratio = values.std(axis=0, ddof=1) / stated
    allowed = 4 / np.sqrt(2 * (RUNS - 1))
    # λ = 1: at ψ* the loss is a difference of equal means.
    assert (np.abs(ratio - 1) < allowed).all(), ratio
    means = np.array([*reference(case)[0], 0.0])
    assert_within(values.mean(axis=0), means, ERRORS * stated / np.sqrt(RUNS))


@pytest.mark.parametrize("case", ["line"])
def test_standard_errors_of_gradients(case):
    for kind in ("frozen", "true"):
        for name in NAMES:
            stated = np.sqrt(np.mean([run.error[kind][name] ** 2 for run in runs(case)], axis=0))
            ratio = sampled_spread(case)[kind, name] / stated
            assert (np.abs(ratio - 1) < 4 / np.sqrt(2 * (RUNS - 1))).all(), (kind, name, ratio)


@pytest.mark.parametrize("dim", [3, 5])
def test_sampling_above_two_dimensions(dim):
    """Gaussians: L1 = Σ over a linear map of a Gaussian, in closed form."""
    rng = np.random.default_rng(dim)
    teacher = gaussian(0.3 * rng.standard_normal(dim), np.eye(dim) + 0.2 * np.ones((dim, dim)))
    student = affine(0.3 * rng.standard_normal(dim), 0.9 * np.eye(dim) + 0.1)
    found = losses(teacher, student, ONE, samples=40_000)
    assert found.method == "monte-carlo"

    def value(parameters, held):
        """E‖M x + c‖² at samples of the student, M x + c the difference of the predictors."""
        moved = student.at(parameters).mixture().diffuse(1.0, 1.0)
        goal, psi = teacher.diffuse(1.0, 1.0), held.mixture().diffuse(1.0, 1.0)
        P, Q = np.linalg.inv(goal.covariances[0]), np.linalg.inv(psi.covariances[0])
        M, c = P - Q, Q @ psi.means[0] - P @ goal.means[0]
        at = M @ moved.means[0] + c
        return np.array(at @ at + np.trace(M @ moved.covariances[0] @ M.T))

    start = student.parameters
    assert_within(found.l1, value(start, student), ERRORS * found.error["l1"])
    frozen = oracle.difference_gradient(lambda p: value(p, student), start)
    true = oracle.difference_gradient(lambda p: value(p, student.at(p)), start)
    for kind, expected in (("frozen", frozen), ("true", true)):
        errors = found.error[kind]["l1"]
        assert np.linalg.norm(errors) < 0.05 * np.linalg.norm(expected)
        # Antithetic samples leave a linear function of them no error.
        bound = ERRORS * errors + SUM * 40_000 * EPS * np.abs(expected).max()
        assert_within(getattr(found, kind)["l1"], expected, bound, kind)


def test_sampling_depends_on_the_seed_alone(restore_threads):
    first = losses(*LINE, method="monte-carlo", samples=3000, seed=4)
    rv.set_threads(2)
    again = losses(*LINE, method="monte-carlo", samples=3000, seed=4)
    other = losses(*LINE, method="monte-carlo", samples=3000, seed=5)
    assert_bits(flat(again)[0], flat(first)[0])
    assert_bits(again.frozen["loss"], first.frozen["loss"])
    assert other.l1 != first.l1


# ---------------------------------------------------------------------------------------------
# Predictors and fitted students.


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.5), (0.3, 2.0)])
@pytest.mark.parametrize("case", ["line", "plane"])
def test_predictors(case, alpha, sigma):
    """Values −σ∇log p_t, jacobians their derivatives."""
    teacher, student = CASES[case]
    rng = np.random.default_rng(0)
    for predictor, mixture in (
        (D.teacher(ours(teacher)), teacher),
        (D.student_optimal(generator(student)), student.mixture()),
    ):
        x = rng.standard_normal((2, 3, mixture.dim))
        noised = mixture.diffuse(alpha, sigma)
        flat_x = x.reshape(-1, mixture.dim)
        exact = [oracle.precise(noised, p) for p in flat_x]
        bound = oracle.rounding(noised, flat_x)
        slopes = -sigma * np.array([e[1] for e in exact])
        curved = -sigma * np.array([e[2] for e in exact])
        found = predictor(x, alpha, sigma)
        assert_within(found, slopes.reshape(x.shape), EXACT * EPS * sigma * bound[1].max())
        found = predictor.jacobian(x, alpha, sigma)
        expected = curved.reshape(*x.shape, mixture.dim)
        assert_within(found, expected, EXACT * EPS * sigma * bound[2].max())


def test_fitting_starts_at_the_teacher():
    teacher, student = LINE
    start = D.teacher(ours(teacher))
    fitted = D.student_fitted(generator(student), plan(LEVELS), 0, start=start)
    x = np.random.default_rng(0).standard_normal((20, 1))
    for alpha, sigma, _ in LEVELS:
        expected = start(x, alpha, sigma)
        assert_within(fitted(x, alpha, sigma), expected, EXACT * EPS * np.abs(expected).max())
        expected = start.jacobian(x, alpha, sigma)
        found = fitted.jacobian(x, alpha, sigma)
        assert_within(found, expected, EXACT * EPS * np.abs(expected).max())
    found = losses(teacher, student, student=fitted)
    assert_within([found.l1, found.l2], [0, 0], EXACT * EPS)
    assert found.true is None


@pytest.mark.parametrize("case", ["line", "plane, Gaussian"])
def test_the_gap_falls_with_the_steps(case):
    """E‖ε_ψ − ε_ψ*‖²; before the first step it is L1, teacher against student."""
    teacher, student = CASES[case]
    gaps = [
        D.student_fitted(
            generator(student), plan(LEVELS), steps, start=D.teacher(ours(teacher))
        ).gap(generator(student))
        for steps in (0, 3, 30, 300)
    ]
    assert_within(gaps[0], reference(case)[0][0], 1e-6 * gaps[0])
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] >= 0


def test_one_component_is_learnt_completely():
    """The optimal predictor of an affine student is in the family that is fitted."""
    teacher, student = PLANE_GAUSSIAN
    fitted = D.student_fitted(
        generator(student), plan(LEVELS), 1000, start=D.teacher(ours(teacher)), seed=1
    )
    first = reference("plane, Gaussian")[0][0]
    assert fitted.gap(generator(student)) < 1e-2 * first


def test_fitted_jacobians_are_derivatives():
    teacher, student = LINE
    fitted = D.student_fitted(generator(student), plan(LEVELS), 20, start=D.teacher(ours(teacher)))
    alpha, sigma = LEVELS.alpha[0], LEVELS.sigma[0]
    for point in ([0.3], [-2.0]):
        slope = oracle.difference_gradient(lambda p: fitted(p, alpha, sigma), point)
        bound = DIFFERENCE * EPS / oracle.DIFFERENCE_STEP * 10
        assert_within(fitted.jacobian(np.array(point), alpha, sigma), slope, bound)


def test_a_fitted_student_has_frozen_gradients():
    """Differences of the losses with the fitted predictor held."""
    teacher, student = LINE
    fitted = D.student_fitted(generator(student), plan(LEVELS), 20, start=D.teacher(ours(teacher)))
    found = losses(teacher, student, student=fitted)
    assert found.true is None

    def value(parameters):
        return oracle.conditional_losses(teacher, student.at(parameters), fitted, LEVELS)

    assert_within([found.l1, found.l2], value(student.parameters), 1e-6)
    gradients = oracle.difference_gradient(value, student.parameters)
    for name, expected in zip(("l1", "l2"), gradients, strict=True):
        assert_within(found.frozen[name], expected, 1e-6 * np.abs(gradients).max(), name)


def test_losses_show_themselves():
    found = losses(*LINE)
    assert len(repr(found)) < 300
    with pytest.raises(AttributeError):
        found.l1 = 0.0
