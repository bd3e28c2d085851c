"""Randomness as a function of (seed, path): addressed, never advanced.

A run's random numbers are not a sequence that has a position; each use has an address, and the numbers
at an address are the same on any machine, in any process and in any order. So there is no generator
state to save, a lost worker's work can be done again elsewhere with the same result, and the number of
workers cannot change a run.

This is format 1 of the streams. It is described with test vectors in ``docs/streams-format.md`` and is
kept for ever. Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import Self, TypeAlias

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from garage.core.types import Array
from garage.errors import ArgumentError
from garage.kernels import streams as kernels

PathElement: TypeAlias = int | str

_PERSON = b"garage-streams-1"
_UNUSED_BITS = np.uint64(11)
_UNIFORM_STEP = np.float64(2.0**-53)


class Streams:
    """The random numbers of one run, addressed by path.

    Args:
        seed: the run's seed, any integer of at least 0.
    """

    __slots__ = ("_hash", "path", "seed")

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            msg = f"A seed must be an integer of at least 0, got {seed!r}. For example: set_seed(1)."
            raise ArgumentError(msg)
        self.seed = int(seed)
        self.path: tuple[PathElement, ...] = ()
        self._hash = hashlib.blake2b(_encode(self.seed), digest_size=16, person=_PERSON)

    def at(self, *path: PathElement) -> Self:
        """The same streams with ``path`` put in front of every path asked for."""
        child = object.__new__(type(self))
        child.seed = self.seed
        child.path = (*self.path, *path)
        child._hash = self._hash.copy()  # hashing a prefix once is what makes a path cheap
        for element in path:
            child._hash.update(_encode(element))
        return child

    def key(self, *path: PathElement) -> bytes:
        """The 16 bytes that stand for (seed, path)."""
        digest = self._hash.copy()
        for element in path:
            digest.update(_encode(element))
        return digest.digest()

    def generator(self, *path: PathElement) -> np.random.Generator:
        """A generator at the beginning of the stream of ``path``; the same one at every call."""
        return np.random.Generator(np.random.Philox(_Key(self.key(*path))))  # type: ignore[arg-type] # the stub knows SeedSequence only

    def world_seed(self, *path: PathElement) -> int:
        """A seed for somebody else's generator, such as ``gymnasium.Env.reset``: in [0, 2³¹)."""
        return int.from_bytes(self.key(*path)[:4], "little") >> 1

    def __reduce__(self) -> tuple[object, ...]:
        return _streams_at, (self.seed, self.path)

    def __repr__(self) -> str:
        return f"Streams({self.seed}).at{self.path!r}"


def uniforms(generator: np.random.Generator, n: int) -> Array:
    """The next ``n`` uniforms of a generator of ours, float64 in [0, 1): ``raw >> 11`` times 2⁻⁵³."""
    raw: Array = np.asarray(generator.bit_generator.random_raw(n), np.uint64)
    np.right_shift(raw, _UNUSED_BITS, raw)
    return raw * _UNIFORM_STEP


def first_uniforms(keys: Sequence[bytes], n: int) -> Array:
    """What `uniforms` draws from new generators of k keys, ``[k, n]``: the same bits, much sooner."""
    return kernels.uniforms(b"".join(keys), n)


class _Key(ISeedSequence):
    """Hands Philox its key as it is; ``Philox(key=...)`` takes twice as long, for entropy that it throws away."""

    def __init__(self, key: bytes) -> None:
        self._words = np.frombuffer(key, "<u8")

    def generate_state(self, n_words: int, dtype: object = np.uint32) -> Array:
        """The two 64-bit words that Philox asks for."""
        if n_words != self._words.size or (dtype is not np.uint64 and np.dtype(dtype) != np.uint64):  # type: ignore[call-overload] # any dtype-like
            msg = f"A stream's key has 2 words of 64 bits, this NumPy asked for {n_words} of {dtype}. Please report it."
            raise ArgumentError(msg)
        return self._words


def _encode(element: PathElement) -> bytes:
    """One path element: a type tag, the payload's length in 8 bytes little-endian, the payload."""
    if type(element) is int:  # nearly always, and the quickest to ask
        return _encode_integer(element)
    if isinstance(element, str):
        return _tagged(b"s", element.encode())
    if isinstance(element, int | np.integer) and not isinstance(element, bool):
        return _encode_integer(int(element))
    msg = f"A path of random streams is made of str and int, got {element!r} of type {type(element).__name__}."
    raise ArgumentError(msg)


@functools.lru_cache(maxsize=4096)
def _encode_integer(number: int) -> bytes:
    return _tagged(b"i", number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True))


def _tagged(tag: bytes, payload: bytes) -> bytes:
    return tag + len(payload).to_bytes(8, "little") + payload


def _streams_at(seed: int, path: tuple[PathElement, ...]) -> Streams:
    return Streams(seed).at(*path)
