import pytest

from schemas.errors import StateError
from streams import kafka
from streams.settings import Settings


def answering_after(silences, asked):
    def existing_topics(_):
        asked.append(None)
        if len(asked) <= silences:
            raise StateError("no Kafka broker answers")
        return {}

    return existing_topics


def test_a_worker_that_starts_in_an_outage_waits_for_its_end(monkeypatch):
    asked = []
    monkeypatch.setattr(kafka, "existing_topics", answering_after(3, asked))
    kafka.await_broker(Settings())
    assert len(asked) == 4


def test_an_outage_that_outlasts_an_acknowledgement_ends_it(monkeypatch):
    asked, hour = [], iter(range(0, 36_000, 3_600))
    monkeypatch.setattr(kafka, "existing_topics", answering_after(9, asked))
    monkeypatch.setattr(kafka.time, "monotonic", lambda: next(hour))
    with pytest.raises(StateError, match="no Kafka broker answers"):
        kafka.await_broker(Settings(delivery_timeout_seconds=3_000))
    assert len(asked) == 1
