"""Laws of mixtures, generators, schedules, losses and distances, over cases Hypothesis draws."""

from __future__ import annotations

import numpy as np
import pytest
from hippo_support import EPS, assert_bits, assert_within
from hypothesis import given, settings
from hypothesis import strategies as st
from test_distill_losses import affine, gaussian, generator
from test_distill_mixture import ours

import resolvent as rv
from oracles import distill as oracle

D = rv.distill

# Multiples of eps.
VALUE = 16  # times what one rounding does to a result, see `oracle.rounding`
EXACT = 64  # per operation on entries
CUT = 512  # squares of a standard normal beyond the last node of a rule

# Relative.
GRID = 1e-6  # what the rule of nodes that the library finds by itself leaves
QUANTILES = 1e-6  # of W₂ in one dimension

seeds = st.integers(0, 2**32 - 1)
dims = st.integers(1, 4)
planes = st.integers(1, 2)
levels = st.tuples(st.floats(0.05, 1.5), st.floats(0.2, 3.0))
lams = st.floats(-2, 3)


@st.composite
def mixtures(draw, most=5, dim=dims):
    condition = draw(st.sampled_from([1.0, 10.0, 1e3]))
    return oracle.random_mixture(
        draw(st.integers(1, most)), draw(dim), seed=draw(seeds), condition=condition
    )


def points(mixture, n=6):
    rng = np.random.default_rng(1)
    return mixture.sample(n, rng) + rng.standard_normal((n, mixture.dim))


def orthogonal(dim, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]


def mapped(mixture, A, b):
    """The law of Ax + b."""
    C = A @ mixture.covariances @ A.T
    return oracle.Mixture(mixture.weights, mixture.means @ A.T + b, (C + C.transpose(0, 2, 1)) / 2)


# ---------------------------------------------------------------------------------------------
# Mixtures.


@given(mixtures(), seeds)
def test_affine_maps(mixture, seed):
    """log p falls by log|det A|, scores are covectors: A⁻ᵀ∇log p, A⁻ᵀ∇∇log p A⁻¹."""
    rng = np.random.default_rng(seed)
    d = mixture.dim
    A = orthogonal(d, seed) @ np.diag(rng.uniform(0.5, 2.0, d)) @ orthogonal(d, seed + 1)
    b = rng.standard_normal(d)
    x, other = points(mixture), mapped(mixture, A, b)
    y = x @ A.T + b
    before, after = ours(mixture), ours(other)
    # The parameters were rounded on the way: a multiple of the condition number, twice.
    size = 1 + np.abs(mixture.means).max() + np.abs(x).max()
    loss = [VALUE * 16 * EPS * size * v for v in oracle.rounding(mixture, x)]
    drop = np.log(np.abs(np.linalg.det(A)))
    inverse = np.linalg.inv(A)
    scale = 1 / np.sqrt(np.linalg.eigvalsh(mixture.covariances).min())
    assert_within(after.log_density(y), before.log_density(x) - drop, loss[0] * (1 + scale))
    bound = (loss[1] + loss[0] * scale)[:, None] * (1 + scale)
    assert_within(after.score(y), before.score(x) @ inverse, bound)
    bound = (loss[2] + loss[0] * scale**2)[:, None, None] * (1 + scale)
    assert_within(after.hessian(y), inverse.T @ before.hessian(x) @ inverse, 4 * bound)


@given(mixtures(), seeds)
def test_the_order_of_components_is_nothing(mixture, seed):
    order = np.random.default_rng(seed).permutation(len(mixture.weights))
    other = oracle.Mixture(mixture.weights[order], mixture.means[order], mixture.covariances[order])
    x = points(mixture)
    bound = [VALUE * EPS * v for v in oracle.rounding(mixture, x)]
    assert_within(ours(other).log_density(x), ours(mixture).log_density(x), bound[0])
    assert_within(ours(other).score(x), ours(mixture).score(x), bound[1][:, None])
    found = ours(other).responsibilities(x)
    assert_within(found, ours(mixture).responsibilities(x)[:, order], bound[3][:, order])


