"""What `EventClock` decides, for many records at once: the same numbers by columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featurestore.clock import ClockState, VenueClock
from schemas import Rules

Times = NDArray[np.int64]

_NEVER = -(1 << 61)


@dataclass(frozen=True)
class Judged:
    """The clock of one raw partition over n records of one event each.

    `receive_times` (n,): R at each record. `watermarks` (n + 1,): W before the first, and after each.
    `usual`: so many records from the first on are accepted, and leave every venue known; what comes
    then is for `EventClock` to say.
    """

    receive_times: Times
    watermarks: Times
    usual: int
    _clocks: dict[str, tuple[Times, Times]]

    def state(self, count: int) -> ClockState:
        """Return the clock's state after the first `count` records, of which there is at least one."""
        venues = {
            name: VenueClock(int(clock[count - 1]), int(heard[count - 1]))
            for name, (clock, heard) in self._clocks.items()
            if heard[count - 1] > _NEVER
        }
        return ClockState(int(self.receive_times[count - 1]), int(self.watermarks[count]), venues)


def judge(
    state: ClockState, rules: Rules, received: Times, times: Times, venues: Sequence[str], codes: NDArray[np.intp]
) -> Judged:
    """Return what the clock says of records, from `state` on.

    `received`, `times` (n,): receive time, and event time or 0 where the event carries none.
    `codes` (n,): index into `venues`, any other number where a record has no event.
    """
    receive_times = np.maximum.accumulate(np.maximum(received, state.receive_time_ns))
    timed = times > 0
    least = receive_times - rules.max_venue_lag_ns
    slowest = receive_times.copy()
    forget_ns = max(rules.idle_timeout_ns, rules.max_venue_lag_ns)
    gone = np.zeros(len(times), np.bool_)
    sent = {name: timed & (codes == index) for index, name in enumerate(venues)}
    nothing = np.zeros(len(times), np.bool_)
    clocks = {}
    # New venues in the order in which they are heard first, as a clock comes to know them.
    for name in (*state.venues, *sorted(sent.keys() - state.venues.keys(), key=lambda name: int(sent[name].argmax()))):
        clock, heard = clocks[name] = _venue(state.venues.get(name), sent.get(name, nothing), times, receive_times)
        silent = receive_times - heard
        lively = silent <= rules.idle_timeout_ns
        np.minimum(slowest, np.maximum(clock, least), out=slowest, where=lively)
        gone |= (silent > forget_ns) & (heard > _NEVER)
    watermarks = np.maximum.accumulate(np.concatenate([[state.watermark_ns], slowest - rules.allowed_lateness_ns]))
    refused = timed & ((times < watermarks[:-1]) | (times - receive_times > rules.future_ns))
    unusual = np.flatnonzero(gone | refused)
    return Judged(receive_times, watermarks, int(unusual[0]) if len(unusual) else len(times), clocks)


def _venue(
    known: VenueClock | None, mine: NDArray[np.bool_], times: Times, receive_times: Times
) -> tuple[Times, Times]:
    """Return a venue's clock, and when it was heard last, after each record; `mine`: those that it sent."""
    clock = np.where(mine, np.minimum(times, receive_times), _NEVER)
    heard = np.where(mine, receive_times, _NEVER)
    if known is not None:
        clock[0] = max(clock[0], known.clock_ns)
        heard[0] = max(heard[0], known.heard_ns)
    return np.maximum.accumulate(clock), np.maximum.accumulate(heard)
