"""A writer that stops itself before its n-th operation on the disk, for each n, and when it is woken goes on.

For each n from 1, in the directory n: epochs 0 to 2 are committed, then it stops within the commit of epoch 3. Woken,
it says how that ended, and how the commit of epoch 4 did.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from garage.errors import StorageError
from storage.faulty_disk import FaultyDisk
from storage.sample_runs import capture_of, opened


class StoppingDisk(FaultyDisk):
    def _fails(self, name):
        if super()._fails(name):
            os.kill(os.getpid(), signal.SIGSTOP)
        return False


def commit(writer, epoch):
    try:
        writer.commit(capture_of(epoch))
    except StorageError as error:
        print(f"{type(error).__name__} {error}", flush=True)
    else:
        print("committed", flush=True)


def main():
    for n in range(1, int(sys.argv[2]) + 1):
        disk = StoppingDisk()
        with contextlib.closing(opened(Path(sys.argv[1]) / str(n), disk=disk)) as writer:
            for epoch in range(3):
                writer.commit(capture_of(epoch))
            disk.arm(n)
            commit(writer, 3)
            commit(writer, 4)


if __name__ == "__main__":
    main()
