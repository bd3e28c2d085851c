"""What an experiment's objects were made with, in words that can be compared, and what code of the user's they run."""

import inspect
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from blake3 import blake3
from gymnasium.envs import registration

from garage.core.options import plain
from garage.core.recipe import Component
from garage.core.types import EnvSpec
from garage.experiment.fingerprint import differences
from garage.experiment.representation import representation

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
_LONGEST = 120
_LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))


def settings(algo: object, env: object) -> dict[str, Any]:
    """Two tables for a fingerprint.

    Returns:
        ``settings``: each object's type and its constructor's arguments, by path, such as ``algo.discount``.
        ``code``: by version of Python, whose bytecode it is, and by path, a hash of the user's own code that an object
        is made of: its classes and functions, those that they refer to by name, and constants in capitals.
    """
    made_with: dict[str, str] = {}
    code: dict[str, str] = {}
    seen: set[int] = set()
    for name, part in (("env", env), ("algo", algo)):
        for path, value in _walk(name, part, seen):
            made_with[path] = _in_words(value)
            digest = _code_digest(value)
            if digest is not None:
                code[path] = digest
    return {"settings": made_with, "code": {".".join(platform.python_version_tuple()[:2]): code}}


def changes(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """What differs between the `settings` of two fingerprints, one line each; nothing if one of them has none."""
    was, is_now = recorded.get("settings"), present.get("settings")
    lines = differences(was, is_now) if isinstance(was, Mapping) and isinstance(is_now, Mapping) else []
    codes, codes_now = recorded.get("code"), present.get("code")
    if not isinstance(codes, Mapping) or not isinstance(codes_now, Mapping):
        return lines
    for version in codes.keys() & codes_now.keys():
        old, new = codes[version], codes_now[version]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changed = [path for path in old.keys() & new.keys() if old[path] != new[path]]
            lines += [f"{path}: its code has changed" for path in sorted(changed)]
    return lines


def _walk(path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - users' own classes
    """A value, and what it was made with, by path; a component that was there before is not gone into again."""
    if isinstance(value, EnvSpec):  # follows from the world
        return
    if isinstance(value, Component):
        if id(value) in seen:
            return
        seen.add(id(value))
        yield path, value
        for name, argument in _arguments(value):
            yield from _walk(f"{path}.{name}", argument, seen)
    elif isinstance(value, list | tuple) and any(isinstance(each, Component) for each in value):
        for index, each in enumerate(value):
            yield from _walk(f"{path}[{index}]", each, seen)
    elif isinstance(value, Mapping) and any(isinstance(each, Component) for each in value.values()):
        for key, each in value.items():
            yield from _walk(f"{path}[{key!r}]", each, seen)
    else:
        yield path, value


def _arguments(component: Component) -> Iterator[tuple[str, Any]]:
    """Of its constructor, by name, defaults too."""
    _, (_, positional, named) = component.__reduce__()
    bound = inspect.signature(type(component).__init__).bind(component, *positional, **named)
    bound.apply_defaults()
    kinds = inspect.signature(type(component).__init__).parameters
    for name, value in list(bound.arguments.items())[1:]:
        if kinds[name].kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        else:
            yield name, value


def _in_words(value: object) -> str:
    """A value in words that are the same in each process; other people's objects by their type alone."""
    text = _text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({blake3(text.encode()).hexdigest()[:12]})"


def _text(value: Any) -> str:  # noqa: ANN401 - users' own classes
    text = f"a {type(value).__qualname__}"
    if isinstance(value, (*_PLAIN, set, frozenset)):
        text = representation(plain(value))
    elif isinstance(value, list | tuple):
        text = f"({', '.join(map(_text, value))})"
    elif isinstance(value, Mapping):
        text = f"{{{', '.join(f'{_text(key)}: {_text(each)}' for key, each in value.items())}}}"
    elif isinstance(value, np.ndarray):
        text = f"{value.dtype}{list(value.shape)} {blake3(value.tobytes()).hexdigest()[:12]}"
    elif isinstance(value, partial):
        given = [_text(part) for part in (value.args, value.keywords) if part]
        text = f"partial of {_text(value.func)} with {' and '.join(given)}"
    elif isinstance(value, registration.EnvSpec):
        text = repr(value.id) + (f" with {_text(value.kwargs)}" if value.kwargs else "")
    elif isinstance(value, type | FunctionType):
        closed_over = _closed_over(value) if isinstance(value, FunctionType) else {}
        text = value.__qualname__ + (f" with {_text(closed_over)}" if closed_over else "")
    return text


def _closed_over(function: FunctionType) -> dict[str, Any]:
    names = function.__code__.co_freevars
    cells = zip(names, function.__closure__ or (), strict=True)
    found = {name: cell.cell_contents for name, cell in cells if name != "__class__"}
    return {name: value for name, value in found.items() if isinstance(value, _PLAIN)}


def _code_digest(value: object) -> str | None:
    """Of the user's own code that a value is made of; None if there is none."""
    definition = value.func if isinstance(value, partial) else value
    if isinstance(value, registration.EnvSpec):
        definition = value.entry_point
        if isinstance(definition, str):
            module, _, name = definition.partition(":")
            definition = getattr(sys.modules.get(module), name, None)
    definition = definition if isinstance(definition, type | FunctionType) else type(definition)
    pieces = list(_pieces(definition, set()))
    return blake3("\n".join(pieces).encode()).hexdigest()[:12] if pieces else None


def _pieces(definition: object, seen: set[int]) -> Iterator[str]:
    """The code of a class or function and of what it refers to, each once."""
    if id(definition) in seen or not _is_users(definition):
        return
    seen.add(id(definition))
    if isinstance(definition, FunctionType):
        yield from _of_function(definition, seen)
    elif isinstance(definition, type):
        yield representation(_constants(vars(definition)))
        for name, member in sorted(vars(definition).items()):  # others than functions come as it is used
            for function in _functions(member):
                yield from (f"{name} {piece}" for piece in _pieces(function, seen))
        for base in definition.__bases__:
            yield from _pieces(base, seen)


def _of_function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    yield from _of_code(function.__code__)
    yield representation(_constants(dict(enumerate(function.__defaults__ or ())), in_capitals=False))
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        yield from _pieces(value, seen)
        if name.isupper():
            yield representation(_constants({name: value}))
    for cell in function.__closure__ or ():
        yield from _pieces(_content(cell), seen)


def _content(cell: Any) -> object:  # noqa: ANN401 - Python has no public name for the type
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def _functions(member: object) -> Sequence[object]:
    if isinstance(member, staticmethod | classmethod):
        return (member.__func__,)
    if isinstance(member, property):
        return (member.fget, member.fset)
    return (member,)


def _of_code(code: CodeType) -> Iterator[str]:
    """Bytecode and constants, without files and lines."""
    yield f"{code.co_name} {code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:
            yield representation(constant)


def _names(code: CodeType) -> list[str]:
    found = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += _names(constant)
    return list(dict.fromkeys(found))


def _constants(values: Mapping[Any, Any], *, in_capitals: bool = True) -> dict[Any, Any]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, _PLAIN) and (not in_capitals or str(name).isupper())
    }


def _is_users(definition: object) -> bool:
    """Whether a class or function is neither garage's nor a library's."""
    if not isinstance(definition, type | FunctionType):
        return False
    module = definition.__module__ or ""
    if module == "__main__":
        return True
    if module.partition(".")[0] in {"garage", *sys.stdlib_module_names}:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not any(Path(file).resolve().is_relative_to(folder) for folder in _LIBRARIES)
