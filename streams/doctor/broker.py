"""The broker itself: which it is, what it allows, and whose clock is right."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]  # as in topic_setup
from confluent_kafka.cimpl import NewTopic

from schemas.errors import StateError
from schemas.topics import topics
from streams.doctor.finding import Finding, error, fine, warning
from streams.kafka import DEADLINE_SECONDS, admin, producer_config
from streams.settings import Settings

SKEW_SECONDS = 0.5
"""A clock that is off by more tells wrong latencies."""
WRONG_SECONDS = 2.0
"""And by more than this, heartbeats of an ingest by its own clock make what other machines send late."""
_OLDEST = "log.message.timestamp.before.max.ms"
_SHIFT_MS = 3_600_000


def broker_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say of the broker; raises StateError where it does not answer."""
    try:
        config = broker_config(settings)
    except KafkaException as refused:
        what = f"its settings may not be read: {refused.args[0].str()}"
        yield warning("broker", settings.bootstrap_servers, what, "allow DescribeConfigs on the cluster")
        return
    yield _version(settings, config)
    shortest = int(config.get("group.min.session.timeout.ms", "6000")) / 1e3
    if settings.session_timeout_seconds < shortest:
        yield error(
            "broker",
            "group.min.session.timeout.ms",
            f"the broker takes no session timeout under {shortest:g} s, FORESHOCK_SESSION_TIMEOUT_SECONDS is "
            f"{settings.session_timeout_seconds:g}: nobody can join a group",
            f"export FORESHOCK_SESSION_TIMEOUT_SECONDS={shortest:g}",
        )
    largest = max(topic.max_message_bytes for topic in topics(settings.rules).values())
    fetched = int(config.get("replica.fetch.max.bytes", largest))
    if fetched < largest:
        yield warning(
            "broker",
            "replica.fetch.max.bytes",
            f"{fetched}, and messages may have {largest} bytes: replicas fetch them one by one",
            f"set it to {largest} in the broker's properties",
        )


def _version(settings: Settings, config: Mapping[str, str]) -> Finding:
    """A broker does not tell clients its version; which settings it has does."""
    place = settings.bootstrap_servers
    if "zookeeper.connect" not in config:
        return fine("broker", place, "Kafka 4 or later")
    if _OLDEST in config:
        return fine("broker", place, "Kafka 3.6 to 3.9")
    return warning("broker", place, "Kafka before 3.6: not tried", "run Kafka 3.8 or later")


def broker_config(settings: Settings) -> dict[str, str]:
    """Return the settings of one broker of the cluster; raises StateError, KafkaException where they are refused."""
    client = admin(settings)
    nodes = client.describe_cluster(request_timeout=DEADLINE_SECONDS).result(timeout=DEADLINE_SECONDS).nodes
    if not nodes:
        raise StateError(f"{settings.bootstrap_servers}: the cluster names no broker")
    resource = ConfigResource(ResourceType.BROKER, str(nodes[0].id))
    (future,) = client.describe_configs([resource], request_timeout=DEADLINE_SECONDS).values()
    entries: Mapping[str, Any] = future.result(timeout=DEADLINE_SECONDS)
    return {entry.name: str(entry.value) for entry in entries.values()}


def clock_findings(settings: Settings) -> Iterator[Finding]:
    """Yield how far this machine's clock is from the broker's, by a record that the broker stamps."""
    name = f"foreshock-doctor-{uuid.uuid4().hex[:12]}"
    client = admin(settings)
    stamped = {"message.timestamp.type": "LogAppendTime", "retention.ms": str(_SHIFT_MS)}
    (made,) = client.create_topics([NewTopic(name, 1, -1, config=stamped)]).values()
    try:
        made.result(timeout=DEADLINE_SECONDS)
    except KafkaException as refused:
        what = f"not known: a topic for it may not be made: {refused.args[0].str()}"
        yield warning("clock", "skew", what, "ask as a user who may create topics named foreshock-doctor-*")
        return
    try:
        yield skew_finding(_skew_seconds(settings, name))
    finally:
        client.delete_topics([name], operation_timeout=DEADLINE_SECONDS)[name].exception(timeout=DEADLINE_SECONDS)


def _skew_seconds(settings: Settings, topic: str) -> float:
    """Return how far our clock is ahead of the broker's; exact to half of the time that an answer takes."""
    producer = Producer(producer_config(settings, "foreshock-doctor"))
    found: list[float] = []

    def acknowledged(problem: Any, message: Any) -> None:
        if problem is None:
            found.append((sent + time.time()) / 2 - message.timestamp()[1] / 1e3)

    # The first record waits for connections and ids: the second tells.
    for _ in range(2):
        sent = time.time()
        producer.produce(topic, b"", partition=0, on_delivery=acknowledged)
        producer.flush(DEADLINE_SECONDS)
    if not found:
        raise StateError(f"{topic}: the broker does not acknowledge a record")
    return found[-1]


def skew_finding(seconds: float) -> Finding:
    """Return what a clock that is so far ahead of the broker's means."""
    what = f"this machine is {abs(seconds):.3f} s {'ahead of' if seconds > 0 else 'behind'} the broker"
    fix = "let both follow one time server: timedatectl set-ntp true"
    if abs(seconds) > WRONG_SECONDS:
        return error("clock", "skew", f"{what}: heartbeats by it make good events late, or rows wait", fix)
    if abs(seconds) > SKEW_SECONDS:
        return warning("clock", "skew", f"{what}: latencies are told wrong", fix)
    return fine("clock", "skew", what)
