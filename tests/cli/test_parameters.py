from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pytest

from garage import wrap_experiment
from garage.cli.parameters import converted, described, parsed
from garage.errors import ArgumentError


@wrap_experiment
def plain(ctxt=None, *, seed=1, gain=0.5, name="a", sizes=(32, 32), plot=False, anything=None):
    """Of each type that a default can have."""


@wrap_experiment
def annotated(ctxt, n_epochs: "int", scale: float | None = None, sizes: list[int] | None = None, **others):
    """With annotations, one of them as text."""


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ([], {}),
        (["--seed", "3"], {"seed": 3}),
        (["--seed=3", "--gain", "-1e-3"], {"seed": 3, "gain": -1e-3}),
        (["--gain", "2"], {"gain": 2.0}),
        (["--name", "3"], {"name": "3"}),
        (["--name="], {"name": ""}),
        (["--name=a=b"], {"name": "a=b"}),
        (["--sizes", "[8, 8]"], {"sizes": (8, 8)}),
        (["--sizes", "8,"], {"sizes": (8,)}),
        (["--plot"], {"plot": True}),
        (["--plot", "--seed", "2"], {"plot": True, "seed": 2}),
        (["--plot", "False"], {"plot": False}),
        (["--anything", "{'a': 1}"], {"anything": {"a": 1}}),
        (["--anything", "None"], {"anything": None}),
        (["--anything", "true"], {"anything": True}),
        (["--anything", "[a"], {"anything": "[a"}),
    ],
)
def test_defaults_say_what_values_are(words, arguments):
    got = parsed(words, plain)
    assert got == arguments
    assert [type(value) for value in got.values()] == [type(value) for value in arguments.values()]


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["--n-epochs", "3"], {"n_epochs": 3}),
        (["--n_epochs", "3", "--scale", "None"], {"n_epochs": 3, "scale": None}),
        (["--n-epochs", "3", "--scale", "1"], {"n_epochs": 3, "scale": 1.0}),
        (["--n-epochs", "3", "--sizes", "(1, 2)"], {"n_epochs": 3, "sizes": [1, 2]}),
        (["--n-epochs", "3", "--more", "1.5"], {"n_epochs": 3, "more": 1.5}),
    ],
)
def test_annotations_say_what_values_are(words, arguments):
    assert parsed(words, annotated) == arguments


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--sed", "3"], "there is no parameter --sed"),
        (["--ctxt", "3"], "there is no parameter --ctxt"),
        (["seed", "3"], "got 'seed' where --KEY was expected"),
        (["--", "3"], "got '--' where --KEY was expected"),
        (["--seed"], "--seed needs a value"),
        (["--seed", "--plot"], "--seed needs a value"),
        (["--seed", "1.5"], "--seed must be int, got '1.5'"),
        (["--seed", "true"], "--seed must be int, got 'true'"),
        (["--gain", "high"], "--gain must be float, got 'high'"),
        (["--plot", "maybe"], "--plot must be true|false, got 'maybe'"),
        (["--sizes", "8"], "--sizes must be tuple, got '8'"),
        (["--sizes", "[8"], "--sizes must be tuple, got '[8'"),
        (["--seed", "1", "--seed=2"], "--seed is given twice"),
    ],
)
def test_what_does_not_fit_is_refused_with_all_parameters(words, reason):
    with pytest.raises(ArgumentError) as caught:
        parsed(words, plain)
    first, *listed = str(caught.value).splitlines()
    assert first == f"Cannot run plain: {reason}. Its parameters:"
    assert listed[0] == "  --seed int (default: 1)"
    assert len(listed) == len(described(plain)) == 6


def test_what_has_no_default_must_be_given():
    with pytest.raises(ArgumentError, match=r"--n-epochs must be given(.|\n)*--n-epochs int \(required\)"):
        parsed(["--scale", "1"], annotated)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("2", Literal[1, 2], 2),
        ("0", Literal[0], 0),
        ("3", Annotated[int, "metres"], 3),
        ("a/b", Path, Path("a/b")),
        ("[1]", Sequence[int], [1]),
        ("x", int | str, "x"),
        ("3", str | int, 3),
        ("{1: 2}", dict[int, int], {1: 2}),
    ],
)
def test_kinds(text, kind, value):
    assert converted(text, kind) == value


@pytest.mark.parametrize(
    ("text", "kind"), [("3", Literal[1, 2]), ("'ab'", Sequence[str]), ("1", None), ("1", object()), ("1", type)]
)
def test_what_is_not_of_its_kind_is_refused(text, kind):
    with pytest.raises(ValueError, match=r".+"):
        converted(text, kind)
