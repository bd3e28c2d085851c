"""The contract of the Env and Lanes ports; every implementation runs it."""

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation, RecordEpisodeStatistics, TimeLimit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.sample_worlds import Dial, Drifting, Unrecorded, Walk
from garage.core.ports import Rung
from garage.core.state import copied, flatten, rebuild
from garage.core.types import EnvSpec, Transition
from garage.envs import GymEnv
from garage.errors import ArgumentError, MismatchError

MUJOCO = {
    "HalfCheetah": 9,
    "Ant": 11,
    "Reacher": None,
    "Hopper": 200,
    "Humanoid": None,
    "InvertedDoublePendulum": 100,
    "InvertedPendulum": 20,
    "Swimmer": 15,
    "Walker2d": None,
}
LONG = {f"native {name}" for name in list(MUJOCO)[3:]}
WORLDS = {
    "native CartPole": lambda: GymEnv("CartPole-v1"),
    "native Pendulum": lambda: GymEnv("Pendulum-v1", max_episode_length=9),
    "native Acrobot": lambda: GymEnv("Acrobot-v1", max_episode_length=14),
    "native MountainCar": lambda: GymEnv("MountainCar-v0", max_episode_length=15),
    "native MountainCarContinuous": lambda: GymEnv("MountainCarContinuous-v0", max_episode_length=25),
    **{
        f"native {name}": lambda name=name, limit=limit: GymEnv(f"{name}-v5", max_episode_length=limit)
        for name, limit in MUJOCO.items()
    },
    "gymnasium's CartPole": lambda: GymEnv("CartPole-v1", native_lanes=False),
    "gymnasium's Pendulum, short": lambda: GymEnv("Pendulum-v1", 9, native_lanes=False),
    "a callable": lambda: GymEnv(Walk),
    "a callable with a time limit": lambda: GymEnv(lambda: Walk(length=50), max_episode_length=6),
    "an instance": lambda: GymEnv(gymnasium.make("MountainCar-v0", max_episode_steps=12), native_lanes=False),
    "discrete observations": lambda: GymEnv("FrozenLake-v1"),
    "actions from 1": lambda: GymEnv(Dial, max_episode_length=15),
    "wrappers with a state of their own": lambda: GymEnv(wrapped),
    "made anew for each episode": lambda: GymEnv(Drifting, max_episode_length=12, fresh_episodes=True),
}
N = 5
SLOW_DATA = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def wrapped():
    return RecordEpisodeStatistics(FrameStackObservation(TimeLimit(Walk(length=40), 11), 3))


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in WORLDS],
)
def env(request):
    if request.param.removeprefix("native ") in MUJOCO:
        pytest.importorskip("mujoco")
    return WORLDS[request.param]()


@pytest.fixture
def lanes(env):
    made = env.make_lanes(N)
    yield made
    made.close()


def actions_of(env, seed, n_steps):
    """What a policy would give: 0-based if discrete, and beyond the bounds if not."""
    generator = np.random.default_rng(seed)
    space = env.spec.action_space
    if isinstance(space, spaces.Discrete):
        return generator.integers(0, space.n, n_steps)
    return generator.normal(0, 2, (n_steps, *space.shape)).astype(np.float32)


def bits(transition, row):
    columns = [transition.observations, transition.rewards, transition.terminated, transition.truncated]
    columns += [transition.infos[key] for key in sorted(transition.infos)]
    return tuple(column[row].tobytes() for column in columns)


def episode(env, lanes, lane, seed, n_steps=30):
    """The bits of one episode, alone in one lane."""
    alone = np.array([lane])
    seen = [lanes.reset(alone, [seed])[0].tobytes()]
    for action in actions_of(env, seed, n_steps):
        transition = lanes.step(alone, action[np.newaxis])
        seen.append(bits(transition, 0))
        if transition.terminated[0] or transition.truncated[0]:
            break
    return seen


