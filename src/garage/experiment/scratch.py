"""A process of its own for what is computed anew, in a folder that is removed afterwards."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Generator
from multiprocessing.connection import Connection
from pathlib import Path

from garage.errors import GarageError
from garage.experiment.rerun import Message, Request, rerun


def rerun_elsewhere(request: Request, folder: Path | None = None) -> Generator[Message]:
    """Do what `garage.experiment.rerun.rerun` does in a spawned process, and pass on what it says.

    What it prints goes to the standard error.

    Args:
        request: what to compute anew, with an absolute path.
        folder: where the process works; None for an empty folder that is removed afterwards.

    Raises:
        GarageError: the process raised it, or ended before its time.
    """
    spawning = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="garage-replay-") as scratch:
        receiver, sender = spawning.Pipe(duplex=False)
        child = spawning.Process(target=_work, args=(request, str(folder or scratch), sender))
        child.start()
        sender.close()
        try:
            with receiver, contextlib.suppress(EOFError):
                while True:
                    said = receiver.recv()
                    if isinstance(said, GarageError):
                        raise said
                    yield said
            child.join()
        finally:
            child.kill()
            child.join()
        if child.exitcode:
            msg = f"The replay ended before its time: its process exited with {child.exitcode}. What it said is above."
            raise GarageError(msg)


def _work(request: Request, folder: str, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent takes it, and ends this process
    os.chdir(folder)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        for said in rerun(request):
            sender.send(said)
    except GarageError as error:
        sender.send(error)
