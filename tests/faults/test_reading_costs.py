"""What a manifest makes a reader do is in proportion to what its chunks hold, however they are named."""

import contextlib
import json
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from faults.forgeries import forged
from garage.errors import DamagedError, StorageError, WriteError
from garage.storage import manifest as manifests
from garage.storage import packs
from garage.storage.disk import Disk
from garage.storage.manifest import Chunk, Group, GroupColumn, Leaf, Piece
from garage.storage.packs import StoredChunk
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.sample_runs import capture_of, opened, written

N_CHUNKS = 3
CHUNK = 1 << 18
PIECES = st.tuples(st.integers(-1, N_CHUNKS), st.integers(0, CHUNK), st.integers(0, 100) | st.just(CHUNK))
LEAVES = st.lists(st.tuples(st.lists(PIECES, max_size=8), st.integers(1, 200)), max_size=6)


def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, its manifest, and chunks that lie in a pack of it."""
    path = written(tmp_path_factory.mktemp("costs") / "run", [0])
    directory = RunDirectory(path)
    data = [bytes([n]) * CHUNK for n in range(N_CHUNKS)]
    stored = [StoredChunk(blake3(each).hexdigest(), CHUNK, "raw", each) for each in data]
    chunks = packs.write_pack(directory, Disk(), stored)
    document = json.loads(directory.manifest_path(0).read_bytes())
    document["chunks"] = [{field: getattr(chunk, field) for field in chunk.__struct_fields__} for chunk in chunks]
    return directory, document


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the bytes that a process reads")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([([(0, 0, 1), (1, 0, 1)], 100)])
@example([([(0, 0, CHUNK)], 100)])
@given(LEAVES)
def test_pieces_in_any_order_cost_what_they_are_or_what_there_is(run, leaves):
    directory, document = run
    pieces = [each * times for each, times in leaves]
    document["leaves"] = [
        {"path": f"leaf/{n}", "dtype": "|u1", "shape": [1], "hash": "", "pieces": each} for n, each in enumerate(pieces)
    ]
    document["opaque"] = []
    data = forged(document)
    directory.manifest_path(0).write_bytes(data)
    before = bytes_read()
    with contextlib.suppress(StorageError):
        SnapshotStore(directory.path).verify()
    n_read = bytes_read() - before
    claimed = sum(size for each in pieces for _, _, size in each)
    assert n_read <= 4 * N_CHUNKS * CHUNK + claimed + 2 * len(data) + 100_000


def chunk(raw=1 << 20):
    return Chunk("h", "0" * 64, 0, raw, raw, "raw")


def excessive(**fields):
    """A manifest that says that of itself."""
    return manifests.Manifest(
        **{
            "run": "r",
            "name": "n",
            "parent": None,
            "epoch": 1,
            "digest": "d",
            "written_at": "now",
            "train_args": {},
            "stats": {},
            "metrics": {},
            "fingerprint": {},
            "recipe": None,
            "recipe_problem": None,
            "log": manifests.Log(0, 0, ""),
            "leaves": (),
            "opaque": (),
            "chunks": (chunk(),),
            **fields,
        }
    )


def leaf(*pieces, **fields):
    return Leaf(**{"path": "a", "dtype": "<f4", "shape": (1,), "hash": "h", "pieces": pieces, **fields})


WHOLE = Piece(0, 0, 1 << 20)
GROUP = {"path": "g", "rows": 1, "capacity": 1, "block_rows": 1, "hash": ""}
COLUMN = GroupColumn("c", "<f4", ())
EXCESSIVE = {
    "repeated by leaves": {"leaves": (leaf(*[WHOLE] * 40_000), leaf(*[WHOLE] * 40_000, path="b"))},
    "repeated by groups": {"groups": (Group(**GROUP, columns=(COLUMN,), blocks=(0,) * 80_000),)},
    "visited in turn": {"leaves": (leaf(*[Piece(0, 0, 1), Piece(1, 0, 1)] * 50),), "chunks": (chunk(), chunk())},
    "a long path": {"leaves": (leaf(path="x" * 5000),)},
    "a long path of a group": {"groups": (Group(**GROUP | {"path": "x" * 5000}, columns=(COLUMN,), blocks=()),)},
    "many axes": {"leaves": (leaf(shape=(1,) * 65),)},
    "many axes of a column": {"groups": (Group(**GROUP, columns=(GroupColumn("c", "<f4", (1,) * 65),), blocks=()),)},
    "a long dtype": {"opaque": (leaf(dtype="(" * 33),)},
    "a deep fingerprint": {"fingerprint": {"a": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}},
}


@pytest.mark.parametrize("name", EXCESSIVE)
def test_what_no_reader_takes_is_not_written(name):
    manifest = excessive(**EXCESSIVE[name])
    with pytest.raises(WriteError, match="The snapshot of epoch 1 cannot be written: "):
        manifests.encode(manifest)
    document = json.loads(manifests.msgspec.json.encode(manifest))
    with pytest.raises(DamagedError, match="The manifest here is damaged: "):
        manifests.decode(forged(document), "here")


def test_64_gigabytes_of_zeros_are_no_forgery():
    """As a replay buffer has them that is made at once."""
    manifest = excessive(leaves=(leaf(*[WHOLE] * 65_536),))
    assert manifests.decode(manifests.encode(manifest), "here").leaves == manifest.leaves


def test_a_state_that_cannot_be_read_is_refused_when_it_is_saved(tmp_path):
    with contextlib.closing(opened(tmp_path)) as writer:
        writer.commit(capture_of(0))
        with pytest.raises(
            WriteError, match="cannot be written: the path 'keykeykeykeykeykeyke'… has 6,000 characters"
        ):
            writer.commit(capture_of(1, state={"key" * 2000: 1}))
        writer.commit(capture_of(2))
    assert SnapshotStore(tmp_path).epochs() == [0, 2]
    assert SnapshotStore(tmp_path).verify() == []
