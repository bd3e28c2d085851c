"""Values that are whole, but not those that the objects have: an error of ours, or objects that hold them."""

import contextlib
import json

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.forgeries import ANYTHING, RAW, Copy, raw_json, restore_values
from garage import load_policy
from garage.core import state as state_trees
from garage.errors import ArgumentError, GarageError, MismatchError, RecipeError
from garage.experiment import recipes
from garage.storage import manifest as manifests
from garage.storage.disk import Disk
from garage.storage.linking import with_state
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.sample_runs import INFO, capture_of, opened

quick = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([10**9, 10**30, -1, 0])
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
ARRAYS = st.builds(
    np.full,
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
    st.sampled_from([0, 1, -1, np.nan, np.inf, 3e38, 2**31]),
    st.sampled_from([np.float32, np.float64, np.complex128]).map(np.dtype),
).filter(lambda array: array.size < 64)
WHOLE = st.lists(st.integers(-5, 2**40), max_size=5).map(np.array)
VALUES = SCALARS | ARRAYS | WHOLE | st.dictionaries(st.sampled_from(["a", "b"]), SCALARS | ARRAYS, max_size=2)


@pytest.fixture(scope="module")
def paths(original):
    """Of the state's leaves and of the folders that they lie in."""
    state = SnapshotStore(original).read().state
    leaves = list(state_trees.flatten(state))
    folders = {"/".join(path.split("/")[:n]) for path in leaves for n in range(1, path.count("/") + 1)}
    return sorted({*leaves, *folders})


def check_values(copy, paths, data):
    copy.put_back()
    change = {data.draw(st.sampled_from(paths)): data.draw(VALUES)}
    directory = RunDirectory(copy.path)
    manifest = with_state(manifests.read(directory.manifest_path(2)), change, directory, Disk())
    directory.manifest_path(2).write_bytes(manifests.encode(manifest))
    assert SnapshotStore(copy.path).read().manifest.epoch == 2
    with contextlib.suppress(GarageError):
        load_policy(copy.path)
    with contextlib.suppress(GarageError):
        restore_values(copy.path)


@quick
@given(st.data())
def test_values_of_other_kinds(copy, paths, data):
    check_values(copy, paths, data)


@pytest.mark.long
@pytest.mark.timeout(3000)
@thorough
@given(st.data())
def test_many_values_of_other_kinds(copy, paths, data):
    check_values(copy, paths, data)


def check_header(value):
    """A recipe whose header says anything; what follows it is never looked at, for it would raise another error."""
    line = raw_json(value).replace("\n", " ").encode()
    with contextlib.suppress(RecipeError):
        assert isinstance(recipes.surroundings_of(line + b"\nno pickle"), str)


HEADERS = ANYTHING | st.fixed_dictionaries({}, optional=dict.fromkeys(("folder", "modules", "surroundings"), ANYTHING))


@settings(quick, max_examples=100)
@given(HEADERS)
def test_headers_of_recipes(value):
    check_header(value)


@pytest.mark.parametrize("name", RAW)
def test_headers_beyond_pythons_values(name):
    check_header(name)
    check_header({"surroundings": name, "folder": name, "modules": name})


@pytest.mark.parametrize("line", [b"", b"{", b"\xff\xfe", b'{"surroundings": "process"', b"[]", b"null"])
def test_headers_that_are_none(line):
    with pytest.raises(RecipeError, match="header"):
        recipes.surroundings_of(line + b"\nno pickle")


@pytest.mark.parametrize("header", [{}, {"folder": 1, "modules": {}}, {"folder": "", "modules": []}])
def test_a_header_without_what_a_missing_module_is_looked_for_with(header):
    pickle_of_a_missing_module = b"cno_such_module_of_anybody\nname\n."
    with pytest.raises(RecipeError, match=r"header|no module"):
        recipes.load(json.dumps(header).encode() + b"\n" + pickle_of_a_missing_module)


def test_a_copy_put_back_is_the_original(original, tmp_path):
    copy = Copy(original, tmp_path / "run")
    for file in copy.path.rglob("*.json*"):
        file.write_bytes(b"")
    copy.put_back()
    assert SnapshotStore(copy.path).verify() == []
    assert restore_values(copy.path).stats.total_epoch == 2


@pytest.mark.parametrize(("n_keys", "fits"), [(100, True), (101, False), (5000, False)])
def test_a_tree_that_no_reader_would_take_is_not_written(tmp_path, n_keys, fits):
    tree = 1
    for _ in range(n_keys - 1):
        tree = {"a": tree}
    with contextlib.closing(opened(tmp_path / "run")) as writer:
        if fits:
            writer.commit(capture_of(0, state={"deep": tree}))
            assert SnapshotStore(tmp_path / "run").verify() == []
            assert SnapshotStore(tmp_path / "run").read().state["deep"] == tree
        else:
            with pytest.raises(ArgumentError, match="at most 100 keys"):
                writer.commit(capture_of(0, state={"deep": tree}))


def test_arguments_nested_as_deeply_as_anybody_nests_them(tmp_path):
    nested = 1
    for _ in range(150):
        nested = [nested]
    info = msgspec.structs.replace(INFO, arguments={"config": nested})
    opened(tmp_path / "run", info=info).close()
    assert RunDirectory(tmp_path / "run").info().arguments == {"config": nested}


@pytest.mark.parametrize("value", [np.full((2, 1), np.nan + 0j), np.arange(3), "policy", 7, None])
def test_a_value_in_the_place_of_a_folder(copy, value):
    copy.put_back()
    directory = RunDirectory(copy.path)
    manifest = with_state(manifests.read(directory.manifest_path(2)), {"algo": value}, directory, Disk())
    directory.manifest_path(2).write_bytes(manifests.encode(manifest))
    with pytest.raises(MismatchError, match="expected a folder with `policy` in it"):
        restore_values(copy.path)


@pytest.mark.parametrize("path", ["process/random/words", "process/numpy/key"])
@pytest.mark.parametrize("value", [np.zeros(624), np.zeros(624, np.complex128), np.zeros(3, np.int64), 7])
def test_words_of_a_generator_that_are_none(copy, path, value):
    copy.put_back()
    directory = RunDirectory(copy.path)
    manifest = with_state(manifests.read(directory.manifest_path(2)), {path: value}, directory, Disk())
    directory.manifest_path(2).write_bytes(manifests.encode(manifest))
    with pytest.raises(MismatchError, match="generators"):
        restore_values(copy.path)


def test_arguments_that_have_defaults_may_be_missing(copy):
    copy.put_back()
    document = copy.manifest()
    del document["train_args"]["store_episodes"]
    copy.forge(document)
    assert restore_values(copy.path).stats.total_epoch == 2
