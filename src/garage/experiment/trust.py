"""Whether the code that a snapshot names may run: only if this user's key signed it, or the user says so."""

from pathlib import Path

from garage.errors import UntrustedError
from garage.storage.signing import Signer, SigningKey, described
from garage.storage.store import StoredSnapshot


def need_trust(snapshot: StoredSnapshot, path: Path, key: SigningKey | None) -> None:
    """Make sure that this user's key signed a snapshot, before anything of it is unpickled.

    Args:
        snapshot: read with this key.
        path: of its run.
        key: the user's, or None.

    Raises:
        UntrustedError: it did not; the message says what can be done.
    """
    if snapshot.signer is Signer.THIS_KEY:
        return
    manifest = snapshot.manifest
    opaque = ", ".join(f"`{leaf.path}`" for leaf in manifest.opaque)
    not_loaded = f"; {opaque}, pickled whole, cannot be loaded so" if opaque else ""
    msg = (
        f"The snapshot of epoch {manifest.epoch} of {path} {described(snapshot.signer, manifest, key)}, and rebuilding "
        "its objects runs the code that its recipe names. Nothing of it has been run.\n"
        f"  To look into it without running it: garage show {path}\n"
        "  To load its values into objects of your own, without running it: trainer.setup(algo, env), then "
        f"trainer.restore({str(path)!r}){not_loaded}\n"
        f"  To accept it, if you know where it comes from: garage trust {path}; or for once restore(..., trust=True), "
        "load_policy(..., trust=True) or garage resume --trust\n"
        "Runs of your own on another machine need its key there: see docs/trust.md."
    )
    raise UntrustedError(msg)
