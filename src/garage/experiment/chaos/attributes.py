"""What users' own objects remember, in words that two processes can compare.

A snapshot holds what `state_dict` says. This looks at all that is there: attributes, variables of closures and of
generators, class attributes, globals of modules. What differs right after a resume is what the snapshot lacks.
"""

import functools
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from garage.experiment.chaos.words import PLAIN, is_value, kind, reduces, short_hash, words

_LIBRARIES = frozenset({"garage", "numpy", "gymnasium", "torch", "builtins"}) | sys.stdlib_module_names
_OPAQUE = frozenset({"garage", "gymnasium"})
"""Packages whose own attributes are not reported, but whose objects may hold users' ones."""
_LEFT_ALONE = frozenset({"tensorflow", "logging", "threading", "_thread", "concurrent", "multiprocessing", "_io"})
"""Packages whose objects are as large as a process, or belong to it."""
_UNSEEN = (types.ModuleType, types.BuiltinFunctionType, types.CodeType, types.FrameType, property)
_INSTALLED = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
COLLECTOR = "collector"
"""The root whose own parts have no names that a user would know."""
_MOST_ENTRIES = 5_000
_DEEPEST = 40
_SHORT = 60


def attributes(roots: Mapping[str, object], module: types.ModuleType | None) -> dict[str, str]:
    """Attributes of users' own objects by path, each in a few words; equal values have equal words.

    Args:
        roots: where to begin, by name.
        module: the user's, whose globals count too, as do those of the user's modules that it imported.
    """
    walk = _Walk()
    for name, root in roots.items():
        walk.visit(name, root, owned=False)
    if module is not None:
        walk.visit_module(module)
    return dict(sorted(walk.entries.items()))


