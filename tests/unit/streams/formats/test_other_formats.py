"""Bars, token transfers, posts, and frames of venues that are not read yet."""

import json
import time

import pytest

from schemas import Bar, DecodeError, Flow, ForeshockError, LeftOut, Score
from streams import formats as package
from streams.formats import bars, ethereum_etl, formats, posts
from streams.formats.assets_in_text import assets_in

BAR = {
    "instrument_id": "binance:BTC-USDT",
    "interval": "5m",
    "start_time_ns": 1672531200000000000,
    "open": 1.0,
    "high": 2.0,
    "low": 1.0,
    "close": 1.5,
    "volume": 3.0,
    "trade_count": 9,
}
ZERO = "0x" + "0" * 40
SOMEONE = "0x" + "A" * 40
TRANSFER = {
    "type": "token_transfer",
    "token_address": "0xdAC17F958D2ee523a2206206994597C13D831ec7",
    "from_address": ZERO,
    "to_address": SOMEONE,
    "value": "12000000000000",
    "transaction_hash": "0x" + "b" * 64,
    "log_index": 12,
    "block_number": 17000000,
    "block_timestamp": 1680652799,
}
WBTC = "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599"


def encoded(record):
    return json.dumps(record).encode()


def test_formats_are_found_by_being_there():
    assert {"bars", "binance-combined", "cryptofeed", "ethereum-etl", "posts", "kraken-websocket"} <= formats().keys()


def test_a_format_that_is_there_twice_is_refused(monkeypatch):
    monkeypatch.setattr(posts, "FORMAT", "bars")
    formats.cache_clear()
    with pytest.raises(ForeshockError, match=r"posts\.py: the format 'bars' is there twice"):
        package.formats()
    formats.cache_clear()


def test_a_bar_ends_one_nanosecond_before_the_next_begins():
    assert bars.decode(encoded(BAR), "binance") == [
        Bar(
            instrument_id="binance:BTC-USDT",
            venue="binance",
            event_time_ns=1672531499999999999,
            open=1.0,
            high=2.0,
            low=1.0,
            close=1.5,
            volume=3.0,
            trade_count=9.0,
            interval_ns=300_000_000_000,
        )
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"close": 2.5}, "$: expected low <= open, close <= high, got PlainBar"),
        ({"open": None}, "$.open: expected `float`, got `null`"),
        ({"volume": -1}, "$.volume: expected `float` >= 0.0, got -1"),
        ({"interval": "5 minutes"}, "$.interval: expected an interval such as 5m, 1h or 1d, got '5 minutes'"),
        ({"instrument_id": "BTCUSDT"}, "$.instrument_id: expected `str` matching regex"),
        ({"start_time_ns": 0}, "$.start_time_ns: expected `int` >= 1, got 0"),
        ({"start_time_ns": 10**40}, "$.start_time_ns: expected `int` <= 4102444800000000000"),
    ],
)
def test_bars_that_cannot_be(change, text):
    with pytest.raises(DecodeError) as caught:
        bars.decode(encoded(BAR | change), "binance")
    assert str(caught.value).startswith(text)


def test_a_mint_of_a_stablecoin_concerns_every_asset():
    (flow,) = ethereum_etl.decode(encoded(TRANSFER), "ethereum")
    assert flow == Flow(
        instrument_id="*",
        venue="ethereum",
        event_time_ns=1680652799000000000,
        sequence=17000000,
        id=TRANSFER["transaction_hash"] + ":12",
        kind="mint",
        token="USDT",
        amount=12e6,
        amount_usd=12e6,
        from_address=ZERO,
        to_address=SOMEONE.lower(),
        block=17000000,
    )


@pytest.mark.parametrize(("sender", "receiver", "kind"), [(SOMEONE, ZERO, "burn"), (SOMEONE, SOMEONE, "transfer")])
def test_kinds_of_flow(sender, receiver, kind):
    (flow,) = ethereum_etl.decode(encoded(TRANSFER | {"from_address": sender, "to_address": receiver}), "ethereum")
    assert flow.kind == kind


def test_a_wrapped_asset_concerns_that_asset_and_has_no_price():
    record = TRANSFER | {"token_address": WBTC, "value": 250000000, "block_timestamp": "2023-04-05T00:00:00Z"}
    (flow,) = ethereum_etl.decode(encoded(record), "ethereum")
    assert (flow.instrument_id, flow.token, flow.amount, repr(flow.amount_usd)) == ("BTC", "WBTC", 2.5, "nan")
    assert flow.event_time_ns == 1680652800000000000


