"""One layer of a file: read, initialised, judged. What is sent to other processes and machines."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent.lora import _safetensors as tensors
from resolvent.lora._adapter import Adapter
from resolvent.lora._alignment import Alignment, alignment, compare
from resolvent.lora._factored import Factored
from resolvent.lora._initialize import START_OPTIONS, initialize, needs
from resolvent.lora._peft import factors
from resolvent.lora._safetensors import Tensor

__all__ = ["Layer", "LayerCard", "Outcome", "Settings", "compare_layer", "initialize_layer"]


@dataclass(frozen=True)
class Settings:
    """What decides the numbers; see :func:`resolvent.lora.initialize_files`."""

    method: str
    rank: int
    alpha: float
    scaling: str
    scale: str
    directions: str
    gamma: float
    adam: str
    distribution: str
    optimizer: str
    seed: int
    orientation: str
    dtype: str | None

    @property
    def transposed(self) -> bool:
        """Whether the files hold Wᵀ."""
        return self.orientation == "torch"

    @property
    def of_gradient(self) -> bool:
        """Whether there is no adapter without a gradient."""
        return "gradient" in needs(self.method)

    @property
    def of_weight(self) -> bool:
        """Whether the values of the weight are needed, and not its shape alone."""
        return "weight" in needs(self.method, self.scale)

    @property
    def moves_base(self) -> bool:
        """Whether the adapter starts at something that is taken off the base."""
        return self.of_gradient or self.method in ("pissa", "olora")

    def options(self, layer: str) -> dict[str, Any]:
        """Those of initialize. Every layer has a seed of its own, whatever else is in the file."""
        digest = hashlib.sha256(f"{self.seed} {layer}".encode()).digest()
        seed = int.from_bytes(digest[:4], "little")
        return {name: getattr(self, name) for name in START_OPTIONS} | {"seed": seed}


@dataclass(frozen=True)
class Layer:
    """A weight, and its gradient if there is one."""

    weight: Tensor
    gradient: Tensor | None

    @property
    def name(self) -> str:
        """The weight's."""
        return self.weight.name

    def shape(self, settings: Settings) -> tuple[int, int]:
        """(n, m): in × out."""
        rows, columns = self.weight.shape
        return (columns, rows) if settings.transposed else (rows, columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the computation: float64 if a file has it."""
        return np.result_type(self.weight.dtype, (self.gradient or self.weight).dtype)

    def kind(self, settings: Settings) -> str:
        """The type of its adapter in the file."""
        if settings.dtype is not None:
            return tensors.DTYPES[settings.dtype]
        return "F64" if self.dtype == np.float64 else "F32"

    def named(self, error: _core.ResolventError) -> _core.ResolventError:
        """The same error, saying which layer it is about."""
        return type(error)(f"layer {self.name}: {error}")

    def matrix(self, tensor: Tensor, settings: Settings) -> Array:
        """W or G."""
        array = tensors.matrix(tensor, transpose=settings.transposed)
        return array.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class LayerCard:
    """How an adapter follows the gradient of its layer; numbers as in :class:`Alignment`.

    Attributes
    ----------
    layer : str
        Name of the weight in the file.
    shape : (int, int)
        (n, m) = (in, out).
    rank : int
    offset_ratio : float
        ‖offset‖/‖W₀‖.
    cosine, captured, residual, optimum, excess, effective_scale : float or None
        None without a gradient.
    angles_left, angles_right : tuple of float
        Radians, ascending; empty without a gradient, and for a factor that is zero.
    spectrum : tuple of float
        Leading singular values of full fine-tuning's first step.
    lost : int
        How many of the first 2·rank of them are below rounding.
    """

    layer: str
    shape: tuple[int, int]
    rank: int
    offset_ratio: float
    cosine: float | None = None
    captured: float | None = None
    residual: float | None = None
    optimum: float | None = None
    excess: float | None = None
    effective_scale: float | None = None
    angles_left: tuple[float, ...] = ()
    angles_right: tuple[float, ...] = ()
    spectrum: tuple[float, ...] = ()
    lost: int = 0

    @classmethod
    def of(cls, layer: str, found: Alignment, offset_ratio: float) -> LayerCard:
        """From an alignment."""
        return cls(
            layer=layer,
            shape=found.shape,
            rank=found.rank,
            offset_ratio=offset_ratio,
            cosine=found.cosine,
            captured=found.captured,
            residual=found.residual,
            optimum=found.optimum,
            excess=found.excess,
            effective_scale=found.effective_scale,
            angles_left=tuple(found.angles_left.tolist()),
            angles_right=tuple(found.angles_right.tolist()),
            spectrum=tuple(found.spectrum.tolist()),
            lost=found.lost,
        )

    def json(self) -> dict[str, Any]:
        """Plain numbers, which give the same card again."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> LayerCard:
        """What :meth:`json` was."""
        fields: dict[str, Any] = dict(saved)
        for name in ("shape", "angles_left", "angles_right", "spectrum"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


@dataclass(frozen=True)
class Outcome:
    """What became of a layer.

    Attributes
    ----------
    layer : str
    cards : dict of str to LayerCard
        By label; one, "", for an initialisation.
    parts : dict of str to ndarray
        PEFT's, in the file's type.
    error : ResolventError or None
        What is wrong with the layer. Returned, not raised: it is no reason to try again.
    """

    layer: str
    cards: dict[str, LayerCard] = field(default_factory=dict)
    parts: dict[str, Array] = field(default_factory=dict)
    error: _core.ResolventError | None = None


def initialize_layer(layer: Layer, settings: Settings) -> Outcome:
    """The adapter of a layer, and its card. No more than one weight and one gradient in memory."""
    try:
        gradient = None
        if settings.of_gradient:
            gradient = _gradient(layer, settings)
        adapter = _adapter(layer, settings, gradient)
        if gradient is None and layer.gradient is not None:
            gradient = _gradient(layer, settings)
        card = _card(layer, settings, adapter, gradient)
    except _core.ResolventError as error:
        return Outcome(layer.name, error=layer.named(error))
    return Outcome(layer.name, {"": card}, factors(adapter))


def compare_layer(
    layer: Layer, settings: Settings, methods: Mapping[str, Mapping[str, Any]]
) -> Outcome:
    """The cards of several initialisations, label → options that differ from the settings."""
    try:
        weight = layer.matrix(layer.weight, settings)
        gradient = _gradient(layer, settings)
        found = compare(
            methods,
            weight,
            gradient,
            optimizer=settings.optimizer,  # type: ignore[arg-type]
            **settings.options(layer.name),
        )
    except _core.ResolventError as error:
        return Outcome(layer.name, error=layer.named(error))
    cards = {
        label: LayerCard.of(layer.name, card, card.offset_ratio)
        for label, card in found.cards.items()
    }
    return Outcome(layer.name, cards)


def _gradient(layer: Layer, settings: Settings) -> Array:
    assert layer.gradient is not None
    return layer.matrix(layer.gradient, settings)


def _adapter(layer: Layer, settings: Settings, gradient: Array | None) -> Adapter:
    """As the file will hold it: rounded to its type, with the offset of what is held."""
    made = initialize(
        settings.method,  # type: ignore[arg-type]
        weight=layer.matrix(layer.weight, settings) if settings.of_weight else None,
        gradient=gradient,
        shape=layer.shape(settings),
        **settings.options(layer.name),
    )
    kind = layer.kind(settings)
    held = {name: tensors.rounded(value, kind, name) for name, value in made.parameters.items()}
    offset = Factored(held["A"], held["B"], -made.s) if settings.moves_base else None
    return Adapter(s=made.s, offset=offset, method=settings.method, **held)


def _card(layer: Layer, settings: Settings, adapter: Adapter, gradient: Array | None) -> LayerCard:
    ratio = _offset_ratio(layer, adapter) if settings.moves_base else 0.0
    if gradient is None:
        return LayerCard(layer.name, layer.shape(settings), settings.rank, ratio)
    found = alignment(
        gradient,
        adapter,
        optimizer=settings.optimizer,  # type: ignore[arg-type]
        weight=layer.matrix(layer.weight, settings) if adapter.magnitude is not None else None,
    )
    return LayerCard.of(layer.name, found, ratio)


def _offset_ratio(layer: Layer, adapter: Adapter) -> float:
    """‖offset‖/‖W₀‖, the weight read by blocks."""
    assert adapter.offset is not None
    size = tensors.norm(layer.weight)
    if not math.isfinite(size):
        raise _core.InvalidArgument("weight must be finite")
    return adapter.offset.norm() / size if size else math.inf
