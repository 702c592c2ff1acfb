import time

import numpy as np
import pytest
from canonical import BTC, T0, Canon, by_time, event, none_of, trade
from world import MS

from featurestore.catalogue import Catalogue
from schemas import DecodeError, Rules
from schemas.rows import decode_rows
from schemas.topics import EXCHANGE_EVENT, FEATURE_ROW, ONCHAIN_EVENT, SENTIMENT_EVENT

# The small world: tiles and rows of 100 ms, listed for 500 ms, ages never above 3 s, two partitions
# of raw.exchange, one each of the others.


def started(watermark_ms=-50, **more):
    """A log in which all raw partitions were heard: the first row is the border after the watermark."""
    canon = Canon(**more)
    canon.progress(watermark_ms)
    return canon


def test_a_row_is_a_function_of_the_tiles_before_its_border():
    #      0        100       200
    #      [---------)[--------)
    #        10    99 100            the trade at 100 is not in the row at 100
    canon = started()
    canon.send(trade(10), trade(99), trade(100))
    canon.progress(300)
    rows = by_time(canon.advance())
    assert sorted(rows) == [100, 200, 300]
    assert canon_tiles(canon, 0)["count"] == 2
    assert canon_tiles(canon, 100)["count"] == 1
    assert rows[300][BTC]["count_300ms"] == 3


def test_a_row_waits_for_every_declared_raw_partition():
    canon = Canon()
    canon.send(trade(10))
    canon.progress(200, topics=[EXCHANGE_EVENT, SENTIMENT_EVENT])
    assert canon.advance() == []
    canon.progress(50, topics=[ONCHAIN_EVENT])
    assert canon.advance() == []
    canon.progress(299, topics=[ONCHAIN_EVENT])
    canon.progress(100, topics=[EXCHANGE_EVENT], raws=[0])  # the other partition of exchange says 200
    assert sorted(by_time(canon.advance())) == []
    canon.progress(400, topics=[EXCHANGE_EVENT, ONCHAIN_EVENT, SENTIMENT_EVENT])
    assert min(by_time(canon.advance())) == 300  # the border after 200, the greatest first watermark


def test_the_first_row_is_at_the_border_after_the_greatest_first_watermark():
    #     -50        0        100
    #  ----W---------)[--------)      first watermarks -50 and 0: "after" 0 is 100
    canon = Canon()
    canon.send(trade(-70), trade(10))
    canon.progress(-50, topics=[EXCHANGE_EVENT, ONCHAIN_EVENT])
    canon.progress(0, topics=[SENTIMENT_EVENT])
    canon.progress(200)
    rows = by_time(canon.advance())
    assert sorted(rows) == [100, 200]


def test_a_watermark_never_falls():
    canon = started()
    canon.send(trade(10), trade(120))
    canon.progress(200)
    canon.progress(150)
    assert sorted(by_time(canon.advance())) == [100, 200]
    canon.progress(300)
    assert sorted(by_time(canon.advance())) == [300]


def test_a_second_writer_of_the_same_raw_records_adds_nothing():
    # One process wrote raw records 5..7, its successor writes 5..8; either may come first.
    events = [trade(10, 1.0), trade(20, 2.0), trade(30, 3.0), trade(40, 4.0)]
    found = []
    for batches in (
        [(5, 3), (5, 4)],
        [(5, 4), (5, 3)],
        [(5, 1), (5, 2), (6, 2), (7, 2)],
        [(5, 4)],
    ):
        canon = started()
        for at, count in batches:
            canon.send(*events[at - 5 : at - 5 + count], at=at)
        canon.progress(100)
        canon.advance()
        found.append([o.value for o in canon.outputs if o.topic == FEATURE_ROW])
    assert found[0]
    assert all(other == found[0] for other in found)


def test_stamps_count_per_raw_partition_and_record_type():
    canon = started()
    canon.send(trade(10), at=9)
    canon.send(event("quote", 10, bid_price=7.0), at=5)
    canon.send(trade(20), at=5, raw=1)
    canon.progress(100)
    row = by_time(canon.advance())[100][BTC]
    assert canon.engine.pending_events == 0
    assert row["mid_500ms"] == 7.0


