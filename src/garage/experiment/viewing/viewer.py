"""The process that shows policies, as whoever starts it sees it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Self

from garage.core.ports import Env
from garage.experiment.viewing.messages import Beginning, Request, Told, receive, send
from garage.recording.whole_files import unfinished_path
from garage.sampler.pickling import pickled_env, pickled_registrations

_STARTED_BY = (
    "import sys; sys.path[:] = sys.argv[2:]; from garage.experiment.viewing.child import main; main(int(sys.argv[1]))"
)
"""With the path of the script that trains, for its modules; the script itself is not run again."""
_MOST_LINES = 5


class Viewer:
    """A process that shows policies in one world; leaving the block ends it, whatever it does.

    It is in a session of its own, so that Ctrl-C reaches training alone. When this process ends, however it does, it
    leaves.

    Args:
        env: the world.
        mode: `garage.envs.rendered.WINDOW` or `garage.envs.rendered.PICTURES`.

    Raises:
        UnsendableError: the world cannot be pickled.
    """

    def __init__(self, env: Env, mode: str) -> None:
        self.mode = mode
        self._beginning = Beginning(env=pickled_env(env), registrations=pickled_registrations(), mode=mode)
        self._asked: Request | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start it."""
        with contextlib.ExitStack() as stack:
            self._words = stack.enter_context(tempfile.TemporaryFile())
            ours, theirs = Pipe()
            self._connection: Connection = stack.enter_context(ours)
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and no shell
                    [sys.executable, "-P", "-c", _STARTED_BY, str(theirs.fileno()), *map(str, sys.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._words,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            stack.callback(self._end)
            with contextlib.suppress(ConnectionError):  # it has died at once, which is said when it is asked
                send(self._connection, self._beginning)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and forget a film that is not finished."""
        self._stack.close()

    @property
    def is_busy(self) -> bool:
        """Whether it has been asked for something, and `answer` has not returned the outcome yet."""
        return self._asked is not None

    def ask(self, request: Request) -> None:
        """Ask for something; one thing at a time."""
        self._asked = request
        with contextlib.suppress(ConnectionError):  # it has died, which the answer says
            send(self._connection, request)

    def answer(self, timeout_seconds: float | None) -> Told | None:
        """The outcome of what was asked for; None if nothing was, or if it is not finished in that time."""
        if self._asked is None or not self._connection.poll(timeout_seconds):
            return None
        try:
            told = receive(self._connection, Told)
        except (EOFError, ConnectionError):
            told = Told(failed=f"its process {self._how_it_died()}")
        self._asked = None
        return told

    def _how_it_died(self) -> str:
        status = self._process.wait()
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").split("\n")
        said = "\n".join([line for line in lines if line.strip()][-_MOST_LINES:])
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
        return f"{how}; it said: {said}" if said else how

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # and what makes the film
        self._process.wait()
        if self._asked is not None and self._asked.path:
            path = Path(self._asked.path)
            unfinished_path(path).unlink(missing_ok=True)
