"""Loading the file that ``garage run`` names, and finding its experiments."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from garage.errors import ArgumentError
from garage.experiment.context import Experiment, loading


def split_target(target: str) -> tuple[Path, str | None]:
    """``FILE[:FUNCTION]`` as its parts.

    Raises:
        ArgumentError: there is no such file, or it is not Python's.
    """
    path, function = Path(target), None
    if not path.is_file() and ":" in target:
        file, _, function = target.rpartition(":")
        path = Path(file)
    if target.startswith("-"):
        msg = f"FILE comes before its parameters; got {target}. For example: garage run trpo.py --seed 2."
        raise ArgumentError(msg)
    if not path.is_file():
        msg = f"There is no file {path}. Expected FILE or FILE:FUNCTION, such as trpo.py or trpo.py:trpo_cartpole."
        raise ArgumentError(msg)
    if path.suffix != ".py" or "." in path.stem:
        msg = f"Cannot load {path} as a module: expected a name such as trpo.py, with no other dot in it."
        raise ArgumentError(msg)
    return path, function


def load(path: Path) -> ModuleType:
    """Load a file as the module named by its stem, with its folder on ``sys.path``, as ``python FILE`` has it.

    Raises:
        ArgumentError: a module of that name is loaded already, or the file starts an experiment.
    """
    path, name = path.resolve(), path.stem
    if name in sys.modules:
        msg = (
            f"Cannot load {path} as the module {name!r}: there is another module of that name. "
            f"Rename the file, for example to {name}_experiment.py."
        )
        raise ArgumentError(msg)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        msg = f"Cannot load {path}: Python knows no loader for it."
        raise ArgumentError(msg)
    module = importlib.util.module_from_spec(spec)
    # Classes of the module pickle by reference, which needs both of these.
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    # As after `python FILE`: recipes record the script's folder, and a trainer without a context takes its name.
    sys.modules["__main__"].__file__ = str(path)
    with loading():
        # From its source, as `python FILE` does: cached bytecode goes by size and second, which an edit may not change.
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - the user's own
    return module


def experiments_of(module: ModuleType, function: str | None) -> dict[str, Experiment[Any]]:
    """The experiments that a module defines, by name; only ``function``, if it is given.

    Raises:
        ArgumentError: there is none, or not that one.
    """
    everything = {name: value for name, value in vars(module).items() if isinstance(value, Experiment)}
    if function is None:
        names = {value: name for name, value in everything.items() if value.__module__ == module.__name__}
        own = {name: value for value, name in names.items()}
        if not own:
            msg = f"{module.__file__} defines no experiment. Put @wrap_experiment above a function of it."
            raise ArgumentError(msg)
        return own
    if function not in everything:
        msg = f"{module.__file__} has no experiment {function!r}; it has: {', '.join(everything) or 'none'}."
        raise ArgumentError(msg)
    return {function: everything[function]}


def only(experiments: dict[str, Experiment[Any]], path: Path) -> Experiment[Any]:
    """The one experiment.

    Raises:
        ArgumentError: there are several.
    """
    if len(experiments) > 1:
        lines = "\n".join(f"  garage run {path}:{name}" for name in experiments)
        msg = f"{path} defines {len(experiments)} experiments; say which:\n{lines}"
        raise ArgumentError(msg)
    return next(iter(experiments.values()))
