"""Which layers of two files get an adapter, and whether all of them can have one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resolvent import _core
from resolvent.lora import _peft as peft
from resolvent.lora._initialize import check_rank as require_rank
from resolvent.lora._layer import Layer, Settings
from resolvent.lora._safetensors import Tensor, TensorFiles

__all__ = ["Plan", "check_rank", "planned"]

#: Embeddings have other shapes and names in PEFT, and a file does not tell them from layers.
_EMBEDDING = re.compile(r"embed|(^|\.)(wte|wpe|shared|relative_attention_bias)\.weight$")


@dataclass(frozen=True)
class Plan:
    """What a run is about.

    Attributes
    ----------
    layers : list of Layer
    left_out : list of str
        Matrices that look like embeddings.
    others : list of str
        All tensors that get no adapter.
    named : dict of str to str
        The files, for the report.
    inputs : dict
        What has to be the same for a run to go on.
    files : list of Path
        All that is read.
    """

    layers: list[Layer]
    left_out: list[str]
    others: list[str]
    named: dict[str, str]
    inputs: dict[str, Any]
    files: list[Path]


def planned(
    weights: str | os.PathLike[str],
    gradients: str | os.PathLike[str] | None,
    settings: Settings,
    target: str | Sequence[str] | None,
    allow_missing: bool,
) -> Plan:
    """The layers, or an error that says which of them is wrong."""
    base = TensorFiles(weights)
    if gradients is None and settings.of_gradient:
        raise _core.InvalidArgument(f"gradients must be given for {settings.method}")
    slopes = None if gradients is None else TensorFiles(gradients)
    patterns = _patterns(target)
    chosen, left_out = _chosen(base, slopes, patterns, allow_missing)
    layers = [
        Layer(
            _absolute(base.tensors[name]),
            None if slopes is None else _absolute(slopes.tensors[name]),
        )
        for name in chosen
    ]
    if not layers:
        raise _core.InvalidArgument(f"{base.path}: there is no matrix to adapt")
    for layer in layers:
        _check_tensors(layer)
    _check_modules(layers)
    check_rank(layers, settings)
    read = {"weights": base} | ({} if slopes is None else {"gradients": slopes})
    named = {what: _readable(files.path.name) for what, files in read.items()}
    inputs: dict[str, Any] = {what: files.fingerprint for what, files in read.items()}
    inputs["layers"] = chosen
    taken = set(chosen)
    others = [name for name in base.tensors if name not in taken]
    paths = [path for files in read.values() for path in files.files]
    return Plan(layers, left_out, others, named, inputs, paths)


def _readable(name: str) -> str:
    """The name of a file, which need not be Unicode."""
    return os.fsencode(name).decode(errors="replace")


def _patterns(target: str | Sequence[str] | None) -> list[re.Pattern[str]]:
    targets = [target] if isinstance(target, str) else list(target or ())
    found = []
    for text in targets:
        try:
            found.append(re.compile(text))
        except re.error as error:
            raise _core.InvalidArgument(
                f"target must be a regular expression, got {text!r}: {error}"
            ) from error
    return found


def _chosen(
    weights: TensorFiles,
    gradients: TensorFiles | None,
    patterns: list[re.Pattern[str]],
    allow_missing: bool,
) -> tuple[list[str], list[str]]:
    """Names of the layers in the order of the weights, and of what was left out."""

    def wanted(files: TensorFiles) -> list[str]:
        names = [name for name, tensor in files.tensors.items() if len(tensor.shape) == 2]
        return [n for n in names if not patterns or any(p.search(n) for p in patterns)]

    mine = wanted(weights)
    for pattern in patterns:
        if not any(pattern.search(name) for name in mine):
            raise _core.InvalidArgument(
                f"target {pattern.pattern!r} is in the name of no matrix in {weights.path}"
            )
    if not patterns and gradients is None:
        mine = [name for name in mine if weights.tensors[name].is_float]
    if gradients is not None:
        theirs = wanted(gradients)
        unknown = [name for name in theirs if name not in weights.tensors]
        lacking = [name for name in mine if name not in gradients.tensors] if patterns else []
        if not allow_missing:
            _refuse(unknown, f"in {gradients.path} but not in {weights.path}")
            _refuse(lacking, f"in {weights.path} but not in {gradients.path}")
        mine = [name for name in mine if name in gradients.tensors]
    if patterns:
        return mine, []
    left_out = [name for name in mine if _EMBEDDING.search(name)]
    return [name for name in mine if not _EMBEDDING.search(name)], left_out


def _refuse(names: list[str], where: str) -> None:
    if names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise _core.InvalidArgument(
            f"{len(names)} {'layer is' if len(names) == 1 else 'layers are'} {where}: {shown} "
            "(allow_missing leaves them out)"
        )


def _check_tensors(layer: Layer) -> None:
    for tensor in filter(None, (layer.weight, layer.gradient)):
        if not tensor.is_float:
            raise _core.InvalidArgument(
                f"layer {layer.name}: {tensor.file.name} holds {tensor.kind}; floating-point "
                "numbers are needed"
            )
    if layer.gradient is not None and layer.gradient.shape != layer.weight.shape:
        raise _core.ShapeMismatch(
            f"layer {layer.name}: the gradient must have the weight's shape "
            f"{layer.weight.shape}, got {layer.gradient.shape}"
        )


def _check_modules(layers: list[Layer]) -> None:
    seen: dict[str, str] = {}
    for layer in layers:
        module = peft.module_of(layer.name)
        if module in seen:
            raise _core.InvalidArgument(
                f"layer {layer.name}: {seen[module]} is of the same module {module!r}"
            )
        seen[module] = layer.name


def check_rank(layers: list[Layer], settings: Settings) -> None:
    """Every layer has as many directions as the method takes."""
    for layer in layers:
        n, m = layer.shape(settings)
        try:
            require_rank(settings.method, settings.rank, (n, m))
        except _core.ResolventError as error:
            raise layer.named(error) from None


def _absolute(tensor: Tensor) -> Tensor:
    """For workers in another folder."""
    return replace(tensor, file=tensor.file.absolute())
