import numpy as np
import pytest

from featurestore.tiles import SPAN_TILES, Ring, Series, carried
from schemas import FeatureError


def test_a_ring_reads_its_last_columns_however_they_were_added():
    values = np.arange(2000.0)[None, :]
    for step in (1, 7, 300, 2000):
        ring = Ring(1, keep=50, start=5)
        for first in range(0, 2000, step):
            ring.extend(values[:, first : first + step])
        assert ring.head == 2005
        assert ring.view(1955, 2005).tolist() == values[:, 1950:].tolist()


def test_a_ring_does_not_invent_what_it_no_longer_has():
    ring = Ring(1, keep=4, start=0)
    ring.extend(np.ones((1, 500)))
    with pytest.raises(IndexError, match="columns 0 to 4"):
        ring.view(0, 4)
    with pytest.raises(IndexError):
        ring.view(498, 501)


@pytest.mark.parametrize("combine", ["sum", "min", "max", "first", "last"])
def test_coarser_tiles_do_not_depend_on_the_blocks(combine):
    values = np.random.default_rng(1).normal(size=(3, 1000))
    values[values > 1.2] = np.nan
    found = []
    for step in (1, 13, 256, 1000):
        series = Series(3, combine, factors=(60, 2), keeps=(400, 70, 40), start=17)
        for first in range(0, 1000, step):
            series.extend(values[:, first : first + step])
        found.append([ring.view(ring.head - 5, ring.head).tobytes() for ring in series.levels])
    assert all(other == found[0] for other in found)


def test_a_sum_is_one_call_over_all_children():
    # A running sum of 0.1 sixty times is 5.999999999999999; the sum of all sixty at once is not.
    series = Series(1, "sum", factors=(60,), keeps=(400, 4), start=0)
    for _ in range(60):
        series.extend(np.array([[0.1]]))
    assert series.levels[1].view(0, 1)[0, 0] == np.full(60, 0.1).sum() != sum([0.1] * 60)


def test_an_unknown_child_makes_a_sum_unknown_and_is_passed_over_by_the_others():
    children = np.array([[np.nan, 2.0, 1.0, np.nan]])
    merged = {}
    for combine in ("sum", "min", "max", "first", "last"):
        series = Series(1, combine, factors=(4,), keeps=(10, 2), start=0)
        series.extend(children)
        merged[combine] = series.levels[1].view(0, 1)[0, 0]
    assert np.isnan(merged.pop("sum"))
    assert merged == {"min": 1.0, "max": 2.0, "first": 2.0, "last": 1.0}


@pytest.mark.parametrize("count", [1, 59, 60, 61, 7199, 7200, 10_000])
def test_repeating_a_column_is_writing_it_so_many_times(count):
    column = np.array([0.1, np.nan])
    series = [Series(2, "sum", factors=(60, 60), keeps=(400, 100, 5), start=31) for _ in range(2)]
    for one in series:
        one.extend(np.ones((2, 40)))
    series[0].repeat(column, count)
    for first in range(0, count, SPAN_TILES):
        series[1].extend(np.repeat(column[:, None], min(SPAN_TILES, count - first), axis=1))
    for mine, theirs in zip(series[0].levels, series[1].levels, strict=True):
        assert mine.head == theirs.head
        assert mine.view(mine.head - 5, mine.head).tobytes() == theirs.view(theirs.head - 5, theirs.head).tobytes()


def test_ten_years_of_silence_cost_one_buffer():
    series = Series(1, "sum", factors=(60, 60), keeps=(400, 100, 5), start=0)
    series.repeat(np.array([0.0]), 10 * 365 * 86_400)
    assert series.levels[2].head == 10 * 365 * 24


def test_what_cannot_merge_has_no_minutes():
    with pytest.raises(FeatureError, match="combine="):
        Series(1, None, factors=(60,), keeps=(400, 4), start=0)


def test_a_silent_tile_repeats_the_last_number_for_so_long():
    # tile   10   11   12   13   14   15     carried over at most 2 tiles
    #        1.0                  2.0
    values = np.array([[1.0, np.nan, np.nan, np.nan, 2.0, np.nan]])
    expected = [1.0, 1.0, 1.0, np.nan, 2.0, 2.0]
    for cut in range(7):
        state = np.array([np.nan]), np.array([-(1 << 62)])
        first, *state = carried(values[:, :cut], 10, 2, *state) if cut else (np.empty((1, 0)), *state)
        second, *state = carried(values[:, cut:], 10 + cut, 2, *state) if cut < 6 else (np.empty((1, 0)), *state)
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1)[0], expected)
        assert (state[0][0], state[1][0]) == (2.0, 14)
