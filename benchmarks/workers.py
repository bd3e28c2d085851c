"""What workers bring, and what they cost: 1 and 2 workers, sampling only.

* *Heavy*: a world that computes for about 1 ms a step, in Python, by a fixed number of operations (it does not sleep,
  and does not watch the clock, so two workers on one core would take as long as one). 8 groups of equal episodes. The
  samplers take turns, so that other users of the machine disturb all alike; each ratio is between neighbours. *Plain*
  are processes that do these operations and nothing else: what the machine gives a second process at the time.
* *Light*: groups that take next to no time, 8 and 64 of them; the difference by 56 is what a group costs more than in
  this process, and the rest is what a collect costs.
* *Large*: groups that bring 8 MB each; what a group of them costs more than a light one.

Prints medians and ranges, and writes JSON.
"""

import argparse
import inspect
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np
import ray
from gymnasium import spaces

from garage.core.ports import Group
from garage.core.streams import Streams
from garage.envs import GymEnv
from garage.np.policies import GaussianMLPPolicy
from garage.sampler import LocalSampler, ProcessSampler
from garage.sampler.ray import RaySampler

BAR = 1.7
N_GROUPS = 8
EPISODE_STEPS = 25
N_EPISODES = 4
LARGE = 40_000

Workers = ProcessSampler | RaySampler


def on_ray(n_workers: int) -> RaySampler:
    """On a cluster of this machine that has room for all samplers of a comparison at once."""
    if not ray.is_initialized():
        ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    return RaySampler(n_workers=n_workers)


KINDS: dict[str, Callable[[int], Workers]] = {"processes": ProcessSampler, "ray": on_ray}
"""How each kind of sampler is made with so many workers."""


class Computing(gymnasium.Env[Any, Any]):
    """Computes at each step, and returns as many numbers as it is told."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, n_operations: int, size: int) -> None:
        self.n_operations = n_operations
        self.observation_space = spaces.Box(-1, 1, (size,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - gymnasium's
        """Begin an episode of equal length."""
        super().reset(seed=seed, options=options)
        self.age = 0
        return np.zeros(self.observation_space.shape, np.float32), {}

    def step(self, action: Any) -> Any:  # noqa: ANN401 - gymnasium's
        """Compute."""
        self.age += 1
        x = compute(self.n_operations)
        reward = float(x) * float(action[0])
        return np.zeros(self.observation_space.shape, np.float32), reward, False, self.age == EPISODE_STEPS, {}


class Plain:
    """So many processes that share the operations of the heavy groups, and have nothing to do with samplers."""

    def __init__(self, n_workers: int, n_operations: int) -> None:
        n = N_GROUPS * N_EPISODES * EPISODE_STEPS * n_operations // n_workers
        code = f"import sys\n{inspect.getsource(compute)}\nfor _ in sys.stdin: print(compute({n}), flush=True)"
        command, pipe = [sys.executable, "-c", code], subprocess.PIPE
        self._processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe) for _ in range(n_workers)]

    def run(self, groups: list[Group]) -> None:  # noqa: ARG002 - as samplers have it
        """Compute once."""
        for process in self._processes:
            process.stdin.write(b"\n")  # type: ignore[union-attr] # it is a pipe
            process.stdin.flush()  # type: ignore[union-attr]
        for process in self._processes:
            process.stdout.readline()  # type: ignore[union-attr]

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.communicate()


def compute(n_operations: int) -> int:
    """So many operations of the interpreter."""
    x = 1
    for _ in range(n_operations):
        x = (x * 5 + 1) % 65_536
    return x


def operations_of(seconds: float) -> int:
    """How many operations take so long on this machine, when nobody else computes."""
    n = 2_000
    fastest = min(timed(lambda: compute(n)) for _ in range(50))
    return round(n * seconds / fastest)


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def groups_of(
    n_groups: int, n_operations: int, *, size: int = 4, n_lanes: int = 1, n_episodes: int = N_EPISODES
) -> list[Group]:
    """Groups of so many episodes each."""
    env = GymEnv(lambda: Computing(n_operations, size))
    policy = GaussianMLPPolicy(env.spec, (8,))
    policy.initialise(Streams(1).generator("policy"))
    streams = Streams(1).at("episode", "train")
    shared = {"n_lanes": n_lanes, "n_steps": None, "n_episodes": n_episodes, "mean_length": 0.0}
    rest = {"fragments": False, "carried": {}}
    return [Group(env, policy, streams, 0, 0, index, **shared, **rest) for index in range(n_groups)]


def in_turns(samplers: dict[str, Any], groups: list[Group], rounds: int) -> dict[str, list[float]]:
    """Seconds of each sampler's runs, which take turns; the first ones, which make lanes, are left out."""
    for sampler in samplers.values():
        sampler.run(groups)
        while not isinstance(sampler, LocalSampler | Plain) and len(sampler.pids) < (sampler.n_workers or 1):
            sampler.run(groups)  # for Ray starts them one after the other
    found: dict[str, list[float]] = {name: [] for name in samplers}
    for index in range(rounds):
        names = list(samplers) if index % 2 else list(samplers)[::-1]
        for name in names:
            found[name].append(timed(lambda name=name: samplers[name].run(groups)))  # type: ignore[misc] # a default
    return found


