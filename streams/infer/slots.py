"""Which forecasts were due, and which of them were missed: one partition's account of row borders."""

from collections import Counter
from threading import Lock

LISTED_SECONDS = 900.0
"""A row lists an instrument so long after its last event; later nobody knows what would be due."""


class Slots:
    """Counts slots: an instrument that rows list, at one row border. For the event loop and whoever looks.

    `grace_seconds`: a forecast that is not on its topic so long after its border is missed; None where borders
    are of another time than the clock's, as in a replay: then only what is written counts, and nothing is late.
    """

    def __init__(self, interval_seconds: float, grace_seconds: float | None) -> None:
        self._interval = interval_seconds
        self._grace = grace_seconds
        self._border = 0.0
        self._instruments = 0
        self._expired = 0.0
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def resume(self, border: float, instruments: int) -> None:
        """Go on from the last forecasts that are on the topic: what was missed since is counted too."""
        with self._lock:
            self._border, self._instruments = border, instruments

    def published(self, border: float, instruments: int, now: float) -> None:
        """Take in forecasts acknowledged at `now`; those of one border may come in parts."""
        with self._lock:
            if border > self._border:
                self._border, self._instruments = border, 0
            if border == self._border:
                self._instruments += instruments
            if border > self._expired:
                self._counts["due"] += instruments
                if self._grace is not None and now - border > self._grace:
                    self._counts["late"] += instruments

    def take(self, now: float) -> Counter[str]:
        """Return what is new by `now`: `due`, and `late` of them."""
        with self._lock:
            if self._grace is not None and self._border:
                self._expire(now - self._grace)
            counts, self._counts = self._counts, Counter()
            return counts

    def _expire(self, until: float) -> None:
        """Count the borders up to `until` that have no forecasts: as many as the last border had."""
        last = min(until, self._border + LISTED_SECONDS) // self._interval
        first = max(self._border, self._expired) // self._interval
        if last > first:
            missed = int(last - first) * self._instruments
            self._counts["due"] += missed
            self._counts["late"] += missed
            self._expired = last * self._interval
