"""A few steps taken in an environment to learn what it does: whether it can be repeated, what it reports."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from garage.core.ports import Rung
from garage.core.types import Array
from garage.envs import protocol
from garage.errors import UnseededWorldError, WorldError

if TYPE_CHECKING:
    import gymnasium

N_STEPS = 10
_COMPARED = ("observation", "reward", "terminated", "truncated")


@dataclass(frozen=True)
class Moment:
    """What an environment returned at one time.

    Attributes:
        seed: the one that its episode was reset with.
        step: steps since that reset; 0 for what ``reset`` returned.
        action: the one taken, as a member of the action space; None at step 0.
        observation: a copy.
        reward: 0 at step 0.
        terminated: False at step 0.
        truncated: False at step 0.
        info: as returned; empty at step 0.
    """

    seed: int
    step: int
    action: Any
    observation: Array
    reward: Any
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


def rehearse(env: "gymnasium.Env[Any, Any]", n_steps: int = N_STEPS) -> list[Moment]:
    """Take ``n_steps`` steps, the same ones at every call, in episodes with the seeds 0, 1, 2 …."""
    actions = copy.deepcopy(env.action_space)
    actions.seed(0)
    moments: list[Moment] = []
    seed, step = 0, 0
    for _ in range(n_steps):
        if step == 0:
            observation = protocol.reset(env, seed)
            moments.append(
                Moment(seed, 0, None, np.array(observation), 0.0, terminated=False, truncated=False, info={})
            )
        step += 1
        action = actions.sample()
        observation, reward, terminated, truncated, info = protocol.step(env, action)
        moments.append(Moment(seed, step, action, np.array(observation), reward, terminated, truncated, info))
        if terminated or truncated:
            seed, step = seed + 1, 0
    return moments


def first_difference(one: Sequence[Moment], other: Sequence[Moment]) -> str | None:
    """Where two rehearsals part, as words: the step, its episode's seed and the two values; None if they do not."""
    for a, b in zip(one, other, strict=False):  # different numbers of episodes have parted before
        for name in _COMPARED:
            seen, again = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
            if not np.array_equal(seen, again, equal_nan=seen.dtype.kind == "f" and again.dtype.kind == "f"):
                return f"{name} at step {a.step} of the episode with seed {a.seed}: {seen} and {again}"
    return None


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal found.

    Attributes:
        rung: how an environment in mid-episode goes on in another process.
        why_cut: in words, if that is `Rung.CUT`.
        info_keys: see `numeric_info_keys`; those that were repeated.
        other_infos: entries of ``info`` that the same seed and actions gave another number for.
    """

    rung: Rung
    why_cut: str
    info_keys: tuple[str, ...]
    other_infos: tuple[str, ...]


def check_repeatable(
    name: str,
    env: "gymnasium.Env[Any, Any]",
    fresh: "gymnasium.Env[Any, Any] | None",
    *,
    fresh_episodes: bool = False,
) -> Rehearsed:
    """Rehearse, once more in the same environment after other episodes, and once more in a fresh one.

    Args:
        name: the world's name, for messages.
        env: the environment.
        fresh: another one of the same kind, or None if there can be only one.
        fresh_episodes: whether each episode has an environment of its own, so that only fresh ones matter.

    Raises:
        UnseededWorldError: the rehearsals differ.
        WorldError: there is only one environment, and it cannot be reset in mid-episode.
    """
    seen = rehearse(env)
    repeats = {}
    why_cut = "" if fresh_episodes else _why_not_left(env)
    if why_cut and fresh is None:
        msg = (
            f"{name} is one instance, and cannot be reset in mid-episode: {why_cut}. Pass GymEnv an id, or a callable "
            "that makes the environment."
        )
        raise WorldError(msg)
    if not why_cut and not fresh_episodes:
        repeats["repeated after other episodes in the same environment"] = rehearse(env)
    if fresh is not None:
        repeats["repeated in a second, freshly made environment"] = rehearse(fresh)
    found = {how: first_difference(seen, repeated) for how, repeated in repeats.items()}
    for how, difference in found.items():
        if difference is not None:
            msg = (
                f"{name} cannot be repeated: the same seed and actions, {how}, gave another {difference}. Expected the "
                "same bits. Draw every random number from `self.np_random`, which `super().reset(seed=seed)` seeds, "
                f"and set everything else back in `reset`.{_hint(list(found.values()))}"
            )
            raise UnseededWorldError(msg)
    keys = numeric_info_keys(seen)
    other = tuple(key for key in keys if any(not _same_info(key, seen, repeated) for repeated in repeats.values()))
    return Rehearsed(
        rung=Rung.CUT if why_cut else Rung.REPLAY,
        why_cut=why_cut,
        info_keys=tuple(key for key in keys if key not in other),
        other_infos=other,
    )


def _hint(differences: Sequence[str | None]) -> str:
    """The way out for a world that only needs to be made anew."""
    in_the_same, *in_fresh = differences
    if in_the_same is None or not in_fresh or in_fresh[0] is not None:
        return ""
    return (
        " A freshly made environment does repeat it: if what it keeps from one episode to the next is of no use, pass "
        "fresh_episodes=True, and each episode gets an environment of its own."
    )


def _why_not_left(env: "gymnasium.Env[Any, Any]") -> str:
    """Run parts of other episodes; why they cannot be left in the middle, in words, or nothing."""
    actions = copy.deepcopy(env.action_space)
    actions.seed(1)
    for seed, n_steps in ((1000, N_STEPS // 2), (1001, N_STEPS)):
        try:
            env.reset(seed=seed)
        except Exception as error:  # noqa: BLE001 - of any kind; the reason is passed on to the user
            return f"reset raised {type(error).__name__}: {error}"
        for _ in range(n_steps):
            _, _, terminated, truncated, _ = env.step(actions.sample())
            if terminated or truncated:
                break
    try:
        env.reset(seed=0)
    except Exception as error:  # noqa: BLE001 - as above
        return f"reset raised {type(error).__name__}: {error}"
    return ""


def _same_info(key: str, one: Sequence[Moment], other: Sequence[Moment]) -> bool:
    pairs = [(a.info.get(key), b.info.get(key)) for a, b in zip(one, other, strict=False)]
    return all(np.array_equal(np.asarray(a), np.asarray(b)) or (a != a and b != b) for a, b in pairs)  # noqa: PLR0124 - NaN


def numeric_info_keys(moments: Sequence[Moment]) -> tuple[str, ...]:
    """Keys of ``info`` that held a number in any of the moments, in alphabetical order."""
    return tuple(
        sorted(
            {
                key
                for moment in moments
                for key, value in moment.info.items()
                if isinstance(key, str) and protocol.is_number(value)
            }
        )
    )


@contextmanager
def generators_untouched() -> Iterator[None]:
    """Put the process's global generators back as they were, whatever an environment draws from them."""
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global generator is the very thing to protect
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above
