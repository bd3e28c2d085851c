"""Computing a run's epochs anew, and holding their digests against those that the run recorded."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import msgspec

from garage import process
from garage.core.ports import Surroundings
from garage.core.state import Leaf, flatten, take, take_as
from garage.core.streams import Streams
from garage.core.tracked import CapturedGroup, TrackedGroup, keeps_hashed
from garage.core.types import State
from garage.errors import NothingLeftError
from garage.experiment import recipes
from garage.experiment.arguments import loading
from garage.experiment.collector import Collector
from garage.experiment.evaluation import N_EPISODES, TrainingEvaluator
from garage.experiment.fingerprint import recorded_threads
from garage.experiment.progress import Progress
from garage.experiment.recorded_run import RecordedRun
from garage.experiment.restore_report import consequences
from garage.experiment.restoring import rebuilt
from garage.experiment.run_state import Run, capture_state, compute_epoch, load_state
from garage.experiment.surroundings import ProcessAlone
from garage.experiment.tf_trainer import graph_session
from garage.sampler.local import LocalSampler
from garage.storage import comparison
from garage.storage.comparison import LeafDifference, codes_of, codes_of_state, differing, digest_of
from garage.storage.lineage import Stretch
from garage.storage.manifest import Manifest
from garage.storage.store import SnapshotStore, StoredSnapshot, row_json


@dataclass(frozen=True)
class Request:
    """What to compute anew.

    Attributes:
        path: of the run.
        from_epoch: the snapshot to begin with; None for recipe and seed.
        n_epochs: how many; None for all that are recorded.
        trust: run its code whoever signed it.
    """

    path: Path
    from_epoch: int | str | None = None
    n_epochs: int | None = None
    trust: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What is going to be computed."""

    first: int
    last: int
    begins: str
    """With what, in words."""
    notes: list[str]
    """What may make a difference, or is not compared."""


