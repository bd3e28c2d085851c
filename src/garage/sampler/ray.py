"""Groups run by the actors of a Ray cluster."""

import copy
import importlib.metadata
import logging
import math
import os
import platform
import sys
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np
import threadpoolctl

from garage.core import options
from garage.core.ports import Group, GroupResult
from garage.errors import ArgumentError, WorkerDiedError, WorkerRaisedError
from garage.process import n_usable_cpus
from garage.sampler.handout import MOST_DEATHS, Handout, Handouts
from garage.sampler.packed import Outcome, PackedGroup, Workbench
from garage.sampler.ray_cluster import Cluster, connect, ray

logger = logging.getLogger("garage.sampler")

_VERSION = importlib.metadata.version("garage")
_LOOK_SECONDS = 1.0
_SECONDS_TO_END = 5.0
_SECONDS_TO_SAY = 10.0
_DECIDING = ("NPY_", "OPENBLAS_", "GOTO_", "OMP_", "MKL_", "ATEN_", "ONEDNN_", "DNNL_", "TF_", "CUBLAS_", "XLA_")
_DECIDING_NAMES = ("GLIBC_TUNABLES", "PYTHONHASHSEED", "PYTHONOPTIMIZE")


@final
class RaySampler:
    """Runs groups on a Ray cluster, by actors that are started when they are needed first and kept until `close`.

    Attaches to a cluster that runs, or starts one on this machine and ends that one again. How many workers there
    are, and which of them runs which group, changes no result. Actors and nodes that are lost cost time: their groups
    are run again.

    Each actor needs garage in the version of this process, the modules that the world and the policy come from, which
    are looked for where this process finds them, and on a cluster that runs already one CPU.

    Args:
        address: ``host:port`` of the cluster's head, ``"auto"`` for one that runs on this machine, or ``"local"`` to
            start one; None for ``RAY_ADDRESS`` of the environment, or else ``"local"``.
        n_workers: how many actors, by default one for each CPU of the cluster.
        timeout_seconds: how long a worker may take over one step of its lanes, or all of them over starting. After
            that it counts as hanging. None: for ever.
        answer_seconds: how long to wait for the cluster itself.

    Raises:
        ArgumentError: an argument is of the wrong kind or out of range.
    """

    def __init__(
        self,
        address: str | None = None,
        n_workers: int | None = None,
        *,
        timeout_seconds: float | None = 600.0,
        answer_seconds: float = 60.0,
    ) -> None:
        options.check(type(self).__name__, n_workers=(n_workers, options.COUNT_OR_NONE))
        for name, seconds in (("timeout_seconds", timeout_seconds), ("answer_seconds", answer_seconds)):
            if seconds is not None and not seconds > 0.0:
                msg = f"{name} must be more than 0, got {seconds!r}."
                raise ArgumentError(msg)
        self.address, self.n_workers = address, options.plain(n_workers)
        self._timeout_seconds = math.inf if timeout_seconds is None else timeout_seconds
        self._answer_seconds = answer_seconds
        self._cluster: Cluster | None = None
        self._workers: list[_RemoteWorker] = []
        self._parts: dict[str, Any] = {}
        self._handouts: Handouts[_RemoteWorker] = Handouts()
        self._n_failed_starts = 0
        self._said: set[str] = set()

    def run(self, groups: Sequence[Group]) -> list[GroupResult]:
        """Run all groups and return their results in the same order.

        Raises:
            ClusterError: the cluster does not answer.
            UnsendableError: a world or a policy cannot be sent to a worker.
            WorkerRaisedError: a group raised something that is neither garage's nor its world's.
            WorkerDiedError: workers died or hung in the same group again and again, or none can be started.
            GarageError: what a group raised, as if it had been run here, with the worker's traceback as a cause.
        """
        if not groups:
            return []
        n_workers = self._n_workers()
        handout = self._handouts.begin(groups, n_workers)
        parts = handout.packed.parts
        # Those of the last collect are kept, so that a world is put once.
        self._parts = {name: self._parts[name] if name in self._parts else ray.put(parts[name]) for name in parts}
        begun = time.monotonic()
        try:
            while not handout.is_whole:
                self._hand_out(handout, n_workers)
                if not self._take_in(handout):
                    self._need_some(handout, time.monotonic() - begun)
                    self._listen(handout)
        except BaseException:  # whatever stopped this, those are in the middle of something
            for worker in handout.running:
                self._lose(worker)
            raise
        return handout.results

    def close(self) -> None:
        """End the actors, and the cluster if it was started by this sampler; the next `run` starts new ones."""
        workers, self._workers = self._workers, []
        if workers and ray.is_initialized():
            ended = [worker.actor.close.remote() for worker in workers if worker.is_ready]
            if ended:
                ray.wait(ended, num_returns=len(ended), timeout=_SECONDS_TO_END)
            for worker in workers:
                worker.kill()
        self._parts.clear()
        self._handouts.end()
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    @property
    def pids(self) -> list[tuple[str, int]]:
        """Of the actors that have started: node and process."""
        return [(worker.node, worker.pid) for worker in self._workers if worker.is_ready]

    def _n_workers(self) -> int:
        if self._cluster is None:
            self._cluster = connect(self.address, self.n_workers or n_usable_cpus(), self._answer_seconds)
            weakref.finalize(self, self._cluster.close)
        return self.n_workers or max(1, self._cluster.n_cpus)

    def _hand_out(self, handout: "Handout[_RemoteWorker]", n_workers: int) -> None:
        """Give a group to each worker that has none."""
        n_needed = min(n_workers, len(handout.waiting) + len(handout.running))
        is_foreign = self._cluster is not None and not self._cluster.is_started
        while len(self._workers) < n_needed:
            # On a cluster of this process's own, several samplers may share the CPUs, as processes do.
            self._workers.append(_RemoteWorker(1, _deciding_variables()) if is_foreign else _RemoteWorker(0, {}))
        for worker in self._workers:
            if handout.waiting and worker.is_ready and worker not in handout.running:
                worker.give(handout.packed.groups[handout.give(worker)], self._parts)

    def _take_in(self, handout: "Handout[_RemoteWorker]") -> bool:
        """Wait a little for workers that are ready to begin, are done or have died; whether there were any."""
        awaited = {worker.awaited: worker for worker in self._workers if worker.awaited is not None}
        ready, _ = ray.wait(list(awaited), num_returns=1, timeout=_LOOK_SECONDS)
        for reference in ready:
            worker = awaited[reference]
            if worker.is_ready:
                self._take_outcome(handout, worker)
            else:
                self._take_start(worker)
        return bool(ready)

    def _take_start(self, worker: "_RemoteWorker") -> None:
        try:
            said = worker.take_start()
        except ray.exceptions.RayError as error:
            self._lose(worker)
            self._n_failed_starts += 1
            if self._n_failed_starts == MOST_DEATHS:
                msg = (
                    f"{MOST_DEATHS} workers could not be started on the Ray cluster; the last: {_first_line(error)}. "
                    f"Each node needs garage {_VERSION} in the Python that Ray was started with."
                )
                raise WorkerDiedError(msg) from error
            return
        self._n_failed_starts = 0
        here = _computes_with()
        differing = [f"{key} {said.get(key)!r}, here {here[key]!r}" for key in here if said.get(key) != here[key]]
        if differing and worker.node not in self._said:
            self._said.add(worker.node)
            logger.warning(
                "The worker on %s computes with %s. The same bits are promised for equal versions and kinds of CPU; in "
                "portable mode, for any x86-64-v3 CPU",
                worker.node,
                "; ".join(differing),
            )

    def _take_outcome(self, handout: "Handout[_RemoteWorker]", worker: "_RemoteWorker") -> None:
        try:
            outcome = worker.take_outcome()
        except ray.exceptions.RayTaskError as error:
            msg = f"A worker on {worker.node} failed outside of its group: {error}"
            raise WorkerRaisedError(msg) from error
        except ray.exceptions.RayError as error:
            self._lose(worker)
            handout.bury(worker, f"on {worker.node} was lost ({_first_line(error)})", None)
        else:
            handout.accept(worker, outcome)

    def _need_some(self, handout: "Handout[_RemoteWorker]", seconds: float) -> None:
        """See to it that somebody works, or is about to.

        Raises:
            WorkerDiedError: nobody is for too long.
        """
        if handout.running:
            return
        resources: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call] # Ray's
        free, wanted = resources.get("CPU", 0.0), len(self._workers)
        if seconds > self._timeout_seconds:
            msg = (
                f"None of {wanted} workers has started on the Ray cluster within {self._timeout_seconds:g} s: each "
                f"needs one CPU, and {free:g} are free. `ray status` says who has the others."
            )
            raise WorkerDiedError(msg)
        if seconds > _SECONDS_TO_SAY and "waiting" not in self._said:
            self._said.add("waiting")
            logger.info("Waiting for the Ray cluster to start %d workers; %g CPUs are free", wanted, free)

    def _listen(self, handout: "Handout[_RemoteWorker]") -> None:
        """Hear whether workers go on, and give up those that do not."""
        for worker in list(handout.running):
            worker.listen()
            if time.monotonic() - worker.last_step > self._timeout_seconds:
                self._lose(worker)
                how = f"on {worker.node} took more than {self._timeout_seconds:g} s over a step, and was killed"
                handout.bury(worker, how, worker.n_started)

    def _lose(self, worker: "_RemoteWorker") -> None:
        self._workers.remove(worker)
        worker.kill()


