"""The user's key: from the environment or the configuration folder; whole, private and one, however many ask for it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from garage.errors import SigningKeyError
from garage.storage import signing_key
from garage.storage.disk import Disk
from garage.storage.signing import key_of
from garage.storage.signing_key import VARIABLE, find_key, own_key
from storage.lock_worker import DiskWithoutLinks

DIGITS = "00112233445566778899aabbccddeeff" * 2
DISKS = {"links": Disk, "no links": DiskWithoutLinks}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user without a key."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def key_path(home):
    return home / ".config" / "garage" / "signing-key"


def key_file(path, text=DIGITS + "\n", mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("disk", DISKS.values(), ids=DISKS)
def test_the_first_who_needs_a_key_makes_it(home, key_path, disk):
    assert find_key() is None
    assert not list(home.iterdir())
    key, problem = own_key(disk())
    assert problem is None
    assert len(key.secret) == 32
    assert key_of(key_path.read_text().strip()) == key
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_path.parent.stat().st_mode) == 0o700
    assert [path.name for path in key_path.parent.iterdir() if "guard" not in path.name] == ["signing-key"]
    before = key_path.stat()
    assert own_key(disk()) == (key, None)
    assert find_key() == key
    assert key_path.stat() == before


def test_every_user_has_another_one(home, monkeypatch):
    key, _ = own_key()
    monkeypatch.setenv("HOME", str(home / "somebody"))
    assert own_key()[0] != key


def test_a_mask_of_the_process_cannot_open_it(key_path):
    mask = os.umask(0)
    try:
        own_key()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600


def test_the_configuration_folder_is_that_of_the_xdg_specification(home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "configured"))
    key, _ = own_key()
    assert (home / "configured" / "garage" / "signing-key").is_file()
    for unset in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unset)
        monkeypatch.chdir(home)
        assert own_key()[0] != key
        assert (home / ".config" / "garage" / "signing-key").is_file()
        assert not (home / "relative").exists()


def test_the_environment_comes_first(home, key_path, monkeypatch):
    own, _ = own_key()
    monkeypatch.setenv(VARIABLE, DIGITS)
    assert find_key() == own_key()[0] == key_of(DIGITS) != own
    given = key_file(home / "given", DIGITS[::-1])
    monkeypatch.chdir(home)
    for path in (str(given), "~/given", "given", f" {given} "):
        monkeypatch.setenv(VARIABLE, path)
        assert find_key() == own_key()[0] == key_of(DIGITS[::-1])


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (DIGITS, 0o644, r"is open to other users \(its mode is 644\).*chmod 600"),
        (DIGITS, 0o640, "mode is 640"),
        (DIGITS, 0o602, "mode is 602"),
        ("", 0o600, "is empty: expected at least 32 hexadecimal digits"),
        (" \n", 0o600, "is empty"),
        (DIGITS[:31], 0o600, "holds no key"),
        ("correct horse battery staple, with some more", 0o600, "holds no key"),
        (f"{DIGITS}\n{DIGITS}", 0o600, "holds no key"),
        ("é" * 64, 0o600, "holds no key"),
    ],
)
def test_bad_files_are_refused(key_path, monkeypatch, text, mode, message):
    key_file(key_path, text, mode)
    given = key_file(key_path.with_name("given"), text, mode)
    for where in (None, str(given)):
        if where is not None:
            monkeypatch.setenv(VARIABLE, where)
        for ask in (find_key, own_key):
            with pytest.raises(SigningKeyError, match=message) as raised:
                ask()
            assert str(key_path if where is None else given) in str(raised.value)
            assert DIGITS[:31] not in str(raised.value)
    assert key_path.read_text() == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "GARAGE_SIGNING_KEY is set, but empty. Unset it"),
        ("  ", "is set, but empty"),
        ("/nowhere/key", "set to /nowhere/key: no file is there"),
        ("/dev/null/key", "set to /dev/null/key: no file is there"),
        ("/", "Cannot read the signing key /: Is a directory"),
        ("~nobody-of-that-name/key", "a home folder that is unknown"),
        (DIGITS[:30], "set to 30 characters: no file is there, and it is no key"),
        ("a secret, mistyped", "set to 18 characters"),
    ],
)
def test_a_bad_environment_is_an_error_and_no_reason_to_take_another_key(key_path, monkeypatch, value, message):
    key_file(key_path)
    monkeypatch.setenv(VARIABLE, value)
    for ask in (find_key, own_key):
        with pytest.raises(SigningKeyError, match=message):
            ask()


def test_a_loop_of_links_cannot_be_read(home, monkeypatch):
    (home / "loop").symlink_to(home / "loop")
    monkeypatch.setenv(VARIABLE, str(home / "loop"))
    with pytest.raises(SigningKeyError, match=f"Cannot read the signing key {home / 'loop'}"):
        find_key()


def test_where_none_can_be_made_there_is_none_and_a_reason(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "file" / "config"))
    assert find_key() is None
    key, problem = own_key()
    assert key is None
    assert f"{home}/file/config/garage/signing-key cannot be written: " in problem
    assert "\n" not in problem


def test_a_disk_that_refuses_leaves_nothing_behind(key_path):
    class FullDisk(Disk):
        def write(self, file, data):
            super().write(file, data[:10])
            raise OSError(28, "No space left on device")

    key, problem = own_key(FullDisk())
    assert key is None
    assert problem.endswith("No space left on device")
    assert list(key_path.parent.iterdir()) == []


def test_a_user_without_a_home(monkeypatch):
    def nowhere():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.setattr(signing_key.Path, "home", staticmethod(nowhere))
    assert find_key() is None
    assert own_key() == (None, "this user has no home folder to keep a key in")


START_AT_ONCE = """
import os, sys, time
from pathlib import Path
from garage.storage.disk import Disk
from garage.storage.signing_key import own_key
from storage.lock_worker import DiskWithoutLinks

