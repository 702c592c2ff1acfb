"""What happens outside the built-in market's order books: posts and token transfers.

Most of it is noise. Strong posts, large mints of stablecoins and large transfers to an exchange are
causes: some seconds after they could be known, they raise the log-variance of what they concern.
"""

import math

import msgspec
import numpy as np

from schemas.instruments import ANY_ASSET
from schemas.rules import SECOND_NS

ZERO_ADDRESS = "0x" + "0" * 40
EXCHANGE_ADDRESS = "0x28c6c06298d514db089934071355e5743bf21d60"
"""A hot wallet of Binance."""

MOODS: dict[str, tuple[str, ...]] = {
    "terrible": (
        "Disaster for {asset} holders, terrible hack, funds stolen, fear everywhere",
        "Fraud charges hit a major {asset} desk, worst collapse of the year, panic",
        "{asset} breaks support in a brutal, ugly selloff as fear and panic spread",
    ),
    "weak": ("{asset} desk reports a delay in settlement",),
    "plain": (
        "{asset} trades sideways in the European session",
        "Open positions in {asset} are unchanged from yesterday",
        "{asset} volume in line with the weekly average",
    ),
    "solid": ("{asset} holds gains after a good session",),
    "great": (
        "Great win for {asset}: approval is a huge success, best rally of the year",
        "Amazing breakthrough for {asset}, investors love it, strong gains and great optimism",
        "Excellent news, {asset} wins wonderful backing, brilliant gains and a perfect launch",
    ),
}
"""Posts by mood: VADER scores them below -0.9, in (-0.5, 0), 0, in (0, 0.7) and above 0.9."""

_CHANCES = {"terrible": 0.045, "weak": 0.1, "plain": 0.725, "solid": 0.1, "great": 0.03}
_JUMPS = {"terrible": 0.85, "great": 0.45}
"""How much a strong post adds to log-variance."""
_POSTS_PER_MINUTE = 4.0
_FEEDS = ("newswire", "social")

_BLOCK_SECONDS = 12
_TRANSFERS_PER_BLOCK = 2.0
_INFLOWS_PER_BLOCK = 0.025
_MINTS_PER_BLOCK = 0.0125
_POST_DELAY_NS = 3 * SECOND_NS
_TRANSFER_DELAY_NS = 5 * SECOND_NS
"""From when something could be known to its effect."""


class Token(msgspec.Struct, frozen=True):
    """A token of Ethereum: its contract, decimals, price in dollars, and the asset that it stands for."""

    address: str
    decimals: int
    price: float
    asset: str


TOKENS = {
    "USDT": Token("0xdac17f958d2ee523a2206206994597c13d831ec7", 6, 1.0, ANY_ASSET),
    "USDC": Token("0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", 6, 1.0, ANY_ASSET),
    "WETH": Token("0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2", 18, 3_000.0, "ETH"),
    "WBTC": Token("0x2260fac5e5542a773aa44fbcfedf7c193bc2c599", 8, 60_000.0, "BTC"),
}
_COINS = ("USDT", "USDC")
_WRAPPED = ("WETH", "WBTC")


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """A post (`mood`, `feed`, `text`) or a transfer (`token`, `amount` in tokens, addresses).

    `time_ns` is when it was published or mined, `receive_ns` when it could be known. At `effect_ns`
    it adds `jump` to the log-variance of `asset` ("*": all).
    """

    time_ns: int
    receive_ns: int
    asset: str
    jump: float = 0.0
    effect_ns: int = 0
    mood: str = ""
    feed: str = ""
    text: str = ""
    token: str = ""
    amount: float = 0.0
    from_address: str = ""
    to_address: str = ""


class News:
    """Draws what happens, block of time by block of time."""

    def __init__(self, random: np.random.Generator, assets: list[str]) -> None:
        self._random = random
        self._assets = assets

    def block(self, start_ns: int, end_ns: int) -> list[Happening]:
        """Return what happens in [start, end), in the order of time."""
        minutes = (end_ns - start_ns) / (60 * SECOND_NS)
        count = self._random.poisson(_POSTS_PER_MINUTE * minutes)
        times = start_ns + self._random.integers(0, end_ns - start_ns, count)
        happenings = [self._post(int(time)) for time in times]
        step = _BLOCK_SECONDS * SECOND_NS
        for mined in range(-(-start_ns // step) * step, end_ns, step):
            happenings += self._transfers(mined)
        return sorted(happenings, key=lambda happening: happening.time_ns)

    def _post(self, time_ns: int) -> Happening:
        mood = self._choice(list(_CHANCES), list(_CHANCES.values()))
        asset = ANY_ASSET if self._random.random() < 0.3 else self._choice(self._assets)  # noqa: PLR2004
        text = self._choice(list(MOODS[mood])).format(asset="crypto" if asset == ANY_ASSET else asset)
        receive_ns = time_ns + int(self._random.uniform(1, 4) * SECOND_NS)
        return Happening(
            time_ns=time_ns,
            receive_ns=receive_ns,
            asset=asset,
            jump=_JUMPS.get(mood, 0.0),
            effect_ns=receive_ns + _POST_DELAY_NS,
            mood=mood,
            feed=self._choice(list(_FEEDS)),
            text=text,
        )

    def _transfers(self, mined_ns: int) -> list[Happening]:
        """Return the transfers of one chain block; all of its records come together."""
        receive_ns = mined_ns + int(self._random.uniform(2, 4) * SECOND_NS)
        plain = [self._plain(mined_ns, receive_ns) for _ in range(self._random.poisson(_TRANSFERS_PER_BLOCK))]
        large = [self._inflow(mined_ns, receive_ns) for _ in range(self._random.poisson(_INFLOWS_PER_BLOCK))]
        mints = [self._mint(mined_ns, receive_ns) for _ in range(self._random.poisson(_MINTS_PER_BLOCK))]
        return plain + large + mints

    def _plain(self, mined_ns: int, receive_ns: int) -> Happening:
        token = self._choice([*_COINS, *_WRAPPED])
        dollars = float(self._random.lognormal(math.log(1e5), 1.0))
        return self._transfer(mined_ns, receive_ns, token, dollars, self._address(), self._address())

    def _inflow(self, mined_ns: int, receive_ns: int) -> Happening:
        dollars = 10 ** self._random.uniform(7.3, 8.3)
        jump = 0.55 * math.log10(dollars / 1e7)
        token = self._choice(list(_WRAPPED))
        return self._transfer(mined_ns, receive_ns, token, dollars, self._address(), EXCHANGE_ADDRESS, jump)

    def _mint(self, mined_ns: int, receive_ns: int) -> Happening:
        dollars = 10 ** self._random.uniform(8, 9)
        jump = 0.4 * math.log10(dollars / 3e7)
        token = self._choice(list(_COINS))
        return self._transfer(mined_ns, receive_ns, token, dollars, ZERO_ADDRESS, self._address(), jump)

    def _transfer(
        self, mined_ns: int, receive_ns: int, token: str, dollars: float, sender: str, receiver: str, jump: float = 0.0
    ) -> Happening:
        return Happening(
            time_ns=mined_ns,
            receive_ns=receive_ns,
            asset=TOKENS[token].asset,
            jump=jump,
            effect_ns=receive_ns + _TRANSFER_DELAY_NS,
            token=token,
            amount=dollars / TOKENS[token].price,
            from_address=sender,
            to_address=receiver,
        )

    def _address(self) -> str:
        return "0x" + self._random.bytes(20).hex()

    def _choice(self, items: list[str], chances: list[float] | None = None) -> str:
        return items[int(self._random.choice(len(items), p=chances))]
