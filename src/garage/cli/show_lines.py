"""What ``garage show`` prints: one screen of 100 columns."""

import math
import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import msgspec

from garage.cli.output import age, aligned, pairs, ranges
from garage.cli.run_summary import RETURN, RunSummary
from garage.storage.launch_archives import NAME as ARCHIVE
from garage.storage.manifest import Group, Leaf, Manifest
from garage.storage.run_directory import RunInfo
from garage.storage.signing import Signer

_COLUMNS = 100
_INDENT = 14
_SHORT = 12
_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 30
_CARRIED = re.compile(r"sampler/carried/[^/]+/[0-9]+/lanes/(steps$|world/(?P<rung>[^/]+)/)")
_FRAMEWORKS = ("torch", "tensorflow")
_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is shown."""

    path: Path
    info: RunInfo | None
    summary: RunSummary
    epochs: list[int]
    pinned: list[int]
    """Of these, those that are kept whatever the mode."""
    problems: list[str]
    manifest: Manifest | None
    signer: Signer | None
    """Of the manifest; None without one, or if this user's key cannot be used."""
    signed: str
    """The same in words."""
    rows: list[dict[str, Any]]
    """Of metrics, up to the epoch that is shown."""
    provenance: dict[str, Any]
    counts: dict[str, int]
    """Of resumes, rewinds and preemptions."""
    n_bytes: int
    """On the disk."""
    continuation: str
    """The command that goes on with the run."""


def lines(view: View, *, with_leaves: bool) -> list[str]:
    """The whole story.

    Args:
        view: what is known.
        with_leaves: list the leaves of the state, too, however many they are.
    """
    found = [f"{view.path}: {view.summary.state}, last heard of {age(view.summary.updated_at)} ago"]
    found += _wrapped([*_who(view), *_how_far(view), *_where(view.provenance, view.path)])
    found += [f"  problem: {problem}" for problem in view.problems]
    if view.manifest is not None:
        found += [f"Epoch {view.manifest.epoch}, saved {_moment(view.manifest.written_at)}"]
        found += _wrapped(_snapshot(view.manifest, view.signed))
        found += _metrics(view.manifest)
        found += _leaves(view.manifest) if with_leaves else []
    return [*found, f"To continue: {view.continuation}"]


def returns(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | int] | None:
    """First, last and best mean return, and the epoch of the best; None if no episode has ended."""
    found = {row["epoch"]: row[RETURN] for row in rows if math.isfinite(row.get(RETURN, math.nan))}
    if not found:
        return None
    best = max(found, key=lambda epoch: (found[epoch], -epoch))
    values = list(found.values())
    return {"first": values[0], "best": found[best], "best_epoch": best, "last": values[-1]}


def group_size(group: Group, manifest: Manifest) -> int:
    """Bytes of a tracked group, uncompressed."""
    return sum(manifest.chunks[index].raw for index in group.blocks if 0 <= index < len(manifest.chunks))


def leaf_size(leaf: Leaf) -> int:
    """Bytes of a leaf, uncompressed."""
    return sum(piece.size for piece in leaf.pieces)


def _wrapped(rows: Iterable[tuple[str, str]]) -> list[str]:
    found = []
    for line in pairs(list(rows)):
        found += textwrap.wrap(
            line, _COLUMNS, subsequent_indent=" " * _INDENT, break_on_hyphens=False, break_long_words=False,
            drop_whitespace=True, replace_whitespace=False,
        )  # fmt: skip
    return found


def _who(view: View) -> Iterator[tuple[str, str]]:
    info, holder = view.info, view.summary.holder
    if info is not None:
        arguments = " ".join(f"{name}={value!r}" for name, value in info.arguments.items())
        yield "run", f"{info.name}, id {info.id}, created {_moment(info.created_at)}, format {info.format}"
        yield "target", info.target or "none: a trainer without an experiment function"
        yield "arguments", arguments or "none"
        yield "seed", str(info.seed)
        yield "parent", _parent(info)
    if holder is not None:
        yield "written by", f"process {holder.pid} on {holder.host} since {_moment(holder.locked_at)}"


