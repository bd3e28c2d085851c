"""A worker process, as its trainer sees it."""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import weakref
from typing import final

from garage.process import PHYSICS_THREADS
from garage.sampler.channel import Channel, mapped, shared_memory
from garage.sampler.packed import MOST_POLICIES, MOST_WORLDS, Outcome, Packed, Shelf
from garage.sampler.worker import PULSE_BYTES

_STARTED_BY = (
    "import sys; sys.path[:] = sys.argv[4:]; from garage.sampler.worker import main; main(*map(int, sys.argv[1:4]))"
)
"""Not by ``multiprocessing``, which would run the user's script again in each worker."""
SECONDS_TO_BEGIN = 60.0

_alive: "weakref.WeakSet[WorkerProcess]" = weakref.WeakSet()


@final
class WorkerProcess:
    """A new Python process, which has this one's ``sys.path``, environment variables and working directory.

    It is in a process group of its own, with whatever its worlds start, so that Ctrl-C reaches the trainer alone and
    none of them outlives it. When this process ends, however it does, the kernel ends the worker.

    Args:
        physics_threads: for lanes whose physics runs in threads, unless the environment says how many.
    """

    def __init__(self, physics_threads: int) -> None:
        channel, theirs = socket.socketpair()
        self._lifeline, their_lifeline = socket.socketpair()
        pulse = shared_memory()
        try:
            os.truncate(pulse, PULSE_BYTES)
            self._pulse = mapped(pulse, PULSE_BYTES).cast("d")
            descriptors = (theirs.fileno(), their_lifeline.fileno(), pulse)
            flags = [*(f"-W{option}" for option in sys.warnoptions), *["-O"] * sys.flags.optimize]
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and no shell
                [sys.executable, *flags, "-P", "-c", _STARTED_BY, *map(str, descriptors), *map(str, sys.path)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                process_group=0,
                env={PHYSICS_THREADS: str(physics_threads)} | os.environ,
            )
        finally:
            os.close(pulse)
            theirs.close()
            their_lifeline.close()
        self._channel = Channel(channel)
        self._registrations = ""
        self.forget_parts()
        _alive.add(self)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def fileno(self) -> int:
        """Readable when an outcome is there, or when it has died."""
        return self._channel.fileno()

    def deadline(self, timeout_seconds: float) -> float:
        """When it counts as hanging, by ``time.monotonic``, if it makes no other step until then.

        Args:
            timeout_seconds: for a step; to start and to make lanes, at least `SECONDS_TO_BEGIN`.
        """
        has_begun = self._pulse[1] >= 0
        return self._pulse[0] + (timeout_seconds if has_begun else max(timeout_seconds, SECONDS_TO_BEGIN))

    @property
    def n_started(self) -> int:
        """How many episodes its group has started."""
        return max(0, int(self._pulse[1]))

    def give(self, packed: Packed, index: int) -> None:
        """Let it run a group.

        Args:
            packed: of a collect.
            index: of the group in it.
        """
        group = packed.groups[index]
        missing = [group.registrations] if group.registrations != self._registrations else []
        self._registrations = group.registrations
        for shelf, name in ((self._worlds, group.env), (self._policies, group.policy)):
            if name not in shelf:
                missing.append(name)
            shelf.ask(name, lambda: None)
            shelf.overdue()
        self._pulse[0], self._pulse[1] = time.monotonic(), -1
        parts = {name: pickle.PickleBuffer(packed.parts[name]) for name in missing}
        with contextlib.suppress(ConnectionError):  # it has died, which `take` says
            self._channel.send((group, parts))

    def take(self) -> Outcome:
        """What became of its group.

        Raises:
            EOFError: it has died.
        """
        outcome: Outcome = self._channel.receive()
        return outcome

    def forget_parts(self) -> None:
        """Send all parts again, for not all may have been taken."""
        self._worlds: Shelf[None] = Shelf(MOST_WORLDS)
        self._policies: Shelf[None] = Shelf(MOST_POLICIES)
        self._registrations = ""

    def finish(self) -> None:
        """Let it close its lanes and end; `end` waits for that."""
        with contextlib.suppress(OSError):  # it has died
            self._channel.finish()

    def end(self, within_seconds: float) -> None:
        """Wait for its end, and kill it if it does not come."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_seconds)
        self.kill()

    def kill(self) -> str:
        """End it at once, with all that its worlds have started.

        Returns:
            How it ended, in words: it may have been dead before.
        """
        if self._process.returncode is None:
            # Its number is its own until it is waited for, so this kills nobody else.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._let_go()
        code = self._process.returncode
        return f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with code {code}"

    def disown(self) -> None:
        """In a fork of the trainer: let go of what is the trainer's."""
        self._process.returncode = 0
        self._let_go()

    def _let_go(self) -> None:
        self._channel.close()
        self._lifeline.close()
        _alive.discard(self)


def _disown_all() -> None:
    for worker in list(_alive):
        worker.disown()


# A fork that held the other ends would keep the workers alive when the trainer has gone.
os.register_at_fork(after_in_child=_disown_all)
