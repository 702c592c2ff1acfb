"""What a backfill says that it read, against what it was given."""

from collections import Counter

from schemas.rules import SECOND_NS, TICKS
from streams.backfill import Outcome, normalised
from streams.sources.faults import damage
from streams.sources.market import market


def test_every_frame_given_is_accounted_for():
    given = list(damage(market(1, 1_767_225_600 * SECOND_NS, 3), ratio=0.05, seed=2))
    outcome = Outcome()
    offsets = Counter()
    records = []
    for message in given:
        records.append((message.topic, 0, offsets[message.topic], message.key, message.value, message.headers()))
        offsets[message.topic] += 1
    assert sum(1 for _ in normalised(records, TICKS, outcome))
    assert outcome.frames_in == len(given) == outcome.frames.total()
    assert outcome.frames["dead-letter"] > 0
    lines = list(outcome.lines())
    assert lines[0] == f"{len(given):,} raw frames read"
    told = [
        int(line.split()[0].replace(",", ""))
        for line in lines[1:-1]
        if line.startswith("  ") and " events of " not in line
    ]
    assert sum(told) == len(given)


def test_the_account_is_in_plain_words():
    outcome = Outcome(frames_in=1_007, events=2_000, tiles=300, rows=40, row_messages=20)
    outcome.frames.update(
        {"decoded": 1_000, "left-out:pong": 4, "left-out:aggTrade": 2, "dead-letter": 1, "heartbeat": 9}
    )
    outcome.late.update({("binance", "late"): 3, ("okx", "future"): 1})
    assert list(outcome.lines()) == [
        "1,007 raw frames read",
        "  1,000 were understood and gave 2,000 events",
        "  3 more events of binance came too late and are in no tile",
        "  1 more events of okx were too far ahead of their time and are in no tile",
        "  6 are of kinds that nothing here uses: aggTrade 2, pong 4",
        "  1 could not be understood: live they go to dead-letter.v1",
        "9 heartbeats beside them, which tell of the time where nothing came",
        "300 tiles and 40 feature rows made; the rows in 20 messages, one for each partition and border",
    ]
    assert len(list(Outcome(tiles=1).lines())) == 1
