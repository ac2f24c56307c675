"""Linear recurrences: three forms against the recurrence itself, their states and gradients."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from attention_support import (
    EPS,
    FORMS,
    GRADIENT,
    MODELS,
    PLAIN,
    RECURRENCE,
    SIZES,
    assert_bits,
    assert_within,
    eps_of,
)

import resolvent as rv
from oracles import attention as oracle
from oracles import exact

#: Up to the next chunk of 16, and whole numbers of chunks.
LENGTHS = (1, 2, 15, 16, 17, 31, 32, 33, 65)

models = pytest.mark.parametrize("model", MODELS, ids=str)
plain = pytest.mark.parametrize("model", PLAIN, ids=str)
forms = pytest.mark.parametrize("form", FORMS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def linear(name):
    return getattr(rv.attention.linear, name)


def assert_outputs(model, inputs, initial=None, dtype=np.float64, forms=FORMS, chunks=(4,)):
    """Outputs and last state of every form within the bounds of the model; returns the last."""
    expected, last = model.exact(inputs, initial)
    bounds = model.bound(inputs, initial, dtype)
    for form in forms:
        for chunk in chunks:
            found = model(inputs, form=form, chunk=chunk, initial=initial, return_state=True)
            assert found[0].dtype == dtype
            assert_close(model, found, expected, last, *bounds)
    return found


def assert_close(model, found, expected, last, of_y, of_state):
    y, state = found
    assert_within(y, expected, of_y, "outputs")
    for part, whole, bound in zip(model.parts(state), model.parts(last), of_state, strict=True):
        # Queries have no part in a state, but their leading axes have.
        assert part.shape[: y.ndim - 2] == y.shape[:-2]
        assert_within(part, np.broadcast_to(whole, part.shape), bound, "state")


# ---------------------------------------------------------------------------------------------
# Values.


@dtypes
@models
def test_every_form_is_the_recurrence(model, dtype):
    """Chunks of one step, of some, of all but one, of all, and larger than the sequence."""
    inputs, initial = model.inputs(9, (2,), dtype=dtype), model.start((2,), dtype=dtype)
    assert_outputs(model, inputs, initial, dtype, chunks=(1, 2, 8, 9, 64))
    assert_outputs(model, inputs, dtype=dtype)


@pytest.mark.parametrize("length", LENGTHS)
@models
def test_lengths_around_the_chunks(model, length):
    assert_outputs(model, model.inputs(length), model.start(), chunks=(16,))


@models
def test_long_sequences_and_the_chunk_that_is_the_default(model):
    assert_outputs(model, model.inputs(300, seed=1), forms=("parallel", "chunked"), chunks=(64,))


@models
def test_the_form_that_is_the_default_is_chunked(model):
    inputs = model.inputs(130)
    assert_bits(model(inputs), model(inputs, form="chunked", chunk=64))


@pytest.mark.parametrize("widths", [{"N": 1, "D": 1, "P": 1, "c": 1, "h": 1, "g": 1, "3": 3},
                                    {"N": 19, "D": 9, "P": 17, "c": 35, "h": 5, "g": 9, "3": 3}],
                         ids=["ones", "wide"])  # fmt: skip
@dtypes
@models
def test_widths_around_the_lanes(model, dtype, widths):
    """Vectors end inside a register, and columns of one."""
    inputs = model.inputs(21, (2,), dtype=dtype, sizes=widths)
    initial = model.start((2,), dtype=dtype, sizes=widths)
    assert_outputs(model, inputs, initial, dtype, chunks=(8,))


@forms
@models
def test_nothing_and_one_step(model, form):
    """Without a step the state is the one from before, and no output is left."""
    initial = model.start((2,))
    nothing = model.inputs(0, (2,))
    y, state = model(nothing, form=form, initial=initial, return_state=True)
    assert y.shape == (2, 0, model.output_width(nothing))
    for part, old in zip(model.parts(state), model.parts(initial), strict=True):
        assert_within(part, old, RECURRENCE * EPS * np.abs(old))
    assert model(nothing, form=form).shape == y.shape


@forms
@models
def test_no_rows(model, form):
    inputs = model.inputs(5, (0, 2))
    y, state = model(inputs, form=form, return_state=True)
    assert y.shape == (0, 2, 5, model.output_width(model.inputs(5)))
    for part in state if isinstance(state, tuple) else (state,):
        assert part.shape[:2] == (0, 2)


@forms
@models
def test_leading_axes_broadcast(model, form):
    """(2, 1) of the first sequence, (3,) of the last, rates of heads, and none of the rest."""
    inputs = model.inputs(7)
    sequences = [name for name, axes in model.axes.items() if "L" in axes]
    lead = {sequences[0]: (2, 1)} | {sequences[-1]: (3,) if len(sequences) > 1 else (2, 3)}
    lead |= {name: (3,) for name, axes in model.axes.items() if axes == "" and name != "step"}
    for name, batch in lead.items():
        stack = [model.inputs(7, seed=seed)[name] for seed in range(int(np.prod(batch)))]
        inputs[name] = np.stack(stack).reshape(*batch, *stack[0].shape)
    y, _ = assert_outputs(model, inputs, forms=[form], chunks=[3])
    assert y.shape[:-2] == (2, 3)
    whole = {
        name: np.broadcast_to(x, (2, 3, *x.shape[x.ndim - len(model.axes[name]) :]))
        if name in lead
        else x
        for name, x in inputs.items()
    }
    assert_bits(y, model(whole, form=form, chunk=3))


@forms
@models
def test_each_row_alone_has_the_same_bits(model, form):
    inputs, initial = model.inputs(40, (3,)), model.start((3,))
    y = model(inputs, form=form, chunk=16, initial=initial)
    for i in range(3):
        alone = {n: x[i] if "L" in model.axes[n] else x for n, x in inputs.items()}
        start = tuple(part[i] for part in initial) if isinstance(initial, tuple) else initial[i]
        assert_bits(model(alone, form=form, chunk=16, initial=start), y[i])


@models
def test_one_state_for_all_rows(model):
    assert_outputs(model, model.inputs(6, (2, 2)), model.start())


@forms
@models
def test_the_state_is_handed_over(model, form):
    """Two halves by any two forms are one run; without a start it is a start of zeros."""
    inputs = model.inputs(23, (2,))
    cut = {n: model.axes[n].find("L") - len(model.axes[n]) for n in inputs if "L" in model.axes[n]}

    def part(begin, end):
        whole = {}
        for name, x in inputs.items():
            whole[name] = x
            if name in cut:
                whole[name] = np.take(x, np.arange(begin, end), axis=cut[name])
        return whole

    expected, _ = model.exact(inputs)
    bound, _ = model.bound(inputs)
    for split in (0, 1, 16, 23):
        first, state = model(part(0, split), form=form, chunk=5, return_state=True)
        for other in FORMS:
            rest = model(part(split, 23), form=other, chunk=7, initial=state)
            assert_within(np.concatenate([first, rest], axis=-2), expected, 2 * bound)


@models
def test_bits_do_not_depend_on_threads(model, restore_threads):
    inputs = model.inputs(200, (3,))
    g = np.random.default_rng(0).standard_normal(model.exact(inputs)[0].shape)
    found = []
    for threads in (1, 2, 3):
        rv.set_threads(threads)
        run = [model(inputs, form=form, return_state=True) for form in FORMS]
        run += [model.vjp(inputs, g, form=form) for form in FORMS]
        found.append(list(flat(run)))
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            assert_bits(x, y)


def flat(values):
    """All arrays in nested tuples and lists."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from flat(value)
        elif value is not None:
            yield value


