"""Bringing a run's directory to the state that its next writer goes on from; what one that died left is cleaned up."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
from blake3 import blake3

from garage.errors import DamagedError, NoSnapshotError
from garage.storage import manifest as manifests
from garage.storage import packs, signing
from garage.storage.disk import Disk
from garage.storage.events import Events
from garage.storage.linking import Beginning, link_packs, remove_unfinished_forks, with_state
from garage.storage.manifest import Manifest
from garage.storage.metrics_log import MetricsLog
from garage.storage.pins import read_pins, turn_to_remove_or_pin
from garage.storage.run_directory import RunDirectory, RunInfo, content, now
from garage.storage.signing import SigningKey


class Recipe(NamedTuple):
    """What rebuilds a run's objects, or why there is nothing that does."""

    data: bytes | None
    hash: str | None
    problem: str | None

    @classmethod
    def of(cls, data: bytes | None, problem: str | None) -> "Recipe":
        """With its hash."""
        return cls(data, None if data is None else blake3(data).hexdigest(), problem)


@dataclass
class Found:
    """What a directory holds once it is in order.

    Attributes:
        log: its rows.
        manifests: of its snapshots, by epoch.
        newest: of the snapshot that the run goes on from, or None; it was read and found whole.
        packs_aside: packs that manifests which were set aside may need.
        problems: what was found damaged, a line each.
    """

    log: MetricsLog
    manifests: dict[int, Manifest]
    newest: Manifest | None
    packs_aside: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


