"""Recipes: what rebuilds an experiment's objects in an empty script.

A recipe is one line of JSON (where the script and the modules of the objects' classes lay) followed by a
cloudpickle of ``(algo, env)``. It is made once, in ``setup``, and checked by rebuilding from it.
"""

import contextlib
import copyreg
import importlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import cloudpickle
import msgspec
import numpy as np
from blake3 import blake3

from garage.core.ports import Stateful, Surroundings
from garage.core.recipe import Component
from garage.core.types import State
from garage.core.unpickling import unpickled
from garage.errors import RecipeError
from garage.storage.files import from_json

_PROTOCOL = 5
_CALL = "_constructor_call"
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def make(algo: Any, env: Any, surroundings: Surroundings) -> bytes:  # noqa: ANN401 - users' own classes
    """The recipe of an experiment.

    Args:
        algo: what learns.
        env: where.
        surroundings: what they live in.

    Raises:
        RecipeError: something cannot be pickled, or what is rebuilt differs from what was given; it says what.
    """
    try:
        pickled: bytes = cloudpickle.dumps((algo, env), protocol=_PROTOCOL)
    except Exception as error:
        msg = f"cannot pickle it: {type(error).__name__}: {error}"
        raise RecipeError(msg) from error
    header = {"folder": str(_script_folder()), "modules": _modules(algo, env), "surroundings": surroundings.name}
    recipe = json.dumps(header).encode() + b"\n" + pickled
    with surroundings.elsewhere():
        with _said_already():
            rebuilt_algo, rebuilt_env = load(recipe)
        if isinstance(algo, Stateful):
            try:
                rebuilt_algo.load_state_dict(algo.state_dict())
            except Exception as error:
                msg = f"rebuilt from its constructor's arguments, the algorithm does not take its own state: {error}"
                raise RecipeError(msg) from error
        lines = _differences(algo, env, rebuilt_algo, rebuilt_env)
    if lines:
        msg = (
            "rebuilt from their constructors' arguments, the objects differ: "
            + "; ".join(lines)
            + ". Pass it to the constructor, or keep it in state_dict()"
        )
        raise RecipeError(msg)
    return recipe


@contextlib.contextmanager
def _said_already() -> Iterator[None]:
    """Environments that are built once more say nothing of it."""
    logger = logging.getLogger("garage.envs")

    def silence(record: logging.LogRecord) -> bool:  # noqa: ARG001 - whatever it is
        return False

    logger.addFilter(silence)
    try:
        yield
    finally:
        logger.removeFilter(silence)


def surroundings_of(recipe: bytes) -> str:
    """The name of the surroundings in which a recipe's objects can be rebuilt. Nothing is unpickled.

    Raises:
        RecipeError: its header is none.
    """
    return _header(recipe).surroundings


def load(recipe: bytes) -> tuple[Any, Any]:
    """Rebuild ``(algo, env)``. This runs the code that the recipe names.

    Raises:
        RecipeError: a module is missing, or a constructor raised.
    """
    _, _, pickled = recipe.partition(b"\n")
    header = _header(recipe)
    try:
        try:
            algo, env = unpickled(pickled)
        except Exception as error:
            if _missing_module(error) is None:
                raise
            # The script's folder was importable when the recipe was made; it stays so for what is imported later.
            sys.path.append(header.folder)
            importlib.invalidate_caches()
            try:
                algo, env = unpickled(pickled)
            except BaseException:
                sys.path.remove(header.folder)
                raise
    except Exception as error:
        missing = _missing_module(error)
        if missing is not None:
            # Of a package that is missing as a whole, only the modules that were needed are recorded.
            inside = [file for name, file in header.modules.items() if f"{name}.".startswith(f"{missing}.")]
            place = f"It was at {inside[0]}" if inside else f"The script lay in {header.folder}"
            msg = (
                f"Cannot rebuild the experiment: there is no module {missing!r}. {place}. "
                "Put its folder on PYTHONPATH, or install it; or call trainer.setup(algo, env) before restore."
            )
            raise RecipeError(msg) from error
        msg = (
            f"Cannot rebuild the experiment: {type(error).__name__}: {str(error).rstrip('.')}. Did its code change, or "
            f"does a script in {header.folder} register something first? Import that before restore, or call "
            "trainer.setup(algo, env) with objects of your own before restore, to load values only."
        )
        raise RecipeError(msg) from error
    return algo, env


