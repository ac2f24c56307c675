"""What the other tests do not see: rules against each other, blocks, and closed-form steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

import resolvent as rv
from resolvent.distill import _distances, _expectation

D = rv.distill
EPS = np.finfo(np.float64).eps

#: Taylor's remainder of Φ at half a table step, δ⁴/24·max|He₃φ|, with δ = 1/1024 and 1.4.
TABLE = (1.0 / 1024.0) ** 4 / 24.0 * 1.4

#: Roundings of sums over nodes and of small matrix products, in eps.
ROUNDINGS = 4096.0

#: What the docstring of distill says of its gradients, times 20 for "of the order of".
STEP_ERRORS = {1: 2e-7, 2: 2e-2}

LINE = (
    D.GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.25, 0.25]),
    D.Generator([0.3, 0.7], [0.5, -1.0], [2.0, -0.6]),
)
PLANE = (
    D.GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], [0.3 * np.eye(2), 0.5 * np.eye(2)]),
    D.Generator([0.5, 0.5], [[0.0, 0.5], [-1.0, 0.0]], [[[1.5, 0.2], [0.0, 0.7]], np.eye(2)]),
)
CASES = [pytest.param(*LINE, id="line"), pytest.param(*PLANE, id="plane")]


def one(x0, xt, alpha, sigma):
    return np.ones(xt.shape[:-1])


def flat(found, names=("l1", "l2", "loss")):
    """Values and gradients as one vector."""
    parts = [np.atleast_1d(getattr(found, name)) for name in names]
    return np.concatenate(
        parts + [kind[name] for kind in (found.frozen, found.true) for name in names]
    )


@pytest.mark.parametrize(("data", "student"), CASES)
def test_moments_given_the_noised_sample_are_those_of_the_joint_rule(data, student):
    # A callable may depend on x_0, so it is integrated over all of (z, ε).
    levels = D.schedule("ve", 2, smallest=0.8)
    short = D.losses(data, student, schedule=levels)
    joint = D.losses(data, student, weight=one, schedule=levels)
    allowed = max(joint.error["frozen"]["l2"].max(), joint.error["true"]["l2"].max())
    np.testing.assert_allclose(flat(short), flat(joint), rtol=0.0, atol=2.0 * allowed)
    assert allowed < 1e-2 * np.abs(flat(short)).max()


@pytest.mark.parametrize("method", ["quadrature", "monte-carlo"])
def test_blocks_do_not_matter(monkeypatch, method):
    levels = D.Schedule([1.0, 0.8], [0.7, 1.5])
    options = {"schedule": levels, "method": method, "samples": 512}
    whole = flat(D.losses(*PLANE, **options))
    monkeypatch.setattr(_expectation, "_BLOCK", 1)
    parts = flat(D.losses(*PLANE, **options))
    np.testing.assert_allclose(parts, whole, rtol=0.0, atol=ROUNDINGS * EPS * np.abs(whole).max())


def test_steps_of_regression_in_closed_form_are_steps():
    data, student = PLANE
    levels = D.Schedule([1.0], [0.9])
    at_once = D.student_fitted(student, levels, 6, start=data, learning_rate=1.7)
    one_by_one = D.student_fitted(student, levels, 0, start=data)
    for _ in range(6):
        one_by_one = one_by_one.continued(student, 1, learning_rate=1.7)
    assert at_once.steps == one_by_one.steps == 6
    np.testing.assert_allclose(
        at_once.coefficients, one_by_one.coefficients, rtol=0.0, atol=ROUNDINGS * EPS
    )


@pytest.mark.parametrize(("data", "student"), CASES)
def test_the_step_of_distill_is_along_the_gradient_of_losses(data, student):
    levels = D.schedule("ve")
    run = D.distill(data, student, schedule=levels, steps=1)
    unit = run.learning_rate * np.trace(data.covariance()) / data.dim
    stepped = (run.parameters[0] - run.parameters[1]) / unit
    gradient = D.losses(data, student, schedule=levels).frozen["loss"]
    assert np.linalg.norm(stepped - gradient) <= STEP_ERRORS[data.dim] * np.linalg.norm(gradient)


def test_normal_distribution_from_its_table():
    x = np.linspace(-10.0, 10.0, 4001)
    exact = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in x])
    assert np.abs(_distances._normal_cdf(x) - exact).max() <= TABLE + 4.0 * EPS


def test_the_nodes_do_not_depend_on_what_x_is_measured_in():
    """The doubling of nodes is a close decision here, which units of x must not make."""
    data = rv.distill.GaussianMixture(
        [0.63, 0.37],
        [[-1.63, -0.15], [-0.87, -0.51]],
        [[[0.34, -0.09], [-0.09, 0.063]], [[0.76, -0.69], [-0.69, 0.93]]],
    )
    student = rv.distill.Generator.affine([0.09, -0.26], [[0.79, -1.22], [0.9, 1.57]])
    found = []
    for unit in (1.0, 3.0, 30.0, 1e-3):
        scaled = rv.distill.GaussianMixture(
            data.weights, unit * data.means, unit**2 * data.covariances
        )
        levels = rv.distill.Schedule([1.0, 0.6], [0.85 * unit, 0.8 * unit], [1.0, 2.0])
        losses = rv.distill.losses(
            scaled, student.replace(unit * student.parameters), schedule=levels
        )
        found.append(np.append(unit * losses.frozen["l1"], losses.l1))
    eps = np.finfo(float).eps
    # Sums over up to 257² nodes, of terms with some 64 roundings each.
    allowed = 64 * 257 * eps * np.abs(found[0]).max()
    for other in found[1:]:
        assert np.abs(other - found[0]).max() <= allowed
