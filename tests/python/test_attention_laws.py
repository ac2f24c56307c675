"""Laws of attention and of linear recurrences, over sequences that Hypothesis draws."""

from __future__ import annotations

import numpy as np
from attention_support import (
    ATTENTION,
    EPS,
    FORMS,
    GRADIENT,
    MODELS,
    RECURRENCE,
    ROUTES,
    SIZES,
    assert_bits,
    assert_within,
)
from hypothesis import assume, given
from hypothesis import strategies as st

import resolvent as rv
from oracles import attention as oracle

causal = rv.attention.causal

SEED = st.integers(0, 2**20)
LENGTH = st.integers(1, 40)
ROUTE = st.sampled_from(ROUTES)
FORM = st.sampled_from(FORMS)
MODEL = st.sampled_from(MODELS)
CHUNK = st.integers(1, 45)


@st.composite
def attended(draw, least=1):
    """Queries, keys and values, with ties and with large logits too."""
    length, d, e = draw(st.integers(least, 40)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(SEED))
    if draw(st.booleans()):
        q, k = rng.integers(-3, 4, (2, length, d)).astype(float)
    else:
        q, k = draw(st.sampled_from([0.1, 1.0, 10.0])) * rng.standard_normal((2, length, d))
    return q, k, rng.standard_normal((length, e))


def rounding(q, k, v):
    return ATTENTION * EPS * oracle.causal_error(q, k, v)


# ---------------------------------------------------------------------------------------------
# Attention.


@given(attended(least=2), ROUTE, st.data(), SEED)
def test_attention_is_causal(case, route, data, seed):
    q, k, v = case
    split = data.draw(st.integers(1, len(q) - 1))
    other = [x.copy() for x in case]
    rng = np.random.default_rng(seed)
    for x in other:
        x[split:] = 100 * rng.standard_normal(x[split:].shape)
    one, two = (causal(*inputs, route=route)[:split] for inputs in (case, other))
    assert_within(one, two, 2 * rounding(q, k, v)[:split])


@given(attended(least=2), ROUTE, st.data())
def test_a_beginning_is_attention_of_the_beginning(case, route, data):
    split = data.draw(st.integers(1, len(case[0])))
    found = causal(*(x[:split] for x in case), route=route)
    assert_within(found, causal(*case, route=route)[:split], 2 * rounding(*case)[:split])


@given(attended(), ROUTE, ROUTE)
def test_routes_agree(case, first, second):
    one, two = (causal(*case, route=route) for route in (first, second))
    assert_within(one, two, 2 * rounding(*case))


@given(attended(), ROUTE)
def test_outputs_are_in_the_hull_of_the_values(case, route):
    """Between the smallest and the largest value so far, in every direction."""
    q, k, v = case
    found = causal(q, k, v, route=route)
    low, high = np.minimum.accumulate(v), np.maximum.accumulate(v)
    slack = 2 * EPS * len(v) * np.abs(v).max()
    assert (found >= low - slack).all()
    assert (found <= high + slack).all()
    way = np.linspace(-1, 1, v.shape[1])
    along = v @ way
    slack *= v.shape[1]
    assert (found @ way <= np.maximum.accumulate(along) + slack).all()


@given(attended(), ROUTE, SEED, st.floats(-4, 4), st.floats(-4, 4))
def test_attention_is_linear_in_the_values(case, route, seed, a, b):
    q, k, v = case
    other = np.random.default_rng(seed).standard_normal(v.shape)
    found = causal(q, k, a * v + b * other, route=route)
    expected = a * causal(q, k, v, route=route) + b * causal(q, k, other, route=route)
    size = abs(a) * np.abs(v) + abs(b) * np.abs(other)
    # Where both are tiny, a v underflows.
    assert_within(found, expected, 2 * rounding(q, k, size) + np.finfo(float).tiny * 40)


@given(attended(), ROUTE, SEED)
def test_a_constant_key_is_not_seen(case, route, seed):
    """k_i + c: q_t·c is the same for every key of a query; q_t + c is not."""
    q, k, v = case
    c = np.random.default_rng(seed).standard_normal(k.shape[1])
    found = causal(q, k + c, v, route=route)
    bound = rounding(np.abs(q), np.abs(k) + np.abs(c), np.abs(v)).max()
    scale = ATTENTION * EPS * (len(q) + 8 * (np.abs(q) @ (np.abs(k) + np.abs(c)).T).max())
    assert_within(found, causal(q, k, v, route=route), bound + scale * np.abs(v).max())


