import pytest

from featurestore.backfill import CanonicalMessage
from featurestore.store import Store, TableWriter
from featurestore.store.tables import FLOWS, ROWS
from schemas.errors import DecodeError, StateError
from schemas.topics import FEATURE_ROW, ONCHAIN_EVENT
from streams.store import buffer as module
from streams.store.buffer import TopicBuffer
from tests.unit.featurestore.store.material import RULES, held, row_message


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def buffer_of(store, *partitions):
    buffer = TopicBuffer(FEATURE_ROW, TableWriter(store, ROWS), RULES)
    for partition in partitions or (0,):
        buffer.assign(partition, buffer.resume(partition) or 0)
    return buffer


def put(buffer, *messages):
    for message in messages:
        buffer.put(message)


def test_what_is_committed_is_where_a_restart_reads_on(store):
    buffer = buffer_of(store)
    put(buffer, *(row_message(n, 100 + n) for n in range(5)))
    assert (buffer.rows, buffer.commit(), buffer.rows) == (5, (5, 0), 0)
    put(buffer, row_message(5, 105))  # waits, and is lost with the process
    again = buffer_of(store)
    assert again.positions() == {0: 5}
    put(again, row_message(5, 105))
    assert again.commit() == (1, 0)
    assert [row["source_offset"] for row in held(store, "rows")] == [0, 1, 2, 3, 4, 5]


def test_an_offset_is_taken_once_and_only_of_partitions_that_are_ours(store):
    buffer = buffer_of(store)
    put(buffer, row_message(0, 100), row_message(0, 100), row_message(0, 100, partition=1))
    assert buffer.rows == 1
    assert buffer.positions() == {0: 1}


def test_a_jump_is_read_again_before_it_is_believed(store):
    buffer = buffer_of(store)
    put(buffer, row_message(0, 100))
    assert buffer.expects(0, 0) is None  # left out
    assert buffer.expects(0, 1) is None
    assert [buffer.expects(0, 7) for _ in range(4)] == [1, 1, 1, None]
    assert buffer.expects(3, 7) is None  # not ours


def test_a_message_that_cannot_be_read_is_passed(store):
    buffer = buffer_of(store)
    with pytest.raises(DecodeError, match=r"feature\.row\.v1\[0\]@0"):
        buffer.put(row_message(0, 100)._replace(value=b"bytes"))
    put(buffer, row_message(1, 101))
    buffer.commit()
    assert buffer.committed() == {0: 2}
    assert buffer_of(store).positions() == {0: 2}


def test_repeats_alone_move_with_what_comes_after_them(store):
    buffer = buffer_of(store)
    put(buffer, row_message(0, 100))
    buffer.commit()
    put(buffer, row_message(1, 100), row_message(2, 100))
    assert buffer.commit() == (0, 2)
    assert (buffer.committed(), buffer.positions()) == ({0: 1}, {0: 3})
    put(buffer, row_message(3, 103))
    assert buffer.commit() == (1, 0)
    assert buffer_of(store).positions() == {0: 4}


def progress(offset, partition=0):
    """A message of the chain's topic without an event: ingest writes one a second into each partition."""
    return CanonicalMessage(ONCHAIN_EVENT, partition, offset, {"record": b"progress"}, b"")


def test_many_messages_without_a_record_move_the_offsets_alone(store, monkeypatch):
    # offsets 0 1 2 3 | 4 5 6 and the process is killed: a restart reads 4 to 6 again, not all
    monkeypatch.setattr(module, "MOST_READ_AGAIN", 4)
    buffer = TopicBuffer(ONCHAIN_EVENT, TableWriter(store, FLOWS), RULES)
    for partition in (0, 1):
        buffer.assign(partition, buffer.resume(partition) or 0)
    put(buffer, *map(progress, range(3)))
    assert not buffer.is_due()
    assert (buffer.commit(), buffer.committed()) == ((0, 0), {0: 0, 1: 0})
    put(buffer, progress(0, partition=1))
    assert buffer.is_due()
    assert (buffer.commit(), buffer.committed()) == ((0, 0), {0: 3, 1: 1})
    put(buffer, progress(3))
    assert not buffer.is_due()
    again = TableWriter(store, FLOWS)
    assert [again.resume(ONCHAIN_EVENT, partition) for partition in (0, 1)] == [3, 1]
    assert (store.open("flows").version(), store.open("flows").count()) == (1, 0)


def test_the_last_commit_takes_all_offsets_along(store):
    buffer = buffer_of(store)
    put(buffer, row_message(0, 100))
    buffer.commit()
    put(buffer, row_message(1, 100))
    assert buffer.commit(all_offsets=True) == (0, 1)
    assert buffer_of(store).positions() == {0: 2}
    assert not buffer.is_due(all_offsets=True)


def test_offsets_alone_are_refused_where_another_took_the_partition(store):
    buffer, other = buffer_of(store), buffer_of(store)
    put(other, row_message(0, 100))
    other.commit()
    with pytest.raises(DecodeError):
        buffer.put(row_message(0, 100)._replace(value=b"bytes"))
    with pytest.raises(StateError, match=r"another writer took feature\.row\.v1\[0\] from None to 1"):
        buffer.commit(all_offsets=True)


def test_a_partition_that_was_taken_away_is_not_written(store):
    buffer = buffer_of(store, 0, 1)
    put(buffer, row_message(0, 100), row_message(0, 100, partition=1, instruments=("b:X-Y",)))
    buffer.drop([1])
    assert buffer.rows == 1
    buffer.commit()
    assert [row["source_partition"] for row in held(store, "rows")] == [0]
    assert buffer.positions() == {0: 1}
