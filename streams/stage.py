"""What a stage is to the process that runs it; no Faust here, so a stage runs in a unit test.

`streams.faust_app` runs a `Stage` on Kafka. A test may call the same six methods on a plain list.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from schemas.errors import ForeshockError
from streams.metrics_server import Metrics
from streams.settings import Settings

Headers = Mapping[str, bytes] | Sequence[tuple[str, bytes]]


class Message(NamedTuple):
    """One record of a topic, its bytes untouched.

    `headers`: the last of each name, for those who know what to look for. `pairs`: all as they were
    sent, where anything of them is lost in `headers`: Kafka repeats names, and knows values of none.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: dict[str, bytes]
    value: bytes | None
    timestamp_ms: int
    pairs: Sequence[tuple[str, bytes | None]] | None = None

    def header_pairs(self) -> Sequence[tuple[str, bytes]]:
        """Return all headers as they were sent; of hostile ones a value may be None."""
        return list(self.headers.items()) if self.pairs is None else cast("Sequence[tuple[str, bytes]]", self.pairs)


class Checkpoint(NamedTuple):
    """State of one partition, as of one moment.

    `resume`: per input topic the offset to read from after a restart; it is also what is committed
    to the consumer group, for lag monitoring alone. `blob`: the state as bytes, any size; None
    where a stage rebuilds its state from logs, so that only the offsets are committed.
    """

    resume: Mapping[str, int]
    blob: bytes | None = None


class Output(Protocol):
    """A record to send: any object with these fields. `partition` None: murmur2 of the key."""

    @property
    def topic(self) -> str:
        """The topic to send to."""

    @property
    def key(self) -> bytes | None:
        """The key, or None."""

    @property
    def value(self) -> bytes | None:
        """The value; None is a tombstone."""

    @property
    def headers(self) -> Headers:
        """The headers."""

    @property
    def partition(self) -> int | None:
        """The partition to send to, or None for the partitioner."""


class Record(NamedTuple):
    """An `Output` for those who have no class of their own."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class FencedError(ForeshockError):
    """The partition was revoked: nothing of it may be sent any more. A stage lets it pass through."""


class Outlet(Protocol):
    """What a stage may do to the world; handed to `Stage.started`."""

    @property
    def settings(self) -> Settings:
        """The settings of this process."""

    @property
    def metrics(self) -> Metrics:
        """The metrics of this process: `outlet.metrics[schemas.metrics.ROWS].labels("0").inc()`."""

    def emit(self, partition: int, output: Output) -> None:
        """Send `output`, made from input partition `partition`. Never blocks.

        Returns at once; the runner waits for Kafka's acknowledgement before it takes the next
        checkpoint of that partition. Raises FencedError when `partition` is no longer ours, also
        for a task that the stage started under an earlier assignment of it.
        """

    async def acknowledged(self, partition: int) -> None:
        """Wait until Kafka acknowledged all that was emitted for `partition` so far."""

    def hold(self, topic: str, partition: int) -> None:
        """Stop reading one partition of one input topic (messages under way, at most 200, still come)."""

    def release(self, topic: str, partition: int) -> None:
        """Read it again."""


class Stage(Protocol):
    """Pure logic with six callbacks; calls for one partition never overlap, so no locks are needed."""

    name: str
    """Consumer group, metric label, and prefix of the checkpoint topic (`<name>-checkpoint-changelog`)."""

    @property
    def topics(self) -> tuple[str, ...]:
        """Input topics, all with the same number of partitions."""

    async def started(self, outlet: Outlet) -> None:
        """Keep `outlet`; called once, before anything is assigned."""

    async def assigned(self, partition: int, checkpoint: bytes | None) -> Mapping[str, int]:
        """Build the state of `partition` from its last checkpoint and return where to read from.

        Per input topic an offset; a topic left out is read from its earliest record, -1 means from
        its end. Nothing of an earlier assignment of the partition may be used.
        """

    def revoked(self, partition: int) -> None:
        """Drop the state of `partition` and cancel its tasks; all it emits from now on is refused."""

    async def process(self, message: Message) -> None:
        """Take one record, in offset order within its topic and partition.

        An exception ends the process (exit code 1): what cannot be read must go to the dead-letter
        topic instead. Awaiting here holds up the topic: slow work belongs into a task of the
        stage's own, with `checkpoint` naming the offset of the oldest unfinished one.
        """

    def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return the state as of now, or None when there is nothing to save. Called between records."""

    async def stopped(self) -> None:
        """Close what `started` opened."""
