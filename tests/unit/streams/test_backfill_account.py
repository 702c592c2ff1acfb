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
    assert next(outcome.lines()) == f"frames in {len(given):,}"
