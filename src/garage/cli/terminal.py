"""What reaches a terminal: text that others wrote may hold characters that make it show something else."""

import os
import re
from enum import StrEnum

import click

_COMMAND = re.compile(r"""`[^`]+`|\bpip (?:un)?install (?:'[^']+'|"[^"]+")|^ *garage [a-z].*$""")
"""What a message says to run: what stands in backticks, what is to be installed, and lines that are commands."""


class Colour(StrEnum):
    """What a colour means."""

    ERROR = "red"
    NOTE = "yellow"
    STEP = "cyan"


def echo(*lines: str, err: bool = False, bold: bool = False, colour: Colour | None = None) -> None:
    """Print lines, whatever characters they hold.

    Args:
        lines: a line end within one is written as its escape, too.
        err: to standard error instead of standard output.
        bold: so, where that is a terminal.
        colour: likewise, unless the user wants none.
    """
    text = "\n".join(map(plain, lines))
    if _wants_styles():
        click.secho(text, err=err, bold=bold or None, fg=colour)
    else:
        click.echo(text, err=err)


def echo_error(*lines: str) -> None:
    """Print an error's message to standard error; on a terminal, what it says to run stands out."""
    first, *others = [plain(line) for line in lines]
    if _wants_styles():
        label = click.style("Error:", fg=Colour.ERROR, bold=True)
        click.echo("\n".join([f"{label} {_with_commands(first)}", *map(_with_commands, others)]), err=True)
    else:
        click.echo("\n".join([f"Error: {first}", *others]), err=True)


def plain(line: str) -> str:
    """A line with each character written as its escape that is not to be seen as itself."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def _with_commands(line: str) -> str:
    return _COMMAND.sub(lambda found: click.style(found[0], fg=Colour.STEP), line)


def _wants_styles() -> bool:
    """See https://no-color.org; where the output is no terminal, click leaves styles out by itself."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
