"""``--quiet``: nothing is printed but warnings and errors, and the log is as ever."""


def test_quiet_prints_nothing_and_logs_everything(garage):
    loud = garage("run", "code/sample.py", "--n-epochs", 1).stdout.splitlines()
    quiet = garage("run", "--quiet", "code/sample.py", "--n-epochs", 1)
    assert (quiet.stdout, quiet.stderr) == ("", "")
    log = (garage.run_path.with_name("sample_1") / "debug.log").read_text().splitlines()
    assert len(log) == len(loud)
    assert [row.split(" | ")[1:2] for row in log[2:4]] == [row.split(" | ")[1:2] for row in loud[2:4]]
    assert garage("resume", garage.run_path, "-q", "--n-epochs", 2).stdout == ""
    assert set(garage.digests()) == {0, 1}


def test_what_goes_on_with_a_quiet_run_is_quiet(garage):
    stops = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    garage.file.write_text(garage.file.read_text().replace("time.sleep(0.02)", stops))
    assert garage("run", "-q", "code/sample.py", code=75).stdout == ""
    last = (garage.run_path / "debug.log").read_text().splitlines()[-1]
    assert last.endswith("To go on: garage run --resume auto --quiet code/sample.py")


def test_errors_are_printed_all_the_same(garage):
    assert "There is no file nothing.py" in garage("run", "--quiet", "nothing.py", code=2).stderr
