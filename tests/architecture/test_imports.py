"""What importing costs, and who may know what of whom."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import garage

PACKAGE = Path(garage.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = Path(__file__).parents[1]


def loaded_by(statement):
    """Names of the top-level packages that a new process has loaded after a statement."""
    code = (
        f"import json, sys\n{statement}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_garage_loads_next_to_nothing():
    heavy = {"numpy", "gymnasium", "torch", "tensorflow", "ray", "cloudpickle", "msgspec"}
    assert not heavy & loaded_by("import garage")


def test_experiments_load_no_framework():
    statement = (
        "from garage.experiment import Trainer, wrap_experiment\n"
        "import garage\n"
        "assert garage.wrap_experiment is wrap_experiment and garage.Trainer is Trainer\n"
        "from garage import wrap_experiment\n"
        "from garage.experiment.deterministic import set_seed\nfrom garage.process import get_seed\n"
        "import garage.algos, garage.baselines, garage.cli.main, garage.envs, garage.np.policies"
    )
    loaded = loaded_by(statement)
    assert "numpy" in loaded
    assert not {"torch", "tensorflow", "ray"} & loaded


def test_public_names_are_all_there_and_others_are_not():
    for name in garage.__all__:
        assert getattr(garage, name) is not None
    with pytest.raises(AttributeError, match="module 'garage' has no attribute 'trainer_of'"):
        _ = garage.trainer_of
    assert garage.__version__.count(".") == 2


def imported(path):
    """Modules and names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports relatively"
            yield from ((node.module, alias.name) for alias in node.names)


def private(name):
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_imports_anothers_private_names(path):
    aliases = set()
    for module, name in imported(path):
        assert not private(module), f"{path.name} imports {module}"
        assert not private(name), f"{path.name} imports {name} of {module}"
        if (module or "").startswith("garage"):
            aliases.add(name or module)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            assert not private(node.attr), f"{path.name} uses {node.value.id}.{node.attr}"


def test_names_of_files_say_what_is_in_them():
    vague = {"common", "utils", "util", "base", "helpers", "helper", "misc", "manager"}
    for path in (*MODULES, *TESTS.rglob("*.py")):
        assert not vague & {path.stem, path.parent.name}, path


def test_every_module_says_what_it_is_for():
    assert [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []
