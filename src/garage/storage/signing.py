"""Who a manifest is from: a signature that only those can make who hold the key.

See *Trust* in ``docs/storage-format.md``. A manifest names its recipe and its opaque parts by their hashes, so its
signature vouches for everything that is ever unpickled. Whatever writes a manifest does so through `encode`, or
through `encode_like` if it makes it from another one.
"""

import hmac
import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path

import msgspec

from garage.errors import DamagedError
from garage.storage import manifest as manifests
from garage.storage.manifest import Manifest
from garage.storage.run_directory import content

_FIELD = b'"signature": "'
_NO_MAC = "0" * 64
_ID_DIGITS = 16
_KEY = re.compile(r"(?:[0-9a-fA-F]{2}){16,}")


@dataclass(frozen=True)
class SigningKey:
    """A secret that manifests are signed with.

    Attributes:
        secret: its bytes.
    """

    secret: bytes = field(repr=False)

    @cached_property
    def id(self) -> str:
        """Tells keys apart and tells nothing else about them: 16 hexadecimal digits."""
        return self.sign(b"garage signing key")[:_ID_DIGITS]

    def sign(self, data: bytes) -> str:
        """HMAC-SHA-256 (RFC 2104) in hex."""
        return hmac.digest(self.secret, data, "sha256").hex()


class Signer(Enum):
    """Who signed a manifest, as far as one key can tell."""

    THIS_KEY = "this key"
    ANOTHER_KEY = "another key"
    NOBODY = "nobody"
    ALTERED = "altered since this key signed it"


def key_of(text: str) -> SigningKey | None:
    """A key from its hexadecimal digits, at least 32 of them; None if it is anything else."""
    return SigningKey(bytes.fromhex(text)) if _KEY.fullmatch(text) else None


def encode(manifest: Manifest, key: SigningKey | None) -> bytes:
    """A manifest as the bytes of a file, signed; without a key it is unsigned."""
    if key is None:
        return manifests.encode(msgspec.structs.replace(manifest, signature=None))
    blank = manifests.encode(msgspec.structs.replace(manifest, signature=f"{key.id}:{_NO_MAC}"))
    start = _mac_start(blank)
    mac = key.sign(manifests.without_checksum(blank)).encode()
    return manifests.with_checksum(blank[:start] + mac + blank[start + len(mac) :])


def encode_like(manifest: Manifest, original: Manifest, path: Path, key: SigningKey | None) -> bytes:
    """A manifest that was made from another one: signed only if this key has signed that one too.

    Args:
        manifest: what to encode.
        original: what it was made from.
        path: of the original's file.
        key: the user's.

    Raises:
        DamagedError: the original is no longer what it was.
    """
    signer = signer_of(original, path, key)
    return encode(manifest, key if signer is Signer.THIS_KEY else None)


def signer_of(manifest: Manifest, path: Path, key: SigningKey | None) -> Signer:
    """Who signed the manifest that was read from ``path``.

    Raises:
        DamagedError: it is no longer what was read.
    """
    if manifest.signature is None:
        return Signer.NOBODY
    data = content(path)
    if manifests.decode(data, str(path)) != manifest:
        msg = f"The manifest {path} was replaced while it was being read. Read it again."
        raise DamagedError(msg)
    if key is None or not manifest.signature.startswith(f"{key.id}:"):
        return Signer.ANOTHER_KEY
    start = _mac_start(data)
    found = data[start : start + len(_NO_MAC)]
    blank = manifests.without_checksum(data[:start] + _NO_MAC.encode() + data[start + len(_NO_MAC) :])
    # The digits are compared where they were replaced, so that nothing else can stand there.
    return Signer.THIS_KEY if hmac.compare_digest(found, key.sign(blank).encode()) else Signer.ALTERED


def described(signer: Signer, manifest: Manifest, key: SigningKey | None) -> str:
    """Who signed a manifest, as the end of a sentence about it."""
    theirs = (manifest.signature or "").partition(":")[0]
    if signer is Signer.THIS_KEY:
        return f"is signed by your key {theirs}"
    if signer is Signer.ANOTHER_KEY and key is None:
        return f"is signed by the key {theirs!r}, and you have none yet"
    if signer is Signer.ANOTHER_KEY and key is not None:
        return f"is signed by the key {theirs!r}, and yours is {key.id!r}"
    if signer is Signer.ALTERED:
        return f"has been altered since your key {theirs!r} signed it"
    return "is not signed"


def _mac_start(data: bytes) -> int:
    return data.rfind(_FIELD) + len(_FIELD) + _ID_DIGITS + len(":")
