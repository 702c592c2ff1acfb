"""One asset at many venues: how far prices and funding disagree, who moves first; and bitcoin for all others."""

import numpy as np

from featurestore import asset, feature, market, tile
from schemas import Quote

DOLLARS = ("USD", "USDT", "USDC", "FDUSD", "BUSD", "TUSD", "DAI")


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


@asset()
def peer_log_mid(mid, bitcoin_in_dollars):
    """Mean over venues of the log mid, in log quote units."""
    return where_comparable(np.log(mid[..., 0]), bitcoin_in_dollars)


@asset(combine="sum")
def peer_price_variance(mid, bitcoin_in_dollars, peer_log_mid):
    """Variance of the log mid over venues, in squared log ratio."""
    return where_comparable(np.square(np.log(mid[..., 0]) - peer_log_mid[..., 0]), bitcoin_in_dollars)


@asset(reduce="sum")
def peer_count(mid, bitcoin_in_dollars):
    """Instruments whose mids can be compared, in instruments."""
    return where_comparable(1.0 * np.isfinite(mid[..., 0]), bitcoin_in_dollars)


@asset()
def peer_funding(funding):
    """Mean over venues of the funding rate, in ratio."""
    return funding[..., 0]


@asset()
def peer_funding_variance(funding, peer_funding):
    """Variance of the funding rate over venues, in squared ratio."""
    return np.square(funding[..., 0] - peer_funding[..., 0])


@asset(reduce="sum")
def peer_funding_count(funding):
    """Instruments that tell a funding rate, in instruments."""
    return np.where(np.isfinite(funding[..., 0]), 1.0, np.nan)


@asset(reduce="sum")
def peer_return_sum(log_return, bitcoin_in_dollars):
    """Sum over venues of the log change of the mid, in log return."""
    return where_comparable(log_return[..., 0], bitcoin_in_dollars)


@asset(reduce="sum")
def peer_return_count(log_return, bitcoin_in_dollars):
    """Instruments with a return, in instruments."""
    return where_comparable(np.where(np.isfinite(log_return[..., 0]), 1.0, np.nan), bitcoin_in_dollars)


@tile(window=1)
def others_return(log_return, bitcoin_in_dollars, peer_return_sum, peer_return_count):
    """Mean log change of the mid at the other venues, in log return."""
    own = np.isfinite(log_return[..., 0]) & np.isfinite(bitcoin_in_dollars[..., 0])
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
    """Mean over the tiles at which two instruments or more had a value."""
    several = np.isfinite(values) & (count > 1)
    number = several.sum(-1)
    return np.where(several, values, 0.0).sum(-1) / np.where(number > 0, number, np.nan)


@feature(window=["1m", "5m"])
def price_dispersion(peer_price_variance, peer_count):
    """Deviation of the asset's mid over venues quoted in dollars (Makarov and Schoar 2020), in log ratio."""
    return np.sqrt(mean_where_several(peer_price_variance, peer_count))


@feature(window="1m")
def funding_dispersion(peer_funding_variance, peer_funding_count):
    """Deviation of the asset's funding rate over venues (Schmeling, Schrimpf and Todorov 2023), in ratio."""
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
    return np.nanmean(bitcoin_log_variance, -1)
