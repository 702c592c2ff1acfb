"""Which assets a text is about: cashtags, tickers and names."""

import re

NAMES: dict[str, tuple[str, ...]] = {
    "BTC": ("bitcoin", "xbt"),
    "ETH": ("ethereum", "ether"),
    "SOL": ("solana",),
    "XRP": ("ripple",),
    "BNB": ("binance coin",),
    "DOGE": ("dogecoin",),
    "ADA": ("cardano",),
    "AVAX": ("avalanche",),
    "LINK": ("chainlink",),
    "LTC": ("litecoin",),
    "BCH": ("bitcoin cash",),
    "DOT": ("polkadot",),
    "TRX": ("tron",),
    "UNI": ("uniswap",),
    "SHIB": ("shiba inu",),
}
"""Asset to its names; its ticker names it too, in capitals or as a cashtag."""

_WORDS = {name: asset for asset, names in NAMES.items() for name in names}
# Longest first: "bitcoin cash" is not about bitcoin.
_NAME = "|".join(re.escape(name) for name in sorted(_WORDS, key=len, reverse=True))
_TICKER = "|".join(NAMES)
_MENTION = re.compile(rf"\b(?P<name>(?i:{_NAME}))\b|\$(?P<cashtag>(?i:{_TICKER}))\b|(?<![\w$-])(?P<ticker>{_TICKER})\b")


def assets_in(text: str) -> list[str]:
    """Return the assets that `text` mentions, in the order of the table above.

    >>> assets_in("Bitcoin Cash and $eth rally; SOL lags, link in bio")
    ['ETH', 'SOL', 'BCH']
    """
    found = set()
    for match in _MENTION.finditer(text):
        name = match["name"]
        found.add(_WORDS[name.lower()] if name else (match["cashtag"] or match["ticker"]).upper())
    return [asset for asset in NAMES if asset in found]
