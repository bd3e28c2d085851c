"""Restoring: a snapshot's values into the objects that were set up, or into objects rebuilt from its recipe."""

import logging
from dataclasses import replace
from pathlib import Path

from garage import process
from garage.core.ports import Sampler, Surroundings
from garage.core.state import take
from garage.core.streams import Streams
from garage.errors import ArgumentError, InUseError, RecipeError
from garage.experiment import recipes
from garage.experiment.arguments import Stats, TrainArgs, loading, recorded, tables
from garage.experiment.collector import Collector
from garage.experiment.destination import Origin
from garage.experiment.executors import sampler_for
from garage.experiment.fingerprint import recorded_threads
from garage.experiment.progress import Progress
from garage.experiment.restore_report import report
from garage.experiment.run_state import Run, load_state, restored_episodes
from garage.experiment.settings import changes
from garage.experiment.surroundings import ProcessAlone
from garage.experiment.trust import need_trust
from garage.storage import changed_arguments
from garage.storage.lock import holder_of, in_use
from garage.storage.run_directory import RunDirectory
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore, StoredSnapshot

logger = logging.getLogger(__name__)


def restore(progress: Progress, path: Path, from_epoch: int | str, *, trust: bool) -> TrainArgs:
    """Load a snapshot into what a trainer holds; see `Trainer.restore`.

    Args:
        progress: the trainer's.
        path: a run's directory.
        from_epoch: ``"last"``, ``"first"``, ``"best"`` or an epoch.
        trust: rebuild the objects whoever signed the snapshot.
    """
    logger.info("Restore from snapshot saved in %s", path)
    holder = holder_of(RunDirectory(path).lock_path) if progress.config is None and path.is_dir() else None
    if holder is not None:
        raise InUseError(in_use(RunDirectory(path).lock_path, holder))
    key = None if progress.is_set_up or trust else find_key()
    store = SnapshotStore(path, key)
    snapshot = store.read(from_epoch, with_recipe=not progress.is_set_up)
    manifest = snapshot.manifest
    for problem in snapshot.problems:
        logger.warning("Passed over a damaged snapshot, fell back to epoch %d: %s", manifest.epoch, problem)
    newest = from_epoch == "last" or store.read("last", with_recipe=False).manifest.epoch == manifest.epoch
    if not progress.is_set_up and progress.config is None:
        _need_built_arguments(RunDirectory(path), manifest.epoch)
    if not progress.is_set_up and not trust:
        need_trust(snapshot, path, key)
    args, seconds = recorded(manifest.train_args, manifest.stats, f"Epoch {manifest.epoch} of {path}")
    set_up = progress.run if progress.is_set_up else None
    run = set_up or rebuilt(snapshot, progress.surroundings, sampler_for(progress.sampler))
    process.import_loaded_frameworks()  # those that the recipe has imported
    progress.run, progress.is_whole = run, False  # until all of it is loaded
    with loading(f"epoch {manifest.epoch} of {path}"):
        lost = load_state(run, snapshot, rebuilt=not progress.is_set_up)
        run.seed = Streams(take(take(snapshot.state, "counters", "the run"), "seed", "the counters")).seed
    origin = _with_seed(run, Origin(path, manifest, run.seed, newest=newest, reseeded=False))
    progress.writer, progress.origin, progress.is_whole = None, origin, True
    progress.has_provenance = False
    progress.args = args
    progress.metrics = dict(manifest.metrics) or None
    progress.stats = Stats(
        args.start_epoch - 1,
        run.collector.total_env_steps,
        seconds,
        lambda: restored_episodes(store.read_episodes(manifest)),
    )
    for line in tables(args.as_json(), manifest.stats):
        logger.info("%s", line)
    progress.n_threads = progress.n_threads or recorded_threads(manifest.fingerprint)
    with progress.threads():
        present = progress.fingerprint()
        for line in report(snapshot, present, lost):
            logger.warning("%s", line)
    progress.changes = tuple(changes(manifest.fingerprint, present))
    progress.generators = take(snapshot.state, "process", "the run")
    if not origin.reseeded:
        with loading(f"epoch {manifest.epoch} of {path}"):
            process.load_generators_state(progress.generators)
    return args


def _need_built_arguments(directory: RunDirectory, epoch: int) -> None:
    """Make sure that what goes on with a run has the arguments that the run records.

    Raises:
        ArgumentError: a fork has changed some, and its recipe would rebuild the objects of the old ones.
    """
    changed = changed_arguments.unbuilt(directory, epoch)
    if not changed:
        return
    said = ", ".join(f"{name}={value!r}" for name, value in changed.items())
    command = changed_arguments.building_command(directory.path, directory.info().arguments)
    msg = (
        f"Cannot go on with epoch {epoch} of {directory.path} by its recipe: the run was forked with {said}, and the "
        "recipe rebuilds objects of the old arguments.\n"
        f"  To build them with the new ones, FILE being the experiment's: {command}\n"
        "  To go on with the old ones: fork the other run again, and change no argument"
    )
    raise ArgumentError(msg)


def put_back(progress: Progress) -> None:
    """Before going on: the seed that was set since, and the process's generators, whatever drew from them since."""
    if progress.origin is None or progress.writer is not None:
        return
    progress.origin = _with_seed(progress.need_run("restore"), progress.origin)
    if progress.generators is not None and not progress.origin.reseeded:
        process.load_generators_state(progress.generators)


def _with_seed(run: Run, origin: Origin) -> Origin:
    """The snapshot's seed goes on, unless another one has been set in this process: then the run is a fork."""
    seed = process.get_seed()
    chosen = origin.seed if seed is None else seed
    if chosen not in {origin.seed, run.seed}:
        logger.info("seed %d -> %d: differs from its parent from here", origin.seed, chosen)
    run.seed, run.seed_is_drawn = chosen, False
    return replace(origin, reseeded=chosen != origin.seed)


def rebuilt(snapshot: StoredSnapshot, surroundings: Surroundings, sampler: Sampler) -> Run:
    """The objects that a snapshot's recipe describes, with nothing loaded into them. This runs code that it names.

    Args:
        snapshot: of a run that has a recipe.
        surroundings: what they are to live in.
        sampler: who runs the lanes.

    Raises:
        RecipeError: there is no recipe, or it cannot be rebuilt here.
    """
    if snapshot.recipe is None:
        msg = (
            f"This run has no recipe ({snapshot.manifest.recipe_problem}), so its objects cannot be rebuilt. "
            "Build them yourself and call trainer.setup(algo, env) before restore."
        )
        raise RecipeError(msg)
    needed = recipes.surroundings_of(snapshot.recipe)
    if needed not in {surroundings.name, ProcessAlone.name}:
        msg = (
            f"This run was trained in {needed}: its objects live in a graph and its session, and this trainer has "
            "none. Restore it within `with TFTrainer(ctxt) as trainer:`, or go on with it by `garage resume`."
        )
        raise RecipeError(msg)
    surroundings.renew()
    algo, env = recipes.load(snapshot.recipe)
    surroundings.check(recipes.parts("algo", algo))
    surroundings.prepare()
    collector = Collector(env, sampler, algo.discount, n_lanes=None, n_groups=None)
    return Run(algo, env, collector, surroundings, 0, snapshot.recipe, None)
