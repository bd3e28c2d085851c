"""Groups whose policy and world are kernels: every bit is that of the rollout that takes any policy and any world."""

import dataclasses
import re
import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.core.greedy_policy import GreedyPolicy
from garage.core.ports import compiled_rollout_of
from garage.core.streams import Streams
from garage.envs import GymEnv
from garage.errors import NonFiniteError
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.sampler import LocalSampler
from garage.sampler.rollout import run_group
from sampler.toy_worlds import bits, group_of

POLICIES = {
    "CartPole-v1": CategoricalMLPPolicy,
    "Pendulum-v1": GaussianMLPPolicy,
    "Acrobot-v1": CategoricalMLPPolicy,
    "MountainCar-v0": CategoricalMLPPolicy,
    "MountainCarContinuous-v0": GaussianMLPPolicy,
}


class Plain:
    """A policy that hides that it is a kernel."""

    def __init__(self, policy):
        self._policy = policy
        self.name, self.spec, self.initialised = policy.name, policy.spec, True

    def initial_memory(self, n):
        return self._policy.initial_memory(n)

    def draw_noise(self, generator, n_steps):
        return self._policy.draw_noise(generator, n_steps)

    def act(self, observations, memory, noise):
        return self._policy.act(observations, memory, noise)


class Setting(NamedTuple):
    """A world and a policy."""

    world: str
    limit: int | None
    hidden_sizes: tuple[int, ...]
    dtype: str
    seed: int

    def group(self, **size):
        env = GymEnv(self.world, max_episode_length=self.limit)
        policy = POLICIES[self.world](env.spec, hidden_sizes=self.hidden_sizes, dtype=self.dtype)
        policy.initialise(Streams(self.seed).generator("policy"))
        return group_of(env, policy=policy, seed=self.seed, **size)


WORLDS = st.sampled_from(
    [
        *(("CartPole-v1", None), ("CartPole-v1", 3), ("Pendulum-v1", 1), ("Pendulum-v1", 300)),
        *(("Acrobot-v1", 50), ("MountainCar-v0", 40), ("MountainCarContinuous-v0", 270)),
    ]
)
SETTINGS = st.builds(
    lambda world, *rest: Setting(*world, *rest),
    WORLDS,
    st.sampled_from([(), (3,), (5, 4, 3), (32, 32)]),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 9),
)
N_LANES = st.sampled_from([1, 2, 7, 64])
SIZES = st.fixed_dictionaries({"n_episodes": st.integers(1, 40)}) | st.fixed_dictionaries(
    {"n_steps": st.integers(1, 2000), "mean_length": st.sampled_from([0.0, 20.0, 200.0])}
)


def of_anything(group):
    """The same group, run by what takes anything."""
    return dataclasses.replace(group, policy=Plain(group.policy))


def is_compiled(group):
    return compiled_rollout_of(group.policy, group.env.make_lanes(1)) is not None


def run(group):
    return run_group(group, group.env.make_lanes(group.n_lanes))


@settings(deadline=None, max_examples=60)
@given(SETTINGS, N_LANES, SIZES)
def test_whole_episodes_are_the_same(setting, n_lanes, size):
    group = setting.group(n_lanes=n_lanes, **size)
    assert is_compiled(group)
    assert not is_compiled(of_anything(group))
    assert bits(run(group)) == bits(run(of_anything(group)))


@settings(deadline=None, max_examples=25)
@given(SETTINGS, N_LANES, st.lists(st.integers(1, 1500), min_size=2, max_size=4), st.data())
def test_fragments_are_the_same_and_go_on_from_each_other(setting, n_lanes, sizes, data):
    """Each call goes on from what either kind of rollout has carried, in the lanes as they are or in new ones."""
    group = dataclasses.replace(setting.group(n_lanes=n_lanes), fragments=True)
    samplers, carried = (LocalSampler(), LocalSampler()), ({}, {})
    for call, n_steps in enumerate(sizes):
        asked = [
            dataclasses.replace(each, call=call, n_steps=n_steps, carried=before)
            for each, before in zip((group, of_anything(group)), carried, strict=True)
        ]
        results = [sampler.run([each])[0] for sampler, each in zip(samplers, asked, strict=True)]
        assert bits(results[0]) == bits(results[1])
        carried = tuple(result.carried for result in results)
        assert leaves(carried[0]) == leaves(carried[1])
        if data.draw(st.booleans()):
            carried = carried[::-1]
        if data.draw(st.booleans()):
            samplers = LocalSampler(), LocalSampler()


