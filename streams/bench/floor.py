"""Reading a topic and decoding it, and nothing else: what no stage can be faster than."""

import time
from collections.abc import Callable

import msgspec
from confluent_kafka import TopicPartition

from schemas.batches import decode_batch
from streams.bench.ground import Pace
from streams.formats.binance_records import QuoteData, TradeData
from streams.kafka import consumer, watermarks
from streams.settings import Settings

_AT_ONCE = 1_000
_SILENCE_SECONDS = 5.0


class _Frame(msgspec.Struct, gc=False):
    data: msgspec.Raw


_FRAME = msgspec.json.Decoder(_Frame)
_TRADE = msgspec.json.Decoder(TradeData, strict=False)
_QUOTE = msgspec.json.Decoder(QuoteData, strict=False)


def read_batches(settings: Settings, topic: str) -> Pace:
    """Return the pace of reading the events of a canonical topic."""

    def count(value: bytes) -> int:
        return len(decode_batch(value)) if value else 0

    return _read(settings, topic, count)


def read_frames(settings: Settings, topic: str) -> Pace:
    """Return the pace of reading the frames of a raw topic that `streams.bench.traffic` wrote."""

    def count(value: bytes) -> int:
        if not value:
            return 0
        data = _FRAME.decode(value).data
        (_TRADE if b'"trade"' in value else _QUOTE).decode(data)
        return 1

    return _read(settings, topic, count)


def _read(settings: Settings, topic: str, count: Callable[[bytes], int]) -> Pace:
    ends = {partition: high for partition, (_, high) in watermarks(settings, topic).items() if high}
    reader = consumer(settings, "foreshock-bench-floor", overrides={"queued.max.messages.kbytes": 64 << 10})
    left, events = sum(ends.values()), 0
    try:
        reader.assign([TopicPartition(topic, partition, 0) for partition in ends])
        left -= len(reader.consume(1, timeout=_SILENCE_SECONDS))  # the connection is made by the first call
        started, cpu = time.perf_counter(), time.process_time()
        while left:
            messages = reader.consume(_AT_ONCE, timeout=_SILENCE_SECONDS)
            if not messages:
                break
            left -= len(messages)
            events += sum(count(message.value() or b"") for message in messages)
    finally:
        reader.close()
    seconds = time.perf_counter() - started
    return Pace(events / seconds, {"reader": (time.process_time() - cpu) / (max(events, 1) / 1e6)})