def _parent(info: RunInfo) -> str:
    parent = info.parent
    if parent is None:
        return "none"
    here, path = Path.cwd(), Path(parent.path)
    place = path.relative_to(here) if path.is_relative_to(here) else path
    return f"epoch {parent.epoch} of {parent.run} in {place}, digest {parent.digest[:_SHORT]}"


def _how_far(view: View) -> Iterator[tuple[str, str]]:
    summary, stats = view.summary, {} if view.manifest is None else view.manifest.stats
    if summary.epoch is not None:
        total = "" if summary.n_epochs is None else f" of {summary.n_epochs}"
        said = [f"{summary.epoch + 1}{total} epochs"]
        steps, seconds = stats.get("total_env_steps"), stats.get("elapsed_seconds")
        if isinstance(steps, int) and isinstance(seconds, int | float):
            said.append(f"{steps:,} steps in {seconds:.4g} s of training")
        said += [f"{n} {name if n > 1 else name.removesuffix('s')}" for name, n in view.counts.items() if n]
        yield "progress", ", ".join(said)
    found = returns(view.rows)
    if found is not None:
        numbers = f"first {found['first']:.6g}, best {found['best']:.6g} (epoch {found['best_epoch']})"
        yield "returns", f"{_bars(view.rows)} {numbers}, last {found['last']:.6g}"
    kept = "" if view.info is None else f" (snapshot_mode {view.info.snapshot_mode!r}, gap {view.info.snapshot_gap})"
    yield "snapshots", f"epochs {ranges(view.epochs)}{kept}; {_bytes(view.n_bytes)} on the disk"
    if view.pinned:
        yield "pinned", f"epochs {ranges(view.pinned)}"


