from itertools import pairwise

import msgspec
import pytest
from canonical import BTC, T0, Canon, by_time, none_of, trade
from world import MS, RULES

from featurestore.tiles import SPAN_TILES
from schemas import DecodeError, StateError
from schemas.topics import MARKET_STATE

HEADERS = {"record": b"part", "rules_id": RULES.rules_id.encode()}


def part(partition, first_ms, last_ms, **amounts):
    """Return a part for (first, last] of the series `level`: amounts by border, t100=(sum, count)."""
    borders = [int(name[1:]) for name in amounts]
    told = {
        "partition": partition,
        "from_ns": T0 + first_ms * MS,
        "to_ns": T0 + last_ms * MS,
        "borders": [T0 + border * MS for border in borders],
        "series": {"level": list(amounts.values())},
    }
    return msgspec.json.encode(told)


def waiting():
    """A partition with trades in each of [0, 500), closed up to 500, and no part known."""
    canon = Canon()
    canon.progress(-50)
    canon.send(*[trade(100 * n + 10) for n in range(5)])
    canon.progress(500)
    return canon


def tell(canon, *parts):
    for value in parts:
        canon.put(MARKET_STATE, HEADERS, value)
    return by_time(canon.advance(market=False))


def test_a_row_waits_for_all_parts_up_to_the_border_before_it():
    #   first row 0: parts begin at (-100, ..]; the row at 100 needs those of 0
    canon = waiting()
    assert tell(canon) == {}
    assert tell(canon, part(0, -100, 200)) == {}
    assert canon.engine.backlog == 5
    assert sorted(tell(canon, part(1, -100, 100))) == [100, 200]
    assert sorted(tell(canon, part(1, 100, 400))) == [300]
    assert sorted(tell(canon, part(0, 200, 500))) == [400, 500]
    assert canon.engine.backlog == 0


def test_the_first_row_waits_for_no_part():
    canon = Canon()
    canon.progress(-50)
    canon.send(trade(-60))
    canon.progress(0)
    assert sorted(tell(canon)) == [0]


def test_a_mean_is_over_all_partitions_at_the_border_before_the_row():
    canon = waiting()
    rows = tell(canon, part(0, -100, 500, t100=(10.0, 2), t200=(1.0, 1)), part(1, -100, 500, t100=(5.0, 1)))
    levels = {time: row[BTC]["level_100ms"] for time, row in rows.items()}
    assert levels[200] == 5.0
    assert levels[300] == 1.0
    assert levels[400] != levels[400]


def test_parts_that_repeat_or_do_not_join_are_ignored():
    #   (-100, 100] (-100, 100] again   (300, 400]: a gap   (0, 300] repeats and goes on
    canon = waiting()
    tell(canon, part(0, -100, 500, t100=(1.0, 1)))
    assert sorted(tell(canon, part(1, -100, 100, t100=(3.0, 1)))) == [100, 200]
    assert tell(canon, part(1, -100, 100, t100=(99.0, 1))) == {}
    assert tell(canon, part(1, 300, 400, t400=(99.0, 1))) == {}
    rows = tell(canon, part(1, 0, 300, t100=(99.0, 1), t200=(7.0, 1)))
    assert {time: row[BTC]["level_100ms"] for time, row in rows.items()} == {
        300: 7.0,
        400: pytest.approx(float("nan"), nan_ok=True),
    }


def test_a_part_lists_what_is_listed_and_goes_to_every_partition():
    canon = Canon()
    canon.progress(-50)
    canon.send(trade(10, 5.0), trade(20, 3.0, instrument="beta:BTC-USD"), trade(-90, 8.0, instrument="alpha:OLD"))
    canon.progress(900)
    parts = [o for o in canon.engine.advance() if o.topic == MARKET_STATE]
    assert [o.partition for o in parts] == [0, 1]
    assert parts[0].value == parts[1].value
    told = msgspec.json.decode(parts[0].value)
    assert (told["from_ns"], told["to_ns"]) == (T0 - 100 * MS, T0 + 900 * MS)
    # last_price is carried for 300 ms; beyond it there is nothing to say
    borders = [(border - T0) // MS for border in told["borders"]]
    assert dict(zip(borders, told["series"]["level"], strict=True)) == {
        0: [8.0, 1],
        100: [16.0, 3],
        200: [16.0, 3],
        300: [16.0, 3],
        400: [8.0, 2],
    }


def test_a_silent_partition_says_that_it_has_none():
    canon = Canon()
    canon.progress(-50)
    canon.progress(100 * 86_400_000)
    parts = [o for o in canon.engine.advance() if o.topic == MARKET_STATE and o.partition == 1]
    told = [msgspec.json.decode(o.value) for o in parts]
    assert told[0]["from_ns"] == T0 - 100 * MS
    assert told[-1]["to_ns"] == T0 + 100 * 86_400_000 * MS
    assert all(a["to_ns"] == b["from_ns"] for a, b in pairwise(told))
    assert not any(part["borders"] for part in told)
    assert len(told) < 10


def test_parts_that_come_before_the_first_row_is_known_are_kept():
    canon = Canon()
    canon.put(MARKET_STATE, HEADERS, part(1, -100, 500, t100=(5.0, 1)))
    assert canon.engine.checkpoint().resume == {}  # read them again: what they join is not known yet
    canon.progress(-50)
    canon.send(*[trade(100 * n + 10) for n in range(5)])
    canon.progress(500)
    assert sorted(tell(canon, part(0, -100, 500))) == [100, 200, 300, 400, 500]


def test_a_part_of_other_rules_or_of_no_partition_is_refused():
    canon = waiting()
    with pytest.raises(StateError, match="under rules 'x'"):
        canon.engine.apply(MARKET_STATE, 0, {**HEADERS, "rules_id": b"x"}, part(0, -100, 100))
    for value, text in (
        (part(7, -100, 100), "below 2, got 7"),
        (part(1, 100, 100), "borders of tiles"),
        (part(1, 1, 100), "borders of tiles"),
        (part(1, 0, 100).replace(b'"level":[]', b'"level":[[1,1]]'), "expected 0 amounts, got 1"),
        (b"{", r"market.state.v1\[0\]@0"),
    ):
        with pytest.raises(DecodeError, match=text):
            canon.engine.apply(MARKET_STATE, 0, HEADERS, value)


def test_closing_stops_where_too_many_rows_wait():
    canon = Canon()
    canon.progress(-50)
    for n in range(400):
        canon.send(trade(100 * n + 10), at=900 + n)
    canon.progress(40_000)
    first = canon.engine.advance()
    assert canon.engine.backlog == 400
    assert canon.engine.closed_ns <= T0 + (SPAN_TILES + 1) * 100 * MS
    assert canon.engine.pending_events > 0
    values = list(dict.fromkeys(o.value for o in first if o.topic == MARKET_STATE))
    rows = tell(canon, *values, *(none_of(value, 1) for value in values))
    assert len(rows) > SPAN_TILES - 20
