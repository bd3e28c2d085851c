"""``garage chaos`` names what a resumed process does not have, and has nothing to say of what goes on exactly."""

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.conftest import COMMAND
from docs.pages import ROOT, blocks
from garage.experiment.chaos.moments import Line, Moment, moments, n_epochs

SAMPLES = Path(__file__).with_name("chaos_samples.py")
ALGORITHMS = Path(__file__).with_name("chaos_algorithms.py")
NAMES = {
    "numpy": "algo.generator",
    "python": "algo.rng",
    "counter": "algo.n_epochs",
    "list": "algo.sizes",
    "schedule": "algo.schedule.position",
    "global": "chaos_samples.n_calls",
    "class": "Search.n_made",
    "closure": "algo.step.n",
    "iterator": "algo.ticks",
    "generator": "algo.halves",
    "default": "Search.size_default.seen",
    "batch": "algo.batch",
}
"""The attribute that each kind of hidden state is found in."""
EQUAL, WRONG_USAGE, DIFFERENT = 0, 2, 7


@pytest.fixture
def chaos(tmp_path):
    """The command, in an empty folder that it has to leave empty."""

    def run(target, *words, code):
        done = subprocess.run(
            [*COMMAND, "chaos", str(target), *map(str, words)],
            cwd=tmp_path, env=os.environ | {"PYTHONWARNINGS": "error"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert list(tmp_path.iterdir()) == []
        return done.stdout + done.stderr

    return run


def not_restored(said):
    """Paths of the attributes that it says were not restored."""
    _, _, listed = said.partition("Not restored:\n")
    return set(re.findall(r"^  `(.+)` at epoch", listed, re.MULTILINE))


def test_several_kinds_are_named_at_once(chaos):
    said = chaos(f"{SAMPLES}:search", "--kinds", ",".join(NAMES), "--kills", 3, code=DIFFERENT)
    assert not_restored(said) == set(NAMES.values())
    assert "A whole run again is equal" in said


def test_what_goes_on_exactly_is_equal_whatever_its_snapshot_mode(chaos):
    said = chaos(f"{SAMPLES}:unseeded", "--kinds", "process,streams,unused", "--kills", 2, code=EQUAL)
    assert "It sets no seed" in said
    assert "Equal: 8 epochs" in said
    _, _, warned = said.partition("Not restored, without a difference in these epochs:\n")
    assert re.fullmatch(r"  `algo.n_unused` at epoch (\d+): \1 whole, 0 resumed\n", warned)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["elsewhere"], WRONG_USAGE, "Give the function's ctxt to its trainer: Trainer(ctxt)."),
        (["failing"], 1, "RuntimeError: the user's own\n\nThe experiment fails by itself, before anything was killed."),
        (["search", "--n-epochs", 1], WRONG_USAGE, "trains for 1 epoch, which leaves none to go on with"),
        pytest.param(
            ["without_a_trainer"], WRONG_USAGE, "has trained nothing in its ctxt's directory", marks=pytest.mark.long
        ),
        pytest.param(
            ["search", "--knds", "numpy"], WRONG_USAGE, "there is no parameter --knds", marks=pytest.mark.long
        ),
        pytest.param(["nowhere"], WRONG_USAGE, "has no experiment 'nowhere'", marks=pytest.mark.long),
    ],
)
def test_what_cannot_be_tested_is_said(chaos, words, code, message):
    name, *others = words
    assert message in chaos(f"{SAMPLES}:{name}", *others, code=code)


def test_no_run_is_killed_less_than_once(chaos):
    assert "0 is not in the range x>=1" in chaos(SAMPLES, "--kills", 0, code=WRONG_USAGE)


TEXTS = ("", "Obtaining samples", "Optimizing", "Saving snapshot...", "Saved")


@given(
    st.integers(2, 20), st.integers(1, 30), st.integers(0, 2**31), st.lists(st.floats(0.0, 9.0), min_size=1, max_size=9)
)
def test_moments_come_in_order_and_one_of_them_leaves_something_to_go_on_with(total, n, seed, gaps):
    places = [(-1, 0), *[(epoch, number) for epoch in range(total) for number in range(5)], (total, 0)]
    rng, at, lines = random.Random(seed), 0.0, []
    for epoch, number in places:
        at += rng.choice(gaps)
        lines.append(Line(at, epoch, number, TEXTS[number]))
    drawn = moments(lines, n, rng)
    assert n_epochs(lines) == total
    assert len(drawn) == n
    inside = [moment.place for moment in drawn if moment.place[0] >= 0]
    assert [epoch for epoch, _ in inside if epoch > 0] == sorted(epoch for epoch, _ in inside if epoch > 0)
    assert set(inside) <= set(places)
    assert all(moment.delay >= 0.0 for moment in drawn)
    assert len(drawn) - len(inside) == (n > 3)
    assert any(1 <= epoch <= max(1, total - 2) for epoch, _ in inside)


