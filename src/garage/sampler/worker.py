"""A worker process: runs the groups that it is given until its trainer has gone; started by `WorkerProcess`."""

import faulthandler
import fcntl
import os
import select
import signal
import socket
import sys
import time
from contextlib import closing

from garage.sampler.channel import Channel, mapped
from garage.sampler.packed import Workbench

PULSE_BYTES = 16
"""Two float64: when it began its last step, by ``time.monotonic``, and how many episodes its group had started."""

_FOR_THE_TRAINER = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def main(channel: int, lifeline: int, pulse: int) -> None:
    """Work.

    Args:
        channel: descriptor of the socket that groups come through.
        lifeline: of a socket whose other end lives as long as the trainer.
        pulse: of shared memory to say in that the work goes on.
    """
    for number in _FOR_THE_TRAINER:
        # Handlers, and not SIG_IGN, which processes that a world starts would inherit.
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)  # noqa: FBT003 - the module takes it by position only
    for descriptor in (channel, lifeline, pulse):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - see above
    _die_with(lifeline)
    del sys.argv[1:]
    faulthandler.enable()  # what ends in native code says where it was
    beats = mapped(pulse, PULSE_BYTES).cast("d")

    def progress(n_started: int) -> None:
        beats[0], beats[1] = time.monotonic(), n_started

    with closing(Workbench(progress)) as bench, closing(Channel(socket.socket(fileno=channel))) as trainer:
        os.register_at_fork(after_in_child=trainer.close)  # a world's own processes must not stand in for this one
        while True:
            try:
                group, parts = trainer.receive()
            except EOFError:
                return
            try:
                trainer.send(bench.run(group, parts))
            except ConnectionError:
                return


def _die_with(lifeline: int) -> None:
    """Let the kernel end this process when the other end is closed, whatever is being computed by then."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it was closed before the kernel was asked to say so
        sys.exit(0)
