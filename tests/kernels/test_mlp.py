"""The compiled passes of an MLP: every bit as the format says, on every level of the processor."""

import functools
import math
import pickle
import re
import sys
import threading

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from garage.errors import ArgumentError, MismatchError, OrderError
from garage.kernels import library
from garage.kernels.mlp import Forward, Passes
from kernels import one_by_one
from kernels.vectors import DIGESTS, TYPES, all_passes, case, digest

SMALL = [(3, 2), (1, 1, 1), (4, 3, 2), (2, 5, 4, 3), (2, 19, 3, 1)]
"""No hidden layer, one, two; one output, two, three; a row's sum with more numbers than parts."""

pytestmark = pytest.mark.usefixtures("level")


@functools.cache
def defined(sizes, n, of_type):
    """What `all_passes` must find."""
    theta, direction, inputs, by_outputs, by_number = case(sizes, n, of_type)
    rows = [one_by_one.forward(sizes, theta, row) for row in inputs]
    return {
        "forward": np.array([row[-1] for row in rows]).T,
        "along": np.array([one_by_one.along(sizes, theta, direction, row) for row in rows]).T,
        "back": one_by_one.back(sizes, theta, rows, by_outputs),
        "number_back": one_by_one.number_back(sizes, theta, rows, by_number),
        "number_product": one_by_one.number_product(sizes, theta, direction, rows, by_number),
    }


