"""Whole files appear at once or not at all; logs only grow."""

import errno
import io

import pytest

from garage.errors import WriteError
from garage.storage.disk import UNFINISHED, Disk
from garage.storage.packs import pack_names
from garage.storage.run_directory import RunDirectory
from storage.faulty_disk import FaultyDisk, refusal

PARTS = [b"new ", memoryview(b"content")]
BOTH = [errno.ENOSPC, errno.EIO]


def names(path):
    return sorted(file.name for file in path.iterdir())


def test_a_whole_file_is_its_parts(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    Disk().write_whole(path, PARTS)
    assert path.read_bytes() == b"new content"
    assert names(path.parent) == ["file"]


def test_a_whole_file_is_synced_before_its_name_and_its_name_after(tmp_path):
    disk = FaultyDisk()
    disk.write_whole(tmp_path / "file", PARTS)
    assert disk.done == ["write", "write", "sync", "rename", "sync_folder"]


def test_new_folders_are_synced_in_those_above(tmp_path):
    disk = FaultyDisk()
    disk.make_folder(tmp_path / "a" / "b")
    disk.make_folder(tmp_path / "a" / "b")
    assert disk.done == ["sync_folder"] * 2


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("code", BOTH)
@pytest.mark.parametrize("n", range(1, 6))
def test_a_failed_write_leaves_the_old_content(tmp_path, n, code, torn):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    disk = FaultyDisk(n, error=refusal(code), torn=torn)
    with pytest.raises(WriteError) as caught:
        disk.write_whole(path, PARTS)
    # Once the rename has happened, a refused sync cannot undo it; the content is whole either way.
    renamed = disk.done[-1] == "sync_folder" or (torn and disk.done[-1] == "rename")
    assert path.read_bytes() == (b"new content" if renamed else b"old")
    assert names(tmp_path) == ["file"]
    assert isinstance(caught.value.__cause__, OSError)


def test_the_message_names_path_reason_and_next_step(tmp_path):
    with pytest.raises(WriteError) as caught:
        FaultyDisk(1).write_whole(tmp_path / "file", PARTS)
    assert str(caught.value) == (
        f"Cannot write {tmp_path / 'file'}: ENOSPC. What was committed before is intact. "
        "Free or mend the disk, then continue the run from its newest snapshot."
    )


@pytest.mark.parametrize("operation", ["write_whole", "append", "truncate", "move", "make_folder", "remove"])
def test_a_folder_that_is_a_file_is_refused(tmp_path, operation):
    (tmp_path / "file").write_bytes(b"old")
    path = tmp_path / "file" / "below"
    arguments = {
        "write_whole": (path, PARTS),
        "append": (path, b"line"),
        "truncate": (path, 0),
        "move": (tmp_path / "file", path),
        "make_folder": (path,),
        "remove": (path,),
    }
    with pytest.raises(WriteError, match=r"file.*Not a directory|file.*File exists"):
        getattr(Disk(), operation)(*arguments[operation], **({"sync": True} if operation == "append" else {}))
    assert (tmp_path / "file").read_bytes() == b"old"


def test_names_of_unfinished_files_match_nothing_that_readers_look_for(tmp_path):
    directory = RunDirectory(tmp_path)
    seen = []

    class Watched(Disk):
        def rename(self, path, target):
            seen.append((path, directory.manifest_epochs(), pack_names(directory)))
            super().rename(path, target)

    disk = Watched()
    disk.write_whole(directory.manifest_path(9), PARTS)
    directory.manifest_path(9).unlink()
    disk.write_whole(directory.pack_path("ab" * 32), PARTS)
    assert [(epochs, packs) for _, epochs, packs in seen] == [([], {}), ([], {})]
    assert all(path.name.startswith(UNFINISHED) for path, _, _ in seen)
    assert all(path.suffix == "" and ".json" not in path.name for path, _, _ in seen)


def test_unfinished_files_lie_beside_their_target(tmp_path):
    class Watched(Disk):
        def rename(self, path, target):
            assert path.parent == target.parent
            super().rename(path, target)

    Watched().write_whole(tmp_path / "folder" / "file", PARTS)


def test_an_unfinished_file_that_cannot_be_removed_does_not_hide_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pathlib.Path.unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only"))
    )
    with pytest.raises(WriteError, match="ENOSPC"):
        FaultyDisk(1).write_whole(tmp_path / "file", PARTS)


@pytest.mark.parametrize(("sync", "operations"), [(True, ["write", "sync"]), (False, ["write"])])
def test_append(tmp_path, sync, operations):
    disk = FaultyDisk()
    disk.append(tmp_path / "log", b"one\n", sync=sync)
    assert disk.done == operations
    disk.append(tmp_path / "log", b"two\n", sync=sync)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("code", BOTH)
@pytest.mark.parametrize("n", [1, 2])
def test_a_failed_append_restores_the_old_length(tmp_path, n, code, torn):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    with pytest.raises(WriteError, match=f"log: {errno.errorcode[code]}"):
        FaultyDisk(n, error=refusal(code), torn=torn).append(path, b"two\n", sync=True)
    assert path.read_bytes() == b"one\n"


def test_an_interrupted_append_restores_the_old_length(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    with pytest.raises(KeyboardInterrupt):
        FaultyDisk(1, error=KeyboardInterrupt, torn=True).append(path, b"two\n", sync=True)
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("n", [1, 2])
def test_truncate(tmp_path, n):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    with pytest.raises(WriteError, match="log: EIO"):
        FaultyDisk(n, error=refusal(errno.EIO)).truncate(path, 4)
    Disk().truncate(path, 4)
    assert path.read_bytes() == b"one\n"


def test_move_syncs_both_folders(tmp_path):
    disk = FaultyDisk()
    (tmp_path / "a").write_bytes(b"content")
    disk.move(tmp_path / "a", tmp_path / "aside" / "b")
    assert (tmp_path / "aside" / "b").read_bytes() == b"content"
    assert names(tmp_path) == ["aside"]
    assert disk.done == ["sync_folder", "rename", "sync_folder", "sync_folder"]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_failed_move_leaves_one_whole_file(tmp_path, n):
    (tmp_path / "a").write_bytes(b"content")
    with pytest.raises(WriteError, match="a: ENOSPC"):
        FaultyDisk(n).move(tmp_path / "a", tmp_path / "aside" / "b")
    (file,) = (file for file in tmp_path.rglob("*") if file.is_file())
    assert file.read_bytes() == b"content"


def test_remove(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    Disk().remove(tmp_path / "a")
    Disk().remove(tmp_path / "a")
    assert names(tmp_path) == []
    with pytest.raises(WriteError, match="a: EIO"):
        FaultyDisk(1, error=refusal(errno.EIO)).remove(tmp_path / "a")


def test_short_writes_go_on_where_they_stopped():
    class Short(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data[:3]))

    file = Short()
    Disk().write(file, b"0123456789")
    assert file.getvalue() == b"0123456789"
