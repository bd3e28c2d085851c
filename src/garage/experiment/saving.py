"""Capturing what a trainer holds, and opening the run's writer for it."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from garage.core.tracked import keeps_hashed, keeps_none
from garage.experiment.arguments import TrainArgs
from garage.experiment.destination import destination, goes_on_in_place
from garage.experiment.fingerprint import provenance
from garage.experiment.progress import Progress
from garage.experiment.recorders import Recorders
from garage.experiment.run_state import capture_state
from garage.recording.console import debug_log
from garage.storage.retention import retention_of
from garage.storage.run_directory import RunDirectory, pretty
from garage.storage.signing_key import own_key
from garage.storage.writer import Capture, RunWriter, rewind

logger = logging.getLogger(__name__)


def capture(progress: Progress, epoch: int, fingerprint: dict[str, Any], *, is_savable: bool = True) -> Capture:
    """What the trainer holds, as it is now.

    Args:
        progress: the trainer's.
        epoch: the last finished one.
        fingerprint: what it was computed with.
        is_savable: whether a snapshot may be written of it, and not its digest alone.
    """
    run, args, writer = progress.need_run("save"), progress.args, progress.writer
    keeps = keeps_none if writer is None else writer.keeps if is_savable else keeps_hashed
    batch = progress.stats.last_episode if args and args.store_episodes else None
    state, opaque = capture_state(run, epoch, batch, keeps)
    return Capture(
        epoch=epoch,
        state=state,
        opaque=opaque,
        metrics=progress.metrics,
        train_args=TrainArgs(epoch + 1, 1).as_json() if args is None else args.as_json(),
        stats=progress.stats.as_json(),
        fingerprint=fingerprint,
        policies=run.described,
    )


@contextlib.contextmanager
def writing(progress: Progress) -> Iterator[RunWriter]:
    """The run's writer, open; opened anew after training has ended."""
    begins = progress.writer is None
    if progress.writer is None:
        progress.writer = _new_writer(progress)
    else:
        progress.writer.reopen()
    writer = progress.writer
    with contextlib.closing(writer), debug_log(writer.directory.debug_log_path), progress.threads():
        if begins:
            for problem in writer.problems:
                logger.warning("%s", problem)
            logger.info("Writing to %s", writer.directory.path)
        yield writer


def write_provenance(progress: Progress, writer: RunWriter) -> None:
    """What this process was started with, once it changes the run: not if it only looks, cleans up or is refused."""
    if progress.has_provenance:
        return
    found = provenance(progress.need_run("save").env, writer.directory.provenance())
    writer.write_file(writer.directory.provenance_path.name, pretty(found))
    progress.has_provenance = True


def tidy(progress: Progress) -> None:
    """Clean up after a run that was killed when its last epoch was finished already."""
    origin = progress.origin
    if origin is None or not origin.newest or origin.reseeded or progress.writer is not None:
        return
    if goes_on_in_place(progress.config, origin):
        with writing(progress) as writer:
            Recorders(writer).close()


def _new_writer(progress: Progress) -> RunWriter:
    run, origin = progress.need_run("save"), progress.origin
    key, problem = own_key()
    if key is None:
        logger.warning("Snapshots are not signed: %s. To restore them without setup, pass trust=True", problem)
    goal = destination(progress.config, origin, run.seed)
    if goal.last_epoch is not None and origin is not None and not origin.newest:
        rewind(RunDirectory(goal.path), goal.last_epoch)
    return RunWriter(
        goal.info,
        goal.path,
        retention=retention_of(goal.info),
        recipe=run.recipe,
        recipe_problem=run.recipe_problem,
        last_epoch=goal.last_epoch,
        begins_with=goal.begins_with,
        key=key,
    )
