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

from garage.errors import ArgumentError, NotCompiledError

LEVEL = "GARAGE_KERNELS"
"""Variable of the environment: the level whose library is taken, one of `levels()`."""

FOLDER = Path(__file__).parent
_X86_64 = "x86_64_v{}"


def levels() -> tuple[str, ...]:
    """Those that were compiled and that this processor can run, the best one last."""
    compiled = sorted(path.stem for path in FOLDER.glob("*.so"))
    if platform.machine() not in {"x86_64", "AMD64"}:
        return tuple(compiled)
    least = _X86_64.format(2)
    if least not in compiled:
        return ()
    best = ctypes.PyDLL(str(FOLDER / f"{least}.so")).level()
    return tuple(level for level in compiled if level <= _X86_64.format(best))


@functools.cache
def held() -> ctypes.CDLL:
    """The library, called with the interpreter's lock."""
    return ctypes.PyDLL(str(_path()))


@functools.cache
def freeing() -> ctypes.CDLL:
    """The library, called without the interpreter's lock."""
    return ctypes.CDLL(str(_path()))


def level() -> str:
    """The level whose library is taken.

    Raises:
        NotCompiledError: none was compiled for this processor, or from other sources than those that are here.
        ArgumentError: the variable names one that is not there.
    """
    return _path().stem


@functools.cache
def _path() -> Path:
    known = levels()
    if not known:
        msg = (
            f"There is no compiled part of garage for {platform.machine()} in {FOLDER}. Install garage again "
            "(`pip install --force-reinstall --no-deps garage`), or in a checkout `pip install --editable .`."
        )
        raise NotCompiledError(msg)
    level = os.environ.get(LEVEL) or known[-1]
    if level not in known:
        msg = f"{LEVEL} must be one of {', '.join(known)} on this processor, got {level!r}."
        raise ArgumentError(msg)
    path = FOLDER / f"{level}.so"
    _check_sources(path)
    return path


def _check_sources(path: Path) -> None:
    """A library of other sources may have other bits."""
    digest = hashlib.blake2b(digest_size=16)
    for source in sorted((*FOLDER.glob("*.c"), *FOLDER.glob("*.h"))):
        digest.update(source.read_bytes())
    sources = ctypes.PyDLL(str(path)).sources
    sources.restype = ctypes.c_char_p
    made_from = sources().decode()
    if made_from != digest.hexdigest():
        msg = (
            f"{path} was compiled from other sources than those beside it: it says {made_from}, they are "
            f"{digest.hexdigest()}. Compile them by `make setup`, or by `pip install --editable .`."
        )
        raise NotCompiledError(msg)
