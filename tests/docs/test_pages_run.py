"""What the pages show does run: each block as a process of its own, page by page in a fresh directory."""

import os
import subprocess

import pytest

from docs.pages import ROOT, blocks, markdown_files

PAGES = [str(page.relative_to(ROOT)) for page in markdown_files() if blocks(page)]


def test_there_are_pages_to_run():
    assert {"README.md", "docs/frameworks.md", "docs/quickstart.md", "docs/saving-and-resuming.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_run_in_order(page, tmp_path):
    found = blocks(ROOT / page)
    assert any(block.file_name for block in found)
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    for block in found:
        if block.file_name is not None:
            (tmp_path / block.file_name).write_text(block.text, encoding="utf-8")
        done = subprocess.run(
            block.command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        said = f"{page}, line {block.line}: {block.command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0, said
