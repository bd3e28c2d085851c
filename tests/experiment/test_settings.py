"""What objects were made with, in words that can be compared, and the user's own code."""

import copyreg
import functools

import cloudpickle
import gymnasium
import numpy as np
import pytest

from experiment.parts import Drawing, Walk, tiny
from garage.core.unpickling import unpickled
from garage.envs import GymEnv
from garage.experiment.settings import changes, settings

GAIN = 2.0


class Gained(Drawing):
    """An algorithm of the user's."""

    STEPS = 3

    @property
    def gain(self):
        return GAIN * helped(1)


def helped(number):
    return number + 1


def between(one, other):
    return changes(settings(*one), settings(*other))


def test_equal_objects_are_equal_in_words():
    assert between(tiny(), tiny()) == []
    assert between(tiny(kind=Gained), tiny(kind=Gained)) == []


def test_what_was_rebuilt_is_equal_whatever_has_been_kept_in_its_classes():
    algo, env = tiny(kind=Gained, world=Walk)
    before = settings(algo, env)
    for pickled in (cloudpickle.dumps((algo, env)), cloudpickle.dumps((algo, env))):
        copyreg._slotnames(Gained)
        assert changes(before, settings(*unpickled(pickled))) == []


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ({"max_kl_step": 0.01}, {"max_kl_step": 0.02}, "algo.max_kl_step: 0.01 when saved, 0.02 now"),
        ({"hidden_sizes": (4,)}, {"hidden_sizes": (5, 5)}, "algo.policy.hidden_sizes: (4) when saved, (5, 5) now"),
        (
            {"world": GymEnv("CartPole-v1")},
            {"world": GymEnv("CartPole-v1", max_episode_length=9)},
            "env.max_episode_length: None when saved, 9 now",
        ),
        (
            {"world": GymEnv(functools.partial(gymnasium.make, "CartPole-v1"))},
            {"world": GymEnv(functools.partial(gymnasium.make, "Acrobot-v1"))},
            "env.world: partial of make with ('CartPole-v1') when saved, partial of make with ('Acrobot-v1') now",
        ),
    ],
)
def test_a_setting_is_named_with_both_values(one, other, line):
    assert between(tiny(**one), tiny(**other)) == [line]


@pytest.mark.parametrize("name", ["GAIN", "helped", "STEPS", "gain"])
def test_changed_code_is_named_by_its_object(monkeypatch, name):
    """A constant or a function that a method refers to, a constant of the class, and a method."""
    before = settings(*tiny(kind=Gained))
    if name in {"GAIN", "helped"}:
        monkeypatch.setitem(globals(), name, 3.0 if name == "GAIN" else lambda number: number + 2)
    else:
        monkeypatch.setattr(Gained, name, 4 if name == "STEPS" else property(lambda _: 0.0))
    assert changes(before, settings(*tiny(kind=Gained))) == ["algo: its code has changed"]


def test_long_values_are_cut_and_still_compared():
    def made(last):
        return settings(
            *tiny(max_kl_step=0.01, kind=functools.partial(TakesMore, extra=np.append(np.arange(999), last)))
        )

    before, after = made(0.0), made(1.0)
    assert all(len(text) < 150 for text in before["settings"].values())
    assert [line.partition(":")[0] for line in changes(before, after)] == ["algo.extra"]


class TakesMore(Drawing):
    def __init__(self, extra, **options):
        super().__init__(**options)
        self.extra = extra


def test_what_was_saved_without_settings_says_nothing():
    assert changes({}, settings(*tiny())) == []
