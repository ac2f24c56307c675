"""Layers against their definitions step by step, adjoints by complex steps, influence by both."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_within
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from ssm_support import refused

import resolvent as rv
from resolvent.attention import LAYERS, Influences, Layer, influence, influence_curves, layer

# Multiples of eps.
FORWARD = 64  # an output, per step, relative to the largest output
ADJOINT = 64  # a directional derivative, per step, relative to its absolute terms
CURVE = 64  # a ratio of norms, per step

#: A mean over so many independent draws is within so many standard errors.
ERRORS = 5.0

TINY = 1e-100  # a complex step: nothing is subtracted, so it has no rounding to balance

LTI = ("lru", "s5")
WITH_HEADS = ("attention", "linear_attention", "retnet", "mamba2")


# ---------------------------------------------------------------------------------------------
# The definitions. They hold for complex sequences too, as analytic functions.


def softplus(x):
    return np.log1p(np.exp(x))


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def elu(x):
    return np.where(x.real > 0.0, x + 1.0, np.exp(x))


def attention(p, u, model):
    y, size = [], model.d // model.heads
    for t in range(len(u)):
        parts = []
        for h in range(model.heads):
            own = slice(h * size, (h + 1) * size)
            q, k, v = (u[: t + 1] @ p[weight][:, own] for weight in ("W_q", "W_k", "W_v"))
            logits = k @ q[-1] / math.sqrt(size)
            weights = np.exp(logits - logits.real.max())
            parts.append(weights @ v / weights.sum())
        y.append(np.concatenate(parts))
    return np.array(y)


def matrix_state(model, u, q, k, v, decays, feature=lambda x: x, normalize=False):
    """Per head: q, k give rows of features, v rows of values, decays one number a step."""
    outputs = []
    for h in range(model.heads):
        S, z, rows = 0.0, 0.0, []
        for t in range(len(u)):
            key = feature(k(h)[t])
            S = decays(h)[t] * S + np.outer(key, v(h)[t])
            z = z + key
            query = feature(q(h)[t])
            rows.append(query @ S / (query @ z if normalize else 1.0))
        outputs.append(rows)
    return np.concatenate(outputs, axis=-1)


def blocks(p, u, model, name, size):
    return lambda h: u @ p[name][:, h * size : (h + 1) * size]


def linear_attention(p, u, model):
    size = model.d // model.heads
    q, k = (blocks(p, u, model, name, model.state) for name in ("W_q", "W_k"))
    one = np.ones(len(u))
    return matrix_state(model, u, q, k, blocks(p, u, model, "W_v", size), lambda h: one, elu, True)


def retnet(p, u, model):
    size = model.d // model.heads
    q, k = (blocks(p, u, model, name, model.state) for name in ("W_q", "W_k"))
    decays = p["decay"][:, None] * np.ones(len(u))
    return matrix_state(model, u, q, k, blocks(p, u, model, "W_v", size), decays.__getitem__)


def mamba2(p, u, model):
    size = model.d // model.heads
    dt = softplus(u @ p["W_dt"] + p["b_dt"])
    x = blocks(p, u, model, "W_x", size)
    return matrix_state(
        model, u, lambda h: u @ p["W_C"], lambda h: u @ p["W_B"],
        lambda h: dt[:, h, None] * x(h), lambda h: np.exp(dt[:, h] * p["A"][h]),
    )  # fmt: skip


def mamba(p, u, model):
    dt = softplus(u @ p["W_dt"] + p["b_dt"])
    x, B, C = u @ p["W_u"], u @ p["W_B"], u @ p["W_C"]
    h, rows = 0.0, []
    for t in range(len(u)):
        h = np.exp(dt[t][:, None] * p["A"]) * h + np.outer(dt[t] * x[t], B[t])
        rows.append(h @ C[t])
    return np.array(rows)


def rwkv(p, u, model):
    k, v, rows = u @ p["W_k"], u @ p["W_v"], []
    for t in range(len(u)):
        age = np.arange(t - 1, -1, -1)[:, None]
        weights = np.concatenate([np.exp(-age * p["w"] + k[:t]), np.exp(p["u"] + k[t])[None]])
        rows.append((weights * v[: t + 1]).sum(0) / weights.sum(0))
    return sigmoid(u @ p["W_r"]) * np.array(rows)


def discrete(model):
    """λ and the matrix that inputs pass, and how often the real part counts."""
    p = model.parameters
    if model.name == "lru":
        eigenvalues = p["eigenvalues"]
        return eigenvalues, np.sqrt(1.0 - abs(eigenvalues) ** 2)[:, None] * p["B"], 1.0
    eigenvalues = np.exp(p["eigenvalues"] * p["step"])
    return eigenvalues, ((eigenvalues - 1.0) / p["eigenvalues"])[:, None] * p["B"], 2.0


def kernel(model, length):
    """The matrices K_k of y_t = Σ K_k u_{t−k}."""
    eigenvalues, B, twice = discrete(model)
    powers = eigenvalues[:, None] ** np.arange(length)
    return twice * np.einsum("gn,nk,nh->kgh", model.parameters["C"], powers, B).real


def lti(p, u, model):
    K = kernel(model, len(u))
    return np.array([sum(K[k] @ u[t - k] for k in range(t + 1)) for t in range(len(u))])


DEFINITIONS = {
    "attention": attention,
    "linear_attention": linear_attention,
    "retnet": retnet,
    "rwkv": rwkv,
    "lru": lti,
    "s5": lti,
    "mamba": mamba,
    "mamba2": mamba2,
}


def define(model, u):
    return DEFINITIONS[model.name](model.parameters, u, model)


def slope(model, u, direction):
    """The derivative of all outputs along a direction of the input, exact to rounding."""
    return define(model, u + 1j * TINY * direction).imag / TINY


def small(name, seed=3):
    return layer(name, 6, heads=2, state=3, seed=seed)


# ---------------------------------------------------------------------------------------------
# Layers.


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("form", rv.attention.linear.FORMS)
@pytest.mark.parametrize(("dtype", "eps"), [(np.float64, EPS), (np.float32, EPS32)])
def test_the_definition_in_every_form(name, form, dtype, eps):
    model = small(name)
    u = np.random.default_rng(0).standard_normal((2, 70, 6)).astype(dtype)
    found = model(u, form=form)
    assert found.dtype == dtype
    expected = np.stack([define(model, row) for row in u.astype(float)])
    assert_within(found, expected, FORWARD * eps * 70 * abs(expected).max())


@pytest.mark.parametrize("name", LAYERS)
def test_the_adjoint_by_complex_steps(name):
    model = small(name)
    u, g, *directions = np.random.default_rng(1).standard_normal((5, 24, 6))
    found = model.vjp(u, g)
    assert found.shape == u.shape
    for direction in directions:
        terms = g * slope(model, u, direction)
        bound = ADJOINT * EPS * 24 * (abs(terms).sum() + abs(found * direction).sum())
        assert_within((found * direction).sum(), terms.sum(), bound)


@pytest.mark.parametrize("name", LAYERS)
def test_the_adjoint_in_single_precision(name):
    model = small(name)
    u, g = np.random.default_rng(2).standard_normal((2, 24, 6)).astype(np.float32)
    found, exact = model.vjp(u, g), model.vjp(u.astype(float), g.astype(float))
    assert found.dtype == np.float32
    assert_within(found, exact, ADJOINT * EPS32 * 24 * abs(exact).max())


@pytest.mark.parametrize("name", LAYERS)
def test_nothing_comes_back_from_later(name):
    u, g = np.random.default_rng(3).standard_normal((2, 20, 6))
    g[12:] = 0.0
    found = small(name).vjp(u, g)
    assert not found[12:].any()
    assert found[:12].any(axis=-1).all()


@pytest.mark.parametrize("name", LAYERS)
def test_leading_axes_are_batch(name):
    model = small(name)
    u, g = np.random.default_rng(4).standard_normal((2, 2, 3, 9, 6))
    outputs, gradients = model(u), model.vjp(u, g)
    for i in np.ndindex(2, 3):
        scale = 9 * FORWARD * EPS
        assert_within(outputs[i], model(u[i]), scale * abs(outputs).max())
        assert_within(gradients[i], model.vjp(u[i], g[i]), scale * abs(gradients).max())


def test_blocks_of_queries_change_nothing(monkeypatch):
    from resolvent.attention import _layers

    u, g = np.random.default_rng(5).standard_normal((2, 3, 40, 6))
    whole = small("attention").vjp(u, g)
    monkeypatch.setattr(_layers, "_SCORES", 3 * 2 * 40 * 7)
    assert_within(small("attention").vjp(u, g), whole, ADJOINT * EPS * 40 * abs(whole).max())


def numbers(state):
    """Real numbers in one sequence's state."""
    parts = state if isinstance(state, tuple) else (state,)
    return sum(part.size * (2 if np.iscomplexobj(part) else 1) for part in parts)


