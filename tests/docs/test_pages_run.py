"""What the pages show does run: each block in a process of its own, page by page in a fresh directory.

Python blocks are started, commands forked from a process that has imported what commands load.
"""

import os
import subprocess
import sys

import pytest

from cli.conftest import Commands
from docs.pages import ROOT, blocks, markdown_files

PAGES = [str(page.relative_to(ROOT)) for page in markdown_files() if blocks(page)]


def test_there_are_pages_to_run():
    assert {"README.md", "docs/frameworks.md", "docs/quickstart.md", "docs/saving-and-resuming.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_run_in_order(page, tmp_path):
    found = blocks(ROOT / page)
    assert any(block.file_name for block in found)
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    garage = Commands(tmp_path)
    for block in found:
        if block.file_name is None:
            garage(*block.words)
            continue
        (tmp_path / block.file_name).write_text(block.text, encoding="utf-8")
        command = [sys.executable, block.file_name]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        said = f"{page}, line {block.line}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0, said
