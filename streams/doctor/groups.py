"""Consumer groups of the stages: who is in them, how far they are, and whether their commits can be true."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # as in topic_setup

from schemas.errors import StateError
from streams.doctor.finding import Finding, error, fine, warning
from streams.kafka import DEADLINE_SECONDS, admin
from streams.settings import Settings

STAGES = ("ingest", "featurize", "infer", "score")
_CLIENT = "kafka-consumer-groups.sh"


class Group(NamedTuple):
    """One consumer group. `offsets`: by (topic, partition), what is committed and where the log ends."""

    name: str
    state: str
    members: int
    offsets: Mapping[tuple[str, int], tuple[int, int]]


def group_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say of each stage's group; raises StateError where the broker does not say."""
    for group in groups_of(admin(settings), settings):
        yield from findings_of(group, settings.bootstrap_servers)


def groups_of(client: Any, settings: Settings) -> Iterator[Group]:
    """Yield each stage's group, asked through an admin client; raises StateError where the broker does not say."""
    for name in (*STAGES, "store") if settings.store == "on" else STAGES:
        try:
            yield _group(client, name)
        except KafkaException as problem:
            raise StateError(f"group {name}: {problem.args[0].str()}") from None


def findings_of(group: Group, servers: str) -> Iterator[Finding]:
    """Yield what there is to say of one group."""
    beyond = {place: (at, end) for place, (at, end) in group.offsets.items() if at > end}
    for (topic, partition), (at, end) in sorted(beyond.items()):
        yield error(
            "groups",
            group.name,
            f"committed offset {at} of {topic}[{partition}], which ends at {end}: the topic was made anew",
            f"stop the stage, then {_CLIENT} --bootstrap-server {servers} --group {group.name} --topic {topic} "
            "--reset-offsets --to-latest --execute; its checkpoints must go too",
        )
    lag = sum(max(0, end - at) for at, end in group.offsets.values())
    what = f"{group.members} members ({group.state.lower()}), {lag} records behind"
    if not group.members:
        yield warning("groups", group.name, f"nobody is in it, {lag} records wait", f"foreshock run, or {group.name}")
    elif not beyond:
        yield fine("groups", group.name, what)


def _group(client: Any, name: str) -> Group:
    (described,) = client.describe_consumer_groups([name], request_timeout=DEADLINE_SECONDS).values()
    (listed,) = client.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(name)], request_timeout=DEADLINE_SECONDS
    ).values()
    places: list[Any] = [
        place for place in listed.result(timeout=DEADLINE_SECONDS).topic_partitions or [] if place.offset >= 0
    ]
    asked = {
        TopicPartition(place.topic, place.partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for place in places
    }
    answers = client.list_offsets(asked, request_timeout=DEADLINE_SECONDS) if asked else {}
    ends = {(place.topic, place.partition): _end(future) for place, future in answers.items()}
    offsets = {
        (place.topic, place.partition): (place.offset, ends[place.topic, place.partition])
        for place in places
        if ends[place.topic, place.partition] is not None
    }
    try:
        found = described.result(timeout=DEADLINE_SECONDS)
    except KafkaException:  # a group that nobody ever joined: Kafka 4 knows none of its name
        return Group(name, "unknown", 0, {})
    return Group(name, found.state.name, len(found.members), offsets)


def _end(future: Any) -> Any:
    """Return where a partition ends, None where it is not there any more."""
    try:
        return future.result(timeout=DEADLINE_SECONDS).offset
    except KafkaException:
        return None
