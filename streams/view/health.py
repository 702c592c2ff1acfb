"""Whether the stack behind the page is well: broker, groups of the stages with their lag, what could not be read."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException

from schemas.errors import ForeshockError
from streams.commands.checks import require_broker
from streams.doctor.groups import group_names, offsets_of, places_read
from streams.ends import Place
from streams.kafka import consumer
from streams.settings import Settings
from streams.view.reading import Reading
from streams.view.state import ViewState

LOOK_SECONDS = 5.0
_STOP_SECONDS = 1.0


class Group(NamedTuple):
    """How far a stage's group is: records behind, what it committed, and when that last moved (by the clock)."""

    name: str
    lag: int
    at: dict[Place, int]
    moved: float


class Stack(threading.Thread):
    """Asks the broker every few seconds, in a thread of its own: an answer may take long."""

    def __init__(self, settings: Settings, said: Callable[[], None]) -> None:
        super().__init__(name="view-health", daemon=True)
        self._settings, self._said = settings, said
        self._ending = threading.Event()
        self._readers: dict[str, Consumer] = {}
        self.problem = ""
        self.away_since = 0.0
        """By the clock; 0 while a broker answers."""
        self.groups: list[Group] = []

    def run(self) -> None:
        """Look until `stop`."""
        while not self._ending.is_set():
            self.look()
            self._said()
            self._ending.wait(LOOK_SECONDS)
        for reader in self._readers.values():
            reader.close()

    def look(self) -> None:
        """Ask once."""
        try:
            require_broker(self._settings)
            before = {group.name: group for group in self.groups}
            self.groups = [self._group(name, before.get(name)) for name in group_names(self._settings)]
        except (ForeshockError, KafkaException) as error:
            self.problem = str(error)
            self.away_since = self.away_since or time.time()
        else:
            self.problem, self.away_since = "", 0.0

    def _group(self, name: str, before: Group | None) -> Group:
        """Return how far a group is now; a consumer asks, which joins nothing."""
        if name not in self._readers:
            self._readers[name] = consumer(self._settings, name)
        offsets = offsets_of(self._readers[name], places_read(self._settings, name))
        lag = sum(max(0, end - at) for at, end in offsets.values())
        at = {place: at for place, (at, _) in offsets.items()}
        moves = before is None or not lag or at != before.at
        return Group(name, lag, at, time.time() if moves or before is None else before.moved)

    def stop(self) -> None:
        """End; an answer that is outstanding is not waited for."""
        self._ending.set()
        self.join(_STOP_SECONDS)


def health(stack: Stack, reading: Reading, state: ViewState) -> dict[str, Any]:
    """Return what the page says of the stack."""
    return {
        "servers_problem": stack.problem,
        "away_since_ms": round(stack.away_since * 1000),
        "reading_problem": reading.problem,
        "catching_up": reading.is_catching_up,
        "groups": [_told(group) for group in stack.groups],
        "statuses": Counter(state.statuses),
        "late": state.late,
        "dead_letters": state.dead_letters,
        "unreadable": state.unreadable,
        "instruments": len(state.instruments),
    }


def _told(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "known": bool(group.at),
        "lag": group.lag,
        "stands_seconds": round(time.time() - group.moved) if group.lag else 0,
    }
