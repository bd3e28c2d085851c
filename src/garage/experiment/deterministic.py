"""The seed of a process, and the state of its generators.

Garage itself draws from `garage.core.streams` only; the process's own generators are for users' code.
"""

import logging
import random
import secrets

import numpy as np

from garage.core.state import take
from garage.core.streams import Streams
from garage.core.types import State
from garage.recording.console import console

logger = logging.getLogger(__name__)


class _Process:
    seed: int | None = None


def set_seed(seed: int) -> None:
    """Set the seed of the experiments of this process, and seed ``random`` and NumPy's legacy generator with it.

    Args:
        seed: any integer of at least 0.

    Raises:
        ArgumentError: it is not.
    """
    seed = Streams(seed).seed
    with console():
        logger.info("Setting seed to %d", seed)
    _Process.seed = seed
    seed_generators(seed)


def get_seed() -> int | None:
    """The seed of this process, or None if ``set_seed`` was not called."""
    return _Process.seed


def forget_seed(previous: int | None) -> None:
    """Let the process have the seed that it had before an experiment."""
    _Process.seed = previous


def seed_generators(seed: int) -> None:
    """Seed ``random`` and NumPy's legacy generator, which users' code may draw from."""
    random.seed(seed)
    np.random.seed(Streams(seed).world_seed("process", "numpy"))  # noqa: NPY002 - users' code may use it


def draw_seed() -> int:
    """A seed for a run that was given none."""
    return secrets.randbits(31)


def generators_state() -> State:
    """The state of the process's generators."""
    version, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - users' code may use it
    return {
        "random": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
        "numpy": {
            "key": numpy_state["state"]["key"].copy(),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
    }


def load_generators_state(state: State) -> None:
    """Put the process's generators back.

    Raises:
        MismatchError: a part of their state is missing.
    """
    owner = "the process's generators"
    ours = take(state, "random", owner)
    words = tuple(int(word) for word in take(ours, "words", owner))
    random.setstate((take(ours, "version", owner), words, take(ours, "gauss", owner)))
    numpys = take(state, "numpy", owner)
    np.random.set_state(  # noqa: NPY002 - users' code may use it
        {
            "bit_generator": "MT19937",
            "state": {"key": take(numpys, "key", owner), "pos": take(numpys, "pos", owner)},
            "has_gauss": take(numpys, "has_gauss", owner),
            "gauss": take(numpys, "gauss", owner),
        }
    )