def assert_same_bits(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes(), np.argwhere(found != expected)


@pytest.mark.parametrize("of_type", TYPES)
@pytest.mark.parametrize("sizes", SMALL)
def test_every_bit_is_as_defined(sizes, of_type):
    for name, found in all_passes(sizes, case(sizes, 7, of_type)).items():
        assert_same_bits(found, defined(sizes, 7, of_type)[name])


@pytest.mark.parametrize("of_type", TYPES)
def test_sums_over_rows_begin_anew_after_1024(of_type):
    sizes, n = (1, 1, 1), 1030
    for name, found in all_passes(sizes, case(sizes, n, of_type)).items():
        assert_same_bits(found, defined(sizes, n, of_type)[name])


FINITE = {
    of_type: st.floats(allow_nan=False, allow_infinity=False, width=np.dtype(of_type).itemsize * 8) for of_type in TYPES
}


@pytest.mark.parametrize("of_type", TYPES)
@given(st.data())
def test_a_multiply_add_is_rounded_once(of_type, data):
    a, b, c = (of_type(data.draw(FINITE[of_type])) for _ in range(3))
    found = Forward((1, 1), np.array([b, c]))(np.array([[a]]))[0, 0]
    with np.errstate(all="ignore"):
        expected = one_by_one.fma(a, b, c)
    assert_same_bits(found, expected)


HARD = {
    np.float32: [
        ("0x1.000002p0", "0x1.000002p0", "-0x1.000004p0"),  # what is left is below the product's last place
        ("0x1p-75", "0x1p-75", "0x1p-149"),  # a half of the smallest number, and a little less
        ("0x1.fffffep-75", "0x1p-75", "0x1p-149"),
        ("0x1.8p0", "0x1.000002p-24", "0x1p0"),  # a double on the way would round twice
        ("0x1.000002p0", "0x1.000002p-54", "0x1.000002p0"),
        ("0x1.fffffep127", "0x1.fffffep0", "-0x1.fffffep127"),
        ("-0x0p0", "0x1p0", "-0x0p0"),
        ("0x1p-100", "0x1p-100", "-0x0p0"),
    ],
    np.float64: [
        ("0x1.0000000000001p0", "0x1.0000000000001p0", "-0x1.0000000000002p0"),
        ("0x1p-538", "0x1p-537", "0x1p-1074"),
        ("0x1.fffffffffffffp-538", "0x1p-537", "0x1p-1074"),
        ("0x1.fffffffffffffp1023", "0x1.fffffffffffffp0", "-0x1.fffffffffffffp1023"),
        ("0x1.8p0", "0x1.0000000000001p-53", "0x1p0"),
        ("-0x0p0", "0x1p0", "-0x0p0"),
        ("0x1p-1000", "0x1p-1000", "-0x0p0"),
    ],
}


@pytest.mark.parametrize("of_type", TYPES)
def test_a_multiply_add_is_rounded_once_where_that_is_hard(of_type):
    for numbers in HARD[of_type]:
        a, b, c = (of_type(float.fromhex(number)) for number in numbers)
        with np.errstate(all="ignore"):
            expected = one_by_one.fma(a, b, c)
        assert_same_bits(Forward((1, 1), np.array([b, c]))(np.array([[a]]))[0, 0], expected)


@pytest.mark.parametrize("of_type", TYPES)
def test_bits_are_those_of_other_machines(of_type):
    assert digest(of_type) == DIGESTS[of_type]


@st.composite
def cases(draw_):
    sizes = tuple(draw_(st.lists(st.integers(1, 40), min_size=2, max_size=4)))
    of_type = draw_(st.sampled_from(TYPES))
    n = draw_(st.integers(0, 150))
    return sizes, of_type, case(sizes, n, of_type, draw_(st.integers(0, 9)))


def by_numpy(sizes, arrays):
    """The same passes, by matrix products in float64."""
    theta, direction, inputs, by_outputs, by_number = arrays
    here, moved = (list(one_by_one.layers(sizes, each.astype(np.float64))) for each in (theta, direction))
    values, changes = [inputs.astype(np.float64)], [np.zeros(inputs.shape)]
    for index, ((weights, biases), (d_weights, d_biases)) in enumerate(zip(here, moved, strict=True)):
        sums = values[-1] @ weights + biases
        change = values[-1] @ d_weights + d_biases + changes[-1] @ weights
        is_last = index == len(here) - 1
        values.append(sums if is_last else np.tanh(sums))
        changes.append(change if is_last else change * (1 - values[-1] ** 2))

    def back(by):
        gradient = np.zeros(len(theta))
        for index, layer in reversed(list(enumerate(one_by_one.layers(sizes, gradient)))):
            layer[0][...], layer[1][...] = values[index].T @ by, by.sum(0)
            by = by @ here[index][0].T * (1 - values[index] ** 2)
        return gradient

    of_outputs = np.zeros(sizes[-1])
    of_outputs[0] -= sizes[-1] > 1
    of_outputs[-1] += 1
    return {
        "forward": values[-1].T,
        "along": changes[-1].T,
        "back": back(by_outputs.T.astype(np.float64)),
        "number_back": back(np.outer(by_number, of_outputs)),
        "number_product": back(np.outer(by_number * (changes[-1] @ of_outputs), of_outputs)),
    }


@given(cases())
def test_passes_are_an_mlps(drawn):
    sizes, of_type, arrays = drawn
    tolerance = 1e-4 if of_type is np.float32 else 1e-12
    expected = by_numpy(sizes, arrays)
    for name, found in all_passes(sizes, arrays).items():
        size = 1 + np.abs(expected[name]).max(initial=0)
        np.testing.assert_allclose(found, expected[name], atol=tolerance * size, rtol=0, err_msg=name)


def test_a_change_is_what_a_small_step_makes():
    sizes = (3, 7, 5, 2)
    theta, direction, inputs, by_outputs, by_number = case(sizes, 20, np.float64)
    step = 1e-6
    passes = Passes(sizes, inputs)
    moved = passes.forward(theta + step * direction) - passes.forward(theta - step * direction)
    passes.forward(theta)
    change = passes.along(direction)
    np.testing.assert_allclose(change, moved / (2 * step), atol=1e-8)
    np.testing.assert_allclose(passes.back(by_outputs) @ direction, (by_outputs * change).sum(), atol=1e-10)
    of_number = change[-1] - change[0]
    np.testing.assert_allclose(passes.number_back(by_number) @ direction, by_number @ of_number, atol=1e-10)
    found = passes.number_product(direction, by_number)
    np.testing.assert_allclose(found @ direction, by_number @ of_number**2, atol=1e-10)


@given(cases(), st.integers(0, 150), st.integers(0, 150))
def test_a_row_does_not_depend_on_the_others(drawn, first, last):
    sizes, _, (theta, direction, inputs, _, _) = drawn
    rows = slice(first, last)
    whole, part = Passes(sizes, inputs), Passes(sizes, inputs[rows])
    outputs = whole.forward(theta)
    assert_same_bits(part.forward(theta), outputs[:, rows])
    assert_same_bits(part.along(direction), whole.along(direction)[:, rows])
    acting = Forward(sizes, theta)
    assert_same_bits(acting(inputs), outputs.T)
    assert_same_bits(acting(inputs[rows]), outputs.T[rows])


@pytest.mark.parametrize("of_type", TYPES)
def test_what_is_no_number_stays_where_it_is(of_type):
    sizes = (2, 20, 3)
    theta, direction, inputs, *_ = case(sizes, 100, of_type)
    inputs[41, 1] = math.nan
    inputs[42, 0] = math.inf  # every hidden unit is 1 or -1
    passes = Passes(sizes, inputs)
    outputs = passes.forward(theta)
    assert np.flatnonzero(np.isnan(outputs).any(0)).tolist() == [41]
    assert np.isnan(outputs[:, 41]).all()
    assert np.flatnonzero(np.isnan(passes.along(direction)).any(0)).tolist() == [41, 42]  # infinity times a slope of 0
    for gradient in (passes.back(np.ones((3, 100), of_type)), passes.number_back(np.ones(100, of_type))):
        assert np.isnan(gradient[:40]).all()


@pytest.mark.parametrize("of_type", TYPES)
def test_infinities_go_the_way_of_mathematics(of_type):
    weight_and_bias = np.array([1, 0, 1, 0], of_type)  # tanh x
    found = Forward((1, 1, 1), weight_and_bias)(np.array([[math.inf], [-math.inf], [math.nan]], of_type))
    assert found[:2].tolist() == [[1], [-1]]
    assert math.isnan(found[2, 0])
    linear = Forward((2, 1), np.array([1, 1, math.inf], of_type))
    assert linear(np.array([[1, 2]], of_type)).tolist() == [[math.inf]]
    assert np.isnan(linear(np.array([[1, -math.inf]], of_type))).all()
    largest = np.finfo(of_type).max
    assert Forward((1, 1), np.array([2, 0], of_type))(np.array([[largest]], of_type)).tolist() == [[math.inf]]


def tanh(x):
    """Of all of ``x``, by a network with one hidden unit."""
    return Forward((1, 1, 1), np.array([1, -0.0, 1, -0.0], x.dtype))(x[:, None])[:, 0]


def units(found, exact):
    """How far away, in units of the last place of the type of ``found``."""
    _, exponents = np.frexp(exact)
    info = np.finfo(found.dtype)
    unit = np.ldexp(exact.dtype.type(1), np.maximum(exponents - 1, info.minexp) - info.nmant)
    return np.abs(found.astype(exact.dtype) - exact) / unit


def test_tanh_of_float32_is_good_to_two_and_a_half_units_over_its_range():
    bits = np.arange(0, 0x7F800000, 9973, np.int32)
    x = bits.view(np.float32)
    found = tanh(x)
    assert units(found, np.tanh(x.astype(np.float64))).max() < 2.5
    assert_same_bits(tanh(-x), -found)
    assert np.abs(found).max() == 1


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no type here is wider than float64")
def test_tanh_of_float64_is_good_to_two_and_a_half_units_over_its_range():
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 0x7FF0000000000000, 100_000)
    x = np.concatenate([bits.view(np.float64), generator.uniform(0, 21, 100_000), generator.exponential(0.1, 100_000)])
    found = tanh(x)
    assert units(found, np.tanh(x.astype(np.longdouble))).max() < 2.5
    assert_same_bits(tanh(-x), -found)
    assert np.abs(found).max() == 1


