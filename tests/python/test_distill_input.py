"""Bad input to rv.distill, by its message."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hippo_support import assert_bits
from ssm_support import refused

import resolvent as rv

D = rv.distill
Mixture, Generator, Schedule = D.GaussianMixture, D.Generator, D.Schedule

LINE = Mixture([0.4, 0.6], [-1.0, 1.0], [0.5, 1.0])
PLANE = Mixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.0]], [np.eye(2)] * 2)
SPACE = Mixture([1.0], np.zeros((1, 3)), np.eye(3)[None])
STUDENT = Generator.affine([0.5, 0.0], np.eye(2))
THIN = Generator.affine([0.5], [[2.0]])
LEVELS = Schedule([1.0], [1.0])
DATA = np.random.default_rng(0).standard_normal((30, 2))

NOT_NUMBERS = {"text": "text", "ragged": [[1.0], [1.0, 2.0]], "objects": [None, None]}


def losses(**options):
    return D.losses(PLANE, STUDENT, **({"schedule": LEVELS} | options))


def distill(**options):
    return D.distill(PLANE, STUDENT, **({"schedule": LEVELS, "steps": 1} | options))


#: What takes points: the name of the argument is x.
POINTS = {
    "log_density": LINE.log_density,
    "density": PLANE.density,
    "score": PLANE.score,
    "hessian": PLANE.hessian,
    "responsibilities": PLANE.responsibilities,
    "noise": lambda x: PLANE.noise(x, 1.0, 1.0),
    "denoise": lambda x: PLANE.denoise(x, 1.0, 1.0),
    "teacher": lambda x: D.teacher(PLANE)(x, 1.0, 1.0),
    "student": lambda x: D.student_optimal(STUDENT)(x, 1.0, 1.0),
    "jacobian": lambda x: D.teacher(PLANE).jacobian(x, 1.0, 1.0),
    "fitted": lambda x: D.student_fitted(STUDENT, LEVELS, 1, start=PLANE)(x, 1.0, 1.0),
}
points = pytest.mark.parametrize("taker", POINTS)

#: What takes signal and noise.
LEVELLED = {
    "diffuse": PLANE.diffuse,
    "noise": lambda alpha, sigma: PLANE.noise(np.zeros(2), alpha, sigma),
    "denoise": lambda alpha, sigma: PLANE.denoise(np.zeros(2), alpha, sigma),
    "generator": STUDENT.diffuse,
    "predictor": lambda alpha, sigma: D.teacher(PLANE)(np.zeros(2), alpha, sigma),
}
levelled = pytest.mark.parametrize("taker", LEVELLED)


# ---------------------------------------------------------------------------------------------
# Points and levels.


@pytest.mark.parametrize("bad", NOT_NUMBERS)
@points
def test_points_are_numbers(taker, bad):
    refused(lambda: POINTS[taker](NOT_NUMBERS[bad]), "x", error=rv.DtypeError)


@points
def test_points_are_real(taker):
    refused(lambda: POINTS[taker](np.zeros((3, 2)) + 1j), "x", "complex", error=rv.DtypeError)


@points
def test_half_precision_is_refused(taker):
    x = np.zeros((3, 2), np.float16)
    refused(lambda: POINTS[taker](x), "x", "float16", error=rv.DtypeError)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (2, 0)])
@points
def test_the_last_axis_of_points_is_the_dimension(taker, shape):
    refused(lambda: POINTS[taker](np.zeros(shape)), "x", str(shape), error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@points
def test_points_are_finite(taker, dtype, bad):
    """The first place in C order."""
    dim = 1 if taker == "log_density" else 2
    x = np.zeros((4, 3, dim), dtype)
    x[3, 2, 0] = x[1, 2, dim - 1] = bad
    where = f"x[1, 2, {dim - 1}] = {bad}"
    refused(lambda: POINTS[taker](x), "finite", where, error=rv.InvalidArgument)


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
@pytest.mark.parametrize("which", ["alpha", "sigma"])
@levelled
def test_levels_are_not_negative(taker, which, bad):
    level = {"alpha": 1.0, "sigma": 1.0, which: bad}
    call = LEVELLED[taker]
    refused(lambda: call(level["alpha"], level["sigma"]), which, str(bad), error=rv.InvalidArgument)


@levelled
def test_levels_are_numbers(taker):
    call = LEVELLED[taker]
    refused(lambda: call("one", 1.0), "alpha", error=rv.DtypeError)
    refused(lambda: call(1.0, [1.0, 2.0]), "sigma", error=rv.DtypeError)
    refused(lambda: call(1.0, 1j), "sigma", error=rv.DtypeError)


@levelled
def test_something_is_left(taker):
    refused(lambda: LEVELLED[taker](0.0, 0.0), "sigma", error=rv.InvalidArgument)


# ---------------------------------------------------------------------------------------------
# Mixtures.


@pytest.mark.parametrize("kind", ["Mixture", "Generator"])
@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([0.4, 0.5], ("weights", "0.9")),
        ([0.5, 0.5 + 1e-6], ("weights", "1")),
        ([-0.5, 1.5], ("weights", "-0.5")),
        ([0.0, 1.0], ("weights", "0")),
        ([np.nan, 1.0], ("weights[0]", "nan")),
        ([0.5, np.inf], ("weights[1]", "inf")),
    ],
)
def test_weights(kind, weights, says):
    make = {"Mixture": Mixture, "Generator": Generator}[kind]
    refused(lambda: make(weights, [0.0, 1.0], [1.0, 1.0]), *says, error=rv.InvalidArgument)


def test_weights_may_sum_to_one_to_rounding():
    Mixture(np.full(10, 0.1), np.arange(10.0), np.ones(10))
    Mixture(np.full(3, np.float32(1 / 3)), np.arange(3.0), np.ones(3))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([[1.0]], [0.0], [1.0]), ("weights", "(1, 1)")),
        ((1.0, 0.0, 1.0), ("weights", "()")),
        (([], np.zeros(0), np.zeros(0)), ("weights",)),
        (([0.5, 0.5], [0.0], [1.0, 1.0]), ("means", "(1,)")),
        (([1.0], np.zeros((1, 0)), np.zeros((1, 0, 0))), ("means", "(1, 0)")),
        (([1.0], np.zeros((1, 2, 1)), np.eye(2)[None]), ("means", "(1, 2, 1)")),
        (([0.5, 0.5], [0.0, 1.0], [1.0]), ("covariances", "(1,)")),
        (([1.0], [[0.0, 0.0]], np.eye(3)[None]), ("covariances", "(1, 3, 3)")),
        (([1.0], [[0.0, 0.0]], np.eye(2)), ("covariances", "(2, 2)")),
        (([1.0], [[0.0, 0.0]], [1.0]), ("covariances", "(1,)")),
    ],
)
@pytest.mark.parametrize("kind", ["Mixture", "Generator"])
def test_shapes_of_parameters(kind, arguments, says):
    make = {"Mixture": Mixture, "Generator": Generator}[kind]
    says = [part.replace("covariances", "factors") for part in says] if kind != "Mixture" else says
    refused(lambda: make(*arguments), *says, error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["Mixture", "Generator"])
def test_parameters_are_finite(kind, bad):
    make, third = {"Mixture": (Mixture, "covariances"), "Generator": (Generator, "factors")}[kind]
    spoilt = np.array([np.eye(2)] * 2)
    spoilt[1, 0, 1] = bad
    zero = np.zeros((2, 2))
    refused(
        lambda: make([0.5, 0.5], zero, spoilt),
        f"{third}[1, 0, 1] = {bad}",
        error=rv.InvalidArgument,
    )
    means = zero.copy()
    means[0, 1] = bad
    refused(
        lambda: make([0.5, 0.5], means, [np.eye(2)] * 2),
        f"means[0, 1] = {bad}",
        error=rv.InvalidArgument,
    )


@pytest.mark.parametrize("which", ["weights", "means", "covariances"])
def test_parameters_are_real_numbers(which):
    good = {"weights": [1.0], "means": [[0.0, 0.0]], "covariances": [np.eye(2)]}
    for bad in ("text", np.array(good[which]) * 1j):
        arguments = good | {which: bad}
        refused(lambda a=arguments: Mixture(**a), which, error=rv.DtypeError)


@pytest.mark.parametrize(
    ("covariance", "value"),
    [
        (np.diag([1.0, -0.25]), "-0.25"),
        (np.diag([1.0, 0.0]), "0"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "-1"),
        (np.ones((2, 2)), "component 1"),
    ],
)
def test_a_covariance_that_is_not_positive_definite(covariance, value):
    """The message names the component and its smallest eigenvalue."""
    stack = [np.eye(2), covariance, np.eye(2)]
    refused(
        lambda: Mixture(np.full(3, 1 / 3), np.zeros((3, 2)), stack),
        "covariances",
        "positive definite",
        "1",
        value if value != "component 1" else "eigenvalue",
        error=rv.InvalidArgument,
    )


def test_variances_are_positive():
    refused(
        lambda: Mixture([0.5, 0.5], [0.0, 1.0], [1.0, -2.0]),
        "covariances",
        "1",
        "-2",
        error=rv.InvalidArgument,
    )
    refused(lambda: Mixture([1.0], [0.0], [0.0]), "covariances", "0", error=rv.InvalidArgument)


def test_a_covariance_is_symmetric():
    skew = np.array([[1.0, 0.3], [0.2, 1.0]])
    refused(
        lambda: Mixture([0.5, 0.5], np.zeros((2, 2)), [np.eye(2), skew]),
        "covariances[1, 0, 1] = 0.3",
        "symmetric",
        error=rv.InvalidArgument,
    )
    Mixture([1.0], np.zeros((1, 2)), [[[1.0, 0.3], [np.nextafter(0.3, 1), 1.0]]])


@pytest.mark.parametrize(
    ("axes", "says"), [([], "axes"), ([2], "2"), ([-3], "-3"), ([0, 0], "0"), ([1, -1], "axes")]
)
def test_axes_of_marginals(axes, says):
    refused(lambda: PLANE.marginal(axes), "axes", says, error=rv.InvalidArgument)


def test_samples_are_counted():
    for source in (PLANE, STUDENT):
        refused(lambda s=source: s.sample(-1), "n", "-1", error=rv.InvalidArgument)
        refused(lambda s=source: s.sample(2.5), "n", "2.5", error=rv.DtypeError)
        refused(lambda s=source: s.sample(2, seed=-1), "seed", "-1", error=rv.InvalidArgument)
        refused(lambda s=source: s.sample(2, seed="x"), "seed", "x", error=rv.DtypeError)


def test_integers_are_doubles():
    mixture = Mixture([1], [[0, 1]], [[[2, 0], [0, 1]]])
    assert_bits(mixture.score([[1, 1]]), mixture.score([[1.0, 1.0]]))
    assert mixture.means.dtype == np.float64


# ---------------------------------------------------------------------------------------------
# EM.


def fit(data=DATA, components=2, **options):
    return Mixture.fit(data, components, **options)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5, 2), (5, 0)])
def test_shapes_of_data(shape):
    refused(lambda: fit(np.zeros(shape)), "data", str(shape), error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_are_finite(bad):
    data = DATA.copy()
    data[7, 1] = bad
    refused(lambda: fit(data), f"data[7, 1] = {bad}", error=rv.InvalidArgument)


def test_data_are_enough():
    refused(
        lambda: fit(DATA[:2], 3), "data", "2", "3", error=(rv.InvalidArgument, rv.ShapeMismatch)
    )
    refused(lambda: fit(np.empty((0, 2)), 1), "data", error=(rv.InvalidArgument, rv.ShapeMismatch))
    refused(lambda: fit(np.ones((30, 2)), 2), "different", error=rv.InvalidArgument)


def test_a_collapse_says_what_helps():
    """Two far points of their own component: the likelihood has no bound."""
    data = np.concatenate([DATA, [[100.0, 100.0], [100.0, 100.0]]])
    refused(lambda: fit(data, 2), "regularization", error=rv.InvalidArgument)
    assert fit(data, 2, regularization=0.01).converged


@pytest.mark.parametrize(
    ("name", "bad", "error"),
    [
        ("components", 0, rv.InvalidArgument),
        ("components", -2, rv.InvalidArgument),
        ("components", 1.5, rv.DtypeError),
        ("tolerance", -1e-3, rv.InvalidArgument),
        ("tolerance", np.nan, rv.InvalidArgument),
        ("tolerance", "small", rv.DtypeError),
        ("max_iterations", 0, rv.InvalidArgument),
        ("max_iterations", 1.5, rv.DtypeError),
        ("restarts", 0, rv.InvalidArgument),
        ("seed", -1, rv.InvalidArgument),
        ("regularization", -0.1, rv.InvalidArgument),
        ("regularization", np.inf, rv.InvalidArgument),
    ],
)
def test_options_of_em(name, bad, error):
    refused(lambda: fit(**{name: bad}), name, str(bad), error=error)


def test_the_start_of_em():
    refused(lambda: fit(start="k-means"), "start", error=rv.DtypeError)
    refused(
        lambda: fit(start=SPACE, components=1),
        "start",
        error=(rv.ShapeMismatch, rv.InvalidArgument),
    )
    refused(
        lambda: fit(start=PLANE, components=3),
        "start",
        "3",
        error=(rv.ShapeMismatch, rv.InvalidArgument),
    )


# ---------------------------------------------------------------------------------------------
# Generators and schedules.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([0.0, 1.0], np.eye(3)), ("factor", "(3, 3)")),
        (([0.0, 1.0], 1.0), ("factor", "()")),
        (([[0.0]], [[1.0]]), ("mean", "(1, 1)")),
        (([], np.zeros((0, 0))), ("mean",)),
    ],
)
def test_shapes_of_an_affine_generator(arguments, says):
    refused(lambda: Generator.affine(*arguments), *says, error=rv.ShapeMismatch)


def test_parameters_of_generators():
    refused(lambda: STUDENT.replace(np.zeros(5)), "parameters", "5", error=rv.ShapeMismatch)
    refused(lambda: STUDENT.replace(np.zeros((2, 3))), "parameters", error=rv.ShapeMismatch)
    spoilt = np.zeros(6)
    spoilt[4] = np.nan
    refused(lambda: STUDENT.replace(spoilt), "parameters[4] = nan", error=rv.InvalidArgument)
    refused(
        lambda: STUDENT.transform([0, 1], np.zeros((2, 2))), "components", error=rv.InvalidArgument
    )
    refused(lambda: STUDENT.transform([0], np.zeros((2, 2))), "(2, 2)", error=rv.ShapeMismatch)


def test_a_collapsed_generator_has_no_density():
    flat = Generator.affine([0.0, 0.0], np.diag([1.0, 0.0]))
    refused(flat.distribution, "singular", "diffuse", error=rv.InvalidArgument)
    refused(lambda: flat.diffuse(1.0, 0.0), "sigma", error=rv.InvalidArgument)
    several = Generator.mixture([0.5, 0.5], [0.0, 1.0], [1.0, 0.0])
    refused(several.distribution, "factors[1]", error=rv.InvalidArgument)


@pytest.mark.parametrize(
    ("arguments", "says", "error"),
    [
        (([1.0], [0.0]), ("sigma[0]", "0"), rv.InvalidArgument),
        (([1.0, 1.0], [1.0, -2.0]), ("sigma[1]", "-2"), rv.InvalidArgument),
        (([1.0], [np.nan]), ("sigma[0]", "nan"), rv.InvalidArgument),
        (([1.0], [np.inf]), ("sigma[0]", "inf"), rv.InvalidArgument),
        (([-0.5], [1.0]), ("alpha[0]", "-0.5"), rv.InvalidArgument),
        (([np.nan], [1.0]), ("alpha[0]", "nan"), rv.InvalidArgument),
        (([1.0, 1.0], [1.0]), ("sigma", "2", "1"), rv.ShapeMismatch),
        (([1.0], [1.0], [0.5, 0.5]), ("weight", "2"), rv.ShapeMismatch),
        (([], []), ("alpha", "(0,)"), rv.ShapeMismatch),
        ((1.0, 1.0), ("alpha", "()"), rv.ShapeMismatch),
        (([1.0], [1.0], [-1.0]), ("weight[0]", "-1"), rv.InvalidArgument),
        (([1.0, 1.0], [1.0, 2.0], [0.0, 0.0]), ("weight",), rv.InvalidArgument),
        (([1.0], ["big"]), ("sigma",), rv.DtypeError),
        (([1j], [1.0]), ("alpha",), rv.DtypeError),
    ],
)
def test_schedules(arguments, says, error):
    refused(lambda: Schedule(*arguments), *says, error=error)


def test_schedules_by_name():
    refused(
        lambda: D.schedule("cosine"),
        "name",
        "'cosine'",
        *(repr(n) for n in D.SCHEDULES),
        error=rv.InvalidArgument,
    )
    refused(lambda: D.schedule("ve", 0), "levels", "0", error=rv.InvalidArgument)
    refused(lambda: D.schedule("ve", 2.5), "levels", "2.5", error=rv.DtypeError)
    for bad in (0.0, -1.0, np.nan, np.inf):
        refused(
            lambda v=bad: D.schedule("ve", smallest=v),
            "smallest",
            f"{bad:g}",
            error=rv.InvalidArgument,
        )
    refused(
        lambda: D.schedule("ve", smallest=2.0, largest=1.0),
        "smallest",
        "largest",
        error=rv.InvalidArgument,
    )


# ---------------------------------------------------------------------------------------------
# Losses, students, runs.

#: An option of `losses` and of `distill`.
COMMON = [
    ("lam", np.nan, "nan", rv.InvalidArgument),
    ("lam", np.inf, "inf", rv.InvalidArgument),
    ("lam", "one", "one", rv.DtypeError),
    ("lam", 1j, "1j", rv.DtypeError),
    ("weight", "heavy", "'sample'", rv.InvalidArgument),
    ("weight", 1.0, "1.0", (rv.InvalidArgument, rv.DtypeError)),
    ("method", "romberg", "'quadrature'", rv.InvalidArgument),
    ("samples", 0, "0", rv.InvalidArgument),
    ("samples", 10.5, "10.5", rv.DtypeError),
    ("seed", -1, "-1", rv.InvalidArgument),
    ("schedule", [1.0], "Schedule", rv.DtypeError),
]


@pytest.mark.parametrize(("name", "bad", "says", "error"), COMMON)
def test_options_of_losses(name, bad, says, error):
    refused(lambda: losses(**{name: bad}), name, says, error=error)


@pytest.mark.parametrize(
    ("name", "bad", "says", "error"),
    [
        *COMMON,
        ("steps", -1, "-1", rv.InvalidArgument),
        ("steps", 1.5, "1.5", rv.DtypeError),
        ("psi_steps", -1, "-1", rv.InvalidArgument),
        ("psi_steps", 0.5, "0.5", rv.DtypeError),
        ("objective", "l3", "'naive'", rv.InvalidArgument),
        ("optimizer", "lion", "'adam'", rv.InvalidArgument),
        ("learning_rate", 0.0, "0", rv.InvalidArgument),
        ("learning_rate", -1.0, "-1", rv.InvalidArgument),
        ("learning_rate", np.nan, "nan", rv.InvalidArgument),
        ("learning_rate", "fast", "fast", rv.DtypeError),
    ],
)
def test_options_of_runs(name, bad, says, error):
    refused(lambda: distill(**{name: bad}), name, says, error=error)


@pytest.mark.parametrize("nodes", [0, -5, 3])
def test_nodes(nodes):
    refused(lambda: losses(nodes=nodes), "nodes", str(nodes), error=rv.InvalidArgument)
    refused(lambda: losses(nodes=20.5), "nodes", "20.5", error=rv.DtypeError)


def test_quadrature_ends_at_two_dimensions():
    student = Generator.affine(np.zeros(3), np.eye(3))
    for call in (D.losses, D.fisher_divergence):
        refused(
            lambda c=call: c(SPACE, student, schedule=LEVELS, method="quadrature"),
            "quadrature",
            "3",
            error=rv.InvalidArgument,
        )


def test_dimensions_agree():
    for call in (
        lambda: D.losses(PLANE, THIN, schedule=LEVELS),
        lambda: losses(student=D.student_optimal(THIN)),
        lambda: D.distill(PLANE, THIN, schedule=LEVELS),
        lambda: D.fisher_divergence(PLANE, THIN, LEVELS),
        lambda: D.wasserstein2(PLANE, THIN),
        lambda: D.student_fitted(THIN, LEVELS, 1, start=PLANE),
    ):
        refused(call, "1", "2", error=rv.ShapeMismatch)


@pytest.mark.parametrize("bad", [None, "mixture", np.eye(2), STUDENT])
def test_teachers(bad):
    refused(lambda: D.losses(bad, STUDENT, schedule=LEVELS), "teacher", error=rv.DtypeError)
    refused(lambda: D.distill(bad, STUDENT), "teacher", error=rv.DtypeError)
    refused(lambda: D.teacher(bad), "mixture", error=rv.DtypeError)


@pytest.mark.parametrize("bad", [None, "generator", np.eye(2), PLANE])
def test_generators(bad):
    refused(lambda: D.losses(PLANE, bad, schedule=LEVELS), "generator", error=rv.DtypeError)
    refused(lambda: D.distill(PLANE, bad), "generator", error=rv.DtypeError)
    refused(lambda: D.student_optimal(bad), "generator", error=rv.DtypeError)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (lambda *a: np.full(a[1].shape[:-1], -1.0), "-1"),
        (lambda *a: np.full(a[1].shape[:-1], np.nan), "nan"),
    ],
)
@pytest.mark.parametrize("method", ["quadrature", "monte-carlo"])
def test_weights_that_are_called(weight, says, method):
    call = {"weight": weight, "method": method, "samples": 200}
    if method == "quadrature":
        call["nodes"] = 40
    refused(lambda: losses(**call), "weight", says, error=rv.InvalidArgument)


@pytest.mark.parametrize("method", ["quadrature", "monte-carlo"])
def test_weights_of_the_wrong_shape(method):
    call = {"weight": lambda *a: np.ones(3), "method": method, "samples": 200}
    refused(lambda: losses(**call), "weight", "(3,)", error=rv.ShapeMismatch)


@pytest.mark.parametrize(
    ("options", "says", "error"),
    [
        ({"steps": -1}, ("steps", "-1"), rv.InvalidArgument),
        ({"steps": 1.5}, ("steps", "1.5"), rv.DtypeError),
        ({"learning_rate": 0.0}, ("learning_rate", "0"), rv.InvalidArgument),
        ({"learning_rate": 2.0}, ("learning_rate", "2"), rv.InvalidArgument),
        ({"learning_rate": np.nan}, ("learning_rate", "nan"), rv.InvalidArgument),
        ({"method": "best"}, ("method", "'best'"), rv.InvalidArgument),
        ({"samples": 0}, ("samples", "0"), rv.InvalidArgument),
        ({"schedule": None}, ("schedule",), rv.DtypeError),
        ({"start": STUDENT}, ("start",), rv.DtypeError),
        ({"start": None}, ("start",), rv.DtypeError),
    ],
)
def test_options_of_fitting(options, says, error):
    given = {"schedule": LEVELS, "steps": 1, "start": PLANE} | options
    refused(lambda: D.student_fitted(STUDENT, **given), *says, error=error)


def test_a_fitted_predictor_knows_its_levels_only():
    fitted = D.student_fitted(STUDENT, LEVELS, 1, start=PLANE)
    refused(lambda: fitted(np.zeros(2), 1.0, 0.7), "0.7", error=rv.InvalidArgument)
    other = Schedule([1.0], [0.7])
    refused(lambda: losses(student=fitted, schedule=other), "0.7", error=rv.InvalidArgument)


def test_distances():
    refused(
        lambda: D.wasserstein2(PLANE, STUDENT, kind="exact"),
        "kind",
        "'sliced'",
        error=rv.InvalidArgument,
    )
    refused(
        lambda: D.wasserstein2(PLANE, STUDENT, kind="closed form"),
        "closed form",
        error=rv.InvalidArgument,
    )
    refused(
        lambda: D.wasserstein2(PLANE, STUDENT, kind="quantiles"),
        "quantiles",
        error=rv.InvalidArgument,
    )
    refused(lambda: D.wasserstein2(PLANE, np.eye(2)), "q", error=rv.DtypeError)
    refused(lambda: D.wasserstein2("p", STUDENT), "p", error=rv.DtypeError)
    refused(
        lambda: D.wasserstein2(PLANE, STUDENT, slices=0), "slices", "0", error=rv.InvalidArgument
    )
    refused(lambda: D.fisher_divergence(PLANE, STUDENT, None), "schedule", error=rv.DtypeError)


def test_steps_of_a_run():
    run = distill(steps=2)
    for bad in (3, -4):
        refused(lambda v=bad: run.generator(v), "step", str(bad), error=rv.InvalidArgument)
    refused(lambda: run.generator(0.5), "step", "0.5", error=rv.DtypeError)


# ---------------------------------------------------------------------------------------------
# Phases.


@pytest.mark.parametrize(
    ("options", "says", "error"),
    [
        ({"lams": []}, ("lams",), rv.ShapeMismatch),
        ({"lams": [[1.0]]}, ("lams", "(1, 1)"), rv.ShapeMismatch),
        ({"lams": [1.0, np.nan]}, ("lams[1]", "nan"), rv.InvalidArgument),
        ({"lams": ["one"]}, ("lams",), rv.DtypeError),
        ({"widths": []}, ("widths",), rv.ShapeMismatch),
        ({"widths": 1.0}, ("widths", "()"), rv.ShapeMismatch),
        ({"widths": [1.0, 0.0]}, ("widths", "0"), rv.InvalidArgument),
        ({"widths": [-1.0]}, ("widths", "-1"), rv.InvalidArgument),
        ({"widths": [np.inf]}, ("widths[0]", "inf"), rv.InvalidArgument),
        ({"teacher_width": 0.0}, ("teacher_width", "0"), rv.InvalidArgument),
        ({"teacher_width": np.nan}, ("teacher_width", "nan"), rv.InvalidArgument),
        ({"sigma": -1.0}, ("sigma", "-1"), rv.InvalidArgument),
        ({"sigma": 0.0}, ("sigma", "0"), rv.InvalidArgument),
        ({"sigma": 2.0, "schedule": LEVELS}, ("sigma", "schedule"), rv.InvalidArgument),
        ({"schedule": "ve"}, ("schedule",), rv.DtypeError),
        ({"learning_rate": 0.0}, ("learning_rate", "0"), rv.InvalidArgument),
        ({"steps": 0}, ("steps", "0"), rv.InvalidArgument),
        ({"steps": 2.5}, ("steps", "2.5"), rv.DtypeError),
    ],
)
def test_options_of_phases(options, says, error):
    given = {"lams": [1.0], "widths": [2.0]} | options
    refused(lambda: D.phase_diagram(**given), *says, error=error)


def test_widths_of_a_threshold():
    found = D.phase_diagram([1.0], [2.0], steps=1)
    for bad in (0.0, -1.0, np.nan):
        refused(lambda v=bad: found.threshold(v), "width", f"{bad:g}", error=rv.InvalidArgument)


# ---------------------------------------------------------------------------------------------
# What is there.


def test_everything_is_exported_and_documented():
    for name in D.__all__:
        value = getattr(D, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), name
            assert value.__module__.startswith("resolvent.distill"), name
    assert {
        "Generator",
        "GaussianMixture",
        "Schedule",
        "distill",
        "fisher_divergence",
        "losses",
        "phase_diagram",
        "schedule",
        "student_fitted",
        "student_optimal",
        "teacher",
        "wasserstein2",
    } <= set(D.__all__)
