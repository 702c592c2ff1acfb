"""Clocks that are wrong, at the venues and in the workers, and venues that fall silent."""

import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from schemas.batches import Progress
from schemas.forecasts import Forecast, LateEvent, decode_json
from schemas.rules import SECOND_NS, Rules
from schemas.topics import FORECAST, LATE_EVENT, RAW_EXCHANGE
from streams.chaos.logs import Logs, Truth
from streams.chaos.reading import truth_of_messages
from streams.chaos.records import has_event_times
from streams.chaos.scenario import START_NS, Trial, scenario
from streams.chaos.shifted import command
from streams.ingest.normaliser import Normaliser
from streams.kafka import read_topic
from streams.settings import Settings
from streams.sources import RawMessage

_SECONDS = 300
_QUICK_SECONDS = 75
_INTENSITY = 0.5
_DONE_SECONDS = 240.0
_BAD_VENUE = "binance-usdm"
_TIMES = re.compile(rb'"(E|T)":([0-9]{13})')
_FIVE_MINUTES_MS = 300_000
_HOUR_SECONDS = 3_600.0
_STEP_SECONDS = 10.0
_QUIET_VENUES = ("coinbase", "kraken", "bybit")
_CALM_SECONDS = 15
"""Before the first fault, and behind the last one: rows begin and end as without it."""
_VENUE_SECONDS = 600
_ALL_SECONDS = 120
_QUICK_VENUE_SECONDS = 30
_QUICK_ALL_SECONDS = 15
_SLACK_SECONDS = 1.0


@scenario(
    "F14", "clocks: a venue 5 min ahead, 5 min behind, ns as ms; workers an hour off, and stepping back", seconds=70
)
def wrong_clocks(trial: Trial) -> None:
    """The venue's records are refused, each and told; rows are those of a log without them, whatever workers think."""
    seconds = _QUICK_SECONDS if trial.quick else _SECONDS
    messages = list(trial.market(seconds, _INTENSITY))
    spoilt = dict(_spoilt(messages, seconds))
    trial.fill(spoilt.get(place, message) for place, message in enumerate(messages))
    commands = {
        "ingest": command("ingest", _HOUR_SECONDS),
        "featurize": command("featurize", -_HOUR_SECONDS),
        "infer": command("infer", 0.0, after=_STEP_SECONDS, back=_STEP_SECONDS),
        "score": command("score", _HOUR_SECONDS, after=_STEP_SECONDS, back=_STEP_SECONDS),
    }
    with trial.running(commands=commands) as live:
        live.wait_until_done(seconds=_DONE_SECONDS)
        trial.require(not live.exits(), f"expected no process to end, got exits {live.exits()}")
    logs, truth = trial.verify()
    trial.figure("records with a wrong time", len(spoilt), limit=1, at_least=True)
    trial.figure("of them believed", abs(len(spoilt) - len(truth.late) - len(truth.dead)), limit=0)
    others = [event for event in _late_events(trial.settings) if event.venue != _BAD_VENUE]
    trial.figure("events of other venues late by it", len(others), limit=0)
    clean = truth_of_messages([m for place, m in enumerate(messages) if place not in spoilt], trial.settings)
    trial.figure("rows that differ from those without them", _differing(logs, clean), limit=0)


def _spoilt(messages: list[RawMessage], seconds: int) -> Iterator[tuple[int, RawMessage]]:
    """Yield the records of one venue whose times are wrong, by place: each way for a third of the time."""
    third = (seconds - 2 * _CALM_SECONDS) / 3
    for place, message in enumerate(messages):
        at = (message.receive_time_ns - START_NS) / SECOND_NS - _CALM_SECONDS
        if message.source == _BAD_VENUE and 0 <= at < 3 * third and has_event_times(message):
            value = _TIMES.sub((_ahead, _behind, _nanoseconds)[int(at / third)], message.value)
            yield place, msgspec.structs.replace(message, value=value)


def _ahead(found: re.Match[bytes]) -> bytes:
    return b'"%b":%d' % (found[1], int(found[2]) + _FIVE_MINUTES_MS)


def _behind(found: re.Match[bytes]) -> bytes:
    return b'"%b":%d' % (found[1], int(found[2]) - _FIVE_MINUTES_MS)


def _nanoseconds(found: re.Match[bytes]) -> bytes:
    return b'"%b":%b000000' % (found[1], found[2])


def _late_events(settings: Settings) -> list[LateEvent]:
    return [decode_json(message.value or b"", LateEvent) for message in read_topic(settings, LATE_EVENT)]


