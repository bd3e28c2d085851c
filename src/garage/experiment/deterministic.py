"""The seed of a process, as a script sets it."""

import logging

from garage import process
from garage.core.streams import Streams
from garage.recording.console import console

logger = logging.getLogger(__name__)


def set_seed(seed: int) -> None:
    """Set the seed of the experiments of this process, and seed its generators with it.

    Those are ``random``, NumPy's legacy generator, PyTorch's and TensorFlow's. A framework that is imported later
    is seeded when its folder of garage is imported.

    Args:
        seed: any integer of at least 0.

    Raises:
        ArgumentError: it is not.
    """
    seed = Streams(seed).seed
    with console():
        logger.info("Setting seed to %d", seed)
    process.set_process_seed(seed)
    process.import_loaded_frameworks()
    process.seed_generators(seed)
