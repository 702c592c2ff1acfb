"""Raw records of one raw partition in, canonical micro-batches and progress out. Pure.

A record is received (its headers), decoded, joined (its changes of books become events) and placed.
What comes out depends on the records and their offsets alone: not on when it was asked for, on the
size of micro-batches, nor on restarts (DESIGN 4.2 to 4.5).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from featurestore.clock import EventClock, Reason
from schemas import DecodeError, Depth, Event, LeftOut, Rules, StateError, Trade, base_asset, partition_of
from schemas.batches import PROGRESS, Progress, message_headers
from schemas.forecasts import LateEvent, cloud_event_headers, encode_json
from schemas.instruments import ANY_ASSET
from schemas.topics import FEEDS, LATE_EVENT
from streams.dead_letters import REPLAYED, dead_letter
from streams.formats import AGGREGATE, Decode, formats
from streams.formats.book import BookChange
from streams.ingest.book import Reading, read_change
from streams.ingest.books import Books
from streams.ingest.buffer import Buffer
from streams.ingest.checkpoints import ANEW
from streams.ingest.state import NormaliserState, TradeKind
from streams.stage import Headers, Message, Record

STAGE = "ingest"
HEARTBEAT = b"heartbeat"
LAST_NS = 4_102_444_800_000_000_000
_MAX_SOURCE = 64


class Tally(msgspec.Struct):
    """What became of frames: frames = decoded + left out + dead letters + heartbeats."""

    frames: int = 0
    decoded: int = 0
    heartbeats: int = 0
    left_out: Counter[str] = msgspec.field(default_factory=Counter)
    """Frames recognised and not read, by kind."""
    dead_letters: Counter[str] = msgspec.field(default_factory=Counter)
    """Frames that could not be read, by reason."""
    late: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """Refused events by venue and reason."""
    events: Counter[str] = msgspec.field(default_factory=Counter)
    """Accepted events by record type."""
    last_event_time_ns: int = 0
    """Event time of the last event that carried one, accepted or not; 0 where none did."""
    last_receive_time_ns: int = 0
    """Receive time of that event."""
    last_venue: str = ""
    """Venue of that event."""


class _RefusedError(DecodeError):
    """A record that goes to the dead letters; `reason` is one of a few words, for counting."""

    def __init__(self, reason: str, problem: str, path: str) -> None:
        super().__init__(problem, path=path)
        self.reason = reason


class Normaliser:
    """Decodes, stamps and sorts the records of one raw partition.

    `feed` raw records in offset order; `flush` returns what is ready to send, in order. Outputs of
    one (topic, partition) must be sent in that order, each exactly once per run.
    """

    def __init__(
        self,
        raw_topic: str,
        raw_partition: int,
        rules: Rules,
        batch_events: int = 2_000,
        decoders: Mapping[str, Decode] | None = None,
    ) -> None:
        if raw_topic not in FEEDS:
            raise StateError(f"{raw_topic}: not a raw topic; expected one of {', '.join(FEEDS)}")
        self._raw_topic = raw_topic
        self._raw_partition = raw_partition
        self._rules = rules
        self._rules_id = rules.rules_id
        self._batch_events = batch_events
        self._topic = FEEDS[raw_topic]
        self._formats: dict[bytes, Decode] = {
            name.encode(): decode for name, decode in (formats() if decoders is None else decoders).items()
        }
        self._buffers: list[dict[str, Buffer]] = [{} for _ in range(rules.partitions)]
        self._buffered = 0
        self._outputs: list[Record] = []
        self.tally = Tally()
        self.restore(NormaliserState(rules_id=self._rules_id, raw_topic=raw_topic, raw_partition=raw_partition))

    def restore(self, state: NormaliserState) -> None:
        """Go on from `state`, which stays as it is; for a new Normaliser. Raises StateError."""
        place = f"{self._raw_topic}[{self._raw_partition}]"
        if (state.raw_topic, state.raw_partition) != (self._raw_topic, self._raw_partition):
            raise StateError(f"{place}: the checkpoint is of {state.raw_topic}[{state.raw_partition}]; {ANEW}")
        if state.rules_id != self._rules_id:
            raise StateError(
                f"{place}: the checkpoint has the rules {state.rules_id}, this process {self._rules_id}; "
                "run with the old settings, or drain and go to new topics"
            )
        self._next_offset = state.next_offset
        self._progressed = state.progressed
        self._clock = EventClock(self._rules, state.clock)
        self.books = Books(self._rules)
        self.books.restore(state.books, state.tickers)
        self._trade_kinds = {name: TradeKind(kind.aggregate, kind.heard_ns) for name, kind in state.trade_kinds.items()}

    def state(self) -> NormaliserState:
        """Return the state after the last record; what was fed before must have been flushed."""
        if self._buffered or self._outputs:
            raise StateError("a state is taken after a flush, or it would miss buffered events")
        books, tickers = self.books.state(self._clock.receive_time_ns)
        forgotten_ns = self._clock.receive_time_ns - self._rules.listing_ns
        self._trade_kinds = {name: kind for name, kind in self._trade_kinds.items() if kind.heard_ns > forgotten_ns}
        return NormaliserState(
            rules_id=self._rules_id,
            raw_topic=self._raw_topic,
            raw_partition=self._raw_partition,
            next_offset=self._next_offset,
            progressed=self._progressed,
            clock=self._clock.state(),
            trade_kinds={name: TradeKind(kind.aggregate, kind.heard_ns) for name, kind in self._trade_kinds.items()},
            books=books,
            tickers=tickers,
        )

    @property
    def next_offset(self) -> int:
        """The offset after the last record fed."""
        return self._next_offset

    @property
    def watermark_ns(self) -> int:
        """The watermark after the last record fed."""
        return self._clock.watermark_ns

    @property
    def receive_time_ns(self) -> int:
        """The greatest receive time so far."""
        return self._clock.receive_time_ns

    def venue_times(self) -> dict[str, int]:
        """Return the clock of each venue heard of late."""
        return {name: venue.clock_ns for name, venue in self._clock.state().venues.items()}

    @property
    def buffered(self) -> int:
        """How many events wait for a flush."""
        return self._buffered

    def feed(self, offset: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Take the record at `offset`. Raises StateError where offsets do not rise, never on its bytes."""
        if offset < self._next_offset:
            raise StateError(
                f"{self._raw_topic}[{self._raw_partition}]: expected offset {self._next_offset}, got {offset}"
            )
        clock = self._clock
        before_ns = clock.watermark_ns
        self.tally.frames += 1
        try:
            self._take(offset, value, headers)
        except DecodeError as error:
            self._refuse(offset, key, value, headers, error)
        self._next_offset = offset + 1
        self._advance(offset, before_ns, clock.close())

    def flush(self) -> list[Record]:
        """Return everything that is buffered, as messages to send in this order."""
        if self._buffered:
            for partition in range(self._rules.partitions):
                for buffer in self._buffers[partition].values():
                    if len(buffer):
                        self._emit(partition, buffer)
        return self.ready()

    def ready(self) -> list[Record]:
        """Return the messages that are complete, to send in this order before any later one."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def _take(self, offset: int, value: bytes | None, every: Headers) -> None:
        headers: dict[str, bytes | None] = dict(every)
        received_ns = _receive_time_ns(headers.get("receive_time_ns"))
        self._clock.open(received_ns)
        name = headers.get("format")
        if name == HEARTBEAT:
            self.tally.heartbeats += 1
            return
        decoded = self._decode(value, name, source_name(headers.get("source")))
        replayed = REPLAYED in headers
        if not isinstance(decoded, LeftOut):
            decoded = self._to_count(decoded, replayed=replayed)
        if isinstance(decoded, LeftOut):
            self.tally.left_out[decoded.kind] += 1
            return
        self.tally.decoded += 1
        for index, event in enumerate(self._joined(decoded, replayed=replayed)):
            self._place(event, received_ns, offset, index, replayed=replayed)

    def _decode(self, value: bytes | None, name: bytes | None, source: str) -> Sequence[Event | Reading] | LeftOut:
        decode = self._formats.get(name or b"")
        if decode is None:
            raise _RefusedError("format", f"expected a known format, got {name!r}", "headers.format")
        if value is None:
            raise _RefusedError("empty", "expected a value, got none", "value")
        decoded = decode(value, source)
        if isinstance(decoded, LeftOut):
            return decoded
        # All changes of books are read before the first is applied: a frame counts as a whole or not at all.
        return [self._expected(each) for each in decoded]

    def _expected(self, decoded: Event | BookChange) -> Event | Reading:
        """Return what a format made, a book's levels as numbers; raises DecodeError."""
        record = Depth if isinstance(decoded, BookChange) else type(decoded)
        if record.topic != self._topic:
            problem = f"expected records for {self._topic}, got a {record.record} for {record.topic}"
            raise _RefusedError("topic", problem, "headers.format")
        return read_change(decoded) if isinstance(decoded, BookChange) else decoded

    def _joined(self, decoded: Sequence[Event | Reading], *, replayed: bool) -> Iterator[Event]:
        """Yield the events of a frame, its changes of books as what they say of the books."""
        clock = self._clock
        for each in decoded:
            if isinstance(each, Reading):
                yield from self.books.apply(each, clock.receive_time_ns, clock.watermark_ns)
            else:
                if each.record == "quote" and not replayed:
                    self.books.hear_ticker(each.instrument_id, clock.receive_time_ns)
                yield each

    def _to_count(self, decoded: Sequence[Event | Reading], *, replayed: bool) -> Sequence[Event | Reading] | LeftOut:
        """Leave out single trades where aggregated ones come, and the other way round; and old changes of books.

        Some feeds carry both kinds; counted together, volume would double. The kind that came first
        counts, until it has been silent for as long as a row lists an instrument. A replayed record is
        out of its place in the log: it says nothing of what a book holds now, or of what a venue sends now.
        """
        if not decoded:
            return LeftOut("nothing-in-it")
        kept = [each for each in decoded if not isinstance(each, Trade) or self._is_of_its_kind(each, replayed)]
        if not kept:
            return LeftOut("trade-of-another-kind")
        if replayed:
            kept = [each for each in kept if not isinstance(each, Reading)]
        return kept or LeftOut("replayed-book-change")

    def _is_of_its_kind(self, event: Trade, replayed: bool) -> bool:
        now_ns = self._clock.receive_time_ns
        aggregate = event.id == AGGREGATE
        known = self._trade_kinds.get(event.instrument_id)
        if known is None or known.heard_ns <= now_ns - self._rules.listing_ns:
            if not replayed:
                self._trade_kinds[event.instrument_id] = TradeKind(aggregate, now_ns)
            return True
        if known.aggregate is aggregate:
            known.heard_ns = known.heard_ns if replayed else now_ns
            return True
        return False

    def _place(self, event: Event, received_ns: int, offset: int, index: int, *, replayed: bool) -> None:
        clock = self._clock
        tile_time_ns = event.event_time_ns
        reason: Reason | None
        if event.known_time or tile_time_ns == 0:
            reason = "future" if clock.is_future(tile_time_ns) else None
            tile_time_ns = clock.receive_time_ns
        else:
            # A venue that was silent for hours is not alive because of what it sent before.
            reason = clock.refusal(tile_time_ns) if replayed else clock.observe(event.venue, tile_time_ns)
            self.tally.last_event_time_ns = tile_time_ns
            self.tally.last_receive_time_ns = received_ns
            self.tally.last_venue = event.venue
        if reason is not None:
            self._outputs.append(self._refused_event(event, reason, received_ns, offset, index))
            return
        self.tally.events[event.record] += 1
        for partition in self._partitions(event):
            buffer = self._buffer(partition, event.record)
            buffer.append(event, received_ns, tile_time_ns, offset, index)
            self._buffered += 1
            if len(buffer) >= self._batch_events:
                self._emit(partition, buffer)

    def _buffer(self, partition: int, record: str) -> Buffer:
        buffers = self._buffers[partition]
        buffer = buffers.get(record)
        if buffer is None:
            buffer = buffers[record] = Buffer(record, self._topic, self._raw_partition)
        return buffer

    def _partitions(self, event: Event) -> Sequence[int]:
        if event.instrument_id == ANY_ASSET:
            return range(self._rules.partitions)
        return (partition_of_instrument(event.instrument_id, self._rules.partitions),)

    def _emit(self, partition: int, buffer: Buffer, progress: Progress | None = None) -> None:
        headers = message_headers(buffer.record, self._raw_partition, progress)
        self._outputs.append(Record(buffer.topic, None, buffer.encode(), headers, partition))
        self._buffered -= len(buffer)
        buffer.clear()

    def _advance(self, offset: int, before_ns: int, after_ns: int) -> None:
        """Write progress where the watermark crossed a row border, behind all that is buffered."""
        row_ns = self._rules.row_interval_ns
        if self._progressed and before_ns // row_ns == after_ns // row_ns:
            return
        self._progressed = True
        self._write_progress(Progress(self._raw_partition, offset, after_ns))

    def _write_progress(self, progress: Progress) -> None:
        for partition in range(self._rules.partitions):
            filled = [buffer for buffer in self._buffers[partition].values() if len(buffer)]
            for buffer in filled[:-1]:
                self._emit(partition, buffer)
            if filled:
                self._emit(partition, filled[-1], progress)
            else:
                headers = message_headers(PROGRESS, self._raw_partition, progress)
                self._outputs.append(Record(self._topic, None, b"", headers, partition))

    def _refused_event(self, event: Event, reason: Reason, received_ns: int, offset: int, index: int) -> Record:
        self.tally.late[event.venue, reason] += 1
        watermark_ns = self._clock.watermark_ns
        behind_ns = watermark_ns - event.event_time_ns
        ahead_ns = event.event_time_ns - self._clock.receive_time_ns
        late = LateEvent(
            record=event.record,
            instrument_id=event.instrument_id,
            venue=event.venue,
            reason=reason,
            event_time_ns=event.event_time_ns,
            receive_time_ns=received_ns,
            watermark_ns=watermark_ns,
            by_ns=behind_ns if reason == "late" else ahead_ns,
            raw_topic=self._raw_topic,
            raw_partition=self._raw_partition,
            raw_offset=offset,
            raw_index=index,
            event=msgspec.structs.asdict(event),
        )
        place = f"{self._raw_topic}[{self._raw_partition}]@{offset}.{index}"
        headers = [("record", b"late-event"), ("reason", reason.encode())]
        headers += cloud_event_headers("late-event", place, received_ns, event.instrument_id)
        return Record(LATE_EVENT, event.instrument_id.encode(), encode_json(late), headers)

    def _refuse(
        self, offset: int, key: bytes | None, value: bytes | None, headers: Headers, error: DecodeError
    ) -> None:
        reason = error.reason if isinstance(error, _RefusedError) else "decode"
        self.tally.dead_letters[reason] += 1
        untouched = list(headers.items() if isinstance(headers, Mapping) else headers)
        message = Message(self._raw_topic, self._raw_partition, offset, key, {}, value, -1, untouched)
        # All in one partition, as of the other stages: the order of the topic is that in which they came.
        self._outputs.append(dead_letter(STAGE, message, error, reason))


def _receive_time_ns(text: bytes | None) -> int:
    # Python reads "1_0" and " 1" as numbers: digits only.
    if text is not None and text.isdigit() and len(text) <= 19:  # noqa: PLR2004 - digits of int64
        time_ns = int(text)
        if 0 < time_ns <= LAST_NS:
            return time_ns
    shown = None if text is None else text[:40]
    raise _RefusedError("header", f"expected nanoseconds since 1970, got {shown!r}", "headers.receive_time_ns")


@lru_cache(maxsize=4096)
def source_name(name: bytes | None) -> str:
    """Return the text of a `source` header; raises DecodeError."""
    if name is not None and 0 < len(name) <= _MAX_SOURCE and name.isascii():
        text = name.decode()
        if text.isprintable() and ":" not in text:
            return text
    shown = None if name is None else name[:40]
    raise _RefusedError("header", f"expected the venue or feed, got {shown!r}", "headers.source")


@lru_cache(maxsize=65_536)
def partition_of_instrument(instrument_id: str, partitions: int) -> int:
    """Return the canonical partition of an instrument: that of its base asset."""
    return partition_of(base_asset(instrument_id), partitions)
