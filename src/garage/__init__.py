"""Reinforcement-learning experiments that can be stopped anywhere, continued anywhere, and end at the same numbers.

Names are loaded when they are first used, so ``import garage`` is quick and loads no framework.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from garage.experiment.context import wrap_experiment as wrap_experiment
    from garage.experiment.load_policy import load_policy as load_policy
    from garage.experiment.trainer import Trainer as Trainer

__version__ = "0.1.0"

_HOME = {
    "Trainer": "garage.experiment.trainer",
    "load_policy": "garage.experiment.load_policy",
    "wrap_experiment": "garage.experiment.context",
}
__all__ = ["Trainer", "__version__", "load_policy", "wrap_experiment"]


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    msg = f"module 'garage' has no attribute {name!r}"
    raise AttributeError(msg)
