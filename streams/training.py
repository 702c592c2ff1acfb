"""From raw data to bundles: rows by the backfill, then log-HAR and the networks."""

import tempfile
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import msgspec
from rich.console import Console

from featurestore.catalogue import Catalogue
from schemas import PROFILES, SettingsError
from schemas.rules import DAY_NS
from streams.backfill import backfill_messages
from streams.following import Followed
from streams.sources import RawMessage
from streams.sources.captures import find_captures
from streams.sources.market import INSTRUMENTS, market
from triton_models.evaluation.folds import day_ns

MARKET_HOURS = 30
MARKET_SEED = 20_260_101
MARKET_START_NS = 20_089 * DAY_NS
"""2025-01-01: well before the market that the demo plays, and of another seed."""
MARKET_INTENSITY = 0.2
"""A fifth of the rates of quotes and trades; prices, and so the targets, are the same."""
MARKET_INSTRUMENTS = ("binance:BTC-USDT", "binance-usdm:ETH-USDT-PERP", "bybit:SOL-USDT-PERP", "kraken:ETH-USD")
"""One of each asset, and one that is quoted seldom: more of one asset share its price and add nothing."""


def train_profile(
    profile: str,
    data: Path | None,
    out: Path,
    seed: int,
    console: Console,
    *,
    version: str = "1",
    until: str = "",
) -> None:
    """Train and publish one version of both networks of a profile, on bars up to a day; raises ForeshockError."""
    from triton_models.material import OPTIONS
    from triton_models.pinned import features_of
    from triton_models.train import train_models

    if profile not in PROFILES:
        raise SettingsError(f"--profile: expected {' or '.join(PROFILES)}, got {profile!r}")
    with tempfile.TemporaryDirectory(prefix="foreshock-train-") as folder, Followed(console=console) as screen:
        rows = Path(folder) / "rows.parquet"
        task = screen.add_task("rows", total=None)
        backfill_messages(
            training_messages(profile, data, until),
            PROFILES[profile],
            rows=rows,
            catalogue=Catalogue.discover(PROFILES[profile]).subset(features_of(profile)),
            progress=lambda text: screen.update(task, description=text),
        )
        screen.update(task, total=1.0)
        bundles = train_models(
            rows,
            profile=profile,
            repository=out,
            version=version,
            options=msgspec.structs.replace(OPTIONS[profile], seed=seed),
            progress=lambda text, ratio: screen.update(task, description=text, completed=ratio),
        )
    for bundle in bundles:
        console.print(f"{bundle.spec.name} {bundle.spec.version}: {bundle.hash}")


def training_messages(profile: str, data: Path | None, until: str = "") -> Iterator[RawMessage]:
    """Yield the raw messages that a profile is trained on: the built-in market, or bar files in `data` up to a day.

    Raises:
        SettingsError: where there are no bar files, `until` is no date, or the market has no such days.
    """
    if profile == "ticks":
        if until:
            raise SettingsError("--until: is for bar files; ticks are trained on the built-in market")
        played = tuple(each for each in INSTRUMENTS if each.instrument_id in MARKET_INSTRUMENTS)
        seconds = MARKET_HOURS * 3600
        return market(MARKET_SEED, MARKET_START_NS, seconds, instruments=played, intensity=MARKET_INTENSITY)
    if data is None:
        raise SettingsError("--data: expected the folder of 5-minute bar files")
    messages = find_captures(sorted(data.glob("binance_spot_*_5m.parquet"))).messages()
    return _before(messages, day_ns(until) + DAY_NS) if until else messages


def _before(messages: Iterator[RawMessage], until_ns: int) -> Iterator[RawMessage]:
    """Yield messages received up to a time, a bar that ends there among them."""
    return takewhile(lambda message: message.receive_time_ns <= until_ns, messages)
