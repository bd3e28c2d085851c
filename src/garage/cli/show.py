"""``garage show``: who a run is, and what one of its snapshots holds. Reads manifests only, and unpickles nothing."""

import contextlib
import re
import shlex
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import msgspec

from garage.cli import snapshot_name
from garage.cli.output import age, aligned, pairs, print_json, ranges
from garage.cli.run_summary import RunSummary, summarise
from garage.cli.terminal import echo
from garage.errors import ArgumentError, DamagedError, NoSnapshotError, SigningKeyError
from garage.storage import manifest as manifests
from garage.storage import pins
from garage.storage.manifest import Group, Leaf, Manifest
from garage.storage.run_directory import RunDirectory, RunInfo
from garage.storage.signing import Signer, described, signer_of
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore

_LEAVES_SHOWN = 20
_SHORT = 12
_CARRIED = re.compile(r"sampler/carried/[^/]+/[0-9]+/lanes/(steps$|world/(?P<rung>[^/]+)/)")


class _View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is shown."""

    path: Path
    info: RunInfo | None
    summary: RunSummary
    epochs: list[int]
    pinned: list[int]
    """Of these, those that are kept whatever the mode."""
    problems: list[str]
    manifest: Manifest | None
    signer: Signer | None
    """Of the manifest; None without one, or if this user's key cannot be used."""
    signed: str
    """The same in words."""


@click.command()
@click.argument("run", metavar="RUN[@EPOCH]")
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
def show(run: str, *, as_json: bool) -> None:
    """Show who RUN is, what its newest snapshot (or that of EPOCH) holds, and the command that continues it."""
    path, which = snapshot_name.split(run)
    if isinstance(which, str):
        msg = f"`garage show` takes an epoch after the @, such as {path}@17; got {which!r}."
        raise ArgumentError(msg)
    view = _view(path, which)
    if as_json:
        print_json(_as_json(view))
    else:
        echo(*_lines(view))


def _view(path: Path, epoch: int | None) -> _View:
    store = SnapshotStore(path)
    info = None
    with contextlib.suppress(DamagedError):  # the summary names it, and the manifests still say much
        info = store.directory.info()
    whole, problems = store.manifests()
    summary = summarise(path)
    manifest = whole[-1] if epoch is None and whole else None
    if epoch is not None:
        manifest = _of_epoch(store.directory, whole, epoch)
    signer, signed = (None, "") if manifest is None else _signer(store.directory, manifest)
    pinned: list[int] = []
    try:
        pinned = sorted(pins.pinned(store.directory, whole))
    except DamagedError as error:
        problems.append(str(error))
    return _View(
        path=path,
        info=info,
        summary=summary,
        epochs=[each.epoch for each in whole],
        pinned=pinned,
        problems=list(dict.fromkeys([*problems, *summary.problems])),
        manifest=manifest,
        signer=signer,
        signed=signed,
    )


def _signer(directory: RunDirectory, manifest: Manifest) -> tuple[Signer | None, str]:
    try:
        key = find_key()
        signer = signer_of(manifest, directory.manifest_path(manifest.epoch), key)
    except (SigningKeyError, DamagedError) as error:
        return None, f"cannot be checked: {error}"
    trusted = signer is Signer.THIS_KEY or (manifest.recipe is None and not manifest.opaque)
    hint = "" if trusted else "; its code does not run before `garage trust`"
    return signer, described(signer, manifest, key) + hint


def _of_epoch(directory: RunDirectory, whole: list[Manifest], epoch: int) -> Manifest:
    for manifest in whole:
        if manifest.epoch == epoch:
            return manifest
    if epoch in directory.manifest_epochs():
        manifests.read(directory.manifest_path(epoch))
    epochs = ranges([manifest.epoch for manifest in whole])
    msg = f"There is no snapshot of epoch {epoch} in {directory.path}; it has: {epochs}."
    raise NoSnapshotError(msg)


def _as_json(view: _View) -> dict[str, Any]:
    snapshot = None
    if view.manifest is not None:
        snapshot = msgspec.to_builtins(view.manifest)
        snapshot["leaves"] = [_leaf_json(leaf) for leaf in view.manifest.leaves]
        snapshot["opaque"] = [_leaf_json(leaf) for leaf in view.manifest.opaque]
        for group, shown in zip(view.manifest.groups, snapshot["groups"], strict=True):
            shown["blocks"], shown["bytes"] = len(group.blocks), _group_size(group, view.manifest)
        del snapshot["chunks"]
    return {
        "path": str(view.path),
        "run": None if view.info is None else msgspec.to_builtins(view.info),
        "state": view.summary.state,
        "updated_at": view.summary.updated_at,
        "holder": None if view.summary.holder is None else msgspec.to_builtins(view.summary.holder),
        "epochs": view.epochs,
        "pinned": view.pinned,
        "problems": view.problems,
        "snapshot": snapshot,
        "signer": None if view.signer is None else view.signer.value,
        "continue": _continuation(view),
    }


def _leaf_json(leaf: Leaf) -> dict[str, Any]:
    return {"path": leaf.path, "dtype": leaf.dtype, "shape": leaf.shape, "bytes": _size(leaf), "hash": leaf.hash}


def _lines(view: _View) -> list[str]:
    lines = [f"{view.path}: {view.summary.state}, last heard of {age(view.summary.updated_at)} ago"]
    lines += pairs(_who(view))
    lines += [f"  problem: {problem}" for problem in view.problems]
    if view.manifest is not None:
        lines += ["", *_snapshot_lines(view.manifest, view.signed)]
    return [*lines, "", f"To continue: {_continuation(view)}"]


