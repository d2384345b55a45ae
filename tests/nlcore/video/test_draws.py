"""Draws are pure functions, of the words that docs/clips.md defines."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore.video import draws
from nlcore.video.draws import WORDS, Draw, element, element_in_epoch, framework_seed, order

#: Multipliers and Weyl constants of Philox4x64 (Salmon et al. 2011, table 2).
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def philox(counter, key):
    """One block of Philox4x64-10, in integers of any size."""
    c, k = list(counter), list(key)
    for turn in range(10):
        if turn:
            k = [(a + w) % WORDS for a, w in zip(k, WEYL, strict=True)]
        first, second = MULTIPLIERS[0] * c[0], MULTIPLIERS[1] * c[2]
        c = [
            (second >> 64) ^ c[1] ^ k[0],
            second % WORDS,
            (first >> 64) ^ c[3] ^ k[1],
            first % WORDS,
        ]
    return c


def words_of(seed, iteration, slot, name, count):
    key = seed, sum(ord(letter) << 8 * place for place, letter in enumerate(name))
    blocks = [philox((1 + n, slot, iteration, 0), key) for n in range(-(-count // 4))]
    return [word for block in blocks for word in block][:count]


class Words(Draw):
    """A draw whose words are given."""

    def words(self, name):
        return iter(GIVEN)


GIVEN: list[int] = []


def given(*words):
    GIVEN[:] = words
    return Words(0, 0, 0)


def test_philox_of_this_file():
    # the first vector of philox4x64 10 in Random123's kat_vectors
    assert philox([0] * 4, [0, 0]) == [
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    ]


@pytest.mark.parametrize("name", ["start", "a", "eight888"])
@pytest.mark.parametrize("place", [(0, 0, 0), (7, 5, 3), (WORDS - 1, WORDS - 1, WORDS - 1)])
def test_words(place, name):
    """VC-1.2"""
    words = Draw(*place).words(name)
    assert [next(words) for _ in range(9)] == words_of(*place, name, 9)


def test_every_part_of_the_place_counts():
    """VC-1.1"""
    places = [(0, 0, 0, "a"), (1, 0, 0, "a"), (0, 1, 0, "a"), (0, 0, 1, "a"), (0, 0, 0, "b")]
    firsts = {next(Draw(*place).words(name)) for *place, name in places}
    assert len(firsts) == len(places)


def test_order_of_calls_does_not_count():
    """VC-1.1"""
    one, two = Draw(3, 1, 4), Draw(3, 1, 4)
    first = one.uniform("top"), one.integer("left", 0, 99), one.flip("flip")
    second = two.flip("flip"), two.integer("left", 0, 99), two.uniform("top")
    assert first == second[::-1]


@pytest.mark.parametrize(
    "word, value", [(0, 0.0), (2047, 0.0), (2048, 2.0**-53), (WORDS - 1, 1 - 2.0**-53)]
)
def test_uniform(word, value):
    """VC-1.3"""
    assert given(word).uniform("jitter") == value


@pytest.mark.parametrize(
    "low, high, words, value",
    [
        (3, 7, [12], 5),  # 12 mod 5
        (-4, -4, [WORDS - 1], -4),
        (0, WORDS - 1, [WORDS - 1], WORDS - 1),
        (0, 2, [WORDS - 1, 5], 2),  # 2^64 = 1 mod 3: the last word is skipped
        (0, 2, [WORDS - 2], 2),
        (0, WORDS // 2, [WORDS // 2 + 1, WORDS // 2], WORDS // 2),
    ],
)
def test_integer(low, high, words, value):
    """VC-1.4"""
    assert given(*words).integer("start", low, high) == value


def test_every_integer_comes():
    """VC-1.4"""
    found = [Draw(0, iteration, 0).integer("place", -1, 3) for iteration in range(500)]
    counts = np.bincount(np.array(found) + 1)
    # 500 draws of 5 values: 100 each, with a standard deviation of 9; 5 of them
    assert len(counts) == 5 and abs(counts - 100).max() < 45


@pytest.mark.parametrize("low, high", [(1, 0), (0, WORDS)])
def test_integer_of_a_wrong_range(low, high):
    with pytest.raises(ValueError, match=f"start must have .* received the range {low} to {high}"):
        Draw(0, 0, 0).integer("start", low, high)


def test_flip():
    """VC-1.5"""
    assert given(WORDS // 2 - 1).flip("flip") and not given(WORDS // 2).flip("flip")
    assert not given(0).flip("flip", 0.0) and given(WORDS - 1).flip("flip", 1.0)


@pytest.mark.parametrize("name", ["", "nine99999", "größe"])
def test_names_of_another_length(name):
    """VC-1.2"""
    with pytest.raises(ValueError, match="named by 1 to 8 ASCII characters"):
        Draw(0, 0, 0).uniform(name)


@pytest.mark.parametrize(
    "value, error", [(-1, ValueError), (WORDS, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_places_are_words(value, error):
    with pytest.raises(error, match=r"iteration must be .* received"):
        Draw(0, value, 0)


def test_order():
    """VC-1.6"""
    words = words_of(5, 2, 0, "order", 14)
    pairs = sorted((words[2 * i], words[2 * i + 1], i) for i in range(7))
    found = order(5, 2, 7)
    assert found.tolist() == [i for *_, i in pairs]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    with pytest.raises(ValueError, match="count must be at least 1; received 0"):
        order(5, 2, 0)


def test_equal_words_keep_their_order(monkeypatch):
    """VC-1.6"""

    class Equal:
        def random_raw(self, count):
            return np.array([9, 2, 9, 1, 3, 5, 9, 1, 3, 4], np.uint64)[:count]

    monkeypatch.setattr(draws, "_generator", lambda *place: Equal())
    order.cache_clear()
    assert order(0, 0, 5).tolist() == [4, 2, 1, 3, 0]
    order.cache_clear()


def test_every_order_comes():
    """VC-1.6"""
    seen = [tuple(order(1, epoch, 3).tolist()) for epoch in range(600)]
    counts = [seen.count(one) for one in set(seen)]
    # 6 orders, 100 each
    assert len(counts) == 6 and max(abs(n - 100) for n in counts) < 45


def test_epochs_follow_without_a_gap():
    """VC-1.7"""
    batch, count = 4, 10
    read = [element(3, n, slot, batch, count) for n in range(5) for slot in range(batch)]
    assert read == [*order(3, 0, count), *order(3, 1, count)]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_the_batch(processes):
    """VC-1.7"""
    batch = 8
    each = batch // processes
    read = [
        element(3, 6, rank * each + k, batch, 11) for rank in range(processes) for k in range(each)
    ]
    assert read == [element(3, 6, slot, batch, 11) for slot in range(batch)]


def test_a_slot_is_in_the_batch():
    with pytest.raises(ValueError, match="below the batch, 8; received 8"):
        element(0, 0, 8, 8, 100)


@pytest.mark.parametrize(("kept", "batches"), [(False, [4, 4]), (True, [4, 4, 2])])
def test_an_epoch_begins_with_a_new_batch(kept, batches):
    """VC-1.9"""
    for epoch in range(3):
        read = []
        for n, slots in enumerate(batches, epoch * len(batches)):
            read += [element_in_epoch(3, n, slot, 4, 10, kept) for slot in range(slots)]
            with pytest.raises(ValueError, match=f"from 0 to {slots - 1}; received {slots}"):
                element_in_epoch(3, n, slots, 4, 10, kept)
        assert read == order(3, epoch, 10).tolist()[: len(read)]


def test_an_epoch_has_an_iteration():
    """VC-1.9"""
    assert element_in_epoch(3, 7, 2, 4, 3, kept=True) == order(3, 7, 3)[2]
    with pytest.raises(ValueError, match="count must be at least the batch, 4; received 3"):
        element_in_epoch(3, 0, 0, 4, 3)


def test_framework_seed():
    """VC-1.8"""
    assert framework_seed(2, 3, 4) == words_of(2, 3, 4, "dropout", 1)[0] >> 32
    assert framework_seed(2, 3) == framework_seed(2, 3, 0) != framework_seed(2, 3, 4)
    assert 0 <= framework_seed(2, 3) < 2**32
