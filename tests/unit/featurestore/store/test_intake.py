import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.backfill import CanonicalMessage
from featurestore.store import Store
from featurestore.store.intake import INTAKES, build, take
from schemas.errors import DecodeError
from schemas.rules import SECOND_NS
from schemas.topics import FEATURE_ROW, FORECAST, LATE_EVENT, ONCHAIN_EVENT
from tests.unit.featurestore.store.material import (
    KNOWN_AFTER,
    RULES,
    attention,
    event_message,
    forecast,
    held,
    late,
    post,
    row_message,
    score,
    transfer,
    write,
)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_rows_bear_what_their_message_says(store):
    write(store, row_message(3, 100, instruments=("a:X-Y", "a:Z-Y"), spread=1.0, depth=float("nan")))
    first, second = held(store, "rows")
    assert (first["instrument_id"], first["row_time_ns"], first["spread"]) == ("a:X-Y", 100 * SECOND_NS, 1.0)
    assert (second["instrument_id"], second["spread"]) == ("a:Z-Y", 1.001)
    assert first["depth"] is None
    assert first["age_trade"] == 0.5
    assert first["known_time_ns"] == 100 * SECOND_NS + KNOWN_AFTER
    assert (first["source"], first["source_partition"], first["source_offset"]) == (FEATURE_ROW, 0, 3)
    assert (first["rules_id"], first["feature_set_id"]) == ("rules", "set-spread-depth")


def test_forecasts_and_scores_have_their_figures_in_columns_and_their_record_whole(store):
    write(store, forecast(0, 100, mean=2e-4))
    write(store, score(0, 100))
    write(store, attention(0, 100))
    told, scored, looked = (held(store, name)[0] for name in ("forecasts", "scores", "attention"))
    assert (told["mean_5m"], told["quantile_0_05_5m"], told["model_version"]) == (2e-4, 1e-4, "3")
    assert json.loads(told["record"])["receipt"]["batch"] == [16, 3]
    assert (scored["qlike_combined"], scored["realised_variance"]) == (2.0, 2e-4)
    assert scored["known_time_ns"] == 400 * SECOND_NS + KNOWN_AFTER
    assert looked["mass_trade"] == 1.0


def test_a_late_event_is_kept_whole_and_known_when_it_was_received(store):
    write(store, late(0, 100, 104), late(1, 100, 104))
    (found,) = held(store, "late")
    assert (found["record"], found["reason"], found["by_ns"]) == ("trade", "late", SECOND_NS)
    assert json.loads(found["event"]) == {"price": 100.0, "size": 1.0, "side": 1}
    assert found["known_time_ns"] == 104 * SECOND_NS


def test_events_of_all_assets_are_kept_once(store):
    told = [transfer("t1", 10), transfer("t2", 11, asset="BTC")]
    write(store, event_message(0, told))
    write(store, event_message(0, told, partition=1))
    kept = {(row["source_partition"], row["id"]) for row in held(store, "flows")}
    assert kept == {(0, "t1"), (0, "t2")}
    write(store, event_message(1, [post("p", 12, 3)], first_raw=5))
    assert held(store, "sentiment")[0]["known_time_ns"] == 12 * SECOND_NS


def test_messages_of_progress_alone_and_tombstones_hold_nothing():
    assert take(CanonicalMessage(ONCHAIN_EVENT, 0, 0, {"record": b"progress", "progress": b"0:1:2"}, b"")) is None
    assert take(CanonicalMessage(FORECAST, 0, 0, {}, None)) is None


def test_the_place_and_the_path_of_what_is_wrong_are_told():
    with pytest.raises(DecodeError, match=r"feature\.row\.v1\[2\]@7 \$: expected an Arrow IPC stream, got 5 bytes"):
        take(CanonicalMessage(FEATURE_ROW, 2, 7, {}, b"bytes"))
    huge = late(0, 1, 2).value.replace(b'"by_ns":1000000000', b'"by_ns":1' + b"0" * 30)
    with pytest.raises(DecodeError, match=r"\$\.by_ns: expected a number of 62 bits"):
        take(CanonicalMessage(LATE_EVENT, 0, 0, {}, huge))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [row_message(0, 1), forecast(0, 1), late(0, 1, 2), score(0, 1), event_message(0, [transfer("t", 3)])]
    ),
    st.data(),
)
def test_whatever_the_bytes_are_a_message_is_read_or_refused(message, data):
    value = bytearray(message.value)
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(value)))
    for hostile in (bytes(value), bytes(value[:cut])):
        try:
            taken = take(message._replace(value=hostile))
        except DecodeError:
            continue
        if taken is not None:
            assert len(build([taken], RULES)) == INTAKES[message.topic].size(taken.content)
