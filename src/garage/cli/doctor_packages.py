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
    "tensorboard": ("tensorboard", "looking at the events of runs in TensorBoard"),
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
    installed = {_normal(name): found.version for found in metadata.distributions() if (name := found.name)}
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
        version = installed.get(_normal(name)) or (installed.get("tensorflow-cpu") if name == "tensorflow" else None)
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
        name, version = _normal(wanted["name"]), installed.get(_normal(wanted["name"]))
        if version is None or _numbers(version) < _numbers(wanted["version"]):
            found = f"{version or 'not installed'}; garage needs {wanted['version']} or newer"
            yield problem(name, found, f"pip install --upgrade '{requirement}'")
        elif name in _DECISIVE:
            yield fine(name, version)


def _pins(installed: Mapping[str, str]) -> Iterator[Finding]:
    """Packages that ask for one version exactly of what decides over numbers, while another one is installed."""
    for distribution in metadata.distributions():
        extras: dict[tuple[str, str], list[str]] = {}
        for requirement in distribution.requires or ():
            pin = _PIN.fullmatch(requirement.strip())
            name = _normal(pin["name"]) if pin else ""
            if pin is None or name not in _DECISIVE or installed.get(name) in {None, pin["version"]}:
                continue
            extra = _EXTRA.search(pin["marker"] or "")
            if extra:
                extras.setdefault((name, pin["version"]), []).append(extra["extra"])
            elif pin["marker"] is None:
                who = f"{distribution.name} {distribution.version}"
                found = f"{who} wants {name} {pin['version']}, installed is {installed[name]}"
                step = (
                    f"keep {distribution.name} in an environment of its own, or pip install '{name}=={pin['version']}'"
                )
                yield problem(name, found, step)
        for (name, version), wanting in extras.items():
            who = f"{distribution.name} {distribution.version}"
            found = (
                f"{who} with the extra {' or '.join(sorted(wanting))} wants {version}, installed is {installed[name]}"
            )
            yield note(name, found, f"if you need that extra, keep {distribution.name} in an environment of its own")


def _normal(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
