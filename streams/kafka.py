"""Kafka through confluent-kafka: producers that know what is acknowledged, consumers, topics."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as ConfluentMessage
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.errors import ForeshockError, StateError
from schemas.topics import Topic, topics
from streams.connection import kafka_connection
from streams.retrying import patiently
from streams.settings import Settings
from streams.spans import spans_of
from streams.stage import Headers, Message, Output
from streams.tracing import TRACEPARENT, Tracing

LOGGER = logging.getLogger("foreshock.kafka")
_SILENT = logging.getLogger("foreshock.kafka.silent")
_SILENT.disabled = True
DEADLINE_SECONDS = 20.0
"""How long to wait for an answer of the broker to a question about topics."""
NOT_ALLOWED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
"""What a reader is told for ever where a rule is missing."""
_ANSWER_SECONDS = 1.0
_NOT_LET_IN = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED)  # noqa: SLF001
_BATCH = 1_000


class DeliveryError(ForeshockError):
    """A record that Kafka did not acknowledge: the process must not go on as if it had."""


class NotLetInError(StateError):
    """The broker knows nobody of our name and password, or one of us does not trust the other's certificate."""


class Outbox:
    """A producer that knows which of its records Kafka has acknowledged.

    Idempotent, `acks=all`, murmur2 partitioner. Records are numbered in the order of `send`. A
    record that cannot be delivered makes every later call raise DeliveryError. For one thread.
    """

    def __init__(self, settings: Settings, client_id: str, overrides: Mapping[str, Any] | None = None) -> None:
        self._producer = Producer(producer_config(settings, client_id) | dict(overrides or {}), logger=LOGGER)
        self._deadline = settings.delivery_timeout_seconds
        self._tracing = Tracing(settings.rules.rules_id, settings.rules.row_interval_ns, settings.trace_share)
        self._spans = spans_of(settings.otlp_endpoint, client_id)
        self._pending: dict[int, None] = {}
        self._sequence = 0
        self._failure: str | None = None

    @property
    def sequence(self) -> int:
        """The number of the last record sent."""
        return self._sequence

    @property
    def pending(self) -> int:
        """How many records are sent and not acknowledged."""
        return len(self._pending)

    @property
    def settled(self) -> int:
        """The number up to which every record is acknowledged."""
        return next(iter(self._pending), self._sequence + 1) - 1

    def emit(self, output: Output, received_ns: int = 0) -> int:
        """Send an output and return its number; `received_ns` is that of the newest frame behind it, 0: none."""
        headers = self._tracing.headers(output.topic, output.headers, received_ns)
        if self._spans is not None and headers and headers[-1][0] == TRACEPARENT:
            self._spans.tell(output.topic, output.partition, headers[-1][1])
        return self.send(output.topic, output.value, key=output.key, headers=headers, partition=output.partition)

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> int:
        """Queue one record and return its number; waits only where the producer's queue is full."""
        self.check()
        number = self._sequence + 1
        arguments: dict[str, Any] = {} if partition is None else {"partition": partition}
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        self._produce(topic, value=value, key=key, headers=pairs, on_delivery=self._settle(number), **arguments)
        self._sequence = number
        self._pending[number] = None
        return number

    def _produce(self, topic: str, **arguments: Any) -> None:
        give_up = time.monotonic() + self._deadline
        while True:
            try:
                return self._producer.produce(topic, **arguments)
            except BufferError:
                if time.monotonic() > give_up:
                    raise DeliveryError(f"{topic}: the producer's queue stayed full for {self._deadline:g} s") from None
                self._producer.poll(0.05)

    def _settle(self, number: int) -> Callable[[KafkaError | None, ConfluentMessage], None]:
        def settle(error: KafkaError | None, message: ConfluentMessage) -> None:
            if error is not None and self._failure is None:
                self._failure = f"{message.topic()}: a record was not delivered: {error.str()}"
            self._pending.pop(number, None)

        return settle

    def check(self) -> None:
        """Raise DeliveryError if a record was lost."""
        if self._failure is not None:
            raise DeliveryError(self._failure)

    def poll(self) -> None:
        """Take in acknowledgements; never blocks. Raises DeliveryError."""
        self._producer.poll(0)
        self.check()

    def flush_acknowledged(self, deadline_seconds: float | None = None) -> None:
        """Wait until every record is acknowledged; raises DeliveryError when one is not by then."""
        deadline = self._deadline if deadline_seconds is None else deadline_seconds
        self._producer.flush(deadline)
        self.check()
        if self._pending:
            raise DeliveryError(f"{len(self._pending)} records not acknowledged within {deadline:g} s")

    async def acknowledged(self, number: int, deadline_seconds: float | None = None) -> None:
        """Wait until every record up to `number` is acknowledged, without blocking the event loop."""
        deadline = self._deadline if deadline_seconds is None else deadline_seconds
        give_up = time.monotonic() + deadline
        while self.settled < number:
            self.poll()
            if time.monotonic() > give_up:
                raise DeliveryError(f"{self.pending} records not acknowledged within {deadline:g} s")
            await asyncio.sleep(0.002)
        self.check()


