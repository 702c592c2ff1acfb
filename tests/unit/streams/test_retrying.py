import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.retrying import patiently


def failing(*codes):
    """A question that fails with each of these codes, then is answered."""
    left = list(codes)

    def ask():
        if left:
            raise KafkaException(KafkaError(left.pop(0)))
        return "answer"

    return ask


def test_a_partition_between_two_leaders_is_asked_again():
    moving = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE)
    assert patiently(failing(*moving), deadline_seconds=10.0) == "answer"


def test_what_time_does_not_mend_is_raised_at_once():
    ask = failing(KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException, match="authoriz"):
        patiently(ask, deadline_seconds=10.0)
    with pytest.raises(KafkaException, match="authoriz"):
        ask()


def test_the_last_error_is_raised_at_the_deadline():
    with pytest.raises(KafkaException, match="leader"):
        patiently(failing(*[KafkaError.NOT_LEADER_FOR_PARTITION] * 10_000), deadline_seconds=0.3)
