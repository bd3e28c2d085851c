"""Prunes, forks and pins, and is killed at an operation on the disk; see children.py."""

from pathlib import Path

from garage.storage.fork import fork
from garage.storage.pins import pin, unpin
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory
from storage.children import kill_at_operation, serve


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
    else:
        fork(path, job["epoch"], Path(job["target"]), arguments=job.get("arguments"))


if __name__ == "__main__":
    serve(run)
