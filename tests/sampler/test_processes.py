"""Groups in worker processes: the same bits, whatever happens to the processes."""

import contextlib
import dataclasses
import importlib
import logging
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from garage.core.normalising_policy import NormalisingPolicy
from garage.core.ports import Group
from garage.core.state import differences
from garage.core.streams import Streams
from garage.envs import GymEnv
from garage.errors import (
    ArgumentError,
    OrderError,
    UnsendableError,
    WorkerDiedError,
    WorkerRaisedError,
    WorldRaisedError,
)
from garage.experiment.tf_trainer import graph_session
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy
from garage.sampler import LocalSampler, ProcessSampler
from garage.sampler.pickling import pickled_policy
from sampler.toy_worlds import Ladder, bits, group_of, streams_of
from sampler.troubled_worlds import (
    Announced,
    Failing,
    Troubled,
    Unbuildable,
    Unsendable,
    be_asked_to_stop,
    die,
    hang,
    hang_in_native_code,
    leave,
    three_to_nine,
)

TESTS = Path(__file__).parents[1]
N_GROUPS = 4
SHARED = Path("/dev/shm")  # noqa: S108 - where other samplers leave things


@pytest.fixture(scope="module")
def sampler():
    """Two workers for most of the tests, which leave them as if nothing had been."""
    made = ProcessSampler(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def impatient():
    """Two more, for tests that stay true if a machine that stands still makes one seem to hang."""
    made = ProcessSampler(2, timeout_seconds=2.0)
    yield made
    made.close()


def groups_of(env, n=N_GROUPS, **options):
    return [group_of(env, n_episodes=9, index=index, **options) for index in range(n)]


def seed_of_group_2(env=None, ordinal=5):
    return streams_of(groups_of(env or Ladder())[2]).world_seed(ordinal)


def run(sampler, groups):
    return [bits(result) for result in sampler.run(groups)]


def expected():
    return run(LocalSampler(), groups_of(Ladder(three_to_nine)))


def mlp(kind, env, seed=1, **options):
    policy = kind(env.spec, (16, 16), **options)
    policy.initialise(Streams(seed).generator("policy"))
    return policy


def fragments(sampler, group_calls):
    """The results of a group's calls, each of which goes on with what the one before has carried."""
    carried, results = {}, []
    for call, groups in enumerate(group_calls):
        asked = [
            dataclasses.replace(group, call=call, fragments=True, carried=carried.get(group.index, {}))
            for group in groups
        ]
        results.append(sampler.run(asked))
        carried = {group.index: result.carried for group, result in zip(asked, results[-1], strict=True)}
    return results


@pytest.mark.parametrize("world", ["CartPole-v1", "Pendulum-v1"])
def test_whole_episodes_and_fragments_of_real_worlds_are_those_of_one_process(sampler, world):
    env = GymEnv(world)
    policy = mlp(CategoricalMLPPolicy if world == "CartPole-v1" else GaussianMLPPolicy, env)
    streams = Streams(5).at("episode", "train")
    groups = [
        Group(env, policy, streams, 3, 0, index, 8, 500, None, 20.0, fragments=False, carried={}) for index in range(3)
    ]
    assert run(sampler, groups) == run(LocalSampler(), groups)
    calls = [groups, groups, groups[::-1], groups]
    for ours, theirs in zip(fragments(sampler, calls), fragments(LocalSampler(), calls), strict=True):
        assert [bits(result) for result in ours] == [bits(result) for result in theirs]
        assert not any(differences(a.carried, b.carried) for a, b in zip(ours, theirs, strict=True))
        assert ours[0].carried


@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.long
def test_the_number_of_workers_changes_nothing(n_workers):
    sampler = ProcessSampler(n_workers)
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()
    assert len(sampler.pids) == n_workers
    sampler.close()
    assert sampler.pids == []


def test_fragments_go_on_in_other_workers(sampler):
    env = Ladder(lambda _: 700)
    calls = [groups_of(env, n_lanes=3), groups_of(env, n_lanes=3)]
    calls = [[dataclasses.replace(group, n_steps=50, n_episodes=None) for group in groups] for groups in calls]
    theirs = fragments(LocalSampler(), calls)
    first = fragments(sampler, calls[:1])[0]
    for pid in sampler.pids:
        os.kill(pid, signal.SIGKILL)
    again = [
        dataclasses.replace(group, call=1, fragments=True, carried=result.carried)
        for group, result in zip(calls[1], first, strict=True)
    ]
    assert run(sampler, again) == [bits(result) for result in theirs[1]]


def test_policies_act_with_their_present_parameters_normalised_or_not(sampler):
    env = Ladder(three_to_nine)
    policy = mlp(GaussianMLPPolicy, env, init_std=0.3, min_std=0.1, dtype="float64")
    normalising = NormalisingPolicy(policy, np.array([0.5, 2.0]), np.array([0.1, 3.0]), 5.0)
    for _ in range(2):
        for acting in (policy, normalising):
            groups = groups_of(env, policy=acting)
            assert run(sampler, groups) == run(LocalSampler(), groups)
        policy.theta = policy.theta * 1.5
    with pytest.raises(OrderError, match="has no parameters yet"):
        sampler.run(groups_of(env, policy=GaussianMLPPolicy(env.spec)))


@pytest.mark.parametrize("port", ["torch", pytest.param("tf", marks=pytest.mark.long)])
def test_policies_of_frameworks_act_without_them(sampler, port):
    pytest.importorskip({"torch": "torch", "tf": "tensorflow"}[port])
    policies = importlib.import_module(f"garage.{port}.policies")
    env = Ladder(three_to_nine)
    with graph_session() if port == "tf" else contextlib.nullcontext():
        policy = mlp(policies.GaussianMLPPolicy, env)
    assert run(sampler, groups_of(env, policy=policy)) == run(LocalSampler(), groups_of(env, policy=policy))
    if port == "tf":

        class Mine(policies.GaussianMLPPolicy):
            """A user's own class, which needs a graph to be rebuilt."""

        with graph_session():
            own = mlp(Mine, env)
        with pytest.raises(UnsendableError, match="Cannot rebuild the policy in a worker: OrderError"):
            sampler.run(groups_of(env, policy=own))
    read = "import pickle, sys; pickle.load(sys.stdin.buffer); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", read], input=pickled_policy(policy), capture_output=True, check=True)
    assert not {"torch", "tensorflow"} & set(told.stdout.decode().split())