@pytest.mark.parametrize("of_type", TYPES)
@example(x=0.0)
@example(x=-0.0)
@example(x=9.5)
@example(x=20.0)
@example(x=5e-324)
@given(x=st.floats(allow_nan=False, allow_infinity=False))
def test_tanh_is_as_defined(of_type, x):
    with np.errstate(all="ignore"):
        x = of_type(x)
        if np.isfinite(x):
            assert_same_bits(tanh(np.array([x]))[0], one_by_one.tanh(x))


def test_no_rows_are_no_error():
    sizes = (3, 4, 2)
    theta, _, inputs, _, _ = arrays = case(sizes, 0, np.float32)
    found = all_passes(sizes, arrays)
    assert found["forward"].shape == found["along"].shape == (2, 0)
    assert not found["back"].any()
    assert not found["number_back"].any()
    assert Forward(sizes, theta)(inputs).shape == (0, 2)


def test_threads_with_passes_of_their_own_do_not_disturb_each_other():
    sizes = (4, 32, 32, 2)
    everything = [case(sizes, 200, np.float32, key) for key in range(4)]
    expected = [all_passes(sizes, arrays) for arrays in everything]
    found = {}

    def compute(index):
        found[index] = [all_passes(sizes, everything[index]) for _ in range(10)]

    threads = [threading.Thread(target=compute, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, each in enumerate(expected):
        for times in found[index]:
            for name, array in each.items():
                assert_same_bits(times[name], array)


def test_threads_may_ask_one_network():
    sizes = (4, 32, 32, 2)
    act = Forward(sizes, case(sizes, 0, np.float32)[0])
    inputs = [case(sizes, n, np.float32, n)[2] for n in (1, 64, 64, 200)]
    expected = [act(each) for each in inputs]
    n_wrong = [0] * len(inputs)

    def ask(index):
        for _ in range(300):
            n_wrong[index] += not np.array_equal(act(inputs[index]), expected[index])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(inputs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert n_wrong == [0] * len(inputs)


def refusal(name, shape, of_type, expected_shape, expected):
    return re.escape(
        f"Cannot compute with `{name}` of shape {shape} in {of_type}: expected {expected_shape} in {expected}."
    )


def test_acting_refuses_what_does_not_fit():
    sizes = (3, 4, 2)
    theta, _, inputs, *_ = case(sizes, 5, np.float32)
    with pytest.raises(MismatchError, match=refusal("theta", (25,), "float32", (26,), "float32")):
        Forward(sizes, theta[:-1])
    for kind in (np.float16, np.dtype(np.float32).newbyteorder()):
        with pytest.raises(MismatchError, match=r"expected \(26,\) in this machine's float32 or float64\."):
            Forward(sizes, theta.astype(kind))
    with pytest.raises(MismatchError, match=re.escape("`theta`: its (26,) numbers are not in one piece. Pass a copy.")):
        Forward(sizes, np.repeat(theta, 2)[::2])
    act = Forward(sizes, theta)
    with pytest.raises(MismatchError, match=refusal("inputs", (5, 2), "float32", (5, 3), "float32")):
        act(inputs[:, :2])
    with pytest.raises(MismatchError, match=refusal("inputs", (5, 3), "float64", (5, 3), "float32")):
        act(inputs.astype(np.float64))
    with pytest.raises(MismatchError, match=refusal("inputs", (3,), "float32", (3, 3), "float32")):
        act(inputs[0])
    with pytest.raises(MismatchError, match=refusal("inputs", (5, 3), ">f4", (5, 3), "float32")):
        act(inputs.astype(">f4"))
    assert_same_bits(act(np.asfortranarray(inputs)), act(inputs))
    assert_same_bits(act(inputs[::2]), act(inputs)[::2])


def test_passes_refuse_what_does_not_fit():
    sizes = (3, 4, 2)
    theta, direction, inputs, by_outputs, by_number = case(sizes, 5, np.float32)
    with pytest.raises(MismatchError, match=refusal("inputs", (5, 2), "float32", (5, 3), "float32")):
        Passes(sizes, inputs[:, :2])
    with pytest.raises(MismatchError, match="int64"):
        Passes(sizes, inputs.astype(np.int64))
    passes = Passes(sizes, inputs)
    passes.forward(theta)
    calls = {
        passes.forward: ("theta", theta),
        passes.along: ("direction", direction),
        passes.back: ("by_outputs", by_outputs),
        passes.number_back: ("by_number", by_number),
    }
    for call, (name, array) in calls.items():
        shape = array.shape
        longer = np.zeros((*shape[:-1], shape[-1] + 1), np.float32)
        with pytest.raises(MismatchError, match=refusal(name, longer.shape, "float32", shape, "float32")):
            call(longer)
        with pytest.raises(MismatchError, match=refusal(name, shape, "float64", shape, "float32")):
            call(array.astype(np.float64))
        with pytest.raises(MismatchError, match=f"`{name}`: .* not in one piece"):
            call(longer[..., ::-1][..., :-1])


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (0, 2), (3, -1, 2)])
def test_networks_that_cannot_be(sizes):
    for make in (Forward, Passes):
        with pytest.raises(ArgumentError, match=re.escape(f"layers of sizes {sizes}: expected")):
            make(sizes, np.zeros((2, 3), np.float32))


def test_nothing_comes_before_forward():
    sizes = (3, 4, 2)
    _, direction, inputs, by_outputs, by_number = case(sizes, 5, np.float32)
    passes = Passes(sizes, inputs)
    for call, arrays in (
        (passes.along, (direction,)),
        (passes.back, (by_outputs,)),
        (passes.number_back, (by_number,)),
        (passes.number_product, (direction, by_number)),
    ):
        with pytest.raises(OrderError, match="before `forward` has been called"):
            call(*arrays)


def test_acting_goes_on_with_the_parameters_that_it_was_made_with():
    sizes = (3, 4, 2)
    theta, _, inputs, *_ = case(sizes, 5, np.float32)
    act = Forward(sizes, theta)
    expected = act(inputs)
    theta[:] = 0
    assert_same_bits(act(inputs), expected)
    assert_same_bits(pickle.loads(pickle.dumps(act))(inputs), expected)


def test_levels_are_all_tried(level):
    assert library.level() == level


def test_sizes_are_there_while_a_kernel_reads_them():
    """Other threads, which may take the lock between any two instructions, make arrays of the same size meanwhile."""
    theta, ended, interval = np.zeros(13, np.float32), threading.Event(), sys.getswitchinterval()

    def make_others():
        while not ended.is_set():
            for _ in range(50):
                np.full(4, 2**50)

    thread = threading.Thread(target=make_others)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(20_000):
            Forward((1, 2, 2, 1), theta)
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
