"""Where topics are not as they are declared, what that breaks, and the command that puts it right."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package does not say what it exports
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.access import ACCESS
from schemas.errors import StateError
from schemas.topics import RAW_TOPICS, Topic, topics
from streams.allowed import require_allowed
from streams.kafka import DEADLINE_SECONDS, admin, await_broker, create, existing_topics, watermarks
from streams.settings import Settings, variable

APPLY = "foreshock topics apply"
REPAIR = f"{APPLY} --repair"
_FOREVER = -1


class Problem(msgspec.Struct, frozen=True):
    """One way in which a topic is not as declared. `setting`: its Kafka name, "" where it is no setting."""

    topic: str
    what: str
    fix: str
    setting: str = ""

    def __str__(self) -> str:
        return f"{self.topic}: {self.what}; {self.fix}"


def topic_problems(settings: Settings, names: Iterable[str] | None = None) -> list[Problem]:
    """Return what is wrong with declared topics, all by default, in two questions to the broker.

    Raises StateError without a broker.
    """
    declared = topics(settings.rules)
    wanted = [declared[name] for name in (declared if names is None else dict.fromkeys(names))]
    existing = existing_topics(settings)
    there = [topic for topic in wanted if topic.name in existing]
    found = topic_configs(settings, [topic.name for topic in there])
    problems = [Problem(topic.name, "is missing", f"create it: {APPLY}") for topic in wanted if topic not in there]
    for topic in there:
        if existing[topic.name] != topic.partitions:
            problems.append(_counts(settings, topic, existing[topic.name]))
        problems += _differences(topic, found[topic.name])
    return problems


def require_topics(settings: Settings, names: Iterable[str]) -> None:
    """Raise StateError unless all topics are there as declared: a worker refuses to start otherwise."""
    problems = topic_problems(settings, names)
    if problems:
        more = f" (and {len(problems) - 1} more: foreshock doctor)" if len(problems) > 1 else ""
        raise StateError(str(problems[0]) + more)


def require_topics_of(settings: Settings, user: str) -> None:
    """Wait for the broker; raise StateError unless all that a stage reads and writes is there, and it may do so."""
    await_broker(settings)
    require_allowed(settings, user)
    require_topics(settings, ACCESS[user].topics)


def topic_configs(settings: Settings, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the Kafka settings of topics that exist, by topic; raises StateError."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    client = admin(settings)
    answers: Mapping[Any, Any] = (
        client.describe_configs(resources, request_timeout=DEADLINE_SECONDS) if resources else {}
    )
    return {resource.name: _entries(resource.name, future) for resource, future in answers.items()}


def _entries(name: str, future: Any) -> dict[str, str]:
    try:
        return {entry.name: str(entry.value) for entry in future.result(timeout=DEADLINE_SECONDS).values()}
    except KafkaException as error:
        raise StateError(f"{name}: its settings cannot be read: {error.args[0].str()}") from None


def _counts(settings: Settings, topic: Topic, count: int) -> Problem:
    """A log cannot be cut into other partitions: the settings follow the topics, or an empty topic is made anew."""
    own = f"{topic.name.replace('.', '_').removesuffix('_v1')}_partitions"
    name = variable(own if topic.name in RAW_TOPICS else "partitions")
    what = f"has {count} partitions, {name} says {topic.partitions}"
    if is_empty(settings, topic.name):
        return Problem(topic.name, what, f"it is empty: make it anew with {REPAIR}")
    fix = f"it holds records: export {name}={count}, for all processes, or go to new topics"
    if topic.partitions == 1:
        fix = "it holds records and must have one partition: read it into a file, delete it, and run " + APPLY
    return Problem(topic.name, what, fix)


def is_empty(settings: Settings, name: str) -> bool:
    """Say whether a topic holds no record now and never did."""
    return all(high == 0 for _, high in watermarks(settings, name).values())


def _differences(topic: Topic, found: Mapping[str, str]) -> Iterable[Problem]:
    """Yield what is wrong with a topic's Kafka settings; longer kept and larger messages harm nobody."""
    wanted = topic.config()

    def problem(name: str, why: str) -> Problem:
        what = f"{name} is {found[name]}, declared is {wanted.get(name, 'none')}: {why}"
        return Problem(topic.name, what, f"set it: {REPAIR}", name)

    policy, declared = set(found["cleanup.policy"].split(",")), wanted["cleanup.policy"]
    if policy != {declared}:
        lost = "state that is not the last of its key is lost" if declared == "delete" else "state is deleted with time"
        yield problem("cleanup.policy", lost)
    if "delete" in policy and _shorter(found["retention.ms"], topic.retention_ms if declared == "delete" else _FOREVER):
        yield problem("retention.ms", "records that a restart, a receipt or a backfill needs are deleted")
    if "delete" in policy and int(found["retention.bytes"]) != _FOREVER:
        yield problem("retention.bytes", "records are deleted by size")
    if int(found["max.message.bytes"]) < topic.max_message_bytes:
        yield problem("max.message.bytes", "a record that is larger ends the process that writes it")
    if found["message.timestamp.type"] != wanted["message.timestamp.type"]:
        yield problem("message.timestamp.type", "the times of the writers are lost")


def _shorter(kept_ms: str, wanted_ms: int) -> bool:
    kept = int(kept_ms)
    return kept != _FOREVER and (wanted_ms == _FOREVER or kept < wanted_ms)


def repair(settings: Settings) -> list[str]:
    """Make topics as declared where nothing is lost by it; return what was done, a line each.

    Missing ones are created, Kafka settings set, empty ones with other partition counts made anew.
    Raises StateError where the broker refuses.
    """
    declared = topics(settings.rules)
    existing = existing_topics(settings)
    done = [f"{name}: created" for name in sorted(declared.keys() - existing.keys())]
    create(settings, [declared[name] for name in sorted(declared.keys() - existing.keys())])
    for name, topic in declared.items():
        if name in existing and existing[name] != topic.partitions and is_empty(settings, name):
            _make_anew(settings, topic)
            done.append(f"{name}: made anew with {topic.partitions} partitions")
    wrong: dict[str, list[str]] = {}
    for problem in topic_problems(settings):
        if problem.setting:
            wrong.setdefault(problem.topic, []).append(problem.setting)
    for name, names in wrong.items():
        _set(settings, declared[name], names)
        done += [f"{name}: {setting} set" for setting in names]
    return done


def _make_anew(settings: Settings, topic: Topic) -> None:
    client = admin(settings)
    for future in client.delete_topics([topic.name], operation_timeout=DEADLINE_SECONDS).values():
        _done(topic.name, future)
    create(settings, [topic])


def _set(settings: Settings, topic: Topic, names: Iterable[str]) -> None:
    config = topic.config()
    entries = [
        ConfigEntry(name, config.get(name), incremental_operation=AlterConfigOpType.SET)
        if name in config
        else ConfigEntry(name, None, incremental_operation=AlterConfigOpType.DELETE)
        for name in names
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
    client = admin(settings)
    for future in client.incremental_alter_configs([resource], request_timeout=DEADLINE_SECONDS).values():
        _done(topic.name, future)


def _done(name: str, future: Any) -> None:
    try:
        future.result(timeout=DEADLINE_SECONDS)
    except KafkaException as error:
        raise StateError(f"{name}: the broker refuses the change: {error.args[0].str()}") from None
