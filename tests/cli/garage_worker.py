"""``garage`` in a process of its own for each command, forked from one that has imported what commands load."""

import importlib
import os
import sys

from garage.cli.main import main
from storage.children import serve

for name in ("numpy", "gymnasium", "garage.experiment", "garage.np.policies", "garage.baselines", "garage.algos"):
    importlib.import_module(name)


def run(job):
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    for number, name in enumerate((os.devnull, job["stdout"], job["stderr"])):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["garage", *job["words"]]
    sys.orig_argv = [sys.executable, "-W", "error", "-m", "garage.cli.main", *job["words"]]  # to start itself anew by
    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(run)
