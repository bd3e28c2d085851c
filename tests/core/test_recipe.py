"""A component pickles as its constructor call."""

import copy
import pickle

import cloudpickle
import pytest

from garage.core.recipe import Component


class Part(Component):
    n_made = 0

    def __init__(self, size, *, name="part", inner=None):
        type(self).n_made += 1
        self.size, self.name, self.inner = size, name, inner
        self.learned = 0


def test_a_pickle_is_made_by_the_same_call_and_has_learned_nothing():
    part = Part(3, name="left")
    part.learned, part.size = 7, 4
    made = Part.n_made
    for dumps in (pickle.dumps, cloudpickle.dumps):
        again = pickle.loads(dumps(part))
        assert type(again) is Part
        assert (again.size, again.name, again.learned) == (3, "left", 0)
    assert Part.n_made == made + 2


def test_parts_within_parts_are_rebuilt_and_shared_ones_stay_shared():
    inner = Part(1)
    pair = pickle.loads(pickle.dumps((Part(2, inner=inner), inner)))
    assert pair[0].inner is pair[1]
    assert pair[1].size == 1


def test_a_pickle_of_a_pickle_is_the_same():
    once = pickle.dumps(Part(5, name="x"))
    assert pickle.dumps(pickle.loads(once)) == once


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_will_do(protocol):
    assert pickle.loads(pickle.dumps(Part(2), protocol)).size == 2


def test_copies_keep_what_was_learned():
    part = Part(2, inner=Part(1))
    part.learned = 1
    shallow, deep = copy.copy(part), copy.deepcopy(part)
    assert shallow is not part
    assert (shallow.learned, shallow.inner is part.inner) == (1, True)
    assert (deep.learned, deep.inner is part.inner, deep.inner.size) == (1, False, 1)
    assert pickle.loads(pickle.dumps(deep)).learned == 0


def test_what_cannot_be_pickled_is_named_by_pickle():
    with pytest.raises(Exception, match="pickle"):
        pickle.dumps(Part(lambda: None))
