"""Folders as PEFT has them: what is in them, and how they appear."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
from resolvent.lora._report import REPORTS
from resolvent.lora._safetensors import Tensor, Writer

__all__ = [
    "Destination",
    "SavedAdapter",
    "parents",
    "write_adapter",
    "write_doubled",
    "write_json",
]

ADAPTER, CONFIG, OFFSET = "adapter_model.safetensors", "adapter_config.json", "offset.safetensors"
UNTOUCHED = "untouched"

#: All that is ever written into a folder, and so all that is ever removed with one.
_OURS = {
    *(ADAPTER, CONFIG, OFFSET, *REPORTS),
    *(UNTOUCHED, f"{UNTOUCHED}/{ADAPTER}", f"{UNTOUCHED}/{CONFIG}"),
}


@contextmanager
def parents(folder: Path) -> Iterator[None]:
    """Makes what is missing above a folder; an error removes it again, where it is empty."""
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):
            for parent in made:
                parent.rmdir()
        raise


class Destination:
    """The folder to make.

    Only a folder that is empty or was made here is replaced, and never one with an input in it.

    Parameters
    ----------
    out : path-like
    overwrite : bool

    Attributes
    ----------
    folder : Path
    """

    def __init__(self, out: str | os.PathLike[str], overwrite: bool) -> None:
        self.folder, self._overwrite = Path(out), overwrite
        if self.folder.name in ("", ".."):
            raise _core.InvalidArgument(f"out must name a folder to make, got {str(self.folder)!r}")
        self._check()

    def keep(self, inputs: Iterable[Path]) -> None:
        """Refuses to replace a folder that has one of these files in it, or is linked from it."""
        if not self.folder.exists():
            return
        for file in inputs:
            for place in (file.resolve(), file.parent.resolve() / file.name):
                if any(self.folder.samefile(parent) for parent in place.parents):
                    raise _core.InvalidArgument(
                        f"out: {file} is in {self.folder}, which cannot be replaced while it is "
                        "an input"
                    )

    def publish(self, result: Path) -> None:
        """Gives a finished folder its name; what had it before goes only then."""
        self._check()  # it may have come in the meantime
        old = result.parent / "replaced"
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(old)
        try:
            result.rename(self.folder)
        except OSError:
            if old.exists():
                old.rename(self.folder)
            raise

    def _check(self) -> None:
        folder = self.folder
        if not os.path.lexists(folder):
            return
        if not folder.is_dir():
            raise _core.InvalidArgument(f"out: {folder} is not a directory")
        if not self._overwrite:
            raise _core.InvalidArgument(f"out: {folder} exists (overwrite replaces it)")
        held = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
        foreign = next((name for name in held if name not in _OURS), None)
        if foreign is None and any(folder.iterdir()) and not (folder / CONFIG).is_file():
            foreign = f"files but no {CONFIG}"
        if foreign is not None:
            raise _core.InvalidArgument(
                f"out: {folder} is not replaced, as it is no adapter made here: it holds {foreign}"
            )


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
        write_doubled(result / UNTOUCHED, config, pairs, {})


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
        """The narrowest type that holds all of them."""
        kinds = {tensor.kind for parts in (self.after, self.before) for tensor in parts.values()}
        if kinds == {"F16", "BF16"}:
            return "F32"
        return next(k for k in tensors.DTYPES.values() if k in kinds)

    def doubled(self, part: str) -> Array:
        """[A; A₀] or [B, −B₀] in PyTorch's orientation."""
        new, old = tensors.read(self.after[part]), tensors.read(self.before[part])
        if part == "A":
            return np.concatenate([new, old])
        return np.concatenate([new, old * old.dtype.type(-self.ratio)], axis=1)


