"""What the page's server keeps: the newest of each instrument, bounded, the same for any interleaving of topics."""

import random

import msgspec
import pytest

from schemas.forecasts import encode_json
from schemas.rules import SECOND_NS
from schemas.topics import ATTENTION, CALIBRATION, DEAD_LETTER, FORECAST, FORECAST_SCORE, LATE_EVENT
from streams.bench.forecasts import attention_of, calibration_of, forecast_of, score_of, second_of
from streams.settings import Settings
from streams.stage import Message
from streams.view.state import ViewState
from streams.view.telling import Wish, news

NAME = "binance:BTC-USDT"
START = 1_800_000_000 * SECOND_NS


def message(topic, record, offset=0):
    value = record if isinstance(record, bytes) else encode_json(record)
    return Message(topic, 0, offset, b"", {}, value, (START + 10_000 * SECOND_NS) // 1_000_000)


def state(**changes):
    return ViewState(Settings(), **changes)


def taken(messages, **changes):
    made = state(**changes)
    for each in messages:
        made.take(each)
    return made


def shown(made, horizon="1m", name=NAME):
    told = news(made, Wish(horizon, name), 0)
    return {part: msgspec.to_builtins(told[part]) for part in ("rows", "detail") if part in told}


def test_the_newest_forecast_is_shown_and_an_older_one_does_not_go_back():
    older, newer = forecast_of(NAME, START), forecast_of(NAME, START + SECOND_NS, place=5)
    made = taken([message(FORECAST, newer), message(FORECAST, older)])
    latest = made.instruments[NAME].latest
    assert latest.id == newer.id
    assert latest.horizons["5m"] == newer.horizons["5m"]
    assert [point.origin_ns for point in made.instruments[NAME].series["1m"].points()] == [
        str(START),
        str(START + SECOND_NS),
    ]


def test_of_repeats_with_one_id_the_first_counts():
    first, again = forecast_of(NAME, START), forecast_of(NAME, START, place=9, status="fallback")
    made = taken([message(FORECAST, first), message(FORECAST, again)])
    (point,) = made.instruments[NAME].series["1m"].points()
    assert point.status == "model"
    assert point.mean == first.horizons["1m"].mean
    assert made.instruments[NAME].latest.status == "model"
    assert list(made.statuses) == ["model"]


def test_what_happened_meets_its_forecast_whichever_comes_first():
    forecast, score = message(FORECAST, forecast_of(NAME, START)), message(FORECAST_SCORE, score_of(NAME, START, "1m"))
    for order in ([forecast, score], [score, forecast]):
        (point,) = taken(order).instruments[NAME].series["1m"].points()
        assert point.realised == score_of(NAME, START, "1m").realised_variance


def test_any_interleaving_of_topics_shows_the_same():
    records = [each for tick in range(40) for each in second_of([NAME], START + tick * SECOND_NS, 4)]
    by_topic = {}
    for place, each in enumerate(records):
        by_topic.setdefault(each.topic, []).append(message(each.topic, each.value, place))
    wanted = shown(taken(each for topic in sorted(by_topic) for each in by_topic[topic]))
    draw = random.Random(3)
    for _ in range(5):
        left = {topic: list(messages) for topic, messages in by_topic.items()}
        mixed = []
        while left:
            topic = draw.choice(sorted(left))
            mixed.append(left[topic].pop(0))
            if not left[topic]:
                del left[topic]
        assert shown(taken(mixed)) == wanted


def test_memory_is_bounded_by_instruments_and_by_history():
    made = state(most=3)
    for number in range(20):
        made.take(message(FORECAST, forecast_of(f"x:{number}-USD", START + number * SECOND_NS)))
    assert sorted(made.instruments) == ["x:17-USD", "x:18-USD", "x:19-USD"]
    series = made.instruments["x:19-USD"].series["1m"]
    size = series.size_bytes
    for tick in range(2_000):
        made.take(message(FORECAST, forecast_of("x:19-USD", START + (20 + tick) * SECOND_NS)))
    assert series.size_bytes == size
    assert len(series.points()) == 900
    assert series.points()[-1].origin_ns == str(START + 2_019 * SECOND_NS)


def test_only_what_changed_is_told_again():
    made = taken([message(FORECAST, forecast_of(name, START)) for name in (NAME, "kraken:ETH-USD")])
    since = made.version
    assert news(made, Wish("1m", NAME), since) is None
    made.take(message(FORECAST, forecast_of(NAME, START + SECOND_NS)))
    told = news(made, Wish("1m", NAME), since)
    assert [row["name"] for row in told["rows"]] == [NAME]
    assert [point.origin_ns for point in told["detail"]["points"]] == [str(START + SECOND_NS)]


def test_an_explained_record_of_the_same_forecast_replaces_the_one_before_it():
    plain = attention_of(NAME, START)
    explained = msgspec.structs.replace(plain, contributions={"1m": {"trade": 0.2}})
    made = taken([message(ATTENTION, explained), message(ATTENTION, plain)])
    assert made.instruments[NAME].attention.contributions
    later = attention_of(NAME, START + SECOND_NS)
    made.take(message(ATTENTION, later))
    assert made.instruments[NAME].attention == later
    assert made.instruments[NAME].explained == explained


def test_calibration_goes_forward_only():
    newer, older = calibration_of(NAME, START + SECOND_NS, "1m"), calibration_of(NAME, START, "1m")
    made = taken([message(CALIBRATION, newer), message(CALIBRATION, older)])
    assert made.instruments[NAME].calibration["1m"] == newer


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (FORECAST, b"{"),
        (FORECAST, b'{"id": 3}'),
        (FORECAST_SCORE, b"\xff"),
        (ATTENTION, b""),
        (CALIBRATION, b"[]"),
        (LATE_EVENT, b"null"),
        (FORECAST, encode_json(forecast_of("x" * 4_000, START))),
        (FORECAST, encode_json(forecast_of(NAME, START + 10**16))),
        (FORECAST, encode_json(forecast_of(NAME, -5))),
    ],
)
def test_what_cannot_be_read_is_counted_and_changes_nothing(topic, value):
    made = taken([message(topic, value)])
    assert made.unreadable == 1
    assert not made.instruments


def test_names_at_random_fill_no_counter():
    made = state()
    for number in range(500):
        made.take(message(DEAD_LETTER, b"x")._replace(headers={"x-dlq-stage": f"s{number}".encode()}))
    assert len(made.dead_letters) == 65
    assert sum(made.dead_letters.values()) == 500


def test_a_log_that_began_anew_is_told_whole():
    made = taken([message(FORECAST, forecast_of(NAME, START))])
    before = made.epoch
    made.reset()
    assert (made.epoch, made.instruments) == (before + 1, {})
