"""What verdicts come to: counted, as metrics, and told on `ops.parity`."""

import logging
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from schemas.forecasts import Parity, cloud_event_headers, encode_json
from schemas.metrics import PARITY_BEHIND, PARITY_CHECKED, PARITY_MISMATCH
from schemas.rules import SECOND_NS
from schemas.topics import FEATURE_ROW, OPS_PARITY
from streams.ends import Place
from streams.kafka import Outbox, read_topic
from streams.lag import Lag
from streams.metrics_server import Metrics
from streams.parity.checker import Difference, Verdict, difference
from streams.settings import Settings

LOGGER = logging.getLogger("foreshock.parity")
MOST_MISMATCHES = 1_000


class Tally(NamedTuple):
    """What one partition's rows came to."""

    checked: int = 0
    mismatched: int = 0
    last_ns: int = 0


class Account:
    """Counts verdicts, and tells of them: as metrics, and on `ops.parity`."""

    def __init__(self, settings: Settings, metrics: Metrics, outbox: Outbox, share: float) -> None:
        self._settings = settings
        self._metrics = metrics
        self._lag = Lag(metrics)
        self._outbox = outbox
        self._share = share
        self._told: dict[int, Tally] = {}
        self.tallies: dict[int, Tally] = {}
        self.mismatches: deque[Parity] = deque(maxlen=MOST_MISMATCHES)
        """The last of them; all are on the topic."""
        for partition in range(settings.partitions):
            metrics[PARITY_CHECKED].labels(str(partition))

    def poll(self) -> None:
        """Take in what Kafka acknowledged; raises DeliveryError."""
        self._outbox.poll()

    def tell_lag(self, place: Place, position: int, end: int) -> None:
        """Say how much of a partition is not read yet."""
        self._lag.tell(place, position, end)

    def tell_behind(self, partition: int, behind_ns: int) -> None:
        """Say how far what is recomputed is behind the rows of the topic."""
        self._metrics[PARITY_BEHIND].labels(str(partition)).set(behind_ns / SECOND_NS)

    def take(self, verdicts: Iterable[Verdict]) -> None:
        """Count verdicts and publish those that are mismatches."""
        for verdict in verdicts:
            partition = verdict.partition
            checked, mismatched, last_ns = self.tallies.get(partition, Tally())
            last_ns = max(last_ns, verdict.row_time_ns)
            self.tallies[partition] = Tally(checked + 1, mismatched + bool(verdict.reason), last_ns)
            self._metrics[PARITY_CHECKED].labels(str(partition)).inc()
            if verdict.reason:
                self._metrics[PARITY_MISMATCH].labels(str(partition), verdict.reason).inc()
                self._tell_mismatch(verdict)

    def _tell_mismatch(self, verdict: Verdict) -> None:
        found = self._difference(verdict)
        record = Parity(
            kind="mismatch",
            partition=verdict.partition,
            row_time_ns=verdict.row_time_ns,
            share=self._share,
            row_id=verdict.row_id,
            offset=verdict.offset,
            reason=verdict.reason,
            values=found.values,
            instruments=found.instruments,
            columns=found.columns,
        )
        LOGGER.error("%s[%d]@%d: %s", FEATURE_ROW, verdict.partition, verdict.offset, verdict.reason)
        self.mismatches.append(record)
        self._send(record, f"{verdict.row_id}/{verdict.offset}")

    def _difference(self, verdict: Verdict) -> Difference:
        expected = verdict.recomputed
        if expected is None and verdict.first_offset >= 0:
            expected = self._row_at(verdict.partition, verdict.first_offset)
        if expected is None or verdict.offset < 0:
            return Difference(0, [], [])
        return difference(expected, self._row_at(verdict.partition, verdict.offset))

    def _row_at(self, partition: int, offset: int) -> bytes:
        for row in read_topic(self._settings, FEATURE_ROW, partitions=[partition], start={partition: offset}):
            return row.value or b""
        return b""

    def summarise(self) -> None:
        """Publish how far each partition is, where that is news."""
        for partition, tally in sorted(self.tallies.items()):
            if self._told.get(partition) == tally:
                continue
            self._told[partition] = tally
            checked, mismatched, last_ns = tally
            record = Parity(
                kind="summary",
                partition=partition,
                row_time_ns=last_ns,
                share=self._share,
                checked=checked,
                mismatched=mismatched,
            )
            self._send(record, f"{partition}@{last_ns}")

    def _send(self, record: Parity, event_id: str) -> None:
        headers = cloud_event_headers("parity", event_id, record.row_time_ns, str(record.partition))
        self._outbox.send(OPS_PARITY, encode_json(record), key=str(record.partition).encode(), headers=headers)
