"""Nothing that a run says of itself makes a terminal do anything."""

import json
import shutil

import pytest
from blake3 import blake3

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
