"""The gate: no record changes in a way that a release's readers or data could not bear."""

from schemas.headers import headers_of
from schemas.released import broken, released, subjects
from schemas.rules import TICKS
from schemas.topics import topics
from streams.commands.schemas import RELEASED


def test_records_fit_every_release():
    assert list(broken(TICKS, released(RELEASED))) == []


def test_every_record_is_released():
    last = list(released(RELEASED).values())[-1]
    assert {subject.schema.get("title", subject.record.title()) for subject in subjects(TICKS).values()} == last.keys()


def test_forecasts_keep_more_than_market_data():
    levels = {subject.topic: subject.level for subject in subjects(TICKS).values()}
    full = {name for name in topics(TICKS) if name.startswith("forecast.")}
    assert {levels[name] for name in full} == {"FULL_TRANSITIVE"}
    assert {levels[name] for name in ("exchange.event.v1", "feature.row.v1", "market.state.v1")} == {
        "BACKWARD_TRANSITIVE"
    }


def test_every_json_record_carries_a_cloud_event():
    for topic in topics(TICKS).values():
        if topic.content == "json" and "checkpoint" not in topic.name:
            for record in topic.records:
                assert "ce_id" in {header.name for header in headers_of(record)}, record
