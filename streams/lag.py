"""How far a reader is behind, in messages and in seconds, as metrics."""

import time
from collections import deque
from collections.abc import Callable

from schemas.metrics import OFFSET_LAG, OFFSET_LAG_SECONDS, READ_OFFSET
from streams.ends import Place
from streams.metrics_server import Metrics

_MOST_LOOKS = 512
"""Looks at one log that are remembered; of more, every other is forgotten."""


class Lag:
    """What a reader has still to read of each place.

    Seconds come from the looks themselves: a message that was there at a look lies there since then at least.
    So they are right whatever times the messages bear, and count from the first look of this process on.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._looks: dict[Place, deque[tuple[float, int]]] = {}

    def tell(self, place: Place, position: int, end: int) -> None:
        """Set the metrics of a place: the next offset to read, and the next one of its log."""
        labels = (place[0], str(place[1]))
        self._metrics[READ_OFFSET].labels(*labels).set(position)
        self._metrics[OFFSET_LAG].labels(*labels).set(max(0, end - position))
        self._metrics[OFFSET_LAG_SECONDS].labels(*labels).set(self.seconds(place, position, end))

    def seconds(self, place: Place, position: int, end: int) -> float:
        """Return for how long the message at `position` is known to lie there; 0 where there is none."""
        now, looks = self._clock(), self._looks.setdefault(place, deque())
        if not looks or end > looks[-1][1]:
            looks.append((now, end))
        while looks and looks[0][1] <= position:
            looks.popleft()
        if len(looks) > _MOST_LOOKS:
            self._looks[place] = deque(list(looks)[::2])
        return now - looks[0][0] if looks else 0.0

    def forget(self, place: Place) -> None:
        """Tell nothing more of a place that another process reads now."""
        self._looks.pop(place, None)
        for metric in (READ_OFFSET, OFFSET_LAG, OFFSET_LAG_SECONDS):
            self._metrics.forget(metric, place[0], str(place[1]))
