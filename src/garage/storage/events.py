"""events.jsonl as its writer adds to it, from whichever thread."""

import threading

from garage.storage.disk import Disk
from garage.storage.lock import WriterLock
from garage.storage.run_directory import RunDirectory


class Events:
    """What happens to a run while one writer has it.

    Args:
        directory: of the run.
        disk: through which events are appended.
        lock: the writer's; a new one after the writer was reopened.
    """

    def __init__(self, directory: RunDirectory, disk: Disk, lock: WriterLock) -> None:
        self._directory, self._disk = directory, disk
        self.lock = lock
        self._one_at_a_time = threading.Lock()

    def add(self, event: str, **details: object) -> None:
        """Append one event.

        Raises:
            InUseError: another process has taken over.
            WriteError: the disk refused.
        """
        self.lock.check()
        with self._one_at_a_time:
            self._directory.add_event(event, details, self._disk)
