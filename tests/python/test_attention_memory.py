"""Memory experiments: laws that their accuracy follows, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hippo_support import EPS, assert_bits, assert_within
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from ssm_support import refused

import resolvent as rv
from resolvent.attention import LAYERS, MemoryTest, layer, memory_test

#: A share of successes is within so many standard errors.
ERRORS = 5.0

CHANCE = 1.0 / 16.0
#: Those that cannot be asked for a key.
READ_BY_LEAST_SQUARES = ("rwkv", "lru", "s5")


def error(share, trials):
    return ERRORS * np.sqrt(share * (1.0 - share) / trials) + ERRORS / trials


def without_decay(name):
    """A layer that forgets nothing."""
    model = layer(name, 32, heads=4)
    forgotten = "decay" if name == "retnet" else "A"
    fixed = np.full_like(model.parameters[forgotten], 1.0 if name == "retnet" else 0.0)
    return replace(model, parameters={**model.parameters, forgotten: fixed})


# ---------------------------------------------------------------------------------------------
# Recall.


def test_attention_recalls_everything():
    found = memory_test("attention", loads=(1, 3, 50, 200), trials=64)
    assert found.accuracy.tolist() == [1.0] * 4
    assert found.capacity == 200
    assert found.state_sizes.tolist() == [64, 192, 3200, 12800]


def crosstalk(model, load, words, draws=1500, seed=1):
    """The accuracy where the cosines of other keys with the query are N(0, 1/N), independent.

    Nothing is stored here: the answer is the word and n − 1 others with such factors.
    """
    rng = np.random.default_rng(seed)
    right, others = rng.integers(0, 16, draws), rng.integers(0, 16, (draws, load - 1))
    factors = rng.standard_normal((draws, load - 1)) / math.sqrt(model.state)
    answers = words[right] + np.einsum("tn,tnd->td", factors, words[others])
    return np.mean((answers @ words.T).argmax(axis=1) == right)


@pytest.mark.parametrize("state", [16, 64])
def test_crosstalk_of_a_linear_memory(state):
    """Words are random too, so that several sets of them are looked at."""
    model, trials, seeds = layer("linear_attention", 32, state=state), 128, 8
    loads = (1, 16, 64)
    runs = [memory_test(model, loads=loads, trials=trials, seed=s) for s in range(seeds)]
    for i, load in enumerate(loads):
        found = np.array([run.accuracy[i] for run in runs])
        rng = np.random.default_rng(9)
        sets = [2.0 * rng.integers(0, 2, (16, 32)) - 1.0 for _ in range(seeds)]
        expected = np.array([crosstalk(model, load, words, seed=j) for j, words in enumerate(sets)])
        spread = math.sqrt((found.var() + expected.var()) / seeds) + 1.0 / trials
        assert_within(found.mean(), expected.mean(), ERRORS * spread, f"load {load}")


@pytest.mark.parametrize("name", ["retnet", "mamba", "mamba2"])
def test_without_decay_all_are_the_same_memory(name):
    """The same keys and words: only rounding differs, which decides no answer here."""
    linear = memory_test("linear_attention", trials=64)
    assert_bits(memory_test(without_decay(name), trials=64).accuracy, linear.accuracy)
    if name != "retnet":
        assert memory_test(name, trials=64).accuracy[-2] < linear.accuracy[-2]


def test_capacity_grows_with_the_state():
    sizes = {f"N = {n}": layer("retnet", 32, heads=4, state=n) for n in (4, 16, 64)}
    found = memory_test(sizes, trials=128)
    one, two, three = found.capacities.values()
    assert one < two < three
    assert [test.state_sizes[0] for test in found.tests.values()] == [128, 512, 2048]


@pytest.mark.parametrize("name", READ_BY_LEAST_SQUARES)
def test_without_addresses_one_value_is_guessed(name):
    """Load 1 is read (rwkv's state is no linear function of it); of n values the state cannot tell
    which one is asked for."""
    found = memory_test(name, loads=(1, 2, 4, 64), trials=400)
    assert found.accuracy[0] >= (0.9 if name == "rwkv" else 1.0)
    for load, accuracy in zip(found.loads[1:], found.accuracy[1:], strict=True):
        guess = 1.0 / load + CHANCE
        assert accuracy < guess + error(guess, 400)
    assert found.accuracy[-1] > CHANCE - error(CHANCE, 400)
    assert found.readout == "least squares"


# ---------------------------------------------------------------------------------------------
# Copy.


def test_attention_copies_everything():
    found = memory_test("attention", task="copy", loads=(1, 7, 100), trials=16)
    assert found.accuracy.tolist() == [1.0] * 3
    # Another place of cosine c has a weight of e^{−1024(1 − c)} beside the one that is asked for.
    assert_within(found.linear_capacity, found.loads, 1e3 * EPS * found.loads)
    assert found.chance == 0.5


def held_exactly(model, load, noise, seed):
    """Σ R² of the best readout: x = Σ D_i b_i over independent bits, D_i = λ^{n−1−i} B w/√2.

    R_i² = D_iᵀ(D Dᵀ + noise² diag(D Dᵀ))⁻¹D_i: the noise is relative to every number's variance.
    """
    p = model.parameters
    direction = np.random.default_rng(seed).standard_normal(model.d) / math.sqrt(2.0)
    if model.name == "lru":
        eigenvalues, gain = p["eigenvalues"], np.sqrt(1.0 - abs(p["eigenvalues"]) ** 2)
    else:
        eigenvalues = np.exp(p["eigenvalues"] * p["step"])
        gain = (eigenvalues - 1.0) / p["eigenvalues"]
    D = eigenvalues[:, None] ** np.arange(load) * (gain * (p["B"] @ direction))[:, None]
    D = np.concatenate([D.real, D.imag])
    covariance = D @ D.T
    seen = covariance + noise**2 * np.diag(np.diag(covariance))
    return np.trace(np.linalg.solve(seen, covariance))


@pytest.mark.parametrize("name", ["lru", "s5"])
@pytest.mark.parametrize("noise", [1e-1, 1e-3])
def test_linear_memory_is_that_of_the_covariance(name, noise):
    """And at most the numbers in the state: Jaeger's law."""
    model, loads = layer(name, 8, state=3, seed=1), (2, 6, 24)
    found = memory_test(model, task="copy", loads=loads, trials=4000, noise=noise, seed=5)
    for load, held in zip(loads, found.linear_capacity, strict=True):
        expected = held_exactly(model, load, noise, 5)
        # A residual's share over 4000 tests has relative error √(2/4000) at most; the readout of
        # F = 6 numbers was fitted to as many, which costs 6/4000 of the residual, and places with
        # none count 0 but for noise. All places are added up.
        lost = load - expected
        bound = ERRORS * (math.sqrt(2.0 / 4000) * math.sqrt(lost) + lost * 6 / 4000)
        assert_within(held, expected, bound, f"load {load}")
        assert held <= model.state_size(load) + bound


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "attention"])
def test_no_state_holds_more_than_its_numbers(name):
    model = layer(name, 4, heads=2, state=2, seed=2)
    size = model.state_size(0)
    found = memory_test(model, task="copy", loads=(1, 2, 6 * size), trials=1500)
    assert found.accuracy[0] == 1.0
    assert found.accuracy[-1] < 0.9
    chance = math.sqrt(2.0 / 1500) * math.sqrt(6 * size)
    assert 1.0 - 0.01 <= found.linear_capacity[0] <= 1.0
    assert found.linear_capacity[-1] <= size + ERRORS * chance


