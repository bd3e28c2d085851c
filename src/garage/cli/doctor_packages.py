"""Which packages are installed, and which of them do not go together. Their metadata are read; nothing is imported."""

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata

from garage.cli.finding import Finding, fine, note, problem

_SAME_FILES = (
    ("tensorflow", "tensorflow-cpu"),
    ("opencv-python", "opencv-python-headless"),
    ("pygame", "pygame-ce"),
)
"""Of each, one only: they install the same modules, so which of them computes is chance."""

_DECISIVE = ("numpy", "gymnasium", "torch", "tensorflow", "tensorflow-cpu", "mujoco")
"""A version of these that another package asks for exactly is worth a word."""

_OPTIONAL = {
    "torch": ("torch", "policies and networks in PyTorch"),
    "tensorflow": ("tf", "policies in TensorFlow"),
    "tensorboardX": ("tensorboard", "events for TensorBoard"),
    "matplotlib": ("plot", "`garage plot`"),
    "pandas": ("pandas", "`trainer.to_frame()`"),
    "pyarrow": ("parquet", "`garage export --to parquet`"),
    "safetensors": ("safetensors", "`garage export --to safetensors`"),
}
"""By package, the extra that brings it and what it is for."""

_PIN = re.compile(r"""(?P<name>[\w.-]+)(\[[^\]]*\])? *\(?==(?P<version>[\w.]+)\)? *(?P<marker>;.*)?""")
_EXTRA = re.compile(r"""extra *== *['"](?P<extra>[\w-]+)['"]""")
_AT_LEAST = re.compile(r"""(?P<name>[\w.-]+) *>=(?P<version>[\d.]+)$""")
_OLDEST_PYTHON = (3, 11)


def packages() -> Iterator[Finding]:
    """Versions, clashes, and what is missing of what garage can use."""
    installed = {name.lower(): found.version for found in metadata.distributions() if (name := found.name)}
    yield _python()
    yield from _own(installed)
    for group in _SAME_FILES:
        found = [name for name in group if name in installed]
        if len(found) > 1:
            yield problem(
                found[0],
                " and ".join(f"{name} {installed[name]}" for name in found) + " overwrite each other's files",
                f"pip uninstall --yes {' '.join(found)}, then install one of them again",
            )
    yield from _pins(installed)
    for name, (extra, purpose) in _OPTIONAL.items():
        version = installed.get(name.lower()) or (installed.get("tensorflow-cpu") if name == "tensorflow" else None)
        if version is None:
            yield note(name, f"not installed; it is for {purpose}", f"pip install 'garage[{extra}]'")
        else:
            yield fine(name, version)


def _python() -> Finding:
    version = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info < _OLDEST_PYTHON:
        return problem("python", version, f"make an environment with Python {'.'.join(map(str, _OLDEST_PYTHON))}")
    return fine("python", version)


def _own(installed: Mapping[str, str]) -> Iterator[Finding]:
    """Garage and what it cannot do without."""
    if "garage" not in installed:
        step = "pip install . in its checkout"
        yield problem("garage", "not installed: it is imported from where its files lie", step)
        return
    yield fine("garage", installed["garage"])
    for requirement in metadata.requires("garage") or ():
        wanted = _AT_LEAST.fullmatch(requirement)
        if wanted is None:  # of an extra
            continue
        name, version = wanted["name"].lower(), installed.get(wanted["name"].lower())
        if version is None or _numbers(version) < _numbers(wanted["version"]):
            found = f"{version or 'not installed'}; garage needs {wanted['version']} or newer"
            yield problem(name, found, f"pip install --upgrade '{requirement}'")
        elif name in _DECISIVE:
            yield fine(name, version)


def _pins(installed: Mapping[str, str]) -> Iterator[Finding]:
    """Packages that ask for one version exactly of what decides over numbers, while another one is installed."""
    for distribution in metadata.distributions():
        for requirement in distribution.requires or ():
            pin = _PIN.fullmatch(requirement.strip())
            if pin is None or pin["name"].lower() not in _DECISIVE:
                continue
            name, version = pin["name"].lower(), installed.get(pin["name"].lower())
            if version is None or version == pin["version"]:
                continue
            extra = _EXTRA.search(pin["marker"] or "")
            who = f"{distribution.name}[{extra['extra']}]" if extra else distribution.name
            found = f"{who} {distribution.version} wants {name} {pin['version']}, installed is {version}"
            if extra:
                yield note(name, found, f"keep {who} in an environment of its own")
            elif pin["marker"] is None:
                step = f"keep {who} in an environment of its own, or pip install '{name}=={pin['version']}'"
                yield problem(name, found, step)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
