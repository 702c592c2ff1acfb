"""Bitfinex, of which nothing can be read frame by frame, and Independent Reserve, of which trades can."""

import pytest

from schemas import DecodeError, LeftOut, Trade
from streams.formats import bitfinex, independent_reserve
from tests.unit.streams.formats.recorded import assert_all_is_accounted_for, counts, plain, read


@pytest.mark.parametrize("name", ["BITFINEX", "INDEPENDENT_RESERVE"])
def test_every_recorded_frame_is_left_out_by_name(captures, name):
    found = read(captures, name)
    assert_all_is_accounted_for(found)
    assert counts(found) == {}


def test_data_of_bitfinex_names_its_channel_by_number_alone(captures):
    frames = [frame.data for frame in plain(captures, "BITFINEX") if isinstance(frame.data, list) and not frame.url]
    numbered = [frame for frame in frames if frame[1] != "hb"]
    assert not any("USD" in str(frame) or "BTC" in str(frame) for frame in numbered)
    left_out = read(captures, "BITFINEX").left_out
    assert (left_out["channel-number-alone"], left_out["heartbeat"]) == (len(numbered), len(frames) - len(numbered))


def test_orders_of_independent_reserve_go_by_number(captures):
    frames = [frame.data for frame in plain(captures, "INDEPENDENT_RESERVE") if not frame.url]
    cancelled = [frame["Data"] for frame in frames if frame["Event"] == "OrderCanceled"]
    assert cancelled
    assert all(order.keys() == {"OrderType", "OrderGuid"} for order in cancelled)


# As the venue's documentation shows it.
TRADE = b"""{"Event":"Trade","Channel":"ticker-xbt","Nonce":1,"Time":1689718320138,"Data":{"TradeGuid":
"c5bde544-d8ae-4e38-9e90-405a3f93b6d6","TradeDate":"2009-01-03T18:15:05.9321664+00:00","Volume":50.0,
"Price":{"Aud":3313.59,"Sgd":4798.92},"BidGuid":"b","OfferGuid":"o","Side":"Sell"}}"""


def test_a_trade_of_independent_reserve_counts_in_its_first_currency():
    assert independent_reserve.decode(TRADE, "independent-reserve") == [
        Trade(
            instrument_id="independent-reserve:BTC-AUD",
            venue="independent-reserve",
            event_time_ns=1689718320138000000,
            sequence=1,
            id="c5bde544-d8ae-4e38-9e90-405a3f93b6d6",
            price=3313.59,
            size=50.0,
            side=-1,
        )
    ]
    older = TRADE.replace(b'{"Aud":3313.59,"Sgd":4798.92}', b"3313.59").replace(b"ticker-xbt", b"ticker-xbt-nzd")
    (trade,) = independent_reserve.decode(older, "independent-reserve")
    assert (trade.instrument_id, trade.price) == ("independent-reserve:BTC-NZD", 3313.59)


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (bitfinex, b'{"event":"x"}', "expected an event of Bitfinex, got 'x'"),
        (bitfinex, b'["x",[]]', "expected `int`, got `str`"),
        (bitfinex, b"[1]", "expected `array` of length >= 2"),
        (independent_reserve, b'{"Event":"x"}', "expected an event of Independent Reserve, got 'x'"),
        (independent_reserve, TRADE.replace(b"50.0", b"0"), "expected `float` > 0.0"),
        (independent_reserve, TRADE.replace(b'{"Aud":3313.59,"Sgd":4798.92}', b"{}"), "expected a price in a currency"),
        (independent_reserve, TRADE.replace(b"ticker-xbt", b"x"), "expected a channel such as ticker-xbt-aud, got 'x'"),
    ],
)
def test_frames_that_cannot_be(form, value, text):
    with pytest.raises(DecodeError) as caught:
        form.decode(value, "x")
    assert text in str(caught.value)


def test_words_of_the_connection():
    assert bitfinex.decode(b'[5,"hb"]', "bitfinex") == LeftOut("heartbeat")
    assert independent_reserve.decode(b'{"Event":"Heartbeat","Time":1}', "x") == LeftOut("heartbeat")
