"""The collector: how much is collected, by how many lanes, and what is counted."""

import math
import re

import numpy as np
import pytest

from experiment.parts import Scripted, Still, Walk
from garage.core.state import differences, flatten, rebuild
from garage.core.streams import Streams
from garage.core.types import End
from garage.envs import GymEnv
from garage.errors import ArgumentError, MismatchError
from garage.experiment.collector import Collector
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.sampler import LocalSampler

MOST = 1.15
LENGTHS = {
    "always the same": lambda mean: lambda rng: mean,
    "uniform": lambda mean: lambda rng: int(rng.integers(mean // 2, mean + mean // 2 + 1)),
    "normal": lambda mean: lambda rng: int(rng.normal(mean, mean / 3)),
    "mostly up to a limit": lambda mean: lambda rng: mean if rng.random() < 0.8 else int(rng.integers(1, mean)),
}
HEAVY_TAILS = {
    "geometric": lambda mean: lambda rng: int(rng.geometric(1 / mean)),
    "mostly short": lambda mean: lambda rng: mean // 4 if rng.random() < 0.75 else mean * 13 // 4,
}


def collector_of(env, *, discount=0.9, n_lanes=None, n_groups=None):
    return Collector(env, LocalSampler(), discount, n_lanes=n_lanes, n_groups=n_groups)


def epochs(collector, policy, batch_size, n, seed=1):
    """The steps of n epochs."""
    steps = []
    for epoch in range(n):
        before = collector.total_env_steps
        collector.begin_epoch(epoch, Streams(seed), batch_size)
        collector(policy)
        collector.end_epoch()
        steps.append(collector.total_env_steps - before)
    return np.array(steps)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("mean", [20, 200, 500])
@pytest.mark.parametrize("lane_width", [8, 64])
def test_about_a_batch_is_collected(lengths, mean, lane_width):
    env = Scripted(LENGTHS[lengths](mean), lane_width, 4 * mean)
    batch_size = 4000
    steps = epochs(collector_of(env), Still(env.spec), batch_size, 9)
    assert steps.min() >= batch_size
    assert steps[1:].mean() <= MOST * batch_size


@pytest.mark.parametrize("lengths", HEAVY_TAILS)
@pytest.mark.parametrize("mean", [20, 200, 500])
def test_where_some_episodes_are_much_longer_than_the_mean_more_is_collected(lengths, mean):
    # A start is never taken back, and the short episodes end first; so the long ones come on top.
    env = Scripted(HEAVY_TAILS[lengths](mean), 64, 4 * mean)
    steps = epochs(collector_of(env), Still(env.spec), 4000, 9)
    assert steps.min() >= 4000
    assert steps[1:].mean() <= 2 * 4000


@pytest.mark.parametrize(("scale", "low", "high"), [(0.0, 15, 30), (1.6, 100, 320), (30.0, 400, 500)])
def test_about_a_batch_is_collected_in_cartpole(scale, low, high):
    env = GymEnv("CartPole-v1")
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=())
    # Pushing to the side to which the pole leans and falls, the more surely the larger the weights.
    weights = np.array([[0.05, 0.1, 1.0, 1.0]]).T @ np.array([[-1.0, 1.0]])
    policy.theta = np.concatenate([(scale * weights).ravel(), [0.0, 0.0]])
    collector = collector_of(env)
    batch_size = 4000
    steps = epochs(collector, policy, batch_size, 5)
    assert low <= collector._mean_lengths["train"] <= high
    assert steps[1:].mean() <= MOST * batch_size
    assert steps.min() >= batch_size


@pytest.mark.parametrize(
    ("env", "batch_size", "n_lanes", "n_groups"),
    [
        (Scripted(lambda rng: 5, 64, 500), 4000, 64, 1),
        (Scripted(lambda rng: 5, 64, 20), 4000, 64, 3),
        (Scripted(lambda rng: 5, 64, None), 400_000, 64, 6),
        (Scripted(lambda rng: 5, 8, 5), 400_000, 8, 16),
        (Scripted(lambda rng: 5, 64, 500), 1000, 16, 1),
        (Scripted(lambda rng: 5, 64, 500), 1, 1, 1),
        (Scripted(lambda rng: 5, 1, 5), 4000, 1, 1),
    ],
)
def test_shapes_follow_from_world_and_batch_size(env, batch_size, n_lanes, n_groups):
    collector = collector_of(env)
    collector.begin_epoch(0, Streams(1), batch_size)
    state = collector.sampler_state()
    assert (state["n_lanes"], state["n_groups"]) == (n_lanes, n_groups)
    collector.begin_epoch(1, Streams(1), batch_size * 7)
    assert collector.sampler_state() == state


def test_shapes_that_are_asked_for_hold():
    env = Scripted(lambda rng: 5)
    collector = collector_of(env, n_lanes=3, n_groups=2)
    epochs(collector, Still(env.spec), 60, 1)
    assert (collector.sampler_state()["n_lanes"], collector.sampler_state()["n_groups"]) == (3, 2)


def test_what_is_counted():
    env = Scripted(lambda rng: int(rng.integers(1, 9)), 4)
    collector = collector_of(env, discount=0.5)
    collector.begin_epoch(3, Streams(1), 100)
    batch = collector(Still(env.spec))
    other = collector(Still(env.spec), n_episodes=2)
    collector.end_epoch()
    lengths = np.concatenate([batch.lengths, other.lengths])
    metrics = collector.metrics()
    seconds = {key: metrics.pop(key) for key in ("EnvExecTime", "PolicyExecTime", "ProcessExecTime")}
    assert all(value > 0 for value in seconds.values())
    assert metrics == pytest.approx(
        {
            "Evaluation/Iteration": 3,
            "Evaluation/NumEpisodes": len(lengths),
            "Evaluation/AverageReturn": lengths.mean(),
            "Evaluation/StdReturn": lengths.std(),
            "Evaluation/MaxReturn": lengths.max(),
            "Evaluation/MinReturn": lengths.min(),
            "Evaluation/AverageDiscountedReturn": np.mean(2 - 0.5 ** (lengths - 1.0)),
            "Evaluation/TerminationRate": 1.0,
            "Extras/EpisodeRewardMean": lengths[-100:].mean(),
            "TotalEnvSteps": lengths.sum(),
        }
    )
    assert other.n_segments == 2
    assert collector.last_batch.n_segments == len(lengths)
    assert collector.sampler_state()["mean_lengths"] == {"train": lengths.mean()}


def test_the_mean_of_the_last_hundred_episodes_goes_over_epochs():
    env = Scripted(lambda rng: int(rng.integers(1, 50)), 4)
    collector = collector_of(env)
    lengths = []
    for epoch in range(8):
        collector.begin_epoch(epoch, Streams(1), 600)
        lengths += collector(Still(env.spec)).lengths.tolist()
        collector.end_epoch()
        assert collector.metrics()["Extras/EpisodeRewardMean"] == pytest.approx(np.mean(lengths[-100:]))
    assert len(lengths) > 150
    assert collector.counters_state()["total_episodes"] == len(lengths)
    assert len(collector.counters_state()["recent_returns"]) == 100


def test_an_epoch_without_training_episodes_has_nan():
    env = Scripted(lambda rng: 5)
    collector = collector_of(env)
    collector.begin_epoch(0, Streams(1), 100)
    evaluated = collector(Still(env.spec), purpose="evaluation", n_episodes=3)
    collector.end_epoch()
    metrics = collector.metrics()
    assert evaluated.n_segments == 3
    assert metrics["Evaluation/NumEpisodes"] == metrics["TotalEnvSteps"] == 0
    assert math.isnan(metrics["Evaluation/AverageReturn"])
    assert math.isnan(metrics["Extras/EpisodeRewardMean"])
    assert collector.last_batch is None
    assert collector.sampler_state()["mean_lengths"] == {"evaluation": 5.0}


def test_calls_and_purposes_and_epochs_have_episodes_of_their_own():
    env = Scripted(lambda rng: 5)
    seen = []
    for seed in (1, 1, 2):
        collector = collector_of(env)
        worlds = []
        for epoch in range(2):
            collector.begin_epoch(epoch, Streams(seed), 100)
            for purpose in ("train", "train", "evaluation"):
                batch = collector(Still(env.spec), n_episodes=4, purpose=purpose)
                worlds += batch.observations[batch.starts, 0].tolist()
        assert len(set(worlds)) == len(worlds) == 24
        seen.append(worlds)
    assert seen[0] == seen[1]
    assert not set(seen[0]) & set(seen[2])


def test_another_world_and_the_number_of_steps_can_be_chosen():
    env, other = Scripted(lambda rng: 5), Scripted(lambda rng: 3, lane_width=1)
    collector = collector_of(env, n_lanes=2)
    collector.begin_epoch(0, Streams(1), 100)
    assert collector(Still(env.spec), n_steps=20).n_steps >= 20
    batch = collector(Still(env.spec), env=other, n_steps=7, purpose="evaluation")
    assert set(batch.lengths.tolist()) == {3}
    assert batch.n_steps == 9
    assert set(batch.ends.tolist()) == {End.TERMINATED}


def test_fewer_episodes_than_groups():
    env = Scripted(lambda rng: 5)
    collector = collector_of(env, n_lanes=2, n_groups=4)
    collector.begin_epoch(0, Streams(1), 100)
    assert collector(Still(env.spec), n_episodes=3).n_segments == 3
    assert collector(Still(env.spec), n_steps=1).n_segments == 2  # one a lane, for no length is known yet


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_steps": 0}, "collect's n_steps must be at least 1, got 0"),
        ({"n_episodes": -1}, "collect's n_episodes must be at least 1, got -1"),
        ({"n_steps": 3, "n_episodes": 4}, "collect takes n_steps or n_episodes, got both: 3 and 4"),
        ({"fragments": True, "n_episodes": 4}, "fragments=True) takes no env and no n_episodes"),
        ({"fragments": True, "env": Scripted(lambda rng: 5)}, "fragments=True) takes no env and no n_episodes"),
    ],
)
def test_what_collect_refuses(options, said):
    env = Scripted(lambda rng: 5)
    collector = collector_of(env)
    collector.begin_epoch(0, Streams(1), 100)
    with pytest.raises(ArgumentError, match=re.escape(said)):
        collector(Still(env.spec), **options)


