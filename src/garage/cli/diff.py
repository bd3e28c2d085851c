"""``garage diff``: what is not the same in two runs. Reads values only, and unpickles nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from garage.cli import snapshot_name
from garage.cli.completing import snapshots_of
from garage.cli.output import print_json, ranges
from garage.cli.terminal import echo
from garage.errors import DamagedError
from garage.storage import comparison
from garage.storage.comparison import LeafDifference, codes_of, differing
from garage.storage.launch_archives import file_hashes
from garage.storage.manifest import Manifest
from garage.storage.run_directory import RunInfo, whole_lines
from garage.storage.store import SnapshotStore

_DIFFERENT = 1
_SHOWN = 5

Pairs = dict[str, list[Any]]
"""By name: what A says and what B says; null where one says nothing."""


class _Side(NamedTuple):
    """One of the two runs."""

    path: Path
    store: SnapshotStore
    info: RunInfo
    whole: dict[int, Manifest]
    manifest: Manifest | None
    """Of the snapshot that is compared, if any is."""
    provenance: Mapping[str, Any]
    rows: dict[int, dict[str, Any]]


class Code(msgspec.Struct, kw_only=True):
    """The code that runs were started from."""

    compared: str | None
    """``launch archive``, ``git``, or None if both runs have neither."""
    differs: Pairs = {}
    """Hashes by the name of a file, or what git says."""
    problem: str | None = None
    """Why archives could not be compared."""


class Digests(msgspec.Struct, kw_only=True):
    """What rows of metrics say of states: one digest an epoch."""

    n_common: int
    """Epochs that both have a digest of."""
    epoch: int | None
    """The first of them whose digests differ."""
    n_before: int
    """Of them, those before that one, or all if none differs."""


class Metrics(msgspec.Struct, kw_only=True):
    """Rows of metrics, without what a clock measured."""

    epoch: int | None = None
    """The first whose rows differ."""
    values: Pairs = {}
    """The metrics that differ there."""
    only_a: list[int] = []
    """Epochs that only A has a row of."""
    only_b: list[int] = []


class StateDifference(msgspec.Struct, kw_only=True):
    """Two state trees."""

    a: int
    """Epoch of A's."""
    b: int
    n_leaves: int
    """Of A's tree."""
    leaves: list[str] = []
    """Paths at which they differ."""
    generators: list[str] = []
    """The same among the process's generators."""
    first: LeafDifference | None = None
    opaque: list[str] = []
    """Parts that were pickled whole, which are not compared."""


class Parting(msgspec.Struct, kw_only=True):
    """Where two runs of one seed part."""

    epoch: int
    """The first whose digests differ."""
    state: StateDifference | None
    """Of the first snapshots from then on that both have."""


class Difference(msgspec.Struct, kw_only=True):
    """All that is compared."""

    a: str
    b: str
    digests: Digests
    seed: list[int | None] | None
    arguments: Pairs
    versions: Pairs
    packages: Pairs
    code: Code
    environment: Pairs
    not_recorded: dict[str, list[str]]
    """By name, what A, B or both have not recorded, so that it is not compared."""
    metrics: Metrics
    state: StateDifference | None
    """None if there are no two snapshots to compare."""
    parted: Parting | None

    @property
    def is_equal(self) -> bool:
        """Whether nothing was found."""
        tables = (self.arguments, self.versions, self.packages, self.code.differs, self.environment)
        rows = self.metrics.epoch is not None or bool(self.metrics.only_a or self.metrics.only_b)
        state = self.state is not None and (self.state.leaves or self.state.generators)
        return not (self.seed or any(tables) or rows or state or self.digests.epoch is not None)


