"""Values in words that two processes can compare: equal values have equal words."""

import sys
import types
import warnings
from collections import deque
from typing import Any

import numpy as np
from blake3 import blake3

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType)
_DEEPEST = 40


def is_value(node: object, depth: int = 0) -> bool:
    """Whether it is all numbers and text, so that it is described as one."""
    if isinstance(node, (*PLAIN, np.ndarray)) or _is_tensor(node):
        return True
    if depth > _DEEPEST:
        return False
    if isinstance(node, dict):
        return all(is_value(key, depth + 1) and is_value(value, depth + 1) for key, value in node.items())
    if isinstance(node, list | tuple | deque | set | frozenset):
        return all(is_value(each, depth + 1) for each in node)
    return False


def words(node: object, depth: int = 0) -> str:
    """An object as text: values as they are, arrays by their hash, other objects by what they are pickled as."""
    if isinstance(node, PLAIN) or depth > _DEEPEST:
        return repr(node) if isinstance(node, PLAIN) else "…"
    if isinstance(node, dict | list | tuple | deque | set | frozenset):
        return _container(node, depth + 1)
    if isinstance(node, np.ndarray) and not node.dtype.hasobject:
        return f"{node.dtype}{list(node.shape)} {short_hash(np.ascontiguousarray(node).tobytes())}"
    if _is_tensor(node):
        return f"{kind(type(node))} {short_hash(_tensor_bytes(node))}"
    if isinstance(node, _NAMED):
        return node.__qualname__
    reduced = _reduced(node)
    return f"{type(node).__qualname__} {words(reduced[1:3], depth + 1)}" if reduced else kind(type(node))


def reduces(cls: type) -> bool:
    """Whether a class says itself what it is pickled as."""
    return any(name in vars(base) for base in cls.__mro__[:-1] for name in ("__reduce__", "__reduce_ex__"))


def kind(cls: type) -> str:
    """A class as what something is: ``an Adam``."""
    name = cls.__qualname__
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"


def short_hash(data: bytes) -> str:
    """Enough of BLAKE3 to tell two values apart."""
    return blake3(data).hexdigest()[:8]


def _container(node: Any, depth: int) -> str:  # noqa: ANN401 - one of several types
    if isinstance(node, dict):
        inside = [f"{words(key, depth)}: {words(value, depth)}" for key, value in node.items()]
    elif isinstance(node, set | frozenset):
        inside = sorted(words(each, depth) for each in node)
    else:
        inside = [words(each, depth) for each in node]
    name = "" if type(node) is list else type(node).__qualname__
    return f"{name}[{', '.join(inside)}]"


def _reduced(node: object) -> tuple[Any, ...] | None:
    """What an object would be pickled as, one step deep; None if it would not."""
    if not reduces(type(node)):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own advice about pickling some of its objects
        try:
            reduced = node.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 - whatever it is, the object will not tell its state; others still do
            return None
    return reduced if isinstance(reduced, tuple) else None


def _is_tensor(node: object) -> bool:
    """Whether it is a tensor of PyTorch or one of its generators."""
    torch = sys.modules.get("torch")  # not imported here; where nobody has imported it, there are no tensors
    if torch is None:
        return False
    return isinstance(node, torch.Generator) or (isinstance(node, torch.Tensor) and node.layout is torch.strided)


def _tensor_bytes(node: Any) -> bytes:  # noqa: ANN401 - types of a package that is not imported here
    torch = sys.modules["torch"]
    tensor = node.get_state() if isinstance(node, torch.Generator) else node.detach()
    data: bytes = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{tensor.dtype}{list(tensor.shape)}".encode() + data
