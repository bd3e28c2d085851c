"""A run that claims more than there is costs neither memory nor time: read in a process that has little of both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3

from faults.forgeries import forged
from garage.storage import packs
from garage.storage.disk import Disk
from garage.storage.packs import StoredChunk
from garage.storage.run_directory import RunDirectory
from storage.sample_runs import written

MIB = 1 << 20
SPARE_BYTES = 400 * MIB
N_STEPS = 3_000_000
PATIENCE = 50
"""How many times as long as so many steps of a loop, which take longer on a slower machine, each reading may take."""
READER = f"""
import json, resource, sys, time
from pathlib import Path
from faults.forgeries import read_in_every_way
from garage.errors import StorageError
from garage.storage.store import SnapshotStore

begun = time.process_time()
sum(n * n for n in range({N_STEPS}))
most_seconds = {PATIENCE} * (time.process_time() - begun)
paths = [Path(path) for path in sys.argv[1:]]
read_in_every_way(paths[0])   # what is loaded when it is first needed counts before
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + {SPARE_BYTES},) * 2)
for path in paths:
    begun = time.process_time()
    read_in_every_way(path)
    assert time.process_time() - begun < most_seconds, path
    try:
        SnapshotStore(path).read()
        outcome = "read"
    except StorageError:
        outcome = "refused"
    print(json.dumps([path.name, outcome, len(SnapshotStore(path).verify())]))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of a process, as Linux has them")


def forge(run, change):
    path = RunDirectory(run).manifest_path(0)
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(forged(document))


def leaf_of(document, path="algo/zeros"):
    (leaf,) = (leaf for leaf in document["leaves"] if leaf["path"] == path)
    return leaf


def add_chunk(run, document, data, *, said=None, codec="zstd"):
    """The index of a chunk in a pack of its own."""
    small = zstandard.ZstdCompressor(level=1).compress(data) if codec == "zstd" else data
    name = blake3(data).hexdigest()
    (chunk,) = packs.write_pack(
        RunDirectory(run), Disk(), [StoredChunk(name, len(data) if said is None else said, codec, small)]
    )
    document["chunks"].append({field: getattr(chunk, field) for field in chunk.__struct_fields__})
    return len(document["chunks"]) - 1


def says(**fields):
    """A run in which one leaf says something else."""
    return lambda run: forge(run, lambda document: leaf_of(document).update(fields))


def frame_of_a_gigabyte(run):
    def change(document):
        index = add_chunk(run, document, bytes(1 << 30), said=MIB)
        leaf_of(document)["pieces"] = [[index, 0, MIB]]

    forge(run, change)


def a_leaf_of_many_pieces_of_one_chunk(run):
    def change(document):
        index = add_chunk(run, document, bytes(MIB))
        leaf_of(document).update(pieces=[[index, 0, MIB]] * 65_536, shape=[1 << 33])

    forge(run, change)


def a_leaf_of_a_gigabyte_as_a_writer_writes_it(run):
    def change(document):
        first = add_chunk(run, document, bytes(MIB))
        document["chunks"] += [document["chunks"][first]] * 1023
        pieces = [[first + n, 0, MIB] for n in range(1024)]
        leaf_of(document).update(pieces=pieces, shape=[1 << 27], hash=blake3(bytes(1 << 30)).hexdigest())

    forge(run, change)


def a_byte_of_two_chunks_in_turn(run):
    """A hundred billion bytes to read, of two chunks of a megabyte, for a leaf of a hundred thousand bytes."""

    def change(document):
        pair = [add_chunk(run, document, bytes([n]) * MIB) for n in range(2)]
        pieces = [[pair[n % 2], 0, 1] for n in range(100_000)]
        leaf_of(document).update(dtype="|u1", shape=[100_000], pieces=pieces, hash=blake3(b"\0\1" * 50_000).hexdigest())

    forge(run, change)


def eighty_gigabytes_in_many_leaves(run):
    """None of which is too large for itself."""

    def change(document):
        index = add_chunk(run, document, bytes(MIB))
        pieces, name = [[index, 0, MIB]] * 64, blake3(bytes(64 * MIB)).hexdigest()
        document["leaves"] += [
            {"path": f"episodes/{n:04}", "dtype": "<f8", "shape": [1 << 23], "hash": name, "pieces": pieces}
            for n in range(1280)
        ]

    forge(run, change)


