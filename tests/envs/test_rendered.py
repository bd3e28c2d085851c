"""Worlds that show themselves, whatever they are made from."""

import functools

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.sample_worlds import Unrecorded
from experiment.painted import HEIGHT, WIDTH, Painted
from garage.envs import GymEnv
from garage.envs.rendered import PICTURES, WINDOW, Stage
from garage.errors import WorldError

NAME = "test/Painted-v0"


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gymnasium.register(NAME, "experiment.painted:Painted", max_episode_steps=3)
    yield
    del gymnasium.registry[NAME]


def instance(**kwargs):
    env = gymnasium.make(NAME, **kwargs)
    env.unwrapped.extra = 1
    return env


WORLDS = {
    "id": lambda: GymEnv(NAME),
    "spec": lambda: GymEnv(gymnasium.spec(NAME)),
    "shown already": lambda: GymEnv(NAME, render_mode="human"),
    "class": lambda: GymEnv(Painted, max_episode_length=3),
    "partial": lambda: GymEnv(functools.partial(gymnasium.make, NAME)),
    "function": lambda: GymEnv(lambda: gymnasium.make(NAME)),
    "instance": lambda: GymEnv(gymnasium.make(NAME)),
    "lone instance": lambda: GymEnv(Painted(render_mode="rgb_array"), max_episode_length=3),
    "made for each episode": lambda: GymEnv(NAME, fresh_episodes=True),
}


@pytest.mark.parametrize("kind", WORLDS)
def test_every_kind_of_world(kind):
    env = WORLDS[kind]()
    stage = Stage(env, PICTURES)
    assert stage.fps == 10
    for _ in range(2):
        first = stage.reset(7)
        assert first.tobytes() == Painted().reset(seed=7)[0][np.newaxis].tobytes()
        for step in range(1, 4):
            moved = stage.step(np.array([1]))
            assert (stage.picture() == 51 * step).all()
            assert stage.picture().shape == (HEIGHT, WIDTH, 3)
            assert bool(moved.truncated[0]) == (step == 3)
    stage.close()


def test_a_window_is_drawn_by_the_world_itself(tmp_path):
    stage = Stage(GymEnv(NAME), WINDOW)
    stage.reset(1)
    assert not (tmp_path / "seen").exists()
    stage.step(np.array([1]))
    assert "human" in (tmp_path / "seen").read_text()
    stage.redraw()
    stage.close()


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (
            lambda: Painted(render_mode="human"),
            r"Cannot show <lambda>: its environments have render_mode='human', expected 'rgb_array'",
        ),
        (lambda: Unrecorded(gymnasium.make(NAME)), r"Cannot make .*Unrecorded|RecordConstructorArgs"),
        (Painted(), r"have render_mode=None, expected 'rgb_array'.*they say that they know \['human', 'rgb_array'\]"),
    ],
)
def test_worlds_that_nobody_can_ask_to_show_themselves(world, said):
    env = GymEnv(world)
    with pytest.raises(WorldError, match=said):
        Stage(env, PICTURES)


class Blind(Painted):
    """Has no idea of pictures."""

    metadata = {}  # noqa: RUF012 - see Painted

    def __init__(self, render_mode=None):
        super().__init__()


class Other(Painted):
    """Has other spaces where it can be seen."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        if render_mode is not None:
            self.action_space = spaces.Discrete(3)


def test_worlds_that_are_others_when_they_are_seen():
    with pytest.raises(WorldError, match=r"they say that they know none"):
        Stage(GymEnv(Blind), PICTURES)
    with pytest.raises(WorldError, match=r"has the spaces .*Discrete\(3\), expected .*Discrete\(2\)"):
        Stage(GymEnv(Other), PICTURES)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("raises", "Cannot render partial: RuntimeError: no paint"),
        ("no picture", r"expected pictures uint8\[height, width, 3\], got str"),
    ],
)
def test_what_is_no_picture(fails, said):
    stage = Stage(GymEnv(NAME, fails=fails), PICTURES)
    stage.reset(1)
    with pytest.raises(WorldError, match=said.replace("partial", NAME)):
        stage.picture()


def test_an_env_of_ones_own_has_no_looks():
    with pytest.raises(WorldError, match="only a GymEnv can be rendered, got a object"):
        Stage(object(), PICTURES)
