"""Prunes, forks, pins and begins anew, and is killed at an operation on the disk; see children.py."""

import contextlib
from pathlib import Path

import msgspec

from garage.storage.fork import fork
from garage.storage.pins import pin, unpin
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory, RunInfo
from storage.children import kill_at_operation, serve
from storage.sample_runs import capture_of, opened


def run(job):
    kill_at_operation(job["n"], torn=job.get("torn", False), no_links=job.get("no_links", False))
    path = Path(job["run"])
    directory = RunDirectory(path)
    if job["command"] == "prune":
        prune(directory, Keep.of(job["keep"]))
    elif job["command"] == "pin":
        pin(directory, job["epoch"])
    elif job["command"] == "unpin":
        unpin(directory, job["epoch"])
    elif job["command"] == "begin":
        with contextlib.closing(opened(path, info=msgspec.convert(job["info"], RunInfo))) as writer:
            writer.commit(capture_of(0, variant=1))
    else:
        fork(path, job["epoch"], Path(job["target"]), arguments=job.get("arguments"))


if __name__ == "__main__":
    serve(run)
