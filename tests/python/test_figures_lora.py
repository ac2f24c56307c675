"""What the captions of the adapters' figures claim, and the stored gradients they are drawn of."""

from __future__ import annotations

import json
import math
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest

from resolvent import lora

pytest.importorskip("sklearn")

from resolvent.figures import FIGURES
from resolvent.figures import lora as figures

EPS = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)

#: Of products and sums over n entries in float32, errors are this times eps times n.
AGREE = 4

SIZE = 384
SHOWN = figures._SHOWN
FIRST = "encoder.layer.0.attention.self.query"
VALUE = "encoder.layer.3.attention.self.value"


FILE = resources.files("resolvent.figures") / "data" / "minilm.npz"


# ---- stored gradients ---------------------------------------------------------------------------


def provenance():
    with FILE.open("rb") as opened, np.load(opened) as stored:
        return json.loads(str(stored["provenance"]))


def test_stored_layers():
    layers = figures.minilm()
    assert list(layers) == [FIRST, SHOWN, VALUE]
    assert layers[FIRST].label == "layer 1, query"
    for module, layer in layers.items():
        assert layer.module == module
        for matrix in (layer.weight, layer.gradient):
            assert matrix.shape == (SIZE, SIZE)
            assert matrix.dtype == np.float32
            assert np.isfinite(matrix).all()
            assert not matrix.flags.writeable
    assert [layer.gradients is not None for layer in layers.values()] == [False, True, False]
    batches = layers[SHOWN].gradients
    assert batches.shape == (12, SIZE, SIZE)
    assert np.array_equal(
        layers[SHOWN].gradient, batches.astype(np.float64).mean(axis=0).astype(np.float32)
    )


def test_stored_numbers_are_those_that_were_computed():
    """The script took the norms before rounding: gradients to 9 bits, those of batches to 5."""
    norms = provenance()["norms_of_weights_and_mean_gradients"]
    for module, layer in figures.minilm().items():
        weight, gradient = norms[module]
        found = np.linalg.norm(layer.weight.astype(np.float64))
        assert found == pytest.approx(weight, rel=SIZE**2 * EPS)
        bits = 5 if layer.gradients is not None else 9
        found = np.linalg.norm(layer.gradient.astype(np.float64))
        assert found == pytest.approx(gradient, rel=2.0**-bits)


def test_bytes_are_joined_in_their_order():
    x = np.linspace(-3.0, 5.0, 12, dtype="<f4").reshape(3, 4)
    planes = np.frombuffer(x.tobytes(), np.uint8).reshape(3, 4, 4).transpose(2, 0, 1)
    assert np.array_equal(figures._joined(planes, "<f4"), x)


def test_file_is_small_and_says_where_it_is_from():
    assert len(FILE.read_bytes()) <= 4_000_000
    found = provenance()
    assert found["model_license"] == "Apache-2.0"
    assert (found["batches"], found["pairs_of_a_batch"]) == (12, 40)
    assert len(found["loss_of_each_batch"]) == 12


# ---- at the start -------------------------------------------------------------------------------


def best(card: lora.Alignment) -> float:
    return math.sqrt(1.0 - card.optimum**2)


@pytest.fixture(scope="module")
def cards():
    return figures.alignments()


def test_lora_ga_attains_the_best_of_its_rank(cards):
    for table in cards["sgd"].values():
        cosines = {label: card.cosine for label, card in table.cards.items()}
        bound = best(table["lora-ga"])
        assert cosines.pop("lora-ga") == pytest.approx(bound, abs=AGREE * EPS32 * SIZE)
        assert max(cosines.values()) < 0.95 * bound
        for label in ("lora", "dora", "orthogonal"):
            assert cosines[label] == pytest.approx(math.sqrt(8 / SIZE), rel=0.15)


def test_no_method_attains_the_best_for_adam(cards):
    for table in cards["adam"].values():
        cosines = {label: card.cosine for label, card in table.cards.items()}
        assert max(cosines, key=cosines.__getitem__) == "lora-ga-adam"
        assert cosines["lora-ga-adam"] < 0.75 * best(table["lora-ga-adam"])


