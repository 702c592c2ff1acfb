"""What is evaluated is what runs live: infer and score, one event at a time, against the panel of evaluation.

Rows come with gaps, masks and instruments that are sometimes not listed; outcomes come a horizon late; records
go through their bytes; both stages are restarted on the way. All numbers must be those of the panel, bit for bit.
"""

from typing import NamedTuple

import numpy as np
import pytest

from schemas.calibration import Calibration
from schemas.forecasts import Forecast, decode_json
from schemas.rows import AGED, RowHeader, Rows, encode_rows
from schemas.rules import MINUTE_NS, SECOND_NS
from schemas.tensors import HORIZON_NS, QUANTILES
from schemas.topics import CALIBRATION, FORECAST
from streams.infer.forecaster import Forecaster
from streams.infer.models import Models, Network, persistence
from streams.score.losses import floor
from streams.score.scorer import Scorer
from triton_models.evaluation.regimes import Regimes
from triton_models.har import window_ns
from triton_models.online.conformal import Rates
from triton_models.online.experts import Learning
from triton_models.online.panel import calibrate, combine
from triton_models.online.regimes import PAIRS, Watched, filtered

T0 = 1_700_006_400 * SECOND_NS
"""A midnight: a border of every step."""
INSTRUMENTS = ("binance:BTC-USDT", "binance:ETH-USDT")
EXPERTS = ("har", "ewma", "lstm", "performer")
LEVELS = tuple(str(level) for level in QUANTILES)


class Case(NamedTuple):
    """A profile, the time between its rows, that between those that come, how many, and what is compared."""

    profile: str
    interval_ns: int
    every_ns: int
    rows: int
    horizons: tuple[str, ...]


BARS = Case("bars", 5 * MINUTE_NS, 5 * MINUTE_NS, 420, ("5m", "1h", "1d"))
TICKS = Case("ticks", SECOND_NS, 10 * SECOND_NS, 150, ("1m", "5m"))
"""Calibration states are told every ten seconds: rows come as often, so that none is late."""


class Opinionated(Models):
    """Log-HAR, and a second baseline that knows its longest horizon late."""

    def baselines(self, features, mask, origin):
        mean, quantiles = self.base(features, mask, origin)
        late = np.where(origin[:, None] < T0 + 40 * BARS.every_ns, [1.0] * (mean.shape[1] - 1) + [np.nan], 1.0)
        return {"har": (mean, quantiles), "ewma": (1.7 * mean * late, quantiles * 0.8 * late[..., None])}


