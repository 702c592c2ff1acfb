"""What ingest tells Prometheus of books."""

import json

from schemas import Rules
from schemas.metrics import BOOK_CHANGES, BOOK_GAPS, BOOKS, EVENT_TIME_LAG, SOURCE_LAST_EVENT, VENUE_CLOCK_AHEAD
from schemas.topics import RAW_EXCHANGE
from streams.ingest.meters import Meters
from streams.ingest.normaliser import Normaliser
from streams.metrics_server import Metrics
from tests.unit.streams.formats import test_binance_combined as binance

PLACE = f"{RAW_EXCHANGE}/0"
STANDINGS = ("known", "lost", "unknown")


def feed(normaliser, *records):
    for offset, (stream, data) in enumerate(records):
        value = json.dumps({"stream": f"btcusdt@{stream}", "data": data}).encode()
        headers = {"source": b"binance", "format": b"binance-combined", "receive_time_ns": b"1700000000000000000"}
        normaliser.feed(offset, None, value, headers)


def depth(first, last):
    return "depth@100ms", binance.DEPTH | {"U": first, "u": last}


def partial(last):
    return "depth5", {"lastUpdateId": last, "bids": [["1.0", "1.0"]], "asks": [["2.0", "1.0"]]}


def test_changes_gaps_and_standings_are_counted_by_venue():
    normaliser, metrics = Normaliser(RAW_EXCHANGE, 0, Rules()), Metrics()
    meters = Meters(metrics)
    feed(normaliser, depth(1, 1), partial(1), depth(3, 3))
    meters.update(RAW_EXCHANGE, 0, normaliser, None)
    assert metrics.value(BOOK_GAPS, venue="binance", reason="gap") == 1
    outcomes = {name: metrics.value(BOOK_CHANGES, venue="binance", outcome=name) for name in ("waiting", "snapshot")}
    assert outcomes == {"waiting": 1, "snapshot": 1}
    standings = {name: metrics.value(BOOKS, venue="binance", standing=name, partition=PLACE) for name in STANDINGS}
    assert standings == {"known": 0, "lost": 1, "unknown": 0}
    # Nothing is counted twice.
    meters.update(RAW_EXCHANGE, 0, normaliser, None)
    assert metrics.value(BOOK_GAPS, venue="binance", reason="gap") == 1


def test_a_partition_that_went_elsewhere_is_told_no_more():
    normaliser, metrics = Normaliser(RAW_EXCHANGE, 0, Rules()), Metrics()
    meters = Meters(metrics)
    feed(normaliser, partial(1))
    meters.update(RAW_EXCHANGE, 0, normaliser, None)
    labels = {"venue": "binance", "standing": "known", "partition": PLACE}
    assert metrics.registry.get_sample_value(BOOKS.name, labels) == 1
    meters.forget(RAW_EXCHANGE, 0)
    assert metrics.registry.get_sample_value(BOOKS.name, labels) is None


def test_a_venue_is_told_until_no_partition_of_the_process_hears_it():
    metrics = Metrics()
    meters = Meters(metrics)
    for partition in (0, 1):
        normaliser = Normaliser(RAW_EXCHANGE, partition, Rules())
        feed(normaliser, partial(0), ("trade", binance.TRADE))
        meters.update(RAW_EXCHANGE, partition, normaliser, None)
    told = (
        (SOURCE_LAST_EVENT, {"venue": "binance", "stream": RAW_EXCHANGE}),
        (VENUE_CLOCK_AHEAD, {"venue": "binance"}),
        (EVENT_TIME_LAG, {"topic": RAW_EXCHANGE}),
    )
    meters.forget(RAW_EXCHANGE, 0)
    assert all(metrics.registry.get_sample_value(metric.name, labels) is not None for metric, labels in told)
    meters.forget(RAW_EXCHANGE, 1)
    assert all(metrics.registry.get_sample_value(metric.name, labels) is None for metric, labels in told)