# ---------------------------------------------------------------------------------------------
# Gradients.


def gradient_pairs(model, inputs, initial, g):
    """By name: the oracle's gradient, the largest sum of absolute terms of an entry, its noise."""
    noise = oracle.NOISE * float((model.size(inputs, initial)[0] * np.abs(g)).sum())

    def pair(value, core, put):
        single = core == 0 and model.function == "s5"  # a step for all states
        value, core = (value[None], 1) if single else (value, core)
        exactly = oracle.gradient(lambda x: model.exact(*put(x))[0], value, g, core)
        sizes = oracle.gradient(lambda x: model.size(*put(x))[0], value, np.abs(g), core)
        size = max(np.abs(sizes).max(initial=0), np.abs(exactly).max(initial=0))
        return exactly[0] if single else exactly, size, noise

    pairs = {
        name: pair(inputs[name], len(axes), lambda x, name=name: (inputs | {name: x}, initial))
        for name, axes in model.axes.items()
    }
    if len(model.initial) == 1:
        pairs["initial"] = pair(initial, len(model.initial[0][0]), lambda x: (inputs, x))
    else:
        pairs["initial"] = tuple(
            pair(initial[i], len(axes),
                 lambda x, i=i: (inputs, tuple(x if i == j else w for j, w in enumerate(initial))))
            for i, (axes, _) in enumerate(model.initial)
        )  # fmt: skip
    return pairs


