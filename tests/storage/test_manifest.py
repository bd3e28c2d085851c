"""A manifest is what was written, or an error."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.errors import DamagedError, FormatVersionError
from garage.storage import manifest as manifests
from garage.storage import run_directory
from garage.storage.manifest import Chunk, Leaf, Log, Manifest, Parent, Piece
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from storage.sample_runs import capture_of, checksummed, files_of, newest, opened, rewritten, written

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
COUNTS = st.integers(0, 2**53)
TABLES = st.dictionaries(
    WORDS,
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS | st.floats(allow_nan=False, allow_infinity=False),
    max_size=3,
)
LEAVES = st.lists(
    st.builds(
        Leaf,
        path=WORDS,
        dtype=WORDS,
        shape=st.lists(COUNTS, max_size=3).map(tuple),
        hash=HASHES,
        pieces=st.lists(st.builds(Piece, COUNTS, COUNTS, COUNTS), max_size=3).map(tuple),
    ),
    max_size=3,
).map(tuple)
CHUNKS = st.lists(
    st.builds(Chunk, hash=HASHES, pack=HASHES, offset=COUNTS, stored=COUNTS, raw=COUNTS, codec=WORDS), max_size=3
).map(tuple)
MANIFESTS = st.builds(
    Manifest,
    format=st.just(1),
    hash=st.just("blake3"),
    run=WORDS,
    name=WORDS,
    parent=st.none() | st.builds(Parent, run=WORDS, epoch=COUNTS, digest=HASHES, path=WORDS),
    epoch=COUNTS,
    digest=HASHES,
    written_at=WORDS,
    train_args=TABLES,
    stats=TABLES,
    metrics=TABLES,
    fingerprint=TABLES,
    recipe=st.none() | HASHES,
    recipe_problem=st.none() | WORDS,
    log=st.builds(Log, COUNTS, COUNTS, HASHES),
    leaves=LEAVES,
    opaque=LEAVES,
    chunks=CHUNKS,
    signature=st.none() | WORDS,
    checksum=st.just("0" * 64),
)
SAMPLE = Manifest(
    run="r",
    name="größe",
    parent=Parent("p", 1, "d", "/p"),
    epoch=9,
    digest="d",
    written_at="now",
    train_args={"checksum": "0" * 64},
    stats={},
    metrics={"Loss": "NaN"},
    fingerprint={},
    recipe="ab" * 32,
    recipe_problem='"checksum": "',
    log=Log(3, 1, "h"),
    leaves=(Leaf("a", "<f4", (2,), "h", (Piece(0, 0, 8),)),),
    opaque=(),
    chunks=(Chunk("h", "cd" * 32, 64, 8, 8, "raw"),),
)


def without_checksum(manifest):
    return msgspec.structs.replace(manifest, checksum="")


@given(MANIFESTS)
def test_decode_is_the_inverse_of_encode(manifest):
    data = manifests.encode(manifest)
    decoded = manifests.decode(data, "here")
    assert without_checksum(decoded) == without_checksum(manifest)
    assert manifests.encode(decoded) == data
    json.loads(data, parse_constant=pytest.fail)  # strict JSON, readable by anyone
    assert data.count(b"\n") > 20


def test_a_checksum_in_the_contents_is_not_taken_for_the_manifests_own():
    assert without_checksum(manifests.decode(manifests.encode(SAMPLE), "here")) == without_checksum(SAMPLE)


def test_every_flipped_bit_is_damage():
    data = manifests.encode(SAMPLE)
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises(DamagedError, match="The manifest here is damaged"):
                manifests.decode(bytes(flipped), "here")


@given(st.data())
def test_every_other_byte_is_damage(data):
    encoded = bytearray(manifests.encode(SAMPLE))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != encoded[position]))
    with pytest.raises(DamagedError):
        manifests.decode(bytes(encoded), "here")


def test_every_truncation_and_every_extension_is_damage():
    data = manifests.encode(SAMPLE)
    for size in range(len(data)):
        with pytest.raises(DamagedError, match=f"its {size} bytes"):
            manifests.decode(data[:size], "here")
    for more in (b"\n", b"x", data):
        with pytest.raises(DamagedError):
            manifests.decode(data + more, "here")


@given(st.binary(max_size=300))
def test_any_other_bytes_are_damage(data):
    with pytest.raises(DamagedError):
        manifests.decode(data, "here")


def test_another_format_version_is_said_with_both_versions_and_the_next_step(tmp_path):
    document = {"format": 2, "all": "else", "may": "differ"}
    path = tmp_path / "000000.json"
    path.write_bytes(checksummed(document))
    with pytest.raises(FormatVersionError) as caught:
        manifests.read(path)
    assert str(caught.value) == (
        f"{path} has format version 2; this garage reads version 1. Use the garage that wrote it, or one that is newer."
    )
    path.write_bytes(path.read_bytes().replace(b"differ", b"defier"))
    with pytest.raises(DamagedError):
        manifests.read(path)


def test_every_version_up_to_this_one_has_its_readers_and_exhibits():
    """Whoever makes a new version is told here what else it needs: see design note 7."""
    versions = set(range(1, manifests.FORMAT + 1))
    assert manifests.READERS.keys() == run_directory.READERS.keys() == versions
    runs = Path(__file__).parents[1] / "museum" / "runs"
    assert {json.loads(path.read_bytes())["format"] for path in runs.rglob("snapshots/*.json")} == versions


def test_a_run_of_another_format_version(tmp_path):
    path = written(tmp_path / "run", [0])
    directory = RunDirectory(path)
    directory.info_path.write_text(directory.info_path.read_text().replace('"format": 1', '"format": 2'))
    before = files_of(path)
    expected = r"run\.json has format version 2; this garage reads version 1\. Use the garage that wrote it"
    with pytest.raises(FormatVersionError, match=expected):
        directory.info()
    with pytest.raises(FormatVersionError, match=expected):
        opened(path, last_epoch=0)
    assert files_of(path) == before


@pytest.mark.parametrize(
    "change",
    [
        {"format": None},
        {"format": "1"},
        {"epoch": "9"},
        {"leaves": None},
        {"chunks": [{}]},
        {"recipe": "../../elsewhere"},
        {"recipe": "ab" * 32 + "\n"},
        {"chunks": [{"hash": "h", "pack": "/etc/elsewhere", "offset": 0, "stored": 0, "raw": 0, "codec": "raw"}]},
        {"chunks": [{"hash": "h", "pack": "\0" * 64, "offset": 0, "stored": 0, "raw": 0, "codec": "raw"}]},
    ],
)
def test_a_right_checksum_over_a_wrong_document_is_damage(change):
    document = json.loads(manifests.encode(SAMPLE)) | change
    with pytest.raises(DamagedError, match="The manifest here is damaged: "):
        manifests.decode(checksummed(document), "here")


def test_a_right_checksum_over_what_is_not_utf_8_is_damage():
    data = checksummed(json.loads(manifests.encode(SAMPLE))).replace("größe".encode(), b"\xff\xff\xff\xff\xff\xff\xff")
    start = data.rindex(b'"checksum": "') + len(b'"checksum": "')
    zeroed = data[:start] + b"0" * 64 + data[start + 64 :]
    data = data[:start] + manifests.blake3(zeroed).hexdigest().encode() + data[start + 64 :]
    with pytest.raises(DamagedError, match=r"The manifest here is damaged: .*utf-8"):
        manifests.decode(data, "here")


def test_fields_that_this_version_does_not_know_are_ignored():
    document = json.loads(manifests.encode(SAMPLE)) | {"from_later": 1}
    assert without_checksum(manifests.decode(checksummed(document), "here")) == without_checksum(SAMPLE)


def test_a_manifest_that_cannot_be_read(tmp_path):
    with pytest.raises(DamagedError, match=r"Cannot read the manifest .*: No such file"):
        manifests.read(tmp_path / "none.json")
    with pytest.raises(DamagedError, match=r"Cannot read the manifest .*: Is a directory"):
        manifests.read(tmp_path)


def test_nan_is_the_string(tmp_path):
    path = written(tmp_path / "run", [0])
    manifest = RunDirectory(path).manifest_path(0).read_text()
    assert json.loads(manifest, parse_constant=pytest.fail)["metrics"] == {
        "Evaluation/AverageReturn": 0.0,
        "Loss": "NaN",
    }
    assert SnapshotStore(path).read().state["counters"]["rate"] != SnapshotStore(path).read().state["counters"]["rate"]


def test_epochs_are_numbers_not_texts(tmp_path):
    path = written(tmp_path / "run", [9, 80, 120, 999_999, 1_000_000])
    assert SnapshotStore(path).epochs() == [9, 80, 120, 999_999, 1_000_000]
    assert newest(path) == 1_000_000
    for epoch in (999_999, 1_000_000):
        RunDirectory(path).manifest_path(epoch).unlink()
    assert newest(path) == 120


def test_other_names_in_the_folder_are_no_manifests(tmp_path):
    path = written(tmp_path / "run", [0])
    folder = RunDirectory(path).snapshots_path
    good = (folder / "000000.json").read_bytes()
    for name in (
        ".unfinished-1-ab",
        ".unfinished-1-ab.json",
        "000001.json.part",
        "000001 (1).json",
        "x.json",
        "٣.json",
        "-1.json",
        "1.5.json",
        ".json",
    ):
        (folder / name).write_bytes(good)
    (folder / "damaged").mkdir()
    assert RunDirectory(path).manifest_epochs() == [0]
    assert SnapshotStore(path).verify() == []


def test_a_manifest_under_the_name_of_another_epoch_is_damage(tmp_path):
    path = written(tmp_path / "run", [0])
    directory = RunDirectory(path)
    directory.manifest_path(3).write_bytes(directory.manifest_path(0).read_bytes())
    snapshot = SnapshotStore(path).read()
    assert snapshot.manifest.epoch == 0
    assert snapshot.problems == (f"The manifest {directory.manifest_path(3)} is of epoch 0.",)
    with pytest.raises(DamagedError, match=r"asked for: 3\):\n  The manifest .* is of epoch 0"):
        SnapshotStore(path).read(3)


def test_rewriting_helper_keeps_manifests_whole(tmp_path):
    path = written(tmp_path / "run", [0])
    rewritten(RunDirectory(path).manifest_path(0), lambda document: document.update(name="other"))
    assert SnapshotStore(path).read().manifest.name == "other"


def test_a_manifest_says_what_was_captured(tmp_path):
    writer = opened(tmp_path / "run")
    digest = writer.commit(capture_of(0))
    writer.close()
    manifest = SnapshotStore(tmp_path / "run").read().manifest
    assert (manifest.run, manifest.name, manifest.epoch, manifest.digest) == ("0123456789abcdef", "run", 0, digest)
    assert manifest.train_args == {"n_epochs": 100}
    assert manifest.stats == {"last_itr": 1}
    assert manifest.fingerprint == {"python": "3"}
    assert manifest.log.rows == 1
