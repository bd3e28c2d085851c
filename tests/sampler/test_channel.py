"""Messages between processes of one machine."""

import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garage.sampler.channel import INLINE_BYTES, Channel

SHARED = Path("/dev/shm")  # noqa: S108 - where other samplers leave things


@pytest.fixture(scope="module")
def ends():
    made = [Channel(end) for end in socket.socketpair()]
    yield made
    for end in made:
        end.close()


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 40_000), max_size=5),
    st.sampled_from(["<f4", "<f8", "|u1", "|b1"]),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)
def test_what_is_received_is_what_was_sent(ends, sizes, dtype, rest):
    arrays = [np.arange(size).astype(dtype) for size in sizes]
    here, there = ends
    here.send((rest, arrays))
    got_rest, got = there.receive()
    assert got_rest == rest
    assert [(array.dtype, array.tobytes()) for array in got] == [(array.dtype, array.tobytes()) for array in arrays]
    for array in got:
        array[:] = 0  # it is the receiver's alone
        assert array.ctypes.data % array.itemsize == 0
    assert [array.tobytes() for array in arrays] == [np.arange(size).astype(dtype).tobytes() for size in sizes]


def test_large_messages_are_aligned_and_leave_nothing_behind(ends):
    here, there = ends
    before, shared = len(os.listdir("/proc/self/fd")), set(SHARED.iterdir())  # noqa: PTH208 - of descriptors, names suffice
    for _ in range(5):
        here.send([np.full(INLINE_BYTES + odd, odd, np.uint8) for odd in (1, 2, 3)])
        got = there.receive()
    assert [array.ctypes.data % 64 for array in got] == [0, 0, 0]
    assert [int(array.sum()) for array in got] == [odd * (INLINE_BYTES + odd) for odd in (1, 2, 3)]
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208 - see above; the last one is mapped
    assert set(SHARED.iterdir()) <= shared


def test_messages_of_the_largest_small_size_are_sent_while_nobody_reads(ends):
    here, there = ends
    here.send(np.zeros(INLINE_BYTES - 1024, np.uint8))
    assert there.receive().shape == (INLINE_BYTES - 1024,)


def test_the_end_of_the_other_side_is_said():
    here, there = (Channel(end) for end in socket.socketpair())
    here.send("the last words")
    here.finish()
    assert there.receive() == "the last words"
    with pytest.raises(EOFError):
        there.receive()
    there.close()
    with pytest.raises(ConnectionError):
        here.send("too late")
    here.close()


def test_half_a_message_is_an_end():
    end, other = socket.socketpair()
    here = Channel(end)
    other.sendall(b"\x40" + bytes(20))
    reader = threading.Thread(target=other.close)
    reader.start()
    with pytest.raises(EOFError):
        here.receive()
    reader.join()
    here.close()