@given(mixtures(), st.floats(0.01, 0.99))
def test_a_component_in_two_parts(mixture, share):
    weights = np.append(mixture.weights, mixture.weights[0] * (1 - share))
    weights[0] *= share
    other = oracle.Mixture(
        weights / weights.sum(),
        np.append(mixture.means, mixture.means[:1], axis=0),
        np.append(mixture.covariances, mixture.covariances[:1], axis=0),
    )
    x = points(mixture)
    bound = [VALUE * EPS * v for v in oracle.rounding(other, x)]
    assert_within(ours(other).log_density(x), ours(mixture).log_density(x), bound[0])
    assert_within(ours(other).score(x), ours(mixture).score(x), bound[1][:, None])


@given(mixtures(most=3, dim=st.just(1)), mixtures(most=3, dim=st.integers(1, 2)))
def test_independent_coordinates(first, second):
    """The product of two mixtures: log densities add up, scores are side by side."""
    pairs = [(i, j) for i in range(len(first.weights)) for j in range(len(second.weights))]
    weights = np.array([first.weights[i] * second.weights[j] for i, j in pairs])
    means = np.array([np.append(first.means[i], second.means[j]) for i, j in pairs])
    blocks = np.zeros((len(pairs), 1 + second.dim, 1 + second.dim))
    for k, (i, j) in enumerate(pairs):
        blocks[k, :1, :1], blocks[k, 1:, 1:] = first.covariances[i], second.covariances[j]
    both = oracle.Mixture(weights / weights.sum(), means, blocks)
    x = points(both)
    parts = ours(first), x[:, :1], ours(second), x[:, 1:]
    bound = [VALUE * EPS * v for v in oracle.rounding(both, x)]
    total = parts[0].log_density(parts[1]) + parts[2].log_density(parts[3])
    assert_within(ours(both).log_density(x), total, bound[0])
    sides = parts[0].score(parts[1]), parts[2].score(parts[3])
    assert_within(ours(both).score(x), np.concatenate(sides, axis=1), bound[1][:, None])


@given(mixtures(), levels, seeds)
def test_denoising_is_rotated_with_the_data(mixture, level, seed):
    Q = orthogonal(mixture.dim, seed)
    other, noised = mapped(mixture, Q, 0.0), mixture.diffuse(*level)
    x = points(noised)
    bound = VALUE * EPS * level[1] * oracle.rounding(noised, x)[1][:, None]
    slack = 16 * bound * (1 + np.abs(x).max() + np.abs(mixture.means).max())
    expected = ours(mixture).noise(x, *level) @ Q.T
    assert_within(ours(other).noise(x @ Q.T, *level), expected, slack)
    expected = ours(mixture).denoise(x, *level) @ Q.T
    slack = slack * (1 + level[0] / level[1]) * (1 + np.abs(mixture.covariances).max())
    size = EXACT * EPS * (np.abs(mixture.means).max() + np.abs(x).max() / level[0])
    assert_within(ours(other).denoise(x @ Q.T, *level), expected, slack + size)


@given(mixtures(), levels)
def test_moments_of_the_diffused(mixture, level):
    alpha, sigma = level
    before, after = ours(mixture), ours(mixture).diffuse(alpha, sigma)
    size = EXACT * EPS * (1 + np.abs(mixture.means).max()) ** 2 * (alpha**2 + sigma**2 + 1)
    assert_within(after.mean(), alpha * before.mean(), size)
    expected = alpha**2 * before.covariance() + sigma**2 * np.eye(mixture.dim)
    assert_within(after.covariance(), expected, size * len(mixture.weights))


@given(mixtures(dim=st.just(1), most=3), levels)
@settings(max_examples=20)
def test_denoised_means_average_to_the_mean(mixture, level):
    """E E[x_0 | x_t] = E x_0, E E[ε | x_t] = 0 and E ε·x_t = σ, by sums over a grid of x_t."""
    noised = mixture.diffuse(*level)
    narrow = np.sqrt(noised.covariances.min())
    reach = 10 * np.sqrt(noised.covariances.max())
    x = np.arange(noised.means.min() - reach, noised.means.max() + reach, narrow / 5)[:, None]
    model = ours(mixture)
    mass = narrow / 5 * ours(noised).density(x)
    bound = EXACT * len(x) * EPS * (1 + np.abs(x).max()) ** 2
    assert_within(mass @ model.denoise(x, *level), model.mean(), bound)
    noise = model.noise(x, *level)
    assert_within(mass @ noise, [0.0], bound)
    assert_within(mass @ (noise * x), [level[1]], bound)


