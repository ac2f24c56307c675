"""Low-rank adapters: how they start, and whether they follow the full gradient."""

from resolvent.lora._adapter import OPTIMIZERS, Adapter
from resolvent.lora._alignment import Alignment, Comparison, alignment, compare
from resolvent.lora._factored import Factored
from resolvent.lora._initialize import (
    ADAM_OPTIONS,
    DIRECTIONS,
    METHODS,
    SCALES,
    SCALINGS,
    initialize,
)
from resolvent.lora._lowrank import LOW_RANK_METHODS, LowRank, low_rank

__all__ = [
    "ADAM_OPTIONS",
    "DIRECTIONS",
    "LOW_RANK_METHODS",
    "METHODS",
    "OPTIMIZERS",
    "SCALES",
    "SCALINGS",
    "Adapter",
    "Alignment",
    "Comparison",
    "Factored",
    "LowRank",
    "alignment",
    "compare",
    "initialize",
    "low_rank",
]
