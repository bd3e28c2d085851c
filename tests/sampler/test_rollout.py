"""How a group runs: when episodes start, what the policy sees, and what comes back."""

import dataclasses
import re

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.core.types import EnvSpec, Transition
from garage.errors import MismatchError, NonFiniteError, UnseededWorldError, WorldRaisedError
from garage.sampler.noise_ahead import NOISE_BLOCK_STEPS
from garage.sampler.rollout import run_group
from sampler.toy_worlds import Ladder, Noise, Rows, bits, episode_alone, group_of, streams_of

LENGTHS = {
    "one step": lambda _: 1,
    "short": lambda seed: 1 + seed % 7,
    "equal": lambda _: 9,
    "mixed": lambda seed: 1 + seed % 40,
}


def run(group):
    return run_group(group, group.env.make_lanes(group.n_lanes))


def check_episodes(group, batch):
    """Every row is that of its episode run alone."""
    for index, rows in enumerate(batch.segments()):
        alone, last, end = episode_alone(group, index)
        assert np.array_equal(batch.observations[rows], alone["observations"])
        assert np.array_equal(batch.actions[rows], alone["actions"])
        assert np.array_equal(batch.rewards[rows], alone["rewards"])
        assert np.array_equal(batch.last_observations[index], last)
        assert np.array_equal(batch.memories[index], group.policy.initial_memory(1)[0])
        assert np.array_equal(batch.env_infos["age"][rows], np.arange(1, batch.lengths[index] + 1))
        assert all(np.array_equal(batch.agent_infos[key][rows], alone[key]) for key in ("noise", "memory", "after"))
        assert batch.ends[index] == end


EPISODES = st.fixed_dictionaries({"n_episodes": st.integers(1, 20)})
STEPS = st.fixed_dictionaries({"n_steps": st.integers(1, 150), "mean_length": st.floats(0, 60)})


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(LENGTHS)), st.integers(1, 9), EPISODES | STEPS, st.integers(0, 9))
def test_rows_are_those_of_each_episode_run_alone(kind, n_lanes, size, seed):
    group = group_of(Ladder(LENGTHS[kind]), n_lanes=n_lanes, seed=seed, **size)
    result = run(group)
    check_episodes(group, result.batch)
    assert not result.batch.first_steps.any()
    assert result.batch.episode_ended.all()
    assert group.policy.widths == {n_lanes, 1}  # 1 by the check alone


@pytest.mark.parametrize("n_lanes", [1, 2, 5])
@pytest.mark.parametrize("length", [255, 256, 257, 512, 600])
def test_noise_beyond_a_block_is_of_the_next_block(n_lanes, length):
    group = group_of(Ladder(lambda seed: length if seed % 3 else 100), n_lanes=n_lanes, n_episodes=7)
    batch = run(group).batch
    assert length in batch.lengths
    check_episodes(group, batch)
    rows = next(rows for index, rows in enumerate(batch.segments()) if batch.lengths[index] == length)
    noise = batch.agent_infos["noise"][rows].ravel()
    assert len(set(noise.tolist())) == length


@pytest.mark.parametrize(("length", "n_episodes"), [(1, 516), (2, 258), (128, 5), (256, 3)])
def test_episodes_that_start_when_the_clock_has_run_through_a_block_have_noise_of_their_own(length, n_episodes):
    group = group_of(Ladder(lambda _: length), n_lanes=1, n_episodes=n_episodes)
    check_episodes(group, run(group).batch)


@pytest.mark.parametrize("n_lanes", [1, 3, 5, 6, 7, 40])
def test_logs_are_the_same_however_many_lanes_are_idle(n_lanes):
    """Rows of idle lanes are kept while at most half of them are; here they are many, few and none."""
    group = group_of(Ladder(LENGTHS["mixed"]), n_lanes=n_lanes, n_episodes=6)
    check_episodes(group, run(group).batch)


def test_a_policy_may_hand_on_what_it_was_given():
    """Noise as actions and observations as infos: neither may change after the step."""
    group = group_of(Ladder(lambda seed: 300 + seed % 400), n_lanes=3, n_episodes=6, policy=Noise(Ladder().spec))
    batch = run(group).batch
    assert np.array_equal(batch.agent_infos["seen"], batch.observations)
    for index, rows in enumerate(batch.segments()):
        blocks = [group.policy.draw_noise(streams_of(group).generator(index, block), 256) for block in range(3)]
        assert np.array_equal(batch.actions[rows], np.concatenate(blocks)[: batch.lengths[index]])


