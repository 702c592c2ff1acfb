"""Alarms of a partition: what comes of scores over days, and over a restart."""

import msgspec
import numpy as np
import pytest
import torch

from schemas.decisions import Drift
from schemas.forecasts import HorizonScore, decode_json
from schemas.rows import AGED, RowHeader, Rows
from schemas.rules import HOUR_NS, MINUTE_NS
from schemas.tensors import QUANTILES
from schemas.topics import OPS_DRIFT
from streams.score.cells import Waiting
from streams.score.drift import DriftWatch
from streams.score.inputs import Range
from streams.score.losses import Claim
from triton_models.bundle import SCALED_LIMIT, read
from triton_models.drift import WATCHES, DriftState
from triton_models.export import REPOSITORY
from triton_models.networks.inputs import Inputs

T0 = 1_767_225_600_000_000_000
HORIZON = "5m"
HOURS = 120
DRIFTS_AT = 90
"""The hour from which something is wrong."""


def score(qlike, *, held=True):
    return HorizonScore(mean=1.0, qlike=qlike, pinball=0.1, crps=0.2, coverage={"0.9": held})


def waiting(minute, status="model"):
    claim = Claim(1.0, {str(level): 1.0 for level in QUANTILES})
    return Waiting("binance:BTC-USDT", HORIZON, T0 + minute * MINUTE_NS, status, claim, {}, {}, (), -1)


def played(watch, scores, minutes):
    """Return the records of outcomes at every fifth of `minutes`."""
    found = []
    for minute in minutes[::5]:
        status, told = scores(minute)
        found += watch.take(waiting(minute, status), told, 3)
    return found


def scores_of(*, regret=0.0, miss_ratio=0.1, status="model"):
    """Return scores as of markets, and from hour DRIFTS_AT on with these faults."""

    def scores(minute):
        random = np.random.default_rng(minute)
        drifted = minute >= DRIFTS_AT * 60
        base = random.lognormal(-2, 1)
        combined = base + random.normal(regret if drifted else 0.0, 0.1)
        held = random.random() > (miss_ratio if drifted else 0.1)
        return status, {"combined": score(combined, held=bool(held)), "har": score(base)}

    return scores


@pytest.mark.parametrize(
    ("faults", "kinds", "rises"),
    [
        ({}, set(), set()),
        ({"regret": 0.2}, {"skill"}, {True}),
        ({"regret": -0.2}, set(), set()),
        ({"miss_ratio": 0.5}, {"coverage"}, {False}),
        ({"regret": 0.2, "status": "fallback"}, set(), set()),
    ],
)
def test_what_drifts_is_told_and_nothing_else(faults, kinds, rises):
    records = played(DriftWatch(["5m"]), scores_of(**faults), range(HOURS * 60))
    found = [decode_json(record.value, Drift) for record in records]
    assert {one.kind for one in found} == kinds
    assert {one.rises for one in found} == rises
    for record, one in zip(records, found, strict=True):
        assert (record.topic, record.key.decode(), record.partition) == (OPS_DRIFT, f"{one.kind}|5m|3", 0)
        assert T0 + DRIFTS_AT * HOUR_NS < one.as_of_ns <= T0 + HOURS * HOUR_NS
        assert one.statistic > one.threshold == WATCHES["5m"].threshold


TRAINED_ON = Range(("spread", "imbalance"), np.array([0.0, -1.0]), np.array([2.0, 1.0]))


def rows(minute, values):
    header = RowHeader(T0 + minute * MINUTE_NS, 3, "r", "f")
    ages, bits = np.zeros((len(values), len(AGED))), np.zeros(len(values), np.uint32)
    names = tuple(f"binance:A{place}-USDT" for place in range(len(values)))
    return Rows(header, names, ("imbalance", "other", "spread"), np.array(values), ages, bits)


def test_the_share_beyond_training_is_of_known_values_of_pinned_features():
    assert TRAINED_ON.beyond(rows(0, [[0.5, 99.0, 3.0], [np.nan, 99.0, 1.0]])) == pytest.approx(1 / 3)
    assert TRAINED_ON.beyond(rows(0, [[np.nan, 99.0, np.nan]])) is None


@pytest.mark.parametrize("profile", ["ticks", "bars"])
def test_values_are_beyond_where_networks_cut_them_off(profile):
    spec = read(REPOSITORY / f"performer-{profile}" / "1").spec
    found = Range.of(spec)
    middle, reach = (found.low + found.high) / 2, (found.high - found.low) / 2
    for factor, cut in ((0.999, False), (1.001, True)):
        values = torch.tensor(middle + factor * reach, dtype=torch.float32)[None, None]
        ages = torch.zeros(1, 1, len(spec.modalities))
        scaled = Inputs(spec)(values, torch.ones_like(values), ages).values
        assert bool((scaled >= SCALED_LIMIT).all()) is cut
        assert bool((scaled >= SCALED_LIMIT).any()) is cut


def test_inputs_beyond_training_are_told_once_and_rows_read_again_change_nothing():
    def given(watch, days):
        found = []
        for minute in range(days[0] * 1440, days[1] * 1440, 5):
            wild = minute >= 30 * 1440 and minute % 4 == 0
            found += watch.take_row(rows(minute, [[0.5, 0.0, 3.0 if wild else 1.0]]))
        return found

    whole = DriftWatch([], trained_on=TRAINED_ON)
    expected = given(whole, (0, 45))
    first = decode_json(expected[0].value, Drift)
    assert (first.kind, first.horizon, first.rises) == ("inputs", "", True)
    assert first.value == pytest.approx(1 / 8)
    again = DriftWatch([], trained_on=TRAINED_ON)
    records = given(again, (0, 33))
    again = DriftWatch([], again.states(), TRAINED_ON)
    assert records + given(again, (31, 45)) == expected


def test_a_restart_loses_no_alarm_and_makes_none():
    scores = scores_of(regret=0.2, miss_ratio=0.4)
    expected = played(DriftWatch(["5m"]), scores, range(HOURS * 60))
    first = DriftWatch(["5m"])
    records = played(first, scores, range(91 * 60 + 15))
    blob = msgspec.msgpack.encode(first.states())
    second = DriftWatch(["5m"], msgspec.msgpack.decode(blob, type=dict[str, DriftState]))
    assert records + played(second, scores, range(91 * 60 + 15, HOURS * 60)) == expected
    assert len(expected) > 2