def test_collect_belongs_to_an_epoch():
    env = Scripted(lambda rng: 5)
    with pytest.raises(ArgumentError, match=r"collect belongs to an epoch: it is called by algo\.epoch"):
        collector_of(env)(Still(env.spec))


@pytest.mark.parametrize("part", ["n_lanes", "n_groups", "mean_lengths", "carried"])
def test_a_state_without_a_part_is_refused(part):
    collector = collector_of(GymEnv(Walk))
    state = collector.sampler_state()
    del state[part]
    with pytest.raises(MismatchError, match=f"state of the sampler: `{part}` is missing"):
        collector.load_state(state, collector.counters_state())


def collected(collector, policy, epochs, *, batch_size=100, seed=1):
    """Batches of fragments, one an epoch, and each epoch's metrics without seconds."""
    batches, metrics = [], []
    for epoch in epochs:
        collector.begin_epoch(epoch, Streams(seed), batch_size)
        batches.append(collector(policy, fragments=True))
        collector.end_epoch()
        metrics.append({key: value for key, value in collector.metrics().items() if not key.endswith("Time")})
    return batches, metrics


def test_an_episode_in_fragments_counts_once_when_it_ends():
    env = Scripted(lambda rng: int(rng.integers(20, 90)), 4)
    collector = collector_of(env, discount=0.5, n_lanes=4, n_groups=2)
    batches, metrics = collected(collector, Still(env.spec), range(12))
    assert [batch.n_steps for batch in batches] == [104] * 12  # 50 and 50, each rounded up to its four lanes
    assert [row["TotalEnvSteps"] for row in metrics] == [104 * (epoch + 1) for epoch in range(12)]
    for batch, row in zip(batches, metrics, strict=True):
        lengths = (batch.first_steps + batch.lengths)[batch.ends != End.CUT]
        assert row["Evaluation/NumEpisodes"] == len(lengths)
        if len(lengths):
            assert row["Evaluation/MaxReturn"] == lengths.max()
            assert row["Evaluation/AverageReturn"] == pytest.approx(lengths.mean())
            assert row["Evaluation/AverageDiscountedReturn"] == pytest.approx(np.mean(2 - 0.5 ** (lengths - 1.0)))
            assert row["Evaluation/TerminationRate"] == 1.0
    assert math.isnan(metrics[0]["Evaluation/AverageReturn"])  # none ends within 13 steps
    assert sum(row["Evaluation/NumEpisodes"] for row in metrics) > 10
    ended = [(batch.first_steps + batch.lengths)[batch.episode_ended] for batch in batches]
    last = max(epoch for epoch, lengths in enumerate(ended) if len(lengths))
    assert collector.sampler_state()["mean_lengths"] == {"train": ended[last].mean()}
    assert collector.counters_state()["total_episodes"] == sum(map(len, ended))