def test_spec_says_what_an_agent_may_know(env):
    assert isinstance(env.spec, EnvSpec)
    assert isinstance(env.spec.observation_space, spaces.Space)
    assert isinstance(env.spec.action_space, spaces.Space)
    assert env.spec.max_episode_length is None or env.spec.max_episode_length >= 1
    assert env.lane_width >= 1


def test_shapes_and_dtypes(env, lanes):
    space = env.spec.observation_space
    assert lanes.n == N
    for chosen in ([0, 1, 2, 3, 4], [1, 3], [4]):
        k = len(chosen)
        observations = lanes.reset(np.array(chosen), range(k))
        assert observations.shape == (k, *space.shape)
        assert observations.dtype == space.dtype
        transition = lanes.step(np.array(chosen), actions_of(env, 0, k))
        assert isinstance(transition, Transition)
        assert transition.observations.shape == (k, *space.shape)
        assert transition.observations.dtype == space.dtype
        assert all(space.contains(observation) for observation in list(transition.observations))
        assert transition.rewards.shape == transition.terminated.shape == transition.truncated.shape == (k,)
        assert transition.rewards.dtype == np.float64
        assert transition.terminated.dtype == transition.truncated.dtype == np.bool_
        assert all(value.shape == (k,) and value.dtype == np.float64 for value in transition.infos.values())


def test_the_same_seed_gives_the_same_episode_in_any_lane_of_any_lanes(env, lanes):
    expected = episode(env, lanes, 0, seed=11)
    assert all(episode(env, lanes, lane, seed=11) == expected for lane in range(N))
    other = env.make_lanes(2)
    assert episode(env, other, 1, seed=11) == expected
    other.close()
    assert episode(env, lanes, 0, seed=12) != expected


def test_lanes_do_not_depend_on_one_another_or_on_which_others_step(env, lanes):
    expected = [episode(env, lanes, 0, seed) for seed in range(N)]
    plans = [actions_of(env, seed, 30) for seed in range(N)]
    seen = [[observation.tobytes()] for observation in lanes.reset(np.arange(N), range(N))]
    taken, running = [0] * N, set(range(N))
    generator = np.random.default_rng(0)
    while running:
        chosen = [lane for lane in sorted(running) if generator.random() < 0.6] or sorted(running)
        transition = lanes.step(np.array(chosen), np.stack([plans[lane][taken[lane]] for lane in chosen]))
        for row, lane in enumerate(chosen):
            seen[lane].append(bits(transition, row))
            taken[lane] += 1
            if transition.terminated[row] or transition.truncated[row] or taken[lane] == 30:
                running.remove(lane)
    assert seen == expected


def test_a_reset_leaves_other_lanes_alone(env, lanes):
    expected = episode(env, lanes, 2, seed=5)
    everyone, others = np.arange(N), np.array([0, 1, 3, 4])
    seen = [lanes.reset(everyone, [5] * N)[2].tobytes()]
    for action in actions_of(env, 5, 30):
        lanes.reset(others, [5, 6, 7, 8])
        transition = lanes.step(everyone, np.stack([action] * N))
        seen.append(bits(transition, 2))
        if transition.terminated[2] or transition.truncated[2]:
            break
    assert seen == expected


def test_rows_come_in_the_order_of_the_lanes_asked_for(lanes):
    by_seed = {seed: lanes.reset(np.array([0]), [seed])[0].tobytes() for seed in range(N)}
    for chosen in (np.arange(N), np.array([0, 2, 4])):
        seeds = [int(lane) for lane in chosen]
        assert [row.tobytes() for row in lanes.reset(chosen, seeds)] == [by_seed[seed] for seed in seeds]
    backwards = lanes.reset(np.array([3, 1]), [3, 1])
    assert [row.tobytes() for row in backwards] == [by_seed[3], by_seed[1]]


