"""alignment and compare: every field against dense projectors, complete spectra and scipy."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from hippo_support import EPS, EPS32, assert_bits, assert_within
from test_lora_initialize import DTYPES, G0, METHODS, RANK, W0, M, N, parts_of, start, trained

import resolvent as rv
from oracles import lora as oracle

alignment, compare = rv.lora.alignment, rv.lora.compare

#: In eps, times √(nm): ratios of Frobenius norms and inner products of computed steps.
RATIO = 32.0
#: In eps, times √(nm) over the relative gap: principal angles.
ANGLE = 64.0
#: Matrices of the gradient's size and type that a card may need at once.
A_FEW = 8


def rounding(shape=(N, M), dtype=np.float64):
    return RATIO * np.sqrt(np.prod(shape)) * float(np.finfo(dtype).eps)


def gap_of(sigma, place):
    """The relative distance between the leading `place` values and the others."""
    after = sigma[place] if place < sigma.size else 0.0
    return float((sigma[min(place, sigma.size) - 1] - after) / sigma[0])


def check(card, expected, rank, shape, dtype=np.float64):
    bound = rounding(shape, dtype)
    size = expected.effective_scale if expected.effective_scale > 1 else 1.0
    assert_within(card.cosine, expected.cosine, bound, "cosine")
    assert_within(card.captured, expected.captured, bound, "captured")
    assert_within(card.effective_scale, expected.effective_scale, bound * size, "scale")
    # √(1 − cos²) and √(1 − Σσ²): what they are roots of is known to rounding.
    assert_within(card.residual**2, expected.residual**2, 2 * bound, "residual²")
    assert_within(card.optimum**2, expected.optimum**2, bound, "optimum²")
    if expected.optimum**2 > 1e3 * bound:
        relative = bound / expected.optimum**2
        assert_within(card.excess, expected.excess, relative * (1 + expected.excess), "excess")
    angle = ANGLE * np.sqrt(np.prod(shape)) * np.finfo(dtype).eps / gap_of(
        expected.spectrum, min(2 * rank, expected.spectrum.size)
    )  # fmt: skip
    for side in ("angles_left", "angles_right"):
        found = getattr(card, side)
        assert (np.diff(found) >= 0).all()
        assert (found >= 0).all()
        assert (found <= np.pi / 2 * (1 + EPS32)).all()
        assert_within(found, getattr(expected, side), angle, side)
    k = min(2 * rank, *shape)
    assert card.spectrum.shape == (min(4 * rank, *shape),)
    assert_within(
        card.spectrum[:k], expected.spectrum[:k], bound * expected.spectrum[0], "spectrum"
    )
    assert card.rank == rank
    assert card.shape == shape
    for name in ("cosine", "captured", "residual", "optimum", "excess", "effective_scale"):
        assert isinstance(getattr(card, name), float), name


# ---------------------------------------------------------------------------------------------
# Every field.


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_every_field(method, fresh, optimizer):
    adapter = start(method, alpha=2.0) if fresh else trained(method)
    card = alignment(G0, adapter, optimizer=optimizer, weight=W0)
    expected = oracle.alignment(G0, parts_of(adapter), optimizer, W0)
    check(card, expected, RANK, (N, M))
    assert card.method == method
    assert card.optimizer == optimizer
    offset = oracle.frobenius(parts_of(adapter).offset) / oracle.frobenius(W0)
    assert_within(card.offset_ratio, float(offset), rounding())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("shape", "rank"),
    [((1, 1), 1), ((1, 6), 1), ((6, 1), 1), ((2, 2), 1), ((5, 3), 2), ((3, 5), 3), ((7, 7), 3),
     ((40, 9), 4), ((9, 40), 4), ((50, 60), 6)],
    ids=str,
)  # fmt: skip
def test_shapes(shape, rank, optimizer):
    """Ranks for which 2r directions are more than there are, too: nothing is missed then."""
    rng = np.random.default_rng(sum(shape))
    gradient = oracle.with_spectrum(0.8 ** np.arange(min(shape)), *shape, seed=3)
    adapter = rv.lora.Adapter(
        rng.standard_normal((shape[0], rank)), rng.standard_normal((rank, shape[1])), 0.7
    )
    card = alignment(gradient, adapter, optimizer=optimizer)
    expected = oracle.alignment(gradient, parts_of(adapter), optimizer)
    if gap_of(expected.spectrum, 2 * rank) > 1e-6:
        check(card, expected, rank, shape)
    if 2 * rank >= min(shape):
        assert card.optimum <= np.sqrt(rounding(shape))
        if card.residual > np.sqrt(rounding(shape)):
            assert card.excess > 1
    assert np.isnan(card.offset_ratio)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision(method):
    weight, gradient = W0.astype(np.float32), G0.astype(np.float32)
    adapter = start(method, RANK, weight, gradient)
    card = alignment(gradient, adapter, weight=weight)
    expected = oracle.alignment(gradient, parts_of(adapter), "sgd", weight)
    check(card, expected, RANK, (N, M), np.float32)


@pytest.mark.parametrize("name", ["root", "geometric", "flat", "cliff", "pairs"])
def test_spectra(name):
    """The optimum is the tail of the spectrum over the norm, whatever its shape."""
    n, m, rank = 80, 60, 5
    gradient = oracle.with_spectrum(oracle.spectra(m)[name], n, m, seed=2)
    rng = np.random.default_rng(0)
    adapter = rv.lora.Adapter(rng.standard_normal((n, rank)), rng.standard_normal((rank, m)))
    card = alignment(gradient, adapter)
    sigma = oracle.svd(gradient)[1]
    optimum = oracle.tail(sigma, 2 * rank) / float(oracle.frobenius(gradient))
    assert_within(card.optimum**2, optimum**2, rounding((n, m)))
    assert_within(card.spectrum[: 2 * rank], sigma[: 2 * rank], rounding((n, m)))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_of_nothing(optimizer):
    """A = 0 and B = 0: no angles, cosine 0, all is missed."""
    adapter = rv.lora.Adapter(np.zeros((N, RANK)), np.zeros((RANK, M)))
    card = alignment(G0, adapter, optimizer=optimizer)
    assert card.cosine == card.effective_scale == 0.0
    assert_within(card.captured, 0.0, rounding())
    assert_within(card.residual, 1.0, rounding())
    assert card.angles_left.size == card.angles_right.size == 0
    assert_within(card.excess, 1 / card.optimum, rounding() / card.optimum)


def test_lora_has_one_factor_only():
    """B = 0: no angles on the right, and the step is A Aᵀ G."""
    adapter = start("lora")
    card = alignment(G0, adapter)
    assert card.angles_left.shape == (RANK,)
    assert card.angles_right.shape == (0,)
    A = np.asarray(adapter.A)
    assert_within(card.cosine, oracle.cosine(A @ (A.T @ G0), G0), rounding())


def test_columns_that_repeat():
    """A of rank 1 with two columns: its one direction is counted once in the energy."""
    a, b = np.random.default_rng(0).standard_normal((2, 12))
    adapter = rv.lora.Adapter(np.stack([a, -2 * a], axis=1), np.stack([b[:M], b[:M]]))
    gradient = oracle.with_spectrum(0.6 ** np.arange(M), 12, M, seed=3)
    card = alignment(gradient, adapter)
    expected = oracle.alignment(gradient, parts_of(adapter))
    assert_within(card.captured, expected.captured, rounding())
    assert_within(card.cosine, expected.cosine, rounding())


# ---------------------------------------------------------------------------------------------
# What is known beforehand.


@pytest.mark.parametrize("scale", rv.lora.SCALES)
@pytest.mark.parametrize("directions", rv.lora.DIRECTIONS)
def test_lora_ga_is_the_optimum(directions, scale):
    adapter = start("lora-ga", directions=directions, scale=scale, alpha=3.0)
    card = alignment(G0, adapter, weight=W0)
    sigma = oracle.svd(G0)[1]
    kept = np.sqrt(1 - (oracle.tail(sigma, 2 * RANK) / np.linalg.norm(sigma)) ** 2)
    assert_within(card.excess, 1.0, rounding() / card.optimum**2)
    assert_within(card.cosine, kept, rounding())
    c = oracle.scale_of(scale, m=M, s=adapter.s, weight_sigma=oracle.svd(W0)[1], rank=RANK)
    expected = (adapter.s * c) ** 2 * kept**2
    assert_within(card.effective_scale, expected, rounding() * (1 + expected))
    leading = np.arccos(np.ones(RANK))
    angle = ANGLE * np.sqrt(N * M) * EPS / gap_of(sigma, 2 * RANK)
    assert_within(card.angles_left, leading, angle)
    assert_within(card.angles_right, leading, angle)


def test_exact_answers():
    """G = diag(3, 2, 1, 0) and one coordinate for each factor."""
    gradient = np.diag([3.0, 2.0, 1.0, 0.0])
    adapter = rv.lora.Adapter(np.eye(4)[:, :1], np.eye(4)[2:3])  # D = −diag(3, 0, 1, 0)
    card = alignment(gradient, adapter)
    bound = rounding((4, 4))
    assert_within(card.cosine, np.sqrt(10 / 14), bound)
    assert_within(card.captured, 10 / 14, bound)
    assert_within(card.residual, np.sqrt(4 / 14), bound)
    assert_within(card.optimum, np.sqrt(1 / 14), bound)
    assert_within(card.excess, 2.0, 8 * bound)
    assert_within(card.effective_scale, 10 / 14, bound)
    assert_within(card.angles_left, [0.0], bound)
    assert_within(card.angles_right, [np.pi / 2], bound)
    assert_within(card.spectrum[:2], [3.0, 2.0], 3 * bound)


def test_small_angles_have_all_their_digits():
    """cos of 1e-9 is 1 to rounding; the angle comes out all the same."""
    gradient = np.diag([3.0, 2.0, 1.0, 0.5, 0.25])
    for angle in (1e-4, 1e-9):
        tilted = np.zeros((5, 1))
        tilted[0], tilted[3] = np.cos(angle), np.sin(angle)
        card = alignment(gradient, rv.lora.Adapter(tilted, tilted.T))
        bound = ANGLE * 5 * EPS
        assert_within(card.angles_left, [angle], bound)
        assert_within(card.angles_right, [angle], bound)


def test_a_gradient_of_rank_2r_is_followed_completely():
    gradient = oracle.with_spectrum([4.0, 3.0, 2.0, 1.0], 20, 15, seed=1)
    adapter = rv.lora.initialize("lora-ga", gradient=gradient, rank=2, scale="unit")
    card = alignment(gradient, adapter)
    bound = rounding((20, 15))
    assert_within(card.cosine, 1.0, bound)
    assert_within(card.captured, 1.0, bound)
    assert_within(card.effective_scale, 1.0, bound)
    assert card.excess == 1.0
    assert card.optimum <= np.sqrt(bound)
    assert card.residual <= np.sqrt(2 * bound)


def test_adams_full_step_is_the_sign():
    """A zero entry of G has no step; the spectrum is that of sign(G)."""
    gradient = G0.copy()
    gradient[3, 4] = 0.0
    card = alignment(gradient, start("lora-ga-adam"), optimizer="adam")
    sigma = oracle.svd(np.sign(gradient))[1]
    assert_within(card.spectrum[:RANK], sigma[:RANK], rounding() * sigma[0])
    optimum = oracle.tail(sigma, 2 * RANK) / np.sqrt(N * M - 1)
    assert_within(card.optimum, optimum, rounding())


def test_adam_sees_another_best_start_than_sgd():
    """The SVD of sign(G) serves Adam better than that of G, and G's serves SGD better."""
    ga, sign = start("lora-ga"), start("lora-ga-adam", adam="sign-svd")
    assert alignment(G0, ga).cosine > alignment(G0, sign).cosine
    cosines = [alignment(G0, a, optimizer="adam").captured for a in (ga, sign)]
    assert cosines[1] > cosines[0]


