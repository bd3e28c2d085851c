"""Real signals to real processes, at each moment: exit code, output, what is saved, and the numbers after a resume."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiment.parts import digests, events, kept, messages, rows
from garage.storage.run_directory import RunDirectory
from resume.conftest import assert_clean

N_EPOCHS = 6
MANY_EPOCHS = 11  # more than can be on their way to the disk
NO_GRACE = {"GARAGE_GRACE_SECONDS": "0"}
SCRIPT = Path(__file__).with_name("signalled.py")


@pytest.fixture(scope="module")
def worker():
    tests = str(SCRIPT.parents[1])
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])},
    )
    yield process
    process.stdin.close()
    process.wait(timeout=60)
    process.stdout.close()


@pytest.fixture
def run(worker, tmp_path):
    """Runs a job in the test's folder; returns its exit status and its lines."""

    def start(**job):
        job = {"directory": "run", "log": str(tmp_path / "log"), "n_epochs": N_EPOCHS} | job
        job["directory"] = str(tmp_path / job["directory"])
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
        return int(worker.stdout.readline()), messages((tmp_path / "log").read_text())

    return start


@pytest.fixture(scope="module")
def undisturbed(worker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    job = {"directory": str(folder / "run"), "log": str(folder / "log"), "n_epochs": MANY_EPOCHS}
    worker.stdin.write(json.dumps(job) + "\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "0\n", (folder / "log").read_text()
    return digests(folder / "run")


def goes_on(run, undisturbed, n_epochs=N_EPOCHS, **job):
    code, lines = run(n_epochs=n_epochs, **job)
    assert code == 0, lines
    assert digests("run") == undisturbed[:n_epochs]
    assert_clean("run")
    assert events("run")[-1] == "finished"


def said(lines):
    """The one line, and that nothing failed."""
    assert not any("Traceback" in line or "Exception" in line for line in lines), "\n".join(lines)
    assert lines[-1] == "cleaned up"
    (line,) = [line for line in lines if line.startswith("Interrupted")]
    return line


def preempted():
    (event,) = [event for event in RunDirectory(Path("run")).events() if event["event"] == "preempted"]
    return {key: event[key] for key in ("signal", "epoch", "dropped")}


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        *(("SIGTERM", moment) for moment in ("sampling", "sampled", "update", "saving", "saved")),
        ("SIGUSR1", "update"),
        ("SIGUSR2", "update"),
    ],
)
def test_the_epoch_is_finished_and_saved(run, undisturbed, name, moment):
    code, lines = run(moment=moment, epoch=2, signals=[name])
    assert code == 75
    command = f"garage resume {Path('run').absolute()}"
    assert said(lines) == f"Interrupted by {name} after epoch 2, which is saved. To go on: {command}"
    assert preempted() == {"signal": name, "epoch": 2, "dropped": None}
    assert kept("run")[-1] == 2
    assert digests("run") == undisturbed[:3]
    goes_on(run, undisturbed)


@pytest.mark.parametrize(
    ("moment", "context"),
    [
        ("sampling", {}),
        ("sampled", {"snapshot_mode": "gap", "snapshot_gap": 4}),
        ("update", {"snapshot_seconds": 1000.0}),
    ],
)
def test_the_epoch_is_dropped_and_the_one_before_is_saved(run, undisturbed, moment, context):
    code, lines = run(moment=moment, epoch=3, signals=["SIGTERM"], context=context, environment=NO_GRACE)
    assert code == 75
    line = said(lines)
    assert line.startswith("Interrupted by SIGTERM after epoch 2, which is saved; epoch 3 was dropped after ")
    assert line.endswith(f" s and will be computed again. To go on: garage resume {Path('run').absolute()}")
    assert preempted() == {"signal": "SIGTERM", "epoch": 2, "dropped": 3}
    assert kept("run")[-1] == 2
    goes_on(run, undisturbed, context=context)