def leaves(state, path=""):
    if isinstance(state, dict):
        return {key: leaf for name, child in state.items() for key, leaf in leaves(child, f"{path}/{name}").items()}
    return {path: (state.dtype.str, state.shape, state.tobytes())}


def test_many_more_steps_and_episodes_than_were_expected():
    """What is kept of them grows, and noise goes on beyond its blocks."""
    setting = Setting("CartPole-v1", 1000, (), "float32", 1)
    group = setting.group(n_lanes=16, n_steps=1)
    group.policy.theta = np.array([0, 0, 0, 0, -5, 5, -5, 5, 0, 0], np.float32)  # pushes against the tilt
    batch = run(group).batch
    assert batch.lengths.mean() > 300
    assert bits(run(group)) == bits(run(of_anything(group)))
    short = setting.group(n_lanes=3, n_episodes=2000)
    assert bits(run(short)) == bits(run(of_anything(short)))


def test_noise_of_episodes_that_ended_is_let_go():
    group = Setting("Pendulum-v1", 1, (), "float64", 1).group(n_lanes=4, n_episodes=6000)
    tracemalloc.start()
    run(group)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6000 * 256 * 8 / 2  # a block of noise for each would be twice that


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_not_finite_are_named_alike(dtype):
    group = Setting("Pendulum-v1", 20, (4,), dtype, 1).group(n_lanes=5, n_episodes=9)
    theta = group.policy.theta.copy()
    theta[-2] = np.nan  # the mean
    group.policy.theta = theta
    messages = []
    for each in (group, of_anything(group)):
        with pytest.raises(NonFiniteError, match=re.escape("returned array([")) as caught:
            run(each)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_nan_among_the_outputs_is_the_largest():
    group = Setting("CartPole-v1", 20, (4,), "float32", 1).group(n_lanes=5, n_episodes=9)
    for place in (-1, -2):  # the outputs' biases
        theta = group.policy.theta.copy()
        theta[place] = np.nan
        other = dataclasses.replace(group, policy=group.policy.at(theta))
        assert is_compiled(other)
        result = run(other)
        assert (result.batch.actions == place % 2).all()
        assert bits(result) == bits(run(of_anything(other)))


class Reversed(CategoricalMLPPolicy):
    """Acts in a way of its own."""

    def act(self, observations, memory, noise):
        actions, after, infos = super().act(observations, memory, noise)
        return 1 - actions, after, infos


class Halved(CategoricalMLPPolicy):
    """Draws in a way of its own."""

    def draw_noise(self, generator, n_steps):
        return 0.5 * super().draw_noise(generator, n_steps)


class Blind(GaussianMLPPolicy):
    """Sees in a way of its own."""

    def inputs(self, observations):
        return np.zeros_like(super().inputs(observations))


@pytest.mark.parametrize(
    ("world", "kind"), [("CartPole-v1", Reversed), ("CartPole-v1", Halved), ("Pendulum-v1", Blind)]
)
def test_a_class_that_acts_in_a_way_of_its_own_is_asked(world, kind):
    group = Setting(world, 50, (4,), "float32", 1).group(n_episodes=3)
    policy = kind(group.env.spec, hidden_sizes=(4,)).at(group.policy.theta)
    own = dataclasses.replace(group, policy=policy)
    assert not is_compiled(own)
    assert bits(run(own)) == bits(run(of_anything(own)))
    assert bits(run(own)) != bits(run(group))


def test_a_policy_whose_method_was_replaced_is_asked(monkeypatch):
    group = Setting("CartPole-v1", 50, (4,), "float32", 1).group(n_episodes=3)
    before, act = bits(run(group)), group.policy.act
    monkeypatch.setattr(group.policy, "act", lambda seen, memory, noise: act(-seen, memory, noise))
    assert not is_compiled(group)
    assert bits(run(group)) != before


def test_a_policy_that_hands_on_is_asked():
    group = Setting("CartPole-v1", 50, (4,), "float32", 1).group(n_episodes=3)
    assert not is_compiled(dataclasses.replace(group, policy=GreedyPolicy(group.policy)))


@pytest.mark.parametrize("world", sorted(POLICIES))
def test_seconds_are_those_of_the_world_of_the_policy_and_of_the_rest(world):
    seconds = run(Setting(world, 100, (32, 32), "float32", 1).group(n_lanes=16, n_steps=2000)).seconds
    assert sorted(seconds) == ["env", "policy", "process"]
    assert all(value > 0 for value in seconds.values())
