"""A disk that counts its primitive operations and fails, tears or interrupts the n-th."""

import errno

from garage.storage.disk import Disk

PRIMITIVES = ("write", "sync", "sync_folder", "rename", "cut", "unlink")


def refusal(code=errno.ENOSPC):
    return lambda: OSError(code, errno.errorcode[code])


class QuickDisk(Disk):
    """Does not wait for the device: what a process sees of its files is the same."""

    def sync(self, file):
        file.flush()

    def sync_folder(self, path):
        pass


class FaultyDisk(QuickDisk):
    """Fails at the n-th operation of those named; without n it only counts.

    ``torn``: half of a write reaches the file before it fails, and a refused sync or rename
    has happened all the same.
    """

    def __init__(self, n=None, *, error=None, torn=False, only=PRIMITIVES):
        self.done = []
        self._n, self._error, self._torn, self._only = n, error or refusal(), torn, only

    def arm(self, n):
        """From now on, fail at the n-th."""
        self.done = []
        self._n = n

    def _fails(self, name):
        if name not in self._only:
            return False
        self.done.append(name)
        return len(self.done) == self._n

    def _primitive(self, name, *args):
        fails = self._fails(name)
        if not fails or (self._torn and name in {"sync", "sync_folder", "rename"}):
            getattr(super(), name)(*args)
        if fails:
            raise self._error()

    def write(self, file, data):
        if not self._fails("write"):
            super().write(file, data)
            return
        if self._torn:
            super().write(file, memoryview(data)[: len(data) // 2])
            file.flush()
        raise self._error()

    def sync(self, file):
        self._primitive("sync", file)

    def sync_folder(self, path):
        self._primitive("sync_folder", path)

    def rename(self, path, target):
        self._primitive("rename", path, target)

    def cut(self, file, size):
        self._primitive("cut", file, size)

    def unlink(self, path):
        self._primitive("unlink", path)