@pytest.mark.long
def test_a_users_own_module_acts_in_workers(sampler):
    torch = pytest.importorskip("torch")
    from garage.torch.policies import ModulePolicy  # noqa: PLC0415 - PyTorch may not be installed

    torch.manual_seed(1)
    env = Ladder(three_to_nine)
    module = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).double()
    policy = ModulePolicy(env.spec, module)
    policy.theta = policy.theta * 0.5
    patient = ProcessSampler(2)
    groups = groups_of(env, policy=policy)
    assert run(patient, groups) == run(LocalSampler(), groups)
    patient.close()


@pytest.mark.parametrize(
    ("kind", "trouble", "said"),
    [("sampler", die, "was killed by signal 9"), ("impatient", hang, "took more than 2 s")],
)
def test_a_group_of_a_worker_that_dies_or_hangs_is_run_again(  # noqa: PLR0917 - three of them are fixtures
    request, tmp_path, caplog, kind, trouble, said
):
    seed = seed_of_group_2()
    with caplog.at_level(logging.WARNING, "garage.sampler"):
        assert run(request.getfixturevalue(kind), groups_of(Troubled(trouble, seed, tmp_path / "once"))) == expected()
    assert (tmp_path / "once").exists()
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if re.search(rf"A worker {said}.*in group 2 of epoch 0 .*{seed}.*run again", line)]


@pytest.mark.long
def test_a_worker_that_hangs_in_native_code_is_killed(impatient, tmp_path):
    groups = groups_of(Troubled(hang_in_native_code, seed_of_group_2(), tmp_path / "once"))
    assert run(impatient, groups) == expected()
    assert (tmp_path / "once").exists()


def test_a_world_that_kills_each_worker_is_given_up(sampler):
    seed = seed_of_group_2()
    with pytest.raises(WorkerDiedError, match=rf"3 workers .*killed by signal 9.*group 2 of epoch 0 \(train\).*{seed}"):
        sampler.run(groups_of(Troubled(die, seed)))
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()


