"""The user's own signing key: from the environment, or in their configuration folder, where the first run makes it."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from filelock import FileLock

from garage.errors import SigningKeyError, WriteError
from garage.storage.disk import UNFINISHED, Disk, has_no_links, refused
from garage.storage.signing import SigningKey, key_of

VARIABLE = "GARAGE_SIGNING_KEY"
"""The environment variable that names a key or the path of its file."""

_KEY_BYTES = 32
_MOST_BYTES = 4096
_OTHERS = 0o077
_FORM = "at least 32 hexadecimal digits, as in the output of: python -c 'import secrets; print(secrets.token_hex(32))'"


def find_key() -> SigningKey | None:
    """The user's key; None if there is none yet.

    Raises:
        SigningKeyError: there is one that cannot be used.
    """
    value = os.environ.get(VARIABLE)
    if value is not None:
        return _given(value.strip())
    path = _own_path()
    return None if path is None else _read(path)


def own_key(disk: Disk | None = None) -> tuple[SigningKey | None, str | None]:
    """The user's key, made if there is none yet; or None, and why none can be made.

    Of several processes that make one at once, one succeeds and the others take its key.

    Raises:
        SigningKeyError: there is one that cannot be used.
    """
    key = find_key()
    if key is not None:
        return key, None
    path = _own_path()
    if path is None:
        return None, "this user has no home folder to keep a key in"
    try:
        _make(path, disk or Disk())
    except WriteError as error:
        return None, f"a key cannot be made, for {path} cannot be written: {_cause(error)}"
    return find_key(), None


def _given(value: str) -> SigningKey:
    """What the environment says: a key itself, or the path of its file."""
    if not value:
        msg = f"{VARIABLE} is set, but empty. Unset it, or set it to a key or to the path of one: {_FORM}."
        raise SigningKeyError(msg)
    key = key_of(value)
    if key is not None:
        return key
    try:
        key = _read(Path(value).expanduser())
    except RuntimeError as error:  # a home folder that nobody knows
        msg = f"{VARIABLE} is set to {value}, which begins with a home folder that is unknown. Give the whole path."
        raise SigningKeyError(msg) from error
    if key is None:
        # What is no path may be a secret, mistyped.
        named = value if "/" in value else f"{len(value)} characters"
        msg = f"{VARIABLE} is set to {named}: no file is there, and it is no key. Expected a path, or {_FORM}."
        raise SigningKeyError(msg)
    return key


def _own_path() -> Path | None:
    """In the user's configuration folder, by the XDG Base Directory Specification: a relative one counts as unset."""
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    try:
        folder = configured if configured.is_absolute() else Path.home() / ".config"
    except RuntimeError:
        return None
    return folder / "garage" / "signing-key"


def _read(path: Path) -> SigningKey | None:
    """The key in a file; None if it is not there."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & _OTHERS:
                msg = (
                    f"The signing key {path} is open to other users (its mode is {stat.S_IMODE(mode):o}), so it is not "
                    f"used: whoever has it can make you run their code. chmod 600 {path}; if somebody may have read or "
                    "changed it already, remove it instead, and `garage trust` your runs with the new one."
                )
                raise SigningKeyError(msg)
            text = file.read(_MOST_BYTES).strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        msg = f"Cannot read the signing key {path}: {error.strerror}. Mend that, or set {VARIABLE} to another."
        raise SigningKeyError(msg) from error
    key = key_of(text.decode("ascii", "replace"))
    if key is None:
        what = "is empty" if not text else "holds no key"
        msg = f"The signing key {path} {what}: expected {_FORM}. Remove it, and the next run makes a new one."
        raise SigningKeyError(msg)
    return key


def _make(path: Path, disk: Disk) -> None:
    """Make a key, whole before it has its name, unless somebody else is quicker.

    Raises:
        WriteError: the operating system refused.
    """
    disk.make_folder(path.parent.parent)
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
            disk.sync_folder(path.parent.parent)
        try:
            with open(unfinished, "xb", opener=_for_me_alone) as file:
                disk.write(file, secrets.token_hex(_KEY_BYTES).encode() + b"\n")
                disk.sync(file)
            with contextlib.suppress(FileExistsError):
                _name(unfinished, path, disk)
        finally:
            disk.unlink(unfinished)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise WriteError(refused(path, error)) from error


def _name(unfinished: Path, path: Path, disk: Disk) -> None:
    """Give a file its name, unless that is taken."""
    try:
        disk.link(unfinished, path)
    except OSError as error:
        if not has_no_links(error):
            raise
        with FileLock(path.with_name(f"{UNFINISHED}guard")):
            if not path.exists():
                disk.rename(unfinished, path)


def _for_me_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _cause(error: WriteError) -> str:
    cause = error.__cause__
    return str(cause.strerror or cause) if isinstance(cause, OSError) else str(cause)
