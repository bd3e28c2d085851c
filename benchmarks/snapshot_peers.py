"""What a snapshot costs here and with others, interleaved in one process: stall, bytes and memory.

Two cases, each with arrays that change between saves:

- small: a state of 5 MB in 60 arrays, all of it new;
- replay: 1,000,000 HalfCheetah-sized transitions, of which 10,000 are new.

The peers: Stable-Baselines3, as its models and replay buffers save themselves; ``torch.save``; asynchronous saving of
torch.distributed.checkpoint and of Orbax. Each gets the same values in the arrays that it takes. Peers that are not
installed are skipped, and named. The stall is what the call that saves takes; the bytes are those of the files that it
leaves; the memory is the highest resident size until it is done, less that before. Prints medians and ranges; exits
with 1 if ours is not ahead of each peer in stall and bytes, or in bytes within the tenth from which on it compresses.
"""

import argparse
import contextlib
import importlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from snapshot import COLUMNS, N_NEW, capture, forget_highest, pack_paths, resident, rows, seconds, writer_at

from garage.core.state import copied
from garage.core.tracked import TrackedGroup
from garage.storage.background import BackgroundWriter

_LEAST_GAIN = 0.9
"""Ours compresses where it gains a tenth; who compresses more is not ahead by less than that."""


class Side(Protocol):
    """One way of saving."""

    def save(self, epoch: int) -> None:
        """What training calls, and waits for."""
        ...

    def finish(self) -> None:
        """Wait until all is on the disk."""
        ...

    def n_bytes(self, epoch: int) -> int:
        """What the save has written; it may be removed afterwards."""
        ...


class Case:
    """Values that change between saves.

    Attributes:
        arrays: by name.
        group: the same values as a tracked group, or None.
    """

    def __init__(self, n_rows: int | None) -> None:
        self.group: TrackedGroup | None = None
        if n_rows is None:
            self.arrays = {f"a{n:02d}": np.random.default_rng(n).standard_normal(10_900) for n in range(60)}
            return
        self.group = TrackedGroup(n_rows, COLUMNS)
        self.arrays = {name: np.empty((n_rows, *shape), dtype) for name, (shape, dtype) in COLUMNS.items()}
        for start in range(0, n_rows, 50_000):
            self._write(start, rows(min(50_000, n_rows - start), start))

    def change(self, epoch: int) -> None:
        """What an epoch does."""
        if self.group is None:
            for array in self.arrays.values():
                np.multiply(array, 1 + 2**-20, out=array)
        else:
            self._write((epoch * N_NEW) % (self.group.capacity - N_NEW), rows(N_NEW, epoch))

    def _write(self, start: int, new: dict[str, np.ndarray]) -> None:
        self.group.write(start, new)
        for name, values in new.items():
            self.arrays[name][start : start + len(values)] = values


class Garage:
    """Ours: the state tree, captured and written in the background."""

    def __init__(self, case: Case, folder: Path, stack: contextlib.ExitStack) -> None:
        self._case, self._path = case, folder / "garage"
        self._writer = stack.enter_context(contextlib.closing(writer_at(self._path)))
        self._saver = stack.enter_context(BackgroundWriter(self._writer))
        self._before: set[Path] = set()

    def save(self, epoch: int) -> None:
        """Capture and submit."""
        case = self._case
        state = {"algo": {"replay": case.group}} if case.group is not None else {"algo": dict(case.arrays)}
        self._saver.submit(capture(epoch, copied(state, self._writer.keeps)))

    def finish(self) -> None:
        """Wait for the background."""
        self._saver.drain()

    def n_bytes(self, epoch: int) -> int:
        """Packs that are new, and the manifest."""
        packs = set(pack_paths(self._path))
        new, self._before = packs - self._before, packs
        return sum(path.stat().st_size for path in (*new, self._path / "snapshots" / f"{epoch:06d}.json"))


class _Whole:
    """A peer that writes everything into a place of its own."""

    def __init__(self, name: str, case: Case, folder: Path) -> None:
        self._case, self._folder = case, folder / name
        self._folder.mkdir()

    def place(self, epoch: int) -> Path:
        return self._folder / str(epoch)

    def n_bytes(self, epoch: int) -> int:
        place = self.place(epoch)
        paths = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
        found = sum(path.stat().st_size for path in paths)
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        return found

    def finish(self) -> None:
        """It is done when it returns."""


class TorchSave(_Whole):
    """``torch.save`` of the tensors."""

    def __init__(self, case: Case, folder: Path, stack: contextlib.ExitStack) -> None:  # noqa: ARG002 - all are made so
        super().__init__("torch", case, folder)
        self._torch = importlib.import_module("torch")
        self._tensors = {name: self._torch.from_numpy(array) for name, array in case.arrays.items()}

    def save(self, epoch: int) -> None:
        """All of it."""
        self._torch.save(self._tensors, self.place(epoch))


