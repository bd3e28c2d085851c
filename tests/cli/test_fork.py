import json
import shlex
import shutil

import pytest


def printed_command(printed):
    """The words after `garage` of the command that goes on, with the file's name in it."""
    (line,) = [line for line in printed.splitlines() if line.startswith(("To go on", "To continue", "  To build"))]
    words = shlex.split(line.rpartition(": ")[2])
    assert words[0] == "garage"
    return ["code/sample.py" if word == "FILE" else word for word in words[1:]]


def test_changed_arguments_go_on_by_garage_run(trained, six_digests):
    printed = trained("fork", f"{trained.run_path}@1", "sample_1", "--n-epochs", 6).stdout
    assert "Forked epoch 1 of" in printed
    assert "garage run FILE --resume auto" in printed
    child = trained.run_path.with_name("sample_1")
    before = trained.files()
    trained("run", "code/sample.py", "--n-epochs", 6, "--resume", "must")
    assert trained.digests(child) == six_digests
    assert trained.files() == before
    assert not trained.run_path.with_name("sample_2").exists()


@pytest.mark.parametrize("new", ["hot", "sample_1", "{folder}/elsewhere/hot"])
def test_the_command_that_is_printed_works_whatever_the_name(trained, new):
    """Also of a run that was started with other arguments than the file's defaults."""
    trained("run", "code/sample.py", "--batch-size", 300, "--n-epochs", 2, "--log-dir", "first")
    printed = trained("fork", "first@0", new.format(folder=trained.folder), "--n-epochs", 3).stdout
    words = printed_command(printed)
    child = trained.folder / words[words.index("--log-dir") + 1]
    assert printed_command(trained("show", words[words.index("--log-dir") + 1]).stdout) == words
    trained(*words)
    rows = (child / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [0, 1, 2]
    assert trained.digests(child).items() >= trained.digests(trained.folder / "first").items()
    assert not child.with_name(f"{child.name}_1").exists()


def test_a_fork_with_changed_arguments_is_not_resumed_with_objects_of_the_old_ones(trained, six_digests):
    child = trained.run_path.with_name("tuned")
    trained("fork", f"{trained.run_path}@1", "tuned", "--n-epochs", 6)
    trained("fork", child, "grandchild")
    for path in (child, child.with_name("grandchild")):
        before = trained.digests(path)
        for words in ([], ["--n-epochs", 7], ["--from", "1", "--rewind"]):
            refusal = trained("resume", path, *words, code=2).stderr
            assert f"Cannot go on with epoch 1 of {path} by its recipe" in refusal
            assert "n_epochs=6" in refusal
        assert trained.digests(path) == before
    trained(*printed_command(refusal))
    assert trained.digests(child.with_name("grandchild")) == six_digests
    trained("resume", child.with_name("grandchild"), "--n-epochs", 7)  # the newest recipe is of the new arguments
    assert "n_epochs=6" in trained("resume", child.with_name("grandchild"), "--from", 1, code=2).stderr


def test_a_fork_that_has_nothing_left_says_what_is_missing(trained):
    done = trained("fork", trained.run_path, "wide", "--batch-size", 400)
    assert "All of its 4 epochs are finished: to train further, fork with more of them by --n-epochs." in done.stdout
    assert "are finished" not in trained("fork", f"{trained.run_path}@2", "wider", "--batch-size", 400).stdout
    words = printed_command(trained("fork", trained.run_path, "more", "--batch-size", 400, "--n-epochs", 5).stdout)
    trained(*words)
    assert max(trained.digests(trained.run_path.with_name("more"))) == 4


def test_an_argument_that_is_given_as_it_was_changes_nothing(trained, six_digests):
    printed = trained("fork", f"{trained.run_path}@1", "same", "--n-epochs", 4).stdout
    assert printed_command(printed)[0] == "resume"
    trained("resume", trained.run_path.with_name("same"), "--n-epochs", 6)
    assert trained.digests(trained.run_path.with_name("same")) == six_digests


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
