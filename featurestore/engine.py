"""Events of one canonical partition to tiles to feature rows: DESIGN section 4, pure.

The engine knows no broker and no clock. It is given canonical messages and market parts in log
order, and returns row messages and its own market parts; what it returns depends on the sets of
events alone, never on how their reading was interleaved, cut into calls or interrupted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from featurestore.announced import FeatureSets
from featurestore.catalogue import Catalogue
from featurestore.checkpoint import EngineState, decode_state, encode_state
from featurestore.closing import Closing, Output
from featurestore.parts import check_part
from featurestore.pending import Pending
from featurestore.progress import Stamp, TopicProgress
from featurestore.tiler import Tiler
from featurestore.tiles import SPAN_TILES
from schemas import EVENTS, DecodeError, Rules, StateError
from schemas.batches import PROGRESS, EventBatch, decode_batch
from schemas.forecasts import Announcement, MarketPart, decode_json
from schemas.instruments import is_option
from schemas.topics import FED_BY, MARKET_STATE

__all__ = ["Checkpoint", "Output", "PartitionEngine", "TileWatcher"]

TileWatcher: TypeAlias = Callable[[Tiler, int, int], None]
"""Is given the tiles up to now, and the first and last + 1 of those that closed."""


@dataclass(frozen=True)
class Checkpoint:
    """State of an engine, and the offsets from which its input topics go on.

    A topic that is missing in `resume` goes on from its beginning.
    """

    resume: dict[str, int]
    blob: bytes


class PartitionEngine:
    """Tiles, features and rows of one canonical partition.

    `announcements` are those of the log in the order of their offsets; none: the whole catalogue
    is in force from the beginning. Raises StateError where the code has not what they announce.
    """

    def __init__(
        self,
        partition: int,
        rules: Rules,
        catalogue: Catalogue,
        announcements: Sequence[Announcement] = (),
        *,
        blob: bytes | None = None,
    ) -> None:
        """Begin with an empty state, or with that of a checkpoint's `blob`."""
        state = None if blob is None else decode_state(blob, rules.rules_id, partition)
        self.partition = partition
        self._rules = rules
        self._sets = FeatureSets(catalogue, rules, announcements, None if state is None else state.announcement)
        topics = {} if state is None else state.topics
        self._topics = {
            topic: TopicProgress(topic, rules.raw_partitions[raw], topics.get(topic))
            for topic, raw in FED_BY.items()
            if raw in rules.raw_partitions
        }
        self._pending = Pending()
        self._early_parts: list[tuple[int, MarketPart]] = []
        self._market_resume = 0 if state is None else state.market_resume
        self._closing: Closing | None = None
        if state is not None and state.tiles is not None:
            self._sets.check_next(state.tiles.closed * rules.tile_interval_ns)
            self._closing = Closing.restored(state.tiles, partition, rules, self._sets)
        self._watcher: TileWatcher | None = None
        self._allowed: int | None = None
        self.repeated_events = 0
        """Events skipped since the start because their stamps were applied before."""

    @classmethod
    def restore(
        cls,
        blob: bytes,
        partition: int,
        rules: Rules,
        catalogue: Catalogue,
        announcements: Sequence[Announcement] = (),
    ) -> "PartitionEngine":
        """Return the engine of a checkpoint; raises StateError where it does not fit."""
        return cls(partition, rules, catalogue, announcements, blob=blob)

    @property
    def resume(self) -> dict[str, int]:
        """Return the offset of each input topic from which a restart has to read."""
        offsets = {topic: progress.resume for topic, progress in self._topics.items() if progress.next_offset}
        market = self._early_parts[0][0] if self._early_parts else self._market_resume
        return {**offsets, MARKET_STATE: market} if market else offsets

    @property
    def backlog(self) -> int:
        """Return the number of row borders whose events are all here, without their row.

        Where it stays above 0 after `advance`, parts of the market are missing, and reading more
        events only fills the memory.
        """
        if self._closing is None:
            return 0
        complete = max(self._closing.head, self._target() or 0)
        return self._closing.borders_up_to(complete)

    @property
    def pending_events(self) -> int:
        """Return the number of events held in open tiles."""
        return self._pending.events

    @property
    def closed_ns(self) -> int | None:
        """Return the border up to which tiles are closed."""
        return None if self._closing is None else self._closing.head * self._rules.tile_interval_ns

    @property
    def row_border_ns(self) -> int | None:
        """Return the border up to which rows are written, where there were any to write."""
        return None if self._closing is None else self._closing.row_border_ns

    def watermarks_ns(self) -> dict[str, int | None]:
        """Return the least watermark of each event topic; None where a raw partition was not heard."""
        return {topic: progress.watermark_ns() for topic, progress in self._topics.items()}

    def watch_tiles(self, watcher: TileWatcher) -> None:
        """Have `watcher` called after each block of tiles that closes, with its first and last tile + 1."""
        self._watcher = watcher

    def allow(self, until_ns: int | None) -> None:
        """Close no tile from `until_ns` on, where a set may yet be announced; None: whatever is complete."""
        self._allowed = None if until_ns is None else until_ns // self._rules.tile_interval_ns

    @property
    def complete_ns(self) -> int | None:
        """Return the border up to which all events are here; None where a raw partition was not heard."""
        target = self._target()
        return None if target is None else target * self._rules.tile_interval_ns

    @property
    def waits_to_be_allowed(self) -> bool:
        """Return whether tiles could close that `allow` keeps open."""
        target, closing = self._target(), self._closing
        return closing is not None and target is not None and closing.head < target != self._limited(target)

    def announce(self, announcement: Announcement) -> None:
        """Take a new feature set from its border on; raises StateError where that has passed."""
        self._sets.add(announcement)
        self._sets.check_next(self.closed_ns or 0)

    def apply(self, topic: str, offset: int, headers: Mapping[str, bytes], value: bytes | None) -> None:
        """Take in one message of this partition.

        Raises DecodeError for bytes that are none, with the state as it was; StateError for a
        market part that was made under other rules.
        """
        try:
            if topic == MARKET_STATE:
                self._apply_part(offset, headers, value or b"")
            else:
                self._apply_events(self._topics[topic], topic, offset, headers, value or b"")
        except DecodeError as error:
            raise error.at(f"{topic}[{self.partition}]@{offset}") from None

    def _apply_events(
        self, progress: TopicProgress, topic: str, offset: int, headers: Mapping[str, bytes], value: bytes
    ) -> None:
        if offset < progress.next_offset:
            return
        record, raw, told = progress.header(headers)
        if record == PROGRESS:
            progress.applied(offset, record, raw, progress=told)
            return
        batch = decode_batch(value)
        if batch.record != record or EVENTS[record].topic != topic:
            problem = f"expected a record of {topic}, got {batch.record!r} as {record!r}"
            raise DecodeError(problem, path="headers.record")
        stamp, last_ns = self._hold(batch, raw, progress.stamp(record, raw))
        progress.applied(offset, record, raw, stamp=stamp, last_tile_time_ns=last_ns, progress=told)

    def _hold(self, batch: EventBatch, raw: int, seen: Stamp) -> tuple[Stamp | None, int]:
        """Hold the batch's new events of open tiles; return its new stamp and their last tile time."""
        if not len(batch):
            return None, -1
        offsets, indices = batch.numbers("raw_offset"), batch.numbers("raw_index")
        _check_stamps(batch.numbers("raw_partition"), offsets, indices, raw)
        last = int(offsets[-1]), int(indices[-1])
        if last <= seen:
            self.repeated_events += len(batch)
            return None, -1
        times = batch.numbers("tile_time_ns")
        first_ns, last_ns = int(times.min()), int(times.max())
        closed_ns = first_ns if self.closed_ns is None else self.closed_ns
        rowless = _of_options(batch)
        if rowless is None and (int(offsets[0]), int(indices[0])) > seen and first_ns >= closed_ns:
            self._pending.add(batch.record, batch.to_arrow(), (first_ns, last_ns))
            return last, last_ns
        taken = (offsets > seen[0]) | ((offsets == seen[0]) & (indices > seen[1]))
        self.repeated_events += len(batch) - int(taken.sum())
        # Events of closed tiles are read again after a restart; they were counted then.
        taken &= times >= closed_ns
        if rowless is not None:
            taken &= ~rowless
        if not taken.any():
            return last, -1
        kept = times[taken]
        last_ns = int(kept.max())
        self._pending.add(batch.record, batch.to_arrow().filter(pa.array(taken)), (int(kept.min()), last_ns))
        return last, last_ns

    def _apply_part(self, offset: int, headers: Mapping[str, bytes], value: bytes) -> None:
        if offset < self._market_resume:
            return
        rules_id = headers.get("rules_id", b"").decode("ascii", "replace")
        if rules_id != self._rules.rules_id:
            raise StateError(
                f"{MARKET_STATE}[{self.partition}]@{offset} was written under rules {rules_id!r}, this worker has "
                f"{self._rules.rules_id}: let the workers of the old rules drain the topics, then use new topics"
            )
        part = decode_json(value, MarketPart)
        check_part(part, self._rules.partitions, self._rules.tile_interval_ns)
        self._market_resume = offset + 1
        if self._closing is None:
            # Where parts begin follows from the first row, which is not known yet.
            self._early_parts.append((offset, part))
        else:
            self._closing.market.apply(part)

    def advance(self, limit: int | None = None) -> list[Output]:
        """Close what can be closed and return market parts and rows, in order.

        `limit`: return once at least so many outputs are there; call again for the rest.
        """
        target = self._target()
        outputs: list[Output] = []
        if target is None:
            return outputs
        closing = self._closing or self._begin(target)
        while limit is None or len(outputs) < limit:
            outputs += closing.write_rows()
            head = closing.head
            if not closing.close(self._limited(target), self._pending, outputs):
                break
            if closing.head > head:
                if self._watcher is not None and closing.head - head <= SPAN_TILES:
                    self._watcher(closing.tiler, head, closing.head)
                for progress in self._topics.values():
                    progress.forget(closing.head * self._rules.tile_interval_ns)
        return outputs

    def _limited(self, target: int) -> int:
        return target if self._allowed is None else min(target, self._allowed)

    def _target(self) -> int | None:
        """Return the tile up to which all raw partitions are complete."""
        watermarks = [progress.watermark_ns() for progress in self._topics.values()]
        known = [watermark for watermark in watermarks if watermark is not None]
        return min(known) // self._rules.tile_interval_ns if len(known) == len(watermarks) else None

    def _begin(self, target: int) -> Closing:
        step = self._rules.row_interval_ns
        firsts = [first for progress in self._topics.values() if (first := progress.first_ns()) is not None]
        first_row_ns = max(firsts) // step * step + step
        first_ns = self._pending.first_ns()
        # Parts join each other from the border before the first row on.
        start = min(target, (first_row_ns - step) // self._rules.tile_interval_ns)
        if first_ns is not None:
            start = min(start, first_ns // self._rules.tile_interval_ns)
        self._closing = Closing(self.partition, self._rules, self._sets, start, first_row_ns)
        for _, part in self._early_parts:
            self._closing.market.apply(part)
        self._early_parts.clear()
        return self._closing

    def checkpoint(self) -> Checkpoint:
        """Return the state as it is, with all outputs so far counted as written."""
        for progress in self._topics.values():
            progress.forget(self.closed_ns or 0)
        state = EngineState(
            self.partition,
            self._rules.rules_id,
            self._sets.current,
            {topic: progress.state() for topic, progress in self._topics.items()},
            self.resume.get(MARKET_STATE, 0),
            None if self._closing is None else self._closing.state(),
        )
        return Checkpoint(self.resume, encode_state(state))


def _of_options(batch: EventBatch) -> NDArray[np.bool_] | None:
    """Return which events are books, quotes or trades of options, which make no rows; None: there is none.

    A chain of a thousand options would be a thousand rows; their summaries are events of the underlying.
    """
    if EVENTS[batch.record].of_underlying:
        return None
    codes, names = batch.codes("instrument_id")
    options = np.array([is_option(name) for name in names], np.bool_)
    return options[codes] if options.any() else None


def _check_stamps(
    partitions: NDArray[np.int16], offsets: NDArray[np.int64], indices: NDArray[np.int32], raw: int
) -> None:
    """Raise DecodeError where stamps are of another raw partition than the header's, or do not rise."""
    if (partitions != raw).any():
        raise DecodeError(f"expected events of raw partition {raw} alone", path="$.raw_partition")
    if (offsets[1:] > offsets[:-1]).all():
        return
    rises = (offsets[1:] > offsets[:-1]) | ((offsets[1:] == offsets[:-1]) & (indices[1:] > indices[:-1]))
    if not rises.all():
        raise DecodeError("expected stamps that rise", path="$.raw_offset")
