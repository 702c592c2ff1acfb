"""The catalogue as a numbered table: which quantities say what, where each comes from, in which windows it is."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from featurestore.catalogue import Catalogue
from featurestore.registration import window_text
from featurestore.specs import FeatureSpec
from schemas import PROFILES

NUMBERED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("realised variance", ("realised_variance", "bar_realised_variance")),
    ("bipower variation", ("bipower_variation",)),
    ("jumps", ("jump_variance", "jump_statistic", "jump_flag")),
    ("positive semivariance", ("positive_semivariance",)),
    ("negative semivariance", ("negative_semivariance", "bar_negative_semivariance")),
    ("quarticity, HARQ", ("realised_quarticity", "measurement_error", "bar_realised_quarticity")),
    ("pre-averaged variance", ("pre_averaged_variance",)),
    ("MedRV, MinRV", ("median_variance", "minimum_variance")),
    ("Parkinson", ("range_variance", "parkinson_variance", "bar_range_variance")),
    ("Garman-Klass", ("garman_klass_variance", "bar_garman_klass_variance")),
    ("Rogers-Satchell", ("rogers_satchell_variance",)),
    ("Yang-Zhang", ("yang_zhang_variance",)),
    ("signature ratio", ("signature_ratio",)),
    ("volatility of volatility", ("volatility_of_volatility",)),
    ("decayed variance", ("decayed_variance", "bar_decayed_variance")),
    ("leverage", ("leverage",)),
    ("autocorrelation", ("return_autocorrelation", "variance_ratio")),
    ("season", ("seasonal_factor", "deseasonalised_variance", "minute_of_hour_factor")),
    ("spread", ("relative_spread", "time_weighted_spread")),
    ("microprice", ("microprice_gap",)),
    ("queue imbalance", ("queue_imbalance",)),
    ("order flow imbalance", ("quote_imbalance_flow",)),
    ("order flow of levels", ("multilevel_order_flow", "integrated_order_flow")),
    ("size of order flow", ("absolute_order_flow", "squared_order_flow")),
    (
        "depth",
        ("bid_depth_5bp", "ask_depth_5bp", "bid_depth_25bp", "ask_depth_25bp", "bid_depth_100bp", "ask_depth_100bp"),
    ),
    ("slope of the book", ("depth_slope",)),
    ("convexity of the book", ("book_convexity",)),
    ("imbalance of deep levels", ("depth_imbalance",)),
    ("orders that come and go", ("cancel_add_ratio", "quote_intensity")),
    ("resilience of the book", ("resilience_half_life",)),
    ("trade intensity", ("trade_intensity",)),
    ("excitation of trades", ("hawkes_excitation",)),
    ("trade flow", ("trade_imbalance", "net_flow")),
    ("trade sizes", ("trade_size_dispersion", "large_trade_share")),
    ("Kyle's lambda", ("kyle_lambda",)),
    ("Amihud's illiquidity", ("amihud_illiquidity",)),
    ("Roll's spread", ("roll_spread",)),
    ("VPIN", ("toxicity",)),
    ("volume surprise", ("volume_surprise", "seasonal_volume_surprise", "bar_volume_surprise")),
    ("basis", ("basis", "perpetual_basis")),
    ("change of basis", ("basis_change",)),
    ("funding", ("funding_rate", "settled_funding", "funding_zscore")),
    ("time to funding", ("minutes_to_funding",)),
    ("change of open interest", ("open_interest_change",)),
    ("open interest over volume", ("open_interest_turnover",)),
    ("open interest times move", ("open_interest_move",)),
    ("liquidations", ("long_liquidations", "short_liquidations", "liquidations")),
    ("burst of liquidations", ("liquidation_burst",)),
    ("price over venues", ("price_dispersion",)),
    ("funding over venues", ("funding_dispersion",)),
    ("lead and lag of venues", ("lead_lag_beta",)),
    ("market volatility", ("market_volatility", "market_bar_volatility")),
    ("bitcoin for all others", ("bitcoin_volatility",)),
    ("implied volatility", ("atm_week_volatility", "atm_month_volatility")),
    ("variance risk premium", ("volatility_premium",)),
    ("term slope", ("term_slope",)),
    ("risk reversal", ("risk_reversal",)),
    ("butterfly", ("butterfly",)),
    ("issuance, exchange flows", ("stablecoin_issuance", "stablecoin_exchange_inflow", "asset_exchange_inflow")),
    (
        "movements on chain",
        (
            *("whale_movements", "whale_value", "active_addresses"),
            *("transfer_concentration", "stablecoin_transfers", "asset_transfers"),
        ),
    ),
    (
        "posts",
        ("posts", "post_volume_zscore", "sentiment", "disagreement", "market_posts", "market_sentiment"),
    ),
    ("news", ("news_shock", "market_news_shock", "minutes_since_post", "scheduled_decision")),
)
"""What each number, from 1 on, is called, and the quantities that say it."""

_SOURCE = re.compile(r"([A-Z][^().]*?) \(((?:19|20)\d\d)\)|\(([A-Z][^()]*(?:19|20)\d\d)\)")


class Line(NamedTuple):
    """One quantity: its number and theme ("" beyond the numbered ones), and windows by profile."""

    number: str
    theme: str
    spec: FeatureSpec
    windows: Mapping[str, tuple[str, ...]]

    @property
    def source(self) -> str:
        """Return who described it, author and year, "-" where nobody needs to have."""
        found = _SOURCE.search(" ".join(self.spec.docs.split()))
        if found is None:
            return "-"
        return found[3] or f"{found[1]} {found[2]}"

    @property
    def what(self) -> str:
        """Return what it is, without source and unit."""
        text = self.spec.docs.partition("\n")[0].rstrip(".").removesuffix(f", in {self.spec.unit}")
        return _SOURCE.sub("", text).replace(" ,", ",").strip()


def lines() -> Iterator[Line]:
    """Yield the quantities of all profiles: the numbered ones in their order, then all others by name."""
    specs: dict[str, FeatureSpec] = {}
    windows: dict[str, dict[str, list[str]]] = {}
    for profile, rules in PROFILES.items():
        for spec in sorted(Catalogue.discover(rules).features, key=lambda spec: spec.window_ns):
            specs.setdefault(spec.quantity, spec)
            text = window_text(spec.window_ns) if spec.window_ns else "row"
            windows.setdefault(spec.quantity, {}).setdefault(profile, []).append(text)
    places = [(str(place + 1), theme, name) for place, (theme, names) in enumerate(NUMBERED) for name in names]
    numbered = {name for _, _, name in places}
    places += [("", "", name) for name in sorted(specs.keys() - numbered)]
    for number, theme, name in places:
        found = {profile: tuple(each) for profile, each in windows[name].items()}
        yield Line(number, theme, specs[name], found)
