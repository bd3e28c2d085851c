"""Goes on where ``trpo_cartpole.py`` ended, with larger batches, in a directory of its own."""

from garage import wrap_experiment
from garage.experiment import Trainer
from garage.experiment.deterministic import set_seed


@wrap_experiment
def pre_trained_trpo_cartpole(
    ctxt=None, snapshot_dir="data/local/experiment/trpo_cartpole", seed=1, n_epochs=40, batch_size=8000
):
    """Train to ``n_epochs`` in all, from the newest snapshot in ``snapshot_dir``."""
    set_seed(seed)
    trainer = Trainer(snapshot_config=ctxt)
    trainer.restore(snapshot_dir)
    trainer.resume(n_epochs=n_epochs, batch_size=batch_size)


if __name__ == "__main__":
    pre_trained_trpo_cartpole(seed=1)
