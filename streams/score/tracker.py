"""Online calibration of one instrument and horizon, from outcomes in the order of their time.

The outer quantiles are tracked (Angelopoulos, Candes and Tibshirani 2023): each outcome moves the
shift of a quantile by `RATE` times how far its frequency of misses is from what it should be. An
outcome comes a horizon late, and hundreds of forecasts were made meanwhile with the old shift. So
it is compared not with the quantile that was published, but with what the present shift would
have made of it: otherwise the same news would be learned again and again, and the shift overshoot.
"""

import math

import msgspec

from schemas.forecasts import Calibration, HorizonScore

RATE = 0.02
MISS_RATIO = 0.05
"""Share of outcomes that should lie beyond each of the outer quantiles."""
LARGEST_SHIFT = 3.0
"""Bound of a shift, in log variance: a factor of twenty."""
DECAY = 0.5 ** (1 / 500)
"""An expert's losses count half after 500 outcomes."""
SHARPNESS = 50.0
"""How strongly a lower mean loss is rewarded: 0.01 less is worth 1.6 times the weight."""
TRUST_AFTER = 200.0
"""So many outcomes until that reward is half of what it will be."""
LEAST_WEIGHT = 0.05
QLIKE_SHARE, QLIKE_LIMIT = 0.25, 4.0
"""Weight of QLIKE beside pinball in an expert's loss, and the most that one outcome may add."""


class Tracker(msgspec.Struct):
    """State of one instrument and horizon."""

    low: float = 0.0
    high: float = 0.0
    count: int = 0
    covered: int = 0
    losses: dict[str, float] = {}
    compared: int = 0
    """Outcomes by which experts could be compared: those of forecasts that all of them made."""

    def observe(self, y: float, low: float, high: float, *, covered: bool) -> None:
        """Take in a log outcome, the logs of the outer quantiles before any shift, and whether the band held it."""
        self.low = _bounded(self.low - RATE * ((y < low + self.low) - MISS_RATIO))
        self.high = _bounded(self.high + RATE * ((y > high + self.high) - MISS_RATIO))
        self.count += 1
        self.covered += covered

    def compare(self, scores: dict[str, HorizonScore]) -> None:
        """Take in the scores of all experts for one outcome."""
        total = _weight(self.compared)
        for name, one in scores.items():
            loss = one.pinball + QLIKE_SHARE * min(one.qlike, QLIKE_LIMIT)
            before = self.losses.get(name, 0.0)
            self.losses[name] = (before * total * DECAY + loss) / (total * DECAY + 1)
        self.compared += 1

    def weights(self) -> dict[str, float]:
        """Return the experts' weights: exponential in their mean losses, none below the least."""
        if not self.losses:
            return {}
        sharpness = SHARPNESS * self.compared / (self.compared + TRUST_AFTER)
        best = min(self.losses.values())
        raw = {name: math.exp(-sharpness * (loss - best)) for name, loss in self.losses.items()}
        free = 1 - LEAST_WEIGHT * len(raw)
        total = sum(raw.values())
        return {name: LEAST_WEIGHT + free * value / total for name, value in raw.items()}

    def record(self, instrument: str, horizon: str, as_of_ns: int) -> Calibration:
        """Return the state as a record."""
        return Calibration(
            instrument_id=instrument,
            horizon=horizon,
            as_of_ns=as_of_ns,
            shift=(self.low, self.high),
            coverage_ratio=self.covered / self.count,
            count=self.count,
            weights=self.weights(),
        )


def _bounded(shift: float) -> float:
    return min(max(shift, -LARGEST_SHIFT), LARGEST_SHIFT)


def _weight(outcomes: int) -> float:
    """Return the total weight of so many past outcomes."""
    return float((1 - DECAY**outcomes) / (1 - DECAY))
