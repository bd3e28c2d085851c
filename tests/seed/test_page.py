"""The page that the project started from, as far as it needs no TensorFlow: its calls and its printed words."""

import inspect
import re
from pathlib import Path

import pytest

from experiment.parts import Fuse, digests, kept, messages, rows
from garage import wrap_experiment
from garage.algos import TRPO
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.errors import NothingLeftError
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from garage.process import set_process_seed

IMPORTS = """
import garage
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed
"""

CONSTRUCTION = """
trainer = Trainer()
"""

TRAINING = """
trainer = Trainer()
env = Env(...)
policy = Policy(...)
algo = Algo(
        env=env,
        policy=policy,
        **rest)
trainer.setup(algo, env)
trainer.train(n_epochs=100, batch_size=4000)
"""

RESUMING = """
# to resume immediately.
trainer = Trainer()
trainer.restore(resume_from_dir)
trainer.resume()

# to resume with modified training arguments.
trainer = Trainer()
trainer.restore(resume_from_dir)
trainer.resume(n_epochs=20)
"""

STAGES = """\
Setting seed to 1
Restore from snapshot saved in data/local/experiment/trpo_cartpole
-- Train Args --     -- Value --
n_epochs             10
last_epoch           9
batch_size           10000
store_episodes       0
pause_for_plot       0
-- Stats --          -- Value --
last_itr             10
total_env_steps      N
Obtaining samples...
epoch #10 | Obtaining samples for iteration 10...
epoch #10 | Logging diagnostics...
epoch #10 | Optimizing policy...
epoch #10 | Computing loss before
epoch #10 | Computing KL before
epoch #10 | Optimizing
epoch #10 | Start CG optimization: #parameters: 1282, #inputs: N, #subsample_inputs: N
epoch #10 | computing loss before
epoch #10 | computing gradient
epoch #10 | gradient computed
epoch #10 | computing descent direction
epoch #10 | descent direction computed
epoch #10 | backtrack iters: N
epoch #10 | optimization finished
epoch #10 | Computing KL after
epoch #10 | Computing loss after
epoch #10 | Fitting baseline...
epoch #10 | Saving snapshot...
epoch #10 | Saved
epoch #10 | Time S s
epoch #10 | EpochTime S s
"""
OURS = [
    "Writing to data/local/experiment/pre_trained_trpo_cartpole",
    "CartPole-v1: NumPy lanes, bit-equal to gymnasium's",
]


class Quick(Fuse):
    """An algorithm that collects less than it was told to, for the page's numbers of steps are large."""

    def epoch(self, collect, streams):
        return super().epoch(lambda policy: collect(policy, n_steps=30), streams)


def stand_ins():
    """Real parts under the names that the page gives them."""
    env = GymEnv("CartPole-v1")
    return {
        "Env": lambda _: env,
        "Policy": lambda _: CategoricalMLPPolicy(env.spec, hidden_sizes=(4,)),
        "Algo": Quick,
        "rest": {"baseline": LinearFeatureBaseline(env.spec)},
    }


def run(block, names):
    exec(compile(block, "<the page>", "exec"), names)  # noqa: S102 - running the page's blocks is the test
    return names


def trained(n_epochs, batch_size, directory):
    """A run of so many epochs, as the page trains one."""
    names = run(IMPORTS, stand_ins())
    text = TRAINING.replace("Trainer()", "Trainer(ctxt)").replace("n_epochs=100", f"n_epochs={n_epochs}")

    @wrap_experiment(log_dir=directory, archive_launch_repo=False)
    def experiment(ctxt=None):
        set_seed(1)
        run(text.replace("batch_size=4000", f"batch_size={batch_size}"), names | {"ctxt": ctxt})

    experiment()


def test_the_first_blocks_run():
    names = run(CONSTRUCTION, run(IMPORTS, {}))
    assert isinstance(names["trainer"], Trainer)
    assert names["garage"].Trainer is Trainer
    assert callable(names["set_seed"])