@pytest.mark.parametrize("moment", ["writing", "pruning"])
@pytest.mark.parametrize("grace", [{}, NO_GRACE], ids=["finished", "dropped"])
@pytest.mark.parametrize("n_signals", [1, 2])
def test_while_the_disk_is_at_work(run, undisturbed, moment, grace, n_signals):
    context = {"snapshot_mode": "gap_and_last", "snapshot_gap": 100}
    names = ["SIGTERM", "SIGUSR1"][:n_signals]
    job = {"context": context, "n_epochs": MANY_EPOCHS}
    code, lines = run(moment=moment, epoch=1, signals=names, environment=grace, **job)
    assert code == 75
    assert preempted()["epoch"] == kept("run")[-1]
    if n_signals == 1:
        assert f"after epoch {kept('run')[-1]}, which is saved" in said(lines)
    else:
        assert "will be computed again" in said(lines) or "which is saved" in said(lines)
    goes_on(run, undisturbed, **job)


@pytest.mark.parametrize("moment", ["before the first epoch", "sampling", "update"])
def test_nothing_is_saved_yet(run, undisturbed, moment):
    epoch = -1 if moment == "before the first epoch" else 0
    code, lines = run(moment=moment, epoch=epoch, signals=["SIGUSR1"])
    assert code == 75
    line = said(lines)
    assert line.startswith("Interrupted by SIGUSR1 before the first epoch was finished")
    assert ("epoch 0 was dropped after 0." in line) == (epoch == 0)
    assert line.endswith("To go on: start it again")
    assert kept("run") == []
    goes_on(run, undisturbed)


@pytest.mark.parametrize(
    ("moment", "names"),
    [
        *((moment, ["SIGUSR1", "SIGTERM"]) for moment in ("sampling", "update", "saving", "saved")),
        ("update", ["SIGTERM", "SIGTERM"]),
        ("saving", ["SIGTERM", "SIGINT"]),
    ],
)
def test_the_second_one_stops_at_once(run, undisturbed, moment, names):
    code, lines = run(moment=moment, epoch=2, signals=names)
    assert code == 75
    computing = moment in {"sampling", "update"}
    assert ("epoch 2 was dropped" in said(lines)) == computing
    saved = kept("run")[-1] if kept("run") else None
    assert preempted() == {"signal": names[0], "epoch": saved, "dropped": 2 if computing else None}
    assert not computing or 2 not in kept("run")
    goes_on(run, undisturbed)


def test_the_third_one_does_what_it_always_did(run, undisturbed):
    code, lines = run(moment="update", epoch=2, signals=["SIGTERM", "SIGTERM"], insists=True)
    assert code == -signal.SIGTERM
    assert "cleaned up" not in lines
    goes_on(run, undisturbed)


@pytest.mark.parametrize("grace", [{}, NO_GRACE], ids=["finished", "dropped"])
def test_ctrl_c(run, undisturbed, grace):
    code, lines = run(moment="update", epoch=2, signals=["SIGINT"], environment=grace)
    assert code == -signal.SIGINT  # a shell calls that 130
    assert lines[-1] == "KeyboardInterrupt"
    assert preempted() == {"signal": "SIGINT", "epoch": 1 if grace else 2, "dropped": 2 if grace else None}
    goes_on(run, undisturbed)


def test_another_exit_code(run):
    code, _ = run(moment="update", epoch=2, signals=["SIGTERM"], environment={"GARAGE_PREEMPTED_EXIT_CODE": "143"})
    assert code == 143


def test_when_everything_is_finished(run, undisturbed):
    code, lines = run(moment="finished", epoch=N_EPOCHS - 1, signals=["SIGTERM"])
    assert code == 75
    assert "SIGTERM came when all epochs were finished: nothing is lost" in lines
    assert digests("run") == undisturbed[:N_EPOCHS]
    assert run()[0] == 0


def test_a_mode_that_saves_nothing(run):
    code, lines = run(moment="update", epoch=2, signals=["SIGTERM"], context={"snapshot_mode": "none"})
    assert code == 75
    assert said(lines).startswith("Interrupted by SIGTERM after epoch 2, which is not saved: snapshot_mode is 'none'. ")
    assert kept("run") == []


@pytest.mark.parametrize("kind", ["swallows", "fails"])
def test_code_that_catches_everything_cannot_save_half_of_an_epoch(run, undisturbed, kind):
    code, lines = run(moment="update", epoch=2, signals=["SIGTERM"], environment=NO_GRACE, **{kind: True})
    assert code == 75
    line = said(lines)
    assert "epoch 2 was dropped after" in line
    assert ("ValueError('half of an epoch')" in line) == (kind == "fails")
    assert kept("run")[-1] == 1
    goes_on(run, undisturbed)