class Compared(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An epoch that has been computed."""

    epoch: int
    equal: bool | None
    """Whether it has the digest that was recorded; None if none was."""
    metrics: list[str]
    """Those that are not as recorded."""
    generators: list[str]
    """Of the process, those that are not as recorded, where a snapshot says."""


class Parted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Where a run that is not as recorded first is not."""

    epoch: int
    """The first whose digest differs."""
    seen_in: int | None
    """That of the snapshot which says what differs; None if none can."""
    n_leaves: int
    """How many leaves differ there."""
    first: LeafDifference | None
    """The first of them by path; ``a`` is as recorded, ``b`` as computed now."""


Message: TypeAlias = Plan | Compared | Parted


def rerun(request: Request) -> Iterator[Message]:
    """Compute epochs anew, one after the other, up to the first one whose digest differs.

    The arguments of each epoch are those that it was computed with, whatever was resumed or forked. If no snapshot of
    the epoch that differs is kept, it goes on to the next one that is, to say which leaf differs.

    Raises:
        NothingLeftError: nothing was recorded after the snapshot.
        NoSnapshotError: there is no run, or no such snapshot.
        DamagedError: it does not verify.
        UntrustedError: the user's key has not signed it.
        RecipeError: the run's objects cannot be rebuilt.
    """
    record = RecordedRun(request.path, request.trust)
    which, notes = request.from_epoch, []
    stretches, missing = record.history.stretches, record.history.missing
    if which is None and (missing is not None or not stretches or stretches[0].first != 0):
        parent = "its events are not whole" if missing is None else f"its parent {missing.path} is not there"
        notes.append(f"Nothing says how its first epochs were computed, for {parent}: begun with its oldest snapshot.")
        which = "first"
    if which is None:
        snapshot = record.snapshot(stretches[0].path, record.source(stretches[0]).epoch)
    else:
        snapshot = record.snapshot(request.path, which)
    first = 0 if which is None else take_as(dict(snapshot.manifest.stats), "last_itr", "the manifest", int)
    last = max(record.rows, default=-1)
    if request.n_epochs is not None:
        last = min(last, first + request.n_epochs - 1)
    if first > last:
        msg = f"There is nothing to replay: {request.path} has recorded no epoch from {first} on."
        raise NothingLeftError(msg)
    with _surroundings(snapshot) as surroundings:
        rerunning = _Rerun(record, snapshot, surroundings, first)
        rerunning.begin(anew=which is None)
        begins = f"recipe and seed {rerunning.run.seed}" if which is None else f"epoch {snapshot.manifest.epoch}"
        with contextlib.closing(rerunning), rerunning.progress.threads():
            notes += [*snapshot.problems, *record.changes(), *rerunning.notes()]
            yield Plan(first=first, last=last, begins=begins, notes=notes)
            yield from rerunning.epochs(last)


@contextlib.contextmanager
def _surroundings(snapshot: StoredSnapshot) -> Iterator[Surroundings]:
    if snapshot.recipe is None or recipes.surroundings_of(snapshot.recipe) == ProcessAlone.name:
        yield ProcessAlone()
        return
    with graph_session(n_threads=recorded_threads(snapshot.manifest.fingerprint) or 1) as session:
        yield session


class _Rerun:
    """The objects of a run that is computed anew."""

    def __init__(self, record: RecordedRun, snapshot: StoredSnapshot, surroundings: Surroundings, first: int) -> None:
        self._record, self._snapshot, self._surroundings = record, snapshot, surroundings
        self._next = first
        batch_size = take_as(dict(snapshot.manifest.train_args), "batch_size", "the manifest", int)
        self._stretch = self._unknown = Stretch(first, batch_size, record.path, reseeded=False)
        self.progress = Progress(n_threads=recorded_threads(snapshot.manifest.fingerprint), surroundings=surroundings)

    @property
    def run(self) -> Run:
        """The objects as they are now."""
        return self.progress.need_run("replay")

    def begin(self, *, anew: bool) -> None:
        """Build the objects, with first parameters as `Trainer.setup` draws them, or with the snapshot's values."""
        snapshot = self._snapshot
        seed = _seed(snapshot)
        if anew:
            process.set_process_seed(seed)  # for frameworks that are imported by what is rebuilt
            process.seed_generators(seed)
        run = self.progress.run = rebuilt(snapshot, self._surroundings, LocalSampler())
        run.seed = seed
        process.import_loaded_frameworks()
        if anew:
            run.algo.initialise(Streams(seed).at("initialise"))
            self._surroundings.prepare()
            sampler = take_as(snapshot.state, "sampler", "the run", dict)
            shapes = {name: take(sampler, name, "the sampler") for name in ("n_lanes", "n_groups")}
            run.collector = Collector(run.env, LocalSampler(), run.algo.discount, **shapes)
        else:
            self._load(snapshot)

    def notes(self) -> list[str]:
        """What may make a difference, and what is not compared."""
        manifest = self._snapshot.manifest
        opaque = [f"`{leaf.path}` was pickled whole, so no digest covers it: not compared." for leaf in manifest.opaque]
        return [*consequences(manifest.fingerprint, self.progress.fingerprint()), *opaque]

    def close(self) -> None:
        """Let go of lanes."""
        self.run.collector.close()

    def epochs(self, last: int) -> Iterator[Compared | Parted]:
        """Compute up to ``last``, or to the first difference."""
        for epoch in range(self._next, last + 1):
            compared = self._compute(epoch)
            yield compared
            if compared.equal is False:
                yield self._parted(epoch)
                return

    def _compute(self, epoch: int) -> Compared:
        batch_size = self._take_turn(epoch)
        metrics = compute_epoch(self.run, epoch, batch_size)
        n_episodes = self._record.rows.get(epoch, {}).get(N_EPISODES)
        if type(n_episodes) is int and n_episodes > 0:
            with contextlib.closing(TrainingEvaluator(self.run)) as evaluator:
                metrics |= evaluator.rows(epoch, n_episodes)
        self._next = epoch + 1
        state, _ = capture_state(self.run, epoch, None, keeps_hashed)
        codes = codes_of_state(state)
        recorded, row = self._record.digest(epoch), self._record.rows.get(epoch, {})
        found = self._record.evidence(epoch)
        generators: list[str] = []
        if found is not None and found[1].epoch == epoch:
            _, paths = differing(codes_of(found[1]), codes)
            generators = list(dict.fromkeys(map(comparison.component_of, paths)))
        return Compared(
            epoch=epoch,
            equal=None if recorded is None else digest_of(codes) == recorded,
            metrics=comparison.differing_metrics(row, row_json(epoch, "", metrics)) if row else [],
            generators=generators,
        )

    def _parted(self, epoch: int) -> Parted:
        found = self._record.evidence(epoch)
        if found is None:
            return Parted(epoch=epoch, seen_in=None, n_leaves=0, first=None)
        store, manifest = found
        for later in range(self._next, manifest.epoch + 1):
            self._compute(later)
        state, _ = capture_state(self.run, manifest.epoch, None)
        paths, _ = differing(codes_of(manifest), codes_of_state(state))
        first = None if not paths else self._difference(paths[0], store, manifest, state)
        return Parted(epoch=epoch, seen_in=manifest.epoch, n_leaves=len(paths), first=first)

    def _take_turn(self, epoch: int) -> int:
        """Go on as the process did that computed an epoch: with its recipe, seed and batch size, which is returned."""
        stretch = self._record.stretch(epoch, self._unknown)
        if stretch != self._stretch:
            self._stretch = stretch
            source = self._record.source(stretch)
            seed = self._record.seed(stretch, source)
            if source.recipe != self._snapshot.manifest.recipe:
                self._rebuild(stretch, source, epoch - 1)
            if seed != self.run.seed:
                process.set_process_seed(seed)
                if stretch.reseeded:
                    process.seed_generators(seed)
                self.run.seed = seed
        return stretch.batch_size

    def _rebuild(self, stretch: Stretch, source: Manifest, epoch: int) -> None:
        """Other objects, built from another recipe, with the values of these."""
        old = self.run
        state, opaque = capture_state(old, epoch, None)
        old.collector.close()
        self._snapshot = self._record.snapshot(stretch.path, source.epoch)
        run = self.progress.run = rebuilt(self._snapshot, self._surroundings, LocalSampler())
        run.seed = old.seed
        process.import_loaded_frameworks()
        at_epoch = msgspec.structs.replace(source, epoch=epoch)
        self._load(replace(self._snapshot, manifest=at_epoch, state=state, opaque=opaque))

    def _load(self, snapshot: StoredSnapshot) -> None:
        with loading(f"epoch {snapshot.manifest.epoch} of {self._record.path}"):
            load_state(self.run, snapshot, rebuilt=True)
            process.load_generators_state(take(snapshot.state, "process", "the run"))

    def _difference(self, path: str, store: SnapshotStore, manifest: Manifest, state: State) -> LeafDifference:
        recorded, computed = codes_of(manifest).get(path), codes_of_state(state).get(path)
        if recorded is None or computed is None:
            return comparison.leaf_difference(path, recorded, computed)
        value = flatten(state)[path]
        return comparison.leaf_difference(path, recorded, computed, store.value(manifest, path), _as_read(value))


def _as_read(value: Leaf) -> Leaf:
    """A captured group with its columns, as a snapshot's has them."""
    if not isinstance(value, CapturedGroup):
        return value
    group = TrackedGroup(value.capacity, {column.name: (column.shape, column.dtype) for column in value.columns})
    group.load(value)
    return group


def _seed(snapshot: StoredSnapshot) -> int:
    return Streams(take(take(snapshot.state, "counters", "the run"), "seed", "the counters")).seed
