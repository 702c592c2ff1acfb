"""What cryptofeed's Kafka callbacks write: normalised JSON of trades, quotes, books, candles and the rest.

No record says what it is, so its fields do. `timestamp` is the venue's time; where the venue sent
none, cryptofeed repeats `receipt_timestamp`, and the record then carries no event time here.

https://github.com/bmoscon/cryptofeed/blob/master/cryptofeed/types.pyx
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from schemas import DecodeError, Derivative, Event, LeftOut, Liquidation, Quote, Trade
from schemas.events import UNKNOWN
from streams.formats.bars import interval_ns
from streams.formats.binance_symbols import contract_usd
from streams.formats.book import BookChange
from streams.formats.candles import closed_bar
from streams.formats.cryptofeed_records import (
    BookRecord,
    CandleRecord,
    FundingRecord,
    IndexRecord,
    L1Record,
    LiquidationRecord,
    OpenInterestRecord,
    Record,
    Shape,
    TickerRecord,
    TradeRecord,
)
from streams.formats.fields import read
from streams.formats.sizes import of_contracts

FORMAT = "cryptofeed"

_VENUES = {"BINANCE_FUTURES": "binance-usdm", "BINANCE_DELIVERY": "binance-coinm"}
"""cryptofeed's names of venues that have another name here; the others only lose their capitals."""
_BASE_UNIT_VENUES = {"binance-usdm", "bybit"}
"""Venues whose derivatives settled in stablecoins are told in base units, not in contracts."""
_STABLE = {"USDT", "USDC", "BUSD", "FDUSD"}
_EXCHANGE = re.compile(r"[A-Z0-9][A-Z0-9_.]{0,31}")
_SYMBOL = re.compile(r"([A-Z0-9]{1,20})-([A-Z0-9]{1,20})(?:-(PERP|([0-9]{2})([FGHJKMNQUVXZ])([0-9]{2})))?")
_MONTHS = "FGHJKMNQUVXZ"
"""The futures market's letters for January to December."""

_Made = list[Event | BookChange] | LeftOut


_SHAPE = msgspec.json.Decoder(Shape)


def decode(value: bytes, source: str) -> _Made:  # noqa: ARG001 - the record names its venue
    """Return the events of one record; raises DecodeError."""
    reader = _READERS.get(read(_SHAPE, value).kind)
    if reader is None:
        raise DecodeError(f"expected a trade, ticker, book or another record of cryptofeed, got {value[:40]!r}")
    decoder, build = reader
    return build(read(decoder, value))


def _trade(record: TradeRecord) -> _Made:
    venue, instrument_id = _names(record)
    usd = _contract_usd(venue, instrument_id)
    if usd is None:
        return LeftOut("trade-in-contracts")
    return [
        Trade(
            instrument_id=instrument_id,
            venue=venue,
            event_time_ns=_event_time_ns(record),
            id="" if record.id is None else str(record.id)[:256],
            price=record.price,
            size=of_contracts(record.amount, usd, record.price) if usd else record.amount,
            side=1 if record.side == "buy" else -1,
        )
    ]


def _ticker(record: TickerRecord) -> _Made:
    return _quote(record, record.bid, UNKNOWN, record.ask, UNKNOWN)


def _l1(record: L1Record) -> _Made:
    return _quote(record, record.bid_price, record.bid_size, record.ask_price, record.ask_size)


def _quote(record: Record, bid: float, bid_size: float, ask: float, ask_size: float) -> _Made:
    if bid > ask:
        raise DecodeError(f"expected a bid of at most the ask {ask}, got {bid}")
    venue, instrument_id = _names(record)
    usd = _contract_usd(venue, instrument_id)
    unit = UNKNOWN if usd is None else usd
    return [
        Quote(
            instrument_id=instrument_id,
            venue=venue,
            event_time_ns=_event_time_ns(record),
            bid_price=bid,
            bid_size=of_contracts(bid_size, unit, bid) if unit else bid_size,
            ask_price=ask,
            ask_size=of_contracts(ask_size, unit, ask) if unit else ask_size,
        )
    ]


def _funding(record: FundingRecord) -> _Made:
    venue, instrument_id = _names(record)
    return [
        Derivative(
            instrument_id=instrument_id,
            venue=venue,
            event_time_ns=_event_time_ns(record),
            mark_price=UNKNOWN if record.mark_price is None else record.mark_price,
            funding_rate=record.rate,
            next_funding_time_ns=_nanoseconds(record.next_funding_time or 0.0),
        )
    ]


def _liquidation(record: LiquidationRecord) -> _Made:
    venue, instrument_id = _names(record)
    usd = _contract_usd(venue, instrument_id)
    size = record.quantity or record.leaves_qty
    if size is None:
        raise DecodeError("expected a quantity or a leaves_qty, got neither")
    if usd is None:
        return LeftOut("liquidation-in-contracts")
    return [
        Liquidation(
            instrument_id=instrument_id,
            venue=venue,
            event_time_ns=_event_time_ns(record),
            id="" if record.id is None else str(record.id)[:256],
            price=record.price,
            size=of_contracts(size, usd, record.price) if usd else size,
            side=1 if record.side == "buy" else -1,
        )
    ]


