"""One asset at many venues: how far prices and funding disagree, who moves first; and bitcoin for all others."""

import numpy as np

from featurestore import asset, feature, market, tile
from featurestore.features.dollars import DOLLARS
from featurestore.features.filled import mean_where_half_known
from schemas import Derivative, Quote

FUNDING_HOURS = (
    *(("binance", 8), ("bitget", 8), ("bitmex", 8), ("bybit", 8), ("deribit", 8), ("gateio-futures", 8)),
    *(("huobi-swap", 8), ("kraken-futures", 1), ("okx", 8)),
)
"""Hours that a venue's funding rate of bitcoin and ether is for. Of other assets venues shorten them now and then."""
FUNDING_ASSETS = ("BTC", "ETH")


@tile(Quote, carry="15m")
def bitcoin_in_dollars(instrument_id):
    """1 for bitcoin and 0 for another asset, spot or perpetual, quoted in dollars; else not known, in {0, 1}."""
    base, _, rest = instrument_id[-1].rpartition(":")[2].partition("-")
    quote, _, contract = rest.partition("-")
    comparable = quote in DOLLARS and contract in {"", "PERP"}
    return float(base == "BTC") if comparable else np.nan


def where_comparable(values, bitcoin_in_dollars):
    """Values of instruments whose prices can be compared, NaN for the others."""
    return np.where(np.isfinite(bitcoin_in_dollars[..., 0]), values, np.nan)


@tile(Quote, carry="10s")
def fresh_mid(bid_price, ask_price):
    """Mean of best bid and ask for ten seconds after a quote: a venue that fell silent has no price, in quote units."""
    return (bid_price[-1] + ask_price[-1]) / 2


@tile(Derivative, carry="15m")
def funding_of_8h(funding_rate, instrument_id, venue):
    """Funding rate of eight hours where it is known how many a rate is for, in ratio."""
    base = instrument_id[-1].rpartition(":")[2].partition("-")[0]
    hours = sum(told for name, told in FUNDING_HOURS if name == venue[-1] and base in FUNDING_ASSETS)
    rate = funding_rate[np.isfinite(funding_rate)][-1]
    return rate * 8 / hours if hours else np.nan


def where_fresh(log_return, fresh_mid):
    """Returns of instruments that told a quote just now, NaN for the others: 0 of a silent venue is no return."""
    return np.where(np.isfinite(fresh_mid[..., 0]), log_return[..., 0], np.nan)


@asset()
def peer_log_mid(fresh_mid, bitcoin_in_dollars):
    """Mean over venues of the log mid, in log quote units."""
    return where_comparable(np.log(fresh_mid[..., 0]), bitcoin_in_dollars)


@asset(combine="sum")
def peer_price_variance(fresh_mid, bitcoin_in_dollars, peer_log_mid):
    """Variance of the log mid over venues, in squared log ratio."""
    return where_comparable(np.square(np.log(fresh_mid[..., 0]) - peer_log_mid[..., 0]), bitcoin_in_dollars)


@asset(reduce="sum")
def peer_count(fresh_mid, bitcoin_in_dollars):
    """Instruments whose mids can be compared, in instruments."""
    return where_comparable(1.0 * np.isfinite(fresh_mid[..., 0]), bitcoin_in_dollars)


@asset()
def peer_funding(funding_of_8h):
    """Mean over venues of the funding rate of eight hours, in ratio."""
    return funding_of_8h[..., 0]


@asset()
def peer_funding_variance(funding_of_8h, peer_funding):
    """Variance of the funding rate of eight hours over venues, in squared ratio."""
    return np.square(funding_of_8h[..., 0] - peer_funding[..., 0])


@asset(reduce="sum")
def peer_funding_count(funding_of_8h):
    """Instruments whose funding rate of eight hours is known, in instruments."""
    return np.where(np.isfinite(funding_of_8h[..., 0]), 1.0, np.nan)


@asset(reduce="sum")
def peer_return_sum(log_return, bitcoin_in_dollars, fresh_mid):
    """Sum over venues that speak of the log change of the mid, in log return."""
    return where_comparable(where_fresh(log_return, fresh_mid), bitcoin_in_dollars)


@asset(reduce="sum")
def peer_return_count(log_return, bitcoin_in_dollars, fresh_mid):
    """Instruments with a return that speak, in instruments."""
    told = np.isfinite(where_fresh(log_return, fresh_mid))
    return where_comparable(np.where(told, 1.0, np.nan), bitcoin_in_dollars)


@tile(window=1)
def others_return(log_return, bitcoin_in_dollars, fresh_mid, peer_return_sum, peer_return_count):
    """Mean log change of the mid at the other venues, in log return."""
    own = np.isfinite(where_fresh(log_return, fresh_mid)) & np.isfinite(bitcoin_in_dollars[..., 0])
    others = peer_return_count[..., 0] - own
    total = peer_return_sum[..., 0] - np.where(own, log_return[..., 0], 0.0)
    return np.where(others > 0, total / np.where(others > 0, others, 1), np.nan)


@market(window="1m")
def bitcoin_log_variance(squared_return, bitcoin_in_dollars):
    """Log of the realised variance of bitcoin's last minute, in log squared return."""
    variance = squared_return.sum(-1)
    counted = (bitcoin_in_dollars[..., -1] == 1) & (variance > 0)
    return np.log(np.where(counted, variance, np.nan))


def mean_where_several(values, count):
    """Mean over the tiles at which two instruments or more had a value; NaN where these are few."""
    return mean_where_half_known(np.where(count > 1, values, np.nan))


@feature(window=["1m", "5m"])
def price_dispersion(peer_price_variance, peer_count):
    """Deviation of the asset's mid over venues quoted in dollars (Makarov and Schoar 2020), in log ratio."""
    return np.sqrt(mean_where_several(peer_price_variance, peer_count))


@feature(window="1m")
def funding_dispersion(peer_funding_variance, peer_funding_count):
    """Deviation of the 8-hour funding rate over venues (Schmeling, Schrimpf and Todorov 2023), in ratio.

    Of venues whose funding interval is known: bitcoin's and ether's at nine of them.
    """
    return np.sqrt(mean_where_several(peer_funding_variance, peer_funding_count))


@feature(window=["5m", "15m"], interval="1s")
def lead_lag_beta(log_return, others_return):
    """Slope of returns on those of the asset's other venues a second before (Lo and MacKinlay 1990), in ratio."""
    before, after = others_return[..., :-1], log_return[..., 1:]
    known = np.isfinite(before) & np.isfinite(after)
    count = np.where(known.any(-1), known.sum(-1), 1)
    gap = np.where(known, before - (np.where(known, before, 0.0).sum(-1) / count)[..., None], 0.0)
    spread = np.square(gap).sum(-1)
    # Others may be silent; the instrument's own window has to be filled.
    told = (spread > 0) & np.isfinite(log_return).all(-1)
    return (gap * np.where(known, after, 0.0)).sum(-1) / np.where(told, spread, np.nan)


@feature(window=["5m", "15m"])
def bitcoin_volatility(bitcoin_log_variance):
    """Mean log variance of bitcoin's minutes, for all assets (Zhang et al. 2022), in log squared return."""
    return mean_where_half_known(bitcoin_log_variance)
