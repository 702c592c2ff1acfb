"""Records taken by columns say what records taken one by one say: events, order, state and counts."""

import random
from collections import defaultdict

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas import Rules
from schemas.batches import Progress, decode_batch
from schemas.topics import DEAD_LETTER, LATE_EVENT, RAW_EXCHANGE
from streams.ingest.fast import FastNormaliser, RawRun
from streams.ingest.normaliser import Normaliser

SECOND_MS = 1_000
START_MS = 1_700_000_000_000
SOURCES = ("binance", "binance-usdm", "binance-coinm")
SYMBOLS = {
    "binance": ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
    "binance-usdm": ("BTCUSDT", "ETHUSDT"),
    "binance-coinm": ("BTCUSD_PERP", "ETHUSD_PERP"),
}
TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","T":1700000000000,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true}}'
)
ODD_FRAMES = (
    b"",
    b"{}",
    b"not json",
    b'{"stream":"btcusdt@trade","data":{"e":"trade"}}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","T":1700000000000,"s":"??","t":1,"p":"1","q":"1","m":true}}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","T":1700000000000,"s":"BTCUSDT","t":1,"p":"0","q":"1","m":true}}',
    # Frames that only together are an array of as many objects as there are frames.
    TRADE + b',{"stream":"btcusdt@trade","data":{"x":[1',
    b'2],"e":"trade","T":1700000000000,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true}}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","T":1700000000000,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true,"x":"',
    TRADE.replace(b',"data"', b',"stream":"btcusdt@depth","data"'),
    b'{"stream":"btcusdt@aggTrade","data":{"e":"trade","T":1700000000000,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true}}',
    b'{"stream":"\\u0040trade","data":{"e":"trade","T":1700000000000,"s":"@","t":1,"p":"1","q":"1","m":true}}',
    TRADE.replace(b',"m"', b',"X":"INSURANCE_FUND","m"'),
    b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"3","B":"1","a":"2","A":"1"}}',
)


def trade(symbol, time_ms, number, kind="trade"):
    ids = "a" if kind == "aggTrade" else "t"
    return (
        f'{{"stream":"{symbol.lower()}@{kind}","data":{{"e":"{kind}","E":{time_ms},"T":{time_ms},"s":"{symbol}",'
        f'"{ids}":{number},"p":"{100 + number / 7:.8f}","q":"{1 + number % 5}.5",'
        f'"m":{"true" if number % 3 else "false"}}}}}'
    ).encode()


def quote(symbol, time_ms, number, *, timed=True):
    time = f',"T":{time_ms},"E":{time_ms}' if timed else ""
    return (
        f'{{"stream":"{symbol.lower()}@bookTicker","data":{{"u":{number},"s":"{symbol}","b":"{100 + number / 7:.8f}",'
        f'"B":"1.5","a":"{101 + number / 7:.8f}","A":"2.5"{time}}}}}'
    ).encode()


def raw_log(seed):
    """Mostly trades of one stream, as feeds send them; now and then anything else."""
    draw = random.Random(seed)
    log, received = [], START_MS
    rare = draw.choice((2, 10, 60))
    kinds = draw.choice((("trade",), ("trade", "quote"), ("trade", "quote", "known"), ("trade", "quote", "aggTrade")))
    steps = draw.choice(((0, 1, 5), (0, 200, 700), (0, 1, 4_000, 12_000)))
    for number in range(draw.randint(1, 160)):
        received += draw.choice(steps)
        source = draw.choice(SOURCES)
        symbol = draw.choice(SYMBOLS[source])
        kind = draw.choice(kinds)
        what = draw.choice(("odd", "late", "future", "heartbeat", "header", "back", "gap", "other"))
        what = what if draw.randrange(rare) == 0 else "usual"
        delay = {"late": 3_500, "future": -70_000}.get(what, draw.choice((0, 20, 300)))
        received += 1_000_000 if what == "gap" else 0
        headers = [
            ("source", source.encode()),
            ("format", b"heartbeat" if what == "heartbeat" else b"binance-combined"),
            ("receive_time_ns", b"%d" % ((received - (4_000 if what == "back" else 0)) * 1_000_000)),
        ]
        if what == "header":
            headers = draw.choice(([], headers[:2], [*headers, ("x", b"1")], headers[::-1], dict(headers)))
        if what == "other":
            kind = "aggTrade"
        if what == "odd":
            value = draw.choice((None, *ODD_FRAMES))
        elif kind in {"quote", "known"}:
            value = quote(symbol, received - delay, number, timed=kind == "quote")
        else:
            value = trade(symbol, received - delay, number, kind)
        log.append((value, headers))
    return log


