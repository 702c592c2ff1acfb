"""A catalogue of a few features that together touch every rule: order, repeats, carry, levels, market."""

import numpy as np
from world import MS

from featurestore.catalogue import Catalogue
from featurestore.specs import DerivedSpec, FeatureSpec, FieldSpec, TileSpec, reduction


def _tile(name, record, function, inputs, *, combine=None, carry_ns=0, scope="own"):
    empty = np.nan if combine in (None, "min", "max", "first", "last") else 0.0
    return TileSpec(
        name=name,
        record=record,
        inputs=inputs,
        function=function,
        version="1",
        scope=scope,
        combine=combine,
        carry_ns=carry_ns,
        empty_value=empty,
    )


def _derived(name, function, inputs, window_tiles, *, combine=None, market=False, of_asset=None):
    return DerivedSpec(
        name=name,
        inputs=inputs,
        window_tiles=window_tiles,
        function=reduction(function, name),
        plain=function,
        version="1",
        combine=combine,
        market=market,
        of_asset=of_asset,
    )


def feature(quantity, window_ns, function, inputs, *, records=(), version="1"):
    return FeatureSpec(
        name=f"{quantity}_{window_ns // MS}ms",
        quantity=quantity,
        window_ns=window_ns,
        inputs=inputs,
        function=reduction(function, quantity),
        plain=function,
        version=version,
        records=records,
        modality=records[0] if records else "clock",
    )


def _total(x):
    return x.sum(-1)


def _last(x):
    return x[..., -1]


def _squared_return(price):
    return np.log(price[..., 1] / price[..., 0]) ** 2


def _weighted(price):
    return float((price * np.arange(1, len(price) + 1)).sum())


TILES = (
    _tile("count", "trade", lambda price: float(len(price)), ("price",), combine="sum"),
    _tile("high", "trade", lambda price: price.max(), ("price",), combine="max"),
    _tile("opening", "trade", lambda price: price[0], ("price",), combine="first"),
    _tile("order", "trade", _weighted, ("price",), combine="sum"),
    _tile("last_price", "trade", lambda price: price[-1], ("price",), combine="last", carry_ns=300 * MS),
    _tile("mid", "quote", lambda bid_price: bid_price[-1], ("bid_price",), combine="last", carry_ns=200 * MS),
    _tile("funding", "derivative", lambda funding_rate: funding_rate[-1], ("funding_rate",), combine="last"),
    _tile("minted", "flow", lambda amount_usd: amount_usd.sum(), ("amount_usd",), combine="sum", scope="market"),
    _tile("mood", "score", lambda score: score.sum(), ("score",), combine="sum"),
)
DERIVED = (
    _derived("squared_return", _squared_return, ("last_price",), 2, combine="sum"),
    _derived("level", _last, ("last_price",), 1, market=True),
)
FEATURES = (
    feature("age_of_time", 300 * MS, lambda s: s[..., -1], ("border_s",)),
    feature("count", 300 * MS, _total, ("count",), records=("trade",)),
    feature("count", 180_000 * MS, _total, ("count",), records=("trade",)),
    feature("funding", 2000 * MS, lambda x: np.fmax.reduce(x, -1), ("funding",), records=("derivative",)),
    feature("high", 180_000 * MS, lambda x: np.fmax.reduce(x, -1), ("high",), records=("trade",)),
    feature("level", 100 * MS, _last, ("level",)),
    feature("mid", 500 * MS, lambda x: np.fmin.reduce(x, -1), ("mid",), records=("quote",)),
    feature("minted", 3000 * MS, _total, ("minted",), records=("flow",)),
    feature("mood", 3000 * MS, _total, ("mood",), records=("score",)),
    feature("opening", 400 * MS, lambda x: np.fmax.reduce(x, -1), ("opening",), records=("trade",)),
    feature("order", 1000 * MS, _total, ("order",), records=("trade",)),
    feature("squared_return", 400 * MS, lambda x: np.nansum(x, -1), ("squared_return",), records=("trade",)),
    feature("volume_path", 180_000 * MS, _total, ("order",), records=("trade",)),
)


def _gap(price, mean):
    return price[..., -1] - mean[..., -1]


def _squared_gap(price, mean):
    return (price[..., -1] - mean[..., -1]) ** 2


PEERS = (
    _derived("peer_price", _last, ("last_price",), 1, of_asset="mean"),
    _derived("peer_count", lambda x: np.isfinite(x[..., -1]) * 1.0, ("mid",), 1, of_asset="sum", combine="max"),
    _derived("peer_gap", _gap, ("last_price", "peer_price"), 2),
    _derived("peer_variance", _squared_gap, ("last_price", "peer_price"), 1, of_asset="mean"),
)


def _bid_depth(bid_sizes):
    return np.nansum(bid_sizes, -1)


def book_catalogue() -> Catalogue:
    """The small catalogue, features of books and of an asset's instruments: levels, what is made of them, peers."""
    small = small_catalogue()
    field = FieldSpec(
        name="bid_depth",
        record="depth",
        inputs=("bid_sizes",),
        function=reduction(_bid_depth, "bid_depth"),
        plain=_bid_depth,
        version="1",
    )
    carried = _tile("third", "depth", lambda bid_price_3: bid_price_3[-1], ("bid_price_3",), carry_ns=500 * MS)
    made = TileSpec(
        name="deep",
        record="depth",
        inputs=("bid_depth", "ask_price_1"),
        function=lambda depth, ask: np.nansum(depth * ask),
        version="1",
        fields=(field,),
        combine="sum",
        empty_value=0.0,
    )
    features = (
        feature("third", 100 * MS, _last, ("third",), records=("depth",)),
        feature("third", 700 * MS, lambda x: np.nansum(x, -1), ("third",), records=("depth",)),
        feature("deep", 300 * MS, _total, ("deep",), records=("depth",)),
        feature("peers", 400 * MS, lambda x: np.nansum(x, -1), ("peer_price",)),
        feature("strangeness", 300 * MS, lambda x: np.nansum(x, -1), ("peer_gap",), records=("trade",)),
        feature("spread", 200 * MS, _last, ("peer_variance",)),
        feature("peers_heard", 300 * MS, lambda x: np.fmax.reduce(x, -1), ("peer_count",)),
    )
    return Catalogue(
        tiles=tuple(sorted((*small.tiles, carried, made), key=lambda spec: spec.name)),
        derived=(*small.derived, *PEERS),
        features=tuple(sorted((*small.features, *features), key=lambda spec: spec.name)),
        fields=(field,),
    )


def small_catalogue() -> Catalogue:
    return Catalogue(
        tiles=tuple(sorted(TILES, key=lambda spec: spec.name)),
        derived=DERIVED,
        features=tuple(sorted(FEATURES, key=lambda spec: spec.name)),
    )
