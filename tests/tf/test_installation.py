"""Which TensorFlow is installed."""

import importlib
import os
import subprocess
import sys

import pytest

from garage.errors import DependencyError
from garage.tf.installation import check_one_distribution, import_tensorflow

SAID = (
    "tensorflow 9.9 and tensorflow-cpu 9.9 are both installed",
    "pip uninstall --yes tensorflow tensorflow-cpu",
    'pip install "garage[tf]"',
)


def test_without_tensorflow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(DependencyError, match=r'pip install "garage\[tf\]"') as caught:
        import_tensorflow()
    assert isinstance(caught.value, ImportError)


def test_what_is_missing_to_tensorflow_itself_is_not_called_tensorflow(monkeypatch, tmp_path):
    (tmp_path / "tensorflow.py").write_text("import nothing_of_that_name")
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name") as caught:
        import_tensorflow()
    assert not isinstance(caught.value, DependencyError)


def test_one_distribution_is_right():
    check_one_distribution()


@pytest.fixture
def two(tmp_path):
    """A folder by which two distributions seem to be installed."""
    for name in ("tensorflow", "tensorflow_cpu"):
        folder = tmp_path / f"{name}-9.9.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.9\n")
    return tmp_path


def test_with_two_distributions_whatever_computes_says_which_to_remove(two, monkeypatch):
    monkeypatch.syspath_prepend(two)
    monkeypatch.delitem(sys.modules, "garage.tf.flat_variable", raising=False)
    with pytest.raises(DependencyError) as caught:
        importlib.import_module("garage.tf.flat_variable")
    for words in SAID:
        assert words in str(caught.value)


@pytest.mark.long
def test_with_two_distributions_framework_and_seed_work_and_policies_do_not(two):
    script = (
        "import tensorflow\n"
        "from garage.experiment.deterministic import set_seed\n"
        "set_seed(1)\n"
        "from garage.errors import DependencyError\n"
        "try:\n"
        "    import garage.tf.policies\n"
        "except DependencyError as error:\n"
        "    print(error)\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(two), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for words in SAID:
        assert words in printed
