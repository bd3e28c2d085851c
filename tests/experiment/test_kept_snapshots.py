"""Which snapshots a training keeps: the best ones, and not more than one in so many seconds."""

import pytest

from experiment.parts import digests, kept, new_trainer, rows, trained
from garage.errors import ArgumentError
from garage.experiment import Trainer, wrap_experiment
from garage.storage.run_directory import RunDirectory

BEST = {"keep_best": "Evaluation/AverageReturn"}


def best_epoch(path):
    """Judged by the rows alone, as if all snapshots had been kept."""
    returns = [row["Evaluation/AverageReturn"] for row in rows(path)]
    return max(range(len(returns) - 1), key=lambda epoch: returns[epoch + 1])


def test_the_best_is_kept_and_found_and_changes_no_number():
    trained("all", 12, context={"snapshot_mode": "all"})
    trained("run", 12, context=BEST)
    assert digests("run") == digests("all")
    assert kept("run") == sorted({best_epoch("all"), 10, 11})
    trainer = Trainer()
    assert trainer.restore("run", "best").start_epoch == best_epoch("all") + 1


@pytest.mark.parametrize("cut", [3, 6, 9])
def test_what_is_best_is_not_decided_anew_after_a_resume(cut):
    trained("undisturbed", 12, context=BEST)
    trained("run", cut, context=BEST)
    trainer = Trainer()
    trainer.restore("run")
    trainer.resume(n_epochs=12)
    assert kept("run") == kept("undisturbed")
    assert RunDirectory(trainer.snapshot_dir).info().keep_best == "Evaluation/AverageReturn"


def test_a_metric_that_is_not_there_is_named_before_anything_is_dropped():
    with pytest.raises(ArgumentError, match=r"no metric 'Return' to keep the best.*Evaluation/AverageReturn"):
        trained("run", 2, context={"keep_best": "Return"})


def test_at_most_one_snapshot_in_so_many_seconds_but_the_last_epoch_always():
    trained("usual", 5)
    trained("run", 5, context={"snapshot_seconds": 3600.0})
    assert kept("run") == [0, 4]
    assert digests("run") == digests("usual")
    trained("eager", 5, context={"snapshot_seconds": 1e-9, "snapshot_mode": "all"})
    assert kept("eager") == [0, 1, 2, 3, 4]


def test_they_are_options_of_an_experiment():
    @wrap_experiment(keep_best="policy/Entropy", snapshot_seconds=0.5, archive_launch_repo=False)
    def experiment(ctxt=None):
        return ctxt

    context = experiment()
    assert (context.keep_best, context.snapshot_seconds) == ("policy/Entropy", 0.5)
    with pytest.raises(ArgumentError, match="would be ignored"):
        experiment({"snapshot_mode": "all"})
    with pytest.raises(ArgumentError, match="snapshot_seconds"):
        wrap_experiment(snapshot_seconds=0)


def test_the_last_epoch_in_another_metric(capsys):
    trainer = new_trainer("run", context={"keep_best": "policy/KL"})
    trainer.train(n_epochs=6, batch_size=60)
    values = [row["policy/KL"] for row in rows("run")]
    expected = max(range(5), key=lambda epoch: values[epoch + 1])
    assert expected in kept("run")
    again = Trainer()
    assert again.restore("run", "best").start_epoch == expected + 1
