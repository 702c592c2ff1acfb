"""The recorded captures: every line of every file becomes a raw message, in order."""

import gzip
import json
from collections import Counter

from featurestore.clock import EventClock
from schemas import TICKS, Event
from schemas.rules import SECOND_NS
from streams.formats import formats
from streams.sources import HEARTBEAT
from streams.sources.captures import find_captures
from streams.sources.replay import with_heartbeats

TICK_FRAMES = {"binance-usdm/btcusdt": 145_749, "binance-usdm/ethusdt": 69_913, "binance/btcusdt": 15_088}


def test_every_line_of_the_tick_captures_is_one_message_in_order(captures):
    folder = captures / "ticks_binance_hftbacktest"
    found = find_captures([folder])
    messages = list(found.messages())
    times = [m.receive_time_ns for m in messages]
    assert times == sorted(times)
    assert Counter(m.key.decode() for m in messages) == TICK_FRAMES
    assert {m.format for m in messages} == {"binance-combined"}
    path = folder / "usdm" / "ethusdt_20240718.gz"
    lines = [line.partition(b" ") for line in gzip.decompress(path.read_bytes()).splitlines()]
    # Snapshots come with the question that they answer.
    asked = b'{"url":"https://fapi.binance.com/fapi/v1/depth?symbol=ETHUSDT","data":%b}'
    lines = [(time, b"", asked % frame if b'"lastUpdateId"' in frame[:20] else frame) for time, _, frame in lines]
    (capture,) = (each for each in found.files if each.path.name == path.name)
    assert [(m.receive_time_ns, m.value) for m in capture.read()] == [(int(time), frame) for time, _, frame in lines]


def test_fifteen_months_between_two_runs_cost_seconds_of_heartbeats(captures):
    messages = find_captures([captures / "ticks_binance_hftbacktest"]).messages()
    beats = Counter(
        m.receive_time_ns // (86_400 * SECOND_NS) for *_, m in with_heartbeats(messages, TICKS) if m.format == HEARTBEAT
    )
    # 2023: 8 min 34 s, 2024: 8 min, both over midnight; 19 s more each, in 6 raw partitions.
    assert sum(beats.values()) < 6 * (515 + 481 + 2 * 20)
    assert len(beats) == 4


def test_every_line_that_a_venue_sent_is_one_message(captures):
    found = find_captures([captures / "ws_captures_cryptofeed"])
    assert len(found.files) == 26
    messages = list(found.messages())
    counts = Counter(m.source for m in messages)
    assert (counts["coinbase"], counts["kraken"], counts["binance-coinm"]) == (1_031, 4_431, 4_382)
    assert sum(counts.values()) == 44_519
    assert {m.format for m in messages if m.source.startswith("binance")} == {"binance-combined"}
    for name in ("binance-usdm", "huobi"):
        times = [m.receive_time_ns for m in messages if m.source == name]
        assert times == sorted(times)


def test_every_row_of_a_bar_file_is_one_message(captures):
    found = find_captures([captures / "ohlcv_mit"])
    assert (len(found.files), len(found.left_out)) == (25, 18)
    (capture,) = (each for each in found.files if each.path.name == "binance_futures_BTC_5m.parquet")
    bars = [json.loads(m.value) for m in capture.read()]
    assert len(bars) == 10_906
    assert bars[0]["start_time_ns"] == 1_741_257_000_000_000_000
    assert all(bar["low"] <= bar["close"] <= bar["high"] for bar in bars)


def watermarks(messages):
    """Return per raw partition the watermarks, the late events by venue, and the last event time."""
    decoders, clocks = formats(), {}
    marks, late, last = {}, Counter(), 0
    for topic, partition, message in with_heartbeats(messages, TICKS):
        clock = clocks.setdefault((topic, partition), EventClock(TICKS))
        clock.open(message.receive_time_ns)
        events = [] if message.format == HEARTBEAT else decoders[message.format](message.value, message.source)
        for event in events if isinstance(events, list) else []:
            if isinstance(event, Event) and event.event_time_ns and not event.known_time:
                late[event.venue] += clock.observe(event.venue, event.event_time_ns) is not None
                last = max(last, event.event_time_ns)
        marks.setdefault((topic, partition), []).append(clock.close())
    return marks, late, last


def test_heartbeats_open_all_partitions_at_one_border_and_close_the_last_tile(captures):
    messages = [
        message
        for name in ("btcusdt_20240719.gz", "ethusdt_20240719.gz")
        for message in find_captures([captures / "ticks_binance_hftbacktest" / "usdm" / name]).messages()
        if message.receive_time_ns < 1_721_347_260 * SECOND_NS
    ]
    messages.sort(key=lambda message: message.receive_time_ns)
    marks, late, last = watermarks(messages)
    assert len(marks) == sum(TICKS.raw_partitions.values())
    # The recorder's clock is 1.4 s behind: the first event is of 1_721_347_201.5 s.
    assert {each[0] for each in marks.values()} == {1_721_347_197 * SECOND_NS}
    (end,) = {each[-1] for each in marks.values()}
    assert end > last
    assert end % SECOND_NS == 0
    assert not late.total()
