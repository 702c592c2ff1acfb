"""What scores say of a version in shadow."""

import numpy as np

from schemas.forecasts import ForecastScore, HorizonScore
from schemas.rules import MINUTE_NS
from streams.challenge import Differences

T0 = 1_767_225_600_000_000_000


def score(minute, *, name="binance:BTC-USDT", seconds=0, horizon="1m", active=(1.0, 3.0), shadow=(2.0, 3.0)):
    losses = dict(zip(("lstm", "performer"), active, strict=True))
    losses |= dict(zip(("lstm@2", "performer@2"), shadow, strict=False))
    origin_ns = T0 + minute * MINUTE_NS + seconds * 1_000_000_000
    return ForecastScore(
        id=f"{name}@{origin_ns}/{horizon}",
        forecast_id=f"{name}@{origin_ns}",
        instrument_id=name,
        origin_time_ns=origin_ns,
        horizon=horizon,
        status="model",
        realised_variance=1e-6,
        scores={
            expert: HorizonScore(mean=1.0, qlike=loss, pinball=loss / 2, crps=loss, coverage={})
            for expert, loss in losses.items()
        },
    )


def series(*scores, since_ns=0):
    found = Differences("ticks", "2", since_ns)
    for one in scores:
        found.add(one)
    return found.series()


def test_differences_are_means_over_instruments_of_means_over_networks():
    found = series(score(0), score(0, name="binance:ETH-USDT", shadow=(5.0, 3.0)), score(3, shadow=(1.0, 1.0)))
    np.testing.assert_array_equal(found["1m", "qlike"], [(0.5 + 2.0) / 2, np.nan, np.nan, -1.0])
    np.testing.assert_array_equal(found["1m", "pinball"], [(0.25 + 1.0) / 2, np.nan, np.nan, -0.5])
    assert not found["1d", "qlike"].size


def test_repeats_other_origins_and_incomplete_scores_change_nothing():
    found = series(
        score(0),
        score(0, shadow=(9.0, 9.0)),  # the same origin again: a restart wrote it twice
        score(1, seconds=1),  # between the minutes
        score(2, shadow=(9.0,)),  # one network alone
    )
    np.testing.assert_array_equal(found["1m", "qlike"], [0.5])


def test_what_was_scored_before_the_shadow_does_not_count():
    found = series(score(0), score(1, shadow=(1.0, 3.0)), since_ns=T0 + MINUTE_NS)
    np.testing.assert_array_equal(found["1m", "qlike"], [0.0])