def test_the_step_of_the_card_lowers_the_loss_as_it_says():
    """L(W + ηD) − L(W) ≈ −η·effective_scale·‖G‖², of the loss that G comes from."""
    loss = oracle.Quadratic.random(N, M, seed=2)
    G = np.asarray(loss.gradient(W0), float)
    adapter = start("lora-ga", gradient=G)
    card = alignment(G, adapter)
    rate = 1e-7
    after = W0 + np.asarray(adapter.first_update(G, learning_rate=rate), np.longdouble)
    full = float(loss(W0) - loss(W0 - rate * G.astype(np.longdouble)))
    ours = float(loss(W0) - loss(after))
    curvature = rate * np.linalg.norm(loss.X, 2) ** 2  # ½ηD X^T X D over ⟨D, G⟩
    assert_within(ours / full, card.effective_scale, card.effective_scale * curvature)


def test_a_known_spectrum_gives_the_same_card():
    adapter = start("pissa", alpha=2.0)
    card = alignment(G0, adapter, spectrum=rv.lora.low_rank(G0, 2 * RANK, method="dense"))
    plain = alignment(G0, adapter)
    bound = rounding()
    assert_within(card.cosine, plain.cosine, bound)
    assert_within(card.optimum, plain.optimum, bound)


def test_nothing_is_changed_and_layouts_do_not_matter():
    gradient, weight = G0.copy(), W0.copy()
    gradient.flags.writeable = weight.flags.writeable = False
    adapter = start("dora")
    card = alignment(gradient, adapter, weight=weight)
    other = alignment(np.asfortranarray(gradient), adapter, weight=np.ascontiguousarray(weight.T).T)
    assert_bits(gradient, G0)
    assert_bits(weight, W0)
    assert card.cosine == other.cosine
    assert_bits(card.angles_left, other.angles_left)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_threads_change_no_bit(optimizer, restore_threads):
    gradient = np.random.default_rng(0).standard_normal((300, 400)).astype(np.float32)
    adapter = rv.lora.initialize("lora-ga", gradient=gradient, rank=4)
    cards = []
    for threads in (1, 2):
        rv.set_threads(threads)
        cards.append(alignment(gradient, adapter, optimizer=optimizer))
    first, second = cards
    for name in ("cosine", "captured", "residual", "optimum", "excess", "effective_scale"):
        assert getattr(first, name) == getattr(second, name), name
    for name in ("angles_left", "angles_right", "spectrum"):
        assert_bits(getattr(first, name), getattr(second, name))


