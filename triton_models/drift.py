"""Drift: has something that should stay as it was left it for good? CUSUMs of block means (Page 1954).

Values of one horizon come at every origin, depend on those before and have heavy tails; means over
blocks that are longer than that dependence are near to independent and normal. A block mean is
standardised by the mean and spread of the blocks before it, cut off at 4, and what exceeds half a
standard deviation is added up. The threshold follows from how many blocks there shall be between
two false alarms in the mean; `WATCHES` says it in days, and a test measures it by simulation.
"""

from typing import NamedTuple

import msgspec

from schemas.rules import DAY_NS, HOUR_NS

ALLOWANCE = 0.5
"""Standard deviations of a block mean by which it may exceed its reference; drift of twice that is found first."""
CUT = 4.0
"""Standard deviations at which a block mean is cut off: one wild night is no drift."""
MEMORY_BLOCKS = 720
"""The reference is a mean over all blocks, later over so many: what drifts slower than that is not seen."""
LEAST_VALUES = 6
"""A block of fewer values is left out: after a gap it says little."""


class Watch(NamedTuple):
    """How one horizon is watched."""

    block_ns: int
    warm_up: int
    """Blocks from which the reference is learned before there can be an alarm."""
    threshold: float
    false_alarm_days: float
    """Mean time between two alarms of one detector where nothing drifts."""


WATCHES = {
    "1m": Watch(HOUR_NS, 48, 6.4, 30.0),
    "5m": Watch(HOUR_NS, 48, 7.2, 30.0),
    "1h": Watch(6 * HOUR_NS, 20, 4.2, 30.0),
    "1d": Watch(4 * DAY_NS, 20, 4.2, 480.0),
}
"""By horizon. A day ahead overlaps so much that a block is four days, and an alarm tells of months."""
INPUTS = Watch(DAY_NS, 20, 8.0, 30.0)
"""Of what networks read: windows of a day make values depend on those of days before."""


class DriftState(msgspec.Struct, frozen=True, array_like=True):
    """What a checkpoint holds of one detector."""

    block: int = -1
    total: float = 0.0
    count: int = 0
    """Of the block that is not over."""
    blocks: int = 0
    mean: float = 0.0
    square: float = 0.0
    """Over past blocks: mean of the block mean, and of its squared distance from the reference."""
    up: float = 0.0
    down: float = 0.0
    last_ns: int = -1
    """Origin of the last value."""


class Alarm(NamedTuple):
    """A detector left its reference."""

    rises: bool
    end_ns: int
    """The end of the block that was one too many."""
    value: float
    """The mean of that block."""
    reference: float
    statistic: float


class Detector:
    """Watches one series, given in order of origins, several values of one origin or none.

    expected: what the series should be around; None: what it was. falls: whether it may not fall either.
    least_spread: of block means, where their own is smaller; for a series that may be 0 for weeks.
    """

    def __init__(
        self,
        watch: Watch,
        state: DriftState | None = None,
        *,
        expected: float | None = None,
        falls: bool = False,
        least_spread: float = 0.0,
    ) -> None:
        self.watch = watch
        self.expected = expected
        self.falls = falls
        self.least_spread = least_spread
        self.state = state or DriftState()

    def add(self, origin_ns: int, value: float) -> Alarm | None:
        """Take in a value; return an alarm where the block before its own was one too many."""
        state, block = self.state, origin_ns // self.watch.block_ns
        alarm = None
        if block > state.block:
            alarm = self._close() if state.count >= LEAST_VALUES else None
            self.state = state = msgspec.structs.replace(self.state, block=block, total=0.0, count=0)
        self.state = msgspec.structs.replace(state, total=state.total + value, count=state.count + 1, last_ns=origin_ns)
        return alarm

    def _close(self) -> Alarm | None:
        """Take in the block that is over."""
        state, value = self.state, self.state.total / self.state.count
        reference = state.mean if self.expected is None else self.expected
        spread = max(state.square**0.5, self.least_spread)
        up, down = state.up, state.down
        if state.blocks >= self.watch.warm_up and spread > 0:
            z = min(max((value - reference) / spread, -CUT), CUT)
            up, down = max(0.0, up + z - ALLOWANCE), max(0.0, down - z - ALLOWANCE) if self.falls else 0.0
            value_kept = reference + z * spread
        else:
            value_kept = value
        alarm = None
        if max(up, down) > self.watch.threshold:
            end_ns = (state.block + 1) * self.watch.block_ns
            alarm = Alarm(up > down, end_ns, value, reference, max(up, down))
            up = down = 0.0
        self._learn(value_kept, reference, up, down)
        return alarm

    def _learn(self, value: float, reference: float, up: float, down: float) -> None:
        state = self.state
        rate = 1.0 / min(state.blocks + 1, MEMORY_BLOCKS)
        off = value - reference
        self.state = msgspec.structs.replace(
            state,
            blocks=state.blocks + 1,
            mean=state.mean + rate * (value - state.mean),
            # About the reference of before: Welford's, with a rate.
            square=(1 - rate) * (state.square + rate * off * off)
            if self.expected is None
            else state.square + rate * (off * off - state.square),
            up=up,
            down=down,
        )
