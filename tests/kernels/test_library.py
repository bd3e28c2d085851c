"""Which compiled library is taken, and what is said if none can be."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from garage.errors import ArgumentError, NotCompiledError
from garage.kernels import library

pytestmark = pytest.mark.usefixtures("anew")

STEP = re.escape("Run `pip install --editable .` in garage's checkout")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A copy of the folder with the sources and the libraries, which is used instead."""
    copied = tmp_path / "kernels"
    shutil.copytree(library.FOLDER, copied)
    monkeypatch.setattr(library, "FOLDER", copied)
    monkeypatch.delenv(library.LEVEL, raising=False)
    return copied


def test_the_best_level_is_taken(elsewhere):
    assert library.level() == library.levels()[-1]
    assert isinstance(library.held(), ctypes.PyDLL)
    assert not isinstance(library.freeing(), ctypes.PyDLL)


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="the system does not list what its processor can do")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="elsewhere there is one level")
def test_levels_are_those_that_the_system_lists_too():
    flags = set(re.search(r"^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split())
    of_v3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
    of_v4 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    expected = ["x86_64_v2"]
    if of_v3 <= flags:
        expected.append("x86_64_v3")
        if of_v4 <= flags:
            expected.append("x86_64_v4")
    assert list(library.levels()) == expected


@pytest.mark.parametrize("name", library.levels())
def test_the_environment_chooses(elsewhere, monkeypatch, name):
    monkeypatch.setenv(library.LEVEL, name)
    assert library.level() == name
    library.held()
    mapped = Path("/proc/self/maps")
    if mapped.is_file():
        assert str(elsewhere / f"{name}.so") in mapped.read_text()


def test_no_choice_is_the_best_one(elsewhere, monkeypatch):
    monkeypatch.setenv(library.LEVEL, "")
    assert library.level() == library.levels()[-1]


def test_a_level_that_is_not_there(elsewhere, monkeypatch):
    monkeypatch.setenv(library.LEVEL, "x86_64_v9")
    expected = f"GARAGE_KERNELS must be one of {', '.join(library.levels())} on this processor, got 'x86_64_v9'."
    with pytest.raises(ArgumentError, match=re.escape(expected)):
        library.level()


def test_a_level_of_another_processor_is_not_tried(elsewhere, monkeypatch):
    """A checkout may be shared by machines of several kinds."""
    expected = library.levels()
    (elsewhere / f"{'aarch64' if 'x86_64_v2' in expected else 'x86_64_v2'}.so").write_bytes(b"of another processor")
    assert library.levels() == expected
    monkeypatch.setattr(library.platform, "machine", lambda: "riscv64")
    with pytest.raises(NotCompiledError, match=rf"no compiled part of garage for riscv64 in .*kernels\. {STEP}"):
        library.level()


def test_no_library(elsewhere):
    for path in elsewhere.glob("*.so"):
        path.unlink()
    assert library.levels() == ()
    for call in (library.level, library.held, library.freeing):
        with pytest.raises(
            NotCompiledError, match=rf"There is no compiled part of garage for .* in .*kernels\. {STEP}"
        ):
            call()


def test_a_library_that_is_cut_short(elsewhere):
    for path in elsewhere.glob("*.so"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(NotCompiledError, match=rf"Cannot load .*\.so, a compiled part of garage: .* {STEP}"):
        library.level()


@pytest.mark.parametrize("name", ["mlp.c", "mlp_of_type.h", "one_more.c"])
def test_a_library_of_other_sources(elsewhere, name):
    with (elsewhere / name).open("a") as file:
        file.write("/* pulled, and not compiled */\n")
    expected = r"\.so was compiled from other sources than those beside it: it says \w{32}, they are \w{32}\. Compile"
    with pytest.raises(NotCompiledError, match=expected):
        library.held()


def test_a_process_that_needs_it_says_so(elsewhere):
    """With no library there is no network, and nothing is computed in another way."""
    package = elsewhere.parent / "src" / "garage"
    shutil.copytree(Path(library.__file__).parents[1], package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    code = "import numpy as np\nfrom garage.kernels.mlp import Forward\nForward((1, 1), np.zeros(2))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "garage.errors.NotCompiledError: There is no compiled part of garage" in done.stderr
