"""The project's pages, and the blocks in them that can be run."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE_NAME = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A part of a page that is run in a process of its own: Python, or a command of garage.

    Attributes:
        line: of the page.
        file_name: what a Python block is written to before it is run, or None.
        text: of a Python block.
        words: of a command, after ``garage``.
    """

    line: int
    file_name: str | None
    text: str
    words: list[str]


def markdown_files():
    """All of the project's Markdown files."""
    docs = ROOT / "docs"
    folders = (ROOT, docs, docs / "algorithms", docs / "design", docs / "reference", ROOT / "examples")
    return sorted(path for folder in folders for path in folder.glob("*.md"))


def blocks(page):
    """Python blocks, and the ``$ garage`` lines of console blocks, in the order of the page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        language, body = fence.groups()
        line = text.count("\n", 0, fence.start()) + 1
        if language == "python":
            named = _FILE_NAME.match(body)
            name = named.group(1) if named else f"line_{line}.py"
            found.append(Block(line, name, body, []))
        elif language == "console":
            found += [
                Block(line, None, "", shlex.split(row)[2:]) for row in body.splitlines() if row.startswith("$ garage ")
            ]
    return found
