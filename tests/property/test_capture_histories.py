"""Recorded events through both stages, with crashes, zombies, restarts and shuffles: every feature, bit for bit."""

from collections import defaultdict
from itertools import takewhile

import pytest
from histories import Chaos, Featurizer, ingest

from featurestore.backfill import backfill
from featurestore.catalogue import Catalogue
from schemas import TICKS
from schemas.rows import decode_rows
from schemas.rules import SECOND_NS
from streams.backfill import Outcome, normalised, placed
from streams.sources import merge
from streams.sources.captures import find_captures
from streams.sources.market import market
from streams.sources.replay import with_heartbeats

FILES = ("usdm/btcusdt_20240718.gz", "usdm/ethusdt_20240718.gz")
SECONDS = 6
CATALOGUE = Catalogue.discover(TICKS)
RAW = Chaos(crash=0.002, zombie=0.5, checkpoint=0.5, flush=0.02, batch_events=200)
LOG = Chaos(crash=0.02, zombie=0.5, checkpoint=0.3, crashes=6)


class Record:
    """A raw record as a history feeds it."""

    def __init__(self, message):
        self.value, self.headers = message.value, message.headers()


@pytest.fixture(scope="module")
def messages(captures):
    """Some seconds of two recorded instruments, with posts, transfers and funding of the built-in market."""
    recorded = find_captures([captures / "ticks_binance_hftbacktest" / name for name in FILES]).messages()
    first = next(recorded)
    begins, until = first.receive_time_ns, first.receive_time_ns + SECONDS * SECOND_NS
    inside = takewhile(lambda message: message.receive_time_ns < until, recorded)
    played = market(5, begins // SECOND_NS * SECOND_NS, SECONDS, intensity=0.2)
    return list(merge([[first], inside, played]))


@pytest.fixture(scope="module")
def expected(messages):
    """The definition: {(partition, row time): bytes}."""
    outputs = backfill(normalised(placed(messages, TICKS), TICKS, Outcome()), TICKS, CATALOGUE)
    headers = ((output, decode_rows(output.value).header) for output in outputs)
    return {(output.partition, header.row_time_ns): output.value for output, header in headers}


@pytest.mark.parametrize("seed", range(2))
def test_recorded_events_give_the_rows_of_the_definition_whatever_happens(messages, expected, seed):
    log = defaultdict(list)
    for topic, partition, message in with_heartbeats(messages, TICKS):
        log[topic, partition].append(Record(message))
    # Raw partitions are read in any order, in micro-batches of any size, by processes that die and wake again.
    out = Featurizer(ingest(log, TICKS, seed, RAW), TICKS, CATALOGUE, (), seed, LOG).run()
    assert out.others == []
    assert out.repeats_agree()
    assert out.distinct() == expected
    assert len({name for rows in out.rows for name in rows.features}) == len(CATALOGUE.features)
