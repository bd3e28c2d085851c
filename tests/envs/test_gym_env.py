"""GymEnv: what it takes, what it refuses and how it says so."""

import logging
import pickle
import random

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, TimeLimit

from envs.sample_worlds import (
    Dial,
    DictActions,
    DifferentCopies,
    Doubled,
    Drifting,
    GlobalNumpy,
    GlobalRandom,
    IgnoresSeed,
    NoEarlyReset,
    OwnGenerator,
    RunningMean,
    Stopwatch,
    TupleObservations,
    Unrecorded,
    Walk,
)
from garage.core.ports import Rung
from garage.core.recipe import Component
from garage.envs import GymEnv
from garage.errors import (
    ArgumentError,
    MismatchError,
    OrderError,
    UnknownWorldError,
    UnseededWorldError,
    WorldError,
)


def test_it_is_a_component_that_describes_itself():
    env = GymEnv("CartPole-v1")
    assert isinstance(env, Component)
    assert repr(env) == "<GymEnv: CartPole-v1 (64 native lanes, at most 500 steps an episode, goes on by arrays)>"
    assert env.describe() == "CartPole-v1 (64 native lanes, at most 500 steps an episode, goes on by arrays)"
    assert GymEnv(Walk).describe() == "Walk (8 gymnasium environments, no time limit, goes on by replay)"


def test_settings_cannot_be_assigned():
    env = GymEnv("CartPole-v1")
    for name in ("spec", "lane_width"):
        with pytest.raises(AttributeError):
            setattr(env, name, None)


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda: GymEnv("CartPole-v1"), 500),
        (lambda: GymEnv("CartPole-v1", 20), 20),
        (lambda: GymEnv("CartPole-v1", max_episode_length=1000), 1000),
        (lambda: GymEnv("MountainCar-v0", max_episode_length=np.int64(7)), 7),
        (lambda: GymEnv(gymnasium.spec("MountainCar-v0")), 200),
        (lambda: GymEnv(gymnasium.make("MountainCar-v0", max_episode_steps=30)), 30),
        (lambda: GymEnv(gymnasium.make("MountainCar-v0"), max_episode_length=300), 300),
        (lambda: GymEnv(Walk), None),
        (lambda: GymEnv(Walk, max_episode_length=4), 4),
        (lambda: GymEnv(lambda: TimeLimit(Walk(), 9)), 9),
        (lambda: GymEnv(lambda: TimeLimit(Walk(), 9), max_episode_length=9), 9),
        (lambda: GymEnv(lambda: TimeLimit(Walk(), 9), max_episode_length=3), 3),
        (lambda: GymEnv(lambda: Doubled(TimeLimit(TimeLimit(Walk(), 9), 12))), 9),
    ],
)
def test_the_time_limit_is_the_worlds_unless_given(make, limit):
    env = make()
    assert env.spec.max_episode_length == limit
    assert type(env.spec.max_episode_length) in (int, type(None))


@pytest.mark.parametrize("limit", [0, -5, 1.5, "9", True])
def test_a_wrong_time_limit_is_refused(limit):
    with pytest.raises(ArgumentError, match=r"`max_episode_length` must be an integer of at least 1, got"):
        GymEnv("CartPole-v1", max_episode_length=limit)


def test_a_time_limit_beyond_the_worlds_own_is_refused():
    with pytest.raises(ArgumentError, match=r"max_episode_length=10 would be ignored.*after 9 steps"):
        GymEnv(lambda: TimeLimit(Walk(), 9), max_episode_length=10)


@pytest.mark.parametrize("world", [None, 3, ["CartPole-v1"]])
def test_what_is_no_world_is_refused(world):
    with pytest.raises(ArgumentError, match=r"`world` must be an id.*For example: GymEnv\('CartPole-v1'\)"):
        GymEnv(world)


def test_a_vector_environment_is_refused():
    vector = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="vector_entry_point")
    with pytest.raises(ArgumentError, match="CartPoleVectorEnv"):
        GymEnv(vector)
    vector.close()


@pytest.mark.parametrize("world", [Walk, gymnasium.spec("CartPole-v1"), Walk()], ids=["callable", "spec", "instance"])
def test_arguments_that_would_be_ignored_are_refused(world):
    with pytest.raises(ArgumentError, match=r"\['length'\] would be ignored"):
        GymEnv(world, length=3)


