"""Alarms of one partition: is the skill over log-HAR lost, the bands' coverage, or what training has seen?"""

from collections.abc import Iterable, Mapping

from schemas.decisions import Drift, DriftKind
from schemas.forecasts import HorizonScore, cloud_event_headers, encode_json
from schemas.rows import Rows
from schemas.rules import MINUTE_NS
from schemas.topics import OPS_DRIFT
from streams.score.cells import Waiting
from streams.score.inputs import Range
from streams.score.losses import COMBINED
from streams.stage import Record
from triton_models import drift as watches
from triton_models.drift import WATCHES, Alarm, Detector, DriftState

BASE = "har"
BAND, NOMINAL = "0.9", 0.9
SKILL: DriftKind = "skill"
COVERAGE: DriftKind = "coverage"
INPUTS: DriftKind = "inputs"
EVERY_NS = 5 * MINUTE_NS
"""Inputs are looked at in rows on these borders."""
LEAST_SPREAD = 0.01
"""A share of values beyond training's range that moves by less than a hundredth is no matter."""


class DriftWatch:
    """Two detectors for each horizon, and one of inputs, over all instruments of a partition."""

    def __init__(
        self,
        horizons: Iterable[str],
        states: Mapping[str, DriftState] | None = None,
        trained_on: Range | None = None,
    ) -> None:
        """Go on from `states`; without `trained_on` inputs are not watched."""
        known = states or {}
        self._trained_on = trained_on
        self._inputs = Detector(watches.INPUTS, known.get(INPUTS), least_spread=LEAST_SPREAD)
        self._skill = {horizon: Detector(WATCHES[horizon], known.get(f"{SKILL}|{horizon}")) for horizon in horizons}
        self._coverage = {
            horizon: Detector(WATCHES[horizon], known.get(f"{COVERAGE}|{horizon}"), expected=0.0, falls=True)
            for horizon in horizons
        }

    def states(self) -> dict[str, DriftState]:
        """Return what a checkpoint holds."""
        skill = {f"{SKILL}|{horizon}": detector.state for horizon, detector in self._skill.items()}
        coverage = {f"{COVERAGE}|{horizon}": detector.state for horizon, detector in self._coverage.items()}
        return skill | coverage | {INPUTS: self._inputs.state}

    def take_row(self, rows: Rows) -> list[Record]:
        """Take in a row message, one that was read before for nothing, and return the alarm that it gives."""
        time_ns = rows.header.row_time_ns
        if self._trained_on is None or time_ns % EVERY_NS or time_ns <= self._inputs.state.last_ns:
            return []
        share = self._trained_on.beyond(rows)
        return [] if share is None else _records(INPUTS, "", self._inputs, time_ns, share, rows.header.partition)

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
