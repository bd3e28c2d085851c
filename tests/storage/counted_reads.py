"""Packs that count what is read of them."""

import io
import os

from garage.storage import packs


class CountedReads:
    """From now on, each file of chunks that is opened adds to ``n_bytes`` and ``n_opened``."""

    def __init__(self, monkeypatch):
        self.n_bytes = self.n_opened = 0
        monkeypatch.setattr(packs, "open_file", self._opened)

    def _opened(self, path):
        counts = self
        counts.n_opened += 1

        class Raw(io.FileIO):
            def readinto(self, buffer):
                n = super().readinto(buffer)
                counts.n_bytes += n
                return n

        return io.BufferedReader(Raw(os.open(path, os.O_RDONLY), "rb"))


def stored_bytes(manifest, *paths):
    """Bytes of the chunks that hold those leaves and groups."""
    needed = {piece.chunk for leaf in manifest.leaves if leaf.path in paths for piece in leaf.pieces}
    needed |= {index for group in manifest.groups if group.path in paths for index in group.blocks}
    return sum(manifest.chunks[index].stored for index in needed)
