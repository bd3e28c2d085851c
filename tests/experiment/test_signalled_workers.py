"""Signals to a whole process group and to the workers themselves, in the middle of a collect."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from experiment.parts import digests, messages
from resume.conftest import assert_clean

TESTS = Path(__file__).parents[1]
SCRIPT = """
    import os, signal, sys
    from pathlib import Path
    from experiment.parts import Walk, tiny
    from garage.experiment import ExperimentContext, Trainer
    from garage.experiment.deterministic import set_seed
    from garage.sampler import ProcessSampler

    directory, number, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    trainer_pid = os.getpid()

    class Struck(Walk):
        steps = 0

        def step(self, action):
            if os.getpid() != trainer_pid:
                (folder / str(os.getpid())).touch()
                Struck.steps += 1
            if number and Struck.steps == 100 and not (folder / "struck").exists():
                (folder / "struck").touch()
                os.killpg(trainer_pid, number)
                os.kill(os.getpid(), number)
            return super().step(action)

    set_seed(2)
    trainer = Trainer(ExperimentContext(directory, resumes=True), sampler=ProcessSampler(2))
    trainer.setup(*tiny(Struck), n_lanes=4, n_groups=2)
    trainer.train(n_epochs=4, batch_size=60)
"""


def run(tmp_path, name, number=0, *, code=0, **environment):
    """The lines that were printed by a run that ended with a code."""
    script, folder = tmp_path / "script.py", tmp_path / f"{name} workers"
    script.write_text(textwrap.dedent(SCRIPT))
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(tmp_path / name), str(number), str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])} | environment,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    for pid in (int(path.name) for path in folder.iterdir() if path.name != "struck"):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert (folder / "struck").exists() == bool(number), printed
    return messages(printed)


@pytest.mark.parametrize(
    ("number", "grace", "code"),
    [
        (signal.SIGTERM, "60", 75),
        pytest.param(signal.SIGINT, "0", -signal.SIGINT, marks=pytest.mark.long),
        pytest.param(signal.SIGUSR1, "0", 75, marks=pytest.mark.long),
    ],
)
def test_the_trainer_answers_and_its_workers_end_with_it(tmp_path, number, grace, code):
    run(tmp_path, "undisturbed")
    lines = run(tmp_path, "struck", int(number), code=code, GARAGE_GRACE_SECONDS=grace)
    assert not any("A worker" in line for line in lines)
    (line,) = [line for line in lines if line.startswith("Interrupted")]
    assert ("was dropped" in line) == (grace == "0")
    run(tmp_path, "struck", int(number))
    assert digests(tmp_path / "struck") == digests(tmp_path / "undisturbed")
    assert_clean(tmp_path / "struck")
