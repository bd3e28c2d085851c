"""The loop: epoch after epoch, each saved, until all are finished or somebody wants to stop."""

import contextlib
import logging
import math
import shlex
import time
import traceback
from collections.abc import Iterator
from contextlib import closing

from garage import process
from garage.errors import ArgumentError, NothingLeftError, StorageError
from garage.experiment import watching
from garage.experiment.arguments import Stats, TrainArgs
from garage.experiment.evaluation import EVALUATED, TrainingEvaluator, check_evaluable
from garage.experiment.progress import Progress
from garage.experiment.recorders import Recorders
from garage.experiment.run_state import compute_epoch
from garage.experiment.saving import capture, tidy, write_provenance, writing
from garage.experiment.signals import Signals
from garage.experiment.status import Status
from garage.experiment.viewing.plot import Plot
from garage.recording.console import epoch_prefix, show_plain, status_line, table_of
from garage.storage.background import BackgroundWriter
from garage.storage.store import row_json
from garage.storage.writer import Capture, RunWriter

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
    args = args.evaluated(progress.evaluation)
    check_evaluable(progress.need_run("train").env, args)
    resumed = progress.stats.total_epoch >= 0
    run, progress.args = progress.need_run("train"), args
    seed = process.get_seed()
    if seed not in {None, run.seed}:
        logger.warning(
            "The seed %d was set too late for this run, which goes on with %d: call set_seed before setup, or, for a "
            "fork, before restore in a new Trainer",
            seed,
            run.seed,
        )
    with writing(progress) as writer, closing(run.collector), Signals(_epoch_seconds(progress.stats)) as signals:
        writer.add_event("resume" if resumed else "start", epoch=args.start_epoch, **args.as_json())
        if progress.changes:
            writer.add_event("changed", epoch=args.start_epoch, changes=progress.changes)
            progress.changes = ()
        loop = _Loop(progress, args, writer, signals)
        logger.info("Obtaining samples...")
        progress.is_whole = False
        try:
            with (
                closing(loop.recorders),
                signals.interruptible(),
                BackgroundWriter(writer, on_error=on_save_error) as saver,
                loop.shown(),
            ):
                loop.run(saver)
        except BaseException as error:
            with contextlib.suppress(StorageError):  # a full disk takes no event either; the error itself goes on
                if error is signals.stop and signals.received:
                    _preempted(progress, writer, signals)
                else:
                    writer.add_event("failed", error=repr(error), traceback=traceback.format_exc())
            raise
        progress.is_whole = True
        writer.add_event("finished", epoch=args.n_epochs - 1)
        if signals.received:
            logger.info("%s came when all epochs were finished: nothing is lost", signals.name)
    return float((progress.metrics or {})["Evaluation/AverageReturn"])


def _epoch_seconds(stats: Stats) -> float | None:
    """How long an epoch took in earlier trainings."""
    return stats.elapsed_seconds / stats.last_itr if stats.last_itr else None


def _preempted(progress: Progress, writer: RunWriter, signals: Signals) -> None:
    """Say and record what is saved, what is lost, and how to go on."""
    saved, finished, dropped = max(writer.directory.manifest_epochs(), default=-1), progress.stats.total_epoch, ""
    if signals.dropped is not None:
        why = f" ({signals.dropped.error})" if signals.dropped.error else ""
        dropped = f"; epoch {signals.dropped.epoch} was dropped after {signals.dropped.seconds:.1f} s{why}"
        dropped += " and will be computed again"
    if finished < 0:
        after = "before the first epoch was finished"
    elif saved == finished:
        after = f"after epoch {finished}, which is saved"
    else:
        after = f"after epoch {finished}, which is not saved"
        after += ": snapshot_mode is 'none'" if writer.retention.mode == "none" else ""
        after += f"; the epochs after {saved} will be computed again" if saved >= 0 else ""
    by = "" if signals.name == "SIGINT" else f" by {signals.name}"
    logger.info("Interrupted%s %s%s. To go on: %s", by, after, dropped, _command(progress, writer, saved))
    writer.add_event(
        "preempted",
        signal=signals.name,
        epoch=saved if saved >= 0 else None,
        dropped=None if signals.dropped is None else signals.dropped.epoch,
        dropped_seconds=None if signals.dropped is None else round(signals.dropped.seconds, 3),
    )


def _command(progress: Progress, writer: RunWriter, saved: int) -> str:
    """What goes on with the run."""
    path, args = str(writer.directory.path), progress.args
    if progress.config is not None and progress.config.command is not None:
        return progress.config.command
    if saved < 0:
        return "start it again"
    if progress.need_run("resume").recipe is None:
        return f"trainer.setup(algo, env), trainer.restore({path!r}), trainer.resume()"
    words = ["garage", "resume", path]
    if args is not None and saved < args.start_epoch:  # that snapshot knows nothing of what is asked for now
        words += ["--n-epochs", str(args.n_epochs), "--batch-size", str(args.batch_size)]
    return shlex.join(words)


