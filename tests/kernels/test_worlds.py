"""The compiled worlds: starts are NumPy's draws and steps are gymnasium's, on every level of the processor."""

import functools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils import seeding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from garage.envs.array_lanes import WORLDS, ArrayLanes
from garage.errors import ArgumentError, MismatchError
from garage.kernels.worlds import CART_POLES, Places, Starts, Steps

N = 7
SEEDS = st.integers(0, 2**31 - 1) | st.integers(0, 2**64 - 1)

pytestmark = pytest.mark.usefixtures("level")


def starts_of(places, n=N, n_rows=4):
    """A function that starts episodes, the state that it starts them in, and the steps taken."""
    state, elapsed = np.full((n_rows, n), 9.0), np.full(n, 5)
    return Starts(places, state, elapsed), state, elapsed


@settings(deadline=None)
@example(seed=0)
@example(seed=2**31 - 1)
@example(seed=2**32 - 1)
@example(seed=2**32)
@example(seed=2**64 - 1)
@given(seed=SEEDS)
def test_a_start_is_drawn_as_numpy_does(seed):
    lowest, highest = np.array([[-0.05, -np.pi, 0.0, -1e9, 3.0, -1.0], [0.05, np.pi, 1.0, 1e-3, 3.0, 1.0]])
    start, state, _ = starts_of(Places(lowest, highest, range(6)), n_rows=6)
    start(np.array([3]), [seed])
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).uniform(lowest, highest)
    assert state[:, 3].tobytes() == expected.tobytes()
    assert seeding.np_random(seed)[0].uniform(lowest, highest).tobytes() == expected.tobytes()


@settings(deadline=None)
@given(data=st.data())
def test_lanes_start_alike_alone_and_together(data):
    lanes = data.draw(st.lists(st.integers(0, N - 1), unique=True))
    seeds = data.draw(st.lists(SEEDS, min_size=len(lanes), max_size=len(lanes)))
    places = Places([-1, -2], [1, 2], rows=[3, 0])
    start, state, elapsed = starts_of(places)
    start(np.array(lanes, np.int64), seeds)
    alone, state_alone, elapsed_alone = starts_of(places)
    for lane, seed in zip(lanes, seeds, strict=True):
        alone(np.array([lane]), (seed,))
    assert state.tobytes() == state_alone.tobytes()
    assert elapsed.tolist() == elapsed_alone.tolist() == [0 if lane in lanes else 5 for lane in range(N)]
    others = [lane for lane in range(N) if lane not in lanes]
    assert (state[:, others] == 9).all()
    assert not state[1:3, lanes].any()


def test_a_start_may_be_rounded():
    exact, rounded = (starts_of(Places([-1], [1], [0], is_single=is_single)) for is_single in (False, True))
    for start, _, _ in (exact, rounded):
        start(np.arange(N), range(N))
    assert np.array_equal(exact[1].astype(np.float32), rounded[1])
    assert not np.array_equal(exact[1], rounded[1])


@pytest.mark.parametrize(
    ("lanes", "seeds", "error", "message"),
    [
        ([0, N], [1, 2], IndexError, rf"no lane {N}: expected integers in \[0, {N}\)"),
        ([-1], [1], IndexError, "no lane -1"),
        ([0.0], [1], IndexError, "lanes must be integers, got float64"),
        ([0, 1], [1], ArgumentError, "2 lanes with 1 seeds"),
        ([0], [1, 2], ArgumentError, "1 lanes with 2 seeds"),
        ([0, 1], [1, -1], ArgumentError, r"\[1, -1\]: expected integers in \[0, 2\*\*64\)"),
        ([0], [2**64], ArgumentError, "18446744073709551616"),
        ([0], [1.5], TypeError, "float"),
    ],
)
def test_starts_that_cannot_be_change_nothing(lanes, seeds, error, message):
    start, state, elapsed = starts_of(Places([-1], [1], [0]))
    with pytest.raises(error, match=message):
        start(np.array(lanes), seeds)
    assert (state == 9).all()
    assert (elapsed == 5).all()


