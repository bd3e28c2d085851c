"""Format 1 of the streams, as its page says it, and what follows from it."""

import copy
import hashlib
import itertools
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from garage.core.streams import Streams, _encode, _Key, uniforms
from garage.errors import ArgumentError

PAGE = (Path(__file__).parents[2] / "docs" / "streams-format.md").read_text(encoding="utf-8")
SEEDS = st.integers(0, 2**80)
ELEMENTS = st.integers(-(2**80), 2**80) | st.text(st.characters(codec="utf-8"), max_size=8)
PATHS = st.lists(ELEMENTS, max_size=5)


def table(*header):
    """The cells below a header of the page, without code marks."""
    lines = iter(PAGE.splitlines())
    wanted = "| " + " | ".join(header) + " |"
    assert any(line == wanted for line in lines), wanted
    next(lines)
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines)
    ]


ENCODINGS = table("element", "tag", "length", "payload")
KEYS = table("seed", "path", "key", "world seed")
OUTPUTS = table("key", "raw 1", "raw 2", "raw 5", "uniform 1", "uniform 5")


def independent_key(seed, path):
    """From the page alone."""
    message = b""
    for element in (seed, *path):
        if isinstance(element, str):
            tag, payload = b"\x73", element.encode("utf-8")
        else:
            n_bits = len(f"{abs(element):b}") if element else 0
            n_bytes = n_bits // 8 + 1
            unsigned = element % 256**n_bytes
            tag, payload = b"\x69", bytes(unsigned // 256**index % 256 for index in range(n_bytes))
        message += tag + bytes(len(payload) // 256**index % 256 for index in range(8)) + payload
    return hashlib.blake2b(message, digest_size=16, person=b"garage-streams-1").digest()


def independent_block(counter, key):
    """Philox4x64-10, from the page alone."""
    mask = 2**64 - 1
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for round_index in range(10):
        if round_index:
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
        x, y = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (y >> 64) ^ c1 ^ k0, y & mask, (x >> 64) ^ c3 ^ k1, x & mask
    return [c0, c1, c2, c3]


def independent_raw(key, n):
    words = (int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little"))
    blocks = [independent_block((1 + index, 0, 0, 0), words) for index in range(-(-n // 4))]
    return [word for block in blocks for word in block][:n]


def raw(generator, n):
    return generator.bit_generator.random_raw(n).tolist()


def test_the_page_has_vectors():
    assert len(ENCODINGS) >= 10
    assert len(KEYS) == len(OUTPUTS) >= 20


def test_the_independent_philox_is_the_published_one():
    """Known answers of Random123, the authors' own library (its file kat_vectors)."""
    assert [f"{word:016x}" for word in independent_block((0, 0, 0, 0), (0, 0))] == [
        "16554d9eca36314c",
        "db20fe9d672d0fdc",
        "d7e772cee186176b",
        "7e68b68aec7ba23b",
    ]


@pytest.mark.parametrize(("element", "tag", "length", "payload"), ENCODINGS)
def test_elements_are_encoded_as_on_the_page(element, tag, length, payload):
    assert _encode(json.loads(element)).hex() == tag + length + payload


@pytest.mark.parametrize(("seed", "path", "key", "world_seed"), KEYS)
def test_keys_are_those_of_the_page(seed, path, key, world_seed):
    streams, path = Streams(int(seed)), json.loads(path)
    assert streams.key(*path).hex() == key
    assert streams.world_seed(*path) == int(world_seed)
    assert independent_key(int(seed), path).hex() == key
    assert int.from_bytes(bytes.fromhex(key)[:4], "little") >> 1 == int(world_seed)


@pytest.mark.parametrize(("row", "output"), list(zip(KEYS, OUTPUTS, strict=True)))
def test_numbers_are_those_of_the_page(row, output):
    (seed, path, key, _), (key_again, *raws, uniform_1, uniform_5) = row, output
    assert key == key_again
    streams, path = Streams(int(seed)), json.loads(path)
    expected = [int(number, 16) for number in raws]
    first, second, _, _, fifth = raw(streams.generator(*path), 5)
    assert [first, second, fifth] == expected
    first, second, _, _, fifth = independent_raw(bytes.fromhex(key), 5)
    assert [first, second, fifth] == expected
    drawn = uniforms(streams.generator(*path), 5)
    assert [drawn[0], drawn[4]] == [float(uniform_1), float(uniform_5)]
    assert [(number >> 11) * 2.0**-53 for number in (first, fifth)] == [float(uniform_1), float(uniform_5)]


def test_the_page_names_every_address_that_garage_uses():
    source = Path(__file__).parents[2] / "src" / "garage"
    used = set()
    for path in source.rglob("*.py"):
        calls = re.findall(r"(?:generator|world_seed|streams|Streams\(\w+\))(?:\.at)?\(\"(\w+)\"", path.read_text())
        used |= set(calls) | set(re.findall(r"\.at\(\"(\w+)\"", path.read_text()))
    assert used >= {"initialise", "policy", "episode", "epoch", "process"}
    assert all(f"`{name}`" in PAGE for name in used), used


@given(SEEDS, PATHS, st.integers(0, 9))
def test_numbers_are_those_of_an_independent_implementation(seed, path, n):
    streams = Streams(seed)
    assert streams.key(*path) == independent_key(seed, path)
    assert raw(streams.generator(*path), n) == independent_raw(streams.key(*path), n)


@given(SEEDS, PATHS, PATHS)
def test_only_the_whole_path_matters_and_not_where_it_is_split(seed, front, back):
    streams = Streams(seed)
    assert streams.at(*front).key(*back) == streams.key(*front, *back) == streams.at(*front, *back).key()
    assert streams.at(*front).at(*back).path == (*front, *back)


@given(st.lists(st.tuples(SEEDS, PATHS), min_size=2, max_size=12, unique_by=lambda pair: (pair[0], *pair[1])))
def test_different_seeds_or_paths_have_different_keys(pairs):
    assert len({Streams(seed).key(*path) for seed, path in pairs}) == len(pairs)


def test_types_and_borders_of_elements_make_a_difference():
    paths = [
        (),
        (0,),
        ("0",),
        ("",),
        ("", ""),
        (0, 0),
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        (-1,),
        (255,),
        (b"a".hex(),),
    ]
    assert len({Streams(1).key(*path) for path in paths}) == len(paths)
    assert Streams(1).key(2) != Streams(2).key(1)


@given(SEEDS, st.lists(PATHS, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_numbers_depend_neither_on_order_nor_on_what_others_draw(seed, paths, shuffler):
    streams = Streams(seed)
    expected = [raw(streams.generator(*path), 3) for path in paths]
    order = list(range(len(paths)))
    shuffler.shuffle(order)
    for index in order:
        generator = streams.generator(*paths[index])
        generator.normal(size=index)
        assert raw(streams.generator(*paths[index]), 3) == expected[index]


@given(SEEDS, PATHS, PATHS)
def test_pickles_and_copies_are_the_same_streams(seed, front, back):
    streams = Streams(seed).at(*front)
    for again in (pickle.loads(pickle.dumps(streams)), copy.copy(streams), copy.deepcopy(streams)):
        assert (again.seed, again.path) == (streams.seed, streams.path)
        assert again.key(*back) == streams.key(*back)


def test_a_pickled_generator_goes_on_where_it_was():
    generator = Streams(1).generator("a")
    raw(generator, 3)
    again = pickle.loads(pickle.dumps(generator))
    assert raw(again, 6) == raw(generator, 6)


def test_numpy_integers_count_as_integers():
    assert Streams(np.int64(3)).key(np.uint8(5), np.str_("a")) == Streams(3).key(5, "a")
    assert isinstance(Streams(np.int64(3)).seed, int)


def test_repr_says_seed_and_path():
    assert repr(Streams(7).at("episode", 2)) == "Streams(7).at('episode', 2)"


@pytest.mark.parametrize("seed", [-1, 1.0, True, None, "1", np.float64(2), np.bool_(1)])
def test_a_bad_seed_is_refused_with_what_was_got(seed):
    with pytest.raises(ArgumentError, match="at least 0, got " + re.escape(repr(seed))):
        Streams(seed)


@pytest.mark.parametrize("element", [1.0, None, False, b"a", ("a",), np.float32(1)])
def test_a_bad_path_element_is_refused_with_its_type(element):
    streams = Streams(1)
    for call in (streams.at, streams.key, streams.generator, streams.world_seed):
        with pytest.raises(ArgumentError, match=f"made of str and int, got .* of type {type(element).__name__}"):
            call("a", element)


def test_uniforms_are_53_bits_of_a_raw_number_each():
    expected = [(number >> 11) / 2**53 for number in raw(Streams(3).generator(), 2000)]
    generator = Streams(3).generator()
    drawn = np.concatenate([uniforms(generator, n) for n in (0, 1, 3, 996, 1000)])
    assert drawn.tolist() == expected
    assert drawn.dtype == np.float64
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(drawn.var() - 1 / 12) < 0.01


@given(PATHS)
def test_world_seeds_are_below_2_to_the_31(path):
    assert 0 <= Streams(5).world_seed(*path) < 2**31


def test_world_seeds_of_neighbours_differ():
    streams = Streams(1).at("episode", "train", 0, 0, 0)
    assert len({streams.world_seed(episode) for episode in range(5000)}) == 5000


@pytest.mark.parametrize(("n_words", "dtype"), [(4, np.uint64), (2, np.uint32)])
def test_a_numpy_that_asks_for_other_words_is_an_error_and_not_other_numbers(n_words, dtype):
    with pytest.raises(ArgumentError, match="this NumPy asked for"):
        _Key(bytes(16)).generate_state(n_words, dtype)
