"""What earlier calls have left in memory decides over nothing: neither over a result nor over a warning.

A kernel of a BLAS may compute on lanes that it was given no numbers for, and throw away what comes of them. It then
computes with whatever lies there, and now and then that is a signalling NaN, which NumPy reports as an invalid value in
a product whose factors are all finite: about one process in 500, and with ``-W error`` the end of it.
"""

import ctypes

import numpy as np
import pytest

from core.samples import ONE_FORCE, THREE_ACTIONS, TWO_ACTIONS, batch_of
from garage.baselines import LinearFeatureBaseline
from garage.core.streams import Streams
from garage.np import policies as numpy_policies
from garage.np.value_functions import MLPValueFunction
from garage.torch import policies as torch_policies

SIGNALLING_NAN = 0x7FA00000
"""As float32; two of them are one as float64."""
WORDS = 20_000
LENGTHS = [11]
"""Rows that fill no vector of a processor."""


class Junk(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint32 * WORDS),)


JUNK = Junk((SIGNALLING_NAN,) * WORDS)
GETPID = ctypes.CDLL(None).getpid


def with_junk(function):
    """What a function returns when the stack below it is full of signalling NaNs."""
    GETPID(JUNK)  # arguments that are structures are copied to the stack; nobody looks at this one
    return function()


def assert_same(function):
    with np.errstate(all="ignore"):
        expected = np.asarray(function()).tobytes()
    for _ in range(2):
        assert np.asarray(with_junk(function)).tobytes() == expected


KINDS = {
    "np, two actions": (numpy_policies.CategoricalMLPPolicy, TWO_ACTIONS),
    "np, three actions": (numpy_policies.CategoricalMLPPolicy, THREE_ACTIONS),
    "np, one force": (numpy_policies.GaussianMLPPolicy, ONE_FORCE),
    "torch, two actions": (torch_policies.CategoricalMLPPolicy, TWO_ACTIONS),
    "torch, one force": (torch_policies.GaussianMLPPolicy, ONE_FORCE),
}


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize(("kind", "spec"), KINDS.values(), ids=KINDS.keys())
def test_policies(kind, spec, size):
    policy = kind(spec, (size,))
    policy.initialise(Streams(1).generator("policy"))
    batch = batch_of(LENGTHS, spec=spec)
    objective = policy.objective(batch)
    theta, memory = objective.theta, policy.initial_memory(batch.n_steps)
    assert_same(lambda: objective.evaluate(theta * 1.1).log_likelihoods)
    assert_same(lambda: objective.score(theta, np.linspace(-1, 1, batch.n_steps)))
    assert_same(lambda: objective.fisher_product(theta, theta * 0 + 0.5))
    assert_same(lambda: policy.act(batch.observations, memory, None)[0])


@pytest.mark.parametrize("kind", [LinearFeatureBaseline, MLPValueFunction])
def test_baselines(kind):
    baseline = kind(TWO_ACTIONS)
    baseline.initialise(Streams(1).generator("baseline"))
    batch = batch_of(LENGTHS)
    with_junk(lambda: baseline.fit(batch, batch.rewards))
    assert_same(lambda: baseline.predict(batch))
