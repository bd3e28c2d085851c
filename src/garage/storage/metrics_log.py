"""metrics.jsonl as its writer knows it."""

from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from garage.storage.disk import Disk
from garage.storage.manifest import Log


class MetricsLog:
    """One row an epoch, appended; its size and hash are kept, for manifests to name.

    Args:
        path: of the file.
        data: what it holds.
        disk: through which it is written.
    """

    def __init__(self, path: Path, data: bytes, disk: Disk) -> None:
        self._path, self._disk = path, disk
        self._hash = blake3(data)
        self._size, self._n_rows = len(data), data.count(b"\n")
        last = [line for line in data.split(b"\n") if line][-1:]
        self._last_epoch: int = msgspec.json.decode(last[0])["epoch"] if last else -1
        self._waiting = b""

    @property
    def state(self) -> Log:
        """Size, rows and hash of what has been appended so far."""
        return Log(self._size, self._n_rows, self._hash.hexdigest())

    def append(self, row: dict[str, Any]) -> None:
        """Append an epoch's row, unless there is one already, and before it those that the disk refused.

        Raises:
            WriteError: the disk refuses; the row waits for the next call.
        """
        if row["epoch"] > self._last_epoch:
            self._waiting += msgspec.json.encode(row) + b"\n"
            self._last_epoch = row["epoch"]
        if self._waiting:
            self._disk.append(self._path, self._waiting, sync=False)
            self._hash.update(self._waiting)
            self._size += len(self._waiting)
            self._n_rows += self._waiting.count(b"\n")
            self._waiting = b""

    def sync(self) -> None:
        """Wait until the device has all rows.

        Raises:
            WriteError: the disk refuses.
        """
        self._disk.sync_content(self._path)
