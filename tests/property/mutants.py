"""Every rule of time and state left out, one at a time, as a small change of the code that keeps it.

A mutant is given a MonkeyPatch, and leaves out its rule alone. Where the rule is one of the
process around the pure code (what is acknowledged before what), the simulated process is changed.
"""

import random
from collections.abc import Callable
from typing import Any

import histories
import msgspec
import numpy as np
import pyarrow as pa
from histories import INPUTS, Featurizer
from pytest import MonkeyPatch  # noqa: PT013  # the type of an argument
from world import RULES

from featurestore import closing, tiles
from featurestore.checkpoint import decode_state
from featurestore.clock import EventClock
from featurestore.closing import Closing, Output
from featurestore.engine import PartitionEngine
from featurestore.parts import Market
from featurestore.pending import Events
from featurestore.progress import TopicProgress
from featurestore.rowmaking import RowMaker
from featurestore.spaces import UNSEEN
from featurestore.tiler import Tiler
from featurestore.tiles import NEVER
from schemas.batches import PROGRESS, EventBatch, Progress, message_headers
from schemas.topics import FEATURE_ROW, LATE_EVENT, MARKET_STATE
from streams.checkpoints import CheckpointStore
from streams.ingest import normaliser
from streams.ingest.normaliser import Normaliser
from streams.stage import Record

Mutant = Callable[[MonkeyPatch], None]

MUTANTS: dict[str, Mutant] = {}
"""By name, in the order of the two tables."""


def leaves_out(mutant: Mutant) -> Mutant:
    """Add a mutant under the name of its function."""
    MUTANTS[mutant.__name__] = mutant
    return mutant


# How lateness is decided.


@leaves_out
def lateness_from_the_merged_log(patch: MonkeyPatch) -> None:
    """Ingest refuses nothing for being late; featurize does, by the order of what it reads."""

    class Believing(EventClock):
        def observe(self, venue: str, event_time_ns: int) -> Any:
            reason = super().observe(venue, event_time_ns)
            return None if reason == "late" else reason

    hold = PartitionEngine._hold

    def held(self: PartitionEngine, batch: EventBatch, raw: int, seen: Any) -> Any:
        clock = self.__dict__.setdefault("merged_clock", EventClock(RULES))
        rows = batch.to_arrow()
        taken = []
        for event in rows.to_pylist():
            clock.open(event["receive_time_ns"])
            timeless = event["tile_time_ns"] != event["event_time_ns"]
            taken.append(timeless or clock.observe(event["venue"], event["event_time_ns"]) is None)
            clock.close()
        return hold(self, EventBatch(batch.record, rows.filter(pa.array(taken, pa.bool_()))), raw, seen)

    patch.setattr(normaliser, "EventClock", Believing)
    patch.setattr(PartitionEngine, "_hold", held)


@leaves_out
def heartbeats_by_wall_clock(patch: MonkeyPatch) -> None:
    """A process that lags behind its log takes the time of now for that of its records."""
    feed = histories._feed
    draw = random.Random("lag")

    def fed(worker: Any, log: Any, key: tuple[str, int]) -> None:
        newest = min(worker.position + draw.randrange(20), len(log[key]) - 1)
        clock, before_ns = worker.normaliser._clock, worker.normaliser.watermark_ns
        clock.open(log[key][newest].receive_time_ns)
        worker.normaliser._advance(max(worker.position - 1, 0), before_ns, clock.close())
        feed(worker, log, key)

    patch.setattr(histories, "_feed", fed)


# Where progress stands.


@leaves_out
def progress_before_the_events_of_its_record(patch: MonkeyPatch) -> None:
    """What a raw record holds is written behind the progress that it made."""
    advance = Normaliser._advance

    def advanced(self: Normaliser, offset: int, before_ns: int, after_ns: int) -> None:
        buffers = [buffer for p in range(self._rules.partitions) for buffer in self._buffers[p].values()]
        own = []
        for buffer in buffers:
            stamped = [stamp[2] for stamp in buffer._stamps]
            first = len(stamped) - stamped.count(offset)
            own.append((buffer._events[first:], buffer._stamps[first:]))
            del buffer._events[first:], buffer._stamps[first:]
            buffer._count -= len(stamped) - first
        advance(self, offset, before_ns, after_ns)
        for buffer, (events, stamps) in zip(buffers, own, strict=True):
            buffer._events.extend(events)
            buffer._stamps.extend(stamps)
            buffer._count += len(events)
        self._buffered = sum(map(len, buffers))

    patch.setattr(Normaliser, "_advance", advanced)


