"""The native lanes give gymnasium's bits: every observation, reward and end, at any width."""

import functools
import logging

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.envs import GymEnv, array_lanes
from garage.envs.array_lanes import ArrayLanes
from garage.errors import MismatchError

LANES = {world.world_id: functools.partial(ArrayLanes, world) for world in array_lanes.WORLDS}
WORLDS = list(LANES)


class Reference:
    """Gymnasium's own environment, told to do what a lane does."""

    def __init__(self, world, **kwargs):
        self.env = gymnasium.make(world, disable_env_checker=True, **kwargs)

    def reset(self, seed):
        return self.env.reset(seed=seed)[0].tobytes()

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        assert not info
        return observation.tobytes(), np.float64(reward).tobytes(), terminated, truncated


def row_of(transition, row):
    return (
        transition.observations[row].tobytes(),
        transition.rewards[row].tobytes(),
        bool(transition.terminated[row]),
        bool(transition.truncated[row]),
    )


def draw(world, generator, k, observations):
    """Actions: random ones, and half of the time or more such that lanes come near everything that can happen."""
    if world == "Pendulum-v1":
        return generator.normal(0, 1.5, (k, 1)).astype(np.float32).clip(-2, 2)
    if world == "CartPole-v1":
        balancing = (observations[:, 2] + 0.5 * observations[:, 3] + 0.1 * observations[:, 1] > 0).astype(np.int64)
        return np.where(generator.random(k) < 0.5, balancing, generator.integers(0, 2, k))
    if world == "Acrobot-v1":  # pumping swings it up and then round and round
        return np.where(generator.random(k) < 0.8, 1 + np.sign(observations[:, 5]), generator.integers(0, 3, k)).astype(
            np.int64
        )
    pumping = np.sign(observations[:, 1])
    if world == "MountainCar-v0":
        return np.where(generator.random(k) < 0.9, 1 + pumping, generator.integers(0, 3, k)).astype(np.int64)
    force = np.where(generator.random(k) < 0.9, pumping, generator.normal(0, 1, k))
    return force.astype(np.float32)[:, np.newaxis].clip(-1, 1)


def compare(world, n, n_rounds, seed, *, share=1.0, limit=None):
    """Step lanes and references side by side; returns the number of steps and how many episodes ended."""
    kwargs = {} if limit is None else {"max_episode_steps": limit}
    env = GymEnv(world, max_episode_length=limit)
    lanes = env.make_lanes(n)
    assert isinstance(lanes, ArrayLanes)
    references = [Reference(world, **kwargs) for _ in range(n)]
    generator = np.random.default_rng(seed)
    seeds = generator.integers(0, 2**31, n).tolist()
    observations = lanes.reset(np.arange(n), seeds)
    assert [row.tobytes() for row in observations] == [r.reset(s) for r, s in zip(references, seeds, strict=True)]
    n_steps, n_terminated, n_truncated = 0, 0, 0
    for _ in range(n_rounds):
        chosen = np.flatnonzero(generator.random(n) < share) if share < 1 else np.arange(n)
        if not chosen.size:
            continue
        actions = draw(world, generator, chosen.size, observations[chosen])
        transition = lanes.step(chosen, actions)
        for row, lane in enumerate(chosen.tolist()):
            assert row_of(transition, row) == references[lane].step(actions[row])
        observations[chosen] = transition.observations
        n_steps += chosen.size
        n_terminated += transition.terminated.sum()
        n_truncated += transition.truncated.sum()
        ended = chosen[transition.terminated | transition.truncated]
        if ended.size:
            seeds = generator.integers(0, 2**31, ended.size).tolist()
            observations[ended] = lanes.reset(ended, seeds)
            for lane, start, lane_seed in zip(ended.tolist(), observations[ended], seeds, strict=True):
                assert start.tobytes() == references[lane].reset(lane_seed)
    return n_steps, n_terminated, n_truncated


@pytest.mark.parametrize("share", [1.0, 0.6], ids=["all lanes", "some lanes"])
@pytest.mark.parametrize(("n", "n_rounds"), [(1, 2000), (3, 800), (8, 400), (64, 400)])
@pytest.mark.parametrize("world", WORLDS)
def test_bits_are_gymnasiums(world, n, n_rounds, share):
    n_steps, n_terminated, n_truncated = compare(world, n, n_rounds, seed=n, share=share)
    assert n_steps > 1000
    assert n_terminated + n_truncated > 0


