import pytest

from featurestore.store import Store, TableWriter
from featurestore.store.intake import build, take
from featurestore.store.tables import FORECASTS, ROWS
from schemas.errors import StateError
from schemas.topics import FEATURE_ROW, FORECAST
from tests.unit.featurestore.store.material import RULES, forecast, held, row_message, write

PLACE = (FEATURE_ROW, 0)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def rows(*messages):
    return build([take(message) for message in messages], RULES)


def writer_of(store, *partitions):
    writer = TableWriter(store, ROWS)
    for partition in partitions or (0,):
        writer.resume(FEATURE_ROW, partition)
    return writer


def test_records_and_the_offset_behind_them_are_in_one_commit(store):
    writer = writer_of(store)
    assert writer.resume(*PLACE) is None
    writer.append(rows(row_message(4, 100), row_message(5, 101)), {PLACE: 6})
    table = store.open("rows")
    assert (table.version(), table.transaction_version(f"{FEATURE_ROW}/0")) == (1, 6)
    assert writer_of(store).resume(*PLACE) == 6


def test_of_repeats_the_first_by_offset_counts(store):
    first = write(store, row_message(0, 100), row_message(1, 101), row_message(2, 100, shift=9.0))
    assert first == (2, 1)
    again = write(store, row_message(3, 101, shift=9.0), row_message(4, 102), row_message(5, 102, shift=9.0))
    assert again == (1, 2)
    assert [(row["source_offset"], row["spread"]) for row in held(store, "rows")] == [
        (0, 100.0),
        (1, 101.0),
        (4, 102.0),
    ]


def test_a_repeat_within_the_life_of_a_writer_is_found_where_it_is_not_newer(store):
    writer = writer_of(store, 0, 1)
    assert writer.append(rows(row_message(0, 100), row_message(1, 105)), {PLACE: 2}) == (2, 0)
    # The other partition is behind: its rows are new all the same.
    other = row_message(0, 99, partition=1, instruments=("binance:ETH-USDT",))
    assert writer.append(rows(other), {(FEATURE_ROW, 1): 1}) == (1, 0)
    assert writer.append(rows(row_message(2, 105), row_message(3, 106)), {PLACE: 4}) == (1, 1)


def test_a_repeat_is_found_after_a_restart_though_something_older_was_new(store):
    # As scores come: those of a long horizon are of older forecasts than those of a short one.
    write(store, row_message(0, 105), row_message(1, 107))
    writer = writer_of(store)
    older = row_message(2, 100, instruments=("binance:ETH-USDT",))
    assert writer.append(rows(older), {PLACE: 3}) == (1, 0)
    assert writer.append(rows(row_message(3, 105), row_message(4, 108)), {PLACE: 5}) == (1, 1)
    assert writer.append(rows(row_message(5, 107), row_message(6, 100)), {PLACE: 7}) == (1, 1)


def test_nothing_is_committed_where_all_are_repeats(store):
    write(store, row_message(0, 100))
    version = store.open("rows").version()
    assert write(store, row_message(1, 100)) == (0, 1)
    assert store.open("rows").version() == version


def test_a_feature_that_joins_is_a_column_with_nulls_before(store):
    write(store, row_message(0, 100, spread=1.0))
    write(store, row_message(1, 101, spread=2.0, depth=7.0), row_message(2, 102, depth=8.0))
    assert [(row["spread"], row["depth"]) for row in held(store, "rows")] == [(1.0, None), (2.0, 7.0), (None, 8.0)]


def test_a_writer_that_was_overtaken_is_refused(store):
    sleeper, successor = writer_of(store), writer_of(store)
    successor.append(rows(row_message(0, 100)), {PLACE: 1})
    with pytest.raises(StateError, match=r"rows: another writer took feature\.row\.v1\[0\] from None to 1"):
        sleeper.append(rows(row_message(0, 100)), {PLACE: 1})
    assert len(held(store, "rows")) == 1


def test_a_writer_that_was_overtaken_in_one_partition_may_not_write_it_after_another(store):
    sleeper, successor = writer_of(store, 0, 1), writer_of(store, 0)
    successor.append(rows(row_message(0, 100)), {PLACE: 1})
    # The commit of its own partition brings the successor's into view: the place itself is what counts.
    other = row_message(0, 100, partition=1, instruments=("binance:ETH-USDT",))
    sleeper.append(rows(other), {(FEATURE_ROW, 1): 1})
    with pytest.raises(StateError, match="another writer"):
        sleeper.append(rows(row_message(0, 100)), {PLACE: 1})
    assert len(held(store, "rows")) == 2


def test_two_writers_of_different_partitions_lose_nothing_and_may_bring_columns(store):
    one, two = writer_of(store, 0), writer_of(store, 1)
    for n in range(5):
        one.append(rows(row_message(n, 100 + n, **{f"a{n}": 1.0})), {PLACE: n + 1})
        theirs = row_message(n, 100 + n, partition=1, instruments=("binance:ETH-USDT",), **{f"b{n}": 1.0})
        two.append(rows(theirs), {(FEATURE_ROW, 1): n + 1})
    table = store.open("rows").to_pyarrow_table()
    assert len(table) == 10
    assert {f"{letter}{n}" for letter in "ab" for n in range(5)} <= set(table.column_names)


def test_offsets_move_alone_among_other_writers_and_keep_the_columns_that_these_brought(store):
    one, two = writer_of(store, 0), writer_of(store, 1)
    one.move({PLACE: 7})
    assert (store.open("rows").version(), store.open("rows").count()) == (1, 0)
    theirs = row_message(0, 100, partition=1, instruments=("binance:ETH-USDT",), depth=1.0)
    two.append(rows(theirs), {(FEATURE_ROW, 1): 1})
    one.move({PLACE: 9})
    two.move({(FEATURE_ROW, 1): 3})
    assert "depth" in store.open("rows").to_pyarrow_dataset().schema.names
    assert [writer_of(store).resume(FEATURE_ROW, partition) for partition in (0, 1)] == [9, 3]
    sleeper = writer_of(store)
    one.append(rows(row_message(9, 101)), {PLACE: 10})
    with pytest.raises(StateError, match="another writer took"):
        sleeper.move({PLACE: 11})


def test_records_that_came_by_no_topic_are_numbered_under_a_source_of_their_own(store):
    write(store, forecast(0, 100))
    writer = TableWriter(store, FORECASTS)
    more = build([take(forecast(0, 101)), take(forecast(1, 102))], RULES)
    plain = more.drop(["known_time_ns", "source", "source_partition", "source_offset"])
    assert writer.add(plain.slice(0, 1), "correction", known_time_ns=5) == (1, 0)
    assert writer.add(plain, "correction", known_time_ns=6) == (1, 1)
    told = [(row["source"], row["source_offset"], row["known_time_ns"]) for row in held(store, "forecasts")]
    assert told[:2] == [("correction", 0, 5), ("correction", 1, 6)]
    assert told[2][:2] == (FORECAST, 0)


def test_what_there_is_not_is_told(store, tmp_path):
    assert store.open("rows") is None
    with pytest.raises(StateError, match="there is no table 'row'; there are: rows, tiles"):
        store.open("row")
    with pytest.raises(StateError, match="cannot be"):
        Store(str(tmp_path / "file" / "store")).create(ROWS) if (tmp_path / "file").write_text("") == 0 else None