@click.command()
@click.argument("a", metavar="A[@EPOCH]", shell_complete=snapshots_of)
@click.argument("b", metavar="B[@EPOCH]", shell_complete=snapshots_of)
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
@click.pass_context
def diff(ctx: click.Context, a: str, b: str, *, as_json: bool) -> None:
    """Compare two runs, or two snapshots of one: digests of each epoch, arguments, versions, code, environment,
    metrics, state.

    Without an EPOCH (or first, last, best) the states compared are those of the newest epoch that both have a snapshot
    of. Of two runs of one seed it says at which epoch they part, and which component was the first. Exits with 0 if
    all is equal, with 1 if anything is not.
    """  # noqa: D205 - click joins the lines
    first, second = _sides(a, b)
    found = _difference(first, second)
    if as_json:
        print_json({"equal": found.is_equal, **msgspec.to_builtins(found)})
    else:
        echo(*_lines(found, first, second))
    if not found.is_equal:
        ctx.exit(_DIFFERENT)


def _sides(a: str, b: str) -> tuple[_Side, _Side]:
    (path_a, which_a), (path_b, which_b) = snapshot_name.split(a), snapshot_name.split(b)
    first, second = _side(path_a, which_a), _side(path_b, which_b)
    asked = first.manifest or second.manifest
    if asked is not None and path_a.resolve() != path_b.resolve():
        epoch = asked.epoch
    else:
        epoch = max(first.whole.keys() & second.whole.keys(), default=-1)
    return _at(first, epoch), _at(second, epoch)


def _at(side: _Side, epoch: int) -> _Side:
    """With that epoch's snapshot, if it has one, where none was asked for."""
    return side if side.manifest is not None else side._replace(manifest=side.whole.get(epoch))


def _side(path: Path, which: int | str | None) -> _Side:
    store = SnapshotStore(path)
    info = store.directory.info()
    whole = {manifest.epoch: manifest for manifest in store.manifests()[0]}
    manifest = None if which is None else store.read(which, with_recipe=False).manifest
    rows = {row["epoch"]: row for row in whole_lines(store.directory.metrics_path) if type(row.get("epoch")) is int}
    return _Side(path, store, info, whole, manifest, store.directory.provenance(), rows)


def _difference(a: _Side, b: _Side) -> Difference:
    recorded = {
        "made with": [_flat(table) for table in _fingerprints(a, b)],
        "packages": [_packages(side) for side in (a, b)],
        "environment": [_table(side.provenance, "environment") for side in (a, b)],
    }
    not_recorded = {
        name: [side for side, table in zip("AB", tables, strict=True) if not table]
        for name, tables in recorded.items()
        if not all(tables)
    }
    compared = {name: {} if name in not_recorded else _pairs(*tables) for name, tables in recorded.items()}
    return Difference(
        a=str(a.path),
        b=str(b.path),
        digests=_digests(a, b),
        seed=None if a.info.seed == b.info.seed else [a.info.seed, b.info.seed],
        arguments=_pairs(a.info.arguments, b.info.arguments),
        versions=compared["made with"],
        packages=compared["packages"],
        code=_code(a, b),
        environment=compared["environment"],
        not_recorded=not_recorded,
        metrics=_metrics(a, b),
        state=None if a.manifest is None or b.manifest is None else _state(a, b, a.manifest, b.manifest),
        parted=_parting(a, b) if a.info.seed == b.info.seed else None,
    )


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> Pairs:
    return {name: [a.get(name), b.get(name)] for name in {**a, **b} if a.get(name) != b.get(name)}


def _fingerprints(a: _Side, b: _Side) -> list[Mapping[str, Any]]:
    """Of the snapshots that are compared, or else of the newest ones, or else of the processes that wrote last."""
    if a.whole and b.whole:
        return [(side.manifest or side.whole[max(side.whole)]).fingerprint for side in (a, b)]
    return [_table(side.provenance, "fingerprint") for side in (a, b)]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables within tables as one, ``torch.version``."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _packages(side: _Side) -> dict[str, str]:
    """Versions by name."""
    listed = side.provenance.get("packages")
    entries = [str(entry).partition("==") for entry in listed] if isinstance(listed, list) else []
    return {name: version for name, _, version in entries}


