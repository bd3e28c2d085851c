"""Groups on a Ray cluster: the same bits, whatever happens to actors; and clusters left as they were found."""

import dataclasses
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from garage.envs import GymEnv
from garage.errors import ArgumentError, ClusterError, UnsendableError, WorkerDiedError, WorkerRaisedError
from garage.np.policies import CategoricalMLPPolicy
from garage.sampler import LocalSampler
from sampler.ray_clusters import ray_processes, running_cluster, scratch
from sampler.test_processes import expected, fragments, groups_of, mlp, run, seed_of_group_2, with_tests
from sampler.toy_worlds import Ladder, bits, group_of
from sampler.troubled_worlds import Troubled, Unsendable, die, hang, leave, three_to_nine

ray = pytest.importorskip("ray")
RaySampler = pytest.importorskip("garage.sampler.ray").RaySampler


@pytest.fixture(scope="module")
def folder():
    """Of the cluster of these tests' own process."""
    with scratch() as path:
        yield path


@pytest.fixture(scope="module")
def sampler(folder):
    """Two workers on a cluster of their own, for most of the tests."""
    made = RaySampler("local", 2)
    yield made
    made.close()
    assert ray_processes(folder) == []


def test_fragments_and_real_worlds_are_those_of_one_process(sampler):
    env = GymEnv("CartPole-v1")
    policy = mlp(CategoricalMLPPolicy, env)
    groups = [group_of(env, n_lanes=8, n_steps=300, mean_length=20.0, policy=policy, index=index) for index in range(3)]
    assert run(sampler, groups) == run(LocalSampler(), groups)
    calls = [groups, groups[::-1], groups]
    for ours, theirs in zip(fragments(sampler, calls), fragments(LocalSampler(), calls), strict=True):
        assert [bits(result) for result in ours] == [bits(result) for result in theirs]
        assert ours[0].carried
        assert all(array.flags.writeable for array in (ours[0].batch.rewards, ours[0].carried["observations"]))


def test_fragments_go_on_after_all_actors_are_killed(sampler):
    env = Ladder(lambda _: 700)
    groups = [group_of(env, n_lanes=3, n_steps=50, index=index) for index in range(3)]
    theirs = fragments(LocalSampler(), [groups] * 3)
    carried = [{}] * 3
    for call in range(3):
        asked = [
            dataclasses.replace(group, call=call, fragments=True, carried=state)
            for group, state in zip(groups, carried, strict=True)
        ]
        results = sampler.run(asked)
        assert [bits(result) for result in results] == [bits(result) for result in theirs[call]]
        carried = [result.carried for result in results]
        for _, pid in sampler.pids:
            os.kill(pid, signal.SIGKILL)


def test_a_torch_policy(sampler):
    policies = pytest.importorskip("garage.torch.policies")
    env = Ladder(three_to_nine)
    policy = mlp(policies.GaussianMLPPolicy, env)
    for _ in range(2):
        groups = groups_of(env, policy=policy)
        assert run(sampler, groups) == run(LocalSampler(), groups)
        policy.theta = policy.theta * 1.5


def kill_by_ray():
    ray.kill(ray.get_runtime_context().current_actor)
    hang()


@pytest.mark.parametrize("trouble", [die, kill_by_ray])
def test_a_group_of_an_actor_that_is_killed_is_run_again(sampler, tmp_path, caplog, trouble):
    with caplog.at_level(logging.WARNING, "garage.sampler"):
        assert run(sampler, groups_of(Troubled(trouble, seed_of_group_2(), tmp_path / "once"))) == expected()
    assert (tmp_path / "once").exists()
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if re.search(r"A worker on .* was lost .*in group 2 of epoch 0: .*run again", line)]


@pytest.mark.long
def test_an_actor_that_hangs_is_given_up(sampler, tmp_path, caplog):
    impatient = RaySampler("local", 2, timeout_seconds=3.0)
    with caplog.at_level(logging.WARNING, "garage.sampler"):
        assert run(impatient, groups_of(Troubled(hang, seed_of_group_2(), tmp_path / "once"))) == expected()
    assert any("took more than 3 s over a step, and was killed, in group 2" in line for line in caplog.messages)
    impatient.close()
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()  # whose cluster it was


@pytest.mark.long
def test_a_world_that_kills_each_actor_is_given_up(sampler):
    with pytest.raises(WorkerDiedError, match=r"3 workers have ended in the same group; .*group 2 of epoch 0"):
        sampler.run(groups_of(Troubled(die, seed_of_group_2())))
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()


