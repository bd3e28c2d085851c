"""Trials at work on a Ray cluster: each in a process that an actor starts on its node."""

import os
import platform
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from garage.cli.sweep_processes import STOPPED, LocalProcess
from garage.sampler.ray_cluster import connect, ray

_LOST = 1
_SECONDS_TO_END = 5.0
_PASSED_ON = ("GARAGE_", "PYTHON")


@final
class RayTrials:
    """A cluster to run trials on.

    Args:
        address: see `garage.sampler.ray_cluster.connect`.
        n_cpus: of a cluster that is started.
        answer_seconds: how long to wait for it.

    Raises:
        ClusterError: the cluster does not answer.
    """

    def __init__(self, address: str | None, n_cpus: int, answer_seconds: float = 60.0) -> None:
        self._cluster = connect(address, n_cpus, answer_seconds)

    @property
    def n_cpus(self) -> int:
        """Of the cluster."""
        return self._cluster.n_cpus

    def start(self, words: Sequence[str]) -> "RemoteProcess":
        """Start ``garage`` with these words, as soon as a CPU is free."""
        return RemoteProcess(words)

    def close(self) -> None:
        """Let go of the cluster."""
        self._cluster.close()


@final
class RemoteProcess:
    """See `garage.cli.sweep_processes.TrialProcess`."""

    def __init__(self, words: Sequence[str]) -> None:
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        passed_on.pop("GARAGE_SIGNING_KEY", None)  # others of the cluster could read it
        remote: Any = ray.remote  # its stub knows no concurrency_groups
        # Of a group of its own, `stop` is heard while `run` waits.
        self._actor = remote(num_cpus=1, max_restarts=0, concurrency_groups={"orders": 1})(_Keeper).remote()
        self._begun = self._actor.begun.remote()
        self._ended = self._actor.run.remote(list(words), str(Path.cwd()), passed_on)
        self._status: int | None = None
        self._complaint = ""

    def poll(self) -> int | None:
        """See `TrialProcess`."""
        if self._status is None and ray.wait([self._ended], timeout=0)[0]:
            try:
                self._status, self._complaint = ray.get(self._ended)
            except ray.exceptions.RayError as error:
                self._status, self._complaint = _LOST, f"The Ray cluster has lost it: {error}"
        return self._status

    def stop(self) -> None:
        """See `TrialProcess`."""
        if ray.wait([self._begun], timeout=0)[0]:
            self._actor.stop.remote()
        elif self._status is None:  # no CPU was free for it
            self._status = STOPPED

    def complaint(self) -> str:
        """See `TrialProcess`."""
        return self._complaint

    def close(self) -> None:
        """See `TrialProcess`."""
        if ray.wait([self._begun], timeout=0)[0]:
            ray.wait([self._actor.close.remote()], timeout=_SECONDS_TO_END)
        ray.kill(self._actor)


class _Keeper:
    """The actor: starts a process and keeps it. If the actor dies, the process stops by itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: LocalProcess | None = None
        self._n_stops = 0

    def run(self, words: Sequence[str], folder: str, variables: Mapping[str, str]) -> tuple[int, str]:
        """Its exit status and what it printed last."""
        if not Path(folder).is_dir():
            said = f"There is no folder {folder} on the node {platform.node()}."
            return _LOST, f"{said} Code and data have to be on a disk that all nodes share."
        with self._lock:
            process = self._process = LocalProcess(words, folder, variables)
            for _ in range(self._n_stops):
                process.stop()
        return process.wait(), process.complaint()

    @ray.method(concurrency_group="orders")
    def begun(self) -> None:
        """Answer, once there is an actor."""

    @ray.method(concurrency_group="orders")
    def stop(self) -> None:
        """Pass it on; before there is a process, remember it."""
        with self._lock:
            self._n_stops += 1
            if self._process is not None:
                self._process.stop()

    @ray.method(concurrency_group="orders")
    def close(self) -> None:
        """Kill what is left of it."""
        if self._process is not None:
            self._process.close()
