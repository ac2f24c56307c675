"""Problems and training: gradients by differences, whole runs against loops in plain NumPy."""

from __future__ import annotations

import itertools
import pickle
import sys

import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_message, assert_within
from interruption import output_after_ctrl_c
from matplotlib.figure import Figure
from scipy.linalg import subspace_angles
from ssm_support import refused

import resolvent as rv
from resolvent.lora._budget import BudgetOptions, RankBudget
from resolvent.lora._problems import rotation

# Few classes leave the sign of a gradient few directions.
pytestmark = pytest.mark.filterwarnings("ignore:.*directions of the sign of the gradient")

Problem, digits, trajectory = rv.lora.Problem, rv.lora.digits, rv.lora.trajectory
TRAINED = rv.lora.TRAINED
INF = np.inf

# Multiples of eps.
SUM = 8  # per term of a sum, relative to the sum of absolute values
DIFFERENCE = 8  # of eps^(2/3), a central difference with the best step, relative to 1 + |loss|
PATH = 64  # per step: how far two orders of the same operations may drift apart, relative to size
ANGLE = 64  # a principal angle, per row


def small(kind="softmax", *, rows=24, seed=0, dtype=np.float64, activation="tanh"):
    """Seven inputs, five classes; weights, biases and inputs at random."""
    rng = np.random.default_rng(seed)
    sizes = (7, 5) if kind == "softmax" else (7, 6, 5)
    pairs = list(itertools.pairwise(sizes))
    weights = [rng.standard_normal(pair) / np.sqrt(pair[0]) for pair in pairs]
    biases = [0.3 * rng.standard_normal(m) for _, m in pairs]
    x, y = rng.standard_normal((rows + 9, 7)), rng.integers(0, 5, rows + 9)
    arrays = [x[:rows], *weights, *biases, x[rows:]]
    x_train, *parameters, x_test = (array.astype(dtype) for array in arrays)
    half = len(weights)
    return Problem(
        x_train,
        y[:rows],
        parameters[:half],
        parameters[half:],
        None if kind == "softmax" else activation,
        x_test,
        y[rows:],
        name=kind,
    )


SOFTMAX, MLP, RELU = small(), small("mlp"), small("mlp", activation="relu")
PROBLEMS = pytest.mark.parametrize("problem", [SOFTMAX, MLP, RELU], ids=["softmax", "tanh", "relu"])


# ---------------------------------------------------------------------------------------------
# The definitions, in plain NumPy.


def forward(problem, x, weights, biases):
    """Inputs of every layer, and the logits."""
    inputs, logits = [x], x @ weights[0] + biases[0]
    if len(weights) == 2:
        f = np.tanh if problem.activation == "tanh" else (lambda a: a * (a > 0))
        inputs.append(f(logits))
        logits = inputs[1] @ weights[1] + biases[1]
    return inputs, logits


def cross_entropy(logits, y):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y])


def reference(problem, weights, biases=None, rows=slice(None)):
    """Loss, accuracy, and gradients by weights and biases."""
    biases = problem.biases if biases is None else biases
    x, y = problem.x[rows], problem.y[rows]
    inputs, logits = forward(problem, x, weights, biases)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    slope = (p - np.eye(p.shape[1])[y]) / len(y)
    dW, db = [inputs[-1].T @ slope], [slope.sum(axis=0)]
    if len(weights) == 2:
        h = inputs[1]
        back = (slope @ weights[1].T) * (1 - h**2 if problem.activation == "tanh" else h > 0)
        dW.insert(0, x.T @ back)
        db.insert(0, back.sum(axis=0))
    return cross_entropy(logits, y), np.mean(logits.argmax(axis=1) == y), dW, db


def pooled_cosine(changes, directions):
    a, b = (np.concatenate([v.ravel() for v in side]) for side in (changes, directions))
    return a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)


class PlainAdam:
    """One array."""

    def __init__(self):
        self.m = self.v = self.t = 0

    def __call__(self, g):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g * g
        return (self.m / (1 - 0.9**self.t)) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)


# ---------------------------------------------------------------------------------------------
# Problems.


@PROBLEMS
def test_gradients_are_those_of_the_loss_by_differences(problem):
    step = EPS ** (1 / 3)
    found = problem.gradients()
    for what, slopes in (("weights", found.weights), ("biases", found.biases)):
        for layer, slope in enumerate(slopes):
            for place in np.ndindex(slope.shape):
                losses = []
                for sign in (1, -1):
                    moved = [array.copy() for array in getattr(problem, what)]
                    moved[layer][place] += sign * step
                    losses.append(problem.gradients(**{what: moved}).loss)
                bound = DIFFERENCE * EPS ** (2 / 3) * (1 + abs(found.loss))
                assert_within(slope[place], (losses[0] - losses[1]) / (2 * step), bound, what)


@PROBLEMS
@pytest.mark.parametrize("rows", [slice(None), [3, 1, 1, 7], slice(5, 6)])
def test_loss_accuracy_and_gradients_against_the_formulas(problem, rows):
    found = problem.gradients(rows=rows)
    loss, accuracy, dW, db = reference(problem, problem.weights, rows=rows)
    bound = SUM * EPS * len(problem.x) * 8
    assert_within(found.loss, loss, bound * (1 + loss))
    assert found.accuracy == accuracy
    for one, other in zip((*found.weights, *found.biases), (*dW, *db), strict=True):
        assert_within(one, other, bound)


def test_the_test_rows_are_others():
    _, logits = forward(MLP, MLP.x_test, MLP.weights, MLP.biases)
    found = MLP.test()
    expected = cross_entropy(logits, MLP.y_test)
    assert_within(found.loss, expected, SUM * EPS * MLP.x.size * (1 + expected))
    assert found.accuracy == np.mean(logits.argmax(axis=1) == MLP.y_test)
    alone = Problem(MLP.x, MLP.y, MLP.weights, MLP.biases, "tanh")
    assert alone.test().loss == alone.gradients().loss == MLP.gradients().loss