@given(attended(), ROUTE, SEED)
def test_rotations_of_queries_and_keys(case, route, seed):
    q, k, v = case
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((q.shape[1],) * 2))
    size = np.linalg.norm(q, axis=1).max() * np.linalg.norm(k, axis=1).max()
    allowed = ATTENTION * EPS * (len(q) + 8 * (q.shape[1] + 2) * size) * np.abs(v).max()
    assert_within(causal(q @ Q, k @ Q, v, route=route), causal(q, k, v, route=route), allowed)


@given(attended(), ROUTE, st.integers(-6, 6))
def test_the_scale_is_a_scale_of_queries(case, route, exponent):
    """Powers of two: to the bit where the logits are."""
    q, k, v = case
    scale = 2.0**exponent
    one = causal(q, k, v, route=route, scale=scale)
    assert_within(one, causal(scale * q, k, v, route=route), 2 * rounding(scale * q, k, v))


@given(attended(), ROUTE, SEED)
def test_the_order_of_the_past_does_not_matter(case, route, seed):
    """For the last output, which attends to all."""
    q, k, v = case
    order = np.random.default_rng(seed).permutation(len(q))
    found = causal(np.broadcast_to(q[-1], q.shape), k[order], v[order], route=route)[-1]
    assert_within(found, causal(q, k, v, route=route)[-1], 2 * rounding(q, k, v)[-1])


@given(attended(), ROUTE, SEED)
def test_a_mask_is_as_if_the_keys_were_not_there(case, route, seed):
    q, k, v = case
    mask = np.random.default_rng(seed).random(len(q)) < 0.6
    assume(mask.any())
    found = causal(q, k, v, route=route, mask=mask, empty="zero")
    places = np.flatnonzero(mask)
    alone = causal(q[places], k[places], v[places], route=route)
    assert_within(found[places], alone, 2 * rounding(q[places], k[places], v[places]))
    assert not found[: places[0]].any()


@given(st.lists(attended(), min_size=2, max_size=2), ROUTE, st.permutations(range(3)))
def test_rows_of_a_batch_may_be_in_any_order(cases, route, order):
    q, k, v = (np.stack([x, 2 * x, -x]) for x in cases[0])
    y = causal(q, k, v, route=route)
    order = list(order)
    assert_bits(causal(q[order], k[order], v[order], route=route), y[order])


@given(attended(least=2), ROUTE)
def test_a_dominant_key_is_a_read(case, route):
    """Queries that are large multiples of orthonormal keys: the value itself, a memory."""
    q, _, v = case
    keys = np.eye(len(q))
    found = causal(1e3 * keys, keys, v, route=route)
    assert_within(found, v, ATTENTION * EPS * (len(q) + 1e3) * np.abs(v).max())


# ---------------------------------------------------------------------------------------------
# Linear recurrences.


def outputs(model, inputs, form, chunk, initial=None):
    return model(inputs, form=form, chunk=chunk, initial=initial)


def part(model, inputs, begin, end):
    """Some steps of the sequences."""
    cut = {}
    for name, x in inputs.items():
        place = model.axes[name].find("L")
        axis = place - len(model.axes[name])
        cut[name] = x if place < 0 else np.take(x, np.arange(begin, end), axis=axis)
    return cut


@given(MODEL, LENGTH, FORM, FORM, CHUNK, CHUNK, SEED)
def test_forms_agree_for_any_chunks(model, length, first, second, one, two, seed):
    inputs, initial = model.inputs(length, (2,), seed=seed), model.start((2,), seed=seed)
    bound, of_state = model.bound(inputs, initial)
    ways = ((first, one), (second, two))
    (y, s), (z, t) = (
        model(inputs, form=form, chunk=chunk, initial=initial, return_state=True)
        for form, chunk in ways
    )
    assert_within(y, z, 2 * bound)
    for x, w, allowed in zip(model.parts(s), model.parts(t), of_state, strict=True):
        assert_within(x, w, 2 * allowed)


