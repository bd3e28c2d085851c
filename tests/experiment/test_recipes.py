"""Recipes: where the modules were, and what is missing."""

import importlib
import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from experiment.parts import Opaque, Scripted, WithArgument, tiny
from garage.core.recipe import Component
from garage.envs import GymEnv
from garage.errors import RecipeError
from garage.experiment import recipes
from garage.experiment.surroundings import ProcessAlone
from garage.np.policies import CategoricalMLPPolicy


@pytest.fixture
def package(monkeypatch):
    """A package of the user's, beside the script, which is what the recipe takes for its folder."""
    folder = Path("launcher").absolute()
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "__init__.py").write_text("")
    (folder / "mine" / "lengths.py").write_text("def five(rng):\n    return 5\n\nclass Setting:\n    x = 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    importlib.invalidate_caches()
    monkeypatch.setattr(recipes, "_script_folder", lambda: folder)
    yield folder
    forget()


def forget():
    """As in another process, where nothing of it has been imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def recipe_with(argument):
    algo, env = tiny(kind=WithArgument, argument=argument)
    algo.policy.initialise(np.random.default_rng(1))
    return recipes.make(algo, env, ProcessAlone())


def test_modules_of_classes_functions_and_instances_are_recorded_and_their_folder_is_tried(package, monkeypatch):
    lengths = importlib.import_module("mine.lengths")
    for argument in (lengths.five, lengths.Setting, lengths.Setting(), {"x": [lengths.five]}):
        recipe = recipe_with(argument)
        header = json.loads(recipe.partition(b"\n")[0])
        assert header["folder"] == str(package)
        assert header["modules"]["mine.lengths"] == str(package / "mine" / "lengths.py")
        assert not any(name.startswith("garage.") for name in header["modules"])
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(package)])
    forget()
    algo, env = recipes.load(recipe)
    assert algo.argument["x"][0](None) == 5
    assert isinstance(env, GymEnv)
    assert sys.path[-1] == str(package)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("mine", r"no module 'mine'\. It was at .*launcher/mine/lengths\.py"),
        ("mine/lengths.py", r"no module 'mine\.lengths'\. It was at .*launcher/mine/lengths\.py"),
    ],
)
def test_what_is_missing_is_named_with_its_place(package, missing, said):
    recipe = recipe_with(importlib.import_module("mine.lengths").five)
    (package / missing).rename(package / "moved")
    forget()
    before = list(sys.path)
    with pytest.raises(RecipeError, match=said):
        recipes.load(recipe)
    assert sys.path == before


def test_a_module_that_a_missing_one_needs_is_named_with_the_scripts_folder(package):
    recipe = recipe_with(importlib.import_module("mine.lengths").five)
    (package / "mine" / "lengths.py").write_text("import not_there_at_all\n")
    forget()
    with pytest.raises(RecipeError, match=r"no module 'not_there_at_all'\. The script lay in .*launcher"):
        recipes.load(recipe)


def test_code_that_changed_is_said(package):
    recipe = recipe_with(importlib.import_module("mine.lengths").five)
    (package / "mine" / "lengths.py").write_text("five = 5 / 0\n")
    forget()
    with pytest.raises(RecipeError, match=r"ZeroDivisionError: .*Did its code change, or .* call trainer\.setup"):
        recipes.load(recipe)


def test_what_is_learned_is_in_no_recipe_and_in_each_opaque_part():
    algo, env = tiny()
    algo.policy.initialise(np.random.default_rng(1))
    rebuilt, _ = recipes.load(recipes.make(algo, env, ProcessAlone()))
    assert not rebuilt.policy.initialised
    again = recipes.load_opaque(recipes.dump_opaque("algo", [Opaque(algo.policy), algo.policy, env]))
    np.testing.assert_array_equal(again[0].policy.theta, algo.policy.theta)
    assert again[0].policy is again[1]
    assert again[2].spec == env.spec


def test_worlds_of_the_port_are_components_too():
    env = Scripted(len, 3, 7)
    rebuilt = recipes.load(recipes.make(Opaque(CategoricalMLPPolicy(env.spec, hidden_sizes=())), env, ProcessAlone()))[
        1
    ]
    assert (rebuilt.spec, rebuilt.lane_width, rebuilt.length_of) == (env.spec, 3, len)


class Learner(Component):
    def __init__(self, rate):
        self.rate = rate


def test_a_component_without_state_is_pickled_whole_as_an_opaque_part():
    learner = Learner(1.0)
    learner.rate = 0.5
    again = recipes.load_opaque(recipes.dump_opaque("algo", learner))
    assert again.rate == 0.5
    assert recipes.load_opaque(recipes.dump_opaque("algo", again)).rate == 0.5


class Wrapped(gymnasium.Wrapper):
    """Of a kind that no spec tells of."""


def test_what_an_environment_says_when_it_is_built_is_said_once(caplog):
    env = GymEnv(Wrapped(gymnasium.make("CartPole-v1")))
    assert caplog.text.count("only one lane, because") == 1
    recipe = recipes.make(Learner(0.5), env, ProcessAlone())
    assert caplog.text.count("only one lane, because") == 1
    recipes.load(recipe)
    assert caplog.text.count("only one lane, because") == 2