def assert_gradient(found, pair, factor, name):
    if isinstance(found, tuple):
        for part, own in zip(found, pair, strict=True):
            assert_gradient(part, own, factor, name)
        return
    expected, size, noise = pair
    assert np.iscomplexobj(found) == np.iscomplexobj(expected)
    assert_within(found, expected, factor * size + noise, name)


@dtypes
@models
def test_gradients_by_every_input(model, dtype):
    """Against differences of the recurrence, real and imaginary parts apart."""
    length = 6
    inputs = model.inputs(length, (2,), dtype=dtype)
    initial = model.start((2,), dtype=dtype)
    rng = np.random.default_rng(1)
    g = rng.standard_normal(model.exact(inputs)[0].shape).astype(dtype)
    pairs = gradient_pairs(model, inputs, initial, g)
    factor = GRADIENT * eps_of(dtype) * (length + max(SIZES.values()))
    for form in FORMS:
        for chunk in (1, 4, 64):
            found = model.vjp(inputs, g, form=form, chunk=chunk, initial=initial)
            assert set(pairs) <= set(found._fields)
            for name, pair in pairs.items():
                given = initial if name == "initial" else inputs[name]
                value = getattr(found, name)
                for x, y in zip(flat([value]), flat([given]), strict=True):
                    assert (x.shape, x.dtype) == (y.shape, y.dtype), name
                assert_gradient(value, pair, factor, name)


@plain
def test_gradients_without_a_start(model):
    """By a start of zeros, and by what was not given: None."""
    inputs = model.inputs(5, (2,))
    through = inputs.pop("D", None)
    g = np.random.default_rng(1).standard_normal(model.exact(inputs)[0].shape)
    found = model.vjp(inputs, g)
    if through is not None:
        assert found.D is None
    start = model.start((2,))
    zeros = tuple(x * 0 for x in start) if isinstance(start, tuple) else start * 0
    explicit = model.vjp(inputs, g, initial=zeros)
    factor = GRADIENT * EPS * (5 + max(SIZES.values()))
    for name in inputs:
        expected = getattr(explicit, name)
        assert_within(getattr(found, name), expected, factor * np.abs(expected).max(), name)


@forms
@models
def test_gradients_are_added_up_over_broadcast_axes(model, form):
    """By an input that two rows share: the sum of what it would be for each."""
    inputs = model.inputs(6, (2,))
    for name in inputs:
        if name == "step" or (model.axes[name] and "L" not in model.axes[name]):
            continue  # has no rows
        shared = dict(inputs)
        if "L" in model.axes[name]:
            shared[name] = inputs[name][0]
        g = np.random.default_rng(1).standard_normal(model.exact(inputs)[0].shape)
        apart = shared | {name: np.stack([shared[name], shared[name]])}
        if model.exact(shared)[0].ndim == 2:  # nothing else has rows
            continue
        one = getattr(model.vjp(shared, g, form=form, chunk=4), name)
        two = getattr(model.vjp(apart, g, form=form, chunk=4), name)
        assert one.shape == shared[name].shape
        scale = GRADIENT * EPS * np.abs(two).max()
        assert_within(one, two.sum(axis=0), scale, name)


