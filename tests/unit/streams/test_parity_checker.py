"""What the parity checker says of rows that are as recomputed, changed, missing, too many, or repeated."""

from collections import Counter

import pytest

from featurestore.backfill import backfill
from featurestore.catalogue import Catalogue
from schemas.rules import SECOND_NS, TICKS
from streams.backfill import Outcome, normalised, placed
from streams.parity.checker import Checker, difference, is_sampled
from streams.sources.market import market

CATALOGUE = Catalogue.discover(TICKS).subset(["negative_semivariance_5m", "market_volatility_5m"])


@pytest.fixture(scope="module")
def log():
    """Canonical messages, and the row messages that they give: [(partition, row id, row time, value)]."""
    messages = list(normalised(placed(market(2, 1_767_225_600 * SECOND_NS, 6), TICKS), TICKS, Outcome()))
    rows = []
    for output in backfill(messages, TICKS, CATALOGUE):
        headers = dict(output.headers)
        rows.append((output.partition, headers["row_id"].decode(), int(headers["row_time_ns"]), output.value))
    assert len(rows) > 20
    return messages, rows


def reasons(log, rows, *, rows_first=False, share=1.0):
    """Count verdicts by reason over the whole log, with these rows on the topic."""
    messages, _ = log
    checker = Checker(TICKS, CATALOGUE, share=share)
    verdicts = []
    steps = [lambda: told(checker, rows), lambda: [v for m in messages for v in checker.apply(m)]]
    for step in steps if rows_first else reversed(steps):
        verdicts += step()
    verdicts += checker.advance()
    return Counter(verdict.reason for verdict in verdicts), verdicts


def told(checker, rows):
    return [
        verdict
        for offset, (partition, row_id, row_time_ns, value) in enumerate(rows)
        for verdict in checker.row(partition, offset, row_id, row_time_ns, value)
    ]


@pytest.mark.parametrize("rows_first", [True, False])
def test_rows_that_are_as_recomputed_are_all_checked(log, rows_first):
    counts, _ = reasons(log, log[1], rows_first=rows_first)
    assert counts == {"": len(log[1])}


@pytest.mark.parametrize("rows_first", [True, False])
def test_one_other_byte_is_found(log, rows_first):
    rows = list(log[1])
    partition, row_id, row_time_ns, value = rows[7]
    rows[7] = (partition, row_id, row_time_ns, value[:-1] + b"\xff")
    counts, verdicts = reasons(log, rows, rows_first=rows_first)
    assert counts == {"": len(rows) - 1, "other bits": 1}
    found = next(verdict for verdict in verdicts if verdict.reason)
    assert (found.row_id, found.offset, found.recomputed) == (row_id, 7, value)


@pytest.mark.parametrize("rows_first", [True, False])
def test_a_row_that_is_not_there_is_missed_once_the_topic_went_on(log, rows_first):
    counts, verdicts = reasons(log, log[1][:7] + log[1][8:], rows_first=rows_first)
    assert counts == {"": len(log[1]) - 1, "missing": 1}
    assert next(verdict for verdict in verdicts if verdict.reason).row_id == log[1][7][1]


@pytest.mark.parametrize("rows_first", [True, False])
def test_a_row_that_nothing_gives_is_unexpected(log, rows_first):
    partition, row_id, row_time_ns, value = log[1][7]
    rows = [*log[1][:8], (partition, f"{row_id}x", row_time_ns, value), *log[1][8:]]
    counts, _ = reasons(log, rows, rows_first=rows_first)
    assert counts == {"": len(log[1]), "unexpected": 1}


@pytest.mark.parametrize("rows_first", [True, False])
def test_repeats_must_say_the_same(log, rows_first):
    partition, row_id, row_time_ns, value = log[1][7]
    good, bad = (partition, row_id, row_time_ns, value), (partition, row_id, row_time_ns, value[:-1])
    counts, _ = reasons(log, [*log[1], good, bad], rows_first=rows_first)
    assert counts["repeat"] == 1
    assert counts.total() - counts[""] == 1


def test_rows_that_featurize_has_not_written_yet_are_not_missed(log):
    counts, _ = reasons(log, log[1][: len(log[1]) // 2])
    assert set(counts) == {""}


def test_nothing_is_recomputed_beyond_what_is_allowed(log):
    messages, rows = log
    checker = Checker(TICKS, CATALOGUE)
    border = sorted(row_time_ns for *_, row_time_ns, _ in rows)[len(rows) // 2]
    checker.allow(border)
    verdicts = [*told(checker, rows), *(v for m in messages for v in checker.apply(m)), *checker.advance()]
    assert max(verdict.row_time_ns for verdict in verdicts) <= border
    assert checker.waiting == sum(row_time_ns > border for *_, row_time_ns, _ in rows)


def test_how_far_recomputing_is_behind_the_rows_is_told(log):
    # rows: 1 s 2 s ... 5 s on the topic, none recomputed yet; all; up to a border
    messages, rows = log
    partition = rows[0][0]
    times = sorted(row_time_ns for of, _, row_time_ns, _ in rows if of == partition)
    checker = Checker(TICKS, CATALOGUE)
    assert checker.behind_ns(partition) == 0
    told(checker, rows)
    assert checker.behind_ns(partition) == times[-1] - times[0]
    checker.allow(times[1])
    for message in messages:
        checker.apply(message)
    checker.advance()
    assert checker.behind_ns(partition) == times[-1] - times[1]
    checker.allow(None)
    checker.advance()
    assert checker.behind_ns(partition) == 0


def test_a_sample_is_the_same_rows_each_time_and_about_its_share(log):
    ids = [f"{number}@1/a/b" for number in range(4_000)]
    sample = {name for name in ids if is_sampled(name, 0.25)}
    assert 850 < len(sample) < 1_150
    assert {name for name in ids if is_sampled(name, 0.1)} < sample
    counts, verdicts = reasons(log, log[1], share=0.3)
    assert {verdict.row_id for verdict in verdicts} == {row_id for _, row_id, *_ in log[1] if is_sampled(row_id, 0.3)}
    assert set(counts) == {""}


def test_what_is_no_row_message_is_said_to_be_none(log):
    assert difference(log[1][0][-1], b"junk").columns == ["not a row message"]
