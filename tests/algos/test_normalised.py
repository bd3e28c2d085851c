"""Normalised: what the policy sees, what the algorithm gets, and that both go on after a restore."""

import math

import cloudpickle
import numpy as np
import pytest
from gymnasium import spaces

from experiment.parts import Scripted, Still, digests, rows
from garage import load_policy
from garage.algos import PPO, TRPO, Normalised
from garage.baselines import LinearFeatureBaseline
from garage.core.recipe import Component
from garage.core.state import copied, differences
from garage.core.statistics import Statistics
from garage.core.streams import Streams
from garage.core.types import EnvSpec
from garage.envs import GymEnv
from garage.errors import ArgumentError, MismatchError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.collector import Collector
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.process import set_process_seed
from garage.sampler import LocalSampler

WIDE = spaces.Box(-np.inf, np.inf, (3,), np.float32)
ONE = spaces.Box(-1, 1, (1,), np.float32)


class Seeing:
    """Acts at random, and notes down what it is shown at each step of its lanes."""

    name, initialised = "seeing", True

    def __init__(self, spec):
        self.spec, self.shown = spec, []

    def initial_memory(self, n):
        return np.zeros((n, 0))

    def draw_noise(self, generator, n_steps):
        return generator.standard_normal((n_steps, 1))

    def act(self, observations, memory, noise):
        self.shown.append(observations.copy())
        return noise, memory, {"shown": observations}


class Hoarding(Component):
    """Collects, keeps what it is given, and learns nothing."""

    discount = 0.9

    def __init__(self, spec, **how):
        self.policy, self.how, self.batches = Seeing(spec), how, []

    def initialise(self, streams):
        pass

    def policies(self):
        return {"policy": self.policy}

    def epoch(self, collect, streams):
        self.batches.append(collect(self.policy, **self.how))
        return {"Hoarding/Batches": len(self.batches)}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def ran(algo, env, n_epochs, *, batch_size=120, n_lanes=4):
    """The raw batches of an algorithm's epochs, and its metrics."""
    collector = Collector(env, LocalSampler(), algo.discount, n_lanes=n_lanes, n_groups=2)
    raw, metrics = [], []

    def collect(policy, **how):
        raw.append(collector(policy, **how))
        return raw[-1]

    for epoch in range(n_epochs):
        collector.begin_epoch(epoch, Streams(1), batch_size)
        metrics.append(algo.epoch(collect, Streams(1)))
        collector.end_epoch()
    return raw, metrics


def statistics_of(batches):
    seen = np.concatenate([batch.observations for batch in batches]).astype(np.float64)
    return seen.mean(axis=0), seen.var(axis=0)


@pytest.mark.parametrize("fragments", [False, True])
def test_policy_and_batch_see_by_the_statistics_of_the_epochs_before(fragments):
    env = GymEnv("Pendulum-v1", max_episode_length=40)
    algo = Normalised(Hoarding(env.spec, fragments=fragments), clip=1.5)
    raw, _ = ran(algo, env, 4)
    assert np.array_equal(algo.algo.batches[0].observations, np.clip(raw[0].observations, -1.5, 1.5))
    for epoch in range(1, 4):
        mean, variance = statistics_of(raw[:epoch])
        batch = algo.algo.batches[epoch]
        for name in ("observations", "last_observations"):
            expected = np.clip((getattr(raw[epoch], name) - mean) / np.sqrt(variance), -1.5, 1.5)
            np.testing.assert_allclose(getattr(batch, name), expected, rtol=1e-4, atol=1e-5)
            assert getattr(batch, name).dtype == np.float32
        assert np.array_equal(batch.agent_infos["shown"], batch.observations)
        assert (np.abs(batch.observations) == 1.5).any()


