"""What a power cut may leave of what a disk was told.

The model is the least that POSIX promises. What was written to a file stays for certain once that file was synced,
and a name once its folder was; until then each write and each change of a name may have happened or not, in any
combination, whatever came before or after it. A rename within a folder is one change; between folders it is two.
"""

import itertools
import threading
from dataclasses import dataclass, field

from garage.storage.disk import UNFINISHED, Disk

FOLDER = "a folder"
"""Stands for a folder where entries have the number of a file's content."""
FATES = ("lost", "kept", "first lost", "last torn")
"""Of what was written to one file since its last sync."""


class RecordingDisk(Disk):
    """Does everything, and notes it in order.

    Args:
        root: below which everything lies that is written.
    """

    def __init__(self, root):
        self.root, self.operations = root, []
        self._numbers, self._next, self._noting = {}, itertools.count(), threading.RLock()
        self.before = {}
        for path in root.rglob("*"):
            number = FOLDER if path.is_dir() else next(self._next)
            self._numbers[path] = number
            self.before[path] = (number, b"" if path.is_dir() else path.read_bytes())

    def note(self, *operation):
        self.operations.append(operation)

    def write(self, file, data):
        with self._noting:
            path = self.root.__class__(file.name)
            if path not in self._numbers:
                self._numbers[path] = next(self._next)
                self.note("names", [(path, self._numbers[path])])
            self.note("write", self._numbers[path], file.tell(), bytes(data))
            super().write(file, data)

    def cut(self, file, size):
        with self._noting:
            super().cut(file, size)
            self.note("cut", self._numbers[self.root.__class__(file.name)], size)

    def sync(self, file):
        with self._noting:
            self.note("sync", self._numbers[self.root.__class__(file.name)])

    def sync_folder(self, path):
        with self._noting:
            self.note("sync_folder", path)

    def make_folder(self, path):
        with self._noting:
            if not path.is_dir():
                self.make_folder(path.parent)
                path.mkdir()
                self._numbers[path] = FOLDER
                self.note("names", [(path, FOLDER)])
                self.sync_folder(path.parent)

    def rename(self, path, target):
        with self._noting:
            super().rename(path, target)
            moved = {each: number for each, number in self._numbers.items() if each == path or path in each.parents}
            for each in moved:
                del self._numbers[each]
            came = [(target / each.relative_to(path), number) for each, number in moved.items()]
            self._numbers.update(came)
            gone = [(each, None) for each in moved]
            if path.parent == target.parent:
                self.note("names", gone + came)
            else:
                self.note("names", came)
                self.note("names", gone)

    def link(self, path, target):
        with self._noting:
            super().link(path, target)
            self._numbers[target] = self._numbers[path]
            self.note("names", [(target, self._numbers[path])])

    def unlink(self, path):
        with self._noting:
            super().unlink(path)
            if self._numbers.pop(path, None) is not None:
                self.note("names", [(path, None)])

    def remove_empty(self, path):
        with self._noting:
            super().remove_empty(path)
            del self._numbers[path]
            self.note("names", [(path, None)])


@dataclass
class Device:
    """What is certain, and what is not."""

    entries: dict
    contents: dict
    pending: list = field(default_factory=list)

    @classmethod
    def of(cls, disk):
        entries = {path: number for path, (number, _) in disk.before.items()}
        return cls(entries, {number: data for number, data in disk.before.values() if number != FOLDER})

    def take(self, operation):
        kind, *rest = operation
        if kind == "sync":
            self._settle(lambda pending: pending[0] != "names" and pending[1] == rest[0])
        elif kind == "sync_folder":
            # The first entry of a renamed folder is the folder itself; what lies in it moves along.
            self._settle(lambda pending: pending[0] == "names" and pending[1][0][0].parent == rest[0])
        else:
            self.pending.append(operation)

    def _settle(self, is_certain):
        for operation in filter(is_certain, self.pending):
            happen(operation, self.entries, self.contents)
        self.pending = [operation for operation in self.pending if not is_certain(operation)]

    def states(self):
        """Everything that may be found after a power cut, as entries and contents."""
        names = [operation for operation in self.pending if operation[0] == "names"]
        known = [*self.entries.items(), *(change for operation in names for change in operation[1])]
        visible = {number for path, number in known if not path.name.startswith(UNFINISHED)}
        written = {operation[1] for operation in self.pending if operation[0] != "names"}
        chosen = [FATES if number in visible else ("last torn",) for number in written]
        for kept in itertools.product((True, False), repeat=len(names)):
            for fates in itertools.product(*chosen):
                yield self._state(names, kept, dict(zip(written, fates, strict=True)))

    def _state(self, names, kept, fates):
        entries, contents = dict(self.entries), dict(self.contents)
        for number, fate in fates.items():
            operations = [each for each in self.pending if each[0] != "names" and each[1] == number]
            for each in surviving(operations, fate):
                happen(each, entries, contents)
        for operation, is_kept in zip(names, kept, strict=True):
            if is_kept:
                happen(operation, entries, contents)
        return entries, contents


def surviving(operations, fate):
    if fate == "lost":
        return []
    if fate == "first lost":
        return operations[1:]
    if fate == "last torn" and operations[-1][0] == "write":
        kind, number, offset, data = operations[-1]
        return [*operations[:-1], (kind, number, offset, data[: len(data) // 2])]
    return operations


def happen(operation, entries, contents):
    kind, what, *rest = operation
    if kind == "names":
        for path, number in what:
            if number is None:
                entries.pop(path, None)
            else:
                entries[path] = number
    elif kind == "cut":
        contents[what] = contents.get(what, b"")[: rest[0]].ljust(rest[0], b"\0")
    else:
        offset, data = rest
        before = contents.get(what, b"")
        contents[what] = before[:offset].ljust(offset, b"\0") + data + before[offset + len(data) :]


def put_down(state, root, target):
    """Write a state to another folder."""
    entries, contents = state
    for path in sorted(entries):
        place = target / path.relative_to(root)
        if entries[path] == FOLDER:
            place.mkdir(parents=True, exist_ok=True)
        elif place.parent.is_dir():
            place.write_bytes(contents.get(entries[path], b""))