def _differing(logs: Logs, clean: Truth) -> int:
    found = {(row.partition, row.row_time_ns): row.value for row in reversed(logs.rows)}
    return sum(found.get(key) != clean.rows.get(key) for key in found.keys() | clean.rows.keys())


@scenario("F15", "one venue silent for 10 min, all silent for 2 min", seconds=120)
def fall_silent(trial: Trial) -> None:
    """Rows go on with what is known, and say so; no border waits longer than the idle timeout allows."""
    quiet, alone, together = trial.draw.choice(_QUIET_VENUES), _VENUE_SECONDS, _ALL_SECONDS
    if trial.quick:
        alone, together = _QUICK_VENUE_SECONDS, _QUICK_ALL_SECONDS
    ends = [_CALM_SECONDS, _CALM_SECONDS + alone, 2 * _CALM_SECONDS + alone, 2 * _CALM_SECONDS + alone + together]
    ends_ns = [START_NS + end * SECOND_NS for end in ends]

    def is_heard(message: RawMessage) -> bool:
        at_ns = message.receive_time_ns
        return not (ends_ns[2] <= at_ns < ends_ns[3]) and not (
            message.source == quiet and ends_ns[0] <= at_ns < ends_ns[1]
        )

    trial.fill(message for message in trial.market(ends[-1] + _CALM_SECONDS, _INTENSITY) if is_heard(message))
    with trial.running() as live:
        live.wait_until_done(seconds=_DONE_SECONDS)
        trial.require(not live.exits(), f"expected no process to end, got exits {live.exits()}")
    logs, _ = trial.verify()
    rules = trial.settings.rules
    most = (rules.allowed_lateness_ns + rules.idle_timeout_ns) / SECOND_NS + _SLACK_SECONDS
    trial.figure("longest a border waited", _longest_wait(trial.settings), "s", limit=most)
    missing = _missing(logs, rules, ends_ns[0], ends_ns[3])
    trial.figure("borders without rows", missing, limit=0)
    silences = (("one venue", f"{quiet}:", ends_ns[0], ends_ns[1]), ("all", "", ends_ns[2], ends_ns[3]))
    for what, venue, from_ns, to_ns in silences:
        told, flagged = _flagged(trial.settings, venue, (from_ns + 2 * to_ns) // 3, to_ns)
        trial.figure(f"forecasts in the last third of the silence of {what}", told, limit=1, at_least=True)
        trial.figure(f"of them marked stale ({what})", 100.0 * flagged / max(told, 1), "%", limit=100.0, at_least=True)


def _longest_wait(settings: Settings) -> float:
    """Return how long after a border its raw partition let it close, at most, in seconds of receive time.

    Of the pure code, record by record: ingest, which says the same, says it once for all that it catches up with.
    """
    partitions = range(settings.rules.raw_partitions[RAW_EXCHANGE])
    return max(_waited_ns(settings, partition) for partition in partitions) / SECOND_NS


def _waited_ns(settings: Settings, raw_partition: int) -> int:
    normaliser = Normaliser(RAW_EXCHANGE, raw_partition, settings.rules)
    received, now_ns = [], 0
    for message in read_topic(settings, RAW_EXCHANGE, partitions=[raw_partition]):
        normaliser.feed(message.offset, message.key, message.value, message.header_pairs())
        now_ns = max(now_ns, int(message.headers["receive_time_ns"]))
        received.append(now_ns)
    told = (dict(output.headers).get(Progress.header) for output in normaliser.flush() if output.partition == 0)
    steps = [Progress.decode(value) for value in told if value is not None]
    border_ns = settings.rules.row_interval_ns
    return max(
        received[after.raw_offset] - (before.watermark_ns // border_ns + 1) * border_ns
        for before, after in pairwise(steps)
    )


def _missing(logs: Logs, rules: Rules, from_ns: int, to_ns: int) -> int:
    """Return how many borders of the silence have no row in some partition that has rows around it."""
    written = {(row.partition, row.row_time_ns) for row in logs.rows}
    partitions = {partition for partition, _ in written}
    borders = range(from_ns, to_ns, rules.row_interval_ns)
    return sum((partition, border) not in written for partition in partitions for border in borders)


def _flagged(settings: Settings, venue: str, from_ns: int, to_ns: int) -> tuple[int, int]:
    """Return how many forecasts a venue's instruments have in a time, and how many say that they are stale."""
    found = [
        forecast
        for message in read_topic(settings, FORECAST)
        if (forecast := decode_json(message.value or b"", Forecast)).instrument_id.startswith(venue)
        and from_ns <= forecast.origin_time_ns < to_ns
    ]
    return len(found), sum("stale" in forecast.quality for forecast in found)
