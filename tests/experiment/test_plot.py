"""``train(plot=True)``: the policy is shown while training goes on, which does not notice."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiment.painted import GATE, SEEN, Hidden, Painted, brightness
from experiment.parts import Walk, digests, events, new_trainer, rows, trained
from garage.algos import TRPO, Normalised
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.viewing.plot import set_aside
from garage.experiment.watching import watched_by
from garage.process import set_process_seed
from garage.storage.run_directory import RunDirectory
from garage.storage.writer import rewind
from recording.terminals import Terminal

VIDEOS = Path("run/videos")
EPISODE = [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5]
"""How bright a film of one is, whose last picture stays for half a second."""


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def plotted(n_epochs=2, *, world=Painted, pause=False, path="run"):
    """A trainer that has trained so."""
    trainer = new_trainer(path, world=world)
    trainer.train(n_epochs, 40, plot=True, pause_for_plot=pause)
    set_process_seed(None)
    return trainer


def films():
    return sorted(path.name for path in VIDEOS.iterdir())


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_last_policy_is_filmed_and_no_number_changes(caplog):
    plotted(3)
    assert "epoch_000002.mp4" in films()
    assert brightness(VIDEOS / "epoch_000002.mp4") == EPISODE
    assert SEEN.read_text().split()[1:] == ["rgb_array"]
    assert "Filming the policy of epoch 2 to run/videos/epoch_000002.mp4" in caplog.text
    trained("plain", 3, batch_size=40, world=Painted)
    assert digests("run") == digests("plain")
    assert not is_there(int(SEEN.read_text().split()[0]))


def test_epochs_that_end_while_a_film_is_made_are_left_out(caplog):
    GATE.touch()

    def opened_at_the_end(epoch, _):
        if epoch == 1:
            wait_for(SEEN.exists)
        if epoch == 4:
            GATE.unlink()

    with watched_by(opened_at_the_end):
        plotted(4)
    assert films() == ["epoch_000000.mp4", "epoch_000003.mp4"]
    assert "Filming the policy of epoch 3 to run/videos/epoch_000003.mp4; there was no time for epochs 1 to 2" in (
        caplog.text
    )


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (Walk, "Walk: its environments have render_mode=None"),
        (functools.partial(Painted, fails="dies"), "its process was ended by SIGKILL"),
        pytest.param(functools.partial(Painted, fails="raises"), "RuntimeError: no paint", marks=pytest.mark.long),
    ],
)
def test_what_cannot_be_shown_is_said_once_and_training_goes_on(caplog, world, said):
    plotted(3, world=world)
    said_so = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said_so) == 1
    assert said_so[0].startswith("Plots end here, and training goes on: ")
    assert said in said_so[0]
    assert len(rows("run")) == 3
    assert films() == []


def test_with_a_screen_there_is_a_window(monkeypatch, caplog):
    monkeypatch.setenv("DISPLAY", ":99")
    plotted(1)
    assert "Showing the policy of epoch 0" in caplog.text
    assert SEEN.read_text().split()[1:] == ["human"]
    assert not VIDEOS.exists()


@pytest.mark.long
def test_a_screen_that_has_no_window_for_us(monkeypatch, caplog):
    monkeypatch.setenv("DISPLAY", ":99")
    plotted(1, world=Hidden)
    assert "There is a screen, but no window on it, so films are made instead: " in caplog.text
    assert "no display" in caplog.text
    assert films() == ["epoch_000000.mp4"]


@pytest.mark.long
def test_it_is_honoured_on_resume(caplog):
    plotted(1)
    trainer = Trainer()
    args = trainer.restore("run")
    assert (args.plot, args.pause_for_plot) == (True, False)
    assert "pause_for_plot       0" in caplog.text
    trainer.resume(n_epochs=2)
    assert films() == ["epoch_000000.mp4", "epoch_000001.mp4"]
    trainer.resume(n_epochs=3, plot=False)
    assert films() == ["epoch_000000.mp4", "epoch_000001.mp4"]


def test_films_of_epochs_that_a_rewind_abandons_are_set_aside():
    new_trainer("run", context={"snapshot_mode": "all"}).train(3, 40)
    set_process_seed(None)
    (VIDEOS / "abandoned").mkdir(parents=True)
    for name in ("epoch_000000.mp4", "epoch_000001.mp4", "epoch_000002.mp4", ".unfinished-epoch_000002.mp4", "my.mp4"):
        (VIDEOS / name).write_text("new")
    (VIDEOS / "abandoned" / "epoch_000002.mp4").write_text("old")
    assert rewind(RunDirectory(Path("run")), 1) == [2]
    trainer = Trainer()
    trainer.restore("run")
    trainer.resume(n_epochs=3)
    assert films() == ["abandoned", "epoch_000000.mp4", "epoch_000001.mp4", "my.mp4"]
    assert [path.read_text() for path in (VIDEOS / "abandoned").iterdir()] == ["new"]
    set_aside(Path("nowhere"), 0)


@pytest.mark.long
def test_a_policy_of_a_framework_is_shown_without_it():
    policies = pytest.importorskip("garage.torch.policies")
    env = GymEnv(Painted)
    policy = policies.CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))
    inner = TRPO(env=env, policy=policy, baseline=LinearFeatureBaseline(env.spec))
    trainer = Trainer()
    trainer.setup(Normalised(inner), env)
    trainer.train(1, 40, plot=True)
    assert SEEN.read_text().split()[1:] == ["rgb_array"]
    assert [path.name for path in trainer.snapshot_dir.glob("videos/*")] == ["epoch_000000.mp4"]


SCRIPT = """
from experiment.painted import Painted
from experiment.parts import new_trainer

