"""EnvPool's turns in `mujoco.py`, run by a Python that has envpool and numpy: width, threads, steps as arguments.

Prints its version, then, for each line that it reads, steps a second.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
_HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [folder for folder in sys.path if folder != _HERE]  # where `mujoco.py` would be taken for the package

import envpool
import numpy as np

WORLD = "HalfCheetah-v5"


def main() -> None:
    """Step by a 64-64 tanh policy of random weights."""
    width, n_threads, n_steps = map(int, sys.argv[1:])
    pool = envpool.make(WORLD, env_type="gymnasium", num_envs=width, num_threads=n_threads, seed=1)
    generator = np.random.default_rng(0)
    sizes = [(17, 64), (64, 64), (64, 6)]
    layers = [generator.normal(0, size[0] ** -0.5, size).astype(np.float32) for size in sizes]
    layers[-1] *= np.float32(0.01)
    noise = generator.normal(0, 1, (n_steps, width, 6)).astype(np.float32)
    observations, _ = pool.reset()
    print(envpool.__version__, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for disturbance in noise:
            hidden = observations.astype(np.float32)
            for layer in layers[:-1]:
                hidden = np.tanh(hidden @ layer)
            observations, *_ = pool.step(np.clip(hidden @ layers[-1] + disturbance, -1, 1))
        print(width * n_steps / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