class _RemoteWorker:
    """An actor, as its trainer sees it.

    Attributes:
        awaited: what it has been asked for and not brought yet.
        is_ready: whether it has started.
        last_step: when it began the last step of its lanes, as far as is known, by ``time.monotonic``.
        n_started: how many episodes its group had started by then.
    """

    def __init__(self, n_cpus: int, variables: Mapping[str, str]) -> None:
        settings: dict[str, Any] = {"runtime_env": {"env_vars": dict(variables)}} if variables else {}
        # Of a group of its own, `pulse` answers while `run` is running.
        remote: Any = ray.remote  # its stub knows no concurrency_groups
        kind = remote(num_cpus=n_cpus, max_restarts=0, concurrency_groups={"pulse": 1}, **settings)(_Worker)
        self.actor = kind.remote(sys.path, str(Path.cwd()), _VERSION)
        self.awaited: Any = self.actor.start.remote()
        self.node, self.pid = "a node", 0
        self.is_ready = False
        self._pulse: Any = None
        self.last_step, self.n_started = time.monotonic(), 0

    def take_start(self) -> dict[str, str]:
        """What it computes with, once it has started."""
        self.node, self.pid, said = ray.get(self.awaited)
        self.awaited, self.is_ready = None, True
        return dict(said)

    def give(self, group: PackedGroup, parts: Mapping[str, Any]) -> None:
        """Let it run a group whose parts have been put."""
        self.last_step, self.n_started, self._pulse = time.monotonic(), 0, None
        names = (group.env, group.policy, group.registrations)
        self.awaited = self.actor.run.remote(group, {name: parts[name] for name in names})

    def take_outcome(self) -> Outcome:
        """What became of its group."""
        awaited, self.awaited = self.awaited, None
        # Copied, for Ray's memory is read-only and goes when the cluster does.
        outcome: Outcome = copy.deepcopy(ray.get(awaited))
        return outcome

    def listen(self) -> None:
        """Ask how it gets on, or hear what it has answered to that."""
        if self._pulse is None:
            self._pulse = self.actor.pulse.remote()
        elif ray.wait([self._pulse], timeout=0)[0]:
            with suppress(ray.exceptions.RayError):  # it has died, which its outcome says
                seconds, n_started = ray.get(self._pulse)
                self.last_step, self.n_started = max(self.last_step, time.monotonic() - seconds), n_started
            self._pulse = None

    def kill(self) -> None:
        """End it, if it has not ended yet."""
        ray.kill(self.actor)