def test_single_precision_stays():
    problem = small("mlp", dtype=np.float32)
    found = problem.gradients()
    assert {a.dtype for a in (*found.weights, *found.biases, problem.x)} == {np.dtype(np.float32)}
    _, _, dW, _ = reference(MLP, MLP.weights)
    assert_within(found.weights[0], dW[0], SUM * EPS32 * len(MLP.x) * 8)


def test_problems_are_read_only_and_survive_a_pickle():
    for problem in (MLP, pickle.loads(pickle.dumps(MLP))):
        assert_bits(problem.x, MLP.x)
        for array in (problem.x, problem.y, *problem.weights, *problem.biases, problem.y_test):
            assert not array.flags.writeable
    assert repr(MLP) == "Problem('mlp', 24 rows, 7→6→5)"
    assert "tanh" in MLP._repr_html_()


def test_what_a_problem_is_made_of_is_copied():
    x, W = np.ones((3, 2)), np.zeros((2, 2))
    problem = Problem(x, [0, 1, 1], [W])
    x[:] = W[:] = 5.0
    assert problem.x.max() == 1.0
    assert problem.weights[0].max() == 0.0
    assert_bits(problem.biases[0], np.zeros(2))


def test_batch_gradients_are_those_of_disjoint_batches():
    (batches,) = SOFTMAX.batch_gradients(6, seed=3)
    assert batches.shape == (4, 7, 5)
    # Four batches of 6 are all 24 rows, once each.
    assert_within(batches.mean(axis=0), SOFTMAX.gradients().weights[0], SUM * EPS * 24)
    order = np.random.default_rng(3).permutation(24)
    assert_bits(batches[1], SOFTMAX.gradients(rows=order[6:12]).weights[0])
    assert SOFTMAX.batch_gradients(6, 9)[0].shape == (9, 7, 5)


@pytest.mark.parametrize("turns", range(5))
def test_a_rotation_by_quarter_turns_moves_pixels(turns):
    image = np.random.default_rng(turns).random((8, 8))
    turned = (image.ravel() @ rotation(8, 90.0 * turns)).reshape(8, 8)
    assert_bits(turned, np.rot90(image, turns))  # counter-clockwise, as NumPy's


def test_a_rotation_interpolates():
    R = rotation(8, 30.0)
    inner = np.hypot(*(np.indices((8, 8)) - 3.5)).ravel() <= 3.0
    assert_within(R.sum(axis=0)[inner], np.ones(inner.sum()), SUM * EPS * 4)  # constants stay
    assert (R >= -SUM * EPS).all()
    # Linear images are interpolated exactly: coordinates turn.
    down, across = (axis.ravel() - 3.5 for axis in np.indices((8, 8)))
    turn = np.radians(30.0)
    expected = np.cos(turn) * across - np.sin(turn) * down
    assert_within((across @ R)[inner], expected[inner], SUM * EPS * 16)


@pytest.fixture(scope="module")
def tasks():
    return {shift: digits("softmax", shift) for shift in ("classes", "rotation")}


def test_digits_are_the_same_for_the_same_seed(tasks):
    again = digits("softmax", "rotation")
    for name in ("x", "y", "x_test", "y_test"):
        assert_bits(getattr(again, name), getattr(tasks["rotation"], name))
    assert_bits(again.weights[0], tasks["rotation"].weights[0])
    other = digits("softmax", "rotation", seed=1)
    assert not np.array_equal(other.x, again.x)
    assert (again.rows, len(again.x_test), again.sizes) == (599, 300, (64, 10))


def test_digits_of_new_classes_were_not_seen(tasks):
    problem = tasks["classes"]
    assert set(problem.y) == set(range(10))
    old = problem.y_test < 5
    _, logits = forward(problem, problem.x_test, problem.weights, problem.biases)
    right = logits.argmax(axis=1) == problem.y_test
    assert right[old].mean() > 0.95
    assert right[~old].mean() == 0.0


def test_digits_that_are_turned_are_harder(tasks):
    upright, turned = digits("softmax", "rotation", angle=0.0), tasks["rotation"]
    assert upright.test().accuracy > 0.93 > turned.test().accuracy + 0.2
    assert_bits(upright.weights[0], turned.weights[0])  # pre-trained alike
    assert_within(turned.x, upright.x @ rotation(8, 20.0), SUM * EPS * 64)


def test_digits_with_a_hidden_layer():
    problem = digits("mlp", "classes", hidden=7, activation="tanh", dtype=np.float32)
    assert (problem.sizes, problem.activation) == ((64, 7, 10), "tanh")
    assert problem.weights[0].dtype == np.float32
    assert 0.4 < problem.test().accuracy < 0.6


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError) as info:
        digits()
    assert_message(info, "scikit-learn", "resolvent[figures]")


# ---------------------------------------------------------------------------------------------
# Full fine-tuning.


@PROBLEMS
def test_full_is_gradient_descent(problem):
    found = trajectory(problem, ["full"], "sgd", 6, [0.25])
    weights = list(problem.weights)
    for step in range(7):
        here = problem.gradients(weights)
        assert found.loss[0, 0, 0, step] == here.loss
        assert found.accuracy[0, 0, 0, step] == problem.test(weights).accuracy
        assert found.test_loss[0, 0, 0, step] == problem.test(weights).loss
        if step < 6:
            weights = [W - 0.25 * G for W, G in zip(weights, here.weights, strict=True)]
    for got, W in zip(found.tuned["full", 0.25, 0].adapters, weights, strict=True):
        assert_bits(got, W)


