"""This process's connection to a Ray cluster: to one that runs already, or to one that is started for it.

Ray has one connection a process, so samplers share it, and the last one to let go ends it. What was there before, the
user's own ``ray.init`` or a cluster that somebody started, is never ended.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any, NoReturn, final

from garage.errors import ArgumentError, ClusterError, DependencyError

try:
    import ray
except ModuleNotFoundError as error:
    if error.name != "ray":
        raise
    msg = 'Sampling on a Ray cluster needs Ray, which is not installed. Install it with: pip install "garage[ray]"'
    raise DependencyError(msg) from error

__all__ = ["LOCAL", "Cluster", "connect", "ray"]

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, started for this process."""

_FOR_THE_TRAINER = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_MOST_PORT = 65_535
_FOR_STARTED = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@final
class Cluster:
    """A cluster to work on; made by `connect`.

    Attributes:
        is_started: whether it was started for this process.
    """

    def __init__(self, connection: "_Connection | None") -> None:
        self._connection = connection
        self.is_started = connection is not None and connection.address == LOCAL

    @property
    def n_cpus(self) -> int:
        """Of all its nodes."""
        return int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call] # Ray's

    def close(self) -> None:
        """Let go of it; a second time, do nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.n_users -= 1
            if connection.n_users == 0:
                _Process.connection = None
                connection.end()


def connect(address: str | None, n_cpus: int, within_seconds: float) -> Cluster:
    """Attach to a cluster, or start one.

    Args:
        address: ``host:port`` of its head, ``"auto"`` for one that runs on this machine, or `LOCAL`; None for
            ``RAY_ADDRESS`` of the environment, or else `LOCAL`.
        n_cpus: of a cluster that is started.
        within_seconds: how long to wait.

    Raises:
        ArgumentError: it is no such address.
        ClusterError: it does not answer, or this process is connected to another one.
    """
    wanted = address or os.environ.get("RAY_ADDRESS") or LOCAL
    place = _place_of(wanted)
    connection = _Process.connection
    if connection is None and ray.is_initialized():
        _need_same(wanted if address else None, ray.get_runtime_context().gcs_address)
        return Cluster(None)
    if connection is None:
        _knock(place, wanted, within_seconds)
        connection = _Connection(wanted, n_cpus, within_seconds)
    else:
        _need_same(wanted, connection.address)
    connection.n_users += 1
    _Process.connection = connection
    return Cluster(connection)


class _Connection:
    """Ray in a thread of its own, which lives as long as the connection does.

    For three reasons: ``ray.init`` waits as long as it likes, it replaces the handler of SIGTERM if it is called in the
    main thread, and what it starts ends with the thread that called it.
    """

    def __init__(self, address: str, n_cpus: int, within_seconds: float) -> None:
        self.address, self.n_users = address, 0
        self._n_cpus = n_cpus
        self._error: BaseException | None = None
        self._is_answered, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="garage ray", daemon=True)
        self._thread.start()
        if not self._is_answered.wait(within_seconds):
            self._is_over.set()
            _refuse(address, f"it takes more than {within_seconds:g} s", None)
        if self._error is not None:
            _refuse(address, _reasons(self._error), self._error)
        _answer_sigterm_again()

    def end(self) -> None:
        """End it, and wait for that."""
        self._is_over.set()
        self._thread.join()

    def _live(self) -> None:
        # What it starts inherits this: a signal to all processes of a job must not end Ray before its trainer.
        signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_TRAINER)
        options: dict[str, Any] = {}
        if self.address == LOCAL:
            options = {"num_cpus": self._n_cpus, "include_dashboard": False}
        try:
            with _variables(_FOR_STARTED if self.address == LOCAL else {}), _quiet():
                ray.init(
                    address=self.address,
                    log_to_driver=False,
                    configure_logging=False,
                    **options,
                )
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asked for it
            self._error = error
        self._is_answered.set()
        self._is_over.wait()
        ray.shutdown()


def _answer_sigterm_again() -> None:
    """Put the handler back that Python knows of: Ray has put one of its own below, which aborts three seconds later."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


class _Process:
    connection: _Connection | None = None


def _place_of(address: str) -> tuple[str, int] | None:
    """Host and port, or None where Ray looks by itself.

    Raises:
        ArgumentError: it is no address.
    """
    if address in {LOCAL, "auto"}:
        return None
    host, _, port = address.rpartition(":")
    if not host or "://" in address or not port.isdecimal() or int(port) > _MOST_PORT:
        msg = (
            f"Expected a Ray cluster's address as host:port, such as 10.0.0.1:6379, 'auto' or 'local'; got {address}. "
            "Ray's client, ray://, is not supported: start the experiment on a machine of the cluster, for example by "
            "`ray job submit`."
        )
        raise ArgumentError(msg)
    return host.strip("[]"), int(port)


def _knock(place: tuple[str, int] | None, address: str, within_seconds: float) -> None:
    """Look whether anybody listens, for Ray asks for a long time.

    Raises:
        ClusterError: nobody does.
    """
    if place is not None:
        try:
            socket.create_connection(place, timeout=within_seconds).close()
        except OSError as error:
            _refuse(address, str(error), error)


def _need_same(wanted: str | None, present: str) -> None:
    if wanted not in {None, "auto", present}:
        msg = (
            f"This process is connected to the Ray cluster {present} already, and cannot be to {wanted} as well. Close "
            "what uses that one, or leave the address out."
        )
        raise ClusterError(msg)


def _refuse(address: str, reason: str, cause: BaseException | None) -> NoReturn:
    what = "No Ray cluster can be started here" if address == LOCAL else f"No Ray cluster answers at {address}"
    msg = (
        f"{what}: {reason}. `ray status --address ADDRESS` says whether one runs; `ray start --head` starts one and "
        "prints its address."
    )
    raise ClusterError(msg) from cause


def _reasons(error: BaseException | None) -> str:
    """An error and its causes, the first line of each."""
    said = []
    while error is not None:
        said.append(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}")
        error = error.__cause__ or error.__context__
    return "; because of ".join(said)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While it lasts, Ray logs errors alone; it would warn that it leaves SIGTERM to us, which is what we want."""
    theirs = logging.getLogger("ray")
    level = theirs.level
    theirs.setLevel(logging.ERROR)
    try:
        yield
    finally:
        theirs.setLevel(level)


@contextlib.contextmanager
def _variables(changes: dict[str, str]) -> Iterator[None]:
    """While it lasts, environment variables that processes started meanwhile inherit; those that are set stay."""
    added = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
