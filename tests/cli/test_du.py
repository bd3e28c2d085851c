import json


def test_runs_and_their_total(trained):
    trained("fork", trained.run_path, "copy")
    lines = [line.split() for line in trained("du").stdout.splitlines()]
    assert lines[0] == ["RUN", "BYTES", "SNAPSHOTS", "SHARED", "OWN"]
    assert [line[0] for line in lines[1:]] == ["data/local/experiment/copy", "data/local/experiment/sample", "total"]
    said = json.loads(trained("du", "--json").stdout)
    assert [f"{run['bytes']:,}" for run in said["runs"]] == [line[1] for line in lines[1:3]]
    assert f"{said['total']:,}" == lines[3][1]
    copy, sample = said["runs"]
    assert copy["shared"] == sample["shared"] > 0
    assert said["total"] == copy["bytes"] + sample["own"]


def test_a_run_is_counted_once_however_it_is_named(trained):
    once = json.loads(trained("du", trained.run_path, "--json").stdout)
    assert len(once["runs"]) == 1
    twice = json.loads(trained("du", trained.run_path, "data", "--json").stdout)
    assert (len(twice["runs"]), twice["total"]) == (1, once["total"])


def test_nothing_to_measure(garage):
    assert "There are no runs below data/local" in garage("du").stderr
    assert json.loads(garage("du", "--json").stdout) == {"runs": [], "total": 0}
    assert "There is no directory nowhere to measure" in garage("du", "nowhere", code=2).stderr
