"""A few steps taken in an environment to learn what it does: whether it can be repeated, what it reports."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from garage.core.types import Array
from garage.errors import UnseededWorldError

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
            observation, _ = env.reset(seed=seed)
            moments.append(
                Moment(seed, 0, None, np.array(observation), 0.0, terminated=False, truncated=False, info={})
            )
        step += 1
        action = actions.sample()
        observation, reward, terminated, truncated, info = env.step(action)
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


def check_repeatable(
    name: str, env: "gymnasium.Env[Any, Any]", fresh: "gymnasium.Env[Any, Any] | None"
) -> list[Moment]:
    """Rehearse twice, and once more in a fresh environment of the same kind.

    Args:
        name: the world's name, for messages.
        env: the environment.
        fresh: another one of the same kind, or None if there can be only one.

    Returns:
        The first rehearsal.

    Raises:
        UnseededWorldError: the rehearsals differ.
    """
    seen = rehearse(env)
    repeats = {"repeated in the same environment": env}
    if fresh is not None:
        repeats["repeated in a second, freshly made environment"] = fresh
    for how, repeated in repeats.items():
        difference = first_difference(seen, rehearse(repeated))
        if difference is not None:
            msg = (
                f"{name} cannot be repeated: the same seed and actions, {how}, gave another {difference}. Expected the "
                "same bits. Draw every random number from `self.np_random`, which `super().reset(seed=seed)` seeds, "
                "and set everything else back in `reset`."
            )
            raise UnseededWorldError(msg)
    return seen


def numeric_info_keys(moments: Sequence[Moment]) -> tuple[str, ...]:
    """Keys of ``info`` that held a number in any of the moments, in alphabetical order."""
    return tuple(
        sorted(
            {
                key
                for moment in moments
                for key, value in moment.info.items()
                if isinstance(key, str) and numeric_scalar(value)
            }
        )
    )


def numeric_scalar(value: object) -> bool:
    """Whether a value of ``info`` is one real number."""
    if isinstance(value, bool | int | float):
        return True
    return isinstance(value, np.generic | np.ndarray) and value.shape == () and value.dtype.kind in "biuf"


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
