import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from garage.recording.intervals import bootstrap_interval, mean
from garage.storage.metric_rows import metric_rows


@pytest.fixture
def seeds(garage):
    """Runs of three seeds with one batch size, and of one seed with another; rows as training writes them."""

    def make(name, seed, batch_size, xs, ys, *, target="sample:sample"):
        path = garage.run_path.with_name(name)
        path.mkdir(parents=True)
        info = {
            "format": 1, "id": f"{seed}{batch_size}", "name": name, "created_at": "2026-01-01T00:00:00.000+00:00",
            "target": target, "arguments": {"seed": seed, "lr": 0.1, "batch_size": batch_size}, "seed": seed,
        }  # fmt: skip
        (path / "run.json").write_text(json.dumps(info))
        rows = [
            {"epoch": epoch, "digest": "ff", "TotalEnvSteps": x, "Evaluation/AverageReturn": y, "Other": -y}
            for epoch, (x, y) in enumerate(zip(xs, ys, strict=True))
        ]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    garage.make = make
    make("sample", 1, 200, [100, 200, 300], [1.0, 2.0, 3.0])
    make("sample_1", 2, 200, [150, 250, 350], [3.0, 4.0, 5.0])
    make("sample_2", 3, 200, [100, 250, 300, 400], [5.0, 8.0, 9.0, 10.0])
    make("sample_3", 1, 400, [400, 800], [7.0, 11.0])
    return garage


def drawn(garage, *words):
    return json.loads(garage("plot", *words, "--json").stdout)