def test_memory():
    """A few matrices of G's size, and not one of n×n beside a wide one."""
    gradient = np.random.default_rng(0).standard_normal((1200, 80)).astype(np.float32)
    for G in (gradient, gradient.T):
        adapter = rv.lora.initialize("lora-ga", gradient=G, rank=4)
        tracemalloc.start()
        alignment(G, adapter, weight=G)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= A_FEW * G.nbytes


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_gradients(dtype):
    """Squares that overflow or vanish change nothing."""
    adapter = start("lora-ga", RANK, W0.astype(dtype), G0.astype(dtype))
    plain = alignment(G0.astype(dtype), adapter)
    for exponent in {np.float64: (500, -500), np.float32: (60, -60)}[dtype]:
        card = alignment(np.ldexp(G0.astype(dtype), exponent), adapter)
        bound = rounding(dtype=dtype)
        for name in ("cosine", "captured", "optimum", "effective_scale"):
            assert_within(getattr(card, name), getattr(plain, name), bound, name)


# ---------------------------------------------------------------------------------------------
# Cards and tables to look at.


def test_a_card_in_words():
    card = alignment(G0, start("lora-ga"), weight=W0)
    text = repr(card)
    assert len(text) < 250
    assert "lora-ga" in text
    assert f"{card.cosine:.3f}" in text
    html = card._repr_html_()
    assert html.count("<table") == html.count("</table>") == 1
    for number in (f"{card.cosine:.4f}", f"{card.residual:.4f}", f"{card.captured:.1%}"):
        assert f"<td>{number}</td>" in html
    with pytest.raises(AttributeError):
        card.cosine = 1.0
    with pytest.raises(ValueError, match="read-only"):
        card.spectrum[0] = 1.0


