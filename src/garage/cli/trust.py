"""``garage trust``: sign a run's snapshots in one's own name, so that their code may run."""

import contextlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from garage.cli import snapshot_name
from garage.cli.completing import runs_of
from garage.cli.output import pairs, ranges
from garage.cli.terminal import plain
from garage.errors import DamagedError, SigningKeyError
from garage.storage.manifest import Manifest
from garage.storage.run_directory import RunDirectory, content
from garage.storage.signing import Signer, SigningKey, described, signer_of
from garage.storage.signing_key import own_key
from garage.storage.store import SnapshotStore
from garage.storage.trust import sign_as_seen

_DAMAGED = 3
_SHORT = 12


@click.command()
@click.argument("run", type=click.Path(path_type=Path), callback=snapshot_name.run_alone, shell_complete=runs_of)
@click.pass_context
def trust(ctx: click.Context, run: Path) -> None:
    """Let the code of RUN be run as if it were your own: sign its snapshots with your key.

    First it says what RUN says of itself. Whoever made RUN may have written anything there, so trust a run because of
    where you have it from. Nothing is unpickled, and but for the signatures nothing is changed.
    """
    store = SnapshotStore(run)
    if not store.directory.manifest_epochs():
        store.directory.info()
    key, problem = own_key()
    if key is None:
        msg = f"Cannot sign {run}: {problem}. Set GARAGE_SIGNING_KEY, see docs/trust.md."
        raise SigningKeyError(msg)
    found = _found(store, key)
    click.echo(plain(f"{run} says of itself:"))
    for line in pairs([*_origin(store.directory), *found.lines]):
        click.echo(plain(line))
    for line in found.problems:
        click.echo(plain(line), err=True)
    if found.unsigned:
        sign_as_seen(store.directory, found.unsigned, key)
        click.echo(f"Signed with your key {key.id}: epochs {ranges([each.epoch for each in found.unsigned])}.")
    elif found.problems:
        ctx.exit(_DAMAGED)
    else:
        click.echo(f"There was nothing to sign: your key {key.id} has signed all that is there.")


@dataclass
class _Found:
    """What a run holds.

    Attributes:
        unsigned: manifests that the user's key has not signed, and whose code is whole.
        lines: what there is to say of them.
        problems: why others cannot be signed.
    """

    unsigned: list[Manifest]
    lines: list[tuple[str, str]]
    problems: list[str]


def _found(store: SnapshotStore, key: SigningKey) -> _Found:
    whole, problems = store.manifests()
    found = _Found([], [], problems)
    for manifest in whole:
        try:
            signer = signer_of(manifest, store.directory.manifest_path(manifest.epoch), key)
            found.lines += [line for line in _code_lines(store, manifest) if line not in found.lines]
        except DamagedError as error:
            found.problems.append(f"Epoch {manifest.epoch} is not signed: {error}")
            continue
        found.lines.append((f"epoch {manifest.epoch}", described(signer, manifest, key)))
        if signer is not Signer.THIS_KEY:
            found.unsigned.append(manifest)
    return found


def _origin(directory: RunDirectory) -> Iterator[tuple[str, str]]:
    """Who wrote it, where and how."""
    with contextlib.suppress(DamagedError):  # `garage verify` names it
        info = directory.info()
        arguments = " ".join(f"{name}={value!r}" for name, value in info.arguments.items())
        yield "run", f"{info.name}, id {info.id}, created {info.created_at}"
        yield "target", info.target or "none: a trainer without an experiment function"
        yield "arguments", arguments or "none"
        if info.parent is not None:
            yield "parent", f"epoch {info.parent.epoch} of {info.parent.run} in {info.parent.path}"
    with contextlib.suppress(ValueError, DamagedError):
        provenance = json.loads(content(directory.path / "provenance.json"))
        if isinstance(provenance, dict):
            yield "host", str(provenance.get("host"))
            yield "folder", str(provenance.get("folder"))
            yield "command", shlex.join(map(str, _list(provenance.get("command"))))


def _code_lines(store: SnapshotStore, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What would be unpickled.

    Raises:
        DamagedError: it is not as the manifest says, so nobody can say what would be signed.
    """
    recipe, opaque = store.code(manifest)
    if recipe is not None and manifest.recipe is not None:
        yield "recipe", f"{manifest.recipe[:_SHORT]}, {len(recipe):,} bytes, {_header(recipe)}"
    for path, data in opaque.items():
        yield f"opaque {path}", f"{len(data):,} bytes, in epoch {manifest.epoch}"


def _header(recipe: bytes) -> str:
    """Where a recipe says that it was made, and of which modules."""
    try:
        header = json.loads(recipe.partition(b"\n")[0])
        modules = ", ".join(f"{name} ({file})" for name, file in header["modules"].items())
        return f"made by a script in {header['folder']}; its own modules: {modules or 'none'}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return "whose first line cannot be read"


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - whatever a file holds
    return value if isinstance(value, list) else []
