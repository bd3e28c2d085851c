"""`garage run` and `garage resume` on Ray: stopped, killed, gone on with elsewhere, to the same numbers."""

import os
import signal
import subprocess

import pytest

from cli.conftest import COMMAND
from sampler.ray_clusters import ray_processes, scratch

ray = pytest.importorskip("ray")


def ended(process, number):
    os.killpg(process.pid, number)  # as batch systems do: Ray's processes get it, too
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def start(garage, *words):
    command = [*COMMAND, *map(str, words)]
    options = {"cwd": garage.folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, start_new_session=True, **options)


@pytest.mark.long
def test_a_run_on_ray_goes_on_in_processes_and_here(garage):
    run = garage.run_path
    with scratch() as folder:
        process = start(garage, "run", "code/sample.py", "--n-epochs", 40, "--ray", "local", "--workers", 2)
        garage.wait_for("snapshots/000002.json")
        code, said = ended(process, signal.SIGTERM)
        assert (code, "Traceback" in said) == (75, False), said
        assert ray_processes(folder) == []
        n = len(garage.digests())
        process = start(garage, "resume", run, "--ray", "local")
        garage.wait_for(f"snapshots/{n + 2:06d}.json")
        assert ended(process, signal.SIGINT)[0] == 130
        assert ray_processes(folder) == []
    assert n < len(garage.digests()) < 40
    garage("resume", run, "--workers", 2)
    garage("run", "code/sample.py", "--n-epochs", 40, "--log-dir", "alone")
    assert garage.digests() == garage.digests(garage.folder / "alone")


def test_options_that_contradict_each_other(garage):
    said = garage("run", "code/sample.py", "--ray", "local", "--workers", 0, code=2).stderr
    assert "--workers 0 samples in this process, and --ray local on a cluster; leave one out." in said
