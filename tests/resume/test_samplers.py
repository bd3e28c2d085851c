"""Runs whose samplers change at each resume, and whose workers are killed as well: they end where others end."""

import itertools
import random
from pathlib import Path

import pytest

from resume.conftest import KILLED, Worker, assert_clean, outcome
from resume.experiments import ALGORITHMS

PORTS = ("np", "torch", "tf")
WORLDS = ("CartPole", "Pendulum", "HalfCheetah", "LunarLander", "a user's")
WAYS = ("whole episodes", "fragments")
COVERING = {("Normalised", "np", "a user's", "fragments")}
ALL = COVERING | {
    (algorithm, port, WORLDS[index % 5], WAYS[index // 5 % 2])
    for index, (algorithm, port) in enumerate(itertools.product(ALGORITHMS, PORTS))
}
FEWEST_LINES = 12


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


@pytest.mark.parametrize(
    ("algorithm", "port", "world", "way"),
    [pytest.param(*case, marks=[] if case in COVERING else pytest.mark.long) for case in sorted(ALL)],
)
def test_another_number_of_workers_at_each_resume(  # noqa: PLR0917 - each parameter is one dimension of the table
    workers, job, algorithm, port, world, way
):
    worker, rng = workers(port), random.Random(f"{algorithm} {port} {world} {way}")
    options = {
        "algorithm": algorithm,
        "world": world,
        "fragments": way == "fragments",
        "value_function": algorithm in {"PPO", "Normalised"},
        "n_epochs": 4,
        "batch_size": 120,
        "n_lanes": 4,
        "n_groups": 4,
    }
    whole = job("whole", **options)
    assert worker.run(whole) == 0, Path(whole["log"]).read_text()[-3000:]
    killed = job("killed", **options)
    for n, n_workers in enumerate((2, 3)):
        line = rng.randrange(FEWEST_LINES, 2 * FEWEST_LINES)
        status = worker.run(killed | {"workers": n_workers, "kill_at_line": line, "perturb": n, "kill_workers": 2})
        assert status == KILLED, Path(killed["log"]).read_text()[-3000:]
    n_workers = rng.choice((0, 1, 2))
    last = killed | {"workers": n_workers, "perturb": 3, "bare": True, "kill_workers": 1}
    assert worker.run(last) == 0, Path(killed["log"]).read_text()[-3000:]
    assert outcome(killed["directory"]) == outcome(whole["directory"])
    assert_clean(killed["directory"])
