"""Formats take any bytes; a Normaliser says the same however it is asked and restarted."""

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import DecodeError, Event, LeftOut, Rules
from schemas.batches import Progress
from schemas.topics import DEAD_LETTER, FEEDS, LATE_EVENT, RAW_EXCHANGE
from streams.formats import formats
from streams.formats.book import BookChange
from streams.ingest.book import Problem
from streams.ingest.normaliser import Normaliser
from streams.ingest.state import NormaliserState
from tests.unit.streams.formats import test_binance_combined as binance
from tests.unit.streams.formats import test_cryptofeed as cryptofeed
from tests.unit.streams.formats import test_other_formats as others
from tests.unit.streams.formats import test_tardis as tardis
from tests.unit.streams.ingest.canonical import content

SECOND = 1_000_000_000
START = 1_700_000_000
SAMPLES = {
    "binance-combined": [
        {"stream": "btcusdt@trade", "data": binance.TRADE},
        {"stream": "btcusdt@bookTicker", "data": binance.QUOTE},
        {"stream": "btcusdt@markPrice@1s", "data": binance.MARK},
        {"stream": "!markPrice@arr", "data": [binance.MARK]},
        {"stream": "x@kline_1m", "data": {"e": "kline", "s": "BTCUSDT", "k": binance.CANDLE}},
        {"stream": "btcusdt@depth@0ms", "data": binance.DEPTH},
        binance.SNAPSHOT,
        {"url": "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT", "data": binance.SNAPSHOT},
        {"stream": "btcusdt@depth5", "data": {"lastUpdateId": 5, "bids": [["1.0", "2.0"]], "asks": [["3.0", "1.0"]]}},
        {"result": None, "id": 1},
    ],
    "cryptofeed": [
        *(cryptofeed.TRADE, cryptofeed.TICKER, cryptofeed.LIQUIDATION, cryptofeed.CANDLE, cryptofeed.BOOK),
        cryptofeed.STATE | {"open_interest": 5.0},
    ],
    "tardis": [
        *(tardis.TRADE, tardis.BOOK, tardis.SNAPSHOT, tardis.STATE, tardis.BAR, tardis.OPTION),
        tardis.TRADE | {"type": "liquidation"},
    ],
    "bars": [others.BAR],
    "ethereum-etl": [others.TRANSFER],
    "posts": [{"title": "Bitcoin", "text": "good", "published": "2023-11-14T22:13:20Z", "id": "1"}],
}
RAW = {"bars": RAW_EXCHANGE, "ethereum-etl": "raw.onchain.v1", "posts": "raw.sentiment.v1"}

numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, -1, 2**63, 2**64, 10**400, 1e308, 5e-324, "0", "-0", "1e999", "NaN", "-inf", "1e-999", ""])
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def paths(value, path=()):
    """Return every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in paths(item, (*path, key)))]


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@st.composite
def almost_frames(draw, name):
    """Return bytes near a frame of a format: one field replaced, then perhaps cut, joined or flipped."""
    sample = draw(st.sampled_from(SAMPLES[name]))
    sample = replaced(sample, draw(st.sampled_from(paths(sample))), draw(anything))
    value = json.dumps(sample).encode("utf-8", "surrogatepass")
    damage = draw(st.sampled_from(["none", "none", "cut", "join", "flip"]))
    place = draw(st.integers(0, len(value)))
    if damage == "cut":
        return value[:place]
    if damage == "join":
        return value[:place] + draw(st.binary(max_size=8)) + value[place:]
    if damage == "flip" and place < len(value):
        return value[:place] + bytes([value[place] ^ (1 << draw(st.integers(0, 7)))]) + value[place + 1 :]
    return value


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_answers_any_bytes_with_sound_events_or_a_decode_error(name):
    @settings(max_examples=300, deadline=None)
    @given(value=almost_frames(name) | st.binary(max_size=60))
    def check(value):
        try:
            made = formats()[name](value, "binance")
        except DecodeError:
            return
        assert isinstance(made, LeftOut) or (made and all(isinstance(each, Event | BookChange) for each in made))
        if not isinstance(made, LeftOut):
            assert_it_can_be_sent(name, value, made)

    check()


def assert_it_can_be_sent(name, value, events):
    topic = RAW.get(name, RAW_EXCHANGE)
    normaliser = Normaliser(topic, 0, Rules())
    headers = {"source": b"binance", "format": name.encode(), "receive_time_ns": b"%d" % (START * SECOND)}
    normaliser.feed(0, None, value, headers)
    outputs = normaliser.flush()
    assert not [out for out in outputs if out.topic == DEAD_LETTER]
    refused = sum(out.topic == LATE_EVENT for out in outputs)
    for event in events:
        assert 0 <= event.event_time_ns < 2**63
        for field, number in msgspec.structs.asdict(event).items():
            if field in {"price", "size", "bid_price", "ask_price", "open", "high", "low", "close"}:
                assert 0 < number < float("inf")
    if not any(isinstance(event, BookChange) for event in events):  # a change of a book is any number of events
        assert normaliser.tally.events.total() + refused == len(events)
    assert {out.topic for out in outputs} <= {FEEDS[topic], LATE_EVENT}


KINDS = ("trade", "trade", "aggTrade", "bookTicker", "spot", "beat", "beat", "broken", "depth", "depth", "snapshot")


@st.composite
def raw_logs(draw):
    """Return records of one raw partition: several venues, times around each other, silences, damage."""
    now = START * SECOND
    log = []
    for number in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from([0, 1_000_000, 200_000_000, 900_000_000, 6 * SECOND, 1000 * SECOND]))
        kind = draw(st.sampled_from(KINDS))
        ahead = draw(st.sampled_from([0, -3 * SECOND, -2_500_000_000, -SECOND, SECOND, 100 * SECOND]))
        milliseconds = (now + ahead) // 1_000_000
        symbol = draw(st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT"]))
        source = draw(st.sampled_from([b"binance", b"binance-usdm"]))
        log.append((now, source, *frame_of(kind, symbol, milliseconds, number)))
    return log


def frame_of(kind, symbol, milliseconds, number):
    if kind == "beat":
        return b"heartbeat", b""
    if kind == "broken":
        return b"binance-combined", b'{"stream":"x@trade","data":{'
    if kind == "snapshot":
        # Every sixth is crossed.
        bids, asks = [["1.0", str(number + 1)]], [["0.5" if number % 6 == 5 else "3.0", "1.0"]]
        stream = f"{symbol.lower()}@depth5"
        return b"binance-combined", binance.frame(stream, {"lastUpdateId": number, "bids": bids, "asks": asks})
    data = {
        "depth": binance.DEPTH | {"s": symbol, "E": milliseconds, "U": max(0, number - 9), "u": number},
        "trade": binance.TRADE | {"s": symbol, "T": milliseconds, "t": number},
        "aggTrade": binance.TRADE | {"e": "aggTrade", "s": symbol, "T": milliseconds, "a": number},
        "bookTicker": binance.QUOTE | {"s": symbol, "T": milliseconds, "u": number},
        "spot": binance.QUOTE | {"s": symbol, "u": number},
    }[kind]
    return b"binance-combined", binance.frame("x@" + kind.replace("spot", "bookTicker"), data)


def run(log, batch_events, flushes, restarts):
    """Return what is sent; `restarts`: offset to how many records before it the last state is."""
    outputs = []
    saved = (0, None)
    normaliser = Normaliser(RAW_EXCHANGE, 0, Rules(), batch_events)
    crashes = dict(restarts)
    offset = 0
    while offset < len(log):
        received, source, name, value = log[offset]
        headers = {"source": source, "format": name, "receive_time_ns": b"%d" % received}
        normaliser.feed(offset, b"key", value, headers)
        offset += 1
        if offset % flushes == 0:
            outputs += normaliser.flush()
            if offset % (2 * flushes) == 0:
                saved = (offset, normaliser.state().encode())
        else:
            outputs += normaliser.ready()
        if crashes.pop(offset, None):
            normaliser = Normaliser(RAW_EXCHANGE, 0, Rules(), batch_events)
            offset, state = saved
            if state is not None:
                normaliser.restore(NormaliserState.decode(state))
    return outputs + normaliser.flush()


def said(outputs):
    canonical = [out for out in outputs if out.topic == FEEDS[RAW_EXCHANGE]]
    others = {(out.topic, out.value, repr(out.headers)) for out in outputs if out.topic != FEEDS[RAW_EXCHANGE]}
    return content((out.topic, out.partition, dict(out.headers), out.value) for out in canonical), others


@settings(max_examples=150, deadline=None)
@given(
    log=raw_logs(),
    batch_events=st.sampled_from([1, 2, 7, 5000]),
    flushes=st.integers(1, 9),
    restarts=st.lists(st.tuples(st.integers(1, 60), st.just(True)), max_size=4),
)
def test_neither_batches_nor_restarts_change_what_is_said(log, batch_events, flushes, restarts):
    assert said(run(log, batch_events, flushes, restarts)) == said(run(log, 500, 10_000, []))


@settings(max_examples=150, deadline=None)
@given(log=raw_logs(), batch_events=st.sampled_from([1, 3, 500]), flushes=st.integers(1, 9))
def test_progress_stands_behind_all_events_of_its_record_and_before_any_later_one(log, batch_events, flushes):
    written = {}
    for out in run(log, batch_events, flushes, []):
        if out.topic != FEEDS[RAW_EXCHANGE]:
            continue
        headers = dict(out.headers)
        seen = written.setdefault(out.partition, [])
        if out.value:
            (log_of,) = content([(out.topic, out.partition, headers, out.value)]).values()
            rows = [row for record, found in log_of.items() if record != "progress" for row in found]
            seen += [("event", row["raw_offset"], row["tile_time_ns"]) for row in rows]
        if "progress" in headers:
            progress = Progress.decode(headers["progress"])
            seen.append(("progress", progress.raw_offset, progress.watermark_ns))
    for seen in written.values():
        offset, watermark = -1, 0
        for kind, raw_offset, time_ns in seen:
            assert raw_offset > offset
            assert kind == "progress" or time_ns >= watermark
            if kind == "progress":
                assert time_ns >= watermark
                offset, watermark = raw_offset, time_ns


@settings(max_examples=100, deadline=None)
@given(log=raw_logs())
def test_every_frame_and_every_event_is_accounted_for(log):
    normaliser = Normaliser(RAW_EXCHANGE, 0, Rules())
    for offset, (received, source, name, value) in enumerate(log):
        headers = {"source": source, "format": name, "receive_time_ns": b"%d" % received}
        normaliser.feed(offset, b"key", value, headers)
    tally = normaliser.tally
    assert tally.frames == len(log)
    assert tally.frames == tally.decoded + tally.heartbeats + tally.left_out.total() + tally.dead_letters.total()
    # A frame that is no change of a book is one event; a change is what became of it.
    books = normaliser.books.counts
    changes = sum(count for (_, what), count in books.items() if what not in {"depth", "quote"})
    said = tally.events.total() + tally.late.total()
    markers = said - (tally.decoded - changes) - sum(books.values()) + changes
    assert changes == sum(b"depth" in value for *_, value in log)
    missing = len({name for name, _ in books})
    assert 0 <= markers <= missing + sum(books[name, why] for name, why in books if why in get_args(Problem))
    outputs = normaliser.flush()
    assert sum(out.topic == LATE_EVENT for out in outputs) == tally.late.total()
    assert sum(out.topic == DEAD_LETTER for out in outputs) == tally.dead_letters.total()