disk = DiskWithoutLinks() if sys.argv[2] == "no links" else Disk()
for round in range(20):
    os.environ["HOME"] = str(Path(sys.argv[1]) / str(round))
    moment = time.monotonic() + 0.02
    ends = []
    for _ in range(8):
        reader, writer = os.pipe()
        if os.fork() == 0:
            while time.monotonic() < moment:
                pass
            key, problem = own_key(disk)
            os.write(writer, str(problem).encode() if key is None else key.secret)
            os._exit(0)
        os.close(writer)
        ends.append(reader)
    found = {os.read(end, 1000) for end in ends}
    for end in ends:
        os.close(end)
        os.wait()
    assert len(found) == 1 and len(found.pop()) == 32, round
print("one key each")
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from garage.storage.disk import Disk
from garage.storage.signing_key import own_key
from storage.lock_worker import DiskWithoutLinks

kind = DiskWithoutLinks if sys.argv[2] == "no links" else Disk
left = 0

def killing(name):
    original = getattr(kind, name)
    def operation(self, *args):
        global left
        left -= 1
        if left == 0:
            if name == "write":
                original(self, args[0], args[1][: len(args[1]) // 2])
                args[0].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args)
    return operation

class KillingDisk(kind):
    pass

for name in ("write", "sync", "sync_folder", "rename", "link", "unlink"):
    setattr(KillingDisk, name, killing(name))
for n in range(1, 50):
    home = Path(sys.argv[1]) / str(n)
    home.mkdir()
    os.environ["HOME"] = str(home)
    if os.fork() == 0:
        left = n
        own_key(KillingDisk())
        os._exit(0)
    if os.wait()[1] == 0:
        print(n)
        break
"""


def run(script, *words):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("links", DISKS)
def test_processes_that_start_at_once_agree_on_one(home, links):
    assert run(START_AT_ONCE, home, links) == "one key each"


@pytest.mark.parametrize("links", DISKS)
def test_killed_at_any_operation_it_is_whole_or_not_there(home, monkeypatch, links):
    n_operations = int(run(KILLED, home, links))
    assert n_operations > 6
    outcomes = set()
    for n in range(1, n_operations):
        monkeypatch.setenv("HOME", str(home / str(n)))
        found = find_key()
        outcomes.add(found is None)
        key, problem = own_key(DISKS[links]())
        assert problem is None
        assert len(key.secret) == 32
        assert found in {None, key}
    assert outcomes == {True, False}
