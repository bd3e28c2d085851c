"""Where an experiment writes, and the decorator that gives it a place.

::

    @wrap_experiment
    def trpo_cartpole(ctxt=None, seed=1): ...

    trpo_cartpole(seed=2)  # writes to data/local/experiment/trpo_cartpole
"""

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, overload

from garage import process
from garage.core import options as ranges
from garage.errors import ArgumentError, NoSnapshotError
from garage.experiment.directories import DATA, check_path, choosing, give_up, new_directory, run_of, taken
from garage.experiment.launch_archive import archive_launch_repository
from garage.experiment.representation import as_json, without_addresses
from garage.experiment.signals import answered
from garage.recording.console import console, debug_log
from garage.storage.disk import Disk
from garage.storage.retention import retention_of
from garage.storage.run_directory import RunDirectory

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_PATH = ranges.Range("a path, or None", lambda value: value is None or isinstance(value, str | Path))
RESUME_CHOICES = ("auto", "must", "never")

_SAME_ARGUMENTS = "Give the same arguments to go on with it, or --resume never (or another name) to start a new one."


@dataclass(frozen=True)
class ExperimentContext:
    """What an experiment function gets as ``ctxt``.

    Attributes:
        snapshot_dir: the run's directory.
        snapshot_mode: which snapshots are kept, see `garage.storage.retention.Retention`.
        snapshot_gap: epochs between the snapshots of the gap modes.
        snapshot_seconds: at most one snapshot in so many seconds.
        keep_best: the metric whose best snapshot is kept besides.
        x_axis: the column that curves are drawn over.
        tensorboard: whether events for TensorBoard are written, too.
        target: the experiment function, ``module:function``.
        arguments: its arguments, as JSON.
        resumes: whether training goes on from the newest snapshot in ``snapshot_dir``, if there is one.
        command: what goes on with the run after a signal; None for ``garage resume``.
    """

    snapshot_dir: str
    snapshot_mode: str = "last"
    snapshot_gap: int = 1
    snapshot_seconds: float | None = None
    keep_best: str | None = None
    x_axis: str = "TotalEnvSteps"
    tensorboard: bool = False
    target: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    resumes: bool = False
    command: str | None = None

    def __post_init__(self) -> None:
        for name in ("snapshot_gap", "snapshot_seconds"):
            object.__setattr__(self, name, ranges.plain(getattr(self, name)))
        retention_of(self)


@dataclass(frozen=True)
class Options:
    """The options of ``wrap_experiment``.

    Attributes:
        log_dir: the run's directory; None for ``data/local/<prefix>/<name>``.
        prefix: folder below data/local.
        name: None for the function's.
        snapshot_mode: which snapshots are kept, see `garage.storage.retention.Retention`.
        snapshot_gap: epochs between the snapshots of the gap modes.
        snapshot_seconds: at most one snapshot in so many seconds, but always the last epoch's.
        keep_best: the metric whose best snapshot is kept besides, such as ``"Evaluation/AverageReturn"``.
        archive_launch_repo: keep the launcher's git repository beside the run.
        name_parameters: ``"passed"`` or ``"all"``: append those arguments to the name; None: append nothing.
        use_existing_dir: write into the directory even if it exists, instead of appending _1, _2 …
        x_axis: the column that curves are drawn over.
        tensorboard: write events for TensorBoard, too.
        quiet: print warnings and errors alone; debug.log gets all lines whatever is printed.
    """

    log_dir: str | None = None
    prefix: str = "experiment"
    name: str | None = None
    snapshot_mode: str = "last"
    snapshot_gap: int = 1
    snapshot_seconds: float | None = None
    keep_best: str | None = None
    archive_launch_repo: bool = True
    name_parameters: str | None = None
    use_existing_dir: bool = False
    x_axis: str = "TotalEnvSteps"
    tensorboard: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in ("snapshot_gap", "snapshot_seconds"):
            object.__setattr__(self, name, ranges.plain(getattr(self, name)))
        retention_of(self)
        allowed = {
            "log_dir": _PATH,
            **dict.fromkeys(("prefix", "x_axis"), ranges.TEXT),
            **dict.fromkeys(("name", "keep_best"), ranges.TEXT_OR_NONE),
            **dict.fromkeys(("archive_launch_repo", "use_existing_dir", "tensorboard", "quiet"), ranges.SWITCH),
        }
        ranges.check("wrap_experiment", **{name: (getattr(self, name), each) for name, each in allowed.items()})
        if self.name_parameters not in {None, "passed", "all"}:
            msg = f"name_parameters must be None, 'passed' or 'all', got {self.name_parameters!r}."
            raise ArgumentError(msg)

    def overridden(self, changes: Mapping[str, Any]) -> "Options":
        """These options with some changed.

        Raises:
            ArgumentError: there is no such option.
        """
        unknown = sorted(changes.keys() - vars(self).keys())
        if unknown:
            msg = f"wrap_experiment has no option {', '.join(map(repr, unknown))}; it has {', '.join(vars(self))}."
            raise ArgumentError(msg)
        return Options(**{**vars(self), **changes})


