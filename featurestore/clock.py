"""Event time of one raw partition: what is late, and up to where the past is complete."""

from typing import Literal

import msgspec

from schemas.rules import Rules

Reason = Literal["late", "future"]
"""Why an event is refused."""


class VenueClock(msgspec.Struct):
    """What one venue was heard to say; both in the partition's receive time.

    `clock_ns` is the greatest of min(event time, receive time), `heard_ns` the receive time of its
    last event-time record.
    """

    clock_ns: int
    heard_ns: int


class ClockState(msgspec.Struct):
    """All that an `EventClock` knows, for checkpoints."""

    receive_time_ns: int = 0
    watermark_ns: int = 0
    venues: dict[str, VenueClock] = msgspec.field(default_factory=dict)


class EventClock:
    """Watermark of one raw partition, from its records in offset order alone.

    A raw record is `open(receive time)`, then `observe` for each of its events that carries an
    event time (never for those with known time), then `close()`. The watermark never falls; it is
    the least clock over the venues minus the allowed lateness, where a silent venue counts as
    being at the receive time and a lagging one as at most `max_venue_lag_ns` behind it.

    >>> clock = EventClock(Rules())
    >>> clock.open(100_000_000_000)
    >>> clock.observe("binance", 99_900_000_000)
    >>> clock.close()
    97400000000
    >>> clock.open(100_100_000_000)
    >>> clock.observe("binance", 97_399_999_999)
    'late'
    """

    def __init__(self, rules: Rules, state: ClockState | None = None) -> None:
        state = ClockState() if state is None else state
        self._rules = rules
        # An idle venue this far back is forgotten: min(clock, R - lag) no longer depends on it.
        self._forget_ns = max(rules.idle_timeout_ns, rules.max_venue_lag_ns)
        self._venues = {name: VenueClock(venue.clock_ns, venue.heard_ns) for name, venue in state.venues.items()}
        self.receive_time_ns = state.receive_time_ns
        """The greatest receive time so far, the open record included (R)."""
        self.watermark_ns = state.watermark_ns
        """No event below it is accepted from the next record on (W); 0 at first."""

    def open(self, receive_time_ns: int) -> None:
        """Begin a raw record."""
        self.receive_time_ns = max(self.receive_time_ns, receive_time_ns)

    def observe(self, venue: str, event_time_ns: int) -> Reason | None:
        """Return why an event of the open record is refused, None where it is accepted.

        An event too far in the future says nothing about its venue; a late one still shows that
        its venue lives.
        """
        refusal = self.refusal(event_time_ns)
        if refusal == "future":
            return refusal
        received_ns = self.receive_time_ns
        # A clock must never pass the receive time: one venue ahead would make all others lag.
        clock_ns = min(event_time_ns, received_ns)
        heard = self._venues.get(venue)
        if heard is None:
            self._venues[venue] = VenueClock(clock_ns, received_ns)
        else:
            heard.heard_ns = received_ns
            heard.clock_ns = max(heard.clock_ns, clock_ns)
        return refusal

    def refusal(self, event_time_ns: int) -> Reason | None:
        """Return what `observe` says, without hearing anything of the event's venue."""
        if self.is_future(event_time_ns):
            return "future"
        return "late" if event_time_ns < self.watermark_ns else None

    def is_future(self, event_time_ns: int) -> bool:
        """Return whether an event is too far ahead of the open record to be believed."""
        return event_time_ns - self.receive_time_ns > self._rules.future_ns

    def close(self) -> int:
        """End the open record and return the watermark after it."""
        rules = self._rules
        received_ns = self.receive_time_ns
        slowest_ns = received_ns
        forgotten = []
        for name, venue in self._venues.items():
            silent_ns = received_ns - venue.heard_ns
            if silent_ns <= rules.idle_timeout_ns:
                slowest_ns = min(slowest_ns, max(venue.clock_ns, received_ns - rules.max_venue_lag_ns))
            elif silent_ns > self._forget_ns:
                forgotten.append(name)
        for name in forgotten:
            del self._venues[name]
        self.watermark_ns = max(self.watermark_ns, slowest_ns - rules.allowed_lateness_ns)
        return self.watermark_ns

    def state(self) -> ClockState:
        """Return a copy of all that it knows."""
        venues = {name: VenueClock(venue.clock_ns, venue.heard_ns) for name, venue in self._venues.items()}
        return ClockState(self.receive_time_ns, self.watermark_ns, venues)
