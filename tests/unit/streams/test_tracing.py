"""Which trace a record belongs to: a function of the record alone."""

import re

import pytest

from schemas.forecasts import cloud_event_headers
from schemas.rows import RowHeader, row_headers
from schemas.topics import DEAD_LETTER, EXCHANGE_EVENT, FEATURE_ROW, FORECAST, OPS_PARITY
from streams.tracing import Tracing

SECOND_NS = 1_000_000_000
BORDER_NS = 1_767_225_601 * SECOND_NS
ROW = row_headers(RowHeader(BORDER_NS, 2, "rules", "set"))
FORECASTS = [
    cloud_event_headers("forecast", f"binance:{n}@{BORDER_NS}", BORDER_NS, n) for n in ("BTC-USDT", "ETH-USDT")
]
EVENTS = [("record", b"trade"), ("raw", b"0")]


def tracing(share=1.0):
    return Tracing("0123456789ab", SECOND_NS, share)


def parent(*arguments, share=1.0):
    return dict(tracing(share).headers(*arguments)).get("traceparent", b"").decode()


def test_frames_row_and_forecast_of_a_border_have_one_trace():
    # 0 s       1 s       2 s
    # (---------](--------]
    #    e     e r,f e        e: events received, r: row, f: forecast of the border at 1 s
    events = [parent(EXCHANGE_EVENT, EVENTS, BORDER_NS - early_ns) for early_ns in (SECOND_NS - 1, 0)]
    traces = {each[3:35] for each in (*events, parent(FEATURE_ROW, ROW), *(parent(FORECAST, f) for f in FORECASTS))}
    assert len(traces) == 1
    assert parent(EXCHANGE_EVENT, EVENTS, BORDER_NS + 1)[3:35] not in traces


def test_it_is_what_w3c_says_and_each_message_is_a_span_of_its_own():
    made = [parent(FEATURE_ROW, ROW), *(parent(FORECAST, each) for each in FORECASTS)]
    assert all(re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01", each) for each in made)
    assert len({each[36:52] for each in made}) == 3
    assert made == [parent(FEATURE_ROW, ROW), *(parent(FORECAST, each) for each in FORECASTS)]


def test_without_a_share_nothing_is_added():
    assert tracing(0.0).headers(FEATURE_ROW, ROW) == ROW


def test_a_share_of_the_borders_is_sampled_and_the_others_are_marked_too():
    rows = [row_headers(RowHeader(BORDER_NS + second * SECOND_NS, 2, "r", "s")) for second in range(2_000)]
    flags = [parent(FEATURE_ROW, row, share=0.1)[-2:] for row in rows]
    assert set(flags) == {"00", "01"}
    assert 150 < flags.count("01") < 250


@pytest.mark.parametrize(
    ("topic", "headers"),
    [
        (DEAD_LETTER, ROW),
        (OPS_PARITY, cloud_event_headers("parity", "a", BORDER_NS, "0")),
        (FEATURE_ROW, [*ROW, ("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")]),
    ],
)
def test_dead_letters_and_what_has_no_border_or_a_trace_already_stay_as_they_are(topic, headers):
    assert list(tracing().headers(topic, headers)) == headers
