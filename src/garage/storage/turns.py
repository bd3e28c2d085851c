"""Turns of processes in a folder, by an advisory lock of the system on the folder itself; it ends with the process."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_PAUSE_SECONDS = 0.005


@contextlib.contextmanager
def turn_in(folder: Path, patience: float) -> Iterator[None]:
    """While it lasts, nobody else has a turn in a folder.

    Args:
        folder: where; without it there are no turns.
        patience: seconds after which whoever has the turn was stopped, and is no longer waited for. Where the file
            system has no such locks, there are no turns.
    """
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        end = time.monotonic() + patience
        while _is_taken(opened) and time.monotonic() < end:
            time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        with contextlib.suppress(OSError):  # see above
            fcntl.flock(opened, fcntl.LOCK_UN)  # closing is not enough: a process that was forked has it open, too
        os.close(opened)


def _is_taken(folder: int) -> bool:
    """Whether it is somebody else's turn; else it is ours from now on."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there are no such locks here
        return False
    return False
