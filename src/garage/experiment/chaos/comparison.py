"""What parted two runs: which epoch, which leaf; and what one of them had forgotten."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from garage.core.state import flatten
from garage.errors import NoSnapshotError
from garage.storage.comparison import apart, codes_of, differing, differing_metrics, leaf_difference
from garage.storage.run_directory import RunDirectory, whole_lines
from garage.storage.store import SnapshotStore

WHOLE, RESUMED = "the whole run", "the resumed one"
_SAMPLED = ("Evaluation/", "Extras/", "TotalEnvSteps")


class Seen(msgspec.Struct, frozen=True):
    """What a process saw of the objects."""

    epoch: int
    """The one that came next."""
    thetas: dict[str, str]
    """Hashes of the policies' parameters, where no snapshot holds them as values."""
    attributes: dict[str, str]


class Parting(msgspec.Struct, frozen=True):
    """The first epoch after which two runs are not the same."""

    epoch: int
    leaves: list[str]
    """How values differ after the first epoch after which some do, in words, by path."""
    leaves_epoch: int
    """That epoch."""
    generators: list[str]
    """Of the process."""
    metrics: list[str]
    """Names."""
    others: list[str]
    """An epoch that one of the runs lacks, weights that no snapshot holds as values."""
    sampled: bool
    """Whether the episodes of that epoch differed already."""


class Forgotten(msgspec.Struct, frozen=True):
    """What a process did not have when it began to go on, or had otherwise."""

    path: str
    whole: str
    resumed: str
    epoch: int
    """The first epoch that it computed."""


def parting(whole: Path, resumed: Path, thetas: Sequence[Mapping[int, Mapping[str, str]]]) -> Parting | None:
    """Where two runs part; None if they are equal.

    Args:
        whole: the directory of the one that went through.
        resumed: of the one that was killed.
        thetas: of each, hashes of weights by the epoch that came next.

    Raises:
        DamagedError: something of them is missing, or is not what was written.
    """
    rows = [_rows(path) for path in (whole, resumed)]
    first: Parting | None = None
    for epoch in sorted(rows[0].keys() | rows[1].keys()):
        ours, theirs = (each.get(epoch) for each in rows)
        if ours is None or theirs is None:
            lacking = [f"{WHOLE if ours is None else RESUMED} never finished that epoch"]
            return first or Parting(epoch, [], epoch, [], [], lacking, sampled=False)
        if first is not None and ours["digest"] == theirs["digest"]:
            continue
        leaves, generators = _differing_leaves(whole, resumed, epoch)
        metrics = differing_metrics(ours, theirs)
        weights = [
            f"the weights of `{name}` differ"
            for name, theta in thetas[0].get(epoch + 1, {}).items()
            if theta != thetas[1].get(epoch + 1, {}).get(name)
        ]
        if first is None and (leaves or generators or metrics or weights or ours["digest"] != theirs["digest"]):
            sampled = any(name.startswith(_SAMPLED) for name in metrics)
            first = Parting(epoch, leaves, epoch, generators, metrics, weights, sampled=sampled)
        if first is not None and leaves:
            return msgspec.structs.replace(first, leaves=leaves, leaves_epoch=epoch)
    return first


def forgotten(whole: Mapping[int, Seen], attempts: Sequence[Sequence[Seen]], before: int | None) -> list[Forgotten]:
    """Attributes that were not restored, or not made again: those that differ when a process begins to go on.

    Args:
        whole: what was seen of the run that went through, by the epoch that came next.
        attempts: what each process saw of the run that was killed.
        before: the epoch at which the runs part; what differs later follows from that. None if they never do.
    """
    found: dict[str, Forgotten] = {}
    first = min(whole, default=0)
    for seen in attempts:
        if seen and seen[0].epoch > first and (before is None or seen[0].epoch <= before):
            for each in _differing_attributes(whole.get(seen[0].epoch), seen[0]):
                found.setdefault(each.path, each)
    return _topmost(found.values())


def parted_with(whole: Mapping[int, Seen], attempts: Sequence[Sequence[Seen]], epoch: int) -> list[Forgotten]:
    """Attributes that differ after the epoch at which two runs part; some are why, some follow from it."""
    after = [each for seen in attempts for each in seen if each.epoch == epoch + 1 and seen[0].epoch <= epoch]
    return _topmost(_differing_attributes(whole.get(epoch + 1), after[-1])) if after else []


def read_seen(path: Path) -> list[Seen]:
    """What a process saw, as far as it could write it down."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Seen) for line in path.read_bytes().split(b"\n")[:-1]]


def _differing_attributes(whole: Seen | None, resumed: Seen) -> Iterator[Forgotten]:
    if whole is None:
        return
    ours, theirs = whole.attributes, resumed.attributes
    for path in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(path), theirs.get(path)
        owner = path[: max(path.rfind("."), path.rfind("["))]
        if a != b and (None not in {a, b} or (owner in ours and owner in theirs)):
            yield Forgotten(path, a or "missing", b or "missing", resumed.epoch)


def _topmost(found: Iterable[Forgotten]) -> list[Forgotten]:
    """Without what lies inside of another one."""
    kept: list[Forgotten] = []
    for each in sorted(found, key=lambda each: each.path):
        if not any(each.path.startswith((f"{other.path}.", f"{other.path}[")) for other in kept):
            kept.append(each)
    return kept


def _differing_leaves(whole: Path, resumed: Path, epoch: int) -> tuple[list[str], list[str]]:
    """Leaves of the state tree, and those of the process's generators."""
    try:
        snapshots = [SnapshotStore(path).read(epoch, with_recipe=False) for path in (whole, resumed)]
    except NoSnapshotError:  # it was finished, and its snapshot was not yet written when the process was killed
        return [], []
    ours, theirs = (flatten(snapshot.state) for snapshot in snapshots)
    codes = [codes_of(snapshot.manifest) for snapshot in snapshots]

    def said(path: str) -> str:
        values = (ours[path], theirs[path]) if path in ours and path in theirs else ()
        return apart(leaf_difference(path, codes[0].get(path), codes[1].get(path), *values), WHOLE, RESUMED)

    leaves, generators = differing(*codes)
    return [said(path) for path in leaves], [said(path) for path in generators]


def _rows(path: Path) -> dict[int, dict[str, Any]]:
    return {row["epoch"]: row for row in whole_lines(RunDirectory(path).metrics_path)}
