"""Chunks come back as they went, once each; anything else is named by the leaf."""

import json
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zstandard
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.errors import DamagedError
from garage.storage import packs
from garage.storage.chunk_reader import ChunkReader
from garage.storage.disk import Disk
from garage.storage.manifest import Chunk, Leaf, Piece
from garage.storage.packs import CHUNK_BYTES, SMALL_BYTES, LeafBytes
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.sample_runs import capture_of, opened, rewritten, written

MIB = 1 << 20
SIZES = [0, 1, 2, 1000, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, MIB - 1, MIB, MIB + 1, 3 * MIB]
RANDOM = np.random.default_rng(1).bytes(4 * MIB)
KINDS = {"random": RANDOM, "zeros": bytes(4 * MIB)}


def leaves_of(specs):
    """Leaves by kind, size and where in the kind's bytes they begin."""
    return [
        LeafBytes(f"leaf/{index}", "<u1", (size,), memoryview(KINDS[kind])[start : start + size])
        for index, (kind, size, start) in enumerate(specs)
    ]


def stored(path, leaves, known=None):
    """Cut and store, and read with what comes back."""
    directory = RunDirectory(path)
    chunks, cut = packs.cut(leaves)
    placed, n_written = packs.store(directory, Disk(), chunks, known or {})
    return directory, placed, cut, n_written


def reads(directory, placed, cut):
    reader = ChunkReader(directory, placed)
    return [reader.leaf(leaf) for leaf in cut]


@settings(max_examples=25, deadline=None)  # it waits for the device
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(SIZES), st.integers(0, 1000)), max_size=6
    ).filter(lambda specs: sum(size for _, size, _ in specs) <= 8 * MIB)
)
def test_leaves_come_back_as_they_went(specs):
    with TemporaryDirectory() as folder:
        leaves = leaves_of(specs)
        directory, placed, cut, n_written = stored(Path(folder), leaves)
        assert reads(directory, placed, cut) == [bytes(leaf.data) for leaf in leaves]
        assert [(leaf.path, leaf.dtype, leaf.shape, leaf.hash) for leaf in cut] == [
            (leaf.path, leaf.dtype, leaf.shape, leaf.hash) for leaf in leaves
        ]
        assert all(0 <= chunk.raw <= CHUNK_BYTES for chunk in placed)
        found = packs.pack_names(directory)
        assert set(found) == {chunk.pack for chunk in placed}
        assert sum(file.stat().st_size for file in found.values()) == n_written
        for name, file in found.items():
            assert blake3(file.read_bytes()).hexdigest() == name
            assert file.read_bytes().startswith(packs.MAGIC)
        again = stored(Path(folder), leaves, {chunk.hash: chunk for chunk in placed})
        assert again[1:] == (placed, cut, 0)
        assert packs.pack_names(directory) == found


@pytest.mark.parametrize(
    ("sizes", "n_chunks"),
    [
        ([], 0),
        ([0], 1),
        ([0, 0, 1], 1),
        ([SMALL_BYTES] * 16, 1),
        ([SMALL_BYTES] * 17, 2),
        ([SMALL_BYTES + 1], 1),
        ([MIB], 1),
        ([MIB + 1], 2),
        ([3 * MIB, 5], 4),
    ],
)
def test_how_leaves_are_cut(sizes, n_chunks):
    chunks, leaves = packs.cut(leaves_of([("random", size, 0) for size in sizes]))
    assert len(chunks) == n_chunks
    assert [sum(piece.size for piece in leaf.pieces) for leaf in leaves] == sizes


def test_two_leaves_of_one_path_stay_two(tmp_path):
    """A state tree and the opaque parts may both have one."""
    leaves = [LeafBytes("env", "empty", (), b"{}"), LeafBytes("env", "opaque", (), b"pickle")]
    directory, placed, cut, _ = stored(tmp_path, leaves)
    assert reads(directory, placed, cut) == [b"{}", b"pickle"]