def test_what_is_ignored_goes_on_being_ignored(run, undisturbed):
    code, _ = run(moment="update", epoch=2, signals=["SIGINT", "SIGUSR1"], ignores=["SIGINT", "SIGUSR1"])
    assert code == 0
    assert digests("run") == undisturbed[:N_EPOCHS]


def test_an_epoch_that_was_thought_to_be_short_is_dropped_when_the_grace_period_is_used_up(run, undisturbed):
    environment = {"GARAGE_GRACE_SECONDS": "1"}
    code, lines = run(moment="sampled", epoch=2, signals=["SIGTERM"], environment=environment, waits=True)
    assert code == 75
    assert "epoch 2 was dropped after" in said(lines)
    goes_on(run, undisturbed)


EXPERIMENT = """
import os
import sys

from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import ZeroBaseline
from garage.envs import GymEnv
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy


def wait(place):
    if os.environ.get("WAITS") == place:
        print("waiting", flush=True)
        sys.stdin.readline()


class Waits(TRPO):
    def epoch(self, collect, streams):
        wait(f"epoch {streams.path[-1]}")
        return super().epoch(collect, streams)


@wrap_experiment(archive_launch_repo=False)
def train(ctxt=None, n_epochs=4):
    try:
        wait("beginning")
        set_seed(1)
        trainer = Trainer(ctxt)
        env = GymEnv("CartPole-v1")
        policy = CategoricalMLPPolicy(env.spec, hidden_sizes=(4,))
        algo = Waits(env=env, policy=policy, baseline=ZeroBaseline(env.spec))
        trainer.setup(algo, env)
        trainer.train(n_epochs=n_epochs, batch_size=60)
    finally:
        print("cleaned up")


if __name__ == "__main__":
    train()
"""
GARAGE = [sys.executable, "-m", "garage.cli.main"]
RUN = Path("data/local/experiment/train")


def signalled(words, number, place, code):
    """What a process printed that got a signal where it waited."""
    Path("experiment.py").write_text(EXPERIMENT, encoding="utf-8")
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"WAITS": place},
    )
    while process.stdout.readline() != "waiting\n":
        assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    out, err = process.communicate(input="\n", timeout=120)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    assert "cleaned up" in out
    return messages(out)


def test_a_script_and_garage_resume():
    lines = signalled([sys.executable, "experiment.py"], signal.SIGTERM, "epoch 0", 75)
    assert any(line.startswith("Interrupted by SIGTERM before the first epoch was finished") for line in lines)
    lines = signalled([sys.executable, "experiment.py"], signal.SIGUSR2, "epoch 2", 75)
    (line,) = [line for line in lines if line.startswith("Interrupted")]
    assert line == f"Interrupted by SIGUSR2 after epoch 2, which is saved. To go on: garage resume {RUN}_1"
    subprocess.run([*GARAGE, "resume", f"{RUN}_1"], capture_output=True, check=True)
    subprocess.run([sys.executable, "experiment.py"], capture_output=True, check=True)
    assert len(digests(f"{RUN}_1")) == 4
    assert digests(f"{RUN}_1") == digests(f"{RUN}_2")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_garage_run_and_the_same_command(number, code):
    lines = signalled([*GARAGE, "run", "experiment.py", "--n-epochs", "5"], number, "epoch 2", code)
    (line,) = [line for line in lines if line.startswith("Interrupted") and " after " in line]
    command = "garage run --resume auto experiment.py --n-epochs 5"
    assert line.endswith(f" after epoch 2, which is saved. To go on: {command}")
    subprocess.run([*GARAGE, *command.split()[1:]], capture_output=True, check=True)
    assert [row["epoch"] for row in rows(RUN)] == [0, 1, 2, 3, 4]
    assert events(RUN).count("resume") == 1


def test_outside_of_training():
    lines = signalled([*GARAGE, "run", "experiment.py"], signal.SIGTERM, "beginning", 75)
    assert "Stopped by SIGTERM outside of training, so no epoch is lost. Start it again" in lines


def test_in_the_background_ctrl_c_is_not_for_it():
    words = ["sh", "-c", 'trap "" INT; exec "$0" experiment.py', sys.executable]
    signalled(words, signal.SIGINT, "epoch 2", 0)
    assert len(digests(RUN)) == 4
