"""What ingest decides, whatever happens to it, is what the rules say."""

import pytest
from histories import CALM, STORM, ingest
from oracle import judge
from world import RULES, decode, random_log

from schemas.batches import Progress, decode_batch


@pytest.fixture(autouse=True)
def test_format(monkeypatch):
    monkeypatch.setattr("streams.ingest.normaliser.formats", lambda: {"test": decode})


def content(canonical):
    """Distinct events by stamp, and the greatest watermark of each raw partition, per canonical partition."""
    events, watermarks = {}, {}
    for (topic, partition), messages in canonical.items():
        for headers, value in messages:
            if value:
                for row in decode_batch(value).to_arrow().to_pylist():
                    stamp = (topic, partition, row["raw_partition"], row["raw_offset"], row["raw_index"])
                    row = {name: "unknown" if found != found else found for name, found in row.items()}  # noqa: PLR0124, PLW2901
                    assert events.setdefault(stamp, row) == row, "a repeat says something else"
            if "progress" in headers:
                progress = Progress.decode(headers["progress"])
                key = (topic, partition, progress.raw_partition)
                watermarks[key] = max(watermarks.get(key, -(1 << 62)), progress.watermark_ns)
    return events, watermarks


@pytest.mark.parametrize("seed", range(24))
def test_histories_of_ingest_change_nothing(seed):
    log = random_log(seed)
    calm = content(ingest(log, RULES, seed, CALM))
    for other in range(3):
        assert content(ingest(log, RULES, 1000 * other + seed, STORM)) == calm


@pytest.mark.parametrize("seed", range(24))
def test_ingest_decides_as_the_rules_say(seed):
    log = random_log(seed)
    events, watermarks = content(ingest(log, RULES, seed, CALM))
    judged = judge(log, RULES)
    found = {
        (topic, row["raw_partition"], row["raw_offset"], row["raw_index"]): row["tile_time_ns"]
        for (topic, *_), row in events.items()
    }
    expected = {(a.event.topic, a.raw_partition, a.raw_offset, a.raw_index): a.tile_time for a in judged.accepted}
    assert found == expected
    step = RULES.row_interval_ns
    for (topic, _, raw_partition), watermark in watermarks.items():
        truth = judged.last_w["raw." + topic.replace(".event", ""), raw_partition]
        assert watermark // step == truth // step
