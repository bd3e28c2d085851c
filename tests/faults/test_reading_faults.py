"""A system that gives a few bytes at a time, or none at the n-th try: the same values, or an error of ours."""

import errno
import io
import os

import pytest

from faults.forgeries import read_in_every_way
from garage.core.state import differences
from garage.errors import DamagedError
from garage.storage.store import SnapshotStore
from storage.sample_runs import assert_holds, state_of, written


@pytest.fixture
def run(tmp_path):
    return written(tmp_path / "run", range(3))


class Files:
    """Opens files that give at most ``at_most`` bytes a read, and refuse the n-th read."""

    def __init__(self, *, at_most=None, n=None):
        self.at_most, self.n, self.n_reads = at_most, n, 0

    def __call__(self, descriptor, mode):
        files = self

        class Raw(io.FileIO):
            def readinto(self, buffer):
                files.count()
                return super().readinto(memoryview(buffer)[: files.at_most])

            def readall(self):
                return b"".join(iter(lambda: self.read(1 << 16), b""))

            def read(self, size=-1):
                buffer = bytearray(size)
                return bytes(buffer[: self.readinto(buffer)])

        return io.BufferedReader(Raw(descriptor, mode))

    def count(self):
        self.n_reads += 1
        if self.n_reads == self.n:
            raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("at_most", [1000, 4096, 65_537])
def test_short_reads(run, monkeypatch, at_most):
    files = Files(at_most=at_most)
    monkeypatch.setattr(os, "fdopen", files)
    for epoch in range(3):
        assert_holds(run, epoch)
    assert SnapshotStore(run).verify() == []
    assert files.n_reads > 60


def test_the_nth_read_fails(run, monkeypatch):
    """Reading falls back, or says that nothing could be read; in no case does it give other values."""
    files = Files()
    monkeypatch.setattr(os, "fdopen", files)
    SnapshotStore(run).read()
    n_reads, outcomes = files.n_reads, set()
    for n in range(1, n_reads + 1):
        monkeypatch.setattr(os, "fdopen", Files(n=n))
        try:
            snapshot = SnapshotStore(run).read()
        except DamagedError as error:
            assert "Input/output error" in str(error)  # noqa: PT017 - which of the two happens depends on n
            outcomes.add("refused")
            continue
        assert differences(state_of(snapshot.manifest.epoch), snapshot.state) == []
        outcomes.add(snapshot.manifest.epoch)
        assert snapshot.manifest.epoch == 2 or "Input/output error" in "".join(snapshot.problems)
    assert outcomes >= {"refused", 1}


@pytest.mark.parametrize("n", range(1, 60, 4))
def test_every_way_of_reading_stands_a_refused_read(run, monkeypatch, n):
    monkeypatch.setattr(os, "fdopen", Files(n=n))
    read_in_every_way(run)
