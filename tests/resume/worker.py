"""Trains, is killed, and goes on; see storage/children.py.

A child that is told to kills itself by SIGKILL: at its n-th operation on the disk (before it, or in the middle
of a write), at its n-th line of the log, or after some seconds. Its argument names the port to learn in, which is
imported before it forks; a session of TensorFlow is made in the child. A job may ask for worker processes, and for one
of them to be killed so many times, some time after the other.
"""

import contextlib
import importlib
import logging
import os
import random
import signal
import sys
import threading
from pathlib import Path

import numpy as np

from garage.errors import NothingLeftError
from garage.experiment import ExperimentContext, TFTrainer, Trainer
from garage.experiment.deterministic import set_seed
from garage.sampler import ProcessSampler
from resume.experiments import experiment
from storage.children import Countdown, kill_at_operation, kill_self, serve

PORT = sys.argv[1]
importlib.import_module(f"garage.{PORT}.policies")


def kill_at_line(n):
    countdown = Countdown(n)

    class Killer(logging.Handler):
        def emit(self, record):
            if countdown.reached():
                kill_self()

    logging.getLogger("garage").addHandler(Killer())
    logging.getLogger("garage").setLevel(logging.INFO)


def perturb_heap(seed):
    """Other addresses for everything that is allocated from here on, and other states of the process's generators."""
    rng = random.Random(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the process's generators are what must not matter
    return [np.empty(rng.randrange(1, 100_000), np.uint8) for _ in range(200)]


def new_trainer(*args, **options):
    """In its block, if it has one; the process ends before the block does."""
    return TFTrainer(*args, **options).__enter__() if PORT == "tf" else Trainer(*args, **options)


def sampler_of(job):
    """In processes, if the job says so."""
    if not job.get("workers"):
        return None
    sampler = ProcessSampler(job["workers"])

    def kill_one(rng, times):
        with contextlib.suppress(IndexError, ProcessLookupError):  # there is none at the moment
            os.kill(rng.choice(sampler.pids), signal.SIGKILL)
        if times > 1:
            kill_soon(rng, times - 1)

    def kill_soon(rng, times):
        timer = threading.Timer(rng.uniform(0.05, 0.5), kill_one, (rng, times))
        timer.daemon = True
        timer.start()

    if job.get("kill_workers"):
        kill_soon(random.Random(job.get("perturb", 0)), job["kill_workers"])
    return sampler


def train(job):
    """From the beginning, or from the newest snapshot: by values into objects built here, or from the recipe alone."""
    kept = perturb_heap(job.get("perturb", 0))
    path = Path(job["directory"])
    if job.get("bare") and list(path.glob("snapshots/*.json")):
        trainer = new_trainer(sampler=sampler_of(job))
        trainer.restore(path)
        with contextlib.suppress(NothingLeftError):
            trainer.resume(n_epochs=job["n_epochs"])
        return kept
    set_seed(job["seed"])
    context = ExperimentContext(str(path), snapshot_mode=job.get("mode", "last"), resumes=True)
    trainer = new_trainer(context, sampler=sampler_of(job))
    algo, env = experiment(job, PORT)
    trainer.setup(algo, env, n_lanes=job["n_lanes"], n_groups=job.get("n_groups"))
    with contextlib.suppress(NothingLeftError):
        trainer.train(n_epochs=job["n_epochs"], batch_size=job["batch_size"])
    return kept


def run(job):
    if "kill_at_operation" in job:
        kill_at_operation(job["kill_at_operation"], torn=job.get("torn", False))
    if "kill_at_line" in job:
        kill_at_line(job["kill_at_line"])
    if "kill_after" in job:
        signal.signal(signal.SIGALRM, lambda *_: kill_self())
        signal.setitimer(signal.ITIMER_REAL, job["kill_after"])
    os.chdir(Path(job["log"]).parent)  # for libraries that write where they are run
    with Path(job["log"]).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        train(job)


if __name__ == "__main__":
    serve(run)