def test_all_methods_in_one_table():
    methods = ("lora", "lora-ga", "pissa", "olora", "dora")
    comparison = compare(methods, W0, G0, RANK)
    assert tuple(comparison.cards) == methods
    for method, card in comparison.cards.items():
        expected = alignment(G0, start(method), weight=W0)
        assert card.cosine == expected.cosine
        assert card.method == method
        assert_within(card.offset_ratio, expected.offset_ratio, EPS)
    text = str(comparison)
    lines = text.splitlines()
    for method, card in comparison.cards.items():
        line = next(line for line in lines if re.match(rf"\W*{method}\b(?!-)", line))
        for number in (f"{card.cosine:.4f}", f"{card.residual:.4f}", f"{card.excess:.3f}"):
            assert number in line
    assert max(map(len, lines)) <= 120
    html = comparison._repr_html_()
    for method in methods:
        assert method in html
    assert html.count("<tr") >= len(methods) + 1


def test_options_reach_every_method():
    comparison = compare(
        ("lora-ga", "pissa"), W0, G0, RANK, alpha=8.0, scaling="rslora", scale="unit",
        optimizer="adam", seed=3,
    )  # fmt: skip
    adapter = start("lora-ga", alpha=8.0, scaling="rslora", scale="unit", seed=3)
    expected = alignment(G0, adapter, optimizer="adam")
    assert comparison.cards["lora-ga"].effective_scale == expected.effective_scale
    assert comparison.cards["pissa"].optimizer == "adam"


