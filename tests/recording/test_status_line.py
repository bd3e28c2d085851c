"""The line below the log, as a terminal shows it."""

import contextlib
import logging
import os
import subprocess
import sys
import time
import warnings

import pytest

from garage.recording import status_line as module
from garage.recording.console import console, show_plain, status_line
from recording.terminals import COLUMNS, Terminal

logger = logging.getLogger("garage.somewhere")


@pytest.fixture
def terminal(monkeypatch):
    made = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(module, "_SHORTEST_SECONDS", 0.0)
    yield made
    os.close(made.outer)
    os.close(made.inner)


@pytest.fixture
def on_it(terminal, monkeypatch):
    """Makes standard output lead to the terminal: within the test, for pytest sets it before each."""
    stdout = os.fdopen(os.dup(terminal.inner), "w", encoding="utf-8")
    yield lambda: monkeypatch.setattr(sys, "stdout", stdout)
    with contextlib.suppress(OSError):  # what could not be written any more
        stdout.close()


def said(rows):
    """Without the times of the log."""
    return [row.partition(" | ")[2] or row for row in rows]


def test_it_stays_below_the_log_and_goes_at_the_end(terminal, on_it):
    on_it()
    finished = [0]
    with console(), status_line(lambda: [f"{finished[0]} of 2 epochs"]):
        logger.info("one")
        assert said(terminal.lines()) == ["one", "0 of 2 epochs"]
        finished[0] = 1
        show_plain("a\ntable")
        logger.info("two")
        assert said(terminal.lines()) == ["one", "a", "table", "two", "1 of 2 epochs"]
    assert said(terminal.lines()) == ["one", "a", "table", "two"]
    logger.info("nobody hears this")
    assert sys.stdout.isatty()


def test_what_is_printed_takes_its_place(terminal, on_it, monkeypatch):
    on_it()
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    with console(), status_line(lambda: ["status"]):
        logger.info("one")
        print("printed")
        logger.info("two")
        sys.stderr.write("complained\n")
        logger.info("three")
        print("half", end="")
        sys.stdout.writelines([" and", " half\n"])
        logger.info("four")
        assert terminal.lines()[-1] == "status"
    assert said(terminal.lines()) == ["one", "printed", "two", "complained", "three", "half and half", "four"]
    assert sys.stderr is sys.stdout


def test_half_a_line_is_left_alone(terminal, on_it):
    on_it()
    with console(), status_line(lambda: ["status"]):
        print("Press Enter: ", end="", flush=True)
        drawn_anew()
        assert terminal.lines() == ["Press Enter:"]


def drawn_anew():
    """As the thread does it."""
    logging.getLogger("garage").handlers[-1].status_line.draw()


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_it_counts_on_while_nothing_is_printed(terminal, on_it, monkeypatch):
    on_it()
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.01)
    said_by = iter(range(1_000_000))
    with console(), status_line(lambda: [f"number {next(said_by)}"]):
        wait_for(lambda: terminal.lines() and int(terminal.lines()[-1].split()[-1]) > 3)
        assert len(terminal.lines()) == 1


def test_it_leaves_out_what_the_terminal_is_too_narrow_for(terminal, on_it):
    on_it()
    with console(), status_line(lambda: ["1 of 2 epochs", "return 17", "3 min left"]):
        for columns, expected in [
            (60, "1 of 2 epochs | return 17 | 3 min left"),
            (39, "1 of 2 epochs | return 17 | 3 min left"),
            (38, "1 of 2 epochs | return 17"),
            (20, "1 of 2 epochs"),
            (8, "1 of 2 "),
        ]:
            terminal.resize(columns)
            show_plain("")
            assert terminal.lines()[-1] == expected.rstrip()


def test_colours_only_where_they_are_wanted(terminal, on_it, monkeypatch):
    on_it()
    with console(), status_line(lambda: ["status"]):
        logger.info("one")
    terminal.read()
    assert b"\x1b[2mstatus\x1b[m" in terminal.raw
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.raw = b""
    with console(), status_line(lambda: ["status"]):
        logger.info("one")
    terminal.read()
    assert b"\r\x1b[Kstatus" in terminal.raw
    assert b"\x1b[2m" not in terminal.raw


