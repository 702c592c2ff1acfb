"""Consumer groups of the stages: who is in them, how far they are, and whether their commits can be true."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException

from schemas.access import ACCESS
from schemas.errors import StateError
from streams.doctor.finding import Finding, error, fine, warning
from streams.ends import Place, committed, ends_at_once
from streams.kafka import DEADLINE_SECONDS, admin, consumer, partition_counts
from streams.settings import Settings

STAGES = ("ingest", "featurize", "infer", "score")
_CLIENT = "kafka-consumer-groups.sh"


class Group(NamedTuple):
    """One consumer group. `offsets`: by (topic, partition), what is committed and where the log ends."""

    name: str
    state: str
    members: int
    offsets: Mapping[Place, tuple[int, int]]


def group_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say of each stage's group; raises StateError where the broker does not say."""
    for name in group_names(settings):
        try:
            group = _group(settings, name)
        except KafkaException as problem:
            raise StateError(f"group {name}: {problem.args[0].str()}") from None
        yield from findings_of(group, settings.bootstrap_servers)


def group_names(settings: Settings) -> tuple[str, ...]:
    """Return the stages that are groups."""
    return (*STAGES, "store") if settings.store == "on" else STAGES


def places_read(settings: Settings, name: str) -> list[Place]:
    """Return the partitions that a stage reads and that are there."""
    counts = partition_counts(settings, ACCESS[name].reads)
    return [(topic, partition) for topic, count in counts.items() for partition in range(count)]


def offsets_of(reader: Consumer, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
    """Return by place what the reader's group has committed and where the log ends; raises KafkaException."""
    found = committed(reader, places, DEADLINE_SECONDS)
    ends = ends_at_once(reader, found, DEADLINE_SECONDS) if found else {}
    return {place: (offset, ends[place]) for place, offset in found.items()}


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


def _group(settings: Settings, name: str) -> Group:
    reader = consumer(settings, name)
    try:
        offsets = offsets_of(reader, places_read(settings, name))
    finally:
        reader.close()
    client = admin(settings)
    (described,) = client.describe_consumer_groups([name], request_timeout=DEADLINE_SECONDS).values()
    try:
        found = described.result(timeout=DEADLINE_SECONDS)
    except KafkaException:  # a group that nobody ever joined: Kafka 4 knows none of its name
        return Group(name, "unknown", 0, offsets)
    return Group(name, found.state.name, len(found.members), offsets)