def test_equal_chunks_are_written_once(tmp_path):
    leaves = leaves_of([("random", MIB, 0), ("random", MIB, 0), ("zeros", 3 * MIB, 0)])
    _, placed, _, _ = stored(tmp_path, leaves)
    assert len({chunk.hash for chunk in placed}) == 2
    assert len({(chunk.pack, chunk.offset) for chunk in placed}) == 2


def test_an_equal_snapshot_writes_no_packs(tmp_path):
    writer = opened(tmp_path, "all")
    writer.commit(capture_of(0))
    before = packs.pack_names(RunDirectory(tmp_path))
    writer.commit(capture_of(0), requested=True)
    writer.close()
    assert packs.pack_names(RunDirectory(tmp_path)) == before
    events = [event for event in RunDirectory(tmp_path).events() if event["event"] == "snapshot"]
    assert events[0]["bytes"] == sum(file.stat().st_size for file in before.values())
    assert events[1]["bytes"] == 0


def test_what_stays_between_snapshots_is_not_written_again(tmp_path):
    path = written(tmp_path / "run", [0, 1])
    first, second = (event["bytes"] for event in RunDirectory(path).events() if event["event"] == "snapshot")
    assert first > 150_000  # the steady leaf alone has 160,000 bytes
    assert second < 10_000


def test_compression_where_it_gains_a_tenth(tmp_path):
    nearly = RANDOM[: 92 * 1000] + bytes(8 * 1000)
    gains = RANDOM[: 80 * 1000] + bytes(20 * 1000)
    leaves = [LeafBytes(name, "|u1", (), data) for name, data in {"r": RANDOM[:MIB], "n": nearly, "g": gains}.items()]
    _, placed, _, _ = stored(tmp_path, [*leaves, *leaves_of([("zeros", MIB, 0)])])
    assert [chunk.codec for chunk in placed] == ["raw", "raw", "zstd", "zstd"]
    assert all((chunk.stored < 0.9 * chunk.raw) == (chunk.codec == "zstd") for chunk in placed)
    assert placed[3].stored < 1000


def test_packs_are_of_at_most_32_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "PACK_BYTES", 3 * MIB)
    directory, placed, cut, _ = stored(tmp_path, leaves_of([("random", MIB, start) for start in range(7)]))
    names = [chunk.pack for chunk in placed]
    assert [names.count(name) for name in dict.fromkeys(names)] == [3, 3, 1]
    assert len(b"".join(reads(directory, placed, cut))) == 7 * MIB


def test_chunks_begin_at_multiples_of_64(tmp_path):
    _, placed, _, _ = stored(tmp_path, leaves_of([("random", SMALL_BYTES + n, n) for n in range(1, 9)]))
    assert [chunk.offset % 64 for chunk in placed] == [0] * 8
    assert min(chunk.offset for chunk in placed) == 64


def test_other_files_among_the_packs_are_none(tmp_path):
    directory, placed, _, _ = stored(tmp_path, leaves_of([("random", 10, 0)]))
    (directory.packs_path / "zz").mkdir()
    (directory.packs_path / "zz" / "file").touch()
    (directory.pack_path(placed[0].pack).parent / ".unfinished-1-ab").touch()
    assert set(packs.pack_names(directory)) == {placed[0].pack}


# Damage


@pytest.fixture
def run(tmp_path):
    """A run of one snapshot; its only pack."""
    path = written(tmp_path / "run", [0])
    (pack,) = packs.pack_names(RunDirectory(path)).values()
    return path, pack


def leaf_problems(path):
    return [line for line in SnapshotStore(path).verify() if "Cannot read `" in line]


