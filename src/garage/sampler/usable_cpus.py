"""How many CPUs there are for workers."""

import os
import sys


def n_usable_cpus() -> int:
    """CPUs that this process may use, at least one."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
