"""A process of ``garage sweep``: ``garage run`` that is stopped by whoever started it, and by nobody else.

The first argument is a pipe's reading end; the others are those of ``garage``. Each byte of the pipe, and its end
unless a byte came before, stops the run as a signal does. Signals themselves are left to the sweep: those that are
sent to all processes of a job would otherwise arrive twice, and the second one drops the epoch.
"""

import os
import signal
import sys
import threading
from types import FrameType

from garage.cli.main import garage

_STOPS = signal.SIGUSR2
_LEFT_TO_THE_SWEEP = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def main() -> None:
    """Run ``garage`` with all arguments but the first."""
    pipe = int(sys.argv[1])
    for number in _LEFT_TO_THE_SWEEP:
        signal.signal(number, _leave_it)  # an ignored one would be ignored by what the experiment starts, too
    threading.Thread(target=_obey, args=(pipe,), name="garage sweep", daemon=True).start()
    garage(sys.argv[2:], prog_name="garage")


def _obey(pipe: int) -> None:
    n_orders = 0
    while order := os.read(pipe, 1):
        n_orders += len(order)
        os.kill(os.getpid(), _STOPS)
    if not n_orders:
        os.kill(os.getpid(), _STOPS)


def _leave_it(number: int, frame: FrameType | None) -> None:
    pass


if __name__ == "__main__":
    main()
