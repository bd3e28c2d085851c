"""The trainer owns the loop and nothing else."""

import contextlib
import logging
import math
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import threadpoolctl

from garage import process
from garage.core.ports import Algorithm, Env, Sampler, Stateful, Surroundings
from garage.core.spaces import check_fit
from garage.core.state import take
from garage.core.streams import Streams
from garage.core.tracked import keeps_hashed, keeps_none
from garage.errors import ArgumentError, InUseError, NothingLeftError, OrderError, RecipeError, StorageError
from garage.experiment import recipes
from garage.experiment.arguments import Stats, TrainArgs, loading, recorded, tables
from garage.experiment.collector import Collector
from garage.experiment.context import ExperimentContext
from garage.experiment.destination import Origin, destination, goes_on_in_place
from garage.experiment.deterministic import import_loaded_frameworks
from garage.experiment.fingerprint import differences, fingerprint, provenance, recorded_threads
from garage.experiment.run_state import Run, capture_state, checked_metrics, load_state, restored_episodes
from garage.experiment.signals import Interrupts
from garage.experiment.surroundings import ProcessAlone
from garage.experiment.trust import need_trust
from garage.recording.console import console, debug_log, epoch_prefix, show_plain, table_of
from garage.recording.progress_table import ProgressTable
from garage.sampler.local import LocalSampler
from garage.storage.background import BackgroundWriter
from garage.storage.lock import holder_of, in_use
from garage.storage.retention import retention_of
from garage.storage.run_directory import RunDirectory, pretty
from garage.storage.signing_key import find_key, own_key
from garage.storage.store import SnapshotStore, StoredSnapshot, row_json
from garage.storage.writer import Capture, RunWriter, rewind

logger = logging.getLogger(__name__)


