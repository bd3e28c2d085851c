"""EpisodeBatch: what it refuses, and what it derives from lengths."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.samples import ONE_FORCE, batch_of
from garage.core.types import End, EnvSpec, EpisodeBatch, Transition
from garage.errors import MismatchError

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@given(LENGTHS, st.data())
def test_starts_steps_and_segments_follow_from_lengths(lengths, data):
    first_steps = data.draw(st.lists(st.integers(0, 50), min_size=len(lengths), max_size=len(lengths)))
    batch = batch_of(lengths, first_steps=first_steps)
    assert (batch.n_steps, batch.n_segments) == (sum(lengths), len(lengths))
    assert batch.starts.tolist() == [sum(lengths[:index]) for index in range(len(lengths))]
    pairs = zip(first_steps, lengths, strict=True)
    assert batch.steps.tolist() == [step for first, n in pairs for step in range(first, first + n)]
    rows = [list(range(batch.n_steps))[rows] for rows in batch.segments()]
    assert [len(segment) for segment in rows] == lengths
    assert [row for segment in rows for row in segment] == list(range(batch.n_steps))


def test_only_a_cut_segment_does_not_end_its_episode():
    batch = batch_of([1, 2, 3], ends=[End.TERMINATED, End.TRUNCATED, End.CUT])
    assert batch.episode_ended.tolist() == [True, True, False]


@given(LENGTHS, st.integers(0, 30))
def test_after_is_one_step_a_segment_at_what_followed_it(lengths, first):
    batch = batch_of(lengths, first_steps=[first] * len(lengths))
    after = batch.after()
    assert after.n_steps == after.n_segments == len(lengths)
    assert after.observations is batch.last_observations
    assert after.actions.tolist() == [batch.actions[rows][-1] for rows in batch.segments()]
    assert after.rewards.tolist() == [0.0] * len(lengths)
    assert after.steps.tolist() == [first + length for length in lengths]
    assert not after.episode_ended.any()
    assert after.env_infos == after.agent_infos == {}


@given(LENGTHS, st.randoms())
def test_rows_are_steps_as_segments_of_their_own(lengths, random):
    ends = [random.choice(list(End)) for _ in lengths]
    batch = batch_of(lengths, ends=ends, first_steps=[random.randrange(9) for _ in lengths])
    index = np.array([random.randrange(batch.n_steps) for _ in range(7)])
    chosen = batch.rows(index)
    assert chosen.n_steps == chosen.n_segments == 7
    for column in ("observations", "actions", "rewards"):
        assert np.array_equal(getattr(chosen, column), getattr(batch, column)[index])
    assert chosen.steps.tolist() == batch.steps[index].tolist()
    last_rows = [rows.stop - 1 for rows in batch.segments()]
    for place, row in enumerate(index.tolist()):
        is_last = row in last_rows
        following = batch.last_observations[last_rows.index(row)] if is_last else batch.observations[row + 1]
        assert np.array_equal(chosen.last_observations[place], following)
        assert chosen.ends[place] == (ends[last_rows.index(row)] if is_last else End.CUT)
    assert chosen.ends.dtype == np.int8
    assert chosen.memories.shape == (7, 0)


def test_rows_of_a_policy_with_a_memory_are_refused():
    batch = dataclasses.replace(batch_of([2, 3]), memories=np.zeros((2, 4)))
    with pytest.raises(MismatchError, match=r"memory, here of shape \(4,\)"):
        batch.rows(np.array([0]))


@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_concatenate_keeps_every_column_in_order(parts):
    batches = [batch_of(lengths, seed=seed, ends=[seed % 3] * len(lengths)) for seed, lengths in enumerate(parts)]
    joined = EpisodeBatch.concatenate(batches)
    for column in dataclasses.fields(EpisodeBatch):
        values = [getattr(batch, column.name) for batch in batches]
        got = getattr(joined, column.name)
        if isinstance(got, dict):
            assert got.keys() == values[0].keys()
            assert all(np.array_equal(got[key], np.concatenate([value[key] for value in values])) for key in got)
        else:
            assert np.array_equal(got, np.concatenate(values))
            assert got.dtype == values[0].dtype


def test_a_concatenation_of_one_is_that_one():
    batch = batch_of([3])
    assert EpisodeBatch.concatenate([batch]) is batch


def test_a_concatenation_of_none_is_refused():
    with pytest.raises(MismatchError, match="got none, expected at least one"):
        EpisodeBatch.concatenate([])


@pytest.mark.parametrize("infos", [{}, {"height": np.zeros(2), "other": np.zeros(2)}, {"other": np.zeros(2)}])
@pytest.mark.parametrize("turned", [False, True])
def test_a_concatenation_loses_no_info_in_silence(infos, turned):
    batches = [batch_of([2]), dataclasses.replace(batch_of([2]), env_infos=infos)]
    with pytest.raises(MismatchError, match=r"infos have different entries.*'height'"):
        EpisodeBatch.concatenate(batches[::-1] if turned else batches)


@pytest.mark.parametrize(
    ("column", "rows", "expected"),
    [
        ("observations", 4, 5),
        ("actions", 6, 5),
        ("last_observations", 1, 2),
        ("ends", 3, 2),
        ("first_steps", 5, 2),
        ("memories", 0, 2),
    ],
)
def test_a_column_of_the_wrong_length_is_refused_by_name(column, rows, expected):
    with pytest.raises(MismatchError, match=f"`{column}` has {rows} rows, expected {expected}"):
        dataclasses.replace(batch_of([2, 3]), **{column: np.zeros(rows)})


@pytest.mark.parametrize("infos", ["env_infos", "agent_infos"])
def test_an_info_of_the_wrong_length_is_refused_by_name(infos):
    with pytest.raises(MismatchError, match=f"`{infos}/x` has 2 rows, expected 5"):
        dataclasses.replace(batch_of([2, 3]), **{infos: {"x": np.zeros(2)}})


@pytest.mark.parametrize("lengths", [[2, 2], [5, 0], [6, -1], [4, 2]])
def test_lengths_that_are_not_those_of_the_steps_are_refused(lengths):
    with pytest.raises(MismatchError, match=f"`lengths` sum to {sum(lengths)} over 5 steps"):
        dataclasses.replace(batch_of([2, 3]), lengths=np.array(lengths))


def test_values_are_frozen():
    for value, name in ((batch_of([1]), "rewards"), (ONE_FORCE, "action_space")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)


def test_a_transition_has_no_infos_unless_given():
    nothing = np.zeros(1)
    assert dict(Transition(nothing, nothing, nothing, nothing).infos) == {}


def test_an_env_spec_needs_no_time_limit():
    assert EnvSpec(ONE_FORCE.observation_space, ONE_FORCE.action_space).max_episode_length is None
