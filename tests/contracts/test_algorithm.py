"""The contract of the Algorithm port; every implementation runs it."""

import cloudpickle
import numpy as np
import pytest

from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline, ZeroBaseline
from garage.core.ports import Stateful
from garage.core.state import copied, differences, flatten
from garage.core.streams import Streams
from garage.core.types import EpisodeBatch
from garage.errors import MismatchError
from garage.np.policies import GaussianMLPPolicy
from garage.sampler import LocalSampler
from sampler.toy_worlds import Ladder, group_of


def ten(_seed):
    return 10


def trpo(baseline):
    def make(env):
        policy = GaussianMLPPolicy(env.spec, (8, 8))
        return TRPO(env=env, policy=policy, baseline=baseline(env.spec))

    return make


ALGORITHMS = {"TRPO, linear baseline": trpo(LinearFeatureBaseline), "TRPO, no baseline": trpo(ZeroBaseline)}


@pytest.fixture(params=ALGORITHMS.values(), ids=ALGORITHMS.keys())
def make(request):
    return lambda: request.param(Ladder(ten))


class Collecting:
    """Collects as a trainer does: by epoch, purpose and call; two groups a call."""

    def __init__(self, epoch):
        self.epoch, self.calls, self.env = epoch, [], Ladder(ten)

    def __call__(self, policy, *, n_steps=None, n_episodes=None, env=None, fragments=False, purpose="train"):
        assert not fragments
        size = {"n_episodes": n_episodes} if n_episodes else {"n_steps": n_steps or 100, "mean_length": 10.0}
        path = (purpose, self.epoch, len(self.calls))
        self.calls.append(purpose)
        groups = [group_of(env or self.env, policy=policy, path=(*path, index), **size) for index in range(2)]
        return EpisodeBatch.concatenate([result.batch for result in LocalSampler().run(groups)])


def run(algo, epochs, seed=1):
    streams = Streams(seed)
    return [algo.epoch(Collecting(epoch), streams.at("epoch", epoch)) for epoch in epochs]


@pytest.fixture
def fresh(make):
    algo = make()
    algo.initialise(Streams(1).at("initialise"))
    return algo


def test_it_collects_and_its_metrics_are_plain_numbers(fresh):
    collecting = Collecting(0)
    metrics = fresh.epoch(collecting, Streams(1).at("epoch", 0))
    assert "train" in collecting.calls
    assert metrics
    assert all(isinstance(name, str) and isinstance(value, int | float) for name, value in metrics.items())


def test_an_epoch_changes_its_state(fresh):
    before = copied(fresh.state_dict())
    run(fresh, [0])
    assert differences(before, fresh.state_dict())


def test_it_has_a_policy_to_show_that_can_act(fresh):
    policy = fresh.policies()["policy"]
    assert policy.initialised
    observations = np.zeros((3, 2))
    assert len(policy.act(observations, policy.initial_memory(3), None)[0]) == 3
    assert 0 <= fresh.discount <= 1


def test_first_parameters_are_of_the_seed_alone(make):
    states = []
    for seed in (1, 1, 2):
        algo = make()
        algo.initialise(Streams(seed).at("initialise"))
        states.append(algo.state_dict())
    assert differences(states[0], states[1]) == []
    assert differences(states[0], states[2])


def test_the_same_seed_gives_the_same_bits_and_metrics(make):
    ends = []
    for _ in range(2):
        algo = make()
        algo.initialise(Streams(1).at("initialise"))
        ends.append((run(algo, range(3)), algo.state_dict()))
    np.testing.assert_equal(ends[0][0], ends[1][0])
    assert differences(ends[0][1], ends[1][1]) == []


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_continued_from_its_state_alone_it_ends_at_the_same_numbers(make, fresh, stop):
    run(fresh, range(stop))
    state = copied(fresh.state_dict())
    expected = run(fresh, range(stop, 5))
    again = make()
    again.load_state_dict(state)
    np.testing.assert_equal(run(again, range(stop, 5)), expected)
    assert differences(fresh.state_dict(), again.state_dict()) == []


def test_loading_goes_back_too(fresh):
    state = copied(fresh.state_dict())
    expected = run(fresh, range(2))
    fresh.load_state_dict(state)
    np.testing.assert_equal(run(fresh, range(2)), expected)


def test_a_pickle_is_the_same_algorithm_before_it_learned(fresh):
    run(fresh, [0])
    expected_state = copied(fresh.state_dict())
    again = cloudpickle.loads(cloudpickle.dumps(fresh))
    again.load_state_dict(expected_state)
    assert differences(expected_state, again.state_dict()) == []
    np.testing.assert_equal(run(again, [1]), run(fresh, [1]))


def test_every_part_of_the_state_is_needed(make, fresh):
    assert isinstance(fresh, Stateful)
    run(fresh, [0])
    state = fresh.state_dict()
    assert flatten(state)
    for key in state:
        with pytest.raises(MismatchError, match=f"`{key}` is missing"):
            make().load_state_dict({name: part for name, part in state.items() if name != key})


def test_initialising_again_keeps_what_is_there(fresh):
    before = copied(fresh.state_dict())
    fresh.initialise(Streams(2).at("initialise"))
    assert differences(before, fresh.state_dict()) == []
