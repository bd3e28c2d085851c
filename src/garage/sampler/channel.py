"""Messages between a trainer and a worker on one machine: small ones through a socket, large ones by shared memory.

Shared memory has no name: its descriptor goes through the socket, and the kernel frees it when both sides have let go
of it, however they end. So nothing is ever left over, and ``/dev/shm``, which is small in containers, is not used.
"""

import mmap
import os
import pickle
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, final

INLINE_BYTES = 1 << 16
"""Larger messages go by shared memory. A socket holds so much even while nobody reads, so sending does not wait."""

_HEADER = struct.Struct("<QQ")
_SIZE = struct.Struct("<Q")
_ALIGNMENT = 64
"""Arrays lie as they would in memory of NumPy's own."""


def shared_memory() -> int:
    """The descriptor of new, empty memory without a name."""
    if sys.platform == "linux":
        return os.memfd_create("garage")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def mapped(descriptor: int, n_bytes: int) -> memoryview:
    """Shared memory as bytes that live as long as something refers to them; the descriptor can be closed."""
    return memoryview(mmap.mmap(descriptor, n_bytes))


@final
class Channel:
    """One end.

    A message is pickled, its arrays beside the rest. Its header says how many bytes its sections take up, each padded
    to 64, and how many sections there are; their lengths follow, and then, if they are few bytes, the sections. Else
    the header brings the descriptor of memory that holds them.

    Args:
        end: a connected Unix socket, which is closed by `close`.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """Readable when there is something to receive."""
        return self._end.fileno()

    def send(self, message: object) -> None:
        """Send an object.

        Raises:
            ConnectionError: the other side has gone.
            OSError: there is no memory for it.
        """
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append)
        sections = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
        lengths = b"".join(_SIZE.pack(len(section)) for section in sections)
        n_bytes = sum(_padded(len(section)) for section in sections)
        header = _HEADER.pack(n_bytes, len(sections))
        if n_bytes <= INLINE_BYTES:
            padded = (bytes(section).ljust(_padded(len(section)), b"\0") for section in sections)
            self._end.sendall(b"".join([header, lengths, *padded]))
            return
        memory = shared_memory()
        try:
            _write(memory, sections)
            sent = socket.send_fds(self._end, [header], [memory])
        finally:
            os.close(memory)
        self._end.sendall(header[sent:] + lengths)

    def receive(self) -> Any:  # noqa: ANN401 - whatever was sent
        """Wait for an object; its arrays are writable and nobody else's.

        Raises:
            EOFError: the other side has gone.
        """
        try:
            return self._receive()
        except ConnectionError as error:
            raise EOFError from error

    def finish(self) -> None:
        """Send nothing more: the other side's `receive` raises EOFError."""
        self._end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of this end."""
        self._end.close()

    def _receive(self) -> Any:  # noqa: ANN401 - see above
        begun, descriptors, _, _ = socket.recv_fds(self._end, _HEADER.size, 1)
        try:
            header = begun + self._exactly(_HEADER.size - len(begun)) if begun else self._exactly(_HEADER.size)
            n_bytes, n_sections = _HEADER.unpack(header)
            lengths = [length for (length,) in _SIZE.iter_unpack(self._exactly(n_sections * _SIZE.size))]
            data = mapped(descriptors[0], n_bytes) if descriptors else memoryview(self._exactly(n_bytes))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        sections, start = [], 0
        for length in lengths:
            sections.append(data[start : start + length])
            start += _padded(length)
        return pickle.loads(sections[0], buffers=sections[1:])  # noqa: S301 - from a process of our own

    def _exactly(self, n_bytes: int) -> bytearray:
        data = bytearray(n_bytes)
        rest = memoryview(data)
        while rest:
            n_received = self._end.recv_into(rest)
            if not n_received:
                raise EOFError
            rest = rest[n_received:]
        return data


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


def _write(memory: int, sections: Sequence[memoryview]) -> None:
    """By writing, not through a mapping: where there is no memory left, a write fails and a mapping kills."""
    start = 0
    for section in sections:
        written = 0
        while written < len(section):
            written += os.pwrite(memory, section[written:], start + written)
        start += _padded(len(section))
    os.truncate(memory, start)