def test_what_fades_below_the_noise_is_lost():
    model = layer("rwkv", 8)
    quiet, loud = (
        memory_test(model, task="copy", loads=(16,), noise=noise) for noise in (1e-6, 1e-1)
    )
    assert loud.linear_capacity[0] < quiet.linear_capacity[0]


def test_blocks_of_sequences_change_nothing(monkeypatch):
    from resolvent.attention import _memory

    run = lambda: memory_test("lru", task="copy", loads=(1, 5, 12), trials=50)  # noqa: E731
    whole = run()
    monkeypatch.setattr(_memory, "_TOKENS", 7 * 32 * 30)
    assert_bits(run().accuracy, whole.accuracy)


# ---------------------------------------------------------------------------------------------
# Results and bad input.


def test_seeds():
    one, again, other = (memory_test("mamba2", trials=64, seed=s).accuracy for s in (1, 1, 2))
    assert_bits(one, again)
    assert not np.array_equal(one, other)


def by_hand(accuracy, threshold=0.9):
    model = layer("retnet", 8)
    loads = 2 ** np.arange(len(accuracy))
    sizes = np.array([model.state_size(n) for n in loads])
    return MemoryTest(
        model, "recall", "nearest value", loads, np.array(accuracy), CHANCE, sizes, None, 100,
        threshold,
    )  # fmt: skip