def test_labels_for_adapters_and_for_options():
    adapter = trained("dora")
    comparison = compare(
        {
            "mine": adapter,
            "γ = 4": {"method": "lora-ga", "gamma": 4.0},
            "γ = 64": {"method": "lora-ga", "gamma": 64.0},
        },
        W0,
        G0,
        RANK,
    )
    assert list(comparison.cards) == ["mine", "γ = 4", "γ = 64"]
    assert comparison.cards["mine"].cosine == alignment(G0, adapter, weight=W0).cosine
    ratio = comparison.cards["γ = 4"].effective_scale / comparison.cards["γ = 64"].effective_scale
    assert_within(ratio, 16.0, 16 * rounding())
    for label in comparison.cards:
        assert label in str(comparison)
        assert label in comparison._repr_html_()


def test_labels_are_text_in_html():
    html = compare({"<b>&": start("lora")}, W0, G0, RANK)._repr_html_()
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html


def test_the_ranking_of_the_theory():
    """Nothing follows the gradient better than lora-ga."""
    cards = compare([m for m in METHODS if m != "dora"], W0, G0, RANK).cards
    assert max(cards, key=lambda m: cards[m].cosine) == "lora-ga"
    assert cards["lora-ga"].excess <= 1 + rounding() / cards["lora-ga"].optimum ** 2


def test_one_large_direction_hides_no_other():
    """Triplets are resolved to √eps of their own σ: energies of the small ones to eps of theirs."""
    sigma = np.concatenate([[1.0], 1e-6 * np.linspace(1.0, 0.9, 199)])
    gradient = oracle.with_spectrum(sigma, 240, 200, seed=3)
    rank = 8
    adapter = rv.lora.initialize("lora-ga", gradient=gradient, rank=rank, scale="unit")
    card = alignment(gradient, adapter)
    optimum = np.linalg.norm(sigma[2 * rank :]) / np.linalg.norm(sigma)
    # Energies have errors of a few eps of ‖F‖².
    slack = 64 * np.finfo(float).eps / optimum**2
    assert_within(card.optimum / optimum, 1.0, slack)
    assert_within(card.residual / optimum, 1.0, slack)
    assert card.lost == 0


def test_a_card_takes_no_matrix_of_the_gradients_size():
    """Beside its inputs: blocks of rows, and what belongs to the factors."""
    G = np.random.default_rng(0).standard_normal((2000, 1000)).astype(np.float32)
    adapter = rv.lora.initialize("lora", weight=G, rank=2)
    spectrum = rv.lora.low_rank(G, 4)
    tracemalloc.start()
    alignment(G, adapter, spectrum=spectrum)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.8 * G.nbytes
