"""Takes the lock of a run's directory in a process of its own, says so, and keeps it until its input ends."""

import sys
from pathlib import Path

from garage.errors import InUseError
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock


def main():
    path = Path(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        WriterLock(path, Disk())
    except InUseError as error:
        print(f"refused {error}", flush=True)
    else:
        print("locked", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
