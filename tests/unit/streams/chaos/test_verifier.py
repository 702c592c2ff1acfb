"""A bug is planted for each way to break an invariant: the verifier has to see each, and nothing else."""

from collections.abc import Callable

import numpy as np
import pytest

from streams.chaos.logs import Covered, ForecastRecord, Logs, RowMessage, Sample, Truth, Written, pack
from streams.chaos.verifier import MOST_TOLD, repeats, verify

RAW = "raw.exchange.v1"
EVENTS = "exchange.event.v1"
STREAM = (EVENTS, 0, "trade")
CHANGELOG = ("featurize-checkpoint-changelog", 0)
NAMES = ("binance:BTC-USDT", "coinbase:BTC-USD")
SECOND = 1_000_000_000
ROWS = [RowMessage(0, t * SECOND, b"row %d" % t) for t in range(1, 7)]


def stamp(offset, raw_partition=0):
    return pack(np.array([raw_partition]), np.array([offset]), np.array([0]))[0]


def written(name, time_ns, *, partition=0, identity=None, status="model"):
    made = ForecastRecord(id=identity or f"{name}@{time_ns}", instrument_id=name, origin_time_ns=time_ns, status=status)
    return Written(partition, 0, 0, made)


FORECASTS = [written(name, row.row_time_ns) for row in ROWS for name in NAMES]


