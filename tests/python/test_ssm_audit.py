"""The audit: every route's kernel and output, their differences, and whose fault they are."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from ssm_support import (
    BY_NAME,
    DETOURS,
    EPS,
    EPS32,
    FFT,
    KINDS,
    PROMISE,
    SINGLE,
    SUM,
    WARNED,
    assert_bits,
    assert_kernel,
    assert_within,
    discrete_matrices,
    exact_kernel,
    kernel_by,
    refused,
    rounded,
    system_case,
)

import resolvent as rv
from oracles import ssm as oracle

matplotlib.use("Agg")

PARTS = {"eigenvectors", "coefficients", "cauchy", "fft", "truncation", "precision", "agreement"}
# What is compared where it is not two routes.
VARIANTS = {
    "fft": ("fft", "direct"),
    "truncation": ("plain", "truncated"),
    "precision": ("float32", "float64"),
}
LENGTH = 32


def audited(case, length=LENGTH, rule="bilinear"):
    model, keywords = case.call(rule)
    u = np.random.default_rng(40).standard_normal(length)
    return rv.ssm.audit(model, u, **keywords), u


def largest_difference(one, two, reference):
    return np.abs(np.asarray(one) - np.asarray(two)).max() / np.abs(np.asarray(reference)).max()


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_an_audit_holds_what_each_route_gives(case):
    audit, u = audited(case)
    expected, condition = exact_kernel(case, "bilinear", LENGTH)
    assert isinstance(audit.routes, tuple)
    assert set(audit.kernels) == set(audit.outputs) == set(audit.routes)
    assert set(audit.routes) == set(rv.ssm.routes(case.call()[0]))
    output = np.convolve(u, expected)[:LENGTH]
    bound = PROMISE * EPS * condition * np.abs(expected).max() * np.abs(u).sum()
    for route in audit.routes:
        found, loss = kernel_by(route, case, LENGTH)
        assert_kernel((audit.kernels[route], loss), expected, condition, route)
        assert_within(audit.kernels[route], np.asarray(found), SUM * EPS * np.abs(expected).max())
        if loss < WARNED:
            assert_within(audit.outputs[route], output, loss * bound, route)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_differences_are_those_of_the_pairs(case):
    """Relative to the largest entry of the reference's."""
    audit, _ = audited(case)
    count = len(audit.routes)
    for values, found in (
        (audit.kernels, audit.kernel_differences),
        (audit.outputs, audit.output_differences),
    ):
        assert found.shape == (count, count)
        for i, j in np.ndindex(count, count):
            one, two = values[audit.routes[i]], values[audit.routes[j]]
            expected = largest_difference(one, two, values[audit.reference])
            assert_within(found[i, j], expected, SUM * EPS * expected)


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_findings_name_a_part_and_what_was_compared(case):
    audit, _ = audited(case)
    assert isinstance(audit.findings, tuple)
    parts = [finding.part for finding in audit.findings]
    assert set(parts) <= PARTS
    assert len(set(parts)) == len(parts)
    assert {"agreement", "fft", "precision"} <= set(parts)
    for finding in audit.findings:
        wanted = VARIANTS.get(finding.part)
        assert (
            set(finding.routes) == set(wanted)
            if wanted
            else set(finding.routes) <= set(audit.routes)
        )
        assert finding.difference >= 0
        assert finding.expected >= 0
        assert finding.statement
        assert audit.finding(finding.part) is finding


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_findings_are_the_differences_that_they_name(case):
    """Computed again here, each from two computations that differ in one part only."""
    audit, u = audited(case)
    reference = audit.kernels[audit.reference]
    agreement = audit.finding("agreement")
    worst = max(
        largest_difference(audit.kernels[route], reference, reference) for route in agreement.routes
    )
    assert (1 - SUM * EPS) * worst <= agreement.difference <= 2 * worst  # of two of them
    assert not set(agreement.routes) & (set(DETOURS) - case.routes)

    outputs = [rv.ssm.convolve(u, reference, method=method) for method in ("fft", "direct")]
    changed = largest_difference(*outputs, outputs[1])
    assert audit.finding("fft").difference <= 4 * changed + FFT * EPS
    assert EPS32 / 64 < audit.finding("precision").difference < SINGLE

    if "truncation" in [f.part for f in audit.findings]:
        a, b = (rounded(v) for v in discrete_matrices(case, "bilinear"))
        c = case.expand(case.read_out())
        wrapped = oracle.aliased_kernel(a, b, c, LENGTH)  # C taken for C~
        expected, condition = exact_kernel(case, "bilinear", LENGTH)
        tail = largest_difference(wrapped, expected, expected)
        found = audit.finding("truncation").difference
        assert_within(found, tail, PROMISE * EPS * condition * max(tail, 1.0) * 10)


