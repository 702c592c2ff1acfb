"""One random history against the calm one of the same raw log: what a left out rule makes of it."""

import asyncio
import random
from dataclasses import dataclass
from functools import cache
from typing import Literal

from histories import CALM, STORM, Chaos, Featurized, Featurizer, ingest
from small_catalogue import small_catalogue
from world import MS, RULES, RawLog, random_log

from featurestore.announced import announcement_of
from schemas import ForeshockError
from schemas.forecasts import Announcement
from streams.checkpoints import CHUNK_BYTES, CheckpointStore

Verdict = Literal["agrees", "differs", "stuck", "raises", "late"]
"""Same rows; another row; rows that never come; an error; events told as late by featurize."""

WHOLE = small_catalogue()
OLD = WHOLE.subset(["count_300ms", "order_1000ms", "level_100ms"])


@dataclass(frozen=True)
class Trial:
    """Which logs and histories: a raw log, what happens to ingest, what happens to featurize."""

    ingest: Chaos = CALM
    featurize: Chaos = CALM
    seconds: float = 1.0
    bursts: int = 2
    gap_seconds: float = 4.0
    joins: bool = False
    """Most features join in the midst of the log."""

    def log(self, seed: int) -> RawLog:
        """Return the raw log of `seed`."""
        return random_log(seed, seconds=self.seconds, bursts=self.bursts, gap_seconds=self.gap_seconds)

    def announcements(self, log: RawLog) -> list[Announcement]:
        """Return the announced feature sets."""
        if not self.joins:
            return [announcement_of(WHOLE)]
        begins = max(records[0].receive_time_ns for records in log.values())
        border = (begins + 500 * MS) // RULES.row_interval_ns * RULES.row_interval_ns
        return [announcement_of(OLD), announcement_of(WHOLE, border)]

    def play(self, log: RawLog, seed: int, history: int) -> Featurized:
        """Return what one history leaves."""
        canonical = ingest(log, RULES, history, self.ingest)
        return Featurizer(canonical, RULES, WHOLE, self.announcements(log), history, self.featurize).run()

    def verdict(self, seed: int) -> Verdict:
        """Return how the history of `seed` compares with the calm one that kept all rules."""
        expected = calm(self, seed)
        try:
            found = self.play(self.log(seed), seed, 1000 + seed)
        except (ForeshockError, IndexError, ValueError):
            return "raises"
        return compared(found, expected)


@cache
def calm(trial: Trial, seed: int) -> dict[tuple[int, int], bytes]:
    """Return the rows of the calm history; to be asked for before a rule is left out."""
    log = trial.log(seed)
    return Trial(joins=trial.joins).play(log, seed, seed).distinct()


def compared(found: Featurized, expected: dict[tuple[int, int], bytes]) -> Verdict:
    """Return how what a history left compares with the rows that it should have left."""
    if found.others:
        return "late"
    rows = found.distinct()
    if not found.repeats_agree() or any(expected.get(key) != value for key, value in rows.items()):
        return "differs"
    return "agrees" if len(rows) == len(expected) else "stuck"


RAW = Trial(ingest=STORM)
LOG = Trial(featurize=STORM)
ORDER = Trial()
"""Nothing happens but that the same records are read in another order."""

SEVERAL = Trial(seconds=3.0)
MINUTES = Trial(seconds=3.0, bursts=3, gap_seconds=200)
STEADY = Trial(featurize=Chaos(crash=0.03, zombie=0.3, checkpoint=0.4, crashes=40), bursts=1)
"""Crashes up to the end of the log, not only until their number is used up."""
EARLY = Trial(featurize=Chaos(crash=0.1, zombie=0.3, checkpoint=0.6, crashes=40), seconds=0.4, bursts=1)
"""Crashes before the first row."""
JOINING = Trial(featurize=STORM, joins=True)


class Stores:
    """Checkpoints of one partition by processes that die, wake as zombies and take over."""

    def verdict(self, seed: int) -> Verdict:
        """Return whether each process found a checkpoint as one process wrote it."""
        draw = random.Random(seed)
        topic: dict[bytes, bytes] = {}
        stores: list[CheckpointStore] = []
        saved: set[bytes | None] = {None}
        try:
            for step in range(12):
                if not stores or draw.random() < 0.4:
                    stores.append(CheckpointStore(_Records(topic, draw.choice((4, 5, 10, 10**9))), f"process-{step}"))
                    if stores[-1].load(0) not in saved:
                        return "differs"
                store = draw.choice(stores)
                blob = bytes([step]) * (CHUNK_BYTES + 1)
                saved.add(blob)
                try:
                    asyncio.run(store.save(0, blob))
                except _DiedError:
                    stores.remove(store)
        except ForeshockError:
            return "raises"
        return "agrees"


class _DiedError(Exception):
    """The process was killed between two writes."""


class _Records:
    """What one process knows of a compacted topic; it dies after `left` writes."""

    def __init__(self, topic: dict[bytes, bytes], left: int) -> None:
        self.topic, self.known, self.left = topic, dict(topic), left

    def records(self, partition: int) -> dict[bytes, bytes]:
        return {key: value for key, value in self.known.items() if key.startswith(b"%d/" % partition)}

    async def write(self, partition: int, key: bytes, value: bytes | None) -> None:
        if self.left <= 0:
            raise _DiedError
        self.left -= 1
        for data in (self.topic, self.known):
            if value is None:
                data.pop(key, None)
            else:
                data[key] = value