@models
def test_directional_derivatives_of_long_sequences(model):
    """Chunks of 64; <gradient, direction> is the slope of Σ g⊙y along all inputs at once."""
    length = 150
    inputs, ways = model.inputs(length, seed=2), model.inputs(length, seed=3)
    ways = {name: ways[name] - inputs[name] for name in inputs}
    initial, start_way = (as_parts(model.start(seed=seed)) for seed in (2, 3))

    def outputs(s):
        moved = {name: oracle.wide(x) + s * ways[name] for name, x in inputs.items()}
        parts = tuple(x + s * way for x, way in zip(initial, start_way, strict=True))
        return model.exact(moved, parts if len(parts) > 1 else parts[0])[0]

    along = oracle.slope(outputs, 0.0, 1.0)
    g = np.random.default_rng(4).standard_normal(along.shape)
    start = initial if len(initial) > 1 else initial[0]
    noise = oracle.NOISE * float((model.size(inputs, start)[0] * np.abs(g)).sum())
    for form in FORMS:
        found = model.vjp(inputs, g, form=form, initial=start)
        pairs = [(getattr(found, name), way) for name, way in ways.items()]
        pairs += list(zip(as_parts(found.initial), start_way, strict=True))
        inner = sum(np.vdot(oracle.wide(by), oracle.wide(way)).real for by, way in pairs)
        size = sum((np.abs(by) * np.abs(way)).sum() for by, way in pairs)
        bound = GRADIENT * EPS * length * float(size + (np.abs(g) * np.abs(along)).sum()) + noise
        assert_within(inner, (oracle.wide(g) * along).sum(), bound, form)


def as_parts(state):
    return state if isinstance(state, tuple) else (state,)


# ---------------------------------------------------------------------------------------------
# At the ends of the ranges, against 50 digits.


def exactly(function, *arrays, **options):
    with mp.workdps(exact.DIGITS):
        initial = options.pop("initial", None)
        if initial is not None:
            options["initial"] = exact.to_mp(initial)
        big = (None if x is None else exact.to_mp(x) for x in arrays)
        return exact.to_float(getattr(oracle, function)(*big, **options)[0])


@dtypes
@pytest.mark.parametrize("top", [0.0, 80.0, 700.0, 1e4, -1e4])
def test_rwkv_of_huge_keys(top, dtype):
    """k around ±1e4, whose exponentials no type holds; weights of all sizes inside one row."""
    rng = np.random.default_rng(0)
    k = (top + 8 * rng.standard_normal((12, 3))).astype(dtype)
    v = rng.standard_normal((12, 3)).astype(dtype)
    w, u = np.array([0.0, 0.5, 30.0], dtype), np.array([-5.0, 0.0, 5.0], dtype)
    expected = exactly("rwkv", w, u, k, v)
    size = exactly("rwkv", w, u, k, np.abs(v))
    # e^k is off by |k| eps from the rounding of k - m, and by w eps a step.
    bound = RECURRENCE * eps_of(dtype) * (12 * (1 + w) + np.abs(k).max()) * size
    for form in FORMS:
        for chunk in (1, 5, 64):
            found = linear("rwkv")(w, u, k, v, form=form, chunk=chunk)
            assert_within(found, expected, bound, form)


@forms
def test_rwkv_of_keys_far_apart(form):
    """Between -1e4 and 1e4: whoever is largest so far has all the weight."""
    k = np.array([-1e4, 1e4, -700.0, 1e4, 700.0, 0.0, 1e4 + 1])[:, None]
    v = np.arange(1.0, 8.0)[:, None]
    w, u = np.array([1.5]), np.array([0.25])
    expected = exactly("rwkv", w, u, k, v)
    found = linear("rwkv")(w, u, k, v, form=form, chunk=3)
    assert_within(found, expected, RECURRENCE * EPS * 2e4 * np.abs(v).max())
    found = linear("rwkv_vjp")(w, u, k, v, np.ones_like(v), form=form, chunk=3)
    for part in (found.w, found.u, found.k, found.v):
        assert np.isfinite(part).all()
    assert_within(found.v.sum(), 7.0, RECURRENCE * EPS * 2e4)  # weights sum to 1


@forms
def test_rwkv_that_forgets_at_once(form):
    """w = 1e6: only the step before and the current one are left, in the ratio e^{k}:e^{u+k}."""
    k, v = np.zeros((6, 1)), np.arange(6.0)[:, None]
    found = linear("rwkv")([1e6], [0.0], k, v, form=form, chunk=4)[:, 0]
    assert_within(found, [0.0, 0.5, 1.5, 2.5, 3.5, 4.5], RECURRENCE * EPS * 6)


@forms
def test_rwkv_hands_over_states_of_any_exponent(form):
    """The state of huge keys is finite, and goes on."""
    rng = np.random.default_rng(0)
    k, v = 9e3 + rng.standard_normal((10, 2)), rng.standard_normal((10, 2))
    w, u = np.array([0.3, 2.0]), np.zeros(2)
    first, state = linear("rwkv")(w, u, k[:4], v[:4], form=form, chunk=3, return_state=True)
    assert np.isfinite(state).all()
    rest = linear("rwkv")(w, u, k[4:], v[4:], form=form, chunk=3, initial=state)
    expected = exactly("rwkv", w, u, k, v)
    assert_within(np.concatenate([first, rest]), expected, RECURRENCE * EPS * 1e4)