def test_of_a_repeated_id_in_a_tile_the_first_counts():
    #    0                100
    #    [-----------------)
    #     x@10  x@20  y@30        x came over two connections
    canon = started()
    canon.send(trade(10, 1.0, sequence=4, name="x"), trade(30, 4.0, sequence=4, name="y"))
    canon.send(trade(20, 2.0, sequence=4, name="x"), raw=1)
    canon.send(trade(40, 8.0), trade(41, 8.0))  # neither sequence nor id: never a repeat
    canon.progress(400)
    canon.advance()
    assert canon_tiles(canon)["count"] == 4
    assert canon_tiles(canon)["order"] == 1 * 1 + 2 * 4 + 3 * 8 + 4 * 8


def canon_tiles(canon, tile_ms=0):
    """Return the base tiles of BTC that begin at `tile_ms`."""
    space = canon.engine._closing.tiler.spaces["instrument"]
    tile = (T0 + tile_ms * MS) // (100 * MS)
    return {
        name: series.levels[0].view(tile, tile + 1)[space.names.index(BTC), 0] for name, series in space.series.items()
    }


def test_ties_are_settled_by_the_events_not_by_their_arrival():
    # All at 50 ms: by sequence, then venue, id, raw partition, stamp.
    here = [trade(50, 3.0, sequence=2), trade(50, 4.0, sequence=2, name="b"), trade(50, 2.0, sequence=2)]
    there = [trade(50, 1.0, sequence=1), trade(50, 5.0, sequence=2, name="a")]
    found = set()
    for first, second in ((0, 1), (1, 0)):
        canon = started()
        for raw in (first, second):
            canon.send(*(here, there)[raw], raw=raw)
        canon.progress(100)
        canon.advance()
        found.add(canon_tiles(canon)["order"])
    # the second event of `here` without id is a repeat of the first
    assert found == {1 * 1.0 + 2 * 3.0 + 3 * 5.0 + 4 * 4.0}


def test_a_row_lists_by_time_not_by_what_was_seen():
    #  0   100   200 ...  500   600
    #   t@10                     the row at 500 lists it ([0, 500) holds 10), the row at 600 does not
    canon = started()
    canon.send(trade(10))
    canon.progress(2000)
    assert sorted(by_time(canon.advance())) == [100, 200, 300, 400, 500]


def test_leaving_the_list_drops_nothing():
    #   t@10 ............ t@1150      windows of 180 s reach over the time in which it was not listed
    canon = started()
    canon.send(trade(10), trade(1150))
    canon.progress(1200)
    rows = by_time(canon.advance())
    assert sorted(rows) == [100, 200, 300, 400, 500, 1200]
    assert canon_tiles(canon, 1100)["count"] == 1
    assert canon_tiles(canon, 600)["count"] == 0  # silent, not unknown


def test_an_asset_lists_nothing_and_is_joined_to_its_instruments():
    canon = started()
    canon.send(event("score", 10, instrument="BTC", venue="news", score=0.5))
    canon.send(event("score", 20, instrument="SOL", venue="news", score=0.1), raw=0, at=900)
    canon.send(
        event("flow", 20, instrument="*", venue="ethereum", kind="mint", token="USDT", amount=1.0, amount_usd=7.0)
    )
    canon.progress(100)
    assert canon.advance() == []
    canon.send(trade(150))
    canon.progress(3050)
    rows = canon.advance()
    row = by_time(rows)[200][BTC]
    assert np.isnan(row["mood_3000ms"])  # unknown before the first post, and so is the sum
    ages = rows[0].ages[0]
    assert ages[-1] == (200 - 10) / 1000  # score
    assert np.isnan(ages[-2])  # flow: "*" is not the asset's own
    assert ages[0] == 0.05


def test_an_option_has_no_row_of_its_own():
    option = "alpha:BTC-USD-250627-100000-C"
    canon = Canon()
    canon.progress(-50)
    canon.send(trade(10), trade(20, instrument=option), trade(30))
    canon.send(trade(110, instrument=option))
    canon.progress(500)
    rows = by_time(canon.advance())
    assert {name for row in rows.values() for name in row} == {BTC}
    assert rows[300][BTC]["count_300ms"] == 2.0


