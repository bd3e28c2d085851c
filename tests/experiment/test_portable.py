"""What portable mode pins, and that a process in it is like the one that it replaced."""

import json
import os
import platform
import signal
import subprocess
import sys

import numpy as np
import pytest

from garage.errors import MismatchError
from garage.experiment import portable
from garage.experiment.fingerprint import differences

FOUND = np.show_config("dicts").get("SIMD Extensions", {}).get("found", [])
HERE = platform.machine() == "x86_64" and not {"X86_V3", "AVX2"}.isdisjoint(FOUND)
needs_v3 = pytest.mark.skipif(not HERE, reason="this machine is none of x86-64-v3")

ENTER = "from garage.experiment import portable; portable.enter()\n"

REPORT = """
import json, os, sys
import numpy, threadpoolctl
print(json.dumps({
    "pid": os.getpid(),
    "arguments": sys.argv[1:],
    "flags": [sys.flags.utf8_mode, sys.warnoptions],
    "folder": os.getcwd(),
    "input": sys.stdin.read(),
    "features": numpy.show_config("dicts")["SIMD Extensions"]["found"],
    "cores": [library["architecture"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"],
    "threads": [library["num_threads"] for library in threadpoolctl.threadpool_info()],
    "active": portable.active(),
    "environment": dict(os.environ),
}))
"""


def start(script, *words, flags=(), **variables):
    """A process of a script's text, with some variables set."""
    clean = {name: value for name, value in os.environ.items() if name not in portable.settings()}
    return subprocess.Popen(
        [sys.executable, *flags, "-c", script, *words],
        env=clean | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report(*words, flags=(), text="", **variables):
    """What a process says of itself that has entered portable mode, and its id."""
    process = start(ENTER + REPORT, *words, flags=flags, **variables)
    printed, errors = process.communicate(text)
    assert process.returncode == 0, errors
    return json.loads(printed), process.pid


@needs_v3
def test_numpy_and_blas_use_the_kernels_for_x86_64_v3_alone():
    found, _ = report()
    assert found["active"]
    assert found["cores"] == ["Haswell"]
    assert set(found["threads"]) == {1}
    assert not [name for name in found["features"] if name.startswith(("AVX512", "X86_V4"))]
    assert {"X86_V3", "AVX2"} & set(found["features"])
    assert found["environment"].items() >= portable.settings().items()


@needs_v3
def test_pytorch_uses_the_kernels_for_avx2_and_threads_can_still_be_chosen():
    pytest.importorskip("torch")
    script = """
import torch, threadpoolctl
assert torch.get_num_threads() == 1
torch.set_num_threads(2)
with threadpoolctl.threadpool_limits(2):
    threads = {library["num_threads"] for library in threadpoolctl.threadpool_info()}
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), threads)
"""
    process = start(ENTER + script)
    printed, errors = process.communicate()
    assert printed.strip() == "AVX2 2 {2}", errors


@needs_v3
def test_the_process_keeps_its_id_arguments_input_and_flags():
    words = ["a b", "--portable", "", "é"]
    found, pid = report(*words, flags=("-X", "utf8", "-W", "error"), text="one\ntwo\n")
    assert (found["pid"], found["arguments"], found["input"]) == (pid, words, "one\ntwo\n")
    assert found["flags"] == [1, ["error"]]
    assert found["folder"] == os.getcwd()  # noqa: PTH109 - what the child prints


@needs_v3
def test_what_would_overrule_the_settings_is_taken_away_and_the_rest_is_left():
    found, _ = report(
        OPENBLAS_CORETYPE="SkylakeX",
        DNNL_MAX_CPU_ISA="ALL",
        MKL_ENABLE_INSTRUCTIONS="AVX512",
        GLIBC_TUNABLES="glibc.malloc.check=0:glibc.cpu.hwcaps=-AVX2",
        ANOTHER="kept",
    )
    environment = found["environment"]
    assert environment["OPENBLAS_CORETYPE"] == "Haswell"
    assert environment.keys().isdisjoint({"DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"})
    assert (environment["GLIBC_TUNABLES"], environment["ANOTHER"]) == ("glibc.malloc.check=0", "kept")


@needs_v3
def test_it_is_entered_once_and_children_inherit_it():
    script = f"""
print("started", flush=True)
{ENTER}
import subprocess, sys
child = "print('child'); from garage.experiment import portable; portable.enter(); print(portable.active())"
subprocess.run([sys.executable, "-c", child], check=True)
"""
    printed, errors = start(script).communicate()
    assert printed.split() == ["started", "started", "child", "True"], errors  # the first one before, the second after


@needs_v3
def test_what_changes_the_settings_whenever_python_starts_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os; os.environ['OMP_NUM_THREADS'] = '2'")
    process = start(ENTER, PYTHONPATH=str(tmp_path))
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "something sets OMP_NUM_THREADS whenever Python starts; look for a sitecustomize.py" in errors


@needs_v3
def test_exit_codes_and_signals_are_those_of_the_process_that_was_started():
    process = start(ENTER + "import sys; sys.exit(7)")
    process.communicate()
    assert process.returncode == 7
    script = """
import signal
try:
    print("ready", flush=True)
    signal.pause()
except KeyboardInterrupt:
    print("caught", flush=True)
    signal.pause()
"""
    process = start(ENTER + script)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "caught\n"
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM


@needs_v3
@pytest.mark.skipif("X86_V3" not in FOUND, reason="this NumPy has other names for features")
def test_what_hides_a_feature_of_v3_is_named():
    process = start(ENTER, NPY_DISABLE_CPU_FEATURES="X86_V3")
    _, errors = process.communicate()
    assert "NumPy finds no X86_V3; NPY_DISABLE_CPU_FEATURES=X86_V3 may hide it" in errors


def machine_of(monkeypatch, baseline, found, missing, machine="x86_64"):
    """Let NumPy and the system describe another machine."""
    simd = {"baseline": baseline, "found": found, "not found": missing}
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": simd})
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (([], [], [], "aarch64"), "it is for x86-64-v3 machines, and this one is aarch64"),
        ((["X86_V2"], [], ["X86_V3", "X86_V4"]), "none of x86-64-v3: NumPy finds no X86_V3"),
        ((["SSE2"], ["AVX", "F16C"], ["FMA3", "AVX2"]), "none of x86-64-v3: NumPy finds no AVX2 FMA3"),
        ((["X86_V2", "X86_V3", "X86_V4"], [], []), "built for newer CPUs only: it needs X86_V4"),
    ],
)
def test_machines_that_it_is_not_for(monkeypatch, machine, reason):
    machine_of(monkeypatch, *machine)
    monkeypatch.delenv("NPY_DISABLE_CPU_FEATURES", raising=False)
    with pytest.raises(MismatchError, match=reason):
        portable.enter()
    assert not portable.active()


