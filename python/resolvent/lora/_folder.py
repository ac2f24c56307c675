"""Folders as PEFT has them: what is in them, and how they appear."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent.lora import _peft as peft
from resolvent.lora import _safetensors as tensors
from resolvent.lora._initialize import scaling_factor
from resolvent.lora._layer import Layer, Settings
from resolvent.lora._safetensors import Tensor, Writer

__all__ = ["SavedAdapter", "publish", "write_adapter", "write_doubled", "write_json"]

ADAPTER, CONFIG, OFFSET = "adapter_model.safetensors", "adapter_config.json", "offset.safetensors"


def write_adapter(
    result: Path,
    layers: Sequence[Layer],
    records: Sequence[Mapping[str, Tensor]],
    settings: Settings,
    config: Mapping[str, Any],
) -> None:
    """adapter_*, of parts that are in other files; where the base moves also the offset and
    untouched/."""
    layout, sources = {}, {}
    for layer, record in zip(layers, records, strict=True):
        bare = "E" in record
        for part, tensor in record.items():
            name = peft.key(peft.module_of(layer.name), part, bare=bare)
            layout[name], sources[name] = (tensor.kind, tensor.shape), tensor
    with Writer(result / ADAPTER, layout, {"format": "pt"}) as writer:
        for name in writer.names:
            writer.write(name, [tensors.read(sources[name])])
    write_json(result / CONFIG, config)
    if settings.moves_base:
        _write_offset(result / OFFSET, layers, records, settings)
        pairs = {
            peft.module_of(layer.name): Pair(record, record, 1.0)
            for layer, record in zip(layers, records, strict=True)
        }
        write_doubled(result / "untouched", config, pairs)


def _write_offset(
    file: Path, layers: Sequence[Layer], records: Sequence[Mapping[str, Tensor]], settings: Settings
) -> None:
    """−s·A₀B₀ of every layer as the weight lies in its file, by blocks of rows."""
    s = scaling_factor(settings.scaling, settings.alpha, settings.rank)
    held = {layer.name: (layer, record) for layer, record in zip(layers, records, strict=True)}
    kind = None if settings.dtype is None else tensors.DTYPES[settings.dtype]
    layout = {layer.name: (kind or layer.weight.kind, layer.weight.shape) for layer in layers}
    with Writer(file, layout, {"format": "pt"}) as writer:
        for name in writer.names:
            layer, record = held[name]
            A, B = (tensors.read(record[part]).astype(layer.dtype, copy=False) for part in "AB")
            left, right = (B, A) if settings.transposed else (A.T, B.T)
            writer.write(name, _product(left, right, -s))


def _product(left: Array, right: Array, scale: float) -> Iterator[Array]:
    rows = max(1, tensors.BLOCK_BYTES // (right.shape[1] * right.itemsize))
    for start in range(0, len(left), rows):
        yield (left[start : start + rows] @ right) * left.dtype.type(scale)


@dataclass(frozen=True)
class Pair:
    """A layer's adapter after and before training, and s before over s after."""

    after: Mapping[str, Tensor]
    before: Mapping[str, Tensor]
    ratio: float

    @property
    def kind(self) -> str:
        """The wider type of the two."""
        kinds = (self.after["A"].kind, self.before["A"].kind)
        return next(k for k in tensors.DTYPES.values() if k in kinds)

    def doubled(self, part: str) -> Array:
        """[A; A₀] or [B, −B₀] in PyTorch's orientation."""
        new, old = tensors.read(self.after[part]), tensors.read(self.before[part])
        if part == "A":
            return np.concatenate([new, old])
        return np.concatenate([new, old * old.dtype.type(-self.ratio)], axis=1)


def write_doubled(folder: Path, config: Mapping[str, Any], pairs: Mapping[str, Pair]) -> None:
    """The adapter of twice the rank that holds its own offset."""
    folder.mkdir()
    layout, sources = {}, {}
    for module, pair in pairs.items():
        for part in "AB":
            rows, columns = pair.after[part].shape
            extra = pair.before[part].shape["AB".index(part)]
            shape = (rows + extra, columns) if part == "A" else (rows, columns + extra)
            name = peft.key(module, part)
            layout[name], sources[name] = (pair.kind, shape), (pair, part)
    with Writer(folder / ADAPTER, layout, {"format": "pt"}) as writer:
        for name in writer.names:
            pair, part = sources[name]
            writer.write(name, [pair.doubled(part)])
    write_json(folder / CONFIG, peft.doubled_config(config))


class SavedAdapter:
    """A folder with a LoRA adapter: its settings, and module → part → where it is."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        file = self.folder / CONFIG
        try:
            self.config: dict[str, Any] = dict(json.loads(file.read_text(encoding="utf-8")))
            kind = "DoRA" if self.config.get("use_dora") else self.config["peft_type"]
            if kind == "LORA":
                scaling = "rslora" if self.config.get("use_rslora") else "lora"
                self.s = scaling_factor(scaling, float(self.config["lora_alpha"]), self.config["r"])
        except OSError as error:
            raise _core.InvalidArgument(f"{file}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise _core.InvalidArgument(f"{file}: not the settings of a LoRA adapter") from error
        if kind != "LORA":
            raise _core.InvalidArgument(f"{self.folder}: is {kind}; plain LoRA is needed")
        self.modules: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.read_header(self.folder / ADAPTER).tensors.items():
            split = peft.split_key(name)
            if split is not None:
                self.modules.setdefault(split[0], {})[split[1]] = tensor
        for module, parts in self.modules.items():
            if set(parts) != {"A", "B"}:
                raise _core.InvalidArgument(f"{self.folder}: layer {module} lacks lora_A or lora_B")

    def check_same_layers(self, trained: SavedAdapter) -> None:
        """For every layer of the trained adapter its start has to be known, and no other."""
        _differ(trained.modules.keys() - self.modules.keys(), trained, self)
        _differ(self.modules.keys() - trained.modules.keys(), self, trained)
        for module, parts in trained.modules.items():
            for part in "AB":
                new, old = parts[part].shape, self.modules[module][part].shape
                if new != old:
                    raise _core.ShapeMismatch(
                        f"layer {module}: lora_{part} is {new} in {trained.folder} and {old} in "
                        f"{self.folder}"
                    )

    def pairs(self, initial: SavedAdapter) -> dict[str, Pair]:
        """With the layers that training began with."""
        ratio = initial.s / self.s
        return {m: Pair(parts, initial.modules[m], ratio) for m, parts in self.modules.items()}


def _differ(names: Iterable[str], has: SavedAdapter, lacks: SavedAdapter) -> None:
    listed = sorted(names)
    if listed:
        shown = ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")
        raise _core.InvalidArgument(
            f"{len(listed)} layers are in {has.folder} but not in {lacks.folder}: {shown}"
        )


def write_json(file: Path, value: Any) -> None:
    """Readable, with sorted names."""
    file.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def publish(result: Path, folder: Path) -> None:
    """Gives a finished folder its name; what had it before goes only then."""
    old = result.parent / "replaced"
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    try:
        result.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