def by_place(outputs):
    found = defaultdict(list)
    for out in outputs:
        place = out.topic if out.topic in {LATE_EVENT, DEAD_LETTER} else (out.topic, out.partition)
        found[place].append((out.key, out.value, list(out.headers)))
    return found


def told(messages):
    """Return ("event", ...) and ("progress", ...) of a canonical partition in their order."""
    said = []
    for _, value, headers in messages:
        if value:
            batch = decode_batch(value)
            said += [("event", row["raw_offset"], batch.record, repr(row)) for row in batch.to_arrow().to_pylist()]
        if "progress" in dict(headers):
            progress = Progress.decode(dict(headers)["progress"])
            said.append(("progress", progress.raw_offset, progress.watermark_ns))
    return said


def of(kind, said):
    return [each for each in said if each[0] == kind]


def compare(fast, slow):
    """Progress may stand for several borders; all else is the same, in the same order by record type."""
    for record in ("trade", "quote"):
        events = [[each for each in of("event", said) if each[2] == record] for said in (fast, slow)]
        assert events[0] == events[1]
    some, all_of_it = of("progress", fast), of("progress", slow)
    assert set(some) <= set(all_of_it)
    assert (some[0], some[-1]) == (all_of_it[0], all_of_it[-1])
    for place, each in enumerate(fast):
        if each[0] == "progress":
            assert all(later[1] > each[1] for later in fast[place + 1 :] if later[0] == "event")
            before = {later[1] for later in of("event", fast[:place])}
            assert before >= {event[1] for event in of("event", slow) if event[1] <= each[1]}


@pytest.fixture(scope="module", autouse=True)
def _short_stretches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.ingest.fast._LEAST", 2)
        patch.setattr("streams.ingest.fast._SPLIT", 4)
        yield


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(0, 1 << 30),
    batch_events=st.sampled_from([1, 3, 500]),
    size=st.sampled_from([7, 50, 1_000]),
    flushes=st.booleans(),
)
def test_the_fast_way_says_what_the_slow_one_says(seed, batch_events, size, flushes):
    log = raw_log(seed)
    slow, fast = (kind(RAW_EXCHANGE, 0, Rules(), batch_events) for kind in (Normaliser, FastNormaliser))
    for offset, (value, headers) in enumerate(log):
        slow.feed(offset, b"%d" % offset, value, headers)
    sent = []
    for start in range(0, len(log), size):
        part = log[start : start + size]
        offsets = range(start, start + len(part))
        keys = [b"%d" % offset for offset in offsets]
        fast.feed_run(RawRun(offsets, [v for v, _ in part], [h for _, h in part], keys.__getitem__))
        sent += fast.flush() if flushes else fast.ready()
    found, wanted = by_place([*sent, *fast.flush()]), by_place(slow.flush())
    assert found.keys() == wanted.keys()
    for place, messages in wanted.items():
        one_border = sum("progress" in dict(headers) for *_, headers in messages) == 1
        if isinstance(place, str) or (one_border and not flushes):
            assert found[place] == messages
        else:
            compare(told(found[place]), told(messages))
    assert fast.tally == slow.tally
    assert fast.state().encode() == slow.state().encode()