new_trainer("run", world=Painted).train(2, 40, plot=True, pause_for_plot={pause})
"""


def started(*, pause=False, **streams):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    command = [sys.executable, "-c", SCRIPT.format(pause=pause)]
    return subprocess.Popen(command, env=environment, **streams)


def test_what_shows_it_leaves_when_the_trainer_is_killed():
    GATE.touch()
    child = started(stdout=subprocess.DEVNULL)
    wait_for(lambda: SEEN.exists() and SEEN.read_text())
    child.kill()
    child.wait()
    GATE.unlink()
    wait_for(lambda: not is_there(int(SEEN.read_text().split()[0])))
    wait_for(lambda: films() == [])
    Path("run/lock").unlink()


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    os.close(made.outer)
    os.close(made.inner)


def is_asked(terminal, n):
    terminal.read()
    return terminal.raw.count(b"Press Enter to go on with epoch 1: ") == n


def test_enter_goes_on(terminal):
    child = started(pause=True, stdin=terminal.inner, stdout=terminal.inner)
    wait_for(lambda: is_asked(terminal, 1))
    assert len(rows("run")) == 1
    terminal.type("\n")
    wait_for(lambda: is_asked(terminal, 1) and child.poll() is not None)
    assert child.returncode == 0
    assert films() == ["epoch_000000.mp4", "epoch_000001.mp4"]
    assert "Press Enter to go on with epoch 1:" in terminal.lines()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), pytest.param(signal.SIGTERM, 75, marks=pytest.mark.long)]
)
def test_a_signal_while_it_waits_for_enter_stops_as_elsewhere(terminal, number, code):
    child = started(pause=True, stdin=terminal.inner, stdout=terminal.inner, stderr=subprocess.DEVNULL)
    wait_for(lambda: is_asked(terminal, 1))
    child.send_signal(number)
    wait_for(lambda: is_asked(terminal, 1) and child.poll() is not None)
    assert child.returncode == code
    log = Path("run/debug.log").read_text().splitlines()
    assert "after epoch 0, which is saved. To go on: garage resume run" in log[-1]
    assert events("run")[-1] == "preempted"
    assert any(row.startswith(log[-1][:30]) for row in terminal.lines())


def test_without_a_terminal_nobody_waits(caplog):
    plotted(2, pause=True)
    said = "There is no terminal to press Enter at, so pause_for_plot does not wait"
    assert caplog.text.count(said) == 1
    assert json.loads(Path("run/snapshots/000001.json").read_text())["train_args"]["pause_for_plot"] is True