@given(MODEL, st.integers(2, 40), FORM, CHUNK, st.data(), SEED)
def test_recurrences_are_causal(model, length, form, chunk, data, seed):
    split = data.draw(st.integers(1, length - 1))
    inputs, others = model.inputs(length, seed=seed), model.inputs(length, seed=seed + 1)
    changed = dict(inputs)
    for name, axes in model.axes.items():
        if "L" in axes:
            axis = axes.find("L") - len(axes)
            changed[name] = np.concatenate(
                [np.take(x, np.arange(*ends), axis=axis)
                 for x, ends in ((inputs[name], (0, split)), (others[name], (split, length)))],
                axis=axis,
            )  # fmt: skip
    one, two = (outputs(model, x, form, chunk)[:split] for x in (inputs, changed))
    assert_within(one, two, 2 * model.bound(inputs)[0][:split])


@given(MODEL, LENGTH, FORM, FORM, CHUNK, st.data(), SEED)
def test_the_state_is_all_that_the_past_leaves(model, length, first, second, chunk, data, seed):
    """Two runs, the second from the state of the first, are one."""
    split = data.draw(st.integers(0, length))
    inputs, initial = model.inputs(length, seed=seed), model.start(seed=seed)
    bound, of_state = model.bound(inputs, initial)
    y, last = model(inputs, form=second, chunk=chunk, initial=initial, return_state=True)
    head, state = model(part(model, inputs, 0, split), form=first, chunk=chunk, initial=initial,
                        return_state=True)  # fmt: skip
    tail, end = model(part(model, inputs, split, length), form=second, chunk=chunk, initial=state,
                      return_state=True)  # fmt: skip
    assert_within(np.concatenate([head, tail], axis=-2), y, 2 * bound)
    for x, w, allowed in zip(model.parts(end), model.parts(last), of_state, strict=True):
        assert_within(x, w, 2 * allowed)


#: Of each function what its outputs are linear in, together with the state before.
LINEAR = {"linear_attention": "v", "retnet": "v", "mamba2": "x", "mamba": "u", "rwkv": "v",
          "lru": "u", "s5": "u"}  # fmt: skip


@given(MODEL, LENGTH, FORM, CHUNK, SEED, st.floats(-4, 4), st.floats(-4, 4))
def test_recurrences_are_linear_in_what_they_carry(model, length, form, chunk, seed, a, b):
    inputs, others = model.inputs(length, seed=seed), model.inputs(length, seed=seed + 1)
    name = LINEAR[model.function]
    u, w = inputs[name], others[name]
    size, _ = model.bound(inputs | {name: abs(a) * np.abs(u) + abs(b) * np.abs(w)})
    found = outputs(model, inputs | {name: a * u + b * w}, form, chunk)
    expected = a * outputs(model, inputs, form, chunk)
    expected = expected + b * outputs(model, inputs | {name: w}, form, chunk)
    assert_within(found, expected, 2 * size)


@given(MODEL, LENGTH, FORM, CHUNK, SEED)
def test_gradients_of_what_is_linear_are_adjoints(model, length, form, chunk, seed):
    """<J u, g> = <u, Jᵀ g> for the input that outputs are linear in, from a start of zeros."""
    inputs = model.inputs(length, (2,), seed=seed)
    name = LINEAR[model.function]
    y = outputs(model, inputs, form, chunk)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    transposed = getattr(model.vjp(inputs, g, form=form, chunk=chunk), name)
    left, right = np.vdot(y, g), np.vdot(inputs[name], transposed)
    size = np.vdot(model.size(inputs)[0], np.abs(g))
    assert_within(left, right, GRADIENT * EPS * (length + max(SIZES.values())) * float(size))


@given(MODEL, st.integers(1, 20), FORM, CHUNK, SEED)
def test_gradients_are_slopes(model, length, form, chunk, seed):
    """<∇, direction> for a direction in all inputs at once is the slope of Σ g∘y."""
    inputs, initial = model.inputs(length, seed=seed), model.start(seed=seed)
    others = model.inputs(length, seed=seed + 1)
    ways = {name: others[name] - inputs[name] for name in inputs}

    def moved(s):
        points = {name: oracle.wide(x) + s * ways[name] for name, x in inputs.items()}
        return model.exact(points, initial)[0]

    along = oracle.slope(moved, 0.0, 1.0)
    g = np.random.default_rng(seed).standard_normal(along.shape)
    found = model.vjp(inputs, g, form=form, chunk=chunk, initial=initial)
    pairs = [(oracle.wide(getattr(found, name)), way) for name, way in ways.items()]
    inner = sum(np.vdot(by, oracle.wide(way)).real for by, way in pairs)
    size = sum((np.abs(by) * np.abs(way)).sum() for by, way in pairs)
    size = float(size + (np.abs(g) * np.abs(along)).sum())
    noise = oracle.NOISE * float((model.size(inputs, initial)[0] * np.abs(g)).sum())
    bound = GRADIENT * EPS * (length + 4) * size + noise
    assert_within(inner, (oracle.wide(g) * along).sum(), bound)


