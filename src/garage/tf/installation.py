"""Which TensorFlow is installed, and whether policies can rely on it."""

import os
from importlib import metadata
from typing import Any

from garage.errors import DependencyError

_SAME_MODULE = ("tensorflow", "tensorflow-cpu")


def import_tensorflow() -> Any:  # noqa: ANN401 - TensorFlow has no types
    """The module ``tensorflow``.

    Raises:
        DependencyError: it is not installed.
    """
    # Read when TensorFlow is imported: its notes on the processor are no news to a user. Warnings stay.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # Read when the first device is made: otherwise the first session of a process sets the threads of all others.
    os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
    try:
        import tensorflow  # noqa: PLC0415, ICN001 - only here its absence can be explained
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        msg = 'garage.tf needs TensorFlow, which is not installed. Install it with: pip install "garage[tf]"'
        raise DependencyError(msg) from error
    return tensorflow


def check_one_distribution() -> None:
    """Make sure that one distribution only provides the module ``tensorflow``.

    Raises:
        DependencyError: two do; their files overwrite each other, so which of them computes is chance.
    """
    found = [name for name in _SAME_MODULE if _version(name) is not None]
    if len(found) > 1:
        versions = " and ".join(f"{name} {_version(name)}" for name in found)
        msg = (
            f"{versions} are both installed and overwrite each other's files, so which of them computes is chance. "
            "Remove both and install one again: "
            'pip uninstall --yes tensorflow tensorflow-cpu, then pip install "garage[tf]"'
        )
        raise DependencyError(msg)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
