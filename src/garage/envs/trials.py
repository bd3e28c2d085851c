"""Episodes taken on trial: what a world did, step by step, in a form that another process can compare."""

import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import numpy as np

from garage.core.state import flatten, rebuild
from garage.core.types import Array, State
from garage.envs.protocol import is_number
from garage.envs.rehearsal import Moment

if TYPE_CHECKING:
    import gymnasium

    from garage.envs.gym_env import GymEnv

LONGEST = 1000
"""Steps after which a trial leaves an episode."""
_OTHER_HASH_SEED = "4242"


class Step(NamedTuple):
    """What a step gave, as text; equal if every bit is."""

    observation: str
    reward: str
    ended: str
    infos: dict[str, str]


class Episode(NamedTuple):
    """A world's episode on trial, or the rest of one."""

    seed: int
    steps: list[Step]


class Task(NamedTuple):
    """What another process is to do: take whole episodes, and go on with one."""

    env: "GymEnv"
    seeds: Sequence[int]
    state: State | None
    """Of the one lane that it goes on with."""
    actions: Array
    """To go on by."""


def actions_of(space: Any, seed: int, n_steps: int) -> list[Any]:  # noqa: ANN401 - gymnasium's spaces
    """The same members of an action space at every call, ``[n_steps]``."""
    space = copy.deepcopy(space)
    space.seed(seed)
    return [space.sample() for _ in range(n_steps)]


def moments(env: "gymnasium.Env[Any, Any]", seed: int, n_steps: int = LONGEST) -> Iterator[Moment]:
    """Take an episode from its seeded reset to its end, or for ``n_steps``."""
    observation, info = env.reset(seed=seed)
    yield Moment(seed, 0, None, np.array(observation), 0.0, terminated=False, truncated=False, info=info)
    for step, action in enumerate(actions_of(env.action_space, seed, n_steps), start=1):
        observation, reward, terminated, truncated, info = env.step(action)
        yield Moment(seed, step, action, np.array(observation), reward, terminated, truncated, info)
        if terminated or truncated:
            return


def as_step(moment: Moment) -> Step:
    """A moment in a form that can be compared anywhere."""
    observation = hashlib.blake2b(moment.observation.tobytes(), digest_size=16).hexdigest()
    infos = {key: float(value).hex() for key, value in moment.info.items() if isinstance(key, str) and is_number(value)}
    ended = f"{bool(moment.terminated)}, {bool(moment.truncated)}"
    return Step(f"{moment.observation.dtype} {observation}", float(moment.reward).hex(), ended, infos)


def episode_of(env: "gymnasium.Env[Any, Any]", seed: int, n_steps: int = LONGEST) -> Episode:
    """One episode."""
    return Episode(seed, [as_step(moment) for moment in moments(env, seed, n_steps)])


def episodes_of(env: "GymEnv", seeds: Sequence[int]) -> list[Episode]:
    """Episodes one after the other in one environment, or in one each if the world has fresh episodes."""
    episodes, one = [], None
    try:
        for seed in seeds:
            if one is not None and env.fresh_episodes:
                one.close()
                one = None
            one = one or env.source.build()
            episodes.append(episode_of(one, seed))
    finally:
        if one is not None and env.source.copies:
            one.close()
    return episodes


def going_on(env: "GymEnv", state: State, actions: Array) -> list[Step]:
    """Bring one lane to where ``state`` is, and go on by ``actions`` to the episode's end."""
    lanes, alone = env.make_lanes(1), np.array([0])
    try:
        here = lanes.load_state_dict(alone, state)[0]
        return [arrived(here), *stepped(lanes, 0, actions)]
    finally:
        lanes.close()


def stepped(lanes: Any, lane: int, actions: Array) -> list[Step]:  # noqa: ANN401 - any lanes
    """Go on with one lane to its episode's end."""
    steps = []
    for action in actions:
        transition = lanes.step(np.array([lane]), action[np.newaxis])
        terminated, truncated = transition.terminated[0], transition.truncated[0]
        infos = {key: float(values[0]).hex() for key, values in transition.infos.items()}
        ended = f"{terminated}, {truncated}"
        steps.append(lane_step(transition.observations[0], transition.rewards[0], ended, infos))
        if terminated or truncated:
            break
    return steps


def arrived(observation: Array) -> Step:
    """Where a lane is, as a step to begin with."""
    return lane_step(observation, 0.0, "", {})


def first_parting(one: Sequence[Step], other: Sequence[Step]) -> tuple[int, str] | None:
    """Index and name of the first thing in which two episodes differ, infos aside; None if they do not."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        for name in ("observation", "reward", "ended"):
            if getattr(a, name) != getattr(b, name):
                return index, name if name != "ended" else "end"
    return None if len(one) == len(other) else (min(len(one), len(other)), "length")


def in_another_process(task: Task) -> tuple[list[Episode], list[Step]]:
    """Do a task in a process of its own, whose strings have other hashes.

    Raises:
        RuntimeError: the process failed; with the last line that it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="garage-check-env-") as folder:
        given, got = Path(folder, "given"), Path(folder, "got")
        state = None if task.state is None else flatten(task.state)
        pickled = cloudpickle.dumps((task._replace(state=None), state))
        given.write_bytes(cloudpickle.dumps((sys.path, pickled)))
        done = subprocess.run(  # noqa: S603 - this Python, and two files of ours
            [sys.executable, "-c", "from garage.envs.trials import answer; answer()", str(given), str(got)],
            env=os.environ | {"PYTHONHASHSEED": _OTHER_HASH_SEED},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["it wrote nothing"]
            msg = f"another process failed: {last[0]}"
            raise RuntimeError(msg)
        episodes, rest = json.loads(got.read_text())
    steps = [Episode(seed, [Step(*step) for step in its]) for seed, its in episodes]
    return steps, [Step(*step) for step in rest]


def answer() -> None:
    """The other process: read the task from the file of the first argument, and write to that of the second."""
    given, got = map(Path, sys.argv[1:])
    # This process's own work, written a moment ago by the one that started it.
    sys.path[:], pickled = cloudpickle.loads(given.read_bytes())
    task, state = cloudpickle.loads(pickled)
    rest = [] if state is None else going_on(task.env, rebuild(state), task.actions)
    got.write_text(json.dumps([episodes_of(task.env, task.seeds), rest]))


def lane_step(observation: Array, reward: float, ended: str, infos: dict[str, str]) -> Step:
    """A step of a lane, in a form that can be compared anywhere."""
    return Step(hashlib.blake2b(observation.tobytes(), digest_size=16).hexdigest(), float(reward).hex(), ended, infos)
