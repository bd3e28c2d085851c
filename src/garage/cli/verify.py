"""``garage verify``: read everything, name what is damaged."""

import contextlib
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import click

from garage.cli import snapshot_name
from garage.cli.completing import runs_of
from garage.cli.output import print_json, ranges
from garage.cli.terminal import echo
from garage.errors import DamagedError, FormatVersionError, InUseError, SigningKeyError, StorageError
from garage.storage.lock import holder_of
from garage.storage.pins import read_pins
from garage.storage.problem import Problem
from garage.storage.signing import Signer, signer_of
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore

_NOT_WHOLE = 3
_SHOWN = 2
_NOTHING_LEFT = "the values of no epoch read whole, so a copy of the directory is needed"
_SIGNED = {
    Signer.THIS_KEY: "Signed by your key",
    Signer.ANOTHER_KEY: "Signed by another key",
    Signer.NOBODY: "Not signed",
}


@click.command()
@click.argument("run", type=click.Path(path_type=Path), callback=snapshot_name.run_alone, shell_complete=runs_of)
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
@click.pass_context
def verify(ctx: click.Context, run: Path, *, as_json: bool) -> None:
    """Read every byte of RUN and check it against its hash; nothing is changed or unpickled.

    Each problem is a line with the epochs and paths of values; those that one pack has lost are told
    together. Exits with 0 if there is none, with 3 if there is one or no snapshot at all. Who signed the snapshots is
    said too; that another key did, or none, is no problem.
    """
    store = SnapshotStore(run)
    if not store.directory.manifest_epochs():
        store.directory.info()
    problems = store.problems()
    if problems and _is_written_to(store.directory.lock_path):
        # The run goes on: what was superseded while we read it is not damaged.
        again = set(store.problems())
        problems = [problem for problem in problems if problem in again]
    signers = _signers(store)
    problems += [
        Problem("the manifest has been altered since your key signed it", epoch)
        for epoch, signer in signers.items()
        if signer is Signer.ALTERED
    ]
    try:
        read_pins(store.directory)
    except DamagedError as error:
        problems.append(Problem(str(error)))
    lines = list(_said(problems))
    epochs = _whole(store, problems)
    if as_json:
        said = {str(epoch): signer.value for epoch, signer in signers.items()}
        whole = bool(epochs) and not problems
        print_json({"path": str(run), "whole": whole, "epochs": epochs, "problems": lines, "signers": said})
    elif problems:
        echo(*lines)
        left = f"the values of epochs {ranges(epochs)} read whole and can be restored" if epochs else _NOTHING_LEFT
        echo(f"{run} is damaged; {left}. Problems: {len(lines)}.", err=True)
    elif epochs:
        n_bytes = sum(path.stat().st_size for path in store.directory.packs_path.rglob("*") if path.is_file())
        echo(f"{run} is whole: snapshots of epochs {', '.join(map(str, epochs))}; {n_bytes:,} bytes in packs.")
        for signer in sorted(set(signers.values()), key=lambda signer: signer.value):
            theirs = [epoch for epoch, each in signers.items() if each is signer]
            echo(f"{_SIGNED[signer]}: epochs {ranges(theirs)}.")
    else:
        echo(f"{run} has no snapshot: it was stopped before its first epoch ended, or keeps none.")
    if problems or not epochs:
        ctx.exit(_NOT_WHOLE)


def _said(problems: Sequence[Problem]) -> Iterator[str]:
    """A line for each; one for all values that cannot be read for the same reason, or from the same pack."""
    together: dict[Hashable, list[Problem]] = {}
    for problem in problems:
        same = problem.pack or problem.reason
        together.setdefault(problem if problem.leaf is None else same, []).append(problem)
    for group in together.values():
        leaves = list(dict.fromkeys(problem.leaf for problem in group))
        epochs = sorted({problem.epoch for problem in group if problem.epoch is not None})
        if len(group) == 1:
            yield group[0].line
            continue
        named = ", ".join(f"`{leaf}`" for leaf in leaves[:_SHOWN])
        more = f" and {len(leaves) - _SHOWN} more" if len(leaves) > _SHOWN else ""
        n_chunks = len({problem.reason for problem in group})
        others = f"; so are {n_chunks - 1} more of its chunks" if n_chunks > 1 else ""
        values = f"{len(leaves)} value{'s' if len(leaves) > 1 else ''}"
        where = f"epoch{'s' if len(epochs) > 1 else ''} {ranges(epochs)}"
        yield f"{where}: Cannot read {values}, {named}{more}: {group[0].reason}{others}."


def _whole(store: SnapshotStore, problems: Sequence[Problem]) -> list[int]:
    """Epochs of the snapshots whose values are all as they were written."""
    try:
        epochs = store.epochs()
    except StorageError:  # among the problems
        return []
    damaged = {problem.epoch for problem in problems}
    return [epoch for epoch in epochs if epoch not in damaged]


def _signers(store: SnapshotStore) -> dict[int, Signer]:
    """By epoch, of the manifests that are whole; none if that cannot be told."""
    signers = {}
    try:
        key = find_key()
        for manifest in store.manifests()[0]:
            with contextlib.suppress(DamagedError):  # a run that goes on has replaced it
                signers[manifest.epoch] = signer_of(manifest, store.directory.manifest_path(manifest.epoch), key)
    except SigningKeyError as error:
        echo(f"Who signed the snapshots cannot be told. {error}", err=True)
    except FormatVersionError:  # among the problems
        return {}
    return signers


def _is_written_to(lock_path: Path) -> bool:
    with contextlib.suppress(InUseError):  # a lock that cannot be read is nobody's who writes now
        return holder_of(lock_path) is not None
    return False
