"""Where tensors live."""

import torch

from garage.errors import ArgumentError


def device_checked(device: str | torch.device) -> torch.device:
    """The CPU or a CUDA device, which is started, so that what is wrong with it is said now.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …

    Raises:
        ArgumentError: it is neither, or is not here.
    """
    try:
        found = torch.device(device)
        if found.type in {"cpu", "cuda"}:
            torch.empty(0, device=found)
            return found
        problem = "policies live on the CPU or on a CUDA device"
    except (RuntimeError, AssertionError, TypeError) as error:  # a PyTorch without CUDA raises AssertionError
        problem = str(error).partition("\n")[0]
    there_are = ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
    msg = f"Cannot use device {device!r}: {problem.rstrip('.')}. Devices here: {there_are}."
    raise ArgumentError(msg)