def journal_of(group):
    lanes = group.env.make_lanes(group.n_lanes)
    batch = run_group(group, lanes).batch
    return lanes.journal, batch


def replayed(group, journal):
    """For each moment at which lanes could start: steps taken, lanes in flight, and how many started."""
    running, n_steps, moments = {}, 0, []
    for call, lanes, seeds in journal:
        if call == "reset":
            before = n_steps, len(running)
            running |= {lane: group.env.length_of(seed) for lane, seed in zip(lanes, seeds, strict=True)}
            moments.append((*before, len(lanes)))
        else:
            assert lanes == sorted(running)
            n_steps += len(lanes)
            running = {lane: left - 1 for lane, left in running.items() if left > 1}
            moments.append((n_steps, len(running), 0))
    assert not running
    return moments


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(LENGTHS)), st.integers(1, 9), STEPS, st.integers(0, 9))
def test_an_episode_starts_only_and_always_while_the_quota_is_open(kind, n_lanes, size, seed):
    group = group_of(Ladder(LENGTHS[kind]), n_lanes=n_lanes, seed=seed, **size)
    quota, mean_length = group.n_steps, group.mean_length
    journal, batch = journal_of(group)
    moments = replayed(group, journal)
    for n_steps, in_flight, n_started in moments:
        for index in range(n_started):
            assert n_steps + (in_flight + index) * mean_length < quota
    for (n_steps, in_flight, n_started), following in zip(moments, [*moments[1:], (0, 0, 0)], strict=True):
        at_rest = not following[2]  # nothing is started before the next step
        if at_rest and in_flight + n_started < n_lanes:
            assert n_steps + (in_flight + n_started) * mean_length >= quota
    longest = int(batch.lengths.max())
    assert quota <= batch.n_steps or mean_length > batch.lengths.min()
    assert batch.n_steps < quota + n_lanes * longest


@pytest.mark.parametrize("n_lanes", [1, 4, 16])
@pytest.mark.parametrize("quota", [1, 9, 10, 100, 1000])
def test_where_lengths_are_as_expected_the_overshoot_is_less_than_an_episode(n_lanes, quota):
    group = group_of(Ladder(lambda _: 9), n_lanes=n_lanes, n_steps=quota, mean_length=9.0)
    assert quota <= run(group).batch.n_steps < quota + 9


def test_without_a_known_length_all_lanes_start():
    journal, _ = journal_of(group_of(Ladder(lambda _: 9), n_lanes=8, n_steps=5))
    assert journal[0][:2] == ("reset", list(range(8)))


@pytest.mark.parametrize("n_lanes", [1, 3, 8])
@pytest.mark.parametrize("n_episodes", [1, 2, 8, 9, 30])
def test_the_number_of_episodes_is_exact(n_lanes, n_episodes):
    journal, batch = journal_of(group_of(Ladder(), n_lanes=n_lanes, n_episodes=n_episodes))
    assert batch.n_segments == n_episodes
    assert sum(len(lanes) for call, lanes, _ in journal if call == "reset") == n_episodes
    assert len(journal[0][1]) == min(n_lanes, n_episodes)


def test_lanes_that_end_together_are_refilled_in_lane_order():
    group = group_of(Ladder(lambda _: 4), n_lanes=5, n_episodes=13)
    journal, _ = journal_of(group)
    resets = [(lanes, seeds) for call, lanes, seeds in journal if call == "reset"]
    assert [lanes for lanes, _ in resets] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2]]
    expected = [streams_of(group).world_seed(index) for index in range(13)]
    assert [seed for _, seeds in resets for seed in seeds] == expected


def test_the_batch_is_in_the_order_of_starts():
    group = group_of(Ladder(LENGTHS["mixed"]), n_lanes=4, n_episodes=25)
    journal, batch = journal_of(group)
    seeds = [seed for call, _, seeds in journal if call == "reset" for seed in seeds]
    assert batch.observations[batch.starts, 0].tolist() == [seed / 2**31 for seed in seeds]
    assert batch.lengths.tolist() == [group.env.length_of(seed) for seed in seeds]


