"""One raw log, any number of workers, any size of micro-batch, any crash: the same rows, byte for byte."""

import random
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from deploy.stack import private_stack
from streams.backfill import backfill_topics
from streams.chaos.emptying import reset
from streams.chaos.live import fill, first_rows, forecasts, pipeline, rows_hash, scheduled
from streams.cli import app
from streams.sources.captures import find_captures
from streams.sources.market import market
from tests.integration.live import TICK_MODELS, settings_for

pytestmark = pytest.mark.timeout(600)
ROWS_ONLY = ("ingest", "featurize")
START_NS = 1_767_225_600_000_000_000


TICKS = "ticks_binance_hftbacktest"


@pytest.fixture
def broker(tmp_path):
    """A broker of the test's own."""
    with private_stack(tmp_path / "broker", ("kafka",)) as stack:
        yield settings_for(stack, tmp_path)


def test_the_recorded_captures_give_the_rows_of_the_backfill(broker, captures):
    """Two workers of each stage, micro-batches of 64 events; other numbers are those of the chaos scenario F21."""
    fill(broker, find_captures([captures / TICKS]).messages())
    varied = replace(broker, workers=2, batch_events=64)
    reset(varied)
    with pipeline(varied, ROWS_ONLY) as live:
        live.wait_until_done(seconds=240)
    assert rows_hash(first_rows(varied)) == rows_hash(backfill_topics(broker))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A stack with Triton whose raw topics hold two minutes of the built-in market."""
    folder = tmp_path_factory.mktemp("played")
    with private_stack(folder, models=TICK_MODELS) as stack:
        settings = settings_for(stack, folder)
        fill(settings, market(11, START_NS, 120))
        yield settings, rows_hash(backfill_topics(settings))


def test_killed_stages_lose_and_change_nothing(played, tmp_path):
    """kill -9 of featurize, then infer, then ingest; forecasts are then computed again, rows too. More is in F1."""
    settings, expected = played
    settings = replace(settings, state_dir=tmp_path)
    reset(settings)
    draw = random.Random(0)
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
    again = ["rebuild", "--random", "100", "--seed", "0", "--deep"]
    result = CliRunner().invoke(app, again, env=settings.environment())
    assert result.exit_code == 0, result.output