def _open_interest(record: OpenInterestRecord) -> _Made:
    venue, instrument_id = _names(record)
    # Dollars need a price to be base units, and this record has none.
    if _contract_usd(venue, instrument_id) != 0.0:
        return LeftOut("open-interest-in-contracts")
    return [
        Derivative(
            instrument_id=instrument_id,
            venue=venue,
            event_time_ns=_event_time_ns(record),
            open_interest=record.open_interest,
        )
    ]


def _index(record: IndexRecord) -> _Made:
    venue, instrument_id = _names(record)
    if instrument_id.count("-", len(venue)) < 2:  # noqa: PLR2004 - base, quote, contract
        return LeftOut("index-of-no-derivative")
    return [
        Derivative(
            instrument_id=instrument_id,
            venue=venue,
            event_time_ns=_event_time_ns(record),
            index_price=record.price,
        )
    ]


def _candle(record: CandleRecord) -> _Made:
    venue, instrument_id = _names(record)
    if not record.closed:
        return LeftOut("open-candle")
    if _contract_usd(venue, instrument_id) != 0.0:
        return LeftOut("candle-in-contracts")
    prices = (record.open, record.high, record.low, record.close)
    made = closed_bar(
        instrument_id, _nanoseconds(record.start), interval_ns(record.interval), prices, record.volume, "$"
    )
    return [made if record.trades is None else msgspec.structs.replace(made, trade_count=record.trades)]


def _book(record: BookRecord) -> _Made:
    venue, instrument_id = _names(record)
    usd = _contract_usd(venue, instrument_id)
    if usd is None:
        return LeftOut("book-in-contracts")
    if record.book is not None:
        bids, asks = list(record.book.bid.items()), list(record.book.ask.items())
    elif record.delta is not None:
        bids, asks = record.delta.bid, record.delta.ask
    else:
        return LeftOut("nothing-in-it")
    return [
        BookChange(
            instrument_id=instrument_id,
            venue=venue,
            event_time_ns=_event_time_ns(record),
            bids=bids,
            asks=asks,
            snapshot=record.book is not None,
            last=-1 if record.sequence_number is None else record.sequence_number,
            contract_usd=usd,
        )
    ]


def _event_time_ns(record: Record) -> int:
    if record.timestamp is None or record.timestamp == record.receipt_timestamp:
        return 0
    return _nanoseconds(record.timestamp)


def _nanoseconds(seconds: float) -> int:
    """Return whole microseconds: a double holds a time of our days to 0.24 us."""
    return round(seconds * 1e6) * 1_000


def _names(record: Record) -> tuple[str, str]:
    venue = _venue(record.exchange)
    return venue, _instrument(venue, record.symbol)


@lru_cache(maxsize=1024)
def _venue(exchange: str) -> str:
    if not _EXCHANGE.fullmatch(exchange):
        raise DecodeError(f"expected a venue such as BINANCE_FUTURES, got {exchange!r}", path="$.exchange")
    return _VENUES.get(exchange, exchange.lower().replace("_", "-").replace(".", "-"))


@lru_cache(maxsize=65_536)
def _instrument(venue: str, symbol: str) -> str:
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        raise DecodeError(f"expected a symbol such as BTC-USDT or BTC-USD-PERP, got {symbol!r}", path="$.symbol")
    base, quote, contract, year, month, day = match.groups()
    expiry = f"{year}{_MONTHS.index(month) + 1:02}{day}" if month else contract
    return f"{venue}:{'-'.join(part for part in (base, quote, expiry) if part)}"


@lru_cache(maxsize=65_536)
def _contract_usd(venue: str, instrument_id: str) -> float | None:
    """Return what one contract is worth in dollars, 0 for sizes in base units, None if not known."""
    base, quote, *contract = instrument_id.partition(":")[2].split("-")
    if not contract:
        return 0.0
    if venue == "binance-coinm":
        return contract_usd(venue, f"{base}{quote}")
    return 0.0 if venue in _BASE_UNIT_VENUES and quote in _STABLE else None


_Build = Callable[[Any], _Made]


def _reader(kind: Any, build: _Build) -> tuple[msgspec.json.Decoder[Any], _Build]:
    return msgspec.json.Decoder(kind, strict=False), build


_READERS = {
    "trade": _reader(TradeRecord, _trade),
    "ticker": _reader(TickerRecord, _ticker),
    "l1_book": _reader(L1Record, _l1),
    "funding": _reader(FundingRecord, _funding),
    "liquidation": _reader(LiquidationRecord, _liquidation),
    "open_interest": _reader(OpenInterestRecord, _open_interest),
    "index": _reader(IndexRecord, _index),
    "candle": _reader(CandleRecord, _candle),
    "book": _reader(BookRecord, _book),
}
