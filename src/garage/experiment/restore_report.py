"""What is said before a restored run goes on: what did not come back as it was, and what that means for its numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from garage.core.ports import Rung
from garage.core.types import State
from garage.experiment.fingerprint import differences
from garage.experiment.settings import changes
from garage.storage.store import StoredSnapshot

_LAST_BITS = "The numbers may differ from the original's in their last bits"
_OTHER_OBJECTS = "Another experiment: the objects are not those that the run was trained with"
_OF_OBJECTS = ("settings", "code")
_MEANINGS = {
    "garage": "Another version of garage may compute other numbers",
    "gymnasium": "Worlds of another version may step otherwise",
    "python": "No number of garage's depends on it",
    "cloudpickle": "No number of garage's depends on it",
}
"""By the name in the fingerprint; all others decide over last bits."""


def report(snapshot: StoredSnapshot, present: Mapping[str, Any], lost: Sequence[str]) -> list[str]:
    """At most six lines; none if all came back exactly, and nothing differs.

    Args:
        snapshot: what was restored.
        present: the fingerprint of this process.
        lost: what the objects had no place for, one line each.
    """
    return [*_parts(snapshot, lost), *consequences(snapshot.manifest.fingerprint, present)]


def consequences(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, one line for each thing that it can mean."""
    found: dict[str, list[str]] = {}
    others = changes(recorded, present)
    if others:
        found[_OTHER_OBJECTS] = others
    of_process = [{key: value for key, value in side.items() if key not in _OF_OBJECTS} for side in (recorded, present)]
    for line in differences(*of_process):
        found.setdefault(_MEANINGS.get(line.partition(":")[0], _LAST_BITS), []).append(line)
    return [f"{meaning}: {'; '.join(lines)}" for meaning, lines in found.items()]


def _parts(snapshot: StoredSnapshot, lost: Sequence[str]) -> list[str]:
    """How the parts of the state came back, if one did not as arrays and numbers."""
    lanes = _lanes_by_rung(snapshot.state)
    kinds = {
        "by replay": [f"{n} {'lanes' if n > 1 else 'lane'} in mid-episode" for n in [lanes[Rung.REPLAY]] if n],
        "re-created": [f"`{path}` from its pickle" for path in snapshot.opaque],
        "missing": list(lost),
    }
    others = [f"{how}: {', '.join(what)}" for how, what in kinds.items() if what]
    exactly = ", ".join(sorted(snapshot.state))
    return [f"Restored exactly: {exactly}; {'; '.join(others)}"] if others else []


def _lanes_by_rung(state: State) -> Counter[str]:
    """How many lanes were in mid-episode, by the rung that the folder of their world is named for."""
    found: Counter[str] = Counter()
    sampler = state.get("sampler")
    waiting: list[Any] = [sampler.get("carried")] if isinstance(sampler, dict) else []
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        world, lanes = node.get("world"), node.get("lanes")
        if isinstance(world, dict) and isinstance(lanes, np.ndarray):
            found.update(dict.fromkeys(world, len(lanes)))
        else:
            waiting += node.values()
    return found
