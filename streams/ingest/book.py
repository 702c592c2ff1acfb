"""One level-2 book: its levels in order, what of them is known, and how changes join it. Pure."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import msgspec

from schemas import DecodeError
from streams.formats.book import CHECKED_LEVELS, BookChange, Levels, NumberLevel, TextLevel
from streams.formats.fields import NonNegative, Positive

MAX_LEVELS = 100_000
"""Levels of a side that are held; the worst beyond them are forgotten. The largest recorded book has 35,000."""

Problem = Literal["gap", "reset", "checksum", "crossed", "range"]
"""Why a book is not known any more: its ids do not join, began anew, its levels do not have the
venue's checksum, its best bid is not below its best ask, it moved to prices of which nothing is known."""

Standing = Literal["unknown", "known", "lost"]
"""Not known yet; known; was known, and is not now. A marker says so of the first and of the last."""

_NUMBERS = list[tuple[Positive, NonNegative]]


class Reading(NamedTuple):
    """A change with its levels as numbers, and for one that waits when it was heard."""

    change: BookChange
    bids: Sequence[NumberLevel]
    asks: Sequence[NumberLevel]
    heard_ns: int = 0

    @property
    def size(self) -> int:
        """How many levels it has, at least 1: one without any takes room where it waits."""
        return len(self.bids) + len(self.asks) or 1


def read_change(change: BookChange) -> Reading:
    """Return a change with its levels as numbers; raises DecodeError where a text is none."""
    return Reading(change, _numbers(change.bids, "bids"), _numbers(change.asks, "asks"))


def _numbers(levels: Levels, side: str) -> Sequence[NumberLevel]:
    if not levels or isinstance(levels[0][0], float):
        return cast("Sequence[NumberLevel]", levels)
    try:
        return msgspec.convert(levels, _NUMBERS, strict=False)
    except msgspec.ValidationError as error:
        raise DecodeError(f"expected prices above 0 and sizes from 0: {error}", path=f"$.{side}") from None


def without_texts(reading: Reading, heard_ns: int) -> Reading:
    """Return a change as it waits for a snapshot: as numbers alone."""
    change = msgspec.structs.replace(reading.change, bids=reading.bids, asks=reading.asks)
    return Reading(change, reading.bids, reading.asks, heard_ns)


class Side:
    """One side of a book: sizes by price, and the prices in order.

    The order is of keys, prices times `sign` (+1 bids, -1 asks): the best key is the greatest and
    stands last, where a sorted list takes and loses members cheaply.
    """

    __slots__ = ("keys", "known_from", "sign", "sizes", "texts")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.clear()

    def clear(self) -> None:
        """Forget all levels."""
        self.keys: list[float] = []
        self.sizes: dict[float, float] = {}
        self.texts: dict[float, TextLevel] | None = {}
        """What was written of each level; None where any level came as numbers."""
        self.known_from = -math.inf
        """The worst key that is known; levels may exist behind it."""

    def load(self, levels: Sequence[NumberLevel], written: Levels, limit: int) -> None:
        """Take the levels of a snapshot of at most `limit` a side (0: of all)."""
        sign = self.sign
        self.sizes = {price: size for price, size in levels if size}
        self.keys = sorted(sign * price for price in self.sizes)
        self.texts = {}
        self._write(levels, written)
        self.known_from = self.keys[0] if limit and len(self.keys) >= limit else -math.inf
        self.truncate(MAX_LEVELS, forget=True)

    def apply(self, levels: Sequence[NumberLevel], written: Levels) -> None:
        """Set the sizes of levels, size 0 removes one."""
        sign, keys, sizes = self.sign, self.keys, self.sizes
        for price, size in levels:
            if size:
                if price not in sizes:
                    insort(keys, sign * price)
                sizes[price] = size
            elif price in sizes:
                del sizes[price]
                del keys[bisect_left(keys, sign * price)]
        if self.texts is not None or not keys:
            self._write(levels, written)
        if len(keys) > MAX_LEVELS:
            self.truncate(MAX_LEVELS, forget=True)

    def _write(self, levels: Sequence[NumberLevel], written: Levels) -> None:
        """Keep what was written of levels as long as all levels came as texts."""
        texts = self.texts if self.texts is not None and self.keys else {}
        if levels is written:
            self.texts = None if self.keys else {}
            return
        for (price, size), text in zip(levels, cast("Sequence[TextLevel]", written), strict=True):
            if size:
                texts[price] = (text[0], text[1])
            else:
                texts.pop(price, None)
        self.texts = texts

    def truncate(self, depth: int, *, forget: bool = False) -> None:
        """Drop the levels behind the best `depth`; `forget`: they exist, and are not known any more."""
        dropped = self.keys[:-depth]
        if not dropped:
            return
        del self.keys[: len(dropped)]
        for key in dropped:
            del self.sizes[self.sign * key]
            if self.texts is not None:
                del self.texts[self.sign * key]
        if forget:
            self.known_from = max(self.known_from, self.keys[0])

    def is_out_of_range(self) -> bool:
        """Return whether the best level may lie where nothing is known."""
        return self.known_from > -math.inf and (not self.keys or self.keys[-1] < self.known_from)

    def best(self, count: int) -> list[NumberLevel]:
        """Return price and size of up to `count` known levels, the best first."""
        sizes = self.sizes
        return [(price, sizes[price]) for price in self._best_prices(count)]

    def written(self, count: int) -> list[TextLevel] | list[NumberLevel]:
        """Return up to `count` known levels as the format gave them, the best first."""
        if not self.texts:
            return self.best(count)
        return [self.texts[price] for price in self._best_prices(count)]

    def _best_prices(self, count: int) -> list[float]:
        sign, known_from = self.sign, self.known_from
        return [sign * key for key in self.keys[: -count - 1 : -1] if key >= known_from]