def _missing_module(error: BaseException | None) -> str | None:
    """The module that was not found, if an error came of that, as where a world's registration names one."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    return None if error is None else error.name


def dump_opaque(path: str, part: object) -> bytes:
    """Pickle an object that has no state of its own, with the state of the components in it.

    Raises:
        RecipeError: it cannot be pickled.
    """
    file = io.BytesIO()
    try:
        _OpaquePickler(file, protocol=_PROTOCOL).dump(part)
    except Exception as error:
        msg = (
            f"Cannot save `{path}`: it has no state_dict(), so it is pickled whole, which raised "
            f"{type(error).__name__}: {error}. Give it state_dict() and load_state_dict(state)."
        )
        raise RecipeError(msg) from error
    return file.getvalue()


def load_opaque(data: bytes) -> Any:  # noqa: ANN401 - users' own classes
    """The inverse of `dump_opaque`. This runs the code that the pickle names.

    Raises:
        RecipeError: it cannot be unpickled.
    """
    try:
        return unpickled(data)
    except Exception as error:
        msg = f"Cannot unpickle an opaque part: {type(error).__name__}: {error}. Did its code change?"
        raise RecipeError(msg) from error


class _OpaquePickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """A component by itself pickles as its constructor call; here, what it has learned goes along."""

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - pickle's protocol
        if isinstance(obj, Component) and isinstance(obj, Stateful):
            call, arguments = obj.__reduce__()
            return _with_state, (call, arguments, obj.state_dict())
        if isinstance(obj, Component):
            return copyreg.__newobj__, (type(obj),), vars(obj)  # type: ignore[attr-defined] # the stub lacks it
        return super().reducer_override(obj)


def _with_state(call: Callable[..., Any], arguments: tuple[Any, ...], state: State) -> Any:  # noqa: ANN401 - see above
    made = call(*arguments)
    made.load_state_dict(state)
    return made


class _Header(msgspec.Struct):
    """The first line of a recipe."""

    folder: str
    modules: dict[str, str]
    surroundings: str = "process"


def _header(recipe: bytes) -> _Header:
    try:
        return from_json(recipe.partition(b"\n")[0], _Header)
    except ValueError as error:
        msg = (
            f"The recipe's header cannot be read: {error}. Was it made by another program? Values load without it: "
            "call trainer.setup(algo, env) with objects of your own before restore."
        )
        raise RecipeError(msg) from error


def _script_folder() -> Path:
    main = sys.modules.get("__main__")
    file = None if main is None else main.__dict__.get("__file__")
    return Path(file).resolve().parent if file else Path.cwd()


def _modules(*objects: Any) -> dict[str, str]:
    """Files of the modules outside of garage whose classes and functions the objects are made of."""
    modules = {}
    for _, part in parts("", objects):
        definition = part if isinstance(part, type | FunctionType) else type(part)
        module = sys.modules.get(definition.__module__)
        file = None if module is None else module.__dict__.get("__file__")
        if file and not module.__name__.startswith("garage."):  # type: ignore[union-attr] # it has a file, so it is one
            modules[module.__name__] = str(Path(file).resolve())  # type: ignore[union-attr] # see above
    return modules


def parts(path: str, node: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - users' own classes
    """Everything that an experiment's objects are made of, by path; each object once, plain values left out."""
    yield from _parts(path, node, set())


def _parts(path: str, node: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - users' own classes
    if id(node) in seen or isinstance(node, (*_PLAIN, np.ndarray)):
        return
    seen.add(id(node))
    if not isinstance(node, Mapping | list | tuple):
        yield path, node
    for child_path, child in _children(path, node):
        yield from _parts(child_path, child, seen)


def _children(path: str, node: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - users' own classes
    """What a container or a component holds; other people's objects are wholes."""
    if isinstance(node, Mapping):
        return [(f"{path}[{key!r}]", value) for key, value in node.items()]
    if isinstance(node, list | tuple):
        return [(f"{path}[{index}]", value) for index, value in enumerate(node)]
    if isinstance(node, Component):
        attributes = sorted(vars(node).items(), key=lambda attribute: attribute[0] == _CALL)  # by their own names first
        return [(f"{path}.{name}", value) for name, value in attributes]
    return []


def _described(path: str, node: Any, env: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - users' own classes
    """Attributes of components by path, in words that can be compared; other people's objects by their type."""
    if isinstance(node, Mapping | list | tuple) or (isinstance(node, Component) and node is not env):
        for child_path, child in _children(path, node):
            if not _is_derived(node, child_path.removeprefix(f"{path}.")):
                yield from _described(child_path, child, env)
    elif isinstance(node, np.ndarray):
        yield path, f"{node.dtype}{list(node.shape)} {blake3(node.tobytes()).hexdigest()[:12]}"
    elif isinstance(node, _PLAIN):
        yield path, repr(node)
    else:
        yield path, f"a {type(node).__qualname__}"


def _is_derived(node: Any, name: str) -> bool:  # noqa: ANN401 - see above
    """Whether an attribute follows from the others."""
    return name == _CALL or isinstance(getattr(type(node), name, None), cached_property)


def _differences(algo: Any, env: Any, rebuilt_algo: Any, rebuilt_env: Any) -> list[str]:  # noqa: ANN401 - see above
    lines = [] if env.spec == rebuilt_env.spec else [f"`env.spec` is {rebuilt_env.spec} instead of {env.spec}"]
    ours, theirs = dict(_described("algo", algo, env)), dict(_described("algo", rebuilt_algo, rebuilt_env))
    return lines + [
        f"`{path}` is {theirs.get(path, 'missing')} instead of {ours.get(path, 'missing')}"
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]
