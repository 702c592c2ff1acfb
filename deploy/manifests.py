"""What the Helm chart knows of topics and users, made from `schemas/topics.py` and `schemas/access.py`.

`python -m deploy.manifests` writes it; a test holds what is committed against what this makes. The chart's templates
turn it into Strimzi's KafkaTopic and KafkaUser resources.
"""

import json
from pathlib import Path
from typing import Any

from deploy.cache import DEPLOY
from schemas.access import ACCESS, Access
from schemas.rules import TICKS
from schemas.topics import RAW_TOPICS, Topic, topics

CHART = DEPLOY / "helm" / "foreshock"
_READ = ("Read", "Describe", "DescribeConfigs")
_WRITE = ("Write", "Describe", "DescribeConfigs")


def topic_entries() -> list[dict[str, Any]]:
    """Return name, Kafka settings and partitions of each topic; `count` names the setting that counts them, or ""."""
    return [
        {"name": topic.name, "config": topic.config(), "partitions": topic.partitions, "count": _count(topic)}
        for topic in topics(TICKS).values()
    ]


def _count(topic: Topic) -> str:
    """Return the setting that says how many partitions a topic has; "": always as many as are declared."""
    if topic.name in RAW_TOPICS:
        return topic.name.replace(".", "_").removesuffix("_v1") + "_partitions"
    return "partitions" if topic.partitions > 1 else ""


def user_entries() -> list[dict[str, Any]]:
    """Return the rules of each user, as Strimzi writes them."""
    return [{"name": name, "acls": _rules(access)} for name, access in ACCESS.items()]


def _rules(access: Access) -> list[dict[str, Any]]:
    operations: dict[str, list[str]] = {}
    for names, allowed in ((access.reads, _READ), (access.writes, _WRITE)):
        for name in names:
            operations[name] = list(dict.fromkeys([*operations.get(name, ()), *allowed]))
    return [
        *(_rule("topic", name, "literal", allowed) for name, allowed in operations.items()),
        *(_rule("group", name, "prefix", list(_READ[:2])) for name in access.groups),
    ]


def _rule(kind: str, name: str, pattern: str, operations: list[str]) -> dict[str, Any]:
    return {"resource": {"type": kind, "name": name, "patternType": pattern}, "operations": operations}


def generated(chart: Path = CHART) -> dict[Path, str]:
    """Return the text of every generated file of the chart."""
    return {
        chart / "files" / "topics.json": _text(topic_entries()),
        chart / "files" / "users.json": _text(user_entries()),
    }


def _text(entries: list[dict[str, Any]]) -> str:
    return json.dumps(entries, indent=1) + "\n"


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
