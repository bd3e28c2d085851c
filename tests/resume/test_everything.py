"""Every algorithm in every port and kind of world, in whole episodes and in fragments: killed, resumed, equal."""

import itertools
import random
import re
from pathlib import Path

import pytest

from resume.conftest import KILLED, Worker, assert_clean, outcome
from resume.experiments import ALGORITHMS

PORTS = ("np", "torch", "tf")
WORLDS = ("CartPole", "Pendulum", "HalfCheetah", "Pong", "LunarLander", "a user's", "HalfCheetah of gymnasium's")
LANES = ("Acrobot", "MountainCar", "MountainCarContinuous")
SIZES = {"Pong": {"n_epochs": 3, "batch_size": 40, "n_lanes": 1, "n_groups": 1}}  # to start a game takes half a second
WAYS = ("whole episodes", "fragments")
ALL = [
    (algorithm, port, world, way)
    for algorithm, port, world, way in itertools.product(ALGORITHMS, PORTS, WORLDS + LANES, WAYS)
    if (algorithm, world) != ("Normalised", "Pong")  # whose bytes are no numbers to normalise
]
# Each algorithm in each port once, each world in each way; the other lanes in NumPy, where they have a state to keep.
COVERING = {
    (algorithm, port, WORLDS[index % 7], WAYS[index // 7 % 2])
    for index, (algorithm, port) in enumerate(itertools.product(ALGORITHMS, PORTS))
} | {("TRPO", "np", world, "fragments") for world in LANES}


@pytest.fixture(scope="module")
def workers():
    """By port, started when they are asked for."""
    started = {}

    def of(port):
        if port not in started:
            started[port] = Worker(port)
        return started[port]

    yield of
    for worker in started.values():
        worker.close()


def lines_of(job):
    """Lines that were logged; tables and what libraries print are none."""
    return sum(bool(re.match(r"\d{4}-\d\d-\d\d ", line)) for line in Path(job["log"]).read_text().splitlines())


@pytest.mark.parametrize(
    ("algorithm", "port", "world", "way"),
    [pytest.param(*case, marks=[] if case in COVERING else pytest.mark.long) for case in ALL],
)
def test_killed_and_resumed(  # noqa: PLR0917 - each parameter is one dimension of the table
    workers, job, algorithm, port, world, way
):
    worker, rng = workers(port), random.Random(f"{algorithm} {port} {world} {way}")
    options = {
        "algorithm": algorithm,
        "world": world,
        "fragments": way == "fragments",
        "value_function": algorithm in {"PPO", "Normalised"},
        "n_epochs": 4,
        **SIZES.get(world, {"batch_size": 120, "n_lanes": 4, "n_groups": 2}),
    }
    whole = job("whole", **options)
    assert worker.run(whole) == 0, Path(whole["log"]).read_text()[-3000:]
    expected = outcome(whole["directory"])
    n_lines = lines_of(whole)
    killed = job("killed", **options)
    for n, line in enumerate(sorted(rng.sample(range(n_lines // 4, n_lines), 2))):
        # A resumed process has lines of its own before it goes on, so a moment in the second half is somewhere new.
        status = worker.run(killed | {"kill_at_line": line, "perturb": n + 1, "bare": n % 2 == 1})
        assert status in {0, KILLED}, Path(killed["log"]).read_text()[-3000:]
        assert status == KILLED or n == 1
    assert worker.run(killed | {"perturb": 3, "bare": True}) == 0, Path(killed["log"]).read_text()[-3000:]
    assert outcome(killed["directory"]) == expected
    assert_clean(killed["directory"])