def test_runs_that_differ_in_the_seed_are_one_curve(seeds):
    found = drawn(seeds, "data/local")
    assert (found["x"], found["y"], found["level"]) == ("TotalEnvSteps", "Evaluation/AverageReturn", 0.95)
    first, second = found["curves"]
    assert (first["label"], second["label"]) == ("batch_size=200", "batch_size=400")
    assert [run["seed"] for run in first["runs"]] == [1, 2, 3]
    ends = [3.0, 4.5, 9.0]  # at 300 steps, as far as all of them got
    low, high = bootstrap_interval(ends, mean)
    assert first["end"] == {
        "x": 300.0, "mean": 5.5, "interquartile_mean": 5.5, "interval": [float(low), float(high)],
    }  # fmt: skip
    assert second["end"] == {"x": 800.0, "mean": 11.0, "interquartile_mean": 11.0, "interval": [None, None]}
    with Image.open(seeds.folder / "curves.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 20


def test_as_a_table(seeds):
    header, *rows, last = seeds(
        "plot", "data/local", "-o", "out/of/here.svg", "--y", "Other", "--level", 0.5
    ).stdout.splitlines()
    assert header.split() == ["CURVE", "SEEDS", "TotalEnvSteps", "MEAN", "50%", "IQM"]
    assert rows[0].split()[:4] == ["batch_size=200", "3", "300", "-5.5"]
    assert rows[1].split() == ["batch_size=400", "1", "800", "-11", "-", "-11"]
    assert last == "Drawn: out/of/here.svg."
    assert (seeds.folder / "out/of/here.svg").read_text().startswith("<?xml")


def test_one_curve_is_named_by_its_experiment(seeds):
    found = drawn(seeds, seeds.run_path, seeds.run_path.with_name("sample_1"), seeds.run_path)
    assert [(curve["label"], len(curve["runs"])) for curve in found["curves"]] == [("sample", 2)]


def test_the_same_run_twice_counts_once(seeds):
    shutil.copytree(seeds.run_path, seeds.run_path.with_name("copy"))
    seeds.make("longer", 2, 200, [150, 250, 350, 450], [3.0, 4.0, 5.0, 6.0])
    done = seeds("plot", "data/local", "--json")
    assert "is the same run as" in done.stderr
    first = json.loads(done.stdout)["curves"][0]
    assert sorted(run["seed"] for run in first["runs"]) == [1, 2, 3]
    assert any(run["path"].endswith("longer") for run in first["runs"])


def test_equal_arguments_and_seed_with_other_numbers_are_two_curves(seeds):
    seeds.make("other_code", 1, 200, [100, 200, 300], [1.0, 2.0, 4.0])
    done = seeds("plot", "data/local", "--json")
    assert "have the same arguments and seed, and yet other numbers" in done.stderr
    assert len(json.loads(done.stdout)["curves"]) == 3


def test_runs_that_recorded_no_arguments_are_curves_of_their_own(seeds):
    shutil.rmtree(seeds.folder / "data")
    for seed in (1, 2):
        seeds.make(f"run_{seed}", seed, 200, [100], [1.0], target=None)
    labels = [curve["label"] for curve in drawn(seeds, "data/local")["curves"]]
    assert labels == ["data/local/experiment/run_1", "data/local/experiment/run_2"]


def test_the_x_axis_that_the_run_recorded(seeds):
    info = json.loads((seeds.run_path / "run.json").read_text()) | {"x_axis": "epoch"}
    (seeds.run_path / "run.json").write_text(json.dumps(info))
    assert drawn(seeds, seeds.run_path)["curves"][0]["end"]["x"] == 2.0
    assert drawn(seeds, seeds.run_path, "--x", "TotalEnvSteps")["curves"][0]["end"]["x"] == 300.0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["data/local", "--y", "Reward"], 2, "sample has no column 'Reward'; it has: Evaluation/AverageReturn, Other,"),
        (["data/local", "--x", "Reward"], 2, "has no column 'Reward'"),
        (["data/local", "-o", "curves.gif"], 2, "expected a name that ends in .png, .svg, .pdf"),
        (["code"], 2, "There is no run at or below code"),
        (["nowhere"], 2, "There is no run at or below nowhere"),
        (["data/local", "--level", "1"], 2, "1.0 is not in the range"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_drawn(seeds, words, code, message):
    assert message in seeds("plot", *words, code=code).stderr
    assert not list(seeds.folder.glob("curves*"))


def test_a_run_without_rows(seeds):
    path = seeds.make("young", 9, 200, [], [])
    assert "young has no rows to plot: no epoch of it is finished" in seeds("plot", path, code=2).stderr


def test_a_run_without_rows_among_others_is_left_out_and_this_is_said(seeds):
    path = seeds.make("young", 9, 200, [], [])
    before = drawn(seeds, "data/local/experiment/sample")["curves"]
    done = seeds("plot", path, "data/local/experiment/sample", "--json")
    assert f"Left out: {path} has no rows, for no epoch of it is finished." in done.stderr
    assert json.loads(done.stdout)["curves"] == before


def test_rows_of_a_parent_are_not_drawn_as_those_of_other_arguments(trained):
    trained("fork", trained.run_path, "wider", "--batch-size", 400)
    done = trained("plot", "data/local", "--json")
    assert "wider was forked with other arguments and has not been trained with them" in done.stderr
    assert [curve["label"] for curve in json.loads(done.stdout)["curves"]] == ["sample"]


def test_a_run_of_no_experiment_has_none_in_its_label(seeds):
    seeds.make("by_hand", 1, 500, [100], [1.0], target=None)
    labels = [curve["label"] for curve in drawn(seeds, "data/local")["curves"]]
    assert len(labels) > 1
    assert not any("experiment=," in label for label in labels)


def test_a_real_run(trained):
    rows = metric_rows(trained.run_path)
    end = drawn(trained, trained.run_path)["curves"][0]["end"]
    assert end["mean"] == rows[-1]["Evaluation/AverageReturn"]
    assert "no epoch with a finite 'Sample/Missing'" in trained(
        "plot", trained.run_path, "--y", "Sample/Missing", code=2
    ).stderr  # fmt: skip
    assert math.isfinite(end["x"])
