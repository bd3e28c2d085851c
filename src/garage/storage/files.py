"""What readers stand on: the bytes of ordinary files, and JSON of whatever depth and size of numbers."""

import errno
import io
import os
import stat
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

_Document = TypeVar("_Document")
_CONTAINERS = (dict, list)


def open_file(path: Path) -> io.BufferedReader:
    """Open an ordinary file to read; a pipe would let the reader wait for ever, a device have no end.

    Raises:
        OSError: the system refuses, or it is something else.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not an ordinary file", str(path))
    return file


def read_file(path: Path) -> bytes:
    """All bytes of an ordinary file.

    Raises:
        OSError: the system refuses, it is something else, or it is longer than memory allows.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except MemoryError as error:
        raise OSError(errno.ENOMEM, "There is not enough memory to read it", str(path)) from error


@overload
def from_json(data: bytes) -> Any: ...  # noqa: ANN401 - whatever it says
@overload
def from_json(data: bytes, kind: type[_Document]) -> _Document: ...


def from_json(data: bytes, kind: Any = Any) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is no JSON, nothing of that kind, or nested too deeply.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise ValueError(msg) from error


def is_nested(value: object, depth: int) -> bool:
    """Whether objects and lists lie in each other more than ``depth`` times, as no writer of ours has them."""
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, _CONTAINERS)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(inner, _CONTAINERS) for inner in level)
