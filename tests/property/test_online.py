"""Weights and calibration: the panel, and one event after another in any order allowed, give the same bits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rules import MINUTE_NS
from schemas.tensors import QUANTILES
from triton_models.online.conformal import Calibrator, Rates, Shifts
from triton_models.online.experts import Experts, Learning, Past
from triton_models.online.panel import calibrate, combine

RATES = Rates(shared=0.05, regime=0.02)
LEARNING = Learning(overlap=3, half_life=50)
STEP_NS = 5 * MINUTE_NS
EXPERTS = 3


class World:
    """Forecasts and outcomes of a few instruments with gaps, and how they may be taken in."""

    def __init__(self, seed, rows, instruments, delay):
        random = np.random.default_rng(seed)
        self.rows, self.instruments, self.delay = rows, instruments, delay
        spread = np.sort(random.normal(0, 1, (rows, instruments, EXPERTS, len(QUANTILES))), axis=-1)
        self.quantiles = -9 + 2 * random.normal(size=(rows, instruments, EXPERTS, 1)) + spread
        self.means = self.quantiles.mean(-1) + 0.3
        self.y = -9 + 2 * random.normal(size=(rows, instruments))
        self.regime = random.integers(-1, 3, (rows, instruments))
        self.means[random.random(self.means.shape) < 0.1] = np.nan
        self.quantiles[random.random((rows, instruments)) < 0.1] = np.nan
        self.y[random.random(self.y.shape) < 0.1] = np.nan
        self.times = np.arange(rows) * STEP_NS

    def events(self, instrument):
        """Yield what happens to one instrument: at each row first what became known, then the forecast."""
        for row in range(self.rows):
            if row >= self.delay:
                yield "learn", instrument, row - self.delay
            yield "predict", instrument, row

    def interleaved(self, draws):
        """Return all instruments' events, each instrument's in order, otherwise as drawn."""
        waiting = [list(self.events(instrument))[::-1] for instrument in range(self.instruments)]
        order = []
        for draw in draws:
            left = [events for events in waiting if events]
            if left:
                order.append(left[draw % len(left)].pop())
        for events in waiting:
            order += events[::-1]
        return order


worlds = st.builds(
    World,
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 30),
    instruments=st.integers(1, 17),
    delay=st.integers(1, 12),
)
orders = st.lists(st.integers(0, 16), max_size=300)
restarts = st.sets(st.integers(0, 400), max_size=20)


@settings(max_examples=60, deadline=None)
@given(world=worlds, draws=orders, restarts=restarts)
def test_calibration_is_the_same_event_by_event_and_after_a_restart(world, draws, restarts):
    one_expert = np.ascontiguousarray(world.quantiles[:, :, 0])
    panel = calibrate(world.times, world.delay * STEP_NS, one_expert, world.regime, world.y, RATES)
    cells = [Calibrator(Shifts.empty(), RATES) for _ in range(world.instruments)]
    tracked = {}
    for step, (what, cell, row) in enumerate(world.interleaved(draws)):
        if step in restarts:
            cells = [Calibrator(Shifts.decode(one.shifts().encode()), RATES) for one in cells]
        if what == "learn":
            cells[cell].learn(tracked.pop((cell, row)), world.regime[row, cell], world.y[row, cell])
            continue
        forecast = cells[cell].predict(one_expert[row, cell], world.regime[row, cell])
        tracked[cell, row] = forecast.tracked
        assert forecast.quantiles.tobytes() == panel.quantiles[row, cell].tobytes()
    late = np.full(len(QUANTILES), np.nan)  # an outcome that never comes
    for cell, state in zip(cells, panel.shifts, strict=True):
        assert cell.shifts() == state
        cell.learn(late, np.int64(0), np.float64(0))
        assert cell.shifts() == state


@settings(max_examples=60, deadline=None)
@given(world=worlds, draws=orders, restarts=restarts)
def test_weights_are_the_same_event_by_event_and_after_a_restart(world, draws, restarts):
    panel = combine(world.times, world.delay * STEP_NS, world.means, world.quantiles, world.y, LEARNING)
    cells = [Experts(Past.empty(EXPERTS), LEARNING) for _ in range(world.instruments)]
    used = {}
    for step, (what, cell, row) in enumerate(world.interleaved(draws)):
        if step in restarts:
            cells = [Experts(Past.decode(one.past().encode()), LEARNING) for one in cells]
        means, quantiles = world.means[row, cell], world.quantiles[row, cell]
        if what == "learn":
            cells[cell].learn(used.pop((cell, row)), means, quantiles, world.y[row, cell])
            continue
        mixture = cells[cell].predict(means, quantiles)
        used[cell, row] = mixture.weights
        for ours, theirs in zip(mixture, panel.mixture, strict=True):
            assert np.asarray(ours).tobytes() == theirs[row, cell].tobytes()
    assert [cell.past() for cell in cells] == panel.pasts


@settings(max_examples=60, deadline=None)
@given(world=worlds, cut=st.integers(0, 30))
def test_nothing_that_was_not_known_yet_is_used(world, cut):
    # origin   0    1    2    3    4    5
    # known         .    .    0    1    2      of a delay of 3 rows: outcomes of rows >= 3 change no row < 6
    changed = world.y.copy()
    changed[cut:] = np.random.default_rng(1).normal(-9, 5, changed[cut:].shape)
    horizon_ns = world.delay * STEP_NS
    one = np.ascontiguousarray(world.quantiles[:, :, 0])
    calibrated = [calibrate(world.times, horizon_ns, one, world.regime, y, RATES).quantiles for y in (world.y, changed)]
    combined = [
        combine(world.times, horizon_ns, world.means, world.quantiles, y, LEARNING).mixture.quantiles
        for y in (world.y, changed)
    ]
    for first, second in (calibrated, combined):
        same = slice(0, cut + world.delay)
        assert first[same].tobytes() == second[same].tobytes()


@settings(max_examples=100, deadline=None)
@given(world=worlds, rate=st.floats(0, 10))
def test_quantiles_never_cross(world, rate):
    wild = Rates(shared=rate, regime=rate)
    one = np.ascontiguousarray(world.quantiles[:, :, 0])
    published = calibrate(world.times, world.delay * STEP_NS, one, world.regime, world.y, wild).quantiles
    known = np.isfinite(one).all(-1)
    assert (np.diff(published[known], axis=-1) >= 0).all()
    mixture = combine(world.times, world.delay * STEP_NS, world.means, world.quantiles, world.y, LEARNING).mixture
    some = np.isfinite(mixture.quantiles).all(-1)
    # A weighted mean of equal numbers may differ in the last bit; sorted ones far apart stay sorted.
    assert (np.diff(mixture.quantiles[some], axis=-1) >= 0).all()
    assert np.abs(mixture.weights.sum(-1)[some] - 1).max(initial=0) < 1e-12