def test_the_capacity():
    assert by_hand([1.0, 0.95, 0.8, 0.95]).capacity == 2
    assert by_hand([1.0, 0.95, 0.8, 0.95], threshold=0.8).capacity == 8
    assert by_hand([0.5, 1.0]).capacity == 0
    assert_within(by_hand([1.0, 0.5]).errors, [0.0, 0.05], EPS)


def test_results_show_themselves():
    one = by_hand([1.0, 0.95, 0.8, 0.5])
    assert repr(one) == (
        "MemoryTest(Layer('retnet', d=8, heads=1, state=16), recall: capacity 2, "
        "accuracy 0.50 at 8, chance 0.062)"
    )
    assert "≥ 8" in repr(by_hand([1.0] * 4))
    assert str(one).splitlines()[-1].split() == ["8", "0.500", "128"]
    several = memory_test(["attention", "s5"], task="copy", loads=(1, 2), trials=20)
    assert repr(several).startswith("MemoryComparison(copy; capacity attention ≥ 2, s5")
    assert str(several).splitlines()[2].split()[0] == "s5"
    for result in (one, several, several.tests["s5"]):
        assert result._repr_html_().count("<table>") >= 1
    assert "linear capacity" in str(several.tests["s5"])


def test_the_pictures():
    found = memory_test(["attention", "retnet"], loads=(1, 64), trials=32)
    ax = found.plot(ax=Figure().subplots())
    drawn = {line.get_label(): line for line in ax.lines}
    assert to_rgba(drawn["RetNet"].get_color()) == to_rgba("C1")
    assert_bits(drawn["RetNet"].get_ydata(), found.tests["retnet"].accuracy)
    assert drawn["chance"].get_ydata()[0] == CHANCE
    sizes = {f"N = {n}": layer("retnet", 32, state=n) for n in (16, 64)}
    against = memory_test(sizes, trials=32).plot(ax=Figure().subplots(), against="state")
    assert against.lines[0].get_xdata().tolist() == [512, 2048]
    refused(lambda: found.plot(against="time"), "against", "'load'", "'time'")


def test_memory_refuses():
    refused(lambda: memory_test("transformer"), "model", "Layer", "'transformer'")
    refused(lambda: memory_test([]), "at least one")
    refused(lambda: memory_test("lru", task="sort"), "task", "'recall'", "'sort'")
    refused(lambda: memory_test("lru", loads=()), "loads must ascend", "[]")
    refused(lambda: memory_test("lru", loads=(4, 2)), "loads must ascend", "[4, 2]")
    refused(lambda: memory_test("lru", loads=(0, 2)), "loads must ascend", "[0, 2]")
    refused(lambda: memory_test("lru", loads=(1.5,)), "loads", error=rv.DtypeError)
    refused(lambda: memory_test("lru", trials=0), "trials must be at least 1")
    refused(lambda: memory_test("lru", threshold=1.5), "threshold must be in (0, 1], got 1.5")
    refused(lambda: memory_test("lru", noise=0.0), "noise must be positive")
    refused(lambda: memory_test(layer("lru", 6)), "8 channels", "'recall'")
