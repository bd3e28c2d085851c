"""Nothing that a run says of itself makes a terminal do anything."""

import json
import shutil

import click
import pytest
from blake3 import blake3

from garage.cli.terminal import Colour, echo, echo_error

ESCAPE = "\x1b[2J\r\u202e"
FORBIDDEN = {"\x1b", "\r", "\u202e"}


@pytest.fixture
def forged(trained):
    """A run whose name, metrics, paths and folder hold such characters, with every checksum right."""
    path = trained.run_path.with_name(f"run{ESCAPE}")
    trained.run_path.rename(path)
    info = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(info | {"name": ESCAPE, "target": ESCAPE}))
    manifest = path / "snapshots" / "000003.json"
    document = json.loads(manifest.read_bytes())
    document["leaves"][0]["path"] = f"algo/{ESCAPE}"
    document["metrics"][ESCAPE] = ESCAPE
    text = json.dumps({**document, "checksum": "0" * 64}).encode()
    start = text.rindex(b'"checksum": "') + len(b'"checksum": "')
    manifest.write_bytes(text[:start] + blake3(text).hexdigest().encode() + text[start + 64 :])
    shutil.copytree(path, path.with_name("copy"))
    trained.forged = path
    return trained


@pytest.mark.parametrize("command", ["ls", "show", "verify", "du", "export", "fork", "pin"])
def test_escapes_are_printed_as_escapes(forged, command):
    words = {
        "ls": ["ls"],
        "du": ["du"],
        "export": ["export", forged.forged, "--to", "npz", "-o", "file.npz"],
        "fork": ["fork", forged.forged, "another"],
    }.get(command, [command, forged.forged])
    done = forged(*words, code=3 if command == "verify" else 0)
    assert not set(done.stdout + done.stderr) & FORBIDDEN
    assert r"\x1b[2J\r\u202e" in done.stdout + done.stderr


def test_nor_do_errors(forged):
    done = forged("export", forged.forged, "--to", "npz", "--only", ESCAPE, code=2)
    assert not set(done.stderr) & FORBIDDEN
    assert "has nothing at or below" in done.stderr


@pytest.fixture
def on_a_terminal(monkeypatch):
    """As if both streams were one."""
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_, **__: False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_on_a_terminal_what_an_error_says_to_run_stands_out(on_a_terminal, capsys):
    echo_error("It broke. Run `garage verify x`, or pip install 'garage[plot]'.", "garage run x.py:y")
    printed = capsys.readouterr().err
    assert printed.startswith("\x1b[31m\x1b[1mError:\x1b[0m It broke. Run \x1b[36m`garage verify x`\x1b[0m, or ")
    assert "\x1b[36mpip install 'garage[plot]'\x1b[0m." in printed
    assert printed.endswith("\x1b[36mgarage run x.py:y\x1b[0m\n")
    assert click.unstyle(printed) == (
        "Error: It broke. Run `garage verify x`, or pip install 'garage[plot]'.\ngarage run x.py:y\n"
    )


def test_what_others_wrote_gets_no_colour_of_its_own(on_a_terminal, capsys):
    echo_error(f"The run `{ESCAPE}`")
    assert "\x1b[2J" not in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colour_gets_none(on_a_terminal, monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    echo_error("It broke: `garage ls`")
    echo("a line", bold=True, colour=Colour.NOTE)
    printed = capsys.readouterr()
    assert printed.err == "Error: It broke: `garage ls`\n"
    assert printed.out == "a line\n"


def test_a_pipe_gets_none(capsys):
    echo_error("It broke: `garage ls`")
    echo("a line", bold=True, colour=Colour.NOTE)
    assert "\x1b" not in "".join(capsys.readouterr())
