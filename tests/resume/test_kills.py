"""A run that is killed at any moment and resumed ends bit for bit where an uninterrupted run ends."""

import itertools
import random
from pathlib import Path

import pytest

from resume.conftest import KILLED, assert_clean, outcome

CASES = {
    "cartpole": {"world": "CartPole", "n_lanes": 4, "batch_size": 100},
    "pendulum": {"world": "Pendulum", "n_lanes": 2, "batch_size": 400},
}
# What is written does not depend on the world, so by default one of the two is killed everywhere, the other here and
# there; the long run has all of both.
EVERYWHERE = [("cartpole", 1), ("pendulum", 7), pytest.param("pendulum", 1, marks=pytest.mark.long)]
WIDTHS = [3, 64, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 16))]
MOST_OPERATIONS = 400


def reference(worker, job, **options):
    """The outcome of the run that was never interrupted."""
    undisturbed = job("undisturbed", **options)
    assert worker.run(undisturbed) == 0, Path(undisturbed["log"]).read_text()
    assert_clean(undisturbed["directory"])
    return outcome(undisturbed["directory"])


def go_on(worker, killed, expected, n, **options):
    """Resume what was killed, and compare."""
    kills = {"kill_at_operation", "kill_at_line", "kill_after", "torn"}
    again = {key: value for key, value in killed.items() if key not in kills} | options
    assert worker.run(again | {"perturb": n, "bare": n % 2 == 0}) == 0, Path(killed["log"]).read_text()[-3000:]
    assert outcome(again["directory"]) == expected
    assert_clean(again["directory"])


@pytest.mark.parametrize(("case", "stride"), EVERYWHERE)
@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
def test_killed_at_each_operation_on_the_disk(worker, job, case, stride, torn):
    expected = reference(worker, job, **CASES[case])
    # Torn writes differ from the others in writes only, so every third operation is enough to meet each kind.
    for n in range(1, MOST_OPERATIONS, 3 * stride if torn else stride):
        killed = job(f"killed-{n}", **CASES[case], kill_at_operation=n, torn=torn)
        status = worker.run(killed)
        if status == 0:  # it has fewer operations than that
            assert n > 40
            return
        assert status == KILLED, Path(killed["log"]).read_text()
        go_on(worker, killed, expected, n)
    pytest.fail(f"still being killed at operation {MOST_OPERATIONS}")


@pytest.mark.parametrize(("case", "stride"), EVERYWHERE)
def test_killed_at_each_line_of_the_log(worker, job, case, stride):
    expected = reference(worker, job, **CASES[case])
    for n in range(1, MOST_OPERATIONS, stride):
        killed = job(f"killed-{n}", **CASES[case], kill_at_line=n)
        status = worker.run(killed)
        if status == 0:
            assert n > 60
            return
        assert status == KILLED, Path(killed["log"]).read_text()
        go_on(worker, killed, expected, n)
    pytest.fail(f"still being killed at line {MOST_OPERATIONS}")


@pytest.mark.parametrize("n_lanes", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_killed_again_and_again_at_random_times(worker, job, case, n_lanes):
    options = CASES[case] | {"n_lanes": n_lanes, "n_epochs": 8, "n_groups": 1 + n_lanes % 2, "mode": "gap_and_last"}
    expected = reference(worker, job, **options)
    rng = random.Random(f"{case}{n_lanes}")
    killed = job("killed", **options)
    for n in range(12):
        status = worker.run(killed | {"kill_after": rng.uniform(0.02, 0.5), "perturb": n, "bare": n % 3 == 0})
        assert status in {0, KILLED}, Path(killed["log"]).read_text()[-3000:]
    go_on(worker, killed, expected, 13)


def test_killed_with_environments_of_gymnasium(worker, job):
    options = {"world": "gymnasium's CartPole", "n_lanes": 3, "n_groups": 2}
    expected = reference(worker, job, **options)
    assert expected == reference(worker, job, **(options | {"world": "CartPole"}))
    for n in range(5, 100, 7):
        killed = job(f"killed-{n}", **options, kill_at_operation=n)
        if worker.run(killed) == KILLED:
            go_on(worker, killed, expected, n)


MOMENTS = ("kill_at_operation", "kill_at_line")


@pytest.mark.parametrize(
    ("framework_worker", "case", "moment", "stride"),
    [
        ("torch", "pendulum", "kill_at_operation", 17),
        ("tf", "cartpole", "kill_at_line", 29),
        *(
            pytest.param(*each, 2, marks=pytest.mark.long)
            for each in itertools.product(("torch", "tf"), CASES, MOMENTS)
        ),
    ],
    indirect=["framework_worker"],
)
def test_killed_while_learning_in_a_framework(framework_worker, job, case, moment, stride):
    """What the disk sees is the same for all of them, so some of the moments are enough."""
    options = CASES[case] | {"value_function": True}
    expected = reference(framework_worker, job, **options)
    for n in range(2, MOST_OPERATIONS, stride):
        killed = job(f"killed-{n}", **options, **{moment: n})
        status = framework_worker.run(killed)
        if status == 0:
            assert n > 40
            return
        assert status == KILLED, Path(killed["log"]).read_text()
        go_on(framework_worker, killed, expected, n)
    pytest.fail(f"still being killed at {moment} {MOST_OPERATIONS}")


@pytest.mark.parametrize("case", ["cartpole", pytest.param("pendulum", marks=pytest.mark.long)])
def test_killed_again_and_again_while_learning_in_a_framework(framework_worker, job, case):
    options = CASES[case] | {"n_epochs": 8, "n_groups": 2, "value_function": True}
    expected = reference(framework_worker, job, **options)
    rng = random.Random(case)
    killed = job("killed", **options)
    for n in range(4):
        status = framework_worker.run(killed | {"kill_after": rng.uniform(0.1, 1.5), "perturb": n, "bare": n % 3 == 0})
        assert status in {0, KILLED}, Path(killed["log"]).read_text()[-3000:]
    go_on(framework_worker, killed, expected, 7)
