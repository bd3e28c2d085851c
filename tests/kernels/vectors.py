"""Networks and numbers that are the same everywhere, and what all passes make of them.

``python tests/kernels/vectors.py`` prints the level that is taken, and the digests for float32 and float64.
"""

import hashlib
import itertools

import numpy as np

from garage.kernels import library
from garage.kernels.mlp import Passes

TYPES = (np.float32, np.float64)
VECTORS = [((4, 32, 32, 2), 1100), ((4, 64, 64, 1), 130), ((17, 33, 6), 1025), ((376, 64, 64, 17), 67), ((3, 2), 9)]
"""Sizes of layers, and rows."""
DIGESTS = {
    np.float32: "1d200fe385b5d9f0dab589643098f49c",
    np.float64: "bc85e34e8fd299c4f39d10345a888ab7",
}
"""Of all passes' bytes for `VECTORS`, on any machine. Another one is another format."""


def n_parameters(sizes):
    return sum((n_inputs + 1) * n_outputs for n_inputs, n_outputs in itertools.pairwise(sizes))


def draw(key, of_type, *shapes):
    """Numbers in [-1, 1]."""
    generator = np.random.Generator(np.random.Philox(key))
    arrays = [generator.integers(-(1 << 20), 1 << 20, shape, endpoint=True) for shape in shapes]
    return [(array / (1 << 20)).astype(of_type) for array in arrays]


def case(sizes, n, of_type, key=0):
    """theta, a direction, inputs, a gradient by the outputs, and one by the number."""
    n_theta = n_parameters(sizes)
    return draw(key, of_type, n_theta, n_theta, (n, sizes[0]), (sizes[-1], n), n)


def all_passes(sizes, arrays):
    """By name, what the compiled passes find."""
    theta, direction, inputs, by_outputs, by_number = arrays
    passes = Passes(sizes, inputs)
    return {
        "forward": passes.forward(theta),
        "along": passes.along(direction),
        "back": passes.back(by_outputs),
        "number_back": passes.number_back(by_number),
        "number_product": passes.number_product(direction, by_number),
    }


def digest(of_type):
    """Of what all passes find for `VECTORS`."""
    found = hashlib.blake2b(digest_size=16)
    for sizes, n in VECTORS:
        for array in all_passes(sizes, case(sizes, n, of_type)).values():
            found.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    print(library.level(), *map(digest, TYPES))