def test_errors_come_back_as_from_any_worker(sampler):
    with pytest.raises(WorkerRaisedError, match="SystemExit: 3"):
        sampler.run(groups_of(Troubled(leave, seed_of_group_2())))
    with pytest.raises(UnsendableError, match=r"`env\.settings\['window'\]\[0\]` cannot be pickled"):
        sampler.run(groups_of(Unsendable()))
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()


def test_another_sampler_beside_it(sampler):
    with_room = RaySampler("local", 1)
    for each in (sampler, with_room, sampler):
        assert run(each, groups_of(Ladder(three_to_nine))) == expected()
    with_room.close()
    with_room.close()
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()


def test_signals_are_answered_as_before(sampler):
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_another_cluster_at_the_same_time_is_refused(sampler):
    assert run(sampler, groups_of(Ladder(three_to_nine))) == expected()
    with pytest.raises(ClusterError, match=r"connected to the Ray cluster local already, and cannot be to 10\.0\.0\.1"):
        RaySampler("10.0.0.1:6379").run(groups_of(Ladder(three_to_nine)))


# Clusters -------------------------------------------------------------------------------------------------------------

ATTACH = """
    import os, sys
    from garage.sampler import LocalSampler
    from garage.sampler.ray import RaySampler
    from sampler.test_processes import groups_of, run
    from sampler.toy_worlds import Ladder
    from sampler.troubled_worlds import three_to_nine

    groups = groups_of(Ladder(three_to_nine))
    sampler = RaySampler({address!r}, **{options!r})
    assert run(sampler, groups) == run(LocalSampler(), groups)
    print(len(sampler.pids), flush=True)
    if {dies}:
        os.kill(os.getpid(), 9)
    sampler.close()
    sampler.close()
"""


def attach(address, *, dies=False, environment=None, **options):
    """What a script that attaches prints."""
    script = textwrap.dedent(ATTACH.format(address=address, options=options, dies=dies))
    command = [sys.executable, "-W", "error", "-c", script]
    environment = with_tests() | (environment or {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (-9 if dies else 0), done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_cluster_of_somebody_elses_stays():
    with scratch() as folder, running_cluster(folder) as address:
        before = ray_processes(folder)
        assert attach(address, n_workers=3) in {"1\n", "2\n"}  # there are two CPUs
        assert attach(None, environment={"RAY_ADDRESS": address}, dies=True, n_workers=1) == "1\n"
        assert set(before) <= set(ray_processes(folder))
        status = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
        assert subprocess.run(status, check=False, capture_output=True).returncode == 0
    assert ray_processes(folder) == []


@pytest.mark.long
def test_a_cluster_without_room():
    with scratch() as folder, running_cluster(folder, n_cpus=0) as address:
        said = said_of([address], timeout_seconds=2.0)
    assert "None of 1 workers has started on the Ray cluster within 2 s: each needs one CPU, and 0 are free." in said


@pytest.mark.long
def test_a_local_cluster_ends_with_a_trainer_that_is_killed():
    with scratch() as folder:
        attach("local", dies=True, n_workers=2)
        end = 200
        while ray_processes(folder) and end:
            end -= 1
            signal.sigtimedwait([], 0.1)
        assert ray_processes(folder) == []


REFUSED = """
    from garage.errors import WorkerError
    from garage.sampler.ray import RaySampler
    from sampler.toy_worlds import Ladder, group_of
    for address in {addresses!r}:
        try:
            RaySampler(address, **{options!r}).run([group_of(Ladder(), n_episodes=1)])
        except WorkerError as error:
            print(error)
"""


def said_of(addresses, **options):
    """What a script prints that is refused."""
    script = textwrap.dedent(REFUSED.format(addresses=addresses, options=options))
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=with_tests(), capture_output=True, text=True, timeout=90, check=True).stdout


def test_an_address_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"127.0.0.1:{server.getsockname()[1]}"
        refused, waited = said_of(["127.0.0.1:1", silent], answer_seconds=2.0).splitlines()
    assert re.match(r"No Ray cluster answers at 127\.0\.0\.1:1: .*refused\. `ray status --address", refused)
    assert waited.startswith(f"No Ray cluster answers at {silent}: it takes more than 2 s. ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_workers": 0}, "n_workers must be an integer of at least 1, or None, got 0"),
        ({"timeout_seconds": -1.0}, "timeout_seconds must be more than 0, got -1.0"),
        ({"answer_seconds": float("nan")}, "answer_seconds must be more than 0, got nan"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ArgumentError, match=message):
        RaySampler(**options)


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "nowhere", "10.0.0.1:port"])
def test_what_is_no_address(address):
    with pytest.raises(ArgumentError, match=re.escape(address)):
        RaySampler(address).run([group_of(Ladder(), n_episodes=1)])


def test_no_groups_need_no_cluster():
    assert RaySampler("nowhere").run([]) == []