@pytest.mark.parametrize("decay", [0.0, 1e-300, 1e-8, 1.0 - 2.0**-53, 1.0])
def test_decays_at_the_ends(decay):
    model = next(m for m in MODELS if m.name == "retnet")
    inputs = model.inputs(20) | {"decay": np.array(decay)}
    y, _ = assert_outputs(model, inputs, chunks=(6,))
    if decay == 0.0:  # o_t = (q_t·k_t) v_t
        alone = (inputs["q"] * inputs["k"]).sum(axis=-1, keepdims=True) * inputs["v"]
        assert_within(y, alone, model.bound(inputs)[0])


@pytest.mark.parametrize("decay", [0.0, 1e-8, 1.0])
def test_gradients_of_decays_at_the_ends(decay):
    """At 0 too, where d(γ^n)/dγ is 1 for n = 1 and 0 beyond."""
    model = next(m for m in MODELS if m.name == "retnet")
    inputs, initial = model.inputs(6) | {"decay": np.array(decay)}, model.start()
    g = np.random.default_rng(1).standard_normal((6, SIZES["D"]))
    pairs = gradient_pairs(model, inputs, initial, g)
    for form in FORMS:
        found = model.vjp(inputs, g, form=form, chunk=4, initial=initial)
        for name, pair in pairs.items():
            assert_gradient(getattr(found, name), pair, GRADIENT * EPS * 10, name)


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_steps_of_length_zero_change_nothing(name):
    """dt = 0: the state stays, whatever comes in."""
    model = next(m for m in MODELS if m.name == name)
    inputs, initial = model.inputs(12), model.start()
    inputs["dt"][4:9] = 0.0
    assert_outputs(model, inputs, initial, chunks=(5,))
    inputs["dt"][:] = 0.0
    for form in FORMS:
        _, state = model(inputs, form=form, chunk=5, initial=initial, return_state=True)
        assert_within(state, initial, RECURRENCE * EPS * np.abs(initial), form)


@pytest.mark.parametrize("name", ["mamba", "mamba zoh", "mamba2", "mamba2 without D"])
def test_a_reset_does_not_spoil_what_comes_after(name):
    """dt A = -1e4 at one step: what is left are the steps since, as exact as if they were alone.

    Exponents that are added up over a chunk and subtracted again would lose four digits.
    """
    model = next(m for m in MODELS if m.name == name)
    inputs, initial = model.inputs(20), model.start()
    inputs["dt"][7] = 1e4
    inputs["dt"][15] = 1e-3
    expected, _ = model.exact(inputs, initial)
    size, _ = model.size(inputs, initial)
    for form in FORMS:
        found = model(inputs, form=form, chunk=16, initial=initial)
        assert_within(found, expected, RECURRENCE * EPS * 24 * size, form)


@pytest.mark.parametrize("exponent", [-1e-12, -1e-6, -0.5, -30.0])
def test_mambas_zero_order_hold_near_an_integrator(exponent):
    """(e^{dtA} - 1)/A where the difference cancels."""
    model = next(m for m in MODELS if m.name == "mamba zoh")
    inputs = model.inputs(10)
    inputs["A"] = np.full_like(inputs["A"], exponent)
    inputs["A"][0, 0] = 0.0
    y, _ = assert_outputs(model, inputs)
    g = np.random.default_rng(1).standard_normal(y.shape)
    pairs = gradient_pairs(model, inputs, model.start(), g)
    for form in FORMS:
        found = model.vjp(inputs, g, form=form, chunk=4, initial=model.start())
        for name in ("A", "dt", "u", "B"):
            assert_gradient(getattr(found, name), pairs[name], GRADIENT * EPS * 64, name)


