"""The MuJoCo lanes give gymnasium's bits, whoever steps them, and go on with them in mid-episode anywhere."""

import os
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import gymnasium
import numpy as np
import pytest

from garage.core.ports import Rung
from garage.core.state import copied
from garage.envs import GymEnv
from garage.envs.mujoco import ENTRY_POINTS
from garage.envs.trials import Task, arrived, in_another_process, stepped
from garage.errors import ArgumentError, MismatchError

pytest.importorskip("mujoco")
from garage import process
from garage.envs.mujoco import physics
from garage.envs.mujoco.batched_physics import BatchedPhysics
from garage.envs.mujoco.lanes import MujocoLanes
from garage.envs.mujoco.runners import HalfCheetah
from garage.envs.mujoco.threaded_physics import ThreadedPhysics

WORLDS = sorted(ENTRY_POINTS)
N_ROUNDS = {"Ant-v5": 250, "Humanoid-v5": 60}
LONG = pytest.mark.long
ENDS = {"HalfCheetah-v5": "never", "Swimmer-v5": "never", "Reacher-v5": "truncated"}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo logs where it is


class Reference:
    """gymnasium's own environment, told to do what a lane does."""

    def __init__(self, world, **kwargs):
        self.env = gymnasium.make(world, disable_env_checker=True, **kwargs)

    def reset(self, seed):
        return self.env.reset(seed=seed)[0].tobytes()

    def step(self, action):
        space = self.env.action_space
        observation, reward, terminated, truncated, info = self.env.step(np.clip(action, space.low, space.high))
        numbers = {key: float(value).hex() for key, value in sorted(info.items()) if np.ndim(value) == 0}
        return observation.tobytes(), np.float64(reward).tobytes(), bool(terminated), truncated, numbers


def row_of(transition, row):
    return (
        transition.observations[row].tobytes(),
        transition.rewards[row].tobytes(),
        bool(transition.terminated[row]),
        bool(transition.truncated[row]),
        {key: float(values[row]).hex() for key, values in transition.infos.items()},
    )


def draw(generator, space, k):
    """Actions that begin to matter, some of them beyond the bounds."""
    return (generator.normal(0, 0.7, (k, *space.shape)) * space.high).astype(np.float32)


def compare(world, n, n_rounds, *, limit=None):
    """Step some of the lanes at a time, and references beside them; returns steps, and episodes by how they ended."""
    env = GymEnv(world, max_episode_length=limit)
    lanes = env.make_lanes(n)
    assert isinstance(lanes, MujocoLanes)
    references = [Reference(world, **({} if limit is None else {"max_episode_steps": limit})) for _ in range(n)]
    generator = np.random.default_rng(n)
    starts = lanes.reset(np.arange(n), range(n))
    assert [row.tobytes() for row in starts] == [reference.reset(lane) for lane, reference in enumerate(references)]
    n_steps, ended = 0, {"terminated": 0, "truncated": 0}
    for index in range(n_rounds):
        chosen = np.arange(n) if index % 3 else np.flatnonzero(generator.random(n) < 0.6)
        if not chosen.size:
            continue
        actions = draw(generator, env.spec.action_space, chosen.size)
        transition = lanes.step(chosen, actions)
        for row, lane in enumerate(chosen.tolist()):
            assert row_of(transition, row) == references[lane].step(actions[row])
        n_steps += chosen.size
        ended["terminated"] += int(transition.terminated.sum())
        ended["truncated"] += int(transition.truncated.sum())
        over = transition.terminated | transition.truncated
        over |= generator.random(chosen.size) < 0.01  # and some in the middle of their episodes
        again = chosen[over]
        if again.size:
            seeds = generator.integers(0, 2**31, again.size).tolist()
            for lane, seed, start in zip(again.tolist(), seeds, lanes.reset(again, seeds), strict=True):
                assert start.tobytes() == references[lane].reset(seed)
    lanes.close()
    return n_steps, ended


@pytest.mark.parametrize(("n", "threads"), [(1, "2"), (7, "1"), (4, "2")])
@pytest.mark.parametrize("world", WORLDS)
def test_bits_are_gymnasiums(monkeypatch, world, n, threads):
    monkeypatch.setenv(process.PHYSICS_THREADS, threads)
    n_steps, ended = compare(world, n, N_ROUNDS.get(world, 130))
    assert n_steps >= 40 * n
    if n > 1:
        expected = ENDS.get(world, "terminated")
        assert [how for how, count in ended.items() if count] == [how for how in ended if how == expected]