def paths_of_a_hundred_long_keys(run):
    def change(document):
        document["leaves"] += [
            {**leaf_of(document), "path": "/".join([f"{n:04}", *["x" * 36] * 98])} for n in range(2000)
        ]

    forge(run, change)


def thirty_thousand_leaves(run):
    """As a user may have them."""

    def change(document):
        small = leaf_of(document, "counters/epoch")
        document["leaves"] += [{**small, "path": f"many/{n:05}"} for n in range(30_000)]
        document["leaves"].sort(key=lambda leaf: leaf["path"])

    forge(run, change)


def a_scalar(text):
    def make(run):
        def change(document):
            index = add_chunk(run, document, text.encode(), codec="raw")
            pieces = [[index, 0, len(text)]]
            leaf_of(document, "counters/epoch").update(pieces=pieces, hash=blake3(text.encode()).hexdigest())

        forge(run, change)

    return make


def a_long(name):
    def make(run):
        (file,) = (file for file in run.glob(name) if file.is_file())
        with file.open("r+b") as opened:
            opened.truncate(4 * SPARE_BYTES)

    return make


REFUSED = {
    "frame of a gigabyte": frame_of_a_gigabyte,
    "many pieces of one chunk": a_leaf_of_many_pieces_of_one_chunk,
    "a gigabyte of zeros": a_leaf_of_a_gigabyte_as_a_writer_writes_it,
    **{
        f"shape {n}": says(shape=shape)
        for n, shape in enumerate([[1 << 60], [0, 1 << 62], [1] * 100, [-1], [1 << 31, 1 << 31]])
    },
    **{
        f"dtype {n}": says(dtype=dtype)
        for n, dtype in enumerate(["<U999999999", "<f8" + "," * 100_000, "<" * 100_000, "(" * 1000, ">f8", "O"])
    },
    "a byte of two chunks in turn": a_byte_of_two_chunks_in_turn,
    "eighty gigabytes in many leaves": eighty_gigabytes_in_many_leaves,
    "paths of a hundred long keys": paths_of_a_hundred_long_keys,
    "a million axes": says(shape=[1] * 1_000_000),
    "axes of thousands of digits": says(shape=[int("9" * 4000)] * 1000),
    "ten thousand keys": says(path="/".join(["a"] * 10_000)),
    "a path twice": says(path="algo/steady"),
    "a leaf that is a folder": says(path="algo"),
    "a leaf in a leaf": says(path="algo/steady/below"),
    "an unprintable key": says(path="algo/\x1b[2J"),
    "an empty key": says(path="algo//zeros"),
    **{
        f"scalar {n}": a_scalar(text)
        for n, text in enumerate(["[" * 10_000 + "]" * 10_000, '"x"', "9" * 100_000, "1e400", "true", "1.0", "{}", ""])
    },
    "a long manifest": a_long("snapshots/000000.json"),
    "a long recipe": a_long("recipe"),
    "long events": a_long("events.jsonl"),
}
READ = {
    "thirty thousand leaves": thirty_thousand_leaves,
    "long metrics": a_long("metrics.jsonl"),
    "a long run.json": a_long("run.json"),
    "a long pack": a_long("packs/*/*"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """How each run fared, and the number of problems that verify names."""
    folder = tmp_path_factory.mktemp("claims")
    paths = [written(folder / name, [0]) for name in ("whole", *REFUSED, *READ)]
    for path in paths[1:]:
        (REFUSED | READ)[path.name](path)
    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, paths)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: (outcome, n) for name, outcome, n in map(json.loads, done.stdout.splitlines())}


def test_a_whole_run_is_read(outcomes):
    assert outcomes["whole"] == ("read", 0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(outcomes, name):
    outcome, n_problems = outcomes[name]
    assert outcome == "refused"
    assert n_problems > 0


@pytest.mark.parametrize("name", READ)
def test_what_the_state_does_not_need_does_not_keep_it_from_being_read(outcomes, name):
    outcome, n_problems = outcomes[name]
    assert outcome == "read"
    assert n_problems > 0 or name in {
        "a long pack",
        "thirty thousand leaves",
    }  # what no manifest names is of no concern
