from collections import Counter

import pytest

from schemas import DecodeError
from schemas.topics import RAW_EXCHANGE
from streams.formats import binance_combined
from streams.sources import RawMessage
from streams.sources.faults import DAMAGES, damage, duplicate, shuffle
from streams.sources.market import market

START = 1_750_000_000_000_000_000


def numbered(count):
    return [RawMessage(RAW_EXCHANGE, b"c", b"%d" % n, "v", "f", 1_000 * n) for n in range(count)]


def binance_messages():
    return [m for m in market(1, START, 60, intensity=0.3) if m.source == "binance-usdm"]


@pytest.mark.parametrize("kind", [kind for kind in DAMAGES if kind != "unknown format"])
def test_no_damaged_frame_can_be_read(kind):
    for message in binance_messages():
        with pytest.raises(DecodeError):
            binance_combined.decode(DAMAGES[kind](message).value, message.source)


def test_damage_hits_the_ratio_tells_what_it_did_and_is_seeded():
    messages, told = numbered(10_000), []
    damaged = list(damage(messages, 0.01, seed=3, on_damage=lambda *pair: told.append(pair)))
    changed = [(was, became) for was, became in zip(messages, damaged, strict=True) if was != became]
    assert changed == told
    assert 60 < len(told) < 140
    assert damaged == list(damage(messages, 0.01, seed=3))


def test_duplicates_come_once_more_and_not_far_behind():
    messages = numbered(2_000)
    repeated = list(duplicate(messages, 0.05, seed=1, distance=10))
    counts = Counter(m.value for m in repeated)
    assert set(counts) == {m.value for m in messages}
    assert 60 < sum(count == 2 for count in counts.values()) < 140
    places = {}
    for place, message in enumerate(repeated):
        assert place - places.setdefault(message.value, place) <= 20
    assert list(duplicate(messages, 0.0, seed=1)) == messages


def test_shuffled_messages_are_all_there_and_put_off_by_at_most_the_distance():
    messages = numbered(5_000)
    shuffled = list(shuffle(messages, 50_000, seed=1))
    assert [m.receive_time_ns for m in shuffled] == sorted(m.receive_time_ns for m in shuffled)
    assert sorted(int(m.value) for m in shuffled) == list(range(5_000))
    assert all(0 <= m.receive_time_ns - 1_000 * int(m.value) <= 50_000 for m in shuffled)
    assert [m.value for m in shuffled] != [m.value for m in messages]
