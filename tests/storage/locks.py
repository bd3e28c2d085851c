"""Locks to find, and processes that want them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from garage.storage.disk import Disk
from garage.storage.lock import Owner, WriterLock


class Other:
    """Another process; see lock_worker.py."""

    def __init__(self, *words):
        command = [sys.executable, str(Path(__file__).with_name("lock_worker.py")), *words]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.answer() == "ready"

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().strip()

    def hears(self, *words):
        self.say(*words)
        return self.answer()

    def takes(self, path):
        assert self.hears("take", path, 0) == "done"

    def end(self, *, by_kill=False):
        if by_kill:
            self.process.kill()
        if not self.process.stdin.closed:
            self.process.stdin.close()
            self.process.stdout.close()
        self.process.wait(timeout=60)


def race(others, path):
    """All at once; what each says."""
    moment = time.monotonic() + 0.002
    for other in others:
        other.say("take", path, moment)
    return [other.answer() for other in others]


def owner_at(path):
    return msgspec.json.decode(path.read_bytes(), type=Owner)


def put(path, **changes):
    """A lock file of this process's, but for the changes."""
    with WriterLock(path, Disk()):
        owner = owner_at(path)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(owner, **changes)))


def silence(path, seconds):
    """As if nothing had been heard of its holder for so long."""
    moment = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(moment, moment))
