"""Ray clusters for tests, which leave nothing behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


@contextlib.contextmanager
def scratch():
    """While it lasts, clusters that are started put their files into a folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def ray_processes(folder):
    """Ids of the processes of clusters whose files are in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if str(folder).encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


@contextlib.contextmanager
def running_cluster(folder, n_cpus=2):
    """A cluster that somebody else has started; its address."""
    port = 20_000 + os.getpid() % 10_000
    words = ["start", "--head", "--port", port, "--num-cpus", n_cpus, "--include-dashboard=false", "--temp-dir", folder]
    command = [sys.executable, "-m", "ray.scripts.scripts", *map(str, words), "--disable-usage-stats"]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        for pid in ray_processes(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
