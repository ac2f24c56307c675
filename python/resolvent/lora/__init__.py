"""Low-rank adapters: how they start, whether they follow the full gradient, and how they train."""

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
from resolvent.lora._layer import LayerCard
from resolvent.lora._lowrank import LOW_RANK_METHODS, LowRank, low_rank
from resolvent.lora._noise import BatchNoise, batch_noise
from resolvent.lora._peft import convert
from resolvent.lora._problems import ACTIVATIONS, KINDS, SHIFTS, Evaluation, Problem, digits
from resolvent.lora._report import FilesComparison, FilesReport
from resolvent.lora._stream import compare_files, initialize_files, untouched_files
from resolvent.lora._train import QUANTITIES, TRAINED, Run, Trajectory, Tuned, trajectory

__all__ = [
    "ACTIVATIONS",
    "ADAM_OPTIONS",
    "DIRECTIONS",
    "KINDS",
    "LOW_RANK_METHODS",
    "METHODS",
    "OPTIMIZERS",
    "QUANTITIES",
    "SCALES",
    "SCALINGS",
    "SHIFTS",
    "TRAINED",
    "Adapter",
    "Alignment",
    "BatchNoise",
    "Comparison",
    "Evaluation",
    "Factored",
    "FilesComparison",
    "FilesReport",
    "LayerCard",
    "LowRank",
    "Problem",
    "Run",
    "Trajectory",
    "Tuned",
    "alignment",
    "batch_noise",
    "compare",
    "compare_files",
    "convert",
    "digits",
    "initialize",
    "initialize_files",
    "low_rank",
    "trajectory",
    "untouched_files",
]
