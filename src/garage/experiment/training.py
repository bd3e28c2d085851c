"""The loop: epoch after epoch, each saved, until all are finished or somebody wants to stop."""

import contextlib
import logging
import math
import time
import traceback
from typing import NoReturn

from garage.errors import ArgumentError, NothingLeftError, StorageError
from garage.experiment import watching
from garage.experiment.arguments import Stats, TrainArgs
from garage.experiment.progress import Progress
from garage.experiment.run_state import compute_epoch
from garage.experiment.saving import capture, tidy, writing
from garage.experiment.signals import Interrupts
from garage.recording.console import epoch_prefix, show_plain, table_of
from garage.recording.progress_table import ProgressTable
from garage.storage.background import BackgroundWriter
from garage.storage.store import row_json
from garage.storage.writer import RunWriter

logger = logging.getLogger(__name__)


def train(progress: Progress, args: TrainArgs, *, on_save_error: str) -> float:
    """Train up to ``args.n_epochs`` and return the mean return of the last epoch's episodes.

    Args:
        progress: what the trainer holds; it is brought forward.
        args: what is asked for.
        on_save_error: ``"raise"`` or ``"warn"``.

    Raises:
        NothingLeftError: that many epochs are finished already.
    """
    if args.start_epoch >= args.n_epochs:
        tidy(progress)
        msg = (
            f"There is nothing left to do: {args.start_epoch} epochs are finished and n_epochs={args.n_epochs} is "
            f"the total. To train on, ask for more than {args.start_epoch}."
        )
        raise NothingLeftError(msg)
    resumed = progress.stats.total_epoch >= 0
    run, progress.args = progress.need_run("train"), args
    with writing(progress) as writer, contextlib.closing(run.collector):
        writer.add_event("resume" if resumed else "start", epoch=args.start_epoch, **args.as_json())
        loop = _Loop(progress, args, writer)
        logger.info("Obtaining samples...")
        progress.is_whole = False
        try:
            with BackgroundWriter(writer, on_error=on_save_error) as saver:
                loop.run(saver)
        except BaseException as error:
            with contextlib.suppress(StorageError):  # a full disk takes no event either; the error itself goes on
                writer.add_event("failed", error=repr(error), traceback=traceback.format_exc())
            raise
        progress.is_whole = True
        writer.add_event("finished", epoch=args.n_epochs - 1)
    return float((progress.metrics or {})["Evaluation/AverageReturn"])


class _Loop:
    """The epochs of one call of ``train`` or ``resume``."""

    def __init__(self, progress: Progress, args: TrainArgs, writer: RunWriter) -> None:
        self._progress, self._args, self._run = progress, args, progress.need_run("train")
        self._fingerprint = progress.fingerprint()
        self._table = ProgressTable(writer.directory.table_path, writer.info.x_axis, writer.rows())
        self._path = writer.directory.path
        self._clock = time.perf_counter() - progress.stats.elapsed_seconds
        self._is_saved = False

    def run(self, saver: BackgroundWriter) -> None:
        """Compute what is left, and hand each epoch to ``saver``."""
        with Interrupts() as interrupts:
            for epoch in range(self._args.start_epoch, self._args.n_epochs):
                watching.show(epoch, self._run)
                self._epoch(epoch, saver)
                interrupts.epoch_ended()
                if interrupts.requested:
                    self._stop(epoch, saver)
            watching.show(self._args.n_epochs, self._run)

    def _stop(self, epoch: int, saver: BackgroundWriter) -> NoReturn:
        """End training after an epoch, as Ctrl-C asked for."""
        self._progress.is_whole = True
        if saver.retention.mode != "none" and not self._is_saved:
            saver.submit(capture(self._progress, epoch, self._fingerprint), requested=True)
        saver.drain()
        saved = "which is not saved: snapshot_mode is 'none'" if saver.retention.mode == "none" else "which is saved"
        logger.info("Interrupted after epoch %d, %s. To go on: garage resume %s", epoch, saved, self._path)
        raise KeyboardInterrupt

    def _epoch(self, epoch: int, saver: BackgroundWriter) -> None:
        begun = time.perf_counter()
        run, args, progress = self._run, self._args, self._progress
        with epoch_prefix(epoch):
            logger.info("Obtaining samples for iteration %d...", epoch)
            metrics = progress.metrics = compute_epoch(run, epoch, args.batch_size)
            batch = run.collector.last_batch if args.store_episodes else None
            elapsed = time.perf_counter() - self._clock
            progress.stats = Stats(epoch, run.collector.total_env_steps, elapsed, lambda: batch)
            self._save_epoch(epoch, saver, is_last=epoch == args.n_epochs - 1)
            now = time.perf_counter()
            logger.info("Time %.2f s", now - self._clock)
            logger.info("EpochTime %.2f s", now - begun)
        show_plain(table_of(metrics))
        self._table.record(epoch, row_json(epoch, "", metrics))

    def _save_epoch(self, epoch: int, saver: BackgroundWriter, *, is_last: bool) -> None:
        progress, before = self._progress, time.perf_counter()
        seconds_since_last = math.inf if is_last else before - progress.saved_at
        best = saver.retention.keep_best
        if best is not None and best not in (progress.metrics or {}):
            names = ", ".join(sorted(progress.metrics or {}))
            msg = f"There is no metric {best!r} to keep the best snapshot by; this experiment has: {names}."
            raise ArgumentError(msg)
        self._is_saved = saver.retention.saves(epoch, seconds_since_last=seconds_since_last)
        if self._is_saved:
            progress.saved_at = before
            logger.info("Saving snapshot...")
        captured = capture(progress, epoch, self._fingerprint, is_saved=self._is_saved)
        stall_seconds = time.perf_counter() - before
        saver.submit(captured, is_saved=self._is_saved, is_last=is_last, stall_seconds=stall_seconds)
        if self._is_saved:
            logger.info("Saved")
