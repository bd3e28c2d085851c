"""``train(plot=True)``: after each epoch the policy is shown in a window or, without a screen, filmed."""

import contextlib
import logging
import os
import re
import select
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from garage.core.ports import Policy
from garage.envs.rendered import PICTURES, WINDOW
from garage.errors import GarageError
from garage.experiment.arguments import TrainArgs
from garage.experiment.run_state import Run
from garage.experiment.signals import Signals
from garage.experiment.viewing.messages import Request
from garage.experiment.viewing.screen import has_screen
from garage.experiment.viewing.viewer import Viewer
from garage.recording.film import SUFFIXES
from garage.recording.whole_files import UNFINISHED
from garage.sampler.pickling import pickled_policy

logger = logging.getLogger(__name__)

FOLDER = "videos"
_MOST_STEPS, _MOST_SECONDS = 1_000, 60.0
_LOOK_SECONDS = 0.1
_PATIENCE_LOOKS = 1_800
_NAME = re.compile(r"epoch_(\d{6,})\.\w+")
_ENDS = "Plots end here, and training goes on: %s"


def film_path(run: Path, epoch: int) -> Path:
    """Where the film of an epoch's policy lies."""
    return run / FOLDER / f"epoch_{epoch:06d}.mp4"


def set_aside(run: Path, first: int) -> None:
    """Move the films of the epochs from ``first`` on to ``videos/abandoned``: those epochs are computed anew.

    So after a rewind, no film shows a policy that the run does not have any more.
    """
    folder = run / FOLDER
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        named = _NAME.fullmatch(path.name)
        if named and int(named.group(1)) >= first:
            (folder / "abandoned").mkdir(exist_ok=True)
            path.replace(folder / "abandoned" / path.name)
        elif path.name.startswith(UNFINISHED) and path.suffix in SUFFIXES:
            path.unlink()


class Plot:
    """Shows the policy after each epoch, if that is asked for, while training goes on.

    One film or one episode in the window at a time: epochs that end meanwhile are left out. What goes wrong is said
    once.

    Args:
        run: whose policy.
        args: what was asked for.
        folder: the run's.
        signals: that may come while it waits.
    """

    def __init__(self, run: Run, args: TrainArgs, folder: Path, signals: Signals) -> None:
        self._run, self._args, self._folder, self._signals = run, args, folder, signals
        self._stack = contextlib.ExitStack()
        self._viewer: Viewer | None = None
        self._left_out: list[int] = []
        self._asked = self._finished = -1
        self._pauses = args.pause_for_plot

    def __enter__(self) -> Self:
        """Start the process that shows, so that it is ready after the first epoch."""
        try:
            set_aside(self._folder, self._args.start_epoch)
        except OSError as error:
            logger.warning("Films of epochs that are computed anew stay where they are: %s", error)
        if self._args.plot:
            self._start(WINDOW if has_screen() else PICTURES)
        if self._pauses and not _is_at_terminal():
            self._pauses = False
            logger.warning("There is no terminal to press Enter at, so pause_for_plot does not wait")
        return self

    def __exit__(self, *_: object) -> None:
        """End that process, whatever it is doing."""
        self._stack.close()

    def after(self, epoch: int) -> None:
        """Show the policy after an epoch; with ``pause_for_plot``, wait for Enter."""
        if self._pauses:
            self._wait()
        else:
            self._listen(0.0)
        if self._viewer is None:
            return
        if self._viewer.is_busy:
            self._left_out.append(epoch)
            return
        self._show(epoch)
        if self._pauses and epoch + 1 < self._args.n_epochs:
            self._wait_for_enter(epoch)

    def finish(self) -> None:
        """Wait until the last epoch's policy has been shown; a signal ends the waiting, and takes nothing else."""
        last = self._args.n_epochs - 1
        try:
            self._wait()
            if self._finished != last and self._viewer is not None:
                self._left_out = [epoch for epoch in self._left_out if epoch != last]
                self._show(last)
                self._wait()
        except BaseException as error:
            if error is not self._signals.stop:
                raise

    def _start(self, mode: str) -> None:
        try:
            self._viewer = self._stack.enter_context(Viewer(self._run.env, mode))
            if mode == PICTURES:
                (self._folder / FOLDER).mkdir(exist_ok=True)
        except (GarageError, OSError) as error:
            self._give_up(str(error))

    def _show(self, epoch: int) -> None:
        if self._viewer is None:
            return
        try:
            policy = pickled_policy(_main_policy(self._run.algo.policies()))
        except GarageError as error:
            self._give_up(str(error))
            return
        left_out = f"; there was no time for {_listed(self._left_out)}" if self._left_out else ""
        path = film_path(self._folder, epoch) if self._viewer.mode == PICTURES else None
        if path is None:
            logger.info("Showing the policy of epoch %d%s", epoch, left_out)
        else:
            logger.info("Filming the policy of epoch %d to %s%s", epoch, path, left_out)
        self._left_out.clear()
        self._asked = epoch
        seed = self._run.seed  # the same start for every epoch, so that progress can be seen
        film = "" if path is None else str(path.absolute())
        self._viewer.ask(
            Request(policy=policy, seed=seed, most_steps=_MOST_STEPS, most_seconds=_MOST_SECONDS, path=film)
        )

    def _listen(self, timeout_seconds: float) -> None:
        """Take the outcome of what was shown last, if it is there in time."""
        told = None if self._viewer is None else self._viewer.answer(timeout_seconds)
        if told is None or self._viewer is None:
            return
        if not told.failed:
            self._finished = self._asked
        elif self._viewer.mode == WINDOW:
            logger.warning("There is a screen, but no window on it, so films are made instead: %s", told.failed)
            self._stack.close()
            self._start(PICTURES)
        else:
            self._give_up(told.failed)

    def _give_up(self, why: str) -> None:
        logger.warning(_ENDS, why)
        self._viewer = None
        self._stack.close()

    def _wait(self) -> None:
        """Until what is being shown is finished, for three minutes at most."""
        for _ in range(_PATIENCE_LOOKS):
            if self._viewer is None or not self._viewer.is_busy:
                return
            self._signals.check()
            self._listen(_LOOK_SECONDS)
        self._give_up(f"after three minutes, the policy of epoch {self._asked} is still being shown")

    def _wait_for_enter(self, epoch: int) -> None:
        sys.stdout.write(f"Press Enter to go on with epoch {epoch + 1}: ")
        sys.stdout.flush()
        try:
            while not select.select([sys.stdin], [], [], _LOOK_SECONDS)[0]:
                self._signals.check()
                self._listen(0.0)
        except BaseException:
            sys.stdout.write("\n")
            raise
        if not os.read(sys.stdin.fileno(), 1 << 12):  # Ctrl-D, after which the terminal begins no new line
            sys.stdout.write("\n")


def _main_policy(policies: Mapping[str, Policy]) -> Policy:
    """The one named ``policy``, or else the first."""
    return policies.get("policy") or next(iter(policies.values()))


def _is_at_terminal() -> bool:
    """Whether somebody can press Enter; None stands for a standard input that is closed."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _listed(epochs: list[int]) -> str:
    return f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