class World:
    """Rows, the networks' answers, and the loop of both stages over them."""

    def __init__(self, case, seed):
        self.case, self.random = case, np.random.default_rng(seed)
        base = persistence(case.profile, case.interval_ns)
        h, q = len(base.horizons), len(QUANTILES)
        outputs = {"mean": (h,), "quantiles": (h, q)}
        networks = tuple(
            Network(name, name, "1", name * 12, outputs, {}, ()) for name in ("lstm", "performer", "lstm@2")
        )
        self.models = Opinionated(base.shape, base.horizons, base.har, "h" * 64, networks)
        short, long, step_ns = PAIRS[case.profile]
        usual = float(np.log(window_ns(long) / window_ns(short)))
        chain = Regimes(means=(usual - 0.7, usual + 0.7), deviations=(1.0, 1.0), transitions=((0.8, 0.2), (0.3, 0.7)))
        self.watched = Watched(short=short, long=long, step_ns=step_ns, regimes=chain)
        self.features = tuple(dict.fromkeys((*base.har.windows, short, long)))
        kept = self.random.random(case.rows) > 0.05
        self.times = T0 + np.flatnonzero(kept) * case.every_ns
        self.listed = self.random.random((len(self.times), len(INSTRUMENTS))) > 0.05
        self.values = 1e-6 * np.exp(self.random.normal(0, 1, (*self.listed.shape, len(self.features))))
        self.values[self.random.random(self.values.shape) < 0.03] = np.nan
        self.values[~self.listed] = np.nan
        self.calibrations = {}

    def row(self, at):
        """Return the row message of a time."""
        places = np.flatnonzero(self.listed[at])
        header = RowHeader(int(self.times[at]), 0, "r" * 12, "f" * 12)
        names = tuple(INSTRUMENTS[place] for place in places)
        ages, quality = np.full((len(places), len(AGED)), 0.5), np.zeros(len(places), np.uint32)
        return encode_rows(Rows(header, names, self.features, self.values[at, places], ages, quality))

    def answers(self, batch):
        """Return what the networks say: log-HAR's levels, scaled at random."""
        asked = np.flatnonzero(batch.rows >= 0)
        places = np.concatenate([asked, np.repeat(asked[:1], batch.padded - batch.asked)])
        found = {}
        for network in self.models.networks:
            scale = np.exp(self.random.normal(0, 0.5, batch.base.mean[places].shape))
            mean, quantiles = batch.base.mean[places] * scale, batch.base.quantiles[places] * scale[..., None]
            found[network.expert] = {"mean": mean.astype("f4"), "quantiles": quantiles.astype("f4")}
        return found

    def scorer(self):
        return Scorer(self.models.horizons, self.case.interval_ns, self.watched)

    def forecaster(self):
        """Return infer as after a start: the latest calibration states are read, the window is read again."""
        one = Forecaster(self.models)
        for value in self.calibrations.values():
            one.take_calibration(decode_json(value, Calibration))
        return one

    def run(self):
        """Return the forecasts by instrument and time."""
        infer, score, made = self.forecaster(), self.scorer(), {}
        for at, time_ns in enumerate(self.times.tolist()):
            row = self.row(at)
            if self.random.random() < 0.03:
                infer = self.forecaster()
            if self.random.random() < 0.03:
                blob, score = score.state(), self.scorer()
                score.restore(blob)
            for record in score.take_row(at, row):
                if record.topic == CALIBRATION:
                    self.calibrations[record.key] = record.value
                    infer.take_calibration(decode_json(record.value, Calibration))
            infer.take_row(at, row)
            while (batch := infer.next_batch()) is not None:
                for record in infer.settle(batch, self.answers(batch) if batch.asked else {}):
                    if record.topic == FORECAST:
                        forecast = decode_json(record.value, Forecast)
                        made[forecast.instrument_id, time_ns] = forecast
                        score.take_forecast(len(made), forecast, 0)
        return made

    def outcomes(self, horizon):
        """Return the log of what came (T, N), NaN where no row says it."""
        prefix = "bar_" if self.case.profile == "bars" else ""
        variance = self.values[..., self.features.index(f"{prefix}realised_variance_{horizon}")]
        at = np.searchsorted(self.times, self.times + HORIZON_NS[horizon])
        there = np.minimum(at, len(self.times) - 1)
        found = (self.times[there] == self.times + HORIZON_NS[horizon])[:, None]
        return np.log(np.maximum(np.where(found, variance[there], np.nan), floor(horizon)))


def on_grid(world, made, of, empty):
    """Return a number, or numbers, of every forecast (T, N, ...)."""
    cells = [[made.get((name, time_ns)) for name in INSTRUMENTS] for time_ns in world.times.tolist()]
    return np.array([[empty if cell is None or not cell.horizons else of(cell) for cell in row] for row in cells])


def experts_on_grid(world, made, horizon):
    """Return experts' log means (T, N, K) and log quantiles (T, N, K, Q), NaN where one says nothing."""
    nothing = [np.nan] * len(QUANTILES)

    def means(cell):
        return [cell.experts[name].means.get(horizon, np.nan) for name in EXPERTS]

    def quantiles(cell):
        told = (cell.experts[name].quantiles.get(horizon) for name in EXPERTS)
        return [list(one.values()) if one else nothing for one in told]

    found = on_grid(world, made, means, [np.nan] * len(EXPERTS))
    return np.log(found), np.log(on_grid(world, made, quantiles, [nothing] * len(EXPERTS)))


