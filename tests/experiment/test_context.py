"""wrap_experiment and its options: where a run writes, what its function gets, and that nothing is left behind."""

import csv
import enum
import functools
import inspect
import logging
import pickle
import random
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from experiment.parts import digests, events, kept, messages, new_trainer, rows, tiny, trained
from garage import wrap_experiment
from garage.errors import ArgumentError, WriteError
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.context import Experiment, launch, loading
from garage.experiment.deterministic import set_seed
from garage.experiment.directories import DATA
from garage.process import get_seed
from garage.storage.run_directory import RunDirectory

EXPERIMENTS = DATA / "experiment"
quick = functools.partial(wrap_experiment, archive_launch_repo=False)


def train(ctxt, seed=1, n_epochs=3):
    set_seed(seed)
    trainer = Trainer(ctxt)
    trainer.setup(*tiny())
    trainer.train(n_epochs=n_epochs, batch_size=60)
    return trainer


def test_bare_with_the_defaults():
    @wrap_experiment
    def my_run(ctxt=None, *, seed=1):
        """What it does."""
        return ctxt, seed

    ctxt, seed = my_run(seed=3)
    assert seed == 3
    assert ctxt == ExperimentContext(
        str(EXPERIMENTS / "my_run"), target=ctxt.target, arguments={"seed": 3}, snapshot_mode="last", snapshot_gap=1
    )
    assert ctxt.target.endswith("my_run")
    assert not ctxt.resumes
    assert isinstance(my_run, Experiment)
    assert (my_run.name, my_run.__doc__, my_run.options.x_axis) == ("my_run", "What it does.", "TotalEnvSteps")
    assert [parameter.name for parameter in my_run.parameters] == ["seed"]
    assert list(inspect.signature(my_run).parameters) == ["ctxt", "seed"]


def test_it_returns_what_the_function_returns():
    trainer = quick()(train)(n_epochs=2)
    assert isinstance(trainer, Trainer)
    assert trainer.snapshot_dir == EXPERIMENTS / "train"
    info = RunDirectory(trainer.snapshot_dir).info()
    assert (info.name, info.seed, info.arguments) == ("train", 1, {"seed": 1, "n_epochs": 2})
    assert info.target.endswith(":train")


@pytest.mark.parametrize(
    ("options", "directory"),
    [
        ({}, "data/local/experiment/run"),
        ({"prefix": "thesis"}, "data/local/thesis/run"),
        ({"name": "other"}, "data/local/experiment/other"),
        ({"name": "other", "prefix": "thesis"}, "data/local/thesis/other"),
        ({"log_dir": "somewhere/else"}, "somewhere/else"),
        ({"log_dir": Path("somewhere")}, "somewhere"),
        ({"name_parameters": "passed"}, "data/local/experiment/run_seed=2_path=a_b"),
        ({"name_parameters": "all"}, "data/local/experiment/run_seed=2_x=0.5_path=a_b"),
        ({"name_parameters": None}, "data/local/experiment/run"),
        ({"name": "n", "name_parameters": "passed"}, "data/local/experiment/n_seed=2_path=a_b"),
    ],
)
def test_the_directory_and_a_number_behind_it(options, directory):
    def run(ctxt=None, seed=1, x=0.5, path=""):
        return Path(ctxt.snapshot_dir)

    experiment = quick(**options)(run)
    names = [directory, f"{directory}_1", f"{directory}_2"]
    assert [str(experiment(path="a/b", seed=2)) for _ in names] == names
    assert all(Path(name, "debug.log").is_file() for name in names)
    kept_there = quick(**options, use_existing_dir=True)(run)
    assert str(kept_there(path="a/b", seed=2)) == directory


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"snapshot_mode": "all"}, [0, 1, 2]), ({"snapshot_mode": "gap", "snapshot_gap": 2}, [0, 2])],
)
def test_the_snapshot_mode(options, expected):
    assert kept(quick(**options)(train)().snapshot_dir) == expected