def test_signals_are_the_trainers_to_answer(sampler, tmp_path):
    before = sampler.pids
    assert run(sampler, groups_of(Troubled(be_asked_to_stop, seed_of_group_2(), tmp_path / "once"))) == expected()
    assert (tmp_path / "once").exists()
    assert set(before) <= set(sampler.pids)


def test_errors_come_back_with_their_cause_and_the_workers_traceback(sampler):
    seed = seed_of_group_2()
    groups = groups_of(Ladder(three_to_nine, {(seed, 2, "raise"): OSError("gone")}))
    with pytest.raises(WorldRaisedError, match=f"{seed}") as caught:
        sampler.run(groups)
    assert isinstance(caught.value.__cause__, OSError)
    assert "raise_if_asked" in str(caught.value.__cause__.__cause__)


@pytest.mark.parametrize(
    ("groups", "kind", "words"),
    [
        (groups_of(Ladder(), policy=Failing(Ladder().spec)), ZeroDivisionError, "integer division"),
        (groups_of(Troubled(leave, seed_of_group_2())), SystemExit, "SystemExit: 3"),
    ],
    ids=["the policy raises", "the world exits"],
)
def test_what_is_none_of_ours_is_wrapped(sampler, groups, kind, words):
    with pytest.raises(
        WorkerRaisedError, match=rf"{words}.*in group \d of epoch 0 \(train\), in one of .* seeds \d+"
    ) as it:
        sampler.run(groups)
    assert isinstance(it.value.__cause__, kind)
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()


def test_what_cannot_be_sent_is_named(sampler):
    with pytest.raises(UnsendableError, match=r"Ladder\(\).*`env\.settings\['window'\]\[0\]` cannot be pickled"):
        sampler.run(groups_of(Unsendable()))
    lock = threading.Lock()
    world = GymEnv(lambda: (lock, __import__("gymnasium").make("CartPole-v1"))[1])
    with pytest.raises(UnsendableError, match=r"`env\(0\)'s lock` cannot be pickled: TypeError"):
        sampler.run(groups_of(world, policy=mlp(CategoricalMLPPolicy, world)))


def test_what_cannot_be_rebuilt_in_a_worker_says_so(sampler):
    with pytest.raises(
        UnsendableError, match="Cannot rebuild the environment in a worker: FileNotFoundError: no a map"
    ):
        sampler.run(groups_of(Unbuildable()))
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()


def test_more_workers_than_groups_is_said_once(sampler, caplog):
    few = ProcessSampler(9)
    with caplog.at_level(logging.WARNING, "garage.sampler"):
        few.run(groups_of(Ladder(three_to_nine), 1))
        assert len(few.pids) == 1
        few.run(groups_of(Ladder(three_to_nine), 1))
        sampler.run(groups_of(Ladder(three_to_nine)))
    few.close()
    said = [record.getMessage() for record in caplog.records if "idle" in record.getMessage()]
    assert len(said) == 1
    assert "9 workers for collects of 1 group(s)" in said[0]
    assert "n_groups=9" in said[0]


def test_what_workers_log_is_said_here_once(sampler, caplog):
    env = GymEnv("CartPole-v1", max_episode_length=30)
    policy = mlp(CategoricalMLPPolicy, env)
    with caplog.at_level(logging.INFO, "garage"):
        for _ in range(2):
            sampler.run(groups_of(env, policy=policy))
    assert [record.getMessage() for record in caplog.records if record.name == "garage.envs"] in (
        ["CartPole-v1: native lanes, bit-equal to gymnasium's"],
        [],  # another test had it said
    )


@pytest.mark.parametrize("n_workers", [0, -1, True, 1.5, "2"])
def test_a_number_of_workers_that_is_none_is_refused(n_workers):
    with pytest.raises(ArgumentError, match=f"n_workers must be an integer of at least 1, or None, got {n_workers!r}"):
        ProcessSampler(n_workers)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_timeout_that_is_none_is_refused(seconds):
    with pytest.raises(ArgumentError, match=f"timeout_seconds must be more than 0, or None, got {seconds!r}"):
        ProcessSampler(timeout_seconds=seconds)


