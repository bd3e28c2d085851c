"""A process of ``garage chaos``: runs a user's experiment in surroundings that no two processes share."""

import importlib
import inspect
import logging
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from garage import process
from garage.cli import experiment_files, parameters
from garage.cli.main import exit_code
from garage.cli.resume import resume
from garage.core.ports import Policy, Stateful
from garage.errors import ArgumentError, GarageError, NothingLeftError
from garage.experiment.chaos.attempt import Job, tell
from garage.experiment.chaos.attributes import COLLECTOR, attributes
from garage.experiment.chaos.comparison import Seen
from garage.experiment.chaos.words import words
from garage.experiment.context import Experiment, launch
from garage.experiment.deterministic import set_seed
from garage.experiment.directories import DATA
from garage.experiment.run_state import Run
from garage.experiment.watching import watched_by
from garage.storage.run_directory import RunDirectory

if TYPE_CHECKING:
    from types import ModuleType

_FAILED = 1
_LOOK_SECONDS = 0.001
_LONGEST_WRITE_SECONDS = 60.0
_SHUFFLED = ("garage.algos", "garage.baselines", "garage.envs", "garage.np.policies", "garage.np.value_functions")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"})


def main(job_path: Path, tells: int, held: int) -> int:
    """Do a job; its exit status is that of ``garage run``."""
    job = msgspec.json.decode(job_path.read_bytes(), type=Job)
    sys.addaudithook(_guard((Path.cwd() / DATA).absolute(), Path(job.scratch)))
    kept = _perturb(job.perturbation)
    watch = _Watch(job, tells)
    logging.getLogger("garage").addHandler(watch)
    try:
        with watched_by(watch.see):
            _run(job, watch)
    except GarageError as error:
        sys.stderr.write("\n".join([f"Error: {error}", *getattr(error, "__notes__", ())]) + "\n")
        return exit_code(error)
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is the experiment's answer
        traceback.print_exception(error)
        return _FAILED
    del kept
    tell(tells, epoch=watch.epoch, number=watch.number, text="the end", ended=True)
    os.read(held, 1)  # returns when whoever started this lets go, or has ended
    return 0


def _run(job: Job, watch: "_Watch") -> None:
    path = Path(job.path)
    has_snapshot = _is_saved(path)
    if has_snapshot and job.by_recipe:
        run = next(each for each in _runs_of(path) if RunDirectory(each).manifest_epochs())
        try:
            resume.main([str(run), "--trust"], standalone_mode=False)
        except NothingLeftError as error:
            print(error)  # noqa: T201 - into the log of this process
        return
    file, function = experiment_files.split_target(job.target)
    watch.module = experiment_files.load(file)
    experiment = experiment_files.only(experiment_files.experiments_of(watch.module, function), file)
    arguments = parameters.parsed(job.words, experiment)
    options = experiment.options.overridden(
        {
            "log_dir": str(path),
            "snapshot_mode": "all",
            "snapshot_gap": 1,
            "snapshot_seconds": None,
            "keep_best": None,
            "archive_launch_repo": False,
            "use_existing_dir": False,
        }
    )
    if job.seed is not None and not has_snapshot:
        set_seed(job.seed)
    try:
        launch(Experiment(inspect.unwrap(experiment), options), arguments, resume="auto")
    except NothingLeftError as error:
        print(error)  # noqa: T201 - see above


def _runs_of(path: Path) -> list[Path]:
    """A run's directory, and those that were begun because it was there without a run in it."""
    return sorted(path.parent.glob(f"{path.name}*"))


def _is_saved(path: Path) -> bool:
    return any(RunDirectory(each).manifest_epochs() for each in _runs_of(path))


class _Watch(logging.Handler):
    """Tells of each epoch and each line of the log, and writes down what the objects remember."""

    def __init__(self, job: Job, tells: int) -> None:
        super().__init__(logging.INFO)
        self._tells, self._seen_path, self._path = tells, Path(job.seen_path), Path(job.path)
        self.module: ModuleType | None = None
        self.epoch, self.number = -1, 0

    def see(self, epoch: int, run: Run) -> None:
        """Before an epoch, and after the last one."""
        if self.epoch < 0 and process.get_seed() is None:
            tell(self._tells, seed=run.seed)
        roots: dict[str, object] = {"algo": run.algo, "env": run.env, COLLECTOR: run.collector}
        # Of an algorithm that is pickled whole, no snapshot holds the weights as values.
        policies: Mapping[str, Policy] = {} if isinstance(run.algo, Stateful) else run.algo.policies()
        thetas = {name: words(policy.theta) for name, policy in policies.items()}
        seen = Seen(epoch=epoch, thetas=thetas, attributes=attributes(roots, self.module))
        with self._seen_path.open("ab") as file:
            file.write(msgspec.json.encode(seen) + b"\n")
        if self.epoch >= 0:
            self._wait_for_snapshot()
        self.epoch, self.number = epoch, 0
        tell(self._tells, epoch=epoch)

    def _wait_for_snapshot(self) -> None:
        """Until the run has one, so that also a run of short epochs can be killed when there is one to go on from."""
        end = time.monotonic() + _LONGEST_WRITE_SECONDS
        while not _is_saved(self._path) and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the log."""
        if not record.__dict__.get("plain"):
            self.number += 1
            text = record.getMessage().partition("\n")[0][:100]
            tell(self._tells, epoch=self.epoch, number=self.number, text=text)


def _perturb(perturbation: int) -> object:
    """Other addresses, as long as the result is held; another order of imports, other states of the generators."""
    rng = random.Random(perturbation)  # noqa: S311 - no secret
    kept = [np.empty(rng.randrange(1, 100_000), np.uint8) for _ in range(200)]
    for module in rng.sample(_SHUFFLED, len(_SHUFFLED)):
        importlib.import_module(module)
    random.seed(perturbation)
    np.random.seed(perturbation)  # noqa: NPY002 - users' code may draw from it
    return kept


def _guard(data: Path, scratch: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """Refuses to change anything in the user's own folder of runs."""
    forbidden, allowed = f"{data}{os.sep}", f"{scratch}{os.sep}"

    def check(event: str, details: tuple[Any, ...]) -> None:
        if event in _CHANGES or (event == "open" and isinstance(details[2], int) and details[2] & _WRITES):
            names = [details[0], details[1]] if event in {"os.rename", "os.link", "os.symlink"} else [details[0]]
            for name in names:
                path = os.path.abspath(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else ""  # noqa: PTH100 - links must not be followed
                if f"{path}{os.sep}".startswith(forbidden) and not path.startswith(allowed):
                    msg = (
                        f"The experiment would write to {path}, but `garage chaos` touches no run of yours. "
                        "Give the function's ctxt to its trainer: Trainer(ctxt)."
                    )
                    raise ArgumentError(msg)

    return check


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
