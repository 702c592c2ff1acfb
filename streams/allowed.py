"""Who is allowed what on a broker with an authorizer: the rules, setting them, and asking before a start."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package does not say what it exports
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from schemas.access import ACCESS
from schemas.errors import StateError
from streams.kafka import DEADLINE_SECONDS, admin
from streams.settings import Settings

ALLOW = "foreshock topics allow"
_READ = ("READ", "DESCRIBE", "DESCRIBE_CONFIGS")
_WRITE = ("WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")


class Rule(NamedTuple):
    """One user may do something; `kind` is topic, or group, whose name is then the beginning of names."""

    user: str
    kind: str
    name: str
    operation: str


def rules_of(user: str) -> list[Rule]:
    """Return all that a user of `schemas.access` may do.

    >>> rules_of("replay")[0]
    Rule(user='replay', kind='topic', name='raw.exchange.v1', operation='WRITE')
    """
    access = ACCESS[user]
    topics = [(name, operation) for name in access.reads for operation in _READ]
    topics += [(name, operation) for name in access.writes for operation in _WRITE]
    found = [Rule(user, "topic", name, operation) for name, operation in dict.fromkeys(topics)]
    return found + [Rule(user, "group", name, operation) for name in access.groups for operation in _READ[:2]]


def allow(settings: Settings, users: Iterable[str] = ACCESS) -> int:
    """Set the rules of users, as an administrator; return how many. Raises StateError where the broker refuses."""
    rules = [rule for user in users for rule in rules_of(user)]
    client = admin(settings)
    answers = client.create_acls([_binding(rule) for rule in rules], request_timeout=DEADLINE_SECONDS)
    for future in answers.values():
        try:
            future.result(timeout=DEADLINE_SECONDS)
        except KafkaException as problem:
            raise StateError(f"the broker sets no rules: {problem.args[0].str()}; ask as its administrator") from None
    return len(rules)


def _binding(rule: Rule) -> Any:
    topic = rule.kind == "topic"
    return AclBinding(
        ResourceType.TOPIC if topic else ResourceType.GROUP,
        rule.name,
        ResourcePatternType.LITERAL if topic else ResourcePatternType.PREFIXED,
        f"User:{rule.user}",
        "*",
        AclOperation[rule.operation],
        AclPermissionType.ALLOW,
    )


def require_allowed(settings: Settings, stage: str) -> None:
    """Raise StateError where the user of the settings may not do all that a stage does; one line says what."""
    if settings.kafka_security == "PLAINTEXT":
        return
    refused = next(_refused(settings, stage), None)
    if refused is not None:
        user = settings.kafka_user or "the certificate's user"
        raise StateError(f"{refused}: {user} is not allowed to; as administrator: {ALLOW}")


def _refused(settings: Settings, stage: str) -> Iterator[str]:
    access, client = ACCESS[stage], admin(settings)
    described = client.describe_topics(
        TopicCollection(list(access.topics)), include_authorized_operations=True, request_timeout=DEADLINE_SECONDS
    )
    for name, future in described.items():
        wanted = {"READ": name in access.reads, "WRITE": name in access.writes}
        yield from (f"{name}: {operation}" for operation in sorted(_missing(future, wanted)))
    for name in access.groups:
        group = name if name == stage else f"{name}reader"
        (future,) = client.describe_consumer_groups([group], request_timeout=DEADLINE_SECONDS).values()
        if _code(future) == KafkaError.GROUP_AUTHORIZATION_FAILED:
            yield f"group {group}: READ"


def _missing(future: Any, wanted: dict[str, bool]) -> set[str]:
    """Return the operations that are wanted and not allowed; a topic that is not there is not for us to tell."""
    operations = {name for name, is_wanted in wanted.items() if is_wanted}
    if _code(future) == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return operations
    if _code(future) is not None:
        return set()
    return operations - {operation.name for operation in future.result().authorized_operations or ()}


def _code(future: Any) -> int | None:
    """Return the code of the error that an answer is, None where it is none."""
    problem = future.exception(timeout=DEADLINE_SECONDS)
    if problem is None:
        return None
    return int(problem.args[0].code()) if isinstance(problem, KafkaException) else KafkaError._FAIL  # noqa: SLF001
