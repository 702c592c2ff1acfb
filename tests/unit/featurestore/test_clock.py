"""Each sub-rule of DESIGN 4.2, and the timelines of event time that broke other designs.

Times are in seconds. Rules of these tests: allowed lateness 2.5, idle timeout 5, greatest venue lag
10, future 60. `R` is the greatest receive time, `W` the watermark.
"""

import msgspec
import pytest

from featurestore.clock import ClockState, EventClock
from schemas import Rules

RULES = Rules()


class Timeline:
    """A clock that is told seconds, and answers in seconds."""

    def __init__(self, clock=None):
        self.clock = EventClock(RULES) if clock is None else clock

    def record(self, received, *events):
        """Feed one raw record of (venue, event time) and return why each event is refused."""
        self.clock.open(nanoseconds(received))
        reasons = [self.clock.observe(venue, nanoseconds(time)) for venue, time in events]
        self.clock.close()
        return reasons

    @property
    def watermark(self):
        return self.clock.watermark_ns / 1e9


def nanoseconds(seconds):
    return round(seconds * 1e9)


@pytest.fixture
def timeline():
    return Timeline()


def test_the_watermark_follows_the_venue_by_the_allowed_lateness(timeline):
    # R    100       101
    # a    99.9      100.9
    # W    97.4      98.4
    timeline.record(100, ("a", 99.9))
    assert timeline.watermark == 97.4
    timeline.record(101, ("a", 100.9))
    assert timeline.watermark == 98.4


def test_an_event_below_the_watermark_is_late_and_one_exactly_at_it_is_accepted(timeline):
    # R    100        100.1
    # a    100        97.5 accepted   97.499999999 late
    # W    97.5
    timeline.record(100, ("a", 100))
    assert timeline.record(100.1, ("a", 97.5), ("a", 97.499999999)) == [None, "late"]


def test_an_event_is_judged_by_the_watermark_from_before_its_own_record(timeline):
    # R    100            110
    # a    100            110 and 98 in one frame: W was 97.5 when the frame came
    # W    97.5           107.5
    timeline.record(100, ("a", 100))
    assert timeline.record(110, ("a", 110), ("a", 98)) == [None, None]
    assert timeline.watermark == 107.5
    assert timeline.record(110, ("a", 98)) == ["late"]


def test_the_order_within_a_record_decides_nothing():
    one, other = Timeline(), Timeline()
    for timeline in (one, other):
        timeline.record(100, ("a", 100))
    assert one.record(103, ("a", 103), ("a", 97)) == list(reversed(other.record(103, ("a", 97), ("a", 103))))
    assert one.clock.state() == other.clock.state()


def test_nothing_is_late_in_the_first_record(timeline):
    assert timeline.record(100, ("a", 3)) == [None]


def test_the_receive_time_never_falls(timeline):
    # A recorder's clock stepped back: R stays, so the venue is not taken for one ahead.
    timeline.record(100, ("a", 100))
    timeline.record(90, ("a", 99.5))
    assert timeline.clock.receive_time_ns == nanoseconds(100)
    assert timeline.watermark == 97.5


def test_a_record_counts_into_its_own_receive_time(timeline):
    # R    100       105 with an event at 105: within R, since R has the record itself
    timeline.record(100, ("a", 100))
    timeline.record(105, ("a", 105))
    assert timeline.watermark == 102.5


def test_the_slowest_venue_decides(timeline):
    # a    100         101
    # b          99          (b: 1 s behind)
    # W    97.5  96.5: W does not fall to it, it stays at 97.5
    timeline.record(100, ("a", 100))
    timeline.record(100, ("b", 99))
    timeline.record(101, ("a", 101))
    assert timeline.watermark == 97.5
    timeline.record(102, ("a", 102), ("b", 101))
    assert timeline.watermark == 98.5