def clean():
    # raw record  0 1 2 3 4 5 6 7 8 9      of raw partition 0; 8 cannot be read, 9 is late
    # message     0 0 1 1 2 2 3 3          of the canonical partition
    # row         each reads two messages; the checkpoint behind row 2 resumes at message 2
    stamps = np.array([stamp(offset) for offset in range(8)])
    logs = Logs(
        events={STREAM: stamps},
        event_offsets={STREAM: np.arange(8) // 2},
        rows=list(ROWS),
        forecasts=list(FORECASTS),
        latest=list(FORECASTS),
        dead=[(RAW, 0, 8)],
        late=[(RAW, stamp(9))],
        scheduled={(name, row.row_time_ns) for row in ROWS for name in NAMES},
        covered=[Covered("featurize", CHANGELOG, 5, {EVENTS: 2}), Covered("featurize", CHANGELOG, 11, {EVENTS: 4})],
        samples=[
            Sample({("ingest", RAW, 0): 4}, {(EVENTS, 0): 2, CHANGELOG: 0}),
            Sample({("ingest", RAW, 0): 10, ("featurize", EVENTS, 0): 2}, {(EVENTS, 0): 4, CHANGELOG: 6}),
            Sample({("ingest", RAW, 0): 10, ("featurize", EVENTS, 0): 4}, {(EVENTS, 0): 4, CHANGELOG: 12}),
        ],
    )
    truth = Truth(
        inputs=10,
        events={STREAM: stamps.copy()},
        rows={(row.partition, row.row_time_ns): row.value for row in ROWS},
        dead={(RAW, 0, 8)},
        late={(RAW, stamp(9))},
    )
    return logs, truth


def rewrite(logs, stamps, offsets=None):
    logs.events[STREAM] = np.array(stamps)
    logs.event_offsets[STREAM] = np.arange(len(stamps)) // 2 if offsets is None else np.array(offsets)


def test_nothing_is_said_of_a_clean_run():
    assert verify(*clean()) == []
    assert repeats(clean()[0]) == (0, 0, 0)


def test_what_a_restart_writes_again_is_counted_and_is_no_finding():
    logs, truth = clean()
    first = logs.events[STREAM]
    rewrite(logs, [*first[:6], *first[2:]], [0, 0, 1, 1, 2, 2, 1, 1, 2, 2, 3, 3])
    logs.rows[3:3] = ROWS[1:3]
    logs.forecasts[4:4] = FORECASTS[2:4]
    logs.latest[4:4] = FORECASTS[2:4]
    assert verify(logs, truth) == []
    assert repeats(logs) == (4, 2, 2)


def test_only_an_earlier_release_may_write_checkpoints_that_do_not_tell_what_they_cover():
    logs, truth = clean()
    logs.covered[0] = Covered("featurize", CHANGELOG, 5, {})
    assert {finding.invariant for finding in verify(logs, truth)} == {"I4"}
    logs.has_earlier = True
    assert verify(logs, truth) == []


def test_a_fallback_and_an_unavailable_forecast_fill_their_slots():
    logs, truth = clean()
    for place, status in ((3, "fallback"), (4, "unavailable")):
        known = FORECASTS[place].forecast
        logs.forecasts[place] = written(known.instrument_id, known.origin_time_ns, status=status)
    assert verify(logs, truth) == []


BUGS: dict[str, tuple[str, str, Callable[[Logs, Truth], object]]] = {}
"""By what goes wrong: the invariant, a part of what is to be said, and what plants it."""


def bug(invariant, text):
    def keep(plant):
        BUGS[plant.__name__.strip("_").replace("_", " ")] = (invariant, text, plant)
        return plant

    return keep


@bug("I1", "exchange.event.v1[0] trade: the event of raw partition 0, offset 4, index 0 is not there")
def _an_event_is_lost(logs, _):
    rewrite(logs, np.delete(logs.events[STREAM], 4))


@bug("I1", "offset 0, index 0 is not there")
def _a_whole_stream_is_lost(logs, _):
    logs.events.clear()
    logs.event_offsets.clear()


@bug("I1", "row of partition 0 at 4000000000: is not there")
def _a_row_is_lost(logs, _):
    logs.rows.remove(ROWS[3])


@bug("I1", "row of partition 0 at 4000000000: 1 of its bytes differ from those of the backfill")
def _a_row_says_something_else(logs, _):
    logs.rows[3] = ROWS[3]._replace(value=b"row !")


@bug("I1", "row of partition 0 at 9000000000: should not be there")
def _a_row_is_made_up(logs, _):
    logs.rows.append(RowMessage(0, 9 * SECOND, b"row 9"))


@bug("I2", "the event of raw partition 1, offset 3, index 0 is not one of the raw log")
def _an_event_comes_again_under_a_new_stamp(logs, _):
    rewrite(logs, [*logs.events[STREAM], stamp(3, raw_partition=1)])


@bug("I2", "row of partition 0 at 3000000000: was written again with other bytes")
def _a_row_comes_again_with_other_bytes(logs, _):
    logs.rows.insert(3, ROWS[2]._replace(value=b"row x"))


@bug("I2", "again[0]: is the forecast binance:BTC-USDT@3000000000[0] once more")
def _a_forecast_comes_again_under_another_id(logs, _):
    logs.forecasts.insert(5, written(NAMES[0], 3 * SECOND, identity="again"))


@bug("I2", "[2]: is the forecast binance:BTC-USDT@3000000000[0] once more")
def _a_forecast_comes_again_in_another_partition(logs, _):
    logs.forecasts.insert(5, written(NAMES[0], 3 * SECOND, partition=2))


@bug("I3", "offset 2, index 0 stands behind later ones: no reader takes it")
def _an_event_is_written_behind_later_ones(logs, _):
    stamps = list(logs.events[STREAM])
    stamps.insert(5, stamps.pop(2))
    rewrite(logs, stamps)


@bug("I3", "row of partition 0 at 2000000000: stands behind a later one")
def _rows_change_places(logs, _):
    logs.rows[1], logs.rows[2] = logs.rows[2], logs.rows[1]


@bug("I3", "binance:BTC-USDT@2000000000: stands behind a later forecast")
def _forecasts_change_places(logs, _):
    logs.forecasts[2], logs.forecasts[4] = logs.forecasts[4], logs.forecasts[2]


@bug("I3", "latest of binance:BTC-USDT: went back from 5000000000 to 3000000000")
def _the_latest_goes_back(logs, _):
    logs.latest.insert(9, FORECASTS[4])


@bug("I3", "latest of coinbase:BTC-USD: ends at 5000000000, the last forecast is of 6000000000")
def _the_latest_stays_behind(logs, _):
    logs.latest.pop()


@bug("I4", "raw.exchange.v1[0]: 7 was committed, the event of raw partition 0, offset 4, index 0 was not yet on")
def _ingest_commits_what_is_under_way(logs, _):
    logs.samples[0] = Sample({("ingest", RAW, 0): 7}, logs.samples[0].ends)


@bug("I4", "sample 0: featurize committed exchange.event.v1[0]@1; checkpoints cover 0")
def _a_stage_commits_before_its_first_checkpoint(logs, _):
    logs.samples[0] = Sample({("featurize", EVENTS, 0): 1}, logs.samples[0].ends)


@bug("I4", "sample 1: featurize committed exchange.event.v1[0]@4; checkpoints cover 2")
def _a_stage_commits_before_its_checkpoint_is_there(logs, _):
    logs.samples[1] = Sample({("featurize", EVENTS, 0): 4}, logs.samples[1].ends)


@bug("I5", "coinbase:BTC-USD@4000000000: there is no forecast, not even an unavailable one")
def _a_forecast_is_missing(logs, _):
    logs.forecasts.remove(FORECASTS[7])


@bug("I5", "kraken:ETH-USD@3000000000: a forecast without a row")
def _a_forecast_is_made_of_nothing(logs, _):
    made = written("kraken:ETH-USD", 3 * SECOND)
    logs.forecasts.append(made)
    logs.latest.append(made)


@bug("I5", "raw.exchange.v1[0]@8: cannot be read and is no dead letter")
def _a_dead_letter_is_lost(logs, _):
    logs.dead.clear()


@bug("I5", "raw.exchange.v1[0]@5: is a dead letter and can be read")
def _what_can_be_read_is_a_dead_letter(logs, _):
    logs.dead.append((RAW, 0, 5))


@bug("I5", "exchange.event.v1[0]@2: a record of our own is a dead letter")
def _a_stage_refuses_a_record_of_our_own(logs, _):
    logs.dead.append((EVENTS, 0, 2))


@bug("I5", "raw.exchange.v1: the late event of raw partition 0, offset 9, index 0 is not told")
def _a_late_event_is_dropped_silently(logs, _):
    logs.late.clear()


@bug("I5", "raw.exchange.v1: the event of raw partition 0, offset 3, index 0 is told late and is not")
def _an_event_in_time_is_told_late(logs, _):
    logs.late.append((RAW, stamp(3)))


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name):
    invariant, text, plant = BUGS[name]
    logs, truth = clean()
    plant(logs, truth)
    found = verify(logs, truth)
    assert any(each.invariant == invariant and text in each.text for each in found), found
    assert {each.invariant for each in found} == {invariant}


def test_a_bug_is_found_in_the_second_writing_of_a_batch_too():
    """A new stamp between repeats that are harmless."""
    logs, truth = clean()
    first = logs.events[STREAM]
    rewrite(logs, [*first[:4], stamp(2), stamp(3), stamp(77), *first[4:]])
    found = verify(logs, truth)
    assert {each.invariant for each in found} == {"I2", "I3"}


def test_every_invariant_has_its_bug():
    assert {invariant for invariant, *_ in BUGS.values()} == {"I1", "I2", "I3", "I4", "I5"}


def test_of_many_findings_the_first_are_told_and_the_rest_counted():
    logs, truth = clean()
    logs.forecasts.clear()
    logs.latest.clear()
    told = [each.text for each in verify(logs, truth)]
    assert len(told) == MOST_TOLD + 1
    assert told[-1] == f"and {len(FORECASTS) - MOST_TOLD} more"
