"""Portable mode: the same last bits on every x86-64-v3 machine (AVX2 and FMA; Intel since 2013, AMD since 2015).

NumPy, its BLAS, PyTorch and TensorFlow carry kernels for several kinds of CPU and choose when they are loaded. What
they choose can be pinned by environment variables alone, and only before that, so a process that is to be portable
replaces itself by one of the same command. What is pinned and why: ``docs/design/0009-portable-mode.md``; for which
functions it holds: ``docs/portable.md``.
"""

import os
import platform
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import threadpoolctl

from garage.errors import MismatchError

_CORE = "Haswell"
"""OpenBLAS's name for its AVX2 kernels; their block sizes are constants, whatever the caches."""

_SETTINGS = {
    "OPENBLAS_CORETYPE": _CORE,
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",  # what it has for AVX2 it uses on Intel's CPUs only
    "TF_ENABLE_ONEDNN_OPTS": "0",
    # Outside of training, one thread a core would be the default: as many parts of a sum as there are cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}

_NUMPY = "NPY_DISABLE_CPU_FEATURES"

# Each would overrule a setting, or contradict it.
_REMOVED = (
    "NPY_ENABLE_CPU_FEATURES",
    "OPENBLAS_BLOCK_FACTOR",
    "GOTO_BLOCK_FACTOR",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
)

_V3 = frozenset({"SSE", "SSE2", "SSE3", "SSSE3", "SSE41", "POPCNT", "SSE42", "CX16", "LAHF", "X86_V2"}) | frozenset(
    {"AVX", "F16C", "FMA3", "AVX2", "BMI", "BMI2", "LZCNT", "MOVBE", "X86_V3"}
)
"""NumPy's names for what every x86-64-v3 machine has."""

_MARK = "GARAGE_PORTABLE_PID"


def enter() -> None:
    """Go on in portable mode: at once if this process is in it, else in a process of the same command.

    The new process has the old one's id, arguments, standard streams and working directory, and starts from the
    beginning: call this before anything else is done.

    Raises:
        MismatchError: this machine, its NumPy or its BLAS cannot be pinned.
    """
    pinned = _pinned(os.environ)
    changed = sorted(name for name in {*pinned, *os.environ} if pinned.get(name) != os.environ.get(name))
    if not changed:
        _refuse_if(_at_large())
        return
    pid = str(os.getpid())
    if os.environ.get(_MARK) == pid:
        _refuse(f"something sets {', '.join(changed)} whenever Python starts; look for a sitecustomize.py")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], pinned | {_MARK: pid})  # noqa: S606 - the command that this process was started with


def settings() -> dict[str, str]:
    """The environment variables that pin this machine's libraries.

    Raises:
        MismatchError: this machine is none of x86-64-v3, or its NumPy was built for a newer CPU.
    """
    if platform.machine() not in {"x86_64", "AMD64"}:
        _refuse(f"it is for x86-64-v3 machines, and this one is {platform.machine()}")
    baseline, dispatched, found = _numpy_features()
    needed = {"X86_V3"} if "X86_V3" in baseline | dispatched else {"AVX2", "FMA3", "F16C"}  # since NumPy 2.4; before
    if needed - found:
        hiding = [f"{name}={os.environ[name]}" for name in (_NUMPY, "NPY_ENABLE_CPU_FEATURES") if name in os.environ]
        hidden = f"; {' and '.join(hiding)} may hide it" if hiding else ""
        _refuse(f"this machine is none of x86-64-v3: NumPy finds no {' '.join(sorted(needed - found))}{hidden}")
    if baseline - _V3:
        _refuse(f"this NumPy was built for newer CPUs only: it needs {' '.join(sorted(baseline - _V3))}")
    beyond = sorted(dispatched - _V3)
    return {**_SETTINGS, **({_NUMPY: ",".join(beyond)} if beyond else {})}


def active() -> bool:
    """Whether this process is in portable mode: everything was pinned when it started."""
    return all(os.environ.get(name) == value for name, value in _SETTINGS.items()) and not _at_large()


def is_recorded(fingerprint: Mapping[str, Any]) -> bool:
    """Whether a recorded fingerprint says that its process was in portable mode."""
    return fingerprint.get("portable") is True


def _pinned(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment with everything pinned, else as it is."""
    pinned = {name: value for name, value in environment.items() if name not in _REMOVED} | settings()
    if "GLIBC_TUNABLES" in pinned:  # those of the CPU choose among the variants of exp, sin and pow
        kept = [tunable for tunable in pinned.pop("GLIBC_TUNABLES").split(":") if not tunable.startswith("glibc.cpu.")]
        pinned |= {"GLIBC_TUNABLES": ":".join(kept)} if kept else {}
    return pinned


def _at_large() -> list[str]:
    """What chooses its kernels by the CPU in spite of the settings."""
    _, _, found = _numpy_features()
    beyond = sorted(found - _V3)
    libraries = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    return [
        *([f"NumPy uses {' '.join(beyond)}"] if beyond else []),
        *(
            f"{library['filepath']} is {library['internal_api']} for {library.get('architecture', 'unknown CPUs')}"
            for library in libraries
            if library["internal_api"] != "mkl" and library.get("architecture") != _CORE
        ),
    ]


def _numpy_features() -> tuple[set[str], set[str], set[str]]:
    """Of NumPy: what it needs, what it chooses among, and what of both this process uses."""
    config = np.show_config(mode="dicts")
    simd: Mapping[str, Any] = dict(config["SIMD Extensions"]) if isinstance(config, dict) else {}
    baseline, found, missing = (set(simd.get(key, [])) for key in ("baseline", "found", "not found"))
    return baseline, found | missing, baseline | found


def _refuse_if(reasons: list[str]) -> None:
    if reasons:
        _refuse("; ".join(reasons))


def _refuse(reason: str) -> NoReturn:
    msg = f"Portable mode is not possible here: {reason}. Without it, last bits depend on the kind of CPU."
    raise MismatchError(msg)