def _table(provenance: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = provenance.get(name)
    return found if isinstance(found, dict) else {}


def _code(a: _Side, b: _Side) -> Code:
    try:
        ours, theirs = file_hashes(a.path), file_hashes(b.path)
    except DamagedError as error:
        return Code(compared=None, problem=str(error))
    if ours is not None and theirs is not None:
        return Code(compared="launch archive", differs=_pairs(ours, theirs))
    git_a, git_b = (_git(side.provenance) for side in (a, b))
    return Code(compared="git", differs=_pairs(git_a, git_b)) if git_a and git_b else Code(compared=None)


def _git(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one state of a repository from another; the changes themselves are in their hash."""
    return {key: value for key, value in _table(provenance, "git").items() if key in {"commit", "diff"}}


def _digests(a: _Side, b: _Side) -> Digests:
    ours, theirs = ({epoch: row["digest"] for epoch, row in side.rows.items() if row.get("digest")} for side in (a, b))
    common = sorted(ours.keys() & theirs.keys())
    first = next((epoch for epoch in common if ours[epoch] != theirs[epoch]), None)
    return Digests(
        n_common=len(common),
        epoch=first,
        n_before=sum(first is None or epoch < first for epoch in common),
    )


def _metrics(a: _Side, b: _Side) -> Metrics:
    found = Metrics(only_a=sorted(a.rows.keys() - b.rows.keys()), only_b=sorted(b.rows.keys() - a.rows.keys()))
    for epoch in sorted(a.rows.keys() & b.rows.keys()):
        ours, theirs = a.rows[epoch], b.rows[epoch]
        names = comparison.differing_metrics(ours, theirs)
        if names:
            found.epoch, found.values = epoch, {name: [ours.get(name), theirs.get(name)] for name in names}
            break
    return found


def _state(a: _Side, b: _Side, ours: Manifest, theirs: Manifest) -> StateDifference:
    codes_a, codes_b = codes_of(ours), codes_of(theirs)
    leaves, generators = differing(codes_a, codes_b)
    first = None
    for path in [*leaves, *generators][:1]:
        both = path in codes_a and path in codes_b
        values = (a.store.value(ours, path), b.store.value(theirs, path)) if both else ()
        first = comparison.leaf_difference(path, codes_a.get(path), codes_b.get(path), *values)
    return StateDifference(
        a=ours.epoch,
        b=theirs.epoch,
        n_leaves=len(codes_a),
        leaves=leaves,
        generators=generators,
        first=first,
        opaque=sorted({leaf.path for leaf in (*ours.opaque, *theirs.opaque)}),
    )


def _parting(a: _Side, b: _Side) -> Parting | None:
    epoch = _digests(a, b).epoch
    if epoch is None:
        return None
    later = [each for each in sorted(a.whole.keys() & b.whole.keys()) if each >= epoch]
    state = _state(a, b, a.whole[later[0]], b.whole[later[0]]) if later else None
    return Parting(epoch=epoch, state=state)


def _lines(found: Difference, a: _Side, b: _Side) -> Iterator[str]:
    for name, side in (("A", a), ("B", b)):
        yield f"{name}: {side.path}, {_snapshots(side)}"
    if found.is_equal:
        yield "They are equal."
    yield f"  digests      {_digests_said(found.digests)}"
    if found.seed is not None:
        yield f"  seed         {_of(found.seed)}"
    for name, table in (("arguments", found.arguments), ("made with", found.versions), ("packages", found.packages)):
        yield from _table_lines(name, table)
    yield from _code_lines(found.code)
    yield from _table_lines("environment", found.environment)
    for name, who in found.not_recorded.items():
        yield f"  {name:<12} not compared: not recorded in {' nor '.join(who)}"
    yield from _metrics_lines(found.metrics)
    yield from _state_lines(found.state, a, b)
    if found.parted is not None:
        yield f"  they part    {_parted(found.parted)}"


def _snapshots(side: _Side) -> str:
    if side.manifest is not None:
        return f"epoch {side.manifest.epoch}"
    return f"snapshots of epochs {ranges(sorted(side.whole))}" if side.whole else "no snapshot"


def _digests_said(digests: Digests) -> str:
    if not digests.n_common:
        return "not compared: there is no epoch that both have a row of"
    if digests.epoch is None:
        return f"equal in {_epochs(digests.n_common)}"
    return (
        f"equal in {digests.n_before} of {_epochs(digests.n_common)}; epoch {digests.epoch} is the first that differs"
    )


def _epochs(n_common: int) -> str:
    return f"{n_common} common epoch{'s' if n_common > 1 else ''}"


def _of(pair: list[Any]) -> str:
    return f"{_short(pair[0])} in A, {_short(pair[1])} in B"


def _short(value: object) -> str:
    text = f"{value:.10g}" if isinstance(value, float) else "nothing" if value is None else str(value)
    return text if len(text) <= 100 else f"{text[:100]}…"  # noqa: PLR2004 - a line's worth


def _table_lines(name: str, table: Pairs) -> Iterator[str]:
    for index, (key, pair) in enumerate(table.items()):
        if index == _SHOWN:
            yield f"  {'':<12} and {len(table) - _SHOWN} more; --json lists all"
            return
        yield f"  {'' if index else name:<12} {key}: {_of(pair)}"


def _code_lines(code: Code) -> Iterator[str]:
    if code.problem is not None:
        yield f"  {'code':<12} not compared: {code.problem}"
    elif code.compared is None:
        yield f"  {'code':<12} not compared: not recorded in both"
    elif code.compared == "git":
        yield from _table_lines("code", {f"git {key}": pair for key, pair in code.differs.items()})
    else:
        files: dict[str, list[str]] = {"in A only": [], "in B only": [], "differ": []}
        for file, (ours, theirs) in code.differs.items():
            files["in B only" if ours is None else "in A only" if theirs is None else "differ"].append(file)
        for how, names in files.items():
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                yield f"  {'code':<12} {how}: {', '.join(sorted(names)[:_SHOWN])}{more}"


def _metrics_lines(metrics: Metrics) -> Iterator[str]:
    if metrics.epoch is not None:
        yield from _table_lines(f"epoch {metrics.epoch}", metrics.values)
    for name, only in (("A", metrics.only_a), ("B", metrics.only_b)):
        if only:
            yield f"  {'metrics':<12} {name} alone has epochs {ranges(only)}"


def _state_lines(state: StateDifference | None, a: _Side, b: _Side) -> Iterator[str]:
    if state is None:
        both = a.whole and b.whole
        why = (
            "no epoch that both have a snapshot of; A@EPOCH B@EPOCH compares others" if both else "no snapshot of both"
        )
        yield f"  {'state':<12} not compared: there is {why}"
        return
    if state.leaves:
        where = f"at epoch {state.a}" if state.a == state.b else f"between epoch {state.a} of A and {state.b} of B"
        yield f"  {'state':<12} {len(state.leaves)} of {state.n_leaves} leaves differ {where}"
    if state.first is not None:
        yield f"  {'first leaf':<12} {comparison.apart(state.first, 'A', 'B')}"
    if state.generators:
        names = dict.fromkeys(map(comparison.component_of, state.generators))
        yield f"  {'generators':<12} {', '.join(names)} differ"
    if state.opaque:
        yield f"  {'opaque':<12} not compared, for it is a pickle: {', '.join(state.opaque)}"


def _parted(parting: Parting) -> str:
    if parting.state is None or parting.state.first is None:
        return f"at epoch {parting.epoch}; there is no snapshot of both from then on that could say where"
    seen = "" if parting.state.a == parting.epoch else f" as epoch {parting.state.a} has it"
    first = parting.state.first
    return f"at epoch {parting.epoch}, in `{first.component}`{seen}: {comparison.apart(first, 'A', 'B')}"
