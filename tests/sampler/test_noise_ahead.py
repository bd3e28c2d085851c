"""Noise ahead of the clock: that of each episode's own stream, however many are drawn together."""

import dataclasses

import numpy as np
import pytest

from garage.core.normalising_policy import NormalisingPolicy
from garage.core.ports import uniform_noise_of
from garage.core.streams import Streams, first_uniforms
from garage.envs import GymEnv
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.sampler.noise_ahead import NOISE_BLOCK_STEPS, NoiseAhead
from garage.sampler.rollout import run_group
from sampler.toy_worlds import Ladder, Rows, bits, group_of

CARTPOLE = GymEnv("CartPole-v1")
STREAMS = Streams(4).at("episode", "train")


def categorical(dtype="float32"):
    policy = CategoricalMLPPolicy(CARTPOLE.spec, hidden_sizes=(4,), dtype=dtype)
    policy.initialise(Streams(1).generator("policy"))
    return policy


def normalised():
    return NormalisingPolicy(categorical(), np.zeros(4), np.ones(4), 10.0)


class Halved(CategoricalMLPPolicy):
    """Draws in a way of its own."""

    def draw_noise(self, generator, n_steps):
        return 0.5 * super().draw_noise(generator, n_steps)


def halved():
    policy = Halved(CARTPOLE.spec)
    policy.initialise(Streams(1).generator("policy"))
    return policy


class Wrapped:
    """Draws in a way of its own, and hands on everything else."""

    def __init__(self, policy):
        self.policy = policy

    def __getattr__(self, name):
        return getattr(self.policy, name)

    def draw_noise(self, generator, n_steps):
        return 0.5 * self.policy.draw_noise(generator, n_steps)


class OneByOne:
    """A policy that hides how it makes its noise."""

    def __init__(self, policy):
        self.name, self.spec = policy.name, policy.spec
        self.initial_memory, self.act, self.draw_noise = policy.initial_memory, policy.act, policy.draw_noise


def block(policy, ordinal, number=0):
    return policy.draw_noise(STREAMS.generator(ordinal, number), NOISE_BLOCK_STEPS)


POLICIES = {
    "by uniforms": categorical,
    "in float64": lambda: categorical("float64"),
    "normalised": normalised,
    "of a class of one's own": halved,
    "wrapped": lambda: Wrapped(categorical()),
    "by a generator": lambda: Rows(Ladder().spec),
}


@pytest.fixture(params=POLICIES)
def policy(request):
    return POLICIES[request.param]()


@pytest.mark.parametrize("make", [categorical, lambda: categorical("float64"), normalised])
def test_noise_by_uniforms_is_what_is_drawn_by_generators(make):
    policy = make()
    n_uniforms, noise_of = uniform_noise_of(policy)
    uniforms = first_uniforms([STREAMS.key(3, 1), STREAMS.key(5, 0)], 256 * n_uniforms)
    noise = noise_of(uniforms.reshape(2 * 256, n_uniforms))
    expected = np.concatenate([block(policy, 3, 1), block(policy, 5)])
    assert (noise.dtype, noise.shape) == (expected.dtype, expected.shape)
    assert noise.tobytes() == expected.tobytes()


def test_other_policies_are_asked_for_their_noise():
    spec = Ladder().spec
    for policy in (halved(), Wrapped(categorical()), Rows(spec), GaussianMLPPolicy(spec)):
        assert uniform_noise_of(policy) is None


def test_each_episode_has_its_own_noise_whenever_it_starts(policy):
    ahead, running = NoiseAhead(policy, 3), {}
    starts = {0: [0, 1, 2], 1: [1], 40: [0, 2], 255: [0], 256: [1], 257: [0, 1, 2], 600: [2]}
    n_started = 0
    for clock in range(1200):
        lanes = starts.get(clock, [])
        for lane in lanes:
            ahead.stop(lane)
        ahead.start(lanes, STREAMS, n_started, clock)
        for lane in lanes:
            running[lane] = clock, np.concatenate([block(policy, n_started, number) for number in range(5)])
            n_started += 1
        row = ahead.of_step(clock)
        for lane, (started_at, noise) in running.items():
            assert np.array_equal(row[lane], noise[clock - started_at])
    assert n_started == 12


@pytest.mark.parametrize("step", [1, 255, 256, 257, 700])
def test_what_is_taken_up_goes_on_with_the_rest_of_its_block(policy, step):
    ahead = NoiseAhead(policy, 2)
    ahead.take_up(1, STREAMS, 6, step)
    expected = np.concatenate([block(policy, 6, number) for number in range(5)])[step:]
    for clock in range(300):
        assert np.array_equal(ahead.of_step(clock)[1], expected[clock])


def test_a_row_that_was_handed_out_is_not_written_again(policy):
    ahead = NoiseAhead(policy, 2)
    ahead.start([0, 1], STREAMS, 0, 0)
    rows, copies = [], []
    for clock in range(600):
        rows.append(ahead.of_step(clock))
        copies.append(rows[-1].copy())
        if clock % 50 == 49:
            ahead.stop(1)
            ahead.start([1], STREAMS, 2 + clock // 50, clock + 1)
    assert np.array_equal(rows, copies)


def test_noise_is_drawn_for_no_episode_that_has_ended():
    drawn = []

    class Counting(Rows):
        def draw_noise(self, generator, n_steps):
            drawn.append(n_steps)
            return super().draw_noise(generator, n_steps)

    ahead = NoiseAhead(Counting(Ladder().spec), 2)
    ahead.start([0, 1], STREAMS, 0, 0)
    ahead.stop(0)
    for clock in range(600):
        ahead.of_step(clock)
    assert drawn == [NOISE_BLOCK_STEPS] * 4


@pytest.mark.parametrize("size", [{"n_episodes": 1}, {"n_episodes": 40}, {"n_steps": 3000, "mean_length": 30.0}])
@pytest.mark.parametrize("n_lanes", [1, 3, 16])
@pytest.mark.parametrize("make", [categorical, normalised])
def test_a_group_is_the_same_whether_noise_is_drawn_together_or_one_by_one(make, size, n_lanes):
    group = group_of(CARTPOLE, n_lanes=n_lanes, policy=make(), **size)
    one_by_one = dataclasses.replace(group, policy=OneByOne(group.policy))
    results = [bits(run_group(each, CARTPOLE.make_lanes(n_lanes))) for each in (group, one_by_one)]
    assert results[0] == results[1]
