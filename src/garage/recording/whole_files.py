"""Files for people appear whole, and wait for no device: what a power cut may take can be made again."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = ".unfinished-"
"""Begins the names of files that are not finished."""


def unfinished_path(path: Path) -> Path:
    """What a file is called until it is finished."""
    return path.with_name(f"{UNFINISHED}{path.name}")


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give the name to write to; at the end of the block the file becomes ``path``, or is gone if the block failed.

    Raises:
        OSError: the system refused.
    """
    unfinished = unfinished_path(path)
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the next one of that name takes its place
            unfinished.unlink()
        raise
