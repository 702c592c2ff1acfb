"""Follows the outer topics from a little before their ends, for as long as the page is served."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import ForeshockError
from schemas.topics import ATTENTION, CALIBRATION, DEAD_LETTER, FEATURE_ROW, FORECAST, FORECAST_SCORE, LATE_EVENT
from streams.kafka import bounds, consumer, partition_counts, to_message
from streams.settings import Settings
from streams.stage import Message

LOGGER = logging.getLogger("foreshock.view")
BEHIND = {
    FORECAST: 6_000,
    FORECAST_SCORE: 12_000,
    ATTENTION: 3_000,
    CALIBRATION: 20_000,
    FEATURE_ROW: 2,
    LATE_EVENT: 2_000,
    DEAD_LETTER: 500,
}
"""Records of each partition that are read at first; what is older is read from the log when somebody scrolls there."""
_CONSUME_SECONDS = 0.03
_BATCH = 400
_AGAIN_SECONDS = 2.0
_STOP_SECONDS = 5.0
_WAITING = {
    # An answer comes with the first record all the same; an idle broker is asked twice a second.
    "fetch.wait.max.ms": 500,
    "queued.max.messages.kbytes": 16 << 10,
}

Take = Callable[[list[Message]], None]


class Reading(threading.Thread):
    """Reads `BEHIND` in a thread of its own; `take` is called in it with what came, and may block.

    `anew` is called where the log began again. `problem` says why nothing can be read, "" while all is well.
    """

    def __init__(self, settings: Settings, take: Take, anew: Callable[[], None]) -> None:
        super().__init__(name="view-reading", daemon=True)
        self._settings, self._take, self._anew = settings, take, anew
        self._ending = threading.Event()
        self._next: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self.problem = "starting"

    @property
    def is_catching_up(self) -> bool:
        """Say whether what the topics held at the start is not read yet."""
        return any(self._next.get(place, 0) < end for place, end in list(self._ends.items()))

    def run(self) -> None:
        """Read until `stop`; what fails is tried again."""
        while not self._ending.is_set():
            try:
                self._follow()
            except (ForeshockError, KafkaException) as error:
                self.problem = str(error) if isinstance(error, ForeshockError) else error.args[0].str()
            except Exception as error:  # a thread that ended would leave a page that looks well
                LOGGER.exception("the page's reading failed, and begins again")
                self.problem = f"records could not be taken: {error!r}"
            self._ending.wait(_AGAIN_SECONDS)

    def stop(self) -> None:
        """End, and wait for it."""
        self._ending.set()
        self.join(_STOP_SECONDS)

    def _follow(self) -> None:
        counts = partition_counts(self._settings, BEHIND)
        missing = [topic for topic in BEHIND if topic not in counts]
        if missing:
            self.problem = f"there is no topic {missing[0]} yet: `foreshock run` creates it"
            return
        reader = consumer(self._settings, "foreshock-view", overrides=_WAITING)
        try:
            reader.assign([self._start(reader, topic, p) for topic, count in counts.items() for p in range(count)])
            self.problem = ""
            while not self._ending.is_set():
                self._step(reader)
        finally:
            reader.close()

    def _start(self, reader: Consumer, topic: str, partition: int) -> TopicPartition:
        low, end = bounds(reader, topic, partition)
        known = self._next.get((topic, partition))
        if known is not None and not low <= known <= end:
            self._begin_anew()
            known = None
        begin = max(low, end - BEHIND[topic]) if known is None else known
        self._next[topic, partition], self._ends[topic, partition] = begin, end
        return TopicPartition(topic, partition, begin)

    def _step(self, reader: Consumer) -> None:
        found = reader.consume(_BATCH, timeout=_CONSUME_SECONDS)
        messages = [to_message(each) for each in found if each.error() is None]
        self._tell_problem(found, came=bool(messages))
        if not messages:
            return
        if any(each.offset < self._next.get((each.topic, each.partition), 0) for each in messages):
            self._begin_anew()
        for each in messages:
            self._next[each.topic, each.partition] = each.offset + 1
        self._take(messages)

    def _tell_problem(self, found: Sequence[Any], *, came: bool) -> None:
        errors = [each.error() for each in found if each.error() is not None and not each.error().retriable()]
        if errors:
            self.problem = errors[0].str()
        elif came:
            self.problem = ""

    def _begin_anew(self) -> None:
        self._next.clear()
        self._ends.clear()
        self._anew()
