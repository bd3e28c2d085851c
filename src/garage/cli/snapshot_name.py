"""``RUN[@EPOCH]``, and ``--from EPOCH``, as several commands take them."""

from pathlib import Path

import click

from garage.errors import ArgumentError

NAMED = ("first", "last", "best")


def split(text: str) -> tuple[Path, int | str | None]:
    """A run's directory, and an epoch or one of `NAMED`, or None where nothing follows.

    Raises:
        ArgumentError: what follows the last ``@`` is neither.
    """
    path, at, which = text.rpartition("@")
    if not at or Path(text).exists():
        return Path(text), None
    if which in NAMED:
        return Path(path), which
    if not (which.isdecimal() and which.isascii()):
        msg = f"After the @ of RUN@EPOCH comes an epoch, such as {path}@17, or {', '.join(NAMED)}; got {which!r}."
        raise ArgumentError(msg)
    return Path(path), int(which)


def run_alone(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    """A run's directory, of a command that takes no epoch behind it.

    Raises:
        BadParameter: an epoch follows.
    """
    path, at, which = str(value).rpartition("@")
    if not at or value.exists() or not Path(path).exists():
        return value
    takes_from = any("--from" in each.opts for each in ctx.command.params)
    advice = f"give it by --from {which}" if takes_from else f"give {path}"
    msg = f"no epoch follows the run here, got {value}; {advice}."
    raise click.BadParameter(msg, ctx, param)


def option(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    """The value of an option that takes an epoch or one of `NAMED`: an epoch as a number, a name as it is.

    Raises:
        BadParameter: it is neither.
    """
    if value is None or value in NAMED:
        return value
    if value.isdecimal() and value.isascii():
        return int(value)
    msg = f"{value!r} is none of first, last, best, nor an epoch such as 17."
    raise click.BadParameter(msg, ctx, param)
