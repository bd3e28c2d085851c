"""Lines and tables as on the page that the project started from."""

import io
import logging
import re
import sys
from pathlib import Path

import pytest

from experiment.parts import kept, new_trainer
from garage.errors import WriteError
from garage.recording.console import console, debug_log, epoch_prefix, show_plain, table_of

logger = logging.getLogger("garage.somewhere")
FULL = Path("/dev/full")
full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no file that is always full")
TIME = r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}"


def test_a_line_is_time_prefix_and_message(capsys):
    with console():
        logger.info("Setting seed to %d", 1)
        with epoch_prefix(10):
            logger.info("Saved")
            with epoch_prefix(11):
                logger.warning("inner")
            show_plain("a table")
        logger.info("after")
        logger.debug("too much")
    printed = capsys.readouterr().out.splitlines()
    assert [re.sub(TIME, "time", line) for line in printed] == [
        "time | Setting seed to 1",
        "time | epoch #10 | Saved",
        "time | epoch #11 | inner",
        "a table",
        "time | after",
    ]


def test_a_console_in_a_console_changes_nothing(capsys):
    with console(), console():
        logger.info("once")
    assert capsys.readouterr().out.count("once") == 1


def test_outside_nothing_is_printed(capsys):
    with pytest.raises(EOFError), console(), epoch_prefix(3):
        raise EOFError
    logger.info("outside")
    with console():
        logger.info("inside again")
    assert re.sub(TIME, "time", capsys.readouterr().out) == "time | inside again\n"


def test_the_level_that_a_user_set_comes_back():
    root = logging.getLogger("garage")
    root.setLevel(logging.ERROR)
    try:
        with console():
            assert root.level == logging.INFO
        assert root.level == logging.ERROR
    finally:
        root.setLevel(logging.NOTSET)


def test_it_follows_where_stdout_goes(monkeypatch):
    before, after = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", before)
    with console():
        logger.info("one")
        monkeypatch.setattr(sys, "stdout", after)
        logger.info("two")
    assert before.getvalue().endswith("one\n")
    assert after.getvalue().endswith("two\n")
    assert "two" not in before.getvalue()


def test_the_log_holds_what_the_console_says_and_grows(capsys):
    path = Path("debug.log")
    for _ in range(2):
        with console(), debug_log(path), debug_log(Path("below/../debug.log")), debug_log(path.absolute()):
            with epoch_prefix(1):
                logger.info("ünïcode")
            show_plain("table")
    assert path.read_text(encoding="utf-8") == capsys.readouterr().out
    assert path.read_text(encoding="utf-8").count("ünïcode") == 2


def test_two_logs_each_hold_their_own_lines():
    with debug_log(Path("outer.log")):
        logger.info("before")
        with debug_log(Path("inner.log")):
            logger.info("within")
        logger.info("after")
    assert re.sub(TIME, "t", Path("outer.log").read_text()) == "t | before\nt | within\nt | after\n"
    assert re.sub(TIME, "t", Path("inner.log").read_text()) == "t | within\n"


PAGE = """\
---------------------------------------  ---------------
EnvExecTime                                   0.263958
Evaluation/AverageDiscountedReturn           85.0247
Evaluation/AverageReturn                    192.377
Evaluation/Iteration                         10
Evaluation/MaxReturn                        200
Evaluation/MinReturn                         96
Evaluation/NumEpisodes                       53
Evaluation/StdReturn                         23.1755
Evaluation/TerminationRate                    0.113208
Extras/EpisodeRewardMean                    195.81
LinearFeatureBaseline/ExplainedVariance       0.898543
PolicyExecTime                                1.18658
ProcessExecTime                               0.069674
TotalEnvSteps                            111243
policy/Entropy                                0.600691
policy/KL                                     0.00794985
policy/KLBefore                               0
policy/LossAfter                              0.00548463
policy/LossBefore                             0.0165238
policy/Perplexity                             1.82338
policy/dLoss                                  0.0110392
---------------------------------------  ---------------"""


def page_metrics():
    pairs = [line.split() for line in PAGE.splitlines()[1:-1]]
    return {key: float(value) if "." in value else int(value) for key, value in pairs}


def test_the_table_is_that_of_the_page():
    metrics = page_metrics()
    assert table_of(metrics) == PAGE
    assert table_of(dict(reversed(metrics.items()))) == PAGE


def test_nan_and_infinity_in_the_table():
    table = table_of({"b": float("nan"), "a": float("-inf"), "c": 1})
    assert [line.split() for line in table.splitlines()[1:-1]] == [["a", "-inf"], ["b", "nan"], ["c", "1"]]


def test_whole_numbers_and_powers_end_where_the_others_have_their_points():
    table = table_of({"a": 1234567, "b": 1e6, "c": -0.5, "d": 100, "e": 1e-7})
    assert table.splitlines()[1:-1] == ["a  1234567", "b        1e+06", "c       -0.5", "d      100", "e        1e-07"]


def test_every_row_of_the_pages_table_is_there_and_no_other(capsys):
    new_trainer("run").train(n_epochs=1, batch_size=60)
    printed = capsys.readouterr().out.splitlines()
    start, end = (index for index, line in enumerate(printed) if line.startswith("-----"))
    rows = [line.split() for line in printed[start + 1 : end]]
    assert [key for key, _ in rows] == list(page_metrics())
    assert all(float(value) is not None for _, value in rows)
    log = Path("run/debug.log").read_text().splitlines()
    assert log == printed[printed.index(log[0]) :]


class Pipe(io.StringIO):
    """Whoever read it has left, or it is closed."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


@pytest.mark.parametrize(("error", "told"), [(BrokenPipeError(32, "Broken pipe"), False), (ValueError("closed"), True)])
def test_nobody_reads_the_console(error, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Pipe(error))
    with console(), debug_log(Path("debug.log")):
        logger.info("goes on")
    assert Path("debug.log").read_text().endswith("goes on\n")
    assert ("Logging error" in capsys.readouterr().err) == told


@full_disk
def test_a_full_disk_takes_the_log_and_no_more(capsys):
    def fails():
        for word in ("one", "two", "three"):
            logger.info(word)
        raise EOFError

    with pytest.raises(EOFError), console(), debug_log(FULL), debug_log(Path("other.log")):
        fails()
    printed = capsys.readouterr()
    lines = [re.sub(TIME, "t", line) for line in printed.out.splitlines()]
    refused = "t | Cannot write /dev/full: No space left on device. Lines will be missing there"
    assert lines == ["t | one", refused, "t | two", "t | three"]
    assert printed.err == ""
    assert re.sub(TIME, "t", Path("other.log").read_text()) == "t | one\nt | two\nt | three\n"


@full_disk
def test_training_ends_well_without_its_log():
    trainer = new_trainer("run")
    Path("run").mkdir()
    Path("run/debug.log").symlink_to(FULL)
    trainer.train(n_epochs=2, batch_size=60)
    assert kept("run") == [0, 1]


def test_a_line_that_is_no_text_is_a_bug_and_said(capsys, monkeypatch):
    with monkeypatch.context() as patch, debug_log(Path("debug.log")):
        patch.setattr(logging.getLogger("garage"), "propagate", False)  # a report of the test could not hold it
        logger.info("\udc80")
    assert "Logging error" in capsys.readouterr().err


def test_a_log_that_cannot_be_opened():
    Path("debug.log").mkdir()
    with (
        pytest.raises(WriteError, match=r"Cannot write debug.log: Is a directory\. Free or mend"),
        debug_log(Path("debug.log")),
    ):
        pytest.fail("it went on")
