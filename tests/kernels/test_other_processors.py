"""The same bits on processors that this machine has not, by an emulator; and nothing beside the arrays is touched."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from garage.kernels import library
from kernels.vectors import TYPES, VECTORS, all_passes, case

HERE = Path(__file__).parent
OPTIONS = ("-O3", "-std=c17", "-g0", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
NATIVE = f"{os.uname().machine}-linux-gnu.2.17"
SIZES = (1, 3, 15, 16, 17, 33)

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="emulated are Linux's programs")]


def emulator(machine):
    path = shutil.which(f"qemu-{machine}")
    if path is None:
        pytest.skip(f"no qemu-{machine}, which Debian has in `qemu-user`")
    return path


def compiled(folder, target, processor):
    """A program that makes all passes of one network."""
    pytest.importorskip("ziglang")
    program = folder / "all_passes"
    sources = [HERE / "all_passes.c", *library.FOLDER.glob("*.c")]
    of_machine = ["-target", target, f"-mcpu={processor}", '-DSOURCES="none"']
    command = [sys.executable, "-m", "ziglang", "cc", *OPTIONS, *of_machine, "-o", str(program), *map(str, sources)]
    subprocess.run(command, check=True)
    return str(program)


def check(command, networks):
    for of_type, (sizes, n) in itertools.product(TYPES, networks):
        arrays = case(sizes, n, of_type)
        numbers = [np.array([len(sizes), *sizes, n]), *arrays]
        done = subprocess.run(
            [*command, *(["float64"] if of_type is np.float64 else [])],
            input=b"".join(array.tobytes() for array in numbers),
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"".join(found.tobytes() for found in all_passes(sizes, arrays).values()), (sizes, n)


@pytest.mark.parametrize("level", library.levels())
def test_nothing_beside_the_arrays_is_touched(tmp_path, level):
    processor = "generic" if level == "aarch64" else level
    networks = [(sizes, n) for sizes in itertools.product(SIZES[:-1], repeat=3) for n in (1, 63)]
    others = [((sizes[0], 33, *sizes[1:]), 65) for sizes in itertools.product((1, 17), (1, 33), (1, 5, 16))]
    linear = [((n_inputs, n_outputs), 66) for n_inputs, n_outputs in itertools.product(SIZES, repeat=2)]
    check([compiled(tmp_path, NATIVE, processor)], [*networks[::5], *others, *linear, *VECTORS])


def test_an_x86_without_fused_multiply_adds(tmp_path):
    emulated = emulator("x86_64")
    check([emulated, "-cpu", "Nehalem", compiled(tmp_path, "x86_64-linux-gnu.2.17", "x86_64_v2")], VECTORS[1:])


def test_arm(tmp_path):
    emulated = emulator("aarch64")
    check([emulated, compiled(tmp_path, "aarch64-linux-musl", "generic")], VECTORS)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="there is no Python for that processor here")
@pytest.mark.parametrize(
    ("processor", "level"), [("Nehalem", "x86_64_v2"), ("Haswell", "x86_64_v3"), ("EPYC", "x86_64_v3")]
)
def test_a_processor_takes_its_level(processor, level):
    command = [emulator("x86_64"), "-cpu", processor, sys.executable, "-c"]
    code = "from garage.kernels import library; print(library.level())"
    variables = {name: value for name, value in os.environ.items() if name != library.LEVEL}
    done = subprocess.run([*command, code], env=variables, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == level, done.stderr