@pytest.mark.parametrize(
    "places", [Places([0, 0], [1], [0]), Places([0], [1], [4]), Places([0], [1], [-1]), Places([0], [1], [0, 1])]
)
def test_places_that_do_not_fit_are_refused(places):
    with pytest.raises(ArgumentError, match="Cannot start episodes at Places"):
        starts_of(places)


LANES = {world.world_id: functools.partial(ArrayLanes, world) for world in WORLDS}
BOUNDS = {
    "CartPole-v1": [2.4, 12 * 2 * np.pi / 360, 4, 4],
    "Pendulum-v1": [50, 8],
    "Acrobot-v1": [np.pi, np.pi, 4 * np.pi, 9 * np.pi],
    "MountainCar-v0": [1.2, 0.07],
    "MountainCarContinuous-v0": [1.2, 0.07],
}
"""Beyond which there is nothing, or not much."""
PLACES = {"CartPole-v1": [0, 2, 1, 3]}
"""Where rows of the state stand in gymnasium's, if somewhere else."""


def moved(world, states, chosen, actions, limit=None):
    """The bytes of each chosen lane's results, and the states after a step."""
    lanes = LANES[world](states.shape[1], limit)
    everyone = np.arange(lanes.n)
    lanes.load_state_dict(everyone, {"state": states, "elapsed": everyone})
    transition = lanes.step(chosen, actions)
    rows = [tuple(result[row].tobytes() for result in transition[:4]) for row in range(len(chosen))]
    return rows, lanes.state_dict(everyone)


def situation(world, generator, n):
    """States within bounds and on them, for a cart-pole also beyond; and actions, also beyond their bounds."""
    bounds = np.array(BOUNDS[world])[:, np.newaxis]
    states = bounds * generator.uniform(-1.2, 1.2, (len(bounds), n)).clip(-1.1 if world == "CartPole-v1" else -1, 1)
    if world == "MountainCarContinuous-v0":  # at its start, in lane 0, a car is where float32 need not be
        states[:, 1:] = states[:, 1:].astype(np.float32)
    if world in {"Pendulum-v1", "MountainCarContinuous-v0"}:
        return states, generator.normal(0, 2, (n, 1)).astype(np.float32)
    return states, generator.integers(0, 2 if world == "CartPole-v1" else 3, n)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("world", LANES)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_lanes_move_as_gymnasiums_on_every_level(world, seed):
    n = 33
    states, actions = situation(world, np.random.default_rng(seed), n)
    states[:, 0], states[0, 1], states[1, 2] = np.nan, np.nan, np.nan
    states[0, 3] = np.inf if world in {"CartPole-v1", "Pendulum-v1"} else states[0, 3]
    rows, after = moved(world, states, np.arange(n), actions, limit=20)
    env, places = gymnasium.make(world).unwrapped, PLACES.get(world, list(range(len(states))))
    legal = actions if actions.ndim == 1 else actions.clip(env.action_space.low, env.action_space.high)
    for lane in range(n):
        env.reset(seed=0)
        env.state = states[places, lane].astype(np.float32 if world.startswith("MountainCarC") and lane else np.float64)
        observation, reward, terminated, _, _ = env.step(legal[lane])
        expected = observation, np.float64(reward), np.bool_(terminated), np.bool_(lane + 1 >= 20)
        assert_same(rows[lane], expected)
        assert_same([after["state"][places, lane].tobytes()], [np.asarray(env.state, np.float64)])
    assert after["elapsed"].tolist() == list(range(1, n + 1))


def assert_same(rows, expected):
    """Every bit, but which NaN it is."""
    for row, value in zip(rows, expected, strict=True):
        found = np.frombuffer(row, value.dtype)
        assert np.array_equal(np.isnan(found), np.isnan(np.atleast_1d(value)))
        assert found[~np.isnan(found)].tobytes() == np.atleast_1d(value)[~np.isnan(found)].tobytes()