def test_every_flipped_byte_of_a_pack_is_named_by_a_leaf_or_harmless(run):
    path, pack = run
    data = pack.read_bytes()
    manifest = SnapshotStore(path).read().manifest
    used = {at for chunk in manifest.chunks for at in range(chunk.offset, chunk.offset + chunk.stored)}
    step = 487  # a prime, so that every kind of place is met
    for position in {*range(0, len(data), step), *range(130), len(data) - 1}:
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        pack.write_bytes(flipped)
        if position in used:
            with pytest.raises(DamagedError, match=r"Epoch 0: Cannot read `.*`: the chunk .* is not as written"):
                SnapshotStore(path).read()
        else:
            assert SnapshotStore(path).verify() == []
    pack.write_bytes(data)
    assert SnapshotStore(path).verify() == []


def test_every_damaged_leaf_is_listed(run):
    path, pack = run
    pack.write_bytes(bytes(len(pack.read_bytes())))
    manifest = SnapshotStore(path).manifests()[0][0]
    listed = [line.split("`")[1] for line in leaf_problems(path)]
    assert listed == [leaf.path for leaf in (*manifest.leaves, *manifest.opaque)]


def test_a_damaged_chunk_is_named_by_its_leaves_alone(run):
    path, pack = run
    manifest = SnapshotStore(path).manifests()[0][0]
    (steady,) = (leaf for leaf in manifest.leaves if leaf.path == "algo/steady")
    chunk = manifest.chunks[steady.pieces[0].chunk]
    data = bytearray(pack.read_bytes())
    data[chunk.offset] ^= 1
    pack.write_bytes(data)
    (line,) = SnapshotStore(path).verify()
    assert line == (f"epoch 0: Cannot read `algo/steady`: the chunk {chunk.hash[:12]} of {pack} is not as written.")


@pytest.mark.parametrize("keep", [0, 1, 63, 64, 65, 500, -1])
def test_a_truncated_pack(run, keep):
    path, pack = run
    manifest = SnapshotStore(path).manifests()[0][0]
    end = max(chunk.offset + chunk.stored for chunk in manifest.chunks)
    pack.write_bytes(pack.read_bytes()[: end - 1 if keep == -1 else keep])
    assert leaf_problems(path)
    with pytest.raises(DamagedError, match="Cannot read `"):
        SnapshotStore(path).read()


def test_a_missing_pack(run):
    path, pack = run
    pack.unlink()
    with pytest.raises(DamagedError, match=r"Cannot read `algo/nothing`: cannot read the pack .*: No such file"):
        SnapshotStore(path).read()


def test_a_pack_that_is_a_folder(run):
    path, pack = run
    pack.unlink()
    pack.mkdir()
    with pytest.raises(DamagedError, match=r"Cannot read `algo/nothing`: cannot read the pack .*: Is a directory"):
        SnapshotStore(path).read()


HUGE = [2**31, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 2**200]


@pytest.mark.parametrize("value", [-1, -(2**70), *HUGE])
@pytest.mark.parametrize("field", ["offset", "stored", "raw"])
def test_impossible_numbers_of_a_chunk(run, field, value):
    path, _ = run
    rewritten(RunDirectory(path).manifest_path(0), lambda document: document["chunks"][0].update({field: value}))
    assert_refused_in_bounds(path)


@pytest.mark.parametrize("value", [-1, -(2**70), 50, *HUGE])
@pytest.mark.parametrize("field", [0, 1, 2])
def test_impossible_numbers_of_a_piece(run, field, value):
    path, _ = run

    def change(document):
        (leaf,) = (leaf for leaf in document["leaves"] if leaf["path"] == "algo/policy/theta")
        leaf["pieces"][0][field] = value

    rewritten(RunDirectory(path).manifest_path(0), change)
    assert_refused_in_bounds(path, "algo/policy/theta")