def test_well_conditioned_routes_agree():
    """No difference beyond what rounding explains where all is well."""
    for name in ("legs-5", "lin-6-half", "dplr-legs-5-half", "discrete-real"):
        audit, _ = audited(BY_NAME[name])
        for finding in audit.findings:
            if finding.part != "truncation":  # says how long the kernel is
                assert finding.difference <= PROMISE * finding.expected, (name, finding)
        assert audit.finding("agreement").difference < PROMISE * EPS


def test_eigenvectors_of_a_are_found_out():
    """LegS of order 16: condition 1e11, 1e4 times what the other routes differ by at least."""
    audit, _ = audited(system_case("legs", 16), 200)
    finding = audit.finding("eigenvectors")
    assert {"diagonal", "scan"} <= set(finding.routes)
    assert finding.difference > 1e4 * audit.finding("agreement").difference
    assert finding.difference < PROMISE * finding.expected
    assert finding.expected > WARNED * EPS


def test_a_tail_that_is_wrapped_around_is_found_out():
    """What C in the place of C(I - A^L) changes: all at a short length, nothing at a long one."""
    case = BY_NAME["dplr-legs-5-half"]
    short, _ = audited(case, 8)
    long, _ = audited(case, 4096)
    assert short.finding("truncation").difference > 1e-2
    assert long.finding("truncation").difference < PROMISE * EPS


def test_an_audit_shows_itself():
    audit, _ = audited(BY_NAME["legs-5"])
    shown = audit._repr_html_()
    assert "<table" in shown
    for route in audit.routes:
        assert route in shown
    assert len(repr(audit)) < 400
    axes = audit.plot()
    assert axes is not None
    plt.close("all")


def test_an_audit_does_not_change():
    audit, _ = audited(BY_NAME["legs-5"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        audit.routes = ()
    with pytest.raises((ValueError, TypeError)):
        audit.kernel_differences[0, 0] = 1.0
    for other in (copy.deepcopy(audit), pickle.loads(pickle.dumps(audit))):
        assert other.routes == audit.routes
        assert_bits(other.kernel_differences, audit.kernel_differences)


def test_routes_that_fail_are_told_with_their_reason():
    """An integrator has no resolvent at z = 1."""
    model = rv.spectral.DPLR([0.0], [[0.0]], [[0.0]], [1.0])
    audit = rv.ssm.audit(model, np.ones(16), step=0.25, C=[1.0])
    assert "dplr" in audit.failed
    assert "dplr" not in audit.routes
    assert audit.failed["dplr"]
    assert "dplr" in audit._repr_html_()
    assert_within(audit.outputs[audit.reference], 0.25 * np.arange(1, 17), SUM * EPS * 4)


def test_the_length_of_an_audit_is_the_inputs_unless_told():
    model, keywords = BY_NAME["legs-5"].call()
    u = np.random.default_rng(41).standard_normal(20)
    default = rv.ssm.audit(model, u, **keywords)
    assert all(len(k) == 20 for k in default.kernels.values())
    told = rv.ssm.audit(model, u, length=30, **keywords)
    assert all(len(k) == 30 for k in told.kernels.values())


@pytest.mark.parametrize("rule", ["zoh", "backward", "gbt"])
def test_audits_of_other_rules(rule):
    case = BY_NAME["dplr-legs-5-half"]
    audit, _ = audited(case, rule=rule)
    expected, condition = exact_kernel(case, rule, LENGTH)
    for route in set(audit.routes) - set(DETOURS):
        assert_kernel(audit.kernels[route], expected, condition, route)


def test_audits_refuse_what_kernels_refuse():
    model, keywords = BY_NAME["legs-5"].call()
    refused(lambda: rv.ssm.audit(model, np.ones(8), **(keywords | {"rule": "tustin"})), "rule")
    refused(lambda: rv.ssm.audit(model, np.ones(0), **keywords), "length")
    refused(lambda: rv.ssm.audit(model, [1.0, np.nan], **keywords), "u", "finite")
