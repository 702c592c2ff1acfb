"""Random histories of the two stages: crashes, restarts from checkpoints, zombies, interleavings.

Each takes a log and a seed and returns another log; what the rows say may not depend on the seed.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from world import RawLog

from featurestore.catalogue import Catalogue
from featurestore.engine import Checkpoint, Output, PartitionEngine
from schemas import Rules
from schemas.forecasts import Announcement
from schemas.rows import Rows, decode_rows
from schemas.topics import EVENT_TOPICS, FEATURE_ROW, MARKET_STATE
from streams.ingest.normaliser import Normaliser
from streams.ingest.state import NormaliserState

Headers = dict[str, bytes]
Log = dict[tuple[str, int], list[tuple[Headers, bytes | None]]]
INPUTS = (*EVENT_TOPICS, MARKET_STATE)


@dataclass(frozen=True)
class Chaos:
    """How often things go wrong, per step."""

    crash: float = 0.0
    zombie: float = 0.0
    checkpoint: float = 0.2
    flush: float = 0.3
    batch_events: int = 3
    crashes: int = 12
    """No more than so many of one partition: a history ends."""


CALM = Chaos()
STORM = Chaos(crash=0.06, zombie=0.5)


@dataclass
class _Ingest:
    """One process at work on one raw partition."""

    normaliser: Normaliser
    position: int
    zombie_steps: int = -1
    """Steps that a deposed process still takes; -1: it is in charge."""


def ingest(log: RawLog, rules: Rules, seed: int, chaos: Chaos) -> Log:
    """Return canonical logs, as ingest processes with the history of `seed` write them."""
    draw = random.Random(f"ingest {seed}")
    canonical: Log = defaultdict(list)
    batch = draw.choice((1, 2, chaos.batch_events, 500))
    workers = {key: [_Ingest(Normaliser(*key, rules, batch), 0)] for key in log}
    saved: dict[tuple[str, int], bytes] = {}
    busy = sorted(log)
    while busy:
        key = draw.choice(busy)
        worker = draw.choice(workers[key])
        if worker.zombie_steps == 0:
            workers[key].remove(worker)
            continue
        worker.zombie_steps -= worker.zombie_steps > 0
        if worker.position < len(log[key]):
            _feed(worker, log, key)
        _flush(worker, key, canonical, draw, chaos, saved, at_end=worker.position == len(log[key]))
        if worker.zombie_steps < 0 and draw.random() < chaos.crash:
            workers[key] = _depose(worker, draw, chaos)
            successor = Normaliser(*key, rules, batch)
            if key in saved:
                successor.restore(NormaliserState.decode(saved[key]))
            workers[key].append(_Ingest(successor, successor.next_offset))
        busy = [k for k in busy if any(w.position < len(log[k]) for w in workers[k] if w.zombie_steps < 0)]
    return canonical


def _feed(worker: _Ingest, log: RawLog, key: tuple[str, int]) -> None:
    record = log[key][worker.position]
    worker.normaliser.feed(worker.position, b"connection", record.value, record.headers)
    worker.position += 1


def _flush(
    worker: _Ingest,
    key: tuple[str, int],
    canonical: Log,
    draw: random.Random,
    chaos: Chaos,
    saved: dict[tuple[str, int], bytes],
    *,
    at_end: bool,
) -> None:
    """Now and then send all there is, after which a checkpoint is possible."""
    if not at_end and draw.random() > chaos.flush:
        return
    for out in worker.normaliser.flush():
        if out.topic in EVENT_TOPICS:
            canonical[out.topic, out.partition].append((dict(out.headers), out.value))
    if draw.random() < chaos.checkpoint:
        saved[key] = worker.normaliser.state().encode()


def _depose(worker: _Ingest, draw: random.Random, chaos: Chaos) -> list[_Ingest]:
    if draw.random() >= chaos.zombie:
        return []
    worker.zombie_steps = draw.randrange(1, 30)
    return [worker]


@dataclass
class _Featurize:
    """One process at work on one canonical partition."""

    engine: PartitionEngine
    positions: dict[str, int]
    zombie_steps: int = -1


@dataclass
class Featurized:
    """What featurize processes left on their topics."""

    rows: list[Rows] = field(default_factory=list)
    raw_rows: list[tuple[Headers, bytes]] = field(default_factory=list)
    markets: Log = field(default_factory=lambda: defaultdict(list))
    others: list[str] = field(default_factory=list)
    """Topics of all other messages, of which there should be none."""

    def distinct(self) -> dict[tuple[int, int], bytes]:
        """Return {(partition, row time): bytes of the first such message}, in log order."""
        first: dict[tuple[int, int], bytes] = {}
        for rows, (_, value) in zip(self.rows, self.raw_rows, strict=True):
            first.setdefault((rows.header.partition, rows.header.row_time_ns), value)
        return first

    def repeats_agree(self) -> bool:
        """Return whether each repeated message has the bytes of the first."""
        first = self.distinct()
        return all(
            value == first[rows.header.partition, rows.header.row_time_ns]
            for rows, (_, value) in zip(self.rows, self.raw_rows, strict=True)
        )


class Featurizer:
    """Featurize of all partitions over one canonical log, with the history of one seed."""

    def __init__(
        self,
        canonical: Log,
        rules: Rules,
        catalogue: Catalogue,
        announcements: Iterable[Announcement],
        seed: int,
        chaos: Chaos,
    ) -> None:
        self.canonical, self.rules, self.chaos = canonical, rules, chaos
        self.catalogue, self.announcements = catalogue, tuple(announcements)
        self.draw = random.Random(f"featurize {seed}")
        self.out = Featurized()
        self.saved: dict[int, tuple[dict[str, int], bytes]] = {}
        self.committed: dict[int, dict[str, int]] = {}
        """By partition, what was read when outputs were last acknowledged: group commits, for lag only."""
        self.crashes = dict.fromkeys(range(rules.partitions), chaos.crashes)
        self.workers = {p: [self._start(p)] for p in range(rules.partitions)}

    def run(self) -> Featurized:
        """Read everything; return what was written."""
        idle = 0
        while idle < 20 * self.rules.partitions:
            partition = self._choose()
            worker = self.draw.choice(self.workers[partition])
            if worker.zombie_steps == 0:
                self.workers[partition].remove(worker)
                continue
            worker.zombie_steps -= worker.zombie_steps > 0
            idle = 0 if self._step(partition, worker) else idle + 1
            if self._dies(partition, worker):
                self._crash(partition, worker)
        return self.out

    def _choose(self) -> int:
        """Return the partition that goes on: a process waits for none of them."""
        return self.draw.randrange(self.rules.partitions)

    def _dies(self, partition: int, worker: _Featurize) -> bool:
        in_charge = worker.zombie_steps < 0 and worker in self.workers[partition]
        return in_charge and self.crashes[partition] > 0 and self.draw.random() < self.chaos.crash

    def _start(self, partition: int) -> _Featurize:
        resume, blob = self.saved.get(partition, ({}, None))
        engine = PartitionEngine(partition, self.rules, self.catalogue, self.announcements)
        if blob is not None:
            engine = PartitionEngine.restore(blob, partition, self.rules, self.catalogue, self.announcements)
        return _Featurize(engine, {topic: resume.get(topic, 0) for topic in INPUTS})

    def _step(self, partition: int, worker: _Featurize) -> bool:
        """Read one message and write what is ready; return whether anything happened."""
        waiting = [t for t in INPUTS if worker.positions[t] < len(self._log(t, partition))]
        topic = self.draw.choice(waiting) if waiting else None
        if topic:
            offset = worker.positions[topic]
            headers, value = self._log(topic, partition)[offset]
            worker.engine.apply(topic, offset, headers, value)
            worker.positions[topic] += 1
        if topic and self.draw.random() < 0.5:
            return True
        outputs = worker.engine.advance()
        dies = self._write(partition, worker, outputs)
        return bool(topic or outputs or dies)

    def _write(self, partition: int, worker: _Featurize, outputs: list[Output]) -> bool:
        """Outputs first, then the checkpoint, then the commit; return whether the process died meanwhile."""
        dies = self._dies(partition, worker)
        sent = outputs[: self.draw.randrange(len(outputs) + 1)] if dies else outputs
        for output in sent:
            self._send(output)
        if dies:
            self._crash(partition, worker, lost=len(sent) < len(outputs))
            return True
        if self.draw.random() < self.chaos.checkpoint:
            self._save(partition, worker.engine.checkpoint())
        self.committed[partition] = dict(worker.positions)
        return False

    def _save(self, partition: int, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, which is one record: state and offsets at once."""
        self.saved[partition] = (dict(checkpoint.resume), checkpoint.blob)

    def _crash(self, partition: int, worker: _Featurize, *, lost: bool = False) -> None:
        """Start a successor; a process that lost a message exits, any other may go on as a zombie."""
        self.crashes[partition] -= 1
        self.workers[partition].remove(worker)
        if self.draw.random() < self.chaos.zombie and not lost:
            worker.zombie_steps = self.draw.randrange(1, 30)
            self.workers[partition].append(worker)
        self.workers[partition].append(self._start(partition))

    def _log(self, topic: str, partition: int) -> list[tuple[Headers, bytes | None]]:
        source = self.out.markets if topic == MARKET_STATE else self.canonical
        return source[topic, partition]

    def _send(self, output: Output) -> None:
        if output.topic == FEATURE_ROW:
            self.out.rows.append(decode_rows(output.value))
            self.out.raw_rows.append((dict(output.headers), output.value))
        elif output.topic == MARKET_STATE:
            self.out.markets[MARKET_STATE, output.partition].append((dict(output.headers), output.value))
        else:
            self.out.others.append(output.topic)