# ---------------------------------------------------------------------------------------------
# Generators and schedules.


@st.composite
def students(draw, most=4, dim=dims):
    d, k = draw(dim), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(seeds))
    weights = rng.uniform(0.2, 1, k)
    return oracle.Student(
        weights / weights.sum(),
        rng.standard_normal((k, d)),
        rng.standard_normal((k, d, d)) + np.eye(d),
    )


@given(students())
def test_parameters_round_trip(student):
    made = generator(student)
    assert_bits(made.parameters, student.parameters)
    doubled = made.replace(2 * student.parameters)
    assert_bits(doubled.means, 2 * student.means)
    assert_bits(doubled.factors, 2 * student.factors)
    assert_bits(doubled.weights, made.weights)
    assert_bits(made.parameters, student.parameters)
    assert (made.dim, made.components) == student.means.shape[::-1]


@given(students(), levels)
def test_the_law_of_a_generator(student, level):
    made, mixture = generator(student), student.mixture()
    size = EXACT * EPS * (1 + np.abs(student.parameters).max()) ** 2
    assert_within(made.covariances, mixture.covariances, size)
    expected = mixture.diffuse(*level)
    found = made.diffuse(*level)
    assert_within(found.means, expected.means, size)
    assert_within(found.covariances, expected.covariances, size * (1 + level[0] + level[1]) ** 2)
    assert_bits(found.weights, ours(expected).weights)


@given(students(), seeds, st.integers(0, 50))
def test_samples_are_affine_in_the_parameters(student, seed, n):
    """The same random numbers whatever the parameters."""
    made = generator(student)
    label, z = made.latents(n, seed=seed)
    x = student.means[label] + np.einsum("nij,nj->ni", student.factors[label], z)
    bound = EXACT * EPS * (1 + np.abs(student.parameters).max()) * 8
    assert_within(made.sample(n, seed=seed), x, bound)
    assert_bits(made.transform(label, z), made.sample(n, seed=seed))
    assert_bits(made.replace(-student.parameters).sample(n, seed=seed), -made.sample(n, seed=seed))


def test_samples_of_a_generator_have_its_moments():
    student = oracle.Student(
        np.array([0.3, 0.7]),
        np.array([[2.0, 0.0], [-1.0, 1.0]]),
        np.array([[[1.0, 0.5], [0.0, -0.5]], [[0.3, 0.0], [0.0, 2.0]]]),
    )
    n = 40_000
    x = generator(student).sample(n, seed=2)
    mean, covariance = student.mixture().moments()
    assert_within(x.mean(axis=0), mean, 6 * x.std(axis=0) / np.sqrt(n))
    products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
    assert_within(products.mean(axis=0), covariance, 6 * products.std(axis=0) / np.sqrt(n))


def test_generators_of_one_dimension_from_numbers():
    one = D.Generator.affine(0.5, -2.0)
    assert (one.dim, one.components) == (1, 1)
    assert_within(one.parameters, [0.5, -2.0], 0)
    several = D.Generator.mixture([0.3, 0.7], [1.0, 2.0], [0.0, 3.0])
    assert several.factors.shape == (2, 1, 1)
    assert_within(several.parameters, [1.0, 2.0, 0.0, 3.0], 0)


