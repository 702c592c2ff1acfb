"""Log lines of a process: to stderr, from the level that the settings name."""

import logging

from streams.settings import Settings

_COMPLAINT_SECONDS = 5.0


def log_to_stderr(settings: Settings) -> None:
    """Send log lines to stderr."""
    handler = logging.StreamHandler()
    handler.addFilter(Seldom())
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", handlers=[handler]
    )


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