def test_whole_episodes_between_fragments_leave_them_alone():
    env = Scripted(lambda rng: int(rng.integers(20, 90)), 4)
    policy = Still(env.spec)
    collector = collector_of(env, n_lanes=4, n_groups=2)
    expected, _ = collected(collector_of(env, n_lanes=4, n_groups=2), policy, range(6))
    for epoch in range(6):
        collector.begin_epoch(epoch, Streams(1), 100)
        batch = collector(policy, fragments=True)
        collector(policy, purpose="evaluation", n_episodes=7)
        collector(policy, fragments=True, purpose="other", n_steps=30)
        collector(policy, n_episodes=2)
        assert np.array_equal(batch.observations, expected[epoch].observations)
        assert np.array_equal(batch.first_steps, expected[epoch].first_steps)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "a user's"])
@pytest.mark.parametrize("cut_at", [1, 3])
def test_fragments_go_on_from_a_state_as_if_nothing_had_been(env, cut_at, caplog):
    env = GymEnv(Walk) if env == "a user's" else GymEnv(env)
    policy = (CategoricalMLPPolicy if env.spec.action_space.shape == () else GaussianMLPPolicy)(env.spec)
    policy.initialise(Streams(1).generator("policy"))
    options = {"n_lanes": 4, "n_groups": 2}
    batches, metrics = collected(collector_of(env, **options), policy, range(6), batch_size=104)
    first = collector_of(env, **options)
    collected(first, policy, range(cut_at), batch_size=104)
    with caplog.at_level("INFO"):
        state = rebuild(flatten({"sampler": first.sampler_state(), "counters": first.counters_state()}))
        first.sampler_state()
    rung = "replay" if "Walk" in str(env) else "arrays"
    assert [message for message in caplog.messages if rung in message] == [
        f"Episodes are cut between epochs; in another process they go on by {rung}"
    ]
    resumed = collector_of(env)
    resumed.load_state(state["sampler"], state["counters"])
    assert differences(resumed.sampler_state(), first.sampler_state()) == []
    later, rows = collected(resumed, policy, range(cut_at, 6), batch_size=104)
    assert [repr(row) for row in rows] == [repr(row) for row in metrics[cut_at:]]
    for got, expected in zip(later, batches[cut_at:], strict=True):
        for column in ("observations", "actions", "rewards", "first_steps", "lengths", "ends", "last_observations"):
            assert getattr(got, column).tobytes() == getattr(expected, column).tobytes()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"train": 3}, "`train` is a int, expected dict"),
        ({"train": {"one": {}}}, "`train/one` is no index of a group"),
        ({"train": {"0": {}}}, "`lanes` is missing"),
        ({"train": {"0": {"lanes": {"lanes": np.zeros(2)}}}}, "`world` is missing"),
        ({"train": {"0": {"lanes": {"lanes": np.zeros(2), "world": {}}, "returns": np.zeros(3)}}}, "float64[2]"),
    ],
    ids=str,
)
def test_cut_episodes_that_cannot_be_are_refused(broken, said):
    collector = collector_of(GymEnv(Walk))
    with pytest.raises(MismatchError, match=re.escape(said)):
        collector.load_state(collector.sampler_state() | {"carried": broken}, collector.counters_state())
