"""The metrics of what a trainer holds, for pandas."""

from typing import TYPE_CHECKING

from garage.errors import OrderError
from garage.experiment.progress import Progress
from garage.recording.metric_tables import as_frame
from garage.storage.metric_rows import metric_rows
from garage.storage.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd


def metric_frame(progress: Progress) -> "pd.DataFrame":
    """See `Trainer.to_frame`."""
    if progress.writer is not None:
        path, until = progress.writer.directory.path, None
    elif progress.origin is not None:
        path, until = progress.origin.path, progress.origin.manifest.epoch
    else:
        msg = "to_frame needs epochs: call train(...) or restore(directory) first."
        raise OrderError(msg)
    return as_frame(metric_rows(path, until), RunDirectory(path).info().x_axis)
