"""Replay buffers: what was added is what is drawn, and what is saved."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from garage.core.ports import Stateful
from garage.core.state import copied, differences
from garage.core.streams import Streams
from garage.core.types import End, EnvSpec, EpisodeBatch
from garage.errors import ArgumentError, MismatchError, OrderError
from garage.replay import ReplayBuffer

SPEC = EnvSpec(spaces.Box(-1e9, 1e9, (2,), np.float64), spaces.Discrete(5))


def batch_of(lengths, first=0, ends=None):
    """Segments whose observations count up; each is followed by the number after its last one, with 0.5 added."""
    n = sum(lengths)
    numbers = np.arange(first, first + n, dtype=np.float64)
    last = np.cumsum(lengths) - 1
    return EpisodeBatch(
        observations=np.stack([numbers, -numbers], 1),
        actions=np.arange(n) % 5,
        rewards=numbers * 10,
        lengths=np.array(lengths, np.int64),
        last_observations=np.stack([numbers[last] + 1.5, -numbers[last]], 1),
        ends=np.array([End.TERMINATED] * len(lengths) if ends is None else ends, np.int8),
        first_steps=np.zeros(len(lengths), np.int64),
        memories=np.zeros((len(lengths), 0)),
    )


def buffer_of(capacity=10, *batches):
    buffer = ReplayBuffer(SPEC, capacity)
    for batch in batches:
        buffer.add(batch)
    return buffer


def all_of(buffer):
    """What it holds, as often as it takes to draw each transition."""
    drawn = buffer.sample(Streams(1).generator("all"), 40 * len(buffer))
    return dict(zip(drawn.rewards.tolist(), zip(*drawn, strict=True), strict=True))


def test_each_step_is_remembered_with_what_followed_it():
    held = all_of(buffer_of(10, batch_of([2, 3, 1], ends=[End.TERMINATED, End.TRUNCATED, End.CUT])))
    expected = [(0, 1, False), (1, 2.5, True), (2, 3, False), (3, 4, False), (4, 5.5, False), (5, 6.5, False)]
    assert len(held) == 6
    for number, follows, terminated in expected:
        observation, action, reward, next_observation, ended = held[number * 10]
        assert (observation[0], action, reward) == (number, number % 5, number * 10)
        assert (next_observation[0], ended) == (follows, terminated)


@given(st.lists(st.integers(1, 25), min_size=1, max_size=6), st.integers(1, 12))
def test_the_newest_stay(sizes, capacity):
    buffer, first = ReplayBuffer(SPEC, capacity), 0
    for size in sizes:
        buffer.add(batch_of([size], first))
        first += size
    assert buffer.n_added == first
    assert len(buffer) == min(first, capacity)
    held = {int(reward) // 10 for reward in buffer.state_dict()["transitions"]["rewards"]}
    assert held == set(range(max(0, first - capacity), first))


def test_samples_are_a_function_of_the_generator_and_survive_a_restore():
    buffer = buffer_of(10, batch_of([7]), batch_of([6], 7))
    state = copied(buffer.state_dict())
    assert isinstance(buffer, Stateful)
    other = buffer_of(10)
    other.load_state_dict(state)
    assert differences(state, other.state_dict()) == []
    for path in (1, 2):
        drawn = [each.sample(Streams(3).generator("sample", path), 20) for each in (buffer, buffer, other)]
        for again in drawn[1:]:
            for one, two in zip(drawn[0], again, strict=True):
                np.testing.assert_array_equal(one, two, strict=True)
    for each in (buffer, other):
        each.add(batch_of([4], 13))
    assert differences(buffer.state_dict(), other.state_dict()) == []


def test_draws_are_uniform():
    buffer = buffer_of(10, batch_of([10]))
    counts = np.bincount((buffer.sample(Streams(5).generator(), 20_000).rewards / 10).astype(int), minlength=10)
    assert (abs(counts - 2000) < 200).all()  # 4.7 standard deviations


def test_shapes_and_dtypes_are_the_spaces():
    spec = EnvSpec(spaces.Box(0, 255, (4, 3), np.uint8), spaces.Box(-1, 1, (2,), np.float32))
    buffer = ReplayBuffer(spec, 3)
    columns = {column.name: (column.dtype, column.shape) for column in buffer.state_dict()["transitions"].columns}
    assert columns == {
        "observations": ("|u1", (4, 3)),
        "next_observations": ("|u1", (4, 3)),
        "actions": ("<f4", (2,)),
        "rewards": ("<f8", ()),
        "terminated": ("|b1", ()),
    }


def test_what_cannot_be_is_refused():
    with pytest.raises(ArgumentError, match="capacity"):
        ReplayBuffer(SPEC, 0)
    with pytest.raises(MismatchError, match="FlattenObservation"):
        ReplayBuffer(EnvSpec(spaces.Dict({"a": spaces.Discrete(2)}), spaces.Discrete(2)), 5)
    buffer = buffer_of(10)
    with pytest.raises(OrderError, match="is empty"):
        buffer.sample(Streams(1).generator(), 1)
    buffer.add(batch_of([2]))
    with pytest.raises(ArgumentError, match="Cannot sample 0"):
        buffer.sample(Streams(1).generator(), 0)
    other = EnvSpec(spaces.Box(-1, 1, (3,), np.float64), spaces.Discrete(5))
    with pytest.raises(MismatchError, match="observations`"):
        ReplayBuffer(other, 5).add(batch_of([2]))


def test_a_state_that_does_not_fit_is_refused():
    state = copied(buffer_of(10, batch_of([3])).state_dict())
    with pytest.raises(MismatchError, match="built with capacity=10"):
        buffer_of(11).load_state_dict(state)
    with pytest.raises(MismatchError, match="4 transitions were added, but"):
        buffer_of(10).load_state_dict(state | {"n_added": 4})
    with pytest.raises(MismatchError, match="`transitions` is missing"):
        buffer_of(10).load_state_dict({"n_added": 3})
    with pytest.raises(MismatchError, match="expected a tracked group"):
        buffer_of(10).load_state_dict(state | {"transitions": 3})
    other = EnvSpec(spaces.Box(-1, 1, (3,), np.float64), spaces.Discrete(5))
    with pytest.raises(MismatchError, match="Was it built for another environment"):
        ReplayBuffer(other, 10).load_state_dict(state)
