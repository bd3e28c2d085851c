"""Worlds of gymnasium's families go on in mid-episode with the same bits; each needs its package."""

import importlib

import numpy as np
import pytest
from gymnasium.wrappers import (
    AtariPreprocessing,
    DelayObservation,
    FrameStackObservation,
    MaxAndSkipObservation,
    RecordEpisodeStatistics,
    StickyAction,
    TimeAwareObservation,
    TimeLimit,
)

from envs.sample_worlds import Doubled, Walk
from garage.envs import GymEnv
from garage.envs.mujoco import ENTRY_POINTS

FEW = {
    "HalfCheetah": ("mujoco", lambda: GymEnv("HalfCheetah-v5", native_lanes=False), 60),
    "Ant": ("mujoco", lambda: GymEnv("Ant-v5", native_lanes=False), 20),
    "Ant, lanes": ("mujoco", lambda: GymEnv("Ant-v5"), 20),
    "LunarLander": ("Box2D", lambda: GymEnv("LunarLander-v3"), 60),
    "LunarLander, wind": ("Box2D", lambda: GymEnv("LunarLander-v3", enable_wind=True), 50),
    "BipedalWalker": ("Box2D", lambda: GymEnv("BipedalWalker-v3"), 40),
    "wrappers": ("gymnasium", lambda: GymEnv(many_wrappers), 7),
}
MUJOCO = {
    "HalfCheetah": 900,
    "Hopper": 15,
    "Walker2d": 12,
    "Ant": 40,
    "Humanoid": 18,
    "HumanoidStandup": 300,
    "Swimmer": 900,
    "Reacher": 45,
    "Pusher": 90,
    "InvertedPendulum": 4,
    "InvertedDoublePendulum": 4,
}
MANY = {
    **{
        name: ("mujoco", lambda name=name: GymEnv(f"{name}-v5", native_lanes=False), n_steps)
        for name, n_steps in MUJOCO.items()
    },
    **{
        f"{name}, lanes": ("mujoco", lambda name=name: GymEnv(f"{name}-v5"), MUJOCO[name])
        for name in MUJOCO
        if f"{name}-v5" in ENTRY_POINTS
    },
    "LunarLander, continuous": ("Box2D", lambda: GymEnv("LunarLander-v3", continuous=True), 70),
    "BipedalWalker": ("Box2D", lambda: GymEnv("BipedalWalker-v3"), 45),
    "BipedalWalker, hardcore": ("Box2D", lambda: GymEnv("BipedalWalkerHardcore-v3"), 45),
    "CarRacing": ("Box2D", lambda: GymEnv("CarRacing-v3"), 50),
    "CarRacing, domain randomize": ("Box2D", lambda: GymEnv("CarRacing-v3", domain_randomize=True), 20),
    "Acrobot": ("gymnasium", lambda: GymEnv("Acrobot-v1", native_lanes=False), 400),
    "MountainCarContinuous": ("gymnasium", lambda: GymEnv("MountainCarContinuous-v0", native_lanes=False), 600),
    "Pong": ("ale_py", lambda: GymEnv("ale_py:ALE/Pong-v5"), 400),
    "Breakout": ("ale_py", lambda: GymEnv("ale_py:ALE/Breakout-v5"), 150),
    "MsPacman, random skips": ("ale_py", lambda: GymEnv("ale_py:ALE/MsPacman-v5", frameskip=(2, 5)), 300),
    "Pong, pre-processed": ("ale_py", lambda: GymEnv(preprocessed), 300),
}


def many_wrappers():
    env = TimeAwareObservation(TimeLimit(DelayObservation(StickyAction(Walk(length=60), 0.3), 2), 40))
    return RecordEpisodeStatistics(Doubled(FrameStackObservation(MaxAndSkipObservation(env, 3), 4)))


def preprocessed():
    import ale_py  # noqa: PLC0415 - where it is installed
    import gymnasium  # noqa: PLC0415 - as above

    gymnasium.register_envs(ale_py)
    return FrameStackObservation(AtariPreprocessing(gymnasium.make("ALE/Pong-v5", frameskip=1)), 4)


def row_bits(transition, row):
    columns = [transition.observations, transition.rewards, transition.terminated, transition.truncated]
    columns += [transition.infos[key] for key in sorted(transition.infos)]
    return tuple(column[row].tobytes() for column in columns)


def goes_on(env, n_steps):
    """Leave two lanes in mid-episode, and go on with them in lanes that have a past of their own."""
    lanes, others = env.make_lanes(2), env.make_lanes(3)
    space = env.spec.action_space
    space.seed(0)
    plan = np.stack([space.sample() for _ in range(2 * n_steps + 40)])
    everyone = np.arange(2)
    lanes.reset(everyone, [0, 1])
    others.reset(np.arange(3), [7, 8, 9])
    for action in plan[: n_steps // 2]:
        others.step(np.array([1]), action[np.newaxis])
    for action in plan[:n_steps]:
        transition = lanes.step(everyone, np.stack([action] * 2))
        assert not (transition.terminated | transition.truncated).any()
    places = np.array([2, 0])
    observations = others.load_state_dict(places, lanes.state_dict(everyone))
    assert observations.tobytes() == transition.observations.tobytes()
    n_compared = 0
    for lane, place in enumerate(places.tolist()):
        for action in plan[n_steps:]:
            expected = lanes.step(np.array([lane]), action[np.newaxis])
            got = others.step(np.array([place]), action[np.newaxis])
            assert row_bits(got, 0) == row_bits(expected, 0)
            n_compared += 1
            if expected.terminated[0] or expected.truncated[0]:
                break
    lanes.close()
    others.close()
    return n_compared


@pytest.fixture(autouse=True)
def without_a_screen(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo logs where it is
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", FEW)
def test_it_goes_on_with_the_same_bits(name):
    package, make, n_steps = FEW[name]
    pytest.importorskip(package)
    assert goes_on(make(), n_steps) > 4


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MANY)
def test_many_go_on_with_the_same_bits(name):
    package, make, n_steps = MANY[name]
    importlib.import_module(package)
    assert goes_on(make(), n_steps) > 0


def test_bipedal_walker_repeats_an_episode_whatever_came_before():
    """In one environment it does not: the physics' world outlives the episode."""
    pytest.importorskip("Box2D")
    env = GymEnv("BipedalWalker-v3")
    assert "made anew" in env.describe()
    lanes = env.make_lanes(2)
    plan = np.random.default_rng(0).uniform(-1, 1, (30, 4)).astype(np.float32)

    def episode(lane):
        alone = np.array([lane])
        return [lanes.reset(alone, [1]).tobytes(), *(lanes.step(alone, row[np.newaxis])[0].tobytes() for row in plan)]

    first = episode(0)
    assert [episode(lane) for lane in (0, 0, 1)] == [first] * 3