@leaves_out
def progress_overtakes_buffered_events(patch: MonkeyPatch) -> None:
    """Progress is written at once; events wait until their batch is full or flushed."""

    def advanced(self: Normaliser, offset: int, before_ns: int, after_ns: int) -> None:
        row_ns = self._rules.row_interval_ns
        if self._progressed and before_ns // row_ns == after_ns // row_ns:
            return
        self._progressed = True
        headers = message_headers(PROGRESS, self._raw_partition, Progress(self._raw_partition, offset, after_ns))
        for partition in range(self._rules.partitions):
            self._outputs.append(Record(self._topic, None, b"", headers, partition))

    patch.setattr(Normaliser, "_advance", advanced)


@leaves_out
def ingest_restarts_without_its_clocks(patch: MonkeyPatch) -> None:
    """A checkpoint of ingest is an offset and nothing else."""
    restore = Normaliser.restore

    def restored(self: Normaliser, state: Any) -> None:
        restore(self, state)
        self._clock = EventClock(self._rules)

    patch.setattr(Normaliser, "restore", restored)


@leaves_out
def sources_are_discovered(patch: MonkeyPatch) -> None:
    """A row waits for the raw partitions that were heard, not for those that are declared."""

    def target(self: PartitionEngine) -> int | None:
        told = [watermark for watermark in self.watermarks_ns().values() if watermark is not None]
        return min(told) // self._rules.tile_interval_ns if told else None

    patch.setattr(TopicProgress, "watermark_ns", lambda self: min(self._progress.values(), default=None))
    patch.setattr(TopicProgress, "first_ns", lambda self: max(self.first.values(), default=None))
    patch.setattr(PartitionEngine, "_target", target)


@leaves_out
def a_watermark_that_can_fall(patch: MonkeyPatch) -> None:
    """A venue that comes back far behind takes the watermark with it."""
    close, applied = EventClock.close, TopicProgress.applied

    def closed(self: EventClock) -> int:
        self.watermark_ns = 0
        return close(self)

    def told(self: TopicProgress, *arguments: Any, progress: Progress | None = None, **more: Any) -> None:
        applied(self, *arguments, progress=progress, **more)
        if progress is not None:
            self._progress[progress.raw_partition] = progress.watermark_ns

    patch.setattr(EventClock, "close", closed)
    patch.setattr(TopicProgress, "applied", told)


# What a checkpoint holds, and from where a restart reads.


@leaves_out
def stamps_of_now_in_the_checkpoint(patch: MonkeyPatch) -> None:
    """Stamps in the checkpoint are those of its moment, not of the resume offset."""
    state = TopicProgress.state
    patch.setattr(TopicProgress, "state", lambda self: msgspec.structs.replace(state(self), stamps=dict(self._stamps)))


@leaves_out
def progress_of_now_in_the_checkpoint(patch: MonkeyPatch) -> None:
    """Progress in the checkpoint is that of its moment, not of the resume offset."""
    state = TopicProgress.state
    patch.setattr(
        TopicProgress, "state", lambda self: msgspec.structs.replace(state(self), progress=dict(self._progress))
    )


@leaves_out
def events_read_again_count_as_late(patch: MonkeyPatch) -> None:
    """Events of closed tiles that a restart reads again are told as late."""
    hold, advance = PartitionEngine._hold, PartitionEngine.advance

    def held(self: PartitionEngine, batch: EventBatch, raw: int, seen: Any) -> Any:
        if self.closed_ns is not None:
            again = int((batch.numbers("tile_time_ns") < self.closed_ns).sum())
            self.__dict__["late"] = self.__dict__.get("late", 0) + again
        return hold(self, batch, raw, seen)

    def advanced(self: PartitionEngine, limit: int | None = None) -> list[Output]:
        late = self.__dict__.pop("late", 0)
        return [Output(LATE_EVENT, self.partition, None, b"", [])] * late + advance(self, limit)

    patch.setattr(PartitionEngine, "_hold", held)
    patch.setattr(PartitionEngine, "advance", advanced)


@leaves_out
def resume_from_group_commits(patch: MonkeyPatch) -> None:
    """A restart has the state of the checkpoint and reads on from the commit."""
    start = Featurizer._start

    def started(self: Featurizer, partition: int) -> Any:
        worker = start(self, partition)
        if partition in self.committed:
            worker.positions = dict(self.committed[partition])
        return worker

    patch.setattr(Featurizer, "_start", started)