def test_seeds_of_episodes_differ_within_and_between_groups():
    seeds = []
    for index in range(3):
        journal, _ = journal_of(group_of(Ladder(), n_episodes=40, index=index))
        seeds += [seed for call, _, seeds in journal if call == "reset" for seed in seeds]
    assert len(set(seeds)) == 120
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("size", [{"n_episodes": 20}, {"n_steps": 300, "mean_length": 20.0}])
def test_the_same_group_gives_the_same_bits_again(size):
    env = Ladder(LENGTHS["mixed"])
    lanes = env.make_lanes(4)
    first = bits(run_group(group_of(env, **size), lanes))
    assert bits(run_group(group_of(env, **size), lanes)) == first
    assert bits(run(group_of(Ladder(LENGTHS["mixed"]), **size))) == first
    assert bits(run(group_of(env, **size, index=1))) != first
    assert bits(run(group_of(env, **size, seed=2))) != first


@pytest.mark.parametrize("n_lanes", [4, 7, 32])
def test_idle_lanes_influence_nothing(n_lanes):
    env = Ladder(LENGTHS["mixed"])
    assert bits(run(group_of(env, n_lanes=n_lanes, n_episodes=3))) == bits(run(group_of(env, n_lanes=3, n_episodes=3)))


def test_the_width_changes_no_row_of_such_a_policy():
    results = [bits(run(group_of(Ladder(LENGTHS["mixed"]), n_lanes=n, n_episodes=30))) for n in (1, 2, 5, 30)]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("n_lanes", [1, 3, 6])
def test_lanes_may_hand_out_their_own_arrays_if_they_never_modify_them(n_lanes):
    """And nobody else may: here they are read-only."""
    results = [
        bits(run(group_of(Ladder(LENGTHS["mixed"], aliasing=aliasing), n_lanes=n_lanes, n_episodes=20)))
        for aliasing in (False, True)
    ]
    assert results[0] == results[1]


def test_columns_keep_their_dtypes():
    batch = run(group_of(Ladder(), n_episodes=3)).batch
    assert batch.lengths.dtype == batch.first_steps.dtype == np.int64
    assert batch.ends.dtype == np.int8
    assert batch.rewards.dtype == batch.observations.dtype == np.float64
    assert batch.memories.shape == (3, 2)


@pytest.mark.parametrize("n_lanes", [4, 9])
def test_beside_idle_lanes_observations_keep_the_dtype_of_their_space(n_lanes):
    env = Ladder()
    env.spec = EnvSpec(spaces.Box(-np.inf, np.inf, (2,), np.float32), env.spec.action_space)
    batch = run(group_of(env, n_lanes=n_lanes, n_episodes=3)).batch
    assert batch.observations.dtype == np.float32
    expected = np.concatenate([np.arange(length) for length in batch.lengths])
    assert np.array_equal(batch.observations[:, 1], expected)


def test_nothing_is_carried_over_whole_episodes_and_seconds_are_counted():
    result = run(group_of(Ladder(), n_episodes=3))
    assert result.carried == {}
    assert set(result.seconds) == {"env", "policy", "process"}
    assert all(seconds >= 0 for seconds in result.seconds.values())


class Dice:
    """Observations that are integers, one step an episode, and no infos."""

    lane_width = 8
    spec = EnvSpec(spaces.Discrete(6), spaces.Discrete(2))
    n = 3

    def make_lanes(self, n):
        assert n == self.n
        return self

    def reset(self, lanes, seeds):
        return np.array([seed % 6 for seed in seeds])

    def step(self, lanes, actions):
        k = len(lanes)
        return Transition(np.full(k, 5), np.ones(k), np.ones(k, bool), np.zeros(k, bool))


class Guess(Rows):
    def initial_memory(self, n):
        return np.zeros((n, 0), np.float32)

    def draw_noise(self, generator, n_steps):
        return np.zeros((n_steps, 0))

    def act(self, observations, memory, noise):
        assert noise.shape == (3, 0)
        return observations % 2, memory, {}


def test_observations_may_be_integers_and_noise_and_infos_none():
    group = group_of(Dice(), n_lanes=3, n_episodes=8, policy=Guess(Dice.spec))
    batch = run(group).batch
    assert batch.observations.tolist() == [streams_of(group).world_seed(index) % 6 for index in range(8)]
    assert batch.actions.tolist() == (batch.observations % 2).tolist()
    assert batch.observations.dtype == np.int64
    assert batch.memories.shape == (8, 0)
    assert batch.env_infos == batch.agent_infos == {}


