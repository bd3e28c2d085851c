"""A process of its own that forks one child a job, so that starting one is cheap; and how a child is killed.

Jobs come as JSON lines on standard input; the answer to each is the child's exit status on standard output.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from garage.storage.disk import Disk

KILLED = -9
OPERATIONS = (
    *("write", "sync", "sync_folder", "rename", "cut", "unlink", "link", "remove_empty", "make_folder"),
    "touch",
)
TESTS = Path(__file__).parents[1]


class Parent:
    """The process that forks, as the test sees it."""

    def __init__(self, script, *words, options=()):
        self.process = subprocess.Popen(
            [sys.executable, *options, str(script), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        )

    def run(self, job):
        """The exit status of a child that does the job; -9 if it was killed."""
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def serve(run):
    """Do each job by ``run`` in a child of its own."""
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


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Kills this process at the n-th call."""

    def __init__(self, n):
        self.left = n

    def reached(self):
        self.left -= 1
        return self.left == 0


def kill_at_operation(n, *, torn=False, no_links=False):
    """Kill this process before its n-th operation on the disk or, if it is torn, in the middle of a write."""
    countdown = Countdown(n)
    for name in OPERATIONS:
        original = getattr(Disk, name)

        def counted(self, *args, original=original, name=name):
            if countdown.reached():
                if torn and name == "write":
                    file, data = args
                    original(self, file, memoryview(data)[: len(memoryview(data)) // 2])
                    file.flush()
                kill_self()
            if name == "link" and no_links:
                raise PermissionError(1, "no links here")
            return original(self, *args)

        setattr(Disk, name, counted)
