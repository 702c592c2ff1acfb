import numpy as np

from schemas.rules import MINUTE_NS
from schemas.tensors import QUANTILES
from triton_models.online.conformal import Rates
from triton_models.online.panel import Grid, calibrate

STEP_NS = 5 * MINUTE_NS


def test_rows_go_to_their_time_and_instrument_and_back():
    instrument = np.array([0, 0, 1, 1, 1])
    times = np.array([10, 30, 10, 20, 30])
    values = np.array([1.0, 2, 3, 4, 5])
    grid = Grid(instrument, times, 2)
    spread = grid.spread(values)
    assert np.array_equal(spread, [[1, 3], [np.nan, 4], [2, 5]], equal_nan=True)
    assert np.array_equal(grid.gather(spread), values)
    assert grid.spread(np.ones(5, np.int64), empty=-1)[1, 0] == -1


def test_an_outcome_is_learned_when_its_horizon_has_passed_by_the_clock():
    # minutes   0    5    10   ......  just before 60   60   65
    # rows      a    b    c                  c'         d    e     an hour ahead: a is known at d, b at e
    times = np.array([0, 5, 10, 60, 60, 65]) * MINUTE_NS - np.array([0, 0, 0, 1, 0, 0])
    y = np.full((6, 1), 9.0)
    quantiles = np.tile(np.arange(len(QUANTILES), dtype=float), (6, 1, 1))
    result = calibrate(times, 60 * MINUTE_NS, quantiles, np.zeros((6, 1), int), y, Rates(shared=0.1, regime=0.0))
    moves = (result.quantiles - quantiles)[:, 0, -1]
    assert np.allclose(moves, [0, 0, 0, 0, 0.095, 0.19])
