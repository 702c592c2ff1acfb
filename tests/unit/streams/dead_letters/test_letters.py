"""A dead letter holds its record as it was, whatever that was; a replay says where it is from."""

import msgspec
import pytest

from schemas import DecodeError, SettingsError
from schemas.topics import DEAD_LETTER, RAW_EXCHANGE
from streams.backfill import topics as backfill_topics
from streams.commands.dead_letter import moment_ms
from streams.dead_letters import REPLAYED, Place, dead_letter, reading, replayed_from
from streams.dead_letters.reading import MARK, Chosen, letter_at, opened, surveyed
from streams.dead_letters.replaying import Readable
from streams.settings import Settings
from streams.sources.market import market
from streams.stage import Message

PAIRS = (
    ("source", b"binance"),
    ("twice", b"1"),
    ("twice", b"2"),
    ("nothing", None),
    ("x-dlq-stage", b"of another system"),
    ("bytes", b"\xff\x00"),
)


def letter_of(pairs=PAIRS, *, offset=7, place=0, reason="decode", stage="ingest", time_ms=1_000):
    headers = {name: value or b"" for name, value in pairs}
    message = Message(RAW_EXCHANGE, 2, offset, b"key", headers, b"\x00value", 5, pairs)
    sent = dead_letter(stage, message, DecodeError("expected a name", path="$.s"), reason)
    every = list(sent.headers)
    return Message(DEAD_LETTER, 0, place, sent.key, dict(every), sent.value, time_ms, every)


def test_a_letter_gives_back_the_record_with_repeated_names_values_of_none_and_headers_like_its_own():
    letter = opened(letter_of())
    assert (letter.key, letter.value, letter.headers) == (b"key", b"\x00value", PAIRS)
    assert letter.origin == Place(RAW_EXCHANGE, 2, 7)
    assert (letter.stage, letter.reason, letter.attempts) == ("ingest", "decode", 1)
    assert letter.message == "raw.exchange.v1[2]@7 $.s: expected a name"
    assert letter.app_version


def test_a_letter_of_a_record_that_bears_the_header_of_an_account_is_a_letter():
    letter = letter_of((*PAIRS, (MARK, b"begin")))
    assert not reading.is_mark(letter.headers)
    assert opened(letter).headers[-1] == (MARK, b"begin")
    assert reading.is_mark({MARK: b"begin", "x-dlq-replay-batch": b"1"})


def test_each_replay_counts_as_an_attempt_and_the_first_place_is_kept():
    first = (REPLAYED, b"dead-letter.v1[0]@17 raw.exchange.v1[2]@7")
    second = (REPLAYED, b"dead-letter.v1[0]@90 raw.exchange.v1[2]@400")
    letter = opened(letter_of((*PAIRS, first, second)))
    assert letter.attempts == 3
    assert replayed_from(letter.headers) == (Place(DEAD_LETTER, 0, 90), Place(RAW_EXCHANGE, 2, 7))


def test_what_this_release_cannot_read_either_is_not_worth_a_replay():
    readable = Readable(Settings().rules)
    message = next(each for each in market(5, 1_767_225_600_000_000_000, 5) if each.topic == RAW_EXCHANGE)
    pairs = tuple(message.headers().items())
    good = msgspec.structs.replace(opened(letter_of(pairs)), value=message.value)
    assert readable.has(good)
    assert not readable.has(msgspec.structs.replace(good, value=b"{"))
    assert not readable.has(opened(letter_of()))
    assert readable.has(good)
    inner = Place("exchange.event.v1", 0, 1)
    assert readable.has(msgspec.structs.replace(good, origin=inner, value=b"{"))


@pytest.mark.parametrize("value", [b"", b"x", b"a[0]@1", b"a[0]@1 b", b"\xff"])
def test_a_header_that_only_looks_like_ours_says_nothing(value):
    assert replayed_from([(REPLAYED, value)]) is None


