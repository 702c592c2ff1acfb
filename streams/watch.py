"""What the outer topics say, gathered while it comes: for the demo's screen and its report."""

from collections import Counter, defaultdict
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

from schemas.calibration import Calibration
from schemas.forecasts import Attention, Forecast, ForecastScore, LateEvent
from schemas.rows import decode_rows
from schemas.topics import (
    ATTENTION,
    CALIBRATION,
    DEAD_LETTER,
    FEATURE_ROW,
    FORECAST,
    FORECAST_SCORE,
    LATE_EVENT,
)
from streams.kafka import consumer, partition_counts
from streams.settings import Settings
from triton_models.bundle import KINDS

WATCHED = (FEATURE_ROW, FORECAST, ATTENTION, FORECAST_SCORE, CALIBRATION, LATE_EVENT, DEAD_LETTER)
_LATENCIES = 100_000


class Watch:
    """Counts and latest records of the outer topics, repeats taken out."""

    def __init__(self, settings: Settings) -> None:
        self.rows = 0
        self.row_messages: set[tuple[int, int]] = set()
        self.statuses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.networks: Counter[str] = Counter()
        self.attention = 0
        self.scored: Counter[str] = Counter()
        self.losses: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.late: Counter[tuple[str, str]] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.latest: dict[str, Forecast] = {}
        self.calibration: dict[tuple[str, str], Calibration] = {}
        self.latencies_ms: list[int] = []
        self._late_stamps: set[tuple[str, int, int, int]] = set()
        self._row_written_ms: dict[tuple[int, int], int] = {}
        self._last_time: dict[tuple[str, ...], int] = {}
        self._reader = _reader(settings)

    def read(self, seconds: float) -> int:
        """Take in what comes within `seconds`; return the number of records."""
        taken = 0
        for message in self._reader.consume(1_000, timeout=seconds):
            if message.error() is None and message.value() is not None:
                self._take(message)
                taken += 1
        return taken

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()

    def _take(self, message: Any) -> None:
        topic = message.topic()
        if topic == FEATURE_ROW:
            self._take_row(message)
        elif topic == FORECAST:
            self._take_forecast(message, msgspec.json.decode(message.value(), type=Forecast))
        elif topic == FORECAST_SCORE:
            self._take_score(msgspec.json.decode(message.value(), type=ForecastScore))
        elif topic == CALIBRATION:
            state = msgspec.json.decode(message.value(), type=Calibration)
            self.calibration[state.instrument_id, state.horizon] = state
        elif topic == LATE_EVENT:
            late = msgspec.json.decode(message.value(), type=LateEvent)
            stamp = (late.raw_topic, late.raw_partition, late.raw_offset, late.raw_index)
            self.late[late.venue, late.reason] += stamp not in self._late_stamps
            self._late_stamps.add(stamp)
        elif topic == DEAD_LETTER:
            headers = dict(message.headers() or [])
            self.dead_letters[headers.get("x-dlq-stage", b"?").decode("utf-8", "replace")] += 1
        elif topic == ATTENTION:
            record = msgspec.json.decode(message.value(), type=Attention)
            if self._is_new(("attention", record.instrument_id), record.origin_time_ns):
                self.attention += 1

    def _take_row(self, message: Any) -> None:
        row_time_ns = int(dict(message.headers())["row_time_ns"])
        key = (message.partition(), row_time_ns)
        if key in self.row_messages:
            return
        self.row_messages.add(key)
        self._row_written_ms[key] = message.timestamp()[1]
        self.rows += len(decode_rows(message.value()).instruments)

    def _take_forecast(self, message: Any, forecast: Forecast) -> None:
        if not self._is_new(("forecast", forecast.instrument_id), forecast.origin_time_ns):
            return
        self.latest[forecast.instrument_id] = forecast
        self.statuses[forecast.status] += 1
        if forecast.reason:
            self.reasons[forecast.reason] += 1
        if forecast.status == "model":
            self.networks.update(name for name in forecast.experts if name in KINDS)
        written = self._row_written_ms.get((message.partition(), forecast.origin_time_ns))
        if written is not None and len(self.latencies_ms) < _LATENCIES:
            self.latencies_ms.append(message.timestamp()[1] - written)

    def _is_new(self, series: tuple[str, ...], time_ns: int) -> bool:
        """Say whether a record goes on from the last of its series; a repeat after a restart does not."""
        if self._last_time.get(series, -1) >= time_ns:
            return False
        self._last_time[series] = time_ns
        return True

    def _take_score(self, score: ForecastScore) -> None:
        if not self._is_new(("score", score.instrument_id, score.horizon), score.origin_time_ns):
            return
        self.scored[score.horizon] += 1
        for expert, losses in score.scores.items():
            total = self.losses[score.horizon][expert]
            total["count"] += 1
            for name in ("qlike", "pinball", "crps"):
                total[name] += getattr(losses, name)
            for level, inside in losses.coverage.items():
                total[f"coverage_{level}"] += inside


def _reader(settings: Settings) -> Consumer:
    reader = consumer(settings, "foreshock-watch")
    counts = partition_counts(settings, WATCHED)
    reader.assign([TopicPartition(topic, p, 0) for topic, count in counts.items() for p in range(count)])
    return reader