def test_the_watermark_never_falls(timeline):
    # a venue that comes back far behind re-enters the minimum: W stays where it was
    # a    100     103     106     107
    # b    100     (silent, idle at 106)   98
    timeline.record(100, ("a", 100), ("b", 100))
    for now in (103, 106):
        timeline.record(now, ("a", now))
    assert timeline.watermark == 103.5
    assert timeline.record(107, ("a", 107), ("b", 98)) == [None, "late"]
    assert timeline.watermark == 103.5


def test_a_venue_ahead_of_the_receive_time_does_not_make_others_late(timeline):
    # b's clock runs 30 s ahead; a clock must never pass the receive time.
    # a    100            101
    # b    130            131
    assert timeline.record(100, ("a", 100), ("b", 130)) == [None, None]
    assert timeline.watermark == 97.5
    assert timeline.record(101, ("b", 131)) == [None]
    assert timeline.record(101, ("a", 101)) == [None]
    assert timeline.watermark == 98.5


def test_a_venue_clock_is_at_most_the_receive_time_of_its_record(timeline):
    # b    130 at R = 100: its clock is 100, and while b is silent nobody knows that it is past that
    # hb             103
    timeline.record(100, ("b", 130))
    timeline.record(103)
    assert timeline.watermark == 97.5


def test_a_venue_clock_never_falls(timeline):
    # a    100    99 (out of order)
    # W    97.5   stays where 100 had put it, and goes on from there
    timeline.record(100, ("a", 100))
    timeline.record(101, ("a", 99))
    timeline.record(101, ("b", 101))
    assert timeline.watermark == 97.5
    assert timeline.clock.state().venues["a"].clock_ns == nanoseconds(100)


def test_a_silent_venue_holds_the_watermark_for_the_idle_timeout_and_no_longer(timeline):
    # a    100   silent
    # b    100   103     105      105.1
    # W    97.5  97.5    97.5     102.6: a is idle, more than 5 s silent
    timeline.record(100, ("a", 100), ("b", 100))
    for now in (103, 105):
        timeline.record(now, ("b", now))
        assert timeline.watermark == 97.5
    timeline.record(105.1, ("b", 105.1))
    assert timeline.watermark == 102.6


def test_silence_of_all_is_data_too(timeline):
    # heartbeats alone move R; after the idle timeout W follows R
    # a    100
    # hb          101  ...  105  106
    timeline.record(100, ("a", 100))
    for now in range(101, 106):
        timeline.record(now)
        assert timeline.watermark == 97.5
    timeline.record(106)
    assert timeline.watermark == 103.5


def test_one_rare_record_does_not_stall_the_partition(timeline):
    # a liquidation of venue `rare`, then nothing of it for ever
    timeline.record(100, ("a", 100), ("rare", 99.9))
    for now in range(101, 120):
        timeline.record(now, ("a", now))
    assert timeline.watermark == 116.5


def test_a_lagging_venue_counts_as_at_most_the_greatest_lag_behind(timeline):
    # b is an hour behind and speaks all the time: it costs 10 s, not an hour
    # W = R - 10 - 2.5
    for now in range(10_000, 10_020):
        timeline.record(now, ("a", now), ("b", now - 3600))
    assert timeline.watermark == 10_019 - 12.5


def test_a_venue_that_sends_no_event_time_is_at_the_receive_time(timeline):
    # a record with known time only is not observed: W = R - 2.5
    timeline.record(100)
    assert timeline.watermark == 97.5


def test_only_event_time_records_count_as_heard(timeline):
    # venue `a` sent one trade, then only quotes without event time (records that observe nothing):
    # it does not stay "alive at 10 s behind", it is idle after 5 s
    timeline.record(100, ("a", 100))
    for now in range(101, 108):
        timeline.record(now)
    assert timeline.watermark == 104.5


