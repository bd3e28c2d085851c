"""Compiles the kernels, once for each level of the processor, when garage is built or installed from its sources.

The compiler is that of Zig, which comes from the package index like everything else, so that a machine needs none of
its own. Results do not depend on it: see src/garage/kernels/mlp.c. `python hatch_build.py` compiles in place, as an
editable installation does; a wheel is made without a change to the checkout, and an sdist holds the sources alone.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "src" / "garage" / "kernels"
LEVELS = {
    "x86_64": {"x86_64_v2": "x86_64_v2", "x86_64_v3": "x86_64_v3", "x86_64_v4": "x86_64_v4"},
    "aarch64": {"aarch64": "generic"},
}
"""By kind of processor, the levels' names and what the compiler calls them; of several the last is the best."""
SYSTEMS = {"Linux": "linux-gnu.2.17", "Darwin": "macos.11.0"}
TAGS = {"Linux": "manylinux_2_17_{}", "Darwin": "macosx_11_0_{}"}
OPTIONS = (
    *("-O3", "-std=c17", "-shared", "-fPIC", "-fvisibility=hidden", "-g0", "-fno-sanitize=all"),
    *("-Wall", "-Wextra", "-Werror"),
    *("-ffp-contract=off", "-fno-fast-math", "-mprefer-vector-width=512"),
    *("-nostdlib", "-lc", "-lm"),  # else the compiler makes a runtime library of its own first, which takes longer
)


class KernelsHook(BuildHookInterface[Any]):
    """Puts the compiled kernels into the wheel, or beside their sources where these are what is installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; the wheel is one for this kind of machine and any Python."""
        if self.target_name != "wheel":
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{TAGS[platform.system()].format(platform.machine())}"
        if version == "editable":
            compile_in_place()
            return
        self._made = Path(tempfile.mkdtemp(prefix="garage-kernels-"))
        for library in compile_kernels(self._made):
            build_data["force_include"][str(library)] = f"garage/kernels/{library.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what is in the wheel now."""
        if self.target_name == "wheel" and version != "editable":
            shutil.rmtree(self._made)


def compile_in_place() -> None:
    """Put the libraries beside their sources. A process that has an old one loaded keeps it."""
    with tempfile.TemporaryDirectory() as made:
        for library in compile_kernels(Path(made)):
            unfinished = FOLDER / f"{library.stem}.{os.getpid()}.part"
            shutil.copyfile(library, unfinished)
            unfinished.replace(FOLDER / library.name)


def compile_kernels(folder: Path, machine: str = platform.machine(), system: str = platform.system()) -> list[Path]:
    """One library for each level of a kind of processor, which need not be this machine's.

    Raises:
        RuntimeError: there is no compiler, it fails, or the machine is none that garage is made for.
    """
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(machine, machine)
    if machine not in LEVELS or system not in SYSTEMS:
        msg = (
            f"Cannot compile garage's kernels for {system} on {machine}: expected one of {sorted(SYSTEMS)} on one of "
            f"{sorted(LEVELS)}."
        )
        raise RuntimeError(msg)
    if importlib.util.find_spec("ziglang") is None:
        msg = f"Cannot compile garage's kernels: {sys.executable} has no `ziglang`. Run `pip install ziglang` first."
        raise RuntimeError(msg)
    sources = [str(path) for path in sorted(FOLDER.glob("*.c"))]
    options = (*OPTIONS, "-target", f"{machine}-{SYSTEMS[system]}", f'-DSOURCES="{digest_of_sources()}"')
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor() as threads:

        def compile_one(level: str, processor: str) -> Path:
            library = folder / f"{level}.so"
            command = (
                *(sys.executable, "-m", "ziglang", "cc", *options, f"-mcpu={processor}"),
                *("-o", str(library), *sources),
            )
            # A cache of its own: the user's may be missing, read-only, or being written by another installation.
            caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
            done = subprocess.run(  # noqa: S603 - the compiler
                command, env={**os.environ, **caches}, capture_output=True, text=True, check=False
            )
            if done.returncode:
                msg = f"Cannot compile garage's kernels: `{' '.join(command)}` ended with {done.returncode}.\n"
                raise RuntimeError(msg + done.stderr)
            return library

        return list(threads.map(compile_one, LEVELS[machine].keys(), LEVELS[machine].values()))


def digest_of_sources() -> str:
    """What a library says it was made from, which is checked when it is loaded."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted((*FOLDER.glob("*.c"), *FOLDER.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    compile_in_place()
