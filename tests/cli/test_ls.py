import json
import shutil

import pytest

from garage.cli.output import age
from garage.cli.run_summary import summarise
from garage.storage.disk import Disk
from garage.storage.lock import WriterLock


def events(path):
    return (path / "events.jsonl").read_text().splitlines(keepends=True)


def test_runs_at_any_depth_as_columns_and_as_json(trained):
    deep = trained.folder / "data" / "local" / "a" / "b" / "c"
    shutil.copytree(trained.run_path, deep)
    header, *rows = trained("ls").stdout.splitlines()
    assert header.split() == ["RUN", "STATE", "EPOCH", "N_EPOCHS", "AVERAGE_RETURN", "AGE"]
    assert [row.split()[:4] for row in rows] == [
        ["data/local/a/b/c", "finished", "3", "4"],
        ["data/local/experiment/sample", "finished", "3", "4"],
    ]
    found = json.loads(trained("ls", "--json").stdout)
    assert [run["path"] for run in found] == ["data/local/a/b/c", "data/local/experiment/sample"]
    last = json.loads((deep / "metrics.jsonl").read_text().splitlines()[-1])
    assert found[0]["average_return"] == last["Evaluation/AverageReturn"]
    assert found[0]["name"] == "sample"


def test_links_are_followed_and_each_run_is_listed_once(trained):
    elsewhere = trained.folder / "elsewhere"
    trained.run_path.rename(elsewhere)
    trained.run_path.symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(trained.folder / "data")
    assert [run["path"] for run in json.loads(trained("ls", "--json").stdout)] == ["data/local/experiment/sample"]


def test_nothing_to_list(garage):
    assert "There are no runs below data/local" in garage("ls").stderr
    assert json.loads(garage("ls", "--json").stdout) == []
    assert "There is no directory nowhere" in garage("ls", "nowhere", code=2).stderr


def test_a_directory_can_be_named(trained):
    assert trained("ls", trained.run_path).stdout.count("finished") == 1


def test_states(trained):
    path = trained.run_path
    assert summarise(path).state == "finished"
    with WriterLock(path / "lock", Disk()):
        assert summarise(path).state == "running"
    history = events(path)
    failure = '{"event":"failed","at":"2026-01-01T00:00:00.000+00:00","error":"%s","traceback":""}\n'
    (path / "events.jsonl").write_text("".join(history[:-1]) + failure % "ValueError('x')")
    assert summarise(path).state == "failed"
    (path / "snapshots" / "000003.json").unlink()
    (path / "events.jsonl").write_text("".join(history[:-1]) + failure % "KeyboardInterrupt()")
    assert summarise(path).state == "stopped"
    assert summarise(path).epoch == 2
    (path / "events.jsonl").write_text("".join(history[:-1]) + '{"event":"fin')
    assert summarise(path).state == "stopped"
    shutil.rmtree(path / "snapshots")
    summary = summarise(path)
    assert (summary.state, summary.epoch, summary.average_return) == ("empty", None, None)


def test_a_run_that_was_killed_after_its_last_epoch_is_finished(trained):
    (trained.run_path / "events.jsonl").write_text("".join(events(trained.run_path)[:-1]))
    assert summarise(trained.run_path).state == "finished"


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "lock", "snapshots/000003.json"])
def test_what_is_damaged_is_named(trained, name):
    path = trained.run_path / name
    path.write_bytes(b"{]\n" + (path.read_bytes()[3:] if path.exists() else b""))
    summary = summarise(trained.run_path)
    assert summary.state == "damaged"
    assert summary.problems
    assert " damaged " in trained("ls").stdout


def test_abandoned_snapshots_do_not_count(trained):
    trained("resume", trained.run_path, "--from", 1, "--rewind")
    history = events(trained.run_path)
    rewound = next(index for index, line in enumerate(history) if '"rewind"' in line)
    for path in (trained.run_path / "snapshots").glob("0*.json"):
        path.unlink()
    for path in (trained.run_path / "snapshots" / "abandoned").iterdir():
        path.rename(trained.run_path / "snapshots" / f"{path.name[:6]}.json")
    (trained.run_path / "events.jsonl").write_text("".join(history[: rewound + 1]))
    summary = summarise(trained.run_path)
    assert (summary.state, summary.epoch) == ("empty", None)


def test_without_snapshots_the_rows_say_how_far_it_is(trained):
    shutil.rmtree(trained.run_path / "snapshots")
    assert summarise(trained.run_path).epoch == 3
    with (trained.run_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch":4,"Evaluation/AverageReturn":"NaN"}\n{"epoch":5')
    summary = summarise(trained.run_path)
    assert summary.epoch == 4
    assert summary.average_return != summary.average_return
    assert json.loads(trained("ls", "--json").stdout)[0]["average_return"] is None


@pytest.mark.parametrize(
    ("moment", "words"), [(None, "-"), ("2000-01-01T00:00:00+00:00", r"\d{4,} d"), ("2999-01-01T00:00:00+00:00", "0 s")]
)
def test_age(moment, words):
    import re  # noqa: PLC0415 - for this alone

    assert re.fullmatch(words, age(moment))
