import json
import shutil

import pytest


def test_changed_arguments_go_on_by_garage_run(trained, six_digests):
    printed = trained("fork", f"{trained.run_path}@1", "sample_1", "--n-epochs", 6).stdout
    assert "Forked epoch 1 of" in printed
    assert "garage run FILE --resume auto --n_epochs 6" in printed
    child = trained.run_path.with_name("sample_1")
    before = trained.files()
    trained("run", "code/sample.py", "--n-epochs", 6, "--resume", "must")
    assert trained.digests(child) == six_digests
    assert trained.files() == before
    assert not trained.run_path.with_name("sample_2").exists()


def test_it_goes_on_by_garage_resume_without_its_parent(trained, six_digests):
    child = trained.run_path.with_name("tuned")
    trained("fork", f"{trained.run_path}@first", "tuned")
    shutil.rmtree(trained.run_path)
    trained("resume", child, "--n-epochs", 6)
    assert trained.digests(child) == six_digests
    assert "is whole" in trained("verify", child).stdout


def test_another_seed_goes_on_as_a_fork_in_one_process_would(trained):
    """The numbers are those of a script that restores, sets the seed and resumes."""
    trained("fork", f"{trained.run_path}@1", "sample_1", "--seed", 7)
    trained("run", "code/sample.py", "--seed", 7, "--resume", "must")
    script = trained.folder / "code" / "by_hand.py"
    script.write_text(
        "from garage.experiment import Trainer\n"
        "from garage.experiment.deterministic import set_seed\n"
        "trainer = Trainer()\n"
        f"trainer.restore({str(trained.run_path)!r}, from_epoch=1)\n"
        "set_seed(7)\n"
        "trainer.resume()\n"
        "print(trainer.snapshot_dir)\n"
    )
    trained.python(script)
    by_command, by_hand = (trained.digests(trained.run_path.with_name(f"sample_{n}")) for n in (1, 2))
    assert by_command == by_hand
    assert by_command[1] == trained.digests()[1]
    assert by_command[2] != trained.digests()[2]


@pytest.mark.parametrize("new", ["copy", "./elsewhere/copy", "{folder}/elsewhere/copy"])
def test_a_name_is_beside_the_run_and_a_path_is_a_path(trained, new):
    trained("fork", trained.run_path, new.format(folder=trained.folder))
    expected = trained.run_path.with_name("copy") if new == "copy" else trained.folder / "elsewhere" / "copy"
    assert json.loads((expected / "run.json").read_text())["name"] == "copy"
    assert json.loads(trained("show", expected, "--json").stdout)["epochs"] == [3]


def test_damaged_rows_are_told_by_the_command_and_by_who_goes_on(trained):
    path = trained.run_path / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    told = f"{path} is not as written: its rows up to epoch 3 are taken over as far as they can be read"
    assert told in trained("fork", trained.run_path, "copy").stderr
    script = trained.folder / "code" / "by_hand.py"
    script.write_text(
        "from garage.experiment import ExperimentContext, Trainer\n"
        "trainer = Trainer(ExperimentContext('child'))\n"
        f"trainer.restore({str(trained.run_path)!r})\n"
        "trainer.resume(5)\n"
    )
    printed = trained.python(script)
    assert told in printed.stdout + printed.stderr
    assert "damaged_metrics" in (trained.folder / "child" / "events.jsonl").read_text()


def test_kinds_of_arguments_are_those_that_are_recorded(trained):
    trained("fork", trained.run_path, "copy", "--fails", "--batch-size=1e3", "--seed", 2)
    arguments = json.loads((trained.run_path.with_name("copy") / "run.json").read_text())["arguments"]
    assert arguments == {"seed": 2, "n_epochs": 4, "batch_size": 1000.0, "fails": True}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Expected RUN and NEW first"),
        (["{run}"], 2, "Expected RUN and NEW first"),
        (["--seed", "1"], 2, "got: --seed 1"),
        (["{run}", "--seed", "1"], 2, "Expected RUN and NEW first"),
        (["{run}", "sample"], 2, "it exists already"),
        (["{run}", "{run}/new"], 2, "which lies within it"),
        (["{run}", "new", "--fly", "1"], 2, "there is no parameter --fly. Its arguments:\n  --seed (recorded: 1)"),
        (["{run}", "new", "--n-epochs", "many"], 2, "--n-epochs must be int | float, got 'many'"),
        (["{run}", "new", "--seed", "-1"], 2, "A seed must be an integer of at least 0"),
        (["{run}", "new", "word"], 2, "got 'word' where --KEY was expected"),
        (["{run}@17", "new"], 3, "There is no snapshot of epoch 17"),
        (["{run}@soon", "new"], 2, "After the @ of RUN@EPOCH comes an epoch"),
        (["nowhere", "new"], 3, "There is no run in nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_changes(trained, words, code, message):
    before = trained.files()
    assert message in trained("fork", *(word.format(run=trained.run_path) for word in words), code=code).stderr
    assert trained.files() == before
    assert not trained.run_path.with_name("new").exists()


def test_a_fork_that_is_not_finished_is_no_run(trained):
    shutil.copytree(trained.run_path, trained.run_path.with_name(".unfinished-fork-copy"))
    paths = [run["path"] for run in json.loads(trained("ls", "--json").stdout)]
    assert paths == ["data/local/experiment/sample"]
    trained("fork", trained.run_path, "copy")
    assert not trained.run_path.with_name(".unfinished-fork-copy").exists()


def test_help(trained):
    assert "NEW is a name, beside RUN, or a path" in trained("fork", "--help").stdout
