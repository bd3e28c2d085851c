"""Experiments: the one place where all parts meet."""

from garage.experiment.context import ExperimentContext, wrap_experiment
from garage.experiment.tf_trainer import TFTrainer
from garage.experiment.trainer import Trainer

__all__ = ["ExperimentContext", "TFTrainer", "Trainer", "wrap_experiment"]
