"""Score distillation where everything is known in closed form: mixtures, generators, losses."""

from resolvent.distill._distances import DISTANCES, fisher_divergence, wasserstein2
from resolvent.distill._distill import OBJECTIVES, OPTIMIZERS, OUTCOMES, Distillation, distill
from resolvent.distill._em import Fit
from resolvent.distill._expectation import METHODS
from resolvent.distill._generator import Generator
from resolvent.distill._losses import WEIGHTS, Losses, losses
from resolvent.distill._mixture import GaussianMixture
from resolvent.distill._phase import PhaseDiagram, phase_diagram
from resolvent.distill._schedule import SCHEDULES, Schedule, schedule
from resolvent.distill._students import (
    FittedPredictor,
    OptimalPredictor,
    Predictor,
    student_fitted,
    student_optimal,
    teacher,
)

__all__ = [
    "DISTANCES",
    "METHODS",
    "OBJECTIVES",
    "OPTIMIZERS",
    "OUTCOMES",
    "SCHEDULES",
    "WEIGHTS",
    "Distillation",
    "Fit",
    "FittedPredictor",
    "GaussianMixture",
    "Generator",
    "Losses",
    "OptimalPredictor",
    "PhaseDiagram",
    "Predictor",
    "Schedule",
    "distill",
    "fisher_divergence",
    "losses",
    "phase_diagram",
    "schedule",
    "student_fitted",
    "student_optimal",
    "teacher",
    "wasserstein2",
]
