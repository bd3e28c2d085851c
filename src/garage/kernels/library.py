"""The compiled library for this processor.

There is one for each level of the processors that it may run on, which differ in speed and not in a single bit;
`GARAGE_KERNELS` names another level than the best one. Libraries are called through `ctypes`: `held` is for calls of
microseconds, which keep the interpreter's lock, `freeing` for longer ones, which let other threads run meanwhile.
"""

import ctypes
import functools
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

from garage.errors import ArgumentError, NotCompiledError

LEVEL = "GARAGE_KERNELS"
"""Variable of the environment: the level whose library is taken, one of `levels()`."""

FOLDER = Path(__file__).parent
_X86_64 = "x86_64_v{}"
_MACHINES = {"AMD64": "x86_64", "arm64": "aarch64"}
_COMPILE = "Run `pip install --editable .` in garage's checkout, or install its wheel anew with `--force-reinstall`."


def levels() -> tuple[str, ...]:
    """Those that were compiled and that this processor can run, the best one last.

    Raises:
        NotCompiledError: what was compiled cannot be loaded.
    """
    machine = _MACHINES.get(platform.machine(), platform.machine())
    compiled = tuple(sorted(path.stem for path in FOLDER.glob(f"{machine}*.so")))
    least = _X86_64.format(2)
    if least not in compiled:  # an x86-64 machine has them all or none
        return () if machine == "x86_64" else compiled
    best = _opened(ctypes.PyDLL, least).level()
    return tuple(level for level in compiled if level <= _X86_64.format(best))


@functools.cache
def held() -> ctypes.CDLL:
    """The library, called with the interpreter's lock."""
    return _opened(ctypes.PyDLL, level())


@functools.cache
def freeing() -> ctypes.CDLL:
    """The library, called without the interpreter's lock."""
    return _opened(ctypes.CDLL, level())


@functools.cache
def level() -> str:
    """The level whose library is taken.

    Raises:
        NotCompiledError: none was compiled for this processor, or from other sources than those that are here.
        ArgumentError: the variable names one that is not there.
    """
    known = levels()
    if not known:
        msg = f"There is no compiled part of garage for {platform.machine()} in {FOLDER}. {_COMPILE}"
        raise NotCompiledError(msg)
    chosen = os.environ.get(LEVEL) or known[-1]
    if chosen not in known:
        msg = f"{LEVEL} must be one of {', '.join(known)} on this processor, got {chosen!r}. Unset it for the best one."
        raise ArgumentError(msg)
    _check_sources(chosen)
    return chosen


def address_of(function: Any) -> int:  # noqa: ANN401 - ctypes' functions have no public type
    """Where a function of `ctypes` is, for kernels that call it."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _opened(kind: type[ctypes.CDLL], level: str) -> ctypes.CDLL:
    path = FOLDER / f"{level}.so"
    try:
        return kind(str(path))
    except OSError as error:  # cut short, or of another operating system
        msg = f"Cannot load {path}, a compiled part of garage: {error}. {_COMPILE}"
        raise NotCompiledError(msg) from error


def _check_sources(level: str) -> None:
    """A library of other sources may have other bits."""
    digest = hashlib.blake2b(digest_size=16)
    for source in sorted((*FOLDER.glob("*.c"), *FOLDER.glob("*.h"))):
        digest.update(source.read_bytes())
    sources = _opened(ctypes.PyDLL, level).sources
    sources.restype = ctypes.c_char_p
    made_from = sources().decode()
    if made_from != digest.hexdigest():
        msg = (
            f"{FOLDER / level}.so was compiled from other sources than those beside it: it says {made_from}, they are "
            f"{digest.hexdigest()}. Compile them: `make setup`, or `pip install --editable .` in the checkout."
        )
        raise NotCompiledError(msg)
