"""A world that paints itself without any package, and films to look into."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces

from garage.recording.film import find_ffmpeg

WIDTH, HEIGHT = 16, 12
GATE, SEEN = Path("gate"), Path("seen")
"""While the first is there, whoever renders waits; the second gets a line for what renders first."""


class Painted(gymnasium.Env):
    """Becomes brighter step by step, from black to white; five steps an episode.

    Args:
        render_mode: gymnasium's.
        fails: what goes wrong when it is rendered: ``""``, ``"raises"``, ``"dies"`` or ``"no picture"``.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium has it
    observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None, fails=""):
        self.render_mode, self.fails, self.elapsed = render_mode, fails, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.elapsed = 0
        return self.np_random.random(2).astype(np.float32), {}

    def step(self, action):
        self.elapsed += 1
        if self.render_mode == "human":
            self.render()
        return self.np_random.random(2).astype(np.float32), float(action), self.elapsed == 5, False, {}

    def render(self):
        if not SEEN.exists():
            frameworks = sorted({"torch", "tensorflow"} & sys.modules.keys())
            SEEN.write_text(f"{os.getpid()} {self.render_mode} {' '.join(frameworks)}")
        while GATE.exists():
            time.sleep(0.005)
        if self.fails == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails == "raises":
            msg = "no paint"
            raise RuntimeError(msg)
        if self.fails == "no picture":
            return "a picture"
        return np.full((HEIGHT, WIDTH, 3), 51 * self.elapsed, np.uint8)


class Hidden(Painted):
    """Has no window here."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        if render_mode == "human":
            msg = "no display"
            raise RuntimeError(msg)


def frames(path):
    """The pictures of a film, ``[n, height, width, 3]``."""
    size = subprocess.run([find_ffmpeg(), "-i", path], capture_output=True, text=True, check=False).stderr
    width, height = next(
        map(int, word.split("x"))
        for word in size.replace(",", " ").split()
        if word.count("x") == 1 and word.replace("x", "").isdigit()
    )
    command = [find_ffmpeg(), "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pixels = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


def brightness(path):
    """Of each picture of a film of a `Painted`, in steps."""
    return (frames(path).mean(axis=(1, 2, 3)) / 51).round().astype(int).tolist()
