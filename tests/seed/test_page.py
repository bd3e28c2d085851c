"""The page that the project started from: its code blocks as they stand there, and the lines that it prints."""

import importlib
import inspect
import re
import shutil
from pathlib import Path

import pytest

from experiment.parts import Fuse, digests, kept, rows
from garage import wrap_experiment
from garage.baselines import LinearFeatureBaseline
from garage.envs import GymEnv
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.np.policies import CategoricalMLPPolicy
from garage.tf.installation import import_tensorflow

EXAMPLES = Path(__file__).parents[2] / "examples" / "tf"

IMPORTS = """
import garage
from garage.experiment import Trainer, TFTrainer
from garage.experiment.deterministic import set_seed
"""

CONSTRUCTION = """
trainer = Trainer()
"""

BLOCK = """
with TFTrainer(snapshot_config=ctxt) as trainer:
    ...
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

SNAPSHOT_DIR = """
snapshot_dir = 'mysnapshot/'  # specify the path
"""

FINE_TUNING = """

@wrap_experiment
def pre_trained_trpo_cartpole(ctxt=None,
    snapshot_dir='data/local/experiment/trpo_gym_tf_cartpole',
    seed=1):
    set_seed(seed)
    with TFTrainer(snapshot_config=ctxt) as trainer:
        trainer.restore(snapshot_dir)
        trainer.resume(n_epochs=30, batch_size=8000)

"""

CALL = """
pre_trained_trpo_cartpole(snapshot_dir=snapshot_dir)
"""

STAGES = """\
Setting seed to 1
Restore from snapshot saved in mysnapshot
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
KEYS = """
EnvExecTime
Evaluation/AverageDiscountedReturn
Evaluation/AverageReturn
Evaluation/TerminationRate
Evaluation/Iteration
Evaluation/MaxReturn
Evaluation/MinReturn
Evaluation/NumEpisodes
Evaluation/StdReturn
Extras/EpisodeRewardMean
LinearFeatureBaseline/ExplainedVariance
PolicyExecTime
ProcessExecTime
TotalEnvSteps
policy/Entropy
policy/KL
policy/KLBefore
policy/LossAfter
policy/LossBefore
policy/Perplexity
policy/dLoss
"""
"""The page's, all of them."""
OURS = [
    "Writing to data/local/experiment/pre_trained_trpo_cartpole",
    "CartPole-v1: native lanes, bit-equal to gymnasium's",
]


class Quick(Fuse):
    """An algorithm that collects less than it was told to, for the page's numbers of steps are large."""

    def epoch(self, collect, streams):
        return super().epoch(lambda policy, **options: collect(policy, n_steps=30, **options), streams)


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
    """A run of 100 epochs that was stopped before its 20th, once for each half of the block."""
    trained(100, 4000, "undisturbed")
    Fuse.blows_at = 13
    with pytest.raises(EOFError):
        trained(100, 4000, "run")
    Fuse.blows_at = None
    _, at_once, modified = RESUMING.split("#")
    for half, n_epochs in ((at_once, 100), (modified, 20)):
        shutil.copytree("run", str(n_epochs))
        names = run(IMPORTS, {"resume_from_dir": str(n_epochs)})
        run(f"#{half}", names)
        assert names["trainer"].stats.last_itr == n_epochs
        assert digests(str(n_epochs)) == digests("undisturbed")[:n_epochs]


def test_the_block_in_which_a_session_is_the_default_one():
    names = run(IMPORTS, {"ctxt": ExperimentContext("run")})
    run(BLOCK, names)
    assert names["trainer"].snapshot_dir == Path("run")
    block = BLOCK.replace("...", "inside = tf.compat.v1.get_default_session() is trainer.sess is not None")
    assert run(block, names | {"tf": import_tensorflow()})["inside"]


def test_the_example_prints_what_the_page_prints(capsys, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    importlib.import_module("trpo_gym_tf_cartpole").trpo_gym_tf_cartpole(seed=1)
    assert "TRPO took no step" not in capsys.readouterr().out
    first = "data/local/experiment/trpo_gym_tf_cartpole"
    shutil.copytree(first, "mysnapshot")
    names = run(IMPORTS, {"wrap_experiment": wrap_experiment})
    for block in (SNAPSHOT_DIR, FINE_TUNING, CALL):
        run(block, names)
    printed = capsys.readouterr().out
    stages, _, table = printed.partition("-----")
    time = r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} \| "
    assert all(re.match(time, line) for line in stages.splitlines())
    lines = [re.sub(time, "", line) for line in stages.splitlines()]
    lines = [re.sub(r"ime \d+\.\d\d s", "ime S s", line) for line in lines if not line.endswith(tuple(OURS))]
    counted = r"(total_env_steps      |inputs: |iters: )\d+"
    assert [re.sub(counted, r"\1N", line) for line in lines] == STAGES.splitlines()
    (total,) = re.findall(r"total_env_steps      (\d+)", printed)
    assert int(total) == rows(first)[9]["TotalEnvSteps"]
    fine_tuned = rows("data/local/experiment/pre_trained_trpo_cartpole")
    n_episodes = str(fine_tuned[10]["Evaluation/NumEpisodes"])
    assert re.findall(r"inputs: (\d+)", stages) == [n_episodes, n_episodes]
    shown = dict(line.split() for line in table.partition("\n")[2].partition("\n---")[0].splitlines())
    assert sorted(shown) == list(shown) == sorted(KEYS.split())
    assert shown["Evaluation/NumEpisodes"] == n_episodes
    assert shown["Evaluation/Iteration"] == "10"
    assert [row["epoch"] for row in fine_tuned] == list(range(30))
    assert fine_tuned[:10] == rows(first)
    returns = [row["Evaluation/AverageReturn"] for row in fine_tuned]
    assert returns[10] > 0.5 * returns[9] > 2 * returns[0]
    assert max(returns[10:]) > 450
