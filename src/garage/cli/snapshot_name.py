"""``RUN[@EPOCH]``, as several commands take it."""

from pathlib import Path

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