@leaves_out
def rings_and_offsets_in_two_records(patch: MonkeyPatch) -> None:
    """A process may die between the two records of a checkpoint."""
    save = Featurizer._save

    def saved(self: Featurizer, partition: int, checkpoint: Any) -> None:
        before = self.saved.get(partition)
        save(self, partition, checkpoint)
        if before is not None and self.draw.random() < 0.3:
            self.saved[partition] = (dict(checkpoint.resume), before[1])

    patch.setattr(Featurizer, "_save", saved)


# What a row is.


@leaves_out
def a_row_lists_what_was_seen_so_far(patch: MonkeyPatch) -> None:
    """A row lists every instrument that has come up when it is made."""
    patch.setattr(
        RowMaker,
        "listed",
        lambda self, tiles: np.ones((len(self._tiler.spaces["instrument"]), len(tiles)), dtype=np.bool_),
    )


@leaves_out
def first_row_by_arrival(patch: MonkeyPatch) -> None:
    """The first row follows what is known when all sources are heard, not from their first words."""
    patch.setattr(TopicProgress, "first_ns", lambda self: max(self._progress.values()))


@leaves_out
def incomplete_tie_order(patch: MonkeyPatch) -> None:
    """Events of one time stay in the order of their arrival."""
    patch.setattr(Events, "_in_order", lambda self, order, same: True)


@leaves_out
def running_sums(patch: MonkeyPatch) -> None:
    """Minutes and hours are added up tile by tile."""
    combined = tiles.combined

    def summed(combine: Any, children: Any) -> Any:
        return np.add.accumulate(children, axis=-1)[..., -1] if combine == "sum" else combined(combine, children)

    patch.setattr(tiles, "combined", summed)


# Found later: silence, several partitions, the market.


@leaves_out
def any_record_counts_as_heard(patch: MonkeyPatch) -> None:
    """A venue lives on by records that carry no event time."""
    place = Normaliser._place

    def placed(self: Normaliser, event: Any, *rest: Any, **named: Any) -> None:
        place(self, event, *rest, **named)
        if event.venue in self._clock._venues:
            self._clock._venues[event.venue].heard_ns = self._clock.receive_time_ns

    patch.setattr(Normaliser, "_place", placed)


@leaves_out
def a_future_event_moves_its_clock(patch: MonkeyPatch) -> None:
    """An event that is not believed still counts for its venue's clock."""
    observe = EventClock.observe

    def observed(self: EventClock, venue: str, event_time_ns: int) -> Any:
        if self.is_future(event_time_ns):
            observe(self, venue, self.receive_time_ns)
            return "future"
        return observe(self, venue, event_time_ns)

    patch.setattr(EventClock, "observe", observed)


@leaves_out
def rings_dropped_on_leaving_the_list(patch: MonkeyPatch) -> None:
    """An instrument that no row lists any more loses its tiles."""
    close = Tiler.close

    def closed(self: Tiler, stop: int, taken: Any) -> Any:
        values = close(self, stop, taken)
        space = self.spaces["instrument"]
        gone = space.last_time(stop - 1) < stop * RULES.tile_interval_ns - RULES.listing_ns
        space.first_tile[gone] = UNSEEN
        for series in space.series.values():
            for ring in series.levels:
                ring._data[gone] = np.nan
        return values

    patch.setattr(Tiler, "close", closed)


@leaves_out
def last_times_from_rings(patch: MonkeyPatch) -> None:
    """A restart knows the tile of a last event, not its time."""
    unpack = closing.unpack_space

    def unpacked(state: Any, space: Any) -> None:
        unpack(state, space)
        for series in space.lasts.values():
            for ring in series.levels:
                known = ring._data != NEVER
                ring._data[known] -= ring._data[known] % RULES.tile_interval_ns

    patch.setattr(closing, "unpack_space", unpacked)


@leaves_out
def one_border_for_tiles_and_rows(patch: MonkeyPatch) -> None:
    """The last closed tile is taken for the last written row."""
    state = Closing.state

    def one(self: Any) -> Any:
        closed_ns = self.head * RULES.tile_interval_ns
        return msgspec.structs.replace(state(self), row_border_ns=closed_ns - closed_ns % RULES.row_interval_ns)

    patch.setattr(Closing, "state", one)


