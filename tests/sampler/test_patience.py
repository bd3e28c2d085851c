"""What is said when a collect takes far more steps than were asked for."""

import logging

import pytest

from garage.envs import GymEnv
from garage.np.policies import CategoricalMLPPolicy
from garage.sampler.rollout import run_group
from sampler.test_compiled_rollout import Plain
from sampler.toy_worlds import Ladder, group_of


def said(caplog, group):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        batch = run_group(group, group.env.make_lanes(group.n_lanes)).batch
    return batch.n_steps, [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("is_compiled", [True, False])
def test_whole_first_episodes_in_all_lanes_are_told_once(caplog, is_compiled):
    env = GymEnv("Acrobot-v1")
    policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))
    group = group_of(env, policy=policy, n_lanes=32, n_steps=1200)
    policy.initialise(group.streams.generator("policy"))
    if not is_compiled:
        group = group_of(env, policy=Plain(policy), n_lanes=32, n_steps=1200)
    n_steps, lines = said(caplog, group)
    assert n_steps > 4 * 1200
    assert len(lines) == 1
    assert "steps so far, for 1,200 that were asked for: 32 lanes play a whole episode each" in lines[0]
    assert "n_lanes=" in lines[0]
    assert "fragments=True" in lines[0]


@pytest.mark.parametrize("size", [{"n_steps": 3000}, {"n_steps": 800, "mean_length": 300.0}, {"n_episodes": 40}])
def test_what_was_asked_for_needs_no_word(caplog, size):
    assert said(caplog, group_of(Ladder(lambda _: 300), n_lanes=8, **size))[1] == []


def test_a_world_without_a_time_limit_is_named_while_it_goes_on(caplog):
    group = group_of(Ladder(lambda _: 9000), n_lanes=2, n_steps=100)
    assert group.env.spec.max_episode_length is None
    _, (first, second) = said(caplog, group)
    assert first.startswith("4,096 steps so far, for 100 that were asked for: 2 lanes")
    assert second.startswith("8,192 steps so far, for 100 that were asked for, and episodes of ")
    assert "It has no time limit" in second
    assert "max_episode_length=" in second