def producer_config(settings: Settings, client_id: str) -> dict[str, Any]:
    """Return confluent-kafka's configuration of every producer: idempotent, all replicas, murmur2."""
    return {
        **kafka_connection(settings),
        "client.id": client_id,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "linger.ms": settings.linger_ms,
        # aiokafka, under Faust, reads zstd, lz4 and snappy only with a package more.
        "compression.type": "none",
        "message.max.bytes": 16 << 20,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 256 << 10,
        "delivery.timeout.ms": int(settings.delivery_timeout_seconds * 1000),
        "allow.auto.create.topics": False,
    }


def consumer(
    settings: Settings, group: str, *, instance: str | None = None, overrides: Mapping[str, Any] | None = None
) -> Consumer:
    """Return a consumer of `group` that commits only when told to.

    `instance`: static membership, so that a restart within the session timeout moves no partition.
    """
    config: dict[str, Any] = {
        **kafka_connection(settings),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": int(settings.session_timeout_seconds * 1000),
        "heartbeat.interval.ms": int(settings.session_timeout_seconds * 1000 / 4),
        "fetch.wait.max.ms": settings.fetch_wait_ms,
        # The default of 1 s costs five sixths of the reading rate (measured 177,000 against 1,000,000 a second).
        "fetch.queue.backoff.ms": 5,
        "allow.auto.create.topics": False,
    }
    if instance is not None:
        config["group.instance.id"] = instance
    return Consumer(config | dict(overrides or {}), logger=LOGGER)


def to_message(message: ConfluentMessage) -> Message:
    """Return confluent-kafka's message as ours."""
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return Message(
        topic=message.topic() or "",
        partition=_number(message.partition()),
        offset=_number(message.offset()),
        key=message.key(),
        headers={name: value or b"" for name, value in pairs},
        value=message.value(),
        timestamp_ms=message.timestamp()[1],
        pairs=pairs,
    )


def _number(value: int | None) -> int:
    return -1 if value is None else value


