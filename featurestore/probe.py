"""Fixed sample events: what tile functions are tried on, the same on every machine."""

from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from featurestore.authoring import fields_of
from schemas import Event

KINDS = ("mint", "burn", "transfer")

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
    "strike": 95.0,
    "underlying_price": 100.0,
    "amount_usd": 1e6,
    "next_funding_time_ns": 1.7e18,
    "expiry_ns": 1.7e18,
}
_SIGNED = {"side": 1.0, "score": 0.9, "funding_rate": 1e-4, "delta": 0.9}


def events_of(record: type[Event], count: int, start: int = 0) -> dict[str, NDArray[Any]]:
    """Return `count` plausible events of a record, each column (count,), the same for each call."""
    place = np.arange(start, start + count, dtype=np.float64)
    return {name: _column(record, name, place) for name in fields_of(record)}


def _column(record: type[Event], name: str, place: NDArray[np.float64]) -> NDArray[Any]:
    if get_type_hints(record)[name] is str:
        return np.array(KINDS)[place.astype(np.int64) * 7 // 3 % len(KINDS)]
    # Golden-angle steps: no period and no two equal neighbours. A slow common wave moves prices.
    wave = np.sin(place * 2.399963 + len(name))
    if name in _SIGNED:
        return _SIGNED[name] * (np.sign(wave) if name == "side" else wave)
    if name in _LEVELS:
        return _LEVELS[name] * (1.0 + 1e-3 * np.sin(place * 0.37) + 1e-4 * wave)
    return 1.5 + wave
