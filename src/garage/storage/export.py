"""A snapshot's values as the bytes of files that other programs read."""

import importlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping

import numpy as np

from garage.core.state import Leaf, flatten, json_scalar
from garage.core.tracked import TrackedGroup
from garage.core.types import State
from garage.errors import ArgumentError, DependencyError

METADATA = "__metadata__"
_INT64 = np.iinfo(np.int64)


def values(state: State) -> dict[str, Leaf]:
    """A state tree's values by path; the columns of a tracked group are arrays below its path."""
    found: dict[str, Leaf] = {}
    for path, leaf in flatten(state).items():
        if isinstance(leaf, TrackedGroup):
            found |= {f"{path}/{name}": column for name, column in leaf.views().items()}
        else:
            found[path] = leaf
    return found


def npz(leaves: Mapping[str, Leaf], about: Mapping[str, str]) -> bytes:
    """An uncompressed npz file: one array a path, and ``__metadata__``, JSON text as an array without axes.

    Numbers, strings and booleans are arrays without axes; what no array can hold (null, an empty dict, an int of more
    than 64 bits) is in the metadata only, whose ``scalars`` lists all that is no array in the snapshot.
    """
    arrays = {path: np.asarray(leaf) for path, leaf in leaves.items() if isinstance(leaf, np.ndarray) or _fits(leaf)}
    arrays[METADATA] = np.asarray(_metadata(leaves, about))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path, array in arrays.items():
            with archive.open(f"{path}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return file.getvalue()


def safetensors(leaves: Mapping[str, Leaf], about: Mapping[str, str]) -> bytes:
    """A safetensors file: one tensor a path; the JSON text that npz has too is the metadata's only entry, ``garage``.

    Raises:
        DependencyError: the package safetensors is not installed.
        ArgumentError: an array is of a kind that the format lacks.
    """
    try:
        library = importlib.import_module("safetensors.numpy")
    except ImportError as error:
        msg = (
            "Writing safetensors needs the package safetensors, which is not installed: "
            "pip install 'garage[safetensors]'. Or export to npz, which needs nothing."
        )
        raise DependencyError(msg) from error
    # The library writes the bytes as they lie, and columns-first arrays would come back with other values.
    arrays = {path: np.asarray(leaf, order="C") for path, leaf in leaves.items() if isinstance(leaf, np.ndarray)}
    for path, array in arrays.items():
        if array.dtype.kind not in "biuf":
            msg = (
                f"Cannot export `{path}` to safetensors: it has no tensors of dtype {array.dtype}. Export to npz, or "
                "choose other values with --only."
            )
            raise ArgumentError(msg)
    data: bytes = library.save(arrays, {"garage": _metadata(leaves, about)})  # of several, the order is random
    return data


FORMATS: dict[str, Callable[[Mapping[str, Leaf], Mapping[str, str]], bytes]] = {
    "npz": npz,
    "safetensors": safetensors,
}
"""By the name and file ending of each."""


def _fits(leaf: Leaf) -> bool:
    """Whether an array of one of NumPy's own types can hold a scalar."""
    if isinstance(leaf, int):
        return _INT64.min <= leaf <= _INT64.max
    return isinstance(leaf, float | str)


def _metadata(leaves: Mapping[str, Leaf], about: Mapping[str, str]) -> str:
    scalars = {
        path: leaf if isinstance(leaf, dict) else json_scalar(leaf)
        for path, leaf in leaves.items()
        if leaf is None or isinstance(leaf, dict | int | float | str)
    }
    return json.dumps({**about, "scalars": scalars})