@pytest.mark.parametrize("eigenvalue", [0.0, 1.0, -1.0, 1j, 1e-200, 0.999999])
@forms
def test_eigenvalues_at_the_ends(form, eigenvalue):
    """On the circle the input rule of the LRU lets nothing in; 0 has no memory."""
    for name in ("lru", "lru unnormalized, fewer outputs"):
        model = next(m for m in MODELS if m.name == name)
        inputs, initial = model.inputs(11), model.start()
        inputs["eigenvalues"][1] = eigenvalue
        found = model(inputs, form=form, chunk=4, initial=initial, return_state=True)
        expected, _ = model.exact(inputs, initial)
        bound = model.bound(inputs, initial)[0]
        # 1 - |λ|² has lost what |λ|² is rounded by.
        lost = 1.0 / max(1.0 - abs(eigenvalue) ** 2, EPS) if abs(eigenvalue) != 1.0 else 1.0
        assert_within(found[0], expected, lost * bound)


@forms
def test_the_lru_of_0_is_a_product(form):
    """λ = 0: y_t = Re(C B u_t) + D u_t."""
    model = next(m for m in MODELS if m.name == "lru")
    inputs = model.inputs(5)
    inputs["eigenvalues"][:] = 0
    y = model(inputs, form=form)
    expected = inputs["u"] @ (inputs["C"] @ inputs["B"]).real.T + inputs["D"] * inputs["u"]
    assert_within(y, expected, model.bound(inputs)[0])


@pytest.mark.parametrize("rule", ["zoh", "bilinear", "backward", "mamba"])
@forms
def test_s5_integrates(form, rule):
    """Λ = 0: every rule adds step B u; and steps that are tiny or huge."""
    model = next(m for m in MODELS if m.name == "s5")
    inputs = model.inputs(9)
    inputs["eigenvalues"][0] = 0.0
    inputs["step"][1:3] = 1e-12, 1e3
    y = linear("s5")(**inputs, rule=rule, form=form, chunk=4)
    expected, _ = oracle.s5(**inputs, rule=rule)
    size, _ = oracle.s5_size(**inputs, rule=rule)
    # e^{step λ} turns by step |Im λ|, which is off by an eps of itself.
    bound = RECURRENCE * EPS * (9 + np.abs(inputs["eigenvalues"] * inputs["step"]).max()) * size
    assert_within(y, expected, bound)


def test_the_rules_of_s5_are_those_of_discretize():
    model = next(m for m in MODELS if m.name == "s5")
    inputs = model.inputs(8)
    lam, B, C, step = (inputs[name] for name in ("eigenvalues", "B", "C", "step"))
    for rule in ("zoh", "bilinear", "forward", "backward", "mamba"):
        one = rv.discretize.discretize((lam, np.ones_like(lam)), step[0], rule)
        y = linear("s5")(inputs["u"], lam, B, C, step[0], inputs["D"], rule=rule)
        unit = linear("lru")(
            inputs["u"], one.A, one.B[:, None] * B, C, inputs["D"], normalize=False
        ) if np.abs(one.A).max() <= 1 else None  # fmt: skip
        if unit is not None:
            size, _ = oracle.s5_size(inputs["u"], lam, B, C, step[0], inputs["D"], rule=rule)
            assert_within(y, unit, RECURRENCE * EPS * 16 * size)


@forms
def test_linear_attention_of_ones_is_the_running_mean(form):
    """q = k = 1 and normalised; and what elu + 1 keeps of very negative keys."""
    v = np.random.default_rng(0).standard_normal((50, 2))
    ones = np.ones((50, 1))
    found = linear("linear_attention")(ones, ones, v, normalize=True, form=form, chunk=16)
    mean = v.cumsum(axis=0) / np.arange(1, 51)[:, None]
    assert_within(found, mean, RECURRENCE * EPS * 50 * np.abs(v).max())
    low = -700.0 * ones
    kept = linear("linear_attention")(ones, low, v, feature="elu", normalize=True, form=form)
    assert_within(kept, mean, RECURRENCE * EPS * 50 * np.abs(v).max())


# ---------------------------------------------------------------------------------------------
# Retentions by their explicit weights: another route than any recurrence.


def test_retention_by_powers():
    """o_t = Σ_{i≤t} γ^{t-i} (q_t·k_i) v_i as a matrix product."""
    model = next(m for m in MODELS if m.name == "retnet")
    inputs = model.inputs(40)
    steps = np.arange(40)
    gap = np.subtract.outer(steps, steps)
    weights = np.where(gap >= 0, float(inputs["decay"]) ** np.maximum(gap, 0), 0.0)
    expected = (weights * (inputs["q"] @ inputs["k"].T)) @ inputs["v"]
    for form in FORMS:
        assert_within(model(inputs, form=form), expected, 2 * model.bound(inputs)[0])