def test_there_is_a_worker_for_each_cpu_unless_somebody_says():
    assert ProcessSampler().n_workers == len(os.sched_getaffinity(0))


# Scripts --------------------------------------------------------------------------------------------------------------


def script_of(folder, text):
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, "-W", "error", str(path)]


def with_tests():
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}


UNGUARDED = """
    import gymnasium
    import numpy as np
    from garage.core.streams import Streams
    from garage.envs import GymEnv
    from garage.np.policies import CategoricalMLPPolicy
    from garage.sampler import LocalSampler, ProcessSampler
    from sampler.toy_worlds import bits, group_of

    print("the script runs")

    class Mine(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.place, self.age = self.np_random.normal(size=2).astype(np.float32), 0
            return self.place, {}

        def step(self, action):
            self.age += 1
            self.place = np.clip(self.place + np.float32(action - 0.5), -9, 9)
            return self.place, float(self.place[0]), False, self.age == 10, {}

    gymnasium.register("Mine-v0", entry_point="__main__:Mine")
    sampler = ProcessSampler(2)
    for env in (GymEnv(Mine), GymEnv("Mine-v0")):
        policy = CategoricalMLPPolicy(env.spec, (8, 8))
        policy.initialise(Streams(1).generator("policy"))
        groups = [group_of(env, n_episodes=5, policy=policy, index=index) for index in range(3)]
        ours, theirs = ([bits(result) for result in one.run(groups)] for one in (sampler, LocalSampler()))
        assert ours == theirs
"""


def test_a_script_without_a_guard_runs_once_and_its_worlds_go_along(tmp_path):
    done = subprocess.run(
        script_of(tmp_path, UNGUARDED), env=with_tests(), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the script runs\n", "")


ORPHANS = """
    import os, sys
    from pathlib import Path
    from garage.sampler import ProcessSampler
    from sampler.toy_worlds import Ladder, group_of
    from sampler.troubled_worlds import Announced

    sampler = ProcessSampler(2)
    if {forks}:
        sampler.run([group_of(Ladder(), n_episodes=1, index=index) for index in range(2)])
        if os.fork() == 0:
            sys.stdin.read()  # lives on, with copies of whatever the trainer has open by now
            os._exit(0)
    sampler.run([group_of(Announced(Path({line!r})), n_episodes=2, index=index) for index in range(2)])
"""


@pytest.fixture
def line(tmp_path):
    """Where two processes say their ids."""
    path = tmp_path / "line"
    os.mkfifo(path)
    with os.fdopen(os.open(path, os.O_RDWR)) as file:  # so that there is always somebody at the other end
        yield path, lambda: [int(file.readline()) for _ in range(2)]


@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with a fork"])
def test_a_trainer_that_is_killed_leaves_nobody_behind(tmp_path, line, forks):
    path, read_two = line
    shared = set(SHARED.iterdir())
    command = script_of(tmp_path, ORPHANS.format(line=str(path), forks=forks))
    with subprocess.Popen(command, env=with_tests(), stdin=subprocess.PIPE) as trainer:
        workers = [os.pidfd_open(pid) for pid in read_two()]
        trainer.kill()
        trainer.wait()
        for worker in workers:
            assert select.select([worker], [], [], 60)[0], "a worker goes on without its trainer"
            os.close(worker)
    assert set(SHARED.iterdir()) <= shared


def test_an_interrupted_collect_stops_its_workers_and_another_one_can_follow(line):
    path, read_two = line
    pids = []

    def interrupt():
        pids.extend(read_two())
        os.kill(os.getpid(), signal.SIGINT)

    patient = ProcessSampler(2)
    watch = threading.Thread(target=interrupt)
    watch.start()
    with pytest.raises(KeyboardInterrupt):
        patient.run([group_of(Announced(path), n_episodes=2, index=index) for index in range(2)])
    watch.join()
    assert patient.pids == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert run(patient, groups_of(Ladder(three_to_nine))) == expected()
    patient.close()


def test_a_sampler_that_is_forgotten_ends_its_workers():
    made = ProcessSampler(1)
    made.run(groups_of(Ladder(three_to_nine)))
    worker = os.pidfd_open(made.pids[0])
    del made
    assert select.select([worker], [], [], 60)[0]
    os.close(worker)
