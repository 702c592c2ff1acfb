"""What moves the built-in market: rough log-variance with a common factor, season and shocks.

Log-variance of an asset a at second t:

    log v_a(t) = base_a + season(t) + M(t) + I_a(t) + S_a(t)

M (of the market) and I (own) are rough: sums of Ornstein-Uhlenbeck factors over one Brownian motion,
with weights that make the kernel fall like t^(H - 1/2) from seconds to a day (Abi Jaber and El Euch
2019). S is what news and transfers did: each adds a jump that decays. All draws are seeded.
"""

import math
from collections import deque
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.rules import DAY_NS, SECOND_NS
from streams.sources.market.news import Happening, News

Floats = NDArray[np.float64]

BLOCK_SECONDS = 60
STEPS = 10
"""Price steps in a second."""
HURST = 0.12
_YEAR_SECONDS = 365 * 86_400
_FACTORS = 12
_SPEEDS = np.geomspace(1.0, 1e-5, _FACTORS)
"""Mean reversion of the factors, per second."""
_MARKET_DEVIATION = 0.6
_OWN_DEVIATION = 0.35
"""Stationary standard deviations of M and I."""
_SHOCK_DECAY = math.exp(-1 / 180)
"""A shock's log-variance falls to 37 % in 180 s."""
_LEVERAGE = -0.3
"""Correlation of the market's return with the innovation of its log-variance."""
_GREATEST = 4.0
"""Bound of the deviation of log-variance from its base."""


class Asset(msgspec.Struct, frozen=True):
    """A base asset: its first price (in dollars), volatility (a ratio a year), and correlation with the market."""

    name: str
    price: float
    volatility: float
    correlation: float

    @property
    def variance(self) -> float:
        """Base variance of a second's log-return."""
        return self.volatility**2 / _YEAR_SECONDS


ASSETS = (Asset("BTC", 60_000.0, 0.4, 0.85), Asset("ETH", 3_000.0, 0.55, 0.8), Asset("SOL", 150.0, 0.75, 0.7))


class Block(msgspec.Struct, frozen=True):
    """One minute. A: assets; steps are a tenth of a second."""

    start_ns: int
    variance: Floats  # (60, A) true variance of each second's log-return
    season: Floats  # (60,) part of log-variance
    market: Floats  # (60,)
    own: Floats  # (60, A)
    shocks: Floats  # (60, A)
    surprise: Floats  # (600, A) standardised returns
    log_price: Floats  # (600, A)
    happenings: list[Happening]  # with times in this minute


class Latent:
    """The hidden path, minute by minute."""

    def __init__(self, seed: int, start_ns: int, assets: tuple[Asset, ...] = ASSETS) -> None:
        self._assets = assets
        self._random = seeded(seed, "latent")
        self._news = News(seeded(seed, "news"), [asset.name for asset in assets])
        self._start_ns = start_ns
        self._decay = np.exp(-_SPEEDS)
        self._weights, covariance = _rough_kernel(self._decay)
        own = [_OWN_DEVIATION] * len(assets)
        self._deviations = np.array([_MARKET_DEVIATION, *own])
        draws = self._random.standard_normal((1 + len(assets), _FACTORS))
        self._factors = (draws[:, None, :] * covariance).sum(-1)  # (1 + A, F), stationary
        self._shock = np.zeros(len(assets))
        self._due: deque[Happening] = deque()
        self._log_price = np.log([asset.price for asset in assets])

    def block(self) -> Block:
        """Return the next minute."""
        start = self._start_ns
        self._start_ns += BLOCK_SECONDS * SECOND_NS
        happenings = self._news.block(start, self._start_ns)
        self._due.extend(sorted((h for h in happenings if h.jump), key=lambda h: h.effect_ns))
        innovations = self._random.standard_normal((BLOCK_SECONDS, 1 + len(self._assets)))
        rough = self._rough(innovations)
        shocks = self._shocks(start)
        season = _season(start)
        deviation = season[:, None] + rough[:, :1] + rough[:, 1:] + shocks
        base = np.array([asset.variance for asset in self._assets])
        variance = base * np.exp(np.clip(deviation, -_GREATEST, _GREATEST))
        surprise = self._surprise(innovations[:, 0])
        steps = np.sqrt(np.repeat(variance, STEPS, axis=0) / STEPS) * surprise
        log_price = self._log_price + np.cumsum(steps, axis=0)
        self._log_price = log_price[-1]
        return Block(
            start_ns=start,
            variance=variance,
            season=season,
            market=rough[:, 0],
            own=rough[:, 1:],
            shocks=shocks,
            surprise=surprise,
            log_price=log_price,
            happenings=happenings,
        )

    def _rough(self, innovations: Floats) -> Floats:
        rough = np.empty_like(innovations)  # (60, 1 + A)
        for second, innovation in enumerate(innovations):
            self._factors = self._factors * self._decay + innovation[:, None]
            rough[second] = (self._factors * self._weights).sum(-1)
        rough *= self._deviations
        return rough

    def _shocks(self, start_ns: int) -> Floats:
        shocks = np.empty((BLOCK_SECONDS, len(self._assets)))
        for second in range(BLOCK_SECONDS):
            self._shock = self._shock * _SHOCK_DECAY
            end_ns = start_ns + (second + 1) * SECOND_NS
            while self._due and self._due[0].effect_ns < end_ns:
                happening = self._due.popleft()
                self._shock = self._shock + happening.jump * self._concerned(happening.asset)
            shocks[second] = self._shock
        return shocks

    def _concerned(self, asset: str) -> Floats:
        return np.array([float(asset in (each.name, "*")) for each in self._assets])

    def _surprise(self, innovation: Floats) -> Floats:
        """Return (600, A) standard normal draws: correlated over assets, the market's with its variance."""
        draws = self._random.standard_normal((BLOCK_SECONDS, STEPS, 1 + len(self._assets)))
        market = draws[:, :, 0]
        mean = market.mean(axis=1, keepdims=True)
        tilted = math.sqrt(1 - _LEVERAGE**2) * mean + _LEVERAGE * innovation[:, None] / math.sqrt(STEPS)
        market = market - mean + tilted
        correlation = np.array([asset.correlation for asset in self._assets])
        surprise = correlation * market[:, :, None] + np.sqrt(1 - correlation**2) * draws[:, :, 1:]
        flat: Floats = surprise.reshape(BLOCK_SECONDS * STEPS, len(self._assets))
        return flat


