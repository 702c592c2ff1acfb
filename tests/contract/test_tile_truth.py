"""Tiles and rows of the real captures against a reading of the same files that shares no code with ours."""

import gzip
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from schemas import TICKS
from schemas.rules import SECOND_NS
from schemas.topics import LATE_EVENT
from streams.cli import app
from streams.ingest.normaliser import Normaliser
from streams.sources.captures import find_captures
from streams.sources.replay import with_heartbeats

FOLDER = "ticks_binance_hftbacktest"
INSTRUMENTS = {
    ("spot", "BTCUSDT"): "binance:BTC-USDT",
    ("usdm", "BTCUSDT"): "binance-usdm:BTC-USDT-PERP",
    ("usdm", "ETHUSDT"): "binance-usdm:ETH-USDT-PERP",
}
LISTING_SECONDS = 900
SUMS = 1e-12


@pytest.fixture(scope="module")
def made(captures, tmp_path_factory):
    """What `foreshock backfill` says and writes: its lines, the tiles, the rows."""
    folder = tmp_path_factory.mktemp("backfill")
    files = {name: str(folder / f"{name}.parquet") for name in ("tiles", "rows")}
    arguments = ["backfill", str(captures / FOLDER), "--tiles", files["tiles"], "--rows", files["rows"]]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines(), pd.read_parquet(files["tiles"]), pd.read_parquet(files["rows"])


@pytest.fixture(scope="module")
def frames(captures):
    """One line a frame, straight from the files: kind, instrument, times in ns, and a trade's own fields."""
    read = []
    for path in sorted((captures / FOLDER).glob("*/*.gz")):
        with gzip.open(path, "rt") as lines:
            read += [frame(path.parent.name, line) for line in lines]
    return pd.DataFrame.from_records(
        read, columns=["kind", "instrument", "received", "event", "number", "price", "size", "side"]
    )


def frame(market, line):
    time, _, text = line.partition(" ")
    received = int(time) * (1 if len(time) == 19 else 1_000)
    data = json.loads(text)
    data = data.get("data", data)
    kind = data.get("e") or ("depthSnapshot" if "lastUpdateId" in data else "bookTicker")
    if kind == "trade" and data.get("X", "MARKET") != "MARKET":
        kind = "off-market-trade"  # settled with the insurance fund, far from the book
    instrument = INSTRUMENTS.get((market, data.get("s")))
    if kind == "trade":
        own = (data["T"] * 1_000_000, data["t"], float(data["p"]), float(data["q"]), -1 if data["m"] else 1)
    elif kind == "bookTicker":
        # Those of spot carry no time: they count from when they were known.
        own = (data["T"] * 1_000_000 if "T" in data else received, data["u"], np.nan, np.nan, 0)
    else:
        own = (received, 0, np.nan, np.nan, 0)
    return (kind, instrument, received, *own)


@pytest.fixture(scope="module")
def late(captures):
    """(instrument, event time, number) of each refused event, in the order of the raw log."""
    normalisers = {place: Normaliser(*place, TICKS) for place in raw_places()}
    offsets = Counter()
    for topic, partition, message in with_heartbeats(find_captures([captures / FOLDER]).messages(), TICKS):
        place = (topic, partition)
        normalisers[place].feed(offsets[place], message.key, message.value, message.headers())
        offsets[place] += 1
    outputs = [output for normaliser in normalisers.values() for output in normaliser.flush()]
    events = [json.loads(output.value) for output in outputs if output.topic == LATE_EVENT]
    return [(event["instrument_id"], event["event_time_ns"], event["event"]["sequence"]) for event in events]


def raw_places():
    return [(topic, partition) for topic, count in TICKS.raw_partitions.items() for partition in range(count)]


