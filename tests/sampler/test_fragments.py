"""Fragments: a collect stops in mid-episode, and the next one goes on as if nothing had been."""

import copy
import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.core.ports import Rung
from garage.core.state import differences
from garage.core.types import End, EpisodeBatch
from garage.errors import MismatchError
from garage.sampler import LocalSampler
from sampler.toy_worlds import Ladder, bits, episode_alone, group_of

COLUMNS = ("observations", "actions", "rewards")
LENGTHS = {"short": lambda seed: 1 + seed % 7, "mixed": lambda seed: 1 + seed % 90, "long": lambda _: 700}


def asked(group, call, carried, n_steps):
    return dataclasses.replace(group, call=call, n_steps=n_steps, carried=carried, fragments=True)


def run_calls(group, sizes, sampler_of_call):
    """Results of one call after the other."""
    carried, results = {}, []
    for call, n_steps in enumerate(sizes):
        results.append(sampler_of_call(call).run([asked(group, call, carried, n_steps)])[0])
        carried = results[-1].carried
    return results


def episodes_in(results):
    """The segments of each episode, in the order of the calls, by (call, ordinal) of its start."""
    episodes, cut = {}, []
    for call, result in enumerate(results):
        batch, going_on = result.batch, list(cut)
        n_carried, cut = len(cut), []
        assert np.array_equal(batch.first_steps > 0, np.arange(batch.n_segments) < n_carried)
        for index, rows in enumerate(batch.segments()):
            key = going_on[index] if index < n_carried else (call, index - n_carried)
            episodes.setdefault(key, []).append((batch, index, rows))
            if batch.ends[index] == End.CUT:
                cut.append(key)
    return episodes


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(LENGTHS)),
    st.integers(1, 7),
    st.lists(st.integers(1, 400), min_size=1, max_size=6),
    st.integers(0, 9),
)
def test_segments_join_to_the_episode_run_alone(kind, n_lanes, sizes, seed):
    group = group_of(Ladder(LENGTHS[kind]), n_lanes=n_lanes, seed=seed)
    sampler = LocalSampler()
    results = run_calls(group, sizes, lambda _: sampler)
    for n_steps, result in zip(sizes, results, strict=True):
        assert 0 <= result.batch.n_steps - n_steps < n_lanes
    for (call, ordinal), parts in episodes_in(results).items():
        alone, last, end = episode_alone(dataclasses.replace(group, call=call), ordinal)
        joined = {name: np.concatenate([getattr(batch, name)[rows] for batch, _, rows in parts]) for name in COLUMNS}
        n_steps = len(joined["rewards"])
        assert all(np.array_equal(joined[name], alone[name][:n_steps]) for name in COLUMNS)
        step = 0
        for batch, index, rows in parts:
            assert batch.first_steps[index] == step
            assert np.array_equal(batch.memories[index], alone["memory"][step])
            assert np.array_equal(batch.agent_infos["noise"][rows], alone["noise"][step : step + batch.lengths[index]])
            step += batch.lengths[index]
            if batch.ends[index] == End.CUT:
                assert step == len(alone["observations"]) or np.array_equal(
                    batch.last_observations[index], alone["observations"][step]
                )
        batch, index, _ = parts[-1]
        assert n_steps == len(alone["rewards"]) if batch.ends[index] != End.CUT else n_steps < len(alone["rewards"])
        if batch.ends[index] != End.CUT:
            assert batch.ends[index] == end
            assert np.array_equal(batch.last_observations[index], last)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(sorted(LENGTHS)), st.lists(st.integers(1, 300), min_size=2, max_size=5), st.integers(0, 31))
def test_any_other_sampler_can_go_on(kind, sizes, which):
    """Each call by one of two samplers, which never know where the other one is."""
    group = group_of(Ladder(LENGTHS[kind]), n_lanes=4)
    alone = LocalSampler()
    expected = run_calls(group, sizes, lambda _: alone)
    samplers = [LocalSampler(), LocalSampler()]
    got = run_calls(group, sizes, lambda call: samplers[which >> call & 1])
    assert [bits(result) for result in got] == [bits(result) for result in expected]


