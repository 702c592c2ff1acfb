import dataclasses
import math

import msgspec
import numpy as np
import pytest
from canonical import BTC, T0, Canon, by_time, trade
from small_catalogue import feature, small_catalogue
from world import MS, RULES

from featurestore.catalogue import Catalogue
from featurestore.engine import PartitionEngine
from schemas import StateError
from schemas.forecasts import Announcement

WHOLE = small_catalogue()
OLD = WHOLE.subset(["count_300ms", "order_1000ms", "level_100ms"])
BORDER = T0 + 1000 * MS


def announced(catalogue, border_ns=0, **versions):
    features = {**{spec.name: spec.version for spec in catalogue.features}, **versions}
    return Announcement(border_ns=border_ns, feature_set_id=f"set{len(features)}", features=features)


def played(announcements, *, restart_at=None, upto=60):
    canon = Canon(catalogue=WHOLE, announcements=announcements)
    canon.progress(-50)
    rows = []
    for n in range(upto):
        canon.send(
            trade(50 * n + 10, 100.0 + n % 7), trade(50 * n + 20, 100.0, instrument="beta:BTC-USD"), at=900 + 2 * n
        )
        canon.progress(50 * n)
        rows += canon.advance()
        if n == restart_at:
            canon.restarted()
    return rows


