"""Canonical messages written by hand, for tests of the engine that draw their timeline."""

from small_catalogue import small_catalogue
from world import MS, RULES, START_NS

from featurestore.engine import PartitionEngine
from schemas import EVENTS
from schemas.batches import PROGRESS, Progress, encode_batch, field_names, message_headers
from schemas.rows import decode_rows
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, FED_BY, MARKET_STATE

BTC = "alpha:BTC-USD"
T0 = START_NS
"""A border of tiles and rows."""

FILL = {"trade": {"size": 1.0, "side": 1}, "quote": {"bid_size": 1.0, "ask_price": 9.0, "ask_size": 1.0}}


def event(record, at_ms, *, instrument=BTC, venue="alpha", sequence=-1, name="", **fields):
    """Return an event with its tile time, in ms after T0."""
    kind = EVENTS[record]
    given = {**FILL.get(record, {}), **fields}
    tile_time_ns = T0 + int(at_ms * MS)
    return tile_time_ns, kind(
        instrument_id=instrument, venue=venue, event_time_ns=tile_time_ns, sequence=sequence, id=name, **given
    )


def trade(at_ms, price=100.0, **more):
    return event("trade", at_ms, price=price, **more)


class Canon:
    """The canonical log of one partition, and one engine that reads it."""

    def __init__(self, rules=RULES, catalogue=None, announcements=(), partition=0):
        self.rules, self.partition = rules, partition
        self.catalogue = catalogue or small_catalogue()
        self.announcements = announcements
        self.engine = PartitionEngine(partition, rules, self.catalogue, announcements)
        self.log = {topic: [] for topic in (*EVENT_TOPICS, MARKET_STATE)}
        self.outputs = []

    def send(self, *events, raw=0, at=None, watermark_ms=None):
        """Write events of one record type as one message; `at` is the first raw offset."""
        record, topic = events[0][1].record, events[0][1].topic
        first = len(self.log[topic]) + 100 if at is None else at
        columns = {name: [getattr(e, name) for _, e in events] for name in field_names(record)}
        columns |= {
            "receive_time_ns": [t for t, _ in events],
            "tile_time_ns": [t for t, _ in events],
            "raw_partition": [raw] * len(events),
            "raw_offset": [first + i for i in range(len(events))],
            "raw_index": [0] * len(events),
        }
        progress = None if watermark_ms is None else Progress(raw, first, T0 + int(watermark_ms * MS))
        self.put(topic, message_headers(record, raw, progress), encode_batch(record, columns))

    def progress(self, watermark_ms, *, topics=EVENT_TOPICS, raws=None):
        """Write progress of the raw partitions of `topics` (those in `raws`)."""
        for topic in topics:
            for raw in range(self.rules.raw_partitions[FED_BY[topic]]):
                if raws is None or raw in raws:
                    told = Progress(raw, 1_000_000, T0 + int(watermark_ms * MS))
                    self.put(topic, message_headers(PROGRESS, raw, told), b"")

    def put(self, topic, headers, value):
        """Write any message, and have the engine read it."""
        self.log[topic].append((dict(headers), value))
        self.engine.apply(topic, len(self.log[topic]) - 1, *self.log[topic][-1])

    def advance(self, *, market=True):
        """Return the rows that are complete; other partitions have no part in the market."""
        rows = []
        while outputs := self.engine.advance():
            self.outputs += outputs
            rows += [decode_rows(o.value) for o in outputs if o.topic == FEATURE_ROW]
            for output in outputs:
                if market and output.topic == MARKET_STATE and output.partition == self.partition:
                    self.put(MARKET_STATE, output.headers, output.value)
                    for other in range(self.rules.partitions):
                        if other != self.partition:
                            self.put(MARKET_STATE, output.headers, none_of(output.value, other))
        return rows

    def restarted(self):
        """Go on from a checkpoint, with another engine that reads the log again from there."""
        checkpoint = self.engine.checkpoint()
        context = (self.partition, self.rules, self.catalogue, self.announcements)
        self.engine = PartitionEngine.restore(checkpoint.blob, *context)
        for topic, messages in self.log.items():
            for offset in range(checkpoint.resume.get(topic, 0), len(messages)):
                self.engine.apply(topic, offset, *messages[offset])
        return checkpoint


def none_of(part, partition):
    """Return a part's borders as those of another partition that has nothing to say."""
    import msgspec

    told = msgspec.json.decode(part)
    return msgspec.json.encode({**told, "partition": partition, "borders": [], "series": {}})


def by_time(rows):
    """Return {ms after T0: {instrument: {feature: value}}}."""
    return {
        (r.header.row_time_ns - T0) // MS: {
            name: dict(zip(r.features, r.values[i], strict=True)) for i, name in enumerate(r.instruments)
        }
        for r in rows
    }
