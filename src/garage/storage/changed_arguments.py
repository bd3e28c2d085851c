"""Arguments that a fork has changed, and that its snapshot's objects were not built with."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from garage.storage.run_directory import RunDirectory


def unbuilt(directory: RunDirectory, epoch: int) -> dict[str, Any]:
    """Those that run.json records, and that the recipe of a snapshot knows nothing of; by name.

    They are in the event with which a fork began with that snapshot. A seed that the fork itself has changed in the
    snapshot is none of them. Snapshots of later epochs were written with objects that the arguments have built.

    Raises:
        DamagedError: the system refuses to read the events.
    """
    found: dict[str, Any] = {}
    for event in directory.events():
        arguments = event.get("arguments")
        if event.get("event") == "fork" and event.get("epoch") == epoch and isinstance(arguments, dict):
            is_built = {"seed"} if event.get("reseeded") is True else set()
            found = {name: value for name, value in arguments.items() if name not in is_built}
    return found


def building_command(path: Path, arguments: Mapping[str, Any]) -> str:
    """The command that goes on with the run in ``path`` with objects that are built from its recorded arguments.

    None is left out, for what a file's defaults are is not recorded, except null, which no word can be.
    """
    words = ["garage", "run", "FILE", "--resume", "auto", "--log-dir", str(path)]
    for name, value in arguments.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(words)
