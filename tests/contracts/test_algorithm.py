"""The contract of the Algorithm port; every implementation runs it."""

import cloudpickle
import numpy as np
import pytest

from garage.algos import NPG, PPO, TRPO, VPG, Normalised
from garage.baselines import LinearFeatureBaseline, ZeroBaseline
from garage.core.ports import Stateful
from garage.core.state import copied, differences, flatten
from garage.core.streams import Streams
from garage.errors import MismatchError
from garage.experiment.collector import Collector
from garage.np.policies import GaussianMLPPolicy
from garage.np.value_functions import MLPValueFunction
from garage.sampler import LocalSampler
from sampler.toy_worlds import Ladder


def ten(_seed):
    return 10


def maker(kind, baseline, **options):
    def make(env):
        policy = GaussianMLPPolicy(env.spec, (8, 8))
        return kind(env=env, policy=policy, baseline=baseline(env.spec), **options)

    return make


PASSES = {"n_passes": 3, "minibatch_size": 16}
ALGORITHMS = {
    "TRPO, linear baseline": maker(TRPO, LinearFeatureBaseline),
    "TRPO, no baseline": maker(TRPO, ZeroBaseline),
    "TRPO, fragments": maker(TRPO, LinearFeatureBaseline, fragments=True),
    "NPG, linear baseline": maker(NPG, LinearFeatureBaseline),
    "NPG, fragments": maker(NPG, LinearFeatureBaseline, fragments=True),
    "VPG, linear baseline": maker(VPG, LinearFeatureBaseline),
    "VPG, fragments": maker(VPG, LinearFeatureBaseline, fragments=True),
    "PPO, linear baseline": maker(PPO, LinearFeatureBaseline, **PASSES),
    "PPO, value function": maker(PPO, MLPValueFunction, **PASSES, target_kl=0.01),
    "TRPO, normalised": lambda env: Normalised(maker(TRPO, LinearFeatureBaseline)(env)),
    "TRPO, normalised, fragments": lambda env: Normalised(maker(TRPO, LinearFeatureBaseline, fragments=True)(env)),
    "PPO, fragments, decaying": maker(PPO, MLPValueFunction, **PASSES, fragments=True, decay_epochs=8),
}


@pytest.fixture(params=ALGORITHMS.values(), ids=ALGORITHMS.keys())
def make(request):
    return lambda: request.param(Ladder(ten))


class Run:
    """An algorithm and what it collects by, in two groups of four lanes; the batch size divides no episode evenly."""

    def __init__(self, algo, seed=1):
        self.algo, self.streams, self.purposes = algo, Streams(seed), []
        self.collector = Collector(Ladder(ten), LocalSampler(), algo.discount, n_lanes=4, n_groups=2)

    def __call__(self, epochs):
        """The metrics of these epochs."""
        return [self.epoch(epoch) for epoch in epochs]

    def epoch(self, epoch):
        self.collector.begin_epoch(epoch, self.streams, 104)
        metrics = self.algo.epoch(self.collect, self.streams.at("epoch", epoch))
        self.collector.end_epoch()
        return metrics

    def collect(self, policy, *, purpose="train", **how):
        self.purposes.append(purpose)
        return self.collector(policy, purpose=purpose, **how)

    def state(self):
        return {
            "algo": copied(self.algo.state_dict()),
            "sampler": copied(self.collector.sampler_state()),
            "counters": copied(self.collector.counters_state()),
        }

    def load(self, state):
        self.algo.load_state_dict(state["algo"])
        self.collector.load_state(state["sampler"], state["counters"])


@pytest.fixture
def fresh(make):
    algo = make()
    algo.initialise(Streams(1).at("initialise"))
    return algo


@pytest.fixture
def run(fresh):
    return Run(fresh)


def test_it_collects_and_its_metrics_are_plain_numbers(run):
    (metrics,) = run([0])
    assert "train" in run.purposes
    assert metrics
    assert all(isinstance(name, str) and isinstance(value, int | float) for name, value in metrics.items())


def test_an_epoch_changes_its_state(run):
    before = copied(run.algo.state_dict())
    run([0])
    assert differences(before, run.algo.state_dict())


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
        ends.append((Run(algo)(range(3)), algo.state_dict()))
    np.testing.assert_equal(ends[0][0], ends[1][0])
    assert differences(ends[0][1], ends[1][1]) == []


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_continued_from_its_state_alone_it_ends_at_the_same_numbers(make, run, stop):
    run(range(stop))
    state = run.state()
    expected = run(range(stop, 5))
    again = Run(make())
    again.load(state)
    np.testing.assert_equal(again(range(stop, 5)), expected)
    assert differences(run.state(), again.state()) == []


def test_loading_goes_back_too(run):
    state = run.state()
    expected = run(range(2))
    run.load(state)
    np.testing.assert_equal(run(range(2)), expected)


def test_a_pickle_is_the_same_algorithm_before_it_learned(run):
    run([0])
    state = run.state()
    again = Run(cloudpickle.loads(cloudpickle.dumps(run.algo)))
    again.load(state)
    assert differences(state, again.state()) == []
    np.testing.assert_equal(again([1]), run([1]))


def test_every_part_of_the_state_is_needed(make, run):
    assert isinstance(run.algo, Stateful)
    run([0])
    state = run.algo.state_dict()
    assert flatten(state)
    for key in state:
        with pytest.raises(MismatchError, match=f"`{key}` is missing"):
            make().load_state_dict({name: part for name, part in state.items() if name != key})


def test_initialising_again_keeps_a_policy_that_is_there(fresh):
    theta = fresh.policies()["policy"].theta.tobytes()
    fresh.initialise(Streams(2).at("initialise"))
    assert fresh.policies()["policy"].theta.tobytes() == theta