@pytest.mark.parametrize("world", WORLDS)
def test_a_shorter_limit_is_gymnasiums_too(world):
    _, _, n_truncated = compare(world, 5, 200, seed=1, limit=7)
    assert n_truncated > 50


@settings(max_examples=40, deadline=None)
@given(world=st.sampled_from(WORLDS), n=st.integers(1, 20), seed=st.integers(0, 2**32), share=st.floats(0.05, 1.0))
def test_bits_at_any_width(world, n, seed, share):
    compare(world, n, 12, seed, share=share)


@given(seed=st.integers(0, 2**63))
@settings(max_examples=50, deadline=None)
def test_starts_are_gymnasiums(seed):
    for world in WORLDS:
        lanes = GymEnv(world).make_lanes(2)
        assert lanes.reset(np.array([1]), [seed])[0].tobytes() == Reference(world).reset(seed)


# By world: how far from zero its states are drawn, row by row, and which row is where in gymnasium's state.
STATES = {
    "CartPole-v1": ([3, 0.3, 4, 4], [0, 2, 1, 3]),
    "Pendulum-v1": ([20, 8], [0, 1]),
    "Acrobot-v1": ([np.pi, np.pi, 4 * np.pi, 9 * np.pi], [0, 1, 2, 3]),
    "MountainCar-v0": ([1.2, 0.07], [0, 1]),
    "MountainCarContinuous-v0": ([1.2, 0.07], [0, 1]),
}


@pytest.mark.parametrize("world", WORLDS)
def test_they_move_as_gymnasiums_from_anywhere(world):
    """Into walls, past the goal, at top speed, by more than a turn."""
    bounds, places = STATES[world]
    n, generator = 64, np.random.default_rng(0)
    lanes, reference, everyone = GymEnv(world).make_lanes(n), Reference(world), np.arange(n)
    for _ in range(40):
        share = np.minimum(
            generator.uniform(-1.1, 1.1, (len(bounds), n)).clip(-1, 1), 0.6 if "Mountain" in world else 1
        )
        states = (share.T * bounds).astype(np.float32 if "Continuous" in world else np.float64)
        elapsed = np.ones(n, np.int64)
        seen = lanes.load_state_dict(everyone, {"state": states.T.astype(np.float64), "elapsed": elapsed})
        actions = draw(world, generator, n, seen)
        transition = lanes.step(everyone, actions)
        for lane in range(n):
            reference.reset(0)
            reference.env.unwrapped.state = states[lane, places]
            assert row_of(transition, lane) == reference.step(actions[lane])


@pytest.mark.parametrize(("world", "bound"), [("Pendulum-v1", 2), ("MountainCarContinuous-v0", 1)])
def test_forces_beyond_the_bounds_are_clipped(world, bound):
    lanes = GymEnv(world).make_lanes(2)
    for force, dtype in ((1000.0, np.float32), (-2.5, np.float64), (np.inf, np.float32), (1e300, np.float64)):
        reference = Reference(world)
        lanes.reset(np.array([0]), [4])
        reference.reset(4)
        legal = np.array([np.clip(force, -bound, bound)], np.float32)
        assert row_of(lanes.step(np.array([0]), np.array([[force]], dtype)), 0) == reference.step(legal)


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_without_a_limit_never_truncates(world):
    lanes = LANES[world](3, None)
    lanes.reset(np.arange(3), range(3))
    discrete = not world.startswith(("Pendulum", "MountainCarC"))
    actions = np.zeros(3, np.int64) if discrete else np.zeros((3, 1), np.float32)
    assert not any(lanes.step(np.arange(3), actions).truncated.any() for _ in range(1100))


@pytest.mark.parametrize(("world", "n_actions"), [("CartPole-v1", 2), ("Acrobot-v1", 3), ("MountainCar-v0", 3)])
def test_an_action_that_does_not_exist_raises(world, n_actions):
    lanes = GymEnv(world).make_lanes(2)
    lanes.reset(np.arange(2), [0, 1])
    with pytest.raises(IndexError):
        lanes.step(np.arange(2), np.array([0, n_actions]))