@pytest.mark.parametrize("name", LAYERS)
def test_the_size_of_the_state(name):
    model = small(name)
    if name == "attention":
        assert [model.state_size(length) for length in (0, 1, 50)] == [0, 12, 600]
        return
    u = np.random.default_rng(6).standard_normal((5, 6))
    assert model.state_size(1) == model.state_size(10**9) == numbers(model._advanced(u, None))


def test_the_papers_parameters():
    assert layer("retnet", 8, heads=4).parameters["decay"].tolist() == [
        1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128, 1 - 1 / 256,
    ]  # fmt: skip
    radius = abs(layer("lru", 4, state=500).parameters["eigenvalues"])
    assert radius.min() >= 0.9
    assert radius.max() <= 0.999
    s5 = layer("s5", 4, state=8).parameters
    legs = rv.spectral.diagonal(16, "legs", half=True).eigenvalues
    assert_bits(s5["eigenvalues"], legs)
    mamba = layer("mamba", 400).parameters
    assert_bits(mamba["A"][7], -np.arange(1.0, 17.0))
    for steps in (s5["step"], softplus(mamba["b_dt"])):
        assert steps.min() >= 1e-3 * (1 - 8 * EPS)
        assert steps.max() <= 1e-1 * (1 + 8 * EPS)
    A = layer("mamba2", 400, heads=400).parameters["A"]
    assert -16.0 <= A.min() < -15.0 < -2.0 < A.max() <= -1.0
    w = layer("rwkv", 33).parameters["w"]
    assert_within(w[[0, -1]], np.exp([-5.0, 3.0]), 8 * EPS * w[-1])
    W = layer("attention", 128).parameters["W_q"]
    spread = math.sqrt(2.0) / 128  # relative standard error of a variance of 128² entries
    assert_within(128 * W.var(), 1.0, ERRORS * spread)


