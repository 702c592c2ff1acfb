"""A broker whose topics are empty again, for another run."""

import time
from collections.abc import Iterable

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # as in topic_setup
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.errors import StackError
from schemas.topics import FEATURIZE_CHECKPOINT, INFER_CHECKPOINT, RAW_TOPICS, SCORE_CHECKPOINT, topics
from streams.kafka import admin
from streams.pipeline import prepare
from streams.settings import Settings

_ADMIN_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_CHECKPOINTS = (FEATURIZE_CHECKPOINT, INFER_CHECKPOINT, SCORE_CHECKPOINT)
_COMPACT_AFTER = "min.compaction.lag.ms"
_KEPT_MS = 7 * 86_400_000


def reset(settings: Settings, *, keep: Iterable[str] = RAW_TOPICS) -> None:
    """Forget all but the raw topics, so that the same raw log can be processed anew; `keep=()`: these too.

    Commits go with their topics; those of topics that are kept are waited for, as long as a static member
    that has ended still counts as one.
    """
    client = admin(settings)
    doomed = topics(settings.rules).keys() - set(keep)
    existing = [name for name in client.list_topics(timeout=_ADMIN_SECONDS).topics if name in doomed]
    for future in (client.delete_topics(existing, operation_timeout=_ADMIN_SECONDS) if existing else {}).values():
        future.result()
    give_up = time.monotonic() + _ADMIN_SECONDS
    while set(client.list_topics(timeout=_ADMIN_SECONDS).topics) & doomed or (not _groups_gone(client) and keep):
        if time.monotonic() > give_up:
            raise StackError(f"the broker did not delete its topics and groups within {_ADMIN_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)
    prepare(settings)
    _keep_checkpoints(client)


def _groups_gone(client: AdminClient) -> bool:
    """Delete all consumer groups that have no member, and return whether none is left."""
    groups = [group.group_id for group in client.list_consumer_groups().result().valid]
    asked = client.delete_consumer_groups(groups) if groups else {}
    return all(future.exception(timeout=_ADMIN_SECONDS) is None for future in asked.values())


def _keep_checkpoints(client: AdminClient) -> None:
    """Have the broker compact no checkpoints: the verifier asks what each commit was covered by at its time."""
    waiting = ConfigEntry(_COMPACT_AFTER, str(_KEPT_MS), incremental_operation=AlterConfigOpType.SET)
    changes = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[waiting]) for name in _CHECKPOINTS]
    for future in client.incremental_alter_configs(changes).values():
        future.result(timeout=_ADMIN_SECONDS)
