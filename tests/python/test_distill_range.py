"""Stated errors at kinks, read-only results, and numbers near the ends of the range."""

from __future__ import annotations

import numpy as np
import pytest

import resolvent as rv
from resolvent.distill import _expectation

D = rv.distill
DATA = D.GaussianMixture([1.0], [0.0], [1.0])
ONE = D.Schedule([1.0], [1.0])
EPS = np.finfo(np.float64).eps

pytestmark = pytest.mark.filterwarnings("error")


def case(seed):
    random = np.random.default_rng(seed)
    data = D.GaussianMixture([0.5, 0.5], random.normal(size=2) * 2, random.uniform(0.05, 1, 2))
    student = D.Generator.mixture([0.5, 0.5], random.normal(size=2) * 2, random.normal(size=2))
    return data, student, D.Schedule([1.0], [random.uniform(0.2, 1)])


#: How far two rules may agree by accident at kinks, as the docstring of Losses says.
ACCIDENT = 30.0


@pytest.mark.parametrize("seed", range(10))
def test_stated_errors_see_the_kinks_of_sample_weights(monkeypatch, seed):
    data, student, levels = case(seed)
    found = D.losses(data, student, schedule=levels, weight="sample")
    monkeypatch.setitem(_expectation._INNER_NODES, 1, (2**11 + 1, 2**10 + 1))
    exact = D.losses(data, student, schedule=levels, weight="sample", nodes=1025)
    for name in ("l1", "l2", "loss"):
        assert abs(getattr(found, name) - getattr(exact, name)) <= ACCIDENT * found.error[name]
        for kind in ("frozen", "true"):
            apart = np.abs(getattr(found, kind)[name] - getattr(exact, kind)[name])
            assert (apart <= ACCIDENT * found.error[kind][name]).all()
    assert found.error["l1"] < 0.05 * found.l1


def test_results_of_losses_are_read_only():
    found = D.losses(DATA, D.Generator.affine(0.0, 2.0), schedule=ONE)
    for kind in (found.frozen, found.true, found.error["frozen"], found.error["true"]):
        assert not any(kind[name].flags.writeable for name in ("l1", "l2", "loss"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DATA.denoise([[3.0]], 1, 1e200), "alpha=1 and sigma=1e.200 must leave"),
        (lambda: DATA.noise([[3.0]], 1, 1e200), "alpha=1 and sigma=1e.200 must leave"),
        (lambda: DATA.denoise([[3.0]], 1e-200, 0), "alpha=1e-200 and sigma=0 must leave"),
        (lambda: DATA.diffuse(1e-200, 1e-200), "alpha=1e-200 and sigma=1e-200 must leave"),
        (lambda: D.Generator.affine(0, 1e200), r"factors must be .* factors\[0, 0, 0\] = 1e.200"),
        (lambda: D.losses(DATA, D.Generator.affine(1e160, 1), schedule=ONE), "teacher, generator"),
        (
            lambda: D.losses(
                DATA, D.Generator.affine(1e160, 1), schedule=ONE, method="monte-carlo"
            ),
            "teacher, generator",
        ),
        (
            lambda: D.Generator.affine([0, 0], [[1, 1], [1, 1 + 1e-12]]).distribution(),
            r"factors\[0\] has singular values",
        ),
        (lambda: D.Schedule([1, 1], [1, 1], [1e308, 1e308]), "weight must have a positive and fin"),
        (
            lambda: D.GaussianMixture([1.0], [1e60], [1.0]).score(np.ones((1, 1), np.float32)),
            r"x must be float64 .* means\[0, 0\] = 1e.60",
        ),
        (lambda: D.phase_diagram([1.0], [2.0], sigma=1e-200), "alpha/sigma.* must be finite"),
        (lambda: D.phase_diagram([1.0], [2.0], teacher_width=1e200), "teacher_width² must be fin"),
    ],
)
def test_out_of_range_is_refused_by_name(call, message):
    with pytest.raises(rv.InvalidArgument, match=message):
        call()


@pytest.mark.parametrize("scale", [1e300, 1e-200])
def test_data_out_of_range_are_refused_by_name(scale):
    data = np.random.default_rng(0).normal(size=(50, 1)) * scale
    with pytest.raises(rv.InvalidArgument, match="data must have variances"):
        D.GaussianMixture.fit(data, 1)


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e150])
def test_wasserstein_takes_any_unit(unit):
    p, q = D.Generator.affine(0.0, unit), D.Generator.affine(3.0 * unit, 5.0 * unit)
    np.testing.assert_allclose(D.wasserstein2(p, q), 5.0 * unit, rtol=16.0 * EPS)
    two = D.Generator.mixture([0.5, 0.5], [0.0, 0.0], [unit, unit])
    assert D.wasserstein2(two, q) == pytest.approx(5.0 * unit, rel=1e-6)


def test_wasserstein_of_narrow_and_far():
    root = np.sqrt(2.0) * 1e-200
    found = D.wasserstein2(D.Generator.affine(0, 1e-200), D.Generator.affine(1e-200, 0))
    np.testing.assert_allclose(found, root, rtol=16.0 * EPS)
    found = D.wasserstein2(D.Generator.affine(0, 1e150), D.Generator.affine(1e200, 0))
    np.testing.assert_allclose(found, 1e200, rtol=16.0 * EPS)


def test_an_untrained_psi_is_not_convergence():
    run = D.distill(DATA, D.Generator.affine(1.0, 2.0), psi_steps=0, steps=3)
    assert run.outcome == "unfinished"
    assert run.w2[0] == run.w2[-1] > 1.0


@pytest.mark.parametrize("rate", [1e10, 1e300, 1e308])
def test_huge_learning_rates_diverge(rate):
    run = D.distill(DATA, D.Generator.affine(1.0, 2.0), learning_rate=rate, steps=3)
    assert run.outcome == "diverged"


def test_phase_diagram_at_the_ends_of_the_range():
    wide = D.phase_diagram([0.0, 2.0], [1e200])
    assert wide.names[wide.outcome[1, 0]] == "diverged"
    extreme = D.phase_diagram([-1e308, 1e308], [2.0])
    assert extreme.names[extreme.outcome[1, 0]] == "diverged"
    assert wide.threshold(1e160) == 1.0
    silent = D.phase_diagram([1.0], [2.0], schedule=D.Schedule([0.0], [1.0]), steps=1)
    assert silent.threshold(2.0) == np.inf
