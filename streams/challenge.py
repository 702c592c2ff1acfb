"""Losses of a version in shadow less those of the active one, from the scores on the topic."""

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from confluent_kafka import TopicPartition

from schemas.decisions import Loss
from schemas.errors import DecodeError
from schemas.forecasts import ForecastScore, HorizonScore, decode_json
from schemas.tensors import HORIZONS
from schemas.topics import FORECAST_SCORE
from streams.infer.models import NETWORKS
from streams.kafka import DEADLINE_SECONDS, consumer, partition_counts, read_topic
from streams.settings import Settings
from triton_models.evaluation.promotion import LOSSES, STEP_NS

Floats = npt.NDArray[np.float64]
_TELL_EVERY = 20_000
_CLOCKS_MS = 600_000
"""How far the clocks of who decided and who scored may be apart."""


class Differences:
    """Per horizon, loss and origin the mean over instruments of the networks' loss less the active networks'.

    Of a version, an instrument's loss is the mean of its networks' losses.
    """

    def __init__(self, profile: str, version: str, since_ns: int) -> None:
        self.horizons = HORIZONS[profile]
        self._shadows = tuple(f"{network}@{version}" for network in NETWORKS)
        self._since_ns = since_ns
        self._last: dict[tuple[str, str], int] = {}
        self._sums: defaultdict[tuple[str, Loss], dict[int, tuple[float, int]]] = defaultdict(dict)

    def add(self, score: ForecastScore) -> None:
        """Take in one score; a repeated one, and one without the version in shadow, changes nothing."""
        origin_ns, horizon = score.origin_time_ns, score.horizon
        if origin_ns < self._since_ns or origin_ns % STEP_NS[horizon]:
            return
        active, shadow = (_known(score, names) for names in (NETWORKS, self._shadows))
        place = score.instrument_id, horizon
        if not (active and shadow) or self._last.get(place, -1) >= origin_ns:
            return
        self._last[place] = origin_ns
        for loss in LOSSES:
            total, count = self._sums[horizon, loss].get(origin_ns, (0.0, 0))
            difference = _mean(shadow, loss) - _mean(active, loss)
            self._sums[horizon, loss][origin_ns] = total + difference, count + 1

    def series(self) -> dict[tuple[str, Loss], Floats]:
        """Return differences (N,) on each horizon's grid of origins, NaN where nothing was scored."""
        return {(horizon, loss): self._series(horizon, loss) for horizon in self.horizons for loss in LOSSES}

    def _series(self, horizon: str, loss: Loss) -> Floats:
        found = self._sums[horizon, loss]
        if not found:
            return np.empty(0)
        step, first = STEP_NS[horizon], min(found)
        series = np.full((max(found) - first) // step + 1, np.nan)
        for origin_ns, (total, count) in found.items():
            series[(origin_ns - first) // step] = total / count
        return series


def differences(
    settings: Settings, version: str, since_ns: int, written_ms: int, tell: Callable[[int], None] = lambda _: None
) -> Differences:
    """Return what the topic says of a version in shadow for origins from `since_ns` on.

    written_ms: when the shadow was decided; what was written before is not read. `tell` is called
    with how many scores were read.
    """
    found = Differences(settings.profile, version, since_ns)
    for number, score in enumerate(_scores(settings, written_ms)):
        found.add(score)
        if number % _TELL_EVERY == 0:
            tell(number)
    return found


def _scores(settings: Settings, written_ms: int) -> Iterator[ForecastScore]:
    for message in read_topic(settings, FORECAST_SCORE, start=_starts(settings, written_ms)):
        if message.value is not None:
            try:
                yield decode_json(message.value, ForecastScore)
            except DecodeError as error:
                raise error.at(f"{message.topic}[{message.partition}]@{message.offset}") from None


def _starts(settings: Settings, written_ms: int) -> dict[int, int]:
    """Return per partition the first offset that was written at a time or later."""
    count = partition_counts(settings, [FORECAST_SCORE])[FORECAST_SCORE]
    reader = consumer(settings, "foreshock-reader")
    try:
        places = [
            TopicPartition(FORECAST_SCORE, partition, max(0, written_ms - _CLOCKS_MS)) for partition in range(count)
        ]
        found = reader.offsets_for_times(places, timeout=DEADLINE_SECONDS)
    finally:
        reader.close()
    # -1: nothing was written since; then the end, which is behind every offset.
    return {place.partition: place.offset if place.offset >= 0 else 2**62 for place in found}


def _known(score: ForecastScore, experts: tuple[str, ...]) -> list[HorizonScore]:
    """Return the scores of all of some experts; none where one is missing."""
    found = [score.scores[name] for name in experts if name in score.scores]
    return found if len(found) == len(experts) else []


def _mean(scores: list[HorizonScore], loss: Loss) -> float:
    return float(sum(getattr(one, loss) for one in scores)) / len(scores)
