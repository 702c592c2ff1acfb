"""What the topics have said, as far as the page shows it: bounded, and changed by records alone."""

import math
from collections import Counter, deque
from collections.abc import Callable

from schemas.calibration import Calibration
from schemas.errors import DecodeError
from schemas.forecasts import Attention, Forecast, ForecastScore, LateEvent, decode_json
from schemas.rows import AGED, decode_rows
from schemas.tensors import HORIZONS
from schemas.topics import (
    ATTENTION,
    CALIBRATION,
    DEAD_LETTER,
    FEATURE_ROW,
    FORECAST,
    FORECAST_SCORE,
    LATE_EVENT,
)
from streams.settings import Settings
from streams.stage import Message
from streams.view.instrument import Instrument

MOST_INSTRUMENTS = 500
_LONGEST_NAME = 120
_MOST_COUNTED = 64
"""Venues, stages: whoever writes names at random fills no memory."""
_RECENT = 1_000
_FUTURE_NS = 86_400 * 10**9
"""An origin so far behind its own record's time is none: it would hide all that come."""


class ViewState:
    """Takes messages in any interleaving of topics, and keeps the newest by instrument. For one thread."""

    def __init__(self, settings: Settings, most: int = MOST_INSTRUMENTS) -> None:
        self.horizons = HORIZONS[settings.profile]
        self.version = 0
        self.epoch = 0
        """How often the log began anew."""
        self.instruments: dict[str, Instrument] = {}
        self.statuses: deque[str] = deque(maxlen=_RECENT)
        self.late: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.unreadable = 0
        self._most = most
        self._row_interval_ns = settings.rules.row_interval_ns
        self._takers: dict[str, Callable[[Message], object]] = {
            FORECAST: self._forecast,
            FORECAST_SCORE: self._score,
            ATTENTION: self._attention,
            CALIBRATION: self._calibration,
            FEATURE_ROW: self._rows,
            LATE_EVENT: self._late,
            DEAD_LETTER: self._dead_letter,
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics whose messages are taken."""
        return tuple(self._takers)

    def reset(self) -> None:
        """Forget all: the log began anew."""
        self.version, self.epoch = self.version + 1, self.epoch + 1
        self.instruments.clear()
        for kept in (self.statuses, self.late, self.dead_letters):
            kept.clear()

    def take(self, message: Message) -> None:
        """Take one message; what cannot be read is counted."""
        self.version += 1
        try:
            self._takers[message.topic](message)
        except (DecodeError, OverflowError):
            self.unreadable += 1

    def _forecast(self, message: Message) -> None:
        forecast = decode_json(message.value or b"", Forecast)
        _require_time(forecast.origin_time_ns, message)
        instrument = self._of(forecast.instrument_id)
        if instrument.take_forecast(forecast, message.timestamp_ms, self.version):
            self.statuses.append(forecast.status)

    def _score(self, message: Message) -> None:
        score = decode_json(message.value or b"", ForecastScore)
        _require_time(score.origin_time_ns, message)
        self._of(score.instrument_id).take_score(score, self.version)

    def _attention(self, message: Message) -> None:
        attention = decode_json(message.value or b"", Attention)
        _require_time(attention.origin_time_ns, message)
        self._of(attention.instrument_id).take_attention(attention, self.version)

    def _calibration(self, message: Message) -> None:
        if message.value is not None:  # a compacted topic: no value is a deletion
            state = decode_json(message.value, Calibration)
            self._of(state.instrument_id).take_calibration(state, self.version)

    def _rows(self, message: Message) -> None:
        rows = decode_rows(message.value or b"")
        for name, ages in zip(rows.instruments, rows.ages.tolist(), strict=True):
            told = {kind: age if math.isfinite(age) else None for kind, age in zip(AGED, ages, strict=True)}
            self._of(name).take_ages(told, rows.header.row_time_ns, self.version)

    def _late(self, message: Message) -> None:
        late = decode_json(message.value or b"", LateEvent)
        self._count(self.late, f"{late.venue} {late.reason}")
        if late.instrument_id in self.instruments:
            instrument = self.instruments[late.instrument_id]
            instrument.late, instrument.version = instrument.late + 1, self.version

    def _dead_letter(self, message: Message) -> None:
        self._count(self.dead_letters, message.headers.get("x-dlq-stage", b"?").decode("utf-8", "replace"))

    def _count(self, counter: Counter[str], name: str) -> None:
        counter[name[:_LONGEST_NAME] if name in counter or len(counter) < _MOST_COUNTED else "others"] += 1

    def _of(self, name: str) -> Instrument:
        """Return an instrument, a new one in place of the one that was silent longest; raises DecodeError."""
        if name not in self.instruments:
            if not 0 < len(name) <= _LONGEST_NAME:
                raise DecodeError(f"expected an instrument of 1 to {_LONGEST_NAME} characters, got {len(name)}")
            if len(self.instruments) >= self._most:
                del self.instruments[min(self.instruments, key=lambda known: self.instruments[known].version)]
            self.instruments[name] = Instrument(name, self.horizons, self._row_interval_ns)
        return self.instruments[name]


def _require_time(origin_ns: int, message: Message) -> None:
    if not 0 <= origin_ns <= message.timestamp_ms * 1_000_000 + _FUTURE_NS:
        raise DecodeError(f"expected an origin up to the record's own time, got {origin_ns}")
