"""A process of its own that wants the locks of runs' directories; what it does is said on its input, line by line.

``take PATH AT``: be busy until the system's monotonic clock says AT, then take the lock; ``release``, ``check``;
``fork``: check and release in a child.
"""

import errno
import os
import socket
import sys
import time
from pathlib import Path

from garage.errors import InUseError
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock


class DiskWithoutLinks(Disk):
    def link(self, path, target):
        raise OSError(errno.EPERM, "Operation not permitted")


def obey(command, words, state):
    if command == "take":
        path, moment = words
        while time.monotonic() < float(moment):
            pass
        state["lock"] = WriterLock(Path(path), state["disk"])
    elif command == "release":
        state["lock"].release()
    elif command == "check":
        state["lock"].check()
    elif command == "fork":
        child = os.fork()
        if child == 0:
            try:
                state["lock"].check()
            except InUseError as error:
                print(f"refused {error}", flush=True)
            state["lock"].release()
            os._exit(0)
        os.waitpid(child, 0)


def main():
    state = {"lock": None, "disk": Disk()}
    if "elsewhere" in sys.argv:
        socket.gethostname = lambda: "elsewhere"
    if "no-links" in sys.argv:
        state["disk"] = DiskWithoutLinks()
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        try:
            obey(command, words, state)
        except InUseError as error:
            print(f"refused {error}", flush=True)
        else:
            print("done", flush=True)


if __name__ == "__main__":
    main()