def test_the_x_axis_is_the_second_column():
    for x_axis, first in (
        ("policy/Entropy", ["epoch", "policy/Entropy", "EnvExecTime"]),
        ("epoch", ["epoch", "EnvExecTime"]),
        ("TotalEnvSteps", ["epoch", "TotalEnvSteps", "EnvExecTime"]),
    ):
        path = quick(x_axis=x_axis)(train)().snapshot_dir
        with (path / "progress.csv").open(newline="") as file:
            columns = next(csv.reader(file))
        assert columns[: len(first)] == first
        assert len(set(columns)) == len(columns)
        assert columns[len(first) - 1 :] == sorted(columns[len(first) - 1 :])
        assert RunDirectory(path).info().x_axis == x_axis


def test_an_x_axis_that_is_no_metric_is_refused():
    with pytest.raises(ArgumentError, match=r"no metric 'Steps' for the x axis; this experiment has: .*TotalEnvSteps"):
        quick(x_axis="Steps")(train)()
    assert rows(EXPERIMENTS / "train") == []


def test_options_of_one_call():
    experiment = quick(prefix="thesis")(train)
    path = experiment({"name": "once", "snapshot_mode": "all"}, n_epochs=2).snapshot_dir
    assert path == DATA / "thesis" / "once"
    assert kept(path) == [0, 1]
    assert experiment(n_epochs=1).snapshot_dir == DATA / "thesis" / "train"
    assert experiment.options.name is None


def test_what_is_refused_at_decoration():
    def run(ctxt=None):
        pytest.fail("it ran")

    for options, said in (
        ({"snapshotmode": "all"}, "no option 'snapshotmode'; it has log_dir, prefix, name"),
        ({"snapshot_mode": "best"}, "snapshot_mode must be one of last, all"),
        ({"snapshot_mode": "gap", "snapshot_gap": 0}, "snapshot_gap must be an integer of at least 1"),
        ({"snapshot_gap": 2}, "snapshot_gap=2 would be ignored"),
        ({"name": 3}, "wrap_experiment's name must be a str, or None, got 3"),
        ({"prefix": None}, "prefix must be a str, got None"),
        ({"log_dir": 5}, "log_dir must be a path, or None, got 5"),
        ({"x_axis": None}, "x_axis must be a str, got None"),
        ({"keep_best": 3}, "keep_best must be a str, or None, got 3"),
        ({"archive_launch_repo": "no"}, "archive_launch_repo must be True or False, got 'no'"),
        ({"use_existing_dir": 1}, "use_existing_dir must be True or False, got 1"),
        ({"name_parameters": "some"}, "name_parameters must be None, 'passed' or 'all', got 'some'"),
    ):
        with pytest.raises(ValueError, match=said):
            wrap_experiment(**options)
        with pytest.raises(ArgumentError, match=said):
            quick()(run)(options)
    assert not DATA.exists()


@pytest.mark.parametrize(
    ("function", "got"), [(lambda: 1, "no parameter"), (lambda seed: 1, "got seed"), (lambda seed, ctxt: 1, "got seed")]
)
def test_the_first_parameter_is_the_context(function, got):
    with pytest.raises(ValueError, match=rf"must be `ctxt`.*{got}|must be `ctxt`, {got}"):
        wrap_experiment(function)
    with pytest.raises(ArgumentError, match="The first parameter of the experiment"):
        wrap_experiment(prefix="x")(function)


def test_arguments_are_passed_by_keyword():
    experiment = quick()(train)
    for arguments in ((1,), ({}, 1), ({}, {}), (None,)):
        with pytest.raises(ArgumentError, match=r"arguments by keyword.*at most one dict of options.*train\(\{"):
            experiment(*arguments)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sede'"):
        experiment(sede=3)
    with pytest.raises(TypeError, match="ctxt"):
        experiment(ctxt=None)
    assert not DATA.exists()


class Text(str):
    """A text of somebody's own."""

    __slots__ = ()


class Colour(enum.IntEnum):
    """A choice."""

    RED = 2


@wrap_experiment(archive_launch_repo=False)
def importable(ctxt=None, seed=1):
    return ctxt.target, seed


def test_an_experiment_is_pickled_as_its_function():
    again = pickle.loads(pickle.dumps(importable))
    assert (again.name, again.options, again.parameters) == ("importable", importable.options, importable.parameters)
    assert again(seed=3) == (f"{__name__}:importable", 3)
    local = quick(prefix="thesis")(lambda ctxt, seed=1: seed)
    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(local)
    again = pickle.loads(cloudpickle.dumps(local))
    assert (again.options.prefix, again(seed=5)) == ("thesis", 5)


