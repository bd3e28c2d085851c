"""Signals: the epoch is finished or dropped, what is finished is saved, and a resumed run ends at the same numbers."""

import _thread
import signal
import threading

import pytest

from experiment.parts import Fuse, digests, events, kept, new_trainer, trained
from garage.errors import ArgumentError, OrderError
from garage.experiment import Trainer
from garage.experiment.signals import Signals


class CtrlC(Fuse):
    """Is interrupted in the middle of some epochs."""

    epochs = ()
    presses = 1
    handlers = ()

    def epoch(self, collect, streams):
        CtrlC.handlers = [*CtrlC.handlers, signal.getsignal(signal.SIGINT)]
        batch = collect(self.policy)
        if streams.path[-1] in CtrlC.epochs:
            for _ in range(CtrlC.presses):
                _thread.interrupt_main()
        return super().epoch(lambda _, **_options: batch, streams)


@pytest.fixture(autouse=True)
def handler(monkeypatch):
    monkeypatch.setattr(CtrlC, "epochs", (2,))
    before = signal.getsignal(signal.SIGINT)
    yield before
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def undisturbed():
    trained("undisturbed", 6, kind=Fuse)
    return digests("undisturbed")


def test_the_epoch_is_finished_and_saved_and_training_goes_on_to_the_same_numbers(undisturbed, capsys):
    trainer = new_trainer("run", kind=CtrlC)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(n_epochs=6, batch_size=60)
    assert kept("run")[-1] == trainer.stats.total_epoch == 2
    assert "Interrupted after epoch 2, which is saved. To go on: garage resume run" in capsys.readouterr().out
    assert events("run")[-1] == "preempted"
    trainer.resume()
    assert digests("run") == undisturbed


def test_another_trainer_goes_on(undisturbed):
    with pytest.raises(KeyboardInterrupt):
        new_trainer("run", kind=CtrlC).train(n_epochs=6, batch_size=60)
    again = Trainer()
    assert again.restore("run").start_epoch == 3
    again.resume()
    assert digests("run") == undisturbed


@pytest.mark.parametrize(("mode", "saved"), [("gap", [0, 2]), ("none", [])])
def test_modes_that_would_not_have_saved_the_epoch(mode, saved, capsys):
    context = {"snapshot_mode": mode, "snapshot_gap": 5 if mode == "gap" else 1}
    trainer = new_trainer("run", kind=CtrlC, context=context)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(n_epochs=6, batch_size=60)
    assert kept("run") == saved
    assert ("which is not saved" in capsys.readouterr().out) == (not saved)


@pytest.mark.parametrize("case", ["twice", "no grace", "first epoch"])
def test_it_interrupts_at_once(case, monkeypatch):
    if case == "twice":
        monkeypatch.setattr(CtrlC, "presses", 2)
    elif case == "no grace":
        monkeypatch.setenv("GARAGE_GRACE_SECONDS", "0")
    else:
        monkeypatch.setattr(CtrlC, "epochs", (0,))
    trainer = new_trainer("run", kind=CtrlC)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(n_epochs=6, batch_size=60)
    # The second time, what still waited for the disk is given up.
    assert kept("run") in {"no grace": ([0, 1],), "twice": ([], [0], [0, 1]), "first epoch": ([],)}[case]
    assert events("run")[-1] == "preempted"
    with pytest.raises(OrderError, match="middle of an epoch"):
        trainer.resume()


@pytest.mark.parametrize("text", ["soon", "", "-1", "nan"])
def test_a_grace_period_that_is_none_is_refused_before_anything_is_trained(text, monkeypatch):
    monkeypatch.setenv("GARAGE_GRACE_SECONDS", text)
    with pytest.raises(ArgumentError, match=f"GARAGE_GRACE_SECONDS is '{text}'.*at least 0"):
        new_trainer("run", kind=CtrlC).train(n_epochs=2, batch_size=60)
    assert kept("run") == []


def test_whoever_took_ctrl_c_before_goes_on_taking_it():
    told = []
    before = signal.signal(signal.SIGINT, lambda *_: told.append("pressed"))
    try:
        new_trainer("run", kind=CtrlC).train(n_epochs=4, batch_size=60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == ["pressed"]


def test_a_process_that_ignores_it_goes_on_ignoring_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        new_trainer("run", kind=CtrlC).train(n_epochs=4, batch_size=60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert kept("run")[-1] == 3


def test_other_threads_leave_it_alone(monkeypatch):
    monkeypatch.setattr(CtrlC, "epochs", ())
    monkeypatch.setattr(CtrlC, "handlers", [])
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: new_trainer("run", kind=CtrlC).train(n_epochs=2, batch_size=60))
    thread.start()
    thread.join()
    assert CtrlC.handlers == [before, before]
    assert kept("run") == [0, 1]


@pytest.mark.parametrize("text", ["0", "256", "-1", "7.5", "", "soon"])
def test_an_exit_code_that_is_none_is_refused_before_anything_is_trained(text, monkeypatch):
    monkeypatch.setenv("GARAGE_PREEMPTED_EXIT_CODE", text)
    with pytest.raises(ArgumentError, match=f"GARAGE_PREEMPTED_EXIT_CODE is '{text}'.*1 to 255"):
        new_trainer("run", kind=CtrlC).train(n_epochs=2, batch_size=60)
    assert kept("run") == []


def test_an_epoch_is_noted_as_dropped_before_the_next_signal_can_strike():
    """The block may be left without its end being told, if the second signal strikes on the way there."""
    signals = Signals(expected_seconds=1e6).__enter__()
    try:
        computing = signals.computing(4)
        computing.__enter__()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signals.dropped.epoch == 4
        computing.gen.close()  # as the interpreter does with what nobody holds; it would print what this raises
    finally:
        signals.__exit__(KeyboardInterrupt)
