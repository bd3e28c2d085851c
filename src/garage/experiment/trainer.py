"""The trainer owns the loop and nothing else."""

import contextlib
import functools
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import threadpoolctl

from garage.core.ports import Algorithm, Env, Sampler
from garage.core.state import copied, take
from garage.core.streams import Streams
from garage.core.types import EpisodeBatch, State
from garage.errors import ArgumentError, InUseError, NoSnapshotError, NothingLeftError, OrderError, RecipeError
from garage.experiment import deterministic, recipes
from garage.experiment.arguments import Stats, TrainArgs, tables
from garage.experiment.collector import Collector
from garage.experiment.context import DATA, ExperimentContext, new_directory
from garage.experiment.fingerprint import differences, fingerprint, provenance
from garage.experiment.run_state import capture_state, load_state, restored_episodes, stored_episodes
from garage.recording.console import console, debug_log, epoch_prefix, show_plain, table_of
from garage.recording.progress_table import ProgressTable
from garage.sampler.local import LocalSampler
from garage.storage.lock import holder_of, in_use
from garage.storage.manifest import Manifest
from garage.storage.retention import Retention
from garage.storage.run_directory import RunDirectory
from garage.storage.store import SnapshotStore, StoredSnapshot
from garage.storage.writer import Capture, RunWriter

logger = logging.getLogger(__name__)


class Trainer:
    """Trains an algorithm in an environment, saves, restores and resumes it.

    Args:
        snapshot_config: where to write and which snapshots to keep: the experiment function's ``ctxt``. Without
            one, ``data/local/experiment/<script name>``, made by ``train``.
        n_threads: of BLAS; more can be faster for large networks, and changes last bits.
    """

    def __init__(self, snapshot_config: ExperimentContext | None = None, *, n_threads: int = 1) -> None:
        ...