def test_a_collapsed_generator_has_a_law_once_there_is_noise():
    point = D.Generator.affine([1.0, 2.0], np.zeros((2, 2)))
    assert_within(point.diffuse(1.0, 0.5).covariances[0], 0.25 * np.eye(2), EXACT * EPS)
    assert_within(point.sample(5), np.tile([1.0, 2.0], (5, 1)), 0)


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.floats(1.5, 50.0))
def test_schedules_by_name(count, smallest, largest):
    """Ends, spacing, and what each keeps constant."""
    for name in D.SCHEDULES:
        found = D.schedule(name, count, smallest=smallest, largest=largest)
        ratio = found.sigma / found.alpha
        assert found.levels == len(ratio) == count
        assert_within(found.weight, np.full(count, 1 / count), EXACT * EPS / count)
        spaced = {
            "ve": np.log,
            "vp": np.arctan,
            "edm": lambda r: r ** (1 / 7),
        }[name]
        ends = spaced(np.array([smallest, largest]))
        line = np.linspace(*ends, count) if count > 1 else np.array([ends.mean()])
        # The spacing of σ^(1/7) and of angles near π/2 hides digits of σ.
        assert_within(spaced(ratio), line, EXACT * EPS * (1 + np.abs(line).max()) * largest)
        if name == "vp":
            assert_within(found.alpha**2 + found.sigma**2, np.ones(count), EXACT * EPS)
        else:
            assert_within(found.alpha, np.ones(count), 0)