def _who(view: _View) -> list[tuple[str, str]]:
    info, holder = view.info, view.summary.holder
    rows = []
    if info is not None:
        arguments = " ".join(f"{name}={value!r}" for name, value in info.arguments.items())
        rows += [
            ("run", f"{info.name}, id {info.id}, created {info.created_at}, format {info.format}"),
            ("target", info.target or "none: a trainer without an experiment function"),
            ("arguments", arguments or "none"),
            ("seed", str(info.seed)),
            ("parent", _parent(info)),
        ]
    kept = "" if info is None else f" (snapshot_mode {info.snapshot_mode!r}, gap {info.snapshot_gap})"
    rows.append(("snapshots", f"epochs {ranges(view.epochs)}{kept}"))
    if view.pinned:
        rows.append(("pinned", f"epochs {ranges(view.pinned)}"))
    if holder is not None:
        rows.append(("written by", f"process {holder.pid} on {holder.host} since {holder.locked_at}"))
    return rows


def _parent(info: RunInfo) -> str:
    parent = info.parent
    if parent is None:
        return "none"
    return f"epoch {parent.epoch} of {parent.run} in {parent.path}, digest {parent.digest[:_SHORT]}"


def _snapshot_lines(manifest: Manifest, signed: str) -> list[str]:
    leaves = manifest.leaves
    stored = sum(chunk.stored for chunk in manifest.chunks)
    versions = {name: value for name, value in manifest.fingerprint.items() if isinstance(value, str | int)}
    opaque = ", ".join(f"{leaf.path} ({_size(leaf):,} bytes)" for leaf in manifest.opaque)
    recipe = f"none: {manifest.recipe_problem}" if manifest.recipe is None else manifest.recipe[:_SHORT]
    in_flight, rung = _in_flight(leaves)
    lines = [f"Epoch {manifest.epoch}, saved {manifest.written_at}", f"  digest      {manifest.digest}"]
    lines += pairs(
        [
            ("train args", " ".join(f"{name}={value}" for name, value in manifest.train_args.items())),
            ("stats", " ".join(f"{name}={_short(value)}" for name, value in manifest.stats.items())),
            ("recipe", recipe),
            ("opaque", opaque or "none"),
            *([("mid-episode", f"{in_flight} lanes go on by {rung}")] if rung else []),
            ("signature", signed),
            ("made with", ", ".join(f"{name} {value}" for name, value in versions.items())),
        ]
    )
    lines += ["", "Metrics"]
    metrics = [(name, _short(value)) for name, value in sorted(manifest.metrics.items())]
    half = (len(metrics) + 1) // 2
    rows = [[*left, *right] for left, right in zip_longest(metrics[:half], metrics[half:], fillvalue=("", ""))]
    lines += [f"  {line}" for line in aligned(rows)] or ["  none"]
    n_bytes = sum(map(_size, leaves))
    lines += ["", f"Leaves: {len(leaves)}, {n_bytes:,} bytes, {stored:,} in packs"]
    shown = [[leaf.path, leaf.dtype, str(list(leaf.shape)), f"{_size(leaf):,}"] for leaf in leaves[:_LEAVES_SHOWN]]
    lines += [f"  {line}" for line in aligned(shown)]
    if len(leaves) > _LEAVES_SHOWN:
        lines.append(f"  and {len(leaves) - _LEAVES_SHOWN} more; --json lists all")
    if manifest.groups:
        lines += ["", f"Tracked groups: {len(manifest.groups)}"]
    for group in manifest.groups:
        about = f"{group.rows:,} rows of {group.capacity:,} in {len(group.blocks)} blocks"
        lines.append(f"  {group.path}  {about}, {_group_size(group, manifest):,} bytes")
        columns = [[column.name, column.dtype, str([group.rows, *column.shape])] for column in group.columns]
        lines += [f"    {line}" for line in aligned(columns)]
    return lines


def _in_flight(leaves: Sequence[Leaf]) -> tuple[int, str]:
    """How many lanes are in mid-episode, and how they go on; see `garage.core.ports.Rung`."""
    n_lanes, rungs = 0, set()
    for leaf in leaves:
        carried = _CARRIED.match(leaf.path)
        if carried and carried["rung"]:
            rungs.add(carried["rung"])
        elif carried:
            n_lanes += sum(leaf.shape)
    return n_lanes, " and ".join(sorted(rungs))


def _continuation(view: _View) -> str:
    """The command, or where there is no recipe the statements, that go on from the snapshot that is shown."""
    manifest = view.manifest
    if manifest is None:
        return "there is no snapshot to continue from; run its experiment again"
    older = manifest.epoch != view.epochs[-1]
    n_epochs = view.summary.n_epochs or 0
    more = manifest.epoch + 1 + n_epochs if manifest.epoch + 1 >= n_epochs else None
    if manifest.recipe is None:
        from_epoch = f", from_epoch={manifest.epoch}" if older else ""
        total = "" if more is None else f"n_epochs={more}"
        restore = f"trainer.restore({str(view.path)!r}{from_epoch})"
        return f"trainer.setup(algo, env); {restore}; trainer.resume({total})"
    words = ["garage", "resume", str(view.path)]
    if older:
        words += ["--from", str(manifest.epoch)]
    if more is not None:
        words += ["--n-epochs", str(more)]
    return shlex.join(words)


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _group_size(group: Group, manifest: Manifest) -> int:
    return sum(manifest.chunks[index].raw for index in group.blocks if 0 <= index < len(manifest.chunks))


def _size(leaf: Leaf) -> int:
    return sum(piece.size for piece in leaf.pieces)