def test_seeds():
    one, other = (layer("mamba", 5, seed=s).parameters["W_u"] for s in (1, 2))
    assert_bits(one, layer("mamba", 5, seed=1).parameters["W_u"])
    assert not np.array_equal(one, other)


def test_models_without_heads_have_one():
    for name in LAYERS:
        assert layer(name, 4, heads=2).heads == (2 if name in WITH_HEADS else 1)


def test_parameters_are_fixed_and_replaceable():
    model = small("retnet")
    with pytest.raises(ValueError, match="read-only"):
        model.parameters["decay"][0] = 0.5
    given = {**model.parameters, "decay": np.array([0.5, 0.25])}
    other = replace(model, parameters=given)
    given["decay"][:] = 7.0
    assert other.parameters["decay"].tolist() == [0.5, 0.25]
    again = pickle.loads(pickle.dumps(model)).parameters["decay"]
    assert_bits(again, model.parameters["decay"])
    assert not again.flags.writeable
    refused(
        lambda: replace(model, parameters={**model.parameters, "decay": np.ones(3)}),
        "parameters['decay']", (2,), (3,), error=rv.ShapeMismatch,
    )  # fmt: skip
    refused(lambda: replace(model, parameters={"decay": np.ones(2)}), "W_q", "got decay")
    with_nan = {**model.parameters, "decay": np.array([0.5, np.nan])}
    refused(lambda: replace(model, parameters=with_nan), "decay", "finite")


