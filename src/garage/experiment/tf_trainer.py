"""The trainer of experiments in TensorFlow: a graph and a session go with it."""

import contextlib
import importlib
from typing import TYPE_CHECKING, Any, Self

from garage.core.ports import Sampler
from garage.experiment.context import ExperimentContext
from garage.experiment.surroundings import ProcessAlone
from garage.experiment.trainer import Trainer

if TYPE_CHECKING:
    from garage.tf.session import GraphSession


class TFTrainer(Trainer):
    """A `Trainer` with a TensorFlow graph and session, the default ones within its ``with`` block.

    ::

        with TFTrainer(snapshot_config=ctxt) as trainer:
            policy = CategoricalMLPPolicy(env_spec=env.spec)      # garage.tf.policies
            ...
            trainer.setup(algo, env)
            trainer.train(n_epochs=100, batch_size=4000)

    Parts that users build in the graph are trained with it, and the variables that belong to no part are saved
    under ``tf/<name>``.

    Args:
        snapshot_config: see `Trainer`.
        sess: a session to use, with its graph; it stays open. By default a new graph and session.
        on_save_error: see `Trainer`.
        n_threads: see `Trainer`; a given session has its own.
        sampler: see `Trainer`.
        eval_every: see `Trainer`.
        eval_episodes: see `Trainer`.

    Raises:
        DependencyError: TensorFlow is not installed, or in two variants at once.
    """

    def __init__(  # noqa: PLR0913 - as the trainer's
        self,
        snapshot_config: ExperimentContext | None = None,
        *,
        sess: Any = None,  # noqa: ANN401 - a tf.compat.v1.Session; TensorFlow is imported only where it is used
        on_save_error: str = "raise",
        n_threads: int | None = None,
        sampler: Sampler | None = None,
        eval_every: int | None = None,
        eval_episodes: int | None = None,
    ) -> None:
        super().__init__(
            snapshot_config,
            on_save_error=on_save_error,
            n_threads=n_threads,
            sampler=sampler,
            eval_every=eval_every,
            eval_episodes=eval_episodes,
        )
        self._session = graph_session(sess, n_threads=n_threads or 1)
        self._progress.surroundings = self._session

    @property
    def sess(self) -> Any:  # noqa: ANN401 - see above
        """The session, a ``tf.compat.v1.Session``; None outside of the block, unless it was given."""
        return self._session.sess

    def __enter__(self) -> Self:
        """Make graph and session the default ones."""
        self._session.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the default graph and session of before as they were."""
        self._session.__exit__(*error)


def graph_session(sess: Any = None, *, n_threads: int = 1) -> "GraphSession":  # noqa: ANN401 - see above
    """A graph and its session, with TensorFlow imported now.

    Raises:
        DependencyError: TensorFlow is not installed, or in two variants at once.
    """
    made: GraphSession = importlib.import_module("garage.tf.session").GraphSession(sess, n_threads=n_threads)
    return made


def trainer_for(surroundings: str) -> contextlib.AbstractContextManager[Trainer]:
    """The trainer that can restore a run of those surroundings, in its block if it has one."""
    return contextlib.nullcontext(Trainer()) if surroundings == ProcessAlone.name else TFTrainer()


def rebuilding(surroundings: str) -> contextlib.AbstractContextManager[Any]:
    """While it lasts, a recipe of those surroundings can be rebuilt."""
    return contextlib.nullcontext() if surroundings == ProcessAlone.name else graph_session()