def write_doubled(
    folder: Path,
    config: Mapping[str, Any],
    pairs: Mapping[str, Pair],
    others: Mapping[str, Tensor],
) -> None:
    """The adapter of twice the rank that holds its own offset; `others` are copied."""
    folder.mkdir()
    layout = {name: (tensor.kind, tensor.shape) for name, tensor in others.items()}
    sources = {}
    for module, pair in pairs.items():
        for part in "AB":
            rows, columns = pair.after[part].shape
            extra = pair.before[part].shape["AB".index(part)]
            shape = (rows + extra, columns) if part == "A" else (rows, columns + extra)
            name = peft.key(module, part)
            layout[name], sources[name] = (pair.kind, shape), (pair, part)
    with Writer(folder / ADAPTER, layout, {"format": "pt"}) as writer:
        for name in writer.names:
            if name in others:
                writer.copy(others[name])
            else:
                pair, part = sources[name]
                writer.write(name, [pair.doubled(part)])
    write_json(folder / CONFIG, peft.doubled_config(config))


class SavedAdapter:
    """A folder with a LoRA adapter.

    Attributes
    ----------
    folder : Path
    config : dict
    modules : dict of str to dict
        Module → "A", "B" → where it is.
    s : dict of str to float
        Of every module.
    others : dict of str to Tensor
        What is trained beside the factors: heads (modules_to_save), biases.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.config = _lora_config(self.folder / CONFIG)
        self.modules: dict[str, dict[str, Tensor]] = {}
        self.others: dict[str, Tensor] = {}
        for name, tensor in tensors.read_header(self.folder / ADAPTER).tensors.items():
            self._sort(name, tensor)
        if not self.modules:
            raise _core.InvalidArgument(f"{self.folder}: there is no lora_A in {ADAPTER}")
        self.s = {module: self._scale(module) for module in self.modules}

    @property
    def files(self) -> tuple[Path, Path]:
        """What is read."""
        return self.folder / ADAPTER, self.folder / CONFIG

    def _sort(self, name: str, tensor: Tensor) -> None:
        split = peft.split_key(name)
        if split is None:
            if peft.is_other_part(name) or not tensor.is_known:
                raise _core.InvalidArgument(
                    f"{self.folder}: {name} ({tensor.kind}) is none of lora_A, lora_B, and weights "
                    "and biases"
                )
            self.others[name] = tensor
            return
        module, part = split
        parts = self.modules.setdefault(module, {})
        if part not in "AB" or part in parts or not tensor.is_float:
            what = f"has lora_{part} twice" if part in parts else f"has {name} ({tensor.kind})"
            raise _core.InvalidArgument(f"{self.folder}: layer {module} {what}")
        parts[part] = tensor

    def _scale(self, module: str) -> float:
        parts = self.modules[module]
        if set(parts) != {"A", "B"}:
            raise _core.InvalidArgument(f"{self.folder}: layer {module} lacks lora_A or lora_B")
        try:
            rank, s = peft.rank_and_scale(self.config, module)
        except (ValueError, KeyError, TypeError, AttributeError, re.error) as error:
            raise _no_settings(self.folder / CONFIG) from error
        A, B = parts["A"].shape, parts["B"].shape
        if len(A) != 2 or len(B) != 2 or A[0] != rank or B[1] != rank:
            raise _core.ShapeMismatch(
                f"{self.folder}: layer {module}: lora_A must be ({rank}, in) and lora_B "
                f"(out, {rank}), got {A} and {B}"
            )
        return s

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
        return {
            module: Pair(parts, initial.modules[module], initial.s[module] / self.s[module])
            for module, parts in self.modules.items()
        }


def _lora_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind = "DoRA" if config.get("use_dora") else config["peft_type"]
    except OSError as error:
        raise _core.InvalidArgument(f"{file}: {error.strerror or error}") from error
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise _no_settings(file) from error
    if kind != "LORA":
        raise _core.InvalidArgument(f"{file.parent}: is {kind}; plain LoRA is needed")
    return dict(config)


def _no_settings(file: Path) -> _core.InvalidArgument:
    return _core.InvalidArgument(f"{file}: not the settings of a LoRA adapter")


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