def _bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """The mean return as bars, each the mean of as many epochs as it takes."""
    values = [row[RETURN] for row in rows if math.isfinite(row.get(RETURN, math.nan))]
    n_bars = min(_MOST_BARS, len(values))
    edges = [index * len(values) // n_bars for index in range(n_bars + 1)]
    means = [math.fsum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    low, high = min(means), max(means)
    if high == low:
        return _BARS[0] * n_bars
    return "".join(_BARS[min(len(_BARS) - 1, int((mean - low) / (high - low) * len(_BARS)))] for mean in means)


def _where(provenance: Mapping[str, Any], path: Path) -> Iterator[tuple[str, str]]:
    """What is known of the process that wrote last, and of the first one."""
    if not provenance:
        return
    earlier = provenance.get("earlier")
    first = earlier[0] if isinstance(earlier, list) and earlier else provenance
    if isinstance(first, Mapping):
        yield "started", _start(first)
    if first is not provenance:
        yield "went on", _start(provenance)
    yield "code", _code(provenance, path)
    world = _mapping(provenance, "environment")
    if world:
        yield "world", str(world.get("description"))
    made_with = _mapping(provenance, "fingerprint")
    threads = f"threads {made_with.get('threads')}"
    cores = f"cores {provenance.get('cores')}"
    yield "machine", f"{provenance.get('host')}, {made_with.get('cpu')}, {cores}, {threads}, {made_with.get('libc')}"


def _start(provenance: Mapping[str, Any]) -> str:
    command = provenance.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    if words:
        words[0] = Path(words[0]).name
        words[0] = "garage" if words[0] == "main.py" else words[0]
    at = provenance.get("written_at")
    when = f"{_moment(at)} " if isinstance(at, str) else ""
    return f"{when}on {provenance.get('host')} in {provenance.get('folder')}: {shlex.join(words)}"


def _code(provenance: Mapping[str, Any], path: Path) -> str:
    git = _mapping(provenance, "git")
    if "problem" in git:
        said = str(git["problem"])
    elif "commit" in git:
        changed = "with changes" if git.get("diff") else "unchanged"
        branch = f" of {git['branch']}" if git.get("branch") else ""
        said = f"commit {str(git['commit'])[:_SHORT]}{branch}, {changed}"
    else:
        said = "in no git repository"
    return f"{said}; {'a copy is in ' + ARCHIVE if (path / ARCHIVE).is_file() else 'no copy is kept'}"


def _snapshot(manifest: Manifest, signed: str) -> Iterator[tuple[str, str]]:
    yield "digest", manifest.digest
    yield "train args", " ".join(f"{name}={value}" for name, value in manifest.train_args.items() if value)
    yield "recipe", f"none: {manifest.recipe_problem}" if manifest.recipe is None else manifest.recipe[:_SHORT]
    if manifest.opaque:
        yield "opaque", ", ".join(f"{leaf.path} ({leaf_size(leaf):,} bytes)" for leaf in manifest.opaque)
    in_flight, rung = _in_flight(manifest.leaves)
    if rung:
        yield "mid-episode", f"{in_flight} lanes go on by {rung}"
    yield "signature", signed
    made_with = manifest.fingerprint
    versions = {name: made_with.get(name) for name in ("python", "garage", "numpy", "gymnasium", "cloudpickle")}
    versions |= {name: _mapping(made_with, name).get("version") for name in _FRAMEWORKS if _mapping(made_with, name)}
    blas = made_with.get("blas")
    listed = [f"{name} {value}" for name, value in versions.items() if value is not None]
    listed += [str(each) for each in blas] if isinstance(blas, list) else []
    yield "made with", ", ".join([*listed, *(["portable mode"] if made_with.get("portable") else [])]) or "unknown"
    stored = sum(chunk.stored for chunk in manifest.chunks)
    n_bytes = sum(map(leaf_size, manifest.leaves)) + sum(group_size(group, manifest) for group in manifest.groups)
    parts: dict[str, int] = {}
    for path in (*(leaf.path for leaf in manifest.leaves), *(group.path for group in manifest.groups)):
        parts[path.split("/")[0]] = parts.get(path.split("/")[0], 0) + 1
    of_parts = ", ".join(f"{n} {name}" for name, n in parts.items())
    yield "state", f"{_bytes(n_bytes)}, {_bytes(stored)} in packs; values: {of_parts or 'none'} (--leaves lists them)"


def _metrics(manifest: Manifest) -> list[str]:
    metrics = [(name, _short(value)) for name, value in sorted(manifest.metrics.items())]
    half = (len(metrics) + 1) // 2
    rows = [[*left, *right] for left, right in zip_longest(metrics[:half], metrics[half:], fillvalue=("", ""))]
    return [f"  {line}" for line in aligned(rows)] or ["  no metrics"]


def _leaves(manifest: Manifest) -> list[str]:
    shown = [[leaf.path, leaf.dtype, str(list(leaf.shape)), f"{leaf_size(leaf):,}"] for leaf in manifest.leaves]
    found = [f"Leaves: {len(shown)}", *(f"  {line}" for line in aligned(shown))]
    found += [f"Tracked groups: {len(manifest.groups)}"] if manifest.groups else []
    for group in manifest.groups:
        about = f"{group.rows:,} rows of {group.capacity:,} in {len(group.blocks)} blocks"
        found.append(f"  {group.path}  {about}, {group_size(group, manifest):,} bytes")
        columns = [[column.name, column.dtype, str([group.rows, *column.shape])] for column in group.columns]
        found += [f"    {line}" for line in aligned(columns)]
    return found


def _in_flight(leaves: Sequence[Leaf]) -> tuple[int, str]:
    """How many lanes are in mid-episode, and how they go on; see `garage.core.ports.Rung`."""
    n_lanes, rungs = 0, set()
    for leaf in leaves:
        carried = _CARRIED.match(leaf.path)
        if carried and carried["rung"]:
            rungs.add(carried["rung"])
        elif carried:
            n_lanes += sum(leaf.shape)
    return n_lanes, " and ".join(sorted(rungs))


def _mapping(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def _moment(at: str) -> str:
    """A time of ours without fractions of a second, for people."""
    return re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?\+00:00$", r"\1 \2 UTC", at)


def _bytes(n: int) -> str:
    unit, size = next(((unit, size) for unit, size in _UNITS if n >= size), ("bytes", 1))
    return f"{n / size:.3g} {unit}" if size > 1 else f"{n} bytes"


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
