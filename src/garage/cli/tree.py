"""``garage tree``: which runs went on from which."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from garage.cli.output import print_json
from garage.cli.run_summary import runs_below, say_unreadable, summarise
from garage.cli.terminal import echo
from garage.errors import ArgumentError, StorageError
from garage.storage.lineage import counts
from garage.storage.manifest import Parent
from garage.storage.run_directory import RunDirectory, RunInfo

_DATA = Path("data") / "local"


class Node(msgspec.Struct, kw_only=True):
    """A run in its family."""

    path: str
    """Of a missing parent: where its child says that it was."""
    id: str | None
    """None if run.json cannot be read."""
    state: str
    """As `garage ls` has it, or ``missing``."""
    epoch: int | None = None
    seed: int | None = None
    parent: Parent | None = None
    reseeded: bool = False
    """Whether it goes on with another seed than its parent's."""
    experiment: str | None = None
    """Its experiment function, if it is another one than its parent's."""
    changed: dict[str, Any] = {}
    """Arguments that are not its parent's: ``[there, here]``; ``there`` is null where the parent is missing. Of another
    experiment, those that both have."""
    marks: dict[str, int] = {}
    """How often it was resumed, rewound and preempted."""
    children: list["Node"] = []


class _Found(NamedTuple):
    """A run as its directory says."""

    path: Path
    info: RunInfo
    node: Node
    fork: dict[str, Any]
    """The event by which it began, if it began with another run's snapshot."""


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print a list of trees, and nothing else.")
def tree(directory: Path | None, *, as_json: bool) -> None:
    """Draw the families of the runs below DIR (default: data/local): each run below the one that it went on from.

    An edge says from which epoch, and what was changed: the seed and arguments. A run says how often it was resumed,
    rewound and preempted. A parent that is not below DIR is shown as missing.
    """
    root = directory or _DATA
    if directory is not None and not directory.is_dir():
        msg = f"There is no directory {directory} to look into. Without one, `garage tree` takes {_DATA}."
        raise ArgumentError(msg)
    trees = families(sorted(runs_below(root, say_unreadable)))
    if as_json:
        print_json(msgspec.to_builtins(trees))
    elif trees:
        echo(*(line for node in trees for line in _drawn(node)))
    else:
        echo(f"There are no runs below {root}. `garage run FILE` makes one.", err=True)


def families(paths: list[Path]) -> list[Node]:
    """The trees that runs make, by their ids; one whose run.json cannot be read stands alone."""
    found: list[_Found] = []
    roots: list[Node] = []
    for path in paths:
        try:
            found.append(_found(path))
        except StorageError:
            summary = summarise(path)
            roots.append(Node(path=str(path), id=None, state=summary.state, epoch=summary.epoch))
    missing: dict[str, Node] = {}
    for each in found:
        parent = each.info.parent
        if parent is None:
            roots.append(each.node)
            continue
        above = _above(parent, found)
        if above is None or _descends_from(above, each, found):
            _mark_changes(each, None)
            holder = missing.setdefault(parent.run, Node(path=parent.path, id=parent.run, state="missing"))
        else:
            _mark_changes(each, above.info)
            holder = above.node
        holder.children.append(each.node)
    for node in [*missing.values(), *(each.node for each in found)]:
        node.children.sort(key=lambda child: (-1 if child.parent is None else child.parent.epoch, child.path))
    return sorted([*roots, *missing.values()], key=lambda node: node.path)


def _found(path: Path) -> _Found:
    directory, summary = RunDirectory(path), summarise(path)
    info = directory.info()
    forks = [event for event in directory.events() if event.get("event") == "fork"]
    node = Node(
        path=str(path),
        id=info.id,
        state=summary.state,
        epoch=summary.epoch,
        seed=info.seed,
        parent=info.parent,
        marks=counts(directory),
    )
    return _Found(path, info, node, forks[-1] if forks else {})


def _above(parent: Parent, found: list[_Found]) -> _Found | None:
    """The parent; of several copies, the one that lies where it was."""
    same = [each for each in found if each.info.id == parent.run]
    there = [each for each in same if str(each.path.absolute()) == parent.path]
    return next(iter([*there, *same]), None)


def _descends_from(run: _Found, child: _Found, found: list[_Found]) -> bool:
    """Whether a parent descends from its own child, as no writer of ours lets it; or its parents from each other."""
    seen: set[int] = set()
    above: _Found | None = run
    while above is not None:
        if above is child or id(above) in seen:
            return True
        seen.add(id(above))
        parent = above.info.parent
        above = None if parent is None else _above(parent, found)
    return False


def _mark_changes(child: _Found, parent: RunInfo | None) -> None:
    """What is not as in its parent; where that is missing, what the fork itself noted."""
    node = child.node
    if parent is None:
        noted = child.fork.get("arguments")
        node.changed = {name: [None, value] for name, value in noted.items()} if isinstance(noted, dict) else {}
        node.reseeded = child.fork.get("reseeded") is True
        return
    ours, theirs = child.info.arguments, parent.arguments
    experiment, before = ((info.target or "").rpartition(":")[2] for info in (child.info, parent))
    compared = {**theirs, **ours}
    if experiment != before:
        node.experiment = experiment or None
        compared = {name: value for name, value in theirs.items() if name in ours}
    names = [name for name in compared if theirs.get(name) != ours.get(name)]
    node.changed = {name: [theirs.get(name), ours.get(name)] for name in names}
    node.reseeded = child.info.seed != parent.seed


def _drawn(node: Node, before: str = "", branch: str = "") -> Iterator[str]:
    """Lines of a tree, a run each."""
    yield f"{before}{branch}{_said(node)}"
    inside = before + {"": "", "├── ": "│   ", "└── ": "    "}[branch]
    for child in node.children:
        yield from _drawn(child, inside, "└── " if child is node.children[-1] else "├── ")


def _said(node: Node) -> str:
    if node.state == "missing":
        return f"{node.path} (missing: run {node.id})"
    facts = [str(node.state)]
    facts += [] if node.epoch is None else [f"epoch {node.epoch}"]
    facts += [] if node.seed is None else [f"seed {node.seed}{' (reseeded)' if node.reseeded else ''}"]
    facts += [] if node.experiment is None else [f"experiment {node.experiment}"]
    facts += [
        f"{name}={here!r}" if there is None else f"{name}={there!r} -> {here!r}"
        for name, (there, here) in node.changed.items()
    ]
    facts += [f"{plural}: {n}" for plural, n in node.marks.items() if n]
    begins = "" if node.parent is None else f"from epoch {node.parent.epoch}: "
    return f"{begins}{node.path}  {', '.join(facts)}"