class _Worker:
    """The actor itself: a bench for groups."""

    def __init__(self, path: Sequence[str], folder: str, version: str) -> None:
        if version != _VERSION:
            msg = f"This node has garage {_VERSION}, and the trainer has {version}: install that one here."
            raise ArgumentError(msg)
        sys.path.extend(place for place in path if place not in sys.path)
        with suppress(OSError):  # nodes that share no disk have no such folder, and most worlds need none
            os.chdir(folder)
        self._n_started, self._last_step = 0, time.monotonic()
        self._bench = Workbench(self._beat)

    def start(self) -> tuple[str, int, dict[str, str]]:
        """Node, process, and what it computes with."""
        return platform.node(), os.getpid(), _computes_with()

    def run(self, group: PackedGroup, parts: Mapping[str, Any]) -> Outcome:
        """Run a group."""
        self._beat(0)
        return self._bench.run(group, _Fetched(parts))

    @ray.method(concurrency_group="pulse")
    def pulse(self) -> tuple[float, int]:
        """Seconds since the last step of the lanes began, and how many episodes the group has started."""
        return time.monotonic() - self._last_step, self._n_started

    def close(self) -> None:
        """Close all lanes."""
        self._bench.close()

    def _beat(self, n_started: int) -> None:
        self._last_step, self._n_started = time.monotonic(), n_started


class _Fetched(Mapping[str, bytes]):
    """Parts that are fetched when they are asked for."""

    def __init__(self, references: Mapping[str, Any]) -> None:
        self._references = references

    def __getitem__(self, name: str) -> bytes:
        part: bytes = ray.get(self._references[name])
        return part

    def __iter__(self) -> Iterator[str]:
        return iter(self._references)

    def __len__(self) -> int:
        return len(self._references)


def _deciding_variables() -> dict[str, str]:
    """Environment variables of this process that may decide over last bits."""
    return {name: value for name, value in os.environ.items() if name.startswith(_DECIDING) or name in _DECIDING_NAMES}


def _computes_with() -> dict[str, str]:
    """What decides over last bits in this process, by name."""
    config = np.show_config(mode="dicts")
    simd: Mapping[str, Any] = dict(config["SIMD Extensions"]) if isinstance(config, dict) else {}
    blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "gymnasium": importlib.metadata.version("gymnasium"),
        "features": " ".join(sorted(simd.get("found", []))),
        "blas": " ".join(sorted({str(library.get("architecture")) for library in blas})),
    }


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