@pytest.mark.parametrize("said", [0, 100, MIB])
@pytest.mark.parametrize("sized", [True, False], ids=["size in the frame", "no size in the frame"])
def test_a_decompression_bomb(run, sized, said):
    path, pack = run
    bomb = bytes(256 * MIB)
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=sized)
    data = compressor.compress(bomb)
    pack.write_bytes(bytes(64) + data)

    def change(document):
        document["chunks"] = [
            chunk | {"offset": 64, "stored": len(data), "raw": said, "codec": "zstd"} for chunk in document["chunks"]
        ]

    del bomb
    rewritten(RunDirectory(path).manifest_path(0), change)
    assert_refused_in_bounds(path)


def assert_refused_in_bounds(path, leaf=""):
    """A DamagedError that names a leaf, without taking memory for what is claimed."""
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match=f"Cannot read `{leaf}"):
            SnapshotStore(path).read()
        assert all(leaf in line for line in leaf_problems(path))
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


PLACES = ["path", "dtype", "shape", "hash", "pieces"]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["<f8,", ",", "(", "O", "|V8", "<f4,<f4", "float", "str", "empty", "M8[s]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory):
    path = written(tmp_path_factory.mktemp("shared") / "run", [0])
    return path, RunDirectory(path).manifest_path(0).read_bytes()


@settings(max_examples=150)
@given(st.integers(0, 8), st.sampled_from(PLACES), ANYTHING)
def test_a_leaf_that_says_anything_else_never_raises_anything_else(shared_run, index, place, value):
    path, original = shared_run
    manifest = RunDirectory(path).manifest_path(0)
    manifest.write_bytes(original)
    rewritten(manifest, lambda document: document["leaves"][index].update({place: value}))
    try:
        SnapshotStore(path).read()
    except DamagedError:
        assert SnapshotStore(path).verify() != []


@pytest.mark.parametrize("dtype", [",", "f4,,", "(", "O", "", "<U-1", "M8[xx]", "float", "no such", "{'a': 1}"])
@pytest.mark.parametrize("shape", [[300], [2**70], [-5], [2**40, 2**40]])
def test_a_value_that_cannot_be_of_its_dtype_and_shape(run, dtype, shape):
    path, _ = run

    def change(document):
        (leaf,) = (leaf for leaf in document["leaves"] if leaf["path"] == "algo/policy/theta")
        leaf |= {"dtype": dtype, "shape": shape}

    rewritten(RunDirectory(path).manifest_path(0), change)
    with pytest.raises(DamagedError, match="Cannot read `algo/policy/theta`: 1200 bytes are not a value of dtype"):
        SnapshotStore(path).read()
    assert len(leaf_problems(path)) == 1


def test_pieces_that_do_not_add_up_to_the_leaf(tmp_path):
    directory, placed, cut, _ = stored(tmp_path, leaves_of([("random", 100, 0)]))
    leaf = Leaf("leaf/0", "|u1", (50,), cut[0].hash, (Piece(0, 0, 50),))
    with pytest.raises(DamagedError, match="Cannot read `leaf/0`: its bytes do not match its hash"):
        ChunkReader(directory, placed).leaf(leaf)


def test_a_codec_that_is_not_known(run):
    path, _ = run
    rewritten(
        RunDirectory(path).manifest_path(0),
        lambda document: [chunk.update(codec="lz4") for chunk in document["chunks"]],
    )
    assert leaf_problems(path)


def test_a_manifest_of_another_pack_does_not_verify(tmp_path):
    directory, placed, cut, _ = stored(tmp_path, leaves_of([("random", 100, 0)]))
    other = Chunk(placed[0].hash, "ab" * 32, 64, 100, 100, "raw")
    directory.pack_path("ab" * 32).parent.mkdir()
    directory.pack_path("ab" * 32).write_bytes(bytes(64) + RANDOM[1:101])
    with pytest.raises(DamagedError, match="is not as written"):
        ChunkReader(directory, [other]).leaf(cut[0])


def test_pack_names_in_manifests_are_those_of_files(run):
    path, pack = run
    document = json.loads(RunDirectory(path).manifest_path(0).read_bytes())
    assert {chunk["pack"] for chunk in document["chunks"]} == {pack.parent.name + pack.name}