def test_usual_schedules():
    plain = D.schedule()
    assert plain.levels == 8
    assert_within([plain.sigma[0], plain.sigma[-1]], [0.1, 3.0], EXACT * EPS * 3)
    karras = D.schedule("edm", 5)
    i = np.arange(5) / 4
    expected = (80 ** (1 / 7) + (1 - i) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert_within(karras.sigma, expected, EXACT * EPS * 7 * 80)


@given(st.lists(st.floats(0.0, 10.0), min_size=2, max_size=6).filter(lambda w: sum(w) > 0.1))
def test_weights_of_levels_sum_to_one(weight):
    n = len(weight)
    found = D.Schedule(np.ones(n), np.ones(n), weight)
    assert_within(found.weight, np.array(weight) / sum(weight), EXACT * EPS)
    assert list(found) == list(zip(found.alpha, found.sigma, found.weight, strict=True))


# ---------------------------------------------------------------------------------------------
# Losses.

few = settings(max_examples=12)


@st.composite
def problems(draw, dim=planes):
    """A teacher, a student and two levels; smooth enough for a moderate rule."""
    d = draw(dim)
    rng = np.random.default_rng(draw(seeds))
    teacher = oracle.random_mixture(draw(st.integers(1, 3)), d, seed=draw(seeds), spread=0.7)
    student = affine(0.5 * rng.standard_normal(d), 0.5 * rng.standard_normal((d, d)) + np.eye(d))
    return teacher, student, D.Schedule([1.0, 0.6], [rng.uniform(0.7, 1.5), 0.8], [1.0, 2.0])


def losses(teacher, student, schedule, **options):
    return D.losses(ours(teacher), generator(student), schedule=schedule, **options)


@few
@given(problems(), lams, st.sampled_from(["uniform", "noised"]))
def test_the_identity_and_its_gradients(problem, lam, weight):
    """L1 = L2 ≥ 0; ∇true L1 = ∇true L2 = 2·frozen ∇(L2 − ½L1); all linear in λ."""
    found = losses(*problem, lam=lam, weight=weight)
    bound = GRID * found.l1 + CUT * EPS
    assert found.l1 >= 0
    assert_within(found.l2, found.l1, bound)
    assert_within(found.loss, found.l2 - lam * found.l1, bound * (1 + abs(lam)))
    frozen, true = found.frozen, found.true
    size = np.abs(true["l1"]).max() + np.abs(frozen["l1"]).max() + np.abs(frozen["l2"]).max()
    bound = GRID * size + CUT * EPS
    assert_within(true["l2"], true["l1"], bound)
    assert_within(2 * (frozen["l2"] - frozen["l1"] / 2), true["l1"], bound)
    for kind in (frozen, true):
        assert_within(kind["loss"], kind["l2"] - lam * kind["l1"], bound * (1 + abs(lam)))


@few
@given(problems(), seeds)
def test_losses_see_the_law_of_the_student_only(problem, seed):
    """x_0 = μ + FQz has the same law for every orthogonal Q; the gradient by F turns with it."""
    teacher, student, schedule = problem
    d = teacher.dim
    Q = orthogonal(d, seed)
    turned = affine(student.means[0], student.factors[0] @ Q)
    first, second = losses(*problem), losses(teacher, turned, schedule)
    assert_within(second.l1, first.l1, GRID * first.l1 + CUT * EPS)
    for kind in ("frozen", "true"):
        before, after = (getattr(v, kind)["l2"] for v in (first, second))
        bound = GRID * np.abs(before).max() + CUT * EPS
        assert_within(after[:d], before[:d], bound)
        expected = before[d:].reshape(d, d) @ Q
        assert_within(after[d:].reshape(d, d), expected, 2 * bound)


@few
@given(problems(), seeds)
def test_losses_are_invariant_under_motions(problem, seed):
    """Data and student turned and shifted together (α = 1 at the level that is shifted)."""
    teacher, student, schedule = problem
    d = teacher.dim
    Q, b = orthogonal(d, seed), np.random.default_rng(seed).standard_normal(d)
    moved = affine(Q @ student.means[0] + b, Q @ student.factors[0])
    first, second = losses(*problem), losses(mapped(teacher, Q, b), moved, schedule)
    assert_within(second.l1, first.l1, GRID * first.l1 + CUT * EPS)
    before, after = first.true["l1"], second.true["l1"]
    bound = GRID * np.abs(before).max() + CUT * EPS
    assert_within(after[:d], Q @ before[:d], 2 * bound)
    assert_within(after[d:].reshape(d, d), Q @ before[d:].reshape(d, d), 2 * bound)


@few
@given(problems(), st.floats(0.1, 10.0))
def test_losses_are_in_units_of_the_noise(problem, unit):
    """Data, student and σ scaled together: ε has no units."""
    teacher, student, schedule = problem
    scaled = oracle.Mixture(teacher.weights, unit * teacher.means, unit**2 * teacher.covariances)
    wide = D.Schedule(schedule.alpha, unit * schedule.sigma, schedule.weight)
    first = losses(*problem)
    second = losses(scaled, student.at(unit * student.parameters), wide)
    assert_within(second.l1, first.l1, GRID * first.l1 + CUT * EPS)
    for name in ("l1", "l2"):
        size = np.abs(first.frozen[name]).max()
        assert_within(unit * second.frozen[name], first.frozen[name], GRID * size + CUT * EPS, name)


@few
@given(problems(dim=st.integers(1, 3)), lams, seeds)
def test_laws_of_sampled_losses(problem, lam, seed):
    """On the same random numbers: linear in λ, and descent differences of the values."""
    options = {"method": "monte-carlo", "samples": 512, "seed": seed}
    zero, some = (losses(*problem, lam=v, **options) for v in (0.0, lam))
    assert_within(some.l1, zero.l1, 0)
    assert_within(zero.loss, zero.l2, 0)
    bound = EXACT * 512 * EPS * (1 + abs(lam))
    size = 1 + abs(zero.l2) + zero.l1
    assert_within(some.loss, zero.l2 - lam * zero.l1, bound * size)
    expected = zero.frozen["l2"] - lam * zero.frozen["l1"]
    size = 1 + np.abs(zero.frozen["l1"]).max() + np.abs(zero.frozen["l2"]).max()
    assert_within(some.frozen["loss"], expected, bound * size)


@few
@given(problems(dim=st.integers(1, 3)))
def test_sampled_true_gradients_are_those_of_sampled_values(problem):
    """Common random numbers: differences of the sampled L1 and L2 themselves."""
    teacher, student, schedule = problem
    options = {"method": "monte-carlo", "samples": 256, "seed": 3}
    found = losses(*problem, **options)

    def value(parameters):
        moved = losses(teacher, student.at(parameters), schedule, **options)
        return np.array([moved.l1, moved.l2])

    way = np.cos(np.arange(student.parameters.size))  # along one direction
    slopes = oracle.difference_gradient(
        lambda t: value(student.parameters + t[0] * way), np.zeros(1), step=1e-3
    )[:, 0]
    for name, slope in zip(("l1", "l2"), slopes, strict=True):
        terms = np.abs(found.true[name]).max() + abs(getattr(found, name)) + 1
        assert_within(found.true[name] @ way, slope, EXACT * 256 * EPS / 1e-3 * terms, name)


# ---------------------------------------------------------------------------------------------
# Distances.


@st.composite
def triples(draw):
    """Three Gaussians of the same dimension."""
    d = draw(dims)
    rng = np.random.default_rng(draw(seeds))
    return [
        gaussian(rng.standard_normal(d), rng.standard_normal((d, d)) + 1.5 * np.eye(d))
        for _ in range(3)
    ]


@given(triples(), st.floats(0.1, 10.0))
def test_w2_is_a_metric(three, unit):
    p, q, r = (ours(v) for v in three)
    pq, qr, pr = (D.wasserstein2(*v) for v in ((p, q), (q, r), (p, r)))
    size = 1 + sum(np.trace(v.covariances[0]) for v in three)
    assert pr <= pq + qr + EXACT * EPS * size
    assert_within(D.wasserstein2(q, p), pq, EXACT * EPS * size / max(pq, np.sqrt(EPS)))
    assert D.wasserstein2(p, p) <= np.sqrt(EXACT * EPS * size)
    gap = np.linalg.norm(three[0].means - three[1].means)
    assert gap <= pq + EXACT * EPS * size
    # No further than by the independent coupling.
    far = np.sqrt(gap**2 + np.trace(three[0].covariances[0] + three[1].covariances[0]))
    assert pq <= far * (1 + EXACT * EPS)
    scaled = [
        ours(oracle.Mixture(v.weights, unit * v.means, unit**2 * v.covariances)) for v in three
    ]
    bound = unit * EXACT * three[0].dim * EPS * size / max(pq, np.sqrt(EPS))
    assert_within(D.wasserstein2(*scaled[:2]), unit * pq, bound)


@few
@given(mixtures(dim=st.just(1), most=3), mixtures(dim=st.just(1), most=3), st.floats(-20, 20))
def test_w2_in_one_dimension_shifts_like_means(first, second, shift):
    """W₂² = Var-like part + (difference of means)²: a shift moves only the latter."""
    p, q = ours(first), ours(second)
    moved = ours(oracle.Mixture(second.weights, second.means + shift, second.covariances))
    gap = first.moments()[0][0] - second.moments()[0][0]
    before = D.wasserstein2(p, q) ** 2 - gap**2
    after = D.wasserstein2(p, moved) ** 2 - (gap - shift) ** 2
    size = (np.abs(first.means).max() + np.abs(second.means).max() + abs(shift) + 5) ** 2
    assert_within(after, before, QUANTILES * size)
    assert before >= -QUANTILES * size


@few
@given(problems())
def test_fisher_divergence_vanishes_for_the_data_alone(problem):
    teacher, student, schedule = problem
    assert D.fisher_divergence(ours(teacher), generator(student), schedule) > 0
    roots = np.linalg.cholesky(teacher.covariances)
    same = generator(oracle.Student(teacher.weights, teacher.means, roots))
    assert D.fisher_divergence(ours(teacher), same, schedule) <= CUT * EPS


# ---------------------------------------------------------------------------------------------
# Phases.


@given(st.floats(-1, 4), st.floats(0.1, 10.0), st.floats(0.3, 3.0), st.floats(0.2, 5.0))
def test_phases_of_scaled_problems(lam, width, sigma, unit):
    """Teacher, student and noise in other units end alike."""
    first = D.phase_diagram([lam], [width], sigma=sigma, steps=50, learning_rate=0.3)
    second = D.phase_diagram(
        [lam],
        [unit * width],
        teacher_width=unit,
        sigma=unit * sigma,
        steps=50,
        learning_rate=0.3,
    )
    growth = max(1.0, float(np.abs(first.final).max()), width) ** 2
    if first.outcome[0, 0] == second.outcome[0, 0] and first.steps[0, 0] == second.steps[0, 0]:
        bound = 2.0**20 * EPS * growth * unit
        assert_within(second.final, unit * first.final, bound)
    else:  # decided at a neighbouring step, by rounding
        assert abs(int(first.steps[0, 0]) - int(second.steps[0, 0])) <= 1


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_phases_take_single_values(lam):
    found = D.phase_diagram([lam], [2.0])
    assert found.outcome.shape == found.final.shape == found.steps.shape == (1, 1)
