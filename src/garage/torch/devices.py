"""Where tensors live."""

import os

import torch

from garage.errors import ArgumentError


def device_checked(device: str | torch.device) -> torch.device:
    """The CPU or a CUDA device, which is started, so that what is wrong with it is said now.

    ``GARAGE_TORCH_DEVICE`` in the environment overrules it: for a run whose recipe names a device that is not here.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …

    Raises:
        ArgumentError: it is neither, or is not here.
    """
    device = os.environ.get("GARAGE_TORCH_DEVICE", device)
    try:
        found = torch.device(device)
        if found.type in {"cpu", "cuda"}:
            torch.empty(0, device=found)
            return found
        problem = "policies live on the CPU or on a CUDA device"
    except (RuntimeError, AssertionError, TypeError) as error:  # a PyTorch without CUDA raises AssertionError
        problem = str(error).partition("\n")[0]
    there_are = ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
    msg = (
        f"Cannot use device {device!r}: {problem.rstrip('.')}. Devices here: {there_are}. To restore here what was "
        "built for another device, set GARAGE_TORCH_DEVICE=cpu in the environment."
    )
    raise ArgumentError(msg)