@given(MODEL, LENGTH, FORM, CHUNK, SEED)
def test_gradients_are_linear_in_what_comes_back(model, length, form, chunk, seed):
    inputs, initial = model.inputs(length, seed=seed), model.start(seed=seed)
    g = np.random.default_rng(seed).standard_normal(model.exact(inputs)[0].shape)
    one, four = (model.vjp(inputs, w, form=form, chunk=chunk, initial=initial) for w in (g, 4 * g))
    for name in inputs:
        x, w = getattr(one, name), getattr(four, name)
        assert_within(w, 4 * x, RECURRENCE * EPS * np.abs(w).max())
    nothing = model.vjp(inputs, 0 * g, form=form, chunk=chunk, initial=initial)
    for name in inputs:
        assert not getattr(nothing, name).any()


@given(MODEL, LENGTH, FORM, CHUNK, st.permutations(range(3)), SEED)
def test_rows_do_not_know_of_each_other(model, length, form, chunk, order, seed):
    inputs, initial = model.inputs(length, (3,), seed=seed), model.start((3,), seed=seed)
    order = list(order)
    y = outputs(model, inputs, form, chunk, initial)
    turned = {n: x[order] if "L" in model.axes[n] else x for n, x in inputs.items()}
    start = tuple(x[order] for x in initial) if isinstance(initial, tuple) else initial[order]
    assert_bits(outputs(model, turned, form, chunk, start), y[order])


@given(LENGTH, FORM, CHUNK, SEED, st.sampled_from([-300.0, -1.0, 2.5, 300.0]))
def test_rwkv_does_not_see_a_shift_of_all_keys(length, form, chunk, seed, shift):
    """And its outputs are means of the values so far."""
    model = next(m for m in MODELS if m.name == "rwkv")
    inputs = model.inputs(length, seed=seed)
    y = outputs(model, inputs, form, chunk)
    moved = outputs(model, inputs | {"k": inputs["k"] + shift}, form, chunk)
    scale = RECURRENCE * EPS * (length + 8 + abs(shift)) * np.abs(inputs["v"]).max()
    assert_within(moved, y, scale)
    assert (y <= np.maximum.accumulate(inputs["v"]) + scale).all()
    assert (y >= np.minimum.accumulate(inputs["v"]) - scale).all()


@given(LENGTH, FORM, CHUNK, SEED)
def test_one_channel_of_mamba_is_mamba2(length, form, chunk, seed):
    """A single rate for all states, and a single channel."""
    rng = np.random.default_rng(seed)
    u, dt = rng.standard_normal((length, 1)), rng.uniform(0, 1, (length, 1))
    B, C, rate = rng.standard_normal((length, 3)), rng.standard_normal((length, 3)), -rng.random()
    model = next(m for m in MODELS if m.name == "mamba without D")
    inputs = {"u": u, "dt": dt, "A": np.full((1, 3), rate), "B": B, "C": C}
    other = rv.attention.linear.mamba2(u, dt[:, 0], rate, B, C, form=form, chunk=chunk)
    assert_within(outputs(model, inputs, form, chunk), other, 2 * model.bound(inputs)[0])


@given(LENGTH, FORM, CHUNK, SEED)
def test_similarity_of_states(length, form, chunk, seed):
    """An LRU whose states are scaled: B by s, C by 1/s, the same outputs."""
    model = next(m for m in MODELS if m.name == "lru")
    inputs = model.inputs(length, seed=seed)
    s = np.array([2.0, 0.5, 1j, -4.0])
    scaled = inputs | {"B": s[:, None] * inputs["B"], "C": inputs["C"] / s}
    one, two = (outputs(model, x, form, chunk) for x in (inputs, scaled))
    assert_within(one, two, 2 * model.bound(inputs)[0])
