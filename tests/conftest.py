"""Keys of the tests' own, so that nothing is written to the configuration folder of whoever runs them.

And ``--go-on``, which leaves out the tests that have passed with the code and the tests as they are now: for suites of
an hour that are stopped and go on. Whatever changes in ``src`` or ``tests`` makes all of them run again.
"""

import os
import secrets

from blake3 import blake3
from hypothesis import settings

# Before anything is imported or started, so that processes that tests start have it too.
os.environ["GARAGE_SIGNING_KEY"] = secrets.token_hex(32)
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # Ray would write one of its own

# How long an example takes says more about who else uses the machine than about the code.
settings.register_profile("garage", deadline=None)
settings.load_profile("garage")

PASSED = ".pytest_cache/passed.txt"
SOURCES = (
    *("src/**/*.py", "src/**/*.[ch]", "tests/**/*", "examples/**/*", "docs/**/*"),
    *("pyproject.toml", "hatch_build.py"),
)


def pytest_addoption(parser):
    parser.addoption("--go-on", action="store_true", help="leave out the tests that have passed with the same sources")


def pytest_configure(config):
    # Processes that tests are spread over get the options of the first one, so that all leave out the same.
    if config.option.go_on and "passed_before" not in config.option:
        progress = Progress(config.rootpath)
        config.option.passed_before = progress.passed
        config.pluginmanager.register(progress)


def pytest_collection_modifyitems(config, items):
    if config.option.go_on:
        passed = set(config.option.passed_before)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
        items[:] = [item for item in items if item.nodeid not in passed]


class Progress:
    """The tests that have passed, a line each, below a line that says with which sources."""

    def __init__(self, root):
        self.path = root / PASSED
        state = blake3()
        for path in sorted(path for pattern in SOURCES for path in root.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                state.update(str(path.relative_to(root)).encode() + b"\0" + blake3(path.read_bytes()).digest())
        sources, *self.passed = self.path.read_text().splitlines() if self.path.is_file() else [""]
        if sources != state.hexdigest():
            self.passed = []
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(state.hexdigest() + "\n")
        self.called = set()

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            self.called.add(report.nodeid)
        elif report.when == "teardown" and report.passed and report.nodeid in self.called:
            with self.path.open("a") as file:
                file.write(report.nodeid + "\n")
