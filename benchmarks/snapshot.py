"""What a snapshot costs, beside writing and reading the same bytes raw; interleaved in one process, one thread.

A tracked group of 1,000,000 HalfCheetah-sized transitions (338 bytes each), of which 10,000 are new in each snapshot,
and a small state of 5 MB in 60 arrays. Prints medians with the range and the bars that each must keep:

- save: capturing and submitting, what training waits for;
- bytes: of packs and manifest, over the bytes of the new rows;
- memory: the highest resident size while a snapshot is captured and written, less that before, over the new bytes;
- first: a whole commit of the full group, of which training waits for the capture, beside writing the same bytes into
  one file and syncing it;
- restore: reading it, beside reading the same packs raw and hashing them with BLAKE3, each in a process of its own;
  and "restore raw, huge": the same into one NumPy array, whose memory the system gives in huge pages, as a group's;
- manifest: encoding and decoding it;
- gap: the longest time that another thread is kept from running while the first snapshot is written, and in as long a
  time without.

Writes the same as JSON to ``--json``. Files go below ``--folder``, which should be on the disk that runs are on.
"""

import argparse
import contextlib
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from blake3 import blake3

from garage.core.state import copied
from garage.core.tracked import TrackedGroup
from garage.core.types import State
from garage.storage import manifest as manifests
from garage.storage.background import BackgroundWriter
from garage.storage.retention import Retention
from garage.storage.run_directory import RunInfo
from garage.storage.store import SnapshotStore
from garage.storage.writer import Capture, RunWriter

N_NEW = 10_000
COLUMNS = {
    "observations": ((17,), np.float64),
    "next_observations": ((17,), np.float64),
    "actions": ((6,), np.float64),
    "rewards": ((), np.float64),
    "terminated": ((), np.bool_),
    "truncated": ((), np.bool_),
}
INFO = RunInfo(id="0" * 16, name="run", created_at="", target=None, arguments={}, seed=1)


def rows(n: int, seed: int) -> dict[str, np.ndarray]:
    """Transitions that do not compress, as a simulator's last bits do not."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.standard_normal((n, *shape)) if dtype is np.float64 else generator.random((n, *shape)) < 0.01
        for name, (shape, dtype) in COLUMNS.items()
    }


def writer_at(path: Path) -> RunWriter:
    """A writer of a new run."""
    return RunWriter(INFO, path, retention=Retention("last"), recipe=None, recipe_problem="none")


def capture(epoch: int, state: State) -> Capture:
    """An epoch with that state."""
    return Capture(epoch, state, {}, {"x": 1.0}, {}, {}, {})


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def resident(*, highest: bool) -> int:
    """Resident bytes of this process, now or at most since `forget_highest`."""
    field = "VmHWM:" if highest else "VmRSS:"
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def forget_highest() -> None:
    """Give free memory back, and begin a new count of the highest resident size."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


