"""Baselines: what a state is worth, predicted to lower the variance of a gradient.

``MLPValueFunction`` is one of a framework: it is in ``garage.np.value_functions``, ``garage.torch.value_functions`` and
``garage.tf.value_functions``.
"""

from typing import TYPE_CHECKING

from garage.baselines.linear_feature import LinearFeatureBaseline
from garage.baselines.zero import ZeroBaseline

__all__ = ["LinearFeatureBaseline", "ZeroBaseline"]

if not TYPE_CHECKING:  # checkers of types would take any name for one of this package

    def __getattr__(name: str) -> object:
        if name == "MLPValueFunction":
            msg = (
                "MLPValueFunction is one of a framework: import it from garage.np.value_functions, "
                "garage.torch.value_functions or garage.tf.value_functions."
            )
            raise ImportError(msg)
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