@pytest.mark.parametrize("world", LANES)
@settings(deadline=None)
@given(data=st.data())
def test_lanes_move_alike_alone_and_together(world, data):
    n = data.draw(st.integers(1, 70))
    share = data.draw(st.floats(0, 1))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    states, actions = situation(world, generator, n)
    chosen = np.flatnonzero(generator.random(n) < share)
    rows, after = moved(world, states, chosen, actions[chosen], limit=n // 2 + 1)
    alone = [moved(world, states, np.array([lane]), actions[[lane]], limit=n // 2 + 1) for lane in chosen]
    assert rows == [row for (row,), _ in alone]
    for lane in range(n):
        by = np.flatnonzero(chosen == lane)
        expected = alone[by[0]][1]["state"][:, lane] if by.size else states[:, lane]
        assert after["state"][:, lane].tobytes() == expected.tobytes()
        assert after["elapsed"][lane] == lane + by.size


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "i4", "u1", "u8"])
def test_integers_of_any_kind_are_lanes_and_actions(dtype):
    states, actions = situation("CartPole-v1", np.random.default_rng(0), N)
    chosen = np.array([1, 4, 6])
    expected = moved("CartPole-v1", states, chosen, actions[chosen])
    doubled = np.repeat(actions[chosen], 2).astype(dtype)
    found = moved("CartPole-v1", states, chosen.astype(dtype), doubled[::2])
    assert found[0] == expected[0]
    assert found[1]["state"].tobytes() == expected[1]["state"].tobytes()


@pytest.mark.parametrize(
    ("chosen", "actions", "error", "message"),
    [
        ([0, 3], [1, 2], IndexError, r"no action 2, which lane 3 was to take: expected integers in \[0, 2\)"),
        ([0, 3], [-1, 0], IndexError, "no action -1, which lane 0"),
        ([0, 3], [2**62, 0], IndexError, "no action 4611686018427387904"),
        ([0, 3], [0.0, 1.0], IndexError, "actions must be integers, got float64"),
        ([0, 3], [True, False], IndexError, "actions must be integers, got bool"),
        ([0, 3], [1], MismatchError, r"2 lanes with actions of shape \(1,\)"),
        ([0, 3], [[1], [0]], MismatchError, r"2 lanes with actions of shape \(2, 1\)"),
        ([0, N], [1, 1], IndexError, f"no lane {N}"),
        ([-1, 0], [1, 1], IndexError, "no lane -1"),
        ([0] * (N + 1), [1] * (N + 1), MismatchError, f"{N + 1} of {N} lanes: expected each of them at most once"),
    ],
)
def test_steps_that_cannot_be_move_nothing(chosen, actions, error, message):
    states, _ = situation("CartPole-v1", np.random.default_rng(0), N)
    lanes, everyone = LANES["CartPole-v1"](N, None), np.arange(N)
    lanes.load_state_dict(everyone, {"state": states, "elapsed": everyone})
    with pytest.raises(error, match=message):
        lanes.step(np.array(chosen), np.array(actions))
    after = lanes.state_dict(everyone)
    assert after["state"].tobytes() == states.tobytes()
    assert after["elapsed"].tolist() == everyone.tolist()


@pytest.mark.parametrize("chosen", [[N], [-1], [0] * (N + 1)])
def test_lanes_that_do_not_exist_are_not_seen(chosen):
    steps = Steps(CART_POLES, np.zeros((4, N)), np.zeros(N, np.int64), None)
    with pytest.raises((IndexError, MismatchError), match=r"lane"):
        steps.see(np.array(chosen))


@pytest.mark.parametrize(
    ("state", "elapsed"),
    [
        (np.zeros((3, N)), np.zeros(N, np.int64)),
        (np.zeros((4, N), np.float32), np.zeros(N, np.int64)),
        (np.zeros((N, 4)).T, np.zeros(N, np.int64)),
        (np.broadcast_to(0.0, (4, N)), np.zeros(N, np.int64)),
        (np.zeros((4, N)), np.zeros(N, np.int32)),
    ],
)
def test_arrays_that_no_kernel_can_write_to_are_refused(state, elapsed):
    with pytest.raises(MismatchError, match="in one piece that may be written to"):
        Steps(CART_POLES, state, elapsed, None)
