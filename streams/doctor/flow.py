"""What flows: sources that fell silent, forecasts that are none, records that could not be read."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaException

from schemas.errors import StateError
from schemas.forecasts import Forecast, decode_json
from schemas.topics import DEAD_LETTER, FORECAST, RAW_EXCHANGE
from streams.dead_letters.reading import is_mark, opened
from streams.doctor.finding import Finding, fine, warning
from streams.ends import offsets_at
from streams.kafka import consumer, partition_counts, read_topic, watermarks
from streams.settings import Settings

SILENT_SECONDS = 60
"""A venue that trades is heard many times in it."""
_EARLIER_SECONDS = (300, 1_800, 7_200, 43_200)
_PIECE = 500
"""Records that are read at each of those times, per partition."""
_FORECASTS = 500
"""Forecasts that are looked at, per partition."""
_MOST_FALLBACKS = 0.05
_LETTERS = 1_000
_LETTER_SECONDS = 3_600


def source_findings(settings: Settings) -> Iterator[Finding]:
    """Yield which exchange feeds were heard in the last minute of the log, and which only before."""
    newest_ms = _newest_ms(settings, RAW_EXCHANGE)
    if newest_ms is None:
        yield warning("sources", RAW_EXCHANGE, "nothing ever came", "start the feed handlers, or foreshock replay")
        return
    now = _sources(settings, newest_ms - 1_000 * SILENT_SECONDS, None)
    before: dict[str, int] = {}
    for seconds in _EARLIER_SECONDS:
        for name in _sources(settings, newest_ms - 1_000 * seconds, _PIECE):
            before.setdefault(name, seconds)
    for name in sorted(before.keys() - now):
        heard = f"it was {before[name] // 60} min before"
        what = f"not heard in the last {SILENT_SECONDS} s of the log, {heard}: its instruments are masked or stale"
        yield warning("sources", name, what, "look at its feed handler and its connection to the venue")
    if now:
        what = f"{len(now)} heard in the last {SILENT_SECONDS} s: {', '.join(sorted(now))}"
        yield fine("sources", RAW_EXCHANGE, what)


def _newest_ms(settings: Settings, topic: str) -> int | None:
    return max((message.timestamp_ms for message in read_topic(settings, topic, last=1)), default=None)


def _sources(settings: Settings, since_ms: int, count: int | None) -> set[str]:
    """Return who sent what was written since a time; `count`: of so many records of each partition."""
    ends = {partition: end for partition, (_, end) in watermarks(settings, RAW_EXCHANGE).items()}
    reader = consumer(settings, "foreshock-doctor")
    try:
        starts = offsets_at(reader, ((RAW_EXCHANGE, partition) for partition in ends), since_ms)
    except KafkaException as problem:
        raise StateError(f"{RAW_EXCHANGE}: cannot be searched by time: {problem.args[0].str()}") from None
    finally:
        reader.close()
    found: set[str] = set()
    for (topic, partition), start in starts.items():
        if start < 0:
            continue
        stop = ends[partition] if count is None else min(ends[partition], start + count)
        for message in read_topic(settings, topic, partitions=[partition], start={partition: start}):
            if message.offset >= stop:
                break
            if message.headers.get("format") != b"heartbeat":
                found.add(message.headers.get("source", b"").decode("utf-8", "replace"))
    return found


def forecast_findings(settings: Settings) -> Iterator[Finding]:
    """Yield how the last forecasts were made, and why not by the models."""
    if not partition_counts(settings, [FORECAST]):
        return
    made: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for message in read_topic(settings, FORECAST, last=_FORECASTS):
        forecast = decode_json(message.value or b"", Forecast)
        made[forecast.status] += 1
        if forecast.reason:
            reasons[forecast.reason] += 1
    yield from told_of(made, reasons)


def told_of(made: Mapping[str, int], reasons: Counter[str]) -> Iterator[Finding]:
    """Yield what so many forecasts of each status mean."""
    count = sum(made.values())
    if not count:
        yield warning("forecasts", FORECAST, "there are none yet", "foreshock run; rows must come first, see groups")
        return
    shares = ", ".join(f"{100 * made[status] / count:.1f} % {status}" for status in sorted(made))
    what = f"of the last {count}: {shares}"
    if count - made.get("model", 0) > _MOST_FALLBACKS * count:
        why = "; ".join(f"{reason} ({number})" for reason, number in reasons.most_common(2))
        yield warning("forecasts", FORECAST, f"{what}; {why}", "the first minutes have none; else see Triton, sources")
    else:
        yield fine("forecasts", FORECAST, what)


def dead_letter_findings(settings: Settings) -> Iterator[Finding]:
    """Yield how many records could not be read in the last hour, and why."""
    if not partition_counts(settings, [DEAD_LETTER]):
        return
    since_ms = 1e3 * (time.time() - _LETTER_SECONDS)
    reasons: Counter[str] = Counter()
    for message in read_topic(settings, DEAD_LETTER, last=_LETTERS):
        if message.timestamp_ms >= since_ms and not is_mark(message.headers):
            letter = opened(message)
            reasons[f"{letter.reason} in {letter.stage}"] += 1
    if reasons:
        told = ", ".join(f"{number} ({reason})" for reason, number in sorted(reasons.items()))
        fix = "foreshock dead-letter list; once they can be read: foreshock dead-letter replay"
        yield warning("dead letters", DEAD_LETTER, f"in the last hour: {told}", fix)
    else:
        yield fine("dead letters", DEAD_LETTER, "none in the last hour")
