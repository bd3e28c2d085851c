"""What decides over last bits: versions, CPU, libraries, threads."""

import functools
import os
import platform
import re
import socket
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from garage import process
from garage.core.ports import Env
from garage.experiment import portable
from garage.experiment.launch_archive import git_state
from garage.experiment.representation import without_addresses
from garage.kernels import library
from garage.storage.run_directory import now

_PACKAGES = ("garage", "numpy", "gymnasium", "cloudpickle")

_ENGINES = {"mujoco": "mujoco", "Box2D": "box2d", "ale_py": "ale-py"}
"""Packages that compute what happens in worlds, by the name of their module."""

_VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "GARAGE_GRACE_SECONDS", "LD_PRELOAD", "MKL_NUM_THREADS", "MUJOCO_GL", "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "TF_ENABLE_ONEDNN_OPTS",
)  # fmt: skip
"""Of the environment, what libraries and batch systems read or say; nobody's secrets."""

_MOST_EARLIER = 100
_MOST_THREADS = 4096
_NAME, _RELEASE = (re.compile(rf"^{field}:[ \t]*(\S+)", re.MULTILINE | re.IGNORECASE) for field in ("Name", "Version"))

_ON = {True: "on", False: "off"}


def fingerprint() -> dict[str, Any]:
    """Versions, CPU, BLAS and threads of this process, and what is loaded; in portable mode also what is pinned."""
    blas = [
        f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip()
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    ]
    threads = [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "cpu": _cpu(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "blas": sorted(set(blas)),
        "threads": max(threads, default=1),
        **({"portable": True, "pinned": portable.settings()} if portable.active() else {}),
        **{framework.name: dict(framework.fingerprint()) for framework in process.frameworks()},
        **{name: {"version": _version(name)} for module, name in _ENGINES.items() if module in sys.modules},
    }


def provenance(env: Env, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was started with, for run directories.

    Args:
        env: its world.
        before: what was written there so far; the main things of it are kept as ``earlier``, oldest first.
    """
    return {
        "written_at": now(),
        "fingerprint": fingerprint(),
        "packages": installed_packages(),
        "git": git_state(Path.cwd()),
        "environment": _described(env),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "executable": sys.executable,
        "variables": {name: value for name in _VARIABLES if (value := os.environ.get(name)) is not None},
        "numpy_simd": _simd(),
        "kernels": library.level(),
        "earlier": _earlier(before),
    }


def installed_packages() -> list[str]:
    """What is installed, as ``name==version``, in the order of the names.

    Of each package's metadata only the two lines are looked for: ``importlib.metadata`` parses all of it, with the
    description, for every question, which took 0.2 s at the start of each training.
    """
    found = set()
    for distribution in metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or distribution.read_text("")
        fields, _, _ = (text or "").partition("\n\n")
        name, release = _NAME.search(fields), _RELEASE.search(fields)
        if name and release:
            found.add(f"{name[1]}=={release[1]}")
    return sorted(found, key=str.lower)


def differences(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """What differs, one line each. A framework or an engine that only one of them had says nothing.

    In portable mode the kind of CPU is no difference.
    """
    was, is_portable = (portable.is_recorded(side) for side in (recorded, present))
    lines = [] if was == is_portable else [f"portable mode: {_ON[was]} when saved, {_ON[is_portable]} now"]
    passed_over = {"portable", "cpu"} if was and is_portable else {"portable"}
    for key in [*recorded, *(key for key in present if key not in recorded)]:
        if key in passed_over:
            continue
        saved, now = recorded.get(key), present.get(key)
        if isinstance(saved, Mapping) and isinstance(now, Mapping):
            lines += [f"{key}.{line}" for line in differences(saved, now)]
        elif saved != now and not isinstance(saved if now is None else now, Mapping):
            lines.append(f"{key}: {saved} when saved, {now} now")
    return lines


def recorded_threads(recorded: Mapping[str, Any]) -> int | None:
    """How many threads a run was trained with; None if it does not say, or says what cannot be."""
    threads = recorded.get("threads")
    return threads if type(threads) is int and 1 <= threads <= _MOST_THREADS else None


def _described(env: Env) -> dict[str, Any]:
    """A world in words, without what is another one in each process."""
    spec = env.spec
    return {
        "type": f"{type(env).__module__}.{type(env).__qualname__}",
        "description": without_addresses(repr(env)),
        "observation_space": repr(spec.observation_space),
        "action_space": repr(spec.action_space),
        "max_episode_length": spec.max_episode_length,
    }


def _earlier(before: Mapping[str, Any]) -> list[Any]:
    """Who wrote before, in short; of very many, the first and the newest."""
    listed = before.get("earlier")
    earlier = list(listed) if isinstance(listed, list) else []
    if before:
        git, made_with = before.get("git"), before.get("fingerprint")
        last = {key: before.get(key) for key in ("written_at", "host", "folder", "command")}
        last["git"] = {key: git.get(key) for key in ("commit", "diff")} if isinstance(git, Mapping) else None
        last["fingerprint"] = made_with if isinstance(made_with, Mapping) else None
        earlier.append(last)
    return earlier if len(earlier) <= _MOST_EARLIER else [earlier[0], *earlier[1 - _MOST_EARLIER :]]


@functools.cache  # what is loaded stays what it is, and to look it up takes milliseconds
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _simd() -> list[str]:
    config = np.show_config(mode="dicts")
    found = config.get("SIMD Extensions", {}).get("found", []) if isinstance(config, dict) else []
    return [str(extension) for extension in found]
