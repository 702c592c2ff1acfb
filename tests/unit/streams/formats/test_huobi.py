import gzip
import json
from collections import defaultdict

import pytest

from schemas import DecodeError, LeftOut
from streams.formats.fields import MAX_FRAME_BYTES
from streams.formats.huobi import decode
from tests.unit.streams.formats.recorded import (
    PlainBook,
    assert_all_is_accounted_for,
    assert_books_are,
    assert_trades_are,
    counts,
    plain,
    read,
)

NAME = "HUOBI"


def read_one(value):
    return decode(gzip.compress(json.dumps(value).encode()), "huobi")


def frame(channel, tick):
    return {"ch": channel, "ts": 1618678069870, "tick": tick}


def of(captures, channel):
    """Yield instrument and tick of the frames of one channel."""
    for each in plain(captures, NAME):
        name = each.data.get("ch", "")
        if not each.url and name.endswith(channel):
            symbol = name.split(".")[1].upper()
            quoted = next(asset for asset in ("USDT", "HUSD", "BTC", "ETH") if symbol.endswith(asset))
            yield f"huobi:{symbol.removesuffix(quoted)}-{quoted}", each.data["tick"]


def test_every_recorded_frame_is_read_or_left_out_by_name(captures):
    found = read(captures, NAME)
    assert_all_is_accounted_for(found)
    assert counts(found) == {"book": 292, "trade": 73}
    assert found.left_out == {"instrument-list": 1, "subscription": 20, "ping": 6}


def test_trades_are_those_of_the_recording(captures):
    expected, ids = defaultdict(list), []
    for name, tick in of(captures, "trade.detail"):
        for trade in tick["data"]:
            expected[name].append((trade["price"], trade["amount"], 1 if trade["direction"] == "buy" else -1))
            ids.append((trade["tradeId"], trade["ts"] * 1_000_000))
    found = read(captures, NAME)
    assert_trades_are(found, expected)
    trades = [trade for each in found.events["trade"].values() for trade in each]
    assert sorted((trade.sequence, trade.event_time_ns) for trade in trades) == sorted(ids)


def test_books_are_those_of_the_recording(captures):
    books = defaultdict(PlainBook)
    for name, tick in of(captures, "depth.step0"):
        books[name].load(tick["bids"], tick["asks"])
    assert len(books) == 10
    assert_books_are(read(captures, NAME), books)


def test_changes_join_by_the_number_before_them():
    tick = {"seqNum": 9, "prevSeqNum": 7, "bids": [[1.5, 0]], "asks": None}
    (change,) = read_one(frame("market.btcusdt.mbp.150", tick))
    assert (change.snapshot, change.previous, change.last, change.bids) == (False, 7, 9, [(1.5, 0.0)])
    answer = {"rep": "market.btcusdt.mbp.150", "status": "ok", "data": {"seqNum": 7, "bids": [[1.5, 2]], "asks": []}}
    (whole,) = read_one(answer)
    assert (whole.snapshot, whole.previous, whole.last, whole.limit) == (True, -1, 7, 150)
    (refreshed,) = read_one(frame("market.btcusdt.mbp.refresh.20", tick))
    assert (refreshed.snapshot, refreshed.previous, refreshed.limit) == (True, -1, 20)


def test_every_symbol_of_the_list_is_split_as_huobi_does(captures):
    (listed,) = (each.data["data"] for each in plain(captures, NAME) if each.url)
    best = {"seqId": 4, "quoteTime": 1618678069869, "bid": 1.0, "bidSize": 2.0, "ask": 3, "askSize": 4.0}
    assert len(listed) > 900
    for each in listed:
        (quote,) = read_one(frame(f"market.{each['symbol']}.bbo", best))
        assert quote.instrument_id == f"huobi:{each['base-currency']}-{each['quote-currency']}".upper().replace(
            "HUOBI", "huobi"
        )


def test_best_prices():
    tick = {"seqId": 4, "quoteTime": 1618678069869, "bid": 1.0, "bidSize": 2.0, "ask": 3, "askSize": 4.0}
    (quote,) = read_one(frame("market.yfihusd.bbo", tick))
    assert (quote.instrument_id, quote.bid_price, quote.ask_size, quote.sequence) == ("huobi:YFI-HUSD", 1.0, 4.0, 4)
    assert read_one(frame("market.yfihusd.bbo", tick | {"ask": 0, "askSize": 0})) == LeftOut("one-sided-quote")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"status": "error", "err-msg": "x"}, "error"),
        ({"unsubbed": "market.btcusdt.bbo", "status": "ok"}, "subscription"),
        ({"rep": "market.btcusdt.kline.1min", "data": []}, "answer"),
        (frame("market.btcusdt.depth.step3", {}), "merged-depth"),
        (frame("market.btcusdt.kline.1min", {}), "candle"),
        (frame("market.btcusdt.detail", {}), "ticker"),
        (frame("market.btcusdt.trade.detail", {"data": []}), "nothing-in-it"),
    ],
)
def test_what_is_not_read_is_named(value, kind):
    assert read_one(value) == LeftOut(kind)


def test_a_frame_that_was_unpacked_on_its_way_is_read_as_well():
    assert decode(b'{"ping":1618678073643}', "huobi") == LeftOut("ping")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            gzip.compress(b" " * (MAX_FRAME_BYTES + 1), mtime=0),
            "$: expected a frame of at most 8388608 bytes in gzip, got a larger one",
        ),
        (
            gzip.compress(b'{"ping":1}', mtime=0)[:-9],
            "$: expected a frame of at most 8388608 bytes in gzip, got a cut one",
        ),
        (gzip.compress(b'{"ping":1}', mtime=0) + b"xy", "$: expected one frame in gzip, got 2 bytes behind it"),
        (b"\x1f\x8b" + b"\x00" * 20, "$: expected a frame in gzip: "),
        (b"", "$: expected JSON, got b''"),
        (
            gzip.compress(b'{"ch":"market.btcusdt"}', mtime=0),
            "$.ch: expected a channel such as market.btcusdt.depth.step0",
        ),
        (gzip.compress(b'{"ch":"market.btcusdt.x"}', mtime=0), "$.ch: expected a channel of Huobi's spot market"),
        (gzip.compress(b'{"ch":"market.btc.bbo","tick":{}}', mtime=0), "$: object missing required field `seqId`"),
    ],
)
def test_errors(value, text):
    with pytest.raises(DecodeError) as caught:
        decode(value, "huobi")
    assert str(caught.value).startswith(text)
