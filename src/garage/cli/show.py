"""``garage show``: who a run is, how far it is, and what one of its snapshots holds. Unpickles nothing."""

import contextlib
import shlex
from pathlib import Path
from typing import Any

import click
import msgspec

from garage.cli import show_lines, snapshot_name
from garage.cli.completing import snapshots_of
from garage.cli.output import print_json, ranges
from garage.cli.run_summary import summarise
from garage.cli.show_lines import View, group_size, leaf_size
from garage.cli.terminal import echo
from garage.errors import DamagedError, NoSnapshotError, SigningKeyError, StorageError
from garage.storage import changed_arguments, pins
from garage.storage import manifest as manifests
from garage.storage.lineage import counts
from garage.storage.manifest import Leaf, Manifest
from garage.storage.metric_rows import metric_rows
from garage.storage.run_directory import RunDirectory, RunInfo
from garage.storage.signing import Signer, described, signer_of
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore
from garage.storage.usage import usage


@click.command()
@click.argument("run", metavar="RUN[@EPOCH]", shell_complete=snapshots_of)
@click.option("--leaves", is_flag=True, help="List what the snapshot's state consists of.")
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
def show(run: str, *, leaves: bool, as_json: bool) -> None:
    """Show who RUN is, where and with what it was made, how far it is, what its newest snapshot (or that of EPOCH,
    or first, last, best) holds, and the command that continues it.
    """  # noqa: D205 - click joins the lines
    path, which = snapshot_name.split(run)
    if isinstance(which, str):
        which = SnapshotStore(path).read(which, with_recipe=False, only=()).manifest.epoch
    view = _view(path, which)
    if as_json:
        print_json(_as_json(view))
    else:
        echo(*show_lines.lines(view, with_leaves=leaves))


def _view(path: Path, epoch: int | None) -> View:
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
    rows = []
    with contextlib.suppress(StorageError):  # `garage verify` names what is damaged there
        rows = metric_rows(path, epoch)
    (on_disk,), _ = usage(
        [path], lambda error: problems.append(f"Cannot look into {error.filename}: {error.strerror}.")
    )
    return View(
        path=path,
        info=info,
        summary=summary,
        epochs=[each.epoch for each in whole],
        pinned=pinned,
        problems=list(dict.fromkeys([*problems, *summary.problems])),
        manifest=manifest,
        signer=signer,
        signed=signed,
        rows=rows,
        provenance=store.directory.provenance(),
        counts=counts(store.directory),
        n_bytes=on_disk.bytes,
        continuation=_continuation(store.directory, info, manifest, whole, summary.n_epochs or 0),
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


def _as_json(view: View) -> dict[str, Any]:
    snapshot = None
    if view.manifest is not None:
        snapshot = msgspec.to_builtins(view.manifest)
        snapshot["leaves"] = [_leaf_json(leaf) for leaf in view.manifest.leaves]
        snapshot["opaque"] = [_leaf_json(leaf) for leaf in view.manifest.opaque]
        for group, shown in zip(view.manifest.groups, snapshot["groups"], strict=True):
            shown["blocks"], shown["bytes"] = len(group.blocks), group_size(group, view.manifest)
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
        "returns": show_lines.returns(view.rows),
        "counts": view.counts,
        "bytes": view.n_bytes,
        "provenance": view.provenance,
        "continue": view.continuation,
    }


def _leaf_json(leaf: Leaf) -> dict[str, Any]:
    return {"path": leaf.path, "dtype": leaf.dtype, "shape": leaf.shape, "bytes": leaf_size(leaf), "hash": leaf.hash}


def _continuation(
    directory: RunDirectory, info: RunInfo | None, manifest: Manifest | None, whole: list[Manifest], n_epochs: int
) -> str:
    """The command, or where there is no recipe the statements, that go on from the snapshot that is shown."""
    path = directory.path
    if manifest is None:
        return "there is no snapshot to continue from; run its experiment again"
    older = manifest.epoch != whole[-1].epoch
    if info is not None and not older and changed_arguments.unbuilt(directory, manifest.epoch):
        return changed_arguments.building_command(path, info.arguments)
    more = manifest.epoch + 1 + n_epochs if manifest.epoch + 1 >= n_epochs else None
    if manifest.recipe is None:
        from_epoch = f", from_epoch={manifest.epoch}" if older else ""
        total = "" if more is None else f"n_epochs={more}"
        restore = f"trainer.restore({str(path)!r}{from_epoch})"
        return f"trainer.setup(algo, env); {restore}; trainer.resume({total})"
    words = ["garage", "resume", str(path)]
    if older:
        words += ["--from", str(manifest.epoch)]
    if more is not None:
        words += ["--n-epochs", str(more)]
    return shlex.join(words)