class Book:
    """The book of one instrument, and the changes that wait for its snapshot."""

    __slots__ = (
        *("asks", "bids", "cell", "chained", "contract_usd", "depth", "fresh", "heard_ns", "instrument_id"),
        *("last", "limit", "quoted", "size_unit", "standing", "time_ns", "venue", "waiting", "waiting_levels"),
    )

    def __init__(self, instrument_id: str, venue: str) -> None:
        self.instrument_id = instrument_id
        self.venue = venue
        self.standing: Standing = "unknown"
        self.bids, self.asks = Side(1), Side(-1)
        self.last = -1
        """The update id that the book stands at."""
        self.fresh = False
        """Whether no change was applied since the snapshot."""
        self.chained = False
        """Whether any was applied since the book became known."""
        self.limit = self.depth = 0
        self.size_unit, self.contract_usd = 1.0, 0.0
        self.time_ns = 0
        """The greatest event time so far, 0 where there was none."""
        self.heard_ns = 0
        """Receive time of the last change."""
        self.cell = -1
        """Cell of the grid in which the last Depth was published, -1 before the first of a known book."""
        self.quoted: tuple[float, float, float, float] | None = None
        """The best bid and ask that were last published."""
        self.waiting: deque[Reading] = deque()
        self.waiting_levels = 0

    def is_repeat(self, change: BookChange, time_ns: int) -> bool:
        """Return whether the book holds what `change` says, at the event time `time_ns` or (0) at none."""
        if change.last != -1 and self.last != -1:
            older = change.last <= self.last
        else:
            older = change.snapshot and 0 < time_ns < self.time_ns
        # A snapshot that is younger by its time follows a venue that counts anew.
        return older and not (change.snapshot and time_ns > self.time_ns)

    def joins(self, change: BookChange) -> bool:
        """Return whether nothing is missing between the book and `change`."""
        if self.last == -1:
            return True
        if self.fresh:
            return follows(change, self.last)
        return chains(change, self.last)

    def load(self, reading: Reading) -> None:
        """Become the book of a snapshot."""
        change = reading.change
        self.bids.load(reading.bids, change.bids, change.limit)
        self.asks.load(reading.asks, change.asks, change.limit)
        self.limit, self.last, self.fresh = change.limit, change.last, True
        self._settle(change)

    def apply(self, reading: Reading) -> None:
        """Take the levels of a change that joins."""
        change = reading.change
        if reading.bids:
            self.bids.apply(reading.bids, change.bids)
        if reading.asks:
            self.asks.apply(reading.asks, change.asks)
        if change.last != -1:
            self.last = change.last
        self.fresh, self.chained = False, True
        self._settle(change)

    def _settle(self, change: BookChange) -> None:
        self.size_unit, self.contract_usd = change.size_unit, change.contract_usd
        if change.depth:
            self.depth = change.depth
            self.bids.truncate(change.depth)
            self.asks.truncate(change.depth)

    def problem(self, change: BookChange) -> Problem | None:
        """Return what is wrong with the book after `change`."""
        bids, asks = self.bids.keys, self.asks.keys
        if bids and asks and bids[-1] >= -asks[-1]:
            return "crossed"
        if self.bids.is_out_of_range() or self.asks.is_out_of_range():
            return "range"
        if change.check is not None and not change.check(
            self.bids.written(CHECKED_LEVELS), self.asks.written(CHECKED_LEVELS)
        ):
            return "checksum"
        return None

    def clear(self) -> None:
        """Forget the levels; standing, time and what waits stay."""
        self.bids.clear()
        self.asks.clear()
        self.last, self.fresh, self.chained = -1, False, False
        self.quoted = None


def follows(change: BookChange, snapshot: int) -> bool:
    """Return whether `change` may be the first after a snapshot with the id `snapshot`.

    Levels are absolute, so a change that overlaps the snapshot brings it up to the change's end.
    """
    if change.first == change.previous == -1:
        return True
    return -1 < change.first <= snapshot + 1 or -1 < change.previous <= snapshot


def chains(change: BookChange, last: int) -> bool:
    """Return whether nothing is missing between the update `last` and `change`."""
    if change.previous != -1:
        return change.previous == last
    return change.first <= last + 1