def test_full_follows_itself():
    for optimizer, momentum in (("sgd", 0.0), ("sgd", 0.8), ("adam", 0.0)):
        found = trajectory(MLP, ["full"], optimizer, 20, [0.05], momentum=momentum)
        # Relative to the change, a difference of weights is known to eps‖W‖/‖ΔW‖.
        assert_within(found.alignment, np.ones((1, 1, 1, 21)), 1e5 * PATH * EPS)
        assert np.isnan(found.drift_left).all()
        assert_bits(found.ranks[0, 0, 0, 0], np.array([6, 5]))


def test_momentum_adam_and_biases():
    for optimizer, momentum in (("sgd", 0.8), ("adam", 0.0)):
        found = trajectory(
            MLP, ["full"], optimizer, 8, [0.05], momentum=momentum, train_biases=True
        )
        values = [*MLP.weights, *MLP.biases]
        velocity = [0.0] * 4
        adams = [PlainAdam() for _ in values]
        for step in range(9):
            loss, _, dW, db = reference(MLP, values[:2], values[2:])
            assert_within(found.loss[0, 0, 0, step], loss, PATH * EPS * (step + 1) * (1 + loss))
            slopes = [*dW, *db]
            velocity = [momentum * v + g for v, g in zip(velocity, slopes, strict=True)]
            moves = velocity
            if optimizer == "adam":
                moves = [adam(g) for adam, g in zip(adams, slopes, strict=True)]
            values = [v - 0.05 * move for v, move in zip(values, moves, strict=True)]
        assert not np.array_equal(found.tuned["full", 0.05, 0].biases[0], MLP.biases[0])
    frozen = trajectory(MLP, ["full", "lora"], "sgd", 2, [0.05], rank=2)
    for label in ("full", "lora"):
        assert_bits(frozen.tuned[label, 0.05, 0].biases[0], MLP.biases[0])


# ---------------------------------------------------------------------------------------------
# Whole runs of adapters, written out.


def start(problem, layer, method, rank, seed=0, **options):
    """The adapter that a run starts from."""
    own = int(np.random.SeedSequence((seed, layer)).generate_state(1)[0])
    return rv.lora.initialize(method, weight=problem.weights[layer], rank=rank, seed=own, **options)


def batches(rows, size, seed):
    rng = np.random.default_rng((seed, 0))
    while True:
        order = rng.permutation(rows)
        yield from (order[i : i + size] for i in range(0, rows - size + 1, size))


def test_lora_with_momentum_and_batches_step_by_step():
    steps, rate, momentum, seed, s = 12, 0.2, 0.6, 4, 1.5
    found = trajectory(
        MLP, ["lora"], "sgd", steps, [rate], [seed], rank=2, alpha=3.0, batch_size=7,
        momentum=momentum,
    )  # fmt: skip
    order = batches(24, 7, seed)
    adapters = [start(MLP, i, "lora", 2, seed) for i in range(2)]
    A, B = [a.A for a in adapters], [a.B for a in adapters]
    vA, vB, vW = [0, 0], [0, 0], [0, 0]
    for step in range(steps + 1):
        W = [W0 + s * a @ b for W0, a, b in zip(MLP.weights, A, B, strict=True)]
        loss, _, _, _ = reference(MLP, W)
        bound = PATH * EPS * (step + 1)
        assert_within(found.loss[0, 0, 0, step], loss, bound * (1 + loss))
        _, _, G, _ = reference(MLP, W, rows=next(order))
        before = W
        vA = [momentum * v + s * g @ b.T for v, g, b in zip(vA, G, B, strict=True)]
        vB = [momentum * v + s * a.T @ g for v, g, a in zip(vB, G, A, strict=True)]
        vW = [momentum * v + g for v, g in zip(vW, G, strict=True)]
        A = [a - rate * v for a, v in zip(A, vA, strict=True)]
        B = [b - rate * v for b, v in zip(B, vB, strict=True)]
        W = [W0 + s * a @ b for W0, a, b in zip(MLP.weights, A, B, strict=True)]
        changes = [new - old for new, old in zip(W, before, strict=True)]
        cosine = -pooled_cosine(changes, vW)
        assert_within(found.alignment[0, 0, 0, step], cosine, 100 * bound, "alignment")


def test_dora_with_adam_step_by_step():
    steps, rate = 10, 0.02
    found = trajectory(MLP, ["dora"], "adam", steps, [rate], rank=2)
    adapters = [start(MLP, i, "dora", 2) for i in range(2)]
    A, B, size = ([getattr(a, name) for a in adapters] for name in ("A", "B", "magnitude"))
    rules = [[PlainAdam() for _ in range(4)] for _ in range(2)]

    def columns(i):
        V = MLP.weights[i] + A[i] @ B[i]
        return V, np.sqrt((V**2).sum(axis=0))

    for step in range(steps + 1):
        W = [size[i] * columns(i)[0] / columns(i)[1] for i in range(2)]
        loss, _, G, _ = reference(MLP, W)
        bound = 4 * PATH * EPS * (step + 1)  # entries near 0 have their sign divided out by Adam
        assert_within(found.loss[0, 0, 0, step], loss, bound * (1 + loss))
        if step == steps:
            for i, trained in enumerate(found.tuned["dora", rate, 0].adapters):
                assert_within(trained.magnitude, size[i], bound * (1 + size[i]))
                assert (np.abs(size[i] - adapters[i].magnitude) > rate).any()
        full = [rules[i][3](G[i]) for i in range(2)]
        for i in range(2):
            V, length = columns(i)
            slopes = (
                (G[i] * size[i] / length) @ B[i].T,
                A[i].T @ (G[i] * size[i] / length),
                (G[i] * V).sum(axis=0) / length,
            )
            A[i], B[i], size[i] = (
                value - rate * rule(slope)
                for value, rule, slope in zip(
                    (A[i], B[i], size[i]), rules[i][:3], slopes, strict=True
                )
            )
        after = [size[i] * columns(i)[0] / columns(i)[1] for i in range(2)]
        cosine = -pooled_cosine([a - w for a, w in zip(after, W, strict=True)], full)
        assert_within(found.alignment[0, 0, 0, step], cosine, 1e3 * bound, "alignment")


