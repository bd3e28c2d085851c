"""Small runs to write, damage and read."""

import contextlib
import json

import msgspec
import numpy as np

from garage.core import state as state_trees
from garage.storage import manifest as manifests
from garage.storage.retention import Retention
from garage.storage.run_directory import RunDirectory, RunInfo
from garage.storage.store import SnapshotStore
from garage.storage.writer import Capture, RunWriter
from storage.faulty_disk import QuickDisk

RECIPE = b"not really a pickle"
INFO = RunInfo(
    id="0123456789abcdef", name="run", created_at="2026-11-22T08:00:00.000+00:00", target=None, arguments={}, seed=1
)


def state_of(epoch, variant=0):
    """What an epoch's state is, in every run: something that changes, something that stays, one of each kind."""
    generator = np.random.default_rng([epoch, variant])
    return {
        "algo": {
            "policy": {"theta": generator.standard_normal(300).astype(np.float32), "layers": "tanh"},
            "steady": np.random.default_rng(7).standard_normal(20_000),
            "zeros": np.zeros(30_000),
            "nothing": {},
        },
        "counters": {"epoch": epoch, "rate": float("nan") if epoch == 0 else 1 / epoch, "seed": None},
        "process": {"generator": generator.integers(0, 256, 40, np.uint8)},
    }


def capture_of(epoch, *, variant=0, average_return=None, metrics=True, **extra):
    value = float(epoch) if average_return is None else average_return
    return Capture(
        epoch=epoch,
        state=state_of(epoch, variant) | extra.pop("state", {}),
        opaque=extra.pop("opaque", {"part": b"opaque %d" % epoch}),
        metrics={"Evaluation/AverageReturn": value, "Loss": float("nan")} if metrics else None,
        train_args={"n_epochs": 100},
        stats={"last_itr": epoch + 1},
        fingerprint={"python": "3"},
    )


def opened(path, mode="last", gap=1, **options):
    """A writer; the caller closes it."""
    given = {"info": INFO, "recipe": RECIPE, "recipe_problem": None, "disk": QuickDisk()}
    given |= {"retention": Retention(mode, gap)} | options
    return RunWriter(given.pop("info"), path, **given)


def written(path, epochs, mode="all", gap=1, **options):
    """A closed run of those epochs."""
    with contextlib.closing(opened(path, mode, gap, **options)) as writer:
        for epoch in epochs:
            writer.commit(capture_of(epoch))
    return path


def newest(path):
    """The newest epoch that verifies, as a trainer would restore it; None if there is none."""
    store = SnapshotStore(path)
    return store.read().manifest.epoch if store.directory.manifest_epochs() else None


def assert_holds(path, epoch, variant=0):
    """The snapshot of that epoch is the one that was committed."""
    snapshot = SnapshotStore(path).read(epoch)
    assert snapshot.manifest.epoch == epoch
    assert state_trees.differences(state_of(epoch, variant), snapshot.state) == []
    assert snapshot.opaque == {"part": b"opaque %d" % epoch}
    assert snapshot.recipe == RECIPE


def row_epochs(path):
    lines = RunDirectory(path).metrics_path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    return [json.loads(line)["epoch"] for line in lines]


def events_named(path, name):
    return [event for event in RunDirectory(path).events() if event["event"] == name]


def unfinished(path):
    return list(path.rglob(".unfinished-[0-9]*"))


def flip(path, position=None, bit=1):
    """Flip one bit of a file, in its middle if not said where."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= bit
    path.write_bytes(data)


def rewritten(path, change):
    """Change a manifest as JSON, and give it the checksum that is then right."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(checksummed(document))


def checksummed(document):
    """The bytes of a manifest whose checksum is right, whatever else is wrong."""
    document = {key: value for key, value in document.items() if key != "checksum"} | {"checksum": "0" * 64}
    text = msgspec.json.format(msgspec.json.encode(document), indent=1)
    checksum = manifests.blake3(text).hexdigest().encode()
    start = text.rindex(b'"checksum": "') + len(b'"checksum": "')
    return text[:start] + checksum + text[start + 64 :]


def files_of(path):
    """Every file's bytes and time of change."""
    return {
        file.relative_to(path): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
