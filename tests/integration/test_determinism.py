"""One raw log, any number of workers, any size of micro-batch, any crash: the same rows, byte for byte."""

import random
import time
from dataclasses import replace

import pytest

from deploy.stack import private_stack
from streams.backfill import backfill_topics
from streams.sources.captures import find_captures
from streams.sources.market import market
from tests.integration.live import (
    fill,
    first_rows,
    forecasts,
    pipeline,
    reset,
    rows_hash,
    scheduled,
    settings_for,
)

pytestmark = pytest.mark.timeout(600)
ROWS_ONLY = ("ingest", "featurize")
START_NS = 1_767_225_600_000_000_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, captures):
    """A broker whose raw topics hold the real captures: three instruments, two runs 15 months apart."""
    folder = tmp_path_factory.mktemp("recorded")
    with private_stack(folder, ("kafka",)) as stack:
        settings = settings_for(stack, folder)
        fill(settings, find_captures([captures / "ticks_binance_hftbacktest"]).messages())
        yield settings, rows_hash(backfill_topics(settings))


def test_the_recorded_captures_give_the_rows_of_the_backfill(recorded, tmp_path):
    """1, 2 and 3 workers of each stage; micro-batches of 1, 64 and 5,000 events."""
    settings, expected = recorded
    found = {}
    for workers, batch in ((1, 5_000), (2, 64), (3, 1)):
        varied = replace(settings, workers=workers, batch_events=batch, state_dir=tmp_path / f"{workers}-{batch}")
        reset(varied)
        with pipeline(varied, ROWS_ONLY) as live:
            live.wait_until_done(seconds=180)
        found[workers, batch] = rows_hash(first_rows(varied))
    assert found == dict.fromkeys(found, expected)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A stack with Triton whose raw topics hold two minutes of the built-in market."""
    folder = tmp_path_factory.mktemp("played")
    with private_stack(folder) as stack:
        settings = settings_for(stack, folder)
        fill(settings, market(11, START_NS, 120))
        yield settings, rows_hash(backfill_topics(settings))


@pytest.mark.parametrize("seed", range(5))
def test_killed_stages_lose_and_change_nothing(played, tmp_path, seed):
    """kill -9 of featurize, then infer, then ingest, at random moments."""
    settings, expected = played
    settings = replace(settings, state_dir=tmp_path)
    reset(settings)
    draw = random.Random(seed)
    with pipeline(settings) as live:
        for stage in ("featurize", "infer", "ingest"):
            time.sleep(draw.uniform(0.5, 4.0))
            live.supervisor.kill(f"{stage}-0")
        live.wait_until_done(seconds=180)
        kills = [live.supervisor.exits(f"{stage}-0") for stage in ("featurize", "infer", "ingest")]
    rows = first_rows(settings)
    assert kills == [[-9]] * 3
    assert rows_hash(rows) == expected
    found = forecasts(settings)
    assert {(f["instrument_id"], f["origin_time_ns"]) for f in found.values()} == scheduled(rows)
