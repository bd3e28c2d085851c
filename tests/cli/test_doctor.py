"""What the doctor sees: of this machine, and of others as their files tell."""

import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from garage.cli import doctor_disk, doctor_machine, doctor_packages, main
from garage.cli.finding import Verdict
from garage.kernels import library


def by_name(findings):
    return {finding.about: finding for finding in findings}


def problems(findings):
    return [finding for finding in findings if finding.verdict is Verdict.PROBLEM]


def installed(folder, name, version, requires=()):
    """A distribution's metadata, as pip writes them."""
    made = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    made.mkdir()
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requires)]
    (made / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """An environment with nothing in it but what a test installs."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    installed(tmp_path, "garage", "0.1.0", ["numpy>=2.1", "gymnasium>=1.1", 'torch>=2.9; extra == "torch"'])
    installed(tmp_path, "numpy", "2.4.6")
    installed(tmp_path, "gymnasium", "1.4.0")
    return lambda name, version, requires=(): installed(tmp_path, name, version, requires)


def test_nothing_is_wrong_with_the_light_base(packages):
    found = list(doctor_packages.packages())
    assert problems(found) == []
    missing = by_name(found)["matplotlib"]
    assert (missing.verdict, missing.next_step) == (Verdict.NOTE, "pip install 'garage[plot]'")


@pytest.mark.parametrize(
    ("both", "step"),
    [
        (("tensorflow", "tensorflow-cpu"), "pip uninstall --yes tensorflow tensorflow-cpu, then install one of them"),
        (("opencv-python", "opencv_python_headless"), "pip uninstall --yes opencv-python opencv-python-headless"),
    ],
)
def test_two_packages_with_the_same_files(packages, both, step):
    for name in both:
        packages(name, "2.21.0")
    (found,) = problems(doctor_packages.packages())
    assert found.found.endswith("overwrite each other's files")
    assert found.next_step.startswith(step)


def test_a_pin_that_is_not_kept(packages):
    packages("metaworld", "3.1", ["gymnasium (==1.2.2)", "numpy>=1"])
    (found,) = problems(doctor_packages.packages())
    assert found.found == "metaworld 3.1 wants gymnasium 1.2.2, installed is 1.4.0"


def test_a_pin_of_an_extra_is_a_note(packages):
    packages(
        "ray", "2.60.0", ['gymnasium==1.2.2; extra == "rllib"', 'gymnasium==1.2.2; extra == "all"', "numpy==2.4.6"]
    )
    found = list(doctor_packages.packages())
    assert problems(found) == []
    notes = [each.found for each in found if each.verdict is Verdict.NOTE and each.about == "gymnasium"]
    assert notes == ["ray 2.60.0 with the extra all or rllib wants 1.2.2, installed is 1.4.0"]


def test_what_garage_needs_is_too_old_or_missing(packages, tmp_path):
    next(tmp_path.glob("numpy-*/METADATA")).write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n")
    next(tmp_path.glob("gymnasium-*/METADATA")).write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    found = [each.found for each in problems(doctor_packages.packages())]
    assert found == ["1.26.4; garage needs 2.1 or newer", "not installed; garage needs 1.1 or newer"]


@pytest.fixture
def undrawn(monkeypatch):
    """Without letting MuJoCo draw, which takes seconds."""
    monkeypatch.setattr(doctor_machine, "_graphics", lambda: iter(()))


def test_this_environment(undrawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = json.loads(CliRunner().invoke(main.garage, ["doctor", "--json"]).stdout)
    versions = {each["about"]: each["found"] for each in found}
    assert versions["numpy"] == metadata.version("numpy")
    assert versions["locks"] == "one holder at a time"
    assert "hard links" in versions["links"]
    assert {each["verdict"] for each in found} <= {"fine", "note"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_the_command_lets_mujoco_draw(garage):
    pytest.importorskip("mujoco")
    assert "MuJoCo draws with MUJOCO_GL=" in garage("doctor").stdout


def test_in_words_with_the_next_step_and_an_exit_code(undrawn, monkeypatch):
    monkeypatch.setenv("GARAGE_SIGNING_KEY", "nonsense")
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    done = CliRunner().invoke(main.garage, ["doctor"])
    assert done.exit_code == 10
    assert re.search(r"PROBLEM +threads +OMP_NUM_THREADS=many: no number\n +-> unset OMP_NUM_THREADS\n", done.stdout)
    assert re.search(r"PROBLEM +signing key +GARAGE_SIGNING_KEY is set to 8 characters", done.stdout)
    assert done.stdout.endswith("\nProblems: 2.\n")


def test_a_key_that_others_may_read(undrawn, tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_text("ab" * 32)
    path.chmod(0o644)
    monkeypatch.setenv("GARAGE_SIGNING_KEY", str(path))
    found = by_name(doctor_machine.machine())["signing key"]
    assert found.verdict is Verdict.PROBLEM
    assert "open to other users (its mode is 644)" in found.found
    path.chmod(0o600)
    assert by_name(doctor_machine.machine())["signing key"].verdict is Verdict.FINE


@pytest.fixture
def kernels(undrawn):
    """What the doctor says of the compiled part, looked for anew each time."""

    def found():
        library.level.cache_clear()
        return by_name(doctor_machine.machine())["kernels"]

    yield found
    library.level.cache_clear()


def test_the_level_of_the_compiled_part(kernels, monkeypatch):
    *others, best = library.levels()
    monkeypatch.delenv(library.LEVEL, raising=False)
    assert kernels().found.startswith(f"compiled for {best}")
    assert kernels().verdict is (Verdict.NOTE if best == "x86_64_v2" else Verdict.FINE)
    for level in others:
        monkeypatch.setenv(library.LEVEL, level)
        assert kernels().verdict is Verdict.NOTE
        assert kernels().found == f"{level}, as GARAGE_KERNELS says; this processor can run {best}"
    monkeypatch.setenv(library.LEVEL, "fastest")
    assert kernels().verdict is Verdict.PROBLEM
    assert kernels().next_step == "unset GARAGE_KERNELS"


def test_a_processor_without_fused_multiply_adds(kernels, monkeypatch):
    monkeypatch.setattr(library, "levels", lambda: ("x86_64_v2",))
    monkeypatch.setattr(library, "_check_sources", lambda level: None)
    assert kernels().verdict is Verdict.NOTE
    assert "a hundred times as long" in kernels().found


def test_no_compiled_part(kernels, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    assert kernels().verdict is Verdict.PROBLEM
    assert kernels().found.startswith("There is no compiled part of garage for ")
    assert kernels().next_step == "see docs/faq.md"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"cpu.max": "150000 100000\n"}, "and of these 1.5 at a time: the cgroup allows no more"),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "and of these 0.5 at a time"),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
    ],
)
def test_what_a_container_may_use(undrawn, tmp_path, monkeypatch, files, found):
    monkeypatch.setattr(doctor_machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "memory.max").write_text(f"{3 << 29}\n")
    seen = by_name(doctor_machine.machine())
    assert (seen["processors"].verdict is Verdict.NOTE) == (found is not None)
    assert found is None or found in seen["processors"].found
    assert seen["memory"].found.startswith("1.5 GiB: the cgroup allows no more of ")


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /home rw - nfs4 server:/home rw
31 22 0:27 / /my\\040data rw - lustre mds rw
32 30 0:28 / /home/me/fast rw - xfs /dev/sdb rw
33 22 0:29 / /tmp rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/data/x", "ext4"),
        ("/home/me/runs", "nfs4"),
        ("/home/me/fast/runs", "xfs"),
        ("/my data/a", "lustre"),
        ("/homes", "ext4"),
    ],
)
def test_what_a_folder_lies_on(place, kind):
    assert doctor_disk.mounted_as(Path(place), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "verdict", "words"),
    [
        ("ext4", "fine", "lies on ext4"),
        ("nfs4", "note", "over the network"),
        ("tmpfs", "note", "runs are gone after a restart"),
        ("overlay", "note", "runs are gone with the container"),
        ("fuse.s3fs", "problem", "an object store"),
    ],
)
def test_kinds_of_file_systems(tmp_path, monkeypatch, kind, verdict, words):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 8:1 / / rw - {kind} source rw\n")
    monkeypatch.setattr(doctor_disk, "_MOUNTS", mounts)
    found = by_name(doctor_disk.disk(tmp_path / "data" / "local"))["file system"]
    assert found.verdict == verdict
    assert words in found.found
    monkeypatch.setattr(doctor_disk, "_MOUNTS", tmp_path / "nothing")
    assert "does not say" in by_name(doctor_disk.disk(tmp_path))["file system"].found


def test_little_room(tmp_path, monkeypatch):
    for limit, verdict in (("_LITTLE", Verdict.NOTE), ("_TOO_LITTLE", Verdict.PROBLEM)):
        monkeypatch.setattr(doctor_disk, limit, 1 << 62)
        found = by_name(doctor_disk.disk(tmp_path))["room"]
        assert found.verdict is verdict
        assert "garage prune" in found.next_step


def test_a_clock_that_differs(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_disk, "_CLOCK_SECONDS", -1.0)
    assert "seconds" not in by_name(doctor_disk.disk(tmp_path))["clock"].found
    assert by_name(doctor_disk.disk(tmp_path))["clock"].verdict is Verdict.PROBLEM


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert "forks copy what they share" in by_name(doctor_disk.disk(tmp_path))["links"].found


def test_a_folder_that_nobody_may_write_to(tmp_path):
    place = Path("/proc") if os.geteuid() == 0 else tmp_path
    if place == tmp_path:
        tmp_path.chmod(0o500)
    found = by_name(doctor_disk.disk(place / "data"))["disk"]
    assert found.verdict is Verdict.PROBLEM
    assert f"nothing can be written to {place}" in found.found


def test_a_repository_that_git_cannot_read(undrawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert by_name(doctor_machine.machine())["git"].verdict is Verdict.NOTE
    (tmp_path / ".git").mkdir()
    assert by_name(doctor_machine.machine())["git"].verdict is Verdict.PROBLEM
    monkeypatch.setenv("PATH", "")
    assert by_name(doctor_machine.machine())["git"].next_step == "install git"


def test_a_backend_that_cannot_draw(monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    found = by_name(doctor_machine.machine())["graphics"]
    assert found.verdict is Verdict.PROBLEM
    assert "nonsense: " in found.found
