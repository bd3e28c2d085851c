"""Goes on where ``trpo_gym_tf_cartpole.py`` ended, with smaller batches, in a directory of its own."""

from garage import wrap_experiment
from garage.experiment import TFTrainer
from garage.experiment.deterministic import set_seed


@wrap_experiment
def pre_trained_trpo_cartpole(
    ctxt=None, snapshot_dir="data/local/experiment/trpo_gym_tf_cartpole", seed=1, n_epochs=30, batch_size=8000
):
    """Train to ``n_epochs`` in all, from the newest snapshot in ``snapshot_dir``."""
    set_seed(seed)
    with TFTrainer(snapshot_config=ctxt) as trainer:
        trainer.restore(snapshot_dir)
        trainer.resume(n_epochs=n_epochs, batch_size=batch_size)


if __name__ == "__main__":
    pre_trained_trpo_cartpole(seed=1)
