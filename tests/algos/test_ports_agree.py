"""One epoch of each algorithm in NumPy, PyTorch and TensorFlow: the same step, to rounding."""

import contextlib
import importlib

import numpy as np
import pytest

from algos.parts import World, one_epoch
from core.samples import ONE_FORCE, THREE_ACTIONS, batch_of
from garage.algos import NPG, PPO, TRPO, VPG
from garage.baselines import LinearFeatureBaseline
from garage.core.streams import Streams
from garage.core.types import End
from garage.tf.session import GraphSession

ALGORITHMS = {
    "TRPO": (TRPO, {"entropy_weight": 0.01}),
    "NPG": (NPG, {"entropy_weight": 0.01}),
    "VPG": (VPG, {"entropy_weight": 0.01}),
    "PPO": (PPO, {"entropy_weight": 0.01, "n_passes": 3, "learning_rate": 1e-2, "target_kl": 1.0}),
}


def learned(port, kind, options, spec, value_function):
    """Theta, the baseline's prediction and the metrics after two epochs in a port."""
    with GraphSession() if port == "tf" else contextlib.nullcontext():
        policies = importlib.import_module(f"garage.{port}.policies")
        make = policies.GaussianMLPPolicy if spec is ONE_FORCE else policies.CategoricalMLPPolicy
        baseline = LinearFeatureBaseline(spec)
        if value_function:
            functions = importlib.import_module(f"garage.{port}.value_functions")
            baseline = functions.MLPValueFunction(spec, (8,), dtype="float64")
        algo = kind(env=World(spec), policy=make(spec, (8, 8), dtype="float64"), baseline=baseline, **options)
        algo.initialise(Streams(1))
        ends = [End.TERMINATED, End.TRUNCATED, End.CUT]
        batches = [batch_of([40, 25, 60], ends=ends, spec=spec, seed=seed) for seed in (0, 1)]
        metrics = [one_epoch(algo, batch) for batch in batches]
        return algo.policy.theta, baseline.predict(batches[0]), metrics


@pytest.mark.parametrize("spec", [THREE_ACTIONS, ONE_FORCE], ids=["categorical", "gaussian"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_all_ports_take_the_same_step(name, spec):
    kind, options = ALGORITHMS[name]
    theta, predicted, metrics = learned("np", kind, options, spec, value_function=name == "PPO")
    for port in ("torch", "tf"):
        other = learned(port, kind, options, spec, value_function=name == "PPO")
        np.testing.assert_allclose(other[0], theta, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(other[1], predicted, rtol=1e-6, atol=1e-8)
        for ours, theirs in zip(metrics, other[2], strict=True):
            assert list(theirs) == list(ours)
            np.testing.assert_allclose(list(theirs.values()), list(ours.values()), rtol=1e-5, atol=1e-8)
