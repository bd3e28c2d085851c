"""Compiles the kernels, once for each level of the processor, when garage is built or installed from its sources.

The compiler is that of Zig, which comes from the package index like everything else, so that a machine needs none of
its own. Results do not depend on it: see src/garage/kernels/mlp.c. `python hatch_build.py` compiles in place.
"""

import hashlib
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "src" / "garage" / "kernels"
LEVELS = {"x86_64": ("x86_64_v2", "x86_64_v3", "x86_64_v4"), "aarch64": ("generic",)}
"""Each is tried from the last one down; a machine of the name before."""
SYSTEMS = {"Linux": "linux-gnu.2.17", "Darwin": "macos"}
OPTIONS = (
    *("-O3", "-std=c17", "-shared", "-fPIC", "-fvisibility=hidden", "-g0", "-fno-sanitize=all"),
    *("-Wall", "-Wextra", "-Werror"),
    *("-ffp-contract=off", "-fno-fast-math", "-mprefer-vector-width=512"),
)


class KernelsHook(BuildHookInterface):
    """Puts the compiled kernels beside their sources, and into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        """Compile; the wheel is one for this kind of machine and any Python."""
        compile_kernels()
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_wheel_platform()}"
        build_data["artifacts"].append("src/garage/kernels/*.so")


def compile_kernels() -> None:
    """One library for each level of this machine's kind of processor."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    if machine not in LEVELS or platform.system() not in SYSTEMS:
        msg = (
            f"Cannot compile garage's kernels for {platform.system()} on {platform.machine()}: expected one of "
            f"{sorted(SYSTEMS)} on one of {sorted(LEVELS)}."
        )
        raise RuntimeError(msg)
    sources = sorted(FOLDER.glob("*.c"))
    target = f"{machine}-{SYSTEMS[platform.system()]}"
    for level in LEVELS[machine]:
        library = FOLDER / f"{level}.so"
        unfinished = library.with_suffix(".part")
        options = (*OPTIONS, "-target", target, f"-mcpu={level}", f'-DSOURCES="{digest_of_sources()}"')
        command = (sys.executable, "-m", "ziglang", "cc", *options, "-o", str(unfinished), *map(str, sources))
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the compiler
        if done.returncode:
            msg = f"Cannot compile garage's kernels: {' '.join(command)} ended with {done.returncode}.\n{done.stderr}"
            raise RuntimeError(msg)
        unfinished.replace(library)  # a process that has the old one loaded keeps it


def digest_of_sources() -> str:
    """What a library says it was made from, which is checked when it is loaded."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted((*FOLDER.glob("*.c"), *FOLDER.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _wheel_platform() -> str:
    if platform.system() == "Linux":
        return f"manylinux_2_17_{platform.machine()}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


if __name__ == "__main__":
    compile_kernels()
