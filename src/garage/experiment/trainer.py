"""The trainer: the public face of setting up, training, saving, restoring and resuming."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from garage import process
from garage.core import options
from garage.core.ports import Algorithm, Env, Sampler, Stateful
from garage.core.spaces import check_fit, check_wrapped
from garage.core.streams import Streams
from garage.errors import ArgumentError, OrderError, RecipeError
from garage.experiment import recipes, restoring, training
from garage.experiment.arguments import Stats, TrainArgs, evaluation_checked
from garage.experiment.collector import Collector
from garage.experiment.context import ExperimentContext
from garage.experiment.executors import sampler_for
from garage.experiment.metric_frame import metric_frame
from garage.experiment.progress import Progress
from garage.experiment.run_state import Run
from garage.experiment.saving import capture, write_provenance, writing
from garage.recording.console import console
from garage.storage.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


class Trainer:
    """Trains an algorithm in an environment, saves, restores and resumes it.

    Args:
        snapshot_config: where to write and which snapshots to keep: the experiment function's ``ctxt``. Without
            one, ``data/local/experiment/<script name>``, made by ``train``.
        on_save_error: ``"raise"`` ends training at the next epoch when the disk refuses a snapshot; ``"warn"`` goes on.
        n_threads: of BLAS and of each framework; more can be faster for large networks, and changes last bits. By
            default one, or after ``restore`` as many as the run was trained with.
        sampler: who runs the lanes, unless ``setup`` says; by default this process. It changes no number, so a run
            can go on with another one.
        eval_every: evaluate the policy greedily after each epoch that is divisible by it, as ``EvaluationGreedy/*``,
            on streams and lanes of its own; 0 for never. By default never, or after ``restore`` as the run was.
        eval_episodes: of an evaluation; by default 10, or after ``restore`` as many as the run had.
    """

    def __init__(  # noqa: PLR0913 - each is one independent choice with a default
        self,
        snapshot_config: ExperimentContext | None = None,
        *,
        on_save_error: str = "raise",
        n_threads: int | None = None,
        sampler: Sampler | None = None,
        eval_every: int | None = None,
        eval_episodes: int | None = None,
    ) -> None:
        if snapshot_config is not None and not isinstance(snapshot_config, ExperimentContext):
            msg = (
                "Trainer's snapshot_config must be the ctxt of an experiment function, or None, got "
                f"{snapshot_config!r}. For a directory of your choice: Trainer(ExperimentContext('runs/a'))."
            )
            raise ArgumentError(msg)
        if on_save_error not in {"raise", "warn"}:
            msg = f"on_save_error must be 'raise' or 'warn', got {on_save_error!r}."
            raise ArgumentError(msg)
        options.check("Trainer", n_threads=(n_threads, options.COUNT_OR_NONE))
        self._on_save_error = on_save_error
        self._progress = Progress(config=snapshot_config, n_threads=options.plain(n_threads), sampler=sampler)
        self._progress.evaluation = evaluation_checked(eval_every, eval_episodes)

    @property
    def algo(self) -> Algorithm:
        """The algorithm that was set up or restored."""
        return self._progress.need_run("trainer.algo").algo

    @property
    def env(self) -> Env:
        """The environment that was set up or restored."""
        return self._progress.need_run("trainer.env").env

    @property
    def total_env_steps(self) -> int:
        """Environment steps of all training episodes so far."""
        return self._progress.stats.total_env_steps

    @property
    def stats(self) -> Stats:
        """How far the run got."""
        return self._progress.stats

    @property
    def snapshot_dir(self) -> Path | None:
        """Where this trainer writes; None until it does, without a context."""
        writer, config = self._progress.writer, self._progress.config
        if writer is not None:
            return writer.directory.path
        return None if config is None else Path(config.snapshot_dir)

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
            sampler: who runs the lanes; by default whom the trainer was given.
            n_lanes: environments that step together, by default chosen from world and batch size. Part of what
                decides a run's numbers, so it is saved and stays.
            n_groups: units of work of a collect; likewise.

        Raises:
            ArgumentError: one of them is something else.
            MismatchError: a policy does not fit the environment.
            OrderError: this trainer has trained or restored already.
        """
        progress = self._progress
        if progress.args is not None:
            msg = "This trainer has trained or restored already, with other objects. Use a new Trainer for these."
            raise OrderError(msg)
        check_wrapped(env)
        if isinstance(algo, Env) or not isinstance(env, Env):
            msg = f"Trainer.setup takes an algorithm and an environment, setup(algo, env); got {algo!r} and {env!r}."
            raise ArgumentError(msg)
        with console():
            for policy in algo.policies().values():
                check_fit(policy, env)
            progress.surroundings.check(recipes.parts("algo", algo))
            process.import_loaded_frameworks()
            chosen = process.get_seed()
            seed = process.draw_seed() if chosen is None else chosen
            if chosen is None:
                process.seed_generators(seed)
            algo.initialise(Streams(seed).at("initialise"))
            progress.surroundings.prepare()
            recipe, problem = None, None
            try:
                recipe = recipes.make(algo, env, progress.surroundings)
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
            chosen_sampler = sampler_for(sampler, progress.sampler)
            collector = Collector(env, chosen_sampler, algo.discount, n_lanes=n_lanes, n_groups=n_groups)
            progress.run = Run(
                algo, env, collector, progress.surroundings, seed, recipe, problem, seed_is_drawn=chosen is None
            )
            progress.is_set_up = progress.is_whole = True

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
            plot: after each epoch, show the policy in a window or, without a screen, film it to ``videos/``.
            store_episodes: keep the last epoch's episodes in the snapshot, as ``trainer.stats.last_episode``.
            pause_for_plot: wait for Enter after each plot.

        Returns:
            The mean return of the last epoch's episodes.

        Raises:
            OrderError: ``setup`` was not called, or this trainer has trained already.
            ArgumentError: an argument is out of range.
            Preempted: SIGTERM, SIGUSR1 or SIGUSR2 came; what was finished is saved, and the process exits with 75.
            KeyboardInterrupt: SIGINT came; what was finished is saved.
        """
        progress = self._progress
        run = progress.need_run("train")
        args = TrainArgs(n_epochs, batch_size, plot, store_episodes, pause_for_plot)
        if progress.args is not None:
            msg = "This trainer has trained or restored already. To go on, call resume(n_epochs=...)."
            raise OrderError(msg)
        progress.need_whole_state()
        with console():
            own = self._own_snapshots()
            if own is not None:
                restoring.restore(progress, own, "last", trust=False)
                args = args.changed(start_epoch=progress.stats.last_itr)
            elif run.seed_is_drawn:
                logger.info("No seed was set; this run drew %d: set_seed(%d) repeats it", run.seed, run.seed)
            return training.train(progress, args, on_save_error=self._on_save_error)

    def save(self, epoch: int) -> None:
        """Save a snapshot of the state after ``epoch``, whatever the snapshot mode.

        Raises:
            OrderError: ``setup`` was not called.
            ArgumentError: the state in memory is that of another epoch.
            StorageError: it could not be written; what was committed before is intact.
        """
        progress = self._progress
        progress.need_run("save")
        progress.need_whole_state()
        finished, epoch = max(0, progress.stats.total_epoch), options.plain(epoch)
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch != finished:
            expected = (
                f"{finished}, the epoch of the state in memory" if progress.stats.last_itr else "0 before training"
            )
            msg = f"Cannot save epoch {epoch!r}: expected {expected}."
            raise ArgumentError(msg)
        with console(), writing(progress) as writer:
            write_provenance(progress, writer)
            writer.commit(capture(progress, epoch, progress.fingerprint()), requested=True)

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
            ArgumentError: the objects would be rebuilt, and the run was forked with other arguments than theirs.
        """
        with console():
            own = self._own_snapshots()
            if own is not None:
                logger.info("This run has snapshots of its own: going on from them instead of from %s", from_dir)
            path = Path(from_dir).expanduser() if own is None else own
            return restoring.restore(self._progress, path, "last" if own else from_epoch, trust=trust)

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
            ArgumentError: an argument is out of range; or one is missing, as the restored snapshot was saved before
                any training.
            NothingLeftError: the run has already reached ``n_epochs``.
            Preempted, KeyboardInterrupt: see `train`.
        """
        progress = self._progress
        if progress.args is None:
            msg = "resume needs something to go on from: call restore(directory) or train(...) first."
            raise OrderError(msg)
        progress.need_whole_state()
        if progress.writer is None and not progress.stats.last_itr and None in (n_epochs, batch_size):
            msg = (
                "This snapshot was saved before any training, so it does not say how much of it there is to be. Give "
                "both: resume(n_epochs=..., batch_size=...), or garage resume --n-epochs N --batch-size N."
            )
            raise ArgumentError(msg)
        args = progress.args.changed(
            n_epochs=n_epochs,
            batch_size=batch_size,
            plot=plot,
            store_episodes=store_episodes,
            pause_for_plot=pause_for_plot,
            start_epoch=progress.stats.last_itr,
        )
        with console():
            restoring.put_back(progress)
            return training.train(progress, args, on_save_error=self._on_save_error)

    def to_frame(self) -> "pd.DataFrame":
        """The metrics of all epochs so far as a pandas frame, with the epoch as its index.

        Raises:
            OrderError: neither ``train`` nor ``restore`` was called before.
            DependencyError: the package pandas is not installed.
        """
        return metric_frame(self._progress)

    def _own_snapshots(self) -> Path | None:
        """The context's directory, if this run is to go on from the snapshots in it."""
        config = self._progress.config
        if config is None or not config.resumes or self._progress.args is not None:
            return None
        path = Path(config.snapshot_dir)
        return path if RunDirectory(path).manifest_epochs() else None
