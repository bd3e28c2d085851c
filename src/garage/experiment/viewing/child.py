"""What runs in the process that shows policies; `garage.experiment.viewing.viewer` starts it.

It loads no framework of its own accord: TensorFlow and EGL crash in one process. It leaves when whoever started it has
gone.
"""

import contextlib
import ctypes
import math
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from garage.core.streams import Streams
from garage.envs.rendered import PICTURES, WINDOW, Stage
from garage.errors import GarageError, WorldError
from garage.experiment.viewing.episodes import episode
from garage.experiment.viewing.messages import Beginning, Request, Told, receive, send
from garage.recording.film import Film
from garage.sampler.pickling import register_worlds, unpickled

_NICENESS = 10
_REDRAW_SECONDS = 0.1
_LAST_FRAME_SECONDS = 0.5
_SDL_BLIND = {"dummy", "offscreen"}
_GL_LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")}
_GL_ADVICE = (
    " Without a screen, MuJoCo draws by EGL or OSMesa: install libegl1 and libgl1-mesa-dri, or libosmesa6 (their names "
    "in Debian), and leave MUJOCO_GL unset or say egl or osmesa; it is {}."
)


class Showing:
    """Shows policies in one world, one after another.

    Args:
        connection: to whoever asks.
        beginning: of which world.
    """

    def __init__(self, connection: Connection, beginning: Beginning) -> None:
        self._connection, self._beginning = connection, beginning
        self._stage: Stage | None = None

    def serve(self) -> None:
        """Answer requests.

        Raises:
            EOFError: whoever asks has gone.
        """
        while True:
            while self._stage is not None and self._beginning.mode == WINDOW:
                if self._connection.poll(_REDRAW_SECONDS):
                    break
                self._stage.redraw()  # for the window answers the desktop only while it is drawn
            send(self._connection, self._answer(receive(self._connection, Request)))

    def _answer(self, request: Request) -> Told:
        try:
            return self._shown(request)
        except EOFError:
            raise
        except GarageError as error:
            return Told(failed=str(error) + _advice())
        except Exception as error:  # noqa: BLE001 - of a world or a policy of anybody's; it is said where training is
            return Told(failed=f"{type(error).__name__}: {error}.{_advice()}")

    def _shown(self, request: Request) -> Told:
        stage = self._stage = self._stage or self._opened()
        policy = unpickled("the policy", request.policy)
        streams, returns, lengths = Streams(request.seed).at("show"), [], []
        fps = stage.fps if request.fps is None else request.fps
        ends_at = math.inf if request.most_seconds is None else time.monotonic() + request.most_seconds
        with contextlib.ExitStack() as stack:
            film = stack.enter_context(Film(Path(request.path), fps)) if request.path else None
            for index in range(request.n_episodes):
                rewards = []
                for reward in episode(
                    stage, policy, streams.at(index), stochastic=request.stochastic, most_steps=request.most_steps
                ):
                    rewards.append(reward)
                    if self._connection.poll():  # nobody asks for two things at once: it has gone
                        raise EOFError
                    if film is not None:
                        film.add(stage.picture())
                    elif len(rewards) == 1 + 1:  # the first step opens it at the latest
                        _check_window()
                    if time.monotonic() > ends_at:
                        break
                if film is not None:
                    film.hold(_LAST_FRAME_SECONDS)
                returns.append(sum(rewards))
                lengths.append(len(rewards) - 1)
        n_frames = 0 if film is None else film.n_frames
        return Told(returns=returns, lengths=lengths, n_frames=n_frames, seconds=n_frames / fps)

    def _opened(self) -> Stage:
        register_worlds(self._beginning.registrations)
        return Stage(unpickled("the world", self._beginning.env), self._beginning.mode)


def _prepare(mode: str) -> None:
    """Let worlds draw where there is no screen, and let training go first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # whoever started this process takes them, and ends it
    os.nice(_NICENESS)
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if mode == PICTURES:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        backend = _gl_backend()
        if backend is not None:
            os.environ.setdefault("MUJOCO_GL", backend)


def _gl_backend() -> str | None:
    """What draws without a screen here; None if nothing does, as far as is known."""
    for backend, names in _GL_LIBRARIES.items():
        for name in names:
            with contextlib.suppress(OSError):
                ctypes.CDLL(name)
                return backend
    return None


def _check_window() -> None:
    """Make sure that there is one: if the screen does not answer, SDL draws where nobody sees it, and says nothing.

    Raises:
        WorldError: there is none.
    """
    pygame: Any = sys.modules.get("pygame")
    if pygame is None or "SDL_VIDEODRIVER" in os.environ or not pygame.display.get_init():
        return
    driver = pygame.display.get_driver()
    if driver in _SDL_BLIND:
        msg = f"SDL found no screen at DISPLAY={os.environ.get('DISPLAY', '')!r}, and draws {driver}."
        raise WorldError(msg)


def _advice() -> str:
    return _GL_ADVICE.format(os.environ.get("MUJOCO_GL", "unset")) if "mujoco" in sys.modules else ""


def main(descriptor: int) -> None:
    """Serve until whoever started this process has gone.

    Args:
        descriptor: of the socket to them.
    """
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        beginning = receive(connection, Beginning)
        _prepare(beginning.mode)
        Showing(connection, beginning).serve()