def test_gymnasiums_words_for_our_arguments_are_refused():
    with pytest.raises(ArgumentError, match=r"GymEnv\('CartPole-v1', max_episode_length=7\) instead"):
        GymEnv("CartPole-v1", max_episode_steps=7)
    with pytest.raises(ArgumentError, match="never uses gymnasium's checker"):
        GymEnv("CartPole-v1", disable_env_checker=True)


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize(
    ("world", "words"),
    [
        ("CartPol-v1", "Did you mean 'CartPole-v1'"),
        ("cartpole-v1", "Did you mean 'CartPole-v1'"),
        ("CartPole-v7", "Did you mean 'CartPole-v"),
        ("NoSuchPackage/Pong-v5", "import that package first"),
        ("FrozenLake-v0", "'FrozenLake-v1'"),
        ("", "No environment is registered as ''"),
        ("not an id !!", "pprint_registry"),
    ],
)
def test_an_unknown_id_is_named_with_what_comes_close(world, words):
    with pytest.raises(UnknownWorldError, match="No environment is registered as") as caught:
        GymEnv(world)
    assert words in str(caught.value)
    assert repr(world) in str(caught.value)
    assert isinstance(caught.value.__cause__, gymnasium.error.Error)


def raising():
    msg = "no such level"
    raise RuntimeError(msg)


@pytest.mark.parametrize(
    ("make", "words", "cause"),
    [
        (lambda: GymEnv("CartPole-v1", colour="red"), "with {'colour': 'red'}.*keyword arguments", TypeError),
        (lambda: GymEnv("no_such_module_here:CartPole-v1"), "Install the package", ModuleNotFoundError),
        (lambda: GymEnv("FrozenLake-v1", map_name="5x5"), r"Try `gymnasium.make\('FrozenLake-v1'\)`", KeyError),
        (lambda: GymEnv(raising), r"raising\(\) raised RuntimeError: no such level\. Try to call", RuntimeError),
        (lambda: GymEnv(lambda: None), "returned None of type NoneType, expected a gymnasium.Env", None),
        (lambda: GymEnv(dict), "dict.. returned {} of type dict", None),
    ],
)
def test_what_cannot_be_made_says_why(make, words, cause):
    with pytest.raises(WorldError, match=words) as caught:
        make()
    assert not isinstance(caught.value, UnknownWorldError)
    assert cause is None or isinstance(caught.value.__cause__, cause)


def needs_a_package():
    msg = "Box2D is not installed, run `pip install box2d`"
    raise gymnasium.error.DependencyNotInstalled(msg)