@pytest.mark.parametrize("world", ["HalfCheetah-v5", "Humanoid-v5"])
def test_a_shorter_limit_is_gymnasiums_too(world):
    _, ended = compare(world, 3, 40, limit=6)
    assert ended["truncated"] > 10


@LONG
@pytest.mark.parametrize("world", WORLDS)
def test_bits_are_gymnasiums_for_whole_episodes(monkeypatch, world):
    monkeypatch.setenv(process.PHYSICS_THREADS, "3")
    n_steps, _ = compare(world, 16, 1100)
    assert n_steps > 10_000


@pytest.mark.parametrize(
    "world",
    [
        world if world in {"Ant-v5", "HalfCheetah-v5", "InvertedDoublePendulum-v5"} else pytest.param(world, marks=LONG)
        for world in WORLDS
    ],
)
def test_lanes_in_mid_episode_go_on_in_another_process(world):
    env = GymEnv(world)
    lanes = env.make_lanes(3)
    generator = np.random.default_rng(1)
    everyone = np.arange(3)
    lanes.reset(everyone, [5, 6, 7])
    for _ in range(3 if "Pendulum" in world else 12):
        transition = lanes.step(everyone, draw(generator, env.spec.action_space, 3) / 9)
    assert not (transition.terminated | transition.truncated).any()
    plan = draw(generator, env.spec.action_space, 25) / 9
    _, there = in_another_process(Task(env, (), lanes.state_dict(np.array([1])), plan))
    assert there == [arrived(transition.observations[1]), *stepped(lanes, 1, plan)]
    assert len(there) > 3
    lanes.close()


def test_each_lane_is_where_it_was_after_others_were_brought_in():
    env = GymEnv("Ant-v5")
    lanes, others = env.make_lanes(3), env.make_lanes(3)
    assert lanes.rung is Rung.ARRAYS
    plan = draw(np.random.default_rng(2), env.spec.action_space, 30)
    for some in (lanes, others):
        some.reset(np.arange(3), [1, 2, 3])
        for action in plan[:10]:
            some.step(np.arange(3), np.stack([action] * 3))
    lanes.load_state_dict(np.array([2, 0]), copied(lanes.state_dict(np.array([0, 1]))))
    for action in plan[10:]:
        moved, stayed = (some.step(np.arange(3), np.stack([action] * 3)) for some in (lanes, others))
        assert [row_of(moved, row) for row in (2, 0, 1)] == [row_of(stayed, row) for row in (0, 1, 1)]
    lanes.close()
    others.close()


def test_a_state_of_another_world_is_refused():
    cheetah, hopper = (GymEnv(world).make_lanes(1) for world in ("HalfCheetah-v5", "Hopper-v5"))
    alone = np.array([0])
    cheetah.reset(alone, [0])
    with pytest.raises(MismatchError, match=r"1 lanes of Hopper-v5: `physics` is float64\[1, 91\], expected"):
        hopper.load_state_dict(alone, cheetah.state_dict(alone))


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_batches_and_threads_give_the_same_physics(n_threads):
    n = 6
    model = physics.compiled(HalfCheetah.model_file)
    sides = [kind(model, HalfCheetah, n, n_threads) for kind in (BatchedPhysics, ThreadedPhysics)]
    generator = np.random.default_rng(0)
    positions, velocities = model.qpos0 + generator.uniform(-0.1, 0.1, (n, 9)), generator.normal(0, 0.1, (n, 9))
    seen = []
    for side in sides:
        everyone, controls = np.arange(n), np.random.default_rng(3)
        side.reset(everyone, positions, velocities)
        for _ in range(60):
            chosen = np.flatnonzero(controls.random(n) < 0.8)
            side.step(chosen, controls.uniform(-1, 1, (chosen.size, 6)))
        side.load_state(np.array([4, 1]), side.state(np.array([0, 3])))
        side.step(everyone, controls.uniform(-1, 1, (n, 6)))
        fields = side.fields(everyone)
        seen.append([side.state(everyone).tobytes(), *(fields[name].tobytes() for name in sorted(fields))])
        side.close()
    assert seen[0] == seen[1]