SCRIPT = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from garage import wrap_experiment


@wrap_experiment(archive_launch_repo=False)
def run(ctxt=None, seed=1):
    return ctxt.snapshot_dir, seed


if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        print([pool.submit(run, seed=seed).result() for seed in (1, 2)])
"""


def test_a_pool_of_processes_takes_a_scripts_experiment():
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False)
    assert done.stdout == "[('data/local/experiment/run', 1), ('data/local/experiment/run_1', 2)]\n", done.stderr


@pytest.mark.parametrize("options", [{"name": "na\udcffme"}, {"log_dir": "a\udcff/b"}, {"use_existing_dir": True}])
def test_a_path_that_is_not_utf_8_is_refused_before_anything_is_made(options, monkeypatch):
    if "use_existing_dir" in options:
        Path("folder\udcff").mkdir()
        monkeypatch.chdir("folder\udcff")
    with pytest.raises(ArgumentError, match=r"The path of a run must be UTF-8, got b'.*\\xff.*Rename that folder"):
        quick(**options)(train)()
    assert list(Path().iterdir()) == []
    with pytest.raises(ArgumentError, match="The path of a run must be UTF-8"):
        new_trainer("ru\udcffn").train(1, 60)
    assert not Path("ru\udcffn").exists()


def plain_function():
    pass


def test_arguments_are_kept_as_json():
    class Thing:
        def __repr__(self):
            return "a thing"

    @quick()
    def run(ctxt, **arguments):
        return ctxt.arguments["arguments"]

    given = {"a": (1, 2.5, None, True), "b": {"x": [Thing()], 3: "y"}, "c": float("inf"), "d": float("nan")}
    assert run(**given, e=plain_function, f=Path) == {
        "a": [1, 2.5, None, True],
        "b": {"x": ["a thing"], "3": "y"},
        "c": "inf",
        "d": "nan",
        "e": f"{__name__}:plain_function",
        "f": "pathlib:Path" if Path.__module__ == "pathlib" else f"{Path.__module__}:Path",
    }


class Schedule:
    """Has no representation of its own, so that it shows its address."""


def test_equal_arguments_are_kept_alike_in_every_process():
    @quick(name_parameters="passed")
    def run(ctxt, rate, n=3, **others):
        assert " at 0x" not in ctxt.snapshot_dir
        trained(ctxt.snapshot_dir, 1, context={"arguments": ctxt.arguments})
        return RunDirectory(Path(ctxt.snapshot_dir)).info().arguments

    others = {"schedule": Schedule(), "bound": [Schedule().__init__], "words": {"b", "a", "c"}, "empty": set()}
    scalars = {
        "flag": np.bool_(1),
        "name": np.str_("x"),
        "kind": Text("y"),
        "colour": Colour.RED,
        "nan": np.float32("nan"),
    }
    assert run(rate=np.logspace(-3, -1, 3)[0], n=np.int64(3), **others, **scalars) == {
        "rate": 0.001,
        "n": 3,
        "others": {
            "schedule": f"<{__name__}.Schedule object>",
            "bound": ["<method-wrapper '__init__' of Schedule object>"],
            "words": "{'a', 'b', 'c'}",
            "empty": "set()",
            "flag": True,
            "name": "x",
            "kind": "y",
            "colour": 2,
            "nan": "nan",
        },
    }


@pytest.mark.parametrize("error", [EOFError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_behind_however_it_ends(error, capsys):
    @quick()
    def fails(ctxt=None):
        trainer = train(ctxt, seed=5, n_epochs=1)
        raise error(trainer.snapshot_dir)

    set_seed(9)
    for _ in range(2):
        with pytest.raises(error):
            fails()
        assert get_seed() == 9
    logger = logging.getLogger("garage")
    assert (logger.handlers, logger.level) == ([], logging.NOTSET)
    capsys.readouterr()
    logger.warning("afterwards")
    assert capsys.readouterr().out == ""
    first, second = (EXPERIMENTS / name / "debug.log" for name in ("fails", "fails_1"))
    assert first.read_text().count("Setting seed to 5") == second.read_text().count("Setting seed to 5") == 1
    assert not (EXPERIMENTS / "fails" / "lock").exists()
    assert events(EXPERIMENTS / "fails") == ["start", "snapshot", "finished"]


def test_an_exception_in_mid_epoch_takes_its_prefix_along(capsys):
    @quick()
    def fails(ctxt=None):
        set_seed(1)
        trainer = Trainer(ctxt)
        algo, env = tiny()
        algo.policy.objective = None
        trainer.setup(algo, env)
        trainer.train(n_epochs=1, batch_size=60)

    with pytest.raises(TypeError):
        fails()
    capsys.readouterr()
    set_seed(2)
    assert messages(capsys.readouterr().out) == ["Setting seed to 2"]


def test_the_seed_of_one_experiment_is_not_the_nexts():
    seeds = []

    @quick()
    def first(ctxt=None):
        set_seed(4)
        seeds.append(get_seed())

    @quick()
    def second(ctxt=None):
        seeds.append(get_seed())

    first()
    second()
    assert seeds == [4, None]
    assert get_seed() is None


def test_an_experiment_in_an_experiment(capsys):
    @quick()
    def inner(ctxt=None):
        trainer = train(ctxt, seed=2, n_epochs=1)
        return trainer.snapshot_dir

    @quick()
    def outer(ctxt=None):
        set_seed(1)
        before = inner()
        assert get_seed() == 1
        return before, train(ctxt, n_epochs=1).snapshot_dir

    assert outer() == (EXPERIMENTS / "inner", EXPERIMENTS / "outer")
    printed = capsys.readouterr().out
    assert printed.count("Setting seed to 2") == 1
    assert printed.count("epoch #0 | Saved") == 2
    inner_log = (EXPERIMENTS / "inner" / "debug.log").read_text()
    assert inner_log.count("epoch #0 | Saved") == 1
    assert "Setting seed to 1" not in inner_log
    assert (EXPERIMENTS / "outer" / "debug.log").read_text().count("epoch #0 | Saved") == 2
    trained("alone", 1, seed=2)
    assert digests(EXPERIMENTS / "inner") == digests("alone")


def test_each_line_is_in_the_log_once_wherever_it_lies(capsys):
    Path("below").mkdir()
    trainer = quick(log_dir="below/../run")(train)(n_epochs=1)
    log = (trainer.snapshot_dir / "debug.log").read_text()
    assert log.count("epoch #0 | Saved") == capsys.readouterr().out.count("epoch #0 | Saved") == 1


def test_no_experiment_starts_while_its_file_is_being_loaded():
    with (
        loading(),
        pytest.raises(ArgumentError, match=r"starts the experiment train while it is being loaded.*__main__"),
    ):
        quick()(train)()
    assert not DATA.exists()


def test_users_generators_are_not_drawn_from():
    @quick()
    def run(ctxt=None):
        return random.getstate()

    before = random.getstate()
    assert run() == before == random.getstate()


def test_use_existing_dir_goes_on_in_place():
    @quick(use_existing_dir=True)
    def run(ctxt=None, *, n_epochs=2, restores=False):
        trainer = Trainer(ctxt)
        if restores:
            trainer.restore(ctxt.snapshot_dir)
            trainer.resume(n_epochs=n_epochs)
        else:
            set_seed(1)
            trainer.setup(*tiny())
            trainer.train(n_epochs=n_epochs, batch_size=60)

    run()
    run(n_epochs=4, restores=True)
    path = EXPERIMENTS / "run"
    trained("undisturbed", 4)
    assert digests(path) == digests("undisturbed")
    run(n_epochs=1)  # a new run in the old one's place
    assert digests(path) == digests("undisturbed")[:1]
    assert len(rows(path)) == 1
    assert kept(path) == [0]


def test_a_context_may_be_made_by_hand():
    for options in ({"snapshot_mode": "best"}, {"snapshot_gap": 0}, {"snapshot_gap": 3}):
        with pytest.raises(ArgumentError, match="snapshot_"):
            ExperimentContext("run", **options)
    assert new_trainer("run").snapshot_dir == Path("run")


def test_where_nothing_may_be_written_it_says_so_and_what_to_do():
    Path("data").write_text("a file in the place of the folder")

    @wrap_experiment(archive_launch_repo=False)
    def unplaced(ctxt=None):
        return ctxt

    for resume in ("never", "auto"):
        with pytest.raises(WriteError, match=r"Cannot make data.*unplaced, the run's directory: .*--log-dir"):
            launch(unplaced, {}, resume=resume)
