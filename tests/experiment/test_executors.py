"""Who runs the groups of a run, and that it changes no number."""

import logging

from experiment.parts import digests, new_trainer, tiny, trained
from garage.experiment import ExperimentContext, Trainer
from garage.experiment.deterministic import set_seed
from garage.experiment.executors import sampler_for, sampling_by
from garage.process import set_process_seed
from garage.sampler import LocalSampler, ProcessSampler

SHAPES = {"n_lanes": 4, "n_groups": 3}


class Counting:
    """Runs groups here, and counts its calls."""

    def __init__(self):
        self.local, self.n_runs, self.n_closed = LocalSampler(), 0, 0

    def run(self, groups):
        self.n_runs += 1
        return self.local.run(groups)

    def close(self):
        self.n_closed += 1
        self.local.close()


def test_workers_change_no_digest_and_are_gone_when_training_ends(tmp_path):
    trained(tmp_path / "here", 4, setup=SHAPES)
    set_seed(1)
    sampler = ProcessSampler(2)
    trainer = Trainer(ExperimentContext(str(tmp_path / "there")), sampler=sampler)
    trainer.setup(*tiny(), **SHAPES)
    trainer.train(n_epochs=2, batch_size=60)
    assert sampler.pids == []
    trainer.resume(n_epochs=3)
    set_process_seed(None)
    assert sampler.pids == []
    other = Trainer(ExperimentContext(str(tmp_path / "there"), resumes=True), sampler=ProcessSampler(1))
    other.restore(tmp_path / "there")
    other.resume(n_epochs=4)
    set_process_seed(None)
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


def test_a_restored_run_is_sampled_by_whom_the_trainer_was_given(tmp_path):
    trained(tmp_path / "run", 1)
    sampler = Counting()
    trainer = Trainer(sampler=sampler)
    trainer.restore(tmp_path / "run")
    trainer.resume(n_epochs=3)
    assert (sampler.n_runs, sampler.n_closed) == (2, 1)


def test_setup_says_more_than_the_trainer(tmp_path):
    of_trainer, of_setup = Counting(), Counting()
    for sampler, options in ((of_setup, {"sampler": of_setup}), (of_trainer, {})):
        trainer = Trainer(ExperimentContext(str(tmp_path / "run")), sampler=of_trainer)
        trainer.setup(*tiny(), **options)
        trainer.train(n_epochs=1, batch_size=60)
        assert sampler.n_runs == 1
    set_process_seed(None)


def test_the_command_line_says_more_than_the_script(caplog):
    ours, theirs = Counting(), Counting()
    with sampling_by(ours), caplog.at_level(logging.INFO, "garage"):
        assert sampler_for() is sampler_for(None) is ours
        assert not caplog.records
        assert sampler_for(None, theirs) is ours
        assert "as the command line says, instead of the script's Counting" in caplog.text
    with sampling_by(None):
        assert sampler_for(None, theirs) is theirs
    assert isinstance(sampler_for(), LocalSampler)


def test_a_trainer_can_be_given_a_sampler_and_have_no_use_for_it():
    sampler = ProcessSampler(2)
    trainer = new_trainer(setup={"sampler": sampler})
    assert trainer.snapshot_dir is None
    assert sampler.pids == []
    set_process_seed(None)