class _Walk:
    """Visits each object once."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self._seen: set[int] = set()
        self._kept: list[object] = []
        """What was made on the way; while it is held, nothing else gets its id."""
        self._n_unnamed: dict[str, int] = {}

    def visit(self, path: str, node: object, *, owned: bool) -> None:
        """Describe an object and what it holds.

        Args:
            path: where it was found.
            node: the object.
            owned: whether a user's object holds it.
        """
        if len(self.entries) >= _MOST_ENTRIES or path.count(".") + path.count("[") > _DEEPEST:
            return
        if isinstance(node, _UNSEEN) or _package(type(node)) in _LEFT_ALONE:
            return
        try:
            self._visit(path, node, owned=owned)
        except Exception as error:  # noqa: BLE001 - of whatever users' objects do when they are looked at
            self.entries[path] = f"cannot be looked at: {type(error).__name__}"

    def visit_module(self, module: types.ModuleType) -> None:
        """Describe the globals of a user's module, and of those of the user's that it imported."""
        if id(module) in self._seen:
            return
        self._seen.add(id(module))
        self.entries[module.__name__] = "a module"
        for name, value in list(vars(module).items()):
            if isinstance(value, types.ModuleType):
                if _is_users_module(value):
                    self.visit_module(value)
            elif not name.startswith("__"):
                self.visit(f"{module.__name__}.{name}", value, owned=not isinstance(value, type | types.FunctionType))

    def _visit(self, path: str, node: object, *, owned: bool) -> None:
        if is_value(node):
            if owned:
                self._say(path, node)
            return
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        self._kept.append(node)
        if isinstance(node, type):
            self._visit_class(node)
        elif isinstance(node, types.FunctionType):
            self._visit_function(path, node)
        elif isinstance(node, types.MethodType):
            self.visit(path, node.__self__, owned=owned)
            self.visit(path, node.__func__, owned=owned)
        elif isinstance(node, types.GeneratorType):
            self._visit_generator(path, node)
        elif isinstance(node, dict | list | tuple | deque):
            self._visit_container(path, node, owned=owned)
        else:
            self._visit_object(path, node, owned=owned)

    def _visit_class(self, cls: type) -> None:
        if not _is_users_code(cls):
            return
        self.entries[cls.__qualname__] = "a class"
        for name, value in list(vars(cls).items()):
            method = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            is_state = not isinstance(method, types.FunctionType | type)
            if not (name.startswith(("_abc_", "__")) and is_state) and not isinstance(method, cached_property):
                self.visit(f"{cls.__qualname__}.{name}", method, owned=is_state)
        self._visit_home(cls.__module__)

    def _visit_function(self, path: str, function: types.FunctionType) -> None:
        """What a function remembers between its calls."""
        if not _is_users_code(function):
            return
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            for value in _contents(cell):
                self.visit(f"{path}.{name}", value, owned=True)
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = function.__defaults__ or ()
        remembered = dict(zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True))
        for name, value in {**remembered, **(function.__kwdefaults__ or {}), **vars(function)}.items():
            if name != "__wrapped__":
                self.visit(f"{path}.{name}", value, owned=True)
        self._visit_home(function.__module__)

    def _visit_generator(self, path: str, generator: "types.GeneratorType[Any, Any, Any]") -> None:
        frame = generator.gi_frame
        if frame is None:
            self.entries[path] = "a generator that has ended"
            return
        self.entries[path] = f"a generator in line {frame.f_lineno}"
        for name, value in list(frame.f_locals.items()):
            self.visit(f"{path}.{name}", value, owned=True)

    def _visit_container(self, path: str, node: Any, *, owned: bool) -> None:  # noqa: ANN401 - any container
        if owned:
            self.entries[path] = f"a {type(node).__qualname__} of {len(node)}"
        pairs: list[tuple[object, object]] = list(node.items() if isinstance(node, dict) else enumerate(node))
        for number, (key, value) in enumerate(pairs):
            name = repr(key) if isinstance(key, PLAIN) else f"#{number}"
            self.visit(f"{path}[{name}]", value, owned=owned)

    def _visit_object(self, path: str, node: object, *, owned: bool) -> None:
        cls = type(node)
        package, users = _package(cls), _is_users(cls)
        if users and not owned and (path.startswith(COLLECTOR) or "._" in path):
            path = self._named(cls)
        if owned and not users and package != "garage" and reduces(cls):
            self._say(path, node)
            return
        if owned or users:
            self.entries[path] = kind(cls)
        for base in cls.__mro__:
            self.visit(path, base, owned=False)
        for name, value in _fields(node):
            self.visit(f"{path}.{name}", value, owned=users or (owned and package not in _OPAQUE))

    def _visit_home(self, name: str) -> None:
        module = sys.modules.get(name)
        if module is not None and _is_users_module(module):
            self.visit_module(module)

    def _named(self, cls: type) -> str:
        """What only parts of ours lead to, such as an environment in a lane, goes by its class."""
        name = cls.__qualname__
        number = self._n_unnamed.get(name, 0)
        self._n_unnamed[name] = number + 1
        return f"{name}()" if number == 0 else f"{name}()#{number}"

    def _say(self, path: str, node: object) -> None:
        text = words(node)
        self.entries[path] = text if len(text) <= _SHORT else f"{kind(type(node))} {short_hash(text.encode())}"


def _fields(node: object) -> Iterator[tuple[str, object]]:
    """Attributes of an object, by name; without those that follow from others, or that only a base of ours uses."""
    found = dict(getattr(node, "__dict__", {}))
    for cls in type(node).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in {"__dict__", "__weakref__"}:
                with_value = getattr(node, name, _UNSEEN)
                if with_value is not _UNSEEN:
                    found[name] = with_value
    bases = [base for base in type(node).__mro__ if _package(base) in _OPAQUE] if _is_users(type(node)) else []
    for name in sorted(found):
        derived = isinstance(getattr(type(node), name, None), cached_property)
        inherited = any(name in vars(base) or name in vars(base).get("__annotations__", {}) for base in bases)
        if not derived and not inherited:
            yield name, found[name]


def _contents(cell: types.CellType) -> list[object]:
    """The value of a closure's variable; none before it has one."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _is_users(cls: type) -> bool:
    """Whether objects of a class are the user's, or of somebody whom only the user knows."""
    return _package(cls) not in _LIBRARIES


def _is_users_code(definition: type | types.FunctionType) -> bool:
    """Whether a definition stands in the user's own files."""
    module = sys.modules.get(str(definition.__module__))
    return _package(definition) not in _LIBRARIES and (module is None or _is_users_module(module))


def _package(definition: type | types.FunctionType) -> str:
    return str(definition.__module__).partition(".")[0]


def _is_users_module(module: types.ModuleType) -> bool:
    """Whether it lies outside of the standard library and of what was installed."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or module.__name__.partition(".")[0] in _LIBRARIES:
        return False
    return _is_outside(file)


@functools.cache
def _is_outside(file: str) -> bool:
    return not any(Path(file).is_relative_to(folder) for folder in _installed())


@functools.cache
def _installed() -> tuple[Path, ...]:
    return tuple(Path(folder) for folder in _INSTALLED)
