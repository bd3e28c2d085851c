"""Whether there is a screen to open windows on."""

import os
import sys


def has_screen() -> bool:
    """Whether this process was started on a desktop."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