def test_what_is_carried_shares_no_memory_and_can_be_run_again():
    group = group_of(Ladder(LENGTHS["mixed"]), n_lanes=4)
    sampler = LocalSampler()
    first = sampler.run([asked(group, 0, {}, 50)])[0]
    kept = copy.deepcopy(first.carried)
    second = sampler.run([asked(group, 1, first.carried, 50)])[0]
    assert differences(first.carried, kept) == []
    assert bits(sampler.run([asked(group, 1, first.carried, 50)])[0]) == bits(second)
    assert bits(sampler.run([asked(group, 1, kept, 50)])[0]) == bits(second)


def test_lanes_that_were_left_alone_are_not_brought_back():
    env = Ladder(LENGTHS["long"])
    sampler, group = LocalSampler(), group_of(env, n_lanes=3)
    first = sampler.run([asked(group, 0, {}, 30)])[0]
    sampler.run([group_of(env, n_lanes=3, n_episodes=4)])
    sampler.run([asked(group, 1, first.carried, 30)])
    assert [call for lanes in env.made for call, _, _ in lanes.journal].count("restore") == 0
    assert len(env.made) == 2


def test_a_world_that_is_one_instance_is_brought_back_when_others_have_used_it():
    env = Ladder(LENGTHS["long"])
    env.lane_width = 1
    group = group_of(env, n_lanes=1)
    alone, sampler = LocalSampler(), LocalSampler()
    expected = run_calls(group, [30, 30], lambda _: alone)[1]
    env.made.clear()
    first = sampler.run([asked(group, 0, {}, 30)])[0]
    sampler.run([group_of(env, n_lanes=1, n_episodes=2)])
    assert bits(sampler.run([asked(group, 1, first.carried, 30)])[0]) == bits(expected)
    assert len(env.made) == 1
    assert [call for call, _, _ in env.made[0].journal].count("restore") == 1


def test_a_world_that_cannot_be_cut_finishes_its_episodes():
    env = Ladder(LENGTHS["mixed"])
    env.rung = Rung.CUT
    group = group_of(env, n_lanes=4, mean_length=45.0)
    result = LocalSampler().run([asked(group, 0, {}, 200)])[0]
    assert result.carried == {}
    assert result.batch.episode_ended.all()
    assert bits(result) == bits(LocalSampler().run([dataclasses.replace(group, n_steps=200)])[0])


def test_a_world_that_comes_back_elsewhere_is_named():
    group = group_of(Ladder(LENGTHS["long"]), n_lanes=3)
    carried = copy.deepcopy(LocalSampler().run([asked(group, 0, {}, 30)])[0].carried)
    carried["world"]["arrays"]["state"][1, 0] += 0.5
    said = (
        r"lane 1 of Ladder\(\): 10 steps after its start, brought back by arrays, it is at .*, and was at .*check-env"
    )
    with pytest.raises(MismatchError, match=said):
        LocalSampler().run([asked(group, 1, carried, 30)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": np.array([1, 2, 0])}, "steps of at least 1"),
        ({"steps": np.array([1, 2])}, "`steps` is int64[2], expected int64[3]"),
        ({"lanes": np.array([0, 1, 3])}, "episodes in lanes [0, 1, 3] of Ladder(): there are 3 lanes"),
        ({"world": {"wings": {}}}, "got ['wings']"),
        ({"world": {"arrays": {}, "replay": {}}}, "got ['arrays', 'replay']"),
        ({"world": {}}, "got []"),
        ({"memory": np.zeros((2, 2))}, "[3, 2]"),
    ],
    ids=str,
)
def test_what_no_group_can_have_carried_is_refused(change, said):
    group = group_of(Ladder(LENGTHS["long"]), n_lanes=3)
    carried = LocalSampler().run([asked(group, 0, {}, 30)])[0].carried | change
    with pytest.raises(MismatchError, match=re.escape(said)):
        LocalSampler().run([asked(group, 1, carried, 30)])


def test_values_are_bootstrapped_from_what_follows_a_cut():
    group = group_of(Ladder(LENGTHS["long"]), n_lanes=3)
    sampler = LocalSampler()
    first, second = run_calls(group, [30, 30], lambda _: sampler)
    after = first.batch.after()
    assert np.array_equal(after.observations, second.batch.observations[second.batch.starts])
    assert np.array_equal(after.first_steps, second.batch.first_steps)
    assert EpisodeBatch.concatenate([first.batch, second.batch]).n_steps == 60
