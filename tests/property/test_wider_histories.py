"""Histories that the first simulation left out: windows over the market, old logs, late crashes."""

from dataclasses import replace

import histories
import numpy as np
import pytest
from histories import CALM, INPUTS, Featurizer, ingest
from oracle import Oracle
from small_catalogue import feature, small_catalogue
from test_row_histories import as_values, differences
from trials import STEADY, Trial
from world import MS, RULES, decode, random_log

from featurestore.catalogue import Catalogue
from featurestore.specs import DerivedSpec, reduction

FIRST_OFFSET = 5000
"""Retention has deleted what was before."""


@pytest.fixture(autouse=True)
def test_format(monkeypatch):
    monkeypatch.setattr("streams.ingest.normaliser.formats", lambda: {"test": decode})


def market_catalogue():
    """Windows over market series, alone and with an own series, at the base and the minute level."""
    small = small_catalogue()

    def traded(count):
        return count[..., -1]

    activity = DerivedSpec(
        name="activity",
        inputs=("count",),
        window_tiles=1,
        function=reduction(traded, "activity"),
        plain=traded,
        version="1",
        combine="max",
        market=True,
    )
    added = (
        feature("activity", 1000 * MS, lambda x: np.fmax.reduce(x, -1), ("activity",)),
        feature("activity", 180_000 * MS, lambda x: np.fmax.reduce(x, -1), ("activity",)),
        feature("level", 1000 * MS, lambda x: np.fmin.reduce(x, -1), ("level",)),
        feature("share", 500 * MS, lambda a, b: np.nansum(a * b, -1), ("count", "activity"), records=("trade",)),
    )
    features = sorted((*small.features, *added), key=lambda spec: spec.name)
    return Catalogue(small.tiles, (*small.derived, activity), tuple(features))


def featurized(log, seed, trial, catalogue):
    return Featurizer(ingest(log, RULES, seed, trial.ingest), RULES, catalogue, (), seed, trial.featurize).run()


@pytest.mark.parametrize("seed", range(6))
def test_windows_over_the_market_equal_the_offline_definition(seed):
    catalogue = market_catalogue()
    log = random_log(seed, seconds=1.5, bursts=2, gap_seconds=90)
    calm = featurized(log, seed, Trial(), catalogue)
    assert differences(as_values(calm.distinct()), Oracle(log, RULES, catalogue).rows()) == []
    out = featurized(log, 1000 + seed, STEADY, catalogue)
    assert out.repeats_agree()
    assert out.distinct() == calm.distinct()


@pytest.mark.parametrize("seed", range(12))
def test_crashes_up_to_the_end_of_the_log_change_no_byte(seed):
    trial = replace(STEADY, ingest=replace(STEADY.featurize, batch_events=2), bursts=2)
    assert trial.verdict(seed) == "agrees"


class _FromOffset(Featurizer):
    """Featurize of logs whose first offset is not 0."""

    def _start(self, partition):
        worker = super()._start(partition)
        worker.positions = {topic: max(worker.positions[topic], FIRST_OFFSET) for topic in INPUTS}
        return worker

    def _log(self, topic, partition):
        return _Retained(super()._log(topic, partition))


class _Retained:
    def __init__(self, messages):
        self.messages = messages

    def __len__(self):
        return FIRST_OFFSET + len(self.messages)

    def __getitem__(self, offset):
        return self.messages[offset - FIRST_OFFSET]


@pytest.mark.parametrize("seed", range(6))
def test_logs_that_do_not_begin_at_offset_0_give_the_same_rows(seed, monkeypatch):
    log = random_log(seed, seconds=1.0)
    calm = featurized(log, seed, Trial(), small_catalogue()).distinct()

    def feed(worker, log, key):
        record = log[key][worker.position]
        worker.normaliser.feed(FIRST_OFFSET + worker.position, b"connection", record.value, record.headers)
        worker.position += 1

    monkeypatch.setattr(histories, "_feed", feed)
    canonical = ingest(log, RULES, seed, CALM)
    out = _FromOffset(canonical, RULES, small_catalogue(), (), seed, STEADY.featurize).run()
    assert out.repeats_agree()
    assert out.distinct() == calm