def test_layers_refuse():
    refused(lambda: layer("transformer", 8), "name", "'attention'", "'transformer'")
    refused(lambda: layer("retnet", 8, heads=3), "heads must divide d = 8, got 3")
    refused(lambda: Layer("lru", 4, 2, 1, {}), "heads must be 1 for 'lru', got 2")
    refused(lambda: layer("lru", 0), "d must be at least 1")
    refused(lambda: layer("lru", 4, state=0), "state must be at least 1")
    refused(lambda: layer("lru", 4, seed=-1), "seed must be at least 0")
    model = small("retnet")
    u = np.zeros((4, 6))
    refused(lambda: model(np.zeros((4, 5))), "u must have shape (..., L, 6)", "(4, 5)")
    refused(lambda: model(np.zeros(6)), "u must have shape", "(6,)")
    refused(lambda: model(u, form="serial"), "form", "'chunked'", "'serial'")
    refused(lambda: model.vjp(u, u[:3]), "g must have the shape of u, (4, 6)", "(3, 6)")
    bad = u.copy()
    bad[2, 1] = np.nan
    refused(lambda: model(bad), "u", "finite")
    refused(lambda: model.vjp(u, bad), "g", "finite")
    refused(lambda: model(u + 1j), "u", error=rv.DtypeError)
    refused(lambda: model.state_size(-1), "length must be at least 0")


def test_layers_show_themselves():
    assert repr(small("mamba2")) == "Layer('mamba2', d=6, heads=2, state=3)"
    assert repr(small("rwkv")) == "Layer('rwkv', d=6)"
    assert "W_dt" in small("mamba")._repr_html_()


# ---------------------------------------------------------------------------------------------
# Influence.


def jacobian_energies(model, u):
    """‖∂y_t/∂u_{t−k}‖² for the last t, column by column."""
    energies = np.zeros(len(u))
    for k in range(len(u)):
        for i in range(model.d):
            direction = np.zeros_like(u)
            direction[-1 - k, i] = 1.0
            energies[k] += np.square(slope(model, u, direction)[-1]).sum()
    return energies


@pytest.mark.parametrize("name", LAYERS)
def test_the_influence_is_the_norm_of_the_jacobian(name):
    model, length = layer(name, 4, heads=2, state=3, seed=5), 9
    samples = np.random.default_rng(7).standard_normal((3, length, 4))
    norms = sum(np.sqrt(jacobian_energies(model, u)) for u in samples)
    expected = norms / norms[1]
    found = influence(model, np.arange(length), length=length, samples=3, seed=7)
    assert_within(found, expected, CURVE * EPS * length * expected)
    relative = influence(model, [0, 4], length=length, samples=3, seed=7, reference=2)
    assert_within(relative, expected[[0, 4]] / expected[2], CURVE * EPS * length * relative)


@pytest.mark.parametrize("name", LTI)
def test_linear_models_in_closed_form(name):
    model = layer(name, 5, state=6)
    norms = np.sqrt(np.square(kernel(model, 300)).sum(axis=(1, 2)))
    found = influence_curves([model], 300, samples=1).curves[name]
    # A sum of terms of size ‖C‖‖B‖ may cancel.
    _, B, twice = discrete(model)
    terms = twice * np.linalg.norm(model.parameters["C"]) * np.linalg.norm(B)
    assert_within(found, norms / norms[1], CURVE * EPS * 300 * terms / norms[1])
    assert influence(model, 7, samples=1) == pytest.approx(
        found[7], rel=CURVE * EPS * 300 * terms / norms[7]
    )


def test_retention_fades_by_its_decay():
    """E ‖J_k‖ ∝ γ^k for k ≥ 1: other keys and values at every lag, all alike."""
    model = layer("retnet", 16, state=16)
    samples, lags = 64, np.arange(1, 33)
    found = influence(model, lags, samples=samples) / (1 - 2.0**-5) ** (lags - 1.0)
    # ‖J_k‖² = (q·k)²‖W_v‖² + … of independent keys: the norm's relative variance is at most that of
    # the absolute value of a normal number, π/2 − 1.
    error = math.sqrt((math.pi / 2 - 1) / samples)
    assert_within(found / found.mean(), np.ones(32), ERRORS * error)
    steepness = np.polyfit(lags, np.log(found), 1)[0]
    assert_within(steepness, 0.0, ERRORS * error * math.sqrt(12.0 / 32**3))


def test_attention_never_forgets():
    names = ("attention", "retnet", "linear_attention")
    found = influence_curves([layer(name, 16, heads=2) for name in names], 120)
    assert found.half_lives["attention"] == math.inf
    assert found.half_lives["linear_attention"] == math.inf
    assert found.half_lives["retnet"] < 120


