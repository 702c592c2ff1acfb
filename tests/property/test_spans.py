"""A backfill in spans, each step by another process for all it knows, gives the rows of one that reads all at once."""

import pickle
import random

import pytest
from small_catalogue import book_catalogue
from world import MS, RULES, decode, random_log

from featurestore.announced import announcement_of
from featurestore.backfill import CanonicalMessage, backfill
from featurestore.spans import EventState, Job, RowState, close_tiles, make_rows, tell_parts
from schemas.topics import EVENT_TOPICS
from streams.ingest.normaliser import Normaliser

WHOLE = book_catalogue()
OLD = WHOLE.subset(["count_300ms", "order_1000ms", "level_100ms"])


class SmallJob(Job, frozen=True):
    """A job whose catalogue is at hand."""

    def catalogue(self):
        return WHOLE


def canonical(log, draw):
    """The canonical messages of a raw log, topics and partitions interleaved at random."""
    logs = {}
    for (topic, partition), records in log.items():
        normaliser = Normaliser(topic, partition, RULES, draw.choice((1, 3, 500)), {"test": decode})
        for offset, record in enumerate(records):
            normaliser.feed(offset, b"key", record.value, record.headers)
        for out in normaliser.flush():
            if out.topic in EVENT_TOPICS:
                logs.setdefault((out.topic, out.partition), []).append((dict(out.headers), out.value))
    left = dict.fromkeys(sorted(logs), 0)
    while left:
        key = draw.choice(list(left))
        yield CanonicalMessage(*key, left[key], *logs[key][left[key]])
        left[key] += 1
        if left[key] == len(logs[key]):
            del left[key]


def moved(value):
    """What another process gets of it."""
    return pickle.loads(pickle.dumps(value))


def in_spans(messages, jobs, draw):
    """Row messages by (partition, row time), and the spans of tiles behind them; spans are cut at random."""
    events, blobs, states = {}, {}, {}
    found, told = {}, []
    while messages:
        count = draw.choice((1, 5, 40, 400))
        now, messages = messages[:count], messages[count:]
        spans, parts = {}, []
        for job in draw.sample(jobs, len(jobs)):
            mine = [message for message in now if message.partition == job.partition]
            events[job], span = moved(close_tiles(job, events.get(job, EventState()), mine))
            spans[job] = span
            if span is not None:
                blobs[job], more = moved(tell_parts(job, blobs.get(job), span))
                parts += more
        for job in jobs:
            told.append((job, spans[job]))
            states[job], rows = moved(make_rows(job, states.get(job, RowState()), spans[job], parts))
            found |= by_place(rows)
    return found, told


def by_place(outputs):
    found = {}
    for output in outputs:
        key = output.partition, int(dict(output.headers)["row_time_ns"])
        assert key not in found
        found[key] = output.value
    return found


class Hashable(SmallJob, frozen=True):
    def __hash__(self):
        return self.partition


@pytest.mark.parametrize("joins", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_spans_give_the_rows_of_one_reading(seed, joins):
    log = random_log(seed, seconds=1.5, bursts=2, gap_seconds=60, books=True)
    announced = ()
    if joins:
        begins = max(records[0].receive_time_ns for records in log.values())
        border = (begins + 600 * MS) // RULES.row_interval_ns * RULES.row_interval_ns
        announced = (announcement_of(OLD), announcement_of(WHOLE, border))
    messages = list(canonical(log, random.Random(seed)))
    expected = by_place(backfill(messages, RULES, WHOLE, announced))
    jobs = [Hashable(partition, RULES, announced) for partition in range(RULES.partitions)]
    found, _ = in_spans(messages, jobs, random.Random(1000 + seed))
    assert len(expected) > 20
    assert found == expected
