"""Distances, whole runs against plain loops and closed forms, phase diagrams, Ctrl-C."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from hippo_support import EPS, assert_bits, assert_within
from interruption import printed_by_a_stopped_call
from matplotlib.figure import Figure
from test_distill_losses import LEVELS, LINE, ONE, PLANE, affine, gaussian, generator, plan
from test_distill_mixture import ours

import resolvent as rv
from oracles import distill as oracle

D = rv.distill

# Multiples of eps.
ROOT = 64  # of a squared distance, relative to its parts, times a dimension
PATH = 64  # per step: how far two orders of the same operations may drift apart

# Relative.
QUANTILES = 2e-7  # of W₂ in one dimension, of the spread
QUADRATURE = 1e-6  # promised of the gradients of a run

DATA = gaussian(0.0, 1.0)


def distilled(theta, lam=1.0, *, mean=0.0, teacher=DATA, levels=ONE, **options):
    return D.distill(ours(teacher), D.Generator.affine(mean, theta), lam, plan(levels), **options)


def widths(run):
    return run.parameters[:, 1]


def steps_until_near(run, s=1.0, within=0.01):
    """The first step from which the width stays that near."""
    far = np.abs(widths(run) - s) > within * s
    assert not far[-1]
    return 1 + int(np.flatnonzero(far)[-1])


# ---------------------------------------------------------------------------------------------
# Distances.


@pytest.mark.parametrize("dim", [1, 2, 4, 8])
def test_w2_of_gaussians(dim):
    """By the matrix square root; the distance of covariances, and of means."""
    rng = np.random.default_rng(dim)
    first, second = (
        gaussian(rng.standard_normal(dim), np.linalg.cholesky(oracle.random_covariance(dim, rng)))
        for _ in range(2)
    )
    expected = oracle.gaussian_w2(
        first.means[0], first.covariances[0], second.means[0], second.covariances[0]
    )
    size = 1 + np.trace(first.covariances[0] + second.covariances[0])
    bound = ROOT * dim * EPS * size / expected
    assert_within(D.wasserstein2(ours(first), ours(second)), expected, bound)
    assert_within(D.wasserstein2(ours(second), ours(first)), expected, bound)
    student = affine(second.means[0], np.linalg.cholesky(second.covariances[0]))
    assert_within(D.wasserstein2(ours(first), generator(student)), expected, bound)


@pytest.mark.parametrize("dim", [1, 3])
def test_w2_to_a_point(dim):
    """√(‖m − p‖² + tr C)."""
    mixture = gaussian(np.arange(dim), np.eye(dim) + 0.2)
    point = affine(np.full(dim, 3.0), np.zeros((dim, dim)))
    square = ((np.arange(dim) - 3.0) ** 2).sum() + np.trace(mixture.covariances[0])
    bound = ROOT * dim * EPS * square
    assert_within(D.wasserstein2(ours(mixture), generator(point)), np.sqrt(square), bound)


def test_w2_does_not_lose_half_of_the_digits():
    """Between nearly equal Gaussians: |θ − s|, not the root of a rounding error."""
    first, second = D.Generator.affine(0.0, 1.0), D.Generator.affine(0.0, 1.0 + 2**-30)
    assert_within(D.wasserstein2(first, second, kind="closed form"), 2.0**-30, ROOT * np.sqrt(EPS))
    assert D.wasserstein2(first, first) <= ROOT * np.sqrt(EPS)


@pytest.mark.parametrize("seed", range(5))
def test_w2_in_one_dimension(seed):
    """By bisection for the quantiles, and panels of probabilities that are halved on demand."""
    first, second = (
        oracle.random_mixture(n, 1, seed=seed + 10 * n, spread=2.0 + seed) for n in (2, 3)
    )
    expected = oracle.quantile_w2(first, second)
    found = D.wasserstein2(ours(first), ours(second))
    spread = np.sqrt(max(first.moments()[1].max(), second.moments()[1].max()))
    assert_within(found, expected, QUANTILES * spread)


def test_quantiles_and_the_closed_form_agree():
    p, q = ours(gaussian(0.3, 1.2)), ours(gaussian(-0.5, 0.4))
    by_quantiles, closed = (D.wasserstein2(p, q, kind=k) for k in ("quantiles", "closed form"))
    assert_within(by_quantiles, closed, QUANTILES)


@pytest.mark.parametrize("dim", [2, 3])
def test_sliced_distance(dim):
    """A translation by m: the root of the mean of (m·u)² is ‖m‖/√d; directions by hand for 2."""
    shift = np.arange(1.0, dim + 1)
    mixture = oracle.random_mixture(2, dim, seed=1)
    moved = oracle.Mixture(mixture.weights, mixture.means + shift, mixture.covariances)
    found = D.wasserstein2(ours(mixture), ours(moved), slices=100)
    expected = np.linalg.norm(shift) / np.sqrt(dim)
    # Equally spaced lines are exact; random ones have the error of a mean of 100.
    allowed = QUANTILES * 10 if dim == 2 else 6 * expected / np.sqrt(100)
    assert_within(found, expected, allowed)
    assert_bits(D.wasserstein2(ours(mixture), ours(moved), slices=100), found)


@pytest.mark.parametrize("case", [LINE, PLANE], ids=["line", "plane"])
def test_fisher_divergence(case):
    teacher, student = case
    expected = oracle.fisher(teacher, student, LEVELS)
    for goal in (ours(teacher), D.teacher(ours(teacher))):
        found = D.fisher_divergence(goal, generator(student), plan(LEVELS))
        assert_within(found, expected, 10 * QUADRATURE * expected)
    sampled = D.fisher_divergence(
        ours(teacher), generator(student), plan(LEVELS), method="monte-carlo"
    )
    assert 0 < abs(sampled - expected) < 0.05 * expected


def test_fisher_divergence_of_one_gaussian():
    closed = oracle.Gaussian1d(0.8, 1.7, 0.7, 0.4)
    found = D.fisher_divergence(
        ours(gaussian(0.0, 0.8)), D.Generator.affine(0.0, 1.7), D.Schedule([0.7], [0.4])
    )
    assert_within(found, closed.fisher, ROOT * EPS / (1 - closed.b))


# ---------------------------------------------------------------------------------------------
# Runs in one dimension: everything is known.


@pytest.mark.parametrize("levels", [ONE, LEVELS], ids=["one level", "two levels"])
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 1.2])
@pytest.mark.parametrize("theta", [0.4, 2.0, -1.5])
def test_descent_step_by_step(theta, lam, levels):
    """θ ← θ − η(2α²θ/σ²)(b − a)[(1 − b) + (1 − λ)(b − a)], averaged over the levels."""
    run = distilled(theta, lam, levels=levels, steps=40, learning_rate=0.3)
    path = oracle.euler(1.0, theta, levels, lam, 0.3, 40)
    assert_within(widths(run), path, PATH * 40 * EPS * np.abs(path).max())
    assert_within(run.parameters[:, 0], np.zeros(41), PATH * 40 * EPS)


def test_naive_descent_step_by_step():
    run = distilled(0.6, objective="naive", steps=50, learning_rate=0.2)
    path = oracle.euler(1.0, 0.6, ONE, 1.0, 0.2, 50, objective="naive")
    assert_within(widths(run), path, PATH * 50 * EPS)
    closed = [oracle.Gaussian1d(1.0, width).value for width in path]
    assert_within(run.loss, closed, PATH * 50 * EPS)


def test_the_trajectory_is_measured():
    """Loss, Fisher divergence and W₂ of every step, in closed form."""
    run = distilled(2.0, 0.5, mean=1.0, levels=LEVELS, steps=30)
    assert run.parameters.shape == (31, 2)
    assert run.w2_kind == "closed form"
    mean, theta = run.parameters.T
    assert_within(run.w2, np.hypot(mean, np.abs(theta) - 1), ROOT * np.sqrt(EPS))
    for i in (0, 1, 15, 30):
        student = affine(mean[i], theta[i])
        fisher = oracle.fisher(DATA, student, LEVELS)
        assert_within(run.fisher[i], fisher, QUADRATURE * fisher + ROOT * EPS)
        held = oracle.predictor(student.mixture())
        l1, l2 = oracle.conditional_losses(DATA, student, held, LEVELS)
        assert_within(run.loss[i], l2 - 0.5 * l1, QUADRATURE * l1 + ROOT * EPS)


@pytest.mark.parametrize("theta", [0.3, 0.6, -0.5])
def test_the_naive_loss_collapses(theta):
    run = distilled(theta, objective="naive", steps=150, learning_rate=0.5)
    assert run.outcome == "collapsed"
    assert abs(widths(run)[-1]) < 0.06
    assert (np.diff(np.abs(widths(run))) <= 0).all()


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("theta", [0.3, 2.5])
def test_these_converge(theta, lam):
    run = distilled(theta, lam, mean=0.7, steps=60)
    assert run.outcome == "converged"
    assert_within(run.final.parameters, [0.0, 1.0], 0.02)
    assert run.fisher[-1] < 1e-3 * run.fisher[0]
    assert run.w2[-1] < 0.02
    assert_bits(run.final.parameters, run.parameters[-1])


def test_one_is_faster_than_one_half_than_zero_for_a_narrow_student():
    """The slopes are θ(a − b) times 1 − b, 1 − (a + b)/2 and 1 − a."""
    count = [
        steps_until_near(distilled(0.3, lam, steps=100, learning_rate=0.3))
        for lam in (0.0, 0.5, 1.0)
    ]
    assert count[2] < count[1] < count[0]


def test_the_order_is_reversed_for_a_wide_student():
    count = [
        steps_until_near(distilled(2.0, lam, steps=80, learning_rate=0.5))
        for lam in (0.0, 0.5, 1.0)
    ]
    assert count[0] < count[1] < count[2]


@pytest.mark.parametrize("theta", [1.5, 2.0, 4.0])
def test_a_wide_student_diverges_above_the_threshold(theta):
    edge = oracle.threshold(1.0, theta)
    above = distilled(theta, 1.05 * edge, steps=600)
    assert above.outcome == "diverged"
    assert (np.diff(widths(above)) > 0).all()
    assert np.isfinite(above.parameters[:-1]).all()
    assert len(above.fisher) == len(above.w2) == len(above.loss) == len(above.parameters) <= 601
    below = distilled(theta, 0.95 * edge, steps=100)
    assert below.outcome != "diverged"
    assert abs(widths(below)[-1]) < theta


def test_a_narrow_student_needs_no_threshold():
    """λ above what a wide student of twice the width could bear."""
    run = distilled(0.5, 2.0, steps=100, learning_rate=0.3)
    assert run.outcome == "converged"


def test_too_few_steps_are_unfinished():
    run = distilled(2.5, 1.0, steps=2)
    assert run.outcome == "unfinished"
    assert run.steps == 2


def test_no_steps():
    run = distilled(2.0, 1.0, steps=0)
    assert run.parameters.shape == (1, 2)
    assert_within(run.w2, [1.0], ROOT * np.sqrt(EPS))


def test_the_units_of_the_data_do_not_matter():
    """Data, student and noise ten times as large: the same path, ten times as large."""
    small = distilled(2.0, 0.5, mean=0.5, steps=30)
    levels = oracle.Levels(ONE.alpha, 10 * ONE.sigma, ONE.weight)
    large = distilled(20.0, 0.5, mean=5.0, steps=30, teacher=gaussian(0.0, 10.0), levels=levels)
    assert_within(large.parameters, 10 * small.parameters, PATH * 30 * EPS * 20)


def test_adam_converges():
    run = distilled(2.0, 1.0, mean=0.5, steps=200, optimizer="adam")
    assert run.outcome == "converged"
    assert_within(run.final.parameters, [0.0, 1.0], 0.05)


def test_a_fitted_predictor_converges_too():
    """A few steps of regression before each step of the generator."""
    run = distilled(0.5, 1.0, mean=0.5, steps=80, psi_steps=5)
    assert run.psi_steps == 5
    assert_within(run.final.parameters, [0.0, 1.0], 0.1)
    exact = distilled(0.5, 1.0, mean=0.5, steps=80)
    assert np.abs(run.parameters - exact.parameters).max() > 1e-3


# ---------------------------------------------------------------------------------------------
# Mixtures, two dimensions, sampling.


def test_a_mixture_in_one_dimension():
    teacher, student = LINE
    run = D.distill(ours(teacher), generator(student), 1.0, plan(LEVELS), steps=60)
    assert run.w2_kind == "quantiles"
    assert run.fisher[-1] < 0.1 * run.fisher[0]
    for i in (0, 60):
        now = student.at(run.parameters[i])
        assert_within(
            run.w2[i], oracle.quantile_w2(teacher, now.mixture()), QUANTILES * 4, f"W₂ {i}"
        )
        fisher = oracle.fisher(teacher, now, LEVELS)
        assert_within(run.fisher[i], fisher, 1e-3 * fisher + QUADRATURE)


def test_the_first_step_in_the_plane():
    """−η·frozen ∇(L2 − λL1), η in units of the variance of the data."""
    teacher, student = PLANE
    run = D.distill(
        ours(teacher), generator(student), 0.7, plan(LEVELS), steps=1, learning_rate=0.1
    )
    frozen = oracle.frozen_gradients(teacher, student, LEVELS)
    unit = np.trace(teacher.moments()[1]) / 2
    expected = student.parameters - 0.1 * unit * (frozen[1] - 0.7 * frozen[0])
    assert_within(run.parameters[0], student.parameters, 0)
    assert_within(run.parameters[1], expected, 1e-3 * 0.1 * unit * np.abs(frozen).max())


def test_a_plane_is_distilled():
    teacher = gaussian([0.5, -0.2], [[1.0, 0.0], [0.4, 0.8]])
    run = D.distill(ours(teacher), generator(PLANE[1]), 1.0, plan(LEVELS), steps=80)
    assert run.outcome == "converged"
    assert run.w2_kind == "closed form"
    assert run.w2[-1] < 0.05 < run.w2[0]
    covariance = run.final.covariances[0]
    assert_within(covariance, teacher.covariances[0], 0.05)


def test_sampling_in_three_dimensions():
    teacher = gaussian(np.zeros(3), np.eye(3))
    student = generator(affine(np.full(3, 0.5), 0.6 * np.eye(3)))
    run = D.distill(ours(teacher), student, 1.0, plan(ONE), steps=60, samples=2048, seed=1)
    assert run.fisher[-1] < 0.05 * run.fisher[0]
    again = D.distill(ours(teacher), student, 1.0, plan(ONE), steps=60, samples=2048, seed=1)
    other = D.distill(ours(teacher), student, 1.0, plan(ONE), steps=60, samples=2048, seed=2)
    assert_bits(again.parameters, run.parameters)
    assert_bits(again.fisher, run.fisher)
    assert (other.parameters[-1] != run.parameters[-1]).any()


def test_runs_do_not_depend_on_threads(restore_threads):
    teacher = gaussian(np.zeros(3), np.eye(3))
    student = generator(affine(np.full(3, 0.5), 0.6 * np.eye(3)))
    runs = []
    for threads in (1, 2):
        rv.set_threads(threads)
        run = D.distill(ours(teacher), student, 1.0, plan(ONE), steps=5, samples=4096)
        runs.append(run)
    assert_bits(runs[0].parameters, runs[1].parameters)
    assert_bits(runs[0].fisher, runs[1].fisher)


def test_a_run_is_an_object():
    told = []
    run = distilled(2.0, 0.5, steps=4, progress=lambda *state: told.append(state[:2]))
    assert told[-1] == (4, 4)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert (run.lam, run.objective, run.optimizer, run.psi_steps) == (0.5, "sid", "sgd", None)
    assert run.steps == 4
    for i in range(-5, 5):
        assert_bits(run.generator(i).parameters, run.parameters[i])
    assert not run.parameters.flags.writeable
    with pytest.raises(AttributeError):
        run.outcome = "converged"
    assert len(repr(run)) < 300
    assert "<table" in run._repr_html_()
    assert isinstance(run.plot().figure, Figure)
    copy = pickle.loads(pickle.dumps(run))
    assert_bits(copy.w2, run.w2)


# ---------------------------------------------------------------------------------------------
# Phases.

LAMS = np.linspace(0.0, 3.0, 13)
WIDTHS = np.geomspace(0.25, 4.0, 9)


def outcome_names(diagram):
    return np.asarray(diagram.names)[diagram.outcome]


def test_phases_follow_the_threshold():
    """A wide student diverges just where λ > 1 + (1 − b)/(b − a); a narrow one never does."""
    diagram = D.phase_diagram(LAMS, WIDTHS)
    names = outcome_names(diagram)
    assert names.shape == (13, 9)
    for j, width in enumerate(WIDTHS):
        for i, lam in enumerate(LAMS):
            if width <= 1.001:
                expected = "converged"
            else:
                edge = oracle.threshold(1.0, width)
                if abs(lam - edge) < 0.02:
                    continue
                expected = "diverged" if lam > edge else "converged"
            assert names[i, j] == expected, (lam, width)


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_phases_of_other_noise_and_data(sigma):
    """Only ratios count: the data twice as wide, in units of its noise."""
    edge = oracle.threshold(2.0, 3.0, sigma)
    diagram = D.phase_diagram(
        [0.98 * edge, 1.02 * edge], [3.0], teacher_width=2.0, sigma=sigma, steps=20_000
    )
    assert list(outcome_names(diagram)[:, 0]) == ["converged", "diverged"]


def test_the_stated_threshold():
    diagram = D.phase_diagram([1.0], [2.0], teacher_width=1.3, sigma=0.7)
    for width in (1.5, 2.0, 10.0):
        expected = oracle.threshold(1.3, width, 0.7)
        assert_within(diagram.threshold(width), expected, PATH * EPS * expected / (width - 1.3))
    several = diagram.threshold(np.array([1.5, 2.0]))
    assert_bits(several[1], diagram.threshold(2.0))


@pytest.mark.parametrize("steps", [5, 60])
def test_final_widths_are_those_of_a_loop(steps):
    """Each student stops when it is decided, and says at which step that was."""
    lams, start = [0.0, 1.0, 1.9], [0.5, 1.5, 4.0]
    diagram = D.phase_diagram(lams, start, steps=steps, learning_rate=0.5)
    names = outcome_names(diagram)
    for i, lam in enumerate(lams):
        for j, theta in enumerate(start):
            path = oracle.euler(1.0, theta, ONE, lam, 0.5, steps)
            end = diagram.steps[i, j]
            assert end <= steps
            assert end == steps or names[i, j] != "unfinished"
            bound = PATH * steps * EPS * np.abs(path).max()
            assert_within(diagram.final[i, j], path[end], bound)
            if names[i, j] == "converged":
                assert abs(diagram.final[i, j] - 1) <= 0.01
            if names[i, j] == "diverged":
                assert diagram.final[i, j] > 10 * max(1, theta)


def test_phases_over_a_schedule():
    """Above 1 + Σc(b − a)(1 − b)/Σc(b − a)², c = ωα²/σ², the average of the gradients turns."""
    cases = [(w, oracle.Gaussian1d(1.0, 2.0, a, v)) for a, v, w in LEVELS]
    near = sum(w * c.factor * (c.b - c.a) * (1 - c.b) for w, c in cases)
    far = sum(w * c.factor * (c.b - c.a) ** 2 for w, c in cases)
    edge = 1 + near / far
    diagram = D.phase_diagram(
        [0.98 * edge, 1.02 * edge], [2.0], schedule=plan(LEVELS), steps=20_000
    )
    assert_within(diagram.threshold(2.0), edge, PATH * EPS * edge)
    assert list(outcome_names(diagram)[:, 0]) == ["converged", "diverged"]


def test_a_negative_lam_shrinks_narrow_students_to_nothing():
    """(1 − b) + (1 − λ)(b − a) < 0 for λ < 1 − (1 − b)/(a − b)."""
    narrow = oracle.Gaussian1d(1.0, 0.2)
    edge = 1 - (1 - narrow.b) / (narrow.a - narrow.b)
    diagram = D.phase_diagram([edge - 0.1, edge + 0.1], [0.2], steps=20_000)
    assert list(outcome_names(diagram)[:, 0]) == ["collapsed", "converged"]


def test_phases_and_runs_agree():
    diagram = D.phase_diagram([0.0, 1.0, 2.2], [0.5, 2.0], learning_rate=0.4)
    for i, lam in enumerate([0.0, 1.0, 2.2]):
        for j, theta in enumerate([0.5, 2.0]):
            run = distilled(theta, lam, steps=120, learning_rate=0.4)
            assert run.outcome == outcome_names(diagram)[i, j], (lam, theta)


def test_fifty_by_fifty_takes_seconds():
    begun = time.perf_counter()
    diagram = D.phase_diagram(np.linspace(0, 3, 50), np.geomspace(0.2, 5, 50))
    assert time.perf_counter() - begun < 10
    assert diagram.outcome.shape == (50, 50)
    assert diagram.outcome.dtype.kind == "i"
    assert isinstance(diagram.plot().figure, Figure)
    assert len(repr(diagram)) < 300


# ---------------------------------------------------------------------------------------------
# Ctrl-C. On one thread each of these takes many seconds.

DELAY, PATIENCE = 0.15, 1.0
SETUP = """
D = rv.distill
rng = np.random.default_rng(0)
many = D.GaussianMixture(np.full(400, 1 / 400), rng.standard_normal((400, 2)), [np.eye(2)] * 400)
few = D.GaussianMixture([0.5, 0.5], rng.standard_normal((2, 3)), [np.eye(3)] * 2)
student = D.Generator.affine(np.zeros(3), np.eye(3))
x = rng.standard_normal((4_000_000, 2))
data = rng.standard_normal((200_000, 3))
"""
INTERRUPTIBLE = {
    "score": "many.score(x)",
    "hessian": "many.hessian(x)",
    "fit": "D.GaussianMixture.fit(data, 30, tolerance=0.0)",
    "losses": "D.losses(few, student, schedule=D.schedule(), samples=50_000_000)",
    "distill": "D.distill(few, student, steps=100_000)",
    "phases": "D.phase_diagram(np.linspace(0, 1, 3000), np.linspace(1, 2, 3000), steps=10**6)",
}


@pytest.mark.parametrize("name", INTERRUPTIBLE)
def test_ctrl_c(name):
    printed = printed_by_a_stopped_call(SETUP, INTERRUPTIBLE[name], delay=DELAY, patience=PATIENCE)
    assert printed == "stopped True\n"
