"""Features join a running log, and a version is raised under it: nothing is drained."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from deploy.cache import CHECKOUT
from featurestore.catalogue import Catalogue
from schemas.forecasts import Announcement
from schemas.rows import decode_rows
from streams import backfill as offline
from streams.backfill import backfill_topics
from streams.chaos.emptying import reset
from streams.chaos.live import first_rows, pipeline, rows_hash
from streams.kafka import create_topics
from streams.pipeline import raw_producer
from streams.sources.market import market
from streams.sources.replay import replay
from tests.integration.live import settings_for

pytestmark = pytest.mark.timeout(300)
START_NS = 1_767_225_600_000_000_000
SECONDS = 600
FIRST_SECONDS = 120
PARTS = ("schemas", "featurestore", "triton_models", "streams", "deploy")
HEAD = "from featurestore import feature\n"
BEFORE = '''
@feature(window="1m", version="1")
def quant_size(volume, trade_count):
    """Volume of a trade, in base units."""
    return volume.sum(-1) / trade_count.sum(-1)
'''
AFTER = '''
@feature(window="1m", version="2")
def quant_size(volume, trade_count):
    """Volume of a trade, in thousandths of base units."""
    return 1000 * volume.sum(-1) / trade_count.sum(-1)


@feature(window="1m", version="1", former="quant_size")
def quant_size_1(volume, trade_count):
    """Volume of a trade, in base units."""
    return volume.sum(-1) / trade_count.sum(-1)
'''
NEW = '''
@feature(window="1m")
def busiest_second(trade_count):
    """Most trades in one second, in trades."""
    return trade_count.max(-1)
'''


@pytest.fixture
def settings(kafka, tmp_path):
    settings = settings_for(kafka, tmp_path / "state")
    create_topics(settings)
    return settings


class Deployment:
    """A copy of this checkout whose feature files change while its processes run."""

    def __init__(self, folder, settings):
        for part in PARTS:
            shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "pyproject.toml", folder)
        self.features = folder / "featurestore" / "features"
        self.environment = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
        self._settings = settings

    def write(self, **files):
        for name, text in files.items():
            (self.features / f"{name}.py").write_text(f'"""A quant\'s file."""\n{HEAD}{text}')

    def announce(self):
        command = [sys.executable, "-c", "from streams.cli import main; main()", "features", "announce"]
        environment = os.environ | self._settings.environment() | self.environment
        done = subprocess.run(command, env=environment, check=False, timeout=60, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[2]


def test_a_feature_joins_and_a_version_is_raised_under_a_running_log(settings, tmp_path, monkeypatch):
    deployment = Deployment(tmp_path / "checkout", settings)
    deployment.write(mine=BEFORE)
    reset(settings, keep=())
    first = deployment.announce()
    messages = list(market(3, START_NS, SECONDS, intensity=0.1))
    middle = next(n for n, each in enumerate(messages) if each.receive_time_ns > START_NS + FIRST_SECONDS * 10**9)
    producer = raw_producer(settings)
    with pipeline(settings, ("ingest", "featurize"), {"featurize": 2}, deployment.environment) as live:
        replay(messages[:middle], producer, settings.rules)
        live.wait_until_done(seconds=90)
        deployment.write(mine=AFTER, theirs=NEW)
        second = deployment.announce()
        # One worker gets the new code before the border; the other one ends there, and comes back with it.
        live.supervisor.kill("featurize-0", signal.SIGTERM)
        replay(messages[middle:], producer, settings.rules)
        live.wait_until_done(seconds=90)
        exits = live.supervisor.exits("featurize-1")
    assert exits[:1] == [1], "the worker with the old code goes on to the border, and no further"
    rows = first_rows(settings)
    headers = [decode_rows(value) for value in rows.values()]
    sets = {each.header.feature_set_id for each in headers}
    assert sets == {first, second}, "both sets made rows"
    border = min(each.header.row_time_ns for each in headers if each.header.feature_set_id == second)
    assert {each.header.row_time_ns >= border for each in headers if each.header.feature_set_id == second} == {True}
    assert {each.header.row_time_ns < border for each in headers if each.header.feature_set_id == first} == {True}
    _assert_only_the_new_columns_differ(settings, rows, deployment, border, monkeypatch)


def _assert_only_the_new_columns_differ(settings, rows, deployment, border, monkeypatch):
    quant = deployment.features.parent / "quant"
    quant.mkdir()
    for name in ("mine", "theirs"):
        shutil.copy(deployment.features / f"{name}.py", quant)
    now = Catalogue.discover(settings.rules, folders=[quant])
    assert rows_hash(backfill_topics(settings, now)) == rows_hash(rows), "the backfill repeats the announcements"
    (quant / "theirs.py").unlink()
    (quant / "mine.py").write_text(f'"""A quant\'s file."""\n{HEAD}{BEFORE}')
    before = Catalogue.discover(settings.rules, folders=[quant])
    alone = Announcement(border_ns=0, feature_set_id=before.feature_set_id, features=before.versions)
    monkeypatch.setattr(offline, "announcements", lambda _: [alone])
    compared = 0
    for key, value in backfill_topics(settings, before).items():
        mine, theirs = decode_rows(rows[key]), decode_rows(value)
        assert mine.instruments == theirs.instruments
        np.testing.assert_array_equal(mine.ages, theirs.ages)
        for name in theirs.features:
            if key[1] < border or name != "quant_size_1m":
                column = mine.values[:, mine.features.index(name)], theirs.values[:, theirs.features.index(name)]
                assert column[0].tobytes() == column[1].tobytes(), (key, name)
        if key[1] >= border + 60 * 10**9:
            scaled = theirs.values[:, theirs.features.index("quant_size_1m")] * 1000
            np.testing.assert_allclose(mine.values[:, mine.features.index("quant_size_1m")], scaled, rtol=1e-9)
            compared += int(np.isfinite(scaled).sum())
        elif key[1] >= border:
            assert np.isnan(mine.values[:, mine.features.index("quant_size_1m")]).all(), (
                "masked until its window is its own"
            )
    assert compared > 100