class Trainer:
    """Trains an algorithm in an environment, saves, restores and resumes it.

    Args:
        snapshot_config: where to write and which snapshots to keep: the experiment function's ``ctxt``. Without
            one, ``data/local/experiment/<script name>``, made by ``train``.
        on_save_error: ``"raise"`` ends training at the next epoch when the disk refuses a snapshot; ``"warn"`` goes on.
        n_threads: of BLAS and of each framework; more can be faster for large networks, and changes last bits. By
            default one, or after ``restore`` as many as the run was trained with.
    """

    def __init__(
        self,
        snapshot_config: ExperimentContext | None = None,
        *,
        on_save_error: str = "raise",
        n_threads: int | None = None,
    ) -> None:
        if on_save_error not in {"raise", "warn"}:
            msg = f"on_save_error must be 'raise' or 'warn', got {on_save_error!r}."
            raise ArgumentError(msg)
        if n_threads is not None and (isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1):
            msg = f"n_threads must be an integer of at least 1, got {n_threads!r}."
            raise ArgumentError(msg)
        self._config, self._on_save_error, self._n_threads = snapshot_config, on_save_error, n_threads
        self._run: Run | None = None
        self._args: TrainArgs | None = None
        self._stats = Stats()
        self._origin: Origin | None = None
        self._writer: RunWriter | None = None
        self._metrics: dict[str, Any] | None = None
        self._generators: dict[str, Any] | None = None
        self._set_up = self._interrupted = self._is_saved = False
        self._saved_at = -math.inf
        self._surroundings: Surroundings = ProcessAlone()

    @property
    def algo(self) -> Algorithm:
        """The algorithm that was set up or restored."""
        return self._need_run("trainer.algo").algo

    @property
    def env(self) -> Env:
        """The environment that was set up or restored."""
        return self._need_run("trainer.env").env

    @property
    def total_env_steps(self) -> int:
        """Environment steps of all training episodes so far."""
        return self._stats.total_env_steps

    @property
    def stats(self) -> Stats:
        """How far the run got."""
        return self._stats

    @property
    def snapshot_dir(self) -> Path | None:
        """Where this trainer writes; None until it does, without a context."""
        if self._writer is not None:
            return self._writer.directory.path
        return None if self._config is None else Path(self._config.snapshot_dir)

    def setup(
        self,
        algo: Algorithm,
        env: Env,
        *,
        sampler: Sampler | None = None,
        n_lanes: int | None = None,
        n_groups: int | None = None,
    ) -> None:
        """Take an experiment's objects, give them their first parameters and make their recipe.

        Args:
            algo: what learns.
            env: where.
            sampler: who runs the lanes; by default this process.
            n_lanes: environments that step together, by default chosen from world and batch size. Part of what
                decides a run's numbers, so it is saved and stays.
            n_groups: units of work of a collect; likewise.

        Raises:
            MismatchError: a policy does not fit the environment.
            OrderError: this trainer has trained or restored already.
        """
        if self._args is not None:
            msg = "This trainer has trained or restored already, with other objects. Use a new Trainer for these."
            raise OrderError(msg)
        with console():
            for policy in algo.policies().values():
                check_fit(policy, env)
            self._surroundings.check(recipes.parts("algo", algo))
            import_loaded_frameworks()
            chosen = process.get_seed()
            seed = process.draw_seed() if chosen is None else chosen
            if chosen is None:
                process.seed_generators(seed)
            algo.initialise(Streams(seed).at("initialise"))
            self._surroundings.prepare()
            recipe, problem = None, None
            try:
                recipe = recipes.make(algo, env, self._surroundings)
            except RecipeError as error:
                problem = str(error)
                logger.warning(
                    "This experiment has no recipe: %s. Training goes on; to restore it, a script must call "
                    "trainer.setup(algo, env) first",
                    problem,
                )
            if not isinstance(algo, Stateful):
                logger.warning(
                    "The algorithm has no state_dict(), so each snapshot holds it pickled whole, as an opaque part. "
                    "Only a script that has not called setup can restore it"
                )
            collector = Collector(env, sampler or LocalSampler(), algo.discount, n_lanes=n_lanes, n_groups=n_groups)
            self._run = Run(
                algo, env, collector, self._surroundings, seed, recipe, problem, seed_is_drawn=chosen is None
            )
            self._set_up, self._interrupted = True, False

    def train(
        self,
        n_epochs: int,
        batch_size: int,
        *,
        plot: bool = False,
        store_episodes: bool = False,
        pause_for_plot: bool = False,
    ) -> float:
        """Train from the beginning; under ``garage run --resume``, from the newest snapshot of the run.

        Args:
            n_epochs: in all.
            batch_size: about how many environment steps an epoch; started episodes are finished.
            plot: show the policy while it learns.
            store_episodes: keep the last epoch's episodes in the snapshot, as ``trainer.stats.last_episode``.
            pause_for_plot: wait for Enter after each plot.

        Returns:
            The mean return of the last epoch's episodes.

        Raises:
            OrderError: ``setup`` was not called, or this trainer has trained already.
            ArgumentError: an argument is out of range.
        """
        run = self._need_run("train")
        args = TrainArgs(n_epochs, batch_size, plot, store_episodes, pause_for_plot)
        if self._args is not None:
            msg = "This trainer has trained or restored already. To go on, call resume(n_epochs=...)."
            raise OrderError(msg)
        self._need_whole_state()
        with console():
            own = self._own_snapshots()
            if own is not None:
                self._restore(own, "last", trust=False)
                return self._train(args.changed(start_epoch=self._stats.last_itr))
            if run.seed_is_drawn:
                logger.info("No seed was set; this run drew %d: set_seed(%d) repeats it", run.seed, run.seed)
            return self._train(args)

    def save(self, epoch: int) -> None:
        """Save a snapshot of the state after ``epoch``, whatever the snapshot mode.

        Raises:
            OrderError: ``setup`` was not called.
            ArgumentError: the state in memory is that of another epoch.
            StorageError: it could not be written; what was committed before is intact.
        """
        self._need_run("save")
        self._need_whole_state()
        finished = max(0, self._stats.total_epoch)
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch != finished:
            expected = f"{finished}, the epoch of the state in memory" if self._stats.last_itr else "0 before training"
            msg = f"Cannot save epoch {epoch!r}: expected {expected}."
            raise ArgumentError(msg)
        with console(), self._writing() as writer:
            writer.commit(self._capture(epoch), requested=True)

    def restore(self, from_dir: str | Path, from_epoch: int | str = "last", *, trust: bool = False) -> TrainArgs:
        """Load a snapshot. Nothing on the disk changes.

        In a script that has not called ``setup``, the objects are rebuilt from the run's recipe, which runs the
        code that it names; so the snapshot has to be signed by the user's own key, as those that the user's runs
        write are. After ``setup``, only values are loaded, into the objects that were set up, and no code runs.

        Args:
            from_dir: a run's directory.
            from_epoch: ``"last"``, ``"first"``, ``"best"`` or an epoch.
            trust: rebuild the objects whoever signed the snapshot.

        Returns:
            What the run was trained with; ``start_epoch`` is the first epoch that ``resume`` computes.

        Raises:
            NoSnapshotError: there is no such directory, or no such snapshot in it.
            DamagedError: there is, but none that verifies.
            FormatVersionError: another version of garage wrote it.
            InUseError: another process is writing there, and this trainer has no directory of its own.
            UntrustedError: the objects would be rebuilt, and this user's key has not signed the snapshot.
            SigningKeyError: that key cannot be used.
            RecipeError: the objects cannot be rebuilt.
            MismatchError: the snapshot does not fit the objects that were set up.
        """
        with console():
            own = self._own_snapshots()
            if own is not None:
                logger.info("This run has snapshots of its own: going on from them instead of from %s", from_dir)
            path = Path(from_dir).expanduser() if own is None else own
            return self._restore(path, "last" if own else from_epoch, trust=trust)

    def resume(
        self,
        n_epochs: int | None = None,
        batch_size: int | None = None,
        *,
        plot: bool | None = None,
        store_episodes: bool | None = None,
        pause_for_plot: bool | None = None,
    ) -> float:
        """Go on training after ``restore`` or ``train``; arguments that are left out stay as they were.

        Args:
            n_epochs: in all, not in addition.
            batch_size: see `train`.
            plot: see `train`.
            store_episodes: see `train`.
            pause_for_plot: see `train`.

        Returns:
            The mean return of the last epoch's episodes.

        Raises:
            OrderError: neither ``restore`` nor ``train`` was called before.
            NothingLeftError: the run has already reached ``n_epochs``.
        """
        if self._args is None:
            msg = "resume needs something to go on from: call restore(directory) or train(...) first."
            raise OrderError(msg)
        self._need_whole_state()
        args = self._args.changed(
            n_epochs=n_epochs,
            batch_size=batch_size,
            plot=plot,
            store_episodes=store_episodes,
            pause_for_plot=pause_for_plot,
            start_epoch=self._stats.last_itr,
        )
        with console():
            if self._origin is not None and self._writer is None:
                self._origin = self._choose_seed(self._origin)
                if self._generators is not None and not self._origin.reseeded:  # whatever was drawn or seeded since
                    process.load_generators_state(self._generators)
            return self._train(args)

    def _choose_seed(self, origin: Origin) -> Origin:
        """The snapshot's seed goes on, unless another one has been set in this process: then the run is a fork."""
        run, seed = self._need_run("restore"), process.get_seed()
        chosen = origin.seed if seed is None else seed
        if chosen not in {origin.seed, run.seed}:
            logger.info("seed %d -> %d: differs from its parent from here", origin.seed, chosen)
        run.seed, run.seed_is_drawn = chosen, False
        return replace(origin, reseeded=chosen != origin.seed)

    def _restore(self, path: Path, from_epoch: int | str, *, trust: bool) -> TrainArgs:
        logger.info("Restore from snapshot saved in %s", path)
        holder = holder_of(RunDirectory(path).lock_path) if self._config is None and path.is_dir() else None
        if holder is not None:
            raise InUseError(in_use(RunDirectory(path).lock_path, holder))
        key = None if self._set_up or trust else find_key()
        store = SnapshotStore(path, key)
        snapshot = store.read(from_epoch, with_recipe=not self._set_up)
        manifest = snapshot.manifest
        for problem in snapshot.problems:
            logger.warning("Passed over a damaged snapshot, fell back to epoch %d: %s", manifest.epoch, problem)
        newest = from_epoch == "last" or store.read("last", with_recipe=False).manifest.epoch == manifest.epoch
        if not self._set_up and not trust:
            need_trust(snapshot, path, key)
        args, seconds = recorded(manifest.train_args, manifest.stats, f"Epoch {manifest.epoch} of {path}")
        run = self._run if self._run is not None and self._set_up else self._rebuild(snapshot)
        self._run, self._interrupted = run, True  # until all of it is loaded
        with loading(f"epoch {manifest.epoch} of {path}"):
            load_state(run, snapshot, rebuilt=not self._set_up)
            run.seed = Streams(take(take(snapshot.state, "counters", "the run"), "seed", "the counters")).seed
        origin = self._choose_seed(Origin(path, manifest, run.seed, newest=newest, reseeded=False))
        self._writer, self._origin, self._interrupted = None, origin, False
        self._args = args
        self._metrics = dict(manifest.metrics) or None
        self._stats = Stats(
            args.start_epoch - 1,
            run.collector.total_env_steps,
            seconds,
            lambda: restored_episodes(store.read_episodes(manifest)),
        )
        for line in tables(args.as_json(), manifest.stats):
            logger.info("%s", line)
        self._n_threads = self._n_threads or recorded_threads(manifest.fingerprint)
        with self._threads():
            for line in differences(manifest.fingerprint, self._present_fingerprint()):
                logger.warning("The numbers may differ from the original's in their last bits: %s", line)
        self._generators = take(snapshot.state, "process", "the run")
        if not origin.reseeded:
            with loading(f"epoch {manifest.epoch} of {path}"):
                process.load_generators_state(self._generators)
        return args

    def _rebuild(self, snapshot: StoredSnapshot) -> Run:
        if snapshot.recipe is None:
            msg = (
                f"This run has no recipe ({snapshot.manifest.recipe_problem}), so its objects cannot be rebuilt. "
                "Build them yourself and call trainer.setup(algo, env) before restore."
            )
            raise RecipeError(msg)
        needed = recipes.surroundings_of(snapshot.recipe)
        if needed not in {self._surroundings.name, ProcessAlone.name}:
            msg = (
                f"This run was trained in {needed}: its objects live in a graph and its session, and this trainer has "
                "none. Restore it within `with TFTrainer(ctxt) as trainer:`, or go on with it by `garage resume`."
            )
            raise RecipeError(msg)
        self._surroundings.renew()
        algo, env = recipes.load(snapshot.recipe)
        self._surroundings.check(recipes.parts("algo", algo))
        self._surroundings.prepare()
        collector = Collector(env, LocalSampler(), algo.discount, n_lanes=None, n_groups=None)
        return Run(algo, env, collector, self._surroundings, 0, snapshot.recipe, None)

    def _train(self, args: TrainArgs) -> float:
        if args.start_epoch >= args.n_epochs:
            self._tidy()
            msg = (
                f"There is nothing left to do: {args.start_epoch} epochs are finished and n_epochs={args.n_epochs} is "
                f"the total. To train on, ask for more than {args.start_epoch}."
            )
            raise NothingLeftError(msg)
        resumed = self._stats.total_epoch >= 0
        run, self._args = self._need_run("train"), args
        with self._threads(), self._writing() as writer, contextlib.closing(run.collector):
            writer.add_event("resume" if resumed else "start", epoch=args.start_epoch, **args.as_json())
            table = ProgressTable(writer.directory.table_path, writer.info.x_axis, writer.rows())
            logger.info("Obtaining samples...")
            clock = time.perf_counter() - self._stats.elapsed_seconds
            self._interrupted = True
            try:
                with BackgroundWriter(writer, on_error=self._on_save_error) as saver, Interrupts() as interrupts:
                    for epoch in range(args.start_epoch, args.n_epochs):
                        self._epoch(args, epoch, saver, table, clock)
                        interrupts.epoch_ended()
                        if interrupts.requested:
                            self._stop(epoch, saver)
            except BaseException as error:
                with contextlib.suppress(StorageError):  # a full disk takes no event either; the error itself goes on
                    writer.add_event("failed", error=repr(error), traceback=traceback.format_exc())
                raise
            self._interrupted = False
            writer.add_event("finished", epoch=args.n_epochs - 1)
        return float((self._metrics or {})["Evaluation/AverageReturn"])

    def _stop(self, epoch: int, saver: BackgroundWriter) -> NoReturn:
        """End training after an epoch, as Ctrl-C asked for."""
        self._interrupted = False
        if saver.retention.mode != "none" and not self._is_saved:
            saver.submit(self._capture(epoch), requested=True)
        saver.drain()
        saved = "which is not saved: snapshot_mode is 'none'" if saver.retention.mode == "none" else "which is saved"
        logger.info("Interrupted after epoch %d, %s. To go on: garage resume %s", epoch, saved, self.snapshot_dir)
        raise KeyboardInterrupt

    def _tidy(self) -> None:
        """Clean up after a run that was killed when its last epoch was finished already."""
        if self._origin is None or not self._origin.newest or self._origin.reseeded or self._writer is not None:
            return
        if goes_on_in_place(self._config, self._origin):
            with self._writing() as writer:
                ProgressTable(writer.directory.table_path, writer.info.x_axis, writer.rows())

    def _epoch(self, args: TrainArgs, epoch: int, saver: BackgroundWriter, table: ProgressTable, clock: float) -> None:
        begun = time.perf_counter()
        run = self._need_run("train")
        streams = Streams(run.seed)
        with epoch_prefix(epoch):
            logger.info("Obtaining samples for iteration %d...", epoch)
            run.collector.begin_epoch(epoch, streams, args.batch_size)
            learned = run.algo.epoch(run.collector, streams.at("epoch", epoch))
            run.collector.end_epoch()
            self._metrics = checked_metrics({**learned, **run.collector.metrics()})
            batch = run.collector.last_batch if args.store_episodes else None
            elapsed = time.perf_counter() - clock
            self._stats = Stats(epoch, run.collector.total_env_steps, elapsed, lambda: batch)
            self._save_epoch(epoch, saver, is_last=epoch == args.n_epochs - 1)
            now = time.perf_counter()
            logger.info("Time %.2f s", now - clock)
            logger.info("EpochTime %.2f s", now - begun)
        show_plain(table_of(self._metrics))
        table.record(epoch, row_json(epoch, "", self._metrics))

    def _save_epoch(self, epoch: int, saver: BackgroundWriter, *, is_last: bool) -> None:
        before = time.perf_counter()
        seconds_since_last = math.inf if is_last else before - self._saved_at
        best = saver.retention.keep_best
        if best is not None and best not in (self._metrics or {}):
            names = ", ".join(sorted(self._metrics or {}))
            msg = f"There is no metric {best!r} to keep the best snapshot by; this experiment has: {names}."
            raise ArgumentError(msg)
        self._is_saved = saver.retention.saves(epoch, seconds_since_last=seconds_since_last)
        if self._is_saved:
            self._saved_at = before
            logger.info("Saving snapshot...")
        capture = self._capture(epoch, is_saved=self._is_saved)
        saver.submit(capture, is_saved=self._is_saved, is_last=is_last, stall_seconds=time.perf_counter() - before)
        if self._is_saved:
            logger.info("Saved")

    def _capture(self, epoch: int, *, is_saved: bool = True) -> Capture:
        run = self._need_run("save")
        args = self._args
        keeps = keeps_none if self._writer is None else self._writer.keeps if is_saved else keeps_hashed
        batch = self._stats.last_episode if args and args.store_episodes else None
        state, opaque = capture_state(run, epoch, batch, keeps)
        return Capture(
            epoch=epoch,
            state=state,
            opaque=opaque,
            metrics=self._metrics,
            train_args=TrainArgs(epoch + 1, 1).as_json() if args is None else args.as_json(),
            stats=self._stats.as_json(),
            fingerprint=self._fingerprint,
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[RunWriter]:
        """The run's writer, open; opened anew after training has ended."""
        begins = self._writer is None
        if self._writer is None:
            self._writer = self._new_writer()
        else:
            self._writer.reopen()
        with contextlib.closing(self._writer), debug_log(self._writer.directory.debug_log_path), self._threads():
            if begins:
                for problem in self._writer.problems:
                    logger.warning("%s", problem)
                self._writer.write_file("provenance.json", pretty(provenance()))
                logger.info("Writing to %s", self._writer.directory.path)
            self._fingerprint = self._present_fingerprint()
            yield self._writer

    def _new_writer(self) -> RunWriter:
        run = self._need_run("save")
        key, problem = own_key()
        if key is None:
            logger.warning("Snapshots are not signed: %s. To restore them without setup, pass trust=True", problem)
        goal = destination(self._config, self._origin, run.seed)
        if goal.last_epoch is not None and self._origin is not None and not self._origin.newest:
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

    @contextlib.contextmanager
    def _threads(self) -> Iterator[None]:
        n_threads = self._n_threads or 1
        with contextlib.ExitStack() as stack:
            for framework in process.frameworks():  # first, for they read how many threads there were
                stack.enter_context(framework.computing(n_threads))
            stack.enter_context(threadpoolctl.threadpool_limits(limits=n_threads))
            yield

    def _present_fingerprint(self) -> dict[str, Any]:
        policies = self._need_run("restore").algo.policies()
        kinds = {name: f"{type(policy).__module__}.{type(policy).__qualname__}" for name, policy in policies.items()}
        return {**fingerprint(), "policies": kinds}

    def _own_snapshots(self) -> Path | None:
        """The context's directory, if this run is to go on from the snapshots in it."""
        if self._config is None or not self._config.resumes or self._args is not None:
            return None
        path = Path(self._config.snapshot_dir)
        return path if RunDirectory(path).manifest_epochs() else None

    def _need_run(self, call: str) -> Run:
        if self._run is None:
            msg = f"{call} needs an experiment: call trainer.setup(algo, env) or trainer.restore(directory) first."
            raise OrderError(msg)
        return self._run

    def _need_whole_state(self) -> None:
        if self._interrupted:
            msg = (
                "Training was interrupted in the middle of an epoch, or a restore in the middle of loading, so the "
                "state in memory is of no epoch. Every snapshot is safe: call restore(directory), then resume."
            )
            raise OrderError(msg)