class Experiment(Generic[R]):
    """An experiment function with a place to write; calling it runs it. Made by `wrap_experiment`.

    Args:
        function: its first parameter must be ``ctxt``; the others are passed by keyword.
        options: of its runs, which a call may override by a dict in front of its arguments.

    Raises:
        ArgumentError: the first parameter is not ``ctxt``.
    """

    def __init__(self, function: Callable[..., R], options: Options) -> None:
        functools.update_wrapper(self, function)
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].name != "ctxt":
            got = parameters[0].name if parameters else "no parameter"
            msg = f"The first parameter of the experiment {function.__qualname__} must be `ctxt`, got {got}."
            raise ArgumentError(msg)
        self._function, self.options, self.parameters = function, options, parameters[1:]

        def remade() -> Experiment[R]:
            return Experiment(function, options)

        # The name of the function itself is this object's. So pickle finds this one by name, and cloudpickle takes it
        # by value out of a script, as both do with functions.
        remade.__module__, remade.__qualname__ = function.__module__, f"{function.__qualname__}.remade"
        self.remade = remade

    def __call__(self, *overrides: Mapping[str, Any], **arguments: Any) -> R:
        """Run the experiment in a directory of its own and return what the function returns."""
        if len(overrides) > 1 or not all(isinstance(override, Mapping) for override in overrides):
            msg = (
                f"{self.name} takes its arguments by keyword, and before them at most one dict of options; got "
                f"{len(overrides)} positional arguments. For example: {self.name}({{'snapshot_mode': 'all'}}, seed=1)."
            )
            raise ArgumentError(msg)
        launch = _launch.get()
        if launch is None and _loading.get():
            msg = (
                f"The file starts the experiment {self.name} while it is being loaded. Put the call below "
                "`if __name__ == '__main__':`; `garage run` calls it itself."
            )
            raise ArgumentError(msg)
        options = self.options.overridden(overrides[0]) if overrides else self.options
        options = options if launch is None else options.overridden(launch.options)
        everything = self._with_defaults(arguments)
        arguments_json = self.recorded(arguments)
        named = {None: {}, "passed": {p.name: arguments[p.name] for p in self.parameters if p.name in arguments}}
        wanted = directory_of(options, self.name, named.get(options.name_parameters, everything))
        directory, resumes = self._place(wanted, options, arguments_json, "never" if launch is None else launch.resume)
        context = ExperimentContext(
            snapshot_dir=str(directory),
            snapshot_mode=options.snapshot_mode,
            snapshot_gap=options.snapshot_gap,
            snapshot_seconds=options.snapshot_seconds,
            keep_best=options.keep_best,
            x_axis=options.x_axis,
            tensorboard=options.tensorboard,
            target=self._target,
            arguments=arguments_json,
            resumes=resumes,
            command=None if launch is None else launch.command,
        )
        seed = process.get_seed()
        try:
            with console(quiet=options.quiet), debug_log(directory / "debug.log"), _launched(None), answered():
                if options.archive_launch_repo and not resumes:
                    archive_launch_repository(directory)
                return self._function(context, **arguments)
        except BaseException:
            if not (resumes or options.use_existing_dir):
                give_up(directory)
            raise
        finally:
            process.set_process_seed(seed)

    def __reduce__(self) -> tuple[Callable[[], "Experiment[R]"], tuple[()]]:
        """Pickle as the function that it was made of."""
        return self.remade, ()

    @property
    def name(self) -> str:
        """The function's name."""
        return self._function.__name__

    @property
    def qualified_name(self) -> str:
        """The function's, with what it is defined in."""
        return self._function.__qualname__

    def recorded(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments and the defaults of those that are left out, as a run with them records them.

        Raises:
            TypeError: the function takes no such arguments.
        """
        return {name: as_json(value) for name, value in self._with_defaults(arguments).items()}

    @property
    def _target(self) -> str:
        return f"{self._function.__module__}:{self.qualified_name}"

    def _place(self, wanted: Path, options: Options, arguments: Mapping[str, Any], resume: str) -> tuple[Path, bool]:
        """The directory to write to, and whether to go on from what is there."""
        if resume == "never":
            if options.use_existing_dir:
                check_path(wanted)
                Disk().make_folder(wanted)
                return wanted, False
            return new_directory(wanted), False
        check_path(wanted)
        with choosing(wanted) if resume == "auto" else contextlib.nullcontext():
            path = run_of(wanted, self.qualified_name, arguments, _SAME_ARGUMENTS)
            if path is not None and (resume == "auto" or RunDirectory(path).manifest_epochs()):
                return path, True
            if resume == "auto":
                return taken(wanted, self._target, arguments), False
        msg = f"No run of {wanted} with these arguments has a snapshot to go on from. Use --resume auto to start one."
        raise NoSnapshotError(msg)

    def _with_defaults(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        bound = inspect.signature(self._function).bind(None, **arguments)
        bound.apply_defaults()
        return {name: value for name, value in bound.arguments.items() if name != "ctxt"}


@overload
def wrap_experiment(function: Callable[..., R], /) -> Experiment[R]: ...
@overload
def wrap_experiment(**options: Any) -> Callable[[Callable[..., R]], Experiment[R]]: ...
def wrap_experiment(
    function: Callable[..., R] | None = None, /, **options: Any
) -> Experiment[R] | Callable[[Callable[..., R]], Experiment[R]]:
    """Give an experiment function a directory, a log and a console.

    Bare (``@wrap_experiment``) or with the options of `Options`. The function's first parameter must be
    ``ctxt``; the others become keyword-only.

    Raises:
        ArgumentError: an option is unknown or out of range, or the first parameter is not ``ctxt``.
    """
    settings = Options().overridden(options)
    if function is not None:
        return Experiment(function, settings)
    return lambda wrapped: Experiment(wrapped, settings)


@dataclass(frozen=True)
class _Launch:
    """What ``garage run`` was asked for."""

    resume: str
    command: str | None
    options: Mapping[str, Any]


_launch: ContextVar[_Launch | None] = ContextVar("garage_launch", default=None)
_loading: ContextVar[bool] = ContextVar("garage_loading", default=False)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Refuse to start experiments, while a file that defines them is being loaded."""
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


def launch(
    experiment: Experiment[R],
    arguments: Mapping[str, Any],
    *,
    resume: str,
    command: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> R:
    """Run an experiment as ``garage run`` does.

    Args:
        experiment: what to run.
        arguments: of its function.
        resume: ``"auto"`` goes on with the run of that name and these arguments if there is one, ``"must"``
            insists that there is, ``"never"`` starts a new one.
        command: the line of a shell that goes on with the run.
        options: those of ``wrap_experiment`` that are other than the experiment says.

    Raises:
        ArgumentError: there is a run of that name, but with other arguments.
        NoSnapshotError: ``"must"``, and there is none that has a snapshot.
    """
    if resume not in RESUME_CHOICES:
        msg = f"resume must be one of {', '.join(RESUME_CHOICES)}; got {resume!r}."
        raise ArgumentError(msg)
    with _launched(_Launch(resume, command, options or {})):
        return experiment(**arguments)


@contextlib.contextmanager
def _launched(launched: _Launch | None) -> Iterator[None]:
    token = _launch.set(launched)
    try:
        yield
    finally:
        _launch.reset(token)


def directory_of(options: Options, function_name: str, named: Mapping[str, Any]) -> Path:
    """Where a run goes if nothing is there yet.

    Args:
        options: of the experiment.
        function_name: its name, where the options give none.
        named: the arguments that are part of the name.
    """
    if options.log_dir is not None:
        return Path(options.log_dir)
    name = "_".join(
        [options.name or function_name, *(f"{key}={without_addresses(str(value))}" for key, value in named.items())]
    )
    return DATA / options.prefix / name.replace("/", "_")
