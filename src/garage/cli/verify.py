"""``garage verify``: read everything, name what is damaged."""

import contextlib
from pathlib import Path

import click

from garage.cli.completing import runs_of
from garage.cli.output import print_json, ranges
from garage.cli.terminal import echo
from garage.errors import DamagedError, FormatVersionError, InUseError, SigningKeyError
from garage.storage.lock import holder_of
from garage.storage.pins import read_pins
from garage.storage.signing import Signer, signer_of
from garage.storage.signing_key import find_key
from garage.storage.store import SnapshotStore

_NOT_WHOLE = 3
_SIGNED = {
    Signer.THIS_KEY: "Signed by your key",
    Signer.ANOTHER_KEY: "Signed by another key",
    Signer.NOBODY: "Not signed",
}


@click.command()
@click.argument("run", type=click.Path(path_type=Path), shell_complete=runs_of)
@click.option("--json", "as_json", is_flag=True, help="Print one object, and nothing else.")
@click.pass_context
def verify(ctx: click.Context, run: Path, *, as_json: bool) -> None:
    """Read every byte of RUN and check it against its hash; nothing is changed or unpickled.

    Each problem is a line with the epoch and the leaf's path. Exits with 0 if there is none, with 3 if there is one
    or no snapshot at all. Who signed the snapshots is said too; that another key did, or none, is no problem.
    """
    store = SnapshotStore(run)
    if not store.directory.manifest_epochs():
        store.directory.info()
    problems = store.verify()
    if problems and _is_written_to(store.directory.lock_path):
        # The run goes on: what was superseded while we read it is not damaged.
        again = set(store.verify())
        problems = [problem for problem in problems if problem in again]
    signers = _signers(store)
    problems += [
        f"epoch {epoch}: the manifest has been altered since your key signed it"
        for epoch, signer in signers.items()
        if signer is Signer.ALTERED
    ]
    try:
        read_pins(store.directory)
    except DamagedError as error:
        problems.append(str(error))
    epochs = [] if problems else store.epochs()
    if as_json:
        said = {str(epoch): signer.value for epoch, signer in signers.items()}
        print_json({"path": str(run), "whole": bool(epochs), "epochs": epochs, "problems": problems, "signers": said})
    elif problems:
        echo(*problems)
        echo(f"{run} is damaged; what reads whole can still be restored. Problems: {len(problems)}.", err=True)
    elif epochs:
        n_bytes = sum(path.stat().st_size for path in store.directory.packs_path.rglob("*") if path.is_file())
        echo(f"{run} is whole: snapshots of epochs {', '.join(map(str, epochs))}; {n_bytes:,} bytes in packs.")
        for signer in sorted(set(signers.values()), key=lambda signer: signer.value):
            theirs = [epoch for epoch, each in signers.items() if each is signer]
            echo(f"{_SIGNED[signer]}: epochs {ranges(theirs)}.")
    else:
        echo(f"{run} has no snapshot: it was stopped before its first epoch ended, or keeps none.")
    if not epochs:
        ctx.exit(_NOT_WHOLE)


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
