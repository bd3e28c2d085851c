"""What shells complete: runs, their snapshots, files."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from garage.cli.run_summary import runs_below
from garage.cli.snapshot_name import NAMED
from garage.storage.run_directory import RunDirectory

_DATA = Path("data") / "local"


def runs_of(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - click's
    """The runs below data/local that the word may become; other directories too."""
    names = sorted(str(path) for path in runs_below(_DATA, lambda _: None))
    found = [CompletionItem(name) for name in names if name.startswith(incomplete) or _is_name(name, incomplete)]
    return found or [CompletionItem(incomplete, type="dir")]


def snapshots_of(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """As `runs_of`; after ``RUN@``, the epochs of its snapshots and their names."""
    path, at, which = incomplete.rpartition("@")
    if not at or not (Path(path) / "run.json").is_file():
        return runs_of(ctx, param, incomplete)
    epochs = [str(epoch) for epoch in RunDirectory(Path(path)).manifest_epochs()]
    return [CompletionItem(f"{path}@{name}") for name in (*NAMED, *epochs) if name.startswith(which)]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001 - as above
    """Any file."""
    return [CompletionItem(incomplete, type="file")]


def _is_name(path: str, incomplete: str) -> bool:
    """Whether a word without a folder is the beginning of the run's own name."""
    return bool(incomplete) and "/" not in incomplete and Path(path).name.startswith(incomplete)