def test_a_missing_dependency_says_what_to_install(monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("NeedsPackage-v0", entry_point=lambda **_: needs_a_package())
    monkeypatch.setitem(gymnasium.registry, "NeedsPackage-v0", spec)
    with pytest.raises(WorldError, match=r"pip install box2d.*Install the package that it asks for"):
        GymEnv("NeedsPackage-v0")


@pytest.mark.parametrize(("world", "kind"), [(TupleObservations, "observation"), (DictActions, "action")])
def test_spaces_that_are_no_arrays_are_refused(world, kind):
    with pytest.raises(MismatchError, match=f"The {kind} space of {world.__name__} is .*Wrap the environment"):
        GymEnv(world)


def test_a_callable_that_returns_the_same_environment_is_refused():
    only = Walk()
    with pytest.raises(WorldError, match="returned the same environment twice"):
        GymEnv(lambda: only).make_lanes(2)


def test_a_callable_that_changes_its_mind_is_refused():
    made = [Walk(), Dial()]
    with pytest.raises(MismatchError, match="made an environment with the observation_space Discrete"):
        GymEnv(lambda: made.pop(0)).make_lanes(1)


def test_environments_are_closed():
    made = []

    def make():
        made.append(Walk())
        return made[-1]

    lanes = GymEnv(make).make_lanes(3)
    assert [env.closed for env in made] == [True, True, True, False, False, False]
    lanes.close()
    assert all(env.closed for env in made)


def test_environments_are_closed_if_a_later_one_cannot_be_made():
    made = []

    def make():
        if len(made) == 5:
            raising()
        made.append(Walk())
        return made[-1]

    with pytest.raises(WorldError, match="no such level"):
        GymEnv(make).make_lanes(3)
    assert len(made) == 5
    assert all(env.closed for env in made)


# An instance


def test_an_instance_is_made_again_and_pickles_as_its_spec(caplog):
    instance = Doubled(gymnasium.make("MountainCar-v0", max_episode_steps=12))
    instance.unwrapped.baggage = b"x" * 100_000
    env = GymEnv(instance)
    assert env.lane_width == 8
    assert not caplog.records
    data = pickle.dumps(env)
    assert len(data) < 3000
    again = pickle.loads(data)
    assert again.spec == env.spec
    assert again.spec.max_episode_length == 12
    lanes = again.make_lanes(3)
    lanes.reset(np.arange(3), [1, 2, 3])
    assert lanes.step(np.arange(3), np.array([0, 1, 2])).rewards.tolist() == [-2.0] * 3


def test_the_options_of_an_instance_are_pickled_too():
    again = pickle.loads(pickle.dumps(GymEnv(world=gymnasium.make("CartPole-v1"), max_episode_length=5)))
    assert (again.spec.max_episode_length, again.lane_width) == (5, 64)
    again = pickle.loads(pickle.dumps(GymEnv(gymnasium.make("CartPole-v1"), native_lanes=False)))
    assert (again.spec.max_episode_length, again.lane_width) == (500, 8)


def heavier():
    env = gymnasium.make("CartPole-v1")
    env.unwrapped.force_mag = 12.0
    return env


def smaller_space():
    env = gymnasium.make("CartPole-v1")
    env.unwrapped.action_space = gymnasium.spaces.Discrete(1)
    return env


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Walk, "it has no spec, since gymnasium.make did not make it"),
        (lambda: TimeLimit(CartPoleEnv(), 9), "it has no spec"),
        (lambda: Unrecorded(gymnasium.make("CartPole-v1")), "made again from its spec raised ValueError"),
        (heavier, "made again from its spec it behaves differently: observation at step 1"),
        (smaller_space, r"made again from its spec it has the action_space Discrete\(2\) instead of Discrete\(1\)"),
    ],
)
def test_an_instance_that_cannot_be_made_again_is_the_only_lane(make, reason, caplog):
    reason = reason.replace("made again from its spec raised", "making it again from its spec raised")
    instance = make()
    env = GymEnv(instance)
    assert [(record.name, record.levelname) for record in caplog.records] == [("garage.envs", "WARNING")]
    assert "only one lane, because" in caplog.text
    assert "Pass GymEnv an id, or a callable" in caplog.text
    assert reason.replace("\\", "") in caplog.text
    assert env.lane_width == 1
    assert "1 instance" in env.describe()
    lanes = env.make_lanes(1)
    lanes.reset(np.array([0]), [1])
    lanes.close()
    with pytest.raises(MismatchError, match=r"has 1 lane, got n=2. Pass GymEnv an id, or a callable"):
        env.make_lanes(2)


def test_closing_lanes_leaves_the_instance_to_its_owner():
    instance = Walk()
    env = GymEnv(instance, max_episode_length=3)
    lanes = env.make_lanes(1)
    lanes.reset(np.array([0]), [1])
    truncated = [lanes.step(np.array([0]), np.zeros((1, 2))).truncated[0] for _ in range(3)]
    assert truncated == [False, False, True]
    lanes.close()
    assert not instance.closed


# Worlds that ignore their seed


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (IgnoresSeed, r"in the same environment, gave another observation at step 0 of the episode with seed 0"),
        (OwnGenerator, r"in the same environment, gave another reward at step 1 of the episode with seed 0"),
        (GlobalNumpy, r"in the same environment, gave another observation at step 0 of the episode with seed 0"),
        (GlobalRandom, r"gave another (truncated|observation) at step"),
        (DifferentCopies, r"in a second, freshly made environment, gave another observation at step 0"),
    ],
)
def test_a_world_that_ignores_its_seed_is_refused(world, words):
    env = GymEnv(world)
    with pytest.raises(UnseededWorldError, match=words) as caught:
        env.make_lanes(1)
    assert world.__name__ in str(caught.value)
    assert "self.np_random" in str(caught.value)


def test_a_lone_instance_that_ignores_its_seed_is_refused(caplog):
    env = GymEnv(IgnoresSeed())
    assert "only one lane" in caplog.text
    with pytest.raises(UnseededWorldError, match="in the same environment"):
        env.make_lanes(1)


