"""What a process that shows policies is asked for, and what it says."""

from multiprocessing.connection import Connection
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """The first message: of which world."""

    env: bytes
    """By `garage.sampler.pickling.pickled_env`."""
    registrations: bytes
    """By `garage.sampler.pickling.pickled_registrations`."""
    mode: str
    """`garage.envs.rendered.WINDOW` or `garage.envs.rendered.PICTURES`."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Show a policy."""

    policy: bytes
    """By `garage.sampler.pickling.pickled_policy`."""
    seed: int
    n_episodes: int = 1
    stochastic: bool = False
    """Whether actions are drawn; else they are the most likely ones."""
    most_steps: int | None = None
    """Of an episode, which is left there."""
    most_seconds: float | None = None
    """To work for, after which it ends where it is; drawing in software may take half a second a frame."""
    path: str = ""
    """Of the film; empty for a window."""
    fps: float | None = None
    """Frames a second; None for the world's own."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A request's outcome."""

    returns: list[float] = []
    """Undiscounted, of each episode."""
    lengths: list[int] = []
    """In steps."""
    n_frames: int = 0
    seconds: float = 0.0
    """Of the film."""
    failed: str = ""
    """What went wrong, in words for the user."""


def send(connection: Connection, message: msgspec.Struct) -> None:
    """Send a message."""
    connection.send_bytes(msgspec.msgpack.encode(message))


def receive(connection: Connection, kind: type[T]) -> T:
    """Wait for a message.

    Raises:
        EOFError: there is nobody at the other end any more.
    """
    return msgspec.msgpack.decode(connection.recv_bytes(), type=kind)
