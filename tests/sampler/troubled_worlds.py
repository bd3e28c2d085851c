"""Worlds on which something happens to the process that runs them, at one step of one episode."""

import ctypes
import os
import signal
import sys
import threading

import numpy as np

from sampler.toy_worlds import Ladder


def three_to_nine(seed):
    return 3 + seed % 7


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    threading.Event().wait()


def hang_in_native_code():
    """Without giving the interpreter away, so that no other thread and no handler runs."""
    ctypes.PyDLL(None).pause()


def leave():
    sys.exit(3)


def be_asked_to_stop():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(os.getpid(), number)


class Troubled(Ladder):
    """A ladder with a trouble.

    Args:
        trouble: a function of this module.
        seed: of the episode in which it happens, at its third step.
        once: a file that says that it has happened, so that it does not again; None: it always does.
    """

    def __init__(self, trouble, seed, once=None):
        super().__init__(three_to_nine)
        self.trouble, self.seed, self.once = trouble, seed, once

    def end(self, seed, age):
        if seed == self.seed and age == 3 and self._is_first():
            self.trouble()
        return super().end(seed, age)

    def _is_first(self):
        if self.once is None:
            return True
        try:
            self.once.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Announced(Ladder):
    """Says which process runs it, through a pipe with a name, and hangs for ever."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def end(self, seed, age):
        with self.path.open("w") as file:
            file.write(f"{os.getpid()}\n")
        hang()


class Unsendable(Ladder):
    """Holds what cannot be pickled, and says so only when it is."""

    def __init__(self):
        super().__init__()
        self.settings = {"speed": 1.0, "window": [threading.Lock()]}


class Unbuildable(Ladder):
    """Can be pickled, and not be rebuilt."""

    def __reduce__(self):
        return missing, ("a map",)


def missing(what):
    msg = f"no {what} here"
    raise FileNotFoundError(msg)


class Failing:
    """A policy that raises something of its own."""

    name, initialised = "failing", True

    def __init__(self, spec):
        self.spec = spec

    def initial_memory(self, n):
        return np.zeros((n, 0))

    def draw_noise(self, generator, n_steps):
        return generator.standard_normal((n_steps, 1))

    def act(self, observations, memory, noise):
        return 1 // 0, memory, {}
