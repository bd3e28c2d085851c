"""Groups one after the other in this process, on lanes that are kept."""

import numpy as np
import pytest

from garage.errors import NonFiniteError, WorldRaisedError
from garage.sampler import LocalSampler
from sampler.toy_worlds import Ladder, bits, group_of, streams_of


def groups_of(env, n=3):
    return [group_of(env, n_episodes=6, index=index) for index in range(n)]


def test_lanes_are_kept_from_call_to_call():
    env, sampler = Ladder(), LocalSampler()
    for _ in range(3):
        sampler.run(groups_of(env))
    assert len(env.made) == 1
    sampler.run([group_of(env, n_lanes=2, n_episodes=1)])
    assert [lanes.n for lanes in env.made] == [4, 2]
    other = Ladder()
    sampler.run([group_of(other, n_episodes=1), group_of(env, n_episodes=1)])
    assert (len(env.made), len(other.made)) == (2, 1)


def test_closing_closes_all_lanes_once_and_another_run_makes_new_ones():
    env, sampler = Ladder(), LocalSampler()
    expected = [bits(result) for result in sampler.run(groups_of(env))]
    sampler.run([group_of(env, n_lanes=2, n_episodes=1)])
    sampler.close()
    sampler.close()
    assert [lanes.closed for lanes in env.made] == [1, 1]
    assert [bits(result) for result in sampler.run(groups_of(env))] == expected
    assert len(env.made) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (("raise", "reset", OSError("gone")), WorldRaisedError),
        (("raise", 1, OSError("gone")), WorldRaisedError),
        (("observation", 1, np.nan), NonFiniteError),
        (("raise", 1, KeyboardInterrupt()), KeyboardInterrupt),
    ],
    ids=["reset", "step", "NaN", "interrupt"],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_after_an_error_lanes_are_closed_and_the_next_run_is_as_if_nothing_had_been(fault, error):
    env, sampler = Ladder(lambda _: 5), LocalSampler()
    groups = groups_of(env)
    kind, step, value = fault
    env.faults[streams_of(groups[1]).world_seed(4), step, kind] = value
    with pytest.raises(error):
        sampler.run(groups)
    assert [lanes.closed for lanes in env.made] == [1]
    env.faults.clear()
    expected = [bits(result) for result in LocalSampler().run(groups_of(Ladder(lambda _: 5)))]
    assert [bits(result) for result in sampler.run(groups)] == expected


def test_no_groups_no_results():
    assert LocalSampler().run([]) == []
