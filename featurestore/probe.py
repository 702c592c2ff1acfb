"""Fixed sample events and series: what functions are tried on, the same on every machine."""

from collections.abc import Mapping
from functools import cache
from typing import Any, get_type_hints

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from featurestore.authoring import fields_of
from featurestore.levels import LEVELS, level_columns, list_fields
from featurestore.specs import BORDER_S, LONGEST_WINDOW_TILES, Array, DerivedSpec, TileSpec
from schemas import EVENTS, Event, Rules
from schemas.rules import SECOND_NS

KINDS = ("mint", "burn", "transfer")
_INSTRUMENT_IDS = np.array(["binance:BTC-USDT", "kraken:BTC-USD", "deribit:BTC-USD-PERP"])
_VENUES = np.array(["binance", "kraken", "deribit"])

# Levels that keep the order that a venue would send (bid < ask, low < open and close < high).
_LEVELS = {
    "price": 100.0,
    "bid_price": 99.5,
    "ask_price": 100.5,
    "mark_price": 100.0,
    "index_price": 100.1,
    "open": 100.0,
    "high": 101.0,
    "low": 99.0,
    "close": 100.2,
    "underlying_price": 100.0,
    "amount_usd": 1e6,
    "next_funding_time_ns": 1.7e18,
}
_START_S = 1.7e9

_GROWTH = 1.7
"""Distance of a level from the mid over that of the level before: the last of ten is beyond 100 basis points."""

_UNKNOWN_BOOK = 6
"""Which of 13 books says that the book is not known from here on."""

_WIDE = {"strike": (105.0, 35.0), "expiry_ns": (1.7e18 + 2.2e15, 2e15)}
"""Middle and half width of what lies around a point: strikes around the price, expiries in 2 to 48 days."""

_SIGNED = {"side": 1.0, "score": 0.9, "funding_rate": 1e-4, "delta": 0.9}


def events_of(record: type[Event], count: int, start: int = 0) -> dict[str, NDArray[Any]]:
    """Return `count` plausible events of a record, each column (count,), the same for each call.

    Lists are (count, LEVELS): full books, short ones, one-sided ones, and now and then none at all.
    """
    place = np.arange(start, start + count, dtype=np.float64)
    columns = {name: _column(record, name, place) for name in fields_of(record)}
    columns |= {"instrument_id": _INSTRUMENT_IDS[_turns(place)], "venue": _VENUES[_turns(place)]}
    columns["tile_time_ns"] = (_START_S + place) * SECOND_NS
    columns |= {name: _levels(name, place) for name in list_fields(record)}
    return columns | {name: columns[source][:, at] for name, (source, at) in level_columns(record).items()}


def _levels(name: str, place: NDArray[np.float64]) -> Array:
    """Return the levels of one side of a book, (events, LEVELS), NaN behind the last."""
    level, wave = np.arange(LEVELS), np.sin(place * 2.399963)
    bids = name.startswith("bid")
    if name.endswith("prices"):
        middle = 100.0 * (1.0 + 1e-3 * np.sin(place * 0.37) + 1e-4 * wave)
        gaps = 0.01 * _GROWTH**level * (1.5 + 0.05 * np.sin(place[:, None] + level))
        found = middle[:, None] + (-gaps if bids else gaps)
    else:
        found = 1.5 + np.sin(place[:, None] * 2.399963 + level + len(name))
    count = place.astype(np.int64)
    known = np.where(count % 5 == (1 if bids else 2), 4, LEVELS)
    known[count % 17 == (7 if bids else 11)] = 0
    known[count % 13 == _UNKNOWN_BOOK] = 0
    return np.where(level < known[:, None], found, np.nan)