@pytest.mark.parametrize("world", ["Acrobot-v1", "MountainCar-v0", "Pendulum-v1"])
def test_a_state_that_cannot_be_is_refused_and_changes_nothing(world):
    """An angle of 1e300 would take for ever to unwind."""
    lanes = LANES[world](3, None)
    lanes.reset(np.arange(3), range(3))
    before = lanes.state_dict(np.arange(3))
    impossible = {"state": before["state"].copy(), "elapsed": before["elapsed"] + 1}
    impossible["state"][-1, 2] = 1e300
    with pytest.raises(MismatchError, match=rf"3 lanes of {world}: `state` holds 1e\+300 in row"):
        lanes.load_state_dict(np.arange(3), impossible)
    assert all(np.array_equal(before[key], now) for key, now in lanes.state_dict(np.arange(3)).items())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", [np.sin, np.cos])
@given(seed=st.integers(0, 2**32), start=st.integers(0, 9), width=st.integers(1, 130), stride=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_one_lanes_sine_does_not_depend_on_its_neighbours(function, dtype, seed, start, width, stride):  # noqa: PLR0917 - drawn
    """What the promise rests on: a vectorised loop with another tail would give other bits at other widths."""
    angles = np.random.default_rng(seed).uniform(-50, 50, 1000).astype(dtype)
    piece = angles[start : start + stride * width : stride]
    assert function(piece).tobytes() == np.array([function(angle) for angle in piece]).tobytes()


@pytest.mark.parametrize("world", WORLDS)
def test_they_are_chosen_and_said_once(world, caplog):
    caplog.set_level(logging.INFO, "garage.envs")
    env = GymEnv(world)
    assert env.lane_width == 64
    assert "64 native lanes" in env.describe()
    assert not caplog.records
    env.make_lanes(2)
    env.make_lanes(3)
    assert [record.getMessage() for record in caplog.records] == [f"{world}: native lanes, bit-equal to gymnasium's"]
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: GymEnv(gymnasium.spec("CartPole-v1")),
        lambda: GymEnv(gymnasium.make("CartPole-v1")),
        lambda: GymEnv("CartPole-v1", max_episode_length=20),
        lambda: GymEnv(gymnasium.make("CartPole-v1", max_episode_steps=20)),
    ],
)
def test_they_are_chosen_for_the_plain_world_however_it_is_named(make):
    assert isinstance(make().make_lanes(1), ArrayLanes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GymEnv("CartPole-v1", native_lanes=False),
        lambda: GymEnv("CartPole-v1", sutton_barto_reward=True),
        lambda: GymEnv(CartPoleEnv, max_episode_length=20),
        lambda: GymEnv(lambda: gymnasium.make("CartPole-v1")),
        lambda: GymEnv(gymnasium.wrappers.RescaleObservation(gymnasium.make("MountainCar-v0"), -1, 1)),
        lambda: GymEnv(gymnasium.wrappers.TransformReward(gymnasium.make("CartPole-v1"), lambda reward: -reward)),
        lambda: GymEnv("MountainCar-v0", goal_velocity=0.01),
        lambda: GymEnv("FrozenLake-v1"),
    ],
)
def test_they_are_not_chosen_for_another_world(make):
    env = make()
    assert env.lane_width == 8
    assert not isinstance(env.make_lanes(1), ArrayLanes)


class HeavyCartPole(CartPoleEnv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.masspole = 0.3


def test_they_are_not_chosen_if_the_id_means_another_class(monkeypatch):
    changed = gymnasium.envs.registration.EnvSpec("CartPole-v1", entry_point=HeavyCartPole, max_episode_steps=500)
    monkeypatch.setitem(gymnasium.registry, "CartPole-v1", changed)
    env = GymEnv("CartPole-v1")
    assert env.lane_width == 8
    assert not isinstance(env.make_lanes(1), ArrayLanes)


def heavier_init(original):
    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.masspole = 0.1000001

    return init


def other_reset(original):
    def reset(self, *, seed=None, options=None):
        return original(self, seed=None if seed is None else seed + 1, options=options)

    return reset


@pytest.mark.parametrize(("method", "changed"), [("__init__", heavier_init), ("reset", other_reset)])
def test_they_are_not_chosen_if_the_class_behaves_differently(monkeypatch, caplog, method, changed):
    monkeypatch.setattr(CartPoleEnv, method, changed(vars(CartPoleEnv)[method]))
    env = GymEnv("CartPole-v1")
    assert env.lane_width == 8
    assert "gives other bits than the native lanes" in caplog.text
    assert not isinstance(env.make_lanes(1), ArrayLanes)
