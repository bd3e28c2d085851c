"""What building garage makes: libraries in the wheel, sources alone in the sdist, errors that say what is missing."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from garage.kernels import library

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
LIBRARIES = {
    "x86_64": {"x86_64_v2.so", "x86_64_v3.so", "x86_64_v4.so"},
    "aarch64": {"aarch64.so"},
}
SOURCES = {path.name for path in library.FOLDER.iterdir() if path.suffix in {".c", ".h", ".py"}}
HERE = all(importlib.util.find_spec(name) for name in ("hatchling", "ziglang"))
"""Whether what builds is installed; else pip fetches it."""

BUILT_HERE = pytest.mark.skipif(not HERE, reason="needs hatchling and ziglang")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What is in the repository, with no library in it, and read-only."""
    copied = tmp_path_factory.mktemp("checkout") / "garage"
    copied.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copied)
    shutil.copytree(ROOT / "src", copied / "src", ignore=shutil.ignore_patterns("*.so", "*.part", "__pycache__"))
    return copied


def environment(folder, **more):
    """Of a user who has no home, so nothing is cached and nothing is configured."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "PATH", "SSL_", "UV_"))}
    return {**kept, "HOME": str(folder / "nowhere"), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}


def pip(folder, *arguments, **more):
    isolated = ["--no-build-isolation"] if HERE else []
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-deps", "--no-cache-dir", *isolated]
    done = subprocess.run(command, env=environment(folder, **more), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def in_package(wheel):
    return {
        name.removeprefix("garage/kernels/") for name in zipfile.ZipFile(wheel).namelist() if "garage/kernels/" in name
    }


@pytest.mark.long
def test_a_wheel_has_libraries_and_sources_and_the_checkout_is_as_before(checkout, tmp_path):
    for folder in (checkout, *(path for path in checkout.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    code, said = pip(tmp_path, "wheel", "--wheel-dir", str(tmp_path), str(checkout))
    for folder in (checkout, *(path for path in checkout.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    assert code == 0, said
    (wheel,) = tmp_path.glob("*.whl")
    system = {"Linux": "manylinux_2_17", "Darwin": "macosx_11_0"}[platform.system()]
    assert wheel.name.endswith(f"-py3-none-{system}_{platform.machine()}.whl")
    assert in_package(wheel) == LIBRARIES[MACHINE] | SOURCES
    assert not list((checkout / "src").rglob("*.so"))


@pytest.mark.long
@BUILT_HERE
def test_an_installation_from_an_sdist_computes(checkout, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {Path(name).name for name in archive.getnames() if "/garage/kernels/" in name}
    assert names == SOURCES
    code, said = pip(tmp_path, "install", "--target", str(tmp_path / "there"), str(sdist))
    assert code == 0, said
    compute = (
        "import numpy as np\nfrom garage.kernels import library\nfrom garage.kernels.mlp import Forward\n"
        "print(library.FOLDER, Forward((1, 1), np.ones(2))(np.ones((1, 1)))[0, 0])"
    )
    there = {**os.environ, "PYTHONPATH": str(tmp_path / "there")}
    done = subprocess.run([sys.executable, "-c", compute], env=there, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/there/garage/kernels 2.0\n"


@pytest.mark.long
@BUILT_HERE
def test_an_editable_installation_has_libraries_beside_its_sources(checkout, tmp_path):
    kernels = checkout / "src" / "garage" / "kernels"
    code = f"import hatchling.build; hatchling.build.build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True)
    made = {path.name for path in kernels.iterdir()} - SOURCES
    for name in made:
        (kernels / name).unlink()
    assert made == LIBRARIES[MACHINE]
    (wheel,) = tmp_path.glob("*.whl")
    assert in_package(wheel) == set()


def compile_in(checkout, folder, *options, **more):
    return subprocess.Popen(
        [sys.executable, *options, str(checkout / "hatch_build.py")],
        env=environment(folder, **more),
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long
@BUILT_HERE
def test_two_compile_at_once_in_one_checkout_and_bytes_are_the_same(checkout, tmp_path):
    kernels = checkout / "src" / "garage" / "kernels"
    first, second = (compile_in(checkout, tmp_path) for _ in range(2))
    for each in (first, second):
        _, said = each.communicate()
        assert each.returncode == 0, said
    made = {path.name: path.read_bytes() for path in kernels.iterdir() if path.suffix not in {".c", ".h", ".py"}}
    assert set(made) == LIBRARIES[MACHINE]
    again = compile_in(checkout, tmp_path)
    assert again.communicate()[1] == ""
    assert {name: (kernels / name).read_bytes() for name in made} == made
    for name in made:
        (kernels / name).unlink()


@pytest.mark.long
@BUILT_HERE
def test_sources_that_cannot_be_compiled_leave_everything_as_it_was(checkout, tmp_path):
    kernels = checkout / "src" / "garage" / "kernels"
    wrong = kernels / "wrong.c"
    wrong.write_text("int missing(void) { return nothing; }\n")
    made = compile_in(checkout, tmp_path)
    _, said = made.communicate()
    wrong.unlink()
    assert made.returncode == 1
    assert "Cannot compile garage's kernels: `" in said
    assert "undeclared identifier 'nothing'" in said
    assert {path.name for path in kernels.iterdir()} == SOURCES


def imported():
    """hatch_build.py, as a module."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_compiler(tmp_path, monkeypatch):
    hatch_build = imported()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"has no `ziglang`\. Run `pip install ziglang` first"):
        hatch_build.compile_kernels(tmp_path)


def test_a_machine_that_garage_is_not_made_for(tmp_path):
    expected = r"for Plan9 on m68k: expected one of \['Darwin', 'Linux'\] on one of \['aarch64', 'x86_64'\]"
    with pytest.raises(RuntimeError, match=expected):
        imported().compile_kernels(tmp_path, "m68k", "Plan9")


@pytest.mark.long
@BUILT_HERE
@pytest.mark.parametrize(("machine", "system"), [("arm64", "Darwin"), ("x86_64", "Darwin"), ("aarch64", "Linux")])
def test_other_machines_can_be_compiled_for(tmp_path, machine, system):
    made = imported().compile_kernels(tmp_path, machine, system)
    assert {path.name for path in made} == LIBRARIES[{"arm64": "aarch64"}.get(machine, machine)]
    magic = {"Darwin": b"\xcf\xfa\xed\xfe", "Linux": b"\x7fELF"}[system]
    assert all(path.read_bytes().startswith(magic) for path in made)
