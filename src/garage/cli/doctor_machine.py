"""What a machine gives a process: processors, memory, graphics, and the key of its user."""

import ctypes.util
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from garage.cli.finding import Finding, fine, note, problem
from garage.errors import ArgumentError, NotCompiledError, SigningKeyError
from garage.kernels import library
from garage.storage.launch_archives import is_in_repository
from garage.storage.signing_key import VARIABLE, find_key

_SLOW = "x86_64_v2"
_CGROUP = Path("/sys/fs/cgroup")
_GIB = 1 << 30
_BACKENDS = ("egl", "osmesa", "glfw")
_DRAW = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
with mujoco.Renderer(model, 8, 8) as renderer:
    mujoco.mj_forward(model, data)
    renderer.update_scene(data)
    renderer.render()
"""
_DRAW_SECONDS = 60.0


def machine() -> Iterator[Finding]:
    """Processors, the compiled part, memory, graphics and key."""
    yield _processors()
    yield _kernels()
    yield from _threads()
    yield _memory()
    yield _screen()
    yield from _graphics()
    yield _key()
    yield _git()


def _processors() -> Finding:
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = _quota()
    found = f"{usable} of {os.cpu_count()} may be used"
    if quota is not None and quota < usable:
        found += f", and of these {quota:g} at a time: the cgroup allows no more"
        return note("processors", found, f"start at most {max(1, math.floor(quota))} workers")
    return fine("processors", found)


def _kernels() -> Finding:
    """Whether the compiled part is there, and for which level of the processor."""
    try:
        level, best = library.level(), library.levels()[-1]
    except NotCompiledError as error:
        return problem("kernels", str(error), "see docs/faq.md")
    except ArgumentError as error:
        return problem("kernels", str(error), f"unset {library.LEVEL}")
    if level != best:
        found = f"{level}, as {library.LEVEL} says; this processor can run {best}"
        return note("kernels", found, f"unset {library.LEVEL}: the numbers are the same, and come sooner")
    if level == _SLOW:
        found = f"compiled for {level}: without fused multiply-adds, networks take a hundred times as long"
        return note("kernels", found, "take a processor of x86-64-v3 (Intel's Haswell, AMD's Excavator, or later)")
    return fine("kernels", f"compiled for {level}")


def _quota() -> float | None:
    """Processors that the cgroup allows at a time; None if it sets no limit."""
    try:  # version 2
        allowed, _, period = (_CGROUP / "cpu.max").read_text().strip().partition(" ")
        return None if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):
        pass
    try:
        allowed = (_CGROUP / "cpu" / "cpu.cfs_quota_us").read_text()
        period = (_CGROUP / "cpu" / "cpu.cfs_period_us").read_text()
        return int(allowed) / int(period) if int(allowed) > 0 else None
    except (OSError, ValueError):
        return None


def _threads() -> Iterator[Finding]:
    """Variables that libraries read when they are imported; garage sets its own number at run time."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    chosen = {name: value for name in names if (value := os.environ.get(name))}
    wrong = {name: value for name, value in chosen.items() if not value.replace(",", "").isdecimal()}
    if wrong:
        listed = " ".join(f"{name}={value}" for name, value in wrong.items())
        yield problem("threads", f"{listed}: no number", f"unset {' '.join(wrong)}")
    else:
        listed = " ".join(f"{name}={value}" for name, value in chosen.items()) or "no variable is set"
        yield fine("threads", f"{listed}; garage computes in one thread, or in Trainer(n_threads=...)")


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return note("memory", "the system does not say how much there is")
    for path in (_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes"):
        try:
            limit = int(path.read_text())
        except (OSError, ValueError):
            continue
        if limit < total:
            return note("memory", f"{limit / _GIB:.1f} GiB: the cgroup allows no more of {total / _GIB:.1f} GiB")
    return fine("memory", f"{total / _GIB:.1f} GiB")


def _screen() -> Finding:
    names = [f"{name}={os.environ[name]}" for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]
    if names or sys.platform != "linux":
        return fine("screen", " ".join(names) or "the system's own")
    return note("screen", "none (no DISPLAY): plot=True films to the run's folder instead of showing a window")


def _graphics() -> Iterator[Finding]:
    """Whether MuJoCo can draw, by letting it draw in a process of its own."""
    try:
        metadata.version("mujoco")
    except metadata.PackageNotFoundError:
        yield note("graphics", "mujoco is not installed, so nothing here needs a GL backend")
        return
    chosen = os.environ.get("MUJOCO_GL", "")
    tried = {backend: _draws(backend) for backend in ([chosen] if chosen else _BACKENDS)}
    works = [backend for backend, why_not in tried.items() if why_not is None]
    if works:
        yield fine("graphics", f"MuJoCo draws with MUJOCO_GL={works[0]}")
        return
    reasons = "; ".join(f"{backend}: {why_not}" for backend, why_not in tried.items())
    there = [name for name in ("EGL", "OSMesa", "GL") if ctypes.util.find_library(name)]
    found = f"MuJoCo cannot draw ({reasons}); libraries that are there: {', '.join(there) or 'none of EGL, OSMesa, GL'}"
    if chosen:
        yield problem("graphics", found, "unset MUJOCO_GL, or set it to egl or osmesa")
    else:
        yield note("graphics", found, "to film MuJoCo's worlds: apt install libegl1 libgl1, or libosmesa6")


def _draws(backend: str) -> str | None:
    """The last line of what a process says that draws with that backend; None if it succeeds."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [sys.executable, "-c", _DRAW],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            check=False,
            timeout=_DRAW_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no picture after {_DRAW_SECONDS:g} s"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"its process ended with {done.returncode}"


def _key() -> Finding:
    try:
        key = find_key()
    except SigningKeyError as error:
        return problem("signing key", str(error), "see docs/trust.md")
    origin = f"from {VARIABLE}" if VARIABLE in os.environ else "in your configuration folder"
    if key is None:
        return note("signing key", "none yet: the first run makes one")
    return fine("signing key", f"{origin}, readable by you alone")


def _git() -> Finding:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"],  # noqa: S607 - the git that runs use
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return note("git", "not installed: runs record no commit and keep no copy of their code", "install git")
    if done.returncode == 0:
        return fine("git", f"this folder is in the repository {done.stdout.strip()}")
    said = (done.stderr.strip().splitlines() or [""])[0]
    if is_in_repository(Path.cwd()):
        return problem("git", f"cannot read this folder's repository: {said}", "see `git status`")
    return note("git", "this folder is in no repository: runs record no commit and keep no copy of their code")