def running_returns(batches, discount):
    """R_t of each step, from the definition, with what was cut going on in the next batch."""
    lists, cut = [], []
    for batch in batches:
        before, cut, of_batch = iter(cut), [], []
        for rows_, first, ended in zip(batch.segments(), batch.first_steps, batch.episode_ended, strict=True):
            total = next(before) if first > 0 else 0.0
            for reward in batch.rewards[rows_]:
                total = discount * total + reward
                of_batch.append(total)
            if not ended:
                cut.append(total)
        lists.append(np.array(of_batch))
    return lists


@pytest.mark.parametrize("fragments", [False, True])
def test_rewards_are_divided_by_the_deviation_of_the_discounted_return(fragments):
    env = GymEnv("Pendulum-v1", max_episode_length=50)
    algo = Normalised(Hoarding(env.spec, fragments=fragments), observations=False)
    raw, metrics = ran(algo, env, 5)
    returns = running_returns(raw, 0.9)
    assert not fragments or any((batch.first_steps > 0).any() for batch in raw)
    for epoch in range(5):
        deviation = np.concatenate(returns[: epoch + 1]).std()
        np.testing.assert_allclose(algo.algo.batches[epoch].rewards, raw[epoch].rewards / deviation, rtol=1e-9)
        assert metrics[epoch]["Normalised/ReturnStd"] == pytest.approx(deviation)
        assert np.array_equal(algo.algo.batches[epoch].observations, raw[epoch].observations)


def test_cut_episodes_have_the_returns_of_whole_ones():
    """Two groups, refilled lanes: the k-th segment that goes on belongs to the k-th that was cut."""
    env = Scripted(lambda rng: int(rng.integers(3, 60)), 4)
    algo = Normalised(Hoarding(env.spec, fragments=True), observations=False)
    algo.algo.policy = Still(env.spec)
    raw, _ = ran(algo, env, 9, batch_size=60)
    steps = np.concatenate([batch.steps for batch in raw])
    expected = (1 - 0.9 ** (steps + 1.0)) / (1 - 0.9)  # its rewards are 1, so that R_t says the step
    assert algo.state_dict()["returns"]["n"] == len(steps)
    np.testing.assert_allclose(algo.state_dict()["returns"]["mean"], expected.mean(), rtol=1e-12)


def test_rewards_are_clipped():
    env = GymEnv("Pendulum-v1", max_episode_length=20)
    algo = Normalised(Hoarding(env.spec), observations=False, clip=0.01)
    ran(algo, env, 1)
    assert np.abs(algo.algo.batches[0].rewards).max() == 0.01


def test_only_what_is_collected_for_training_is_learned_from():
    env = GymEnv("Pendulum-v1", max_episode_length=20)
    algo = Normalised(Hoarding(env.spec, purpose="evaluation"))
    before = copied(algo.state_dict())
    ran(algo, env, 2)
    assert differences(before, algo.state_dict()) == []


def test_fragments_that_do_not_go_on_are_refused():
    env = GymEnv("Pendulum-v1", max_episode_length=200)
    algo = Normalised(Hoarding(env.spec, fragments=True))
    ran(algo, env, 1)
    with pytest.raises(MismatchError, match="8 episodes were cut before, and 0 segments go on"):
        ran(algo, env, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clip": 0.0}, "Normalised's clip must be above 0, got 0.0"),
        ({"clip": math.nan}, "clip must be above 0, got nan"),
        ({"rewards": 1}, "rewards must be True or False, got 1"),
        ({"observations": None}, "observations must be True or False"),
        ({"observations": False, "rewards": False}, "would do nothing. Use Hoarding itself"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ArgumentError, match=words):
        Normalised(Hoarding(EnvSpec(WIDE, ONE)), **options)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(0, 255, (4, 4), np.uint8), spaces.MultiBinary(3)])
def test_observations_that_are_no_floats_are_refused(space):
    algo = Hoarding(EnvSpec(space, ONE))
    with pytest.raises(MismatchError, match=r"expected a Box of floats\. Pass observations=False"):
        Normalised(algo)
    Normalised(algo, observations=False)


