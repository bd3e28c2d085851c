"""Trains and is sent signals: a process of its own that forks one child a job, so that starting one is cheap.

Jobs come as JSON lines on standard input; the answer to each is the child's exit status, as the interpreter made it,
on standard output. A child sends the job's signals to itself at the job's moment, in the thread that is there then.
"""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import ClassVar

from experiment.parts import Walk, tiny
from garage.algos import TRPO
from garage.errors import NothingLeftError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.storage.disk import Disk

LINES = {
    "before the first epoch": "Obtaining samples...",
    "sampled": "Logging diagnostics...",
    "update": "Start CG optimization",
    "saving": "Saving snapshot...",
    "saved": "Saved",
}


class Moment:
    """When to send which signals, and whether that has happened."""

    name: ClassVar[str] = ""
    epoch: ClassVar[int] = -1
    signals: ClassVar[list[str]] = []
    present: ClassVar[int] = -1
    waits: ClassVar[bool] = False

    @classmethod
    def reached(cls, name, epoch=None):
        if (name, cls.present if epoch is None else epoch) != (cls.name, cls.epoch):
            return
        signals, cls.signals = cls.signals, []
        for number in signals:
            os.kill(os.getpid(), signal.Signals[number])
        if signals and cls.waits:
            threading.Event().wait()


class Told(TRPO):
    """Says which epoch it is in; swallows what is raised there, if it is told to."""

    swallows: ClassVar[bool] = False
    fails: ClassVar[bool] = False
    insists: ClassVar[bool] = False

    def epoch(self, collect, streams):
        Moment.present = streams.path[-1]
        try:
            return super().epoch(collect, streams)
        except BaseException as error:
            if Told.insists:
                os.kill(os.getpid(), signal.SIGTERM)
            if Told.fails:
                msg = "half of an epoch"
                raise ValueError(msg) from error
            if not Told.swallows:
                raise
            return {}


class Stepping(Walk):
    """Has a moment in the middle of an episode."""

    def step(self, action):
        if self.age == 3:
            Moment.reached("sampling")
        return super().step(action)


class Lines(logging.Handler):
    def emit(self, record):
        for name, start in LINES.items():
            if record.getMessage().startswith(start):
                Moment.reached(name)


def watch_the_disk():
    rename, unlink, write = Disk.rename, Disk.unlink, Disk.write

    def watched_rename(self, path, target):
        if target.parent.name == "snapshots":
            Moment.reached("writing", int(target.stem))
        rename(self, path, target)

    def watched_unlink(self, path):
        if path.parent.name == "snapshots" and path.stem.isdecimal():
            Moment.reached("pruning", int(path.stem))
        unlink(self, path)

    def watched_write(self, file, data):
        if b'"event":"finished"' in bytes(data):
            Moment.reached("finished")
        write(self, file, data)

    Disk.rename, Disk.unlink, Disk.write = watched_rename, watched_unlink, watched_write


def run(job):
    log = Path(job["log"]).open("w")  # noqa: SIM115 - it is the child's output until it ends
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    os.environ.update(job.get("environment", {}))
    Moment.name, Moment.epoch, Moment.signals = job.get("moment", ""), job.get("epoch", -1), job.get("signals", [])
    Told.swallows, Told.fails, Told.insists = (job.get(name, False) for name in ("swallows", "fails", "insists"))
    Moment.waits = job.get("waits", False)
    logging.getLogger("garage").addHandler(Lines())
    watch_the_disk()
    for number in job.get("ignores", []):
        signal.signal(signal.Signals[number], signal.SIG_IGN)
    set_seed(2)
    trainer = Trainer(ExperimentContext(job["directory"], resumes=True, **job.get("context", {})))
    trainer.setup(*tiny(Stepping, kind=Told))
    try:
        trainer.train(n_epochs=job["n_epochs"], batch_size=60)
    except NothingLeftError as error:
        print(error)
    finally:
        print("cleaned up", flush=True)


def main():
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