@pytest.mark.parametrize(
    ("machine", "disabled"),
    [
        ((["X86_V2"], ["X86_V3"], ["X86_V4", "AVX512_ICL"]), "AVX512_ICL,X86_V4"),
        ((["SSE", "SSE2"], ["AVX", "F16C", "FMA3", "AVX2", "AVX512F"], ["FMA4"]), "AVX512F,FMA4"),
        ((["X86_V2", "X86_V3"], [], []), None),
    ],
)
def test_names_of_features_are_this_numpys(monkeypatch, machine, disabled):
    machine_of(monkeypatch, *machine)
    assert portable.settings().get("NPY_DISABLE_CPU_FEATURES") == disabled


def test_differences_from_a_portable_run():
    plain, other = {"cpu": "one", "numpy": "2"}, {"cpu": "another", "numpy": "2"}
    pinned = {"portable": True, "pinned": {"MKL_CBWR": "COMPATIBLE"}}
    assert differences(plain | pinned, other | pinned) == []
    assert differences(plain | pinned, plain | pinned | {"pinned": {"MKL_CBWR": "AVX2"}}) == [
        "pinned.MKL_CBWR: COMPATIBLE when saved, AVX2 now"
    ]
    assert differences(plain | pinned, other) == [
        "portable mode: on when saved, off now",
        "cpu: one when saved, another now",
    ]
    assert differences(plain, plain | pinned) == ["portable mode: off when saved, on now"]
    assert differences(plain, other) == ["cpu: one when saved, another now"]
