"""Where two state trees differ, and how far apart they are."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from garage.core.tracked import TrackedGroup
from garage.storage import comparison
from garage.storage.comparison import apart, codes_of, codes_of_state, component_of, differing, digest_of
from garage.storage.store import SnapshotStore
from storage.sample_runs import state_of, written

NUMBERS = arrays.arrays(
    st.sampled_from(["<f4", "<f8", "<i8", "|u1", "|b1", "<c16"]), arrays.array_shapes(min_dims=0, max_side=4)
)


def of(a, b):
    """The difference of two leaves in memory."""
    codes = [codes_of_state({"leaf": value}).get("leaf") for value in (a, b)]
    return comparison.leaf_difference("leaf", *codes, a, b)


def test_a_snapshot_and_the_state_that_it_is_of_have_one_code_and_one_digest(tmp_path):
    manifest = SnapshotStore(written(tmp_path, [4])).read().manifest
    assert codes_of(manifest) == codes_of_state(state_of(4))
    assert digest_of(codes_of(manifest)) == manifest.digest
    assert differing(codes_of(manifest), codes_of_state(state_of(4))) == ([], [])


def test_generators_are_apart_from_what_digests_cover():
    ours, theirs = codes_of_state(state_of(4)), codes_of_state(state_of(5))
    leaves, generators = differing(ours, theirs)
    assert leaves == ["algo/policy/theta", "counters/epoch", "counters/rate"]
    assert generators == ["process/generator"]


@pytest.mark.parametrize(
    ("path", "component"),
    [
        ("algo/policy/theta", "algo/policy"),
        ("algo/optimizer/qf/0", "algo/optimizer"),
        ("algo", "algo"),
        ("env/statistics/mean", "env"),
        ("sampler/carried/train/0", "sampler"),
        ("process/numpy/key", "process/numpy"),
    ],
)
def test_components(path, component):
    assert component_of(path) == component


@given(NUMBERS)
def test_a_leaf_is_at_no_distance_from_itself(array):
    found = of(array, copy.deepcopy(array))
    assert (found.distance, found.n_unequal) in {(0.0, 0), (None, None)}  # booleans have no distance
    assert (found.distance is None) == (array.dtype.kind not in "biufc")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.data())
def test_the_distance_is_that_of_the_numbers_that_differ_most(values, data):
    other = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(values), max_size=len(values)))
    found = of(np.array(values), np.array(other))
    assert found.distance == max(abs(a - b) for a, b in zip(values, other, strict=True))
    assert found.n_unequal == sum(a != b for a, b in zip(values, other, strict=True))


def test_what_is_no_number():
    same = np.array([math.nan, math.inf, 1.0])
    assert of(same, same.copy()).distance == 0.0
    assert math.isnan(of(same, np.array([1.0, math.inf, 1.0])).distance)
    assert of(same, np.array([math.nan, -math.inf, 1.0])).distance == math.inf
    assert of(np.zeros(3), np.zeros(4)).distance is None
    assert of(np.array(["a"]), np.array(["b"])).distance is None
    assert of(np.zeros(0), np.zeros(0)).distance == 0.0


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (1, 3, "`leaf` is 1 in A, 3 in B: 2 apart"),
        (True, False, "`leaf` is True in A, False in B"),
        ("tanh", "relu", "`leaf` is 'tanh' in A, 'relu' in B"),
        (None, 1.5, "`leaf` is null in A, 1.5 in B"),
        ({}, np.zeros(2), "`leaf` is empty in A, <f8[2] in B"),
        (np.zeros(2), np.zeros((2, 1)), "`leaf` is <f8[2] in A, <f8[2, 1] in B"),
        (np.zeros(2), np.array([0, 0.5]), "`leaf` <f8[2]: 1 of its numbers differ, by at most 0.5"),
        (np.zeros(2, np.float32), np.ones(2), "`leaf` is <f4[2] in A, <f8[2] in B: 1 apart"),
        ("x" * 100, "y", f"`leaf` is '{'x' * 39}… in A, 'y' in B"),
    ],
)
def test_in_words(a, b, words):
    assert apart(of(a, b), "A", "B") == words


def test_a_leaf_that_one_of_them_has_not():
    code = codes_of_state({"leaf": 1})["leaf"]
    assert apart(comparison.leaf_difference("leaf", None, code), "A", "B") == "`leaf` is missing in A"
    assert apart(comparison.leaf_difference("leaf", code, None), "A", "B") == "`leaf` is missing in B"


def test_columns_of_a_tracked_group():
    groups = [TrackedGroup(5, {"x": ((2,), "<f4"), "y": ((), "<i8")}) for _ in range(2)]
    for group, value in zip(groups, (0.0, 0.25), strict=True):
        group.write(slice(0, 3), {"x": np.full((3, 2), value), "y": np.arange(3)})
    found = of(*groups)
    assert (found.a, found.distance, found.n_unequal) == ("group[3]", 0.25, 6)


def test_metrics_of_a_clock_are_no_difference():
    row = {"epoch": 3, "digest": "x", "Loss": 1.0, "EnvExecTime": 0.5, "Gone": 1}
    assert comparison.differing_metrics(row, {"epoch": 4, "digest": "y", "Loss": 2.0, "EnvExecTime": 0.6}) == [
        "Gone",
        "Loss",
    ]