def watermarks(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """Return per partition the earliest offset and the one that the next record gets."""
    reader = consumer(settings, "foreshock-reader")
    try:
        return {
            partition: bounds(reader, topic, partition)
            for partition in range(partition_counts(settings, [topic])[topic])
        }
    finally:
        reader.close()


def bounds(reader: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Return the earliest offset and the one that the next record gets; raises StateError.

    A partition of a new topic has no leader for a moment after the topic is there.
    """
    ask = partial(reader.get_watermark_offsets, TopicPartition(topic, partition), timeout=DEADLINE_SECONDS)
    try:
        return patiently(ask, DEADLINE_SECONDS)
    except KafkaException as error:
        raise StateError(f"{topic}[{partition}]: its offsets cannot be read: {error.args[0].str()}") from None


def read_topic(
    settings: Settings,
    topic: str,
    *,
    partitions: Iterable[int] | None = None,
    start: Mapping[int, int] | None = None,
    last: int | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Iterator[Message]:
    """Yield the records that a topic holds now, each partition in offset order, then end.

    `start`: offset to begin at, per partition. `last`: only about so many offsets of each
    partition. Raises StateError when nothing comes for `deadline_seconds`.
    """
    wanted = watermarks(settings, topic)
    chosen = set(wanted if partitions is None else partitions)
    ends = {p: high for p, (low, high) in wanted.items() if p in chosen and high > low}
    begin = {p: max(low, (start or {}).get(p, low), high - last if last else low) for p, (low, high) in wanted.items()}
    ends = {p: end for p, end in ends.items() if begin[p] < end}
    reader = consumer(settings, "foreshock-reader", overrides={"enable.partition.eof": True})
    try:
        reader.assign([TopicPartition(topic, partition, begin[partition]) for partition in ends])
        yield from _read_until(reader, topic, ends, deadline_seconds)
    finally:
        reader.close()


def _read_until(reader: Consumer, topic: str, ends: dict[int, int], deadline_seconds: float) -> Iterator[Message]:
    give_up = time.monotonic() + deadline_seconds
    while ends:
        messages = reader.consume(_BATCH, timeout=0.2)
        for message in messages:
            partition, error = _number(message.partition()), message.error()
            if error is None:
                if partition in ends and _number(message.offset()) < ends[partition]:
                    yield to_message(message)
                if _number(message.offset()) >= ends.get(partition, 0) - 1:
                    ends.pop(partition, None)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent-kafka's own name
                ends.pop(partition, None)
            elif not error.retriable():
                raise StateError(f"{topic}[{partition}]: cannot be read: {error.str()}")
        if messages:
            # What the caller does with a record is no silence of the broker.
            give_up = time.monotonic() + deadline_seconds
        elif time.monotonic() > give_up:
            raise StateError(f"{topic}: nothing came for {deadline_seconds:g} s; is the broker up?")


def partition_counts(settings: Settings, names: Iterable[str]) -> dict[str, int]:
    """Return the partition counts of those of `names` that exist; raises StateError without a broker."""
    existing = existing_topics(settings)
    return {name: existing[name] for name in names if name in existing}


def existing_topics(settings: Settings) -> dict[str, int]:
    """Return the partition counts of all topics; raises StateError without a broker."""
    try:
        found = metadata(settings, DEADLINE_SECONDS).topics
    except KafkaException as error:
        raise StateError(
            f"{settings.bootstrap_servers}: no Kafka broker answers ({error.args[0].str()}); "
            "start one with `foreshock up` or set FORESHOCK_BOOTSTRAP_SERVERS"
        ) from None
    return {name: len(topic.partitions) for name, topic in found.items()}


def metadata(settings: Settings, seconds: float) -> Any:
    """Return what the cluster says of its topics; asks until `seconds` are over.

    Raises NotLetInError at once where the broker does not let us in, KafkaException where nobody answers.
    """
    refused: list[KafkaError] = []
    client = AdminClient(kafka_connection(settings) | {"error_cb": refused.append}, logger=_SILENT)
    give_up = time.monotonic() + seconds
    while True:
        try:
            return client.list_topics(timeout=min(_ANSWER_SECONDS, seconds))
        except KafkaException:
            client.poll(0)
            for error in refused:
                if error.code() in _NOT_LET_IN:
                    raise NotLetInError(
                        f"{settings.bootstrap_servers}: the broker does not let {settings.kafka_user or 'us'} in: "
                        f"{error.str()}; check FORESHOCK_KAFKA_USER, its password and FORESHOCK_KAFKA_CA"
                    ) from None
            if time.monotonic() > give_up:
                raise


def await_broker(settings: Settings) -> None:
    """Wait until a broker answers, as long as for an acknowledgement; raises StateError.

    A worker that starts in an outage waits like those that run: one that ended would be a crash loop.
    """
    give_up = time.monotonic() + settings.delivery_timeout_seconds
    while True:
        try:
            existing_topics(settings)
        except NotLetInError:
            raise
        except StateError as error:
            if time.monotonic() > give_up:
                raise
            LOGGER.warning("waiting: %s", error)
            time.sleep(0.1)
        else:
            return


def create_topics(settings: Settings) -> list[str]:
    """Create the declared topics that are missing, and return their names; raises StateError.

    An existing topic is left as it is; `streams.topic_setup` says where it differs.
    """
    declared = topics(settings.rules)
    missing = sorted(declared.keys() - existing_topics(settings).keys())
    create(settings, [declared[name] for name in missing])
    return missing


def create(settings: Settings, wanted: Iterable[Topic]) -> None:
    """Create topics and return when they can be seen; raises StateError."""
    wanted = list(wanted)
    if not wanted:
        return
    client = admin(settings)  # kept: the answers come only while it lives
    for name, future in client.create_topics([_new_topic(topic) for topic in wanted]).items():
        _created(name, future)
    _wait_for(settings, [topic.name for topic in wanted])


def _new_topic(topic: Topic) -> NewTopic:
    return NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=-1, config=topic.config())


def _created(name: str, future: Any) -> None:
    try:
        future.result(timeout=DEADLINE_SECONDS)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise StateError(f"{name}: could not be created: {error.args[0].str()}") from None


def _wait_for(settings: Settings, names: list[str]) -> None:
    """Creation is acknowledged before every broker's metadata shows the topic."""
    give_up = time.monotonic() + DEADLINE_SECONDS
    while names_left := set(names) - existing_topics(settings).keys():
        if time.monotonic() > give_up:
            raise StateError(f"{min(names_left)}: created, but not visible after {DEADLINE_SECONDS:g} s")
        time.sleep(0.05)


def committed(settings: Settings, group: str, topic: str) -> dict[int, int]:
    """Return the offsets that a group has committed, per partition; -1 where it has none."""
    count = partition_counts(settings, [topic]).get(topic, 0)
    reader = consumer(settings, group)
    try:
        places = reader.committed([TopicPartition(topic, p) for p in range(count)], timeout=DEADLINE_SECONDS)
    finally:
        reader.close()
    return {place.partition: place.offset if place.offset >= 0 else -1 for place in places}


def admin(settings: Settings) -> AdminClient:
    """Return a client for questions about topics, groups and the broker; its answers come only while it lives."""
    return AdminClient(kafka_connection(settings), logger=LOGGER)