def test_the_four_core_functions_have_the_pages_arguments():
    assert next(iter(inspect.signature(Trainer).parameters)) == "snapshot_config"
    for call, arguments in (
        ("setup", ["algo", "env"]),
        ("train", ["n_epochs", "batch_size"]),
        ("save", ["epoch"]),
        ("restore", ["from_dir", "from_epoch"]),
        ("resume", ["n_epochs", "batch_size", "plot", "store_episodes", "pause_for_plot"]),
    ):
        assert list(inspect.signature(getattr(Trainer, call)).parameters)[1 : len(arguments) + 1] == arguments


def test_training_as_on_the_page():
    names = run(TRAINING, run(IMPORTS, stand_ins()))
    trainer = names["trainer"]
    assert trainer.stats.last_itr == 100
    assert kept(trainer.snapshot_dir) == [98, 99]
    assert trainer.snapshot_dir.parent == Path("data/local/experiment")


def test_resuming_as_on_the_page():
    trained(20, 4000, "undisturbed")
    Fuse.blows_at = 7
    with pytest.raises(EOFError):
        trained(10, 4000, "run")
    Fuse.blows_at = None
    names = run(IMPORTS, {"resume_from_dir": "run"})
    run(RESUMING, names)
    assert names["trainer"].stats.last_itr == 20
    assert digests("run") == digests("undisturbed")
    with pytest.raises(NothingLeftError, match=r"20 epochs are finished and n_epochs=20"):
        run(RESUMING, names)


def test_the_example_prints_what_the_page_prints(capsys):
    @wrap_experiment(archive_launch_repo=False)
    def trpo_cartpole(ctxt=None, seed=1):
        set_seed(seed)
        trainer = Trainer(ctxt)
        env = GymEnv("CartPole-v1")
        policy = CategoricalMLPPolicy(env_spec=env.spec, hidden_sizes=(32, 32))
        baseline = LinearFeatureBaseline(env_spec=env.spec)
        algo = TRPO(env=env, policy=policy, baseline=baseline, discount=0.99, max_kl_step=0.01)
        trainer.setup(algo, env)
        trainer.train(n_epochs=9, batch_size=300)
        trainer.resume(n_epochs=10, batch_size=10000)

    @wrap_experiment(archive_launch_repo=False)
    def pre_trained_trpo_cartpole(ctxt=None, snapshot_dir="data/local/experiment/trpo_gym_tf_cartpole", seed=1):
        set_seed(seed)
        trainer = Trainer(snapshot_config=ctxt)
        trainer.restore(snapshot_dir)
        trainer.resume(n_epochs=11, batch_size=8000)

    trpo_cartpole()
    set_process_seed(None)
    capsys.readouterr()
    snapshot_dir = "data/local/experiment/trpo_cartpole"
    pre_trained_trpo_cartpole(snapshot_dir=snapshot_dir)
    printed = capsys.readouterr().out
    stages, _, table = printed.partition("-----")
    time = r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} \| "
    assert all(re.match(time, line) for line in stages.splitlines())
    lines = [re.sub(time, "", line) for line in stages.splitlines()]
    lines = [re.sub(r"ime \d+\.\d\d s", "ime S s", line) for line in lines if not line.endswith(tuple(OURS))]
    counted = r"(total_env_steps      |inputs: |iters: )\d+"
    assert [re.sub(counted, r"\1N", line) for line in lines] == STAGES.splitlines()
    (total,) = re.findall(r"total_env_steps      (\d+)", printed)
    assert int(total) == rows(snapshot_dir)[9]["TotalEnvSteps"]
    n_episodes = str(rows("data/local/experiment/pre_trained_trpo_cartpole")[10]["Evaluation/NumEpisodes"])
    assert re.findall(r"inputs: (\d+)", printed) == [n_episodes, n_episodes]
    assert dict(line.split() for line in table.splitlines()[1:-1])["Evaluation/NumEpisodes"] == n_episodes
    assert messages(printed)[-1].startswith("---")