def test_without_batches_threads_of_pythons_step_the_physics(monkeypatch):
    assert isinstance(physics.physics_of(HalfCheetah, 2), BatchedPhysics)
    monkeypatch.setattr(physics, "_HAS_BATCHES", False)
    older = physics.physics_of(HalfCheetah, 2)
    assert isinstance(older, ThreadedPhysics)
    older.close()
    assert compare("HalfCheetah-v5", 3, 30)[0] > 50


def test_an_action_that_is_no_number_does_what_it_does_in_gymnasium():
    for world in ("HalfCheetah-v5", "Humanoid-v5"):
        lanes, reference = GymEnv(world).make_lanes(2), Reference(world)
        lanes.reset(np.arange(2), [3, 4])
        reference.reset(4)
        n_actions = reference.env.action_space.shape[0]
        for value in (0.1, np.nan, np.inf, -0.1, 1e30):
            action = np.full(n_actions, value, np.float32)
            assert row_of(lanes.step(np.array([1]), action[np.newaxis]), 0)[:4] == reference.step(action)[:4]
        lanes.close()


def n_threads_of_process():
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("world", ["HalfCheetah-v5", "Ant-v5"])
def test_closing_lets_go_of_the_threads(monkeypatch, world):
    monkeypatch.setenv(process.PHYSICS_THREADS, "5")
    env = GymEnv(world)
    before = n_threads_of_process()
    lanes = env.make_lanes(8)
    lanes.reset(np.arange(8), range(8))
    for _ in range(20):
        lanes.step(np.arange(8), np.zeros((8, *env.spec.action_space.shape), np.float32))
    assert n_threads_of_process() > before
    lanes.close()
    lanes.close()
    until = time.monotonic() + 60
    while n_threads_of_process() > before:  # a thread that has ended takes the kernel a moment
        assert time.monotonic() < until
        os.sched_yield()


@pytest.mark.parametrize("text", ["0", "-1", "two", "", "1.5", "²"])
def test_a_wrong_number_of_threads_is_refused(monkeypatch, text):
    monkeypatch.setenv(process.PHYSICS_THREADS, text)
    with pytest.raises(ArgumentError, match=r"GARAGE_PHYSICS_THREADS is .*; expected a number of threads"):
        GymEnv("Hopper-v5")


def test_as_many_threads_as_cpus_to_use(monkeypatch):
    monkeypatch.delenv(process.PHYSICS_THREADS, raising=False)
    expected = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    assert physics.n_threads() == expected
    monkeypatch.setenv(process.PHYSICS_THREADS, "3")
    assert physics.n_threads() == 3


def test_mujoco_is_loaded_by_its_worlds_only():
    code = (
        "import sys, garage.envs\n"
        "garage.envs.GymEnv('CartPole-v1').make_lanes(1)\n"
        "assert 'mujoco' not in sys.modules\n"
        "garage.envs.GymEnv('Hopper-v5').make_lanes(1).close()\n"
        "assert 'mujoco' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pickled_world_makes_the_same_lanes():
    env = GymEnv("Reacher-v5")
    again = cloudpickle.loads(cloudpickle.dumps(env))
    assert (
        again.describe()
        == env.describe()
        == "Reacher-v5 (16 native lanes, at most 50 steps an episode, goes on by arrays)"
    )
    assert isinstance(again.make_lanes(1), MujocoLanes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GymEnv("HalfCheetah-v5", ctrl_cost_weight=0.2),
        lambda: GymEnv("Ant-v5", include_cfrc_ext_in_observation=False),
        lambda: GymEnv("Hopper-v5", frame_skip=4),
        lambda: GymEnv("Hopper-v5", native_lanes=False),
        lambda: GymEnv("Hopper-v4"),
        lambda: GymEnv(gymnasium.wrappers.RescaleAction(gymnasium.make("Hopper-v5"), -2, 2)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_another_world_is_gymnasiums_own(make):
    env = make()
    assert env.lane_width == 8
    lanes = env.make_lanes(1)
    assert not isinstance(lanes, MujocoLanes)
    assert lanes.rung is Rung.REPLAY
    lanes.close()


def test_a_world_that_behaves_otherwise_is_gymnasiums_own(monkeypatch, caplog):
    kind = type(gymnasium.make("Swimmer-v5").unwrapped)
    original = kind.control_cost
    monkeypatch.setattr(kind, "control_cost", lambda self, action: original(self, action) * np.float32(1.0000001))
    env = GymEnv("Swimmer-v5")
    assert "Swimmer-v5: gymnasium" in caplog.text
    assert "gives other bits than the native lanes" in caplog.text
    assert env.lane_width == 8