def test_a_record_without_reasons_is_no_letter():
    with pytest.raises(DecodeError, match=r"dead-letter\.v1\[0\]@3 .*headers of a dead letter"):
        opened(Message(DEAD_LETTER, 0, 3, None, {}, b"", 0))


@pytest.mark.parametrize(
    ("wanted", "has"),
    [
        ({}, True),
        ({"reason": "decode", "stage": "ingest", "topic": RAW_EXCHANGE}, True),
        ({"reason": "header"}, False),
        ({"stage": "score"}, False),
        ({"topic": "raw.onchain.v1"}, False),
        ({"since_ms": 1_000, "until_ms": 1_001}, True),
        ({"since_ms": 1_001}, False),
        ({"until_ms": 1_000}, False),
    ],
)
def test_letters_are_chosen_by_reason_stage_topic_and_time(wanted, has):
    assert Chosen(**wanted).has(opened(letter_of())) is has


@pytest.fixture
def topic(monkeypatch):
    """What the topic of the dead letters holds."""
    held = []
    monkeypatch.setattr(reading, "partition_counts", lambda *_: {DEAD_LETTER: 1})
    monkeypatch.setattr(reading, "read_topic", lambda *_, start=None: iter(held[(start or {}).get(0, 0) :]))
    return held


def mark(kind, batch, of=b""):
    headers = {MARK: kind, "x-dlq-replay-batch": batch, "x-dlq-replay-of": of}
    return Message(DEAD_LETTER, 0, 0, None, headers, None, 0)


def test_marks_say_what_is_sent_and_what_may_be(topic):
    ends = b'{"letters":[0,1],"ends":{"raw.exchange.v1[2]":40}}'
    cut_short = b'{"letters":[2],"ends":{"raw.exchange.v1[2]":50}}'
    topic += [letter_of(place=0), letter_of(place=1), letter_of(place=2)]
    topic += [mark(b"begin", b"a", ends), mark(b"done", b"a"), mark(b"begin", b"b", cut_short)]
    found = list(surveyed(Settings()))
    assert [letter.place.offset for letter, _ in found if letter is not None] == [0, 1, 2]
    marks = found[-1][1]
    assert marks.done == {0, 1}
    assert marks.begun == {"b": ({2}, {"raw.exchange.v1[2]": 50})}


def test_a_place_without_a_letter_is_an_error_that_says_how_to_find_one(topic):
    topic += [letter_of(place=0), mark(b"begin", b"a", b'{"letters":[],"ends":{}}')]
    assert letter_at(Settings(), "0").place == letter_at(Settings(), "dead-letter.v1[0]@0").place
    for text in ("1", "dead-letter.v1[0]@9", "nowhere"):
        with pytest.raises(SettingsError, match=r"dead-letter list|expected a place"):
            letter_at(Settings(), text)


def test_moments_are_times_or_times_ago():
    with pytest.raises(SettingsError, match=r"--since: expected .* ago, got 'soon'"):
        moment_ms("--since", "soon", 0)
    assert moment_ms("--since", "3d", 4 * 86_400 * 10**9) == 86_400_000


def raw(offset, *, first=None):
    pairs = [] if first is None else [(REPLAYED, f"dead-letter.v1[0]@1 raw.exchange.v1[0]@{first}".encode())]
    return Message(RAW_EXCHANGE, 0, offset, None, dict(pairs), b"", offset, pairs)


def test_a_backfill_reads_a_replayed_record_in_its_first_place_or_where_that_is_gone_in_its_last(monkeypatch):
    held = [raw(5), raw(6), raw(7, first=6), raw(8, first=2)]  # the log begins at 5
    monkeypatch.setattr(backfill_topics, "read_topic", lambda _, topic: iter(held if topic == RAW_EXCHANGE else []))
    assert [record[2] for record in backfill_topics.raw_records(Settings())] == [5, 6, 8]
