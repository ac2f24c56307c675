"""What the captions of attention's figures claim. Times are not asserted, only what is counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

import resolvent as rv

pytest.importorskip("matplotlib")

from resolvent import attention
from resolvent.figures import FIGURES
from resolvent.figures import attention as figures

EPS = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)

#: Of sums over n entries, errors are this times eps times n.
AGREE = 8

#: So many standard errors are not chance.
SURE = 4


# ---- routes -------------------------------------------------------------------------------------


def slope(route, depth, length=1 << 16):
    """d log(operations) / d log L at a length where the projections are nothing any more."""
    few, many = (figures._operations(route, L, depth) for L in (length, 2 * length))
    return math.log2(many / few)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_exponents_of_time(depth):
    for route in ("full", "cached", "streaming"):
        assert slope(route, depth) == pytest.approx(2.0, abs=0.01)
    assert slope("recompute", depth) == pytest.approx(depth + 1.0, abs=0.01)


def test_every_layer_multiplies_the_time_of_recomputation():
    times = [figures._operations("recompute", 16, D) for D in range(1, 9)]
    assert min(np.divide(times[1:], times[:-1])) > 2.5
    for route in ("full", "cached", "streaming"):
        times = [figures._operations(route, 16, D) for D in range(1, 9)]
        assert np.ptp(np.diff(times)) == 0


def test_exponents_of_memory():
    lengths = (1 << 16, 1 << 17)
    growth = {
        route: math.log2(
            np.divide(*[attention.cost(route, L, 2, d=16).peak_bytes for L in lengths][::-1])
        )
        for route in attention.ROUTES
    }
    assert growth["full"] == pytest.approx(2.0, abs=0.01)
    assert growth["cached"] == pytest.approx(1.0, abs=0.01)
    assert growth["streaming"] == pytest.approx(1.0, abs=0.01)
    assert growth["recompute"] == 0.0


def test_bytes_of_counted_runs_lie_on_the_lines():
    lengths = (8, 16, 32)
    for route, found in figures.ledgers(lengths=lengths).items():
        assert found == [attention.cost(route, L, 2, d=16).peak_bytes for L in lengths]


def test_runs_are_timed_up_to_the_limit():
    points = (("cached", 8, 1), ("recompute", 8, 2), ("full", 512, 2))
    runs = figures.route_runs(points=points, most=1e5, repeats=1)
    assert [(run.route, run.length, run.depth) for run in runs] == [points[0]]
    (run,) = runs
    assert run.operations == attention.cost("cached", 8, 1, d=16).operations
    assert run.seconds > 0.0
    twice = figures.Run("full", 1, 1, run.operations, 4.0 * run.seconds)
    assert figures.speed([run, twice]) == pytest.approx(run.operations / (2.0 * run.seconds))


# ---- the recurrence -----------------------------------------------------------------------------


def test_recurrence_ends_at_the_whole_row():
    found = figures.recurrence_states()
    length = found.logits.size
    assert found.output[-1] == pytest.approx(found.full, abs=AGREE * length * EPS)
    for t in (0, 1, length // 2, length - 1):
        past = found.logits[: t + 1]
        assert found.maximum[t] == past.max()
        sums = np.exp(past - past.max()).sum()
        assert found.denominator[t] == pytest.approx(sums, rel=AGREE * length * EPS)


def test_maximum_seldom_moves_and_the_denominator_shrinks_when_it_does():
    found = figures.recurrence_states()
    moves = np.flatnonzero(np.diff(found.maximum) > 0.0)
    # Records among n independent numbers: H_n − 1 after the first.
    assert 4 <= moves.size < 12
    late = moves[found.denominator[moves] > 2.0]
    assert late.size
    assert np.all(found.denominator[late + 1] < found.denominator[late])
    still = np.setdiff1d(np.arange(found.maximum.size - 1), moves)
    assert np.all(np.diff(found.denominator)[still] > 0.0)


# ---- influence ----------------------------------------------------------------------------------


def test_who_fades():
    found = figures.influences()
    lives = found.half_lives
    assert lives["attention"] == lives["linear_attention"] == math.inf
    assert lives["retnet"] > lives["s5"] > lives["lru"] > 8.0
    for name in ("rwkv", "mamba", "mamba2"):
        assert lives[name] <= 3.0
    for name in ("attention", "linear_attention"):
        curve = found.curves[name]
        late, early = curve[128:].mean(), curve[1:64].mean()
        assert late == pytest.approx(early, rel=0.25)


def test_rwkv_falls_like_a_power_and_lru_does_not():
    """Slopes of log against log."""
    found = figures.influences()

    def slopes(name):
        log_k, log_curve = np.log(found.lags[1:]), np.log(found.curves[name][1:])
        parts = (slice(1, 15), slice(15, 63), slice(63, None))
        return [float(np.polyfit(log_k[part], log_curve[part], 1)[0]) for part in parts]

    power = slopes("rwkv")
    assert -1.7 < min(power) <= max(power) < -1.1
    for name in ("lru", "s5", "retnet"):
        bending = slopes(name)
        assert bending[0] > bending[1] > bending[2]
        assert bending[2] < 2.5 * bending[0]


# ---- memory -------------------------------------------------------------------------------------


def test_recall_by_load():
    tests = figures.recall_by_load().tests
    assert np.all(tests["attention"].accuracy == 1.0)
    for name in ("linear_attention", "retnet", "mamba", "mamba2"):
        test = tests[name]
        assert test.accuracy[0] == 1.0
        assert test.accuracy[-1] < 0.5
        assert 4 <= test.capacity <= 16
    for name in ("rwkv", "lru", "s5"):
        test = tests[name]
        guess = 1.0 / test.loads + (1.0 - 1.0 / test.loads) * test.chance
        error = SURE * np.sqrt(guess * (1.0 - guess) / test.trials)
        # The state leaves no more than which values were written: one of n, at the best.
        assert np.all(test.accuracy <= guess + error)
        assert test.capacity <= 1


def test_recall_by_state():
    tests = figures.recall_by_state().tests
    per_pair = np.unique(tests["attention"].state_sizes / tests["attention"].loads)
    assert per_pair == [2 * 16]
    for name in ("linear_attention", "retnet", "mamba"):
        capacities = [tests[f"{name}, N = {n}"].capacity for n in (4, 8, 16, 32)]
        assert capacities == sorted(capacities)
        assert capacities[-1] >= 3 * capacities[0]
        assert [tests[f"{name}, N = {n}"].state_sizes[0] for n in (4, 32)] == [64, 512]
    for n in (4, 8, 16, 32):
        test = tests[f"linear_attention, N = {n}"]
        held_by_attention = test.state_sizes[0] / (2 * 16)
        assert held_by_attention <= test.capacity <= 2 * held_by_attention


def test_copies_are_at_most_as_many_as_numbers():
    tests = figures.copying().tests
    assert np.all(tests["attention"].accuracy == 1.0)
    constant = {name: test for name, test in tests.items() if name != "attention"}
    sizes = [test.state_sizes[0] for test in constant.values()]
    assert (min(sizes), max(sizes)) == (8, 40)
    for test in constant.values():
        # Σ R² of n bits over m sequences has a standard error of about √(2n/m) at the most.
        error = SURE * np.sqrt(2.0 * test.loads / test.trials)
        assert np.all(test.linear_capacity <= test.state_sizes + error)
        assert test.accuracy[-1] < 0.9


# ---- a text -------------------------------------------------------------------------------------


def test_licence_is_the_one_that_is_shipped():
    found = figures.licence()
    assert found.startswith(b"Apache License Version 2.0, January 2004")
    assert found.endswith(b"limitations under the License.")
    assert 10_000 < len(found) < 11_000
    assert b"  " not in found


def test_contexts_are_alike_where_the_last_bytes_are():
    found = figures.contexts(b"abcdefgh xyz abcdefgh uvw cfedbgha", size=256)
    assert found.codes.dtype == np.float32
    assert np.linalg.norm(found.codes, axis=1) == pytest.approx(1.0, abs=AGREE * 256 * EPS32)
    cosines = found.codes @ found.codes.T
    first, again, other = 7, 20, 33
    assert found.text[first] == found.text[again] == ord("h")
    assert cosines[first, again] > 0.95
    assert abs(cosines[first, other]) < 0.5
    assert np.array_equal(found.keys[1:], found.queries[:-1])
    assert not found.keys[0].any()
    one_hot = found.values
    assert np.array_equal(one_hot.argmax(axis=1), found.symbols)
    assert np.all(one_hot.sum(axis=1) == 1.0)


def test_attention_copies_the_phrase():
    sentence, weights = figures.excerpt_weights()
    phrase = figures._REPEATED
    first, again = sentence.find(phrase), sentence.rfind(phrase)
    assert first < again
    # The eight bytes before are the same from the ninth byte on.
    rows = np.arange(8, len(phrase))
    for p in weights.values():
        assert p.shape == (len(sentence) - 1,) * 2
        assert np.all(np.triu(p, 1) == 0.0)
        assert p.sum(axis=1) == pytest.approx(1.0, abs=AGREE * len(p) * EPS32)
        assert p[again - 1 + rows, first + rows].min() > 0.9


def test_sparse_maps_leave_little():
    _, weights = figures.excerpt_weights()
    share = {label: figures._share_above_zero(p) for label, p in weights.items()}
    assert share["softmax"] == 1.0
    assert share["sparsemax"] < share["1.5-entmax"] < 0.05
    for label, map_ in figures._MAPS.items():
        assert attention.streams(map_) == (label == "softmax")


def test_weights_are_those_of_the_map():
    """Row by row from the definition."""
    sentence, weights = figures.excerpt_weights()
    found = figures.contexts(sentence)
    q, k = found.queries.astype(float), found.keys.astype(float)
    for t in (0, 40, 100):
        for label, map_ in figures._MAPS.items():
            expected = map_(figures._SHARPNESS * (k[: t + 1] @ q[t]))
            slack = AGREE * figures._SHARPNESS * len(sentence) * EPS32
            assert weights[label][t, : t + 1] == pytest.approx(expected, abs=slack)


def test_attention_reads_better_than_states_of_constant_size():
    found = figures.guesses()
    blocks = found.blocks("attention", 10)
    assert blocks[0] == pytest.approx(0.40, abs=0.02)
    assert np.mean(blocks[2:]) == pytest.approx(0.62, abs=0.02)
    assert found.share("attention") > 0.55
    for name in ("linear_attention", "retnet"):
        blocks = found.blocks(name, 10)
        assert np.all(blocks < 0.32)
        assert blocks[1:].mean() - blocks[0] < 0.05
    text = np.frombuffer(figures.licence(), np.uint8)
    most_frequent = np.bincount(text).max() / text.size
    assert found.share("retnet") > most_frequent + 0.05
    symbols = len(set(figures.licence()))
    assert found.numbers["attention"] == (64 + symbols) * text.size
    assert found.numbers["retnet"] == 64 * symbols


def test_longer_keys_help_up_to_a_point():
    curves = figures.by_state((16, 64, 128, 256), models=figures._CONSTANT)
    for numbers, shares in curves.values():
        assert numbers == sorted(numbers)
        assert shares[1] > shares[0] + 0.04
        assert abs(shares[3] - shares[1]) < 0.04
        assert max(shares) < 0.32


def test_guesses_are_those_of_the_recurrence():
    """The first hundred bytes by a loop over a matrix."""
    found = figures.contexts(figures.licence()[:100])
    q, k, v = found.queries.astype(float), found.keys.astype(float), found.values.astype(float)
    state, right = np.zeros((k.shape[1], v.shape[1])), []
    decay = math.exp(-1.0 / figures._REACH)
    for t in range(99):
        state = decay * state + np.outer(k[t], v[t])
        scores = np.sort(q[t] @ state)
        if scores[-1] - scores[-2] > AGREE * 100 * EPS32:  # not a tie
            right.append((t, (q[t] @ state).argmax() == found.symbols[t + 1]))
    assert len(right) > 80
    got = figures.guesses(length=100).right["retnet"]
    for t, expected in right:
        assert got[t] == expected


# ---- drawing ------------------------------------------------------------------------------------


def test_figures_of_the_domain():
    names = [name for name in FIGURES if name.startswith("attention-")]
    assert names == [
        "attention-routes",
        "attention-state",
        "attention-influence",
        "attention-memory",
        "attention-text",
        "attention-reading",
    ]
    assert rv.attention is attention
