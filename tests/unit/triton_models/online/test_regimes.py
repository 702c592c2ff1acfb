"""The filter of a stream is that of a panel, whatever gaps rows have; what is watched is fitted on training rows."""

import msgspec
import numpy as np
import pytest

from schemas.rows import AGED, RowHeader, Rows
from schemas.rules import HOUR_NS, MINUTE_NS
from triton_models.dataset import RowTable
from triton_models.evaluation.regimes import Regimes
from triton_models.online.regimes import FORGET, UNKNOWN, Beliefs, Filter, Seen, Watched, filtered, watch
from triton_models.pinned import Pinned

CHAIN = Regimes(means=(-0.5, 0.5), deviations=(0.4, 0.6), transitions=((0.9, 0.1), (0.2, 0.8)))
WATCHED = Watched(short="bar_realised_variance_6h", long="bar_realised_variance_7d", step_ns=HOUR_NS, regimes=CHAIN)
NAMES = ("a", "b", "c")
FEATURES = ("hour_sine", WATCHED.long, WATCHED.short)


def rows(time_ns, names, values, features=FEATURES):
    """Return rows whose log ratio is `values`."""
    ratio = np.exp(np.array(values)) / 28
    columns = np.stack([np.ones(len(names)), np.full(len(names), 3e-4), 3e-4 * ratio], axis=-1)
    header = RowHeader(time_ns, 0, "r", "f")
    ages, quality = np.zeros((len(names), len(AGED))), np.zeros(len(names), np.uint32)
    return Rows(header, tuple(names), features, columns, ages, quality)


def regimes_of(stream):
    return [stream.regimes.get(name, UNKNOWN) for name in NAMES]


def test_the_ratio_is_that_of_rates():
    six_hours, week = np.array([1.0, 2.0, np.nan, 0.0]), np.array([28.0, 28.0, 28.0, 28.0])
    assert WATCHED.values(six_hours, week) == pytest.approx([0.0, np.log(2), np.nan, np.nan], nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_with_gaps_and_restarts_is_the_panel(seed):
    random = np.random.default_rng(seed)
    steps = 200
    table = random.normal(0, 1, (steps, 3))
    table[:, 1][:50] = np.nan  # listed late
    table[random.random(table.shape) < 0.2] = np.nan
    table[random.random(steps) < 0.2] = np.nan  # no row at all
    expected = filtered(CHAIN, table)
    stream = Filter(WATCHED)
    for step, values in enumerate(table):
        listed = [index for index in range(3) if np.isfinite(values[index]) or random.random() < 0.5]
        if random.random() < 0.1:
            stream = Filter(WATCHED, msgspec.msgpack.decode(msgspec.msgpack.encode(stream.seen), type=Seen))
        if np.isfinite(values).any():
            stream.take(rows(step * HOUR_NS, [NAMES[index] for index in listed], values[listed]))
            assert regimes_of(stream) == expected[step].tolist()
            between = stream.seen
            stream.take(rows(step * HOUR_NS + MINUTE_NS, NAMES, [5.0] * 3))
            assert stream.seen is between
    assert set(np.unique(expected)) == {UNKNOWN, 0, 1}


def test_an_instrument_is_unknown_before_its_first_value_and_new_after_a_long_silence():
    table = np.full((2 * FORGET + 5, 1), np.nan)
    table[[1, FORGET + 2, 2 * FORGET + 4]] = 3.0
    found = filtered(CHAIN, table)[:, 0]
    assert found[0] == UNKNOWN
    assert found[1 : FORGET + 3].min() >= 0
    assert found[-2] == UNKNOWN
    stream = Filter(WATCHED)
    for step in (1, FORGET + 2, 2 * FORGET + 4):
        stream.take(rows(step * HOUR_NS, ["a"], [3.0]))
        assert stream.regimes["a"] == found[step]
    fresh = Beliefs.none(CHAIN, 1).after(CHAIN, np.array([3.0]))
    assert stream.seen.probabilities == tuple(map(tuple, fresh.probabilities.tolist()))
    stream.take(rows((4 * FORGET) * HOUR_NS, ["b"], [0.0]))
    assert stream.seen.instruments == ("b",)


def test_rows_without_the_watched_features_tell_nothing():
    stream = Filter(WATCHED)
    stream.take(rows(HOUR_NS, NAMES, [0.0] * 3, features=("hour_sine", "x", WATCHED.short)))
    assert stream.regimes == {}


def test_another_chain_begins_anew():
    stream = Filter(WATCHED)
    stream.take(rows(HOUR_NS, NAMES, [0.0] * 3))
    assert Filter(WATCHED, stream.seen).regimes == stream.regimes != {}
    other = msgspec.structs.replace(WATCHED, step_ns=MINUTE_NS)
    assert Filter(other, stream.seen).regimes == {}


def training_rows(hours, seed=0, features=(WATCHED.long, WATCHED.short)):
    """Return rows of two instruments, every half hour, whose log ratio is calm about -0.5 and wild about 0.5."""
    random = np.random.default_rng(seed)
    times = np.tile(np.arange(2 * hours) * (HOUR_NS // 2), 2)
    wild = (np.arange(4 * hours) // 40) % 2
    ratio = np.exp(np.where(wild == 1, 0.5, -0.5) + 0.2 * random.normal(size=4 * hours)) / 28
    values = np.stack([np.full(4 * hours, 2e-3), 2e-3 * ratio], axis=-1).astype(np.float32)
    values[5::7] = np.nan
    pinned = Pinned.of(features, ["bar"] * 2)
    names = ["a"] * (2 * hours) + ["b"] * (2 * hours)
    return RowTable(names, times, values, np.zeros((4 * hours, 1), np.float32), pinned, row_interval_ns=HOUR_NS // 2)


def test_what_is_watched_is_fitted_on_training_rows():
    found = watch(training_rows(400), "bars")
    assert (found.short, found.long, found.step_ns) == (WATCHED.short, WATCHED.long, HOUR_NS)
    assert found.regimes.means == pytest.approx((-0.5, 0.5), abs=0.05)
    assert found.regimes.deviations == pytest.approx((0.2, 0.2), abs=0.03)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Watched) == found


def test_nothing_is_watched_where_features_are_not_pinned_or_rows_are_few():
    assert watch(training_rows(400, features=(WATCHED.long, "bar_realised_variance_1d")), "bars") is None
    assert watch(training_rows(400), "ticks") is None
    assert watch(training_rows(6), "bars") is None