def test_adalora_step_by_step():
    """Two weights share the ranks; scores, schedule and pruning by their definitions."""
    steps, rate, gamma, first, last = 40, 0.3, 0.05, 5, 2
    options = {
        "method": "adalora", "initial_rank": first, "warmup": 0.2, "final": 0.25, "interval": 2,
        "beta1": 0.6, "beta2": 0.7, "orthogonality": gamma,
    }  # fmt: skip
    found = trajectory(MLP, {"ada": options}, "sgd", steps, [rate], rank=last)
    adapters = [start(MLP, i, "adalora", first) for i in range(2)]
    P, Q, lam = ([getattr(a, n).copy() for a in adapters] for n in ("A", "B", "importance"))
    mean = {(i, n): 0.0 for i in range(2) for n in range(3)}
    off = dict(mean)
    kept = [np.ones(first, bool)] * 2
    for step in range(steps + 1):
        W = [MLP.weights[i] + (P[i] * lam[i]) @ Q[i] for i in range(2)]
        loss, _, G, _ = reference(MLP, W)
        assert_within(found.loss[0, 0, 0, step], loss, 16 * PATH * EPS * (step + 1) * (1 + loss))
        assert_bits(found.ranks[0, 0, 0, step], np.array([k.sum() for k in kept]))
        if step == steps:
            break
        scores = []
        for i in range(2):
            eye = np.eye(first)
            slopes = (
                G[i] @ Q[i].T * lam[i] + gamma * 4 * P[i] @ (P[i].T @ P[i] - eye),
                (P[i] * lam[i]).T @ G[i] + gamma * 4 * (Q[i] @ Q[i].T - eye) @ Q[i],
                np.array([P[i][:, k] @ G[i] @ Q[i][k] for k in range(first)]),
            )
            entries = []
            for n, (value, slope) in enumerate(zip((P[i], Q[i], lam[i]), slopes, strict=True)):
                if step + 1 <= 30:
                    sensitivity = abs(value * slope)
                    mean[i, n] = 0.6 * mean[i, n] + 0.4 * sensitivity
                    off[i, n] = 0.7 * off[i, n] + 0.3 * abs(sensitivity - mean[i, n])
                entries.append(mean[i, n] * off[i, n])
            scores.append(entries[2] + entries[0].mean(axis=0) + entries[1].mean(axis=1))
            P[i], Q[i], lam[i] = (
                value - rate * slope
                for value, slope in zip((P[i], Q[i], lam[i]), slopes, strict=True)
            )
        done = step + 1
        if done <= 30 and done % 2 == 0:
            room = 2 * first
            if done > 8:  # warm-up
                room = 2 * last + int(2 * (first - last) * (1 - (done - 8) / 22) ** 3)
            threshold = np.sort(np.concatenate(scores))[::-1][room - 1]
            kept = [score >= threshold for score in scores]
        if done >= 30 or done % 2 == 0:
            lam = [np.where(k, v, 0.0) for k, v in zip(kept, lam, strict=True)]
    trained = found.tuned["ada", rate, 0].adapters
    zeros = [np.count_nonzero(a.importance == 0) for a in trained]
    assert zeros == [np.count_nonzero(~k) for k in kept]
    assert sum(zeros) == 2 * (first - last)


# ---------------------------------------------------------------------------------------------
# What holds for methods.


@pytest.fixture(scope="module")
def all_methods():
    return trajectory(RELU, TRAINED, "sgd", 60, [0.05, 0.2], [0, 1], rank=2)


def test_every_method_starts_at_the_pretrained_model(all_methods):
    loss = RELU.gradients().loss
    bound = SUM * EPS * RELU.x.size * (1 + loss)
    assert_within(all_methods.loss[..., 0], np.full((11, 2, 2), loss), bound)
    for label in ("full", "lora", "lora+", "rslora"):  # B = 0: exactly
        place = all_methods.labels.index(label)
        assert_bits(all_methods.loss[place, ..., 0], np.full((2, 2), loss))


def test_every_method_learns(all_methods):
    assert not all_methods.diverged.any()
    for label in TRAINED:
        run = all_methods.best(label)
        share = 0.97 if label == "adalora" else 0.8  # its factors start at a fiftieth
        assert (run.loss[:, -1] < share * run.loss[:, 0]).all(), label
        assert (run.alignment[:, 1:] > 0).mean() > 0.9, label
    finals = {label: all_methods.best(label).final_loss for label in TRAINED}
    assert min(finals, key=finals.get) in ("full", "lora+")


def test_what_came_out_has_the_last_loss(all_methods):
    for (label, rate, seed), tuned in all_methods.tuned.items():
        place = all_methods.labels.index(label)
        expected = all_methods.run(label, rate).loss[seed, -1]
        got = RELU.gradients(tuned.weights(RELU), tuned.biases).loss
        assert_within(got, expected, SUM * EPS * RELU.x.size * (1 + expected), label)
        assert expected == all_methods.loss[place, [0.05, 0.2].index(rate), seed, -1]