FAULTY = 5
"""The episode in which something goes wrong: one that starts in mid-batch."""


def faulty(kind, step, value, length=8):
    """A group in which one episode goes wrong, and that episode's seed."""
    seed = streams_of(group_of(Ladder())).world_seed(FAULTY)
    env = Ladder(lambda _: length, {(seed, step, kind): value})
    return group_of(env, n_lanes=3, n_episodes=9), seed


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("kind", "step"), [("observation", 0), ("observation", 4), ("reward", 0), ("reward", 7)])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_number_that_is_not_finite_is_an_error_naming_env_step_and_seed(kind, step, number):
    group, seed = faulty(kind, step, number)
    pattern = rf"The environment Ladder\(\) returned .*{re.escape(repr(np.float64(number))[11:-1])}.* as {kind} "
    with pytest.raises(NonFiniteError, match=pattern + f"at step {step} of the episode with the seed {seed};"):
        run(group)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_the_last_observation_counts_too():
    group, seed = faulty("observation", 8, np.nan)
    with pytest.raises(NonFiniteError, match=f"as observation at step 8 of the episode with the seed {seed};"):
        run(group)


def test_an_error_in_reset_names_env_step_and_seed():
    cause = ZeroDivisionError("the wheel came off")
    group, seed = faulty("raise", "reset", cause)
    with pytest.raises(WorldRaisedError) as caught:
        run(group)
    assert caught.value.__cause__ is cause
    seeds = [streams_of(group).world_seed(index) for index in (3, 4, 5)]  # these three started together
    assert seed in seeds
    expected = ", ".join(f"0 of seed {seed}" for seed in seeds)
    message = str(caught.value)
    assert "Ladder() raised in `reset`: ZeroDivisionError: the wheel came off. It was at one of these" in message
    assert f"steps of episodes: {expected}." in message


def test_an_error_in_step_names_env_step_and_seed():
    cause = ZeroDivisionError("the wheel came off")
    group, seed = faulty("raise", 4, cause)
    with pytest.raises(WorldRaisedError) as caught:
        run(group)
    assert caught.value.__cause__ is cause
    assert "Ladder() raised in `step`: " in str(caught.value)
    assert f"4 of seed {seed}" in str(caught.value)


def test_steps_are_counted_in_each_episode():
    seed = streams_of(group_of(Ladder())).world_seed(FAULTY)
    env = Ladder(lambda seed: 3 + seed % 5, {(seed, 2, "raise"): KeyError("x")})
    group = group_of(env, n_lanes=3, n_episodes=9)
    with pytest.raises(WorldRaisedError, match=rf"\b2 of seed {seed}\b"):
        run(group)


def test_an_error_after_a_nan_says_so():
    group, seed = faulty("observation", 3, np.nan)
    group.env.faults[seed, 3, "raise"] = ValueError("nan")
    with pytest.raises(
        WorldRaisedError, match="after it had returned NaN or infinity as an observation: ValueError: nan"
    ):
        run(group)


@pytest.mark.parametrize("step", ["reset", 4])
def test_errors_of_ours_are_passed_on_as_they_are(step):
    cause = UnseededWorldError("as it is")
    group, _ = faulty("raise", step, cause)
    with pytest.raises(UnseededWorldError) as caught:
        run(group)
    assert caught.value is cause


class Forgetful(Rows):
    def act(self, observations, memory, noise):
        actions, memory, infos = super().act(observations, memory, noise)
        return actions, memory, infos if observations[0, 1] % 2 else {}


def test_an_info_that_comes_at_some_steps_only_is_refused_by_name():
    group = group_of(Ladder(lambda _: 4), n_episodes=4, policy=Forgetful(Ladder().spec))
    with pytest.raises(MismatchError, match=r"info `memory` of Ladder\(\) and `rows`: it came at 2 of 4 steps"):
        run(group)


def test_a_fault_elsewhere_changes_nothing():
    group, _ = faulty("observation", 100, np.nan)
    assert bits(run(group)) == bits(run(dataclasses.replace(group, env=Ladder(lambda _: 8))))


def test_the_block_is_a_constant_of_the_format():
    assert NOISE_BLOCK_STEPS == 256
