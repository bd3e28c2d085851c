"""What commands print: JSON for programs, aligned columns for people and pipes."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from garage.cli.terminal import echo
from garage.core.durations import in_words
from garage.storage.run_directory import pretty


def print_json(value: object) -> None:
    """Print ``value`` as JSON, and nothing else; NaN is null."""
    click.echo(pretty(value), nl=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as aligned columns, below a header that is bold on a terminal.

    By hand: importing rich and letting it lay out 100 rows takes longer than all else that ``garage ls`` does.
    """
    header, *lines = aligned([columns, *rows])
    echo(header, bold=True)
    echo(*lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def ranges(epochs: Sequence[int]) -> str:
    """Ascending numbers, with neighbours joined: ``0-3, 7``."""
    spans: list[list[int]] = []
    for epoch in epochs:
        if spans and epoch == spans[-1][1] + 1:
            spans[-1][1] = epoch
        else:
            spans.append([epoch, epoch])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans) or "none"


def pairs(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Names and values as indented lines."""
    return [f"  {name:<11} {value}" for name, value in rows]


def age(moment: str | None) -> str:
    """How long ago an ISO 8601 time was, in one unit: ``3 min``; ``?`` for what is no time."""
    if moment is None:
        return "-"
    try:
        seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()))
    except (ValueError, TypeError, OverflowError):  # no time, or one without a zone
        return "?"
    return in_words(seconds, n_units=1)
