"""Files of events as TensorBoard reads them: records of TensorFlow's TFRecord format, each of them an Event.

By hand, for the few kinds of events that a run has: tensorboardX imports PyTorch wherever that is installed, which
takes seconds and makes a run in NumPy one that PyTorch is part of; PyTorch's own writer imports TensorFlow.

Sources: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto, tensorflow/core/framework/
summary.proto; protobuf.dev, "Encoding"; RFC 3720, appendix B.4 (CRC-32C).
"""

import struct
from collections.abc import Mapping
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types of protocol buffers."""

_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = 1, 2, 3, 5, 7
"""Fields of an Event."""
_VALUE = 1
"""Of a Summary."""
_TAG, _SIMPLE_VALUE = 1, 2
"""Of a Summary's Value."""
_STATUS, _START = 1, 1
"""Of a SessionLog, and what it is at a restart."""

_VERSION = b"brain.Event:2"
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_MASK = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8


class EventFile:
    """A new file of events, which is begun with their version.

    Args:
        path: of the file; one that is there is replaced.
        at: the time of the first event, in seconds since 1970.

    Raises:
        OSError: the system refuses; from all methods.
    """

    def __init__(self, path: Path, at: float) -> None:
        self._file = path.open("wb")
        self._add(at, _bytes(_FILE_VERSION, _VERSION))

    def restart(self, at: float, step: int) -> None:
        """From here on, readers forget what they have read of ``step`` and later ones."""
        self._add(at, _int(_STEP, step) + _bytes(_SESSION_LOG, _int(_STATUS, _START)))

    def scalars(self, at: float, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve, in single precision."""
        summary = b"".join(
            _bytes(_VALUE, _bytes(_TAG, tag.encode()) + _key(_SIMPLE_VALUE, _FIXED32) + _float32(value))
            for tag, value in values.items()
        )
        self._add(at, _int(_STEP, step) + _bytes(_SUMMARY, summary))

    def flush(self) -> None:
        """Let readers see what has been written."""
        self._file.flush()

    def close(self) -> None:
        """Write out what is waiting."""
        self._file.close()

    def _add(self, at: float, content: bytes) -> None:
        event = _key(_WALL_TIME, _FIXED64) + struct.pack("<d", at) + content
        length = struct.pack("<Q", len(event))
        self._file.write(length + _masked_crc(length) + event + _masked_crc(event))


def crc32c(data: bytes) -> int:
    """The cyclic redundancy check of RFC 3720, as a 32-bit number."""
    crc = _MASK
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _MASK


def _masked_crc(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _MASK)


def _table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [(entry >> 1) ^ (_POLYNOMIAL * (entry & 1)) for entry in table]
    return table


_TABLE = _table()


def _float32(value: float) -> bytes:
    """In single precision; what is too large for it is infinite, as everywhere in TensorBoard."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _int(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; negative ones as the 64 bits of their complement."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - what seven bits hold
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
