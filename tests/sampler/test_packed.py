"""Groups as they travel: the same bits, on benches that have been used before."""

import dataclasses
import pickle

import cloudpickle
import numpy as np
import pytest

from garage import process
from garage.core.recipe import Component
from garage.core.streams import Streams
from garage.errors import NonFiniteError, OrderError, UnsendableError, WorldError
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.sampler import LocalSampler
from garage.sampler.packed import MOST_WORLDS, Failure, Packer, Shelf, Workbench, describe
from garage.sampler.pickling import pickled_env, pickled_policy, unpickled
from sampler.toy_worlds import Ladder, bits, five_to_twelve, group_of, streams_of


def travelled(thing):
    """As it comes out of a store whose arrays cannot be written to."""
    buffers = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])


def run(bench, packed):
    return [travelled(bench.run(travelled(group), travelled(packed.parts))).result() for group in packed.groups]


def groups_of(env, n=3, **options):
    return [group_of(env, n_episodes=6, index=index, **options) for index in range(n)]


@pytest.fixture
def bench():
    made = Workbench()
    yield made
    made.close()


def test_a_bench_gives_what_groups_give_here(bench):
    groups = groups_of(Ladder(five_to_twelve))
    packer = Packer()
    for _ in range(2):
        got = run(bench, packer.pack(groups))
        assert [bits(result) for result in got] == [bits(result) for result in LocalSampler().run(groups)]


def test_parts_are_named_by_what_they_are_and_sent_once():
    packer, env = Packer(), Ladder(five_to_twelve)
    policy = GaussianMLPPolicy(env.spec, (4,))
    policy.initialise(Streams(1).generator("policy"))
    first, again = (packer.pack(groups_of(env, policy=policy)) for _ in range(2))
    assert len(first.parts) == 3
    assert first.parts.keys() == again.parts.keys()
    policy.theta = policy.theta + 1
    changed = packer.pack(groups_of(env, policy=policy))
    assert changed.groups[0].env == first.groups[0].env
    assert changed.groups[0].policy != first.groups[0].policy
    bench = Workbench()
    bench.run(first.groups[0], first.parts)
    bench.run(changed.groups[0], {changed.groups[0].policy: changed.parts[changed.groups[0].policy]}).result()
    with pytest.raises(UnsendableError, match="was not sent the part"):
        Workbench().run(first.groups[0], {}).result()
    bench.close()


def test_fragments_go_on_from_what_travelled_and_from_lanes_that_were_kept(bench):
    env, packer, local = Ladder(lambda _: 40), Packer(), LocalSampler()
    carried, expected = {}, {}
    for call in range(4):
        asked = dataclasses.replace(group_of(env, n_steps=30), call=call, fragments=True)
        here = local.run([dataclasses.replace(asked, carried=expected)])[0]
        used = bench if call != 2 else Workbench()  # whose lanes are fresh
        there = run(used, packer.pack([dataclasses.replace(asked, carried=carried)]))[0]
        assert bits(there) == bits(here)
        carried, expected = there.carried, here.carried
        if used is not bench:
            used.close()


def test_a_bench_that_has_had_more_worlds_than_it_keeps_makes_them_again(bench):
    groups = [
        group_of(Ladder(five_to_twelve, {("a", index, "none"): 0}), n_episodes=2) for index in range(MOST_WORLDS + 2)
    ]
    expected = [bits(result) for result in LocalSampler().run(groups)]
    for _ in range(2):
        packed = Packer().pack(groups)
        assert len(packed.parts) == len(groups) + 2  # the policies are all the same, and nothing is registered
        assert [bits(result) for result in run(bench, packed)] == expected


def test_a_shelf_keeps_what_was_asked_for_last():
    shelf, made = Shelf(2), []
    for name in "abacab":
        shelf.ask(name, lambda name=name: made.append(name))
        shelf.overdue()
    assert made == ["a", "b", "c", "b"]
    assert "a" in shelf
    assert "c" not in shelf


def test_it_computes_with_the_threads_of_its_groups(bench):
    group = Packer().pack([group_of(Ladder(), n_episodes=1)]).groups[0]
    packed = Packer().pack([group_of(Ladder(), n_episodes=1)])
    assert group.n_threads == 1
    with process.computing(2):
        two = Packer().pack([group_of(Ladder(), n_episodes=1)])
    assert two.groups[0].n_threads == 2
    bench.run(two.groups[0], two.parts).result()
    assert process.computing_threads() == 2
    bench.run(packed.groups[0], packed.parts).result()
    assert process.computing_threads() == 1
    bench.close()
    assert process.computing_threads() is None