def _turns(place: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which of three texts each event has."""
    return place.astype(np.int64) * 7 // 3 % len(KINDS)


def _column(record: type[Event], name: str, place: NDArray[np.float64]) -> NDArray[Any]:
    if get_type_hints(record)[name] is str:
        return np.array(KINDS)[_turns(place)]
    # Golden-angle steps: no period and no two equal neighbours. A slow common wave moves prices.
    wave = np.sin(place * 2.399963 + len(name))
    if name in _SIGNED:
        return _SIGNED[name] * (np.sign(wave) if name == "side" else wave)
    if name in _WIDE:
        middle, width = _WIDE[name]
        return middle + width * np.sin(place * 0.731 * len(name))  # waves of their own: every pair of two comes
    if name in _LEVELS:
        return _LEVELS[name] * (1.0 + 1e-3 * np.sin(place * 0.37) + 1e-4 * wave)
    return 1.5 + wave


def waves(shape: tuple[int, ...], number: int) -> Array:
    """Return one of many inputs (instruments, borders, T) that has nothing in common with others, with one jump."""
    place = np.arange(np.prod(shape)).reshape(shape) * (1 + 0.1 * number)
    found: Array = 2.0 + 0.5 * np.sin(1.7 * place) + 1.2 * np.sin(0.1 * place)
    found[-1, -1, shape[-1] // 2] *= 50
    return found


INSTRUMENTS = 3
BORDERS = 5
_TILES = LONGEST_WINDOW_TILES + 128

SCENARIOS: Mapping[str, NDArray[np.int64]] = {
    "busy": 1 + 7 * np.arange(_TILES) ** 2 % 59,
    "sparse": np.where(np.arange(_TILES) % 7, 0, 2),
    "one event": np.where(np.arange(_TILES) == _TILES - 2, 1, 0),
    "empty": np.zeros(_TILES, np.int64),
}
"""Number of events of each tile."""


class Sample:
    """Series of a few made-up instruments; a short and slow statement of what the engine computes."""

    def __init__(self, series: Mapping[str, TileSpec | DerivedSpec], rules: Rules) -> None:
        self.specs = series
        self.rules = rules
        self.series = cache(self._series)
        self.events = cache(events_of)

    def windows(self, names: tuple[str, ...], length: int, scenario: str) -> list[Array]:
        """Return the last windows of each series, [instruments, borders, length]."""
        views = (sliding_window_view(self.series(name, scenario), length, axis=1) for name in names)
        return [np.ascontiguousarray(view[:, -BORDERS:]) for view in views]

    def _series(self, name: str, scenario: str) -> Array:
        """Return one series, [instruments, tiles]."""
        if name == BORDER_S:
            step = self.rules.tile_interval_ns / SECOND_NS
            return np.tile(_START_S + step * np.arange(_TILES), (INSTRUMENTS, 1))
        spec = self.specs[name]
        if isinstance(spec, TileSpec):
            return np.stack([self._tiles(spec, scenario, start) for start in range(INSTRUMENTS)])
        views = (sliding_window_view(self.series(each, scenario), spec.window_tiles, axis=1) for each in spec.inputs)
        found = np.full((INSTRUMENTS, _TILES), np.nan)
        found[:, spec.window_tiles - 1 :] = spec.function(*views)
        if spec.market or spec.of_asset:
            count = np.isfinite(found).sum(axis=0)
            with np.errstate(invalid="ignore"):
                total = np.where(count > 0, np.nansum(found, axis=0), np.nan)
                found[:] = total if spec.of_asset == "sum" else total / count
        return found

    def _tiles(self, spec: TileSpec, scenario: str, start: int) -> Array:
        offsets = np.concatenate([[0], np.cumsum(SCENARIOS[scenario])]).astype(np.int64)
        columns = self.events(EVENTS[spec.record], int(offsets[-1]), 1000 * start)
        return carried(spec.evaluate(columns, offsets), spec.carry_ns // self.rules.tile_interval_ns)


def carried(values: Array, limit: int) -> Array:
    """Return values with each NaN replaced by the last known value of at most `limit` places before.

    >>> carried(np.array([1.0, np.nan, np.nan]), 1)
    array([ 1.,  1., nan])
    """
    place = np.arange(len(values))
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, place))
    return np.where((last >= 0) & (place - last <= limit), values[last], np.nan)
