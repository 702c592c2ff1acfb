"""Questions to the broker that are asked again: with backoff, jitter and a deadline, by stamina."""

from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

_Answer = TypeVar("_Answer")

_MOVING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
"""A partition of a new topic, or of a broker that has just come back, has no leader for a moment."""


def patiently(ask: Callable[[], _Answer], deadline_seconds: float) -> _Answer:
    """Return the answer of `ask`; asks again while what Kafka says is a matter of time.

    Raises:
        KafkaException: another error, or still the same one at the deadline.
    """
    try:
        return ask()
    except KafkaException as error:
        if not _passes(error):
            raise
    import stamina  # a tenth of a second of each start, for what is rare

    return stamina.retry(
        on=_passes, attempts=None, timeout=deadline_seconds, wait_initial=0.05, wait_max=1.0, wait_jitter=0.1
    )(ask)()


def _passes(error: Exception) -> bool:
    if not isinstance(error, KafkaException):
        return False
    reason = error.args[0]
    return bool(reason.retriable()) or reason.code() in _MOVING