class Opening:
    """The steps from a directory as somebody left it to one that a writer goes on from; its lock is held meanwhile.

    Args:
        directory: of the run.
        info: who the run is.
        recipe: of the objects that go on.
        disk: through which everything is written.
        events: of the directory.
        key: what manifests are signed with.
    """

    def __init__(  # noqa: PLR0913 - what a writer is given
        self,
        directory: RunDirectory,
        info: RunInfo,
        *,
        recipe: Recipe,
        disk: Disk,
        events: Events,
        key: SigningKey | None,
    ) -> None:
        self._directory, self._info, self._recipe = directory, info, recipe
        self._disk, self._events, self._key = disk, events, key

    def run(self, last_epoch: int | None, beginning: Beginning | None, *, takes_over: bool, from_silent: bool) -> Found:
        """Take all steps.

        Args:
            last_epoch: of the snapshot here that the run goes on from, or None.
            beginning: the snapshot of another run that it goes on from.
            takes_over: whether that snapshot becomes one of this run.
            from_silent: whether the lock was taken from a writer that may yet wake up.

        Raises:
            NoSnapshotError: ``last_epoch`` has no snapshot here that is whole.
            FormatVersionError: something here is of another format version.
            WriteError: the disk refused.
        """
        with contextlib.suppress(NoSnapshotError, DamagedError):
            self._directory.info()  # of another format version? then hands off
        kept, aside = self._sorted_manifests(last_epoch)
        newest = None if last_epoch is None else kept[last_epoch]
        if from_silent:
            renew_logs(self._directory, self._disk)
        self._directory.mend_events(self._disk)
        # Before this run's name stands there: what another one has left in its directory must never count as its own.
        for path, target in aside:
            self._disk.move(path, target)
        if newest is None:
            self._set_rows_aside()
        self._directory.write_info(self._info, self._disk)
        self._write_recipe()
        problems: list[str] = []
        log = self._begun_log(beginning, problems) if newest is None else self._log_up_to(newest, problems)
        found = Found(log, kept, newest, problems=problems)
        if beginning is not None:
            if takes_over:
                self._take_over(beginning, found)
            reseeded = bool(beginning.changes)
            self._events.add("fork", epoch=beginning.manifest.epoch, parent=self._info.parent, reseeded=reseeded)
        self._remove_left_overs(found)
        try:
            read_pins(self._directory)
        except DamagedError as error:
            found.problems.append(str(error))
        return found

    def _sorted_manifests(self, last_epoch: int | None) -> tuple[dict[int, Manifest], list[tuple[Path, Path]]]:
        """The manifests up to ``last_epoch``, and where to move damaged and later ones, out of the readers' sight."""
        kept, aside = {}, []
        abandoned = self._directory.abandoned()
        newest = -1 if last_epoch is None else last_epoch
        for epoch in self._directory.manifest_epochs():
            folder = "damaged"
            path = self._directory.manifest_path(epoch)
            with contextlib.suppress(DamagedError):
                manifest = manifests.read(path)
                if manifest.epoch == epoch <= newest and manifest.checksum not in abandoned:
                    kept[epoch] = manifest
                    continue
                folder = "abandoned"
            aside.append((path, path.parent / folder / f"{epoch:06d}-{now().replace(':', '')}.json"))
        if last_epoch is not None and last_epoch not in kept:
            msg = (
                f"Cannot go on from epoch {last_epoch} of {self._directory.path}: its snapshot is no longer there, or "
                f"no longer whole; it has: {', '.join(map(str, kept)) or 'none'}. Restore again, then resume."
            )
            raise NoSnapshotError(msg)
        return kept, aside

    def _write_recipe(self) -> None:
        data, recipe_hash = self._recipe.data, self._recipe.hash
        if data is None or recipe_hash is None:
            return
        first, later = self._directory.recipe_paths(recipe_hash)
        if not first.exists():
            self._disk.write_whole(first, [data])
        elif blake3(first.read_bytes()).hexdigest() != recipe_hash:
            self._disk.write_whole(later, [data])

    def _set_rows_aside(self) -> None:
        path = self._directory.metrics_path
        if path.is_file() and path.stat().st_size:
            self._disk.move(path, path.with_name(f"metrics-abandoned-{now().replace(':', '')}.jsonl"))

    def _begun_log(self, beginning: Beginning | None, problems: list[str]) -> MetricsLog:
        """The log of a run that goes on from no snapshot of its own: the rows of the run that it goes on from."""
        path = self._directory.metrics_path
        if beginning is None:
            self._disk.write_whole(path, [b""])
            return MetricsLog(path, b"", self._disk)
        rows, problem = rows_up_to(RunDirectory(beginning.path), beginning.manifest)
        readable = b"".join(_readable_rows(rows, beginning.manifest.epoch))
        self._disk.write_whole(path, [readable])
        if problem is not None:
            self._events.add("damaged_metrics", bytes=len(rows), kept=len(readable))
            problems.append(problem)
        return MetricsLog(path, readable, self._disk)

    def _log_up_to(self, newest: Manifest, problems: list[str]) -> MetricsLog:
        """The log brought to what the newest manifest says of it."""
        path = self._directory.metrics_path
        data = content(path)
        belongs = data[: newest.log.bytes]
        if blake3(belongs).hexdigest() == newest.log.hash:
            if len(data) > len(belongs):
                self._disk.truncate(path, len(belongs))
            return MetricsLog(path, belongs, self._disk)
        # The log is damaged, the snapshot is not: keep the damaged one aside and go on with the rows that can be read.
        if data:
            self._disk.write_whole(path.with_name(f"metrics-damaged-{now().replace(':', '')}.jsonl"), [data])
        readable = b"".join(_readable_rows(data, newest.epoch))
        self._disk.write_whole(path, [readable])
        self._events.add("damaged_metrics", bytes=len(data), kept=len(readable))
        problems.append(
            f"{path} was not as written: its rows up to epoch {newest.epoch} are kept as far as they can be read, but "
            "may be wrong. The file as it was found lies beside it, as metrics-damaged-….jsonl"
        )
        return MetricsLog(path, readable, self._disk)

    def _take_over(self, beginning: Beginning, found: Found) -> None:
        """Begin with the snapshot of another run, so that there is one to go on from before the first is saved."""
        theirs, source = beginning.manifest, RunDirectory(beginning.path)
        try:
            link_packs(theirs, source, self._directory, self._disk)
        except FileNotFoundError as error:
            found.problems.append(
                f"The snapshot of epoch {theirs.epoch} is no longer in {source.path}, so until it has saved its first "
                f"epoch {self._directory.path} has none to go on from: {error.filename} is missing."
            )
            return
        manifest = msgspec.structs.replace(
            with_state(theirs, beginning.changes, self._directory, self._disk),
            run=self._info.id,
            name=self._info.name,
            parent=self._info.parent,
            recipe=self._recipe.hash,
            recipe_problem=self._recipe.problem,
            log=found.log.state,
        )
        data, path = signing.encode(manifest, self._key), self._directory.manifest_path(manifest.epoch)
        self._disk.write_whole(path, [data])
        found.newest = found.manifests[manifest.epoch] = manifests.decode(data, str(path))

    def _remove_left_overs(self, found: Found) -> None:
        """Unfinished files, and packs that no manifest names, of a writer that died; the lock is ours, so nobody's."""
        existing = packs.pack_names(self._directory)
        named = {pack for manifest in found.manifests.values() for pack in manifest.packs()}
        for path in self._directory.snapshots_path.glob("abandoned/*.json"):
            with contextlib.suppress(DamagedError):
                found.packs_aside |= manifests.read(path).packs()
        if any(self._directory.snapshots_path.glob("damaged/*.json")):
            found.packs_aside |= existing.keys() - named  # a manifest that cannot be read may need any of them
        for pack in existing.keys() - named - found.packs_aside:
            self._disk.remove(existing[pack])
        with turn_to_remove_or_pin(self._directory):  # whoever pins has an unfinished file, too
            for path in self._directory.unfinished_paths():
                self._disk.remove(path)
        found.problems += remove_unfinished_forks(self._directory.path.absolute().parent, self._disk)


def renew_logs(directory: RunDirectory, disk: Disk) -> None:
    """Copy the logs to new files: a holder that fell silent in the middle of a line may wake up and append the rest."""
    for path in (directory.metrics_path, directory.events_path):
        if path.is_file():
            disk.write_whole(path, [content(path)])


def rows_up_to(directory: RunDirectory, manifest: Manifest) -> tuple[bytes, str | None]:
    """The bytes of metrics.jsonl that belong to a snapshot, and what is wrong with them, or None."""
    rows = content(directory.metrics_path)[: manifest.log.bytes]
    if blake3(rows).hexdigest() == manifest.log.hash:
        return rows, None
    return rows, (
        f"{directory.metrics_path} is not as written: its rows up to epoch {manifest.epoch} are taken over as far as "
        "they can be read, but may be wrong."
    )


def _readable_rows(data: bytes, last_epoch: int) -> Iterable[bytes]:
    for line in data.split(b"\n")[:-1]:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            if msgspec.json.decode(line)["epoch"] <= last_epoch:
                yield line + b"\n"
