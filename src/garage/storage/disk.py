"""The few things that storage asks of a file system.

Everything that is written goes through a `Disk`, so tests can stop, tear or slow down each operation.
A file that is not finished has a name that no reader looks for: it begins with ``.unfinished-``.
"""

import contextlib
import errno
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO

from garage.errors import WriteError

UNFINISHED = ".unfinished-"

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What systems answer where a file cannot have another name: no hard links, another device, too many names."""
_COPY_BYTES = 1 << 20


class Disk:
    """Whole files that appear at once, and logs that only grow."""

    def write_whole(self, path: Path, parts: Iterable[bytes | memoryview]) -> None:
        """Make ``path`` hold ``parts``, synced, or leave it as it was.

        Raises:
            WriteError: the operating system refused. If all it refused is to sync the folder, ``path`` holds ``parts``.
        """
        folder = path.parent
        unfinished = folder / f"{UNFINISHED}{os.getpid()}-{os.urandom(8).hex()}"
        try:
            self.make_folder(folder)
            with unfinished.open("xb", buffering=0) as file:
                for part in parts:
                    self.write(file, part)
                self.sync(file)
            self.rename(unfinished, path)
            self.sync_folder(folder)
        except OSError as error:
            with contextlib.suppress(OSError):  # what cannot be removed now, the next writer removes
                unfinished.unlink()
            raise WriteError(refused(path, error)) from error

    def create_whole(self, path: Path, data: bytes) -> bool:
        """Make ``path`` hold ``data``, synced, and return True; or return False, if it is there already.

        Where hard links are impossible, others may for a moment see a file that does not hold all of it yet.

        Raises:
            WriteError: the operating system refused. If all it refused is to sync the folder, ``path`` holds ``data``.
        """
        unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{os.urandom(8).hex()}")
        try:
            with unfinished.open("xb") as file:
                self.write(file, data)
                self.sync(file)
            try:
                self._link_or_create(unfinished, path, data)
            except (FileExistsError, FileNotFoundError):  # not found: a writer cleaned up here, so there is one
                return False
            finally:
                self.unlink(unfinished)
            self.sync_folder(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):  # what cannot be removed now, the next writer removes
                unfinished.unlink(missing_ok=True)
            raise WriteError(refused(path, error)) from error
        return True

    def _link_or_create(self, unfinished: Path, path: Path, data: bytes) -> None:
        try:
            self.link(unfinished, path)
        except OSError as error:
            if not has_no_links(error):
                raise
        else:
            return
        with path.open("xb") as file:
            try:
                self.write(file, data)
                self.sync(file)
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def append(self, path: Path, data: bytes, *, sync: bool) -> None:
        """Add ``data`` to the end of ``path``; after a failure the file has its old length again.

        Raises:
            WriteError: the operating system refused.
        """
        try:
            with path.open("ab", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                try:
                    self.write(file, data)
                    if sync:
                        self.sync(file)
                except BaseException:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise WriteError(refused(path, error)) from error

    def sync_content(self, path: Path) -> None:
        """Wait until the device has all that was written to ``path``.

        Raises:
            WriteError: the operating system refused.
        """
        try:
            with path.open("rb+", buffering=0) as file:
                self.sync(file)
        except OSError as error:
            raise WriteError(refused(path, error)) from error

    def truncate(self, path: Path, size: int) -> None:
        """Cut ``path`` to its first ``size`` bytes, synced.

        Raises:
            WriteError: the operating system refused.
        """
        try:
            with path.open("rb+") as file:
                self.cut(file, size)
                self.sync(file)
        except OSError as error:
            raise WriteError(refused(path, error)) from error

    def move(self, path: Path, target: Path) -> None:
        """Give ``path`` another name, synced.

        Raises:
            WriteError: the operating system refused.
        """
        try:
            self.make_folder(target.parent)
            self.rename(path, target)
            self.sync_folder(target.parent)
            self.sync_folder(path.parent)
        except OSError as error:
            raise WriteError(refused(path, error)) from error

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it; their names are synced.

        Raises:
            WriteError: the operating system refused.
        """
        try:
            if not path.is_dir():
                self.make_folder(path.parent)
                path.mkdir(exist_ok=True)
                self.sync_folder(path.parent)
        except OSError as error:
            raise WriteError(refused(path, error)) from error

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is as good.

        Raises:
            WriteError: the operating system refused.
        """
        try:
            self.unlink(path)
        except OSError as error:
            raise WriteError(refused(path, error)) from error

    def share(self, path: Path, target: Path) -> bool:
        """Let ``target`` be another name of the file ``path``, which nobody modifies, or else a copy of it.

        A new name is not synced: `settle` its folder. A target that is there already stays.

        Returns:
            Whether it is a name of the same file.

        Raises:
            FileNotFoundError: ``path`` is not there.
            WriteError: the operating system refused.
        """
        self.make_folder(target.parent)
        with path.open("rb") as file:
            try:
                self.link(path, target)
            except FileExistsError:
                return target.samefile(path)
            except OSError as error:
                # What has lost its name since it was opened can still be read.
                if not (has_no_links(error) or isinstance(error, FileNotFoundError)):
                    raise WriteError(refused(target, error)) from error
            else:
                return True
            self.write_whole(target, iter(partial(file.read, _COPY_BYTES), b""))
        return False

    def remove_folder(self, path: Path) -> None:
        """Remove a folder and all that is in it; one that is not there is as good.

        Raises:
            WriteError: the operating system refused.
        """
        try:
            for folder, folders, files in os.walk(path, topdown=False):
                for name in files:
                    self.unlink(Path(folder, name))
                for name in folders:
                    self.remove_empty(Path(folder, name))
            if path.is_dir():
                self.remove_empty(path)
        except OSError as error:
            raise WriteError(refused(path, error)) from error

    def write(self, file: IO[bytes], data: bytes | memoryview) -> None:
        """Write all of ``data``."""
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]

    def sync(self, file: IO[bytes]) -> None:
        """Wait until the device has the file's content."""
        file.flush()
        os.fsync(file.fileno())

    def sync_folder(self, path: Path) -> None:
        """Wait until the device has the folder's names."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: Path, target: Path) -> None:
        """Replace ``target`` by ``path`` at once."""
        path.replace(target)

    def touch(self, descriptor: int) -> None:
        """Let an open file be changed now, by the file server's clock."""
        os.utime(descriptor)

    def cut(self, file: IO[bytes], size: int) -> None:
        """Cut an open file."""
        file.truncate(size)

    def settle(self, folder: Path) -> None:
        """Make what was removed from a folder stay removed, whatever happens next.

        Raises:
            WriteError: the operating system refused.
        """
        try:
            self.sync_folder(folder)
        except OSError as error:
            raise WriteError(refused(folder, error)) from error

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        path.unlink(missing_ok=True)

    def link(self, path: Path, target: Path) -> None:
        """Give a file another name, which must not be there yet."""
        target.hardlink_to(path)

    def remove_empty(self, path: Path) -> None:
        """Remove a folder that holds nothing."""
        path.rmdir()


def has_no_links(error: OSError) -> bool:
    """Whether a file system said that it has no hard links."""
    return error.errno in _NO_LINKS


def refused(path: Path, error: OSError) -> str:
    """The message for a write that the operating system refused."""
    return (
        f"Cannot write {path}: {error.strerror or error}. What was committed before is intact. "
        "Free or mend the disk, then continue the run from its newest snapshot."
    )
