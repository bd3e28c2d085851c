"""What PyTorch keeps in the process: generators, threads, and settings that decide over last bits."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from garage.core.state import take
from garage.core.types import Array, State

# cuBLAS reads it when CUDA is used first; without it, its products are not the same bits each time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_OWNER = "PyTorch's generators"


class TorchFramework:
    """See `Framework`."""

    name = "torch"

    def seed(self, seed: int) -> None:
        """Seed the generators of all devices; CUDA's when it is used first."""
        torch.manual_seed(seed)

    def generators_state(self) -> State:
        """The CPU's state, and that of each CUDA device if CUDA is in use; drawing nothing, and starting no device."""
        state: State = {"cpu": _array(torch.get_rng_state())}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call] # PyTorch leaves it untyped
            states = torch.cuda.get_rng_state_all()
            state["cuda"] = {str(index): _array(device_state) for index, device_state in enumerate(states)}
        return state

    def load_generators_state(self, state: State) -> None:
        """Put the generators back, those of CUDA at its first use; what was a device's that is not here is left out.

        Raises:
            MismatchError: the CPU's state is missing.
        """
        torch.set_rng_state(torch.tensor(take(state, "cpu", _OWNER)))
        devices = state.get("cuda", {})
        for index in range(torch.cuda.device_count()):
            if isinstance(devices, dict) and str(index) in devices:
                torch.cuda.set_rng_state(torch.tensor(take(devices, str(index), _OWNER)), index)

    @contextlib.contextmanager
    def computing(self, n_threads: int) -> Iterator[None]:
        """While it lasts: that many threads, deterministic algorithms only, no TF32 or bfloat16 in place of float32."""
        with contextlib.ExitStack() as stack:
            for read, write, value in _settings(n_threads):
                stack.callback(write, read())
                write(value)
            yield

    def fingerprint(self) -> Mapping[str, Any]:
        """Version, CPU capability, threads, CUDA devices in use, whether algorithms are deterministic."""
        found: dict[str, Any] = {
            "version": str(torch.__version__),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "mkl": torch.backends.mkl.is_available(),  # type: ignore[no-untyped-call] # PyTorch leaves it untyped
            "threads": torch.get_num_threads(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        }
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call] # PyTorch leaves it untyped
            found["cuda"] = torch.version.cuda
            found["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call] # as above
            found["devices"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return found


def _settings(n_threads: int) -> list[tuple[Callable[[], Any], Callable[[Any], Any], Any]]:
    """How each setting is read, how it is written, and what it is while computing."""
    backends = torch.backends
    operations = [
        *(getattr(backends.cudnn, operation) for operation in ("conv", "rnn")),
        *(getattr(backends.mkldnn, operation) for operation in ("matmul", "conv", "rnn")),
    ]
    return [
        (torch.get_num_threads, torch.set_num_threads, n_threads),
        # "error"; unlike `use_deterministic_algorithms` it does not import PyTorch's compiler, which takes a second.
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 2),
        # Deterministic algorithms also fill new memory, lest somebody reads what lay there; that takes time.
        _attribute(torch.utils.deterministic, "fill_uninitialized_memory", value=False),
        _attribute(backends.cudnn, "deterministic", value=True),
        _attribute(backends.cudnn, "benchmark", value=False),
        *(_attribute(operation, "fp32_precision", value="ieee") for operation in (backends.cuda.matmul, *operations)),
    ]


def _attribute(owner: Any, name: str, *, value: Any) -> tuple[Callable[[], Any], Callable[[Any], Any], Any]:  # noqa: ANN401 - PyTorch's settings are attributes of objects of many kinds
    return lambda: getattr(owner, name), lambda setting: setattr(owner, name, setting), value


def _array(state: torch.Tensor) -> Array:
    return np.array(state.numpy())