def test_progress_says_how_many_episodes_were_started():
    seen = []
    bench = Workbench(seen.append)
    packed = Packer().pack([group_of(Ladder(five_to_twelve), n_lanes=2, n_episodes=5)])
    bench.run(packed.groups[0], packed.parts).result()
    assert (seen[0], seen[-1]) == (2, 5)
    assert sorted(seen) == seen
    bench.close()


def test_errors_survive_the_journey():
    cause = OSError(5, "gone")
    cause.add_note("while looking")
    error = NonFiniteError("it was NaN")
    error.__cause__ = cause
    failure = travelled(Failure.of(error))
    with pytest.raises(NonFiniteError, match="it was NaN") as caught:
        failure.reraise()
    assert caught.value.__cause__.args == (5, "gone")
    assert caught.value.__cause__.__notes__ == ["while looking"]
    assert "In the worker:" in str(caught.value.__cause__.__cause__)


class StubbornError(WorldError):
    """Cannot be rebuilt from its arguments."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def test_an_error_that_cannot_be_rebuilt_goes_as_words():
    with pytest.raises(WorldError.__base__, match="this and that") as caught:
        travelled(Failure.of(StubbornError("this", "that"))).reraise()
    assert "StubbornError" in str(caught.value.__cause__)


def test_a_group_is_described_by_the_seeds_of_its_episodes():
    group = group_of(Ladder(), n_lanes=2, index=3)
    seeds = [streams_of(group).world_seed(ordinal) for ordinal in range(100)]
    assert describe(group, 0) == "group 3 of epoch 0 (train), before its first episode"
    assert describe(group, 5).endswith(f"in one of the episodes with the seeds {', '.join(map(str, seeds[4::-1]))}")
    assert f"seeds {seeds[99]}, {seeds[98]}" in describe(group, 100)
    assert describe(group, 100).endswith(f", {seeds[36]}, …")
    cut = LocalSampler().run(
        [dataclasses.replace(group_of(Ladder(lambda _: 99), n_lanes=2), n_steps=9, fragments=True)]
    )[0]
    carried = dataclasses.replace(group_of(Ladder(), n_lanes=2), call=1, carried=cut.carried)
    first = [streams_of(group_of(Ladder())).world_seed(ordinal) for ordinal in range(2)]
    assert describe(carried, 0).endswith(f"seeds {first[1]}, {first[0]}")


class Table(Component):
    """A user's policy: its parameters are in its state."""

    def __init__(self, size):
        self.size, self.values = size, np.zeros(size)

    def state_dict(self):
        return {"values": self.values}

    def load_state_dict(self, state):
        self.values = np.array(state["values"])


class Notes(Component):
    """A user's policy that says nothing of its state."""

    def __init__(self, size):
        self.values = np.zeros(size)


def test_components_travel_with_what_they_have_learned():
    for kind in (Table, Notes):
        policy = kind(3)
        policy.values = np.arange(3.0)
        assert unpickled("it", pickled_policy(policy)).values.tolist() == [0, 1, 2]
    world = Table(2)
    world.values = np.ones(2)
    assert unpickled("it", pickled_env(world)).values.tolist() == [1, 1]
    assert unpickled("it", pickled_env(Notes(2))).values.tolist() == [0, 0]


def test_what_acts_of_a_policy_refuses_to_learn():
    env = Ladder()
    policy = GaussianMLPPolicy(env.spec, (4,), init_std=0.5, name="mine")
    policy.initialise(Streams(1).generator("policy"))
    actor = unpickled("it", pickled_policy(policy))
    assert (actor.name, actor.init_std, actor.theta.tobytes()) == ("mine", 0.5, policy.theta.tobytes())
    with pytest.raises(OrderError, match="This copy of `mine` acts in a worker and does not learn"):
        actor.objective(None)


class Bold(CategoricalMLPPolicy):
    """A user's own way to act goes along."""

    def act(self, observations, memory, noise):
        return super().act(observations, memory, None)


def test_a_users_own_class_of_policy_stays_itself():
    from gymnasium import spaces  # noqa: PLC0415 - for this test alone

    spec = dataclasses.replace(Ladder().spec, action_space=spaces.Discrete(2))
    policy = Bold(spec, (4,))
    policy.initialise(Streams(1).generator("policy"))
    actor = cloudpickle.loads(pickled_policy(policy))
    assert type(actor) is Bold
    assert actor.theta.tobytes() == policy.theta.tobytes()