def test_probes_estimate_the_same():
    model, samples, lags = layer("lru", 12, state=4), 400, [0, 1, 5, 20]
    exact = influence(model, lags, samples=1, probes=12)
    found = influence(model, lags, samples=samples, probes=3)
    # Relative variance of ‖gᵀJ‖² over unit g is at most 2, that of its root for three of them at
    # most a quarter of 2/3, and that of a ratio at most twice that.
    assert_within(found / exact, np.ones(4), ERRORS * math.sqrt(1.0 / 3.0 / samples))
    assert not np.array_equal(found, exact)


def test_blocks_of_directions_change_nothing(monkeypatch):
    from resolvent.attention import _influence

    model = small("mamba2")
    whole = influence(model, np.arange(8))
    monkeypatch.setattr(_influence, "_GRADIENTS", 4 * 16 * 6)
    assert_within(influence(model, np.arange(8)), whole, CURVE * EPS * 16 * whole)


def test_the_shape_of_the_lags():
    assert isinstance(influence("lru", 3, samples=1), float)
    assert influence("lru", [[1, 2], [3, 4]], samples=1).shape == (2, 2)
    assert influence("lru", 1, samples=1) == 1.0


def by_hand(**curves):
    layers = {label: layer("retnet", 4) for label in curves}
    return Influences(np.arange(6), {k: np.array(v) for k, v in curves.items()}, layers)


def test_half_lives():
    found = by_hand(
        # Lag 3 is averaged with 4, lag 4 with 3 and 5.
        back=[3.0, 1.0, 0.4, 0.9, 0.3, 0.2], at_once=[9.0, 1.0, 0.1, 0.1, 0.1, 0.1],
        never=[0.1, 1.0, 0.9, 0.3, 0.3, 0.7],
    )  # fmt: skip
    assert found.half_lives == {"back": 3.0, "at_once": 1.0, "never": math.inf}


def test_several_models():
    short, long = layer("retnet", 4), layer("retnet", 4, heads=4)
    found = influence_curves({"short": short, "long": long}, 40)
    assert list(found.curves) == ["short", "long"]
    assert found.layers["long"] is long
    assert_bits(found.curves["short"], influence(short, np.arange(40), length=40))
    with pytest.raises(ValueError, match="read-only"):
        found.curves["short"][0] = 0.0


def test_influence_refuses():
    refused(lambda: influence("transformer", 1), "model", "Layer", "'transformer'")
    refused(lambda: influence("lru", -1), "lag must be at least 0, got -1")
    refused(lambda: influence("lru", 1.5), "lag must be integers", error=rv.DtypeError)
    refused(lambda: influence("lru", 9, length=9), "length must be more than the largest lag 9")
    refused(lambda: influence("lru", 1, samples=0), "samples must be at least 1")
    refused(lambda: influence("lru", 1, probes=0), "probes must be at least 1")
    refused(lambda: influence_curves(["lru", "lru"]), "different names", "lru, lru")
    refused(lambda: influence_curves("lru"), "models must be several")
    refused(lambda: influence_curves(["lru"], 1), "length must be at least 2")
    still = layer("retnet", 4)
    still = replace(still, parameters={**still.parameters, "decay": np.zeros(1)})
    refused(lambda: influence(still, 1), "reference", "none")


def test_influences_show_themselves():
    found = by_hand(a=[1.0, 1.0, 0.4, 0.1, 0.1, 0.1])
    assert repr(found) == "Influences(1 models, lags 0 … 5; half-lives a 1)"
    assert str(found).splitlines()[1].split()[:2] == ["a", "1"]
    assert "<table>" in found._repr_html_()


def test_the_picture():
    found = influence_curves(["attention", "mamba", "mamba2"], 16, samples=1)
    ax = found.plot(ax=Figure().subplots())
    drawn = {line.get_label().split(",")[0]: line for line in ax.lines}
    assert to_rgba(drawn["Mamba"].get_color()) == to_rgba("C2")
    assert to_rgba(drawn["Mamba-2"].get_color()) == to_rgba("C2")
    assert drawn["Mamba-2"].get_linestyle() != drawn["Mamba"].get_linestyle()
    assert_bits(drawn["Mamba"].get_ydata(), found.curves["mamba"][1:])


def test_layers_by_hand_are_layers():
    model = small("lru")
    again = Layer("lru", 6, 1, 3, dict(model.parameters))
    u = np.random.default_rng(8).standard_normal((7, 6))
    assert_bits(again(u), model(u))
