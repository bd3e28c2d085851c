"""Many snapshots in one run: listing, restoring the last and pruning grow with the manifests, not with the bytes kept.

Runs of 100, 300 and 1,000 snapshots (mode ``all``), each with 20 KB that no other has, and one of 300 with 25 times as
much in each. Prints milliseconds, medians of several; what pruning would do is planned with all that it reads, and one
real pruning, which keeps the last, is timed too.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import IO

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from snapshot import INFO, capture, seconds

from garage.storage.disk import Disk
from garage.storage.prune import Keep, prune
from garage.storage.retention import Retention
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore
from garage.storage.writer import RunWriter

CASES = ((100, 20_000), (300, 20_000), (1000, 20_000), (300, 500_000))


class QuickDisk(Disk):
    """Does not wait for the device; reading is what is measured."""

    def sync(self, file: IO[bytes]) -> None:
        """Hand it to the system."""
        file.flush()

    def sync_folder(self, path: Path) -> None:
        """Nothing."""


def written(path: Path, n_snapshots: int, n_bytes: int) -> float:
    """A run of so many snapshots; the median seconds of its last commits."""
    generator, times = np.random.default_rng(1), []
    retention = Retention("all")
    writer = RunWriter(INFO, path, retention=retention, recipe=None, recipe_problem="none", disk=QuickDisk())
    with contextlib.closing(writer):
        for epoch in range(n_snapshots):
            state = {"algo": {"policy": {"theta": generator.standard_normal(n_bytes // 8)}}}
            begun = time.perf_counter()
            writer.commit(capture(epoch, state))
            times.append(time.perf_counter() - begun)
    return statistics.median(times[-20:])


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for index, (n_snapshots, n_bytes) in enumerate(CASES):
            path = Path(name) / f"run{index}"
            found = {"commit": [written(path, n_snapshots, n_bytes)]}
            store, directory = SnapshotStore(path), RunDirectory(path)
            found["list"] = [seconds(store.epochs) for _ in range(given.rounds)]
            found["restore"] = [seconds(store.read) for _ in range(given.rounds)]
            forget = partial(prune, directory, Keep.of(["last"]), disk=QuickDisk())
            found["plan"] = [seconds(partial(forget, dry_run=True)) for _ in range(given.rounds)]
            found["prune"] = [seconds(forget)]
            cells = [f"{key} {statistics.median(values) * 1e3:8.1f} ms" for key, values in found.items()]
            print(f"{n_snapshots:5} snapshots of {n_bytes:7,} bytes: {'  '.join(cells)}", flush=True)
            report.append({"snapshots": n_snapshots, "bytes": n_bytes, "seconds": found})
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