def cell(values: list[float], unit: str, digits: int = 1) -> str:
    """Median and range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


def heavy(kind: str, make: Callable[[int], Workers], rounds: int) -> dict[str, Any]:
    """How much faster two workers are than one."""
    n_operations = operations_of(1e-3)
    samplers: dict[str, Workers | LocalSampler | Plain] = {"one": make(1), "two": make(2), "here": LocalSampler()}
    samplers |= {"one, plain": Plain(1, n_operations), "two, plain": Plain(2, n_operations)}
    found = in_turns(samplers, groups_of(N_GROUPS, n_operations), rounds)
    for sampler in samplers.values():
        sampler.close()
    for name, seconds in found.items():
        print(f"{kind}, heavy, {name:>10}: {cell(seconds, 's', 3)}", flush=True)
    ratios = {}
    for words in ("", ", plain"):
        pairs = zip(found[f"one{words}"], found[f"two{words}"], strict=True)
        ratios[f"two over one{words}"] = [one / two for one, two in pairs]
    for words, values in ratios.items():
        print(
            f"{kind}, heavy, {words}: {cell(values, 'times', 2)}{'' if 'plain' in words else f', bar {BAR}'}",
            flush=True,
        )
    return {"operations": n_operations, "seconds": found, "ratios": ratios, "bar": BAR}


def light(kind: str, make: Callable[[int], Workers], rounds: int) -> dict[str, Any]:
    """What a group and a collect cost more than in this process, in microseconds."""
    report: dict[str, Any] = {}
    samplers: dict[str, Workers | LocalSampler | Plain] = {"worker": make(1), "here": LocalSampler()}
    for words, size, few, many in (("light", 4, 8, 64), ("large", LARGE, 1, 5)):
        shape = {"size": size, "n_episodes": 1 if size == 4 else 2}
        times = {n: in_turns(samplers, groups_of(n, 1, **shape), rounds) for n in (few, many)}
        more = {n: [w - h for w, h in zip(t["worker"], t["here"], strict=True)] for n, t in times.items()}
        group = [1e6 * (b - a) / (many - few) for a, b in zip(more[few], more[many], strict=True)]
        collect = [1e6 * a - few * g for a, g in zip(more[few], group, strict=True)]
        print(
            f"{kind}, {words}: a group {cell(group, 'us', 0)} more, a collect {cell(collect, 'us', 0)} more", flush=True
        )
        report[words] = {"group_us": group, "collect_us": collect, "seconds": times}
    for sampler in samplers.values():
        sampler.close()
    return report


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report: dict[str, Any] = {"machine": platform.platform(), "cpus": len(os.sched_getaffinity(0))}
    for kind in given.kinds:
        report[kind] = {"heavy": heavy(kind, KINDS[kind], given.rounds), **light(kind, KINDS[kind], given.rounds)}
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
