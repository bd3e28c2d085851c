"""The compiled rollout, on every level of the processor; its results are compared in tests/sampler."""

import dataclasses
import hashlib

import numpy as np
import pytest

from garage.core.ports import compiled_rollout_of
from garage.core.streams import Streams
from garage.core.types import End
from garage.envs import GymEnv
from garage.errors import MismatchError
from garage.kernels.mlp import Forward
from garage.kernels.rollout import CompiledActing, Need, Quota, Rollout
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.sampler.rollout import run_group
from sampler.toy_worlds import bits, group_of

pytestmark = pytest.mark.usefixtures("level")

QUOTA = Quota(n_steps=100, n_episodes=None, mean_length=0.0, fragments=False)
DIGESTS = {}


def group(world, dtype):
    env = GymEnv(world, max_episode_length=50)
    kind = CategoricalMLPPolicy if world == "CartPole-v1" else GaussianMLPPolicy
    policy = kind(env.spec, hidden_sizes=(5, 4), dtype=dtype)
    policy.initialise(Streams(1).generator("policy"))
    return group_of(env, policy=policy, n_lanes=3, n_steps=200, mean_length=20.0)


def rollout_of(world="CartPole-v1", dtype="float32", n=3):
    of = group(world, dtype)
    return Rollout(*compiled_rollout_of(of.policy, of.env.make_lanes(n)), QUOTA)


@pytest.mark.parametrize("fragments", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("world", ["CartPole-v1", "Pendulum-v1"])
def test_all_levels_have_the_same_bits(world, dtype, fragments):
    asked = dataclasses.replace(group(world, dtype), fragments=fragments)
    result = run_group(asked, asked.env.make_lanes(3))
    assert (End.CUT in result.batch.ends) is fragments
    digest = hashlib.blake2b(repr(sorted(bits(result).items())).encode()).hexdigest()
    assert DIGESTS.setdefault((world, dtype, fragments), digest) == digest


def test_it_stops_for_what_it_needs():
    rollout = rollout_of()
    assert rollout.run() is Need.EPISODES
    assert rollout.n_wanted == 3
    rollout.draw([1, 2, 3], np.zeros((3, 2, 2), np.float32))
    assert rollout.run() is Need.NOISE
    assert sorted(rollout.starved()) == [(0, 0, 2), (1, 1, 2), (2, 2, 2)]
    rollout.lend(1, np.zeros((5, 2), np.float32))
    assert rollout.run() is Need.NOISE
    assert sorted(rollout.starved()) == [(0, 0, 2), (2, 2, 2)]
    rollout.lend(0, np.zeros((5, 2), np.float32))
    rollout.lend(2, np.zeros((5, 2), np.float32))
    assert rollout.run() in {Need.NOISE, Need.EPISODES}
    assert rollout.happened().lengths.min() == 7


@pytest.mark.parametrize(
    "noise",
    [
        np.zeros((1, 256, 3), np.float32),
        np.zeros((1, 256, 2)),
        np.zeros((2, 256, 2), np.float32),
        np.zeros((1, 256, 4), np.float32)[:, :, ::2],
        np.zeros((1, 256), np.float32),
    ],
)
def test_noise_that_does_not_fit_is_refused(noise):
    with pytest.raises(MismatchError, match=r"Cannot act with noise of shape .* in one piece"):
        rollout_of().draw([1], noise)
    with pytest.raises(MismatchError, match="Cannot act with noise of shape"):
        rollout_of().lend(0, np.zeros((1, 3), np.float32))


@pytest.mark.parametrize(
    ("sizes", "stds"),
    [((3, 2), None), ((4, 3), None), ((4, 2), np.ones(2)), ((4, 1), np.ones(1))],
    ids=["inputs", "actions", "a Gaussian", "one number"],
)
def test_a_policy_that_does_not_fit_the_world_is_refused(sizes, stds):
    lanes = group("CartPole-v1", "float32").env.make_lanes(3)
    n_parameters = (sizes[0] + 1) * sizes[1]
    acting = CompiledActing(Forward(sizes, np.zeros(n_parameters, np.float32)), stds, "outputs")
    assert not acting.fits(lanes.compiled())
    with pytest.raises(MismatchError, match="they do not fit each other"):
        Rollout(acting, lanes.compiled(), QUOTA)
