"""TensorBoard's own reader, which looks while a run goes on."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

READER = Path(__file__).with_name("events_reader.py")


@contextlib.contextmanager
def looking(folder):
    """Gives a function: points by tag, as (x, value, time), of what TensorBoard has seen after another look."""
    command = [sys.executable, str(READER), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:

        def look():
            process.stdin.write("look\n")
            process.stdin.flush()
            found = json.loads(process.stdout.readline())
            return {tag: [(x, float(value), at) for x, value, at in points] for tag, points in found.items()}

        try:
            yield look
        finally:
            process.stdin.close()
            process.wait()


def points(found, tag):
    """Of a tag, without times."""
    return [(x, value) for x, value, _ in found[tag]]