def test_a_new_feature_joins_at_its_border_and_the_others_keep_their_bits():
    #   0 ............ 1000 ...........
    #   3 features     all; each new one masked until its window lies behind 1000
    rows = played([announced(OLD), announced(WHOLE, BORDER)])
    alone = by_time(played([announced(OLD)]))
    together = by_time(rows)
    sets = {(r.header.row_time_ns - T0) // MS: (r.header.feature_set_id, len(r.features)) for r in rows}
    assert sets[900] == ("set3", 3)
    assert sets[1000] == ("set13", 13)
    for at, row in together.items():
        for name, value in alone[at][BTC].items():
            assert np.float64(value).tobytes() == np.float64(row[BTC][name]).tobytes()
    opening = {at: row[BTC]["opening_400ms"] for at, row in together.items() if at >= 1000}
    assert [math.isnan(opening[at]) for at in (1000, 1300, 1400, 1500)] == [True, True, False, False]


def test_a_new_feature_over_old_tiles_does_not_look_behind_its_border():
    late = Catalogue(
        WHOLE.tiles, WHOLE.derived, (*OLD.features, feature("count", 600 * MS, lambda x: x.sum(-1), ("count",)))
    )
    canon = Canon(catalogue=late, announcements=[announced(OLD), announced(late, BORDER)])
    canon.progress(-50)
    canon.send(*[trade(50 * n + 10) for n in range(60)])
    canon.progress(2000)
    rows = by_time(canon.advance())
    assert [math.isnan(rows[at][BTC]["count_600ms"]) for at in (1000, 1500, 1600)] == [True, True, False]


@pytest.mark.parametrize("restart_at", [5, 19, 20, 21, 22, 30, 50])
def test_a_restart_around_the_border_changes_no_byte(restart_at):
    sets = [announced(OLD), announced(WHOLE, BORDER)]
    calm, other = played(sets), played(sets, restart_at=restart_at)
    assert [r.header for r in calm] == [r.header for r in other]
    for mine, theirs in zip(calm, other, strict=True):
        assert mine.values.tobytes() == theirs.values.tobytes()


def test_a_feature_can_go_and_come_back_as_a_new_one():
    sets = [announced(WHOLE), announced(OLD, BORDER), announced(WHOLE, BORDER + 500 * MS)]
    rows = by_time(played(sets))
    assert "opening_400ms" in rows[900][BTC]
    assert "opening_400ms" not in rows[1000][BTC]
    assert [math.isnan(rows[at][BTC]["opening_400ms"]) for at in (1500, 1800, 1900)] == [True, True, False]


def test_an_announcement_can_come_while_running():
    canon = Canon(catalogue=WHOLE, announcements=[announced(OLD)])
    canon.progress(-50)
    canon.send(trade(10))
    canon.progress(500)
    canon.advance()
    canon.engine.announce(announced(WHOLE, T0 + 600 * MS))
    canon.send(trade(610), at=900)
    canon.progress(800)
    assert {len(r.features) for r in canon.advance()} == {13}
    with pytest.raises(StateError, match="announce it again at a later border"):
        canon.engine.announce(announced(OLD, T0 + 700 * MS))


def test_of_two_announcements_out_of_order_the_first_counts():
    rows = played([announced(OLD), announced(WHOLE, BORDER), announced(OLD, BORDER), announced(OLD, BORDER - 300 * MS)])
    assert {len(r.features) for r in rows} == {3, 13}


@pytest.mark.parametrize(
    ("announcement", "text"),
    [
        (announced(OLD, count_300ms="2"), "feature count_300ms is announced as 2, and the code here has 1"),
        (announced(OLD, gone_1m="1"), "gone_1m is announced .* no file"),
        (announced(OLD, BORDER), "not at 0: read ops.model.v1 from its beginning"),
    ],
)
def test_code_that_is_not_what_was_announced_is_refused(announcement, text):
    with pytest.raises(StateError, match=text):
        PartitionEngine(0, RULES, WHOLE, [announcement])


def test_a_set_begins_at_a_row_border():
    with pytest.raises(StateError, match="no row border"):
        PartitionEngine(0, RULES, WHOLE, [announced(OLD), announced(WHOLE, BORDER + 1)])


def test_a_checkpoint_of_another_set_is_refused():
    canon = Canon(catalogue=WHOLE, announcements=[announced(OLD)])
    blob = canon.engine.checkpoint().blob
    with pytest.raises(StateError, match="not announced"):
        PartitionEngine.restore(blob, 0, RULES, WHOLE, [announced(WHOLE)])
    changed = msgspec.structs.replace(announced(OLD), features={"count_300ms": "0"})
    with pytest.raises(StateError, match="not announced"):
        PartitionEngine.restore(blob, 0, RULES, WHOLE, [changed])


def test_a_log_that_begins_after_a_border_has_the_set_of_that_border():
    # border ..... years ..... first event
    rows = played([announced(OLD), announced(WHOLE, BORDER - 10**18 // MS * MS)], upto=20)
    assert {r.header.feature_set_id for r in rows} == {"set13"}
    alone = by_time(played([announced(WHOLE)], upto=20))
    assert repr(by_time(rows)) == repr(alone)


def test_a_raised_version_begins_anew_and_its_former_code_makes_the_rows_before():
    #   0 ............ 1000 ...........
    #   count          2 * count, masked until its window lies behind 1000
    former = feature("count", 300 * MS, lambda x: x.sum(-1), ("count",))
    raised = dataclasses.replace(feature("count", 300 * MS, lambda x: 2 * x.sum(-1), ("count",)), version="2")
    both = Catalogue(WHOLE.tiles, WHOLE.derived, (raised,), former=(former,))
    before = announced(Catalogue(WHOLE.tiles, WHOLE.derived, (former,)))
    canon = Canon(catalogue=both, announcements=[before, announced(both, BORDER)])
    canon.progress(-50)
    canon.send(*[trade(50 * n + 10) for n in range(60)])
    canon.progress(2000)
    rows = by_time(canon.advance())
    assert [rows[at][BTC]["count_300ms"] for at in (900, 1300, 1500)] == [6.0, 12.0, 12.0]
    assert [math.isnan(rows[at][BTC]["count_300ms"]) for at in (1000, 1200)] == [True, True]


def test_an_engine_closes_no_tile_further_than_it_is_allowed():
    canon = Canon(catalogue=WHOLE, announcements=[announced(OLD)])
    canon.engine.allow(0)
    canon.progress(-50)
    canon.send(*[trade(50 * n + 10) for n in range(60)])
    canon.progress(1500)
    assert canon.advance() == []
    assert canon.engine.waits_to_be_allowed
    canon.engine.allow(T0 + 500 * MS)
    assert max(by_time(canon.advance())) == 500
    canon.engine.allow(None)
    assert max(by_time(canon.advance())) == 1500
    assert not canon.engine.waits_to_be_allowed
