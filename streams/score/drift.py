"""Alarms of one partition: has the combination lost its skill over log-HAR, or its bands their coverage?"""

from collections.abc import Iterable, Mapping

from schemas.decisions import Drift, DriftKind
from schemas.forecasts import HorizonScore, cloud_event_headers, encode_json
from schemas.topics import OPS_DRIFT
from streams.score.cells import Waiting
from streams.score.losses import COMBINED
from streams.stage import Record
from triton_models.drift import WATCHES, Alarm, Detector, DriftState

BASE = "har"
BAND, NOMINAL = "0.9", 0.9
SKILL: DriftKind = "skill"
COVERAGE: DriftKind = "coverage"


class DriftWatch:
    """Two detectors for each horizon, over all instruments of a partition."""

    def __init__(self, horizons: Iterable[str], states: Mapping[str, DriftState] | None = None) -> None:
        known = states or {}
        self._skill = {horizon: Detector(WATCHES[horizon], known.get(f"{SKILL}|{horizon}")) for horizon in horizons}
        self._coverage = {
            horizon: Detector(WATCHES[horizon], known.get(f"{COVERAGE}|{horizon}"), expected=0.0, falls=True)
            for horizon in horizons
        }

    def states(self) -> dict[str, DriftState]:
        """Return what a checkpoint holds."""
        skill = {f"{SKILL}|{horizon}": detector.state for horizon, detector in self._skill.items()}
        return skill | {f"{COVERAGE}|{horizon}": detector.state for horizon, detector in self._coverage.items()}

    def take(self, waiting: Waiting, scores: Mapping[str, HorizonScore], partition: int) -> list[Record]:
        """Take in the scores of one outcome, and return the alarms that they give.

        Fallbacks say nothing of skill: they are log-HAR.
        """
        horizon, origin_ns, combined = waiting.horizon, waiting.origin_time_ns, scores[COMBINED]
        held = combined.coverage[BAND] - NOMINAL
        records = _records(COVERAGE, horizon, self._coverage[horizon], origin_ns, held, partition)
        if waiting.status == "model" and BASE in scores:
            regret = combined.qlike - scores[BASE].qlike
            records += _records(SKILL, horizon, self._skill[horizon], origin_ns, regret, partition)
        return records


def _records(
    kind: DriftKind, horizon: str, detector: Detector, origin_ns: int, value: float, partition: int
) -> list[Record]:
    alarm = detector.add(origin_ns, value)
    return [] if alarm is None else [_record(kind, horizon, detector, alarm, partition)]


def _record(kind: DriftKind, horizon: str, detector: Detector, alarm: Alarm, partition: int) -> Record:
    drift = Drift(
        kind=kind,
        partition=partition,
        horizon=horizon,
        as_of_ns=alarm.end_ns,
        rises=alarm.rises,
        value=alarm.value,
        reference=alarm.reference,
        statistic=alarm.statistic,
        threshold=detector.watch.threshold,
        false_alarm_days=detector.watch.false_alarm_days,
    )
    key = f"{kind}|{horizon}|{partition}"
    headers = cloud_event_headers("drift", f"{key}@{alarm.end_ns}", alarm.end_ns, key)
    return Record(OPS_DRIFT, key.encode(), encode_json(drift), headers, 0)
