"""Observations as rows, and which policies fit which worlds."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from core.samples import ONE_FORCE, PLANE, THREE_ACTIONS, TWO_ACTIONS, draws
from garage.core.spaces import check_fit, check_spec, flat_size, flatten_rows
from garage.core.types import EnvSpec
from garage.errors import ArgumentError, MismatchError

FLAT = [
    (spaces.Box(-1, 1, (3,)), 3),
    (spaces.Box(-1, 1, (2, 3)), 6),
    (spaces.Box(-1, 1, ()), 1),
    (spaces.Box(0, 255, (4, 5, 3), np.uint8), 60),
    (spaces.Discrete(5), 5),
    (spaces.Discrete(5, start=-2), 5),
    (spaces.MultiBinary(4), 4),
    (spaces.MultiBinary([2, 3]), 6),
]


@pytest.mark.parametrize(("space", "size"), FLAT, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_observations_become_rows_of_the_dtype(space, size, dtype):
    observations = draws(space, np.random.default_rng(0), 7)
    rows = flatten_rows(space, observations, np.dtype(dtype))
    assert flat_size(space) == size
    assert rows.shape == (7, size)
    assert rows.dtype == dtype
    assert rows.flags.c_contiguous
    if not isinstance(space, spaces.Discrete):
        assert np.array_equal(rows, observations.reshape(7, -1).astype(dtype))


def test_discrete_observations_become_one_hot_from_their_start():
    rows = flatten_rows(spaces.Discrete(4, start=3), np.array([3, 6, 4]), np.dtype(np.float32))
    assert rows.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]


def test_rows_that_are_rows_already_are_not_copied():
    observations = np.zeros((3, 4), np.float32)
    assert np.shares_memory(
        flatten_rows(TWO_ACTIONS.observation_space, observations, np.dtype(np.float32)), observations
    )


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (spaces.Box(-1, 1, (3,)), (5, 1)),
        (spaces.Box(-1, 1, (3,)), (5,)),
        (spaces.Box(-1, 1, (2, 3)), (5, 6)),
        (spaces.Discrete(3), (5, 1)),
    ],
)
def test_observations_of_another_shape_are_refused_with_both(space, shape):
    with pytest.raises(MismatchError, match=r"Got observations of shape .* expected n rows of shape"):
        flatten_rows(space, np.zeros(shape), np.dtype(np.float32))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(3),
        spaces.Dict({"a": spaces.Discrete(2)}),
        spaces.MultiDiscrete([2, 2]),
        spaces.Tuple((spaces.Discrete(2),)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_spaces_that_are_no_rows_are_refused_with_a_way_out(space):
    with pytest.raises(MismatchError, match=r"expected Box, Discrete or MultiBinary.*FlattenObservation"):
        flat_size(space)


def fit(built_for, world):
    check_fit(SimpleNamespace(name="policy", spec=built_for), SimpleNamespace(spec=world))


def test_a_policy_fits_the_spaces_that_it_was_built_for_whatever_the_time_limit():
    fit(TWO_ACTIONS, EnvSpec(TWO_ACTIONS.observation_space, spaces.Discrete(2), None))


def test_a_policy_for_other_actions_is_refused_naming_both_spaces():
    with pytest.raises(MismatchError, match=r"`policy` does not fit.*action_space Discrete\(3\).*has Discrete\(2\)"):
        fit(THREE_ACTIONS, TWO_ACTIONS)


def test_a_policy_for_other_observations_is_refused_naming_both_spaces():
    other = EnvSpec(spaces.Box(-1, 1, (9,)), ONE_FORCE.action_space)
    with pytest.raises(MismatchError, match=r"observation_space Box.*\(9,\).*has Box.*\(4,\)"):
        fit(other, ONE_FORCE)


def test_a_spec_that_is_none_is_refused():
    check_spec("A policy", TWO_ACTIONS)
    for wrong in (None, PLANE, SimpleNamespace(spec=TWO_ACTIONS)):
        with pytest.raises(ArgumentError, match=r"^A policy's env_spec must be an EnvSpec, got .*env_spec=env\.spec"):
            check_spec("A policy", wrong)
