"""What the status line says of a training."""

import time
from collections import deque

from garage.core.durations import in_words
from garage.experiment.arguments import TrainArgs
from garage.experiment.progress import Progress

_EPOCHS_REMEMBERED = 10


class Status:
    """How far a training is, how fast it goes, and what a kill would lose.

    Args:
        progress: what the trainer holds.
        args: what was asked for.
    """

    def __init__(self, progress: Progress, args: TrainArgs) -> None:
        self._progress, self._args = progress, args
        self._seconds: deque[float] = deque(maxlen=_EPOCHS_REMEMBERED)
        self._steps, self._rate = progress.stats.total_env_steps, 0.0
        self._ended_at = time.perf_counter()

    def epoch_ended(self) -> None:
        """Take note of an epoch that has just ended."""
        now, steps = time.perf_counter(), self._progress.stats.total_env_steps
        seconds = now - self._ended_at
        self._seconds.append(seconds)
        self._rate = (steps - self._steps) / max(seconds, 1e-9)
        self._steps, self._ended_at = steps, now

    def parts(self) -> list[str]:
        """Epochs, steps a second and mean return of the last one, time left, age of the last snapshot."""
        now, finished = time.perf_counter(), self._progress.stats.last_itr
        said = [f"{finished} of {self._args.n_epochs} epochs"]
        if self._seconds:
            mean = sum(self._seconds) / len(self._seconds)
            left = mean * (self._args.n_epochs - finished) - (now - self._ended_at)
            average = (self._progress.metrics or {}).get("Evaluation/AverageReturn", float("nan"))
            said += [f"{self._rate:,.0f} steps/s", f"return {average:.5g}", f"{in_words(max(left, 0.0))} left"]
        age = now - self._progress.saved_at
        return [*said, "nothing saved yet" if age == float("inf") else f"saved {in_words(age)} ago"]
