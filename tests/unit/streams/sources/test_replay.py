import math

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas import BARS, TICKS, ForeshockError
from schemas.instruments import partition_of_key
from schemas.rules import MINUTE_NS, SECOND_NS
from schemas.topics import RAW_EXCHANGE, RAW_ONCHAIN
from streams.sources import HEARTBEAT, RawMessage
from streams.sources.replay import quiet_ns, replay, with_heartbeats

T0 = 1_700_000_000 * SECOND_NS
PARTITIONS = [(topic, p) for topic, count in TICKS.raw_partitions.items() for p in range(count)]


def at(seconds, key=b"binance/btcusdt", topic=RAW_EXCHANGE):
    return RawMessage(topic, key, b"{}", "binance", "binance-combined", T0 + round(seconds * 1e9))


def rounds(placed):
    """Times of heartbeats, in seconds since T0; each round must be complete."""
    beats = [(topic, p, m.receive_time_ns) for topic, p, m in placed if m.format == HEARTBEAT]
    times = [time for *_, time in beats[:: len(PARTITIONS)]]
    assert beats == [(topic, p, time) for time in times for topic, p in PARTITIONS]
    return [(time - T0) / 1e9 for time in times]


def test_rounds_stand_at_row_borders_plus_lateness_in_order_with_the_data():
    # lateness 2.5 s: rounds at x.5 s, the first not after the data
    #  0.5   m0.7   1.5   2.5  m2.5   3.5 ...
    placed = list(with_heartbeats([at(0.7), at(2.5)], TICKS))
    times = [(m.receive_time_ns - T0) / 1e9 for *_, m in placed if m.format != HEARTBEAT or _[1] == 0]
    kinds = [m.format == HEARTBEAT for *_, m in placed]
    assert kinds[:7] == [True] * 6 + [False]
    assert rounds(placed)[:4] == [0.5, 1.5, 2.5, 3.5]
    assert times == sorted(times)
    # The message at the time of a round comes before it.
    data = [i for i, is_beat in enumerate(kinds) if not is_beat]
    assert data == [6, 13]
    assert placed[14][2].receive_time_ns == T0 + 2_500_000_000


def test_data_lie_in_the_partition_of_their_connection():
    messages = [at(0.1, key=b"binance/%d" % i) for i in range(20)] + [at(0.2, topic=RAW_ONCHAIN)]
    placed = [p for p in with_heartbeats(messages, TICKS) if p[2].format != HEARTBEAT]
    assert [p for _, p, _ in placed[:-1]] == [partition_of_key(b"binance/%d" % i, 4) for i in range(20)]
    assert placed[-1][:2] == (RAW_ONCHAIN, 0)


def test_heartbeats_go_on_until_every_venue_is_idle_and_stop():
    # last message at 0.7 s, quiet after 17.5 s: the first round not before 18.2 s is the last
    assert rounds(with_heartbeats([at(0.7)], TICKS)) == [0.5 + n for n in range(19)]
    assert quiet_ns(TICKS) == 17_500_000_000


def test_a_pause_within_the_listing_time_is_told_and_a_longer_one_parts_two_runs():
    pause = rounds(with_heartbeats([at(0.7), at(600.7)], TICKS))
    assert pause == [0.5 + n for n in range(619)]
    year = 365 * 86_400
    apart = rounds(with_heartbeats([at(0.7), at(year + 0.7)], TICKS))
    assert apart == [0.5 + n for n in range(19)] + [year + 0.5 + n for n in range(19)]


def test_bars_have_a_round_each_five_minutes():
    messages = [at(0), at(300)]
    times = rounds(with_heartbeats(messages, BARS))
    assert all((T0 + t * 1e9 - 2.5e9) % (5 * MINUTE_NS) == 0 for t in times)
    assert times[0] <= 0 < times[1] <= 300 < times[2]
    assert len(times) == 3


def test_a_clock_that_steps_back_moves_no_round():
    there = rounds(with_heartbeats([at(0.7), at(5.7), at(6.0)], TICKS))
    assert rounds(with_heartbeats([at(0.7), at(5.7), at(1.0), at(6.0)], TICKS)) == there


def test_nothing_makes_no_heartbeats_and_a_strange_topic_is_refused():
    assert list(with_heartbeats([], TICKS)) == []
    with pytest.raises(ForeshockError, match=r"other: not a raw topic of these rules, which know raw\.exchange\.v1"):
        list(with_heartbeats([at(0, topic="other")], TICKS))


class Log:
    """Takes what replay produces; its clock moves when it is polled."""

    def __init__(self, room=10**9, fail=False):
        self.now, self.room, self.fail = 100.0, room, fail
        self.records, self.times, self.queued = [], [], 0

    def clock(self):
        return self.now

    def produce(self, topic, **record):
        if self.queued >= self.room:
            raise BufferError
        self.queued += 1
        self.records.append((topic, record["partition"], record["key"], record["value"], record["headers"]))
        self.times.append((self.now, record["timestamp"]))
        if self.fail:
            record["on_delivery"]("broker gone", self)

    def topic(self):
        return RAW_EXCHANGE

    def partition(self):
        return 3

    def poll(self, timeout):
        self.now += timeout
        self.queued = 0
        return 0

    def flush(self, timeout):
        return 0


def messages():
    return [at(n / 10, key=b"binance/%d" % (n % 5)) for n in range(100)]


def test_what_replay_writes_does_not_depend_on_its_speed_or_the_queue():
    logs = [Log(), Log(), Log(room=7)]
    for log, speed in zip(logs, (math.inf, 10, 1), strict=True):
        done = replay(messages(), log, TICKS, speed=speed, clock=log.clock)
        assert (done.messages, done.heartbeats) == (100, len(log.records) - 100)
    assert logs[0].records == logs[1].records == logs[2].records
    assert logs[0].records[-1][2:4] == (None, b"")


@pytest.mark.parametrize("speed", [1, 20])
def test_replay_keeps_its_speed(speed):
    log = Log()
    replay(messages(), log, TICKS, speed=speed, clock=log.clock)
    start, first = log.times[0]
    for now, timestamp_ms in log.times:
        assert now - start == pytest.approx((timestamp_ms - first) / 1000 / speed, abs=0.003)


def test_runs_that_are_apart_follow_without_a_wait():
    log = Log()
    replay([at(0.7), at(1e8)], log, TICKS, speed=1, clock=log.clock)
    assert log.now - 100 < 60


def test_a_lost_record_and_a_stuck_queue_end_the_replay():
    log = Log(fail=True)
    with pytest.raises(ForeshockError, match=r"raw.exchange.v1\[3\]: a raw message was not delivered: broker gone"):
        replay(messages(), log, TICKS, clock=log.clock)
    with pytest.raises(ForeshockError, match="the producer's queue stayed full for 120 s"):
        replay(messages(), stuck := Log(room=0), TICKS, clock=stuck.clock)
    with pytest.raises(ForeshockError, match="expected a speed above 0"):
        replay(messages(), log, TICKS, speed=0)


def test_a_message_that_kafka_cannot_take_is_named():
    class Small(Log):
        def produce(self, topic, **record):
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))

    with pytest.raises(
        ForeshockError, match=r"raw\.exchange\.v1: a message of 0 bytes of connection .* cannot be sent"
    ):
        replay(messages(), Small(), TICKS)


def test_progress_is_told():
    seen = []
    log = Log()
    replay(
        messages(), log, TICKS, speed=1, progress=lambda p: seen.append((p.messages, p.lag_seconds)), clock=log.clock
    )
    assert len(seen) > 50
    assert seen[-1][0] == 100
    assert max(lag for _, lag in seen) < 0.01