@pytest.mark.parametrize("label", ["lora", "lora-ga", "pissa", "olora", "orthogonal", "dora"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_first_alignment_is_that_of_the_first_step(label, optimizer):
    rate = 2.0**-12
    found = trajectory(SOFTMAX, [label], optimizer, 1, [rate], rank=2)
    (G,), (W,) = SOFTMAX.gradients().weights, SOFTMAX.weights
    gradient = {"gradient": G} if label == "lora-ga" else {}
    adapter = start(SOFTMAX, 0, label, 2, **gradient)
    step = adapter.first_update(G, optimizer, weight=W, learning_rate=rate)
    full = -G if optimizer == "sgd" else -np.sign(G)
    # Adam's ε moves a step by ε/|g|, and the step itself is a difference of weights of size 1.
    slack = 1e-8 / np.abs(G).min() if optimizer == "adam" else 0.0
    bound = PATH * EPS * np.linalg.norm(W) / np.linalg.norm(step) + 100 * slack
    assert_within(found.alignment[0, 0, 0, 0], pooled_cosine([step], [full]), bound)


def test_lora_ga_follows_best_at_the_start(all_methods):
    at_start = dict(zip(all_methods.labels, all_methods.alignment[:, 0, 0, 0], strict=True))
    others = [label for label in TRAINED if label not in ("full", "lora-ga")]
    assert at_start["lora-ga"] > max(at_start[label] for label in others)


def test_drift_is_the_mean_principal_angle(all_methods):
    angles = {"A": [], "B": []}
    trained = all_methods.tuned["pissa", 0.2, 1].adapters
    for i in range(2):
        begun = start(RELU, i, "pissa", 2, seed=1)
        angles["A"].append(subspace_angles(begun.A, trained[i].A))
        angles["B"].append(subspace_angles(begun.B.T, trained[i].B.T))
    run = all_methods.run("pissa", 0.2)
    assert_within(run.drift_left[1, -1], np.mean(angles["A"]), ANGLE * EPS * 7)
    assert_within(run.drift_right[1, -1], np.mean(angles["B"]), ANGLE * EPS * 7)
    # The start itself; sines make the angle small instead of √eps.
    assert (run.drift_left[:, 0] <= ANGLE * EPS * 7).all()
    assert (run.drift_left[:, 1:] > 1e-4).all()


def test_drift_of_a_factor_that_starts_at_zero(all_methods):
    run = all_methods.run("lora", 0.2)
    assert np.isnan(run.drift_right[:, 0]).all()
    assert (run.drift_right[:, 1] <= ANGLE * EPS * 7).all()
    assert (run.drift_right[:, 2:] > 0).all()
    assert np.isfinite(run.drift_left).all()


def test_lora_plus_is_lora_with_another_rate_for_b():
    recipes = {
        "lora": "lora",
        "alike": {"method": "lora+", "ratio": 1.0},
        "plus": "lora+",
        "eight": {"method": "lora", "ratio": 8.0},
    }
    found = trajectory(SOFTMAX, recipes, "sgd", 5, [0.01, 0.08, 0.16], rank=2)
    loss = dict(zip(found.labels, found.loss[:, :, 0], strict=True))
    assert_bits(loss["lora"], loss["alike"])
    # B starts at 0, so A stays in the first step.
    assert_within(loss["plus"][0, 1], loss["lora"][2, 1], PATH * EPS * 4)
    assert_within(loss["eight"][0, 1], loss["lora"][1, 1], PATH * EPS * 4)
    assert abs(loss["plus"][0, 2] - loss["lora"][2, 2]) > 1e-6


def test_rslora_is_lora_with_another_scale():
    recipes = {
        "rslora": "rslora",
        "scaling": {"method": "lora", "scaling": "rslora"},
        "alpha": {"method": "lora", "alpha": 4.0 * 2.0},  # α/r = 4/√4
        "rank": {"method": "rslora", "rank": 1},
    }
    found = trajectory(SOFTMAX, recipes, "sgd", 4, [0.1], rank=4, alpha=4.0)
    assert_bits(found.loss[0], found.loss[1])
    assert_bits(found.loss[0], found.loss[2])
    assert found.ranks[:, 0, 0, 0, 0].tolist() == [4, 4, 4, 1]


def test_adalora_gives_up_ranks_where_they_matter_less():
    found = trajectory(
        RELU, {"ada": {"method": "adalora", "initial_rank": 4}}, "adam", 60, [0.03], rank=2
    )
    total = found.ranks[0, 0, 0].sum(axis=-1)
    assert total[0] == 8
    assert total[-1] == 4
    assert (np.diff(total) <= 0).all()
    assert (total[:7] == 8).all()  # warm-up: 6 steps
    assert (total[42:] == 4).all()  # the last 30 %
    trained = found.tuned["ada", 0.03, 0].adapters
    counts = [np.count_nonzero(a.importance) for a in trained]
    assert counts == found.ranks[0, 0, 0, -1].tolist()


def test_adalora_keeps_terms_whose_sensitivity_is_uncertain():
    """Sensitivity times uncertainty: one that never changes counts for nothing in the end."""
    options = BudgetOptions(interval=1, warmup=0.0, final=0.0, orthogonality=0.0)
    adapter = rv.lora.Adapter(np.eye(4, 2), np.eye(2, 3), importance=np.ones(2))
    budget = RankBudget(options, [adapter], target=1, steps=60)
    still = {name: 0.0 * value for name, value in adapter.parameters.items()}
    for step in range(60):
        slope = np.array([1.0, 1.5 * (step % 2)])
        budget.observe([adapter], [still | {"importance": slope}])
    (pruned,) = budget.pruned([adapter], 60)
    assert pruned.importance.tolist() == [0.0, 1.0]
    assert [kept.tolist() for kept in budget.kept] == [[False, True]]


def test_adalora_keeps_its_factors_near_orthonormal():
    def gap(weight):
        recipe = {"method": "adalora", "orthogonality": weight}
        found = trajectory(RELU, {"ada": recipe}, "sgd", 60, [0.2], rank=2)
        return max(
            np.abs(a.A.T @ a.A - np.eye(3)).max() for a in found.tuned["ada", 0.2, 0].adapters
        )

    assert gap(0.5) < 0.2 < 0.9 < gap(0.0)


def test_the_gradient_of_lora_ga_may_come_from_batches():
    same = trajectory(SOFTMAX, ["lora-ga"], steps=1, learning_rates=0.1, rank=2)
    options = {"steps": 1, "learning_rates": 0.1, "rank": 2, "batch_size": 6}
    four = trajectory(SOFTMAX, ["lora-ga"], gradient_batches=4, **options)  # one pass: all rows
    one = trajectory(SOFTMAX, ["lora-ga"], gradient_batches=1, **options)
    adapters = [found.tuned["lora-ga", 0.1, 0].adapters[0] for found in (same, four, one)]
    whole, passed, single = (np.asarray(adapter.offset) for adapter in adapters)
    sigma = np.linalg.svd(SOFTMAX.gradients().weights[0])[1]
    gap = np.abs(np.diff(sigma)).min() / sigma[0]
    assert_within(passed, whole, SUM * EPS * SOFTMAX.x.size / gap)
    assert np.abs(single - whole).max() > 0.01
    rows = np.random.default_rng((0, 1)).permutation(24)[:6]  # not the first batch of the training
    G = SOFTMAX.gradients(rows=rows).weights[0]
    assert_bits(single, np.asarray(start(SOFTMAX, 0, "lora-ga", 2, gradient=G).offset))


# ---------------------------------------------------------------------------------------------
# Runs.


def test_the_same_call_gives_the_same_bits(restore_threads):
    options = {"steps": 8, "learning_rates": [0.1], "seeds": [3, 5], "batch_size": 5, "rank": 2}
    rv.set_threads(1)
    one = trajectory(RELU, TRAINED, **options)
    rv.set_threads(2)
    other = trajectory(RELU, TRAINED, **options)
    for name in ("loss", "accuracy", "test_loss", "alignment", "drift_left", "drift_right"):
        assert_bits(getattr(one, name), getattr(other, name))
    assert (one.loss[:, 0, 0, -1] != one.loss[:, 0, 1, -1]).all()


def test_a_run_does_not_depend_on_the_others():
    options = {"steps": 5, "batch_size": 5, "rank": 2}
    many = trajectory(
        RELU, ["full", "dora", "lora"], learning_rates=[0.3, 0.1], seeds=[1, 0], **options
    )
    alone = trajectory(RELU, ["lora"], learning_rates=[0.1], seeds=[0], **options)
    assert_bits(many.loss[2, 1, 1], alone.loss[0, 0, 0])


def test_records_of_every_few_steps_are_those_of_all():
    options = {"steps": 11, "learning_rates": [0.1], "rank": 2, "momentum": 0.5, "batch_size": 9}
    each = trajectory(RELU, TRAINED, **options)
    some = trajectory(RELU, TRAINED, record_every=4, **options)
    assert some.steps.tolist() == [0, 4, 8, 11]
    for name in ("loss", "test_loss", "alignment", "drift_left", "drift_right", "ranks"):
        axis = 3
        assert_bits(
            getattr(some, name), np.ascontiguousarray(getattr(each, name).take(some.steps, axis))
        )


def test_a_run_that_diverges_is_recorded_without_a_word():
    found = trajectory(SOFTMAX, ["lora", "lora-ga"], "sgd", 400, [0.1, 1e8], rank=2)
    assert found.diverged[:, :, 0].tolist() == [[False, True], [False, True]]
    for path in found.loss[:, 1, 0]:
        end = np.flatnonzero(~np.isfinite(path))[0]
        assert end >= 1
        assert np.isnan(path[end + 1 :]).all()
        assert np.isfinite(path[:end]).all()
    assert np.isnan(found.alignment[:, 1, 0, -1]).all()
    assert (found.ranks[:, 1, 0, -1] == 0).all()
    assert found.best("lora").learning_rate == 0.1
    assert found.run("lora", 1e8).final_loss == INF
    assert "1 of 2" in str(found)


def test_a_run_that_ends_above_its_start_has_diverged():
    found = trajectory(SOFTMAX, ["full"], "sgd", 3, [50.0])
    assert np.isfinite(found.loss).all()
    assert found.diverged.all()


def test_a_gradient_that_overflows_where_the_loss_does_not():
    weights = [np.float32([[1e-39]]), np.float32([[-3e38, 3e38]])]
    problem = Problem(np.float32([[10.0]]), [0], weights)
    start = problem.gradients()
    assert np.isfinite(start.loss)
    assert np.isinf(start.weights[0]).all()
    found = trajectory(problem, ["full", "lora"], steps=2, learning_rates=0.1, rank=1)
    assert found.diverged.all()
    assert np.isinf(found.loss[..., 0]).all()


@pytest.mark.parametrize("kind", ["softmax", "mlp"])
def test_weights_that_overflow_in_single_precision(kind):
    problem = small(kind, dtype=np.float32)
    found = trajectory(problem, TRAINED, "sgd", 60, [1e30], rank=2)
    bounded = found.labels.index("dora")  # scales its columns, also infinite ones
    assert np.delete(found.diverged, bounded, axis=0).all()


def test_single_precision_is_trained_in_single_precision():
    problem = small("mlp", dtype=np.float32)
    found = trajectory(problem, TRAINED, "adam", 3, [0.01], rank=2)
    for tuned in found.tuned.values():
        for trained, W in zip(tuned.adapters, tuned.weights(problem), strict=True):
            values = [trained] if isinstance(trained, np.ndarray) else trained.parameters.values()
            assert {v.dtype for v in (*values, W)} == {np.dtype(np.float32)}
    double = trajectory(MLP, ["full"], "adam", 3, [0.01])
    assert_within(found.loss[0], double.loss[0], PATH * EPS32 * 8)


def test_progress_is_told_before_every_run_and_at_the_end():
    calls = []
    trajectory(
        SOFTMAX, ["full", "lora"], steps=1, learning_rates=[0.1, 0.2], seeds=[0, 1], rank=2,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    names = ["full"] * 4 + ["lora"] * 4
    assert calls == [*((i, 8, name) for i, name in enumerate(names)), (8, 8, "")]


def test_ctrl_c():
    script = """
        import resolvent as rv
        problem = rv.lora.Problem([[1.0, 0.5], [0.0, 1.0]], [0, 1], [[[0.5, 0.0], [0.0, 0.5]]])
        print("ready", flush=True)
        try:
            rv.lora.trajectory(problem, ["lora"], steps=10**8, rank=1, record_every=10**7)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    assert output_after_ctrl_c(script, delay=0.3).strip() == "interrupted"


def test_results_show_themselves(all_methods):
    assert repr(all_methods) == (
        "Trajectory('mlp', 'sgd': 11 methods, 2 learning rates, 2 seeds, 60 steps)"
    )
    text, page = str(all_methods).splitlines(), all_methods._repr_html_()
    assert text[0] == "mlp: 60 steps of sgd, full batches, rank 2"
    assert len(text) == 2 + len(TRAINED)
    best = all_methods.best("dora")
    assert f"{best.final_loss:.4g}" in page
    assert repr(best).startswith("Run('dora', learning_rate=0.2, final_loss=")
    assert not best.loss.flags.writeable


def test_best_has_the_smallest_loss_at_the_end(all_methods):
    for i, label in enumerate(TRAINED):
        means = all_methods.loss[i, ..., -1].mean(axis=-1)
        assert all_methods.best(label).final_loss == means.min()


@pytest.mark.parametrize("quantity", rv.lora._train.QUANTITIES)
def test_pictures_have_a_line_for_every_method(all_methods, quantity):
    ax = all_methods.plot(Figure().subplots(), quantity=quantity)
    without_full = quantity in ("drift_left", "drift_right", "ranks")
    assert len(ax.lines) == len(TRAINED) - without_full
    line = ax.lines[-1]
    run = all_methods.best("orthogonal")
    values = getattr(run, quantity)
    values = values.sum(axis=-1) if quantity == "ranks" else values
    assert_bits(np.asarray(line.get_ydata(), dtype=float), values.astype(float).mean(axis=0))
    assert ax.get_legend() is not None


def test_pictures_at_one_learning_rate(all_methods):
    ax = all_methods.plot(Figure().subplots(), learning_rate=0.05)
    assert ax.get_title() == "mlp, sgd, η = 0.05"
    refused(lambda: all_methods.plot(Figure().subplots(), quantity="speed"), "quantity", "'speed'")
    refused(lambda: all_methods.plot(Figure().subplots(), learning_rate=9.0), "learning_rate", "9")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_pictures_of_report_cards(optimizer):
    (G,), (W,) = SOFTMAX.gradients().weights, SOFTMAX.weights
    table = rv.lora.compare(["lora", "lora-ga", "pissa"], W, G, 1, optimizer=optimizer)
    bars = table.plot(Figure().subplots())
    assert [bar.get_width() for bar in bars.patches] == [c.cosine for c in table.cards.values()]
    reach, best = bars.lines
    for bar, mark in zip(bars.patches, reach.get_xdata(), strict=True):
        assert bar.get_width() <= mark * (1 + SUM * EPS) <= 1 + 2 * SUM * EPS
    assert bars.patches[1].get_width() <= best.get_xdata()[0] * (1 + SUM * EPS)
    F = -G if optimizer == "sgd" else -np.sign(G)
    sigma = np.linalg.svd(F, compute_uv=False)
    card = table.cards["lora-ga"].plot(Figure().subplots())
    drawn = np.concatenate([line.get_ydata() for line in card.lines[:2]])
    assert_within(drawn, (sigma / sigma[0])[: drawn.size], SUM * EPS * 7)
    assert len(card.lines[0].get_ydata()) == 2  # 2r


# ---------------------------------------------------------------------------------------------
# Bad input.

X, Y, W1 = np.ones((4, 3)), [0, 1, 1, 0], np.ones((3, 2))


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Problem(np.ones(4), Y, [W1]), ["x", "(k, n)", "(4,)"]),
        (lambda: Problem(np.ones((0, 3)), [], [W1]), ["x", "empty"]),
        (lambda: Problem(np.full((4, 3), np.nan), Y, [W1]), ["x", "finite"]),
        (lambda: Problem(X, [0, 1, 2, 0], [W1]), ["y[2] is 2", "0 to 1"]),
        (lambda: Problem(X, [0, -1, 1, 0], [W1]), ["y[1] is -1"]),
        (lambda: Problem(X, [0.0, 1.0, 1.0, 0.0], [W1]), ["y", "integers", "float64"]),
        (lambda: Problem(X, [0, 1], [W1]), ["y", "(4,)", "(2,)"]),
        (lambda: Problem(X, Y, []), ["weights", "one matrix", "0"]),
        (lambda: Problem(X, Y, [W1, np.ones((2, 2)), np.ones((2, 2))]), ["weights", "3"]),
        (lambda: Problem(X, Y, [np.ones((4, 2))]), ["weights[0]", "3 rows", "(4, 2)"]),
        (lambda: Problem(X, Y, [W1, np.ones((3, 2))]), ["weights[1]", "2 rows", "weights[0]"]),
        (lambda: Problem(X, Y, [np.full((3, 2), np.inf)]), ["weights[0]", "finite"]),
        (lambda: Problem(X, Y, [W1], [np.ones(3)]), ["biases", "(2,)", "(3,)"]),
        (lambda: Problem(X, Y, [W1], [np.full(2, np.nan)]), ["biases[0]", "finite"]),
        (lambda: Problem(X, Y, [W1], None, "relu"), ["activation", "one weight", "'relu'"]),
        (
            lambda: Problem(X, Y, [W1, np.ones((2, 2))], None, "gelu"),
            ["activation", "'relu', 'tanh'", "'gelu'"],
        ),
        (lambda: Problem(X, Y, [W1], x_test=X), ["y_test is missing"]),
        (lambda: Problem(X, Y, [W1], x_test=np.ones((2, 4)), y_test=[0, 1]), ["x_test", "3"]),
        (lambda: Problem(X.astype(complex), Y, [W1]), ["x", "complex"]),
        (lambda: SOFTMAX.gradients([np.ones((7, 4))]), ["weights", "(7, 5)", "(7, 4)"]),
        (lambda: SOFTMAX.gradients(biases=[]), ["biases", "(5,)", "[]"]),
        (lambda: SOFTMAX.batch_gradients(25), ["batch_size", "24", "25"]),
        (lambda: SOFTMAX.batch_gradients(4, 0), ["count", "0"]),
        (lambda: digits("linear"), ["kind", "'softmax', 'mlp'", "'linear'"]),
        (lambda: digits(shift="scale"), ["shift", "'classes', 'rotation'", "'scale'"]),
        (lambda: digits("mlp", hidden=0), ["hidden", "0"]),
        (lambda: digits("mlp", hidden=2.5), ["hidden", "2.5"]),
        (lambda: digits(angle=np.inf), ["angle", "inf"]),
        (lambda: digits(seed=-1), ["seed", "-1"]),
        (lambda: digits(dtype=np.float16), ["dtype", "float16"]),
    ],
)
def test_problems_that_are_refused(make, parts):
    refused(make, *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"methods": []}, ["methods", "none"]),
        ({"methods": ["lorra"]}, ["method", "'full', 'lora'", "'lorra'"]),
        ({"methods": {"x": {"ratio": 2.0}}}, ["method", "'x'"]),
        ({"methods": {"x": {"method": "lora", "rate": 2.0}}}, ["option of 'x'", "'ratio'", "rate"]),
        ({"methods": {"x": {"method": "lora", "warmup": 0.1}}}, ["option of 'x'", "'warmup'"]),
        ({"methods": {"x": {"method": "full", "rank": 2}}}, ["option of 'x'", "'rank'"]),
        ({"methods": {"x": {"method": "lora+", "ratio": 0.0}}}, ["ratio", "0"]),
        ({"methods": {"x": {"method": "adalora", "beta1": 1.0}}}, ["beta1", "[0, 1)", "1"]),
        (
            {"methods": {"x": {"method": "adalora", "warmup": 0.6, "final": 0.6}}},
            ["warmup + final", "0.6"],
        ),
        ({"methods": {"x": {"method": "adalora", "interval": 0}}}, ["interval", "0"]),
        ({"methods": {"x": {"method": "adalora", "initial_rank": 1}}}, ["initial_rank", "1"]),
        ({"methods": {"x": {"method": "adalora", "orthogonality": -1.0}}}, ["orthogonality", "-1"]),
        ({"methods": {"x": {"method": "lora", "rank": 6}}}, ["'x'", "weight 0", "(7, 5)", "6"]),
        ({"methods": ["adalora"], "rank": 6}, ["'adalora'", "weight 0", "(7, 5)", "6"]),
        ({"methods": ["lora-ga"], "rank": 3}, ["'lora-ga'", "weight 0", "(7, 5)", "2", "3"]),
        ({"methods": ["orthogonal"], "rank": 3}, ["'orthogonal'", "even", "3"]),
        ({"optimizer": "adamw"}, ["optimizer", "'sgd', 'adam'", "'adamw'"]),
        ({"optimizer": "adam", "momentum": 0.9}, ["momentum", "'sgd'", "0.9"]),
        ({"momentum": 1.0}, ["momentum", "[0, 1)", "1"]),
        ({"steps": 0}, ["steps", "0"]),
        ({"steps": 2.0}, ["steps", "2.0"]),
        ({"learning_rates": []}, ["learning_rates"]),
        ({"learning_rates": [0.1, 0.0]}, ["learning_rates", "positive", "0"]),
        ({"learning_rates": [0.1, np.nan]}, ["learning_rates", "finite"]),
        ({"learning_rates": [[0.1]]}, ["learning_rates", "(1, 1)"]),
        ({"seeds": []}, ["seeds", "none"]),
        ({"seeds": [-1]}, ["seed", "-1"]),
        ({"rank": 0}, ["rank", "0"]),
        ({"batch_size": 0}, ["batch_size", "24", "0"]),
        ({"batch_size": 25}, ["batch_size", "24", "25"]),
        ({"gradient_batches": 2}, ["gradient_batches", "batch_size"]),
        ({"gradient_batches": 0, "batch_size": 4}, ["gradient_batches", "0"]),
        ({"record_every": 0}, ["record_every", "0"]),
    ],
)
def test_training_that_is_refused(options, parts):
    given = {"methods": ["lora"], "steps": 1, "rank": 2} | options
    methods = given.pop("methods")
    refused(lambda: trajectory(SOFTMAX, methods, **given), *parts)


def test_runs_that_were_not_made(all_methods):
    refused(lambda: all_methods.best("lorra"), "label", "'full'", "'lorra'")
    refused(lambda: all_methods.run("lora", 0.3), "learning_rate", "0.05, 0.2", "0.3")