def test_a_future_event_is_refused_and_moves_no_clock(timeline):
    # R    100                             101
    # a    100    160.000000001 future     100.9 normal
    timeline.record(100, ("a", 100))
    before = timeline.clock.state()
    assert timeline.record(100, ("a", 160.000000001), ("new", 1000)) == ["future", "future"]
    assert timeline.clock.state() == before
    assert timeline.record(101, ("a", 100.9)) == [None]


def test_an_event_exactly_at_the_limit_of_the_future_is_believed(timeline):
    assert timeline.record(100, ("a", 160)) == [None]
    assert timeline.watermark == 97.5


def test_a_future_event_does_not_count_as_heard(timeline):
    # a sends nothing but nonsense from 101 on: idle after 5 s, it does not hold the watermark
    timeline.record(100, ("a", 100))
    for now in range(101, 108):
        timeline.record(now, ("a", now + 1000))
    assert timeline.watermark == 104.5


def test_a_late_event_shows_that_its_venue_lives(timeline):
    # a idle since 106, comes back with an old event: late itself, but a is heard again and holds W
    timeline.record(100, ("a", 100))
    timeline.record(108)
    assert timeline.watermark == 105.5
    assert timeline.record(109, ("a", 105)) == ["late"]
    timeline.record(110)
    assert timeline.watermark == 105.5


def test_lateness_is_decided_per_raw_partition_not_by_arrival_in_a_merged_log():
    # p sends A@2.0 s, then A@1.0 s; q sends B@0 s. Merged as "p q" A@1.0 and B would be late, as
    # "q p" neither; each partition has a clock of its own, so neither is, however they interleave.
    p, q = Timeline(), Timeline()
    assert p.record(102.0, ("a", 102.0)) == [None]
    assert p.record(102.1, ("a", 101.0)) == [None]
    assert q.record(102.2, ("b", 100.0)) == [None]


def test_data_that_waited_while_ingest_was_down_is_not_late(timeline):
    # Down from 101 to 170: the log holds what came meanwhile, and behind it the first new
    # heartbeat. Time comes from the records, so the data is read in its own time.
    timeline.record(100, ("a", 100))
    reasons = [timeline.record(100 + n, ("a", 100 + n)) for n in range(1, 60)]
    assert reasons == [[None]] * 59
    timeline.record(170)
    assert timeline.watermark == 167.5


def test_blocks_that_are_known_late_must_not_be_observed():
    # Blocks every 12 s, 4 s old on arrival. By event time most are late, which is why on-chain
    # records have known time and are never observed.
    by_event_time = Timeline()
    reasons = []
    for block in range(10):
        now = 100 + 12 * block
        reasons += by_event_time.record(now, ("chain", now - 4))
        for second in range(1, 12):
            by_event_time.record(now + second)
    assert reasons.count("late") == 9


def test_a_restored_clock_decides_as_the_one_that_went_on(timeline):
    timeline.record(100, ("a", 100), ("b", 98))
    timeline.record(104, ("a", 104))
    encoded = msgspec.json.encode(timeline.clock.state())
    restored = Timeline(EventClock(RULES, msgspec.json.decode(encoded, type=ClockState)))
    for now in (105, 106, 109, 130):
        record = (now, ("a", now - 1), ("c", now - 2))
        assert restored.record(*record) == timeline.record(*record)
        assert restored.clock.state() == timeline.clock.state()


def test_a_state_is_a_copy(timeline):
    timeline.record(100, ("a", 100))
    state = timeline.clock.state()
    timeline.record(110, ("a", 110))
    assert state.venues["a"].clock_ns == nanoseconds(100)
    EventClock(RULES, state).observe("a", 1)
    assert state.venues["a"].heard_ns == nanoseconds(100)


def test_venues_that_no_longer_matter_are_forgotten(timeline):
    # Hostile frames may name any number of venues; the state stays small.
    for now in range(1000, 2000):
        timeline.record(now, (f"venue-{now}", now))
    assert len(timeline.clock.state().venues) <= 11
