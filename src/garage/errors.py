"""Every exception that garage raises on purpose.

::

    GarageError
    ├── ArgumentError (also ValueError)     an argument is of the wrong kind or out of range
    ├── OrderError (also RuntimeError)      a call came before the one that it needs
    ├── MismatchError (also ValueError)     two things that must fit each other do not
    ├── DependencyError (also ImportError)  a package is missing, or installed twice
    ├── WorldError                          an environment cannot be made, or misbehaves
    │   ├── UnknownWorldError                 nothing is registered under that id
    │   ├── UnseededWorldError                it ignores the seed given to ``reset``
    │   ├── NonFiniteError                    it returned NaN or infinity
    │   └── WorldRaisedError                  it raised in the middle of a batch
    ├── WorkerError                         a worker of a sampler cannot do its work
    │   ├── UnsendableError                   what it needs cannot be sent to it, or not be rebuilt there
    │   ├── WorkerRaisedError                 something raised in it that is none of ours
    │   ├── WorkerDiedError                   workers die or hang in the same group again and again
    │   └── ClusterError                      a Ray cluster does not answer, or cannot be started
    ├── RecipeError                         objects cannot be pickled, or not be rebuilt
    ├── SigningKeyError                     the key that snapshots are signed with cannot be used
    └── StorageError                        something is wrong with a run's directory
        ├── NoSnapshotError                   the directory, or the epoch, is not there
        ├── DamagedError                      bytes are not what was written
        ├── FormatVersionError                written by another version of the format
        ├── InUseError                        another process writes there
        ├── UntrustedError                    it would run code that this user's key has not signed
        ├── WriteError                        the disk refused a write
        └── NothingLeftError                  the run has already reached its epochs

    SystemExit
    └── Preempted                           a signal asked the process to stop; no error of anybody's

Each message says what happened and where, what was found, what was expected, and what to do next.
"""


class GarageError(Exception):
    """Base of all errors of garage."""


class ArgumentError(GarageError, ValueError):
    """An argument is of the wrong kind or out of range."""


class OrderError(GarageError, RuntimeError):
    """A call came before the one that it needs, such as ``train`` before ``setup``."""


class MismatchError(GarageError, ValueError):
    """Two things that must fit each other do not, such as a policy and an environment."""


class DependencyError(GarageError, ImportError):
    """A package that a part of garage needs is not installed, or installed twice."""


class NotCompiledError(GarageError, ImportError):
    """The compiled part of garage is missing here, or is another one than the sources say."""


class WorldError(GarageError):
    """An environment cannot be made, or misbehaves."""


class UnknownWorldError(WorldError):
    """No environment is registered under the id."""


class UnseededWorldError(WorldError):
    """An environment ignores the seed given to ``reset``, so no run of it can be repeated."""


class NonFiniteError(WorldError):
    """An environment returned NaN or infinity as an observation or a reward."""


class WorldRaisedError(WorldError):
    """An environment raised in the middle of a batch; its exception is the cause of this one."""


class WorkerError(GarageError):
    """A worker of a sampler cannot do its work."""


class UnsendableError(WorkerError):
    """An environment or a policy cannot be pickled for a worker, or cannot be rebuilt there."""


class WorkerRaisedError(WorkerError):
    """Something raised in a worker that is neither garage nor an environment; its exception is the cause."""


class WorkerDiedError(WorkerError):
    """Workers have died or hung in the same group again and again, or cannot be started."""


class ClusterError(WorkerError):
    """A Ray cluster does not answer, cannot be started, or is not the one that this process is connected to."""


class RecipeError(GarageError):
    """An experiment's objects cannot be pickled, or cannot be rebuilt from their recipe."""


class SigningKeyError(GarageError):
    """The key that snapshots are signed with is missing where it should be, unsafe, or no key."""


class StorageError(GarageError):
    """Something is wrong with a run's directory."""


class NoSnapshotError(StorageError):
    """The directory holds no snapshot, or not the one that was asked for."""


class DamagedError(StorageError):
    """Stored bytes are missing or are not the ones that were written."""


class FormatVersionError(StorageError):
    """The run was written in a version of the format that this garage does not read."""


class InUseError(StorageError):
    """Another process is writing to the run's directory."""


class UntrustedError(StorageError):
    """A recipe or an opaque part would run code, and this user's key has not signed the snapshot that names it."""


class WriteError(StorageError):
    """The operating system refused a write; what was committed before is intact."""


class NothingLeftError(StorageError):
    """The run has already reached the number of epochs that was asked for."""


class Preempted(SystemExit):
    """A signal asked the process to stop, and what was finished is saved; the process exits with ``code``.

    It is no `GarageError`: nothing went wrong, and whoever catches errors must not keep the process from ending.

    Attributes:
        signal_name: such as ``"SIGTERM"``.
    """

    def __init__(self, signal_name: str, code: int) -> None:
        super().__init__(code)
        self.signal_name = signal_name
