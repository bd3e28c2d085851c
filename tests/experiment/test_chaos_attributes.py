"""What `garage chaos` sees of users' own objects."""

import copy
import itertools
import random
import types
from collections import deque
from functools import cached_property

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiment.parts import trained
from garage.core.recipe import Component
from garage.experiment.chaos.attributes import COLLECTOR, attributes
from garage.experiment.chaos.words import is_value, words
from garage.experiment.watching import watched_by


class Held:
    """Holds whatever it is given."""

    def __init__(self, value):
        self.value = value


class Slotted:
    __slots__ = ("empty", "n")

    def __init__(self, n):
        self.n = n


class Derived(Component):
    def __init__(self, n):
        self.n = n

    @cached_property
    def double(self):
        return 2 * self.n


class Unwilling:
    @property
    def __dict__(self):
        msg = "not yours to see"
        raise RuntimeError(msg)


def counting(n):
    def step():
        nonlocal n
        n += 1
        return n

    return step


def halving(value):
    while True:
        value /= 2
        yield value


def advanced_generator(n):
    generator = np.random.default_rng(1)
    generator.random(n)
    return generator


def advanced_random(n):
    generator = random.Random(1)
    for _ in range(n):
        generator.random()
    return generator


def advanced_torch(n):
    generator = torch.Generator().manual_seed(1)
    torch.rand(n, generator=generator)
    return generator


def advanced(iterator, n):
    for _ in range(n):
        next(iterator)
    return iterator


def stepped(n):
    module = torch.nn.Linear(1, 1)
    for parameter in module.parameters():
        torch.nn.init.ones_(parameter)
    optimiser = torch.optim.Adam(module.parameters())
    for _ in range(n):
        module(torch.ones(1, 1)).sum().backward()
        optimiser.step()
    return optimiser


KINDS = {
    "number": lambda n: n,
    "text": str,
    "array": lambda n: np.full(3, n),
    "array of objects": lambda n: np.array([n, "a"], object),
    "list": lambda n: [0] * n,
    "deque": lambda n: deque([n]),
    "set": lambda n: {n, "a"},
    "dict of objects": lambda n: {"a": Held(n)},
    "object": Held,
    "slots": Slotted,
    "numpy generator": advanced_generator,
    "random": advanced_random,
    "torch generator": advanced_torch,
    "tensor": lambda n: torch.full((2,), float(n)),
    "parameter": lambda n: torch.nn.Parameter(torch.full((2,), float(n))),
    "module": lambda n: torch.nn.Sequential(torch.nn.BatchNorm1d(n + 1)),
    "optimiser": stepped,
    "closure": lambda n: advanced_call(counting(0), n),
    "generator": lambda n: advanced(halving(1.0), n),
    "list iterator": lambda n: advanced(iter([1, 2, 3, 4, 5]), n),
    "cycle": lambda n: advanced(itertools.cycle([1, 2, 3, 4, 5]), n),
    "count": lambda n: advanced(itertools.count(), n),
    "bound method": lambda n: Held(n).__init__,
}


def advanced_call(function, n):
    for _ in range(n):
        function()
    return function


def seen(value):
    return attributes({"algo": Held(value)}, None)


SLOW_TO_IMPORT = {"optimiser"}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long) if kind in SLOW_TO_IMPORT else kind for kind in KINDS]
)
def test_what_is_equal_looks_equal_and_what_is_not_does_not(kind):
    one, same, other = (seen(KINDS[kind](n)) for n in (2, 2, 3))
    assert one == same
    assert one != other


def values():
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )


@given(value=st.deferred(values))
def test_values_are_described_as_values(value):
    assert is_value(value)
    assert words(value) == words(copy.deepcopy(value))


def test_globals_class_attributes_and_defaults_of_a_users_module_are_seen(tmp_path):
    module = types.ModuleType("users_own")
    module.__file__ = str(tmp_path / "users_own.py")
    text = "n_calls = 3\nimport numpy\nclass A:\n    n = 4\n    def f(self, seen=[5]): ...\ndef g(*, seen=[6]): ...\n"
    exec(text, vars(module))  # noqa: S102 - a module that no other test has
    assert attributes({}, module) == {
        "A": "a class",
        "A.f.seen": "[5]",
        "A.n": "4",
        "users_own": "a module",
        "users_own.g.seen": "[6]",
        "users_own.n_calls": "3",
    }


def test_what_follows_from_the_rest_is_left_out():
    part = Derived(2)
    before = attributes({"algo": part}, None)
    assert part.double == 4
    assert attributes({"algo": part}, None) == before
    assert {path for path in before if path.startswith("algo")} == {"algo", "algo.n"}


def test_what_cannot_be_looked_at_is_said():
    assert seen(Unwilling())["algo.value"] == "cannot be looked at: RuntimeError"


def test_circles_end():
    circle = Held(None)
    circle.value = [circle]
    assert attributes({"algo": circle}, None)["algo.value"] == "a list of 1"


def test_what_only_parts_of_ours_lead_to_goes_by_its_class():
    found = attributes({COLLECTOR: {"lanes": [Held(1), Held(2)]}}, None)
    assert found["Held().value"] == "1"
    assert found["Held()#1.value"] == "2"


def test_our_own_parts_have_nothing_that_a_user_must_restore(tmp_path):
    shown = []

    def watch(epoch, run):
        roots = {"algo": run.algo, "env": run.env, COLLECTOR: run.collector}
        shown.append((epoch, attributes(roots, None)))

    with watched_by(watch):
        trained(tmp_path / "run")
    assert shown == [(epoch, {}) for epoch in range(4)]
