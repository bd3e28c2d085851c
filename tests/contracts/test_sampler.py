"""The contract of the Sampler port; every implementation runs it."""

import numpy as np
import pytest

from garage.core.streams import Streams
from garage.errors import NonFiniteError, WorldRaisedError
from garage.np.policies import GaussianMLPPolicy
from garage.sampler import LocalSampler, ProcessSampler
from sampler.ray_clusters import scratch
from sampler.toy_worlds import Ladder, bits, five_to_twelve, group_of, streams_of


def on_ray():
    return pytest.importorskip("garage.sampler.ray").RaySampler("local", 2)


SAMPLERS = {"local": LocalSampler, "processes": lambda: ProcessSampler(2), "ray": on_ray}


@pytest.fixture(params=SAMPLERS.values(), ids=SAMPLERS.keys(), scope="module")
def make(request):
    with scratch():
        yield request.param


@pytest.fixture(scope="module")
def sampler(make):
    """One for all tests: each leaves it as if nothing had been."""
    made = make()
    yield made
    made.close()


def groups(env=None, n=4, *, n_lanes=5, **size):
    """Groups whose policy multiplies all rows at once, so that their bits depend on the width."""
    env = env or Ladder(five_to_twelve)
    policy = GaussianMLPPolicy(env.spec, (16, 16))
    policy.initialise(Streams(1).generator("policy"))
    size = size or {"n_episodes": 9}
    return [group_of(env, n_lanes=n_lanes, policy=policy, index=index, **size) for index in range(n)]


def run(sampler, asked):
    return [bits(result) for result in sampler.run(asked)]


def test_there_is_a_result_for_each_group_in_their_order(sampler):
    asked = groups()
    results = sampler.run(asked)
    assert len(results) == 4
    for group, result in zip(asked, results, strict=True):
        seeds = [streams_of(group).world_seed(index) for index in range(9)]
        assert result.batch.lengths.tolist() == [five_to_twelve(seed) for seed in seeds]
        assert result.batch.observations[result.batch.starts, 0].tolist() == [seed / 2**31 for seed in seeds]
        assert result.carried == {}
        assert set(result.seconds) == {"env", "policy", "process"}


@pytest.mark.parametrize("size", [{"n_episodes": 9}, {"n_steps": 70, "mean_length": 8.0}], ids=str)
def test_results_are_those_of_any_sampler(make, sampler, size):
    expected = run(LocalSampler(), groups(**size))
    assert run(sampler, groups(**size)) == expected
    assert run(sampler, groups(**size)) == expected
    other = make()
    assert run(other, groups(**size)) == expected
    other.close()


def test_a_result_does_not_depend_on_which_groups_run_beside_it(sampler):
    asked = groups()
    expected = run(sampler, asked)
    assert run(sampler, asked[::-1]) == expected[::-1]
    assert [run(sampler, [group])[0] for group in asked] == expected
    assert run(sampler, asked[2:]) == expected[2:]


def test_groups_may_have_different_worlds_and_widths(sampler):
    mixed = [groups(n=1)[0], groups(n=1, n_lanes=2)[0], groups(Ladder(lambda _: 3), n=1)[0]]
    expected = [run(LocalSampler(), [group])[0] for group in mixed]
    assert run(sampler, mixed) == expected
    assert len({result["lengths"] for result in expected}) == 2


def test_parameters_are_those_of_the_groups_policy(sampler):
    asked = groups()
    before = run(sampler, asked)
    asked[0].policy.theta = asked[0].policy.theta + 1
    assert run(sampler, asked) != before


def test_no_groups_no_results(sampler):
    assert sampler.run([]) == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [(("raise", 2, OSError("gone")), WorldRaisedError), (("observation", 3, np.nan), NonFiniteError)],
    ids=["raises", "NaN"],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_world_that_fails_is_named_with_its_seed_and_the_next_run_is_as_if_nothing_had_been(sampler, fault, error):
    asked = groups()
    expected = run(sampler, asked)
    kind, step, value = fault
    seed = streams_of(asked[2]).world_seed(6)
    with pytest.raises(error, match=rf"Ladder\(\).*{seed}"):
        sampler.run(groups(Ladder(five_to_twelve, {(seed, step, kind): value})))
    assert run(sampler, asked) == expected


def test_after_closing_it_can_run_again(sampler):
    expected = run(sampler, groups())
    sampler.close()
    sampler.close()
    assert run(sampler, groups()) == expected