def running_mean():
    return RunningMean(Walk())


@pytest.mark.parametrize("world", [Drifting, running_mean])
def test_what_passes_from_one_episode_to_the_next_is_found(world):
    env = GymEnv(world)
    words = "after other episodes in the same environment, gave another observation.*A freshly made environment does"
    with pytest.raises(UnseededWorldError, match=words):
        env.make_lanes(1)
    lanes = GymEnv(world, fresh_episodes=True).make_lanes(2)
    first = lanes.reset(np.array([1]), [3])
    lanes.reset(np.array([1]), [4])
    assert lanes.reset(np.array([1]), [3]).tobytes() == first.tobytes()


def test_fresh_episodes_do_not_mend_a_world_that_ignores_its_seed():
    with pytest.raises(
        UnseededWorldError, match="freshly made environment, gave another observation at step 0"
    ) as caught:
        GymEnv(IgnoresSeed, fresh_episodes=True).make_lanes(1)
    assert "fresh_episodes" not in str(caught.value)


def test_environments_of_fresh_episodes_are_closed():
    made = []

    def make():
        made.append(Drifting())
        return made[-1]

    env = GymEnv(make, fresh_episodes=True)
    assert "8 gymnasium environments, each made anew for an episode" in env.describe()
    lanes = env.make_lanes(2)
    for seed in range(3):
        lanes.reset(np.arange(2), [seed, seed])
    assert [walk.closed for walk in made[-2:]] == [False, False]
    assert all(walk.closed for walk in made[:-2])
    lanes.close()
    assert all(walk.closed for walk in made)


def test_an_instance_that_cannot_be_made_again_has_no_fresh_episodes():
    with pytest.raises(ArgumentError, match=r"needs to be made for each episode\. Pass GymEnv an id, or a callable"):
        GymEnv(Unrecorded(Drifting()), fresh_episodes=True)


def test_an_instance_with_fresh_episodes_pickles_as_such():
    instance = gymnasium.make("CartPole-v1")
    again = pickle.loads(pickle.dumps(GymEnv(instance, fresh_episodes=True)))
    assert "made anew" in again.describe()


# Wrappers that keep statistics, and worlds that cannot be left


@pytest.mark.parametrize("wrapper", [NormalizeObservation, NormalizeReward])
@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: TimeLimit(env, 9), Unrecorded])
@pytest.mark.parametrize("as_instance", [True, False])
def test_running_statistics_are_refused_with_the_component_to_use(wrapper, wrap, as_instance, caplog):
    def make():
        return wrap(wrapper(gymnasium.make("Pendulum-v1")))

    with pytest.raises(ArgumentError, match=f"wrapper {wrapper.__name__}, .*garage.algos.Normalised"):
        GymEnv(make() if as_instance else make)
    assert not caplog.records


def no_early_reset():
    return NoEarlyReset(Walk(length=6))


def test_a_world_that_cannot_be_left_in_mid_episode_says_so(caplog):
    env = GymEnv(no_early_reset)
    assert env.rung is Rung.REPLAY
    lanes = env.make_lanes(2)
    assert lanes.rung is env.rung is Rung.CUT
    assert "cannot be left in mid-episode" in env.describe()
    words = "no_early_reset cannot be left in mid-episode: reset raised RuntimeError: reset before the episode was done"
    assert [message.split(". ")[0] for message in caplog.messages] == [words]
    lanes.reset(np.arange(2), [1, 2])
    ends = [lanes.step(np.arange(2), np.zeros((2, 2))).terminated.tolist() for _ in range(6)]
    assert ends[-1] == [True, True]
    lanes.reset(np.arange(2), [3, 4])
    with pytest.raises(OrderError, match=r"no_early_reset cannot be left in mid-episode\. Finish its"):
        lanes.state_dict(np.arange(2))
    env.make_lanes(1)
    assert len(caplog.messages) == 1


def test_a_lone_instance_that_cannot_be_left_is_refused():
    env = GymEnv(Unrecorded(NoEarlyReset(Walk(length=20))))
    with pytest.raises(WorldError, match="one instance, and cannot be reset in mid-episode: reset raised RuntimeError"):
        env.make_lanes(1)


