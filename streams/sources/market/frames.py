"""What the built-in market says, in the bytes that feed handlers send.

Frames are written by hand: `msgspec` would need an object each, and these are most of the cost.
Binance: combined stream. Others: what cryptofeed's Kafka backend writes. Chain: ethereum-etl's
`token_transfer`. Posts: plain JSON.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import numpy as np

from schemas.instruments import ANY_ASSET
from schemas.rules import HOUR_NS, SECOND_NS
from schemas.topics import RAW_ONCHAIN, RAW_SENTIMENT
from streams.sources import RawMessage
from streams.sources.market.news import TOKENS, Happening
from streams.sources.market.orders import Instrument, Marks, Quotes, Times, Trades, checksum

BINANCE = "binance-combined"
CRYPTOFEED = "cryptofeed"
TRANSFER = "ethereum-etl"
POST = "posts"

_MS = 1_000_000
_FUNDING_NS = 8 * HOUR_NS


class Wire:
    """Writes the frames of one instrument. Ids go up by one."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._trade = checksum(instrument.instrument_id)
        self._update = 10 * self._trade

    def quotes(self, quotes: Quotes) -> list[bytes]:
        """Return one frame for each quote."""
        raise NotImplementedError

    def trades(self, trades: Trades) -> list[bytes]:
        """Return one frame for each trade."""
        raise NotImplementedError

    def marks(self, marks: Marks) -> list[bytes]:
        """Return one frame for each state of a perpetual."""
        raise NotImplementedError

    def _next_trades(self, count: int) -> range:
        self._trade += count
        return range(self._trade - count, self._trade)

    def _next_updates(self, count: int) -> range:
        # Many changes of a book do not reach its top: update ids leave gaps.
        first = self._update
        self._update += 7 * count
        return range(first, self._update, 7)

    def _stamps(self, times: Times, unit_ns: int) -> list[int]:
        stamps: list[int] = ((times + self.instrument.skew_ns) // unit_ns).tolist()
        return stamps


class BinanceWire(Wire):
    """Combined-stream frames; spot quotes carry no time."""

    def __init__(self, instrument: Instrument) -> None:
        super().__init__(instrument)
        self._symbol = "".join(instrument.symbol.split("-")[:2])
        self._stream = self._symbol.lower()
        self._spot = instrument.venue == "binance"
        # Spot prints 8 decimals whatever the tick.
        self._digits = 8 if self._spot else _decimals(instrument.tick)
        self._size_digits = 8 if self._spot else _decimals(instrument.size_step)

    def quotes(self, quotes: Quotes) -> list[bytes]:
        """Return bookTicker frames."""
        d, w, s = self._digits, self._size_digits, self._symbol
        event = "" if self._spot else '"e":"bookTicker",'
        head = f'{{"stream":"{self._stream}@bookTicker","data":{{{event}"u":'
        tails = self._quote_tails(quotes)
        rows = zip(
            self._next_updates(quotes.time_ns.size),
            quotes.bid.tolist(),
            quotes.bid_size.tolist(),
            quotes.ask.tolist(),
            quotes.ask_size.tolist(),
            tails,
            strict=True,
        )
        return [
            f'{head}{u},"s":"{s}","b":"{b:.{d}f}","B":"{bs:.{w}f}","a":"{a:.{d}f}","A":"{as_:.{w}f}"{tail}'.encode()
            for u, b, bs, a, as_, tail in rows
        ]

    def _quote_tails(self, quotes: Quotes) -> list[str]:
        if self._spot:
            return ["}}"] * quotes.time_ns.size
        return [f',"T":{t},"E":{t + 1}}}}}' for t in self._stamps(quotes.time_ns, _MS)]

    def trades(self, trades: Trades) -> list[bytes]:
        """Return trade frames."""
        d, w, s = self._digits, self._size_digits, self._symbol
        head = f'{{"stream":"{self._stream}@trade","data":{{"e":"trade","E":'
        tail = ',"M":true}}' if self._spot else "}}"
        kind = "" if self._spot else '"X":"MARKET",'
        rows = zip(
            self._stamps(trades.time_ns, _MS),
            self._next_trades(trades.time_ns.size),
            trades.price.tolist(),
            trades.size.tolist(),
            (trades.side < 0).tolist(),
            strict=True,
        )
        return [
            (
                f'{head}{t + 1},"T":{t},"s":"{s}","t":{n},"p":"{p:.{d}f}","q":"{q:.{w}f}",'
                f'{kind}"m":{"true" if maker else "false"}{tail}'
            ).encode()
            for t, n, p, q, maker in rows
        ]

    def marks(self, marks: Marks) -> list[bytes]:
        """Return markPriceUpdate frames."""
        head = f'{{"stream":"{self._stream}@markPrice@1s","data":{{"e":"markPriceUpdate","E":'
        rows = zip(
            self._stamps(marks.time_ns, _MS),
            marks.mark.tolist(),
            marks.index.tolist(),
            marks.rate.tolist(),
            (_next_funding(marks.time_ns) // _MS).tolist(),
            strict=True,
        )
        return [
            (
                f'{head}{t},"s":"{self._symbol}","p":"{mark:.8f}","P":"{mark:.8f}","i":"{index:.4f}0000",'
                f'"r":"{rate:.8f}","T":{due}}}}}'
            ).encode()
            for t, mark, index, rate, due in rows
        ]


class CryptofeedWire(Wire):
    """What cryptofeed's Kafka backend writes: numbers as floats, times in seconds."""

    def __init__(self, instrument: Instrument) -> None:
        super().__init__(instrument)
        self._head = f'{{"exchange":"{instrument.venue.upper()}","symbol":"{instrument.symbol}",'
        self._digits = _decimals(instrument.tick)
        self._size_digits = _decimals(instrument.size_step)

    def quotes(self, quotes: Quotes) -> list[bytes]:
        """Return l1_book records."""
        d, w = self._digits, self._size_digits
        rows = zip(
            quotes.bid.tolist(),
            quotes.bid_size.tolist(),
            quotes.ask.tolist(),
            quotes.ask_size.tolist(),
            self._times(quotes.time_ns, quotes.receive_ns),
            strict=True,
        )
        return [
            (
                f'{self._head}"bid_price":{b:.{d}f},"bid_size":{bs:.{w}f},'
                f'"ask_price":{a:.{d}f},"ask_size":{as_:.{w}f},{times}'
            ).encode()
            for b, bs, a, as_, times in rows
        ]

    def trades(self, trades: Trades) -> list[bytes]:
        """Return trades records."""
        d, w = self._digits, self._size_digits
        rows = zip(
            trades.side.tolist(),
            trades.size.tolist(),
            trades.price.tolist(),
            self._next_trades(trades.time_ns.size),
            self._times(trades.time_ns, trades.receive_ns),
            strict=True,
        )
        return [
            (
                f'{self._head}"side":"{"buy" if side > 0 else "sell"}","amount":{q:.{w}f},"price":{p:.{d}f},'
                f'"id":"{n}","type":null,{times}'
            ).encode()
            for side, q, p, n, times in rows
        ]

    def marks(self, marks: Marks) -> list[bytes]:
        """Return funding records."""
        rows = zip(
            marks.mark.tolist(),
            marks.rate.tolist(),
            (_next_funding(marks.time_ns) // SECOND_NS).tolist(),
            self._times(marks.time_ns, marks.receive_ns),
            strict=True,
        )
        return [
            (
                f'{self._head}"mark_price":{mark:.8f},"rate":{rate:.8f},"next_funding_time":{due}.0,'
                f'"predicted_rate":null,{times}'
            ).encode()
            for mark, rate, due, times in rows
        ]

    def _times(self, times: Times, receipts: Times) -> Iterator[str]:
        received = (receipts // 1_000).tolist()
        for time, receipt in zip(self._stamps(times, 1_000), received, strict=True):
            yield f'"timestamp":{time / 1e6},"receipt_timestamp":{receipt / 1e6}}}'


class TickerWire(CryptofeedWire):
    """cryptofeed with its ticker channel: quotes without sizes."""

    def quotes(self, quotes: Quotes) -> list[bytes]:
        """Return ticker records."""
        d = self._digits
        times = self._times(quotes.time_ns, quotes.receive_ns)
        rows = zip(quotes.bid.tolist(), quotes.ask.tolist(), times, strict=True)
        return [f'{self._head}"bid":{b:.{d}f},"ask":{a:.{d}f},{t}'.encode() for b, a, t in rows]


WIRES: dict[str, type[Wire]] = {"binance": BinanceWire, "cryptofeed": CryptofeedWire, "ticker": TickerWire}
"""Writers by the `wire` of an instrument."""
FORMATS = {"binance": BINANCE, "cryptofeed": CRYPTOFEED, "ticker": CRYPTOFEED}


class NewsWire:
    """Writes posts and token transfers."""

    def __init__(self) -> None:
        self._posts = 0
        self._block = -1
        self._log = 0
        self._encode = msgspec.json.Encoder().encode

    def message(self, happening: Happening) -> RawMessage:
        """Return the raw message of a happening."""
        return self._post(happening) if happening.mood else self._transfer(happening)

    def _post(self, post: Happening) -> RawMessage:
        self._posts += 1
        record = {
            "id": f"{post.feed}-{post.time_ns // _MS}-{self._posts}",
            "source": post.feed,
            "published_at": _iso(post.time_ns, "milliseconds"),
            "text": post.text,
            "assets": [] if post.asset == ANY_ASSET else [post.asset],
        }
        key = f"{post.feed}/posts".encode()
        return RawMessage(RAW_SENTIMENT, key, self._encode(record), post.feed, POST, post.receive_ns)

    def _transfer(self, transfer: Happening) -> RawMessage:
        seconds = transfer.time_ns // SECOND_NS
        block = seconds // 12
        self._log = self._log + 1 if block == self._block else 0
        self._block = block
        token = TOKENS[transfer.token]
        value = round(transfer.amount * 1e6) * 10 ** (token.decimals - 6)
        transaction = f"0x{block:032x}{self._log:032x}"
        mined = _iso(transfer.time_ns, "seconds")
        # Written by hand: 18 decimals do not fit into 64 bits.
        text = (
            f'{{"type":"token_transfer","token_address":"{token.address}","from_address":"{transfer.from_address}",'
            f'"to_address":"{transfer.to_address}","value":{value},"transaction_hash":"{transaction}",'
            f'"log_index":{self._log},"block_number":{block},"block_timestamp":{seconds},"block_hash":"0x{block:064x}",'
            f'"item_id":"token_transfer_{transaction}_{self._log}","item_timestamp":"{mined}"}}'
        )
        return RawMessage(RAW_ONCHAIN, b"ethereum/mainnet", text.encode(), "ethereum", TRANSFER, transfer.receive_ns)


def _decimals(step: float) -> int:
    return max(0, -int(np.floor(np.log10(step) + 1e-9)))


def _next_funding(times: Times) -> Times:
    due: Times = (times // _FUNDING_NS + 1) * _FUNDING_NS
    return due


def _iso(time_ns: int, unit: str) -> str:
    return datetime.fromtimestamp(time_ns // _MS / 1_000, UTC).isoformat(timespec=unit).replace("+00:00", "Z")