@pytest.mark.parametrize(("case", "seed"), [(BARS, 1), (TICKS, 2)], ids=["bars", "ticks"])
def test_forecasts_of_the_live_loop_are_those_of_the_panel_bit_for_bit(case, seed):
    world = World(case, seed)
    made = world.run()
    assert {forecast.status for forecast in made.values()} == {"model", "unavailable"}
    for horizon in case.horizons:
        horizon_ns, y = HORIZON_NS[horizon], world.outcomes(horizon)
        regime = on_grid(world, made, lambda cell, horizon=horizon: cell.calibration[horizon].regime, -1)
        means, quantiles = experts_on_grid(world, made, horizon)
        panel = combine(world.times, horizon_ns, means, quantiles, y, Learning.of(horizon_ns, case.interval_ns))
        rates = Rates.of(horizon, case.interval_ns)
        corrected = calibrate(world.times, horizon_ns, panel.mixture.quantiles, regime, y, rates)

        def weights(cell, horizon=horizon):
            return np.transpose([cell.experts[name].weights[horizon] for name in EXPERTS])

        live = {
            "weights": on_grid(world, made, weights, np.zeros((2, len(EXPERTS)))),
            "mean": on_grid(world, made, lambda cell, horizon=horizon: cell.horizons[horizon].mean, np.nan),
            "quantiles": on_grid(
                world,
                made,
                lambda cell, horizon=horizon: [cell.horizons[horizon].quantiles[level] for level in LEVELS],
                [np.nan] * len(QUANTILES),
            ),
        }
        np.testing.assert_array_equal(live["weights"], panel.mixture.weights)
        np.testing.assert_array_equal(live["mean"], np.exp(panel.mixture.mean))
        np.testing.assert_array_equal(live["quantiles"], np.exp(corrected.quantiles))
        # It is a loop that has learned: weights apart, shifts of every quantile, in both regimes.
        assert np.ptp(live["weights"], axis=-1)[len(y) // 2 :].max((0, 1)).min() > 0.01
        assert set(np.unique(regime)) == {-1, 0, 1}
        assert np.array([shifts.shared for shifts in corrected.shifts]).all()
        assert np.array([shifts.regime for shifts in corrected.shifts])[:, :2].any((0, 2)).all()


@pytest.mark.parametrize(("case", "seed"), [(BARS, 3), (TICKS, 4)], ids=["bars", "ticks"])
def test_regimes_of_the_live_loop_are_those_of_the_panel(case, seed):
    world = World(case, seed)
    made = world.run()
    step_ns = world.watched.step_ns
    steps = np.full(((world.times[-1] - T0) // step_ns + 1, len(INSTRUMENTS)), np.nan)
    on_step = world.times % step_ns == 0
    short, long = (
        world.values[on_step][..., world.features.index(name)] for name in (world.watched.short, world.watched.long)
    )
    steps[(world.times[on_step] - T0) // step_ns] = world.watched.values(short, long)
    panel = filtered(world.watched.regimes, steps)[(world.times - T0) // step_ns]
    # A calibration state tells the regime as of its outcome: it is compared where one came with the row itself.
    shortest = case.horizons[0]
    at = np.searchsorted(world.times, world.times - HORIZON_NS[shortest])
    before = world.times[at] == world.times - HORIZON_NS[shortest]
    told = np.isfinite(world.outcomes(shortest)[at]) & before[:, None]
    compared = 0
    for (name, time_ns), forecast in made.items():
        row, column = int(np.searchsorted(world.times, time_ns)), INSTRUMENTS.index(name)
        origin = made.get((name, time_ns - HORIZON_NS[shortest]))
        if forecast.horizons and told[row, column] and origin is not None and origin.horizons:
            assert forecast.calibration[shortest].regime == panel[row, column]
            compared += 1
    assert compared > 100