def test_infos_that_are_not_repeated_are_left_out(caplog):
    lanes = GymEnv(Stopwatch).make_lanes(1)
    assert caplog.messages == [
        "Stopwatch: the same seed and actions give other numbers in info: clock. They are left out"
    ]
    lanes.reset(np.array([0]), [0])
    assert set(lanes.step(np.array([0]), np.zeros((1, 2))).infos) == {"age"}


@pytest.mark.parametrize("world", [Walk, GlobalNumpy, GlobalRandom, "CartPole-v1", "FrozenLake-v1"])
def test_the_global_generators_stay_as_they_were(world):
    np.random.seed(3)  # noqa: NPY002 - the global generator is what is under test
    random.seed(3)
    expected = np.random.random(), random.random()  # noqa: NPY002 - as above
    np.random.seed(3)  # noqa: NPY002 - as above
    random.seed(3)
    env = GymEnv(world)
    try:
        env.make_lanes(2)
    except UnseededWorldError:
        assert world in (GlobalNumpy, GlobalRandom)
    assert (np.random.random(), random.random()) == expected  # noqa: NPY002 - as above


def test_the_rehearsal_is_held_once():
    made = []

    def make():
        made.append(Walk())
        return made[-1]

    env = GymEnv(make)
    assert len(made) == 1
    env.make_lanes(1)
    assert len(made) == 4
    env.make_lanes(1)
    assert len(made) == 5


def test_a_recipe_is_the_call_even_after_lanes_were_made(caplog):
    caplog.set_level(logging.INFO, "garage.envs")
    env = GymEnv("FrozenLake-v1", is_slippery=False)
    before = cloudpickle.dumps(env)
    env.make_lanes(1)
    assert cloudpickle.dumps(env) == before
    assert not caplog.records


class Answering(Walk):
    """Answers as it is told to."""

    def __init__(self, reset=None, step=None):
        super().__init__()
        self.answers = reset, step

    def reset(self, *, seed=None, options=None):
        answer = super().reset(seed=seed)
        return answer if self.answers[0] is None else self.answers[0](*answer)

    def step(self, action):
        answer = super().step(action)
        return answer if self.answers[1] is None else self.answers[1](*answer)


class WithoutSeed(Walk):
    def reset(self):
        return super().reset()


@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: TimeLimit(env, 5)])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (WithoutSeed, r"`reset` of WithoutSeed takes no seed.*reset\(self, \*, seed=None, options=None\)"),
        (lambda: Answering(reset=lambda observation, _: observation[0]), r"`reset` of Answering returned one value"),
        (lambda: Answering(reset=lambda *a: (*a, 1)), r"`reset` of Answering returned 3 values: gymnasium asks for"),
        (
            lambda: Answering(step=lambda o, r, d, _, i: (o, r, d, i)),
            r"`step` of Answering returned 4 values: .*`done`",
        ),
        (lambda: Answering(step=lambda o, r, *a: (o, np.array([1.0]), *a)), r"`step` of Answering returned the reward"),
        (lambda: Answering(step=lambda o, r, *a: (o, "1", *a)), r"returned the reward '1', expected one number"),
        (
            lambda: Answering(reset=lambda *_, **__: int("x")),
            "`reset` of Answering raised in its first steps: ValueError",
        ),
        (lambda: Answering(step=lambda *_: int("x")), "`step` of Answering raised in its first steps: ValueError"),
        (lambda: Answering(step=lambda *_: 1 / 0), r"`step` of Answering raised in its first steps: ZeroDivisionError"),
    ],
)
def test_a_world_that_does_not_keep_to_the_protocol_is_named(make, words, wrap):
    with pytest.raises(WorldError, match=words):
        GymEnv(lambda: wrap(make())).make_lanes(1)


def test_a_reward_that_becomes_text_later_is_refused():
    def late():
        world = Answering(
            step=lambda observation, reward, *rest: (observation, "1" if rest[-1]["age"] == 12 else reward, *rest)
        )
        world.length = 30
        return world

    lanes = GymEnv(late).make_lanes(1)
    lanes.reset(np.arange(1), [0])
    action = np.zeros((1, 2), np.float32)
    for _ in range(11):
        lanes.step(np.arange(1), action)
    with pytest.raises(MismatchError, match=r"`step` of .*late returned the reward '1', expected one number"):
        lanes.step(np.arange(1), action)