def test_a_moment_of_saving_is_between_its_line_and_the_next_epoch():
    lines = [Line(float(at), *place, text) for at, (place, text) in enumerate(
        [((-1, 0), ""), ((0, 0), ""), ((0, 1), "a"), ((0, 2), "Saving snapshot..."), ((1, 0), ""), ((1, 1), "a"),
         ((1, 2), "Saving snapshot..."), ((1, 3), "Saved"), ((2, 0), "")]
    )]  # fmt: skip
    drawn = {moment for seed in range(200) for moment in moments(lines, 2, random.Random(seed))}
    saving = [moment for moment in drawn if moment.place == (1, 2)]
    assert saving
    assert max(moment.delay for moment in saving) > 1.0
    assert all(moment.delay <= 2.0 for moment in saving)
    assert all(isinstance(moment, Moment) for moment in drawn)


@pytest.mark.long
@pytest.mark.parametrize("way", [[], ["--recipe"]], ids=["function", "recipe"])
@pytest.mark.parametrize("kind", [*NAMES, "torch", "world"])
def test_each_kind_is_named_alone(chaos, kind, way):
    said = chaos(f"{SAMPLES}:search", "--kinds", kind, "--kills", 4, *way, code=DIFFERENT)
    found = {"torch": {"algo.torch"}, "world": {"Tiring().n_episodes", "Tiring().n_steps"}}
    assert not_restored(said) == found.get(kind, {NAMES.get(kind)})


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("clock", "Something in it follows from no seed"),
        ("address", "Something in it follows from no seed"),
        ("sets", "it depends on the order of a set or on hash()"),
    ],
)
def test_what_differs_from_itself_is_said_to(chaos, kind, message):
    said = chaos(f"{SAMPLES}:search", "--kinds", kind, "--kills", 2, code=DIFFERENT)
    assert "It needs no kill for that" in said
    assert message in said


@pytest.mark.long
def test_metrics_alone_can_differ(chaos):
    said = chaos(f"{SAMPLES}:different_metrics", "--kills", 2, code=DIFFERENT)
    assert "All values are the same to the end; these metrics are not: Counting/Told." in said
    assert not_restored(said) == {"algo.n_told"}
    said = chaos(f"{SAMPLES}:different_metrics", "--clock", 1, "--kills", 2, code=DIFFERENT)
    assert "Only metrics do: Counting/Clock." in said


@pytest.mark.long
def test_what_is_pickled_whole_goes_on_by_its_recipe_only(chaos):
    said = chaos(f"{SAMPLES}:pickled_whole", "--kills", 2, code=DIFFERENT)
    assert "Cannot load `algo` into objects of your own" in said
    assert "add --recipe" in said
    chaos(f"{SAMPLES}:pickled_whole", "--kills", 2, "--recipe", code=EQUAL)


@pytest.mark.long
def test_kept_runs_can_be_looked_into(chaos):
    said = chaos(f"{SAMPLES}:search", "--kills", 1, "--keep", code=EQUAL)
    scratch = Path(re.search(r"The runs are kept in (.+)\.\n", said).group(1))
    assert (scratch / "whole" / "run" / "metrics.jsonl").is_file()
    assert (scratch / "killed" / "run" / "metrics.jsonl").is_file()
    shutil.rmtree(scratch)


@pytest.mark.long
def test_the_mistakes_of_the_page_are_found(tmp_path):
    page = blocks(ROOT / "docs" / "your-own-algorithm.md")
    (tmp_path / "first_cem.py").write_text(next(block.text for block in page if block.file_name == "first_cem.py"))
    done = subprocess.run(
        [*COMMAND, "chaos", "first_cem.py", "--kills", "3"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == DIFFERENT, done.stderr
    assert not_restored(done.stdout) == {"algo.generator", "algo.n_epochs", "algo.std"}


@pytest.mark.long
@pytest.mark.parametrize("way", [[], ["--recipe"]], ids=["function", "recipe"])
@pytest.mark.parametrize("fragments", ["false", "true"])
@pytest.mark.parametrize("algorithm", ["TRPO", "PPO", "VPG", "NPG"])
def test_our_own_algorithms_go_on_exactly(chaos, algorithm, fragments, way):
    words = ["--algorithm", algorithm, "--fragments", fragments]
    assert "Not restored" not in chaos(ALGORITHMS, *words, *way, "--kills", 5, code=EQUAL)


@pytest.mark.long
@pytest.mark.parametrize("way", [[], ["--recipe"]], ids=["function", "recipe"])
@pytest.mark.parametrize("port", ["torch", "tf"])
@pytest.mark.parametrize("world", ["CartPole-v1", "Pendulum-v1"])
def test_our_own_algorithms_go_on_exactly_in_a_framework(chaos, world, port, way):
    words = ["--algorithm", "PPO", "--port", port, "--world", world, "--fragments", "true", "--n-epochs", 4]
    assert "Not restored" not in chaos(ALGORITHMS, *words, *way, "--kills", 3, code=EQUAL)
