"""Bugs planted in the stages, one at a time, that a simulated history has to find."""

from collections.abc import Callable
from typing import Any

import msgspec
from pytest import MonkeyPatch  # noqa: PT013  # the type of an argument

from schemas.topics import FORECAST_LATEST
from streams import runner, watchdog
from streams.checkpoints import CheckpointStore, _Manifest
from streams.infer.forecaster import Forecaster
from streams.infer.stage import InferStage
from streams.runner import StageRunner
from streams.simulation.faults import STAGES, Fault, Kind
from streams.stage import Record

Planted = Callable[[MonkeyPatch], None]

PLANTED: dict[str, Planted] = {}


def often(kind: Kind, stage: str, size: float, more: float = 0.0) -> list[Fault]:
    """Return the same fault six times over two seconds, each larger by `more`."""
    return [Fault(round(0.4 + 0.35 * number, 2), kind, stage, size + more * number) for number in range(6)]


TROUBLE: dict[str, list[Fault]] = {
    "commits_before_acknowledgement": [],
    "takes_repeats_for_new": often("rebalance", "infer", 1),
    "writes_the_manifest_first": [
        Fault(0.3, "slow-log", "score", 2.5),
        *(each for stage in STAGES[1:] for each in often("kill", stage, 17, 4)),
    ],
    "lets_zombies_write": [Fault(0.9, "freeze", "infer", 1.6), Fault(1.5, "freeze", "infer", 1.2)],
    "resumes_from_the_end": often("kill", "featurize", 20),
    "tells_old_forecasts_as_latest": often("rebalance", "infer", 1),
    "leaves_a_gap_when_inference_fails": [Fault(0.5, "triton", "infer", 2.0, "failing")],
}
"""Planted bug to the faults that bring it out."""


def bug(plant: Planted) -> Planted:
    PLANTED[plant.__name__] = plant
    return plant


@bug
def commits_before_acknowledgement(patch: MonkeyPatch) -> None:
    """What a checkpoint will cover is committed before it is written."""
    take = StageRunner._take_checkpoint

    async def taken(self: StageRunner, lease: Any, *, commit: bool) -> None:
        ahead = self.stage.checkpoint(lease.partition) if lease.ready else None
        if ahead is not None and commit:
            await self._source.commit({(topic, lease.partition): at for topic, at in ahead.resume.items()})
        await take(self, lease, commit=commit)

    patch.setattr(StageRunner, "_take_checkpoint", taken)


@bug
def takes_repeats_for_new(patch: MonkeyPatch) -> None:
    """Rows that a restart reads again get their forecasts again."""
    patch.setattr(Forecaster, "_is_emitted", lambda self, instrument, origin_ns: False)


@bug
def writes_the_manifest_first(patch: MonkeyPatch) -> None:
    """A checkpoint is listed before it is there."""

    async def saved(self: CheckpointStore, partition: int, blob: bytes, check: Any, resume: Any = None) -> None:
        self._number += 1
        chunks = self._chunks(partition, blob)
        listed = [chunk for chunk, _ in chunks]
        manifest = _Manifest(self._epochs.setdefault(partition, 1), self._number, listed, dict(resume or {}))
        check()
        await self._log.write(partition, self._manifest_key(partition), msgspec.json.encode(manifest))
        for chunk, piece in chunks:
            check()
            await self._log.write(partition, chunk.key.encode(), piece)
        self._last[partition] = listed
        await self._delete_stale(partition)

    patch.setattr(CheckpointStore, "save", saved)


@bug
def lets_zombies_write(patch: MonkeyPatch) -> None:
    """A process that stood still, or lost its partitions, goes on as if nothing had been."""
    patch.setattr(watchdog.Pulse, "check", lambda self: None)
    patch.setattr(runner._Lease, "check", lambda self: None)
    patch.setattr(InferStage, "revoked", lambda self, partition: None)


@bug
def resumes_from_the_end(patch: MonkeyPatch) -> None:
    """After a restart reading goes on where the log ends, not where the checkpoint says."""
    start = StageRunner._start

    async def started(self: StageRunner, partition: int, resume: Any) -> Any:
        return await start(self, partition, dict.fromkeys(self.stage.topics, -1) if resume else resume)

    patch.setattr(StageRunner, "_start", started)


@bug
def tells_old_forecasts_as_latest(patch: MonkeyPatch) -> None:
    """A restart writes all that it finds of its own output to the latest ones, the newest first."""
    recall = Forecaster.recall

    def recalled(self: InferStage, partition: int, state: Any) -> list[Record]:
        from schemas.forecasts import Forecast, decode_json
        from schemas.topics import FORECAST
        from streams.kafka import read_topic

        found = list(read_topic(self._outlet.settings, FORECAST, partitions=[partition]))
        for message in found:
            recall(state.forecaster, decode_json(message.value or b"", Forecast))
        return [Record(FORECAST_LATEST, m.key, m.value, m.headers, partition) for m in reversed(found)]

    patch.setattr(InferStage, "_recall", recalled)


@bug
def leaves_a_gap_when_inference_fails(patch: MonkeyPatch) -> None:
    """Without an answer of Triton there is no forecast at all."""
    settle = Forecaster.settle

    def settled(self: Forecaster, batch: Any, answers: Any, reason: str = "") -> list[Record]:
        records = settle(self, batch, answers, reason)
        return [] if reason else records

    patch.setattr(Forecaster, "settle", settled)
