"""Exported values read back by NumPy and safetensors as they were."""

import io
import json
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load

from garage.core import state as state_trees
from garage.core.tracked import TrackedGroup
from garage.errors import ArgumentError, DependencyError
from garage.storage import export
from storage.sample_runs import state_of

ABOUT = {"run": "0123456789abcdef", "name": "run", "epoch": "3", "digest": "ab"}
ARRAYS = {
    "algo/theta": np.arange(6, dtype=np.float32).reshape(2, 3),
    "algo/counts": np.array([1, 2, 3], np.uint16),
    "algo/mask": np.array([True, False]),
    "algo/none": np.zeros((0, 4)),
    "algo/alone": np.array(2.5, np.float16),
    "algo/last": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}
SCALARS = {
    "counters/epoch": 3,
    "counters/rate": float("nan"),
    "counters/huge": 1 << 80,
    "counters/seed": None,
    "algo/layers": "tänh",
    "algo/on": True,
    "file": 0.1,
    "env": {},
}


def equal(found, expected):
    return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")


def test_npz_holds_arrays_and_scalars_by_their_paths():
    with np.load(io.BytesIO(export.npz(ARRAYS | SCALARS, ABOUT)), allow_pickle=False) as file:
        assert set(file.files) == {*ARRAYS, *SCALARS, "__metadata__"} - {"counters/huge", "counters/seed", "env"}
        for path, array in ARRAYS.items():
            assert equal(file[path], array), path
        for path in ("counters/epoch", "algo/layers", "algo/on", "file"):
            assert file[path].shape == ()
            assert file[path].item() == SCALARS[path]
        assert np.isnan(file["counters/rate"])
        metadata = json.loads(file["__metadata__"].item())
    assert metadata == {**ABOUT, "scalars": {**SCALARS, "counters/rate": "NaN"}}


def test_safetensors_hold_arrays_by_their_paths_and_scalars_as_metadata(tmp_path):
    data = export.safetensors(ARRAYS | SCALARS, ABOUT)
    tensors = load(data)
    assert set(tensors) == set(ARRAYS)
    assert all(equal(tensors[path], array) for path, array in ARRAYS.items())
    (tmp_path / "file").write_bytes(data)
    with safe_open(tmp_path / "file", "np") as file:
        metadata = file.metadata()
    assert {key: json.loads(text) for key, text in metadata.items()} == {
        "garage": {**ABOUT, "scalars": {**SCALARS, "counters/rate": "NaN"}}
    }


def test_columns_of_a_tracked_group_are_arrays_below_its_path():
    group = TrackedGroup(10, {"rewards": ((), np.float64), "observations": ((2,), np.float32)})
    group.write(0, {"rewards": [1.0, 2.0], "observations": [[1, 2], [3, 4]]})
    values = export.values({"algo": {"replay": group, "epoch": 1}})
    with np.load(io.BytesIO(export.npz(values, ABOUT))) as file:
        assert file["algo/replay/rewards"].tolist() == [1.0, 2.0]
    assert load(export.safetensors(values, ABOUT))["algo/replay/observations"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("kind", export.FORMATS)
def test_the_same_values_are_the_same_bytes(kind):
    leaves = state_trees.flatten(state_of(3))
    assert export.FORMATS[kind](leaves, ABOUT) == export.FORMATS[kind](state_trees.flatten(state_of(3)), ABOUT)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([b"a"]), np.zeros(2, np.complex128)])
def test_what_safetensors_lack_is_refused_by_its_path(array):
    with pytest.raises(ArgumentError, match=r"Cannot export `algo/odd` to safetensors: .* Export to npz"):
        export.safetensors({"algo/odd": array}, ABOUT)
    with np.load(io.BytesIO(export.npz({"algo/odd": array}, ABOUT))) as file:
        assert equal(file["algo/odd"], array)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(DependencyError, match=r"pip install 'garage\[safetensors\]'"):
        export.safetensors(ARRAYS, ABOUT)
