"""The NumPy lanes give gymnasium's bits: every observation, reward and end, at any width."""

import logging

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.envs import GymEnv
from garage.envs.cartpole_lanes import CartPoleLanes
from garage.envs.pendulum_lanes import PendulumLanes

WORLDS = ["CartPole-v1", "Pendulum-v1"]


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
    """Actions: random ones, and for the cart-pole half of the time ones that keep the pole up for long."""
    if world == "Pendulum-v1":
        return generator.normal(0, 1.5, (k, 1)).astype(np.float32).clip(-2, 2)
    balancing = (observations[:, 2] + 0.5 * observations[:, 3] + 0.1 * observations[:, 1] > 0).astype(np.int64)
    return np.where(generator.random(k) < 0.5, balancing, generator.integers(0, 2, k))


def compare(world, n, n_rounds, seed, *, share=1.0, limit=None):
    """Step lanes and references side by side; returns the number of steps and how many episodes ended."""
    kwargs = {} if limit is None else {"max_episode_steps": limit}
    env = GymEnv(world, max_episode_length=limit)
    lanes = env.make_lanes(n)
    assert isinstance(lanes, CartPoleLanes | PendulumLanes)
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


def test_torques_beyond_the_bounds_are_clipped():
    lanes = GymEnv("Pendulum-v1").make_lanes(2)
    for torque, dtype in ((1000.0, np.float32), (-2.5, np.float64), (np.inf, np.float32)):
        reference = Reference("Pendulum-v1")
        lanes.reset(np.array([0]), [4])
        reference.reset(4)
        legal = np.array([np.clip(torque, -2, 2)], np.float32)
        assert row_of(lanes.step(np.array([0]), np.array([[torque]], dtype)), 0) == reference.step(legal)


def test_a_world_without_a_limit_never_truncates():
    for lanes in (CartPoleLanes(3, None), PendulumLanes(3, None)):
        lanes.reset(np.arange(3), range(3))
        actions = np.zeros(3, np.int64) if isinstance(lanes, CartPoleLanes) else np.zeros((3, 1), np.float32)
        assert not any(lanes.step(np.arange(3), actions).truncated.any() for _ in range(700))


def test_an_action_that_does_not_exist_raises():
    lanes = GymEnv("CartPole-v1").make_lanes(2)
    lanes.reset(np.arange(2), [0, 1])
    with pytest.raises(IndexError):
        lanes.step(np.arange(2), np.array([0, 2]))


@pytest.mark.parametrize("function", [np.sin, np.cos])
@given(seed=st.integers(0, 2**32), start=st.integers(0, 9), width=st.integers(1, 130), stride=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_one_lanes_sine_does_not_depend_on_its_neighbours(function, seed, start, width, stride):
    """What the promise rests on: a vectorised loop with another tail would give other bits at other widths."""
    angles = np.random.default_rng(seed).uniform(-50, 50, 1000)
    piece = angles[start : start + stride * width : stride]
    assert function(piece).tobytes() == np.array([function(angle) for angle in piece]).tobytes()


@pytest.mark.parametrize("world", WORLDS)
def test_they_are_chosen_and_said_once(world, caplog):
    caplog.set_level(logging.INFO, "garage.envs")
    env = GymEnv(world)
    assert env.lane_width == 64
    assert "64 NumPy lanes" in env.describe()
    assert not caplog.records
    env.make_lanes(2)
    env.make_lanes(3)
    assert [record.getMessage() for record in caplog.records] == [f"{world}: NumPy lanes, bit-equal to gymnasium's"]
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
    assert isinstance(make().make_lanes(1), CartPoleLanes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GymEnv("CartPole-v1", native_lanes=False),
        lambda: GymEnv("CartPole-v1", sutton_barto_reward=True),
        lambda: GymEnv(CartPoleEnv, max_episode_length=20),
        lambda: GymEnv(lambda: gymnasium.make("CartPole-v1")),
        lambda: GymEnv(gymnasium.wrappers.RescaleObservation(gymnasium.make("MountainCar-v0"), -1, 1)),
        lambda: GymEnv(gymnasium.wrappers.TransformReward(gymnasium.make("CartPole-v1"), lambda reward: -reward)),
        lambda: GymEnv("MountainCar-v0"),
    ],
)
def test_they_are_not_chosen_for_another_world(make):
    env = make()
    assert env.lane_width == 8
    assert not isinstance(env.make_lanes(1), CartPoleLanes)


class HeavyCartPole(CartPoleEnv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.masspole = 0.3


def test_they_are_not_chosen_if_the_id_means_another_class(monkeypatch):
    changed = gymnasium.envs.registration.EnvSpec("CartPole-v1", entry_point=HeavyCartPole, max_episode_steps=500)
    monkeypatch.setitem(gymnasium.registry, "CartPole-v1", changed)
    env = GymEnv("CartPole-v1")
    assert env.lane_width == 8
    assert not isinstance(env.make_lanes(1), CartPoleLanes)


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
    assert "gives other bits than the NumPy lanes" in caplog.text
    assert not isinstance(env.make_lanes(1), CartPoleLanes)