def test_steps_stay_within_the_spaces_of_the_adapter(cards):
    for tables in cards.values():
        for table in tables.values():
            for label, card in table.cards.items():
                if label != "dora":  # whose columns' lengths move as well
                    assert card.cosine**2 <= card.captured + AGREE * EPS32 * SIZE
                assert card.captured <= best(card) ** 2 + AGREE * EPS32 * SIZE


# ---- along the training -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs():
    found = figures.trained()
    return {label: found.best(label) for label in found.labels}


def test_order_of_the_losses(runs):
    final = {label: run.final_loss for label, run in runs.items()}
    order = sorted(final, key=final.__getitem__)
    assert order[:2] == ["full", "lora-ga"]
    assert order[-1] == "adalora"
    assert final["full"] < 0.8 * final["lora-ga"]
    assert final["adalora"] > 2.0 * final[order[-2]]


def test_every_method_has_a_rate_too_small_and_one_too_large(runs):
    rates = figures.trained().learning_rates
    for run in runs.values():
        assert rates[0] < run.learning_rate < rates[-1]


def test_alignment_along_the_training(runs):
    cosine = {k: run.alignment.mean(axis=0) for k, run in runs.items() if k != "full"}
    start = {label: values[0] for label, values in cosine.items()}
    end = {label: values[-1] for label, values in cosine.items()}
    assert max(start, key=start.__getitem__) == "lora-ga"
    assert start["lora-ga"] > 0.9
    assert start["lora"] < 0.25
    near = int(np.searchsorted(runs["lora"].steps, 12))
    assert cosine["lora"][near] > 0.9 * cosine["lora-ga"][near]
    assert min(end.values()) < end["lora-ga"] < max(end.values())
    assert min(end, key=end.__getitem__) == "pissa"


def test_large_factors_hardly_turn(runs):
    drift = {k: run.drift_left[:, -1].mean() for k, run in runs.items() if k != "full"}
    assert min(drift, key=drift.__getitem__) == "pissa"
    assert drift["pissa"] < 0.4 * drift["lora-ga"]


# ---- scale --------------------------------------------------------------------------------------


def test_sizes_of_the_first_step():
    found = figures.effective_scales()
    slope = {
        label: np.polyfit(np.log(found.ranks[2:]), np.log(values[2:]), 1)[0]
        for label, values in found.scale.items()
    }
    assert slope["LoRA, α/√r"] == pytest.approx(0.0, abs=0.05)
    assert slope["LoRA, α/r"] == pytest.approx(-1.0, abs=0.05)
    captured = np.polyfit(np.log(found.ranks[2:]), np.log(found.captured[2:]), 1)[0]
    assert slope["LoRA-GA, α/√r"] == pytest.approx(captured - 1.0, abs=AGREE * EPS32 * SIZE)
    assert slope["LoRA-GA, α/r"] == pytest.approx(captured - 2.0, abs=AGREE * EPS32 * SIZE)
    gd = found.scale["LoRA-GA, scale gd"]
    assert gd == pytest.approx(found.captured, rel=AGREE * EPS32 * SIZE)


def test_gamma_sets_the_rate_and_how_far_the_factors_turn():
    found = figures.gamma_runs()
    runs = [found.best(label) for label in found.labels]
    rates = [run.learning_rate for run in runs]
    assert rates == sorted(rates)
    assert rates[-1] > 5.0 * rates[0]
    drift = np.degrees([run.drift_left[0, -1] for run in runs])
    assert drift[0] < 10.0
    assert np.all(drift[1:] > 40.0)


# ---- PEFT's variant -----------------------------------------------------------------------------


def test_variant_has_a_scale_and_the_paper_has_none():
    rank, rng = 4, np.random.default_rng(0)
    G = rng.standard_normal((24, 20))
    cosines = [
        (
            lora.alignment(f * G, figures.peft_variant(f * G, rank)).cosine,
            lora.alignment(f * G, lora.initialize("lora-ga", gradient=f * G, rank=rank)).cosine,
        )
        for f in (0.1, 1.0, 10.0)
    ]
    variant, paper = np.array(cosines).T
    assert np.ptp(paper) < AGREE * EPS * G.size
    assert np.ptp(variant) > 0.1
    assert np.all(variant < paper)


