"""One process that runs a user's experiment; it can be killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from garage.experiment.chaos.moments import Line, Moment

MODULE = "garage.cli.chaos_child"
_TAIL_LINES = 25


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to do."""

    target: str
    """``FILE[:FUNCTION]``."""
    words: list[str]
    """The experiment's parameters, as on the command line."""
    path: str
    """The run's directory, which it begins or goes on with."""
    by_recipe: bool
    """Whether it goes on by the recipe, if there is a snapshot."""
    seed: int | None
    """For an experiment that sets none."""
    perturbation: int
    """Decides over addresses, order of imports and the first state of the process's generators."""
    seen_path: str
    """Where it writes what it sees of the objects."""
    scratch: str
    """All that it may write to, besides the user's own files."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says of itself, one JSON line each."""

    at: float
    epoch: int = -1
    number: int = 0
    text: str = ""
    seed: int | None = None
    """The one that was drawn, because the experiment sets none."""
    ended: bool = False
    """It has done all; it ends when it is told to."""

    @property
    def line(self) -> Line:
        """As a sign of progress."""
        return Line(self.at, self.epoch, self.number, self.text)


class Attempt:
    """A process at work; leaving its block ends it.

    Args:
        job: what it does.
        folder: for its log and its job.
        number: in their names.
        hash_seed: of the order of its sets.
    """

    def __init__(self, job: Job, folder: Path, number: int, hash_seed: int) -> None:
        self.log_path = folder / f"output-{number}.log"
        job_path = folder / f"job-{number}.json"
        job_path.write_bytes(msgspec.json.encode(job))
        told, tells = os.pipe()
        held, lets_go = os.pipe()
        self._told, self._lets_go = os.fdopen(told, "rb"), lets_go
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, with a module of ours
                [sys.executable, "-m", MODULE, str(job_path), str(tells), str(held)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
                pass_fds=(tells, held),
                start_new_session=True,  # so that what it has started ends with it
            )
        os.close(tells)
        os.close(held)
        self._at = time.monotonic()
        self.told: list[Told] = [Told(at=self._at)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill_group()
        self._process.wait()
        self._told.close()
        if self._lets_go >= 0:
            os.close(self._lets_go)

    def finish(self) -> int:
        """Let it do all there is to do; its exit status."""
        for told in self._listen():
            if told.ended:
                os.close(self._lets_go)
                self._lets_go = -1
        return self._process.wait()

    def kill(self, moment: Moment) -> bool:
        """Kill it, whatever it is doing; False if it failed by itself before that."""
        before_all = moment.place < (0, 0)
        if not before_all:
            reached = (told for told in self._listen() if told.ended or told.line.place >= moment.place)
            if next(reached, None) is None:
                return False
        time.sleep(moment.delay)
        self._process.kill()
        status = self._process.wait()
        self._kill_group()
        for _ in self._listen():  # what it said before that
            pass
        return status == -signal.SIGKILL

    @property
    def lines(self) -> list[Line]:
        """Its signs of progress, the first one from its start."""
        return [told.line for told in self.told]

    @property
    def drawn_seed(self) -> int | None:
        """The seed that was drawn, if the experiment set none."""
        return next((told.seed for told in self.told if told.seed is not None), None)

    def complaint(self) -> str:
        """The end of what it printed."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> Iterator[Told]:
        while line := self._told.readline():
            if line.endswith(b"\n"):  # a kill may tear the last one
                told = msgspec.json.decode(line, type=Told)
                self.told.append(told)
                yield told


def tell(descriptor: int, **what: Any) -> None:
    """Say something to whoever started this process."""
    os.write(descriptor, msgspec.json.encode(Told(at=time.monotonic(), **what)) + b"\n")
