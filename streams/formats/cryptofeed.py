"""What cryptofeed's Kafka callbacks write: normalised JSON of trades, tickers, L1 books and funding.

No record says what it is, so its fields do. `timestamp` is the venue's time; where the venue sent
none, cryptofeed repeats `receipt_timestamp`, and the record then carries no event time here.

https://github.com/bmoscon/cryptofeed/blob/master/cryptofeed/types.pyx
"""

import re
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas import DecodeError, Derivative, Event, LeftOut, Quote, Trade
from schemas.events import UNKNOWN
from streams.formats.binance_symbols import contract_usd
from streams.formats.fields import Identifier, Name, NonNegative, Positive, read

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

_Seconds = Annotated[float, Meta(ge=0, le=4_102_444_800)]


class _Record(msgspec.Struct, frozen=True, gc=False):
    exchange: Name
    symbol: Name
    timestamp: _Seconds | None = None
    receipt_timestamp: _Seconds | None = None


class TradeRecord(_Record, frozen=True, gc=False, kw_only=True):
    """A trade; `side` is the aggressor's."""

    side: Literal["buy", "sell"]
    amount: Positive
    price: Positive
    id: Identifier | int | None = None


class TickerRecord(_Record, frozen=True, gc=False, kw_only=True):
    """Best prices without sizes."""

    bid: Positive
    ask: Positive


class L1Record(_Record, frozen=True, gc=False, kw_only=True):
    """Best prices and sizes."""

    bid_price: Positive
    bid_size: NonNegative
    ask_price: Positive
    ask_size: NonNegative


class FundingRecord(_Record, frozen=True, gc=False, kw_only=True):
    """Funding of a perpetual."""

    rate: Annotated[float, Meta(ge=-10, le=10)]
    mark_price: Positive | None = None
    next_funding_time: _Seconds | None = None


class _Shape(msgspec.Struct, frozen=True, gc=False):
    """The fields that tell records apart."""

    side: msgspec.Raw = msgspec.Raw(b"")
    bid: msgspec.Raw = msgspec.Raw(b"")
    bid_price: msgspec.Raw = msgspec.Raw(b"")
    rate: msgspec.Raw = msgspec.Raw(b"")
    book: msgspec.Raw = msgspec.Raw(b"")
    delta: msgspec.Raw = msgspec.Raw(b"")
    open: msgspec.Raw = msgspec.Raw(b"")
    open_interest: msgspec.Raw = msgspec.Raw(b"")
    leaves_qty: msgspec.Raw = msgspec.Raw(b"")
    quantity: msgspec.Raw = msgspec.Raw(b"")
    status: msgspec.Raw = msgspec.Raw(b"")


_SHAPE = msgspec.json.Decoder(_Shape)
_TRADE = msgspec.json.Decoder(TradeRecord, strict=False)
_TICKER = msgspec.json.Decoder(TickerRecord, strict=False)
_L1 = msgspec.json.Decoder(L1Record, strict=False)
_FUNDING = msgspec.json.Decoder(FundingRecord, strict=False)
_HEADER = msgspec.json.Decoder(_Record, strict=False)


def decode(value: bytes, source: str) -> list[Event] | LeftOut:  # noqa: ARG001 - the record names its venue
    """Return the event of one record; raises DecodeError."""
    shape = read(_SHAPE, value)
    if _left_out(shape):
        record = read(_HEADER, value)
        _venue(record.exchange)
        return LeftOut(_left_out(shape))
    if shape.side:
        return _trade(read(_TRADE, value))
    if shape.bid_price:
        return [_l1(read(_L1, value))]
    if shape.bid:
        return [_ticker(read(_TICKER, value))]
    if shape.rate:
        return [_funding(read(_FUNDING, value))]
    raise DecodeError(f"expected a trade, ticker, L1 book or funding of cryptofeed, got {value[:40]!r}")


def _left_out(shape: _Shape) -> str:
    """Return the kind of a record that nobody here reads, "" for the others."""
    if shape.leaves_qty or (shape.quantity and shape.status):
        return "liquidation"
    if shape.open:
        return "candle"
    if shape.open_interest:
        return "open_interest"
    return "book" if shape.book or shape.delta else ""


def _trade(record: TradeRecord) -> list[Event] | LeftOut:
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
            size=record.amount * usd / record.price if usd else record.amount,
            side=1 if record.side == "buy" else -1,
        )
    ]


def _ticker(record: TickerRecord) -> Event:
    return _quote(record, record.bid, UNKNOWN, record.ask, UNKNOWN)


def _l1(record: L1Record) -> Event:
    return _quote(record, record.bid_price, record.bid_size, record.ask_price, record.ask_size)


def _quote(record: _Record, bid: float, bid_size: float, ask: float, ask_size: float) -> Event:
    if bid > ask:
        raise DecodeError(f"expected a bid of at most the ask {ask}, got {bid}")
    venue, instrument_id = _names(record)
    usd = _contract_usd(venue, instrument_id)
    unit = UNKNOWN if usd is None else usd
    return Quote(
        instrument_id=instrument_id,
        venue=venue,
        event_time_ns=_event_time_ns(record),
        bid_price=bid,
        bid_size=bid_size * unit / bid if unit else bid_size,
        ask_price=ask,
        ask_size=ask_size * unit / ask if unit else ask_size,
    )


def _funding(record: FundingRecord) -> Event:
    venue, instrument_id = _names(record)
    return Derivative(
        instrument_id=instrument_id,
        venue=venue,
        event_time_ns=_event_time_ns(record),
        mark_price=UNKNOWN if record.mark_price is None else record.mark_price,
        funding_rate=record.rate,
        next_funding_time_ns=_nanoseconds(record.next_funding_time or 0.0),
    )


def _event_time_ns(record: _Record) -> int:
    if record.timestamp is None or record.timestamp == record.receipt_timestamp:
        return 0
    return _nanoseconds(record.timestamp)


def _nanoseconds(seconds: float) -> int:
    """Return whole microseconds: a double holds a time of our days to 0.24 us."""
    return round(seconds * 1e6) * 1_000


def _names(record: _Record) -> tuple[str, str]:
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
