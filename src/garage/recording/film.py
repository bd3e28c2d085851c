"""Films: frames go to an ``ffmpeg`` process, one by one, and become H.264 in an mp4, or a gif."""

import importlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from garage.core.types import Array
from garage.errors import ArgumentError, DependencyError, MismatchError, WriteError
from garage.recording.whole_files import unfinished_path

_N_AXES, _N_COLOURS = 3, 3
_MOST_GIF_FPS = 50
"""A gif counts in hundredths of a second, and what lasts less than two of them is shown more slowly."""

_ENCODINGS = {
    # Players want an even width and height, for colours are stored for two by two pixels.
    ".mp4": ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"],
    # A palette a frame: one for the whole film would keep all frames in memory.
    ".gif": [
        "-filter_complex",
        "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1",
        *["-loop", "0", "-f", "gif"],
    ],
}
SUFFIXES = tuple(_ENCODINGS)
_NO_FFMPEG = (
    'Films need ffmpeg, which is not installed. Install it with: pip install "garage[video]", or with your system\'s '
    "package manager."
)


def check_suffix(path: Path) -> None:
    """Make sure that a film can be written to a file of that name.

    Raises:
        ArgumentError: its ending is that of no format of `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        msg = f"Cannot write a film to {path}: expected a name that ends in {' or '.join(SUFFIXES)}."
        raise ArgumentError(msg)


def find_ffmpeg() -> str:
    """The program that makes films: that of the package ``imageio-ffmpeg``, or else the system's.

    Raises:
        DependencyError: there is none.
    """
    try:
        imageio_ffmpeg: Any = importlib.import_module("imageio_ffmpeg")
        name = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ModuleNotFoundError, RuntimeError):  # the latter where it was installed without a program
        name = "ffmpeg"
    found = shutil.which(name)
    if found is None:
        raise DependencyError(_NO_FFMPEG)
    return found


class Film:
    """A film that is being made; the file appears, whole, when its ``with`` block ends well.

    Args:
        path: of the file; one of that name is replaced.
        fps: frames a second.

    Raises:
        ArgumentError: the path ends in none of `SUFFIXES`, or there are no frames a second.
        DependencyError: there is no ffmpeg.
    """

    def __init__(self, path: Path, fps: float) -> None:
        check_suffix(path)
        if not 0 < fps < float("inf"):
            msg = f"fps must be a number above 0, got {fps!r}."
            raise ArgumentError(msg)
        self._path, self._unfinished = path, unfinished_path(path)
        self._fps, self._ffmpeg = fps, find_ffmpeg()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the film
        self._process: subprocess.Popen[bytes] | None = None
        self._last: Array | None = None
        self.n_frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the film, or forget it if the block ended by an error.

        Raises:
            WriteError: ffmpeg failed.
        """
        try:
            if kind is not None:
                self._abandon()
            elif self._process is not None:
                self._finish(self._process)
        finally:
            self._words.close()

    def add(self, frame: Array) -> None:
        """Add a frame ``[height, width, 3]`` uint8, of the shape of the first one.

        Raises:
            MismatchError: it is none.
            WriteError: ffmpeg failed.
        """
        is_picture = frame.dtype == np.uint8 and frame.ndim == _N_AXES and frame.shape[-1] == _N_COLOURS
        if not is_picture or (self._last is not None and frame.shape != self._last.shape):
            expected = "[height, width, 3]" if self._last is None else f"{list(self._last.shape)}, as the one before"
            msg = f"A frame is {frame.dtype}{list(frame.shape)}, expected uint8{expected}."
            raise MismatchError(msg)
        self._last = frame
        if self._process is None:
            self._process = self._start(*frame.shape[:2])
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as error:
            self._process.wait()
            raise self._failed() from error
        self.n_frames += 1

    def hold(self, seconds: float) -> None:
        """Show the last frame for longer."""
        if self._last is not None:
            for _ in range(round(seconds * self._fps)):
                self.add(self._last)

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        fps = f"{self._fps:g}"
        output = ["-r", f"{min(self._fps, _MOST_GIF_FPS):g}"] if self._path.suffix == ".gif" else []
        return subprocess.Popen(  # noqa: S603 - a program and arguments of our own
            [
                self._ffmpeg,
                *["-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"],
                *["-r", fps, "-i", "-", "-an", "-threads", "1"],
                *_ENCODINGS[self._path.suffix],
                *[*output, os.fspath(self._unfinished.absolute())],
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._words,
        )

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        process.communicate()
        if process.returncode:
            raise self._failed()
        self._unfinished.replace(self._path)

    def _abandon(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._unfinished.unlink(missing_ok=True)

    def _failed(self) -> WriteError:
        self._words.seek(0)
        said = self._words.read().decode(errors="replace").strip()
        self._unfinished.unlink(missing_ok=True)
        return WriteError(f"Cannot write {self._path}: ffmpeg says: {said or 'nothing'}.")
