"""Small models as files, and folders compared."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

SHAPES = {"query": (16, 12), "up": (40, 16), "down": (16, 40)}


def write_file(file: Path, tensors: dict[str, np.ndarray], kinds: dict[str, str] | None = None):
    """A safetensors file by the format's description alone; `kinds` renames types."""
    header, data = {}, b""
    for name, array in tensors.items():
        kind = (kinds or {}).get(name) or {"f8": "F64", "f4": "F32", "f2": "F16", "u2": "BF16"}[
            array.dtype.str[1:]
        ]
        stop = len(data) + array.nbytes
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(data), stop]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def bfloat16(array: np.ndarray) -> np.ndarray:
    """The upper halves, rounded to the nearest by adding half of the lowest bit kept."""
    bits = array.astype("<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x8000) >> 16).astype("<u2")  # ties do not occur in random data


def model(blocks: int = 2, dtype=np.float32, seed: int = 0) -> tuple[dict, dict]:
    """Weights, with an embedding and a bias, and gradients that fall off as real ones do."""
    rng = np.random.default_rng(seed)
    weights = {"embeddings.word.weight": rng.standard_normal((30, 12)).astype(dtype)}
    gradients = {}
    for block in range(blocks):
        for part, shape in SHAPES.items():
            name = f"encoder.{block}.{part}.weight"
            weights[name] = (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(dtype)
            left, right = rng.standard_normal((shape[0], 12)), rng.standard_normal((12, shape[1]))
            gradients[name] = (left * 0.7 ** np.arange(12) @ right).astype(dtype)
            weights[f"encoder.{block}.{part}.bias"] = np.zeros(shape[0], dtype)
    return weights, gradients


def write_model(folder: Path, **options) -> tuple[dict, dict]:
    """W.safetensors and G.safetensors."""
    weights, gradients = model(**options)
    write_file(folder / "W.safetensors", weights)
    write_file(folder / "G.safetensors", gradients)
    return weights, gradients


def layer_seed(seed: int, layer: str) -> int:
    """Of a layer's random numbers: the first four bytes of a digest of the seed and the name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {layer}".encode()).digest()[:4], "little")


def contents(folder: Path) -> dict[str, bytes]:
    """Path → bytes of all files."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
