"""Instruments that are silent for longer than anything is kept cost no memory, and rows do not tell.

In the small world the longest of what is kept is a few hours: last times are kept by the hour.
"""

from dataclasses import replace

import numpy as np
import pytest
from canonical import BTC, Canon, event, trade
from small_catalogue import book_catalogue, feature
from world import MS

from featurestore.announced import FeatureSets
from featurestore.catalogue import Catalogue
from featurestore.specs import reduction
from featurestore.tiler import Tiler
from schemas import PROFILES
from schemas.topics import FEATURE_ROW

HOUR_MS = 3_600_000
OTHER = "alpha:BTC-EUR"
EXPIRED = "alpha:BTC-USD-241227"
"""A future of an asset that goes on."""


def started():
    canon = Canon(catalogue=family_catalogue())
    canon.progress(-50)
    return canon


def _odd(price, others, mood):
    """What is known of others though nothing is known of oneself."""
    return np.nansum([np.nan_to_num(price[..., -1]), np.nan_to_num(others[..., -1]), np.nan_to_num(mood[..., -1])], 0)


def family_catalogue():
    """The books' catalogue and a series of an instrument that goes on with its asset alone."""
    books = book_catalogue()
    gap = next(spec for spec in books.derived if spec.name == "peer_gap")
    odd = replace(
        gap,
        name="odd",
        inputs=("last_price", "peer_price", "mood"),
        function=reduction(_odd, "odd"),
        plain=_odd,
        window_tiles=1,
        combine="sum",
    )
    wide = feature("odd", 180_000 * MS, lambda x: x.sum(-1), ("odd",), records=("trade",))
    features = tuple(sorted((*books.features, wide), key=lambda spec: spec.name))
    return replace(books, derived=(*books.derived, odd), features=features)


def rows_of(canon):
    return [output.value for output in canon.outputs if output.topic == FEATURE_ROW]


def instruments(canon):
    return [name for name in canon.engine._closing.tiler.spaces["instrument"].names if name.isprintable()]


def lively(canon, at_ms, names):
    """Some events of each instrument, which prices of their own."""
    for place, name in enumerate(names):
        price = 100.0 + place + at_ms % 7
        canon.send(trade(at_ms + 10, price, instrument=name), trade(at_ms + 120, price + 1, instrument=name))
        if place % 2 == 0:
            canon.send(event("quote", at_ms + 30, bid_price=price - 1, instrument=name))
        if place % 3 == 0:
            lists = {"bid_prices": [9.0, 8.0, 7.0], "bid_sizes": [1.0] * 3, "ask_prices": [], "ask_sizes": []}
            canon.send(event("depth", at_ms + 40, instrument=name, **lists))
    canon.progress(at_ms + 3000)
    canon.advance()


MANY = [f"alpha:C{n}-USD" for n in range(12)]


def play(canon, *, restarts=False):
    lively(canon, 0, [*MANY, BTC])
    lively(canon, 5000, [EXPIRED])
    for hour in range(1, 10):
        lively(canon, hour * HOUR_MS, [BTC, OTHER] if hour % 2 else [BTC])
        canon.send(event("score", hour * HOUR_MS + 3500, instrument="BTC", venue="news", score=0.25))
        if restarts:
            canon.restarted()
            canon.advance()
    counts = [len(instruments(canon))]
    canon.send(event("score", 10 * HOUR_MS - 50, instrument="C5", venue="news", score=0.5))
    lively(canon, 10 * HOUR_MS, [BTC, *MANY[3:7]])
    lively(canon, 10 * HOUR_MS + 5000, [*MANY[5:9], OTHER])
    # What others of its asset did before it came back is in its windows.
    lively(canon, 17 * HOUR_MS - 170_000, [BTC])
    canon.send(event("score", 17 * HOUR_MS - 160_000, instrument="BTC", venue="news", score=0.25))
    lively(canon, 17 * HOUR_MS - 60_000, [EXPIRED])
    lively(canon, 17 * HOUR_MS, [*MANY, EXPIRED])
    return counts


@pytest.mark.parametrize("restarts", [False, True])
def test_an_instrument_that_comes_back_has_the_rows_of_one_that_was_never_forgotten(monkeypatch, restarts):
    found = started()
    (count,) = play(found, restarts=restarts)
    assert count == 2  # BTC and OTHER
    monkeypatch.setattr(Tiler, "_forget", lambda self: None)
    kept = started()
    (count,) = play(kept)
    assert count == 15
    assert rows_of(found) == rows_of(kept)
    assert len(rows_of(found)) > 50


def test_a_gap_of_a_year_forgets_as_well(monkeypatch):
    def gone(canon):
        lively(canon, 0, MANY)
        lively(canon, 400 * 24 * HOUR_MS, MANY[:1])
        lively(canon, 401 * 24 * HOUR_MS, MANY[:1])
        held = instruments(canon)
        lively(canon, 402 * 24 * HOUR_MS, MANY)
        return held

    found = started()
    assert gone(found) == MANY[:1]
    monkeypatch.setattr(Tiler, "_forget", lambda self: None)
    kept = started()
    assert len(gone(kept)) == len(MANY)
    assert rows_of(found) == rows_of(kept)


def test_a_partition_may_forget_all_that_it_had(monkeypatch):
    def silent(canon):
        lively(canon, 0, MANY)
        canon.send(event("score", 3100, instrument="BTC", venue="news", score=0.5))
        for hour in (1, 12, 13, 30):
            canon.progress(hour * HOUR_MS)
            canon.advance()
        held = instruments(canon)
        canon.restarted()
        canon.send(trade(31 * HOUR_MS + 10, instrument=BTC))
        lively(canon, 31 * HOUR_MS + 200, MANY)
        return held

    found = started()
    assert silent(found) == []
    monkeypatch.setattr(Tiler, "_forget", lambda self: None)
    kept = started()
    assert len(silent(kept)) == len(MANY)
    assert rows_of(found) == rows_of(kept)


def test_memory_does_not_grow_with_instruments_of_the_past():
    canon = started()
    sizes = []
    for hour in range(0, 60, 5):
        lively(canon, hour * HOUR_MS, [f"alpha:A{hour}-{n}" for n in range(5)])
        space = canon.engine._closing.tiler.spaces["instrument"]
        sizes.append(len(space))
    assert max(sizes) <= 5 + 5 + 4  # those of now, those before, and a row of silence for each kind


MOST_BYTES = 1_000_000


@pytest.mark.parametrize("rules", PROFILES.values(), ids=PROFILES)
def test_an_instrument_and_its_asset_take_less_than_a_megabyte_with_the_whole_catalogue(rules):
    tiler = Tiler(rules, FeatureSets(Catalogue.discover(rules), rules, []).layout(None), 1_700_000_000)
    total = 0
    for home, name in (("instrument", "binance:BTC-USDT"), ("asset", "BTC")):
        space = tiler.spaces[home]
        space.admit([name])
        series = (*space.series.values(), *space.lasts.values())
        total += sum(ring._data.nbytes for each in series for ring in each.levels)
    assert total < MOST_BYTES