@leaves_out
def generations_named_by_number_alone(patch: MonkeyPatch) -> None:
    """Chunks and manifests do not say which process wrote them, nor who took over from whom."""
    load, chunks = CheckpointStore.load, CheckpointStore._chunks

    def loaded(self: CheckpointStore, partition: int) -> bytes | None:
        blob = load(self, partition)
        manifest = self._log.records(partition).get(b"%d/manifest" % partition)
        self._number = msgspec.json.decode(manifest)["number"] if manifest else 0
        self._epochs[partition] = 1
        return blob

    def named(self: CheckpointStore, partition: int, blob: bytes) -> Any:
        return [
            (msgspec.structs.replace(chunk, key=chunk.key.replace(f"/{self._process}/", "/")), piece)
            for chunk, piece in chunks(self, partition, blob)
        ]

    patch.setattr(CheckpointStore, "load", loaded)
    patch.setattr(CheckpointStore, "_chunks", named)
    patch.setattr(CheckpointStore, "_manifest_key", lambda self, partition: b"%d/manifest" % partition)


@leaves_out
def checkpoint_before_its_market_part(patch: MonkeyPatch) -> None:
    """A checkpoint counts a part as written that Kafka has not acknowledged."""

    def written(self: Featurizer, partition: int, worker: Any, outputs: list[Output]) -> bool:
        for output in outputs:
            if output.topic == FEATURE_ROW:
                self._send(output)
        if self.draw.random() < self.chaos.checkpoint:
            self._save(partition, worker.engine.checkpoint())
        if self._dies(partition, worker):
            self._crash(partition, worker, lost=True)
            return True
        for output in outputs:
            if output.topic == MARKET_STATE:
                self._send(output)
        return False

    patch.setattr(Featurizer, "_write", written)


@leaves_out
def first_row_waits_for_parts(patch: MonkeyPatch) -> None:
    """Parts are waited for that end at the border before the first row."""
    init = Market.__init__

    def begun(self: Market, partitions: int, tile_ns: int, factors: Any, row_tiles: int, start: int) -> None:
        init(self, partitions, tile_ns, factors, row_tiles, start - row_tiles)

    patch.setattr(Market, "__init__", begun)


@leaves_out
def market_resumes_at_its_current_offset(patch: MonkeyPatch) -> None:
    """Parts that were read and are not in the checkpoint are not read again."""
    resume = PartitionEngine.resume.fget
    assert resume is not None
    patch.setattr(PartitionEngine, "resume", property(lambda self: {**resume(self), MARKET_STATE: self._market_resume}))


@leaves_out
def repeated_parts_are_added(patch: MonkeyPatch) -> None:
    """A part that another process told as well counts twice."""

    def applied(self: Market, part: Any) -> None:
        known = self.book.known[part.partition]
        start, stop = part.from_ns // self._tile_ns, part.to_ns // self._tile_ns
        if start > known:
            return
        waiting = self.book.waiting[part.partition]
        for place, border_ns in enumerate(part.borders):
            tile = border_ns // self._tile_ns - 1
            if tile >= self.book.merged:
                before = waiting.get(tile, {})
                waiting[tile] = {
                    name: tuple(np.add(amounts[place], before.get(name, (0.0, 0))).tolist())
                    for name, amounts in part.series.items()
                }
                waiting[tile] = {name: (total, int(count)) for name, (total, count) in waiting[tile].items()}
        self.book.known[part.partition] = max(known, stop)

    patch.setattr(Market, "apply", applied)


@leaves_out
def waiting_blocks_the_other_partitions(patch: MonkeyPatch) -> None:
    """A process goes on with a partition until its rows are written."""
    choose = Featurizer._choose

    def chosen(self: Featurizer) -> int:
        for partition, workers in self.workers.items():
            if any(worker.engine.backlog for worker in workers):
                return partition
        return choose(self)

    patch.setattr(Featurizer, "_choose", chosen)


@leaves_out
def a_feature_joins_at_the_next_border(patch: MonkeyPatch) -> None:
    """New code begins with its features where its process happens to stand."""

    def started(self: Featurizer, partition: int) -> Any:
        joined = self.__dict__.setdefault("joined", {})
        if partition not in joined and partition in self.saved:
            state = decode_state(self.saved[partition][1], self.rules.rules_id, partition)
            if state.tiles is not None:
                border_ns = (state.tiles.closed + 1) * self.rules.tile_interval_ns
                joined[partition] = msgspec.structs.replace(self.announcements[1], border_ns=border_ns)
        resume, blob = self.saved.get(partition, ({}, None))
        sets = [self.announcements[0], *([joined[partition]] if partition in joined else [])]
        worker = PartitionEngine(partition, self.rules, self.catalogue, sets, blob=blob)
        return histories._Featurize(worker, {topic: resume.get(topic, 0) for topic in INPUTS})

    patch.setattr(Featurizer, "_start", started)
