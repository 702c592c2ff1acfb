"""What a read may see at a moment, each case with its timeline in seconds."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.store import Store, TableWriter, events, point_in_time
from featurestore.store.tables import LABELS, ROWS
from schemas.errors import StateError
from schemas.rules import DAY_NS, SECOND_NS
from tests.unit.featurestore.store.material import (
    event_message,
    held,
    late,
    post,
    row_message,
    transfer,
    write,
)

BTC = "binance:BTC-USDT"


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def asked(*seconds, instrument=BTC):
    times = [round(second * SECOND_NS) for second in seconds]
    return pa.table({"instrument_id": [instrument] * len(times), "time_ns": pa.array(times, pa.int64())})


def spreads(store, entities, as_known_at=None, **options):
    moment = None if as_known_at is None else round(as_known_at * SECOND_NS)
    return point_in_time(store, entities, ["spread"], moment, **options)["spread"].to_pylist()


def correct(store, second, known_second, value):
    """Add a version of the row of a second that became known later."""
    row = next(row for row in held(store, "rows") if row["row_time_ns"] == second * SECOND_NS)
    kept = {name: [row[name]] for name in row if not name.startswith(("source", "known", "date"))}
    ages = {name: pa.array(column, pa.float64()) for name, column in kept.items() if name.startswith("age_")}
    TableWriter(store, ROWS).add(pa.table(kept | ages | {"spread": [value]}), "with-late", known_second * SECOND_NS)


def test_a_row_is_known_from_the_time_at_which_the_rules_complete_it(store):
    # row at:  100      101           known: 112.5    113.5
    #           |--------|------ ... --------|----------|------
    # asked:       101       112.4    112.5    113.4   113.5
    write(store, row_message(0, 100), row_message(1, 101))
    assert spreads(store, asked(101, 112.4, 112.5, 113.4, 113.5)) == [None, None, 100.0, 100.0, 101.0]


def test_a_moment_in_the_future_sees_the_row_of_each_time_itself(store):
    write(store, row_message(0, 100), row_message(1, 101))
    assert spreads(store, asked(99.9, 100, 100.9, 101, 150), as_known_at=200) == [None, 100.0, 100.0, 101.0, 101.0]
    assert spreads(store, asked(100, 101), as_known_at=112.5) == [100.0, 100.0]


def test_rows_are_of_their_own_instrument_and_no_older_than_asked_for(store):
    write(store, row_message(0, 100, instruments=(BTC, "binance:ETH-USDT")))
    assert spreads(store, asked(120, instrument="binance:ETH-USDT")) == [100.001]
    assert spreads(store, asked(120, instrument="binance:XRP-USDT")) == [None]
    assert spreads(store, asked(120), max_age_ns=20 * SECOND_NS) == [None]
    assert spreads(store, asked(120), max_age_ns=21 * SECOND_NS) == [100.0]
    assert spreads(store, asked(120 + 2 * 86_400)) == [None]


def test_a_late_event_is_invisible_before_it_came_and_never_in_the_row_that_was_served(store):
    # trade at 99.0 s -------- row of 100 known at 112.5 ------- the trade comes at 130 ---- corrected row
    write(store, row_message(0, 100), row_message(1, 120))
    write(store, late(0, 99, 130))
    correct(store, 100, known_second=130, value=-1.0)
    assert spreads(store, asked(115, 129)) == [100.0, 100.0]
    assert spreads(store, asked(131)) == [-1.0]
    assert spreads(store, asked(133)) == [120.0]  # known at 132.5; the correction is of an older row
    assert spreads(store, asked(100, 120), as_known_at=129) == [100.0, 100.0]
    assert spreads(store, asked(100, 120), as_known_at=140) == [-1.0, 120.0]

    def of(known):
        return events(store, "late", 90 * SECOND_NS, 110 * SECOND_NS, known * SECOND_NS)["event_time_ns"].to_pylist()

    assert of(129) == []
    assert of(130) == [99 * SECOND_NS]
    assert len(events(store, "late", 90 * SECOND_NS, 110 * SECOND_NS)) == 0  # at the end of the span


def test_the_newest_version_known_counts_whatever_the_order_of_writing(store):
    write(store, row_message(0, 100))
    correct(store, 100, known_second=300, value=-3.0)
    correct(store, 100, known_second=200, value=-2.0)
    known = {moment: spreads(store, asked(100), as_known_at=moment)[0] for moment in (112, 113, 199, 200, 299, 300)}
    assert known == {112: None, 113: 100.0, 199: 100.0, 200: -2.0, 299: -2.0, 300: -3.0}


def flows(store, as_known_at=None, start=0, end=1000):
    moment = None if as_known_at is None else as_known_at * SECOND_NS
    return events(store, "flows", start * SECOND_NS, end * SECOND_NS, moment).to_pylist()


def label(store, address, name, known_second):
    TableWriter(store, LABELS).add(
        pa.table({"address": [address], "label": [name]}), "labels", known_second * SECOND_NS
    )


def test_a_label_is_invisible_before_it_was_published(store):
    # transfer to 0xe at 100 ------ 0xe is labelled "kraken" at 150 ------ relabelled "okx" at 180
    write(store, event_message(0, [transfer("t", 100, taker="0xe")]))
    label(store, "0xe", "kraken", 150)
    label(store, "0xe", "okx", 180)
    found = {moment: flows(store, moment)[0]["to_label"] for moment in (100, 149, 150, 179, 180)}
    assert found == {100: None, 149: None, 150: "kraken", 179: "kraken", 180: "okx"}
    assert flows(store, 180)[0]["from_label"] is None


def test_a_reorganised_block_is_what_it_was_until_the_chain_went_back(store):
    # block:  100(a) 101(b) 102(c) | back to 101: 101(b again) 102(d)
    # known:  10     11     12     | 20           21
    first = [transfer("a", 10, block=100), transfer("b", 11, block=101), transfer("c", 12, block=102)]
    again = [transfer("b", 20, block=101, amount=6.0), transfer("d", 21, block=102)]
    write(store, event_message(0, first))
    write(store, event_message(1, again, first_raw=3))

    def told(moment):
        return [(row["id"], row["amount"]) for row in flows(store, moment)]

    assert told(9) == []
    assert told(19) == [("a", 5.0), ("b", 5.0), ("c", 5.0)]
    assert told(20) == [("a", 5.0), ("b", 6.0)]
    assert told(21) == [("a", 5.0), ("b", 6.0), ("d", 5.0)]


def test_a_block_told_twice_in_a_row_is_told_anew(store):
    write(store, event_message(0, [transfer("a", 10), transfer("b", 10)]))
    write(store, event_message(1, [transfer("a", 20), transfer("c", 20)], first_raw=2))
    assert [row["id"] for row in flows(store, 19)] == ["a", "b"]
    assert [row["id"] for row in flows(store, 20)] == ["a", "c"]


def test_a_feed_that_sends_blocks_again_from_before_the_span_takes_nothing_away(store):
    # told: 100(a) at 10, 101(b) at 20; the span begins at 15; sent again from 100 on, a alone so far
    write(store, event_message(0, [transfer("a", 10, block=100), transfer("b", 20, block=101)]))
    write(store, event_message(1, [transfer("a", 30, block=100, event_second=10)], first_raw=2))
    found = events(store, "flows", 15 * SECOND_NS, 40 * SECOND_NS)
    assert found["id"].to_pylist() == ["b"]


def test_a_late_post_is_invisible_before_it_was_fetched(store):
    # written at 50 ---------- fetched at 90
    write(store, event_message(0, [post("p", 90, 50), post("q", 60, 55)]))

    def names(as_known_at=None, end=70):
        moment = None if as_known_at is None else as_known_at * SECOND_NS
        return events(store, "sentiment", 40 * SECOND_NS, end * SECOND_NS, moment)["id"].to_pylist()

    assert names() == ["q"]  # at the end of the span
    assert names(89) == ["q"]
    assert names(90) == ["q", "p"]
    assert names(30) == []
    assert names(end=52, as_known_at=100) == ["p"]


def test_what_is_not_there_is_told(store):
    with pytest.raises(StateError, match="no such table; `foreshock store run` writes it"):
        spreads(store, asked(1))
    with pytest.raises(StateError, match="expected one of flows, sentiment, late, got 'trades'"):
        events(store, "trades", 0, 1)
    write(store, row_message(0, 100))
    with pytest.raises(StateError, match="has no column 'spraed'"):
        point_in_time(store, asked(1), ["spraed"])


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([BTC, "b:X-Y"]), st.integers(10, 30), st.integers(0, 25), st.integers(0, 99)),
        min_size=1,
        max_size=15,
        unique_by=lambda row: row[:3],
    ),
    st.lists(st.tuples(st.sampled_from([BTC, "b:X-Y"]), st.integers(5, 70)), min_size=1, max_size=10),
    st.none() | st.integers(5, 60),
)
def test_reads_are_what_a_search_through_all_versions_finds(tmp_path_factory, versions, asks, moment):
    store = Store(str(tmp_path_factory.mktemp("store")))
    writer = TableWriter(store, ROWS)
    names, seconds, delays, values = (list(column) for column in zip(*versions, strict=True))
    times = np.array(seconds) * SECOND_NS
    known = times + np.array(delays) * SECOND_NS
    spread = np.array(values, float)
    rows = {"instrument_id": names, "row_time_ns": times, "known_time_ns": known, "quality": [0] * len(names)}
    writer.add(pa.table(rows | {"spread": spread}), "made")

    def search(name, second):
        seen = [
            (row[1], row[1] + row[2], number, row[3])
            for number, row in enumerate(versions)
            if row[0] == name and row[1] <= second and row[1] + row[2] <= (second if moment is None else moment)
        ]
        return float(max(seen)[3]) if seen else None

    entities = pa.table(
        {"instrument_id": [name for name, _ in asks], "time_ns": np.array([second for _, second in asks]) * SECOND_NS}
    )
    at = None if moment is None else moment * SECOND_NS
    found = point_in_time(store, entities, ["spread"], at, max_age_ns=DAY_NS)["spread"].to_pylist()
    assert found == [search(*ask) for ask in asks]
