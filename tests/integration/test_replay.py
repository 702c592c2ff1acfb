"""Replay on a real broker: each record in its partition, in order, with its headers and its time."""

from collections import defaultdict

from schemas import TICKS
from schemas.rules import SECOND_NS
from streams import kafka as broker
from streams.pipeline import raw_producer
from streams.settings import Settings
from streams.sources.market import market
from streams.sources.replay import replay, with_heartbeats

START = 1_750_000_000 * SECOND_NS


def test_the_raw_topics_hold_what_was_replayed_in_order(kafka):
    settings = Settings(bootstrap_servers=kafka.bootstrap_servers)
    broker.create_topics(settings)
    replay(market(5, START, 60), raw_producer(settings), TICKS)
    expected = defaultdict(list)
    for topic, partition, message in with_heartbeats(market(5, START, 60), TICKS):
        expected[topic, partition].append((message.key or None, message.value, message.headers()))
    for topic in TICKS.raw_partitions:
        read = defaultdict(list)
        for record in broker.read_topic(settings, topic):
            read[record.partition].append(record)
        for partition, records in read.items():
            wanted = expected[topic, partition]
            ours = records[-len(wanted) :]  # other tests may have written before
            assert [(record.key, record.value, record.headers) for record in ours] == wanted
            for record in ours:
                assert record.timestamp_ms == int(record.headers["receive_time_ns"]) // 1_000_000
