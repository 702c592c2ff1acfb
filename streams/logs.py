"""Log lines of a process: to stderr, from the level that the settings name, as text or as JSON, one object a line."""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from schemas.errors import SettingsError
from streams.connection import kafka_password
from streams.settings import Settings

_COMPLAINT_SECONDS = 5.0
_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_PLACE = re.compile(r"([a-z][\w.-]*)\[(\d+)\](?:@(\d+))?")
_FORECAST = re.compile(r"[a-z0-9-]+:[A-Z0-9-]+@\d{16,19}(?!\d)")
_NAMED = ("topic", "partition", "offset", "forecast_id")
"""Fields that a call may give by `extra=`; what it does not give is taken from the text where it stands there."""


def log_to_stderr(settings: Settings, stage: str = "") -> None:
    """Send log lines to stderr, as `log_format` says; `stage` names the process."""
    handler = logging.StreamHandler()
    handler.addFilter(Seldom())
    is_json = settings.log_format == "json"
    form = JsonLines({"stage": stage, "worker": settings.worker}) if is_json else logging.Formatter(_TEXT)
    handler.setFormatter(Hiding(form, settings))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)


class JsonLines(logging.Formatter):
    """Makes one JSON object of a line: time, level, logger, message, who says it, and what it is about."""

    def __init__(self, process: Mapping[str, Any]) -> None:
        super().__init__()
        self._process = dict(process)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; what is not known is left out."""
        message = record.getMessage()
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname, "logger": record.name, "message": message, **self._process}
        line |= _about(message) | {name: vars(record)[name] for name in _NAMED if name in vars(record)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _about(message: str) -> dict[str, Any]:
    """Return topic, partition, offset and forecast that a text names.

    >>> _about("left out: feature.row.v1[2]@17 $: expected a row")
    {'topic': 'feature.row.v1', 'partition': 2, 'offset': 17}
    """
    found: dict[str, Any] = {}
    if place := _PLACE.search(message):
        found = {"topic": place[1], "partition": int(place[2])}
        if place[3] is not None:
            found["offset"] = int(place[3])
    if forecast := _FORECAST.search(message):
        found["forecast_id"] = forecast[0]
    return found


class Hiding(logging.Formatter):
    """Writes stars where a line would show the password: other people's libraries log what they are given."""

    def __init__(self, inner: logging.Formatter, settings: Settings) -> None:
        super().__init__()
        self._inner, self._secrets = inner, _secrets(settings)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without the password, as it is and as JSON writes it."""
        line = self._inner.format(record)
        for secret in self._secrets:
            line = line.replace(secret, "********")
        return line


def _secrets(settings: Settings) -> list[str]:
    if not (settings.kafka_password or settings.kafka_password_file):
        return []
    try:
        text = kafka_password(settings).reveal()
    except (OSError, SettingsError):  # told where it is needed
        return []
    return [text, json.dumps(text, ensure_ascii=False)[1:-1]] if text else []


class Seldom(logging.Filter):
    """Lets the same complaint through once in a while: aiokafka makes ten a second while a broker is down."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line is to be written."""
        complaint = (record.name, str(record.msg))
        if record.levelno < logging.WARNING or record.created - self._said.get(complaint, 0.0) > _COMPLAINT_SECONDS:
            self._said[complaint] = record.created
            return True
        return False