class Gaps:
    """Runs beside something, and notes the longest time that it was kept from running."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self.longest = 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before = time.perf_counter()
        while not self._ended.is_set():
            now = time.perf_counter()
            self.longest = max(self.longest, now - before)
            before = now


def pack_paths(path: Path) -> list[Path]:
    """All packs of a run."""
    return [file for file in sorted((path / "packs").rglob("*")) if file.is_file()]


def write_raw(path: Path, blocks: list[bytes]) -> None:
    """The same bytes as one synced file."""
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def read_raw(path: Path) -> None:
    """All packs, read into memory that stays, and hashed."""
    held = [file.read_bytes() for file in pack_paths(path)]
    for data in held:
        blake3(data).hexdigest()


def read_raw_huge(path: Path) -> None:
    """The same, into memory of the kind that arrays have."""
    paths = pack_paths(path)
    held = np.zeros(sum(file.stat().st_size for file in paths), np.uint8)
    start = 0
    for pack in paths:
        with pack.open("rb", buffering=0) as file:
            n_bytes = file.readinto(held[start:])
        blake3(held[start : start + n_bytes]).hexdigest()
        start += n_bytes


def restore(path: Path) -> None:
    """The newest snapshot."""
    SnapshotStore(path).read()


def in_a_process(name: str, path: Path) -> float:
    """How long a function of this file takes, where no memory is at hand from before."""
    code = f"import snapshot, pathlib; print(snapshot.seconds(lambda: snapshot.{name}(pathlib.Path({str(path)!r}))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True)
    return float(done.stdout)


def whole(folder: Path, group: TrackedGroup, n_rounds: int) -> dict[str, list[float]]:
    """The first snapshot and its restoring, beside raw writing and reading."""
    names = ("first", "first capture", "first raw", "restore", "restore raw", "restore raw, huge", "gap", "gap idle")
    found: dict[str, list[float]] = {name: [] for name in names}
    blocks = [content.tobytes() for content in group.captured().contents if content is not None]
    for index in range(n_rounds):
        group.write(
            np.arange(0, len(group), group.block_rows), {"rewards": np.full(len(group.captured().blocks), index)}
        )
        raw, path = folder / f"raw{index}", folder / f"first{index}"
        found["first raw"].append(seconds(lambda raw=raw: write_raw(raw, blocks)))
        raw.unlink()
        os.sync()
        with contextlib.closing(writer_at(path)) as writer:
            begun = time.perf_counter()
            state = copied({"algo": {"replay": group}}, writer.keeps)
            found["first capture"].append(time.perf_counter() - begun)
            writer.commit(capture(0, state))
            found["first"].append(time.perf_counter() - begun)
            del state
        found["restore raw"].append(in_a_process("read_raw", path))
        found["restore raw, huge"].append(in_a_process("read_raw_huge", path))
        found["restore"].append(in_a_process("restore", path))
        with contextlib.closing(writer_at(folder / f"gap{index}")) as writer, Gaps() as gaps:
            frozen = copied({"algo": {"replay": group}}, writer.keeps)
            gaps.longest = 0.0
            writer.commit(capture(0, frozen))
        found["gap"].append(gaps.longest)
        with Gaps() as gaps:
            time.sleep(found["first"][-1])
        found["gap idle"].append(gaps.longest)
        for file in (*pack_paths(path), *pack_paths(folder / f"gap{index}")):
            file.unlink()
        os.sync()
    return found


def incremental(folder: Path, group: TrackedGroup, n_rounds: int) -> dict[str, list[float]]:
    """Snapshots of which 10,000 rows are new."""
    path = folder / "incremental"
    found: dict[str, list[float]] = {name: [] for name in ("save", "write", "bytes", "memory", "encode", "decode")}
    new_bytes = N_NEW * sum(column.row_bytes for column in group.columns)
    new_rows = [rows(N_NEW, epoch) for epoch in range(n_rounds)]
    with contextlib.closing(writer_at(path)) as writer, BackgroundWriter(writer) as saver:
        saver.submit(capture(0, copied({"algo": {"replay": group}}, writer.keeps)))
        saver.drain()
        forget_highest()
        before = resident(highest=False)
        for epoch in range(1, n_rounds + 1):
            group.write((epoch * N_NEW) % (group.capacity - N_NEW), new_rows[epoch - 1])
            packs_before = set(pack_paths(path))

            def save(epoch: int = epoch) -> None:
                saver.submit(capture(epoch, copied({"algo": {"replay": group}}, writer.keeps)))

            found["save"].append(seconds(save))
            found["write"].append(seconds(saver.drain))
            found["memory"].append((resident(highest=True) - before) / new_bytes)
            manifest_path = path / "snapshots" / f"{epoch:06d}.json"
            new_packs = [file for file in pack_paths(path) if file not in packs_before]
            n_bytes = sum(file.stat().st_size for file in (*new_packs, manifest_path))
            found["bytes"].append(n_bytes / new_bytes)
            data = manifest_path.read_bytes()
            manifest = manifests.decode(data, "it")
            found["decode"].append(seconds(lambda data=data: manifests.decode(data, "it")))
            found["encode"].append(seconds(lambda manifest=manifest: manifests.encode(manifest)))
    found["manifest bytes"] = [float(len(data))]
    return found


def small(folder: Path, n_rounds: int) -> dict[str, list[float]]:
    """A state of 5 MB in 60 arrays, all of it new each time."""
    found: dict[str, list[float]] = {"small save": [], "small write": []}
    arrays = {f"a{index:02d}": np.random.default_rng(index).standard_normal(10_900) for index in range(60)}
    with contextlib.closing(writer_at(folder / "small")) as writer, BackgroundWriter(writer) as saver:
        for epoch in range(n_rounds):
            for array in arrays.values():
                np.add(array, 1, out=array)

            def save(epoch: int = epoch) -> None:
                saver.submit(capture(epoch, copied({"algo": dict(arrays)}, writer.keeps)))

            found["small save"].append(seconds(save))
            found["small write"].append(seconds(saver.drain))
    return found


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5, help="of the first snapshot; of the others five times as many")
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    group = TrackedGroup(given.rows, COLUMNS)
    for start in range(0, given.rows, 50_000):
        group.write(start, rows(min(50_000, given.rows - start), start))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name).absolute()
        found = whole(folder, group, given.rounds)
        found |= incremental(folder, group, 5 * given.rounds)
        found |= small(folder, 5 * given.rounds)
    middle = {key: statistics.median(values) for key, values in found.items()}
    bars = [
        ("save", middle["save"] * 1e3, "ms", 6),
        ("bytes", middle["bytes"], "times the new rows", 1.25),
        ("memory", middle["memory"], "times the new rows", 2),
        ("first", middle["first"] / middle["first raw"], "times raw", 1.5),
        ("restore", middle["restore"] / middle["restore raw"], "times raw", 1.5),
        ("small save", middle["small save"] * 1e3, "ms", 5),
    ]
    for key, values in found.items():
        print(f"{key:18} {middle[key]:12.5g}   {min(values):.5g} to {max(values):.5g}   ({len(values)})")
    for key, value, unit, bar in bars:
        print(f"{key:15} {value:8.3f} {unit}, bar {bar}: {'kept' if value <= bar else 'MISSED'}")
    if given.json is not None:
        given.json.write_text(json.dumps({"rows": given.rows, "found": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