def test_returned_arrays_are_never_modified_later(env, lanes):
    kept = []
    everyone = np.arange(N)

    def keep(*arrays):
        kept.extend((array, array.copy()) for array in arrays)

    keep(lanes.reset(everyone, range(N)))
    for step, action in enumerate(actions_of(env, 0, 20)):
        chosen = everyone if step % 3 else np.array([0, 3])
        transition = lanes.step(chosen, np.stack([action] * len(chosen)))
        keep(transition.observations, transition.rewards, transition.terminated, transition.truncated)
        keep(*transition.infos.values())
        ended = chosen[transition.terminated | transition.truncated]
        if ended.size:
            keep(lanes.reset(ended, range(len(ended))))
    assert all(np.array_equal(array, copy, equal_nan=True) for array, copy in kept)


def test_actions_are_not_modified(env, lanes):
    actions = actions_of(env, 0, N)
    before = actions.copy()
    lanes.reset(np.arange(N), range(N))
    lanes.step(np.arange(N), actions)
    assert np.array_equal(actions, before)


def test_a_time_limit_truncates_at_its_step_and_not_before(env, lanes):
    limit = env.spec.max_episode_length
    n_truncated = 0
    for seed in range(20):
        lanes.reset(np.array([1]), [seed])
        for step, action in enumerate(actions_of(env, seed, min(limit or 20, 600)), start=1):
            transition = lanes.step(np.array([1]), action[np.newaxis])
            assert transition.truncated[0] == (step == limit)
            n_truncated += int(transition.truncated[0])
            if transition.terminated[0]:
                break
    if limit is not None and limit < 16:
        assert n_truncated > 0


# Lanes in mid-episode


def advanced(env, lanes, n_steps):
    """Take lane i so many steps into the episode of seed i; returns the lanes whose episodes go on, and their steps."""
    lanes.reset(np.arange(lanes.n), range(lanes.n))
    running, taken = {lane for lane, n in enumerate(n_steps) if n}, [0] * lanes.n
    plans = [actions_of(env, lane, 60) for lane in range(lanes.n)]
    ended = set()
    while running:
        chosen = sorted(running)
        transition = lanes.step(np.array(chosen), np.stack([plans[lane][taken[lane]] for lane in chosen]))
        for row, lane in enumerate(chosen):
            taken[lane] += 1
            if transition.terminated[row] or transition.truncated[row]:
                ended.add(lane)
            if lane in ended or taken[lane] == n_steps[lane]:
                running.remove(lane)
    return [lane for lane in range(lanes.n) if lane not in ended], taken


def rest(env, lanes, lane, seed, n_taken):
    """The bits of what is left of an episode, alone."""
    seen = []
    for action in actions_of(env, seed, 60)[n_taken:]:
        transition = lanes.step(np.array([lane]), action[np.newaxis])
        seen.append(bits(transition, 0))
        if transition.terminated[0] or transition.truncated[0]:
            break
    return seen


@SLOW_DATA
@given(data=st.data())
def test_lanes_in_mid_episode_go_on_in_any_lanes_of_others(env, data):
    n_steps = data.draw(st.lists(st.integers(0, 25), min_size=N, max_size=N))
    lanes = env.make_lanes(N)
    going, taken = advanced(env, lanes, n_steps)
    captured = data.draw(st.lists(st.sampled_from(going), unique=True)) if going else []
    state = rebuild(flatten(copied(lanes.state_dict(np.array(captured, np.int64)))))
    others = env.make_lanes(N + data.draw(st.integers(-2, 2)) if len(captured) <= 3 else N)
    others.reset(np.arange(others.n), range(50, 50 + others.n))
    places = data.draw(st.permutations(range(others.n)))[: len(captured)]
    observations = others.load_state_dict(np.array(places, np.int64), state)
    assert observations.shape == (len(captured), *env.spec.observation_space.shape)
    assert observations.dtype == env.spec.observation_space.dtype
    for row, (lane, place) in enumerate(zip(captured, places, strict=True)):
        at_once = env.make_lanes(1)
        seen = episode(env, at_once, 0, lane, taken[lane])
        last = seen[-1] if isinstance(seen[-1], bytes) else seen[-1][0]
        assert observations[row].tobytes() == last
        expected = rest(env, lanes, lane, lane, taken[lane])
        assert rest(env, others, place, lane, taken[lane]) == expected
        at_once.close()
    lanes.close()
    others.close()


