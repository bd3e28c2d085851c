"""Lanes of separate gymnasium environments: actions in, observations and infos out."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from envs.sample_worlds import Dial, Raises, Walk, WrongShape
from garage.envs import GymEnv
from garage.envs.gym_lanes import legal_actions
from garage.errors import MismatchError, WorldRaisedError


def lone_lane(world, **kwargs):
    lanes = GymEnv(world, **kwargs).make_lanes(1)
    lanes.reset(np.array([0]), [0])
    return lanes


def test_numeric_scalars_of_info_are_kept():
    lanes = lone_lane(lambda: Walk(length=50))
    seen = [lanes.step(np.array([0]), np.zeros((1, 2))).infos for _ in range(6)]
    assert all(set(infos) == {"age", "lucky", "height", "array0"} for infos in seen)
    assert [infos["age"][0] for infos in seen] == [1, 2, 3, 4, 5, 6]
    assert [infos["lucky"][0] for infos in seen] == [0, 1, 1, 1, 1, 1]
    nan = np.nan
    assert np.array_equal([infos["height"][0] for infos in seen], [0.5, 0.5, nan, 0.5, 0.5, nan], equal_nan=True)
    assert np.array_equal([infos["array0"][0] for infos in seen], [3, 3, 3, 3, nan, nan], equal_nan=True)


def test_actions_of_a_box_are_clipped_and_cast():
    instance = Walk()
    lanes = lone_lane(instance)
    lanes.step(np.array([0]), np.array([[-5.0, 1.5]], np.float64))
    received = instance.received[-1]
    assert received.dtype == np.float32
    assert received.tolist() == [-1.0, 1.5]


def test_discrete_actions_count_from_0_whatever_the_start():
    lanes = GymEnv(Dial).make_lanes(3)
    lanes.reset(np.arange(3), range(3))
    assert lanes.step(np.arange(3), np.arange(3)).rewards.tolist() == [1.0, 2.0, 3.0]
    assert isinstance(legal_actions(spaces.Discrete(3, start=1), np.array([0], np.int8))[0], np.int64)


@given(
    actions=hnp.arrays(st.sampled_from([np.float32, np.float64]), (4, 3), elements=st.floats(-1e6, 1e6, width=32)),
    dtype=st.sampled_from([np.float32, np.float64, np.int64, np.uint8]),
)
def test_legal_actions_of_a_box_are_its_members(actions, dtype):
    space = spaces.Box(np.array([0, 0, 1], dtype), np.array([1, 9, 200], dtype), dtype=dtype)
    assert all(space.contains(action) for action in legal_actions(space, actions))


def test_legal_actions_of_other_spaces_are_their_members():
    multi = spaces.MultiDiscrete([2, 3], start=[5, -1])
    legal = legal_actions(multi, np.array([[0, 0], [1, 2]]))
    assert legal.tolist() == [[5, -1], [6, 1]]
    assert all(multi.contains(action) for action in legal)
    binary = spaces.MultiBinary(2)
    assert all(binary.contains(action) for action in legal_actions(binary, np.array([[0, 1], [1, 1]])))


class Numbered(gymnasium.Env):
    """Returns a number of its own in the second step."""

    action_space = spaces.Discrete(2)

    def __init__(self, returned):
        self.observation_space, self.returned = spaces.Discrete(5, start=2), returned

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 2, {}

    def step(self, action):
        return self.returned, 1.0, False, False, {}


def test_an_observation_that_its_space_does_not_have_is_refused():
    for returned in (2, 6, np.int64(3)):
        lanes = GymEnv(Numbered(returned), max_episode_length=9).make_lanes(1)
        lanes.reset(np.array([0]), [0])
        assert lanes.step(np.array([0]), np.array([1])).observations.tolist() == [returned]
    for returned in (1, 7, -1, np.int64(9)):
        lanes = GymEnv(Numbered(returned), max_episode_length=9).make_lanes(1)
        lanes.reset(np.array([0]), [0])
        with pytest.raises(MismatchError, match=rf"`step` of .* observation {returned}, .*Discrete\(5, start=2\)"):
            lanes.step(np.array([0]), np.array([1]))


def test_an_observation_of_another_shape_is_refused():
    env = GymEnv(WrongShape)
    lanes = env.make_lanes(1)
    lanes.reset(np.array([0]), [0])
    with pytest.raises(MismatchError, match=r"`step` of WrongShape returned an observation of shape \(1,\).*\(2,\)"):
        lanes.step(np.array([0]), np.zeros((1, 2)))


def test_what_an_environment_raises_is_passed_on():
    lanes = lone_lane(Raises)
    for _ in range(11):
        lanes.step(np.array([0]), np.zeros((1, 2)))
    with pytest.raises(ZeroDivisionError, match="the wheel came off"):
        lanes.step(np.array([0]), np.zeros((1, 2)))


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_counted_limits_are_those_of_gymnasiums_time_limit(limit):
    """Also where an episode terminates at the very step of its limit: both are set."""
    lanes = lone_lane(Walk, max_episode_length=limit)
    reference = gymnasium.wrappers.TimeLimit(Walk(), limit)
    reference.reset(seed=0)
    for _ in range(limit):
        transition = lanes.step(np.array([0]), np.zeros((1, 2), np.float32))
        observation, reward, terminated, truncated, _ = reference.step(np.zeros(2, np.float32))
        assert transition.observations[0].tobytes() == observation.tobytes()
        assert (transition.rewards[0], transition.terminated[0], transition.truncated[0]) == (
            reward,
            terminated,
            truncated,
        )
    assert truncated
    lanes.reset(np.array([0]), [1])
    assert lanes.step(np.array([0]), np.zeros((1, 2))).truncated[0] == (limit == 1)


# Going on by replay


def left_at(lanes, seeds, n_steps, n_dimensions=2):
    everyone = np.arange(len(seeds))
    lanes.reset(everyone, seeds)
    for step in range(n_steps):
        actions = np.random.default_rng(step).normal(size=(len(seeds), n_dimensions)).astype(np.float32)
        lanes.step(everyone, actions)
    return lanes.state_dict(everyone)


def test_a_world_that_raises_in_a_replay_is_named_with_lane_seed_and_step():
    lanes = GymEnv(lambda: Walk(length=50)).make_lanes(2)
    state = left_at(lanes, [5, 6], 14)
    words = r"raised ZeroDivisionError: the wheel came off, when .*seed 5 was replayed in lane 1, at step 12 of 14"
    with pytest.raises(WorldRaisedError, match=words) as caught:
        GymEnv(Raises).make_lanes(2).load_state_dict(np.array([1, 0]), state)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_episode_that_ends_in_a_replay_is_named_with_lane_seed_and_step():
    lanes = GymEnv(lambda: Walk(length=50)).make_lanes(2)
    state = left_at(lanes, [5, 6], 14)
    shorter = GymEnv(lambda: Walk(length=9)).make_lanes(2)
    words = r"ended the episode with the seed 5 at step 9 when it was replayed in lane 0; it had gone on after step 14"
    with pytest.raises(MismatchError, match=words):
        shorter.load_state_dict(np.arange(2), state)


def test_the_state_is_seeds_and_actions():
    lanes = GymEnv(lambda: Walk(length=50)).make_lanes(3)
    state = left_at(lanes, [5, 6, 7], 4)
    assert state["seeds"].tolist() == [5, 6, 7]
    assert state["lengths"].tolist() == [4, 4, 4]
    assert state["actions"].dtype == np.float32
    assert state["actions"].shape == (12, 2)


def test_no_lanes_are_left_and_brought_back():
    lanes = GymEnv(Walk).make_lanes(2)
    nobody = np.arange(0)
    assert lanes.load_state_dict(nobody, lanes.state_dict(nobody)).shape == (0, 2)


@pytest.mark.parametrize(("name", "value"), [("seeds", [-1, 6]), ("lengths", [9, -1]), ("lengths", [4, 5])])
def test_numbers_that_cannot_be_are_refused(name, value):
    lanes = GymEnv(lambda: Walk(length=50)).make_lanes(2)
    state = {**left_at(lanes, [5, 6], 4), name: np.array(value)}
    with pytest.raises(MismatchError, match=r"expected as many actions as `lengths` in all, and both at least 0"):
        lanes.load_state_dict(np.arange(2), state)