def test_every_frame_is_accounted_for(made, frames):
    lines, *_ = made
    said = [int(line.split()[0].replace(",", "")) for line in lines[:3]]
    kinds = frames.kind.value_counts()
    read = int(kinds[["trade", "bookTicker", "markPriceUpdate", "depthUpdate", "depthSnapshot"]].sum())
    off_market = int(kinds["off-market-trade"])
    assert said == [len(frames), read, off_market]
    assert len(frames) == read + off_market
    assert [" ".join(line.split()[1:4]) for line in lines[:2]] == ["raw frames read", "were understood and"]
    assert lines[2].endswith(f"off-market-trade {off_market}")
    assert not [line for line in lines if "could not be understood" in line]


def test_late_events_are_listed_one_by_one(made, late):
    lines, *_ = made
    said = sum(int(line.split()[0].replace(",", "")) for line in lines if "more events of" in line)
    assert said == len(late)
    # With 2.5 s of allowed lateness these captures have none; one that appears is to be looked at.
    assert late == []


@pytest.fixture(scope="module")
def accepted(frames, late):
    """The trades that count: not late, of a repeated number within a second the first alone."""
    trades = frames[frames.kind == "trade"]
    refused = pd.MultiIndex.from_tuples(late, names=["instrument", "event", "number"]) if late else []
    places = pd.MultiIndex.from_frame(trades[["instrument", "event", "number"]])
    trades = trades[~places.isin(refused)] if late else trades
    trades = trades.assign(second=trades.event // SECOND_NS).drop_duplicates(["instrument", "second", "number"])
    return trades.sort_values(["event", "number"], kind="stable")


def test_tiles_of_trades_are_what_pandas_says(made, accepted):
    _, tiles, _ = made
    trades = accepted.assign(signed=accepted["size"] * accepted.side)
    expected = trades.groupby(["instrument", "second"]).agg(
        trade_count=("size", "count"),
        first_price=("price", "first"),
        last_price=("price", "last"),
        high_price=("price", "max"),
        low_price=("price", "min"),
        volume=("size", "sum"),
        signed_flow=("signed", "sum"),
    )
    found = tiles[tiles.trade_count > 0].assign(second=tiles.tile_start_ns // SECOND_NS)
    found = found.rename(columns={"instrument_id": "instrument"}).set_index(["instrument", "second"]).sort_index()
    assert len(expected) > 1_000
    assert set(expected.index.get_level_values(0)) == set(INSTRUMENTS.values())
    assert found.index.equals(expected.index)
    for name in ("trade_count", "first_price", "last_price", "high_price", "low_price"):
        assert (found[name] == expected[name]).all(), name
    volume = expected["volume"]
    assert ((found["volume"] - volume).abs() <= SUMS * volume).all()
    # Buys and sells cancel: what an order of adding can change is a share of what was added.
    assert ((found["signed_flow"] - expected["signed_flow"]).abs() <= SUMS * volume).all()


def test_rows_are_there_for_every_second_in_which_an_instrument_traded_or_quoted(made, frames):
    _, _, rows = made
    found = set(zip(rows.instrument_id, rows.row_time_ns // SECOND_NS, strict=True))
    heard = frames[frames.instrument.notna() & frames.kind.isin(["trade", "bookTicker", "markPriceUpdate"])]
    first = first_border(frames)
    active = {(name, second + 1) for name, second in zip(heard.instrument, heard.event // SECOND_NS, strict=True)}
    # The first round of heartbeats lies a whole allowed lateness before the first frame.
    assert min(second for _, second in active) >= first
    assert active <= found
    # And for 15 minutes more, or until the log ends; and no other.
    last = rows.row_time_ns.max() // SECOND_NS
    listed = {(name, second + more) for name, second in active for more in range(LISTING_SECONDS)}
    assert found == {(name, second) for name, second in listed if second <= last}
    assert last > max(second for _, second in active)


def first_border(frames):
    """The first second after the watermark of the first heartbeat: the last border + 2.5 s before any frame."""
    return (int(frames.received.min()) - 2_500_000_000) // SECOND_NS + 1