@pytest.mark.parametrize("kind", ["dumb", "", None])
def test_terminals_that_cannot_clear_a_line_get_none(terminal, on_it, monkeypatch, kind):
    on_it()
    if kind is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", kind)
    with console(), status_line(lambda: ["status"]):
        logger.info("one")
        terminal.read()
        assert b"status" not in terminal.raw
        assert b"\x1b" not in terminal.raw


def test_it_vanishes_while_stdout_is_redirected(terminal, on_it, tmp_path):
    on_it()
    with console(), status_line(lambda: ["status"]):
        logger.info("one")
        with (tmp_path / "file").open("w") as file, contextlib.redirect_stdout(file):
            logger.info("two")
            assert said(terminal.lines()) == ["one"]
        logger.info("three")
        assert said(terminal.lines()) == ["one", "three", "status"]
    assert (tmp_path / "file").read_text().endswith("| two\n")
    assert (tmp_path / "file").read_text().count("\n") == 1


def test_it_vanishes_before_an_exception_is_shown(terminal, on_it):
    on_it()

    def fails():
        with console(), status_line(lambda: ["status"]):
            logger.info("one")
            raise EOFError

    with pytest.raises(EOFError):
        fails()
    assert said(terminal.lines()) == ["one"]
    assert sys.stdout.isatty()


def test_quiet_shows_warnings_and_no_status(terminal, on_it):
    on_it()
    with console(quiet=True), status_line(lambda: ["status"]):
        logger.info("one")
        logger.warning("two")
        with console():
            logger.info("three")
    assert said(terminal.lines()) == ["two"]
    with console(), status_line(lambda: ["status"]):
        with console(quiet=True):
            logger.info("four")
        logger.info("five")
    assert said(terminal.lines()) == ["two", "five"]


def test_without_a_console_there_is_none(terminal, on_it):
    on_it()
    with status_line(lambda: ["status"]):
        print("one")
        assert terminal.lines() == ["one"]
    terminal.read()
    assert b"status" not in terminal.raw


def test_a_window_that_is_closed_ends_it_and_nothing_else(terminal, on_it):
    on_it()
    with console(), status_line(lambda: ["status"]):
        logger.info("one")
        os.close(terminal.outer)
        for _ in range(2):
            drawn_anew()
    terminal.outer = os.open(os.devnull, os.O_RDONLY)


def test_a_forked_process_prints_as_ever(terminal, on_it):
    on_it()
    with console(), status_line(lambda: ["status"]):
        logger.info("one")
        with warnings.catch_warnings(action="ignore"):  # that there are threads
            pid = os.fork()
        if pid == 0:
            sys.stdout.write("child\n")
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    terminal.read()
    assert b"child" in terminal.raw


SCRIPT = """
from experiment.parts import new_trainer

new_trainer("run").train(3, 100_000)  # long enough for a line to be drawn again
"""


@pytest.mark.parametrize("on_terminal", [True, False])
def test_a_training_as_a_terminal_and_a_pipe_see_it(terminal, tmp_path, on_terminal):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    target = terminal.inner if on_terminal else (tmp_path / "piped").open("w")
    with target if not on_terminal else contextlib.nullcontext():
        child = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, stdout=target)
        wait_for(lambda: terminal.read() or child.poll() is not None)
    assert child.returncode == 0
    log = (tmp_path / "run" / "debug.log").read_text().splitlines()
    if on_terminal:
        assert b" of 3 epochs" in terminal.raw
        assert b"steps/s | return" in terminal.raw
        shown = [row for row in terminal.lines() if row in log]
        assert [row.rstrip() for row in log if len(row) < COLUMNS] == [row for row in shown if len(row) < COLUMNS]
        assert not any("of 3 epochs" in row for row in terminal.lines())
    else:
        piped = (tmp_path / "piped").read_text()
        assert "\x1b" not in piped
        assert "\r" not in piped
        assert piped.splitlines()[-len(log) :] == log
