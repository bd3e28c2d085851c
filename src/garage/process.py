"""What is global in a process: its seed, its generators, and the frameworks that are loaded in it.

Garage itself draws from `garage.core.streams` only; the process's own generators are for users' code. A
framework's folder registers what the framework keeps in the process when it is imported, so whatever was
seeded or restored before that reaches it as well.
"""

import contextlib
import importlib
import os
import random
import secrets
import sys
from collections.abc import Iterator

import numpy as np
import threadpoolctl

from garage.core.ports import Framework
from garage.core.state import take, take_as
from garage.core.streams import Streams
from garage.core.types import Array, State
from garage.errors import MismatchError

PHYSICS_THREADS = "GARAGE_PHYSICS_THREADS"
"""Variable of the environment: how many threads step the physics of lanes. By default, one for each CPU to use."""

_WORDS = 624
"""Of the state of the Mersenne Twister, MT19937."""
_FOLDERS = {"torch": "garage.torch", "tensorflow": "garage.tf"}


class _Process:
    seed: int | None = None
    n_threads: int | None = None
    frameworks: list[Framework]
    generators: State  # as they were restored last, for frameworks that are not imported yet


_Process.frameworks, _Process.generators = [], {}


def n_usable_cpus() -> int:
    """CPUs that this process may use, at least one."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def register(framework: Framework) -> None:
    """Take charge of a framework's generators and threads, from its import on."""
    _Process.frameworks.append(framework)
    if framework.name in _Process.generators:
        framework.load_generators_state(take(_Process.generators, framework.name, "the process's generators"))
    elif _Process.seed is not None:
        framework.seed(_seed_of(framework, _Process.seed))


def frameworks() -> tuple[Framework, ...]:
    """Those that have been imported."""
    return tuple(_Process.frameworks)


def import_loaded_frameworks() -> None:
    """Take charge of the frameworks that users' code has imported."""
    for framework, folder in _FOLDERS.items():
        if framework in sys.modules and folder not in sys.modules:
            importlib.import_module(folder)


@contextlib.contextmanager
def computing(n_threads: int) -> Iterator[None]:
    """While it lasts, BLAS and the frameworks that are imported compute in so many threads, the same bits each time."""
    before = _Process.n_threads
    with contextlib.ExitStack() as stack:
        for framework in frameworks():  # first, for they read how many threads there were
            stack.enter_context(framework.computing(n_threads))
        stack.enter_context(threadpoolctl.threadpool_limits(limits=n_threads))
        _Process.n_threads = n_threads
        try:
            yield
        finally:
            _Process.n_threads = before


def computing_threads() -> int | None:
    """How many threads `computing` has chosen; None outside of it."""
    return _Process.n_threads


def get_seed() -> int | None:
    """The seed of this process, or None if ``set_seed`` was not called."""
    return _Process.seed


def set_process_seed(seed: int | None) -> None:
    """Let the process have a seed, or none, without seeding its generators."""
    _Process.seed = seed


def seed_generators(seed: int) -> None:
    """Seed ``random``, NumPy's legacy generator and those of the frameworks, which users' code may draw from."""
    _Process.generators = {}
    random.seed(seed)
    np.random.seed(Streams(seed).world_seed("process", "numpy"))  # noqa: NPY002 - users' code may use it
    for framework in _Process.frameworks:
        framework.seed(_seed_of(framework, seed))


def draw_seed() -> int:
    """A seed for a run that was given none."""
    return secrets.randbits(31)


def generators_state() -> State:
    """The state of the process's generators."""
    version, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - users' code may use it
    state: State = {
        "random": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
        "numpy": {
            "key": numpy_state["state"]["key"].copy(),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
    }
    for framework in _Process.frameworks:
        state[framework.name] = framework.generators_state()
    return state


def load_generators_state(state: State) -> None:
    """Put the process's generators back.

    Raises:
        MismatchError: a part of their state is missing, or cannot be one.
    """
    owner = "the process's generators"
    ours = take(state, "random", owner)
    words = tuple(int(word) for word in _words(ours, "words", owner))
    random.setstate((take(ours, "version", owner), words, take(ours, "gauss", owner)))
    numpys = take(state, "numpy", owner)
    position = take_as(numpys, "pos", owner, int)
    if not 0 <= position <= _WORDS:  # NumPy takes any, and then draws from memory that is not the generator's
        msg = f"Cannot load the state of {owner}: `numpy/pos` is {position}, expected 0 to {_WORDS}."
        raise MismatchError(msg)
    key = _words(numpys, "key", owner)
    np.random.set_state(  # noqa: NPY002 - users' code may use it
        {
            "bit_generator": "MT19937",
            "state": {"key": key, "pos": position},
            "has_gauss": take(numpys, "has_gauss", owner),
            "gauss": take(numpys, "gauss", owner),
        }
    )
    _Process.generators = state
    for framework in _Process.frameworks:
        if framework.name in state:
            framework.load_generators_state(take(state, framework.name, owner))


@contextlib.contextmanager
def keeping_generators() -> Iterator[None]:
    """Afterwards the process's generators are as they were, whatever has drawn from them meanwhile."""
    state, restored = generators_state(), _Process.generators
    try:
        yield
    finally:
        load_generators_state(state)
        _Process.generators = restored


def _words(state: State, name: str, owner: str) -> Array:
    """Words of a Mersenne Twister; both modules would make other kinds of numbers fit."""
    words = take_as(state, name, owner, np.ndarray)
    if words.dtype != np.uint32:
        msg = f"Cannot load the state of {owner}: `{name}` is of dtype {words.dtype}, expected uint32."
        raise MismatchError(msg)
    return np.asarray(words)


def _seed_of(framework: Framework, seed: int) -> int:
    return Streams(seed).world_seed("process", framework.name)
