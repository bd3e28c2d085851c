"""Prunes and forks, and is killed: a process of its own that forks one child a job, so that starting one is cheap.

Jobs come as JSON lines on standard input; the answer to each is the child's exit status on standard output. A child
kills itself by SIGKILL before its n-th operation on the disk or, if it is torn, in the middle of a write.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

from garage.storage.disk import Disk
from garage.storage.fork import fork
from garage.storage.prune import Keep, prune
from garage.storage.run_directory import RunDirectory

OPERATIONS = (
    *("write", "sync", "sync_folder", "rename", "cut", "unlink", "link", "remove_empty", "make_folder"),
    "touch",
)


def kill_at_operation(n, torn, no_links):
    done = 0
    for name in OPERATIONS:
        original = getattr(Disk, name)

        def counted(self, *args, original=original, name=name):
            nonlocal done
            done += 1
            if done == n:
                if torn and name == "write":
                    file, data = args
                    original(self, file, memoryview(data)[: len(memoryview(data)) // 2])
                    file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "link" and no_links:
                raise PermissionError(1, "no links here")
            return original(self, *args)

        setattr(Disk, name, counted)


def run(job):
    kill_at_operation(job["n"], job.get("torn", False), job.get("no_links", False))
    path = Path(job["run"])
    if job["command"] == "prune":
        prune(RunDirectory(path), Keep.of(job["keep"]))
    else:
        fork(path, job["epoch"], Path(job["target"]), arguments=job.get("arguments"))


def main():
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                run(job)
            except BaseException:  # noqa: BLE001 - whatever it was, the child must not go on as its parent
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
