"""The runs of one trial: whole ones, and one that is killed again and again."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from garage.errors import ArgumentError
from garage.experiment.chaos.attempt import Attempt, Job
from garage.experiment.chaos.comparison import Parting, Seen, parting, read_seen
from garage.experiment.chaos.moments import Line, moments, n_epochs
from garage.storage.run_directory import RunDirectory

_FEWEST_EPOCHS = 2
_MOST_HASH_SEEDS = 2**32 - 1


class FailedError(Exception):
    """A process of the experiment failed.

    Args:
        status: its exit status.
        complaint: the end of what it printed.
    """

    def __init__(self, status: int, complaint: str) -> None:
        super().__init__(complaint)
        self.status, self.complaint = status, complaint


@dataclass(frozen=True)
class WholeRun:
    """A run that nothing disturbed.

    Attributes:
        path: its directory.
        lines: its signs of progress, the last one its end.
        seen: its objects, by the epoch that came next.
        drawn_seed: its seed, if the experiment sets none.
    """

    path: Path
    lines: tuple[Line, ...]
    seen: dict[int, Seen]
    drawn_seed: int | None

    @property
    def n_epochs(self) -> int:
        """How many it computed."""
        return n_epochs(self.lines)

    @property
    def seconds(self) -> float:
        """From the start of its process to its end."""
        return self.lines[-1].at - self.lines[0].at


@dataclass(frozen=True)
class Kill:
    """What a kill hit.

    Attributes:
        line: the last sign of progress before it.
        began_at: the first epoch of the process; None if it had not come so far.
        resumed: whether the process had gone on from a snapshot.
    """

    line: Line
    began_at: int | None
    resumed: bool


class Trial:
    """Runs an experiment in a scratch folder.

    Args:
        target: ``FILE[:FUNCTION]``.
        words: the experiment's parameters, as on the command line.
        scratch: an empty folder.
        by_recipe: whether a killed run goes on by its recipe.
        seed: decides over moments and perturbations.
    """

    def __init__(self, target: str, words: Sequence[str], scratch: Path, *, by_recipe: bool, seed: int) -> None:
        self._target, self._words, self._scratch, self._by_recipe = target, list(words), scratch, by_recipe
        self._rng = random.Random(seed)  # noqa: S311 - moments, no secrets
        self._seed: int | None = None
        self._hash_seed = 0
        """Of the first whole run; 0 before it."""
        self._n_killed_processes = 0

    def whole(self, name: str = "whole", *, same_hash_seed: bool = False) -> WholeRun:
        """Let the experiment run through.

        Args:
            name: of its folder.
            same_hash_seed: whether sets have the order that they had in the first one.

        Raises:
            FailedError: the experiment failed.
            ArgumentError: it did not train where it was told to, or its training is too short.
        """
        drawn_hash_seed = self._rng.randrange(1, _MOST_HASH_SEEDS)
        if not self._hash_seed:
            self._hash_seed = drawn_hash_seed
        with self._attempt(name, 0, self._hash_seed if same_hash_seed else drawn_hash_seed) as attempt:
            status = attempt.finish()
            if status != 0:
                raise FailedError(status, attempt.complaint())
            lines, drawn = tuple(attempt.lines), attempt.drawn_seed
        seen = {each.epoch: each for each in read_seen(self._seen_path(name, 0))}
        path = self._run_path(name)
        if path is None or not seen:
            msg = (
                f"{self._target} has trained nothing in its ctxt's directory, so there is nothing to kill. Does it "
                "call trainer.train on a Trainer(ctxt)?"
            )
            raise ArgumentError(msg)
        run = WholeRun(path, lines, seen, drawn)
        if run.n_epochs < _FEWEST_EPOCHS:
            msg = (
                f"{self._target} trains for {run.n_epochs} epoch, which leaves none to go on with after a kill. Let it "
                "train for two or more, for example by --n-epochs 5."
            )
            raise ArgumentError(msg)
        self._seed = self._seed if drawn is None else drawn
        return run

    def kills(self, whole: WholeRun, n: int) -> Iterator[Kill]:
        """Run it again, and kill it n times; each process goes on where the one before was killed.

        Raises:
            FailedError: a process failed before it was killed.
        """
        for moment in moments(whole.lines, n, self._rng):
            resumed = self.killed_path is not None
            with self._next_attempt() as attempt:
                if not attempt.kill(moment):
                    raise FailedError(attempt.finish(), attempt.complaint())
                epochs = [line.epoch for line in attempt.lines if line.epoch >= 0]
                yield Kill(attempt.lines[-1], epochs[0] if epochs else None, resumed)

    def finish_killed(self) -> Path:
        """Let the run that was killed come to its end; its directory.

        Raises:
            FailedError: it failed.
        """
        with self._next_attempt() as attempt:
            status = attempt.finish()
            if status != 0:
                raise FailedError(status, attempt.complaint())
        path = self.killed_path
        if path is None:
            raise FailedError(status, "It has no snapshot.")
        return path

    @property
    def killed_path(self) -> Path | None:
        """Directory of the run that is killed, once it has a snapshot."""
        return self._run_path("killed")

    def killed_seen(self) -> list[list[Seen]]:
        """What each of its processes saw."""
        return [read_seen(self._seen_path("killed", n)) for n in range(self._n_killed_processes)]

    def parting(self, whole: WholeRun, other: Path, other_seen: Sequence[Sequence[Seen]]) -> Parting | None:
        """Where another run parts from a whole one.

        Raises:
            StorageError: one of them cannot be read.
        """
        thetas = {each.epoch: each.thetas for seen in other_seen for each in seen}
        return parting(whole.path, other, [{epoch: seen.thetas for epoch, seen in whole.seen.items()}, thetas])

    def _next_attempt(self) -> Attempt:
        number = self._n_killed_processes
        self._n_killed_processes += 1
        return self._attempt("killed", number, self._rng.randrange(1, _MOST_HASH_SEEDS))

    def _attempt(self, name: str, number: int, hash_seed: int) -> Attempt:
        folder = self._scratch / name
        folder.mkdir(exist_ok=True)
        job = Job(
            target=self._target,
            words=self._words,
            path=str(folder / "run"),
            by_recipe=self._by_recipe and name == "killed",
            seed=self._seed,
            perturbation=self._rng.randrange(2**31),
            seen_path=str(self._seen_path(name, number)),
            scratch=str(self._scratch),
        )
        return Attempt(job, folder, number, hash_seed)

    def _seen_path(self, name: str, number: int) -> Path:
        return self._scratch / name / f"seen-{number}.jsonl"

    def _run_path(self, name: str) -> Path | None:
        """The directory that the processes of a run wrote to, once it has a snapshot."""
        found = [path for path in sorted((self._scratch / name).glob("run*")) if RunDirectory(path).manifest_epochs()]
        return found[0] if found else None