def test_other_tokens_and_other_records_are_left_out():
    assert ethereum_etl.decode(encoded(TRANSFER | {"token_address": SOMEONE}), "x") == LeftOut("other-token")
    assert ethereum_etl.decode(b'{"type": "block", "number": 5}', "x") == LeftOut("block")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"value": -1}, "$.value: expected `float` >= 0.0, got -1"),
        ({"value": "1" + "0" * 100}, "$.value: expected `float` < 1.157920892373162e+77"),
        ({"from_address": "0x"}, "$.from_address: expected `str` matching regex '^0x[0-9a-fA-F]{40}$', got '0x'"),
        ({"type": "tokens"}, "$.type: expected a type of record of ethereum-etl, got 'tokens'"),
        (
            {"block_timestamp": "noon"},
            "$.block_timestamp: expected a time (ISO 8601, RFC 5322 or a number), got 'noon'",
        ),
        ({"log_index": None}, "$.log_index: expected `int`, got `null`"),
    ],
)
def test_transfers_that_cannot_be(change, text):
    with pytest.raises(DecodeError) as caught:
        ethereum_etl.decode(encoded(TRANSFER | change), "x")
    assert str(caught.value).startswith(text)


def test_a_post_is_scored_for_each_asset_that_it_mentions():
    post = {
        "id": 7,
        "title": "Disaster for BTC holders",
        "text": "terrible <b>Solana</b> hack",
        "published": 1700000000,
    }
    scores = posts.decode(encoded(post), "newswire")
    assert [score.instrument_id for score in scores] == ["BTC", "SOL"]
    assert {(score.venue, score.id, score.event_time_ns) for score in scores} == {("newswire", "7", 1700000000 * 10**9)}
    assert all(score.score < -0.8 and score.words == 7 for score in scores)


def test_assets_that_the_feed_names_go_before_those_in_the_text():
    scores = posts.decode(b'{"text": "BTC and ETH", "assets": ["TON", "ADA", "TON"]}', "x")
    assert [score.instrument_id for score in scores] == ["ADA", "TON"]
    (score,) = posts.decode(b'{"text": "BTC", "assets": []}', "x")
    assert score.instrument_id == "BTC"


def test_a_post_of_no_asset_concerns_all():
    (score,) = posts.decode(b'{"text": "markets rally, great gains"}', "x")
    assert isinstance(score, Score)
    assert (score.instrument_id, score.score > 0.7, score.event_time_ns, score.id) == ("*", True, 0, "")


RSS = b"""<?xml version="1.0"?><item><title>Great rally</title><link>http://x/y</link><guid>g1</guid>
<pubDate>Tue, 14 Nov 2023 22:13:20 GMT</pubDate><description><![CDATA[<p>very good gains</p>]]></description></item>"""
ATOM = b"""<entry xmlns="http://www.w3.org/2005/Atom"><title>Great rally</title><link href="http://x/y"/><id>g1</id>
<updated>2023-11-14T22:13:20Z</updated><summary>very good gains</summary></entry>"""


@pytest.mark.parametrize("entry", [RSS, ATOM])
def test_feed_entries(entry):
    (score,) = posts.decode(entry, "rss")
    assert (score.id, score.event_time_ns, score.words) == ("g1", 1700000000 * 10**9, 5)
    assert score.score > 0.8


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'{"published": 1}', "$: expected a title or a text, got neither"),
        (b'{"text": "<p></p>"}', "$: expected a title or a text, got neither"),
        (
            b'{"text": "x", "assets": ["a:b"]}',
            "$.assets[0]: expected `str` matching regex '^[A-Z0-9]{1,20}$', got 'a:b'",
        ),
        (b'{"text": 5}', "$.text: expected `str | null`, got `int`"),
        (b'{"text": "x", "published": "yesterday"}', "$.published: expected a time"),
        (b'{"text": "x", "published": -5}', "$.published: expected a time between 1970 and 2100, got -5"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><item><title>&b;</title></item>', "$: expected an entry without a document"),
        (b"<item><title>", "$: expected an RSS item or Atom entry"),
        (b"<html/>", "/: expected an item or an entry, got 'html'"),
        (b"<item>\xff</item>", "$: expected UTF-8"),
        ('<?xml version="1.0"?><item/>'.encode("utf-16"), "$: expected"),
    ],
)
def test_posts_that_cannot_be(value, text):
    with pytest.raises(DecodeError) as caught:
        posts.decode(value, "x")
    assert str(caught.value).startswith(text)


def test_a_hostile_post_costs_little_time():
    # VADER spells out each emoji: 4,000 of them took it 3 s
    started = time.perf_counter()
    for text in ("\U0001f600" * 80_000, "but " * 80_000, "<" * 900_000, "not good " * 80_000):
        posts.decode(encoded({"text": text}), "x")
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("text", "assets"),
    [
        ("Bitcoin and ethereum", ["BTC", "ETH"]),
        ("$sol, XRP; doge is a word but DOGE a ticker", ["SOL", "XRP", "DOGE"]),
        ("bitcoin cash only", ["BCH"]),
        ("the link, a dot, uni", []),
        ("SOLANA", ["SOL"]),
        ("US-BTC and xETHx", []),
    ],
)
def test_assets_in_text(text, assets):
    assert assets_in(text) == assets


def test_every_format_that_captures_are_replayed_in_is_known(captures):
    from streams.sources.captures import find_captures

    found = find_captures([captures / "ws_captures_cryptofeed"])
    assert {next(iter(capture.read())).format for capture in found.files} <= formats().keys()