class _Loop:
    """The epochs of one call of ``train`` or ``resume``."""

    def __init__(self, progress: Progress, args: TrainArgs, writer: RunWriter, signals: Signals) -> None:
        self._progress, self._args, self._run = progress, args, progress.need_run("train")
        self._signals, self._fingerprint = signals, progress.fingerprint()
        self.recorders, self._writer = Recorders(writer), writer
        self._x_axis = writer.info.x_axis
        self._clock = time.perf_counter() - progress.stats.elapsed_seconds
        self._unsaved: Capture | None = None
        self._status, self._evaluator = Status(progress, args), TrainingEvaluator(self._run)
        self._plot = Plot(self._run, args, writer.directory.path, signals)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """While it lasts, a line of the terminal says how far it is, and policies are shown if that is asked for."""
        with status_line(self._status.parts), self._plot, closing(self._evaluator):
            yield

    def run(self, saver: BackgroundWriter) -> None:
        """Compute what is left, and hand each epoch to ``saver``.

        Raises:
            BaseException: what ``signals`` raise, when the last finished epoch is saved.
        """
        try:
            try:
                for epoch in range(self._args.start_epoch, self._args.n_epochs):
                    self._signals.check()
                    write_provenance(self._progress, self._writer)
                    watching.show(epoch, self._run)
                    self._epoch(epoch, saver)
                    self._plot.after(epoch)
                watching.show(self._args.n_epochs, self._run)
                self._plot.finish()
            except BaseException as error:
                if error is self._signals.stop:
                    self._save_unsaved(saver)
                raise
        except BaseException:
            if self._signals.again:
                saver.abandon()
            raise

    def _save_unsaved(self, saver: BackgroundWriter) -> None:
        """Commit the last finished epoch, whether or not its turn to be saved has come."""
        if self._signals.again:
            return
        if self._unsaved is not None:
            saver.submit(self._unsaved, is_last=True)
        saver.drain()
        self._progress.is_whole = self._signals.dropped is None

    def _epoch(self, epoch: int, saver: BackgroundWriter) -> None:
        begun = time.perf_counter()
        run, args, progress = self._run, self._args, self._progress
        with epoch_prefix(epoch):
            logger.info("Obtaining samples for iteration %d...", epoch)
            with self._signals.computing(epoch):
                metrics = compute_epoch(run, epoch, args.batch_size)
                if args.eval_every and epoch % args.eval_every == 0:
                    logger.info("Evaluating...")
                    metrics |= self._evaluator.rows(epoch, args.eval_episodes)
            progress.metrics = metrics
            batch = run.collector.last_batch if args.store_episodes else None
            elapsed = time.perf_counter() - self._clock
            progress.stats = Stats(epoch, run.collector.total_env_steps, elapsed, lambda: batch)
            self._save_epoch(epoch, saver, is_last=epoch == args.n_epochs - 1)
            now = time.perf_counter()
            logger.info("Time %.2f s", now - self._clock)
            logger.info("EpochTime %.2f s", now - begun)
        show_plain(table_of(metrics))
        self.recorders.record(epoch, row_json(epoch, "", metrics))
        self._status.epoch_ended()

    def _need_metric(self, name: str | None, purpose: str) -> None:
        """Make sure that the experiment has a metric, or will have it when it is evaluated.

        Raises:
            ArgumentError: it has not.
        """
        found = self._progress.metrics or {}
        comes_later = self._args.eval_every > 0 and name in EVALUATED
        if name is not None and name not in found and not comes_later:
            names = ", ".join(sorted(found))
            msg = f"There is no metric {name!r} {purpose}; this experiment has: {names}."
            raise ArgumentError(msg)

    def _save_epoch(self, epoch: int, saver: BackgroundWriter, *, is_last: bool) -> None:
        progress, before = self._progress, time.perf_counter()
        seconds_since_last = math.inf if is_last else before - progress.saved_at
        self._need_metric(saver.retention.keep_best, "to keep the best snapshot by")
        if epoch == 0 and self._x_axis != "epoch":
            self._need_metric(self._x_axis, "for the x axis")
        is_saved = saver.retention.saves(epoch, seconds_since_last=seconds_since_last)
        if is_saved:
            progress.saved_at = before
            logger.info("Saving snapshot...")
        captured = capture(progress, epoch, self._fingerprint, is_savable=saver.retention.mode != "none")
        stall_seconds = time.perf_counter() - before
        saver.submit(captured, is_saved=is_saved, is_last=is_last, stall_seconds=stall_seconds)
        # Held, so that a signal finds it, and the next capture copies none of its blocks again.
        self._unsaved = None if is_saved or saver.retention.mode == "none" else captured
        if is_saved:
            logger.info("Saved")
