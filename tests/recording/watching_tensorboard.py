"""TensorBoard's own reader, which looks while a run goes on."""

import functools
import itertools
import json
import subprocess
import sys
from pathlib import Path

READER = Path(__file__).with_name("events_reader.py")
_watchers = itertools.count()


class Watcher:
    """Somebody who has TensorBoard open on a folder; each look reads what has come since the last one."""

    def __init__(self, folder):
        self.who = [str(Path(folder).resolve()), next(_watchers)]

    def look(self):
        """Points by tag, as (x, value, time)."""
        process = _reader()
        process.stdin.write(json.dumps(self.who) + "\n")
        process.stdin.flush()
        found = json.loads(process.stdout.readline())
        return {tag: [(x, float(value), at) for x, value, at in points] for tag, points in found.items()}

    def points(self, tag):
        """Of a tag, without times."""
        return [(x, value) for x, value, _ in self.look()[tag]]


@functools.cache
def _reader():
    """One for all tests of a process: it ends when its input does."""
    return subprocess.Popen(
        [sys.executable, str(READER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