def test_an_age_above_a_day_is_never():
    canon = started()
    canon.send(event("quote", 10, bid_price=1.0))
    canon.send(*[trade(t) for t in range(100, 3200, 100)])
    canon.progress(3200)
    rows = {(r.header.row_time_ns - T0) // MS: r.ages[0][1] for r in canon.advance()}
    assert rows[3000] == 2.99
    assert np.isnan(rows[3100])


def test_a_feature_is_masked_without_an_event_of_its_records_in_its_window():
    canon = started()
    canon.send(event("quote", 10, bid_price=1.0), event("quote", 490, bid_price=2.0))
    canon.send(trade(10), trade(300))
    canon.progress(1000)
    rows = by_time(canon.advance())
    assert rows[400][BTC]["count_300ms"] == 1
    assert rows[700][BTC]["count_300ms"] != 0  # no trade in [400, 700): not known, rather than 0


def test_blocks_do_not_show():
    """Closing after every message, at the end, or by a few outputs at a time: the same bytes."""
    found = []
    for every, limit in ((1, None), (1000, None), (7, 1), (50, 3)):
        canon = started()
        draw = np.random.default_rng(3)
        for n in range(120):
            at = 25 * n
            canon.send(
                trade(at, 100 + draw.normal(), sequence=n),
                event("trade", at + 7, price=101.0, instrument="beta:BTC-USD"),
            )
            canon.send(event("quote", at + draw.integers(30), bid_price=99.0 + draw.random()), raw=1)
            canon.progress(at)
            if n % every == 0:
                feed_back(canon, limit)
        feed_back(canon, None)
        found.append([o.value for o in canon.outputs if o.topic == FEATURE_ROW])
    assert len(found[0]) == 29
    assert all(other == found[0] for other in found)


def feed_back(canon, limit):
    if limit is None:
        canon.advance()
        return
    outputs = canon.engine.advance(limit)
    canon.outputs += outputs
    for output in outputs:
        if output.topic != FEATURE_ROW and output.partition == 0:
            canon.put(output.topic, output.headers, output.value)
            canon.put(output.topic, output.headers, none_of(output.value, 1))


def test_a_gap_of_ten_years_costs_nothing():
    year_ms = 365 * 86_400_000
    canon = started()
    canon.send(trade(10))
    canon.send(trade(10 * year_ms + 10), at=900)
    canon.progress(10 * year_ms + 100)
    begin = time.process_time()
    rows = by_time(canon.advance())
    assert time.process_time() - begin < 5
    assert sorted(rows) == [100, 200, 300, 400, 500, 10 * year_ms + 100]
    assert rows[10 * year_ms + 100][BTC]["count_180000ms"] != 0


def test_a_message_that_is_none_says_where_and_changes_nothing():
    canon = started()
    canon.send(trade(10))
    before = canon.engine.checkpoint().blob
    for headers, value, text in (
        ({"record": b"trade", "raw": b"0"}, b"junk", r"exchange.event.v1\[0\]@9 .*Arrow"),
        ({"record": b"trade"}, b"", r"headers.raw"),
        ({"record": b"trade", "raw": b"7"}, b"", r"below 2, got 7"),
        ({"record": b"progress", "raw": b"0"}, b"", r"expected progress"),
        ({"record": b"progress", "raw": b"0", "progress": b"x"}, b"", r"headers.progress"),
        ({"record": b"quote", "raw": b"0"}, canon.log[EXCHANGE_EVENT][-1][1], r"got 'trade' as 'quote'"),
        ({"record": b"trade", "raw": b"1"}, canon.log[EXCHANGE_EVENT][-1][1], r"raw partition 1 alone"),
    ):
        with pytest.raises(DecodeError, match=text):
            canon.engine.apply(EXCHANGE_EVENT, 9, headers, value)
    assert canon.engine.checkpoint().blob == before


def test_a_message_that_was_applied_is_not_applied_again():
    canon = started()
    canon.send(trade(10))
    canon.engine.apply(EXCHANGE_EVENT, len(canon.log[EXCHANGE_EVENT]) - 1, *canon.log[EXCHANGE_EVENT][-1])
    assert canon.engine.pending_events == 1


def test_progress_of_an_empty_log_closes_without_rows():
    canon = started()
    canon.progress(1_000_000)
    assert canon.advance() == []
    assert canon.engine.closed_ns == T0 + 1_000_000 * MS
    assert canon.engine.backlog == 0


def test_every_feature_there_is_has_the_same_bits_in_any_block():
    """Second by second, with restarts, or all at once: the rows of the real catalogue."""
    rules = Rules(partitions=1)
    catalogue = Catalogue.discover(rules)
    found = []
    for every in (1, 7, 1000):
        canon = Canon(rules=rules, catalogue=catalogue)
        canon.progress(-2500)
        for second in range(150):
            draw = np.random.default_rng(second)
            names = [f"alpha:{name}-USD" for name in ("BTC", "ETH", "SOL")[: draw.integers(1, 4)]]
            at = 1000 * second
            canon.send(*[some_trade(draw, at + 50 * n, name) for n in range(6) for name in names], at=10 * second)
            canon.send(
                *[some_quote(draw, at + 90 * n, name) for n in range(9) for name in (*names, "beta:BTC-USDT")],
                raw=1,
                at=50 * second,
            )
            canon.send(*[some_book(draw, at + 250 * n, names[0]) for n in range(4)], raw=3, at=10 * second)
            canon.send(*[some_option(draw, at + n) for n in range(5)], raw=3, at=10 * second)
            canon.send(event("liquidation", at, price=100.0, size=draw.exponential(), side=-1), raw=3, at=10 * second)
            canon.send(event("derivative", at, funding_rate=draw.normal(), mark_price=100.0), raw=2, at=10 * second)
            canon.send(event("score", at, instrument="BTC", venue="news", score=draw.uniform(-1, 1)), at=10 * second)
            canon.send(some_flow(draw, at), at=10 * second)
            canon.progress(at)
            if second % every == 0:
                canon.advance()
                if every == 7:
                    canon.restarted()
        canon.advance()
        found.append([o.value for o in canon.outputs if o.topic == FEATURE_ROW])
    assert len(found[0]) > 140
    assert all(other == found[0] for other in found)
    known = ~np.isnan(decode_rows(found[0][-1]).values[0])
    assert known.mean() > 0.2  # long windows are masked until they are filled


def some_book(draw, at, name):
    steps = np.cumsum(0.01 + draw.exponential(0.01, (2, 10)), axis=1)
    sizes = draw.exponential(size=(2, 10)).tolist()
    bids, asks = (100 - steps[0]).tolist(), (100 + steps[1]).tolist()
    if draw.uniform() < 0.05:
        bids, asks, sizes = [], [], [[], []]
    return event("depth", at, instrument=name, bid_prices=bids, bid_sizes=sizes[0], ask_prices=asks, ask_sizes=sizes[1])


def some_option(draw, at):
    days, strike = int(draw.choice([5, 9, 25, 40])), float(draw.choice([80, 95, 100, 105, 120]))
    return event(
        "option",
        at,
        instrument=f"alpha:BTC-USD-{days}-{strike:g}-C",
        venue="alpha",
        strike=strike,
        expiry_ns=T0 + days * 86_400_000 * MS,
        kind="call",
        mark_volatility=draw.uniform(0.4, 0.8),
        underlying_price=100.0,
    )


def some_trade(draw, at, name):
    return trade(at, 100 * np.exp(0.01 * draw.normal()), instrument=name, size=draw.exponential(), side=1)


def some_quote(draw, at, name):
    bid = 100 * np.exp(0.01 * draw.normal())
    sizes = {"bid_size": draw.exponential(), "ask_size": draw.exponential()}
    return event("quote", at, instrument=name, bid_price=bid, ask_price=bid * 1.0001, **sizes)


def some_flow(draw, at):
    amount = draw.exponential(1e6)
    kinds = {"kind": "mint", "token": "USDT", "amount": amount, "amount_usd": amount}
    return event("flow", at, instrument="*", venue="ethereum", **kinds)


def test_events_that_are_written_again_are_counted():
    # raw records 5..6, then 5..7 by a second writer, and 6..7 by a third
    canon = started()
    canon.send(trade(10), trade(20), at=5)
    canon.send(trade(10), trade(20), trade(30), at=5)
    canon.send(trade(20), trade(30), at=6)
    assert canon.engine.repeated_events == 4


def test_events_that_a_restart_reads_again_are_no_repeats():
    #  0        100      200
    #  [---------)[-------)     the tile of the first trade is closed, that of the second is open
    #    10          120
    canon = started()
    canon.send(trade(10), trade(120))
    canon.progress(110)
    canon.advance()
    assert canon.restarted().resume[EXCHANGE_EVENT] < len(canon.log[EXCHANGE_EVENT])
    assert canon.engine.repeated_events == 0