class Truth(msgspec.Struct, frozen=True):
    """What really moved a market, second by second from `start_ns`. A: assets."""

    start_ns: int
    assets: tuple[str, ...]
    variance: Floats  # (N, A) true variance of each second's log-return
    season: Floats  # (N,) parts of log-variance
    market: Floats  # (N,)
    own: Floats  # (N, A)
    shocks: Floats  # (N, A)
    happenings: tuple[Happening, ...]


def truth(seed: int, start_ns: int, seconds: int, assets: tuple[Asset, ...] = ASSETS) -> Truth:
    """Return what moves `market(seed, start_ns, seconds)`, whatever its instruments and intensity."""
    latent = Latent(seed, whole_second(start_ns), assets)
    blocks = [latent.block() for _ in range(math.ceil(seconds / BLOCK_SECONDS))]
    end_ns = whole_second(start_ns) + seconds * SECOND_NS

    def joined(parts: Iterable[Floats]) -> Floats:
        return np.concatenate(list(parts))[:seconds]

    return Truth(
        start_ns=whole_second(start_ns),
        assets=tuple(asset.name for asset in assets),
        variance=joined(block.variance for block in blocks),
        season=joined(block.season for block in blocks),
        market=joined(block.market for block in blocks),
        own=joined(block.own for block in blocks),
        shocks=joined(block.shocks for block in blocks),
        happenings=tuple(h for block in blocks for h in block.happenings if h.time_ns < end_ns),
    )


def seeded(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one part of the market, which no other part's draws disturb."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *name.encode()])))


def whole_second(time_ns: int) -> int:
    """Return the second that `time_ns` lies in."""
    return time_ns // SECOND_NS * SECOND_NS


def _rough_kernel(decay: Floats) -> tuple[Floats, Floats]:
    """Return the factors' weights for a stationary variance of 1, and a root of their covariance."""
    covariance = 1 / (1 - decay[:, None] * decay[None, :])
    weights = _SPEEDS ** (0.5 - HURST)
    weights /= math.sqrt((weights[:, None] * weights[None, :] * covariance).sum())
    # Rounded, because the last bits of a Cholesky factor differ between processors.
    return weights, np.round(np.linalg.cholesky(covariance), 9)


def _season(start_ns: int) -> Floats:
    """Return log-variance by time of day (greatest near 14:30 UTC) and week (weekends are calm)."""
    seconds = start_ns // SECOND_NS + np.arange(BLOCK_SECONDS)
    hour = seconds % 86_400 / 3_600
    day = 2 * math.pi * (hour - 14.5) / 24
    weekend = (start_ns // DAY_NS + 3) % 7 >= 5  # noqa: PLR2004 (day 0 of the epoch was a Thursday)
    season: Floats = 0.45 * np.cos(day) + 0.2 * np.cos(2 * day) - 0.4 * weekend
    return season