def test_mamba2_is_retnet_is_linear_attention():
    """Constant dt A: γ = e^{dt A}; A = 0: no decay."""
    model = next(m for m in MODELS if m.name == "retnet")
    inputs = model.inputs(30)
    q, k, v, decay = (inputs[n] for n in ("q", "k", "v", "decay"))
    bound = 4 * model.bound(inputs)[0]
    one = linear("mamba2")(v, np.ones(30), np.log(decay), k, q)
    assert_within(one, model(inputs), bound)
    two = linear("retnet")(q, k, v, 1.0)
    three = linear("mamba2")(v, np.ones(30), 0.0, k, q)
    size = oracle.retnet_size(q, k, v, 1.0)[0]
    plain_sum = linear("linear_attention")(q, k, v)
    assert_within(two, plain_sum, RECURRENCE * EPS * 60 * size)
    assert_within(three, plain_sum, RECURRENCE * EPS * 60 * size)


def test_s5_is_the_diagonal_state_space_of_ssm():
    """One input, one output: the kernel's convolution."""
    rng = np.random.default_rng(0)
    lam = -rng.uniform(0.1, 1, 4) + 1j * rng.uniform(-2, 2, 4)
    B, C = np.ones((4, 1)), rng.standard_normal((1, 4)) + 1j * rng.standard_normal((1, 4))
    u = rng.standard_normal((60, 1))
    # K_j = Re(C Λ̄^j B̄), the state read after the update.
    factor, gain = np.exp(0.1 * lam), (np.exp(0.1 * lam) - 1) / lam
    kernel = (C[0] * gain * factor ** np.arange(60)[:, None]).sum(axis=1).real
    expected = rv.ssm.convolve(u[:, 0], kernel, method="direct")
    size = oracle.s5_size(u, lam, B, C, 0.1)[0][:, 0]
    for form in FORMS:
        found = linear("s5")(u, lam, B + 0j, C, 0.1, form=form)[:, 0]
        assert_within(found, expected, 4 * RECURRENCE * EPS * 60 * size)


# ---------------------------------------------------------------------------------------------
# Memory.


PEAK = """
import numpy as np, resolvent as rv
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
def growth(call):
    before = peak()
    result = call()
    return peak() - before
rv.set_threads(1)
rng = np.random.default_rng(0)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_no_form_but_the_parallel_keeps_a_state_a_step():
    """2^15 steps of 8 × 64 states are 134 MB, the outputs 2 MB; also the gradients'."""
    script = PEAK + textwrap.dedent("""
        L, c, N = 2**15, 8, 64
        u, dt = rng.standard_normal((L, c)), rng.uniform(0.01, 0.1, (L, c))
        B, C = rng.standard_normal((2, L, N))
        A = -np.ones((c, N))
        m = rv.attention.linear
        few = u[:100], dt[:100], A, B[:100], C[:100]
        m.mamba(*few), m.mamba_vjp(*few, g=u[:100]), m.mamba(*few, form="recurrent")
        print(growth(lambda: m.mamba(u, dt, A, B, C, form="recurrent")))
        print(growth(lambda: m.mamba(u, dt, A, B, C, form="chunked")))
        print(growth(lambda: m.mamba_vjp(u, dt, A, B, C, g=u, form="chunked")))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    recurrent, chunked, adjoint = map(int, done.stdout.split())
    outputs, inputs = 2**15 * 8 * 8, 2**15 * (2 * 8 + 2 * 64) * 8
    assert recurrent < 2 * outputs + 2**23, recurrent
    assert chunked < 4 * outputs + 2**23, chunked
    assert adjoint < 2 * inputs + 2**24, adjoint


@forms
def test_rwkv_of_keys_whose_spacing_is_the_decay(form):
    """m − w rounds one way forwards and the other way backwards; no weight exceeds 1 for that."""
    k0 = 2.0**60
    gap = np.spacing(k0)
    k = np.full((4, 1), -1e18)
    k[0] = k0 + gap
    v, g = np.arange(1.0, 5.0)[:, None], np.ones((4, 1))
    found = linear("rwkv_vjp")([gap / 2], [0.0], k, v, g, form=form).v
    assert 0.0 < found[0, 0] <= 4.0
    assert_within(found[1:, 0], np.zeros(3), EPS)
