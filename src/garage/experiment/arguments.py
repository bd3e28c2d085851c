"""What a training was asked for and how far it got: the two tables that ``restore`` prints."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from garage.core import options
from garage.core.types import EpisodeBatch
from garage.errors import ArgumentError, DamagedError, GarageError, MismatchError


@dataclass(frozen=True)
class TrainArgs:
    """What a training was asked for.

    Attributes:
        n_epochs: in all, not in addition.
        batch_size: steps of an epoch.
        plot: show the policy after each epoch.
        store_episodes: keep the last epoch's episodes in the snapshot.
        pause_for_plot: wait for Enter after each plot.
        start_epoch: the first epoch to compute.
        eval_every: evaluate the policy after each epoch that is divisible by it; 0 for none.
        eval_episodes: of an evaluation.
    """

    n_epochs: int
    batch_size: int
    plot: bool = False
    store_episodes: bool = False
    pause_for_plot: bool = False
    start_epoch: int = 0
    eval_every: int = 0
    eval_episodes: int = 10

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, options.plain(value))
        options.check(
            "Trainer",
            n_epochs=(self.n_epochs, options.COUNT),
            batch_size=(self.batch_size, options.COUNT),
            eval_every=(self.eval_every, options.COUNT_OR_ZERO),
            eval_episodes=(self.eval_episodes, options.COUNT),
        )
        for name in ("plot", "store_episodes", "pause_for_plot"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                msg = f"{name} must be True or False, got {value!r}."
                raise ArgumentError(msg)
        if self.pause_for_plot and not self.plot:
            msg = "pause_for_plot=True would be ignored without plot=True. Ask for both, or for neither."
            raise ArgumentError(msg)

    def changed(self, **changes: Any) -> Self:
        """With those changes that are not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def evaluated(self, chosen: Mapping[str, int | None]) -> Self:
        """With what was chosen of ``eval_every`` and ``eval_episodes``.

        Raises:
            ArgumentError: a number of episodes was, and there is no evaluation.
        """
        args = self.changed(**chosen)
        if chosen.get("eval_episodes") is not None and not args.eval_every:
            msg = f"eval_episodes={args.eval_episodes} would be ignored without eval_every. Give both, or neither."
            raise ArgumentError(msg)
        return args

    def as_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "plot": self.plot,
            "store_episodes": self.store_episodes,
            "pause_for_plot": self.pause_for_plot,
            "eval_every": self.eval_every,
            "eval_episodes": self.eval_episodes,
        }


def evaluation_checked(eval_every: int | None, eval_episodes: int | None) -> dict[str, int | None]:
    """These two of `TrainArgs`, as far as they were chosen.

    Raises:
        ArgumentError: one is out of range.
    """
    chosen = {"eval_every": eval_every, "eval_episodes": eval_episodes}
    TrainArgs(1, 1).changed(**chosen)
    return chosen


def recorded(train_args: Mapping[str, Any], stats: Mapping[str, Any], where: str) -> tuple[TrainArgs, float]:
    """What a manifest says of a training; and its wall-clock seconds.

    Raises:
        DamagedError: it says something that no training can have had.
    """
    try:
        last_itr, seconds = stats["last_itr"], stats["elapsed_seconds"]
        if type(last_itr) is int and type(stats["total_env_steps"]) is int and isinstance(seconds, int | float):
            return TrainArgs(**train_args, start_epoch=last_itr), float(seconds)
    except (ArgumentError, TypeError, KeyError, OverflowError) as error:
        msg = f"{where} says {dict(train_args)} of its training, which cannot be: {error!r}."
        raise DamagedError(msg) from error
    msg = f"{where} says {dict(stats)} of its training, which cannot be."
    raise DamagedError(msg)


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """While values of a snapshot are put into objects: whatever these raise at values that they cannot take.

    Raises:
        MismatchError: they raised something.
    """
    try:
        yield
    except GarageError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        msg = (
            f"Cannot load the values of {what} into these objects: {type(error).__name__}: {error}. "
            "Are they of the same kinds as those that the run was trained with?"
        )
        raise MismatchError(msg) from error


class Stats:
    """How far a run got; read-only.

    Args:
        total_epoch: the last finished epoch, or -1.
        total_env_steps: environment steps of all training episodes.
        elapsed_seconds: wall-clock seconds of training, over all resumes.
        last_episode: gives the last epoch's episodes, if they are kept.
    """

    def __init__(
        self,
        total_epoch: int = -1,
        total_env_steps: int = 0,
        elapsed_seconds: float = 0.0,
        last_episode: Callable[[], EpisodeBatch | None] = lambda: None,
    ) -> None:
        self._total_epoch, self._total_env_steps = total_epoch, total_env_steps
        self._elapsed_seconds, self._last_episode = elapsed_seconds, last_episode

    @property
    def total_epoch(self) -> int:
        """The last finished epoch, or -1."""
        return self._total_epoch

    @property
    def last_itr(self) -> int:
        """The number of finished epochs."""
        return self._total_epoch + 1

    @property
    def total_env_steps(self) -> int:
        """Environment steps of all training episodes."""
        return self._total_env_steps

    @property
    def elapsed_seconds(self) -> float:
        """Wall-clock seconds of training, over all resumes."""
        return self._elapsed_seconds

    @property
    def last_episode(self) -> EpisodeBatch | None:
        """The last epoch's episodes; None without ``store_episodes``. Read from the snapshot when asked for."""
        return self._last_episode()

    def as_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "last_itr": self.last_itr,
            "total_env_steps": self.total_env_steps,
            "elapsed_seconds": self.elapsed_seconds,
        }


def tables(train_args: dict[str, Any], stats: dict[str, Any]) -> list[str]:
    """The lines of the two tables that ``restore`` prints."""
    first = {"n_epochs": train_args["n_epochs"], "last_epoch": stats["last_itr"] - 1}
    first |= {name: int(train_args[name]) for name in ("batch_size", "store_episodes", "pause_for_plot")}
    second = {name: stats[name] for name in ("last_itr", "total_env_steps")}
    return [
        f"{'-- Train Args --':<20} -- Value --",
        *(f"{name:<20} {value}" for name, value in first.items()),
        f"{'-- Stats --':<20} -- Value --",
        *(f"{name:<20} {value}" for name, value in second.items()),
    ]