def test_what_was_captured_and_the_lanes_share_no_memory(env, lanes):
    going, taken = advanced(env, lanes, [3] * N)
    state = lanes.state_dict(np.array(going))
    before = copied(state)
    everyone = np.array(going)
    lanes.step(everyone, actions_of(env, 9, len(going)))
    lanes.reset(everyone, [77] * len(going))
    kept = flatten(state)
    assert all(np.array_equal(leaf, kept[path]) for path, leaf in flatten(before).items())
    again = env.make_lanes(N)
    again.load_state_dict(everyone, state)
    for leaf in kept.values():
        if isinstance(leaf, np.ndarray):
            leaf.fill(0)
    lanes.load_state_dict(everyone, before)
    for lane in going:
        assert rest(env, again, lane, lane, taken[lane]) == rest(env, lanes, lane, lane, taken[lane])
    again.close()


def test_a_capture_changes_nothing(env, lanes):
    going, taken = advanced(env, lanes, [3] * N)
    lanes.state_dict(np.array(going))
    other = env.make_lanes(N)
    advanced(env, other, [3] * N)
    for lane in going:
        assert rest(env, lanes, lane, lane, taken[lane]) == rest(env, other, lane, lane, taken[lane])
    other.close()


def malformed(state):
    """The state of lanes with one thing wrong with it at a time."""
    leaves = flatten(state)
    for path, leaf in leaves.items():
        others = {key: value for key, value in leaves.items() if key != path}
        yield f"{path} left out", others
        yield f"{path} another type", {**others, path: "nothing"}
        if isinstance(leaf, np.ndarray):
            yield f"{path} longer", {**others, path: np.concatenate([leaf, leaf])}
            yield f"{path} with another axis", {**others, path: leaf[..., np.newaxis, np.newaxis]}
            yield f"{path} as text", {**others, path: leaf.astype("U8")}
            yield f"{path} as complex numbers", {**others, path: leaf.astype(np.complex128)}


def test_a_state_of_other_lanes_is_refused(env, lanes):
    going, _ = advanced(env, lanes, [3] * N)
    state = lanes.state_dict(np.array(going))
    for what, leaves in malformed(state):
        with pytest.raises(MismatchError, match="Cannot load the state of"):
            pytest.fail(f"taken: {what}: {lanes.load_state_dict(np.array(going), rebuild(leaves))}")
    with pytest.raises(MismatchError, match="Cannot load the state of"):
        lanes.load_state_dict(np.array(going[:-1]), state)


def test_the_rung_is_said(env, lanes):
    native = "native lanes" in env.describe()
    assert lanes.rung is (Rung.ARRAYS if native else Rung.REPLAY)
    assert env.rung is lanes.rung
    assert f"goes on by {lanes.rung}" in env.describe()


def test_pickles_as_the_same_world(env, lanes):
    again = cloudpickle.loads(cloudpickle.dumps(env))
    assert again.spec == env.spec
    assert again.lane_width == env.lane_width
    assert again.describe() == env.describe()
    copies = again.make_lanes(2)
    assert episode(env, copies, 1, seed=3) == episode(env, lanes, 4, seed=3)
    copies.close()


def test_tasks_are_refused(env):
    with pytest.raises(MismatchError, match="has no tasks"):
        env.with_task({"goal": 1})


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2"])
def test_a_wrong_number_of_lanes_is_refused(env, n):
    with pytest.raises(ArgumentError, match="`n` must be an integer of at least 1"):
        env.make_lanes(n)


def test_closing_twice_is_harmless(env):
    lanes = env.make_lanes(1)
    lanes.close()
    lanes.close()


def test_a_lone_instance_keeps_the_contract_in_its_one_lane():
    env = GymEnv(Unrecorded(Walk()))
    lanes = env.make_lanes(1)
    assert env.lane_width == lanes.n == 1
    first = episode(env, lanes, 0, seed=1)
    assert episode(env, lanes, 0, seed=2) != first
    assert episode(env, env.make_lanes(1), 0, seed=1) == first