def test_factors_of_the_variant():
    """The step in the singular basis is diagonal: σ_i for A's directions, (cσ_j)² σ_j for B's."""
    rank = 8
    found = figures.peft_sweep(rank=rank)
    for module, layer in figures.minilm().items():
        G = layer.gradient.astype(np.float64)
        sigma = np.linalg.svd(G, compute_uv=False)
        for factor, cosine in zip(found.factors, found.cosine[module], strict=True):
            gain = (SIZE**0.25 / 4.0 * factor * sigma[rank : 2 * rank]) ** 2
            step = sigma[: 2 * rank] * np.concatenate([np.ones(rank), gain])
            expected = step @ sigma[: 2 * rank] / np.linalg.norm(step) / np.linalg.norm(sigma)
            assert cosine == pytest.approx(expected, abs=AGREE * EPS32 * SIZE)


def test_variant_leaves_half_out_or_has_nothing_else():
    found = figures.peft_sweep()
    own = int(np.flatnonzero(found.factors == 1.0)[0])
    for module, cosines in found.cosine.items():
        assert cosines[own] == pytest.approx(found.half[module], abs=1e-4)
        assert found.half[module] < found.paper[module]
        assert cosines.max() <= found.paper[module] + AGREE * EPS32 * SIZE
        assert cosines[-1] < 0.5 * found.paper[module]
    small, large = (figures.peft_gains(factor) for factor in (1.0, 1000.0))
    for gains in (small, large):
        assert gains[:8] == pytest.approx(1.0, abs=AGREE * EPS32 * SIZE)
    assert small[8:].max() < 2e-3
    assert large[8:].min() > 500.0


# ---- Adam ---------------------------------------------------------------------------------------


def test_three_options_for_adam():
    for found in figures.adam_cosines().values():
        order = ("lora", "sgd-solution", "sign-svd", "minimise", "best")
        for low, high in pairwise(order):
            assert np.all(found[low] < found[high])
        share = {label: found[label][-1] / found["best"][-1] for label in order}
        assert 0.50 < share["sgd-solution"] < share["sign-svd"] < 0.71
        assert share["minimise"] == pytest.approx(0.87, abs=0.02)


# ---- spectra and batches ------------------------------------------------------------------------


def test_energy_in_2r_directions():
    found = figures.spectrum_values()
    for sigma in found.sigma.values():
        assert np.linalg.norm(sigma) == pytest.approx(1.0, rel=AGREE * EPS32)
    shown = "layer 4, query"
    assert found.energy("layer 4, value", 1) == pytest.approx(0.94, abs=0.005)
    assert found.energy("layer 1, query", 8) == pytest.approx(0.71, abs=0.005)
    assert found.energy(shown, 8) == pytest.approx(0.91, abs=0.005)
    assert found.energy(f"sign of {shown}", 8) == pytest.approx(0.54, abs=0.005)
    # Marchenko and Pastur: the largest singular values of noise are nearly equal, 2√n of ‖·‖ = n.
    noise = found.sigma["Gaussian noise"]
    assert noise[0] == pytest.approx(2.0 / math.sqrt(SIZE), rel=0.03)
    assert noise[15] > 0.85 * noise[0]


def test_batches_of_the_encoder():
    found = figures.model_noise()
    share = found.cosine / found.optimum
    assert found.noise_scale == pytest.approx(11.3, abs=0.5)
    assert share[0] == pytest.approx(0.72, abs=0.01)
    assert share[0] < share[-1] < share[0] + 0.04
    chance = 2 * found.rank / SIZE
    assert np.all(found.overlap_left > 5.0 * chance)
    assert np.all(found.overlap_right > found.overlap_left)


def test_batches_of_digits():
    found = figures.digit_noise()
    assert 1.0 < found.noise_scale < 2.0
    assert found.enough(0.9) == 1
    assert found.cosine[0] / found.optimum[0] == pytest.approx(0.94, abs=0.01)
    assert np.all(np.diff(found.overlap_left) > 0.0)


# ---- drawing ------------------------------------------------------------------------------------


def test_figures_of_the_domain():
    names = [name for name in FIGURES if name.startswith("lora-")]
    assert len(names) == 8