class StableBaselines(_Whole):
    """A model's zip file and, in the case with a buffer, its pickle."""

    def __init__(self, case: Case, folder: Path, stack: contextlib.ExitStack) -> None:  # noqa: ARG002 - all are made so
        super().__init__("sb3", case, folder)
        spaces = importlib.import_module("gymnasium.spaces")
        torch = importlib.import_module("torch")
        self._save = importlib.import_module("stable_baselines3.common.save_util")
        self._buffer = None
        params = case.arrays
        if case.group is not None:
            buffers = importlib.import_module("stable_baselines3.common.buffers")
            seen, done = spaces.Box(-np.inf, np.inf, (17,), np.float64), spaces.Box(-1, 1, (6,))
            self._buffer = buffers.ReplayBuffer(case.group.capacity, seen, done, device="cpu")
            for name in ("observations", "next_observations", "actions"):
                getattr(self._buffer, name)[:, 0] = case.arrays[name]
            self._buffer.rewards[:, 0] = case.arrays["rewards"]
            self._buffer.pos = N_NEW
            params = {"a00": np.zeros(1)}
        self._params = {"policy": {name: torch.from_numpy(array) for name, array in params.items()}}

    def save(self, epoch: int) -> None:
        """Model, then buffer."""
        self.place(epoch).mkdir()
        self._save.save_to_zip_file(self.place(epoch) / "model.zip", {"num_timesteps": epoch}, self._params)
        if self._buffer is not None:
            self._save.save_to_pkl(self.place(epoch) / "buffer.pkl", self._buffer)


class Distributed(_Whole):
    """``torch.distributed.checkpoint.async_save``, of one process."""

    def __init__(self, case: Case, folder: Path, stack: contextlib.ExitStack) -> None:
        super().__init__("dcp", case, folder)
        torch = importlib.import_module("torch")
        self._checkpoint = importlib.import_module("torch.distributed.checkpoint")
        distributed = torch.distributed
        if not distributed.is_initialized():
            distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
            stack.callback(distributed.destroy_process_group)
        self._tensors = {name: torch.from_numpy(array) for name, array in case.arrays.items()}
        self._future: Any = None

    def save(self, epoch: int) -> None:
        """Stage, and write in the background."""
        self._future = self._checkpoint.async_save(self._tensors, checkpoint_id=str(self.place(epoch)))

    def finish(self) -> None:
        """Wait for it."""
        getattr(self._future, "upload_completion", self._future).result()


class Orbax(_Whole):
    """Orbax, asynchronously."""

    def __init__(self, case: Case, folder: Path, stack: contextlib.ExitStack) -> None:
        super().__init__("orbax", case, folder)
        library = importlib.import_module("orbax.checkpoint")
        self._saver = stack.enter_context(library.StandardCheckpointer())

    def save(self, epoch: int) -> None:
        """Copy, and write in the background."""
        self._saver.save(self.place(epoch), self._case.arrays)

    def finish(self) -> None:
        """Wait for it."""
        self._saver.wait_until_finished()


SIDES: dict[str, tuple[str, Callable[[Case, Path, contextlib.ExitStack], Side]]] = {
    "garage": ("garage", Garage),
    "torch.save": ("torch", TorchSave),
    "SB3": ("stable_baselines3", StableBaselines),
    "DCP async_save": ("torch", Distributed),
    "Orbax async": ("orbax.checkpoint", Orbax),
}


def present(module: str) -> bool:
    """Whether a peer can be imported."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def measured(case: Case, folder: Path, n_rounds: int) -> dict[str, dict[str, list[float]]]:
    """By side: stall in ms, time until all is written in ms, MB written, extra MB of memory."""
    with contextlib.ExitStack() as stack:
        folder.mkdir()
        sides = {name: make(case, folder, stack) for name, (module, make) in SIDES.items() if present(module)}
        found = {name: {key: [] for key in ("stall", "total", "bytes", "memory")} for name in sides}
        for epoch in range(n_rounds + 1):  # the first of each is not counted: ours has everything to write
            case.change(epoch)
            for name, side in sides.items():
                os.sync()
                forget_highest()
                before, begun = resident(highest=False), time.perf_counter()
                stall = seconds(lambda side=side, epoch=epoch: side.save(epoch))
                side.finish()
                total, memory = time.perf_counter() - begun, resident(highest=True) - before
                n_bytes = side.n_bytes(epoch)
                if epoch:
                    values = (stall * 1e3, total * 1e3, n_bytes / 1e6, memory / 1e6)
                    for key, value in zip(found[name], values, strict=True):
                        found[name][key].append(value)
    return found


def main() -> int:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--rounds", type=int, default=9, help="of the case of transitions; of the small one three times"
    )
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    skipped = [name for name, (module, _) in SIDES.items() if not present(module)]
    report: dict[str, Any] = {
        "machine": platform.platform(),
        "cpu_count": os.cpu_count(),
        "skipped": skipped,
        "cases": {},
    }
    behind = []
    with tempfile.TemporaryDirectory(dir=given.folder, ignore_cleanup_errors=True) as name:
        for title, n_rows, n_rounds in (("small", None, 3 * given.rounds), ("replay", given.rows, given.rounds)):
            found = measured(Case(n_rows), Path(name).absolute() / title, n_rounds)
            report["cases"][title] = dict(found)
            print(f"\n{title}: median (range) of {n_rounds}; stall and total in ms, bytes and memory in MB")
            for side, parts in found.items():
                cells = [
                    f"{key} {statistics.median(v):8.1f} ({min(v):.1f} to {max(v):.1f})" for key, v in parts.items()
                ]
                print(f"  {side:15} {'  '.join(cells)}", flush=True)
            ours = {key: statistics.median(values) for key, values in found.pop("garage").items()}
            behind += [
                f"{title}: {key} of {side}"
                for side, parts in found.items()
                for key in ("stall", "bytes")
                if statistics.median(parts[key]) < ours[key] * (_LEAST_GAIN if key == "bytes" else 1.0)
            ]
    print(f"\nskipped, not installed: {', '.join(skipped) or 'none'}")
    print(f"behind: {'; '.join(behind) or 'nowhere'}")
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main())
