"""``--key value`` as arguments of an experiment, by its signature."""

import ast
import contextlib
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from garage.errors import ArgumentError
from garage.experiment.context import Experiment

_BOOLS = {"true": True, "false": False}
_CONTAINERS = (Sequence, Mapping, AbstractSet)
_MISSING = UNKNOWN = inspect.Parameter.empty


def parsed(words: Sequence[str], experiment: Experiment[Any]) -> dict[str, Any]:
    """Arguments for ``experiment`` from the words of a command line.

    A parameter's annotation, or else its default's type, says what a value is; without either it is a Python
    literal, or else a str. Dashes in names equal underscores, and ``--flag`` alone is ``--flag true``.

    Raises:
        ArgumentError: a parameter is unknown, missing or given twice, or a value is not of its type.
    """
    parameters = _parameters(experiment)

    def kind_of(name: str) -> Any:  # noqa: ANN401 - an annotation can be anything
        parameter = _named(parameters, name)
        return UNKNOWN if parameter is None else _kind(parameter)

    arguments = read(words, kind_of, lambda reason: _refused(experiment, reason))
    missing = [
        f"--{name.replace('_', '-')}"
        for name, parameter in parameters.items()
        if parameter.default is _MISSING and name not in arguments and not _takes_any(parameter)
    ]
    if missing:
        raise ArgumentError(_refused(experiment, f"{', '.join(missing)} must be given"))
    return arguments


def read(words: Sequence[str], kind_of: Callable[[str], Any], refused: Callable[[str], str]) -> dict[str, Any]:
    """Values by name from the words of a command line.

    Args:
        words: ``--name value``, ``--name=value``, or ``--name`` alone for a bool.
        kind_of: gives the kind of a name's value, `UNKNOWN` if there is no such name.
        refused: makes a message of a reason.

    Raises:
        ArgumentError: a name is unknown or given twice, or a value is not of its kind.
    """
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or not name:
            raise ArgumentError(refused(f"got {option!r} where --KEY was expected"))
        kind = kind_of(name)
        if kind is UNKNOWN:
            raise ArgumentError(refused(f"there is no parameter {option}"))
        if name in values:
            raise ArgumentError(refused(f"{option} is given twice"))
        if not equals:
            if rest and not rest[0].startswith("--"):
                value = rest.pop(0)
            elif kind is bool:
                value = "true"
            else:
                raise ArgumentError(refused(f"{option} needs a value"))
        try:
            values[name] = converted(value, kind)
        except (ValueError, SyntaxError) as error:
            raise ArgumentError(refused(f"{option} must be {_words(kind)}, got {value!r}")) from error
    return values


def described(experiment: Experiment[Any]) -> list[tuple[str, str]]:
    """Each parameter as it is written on a command line, and its default."""
    return [
        (
            "--KEY VALUE" if _takes_any(parameter) else f"--{name.replace('_', '-')} {_words(_kind(parameter))}",
            "required" if parameter.default is _MISSING else f"default: {parameter.default!r}",
        )
        for name, parameter in _parameters(experiment).items()
    ]


def converted(text: str, kind: Any) -> Any:  # noqa: ANN401 - whatever a signature asks for
    """A word as a value of a kind.

    Raises:
        ValueError: it is none; or SyntaxError, from a literal.
    """
    origin = get_origin(kind)
    if origin is Annotated:
        return converted(text, get_args(kind)[0])
    if origin in {Union, types.UnionType}:
        return _first(text, sorted(get_args(kind), key=lambda member: (member is str, member is not types.NoneType)))
    if origin is Literal:
        choices = {str(choice): choice for choice in get_args(kind)}
        return choices[_one_of(text, choices)]
    base = origin or kind
    if base in _SCALARS:
        return _SCALARS[base](text)
    if isinstance(base, type) and issubclass(base, PurePath):
        return base(text)
    if isinstance(base, type) and issubclass(base, _CONTAINERS):
        return _container(ast.literal_eval(text), base)
    msg = f"no word of a command line can be a {kind}"
    raise ValueError(msg)


def _first(text: str, kinds: Sequence[Any]) -> object:
    """As the first of the kinds that takes it."""
    for kind in kinds[:-1]:
        with contextlib.suppress(ValueError, SyntaxError):
            return converted(text, kind)
    return converted(text, kinds[-1])


def _container(value: Any, base: type) -> object:  # noqa: ANN401 - any literal
    if base in {list, tuple, set, frozenset} and isinstance(value, list | tuple | set):
        value = base(value)
    if isinstance(value, str) or not isinstance(value, base):
        msg = f"{value!r} is not a {base.__name__}"
        raise ValueError(msg)  # noqa: TRY004 - it is a wrong value of the user's, not a wrong call of ours
    return value


def _literal_or_text(text: str) -> object:
    if text.lower() in _BOOLS:
        return _BOOLS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _none(text: str) -> None:
    _one_of(text, {"None"})


def _bool(text: str) -> bool:
    return _BOOLS[_one_of(text.lower(), _BOOLS)]


def _one_of(text: str, choices: Iterable[str]) -> str:
    if text not in choices:
        msg = f"{text!r} is none of {', '.join(choices)}"
        raise ValueError(msg)
    return text


_SCALARS: dict[Any, Callable[[str], Any]] = {
    Any: _literal_or_text,
    None: _none,
    types.NoneType: _none,
    bool: _bool,
    int: int,
    float: float,
    str: str,
}


def _parameters(experiment: Experiment[Any]) -> dict[str, inspect.Parameter]:
    """Those after ``ctxt``, with annotations that are written as text evaluated where that is possible."""
    try:
        found = inspect.signature(experiment, eval_str=True).parameters
    except (NameError, AttributeError, TypeError, SyntaxError):
        found = inspect.signature(experiment).parameters
    return dict(list(found.items())[1:])


def _named(parameters: Mapping[str, inspect.Parameter], name: str) -> inspect.Parameter | None:
    """The parameter that takes ``name``: that one, or ``**others``."""
    anything = next((parameter for parameter in parameters.values() if _takes_any(parameter)), None)
    found = parameters.get(name)
    return anything if found is None or _takes_any(found) else found


def _takes_any(parameter: inspect.Parameter) -> bool:
    return parameter.kind is inspect.Parameter.VAR_KEYWORD


def _kind(parameter: inspect.Parameter) -> Any:  # noqa: ANN401 - an annotation can be anything
    annotation, default = parameter.annotation, parameter.default
    if annotation is not _MISSING and not isinstance(annotation, str):
        return annotation
    return Any if default is _MISSING or default is None else type(default)


def _words(kind: Any) -> str:  # noqa: ANN401 - an annotation can be anything
    if kind is Any:
        return "value"
    if kind is bool:
        return "true|false"
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind).replace("typing.", "")


def _refused(experiment: Experiment[Any], reason: str) -> str:
    lines = [f"  {option} ({default})" for option, default in described(experiment)] or ["  none"]
    return "\n".join([f"Cannot run {experiment.name}: {reason}. Its parameters:", *lines])