def test_the_policy_to_show_normalises_as_that_which_acted():
    env = GymEnv("Pendulum-v1", max_episode_length=20)
    inner = GaussianMLPPolicy(env.spec, (4,))
    inner.initialise(Streams(1).generator("policy"))
    algo = Normalised(Hoarding(env.spec))
    ran(algo, env, 2)
    algo.algo.policy = inner
    shown = algo.policies()["policy"]
    statistics = algo.state_dict()["observations"]
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    by_hand = (observations - statistics["mean"]) / np.sqrt(statistics["squares"] / statistics["n"] + 1e-8)
    expected = inner.act(by_hand.astype(np.float32), inner.initial_memory(5), None)[0]
    assert shown.act(observations, shown.initial_memory(5), None)[0].tobytes() == expected.tobytes()
    assert (shown.name, shown.spec, shown.initialised) == (inner.name, inner.spec, True)
    assert np.array_equal(shown.theta, inner.theta)


def trainer_of(path, algo_of, env):
    set_seed(1)
    trainer = Trainer(ExperimentContext(str(path)))
    trainer.setup(algo_of(env), env, n_lanes=4, n_groups=2)
    return trainer


def ppo(env):
    policy = (GaussianMLPPolicy if env.spec.action_space.shape else CategoricalMLPPolicy)(env.spec, (8,))
    return Normalised(PPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec), fragments=True))


def trpo(env):
    policy = GaussianMLPPolicy(env.spec, (8,))
    return Normalised(TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec)), clip=2.0)


@pytest.mark.parametrize(
    ("algo_of", "world", "options"),
    [
        (ppo, "Pendulum-v1", {"max_episode_length": 50}),
        (ppo, "MountainCar-v0", {}),
        (trpo, "Pendulum-v1", {"max_episode_length": 50}),
    ],
)
def test_a_restored_run_ends_at_the_same_digests(tmp_path, algo_of, world, options):
    env = GymEnv(world, **options)
    trainer_of(tmp_path / "whole", algo_of, env).train(n_epochs=4, batch_size=90)
    set_process_seed(None)
    trainer_of(tmp_path / "run", algo_of, env).train(n_epochs=2, batch_size=90)
    set_process_seed(None)
    again = Trainer()
    again.restore(tmp_path / "run")
    again.resume(n_epochs=4)
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")
    policies = [load_policy(tmp_path / name) for name in ("run", "whole")]
    observations = 100 * np.ones((2, *env.spec.observation_space.shape), np.float32)
    actions = [policy.act(observations, policy.initial_memory(2), None)[0].tobytes() for policy in policies]
    assert actions[0] == actions[1]


def test_evaluation_is_of_what_the_world_gave(tmp_path):
    env = GymEnv("Pendulum-v1", max_episode_length=50)
    counted = []
    for name, clip in (("tight", 0.1), ("wide", math.inf)):
        trainer_of(tmp_path / name, lambda env, clip=clip: replace_clip(trpo(env), clip), env).train(1, 200)
        set_process_seed(None)
        counted.append(rows(tmp_path / name)[0]["Evaluation/AverageReturn"])
    assert counted[0] == counted[1] < -100


def replace_clip(algo, clip):
    return Normalised(algo.algo, observations=False, clip=clip)


def test_it_pickles_as_its_call_and_every_part_of_its_state_is_needed():
    env = GymEnv("Pendulum-v1", max_episode_length=20)
    algo = trpo(env)
    algo.initialise(Streams(1))
    ran(algo, env, 2)
    state = copied(algo.state_dict())
    again = cloudpickle.loads(cloudpickle.dumps(algo))
    assert again.clip == 2.0
    again.load_state_dict(state)
    assert differences(state, again.state_dict()) == []
    assert set(state) == {"algo", "observations", "returns", "running_returns"}
    for key in state:
        with pytest.raises(MismatchError, match=f"`{key}` is missing"):
            trpo(env).load_state_dict({name: part for name, part in state.items() if name != key})
    with pytest.raises(MismatchError, match="`mean`"):
        trpo(env).load_state_dict({**state, "observations": Statistics.none((9,)).state_dict()})
