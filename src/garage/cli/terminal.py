"""What reaches a terminal: text that others wrote may hold characters that make it show something else."""

import click


def echo(*lines: str, err: bool = False, bold: bool = False) -> None:
    """Print lines, whatever characters they hold.

    Args:
        lines: a line end within one is written as its escape, too.
        err: to standard error instead of standard output.
        bold: so, where that is a terminal.
    """
    click.secho("\n".join(map(plain, lines)), err=err, bold=bold or None)


def plain(line: str) -> str:
    """A line with each character written as its escape that is not to be seen as itself."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
